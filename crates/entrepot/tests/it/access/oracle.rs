//! A15, A16: what somebody may not know of looks like what is not there.

use bytes::Bytes;
use entrepot_access::Anonymous;
use entrepot_testkit::Image;
use serde_json::{Value, json};

use super::setup::{Answer, House, With, blueprint, rule, rules};
use crate::support::Setup;

/// Everything of an answer but what belongs to the one request, with the name taken out.
fn look(answer: &Answer, name: &str) -> (u16, Vec<(String, String)>, Value) {
    let plain = |text: &str| {
        let text = text.replace(name, "NAME");
        text.split(" (request ").next().unwrap_or_default().to_owned()
    };
    let headers =
        answer.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "date" | "x-request-id" | "content-length"));
    let mut headers: Vec<(String, String)> =
        headers.map(|(name, value)| (name.to_string(), plain(value.to_str().unwrap()))).collect();
    // The id of the request is in the body, and ids grow.
    let length: usize = answer.header("content-length").parse().unwrap();
    headers.push(("content-length".to_owned(), (length - answer.header("x-request-id").len()).to_string()));
    headers.sort();
    let mut body: Value = serde_json::from_str(&String::from_utf8_lossy(&answer.body).replace(name, "NAME"))
        .unwrap_or_else(|_| String::from_utf8_lossy(&answer.body).into());
    if let Some(message) = body["errors"][0]["message"].as_str().map(plain) {
        body["errors"][0]["message"] = message.into();
    }
    (answer.status, headers, body)
}

#[tokio::test]
async fn a15_what_is_private_and_what_is_missing_are_the_same_to_the_last_byte() {
    let house = House::build().await;
    let image = Image::new(1, &[1000]);
    house.push("team/secret", "1", &image, &With::User("pusher")).await;
    let started = house.ask("POST", "/v2/team/secret/blobs/uploads/", &With::User("pusher")).await;
    let session = started.header("location").rsplit('/').next().unwrap().to_owned();
    let (layer, manifest) = (&image.layers[0].digest, &image.manifest.digest);
    let requests = [
        ("GET", "manifests/1".to_owned()),
        ("HEAD", "manifests/1".to_owned()),
        ("GET", format!("manifests/{manifest}")),
        ("PUT", "manifests/1".to_owned()),
        ("DELETE", "manifests/1".to_owned()),
        ("DELETE", format!("manifests/{manifest}")),
        ("GET", format!("blobs/{layer}")),
        ("HEAD", format!("blobs/{layer}")),
        ("DELETE", format!("blobs/{layer}")),
        ("POST", "blobs/uploads/".to_owned()),
        ("POST", format!("blobs/uploads/?mount={layer}&from=team/source")),
        ("GET", format!("blobs/uploads/{session}")),
        ("PATCH", format!("blobs/uploads/{session}")),
        ("PUT", format!("blobs/uploads/{session}?digest={layer}")),
        ("DELETE", format!("blobs/uploads/{session}")),
        ("GET", "tags/list".to_owned()),
        ("GET", format!("referrers/{manifest}")),
    ];
    let callers = [
        With::Nothing,
        With::User("other"),
        house.token("other", &["repository:other/app:*"]).await,
        house.token("other", &["repository:team/secret:*", "repository:team/absent:*"]).await,
        house.token("anonymous", &[]).await,
    ];
    for caller in &callers {
        for (method, path) in &requests {
            let ask = async |name: &'static str| {
                let answer = house.ask(method, &format!("/v2/{name}/{path}"), caller).await;
                assert!(matches!(answer.status, 401 | 403), "{caller:?} {method} {path}: {}", answer.status);
                look(&answer, name)
            };
            assert_eq!(ask("team/secret").await, ask("team/absent").await, "{caller:?}: {method} {path}");
        }
    }
    // It was there all the time.
    assert_eq!(house.ask("GET", "/v2/team/secret/manifests/1", &With::User("puller")).await.status, 200);
}

#[tokio::test]
async fn a15_where_everybody_may_pull_what_is_there_only_what_is_not_is_missing() {
    let setup = Setup { access: Some(blueprint(Anonymous::Pull, rules())), ..Setup::default() };
    let house = House::with(setup).await;
    house.push("team/app", "1", &Image::new(1, &[10]), &With::User("pusher")).await;
    let token = house.token("anonymous", &["repository:team/app:pull", "repository:team/absent:pull"]).await;
    for with in [&With::Nothing, &token, &With::User("other")] {
        assert_eq!(house.ask("GET", "/v2/team/app/manifests/1", with).await.status, 200);
        assert_eq!(house.ask("GET", "/v2/team/absent/manifests/1", with).await.status, 404);
    }
    // Clients learn here only where there are tokens, though everything may be pulled.
    let answer = house.ask("GET", "/v2/", &With::Nothing).await;
    assert_eq!((answer.status, answer.challenge().contains("scope=")), (401, false));
    assert!(answer.challenge().ends_with(&format!(r#"/token",service="{}""#, super::setup::SERVICE)));
    let answer = house.ask("PUT", "/v2/team/app/manifests/1", &With::Nothing).await;
    assert_eq!(answer.status, 401);
    assert!(answer.challenge().ends_with(r#",scope="repository:team/app:pull,push""#), "{}", answer.challenge());
}

#[tokio::test]
async fn a16_the_list_of_repositories_has_those_that_may_be_pulled() {
    let mut rules = rules();
    rules.push(rule("boss", &["team/app"], "pull,catalog"));
    let house = House::with(Setup { access: Some(blueprint(Anonymous::None, rules)), ..Setup::default() }).await;
    let image = Image::new(1, &[10]);
    for name in ["other/app", "team/app", "team/secret"] {
        house.push(name, "1", &image, &With::User("all")).await;
    }
    let list = async |path: &str, with: &With| house.ask("GET", path, with).await.json()["repositories"].clone();
    let catalog = "/v2/_catalog";
    assert_eq!(list(catalog, &With::User("all")).await, json!(["other/app", "team/app", "team/secret"]));
    assert_eq!(list(catalog, &With::User("puller")).await, json!(["team/app", "team/secret"]));
    assert_eq!(list(catalog, &With::User("other")).await, json!(["other/app"]));
    assert_eq!(list(catalog, &With::User("boss")).await, json!(["team/app"]));
    // A token for the list is one for what its holder may pull, though it cannot pull it.
    let token = house.token("puller", &["registry:catalog:*"]).await;
    assert_eq!(list(catalog, &token).await, json!(["team/app", "team/secret"]));
    assert_eq!(house.ask("GET", "/v2/team/app/tags/list", &token).await.status, 401);
    // Pages are filled with what may be seen, and the link betrays nothing else.
    let page = house.ask("GET", "/v2/_catalog?n=1", &With::User("puller")).await;
    assert_eq!(page.json()["repositories"], json!(["team/app"]));
    assert!(page.header("link").contains("last=team%2Fapp"), "{}", page.header("link"));
    assert_eq!(list("/v2/_catalog?n=1&last=team/app", &With::User("puller")).await, json!(["team/secret"]));
    for path in [catalog, "/v2/_catalog?n=1", "/v2/_catalog?ns=docker.io", "/proxy/docker.io/v2/_catalog"] {
        assert_eq!(house.ask("GET", path, &With::Nothing).await.status, 401, "{path}");
        assert_eq!(house.ask("GET", path, &With::User("deleter")).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn a16_no_spelling_of_a_path_is_a_way_around() {
    let house = House::build().await;
    let image = Image::new(1, &[1000]);
    house.push("team/secret", "1", &image, &With::User("pusher")).await;
    let blob = &image.layers[0].digest;
    let own = house.registry.address;
    let spellings = [
        "/v2//team/secret/manifests/1".to_owned(),
        "/v2/team//secret/manifests/1".to_owned(),
        "//v2/team/secret/manifests/1".to_owned(),
        "/v2/team/secret/manifests/1/".to_owned(),
        "/v2/team%2Fsecret/manifests/1".to_owned(),
        "/v2/TEAM/secret/manifests/1".to_owned(),
        "/v2/other/../team/secret/manifests/1".to_owned(),
        "/v2/other/%2e%2e/team/secret/manifests/1".to_owned(),
        "/v2/team/%73ecret/manifests/1".to_owned(),
        "/v2/team/secret/manifests/1?ns=".to_owned(),
        format!("/v2/team/secret/manifests/1?ns={own}"),
        "/v2/team/secret/manifests/1?ns=docker.io".to_owned(),
        format!("/v2/team/secret/blobs/{blob}?ns={own}"),
        format!("/proxy/{own}/v2/team/secret/manifests/1"),
        format!("/proxy/docker.io/v2/team/secret/blobs/{blob}"),
        "/v2/proxy/team/secret/manifests/1".to_owned(),
        "/v2/search".to_owned(),
        "/v2/team/secret".to_owned(),
        "/v2/team/secret/_manifest".to_owned(),
        "/api/v1/cache/stats".to_owned(),
        "/api/v1/explain?reference=team/secret:1".to_owned(),
        "/api/v1/team".to_owned(),
        "/metrics".to_owned(),
    ];
    for path in &spellings {
        for with in [&With::Nothing, &With::User("other")] {
            let answer = house.ask("GET", path, with).await;
            let is_nothing = matches!(answer.status, 400 | 401 | 403 | 404);
            assert!(is_nothing && answer.body.len() < 1000, "{with:?} {path}: {}", answer.status);
            assert_ne!(answer.body, image.layers[0].bytes);
        }
    }
}

#[tokio::test]
async fn a16_nothing_is_asked_of_somebody_where_everybody_may_everything() {
    let house = House::with(Setup::default()).await;
    for with in [&With::Nothing, &With::User("nobody"), &With::Bearer("old".into()), &With::Basic("a", String::new())] {
        for (method, path, status) in
            [("GET", "/v2/", 200), ("POST", "/v2/team/app/blobs/uploads/", 202), ("GET", "/api/v1/cache/stats", 200)]
        {
            let answer = house.send(method, path, with, &[], Bytes::new()).await;
            assert_eq!((answer.status, answer.challenge()), (status, ""), "{with:?} {method} {path}");
        }
    }
}
