//! The store as it is at one moment, to be copied elsewhere while the drive is in use.

use super::header::{COPY_FILE, HEADER_FILE};
use super::store_error::{StoreError, io_error, open_error};
use super::volume::Volume;
use super::{Error, Result, header};
use crate::chunks::PackInfo;
use crate::meta::{self, PackPart};
use crate::model::{ChunkRef, Moment, PackId};
use crate::sys::{DirectoryLock, disk_space};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

type StoreResult<T> = std::result::Result<T, StoreError>;

/// What a store of one moment comes to. While it is held, `meta.db` doesn't change.
pub struct Frozen<'v> {
    meta: meta::Frozen<'v>,
    headers: Vec<(String, Vec<u8>)>,
    packs: Vec<PackInfo>,
}

impl Frozen<'_> {
    /// The newest moment in it.
    pub fn moment(&self) -> Moment {
        self.meta.moment()
    }

    /// The packs that hold everything the metadata names, with what of them counts; durable up to there. Upkeep may remove one at any time.
    pub fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    /// The database's file.
    pub fn database(&self) -> &Path {
        self.meta.database()
    }

    /// Every other file that the store needs: name in the store, and contents. The header comes last.
    pub fn small_files(&self) -> Vec<(&str, &[u8])> {
        let mut files = vec![("meta.db-wal", self.meta.log())];
        files.extend(self.headers.iter().map(|(name, contents)| (&name[..], &contents[..])));
        files
    }
}

/// The packs that there are after a moment, and those that were there before it and are gone: the metadata of the moment may name them.
fn with_removed(before: Vec<PackInfo>, after: Vec<PackInfo>) -> Vec<PackInfo> {
    let mut packs: BTreeMap<PackId, PackInfo> =
        before.into_iter().map(|pack| (pack.id, pack)).collect();
    packs.extend(after.into_iter().map(|pack| (pack.id, pack)));
    packs.into_values().collect()
}

impl Volume {
    /// Saves everything, and holds on to the store as it is then. Writers wait for an instant only.
    pub fn freeze(&self) -> StoreResult<Frozen<'_>> {
        let frozen = self.freeze_now();
        let (meta, packs) = frozen.map_err(|error| open_error(&self.store, error))?;
        Ok(Frozen { meta, headers: self.header_files()?, packs })
    }

    fn freeze_now(&self) -> Result<(meta::Frozen<'_>, Vec<PackInfo>)> {
        self.check_writable()?;
        self.sync_all()?;
        self.settle()?;
        let before = self.ingest.packs().packs()?;
        let meta = self.guard_failure(self.meta.freeze().map_err(Error::from))?;
        // Asked for after the moment: they hold each chunk that it names, or held it: upkeep may have removed one since.
        let packs = with_removed(before, self.ingest.packs().packs()?);
        self.guard_failure(self.ingest.packs().sync().map_err(Error::from))?;
        self.meta.sync()?;
        Ok((meta, packs))
    }

    /// The header and, of an encrypted store, its copy, which comes before it. Nobody changes them meanwhile.
    fn header_files(&self) -> StoreResult<Vec<(String, Vec<u8>)>> {
        let _directory = DirectoryLock::acquire(&self.store).map_err(io_error(&self.store))?;
        let mut files = Vec::new();
        for name in [COPY_FILE, HEADER_FILE] {
            let path = self.store.join(name);
            match std::fs::read(&path) {
                Ok(contents) => files.push((name.to_owned(), contents)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error(&path)(error)),
            }
        }
        Ok(files)
    }

    /// The store's id.
    pub fn store_id(&self) -> StoreResult<[u8; 16]> {
        header::read(&self.store).map(|found| found.header.id())
    }

    /// Changes that were committed since the store was opened, of whatever kind programs make.
    pub fn commits(&self) -> u64 {
        self.sync_state.commits()
    }

    /// How long ago a change was committed; `None`: there was none since the store was opened.
    pub fn quiet_for(&self) -> Option<Duration> {
        self.sync_state.quiet_for()
    }

    /// `len` bytes of a pack's file, as they are.
    ///
    /// # Errors
    /// `Damaged` where they are not, also of a pack that was removed meanwhile.
    pub fn read_pack(&self, pack: PackId, offset: u64, len: usize) -> Result<Vec<u8>> {
        Ok(self.ingest.packs().read_raw(pack, offset, len)?)
    }

    /// The parts in which packs were copied elsewhere before.
    pub fn pack_parts(&self) -> Result<Vec<(PackId, PackPart)>> {
        Ok(self.meta.read(|view| view.pack_parts())?)
    }

    /// Remembers that a pack was copied in these parts, and no others.
    pub fn note_pack_parts(&self, pack: PackId, parts: &[PackPart]) -> Result<()> {
        self.check_writable()?;
        self.guard_failure(self.meta.write(self.now(), |tx| {
            tx.forget_pack_parts(pack)?;
            parts.iter().try_for_each(|part| Ok::<_, Error>(tx.note_pack_part(pack, part)?))
        }))
    }

    /// All packs, with what of them counts, which is durable.
    pub fn durable_packs(&self) -> Result<Vec<PackInfo>> {
        let packs = self.ingest.packs().packs()?;
        self.guard_failure(self.ingest.packs().sync().map_err(Error::from))?;
        Ok(packs)
    }

    /// Whether the store takes a key to be read.
    pub fn is_encrypted(&self) -> bool {
        self.keys.is_some()
    }

    /// Forgets the parts of packs, as those that were removed.
    pub fn forget_pack_parts(&self, packs: &[PackId]) -> Result<()> {
        self.check_writable()?;
        self.guard_failure(self.meta.write(self.now(), |tx| {
            packs.iter().try_for_each(|pack| Ok::<_, Error>(tx.forget_pack_parts(*pack)?))
        }))
    }

    /// The plain bytes of the chunk with the same contents as `chunk`, verified, if this store has it whole, wherever it
    /// lies here.
    pub fn chunk_like(&self, chunk: &ChunkRef) -> Result<Option<Vec<u8>>> {
        let found = self.meta.read(|view| -> Result<_> {
            let Some(here) = view.chunk_by_hash(&chunk.hash)? else { return Ok(None) };
            Ok(Some((here, view.base_of(&here)?)))
        })?;
        let Some((here, base)) = found else { return Ok(None) };
        Ok(Some(self.ingest.packs().read(&here, base.as_ref())?))
    }

    /// Bytes that are free for new files where the store lies.
    pub fn disk_available(&self) -> u64 {
        disk_space(&self.store).map_or(0, |space| space.available)
    }
}
