//! Single flight: requests for the same thing at the same time share one piece of work and its outcome.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::{Error, Tasks};

type Outcome<T> = Option<Result<T, Arc<Error>>>;

/// The pieces of work under way. The work belongs to the process: a client that leaves does not end it.
pub(crate) struct Flights<Key, T> {
    under_way: Arc<Mutex<HashMap<Key, watch::Receiver<Outcome<T>>>>>,
    tasks: Tasks,
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
        let mut outcome = self.enter(key, work);
        let arrived = outcome.wait_for(Option::is_some).await.map_err(|_| Error::Interrupted)?;
        match arrived.as_ref() {
            Some(Ok(value)) => Ok(value.clone()),
            Some(Err(error)) => Err(Arc::clone(error).into()),
            None => Err(Error::Interrupted),
        }
    }

    fn enter<F>(&self, key: Key, work: impl FnOnce() -> F) -> watch::Receiver<Outcome<T>>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = under_way.get(&key) {
            return outcome.clone();
        }
        let (sender, receiver) = watch::channel(None);
        under_way.insert(key.clone(), receiver.clone());
        let work = work();
        let departure = Departure { key, under_way: Arc::clone(&self.under_way) };
        self.tasks.spawn(async move {
            let outcome = work.await.map_err(Arc::new);
            // Whoever asks from here on starts anew; whoever waits already gets this outcome.
            drop(departure);
            let _ = sender.send(Some(outcome));
        });
        receiver
    }
}

/// Takes the work out of the list when it ends, also when it ends by a panic.
struct Departure<Key: Eq + Hash, T> {
    key: Key,
    under_way: Arc<Mutex<HashMap<Key, watch::Receiver<Outcome<T>>>>>,
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

    #[tokio::test]
    async fn a_failure_is_shared_and_forgotten() {
        let flights: Flights<&str, ()> = Flights::new(Tasks::default());
        assert!(matches!(flights.join("key", || async { Err(Error::ConditionFailed) }).await, Err(Error::Shared(_))));
        assert!(flights.join("key", || async { Ok(()) }).await.is_ok());
    }
}
