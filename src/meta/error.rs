//! What can go wrong with the metadata.

use std::path::PathBuf;

/// The result of an operation on the metadata.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the metadata could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database was written by a later version of Verso.
    #[error("the metadata has format {found}, this program knows formats up to {known}")]
    Newer {
        /// The format found.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
    /// A row that can't be: the file on disk is damaged or was changed by something else.
    #[error("the metadata is damaged: {0}")]
    Damaged(String),
    /// The disk under the store is full.
    #[error("no space left for the metadata")]
    NoSpace,
    /// SQLite's own error.
    #[error("the metadata can't be read or written: {0}")]
    Sqlite(rusqlite::Error),
    /// The log file could not be made durable.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::{ErrorCode, ffi};
        // What `sealed` answers for a page that doesn't open.
        if error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_DATA) {
            return Error::Damaged("a page of it is not what was encrypted there".into());
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::NoSpace,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Error::Damaged(error.to_string())
            }
            _ => Error::Sqlite(error),
        }
    }
}
