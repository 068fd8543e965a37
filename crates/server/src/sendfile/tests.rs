use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use entrepot_blobs::{BlobStore, FilesystemStore, LocalFile, Piece, REGION_BYTES_MAX, Region};
use entrepot_oci::Algorithm;
use entrepot_testkit::{Dice, pseudo_random};
use futures_util::stream;
use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::outbox::{Disagreement, Due};
use super::{Outbox, SendfileSocket};
use crate::metrics::ConnectionMetrics;

/// When a test that hangs is given up.
const MOST_OF_A_TEST: Duration = Duration::from_secs(30);

const FILE_BYTES: usize = 2 * REGION_BYTES_MAX + 12_345;

/// A stored blob of [`FILE_BYTES`], its file and its bytes.
async fn stored() -> (TempDir, Arc<LocalFile>, Bytes) {
    let folder = tempfile::tempdir().unwrap();
    let store = FilesystemStore::open(folder.path().join("root"), folder.path().join("staging")).unwrap();
    let bytes = pseudo_random(1, FILE_BYTES);
    let digest = Algorithm::Sha256.digest(&bytes);
    let mut ingest = store.begin(&"one".parse().unwrap(), Algorithm::Sha256).await.unwrap();
    let source = stream::iter([Ok::<_, entrepot_blobs::Error>(bytes.clone())]);
    ingest.absorb(source, u64::MAX).await.unwrap();
    ingest.commit(&digest).await.unwrap();
    let reader = store.open(&digest).await.unwrap().unwrap();
    (folder, reader.local_file().unwrap(), bytes)
}

/// What the HTTP library has queued, and what should come out at the other end.
struct Library {
    outbox: Outbox,
    queued: VecDeque<Bytes>,
    expected: Vec<u8>,
    written: Vec<u8>,
}

impl Library {
    fn new() -> Self {
        Self { outbox: Outbox::default(), queued: VecDeque::new(), expected: Vec::new(), written: Vec::new() }
    }

    fn queue(&mut self, dice: &mut Dice, file: &Arc<LocalFile>, bytes: &Bytes) {
        if dice.below(3) == 0 {
            let text = pseudo_random(dice.below(1000) as u64, 1 + dice.below(300));
            self.expected.extend_from_slice(&text);
            self.queued.push_back(self.outbox.enclose(Piece::Bytes(text)));
        } else {
            let most = [10, 5000, REGION_BYTES_MAX][dice.below(3)];
            let length = 1 + dice.below(most);
            let position = dice.below(FILE_BYTES - length);
            self.expected.extend_from_slice(&bytes[position..position + length]);
            let region = Region::new(Arc::clone(file), position as u64, length);
            self.queued.push_back(self.outbox.enclose(Piece::Region(region)));
        }
    }

    fn due(&self) -> Result<Due, Disagreement> {
        let slices: Vec<_> = self.queued.iter().map(|bytes| IoSlice::new(bytes)).collect();
        self.outbox.due(&slices)
    }

    /// Writes what is due, or a part of it, as a socket does.
    fn write(&mut self, dice: &mut Dice, bytes: &Bytes) {
        let mut count = match self.due().unwrap() {
            Due::Region(region) => {
                let count = 1 + dice.below(region.length());
                let position = usize::try_from(region.position()).unwrap();
                self.written.extend_from_slice(&bytes[position..position + count]);
                self.outbox.sent(count);
                count
            }
            due => {
                let slices = if let Due::Ahead(slices) = due { slices } else { self.queued.len() };
                let plain: Vec<u8> = self.queued.iter().take(slices).flatten().copied().collect();
                let count = 1 + dice.below(plain.len());
                self.written.extend_from_slice(&plain[..count]);
                count
            }
        };
        while count > 0 {
            let front = self.queued.front_mut().unwrap();
            let taken = count.min(front.len());
            front.advance(taken);
            count -= taken;
            if front.is_empty() {
                self.queued.pop_front();
            }
        }
    }
}

#[tokio::test]
async fn what_leaves_is_what_was_put_in_whatever_is_written_at_once() {
    let (_folder, file, bytes) = stored().await;
    for seed in 0..20 {
        let (mut dice, mut library) = (Dice(seed), Library::new());
        for _ in 0..100 {
            if library.queued.len() < 16 && dice.below(2) == 0 {
                library.queue(&mut dice, &file, &bytes);
            } else if !library.queued.is_empty() {
                library.write(&mut dice, &bytes);
            }
        }
        while !library.queued.is_empty() {
            library.write(&mut dice, &bytes);
        }
        assert!(library.written == library.expected, "seed {seed}");
        assert!(matches!(library.due(), Ok(Due::All)), "nothing is left");
    }
}

#[tokio::test]
async fn a_placeholder_that_is_not_the_promised_one_stops_everything() {
    let (_folder, file, bytes) = stored().await;
    let mut disagreements = 0;
    for seed in 0..500 {
        let (mut dice, mut library) = (Dice(seed), Library::new());
        for _ in 0..=dice.below(15) {
            library.queue(&mut dice, &file, &bytes);
        }
        for _ in 0..dice.below(4) {
            if !library.queued.is_empty() {
                library.write(&mut dice, &bytes);
            }
        }
        let is_placeholder = |bytes: &&Bytes| super::placeholder::offset(bytes).is_some();
        let Some(index) = library.queued.iter().position(|bytes| is_placeholder(&bytes)) else { continue };
        let queued = &mut library.queued;
        match dice.below(5) {
            0 => drop(queued.remove(index)),
            1 => queued[index] = Bytes::copy_from_slice(&queued[index]),
            2 => {
                let shorter = queued[index].len() - 1;
                queued[index].truncate(shorter);
            }
            3 => queued.push_back(queued[index].clone()),
            _ => {
                let Some(other) = (index + 1..queued.len()).find(|other| is_placeholder(&&queued[*other])) else {
                    continue;
                };
                queued.swap(index, other);
            }
        }
        assert!(library.due().is_err(), "seed {seed}");
        disagreements += 1;
    }
    assert!(disagreements > 300, "{disagreements}");
}

/// Both ends of a connection.
async fn connected() -> (SendfileSocket, TcpStream, Arc<ConnectionMetrics>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (near, _) = listener.accept().await.unwrap();
    let metrics = Arc::new(ConnectionMetrics::default());
    (SendfileSocket::new(near, ConnectionMetrics::clone(&metrics)), far, metrics)
}

/// Puts all of a file into an answer, region by region, and writes it behind a head as the HTTP library does.
async fn send(mut socket: SendfileSocket, file: Arc<LocalFile>) -> std::io::Result<()> {
    let mut head = Bytes::from_static(b"head");
    for position in (0..FILE_BYTES).step_by(REGION_BYTES_MAX) {
        let length = (FILE_BYTES - position).min(REGION_BYTES_MAX);
        let region = Region::new(Arc::clone(&file), position as u64, length);
        let mut body = socket.outbox().enclose(Piece::Region(region));
        while head.has_remaining() || body.has_remaining() {
            let slices = [IoSlice::new(&head), IoSlice::new(&body)];
            let count = socket.write_vectored(&slices).await?;
            let of_head = count.min(head.len());
            head.advance(of_head);
            body.advance(count - of_head);
        }
    }
    socket.shutdown().await
}

#[tokio::test]
async fn a_file_that_is_not_in_memory_is_read_elsewhere_and_arrives() {
    let (_folder, file, bytes) = stored().await;
    // The bytes were synced, so the kernel may forget them, unless they are nowhere else.
    fadvise(file.file(), 0, None, Advice::DontNeed).unwrap();
    let is_forgotten = !file.is_resident(0, FILE_BYTES);
    let (socket, mut far, metrics) = connected().await;
    let sending = TaskTracker::new().spawn(send(socket, Arc::clone(&file)));
    let mut received = Vec::new();
    far.read_to_end(&mut received).await.unwrap();
    sending.await.unwrap().unwrap();
    assert!(received[..4] == *b"head" && received[4..] == bytes);
    assert_eq!(metrics.bytes_sent_from_files(), FILE_BYTES as u64);
    assert_eq!(metrics.cold_files() > 0, is_forgotten);
    assert!(file.is_resident(0, FILE_BYTES));
}

/// The stalled disk is a gate in front of the only thread that may wait for one: what is read anywhere else arrives too early.
#[test]
fn a_disk_that_stalls_holds_up_nobody_else() {
    let storing = tokio::runtime::Runtime::new().unwrap();
    let ((_folder, cold, cold_bytes), (_other_folder, warm, warm_bytes)) =
        storing.block_on(async { (stored().await, stored().await) });
    fadvise(cold.file(), 0, None, Advice::DontNeed).unwrap();
    if cold.is_resident(0, FILE_BYTES) {
        // A file system in memory has no disk that could stall.
        return;
    }
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (gate, closed) = std::sync::mpsc::channel::<()>();
        let stalled = spawn_blocking(move || closed.recv());
        let (socket, mut waiting, metrics) = connected().await;
        let sending_cold = TaskTracker::new().spawn(send(socket, cold));
        let is_reached = async {
            while metrics.cold_files() == 0 {
                yield_now().await;
            }
        };
        timeout(MOST_OF_A_TEST, is_reached).await.expect("the file is looked at before it is sent");

        let (socket, mut served, _) = connected().await;
        let sending_warm = TaskTracker::new().spawn(send(socket, warm));
        let mut received = Vec::new();
        let whole = timeout(MOST_OF_A_TEST, served.read_to_end(&mut received)).await;
        whole.expect("one connection holds up the other").unwrap();
        sending_warm.await.unwrap().unwrap();
        assert!(received[4..] == warm_bytes);
        assert!(!sending_cold.is_finished());
        let mut early = [0; 1000];
        let count = waiting.try_read(&mut early).unwrap_or(0);
        assert!(count <= b"head".len(), "{count} bytes of the file came without the disk");

        gate.send(()).unwrap();
        stalled.await.unwrap().unwrap();
        let mut rest = early[..count].to_vec();
        waiting.read_to_end(&mut rest).await.unwrap();
        sending_cold.await.unwrap().unwrap();
        assert!(rest[4..] == cold_bytes);
    });
}

#[tokio::test]
async fn a_file_that_the_kernel_cannot_send_is_copied() {
    let (_folder, file, bytes) = stored().await;
    let (mut socket, mut far, metrics) = connected().await;
    socket.copies = true;
    let sending = TaskTracker::new().spawn(send(socket, file));
    let mut received = Vec::new();
    far.read_to_end(&mut received).await.unwrap();
    sending.await.unwrap().unwrap();
    assert!(received[..4] == *b"head" && received[4..] == bytes);
    assert_eq!(metrics.bytes_sent_from_files(), 0);
}

#[tokio::test]
async fn a_file_that_got_shorter_ends_the_connection_where_it_ends() {
    let (_folder, file, bytes) = stored().await;
    let shorter = FILE_BYTES - 5000;
    OpenOptions::new().write(true).open(file.path()).unwrap().set_len(shorter as u64).unwrap();
    let (socket, mut far, _) = connected().await;
    let sending = TaskTracker::new().spawn(send(socket, file));
    let mut received = Vec::new();
    far.read_to_end(&mut received).await.unwrap();
    let error = sending.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(received[4..] == bytes[..shorter]);
}

#[tokio::test]
async fn a_placeholder_that_was_copied_is_not_sent() {
    let (_folder, file, _) = stored().await;
    let (mut socket, mut far, _) = connected().await;
    let placeholder = socket.outbox().enclose(Piece::Region(Region::new(file, 0, 1000)));
    let copied = Bytes::copy_from_slice(&placeholder);
    let error = socket.write_vectored(&[IoSlice::new(b"head"), IoSlice::new(&copied)]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Other);
    drop(socket);
    let mut received = Vec::new();
    far.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"");
}
