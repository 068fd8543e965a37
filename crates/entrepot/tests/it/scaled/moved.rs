//! The commands that lead from folders to a database and a bucket, run as programs.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use entrepot_testkit::{FakeUpstream, Image, Seen, StoredManifest, artifact};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::command::{failed, run, told};
use crate::shared::Shared;

/// A server in a folder, until it is stopped.
struct Program {
    base: String,
    client: reqwest::Client,
    child: Child,
}

impl Program {
    /// Starts it, and waits until it says where it listens.
    fn start(folder: &Path) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_entrepot"));
        let mut child = program.current_dir(folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines.find_map(|line| line.unwrap().trim().strip_prefix("listening on").map(str::to_owned));
        let base = format!("http://{}", told.unwrap().trim());
        Self { base, client: crate::support::client(), child }
    }

    async fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let (status, _ended) = tokio::task::spawn_blocking(move || (self.child.wait(), self)).await.unwrap();
        assert_eq!(status.unwrap().code(), Some(0));
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    async fn read(&self, path: &str) -> Bytes {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.bytes().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.read(path).await).unwrap()
    }

    async fn push_blob(&self, repository: &str, digest: &str, bytes: &Bytes) {
        let url = format!("{}/v2/{repository}/blobs/uploads/?digest={digest}", self.base);
        let pushed = self.client.post(url).body(bytes.clone()).send().await.unwrap();
        assert_eq!(pushed.status(), StatusCode::CREATED);
    }

    async fn push_manifest(&self, repository: &str, reference: &str, manifest: &StoredManifest) {
        let put = self.client.put(format!("{}/v2/{repository}/manifests/{reference}", self.base));
        let put = put.header("content-type", manifest.media_type.as_str()).body(manifest.bytes.clone());
        assert_eq!(put.send().await.unwrap().status(), StatusCode::CREATED);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(folder: &Path, configuration: &str) {
    std::fs::write(folder.join("configuration.toml"), configuration).unwrap();
}

const REPOSITORIES: [&str; 2] = ["team/app", "other/tool"];

/// Three tags, a manifest without one, and two signatures in each repository.
async fn fill(program: &Program) {
    for (number, repository) in (1..).zip(REPOSITORIES) {
        for tag in 0..4 {
            let image = Image::new(number * 10 + tag, &[40_000, 10]);
            for blob in image.blobs() {
                program.push_blob(repository, blob.digest.as_str(), &blob.bytes).await;
            }
            let reference = if tag == 3 { image.manifest.digest.to_string() } else { format!("1.{tag}") };
            program.push_manifest(repository, &reference, &image.manifest).await;
        }
        let subject = Image::new(number * 10, &[40_000, 10]).manifest;
        for seed in [number * 100, number * 100 + 1] {
            let (signature, blobs) = artifact(seed, "application/vnd.example.signature", &subject);
            for blob in &blobs {
                program.push_blob(repository, blob.digest.as_str(), &blob.bytes).await;
            }
            program.push_manifest(repository, signature.digest.as_str(), &signature).await;
        }
    }
}

/// Everything of it is there.
async fn expect(program: &Program) {
    let catalog = program.json("/v2/_catalog").await;
    assert_eq!(catalog["repositories"], serde_json::json!(["other/tool", "team/app"]));
    for (number, repository) in (1..).zip(REPOSITORIES) {
        let tags = program.json(&format!("/v2/{repository}/tags/list")).await;
        assert_eq!(tags["tags"], serde_json::json!(["1.0", "1.1", "1.2"]));
        for tag in 0..4 {
            let image = Image::new(number * 10 + tag, &[40_000, 10]);
            let reference = if tag == 3 { image.manifest.digest.to_string() } else { format!("1.{tag}") };
            let manifest = program.read(&format!("/v2/{repository}/manifests/{reference}")).await;
            assert_eq!(manifest, image.manifest.bytes);
            for blob in image.blobs() {
                assert!(program.read(&format!("/v2/{repository}/blobs/{}", blob.digest)).await == blob.bytes);
            }
        }
        let subject = Image::new(number * 10, &[40_000, 10]).manifest;
        let referrers = program.json(&format!("/v2/{repository}/referrers/{}", subject.digest)).await;
        let mut found: Vec<_> =
            referrers["manifests"].as_array().unwrap().iter().map(|one| one["digest"].as_str().unwrap()).collect();
        found.sort_unstable();
        let signature = |seed| artifact(seed, "application/vnd.example.signature", &subject).0.digest.to_string();
        let mut expected = [signature(number * 100), signature(number * 100 + 1)];
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_moves_from_folders_into_a_database_and_nothing_is_missing_there() {
    let upstream = FakeUpstream::start().await;
    let cached = Image::new(900, &[70_000]);
    cached.load_into(&upstream, "team/cached", "1");
    let folder = tempfile::tempdir().unwrap();
    let before = format!(
        "registry_storage = \"registry\"\ntemporary_registry_storage = \"tmp\"\nproxy_storage = \"proxy\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\n[telemetry]\nmetrics_listen = \"off\"\nlog_level = \"error\"\n\
         [[proxy.upstream]]\nname = \"near\"\nurl = \"{}\"\n",
        upstream.url().trim_end_matches('/')
    );
    let after = format!("{before}[metadata]\nurl = \"{}\"\n", Shared::database());
    write(folder.path(), &before);
    let program = Program::start(folder.path());
    fill(&program).await;
    let manifest = "/v2/proxy/near/team/cached/manifests/1";
    let layer = format!("/v2/proxy/near/team/cached/blobs/{}", cached.layers[0].digest);
    program.read(manifest).await;
    assert!(program.read(&layer).await == cached.layers[0].bytes);
    expect(&program).await;

    write(folder.path(), &after);
    let text = failed(&run(folder.path(), "migrate-metadata").await);
    assert!(text.contains("not moved while a server can change it") && text.contains("is in use"), "{text}");
    program.stop().await;
    let text = told(&run(folder.path(), "migrate-metadata").await);
    assert!(text.contains("registry/entrepot.sqlite: now in entrepot_registry: repositories 2, manifests 12, tags 6"));
    assert!(text.contains("proxy/entrepot.sqlite: now in entrepot_proxy: repositories 1, manifests 1, tags 1"));
    let text = failed(&run(folder.path(), "migrate-metadata").await);
    assert!(text.contains("the destination is not empty"), "{text}");

    // What is served comes from the database: the old ones are put away.
    let databases = ["registry", "proxy"].map(|store| folder.path().join(store).join("entrepot.sqlite"));
    for database in &databases {
        std::fs::copy(database, database.with_file_name("old")).unwrap();
        std::fs::remove_file(database).unwrap();
    }
    let program = Program::start(folder.path());
    expect(&program).await;
    upstream.forget_requests();
    assert_eq!(program.read(manifest).await, cached.manifest.bytes);
    assert!(program.read(&layer).await == cached.layers[0].bytes);
    assert_eq!(upstream.count(Seen::is_get), 0, "it was cached: {:?}", upstream.requests());
    // Also what is pushed now is kept there.
    let image = Image::new(950, &[1000]);
    for blob in image.blobs() {
        program.push_blob("team/new", blob.digest.as_str(), &blob.bytes).await;
    }
    program.push_manifest("team/new", "1", &image.manifest).await;
    program.stop().await;
    let text = failed(&run(folder.path(), "migrate-metadata --registry-database registry/old").await);
    assert!(text.contains("the destination is not empty"), "{text}");
    let program = Program::start(folder.path());
    assert_eq!(program.read("/v2/team/new/manifests/1").await, image.manifest.bytes);
    assert!(databases.iter().all(|database| !database.try_exists().unwrap()));
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_whether_bucket_and_database_are_there_and_what_to_do() {
    let shared = Shared::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &shared.configuration());
    let text = told(&run(folder.path(), "check").await);
    for line in ["registry_storage", "proxy_storage", "metadata.url"] {
        assert!(text.lines().any(|found| found.starts_with(&format!("ok      {line} "))), "{line}: {text}");
    }
    assert!(text.contains("can be read and written") && text.contains("the database answers"), "{text}");

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let [bucket, database] = Shared::addresses().map(|address| address.port());
    write(folder.path(), &shared.at([nobody, database]).configuration());
    let text = failed(&run(folder.path(), "check").await);
    let failure = |text: &str, subject: &str| {
        let start = format!("failed  {subject} ");
        text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{subject}: {text}")).to_owned()
    };
    for subject in ["registry_storage", "proxy_storage"] {
        let line = failure(&text, subject);
        assert!(line.contains("cannot be read and written") && line.contains("; look at the name"), "{line}");
    }
    assert!(text.contains("ok      metadata.url") && text.contains("2 of "), "{text}");

    write(folder.path(), &shared.at([bucket, nobody]).configuration());
    let text = failed(&run(folder.path(), "check").await);
    let line = failure(&text, "metadata.url");
    assert!(line.contains("cannot connect") && line.contains("; look at the address, user"), "{line}");
    assert!(text.contains("ok      registry_storage") && text.contains("1 of "), "{text}");

    // The right place and the wrong key, password, or name.
    let configuration = shared.configuration();
    let rows = [
        ("access_key_id = \"GK", "access_key_id = \"GX", "registry_storage", "look at the name of the bucket, and at"),
        ("s3://bucket-", "s3://bucket-that-nobody-made-", "registry_storage", "address and keys in [storage.s3]"),
        (&*format!(":{database}/"), &*format!(":{database}/no"), "metadata.url", "database in metadata.url"),
    ];
    for (right, wrong, subject, cure) in rows {
        assert!(configuration.contains(right), "{right}: {configuration}");
        write(folder.path(), &configuration.replace(right, wrong));
        let text = failed(&run(folder.path(), "check").await);
        let line = failure(&text, subject);
        assert!(line.contains(cure), "{line}");
    }
}
