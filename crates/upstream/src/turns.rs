//! Turns: how many questions to one remote are under way at once, and who waits.
//!
//! A question has its turn from before its first request until its answer has been read, the bytes of a blob included.
//! One question, one turn: what it takes to answer it (tokens, redirects) needs no further one, so that questions that
//! wait for each other cannot lock each other out.
//!
//! Transfers of blobs may take minutes. They leave a part of the turns to the questions that are over in a moment, and
//! each kind waits in a queue of its own, so that a hundred layers cannot keep a tag from being looked up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{QUEUE_LENGTH_MAX, QUEUE_TIME_MAX, TURNS_PER_KEPT_TURN};

/// What a question costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A head or a document: over in a moment.
    Short,
    /// The bytes of a blob.
    Transfer,
}

/// The turns at one remote.
#[derive(Debug)]
pub(crate) struct Turns {
    at_once_max: usize,
    /// Everyone needs one of these. The semaphores are fair: who came first is next.
    any: Arc<Semaphore>,
    /// Transfers need one of these before, of which there are fewer.
    transfer: Arc<Semaphore>,
    waiting_short: AtomicUsize,
    waiting_transfers: AtomicUsize,
    turned_away: AtomicU64,
}

/// A question's turn, over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _any: OwnedSemaphorePermit,
    _transfer: Option<OwnedSemaphorePermit>,
}

/// There is no turn to be had in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded {
    /// How many wait.
    pub(crate) waiting: usize,
}

impl Turns {
    /// At most `at_once_max` turns at once, at least one.
    pub(crate) fn new(at_once_max: usize) -> Self {
        let at_once_max = at_once_max.clamp(1, Semaphore::MAX_PERMITS);
        let kept = if at_once_max == 1 { 0 } else { at_once_max.div_ceil(TURNS_PER_KEPT_TURN) };
        Self {
            at_once_max,
            any: Arc::new(Semaphore::new(at_once_max)),
            transfer: Arc::new(Semaphore::new(at_once_max - kept)),
            waiting_short: AtomicUsize::new(0),
            waiting_transfers: AtomicUsize::new(0),
            turned_away: AtomicU64::new(0),
        }
    }

    /// Waits for a turn behind those who came before, but not for long and not behind too many.
    ///
    /// A caller that stops waiting leaves its place to the next.
    pub(crate) async fn take(&self, kind: Kind) -> Result<Turn, Crowded> {
        if let Some(turn) = self.take_now(kind) {
            return Ok(turn);
        }
        let place = Place::take(self.queue(kind)).ok_or_else(|| self.turn_away(kind))?;
        let turn = tokio::time::timeout(QUEUE_TIME_MAX, self.take_in_order(kind)).await;
        // Neither semaphore is ever closed: what did not come did not come in time.
        let turn = turn.ok().flatten().ok_or_else(|| self.turn_away(kind));
        drop(place);
        turn
    }

    /// How many questions have their turn.
    pub(crate) fn running(&self) -> usize {
        self.at_once_max - self.any.available_permits()
    }

    /// How many questions wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        [Kind::Short, Kind::Transfer].into_iter().map(|kind| self.queue(kind).load(Ordering::Relaxed)).sum()
    }

    /// How many questions had no turn so far.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// A turn without waiting; there is none while others wait for the same.
    fn take_now(&self, kind: Kind) -> Option<Turn> {
        let transfer = match kind {
            Kind::Short => None,
            Kind::Transfer => Some(Arc::clone(&self.transfer).try_acquire_owned().ok()?),
        };
        Some(Turn { _any: Arc::clone(&self.any).try_acquire_owned().ok()?, _transfer: transfer })
    }

    async fn take_in_order(&self, kind: Kind) -> Option<Turn> {
        let transfer = match kind {
            Kind::Short => None,
            Kind::Transfer => Some(Arc::clone(&self.transfer).acquire_owned().await.ok()?),
        };
        Some(Turn { _any: Arc::clone(&self.any).acquire_owned().await.ok()?, _transfer: transfer })
    }

    const fn queue(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Short => &self.waiting_short,
            Kind::Transfer => &self.waiting_transfers,
        }
    }

    fn turn_away(&self, kind: Kind) -> Crowded {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        Crowded { waiting: self.queue(kind).load(Ordering::Relaxed) }
    }
}

/// A place in a queue, given up when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(queue: &'a AtomicUsize) -> Option<Self> {
        let longer = |length| (length < QUEUE_LENGTH_MAX).then_some(length + 1);
        // Not `then_some`: a place that is made and thrown away would be given up without ever having been taken.
        queue.fetch_update(Ordering::Relaxed, Ordering::Relaxed, longer).is_ok().then(|| Self(queue))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;

    type Waiting<'a> = BoxFuture<'a, Result<Turn, Crowded>>;

    /// Asks for a turn, and takes its place in the queue when there is none.
    fn ask(turns: &Turns, kind: Kind) -> Result<Result<Turn, Crowded>, Waiting<'_>> {
        let mut waiting: Waiting<'_> = turns.take(kind).boxed();
        match poll(&mut waiting) {
            Some(taken) => Ok(taken),
            None => Err(waiting),
        }
    }

    fn poll(waiting: &mut Waiting<'_>) -> Option<Result<Turn, Crowded>> {
        Pin::new(waiting).now_or_never()
    }

    fn now(turns: &Turns, kind: Kind) -> Turn {
        ask(turns, kind).ok().unwrap().unwrap()
    }

    fn later(turns: &Turns, kind: Kind) -> Waiting<'_> {
        ask(turns, kind).unwrap_err()
    }

    #[tokio::test]
    async fn who_came_first_is_next_and_who_leaves_makes_room() {
        let turns = Turns::new(1);
        let running = now(&turns, Kind::Short);
        let (mut first, mut second, mut third) =
            (later(&turns, Kind::Short), later(&turns, Kind::Short), later(&turns, Kind::Short));
        assert_eq!((turns.running(), turns.waiting()), (1, 3));
        drop(running);
        assert!(poll(&mut third).is_none() && poll(&mut second).is_none());
        let running = poll(&mut first).unwrap().unwrap();
        assert_eq!(turns.waiting(), 2);
        drop(second);
        assert_eq!(turns.waiting(), 1);
        // A newcomer does not overtake the one who waits.
        let newcomer = later(&turns, Kind::Short);
        drop(running);
        assert!(poll(&mut third).unwrap().is_ok());
        drop((third, newcomer));
        assert_eq!((turns.running(), turns.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn a_turn_that_falls_to_one_who_leaves_goes_to_the_next() {
        let turns = Turns::new(1);
        let running = now(&turns, Kind::Transfer);
        let (first, mut second) = (later(&turns, Kind::Transfer), later(&turns, Kind::Transfer));
        drop(running);
        drop(first);
        assert!(poll(&mut second).unwrap().is_ok());
    }

    #[tokio::test]
    async fn transfers_leave_a_part_to_short_questions_which_may_have_all() {
        for (at_once_max, transfers) in [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (64, 48)] {
            let turns = Turns::new(at_once_max);
            let mut running: Vec<Turn> = (0..transfers).map(|_| now(&turns, Kind::Transfer)).collect();
            let queued: Vec<_> = (0..10).map(|_| later(&turns, Kind::Transfer)).collect();
            running.extend((transfers..at_once_max).map(|_| now(&turns, Kind::Short)));
            assert_eq!(turns.running(), at_once_max);
            drop(later(&turns, Kind::Short));
            drop((queued, running));
            let all: Vec<Turn> = (0..at_once_max).map(|_| now(&turns, Kind::Short)).collect();
            assert!(ask(&turns, Kind::Transfer).is_err(), "{at_once_max}");
            drop(all);
        }
    }

    #[tokio::test]
    async fn the_queue_of_each_kind_is_bounded_on_its_own() {
        let turns = Turns::new(2);
        let running = [now(&turns, Kind::Transfer), now(&turns, Kind::Short)];
        let queued: Vec<_> = (0..QUEUE_LENGTH_MAX).map(|_| later(&turns, Kind::Transfer)).collect();
        let crowded = ask(&turns, Kind::Transfer).ok().unwrap().unwrap_err();
        assert_eq!(crowded, Crowded { waiting: QUEUE_LENGTH_MAX });
        assert_eq!(turns.turned_away(), 1);
        let short = later(&turns, Kind::Short);
        let [transfer, one] = running;
        drop(one);
        assert!(short.await.is_ok(), "short questions do not wait behind transfers");
        drop((queued, transfer));
        assert_eq!((turns.running(), turns.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let turns = Turns::new(1);
        let running = now(&turns, Kind::Short);
        let began = tokio::time::Instant::now();
        assert_eq!(turns.take(Kind::Short).await.unwrap_err(), Crowded { waiting: 1 });
        assert_eq!(began.elapsed(), QUEUE_TIME_MAX);
        assert_eq!((turns.waiting(), turns.turned_away()), (0, 1));
        drop(running);
        assert!(turns.take(Kind::Short).await.is_ok(), "the next one has the turn that nobody waits for");
    }

    #[test]
    fn there_is_always_a_turn() {
        for at_once_max in [0, 1, usize::MAX] {
            let turns = Turns::new(at_once_max);
            assert!(turns.take_now(Kind::Transfer).is_some(), "{at_once_max}");
        }
    }
}
