//! The accept loop: from a bound socket to connections, within limits, until a shutdown.
//!
//! The loop never ends because of a failure. A client that is gone before it was accepted is forgotten; when the process
//! is out of file descriptors the loop pauses and goes on. Each connection is a task of its own, tracked until its end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::answerer::Answerer;
use crate::connection::{ConnectionLimits, Ending, Peer, serve_connection};
use crate::limits::{ACCEPT_LOG_INTERVAL, ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN, CONNECTIONS_RESERVE};
use crate::metrics::ConnectionMetrics;
use crate::tls::Tls;

/// What is left to say after a listener has shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeOutcome {
    /// Connections whose request was not finished within the shutdown timeout and that were cut off.
    pub connections_cut: usize,
}

/// Serves what `answerer` answers on `listener` until `shutdown` completes, then lets open requests finish. With `tls` nothing else is
/// spoken there, without it nothing but plain HTTP/1.
///
/// The listening socket is closed as soon as `shutdown` completes; connections without a request end at once, the others
/// after their request, at the latest after [`ConnectionLimits::shutdown_timeout`].
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    answerer: impl Into<Answerer>,
    limits: ConnectionLimits,
    metrics: ConnectionMetrics,
    shutdown: impl Future<Output = ()>,
) -> ServeOutcome {
    let shutdown_timeout = limits.shutdown_timeout;
    let connections = Connections {
        slots: Slots::new(limits.connections_max),
        tls,
        answerer: answerer.into(),
        limits: Arc::new(limits),
        metrics,
        tasks: TaskTracker::new(),
        ending: Ending::default(),
    };
    tokio::select! {
        never = connections.accept_all(&listener) => match never {},
        () = shutdown => {}
    }
    drop(listener);
    connections.end(shutdown_timeout).await
}

/// The open connections of a listener and what they share.
struct Connections {
    slots: Slots,
    tls: Option<Arc<Tls>>,
    answerer: Answerer,
    limits: Arc<ConnectionLimits>,
    metrics: ConnectionMetrics,
    tasks: TaskTracker,
    ending: Ending,
}

impl Connections {
    async fn accept_all(&self, listener: &TcpListener) -> Infallible {
        let mut trouble = AcceptTrouble::default();
        loop {
            let slot = self.slots.take().await;
            match listener.accept().await {
                Ok((stream, address)) => {
                    trouble.clear();
                    self.spawn(stream, address, self.slots.settle(slot));
                }
                Err(error) => {
                    self.metrics.accept_failed();
                    if let Some(pause) = trouble.meet(&error, Instant::now()) {
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }

    fn spawn(&self, stream: TcpStream, address: SocketAddr, slot: Slot) {
        // Head and body of a small answer leave in one write; what follows must not wait for an acknowledgement of it.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(client = %address, %error, "cannot switch off write coalescing");
        }
        if slot.over_limit {
            self.metrics.refused();
        }
        let peer = Peer::new(address, slot.over_limit);
        let open = self.metrics.open();
        let (tls, limits, metrics) = (self.tls.clone(), Arc::clone(&self.limits), self.metrics.clone());
        let (answerer, ending) = (self.answerer.clone(), self.ending.clone());
        self.tasks.spawn(async move {
            serve_connection(stream, tls.as_deref(), answerer, peer, &limits, &metrics, ending).await;
            drop((slot, open));
        });
    }

    async fn end(self, timeout: Duration) -> ServeOutcome {
        self.ending.finish.cancel();
        self.tasks.close();
        if tokio::time::timeout(timeout, self.tasks.wait()).await.is_ok() {
            return ServeOutcome { connections_cut: 0 };
        }
        let connections_cut = self.tasks.len();
        self.ending.cut.cancel();
        self.tasks.wait().await;
        ServeOutcome { connections_cut }
    }
}

/// Room for connections: as many as configured, and a small reserve beyond them.
struct Slots {
    regular: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

/// The room that an open connection takes, until it is dropped.
struct Slot {
    over_limit: bool,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    fn new(connections_max: usize) -> Self {
        Self {
            regular: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            reserve: Arc::new(Semaphore::new(CONNECTIONS_RESERVE)),
        }
    }

    /// Waits for room for one more connection; that of the reserve is taken only when there is no other.
    async fn take(&self) -> Slot {
        let (permit, over_limit) = tokio::select! {
            biased;
            permit = Arc::clone(&self.regular).acquire_owned() => (permit, false),
            permit = Arc::clone(&self.reserve).acquire_owned() => (permit, true),
        };
        Slot { over_limit, _permit: permit.expect("the semaphores are never closed") }
    }

    /// Moves a slot out of the reserve if there is room by now: it may have been taken long before a client came.
    fn settle(&self, slot: Slot) -> Slot {
        match Arc::clone(&self.regular).try_acquire_owned() {
            Ok(permit) if slot.over_limit => Slot { over_limit: false, _permit: permit },
            _ => slot,
        }
    }
}

/// The memory of an accept loop that meets failures: how long to pause, what to say and how often.
#[derive(Debug, Default)]
struct AcceptTrouble {
    pause: Duration,
    last_logged: Option<Instant>,
    not_logged: u64,
}

impl AcceptTrouble {
    /// A connection was accepted: the next failure starts with a short pause again.
    fn clear(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// Takes note of a failure. Returns how long to wait, `None` when the failure is that of one client alone.
    fn meet(&mut self, error: &io::Error, now: Instant) -> Option<Duration> {
        if is_of_one_client(error) {
            return None;
        }
        self.pause = (self.pause * 2).clamp(ACCEPT_PAUSE_MIN, ACCEPT_PAUSE_MAX);
        let silent = self.last_logged.is_some_and(|last| now - last < ACCEPT_LOG_INTERVAL);
        if silent {
            self.not_logged += 1;
        } else {
            tracing::error!(%error, not_logged = self.not_logged, "cannot accept connections, trying again");
            self.last_logged = Some(now);
            self.not_logged = 0;
        }
        Some(self.pause)
    }
}

/// Whether the failure ends with the client it belongs to. Everything else (no file descriptor left in the process or the
/// system, no memory for sockets, a firewall) would come back at once.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod http2_tests;
#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod tls_tests;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const TOO_MANY_OPEN_FILES: i32 = 24;

    #[test]
    fn pauses_grow_to_a_bound_and_start_over_after_a_success() {
        let mut trouble = AcceptTrouble::default();
        let exhausted = io::Error::from_raw_os_error(TOO_MANY_OPEN_FILES);
        let now = Instant::now();
        let pauses: Vec<_> = (0..7).map(|_| trouble.meet(&exhausted, now).expect("a pause").as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        trouble.clear();
        assert_eq!(trouble.meet(&exhausted, now), Some(ACCEPT_PAUSE_MIN));
    }

    #[test]
    fn failures_are_logged_once_in_a_while_and_counted_in_between() {
        let mut trouble = AcceptTrouble::default();
        let exhausted = io::Error::from_raw_os_error(TOO_MANY_OPEN_FILES);
        let start = Instant::now();
        for second in 0..10 {
            trouble.meet(&exhausted, start + Duration::from_secs(second));
        }
        assert_eq!((trouble.not_logged, trouble.last_logged), (9, Some(start)));
        trouble.meet(&exhausted, start + ACCEPT_LOG_INTERVAL);
        assert_eq!((trouble.not_logged, trouble.last_logged), (0, Some(start + ACCEPT_LOG_INTERVAL)));
    }

    #[test]
    fn a_client_that_left_early_costs_no_pause() {
        let mut trouble = AcceptTrouble::default();
        assert_eq!(trouble.meet(&io::ErrorKind::ConnectionAborted.into(), Instant::now()), None);
        assert_eq!(trouble.last_logged, None);
    }

    #[tokio::test]
    async fn beyond_the_limit_comes_the_reserve_and_then_a_wait() {
        let slots = Slots::new(1);
        let regular = slots.take().await;
        assert!(!regular.over_limit);
        let mut reserve = Vec::new();
        for _ in 0..CONNECTIONS_RESERVE {
            reserve.push(slots.take().await);
        }
        assert!(reserve.iter().all(|slot| slot.over_limit));
        assert!(slots.take().now_or_never().is_none(), "no room at all");
        drop(regular);
        let early = reserve.pop().expect("the reserve is full");
        assert!(!slots.settle(early).over_limit, "a slot of the reserve moves to a regular one that is free");
    }
}
