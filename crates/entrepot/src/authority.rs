//! The authority: put together from what is configured, and kept in step with the users file while the server runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use entrepot_access::{
    Authority, AuthorityParts, CallerUpstreams, IssuerConfig, Issuers, Rules, StoredCredentials, Tokens,
    USERS_FILE_BYTES_MAX, Users,
};
use entrepot_registry::{Clock, Store, Tasks};
use entrepot_server::Metrics;
use entrepot_upstream::{Lookup, Remotes, Timeouts};

use crate::assemble::AssembleError;
use crate::reload::Watch;

/// What access is decided by.
#[derive(Clone, Debug)]
pub struct AccessBlueprint {
    /// By what tokens name this registry.
    pub service: String,
    /// The rules.
    pub rules: Rules,
    /// The users file as it was read; `None` where there is none yet.
    pub users: Option<String>,
    /// The identity providers.
    pub issuers: Vec<IssuerConfig>,
    /// How long tokens are good for.
    pub token_lifetime: Duration,
}

/// What the authority is put together with.
pub(crate) struct Foundation<'f> {
    /// Where tokens and keys are kept.
    pub(crate) own: &'f Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) remotes: &'f Remotes,
    /// How identity providers are reached: as upstreams are.
    pub(crate) timeouts: Timeouts,
    pub(crate) lookup: Lookup,
}

/// The authority; one that lets everybody do everything where nothing else is configured.
pub(crate) async fn authority(
    access: Option<AccessBlueprint>,
    foundation: Foundation<'_>,
    metrics: &mut Metrics,
) -> Result<Arc<Authority>, AssembleError> {
    let Some(AccessBlueprint { service, rules, users, issuers, token_lifetime }) = access else {
        return Ok(Authority::open());
    };
    let Foundation { own, clock, remotes, timeouts, lookup } = foundation;
    let access_metrics = Arc::new(entrepot_access::Metrics::default());
    access_metrics.register(metrics.registry_mut());
    let issuers = Issuers::new(issuers, timeouts, lookup, Arc::clone(&clock)).map_err(AssembleError::Issuers)?;
    issuers.metrics().register(metrics.registry_mut());
    let tokens = Tokens::open(Arc::clone(&own.metadata), Arc::clone(&clock), service, token_lifetime).await;
    Ok(Authority::new(AuthorityParts {
        rules,
        users: Users::parse(users.as_deref().unwrap_or_default()).map_err(AssembleError::Users)?,
        credentials: StoredCredentials::new(Arc::clone(&own.metadata), clock),
        tokens: tokens.map_err(AssembleError::Keys)?,
        issuers,
        upstreams: CallerUpstreams::new(remotes.asked_as_caller().iter().cloned()),
        metrics: access_metrics,
    }))
}

/// Takes the users file in again whenever it changes; `current` is what the authority has.
pub(crate) fn follow_users(authority: Arc<Authority>, file: PathBuf, current: Option<String>, tasks: &Tasks) {
    let current = current.map(|text| vec![text.into_bytes()]);
    Watch::new("users file", vec![file], USERS_FILE_BYTES_MAX as u64, current).follow(tasks, move |contents| {
        let text = contents.first().map(Vec::as_slice).unwrap_or_default();
        authority.replace_users(std::str::from_utf8(text)?)?;
        Ok(())
    });
}
