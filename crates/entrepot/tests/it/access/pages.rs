//! Browsers, caches in between, and the log: what requests of others and answers to others come to.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use entrepot_access::Anonymous;
use entrepot_testkit::Image;
use serde_json::Value;

use super::setup::{House, PASSWORD, With, blueprint, rules};
use crate::support::Setup;

#[tokio::test]
async fn a19_a_web_page_changes_nothing_whatever_its_name() {
    let house = House::build().await;
    let own = format!("http://{}", house.registry.address);
    for origin in ["https://evil.example", "null", "", own.as_str()] {
        for (method, path) in [
            ("POST", "/v2/team/app/blobs/uploads/"),
            ("PUT", "/v2/team/app/manifests/1"),
            ("DELETE", "/v2/team/app/manifests/1"),
            ("PATCH", "/v2/team/app/blobs/uploads/1"),
            ("POST", "/api/v1/cache/evict"),
            ("POST", "/token"),
        ] {
            let headers = [("origin", origin), ("content-type", "application/json")];
            let answer = house.send(method, path, &With::User("all"), &headers, Bytes::from_static(b"{}")).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"), "{origin:?} {method} {path}");
            assert!(!answer.headers.contains_key("access-control-allow-origin"));
        }
        let read = house.send("GET", "/v2/", &With::User("all"), &[("origin", origin)], Bytes::new()).await;
        assert_eq!(read.status, 200, "{origin:?}");
        assert!(!read.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn b10_what_somebody_reads_because_of_who_he_is_is_for_no_cache_in_between() {
    let house = House::with(Setup { access: Some(blueprint(Anonymous::Pull, rules())), ..Setup::default() }).await;
    let image = Image::new(1, &[10]);
    house.push("team/app", "1", &image, &With::User("pusher")).await;
    let token = house.token("puller", &["repository:team/app:pull"]).await;
    let rows = [
        ("/v2/team/app/manifests/1".to_owned(), "no-cache"),
        (format!("/v2/team/app/manifests/{}", image.manifest.digest), "max-age=31536000, immutable"),
        (format!("/v2/team/app/blobs/{}", image.layers[0].digest), "max-age=31536000, immutable"),
    ];
    for (path, public) in rows {
        assert_eq!(house.ask("GET", &path, &With::Nothing).await.header("cache-control"), public, "{path}");
        for with in [&With::User("puller"), &token] {
            let private = house.ask("GET", &path, with).await;
            assert_eq!(private.header("cache-control"), format!("private, {public}"), "{path}");
        }
    }
    for path in ["/v2/_catalog", "/v2/team/app/tags/list"] {
        assert_eq!(house.ask("GET", path, &With::User("puller")).await.header("cache-control"), "private", "{path}");
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn everything_but_allowed_pulls_has_its_line_and_no_line_has_a_secret() {
    let written = Written::default();
    let writer = written.clone();
    let log = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // With one log alone, a line that another test comes to first is looked at by that test's thread, found unwanted, and missed here as well.
    // With a second one every log is asked.
    let second = tracing::Dispatch::new(tracing_subscriber::registry());
    let house = House::build().await;
    let path = "/v2/team/app/manifests/1";
    // Whatever is logged has been logged once: what is new while other tests set up their logs may miss this one.
    house.ask("POST", "/v2/warm/up/blobs/uploads/", &With::User("all")).await;
    house.ask("DELETE", "/v2/warm/up/manifests/1", &With::Nothing).await;
    house.ask("GET", "/v2/", &With::Basic("puller", "a-wrong-secret".into())).await;
    // The server runs on this thread.
    let guard = tracing::subscriber::set_default(log);
    house.push("team/app", "1", &Image::new(1, &[10]), &With::User("pusher")).await;
    let token = house.token("puller", &["repository:team/app:pull"]).await;
    assert_eq!(house.ask("GET", path, &token).await.status, 200);
    assert_eq!(house.ask("DELETE", path, &With::User("puller")).await.status, 403);
    assert_eq!(house.ask("GET", path, &With::Nothing).await.status, 401);
    assert_eq!(house.ask("GET", path, &With::Basic("puller", "a-wrong-secret".into())).await.status, 401);
    let moved = house.push_manifest("team/app", "1", &Image::new(1, &[10]), &With::User("creator")).await;
    assert_eq!(moved.status, 201, "the same again");
    drop((guard, second));
    let metrics = house.registry.metrics().await;
    for line in [
        r#"entrepot_access_decisions_total{action="pull",outcome="allowed"} 1"#,
        r#"entrepot_access_decisions_total{action="pull",outcome="denied"} 1"#,
        r#"entrepot_access_decisions_total{action="pull",outcome="not authenticated"} 1"#,
        r#"entrepot_access_decisions_total{action="delete",outcome="denied"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let With::Bearer(token) = token else { panic!("a token") };
    for secret in [PASSWORD, "a-wrong-secret", &token, "VSpV"] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let audit = lines.iter().filter(|line| line["target"] == "audit");
    let field = |line: &Value, name: &str| line[name].as_str().unwrap_or("-").to_owned();
    let rows: Vec<String> = audit
        .map(|line| {
            ["message", "principal", "scheme", "action", "repository", "rule", "reason"]
                .map(|name| field(line, name))
                .join("|")
        })
        .collect();
    let expected = [
        "allowed|pusher|basic|push|team/app|rule of pusher|-",
        "denied|puller|basic|delete|team/app|-|no rule allows it",
        "denied|anonymous|none|pull|team/app|-|no rule allows it",
        "login failed|-|basic|-|-|-|incorrect username or password",
        "allowed|creator|basic|push|team/app|rule of creator|-",
    ];
    let mut rows = rows;
    rows.dedup();
    assert_eq!(rows, expected);
    let pulled =
        lines.iter().find(|line| line["target"] == "access" && line["method"] == "GET" && line["status"] == 200);
    let pulled = pulled.unwrap();
    assert_eq!((&pulled["principal"], &pulled["rule"]), (&"puller".into(), &"rule of puller".into()));
}
