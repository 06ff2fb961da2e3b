//! One owner of a store at a time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Name of the lock file in the store's directory.
const LOCK_NAME: &str = "lock";

/// The right to change a store, held until it is dropped or the process ends.
///
/// An open-file-description lock on `STORE/lock`: the kernel gives it up with the last descriptor, so a
/// killed owner leaves nothing to clear, and asking who holds it never takes it. The file's text is the owner's
/// pid, for people and for messages.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

/// Why a store could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("the store is in use by {}", .pid.map_or("another process".into(), |pid| format!("process {pid}")))]
    Held {
        /// The owner, if the lock file names one.
        pid: Option<u32>,
    },
    /// The lock file could not be opened, locked or written.
    #[error("the lock file: {0}")]
    Io(#[from] io::Error),
}

impl StoreLock {
    /// Takes the lock of the store in directory `store`, or says who has it; never waits.
    pub fn acquire(store: &Path) -> Result<StoreLock, LockError> {
        let path = store.join(LOCK_NAME);
        // Not truncated before it is ours: the text may be the present owner's pid.
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match fcntl_lock(&file, libc::F_OFD_SETLK) {
            Ok(_) => {}
            Err(error) if is_held(&error) => return Err(LockError::Held { pid: read_pid(&file) }),
            Err(error) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)?;
        Ok(StoreLock { _file: file })
    }

    /// The pid of the process that has the lock now; `None` if nobody has.
    ///
    /// # Errors
    /// When the lock file can't be read, or its owner can't be told from its text.
    pub fn owner(store: &Path) -> io::Result<Option<u32>> {
        let file = match File::open(store.join(LOCK_NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if fcntl_lock(&file, libc::F_OFD_GETLK)? == libc::F_UNLCK as libc::c_short {
            return Ok(None);
        }
        let unnamed = || io::Error::other("the lock is held, but its file names no process");
        read_pid(&file).map(Some).ok_or_else(unnamed)
    }
}

/// The right to replace files in a directory, for whoever asks for it in this way. Given back when it is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _directory: File,
}

impl DirectoryLock {
    /// Waits until nobody else has it: a `flock` on the directory itself.
    pub fn acquire(path: &Path) -> io::Result<DirectoryLock> {
        let directory = File::open(path)?;
        rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(DirectoryLock { _directory: directory })
    }

    /// The same for a file or a directory, without waiting: `None` where somebody else has it.
    pub fn try_acquire(path: &Path) -> io::Result<Option<DirectoryLock>> {
        let directory = File::open(path)?;
        match rustix::fs::flock(&directory, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(DirectoryLock { _directory: directory })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_held(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = [0; 16];
    let len = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(&text[..len]).ok()?.trim().parse().ok()
}

/// Sets or asks for an exclusive lock over the whole file; returns the type that the kernel answers with.
#[allow(unsafe_code)]
fn fcntl_lock(file: &File, command: libc::c_int) -> io::Result<libc::c_short> {
    // SAFETY: flock is plain old data, for which all zeros is a valid value (and l_pid must be 0).
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: `lock` is a writable flock that outlives the call; the descriptor is open.
    if unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock.l_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_and_told_who_has_it() {
        let store = tempfile::tempdir().unwrap();
        let us = std::process::id();
        let lock = StoreLock::acquire(store.path()).unwrap();
        match StoreLock::acquire(store.path()) {
            Err(LockError::Held { pid }) => assert_eq!(pid, Some(us)),
            other => panic!("{other:?}"),
        }
        assert_eq!(StoreLock::owner(store.path()).unwrap(), Some(us));
        drop(lock);
        assert_eq!(StoreLock::owner(store.path()).unwrap(), None);
        StoreLock::acquire(store.path()).unwrap();
    }

    #[test]
    fn a_store_without_a_lock_file_has_no_owner() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(StoreLock::owner(store.path()).unwrap(), None);
    }

    #[test]
    fn a_stale_longer_pid_does_not_show_through() {
        let store = tempfile::tempdir().unwrap();
        std::fs::write(store.path().join(LOCK_NAME), "4294967295\n").unwrap();
        let _lock = StoreLock::acquire(store.path()).unwrap();
        assert_eq!(StoreLock::owner(store.path()).unwrap(), Some(std::process::id()));
    }
}
