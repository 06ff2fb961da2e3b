//! The pack files: their names, and a bounded number of open descriptors to read them.

use super::cipher::Cipher;
use super::format::{PackHeader, PackName};
use super::{Error, PackSource, Result, walk};
use crate::crypt::Keyring;
use crate::model::PackId;
use lru::LruCache;
use parking_lot::Mutex;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Descriptors that are kept open for reading.
const OPEN_FILES_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");
const SUFFIX: &str = ".pack";
/// Hex digits of a pack's number in its file's name.
const NAME_DIGITS: usize = 8;

/// An open pack.
pub(super) struct PackFile {
    pub file: Arc<File>,
    /// What it should be by its own name.
    pub name: PackName,
    /// What opens it; `None` in a plain store.
    pub cipher: Option<Cipher>,
}

/// The directory of the packs.
pub(super) struct Files {
    directory: PathBuf,
    store: [u8; 16],
    /// The keys of an encrypted store.
    keys: Option<Arc<Keyring>>,
    /// Brings packs that are not in the directory.
    source: Option<Arc<dyn PackSource>>,
    /// Guards the descriptors; a leaf: nothing else is locked under it.
    open: Mutex<LruCache<PackId, Arc<PackFile>>>,
}

impl Files {
    pub(super) fn new(
        directory: &Path,
        store: [u8; 16],
        keys: Option<Arc<Keyring>>,
        source: Option<Arc<dyn PackSource>>,
    ) -> Files {
        let open = Mutex::new(LruCache::new(OPEN_FILES_MAX));
        Files { directory: directory.to_owned(), store, keys, source, open }
    }

    /// The keys of the store, if it is encrypted.
    pub(super) fn keys(&self) -> Option<&Arc<Keyring>> {
        self.keys.as_ref()
    }

    /// What the pack is by its number.
    pub(super) fn name(&self, pack: PackId) -> PackName {
        PackName { store: self.store, pack }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of a pack.
    pub(super) fn path(&self, pack: PackId) -> PathBuf {
        self.directory.join(format!("{pack}{SUFFIX}"))
    }

    /// The packs in the directory, in order. Files with other names are not ours.
    pub(super) fn list(&self) -> Result<Vec<PackId>> {
        let failed = |error| Error::from_io(&self.directory, error);
        let mut packs = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            packs.extend(entry.map_err(failed)?.file_name().to_str().and_then(parse_name));
        }
        packs.sort_unstable();
        Ok(packs)
    }

    /// The pack, open for reading.
    ///
    /// # Errors
    /// `Damaged` if it isn't there, or isn't encrypted as it should be; of an encrypted one also `Newer` and `KeyMissing`.
    pub(super) fn get(&self, pack: PackId) -> Result<Arc<PackFile>> {
        if let Some(file) = self.open.lock().get(&pack) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(self.open(pack)?);
        self.open.lock().put(pack, Arc::clone(&file));
        Ok(file)
    }

    /// A pack whose file is open, by its header, which is answered as well.
    ///
    /// # Errors
    /// `Newer`, `OtherKind`, `KeyMissing`.
    pub(super) fn look(&self, pack: PackId, file: File) -> Result<(PackFile, PackHeader)> {
        let (name, path) = (self.name(pack), self.path(pack));
        let header = walk::read_header(&file).map_err(|error| Error::from_io(&path, error))?;
        let cipher = match &self.keys {
            Some(keys) => Some(Cipher::of_header(keys, name, &header, &path)?),
            None => refuse_unreadable(&header, name, &path).map(|()| None)?,
        };
        Ok((PackFile { file: Arc::new(file), name, cipher }, header))
    }

    /// Removes the pack's file. Who reads it at this moment reads on; it is gone for certain once the directory is synced.
    pub(super) fn remove(&self, pack: PackId) -> Result<()> {
        self.open.lock().pop(&pack);
        let path = self.path(pack);
        std::fs::remove_file(&path).map_err(|error| Error::from_io(&path, error))
    }

    /// The pack's file, which is brought first where it lies elsewhere.
    fn open_or_bring(&self, pack: PackId, path: &Path) -> io::Result<File> {
        match (File::open(path), &self.source) {
            (Err(error), Some(source)) if error.kind() == io::ErrorKind::NotFound => {
                source.bring(pack, path)?;
                File::open(path)
            }
            (outcome, _) => outcome,
        }
    }

    fn open(&self, pack: PackId) -> Result<PackFile> {
        let path = self.path(pack);
        let file = self.open_or_bring(pack, &path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::damaged(pack, 0, "the pack file is missing"),
            _ => Error::from_io(&path, error),
        })?;
        // Who reads a file from front to back says so (`PackStore::prefetch`); the kernel's own guess
        // would read twice what a chunk needs.
        crate::sys::expect_random_reads(&file);
        if self.keys.is_none() {
            return Ok(PackFile { file: Arc::new(file), name: self.name(pack), cipher: None });
        }
        match self.look(pack, file) {
            // Somebody put it there.
            Err(Error::OtherKind { .. }) => Err(Error::damaged(pack, 0, "it is not encrypted")),
            looked => Ok(looked?.0),
        }
    }
}

/// In a plain store: refuses packs that are newer, or encrypted.
fn refuse_unreadable(header: &PackHeader, name: PackName, path: &Path) -> Result<()> {
    match header {
        PackHeader::Newer(found) => Err(Error::newer(path, *found)),
        PackHeader::Known(found, Some(_)) if *found == name => {
            Err(Error::OtherKind { path: path.to_owned(), encrypted: true })
        }
        PackHeader::Known(..) | PackHeader::Invalid => Ok(()),
    }
}

/// The pack that a file's name stands for.
fn parse_name(name: &str) -> Option<PackId> {
    let digits = name.strip_suffix(SUFFIX)?;
    let is_ours = digits.len() == NAME_DIGITS
        && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if is_ours { u32::from_str_radix(digits, 16).ok().map(PackId) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pack_names_are_packs() {
        assert_eq!(parse_name("0000002a.pack"), Some(PackId(42)));
        for other in ["2a.pack", "0000002A.pack", "+000002a.pack", "0000002a.pack.tmp", "lock"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_missing_pack_is_damage_and_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = Files::new(dir.path(), [0; 16], None, None).get(PackId(7)).err().unwrap();
        assert!(matches!(error, Error::Damaged { pack: PackId(7), offset: 0, .. }));
    }
}
