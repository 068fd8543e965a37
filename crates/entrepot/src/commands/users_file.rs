//! Changing the users file: as a whole, by one at a time, and so that whoever reads it finds the old file or the new one.
//!
//! The new text is written beside the file and renamed over it. A link is followed first, so that it stays one. Owner and permissions
//! stay as well: the server may run as somebody else than whoever calls the command, and must still be able to read its users.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use entrepot_access::{USERS_FILE_BYTES_MAX, Users, UsersError, UsersText};

/// Links in a row that are followed; with one more it is taken for a circle.
const LINKS_MAX: usize = 40;

/// Why the users file cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum UsersFileError {
    /// It cannot be read.
    #[error("the users file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It has something in it that no users file has.
    #[error("the users file {} cannot be changed", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What.
        #[source]
        source: UsersError,
    },
    /// It cannot be written; it is as it was.
    #[error("the users file {} cannot be written, and is as it was", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else's file would become ours.
    #[error(
        "the users file {} cannot be written, and is as it was: it belongs to user {owner}, who could not read it any more; run the \
         command as that user or as root", path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The text of the users file; `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<UsersText>, UsersFileError> {
    let failed = |source| UsersFileError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(USERS_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > USERS_FILE_BYTES_MAX {
        let message = format!("it is larger than {USERS_FILE_BYTES_MAX} bytes");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, message)));
    }
    let text = Users::text_of(&bytes).map_err(|source| UsersFileError::Content { path: path.to_owned(), source })?;
    Ok(Some(UsersText::new(text.to_owned())))
}

/// Changes the text of the users file, which is made when there is none. Whoever else changes it at this moment waits. What `change`
/// refuses is not written.
pub(crate) fn change<T, E: From<UsersFileError>>(
    path: &Path,
    change: impl FnOnce(&mut UsersText) -> Result<T, E>,
) -> Result<(T, UsersText), E> {
    let failed = |source| UsersFileError::Write { path: path.to_owned(), source };
    let target = follow(path).map_err(failed)?;
    let folder = folder_of(&target);
    // The folder, and not the file, which is another one after each change. The lock goes with this process, however it ends.
    let locked = File::open(folder).and_then(|folder| folder.lock().map(|()| folder)).map_err(failed)?;
    let mut text = read(&target)?.unwrap_or_else(|| UsersText::new(String::new()));
    let changed = change(&mut text)?;
    replace(&target, &locked, text.as_str()).map_err(|error| match error {
        ReplaceError::Io(source) => failed(source),
        ReplaceError::Owner(owner, source) => UsersFileError::Owner { path: path.to_owned(), owner, source },
    })?;
    Ok((changed, text))
}

enum ReplaceError {
    Io(io::Error),
    Owner(u32, io::Error),
}

impl From<io::Error> for ReplaceError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn replace(target: &Path, folder: &File, text: &str) -> Result<(), ReplaceError> {
    let name = target.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?.to_string_lossy();
    let new = target.with_file_name(format!(".{name}.new"));
    // Nobody else is here: a file of this name is what a crash left.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let written = write(target, &new, text).and_then(|()| {
        #[expect(clippy::disallowed_methods, reason = "a file of the operator's, synchronised around it as in `blobs`")]
        Ok(std::fs::rename(&new, target)?)
    });
    if written.is_err() {
        // What cannot be removed now is removed by the next change.
        let _ = std::fs::remove_file(&new);
    }
    written?;
    Ok(folder.sync_all()?)
}

fn write(target: &Path, new: &Path, text: &str) -> Result<(), ReplaceError> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    match std::fs::metadata(target) {
        Ok(old) => {
            let made = file.metadata()?;
            if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
                let kept = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
                kept.map_err(|error| ReplaceError::Owner(old.uid(), error))?;
            }
            file.set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}

/// The file that a path means in the end, also where it is not there yet.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match std::fs::read_link(&path) {
            Ok(to) => path = folder_of(&path).join(to),
            // Not a link, or nothing yet.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("its links lead in a circle"))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn set(path: &Path, name: &str, hash: &str) {
        let set = |text: &mut UsersText| {
            text.set(&name.parse().unwrap(), hash);
            Ok::<_, UsersFileError>(())
        };
        change(path, set).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_its_owners_and_an_old_one_keeps_what_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        set(&file, "a", "1");
        assert_eq!((std::fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("a:1\n", 0o600));
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let before = std::fs::metadata(&file).unwrap().ino();
        set(&file, "b", "2");
        assert_eq!((std::fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("a:1\nb:2\n", 0o640));
        assert_ne!(std::fs::metadata(&file).unwrap().ino(), before, "renamed over, not written into");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link_also_to_a_file_that_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("real")).unwrap();
        symlink("real/users", path("second")).unwrap();
        symlink("second", path("first")).unwrap();
        set(&path("first"), "a", "1");
        set(&path("first"), "b", "2");
        assert_eq!(std::fs::read_to_string(path("real/users")).unwrap(), "a:1\nb:2\n");
        assert!(path("first").is_symlink() && path("second").is_symlink());
        symlink("circle", path("circle")).unwrap();
        assert!(follow(&path("circle")).unwrap_err().to_string().contains("circle"));
    }

    #[test]
    fn what_a_crash_left_is_in_nobodys_way_and_what_is_refused_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        std::fs::write(folder.path().join(".users.new"), "half").unwrap();
        set(&file, "a", "1");
        let refused = change(&file, |text| {
            text.set(&"b".parse().unwrap(), "2");
            Err::<(), _>(UsersFileError::Read { path: file.clone(), source: io::ErrorKind::Other.into() })
        });
        assert!(refused.is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a:1\n");
        std::fs::write(&file, b"a:1\nb:\xff\n").unwrap();
        assert!(matches!(read(&file), Err(UsersFileError::Content { source: UsersError { line: 2, .. }, .. })));
        std::fs::write(&file, "#".repeat(USERS_FILE_BYTES_MAX + 1)).unwrap();
        assert!(matches!(read(&file), Err(UsersFileError::Read { .. })));
    }

    #[test]
    fn changes_at_the_same_time_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        std::thread::scope(|scope| {
            for index in 0..16 {
                let file = &file;
                scope.spawn(move || set(file, &format!("user{index}"), "x"));
            }
        });
        assert_eq!(read(&file).unwrap().unwrap().users().len(), 16);
    }
}
