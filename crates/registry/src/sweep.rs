//! The sweep: ends uploads that nobody uses any more, and removes staged bytes that nobody can take up again.

use std::sync::Arc;

use entrepot_metadata::Timestamp;

use crate::limits::{LOST_SESSION_AGE, ORPHAN_AGE, SWEEP_BATCH};
use crate::registry::Store;
use crate::replicas::session::Taken;
use crate::upload::{session_of, stage_of};
use crate::{Error, Registry};

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Upload sessions that had expired.
    pub uploads: usize,
    /// Staged leftovers without a session.
    pub leftovers: usize,
    /// The bytes that were staged in both.
    pub bytes: u64,
}

impl Registry {
    /// Ends expired uploads and removes leftovers.
    ///
    /// At the start of a process that has the stores to itself (`at_start`) nothing is under way yet, so every leftover goes;
    /// otherwise only those that are old enough to belong to no fill.
    pub async fn sweep(self: &Arc<Self>, at_start: bool) -> Result<Swept, Error> {
        let mut swept = Swept { uploads: self.end_idle_uploads().await?, ..Swept::default() };
        for store in [&self.own, &self.cache] {
            // What other processes have under way is none of them.
            let is_all = at_start && !store.blobs.is_shared();
            let oldest = (!is_all).then(|| self.clock.now().before(ORPHAN_AGE));
            self.remove_leftovers(store, oldest, &mut swept).await?;
        }
        self.metrics.uploads_swept.inc_by((swept.uploads + swept.leftovers) as u64);
        Ok(swept)
    }

    async fn end_idle_uploads(&self) -> Result<usize, Error> {
        let before = self.clock.now().before(self.limits.upload_expiry);
        let mut ended = 0;
        loop {
            let rows = self.own.metadata.idle_uploads(before, SWEEP_BATCH).await?;
            let found = rows.len();
            let mut is_stuck = true;
            for row in rows {
                // A session that a request is writing to is not idle, whatever its row says.
                let Some(mut claim) = self.sessions.claim(&row.id).await else { continue };
                claim.take_parked();
                let lease = match self.take_among(&row.id).await {
                    Ok(Taken::Alone) => None,
                    Ok(Taken::Among(lease)) => Some(lease),
                    Ok(Taken::Ended) | Err(Error::UploadBusy { .. }) => continue,
                    Err(error) => return Err(error),
                };
                // The row first: a crash in between leaves staged bytes without a session, which are leftovers.
                self.end_upload(&row.id, lease).await?;
                self.own.blobs.discard(&stage_of(&row.id)).await?;
                is_stuck = false;
                ended += 1;
            }
            if found < SWEEP_BATCH || is_stuck {
                return Ok(ended);
            }
        }
    }

    async fn remove_leftovers(&self, store: &Store, oldest: Option<Timestamp>, swept: &mut Swept) -> Result<(), Error> {
        for staged in store.blobs.staged().await? {
            // What a session has is looked for in its row. Only a request that has lost its session without having noticed may still be at it.
            let oldest = match session_of(&staged.stage) {
                Some(_) => oldest.map(|_| self.clock.now().before(LOST_SESSION_AGE)),
                None => oldest,
            };
            let is_young = oldest.is_some_and(|oldest| Timestamp::from(staged.modified) > oldest);
            if is_young || self.is_owned(store, &staged.stage).await? {
                continue;
            }
            if store.blobs.discard(&staged.stage).await? {
                swept.leftovers += 1;
                swept.bytes += staged.size;
            }
        }
        Ok(())
    }

    async fn is_owned(&self, store: &Store, stage: &entrepot_blobs::StageId) -> Result<bool, Error> {
        match session_of(stage) {
            Some(id) => Ok(store.metadata.upload(&id).await?.is_some()),
            None => Ok(false),
        }
    }
}
