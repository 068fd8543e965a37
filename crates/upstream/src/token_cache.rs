//! Tokens in memory: one request at a time for each, and none kept after its end.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::Url;

use crate::error::Error;
use crate::limits::{CREDENTIALS_BACK_OFF, TOKEN_LIFETIME_MAX, TOKEN_MARGIN_MAX, TOKEN_SWEEP_INTERVAL_MAX, TOKENS_MAX};

/// What a token is good for. A cache belongs to one remote, so the account is its own or none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    pub(crate) scope: Option<String>,
    /// The number of the account that it is for; `None` for nobody's.
    pub(crate) account: Option<u64>,
}

impl TokenKey {
    /// The same login for no scope: under this a refusal of the account is kept, which no other scope would change.
    fn login(&self) -> Self {
        Self { scope: None, ..self.clone() }
    }
}

/// A token: opaque, never printed, cheap to clone.
#[derive(Clone)]
pub(crate) struct Token(Arc<SecretString>);

impl Token {
    pub(crate) fn new(text: String) -> Self {
        Self(Arc::new(text.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(***)")
    }
}

/// What a token endpoint gave.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) token: Token,
    /// Counted from its receipt; the endpoint's clock is never compared with ours.
    pub(crate) lifetime: Duration,
}

/// A token to be used now.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) token: Token,
    /// Whether it was fetched for this very caller, so that a refusal of it is final.
    pub(crate) is_fresh: bool,
}

type Outcome = Result<Token, Error>;
type Fetch = BoxFuture<'static, Outcome>;

enum Entry {
    /// Being fetched by whoever waits. When all of them leave, the fetch ends and the next caller begins anew.
    Pending(WeakShared<Fetch>),
    /// A token, or a refusal of the credentials that is repeated until then.
    Held { outcome: Outcome, expires: Instant },
}

#[derive(Default)]
struct Entries {
    map: HashMap<TokenKey, Entry>,
    is_swept: bool,
}

impl Entries {
    fn drop_expired(&mut self) {
        let now = Instant::now();
        self.map.retain(|_, entry| match entry {
            Entry::Pending(fetch) => fetch.upgrade().is_some(),
            Entry::Held { expires, .. } => *expires > now,
        });
    }

    /// The refusal of the account that is behind `key`, while it is repeated.
    fn refusal(&self, key: &TokenKey) -> Option<Error> {
        match self.map.get(&key.login())? {
            Entry::Held { outcome: Err(refusal), expires } if *expires > Instant::now() => Some(refusal.clone()),
            _ => None,
        }
    }

    fn first_expiry(&self) -> Option<(TokenKey, Instant)> {
        let held = self.map.iter().filter_map(|(key, entry)| match entry {
            Entry::Held { expires, .. } => Some((key, *expires)),
            Entry::Pending(_) => None,
        });
        held.min_by_key(|(_, expires)| *expires).map(|(key, expires)| (key.clone(), expires))
    }
}

/// The tokens of one remote.
#[derive(Default)]
pub(crate) struct TokenCache(Arc<Mutex<Entries>>);

impl TokenCache {
    /// The token by `key`, unless it is `refused`; otherwise what `fetch` gives, once for all who ask meanwhile.
    pub(crate) async fn get<F>(&self, key: &TokenKey, refused: Option<&Token>, fetch: F) -> Result<Lease, Error>
    where
        F: Future<Output = Result<Issued, Error>> + Send + 'static,
    {
        let fetch = {
            let mut entries = lock(&self.0);
            if let Some(refusal) = entries.refusal(key) {
                return Err(refusal);
            }
            let pending = match entries.map.get(key) {
                Some(Entry::Held { outcome, expires })
                    if *expires > Instant::now() && !is_refused(outcome, refused) =>
                {
                    return outcome.clone().map(|token| Lease { token, is_fresh: false });
                }
                Some(Entry::Pending(fetch)) => fetch.upgrade(),
                Some(Entry::Held { .. }) | None => None,
            };
            pending.unwrap_or_else(|| self.begin(&mut entries, key, fetch))
        };
        fetch.await.map(|token| Lease { token, is_fresh: true })
    }

    /// The token that would be handed out by `key`.
    pub(crate) fn held(&self, key: &TokenKey) -> Option<Token> {
        match lock(&self.0).map.get(key)? {
            Entry::Held { outcome: Ok(token), .. } => Some(token.clone()),
            Entry::Held { .. } | Entry::Pending(_) => None,
        }
    }

    fn begin<F>(&self, entries: &mut Entries, key: &TokenKey, fetch: F) -> Shared<Fetch>
    where
        F: Future<Output = Result<Issued, Error>> + Send + 'static,
    {
        make_room(entries);
        let (cache, held_key) = (Arc::clone(&self.0), key.clone());
        let fetch = async move {
            let issued = fetch.await;
            keep(&cache, held_key, &issued);
            issued.map(|issued| issued.token)
        };
        let fetch = fetch.boxed().shared();
        if let Some(weak) = fetch.downgrade() {
            entries.map.insert(key.clone(), Entry::Pending(weak));
        }
        fetch
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenCache").field("tokens", &lock(&self.0).map.len()).finish()
    }
}

fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    // Each change is one call on the map: a panic elsewhere leaves nothing half-written.
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_refused(outcome: &Outcome, refused: Option<&Token>) -> bool {
    match (outcome, refused) {
        (Ok(token), Some(refused)) => Arc::ptr_eq(&token.0, &refused.0),
        _ => false,
    }
}

fn make_room(entries: &mut Entries) {
    entries.drop_expired();
    if entries.map.len() >= TOKENS_MAX
        && let Some((key, _)) = entries.first_expiry()
    {
        entries.map.remove(&key);
    }
}

/// Keeps what can be used again, and sees to it that it is dropped in time.
#[expect(clippy::disallowed_methods, reason = "the sweep has nothing to finish: a shutdown need not wait for it")]
fn keep(cache: &Arc<Mutex<Entries>>, key: TokenKey, issued: &Result<Issued, Error>) {
    let mut entries = lock(cache);
    let (key, outcome, lifetime) = match issued {
        Ok(issued) => (key, Ok(issued.token.clone()), usable(issued.lifetime)),
        Err(error @ Error::CredentialsRefused { history }) => {
            // A 401 is about the account, whatever it wants; a 403 may be about this repository.
            let login = if history.status == Some(401) { key.login() } else { key.clone() };
            if login != key {
                entries.map.remove(&key);
            }
            (login, Err(error.clone()), CREDENTIALS_BACK_OFF)
        }
        Err(_) => {
            entries.map.remove(&key);
            return;
        }
    };
    entries.map.insert(key, Entry::Held { outcome, expires: Instant::now() + lifetime });
    if !entries.is_swept {
        entries.is_swept = true;
        // Ends by itself: with the cache, or when nothing is held any more.
        tokio::spawn(sweep(Arc::downgrade(cache)));
    }
}

/// The part of a lifetime in which a token is used: the rest is for requests on their way.
fn usable(lifetime: Duration) -> Duration {
    let lifetime = lifetime.min(TOKEN_LIFETIME_MAX);
    lifetime.saturating_sub((lifetime / 10).min(TOKEN_MARGIN_MAX))
}

/// Drops what expires, until nothing is left.
async fn sweep(cache: Weak<Mutex<Entries>>) {
    loop {
        let next = {
            let Some(cache) = cache.upgrade() else { return };
            let mut entries = lock(&cache);
            entries.drop_expired();
            let Some((_, expires)) = entries.first_expiry() else {
                entries.is_swept = false;
                return;
            };
            // A token that comes meanwhile may expire before the one that is waited for.
            expires.min(Instant::now() + TOKEN_SWEEP_INTERVAL_MAX)
        };
        tokio::time::sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Method;

    use super::*;
    use crate::history::History;

    fn key(scope: &str) -> TokenKey {
        let realm = Url::parse("https://auth.example/token").unwrap();
        TokenKey { realm, service: None, scope: Some(scope.to_owned()), account: None }
    }

    fn history() -> History {
        History::new("x".into(), Method::GET, &Url::parse("https://auth.example/token").unwrap())
    }

    fn issue(
        count: &Arc<AtomicUsize>,
        lifetime_seconds: u64,
    ) -> impl Future<Output = Result<Issued, Error>> + Send + use<> {
        let count = Arc::clone(count);
        async move {
            tokio::task::yield_now().await;
            let number = count.fetch_add(1, Ordering::SeqCst);
            Ok(Issued { token: Token::new(format!("t{number}")), lifetime: Duration::from_secs(lifetime_seconds) })
        }
    }

    fn length(cache: &TokenCache) -> usize {
        lock(&cache.0).map.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_until_shortly_before_its_end_and_then_dropped() {
        for (lifetime, used) in [(300, 284), (59, 53), (10, 8)] {
            let (cache, count) = (TokenCache::default(), Arc::new(AtomicUsize::new(0)));
            assert!(cache.get(&key("a"), None, issue(&count, lifetime)).await.unwrap().is_fresh);
            tokio::time::advance(Duration::from_secs(used)).await;
            assert!(!cache.get(&key("a"), None, issue(&count, lifetime)).await.unwrap().is_fresh);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(length(&cache), 0, "a token of {lifetime} s is out of memory");
            cache.get(&key("a"), None, issue(&count, lifetime)).await.unwrap();
            assert_eq!(count.load(Ordering::SeqCst), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_token_is_dropped_while_a_long_one_is_kept() {
        let (cache, count) = (TokenCache::default(), Arc::new(AtomicUsize::new(0)));
        cache.get(&key("long"), None, issue(&count, 3600)).await.unwrap();
        cache.get(&key("short"), None, issue(&count, 5)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(70)).await;
        assert_eq!(length(&cache), 1);
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(length(&cache), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_token_is_not_handed_out_before_it_is_swept() {
        let (cache, count) = (TokenCache::default(), Arc::new(AtomicUsize::new(0)));
        cache.get(&key("long"), None, issue(&count, 3600)).await.unwrap();
        // The sweep waits for the long one.
        tokio::time::sleep(Duration::from_secs(1)).await;
        cache.get(&key("short"), None, issue(&count, 5)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(length(&cache), 2);
        assert!(cache.get(&key("short"), None, issue(&count, 5)).await.unwrap().is_fresh);
    }

    #[tokio::test]
    async fn everyone_who_asks_at_once_waits_for_one_request() {
        let (cache, count) = (TokenCache::default(), Arc::new(AtomicUsize::new(0)));
        let key = key("a");
        let asked = (0..100).map(|_| cache.get(&key, None, issue(&count, 60)));
        let leases = futures_util::future::join_all(asked).await;
        assert!(leases.iter().all(Result::is_ok));
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_refused_token_is_fetched_again_once_for_all_who_held_it() {
        let (cache, count) = (TokenCache::default(), Arc::new(AtomicUsize::new(0)));
        let first = cache.get(&key("a"), None, issue(&count, 60)).await.unwrap().token;
        for _ in 0..3 {
            let next = cache.get(&key("a"), Some(&first), issue(&count, 60)).await.unwrap();
            assert_eq!(next.token.expose(), "t1");
        }
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_credentials_are_not_tried_again_at_once() {
        let (cache, count) = (TokenCache::default(), Arc::new(AtomicUsize::new(0)));
        let refused = || async { Err(Error::CredentialsRefused { history: Box::new(history()) }) };
        assert!(cache.get(&key("a"), None, refused()).await.is_err());
        let again = cache.get(&key("a"), None, issue(&count, 60)).await;
        assert!(matches!(again, Err(Error::CredentialsRefused { .. })));
        tokio::time::sleep(CREDENTIALS_BACK_OFF + Duration::from_secs(1)).await;
        assert!(cache.get(&key("a"), None, issue(&count, 60)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_is_refused_for_one_repository_is_not_tried_for_the_others() {
        for (status, is_about_the_account) in [(401, true), (403, false)] {
            let (cache, count) = (TokenCache::default(), Arc::new(AtomicUsize::new(0)));
            let refused = async move {
                let mut history = Box::new(history());
                history.status = Some(status);
                Err(Error::CredentialsRefused { history })
            };
            assert!(cache.get(&key("a"), None, refused).await.is_err());
            let other = cache.get(&key("b"), None, issue(&count, 60)).await;
            assert_eq!(other.is_err(), is_about_the_account, "{status}");
            assert!(cache.get(&key("a"), None, issue(&count, 60)).await.is_err());
            tokio::time::sleep(CREDENTIALS_BACK_OFF + Duration::from_secs(1)).await;
            assert!(cache.get(&key("b"), None, issue(&count, 60)).await.is_ok());
        }
    }

    #[tokio::test]
    async fn other_failures_are_not_repeated() {
        let (cache, count) = (TokenCache::default(), Arc::new(AtomicUsize::new(0)));
        let missing = || async { Err(Error::NotFound { history: Box::new(history()) }) };
        assert!(cache.get(&key("b"), None, missing()).await.is_err());
        assert!(cache.get(&key("b"), None, issue(&count, 60)).await.is_ok());
    }

    #[tokio::test]
    async fn a_caller_that_leaves_does_not_block_the_next() {
        let (cache, count) = (TokenCache::default(), Arc::new(AtomicUsize::new(0)));
        let key = key("a");
        let mut left = Box::pin(cache.get(&key, None, std::future::pending()));
        assert!((&mut left).now_or_never().is_none());
        drop(left);
        assert!(cache.get(&key, None, issue(&count, 60)).await.is_ok());
    }

    #[tokio::test]
    async fn the_number_of_tokens_is_bounded() {
        let (cache, count) = (TokenCache::default(), Arc::new(AtomicUsize::new(0)));
        for number in 0..TOKENS_MAX + 10 {
            cache.get(&key(&number.to_string()), None, issue(&count, 60)).await.unwrap();
        }
        assert_eq!(length(&cache), TOKENS_MAX);
    }
}
