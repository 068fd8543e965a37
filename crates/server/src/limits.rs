//! Every limit of the HTTP front, and what happens at it.

use std::time::Duration;

/// A new connection, or one that has begun a request, must deliver the whole head within this time; then it is closed.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that stays silent between two requests for this long is closed.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// A client that takes not one byte of a response for this long is cut off.
pub(crate) const WRITE_STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a client may be waited for until it has sent [`BODY_BYTES_MIN`] more of a request body; then the body ends
/// in an error.
pub(crate) const BODY_STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// The bytes of a request body that buy another [`BODY_STALL_TIMEOUT`]: about 17 bytes a second, far below any link
/// that could finish an upload.
pub(crate) const BODY_BYTES_MIN: u64 = 1024;

/// Connections that are served at once; further ones fall into the [reserve](CONNECTIONS_RESERVE).
pub(crate) const CONNECTIONS_MAX: usize = 10_000;

/// Connections beyond [`CONNECTIONS_MAX`] that are still accepted: they get an answer to health checks and 503 to
/// everything else, and are closed after it. When the reserve is taken too, clients wait in the queue of the kernel.
pub(crate) const CONNECTIONS_RESERVE: usize = 64;

/// The head timeout of a connection in the reserve, so that silent clients cannot keep health checks out.
pub(crate) const RESERVE_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long requests may go on after shutdown was asked for; then their connections are cut.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a response that the library queues for an HTTP/1 connection of TLS before it asks for no more; the last buffer may go beyond it. So
/// a client that does not read holds three read buffers at most. The library's own bound is 400 KiB, and larger writes do not make TLS faster.
pub(crate) const ENCRYPTED_QUEUE_BYTES: usize = 128 * 1024;

/// Bytes of a request head, start line included; beyond it the answer is 431 and the connection ends.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one request header's value; beyond it the answer is 431.
pub(crate) const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a request target; beyond it the answer is 414.
pub(crate) const TARGET_BYTES_MAX: usize = 8 * 1024;

/// The first pause after the process ran out of file descriptors or memory for sockets.
pub(crate) const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause after the process ran out of file descriptors or memory for sockets.
pub(crate) const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Failures to accept are logged at most once in this time.
pub(crate) const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes of a form that asks for a token; beyond it the answer is 413. A password may be a token of another provider.
pub(crate) const TOKEN_FORM_BYTES_MAX: usize = 64 * 1024;

/// Scopes in one question for a token; beyond it the answer is 400.
pub(crate) const TOKEN_SCOPES_MAX: usize = 100;

/// A readiness probe that takes longer counts as not ready.
pub(crate) const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// Characters of a user agent that the access log keeps; the rest is dropped.
pub(crate) const LOGGED_USER_AGENT_MAX: usize = 200;

/// Characters of a path, repository or reference that the access log keeps; the rest is dropped.
pub(crate) const LOGGED_PATH_MAX: usize = 1024;

/// Connections that the metrics listener serves at once.
pub(crate) const METRICS_CONNECTIONS_MAX: usize = 32;

/// Connections that the operator's socket serves at once; further ones wait in the queue of the kernel.
pub(crate) const SOCKET_CONNECTIONS_MAX: usize = 32;

/// How long a connection whose client is still sending is read and discarded after the last answer, so that the client
/// sees the answer and not a reset.
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of the body of an administrative request; beyond it the answer is 413.
pub(crate) const ADMIN_BODY_BYTES_MAX: usize = 16 * 1024;

/// Entries on one page of the cache's; a larger page is cut and a link leads on.
pub(crate) const ADMIN_PAGE_MAX: usize = 1000;

/// Seconds that a token may live for when it is to end at all, ten years; beyond it the answer is 400.
pub(crate) const CREDENTIAL_LIFETIME_SECONDS_MAX: i64 = 10 * 366 * 86_400;

/// Platforms that one request may want of an image; beyond it the answer is 400.
pub(crate) const WARM_PLATFORMS_MAX: usize = 32;

/// Bytes of the name in a client certificate; a longer one is no name, and its owner nobody.
pub(crate) const CERTIFICATE_NAME_MAX: usize = 256;

/// A handshake of TLS must be over within this time, from the connection on; then it is closed.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests that one HTTP/2 connection may have open at once; further ones are refused, which clients wait and repeat.
pub(crate) const STREAMS_MAX: u32 = 128;

/// Requests that a client may take back before they were looked at; with more of them waiting the connection ends
/// (`ENHANCE_YOUR_CALM`).
pub(crate) const STREAMS_TAKEN_BACK_MAX: usize = 20;

/// Errors of streams that a client may provoke on one connection; then it ends (`ENHANCE_YOUR_CALM`).
pub(crate) const STREAM_ERRORS_MAX: usize = 256;

/// Bytes of one request body over HTTP/2 that a client may send ahead of its reader; then it has to wait.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;

/// Bytes of all request bodies of one HTTP/2 connection that may be on their way to their readers; then all have to wait.
pub(crate) const CONNECTION_WINDOW: u32 = 2 << 20;

/// Bytes of files that a connection sends before others have their turn: about half a millisecond. Few sockets take as much without a
/// pause; a turn costs as much as sending 40 KiB.
pub(crate) const SENDFILE_BURST_BYTES: usize = 4 << 20;

/// Bytes of a file that are read from a disk before they are sent, when they are not in memory.
pub(crate) const COLD_BYTES_MAX: usize = 1 << 20;

/// How long a part of a file is taken to be in memory after a look at it, while the client makes it wait. Memory is not that short for
/// what was just used, and a slow client does not cost a look for each packet.
pub(crate) const RESIDENCE_TRUST: Duration = Duration::from_millis(100);

/// Bytes that are copied at once from a file that the kernel cannot send.
pub(crate) const COPIED_BYTES_MAX: usize = 64 * 1024;

/// Parts of blobs up to this size are read into memory, to leave in one write with the head of their answer.
pub(crate) const SMALL_PART_BYTES: u64 = 32 * 1024;

/// Bytes of one HTTP/2 response that wait for the socket; then its body is not asked for more.
pub(crate) const STREAM_SEND_BUFFER: usize = 4 * STREAM_PIECE;

/// The largest piece of a response that HTTP/2 is given at once: one frame, which with its head of 9 bytes fills one record of TLS.
/// A byte more, and each frame would be two records. A client that takes no such piece for [`STREAM_STALL_TIMEOUT`] loses the
/// response.
pub(crate) const STREAM_PIECE: usize = 16 * 1024 - 9;

/// Bytes of an HTTP/2 connection that are encrypted before the socket is given them: four full records, in one write. At the limit
/// nothing more is taken until the socket has them. (HTTP/1 leaves that to the TLS library, which has the same limit.)
pub(crate) const GATHERED_MAX: usize = 64 * 1024;

/// A response over HTTP/2 that its client opens no window for is given up after this time, and the others go on. It is longer than
/// [`WRITE_STALL_TIMEOUT`], because many clients open a window again when half of it is used: megabytes, on a slow link.
pub(crate) const STREAM_STALL_TIMEOUT: Duration = Duration::from_mins(2);

/// An HTTP/2 connection is pinged this often, so that one whose client is gone does not wait for an upstream.
pub(crate) const PING_INTERVAL: Duration = Duration::from_mins(1);

/// An HTTP/2 client that has not answered a ping by then is gone. It is long because the ping stands in a row with all that the
/// socket has taken before: megabytes, on a slow link.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_mins(2);

/// Connections that other replicas may have open at the internal listener. More wait.
pub(crate) const REPLICA_CONNECTIONS_MAX: usize = 10_000;
