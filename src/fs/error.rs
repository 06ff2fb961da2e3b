//! What can go wrong in the filesystem, and the errno a program sees for it.

/// The result of an operation of the filesystem.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation failed. `errno` is the one map from meaning to number.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such name, or an inode that is gone.
    #[error("no such file or directory")]
    NotFound,
    /// The name exists.
    #[error("it exists already")]
    Exists,
    /// A directory was needed.
    #[error("not a directory")]
    NotDirectory,
    /// A file was needed.
    #[error("it is a directory")]
    IsDirectory,
    /// The directory is not empty.
    #[error("the directory is not empty")]
    NotEmpty,
    /// An argument makes no sense.
    #[error("invalid argument")]
    Invalid,
    /// A name is longer than 255 bytes.
    #[error("the name is too long")]
    NameTooLong,
    /// A handle that isn't open, or not for this.
    #[error("bad file handle")]
    BadHandle,
    /// Not for this caller or not for this kind of file.
    #[error("operation not permitted")]
    NotPermitted,
    /// The mount is read-only.
    #[error("the drive is mounted read-only")]
    ReadOnly,
    /// An offset or size beyond what a file can have.
    #[error("the file would be too large")]
    TooLarge,
    /// No room in the store.
    #[error("no space left in the store")]
    NoSpace,
    /// More links than an inode can have.
    #[error("too many links")]
    TooManyLinks,
    /// No such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// An extended attribute larger than the limit.
    #[error("the attribute is too large")]
    AttributeTooLarge,
    /// The buffer is too small for the attribute.
    #[error("the buffer is too small")]
    Range,
    /// `SEEK_DATA` or `SEEK_HOLE` beyond the end.
    #[error("no such data or hole")]
    NoSuchRange,
    /// Not supported here.
    #[error("not supported")]
    NotSupported,
    /// The store refused or failed; the source says why.
    #[error("{0}")]
    Io(String),
}

impl Error {
    /// The number a program sees in `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Error::NotFound => libc::ENOENT,
            Error::Exists => libc::EEXIST,
            Error::NotDirectory => libc::ENOTDIR,
            Error::IsDirectory => libc::EISDIR,
            Error::NotEmpty => libc::ENOTEMPTY,
            Error::Invalid => libc::EINVAL,
            Error::NameTooLong => libc::ENAMETOOLONG,
            Error::BadHandle => libc::EBADF,
            Error::NotPermitted => libc::EPERM,
            Error::ReadOnly => libc::EROFS,
            Error::TooLarge => libc::EFBIG,
            Error::NoSpace => libc::ENOSPC,
            Error::TooManyLinks => libc::EMLINK,
            Error::NoAttribute => libc::ENODATA,
            Error::AttributeTooLarge => libc::E2BIG,
            Error::Range => libc::ERANGE,
            Error::NoSuchRange => libc::ENXIO,
            Error::NotSupported => libc::EOPNOTSUPP,
            Error::Io(_) => libc::EIO,
        }
    }
}
