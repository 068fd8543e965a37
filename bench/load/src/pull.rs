//! The same path, asked for over and over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::connection::{Body, Request};
use crate::content::MANIFEST_TYPE;
use crate::error::Error;
use crate::{summary, workers};

/// Asks `--requests` times, or for `--seconds`, and checks status and length of every answer.
pub(crate) fn run(arguments: &Arguments) -> Result<Value, Error> {
    let (address, path) = (arguments.text("address")?, arguments.text("path")?);
    let size: Option<u64> = arguments.optional("size")?;
    let requests: usize = arguments.optional("requests")?.unwrap_or(usize::MAX);
    let duration = Duration::from_secs(arguments.optional("seconds")?.unwrap_or(u64::from(u32::MAX)));
    // Without it, a registry may hide manifests from a client that does not know their type.
    let mut headers = format!("Accept: {MANIFEST_TYPE}, */*\r\n");
    if let Some(authorization) = arguments.optional::<String>("authorization")? {
        headers.push_str(&format!("Authorization: {authorization}\r\n"));
    }
    let request = Request { method: arguments.text_or("method", "GET"), path, headers: &headers, body: Body::None };
    let taken = AtomicUsize::new(0);
    let done = workers::run(address, arguments.number("connections")?, arguments.optional("pid")?, |connection| {
        let end = Instant::now() + duration;
        let mut seen = Seen::default();
        while Instant::now() < end && taken.fetch_add(1, Ordering::Relaxed) < requests {
            let begun = Instant::now();
            let answer = request.expect(connection, 200)?;
            seen.whole.push(begun.elapsed());
            seen.first_byte.push(answer.first_byte);
            seen.bytes += answer.body_bytes;
            if let Some(expected) = size.filter(|expected| request.method == "GET" && *expected != answer.body_bytes) {
                return Err(Error::Length { request: request.to_string(), found: answer.body_bytes, expected });
            }
        }
        Ok(seen)
    })?;
    let mut all = Seen::default();
    for seen in done.results {
        all.bytes += seen.bytes;
        all.whole.extend(seen.whole);
        all.first_byte.extend(seen.first_byte);
    }
    Ok(json!({
        "requests": all.whole.len(),
        "bytes": all.bytes,
        "seconds": done.elapsed.as_secs_f64(),
        "processor_seconds": done.processor.map(|used| used.as_secs_f64()),
        "whole_ms": summary::latencies(all.whole),
        "first_byte_ms": summary::latencies(all.first_byte),
    }))
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    bytes: u64,
    whole: Vec<Duration>,
    first_byte: Vec<Duration>,
}
