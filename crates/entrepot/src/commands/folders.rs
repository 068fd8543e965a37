//! Whether the folders of the configuration can be used. Nothing is created: what is missing is created by the server.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use super::amounts;
use super::check::{Finding, Verdict};
use crate::config::Configuration;

/// What is known about a folder that can be used.
struct Usable {
    device: u64,
    free: u64,
    total: u64,
    /// The folder that is there, and in which the rest will be created.
    present: PathBuf,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{} is not a folder: move it away, or name another folder", path.display())]
    NotAFolder { path: PathBuf },
    #[error("{} cannot be looked at: {source}; give the user of the server the right to enter the folders above it", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} cannot be written: {source}; give the user of the server the right to, as with chown or chmod", path.display())]
    NotWritable { path: PathBuf, source: io::Error },
    #[error("the file system of {} is full: make room, or name a folder elsewhere", path.display())]
    Full { path: PathBuf },
}

/// The folders among the three, and that of the read cache.
pub(super) fn check(configuration: &Configuration) -> Vec<Finding> {
    let temporary = configuration.temporary_registry_storage.as_path();
    let read_cache = configuration.storage.read_cache.as_ref().map(|cache| cache.folder.as_path());
    let folders = [
        ("registry_storage", configuration.registry_storage.folder()),
        ("temporary_registry_storage", Some(temporary)),
        ("proxy_storage", configuration.proxy_storage.folder()),
        ("storage.read_cache.folder", read_cache),
    ];
    let looked_at = folders.map(|(key, folder)| (key, folder, folder.map(look_at)));
    let present = looked_at.iter().filter_map(|(key, folder, usable)| Some((*key, (*folder)?, usable.as_ref()?)));
    let mut findings: Vec<_> = present.map(|(key, folder, usable)| told(key, folder, usable)).collect();
    let [own, temporary, cache, read_cache] =
        looked_at.each_ref().map(|(_, _, usable)| usable.as_ref().and_then(|usable| usable.as_ref().ok()));
    if let Some(temporary) = temporary {
        let is_elsewhere = |store: Option<&Usable>| store.is_some_and(|store| store.device != temporary.device);
        if is_elsewhere(own) || is_elsewhere(cache) {
            findings.push(Finding {
                verdict: Verdict::Note,
                subject: "temporary_registry_storage".to_owned(),
                text: "not on the file system of the storage folders: what is finished is copied instead of moved"
                    .to_owned(),
            });
        }
    }
    let limits = [
        ("proxy.size_max", cache, configuration.proxy.settings.cache.size_max),
        (
            "storage.read_cache.size_max",
            read_cache,
            configuration.storage.read_cache.as_ref().map(|cache| cache.size_max),
        ),
    ];
    findings.extend(limits.into_iter().filter_map(|(key, usable, limit)| too_large(key, usable?, limit?)));
    findings
}

/// A limit that is never reached, because the disk is full before.
fn too_large(key: &str, usable: &Usable, limit: u64) -> Option<Finding> {
    let (shown, total) = (amounts::size(limit), amounts::size(usable.total));
    (limit > usable.total).then(|| Finding {
        verdict: Verdict::Note,
        subject: key.to_owned(),
        text: format!("{shown} are more than the {total} of the file system: it is full before room is made"),
    })
}

fn told(key: &str, folder: &Path, usable: &Result<Usable, Unusable>) -> Finding {
    let (verdict, text) = match usable {
        Ok(Usable { free, present, .. }) => {
            let state = if present == folder { "" } else { ", will be created" };
            (Verdict::Well, format!("{}, {} free{state}", folder.display(), amounts::size(*free)))
        }
        Err(error) => (Verdict::Failed, error.to_string()),
    };
    Finding { verdict, subject: key.to_owned(), text }
}

fn look_at(folder: &Path) -> Result<Usable, Unusable> {
    let (present, metadata) = nearest(folder)?;
    if !metadata.is_dir() {
        return Err(Unusable::NotAFolder { path: present });
    }
    access(&present, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| Unusable::NotWritable { path: present.clone(), source: error.into() })?;
    let room =
        statvfs(&present).map_err(|error| Unusable::Unreadable { path: present.clone(), source: error.into() })?;
    // What is left for those who are not root.
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if free == 0 {
        return Err(Unusable::Full { path: present });
    }
    let total = room.f_blocks.saturating_mul(room.f_frsize);
    Ok(Usable { device: metadata.dev(), free, total, present })
}

/// The folder, or the nearest one above it that is there.
fn nearest(folder: &Path) -> Result<(PathBuf, Metadata), Unusable> {
    let mut candidate = folder;
    loop {
        match (std::fs::metadata(candidate), candidate.parent()) {
            (Ok(metadata), _) => return Ok((candidate.to_owned(), metadata)),
            (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => candidate = parent,
            (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotADirectory => candidate = parent,
            (Err(source), _) => return Err(Unusable::Unreadable { path: candidate.to_owned(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_the_one_above_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let usable = look_at(&folder.path().join("a/b")).expect("it can be created");
        assert!(usable.present == folder.path() && usable.free > 0 && usable.total >= usable.free);
        assert!(std::fs::read_dir(folder.path()).expect("a folder").next().is_none(), "nothing was created");

        std::fs::write(folder.path().join("file"), "").expect("a file");
        for path in ["file", "file/below"] {
            let error = look_at(&folder.path().join(path)).err().expect(path);
            assert!(matches!(error, Unusable::NotAFolder { .. }), "{error}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_told_with_what_to_do() {
        // Nothing can be kept there: root is told that it has no room, everybody else that they may not write.
        let path = Path::new("/proc/entrepot");
        let finding = told("proxy_storage", path, &look_at(path));
        assert_eq!((finding.verdict, finding.subject.as_str()), (Verdict::Failed, "proxy_storage"));
        assert!(
            finding.text.contains("/proc") && finding.text.contains("; give") || finding.text.contains("make room")
        );
    }
}
