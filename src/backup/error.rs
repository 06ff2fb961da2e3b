//! What can go wrong with backups.

use crate::fs;
use crate::model::PackId;
use std::path::PathBuf;

/// The result of an operation on backups.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on backups failed. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object.
    #[error("{location} has no {key}")]
    NotFound {
        /// The location's name.
        location: String,
        /// The object.
        key: String,
    },
    /// The location doesn't answer, or answers that it can't just now; it was asked for as long as patience lasted.
    #[error("{location} can't be reached: {why}")]
    Unreachable {
        /// The location's name.
        location: String,
        /// What was seen last.
        why: String,
    },
    /// The location won't do it: wrong credentials, no permission, or an object lock.
    #[error("{location} refuses it ({key}): {why}")]
    Refused {
        /// The location's name.
        location: String,
        /// The object, or what it was asked for.
        key: String,
        /// What it said.
        why: String,
    },
    /// There is no room left at the location.
    #[error("{location} is full")]
    Full {
        /// The location's name.
        location: String,
    },
    /// Anything else that a location did.
    #[error("{location}: {why}")]
    Location {
        /// The location's name.
        location: String,
        /// What.
        why: String,
    },
    /// The work was told to end.
    #[error("stopped")]
    Stopped,
    /// An object is not what it was.
    #[error("{location}: {key} is damaged: {why}")]
    Damaged {
        /// The location's name.
        location: String,
        /// The object.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A later version of Verso wrote there.
    #[error(
        "{location} has format {found}, this program knows formats up to {known}; use a newer verso"
    )]
    Newer {
        /// The location's name.
        location: String,
        /// The format found.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The location has the backups of another store.
    #[error("{location} holds the backups of another store; give each store a place of its own")]
    Foreign {
        /// The location's name.
        location: String,
    },
    /// There is no such generation.
    #[error("{location}: {why}")]
    NoGeneration {
        /// The location's name.
        location: String,
        /// What there is instead.
        why: String,
    },
    /// The directory to restore into holds something else.
    #[error("{}: {}", .path.display(), occupied(.generation.as_deref()))]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// The generation that is being restored there.
        generation: Option<String>,
    },
    /// The disk has no room for what is to be restored.
    #[error("{}: this takes {needed} bytes, and {available} are free", .path.display())]
    NoRoom {
        /// Where it should go.
        path: PathBuf,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// Upkeep has removed a pack that was to be sent.
    #[error("pack {0} was removed meanwhile")]
    PackGone(PackId),
    /// A pack on this machine's disk is not what it was when it was backed up before.
    #[error(
        "pack {pack} is damaged on this machine (from byte {start} on), and no longer what was copied before: `verso jobs run scrub` repairs what the drive needs of it"
    )]
    PackChanged {
        /// The pack.
        pack: PackId,
        /// Where the part begins that changed.
        start: u64,
    },
    /// The store could not be read.
    #[error("{0}")]
    Store(#[from] fs::StoreError),
    /// The store could not be read or written.
    #[error("{0}")]
    Volume(#[from] fs::Error),
    /// A file on this machine.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is written of a location can't be used; with advice.
    #[error("{why}")]
    Uri {
        /// What is wrong with it, and what to write instead.
        why: String,
    },
}

impl Error {
    pub(super) fn damaged(location: &str, key: &str, why: &str) -> Error {
        Error::Damaged { location: location.into(), key: key.into(), why: why.into() }
    }
}

fn occupied(generation: Option<&str>) -> String {
    match generation {
        Some(generation) => format!(
            "the generation {generation} is being restored here, and not yet whole; go on with that one, or name another directory"
        ),
        None => "there is something here already; name an empty or a new directory".into(),
    }
}
