//! The same path, asked for over and over.

use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::channel::Bodies;
use crate::content::MANIFEST_TYPE;
use crate::error::Error;
use crate::poll::{self, Plan, Seen};
use crate::summary::{self, Meter, Used};

/// Asks `--requests` times, or for `--seconds`, whichever is over first, and checks the status of every answer. With
/// `--size`, the answers together must have had so many bytes each. Bodies are discarded where they are, or with `--bodies read` read
/// into memory.
pub(crate) fn run(arguments: &Arguments) -> Result<Value, Error> {
    let (address, path) = (arguments.text("address")?, arguments.text("path")?);
    let connections: usize = arguments.number("connections")?;
    let threads = arguments.optional("threads")?.unwrap_or(1).min(connections);
    let plan = plan(arguments, address, path)?;
    let (ready, done) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
    let (all, used) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let count = connections / threads + usize::from(number < connections % threads);
                scope.spawn({
                    let (plan, ready, done) = (&plan, &ready, &done);
                    move || poll::run(address, count, plan, ready, done)
                })
            })
            .collect();
        ready.wait();
        let meter = Meter::start(arguments);
        done.wait();
        let used = meter.and_then(|meter| meter.read());
        let seen = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<Seen>, Error>>()?;
        Ok::<_, Error>((seen.into_iter().fold(Seen::default(), add), used?))
    })?;
    summarise(arguments, &plan, all, &used)
}

fn plan(arguments: &Arguments, address: &str, path: &str) -> Result<Plan, Error> {
    let method = arguments.text_or("method", "GET");
    // Without it, a registry may hide manifests from a client that does not know their type.
    let accept = format!("Accept: {MANIFEST_TYPE}, */*\r\n");
    let authorization = arguments.optional::<String>("authorization")?;
    let authorization = authorization.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{accept}{authorization}\r\n");
    let requests = arguments.optional("requests")?.unwrap_or(usize::MAX);
    let duration =
        arguments.optional("seconds")?.map_or(Duration::from_secs(u64::from(u32::MAX)), Duration::from_secs_f64);
    let spread = arguments.optional("spread")?.unwrap_or(1);
    let bodies = match (method, arguments.text_or("bodies", "discard")) {
        ("HEAD", _) => Bodies::None,
        (_, "read") => Bodies::Read,
        _ => Bodies::Discarded,
    };
    Ok(Plan::new(&request, spread, bodies, duration, requests))
}

fn add(mut all: Seen, seen: Seen) -> Seen {
    all.whole.extend(seen.whole);
    all.first_byte.extend(seen.first_byte);
    all.bytes.extend(seen.bytes);
    all.finished.extend(seen.finished);
    all
}

fn summarise(arguments: &Arguments, plan: &Plan, mut all: Seen, used: &Used) -> Result<Value, Error> {
    let (requests, bytes) = (all.whole.len(), all.bytes.iter().sum::<u64>());
    if let Some(size) = arguments.optional::<u64>("size")? {
        let expected = size * plan.requests as u64;
        if plan.bodies != Bodies::None && requests == plan.requests && bytes != expected {
            return Err(Error::Length { request: arguments.text("path")?.to_owned(), found: bytes, expected });
        }
    }
    all.bytes.sort_unstable();
    let (least, middle, most) = (all.bytes.first(), all.bytes.get(all.bytes.len() / 2), all.bytes.last());
    Ok(used.with(json!({
        "requests": requests,
        "bytes": bytes,
        "whole_ms": summary::latencies(all.whole),
        "first_byte_ms": summary::latencies(all.first_byte),
        "connection_bytes": { "least": least, "middle": middle, "most": most },
        "connection_ms": summary::latencies(all.finished),
    })))
}
