//! A real object store: Garage, one node or a cluster of three.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::bucket::Bucket;
use super::folder::Folder;
use super::process::Process;
use super::program::{free_port, tool};

/// The region that signatures have to name.
const REGION: &str = "garage";

/// The one key. Neither part is a secret of anybody.
const KEY_ID: &str = "GK0123456789abcdef01234567";
const KEY_SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What the nodes know each other by.
const RPC_SECRET: &str = "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100";

/// What a node says just before it listens.
const READY: &str = "S3 API server listening";

/// How long the nodes may take to agree, and how often they are asked: nobody says when they do.
const AGREE_MAX: Duration = Duration::from_mins(1);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Garage on loopback ports. Three nodes hold three copies of everything: one of them may be away.
///
/// All calls block. Nothing is left when it is dropped, or when the process of the test ends in whatever way.
#[derive(Debug)]
pub struct Garage {
    folder: Arc<Folder>,
    nodes: Vec<Node>,
    buckets: AtomicUsize,
}

#[derive(Debug)]
struct Node {
    name: String,
    configuration: PathBuf,
    port: u16,
    /// Its public key and address, by which others know it; known when it has run once.
    identity: OnceLock<String>,
    process: Mutex<Option<Process>>,
}

impl Garage {
    /// Starts so many nodes, and makes one cluster of them. More than one copy of everything needs three.
    ///
    /// # Panics
    /// When Garage is not there (`tests/stores/install` builds it) or does not start.
    pub fn start(nodes: usize) -> Self {
        let folder = Arc::new(Folder::new("garage"));
        let copies = if nodes < 3 { 1 } else { 3 };
        let nodes = (0..nodes).map(|number| Node::new(&folder, number, copies)).collect();
        let garage = Self { folder, nodes, buckets: AtomicUsize::new(0) };
        for node in 0..garage.nodes.len() {
            garage.restart(node);
        }
        garage.unite();
        garage.ask(0, &["key", "import", "--yes", "-n", "tests", KEY_ID, KEY_SECRET]);
        garage
    }

    /// A new, empty bucket; its endpoint is the first node. [`Bucket::at`] gives that of another one.
    ///
    /// # Panics
    /// When too few nodes run.
    pub fn bucket(&self) -> Bucket {
        let name = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        let asked = self.running();
        self.ask(asked, &["bucket", "create", &name]);
        self.ask(asked, &["bucket", "allow", "--read", "--write", "--owner", "--key", KEY_ID, &name]);
        Bucket {
            endpoint: format!("http://127.0.0.1:{}", self.port(0)),
            region: REGION.to_owned(),
            name,
            access_key_id: KEY_ID.to_owned(),
            secret_access_key: KEY_SECRET.to_owned(),
        }
    }

    /// The port of a node on 127.0.0.1; the first one is 0.
    pub fn port(&self, node: usize) -> u16 {
        self.nodes[node].port
    }

    /// Asks a node to end, and waits until it has. Its port refuses connections then.
    pub fn stop(&self, node: usize) {
        if let Some(process) = self.nodes[node].process().take() {
            process.stop(Signal::TERM);
        }
    }

    /// Ends a node in the midst of whatever it does.
    pub fn kill(&self, node: usize) {
        // Dropping it is killing it.
        drop(self.nodes[node].process().take());
    }

    /// Starts a node again, at the same port and with everything it had. One that runs is stopped before.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self, node: usize) {
        self.stop(node);
        let node = &self.nodes[node];
        let mut command = Command::new(tool("garage"));
        command.arg("--config").arg(&node.configuration).arg("server");
        command.current_dir(self.folder.path());
        let process =
            Process::start(&node.name, command, &self.folder, READY).unwrap_or_else(|error| panic!("{error}"));
        // It says so before it is true.
        wait_until("a node listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, node.port)).is_ok());
        *node.process() = Some(process);
    }

    /// Makes a node stand still: it answers nothing, while its port still takes connections.
    ///
    /// # Panics
    /// When it is not running.
    pub fn hold(&self, node: usize) {
        self.nodes[node].process().as_ref().expect("a running node").signal(Signal::STOP);
    }

    /// Lets a held node go on.
    ///
    /// # Panics
    /// When it is not running.
    pub fn release(&self, node: usize) {
        self.nodes[node].process().as_ref().expect("a running node").signal(Signal::CONT);
    }

    /// Runs `garage` with these arguments against a node, and returns what it says.
    ///
    /// # Panics
    /// When it fails.
    pub fn ask(&self, node: usize, arguments: &[&str]) -> String {
        self.folder.run(self.command(node).args(arguments))
    }

    /// The folder with all data, and with what each node has said, in `node-0.log` and so on.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, node: usize) -> Command {
        let mut command = Command::new(tool("garage"));
        command.arg("--config").arg(&self.nodes[node].configuration);
        command
    }

    fn running(&self) -> usize {
        self.nodes.iter().position(|node| node.process().is_some()).expect("a node that runs")
    }

    /// Makes the nodes know each other, gives each its share, and waits until they agree upon it.
    fn unite(&self) {
        for (number, node) in self.nodes.iter().enumerate() {
            let identity = node.identity.get_or_init(|| self.ask(number, &["node", "id", "--quiet"]).trim().to_owned());
            if number > 0 {
                self.ask(0, &["node", "connect", identity]);
            }
            let key = identity.split('@').next().unwrap_or_default();
            self.ask(0, &["layout", "assign", "--zone", &format!("zone-{number}"), "--capacity", "10G", key]);
        }
        self.ask(0, &["layout", "apply", "--version", "1"]);
        self.wait_until_healthy();
    }

    /// Makes a node look for the others now; by itself it would look every half a minute for one that has been away.
    fn connect(&self, node: usize) {
        for identity in self.nodes.iter().filter_map(|other| other.identity.get()) {
            // One that cannot be reached yet is asked again.
            self.folder.output(self.command(node).args(["node", "connect", identity]));
        }
    }

    /// Waits until every node that runs sees all the others, and every part of the data in all its copies.
    ///
    /// # Panics
    /// When that takes more than a minute.
    pub fn wait_until_healthy(&self) {
        for node in (0..self.nodes.len()).filter(|node| self.nodes[*node].process().is_some()) {
            wait_until("the nodes agree", || {
                let answer = self.folder.output(self.command(node).args(["json-api", "GetClusterHealth"]));
                let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
                let is_healthy = answer["status"] == "healthy" && answer["partitionsAllOk"] == 256;
                if !is_healthy {
                    self.connect(node);
                }
                is_healthy
            });
        }
    }
}

impl Node {
    fn new(folder: &Arc<Folder>, number: usize, copies: usize) -> Self {
        let name = format!("node-{number}");
        let (port, rpc_port) = (free_port(), free_port());
        let configuration = folder.path().join(format!("{name}.toml"));
        let home = folder.path().join(&name);
        let home = home.display();
        let text = format!(
            r#"
metadata_dir = "{home}/metadata"
data_dir = "{home}/data"
db_engine = "lmdb"
replication_factor = {copies}
compression_level = "none"
disable_scrub = true
rpc_secret = "{RPC_SECRET}"
rpc_bind_addr = "127.0.0.1:{rpc_port}"
rpc_public_addr = "127.0.0.1:{rpc_port}"

[s3_api]
api_bind_addr = "127.0.0.1:{port}"
s3_region = "{REGION}"
"#
        );
        fs::write(&configuration, text).expect("a file");
        Self { name, configuration, port, identity: OnceLock::new(), process: Mutex::default() }
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks again and again until the answer is yes.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < AGREE_MAX, "it takes more than {AGREE_MAX:?} until {what}");
        thread::sleep(ASK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;
    use object_store::{ObjectStoreExt as _, PutPayload};

    use super::super::client::client;
    use super::*;

    #[tokio::test]
    async fn a_cluster_of_three_goes_on_without_one_of_them() {
        let garage = Garage::start(3);
        let bucket = garage.bucket();
        let key = Path::from("key");
        client(&bucket).put(&key, PutPayload::from("content")).await.expect("it is put");
        garage.kill(0);
        let other = client(&bucket.at(garage.port(1)));
        let read = other.get(&key).await.expect("two nodes have it").bytes().await.expect("it is read");
        assert_eq!(read, "content");
        other.put(&key, PutPayload::from("changed")).await.expect("two nodes are enough");
        garage.restart(0);
        garage.wait_until_healthy();
        let read = client(&bucket).get(&key).await.expect("it is there").bytes().await.expect("it is read");
        assert_eq!(read, "changed");
    }
}
