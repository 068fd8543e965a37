//! The work of a fill: asking, taking, verifying, storing, and passing on what there is no room for.

use std::sync::Arc;

use entrepot_blobs::{AbsorbError, BlobReader, CommitError, Ingest};
use entrepot_metadata::BlobLink;
use entrepot_oci::ByteRange;
use entrepot_upstream::BlobFrom;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Departure, FillRequest, Fills, Progress};
use crate::Error;
use crate::limits::{FILL_DEADLINE, SIZE_PATIENCE};
use crate::metrics::Running;
use crate::registry::Store;
use crate::replicas::Ticket;
use crate::replicas::lease::Lease;
use crate::sharing::FillKey;
use crate::transfer::Transfer;
use crate::upload::unowned_stage;

/// The one who does the work of a fill.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) fills: Arc<Fills>,
    pub(crate) request: FillRequest,
    pub(crate) key: FillKey,
    /// What other replicas show that may read along.
    pub(crate) ticket: Ticket,
    pub(crate) progress: watch::Sender<Progress>,
    pub(super) abandoned: CancellationToken,
}

impl Lead {
    pub(super) async fn run(self, departure: Departure) {
        let metrics = &self.fills.metrics;
        let _running = Running::start(&metrics.fills_running);
        // What is known of the size survives the fill: without room for the blob, its clients need it.
        let mut size = self.request.described_size;
        let outcome = tokio::select! {
            outcome = self.fill(&mut size) => outcome,
            () = tokio::time::sleep(FILL_DEADLINE) => Err(Error::Interrupted),
            () = self.fills.tasks.stopping() => Err(Error::Interrupted),
            () = self.abandoned.cancelled() => Err(Error::Interrupted),
        };
        let outcome = match outcome {
            Ok(()) => self.stored().await,
            Err(error) => Err(error),
        };
        let last = match outcome {
            Ok(reader) => Progress::Stored(reader),
            Err(error) if error.is_full() => self.pass_on(error, size).await,
            Err(error) => Progress::Failed(Arc::new(error)),
        };
        // Whoever asks from here on finds the blob in the store, or starts a new fill.
        drop(departure);
        if matches!(last, Progress::Stored(_)) {
            self.fills.stored.notify_one();
        }
        if let Progress::Failed(error) = &last {
            metrics.fills_failed.inc();
            tracing::warn!(
                digest = %self.request.digest, repository.name = %self.request.proxied.cached_name(),
                is_abandoned = self.abandoned.is_cancelled(), error = error as &dyn std::error::Error,
                "a fill ended without a blob"
            );
        }
        self.progress.send_replace(last);
    }

    /// The blob, for those who waited for all of it.
    async fn stored(&self) -> Result<BlobReader, Error> {
        let digest = &self.request.digest;
        let damaged = || Error::BlobDamaged { digest: digest.clone(), expected: 0, found: None };
        self.fills.store.blobs.open(digest).await?.ok_or_else(damaged)
    }

    async fn fill(&self, size: &mut Option<u64>) -> Result<(), Error> {
        self.fills.removals.ended(&self.request.digest).await;
        match &self.fills.replica {
            None if self.is_here(None).await? => Ok(()),
            None => self.fetch(size, None).await,
            Some(replica) => self.fill_among(replica, size).await,
        }
    }

    /// Fetches the blob from its upstream; with a lease, where there are several replicas.
    pub(crate) async fn fetch(&self, size: &mut Option<u64>, lease: Option<&Lease>) -> Result<(), Error> {
        if self.fills.is_full() {
            return Err(Error::NoRoom { digest: self.request.digest.clone() });
        }
        self.fills.metrics.fills_started.inc();
        let FillRequest { digest, proxied, .. } = &self.request;
        let mut transfer = Transfer::begin(proxied.clone(), digest.clone(), 0, None).await?;
        *size = self.agreed_size(transfer.total())?;
        if size.is_none() {
            *size = self.told_size().await;
        }
        transfer.ends_at(*size);
        self.take(transfer, *size, lease).await
    }

    /// Takes every byte of the blob, verifies it, and makes it the repository's.
    async fn take(&self, mut transfer: Transfer, size: Option<u64>, lease: Option<&Lease>) -> Result<(), Error> {
        let digest = &self.request.digest;
        let mut ingest = self.fills.store.blobs.begin_known(&unowned_stage("fill"), digest).await?;
        self.progress.send_replace(Progress::Arriving { growing: ingest.growing(), size });
        self.absorb(&mut ingest, &mut transfer, size).await?;
        let size = ingest.commit(digest).await.map_err(|error| commit_error(error, &transfer))?;
        // The bytes are durable. A crash before the row leaves a cached blob without a repository; the next pull links it.
        self.link(size, lease).await
    }

    /// Takes what is missing of the blob from the upstream.
    pub(crate) async fn absorb(
        &self,
        ingest: &mut Ingest,
        transfer: &mut Transfer,
        size: Option<u64>,
    ) -> Result<(), Error> {
        let limit = self.bytes_max(size);
        match ingest.absorb(Box::pin(transfer.stream()), limit).await {
            Ok(_) => Ok(()),
            Err(AbsorbError::Source(error)) => Err(error),
            Err(AbsorbError::TooLarge { .. }) => Err(self.too_large(limit, size)),
            Err(AbsorbError::Store(error)) => Err(error.into()),
        }
    }

    /// The most bytes that the blob may have.
    pub(crate) fn bytes_max(&self, size: Option<u64>) -> u64 {
        size.unwrap_or(u64::MAX).min(self.fills.limits.blob_bytes_max)
    }

    /// There is no room: clients that follow the fill, and those that come while it ends, ask the upstream on their own.
    async fn pass_on(&self, error: Error, size: Option<u64>) -> Progress {
        if !matches!(error, Error::NoRoom { .. }) {
            self.fills.note_full();
            tracing::warn!(
                digest = %self.request.digest, repository.name = %self.request.proxied.cached_name(),
                error = &error as &dyn std::error::Error,
                "the disk of the cache is full: the blob passes through uncached"
            );
        }
        let size = match size {
            Some(size) => Some(size),
            None => self.told_size().await,
        };
        match size {
            Some(size) => {
                self.fills.metrics.fills_passed_through.inc();
                Progress::PassedOn { size }
            }
            None => Progress::Failed(Arc::new(error)),
        }
    }

    /// Whether the bytes are here already, in the cache or because somebody pushed them, and may be given to this repository.
    pub(crate) async fn is_here(&self, lease: Option<&Lease>) -> Result<bool, Error> {
        let FillRequest { digest, described_size, proxied } = &self.request;
        let Store { blobs, metadata } = &self.fills.store;
        if let (Some(link), Some(found)) =
            (metadata.blob(proxied.cached_name(), digest).await?, blobs.size(digest).await?)
            && link.size == found
        {
            return Ok(true);
        }
        let sharing = &self.fills.sharing;
        for source in sharing.sources(&self.fills.store, &self.fills.own) {
            let Some(reader) = source.blobs.open(digest).await? else { continue };
            // Another size than described, or than was verified when it was stored, is a damaged file: the fill puts a whole
            // one in its place.
            let expected = match described_size {
                Some(described) => Some(*described),
                None => source.metadata.blob_holders(digest, 1).await?.first().map(|(_, link)| link.size),
            };
            if expected != Some(reader.size()) || !sharing.allows(source, &self.fills.store, digest, proxied).await? {
                continue;
            }
            if !sharing.is_proven(*described_size, proxied) {
                proxied.confirm_blob(digest).await?;
            }
            // Within the cache this finds the blob in its place and does nothing.
            match blobs.adopt(digest, &reader).await {
                Ok(size) => {
                    self.link(size, lease).await?;
                    return Ok(true);
                }
                Err(error @ (entrepot_blobs::Error::Source { .. } | entrepot_blobs::Error::Corrupt { .. })) => {
                    tracing::warn!(
                        %digest, error = &error as &dyn std::error::Error,
                        "a blob that is here already cannot be used and is fetched"
                    );
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Makes the blob the repository's. A database without room for the row is no reason to withhold the bytes, which are here
    /// and verified: the next pull links them.
    ///
    /// With a lease, it is made sure that nobody is about to remove the bytes.
    pub(crate) async fn link(&self, size: u64, lease: Option<&Lease>) -> Result<(), Error> {
        if let Some(lease) = lease {
            lease.confirm().await?;
        }
        let link = BlobLink { digest: self.request.digest.clone(), size };
        let cached_name = self.request.proxied.cached_name();
        match self.fills.store.metadata.link_blob(cached_name, &link, self.fills.clock.now()).await {
            Ok(()) => Ok(()),
            Err(error @ entrepot_metadata::Error::Full(_)) => {
                tracing::warn!(
                    digest = %link.digest, repository.name = %cached_name, error = &error as &dyn std::error::Error,
                    "a cached blob could not be noted and is served all the same"
                );
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn agreed_size(&self, offered: Option<u64>) -> Result<Option<u64>, Error> {
        match (offered, self.request.described_size) {
            (Some(offered), Some(described)) if offered != described => {
                Err(Error::UpstreamSizeMismatch { digest: self.request.digest.clone(), offered, described })
            }
            (offered, described) => Ok(offered.or(described)),
        }
    }

    /// The size that the upstream tells when it is asked for nothing else, by HEAD or with the first byte. Clients are waiting, and what
    /// it tells is checked against what comes: a failure is as good as no answer.
    async fn told_size(&self) -> Option<u64> {
        let FillRequest { digest, proxied, .. } = &self.request;
        let ask = async {
            if let Ok(Some(size)) = proxied.told_blob_size(digest).await {
                return Some(size);
            }
            let first_byte = ByteRange::new(0, 0)?;
            proxied.ask_for_blob(digest, BlobFrom::Range(first_byte)).await.ok()?.total
        };
        // The fill has an answer of the upstream open, and waits for another one's turn.
        tokio::time::timeout(SIZE_PATIENCE, ask).await.ok()?
    }

    pub(crate) fn too_large(&self, limit: u64, size: Option<u64>) -> Error {
        match size {
            Some(described) => {
                Error::UpstreamSizeMismatch { digest: self.request.digest.clone(), offered: limit + 1, described }
            }
            None => Error::BlobTooLarge { limit },
        }
    }
}

/// What it means that what came from an upstream is no blob.
pub(crate) fn commit_error(error: CommitError, transfer: &Transfer) -> Error {
    match error {
        CommitError::Mismatch { expected, actual } => {
            transfer.distrust_mirrors();
            Error::UpstreamDigestMismatch { expected, actual }
        }
        CommitError::Store(error) => error.into(),
    }
}
