//! The pack files: their names, and a bounded number of open descriptors to read them.

use super::{Error, Result};
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

/// The directory of the packs.
pub(super) struct Files {
    directory: PathBuf,
    /// Guards the descriptors; a leaf: nothing else is locked under it.
    open: Mutex<LruCache<PackId, Arc<File>>>,
}

impl Files {
    pub(super) fn new(directory: &Path) -> Files {
        Files { directory: directory.to_owned(), open: Mutex::new(LruCache::new(OPEN_FILES_MAX)) }
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

    /// The pack's file, open for reading.
    pub(super) fn get(&self, pack: PackId) -> Result<Arc<File>> {
        if let Some(file) = self.open.lock().get(&pack) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(self.open(pack)?);
        self.open.lock().put(pack, Arc::clone(&file));
        Ok(file)
    }

    /// Removes the pack's file. Who reads it at this moment reads on; it is gone for certain once the directory is synced.
    pub(super) fn remove(&self, pack: PackId) -> Result<()> {
        self.open.lock().pop(&pack);
        let path = self.path(pack);
        std::fs::remove_file(&path).map_err(|error| Error::from_io(&path, error))
    }

    fn open(&self, pack: PackId) -> Result<File> {
        let path = self.path(pack);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::damaged(pack, 0, "the pack file is missing"),
            _ => Error::from_io(&path, error),
        })?;
        // Who reads a file from front to back says so (`PackStore::prefetch`); the kernel's own guess
        // would read twice what a chunk needs.
        crate::sys::expect_random_reads(&file);
        Ok(file)
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
        let error = Files::new(dir.path()).get(PackId(7)).unwrap_err();
        assert!(matches!(error, Error::Damaged { pack: PackId(7), offset: 0, .. }));
    }
}
