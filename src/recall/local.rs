//! A tree that the kernel serves: a mounted drive, or any other directory.

use super::tree::{Shareable, Sink, Source, Tree, printable};
use crate::model::{Attr, FileKind, Ino, Mode, Timestamp};
use rustix::fs::{
    AtFlags, CWD, Mode as Bits, OFlags, RenameFlags, SeekFrom, Timespec, Timestamps, XattrFlags,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The kernel's limits.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// A directory and what is in it.
#[derive(Debug)]
pub struct Local {
    root: PathBuf,
    device: u64,
}

impl Local {
    /// The tree below `root`.
    pub fn new(root: &Path) -> io::Result<Local> {
        Ok(Local { root: root.to_owned(), device: fs::metadata(root)?.dev() })
    }

    fn real(&self, path: &Path) -> PathBuf {
        // Joining nothing would add a slash, which follows a symbolic link.
        if path.as_os_str().is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Tree for Local {
    fn shown(&self, path: &Path) -> String {
        printable(&self.real(path))
    }

    fn attr(&self, path: &Path) -> io::Result<Attr> {
        attr_of(&fs::symlink_metadata(self.real(path))?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(OsString, FileKind)>> {
        let named = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            Ok((entry.file_name(), kind_of(entry.file_type()?)))
        };
        fs::read_dir(self.real(dir))?.map(named).collect()
    }

    fn target(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(self.real(path))
    }

    fn xattr(&self, path: &Path, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let (path, name) = (self.real(path), OsStr::from_bytes(name));
        // Most are short.
        for room in [256, XATTR_BYTES_MAX] {
            let mut value = vec![0; room];
            match rustix::fs::lgetxattr(&path, name, &mut value[..]) {
                Ok(len) => {
                    value.truncate(len);
                    return Ok(Some(value));
                }
                Err(Errno::RANGE) => {}
                Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::TOOBIG.into())
    }

    fn xattr_names(&self, path: &Path) -> io::Result<Vec<Vec<u8>>> {
        let mut list = vec![0; XATTR_BYTES_MAX];
        match rustix::fs::llistxattr(self.real(path), &mut list[..]) {
            Ok(len) => list.truncate(len),
            Err(Errno::NOTSUP) => list.clear(),
            Err(error) => return Err(error.into()),
        }
        let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    fn is_foreign(&self, dir: &Path) -> bool {
        fs::symlink_metadata(self.real(dir)).is_ok_and(|found| found.dev() != self.device)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Source + '_>> {
        Ok(Box::new(Reading(open_itself(&self.real(path))?)))
    }

    fn create(&self, path: &Path, cause: &str) -> io::Result<Box<dyn Sink + '_>> {
        let mut how = OpenOptions::new();
        let file = how.read(true).write(true).create_new(true).mode(0o600).open(self.real(path))?;
        if !cause.is_empty() {
            // Only a mark in its history: a drive that does not know it, or no drive at all, loses nothing.
            let name = "user.verso.cause";
            let _ = rustix::fs::fsetxattr(&file, name, cause.as_bytes(), XattrFlags::empty());
        }
        Ok(Box::new(Writing(file)))
    }

    fn make(&self, path: &Path, like: &Attr) -> io::Result<()> {
        let path = self.real(path);
        if like.kind == FileKind::Directory {
            return Ok(rustix::fs::mkdir(&path, Bits::RWXU)?);
        }
        let kind = rustix::fs::FileType::from_raw_mode(like.kind.type_bits());
        let (major, minor) = split_device(like.rdev);
        let device = rustix::fs::makedev(major, minor);
        Ok(rustix::fs::mknodat(CWD, &path, kind, Bits::RUSR | Bits::WUSR, device)?)
    }

    fn symlink(&self, path: &Path, target: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, self.real(path))
    }

    fn link(&self, path: &Path, new: &Path) -> io::Result<()> {
        fs::hard_link(self.real(path), self.real(new))
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        Ok(rustix::fs::renameat_with(CWD, self.real(from), CWD, self.real(to), flags)?)
    }

    fn remove(&self, path: &Path, kind: FileKind) -> io::Result<()> {
        match kind {
            FileKind::Directory => fs::remove_dir(self.real(path)),
            _ => fs::remove_file(self.real(path)),
        }
    }

    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        std::os::unix::fs::lchown(self.real(path), Some(uid), Some(gid))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        // Whoever may write to the directory may put a symbolic link there at any moment: it is not followed.
        let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::open(self.real(path), how, Bits::empty())?;
        let itself = format!("/proc/self/fd/{}", place.as_raw_fd());
        fs::set_permissions(itself, fs::Permissions::from_mode(mode))
    }

    fn set_times(&self, path: &Path, read: Timestamp, changed: Timestamp) -> io::Result<()> {
        let times =
            Timestamps { last_access: timespec(read), last_modification: timespec(changed) };
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::utimensat(CWD, self.real(path), &times, no_follow)?)
    }

    fn set_xattr(&self, path: &Path, name: &[u8], value: &[u8]) -> io::Result<()> {
        let (path, name) = (self.real(path), OsStr::from_bytes(name));
        Ok(rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty())?)
    }

    fn remove_xattr(&self, path: &Path, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::lremovexattr(self.real(path), OsStr::from_bytes(name))?)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        open_itself(&self.real(path))?.sync_all()
    }
}

/// Opens what is there for reading: neither follows a symbolic link nor waits for a pipe.
fn open_itself(path: &Path) -> io::Result<File> {
    let how = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    OpenOptions::new().read(true).custom_flags(how).open(path)
}

struct Reading(File);

impl Source for Reading {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let start = match rustix::fs::seek(&self.0, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // What knows no holes has none.
            Err(Errno::INVAL) => {
                let len = self.0.metadata()?.len();
                return Ok((offset < len).then_some(offset..len));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Some(start..rustix::fs::seek(&self.0, SeekFrom::Hole(start))?))
    }

    fn shareable(&self) -> Shareable<'_> {
        Shareable::File(&self.0)
    }
}

struct Writing(File);

impl Sink for Writing {
    fn share(&mut self, from: &dyn Source, offset: u64, len: u64) -> io::Result<u64> {
        let Shareable::File(from) = from.shareable() else { return Ok(0) };
        let (mut here, mut there) = (offset, offset);
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut here), &self.0, Some(&mut there), len) {
            Ok(copied) => Ok(copied as u64),
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn finish(self: Box<Self>, len: u64, is_durable: bool) -> io::Result<()> {
        if self.0.metadata()?.len() != len {
            self.0.set_len(len)?;
        }
        if is_durable { self.0.sync_all() } else { Ok(()) }
    }
}

fn attr_of(found: &fs::Metadata) -> io::Result<Attr> {
    let kind = FileKind::from_mode(found.mode())
        .ok_or_else(|| io::Error::other("a kind of file that is not known"))?;
    let time = |seconds: i64, nanos: i64| {
        Timestamp(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    };
    let changed = time(found.ctime(), found.ctime_nsec());
    Ok(Attr {
        ino: Ino(found.ino()),
        kind,
        mode: Mode::new(found.mode()),
        nlink: u32::try_from(found.nlink()).unwrap_or(u32::MAX),
        uid: found.uid(),
        gid: found.gid(),
        rdev: join_device(found.rdev()),
        size: found.size(),
        allocated: found.blocks() * 512,
        atime: time(found.atime(), found.atime_nsec()),
        mtime: time(found.mtime(), found.mtime_nsec()),
        ctime: changed,
        btime: changed,
    })
}

fn kind_of(kind: fs::FileType) -> FileKind {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Symlink,
        kind if kind.is_fifo() => FileKind::Fifo,
        kind if kind.is_socket() => FileKind::Socket,
        kind if kind.is_char_device() => FileKind::CharDevice,
        kind if kind.is_block_device() => FileKind::BlockDevice,
        _ => FileKind::File,
    }
}

/// A device number as the kernel encodes it within 32 bits.
fn join_device(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

fn split_device(device: u32) -> (u32, u32) {
    ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00))
}

fn timespec(time: Timestamp) -> Timespec {
    Timespec { tv_sec: time.0.div_euclid(1_000_000_000), tv_nsec: time.0.rem_euclid(1_000_000_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive() {
        for (major, minor) in [(1, 3), (8, 1), (259, 300), (4095, 0xf_ffff)] {
            let joined = join_device(rustix::fs::makedev(major, minor));
            assert_eq!(split_device(joined), (major, minor));
        }
    }
}
