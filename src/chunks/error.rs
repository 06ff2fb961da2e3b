//! What can go wrong with packs.

use crate::model::PackId;
use crate::sys;
use std::io;
use std::path::{Path, PathBuf};

/// The result of an operation on packs.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on packs failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk (or the quota) is full. Nothing is broken: with room again, appending goes on.
    #[error("no space left on the disk of the store")]
    NoSpace,
    /// What lies in the pack is not what was put there.
    #[error("pack {pack} is damaged at byte {offset}: {why}; run `verso check --read-data`")]
    Damaged {
        /// The pack file.
        pack: PackId,
        /// Offset in bytes of the record or structure in it.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// An earlier write or sync failed: nothing is taken any more until the store was opened anew.
    #[error(
        "the store takes no more data after a failed write; check its disk, then mount it again"
    )]
    Poisoned,
    /// The packs were opened read-only.
    #[error("the store is open read-only")]
    ReadOnly,
    /// A chunk longer than a record can hold.
    #[error("a chunk of {len} bytes is too long")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The pack was written by a newer version.
    #[error("{} has format {found}, this version knows up to {known}: use a newer verso", .path.display())]
    Newer {
        /// The pack file.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// The pack belongs to another store.
    #[error("{} belongs to another store: move it away", .path.display())]
    Foreign {
        /// The pack file.
        path: PathBuf,
    },
    /// A pack with this name, of this store, that is encrypted and should not be, or the other way round.
    #[error("{} is {}, other than the store", .path.display(), if *.encrypted { "encrypted" } else { "not encrypted" })]
    OtherKind {
        /// The pack file.
        path: PathBuf,
        /// Whether it is encrypted, and the store is not.
        encrypted: bool,
    },
    /// The pack is encrypted with a key that is not there.
    #[error("{} is encrypted with a key, of epoch {epoch}, that is not among those of this store", .path.display())]
    KeyMissing {
        /// The pack file.
        path: PathBuf,
        /// Which of the store's master keys it would be.
        epoch: u32,
    },
    /// The operating system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Error {
    /// The error for a failed call on `path`: a full disk is told from the rest.
    pub(super) fn from_io(path: &Path, source: io::Error) -> Error {
        if sys::is_no_space(&source) {
            return Error::NoSpace;
        }
        Error::Io { path: path.to_owned(), source }
    }

    /// The error for a pack of the format `found`.
    pub(super) fn newer(path: &Path, found: u32) -> Error {
        Error::Newer { path: path.to_owned(), found, known: super::format::VERSION }
    }

    pub(super) fn damaged(pack: PackId, offset: u64, why: impl Into<String>) -> Error {
        Error::Damaged { pack, offset, why: why.into() }
    }
}
