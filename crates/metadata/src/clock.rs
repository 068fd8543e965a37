//! The time of day, passed in so that expiry can be tested without waiting.

use std::fmt;
use std::time::SystemTime;

use crate::Timestamp;

/// Tells the time of day. Used for what is stored with a time; never to order writes.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}
