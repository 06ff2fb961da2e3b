//! A place for backups, of any kind, as one small set of operations on whole objects.

use super::directory::Directory;
use super::download::Download;
use super::remote::Remote;
use super::stream::Stream;
use super::upload::Upload;
use super::uri::{LocationSpec, Target, without_secrets};
use super::{Error, Result};
use crate::model::Timestamp;
use crate::sys;
use std::io;
use std::time::Duration;

/// Where uploads lie until they are whole, where a rename is what makes them appear; no object of ours is called so.
pub(super) const PARTIAL: &str = ".partial";

/// What lies at a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Relative to the location, with `/` between its parts.
    pub key: String,
    /// In bytes.
    pub len: u64,
    /// By the location's clock, as exactly as it says.
    pub modified: Option<Timestamp>,
}

/// How long a location that doesn't answer is asked again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// No attempt begins later than this after the first one of an operation.
    pub total: Duration,
    /// The first pause between two attempts; each is about twice as long as the one before.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// How long one step may take: a request without contents, or the next one of a transfer.
    pub step: Duration,
    /// A transfer is given the time on top that it takes at this speed; slower ones count as broken.
    pub bytes_per_second_min: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            total: Duration::from_secs(120),
            pause_min: Duration::from_millis(500),
            pause_max: Duration::from_secs(15),
            step: Duration::from_secs(60),
            bytes_per_second_min: 32 << 10,
        }
    }
}

/// A place for backups. Used from any number of threads at once; each operation waits until it is done, with retries and
/// pauses where the location doesn't answer. Must not be called on a thread that drives a tokio runtime (its blocking
/// threads are fine).
///
/// Errors of all operations: [`Error::Unreachable`] after all retries, [`Error::Refused`], [`Error::Full`],
/// [`Error::Location`] for what fits none of these, and [`Error::Stopped`] after [`Location::stop`].
pub struct Location {
    name: String,
    uri: String,
    place: Place,
}

enum Place {
    Directory(Directory),
    Remote(Box<Remote>),
}

impl Location {
    /// A location that is used with the usual patience. Speaks to nobody yet.
    ///
    /// # Errors
    /// [`Error::Uri`], with advice.
    pub fn open(spec: &LocationSpec) -> Result<Location> {
        Location::open_with(spec, Patience::default())
    }

    /// The same with another patience.
    pub fn open_with(spec: &LocationSpec, patience: Patience) -> Result<Location> {
        let name = spec.name.clone();
        let place = match Target::of(spec)? {
            Target::Directory(root) => Place::Directory(Directory { name: name.clone(), root }),
            Target::Remote { kind, options } => {
                Place::Remote(Box::new(Remote::open(name.clone(), kind, options, patience)?))
            }
        };
        Ok(Location { name, uri: without_secrets(&spec.uri), place })
    }

    /// As in the specification.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For people: where it is, without secrets.
    pub fn describe(&self) -> String {
        self.uri.clone()
    }

    /// Puts a whole object at `key` ("series/x/packs/0000002a"), in the place of what is there. When it has returned, the
    /// object is there with this length, at a directory durably; when it fails, the old one or the new one is, or none was.
    /// Only FTP takes no empty one.
    pub fn put(&self, key: &str, body: Vec<u8>) -> Result<()> {
        self.check(key)?;
        match &self.place {
            Place::Directory(directory) => directory.put(key, &body),
            Place::Remote(remote) => remote.put(key, body),
        }
    }

    /// An upload to `key` of what doesn't fit into memory, or isn't all there yet. Nobody sees it before
    /// [`Upload::finish`]; then it is as [`Location::put`] would have made it.
    pub fn writer(&self, key: &str) -> Result<Upload<'_>> {
        self.check(key)?;
        Ok(match &self.place {
            Place::Directory(directory) => Upload::to_directory(directory.grow(key)?),
            Place::Remote(remote) => Upload::to_remote(Stream::new(remote, key)),
        })
    }

    /// An object that is read from its beginning to its end.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn reader(&self, key: &str) -> Result<Download<'_>> {
        let found = self.stat(key)?;
        let len = found
            .ok_or_else(|| Error::NotFound { location: self.name.clone(), key: key.to_owned() })?;
        Ok(Download::new(self, key, len))
    }

    /// A whole object.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.check(key)?;
        match &self.place {
            Place::Directory(directory) => directory.get(key),
            Place::Remote(remote) => remote.get(key),
        }
    }

    /// `len` bytes of an object from `offset` on, neither more nor less.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Damaged`] if it ends before.
    pub fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.check(key)?;
        match &self.place {
            Place::Directory(directory) => directory.get_range(key, offset, len),
            Place::Remote(remote) => remote.get_range(key, offset, len),
        }
    }

    /// The length of an object in bytes; `None` if there is none.
    pub fn stat(&self, key: &str) -> Result<Option<u64>> {
        self.check(key)?;
        match &self.place {
            Place::Directory(directory) => directory.stat(key),
            Place::Remote(remote) => remote.stat(key),
        }
    }

    /// All objects below `prefix` (which ends with `/`, or is empty), by their keys. Where nothing is, none.
    pub fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let mut found = self.list_all(prefix)?;
        found.retain(|object| !self.is_partial(&object.key));
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// Deletes objects; that one isn't there is fine. After an error some of them may be gone.
    ///
    /// # Errors
    /// [`Error::Refused`] where nothing may be deleted.
    pub fn delete(&self, keys: &[String]) -> Result<()> {
        for key in keys {
            self.check(key)?;
        }
        match &self.place {
            Place::Directory(directory) => directory.delete(keys),
            Place::Remote(remote) => remote.delete(keys),
        }
    }

    /// Removes what uploads that broke off have left, if it is older than `age`; younger ones may be under way, from
    /// here or from another machine. How many there were.
    pub fn remove_leftovers(&self, age: Duration, clock: &dyn sys::Clock) -> Result<usize> {
        let limit = clock.now().0.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        let mut left = self.list_all(&format!("{PARTIAL}/"))?;
        if let Place::Remote(remote) = &self.place {
            left.extend(remote.list_root()?);
        }
        let is_old = |object: &Object| object.modified.is_some_and(|at| at.0 < limit);
        left.retain(|object| self.is_partial(&object.key) && is_old(object));
        let keys: Vec<String> = left.into_iter().map(|object| object.key).collect();
        self.delete(&keys).map(|()| keys.len())
    }

    /// Ends what is under way on other threads, and everything that is begun after this, with [`Error::Stopped`]. What a
    /// directory is doing goes on to its end.
    pub fn stop(&self) {
        if let Place::Remote(remote) = &self.place {
            remote.stop();
        }
    }

    fn list_all(&self, prefix: &str) -> Result<Vec<Object>> {
        if !prefix.is_empty() {
            let directory = prefix.strip_suffix('/').ok_or_else(|| self.bad_key(prefix))?;
            self.check(directory)?;
        }
        match &self.place {
            Place::Directory(directory) => directory.list(prefix),
            Place::Remote(remote) => remote.list(prefix, true),
        }
    }

    /// Whether this is no object but an upload that is under way, or broke off.
    fn is_partial(&self, key: &str) -> bool {
        let by_ftp = matches!(&self.place, Place::Remote(remote) if remote.is_partial(key));
        by_ftp || key.strip_prefix(PARTIAL).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Keys are ours alone; one that leads elsewhere is a mistake of whoever wrote a manifest.
    fn check(&self, key: &str) -> Result<()> {
        let fine = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\0', '\\']);
        if key.split('/').all(fine) { Ok(()) } else { Err(self.bad_key(key)) }
    }

    fn bad_key(&self, key: &str) -> Error {
        Error::Location { location: self.name.clone(), why: format!("{key:?} can't be a key") }
    }
}

/// The name of an upload that is under way, which no other has.
pub(super) fn leftover_name() -> io::Result<String> {
    Ok(sys::random_bytes::<12>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a range beyond an object's end gives.
pub(super) fn too_short(location: &str, key: &str, offset: u64, len: u64) -> Error {
    Error::damaged(location, key, &format!("it ends before byte {}", offset.saturating_add(len)))
}

#[cfg(test)]
#[path = "location_tests.rs"]
mod tests;
