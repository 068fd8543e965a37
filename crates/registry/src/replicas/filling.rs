//! Fills among replicas: one fetches the blob, the others read along.
//!
//! Whoever has the lease of a blob fetches it; in the lease it tells where others may read along. Each of those has one transfer from it,
//! into a file of its own on the local disk, from which its clients are served as from any fill. So the upstream sends the blob once, a
//! replica sends it once to each other one, and a replica that dies takes nothing along: another takes the lease when that runs
//! out, and goes on behind the last byte that it has.
//!
//! What was read along is verified here, too, before the last byte goes to anybody. It is kept until the blob is in the store, which is
//! for whoever fetched it to do; when that did not come to it, it is stored from the copy.
//!
//! A row is written with the lease in hand, like the removal of bytes ([`crate::removal`]), so neither happens during the other.

use entrepot_blobs::{AbsorbError, CommitError, Ingest};
use entrepot_oci::{ByteRange, Digest};
use futures_util::StreamExt as _;

use super::lease::{Claimed, Lease};
use super::{PeerAnswer, PeerError, PeerRequest, Replica, Ticket};
use crate::fill::{Fills, Follower, Lead, Progress, commit_error};
use crate::limits::{REPLICA_POLL_FIRST, REPLICA_POLL_MAX};
use crate::sharing::FillKey;
use crate::transfer::Transfer;
use crate::upload::unowned_stage;
use crate::{Error, Registry};

/// What this replica has of a blob that another one is fetching.
#[derive(Debug)]
enum Copy {
    Nothing,
    Part(Ingest),
    /// Verified, in the landing store.
    Whole,
}

impl Copy {
    fn offset(&self) -> u64 {
        match self {
            Self::Part(ingest) => ingest.offset(),
            Self::Nothing | Self::Whole => 0,
        }
    }
}

/// How the lease of a fill is called.
pub(crate) fn lease_name(key: &FillKey) -> String {
    match key.private_origin() {
        None => format!("blob {}", key.digest),
        Some(origin) => format!("blob {} of {origin}", key.digest),
    }
}

impl Lead {
    /// Fetches the blob, or reads it along from the replica that does.
    pub(crate) async fn fill_among(&self, replica: &Replica, size: &mut Option<u64>) -> Result<(), Error> {
        let (name, note) = (lease_name(&self.key), self.note(replica));
        let mut copy = Copy::Nothing;
        let mut pause = REPLICA_POLL_FIRST;
        loop {
            let note = match replica.leases.claim(&name, &note).await? {
                Claimed::Ours(lease) => return self.conclude(replica, &lease, copy, size).await,
                Claimed::Theirs { note } => note,
            };
            let has_advanced = match copy {
                Copy::Whole => false,
                Copy::Nothing | Copy::Part(_) => self.read_along(replica, &note, &mut copy, size).await?,
            };
            pause = if has_advanced { REPLICA_POLL_FIRST } else { pause.saturating_mul(2).min(REPLICA_POLL_MAX) };
            tokio::time::sleep(pause).await;
        }
    }

    /// What others are told who want the blob, too.
    fn note(&self, replica: &Replica) -> String {
        replica.address.as_ref().map(|address| format!("{address} {}", self.ticket.as_str())).unwrap_or_default()
    }

    /// Reads along until that ends, one way or the other; says whether any bytes came.
    async fn read_along(
        &self,
        replica: &Replica,
        note: &str,
        copy: &mut Copy,
        size: &mut Option<u64>,
    ) -> Result<bool, Error> {
        let Some((address, ticket)) = note.split_once(' ') else { return Ok(false) };
        let digest = &self.request.digest;
        let before = copy.offset();
        let request = PeerRequest { digest: digest.clone(), first: before, ticket: Ticket::shown(ticket) };
        let PeerAnswer { size: offered, body } = match replica.peers.follow(address, &request).await {
            Ok(answer) => answer,
            Err(PeerError::NotFilling) => return Ok(false),
            Err(error) => {
                tracing::warn!(
                    %digest, error = &error as &dyn std::error::Error,
                    "a blob cannot be read along from the replica that fetches it; it is tried again"
                );
                return Ok(false);
            }
        };
        *size = self.agreed_size(offered)?;
        let mut ingest = match std::mem::replace(copy, Copy::Nothing) {
            Copy::Part(ingest) => ingest,
            Copy::Nothing | Copy::Whole => self.begin_copy(replica, *size).await?,
        };
        let limit = self.bytes_max(*size);
        let absorbed = ingest.absorb(body, limit).await;
        let has_advanced = ingest.offset() > before;
        match absorbed {
            Ok(_) => {
                commit_copy(ingest, digest).await?;
                *copy = Copy::Whole;
                return Ok(true);
            }
            Err(AbsorbError::Source(error)) => tracing::debug!(
                %digest, received = ingest.offset(), error = &*error as &dyn std::error::Error,
                "reading along broke off"
            ),
            Err(AbsorbError::TooLarge { .. }) => return Err(self.too_large(limit, *size)),
            Err(AbsorbError::Store(error)) => return Err(error.into()),
        }
        *copy = Copy::Part(ingest);
        Ok(has_advanced)
    }

    async fn begin_copy(&self, replica: &Replica, size: Option<u64>) -> Result<Ingest, Error> {
        let ingest = replica.landing.begin(&unowned_stage("copy"), self.request.digest.algorithm()).await?;
        self.fills.metrics.fills_read_along.inc();
        self.progress.send_replace(Progress::Arriving { growing: ingest.growing(), size });
        Ok(ingest)
    }

    /// Does what is left to do, with the lease: all of it, or the rest.
    async fn conclude(
        &self,
        replica: &Replica,
        lease: &Lease,
        copy: Copy,
        size: &mut Option<u64>,
    ) -> Result<(), Error> {
        match copy {
            Copy::Nothing if self.is_here(Some(lease)).await? => Ok(()),
            Copy::Nothing => self.fetch(size, Some(lease)).await,
            Copy::Part(ingest) => {
                self.take_over(ingest, *size).await?;
                self.store_copy(replica, lease).await
            }
            Copy::Whole => self.store_copy(replica, lease).await,
        }
    }

    /// Goes on behind the last byte that was read along: from the store, when whoever fetched it was done, and otherwise from the
    /// upstream.
    async fn take_over(&self, mut ingest: Ingest, size: Option<u64>) -> Result<(), Error> {
        let digest = &self.request.digest;
        let first = ingest.offset();
        if let Some(reader) = self.fills.store.blobs.open(digest).await?
            && let Some(rest) = ByteRange::new(first, reader.size().saturating_sub(1))
            && size.is_none_or(|size| size == reader.size())
        {
            let absorbed = ingest.absorb(reader.stream(Some(rest)), reader.size()).await;
            if absorbed.is_ok() {
                return commit_copy(ingest, digest).await;
            }
        }
        self.fills.metrics.fills_taken_over.inc();
        tracing::info!(
            %digest, repository.name = %self.request.proxied.cached_name(), received = ingest.offset(),
            "a fill is taken over from a replica that is gone"
        );
        let proxied = self.request.proxied.clone();
        let mut transfer = Transfer::begin(proxied, digest.clone(), ingest.offset(), None).await?;
        let size = self.agreed_size(transfer.total())?.or(size);
        transfer.ends_at(size);
        self.absorb(&mut ingest, &mut transfer, size).await?;
        ingest.commit(digest).await.map(|_| ()).map_err(|error| commit_error(error, &transfer))
    }

    /// Makes the blob the repository's, and stores it from the copy unless it is in the store. Then the copy goes; a crash before leaves
    /// it in the landing store, which is emptied at the start.
    async fn store_copy(&self, replica: &Replica, lease: &Lease) -> Result<(), Error> {
        let digest = &self.request.digest;
        if !self.is_here(Some(lease)).await? {
            let Some(copy) = replica.landing.open(digest).await? else { return Err(Error::Interrupted) };
            let size = self.fills.store.blobs.adopt(digest, &copy).await?;
            self.link(size, Some(lease)).await?;
        }
        if let Err(error) = replica.landing.delete(digest).await {
            tracing::warn!(
                %digest, error = &error as &dyn std::error::Error,
                "the copy of a stored blob could not be removed: it stays until the next start"
            );
        }
        Ok(())
    }
}

async fn commit_copy(ingest: Ingest, digest: &Digest) -> Result<(), Error> {
    ingest.commit(digest).await.map(|_| ()).map_err(|error| match error {
        CommitError::Mismatch { expected, actual } => Error::UpstreamDigestMismatch { expected, actual },
        CommitError::Store(error) => error.into(),
    })
}

impl Fills {
    /// The leases of a blob, under every name that a fill of it may have; `None` when one of them is somebody else's.
    pub(crate) async fn lease_for_removal(&self, digest: &Digest) -> Result<Option<Vec<Lease>>, Error> {
        let Some(replica) = &self.replica else { return Ok(Some(Vec::new())) };
        let mut leases = Vec::new();
        for key in self.sharing.keys(digest) {
            match replica.leases.claim(&lease_name(&key), "").await? {
                Claimed::Ours(lease) => leases.push(lease),
                Claimed::Theirs { .. } => return Ok(None),
            }
        }
        Ok(Some(leases))
    }
}

impl Registry {
    /// What this replica is filling, for another one that shows the ticket of the fill. It is followed for as long as the answer is
    /// read.
    ///
    /// # Errors
    /// [`PeerError::NotFilling`] also when the fill ended, or passes its bytes on without keeping them.
    pub async fn read_along(&self, request: &PeerRequest) -> Result<PeerAnswer, PeerError> {
        let follower = self.fills.follow(&request.digest, &request.ticket).ok_or(PeerError::NotFilling)?;
        match follower.answered().await {
            Ok(Progress::Arriving { growing, size }) => {
                let body = growing.stream_from(request.first).map(move |piece| kept(piece, &follower)).boxed();
                Ok(PeerAnswer { size, body })
            }
            _ => Err(PeerError::NotFilling),
        }
    }
}

/// Passes on what comes of a fill, which is followed meanwhile.
fn kept<T>(piece: Result<T, entrepot_blobs::StreamError>, _follower: &Follower) -> Result<T, crate::SourceError> {
    piece.map_err(Into::into)
}
