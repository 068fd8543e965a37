//! A proxy for whatever speaks TCP, that can be an outage.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::program::free_port;

/// The largest piece that is passed on at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// How long a test waits for a cut before it fails.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// A proxy on a loopback port in front of one address: a database, an object store. It passes everything on until it is told
/// otherwise, and again when it is [healed](Self::heal). It ends when it is dropped.
pub struct CutProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// When a connection is cut at something that the client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutMoment {
    /// The server does not get it.
    BeforeRequest,
    /// The server gets it and answers, and the client does not get the answer.
    BeforeAnswer,
}

struct Shared {
    target: SocketAddr,
    control: watch::Sender<Control>,
    /// What the next cut waits for.
    cut_at: Mutex<Option<(Vec<u8>, CutMoment)>>,
}

#[derive(Clone, Copy, Default)]
struct Control {
    is_hanging: bool,
    delay: Duration,
    /// Raised to break every connection there is.
    cuts: usize,
    /// How many times something was met that was to be cut at.
    cuts_met: usize,
    /// How many connections and pieces had to wait because nothing passes.
    hung: usize,
    accepted: usize,
    open: usize,
}

impl CutProxy {
    /// Starts a proxy in front of `target`, which need not be there yet.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start(target: SocketAddr) -> Self {
        let shared = Shared { target, control: watch::Sender::new(Control::default()), cut_at: Mutex::default() };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let proxy = Self { address, shared: Arc::new(shared), server: Mutex::default() };
        proxy.listen().await;
        proxy
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port at which it listens.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Breaks every connection, and refuses new ones: nobody listens any more.
    pub async fn refuse(&self) {
        let server = self.server().take();
        if let Some(server) = server {
            server.abort();
            // It was aborted: that it ended is all there is to know.
            let _ = server.await;
        }
        self.shared.control.send_modify(|control| control.open = 0);
    }

    /// Nothing passes any more, in either direction; new connections are accepted and hang as well.
    pub fn hang(&self) {
        self.shared.control.send_modify(|control| control.is_hanging = true);
    }

    /// Breaks every connection that there is; new ones pass.
    pub fn cut(&self) {
        self.shared.control.send_modify(|control| control.cuts += 1);
    }

    /// From now on every piece, in either direction, is passed on after this time.
    pub fn delay(&self, delay: Duration) {
        self.shared.control.send_modify(|control| control.delay = delay);
    }

    /// The next connection over which the client sends these bytes in one piece, such as `COMMIT`, is cut there, once.
    /// (Small messages come in one piece; the bytes of large ones may be torn apart.)
    pub fn cut_at(&self, pattern: &[u8], moment: CutMoment) {
        *self.shared.cut_at() = Some((pattern.to_vec(), moment));
    }

    /// Waits until so many connections were cut by [`Self::cut_at`] since the start.
    ///
    /// # Panics
    /// When that takes more than 20 seconds.
    pub async fn wait_for_cuts(&self, count: usize) {
        self.wait_for(|control| control.cuts_met >= count, "the client has not sent what was to be cut at").await;
    }

    /// Waits until so many new connections, or pieces of older ones, have begun to wait because of [`Self::hang`], since the
    /// start.
    ///
    /// # Panics
    /// When that takes more than 20 seconds.
    pub async fn wait_for_hung(&self, count: usize) {
        self.wait_for(|control| control.hung >= count, "nothing came that could hang").await;
    }

    async fn wait_for(&self, condition: impl FnMut(&Control) -> bool, failure: &str) {
        let mut control = self.shared.control.subscribe();
        let met = tokio::time::timeout(WAIT_MAX, control.wait_for(condition)).await;
        assert!(met.is_ok(), "{failure}");
    }

    /// Passes everything on again, at once; what hangs goes on.
    ///
    /// # Panics
    /// When the port is taken by now.
    pub async fn heal(&self) {
        self.shared.control.send_modify(|control| {
            control.is_hanging = false;
            control.delay = Duration::ZERO;
        });
        *self.shared.cut_at() = None;
        if self.server().is_none() {
            self.listen().await;
        }
    }

    /// How many connections were accepted since the start.
    pub fn accepted(&self) -> usize {
        self.shared.control.borrow().accepted
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.shared.control.borrow().open
    }

    async fn listen(&self) {
        let listener = TcpListener::bind(self.address).await.expect("the port is free");
        let shared = Arc::clone(&self.shared);
        #[expect(clippy::disallowed_methods, reason = "the proxy holds the task and ends it")]
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                shared.control.send_modify(|control| {
                    control.accepted += 1;
                    control.open += 1;
                });
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    // A connection that breaks is the client's to notice.
                    let _ = shared.pass(client).await;
                    shared.control.send_modify(|control| control.open -= 1);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        *self.server() = Some(server);
    }

    fn server(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        if let Some(server) = self.server().take() {
            server.abort();
        }
    }
}

impl fmt::Debug for CutProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, shared, .. } = self;
        formatter
            .debug_struct("CutProxy")
            .field("address", address)
            .field("target", &shared.target)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn cut_at(&self) -> MutexGuard<'_, Option<(Vec<u8>, CutMoment)>> {
        self.cut_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection, until either side ends it or it is cut.
    async fn pass(&self, client: TcpStream) -> io::Result<()> {
        let mut control = self.control.subscribe();
        let cuts = control.borrow().cuts;
        tokio::select! {
            passed = self.pass_until_the_end(client) => passed,
            _ = control.wait_for(|control| control.cuts != cuts) => Err(cut()),
        }
    }

    async fn pass_until_the_end(&self, client: TcpStream) -> io::Result<()> {
        self.wait_while_hanging().await;
        let server = TcpStream::connect(self.target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let loses_answer = AtomicBool::new(false);
        tokio::try_join!(
            self.pass_requests(from_client, to_server, &loses_answer),
            self.pass_answers(from_server, to_client, &loses_answer),
        )?;
        Ok(())
    }

    async fn pass_requests(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        loses_answer: &AtomicBool,
    ) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES_MAX];
        loop {
            let length = from.read(&mut piece).await?;
            if length == 0 {
                return to.shutdown().await;
            }
            self.wait_as_told().await;
            match self.moment_of(&piece[..length]) {
                Some(CutMoment::BeforeRequest) => {
                    self.control.send_modify(|control| control.cuts_met += 1);
                    return Err(cut());
                }
                Some(CutMoment::BeforeAnswer) => loses_answer.store(true, Ordering::SeqCst),
                None => {}
            }
            to.write_all(&piece[..length]).await?;
        }
    }

    async fn pass_answers(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        loses_answer: &AtomicBool,
    ) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES_MAX];
        loop {
            let length = from.read(&mut piece).await?;
            if loses_answer.load(Ordering::SeqCst) {
                self.control.send_modify(|control| control.cuts_met += 1);
                return Err(cut());
            }
            if length == 0 {
                return to.shutdown().await;
            }
            self.wait_as_told().await;
            to.write_all(&piece[..length]).await?;
        }
    }

    /// What is to happen at this piece, if it holds what is waited for; that is over with it.
    fn moment_of(&self, piece: &[u8]) -> Option<CutMoment> {
        let mut waiting = self.cut_at();
        let (pattern, moment) = waiting.as_ref()?;
        let moment = piece.windows(pattern.len()).any(|window| window == pattern).then_some(*moment)?;
        *waiting = None;
        Some(moment)
    }

    async fn wait_as_told(&self) {
        let delay = self.control.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.wait_while_hanging().await;
    }

    async fn wait_while_hanging(&self) {
        let mut control = self.control.subscribe();
        if !control.borrow().is_hanging {
            return;
        }
        self.control.send_modify(|control| control.hung += 1);
        // The sender is `self`: it cannot go while this waits.
        let _ = control.wait_for(|control| !control.is_hanging).await;
    }
}

fn cut() -> io::Error {
    io::Error::other("cut by the test")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every piece with itself, and the connection of a client to a proxy in front of it.
    async fn echo() -> (JoinSet<()>, CutProxy) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let proxy = CutProxy::start(listener.local_addr().expect("it listens")).await;
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (server, proxy)
    }

    async fn connect(proxy: &CutProxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.expect("it listens")
    }

    async fn ask(stream: &mut TcpStream, text: &str) -> io::Result<()> {
        stream.write_all(text.as_bytes()).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        assert_eq!(answer, text.as_bytes());
        Ok(())
    }

    #[tokio::test]
    async fn it_cuts_refuses_hangs_and_heals() {
        let (_server, proxy) = echo().await;
        let mut first = connect(&proxy).await;
        ask(&mut first, "passes").await.expect("an answer");
        proxy.cut();
        ask(&mut first, "is cut").await.expect_err("it is cut");
        let mut second = connect(&proxy).await;
        ask(&mut second, "passes").await.expect("an answer");
        proxy.refuse().await;
        ask(&mut second, "is cut").await.expect_err("it is cut");
        TcpStream::connect(proxy.address()).await.expect_err("nobody listens");
        proxy.heal().await;

        let mut third = connect(&proxy).await;
        ask(&mut third, "passes").await.expect("an answer");
        proxy.hang();
        let mut hanging = connect(&proxy).await;
        let healed = async {
            // One was accepted while nothing passes, the other had passed before.
            proxy.wait_for_hung(2).await;
            proxy.heal().await;
        };
        let (one, other, ()) = tokio::join!(ask(&mut third, "hangs"), ask(&mut hanging, "hangs as well"), healed);
        one.and(other).expect("they go on");
        assert_eq!((proxy.accepted(), proxy.open()), (4, 2));
    }

    #[tokio::test]
    async fn it_cuts_at_what_a_client_sends() {
        let (_server, proxy) = echo().await;
        for (count, moment) in [CutMoment::BeforeRequest, CutMoment::BeforeAnswer].into_iter().enumerate() {
            let mut stream = connect(&proxy).await;
            proxy.cut_at(b"COMMIT", moment);
            ask(&mut stream, "BEGIN;").await.expect("an answer");
            ask(&mut stream, "COMMIT;").await.expect_err("it is cut");
            proxy.wait_for_cuts(count + 1).await;
            ask(&mut connect(&proxy).await, "COMMIT;").await.expect("it was to be cut once");
        }
    }
}
