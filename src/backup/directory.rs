//! A location that is a directory of this machine: another disk, or what is mounted from another machine.
//!
//! Written with the standard library rather than through opendal's service, which leaves directories without fsync: a name
//! that a power cut takes back would be a backup that says it is there.

use super::location::{Object, PARTIAL, leftover_name};
use super::{Error, Result};
use crate::model::Timestamp;
use crate::sys;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(super) struct Directory {
    pub(super) name: String,
    pub(super) root: PathBuf,
}

impl Directory {
    /// Durable when it returns, under the name too; until then the old object is there.
    pub(super) fn put(&self, key: &str, body: &[u8]) -> Result<()> {
        let mut growing = self.grow(key)?;
        growing.write(body)?;
        growing.publish().map(drop)
    }

    /// A file that grows out of sight until it is published as `key`.
    pub(super) fn grow(&self, key: &str) -> Result<Growing<'_>> {
        let made = || -> io::Result<Growing<'_>> {
            let path = self.root.join(key);
            self.make_parents(&path)?;
            let partial = self.root.join(PARTIAL);
            make_dir(&partial)?;
            let temporary = partial.join(leftover_name()?);
            let file = File::create_new(&temporary)?;
            let key = key.to_owned();
            Ok(Growing { directory: self, key, file, temporary, path, bytes: 0 })
        };
        self.there(true)?;
        made().map_err(|error| self.failed(key, &error))
    }

    pub(super) fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.there(false)?;
        fs::read(self.root.join(key)).map_err(|error| self.failed(key, &error))
    }

    pub(super) fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.there(false)?;
        let read = || -> io::Result<Option<Vec<u8>>> {
            let file = File::open(self.root.join(key))?;
            if file.metadata()?.len() < offset.saturating_add(len) {
                return Ok(None);
            }
            let mut bytes = vec![0; usize::try_from(len).map_err(|_| ErrorKind::OutOfMemory)?];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(Some(bytes))
        };
        let read = read().map_err(|error| self.failed(key, &error))?;
        read.ok_or_else(|| super::location::too_short(&self.name, key, offset, len))
    }

    pub(super) fn stat(&self, key: &str) -> Result<Option<u64>> {
        self.there(false)?;
        match fs::metadata(self.root.join(key)) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed(key, &error)),
        }
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        self.there(false)?;
        let mut found = Vec::new();
        let mut open = vec![prefix.to_owned()];
        while let Some(at) = open.pop() {
            match self.list_one(&at, &mut found, &mut open) {
                Err(error) if !is_absent(&error) => return Err(self.failed(&at, &error)),
                _ => {}
            }
        }
        Ok(found)
    }

    fn list_one(
        &self,
        at: &str,
        found: &mut Vec<Object>,
        open: &mut Vec<String>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(at))? {
            let entry = entry?;
            // Whatever has another name was not put by us.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = match entry.metadata() {
                // Deleted since the directory was read.
                Err(error) if is_absent(&error) => continue,
                metadata => metadata?,
            };
            if metadata.is_dir() {
                open.push(format!("{at}{name}/"));
            } else if metadata.is_file() {
                let modified = metadata.modified().ok().map(Timestamp::from);
                found.push(Object { key: format!("{at}{name}"), len: metadata.len(), modified });
            }
        }
        Ok(())
    }

    /// Directories that become empty stay.
    pub(super) fn delete(&self, keys: &[String]) -> Result<()> {
        self.there(false)?;
        let mut parents: Vec<PathBuf> = Vec::new();
        for key in keys {
            let path = self.root.join(key);
            match fs::remove_file(&path) {
                Err(error) if is_absent(&error) => continue,
                removed => removed.map_err(|error| self.failed(key, &error))?,
            }
            parents.extend(path.parent().map(Path::to_owned));
        }
        parents.sort();
        parents.dedup();
        for parent in parents {
            sys::sync_dir(&parent).map_err(|error| self.failed("", &error))?;
        }
        Ok(())
    }

    /// Makes sure that the directory is not missing along with the disk that it should be on: its parent has to be there. It
    /// is made itself, if it is going to be written to.
    fn there(&self, make: bool) -> Result<()> {
        match fs::metadata(&self.root) {
            Ok(metadata) if metadata.is_dir() => return Ok(()),
            Ok(_) => return Err(self.other(format!("{} is no directory", self.root.display()))),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(self.failed("", &error)),
        }
        let parent = self.root.parent().unwrap_or(Path::new("/"));
        match fs::metadata(parent) {
            Ok(_) if make => make_dir(&self.root).map_err(|error| self.failed("", &error)),
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => {
                let why =
                    format!("{} is missing: mount the disk it is on, or make it", parent.display());
                Err(Error::Unreachable { location: self.name.clone(), why })
            }
            Err(error) => Err(self.failed("", &error)),
        }
    }

    /// Makes the directories that lead from the root to `path`, durably.
    fn make_parents(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if parent == self.root || parent.is_dir() {
            return Ok(());
        }
        self.make_parents(parent)?;
        make_dir(parent)
    }

    fn failed(&self, key: &str, error: &io::Error) -> Error {
        let location = self.name.clone();
        let why = error.to_string();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Error::NotFound { location, key: key.to_owned() }
            }
            _ if sys::is_no_space(error) => Error::Full { location },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Error::Refused { location, key: key.to_owned(), why }
            }
            ErrorKind::StaleNetworkFileHandle
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::NotConnected => Error::Unreachable { location, why },
            _ => self.other(if key.is_empty() { why } else { format!("{key}: {why}") }),
        }
    }

    fn other(&self, why: String) -> Error {
        Error::Location { location: self.name.clone(), why }
    }
}

/// What is being put at a directory. Dropped before it is published it leaves nothing.
pub(super) struct Growing<'d> {
    directory: &'d Directory,
    key: String,
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    bytes: u64,
}

impl Growing<'_> {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| self.directory.failed(&self.key, &error))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Durable when it returns, under the name too. Its length.
    pub(super) fn publish(self) -> Result<u64> {
        let published = || -> io::Result<u64> {
            self.file.sync_all()?;
            let there = self.file.metadata()?.len();
            if there != self.bytes {
                let why = format!("of {} bytes that were written, {there} are there", self.bytes);
                return Err(io::Error::other(why));
            }
            fs::rename(&self.temporary, &self.path)?;
            sys::sync_dir(self.path.parent().unwrap_or(&self.directory.root))?;
            Ok(there)
        };
        published().map_err(|error| self.directory.failed(&self.key, &error))
    }
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        // Best effort; of what was published nothing is there by this name.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Makes one directory, durably; one that is there is fine.
fn make_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| sys::sync_dir(path.parent().unwrap_or(Path::new("/")))),
    }
}
