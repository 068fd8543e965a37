//! The turns of a task whose parts wake one another.
//!
//! An HTTP/2 connection and its exchanges live in one task: an exchange that hands over a piece wakes the connection, and the
//! connection, when it has sent it, the exchange. Told to the runtime, each of these wakings ends the turn of the task and rouses
//! another worker for it: two system calls and often a move to another processor, for every 64 KiB. Here a waking that comes while
//! the task is at work is only noted, and is one more round of the same turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Rounds of a turn; then the other tasks of the worker have theirs, and this one goes on after them.
const ROUNDS_MAX: usize = 8;

/// Polls what a task consists of, as often as its parts want it.
#[derive(Debug)]
pub(crate) struct Turns {
    bell: Arc<Bell>,
    waker: Waker,
}

/// What the parts of the task wake.
#[derive(Debug, Default)]
struct Bell {
    has_rung: AtomicBool,
    /// The task is at work, and will see by itself that the bell has rung.
    is_in_turn: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Wakings come from other threads, too. Here it is "ring, then look whether it is in its turn", at the end of a turn "it is
        // over, then look whether it has rung": in this order, which is what SeqCst is for, one of the two sees the other.
        self.has_rung.store(true, Ordering::SeqCst);
        if !self.is_in_turn.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Default for Turns {
    fn default() -> Self {
        let bell = Arc::<Bell>::default();
        Self { waker: Waker::from(Arc::clone(&bell)), bell }
    }
}

impl Turns {
    /// One turn: `round` is called until it is ready, or nothing in it wants another one.
    pub(crate) fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut round: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.bell.task.register(context.waker());
        self.bell.is_in_turn.store(true, Ordering::SeqCst);
        let mut outcome = Poll::Pending;
        for _ in 0..ROUNDS_MAX {
            self.bell.has_rung.store(false, Ordering::SeqCst);
            outcome = round(&mut Context::from_waker(&self.waker));
            if outcome.is_ready() || !self.bell.has_rung.load(Ordering::SeqCst) {
                break;
            }
        }
        self.bell.is_in_turn.store(false, Ordering::SeqCst);
        if outcome.is_pending() && self.bell.has_rung.load(Ordering::SeqCst) {
            context.waker().wake_by_ref();
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts how often the runtime would have been told.
    #[derive(Default)]
    struct Runtime(AtomicUsize);

    impl Wake for Runtime {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Runtime {
        fn told(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_waking_within_the_turn_is_another_round_of_it() {
        let (runtime, turns, mut rounds) = (Arc::<Runtime>::default(), Turns::default(), 0);
        let waker = Waker::from(Arc::clone(&runtime));
        let outcome = turns.poll(&mut Context::from_waker(&waker), |context| {
            rounds += 1;
            if rounds < 3 {
                context.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert_eq!((outcome, rounds, runtime.told()), (Poll::Pending, 3, 0));
    }

    #[test]
    fn a_turn_has_an_end_and_its_task_another_one() {
        let (runtime, turns, mut rounds) = (Arc::<Runtime>::default(), Turns::default(), 0);
        let waker = Waker::from(Arc::clone(&runtime));
        let outcome = turns.poll(&mut Context::from_waker(&waker), |context| {
            rounds += 1;
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!((outcome, rounds, runtime.told()), (Poll::Pending, ROUNDS_MAX, 1));
    }

    #[test]
    fn a_waking_between_two_turns_reaches_the_runtime() {
        let (runtime, turns, mut inner) = (Arc::<Runtime>::default(), Turns::default(), None);
        let waker = Waker::from(Arc::clone(&runtime));
        let outcome = turns.poll(&mut Context::from_waker(&waker), |context| {
            inner = Some(context.waker().clone());
            Poll::<()>::Pending
        });
        assert_eq!((outcome, runtime.told()), (Poll::Pending, 0));
        inner.expect("it was polled").wake();
        assert_eq!(runtime.told(), 1);
    }

    #[test]
    fn no_waking_of_another_thread_is_lost() {
        let (runtime, turns) = (Arc::<Runtime>::default(), Turns::default());
        let waker = Waker::from(Arc::clone(&runtime));
        for told in 0..1000 {
            let has_woken = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let mut thread = None;
                let outcome = turns.poll(&mut Context::from_waker(&waker), |context| {
                    let inner = context.waker().clone();
                    thread.get_or_insert_with(|| {
                        scope.spawn(|| {
                            has_woken.store(true, Ordering::SeqCst);
                            inner.wake();
                        })
                    });
                    if has_woken.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
                });
                thread.expect("it was polled").join().expect("no panic");
                // Either the turn has seen it, or the runtime was told.
                assert!(outcome.is_ready() || runtime.told() > told, "round {told}");
            });
            runtime.0.store(told + 1, Ordering::Relaxed);
        }
    }
}
