//! The operator's API: what it refuses, and how.

use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::support::Running;

async fn refused(response: Response, status: u16, code: &str, words: &str) {
    let asked = response.url().to_string();
    assert_eq!(response.status().as_u16(), status, "{asked}");
    assert_eq!(response.headers()["content-type"], "application/json", "{asked}");
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(body["errors"][0]["code"], code, "{asked}");
    let message = body["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains(words) && message.contains(" (request "), "{asked}: {message}");
}

const CHANGES: [&str; 6] = ["cache/pin", "cache/unpin", "cache/evict", "cache/purge", "cache/refresh", "cache/warm"];

#[tokio::test]
async fn a_web_page_cannot_change_anything() {
    // What a page of another site can make a browser send without asking us first.
    let registry = Running::start().await;
    for path in CHANGES {
        for content_type in
            [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("multipart/form-data")]
        {
            let post = registry.client.post(registry.url(&format!("/api/v1/{path}"))).body("{}");
            let post = content_type.into_iter().fold(post, |post, text| post.header("content-type", text));
            refused(post.send().await.unwrap(), 415, "UNSUPPORTED", "application/json").await;
        }
        let asking = registry.client.request(reqwest::Method::OPTIONS, registry.url(&format!("/api/v1/{path}")));
        let asking = asking.header("origin", "https://elsewhere.example").send().await.unwrap();
        assert!(!asking.headers().contains_key("access-control-allow-origin"));
        refused(asking, 405, "UNSUPPORTED", "POST").await;
    }
}

#[tokio::test]
async fn what_is_not_known_is_refused() {
    let registry = Running::start().await;
    let get = async |path: &str| registry.client.get(registry.url(path)).send().await.unwrap();
    let post = async |path: &str, body: &str| {
        let post = registry.client.post(registry.url(&format!("/api/v1/{path}"))).body(body.to_owned());
        post.header("content-type", "application/json; charset=utf-8").send().await.unwrap()
    };
    for path in ["/api/v1/", "/api/v1/cache", "/api/v1/cache/stats/", "/api/v2/cache/stats", "/api/"] {
        refused(get(path).await, 404, "UNSUPPORTED", "nothing at this path").await;
    }
    refused(get("/api/v1/cache/pin").await, 405, "UNSUPPORTED", "POST").await;
    refused(get("/api/v1/cache/stats?verbose=1").await, 400, "UNSUPPORTED", "\"verbose\" is no parameter").await;
    refused(get("/api/v1/cache/entries?repo=x").await, 400, "UNSUPPORTED", "there are repository, last, n").await;
    refused(get("/api/v1/cache/entries?n=0").await, 400, "PAGINATION_NUMBER_INVALID", "from 1 on").await;
    refused(get("/api/v1/cache/entries?last=x").await, 400, "UNSUPPORTED", "link to the next page").await;
    refused(get("/api/v1/cache/entries?repository=redis").await, 400, "NAME_INVALID", "the registry is missing").await;
    for path in CHANGES {
        refused(post(path, "").await, 400, "UNSUPPORTED", "the body is not").await;
        refused(post(path, r#"{"reference":"ghcr.io/a:1","dry-run":true}"#).await, 400, "UNSUPPORTED", "unknown field")
            .await;
        refused(post(path, &" ".repeat(20_000)).await, 413, "SIZE_INVALID", "larger").await;
    }
    refused(post("cache/evict", r#"{"down_to":-1}"#).await, 400, "UNSUPPORTED", "the body is not").await;
    for path in ["cache/pin", "cache/unpin", "cache/purge", "cache/refresh", "cache/warm"] {
        refused(post(path, r#"{"reference":"redis:7"}"#).await, 400, "NAME_INVALID", "docker.io/library/redis:7").await;
        refused(post(path, r#"{"reference":"proxy/nothing/a:1"}"#).await, 404, "NAME_UNKNOWN", "proxy.upstream").await;
    }
    let warm = r#"{"reference":"ghcr.io/a:1","platforms":["linux"]}"#;
    refused(post("cache/warm", warm).await, 400, "UNSUPPORTED", "linux/arm64").await;
}

#[tokio::test]
async fn answers_are_never_kept_by_a_cache_in_between() {
    let registry = Running::start().await;
    let response = registry.client.get(registry.url("/api/v1/cache/stats?x")).send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["cache-control"]),
        (StatusCode::BAD_REQUEST, &"no-store".parse().unwrap())
    );
}
