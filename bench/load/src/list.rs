//! All tags of a repository, page by page.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::connection::{Body, Connection, Request};
use crate::error::Error;
use crate::{summary, workers};

/// Lists the tags of a repository `--times` times, by pages of `--page` tags, and checks that there are `--count` every
/// time.
pub(crate) fn run(arguments: &Arguments) -> Result<Value, Error> {
    let repository = arguments.text("repository")?;
    let (page, count): (usize, usize) = (arguments.number("page")?, arguments.number("count")?);
    let (times, pages): (usize, usize) =
        (arguments.optional("times")?.unwrap_or(1), arguments.optional("pages")?.unwrap_or(usize::MAX));
    let last = arguments.optional::<String>("last")?.map_or_else(String::new, |last| format!("&last={last}"));
    let first = format!("/v2/{repository}/tags/list?n={page}{last}");
    let done = workers::run(arguments, 1, |connection, _| {
        let mut took = Vec::new();
        for _ in 0..times {
            let begun = Instant::now();
            let found = list(connection, &first, pages)?;
            took.push(begun.elapsed());
            if found != count {
                return Err(Error::Tags { found, expected: count });
            }
        }
        Ok(took)
    })?;
    let took: Vec<Duration> = done.results.into_iter().flatten().collect();
    Ok(done.used.with(json!({ "lists": took.len(), "list_ms": summary::latencies(took) })))
}

/// Follows the links from page to page and counts the tags.
fn list(connection: &mut Connection, first: &str, mut pages: usize) -> Result<usize, Error> {
    let (mut found, mut next) = (0, Some(first.to_owned()));
    while let Some(path) = next.filter(|_| pages > 0) {
        let request = Request { method: "GET", path: &path, headers: "", body: Body::None };
        let (answer, body) = request.expect_body(connection, 200)?;
        // A tag holds no quotation mark: behind the bracket, every other mark ends one.
        let list = body.iter().position(|byte| *byte == b'[').map_or(&body[..0], |start| &body[start..]);
        found += list.split(|byte| *byte == b'"').count() / 2;
        next = answer.next;
        pages -= 1;
    }
    Ok(found)
}
