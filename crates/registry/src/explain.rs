//! Why a pull does what it does: everything that decides about one reference, looked up or asked without changing anything.
//!
//! The steps are those of a pull and in its order (whose image it is, the rules, the cache, the upstream), taken by the same code.
//! What would be fetched is asked about by a HEAD, which registries do not count as a pull.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::{ManifestRow, Timestamp};
use entrepot_oci::{Digest, Manifest, MediaType, ReferenceKind, RepositoryName, Tag, TagOrDigest};
use entrepot_upstream::{Handshake, RemoteState};

use crate::admission::Admitted;
use crate::freshness::{Budget, Standing, age};
use crate::limits::{EXPLAINED_CHILDREN_MAX, EXPLAINED_PINS_MAX};
use crate::proxied::Proxied;
use crate::registry::Store;
use crate::repository::{Kind, stored_manifest};
use crate::{Error, Freshness, Registry, Repository};

/// What an explanation cannot know where the upstream is asked with the account of whoever pulls.
const NOT_FOR_CALLERS: &str = "; the upstream was asked without an account now: in a pull it is asked with that of the caller, who gets nothing \
     that the upstream does not give him, cached or not";

/// Everything that decides about a pull.
#[derive(Debug)]
pub struct Explanation {
    /// The repository as it is called here.
    pub name: RepositoryName,
    /// The tag or digest.
    pub reference: TagOrDigest,
    /// Where it comes from; `None`: it is one of your own.
    pub upstream: Option<ExplainedUpstream>,
    /// What the rules say.
    pub rule: ExplainedRule,
    /// What is here of it.
    pub here: Option<ExplainedContent>,
    /// How the upstream was asked whether it answers; `None` where it is not asked.
    pub handshake: Option<Handshake>,
    /// What the upstream says that the reference is now; `None` where it was not asked.
    pub there: Option<Result<Option<Digest>, Error>>,
    /// What a pull would do now, for people.
    pub outlook: String,
}

/// The registry that a reference comes from.
#[derive(Debug)]
pub struct ExplainedUpstream {
    /// Where it is.
    pub address: String,
    /// What the repository is called there.
    pub repository: RepositoryName,
    /// Its mirrors, in the order in which they are asked for content.
    pub mirrors: Vec<String>,
    /// How it is doing.
    pub state: RemoteState,
}

/// What the rules of the operator say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExplainedRule {
    /// It may pass; by this rule, or because none matches.
    Allowed(Option<String>),
    /// That hangs on what only the manifest tells, which is not here.
    Undecided,
    /// It is refused.
    Refused {
        /// The name of the rule.
        rule: String,
        /// What it matched on.
        reason: String,
    },
}

/// What is here of an image.
#[derive(Clone, Debug)]
pub struct ExplainedContent {
    /// The manifest.
    pub digest: Digest,
    /// Its type.
    pub media_type: MediaType,
    /// The tags that point at it here.
    pub tags: Vec<Tag>,
    /// For a tag: when the upstream last said that this is it.
    pub confirmed_at: Option<Timestamp>,
    /// For a cached tag: how long it is believed.
    pub freshness: Option<Freshness>,
    /// The manifests of an index that are here, and all of them.
    pub children: (usize, usize),
    /// The configurations and layers that are here, and all that the manifests here name.
    pub blobs: (usize, usize),
    /// The bytes of the blobs that are here, and of all that the manifests here name.
    pub bytes: (u64, u64),
    /// Whether the reference or its digest is pinned.
    pub is_pinned: bool,
}

/// What a tag's standing and age come to.
struct Believed {
    standing: Standing,
    age: Option<Duration>,
}

impl Repository {
    /// Explains a pull of `reference`. The upstream is asked, unless a rule refuses or it is suspended; nothing is stored.
    pub async fn explain(&self, reference: &TagOrDigest) -> Result<Explanation, Error> {
        match &self.kind {
            Kind::Hosted => self.explain_hosted(reference).await,
            Kind::Proxied(proxied) => self.explain_proxied(proxied, reference).await,
        }
    }

    async fn explain_hosted(&self, reference: &TagOrDigest) -> Result<Explanation, Error> {
        let store = &self.registry.own;
        let found = stored_manifest(&*store.metadata, &self.name, reference).await?;
        let outlook = match &found {
            Some(_) => "it is answered from your own storage; no other registry is asked".to_owned(),
            None if store.metadata.repository_exists(&self.name).await? => {
                format!("404: your repository {} has no {reference}; no other registry is asked", self.name)
            }
            None => format!("404: there is no repository {} of your own", self.name),
        };
        let here = match found {
            Some(row) => Some(content(store, &self.name, &row).await?),
            None => None,
        };
        Ok(Explanation {
            name: self.name.clone(),
            reference: reference.clone(),
            upstream: None,
            rule: ExplainedRule::Allowed(None),
            here,
            handshake: None,
            there: None,
            outlook,
        })
    }

    async fn explain_proxied(&self, proxied: &Proxied, reference: &TagOrDigest) -> Result<Explanation, Error> {
        let registry = &self.registry;
        let remote = proxied.remote();
        let here = cached(registry, proxied, reference).await?;
        let rule = self.explain_rule(proxied, reference, here.as_ref().map(|(row, _)| row)).await?;
        let state = remote.state();
        let is_asked = state.suspended.is_none() && !matches!(rule, ExplainedRule::Refused { .. });
        let (handshake, there) = if is_asked {
            let handshake = remote.handshake(proxied.remote_repository()).await;
            (Some(handshake), Some(proxied.there_now(reference).await))
        } else {
            (None, None)
        };
        let believed = here.as_ref().and_then(|(_, content)| believed(registry, proxied, content));
        let here = here.map(|(_, content)| content);
        let mut outlook = outlook(reference, &rule, here.as_ref(), believed.as_ref(), there.as_ref(), &state);
        if self.only_for_callers().is_some() {
            outlook.push_str(NOT_FOR_CALLERS);
        }
        let upstream = ExplainedUpstream {
            address: remote.address(),
            repository: proxied.name_there().clone(),
            mirrors: remote.mirror_names().into_iter().map(ToOwned::to_owned).collect(),
            state,
        };
        let (name, reference) = (self.name.clone(), reference.clone());
        Ok(Explanation { name, reference, upstream: Some(upstream), rule, here, handshake, there, outlook })
    }

    async fn explain_rule(
        &self,
        proxied: &Proxied,
        reference: &TagOrDigest,
        row: Option<&ManifestRow>,
    ) -> Result<ExplainedRule, Error> {
        let admission = self.admission(proxied);
        let judged = match (admission.reference(reference).await, row) {
            (Ok(Admitted::SoFar), Some(row)) => admission.manifest(reference, row).await.map(|()| Admitted::Yes),
            (judged, _) => judged,
        };
        match judged {
            Ok(Admitted::Yes) => Ok(ExplainedRule::Allowed(admission.deciding_rule(reference).map(ToOwned::to_owned))),
            Ok(Admitted::SoFar) => Ok(ExplainedRule::Undecided),
            Err(Error::PolicyDenied { rule, reason, .. }) => Ok(ExplainedRule::Refused { rule, reason }),
            Err(error) => Err(error),
        }
    }
}

/// What is cached of a reference.
async fn cached(
    registry: &Arc<Registry>,
    proxied: &Proxied,
    reference: &TagOrDigest,
) -> Result<Option<(ManifestRow, ExplainedContent)>, Error> {
    let store = &registry.cache;
    let Some(row) = stored_manifest(&*store.metadata, proxied.cached_name(), reference).await? else { return Ok(None) };
    let mut content = content(store, proxied.cached_name(), &row).await?;
    if let TagOrDigest::Tag(tag) = reference {
        let tagged = store.metadata.tag(proxied.cached_name(), tag).await?;
        content.confirmed_at = tagged.map(|tagged| tagged.confirmed_at);
        content.freshness = Some(registry.settings.freshness_of(proxied.remote().name(), proxied.name_there(), tag));
    }
    let pins = store.metadata.pins(EXPLAINED_PINS_MAX).await?;
    content.is_pinned = pins.iter().any(|pin| {
        pin.repository == *proxied.cached_name()
            && (pin.reference == *reference || pin.reference == TagOrDigest::Digest(row.digest.clone()))
    });
    Ok(Some((row, content)))
}

/// How much of an image a store has.
async fn content(store: &Store, name: &RepositoryName, row: &ManifestRow) -> Result<ExplainedContent, Error> {
    let mut content = ExplainedContent {
        digest: row.digest.clone(),
        media_type: row.media_type.clone(),
        tags: store.metadata.manifest_tags(name, &row.digest).await?,
        confirmed_at: None,
        freshness: None,
        children: (0, 0),
        blobs: (0, 0),
        bytes: (0, 0),
        is_pinned: false,
    };
    let top = Manifest::parse(row.bytes.clone(), Some(&row.media_type))?;
    let mut manifests = vec![top.clone()];
    let children = top.references().iter().filter(|reference| reference.kind == ReferenceKind::Child);
    for child in children.filter_map(|child| child.descriptor.digest.known()).take(EXPLAINED_CHILDREN_MAX) {
        content.children.1 += 1;
        if let Some(row) = store.metadata.manifest(name, child).await? {
            content.children.0 += 1;
            manifests.push(Manifest::parse(row.bytes, Some(&row.media_type))?);
        }
    }
    for reference in manifests.iter().flat_map(Manifest::references) {
        let descriptor = &reference.descriptor;
        let Some(digest) = descriptor.digest.known().filter(|_| reference.kind != ReferenceKind::Child) else {
            continue;
        };
        content.blobs.1 += 1;
        content.bytes.1 = content.bytes.1.saturating_add(descriptor.size);
        if let Some(link) = store.metadata.blob(name, digest).await? {
            content.blobs.0 += 1;
            content.bytes.0 += link.size;
        }
    }
    Ok(content)
}

fn believed(registry: &Registry, proxied: &Proxied, content: &ExplainedContent) -> Option<Believed> {
    let (freshness, confirmed_at) = (content.freshness?, content.confirmed_at?);
    let budget = proxied.remote().rate_limit().and_then(Budget::told);
    let now = registry.clock.now();
    Some(Believed { standing: freshness.standing(confirmed_at, now, budget), age: age(confirmed_at, now) })
}

/// What a pull would do, in a sentence.
fn outlook(
    reference: &TagOrDigest,
    rule: &ExplainedRule,
    here: Option<&ExplainedContent>,
    believed: Option<&Believed>,
    there: Option<&Result<Option<Digest>, Error>>,
    state: &RemoteState,
) -> String {
    if let ExplainedRule::Refused { rule, reason } = rule {
        return format!("403: the rule {rule:?} refuses it, because {reason}; the upstream is not asked");
    }
    let name = &state.name;
    let whole = match here {
        Some(content) if content.blobs.0 == content.blobs.1 && content.children.0 == content.children.1 => "",
        _ => "; what is missing of the image is fetched when it is asked for",
    };
    match (reference, here, believed) {
        (TagOrDigest::Digest(_), Some(_), _) => {
            format!("the manifest is answered from the cache and {name} is not asked{whole}")
        }
        (_, Some(_), Some(Believed { standing: Standing::Fresh, age })) => {
            let age = age.map_or_else(String::new, |age| format!("; it was confirmed {} s ago", age.as_secs()));
            format!("the tag is fresh: the manifest is answered from the cache and {name} is not asked{age}{whole}")
        }
        (_, Some(content), _) => due_outlook(name, content, there, state) + whole,
        (_, None, _) => cold_outlook(name, there, state),
    }
}

fn due_outlook(
    name: &str,
    content: &ExplainedContent,
    there: Option<&Result<Option<Digest>, Error>>,
    state: &RemoteState,
) -> String {
    match there {
        Some(Ok(Some(digest))) if *digest == content.digest => {
            format!("one HEAD asks {name}, which confirms the tag; the manifest is answered from the cache")
        }
        Some(Ok(Some(digest))) => format!("one HEAD asks {name}, which has moved the tag to {digest}; that is fetched"),
        Some(Ok(None)) => format!("one HEAD asks {name}, which names no digest; the manifest is fetched by its tag"),
        Some(Err(error)) => {
            let error = cause(error);
            format!(
                "{name} does not confirm the tag ({error}); the cached manifest is answered with a warning, unless it is too old"
            )
        }
        None => match state.suspended {
            Some((wait, reason)) => format!(
                "{name} is not asked for another {} s, because {reason}; the cached manifest is answered with a warning",
                wait.as_secs()
            ),
            None => "the cached manifest is answered".to_owned(),
        },
    }
}

fn cold_outlook(name: &str, there: Option<&Result<Option<Digest>, Error>>, state: &RemoteState) -> String {
    match there {
        Some(Ok(_)) => {
            format!("the manifest is fetched from {name} by one GET, which counts as a pull there, and kept")
        }
        Some(Err(error)) => format!("it fails: {}", cause(error)),
        None => match state.suspended {
            Some((wait, reason)) => {
                format!("it fails: {name} is not asked for another {} s, because {reason}", wait.as_secs())
            }
            None => format!("{name} is asked"),
        },
    }
}

/// What an error says that is worth a sentence: of what an upstream did, the upstream's own part.
fn cause(error: &Error) -> String {
    match error.root() {
        Error::Upstream { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
