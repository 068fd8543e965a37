//! Single flight: requests for the same thing at the same time share one piece of work and its outcome.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Error, Tasks};

type Outcome<T> = Option<Result<T, Arc<Error>>>;

/// The pieces of work under way. The work belongs to the process: a client that leaves does not end it.
pub(crate) struct Flights<Key, T> {
    under_way: Arc<Mutex<HashMap<Key, Flight<T>>>>,
    tasks: Tasks,
}

/// A piece of work under way.
#[derive(Clone)]
struct Flight<T> {
    outcome: watch::Receiver<Outcome<T>>,
    began: Instant,
}

impl<Key, T> Flights<Key, T>
where
    Key: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { under_way: Arc::default(), tasks }
    }

    /// The outcome of the work under `key`: that which is under way, or else `work`, which starts now.
    pub(crate) async fn join<F>(&self, key: Key, work: impl FnOnce() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.enter(key, work).landed().await
    }

    /// The same, waited for no longer than until `patience` after the work began; `None` when it goes on beyond that.
    pub(crate) async fn join_within<F>(
        &self,
        key: Key,
        patience: Duration,
        work: impl FnOnce() -> F,
    ) -> Option<Result<T, Error>>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let flight = self.enter(key, work);
        tokio::time::timeout_at(flight.began + patience, flight.landed()).await.ok()
    }

    /// Resolves when the work under `key` that is under way now, if any, has ended: what is joined after that began later.
    pub(crate) async fn ended(&self, key: &Key) {
        let flight = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if let Some(flight) = flight {
            // How it ended is for those who asked for it.
            let _ = flight.landed().await;
        }
    }

    fn enter<F>(&self, key: Key, work: impl FnOnce() -> F) -> Flight<T>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(&key) {
            return flight.clone();
        }
        let (sender, outcome) = watch::channel(None);
        let flight = Flight { outcome, began: Instant::now() };
        under_way.insert(key.clone(), flight.clone());
        let departure = Departure { key, under_way: Arc::clone(&self.under_way) };
        // A runtime that shuts down drops a task where it is spawned, and the departure with it, which takes the lock itself.
        drop(under_way);
        let work = work();
        self.tasks.spawn(async move {
            let outcome = work.await.map_err(Arc::new);
            // Whoever asks from here on starts anew; whoever waits already gets this outcome.
            drop(departure);
            let _ = sender.send(Some(outcome));
        });
        flight
    }
}

impl<T: Clone> Flight<T> {
    async fn landed(mut self) -> Result<T, Error> {
        let arrived = self.outcome.wait_for(Option::is_some).await.map_err(|_| Error::Interrupted)?;
        match arrived.as_ref() {
            Some(Ok(value)) => Ok(value.clone()),
            Some(Err(error)) => Err(Arc::clone(error).into()),
            None => Err(Error::Interrupted),
        }
    }
}

/// Takes the work out of the list when it ends, also when it ends by a panic.
struct Departure<Key: Eq + Hash, T> {
    key: Key,
    under_way: Arc<Mutex<HashMap<Key, Flight<T>>>>,
}

impl<Key: Eq + Hash, T> Drop for Departure<Key, T> {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl<Key, T> fmt::Debug for Flights<Key, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).len();
        formatter.debug_struct("Flights").field("under_way", &under_way).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn requests_at_the_same_time_share_one_outcome_and_later_ones_do_not() {
        let flights: Arc<Flights<&str, usize>> = Arc::new(Flights::new(Tasks::default()));
        let runs = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let ask = || {
            let (flights, runs, gate) = (Arc::clone(&flights), Arc::clone(&runs), Arc::clone(&gate));
            async move {
                flights
                    .join("key", || async move {
                        let _permit = gate.acquire().await;
                        Ok(runs.fetch_add(1, Ordering::SeqCst))
                    })
                    .await
            }
        };
        let together = futures_util::future::join_all((0..50).map(|_| ask()));
        let (outcomes, ()) = tokio::join!(together, async { gate.add_permits(1) });
        assert!(outcomes.into_iter().all(|outcome| matches!(outcome, Ok(0))));
        gate.add_permits(1);
        assert!(matches!(ask().await, Ok(1)));
    }

    #[test]
    fn what_is_joined_while_the_runtime_shuts_down_ends_at_once() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let handle = runtime.handle().clone();
        // Waits until nothing runs there any more.
        drop(runtime);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _entered = handle.enter();
            let flights: Flights<&str, ()> = Flights::new(Tasks::default());
            let joined = flights.join("key", || async { Ok(()) });
            tell.send(futures_util::FutureExt::now_or_never(joined).map(|outcome| outcome.is_err())).unwrap();
        });
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(Some(true)));
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_forgotten() {
        let flights: Flights<&str, ()> = Flights::new(Tasks::default());
        assert!(matches!(flights.join("key", || async { Err(Error::ConditionFailed) }).await, Err(Error::Shared(_))));
        assert!(flights.join("key", || async { Ok(()) }).await.is_ok());
    }
    #[tokio::test(start_paused = true)]
    async fn patience_counts_from_when_the_work_began_and_the_work_goes_on() {
        let flights: Flights<&str, u8> = Flights::new(Tasks::default());
        let gate = Arc::new(Semaphore::new(0));
        let join = || {
            let gate = Arc::clone(&gate);
            flights.join_within("key", Duration::from_secs(1), || async move {
                let _permit = gate.acquire().await;
                Ok(7)
            })
        };
        let began = Instant::now();
        assert!(join().await.is_none());
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        // Whoever comes later has nothing left to wait for.
        assert!(join().await.is_none());
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        gate.add_permits(1);
        flights.ended(&"key").await;
        assert!(matches!(join().await, Some(Ok(7))));
    }
}
