//! Numbers about a run.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::error::Error;

/// A clock on the wall, one for what the server's processes use of the processor, and one for what this program uses.
pub(crate) struct Meter {
    pids: Vec<u32>,
    begun: Instant,
    server: Duration,
    client: Duration,
}

/// What passed on the three clocks.
pub(crate) struct Used {
    pub(crate) elapsed: Duration,
    server: Duration,
    client: Duration,
}

impl Meter {
    /// Starts now, for the processes that `--pid` names.
    pub(crate) fn start(arguments: &Arguments) -> Result<Self, Error> {
        let pids = arguments.numbers("pid")?;
        let server = processor_of_all(&pids)?;
        Ok(Self { pids, begun: Instant::now(), server, client: own_processor() })
    }

    /// Reads all of them.
    pub(crate) fn read(&self) -> Result<Used, Error> {
        let elapsed = self.begun.elapsed();
        let client = own_processor().saturating_sub(self.client);
        let server = processor_of_all(&self.pids)?.saturating_sub(self.server);
        Ok(Used { elapsed, server, client })
    }
}

impl Used {
    /// The fields that every command prints, besides its own.
    pub(crate) fn with(&self, mut fields: Value) -> Value {
        fields["seconds"] = self.elapsed.as_secs_f64().into();
        fields["server_seconds"] = self.server.as_secs_f64().into();
        fields["client_seconds"] = self.client.as_secs_f64().into();
        fields
    }
}

fn own_processor() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

fn processor_of_all(pids: &[u32]) -> Result<Duration, Error> {
    pids.iter().map(|pid| processor_of(*pid)).sum()
}

/// Reads it from `/proc`, in steps of 10 ms.
fn processor_of(pid: u32) -> Result<Duration, Error> {
    let failed = |source| Error::Processor { pid, source };
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(failed)?;
    // The name of the program stands in parentheses and may hold spaces; user and system time are 12 and 13 fields
    // behind it.
    let ticks = text.rsplit_once(") ").and_then(|(_, rest)| {
        let mut fields = rest.split(' ').skip(11).map(str::parse::<u64>);
        Some(fields.next()?.ok()? + fields.next()?.ok()?)
    });
    let ticks = ticks.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    Ok(Duration::from_millis(ticks * 10))
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
