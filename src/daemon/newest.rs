//! The newest generation at a location, beside the store that it is of.

use super::jobs::scratch::Scratch;
use crate::backup::{self, Location, Manifest};
use crate::fs::Volume;
use crate::sys::Task;
use std::sync::Arc;

/// A generation as a volume that is read straight from its location, and the directory that goes with it.
pub(super) struct Newest {
    pub(super) manifest: Manifest,
    pub(super) volume: Arc<Volume>,
    _scratch: Scratch,
}

impl Newest {
    /// Fetches the metadata of the newest generation of `ours`; packs when they are read, of which so many bytes are kept on the disk.
    pub(super) fn open(
        location: &Arc<Location>,
        ours: &Volume,
        cache_bytes_max: u64,
        task: &dyn Task,
    ) -> backup::Result<Newest> {
        let manifest = backup::find(location, None)?;
        let scratch = Scratch::new(None)?;
        task.step("fetching the metadata");
        let packs = backup::prepare(location, &manifest, scratch.path(), cache_bytes_max, task)?;
        let volume = ours.open_copy(scratch.path(), Arc::new(packs))?;
        Ok(Newest { manifest, volume, _scratch: scratch })
    }
}
