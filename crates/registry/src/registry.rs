//! The registry: two stores, the registries beyond, and what is under way between them.

use std::sync::Arc;

use entrepot_blobs::BlobStore;
use entrepot_metadata::{MetadataStore, Page, Timestamp};
use entrepot_oci::RepositoryName;
use entrepot_upstream::{Remotes, Via};

use crate::actor::{Actor, Named, Readable};
use crate::content::Listing;
use crate::content::PulledManifest;
use crate::created::Dates;
use crate::eviction::Evictions;
use crate::fill::Fills;
use crate::flight::Flights;
use crate::limits::{CATALOG_BATCH, CATALOG_LOOKED_AT_MAX, CATALOG_SEARCHED_MAX, PROBE_PATIENCE};
use crate::memory::{Memory, Question};
use crate::metrics::gauged;
use crate::proxied::Proxied;
use crate::replicas::lease::Leases;
use crate::replicas::{Replica, ReplicaParts};
use crate::repository::{Kind, Repository};
use crate::sessions::Sessions;
use crate::sharing::Sharing;
use crate::upstream_metrics::UpstreamMetrics;
use crate::usage::Usage;
use crate::{Clock, Error, ImmutableTags, Limits, Metrics, PAGE_MAX, ProxySettings, Tasks};

/// The first component of names that belong to other registries.
pub(crate) const PROXY_PREFIX: &str = "proxy";

/// Bytes and who has them.
#[derive(Clone, Debug)]
pub struct Store {
    /// The bytes.
    pub blobs: Arc<dyn BlobStore>,
    /// Who has them.
    pub metadata: Arc<dyn MetadataStore>,
}

/// What a [`Registry`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// What was pushed here.
    pub own: Store,
    /// What was fetched from other registries.
    pub cache: Store,
    /// The other registries.
    pub remotes: Remotes,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The limits that the operator set.
    pub limits: Limits,
    /// What the operator says about pulling through.
    pub settings: ProxySettings,
    /// Whether nobody has to say who he is. Only then is what was pushed here, or fetched with an account, given to the repository of
    /// another upstream that merely names it; otherwise that upstream is asked for all of it.
    pub is_open: bool,
    /// The tags that never move.
    pub immutable: ImmutableTags,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Where to run what outlives a request.
    pub tasks: Tasks,
    /// What makes this process one of several that share both stores; `None` where it has them to itself.
    pub replica: Option<ReplicaParts>,
}

/// The whole registry. One per process.
#[derive(Debug)]
pub struct Registry {
    pub(crate) own: Store,
    pub(crate) cache: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) settings: Arc<ProxySettings>,
    pub(crate) immutable: Arc<ImmutableTags>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: Tasks,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) fills: Arc<Fills>,
    pub(crate) dates: Dates,
    pub(crate) manifest_flights: Flights<Question, PulledManifest>,
    /// Questions whether somebody may pull.
    pub(crate) permission_flights: Flights<Question, bool>,
    /// What upstreams refused and listed.
    pub(crate) memory: Memory,
    pub(crate) remotes: Remotes,
    pub(crate) usage: Usage,
    pub(crate) evictions: Evictions,
    /// This process, where it is one of several.
    pub(crate) replica: Option<Replica>,
    /// By what other caches recognise this one, anew at each start.
    id: Box<str>,
}

impl Registry {
    /// Puts the parts together. Nothing is read or written yet.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { own, cache, remotes, clock, limits, settings, is_open, immutable, metrics, tasks, replica } = parts;
        let id = format!("{:032x}", uuid::Uuid::new_v4().as_u128());
        let replica = replica.map(|parts| Replica {
            address: parts.address,
            peers: parts.peers,
            landing: parts.landing,
            leases: Leases::new(Arc::clone(&cache.metadata), &id, parts.lasts, tasks.clone()),
            lasts: parts.lasts,
        });
        metrics.cache_size_max.set(gauged(settings.cache.size_max.unwrap_or(0)));
        Arc::new(Self {
            fills: Arc::new(Fills::new(
                (own.clone(), cache.clone(), replica.clone()),
                clock.clone(),
                limits,
                settings.cache.orphan_fills_max,
                Sharing::new(&remotes, is_open),
                metrics.clone(),
                tasks.clone(),
            )),
            dates: Dates::default(),
            manifest_flights: Flights::new(tasks.clone()),
            permission_flights: Flights::new(tasks.clone()),
            memory: Memory::new(&tasks),
            sessions: Arc::new(Sessions::default()),
            usage: Usage::new(clock.clone(), metrics.clone()),
            evictions: Evictions::default(),
            own,
            cache,
            clock,
            limits,
            settings: Arc::new(settings),
            immutable: Arc::new(immutable),
            metrics,
            tasks,
            remotes,
            replica,
            id: id.into(),
        })
    }

    /// Registers what the listed upstreams are doing, by their names in the configuration. Upstreams that clients name have
    /// no series.
    pub fn register_upstreams(&self, metrics: &mut prometheus_client::registry::Registry) {
        metrics.register_collector(Box::new(UpstreamMetrics::new(self.remotes.listed())));
    }

    /// The repository of this name, which need not exist yet: here is decided whether it is hosted or proxied.
    ///
    /// # Errors
    /// When the name begins with `proxy/` and what follows names no registry that may be asked, or no repository.
    pub fn repository(self: &Arc<Self>, name: &RepositoryName) -> Result<Repository, Error> {
        self.repository_via(name, &Via::default())
    }

    /// The same for a question that came through other caches.
    ///
    /// # Errors
    /// Also when this cache is among them, or they are too many: then their upstreams lead in a circle.
    pub fn repository_via(self: &Arc<Self>, name: &RepositoryName, via: &Via) -> Result<Repository, Error> {
        self.repository_for(name, via, &Arc::default())
    }

    /// The same for somebody.
    ///
    /// # Errors
    /// As for [`Self::repository_via`].
    pub fn repository_for(
        self: &Arc<Self>,
        name: &RepositoryName,
        via: &Via,
        actor: &Arc<Actor>,
    ) -> Result<Repository, Error> {
        let kind = match name.split_below(PROXY_PREFIX) {
            Some(rest) => {
                if via.contains(&self.id) || via.is_full() {
                    return Err(Error::ProxyLoop { name: name.clone() });
                }
                Kind::Proxied(self.proxied(name, &rest, via.through(&self.id), actor)?)
            }
            None => Kind::Hosted,
        };
        Ok(Repository { registry: Arc::clone(self), name: name.clone(), kind, actor: Arc::clone(actor) })
    }

    /// What a rule about access has to know of a name: its one spelling and all others, and whether what it names is cached with an
    /// account. Depends on the configuration alone, never on what exists. A name whose registry may not be asked stands for itself.
    pub fn named(&self, name: &RepositoryName) -> Named {
        let itself = || Named { name: name.clone(), spellings: Vec::new(), is_private: false, judge: None };
        let Some(rest) = name.split_below(PROXY_PREFIX) else { return itself() };
        let Some((host, repository)) = rest.split_first() else { return itself() };
        let Ok(remote) = self.remotes.resolve(host) else { return itself() };
        let spellings = self.remotes.spellings(&remote, &remote.repository(&repository));
        // A spelling that is too long to be asked for needs no rule.
        let mut names = spellings.iter().filter_map(|name| name.below(PROXY_PREFIX).ok());
        Named {
            name: names.next().unwrap_or_else(|| name.clone()),
            spellings: names.collect(),
            is_private: self.remotes.may_be_private(&remote),
            judge: remote.is_asked_as_caller().then(|| remote.name().into()),
        }
    }

    /// The name under which `name` of the registry at `authority` is pulled through: the same whatever the spelling of the
    /// authority, so that whoever judges the name judges all of them.
    ///
    /// # Errors
    /// When the authority names no registry that may be asked, or the name is too long to stand behind it.
    pub fn name_behind(&self, authority: &str, name: &RepositoryName) -> Result<RepositoryName, Error> {
        let unknown = |source| Error::UpstreamUnknown { name: name.clone(), source };
        let remote = self.remotes.resolve_authority(authority).map_err(unknown)?;
        let too_long = |_| Error::ProxyNameTooLong { name: name.clone() };
        name.below(remote.name()).and_then(|name| name.below(PROXY_PREFIX)).map_err(too_long)
    }

    /// The name that a pull of `name` is about: where there is a root mirror, names that nobody has pushed to are its own.
    ///
    /// A hosted repository is never shadowed: what it lacks, it lacks.
    ///
    /// # Errors
    /// As for [`Self::name_behind`], and when the store cannot say whether the repository exists.
    pub async fn name_at_root(&self, name: &RepositoryName) -> Result<RepositoryName, Error> {
        match &self.settings.root_mirror {
            Some(mirror) if !Self::is_proxied(name) && !self.own.metadata.repository_exists(name).await? => {
                self.name_behind(mirror, name)
            }
            _ => Ok(name.clone()),
        }
    }

    /// What `name` is called behind the root mirror, whether or not somebody has pushed to it; `None` where there is no root mirror, or it
    /// has no such name.
    pub fn name_behind_root(&self, name: &RepositoryName) -> Option<RepositoryName> {
        let mirror = self.settings.root_mirror.as_ref()?;
        self.name_behind(mirror, name).ok()
    }

    /// Whether the name begins with `proxy/`, so that it is another registry's.
    pub fn is_proxied(name: &RepositoryName) -> bool {
        name.is_below(PROXY_PREFIX)
    }

    /// Whether the name may be written to, before anything else about it or about the request is judged: also a name whose
    /// registry may not be asked is a cache.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for names that begin with `proxy/`.
    pub fn check_writable(&self, name: &RepositoryName) -> Result<(), Error> {
        if Self::is_proxied(name) { Err(Error::ReadOnly { name: name.clone() }) } else { Ok(()) }
    }

    fn proxied(&self, name: &RepositoryName, rest: &RepositoryName, via: Via, actor: &Actor) -> Result<Proxied, Error> {
        let Some((host, repository)) = rest.split_first() else {
            return Err(Error::ProxyNameIncomplete { name: name.clone() });
        };
        let unknown = |source| Error::UpstreamUnknown { name: name.clone(), source };
        let remote = self.remotes.resolve(host).map_err(unknown)?.for_caller(actor.upstream_credentials.as_ref());
        Proxied::new(name, remote, &repository, via, Arc::clone(&self.metrics))
    }

    /// The repository that something is cached under, by a name that leads there and as `actor` sees it, if an upstream stands for it
    /// still.
    pub(crate) fn cached(&self, cached_name: &RepositoryName, actor: &Actor) -> Option<Proxied> {
        let (origin, repository) = cached_name.split_first()?;
        let listed = self.remotes.listed().into_iter().filter(|remote| remote.origin() == origin);
        listed.chain(self.remotes.resolve(origin)).find_map(|remote| {
            // Not by the origin: an upstream elsewhere may be called so, and then the name would be judged as its own.
            let name = repository.below(remote.name()).and_then(|name| name.below(PROXY_PREFIX)).ok()?;
            let remote = remote.for_caller(actor.upstream_credentials.as_ref());
            let proxied = Proxied::new(&name, remote, &repository, Via::default(), Arc::clone(&self.metrics)).ok()?;
            (proxied.cached_name() == cached_name).then_some(proxied)
        })
    }

    /// The names of the hosted repositories that the caller may pull, in order.
    ///
    /// Names that he may not pull cost time and are nowhere in the answer, which is why a page never leads on behind one of those: it
    /// ends early behind one that he may, and looks farther for the first.
    pub async fn catalog(
        &self,
        mut after: Option<RepositoryName>,
        limit: usize,
        is_readable: Readable<'_>,
    ) -> Result<Listing<RepositoryName>, Error> {
        let limit = limit.min(PAGE_MAX);
        let mut listing = Listing { entries: Vec::new(), has_more: false, warning: None };
        if limit == 0 {
            return Ok(listing);
        }
        let (mut batch, mut looked_at) = (limit + 1, 0);
        loop {
            let names = self.own.metadata.repositories(&Page { after, limit: batch }).await?;
            let is_last = names.len() < batch;
            looked_at += names.len();
            after = names.last().cloned();
            listing.entries.extend(names.into_iter().filter(|name| is_readable(name)));
            if listing.entries.len() > limit {
                listing.entries.truncate(limit);
                listing.has_more = true;
                break;
            }
            if is_last {
                break;
            }
            if looked_at >= CATALOG_LOOKED_AT_MAX && !listing.entries.is_empty() {
                listing.has_more = true;
                break;
            }
            if looked_at >= CATALOG_SEARCHED_MAX {
                let warning = "there are too many repositories for a whole list: ask for a part of them by \"last\"";
                listing.warning = Some(warning.to_owned());
                break;
            }
            batch = CATALOG_BATCH.max(limit + 1);
            // A look-up does not wait for anything, so that others would wait for all of these.
            tokio::task::yield_now().await;
        }
        Ok(listing)
    }

    /// Resolves when every fill that runs now has ended, one way or the other.
    pub async fn fills_ended(&self) {
        self.fills.ended().await;
    }

    /// The time of day, as everything here is dated.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Tries what every request needs, all at once; what fails, or does not answer within a second and a half, is named.
    pub async fn probe(&self) -> Vec<(&'static str, Error)> {
        let silence = || format!("no answer within {PROBE_PATIENCE:?}");
        let blobs = async |name: &'static str, store: &Store| {
            let probed = tokio::time::timeout(PROBE_PATIENCE, store.blobs.probe()).await;
            let late = |_| {
                let source = silence().into();
                Err(entrepot_blobs::Error::Unavailable { operation: "probe", key: name.to_owned(), source })
            };
            probed.unwrap_or_else(late).err().map(|error| (name, Error::from(error)))
        };
        let metadata = async |name: &'static str, store: &Store| {
            let probed = tokio::time::timeout(PROBE_PATIENCE, store.metadata.probe()).await;
            let late = |_| Err(entrepot_metadata::Error::Unavailable(silence().into()));
            probed.unwrap_or_else(late).err().map(|error| (name, Error::from(error)))
        };
        let failures = tokio::join!(
            blobs("registry storage", &self.own),
            metadata("registry metadata", &self.own),
            blobs("proxy storage", &self.cache),
            metadata("proxy metadata", &self.cache),
        );
        [failures.0, failures.1, failures.2, failures.3].into_iter().flatten().collect()
    }
}
