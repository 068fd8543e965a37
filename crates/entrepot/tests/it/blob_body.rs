//! Blobs on their way out under stress: every byte that any client gets is compared, whatever the others do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_testkit::{Blob, Dice, FakeUpstream, Image};
use entrepot_upstream::UpstreamConfig;
use reqwest::StatusCode;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::support::{Running, Setup};

const CONNECTIONS: u64 = 200;
const EXCHANGES: usize = 12;

/// Longer than anything takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_mins(2);

/// From what leaves with its head in one write to what leaves as several regions of a file.
const SIZES: [usize; 6] = [1, 4096, 32 * 1024, 32 * 1024 + 1, 700_000, 3_500_000];

/// One request for a blob, and what its answer has to be.
struct Asked {
    head: String,
    status: u16,
    body: Bytes,
}

impl Asked {
    fn at_random(dice: &mut Dice, blobs: &[(String, Blob)]) -> Self {
        let (path, blob) = &blobs[dice.below(blobs.len())];
        let size = blob.bytes.len();
        let (range, status, body) = match dice.below(4) {
            0 => (String::new(), 200, blob.bytes.clone()),
            1 => {
                let first = dice.below(size);
                (format!("Range: bytes={first}-\r\n"), 206, blob.bytes.slice(first..))
            }
            _ => {
                let first = dice.below(size);
                let last = first + dice.below(size - first);
                (format!("Range: bytes={first}-{last}\r\n"), 206, blob.bytes.slice(first..=last))
            }
        };
        Self { head: format!("GET {path} HTTP/1.1\r\nHost: registry\r\n{range}\r\n"), status, body }
    }
}

/// A connection of a client that knows what it has to get.
struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    async fn open(running: &Running) -> Self {
        Self { stream: BufReader::with_capacity(64 * 1024, TcpStream::connect(running.address).await.unwrap()) }
    }

    /// Reads one answer to its end and compares all of it.
    async fn expect(&mut self, asked: &Asked) {
        let length = self.read_head(asked).await;
        assert_eq!(length, asked.body.len());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        assert!(body == asked.body, "other bytes for {}", asked.head);
    }

    /// Reads a part of an answer and leaves.
    async fn leave_early(mut self, asked: &Asked, dice: &mut Dice) {
        let length = self.read_head(asked).await;
        let mut part = vec![0; dice.below(length)];
        self.stream.read_exact(&mut part).await.unwrap();
        assert!(part == asked.body[..part.len()], "other bytes for {}", asked.head);
    }

    async fn read_head(&mut self, asked: &Asked) -> usize {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        assert!(line.starts_with(&format!("HTTP/1.1 {} ", asked.status)), "{line} for {}", asked.head);
        let mut length = None;
        while line != "\r\n" {
            line.clear();
            self.stream.read_line(&mut line).await.unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = Some(value.trim().parse().unwrap());
            }
        }
        length.expect("a length")
    }
}

/// What one client does: requests one after the other, several at once, and now and then it leaves in the middle of an answer.
async fn be_a_client(running: &Running, blobs: &[(String, Blob)], mut dice: Dice) {
    let mut connection = Connection::open(running).await;
    for _ in 0..EXCHANGES {
        let asked: Vec<_> = (0..=dice.below(4)).map(|_| Asked::at_random(&mut dice, blobs)).collect();
        let heads: String = asked.iter().map(|asked| asked.head.as_str()).collect();
        connection.stream.get_mut().write_all(heads.as_bytes()).await.unwrap();
        if dice.below(4) == 0 {
            connection.leave_early(&asked[0], &mut dice).await;
            connection = Connection::open(running).await;
        } else {
            for asked in &asked {
                connection.expect(asked).await;
            }
        }
    }
}

async fn pushed(running: &Running, blobs: impl IntoIterator<Item = Blob>) -> Vec<(String, Blob)> {
    let mut paths = Vec::new();
    for blob in blobs {
        let url = running.url(&format!("/v2/team/app/blobs/uploads/?digest={}", blob.digest));
        let answer = running.client.post(url).body(blob.bytes.clone()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        paths.push((format!("/v2/team/app/blobs/{}", blob.digest), blob));
    }
    paths
}

async fn stress(running: Arc<Running>, blobs: Vec<(String, Blob)>) {
    let (tasks, blobs) = (TaskTracker::new(), Arc::new(blobs));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let (running, blobs) = (Arc::clone(&running), Arc::clone(&blobs));
            tasks.spawn(async move { be_a_client(&running, &blobs, Dice(number)).await })
        })
        .collect();
    for client in clients {
        tokio::time::timeout(PATIENCE, client).await.expect("no client waits for ever").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_every_answer_is_right_under_aborts_ranges_and_pipelines() {
    let running = Arc::new(Running::start().await);
    let seeds = 1..;
    let blobs = pushed(&running, seeds.zip(SIZES).map(|(seed, size)| Blob::random(seed, size))).await;
    stress(Arc::clone(&running), blobs).await;
    let metrics = running.metrics().await;
    let sent = metrics.lines().find_map(|line| line.strip_prefix("entrepot_http_sent_from_files_bytes_total "));
    assert!(sent.unwrap().parse::<u64>().unwrap() > 100_000_000, "the kernel has sent the files: {sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_is_right_while_blobs_arrive_from_their_upstream() {
    let upstream = FakeUpstream::start().await;
    let image = Image::new(1, &SIZES);
    image.load_into(&upstream, "team/app", "1");
    let upstreams = vec![UpstreamConfig::new("hub", upstream.url().parse().unwrap())];
    let setup = Setup { upstreams, ..Setup::default() };
    let running = Arc::new(Running::with(setup).await);
    let blobs = image.layers.iter().map(|blob| (format!("/v2/proxy/hub/team/app/blobs/{}", blob.digest), blob.clone()));
    stress(Arc::clone(&running), blobs.collect()).await;
}

#[tokio::test]
async fn a_file_that_was_cut_short_ends_its_answer_and_no_other() {
    /// More than the buffers of a connection take.
    const LONG: usize = 16 << 20;
    const SHORT: usize = 12 << 20;
    let running = Running::start().await;
    let blobs = pushed(&running, [Blob::random(1, LONG), Blob::random(2, 2_000_000)]).await;
    let hex = blobs[0].1.digest.hex();
    let data = running.folder().join("registry/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data");
    let ask = |(path, blob): &(String, Blob)| Asked {
        head: format!("GET {path} HTTP/1.1\r\nHost: registry\r\n\r\n"),
        status: 200,
        body: blob.bytes.clone(),
    };
    let mut connection = Connection::open(&running).await;
    let whole = ask(&blobs[1]);
    connection.stream.get_mut().write_all(whole.head.as_bytes()).await.unwrap();
    connection.expect(&whole).await;

    // The answer has begun, and its end cannot have left yet, when the file is cut.
    let cut = ask(&blobs[0]);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let stream = socket.connect(running.address).await.unwrap();
    let mut connection = Connection { stream: BufReader::new(stream) };
    connection.stream.get_mut().write_all(cut.head.as_bytes()).await.unwrap();
    assert_eq!(connection.read_head(&cut).await, LONG);
    std::fs::OpenOptions::new().write(true).open(data).unwrap().set_len(SHORT as u64).unwrap();
    let mut received = Vec::new();
    // It ends, or is reset: either way there are fewer bytes than were announced.
    let _ = connection.stream.read_to_end(&mut received).await;
    assert!(received.len() <= SHORT, "{} bytes of a file of {SHORT}", received.len());
    assert!(cut.body.starts_with(&received));

    let mut connection = Connection::open(&running).await;
    connection.stream.get_mut().write_all(whole.head.as_bytes()).await.unwrap();
    connection.expect(&whole).await;
}
