//! A folder and the processes that work in it, which end with the test, however the test ends.
//!
//! A signal on the death of the parent (`PR_SET_PDEATHSIG`) would not do: it comes when the *thread* dies that started the
//! process, and tests run on threads of their own, so a server that several tests share would go with the first of them. And
//! a `static` is never dropped. So a small shell stands by: it holds one end of a pipe whose other end nobody but the test
//! process holds. When that process ends (returns, panics, is killed with -9) the pipe ends, and the shell kills the process
//! groups that it was told of and removes the folder. It is in a group of its own and deaf to Ctrl-C, which comes to the test
//! first.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

/// Reads `+ GROUP` and `- GROUP` until the end, and then clears up. What a killed process was still writing may make a folder
/// that is being removed come back, so it is removed until it is gone.
const WATCH: &str = r#"
trap '' HUP INT TERM QUIT
groups=' '
while read -r sign group; do
    if [ "$sign" = + ]; then
        groups="$groups$group "
    else
        groups="${groups%% $group *} ${groups#* $group }"
    fi
done
for group in $groups; do
    kill -s KILL -- "-$group" 2>/dev/null
done
tries=0
while [ -e "$1" ] && [ "$tries" -lt 100 ]; do
    rm -rf -- "$1" 2>/dev/null
    [ ! -e "$1" ] || sleep 0.1
    tries=$((tries + 1))
done
"#;

/// A folder of its own below the system's one for temporary files.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    watch: Mutex<Child>,
}

impl Folder {
    /// A new, empty folder whose name begins with `name`.
    pub(super) fn new(name: &str) -> Self {
        let path = tempfile::Builder::new().prefix(&format!("entrepot-{name}-")).tempdir().expect("a folder").keep();
        let watch = Command::new("sh")
            .args(["-c", WATCH, "watch"])
            .arg(&path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        Self { path, watch: Mutex::new(watch) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends this process group with the test.
    pub(super) fn watch(&self, group: u32) {
        self.tell('+', group);
    }

    /// The group has ended: its number may be another's soon.
    pub(super) fn forget(&self, group: u32) {
        self.tell('-', group);
    }

    /// Runs a command to its end, which comes with that of the test at the latest, and returns what it said.
    ///
    /// # Panics
    /// When it cannot be run.
    pub(super) fn output(&self, command: &mut Command) -> Output {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let group = child.id();
        self.watch(group);
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        self.forget(group);
        output
    }

    /// Runs a command as [`Self::output`] does, and returns what it said on its standard output.
    ///
    /// # Panics
    /// When it cannot be run, or fails.
    pub(super) fn run(&self, command: &mut Command) -> String {
        let output = self.output(command);
        assert!(
            output.status.success(),
            "{command:?} ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn tell(&self, sign: char, group: u32) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = watch.stdin.as_mut().expect("it is open until the folder is dropped");
        writeln!(pipe, "{sign} {group}").expect("the shell that stands by is there");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let watch = self.watch.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(watch.stdin.take());
        // It clears up as it would after a kill; that it has ended is all there is to know.
        let _ = watch.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("20").process_group(0).spawn().expect("a process")
    }

    #[test]
    fn nothing_is_left_when_it_is_dropped() {
        let folder = Folder::new("test");
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), "content").expect("a file");
        let (mut forgotten, mut watched) = (sleeper(), sleeper());
        folder.watch(forgotten.id());
        folder.watch(watched.id());
        folder.forget(forgotten.id());
        drop(folder);
        assert!(!path.try_exists().expect("an answer"), "{} is still there", path.display());
        assert!(!watched.wait().expect("it was started").success());
        assert_eq!(forgotten.try_wait().expect("it was started"), None, "another's process was killed");
        forgotten.kill().expect("it still runs");
        forgotten.wait().expect("it was killed");
    }
}
