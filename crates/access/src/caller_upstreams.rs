//! Upstreams that know their own users: whoever comes with an account there is asked about there.
//!
//! Where there are several, the user says which one he means: no upstream is told a password that may be for another one.
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
    /// Whether the upstream knows it, once that is known: whoever comes meanwhile waits for the one question.
    is_known: Arc<OnceCell<bool>>,
}

impl CallerUpstreams {
    /// Those among these upstreams that are asked with the account of the caller.
    pub fn new(remotes: impl IntoIterator<Item = Arc<Remote>>) -> Self {
        let remotes = remotes.into_iter().filter(|remote| remote.is_asked_as_caller()).collect();
        Self { remotes, ..Self::default() }
    }

    /// Whether there is none, so that nobody need be asked.
    pub const fn is_empty(&self) -> bool {
        self.remotes.is_empty()
    }

    /// The account that a user and a password are at one of the upstreams; `None` where they are none.
    ///
    /// A user that is written `NAME/USER` with the name of an upstream is `USER` there, and no other upstream is told the password. Where
    /// there is one upstream alone, the user may leave out its name; where there are several, such a user is nobody's.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when the upstream could not be asked.
    pub(crate) async fn try_login(
        &self,
        user: &str,
        password: &SecretString,
    ) -> Result<Option<CallerCredentials>, Refusal> {
        if !is_user(user) || password.expose_secret().is_empty() {
            return Ok(None);
        }
        let Some((remote, user)) = self.meant(user) else { return Ok(None) };
        let Some(key) = self.key() else { return Ok(None) };
        let (upstream, password) = (remote.name().into(), password.clone());
        let credentials = CallerCredentials { upstream, user: user.to_owned(), password };
        let login = self.login(key, &credentials);
        let is_known = *login.is_known.get_or_try_init(|| ask(remote, &credentials)).await?;
        Ok(is_known.then_some(credentials))
    }

    /// The upstream that a user means, and what he is called there.
    fn meant<'u>(&self, user: &'u str) -> Option<(&Remote, &'u str)> {
        if let Some((name, user)) = user.split_once('/')
            && let Some(remote) = self.remotes.iter().find(|remote| remote.name() == name)
        {
            return (!user.is_empty()).then_some((remote, user));
        }
        match self.remotes.as_slice() {
            [remote] => Some((remote, user)),
            _ => None,
        }
    }

    /// The login under way or remembered, or a new one.
    fn login(&self, key: &hmac::Key, credentials: &CallerCredentials) -> Login {
        let mut context = hmac::Context::with_key(key);
        // With its length before each, no account can be taken for another one.
        for text in [&*credentials.upstream, &credentials.user] {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        context.update(credentials.password.expose_secret().as_bytes());
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
        let login = Login { since: now, is_known: Arc::default() };
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

/// Whether an upstream knows an account, asked now.
async fn ask(remote: &Remote, credentials: &CallerCredentials) -> Result<bool, Refusal> {
    remote.login_as(credentials).await.map_err(|error| {
        tracing::warn!(
            remote.name = remote.name(),
            error = &error as &dyn std::error::Error,
            "an upstream cannot be asked whether somebody has an account there"
        );
        Refusal::Unavailable { what: remote.name().to_owned(), source: Box::new(error) }
    })
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
    async fn c6_of_several_upstreams_the_one_that_is_named_is_asked_alone_and_without_a_name_none() {
        let (first, second) = (fake("alice").await, fake("bob").await);
        let upstreams = upstreams(&[("z", &first), ("a", &second)]);
        let found = |upstream: &str, user: &str| Some((upstream.to_owned(), user.to_owned()));
        for user in ["alice", "bob", "other/alice", "/alice", "z/", "alice/z"] {
            assert_eq!(login(&upstreams, user, "secret").await, None, "{user}");
        }
        assert!(first.requests().is_empty() && second.requests().is_empty());
        assert_eq!(login(&upstreams, "z/alice", "secret").await, found("z", "alice"));
        assert_eq!(login(&upstreams, "z/bob", "secret").await, None);
        assert!(second.requests().is_empty(), "what is for another upstream is not told to it");
        first.stop().await;
        assert_eq!(
            login(&upstreams, "a/bob", "secret").await,
            found("a", "bob"),
            "an outage elsewhere is no hindrance"
        );
        let refused = upstreams.try_login("z/carol", &"secret".into()).await;
        assert!(matches!(&refused, Err(Refusal::Unavailable { what, .. }) if what == "z"), "{refused:?}");
    }

    #[tokio::test]
    async fn the_name_of_the_only_upstream_may_be_said_and_left_out() {
        let fake = fake("alice").await;
        let upstreams = upstreams(&[("one", &fake)]);
        let alice = Some(("one".to_owned(), "alice".to_owned()));
        for user in ["alice", "one/alice"] {
            assert_eq!(login(&upstreams, user, "secret").await, alice);
        }
        assert_eq!(fake.count(is_login), 1, "they are one account");
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
