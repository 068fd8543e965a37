//! What a client is told when its upstream fails and nothing is cached: the table of failures, row by row. Each message names
//! the upstream, what happened and what to do, and ends with the id under which the log has the rest.

use std::time::Duration;

use entrepot_testkit::{Auth, FakeUpstream, Gate, Image, Reply, Seen};
use entrepot_upstream::{Lookup, Timeouts, UpstreamConfig};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::{NAME, Port, REPOSITORY, header};
use crate::support::{Running, Setup};

/// What the upstream answers; the status, the code and the time to come back that our client is told; and words of the message.
type Row = (fn(Reply) -> Reply, u16, &'static str, &'static str, &'static [&'static str]);

/// For manifests by tag and by digest.
const ROWS: &[Row] = &[
    (
        |_| Reply::error(404, "MANIFEST_UNKNOWN", "no"),
        404,
        "MANIFEST_UNKNOWN",
        "",
        &["holds no manifest", "check the name"],
    ),
    (|_| Reply::error(403, "DENIED", "no"), 404, "NAME_UNKNOWN", "", &["not found or private", "configure an account"]),
    (|_| Reply::new(401), 404, "NAME_UNKNOWN", "", &["not found or private"]),
    (|_| Reply::too_many_requests("7"), 429, "TOOMANYREQUESTS", "7", &["too many requests", "again"]),
    (|_| Reply::too_many_requests("985.86µs"), 429, "TOOMANYREQUESTS", "1", &["too many requests"]),
    (|_| Reply::new(400), 404, "MANIFEST_UNKNOWN", "", &["400", "check the name"]),
    (|_| Reply::new(406), 404, "MANIFEST_UNKNOWN", "", &["406", "check the name"]),
    (|_| Reply::new(410), 404, "MANIFEST_UNKNOWN", "", &["410", "check the name"]),
    (|_| Reply::new(451), 403, "DENIED", "", &["451", "only the upstream"]),
    (|_| Reply::error(500, "UNKNOWN", "broken inside"), 502, "UNAVAILABLE", "", &["500", "broken inside", "try again"]),
    (|_| Reply::new(502), 502, "UNAVAILABLE", "", &["502", "try again"]),
    (|_| Reply::new(503).header("retry-after", "9"), 503, "UNAVAILABLE", "9", &["503", "try again"]),
    (|_| Reply::new(503), 503, "UNAVAILABLE", "10", &["503", "try again"]),
    (|_| Reply::new(504), 502, "UNAVAILABLE", "", &["504", "try again"]),
    (|_| Reply::new(508), 508, "UNAVAILABLE", "", &["508", "lead to each other"]),
    (|_| Reply::page(), 502, "UNAVAILABLE", "", &["web page", "nothing of it was kept"]),
    (Reply::wrong_bytes, 502, "UNAVAILABLE", "", &["nothing of it was kept"]),
    (|_| Reply::redirect(307, "ftp://elsewhere.example/"), 502, "UNAVAILABLE", "", &["scheme", "configured address"]),
];

/// Looks at an answer from outside.
async fn check(response: Response, (status, code, retry_after): (u16, &str, &str), (upstream, words): (&str, &[&str])) {
    let id = header(&response, "x-request-id").to_owned();
    let told = (response.status().as_u16(), header(&response, "retry-after").to_owned());
    assert_eq!(header(&response, "www-authenticate"), "", "the upstream's challenge is not ours");
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let message = body["errors"][0]["message"].as_str().unwrap();
    assert_eq!(told, (status, retry_after.to_owned()), "{message}");
    assert_eq!(body["errors"][0]["code"], code, "{message}");
    assert!(message.contains(upstream), "it names the upstream: {message}");
    for words in words {
        assert!(message.contains(words), "it says {words:?}: {message}");
    }
    assert!(message.ends_with(&format!(" (request {id})")), "it ends with {id}: {message}");
}

#[tokio::test]
async fn what_an_upstream_answers_is_told_as_what_it_means() {
    for (fault, status, code, retry_after, words) in ROWS {
        for is_tag in [true, false] {
            let (port, image) = Port::with_image(&[10]).await;
            // By tag the HEAD is told nothing, so that the GET has to be believed.
            port.upstream.when(|seen| seen.is_head() && seen.is_manifest()).reply(Reply::without_digest);
            port.upstream.when(|seen| seen.is_get() && seen.is_manifest()).reply(*fault);
            let reference = if is_tag { "1" } else { image.manifest.digest.as_str() };
            check(port.manifest(reference).await, (*status, code, retry_after), (NAME, words)).await;
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_by_what_it_is() {
    let (port, image) = Port::with_image(&[10]).await;
    let layer = &image.layers[0].digest;
    port.upstream.when(Seen::is_blob).reply(|_| Reply::new(404));
    check(port.get(port.blob_url(layer)).await, (404, "BLOB_UNKNOWN", ""), (NAME, &["holds no blob"])).await;
    let tags = port.registry.url(&format!("/v2/proxy/{NAME}/no/where/tags/list"));
    check(port.get(tags).await, (404, "NAME_UNKNOWN", ""), (NAME, &["not known"])).await;
}

#[tokio::test]
async fn refused_credentials_are_the_operators_to_put_right() {
    let port = Port::with(|config| {
        config.username = Some("robot".into());
        config.password = Some("wrong".into());
    })
    .await;
    port.upstream.set_auth(Auth::bearer("robot", "right"));
    let words = ["credentials were refused", "the operator of this server"];
    check(port.manifest("1").await, (502, "UNAVAILABLE", ""), (NAME, &words)).await;
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_told_by_how_it_is_not() {
    let (port, _) = Port::with_image(&[10]).await;
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(|_| true).reply(move |honest| honest.silent(&held));
    check(port.manifest("1").await, (504, "UNAVAILABLE", ""), (NAME, &["nothing came", "try again"])).await;
    gate.open();
    let (port, _) = Port::with_image(&[10]).await;
    port.upstream.stop().await;
    let words = ["cannot be reached", "refused", "try again"];
    check(port.manifest("1").await, (502, "UNAVAILABLE", ""), (NAME, &words)).await;
}

#[tokio::test]
async fn a_host_that_is_none_and_one_that_may_not_be_asked_are_told_apart() {
    let answers = Lookup::by(|host| match host {
        "private.example" => Some(vec![([10, 0, 0, 1], 443).into()]),
        _ => Some(Vec::new()),
    });
    let timeouts = Timeouts { first_byte: Duration::from_secs(5), ..Timeouts::default() };
    let setup = Setup { lookup: Some(answers), timeouts: Some(timeouts), ..Setup::default() };
    let registry = Running::with(setup).await;
    let ask = async |host: &str| {
        let url = registry.url(&format!("/v2/proxy/{host}/{REPOSITORY}/manifests/1"));
        registry.client.get(url).send().await.unwrap()
    };
    let words = ["no host", "check the name of the registry"];
    check(ask("typo.example").await, (404, "NAME_UNKNOWN", ""), ("typo.example", &words)).await;
    let words = ["10.0.0.1", "not public"];
    check(ask("private.example").await, (403, "DENIED", ""), ("private.example", &words)).await;
    check(ask("localhost").await, (404, "NAME_UNKNOWN", ""), ("localhost", &["proxy.upstream"])).await;
}

#[tokio::test]
async fn a_blob_that_is_longer_than_its_manifest_says_names_its_upstream() {
    let upstream = FakeUpstream::start().await;
    let image = Image::new(7, &[1000]);
    image.load_into(&upstream, REPOSITORY, "1");
    let config = UpstreamConfig::new(NAME, upstream.url().parse().unwrap());
    let registry = Running::with(Setup { upstreams: vec![config], ..Setup::default() }).await;
    let get = async |path: String| {
        let url = registry.url(&format!("/v2/proxy/{NAME}/{REPOSITORY}/{path}"));
        registry.client.get(url).send().await.unwrap()
    };
    assert_eq!(get("manifests/1".into()).await.status(), StatusCode::OK);
    upstream.when(|seen| seen.is_get() && seen.is_blob()).reply(|honest| honest.followed_by(b"more"));
    let response = get(format!("blobs/{}", image.layers[0].digest)).await;
    check(response, (502, "UNAVAILABLE", ""), (NAME, &["offers 1004 bytes"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_too_many_wait_for_an_upstream_the_next_is_told_to_come_back() {
    let port = Port::with(|config| config.requests_max = 1).await;
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(|_| true).reply(move |honest| honest.silent(&held));
    // One is asked, 256 wait for their turn.
    let ask = async |number: usize| port.manifest(&format!("tag-{number}")).await;
    let mut answers: FuturesUnordered<_> = (0..300).map(ask).map(Box::pin).collect();
    let first = answers.next().await.unwrap();
    assert_eq!((first.status(), header(&first, "retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "10"));
    let body: Value = serde_json::from_slice(&first.bytes().await.unwrap()).unwrap();
    let message = body["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains(NAME) && message.contains("waiting for their turn"), "{message}");
    assert!(message.contains("(request "), "{message}");
    gate.open();
}
