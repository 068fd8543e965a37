//! The operator's socket: how commands reach a server that runs, who may, and what is left of it.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use entrepot_registry::Tasks;
use entrepot_server::ConnectionLimits;
use entrepot_testkit::{Authority, ClientCertificates, FakeUpstream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Somebody who is not the user of the server.
const NOBODY: u32 = 65_534;

/// A server that chose its port, and asks everybody who he is.
const CONFIGURATION: &str = "registry_storage = \"registry\"\ntemporary_registry_storage = \"tmp\"\nproxy_storage = \"proxy\"\n\
                             [server]\nlisten = \"127.0.0.1:0\"\n[telemetry]\nmetrics_listen = \"off\"\nlog_level = \"error\"\n\
                             [access]\nanonymous = \"none\"\n";

/// The program in a folder of the test's.
struct Program {
    folder: PathBuf,
    address: String,
    child: Child,
}

impl Program {
    /// Starts it, and waits until it says where it listens.
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_entrepot"))
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines.find_map(|line| line.unwrap().trim().strip_prefix("listening on").map(str::to_owned));
        Self { folder: folder.to_owned(), address: told.unwrap().trim().to_owned(), child }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("registry/entrepot.socket")
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as it should be ended; a client's reading keeps it no longer than it takes.
    async fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = tokio::task::spawn_blocking(move || (self.child.wait(), self)).await.unwrap();
        assert_eq!(status.0.unwrap().code(), Some(0));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configured(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("configuration.toml"), CONFIGURATION).unwrap();
}

fn command(folder: &Path, words: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_entrepot"));
    program.args(words.split_whitespace()).current_dir(folder).env_remove("ENTREPOT_TOKEN");
    program
}

async fn run(mut program: Command) -> Output {
    tokio::task::spawn_blocking(move || program.output()).await.unwrap().unwrap()
}

async fn told(folder: &Path, words: &str) -> String {
    let output = run(command(folder, words)).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn commands_ask_a_running_server_over_its_socket_whatever_its_port_and_whoever_else_may_what() {
    let folder = tempfile::tempdir().unwrap();
    configured(folder.path());
    let program = Program::start(folder.path());
    let metadata = std::fs::symlink_metadata(program.socket()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let stats: Value = serde_json::from_str(&told(folder.path(), "cache stats --json").await).unwrap();
    assert_eq!(stats["bytes"], 0);
    assert_eq!(told(folder.path(), "cache pin docker.io/library/redis:7").await, "pinned docker.io/library/redis:7\n");
    assert!(told(folder.path(), "cache pins").await.contains("redis:7"), "it is the same server");

    let url = format!("http://{}/api/v1/cache/stats", program.address);
    let stranger = crate::support::client().get(url).send().await.unwrap();
    assert_eq!(stranger.status(), 401, "over the network nobody is the operator");
    let named = run(command(folder.path(), &format!("cache stats --server http://{}", program.address))).await;
    let text = failed(&named);
    assert!(text.contains("refused with 401") && text.contains("set ENTREPOT_TOKEN to a token for `admin`"), "{text}");

    let socket = program.socket();
    program.stop().await;
    assert!(!socket.try_exists().unwrap(), "the socket goes with its server");
    assert!(told(folder.path(), "cache pins").await.contains("redis:7"), "the storage is opened by the command");
    assert!(!socket.try_exists().unwrap());
}

#[tokio::test]
async fn the_socket_of_a_killed_server_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    configured(folder.path());
    let mut program = Program::start(folder.path());
    program.kill();
    assert!(program.socket().try_exists().unwrap(), "nothing ran that could have removed it");
    assert!(told(folder.path(), "cache stats").await.contains("without a limit"));
    let program = Program::start(folder.path());
    assert!(told(folder.path(), "cache stats").await.contains("without a limit"));
    let socket = program.socket();
    program.stop().await;
    assert!(!socket.try_exists().unwrap());
}

#[tokio::test]
async fn the_path_to_the_socket_may_be_longer_than_an_address() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("a".repeat(100)).join("b".repeat(100));
    configured(&folder);
    let program = Program::start(&folder);
    assert_eq!(std::fs::metadata(program.socket()).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(told(&folder, "cache stats").await.contains("without a limit"));
    let socket = program.socket();
    program.stop().await;
    assert!(!socket.try_exists().unwrap());
}

#[tokio::test]
async fn somebody_else_on_the_machine_is_told_whom_to_be() {
    let folder = tempfile::tempdir().unwrap();
    configured(folder.path());
    // He may look into every folder: it is the socket that keeps him out.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = Program::start(folder.path());
    std::fs::set_permissions(folder.path().join("registry"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut other = command(folder.path(), "cache stats");
    other.uid(NOBODY).gid(NOBODY);
    let Ok(output) = tokio::task::spawn_blocking(move || other.output()).await.unwrap() else {
        // Only root can be somebody else, and not everybody can run what root has built.
        return;
    };
    let text = failed(&output);
    assert!(text.contains("registry/entrepot.socket may not be opened: run this as the user of the server"), "{text}");
    program.stop().await;
    let mut other = command(folder.path(), "cache stats");
    other.uid(NOBODY).gid(NOBODY);
    let text = failed(&run(other).await);
    assert!(text.contains("may not be opened: run this as the user of the server"), "without a server: {text}");
}

/// A server that wants a token, and says so as ours does.
async fn asks_for(token: &'static str) -> (std::net::SocketAddr, Tasks) {
    let router = Router::new().fallback(move |request: Request| async move {
        let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let (status, body) = if shown == Some(&format!("Bearer {token}")) {
            let stats =
                json!({ "bytes": 1, "blobs": 1, "manifests": 1, "unheld_blobs": 0, "size_max": null, "fills": 0 });
            (200, stats)
        } else {
            (401, json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "no" }] }))
        };
        Response::builder().status(status).body(axum::body::Body::from(body.to_string())).unwrap()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tasks, metrics) = (Tasks::default(), entrepot_server::Metrics::new("test").connections());
    tasks.spawn(entrepot_server::serve(
        listener,
        None,
        router,
        ConnectionLimits::default(),
        metrics,
        std::future::pending(),
    ));
    (address, tasks)
}

#[tokio::test]
async fn a_server_that_is_named_is_shown_the_token_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _tasks) = asks_for("entrepot_id_secret").await;
    let words = format!("cache stats --server http://{address}");
    let with = |token: &str| {
        let mut program = command(folder.path(), &words);
        program.env("ENTREPOT_TOKEN", token);
        program
    };
    let output = run(with("entrepot_id_secret")).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = failed(&run(with("entrepot_id_hunter2")).await);
    assert!(text.contains("no (UNAUTHORIZED); the token in ENTREPOT_TOKEN must be one for `admin`"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let text = failed(&run(with("hunter2\nx")).await);
    assert!(
        text.contains("ENTREPOT_TOKEN holds characters that are in no token") && !text.contains("hunter2"),
        "{text}"
    );
    let text = failed(&run(command(folder.path(), &words)).await);
    assert!(text.contains("set ENTREPOT_TOKEN"), "{text}");
}

#[tokio::test]
async fn a_server_may_be_named_with_https_and_is_believed_only_with_a_certificate_that_the_system_trusts() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let server = FakeUpstream::start_tls(&authority, ClientCertificates::NotAsked).await;
    let words = format!("cache stats --server {}", server.url().trim_end_matches('/'));
    assert!(words.contains("https://"), "{words}");
    let text = failed(&run(command(folder.path(), &words)).await);
    assert!(text.contains("no server answers at https://") && text.contains("certificate"), "{text}");
    assert_eq!(server.requests().len(), 0);
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let mut trusting = command(folder.path(), &words);
    trusting.env("SSL_CERT_FILE", &file);
    // It is no entrepot, but it was asked.
    failed(&run(trusting).await);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn check_says_who_may_do_what_and_what_is_most_likely_not_meant() {
    let folder = tempfile::tempdir().unwrap();
    let rule = "[[access.rule]]\nname = \"team\"\nprincipals = [\"alice\", \"robot:ci\"]\nrepositories = [\"team/**\"]\n\
                actions = [\"pull\", \"push\"]\n[[access.rule]]\nname = \"bob\"\nprincipals = [\"bob\"]\nactions = [\"*\"]\n";
    std::fs::write(folder.path().join("configuration.toml"), format!("{CONFIGURATION}{rule}")).unwrap();
    let text = told(folder.path(), "check --offline").await;
    assert!(text.contains("# alice and robot:ci may pull and push in team/**\n"), "{text}");
    assert!(text.contains("note    access.users_file") && text.contains("nobody has a password"), "{text}");
    assert!(text.contains("\"bob\" is for nobody: bob is not in access.users_file"), "{text}");
    assert!(!text.contains("\"team\" is for nobody"), "a robot can come: {text}");
    let hash = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    std::fs::write(folder.path().join("users.htpasswd"), format!("bob:{hash}\n")).unwrap();
    let text = told(folder.path(), "check --offline").await;
    assert!(text.contains("users.htpasswd, users: 1") && !text.contains("is for nobody"), "{text}");
}
