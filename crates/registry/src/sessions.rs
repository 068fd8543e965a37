//! The upload sessions that this process knows more about than their row says: who is writing, and the running hash.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_blobs::{Growing, Parked};
use entrepot_metadata::UploadId;
use tokio::sync::Notify;

use crate::limits::PARKED_UPLOADS_MAX;

/// Sessions by id. A session that is not in here is idle, and its hash is recomputed when it goes on.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_id: Mutex<HashMap<UploadId, Session>>,
    /// Wakes whoever waits for a request to show its progress or to end.
    changed: Notify,
}

#[derive(Debug)]
enum Session {
    /// A request has it; its progress, as soon as it is known.
    Busy(Option<Growing>),
    /// Nobody is writing; here is the running hash.
    Idle(Box<Parked>),
}

/// How far a session is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// So many bytes are there.
    Known(u64),
    /// Only what is staged tells; here is the right to look.
    Unknown(Claim),
}

impl Sessions {
    /// Takes the session for one request, with its running hash when that is known; `None` while another request has it.
    pub(crate) fn claim(self: &Arc<Self>, id: &UploadId) -> Option<Claim> {
        let mut sessions = self.lock();
        let parked = match sessions.remove(id) {
            Some(busy @ Session::Busy(_)) => {
                sessions.insert(id.clone(), busy);
                return None;
            }
            Some(Session::Idle(parked)) => Some(*parked),
            None => None,
        };
        sessions.insert(id.clone(), Session::Busy(None));
        Some(Claim { sessions: Arc::clone(self), id: id.clone(), parked })
    }

    /// How far the session is. A request that is about to find out is waited for: asking is never refused.
    pub(crate) async fn progress(self: &Arc<Self>, id: &UploadId) -> Progress {
        loop {
            // Listening begins before looking, so that no change falls in between.
            let changed = self.changed.notified();
            let known = match self.lock().get(id) {
                Some(Session::Busy(growing)) => growing.as_ref().map(Growing::received),
                Some(Session::Idle(parked)) => Some(parked.offset()),
                None => None,
            };
            if let Some(received) = known {
                return Progress::Known(received);
            }
            if let Some(claim) = self.claim(id) {
                return Progress::Unknown(claim);
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Session>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, id: &UploadId, parked: Option<Parked>) {
        let mut sessions = self.lock();
        let has_room = sessions.len() <= PARKED_UPLOADS_MAX;
        match parked.filter(|_| has_room) {
            Some(parked) => sessions.insert(id.clone(), Session::Idle(Box::new(parked))),
            None => sessions.remove(id),
        };
        self.changed.notify_waiters();
    }
}

/// The right to write to a session. Dropped, it gives the session back, with the running hash that it has then.
#[derive(Debug)]
pub(crate) struct Claim {
    sessions: Arc<Sessions>,
    id: UploadId,
    parked: Option<Parked>,
}

impl Claim {
    /// The running hash of the last request, if it is known.
    pub(crate) fn take_parked(&mut self) -> Option<Parked> {
        self.parked.take()
    }

    /// Lets others see how far the request is.
    pub(crate) fn show_progress(&self, growing: Growing) {
        self.sessions.lock().insert(self.id.clone(), Session::Busy(Some(growing)));
        self.sessions.changed.notify_waiters();
    }

    /// Keeps the running hash for the next request.
    pub(crate) fn park(&mut self, parked: Parked) {
        self.parked = Some(parked);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.sessions.release(&self.id, self.parked.take());
    }
}
