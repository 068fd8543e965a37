//! The program killed at random moments under load: what it acknowledged is there, nothing half-done is visible, and what the
//! dead left behind is swept.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use entrepot_registry::Tasks;
use entrepot_testkit::{Blob, Image};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

const ROUNDS: u64 = 50;
const PUSHERS: u64 = 6;

/// The program in a folder of its own, which outlives it.
struct Program {
    folder: TempDir,
    address: SocketAddr,
    child: Child,
}

impl Program {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let configuration = format!(
            "registry_storage = \"registry\"\ntemporary_registry_storage = \"tmp\"\nproxy_storage = \"proxy\"\n\
             [server]\nlisten = \"{address}\"\n[telemetry]\nmetrics_listen = \"off\"\nlog_level = \"error\"\n"
        );
        std::fs::write(folder.path().join("configuration.toml"), configuration).unwrap();
        let child = spawn(folder.path());
        Self { folder, address, child }
    }

    fn kill(&mut self) {
        // SIGKILL on Unix: no handler runs, nothing is flushed.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_entrepot")).current_dir(folder).stdout(Stdio::null()).spawn().unwrap()
}

/// An address that was free a moment ago: the program has to come back on it after each kill.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits until the program answers. Connection refused is the only other outcome that is waited through.
async fn wait_until_ready(client: &Client, url: &str) {
    for _ in 0..3000 {
        match client.get(url).send().await {
            Ok(response) if response.status() == StatusCode::OK => return,
            Ok(response) => panic!("{url} answers {}", response.status()),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("{url} did not answer within 30 seconds");
}

/// An image that was acknowledged to its last step.
struct Acknowledged {
    repository: String,
    tag: String,
    image: Image,
}

/// Pushes one image, blobs by different ways in turn; `None` when the program died on the way.
async fn push(client: &Client, base: &str, pusher: u64, seed: u64) -> Option<Acknowledged> {
    let image = Image::new(seed, &[20_000 + usize::try_from(seed % 7).unwrap() * 50_000, 10]);
    let (repository, tag) = (format!("load/{pusher}"), format!("t{seed}"));
    let url = format!("{base}/v2/{repository}");
    for (number, blob) in image.blobs().enumerate() {
        let is_pushed = if number % 2 == 0 {
            push_in_parts(client, &url, blob).await?
        } else {
            let whole = format!("{url}/blobs/uploads/?digest={}", blob.digest);
            answered(client.post(whole).body(blob.bytes.clone())).await?.status() == StatusCode::CREATED
        };
        assert!(is_pushed, "a healthy server refused a blob");
    }
    let manifest = client
        .put(format!("{url}/manifests/{tag}"))
        .header("content-type", image.manifest.media_type.as_str())
        .body(image.manifest.bytes.clone());
    assert_eq!(answered(manifest).await?.status(), StatusCode::CREATED);
    Some(Acknowledged { repository, tag, image })
}

async fn push_in_parts(client: &Client, url: &str, blob: &Blob) -> Option<bool> {
    let started = answered(client.post(format!("{url}/blobs/uploads/"))).await?;
    assert_eq!(started.status(), StatusCode::ACCEPTED);
    let location = started.headers()["location"].to_str().unwrap().to_owned();
    let location = format!("{}{location}", &url[..url.find("/v2/").unwrap()]);
    let (first, second) = blob.bytes.as_ref().split_at(blob.bytes.len() / 2);
    let patched = answered(client.patch(&location).body(first.to_vec())).await?;
    assert_eq!(patched.status(), StatusCode::ACCEPTED);
    let finish = client.put(format!("{location}?digest={}", blob.digest)).body(second.to_vec());
    Some(answered(finish).await?.status() == StatusCode::CREATED)
}

/// The answer, or `None` when the program died before it had given one.
async fn answered(request: reqwest::RequestBuilder) -> Option<Response> {
    request.send().await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_program_is_killed_at_random_moments() {
    let mut program = Program::start();
    let tasks = Tasks::default();
    let client = crate::support::client();
    let seed = Arc::new(AtomicU64::new(1));
    let mut acknowledged = Vec::new();
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        wait_until_ready(&client, &program.url("/readyz")).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|pusher| {
                let (seed, is_over, base) = (Arc::clone(&seed), Arc::clone(&is_over), program.url(""));
                tasks.spawn(async move {
                    // A client of its own: the connections of the last round are dead.
                    let client = crate::support::client();
                    let mut done = Vec::new();
                    while !is_over.load(Ordering::SeqCst) {
                        let Some(image) = push(&client, &base, pusher, seed.fetch_add(1, Ordering::SeqCst)).await
                        else {
                            return (done, 1);
                        };
                        done.push(image);
                    }
                    (done, 0)
                })
            })
            .collect();
        // The moment is the point of the test: pseudo-random, spread over the steps of a push.
        tokio::time::sleep(Duration::from_millis(30 + (round * 7919) % 270)).await;
        program.kill();
        is_over.store(true, Ordering::SeqCst);
        for pusher in pushers {
            let (done, cut) = pusher.await.unwrap();
            acknowledged.extend(done);
            interrupted += cut;
        }
        program.child = spawn(program.folder.path());
    }
    wait_until_ready(&client, &program.url("/readyz")).await;
    assert!(acknowledged.len() > 50 && interrupted > 50, "{} pushed, {interrupted} cut", acknowledged.len());
    for image in &acknowledged {
        check(&client, &program, image).await;
    }
    check_listed_tags(&client, &program).await;
    check_stages(&client, &program).await;
}

/// An acknowledged image pulls exactly.
async fn check(client: &Client, program: &Program, acknowledged: &Acknowledged) {
    let Acknowledged { repository, tag, image } = acknowledged;
    let url = program.url(&format!("/v2/{repository}"));
    let manifest = client.get(format!("{url}/manifests/{tag}")).send().await.unwrap();
    assert_eq!(manifest.status(), StatusCode::OK, "{repository}:{tag}");
    assert_eq!(manifest.bytes().await.unwrap(), image.manifest.bytes);
    for blob in image.blobs() {
        let response = client.get(format!("{url}/blobs/{}", blob.digest)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{repository}:{tag} {}", blob.digest);
        assert_eq!(response.bytes().await.unwrap(), blob.bytes);
    }
}

/// No tag is listed whose image cannot be pulled whole, acknowledged or not.
async fn check_listed_tags(client: &Client, program: &Program) {
    for pusher in 0..PUSHERS {
        let url = program.url(&format!("/v2/load/{pusher}"));
        let tags = client.get(format!("{url}/tags/list")).send().await.unwrap().bytes().await.unwrap();
        let tags: Value = serde_json::from_slice(&tags).unwrap();
        for tag in tags["tags"].as_array().unwrap() {
            let manifest = client.get(format!("{url}/manifests/{}", tag.as_str().unwrap())).send().await.unwrap();
            assert_eq!(manifest.status(), StatusCode::OK, "{tag} is listed");
            let manifest: Value = serde_json::from_slice(&manifest.bytes().await.unwrap()).unwrap();
            for blob in std::iter::once(&manifest["config"]).chain(manifest["layers"].as_array().unwrap()) {
                let digest = blob["digest"].as_str().unwrap();
                let head = client.head(format!("{url}/blobs/{digest}")).send().await.unwrap();
                assert_eq!(head.status(), StatusCode::OK, "{tag} is listed, {digest} is missing");
            }
        }
    }
}

/// What is still staged belongs to sessions that can be taken up again; everything else was swept at the start.
async fn check_stages(client: &Client, program: &Program) {
    let mut stages = Vec::new();
    collect_files(&program.folder.path().join("tmp"), &mut stages);
    for stage in stages {
        let name = stage.file_name().unwrap().to_str().unwrap();
        let id = name.strip_prefix("upload-").unwrap_or_else(|| panic!("{name} was left behind"));
        let mut is_known = false;
        for pusher in 0..PUSHERS {
            let status =
                client.get(program.url(&format!("/v2/load/{pusher}/blobs/uploads/{id}"))).send().await.unwrap();
            is_known |= status.status() == StatusCode::NO_CONTENT;
        }
        assert!(is_known, "{name} belongs to no session");
    }
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            collect_files(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}

#[tokio::test]
async fn a_stopped_program_ends_with_success_and_its_uploads_can_be_resumed() {
    let mut program = Program::start();
    let client = crate::support::client();
    wait_until_ready(&client, &program.url("/readyz")).await;
    let blob = Blob::random(1, 100_000);
    let started = client.post(program.url("/v2/team/app/blobs/uploads/")).send().await.unwrap();
    let location = program.url(started.headers()["location"].to_str().unwrap());
    let patched = client.patch(&location).body(blob.bytes.slice(..60_000)).send().await.unwrap();
    assert_eq!(patched.headers()["range"], "0-59999");
    let terminated = Command::new("kill").arg("-TERM").arg(program.child.id().to_string()).status().unwrap();
    assert!(terminated.success());
    let status = tokio::task::spawn_blocking(move || {
        let status = program.child.wait().unwrap();
        program.child = spawn(program.folder.path());
        (status, program)
    });
    let (status, program) = status.await.unwrap();
    assert_eq!(status.code(), Some(0));
    wait_until_ready(&client, &program.url("/readyz")).await;
    let resumed = client.get(&location).send().await.unwrap();
    assert_eq!((resumed.status(), &resumed.headers()["range"]), (StatusCode::NO_CONTENT, &"0-59999".parse().unwrap()));
    let rest = client.patch(&location).header("content-range", "60000-99999").body(blob.bytes.slice(60_000..));
    assert_eq!(rest.send().await.unwrap().status(), StatusCode::ACCEPTED);
    let finished = client.put(format!("{location}?digest={}", blob.digest)).send().await.unwrap();
    assert_eq!(finished.status(), StatusCode::CREATED);
    let pulled = client.get(program.url(&format!("/v2/team/app/blobs/{}", blob.digest))).send().await.unwrap();
    assert_eq!(pulled.bytes().await.unwrap(), blob.bytes);
}
