//! Rules about what may be pulled through: asked before the upstream is, and of what is cached as well.

use entrepot_registry::{Patterns, PolicyAction, PolicyRule, ProxySettings};
use entrepot_testkit::{Blob, Image, StoredManifest, index};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

use super::{NAME, Port, REPOSITORY};

fn rule(name: &str, action: PolicyAction, change: impl FnOnce(&mut PolicyRule)) -> PolicyRule {
    let mut rule = PolicyRule::new(name, action);
    change(&mut rule);
    rule
}

fn deny(name: &str, change: impl FnOnce(&mut PolicyRule)) -> PolicyRule {
    rule(name, PolicyAction::Deny, change)
}

fn allow(name: &str, change: impl FnOnce(&mut PolicyRule)) -> PolicyRule {
    rule(name, PolicyAction::Allow, change)
}

fn patterns(text: &str) -> Patterns {
    Patterns::new([text]).unwrap()
}

fn settings(rules: Vec<PolicyRule>) -> ProxySettings {
    ProxySettings { rules, ..ProxySettings::default() }
}

async fn port(rules: Vec<PolicyRule>) -> Port {
    Port::under(settings(rules)).await
}

/// That an answer is the refusal by a rule.
async fn assert_refused(response: Response, rule: &str, what: &str) {
    assert_eq!(response.status(), StatusCode::FORBIDDEN, "{what}");
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let error = &body["errors"][0];
    assert_eq!((&error["code"], &error["detail"]["rule"]), (&json!("DENIED"), &json!(rule)), "{what}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&format!("{rule:?}")) && message.contains("operator"), "{what}: {message}");
}

/// An image that says when it was made, or does not.
fn dated(seed: u64, created: Option<&str>) -> Image {
    let mut image = Image::new(seed, &[100]);
    let mut config = json!({ "architecture": "amd64", "os": "linux", "seed": seed });
    if let Some(created) = created {
        config["created"] = json!(created);
    }
    image.config = Blob::new(config.to_string());
    let mut manifest: Value = serde_json::from_slice(&image.manifest.bytes).unwrap();
    manifest["config"]["digest"] = json!(image.config.digest);
    manifest["config"]["size"] = json!(image.config.size());
    image.manifest = StoredManifest::new(image.manifest.media_type.as_str(), &manifest);
    image
}

#[tokio::test]
async fn a_refused_repository_or_tag_costs_the_upstream_no_question() {
    let port = port(vec![
        deny("no-secrets", |rule| rule.repositories = patterns("secret/**")),
        deny("no-latest", |rule| rule.tags = patterns("latest")),
    ])
    .await;
    let image = Image::new(7, &[100]);
    for repository in ["secret/app", REPOSITORY] {
        image.load_into(&port.upstream, repository, "latest");
    }
    let digest = &image.layers[0].digest;
    let manifest = &image.manifest.digest;
    let paths = [
        "manifests/1".to_owned(),
        format!("manifests/{manifest}"),
        format!("blobs/{digest}"),
        "tags/list".to_owned(),
        format!("referrers/{manifest}"),
    ];
    for path in paths {
        let url = port.registry.url(&format!("/v2/proxy/{NAME}/secret/app/{path}"));
        assert_refused(port.get(url.clone()).await, "no-secrets", &path).await;
        assert_eq!(port.head(url).await.status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert_refused(port.manifest("latest").await, "no-latest", "tag").await;
    assert_eq!(port.head(port.manifest_url("latest")).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(port.upstream.requests().len(), 0);
    assert_eq!(port.manifest(manifest.as_str()).await.status(), StatusCode::OK, "no tag here leads to the digest");
}

#[tokio::test]
async fn an_allow_list_of_tags_holds_for_digests_children_and_layers() {
    let port = port(vec![allow("releases", |rule| rule.tags = patterns("v*")), deny("nothing-else", |_| {})]).await;
    let (released, other) = (Image::new(1, &[100]), Image::new(2, &[100]));
    let multi = index(&[("amd64", &released.manifest)]);
    released.load_into(&port.upstream, REPOSITORY, "released");
    other.load_into(&port.upstream, REPOSITORY, "nightly");
    multi.load_into(&port.upstream, REPOSITORY);
    port.upstream.put_tag(REPOSITORY, "v1", &multi.digest);
    // Before its tag was pulled nothing here says that the digest is a release.
    assert_refused(port.manifest(multi.digest.as_str()).await, "nothing-else", "index, before").await;
    for reference in ["v1", multi.digest.as_str(), released.manifest.digest.as_str()] {
        assert_eq!(port.manifest(reference).await.status(), StatusCode::OK, "{reference}");
    }
    for blob in released.blobs() {
        assert_eq!(port.blob(&blob.digest).await, blob.bytes);
        assert_eq!(port.head(port.blob_url(&blob.digest)).await.status(), StatusCode::OK);
    }
    port.upstream.forget_requests();
    for reference in ["nightly", "released", other.manifest.digest.as_str()] {
        assert_refused(port.manifest(reference).await, "nothing-else", reference).await;
    }
    for blob in other.blobs() {
        assert_refused(port.get(port.blob_url(&blob.digest)).await, "nothing-else", "blob").await;
    }
    assert_eq!(port.upstream.requests().len(), 0);
}

#[tokio::test]
async fn rules_apply_to_what_was_cached_before_them() {
    let (mut port, image) = Port::with_image(&[5000]).await;
    port.manifest("1").await;
    let layer = &image.layers[0];
    port.blob(&layer.digest).await;
    port.leftovers().await;
    port.registry.replace_settings(settings(vec![deny("one", |rule| rule.tags = patterns("1"))])).await;
    port.upstream.forget_requests();
    // The digest and the layer are known here as those of the tag.
    for reference in ["1", image.manifest.digest.as_str()] {
        assert_refused(port.manifest(reference).await, "one", reference).await;
    }
    let request = |method| port.registry.client.request(method, port.blob_url(&layer.digest));
    assert_refused(request(Method::GET).send().await.unwrap(), "one", "blob").await;
    assert_refused(request(Method::GET).header("range", "bytes=0-9").send().await.unwrap(), "one", "range").await;
    assert_eq!(request(Method::HEAD).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    for from in [format!("&from=proxy/{NAME}/{REPOSITORY}"), String::new()] {
        let url = format!("/v2/own/app/blobs/uploads/?mount={}{from}", layer.digest);
        let mount = port.registry.client.post(port.registry.url(&url)).send().await.unwrap();
        assert_eq!(mount.status(), StatusCode::ACCEPTED, "{from}");
    }
    assert_eq!(port.upstream.requests().len(), 0);
    // Without the rule it is all there still.
    port.registry.replace_settings(settings(Vec::new())).await;
    assert_eq!(port.blob(&layer.digest).await, layer.bytes);
    assert_eq!(port.blob_gets(), 0);
}

#[tokio::test]
async fn images_and_blobs_that_are_too_large_are_refused_by_what_the_manifest_says() {
    let port = port(vec![deny("large", |rule| rule.larger_than = Some(10_000))]).await;
    let (small, large) = (Image::new(1, &[100]), Image::new(2, &[100, 20_000]));
    small.load_into(&port.upstream, REPOSITORY, "small");
    large.load_into(&port.upstream, REPOSITORY, "large");
    assert_eq!(port.manifest("small").await.status(), StatusCode::OK);
    assert_refused(port.manifest("large").await, "large", "image").await;
    assert_refused(port.manifest(large.manifest.digest.as_str()).await, "large", "image by digest").await;
    assert_refused(port.get(port.blob_url(&large.layers[1].digest)).await, "large", "layer").await;
    assert_eq!(port.blob(&large.layers[0].digest).await, large.layers[0].bytes);
    // What no manifest names is asked for its size.
    for (size, status) in [(100, StatusCode::OK), (20_000, StatusCode::FORBIDDEN)] {
        let unnamed = Blob::random(99, size);
        port.upstream.put_blob(REPOSITORY, unnamed.bytes.clone());
        port.upstream.forget_requests();
        assert_eq!(port.get(port.blob_url(&unnamed.digest)).await.status(), status);
        assert_eq!(port.blob_gets(), usize::from(status == StatusCode::OK));
    }
}

#[tokio::test]
async fn types_are_those_of_the_manifest_and_of_its_descriptors() {
    let port = port(vec![
        deny("no-layers", |rule| rule.media_types = patterns("application/vnd.oci.image.layer.*")),
        deny("no-indexes", |rule| rule.media_types = patterns("application/vnd.oci.image.index.*")),
    ])
    .await;
    let image = Image::new(1, &[100]);
    image.load_into(&port.upstream, REPOSITORY, "1");
    let multi = index(&[("amd64", &image.manifest)]);
    multi.load_into(&port.upstream, REPOSITORY);
    assert_eq!(port.manifest("1").await.status(), StatusCode::OK);
    assert_eq!(port.blob(&image.config.digest).await, image.config.bytes);
    assert_refused(port.get(port.blob_url(&image.layers[0].digest)).await, "no-layers", "layer").await;
    assert_refused(port.manifest(multi.digest.as_str()).await, "no-indexes", "index").await;
}

#[tokio::test]
async fn the_age_of_an_image_is_the_one_in_its_configuration_and_without_one_it_is_young() {
    let week = Duration::from_hours(7 * 24);
    let port = port(vec![deny("fresh", |rule| rule.younger_than = Some(week))]).await;
    let (old, future, undated) =
        (dated(1, Some("2020-01-01T00:00:00Z")), dated(2, Some("2999-01-01T00:00:00Z")), dated(3, None));
    for (tag, image) in [("old", &old), ("future", &future), ("undated", &undated)] {
        image.load_into(&port.upstream, REPOSITORY, tag);
    }
    for (tag, image) in [("future", &future), ("undated", &undated)] {
        assert_refused(port.manifest(tag).await, "fresh", tag).await;
        assert_refused(port.manifest(image.manifest.digest.as_str()).await, "fresh", tag).await;
        assert_refused(port.get(port.blob_url(&image.layers[0].digest)).await, "fresh", tag).await;
    }
    assert_eq!(port.manifest("old").await.status(), StatusCode::OK);
    assert_eq!(port.blob(&old.layers[0].digest).await, old.layers[0].bytes);
    // The configuration was fetched to be judged; the client has it from the cache.
    let before = port.blob_gets();
    assert_eq!(port.blob(&old.config.digest).await, old.config.bytes);
    assert_eq!(port.blob_gets(), before);
    // An index without a date leaves it to its images; one with a date has its own.
    let multi = index(&[("amd64", &old.manifest), ("arm64", &future.manifest)]);
    multi.load_into(&port.upstream, REPOSITORY);
    port.upstream.put_tag(REPOSITORY, "multi", &multi.digest);
    assert_eq!(port.manifest("multi").await.status(), StatusCode::OK);
    let mut document: Value = serde_json::from_slice(&multi.bytes).unwrap();
    document["annotations"] = json!({ "org.opencontainers.image.created": "2999-01-01T00:00:00Z" });
    let young = StoredManifest::new(multi.media_type.as_str(), &document);
    young.load_into(&port.upstream, REPOSITORY);
    assert_refused(port.manifest(young.digest.as_str()).await, "fresh", "dated index").await;
}

#[tokio::test]
async fn an_age_that_cannot_be_found_out_lets_nothing_pass() {
    let port = port(vec![deny("fresh", |rule| rule.younger_than = Some(Duration::from_hours(1)))]).await;
    let old = dated(1, Some("2020-01-01T00:00:00Z"));
    old.load_into(&port.upstream, REPOSITORY, "old");
    port.upstream.when(entrepot_testkit::Seen::is_blob).reply(|_| entrepot_testkit::Reply::new(503));
    assert_eq!(port.manifest("old").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    port.upstream.heal();
    port.upstream.when(entrepot_testkit::Seen::is_blob).reply(entrepot_testkit::Reply::wrong_bytes);
    assert_eq!(port.manifest("old").await.status(), StatusCode::BAD_GATEWAY);
    port.upstream.heal();
    assert_eq!(port.manifest("old").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_rule_that_only_logs_is_counted_and_refuses_nothing() {
    let port = port(vec![
        deny("trial", |rule| {
            rule.larger_than = Some(10);
            rule.is_log_only = true;
        }),
        deny("real", |rule| rule.tags = patterns("2")),
    ])
    .await;
    let image = Image::new(1, &[100]);
    image.load_into(&port.upstream, REPOSITORY, "1");
    assert_eq!(port.manifest("1").await.status(), StatusCode::OK);
    assert_refused(port.manifest("2").await, "real", "tag").await;
    let metrics = port.registry.metrics().await;
    for line in ["policy_would_deny_total 1", "policy_denied_total 1"] {
        assert!(metrics.lines().any(|found| found.ends_with(line)), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn refused_tags_are_not_listed_and_pages_are_filled_without_them() {
    let port = port(vec![deny("no-nightlies", |rule| rule.tags = patterns("n*"))]).await;
    let image = Image::new(1, &[100]);
    for tag in ["a", "n1", "n2", "n3", "z"] {
        image.load_into(&port.upstream, REPOSITORY, tag);
    }
    let list = async |query: &str| -> (Value, bool) {
        let url = port.registry.url(&format!("/v2/proxy/{NAME}/{REPOSITORY}/tags/list{query}"));
        let response = port.get(url).await;
        let has_more = response.headers().contains_key("link");
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        (body["tags"].clone(), has_more)
    };
    assert_eq!(list("").await, (json!(["a", "z"]), false));
    assert_eq!(list("?n=2").await, (json!(["a", "z"]), false));
    assert_eq!(list("?n=1").await, (json!(["a"]), true));
    assert_eq!(list("?n=1&last=a").await, (json!(["z"]), false));
    assert_eq!(list("?n=0").await, (json!([]), false));
}
