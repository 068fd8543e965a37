//! A registry with users and rules, and somebody who asks it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use entrepot::AccessBlueprint;
use entrepot_access::{
    Actions, Anonymous, Attempt, Authority, AuthorityParts, Caller, CallerUpstreams, Issuers, NewCredential, Proof,
    Rule, Rules, Scopes, StoredCredentials, Tokens, Users,
};
use entrepot_metadata::{Clock, CredentialKind, MetadataStore, Timestamp};
use entrepot_metadata_sqlite::SqliteStore;
use entrepot_oci::Patterns;
use entrepot_testkit::Image;
use entrepot_upstream::{Lookup, Timeouts};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::support::{Running, Setup};

/// Everybody's password, and the cheapest hash that was published for it.
pub(super) const PASSWORD: &str = "U*U";
const HASH: &str = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// The users; whoever is not among them is unknown.
pub(super) const USERS: [&str; 8] = ["puller", "pusher", "pusher2", "creator", "deleter", "other", "boss", "all"];

pub(super) const SERVICE: &str = "registry.example";

/// A rule for one principal.
pub(super) fn rule(principal: &str, repositories: &[&str], actions: &str) -> Rule {
    Rule {
        name: format!("rule of {principal}").into(),
        principals: vec![principal.parse().unwrap()],
        repositories: Patterns::new(repositories.iter().copied()).unwrap(),
        actions: actions.split(',').map(|word| Actions::parse(word).unwrap()).fold(Actions::NONE, Actions::union),
    }
}

/// Users with one right each.
pub(super) fn rules() -> Vec<Rule> {
    let team = &["team/**"];
    vec![
        rule("puller", team, "pull,catalog"),
        rule("pusher", team, "pull,push,catalog"),
        rule("pusher2", team, "pull,push"),
        rule("creator", team, "pull,create"),
        rule("deleter", team, "delete"),
        rule("other", &["other/**"], "*"),
        rule("boss", &[], "admin"),
        rule("all", &[], "*"),
    ]
}

pub(super) fn blueprint(anonymous: Anonymous, rules: Vec<Rule>) -> AccessBlueprint {
    AccessBlueprint {
        service: SERVICE.to_owned(),
        rules: Rules::new(anonymous, Vec::new(), rules),
        users: Some(USERS.map(|user| format!("{user}:{HASH}\n")).concat()),
        issuers: Vec::new(),
        token_lifetime: Duration::from_mins(5),
    }
}

/// What a request is sent with.
#[derive(Clone, Debug)]
pub(super) enum With {
    Nothing,
    User(&'static str),
    Basic(&'static str, String),
    Bearer(String),
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn challenge(&self) -> &str {
        self.header("www-authenticate")
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn message(&self) -> String {
        self.json()["errors"][0]["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// A guarded registry.
pub(super) struct House {
    pub(super) registry: Running,
}

impl House {
    pub(super) async fn build() -> Self {
        Self::with(Setup { access: Some(blueprint(Anonymous::None, rules())), ..Setup::default() }).await
    }

    pub(super) async fn with(setup: Setup) -> Self {
        Self { registry: Running::with(setup).await }
    }

    pub(super) async fn ask(&self, method: &str, path: &str, with: &With) -> Answer {
        self.send(method, path, with, &[], Bytes::new()).await
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        with: &With,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        self.send_by(&self.registry.client, method, path, with, headers, body).await
    }

    /// By a client of the test's own.
    pub(super) async fn send_by(
        &self,
        client: &Client,
        method: &str,
        path: &str,
        with: &With,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let method: Method = method.parse().unwrap();
        let request = client.request(method, self.registry.url(path)).body(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = match with {
            With::Nothing => request,
            With::User(user) => request.basic_auth(user, Some(PASSWORD)),
            With::Basic(user, password) => request.basic_auth(user, Some(password)),
            With::Bearer(token) => request.bearer_auth(token),
        };
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap() }
    }

    /// A token with these scopes, as the token service makes it, but without a look at whether he may what is in them.
    pub(super) async fn token(&self, user: &str, scopes: &[&str]) -> With {
        issue(&self.registry.assembly().authority, user, scopes).await
    }

    /// The same as of ten minutes ago, so that it has expired.
    pub(super) async fn expired_token(&self, user: &str, scopes: &[&str]) -> With {
        let authority = late_authority(self.registry.folder()).await;
        issue(&authority, user, scopes).await
    }

    /// A token of a user's own making that has ended, in the place of his password.
    pub(super) async fn ended_credential(&self, user: &'static str) -> With {
        let credential = NewCredential {
            kind: CredentialKind::Personal,
            principal: user.parse().unwrap(),
            name: "ended".to_owned(),
            repositories: Vec::new(),
            actions: Vec::new(),
            expires_at: Some(minutes_ago(5)),
        };
        let authority = late_authority(self.registry.folder()).await;
        let made = authority.credentials().unwrap().create(credential).await;
        let text = match made {
            Ok(Some((_, text))) => text.expose_secret().to_owned(),
            other => panic!("no token was made: {other:?}"),
        };
        With::Basic(user, text)
    }

    /// Pushes an image.
    pub(super) async fn push(&self, repository: &str, tag: &str, image: &Image, with: &With) {
        for blob in image.blobs() {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest);
            let pushed = self.send("POST", &path, with, &[], blob.bytes.clone()).await;
            assert_eq!(pushed.status, 201, "{path}: {}", pushed.message());
        }
        let pushed = self.push_manifest(repository, tag, image, with).await;
        assert_eq!(pushed.status, 201, "{repository}:{tag}: {}", pushed.message());
    }

    /// Pushes the manifest of an image whose blobs are there.
    pub(super) async fn push_manifest(&self, repository: &str, reference: &str, image: &Image, with: &With) -> Answer {
        let headers = [("content-type", image.manifest.media_type.as_str())];
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.send("PUT", &path, with, &headers, image.manifest.bytes.clone()).await
    }
}

/// A client at a loopback address of its own: wrong passwords are counted by address.
pub(super) fn client_at(number: u8) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let address = Ipv4Addr::new(127, 0, 9, number);
    Client::builder().no_proxy().local_address(std::net::IpAddr::from(address)).build().unwrap()
}

async fn issue(authority: &Authority, user: &str, scopes: &[&str]) -> With {
    let proof = Proof::Basic { user: user.to_owned(), password: SecretString::from(PASSWORD) };
    let caller = if user == "anonymous" {
        Caller::anonymous(None)
    } else {
        authority.authenticate(Attempt { address: None, certificate: None, proof }).await.unwrap()
    };
    let scopes: Scopes = scopes.iter().map(|text| text.parse::<entrepot_access::Scope>().unwrap()).collect();
    With::Bearer(authority.issue(&caller, scopes).await.unwrap().token.expose_secret().to_owned())
}

/// A clock that is late.
#[derive(Debug)]
struct Late;

impl Clock for Late {
    fn now(&self) -> Timestamp {
        minutes_ago(10)
    }
}

#[expect(clippy::disallowed_methods, reason = "the registry that is asked goes by this clock as well")]
fn minutes_ago(minutes: u64) -> Timestamp {
    Timestamp::from(SystemTime::now()).before(Duration::from_mins(minutes))
}

/// A replica that shares the keys of the registry, and whose clock is late.
async fn late_authority(folder: &Path) -> Arc<Authority> {
    let store: Arc<dyn MetadataStore> =
        Arc::new(SqliteStore::open(&folder.join("registry").join("entrepot.sqlite")).unwrap());
    let blueprint = blueprint(Anonymous::None, rules());
    let issuers = Issuers::new(Vec::new(), Timeouts::default(), Lookup::default(), Arc::new(Late));
    Authority::new(AuthorityParts {
        rules: blueprint.rules,
        users: Users::parse(&blueprint.users.unwrap()).unwrap(),
        credentials: StoredCredentials::new(Arc::clone(&store), Arc::new(Late)),
        tokens: Tokens::open(store, Arc::new(Late), SERVICE.to_owned(), blueprint.token_lifetime).await.unwrap(),
        issuers: issuers.unwrap(),
        upstreams: CallerUpstreams::new(Vec::new()),
        metrics: Arc::default(),
    })
}
