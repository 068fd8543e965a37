"""What replicas share: one node of Garage as the object store, and PostgreSQL. Both on loopback, in the folder of the run."""

import dataclasses
import os
import pathlib
import pwd
import re
import subprocess
import time

import process
from process import free_port

REGION = "garage"
# The keys of nobody.
KEY_ID = "GK0123456789abcdef01234567"
KEY_SECRET = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
RPC_SECRET = "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100"

READY_WITHIN_SECONDS = 30

# A kind of record in what pg_waldump counts: its name, how many, and their bytes.
LOG_LINE = re.compile(r"^(\w+/[\w+]+)\s+(\d+) \([^)]*\)\s+(\d+) \(")
ROW = re.compile(r"^Heap/(INSERT|UPDATE|HOT_UPDATE|DELETE)")

NODE = """\
metadata_dir = "{folder}/metadata"
data_dir = "{folder}/data"
db_engine = "lmdb"
replication_factor = 1
compression_level = "none"
disable_scrub = true
rpc_secret = "{secret}"
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"

[s3_api]
api_bind_addr = "127.0.0.1:{port}"
s3_region = "{region}"
"""


@dataclasses.dataclass(frozen=True)
class Shared:
    """How one server uses the stores. `redirect` sends clients to the bucket; `cache` keeps what was read on the local disk."""

    address: str
    bucket: str
    database: str
    redirect: bool = False
    cache: bool = False


class Store:
    """A process that several servers use."""

    def __init__(self, running, command, folder, environment=None):
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder, env=environment
            )
        self.log, self.running = folder / "log", running
        running.append(self)

    def wait(self, is_ready):
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"a store did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def processor_seconds(self):
        """Of the first process and its children, those that have ended included."""
        while True:
            try:
                ended = process.ended_children_seconds(self.process.pid)
                return ended + process.processor_seconds(process.tree(self.process.pid))
            except FileNotFoundError:
                # PostgreSQL starts and ends processes of its own: one that has just ended is counted with the others that have.
                if self.process.poll() is not None:
                    raise RuntimeError(f"a store has ended: {self.log.read_text(errors='replace')[-2000:]}") from None

    def stop(self):
        if self in self.running:
            self.running.remove(self)
        # What a terminal would send: PostgreSQL ends its sessions then, and does not wait for them.
        self.process.send_signal(2)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Garage(Store):
    """One node, one copy of everything."""

    def __init__(self, running, folder):
        tools = os.environ.get("ENTREPOT_TOOLS") or pathlib.Path.home() / ".cache/entrepot-tools"
        self.program = pathlib.Path(tools) / "bin/garage"
        if not self.program.exists():
            raise RuntimeError(f"there is no {self.program}: tests/stores/install builds it")
        folder.mkdir(parents=True)
        self.configuration, port = folder / "node.toml", free_port()
        self.address = f"127.0.0.1:{port}"
        text = NODE.format(folder=folder, secret=RPC_SECRET, rpc=free_port(), port=port, region=REGION)
        self.configuration.write_text(text)
        super().__init__(running, [self.program, "--config", self.configuration, "server"], folder)
        self.wait(lambda: self._ran("node", "id", "--quiet"))
        identity = self._ran("node", "id", "--quiet").strip().split("@")[0]
        self.wait(lambda: self._ran("layout", "assign", "--zone", "one", "--capacity", "100G", identity) is not None)
        self._run("layout", "apply", "--version", "1")
        self.wait(lambda: '"healthy"' in (self._ran("json-api", "GetClusterHealth") or ""))
        self._run("key", "import", "--yes", "-n", "bench", KEY_ID, KEY_SECRET)

    def bucket(self, name):
        self._run("bucket", "create", name)
        self._run("bucket", "allow", "--read", "--write", "--owner", "--key", KEY_ID, name)
        return name

    def version(self):
        return f"Garage {self._run('--version').split()[1].removeprefix('cargo:')}"

    def _ran(self, *words):
        """What it says, or nothing when it fails."""
        words = [self.program, "--config", self.configuration, *words]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return None if done.returncode else done.stdout

    def _run(self, *words):
        said = self._ran(*words)
        if said is None:
            raise RuntimeError(f"garage {' '.join(words)} failed: {self.log.read_text(errors='replace')[-2000:]}")
        return said


class Postgres(Store):
    """A cluster with PostgreSQL's own settings: it waits for the disk at each commit. It refuses to be run by root."""

    def __init__(self, running, folder):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name))
        if not found:
            raise RuntimeError("there is no PostgreSQL below /usr/lib/postgresql: install Debian's package postgresql")
        self.programs, self.folder, self.port = found[-1], folder, free_port()
        folder.mkdir(parents=True)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self.before = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            pass_through(folder.parent)
        else:
            self.before = []
        words = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions", "--username=entrepot"]
        self.run("initdb", *words, f"--pgdata={folder}/data")
        words = ["-D", f"{folder}/data", "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        words += ["-c", f"unix_socket_directories={folder}", "-c", "track_wal_io_timing=on"]
        super().__init__(running, [*self.before, self.programs / "postgres", *words], folder, os.environ | {"LC_ALL": "C"})
        self.wait(lambda: self.run("pg_isready", f"--host={folder}", f"--port={self.port}", check=False))

    def database(self, name):
        self.query(f"CREATE DATABASE {name}")
        return f"postgres://entrepot@127.0.0.1:{self.port}/{name}"

    def query(self, statement):
        words = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", f"--host={self.folder}"]
        words += [f"--port={self.port}", "--username=entrepot", "--dbname=postgres", f"--command={statement}"]
        return self.run("psql", *words).strip()

    def log_place(self):
        """Where the next record of the log will be."""
        return self.query("SELECT pg_current_wal_insert_lsn()")

    def log_since(self, place):
        """Rows that were changed since, and bytes of the log for them, without the images of full pages."""
        words = ["--stats=record", f"--path={self.folder}/data/pg_wal", f"--start={place}", f"--end={self.log_place()}"]
        rows = records = 0
        for line in self.run("pg_waldump", *words).splitlines():
            found = LOG_LINE.match(line)
            if found:
                name, count, record = found.groups()
                rows += int(count) if ROW.match(name) else 0
                records += int(record)
        return rows, records

    def flushes(self):
        """How many times the log was flushed, and for how many milliseconds in all."""
        count, took = self.query("SELECT wal_sync, wal_sync_time FROM pg_stat_wal").split("|")
        return int(count), float(took)

    def round_trip(self):
        """Of the shortest statement on one connection, in milliseconds."""
        file = self.folder / "one.sql"
        file.write_text("SELECT 1;\n")
        words = ["--no-vacuum", "--protocol=prepared", "--time=2", f"--file={file}", "--host=127.0.0.1"]
        words += [f"--port={self.port}", "--username=entrepot", "postgres"]
        return float(re.search(r"latency average = ([0-9.]+) ms", self.run("pgbench", *words)).group(1))

    def version(self):
        return f"PostgreSQL {self.query('SHOW server_version').split()[0]}"

    def run(self, program, *words, check=True):
        words = [*self.before, self.programs / program, *words]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
        if done.returncode and check:
            raise RuntimeError(f"{program} failed: {done.stdout[-2000:]}")
        return done.stdout if not done.returncode else ""


def pass_through(folder):
    """Lets everybody pass through our folders to what is theirs below."""
    for one in (folder, *folder.parents):
        mode = one.stat().st_mode
        if not mode & 0o001:
            one.chmod(mode | 0o001)
