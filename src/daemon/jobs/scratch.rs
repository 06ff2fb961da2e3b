//! A directory for what is only needed for a while.

use crate::backup::{Error, Result};
use crate::crypt::to_hex;
use crate::model::Timestamp;
use crate::sys::{self, Clock, DirectoryLock, SystemClock};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What the names begin with; 16 hex digits follow.
const PREFIX: &str = "verso-";
/// Held by who uses the directory.
const USED: &str = ".in-use";
/// What was left behind by who was killed is removed when it is so old: one that is just being made is not yet held.
const LEFT_NANOS_MIN: i64 = 3600 * 1_000_000_000;

/// An empty directory for its owner only; it goes with everything in it when this is dropped.
pub(in crate::daemon) struct Scratch {
    path: PathBuf,
    _used: DirectoryLock,
}

impl Scratch {
    /// In `parent`, or where the system wants temporary files that may be large.
    pub(in crate::daemon) fn new(parent: Option<&Path>) -> Result<Scratch> {
        let parent = parent.map_or_else(usual_place, Path::to_owned);
        let failed = |source| Error::Io { path: parent.clone(), source };
        remove_left(&parent);
        let name = to_hex(&sys::random_bytes::<8>().map_err(failed)?);
        let path = parent.join(format!("{PREFIX}{name}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let used = path.join(USED);
        let held = std::fs::write(&used, "").and_then(|()| DirectoryLock::acquire(&used));
        Ok(Scratch { path, _used: held.map_err(failed)? })
    }

    pub(in crate::daemon) fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes what was left in `parent` by processes that were killed: the metadata of a drive takes room, and is nobody else's business. Best effort: the next
/// one tries again.
fn remove_left(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if let Ok(Some(_mine)) = left_behind(&path) {
            match std::fs::remove_dir_all(&path) {
                Ok(()) => log::info!("{} was left behind, and is removed", path.display()),
                Err(error) => log::warn!("{} is left behind: {error}", path.display()),
            }
        }
    }
}

/// The right to remove a scratch directory that nobody uses any more.
fn left_behind(path: &Path) -> io::Result<Option<DirectoryLock>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let digits = name.strip_prefix(PREFIX).unwrap_or_default();
    if digits.len() != 16 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let metadata = std::fs::symlink_metadata(path)?;
    let made = std::fs::symlink_metadata(path.join(USED))?;
    let age = SystemClock.now().0.saturating_sub(Timestamp::from(made.modified()?).0);
    if !metadata.is_dir() || metadata.uid() != sys::current_user().0 || age < LEFT_NANOS_MIN {
        return Ok(None);
    }
    DirectoryLock::try_acquire(&path.join(USED))
}

/// `TMPDIR`, or `/var/tmp`, which is on a disk, unlike `/tmp` on many machines.
fn usual_place() -> PathBuf {
    let var_tmp = PathBuf::from("/var/tmp");
    match std::env::var_os("TMPDIR") {
        None if var_tmp.is_dir() => var_tmp,
        _ => std::env::temp_dir(),
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            log::warn!("{} is left behind: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, FileTimes};
    use std::time::{Duration, SystemTime};

    fn make_old(scratch: &Path) {
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let used = File::options().write(true).open(scratch.join(USED)).unwrap();
        used.set_times(FileTimes::new().set_modified(old)).unwrap();
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        let left = Scratch::new(Some(parent.path())).unwrap().path().to_owned();
        let used = Scratch::new(Some(parent.path())).unwrap();
        let young = path("verso-00000000000000aa");
        let other = path("verso-notes");
        for dir in [&left, &young, &other] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join(USED), "").unwrap();
            std::fs::write(dir.join("meta.db"), "secret").unwrap();
        }
        [&left, &other, used.path()].into_iter().for_each(make_old);
        let new = Scratch::new(Some(parent.path())).unwrap();
        assert!(!left.exists(), "its process is gone");
        for path in [&young, &other, used.path(), new.path()] {
            assert!(path.exists(), "{}", path.display());
        }
    }
}
