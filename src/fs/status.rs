//! What the store holds and how it is.

use super::Result;
use super::volume::Volume;
use crate::chunks::record_len;
use crate::{meta, sys};
use serde::Serialize;

/// What `verso status` shows. Sizes in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The store's directory.
    pub store: String,
    /// Nothing can be changed.
    pub read_only: bool,
    /// Living files (everything but directories).
    pub files: u64,
    /// Living directories.
    pub directories: u64,
    /// Files that are open.
    pub open_files: u64,
    /// What the living files hold, as their owners count it.
    pub logical_bytes: u64,
    /// The chunks of living and past files, before compression.
    pub unique_bytes: u64,
    /// The chunks as stored.
    pub stored_bytes: u64,
    /// What the packs take on the disk.
    pub pack_bytes: u64,
    /// Bytes in the packs in which no chunk lies any more, or that hold none.
    pub garbage_bytes: u64,
    /// The metadata with its log.
    pub metadata_bytes: u64,
    /// Its log.
    pub log_bytes: u64,
    /// Chunks.
    pub chunks: u64,
    /// Pack files.
    pub packs: u64,
    /// Written and not yet in a pack.
    pub dirty_bytes: u64,
    /// Free on the disk under the store.
    pub available_bytes: u64,
    /// The size of that disk.
    pub disk_bytes: u64,
    /// What is kept so that deleting works on a full disk.
    pub reserve_bytes: u64,
    /// How much of it is set aside now.
    pub reserve_held_bytes: u64,
    /// Writing fails, or soon will: the disk under the store is full.
    pub is_full: bool,
    /// Chunks that something shows and that can't be read: see [`Volume::damage_left`].
    pub damaged_chunks: u64,
    /// How far scrubbing is.
    pub scrub: Option<ScrubStatus>,
    /// The last upkeep that ran to its end.
    pub last_upkeep: Option<LastUpkeep>,
    /// How the store is encrypted, if it is.
    pub encryption: Option<EncryptionStatus>,
    /// Why no more writes are taken, if so.
    pub failure: Option<String>,
}

/// How a store is encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EncryptionStatus {
    /// The cipher, as people call it.
    pub cipher: String,
    /// The epoch of the master key: 1, and one more with each change.
    pub epoch: u32,
    /// Packs are still sealed with an earlier master key; upkeep seals them anew.
    pub old_keys_in_use: bool,
}

/// How far scrubbing is. Times are nanoseconds since 1970, by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ScrubStatus {
    /// When the present round began, or the last one.
    pub begun: i64,
    /// When it was last gone on with.
    pub ran: i64,
    /// Whether a round has begun that has not ended.
    pub under_way: bool,
    /// Bytes that the round has read.
    pub bytes: u64,
    /// Chunks that it found damaged.
    pub damaged: u64,
    /// Chunks that were put right meanwhile.
    pub repaired: u64,
    /// When the last whole round ended.
    pub ended: Option<i64>,
}

impl From<meta::ScrubRow> for ScrubStatus {
    fn from(row: meta::ScrubRow) -> ScrubStatus {
        ScrubStatus {
            begun: row.begun.0,
            ran: row.ran.0,
            under_way: row.under_way,
            bytes: row.bytes,
            damaged: row.damaged,
            repaired: row.repaired,
            ended: row.ended.map(|ended| ended.0),
        }
    }
}

/// How the last upkeep went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LastUpkeep {
    /// When it ended, in nanoseconds since 1970.
    pub ended: i64,
    /// Rows of the past that went.
    pub rows_dropped: u64,
    /// Chunks that went.
    pub chunks_removed: u64,
    /// Bytes of the packs that were removed.
    pub bytes_freed: u64,
}

impl From<meta::LastUpkeep> for LastUpkeep {
    fn from(last: meta::LastUpkeep) -> LastUpkeep {
        let meta::LastUpkeep { ended, rows_dropped, chunks_removed, bytes_freed } = last;
        LastUpkeep { ended: ended.0, rows_dropped, chunks_removed, bytes_freed }
    }
}

impl Volume {
    /// Counts everything: scans the inode and chunk tables.
    pub fn status(&self) -> Result<Status> {
        let (totals, last_upkeep, scrub, damage) = self.meta.snapshot(|view| -> Result<_> {
            Ok((view.totals()?, view.last_upkeep()?, view.scrub()?, view.damage_known()?))
        })?;
        let space = sys::disk_space(&self.store).ok();
        let pack_bytes = self.ingest.packs().stored_bytes();
        let record_bytes = totals.stored_bytes + totals.chunks * record_len(0);
        Ok(Status {
            store: self.store.display().to_string(),
            read_only: self.options.read_only,
            files: totals.files,
            directories: totals.directories,
            open_files: self.nodes.all().len() as u64,
            logical_bytes: totals.logical_bytes,
            unique_bytes: totals.unique_bytes,
            stored_bytes: totals.stored_bytes,
            pack_bytes,
            garbage_bytes: pack_bytes.saturating_sub(record_bytes),
            metadata_bytes: self.meta.file_bytes() + self.meta.log_bytes(),
            log_bytes: self.meta.log_bytes(),
            chunks: totals.chunks,
            packs: self.ingest.packs().packs()?.len() as u64,
            dirty_bytes: self.space.dirty_bytes(),
            available_bytes: space.map_or(0, |space| space.available),
            disk_bytes: space.map_or(0, |space| space.total),
            reserve_bytes: self.space.reserve_bytes(),
            reserve_held_bytes: self.space.reserve_held_bytes(),
            is_full: self.space.is_full(),
            damaged_chunks: damage.0,
            scrub: scrub.map(ScrubStatus::from),
            last_upkeep: last_upkeep.map(LastUpkeep::from),
            encryption: self.encryption_status()?,
            failure: self.failure.get().cloned(),
        })
    }

    fn encryption_status(&self) -> Result<Option<EncryptionStatus>> {
        let Some(keys) = &self.keys else { return Ok(None) };
        Ok(Some(EncryptionStatus {
            cipher: "AES-256-GCM".into(),
            epoch: keys.current(),
            old_keys_in_use: self.old_keys_in_use()?,
        }))
    }
}
