//! The one door to a drive, mounted or not.

use crate::model::{Attr, FileKind, Timestamp};
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Told again and again in the course of long work: files and bytes that are done.
pub type Progress<'a> = dyn FnMut(u64, u64) + 'a;

/// A tree of files. Paths are relative to its root, without `.` and `..`; symbolic links are not followed at their end.
/// Errors carry the system's number where there is one.
pub trait Tree {
    /// The path as people know it.
    fn shown(&self, path: &Path) -> String;
    /// What `lstat` tells.
    fn attr(&self, path: &Path) -> io::Result<Attr>;
    /// The names in a directory, in no order, without `.` and `..`.
    fn list(&self, dir: &Path) -> io::Result<Vec<(OsString, FileKind)>>;
    /// The names in a directory, with what `lstat` tells of each. What goes meanwhile may be missing.
    fn entries(&self, dir: &Path) -> io::Result<Vec<(OsString, Attr)>> {
        let mut found = Vec::new();
        for (name, _) in self.list(dir)? {
            let attr = attr_if_any(self, &dir.join(&name))?;
            found.extend(attr.map(|attr| (name, attr)));
        }
        Ok(found)
    }
    /// Where a symbolic link leads.
    fn target(&self, path: &Path) -> io::Result<PathBuf>;
    /// The value of an extended attribute; `None` where there is none.
    fn xattr(&self, path: &Path, name: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// The names of the extended attributes.
    fn xattr_names(&self, path: &Path) -> io::Result<Vec<Vec<u8>>>;
    /// Whether another filesystem is mounted on the directory.
    fn is_foreign(&self, dir: &Path) -> bool;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Source + '_>>;

    /// Makes a file that only its owner may use; the name must be free. `cause` is why it is made, for its history.
    fn create(&self, path: &Path, cause: &str) -> io::Result<Box<dyn Sink + '_>>;
    /// Makes a directory that only its owner may use, or a special file; the name must be free.
    fn make(&self, path: &Path, like: &Attr) -> io::Result<()>;
    /// Makes a symbolic link.
    fn symlink(&self, path: &Path, target: &Path) -> io::Result<()>;
    /// Gives the file another name.
    fn link(&self, path: &Path, new: &Path) -> io::Result<()>;
    /// Renames; without `replace` the new name must be free.
    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()>;
    /// Removes a name; a directory must be empty.
    fn remove(&self, path: &Path, kind: FileKind) -> io::Result<()>;
    /// Sets owner and group.
    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()>;
    /// Sets the permissions; not for symbolic links.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Sets the times of the last read and the last change.
    fn set_times(&self, path: &Path, read: Timestamp, changed: Timestamp) -> io::Result<()>;
    /// Sets an extended attribute.
    fn set_xattr(&self, path: &Path, name: &[u8], value: &[u8]) -> io::Result<()>;
    /// Removes an extended attribute.
    fn remove_xattr(&self, path: &Path, name: &[u8]) -> io::Result<()>;
    /// The file, or what happened in the directory, survives a power cut.
    fn sync(&self, path: &Path) -> io::Result<()>;
}

/// A file that is open for reading.
pub trait Source {
    /// Reads at most what `into` has room for; 0 is the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// The next range from `offset` on that is no hole.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>>;
    /// What a [`Sink`] of the same kind can share from.
    fn shareable(&self) -> Shareable<'_>;
}

/// A file that is open for writing, and is incomplete until it is finished.
pub trait Sink {
    /// Copies without moving bytes; how many were copied. 0 where that is not possible.
    fn share(&mut self, from: &dyn Source, offset: u64, len: u64) -> io::Result<u64>;
    /// Writes all of `data`.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// The content is complete, and `len` bytes long; if `is_durable`, it survives a power cut.
    fn finish(self: Box<Self>, len: u64, is_durable: bool) -> io::Result<()>;
}

/// An open file, by what it is open with.
#[derive(Debug)]
pub enum Shareable<'a> {
    /// By the kernel.
    File(&'a std::fs::File),
    /// In a store of this process.
    Handle(crate::fs::Handle),
}

/// A path as one line that can be printed: control characters and what is not UTF-8 are escaped.
pub fn printable(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for char in chunk.valid().chars() {
            match char.is_control() {
                true => text.extend(char.escape_default()),
                false => text.push(char),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// All bytes of a file, but not more than `max`.
pub(super) fn read_up_to(source: &dyn Source, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut block = vec![0; max.clamp(1, 1 << 20)];
    while bytes.len() < max {
        let room = block.len().min(max - bytes.len());
        match source.read_at(bytes.len() as u64, &mut block[..room])? {
            0 => break,
            read => bytes.extend_from_slice(&block[..read]),
        }
    }
    Ok(bytes)
}

/// Whether an answer means that there is nothing.
pub(super) fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// The attributes; `None` where nothing is.
pub fn attr_if_any<T: Tree + ?Sized>(tree: &T, path: &Path) -> io::Result<Option<Attr>> {
    match tree.attr(path) {
        Ok(attr) => Ok(Some(attr)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_path_is_one_line() {
        let odd = OsStr::from_bytes(b"a b\n\x1b[1m\xff/\xc3\xa4");
        assert_eq!(printable(Path::new(odd)), "a b\\n\\u{1b}[1m\\xff/ä");
    }
}
