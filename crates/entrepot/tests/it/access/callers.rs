//! Upstreams that are asked with the account of the caller, by callers who have one (threats B10 and C6).
//!
//! What an upstream has allowed is believed for a minute by the clock of the machine, which no test here moves. A restart forgets it as well;
//! the minute itself is tried over a clock that can be moved, in the domain.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use entrepot_access::Anonymous;
use entrepot_testkit::{Auth, FakeUpstream, Image, Users};
use entrepot_upstream::UpstreamConfig;

use super::setup::{Answer, House, PASSWORD, SERVICE, With, blueprint, rule, rules};
use crate::support::Setup;

const NAME: &str = "upstream.test";
const PRIVATE: &str = "team/app";
const MISSING: &str = "team/nil";
const PUBLIC: &str = "team/public";

/// A registry in front of an upstream with users, where nobody but alice may pull what is private.
struct Street {
    house: House,
    upstream: FakeUpstream,
    image: Image,
}

fn schemes() -> [Users; 2] {
    [Users::with_basic(), Users::with_tokens()]
}

fn users(none: Users) -> Users {
    none.user("alice", "secret", &[PRIVATE]).user("bob", "secret", &["team/other"]).public(PUBLIC)
}

fn basic(user: &'static str) -> With {
    With::Basic(user, "secret".to_owned())
}

fn asked_as_caller(name: &str, upstream: &FakeUpstream) -> UpstreamConfig {
    UpstreamConfig { is_asked_as_caller: true, ..UpstreamConfig::new(name, upstream.url().parse().unwrap()) }
}

async fn fake(image: &Image, scheme: Users) -> FakeUpstream {
    let upstream = FakeUpstream::start().await;
    for repository in [PRIVATE, PUBLIC] {
        image.load_into(&upstream, repository, "1");
    }
    upstream.set_auth(Auth::Users(users(scheme)));
    upstream
}

impl Street {
    async fn build(anonymous: Anonymous, scheme: Users) -> Self {
        let image = Image::new(7, &[1000]);
        let upstream = fake(&image, scheme).await;
        let access = Some(blueprint(anonymous, rules()));
        let upstreams = vec![asked_as_caller(NAME, &upstream)];
        let house = House::with(Setup { upstreams, access, ..Setup::default() }).await;
        Self { house, upstream, image }
    }

    /// What leads to the image, behind the name of a repository.
    fn paths(&self) -> [String; 4] {
        let (manifest, layer) = (&self.image.manifest.digest, &self.image.layers[0].digest);
        ["manifests/1".to_owned(), format!("manifests/{manifest}"), format!("blobs/{layer}"), "tags/list".to_owned()]
    }

    async fn get(&self, repository: &str, path: &str, with: &With) -> Answer {
        self.house.ask("GET", &path_of(repository, path), with).await
    }

    /// The token that a client gets by an account.
    async fn token(&self, user: &'static str, repositories: &[&str]) -> With {
        bearer(&self.house, NAME, user, repositories).await
    }

    async fn assert_open(&self, repository: &str, with: &With) {
        for path in self.paths() {
            for method in ["GET", "HEAD"] {
                let answer = self.house.ask(method, &path_of(repository, &path), with).await;
                assert_eq!(answer.status, 200, "{method} {path} {with:?}: {}", answer.message());
                // A minute later he may have lost the right, and not even his own cache may go on.
                assert_eq!(answer.header("cache-control"), "private, no-cache", "{method} {path} {with:?}");
            }
        }
    }

    /// To the byte as for what does not exist.
    async fn assert_unknown(&self, with: &With) {
        for path in self.paths() {
            for method in ["GET", "HEAD"] {
                let private = self.house.ask(method, &path_of(PRIVATE, &path), with).await;
                let missing = self.house.ask(method, &path_of(MISSING, &path), with).await;
                assert_eq!(private.status, 404, "{method} {path} {with:?}: {}", private.message());
                assert_eq!(told(&private), told(&missing), "{method} {path} {with:?}");
            }
        }
    }
}

fn path_of(repository: &str, path: &str) -> String {
    format!("/v2/proxy/{NAME}/{repository}/{path}")
}

/// An answer without what differs from request to request, and whatever is asked for.
fn told(answer: &Answer) -> (u16, String, Vec<String>) {
    let name_of = |text: &str| text.replace(PRIVATE, "NAME").replace(MISSING, "NAME");
    let message = name_of(answer.message().split(" (request").next().unwrap());
    let detail = name_of(&answer.json()["errors"][0]["detail"].to_string());
    let differ = ["date", "x-request-id", "content-length"];
    let mut headers: Vec<String> = answer
        .headers
        .iter()
        .filter(|(name, _)| !differ.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    (answer.status, format!("{} {message} {detail}", answer.code()), headers)
}

async fn bearer(house: &House, upstream: &str, user: &'static str, repositories: &[&str]) -> With {
    let scopes: Vec<String> =
        repositories.iter().map(|name| format!("&scope=repository:proxy/{upstream}/{name}:pull")).collect();
    let scopes = scopes.concat();
    let answer = house.ask("GET", &format!("/token?service={SERVICE}{scopes}"), &basic(user)).await;
    assert_eq!(answer.status, 200, "{user}: {}", answer.message());
    With::Bearer(answer.json()["token"].as_str().unwrap().to_owned())
}

/// What an upstream was sent as an account.
fn accounts(upstream: &FakeUpstream) -> Vec<String> {
    let headers = upstream.requests().into_iter().filter_map(|seen| seen.header("authorization").map(str::to_owned));
    headers.collect()
}

#[tokio::test]
async fn b10_an_account_at_the_upstream_pulls_by_password_and_by_token_also_after_a_restart() {
    for scheme in schemes() {
        let mut street = Street::build(Anonymous::None, scheme).await;
        street.assert_open(PRIVATE, &basic("alice")).await;
        let token = street.token("alice", &[PRIVATE]).await;
        street.assert_open(PRIVATE, &token).await;
        street.house.registry.restart().await;
        street.assert_open(PRIVATE, &token).await;
        let asked = accounts(&street.upstream).len();
        assert!(asked > 0);
        // C6: what travels with the client is not the password to whoever reads it.
        let With::Bearer(text) = &token else { panic!("no token: {token:?}") };
        let payload = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap();
        let payload = String::from_utf8(payload).unwrap();
        assert!(payload.contains("upstream:upstream.test:alice"), "{payload}");
        for secret in ["secret".to_owned(), STANDARD.encode("secret"), STANDARD.encode("alice:secret")] {
            assert!(!payload.contains(secret.trim_end_matches('=')), "{payload}");
        }
    }
}

#[tokio::test]
async fn b10_another_user_of_the_upstream_is_told_what_he_is_told_of_what_is_missing() {
    for scheme in schemes() {
        let street = Street::build(Anonymous::None, scheme).await;
        street.assert_open(PRIVATE, &basic("alice")).await;
        street.assert_unknown(&basic("bob")).await;
        street.assert_unknown(&street.token("bob", &[PRIVATE, MISSING]).await).await;
        street.assert_open(PUBLIC, &basic("bob")).await;
        // Nor does he get it away with him.
        let layer = &street.image.layers[0].digest;
        let path = format!("/v2/team/own/blobs/uploads/?mount={layer}&from=proxy/{NAME}/{PRIVATE}");
        assert_eq!(street.house.ask("POST", &path, &basic("bob")).await.status, 403);
        assert_eq!(street.house.ask("POST", &path, &With::User("pusher")).await.status, 202);
    }
}

#[tokio::test]
async fn b10_who_loses_the_right_at_the_upstream_is_refused_also_with_a_token_from_before() {
    for (number, scheme) in schemes().into_iter().enumerate() {
        let mut street = Street::build(Anonymous::None, scheme).await;
        let token = street.token("alice", &[PRIVATE, MISSING]).await;
        street.assert_open(PRIVATE, &token).await;
        let none = || schemes().into_iter().nth(number).unwrap();
        street.upstream.set_auth(Auth::Users(none().user("alice", "secret", &[])));
        street.house.registry.restart().await;
        street.assert_unknown(&token).await;
        street.assert_unknown(&basic("alice")).await;
        // And with another password there, what is sealed in the token is nobody's.
        street.upstream.set_auth(Auth::Users(none().user("alice", "another", &[PRIVATE])));
        street.house.registry.restart().await;
        street.assert_unknown(&token).await;
        assert_eq!(street.get(PRIVATE, "manifests/1", &basic("alice")).await.status, 401);
        street.assert_open(PRIVATE, &With::Basic("alice", "another".to_owned())).await;
    }
}

#[tokio::test]
async fn b10_whoever_has_no_account_at_the_upstream_gets_what_is_public_there_if_a_rule_lets_him() {
    for scheme in schemes() {
        let street = Street::build(Anonymous::None, scheme.clone()).await;
        street.assert_open(PRIVATE, &basic("alice")).await;
        street.upstream.forget_requests();
        for path in street.paths() {
            for repository in [PRIVATE, PUBLIC] {
                assert_eq!(street.get(repository, &path, &With::Nothing).await.status, 401, "{path}");
                assert_eq!(street.get(repository, &path, &With::User("puller")).await.status, 403, "{path}");
            }
        }
        street.assert_open(PUBLIC, &With::User("all")).await;
        street.assert_unknown(&With::User("all")).await;
        let ours = STANDARD.encode(format!("all:{PASSWORD}"));
        assert!(!accounts(&street.upstream).iter().any(|sent| sent.contains(&ours)), "C6: our passwords are ours");
        let street = Street::build(Anonymous::Pull, scheme).await;
        street.assert_open(PRIVATE, &basic("alice")).await;
        street.assert_open(PUBLIC, &With::Nothing).await;
        street.assert_unknown(&With::Nothing).await;
    }
}

#[tokio::test]
async fn b10_what_an_upstream_decides_is_asked_about_again_by_every_cache() {
    let street = Street::build(Anonymous::Pull, Users::with_basic()).await;
    let digest = street.image.manifest.digest.to_string();
    let tag = format!("\"{digest}\"");
    for (repository, with) in [(PUBLIC, With::Nothing), (PRIVATE, basic("alice"))] {
        let path = path_of(repository, &format!("manifests/{digest}"));
        let answer = street.house.send("GET", &path, &with, &[("if-none-match", &tag)], Bytes::new()).await;
        assert_eq!((answer.status, answer.header("cache-control")), (304, "private, no-cache"), "{repository}");
        let path = path_of(repository, &format!("blobs/{}", street.image.layers[0].digest));
        let answer = street.house.send("GET", &path, &with, &[("range", "bytes=0-9")], Bytes::new()).await;
        assert_eq!((answer.status, answer.header("cache-control")), (206, "private, no-cache"), "{repository}");
    }
}

#[tokio::test]
async fn b10_what_is_cached_with_an_account_of_the_server_is_open_to_whom_a_rule_names_wherever_he_is_known() {
    let image = Image::new(7, &[1000]);
    let (upstream, account) = (fake(&image, Users::with_basic()).await, fake(&image, Users::with_basic()).await);
    account.set_auth(Auth::basic("house", "hidden"));
    let with_account = UpstreamConfig {
        username: Some("house".into()),
        password: Some("hidden".into()),
        ..UpstreamConfig::new("account.test", account.url().parse().unwrap())
    };
    let mut all = rules();
    all.push(rule("upstream:upstream.test:alice", &["proxy/account.test/**"], "pull"));
    let access = Some(blueprint(Anonymous::Pull, all));
    let upstreams = vec![asked_as_caller(NAME, &upstream), with_account];
    let house = House::with(Setup { upstreams, access, ..Setup::default() }).await;
    let path = format!("/v2/proxy/account.test/{PRIVATE}/manifests/1");
    let status = async |with: &With| house.ask("GET", &path, with).await.status;
    assert_eq!(status(&basic("alice")).await, 200);
    assert_eq!(status(&With::Nothing).await, 401);
    assert_eq!(status(&basic("bob")).await, 403);
    assert_eq!(status(&With::User("puller")).await, 403);
    // It was asked with the account of the server alone.
    let ours = format!("Basic {}", STANDARD.encode("house:hidden"));
    let sent = accounts(&account);
    assert!(!sent.is_empty() && sent.iter().all(|sent| *sent == ours), "{sent:?}");
}

#[tokio::test]
async fn c6_with_several_upstreams_a_user_says_which_one_he_means_and_no_other_is_told_his_password() {
    let image = Image::new(7, &[1000]);
    let (first, second) = (fake(&image, Users::with_basic()).await, fake(&image, Users::with_tokens()).await);
    let access = Some(blueprint(Anonymous::None, rules()));
    let upstreams = vec![asked_as_caller(NAME, &first), asked_as_caller("second.test", &second)];
    let house = House::with(Setup { upstreams, access, ..Setup::default() }).await;
    let status = async |upstream: &str, with: &With| {
        house.ask("GET", &format!("/v2/proxy/{upstream}/{PRIVATE}/manifests/1"), with).await.status
    };
    for upstream in [NAME, "second.test"] {
        assert_eq!(status(upstream, &basic("alice")).await, 401, "{upstream}");
    }
    assert!(first.requests().is_empty() && second.requests().is_empty(), "nobody is asked whose password it may be");
    let users = [(NAME, "upstream.test/alice", "second.test"), ("second.test", "second.test/alice", NAME)];
    for (own, user, other) in users {
        assert_eq!(status(own, &basic(user)).await, 200, "{user}");
        assert_eq!(status(other, &basic(user)).await, 403, "{user}");
        let token = bearer(&house, own, user, &[PRIVATE]).await;
        assert_eq!(status(own, &token).await, 200, "{user}");
        assert_eq!(status(other, &token).await, 401, "{user}");
        let (asked, spared) = if own == NAME { (&first, &second) } else { (&second, &first) };
        assert!(!accounts(asked).is_empty(), "{user}");
        assert!(accounts(spared).is_empty(), "{user}");
        first.forget_requests();
        second.forget_requests();
    }
}
