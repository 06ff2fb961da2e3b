//! Why something cannot be brought back.

use super::tree::Tree;
use std::io;
use std::path::Path;

/// The result of work on the past.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, at which path, as it is shown to people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system, or the store, refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// History knows nothing of it.
    #[error("{path}: there is nothing by this name, and history knows of nothing")]
    Unknown {
        /// Which path.
        path: String,
    },
    /// It was not there then.
    #[error("{path}: was not there at {when}")]
    NotThen {
        /// Which path.
        path: String,
        /// Which moment.
        when: String,
    },
    /// What was there then is not kept any more.
    #[error("{path}: what it was at {when} is not kept any more")]
    NotKept {
        /// Which path.
        path: String,
        /// Which moment.
        when: String,
    },
    /// No version has this number.
    #[error("{path}: there is no version {number}")]
    NoVersion {
        /// Which path.
        path: String,
        /// The number that was asked for.
        number: u64,
    },
    /// It has only the version that it shows.
    #[error("{path}: has no version before the present one")]
    NoEarlier {
        /// Which path.
        path: String,
    },
    /// It was not deleted, or so long ago that it is gone.
    #[error("{path}: nothing by this name was deleted there")]
    NotDeleted {
        /// Which path.
        path: String,
    },
    /// Something is in the way.
    #[error("{path}: exists already")]
    Exists {
        /// Which path.
        path: String,
    },
    /// A directory was needed.
    #[error("{path}: is not a directory")]
    NotDirectory {
        /// Which path.
        path: String,
    },
    /// A file was needed.
    #[error("{path}: is a directory")]
    IsDirectory {
        /// Which path.
        path: String,
    },
    /// It has no content that could be read.
    #[error("{path}: has no content that could be read")]
    NoContent {
        /// Which path.
        path: String,
    },
    /// There is no such directory now.
    #[error("{path}: is not there")]
    Missing {
        /// Which path.
        path: String,
    },
    /// The name of a pin is taken.
    #[error("{path}: the pin {name:?} stands for {when}")]
    Pinned {
        /// Which directory.
        path: String,
        /// The pin.
        name: String,
        /// The moment that it stands for.
        when: String,
    },
    /// There is no pin of this name.
    #[error("{path}: there is no pin {name:?}")]
    NoPin {
        /// Which directory.
        path: String,
        /// The pin.
        name: String,
    },
    /// `.versions` does not answer.
    #[error("{path}: this drive shows no history")]
    NoHistory {
        /// The drive.
        path: String,
    },
}

/// Makes an [`Error::Io`] of what a tree answered.
pub(super) fn at<'a>(
    tree: &'a dyn Tree,
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { what, path: tree.shown(path), source }
}
