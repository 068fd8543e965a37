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
    /// Wakes whoever waits for a session that is being opened.
    changed: Notify,
}

#[derive(Debug)]
enum Session {
    /// A request is looking at what is staged; that ends soon, so others wait for it.
    Opening,
    /// A request is writing to it, for as long as its client likes.
    Writing(Growing),
    /// Nobody has it; here is the running hash.
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
    /// Takes the session for one request, with its running hash when that is known; `None` while another one is writing.
    pub(crate) async fn claim(self: &Arc<Self>, id: &UploadId) -> Option<Claim> {
        self.when_opened(id, |sessions| match sessions.remove(id) {
            Some(writing @ Session::Writing(_)) => {
                sessions.insert(id.clone(), writing);
                None
            }
            Some(Session::Idle(parked)) => Some(self.open(sessions, id, Some(parked))),
            Some(Session::Opening) | None => Some(self.open(sessions, id, None)),
        })
        .await
    }

    /// How far the session is. Asking is never refused, whoever is writing.
    pub(crate) async fn progress(self: &Arc<Self>, id: &UploadId) -> Progress {
        self.when_opened(id, |sessions| match sessions.get(id) {
            Some(Session::Writing(growing)) => Progress::Known(growing.received()),
            Some(Session::Idle(parked)) => Progress::Known(parked.offset()),
            Some(Session::Opening) | None => Progress::Unknown(self.open(sessions, id, None)),
        })
        .await
    }

    /// Decides about a session while nobody is opening it.
    async fn when_opened<T>(&self, id: &UploadId, decide: impl Fn(&mut HashMap<UploadId, Session>) -> T) -> T {
        loop {
            // Listening begins before looking, so that no change falls in between.
            let changed = self.changed.notified();
            {
                let mut sessions = self.lock();
                if !matches!(sessions.get(id), Some(Session::Opening)) {
                    return decide(&mut sessions);
                }
            }
            changed.await;
        }
    }

    fn open(
        self: &Arc<Self>,
        sessions: &mut HashMap<UploadId, Session>,
        id: &UploadId,
        parked: Option<Box<Parked>>,
    ) -> Claim {
        sessions.insert(id.clone(), Session::Opening);
        Claim { sessions: Arc::clone(self), id: id.clone(), parked }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Session>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, id: &UploadId, parked: Option<Box<Parked>>) {
        let mut sessions = self.lock();
        let has_room = sessions.len() <= PARKED_UPLOADS_MAX;
        match parked.filter(|_| has_room) {
            Some(parked) => sessions.insert(id.clone(), Session::Idle(parked)),
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
    parked: Option<Box<Parked>>,
}

impl Claim {
    /// The running hash of the last request, if it is known. Whoever ends the session takes it too, or it would be kept
    /// for nobody.
    pub(crate) fn take_parked(&mut self) -> Option<Parked> {
        self.parked.take().map(|parked| *parked)
    }

    /// Lets others see how far the request is.
    pub(crate) fn show_progress(&self, growing: Growing) {
        self.sessions.lock().insert(self.id.clone(), Session::Writing(growing));
        self.sessions.changed.notify_waiters();
    }

    /// Keeps the running hash for the next request.
    pub(crate) fn park(&mut self, parked: Parked) {
        self.parked = Some(Box::new(parked));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.sessions.release(&self.id, self.parked.take());
    }
}
