//! Upstreams that know their own users: whoever comes with an account there is asked about there.
//!
//! What an upstream said is remembered for a minute at most, for yes and for no, under a keyed hash of the user and the password. That
//! it did not answer is never remembered, and never taken for a wrong password.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use entrepot_upstream::{CallerCredentials, Remote};
use ring::hmac;
use ring::rand::SystemRandom;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::limits::{UPSTREAM_LOGIN_LIFETIME, UPSTREAM_LOGINS_MAX};
use crate::principal::NAME_BYTES_MAX;
use crate::refusal::Refusal;

/// The upstreams with `credentials = "caller"`.
#[derive(Default)]
pub struct CallerUpstreams {
    remotes: Vec<Arc<Remote>>,
    key: OnceLock<hmac::Key>,
    logins: Mutex<HashMap<[u8; 32], Login>>,
}

/// One user and password.
#[derive(Clone)]
struct Login {
    /// When it was asked about.
    since: Instant,
    /// Which of the upstreams knows it, once that is known: whoever comes meanwhile waits for the one question.
    known_by: Arc<OnceCell<Option<usize>>>,
}

impl CallerUpstreams {
    /// Those among these upstreams that are asked with the account of the caller. They are tried in this order.
    pub fn new(remotes: impl IntoIterator<Item = Arc<Remote>>) -> Self {
        let remotes = remotes.into_iter().filter(|remote| remote.is_asked_as_caller()).collect();
        Self { remotes, ..Self::default() }
    }

    /// Whether there is none, so that nobody need be asked.
    pub const fn is_empty(&self) -> bool {
        self.remotes.is_empty()
    }

    /// The account that a user and a password are at one of the upstreams; `None` where they are none anywhere.
    ///
    /// A user that is written `NAME/USER` with the name of an upstream is `USER` there, and no other upstream is told the password.
    /// Otherwise the upstreams are asked one after the other, and those before the right one are told a password that is not theirs.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when none knows the account and one could not be asked.
    pub(crate) async fn try_login(
        &self,
        user: &str,
        password: &SecretString,
    ) -> Result<Option<CallerCredentials>, Refusal> {
        if self.is_empty() || !is_user(user) || password.expose_secret().is_empty() {
            return Ok(None);
        }
        let Some(key) = self.key() else { return Ok(None) };
        let login = self.login(key, user, password);
        let known_by = login.known_by.get_or_try_init(|| self.ask(user, password)).await?;
        Ok(known_by.and_then(|index| self.credentials(index, user, password)))
    }

    /// The upstream that knows the account, asked now.
    async fn ask(&self, user: &str, password: &SecretString) -> Result<Option<usize>, Refusal> {
        let mut outage = None;
        for (index, remote) in self.remotes.iter().enumerate() {
            let Some(credentials) = self.credentials(index, user, password) else { continue };
            match remote.login_as(&credentials).await {
                Ok(true) => return Ok(Some(index)),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(
                        remote.name = remote.name(),
                        error = &error as &dyn std::error::Error,
                        "an upstream cannot be asked whether somebody has an account there"
                    );
                    outage.get_or_insert((remote.name().to_owned(), error));
                }
            }
        }
        match outage {
            Some((what, source)) => Err(Refusal::Unavailable { what, source: Box::new(source) }),
            None => Ok(None),
        }
    }

    /// What one of the upstreams is asked; `None` where the user names another one.
    fn credentials(&self, index: usize, user: &str, password: &SecretString) -> Option<CallerCredentials> {
        let remote = self.remotes.get(index)?;
        let user = match user.split_once('/') {
            Some((named, user)) if self.remotes.iter().any(|remote| remote.name() == named) => {
                (named == remote.name() && !user.is_empty()).then_some(user)?
            }
            _ => user,
        };
        let (upstream, password) = (remote.name().into(), password.clone());
        Some(CallerCredentials { upstream, user: user.to_owned(), password })
    }

    /// The login under way or remembered, or a new one.
    fn login(&self, key: &hmac::Key, user: &str, password: &SecretString) -> Login {
        let mut context = hmac::Context::with_key(key);
        // With its length before it, no user and password can be taken for another pair.
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password.expose_secret().as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        let now = Instant::now();
        // Every change is whole before the next: a panic elsewhere leaves nothing half-written.
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = |login: &Login| now.duration_since(login.since) < UPSTREAM_LOGIN_LIFETIME;
        if let Some(login) = logins.get(&hash)
            && is_current(login)
        {
            return login.clone();
        }
        if logins.len() >= UPSTREAM_LOGINS_MAX {
            logins.retain(|_, login| is_current(login));
        }
        if logins.len() >= UPSTREAM_LOGINS_MAX
            && let Some(oldest) = logins.iter().min_by_key(|(_, login)| login.since).map(|(hash, _)| *hash)
        {
            logins.remove(&oldest);
        }
        let login = Login { since: now, known_by: Arc::default() };
        logins.insert(hash, login.clone());
        login
    }

    /// The key of the hashes, made anew at each start; `None` when the system gives no random numbers.
    fn key(&self) -> Option<&hmac::Key> {
        if self.key.get().is_none() {
            let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
            // Whoever was first has set one.
            let _ = self.key.set(key);
        }
        self.key.get()
    }
}

impl fmt::Debug for CallerUpstreams {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.remotes.iter().map(|remote| remote.name()).collect();
        formatter.debug_struct("CallerUpstreams").field("remotes", &names).finish_non_exhaustive()
    }
}

/// Whether it can be the name in a principal. One in brackets, such as `<token>`, marks the password as something else than one, and would
/// be everybody's.
fn is_user(user: &str) -> bool {
    !user.is_empty() && user.len() <= NAME_BYTES_MAX && !user.starts_with('<') && !user.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use entrepot_testkit::{Auth, FakeUpstream, Reply, Seen, Users};
    use entrepot_upstream::{Remotes, RemotesConfig, UpstreamConfig};

    use super::*;

    async fn fake(user: &str) -> FakeUpstream {
        let fake = FakeUpstream::start().await;
        fake.set_auth(Auth::Users(Users::with_basic().user(user, "secret", &[])));
        fake
    }

    fn upstreams(fakes: &[(&str, &FakeUpstream)]) -> CallerUpstreams {
        let upstreams = fakes.iter().map(|(name, fake)| UpstreamConfig {
            is_asked_as_caller: true,
            ..UpstreamConfig::new(*name, fake.url().parse().unwrap())
        });
        let upstreams = upstreams.collect();
        let remotes = Remotes::new(RemotesConfig { upstreams, ..RemotesConfig::default() }).unwrap();
        CallerUpstreams::new(remotes.asked_as_caller().iter().cloned())
    }

    async fn login(upstreams: &CallerUpstreams, user: &str, password: &str) -> Option<(String, String)> {
        let found = upstreams.try_login(user, &password.into()).await.unwrap();
        found.map(|credentials| (credentials.upstream.to_string(), credentials.user))
    }

    fn is_login(seen: &Seen) -> bool {
        seen.header("authorization").is_some()
    }

    async fn later(seconds: u64) {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    }

    #[tokio::test]
    async fn b10_what_an_upstream_says_of_an_account_is_believed_for_a_minute() {
        let fake = fake("alice").await;
        let upstreams = upstreams(&[("one", &fake)]);
        let alice = Some(("one".to_owned(), "alice".to_owned()));
        for _ in 0..3 {
            assert_eq!(login(&upstreams, "alice", "secret").await, alice);
            assert_eq!(login(&upstreams, "alice", "wrong").await, None);
        }
        assert_eq!(fake.count(is_login), 2, "once for each password");
        fake.set_auth(Auth::Users(Users::with_basic().user("alice", "wrong", &[])));
        later(59).await;
        assert_eq!(login(&upstreams, "alice", "secret").await, alice);
        later(1).await;
        assert_eq!(login(&upstreams, "alice", "secret").await, None);
        assert_eq!(login(&upstreams, "alice", "wrong").await, alice);
    }

    #[tokio::test]
    async fn many_at_once_are_one_question() {
        let fake = fake("alice").await;
        let upstreams = upstreams(&[("one", &fake)]);
        let many = futures_util::future::join_all((0..50).map(|_| login(&upstreams, "alice", "secret")));
        assert!(many.await.into_iter().all(|found| found.is_some()));
        assert_eq!(fake.count(is_login), 1);
    }

    #[tokio::test]
    async fn an_outage_is_no_wrong_password_and_is_not_remembered() {
        let fake = fake("alice").await;
        let upstreams = upstreams(&[("one", &fake)]);
        fake.when(Seen::is_any).reply(|_| Reply::new(503));
        let refused = upstreams.try_login("alice", &"secret".into()).await;
        assert!(matches!(&refused, Err(Refusal::Unavailable { what, .. }) if what == "one"), "{refused:?}");
        assert!(!format!("{refused:?} {upstreams:?}").contains("secret"));
        fake.heal();
        assert!(login(&upstreams, "alice", "secret").await.is_some());
    }

    #[tokio::test]
    async fn several_upstreams_are_tried_in_their_order_and_one_that_is_named_alone() {
        let (first, second) = (fake("alice").await, fake("bob").await);
        let upstreams = upstreams(&[("z", &first), ("a", &second)]);
        let found = |upstream: &str, user: &str| Some((upstream.to_owned(), user.to_owned()));
        assert_eq!(login(&upstreams, "alice", "secret").await, found("z", "alice"));
        assert_eq!(second.requests().len(), 0);
        assert_eq!(login(&upstreams, "bob", "secret").await, found("a", "bob"));
        assert!(first.count(is_login) > 1);
        first.forget_requests();
        assert_eq!(login(&upstreams, "a/bob", "secret").await, found("a", "bob"));
        assert_eq!(login(&upstreams, "a/alice", "secret").await, None);
        assert!(first.requests().is_empty(), "what is for another upstream is not told to it");
        first.stop().await;
        assert_eq!(login(&upstreams, "bob", "secret").await, found("a", "bob"), "an outage elsewhere is no hindrance");
    }

    #[tokio::test]
    async fn what_is_no_name_of_a_user_is_asked_of_nobody() {
        let fake = fake("alice").await;
        for user in ["", "<token>", "a\nb", &"x".repeat(300)] {
            assert_eq!(login(&upstreams(&[("one", &fake)]), user, "secret").await, None, "{user:?}");
        }
        assert_eq!(login(&upstreams(&[("one", &fake)]), "alice", "").await, None);
        assert!(fake.requests().is_empty());
        assert!(CallerUpstreams::new([]).is_empty() && CallerUpstreams::default().is_empty());
    }
}
