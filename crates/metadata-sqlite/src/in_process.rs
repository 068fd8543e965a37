//! What only the process that runs knows: its leases, its notes, which request writes to which upload.
//!
//! One process owns the file, so whatever holds any of this is a part of it, and holds nothing any more once it has ended. That is why
//! nothing of this is written down.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use entrepot_metadata::limits::NOTE_BYTES_MAX;
use entrepot_metadata::{Audience, Error, Lease, LeaseClaim, LeaseOutcome, UploadId};

use crate::limits::RUN_OUT_KEPT_MIN;

/// What the process knows of itself.
#[derive(Debug, Default)]
pub(crate) struct InProcess {
    state: Mutex<State>,
    pub(crate) audience: Audience,
}

#[derive(Debug, Default)]
struct State {
    leases: HashMap<String, Held>,
    last_fence: u64,
    notes: BTreeMap<String, Noted>,
    writers: HashMap<UploadId, Writing>,
    /// How much there may be before what has run out is looked for.
    swept_at: usize,
}

#[derive(Debug)]
struct Held {
    holder: String,
    note: String,
    fence: u64,
    until: Until,
}

#[derive(Debug)]
struct Noted {
    value: String,
    until: Until,
}

#[derive(Debug)]
struct Writing {
    writer: String,
    until: Until,
}

/// When something runs out; `None` is never, for times that are too far away to be counted.
#[derive(Clone, Copy, Debug)]
struct Until(Option<Instant>);

impl Until {
    fn after(lasts: Duration) -> Self {
        Self(Instant::now().checked_add(lasts))
    }

    fn remaining(self) -> Option<Duration> {
        let Some(until) = self.0 else { return Some(Duration::MAX) };
        until.checked_duration_since(Instant::now()).filter(|remaining| !remaining.is_zero())
    }

    fn has_passed(self) -> bool {
        self.remaining().is_none()
    }
}

impl InProcess {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn claim_lease(&self, claim: &LeaseClaim, lasts: Duration) -> Result<LeaseOutcome, Error> {
        Error::check_length("the note of a lease", claim.note.len(), NOTE_BYTES_MAX)?;
        let mut state = self.state();
        state.sweep();
        let mut fence = state.last_fence + 1;
        if let Some(held) = state.leases.get(&claim.name) {
            if held.holder == claim.holder {
                fence = held.fence;
            } else if let Some(remaining) = held.until.remaining() {
                return Ok(LeaseOutcome::Taken { holder: held.holder.clone(), note: held.note.clone(), remaining });
            }
        }
        state.last_fence = state.last_fence.max(fence);
        let until = Until::after(lasts);
        let held = Held { holder: claim.holder.clone(), note: claim.note.clone(), fence, until };
        state.leases.insert(claim.name.clone(), held);
        Ok(LeaseOutcome::Held { fence })
    }

    pub(crate) fn release_lease(&self, name: &str, holder: &str) -> bool {
        let mut state = self.state();
        let is_held = state.leases.get(name).is_some_and(|held| held.holder == holder && !held.until.has_passed());
        if is_held {
            state.leases.remove(name);
        }
        is_held
    }

    pub(crate) fn lease(&self, name: &str) -> Option<Lease> {
        let state = self.state();
        let held = state.leases.get(name)?;
        let remaining = held.until.remaining()?;
        let (holder, note) = (held.holder.clone(), held.note.clone());
        Some(Lease { name: name.to_owned(), holder, note, fence: held.fence, remaining })
    }

    pub(crate) fn set_note(&self, key: &str, value: &str, lasts: Duration) -> Result<(), Error> {
        Error::check_length("a note", value.len(), NOTE_BYTES_MAX)?;
        let mut state = self.state();
        state.sweep();
        state.notes.insert(key.to_owned(), Noted { value: value.to_owned(), until: Until::after(lasts) });
        Ok(())
    }

    pub(crate) fn note(&self, key: &str) -> Option<String> {
        let state = self.state();
        state.notes.get(key).filter(|noted| !noted.until.has_passed()).map(|noted| noted.value.clone())
    }

    pub(crate) fn notes(&self, prefix: &str, limit: usize) -> Vec<(String, String)> {
        let state = self.state();
        let from = state.notes.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, noted)| !noted.until.has_passed())
            .take(limit)
            .map(|(key, noted)| (key.clone(), noted.value.clone()))
            .collect()
    }

    /// Takes an upload for a writer; `false` when another one has it. Only the thread that writes to the database calls this and
    /// what follows, so that nothing comes between such a look and the write that depends on it.
    pub(crate) fn claim_upload(&self, id: &UploadId, writer: &str, lasts: Duration) -> bool {
        let mut state = self.state();
        state.sweep();
        let is_free =
            state.writers.get(id).is_none_or(|writing| writing.writer == writer || writing.until.has_passed());
        if is_free {
            state.writers.insert(id.clone(), Writing { writer: writer.to_owned(), until: Until::after(lasts) });
        }
        is_free
    }

    /// Whether the upload is `writer`'s; without a writer, whether it is nobody's.
    pub(crate) fn may_write(&self, id: &UploadId, writer: Option<&str>) -> bool {
        let state = self.state();
        match (state.writers.get(id), writer) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(writing), None) => writing.until.has_passed(),
            (Some(writing), Some(writer)) => writing.writer == writer,
        }
    }

    /// Whether a claim on the upload lasts.
    pub(crate) fn is_claimed(&self, id: &UploadId) -> bool {
        !self.may_write(id, None)
    }

    /// Forgets who writes to an upload, if it is this writer. Called when what he wrote last is in the database, so that a commit
    /// that fails leaves him his claim.
    pub(crate) fn end_claim(&self, id: &UploadId, writer: Option<&str>) {
        let mut state = self.state();
        if writer.is_none_or(|writer| state.writers.get(id).is_some_and(|writing| writing.writer == writer)) {
            state.writers.remove(id);
        }
    }
}

impl State {
    /// Forgets what has run out, once there is twice as much as the last time, so that it costs little for each call.
    fn sweep(&mut self) {
        if self.length() < self.swept_at {
            return;
        }
        self.leases.retain(|_, held| !held.until.has_passed());
        self.notes.retain(|_, noted| !noted.until.has_passed());
        self.writers.retain(|_, writing| !writing.until.has_passed());
        self.swept_at = self.length().saturating_mul(2).max(RUN_OUT_KEPT_MIN);
    }

    fn length(&self) -> usize {
        self.leases.len() + self.notes.len() + self.writers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_run_out_does_not_pile_up() {
        let process = InProcess::default();
        process.set_note("kept", "value", Duration::MAX).unwrap();
        for number in 0..10 * RUN_OUT_KEPT_MIN {
            let name = number.to_string();
            process.set_note(&name, "value", Duration::ZERO).unwrap();
            let claim = LeaseClaim { name, holder: "one".to_owned(), note: String::new() };
            process.claim_lease(&claim, Duration::ZERO).unwrap();
            assert!(process.claim_upload(&UploadId::from_random(number as u128), "one", Duration::ZERO));
            assert!(process.state().length() <= RUN_OUT_KEPT_MIN + 3);
        }
        assert_eq!(process.note("kept").as_deref(), Some("value"));
    }
}
