//! Secrets, and the places where somebody might read them.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_testkit::{Auth, FakeIssuer, FakeUpstream, Image};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::support::client;
use crate::users::add;

const PASSWORD: &str = "marker-of-the-password";
const WRONG: &str = "marker-of-a-wrong-password";
const SCOPE: &str = "repository:proxy/upstream.test/library/app:pull";
const UPSTREAM_PASSWORD: &str = "marker-of-the-upstream";

/// The program, which writes all that it can to a file.
struct Server {
    child: Child,
    client: Client,
    address: SocketAddr,
    metrics: SocketAddr,
    /// All that it has answered but what it was asked to give.
    answers: String,
}

impl Server {
    async fn start(folder: &Path, upstream: &FakeUpstream, issuer: &FakeIssuer) -> Self {
        let [address, metrics] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let (upstream, issuer) = (upstream.url(), issuer.url());
        let configuration = format!(
            "[server]\nlisten = \"{address}\"\n[telemetry]\nlog_level = \"trace\"\nmetrics_listen = \"{metrics}\"\n\
             [access]\n[[access.rule]]\nprincipals = [\"alice\", \"oidc:ci:**\"]\nactions = [\"*\"]\n\
             [[access.oidc]]\nname = \"ci\"\nissuer = \"{issuer}\"\naudience = \"entrepot\"\n\
             [[proxy.upstream]]\nname = \"upstream.test\"\nurl = \"{upstream}\"\nusername = \"robot\"\n\
             password = \"{UPSTREAM_PASSWORD}\"\n"
        );
        std::fs::write(folder.join("configuration.toml"), configuration).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_entrepot"))
            .current_dir(folder)
            .stdout(log.try_clone().unwrap())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let server = Self { child, client: client(), address, metrics, answers: String::new() };
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.get("/v2/").send().await.is_err() {
            assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(folder.join("log")).unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("http://{}{path}", self.address))
    }

    /// What is answered with this status, kept to be searched.
    async fn ask(&mut self, request: RequestBuilder, status: u16) {
        let response = request.send().await.unwrap();
        let told = format!("{:?}", response.headers());
        let found = response.status();
        let body = String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned();
        assert_eq!(found, status, "{body}");
        for text in [&told, &body] {
            self.answers.push_str(text);
            self.answers.push('\n');
        }
    }

    /// What is answered with a secret, which is what was asked for.
    async fn given(&self, request: RequestBuilder) -> Value {
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
        response.json().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

#[tokio::test]
async fn a20_no_secret_is_written_anywhere_whatever_happens() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    add(folder, "alice", PASSWORD);
    let (upstream, issuer) = (FakeUpstream::start().await, FakeIssuer::start().await);
    upstream.set_auth(Auth::bearer("robot", UPSTREAM_PASSWORD));
    Image::new(1, &[1000]).load_into(&upstream, "library/app", "1");
    let mut server = Server::start(folder, &upstream, &issuer).await;
    let manifest = "/v2/proxy/upstream.test/library/app/manifests/1";

    let asked = "/token?service=entrepot&offline_token=true&scope=repository:proxy/upstream.test/library/app:pull";
    let granted = server.given(server.get(asked).basic_auth("alice", Some(PASSWORD))).await;
    let (token, refresh) = (text(&granted["token"]), text(&granted["refresh_token"]));
    let order = json!({ "kind": "personal", "user": "alice", "name": "mine" });
    let tokens = format!("http://{}/api/v1/tokens", server.address);
    let created = server.client.post(tokens).basic_auth("alice", Some(PASSWORD)).json(&order);
    let personal = text(&server.given(created).await["token"]);
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "test"),
        ("service", "entrepot"),
        ("scope", SCOPE),
        ("refresh_token", &refresh),
    ];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let exchange = server.client.post(format!("http://{}/token", server.address)).body(form);
    let exchange = exchange.header("content-type", "application/x-www-form-urlencoded");
    let exchanged = text(&server.given(exchange).await["access_token"]);
    let job = issuer.mint(&json!({}));

    for secret in [&token, &exchanged, &personal, &job] {
        server.ask(server.get(manifest).bearer_auth(secret), 200).await;
        let (rest, end) = secret.split_at(secret.len() - 8);
        let wrong = format!("{rest}{}", end.chars().rev().collect::<String>());
        server.ask(server.get(manifest).bearer_auth(wrong), 401).await;
    }
    for secret in [PASSWORD, &personal, &job] {
        server.ask(server.get(manifest).basic_auth("alice", Some(secret)), 200).await;
    }
    server.ask(server.get(manifest).bearer_auth(&refresh), 401).await;
    server.ask(server.get(manifest).basic_auth("alice", Some(WRONG)), 401).await;
    server.ask(server.get(asked).basic_auth("alice", Some(WRONG)), 401).await;
    server.ask(server.get("/api/v1/tokens").basic_auth("alice", Some(PASSWORD)), 200).await;
    let metrics = format!("http://{}/metrics", server.metrics);
    server.ask(server.client.get(metrics), 200).await;

    let log = std::fs::read_to_string(folder.join("log")).unwrap();
    assert!(log.contains("TRACE") && log.contains("alice"), "the log has everything else: {log}");
    let mut secrets = vec![PASSWORD.to_owned(), WRONG.to_owned(), UPSTREAM_PASSWORD.to_owned()];
    for (user, password) in [("alice", PASSWORD), ("alice", WRONG), ("robot", UPSTREAM_PASSWORD), ("alice", &personal)]
    {
        secrets.push(STANDARD.encode(format!("{user}:{password}")));
    }
    // Of a token, that behind which nobody gets: its signature, or its secret without the id.
    let ends = [&token, &exchanged, &job].map(|jwt| jwt.rsplit('.').next().unwrap()[..20].to_owned());
    secrets.extend(ends);
    secrets.extend([&personal, &refresh].map(|text| text.splitn(3, '_').nth(2).unwrap()[..20].to_owned()));
    for secret in secrets {
        for (place, written) in [("log", &log), ("answers", &server.answers)] {
            let line = written.lines().find(|line| line.contains(&secret));
            assert!(line.is_none(), "{secret} is in the {place}: {line:?}");
        }
    }
}
