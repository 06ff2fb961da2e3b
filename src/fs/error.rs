//! What can go wrong in the filesystem, and the errno a program sees for it.

use crate::{chunks, meta};

/// The result of an operation of the filesystem.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation failed. [`Error::errno`] is the one map from meaning to number.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such name, or an inode that is gone.
    #[error("no such file or directory")]
    NotFound,
    /// A version that retention has ended since it was looked up.
    #[error("this version is not kept any more")]
    Gone,
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
    /// `SEEK_DATA` or `SEEK_HOLE` beyond the end.
    #[error("no such data or hole")]
    NoSuchRange,
    /// It can't be moved there, but copied.
    #[error("it can't be moved, only copied")]
    CrossDevice,
    /// Not supported here.
    #[error("not supported")]
    NotSupported,
    /// An earlier write to the disk failed: nothing more is written until the store was opened anew,
    /// which checks it.
    #[error("the store takes no more writes, since an earlier one failed: {0}")]
    Failed(String),
    /// The metadata can't be read or written.
    #[error(transparent)]
    Meta(meta::Error),
    /// A chunk can't be read or written.
    #[error(transparent)]
    Chunks(chunks::Error),
}

impl Error {
    /// The number a program sees in `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Error::NotFound => libc::ENOENT,
            Error::Gone => libc::ESTALE,
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
            Error::NoSuchRange => libc::ENXIO,
            Error::CrossDevice => libc::EXDEV,
            Error::NotSupported => libc::EOPNOTSUPP,
            Error::Failed(_) | Error::Meta(_) | Error::Chunks(_) => libc::EIO,
        }
    }

    /// Whether it is the store that failed, and not a program that asked for something impossible:
    /// such an error is worth a line in the log.
    pub fn is_fault(&self) -> bool {
        matches!(self, Error::Failed(_) | Error::Meta(_) | Error::Chunks(_))
    }
}

impl From<meta::Error> for Error {
    fn from(error: meta::Error) -> Self {
        match error {
            meta::Error::NoSpace => Error::NoSpace,
            other => Error::Meta(other),
        }
    }
}

impl From<chunks::Error> for Error {
    fn from(error: chunks::Error) -> Self {
        match error {
            chunks::Error::NoSpace => Error::NoSpace,
            other => Error::Chunks(other),
        }
    }
}
