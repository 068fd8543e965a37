//! Fills: blobs on their way from an upstream into the cache.
//!
//! There is at most one fill of a digest in the process, whoever asks for it and however many. It belongs to the process: clients come and
//! go, the upstream may break off, the fill goes on until the blob is verified and stored, or has failed for everybody. Those who
//! wait read the growing file, each at its own pace; none gets the last piece before the whole has been verified.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use entrepot_blobs::{AbsorbError, BlobReader, CommitError, Growing, Ingest};
use entrepot_metadata::BlobLink;
use entrepot_oci::{Digest, RepositoryName};
use entrepot_upstream::{BlobFrom, BlobResponse};
use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio::sync::{Notify, watch};

use crate::limits::{FILL_BACKOFF, FILL_DEADLINE, FILL_TRIES_MAX};
use crate::metrics::Running;
use crate::proxied::{Proxied, advance};
use crate::registry::Store;
use crate::removal::{Removal, Removals};
use crate::upload::unowned_stage;
use crate::{Clock, Error, Limits, Metrics, Tasks};

/// A blob that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct FillRequest {
    pub(crate) digest: Digest,
    /// Its size, when a cached manifest of the repository names it. That also proves that it belongs to the repository.
    pub(crate) described_size: Option<u64>,
    pub(crate) proxied: Proxied,
}

/// What a client that joined a fill gets.
pub(crate) enum Filled {
    /// The blob is verified and here.
    Stored(BlobReader),
    /// The blob is arriving.
    Arriving { growing: Growing, size: u64 },
}

/// What is known of a fill from outside.
#[derive(Clone, Debug)]
enum Progress {
    /// The upstream has not answered yet.
    Asking,
    /// Bytes are coming, this many in all if that is known.
    Arriving { growing: Growing, size: Option<u64> },
    /// Verified and stored. Opened while the fill still kept the bytes from being evicted.
    Stored(BlobReader),
    /// Ended without a blob.
    Failed(Arc<Error>),
}

#[derive(Clone, Debug)]
struct Fill {
    /// The repository that it is fetched through.
    cached_name: RepositoryName,
    progress: watch::Receiver<Progress>,
}

/// The fills of this process.
#[derive(Debug)]
pub(crate) struct Fills {
    under_way: Mutex<HashMap<Digest, Fill>>,
    /// The blobs whose bytes are being removed. One begins only under the lock of `under_way`, see [`Self::begin_removal`].
    removals: Removals,
    /// Told whenever a fill has stored a blob: the cache may be too full now.
    pub(crate) stored: Notify,
    /// Where a blob may already be because somebody pushed it.
    own: Store,
    /// Where it goes.
    store: Store,
    clock: Arc<dyn Clock>,
    limits: Limits,
    metrics: Arc<Metrics>,
    tasks: Tasks,
}

impl Fills {
    /// No fills yet.
    pub(crate) fn new(
        own: Store,
        store: Store,
        clock: Arc<dyn Clock>,
        limits: Limits,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Self {
        let (under_way, removals, stored) = (Mutex::default(), Removals::default(), Notify::new());
        Self { under_way, removals, stored, own, store, clock, limits, metrics, tasks }
    }

    /// Joins the fill of the blob, or starts it, and waits until it has something to read.
    pub(crate) async fn join(self: &Arc<Self>, request: FillRequest) -> Result<Filled, Error> {
        let mut fill = self.enter(&request);
        if fill.cached_name != *request.proxied.cached_name() && request.described_size.is_none() {
            request.proxied.confirm_blob(&request.digest).await?;
        }
        let is_readable = |progress: &Progress| {
            // Without a size there is no Content-Length, and a body without one could be cut unnoticed: wait for the end.
            !matches!(progress, Progress::Asking | Progress::Arriving { size: None, .. })
        };
        let progress = fill.progress.wait_for(is_readable).await.map_err(|_| Error::Interrupted)?.clone();
        match progress {
            Progress::Arriving { growing, size: Some(size) } => Ok(Filled::Arriving { growing, size }),
            Progress::Stored(reader) => Ok(Filled::Stored(reader)),
            Progress::Failed(error) => Err(error.into()),
            Progress::Asking | Progress::Arriving { .. } => Err(Error::Interrupted),
        }
    }

    /// Resolves when none of the fills that run now is running any more.
    pub(crate) async fn ended(&self) {
        let under_way: Vec<Fill> =
            self.under_way.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for mut fill in under_way {
            // An error means that the fill's task is gone: it is over as well.
            let _ = fill.progress.wait_for(is_over).await;
        }
    }

    /// What becomes of the fill of the blob that runs now; `None` when none does.
    pub(crate) fn outcome(&self, digest: &Digest) -> Option<impl Future<Output = Result<(), Error>> + use<>> {
        let mut fill = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).get(digest)?.clone();
        Some(async move {
            match &*fill.progress.wait_for(is_over).await.map_err(|_| Error::Interrupted)? {
                Progress::Failed(error) => Err(Arc::clone(error).into()),
                Progress::Asking | Progress::Arriving { .. } | Progress::Stored(_) => Ok(()),
            }
        })
    }

    /// Takes the blob for the removal of its bytes; `None` while it is being filled, or removed by another.
    ///
    /// A fill lists itself and a removal begins under the same lock, so one of the two sees the other: either the removal
    /// does not begin, or the fill waits for its end before it looks at what is here.
    pub(crate) fn begin_removal(&self, digest: &Digest) -> Option<Removal> {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.contains_key(digest) { None } else { self.removals.begin(digest) }
    }

    fn enter(self: &Arc<Self>, request: &FillRequest) -> Fill {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fill) = under_way.get(&request.digest) {
            return fill.clone();
        }
        let (sender, progress) = watch::channel(Progress::Asking);
        let fill = Fill { cached_name: request.proxied.cached_name().clone(), progress };
        under_way.insert(request.digest.clone(), fill.clone());
        let departure = Departure { fills: Arc::clone(self), digest: request.digest.clone() };
        let lead = Lead { fills: Arc::clone(self), request: request.clone(), progress: sender };
        self.tasks.spawn(async move { lead.run(departure).await });
        fill
    }
}

const fn is_over(progress: &Progress) -> bool {
    matches!(progress, Progress::Stored(_) | Progress::Failed(_))
}

/// Takes the fill out of the list when it ends, also when it ends by a panic.
struct Departure {
    fills: Arc<Fills>,
    digest: Digest,
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.fills.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

/// The one who does the work of a fill.
struct Lead {
    fills: Arc<Fills>,
    request: FillRequest,
    progress: watch::Sender<Progress>,
}

impl Lead {
    async fn run(self, departure: Departure) {
        let metrics = &self.fills.metrics;
        let _running = Running::start(&metrics.fills_running);
        let outcome = tokio::select! {
            outcome = self.fill() => outcome,
            () = tokio::time::sleep(FILL_DEADLINE) => Err(Error::Interrupted),
            () = self.fills.tasks.stopping() => Err(Error::Interrupted),
        };
        let outcome = match outcome {
            Ok(()) => self.stored().await,
            Err(error) => Err(error),
        };
        // Whoever asks from here on finds the blob in the store, or starts a new fill.
        drop(departure);
        let last = match outcome {
            Ok(reader) => {
                self.fills.stored.notify_one();
                Progress::Stored(reader)
            }
            Err(error) => {
                metrics.fills_failed.inc();
                tracing::warn!(
                    digest = %self.request.digest, repository.name = %self.request.proxied.cached_name(),
                    error = &error as &dyn std::error::Error, "a fill ended without a blob"
                );
                Progress::Failed(Arc::new(error))
            }
        };
        self.progress.send_replace(last);
    }

    /// The blob, for those who waited for all of it.
    async fn stored(&self) -> Result<BlobReader, Error> {
        let digest = &self.request.digest;
        let damaged = || Error::BlobDamaged { digest: digest.clone(), expected: 0, found: None };
        self.fills.store.blobs.open(digest).await?.ok_or_else(damaged)
    }

    async fn fill(&self) -> Result<(), Error> {
        self.fills.removals.ended(&self.request.digest).await;
        if self.is_here().await? {
            return Ok(());
        }
        self.fills.metrics.fills_started.inc();
        let first = self.ask_first().await?;
        let size = self.agreed_size(first.total)?;
        let digest = &self.request.digest;
        let store = &self.fills.store;
        let mut ingest = store.blobs.begin(&unowned_stage("fill"), digest.algorithm()).await?;
        self.progress.send_replace(Progress::Arriving { growing: ingest.growing(), size });
        self.receive(&mut ingest, first, size).await?;
        let size = ingest.commit(digest).await.map_err(|error| match error {
            CommitError::Mismatch { expected, actual } => Error::UpstreamDigestMismatch { expected, actual },
            CommitError::Store(error) => error.into(),
        })?;
        // The bytes are durable. A crash before the row leaves a cached blob without a repository; the next pull links it.
        self.link(size).await
    }

    /// Whether the bytes are here already, in the cache or because somebody pushed them, and may be given to this repository.
    async fn is_here(&self) -> Result<bool, Error> {
        let FillRequest { digest, described_size, proxied } = &self.request;
        let Store { blobs, metadata } = &self.fills.store;
        if let (Some(link), Some(found)) =
            (metadata.blob(proxied.cached_name(), digest).await?, blobs.size(digest).await?)
            && link.size == found
        {
            return Ok(true);
        }
        // Another size than described is a damaged file: the fill puts a whole one in its place.
        let fits = |size: u64| described_size.is_none_or(|described| described == size);
        for source in [&self.fills.store, &self.fills.own] {
            let Some(reader) = source.blobs.open(digest).await?.filter(|reader| fits(reader.size())) else { continue };
            if described_size.is_none() {
                proxied.confirm_blob(digest).await?;
            }
            // Within the cache this finds the blob in its place and does nothing.
            blobs.adopt(digest, &reader).await?;
            self.link(reader.size()).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn link(&self, size: u64) -> Result<(), Error> {
        let link = BlobLink { digest: self.request.digest.clone(), size };
        let cached_name = self.request.proxied.cached_name();
        self.fills.store.metadata.link_blob(cached_name, &link, self.fills.clock.now()).await?;
        Ok(())
    }

    /// The first answer of the upstream. It is waited for by clients: a passing failure is tried again, but not for long.
    async fn ask_first(&self) -> Result<BlobResponse, Error> {
        let mut tries = 1;
        loop {
            match self.request.proxied.ask_for_blob(&self.request.digest, BlobFrom::Start).await {
                Ok(response) => return Ok(response),
                Err(error) if is_worth_repeating(&error) && tries < FILL_TRIES_MAX => back_off(tries).await,
                Err(error) => return Err(self.request.proxied.blob_error(error, &self.request.digest)),
            }
            tries += 1;
        }
    }

    fn agreed_size(&self, offered: Option<u64>) -> Result<Option<u64>, Error> {
        match (offered, self.request.described_size) {
            (Some(offered), Some(described)) if offered != described => {
                Err(Error::UpstreamSizeMismatch { digest: self.request.digest.clone(), offered, described })
            }
            (offered, described) => Ok(offered.or(described)),
        }
    }

    /// Takes bytes until all are here, going on behind the last one whenever the upstream breaks off.
    async fn receive(&self, ingest: &mut Ingest, first: BlobResponse, size: Option<u64>) -> Result<(), Error> {
        let limit = size.unwrap_or(u64::MAX).min(self.fills.limits.blob_bytes_max);
        let mut response = first;
        let mut tries_without_progress = 0;
        loop {
            let before = ingest.offset();
            let skipped = before.saturating_sub(response.first);
            let absorbed = ingest.absorb(Box::pin(skipping(response.body, skipped)), limit).await;
            let after = ingest.offset();
            self.fills.metrics.fill_bytes.inc_by(after - before);
            match absorbed {
                Ok(_) if size.is_none_or(|size| size == after) => return Ok(()),
                Ok(_) | Err(AbsorbError::Source(_)) => {}
                Err(AbsorbError::TooLarge { .. }) => return Err(self.too_large(limit, size)),
                Err(AbsorbError::Store(error)) => return Err(error.into()),
            }
            tries_without_progress = if after > before { 1 } else { tries_without_progress + 1 };
            response = self.ask_again(after, &mut tries_without_progress).await?;
            self.fills.metrics.fills_resumed.inc();
        }
    }

    fn too_large(&self, limit: u64, size: Option<u64>) -> Error {
        match size {
            Some(described) => {
                Error::UpstreamSizeMismatch { digest: self.request.digest.clone(), offered: limit + 1, described }
            }
            None => Error::BlobTooLarge { limit },
        }
    }

    /// The rest from `received` on, asked of the registry itself again: an address that it sent us to may have expired.
    async fn ask_again(&self, received: u64, tries: &mut u32) -> Result<BlobResponse, Error> {
        let digest = &self.request.digest;
        while *tries < FILL_TRIES_MAX {
            back_off(*tries).await;
            match self.request.proxied.ask_for_blob(digest, BlobFrom::Offset(received)).await {
                Ok(response) if response.first <= received => return Ok(response),
                Ok(_) => {}
                Err(error) if error.is_temporary() => {
                    tracing::debug!(%digest, received, error = &error as &dyn std::error::Error, "a fill could not be resumed yet");
                }
                Err(error) => return Err(self.request.proxied.blob_error(error, digest)),
            }
            *tries += 1;
        }
        Err(Error::FillBroken { digest: digest.clone(), received, tries: *tries })
    }
}

/// Whether the first question may be repeated while clients wait: after what fails fast and passes fast. A silent upstream has
/// used up their patience already, and one that asks for patience is not helped by more questions.
const fn is_worth_repeating(error: &entrepot_upstream::Error) -> bool {
    use entrepot_upstream::Error as Upstream;
    matches!(
        error,
        Upstream::Unreachable { .. } | Upstream::Interrupted { .. } | Upstream::Unavailable { retry_after: None, .. }
    )
}

async fn back_off(tries: u32) {
    tokio::time::sleep(FILL_BACKOFF * 2_u32.saturating_pow(tries.saturating_sub(1))).await;
}

/// Leaves out the first `skipped` bytes: an upstream that answers a range with the whole begins at 0 again.
fn skipping<S, E>(source: S, skipped: u64) -> impl Stream<Item = Result<Bytes, E>> + Send
where
    S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
    E: Send,
{
    let mut skipped = skipped;
    source
        .map_ok(move |mut piece| {
            skipped -= advance(&mut piece, skipped);
            piece
        })
        .filter(|piece| futures_util::future::ready(!matches!(piece, Ok(piece) if piece.is_empty())))
}
