//! Which stages this process has, and in which state.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use entrepot_blobs::StageId;
use tokio::time::Instant;

use crate::kept::Kept;
use crate::limits::LOCAL_COPY_KEPT_FOR;

/// The stages whose bytes are in the staging folder of this process, and those that are being removed from the store.
#[derive(Debug, Default)]
pub(crate) struct Stages(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    local: HashMap<StageId, Local>,
    /// Incarnations that are over, though something of them may still be seen.
    ending: HashSet<String>,
}

#[derive(Debug)]
struct Local {
    incarnation: String,
    parked: Option<ParkedHere>,
}

/// A parked stage whose file is as it was left.
#[derive(Clone, Debug)]
pub(crate) struct ParkedHere {
    pub(crate) kept: Kept,
    /// The first position that is in the file.
    pub(crate) local_from: u64,
    pub(crate) since: Instant,
}

impl Stages {
    /// Notes that an ingest holds the stage now, and returns the incarnation of the stage that had the id before.
    pub(crate) fn hold(&self, stage: &StageId, incarnation: &str) -> Option<String> {
        let local = Local { incarnation: incarnation.to_owned(), parked: None };
        let earlier = self.lock().local.insert(stage.clone(), local);
        earlier.map(|earlier| earlier.incarnation).filter(|earlier| earlier != incarnation)
    }

    /// Notes that the stage was parked. Another incarnation that has the id by now is left alone.
    pub(crate) fn park(&self, stage: &StageId, parked: ParkedHere) {
        if let Some(local) = self.lock().local.get_mut(stage)
            && local.incarnation == parked.kept.incarnation
        {
            local.parked = Some(parked);
        }
    }

    /// The stage as it was parked here.
    pub(crate) fn parked(&self, stage: &StageId) -> Option<ParkedHere> {
        self.lock().local.get(stage).and_then(|local| local.parked.clone())
    }

    pub(crate) fn is_local(&self, stage: &StageId) -> bool {
        self.lock().local.contains_key(stage)
    }

    /// Whether the stage is still, or again, this incarnation.
    pub(crate) fn has(&self, stage: &StageId, incarnation: &str) -> bool {
        self.lock().local.get(stage).is_some_and(|local| local.incarnation == incarnation)
    }

    /// Forgets the stage, if it is still this incarnation.
    pub(crate) fn forget(&self, stage: &StageId, incarnation: &str) {
        let mut known = self.lock();
        if known.local.get(stage).is_some_and(|local| local.incarnation == incarnation) {
            known.local.remove(stage);
        }
    }

    /// Forgets the stage, whichever incarnation it is.
    pub(crate) fn remove(&self, stage: &StageId) {
        self.lock().local.remove(stage);
    }

    /// Forgets the stages that were parked here long ago and returns them: their local files are of no use any more.
    pub(crate) fn take_stale(&self) -> Vec<StageId> {
        let is_stale =
            |local: &Local| local.parked.as_ref().is_some_and(|parked| parked.since.elapsed() > LOCAL_COPY_KEPT_FOR);
        self.lock().local.extract_if(|_, local| is_stale(local)).map(|(stage, _)| stage).collect()
    }

    /// Notes that what is left of an incarnation is being removed: it is no stage any more.
    pub(crate) fn begin_ending(&self, incarnation: &str) {
        self.lock().ending.insert(incarnation.to_owned());
    }

    pub(crate) fn is_ending(&self, incarnation: &str) -> bool {
        self.lock().ending.contains(incarnation)
    }

    /// Notes that it was removed, or could not be: then it is listed again.
    pub(crate) fn end(&self, incarnation: &str) {
        self.lock().ending.remove(incarnation);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
