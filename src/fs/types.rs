//! What goes in and out of a [`Volume`](super::Volume).

use crate::model::{Attr, FileKind, Ino, Timestamp};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// The caller's umask; only looked at where something is created.
    pub umask: u32,
}

/// An open file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// A change of attributes; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// The user id of who changes the size: the author of what comes of it. `None`: the last one.
    pub by: Option<u32>,
    /// Permission bits (the lower twelve).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Truncation or extension.
    pub size: Option<u64>,
    /// Last read.
    pub atime: Option<SetTime>,
    /// Last change of the content.
    pub mtime: Option<SetTime>,
    /// Set-user-id and set-group-id go, as [`Volume::drop_privileges`](super::Volume::drop_privileges) says,
    /// unless a mode is given as well. Directories keep theirs.
    pub drop_privileges: bool,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The time at which it is set.
    Now,
    /// A given time.
    At(Timestamp),
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// Reading is allowed.
    pub read: bool,
    /// Writing is allowed.
    pub write: bool,
    /// `O_TRUNC`: the file is emptied.
    pub truncate: bool,
    /// `O_EXCL`: with create, the name must not exist.
    pub exclusive: bool,
    /// The user id of who opens it: the author of what is written.
    pub by: u32,
}

/// How a rename treats its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// An existing target is replaced.
    Replace,
    /// An existing target is an error (`EEXIST`).
    NoReplace,
    /// Both names must exist and change places.
    Exchange,
}

/// How `fallocate` changes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocate {
    /// Space is promised (there is none to reserve in a deduplicating store, beyond the check
    /// that it is there) and the file grows to the end of the range, unless `keep_size`.
    Reserve {
        /// The size stays.
        keep_size: bool,
    },
    /// The range becomes a hole; the size stays.
    PunchHole,
    /// The range reads as zeros.
    ZeroRange {
        /// The size stays.
        keep_size: bool,
    },
}

/// Which kind of range `seek` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is data.
    Data,
    /// The next byte in a hole (the end of the file counts as one).
    Hole,
}

/// How `setxattr` treats an existing attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// Created or replaced.
    Set,
    /// `XATTR_CREATE`: must not exist (`EEXIST`).
    Create,
    /// `XATTR_REPLACE`: must exist (`ENODATA`).
    Replace,
}

/// An entry of a directory listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Where to go on after this entry: stable while the directory changes.
    pub cookie: u64,
    /// The inode.
    pub ino: Ino,
    /// Its type.
    pub kind: FileKind,
    /// Its name.
    pub name: Vec<u8>,
    /// Its attributes, where they were asked for; never for `.` and `..`.
    pub attr: Option<Attr>,
}

/// What `statfs` tells. All sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// The size of the disk under the store.
    pub total: u64,
    /// Free, the reserve taken off.
    pub free: u64,
    /// Free for users who are not root.
    pub available: u64,
    /// Inodes that there can be.
    pub files: u64,
    /// Inodes that can still be made.
    pub files_free: u64,
}
