//! Another object store, for what it does otherwise: `s3s-fs`, which keeps objects as files.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;

use super::bucket::Bucket;
use super::folder::Folder;
use super::process::Process;
use super::program::{free_port, tool};

const KEY_ID: &str = "AKEXAMPLES3SFS";
const KEY_SECRET: &str = "SKEXAMPLES3SFS";

/// What it says when it listens.
const READY: &str = "server is running at";

/// `s3s-fs` on a loopback port. A bucket is a folder of files, which a test may look at.
///
/// All calls block. Nothing is left when it is dropped, or when the process of the test ends in whatever way.
#[derive(Debug)]
pub struct S3sFs {
    folder: Arc<Folder>,
    port: u16,
    buckets: AtomicUsize,
    process: Mutex<Option<Process>>,
}

impl S3sFs {
    /// Starts it without any bucket.
    ///
    /// # Panics
    /// When it is not there (`tests/stores/install` builds it) or does not start.
    pub fn start() -> Self {
        let folder = Arc::new(Folder::new("s3s-fs"));
        fs::create_dir(folder.path().join("buckets")).expect("a folder");
        let server = Self { folder, port: free_port(), buckets: AtomicUsize::new(0), process: Mutex::default() };
        server.restart();
        server
    }

    /// A new, empty bucket.
    ///
    /// # Panics
    /// When its folder cannot be made.
    pub fn bucket(&self) -> Bucket {
        let name = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        fs::create_dir(self.folder.path().join("buckets").join(&name)).expect("a folder");
        Bucket {
            endpoint: format!("http://127.0.0.1:{}", self.port),
            region: "us-east-1".to_owned(),
            name,
            access_key_id: KEY_ID.to_owned(),
            secret_access_key: KEY_SECRET.to_owned(),
        }
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Ends it in the midst of whatever it does. Its port refuses connections then.
    pub fn kill(&self) {
        // Dropping it is killing it.
        drop(self.process().take());
    }

    /// Starts it again, at the same port and with everything it had. One that runs is killed before.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self) {
        self.kill();
        let mut command = Command::new(tool("s3s-fs"));
        command.args(["--host", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(["--access-key", KEY_ID, "--secret-key", KEY_SECRET]);
        command.arg(self.folder.path().join("buckets")).env("RUST_LOG", "s3s_fs=info");
        let process = Process::start("s3s-fs", command, &self.folder, READY).unwrap_or_else(|error| panic!("{error}"));
        *self.process() = Some(process);
    }

    /// Makes it stand still: it answers nothing, while its port still takes connections.
    ///
    /// # Panics
    /// When it is not running.
    pub fn hold(&self) {
        self.process().as_ref().expect("a running server").signal(Signal::STOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it is not running.
    pub fn release(&self) {
        self.process().as_ref().expect("a running server").signal(Signal::CONT);
    }

    /// The folder with `buckets`, and with `s3s-fs.log`, all that it has said.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;
    use object_store::{ObjectStoreExt as _, PutPayload};

    use super::super::client::client;
    use super::*;

    #[tokio::test]
    async fn what_was_put_is_there_after_a_kill() {
        let server = S3sFs::start();
        let (client, key) = (client(&server.bucket()), Path::from("some/key"));
        client.put(&key, PutPayload::from("content")).await.expect("it is put");
        server.kill();
        client.head(&key).await.expect_err("nobody listens");
        server.restart();
        let read = client.get(&key).await.expect("it is there").bytes().await.expect("it is read");
        assert_eq!(read, "content");
    }
}
