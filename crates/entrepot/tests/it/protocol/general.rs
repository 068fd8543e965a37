//! General rules: the endpoints, errors, methods, and what HTTP demands of all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use entrepot_registry::{Freshness, Limits, ProxySettings};
use entrepot_testkit::{FakeUpstream, Image};
use entrepot_upstream::UpstreamConfig;

use super::exchange::Answer;
use super::trial::Trial;
use super::wire::Wire;
use crate::support::{Running, Setup};

rules! {
    "G1" "every endpoint of pull, push, discovery and management exists" => every_endpoint_exists;
    "G2" "/v2/ answers 200 to GET and HEAD, with and without its last slash" => the_base_answers;
    "G3" "an error has a JSON body with a list of errors" => every_refusal_has_its_code;
    "G4" "the code of an error is one of the list and fits what happened" => every_refusal_has_its_code_also_by_head;
    "G5" "a 429 says by Retry-After when to come back, and nothing was started" => too_many_uploads;
    "G6" "a Warning is 299 with a quoted text, and short" => warnings_have_one_form;
    "G8" "a POST to blobs/uploads without the last slash is served, not redirected" => no_slash_is_no_redirect;
    "G10" "a method that a path does not have is answered with 405 and Allow" => methods_are_refused_with_allow;
    "G10" "HEAD answers with the headers of GET and without its body" => head_is_get_without_a_body;
    "G11" "also an answer that never reached a route carries the API's version" => malformed_requests_are_answered;
    "cat" "the catalog is there" => the_catalog_is_there;
    "ext" "extensions can be discovered, at the root and below a repository" => extensions_can_be_discovered;
}

/// A well-formed digest of nothing that anybody has.
const NOBODYS: &str = "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";
/// A well-formed session id that never was.
const NO_SESSION: &str = "blobs/uploads/0123456789abcdef0123456789abcdef";

async fn every_endpoint_exists(trial: Trial) {
    let rows = [
        ("GET", "/v2/".to_owned()),
        ("GET", format!("blobs/{NOBODYS}")),
        ("HEAD", format!("blobs/{NOBODYS}")),
        ("GET", "manifests/1".to_owned()),
        ("HEAD", format!("manifests/{NOBODYS}")),
        ("POST", "blobs/uploads/".to_owned()),
        ("GET", NO_SESSION.to_owned()),
        ("PATCH", NO_SESSION.to_owned()),
        ("PUT", format!("{NO_SESSION}?digest={NOBODYS}")),
        ("DELETE", NO_SESSION.to_owned()),
        ("PUT", "manifests/1".to_owned()),
        ("DELETE", "manifests/1".to_owned()),
        ("DELETE", format!("manifests/{NOBODYS}")),
        ("DELETE", format!("blobs/{NOBODYS}")),
        ("GET", "tags/list".to_owned()),
        ("GET", format!("referrers/{NOBODYS}")),
    ];
    for (method, path) in rows {
        let answer = trial.ask(method, &path).await;
        let is_there = answer.status != 405 && !String::from_utf8_lossy(&answer.body).contains("UNSUPPORTED");
        answer.must(is_there, "the endpoint exists");
    }
}

async fn the_base_answers(trial: Trial) {
    for path in ["/v2/", "/v2"] {
        trial.get(path).await.expect(200).has("content-type", "application/json").is("{}");
        trial.head(path).await.expect(200).has("content-length", "2");
    }
}

/// Requests that are refused, with status and code.
fn refusals() -> Vec<(&'static str, String, u16, &'static str)> {
    let absent = "/v2/rule/nobodys";
    vec![
        ("GET", "/v2/_nothing".to_owned(), 404, "UNSUPPORTED"),
        ("GET", "/v2/a".to_owned(), 404, "UNSUPPORTED"),
        ("GET", format!("{absent}/tags/list"), 404, "NAME_UNKNOWN"),
        ("GET", format!("{absent}/manifests/1"), 404, "NAME_UNKNOWN"),
        ("GET", "/v2/Upper/tags/list".to_owned(), 400, "NAME_INVALID"),
        ("PUT", "/v2/a..b/manifests/1".to_owned(), 400, "NAME_INVALID"),
        ("GET", "manifests/absent".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("GET", "manifests/sha256:short".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("PUT", "manifests/sha256:short".to_owned(), 400, "DIGEST_INVALID"),
        ("PUT", "manifests/1".to_owned(), 400, "MANIFEST_INVALID"),
        ("GET", format!("blobs/{NOBODYS}"), 404, "BLOB_UNKNOWN"),
        ("GET", NO_SESSION.to_owned(), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("POST", "blobs/uploads/?digest=sha256:short".to_owned(), 400, "DIGEST_INVALID"),
        ("GET", "tags/list?n=many".to_owned(), 400, "PAGINATION_NUMBER_INVALID"),
        ("GET", "referrers/short".to_owned(), 400, "DIGEST_INVALID"),
        ("POST", "tags/list".to_owned(), 405, "UNSUPPORTED"),
    ]
}

async fn every_refusal_has_its_code(trial: Trial) {
    trial.start().await;
    for (method, path, status, code) in refusals() {
        let answer = trial.ask(method, &path).await;
        answer.refused(status, code);
        let body = answer.json();
        answer.must(body["errors"][0]["message"].as_str().is_some_and(|text| text.len() > 10), "it says what to do");
    }
}

async fn every_refusal_has_its_code_also_by_head(trial: Trial) {
    trial.start().await;
    for (method, path, status, _) in refusals() {
        if method == "GET" {
            trial.head(&path).await.expect(status);
        }
    }
}

async fn too_many_uploads(trial: Trial) {
    let limits = Limits { uploads_per_repository_max: 2, ..Limits::default() };
    let running = Running::with(Setup { limits: Some(limits), ..Setup::default() }).await;
    let trial = trial.on(&running);
    let first = trial.start().await;
    trial.start().await;
    trial.post("blobs/uploads/").await.refused(429, "TOOMANYREQUESTS").lacks("location");
    trial.beside("other").start().await;
    trial.delete(&first).await.expect(204);
    trial.start().await;
    trial.post("blobs/uploads/").await.refused(429, "TOOMANYREQUESTS");
}

async fn warnings_have_one_form(trial: Trial) {
    let upstream = FakeUpstream::start().await;
    let image = Image::new(1, &[10]);
    image.load_into(&upstream, "team/app", "1");
    let config = UpstreamConfig::new("upstream.test", upstream.url().parse().unwrap());
    // No tag is believed without asking: the second pull has to find out that nobody answers.
    let freshness = Freshness { fresh_for: Some(Duration::ZERO), ..Freshness::default() };
    let settings = ProxySettings { freshness, ..ProxySettings::default() };
    let running = Running::with(Setup { upstreams: vec![config], settings, ..Setup::default() }).await;
    let proxied = trial.on(&running).named("proxy/upstream.test/team/app");
    proxied.get("manifests/1").await.expect(200).lacks("warning").is(&image.manifest.bytes);
    upstream.stop().await;
    let answer = proxied.get("manifests/1").await;
    answer.expect(200).is(&image.manifest.bytes);
    // The form itself is checked of every answer.
    let warnings: Vec<_> = answer.headers.get_all("warning").iter().collect();
    answer.must(warnings.len() == 1 && warnings[0].len() < 4096, "there is one short warning");
}

async fn no_slash_is_no_redirect(trial: Trial) {
    let location = trial.post("blobs/uploads").await.expect(202).location();
    trial.get(&location).await.expect(204);
    let blob = trial.blob(1, 10);
    trial.post(&format!("blobs/uploads?digest={}", blob.digest)).body(blob.bytes.clone()).await.expect(201);
    trial.holds_blob(&blob.digest, &blob.bytes).await;
}

async fn methods_are_refused_with_allow(trial: Trial) {
    let (manifest, blob, referrers) = ("manifests/1", format!("blobs/{NOBODYS}"), format!("referrers/{NOBODYS}"));
    let rows: [(&str, &str); 9] = [
        ("/v2/", "GET, HEAD"),
        ("/v2/_catalog", "GET, HEAD"),
        ("/v2/_oci/ext/discover", "GET, HEAD"),
        (manifest, "GET, HEAD, PUT, DELETE"),
        (&blob, "GET, HEAD, DELETE"),
        ("blobs/uploads/", "POST"),
        (NO_SESSION, "GET, HEAD, PATCH, PUT, DELETE"),
        ("tags/list", "GET, HEAD"),
        (&referrers, "GET, HEAD"),
    ];
    for (path, allowed) in rows {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
            let is_allowed = allowed.split(", ").any(|allowed| allowed == method);
            let answer = trial.ask(method, path).await;
            if is_allowed {
                answer.must(answer.status != 405, "what Allow lists is allowed");
            } else {
                answer.expect(405).has("allow", allowed);
            }
        }
    }
}

async fn head_is_get_without_a_body(trial: Trial) {
    let image = trial.pushed("1").await;
    let (layer, digest) = (&image.layers[0].digest, &image.manifest.digest);
    let upload = trial.start().await;
    let paths = [
        "/v2/".to_owned(),
        "manifests/1".to_owned(),
        format!("manifests/{digest}"),
        format!("blobs/{layer}"),
        format!("blobs/{NOBODYS}"),
        "manifests/absent".to_owned(),
        "tags/list".to_owned(),
        format!("referrers/{digest}"),
        "_oci/ext/discover".to_owned(),
        upload,
    ];
    for path in paths {
        let (get, head) = (trial.get(&path).await, trial.head(&path).await);
        head.expect(get.status);
        assert_eq!(comparable(&get), comparable(&head), "{}", head.evidence());
    }
}

/// The headers of an answer without those that differ from request to request.
fn comparable(answer: &Answer) -> BTreeMap<String, String> {
    let headers = answer.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let mut comparable: BTreeMap<_, _> = headers.filter(|(name, _)| name != "date").collect();
    // An error names the request, by an id that need not be as long as that of the next.
    let id = comparable.remove("x-request-id").map_or(0, |id| id.len());
    if answer.status >= 400
        && let Some(length) = comparable.get_mut("content-length")
    {
        *length = (length.parse::<usize>().unwrap() - id).to_string();
    }
    comparable
}

async fn malformed_requests_are_answered(trial: Trial) {
    // The version is checked of every answer.
    let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let refused = async |lines: Vec<String>| Wire::begin(&trial, "GET", "/v2/", &lines).await.answer().await.unwrap();
    refused(lines(&["Host: other.example"])).await.refused(400, "UNSUPPORTED");
    refused(lines(&["Content-Length: 0", "Transfer-Encoding: chunked"])).await.expect(400);
    let long = format!("/v2/{}", "a".repeat(9000));
    Wire::ask(&trial, "GET", &long, b"").await.refused(414, "UNSUPPORTED");
    let answer = trial.put("manifests/1").header("content-encoding", "gzip").body("x").await;
    answer.refused(415, "UNSUPPORTED");
    trial.holds_no_manifest("1").await;
}

async fn the_catalog_is_there(trial: Trial) {
    trial.start().await;
    let catalog = trial.get("/v2/_catalog").await;
    catalog.expect(200).has("content-type", "application/json");
    let names = super::trial::texts(&catalog.json()["repositories"]);
    assert!(names.contains(&trial.name), "{names:?}");
}

async fn extensions_can_be_discovered(trial: Trial) {
    for path in ["/v2/_oci/ext/discover", "_oci/ext/discover"] {
        let answer = trial.get(path).await;
        answer.expect(200).has("content-type", "application/json");
        let body = answer.json();
        let extension = &body["extensions"][0];
        let is_whole = ["name", "url", "description"].iter().all(|key| extension[key].is_string());
        answer.must(is_whole && extension["endpoints"].is_array(), "an extension says what it is and where");
    }
}
