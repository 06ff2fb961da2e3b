//! Why something cannot be done with a project.

use crate::recall::{self, Tree};
use std::io;
use std::path::Path;

/// The result of work on a project.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, as it is shown to people.
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
    /// The past does not know of it.
    #[error(transparent)]
    Recall(#[from] recall::Error),
    /// This can't be a project's name.
    #[error("{id:?} can't be the name of a project")]
    BadName {
        /// The name.
        id: String,
    },
    /// There is no such project.
    #[error("there is no project {id:?}, neither in projects/ nor in archived/")]
    Unknown {
        /// Its name.
        id: String,
    },
    /// It is not in `projects/`.
    #[error("the project {id:?} is archived already: {path}")]
    Archived {
        /// Its name.
        id: String,
        /// Where it is.
        path: String,
    },
    /// It is not archived.
    #[error("the project {id:?} is not archived: {path}")]
    NotArchived {
        /// Its name.
        id: String,
        /// Where it is.
        path: String,
    },
    /// More than one was archived by this name.
    #[error("several projects are called {id:?}: {}", places.join(", "))]
    Several {
        /// The name.
        id: String,
        /// Where they are, from the drive's root.
        places: Vec<String>,
    },
    /// Something by this name is there.
    #[error("{path}: exists already")]
    Exists {
        /// Where.
        path: String,
    },
    /// Somebody works on it.
    #[error("{path}: is in use, or was just changed")]
    InUse {
        /// Which project, or what of it.
        path: String,
    },
    /// It changed while it was read.
    #[error("{path}: changed while it was read")]
    Changed {
        /// Which file.
        path: String,
    },
    /// What is to be imported can't be.
    #[error("cannot import {from}: {why}")]
    Import {
        /// From where.
        from: String,
        /// Why.
        why: String,
    },
    /// Whoever began it said so.
    #[error("stopped")]
    Stopped,
}

/// Makes an [`Error::Io`] of what a tree answered.
pub(super) fn at<'a>(
    tree: &'a dyn Tree,
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { what, path: tree.shown(path), source }
}

/// The same of a path outside of any tree.
pub(super) fn at_path<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { what, path: recall::printable(path), source }
}
