//! What nobody has yet, pulled through several replicas: fetched once for all of them.

use std::time::Duration;

use entrepot_registry::Tasks;
use entrepot_server::replica_path;
use entrepot_testkit::{Blob, FakeUpstream, Gate, Seen};
use entrepot_upstream::UpstreamConfig;
use futures_util::future::join_all;
use reqwest::StatusCode;

use super::{Fleet, blob_path, read};
use crate::shared::Shared;
use crate::support::Setup;

const NAME: &str = "upstream.test";
const CACHED: &str = "proxy/upstream.test/team/app";
/// The upstream stalls here until it is told to go on.
const STALLED_AT: usize = 1_000_000;
/// How long it may take that another replica goes on: the lease of the dead one has to run out.
const TAKEN_OVER: Duration = Duration::from_mins(1);

/// Three replicas in front of an upstream that has one blob.
struct Port {
    upstream: FakeUpstream,
    fleet: Fleet,
    blob: Blob,
}

impl Port {
    async fn open(seed: u64) -> Self {
        let upstream = FakeUpstream::start().await;
        let listed = UpstreamConfig::new(NAME, upstream.url().parse().unwrap());
        let setup = Setup { upstreams: vec![listed], ..Setup::default() };
        let fleet = Fleet::over(&Shared::new(), 3, setup).await;
        let blob = Blob::random(seed, 8_000_000);
        upstream.put_blob_as("team/app", &blob.digest, blob.bytes.clone());
        Self { upstream, fleet, blob }
    }

    /// The status and bytes that a client of a replica gets, or nothing when they end before they are whole.
    fn pull(&self, replica: usize) -> impl Future<Output = Option<bytes::Bytes>> + use<> {
        let url = self.fleet[replica].url(&blob_path(CACHED, &self.blob.digest));
        let client = crate::support::client();
        async move { client.get(url).send().await.ok()?.error_for_status().ok()?.bytes().await.ok() }
    }

    /// The upstream's answers stop in the middle; the first one alone, or all.
    fn stall(&self, is_once: bool) -> Gate {
        let gate = Gate::new();
        let held = gate.clone();
        let rule = self.upstream.when(|seen: &Seen| seen.is_blob() && seen.is_get());
        let rule = if is_once { rule.once() } else { rule };
        rule.reply(move |honest| honest.stall_after(STALLED_AT, &held));
        gate
    }

    /// What each replica that lives counts.
    async fn counted(&self, name: &str) -> Vec<u64> {
        let series = format!("{name}_total");
        join_all((0..3).map(|replica| self.fleet[replica].measured(&series))).await
    }

    fn blob_gets(&self) -> usize {
        self.upstream.count(|seen| seen.is_blob() && seen.is_get())
    }

    /// Waits until two replicas have come to the internal listener of the third one.
    async fn until_two_follow(&self) {
        let following = async {
            while (0..3).map(|replica| self.fleet[replica].wire().accepted()).sum::<usize>() < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), following).await.expect("two replicas read along");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_is_fetched_once_for_thirty_clients_of_three_replicas() {
    let port = Port::open(1).await;
    let gate = port.stall(false);
    let pulls: Vec<_> = (0..30).map(|number| port.pull(number % 3)).collect();
    let clients = Tasks::default().spawn(join_all(pulls));
    port.until_two_follow().await;
    gate.open();
    for pulled in clients.await.unwrap() {
        assert!(pulled.expect("a whole answer") == port.blob.bytes);
    }
    assert_eq!(port.blob_gets(), 1);
    assert_eq!(port.counted("fills_read_along").await.iter().sum::<u64>(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_along_without_the_ticket_of_the_fill() {
    let port = Port::open(2).await;
    let gate = port.stall(false);
    let first = Tasks::default().spawn(port.pull(0));
    port.upstream.wait_for(|seen| seen.is_blob() && seen.is_get()).await;
    let client = crate::support::client();
    let path = replica_path(&port.blob.digest, 0);
    let inside = format!("http://{}{path}", port.fleet[0].wire().address());
    let rows = [
        (client.get(&inside), StatusCode::UNAUTHORIZED),
        (client.get(&inside).bearer_auth(""), StatusCode::UNAUTHORIZED),
        (client.get(&inside).bearer_auth("0123456789abcdef0123456789abcdef"), StatusCode::NOT_FOUND),
        (client.get(&inside).basic_auth("", Some("")), StatusCode::UNAUTHORIZED),
        // Where clients come in there is no such door.
        (client.get(port.fleet[0].url(&path)).bearer_auth("0123456789abcdef0123456789abcdef"), StatusCode::NOT_FOUND),
    ];
    for (number, (request, status)) in rows.into_iter().enumerate() {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{number}");
        let body = answer.bytes().await.unwrap();
        assert!(body.len() < 300 && !body.windows(8).any(|window| *window == port.blob.bytes[..8]), "{body:?}");
    }
    gate.open();
    assert!(first.await.unwrap().expect("a whole answer") == port.blob.bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_while_it_fetches_for_all_is_followed_by_another_one() {
    let mut port = Port::open(3).await;
    let gate = port.stall(true);
    let first = Tasks::default().spawn(port.pull(0));
    port.upstream.wait_for(|seen| seen.is_blob() && seen.is_get()).await;
    let others: Vec<_> = (0..10).map(|number| port.pull(1 + number % 2)).collect();
    let others = Tasks::default().spawn(join_all(others));
    port.until_two_follow().await;
    // Each of them has some bytes, behind which it may have to go on.
    for replica in [1, 2] {
        let url = port.fleet[replica].url(&blob_path(CACHED, &port.blob.digest));
        let mut answer = crate::support::client().get(url).send().await.unwrap();
        assert!(answer.chunk().await.unwrap().is_some_and(|bytes| !bytes.is_empty()));
    }
    port.fleet.kill(0);
    assert_eq!(first.await.unwrap(), None, "its client comes back, to another one");
    let others = tokio::time::timeout(TAKEN_OVER, others).await.expect("another replica goes on");
    for pulled in others.unwrap() {
        assert!(pulled.expect("a whole answer") == port.blob.bytes);
    }
    assert_eq!(port.blob_gets(), 2, "one of the others goes on, and the third reads along from that");
    let gets = port.upstream.requests().into_iter().filter(|seen| seen.is_blob() && seen.is_get());
    let ranges: Vec<_> = gets.map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert!(ranges[0].is_none() && ranges[1].is_some(), "what was read along is not fetched again: {ranges:?}");
    assert_eq!(port.counted("fills_taken_over").await.iter().sum::<u64>(), 1);
    drop(gate);
    assert!(read(&port.fleet[2], &blob_path(CACHED, &port.blob.digest)).await == port.blob.bytes);
    assert_eq!(port.blob_gets(), 2);
}
