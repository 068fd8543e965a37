//! The upload sessions that this process knows more about than their row says: who is writing, and the running hash.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_blobs::{Growing, Parked};
use entrepot_metadata::UploadId;
use tokio::sync::Notify;

use crate::limits::PARKED_UPLOADS_MAX;
use crate::replicas::session::SessionLease;

/// Sessions by id. A session that is not in here is idle, and its hash is recomputed when it goes on. One that is in here has its
/// row: whoever ends a session claims it first.
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
    /// A request is receiving all of it at once, and keeps nothing of it before it is whole.
    Receiving,
    /// Nobody has it.
    Idle(Left),
}

/// What the last request left of a session.
#[derive(Debug)]
enum Left {
    /// It was begun by this process, and nothing was staged since.
    Nothing,
    /// Staged bytes, whose running hash is here.
    Parked(Box<Parked>),
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
    /// Notes a session that has just been begun.
    pub(crate) fn begun(&self, id: &UploadId) {
        let mut sessions = self.lock();
        // Half of the room is for those who would have to hash again.
        if sessions.len() < PARKED_UPLOADS_MAX / 2 {
            sessions.insert(id.clone(), Session::Idle(Left::Nothing));
        }
    }

    /// Takes the session for one request, with what is known of it; `None` while another one is writing.
    pub(crate) async fn claim(self: &Arc<Self>, id: &UploadId) -> Option<Claim> {
        self.when_opened(id, |sessions| match sessions.remove(id) {
            Some(taken @ (Session::Writing(_) | Session::Receiving)) => {
                sessions.insert(id.clone(), taken);
                None
            }
            Some(Session::Idle(left)) => Some(self.open(sessions, id, Some(left))),
            Some(Session::Opening) | None => Some(self.open(sessions, id, None)),
        })
        .await
    }

    /// How far the session is. Asking is never refused, whoever is writing.
    pub(crate) async fn progress(self: &Arc<Self>, id: &UploadId) -> Progress {
        self.when_opened(id, |sessions| match sessions.get(id) {
            Some(Session::Writing(growing)) => Progress::Known(growing.received()),
            Some(Session::Receiving | Session::Idle(Left::Nothing)) => Progress::Known(0),
            Some(Session::Idle(Left::Parked(parked))) => Progress::Known(parked.offset()),
            Some(Session::Opening) | None => Progress::Unknown(self.open(sessions, id, None)),
        })
        .await
    }

    /// How many bytes the request has received that is writing to the session in this process, if one is.
    pub(crate) fn being_written(&self, id: &UploadId) -> Option<u64> {
        match self.lock().get(id) {
            Some(Session::Writing(growing)) => Some(growing.received()),
            Some(Session::Receiving) => Some(0),
            Some(Session::Opening | Session::Idle(_)) | None => None,
        }
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

    fn open(self: &Arc<Self>, sessions: &mut HashMap<UploadId, Session>, id: &UploadId, left: Option<Left>) -> Claim {
        sessions.insert(id.clone(), Session::Opening);
        Claim { sessions: Arc::clone(self), id: id.clone(), left, lease: None }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Session>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, id: &UploadId, left: Option<Left>) {
        let mut sessions = self.lock();
        let has_room = sessions.len() <= PARKED_UPLOADS_MAX;
        match left.filter(|_| has_room) {
            Some(left) => sessions.insert(id.clone(), Session::Idle(left)),
            None => sessions.remove(id),
        };
        self.changed.notify_waiters();
    }
}

/// The right to write to a session. Dropped, it gives the session back, with what is known of it then.
#[derive(Debug)]
pub(crate) struct Claim {
    sessions: Arc<Sessions>,
    id: UploadId,
    left: Option<Left>,
    /// The same right among replicas, where there are several.
    lease: Option<SessionLease>,
}

impl Claim {
    /// Makes it the right of this replica among others. What this process knows of the session counts only if no other had it since.
    pub(crate) fn share(&mut self, lease: SessionLease) {
        let theirs = lease.state.as_ref().map(|left| left.state.clone());
        let ours = match &self.left {
            Some(Left::Parked(parked)) => parked.encode(),
            Some(Left::Nothing) | None => None,
        };
        match theirs {
            None => self.left = Some(Left::Nothing),
            Some(theirs) if ours.as_ref() == Some(&theirs) => {}
            Some(theirs) => self.left = Parked::decode(&theirs).map(|parked| Left::Parked(Box::new(parked))),
        }
        self.lease = Some(lease);
    }

    /// The right among replicas, to be given back or ended.
    pub(crate) fn take_lease(&mut self) -> Option<SessionLease> {
        self.lease.take()
    }

    /// Whether this process knows the session, which so has its row.
    pub(crate) const fn is_known(&self) -> bool {
        self.left.is_some()
    }

    /// Whether it is known that nothing is staged.
    pub(crate) const fn is_empty(&self) -> bool {
        matches!(self.left, Some(Left::Nothing))
    }

    /// The running hash of the last request, if it is known. Whoever ends the session, or stages something, takes it too: what
    /// was left would be kept for nobody, or be wrong.
    pub(crate) fn take_parked(&mut self) -> Option<Parked> {
        match self.left.take() {
            Some(Left::Parked(parked)) => Some(*parked),
            Some(Left::Nothing) | None => None,
        }
    }

    /// Lets others see that the request receives all of it at once.
    pub(crate) fn show_receiving(&self) {
        self.sessions.lock().insert(self.id.clone(), Session::Receiving);
        self.sessions.changed.notify_waiters();
    }

    /// Lets others see how far the request is.
    pub(crate) fn show_progress(&self, growing: Growing) {
        self.sessions.lock().insert(self.id.clone(), Session::Writing(growing));
        self.sessions.changed.notify_waiters();
    }

    /// Keeps the running hash for the next request.
    pub(crate) fn park(&mut self, parked: Parked) {
        self.left = Some(Left::Parked(Box::new(parked)));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.sessions.release(&self.id, self.left.take());
    }
}
