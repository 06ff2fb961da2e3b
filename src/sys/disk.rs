//! Space on a disk, and hints to the kernel about what lies on it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The space of a filesystem, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Size of the filesystem.
    pub total: u64,
    /// Free, including what is reserved for root.
    pub free: u64,
    /// Free for ordinary users.
    pub available: u64,
}

/// The space of the filesystem that holds `path`.
#[allow(unsafe_code)]
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: statvfs is plain old data, for which all zeros is a valid value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is a terminated string and `stat` a writable statvfs; both outlive the call.
    if unsafe { libc::statvfs(path.as_ptr(), &mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = |blocks: libc::fsblkcnt_t| blocks * stat.f_frsize;
    Ok(DiskSpace {
        total: bytes(stat.f_blocks),
        free: bytes(stat.f_bfree),
        available: bytes(stat.f_bavail),
    })
}

/// Whether an error means that the disk (or the user's quota) is full.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// Reserves blocks for `len` bytes from `offset` on; with `keep_size` the file's size stays as it is.
///
/// # Errors
/// What `fallocate(2)` says: `ENOSPC` when there is no room, `EOPNOTSUPP` where the filesystem can't.
#[allow(unsafe_code)]
pub fn preallocate(file: &File, offset: u64, len: u64, keep_size: bool) -> io::Result<()> {
    let mode = if keep_size { libc::FALLOC_FL_KEEP_SIZE } else { 0 };
    // SAFETY: no pointers are passed; the descriptor is open for as long as `file` is borrowed.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), mode, signed(offset), signed(len)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks the kernel to start writing a range of the file back (`len` 0: all from `offset` on), so that
/// a later fdatasync has little left to do. Gives no durability and reports no error: the fdatasync does both.
#[allow(unsafe_code)]
pub fn start_writeback(file: &File, offset: u64, len: u64) {
    let flags = libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: no pointers are passed; the descriptor is open for as long as `file` is borrowed.
    unsafe { libc::sync_file_range(file.as_raw_fd(), signed(offset), signed(len), flags) };
}

/// Asks the kernel to read a range of the file into its cache. Best effort.
pub fn read_ahead(file: &File, offset: u64, len: u64) {
    advise(file, offset, len, libc::POSIX_FADV_WILLNEED);
}

/// Tells the kernel that reads of the file follow no order, so that each brings in what it asks for and
/// no more; [`read_ahead`] says what else will be needed. Best effort.
pub fn expect_random_reads(file: &File) {
    advise(file, 0, 0, libc::POSIX_FADV_RANDOM);
}

/// Asks the kernel to drop a range of the file from its cache, so that the next read comes from the
/// disk. Best effort: what is not yet written back stays.
pub fn forget_cached(file: &File, offset: u64, len: u64) {
    advise(file, offset, len, libc::POSIX_FADV_DONTNEED);
}

#[allow(unsafe_code)]
fn advise(file: &File, offset: u64, len: u64, advice: libc::c_int) {
    // SAFETY: no pointers are passed; the descriptor is open for as long as `file` is borrowed.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), signed(offset), signed(len), advice) };
}

/// Offsets beyond `i64::MAX` don't exist in a file; clamping lets the kernel refuse them.
fn signed(value: u64) -> libc::off_t {
    libc::off_t::try_from(value).unwrap_or(libc::off_t::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn space_is_consistent() {
        let space = disk_space(Path::new("/")).unwrap();
        assert!(space.total >= space.free && space.free >= space.available);
        assert!(space.total > 0);
    }

    #[test]
    fn a_missing_path_has_no_space() {
        let error = disk_space(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn preallocation_keeps_the_size_when_asked() {
        let file = tempfile::tempfile().unwrap();
        preallocate(&file, 0, 1 << 20, true).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.len(), metadata.blocks() * 512 >= 1 << 20), (0, true));
        preallocate(&file, 0, 1 << 20, false).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1 << 20);
    }

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        assert!(is_no_space(&io::Error::from_raw_os_error(libc::ENOSPC)));
        assert!(is_no_space(&io::Error::from_raw_os_error(libc::EDQUOT)));
        assert!(!is_no_space(&io::Error::from_raw_os_error(libc::EIO)));
    }
}
