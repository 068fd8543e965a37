//! A server of somebody else's: started, known to be ready by what it says, held, stopped and killed.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, PipeReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, thread};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::folder::Folder;

/// How long a server may take until it is ready: far longer than any takes on a busy machine.
const READY_MAX: Duration = Duration::from_mins(1);

/// The last lines of what a server said, for whoever has to find out why it failed.
const LINES_KEPT: usize = 40;

/// A running server, in a process group of its own.
pub(super) struct Process {
    child: Child,
    folder: Arc<Folder>,
}

/// Why a server did not become ready.
pub(super) struct NotReady {
    name: String,
    reason: &'static str,
    said: Vec<String>,
}

impl Process {
    /// Starts `command`, and returns when a line of what it says contains `ready`. Everything that it says goes to
    /// `NAME.log` in the folder.
    pub(super) fn start(
        name: &str,
        mut command: Command,
        folder: &Arc<Folder>,
        ready: &'static str,
    ) -> Result<Self, NotReady> {
        let (reader, writer) = io::pipe().expect("a pipe");
        command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a pipe")).stderr(writer).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        // It holds this side's copies of the pipe, without which the end of the server is the end of the pipe.
        drop(command);
        folder.watch(child.id());
        let process = Self { child, folder: Arc::clone(folder) };
        let (is_ready, becomes_ready) = mpsc::channel();
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let listener = Listener { log: folder.path().join(format!("{name}.log")), said: Arc::clone(&said) };
        thread::spawn(move || listener.listen(reader, ready, &is_ready));
        let reason = match becomes_ready.recv_timeout(READY_MAX) {
            Ok(()) => return Ok(process),
            Err(RecvTimeoutError::Disconnected) => "ended before it was ready",
            Err(RecvTimeoutError::Timeout) => "was not ready within a minute",
        };
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        Err(NotReady { name: name.to_owned(), reason, said })
    }

    /// Asks it to end with `signal`, and waits until it has.
    pub(super) fn stop(mut self, signal: Signal) {
        self.signal_first(signal);
        self.child.wait().expect("it was started here");
    }

    /// Sends a signal to the whole group.
    pub(super) fn signal(&self, signal: Signal) {
        // That it has ended by itself is not what this call is about.
        let _ = kill_process_group(self.pid(), signal);
    }

    /// Sends a signal to the process that was started, and not to those that it has started.
    pub(super) fn signal_first(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// Those that it has started, in whatever group they are.
    pub(super) fn children(&self) -> Vec<Pid> {
        let folders = std::fs::read_dir("/proc").expect("a list of processes").flatten();
        let numbers = folders.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let children = numbers.filter(|number| parent_of(*number) == Some(self.child.id()));
        children.filter_map(|number| Pid::from_raw(number.cast_signed())).collect()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

/// The end without any notice. One that has ended before is only forgotten.
impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            // It was killed: that it ended is all there is to know.
            let _ = self.child.wait();
        }
        self.folder.forget(self.child.id());
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Process").field("id", &self.child.id()).finish_non_exhaustive()
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}; the last of what it said:\n{}", self.name, self.reason, self.said.join("\n"))
    }
}

/// The thread that keeps what a server says.
struct Listener {
    log: PathBuf,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Listener {
    fn listen(&self, reader: PipeReader, ready: &str, is_ready: &Sender<()>) {
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log).ok();
        // A server that is not understood is one that has ended.
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if let Some(log) = &mut log {
                let _ = writeln!(log, "{line}");
            }
            let ready_now = line.contains(ready);
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() == LINES_KEPT {
                said.pop_front();
            }
            said.push_back(line);
            drop(said);
            if ready_now {
                // Whoever waited may have given up.
                let _ = is_ready.send(());
            }
        }
    }
}

/// The parent of a process, unless it has just ended. The name of the program, in parentheses, may contain anything.
fn parent_of(number: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(number.to_string()).join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}
