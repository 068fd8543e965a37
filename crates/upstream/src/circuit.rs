//! Whether a remote is asked at all.
//!
//! After a 429 it is not, until the time that it named. After several failures in a row it is not either, but for one
//! question now and then, the *probe*, that finds out whether it is back. Meanwhile everyone gets an answer at once, and
//! a remote in trouble is left alone.
//!
//! What counts is noted where a request is sent, once for each request: the answers of the remote's own host and of its
//! token endpoint, and that there was none. What hosts do that a redirect leads to says nothing about the remote.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Response;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::error::{Error, Suspension};
use crate::limits::{FAILING_WINDOW_MAX, FAILING_WINDOW_MIN, FAILURES_MAX, RETRY_AFTER_DEFAULT};
use crate::news::{Condition, Herald, believed};
use crate::retry_after::retry_after;

/// Whether a remote is asked. Shared by everything that sends requests on its behalf.
#[derive(Debug)]
pub(crate) struct Circuit {
    remote: Arc<str>,
    /// The circuit of the remote, where this one is of one account there: then it knows of that account's rate limit alone.
    of_all: Option<Arc<Self>>,
    inner: Mutex<Inner>,
    /// Wakes those who wait for their turn, since there will be none.
    suspensions: Notify,
    /// Tells others who ask the remote; nobody, of one account.
    herald: Herald,
}

#[derive(Debug)]
struct Inner {
    state: State,
    probes: u64,
    suspensions: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// It is asked, and failed so many times in a row.
    Asked { failures: u32 },
    /// It said 429, and everyone may come back then: it named the time itself.
    RateLimited { until: Instant },
    /// It failed too often. After `until` one question is let through, and the next not before that one is over.
    Failing { failures: u32, window: Duration, until: Instant, probe: Option<u64> },
}

/// Why a question is not asked, and for how long: whole seconds, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suspended {
    pub(crate) retry_after: Duration,
    pub(crate) reason: Suspension,
}

/// What one request says about the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It answers, whatever it thinks of the question.
    Success,
    /// It asks for patience.
    RateLimited(Duration),
    /// It gave no answer, or failed at it. It may have said when to come back.
    Failure(Option<Duration>),
}

/// The one question that finds out whether a failing remote is back. Dropped before anything was found out, it lets the
/// next question take its place.
#[derive(Debug)]
pub(crate) struct Probe {
    circuit: Arc<Circuit>,
    number: u64,
}

impl Circuit {
    pub(crate) fn new(remote: Arc<str>, herald: Herald) -> Self {
        let inner = Inner { state: State::Asked { failures: 0 }, probes: 0, suspensions: 0 };
        Self { remote, of_all: None, inner: Mutex::new(inner), suspensions: Notify::new(), herald }
    }

    /// The circuit of one account of a remote. A 429 to it suspends nobody else: it may be for that account's budget or wrong
    /// passwords. Everything else that happens says something about the remote.
    pub(crate) fn of_account(of_all: &Arc<Self>) -> Self {
        Self { of_all: Some(Arc::clone(of_all)), ..Self::new(Arc::clone(&of_all.remote), Herald::new()) }
    }

    /// Takes somebody's word for how the remote is. Nobody is told of it again.
    pub(crate) fn hear(&self, condition: &Condition) {
        let mut inner = self.lock();
        let now = Instant::now();
        match (condition, inner.state) {
            (Condition::Patience(seconds), State::RateLimited { until }) => {
                inner.state = State::RateLimited { until: until.max(now + believed(*seconds)) };
            }
            (Condition::Patience(seconds), _) => {
                inner.suspensions += 1;
                inner.state = State::RateLimited { until: now + believed(*seconds) };
            }
            (Condition::Failing(seconds), State::Asked { failures }) => {
                inner.suspensions += 1;
                let failures = failures.max(FAILURES_MAX);
                let until = now + believed(*seconds).min(FAILING_WINDOW_MAX);
                inner.state = State::Failing { failures, window: FAILING_WINDOW_MIN, until, probe: None };
            }
            (Condition::Answering, State::Failing { .. }) => inner.state = State::Asked { failures: 0 },
            // What is known here is not older, and a budget is not for here.
            (Condition::Failing(_) | Condition::Answering | Condition::Budget { .. }, _) => return,
        }
        drop(inner);
        self.suspensions.notify_waiters();
    }

    /// Why the remote is not asked now; `None` when it is, or when somebody may find out whether it is back.
    pub(crate) fn suspended(&self) -> Option<Suspended> {
        self.lock().suspended().or_else(|| self.of_all.as_ref()?.suspended())
    }

    /// Resolves with the next suspension after this call.
    pub(crate) fn next_suspension(&self) -> Notified<'_> {
        // Whoever waits while its own account is suspended finds that out when its turn comes.
        self.of_all.as_ref().map_or(&self.suspensions, |of_all| &of_all.suspensions).notified()
    }

    /// How often the remote was suspended so far.
    pub(crate) fn suspensions(&self) -> u64 {
        self.lock().suspensions
    }

    /// Lets a question through. Of a failing remote it is the probe, and must be kept until it has been answered.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Option<Probe>, Suspended> {
        let mut inner = self.lock();
        if let Some(suspended) = inner.suspended() {
            return Err(suspended);
        }
        if let Some(of_all) = &self.of_all {
            return of_all.admit();
        }
        let number = inner.probes + 1;
        let State::Failing { window, until, probe, .. } = &mut inner.state else { return Ok(None) };
        // What the others are told meanwhile.
        *until = Instant::now() + *window;
        *probe = Some(number);
        inner.probes = number;
        Ok(Some(Probe { circuit: Arc::clone(self), number }))
    }

    /// Notes what became of a request to the remote or its token endpoint.
    pub(crate) fn note(&self, sent: &Result<Response, Error>) {
        match (outcome(sent), &self.of_all) {
            (Some(Outcome::RateLimited(wait)), Some(of_all)) => {
                self.note_rate_limit(wait);
                of_all.note_success();
                return;
            }
            (_, Some(of_all)) => return of_all.note(sent),
            (_, None) => {}
        }
        match outcome(sent) {
            Some(Outcome::Success) => self.note_success(),
            Some(Outcome::RateLimited(wait)) => self.note_rate_limit(wait),
            Some(Outcome::Failure(wait)) => self.note_failure(wait),
            None => {}
        }
    }

    /// An answer closes the circuit, also one to a question from before it opened: the remote answers.
    fn note_success(&self) {
        let mut inner = self.lock();
        match inner.state {
            State::Asked { .. } => inner.state = State::Asked { failures: 0 },
            State::Failing { .. } => {
                inner.state = State::Asked { failures: 0 };
                self.herald.tell(&self.remote, Condition::Answering);
                tracing::info!(remote.name = &*self.remote, "an upstream answers again");
            }
            State::RateLimited { .. } => {}
        }
    }

    fn note_rate_limit(&self, wait: Duration) {
        let mut inner = self.lock();
        let (mut until, mut is_news) = (Instant::now() + wait, true);
        if let State::RateLimited { until: before } = inner.state {
            // Of several answers to questions that were asked together the most patient counts.
            (until, is_news) = (until.max(before), false);
        }
        inner.state = State::RateLimited { until };
        if is_news {
            inner.suspensions += 1;
            let seconds = wait.as_secs();
            self.herald.tell(&self.remote, Condition::Patience(seconds));
            tracing::warn!(remote.name = &*self.remote, seconds, "an upstream is not asked: it asked for patience");
        }
        self.suspensions.notify_waiters();
    }

    fn note_failure(&self, wait: Option<Duration>) {
        let mut inner = self.lock();
        let (failures, window) = match inner.state {
            State::Asked { failures } if failures + 1 < FAILURES_MAX => {
                inner.state = State::Asked { failures: failures + 1 };
                return;
            }
            State::Asked { failures } => {
                inner.suspensions += 1;
                (failures + 1, FAILING_WINDOW_MIN)
            }
            State::Failing { failures, window, probe: Some(_), .. } => {
                (failures.saturating_add(1), (window * 2).min(FAILING_WINDOW_MAX))
            }
            // A question from before: it says nothing new.
            State::Failing { probe: None, .. } | State::RateLimited { .. } => return,
        };
        let closed_for = wait.unwrap_or_default().clamp(window, FAILING_WINDOW_MAX);
        inner.state = State::Failing { failures, window, until: Instant::now() + closed_for, probe: None };
        let seconds = closed_for.as_secs();
        self.herald.tell(&self.remote, Condition::Failing(seconds));
        tracing::warn!(remote.name = &*self.remote, failures, seconds, "an upstream is not asked: it keeps failing");
        self.suspensions.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is whole before the next: a panic elsewhere leaves nothing half-written.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::RateLimited { until } = inner.state
            && until <= Instant::now()
        {
            inner.state = State::Asked { failures: 0 };
        }
        inner
    }
}

impl Inner {
    fn suspended(&self) -> Option<Suspended> {
        let now = Instant::now();
        let (until, reason) = match self.state {
            State::Asked { .. } => return None,
            State::Failing { until, probe: None, .. } if until <= now => return None,
            State::RateLimited { until } => (until, Suspension::RateLimited),
            State::Failing { failures, until, .. } => (until, Suspension::Failing(failures)),
        };
        let seconds = until.saturating_duration_since(now).as_secs_f64().ceil().max(1.0);
        Some(Suspended { retry_after: Duration::from_secs_f64(seconds), reason })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut inner = self.circuit.lock();
        if let State::Failing { probe, until, .. } = &mut inner.state
            && *probe == Some(self.number)
        {
            *probe = None;
            *until = Instant::now();
        }
    }
}

/// What a request says about the remote; `None` when nothing was sent to it.
fn outcome(sent: &Result<Response, Error>) -> Option<Outcome> {
    match sent {
        Ok(response) => {
            let wait = retry_after(response.headers());
            Some(match response.status().as_u16() {
                429 => Outcome::RateLimited(wait.unwrap_or(RETRY_AFTER_DEFAULT)),
                // 508: it is well, and its questions come back to it.
                408 | 500..=507 | 509.. => Outcome::Failure(wait),
                _ => Outcome::Success,
            })
        }
        Err(Error::Unreachable { .. } | Error::Timeout { .. } | Error::Interrupted { .. }) => {
            Some(Outcome::Failure(None))
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit() -> Arc<Circuit> {
        Arc::new(Circuit::new("x".into(), Herald::new()))
    }

    fn fail(circuit: &Circuit, times: u32) {
        for _ in 0..times {
            circuit.note_failure(None);
        }
    }

    fn told(circuit: &Circuit) -> Option<(u64, Suspension)> {
        circuit.suspended().map(|suspended| (suspended.retry_after.as_secs(), suspended.reason))
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_an_answer_in_between_begins_the_count_anew() {
        let circuit = circuit();
        fail(&circuit, FAILURES_MAX - 1);
        circuit.note_success();
        fail(&circuit, FAILURES_MAX - 1);
        assert!(circuit.admit().unwrap().is_none());
        fail(&circuit, 1);
        assert_eq!(told(&circuit), Some((3, Suspension::Failing(5))));
        assert!(circuit.admit().is_err());
        assert_eq!(circuit.suspensions(), 1);
        tokio::time::advance(Duration::from_millis(2900)).await;
        assert_eq!(told(&circuit), Some((1, Suspension::Failing(5))));
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_in_each_window_is_let_through_and_windows_double_up_to_a_minute() {
        let circuit = circuit();
        fail(&circuit, FAILURES_MAX);
        for (number, seconds) in [3, 6, 12, 24, 48, 60, 60].into_iter().enumerate() {
            tokio::time::advance(Duration::from_millis(seconds * 1000 - 1)).await;
            assert!(circuit.admit().is_err(), "window {number}");
            tokio::time::advance(Duration::from_millis(1)).await;
            let probe = circuit.admit().unwrap();
            assert!(probe.is_some() && circuit.admit().is_err(), "window {number}");
            fail(&circuit, 1);
            drop(probe);
        }
        assert_eq!(circuit.suspensions(), 1, "it is one and the same suspension");
        tokio::time::advance(FAILING_WINDOW_MAX).await;
        let probe = circuit.admit().unwrap();
        circuit.note_success();
        drop(probe);
        assert!(circuit.admit().unwrap().is_none(), "everyone is let through again");
        fail(&circuit, FAILURES_MAX);
        assert_eq!(told(&circuit), Some((3, Suspension::Failing(5))), "the windows begin anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_takes_long_stays_the_only_one_and_one_that_is_dropped_makes_room() {
        let circuit = circuit();
        fail(&circuit, FAILURES_MAX);
        tokio::time::advance(FAILING_WINDOW_MIN).await;
        let probe = circuit.admit().unwrap();
        tokio::time::advance(FAILING_WINDOW_MIN * 5).await;
        assert_eq!(told(&circuit), Some((1, Suspension::Failing(5))));
        drop(probe);
        let next = circuit.admit().unwrap();
        assert!(next.is_some() && circuit.admit().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_questions_from_before_do_not_lengthen_the_window() {
        let circuit = circuit();
        fail(&circuit, FAILURES_MAX + 10);
        assert_eq!(told(&circuit), Some((3, Suspension::Failing(5))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_remote_that_names_a_time_is_left_alone_for_so_long_but_not_for_hours() {
        for (named, expected) in [(1, 3), (20, 20), (3600, 60)] {
            let circuit = circuit();
            fail(&circuit, FAILURES_MAX - 1);
            circuit.note_failure(Some(Duration::from_secs(named)));
            assert_eq!(told(&circuit), Some((expected, Suspension::Failing(5))), "{named}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_remote_that_asks_for_patience_has_it_and_then_is_asked_by_everyone() {
        let circuit = circuit();
        circuit.note_rate_limit(Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(10)).await;
        circuit.note_rate_limit(Duration::from_secs(5));
        circuit.note_success();
        fail(&circuit, FAILURES_MAX);
        assert_eq!(told(&circuit), Some((20, Suspension::RateLimited)), "the longest patience, whatever else comes in");
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(circuit.admit().unwrap().is_none() && circuit.admit().unwrap().is_none());
        assert_eq!(circuit.suspensions(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_to_the_probe_is_an_answer() {
        let circuit = circuit();
        fail(&circuit, FAILURES_MAX);
        tokio::time::advance(FAILING_WINDOW_MIN).await;
        let probe = circuit.admit().unwrap();
        circuit.note_rate_limit(Duration::from_secs(7));
        drop(probe);
        assert_eq!(told(&circuit), Some((7, Suspension::RateLimited)));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(told(&circuit), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_of_a_suspension_at_once() {
        let circuit = circuit();
        let (first, second) = (circuit.next_suspension(), circuit.next_suspension());
        fail(&circuit, FAILURES_MAX);
        first.await;
        second.await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_say_is_believed_where_nothing_newer_is_known_and_told_to_nobody() {
        let herald = Herald::new();
        let mut told_on = herald.listen();
        let circuit = Arc::new(Circuit::new("x".into(), herald));
        circuit.hear(&Condition::Failing(4));
        assert_eq!(told(&circuit), Some((4, Suspension::Failing(FAILURES_MAX))));
        circuit.hear(&Condition::Failing(3600));
        assert_eq!(told(&circuit).map(|(seconds, _)| seconds), Some(4), "a window that runs is not made longer");
        circuit.hear(&Condition::Answering);
        assert_eq!(told(&circuit), None);
        circuit.hear(&Condition::Patience(10));
        circuit.hear(&Condition::Patience(5));
        circuit.hear(&Condition::Answering);
        assert_eq!(told(&circuit), Some((10, Suspension::RateLimited)), "the most patient counts");
        circuit.hear(&Condition::Patience(u64::MAX));
        assert_eq!(told(&circuit).map(|(seconds, _)| seconds), Some(24 * 3600), "nobody is believed for ever");
        assert!(told_on.try_recv().is_err(), "an echo would go round among the replicas");
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_told_when_it_is_suspended_and_when_it_answers() {
        let herald = Herald::new();
        let mut news = herald.listen();
        let circuit = Arc::new(Circuit::new("x".into(), herald));
        fail(&circuit, FAILURES_MAX);
        circuit.note_success();
        circuit.note_rate_limit(Duration::from_secs(9));
        let said: Vec<_> = std::iter::from_fn(|| news.try_recv().ok()).map(|news| news.condition).collect();
        assert_eq!(said, [Condition::Failing(3), Condition::Answering, Condition::Patience(9)]);
    }
}
