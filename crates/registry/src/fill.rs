//! Fills: blobs on their way from an upstream into the cache.
//!
//! There is at most one fill of a digest in the process, whoever asks for it and however many. It belongs to the process: clients come and
//! go, the upstream may break off, the fill goes on until the blob is verified and stored, or has failed for everybody. Those who
//! wait read the growing file, each at its own pace; none gets the last piece before the whole has been verified. What they have not
//! read yet is in that file and nowhere else, so memory does not grow with slow clients.
//!
//! A fill that nobody follows is an *orphan*. It goes on, because a client that left will come back, but only so many may. One more,
//! and the newest orphan ends, which is the fill that was left just now: the others have come farther.
//!
//! Of an upstream that is asked with the account of the caller, a fill is led with the account of whoever began it, and followed by others
//! whom the upstream has allowed it as well. How it ends says nothing about theirs: after a failure they begin one of their own. What is
//! here already, or on its way, is given to another upstream's repository only as [`crate::sharing`] says: there, somebody who knows no
//! more than the digest would get the content.
//!
//! When the disk is full the fill ends, its bytes are given up, and the blob passes through uncached ([`crate::passing`]).

mod lead;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_blobs::{BlobReader, Growing};
use entrepot_oci::{Digest, RepositoryName};
use entrepot_upstream::CallerKey;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::lead::{Lead, commit_error};
use crate::content::{Arriving, BlobContent, PassedOn};
use crate::limits::{FILL_JOINS_MAX, FULL_PAUSE, UNSIZED_PATIENCE};
use crate::metrics::gauged;
use crate::passing::Passing;
use crate::proxied::Proxied;
use crate::registry::Store;
use crate::removal::{Removal, Removals};
use crate::replicas::{Replica, Ticket};
use crate::sharing::{FillKey, Sharing};
use crate::{Clock, Error, Limits, Metrics, Tasks};

/// A blob that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct FillRequest {
    pub(crate) digest: Digest,
    /// Its size, when a cached manifest of the repository names it. That also proves that it belongs to the repository.
    pub(crate) described_size: Option<u64>,
    pub(crate) proxied: Proxied,
}

/// What is known of a fill from outside.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    /// The upstream has not answered yet.
    Asking,
    /// Bytes are coming, this many in all if that is known.
    Arriving { growing: Growing, size: Option<u64> },
    /// Verified and stored. Opened while the fill still kept the bytes from being evicted.
    Stored(BlobReader),
    /// Ended without a blob, because there is no room for it: whoever wants its bytes asks the upstream.
    PassedOn { size: u64 },
    /// Ended without a blob.
    Failed(Arc<Error>),
}

impl Progress {
    const fn is_over(&self) -> bool {
        matches!(self, Self::Stored(_) | Self::PassedOn { .. } | Self::Failed(_))
    }
}

/// A fill that runs.
#[derive(Debug)]
struct Fill {
    /// Which of the fills of this digest it is: an ended one must not take away the place of the next.
    number: u64,
    /// The repository that it is fetched through.
    cached_name: RepositoryName,
    /// Whose account it is fetched with.
    caller: Option<CallerKey>,
    progress: watch::Receiver<Progress>,
    /// How many clients wait for it or read from it.
    followers: usize,
    /// Ends it.
    abandoned: CancellationToken,
    /// What other replicas show that may read along.
    ticket: Ticket,
}

/// The fills of this process.
#[derive(Debug)]
pub(crate) struct Fills {
    under_way: Mutex<UnderWay>,
    /// The blobs whose bytes are being removed. One begins only under the lock of `under_way`, see [`Self::begin_removal`].
    removals: Removals,
    /// Told whenever a fill has stored a blob: the cache may be too full now.
    pub(crate) stored: Notify,
    /// Until when the disk counts as full.
    full_until: Mutex<Option<Instant>>,
    /// What may be had without asking the upstream.
    pub(crate) sharing: Sharing,
    /// Where a blob may already be because somebody pushed it.
    own: Store,
    /// Where it goes.
    pub(crate) store: Store,
    /// This process, where it is one of several that share the cache.
    pub(crate) replica: Option<Replica>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    orphans_max: usize,
    pub(crate) metrics: Arc<Metrics>,
    tasks: Tasks,
}

/// What a client that wants a blob finds under way.
struct Joined {
    follower: Follower,
    /// It is fetched through another repository.
    is_through_another: bool,
    /// It is fetched with another account.
    is_of_another: bool,
}

#[derive(Debug, Default)]
struct UnderWay {
    fills: HashMap<FillKey, Fill>,
    /// How many fills there have been.
    count: u64,
}

impl UnderWay {
    fn holds(&self, digest: &Digest, sharing: &Sharing) -> bool {
        sharing.keys(digest).any(|key| self.fills.contains_key(&key))
    }

    fn orphans(&self) -> usize {
        self.fills.values().filter(|fill| fill.followers == 0).count()
    }
}

impl Fills {
    /// No fills yet.
    pub(crate) fn new(
        (own, store, replica): (Store, Store, Option<Replica>),
        clock: Arc<dyn Clock>,
        limits: Limits,
        orphans_max: usize,
        sharing: Sharing,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Self {
        let (under_way, full_until) = (Mutex::default(), Mutex::default());
        let (removals, stored) = (Removals::default(), Notify::new());
        Self {
            under_way,
            removals,
            stored,
            full_until,
            sharing,
            own,
            store,
            replica,
            clock,
            limits,
            orphans_max,
            metrics,
            tasks,
        }
    }

    /// Joins the fill of the blob, or starts it, and waits until it has something to read: its size, and its bytes.
    pub(crate) async fn join(self: &Arc<Self>, request: FillRequest) -> Result<(u64, BlobContent), Error> {
        let FillRequest { digest, described_size, proxied } = request.clone();
        let mut joins = 1;
        let (follower, progress) = loop {
            let Joined { follower, is_through_another, is_of_another } = self.enter(request.clone());
            if is_through_another && !self.sharing.is_proven(described_size, &proxied) {
                proxied.confirm_blob(&digest).await?;
            }
            match follower.readable().await? {
                Progress::Failed(_) if is_of_another && joins >= FILL_JOINS_MAX => return Err(Error::Interrupted),
                Progress::Failed(_) if is_of_another => joins += 1,
                progress => break (follower, progress),
            }
        };
        match progress {
            Progress::Arriving { growing, size: Some(size) } => {
                let passing = Passing { proxied, digest, size };
                let arriving = Arriving { growing, passing, follower: Arc::new(follower) };
                Ok((size, BlobContent::Arriving(Box::new(arriving))))
            }
            Progress::PassedOn { size } => {
                let passed_on = PassedOn(Passing { proxied, digest, size });
                Ok((size, BlobContent::PassedOn(Box::new(passed_on))))
            }
            Progress::Stored(reader) => Ok((reader.size(), BlobContent::Stored(reader))),
            Progress::Failed(error) => Err(error.into()),
            Progress::Asking | Progress::Arriving { .. } => Err(Error::Interrupted),
        }
    }

    /// Resolves when none of the fills that run now is running any more.
    pub(crate) async fn ended(&self) {
        let under_way: Vec<_> = self.lock().fills.values().map(|fill| fill.progress.clone()).collect();
        for mut progress in under_way {
            // An error means that the fill's task is gone: it is over as well.
            let _ = progress.wait_for(Progress::is_over).await;
        }
    }

    /// What becomes of the fill of the blob that runs now; `None` when none does.
    pub(crate) fn outcome(
        &self,
        digest: &Digest,
        proxied: &Proxied,
    ) -> Option<impl Future<Output = Result<(), Error>> + use<>> {
        let mut progress = self.lock().fills.get(&self.sharing.key(digest, proxied))?.progress.clone();
        Some(async move {
            match &*progress.wait_for(Progress::is_over).await.map_err(|_| Error::Interrupted)? {
                Progress::Failed(error) => Err(Arc::clone(error).into()),
                Progress::Asking | Progress::Arriving { .. } | Progress::Stored(_) | Progress::PassedOn { .. } => {
                    Ok(())
                }
            }
        })
    }

    /// Follows a fill for another replica that shows its ticket; `None` when it is over, or never was.
    pub(crate) fn follow(self: &Arc<Self>, digest: &Digest, ticket: &Ticket) -> Option<Follower> {
        let mut under_way = self.lock();
        let is_meant = |(key, fill): &(&FillKey, &mut Fill)| key.digest == *digest && fill.ticket.is(ticket);
        let (key, fill) = under_way.fills.iter_mut().find(is_meant)?;
        fill.followers += 1;
        Some(Follower::of(self, key, fill))
    }

    /// Takes the blob for the removal of its bytes; `None` while it is being filled, or removed by another.
    ///
    /// A fill lists itself and a removal begins under the same lock, so one of the two sees the other: either the removal
    /// does not begin, or the fill waits for its end before it looks at what is here.
    pub(crate) fn begin_removal(&self, digest: &Digest) -> Option<Removal> {
        let under_way = self.lock();
        if under_way.holds(digest, &self.sharing) { None } else { self.removals.begin(digest) }
    }

    /// Follows the fill that runs, or one that starts now.
    fn enter(self: &Arc<Self>, request: FillRequest) -> Joined {
        let key = self.sharing.key(&request.digest, &request.proxied);
        let mut under_way = self.lock();
        let (cached_name, caller) = (request.proxied.cached_name(), request.proxied.remote().caller());
        if let Some(fill) = under_way.fills.get_mut(&key)
            && !fill.abandoned.is_cancelled()
        {
            fill.followers += 1;
            let follower = Follower::of(self, &key, fill);
            let is_through_another = fill.cached_name != *cached_name;
            let is_of_another = fill.caller != caller;
            self.metrics.fills_orphaned.set(gauged(under_way.orphans() as u64));
            return Joined { follower, is_through_another, is_of_another };
        }
        let (sender, progress) = watch::channel(Progress::Asking);
        let abandoned = CancellationToken::new();
        under_way.count += 1;
        let number = under_way.count;
        let (cached_name, followers) = (cached_name.clone(), 1);
        let ticket = Ticket::random();
        let lead = Lead {
            fills: Arc::clone(self),
            request,
            key: key.clone(),
            ticket: ticket.clone(),
            progress: sender,
            abandoned: abandoned.clone(),
        };
        let fill = Fill { number, cached_name, caller, progress, followers, abandoned, ticket };
        let follower = Follower::of(self, &key, &fill);
        under_way.fills.insert(key.clone(), fill);
        drop(under_way);
        let departure = Departure { fills: Arc::clone(self), key, number };
        self.tasks.spawn(async move { lead.run(departure).await });
        Joined { follower, is_through_another: false, is_of_another: false }
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a fill found the disk full a moment ago. When the moment is over, the next fill tries again.
    fn is_full(&self) -> bool {
        let full_until = *self.full_until.lock().unwrap_or_else(PoisonError::into_inner);
        full_until.is_some_and(|until| Instant::now() < until)
    }

    fn note_full(&self) {
        *self.full_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + FULL_PAUSE);
    }
}

/// One client of a fill, for as long as it waits for it or reads from it.
#[derive(Debug)]
pub(crate) struct Follower {
    fills: Arc<Fills>,
    key: FillKey,
    number: u64,
    progress: watch::Receiver<Progress>,
}

impl Follower {
    /// Of a fill that has counted it already.
    fn of(fills: &Arc<Fills>, key: &FillKey, fill: &Fill) -> Self {
        let (fills, key, number) = (Arc::clone(fills), key.clone(), fill.number);
        Self { fills, key, number, progress: fill.progress.clone() }
    }

    /// Waits until the upstream has answered.
    pub(crate) async fn answered(&self) -> Result<Progress, Error> {
        let is_asking = |progress: &Progress| matches!(progress, Progress::Asking);
        let mut progress = self.progress.clone();
        let answered = progress.wait_for(|progress| !is_asking(progress)).await;
        Ok(answered.map_err(|_| Error::Interrupted)?.clone())
    }

    /// Waits until the fill has something to read, or is over.
    async fn readable(&self) -> Result<Progress, Error> {
        let answered = self.answered().await?;
        let mut progress = self.progress.clone();
        if !matches!(answered, Progress::Arriving { size: None, .. }) {
            return Ok(answered);
        }
        // Without a size there is no Content-Length, and a body without one could be cut unnoticed: wait for the end. But not
        // for longer than the clients and what lies between wait for an answer.
        let over = tokio::time::timeout(UNSIZED_PATIENCE, progress.wait_for(Progress::is_over)).await;
        let over = over.map_err(|_| Error::BlobSizeUntold { digest: self.key.digest.clone() })?;
        Ok(over.map_err(|_| Error::Interrupted)?.clone())
    }

    /// Waits until the fill is over, and says whether its bytes are to be had from the upstream instead.
    pub(crate) async fn is_passed_on(&self) -> bool {
        let mut progress = self.progress.clone();
        let over = progress.wait_for(Progress::is_over).await;
        matches!(over.as_deref(), Ok(Progress::PassedOn { .. }))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut under_way = self.fills.lock();
        let Some(fill) = under_way.fills.get_mut(&self.key).filter(|fill| fill.number == self.number) else {
            return;
        };
        fill.followers -= 1;
        if fill.followers > 0 {
            return;
        }
        let abandoned = fill.abandoned.clone();
        let orphans = under_way.orphans();
        self.fills.metrics.fills_orphaned.set(gauged(orphans as u64));
        if orphans > self.fills.orphans_max {
            // Whoever enters from here on starts a new one.
            abandoned.cancel();
            self.fills.metrics.fills_abandoned.inc();
        }
    }
}

/// Takes the fill out of the list when it ends, also when it ends by a panic.
struct Departure {
    fills: Arc<Fills>,
    key: FillKey,
    number: u64,
}

impl Drop for Departure {
    fn drop(&mut self) {
        let mut under_way = self.fills.lock();
        if under_way.fills.get(&self.key).is_some_and(|fill| fill.number == self.number) {
            under_way.fills.remove(&self.key);
        }
        self.fills.metrics.fills_orphaned.set(gauged(under_way.orphans() as u64));
    }
}
