//! Fetching in advance: an image with everything that belongs to it, through the same flights and fills as pulls.
//!
//! Nothing passes through here but the news of it: the bytes go from the upstream into the cache, where the fills put them.
//! Dropping the events ends the walk; fills that it began go on.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use entrepot_blobs::Growing;
use entrepot_oci::{ChildPlatform, Digest, Manifest, ManifestKind, MediaType, Reference, ReferenceKind, TagOrDigest};
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use tokio::sync::mpsc;

use crate::limits::{WARM_AT_ONCE_MAX, WARM_CONTENT_MAX, WARM_EVENTS_WAITING_MAX, WARM_STEP_BYTES};
use crate::{BlobContent, Error, Repository, with_causes};

/// A part of an index to be fetched: `linux/arm64` or `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `arm64`
    pub architecture: String,
    /// `v7`; `None`: any.
    pub variant: Option<String>,
}

/// How far the fetching of an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WarmEvent {
    /// A manifest is here.
    Manifest {
        /// The manifest.
        digest: Digest,
        /// Its type.
        media_type: MediaType,
    },
    /// A blob is on its way, or here when `received` is `size`.
    Blob {
        /// The blob.
        digest: Digest,
        /// The bytes that are here.
        received: u64,
        /// All of its bytes.
        size: u64,
    },
    /// Something could not be fetched; the rest goes on.
    Failed {
        /// What it was: a tag or digest.
        subject: String,
        /// Why, for people, with its causes.
        reason: String,
    },
    /// Nothing more comes.
    Done {
        /// Manifests that are here.
        manifests: u64,
        /// Blobs that are here.
        blobs: u64,
        /// The bytes of those blobs.
        bytes: u64,
        /// How much could not be fetched.
        failures: u64,
    },
}

impl Repository {
    /// Fetches everything of an image that is not here yet: of an index the parts for `platforms`, or all of them. What has
    /// no platform, such as an attestation, comes only with all of them. Layers that are had from elsewhere by `urls` are left out.
    ///
    /// A failure is an event, also that the repository is hosted; the last event is [`WarmEvent::Done`].
    pub fn warm(&self, reference: TagOrDigest, platforms: Vec<Platform>) -> BoxStream<'static, WarmEvent> {
        let (events, mut waiting) = mpsc::channel(WARM_EVENTS_WAITING_MAX);
        let walk = Walk { repository: self.clone(), platforms: platforms.into(), events };
        let walking = stream::once(walk.run(reference)).filter_map(|()| std::future::ready(None));
        let events = stream::poll_fn(move |context| waiting.poll_recv(context));
        stream::select(events, walking).boxed()
    }
}

/// A walk over everything that an image names.
struct Walk {
    repository: Repository,
    /// Empty for all.
    platforms: Arc<[Platform]>,
    events: mpsc::Sender<WarmEvent>,
}

/// Something to fetch.
#[derive(Debug)]
enum Step {
    Manifest { reference: TagOrDigest, is_root: bool },
    Blob(Digest),
}

/// What came of a step.
#[derive(Debug, Default)]
struct Taken {
    next: Vec<Step>,
    manifests: u64,
    blobs: u64,
    bytes: u64,
    failures: u64,
}

impl Walk {
    async fn run(self, reference: TagOrDigest) {
        let mut waiting = VecDeque::from([Step::Manifest { reference, is_root: true }]);
        let mut seen = HashSet::new();
        let mut total = Taken::default();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < WARM_AT_ONCE_MAX
                && let Some(step) = waiting.pop_front()
            {
                under_way.push(self.take(step));
            }
            let Some(taken) = under_way.next().await else { break };
            for step in taken.next {
                // Layers and children are named more than once.
                if seen.insert(step.subject()) {
                    if seen.len() <= WARM_CONTENT_MAX {
                        waiting.push_back(step);
                    } else {
                        let reason = format!("the image names more than {WARM_CONTENT_MAX} manifests and blobs");
                        total.failures += self.fail(step.subject(), reason).await.failures;
                    }
                }
            }
            total.manifests += taken.manifests;
            total.blobs += taken.blobs;
            total.bytes += taken.bytes;
            total.failures += taken.failures;
        }
        let Taken { manifests, blobs, bytes, failures, .. } = total;
        self.tell(WarmEvent::Done { manifests, blobs, bytes, failures }).await;
    }

    async fn take(&self, step: Step) -> Taken {
        let subject = step.subject();
        let outcome = match step {
            Step::Manifest { reference, is_root } => self.manifest(&reference, is_root).await,
            Step::Blob(digest) => self.blob(&digest).await,
        };
        match outcome {
            Ok(taken) => taken,
            Err(error) => {
                let error = self.repository.only_for_callers().filter(|_| is_unknown(&error)).unwrap_or(error);
                self.fail(subject, with_causes(&error)).await
            }
        }
    }

    async fn manifest(&self, reference: &TagOrDigest, is_root: bool) -> Result<Taken, Error> {
        self.repository.cached()?;
        let pulled = self.repository.manifest(reference).await?.manifest;
        let manifest = Manifest::parse(pulled.bytes, Some(&pulled.media_type))?;
        self.tell(WarmEvent::Manifest { digest: pulled.digest, media_type: pulled.media_type }).await;
        let mut taken = Taken { manifests: 1, ..Taken::default() };
        for reference in self.wanted(&manifest) {
            if let Some(step) = step_of(reference) {
                taken.next.push(step);
            } else {
                let reason = "its digest cannot be verified by this server".to_owned();
                taken.failures += self.fail(reference.descriptor.digest.to_string(), reason).await.failures;
            }
        }
        if is_root && taken.next.is_empty() && manifest.kind() == ManifestKind::Index && !self.platforms.is_empty() {
            let platforms: Vec<String> = self.platforms.iter().map(Platform::to_string).collect();
            let reason = format!("nothing in the index is for {}", platforms.join(" or "));
            taken.failures += self.fail(reference.to_string(), reason).await.failures;
        }
        Ok(taken)
    }

    /// What is to be fetched of that which a manifest names.
    fn wanted<'a>(&self, manifest: &'a Manifest) -> Vec<&'a Reference> {
        let is_part = manifest.kind() == ManifestKind::Index && !self.platforms.is_empty();
        let mut platforms = if is_part { manifest.child_platforms() } else { Vec::new() }.into_iter();
        let is_wanted = |reference: &&Reference| {
            if reference.kind != ReferenceKind::Child {
                return !reference.is_optional();
            }
            if !is_part {
                return true;
            }
            match platforms.next().flatten() {
                Some(platform) => self.platforms.iter().any(|wanted| wanted.matches(&platform)),
                // The entries of an index within an index have platforms of their own.
                None => kind_of(reference) == Some(ManifestKind::Index),
            }
        };
        manifest.references().iter().filter(is_wanted).collect()
    }

    async fn blob(&self, digest: &Digest) -> Result<Taken, Error> {
        let pulled = self.repository.blob(digest).await?;
        let size = pulled.size;
        if let BlobContent::Arriving(arriving) = pulled.content {
            let outcome = self.repository.registry.fills.outcome(digest, self.repository.cached()?);
            self.follow(digest, &arriving.growing, size).await;
            // Without an outcome the fill ended between the two lines above, and the look below tells how.
            if let Some(outcome) = outcome {
                outcome.await?;
            }
        }
        // What was passed on without being kept is not what was wanted.
        self.must_be_here(digest).await?;
        self.tell(WarmEvent::Blob { digest: digest.clone(), received: size, size }).await;
        Ok(Taken { blobs: 1, bytes: size, ..Taken::default() })
    }

    /// Tells how the blob grows, until it is all there or does not grow any more.
    async fn follow(&self, digest: &Digest, growing: &Growing, size: u64) {
        loop {
            let received = growing.received();
            if received >= size {
                return;
            }
            self.tell(WarmEvent::Blob { digest: digest.clone(), received, size }).await;
            let next = received.saturating_add(WARM_STEP_BYTES).min(size);
            if growing.wait_for(next - 1).await.is_err() {
                return;
            }
        }
    }

    async fn must_be_here(&self, digest: &Digest) -> Result<(), Error> {
        let store = &self.repository.registry.cache;
        let link = store.metadata.blob(self.repository.cached()?.cached_name(), digest).await?;
        let found = store.blobs.size(digest).await?;
        if link.is_some_and(|link| found == Some(link.size)) {
            return Ok(());
        }
        Err(Error::NotCached { name: self.repository.name.clone(), subject: digest.to_string() })
    }

    async fn fail(&self, subject: String, reason: String) -> Taken {
        tracing::debug!(repository.name = %self.repository.name, subject, reason, "could not be fetched in advance");
        self.tell(WarmEvent::Failed { subject, reason }).await;
        Taken { failures: 1, ..Taken::default() }
    }

    async fn tell(&self, event: WarmEvent) {
        // Both ends go together: without a reader nobody would come here.
        let _ = self.events.send(event).await;
    }
}

impl Step {
    fn subject(&self) -> String {
        match self {
            Self::Manifest { reference, .. } => reference.to_string(),
            Self::Blob(digest) => digest.to_string(),
        }
    }
}

impl Platform {
    /// Whether the entry is for this platform. Where an entry leaves out the variant it has the one that is usual.
    fn matches(&self, platform: &ChildPlatform) -> bool {
        let usual = match platform.architecture.as_str() {
            "arm64" => Some("v8"),
            "arm" => Some("v7"),
            _ => None,
        };
        let variant = platform.variant.as_deref().or(usual);
        self.os == platform.os
            && self.architecture == platform.architecture
            && (self.variant.is_none() || self.variant.as_deref() == variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(formatter, "/{variant}"))
    }
}

/// Whether it is not there, for whoever asked.
fn is_unknown(error: &Error) -> bool {
    matches!(error.root(), Error::ManifestUnknown { .. } | Error::BlobUnknown { .. })
}

/// How to fetch what a manifest names; `None` for a digest of a foreign algorithm. Older build caches list blobs in an index.
fn step_of(reference: &Reference) -> Option<Step> {
    let digest = reference.descriptor.digest.known()?.clone();
    let is_manifest = reference.kind == ReferenceKind::Child && kind_of(reference).is_some();
    Some(if is_manifest {
        Step::Manifest { reference: TagOrDigest::Digest(digest), is_root: false }
    } else {
        Step::Blob(digest)
    })
}

fn kind_of(reference: &Reference) -> Option<ManifestKind> {
    reference.descriptor.media_type.as_ref().and_then(MediaType::manifest_kind)
}
