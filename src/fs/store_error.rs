//! What can be wrong with a store as a whole.

use super::Error;
use super::keys::LABEL_LEN_MAX;
use crate::crypt::BadSecret;
use std::path::{Path, PathBuf};

/// Why a store can't be made or opened. Each message says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is nothing.
    #[error("{}: there is no store here; make one with `verso init`", .0.display())]
    Missing(PathBuf),
    /// There is something else.
    #[error("{}: the directory is not empty and holds no store; name an empty or a new one", .0.display())]
    NotEmpty(PathBuf),
    /// There is a store already.
    #[error("{}: there is a store here already", .0.display())]
    Exists(PathBuf),
    /// A later version of Verso wrote it.
    #[error("{}: the store has format {found}, this program knows formats up to {known}; use a newer verso", .path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// Somebody else has it open.
    #[error("{}: the store is in use{}; unmount it there first", .path.display(), .pid.map_or(String::new(), |pid| format!(" by process {pid}")))]
    Locked {
        /// The store.
        path: PathBuf,
        /// The owner.
        pid: Option<u32>,
    },
    /// Its header can't be understood.
    #[error("{}: {why}", .path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The disk or its permissions are in the way.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The metadata or the packs can't be opened.
    #[error("{}: {source}", .path.display())]
    Open {
        /// The store.
        path: PathBuf,
        /// Why.
        source: Error,
    },
    /// It is encrypted, and nothing was given that could unlock it.
    #[error("{}: the store is encrypted; it takes its passphrase, key file or recovery key", .0.display())]
    KeyNeeded(PathBuf),
    /// No key slot opens with what was given.
    #[error("{}: wrong passphrase or key: none of the store's keys is opened by it", .0.display())]
    WrongKey(PathBuf),
    /// What was given is a recovery key with a mistake in it.
    #[error("{}: the recovery key has a mistake in its group {group}", .path.display())]
    Mistyped {
        /// The store.
        path: PathBuf,
        /// The group, counted from 1.
        group: usize,
    },
    /// Keys are asked for of a store that has none.
    #[error("{}: the store is not encrypted", .0.display())]
    NotEncrypted(PathBuf),
    /// Without it nobody could unlock the store any more.
    #[error("{}: this is the store's last key; add another one before it is removed", .0.display())]
    LastKey(PathBuf),
    /// There is no key slot with this number.
    #[error("{}: there is no key {id}", .path.display())]
    NoSuchKey {
        /// The store.
        path: PathBuf,
        /// The number.
        id: u32,
    },
    /// The master key can't be changed without these secrets, or losing their slots.
    #[error("{}: nothing given opens {}", .path.display(), ids.iter().map(|id| format!("key {id}")).collect::<Vec<_>>().join(", "))]
    SlotsLeft {
        /// The store.
        path: PathBuf,
        /// The slots.
        ids: Vec<u32>,
    },
    /// The header is an earlier one.
    #[error("{}: this is an old header that was put back: it was changed {found} times, the store's {known} times", .path.display())]
    OldHeader {
        /// The store.
        path: PathBuf,
        /// How often the header that was found was changed.
        found: u64,
        /// How often the newest one was that the store has seen.
        known: u64,
    },
    /// A label that doesn't fit on a line.
    #[error("a key's label has at most {LABEL_LEN_MAX} bytes, on one line")]
    BadLabel,
    /// What was to lock a store would be guessed quickly.
    #[error("{0}")]
    WeakKey(BadSecret),
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

pub(super) fn open_error(path: &Path, source: impl Into<Error>) -> StoreError {
    StoreError::Open { path: path.to_owned(), source: source.into() }
}
