//! A fake HTTP forward proxy: it passes on what it is told to, and remembers what that was.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Bytes of the head of a request. A longer one ends the connection.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A forward proxy on a loopback port, for `CONNECT` and for requests with a whole URL. It ends when it is dropped.
pub struct FakeProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// The value of `Proxy-Authorization` that is wanted.
    wanted: Option<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    routes: HashMap<String, SocketAddr>,
    passed_on: Vec<String>,
    turned_away: usize,
    secrets: usize,
}

impl FakeProxy {
    /// Starts a proxy for everyone.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts a proxy for those who know the password.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start_wanting(username: &str, password: &str) -> Self {
        Self::start_with(Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))).await
    }

    async fn start_with(wanted: Option<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("it listens");
        let shared = Arc::new(Shared { wanted, state: Mutex::default() });
        let serving = Arc::clone(&shared);
        #[expect(clippy::disallowed_methods, reason = "the fake proxy holds the task and ends it")]
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // A connection that breaks is the client's to notice.
                connections.spawn(async move { drop(pass_on(stream, &shared).await) });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, shared, server }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects to `address` when it is asked for `authority`, a host with its port: the name exists for this proxy alone.
    pub fn route(&self, authority: &str, address: SocketAddr) {
        self.shared.lock().routes.insert(authority.to_owned(), address);
    }

    /// What it was told to connect to, a host with its port each time, in the order of arrival.
    pub fn passed_on(&self) -> Vec<String> {
        self.shared.lock().passed_on.clone()
    }

    /// How many requests did not know the password.
    pub fn turned_away(&self) -> usize {
        self.shared.lock().turned_away
    }

    /// How many requests carried an `Authorization` that the proxy could read.
    pub fn secrets(&self) -> usize {
        self.shared.lock().secrets
    }
}

impl Drop for FakeProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl fmt::Debug for FakeProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FakeProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the next: a panic elsewhere leaves nothing half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection: one request, or one tunnel.
async fn pass_on(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let (head, rest) = read_head(&mut client).await?;
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let (first, headers) = head.split_once("\r\n").ok_or_else(bad)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(bad());
    };
    if shared.wanted.is_some() && header(headers, "proxy-authorization") != shared.wanted.as_deref() {
        shared.lock().turned_away += 1;
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\nproxy-authenticate: Basic realm=\"proxy\"\r\n\r\n").await;
    }
    let is_tunnel = method == "CONNECT";
    let without_scheme = if is_tunnel { target } else { target.strip_prefix("http://").ok_or_else(bad)? };
    let (authority, path) = without_scheme.find('/').map_or((without_scheme, "/"), |at| without_scheme.split_at(at));
    let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let address = {
        let mut state = shared.lock();
        state.passed_on.push(authority.clone());
        state.secrets += usize::from(header(headers, "authorization").is_some());
        state.routes.get(&authority).copied()
    };
    let connected = match address {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect(authority).await,
    };
    let Ok(mut server) = connected else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    };
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    } else {
        let kept: String = headers
            .split_inclusive("\r\n")
            .filter(|line| {
                let line = line.to_ascii_lowercase();
                !line.starts_with("proxy-") && !line.starts_with("connection:")
            })
            .collect();
        // One request for each connection, so that every one of them is seen here.
        let head = format!("{method} {path} {version}\r\nconnection: close\r\n{kept}\r\n");
        server.write_all(head.as_bytes()).await?;
    }
    server.write_all(&rest).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}

/// The head of a request without its empty line, and what came behind it.
async fn read_head(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            bytes.truncate(end + 2);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        if bytes.len() > HEAD_BYTES_MAX || client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    let pairs = headers.lines().filter_map(|line| line.split_once(':'));
    pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
