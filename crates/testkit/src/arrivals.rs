//! What has arrived at a server of the test: its requests and connections, and how a test waits for them.

use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How long a test waits for a request before it fails: far longer than any request takes.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// The requests, each as a `T`, and how many connections there were.
pub(crate) struct Arrivals<T> {
    arrived: Mutex<(Vec<T>, usize)>,
    /// Counts what [`Self::tell`] was called for, and so wakes whoever waits for a request.
    told: watch::Sender<usize>,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Self { arrived: Mutex::default(), told: watch::Sender::new(0) }
    }
}

impl<T: Clone + Debug> Arrivals<T> {
    /// Adds a request. Who waits for it is woken by [`Self::tell`], once it is decided what becomes of it.
    pub(crate) fn record(&self, request: T) {
        self.lock().0.push(request);
    }

    pub(crate) fn tell(&self) {
        self.told.send_modify(|count| *count += 1);
    }

    pub(crate) fn count_connection(&self) {
        self.lock().1 += 1;
    }

    /// Every request so far, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<T> {
        self.lock().0.clone()
    }

    /// How many requests so far `matches` is true of.
    pub(crate) fn count(&self, matches: impl Fn(&T) -> bool) -> usize {
        self.lock().0.iter().filter(|seen| matches(seen)).count()
    }

    pub(crate) fn connections(&self) -> usize {
        self.lock().1
    }

    pub(crate) fn forget(&self) {
        *self.lock() = Default::default();
    }

    /// Waits until `matches` is true of a request, and returns the first such. Panics when none comes in time.
    pub(crate) async fn wait_for(&self, matches: impl Fn(&T) -> bool) -> T {
        self.wait_for_count(1, &matches).await;
        self.requests().into_iter().find(|seen| matches(seen)).expect("it was there a moment ago")
    }

    /// Waits until `matches` is true of `count` requests. Panics when they do not come in time.
    pub(crate) async fn wait_for_count(&self, count: usize, matches: impl Fn(&T) -> bool) {
        let mut told = self.told.subscribe();
        let arrived = told.wait_for(|_| self.count(&matches) >= count);
        let arrived = tokio::time::timeout(WAIT_MAX, arrived).await;
        assert!(arrived.is_ok(), "{} of {count} requests came: {:#?}", self.count(&matches), self.requests());
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<T>, usize)> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
