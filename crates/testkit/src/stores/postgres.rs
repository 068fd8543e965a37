//! A real PostgreSQL, with a cluster of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, getuid, kill_process};

use super::folder::Folder;
use super::process::{NotReady, Process};
use super::program::free_port;

/// Where Debian keeps the programs of each version, since only the client's are in everybody's path.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Who owns everything.
const USER: &str = "entrepot";

/// The password of [`USER`] over TCP.
const PASSWORD: &str = "a password of a test";

/// `nobody`, for a server that refuses to run as root.
const NOBODY: u32 = 65_534;

/// What the server says when it takes connections.
const READY: &str = "database system is ready to accept connections";

/// Ports that are tried: another program may take a port between the choice and the start.
const PORTS_TRIED: usize = 5;

/// A cluster in a folder of its own, on a loopback port. Meant to be started once for all tests of a program; each takes a
/// [`Postgres::database`] of its own.
///
/// All calls block. Nothing is left when it is dropped, or when the process of the test ends in whatever way.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: Arc<Folder>,
    port: u16,
    is_durable: bool,
    settings: Vec<String>,
    databases: AtomicUsize,
    server: Mutex<Option<Process>>,
}

/// How a cluster is to be, from [`Postgres::with`].
#[derive(Clone, Debug, Default)]
#[must_use = "a cluster is started with start()"]
pub struct PostgresOptions {
    is_durable: bool,
    settings: Vec<String>,
}

impl PostgresOptions {
    /// Waits for the disk at each commit, so that what was committed outlives a loss of power. Without this nothing is ever
    /// synchronised: a killed server still loses nothing, since the system's memory outlives it.
    pub const fn durable(mut self) -> Self {
        self.is_durable = true;
        self
    }

    /// With a setting of `postgresql.conf`, such as `max_connections = 20`.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push(format!("{name}={value}"));
        self
    }

    /// Makes the cluster and starts its server.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or cannot start.
    pub fn start(self) -> Postgres {
        Postgres::start_with(self)
    }
}

impl Postgres {
    /// Makes a cluster and starts its server.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or cannot start.
    pub fn start() -> Self {
        Self::with().start()
    }

    /// Begins with the usual options.
    pub fn with() -> PostgresOptions {
        PostgresOptions::default()
    }

    fn start_with(options: PostgresOptions) -> Self {
        let folder = Arc::new(Folder::new("postgres"));
        if getuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root gives a folder away");
        }
        let mut postgres = Self {
            programs: programs(),
            folder,
            port: 0,
            is_durable: options.is_durable,
            settings: options.settings,
            databases: AtomicUsize::new(0),
            server: Mutex::default(),
        };
        postgres.make_cluster();
        let mut tries = 0;
        let server = loop {
            postgres.port = free_port();
            tries += 1;
            match postgres.start_server() {
                Ok(server) => break server,
                Err(error) if tries == PORTS_TRIED => panic!("{error}"),
                Err(_) => {}
            }
        };
        *postgres.server() = Some(server);
        postgres
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The password that every URL contains, for settings that want it in a file.
    pub const fn password(&self) -> &'static str {
        PASSWORD
    }

    /// A new, empty database, as `postgres://USER:PASSWORD@127.0.0.1:PORT/NAME`.
    ///
    /// # Panics
    /// When the server is not running.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.query("postgres", &format!("CREATE DATABASE {name}"));
        self.url_at(self.port, &name)
    }

    /// The URL of a database by way of another port, such as that of a [`super::CutProxy`] in front of it.
    pub fn url_at(&self, port: u16, database: &str) -> String {
        let password = PASSWORD.replace(' ', "%20");
        format!("postgres://{USER}:{password}@127.0.0.1:{port}/{database}")
    }

    /// Runs a statement in a database, as the owner of everything and past the network, and returns its rows: a line each, the
    /// columns separated by `|`.
    ///
    /// # Panics
    /// When the server is not running or refuses it.
    pub fn query(&self, database: &str, statement: &str) -> String {
        self.folder.run(&mut self.client(database, statement)).trim_end().to_owned()
    }

    /// How many clients are connected to any database, this question's own left out.
    ///
    /// # Panics
    /// When the server is not running.
    pub fn connections(&self) -> usize {
        let statement =
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        self.query("postgres", statement).parse().expect("a number")
    }

    /// Breaks every connection of a client, as a failover does; new ones are welcome.
    ///
    /// # Panics
    /// When the server is not running.
    pub fn cut_connections(&self) {
        let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        self.query("postgres", statement);
    }

    /// Breaks every connection, rolls back what is open, and ends the server. The port refuses connections then.
    pub fn stop(&self) {
        if let Some(server) = self.server().take() {
            server.stop(Signal::INT);
        }
    }

    /// Ends the server and all its processes in the midst of whatever they do.
    pub fn kill(&self) {
        let Some(server) = self.server().take() else { return };
        // Each of its processes is in a group of its own. None is added while their parent stands still, and none may be left:
        // the next server would find their memory in use.
        server.signal_first(Signal::STOP);
        signal_all(&server.children(), Signal::KILL);
        drop(server);
    }

    /// Starts the server again, on the same port and with everything that was committed. One that runs is stopped before.
    ///
    /// # Panics
    /// When it cannot start.
    pub fn restart(&self) {
        self.stop();
        let server = self.start_server().unwrap_or_else(|error| panic!("{error}"));
        *self.server() = Some(server);
    }

    /// Makes the server stand still: it answers nothing, while its port still takes connections.
    ///
    /// # Panics
    /// When the server is not running.
    pub fn hold(&self) {
        let server = self.server();
        let server = server.as_ref().expect("a running server");
        server.signal_first(Signal::STOP);
        signal_all(&server.children(), Signal::STOP);
    }

    /// Lets a held server go on.
    ///
    /// # Panics
    /// When the server is not running.
    pub fn release(&self) {
        let server = self.server();
        let server = server.as_ref().expect("a running server");
        signal_all(&server.children(), Signal::CONT);
        server.signal_first(Signal::CONT);
    }

    /// The folder with the cluster, and with `postgres.log`, all that the server has said.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn server(&self) -> MutexGuard<'_, Option<Process>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, database: &str, statement: &str) -> Command {
        let mut client = Command::new(self.programs.join("psql"));
        client.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        client.arg(format!("--host={}", self.folder.path().display()));
        client.args([&format!("--port={}", self.port), &format!("--username={USER}"), &format!("--dbname={database}")]);
        client.args(["--command", statement]);
        client
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir("/").env("LC_ALL", "C");
        if getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn make_cluster(&self) {
        let password = self.folder.path().join("password");
        fs::write(&password, PASSWORD).expect("a file");
        fs::set_permissions(&password, fs::Permissions::from_mode(0o444)).expect("a file of ours");
        let mut command = self.command("initdb");
        command.args(["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
        command.args(["--no-sync", "--no-instructions", &format!("--username={USER}")]);
        command.arg(format!("--pwfile={}", password.display())).arg(format!("--pgdata={}", self.data().display()));
        self.folder.run(&mut command);
    }

    fn start_server(&self) -> Result<Process, NotReady> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            format!("unix_socket_directories={}", self.folder.path().display()),
            "logging_collector=off".to_owned(),
            "lc_messages=C".to_owned(),
            // Several clusters run side by side.
            "shared_buffers=32MB".to_owned(),
        ];
        if !self.is_durable {
            // Not `synchronous_commit`: a killed server would lose what it had acknowledged.
            settings.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
        }
        for setting in settings.iter().chain(&self.settings) {
            command.args(["-c", setting]);
        }
        Process::start("postgres", command, &self.folder, READY)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The folder goes with it: there is nothing to put in order.
        self.kill();
    }
}

fn signal_all(processes: &[Pid], signal: Signal) {
    for process in processes {
        // It may have ended by itself meanwhile.
        let _ = kill_process(*process, signal);
    }
}

/// The folder with the programs of the newest version.
fn programs() -> PathBuf {
    let versions = fs::read_dir(VERSIONS).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let numbers = versions.iter().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = numbers
        .filter(|number| fs::metadata(format!("{VERSIONS}/{number}/bin/postgres")).is_ok())
        .max()
        .unwrap_or_else(|| panic!("no PostgreSQL below {VERSIONS}: tests/stores/install installs it"));
    PathBuf::from(format!("{VERSIONS}/{newest}/bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_there_after_a_kill_a_stop_and_a_hold() {
        let postgres = Postgres::start();
        let (first, second) = (postgres.database(), postgres.database());
        assert_ne!(first, second);
        postgres.query("test_0", "CREATE TABLE numbers (number int); INSERT INTO numbers VALUES (1)");
        let busy = "SELECT count(*) FROM generate_series(1, 1000000000)";
        std::thread::scope(|scope| {
            let client = scope.spawn(|| postgres.folder.output(&mut postgres.client("test_0", busy)));
            while postgres.connections() == 0 && !client.is_finished() {}
            postgres.kill();
            let output = client.join().expect("it only waits");
            assert!(!output.status.success(), "the client of a killed server was answered");
        });
        assert!(std::net::TcpStream::connect(("127.0.0.1", postgres.port())).is_err(), "it still listens");
        postgres.restart();
        postgres.query("test_0", "INSERT INTO numbers VALUES (2)");
        postgres.restart();
        postgres.hold();
        let waiting = std::net::TcpStream::connect(("127.0.0.1", postgres.port()));
        assert!(waiting.is_ok(), "a held server's port takes connections");
        postgres.release();
        assert_eq!(postgres.query("test_0", "SELECT number FROM numbers ORDER BY 1"), "1\n2");
        let folder = postgres.folder().to_owned();
        drop(postgres);
        assert!(!folder.try_exists().expect("an answer"), "its folder is still there");
    }
}
