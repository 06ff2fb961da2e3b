//! The kernel's words for things, and ours.

use std::time::{SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, FopenFlags, INodeNo, RenameFlags, Request, TimeOrNow};

use crate::fs::{Allocate, Caller, Error, OpenMode, RenameMode, Result, Seek, SetTime, XattrMode};
use crate::model::{Attr, FileKind, Timestamp};

/// What `st_blksize` says, in bytes: buffered programs then write in pieces of this size, each of
/// which is a request to us.
const IO_SIZE_BYTES: u32 = 64 * 1024;

/// The unit of `st_blocks`, in bytes (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// The type bits of `st_mode` (`S_IFMT`).
const TYPE_MASK: u32 = 0o170_000;

/// Who sent `request`; the kernel tells the umask only where something is created.
pub(super) fn caller(request: &Request, umask: u32) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), umask }
}

/// The kernel's name for a type.
pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// Attributes as the kernel wants them.
pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.allocated.div_ceil(BLOCK_BYTES),
        atime: attr.atime.into(),
        mtime: attr.mtime.into(),
        ctime: attr.ctime.into(),
        crtime: attr.btime.into(),
        kind: file_type(attr.kind),
        perm: attr.mode.bits(),
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: IO_SIZE_BYTES,
        flags: 0,
    }
}

/// Attributes that name only an inode and its type. With inode 0 they say "no such name, and you may
/// remember that"; in a listing they stand for `.` and `..`, whose attributes the kernel ignores.
pub(super) fn bare_attr(ino: u64, kind: FileKind) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: file_type(kind),
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: IO_SIZE_BYTES,
        flags: 0,
    }
}

/// A time to set, as the kernel sent it.
pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(received_time(time)),
    }
}

/// fuser 0.18 reads the kernel's (seconds, nanoseconds) before 1970 as if both counted backwards;
/// in truth only the seconds are negative, the nanoseconds always count forward.
fn received_time(time: SystemTime) -> Timestamp {
    match UNIX_EPOCH.duration_since(time) {
        Ok(back) => {
            let seconds = i64::try_from(back.as_secs()).unwrap_or(i64::MAX);
            let nanos = seconds.saturating_mul(-1_000_000_000);
            Timestamp(nanos.saturating_add(i64::from(back.subsec_nanos())))
        }
        Err(_) => Timestamp::from(time),
    }
}

/// The flags of `open(2)`; `by`: who opens.
pub(super) fn open_mode(by: u32, flags: i32) -> OpenMode {
    let access = flags & libc::O_ACCMODE;
    OpenMode {
        read: access != libc::O_WRONLY,
        write: access != libc::O_RDONLY,
        truncate: flags & libc::O_TRUNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
        by,
    }
}

/// How the kernel may treat a file that was opened so. We are the only writer, so what it has cached
/// stays right across opens; a handle that can't write has nothing that `close` would have to wait for.
pub(super) fn open_reply(how: OpenMode) -> FopenFlags {
    let keep = FopenFlags::FOPEN_KEEP_CACHE;
    if how.write { keep } else { keep | FopenFlags::FOPEN_NOFLUSH }
}

/// How the kernel may treat a file that was just made: `close` must wait for its name.
pub(super) fn create_reply() -> FopenFlags {
    FopenFlags::FOPEN_KEEP_CACHE
}

/// The flags of `renameat2(2)`.
///
/// # Errors
/// `Invalid` for what we don't do (`RENAME_WHITEOUT`) and for combinations that make no sense.
pub(super) fn rename_mode(flags: RenameFlags) -> Result<RenameMode> {
    if flags.is_empty() {
        Ok(RenameMode::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Ok(RenameMode::NoReplace)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Ok(RenameMode::Exchange)
    } else {
        Err(Error::Invalid)
    }
}

/// The mode of `fallocate(2)`.
///
/// # Errors
/// `NotSupported` for everything but reserving, punching and zeroing.
pub(super) fn allocate(mode: i32) -> Result<Allocate> {
    let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
    match mode & !libc::FALLOC_FL_KEEP_SIZE {
        0 => Ok(Allocate::Reserve { keep_size }),
        libc::FALLOC_FL_PUNCH_HOLE if keep_size => Ok(Allocate::PunchHole),
        libc::FALLOC_FL_ZERO_RANGE => Ok(Allocate::ZeroRange { keep_size }),
        _ => Err(Error::NotSupported),
    }
}

/// The flags of `setxattr(2)`.
///
/// # Errors
/// `Invalid` for both at once, and for unknown flags.
pub(super) fn xattr_mode(flags: i32) -> Result<XattrMode> {
    match flags {
        0 => Ok(XattrMode::Set),
        libc::XATTR_CREATE => Ok(XattrMode::Create),
        libc::XATTR_REPLACE => Ok(XattrMode::Replace),
        _ => Err(Error::Invalid),
    }
}

/// The `whence` of `lseek(2)`, where the kernel asks us at all.
///
/// # Errors
/// `Invalid` for any other.
pub(super) fn seek(whence: i32) -> Result<Seek> {
    match whence {
        libc::SEEK_DATA => Ok(Seek::Data),
        libc::SEEK_HOLE => Ok(Seek::Hole),
        _ => Err(Error::Invalid),
    }
}

/// The permission bits of a `st_mode` that may carry a type.
pub(super) fn permissions(mode: u32) -> u32 {
    mode & !TYPE_MASK
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_before_1970_are_read_as_the_kernel_means_them() {
        // The kernel sent (-1 s, 200 ms): 0.8 s before 1970. fuser makes 1.2 s of it.
        let as_fuser_reads = UNIX_EPOCH - Duration::new(1, 200_000_000);
        assert_eq!(received_time(as_fuser_reads), Timestamp(-800_000_000));
        assert_eq!(received_time(UNIX_EPOCH - Duration::new(5, 0)), Timestamp(-5_000_000_000));
        assert_eq!(received_time(UNIX_EPOCH + Duration::new(5, 7)), Timestamp(5_000_000_007));
    }

    #[test]
    fn times_beyond_what_we_store_are_clamped() {
        let far = UNIX_EPOCH - Duration::new(1 << 40, 5);
        assert_eq!(received_time(far), Timestamp(i64::MIN + 5));
    }

    #[test]
    fn open_flags_are_told_apart() {
        let how = open_mode(7, libc::O_RDWR | libc::O_APPEND | libc::O_TRUNC | libc::O_EXCL);
        assert!(how.read && how.write && how.truncate && how.exclusive);
        let read = open_mode(7, libc::O_RDONLY);
        assert_eq!((read.read, read.write), (true, false));
        let write = open_mode(7, libc::O_WRONLY);
        assert_eq!((write.read, write.write), (false, true));
    }

    #[test]
    fn only_a_handle_that_cannot_write_skips_the_flush() {
        assert!(open_reply(open_mode(7, libc::O_RDONLY)).contains(FopenFlags::FOPEN_NOFLUSH));
        assert!(!open_reply(open_mode(7, libc::O_WRONLY)).contains(FopenFlags::FOPEN_NOFLUSH));
        assert!(!open_reply(open_mode(7, libc::O_RDWR)).contains(FopenFlags::FOPEN_NOFLUSH));
    }

    #[test]
    fn whiteouts_and_mixed_renames_are_refused() {
        for flags in [
            RenameFlags::RENAME_WHITEOUT,
            RenameFlags::RENAME_NOREPLACE | RenameFlags::RENAME_EXCHANGE,
        ] {
            assert!(matches!(rename_mode(flags), Err(Error::Invalid)));
        }
    }

    #[test]
    fn fallocate_modes_follow_the_manual() {
        let keep = libc::FALLOC_FL_KEEP_SIZE;
        let (punch, zero) = (libc::FALLOC_FL_PUNCH_HOLE, libc::FALLOC_FL_ZERO_RANGE);
        assert_eq!(allocate(0).unwrap(), Allocate::Reserve { keep_size: false });
        assert_eq!(allocate(keep).unwrap(), Allocate::Reserve { keep_size: true });
        assert_eq!(allocate(punch | keep).unwrap(), Allocate::PunchHole);
        assert_eq!(allocate(zero).unwrap(), Allocate::ZeroRange { keep_size: false });
        assert_eq!(allocate(zero | keep).unwrap(), Allocate::ZeroRange { keep_size: true });
        for refused in [punch, libc::FALLOC_FL_COLLAPSE_RANGE, libc::FALLOC_FL_INSERT_RANGE] {
            assert!(matches!(allocate(refused), Err(Error::NotSupported)));
        }
    }
}
