//! The account of whoever asks us, for upstreams that are asked with it.
//!
//! Such an upstream is one [`Remote`] that everybody shares, and has no account. Somebody who comes with an account there asks a
//! *view* of it ([`Remote::for_caller`]): the same connections, turns and circuit, and an account, tokens and a budget of its own. So
//! nothing that was given to one account can be sent for another: there is no place where both could be looked up.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ring::hmac;
use ring::rand::SystemRandom;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::limits::{CALLER_IDLE_MAX, CALLER_SWEEP_INTERVAL, CALLERS_MAX};
use crate::remote::Remote;

/// The user and password that a caller came with, meant for one upstream and told to no other.
#[derive(Clone)]
pub struct CallerCredentials {
    /// The name of the upstream that they are for.
    pub upstream: Arc<str>,
    /// The user there.
    pub user: String,
    /// The password or token there.
    pub password: SecretString,
}

impl fmt::Debug for CallerCredentials {
    /// Without the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CallerCredentials")
            .field("upstream", &self.upstream)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Which account of an upstream somebody has: another one for another password. A keyed hash, whose key is made anew for each
/// upstream at each start, so that it says nothing to anybody else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallerKey([u8; 32]);

impl fmt::Debug for CallerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CallerKey(***)")
    }
}

/// The views of one remote, bounded in number and in time.
pub(crate) struct Callers {
    key: hmac::Key,
    views: Arc<Mutex<Views>>,
}

#[derive(Default)]
struct Views {
    by_key: HashMap<CallerKey, View>,
    is_swept: bool,
}

struct View {
    remote: Arc<Remote>,
    used: Instant,
}

impl Callers {
    /// None yet; nothing when the system gives no random numbers.
    pub(crate) fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        Some(Self { key, views: Arc::default() })
    }

    fn key_of(&self, credentials: &CallerCredentials) -> CallerKey {
        let mut context = hmac::Context::with_key(&self.key);
        // With its length before it, no user and password can be taken for another pair.
        context.update(&(credentials.user.len() as u64).to_be_bytes());
        context.update(credentials.user.as_bytes());
        context.update(credentials.password.expose_secret().as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        CallerKey(key)
    }

    fn view(&self, remote: &Remote, credentials: &CallerCredentials) -> Arc<Remote> {
        let key = self.key_of(credentials);
        let now = Instant::now();
        let mut views = lock(&self.views);
        if let Some(view) = views.by_key.get_mut(&key) {
            view.used = now;
            return Arc::clone(&view.remote);
        }
        views.make_room(now);
        let remote = Arc::new(remote.seen_by(credentials, Some(key)));
        views.by_key.insert(key, View { remote: Arc::clone(&remote), used: now });
        if !views.is_swept {
            views.is_swept = begin_sweep(&self.views);
        }
        remote
    }
}

impl Views {
    fn drop_unused(&mut self, now: Instant) {
        self.by_key.retain(|_, view| now.duration_since(view.used) < CALLER_IDLE_MAX);
    }

    fn make_room(&mut self, now: Instant) {
        if self.by_key.len() < CALLERS_MAX {
            return;
        }
        self.drop_unused(now);
        if self.by_key.len() >= CALLERS_MAX
            && let Some(oldest) = self.by_key.iter().min_by_key(|(_, view)| view.used).map(|(key, _)| *key)
        {
            self.by_key.remove(&oldest);
        }
    }
}

impl fmt::Debug for Callers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Callers").field("views", &lock(&self.views).by_key.len()).finish_non_exhaustive()
    }
}

fn lock(views: &Mutex<Views>) -> MutexGuard<'_, Views> {
    // Each change is one call on the map: a panic elsewhere leaves nothing half-written.
    views.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sees to it that passwords leave memory although nobody comes any more; `false` where nothing can run beside. It has nothing to finish,
/// so that a shutdown need not wait for it.
fn begin_sweep(views: &Arc<Mutex<Views>>) -> bool {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return false };
    runtime.spawn(sweep(Arc::downgrade(views)));
    true
}

/// Drops what is not used any more, until nothing is left.
async fn sweep(views: Weak<Mutex<Views>>) {
    loop {
        tokio::time::sleep(CALLER_SWEEP_INTERVAL).await;
        let Some(views) = views.upgrade() else { return };
        let mut views = lock(&views);
        views.drop_unused(Instant::now());
        if views.by_key.is_empty() {
            views.is_swept = false;
            return;
        }
    }
}

impl Remote {
    /// This remote as it is to be asked for somebody: with his account, where it is asked with that of the caller and the account is
    /// one of this remote. Otherwise it is this remote itself, which then has no account.
    pub fn for_caller(self: &Arc<Self>, credentials: Option<&CallerCredentials>) -> Arc<Self> {
        match (self.callers(), credentials) {
            (Some(callers), Some(credentials)) if *credentials.upstream == *self.name() => {
                callers.view(self, credentials)
            }
            _ => Arc::clone(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Remotes, RemotesConfig, UpstreamConfig};

    fn remote() -> Arc<Remote> {
        let upstream = UpstreamConfig {
            is_asked_as_caller: true,
            ..UpstreamConfig::new("x", "https://registry.example".parse().unwrap())
        };
        let remotes = Remotes::new(RemotesConfig { upstreams: vec![upstream], ..RemotesConfig::default() }).unwrap();
        remotes.resolve("x").unwrap()
    }

    fn credentials(upstream: &str, user: &str, password: &str) -> CallerCredentials {
        CallerCredentials { upstream: upstream.into(), user: user.to_owned(), password: password.into() }
    }

    fn seen(remote: &Arc<Remote>, user: &str, password: &str) -> Arc<Remote> {
        remote.for_caller(Some(&credentials("x", user, password)))
    }

    #[tokio::test]
    async fn c6_each_account_has_a_view_of_its_own_and_that_of_another_upstream_has_none() {
        let remote = remote();
        let alice = seen(&remote, "alice", "secret");
        assert!(Arc::ptr_eq(&alice, &seen(&remote, "alice", "secret")));
        for (user, password) in [("bob", "secret"), ("alice", "other"), ("alices", "ecret"), ("alic", "esecret")] {
            let other = seen(&remote, user, password);
            assert!(!Arc::ptr_eq(&alice, &other), "{user} {password}");
            assert_ne!(alice.caller(), other.caller(), "{user} {password}");
        }
        let foreign = remote.for_caller(Some(&credentials("y", "alice", "secret")));
        assert!(Arc::ptr_eq(&remote, &foreign) && foreign.caller().is_none() && !foreign.has_credentials());
        assert!(Arc::ptr_eq(&remote, &remote.for_caller(None)));
        assert!(!format!("{remote:?} {alice:?} {:?}", credentials("x", "alice", "secret")).contains("secret"));
    }

    #[tokio::test(start_paused = true)]
    async fn views_are_bounded_and_passwords_leave_memory_when_nobody_comes() {
        let remote = remote();
        let first = seen(&remote, "first", "secret");
        let gone = Arc::downgrade(&first);
        drop(first);
        for number in 0..CALLERS_MAX * 2 {
            tokio::time::advance(std::time::Duration::from_micros(1)).await;
            seen(&remote, &number.to_string(), "secret");
            assert!(gone.upgrade().is_some_and(|first| Arc::ptr_eq(&first, &seen(&remote, "first", "secret"))));
        }
        let views = Arc::clone(&remote.callers().unwrap().views);
        assert_eq!(lock(&views).by_key.len(), CALLERS_MAX);
        tokio::time::sleep(CALLER_IDLE_MAX + CALLER_SWEEP_INTERVAL).await;
        assert!(lock(&views).by_key.is_empty() && gone.upgrade().is_none());
    }
}
