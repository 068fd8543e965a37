//! What is remembered of upstreams, for a while and within bounds: what they refused, that they were silent, what they listed.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::Timestamp;
use entrepot_oci::{Digest, ManifestError, Referrer, RepositoryName, Tag, TagOrDigest};
use entrepot_upstream::{CallerKey, ContentError};

use crate::flight::Flights;
use crate::limits::{
    DOUBTS_MAX, FAILURE_MEMORY, LISTS_MAX, NEGATIVE_BLOB, NEGATIVE_MANIFEST, NEGATIVE_REPOSITORY, PERMISSIONS_MAX,
    REFERRER_LISTS_BYTES_MAX, REFUSALS_MAX, TAG_LISTS_BYTES_MAX,
};
use crate::lists::rendered_size_max;
use crate::remembered::{Bounds, Remembered};
use crate::{Error, Tasks};

/// A question to an upstream. What is remembered of one, and who waits for its answer, is never another's with another account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    /// Of which repository, by its name in the cache.
    pub(crate) repository: RepositoryName,
    pub(crate) subject: Subject,
    /// With which account, at an upstream that is asked with the account of the caller.
    pub(crate) caller: Option<CallerKey>,
}

/// What is asked of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Manifest(TagOrDigest),
    Blob(Digest),
    Tags,
    /// The manifests that are about this one.
    Referrers(Digest),
}

/// What is remembered of all upstreams.
#[derive(Debug)]
pub(crate) struct Memory {
    /// What did not lead to an answer.
    pub(crate) refusals: Remembered<Question, Refusal>,
    /// The origins of upstreams that said nothing when they were asked last.
    pub(crate) doubts: Remembered<String, ()>,
    pub(crate) tags: Arc<Lists<Tag>>,
    pub(crate) referrers: Arc<Lists<Referrer>>,
    /// Who may pull from which repository, by its name in the cache, as its upstream said.
    pub(crate) permissions: Remembered<(RepositoryName, Option<CallerKey>), ()>,
}

impl Memory {
    pub(crate) fn new(tasks: &Tasks) -> Self {
        // Beside its text, a tag costs its place in the list and its counts.
        let tag_size = |tag: &Tag| tag.as_str().len() + 32;
        Self {
            refusals: Remembered::new(Bounds { entries: REFUSALS_MAX, bytes: usize::MAX }),
            doubts: Remembered::new(Bounds { entries: DOUBTS_MAX, bytes: usize::MAX }),
            tags: Arc::new(Lists::new(tasks, TAG_LISTS_BYTES_MAX, tag_size)),
            permissions: Remembered::new(Bounds { entries: PERMISSIONS_MAX, bytes: usize::MAX }),
            referrers: Arc::new(Lists::new(tasks, REFERRER_LISTS_BYTES_MAX, rendered_size_max)),
        }
    }

    /// Forgets what has to be forgotten when an order to forget something may have been missed.
    pub(crate) fn forget_everything(&self) {
        self.refusals.forget_all(|_| true);
        self.tags.remembered.forget_all(|_| true);
        self.referrers.remembered.forget_all(|_| true);
        self.permissions.forget_all(|_| true);
    }

    /// Forgets everything about a repository, so that the next question about it is asked of its upstream.
    pub(crate) fn forget_repository(&self, cached_name: &RepositoryName) {
        self.refusals.forget_all(|question| question.repository == *cached_name);
        self.tags.remembered.forget_all(|question| question.repository == *cached_name);
        self.referrers.remembered.forget_all(|question| question.repository == *cached_name);
        self.permissions.forget_all(|(name, _)| name == cached_name);
    }
}

/// Lists of upstreams: one question at a time for each, and its answer remembered.
#[derive(Debug)]
pub(crate) struct Lists<T> {
    pub(crate) remembered: Remembered<Question, Listed<T>>,
    pub(crate) flights: Flights<Question, Listed<T>>,
    /// The bytes that an entry takes.
    size: fn(&T) -> usize,
}

impl<T: Send + Sync + 'static> Lists<T> {
    fn new(tasks: &Tasks, bytes: usize, size: fn(&T) -> usize) -> Self {
        let remembered = Remembered::new(Bounds { entries: LISTS_MAX, bytes });
        Self { remembered, flights: Flights::new(tasks.clone()), size }
    }

    /// Remembers a list for `lifetime`.
    pub(crate) fn put(&self, question: Question, listed: Listed<T>, lifetime: Duration) {
        let size = listed.entries.iter().map(self.size).sum();
        let now = listed.at;
        self.remembered.put(question, listed, size, lifetime, now);
    }
}

/// What an upstream listed, in order and each once.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    pub(crate) entries: Arc<[T]>,
    /// When.
    pub(crate) at: Timestamp,
}

impl<T> Clone for Listed<T> {
    fn clone(&self) -> Self {
        Self { entries: Arc::clone(&self.entries), at: self.at }
    }
}

/// Why a question did not lead to an answer.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// The upstream does not have it.
    NotFound,
    /// Anything else that an upstream does.
    Upstream(Arc<entrepot_upstream::Error>),
}

impl Refusal {
    /// What the upstream of the repository `asked` refused, if that is what the error is. An error of another repository, which
    /// work that is shared may end with, says nothing about this one.
    pub(crate) fn of(error: &Error, asked: &RepositoryName) -> Option<Self> {
        match error.root() {
            Error::ManifestUnknown { name, .. }
            | Error::BlobUnknown { name, .. }
            | Error::RepositoryUnknown { name } => (name == asked).then_some(Self::NotFound),
            Error::Upstream { name, source } => (name == asked).then(|| Self::Upstream(Arc::clone(source))),
            _ => None,
        }
    }

    /// Whether it is the upstream's word, which is repeated to whoever asks, rather than an outage, which is repeated only to
    /// those for whom something cached stands in.
    pub(crate) fn is_definite(&self) -> bool {
        match self {
            Self::NotFound => true,
            Self::Upstream(error) => matches!(**error, entrepot_upstream::Error::Denied { .. }) || is_schema1(error),
        }
    }

    /// Whether the upstream said nothing at all.
    pub(crate) fn is_silence(&self) -> bool {
        use entrepot_upstream::Error as Upstream;
        match self {
            Self::NotFound => false,
            Self::Upstream(error) => {
                matches!(
                    **error,
                    Upstream::Unreachable { .. } | Upstream::Timeout { .. } | Upstream::Interrupted { .. }
                )
            }
        }
    }

    /// Whether the upstream was asked at all. What cost no question costs nothing to try again.
    pub(crate) fn was_asked(&self) -> bool {
        use entrepot_upstream::Error as Upstream;
        match self {
            Self::NotFound => true,
            Self::Upstream(error) => !matches!(**error, Upstream::Suspended { .. } | Upstream::Busy { .. }),
        }
    }

    /// How long it is remembered; `None` for an outage where nothing cached could stand in for an answer.
    pub(crate) fn lifetime(&self, subject: &Subject) -> Option<Duration> {
        let is_private =
            || matches!(self, Self::Upstream(error) if matches!(**error, entrepot_upstream::Error::Denied { .. }));
        match subject {
            Subject::Blob(_) => self.is_definite().then_some(NEGATIVE_BLOB),
            _ if !self.is_definite() => Some(FAILURE_MEMORY),
            _ if is_private() => Some(NEGATIVE_REPOSITORY),
            Subject::Tags => Some(NEGATIVE_REPOSITORY),
            Subject::Manifest(_) | Subject::Referrers(_) => Some(NEGATIVE_MANIFEST),
        }
    }
}

/// Whether an image was refused because it is of Docker's schema 1: it will not be another one when it is fetched again.
fn is_schema1(error: &entrepot_upstream::Error) -> bool {
    matches!(
        error,
        entrepot_upstream::Error::InvalidContent { reason: ContentError::Manifest(reason), .. }
            if matches!(**reason, ManifestError::Schema1)
    )
}
