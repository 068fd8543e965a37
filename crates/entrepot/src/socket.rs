//! Where the operator's socket is, how it is made so that nobody else can open it, and how commands connect to it.
//!
//! It lies in the folder of the own images, or, where these are in a bucket, in that of what is not finished: one server at a time uses it. Whoever can open it is the operator; it has the rights
//! of its owner alone before the first client can come, whatever the umask is.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// The name of the socket in the folder that one server at a time uses.
const SOCKET_FILE: &str = "entrepot.socket";

/// Commands that may wait to be accepted.
const BACKLOG: u32 = 64;

/// The socket of this process: the file goes with it.
#[derive(Debug)]
pub(crate) struct OperatorSocket {
    address: Address,
}

impl OperatorSocket {
    /// Makes the socket in place of one that a dead server left. Only for whoever holds the lock of the folder.
    ///
    /// # Errors
    /// When the file system has no sockets, or something else has its name.
    pub(crate) fn bind(folder: &Path) -> io::Result<(Self, UnixListener)> {
        let address = Address::of(folder)?;
        remove_stale(&address.path)?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(&address.path)?;
        let bound = Self { address };
        // Nobody can connect before it listens, so that nobody comes in between.
        std::fs::set_permissions(&bound.address.path, Permissions::from_mode(0o600))?;
        let listener = socket.listen(BACKLOG)?;
        Ok((bound, listener))
    }
}

impl Drop for OperatorSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.address.path) {
            tracing::warn!(%error, "the operator's socket stays; the next start removes it");
        }
    }
}

/// Where the socket of a folder is, for people.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(SOCKET_FILE)
}

/// A connection to the server that uses the folder.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] or [`io::ErrorKind::ConnectionRefused`] when there is none.
pub(crate) async fn connect(folder: &Path) -> io::Result<UnixStream> {
    let address = Address::of(folder)?;
    UnixStream::connect(&address.path).await
}

/// A path that fits into the address of a socket.
#[derive(Debug)]
struct Address {
    path: PathBuf,
    /// The folder, where the path leads through it.
    _folder: Option<OwnedFd>,
}

impl Address {
    /// The system takes a little more than a hundred bytes; a longer path is entered by way of the folder, opened.
    fn of(folder: &Path) -> io::Result<Self> {
        let path = path(folder);
        if SocketAddr::from_pathname(&path).is_ok() {
            return Ok(Self { path, _folder: None });
        }
        let folder = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = format!("/proc/self/fd/{}/{SOCKET_FILE}", folder.as_raw_fd()).into();
        Ok(Self { path, _folder: Some(folder) })
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "something of this name is there, and is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let missing = connect(folder.path()).await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let (socket, listener) = OperatorSocket::bind(folder.path()).unwrap();
        assert_eq!(mode(&path(folder.path())), 0o600);
        let (connected, accepted) = tokio::join!(connect(folder.path()), listener.accept());
        assert!(connected.is_ok() && accepted.is_ok());
        drop((socket, listener));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_a_dead_server_left_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, listener) = OperatorSocket::bind(folder.path()).unwrap();
        drop(listener);
        std::mem::forget(socket);
        assert_eq!(connect(folder.path()).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let bound = OperatorSocket::bind(folder.path()).unwrap();
        assert!(connect(folder.path()).await.is_ok());
        drop(bound);
        std::fs::write(path(folder.path()), "mine").unwrap();
        assert_eq!(OperatorSocket::bind(folder.path()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(path(folder.path())).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_folder_may_have_a_long_path() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("f".repeat(120)).join("g".repeat(120));
        std::fs::create_dir_all(&folder).unwrap();
        let bound = OperatorSocket::bind(&folder).unwrap();
        assert_eq!(mode(&path(&folder)), 0o600);
        assert!(connect(&folder).await.is_ok());
        drop(bound);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }
}
