//! The cache as its operator works it, over the administrative API.

use std::time::Duration;

use entrepot_registry::{Freshness, Patterns, PolicyAction, PolicyRule, ProxySettings};
use entrepot_testkit::{Auth, Gate, Image, Seen};
use entrepot_upstream::UpstreamConfig;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::{NAME, Port, REPOSITORY, header};

impl Port {
    async fn read(&self, path: &str) -> Value {
        let response = self.get(self.registry.url(path)).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    async fn order(&self, path: &str, body: &Value) -> Response {
        let post = self.registry.client.post(self.registry.url(&format!("/api/v1/cache/{path}")));
        post.header("content-type", "application/json").body(body.to_string()).send().await.unwrap()
    }

    async fn carry_out(&self, path: &str, body: &Value) -> Value {
        let response = self.order(path, body).await;
        let status = response.status();
        let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
        answer
    }

    /// The name of the repository in the cache: the address of the upstream, not its name.
    fn cached_name(&self) -> String {
        format!("proxy/{}/{REPOSITORY}", self.upstream.address().to_string().replace(':', "__"))
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_image_is_fetched_before_anybody_pulls_it() {
    let (port, image) = Port::with_image(&[50_000, 10]).await;
    let response = port.order("warm", &json!({ "reference": format!("{NAME}:80/{REPOSITORY}:1") })).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND, "on that port there is another registry, or none");
    let response = port.order("warm", &json!({ "reference": format!("proxy/{NAME}/{REPOSITORY}:1") })).await;
    assert_eq!((response.status(), header(&response, "content-type")), (StatusCode::OK, "application/x-ndjson"));
    let events = lines(&response.text().await.unwrap());
    assert_eq!(events[0]["event"], "manifest");
    assert_eq!(events[0]["digest"], image.manifest.digest.as_str());
    let done = events.last().unwrap();
    let bytes: u64 = image.blobs().map(entrepot_testkit::Blob::size).sum();
    assert_eq!(*done, json!({ "event": "done", "manifests": 1, "blobs": 3, "bytes": bytes, "failures": 0 }));
    port.leftovers().await;
    port.upstream.stop().await;
    for blob in image.blobs() {
        assert_eq!(port.blob(&blob.digest).await, blob.bytes);
    }
}

#[tokio::test]
async fn events_arrive_as_they_happen() {
    let (port, image) = Port::with_image(&[10]).await;
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(Seen::is_blob).reply(move |honest| honest.silent(&held));
    let mut response = port.order("warm", &json!({ "reference": format!("proxy/{NAME}/{REPOSITORY}:1") })).await;
    let first = response.chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).contains(image.manifest.digest.as_str()), "before any blob has come");
    gate.open();
    let rest = response.text().await.unwrap();
    assert_eq!(lines(&rest).last().unwrap()["event"], "done");
}

#[tokio::test]
async fn what_is_kept_is_listed_and_what_is_pinned_outlasts_everything_else() {
    let (port, first) = Port::with_image(&[1000]).await;
    let second = Image::new(8, &[2000]);
    second.load_into(&port.upstream, REPOSITORY, "2");
    for (tag, image) in [("1", &first), ("2", &second)] {
        port.manifest(tag).await;
        for blob in image.blobs() {
            port.blob(&blob.digest).await;
        }
    }
    port.leftovers().await;
    let stats = port.read("/api/v1/cache/stats").await;
    assert_eq!((&stats["manifests"], &stats["fills"], &stats["size_max"]), (&json!(2), &json!(0), &Value::Null));
    // Page by page, and of one repository however it is spelled.
    let mut next = format!("/api/v1/cache/entries?n=1&repository={}", port.upstream.address());
    next.push_str("%2Fteam%2Fapp");
    let mut entries = Vec::new();
    loop {
        let response = port.get(port.registry.url(&next)).await;
        let link = header(&response, "link").to_owned();
        let page: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        entries.extend(page["entries"].as_array().unwrap().clone());
        let Some(target) = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")) else { break };
        target.clone_into(&mut next);
    }
    let listed: Vec<_> = entries.iter().map(|entry| (entry["repository"].clone(), entry["tags"].clone())).collect();
    let name = port.cached_name();
    assert_eq!(listed.len(), 2, "{entries:?}");
    for tag in ["1", "2"] {
        assert!(listed.contains(&(json!(name), json!([tag]))), "{entries:?}");
    }

    let reference = json!({ "reference": format!("proxy/{NAME}/{REPOSITORY}:1") });
    assert_eq!(port.carry_out("pin", &reference).await["is_pinned"], true);
    let pins = port.read("/api/v1/cache/pins").await;
    assert_eq!((&pins["pins"][0]["repository"], &pins["pins"][0]["reference"]), (&json!(name), &json!("1")));
    assert_eq!(port.order("purge", &reference).await.status(), StatusCode::CONFLICT);

    let would = port.carry_out("evict", &json!({ "down_to": 0, "dry_run": true })).await;
    assert_eq!((&would["dry_run"], &would["count"]), (&json!(true), &json!(1)), "{would}");
    assert_eq!(port.read("/api/v1/cache/stats").await, stats, "nothing went");
    let went = port.carry_out("evict", &json!({ "down_to": 0 })).await;
    assert_eq!((&went["dry_run"], &went["freed"]), (&json!(false), &would["freed"]));
    assert_eq!(went["entries"][0]["tags"], json!(["2"]));
    let left = port.read("/api/v1/cache/entries").await;
    assert_eq!(left["entries"].as_array().unwrap().len(), 1, "{left}");

    assert_eq!(port.carry_out("unpin", &reference).await["was_pinned"], true);
    assert_eq!(port.carry_out("unpin", &reference).await["was_pinned"], false);
    assert_eq!(port.carry_out("purge", &reference).await["count"], 1);
    assert_eq!(port.read("/api/v1/cache/stats").await["manifests"], 0);
    let again = port.order("purge", &reference).await;
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_refresh_asks_at_once_and_says_what_it_found() {
    let (port, first) = Port::with_image(&[10]).await;
    port.manifest("1").await;
    let second = Image::new(8, &[20]);
    second.load_into(&port.upstream, REPOSITORY, "1");
    let found = port.carry_out("refresh", &json!({ "reference": format!("proxy/{NAME}/{REPOSITORY}:1") })).await;
    let digests = (&first.manifest.digest, &second.manifest.digest);
    assert_eq!((&found["before"], &found["after"]), (&json!(digests.0), &json!(digests.1)));
    assert_eq!(port.manifest("1").await.bytes().await.unwrap(), second.manifest.bytes);
}

#[tokio::test]
async fn an_explanation_says_what_a_pull_would_do_and_does_not_pull() {
    let (port, image) = Port::with_image(&[1000]).await;
    let digest = image.manifest.digest.as_str();
    let path = format!("/api/v1/explain?reference=proxy/{NAME}/{REPOSITORY}:1");
    let cold = port.read(&path).await;
    assert!(cold["outlook"].as_str().unwrap().contains("fetched"), "{cold}");
    assert_eq!((&cold["here"], &cold["there"]), (&Value::Null, &digest.into()));
    assert_eq!(cold["rule"]["verdict"], "allowed");
    assert_eq!(cold["upstream"]["address"], port.upstream.url());
    assert_eq!(cold["handshake"]["steps"], json!([format!("GET {}/v2/: 200", port.upstream.url())]));
    assert_eq!(port.upstream.count(|seen| seen.is_get() && seen.is_manifest()), 0, "nothing is pulled");
    port.manifest("1").await;
    let fresh = port.read(&path).await;
    assert!(fresh["outlook"].as_str().unwrap().contains("is not asked"), "{fresh}");
    assert_eq!(fresh["here"]["digest"], digest);
    assert_eq!((&fresh["here"]["blobs"], &fresh["here"]["blobs_named"]), (&0.into(), &2.into()));
    assert_eq!(fresh["here"]["freshness"]["fresh_for"], 60);
    port.upstream.stop().await;
    let away = port.read(&path).await;
    assert!(away["there"].as_str().unwrap().contains("cannot be reached"), "{away}");
    let other = port.read(&path.replace(":1", ":2")).await;
    assert!(other["outlook"].as_str().unwrap().starts_with("it fails"), "{other}");
    let own = port.read("/api/v1/explain?reference=team/nothing:1").await;
    assert!(own["outlook"].as_str().unwrap().contains("no repository team/nothing"), "{own}");
}

#[tokio::test]
async fn an_explanation_of_a_due_tag_says_where_it_has_moved_and_masks_the_password() {
    let freshness = Freshness { fresh_for: Some(Duration::ZERO), ..Freshness::default() };
    let settings = ProxySettings { freshness, ..ProxySettings::default() };
    let account = |config: &mut UpstreamConfig| {
        config.username = Some("robot".into());
        config.password = Some("hidden".into());
    };
    let port = Port::open_with(account, settings).await;
    port.upstream.set_auth(Auth::bearer("robot", "hidden"));
    Image::new(7, &[10]).load_into(&port.upstream, REPOSITORY, "1");
    port.manifest("1").await;
    let moved = Image::new(8, &[10]);
    moved.load_into(&port.upstream, REPOSITORY, "1");
    let explained = port.read(&format!("/api/v1/explain?reference=proxy/{NAME}/{REPOSITORY}:1")).await;
    let outlook = explained["outlook"].as_str().unwrap();
    assert!(outlook.contains("moved") && outlook.contains(moved.manifest.digest.as_str()), "{outlook}");
    assert_eq!(explained["handshake"]["account"], "robot, password ***");
    let steps = explained["handshake"]["steps"].to_string();
    assert!(steps.contains("wants a token from") && !explained.to_string().contains("hidden"), "{explained}");
}

#[tokio::test]
async fn an_explanation_names_the_rule_that_refuses_and_asks_nobody() {
    let tags = Patterns::new(["1"]).unwrap();
    let rule = PolicyRule { tags, ..PolicyRule::new("no latest", PolicyAction::Deny) };
    let port = Port::under(ProxySettings { rules: vec![rule], ..ProxySettings::default() }).await;
    let explained = port.read(&format!("/api/v1/explain?reference=proxy/{NAME}/{REPOSITORY}:1")).await;
    assert_eq!((&explained["rule"]["verdict"], &explained["rule"]["rule"]), (&"refused".into(), &"no latest".into()));
    assert!(explained["outlook"].as_str().unwrap().starts_with("403"), "{explained}");
    assert_eq!(port.upstream.connections(), 0);
}
