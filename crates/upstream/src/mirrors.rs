//! Other places that serve the same registry, and the order in which they are asked.
//!
//! The one key decision: **a mirror is believed in nothing.** Content is asked for by its digest, so that a mirror can only
//! fail to have it; what a tag names is the upstream's own to say, as long as it can be asked. A mirror that fails is passed over
//! in favour of the next, and the error of a question is always that of the upstream itself.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use entrepot_oci::{Digest, Referrer, RepositoryName, Tag, TagOrDigest};
use futures_util::StreamExt as _;
use tokio::time::Instant;

use crate::blobs::{BlobBody, BlobFrom, BlobResponse};
use crate::error::Error;
use crate::history::PassedOver;
use crate::limits::{MIRROR_DISTRUST, MIRROR_PAUSE};
use crate::manifests::{FetchedManifest, ManifestHead};
use crate::remote::Remote;
use crate::via::RemoteRepository;

/// A mirror of one upstream.
pub(crate) struct Place {
    /// The name of the upstream.
    upstream: Arc<str>,
    remote: Arc<Remote>,
    /// What stands there before the names of repositories.
    prefix: Option<RepositoryName>,
    set_aside_until: Mutex<Option<Instant>>,
}

impl Place {
    pub(crate) fn new(upstream: Arc<str>, remote: Arc<Remote>, prefix: Option<RepositoryName>) -> Self {
        Self { upstream, remote, prefix, set_aside_until: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        self.remote.name()
    }

    /// Whether it is asked with an account.
    pub(crate) fn has_credentials(&self) -> bool {
        self.remote.has_credentials()
    }

    fn is_trusted(&self) -> bool {
        let until = *self.set_aside_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_none_or(|until| until <= Instant::now())
    }

    fn distrust(&self) {
        self.set_aside(MIRROR_DISTRUST, "it sent other content than was asked for");
    }

    /// Whoever waited for it in vain, or has half a blob of it, comes again: elsewhere, at first.
    fn pause(&self) {
        self.set_aside(MIRROR_PAUSE, "it kept somebody waiting or broke off");
    }

    fn set_aside(&self, time: Duration, reason: &str) {
        let end = Instant::now() + time;
        {
            let mut until = self.set_aside_until.lock().unwrap_or_else(PoisonError::into_inner);
            *until = until.map_or(Some(end), |until| Some(until.max(end)));
        }
        let (upstream, mirror, seconds) = (&*self.upstream, self.name(), time.as_secs());
        tracing::warn!(remote.name = upstream, mirror, seconds, reason, "a mirror is not asked for a while");
    }

    /// What `repository` is called there; `None` when its name would be too long.
    fn repository<'a>(&self, repository: &'a RemoteRepository) -> Option<Cow<'a, RemoteRepository>> {
        let Some(prefix) = &self.prefix else { return Some(Cow::Borrowed(repository)) };
        let name = repository.name.below(prefix.as_str()).ok()?;
        Some(Cow::Owned(RemoteRepository { name, via: repository.via.clone() }))
    }
}

/// Who serves a blob.
#[derive(Clone)]
pub struct ServedBy {
    name: Arc<str>,
    mirror: Option<Arc<Place>>,
}

impl ServedBy {
    /// The name of the mirror or of the upstream.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a mirror, so that the upstream itself may do better.
    pub const fn is_mirror(&self) -> bool {
        self.mirror.is_some()
    }

    /// Keeps the mirror from being asked by this upstream for five minutes: what it sent was not what was asked for. The upstream
    /// itself goes on being asked.
    pub fn distrust(&self) {
        if let Some(mirror) = &self.mirror {
            mirror.distrust();
        }
    }
}

impl fmt::Debug for ServedBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("ServedBy");
        debug.field("name", &self.name).field("is_mirror", &self.is_mirror()).finish_non_exhaustive()
    }
}

/// One question to the places that may answer it, one after the other.
struct Round<'a> {
    upstream: &'a Remote,
    repository: &'a RemoteRepository,
    mirrors: std::slice::Iter<'a, Arc<Place>>,
    /// Whether the upstream has a say before its mirrors.
    is_upstream_first: bool,
    /// Why the upstream could not be asked.
    refusal: Option<Error>,
    passed_over: Vec<PassedOver>,
}

/// The place that is asked now.
struct Stop<'a> {
    remote: &'a Remote,
    repository: Cow<'a, RemoteRepository>,
    /// `None` for the upstream itself.
    mirror: Option<&'a Arc<Place>>,
}

impl<'a> Round<'a> {
    /// For content by its digest: the mirrors, then the upstream.
    fn for_content(upstream: &'a Remote, repository: &'a RemoteRepository) -> (Self, Stop<'a>) {
        let mut round = Self::new(upstream, repository, false);
        let first = round.next_mirror().unwrap_or_else(|| round.home());
        (round, first)
    }

    /// For what only the upstream knows: itself, and the mirrors when it cannot be asked.
    fn for_names(upstream: &'a Remote, repository: &'a RemoteRepository) -> (Self, Stop<'a>) {
        let round = Self::new(upstream, repository, true);
        let first = round.home();
        (round, first)
    }

    fn for_reference(
        upstream: &'a Remote,
        repository: &'a RemoteRepository,
        reference: &TagOrDigest,
    ) -> (Self, Stop<'a>) {
        match reference {
            TagOrDigest::Digest(_) => Self::for_content(upstream, repository),
            TagOrDigest::Tag(_) => Self::for_names(upstream, repository),
        }
    }

    fn new(upstream: &'a Remote, repository: &'a RemoteRepository, is_upstream_first: bool) -> Self {
        let (mirrors, refusal, passed_over) = (upstream.mirrors().iter(), None, Vec::new());
        Self { upstream, repository, mirrors, is_upstream_first, refusal, passed_over }
    }

    fn home(&self) -> Stop<'a> {
        Stop { remote: self.upstream, repository: Cow::Borrowed(self.repository), mirror: None }
    }

    fn next_mirror(&mut self) -> Option<Stop<'a>> {
        let repository = self.repository;
        self.mirrors.find_map(|mirror| {
            let there = mirror.repository(repository).filter(|_| mirror.is_trusted())?;
            Some(Stop { remote: &mirror.remote, repository: there, mirror: Some(mirror) })
        })
    }

    /// Who is asked after `stop` failed with `error`; the final error when nobody is left.
    fn after(&mut self, stop: &Stop<'a>, error: Error) -> Result<Stop<'a>, Error> {
        if let Some(mirror) = stop.mirror {
            match error {
                Error::DigestMismatch { .. } => mirror.distrust(),
                Error::Timeout { .. } => mirror.pause(),
                _ => {}
            }
            return self.pass_over(mirror, error.to_string());
        }
        if !self.is_upstream_first || !error.is_temporary() {
            return Err(self.finally(error));
        }
        self.refusal = Some(error);
        self.go_on()
    }

    /// Who is asked after a mirror, which is left out for `reason`.
    fn pass_over(&mut self, mirror: &Place, reason: String) -> Result<Stop<'a>, Error> {
        tracing::debug!(
            remote.name = &*mirror.upstream,
            mirror = mirror.remote.name(),
            reason,
            "a mirror is passed over"
        );
        self.passed_over.push(PassedOver { mirror: mirror.remote.shared_name(), reason });
        self.go_on()
    }

    fn go_on(&mut self) -> Result<Stop<'a>, Error> {
        if let Some(mirror) = self.next_mirror() {
            return Ok(mirror);
        }
        match self.refusal.take() {
            Some(refusal) => Err(self.finally(refusal)),
            None => Ok(self.home()),
        }
    }

    fn finally(&mut self, mut error: Error) -> Error {
        error.history_mut().passed_over = std::mem::take(&mut self.passed_over);
        error
    }
}

/// `body`, whose end before its time pauses the mirror that it comes from.
fn watched(body: BlobBody, mirror: Option<Arc<Place>>) -> BlobBody {
    let Some(mirror) = mirror else { return body };
    let note = move |piece: &Result<Bytes, Error>| {
        if piece.is_err() {
            mirror.pause();
        }
    };
    body.inspect(note).boxed()
}

impl Remote {
    /// Asks what `reference` names now, without spending what registries count as a pull.
    ///
    /// Where HEAD is refused (401, 403, 405: storage behind a redirect signs for GET alone) the answer is a head
    /// that tells nothing, and a GET tells the truth.
    ///
    /// With `known`, the digest of what is here already, an upstream that supports conditions may answer that nothing has
    /// changed; the head then names that digest.
    ///
    /// By a digest the mirrors are asked first; by a tag, when the upstream itself cannot be asked.
    pub async fn head_manifest(
        &self,
        repository: &RemoteRepository,
        reference: &TagOrDigest,
        known: Option<&Digest>,
    ) -> Result<ManifestHead, Error> {
        let (mut round, mut stop) = Round::for_reference(self, repository, reference);
        loop {
            stop = match (stop.remote.own_manifest_head(&stop.repository, reference, known).await, stop.mirror) {
                // A mirror that tells nothing is no help.
                (Ok(head), Some(mirror)) if head.digest.is_none() => {
                    round.pass_over(mirror, "it names no digest".to_owned())?
                }
                (Ok(head), _) => return Ok(head),
                (Err(error), _) => round.after(&stop, error)?,
            };
        }
    }

    /// Fetches a manifest of at most [`MANIFEST_BYTES_MAX`](entrepot_oci::MANIFEST_BYTES_MAX) bytes.
    ///
    /// By a digest, its bytes are verified against it. By a tag, against the digest that the upstream announces, if it
    /// does, and the digest is `sha256` of the bytes otherwise.
    ///
    /// By a digest the mirrors are asked first; by a tag, when the upstream itself cannot be asked.
    pub async fn get_manifest(
        &self,
        repository: &RemoteRepository,
        reference: &TagOrDigest,
    ) -> Result<FetchedManifest, Error> {
        let (mut round, mut stop) = Round::for_reference(self, repository, reference);
        loop {
            stop = match stop.remote.own_manifest(&stop.repository, reference).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => round.after(&stop, error)?,
            };
        }
    }

    /// Asks for the size of a blob, in bytes; `None` when it is there and the upstream does not tell its size.
    ///
    /// Where HEAD is refused (public.ecr.aws, signed storage) a GET of the first byte is asked instead. The mirrors are
    /// asked first.
    pub async fn head_blob(&self, repository: &RemoteRepository, digest: &Digest) -> Result<Option<u64>, Error> {
        let (mut round, mut stop) = Round::for_content(self, repository);
        loop {
            stop = match stop.remote.own_blob_size(&stop.repository, digest).await {
                Ok(size) => return Ok(size),
                Err(error) => round.after(&stop, error)?,
            };
        }
    }

    /// Fetches a blob, or a part of it, from the first mirror that has it, or from the upstream itself. Whether the bytes are
    /// those of `digest` is for the caller to verify, and [`ServedBy::distrust`] for when they are not.
    pub async fn get_blob(
        &self,
        repository: &RemoteRepository,
        digest: &Digest,
        from: BlobFrom,
    ) -> Result<BlobResponse, Error> {
        let (mut round, mut stop) = Round::for_content(self, repository);
        loop {
            stop = match stop.remote.own_blob(&stop.repository, digest, from).await {
                Ok(found) => {
                    let served_by = ServedBy { name: stop.remote.shared_name(), mirror: stop.mirror.cloned() };
                    let body = watched(found.body, stop.mirror.cloned());
                    return Ok(BlobResponse { first: found.first, total: found.total, served_by, body });
                }
                Err(error) => round.after(&stop, error)?,
            };
        }
    }

    /// All tags of a repository, sorted, each once. What is not a tag is left out.
    ///
    /// A list too long to be read whole is [`Error::TooLarge`], never a part of it. The mirrors are asked when the upstream
    /// itself cannot be asked.
    pub async fn tags(&self, repository: &RemoteRepository) -> Result<Vec<Tag>, Error> {
        let (mut round, mut stop) = Round::for_names(self, repository);
        loop {
            stop = match stop.remote.own_tags(&stop.repository).await {
                Ok(tags) => return Ok(tags),
                Err(error) => round.after(&stop, error)?,
            };
        }
    }

    /// Everything that refers to `digest`, all pages of it. Filtering by type is up to the caller: some registries
    /// answer several filters with nothing.
    ///
    /// An upstream that cannot be asked is an [`Error`] and never an empty list: "no signatures" must be the truth. The mirrors are
    /// asked then, and one that knows of no referrers is not believed.
    pub async fn referrers(&self, repository: &RemoteRepository, digest: &Digest) -> Result<Vec<Referrer>, Error> {
        let (mut round, mut stop) = Round::for_names(self, repository);
        loop {
            stop = match (stop.remote.own_referrers(&stop.repository, digest).await, stop.mirror) {
                (Ok(referrers), Some(mirror)) if referrers.is_empty() => {
                    round.pass_over(mirror, "it knows no referrers".to_owned())?
                }
                (Ok(referrers), _) => return Ok(referrers),
                (Err(error), _) => round.after(&stop, error)?,
            };
        }
    }
}
