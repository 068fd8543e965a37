//! Several registries over one bucket and one database, as replicas behind a load balancer that sends each request anywhere.

mod fills;
mod known;
mod moved;
mod outages;

mod sent_on;
mod uploads;

use std::ops::Index;

use bytes::Bytes;
use entrepot_oci::Digest;
use reqwest::{Response, StatusCode};
use tokio::runtime::Runtime;

use crate::shared::Shared;
use crate::support::{Running, Setup, push, push_blob, push_manifest};

/// Replicas, each with a runtime of its own to die with.
struct Fleet {
    replicas: Vec<Replica>,
}

struct Replica {
    running: Running,
    runtime: Option<Runtime>,
}

impl Fleet {
    /// So many over a bucket and a database of their own.
    async fn start(count: usize) -> Self {
        Self::over(&Shared::new(), count, Setup::default()).await
    }

    /// So many, all set up in the same way.
    async fn over(shared: &Shared, count: usize, setup: Setup) -> Self {
        let mut replicas = Vec::new();
        for _ in 0..count {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let running = runtime.spawn(Running::replica(setup.clone(), shared.clone())).await.unwrap();
            replicas.push(Replica { running, runtime: Some(runtime) });
        }
        Self { replicas }
    }

    /// Ends everything that a replica does, at once: nothing is given back, nobody is told.
    fn kill(&mut self, replica: usize) {
        self.replicas[replica].runtime.take().unwrap().shutdown_background();
    }

    fn count(&self) -> usize {
        self.replicas.len()
    }
}

impl Index<usize> for Fleet {
    type Output = Running;

    fn index(&self, replica: usize) -> &Running {
        &self.replicas[replica].running
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn get(replica: &Running, path: &str) -> Response {
    replica.client.get(replica.url(path)).send().await.unwrap()
}

/// The bytes of an answer that has to be a good one.
async fn read(replica: &Running, path: &str) -> Bytes {
    let response = get(replica, path).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.bytes().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn blob_path(repository: &str, digest: &Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}
