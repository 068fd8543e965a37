//! A5: every route by everybody. A route without a row does not compile.

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, TagOrDigest};
use entrepot_server::{AdminRoute, Route};

use super::setup::{Answer, House, With, client_at};

const NAME: &str = "team/app";

/// What a route is asked for here, and what comes of it for those who may.
struct Row {
    label: &'static str,
    methods: &'static [&'static str],
    path: String,
    /// Who may, by role.
    allowed: &'static [Role],
    /// What they are answered, with nothing in the registry.
    status: u16,
    /// The scope of the challenge.
    scope: &'static str,
    /// Whether an upload goes on with it.
    goes_on: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Pull,
    Push,
    Create,
    Delete,
    Other,
    Admin,
}

const ROLES: [(Role, &str); 6] = [
    (Role::Pull, "puller"),
    (Role::Push, "pusher"),
    (Role::Create, "creator"),
    (Role::Delete, "deleter"),
    (Role::Other, "other"),
    (Role::Admin, "boss"),
];

const EVERYBODY: &[Role] = &[Role::Pull, Role::Push, Role::Create, Role::Delete, Role::Other, Role::Admin];
const PULLERS: &[Role] = &[Role::Pull, Role::Push, Role::Create];
const PUSHERS: &[Role] = &[Role::Push, Role::Create];
const READ: &[&str] = &["GET", "HEAD"];

const PULL: &str = "repository:team/app:pull";
const PUSH: &str = "repository:team/app:pull,push";
const DELETE: &str = "repository:team/app:delete";

/// Scopes that cover everything here and at the neighbour: what is denied is denied by rules.
const EVERYTHING: &[&str] = &["repository:team/app:*", "repository:other/app:*", "registry:catalog:*"];

fn digest() -> Digest {
    Algorithm::Sha256.digest(b"nothing that is there")
}

/// One of each.
fn routes() -> Vec<Route> {
    let name = || NAME.parse().unwrap();
    let (tag, id) = (TagOrDigest::parse("1").unwrap(), "0".repeat(32));
    vec![
        Route::Base,
        Route::Catalog,
        Route::Discover,
        // Before an upload makes the repository.
        Route::Tags(name()),
        Route::Referrers(name(), digest()),
        Route::PullManifest(name(), tag.clone()),
        Route::PushManifest(name(), tag.clone()),
        Route::DeleteManifest(name(), tag),
        Route::PullBlob(name(), digest()),
        Route::DeleteBlob(name(), digest()),
        Route::StartUpload(name()),
        Route::UploadStatus(name(), id.clone()),
        Route::AppendToUpload(name(), id.clone()),
        Route::FinishUpload(name(), id.clone()),
        Route::CancelUpload(name(), id),
    ]
}

/// A route that has no arm here has no expectations, and the tests do not compile.
fn row(route: &Route) -> Row {
    let label = route.label();
    let at = |methods, path: String, allowed, status, scope| {
        let path = if path.starts_with('/') { path } else { format!("/v2/{NAME}/{path}") };
        Row { label, methods, path, allowed, status, scope, goes_on: false }
    };
    let session = |methods, id: &str| {
        let path = format!("blobs/uploads/{id}?digest={}", digest());
        Row { goes_on: true, ..at(methods, path, PUSHERS, 404, PUSH) }
    };
    match route {
        Route::Base => at(READ, "/v2/".into(), EVERYBODY, 200, ""),
        Route::Discover => at(READ, "/v2/_oci/ext/discover".into(), EVERYBODY, 200, ""),
        Route::Catalog => {
            at(READ, "/v2/_catalog".into(), &[Role::Pull, Role::Push, Role::Other], 200, "registry:catalog:*")
        }
        Route::PullManifest(_, tag) => at(READ, format!("manifests/{tag}"), PULLERS, 404, PULL),
        Route::PushManifest(_, tag) => at(&["PUT"], format!("manifests/{tag}"), PUSHERS, 400, PUSH),
        Route::DeleteManifest(_, tag) => at(&["DELETE"], format!("manifests/{tag}"), &[Role::Delete], 404, DELETE),
        Route::PullBlob(_, digest) => at(READ, format!("blobs/{digest}"), PULLERS, 404, PULL),
        Route::DeleteBlob(_, digest) => at(&["DELETE"], format!("blobs/{digest}"), &[Role::Delete], 404, DELETE),
        Route::StartUpload(_) => at(&["POST"], "blobs/uploads/".into(), PUSHERS, 202, PUSH),
        Route::UploadStatus(_, id) => session(READ, id),
        Route::AppendToUpload(_, id) => session(&["PATCH"], id),
        Route::FinishUpload(_, id) => session(&["PUT"], id),
        Route::CancelUpload(_, id) => session(&["DELETE"], id),
        Route::Tags(_) => at(READ, "tags/list".into(), PULLERS, 404, PULL),
        Route::Referrers(_, digest) => at(READ, format!("referrers/{digest}"), PULLERS, 200, PULL),
    }
}

/// What an answer came to: its status, and the `error` and `scope` of its challenge.
fn outcome(answer: &Answer) -> (u16, String, String) {
    let part = |name: &str| {
        let begin = answer.challenge().find(&format!(",{name}=\""))? + name.len() + 3;
        let rest = &answer.challenge()[begin..];
        Some(rest[..rest.find('"')?].to_owned())
    };
    let is_challenged = answer.challenge().starts_with("Bearer realm=\"http://127.0.0.1:");
    assert_eq!(answer.status == 401, is_challenged, "{} {}", answer.status, answer.challenge());
    (answer.status, part("error").unwrap_or_default(), part("scope").unwrap_or_default())
}

#[tokio::test]
async fn a5_every_route_asks_for_its_right_by_both_schemes() {
    let house = House::build().await;
    let mut seen = std::collections::BTreeSet::new();
    let mut tokens = Vec::new();
    for (_, user) in ROLES {
        tokens.push(house.token(user, EVERYTHING).await);
    }
    for row in routes().iter().map(row) {
        seen.insert(row.label);
        for method in row.methods {
            for ((role, user), token) in ROLES.into_iter().zip(&tokens) {
                let is_allowed = row.allowed.contains(&role);
                let asked = format!("{role:?}: {method} {}", row.path);
                let basic = outcome(&house.ask(method, &row.path, &With::User(user)).await);
                let bearer = outcome(&house.ask(method, &row.path, token).await);
                if is_allowed {
                    assert_eq!((basic.0, bearer.0), (row.status, row.status), "{asked}");
                } else {
                    assert_eq!(basic, (403, String::new(), String::new()), "{asked}");
                    assert_eq!(bearer, (401, "insufficient_scope".into(), row.scope.into()), "{asked}");
                }
            }
        }
    }
    assert_eq!(seen.len(), routes().len(), "each route once");
}

#[tokio::test]
async fn a5_whoever_is_nobody_gets_nowhere_on_any_route() {
    let house = House::build().await;
    let anonymous_token = house.token("anonymous", EVERYTHING).await;
    let expired = house.expired_token("pusher", EVERYTHING).await;
    let ended = house.ended_credential("pusher").await;
    let wrong = [With::Basic("pusher", "wrong".into()), With::Basic("nobody", "wrong".into())];
    let forged = match &expired {
        With::Bearer(token) => With::Bearer(format!("{token}x")),
        other => other.clone(),
    };
    for (number, row) in (1..).zip(routes().iter().map(row)) {
        // More wrong passwords from one address would be too many.
        let client = client_at(number);
        for method in row.methods {
            let ask =
                async |with: &With| outcome(&house.send_by(&client, method, &row.path, with, &[], Bytes::new()).await);
            let asked = format!("{method} {}", row.path);
            let challenged = |error: &str| (401, error.to_owned(), row.scope.to_owned());
            assert_eq!(ask(&With::Nothing).await, challenged(""), "{asked}");
            for wrong in wrong.iter().chain([&ended]) {
                assert_eq!(ask(wrong).await, challenged(""), "{asked} with {wrong:?}");
            }
            assert_eq!(ask(&forged).await, challenged("invalid_token"), "{asked}");
            let by_nobody = ask(&anonymous_token).await;
            let by_expired = ask(&expired).await;
            match (row.scope, row.goes_on) {
                ("", _) => assert_eq!((by_nobody.0, by_expired), (200, challenged("invalid_token")), "{asked}"),
                (_, true) => assert_eq!((by_nobody, by_expired.0), (challenged("insufficient_scope"), 404), "{asked}"),
                (_, false) => {
                    assert_eq!(by_nobody, challenged("insufficient_scope"), "{asked}");
                    assert_eq!(by_expired, challenged("invalid_token"), "{asked}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a5_a_token_is_worth_its_scopes_and_no_more() {
    let house = House::build().await;
    let manifest = format!("/v2/{NAME}/manifests/1");
    let (pull, push, delete) = ("repository:team/app:pull", "repository:team/app:push", "repository:team/app:delete");
    let rows: [(&str, &[&str], &str, bool); 10] = [
        ("all", &[pull], "GET", true),
        ("all", &[push], "GET", false),
        ("all", &["repository:team/other:pull"], "GET", false),
        ("all", &["repository:team/app:*"], "GET", true),
        ("all", &[], "GET", false),
        ("all", &[pull], "PUT", false),
        ("all", &[pull, push], "PUT", true),
        ("all", &[pull, push], "DELETE", false),
        ("all", &[delete], "DELETE", true),
        ("puller", &["repository:team/app:*"], "PUT", false),
    ];
    for (user, scopes, method, is_allowed) in rows {
        let token = house.token(user, scopes).await;
        let answer = house.ask(method, &manifest, &token).await;
        let asked = format!("{user} with {scopes:?}: {method}");
        if is_allowed {
            assert!(matches!(answer.status, 400 | 404), "{asked}: {}", answer.status);
        } else {
            assert_eq!((answer.status, outcome(&answer).1.as_str()), (401, "insufficient_scope"), "{asked}");
        }
    }
}

/// What an order is sent with. An order without an arm here does not compile.
fn order(route: AdminRoute) -> (&'static str, &'static str, String) {
    let named = || r#"{"reference":"127.0.0.1:9/team/app:1"}"#.to_owned();
    match route {
        AdminRoute::Stats => ("GET", "cache/stats", String::new()),
        AdminRoute::Entries => ("GET", "cache/entries", String::new()),
        AdminRoute::Pins => ("GET", "cache/pins", String::new()),
        AdminRoute::Evict => ("POST", "cache/evict", r#"{"dry_run":true}"#.to_owned()),
        AdminRoute::Pin => ("POST", "cache/pin", named()),
        AdminRoute::Unpin => ("POST", "cache/unpin", named()),
        AdminRoute::Purge => ("POST", "cache/purge", named()),
        AdminRoute::Refresh => ("POST", "cache/refresh", named()),
        AdminRoute::Warm => ("POST", "cache/warm", named()),
        AdminRoute::Explain => ("GET", "explain?reference=team/app:1", String::new()),
        AdminRoute::Tokens => ("GET", "tokens", String::new()),
        AdminRoute::CreateToken => ("POST", "tokens", r#"{"kind":"robot","name":"ci"}"#.to_owned()),
        AdminRoute::RevokeToken => ("POST", "tokens/revoke", r#"{"id":"0"}"#.to_owned()),
    }
}

#[tokio::test]
async fn a5_every_order_of_the_operator_asks_for_the_right_to_give_it() {
    let house = House::build().await;
    let ask = async |route: AdminRoute, with: &With| {
        let (method, path, body) = order(route);
        let headers = [("content-type", "application/json")];
        house.send(method, &format!("/api/v1/{path}"), with, &headers, body.into()).await
    };
    let mut by_token = Vec::new();
    for user in ["boss", "all"] {
        by_token.push(house.token(user, EVERYTHING).await);
    }
    for route in AdminRoute::ALL {
        let label = route.label();
        let nobody = ask(route, &With::Nothing).await;
        assert_eq!(outcome(&nobody), (401, String::new(), String::new()), "{label}");
        for user in ["puller", "pusher", "deleter", "other"] {
            // All actions on a part of the repositories are not those on the cache, and not those on another part.
            assert_eq!(ask(route, &With::User(user)).await.status, 403, "{label} by {user}");
        }
        for token in &by_token {
            let denied = ask(route, token).await;
            assert_eq!((denied.status, denied.code().as_str()), (403, "DENIED"), "{label}: no token administrates");
        }
        for user in ["boss", "all"] {
            let answer = ask(route, &With::User(user)).await;
            assert!(!matches!(answer.status, 401 | 403), "{label} by {user}: {} {}", answer.status, answer.message());
        }
    }
}
