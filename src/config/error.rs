//! What can be wrong with settings.

use super::Origin;
use std::path::PathBuf;

/// A setting, or the file it should come from, cannot be used. Every message names the place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings in {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML, has an unknown key, or a value of the wrong kind.
    #[error("{}:{line}:{column}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// An environment variable names no setting or has a wrong value.
    #[error("environment variable {name}: {message}")]
    Variable {
        /// The whole name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A file with secrets that others than its owner can read or change.
    #[error("{} has mode {mode:03o}, others could use what is in it: run chmod 600 on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Values that are fine alone do not go together.
    #[error("{origin}: {key}: {message}")]
    Invalid {
        /// `section.key`.
        key: String,
        /// Where the value comes from.
        origin: Origin,
        /// What is wrong.
        message: String,
    },
}
