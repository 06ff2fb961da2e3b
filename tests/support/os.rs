//! System calls that the standard library doesn't offer, for tests.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn check(returned: i64) -> io::Result<u64> {
    u64::try_from(returned).map_err(|_| io::Error::last_os_error())
}

pub(crate) fn is_root() -> bool {
    // SAFETY: takes nothing, returns a number.
    unsafe { libc::geteuid() == 0 }
}

pub(crate) fn chmod(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

pub(crate) fn mknod(path: &Path, mode: u32, device: u64) -> io::Result<()> {
    // SAFETY: the path is a NUL-terminated string that outlives the call.
    check(unsafe { libc::mknod(c(path).as_ptr(), mode, device) }.into()).map(drop)
}

/// Sets the umask of this process; answers the former one.
pub(crate) fn umask(mask: u32) -> u32 {
    // SAFETY: takes and returns a number.
    unsafe { libc::umask(mask) }
}

pub(crate) fn rename(from: &Path, to: &Path, flags: u32) -> io::Result<()> {
    let (from, to) = (c(from), c(to));
    // SAFETY: both paths are NUL-terminated strings that outlive the call.
    let done = unsafe {
        libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags)
    };
    check(done.into()).map(drop)
}

/// Gives what `old` names another name, also when it is a symbolic link.
pub(crate) fn link(old: &Path, new: &Path) -> io::Result<()> {
    let (old, new) = (c(old), c(new));
    // SAFETY: both paths are NUL-terminated strings that outlive the call.
    let done =
        unsafe { libc::linkat(libc::AT_FDCWD, old.as_ptr(), libc::AT_FDCWD, new.as_ptr(), 0) };
    check(done.into()).map(drop)
}

/// Sets both times of what `path` names, in nanoseconds since 1970; a symbolic link is not followed.
pub(crate) fn set_times(path: &Path, atime: i64, mtime: i64) -> io::Result<()> {
    let spec = |nanos: i64| libc::timespec {
        tv_sec: nanos.div_euclid(1_000_000_000),
        tv_nsec: nanos.rem_euclid(1_000_000_000),
    };
    set_times_raw(path, [spec(atime), spec(mtime)])
}

pub(crate) fn set_times_raw(path: &Path, times: [libc::timespec; 2]) -> io::Result<()> {
    let (path, nofollow) = (c(path), libc::AT_SYMLINK_NOFOLLOW);
    // SAFETY: the path is NUL-terminated, the array has the two elements that the call reads.
    let done = unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), nofollow) };
    check(done.into()).map(drop)
}

pub(crate) fn fallocate(file: &File, mode: i32, offset: u64, len: u64) -> io::Result<()> {
    // SAFETY: takes numbers only.
    let done = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as i64, len as i64) };
    check(done.into()).map(drop)
}

pub(crate) fn seek(file: &File, offset: u64, whence: i32) -> io::Result<u64> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::lseek(file.as_raw_fd(), offset as i64, whence) })
}

pub(crate) fn copy_range(
    from: &File,
    from_offset: u64,
    to: &File,
    to_offset: u64,
    len: u64,
) -> io::Result<u64> {
    let (mut at, mut into) = (from_offset as i64, to_offset as i64);
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: both offsets are ours and outlive the call.
    check(unsafe { libc::copy_file_range(from, &mut at, to, &mut into, len as usize, 0) } as i64)
}

pub(crate) fn set_xattr(path: &Path, name: &str, value: &[u8], flags: i32) -> io::Result<()> {
    let (path, name) = (c(path), CString::new(name).unwrap());
    let (data, len) = (value.as_ptr().cast(), value.len());
    // SAFETY: both strings are NUL-terminated, the value is `len` bytes long.
    let done = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), data, len, flags) };
    check(done.into()).map(drop)
}

pub(crate) fn get_xattr(path: &Path, name: &str) -> io::Result<Vec<u8>> {
    let (path, name) = (c(path), CString::new(name).unwrap());
    let mut value = vec![0_u8; 65_536];
    let (data, len) = (value.as_mut_ptr().cast(), value.len());
    // SAFETY: both strings are NUL-terminated, the buffer has room for `len` bytes.
    let got = check(unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), data, len) } as i64)?;
    value.truncate(got as usize);
    Ok(value)
}

pub(crate) fn remove_xattr(path: &Path, name: &str) -> io::Result<()> {
    let (path, name) = (c(path), CString::new(name).unwrap());
    // SAFETY: both strings are NUL-terminated.
    check(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) }.into()).map(drop)
}

/// The names of all attributes, sorted.
pub(crate) fn list_xattrs(path: &Path) -> io::Result<Vec<String>> {
    let path = c(path);
    let mut names = vec![0_u8; 65_536];
    let (data, len) = (names.as_mut_ptr().cast(), names.len());
    // SAFETY: the path is NUL-terminated, the buffer has room for `len` bytes.
    let got = check(unsafe { libc::listxattr(path.as_ptr(), data, len) } as i64)? as usize;
    let parts = names[..got].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut listed: Vec<_> = parts.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect();
    listed.sort();
    Ok(listed)
}

pub(crate) fn flock(file: &File, operation: i32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::flock(file.as_raw_fd(), operation) }.into()).map(drop)
}

/// Locks a range: `command` is `F_SETLK` or `F_OFD_SETLK`, `kind` `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
pub(crate) fn lock(file: &File, command: i32, kind: i32, start: i64, len: i64) -> io::Result<()> {
    let range = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        l_len: len,
        l_pid: 0,
    };
    // SAFETY: the structure is complete and outlives the call.
    check(unsafe { libc::fcntl(file.as_raw_fd(), command, &range) }.into()).map(drop)
}

/// Tells the kernel to drop what it has cached of a file.
pub(crate) fn drop_cache(file: &File) {
    // SAFETY: takes numbers only.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

pub(crate) fn statvfs(path: &Path) -> io::Result<libc::statvfs> {
    let path = c(path);
    let mut answer = std::mem::MaybeUninit::uninit();
    // SAFETY: the path is NUL-terminated; the structure is read only after success.
    check(unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) }.into())?;
    // SAFETY: the call succeeded and filled it.
    Ok(unsafe { answer.assume_init() })
}

/// Runs `work` in a process of its own and waits for it; whether it answered true.
///
/// For mappings of files on a drive that this process serves: unmapping waits for the drive with the lock of
/// the process's memory held, and a thread that serves the drive may need that lock to get memory. `work` must
/// not allocate: another thread may have held the allocator's lock when the process was copied.
pub(crate) fn in_child(work: impl FnOnce() -> io::Result<bool>) -> bool {
    // SAFETY: the child only runs `work`, which keeps to what may be done in it, and ends.
    match unsafe { libc::fork() } {
        0 => {
            let code = if matches!(work(), Ok(true)) { 0 } else { 1 };
            // SAFETY: ends the process, without running what is registered for its end.
            unsafe { libc::_exit(code) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(ended, child, "fork or waitpid failed");
            status == 0
        }
    }
}

/// A file in memory; unmapped when dropped. See [`in_child`].
pub(crate) struct Mapping {
    at: *mut libc::c_void,
    len: usize,
}

impl Mapping {
    /// Maps the first `len` bytes for reading and writing; `flags` is `MAP_SHARED` or `MAP_PRIVATE`.
    pub(crate) fn new(file: &File, len: usize, flags: i32) -> io::Result<Mapping> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes it touches no memory of ours.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, file.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Mapping { at, len })
        }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is `len` bytes long and lives as long as `self`.
        unsafe { std::slice::from_raw_parts_mut(self.at.cast(), self.len) }
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        // SAFETY: exactly the range that was mapped.
        check(unsafe { libc::msync(self.at, self.len, libc::MS_SYNC) }.into()).map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped, and nobody has it any more.
        unsafe { libc::munmap(self.at, self.len) };
    }
}
