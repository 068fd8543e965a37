//! A timer that is armed, disarmed and armed again many times without being allocated again.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A point in time that may pass while something else is waited for.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Deadline {
    /// Whether the deadline is running.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed
    }

    /// Starts the deadline anew, `after` from now.
    pub(crate) fn arm(&mut self, after: Duration) {
        let at = Instant::now() + after;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
        self.armed = true;
    }

    /// Stops the deadline; the timer itself is kept for the next time.
    pub(crate) fn disarm(&mut self) {
        self.armed = false;
    }

    /// Ready when an armed deadline has passed.
    pub(crate) fn poll_passed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) if self.armed => sleep.as_mut().poll(context),
            _ => Poll::Pending,
        }
    }
}
