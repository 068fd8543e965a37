//! What tests of this crate are put together from: a real store, a clock that stands, users whose hashes are cheap.

mod log;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use entrepot_metadata::{Clock, CredentialKind, CredentialRow, MetadataStore, Page, Timestamp};
use entrepot_oci::{Patterns, RepositoryName};
use secrecy::SecretString;
use tempfile::TempDir;

pub(crate) use log::Log;
pub(crate) use store::TestStore;

use crate::action::Actions;
use crate::authority::{Attempt, Authority, AuthorityParts, Proof};
use crate::caller::Caller;
use crate::caller_upstreams::CallerUpstreams;
use crate::credentials::{NewCredential, StoredCredentials};
use crate::issuers::Issuers;
use crate::principal::Principal;
use crate::refusal::Refusal;
use crate::rules::{Anonymous, Rule, Rules, Target};
use crate::scope::{Scope, Scopes};
use crate::tokens::Tokens;
use crate::users::Users;

/// The service of the tokens in tests.
pub(crate) const SERVICE: &str = "registry.example";

/// A clock that stands until it is moved.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_800_000_000_000)))
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.0.fetch_add(i64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// So many seconds from now.
    pub(crate) fn now_plus(&self, seconds: i64) -> Timestamp {
        Timestamp::from_milliseconds(self.now().milliseconds() + 1000 * seconds)
    }

    pub(crate) fn go_back(&self, duration: Duration) {
        self.0.fetch_sub(i64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_milliseconds(self.0.load(Ordering::SeqCst))
    }
}

/// An authority over a store of its own. `alice` has the password `alice's`, `bob` has `bob's`.
pub(crate) struct Install {
    pub(crate) authority: Arc<Authority>,
    pub(crate) store: Arc<TestStore>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) metrics: Arc<crate::metrics::Metrics>,
    folder: Arc<TempDir>,
}

impl Install {
    /// With a rule that lets alice do everything with `team/**`, and robots pull from it.
    pub(crate) async fn new() -> Self {
        let alice = rule("team", "alice", "team/**", Actions::ALL);
        let robots = rule("robots", "robot:*", "team/**", Actions::parse("pull").unwrap());
        Self::with_rules(Rules::new(Anonymous::None, vec![], vec![alice, robots])).await
    }

    pub(crate) async fn with_rules(rules: Rules) -> Self {
        Self::knowing(Issuers::default(), CallerUpstreams::default(), rules).await
    }

    /// Which asks others who somebody is.
    pub(crate) async fn knowing(issuers: Issuers, upstreams: CallerUpstreams, rules: Rules) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let (store, clock) = (Arc::new(TestStore::open(folder.path())), TestClock::new());
        let metrics = Arc::default();
        let authority = Authority::new(AuthorityParts {
            rules,
            users: Users::parse(&users(&["alice", "bob"])).unwrap(),
            credentials: StoredCredentials::new(store.clone(), clock.clone()),
            tokens: tokens(&store, &clock).await,
            issuers,
            upstreams,
            metrics: Arc::clone(&metrics),
        });
        Self { authority, store, clock, metrics, folder }
    }

    /// The authority of a replica with the same store and clock, and other rules. Its users have the same passwords, and other hashes.
    pub(crate) async fn replica(&self, rules: Rules) -> Self {
        let authority = Authority::new(AuthorityParts {
            rules,
            users: Users::parse(&users(&["alice", "bob"])).unwrap(),
            credentials: StoredCredentials::new(self.store.clone(), self.clock.clone()),
            tokens: tokens(&self.store, &self.clock).await,
            issuers: Issuers::default(),
            upstreams: CallerUpstreams::default(),
            metrics: Arc::clone(&self.metrics),
        });
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Self { authority, store, clock, metrics: Arc::clone(&self.metrics), folder: Arc::clone(&self.folder) }
    }

    pub(crate) async fn basic(&self, user: &str, password: &str) -> Result<Caller, Refusal> {
        self.prove(Proof::Basic { user: user.to_owned(), password: password.into() }).await
    }

    pub(crate) async fn bearer(&self, token: &SecretString) -> Result<Caller, Refusal> {
        self.prove(Proof::Bearer(token.clone())).await
    }

    pub(crate) async fn prove(&self, proof: Proof) -> Result<Caller, Refusal> {
        self.authority.authenticate(Attempt { address: None, certificate: None, proof }).await
    }

    /// A token of the token service for a caller.
    pub(crate) async fn issue(&self, caller: &Caller, scope_texts: &[&str]) -> SecretString {
        self.authority.issue(caller, scopes(scope_texts)).await.unwrap().token
    }

    /// What the metrics listener would tell.
    pub(crate) fn page(&self) -> String {
        let (mut registry, mut page) = (prometheus_client::registry::Registry::default(), String::new());
        self.metrics.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        page
    }

    /// What the store keeps of a token.
    pub(crate) async fn store_row(&self, id: &str) -> CredentialRow {
        self.store.credential(id).await.unwrap().unwrap()
    }

    /// All that the store keeps of tokens.
    pub(crate) async fn all_rows(&self) -> Vec<CredentialRow> {
        self.store.credentials(None, &Page { after: None, limit: 1000 }).await.unwrap()
    }

    /// A token that is kept here, and its id.
    pub(crate) async fn create(&self, credential: NewCredential) -> (String, SecretString) {
        let made = self.authority.credentials().unwrap().create(credential).await;
        let (row, token) = made.unwrap().unwrap();
        (row.id, token)
    }
}

async fn tokens(store: &Arc<TestStore>, clock: &Arc<TestClock>) -> Tokens {
    Tokens::open(store.clone(), clock.clone(), SERVICE.to_owned(), Duration::from_mins(5)).await.unwrap()
}

/// The text of a users file in which everybody's password is his name with `'s`.
pub(crate) fn users(names: &[&str]) -> String {
    let line = |name: &&str| format!("{name}:{}", bcrypt::hash(format!("{name}'s"), 4).unwrap());
    names.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(crate) fn rule(name: &str, principal: &str, repositories: &str, actions: Actions) -> Rule {
    Rule {
        name: name.into(),
        principals: vec![principal.parse().unwrap()],
        repositories: Patterns::new([repositories]).unwrap(),
        actions,
    }
}

pub(crate) fn scopes(texts: &[&str]) -> Scopes {
    texts.iter().map(|text| text.parse::<Scope>().unwrap()).collect()
}

pub(crate) fn target(name: &str) -> Target {
    Target::repository(name.parse::<RepositoryName>().unwrap())
}

/// A personal token of alice's without limits.
pub(crate) fn personal(name: &str) -> NewCredential {
    NewCredential {
        kind: CredentialKind::Personal,
        principal: "alice".parse().unwrap(),
        name: name.to_owned(),
        repositories: vec![],
        actions: vec![],
        expires_at: None,
    }
}

/// A token of a robot without limits.
pub(crate) fn robot(name: &str) -> NewCredential {
    NewCredential { kind: CredentialKind::Robot, principal: Principal::Robot(name.into()), ..personal("robot") }
}
