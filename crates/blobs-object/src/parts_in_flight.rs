//! How much memory uploads in parts may take.

use std::sync::Arc;

use entrepot_blobs::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The memory of all parts that are being uploaded, by every store that shares it.
///
/// A part is in memory from the moment that it is read from its staged file until the store has taken it, which includes retries. The
/// default is 128 MiB: eight parts of 16 MiB. A part that is larger than all of it goes alone, so the bound is the larger of the two.
/// Parts that must wait wait on the disk. Clones are the same bound.
#[derive(Clone, Debug)]
pub struct PartsInFlight {
    permits: Arc<Semaphore>,
    total: u32,
}

/// What one permit stands for.
const PERMIT_BYTES: u64 = 1 << 20;

impl PartsInFlight {
    /// At most `bytes_max` bytes of parts in memory at once, in whole MiB.
    pub fn new(bytes_max: u64) -> Self {
        let total = u32::try_from(bytes_max / PERMIT_BYTES).unwrap_or(u32::MAX).clamp(1, 1 << 28);
        Self { permits: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits for room for `bytes`, which is taken until the permit is dropped. First come, first served.
    pub(crate) async fn room_for(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        let wanted = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.total);
        let permit = Arc::clone(&self.permits).acquire_many_owned(wanted).await;
        permit.map_err(|_| Error::Interrupted { operation: "wait for memory for a part" })
    }
}

impl Default for PartsInFlight {
    fn default() -> Self {
        Self::new(8 * crate::PART_BYTES_DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn parts_wait_for_room_and_one_that_is_too_large_goes_alone() {
        let parts = PartsInFlight::new(3 << 20);
        let (one, two) = (parts.room_for(1 << 20).await.unwrap(), parts.room_for((1 << 20) + 1).await.unwrap());
        assert!(parts.room_for(1).now_or_never().is_none());
        drop(one);
        let one = parts.clone().room_for(1).now_or_never().unwrap().unwrap();
        assert!(parts.room_for(1 << 40).now_or_never().is_none());
        drop((one, two));
        let large = parts.room_for(1 << 40).now_or_never().unwrap().unwrap();
        assert!(parts.room_for(1).now_or_never().is_none());
        drop(large);
        assert!(parts.room_for(1).now_or_never().is_some());
    }
}
