//! The database as it is at one moment, to be copied while writing goes on.
//!
//! In WAL mode SQLite changes the database's file when the log is copied back into it, and only then; and that happens in [`Meta::checkpoint`]
//! only. So while no checkpoint may begin, the file stays as it is, however long copying it takes. With the log of the moment beside it, it
//! is what a killed daemon leaves: opening it replays the log.

use super::database::{Meta, log_path};
use super::{Error, Result};
use crate::model::Moment;
use parking_lot::MutexGuard;
use std::path::Path;

/// The metadata of one moment. While it is held, the database's file doesn't change, and the log grows.
pub struct Frozen<'m> {
    _hold: MutexGuard<'m, ()>,
    meta: &'m Meta,
    log: Vec<u8>,
    moment: Moment,
}

impl Frozen<'_> {
    /// The database's file, which stays as it is.
    pub fn database(&self) -> &Path {
        self.meta.path()
    }

    /// The log as it was at the moment: a few MiB at most, as a rule nothing.
    pub fn log(&self) -> &[u8] {
        &self.log
    }

    /// The newest moment in it.
    pub fn moment(&self) -> Moment {
        self.moment
    }
}

impl Meta {
    /// Holds on to the metadata as it is now. Writers are held back for as long as it takes to read what is left in the log. Waits while
    /// another one is held, or the log is being copied back.
    pub fn freeze(&self) -> Result<Frozen<'_>> {
        let hold = self.checkpointing.lock();
        self.checkpoint_alone()?;
        let mut writer = self.writer.lock();
        self.settle_deferred(&mut writer)?;
        let path = log_path(self.path());
        let log = std::fs::read(&path).map_err(|source| Error::Io { path, source })?;
        Ok(Frozen { _hold: hold, meta: self, log, moment: self.last_moment() })
    }
}

#[cfg(test)]
mod tests {
    use crate::meta::sealed::test_keys;
    use crate::meta::{Error, Meta, PageKeys};
    use crate::model::{PackId, Timestamp};
    use std::path::Path;
    use tempfile::tempdir;

    fn note(meta: &Meta, number: u32) {
        let part = crate::meta::PackPart { start: 0, len: 7, hash: [number as u8; 32] };
        let at = Timestamp(i64::from(number));
        meta.write(at, |tx| tx.note_pack_part(PackId(number), &part)).unwrap();
    }

    fn noted(path: &Path, keys: Option<&PageKeys>) -> Vec<PackId> {
        let meta = Meta::open(path, keys).unwrap();
        let parts = meta.read(|view| view.pack_parts()).unwrap();
        assert_eq!(meta.integrity_faults().unwrap(), Vec::<String>::new());
        parts.into_iter().map(|(pack, _)| pack).collect()
    }

    fn what_is_frozen_is_of_one_moment(keys: Option<PageKeys>) {
        let dir = tempdir().unwrap();
        let path = dir.path().join("meta.db");
        Meta::create(&path, &[7; 16], keys.as_ref()).unwrap();
        let meta = Meta::open(&path, keys.as_ref()).unwrap();
        (1..50).for_each(|number| note(&meta, number));
        // Somebody who reads an older moment keeps the log from being emptied.
        let reading = meta.snapshot(|view| {
            view.pack_parts()?;
            let frozen = meta.freeze()?;
            (50..400).for_each(|number| note(&meta, number));
            assert!(!meta.try_checkpoint()?, "it would change the file that is being copied");
            let copy = dir.path().join("copy.db");
            std::fs::copy(frozen.database(), &copy).unwrap();
            std::fs::write(dir.path().join("copy.db-wal"), frozen.log()).unwrap();
            let expected: Vec<PackId> = (1..50).map(PackId).collect();
            assert_eq!(noted(&copy, keys.as_ref()), expected);
            Ok::<_, Error>(())
        });
        reading.unwrap();
        assert!(meta.try_checkpoint().unwrap());
        meta.close().unwrap();
        drop(meta);
        assert_eq!(noted(&path, keys.as_ref()).len(), 399);
    }

    #[test]
    fn of_a_plain_database() {
        what_is_frozen_is_of_one_moment(None);
    }

    #[test]
    fn of_an_encrypted_database() {
        what_is_frozen_is_of_one_moment(Some(test_keys(&[1])));
    }
}
