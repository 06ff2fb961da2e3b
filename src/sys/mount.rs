//! Taking a mount away.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Unmounts what is mounted at `mountpoint` (umount2(2)). With `lazy` the tree is detached at once and
/// the filesystem ends when its last file is closed; without, a busy mount is an error.
///
/// # Errors
/// `EBUSY` when busy, `EINVAL` when nothing is mounted there, `EPERM` for who isn't root.
#[allow(unsafe_code)]
pub fn unmount(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let path = CString::new(mountpoint.as_os_str().as_bytes())?;
    let detach = if lazy { libc::MNT_DETACH } else { 0 };
    // SAFETY: `path` is a NUL-terminated string that lives across the call, which keeps no pointer to it.
    match unsafe { libc::umount2(path.as_ptr(), libc::UMOUNT_NOFOLLOW | detach) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_mounted_cannot_be_unmounted() {
        let dir = tempfile::tempdir().unwrap();
        let error = unmount(dir.path(), false).unwrap_err().raw_os_error();
        assert!(matches!(error, Some(libc::EINVAL | libc::EPERM)), "{error:?}");
    }
}
