//! Numbers about a run.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::Error;

/// What a process had used of the processor at one moment.
pub(crate) struct Processor {
    pid: u32,
    used: Duration,
}

impl Processor {
    /// Reads it from `/proc`, in steps of 10 ms.
    pub(crate) fn of(pid: u32) -> Result<Self, Error> {
        let failed = |source| Error::Processor { pid, source };
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(failed)?;
        // The name of the program stands in parentheses and may hold spaces; user and system time are 12 and 13 fields behind it.
        let ticks = text.rsplit_once(") ").and_then(|(_, rest)| {
            let mut fields = rest.split(' ').skip(11).map(str::parse::<u64>);
            Some(fields.next()?.ok()? + fields.next()?.ok()?)
        });
        let ticks = ticks.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        Ok(Self { pid, used: Duration::from_millis(ticks * 10) })
    }

    /// What has been used since.
    pub(crate) fn since(&self) -> Result<Duration, Error> {
        Ok(Self::of(self.pid)?.used.saturating_sub(self.used))
    }
}

/// The middle, the 99th of a hundred, and the longest, in milliseconds.
pub(crate) fn latencies(mut all: Vec<Duration>) -> Value {
    all.sort_unstable();
    let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).map(milliseconds);
    json!({ "p50": at(50), "p99": at(99), "max": all.last().map(milliseconds) })
}

fn milliseconds(duration: &Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
