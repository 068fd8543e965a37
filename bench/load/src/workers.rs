//! Connections that work side by side, each on its own thread, and what they took together.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::error::Error;
use crate::summary::Processor;

/// What all workers did.
pub(crate) struct Done<T> {
    pub(crate) results: Vec<T>,
    /// From the moment when all were connected to the moment when the last one was ready.
    pub(crate) elapsed: Duration,
    /// What the server's process used of the processor meanwhile, when it was named.
    pub(crate) processor: Option<Duration>,
}

/// Opens `count` connections, lets all of them start at once, and waits for the last one.
pub(crate) fn run<T: Send>(
    address: &str,
    count: usize,
    pid: Option<u32>,
    work: impl Fn(&mut Connection) -> Result<T, Error> + Sync,
) -> Result<Done<T>, Error> {
    let ready = Barrier::new(count + 1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    let connection = Connection::open(address);
                    ready.wait();
                    work(&mut connection?)
                })
            })
            .collect();
        let before = pid.map(Processor::of).transpose()?;
        ready.wait();
        let begun = Instant::now();
        let results = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<T>, Error>>()?;
        let elapsed = begun.elapsed();
        let processor = before.map(|before| before.since()).transpose()?;
        Ok(Done { results, elapsed, processor })
    })
}
