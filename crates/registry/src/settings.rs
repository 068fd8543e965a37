//! What an operator says about pulling through: how long tags are believed, what may pass, how much is kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::ProtectedTags;
use entrepot_oci::RepositoryName;
pub use entrepot_oci::{PatternError, Patterns};

/// Everything that an operator says about pulling through.
#[derive(Clone, Debug, Default)]
pub struct ProxySettings {
    /// How long tags are believed where nothing more exact is said.
    pub freshness: Freshness,
    /// How long the tags of an upstream are believed, by the name of the upstream.
    pub upstream_freshness: HashMap<String, Freshness>,
    /// Exceptions for some tags: the first that matches counts.
    pub freshness_rules: Vec<FreshnessRule>,
    /// What may be pulled through: the first that matches decides, and without any everything may.
    pub rules: Vec<PolicyRule>,
    /// The upstream whose names are answered without a prefix where no own repository has them.
    pub root_mirror: Option<String>,
    /// How much is kept.
    pub cache: CacheLimits,
}

/// How long a tag is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// How long the last answer of the upstream is believed without asking again; `None`: for ever.
    pub fresh_for: Option<Duration>,
    /// How long after its last answer it may still be used when the upstream cannot be asked; `None`: for ever.
    pub stale_for: Option<Duration>,
    /// What a 404 of the upstream means for a tag that is cached.
    pub on_upstream_404: OnUpstream404,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { fresh_for: Some(Duration::from_mins(1)), stale_for: None, on_upstream_404: OnUpstream404::Keep }
    }
}

/// What a 404 of the upstream means for a tag that is cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUpstream404 {
    /// It is kept and served, marked as stale.
    #[default]
    Keep,
    /// The tag is forgotten; what it pointed at stays until it is evicted.
    Forget,
}

/// An exception for some tags. What it does not say is as for the upstream.
#[derive(Clone, Debug, Default)]
pub struct FreshnessRule {
    /// The names of the upstreams that it is for.
    pub upstreams: Patterns,
    /// The repositories that it is for, as the upstream calls them.
    pub repositories: Patterns,
    /// The tags that it is for.
    pub tags: Patterns,
    /// As in [`Freshness`]; the inner `None` is for ever.
    pub fresh_for: Option<Option<Duration>>,
    /// As in [`Freshness`]; the inner `None` is for ever.
    pub stale_for: Option<Option<Duration>>,
    /// As in [`Freshness`].
    pub on_upstream_404: Option<OnUpstream404>,
}

/// A rule about what may be pulled through. Everything that it names has to match.
#[derive(Clone, Debug)]
pub struct PolicyRule {
    /// What it is called in refusals and in the log.
    pub name: String,
    /// What it does with what matches.
    pub action: PolicyAction,
    /// It decides nothing: that it matched is logged and counted, and the next rules are asked.
    pub is_log_only: bool,
    /// The names of the upstreams that it is for.
    pub upstreams: Patterns,
    /// The repositories that it is for, as the upstream calls them.
    pub repositories: Patterns,
    /// The tags that it is for.
    pub tags: Patterns,
    /// The media types of the manifests and blobs that it is for.
    pub media_types: Patterns,
    /// Only what is larger than so many bytes: a manifest with everything that it names, or a blob.
    pub larger_than: Option<u64>,
    /// Only images that were made less long ago.
    pub younger_than: Option<Duration>,
}

impl PolicyRule {
    /// A rule that matches everything.
    pub fn new(name: impl Into<String>, action: PolicyAction) -> Self {
        Self {
            name: name.into(),
            action,
            is_log_only: false,
            upstreams: Patterns::default(),
            repositories: Patterns::default(),
            tags: Patterns::default(),
            media_types: Patterns::default(),
            larger_than: None,
            younger_than: None,
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyAction {
    /// What matches may pass.
    Allow,
    /// What matches is refused.
    Deny,
}

/// The tags of own repositories that never move and are never deleted, with everything that they reach; whoever asks. Each may be made
/// once, and pushed again as it is.
#[derive(Clone, Debug, Default)]
pub struct ImmutableTags {
    /// Any of them makes a tag immutable.
    pub rules: Vec<ImmutableRule>,
}

impl ImmutableTags {
    /// Those of one repository. None are protected where no rule is about it, so that nothing is looked up for it.
    pub(crate) fn of(self: &Arc<Self>, repository: &RepositoryName) -> ProtectedTags {
        let is_about = |rule: &ImmutableRule| rule.repositories.matches(repository.as_str());
        let about: Vec<usize> = (0..self.rules.len()).filter(|index| is_about(&self.rules[*index])).collect();
        if about.is_empty() {
            return ProtectedTags::default();
        }
        let immutable = Arc::clone(self);
        ProtectedTags::by(move |tag| about.iter().any(|index| immutable.rules[*index].tags.matches(tag.as_str())))
    }
}

/// Tags that never move.
#[derive(Clone, Debug, Default)]
pub struct ImmutableRule {
    /// The repositories that it is for; without patterns all.
    pub repositories: Patterns,
    /// The tags that it is for; without patterns all.
    pub tags: Patterns,
}

/// How much the cache keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// The bytes of all blobs; `None`: no limit.
    pub size_max: Option<u64>,
    /// Eviction begins above this part of `size_max`, in percent.
    pub high_percent: u8,
    /// Eviction ends at this part of `size_max`, in percent.
    pub low_percent: u8,
    /// What was not pulled for this long goes; `None`: only room decides.
    pub unused_for: Option<Duration>,
    /// How many fills may go on after the last client has left them; one more ends.
    pub orphan_fills_max: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { size_max: None, high_percent: 95, low_percent: 85, unused_for: None, orphan_fills_max: 32 }
    }
}
