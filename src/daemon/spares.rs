//! The places that may have what is damaged in a store: backup locations.

use super::locations;
use super::newest::Newest;
use crate::backup::{self, Location, LocationSpec};
use crate::chunks;
use crate::config::Config;
use crate::fs::{self, Spare, Volume};
use crate::model::ChunkRef;
use crate::sys::Unattended;
use parking_lot::Mutex;
use std::sync::Arc;

/// Packs of a location that are kept on the disk at a time.
const SCRATCH_BYTES: u64 = 256 << 20;

/// The newest generation of a location. It is asked for nothing before something is damaged.
struct LocationSpare<'v> {
    volume: &'v Volume,
    spec: LocationSpec,
    /// A location that could not be opened is not asked again for each chunk: that may take minutes.
    opened: Mutex<Option<Result<Newest, String>>>,
}

/// The places outside of the store that scrubbing and repairs ask for chunks, in this order: the one place that knows all of them.
pub(super) fn spares<'v>(volume: &'v Volume, config: &Config) -> Vec<Box<dyn Spare + 'v>> {
    let spare = |backup| -> Option<Box<dyn Spare + 'v>> {
        match locations::spec(backup) {
            Ok(spec) => Some(Box::new(LocationSpare { volume, spec, opened: Mutex::default() })),
            Err(failure) => {
                log::error!("{} can't be asked for what is damaged: {failure}", backup.name);
                None
            }
        }
    };
    config.backups.iter().filter_map(spare).collect()
}

/// As the store takes them.
pub(super) fn lent<'s>(spares: &'s [Box<dyn Spare + 's>]) -> Vec<&'s dyn Spare> {
    spares.iter().map(|spare| &**spare as &dyn Spare).collect()
}

impl LocationSpare<'_> {
    fn open(&self) -> backup::Result<Newest> {
        let location = Arc::new(Location::open(&self.spec)?);
        Newest::open(&location, self.volume, SCRATCH_BYTES, &Unattended)
    }
}

impl Spare for LocationSpare<'_> {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn fetch(&self, chunk: &ChunkRef, _base: Option<&ChunkRef>) -> Result<Option<Vec<u8>>, String> {
        let mut opened = self.opened.lock();
        let opened = opened.get_or_insert_with(|| self.open().map_err(|error| error.to_string()));
        let copy = opened.as_ref().map_err(Clone::clone)?;
        match copy.volume.chunk_like(chunk) {
            Ok(plain) => Ok(plain),
            Err(fs::Error::Chunks(chunks::Error::Damaged { .. })) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}
