//! What can go wrong with backups.

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
    /// What is written of a location can't be used; with advice.
    #[error("{why}")]
    Uri {
        /// What is wrong with it, and what to write instead.
        why: String,
    },
}
