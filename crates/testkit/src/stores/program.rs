//! Where the programs of other people are, and where they may listen.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports below those that the kernel gives to outgoing connections, so that none of these takes one while its server is down.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// A loopback port that nobody listens on. It is chosen for servers that cannot choose one themselves and say which; each call
/// gives another one.
pub(super) fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    for _ in 0..count {
        // Test programs run side by side: each begins somewhere else.
        let tried = u32::from(TRIED.fetch_add(1, Ordering::Relaxed));
        let offset = std::process::id().wrapping_mul(127).wrapping_add(tried) % count;
        let port = PORTS.start + u16::try_from(offset).expect("less than the number of ports");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {} to {} is free", PORTS.start, PORTS.end);
}

/// The folder into which `tests/stores/install` puts what no package of the system has.
pub(super) fn tools() -> PathBuf {
    let chosen = std::env::var_os("ENTREPOT_TOOLS").map(PathBuf::from);
    chosen.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").unwrap_or_else(|| OsString::from("/root"));
        PathBuf::from(home).join(".cache/entrepot-tools")
    })
}

/// One of the tools.
///
/// # Panics
/// When it is not there.
pub(super) fn tool(name: &str) -> PathBuf {
    let program = tools().join("bin").join(name);
    let found = program.try_exists().expect("the folder of the tools can be read");
    assert!(found, "{} is not there: tests/stores/install puts it there", program.display());
    program
}
