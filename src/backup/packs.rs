//! The packs of a generation, fetched from the location when they are read, whole and verified.

use super::Result;
use super::catalog::PackLists;
use super::location::Location;
use super::manifest::{Manifest, Pack};
use super::{Error, restore};
use crate::chunks::{PackInfo, PackSource};
use crate::model::PackId;
use crate::sys::Unattended;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the packs of a generation come from.
pub struct RemotePacks {
    location: Arc<Location>,
    manifest: Manifest,
    packs: BTreeMap<PackId, Pack>,
    /// Bytes of packs that are kept on the disk.
    cache_bytes_max: u64,
    cached: Mutex<VecDeque<(PathBuf, u64)>>,
    /// Makes names of temporary files differ.
    brought: AtomicU64,
}

impl RemotePacks {
    /// Of a generation; up to `cache_bytes_max` bytes of packs stay on the disk, and one at least.
    pub fn new(
        location: &Arc<Location>,
        manifest: &Manifest,
        cache_bytes_max: u64,
    ) -> Result<RemotePacks> {
        let packs = PackLists::new(location).packs(manifest)?;
        Ok(RemotePacks {
            location: Arc::clone(location),
            manifest: manifest.clone(),
            packs: packs.into_iter().map(|pack| (pack.id(), pack)).collect(),
            cache_bytes_max,
            cached: Mutex::default(),
            brought: AtomicU64::new(0),
        })
    }

    fn fetch(&self, pack: &Pack, path: &Path) -> Result<()> {
        let number = self.brought.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{number}.tmp"));
        let fetched =
            restore::fetch_pack(&self.location, &self.manifest, pack, &temporary, &Unattended);
        let failed = |source| Error::Io { path: path.to_owned(), source };
        let outcome = fetched.and_then(|()| std::fs::rename(&temporary, path).map_err(failed));
        if outcome.is_err() {
            // Best effort: what is told is the first error.
            let _ = std::fs::remove_file(&temporary);
        }
        outcome
    }

    /// Enters a pack, and takes the oldest ones off the disk that are too many.
    fn enter(&self, path: &Path, len: u64) {
        let mut cached = self.cached.lock();
        cached.push_back((path.to_owned(), len));
        let mut total: u64 = cached.iter().map(|(_, len)| len).sum();
        while total > self.cache_bytes_max && cached.len() > 1 {
            let Some((path, len)) = cached.pop_front() else { return };
            // It is only a copy.
            let _ = std::fs::remove_file(path);
            total -= len;
        }
    }
}

impl std::fmt::Debug for RemotePacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let generation = &self.manifest.generation;
        f.debug_struct("RemotePacks").field("generation", generation).finish_non_exhaustive()
    }
}

impl PackSource for RemotePacks {
    fn packs(&self) -> Vec<PackInfo> {
        let info = |pack: &Pack| PackInfo { id: pack.id(), len: pack.bytes(), sealed: pack.sealed };
        self.packs.values().map(info).collect()
    }

    fn bring(&self, pack: PackId, path: &Path) -> io::Result<()> {
        let pack = self.packs.get(&pack).ok_or(io::ErrorKind::NotFound)?;
        match self.fetch(pack, path) {
            Ok(()) => {
                self.enter(path, pack.bytes());
                Ok(())
            }
            Err(error @ (Error::NotFound { .. } | Error::Damaged { .. })) => {
                log::error!("{error}");
                Err(io::Error::new(io::ErrorKind::NotFound, error))
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
