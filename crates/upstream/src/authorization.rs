//! What a request is authorised by: learnt from challenges, once per remote, and met with tokens or a password.

use std::sync::{Arc, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_oci::RepositoryName;
use http::{HeaderMap, HeaderValue, Method};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::body::release;
use crate::challenge::Challenge;
use crate::circuit::Circuit;
use crate::error::Error;
use crate::handshake::HandshakeStep;
use crate::history::{History, RedactedUrl};
use crate::reach::may_ask;
use crate::remote::Remote;
use crate::token_cache::{Lease, Token, TokenKey};
use crate::token_request::TokenRequest;

/// The user name that marks the password as an identity token, by the convention of credential helpers.
const IDENTITY_TOKEN: &str = "<token>";

/// An account of a remote.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: SecretString,
}

impl Credentials {
    /// The value of an `Authorization` header, marked as secret.
    pub(crate) fn header(&self) -> HeaderValue {
        let pair = format!("{}:{}", self.username, self.password.expose_secret());
        secret_header(&format!("Basic {}", STANDARD.encode(pair)))
    }

    /// The token that stands in place of a password, if it is one that only a token endpoint takes.
    pub(crate) fn identity_token(&self) -> Option<&SecretString> {
        (self.username == IDENTITY_TOKEN).then_some(&self.password)
    }

    /// Whether both are one account.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.username == other.username && self.password.expose_secret() == other.password.expose_secret()
    }
}

/// What a remote is known to want, kept for as long as the remote.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    scheme: Option<Scheme>,
    /// Whether `/v2/` has been asked already.
    is_pinged: bool,
}

#[derive(Clone, Debug)]
enum Scheme {
    Basic,
    Bearer {
        realm: Url,
        service: Option<String>,
        /// A scope that does not depend on the repository, such as `aws` of public.ecr.aws.
        scope: Option<String>,
    },
}

impl Wanted {
    /// Whether nothing is known to be wanted.
    pub(crate) const fn is_nothing(&self) -> bool {
        self.scheme.is_none()
    }
}

/// What one request was sent with.
#[derive(Debug)]
pub(crate) enum Authorization {
    /// The account itself.
    Basic(HeaderValue),
    /// A token, and whether it was fetched for this very request.
    Bearer { key: TokenKey, lease: Lease },
}

impl Authorization {
    /// The value of the header, marked as secret.
    pub(crate) fn header(&self) -> HeaderValue {
        match self {
            Self::Basic(header) => header.clone(),
            Self::Bearer { lease, .. } => secret_header(&format!("Bearer {}", lease.token.expose())),
        }
    }
}

impl Remote {
    /// What a request for `repository` is sent with at first: what the remote is known to want.
    ///
    /// With an account the remote is asked at `/v2/` first: mixed registries let an anonymous request pass as such. Asked `is_afresh`,
    /// no token is used that was there before.
    pub(crate) async fn authorization(
        &self,
        repository: &RepositoryName,
        is_afresh: bool,
        history: &mut History,
    ) -> Result<Option<Authorization>, Error> {
        if self.has_account() && !self.wanted().is_pinged {
            self.learn_from_ping(history).await?;
        }
        let scheme = self.wanted().scheme.clone();
        match scheme {
            None => Ok(None),
            Some(Scheme::Basic) => {
                let login = self.login(history).await?;
                Ok(login.map(|login| Authorization::Basic(login.credentials.header())))
            }
            Some(Scheme::Bearer { realm, service, scope }) => {
                let scope = scope.unwrap_or_else(|| pull_scope(repository.as_str()));
                let key = self.key(realm, service, Some(scope), history).await?;
                let refused = if is_afresh { self.tokens().held(&key) } else { None };
                self.token(key, refused.as_ref(), history).await.map(Some)
            }
        }
    }

    /// What proves to the remote that the account is good, for no repository; `None` when it wants no account, and so knows none.
    pub(crate) async fn proof_of_account(&self, history: &mut History) -> Result<Option<Authorization>, Error> {
        self.learn_from_ping(history).await?;
        if let Some(status @ (408 | 429 | 500..)) = history.status {
            return Err(Error::Unavailable { history: Box::new(history.clone()), status, retry_after: None });
        }
        let scheme = self.wanted().scheme.clone();
        match scheme {
            None => Ok(None),
            // What answers anybody at `/v2/` would answer any password there.
            Some(Scheme::Basic) if history.status != Some(401) => Ok(None),
            Some(Scheme::Basic) => {
                let login = self.login(history).await?;
                Ok(login.map(|login| Authorization::Basic(login.credentials.header())))
            }
            Some(Scheme::Bearer { realm, service, .. }) => {
                let key = self.key(realm, service, None, history).await?;
                self.token(key, None, history).await.map(Some)
            }
        }
    }

    /// What meets the challenge of a 401 to a request that was sent with `refused`; `None` when nothing would.
    pub(crate) async fn meet_challenge(
        &self,
        repository: &RepositoryName,
        headers: &HeaderMap,
        refused: Option<Authorization>,
        history: &mut History,
    ) -> Result<Option<Authorization>, Error> {
        let Some(challenge) = Challenge::preferred(headers) else {
            return self.meet_silence(repository, refused, history).await;
        };
        history.record(|| challenge.step(self.reach().home()));
        match challenge {
            Challenge::Basic => {
                let Some(login) = self.login(history).await? else { return Ok(None) };
                self.wanted().scheme = Some(Scheme::Basic);
                let is_final = matches!(refused, Some(Authorization::Basic(_)));
                Ok((!is_final).then(|| Authorization::Basic(login.credentials.header())))
            }
            Challenge::Bearer { realm, service, scope } => {
                let realm = parse_realm(&realm, self.reach().home(), history)?;
                let lasting = scope.clone().filter(|scope| !scope.starts_with("repository:"));
                let scheme = Scheme::Bearer { realm: realm.clone(), service: service.clone(), scope: lasting };
                self.wanted().scheme = Some(scheme);
                let scope = scope.unwrap_or_else(|| pull_scope(repository.as_str()));
                let key = self.key(realm, service, Some(scope), history).await?;
                match refused {
                    Some(Authorization::Bearer { key: sent, lease }) if sent == key => {
                        if lease.is_fresh {
                            return Ok(None);
                        }
                        self.token(key, Some(&lease.token), history).await.map(Some)
                    }
                    _ => self.token(key, None, history).await.map(Some),
                }
            }
        }
    }

    /// A 401 without a challenge, as gcr.io sends it at times: `/v2/` tells what is wanted.
    async fn meet_silence(
        &self,
        repository: &RepositoryName,
        refused: Option<Authorization>,
        history: &mut History,
    ) -> Result<Option<Authorization>, Error> {
        if let Some(Authorization::Bearer { key, lease }) = refused {
            if lease.is_fresh {
                return Ok(None);
            }
            return self.token(key, Some(&lease.token), history).await.map(Some);
        }
        if refused.is_some() || self.wanted().is_pinged {
            return Ok(None);
        }
        self.learn_from_ping(history).await?;
        self.authorization(repository, false, history).await
    }

    /// Learns what is wanted from `/v2/`, whatever its status. Its scope is a placeholder at many and ignored.
    pub(crate) async fn learn_from_ping(&self, history: &mut History) -> Result<(), Error> {
        let mut url = self.reach().home().clone();
        url.set_path("/v2/");
        let response = self.send_noted((&Method::GET, &url), HeaderMap::new(), history).await?;
        let challenge = Challenge::preferred(response.headers());
        if let Some(challenge) = &challenge {
            history.record(|| challenge.step(&url));
        }
        release(response).await;
        let scheme = match challenge {
            Some(Challenge::Bearer { realm, service, .. }) => {
                Some(Scheme::Bearer { realm: parse_realm(&realm, &url, history)?, service, scope: None })
            }
            Some(Challenge::Basic) => Some(Scheme::Basic),
            None => None,
        };
        let mut wanted = self.wanted();
        wanted.is_pinged = true;
        wanted.scheme = scheme.or(wanted.scheme.take());
        Ok(())
    }

    /// What meets the challenge of a host that a redirect led to: an anonymous token, for that host and its repository.
    pub(crate) async fn meet_foreign_challenge(
        &self,
        url: &Url,
        headers: &HeaderMap,
        history: &mut History,
    ) -> Result<Option<Authorization>, Error> {
        let Some(Challenge::Bearer { realm, service, scope }) = Challenge::preferred(headers) else { return Ok(None) };
        let realm = parse_realm(&realm, url, history)?;
        let scope = scope.or_else(|| repository_of(url.path()).map(pull_scope));
        let key = TokenKey { realm, service, scope, account: None };
        self.token_counting(None, key, None, history).await.map(Some)
    }

    /// The key of a token for this remote, when its realm may see the account.
    async fn key(
        &self,
        realm: Url,
        service: Option<String>,
        scope: Option<String>,
        history: &History,
    ) -> Result<TokenKey, Error> {
        if self.has_account() && !self.reach().may_receive_credentials(&realm) {
            return Err(untrusted(&realm, history));
        }
        let account = self.login(history).await?.map(|login| login.number);
        Ok(TokenKey { realm, service, scope, account })
    }

    /// A token by `key` other than `refused`, from the cache or from its realm.
    async fn token(
        &self,
        key: TokenKey,
        refused: Option<&Token>,
        history: &mut History,
    ) -> Result<Authorization, Error> {
        self.token_counting(Some(self.shared_circuit()), key, refused, history).await
    }

    /// The same, where `circuit` counts how the realm answers. Everyone who waits for one request counts as one.
    async fn token_counting(
        &self,
        circuit: Option<Arc<Circuit>>,
        key: TokenKey,
        refused: Option<&Token>,
        history: &mut History,
    ) -> Result<Authorization, Error> {
        let login = if key.account.is_some() { self.login(history).await? } else { None };
        let request = TokenRequest {
            circuit,
            key: key.clone(),
            account: login.map(|login| login.credentials),
            destination: self.reach().destination(&key.realm),
            connections: self.shared_connections(),
            history: history.clone(),
        };
        let lease = self.tokens().get(&key, refused, request.send()).await?;
        if lease.is_fresh {
            history.attempts += 1;
        } else {
            history.record(|| HandshakeStep::TokenKept);
        }
        Ok(Authorization::Bearer { key, lease })
    }

    pub(crate) fn wanted(&self) -> MutexGuard<'_, Wanted> {
        // What is learnt is replaced as a whole: a panic elsewhere leaves nothing half-written.
        self.wanted_lock().lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The realm as a URL that may be asked on behalf of `from`. One without a host is meant on that of `from`.
fn parse_realm(realm: &str, from: &Url, history: &History) -> Result<Url, Error> {
    match from.join(realm) {
        Ok(realm) if may_ask(&realm, from) => Ok(realm),
        Ok(realm) => Err(untrusted(&realm, history)),
        // What is no URL has nothing to show but who sent it.
        Err(_) => Err(untrusted(from, history)),
    }
}

fn untrusted(realm: &Url, history: &History) -> Error {
    Error::UntrustedRealm { history: Box::new(history.clone()), realm: RedactedUrl::new(realm) }
}

fn pull_scope(repository: &str) -> String {
    format!("repository:{repository}:pull")
}

/// The repository in the path of a registry's API; `None` where the path is another one.
fn repository_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/v2/")?;
    let kinds = ["/manifests/", "/blobs/", "/tags/", "/referrers/"];
    let end = kinds.into_iter().filter_map(|kind| path.rfind(kind)).max()?;
    Some(&path[..end])
}

/// A header value that no log prints. A character that cannot stand in a header leaves it empty, and the upstream
/// refuses it like any wrong secret.
fn secret_header(text: &str) -> HeaderValue {
    let mut header = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_of_a_path_is_what_stands_before_the_last_kind() {
        let rows = [
            ("/v2/k8s-artifacts-prod/images/pause/manifests/3.9", Some("k8s-artifacts-prod/images/pause")),
            ("/v2/a/blobs/b/blobs/sha256:x", Some("a/blobs/b")),
            ("/v2/a/tags/list", Some("a")),
            ("/bucket/sha256:x", None),
            ("/v2/", None),
        ];
        for (path, expected) in rows {
            assert_eq!(repository_of(path), expected, "{path}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let account = Credentials { username: "user".into(), password: "hidden".into() };
        assert!(!format!("{account:?} {:?}", account.header()).contains("hidden"));
        assert!(!format!("{:?}", account.header()).contains(&STANDARD.encode("user:hidden")));
    }
}
