//! Connections that work side by side, each on its own thread, and what they took together.

use std::sync::Barrier;

use crate::arguments::Arguments;
use crate::connection::Connection;
use crate::error::Error;
use crate::summary::{Meter, Used};

/// What all workers did.
pub(crate) struct Done<T> {
    pub(crate) results: Vec<T>,
    /// From the moment when all were connected to the moment when the last one was ready.
    pub(crate) used: Used,
}

/// Opens `count` connections, lets all of them start at once, and waits for the last one. The work is told its worker's
/// number.
pub(crate) fn run<T: Send>(
    arguments: &Arguments,
    count: usize,
    work: impl Fn(&mut Connection, usize) -> Result<T, Error> + Sync,
) -> Result<Done<T>, Error> {
    let address = arguments.text("address")?;
    let (ready, work) = (&Barrier::new(count + 1), &work);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .map(|number| {
                scope.spawn(move || {
                    let connection = Connection::open(address);
                    ready.wait();
                    work(&mut connection?, number)
                })
            })
            .collect();
        ready.wait();
        let meter = Meter::start(arguments);
        let results = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<T>, Error>>()?;
        Ok(Done { results, used: meter?.read()? })
    })
}
