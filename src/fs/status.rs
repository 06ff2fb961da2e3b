//! What the store holds and how it is.

use super::Result;
use super::volume::Volume;
use crate::sys;
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
    /// The metadata with its log.
    pub metadata_bytes: u64,
    /// Chunks.
    pub chunks: u64,
    /// Pack files.
    pub packs: u64,
    /// Written and not yet in a pack.
    pub dirty_bytes: u64,
    /// Free on the disk under the store.
    pub available_bytes: u64,
    /// Why no more writes are taken, if so.
    pub failure: Option<String>,
}

impl Volume {
    /// Counts everything: scans the inode and chunk tables.
    pub fn status(&self) -> Result<Status> {
        let totals = self.meta.snapshot(|view| view.totals())?;
        let available = sys::disk_space(&self.store).map_or(0, |space| space.available);
        Ok(Status {
            store: self.store.display().to_string(),
            read_only: self.options.read_only,
            files: totals.files,
            directories: totals.directories,
            open_files: self.nodes.all().len() as u64,
            logical_bytes: totals.logical_bytes,
            unique_bytes: totals.unique_bytes,
            stored_bytes: totals.stored_bytes,
            metadata_bytes: self.meta.file_bytes() + self.meta.log_bytes(),
            chunks: totals.chunks,
            packs: self.ingest.packs().packs()?.len() as u64,
            dirty_bytes: self.space.dirty_bytes(),
            available_bytes: available,
            failure: self.failure.get().cloned(),
        })
    }
}
