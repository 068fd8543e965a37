//! Files that are taken in again when they change, without a restart.
//!
//! They are looked at twice a second, which works on every file system and through every kind of replacement: written in place, renamed
//! over, a link that leads elsewhere as Kubernetes does it with mounted secrets. What has just changed is left alone until it looks
//! the same twice, so that nothing is read that somebody is still writing. Files that belong together are taken in together.
//!
//! A file that is gone or cannot be read is no empty file: what held before still holds, and the log says so once for each change.

use std::error::Error;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use entrepot_registry::Tasks;

/// How often files are looked at. A change holds after two looks to three, and the time that it takes to read it.
const INTERVAL: Duration = Duration::from_millis(500);

/// Why a change was refused, and by whom.
pub(crate) type Refused = Box<dyn Error + Send + Sync>;

/// Files that are looked at.
#[derive(Debug)]
pub(crate) struct Watch {
    what: &'static str,
    files: Vec<PathBuf>,
    bytes_max: u64,
    /// What was taken in last; `None` while there was nothing.
    current: Option<Vec<Vec<u8>>>,
    /// How the files looked last.
    seen: Option<Vec<Look>>,
    /// How they looked when they were dealt with.
    done: Option<Vec<Look>>,
}

/// How a file looks from outside. One that looks the same for half a second is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    There { device: u64, inode: u64, size: u64, written: (i64, i64), changed: (i64, i64) },
    Failed(io::ErrorKind),
}

/// What became of files.
#[derive(Debug)]
enum Change {
    /// They have another content.
    Content,
    /// One of them is gone, cannot be read or is too large.
    Unreadable(PathBuf, io::Error),
}

impl Watch {
    /// Watches files of at most so many bytes each. `current` is what they held when they were read, or nothing when they were not
    /// there; `what` is what the log calls them.
    pub(crate) const fn new(
        what: &'static str,
        files: Vec<PathBuf>,
        bytes_max: u64,
        current: Option<Vec<Vec<u8>>>,
    ) -> Self {
        Self { what, files, bytes_max, current, seen: None, done: None }
    }

    /// Gives every change to `take`, as a task of this process: the contents in the order of the files. What `take` refuses is
    /// logged, and not given to it again until something changes.
    pub(crate) fn follow<F>(self, tasks: &Tasks, mut take: F)
    where
        F: FnMut(&[Vec<u8>]) -> Result<(), Refused> + Send + 'static,
    {
        let (mut watch, stop) = (self, tasks.clone());
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.stopping() => return,
                    () = tokio::time::sleep(INTERVAL) => {}
                }
                // A file system over the network may hang, and many passwords take long to be read.
                let looked = tokio::task::spawn_blocking(move || {
                    watch.look_and_take(&mut take);
                    (watch, take)
                });
                match looked.await {
                    Ok(parts) => (watch, take) = parts,
                    Err(error) => {
                        let error = &error as &dyn Error;
                        tracing::error!(error, "files are not watched any more: changes need a restart");
                        return;
                    }
                }
            }
        });
    }

    fn look_and_take(&mut self, take: &mut impl FnMut(&[Vec<u8>]) -> Result<(), Refused>) {
        let what = self.what;
        match self.look() {
            None => {}
            // Whoever starts without the files was told so.
            Some(Change::Unreadable(..)) if self.current.is_none() => {}
            Some(Change::Unreadable(file, error)) => {
                let (file, error) = (file.display(), &error as &dyn Error);
                tracing::warn!(what, %file, error, "a watched file cannot be read: what it held before still holds");
            }
            Some(Change::Content) => {
                let file = self.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
                match take(self.current.as_deref().unwrap_or_default()) {
                    Ok(()) => tracing::info!(what, file, "a watched file has changed, and holds as it is now"),
                    Err(error) => {
                        let error = &*error as &dyn Error;
                        tracing::warn!(
                            what,
                            file,
                            error,
                            "a watched file was refused: what it held before still holds"
                        );
                    }
                }
            }
        }
    }

    /// Looks at the files; what became of them is told once.
    fn look(&mut self) -> Option<Change> {
        let looks: Vec<_> = self.files.iter().map(|file| look(file)).collect();
        if self.done.as_ref() == Some(&looks) {
            self.seen = None;
            return None;
        }
        if self.seen.as_ref() != Some(&looks) {
            self.seen = Some(looks);
            return None;
        }
        let contents: Result<Vec<_>, _> = self.files.iter().map(|file| self.read(file)).collect();
        // Somebody began to write while it was read.
        if self.files.iter().map(|file| look(file)).ne(looks.iter().cloned()) {
            return None;
        }
        self.done = Some(looks);
        self.seen = None;
        match contents {
            Ok(contents) if self.current.as_ref() == Some(&contents) => None,
            Ok(contents) => {
                self.current = Some(contents);
                Some(Change::Content)
            }
            Err((file, error)) => Some(Change::Unreadable(file, error)),
        }
    }

    fn read(&self, file: &Path) -> Result<Vec<u8>, (PathBuf, io::Error)> {
        let read = || {
            let mut content = Vec::new();
            File::open(file)?.take(self.bytes_max + 1).read_to_end(&mut content)?;
            let is_whole = content.len() as u64 <= self.bytes_max;
            let message = || format!("it is larger than {} bytes", self.bytes_max);
            is_whole.then_some(content).ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, message()))
        };
        read().map_err(|error| (file.to_owned(), error))
    }
}

fn look(file: &Path) -> Look {
    let there = |metadata: Metadata| Look::There {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        written: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    };
    std::fs::metadata(file).map_or_else(|error| Look::Failed(error.kind()), there)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use entrepot_access::{Users, UsersError};
    use secrecy::SecretString;

    use super::*;

    fn watch(files: &[PathBuf]) -> Watch {
        let current = files.iter().map(std::fs::read).collect::<Result<_, _>>().ok();
        Watch::new("test", files.to_vec(), 1000, current)
    }

    /// What became of the files, when nobody touches them for long enough.
    fn settled(watch: &mut Watch) -> Option<String> {
        let mut changes = (0..4).filter_map(|_| watch.look());
        let change = changes.next();
        assert!(changes.next().is_none(), "told once");
        drop(changes);
        change.map(|change| match change {
            Change::Content => String::from_utf8(watch.current.as_ref().unwrap().concat()).unwrap(),
            Change::Unreadable(_, error) => format!("{:?}", error.kind()),
        })
    }

    fn told(change: &str) -> Option<String> {
        Some(change.to_owned())
    }

    #[test]
    fn every_way_to_replace_a_file_is_seen_once_and_a_touch_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "one").unwrap();
        let mut watch = watch(std::slice::from_ref(&file));
        assert_eq!(settled(&mut watch), None, "nothing has changed");
        std::fs::write(&file, "two").unwrap();
        assert_eq!(settled(&mut watch), told("two"));
        std::fs::write(&file, "two").unwrap();
        assert_eq!(settled(&mut watch), None, "written again, and the same");

        let other = folder.path().join("other");
        std::fs::write(&other, "333").unwrap();
        #[expect(clippy::disallowed_methods, reason = "what an editor does")]
        std::fs::rename(&other, &file).unwrap();
        assert_eq!(settled(&mut watch), told("333"));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(settled(&mut watch), told("NotFound"));
        std::fs::write(&file, "4").unwrap();
        assert_eq!(settled(&mut watch), told("4"));
        std::fs::write(&file, "5".repeat(1001)).unwrap();
        assert_eq!(settled(&mut watch), told("FileTooLarge"));
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (version, content) in [("v1", "one"), ("v2", "two")] {
            std::fs::create_dir(path(version)).unwrap();
            std::fs::write(path(version).join("users"), content).unwrap();
        }
        std::os::unix::fs::symlink("v1", path("data")).unwrap();
        std::os::unix::fs::symlink("data/users", path("users")).unwrap();
        let mut watch = watch(&[path("users")]);
        std::os::unix::fs::symlink("v2", path("next")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "what the kubelet does")]
        std::fs::rename(path("next"), path("data")).unwrap();
        assert_eq!(settled(&mut watch), told("two"));
    }

    #[test]
    fn what_is_being_written_is_left_alone_until_it_rests() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "one").unwrap();
        let mut watch = watch(std::slice::from_ref(&file));
        for length in 1..5 {
            std::fs::write(&file, "x".repeat(length)).unwrap();
            assert!(watch.look().is_none(), "it has just changed");
        }
        assert_eq!(settled(&mut watch), told("xxxx"));
    }

    #[test]
    fn files_that_belong_together_are_taken_in_together() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["certificate", "key"].map(|name| folder.path().join(name));
        let mut watch = watch(&files);
        assert_eq!(settled(&mut watch), told("NotFound"));
        std::fs::write(&files[0], "c").unwrap();
        assert_eq!(settled(&mut watch), told("NotFound"));
        std::fs::write(&files[1], "k").unwrap();
        assert_eq!(settled(&mut watch), told("ck"));
    }

    fn line(name: &str, hash: &str) -> String {
        format!("{name}:{hash}\n")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a11_a12_another_users_file_holds_within_two_seconds_and_a_bad_one_never() {
        // The passwords are `one` and `two`.
        let one = "$2b$04$CCCCCCCCCCCCCCCCCCCCC.Qgb4zNGYvmiYvwPik/SbO/meS1r9Tqy";
        let two = "$2b$04$CCCCCCCCCCCCCCCCCCCCC.C3QwXIirQXT.LSvYrI3ZRBhCIscXTW2";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users.htpasswd");
        std::fs::write(&file, line("alice", one)).unwrap();
        let users = Arc::new(Users::parse(&line("alice", one)).unwrap());
        let let_in = async |password: &str| {
            users.verify("alice", &SecretString::from(password.to_owned())).await.unwrap().is_some()
        };
        assert!(let_in("one").await && !let_in("two").await);

        let (tasks, (taken, changes)) = (Tasks::default(), channel());
        let replaced = Arc::clone(&users);
        watch(std::slice::from_ref(&file)).follow(&tasks, move |contents| {
            let outcome = Users::text_of(&contents[0]).and_then(|text| replaced.replace(text));
            taken.send(outcome.as_ref().map_err(|error: &UsersError| error.line).copied()).unwrap();
            Ok(outcome?)
        });
        let next = || changes.recv_timeout(Duration::from_secs(2)).expect("not within two seconds");
        std::fs::write(&file, line("alice", two)).unwrap();
        assert_eq!(next(), Ok(()));
        assert!(!let_in("one").await && let_in("two").await);

        std::fs::write(&file, line("alice", one) + "bob:$apr1$x$y\n").unwrap();
        assert_eq!(next(), Err(2));
        assert!(!let_in("one").await && let_in("two").await);
        std::fs::write(&file, line("alice", one)).unwrap();
        assert_eq!(next(), Ok(()));
        assert!(let_in("one").await);
        assert!(tasks.stop(Duration::from_secs(2)).await, "it ends with the process");
    }
}
