//! What `stat` tells about an inode.

use super::{Ino, Timestamp};

/// The type of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// The type bits of `st_mode`.
const TYPE_MASK: u32 = 0o170_000;

impl FileKind {
    /// The type bits of `st_mode` (`S_IFREG` and its like): also how the kind is stored.
    pub fn type_bits(self) -> u32 {
        match self {
            FileKind::Fifo => 0o010_000,
            FileKind::CharDevice => 0o020_000,
            FileKind::Directory => 0o040_000,
            FileKind::BlockDevice => 0o060_000,
            FileKind::File => 0o100_000,
            FileKind::Symlink => 0o120_000,
            FileKind::Socket => 0o140_000,
        }
    }

    /// The kind that the type bits of `mode` name; other bits are ignored.
    pub fn from_mode(mode: u32) -> Option<FileKind> {
        Some(match mode & TYPE_MASK {
            0o010_000 => FileKind::Fifo,
            0o020_000 => FileKind::CharDevice,
            0o040_000 => FileKind::Directory,
            0o060_000 => FileKind::BlockDevice,
            0o100_000 => FileKind::File,
            0o120_000 => FileKind::Symlink,
            0o140_000 => FileKind::Socket,
            _ => return None,
        })
    }
}

/// Permission bits with set-user-id, set-group-id and sticky: the lower twelve bits of `st_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mode(u16);

impl Mode {
    /// Set-user-id.
    pub const SUID: u16 = 0o4000;
    /// Set-group-id.
    pub const SGID: u16 = 0o2000;
    /// Sticky.
    pub const STICKY: u16 = 0o1000;
    /// The group may execute.
    pub const GROUP_EXECUTE: u16 = 0o010;

    /// The lower twelve bits of `mode`.
    pub fn new(mode: u32) -> Mode {
        Mode((mode & 0o7777) as u16)
    }

    /// The twelve bits.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// What a change of content or owner leaves of it: no set-user-id, and no set-group-id where the group
    /// may execute (without that it once meant mandatory locking, and is nobody's privilege).
    pub fn without_privileges(self) -> Mode {
        let sgid = if self.has(Mode::SGID | Mode::GROUP_EXECUTE) { Mode::SGID } else { 0 };
        Mode(self.0 & !(Mode::SUID | sgid))
    }

    /// Whether all of `bits` are set.
    pub fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }
}

/// The attributes of an inode, as `stat` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// Type.
    pub kind: FileKind,
    /// Permissions.
    pub mode: Mode,
    /// Number of names (for a directory: 2 and one for each subdirectory).
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, as the kernel encodes it.
    pub rdev: u32,
    /// Size in bytes.
    pub size: u64,
    /// Bytes that are not holes.
    pub allocated: u64,
    /// Last read.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Birth.
    pub btime: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_go_where_they_are_some() {
        for (before, after) in
            [(0o6777, 0o777), (0o4644, 0o644), (0o2755, 0o755), (0o2745, 0o2745), (0o7707, 0o3707)]
        {
            assert_eq!(Mode::new(before).without_privileges(), Mode::new(after), "{before:o}");
        }
    }
}
