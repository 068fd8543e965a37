//! The commands beside `serve`, run as programs: what they ask of a server, what they tell, and how they end.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use entrepot::{Blueprint, assemble};
use entrepot_registry::{Limits, ProxySettings, Tasks};
use entrepot_server::ConnectionLimits;
use entrepot_testkit::{Auth, FakeUpstream};
use entrepot_upstream::RemotesConfig;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::command::{failed, run, told};

/// A digest that looks like one.
fn digest(letter: &str) -> String {
    format!("sha256:{}", letter.repeat(64))
}

/// What was asked: method, path with query, and body.
type Asked = (String, String, String);

/// A server that answers the administration API as it is documented, and remembers what it was asked.
struct Admin {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: Tasks,
}

impl Admin {
    async fn start(answer: impl Fn(&str) -> (u16, String) + Clone + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let router = Router::new().fallback(move |request: Request| {
            let (seen, answer) = (Arc::clone(&seen), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let path = head.uri.path_and_query().unwrap().to_string();
                let (status, text) = answer(&path);
                let body = String::from_utf8(body.to_vec()).unwrap();
                seen.lock().unwrap_or_else(PoisonError::into_inner).push((head.method.to_string(), path.clone(), body));
                let mut response = Response::builder().status(status);
                if path.ends_with("/cache/entries?n=500") {
                    response = response.header("link", "</api/v1/cache/entries?last=x&n=500>; rel=\"next\"");
                }
                response.body(Body::from(text)).unwrap()
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::default();
        let (limits, metrics) = (ConnectionLimits::default(), entrepot_server::Metrics::new("test").connections());
        tasks.spawn(entrepot_server::serve(listener, None, router, limits, metrics, std::future::pending()));
        Self { address, asked, _tasks: tasks }
    }

    /// Runs a command against it, in a folder where nothing is.
    async fn run(&self, words: &str) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let output = run(folder.path(), &format!("{words} --server http://{}", self.address)).await;
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a server was named: nothing is opened here");
        output
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn entry(repository: &str, letter: &str, is_pinned: bool) -> Value {
    json!({
        "repository": repository, "digest": digest(letter), "media_type": null, "tags": ["7", "latest"],
        "bytes": 1_572_864, "used_at": 0, "is_pinned": is_pinned,
    })
}

fn documented(path: &str) -> (u16, String) {
    let report = json!({
        "dry_run": true, "count": 2, "freed": 2048,
        "entries": [{ "repository": "proxy/a/b", "digest": digest("c"), "tags": ["1"], "freed": 2048, "used_at": 0 }],
    });
    let answer = match path.strip_prefix("/api/v1/").unwrap() {
        "cache/entries?n=500" => json!({ "entries": [entry("proxy/a/b", "a", true)] }),
        "cache/entries?last=x&n=500" => json!({ "entries": [entry("proxy/c/d", "b", false)] }),
        "cache/entries?n=500&repository=a%2Fb" => json!({ "entries": [] }),
        "cache/stats" => {
            json!({ "bytes": 1024, "blobs": 2, "manifests": 1, "unheld_blobs": 0, "size_max": null, "fills": 0 })
        }
        "cache/pins" => json!({ "pins": [
            { "repository": "proxy/a/b", "reference": "7", "pinned_at": 0 },
            { "repository": "proxy/a/b", "reference": digest("d"), "pinned_at": 0 },
        ] }),
        "cache/pin" => json!({ "repository": "proxy/a/b", "reference": "7", "is_pinned": true }),
        "cache/unpin" => {
            json!({ "repository": "proxy/a/b", "reference": "7", "is_pinned": false, "was_pinned": false })
        }
        "cache/evict" | "cache/purge" => report,
        "tokens" => json!({
            "id": "a1", "kind": "robot", "principal": "robot:build", "name": "build", "repositories": ["team/**"],
            "actions": ["pull"], "created_at": 0, "expires_at": 4_000_000_000_u64, "used_at": null, "token": "entrepot_a1_5ec",
            "tokens": [
                {
                    "id": "a1", "kind": "robot", "principal": "robot:build", "name": "build", "repositories": ["team/**"],
                    "actions": ["pull", "create"], "created_at": 0, "expires_at": 1, "used_at": 0,
                },
                {
                    "id": "b2", "kind": "personal", "principal": "alice", "name": "laptop", "repositories": [],
                    "actions": [], "created_at": 0, "expires_at": null, "used_at": null,
                },
            ],
        }),
        "tokens/revoke" => json!({ "id": "a1", "was_there": true }),
        "cache/refresh" => json!({ "digest": digest("e"), "has_changed": true }),
        "explain?reference=a%2Fb%3A7" => json!({ "reference": "a/b:7", "steps": ["ask", "answer"] }),
        _ => return (404, json!({ "errors": [{ "code": "UNSUPPORTED", "message": "no such path" }] }).to_string()),
    };
    (200, answer.to_string())
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_told_in_columns_or_as_json() {
    let admin = Admin::start(documented).await;
    let list = told(&admin.run("cache ls").await);
    let lines: Vec<_> = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["REPOSITORY", "TAGS", "DIGEST", "SIZE", "USED"]);
    assert_eq!(lines[1][..6], ["proxy/a/b", "7,", "latest", "sha256:aaaaaaaaaaaa", "1.5", "MiB"]);
    assert_eq!(lines[1].last(), Some(&"pinned"));
    assert!(lines.last().unwrap()[0] == "proxy/c/d" && !list.ends_with("pinned\n"), "{list}");
    assert_eq!(lines.iter().filter(|line| line[0] == "REPOSITORY").count(), 1, "one heading for all pages");
    let paths: Vec<_> = admin.asked().into_iter().map(|(_, path, _)| path).collect();
    assert_eq!(paths, ["/api/v1/cache/entries?n=500", "/api/v1/cache/entries?last=x&n=500"]);

    let json = told(&admin.run("cache ls --json").await);
    let entries: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries, [entry("proxy/a/b", "a", true), entry("proxy/c/d", "b", false)]);
    assert!(told(&admin.run("cache ls --repository a/b").await).starts_with("REPOSITORY"));
}

#[tokio::test]
async fn a_token_is_told_once_and_alone_and_what_there_is_to_say_of_it_beside_it() {
    let admin = Admin::start(documented).await;
    let words = "token create build --robot --repository team/** --action pull --action create --expires 90d";
    let output = admin.run(words).await;
    assert_eq!(told(&output), "entrepot_a1_5ec\n");
    let aside = String::from_utf8(output.stderr).unwrap();
    assert!(aside.contains("only time") && aside.contains("robot:build") && aside.contains("revoke a1"), "{aside}");
    assert!(!aside.contains("5ec"), "{aside}");
    told(&admin.run("token create laptop --user alice --json").await);
    // Who has found a token may give it as it is: its secret is not sent on.
    assert_eq!(told(&admin.run("token revoke entrepot_a1_5ec").await), "a1 is revoked\n");
    assert_eq!(told(&admin.run("token revoke a1").await), "a1 is revoked\n");
    let list = told(&admin.run("token ls").await);
    let lines: Vec<_> = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["ID", "NAME", "OWNER", "ACTIONS", "REPOSITORIES", "USED", "GOOD"]);
    assert_eq!(lines[1][..6], ["a1", "build", "robot:build", "pull,", "create", "team/**"]);
    assert!(lines[1].ends_with(&["ago", "no", "more"]), "{list}");
    assert_eq!(lines[2], ["b2", "laptop", "alice", "all", "all", "never", "until", "revoked"]);
    assert_eq!(told(&admin.run("token ls --json").await).lines().count(), 2);

    let bodies: Vec<_> = admin.asked().into_iter().filter(|(method, ..)| method == "POST").collect();
    let bodies: Vec<Value> = bodies.iter().map(|(_, _, body)| serde_json::from_str(body).unwrap()).collect();
    let build = json!({
        "kind": "robot", "name": "build", "repositories": ["team/**"], "actions": ["pull", "create"],
        "expires_in_seconds": 90 * 86_400,
    });
    let laptop = json!({ "kind": "personal", "user": "alice", "name": "laptop", "repositories": [], "actions": [] });
    assert_eq!(bodies, [build, laptop, json!({ "id": "a1" }), json!({ "id": "a1" })]);
}

#[tokio::test]
async fn a_token_that_is_not_there_cannot_be_revoked() {
    let admin = Admin::start(|_| (200, json!({ "id": "c3", "was_there": false }).to_string())).await;
    let told = failed(&admin.run("token revoke c3").await);
    assert!(told.contains("there is no token c3") && told.contains("token ls"), "{told}");
}

#[tokio::test]
async fn every_command_about_the_cache_asks_what_is_documented_and_tells_the_answer() {
    let admin = Admin::start(documented).await;
    let reference = json!({ "reference": "a/b:7" });
    let rows = [
        ("cache stats", "GET", "cache/stats", Value::Null, "size          1.0 KiB without a limit\n"),
        ("cache pins", "GET", "cache/pins", Value::Null, "proxy/a/b:7 "),
        ("cache pins", "GET", "cache/pins", Value::Null, "proxy/a/b@sha256:dddd"),
        ("cache pin a/b:7", "POST", "cache/pin", reference.clone(), "pinned a/b:7\n"),
        ("cache unpin a/b:7", "POST", "cache/unpin", reference.clone(), "a/b:7 was not pinned\n"),
        ("cache evict", "POST", "cache/evict", json!({ "dry_run": false }), "and 1 more\n2 entries, 2.0 KiB freed\n"),
        (
            "cache evict --dry-run --down-to 1GiB --unused-for 2d",
            "POST",
            "cache/evict",
            json!({ "dry_run": true, "down_to": 1 << 30, "unused_for": 172_800 }),
            "2 entries, 2.0 KiB would be freed\n",
        ),
        ("purge a/b:7", "POST", "cache/purge", reference.clone(), "2.0 KiB freed\n"),
        ("refresh a/b:7", "POST", "cache/refresh", reference.clone(), "has changed  yes\n"),
        (
            "explain a/b:7",
            "GET",
            "explain?reference=a%2Fb%3A7",
            Value::Null,
            "reference  a/b:7\nsteps\n  1. ask\n  2. answer\n",
        ),
    ];
    for (words, method, path, body, expected) in rows {
        let text = told(&admin.run(words).await);
        assert!(text.contains(expected), "{words}: {text}");
        let asked = admin.asked();
        let [(asked_method, asked_path, asked_body)] = asked.as_slice() else { panic!("{words}: {asked:?}") };
        assert_eq!((asked_method.as_str(), asked_path.as_str()), (method, format!("/api/v1/{path}").as_str()));
        let asked_body = serde_json::from_str::<Value>(asked_body).unwrap_or_default();
        assert_eq!(asked_body, body, "{words}");
        let json = told(&admin.run(&format!("{words} --json")).await);
        assert!(json.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{words}: {json}");
        admin.asked();
    }
}

#[tokio::test]
async fn what_is_warmed_is_told_line_by_line_and_what_is_missing_fails_the_command() {
    let lines = |path: &str| {
        assert_eq!(path, "/api/v1/cache/warm");
        let lines = [
            json!({ "event": "manifest", "digest": digest("a"), "media_type": "a/b" }),
            json!({ "event": "blob", "digest": digest("b"), "received": 0, "size": 4096 }),
            json!({ "event": "blob", "digest": digest("b"), "received": 4096, "size": 4096 }),
            json!({ "event": "failed", "subject": digest("c"), "reason": "not found" }),
            json!({ "event": "done", "manifests": 1, "blobs": 1, "bytes": 4096, "failures": 1 }),
        ];
        (200, lines.map(|line| format!("{line}\n")).concat())
    };
    let admin = Admin::start(lines).await;
    let text = failed(&admin.run("warm a/b:1 --platform linux/arm64").await);
    let expected = format!(
        "a/b:1\n  manifest  {}  a/b\n  blob      {}  4.0 KiB\n  failed    {}: not found\n  \
         1 manifests and 1 blobs are here, 4.0 KiB; 1 failed\n",
        digest("a"),
        digest("b"),
        digest("c")
    );
    assert_eq!(text, expected);
    let (_, _, body) = admin.asked().remove(0);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({ "reference": "a/b:1", "platforms": ["linux/arm64"] }));
    assert_eq!(failed(&admin.run("warm a/b:1 --json").await).lines().count(), 5);

    let done = |_: &str| (200, json!({ "manifests": 1, "blobs": 0, "bytes": 0, "failures": 0 }).to_string());
    let text = told(&Admin::start(done).await.run("warm a/b:1 c/d:2").await);
    assert_eq!(text.matches("0 failed").count(), 2, "{text}");
    let text = failed(&Admin::start(|_| (200, String::new())).await.run("warm a/b:1").await);
    assert!(text.contains("the server stopped before everything was here"), "{text}");
}

#[tokio::test]
async fn a_refusal_is_told_in_the_words_of_the_server_and_something_else_is_told_as_such() {
    let refusal = json!({ "errors": [{ "code": "DENIED", "message": "it is pinned", "detail": null }] }).to_string();
    let admin = Admin::start(move |_| (409, refusal.clone())).await;
    let text = failed(&admin.run("purge a/b:7").await);
    assert_eq!(text, "entrepot: refused with 409 Conflict: it is pinned (DENIED)\n");
    let text = failed(&Admin::start(|_| (404, "<html>".to_owned())).await.run("cache stats").await);
    assert!(text.contains("does not know this command: it said 404"), "{text}");
    let text = failed(&Admin::start(|_| (200, "<html>".to_owned())).await.run("cache stats").await);
    assert!(text.contains("is not what this version of the program understands"), "{text}");
    let long = |_: &str| (200, "x".repeat(70 * 1024));
    let text = failed(&Admin::start(long).await.run("warm a/b:1").await);
    assert!(text.contains("a line of more than 65536 bytes"), "{text}");
}

#[tokio::test]
async fn without_a_server_the_storage_is_opened_here_unless_somebody_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let configuration = format!(
        "registry_storage = \"registry\"\ntemporary_registry_storage = \"tmp\"\nproxy_storage = \"proxy\"\n\
         [server]\nlisten = \"{address}\"\n"
    );
    std::fs::write(folder.path().join("configuration.toml"), &configuration).unwrap();
    // No server: the request is answered by the real router in the process of the command.
    let text = told(&run(folder.path(), "cache stats --json").await);
    assert!(folder.path().join("proxy/entrepot.lock").try_exists().unwrap(), "{text}");
    let stats: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&stats["bytes"], &stats["size_max"]), (&0.into(), &Value::Null), "{text}");

    let held = assemble(Blueprint {
        places: entrepot::Places::folders(
            folder.path().join("registry"),
            folder.path().join("tmp"),
            folder.path().join("proxy"),
        ),
        remotes: RemotesConfig::default(),
        limits: Limits::default(),
        settings: ProxySettings::default(),
        immutable: entrepot_registry::ImmutableTags::default(),
        access: None,
        view: entrepot_server::ViewSettings::default(),
        replica_address: None,
        redirects: entrepot_server::RedirectSettings::never(),
    })
    .await
    .unwrap();
    let text = failed(&run(folder.path(), "cache stats").await);
    assert!(text.contains("the storage is in use, and no server answers at"), "{text}");
    assert!(text.contains("registry/entrepot.socket: another command may be using it"), "{text}");
    let text = failed(&run(folder.path(), &format!("cache stats --server http://{address}")).await);
    assert!(text.contains(&format!("no server answers at http://{address}: start it")), "{text}");
    drop(held);
}

#[tokio::test]
async fn check_tries_folders_and_upstreams_and_says_what_to_do() {
    let upstream = FakeUpstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(folder.path().join("configuration.toml"), text).unwrap();
    let listed = format!("[[proxy.upstream]]\nname = \"near\"\nurl = \"{}\"\n", upstream.url().trim_end_matches('/'));
    write(&listed);
    let text = told(&run(folder.path(), "check").await);
    for key in ["registry_storage", "temporary_registry_storage", "proxy_storage"] {
        let line = text.lines().find(|line| line.starts_with(&format!("ok      {key}"))).unwrap();
        assert!(line.ends_with("free, will be created"), "{line}");
    }
    assert!(text.contains("ok      upstream near") && text.contains("reached"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was created");

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    write(&format!("{listed}[[proxy.upstream]]\nname = \"gone\"\nurl = \"http://{nobody}\"\n"));
    let text = failed(&run(folder.path(), "check").await);
    assert!(text.contains("failed  upstream gone") && text.contains("look at url, the network"), "{text}");
    assert!(text.contains("ok      upstream near") && text.contains("1 of 5 checks failed"), "{text}");
    let text = told(&run(folder.path(), "check --offline").await);
    assert!(!text.contains("upstream gone  "), "{text}");

    for auth in [Auth::basic("robot", "right"), Auth::bearer("robot", "right")] {
        upstream.set_auth(auth);
        write(&format!("{listed}username = \"robot\"\npassword = \"right\"\n"));
        assert!(told(&run(folder.path(), "check").await).contains("the account was accepted"));
        write(&format!("{listed}username = \"robot\"\npassword = \"hunter2\"\n"));
        let text = failed(&run(folder.path(), "check").await);
        assert!(text.contains("failed  upstream near") && text.contains("put right the account"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    std::fs::write(folder.path().join("file"), "").unwrap();
    write("proxy_storage = \"file/cache\"\n");
    let text = failed(&run(folder.path(), "check").await);
    assert!(text.contains("failed  proxy_storage") && text.contains("file is not a folder"), "{text}");
}

#[tokio::test]
async fn client_config_prints_the_files_or_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let text = told(&run(folder.path(), "client-config docker --server 10.0.0.7:5000").await);
    assert!(text.starts_with("# ==== /etc/docker/daemon.json ====\n"), "{text}");
    assert!(text.contains("\"registry-mirrors\": [\"http://10.0.0.7:5000/proxy/docker.io\"]"), "{text}");
    let text = told(&run(folder.path(), "client-config containerd --write root").await);
    let path = "root/etc/containerd/certs.d/_default/hosts.toml";
    assert_eq!(text, format!("{path}\n"));
    let file = std::fs::read_to_string(folder.path().join(path)).unwrap();
    assert!(file.ends_with("\n[host.\"http://127.0.0.1:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n"), "{file}");
    let text = failed(&run(folder.path(), "client-config containerd --write root").await);
    assert!(text.contains("a file that is there already is left alone"), "{text}");
}
