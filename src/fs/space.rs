//! Room on the disk: a write that is accepted must fit, and deleting must always work.

use super::{Error, Result};
use crate::sys;
use parking_lot::Mutex;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The file that holds the reserve.
const RESERVE_FILE: &str = "reserve";
/// The reserve takes at most this part of the disk.
const RESERVE_PART_OF_DISK: u64 = 16;
/// Room that is left for the metadata's log when data is accepted.
pub(super) const LOG_ROOM_BYTES: u64 = 2 << 20;
/// The disk is asked again after so many accepted bytes, or always when it is nearly full.
const REFRESH_BYTES: u64 = 1 << 20;
const NEARLY_FULL_BYTES: u64 = 256 << 20;

#[derive(Debug)]
struct Known {
    available: u64,
    accepted_since: u64,
}

/// Knows how much may still be written.
#[derive(Debug)]
pub(super) struct Space {
    store: PathBuf,
    reserve_bytes: u64,
    /// Bytes in memory over all files: accepted, and not yet in a pack.
    dirty_bytes: AtomicU64,
    /// The part of the reserve that is not set aside: nobody may take that room in its stead.
    owed: AtomicU64,
    known: Mutex<Known>,
    /// The last one who wanted to write was refused.
    refused: AtomicBool,
}

impl Space {
    /// `reserve_bytes` is a wish: no more than a part of the disk is taken.
    pub(super) fn new(store: &Path, reserve_bytes: u64) -> Space {
        let total = sys::disk_space(store).map_or(0, |space| space.total);
        let reserve_bytes = reserve_bytes.min(total / RESERVE_PART_OF_DISK);
        let held = std::fs::metadata(store.join(RESERVE_FILE)).map_or(0, |file| file.len());
        Space {
            store: store.to_owned(),
            reserve_bytes,
            owed: AtomicU64::new(reserve_bytes.saturating_sub(held)),
            dirty_bytes: AtomicU64::new(0),
            known: Mutex::new(Known { available: 0, accepted_since: u64::MAX }),
            refused: AtomicBool::new(false),
        }
    }

    /// Bytes that are in memory only.
    pub(super) fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the disk's free room that are not for new data: what is in memory goes there, and
    /// the reserve where it had to be given up.
    pub(super) fn spoken_for(&self) -> u64 {
        self.dirty_bytes() + self.owed.load(Ordering::Relaxed)
    }

    pub(super) fn dirty_grew(&self, bytes: u64) {
        self.dirty_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn dirty_shrank(&self, bytes: u64) {
        self.dirty_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn dirty_changed(&self, before: u64, after: u64) {
        match after >= before {
            true => self.dirty_grew(after - before),
            false => self.dirty_shrank(before - after),
        }
    }

    /// Accepts `len` bytes or says that there is no room for them.
    pub(super) fn reserve(&self, len: u64) -> Result<()> {
        let mut known = self.known.lock();
        let used = known.accepted_since.saturating_add(len);
        if used > REFRESH_BYTES || known.available < NEARLY_FULL_BYTES {
            known.available = self.available();
            known.accepted_since = 0;
        }
        known.accepted_since = known.accepted_since.saturating_add(len);
        // What is in memory still has to be written; the pack's own records need a little as well.
        let wanted = (self.spoken_for() + known.accepted_since) * 65 / 64 + LOG_ROOM_BYTES;
        let fits = wanted <= known.available;
        self.refused.store(!fits, Ordering::Relaxed);
        if fits { Ok(()) } else { Err(Error::NoSpace) }
    }

    /// Whether the disk is full, or nearly: what is free is no more than what is kept for deleting, or somebody who wanted
    /// to write was refused, and there is no more room since.
    pub(super) fn is_full(&self) -> bool {
        let available = self.available();
        let was_refused = self.refused.load(Ordering::Relaxed);
        let least = self.spoken_for().max(self.reserve_bytes) + LOG_ROOM_BYTES;
        available <= least || (was_refused && available <= least + 4 * REFRESH_BYTES)
    }

    /// What is to be set aside for deleting.
    pub(super) fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// What is set aside for deleting now.
    pub(super) fn reserve_held_bytes(&self) -> u64 {
        std::fs::metadata(self.store.join(RESERVE_FILE)).map_or(0, |file| file.len())
    }

    /// Whether `len` more bytes would fit, without accepting them.
    pub(super) fn check_room(&self, len: u64) -> Result<()> {
        let wanted = self.spoken_for().saturating_add(len).saturating_add(LOG_ROOM_BYTES);
        match wanted <= self.available() {
            true => Ok(()),
            false => Err(Error::NoSpace),
        }
    }

    fn available(&self) -> u64 {
        match sys::disk_space(&self.store) {
            Ok(space) => space.available,
            Err(error) => {
                log::error!("{}: the free space is unknown: {error}", self.store.display());
                0
            }
        }
    }

    /// Sets the reserve aside: room that is given back when the disk is full, so that deleting
    /// (which writes metadata) goes on. Nothing is done where the disk has little left.
    pub(super) fn hold_reserve(&self) {
        let path = self.store.join(RESERVE_FILE);
        let held = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        if held >= self.reserve_bytes || self.available() < 2 * self.reserve_bytes {
            return;
        }
        let outcome = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .and_then(|file| sys::preallocate(&file, 0, self.reserve_bytes, false));
        match outcome {
            Ok(()) => self.owed.store(0, Ordering::Relaxed),
            Err(error) => {
                log::warn!("{}: no reserve could be set aside: {error}", path.display());
            }
        }
    }

    /// Gives the reserve back where less than `bytes` are left: opening a store writes a little, and one
    /// that can't be opened can't be emptied.
    pub(super) fn make_room(&self, bytes: u64) {
        if self.available() < bytes {
            self.release_reserve();
        }
    }

    /// Gives the reserve back to the disk; whether there was any.
    pub(super) fn release_reserve(&self) -> bool {
        let path = self.store.join(RESERVE_FILE);
        let held = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        let released = held > 0 && std::fs::remove_file(&path).is_ok();
        if released {
            self.owed.store(self.reserve_bytes, Ordering::Relaxed);
            log::warn!("the disk under {} is full: using the reserve", self.store.display());
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_held_and_given_up_when_room_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::new(dir.path(), 64 << 10);
        let held = || std::fs::metadata(dir.path().join(RESERVE_FILE)).map_or(0, |file| file.len());
        assert_eq!(space.spoken_for(), 64 << 10);
        space.hold_reserve();
        assert_eq!((held(), space.spoken_for()), (64 << 10, 0));
        space.make_room(1);
        assert_eq!(held(), 64 << 10);
        space.make_room(u64::MAX);
        // What was given up so that deleting goes on is not there for writing.
        assert_eq!((held(), space.spoken_for()), (0, 64 << 10));
        assert!(!space.release_reserve());
    }
}
