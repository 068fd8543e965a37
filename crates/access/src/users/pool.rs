//! Where hashes are computed: on threads that may be blocked, as many at a time as there are cores, with a short queue before them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::hash::{Comparison, Hash};
use crate::limits::{HASH_PATIENCE, HASHES_WAITING_MAX};
use crate::refusal::Refusal;

/// Computes hashes.
#[derive(Debug)]
pub(super) struct Pool {
    /// One for each core.
    cores: Arc<Semaphore>,
    /// One for each core and each place in the queue.
    places: Arc<Semaphore>,
    hashes: AtomicU64,
}

impl Pool {
    /// As many as the machine has cores.
    pub(super) fn new() -> Self {
        Self::with_cores(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }

    fn with_cores(cores: usize) -> Self {
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            places: Arc::new(Semaphore::new(cores + HASHES_WAITING_MAX)),
            hashes: AtomicU64::new(0),
        }
    }

    /// How many hashes were computed.
    pub(super) fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    /// Compares a password with a hash.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when too many wait, [`Refusal::Unavailable`] when it cannot be computed.
    pub(super) async fn compare(&self, hash: Arc<Hash>, password: SecretString) -> Result<Comparison, Refusal> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        let core = timeout(HASH_PATIENCE, Arc::clone(&self.cores).acquire_owned()).await;
        let core = core.map_err(|_| Refusal::Busy)?.map_err(|_| Refusal::Busy)?;
        self.hashes.fetch_add(1, Ordering::Relaxed);
        let computed = tokio::task::spawn_blocking(move || {
            // Held until the hash is there, also when nobody waits for it any more: it is computed nevertheless.
            let _held = (place, core);
            hash.compare(&password)
        });
        match computed.await {
            Ok(Ok(comparison)) => Ok(comparison),
            Ok(Err(error)) => Err(unavailable(error.into())),
            Err(error) => Err(unavailable(error.into())),
        }
    }
}

fn unavailable(source: Box<dyn std::error::Error + Send + Sync>) -> Refusal {
    Refusal::Unavailable { what: "the users file".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> (Arc<Hash>, SecretString) {
        (Arc::new(Hash::parse(&bcrypt::hash("a", 4).unwrap()).unwrap()), SecretString::from("a".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a11_more_passwords_than_the_queue_holds_are_refused_and_not_hashed() {
        let pool = Pool::with_cores(1);
        let (hash, password) = parts();
        // Somebody has the only core, and others fill the queue.
        let core = Arc::clone(&pool.cores).acquire_owned().await.unwrap();
        let taken = u32::try_from(HASHES_WAITING_MAX).unwrap();
        let queue = Arc::clone(&pool.places).acquire_many_owned(taken).await.unwrap();
        let waited = pool.compare(Arc::clone(&hash), password.clone()).await;
        assert!(matches!(waited, Err(Refusal::Busy)), "it had the last place and no patience left");
        let last = Arc::clone(&pool.places).acquire_owned().await.unwrap();
        let before = tokio::time::Instant::now();
        assert!(matches!(pool.compare(Arc::clone(&hash), password.clone()).await, Err(Refusal::Busy)));
        assert_eq!((before.elapsed(), pool.hashes()), (std::time::Duration::ZERO, 0));
        drop((core, queue, last));
        assert_eq!(pool.compare(hash, password).await.unwrap(), Comparison::Same);
        assert_eq!(pool.hashes(), 1);
    }
}
