//! Giving room back: records that are needed move to another pack, and packs that nobody needs go.

use super::format::Codec;
use super::read::verified;
use super::{PackStore, Result};
use crate::model::{ChunkLocation, ChunkRef, PackId};
use crate::sys::failpoint;

impl PackStore {
    /// Appends the chunk's record once more, as it is (of an encrypted one the content, sealed anew), and answers where. Durable after the next `sync`; the old record
    /// stays until its pack is removed.
    ///
    /// # Errors
    /// `Damaged` if the old record isn't whole: damage is not carried on. Otherwise as [`append`](PackStore::append).
    pub fn copy(&self, chunk: &ChunkRef, base: Option<&ChunkRef>) -> Result<ChunkLocation> {
        self.check_writable()?;
        let file = self.files.get(chunk.at.pack)?;
        let (header, head, body) = self.read_whole(&file, chunk)?;
        match header.codec {
            Codec::Raw => verified(self.hash(&body) == chunk.hash, chunk)?,
            Codec::Zstd | Codec::Difference => {
                let plain = self.decode(&header, chunk, base, &head, body.clone())?;
                verified(self.hash(&plain) == chunk.hash, chunk)?;
            }
        }
        self.write(header, &head, &body)
    }

    /// Seals the pack being written, and begins another.
    pub fn begin_pack(&self) -> Result<()> {
        self.check_writable()?;
        let mut state = self.state.lock();
        state.seal_if_full(0).map_err(|error| self.poisoned_by(error))?;
        state.ensure_active(&self.files, self.options.target_bytes)
    }

    /// Removes a sealed pack with everything in it; answers how many bytes come free. That nothing needs it, also after
    /// a power cut, is for the caller to know. One that isn't there or is still being written,
    /// and the last one, are left alone: 0.
    pub fn remove(&self, pack: PackId) -> Result<u64> {
        self.check_writable()?;
        let mut state = self.state.lock();
        let Some(len) = state.take_sealed(pack) else { return Ok(0) };
        drop(state);
        failpoint::hit("pack-remove-before");
        self.files.remove(pack)?;
        failpoint::hit("pack-remove-after");
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use crate::chunks::PackOptions;
    use crate::chunks::testing::{keys, noise, open_with, put, small_packs, text};
    use crate::model::{ChunkRef, PackId};
    use tempfile::tempdir;

    /// Of a plain and an encrypted store.
    fn both_kinds() -> [PackOptions; 2] {
        [small_packs(), PackOptions { keys: Some(keys()), ..small_packs() }]
    }

    #[test]
    fn a_chunk_that_was_copied_is_read_where_its_old_pack_was_removed() {
        both_kinds().into_iter().for_each(copied_chunks_are_read);
    }

    fn copied_chunks_are_read(options: PackOptions) {
        let dir = tempdir().unwrap();
        let store = open_with(dir.path(), options.clone());
        let contents = [noise(1, 40_000), text(30_000), noise(2, 500)];
        let old: Vec<ChunkRef> =
            (1..).zip(&contents).map(|(n, plain)| put(&store, n, plain)).collect();
        let first = old[0].at.pack;
        let new: Vec<ChunkRef> = old
            .iter()
            .map(|chunk| ChunkRef { at: store.copy(chunk, None).unwrap(), ..*chunk })
            .collect();
        store.sync().unwrap();
        let before = store.stored_bytes();
        let freed = store.remove(first).unwrap();
        assert!(freed > 40_000 && store.stored_bytes() == before - freed);
        assert!(store.read_range(&old[0], None, 5, 10, &mut Vec::new()).is_err());
        for (chunk, plain) in new.iter().zip(&contents) {
            assert_eq!(store.read(chunk, None).unwrap(), *plain);
            assert_eq!(
                chunk.at.stored_len,
                old.iter().find(|o| o.id == chunk.id).unwrap().at.stored_len
            );
        }
        store.close().unwrap();
        drop(store);
        let store = open_with(dir.path(), options);
        assert!(store.packs().unwrap().iter().all(|pack| pack.id != first));
        assert!(new.iter().all(|chunk| store.verify(chunk, None).is_ok()));
    }

    #[test]
    fn the_pack_being_written_and_the_last_one_stay() {
        let dir = tempdir().unwrap();
        let store = open_with(dir.path(), small_packs());
        let chunk = put(&store, 1, &noise(1, 5000));
        assert_eq!(store.remove(chunk.at.pack).unwrap(), 0);
        assert_eq!(store.remove(PackId(77)).unwrap(), 0);
        let other = put(&store, 2, &noise(2, 5000));
        assert_ne!(chunk.at.pack, other.at.pack);
        assert_ne!(store.remove(chunk.at.pack).unwrap(), 0);
        store.close().unwrap();
        drop(store);
        let store = open_with(dir.path(), small_packs());
        assert_eq!(store.remove(other.at.pack).unwrap(), 0);
        assert!(put(&store, 3, &noise(3, 9000)).at.pack > chunk.at.pack);
    }

    #[test]
    fn damage_is_not_copied() {
        both_kinds().into_iter().for_each(copies_no_damage);
    }

    fn copies_no_damage(options: PackOptions) {
        use std::os::unix::fs::FileExt;
        let dir = tempdir().unwrap();
        let store = open_with(dir.path(), options);
        for (n, plain) in [(1, noise(1, 40_000)), (2, text(9000))] {
            let chunk = put(&store, n, &plain);
            store.sync().unwrap();
            let path = dir.path().join(format!("{}.pack", chunk.at.pack));
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.write_all_at(b"!!", chunk.at.offset + u64::from(chunk.at.stored_len) - 9).unwrap();
            assert!(store.copy(&chunk, None).is_err());
        }
    }
}
