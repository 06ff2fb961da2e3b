//! The packs of a store as one thing: append a chunk, make everything durable. Reading is in `read`.
//!
//! # Locks
//! In the order in which they are taken: `synced` (one sync at a time; the others wait and share its result),
//! `state` (the append lock). The caches' and the descriptors' locks are leaves.

use super::append::{self, Active};
use super::cache::Cache;
use super::cipher::Cipher;
use super::files::Files;
use super::format::{Codec, PLAIN_LEN_MAX, RecordHeader};
use super::walk::{self, Record};
use super::{ContentTree, Error, PackSource, Result, codec, recover};
use crate::crypt::Keyring;
use crate::model::{ChunkLocation, ChunkRef, PackId};
use crate::sys::{self, failpoint};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Sealed packs that may wait for a sync; one more, and appending syncs first. Bounds open descriptors.
const UNSYNCED_PACKS_MAX: usize = 32;
/// Tables of parts that are kept in memory, in bytes: those of some 14,000 chunks.
const TABLE_CACHE_BYTES: u64 = 4 << 20;

/// How packs are written and read.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// A pack that reaches this size is sealed.
    pub target_bytes: u64,
    /// zstd's level.
    pub level: i32,
    /// Plain chunks kept in memory: those that are not read in parts.
    pub cache_bytes: u64,
    /// Nothing is changed, not even to bring packs into shape after a crash.
    pub read_only: bool,
    /// The keys of an encrypted store, with a master key at least.
    pub keys: Option<Arc<Keyring>>,
    /// Where the packs lie, if not in the directory; only for a store that is read only.
    pub source: Option<Arc<dyn PackSource>>,
}

impl Default for PackOptions {
    fn default() -> PackOptions {
        let (target_bytes, cache_bytes) = (32 << 20, 48 << 20);
        PackOptions {
            target_bytes,
            level: 3,
            cache_bytes,
            read_only: false,
            keys: None,
            source: None,
        }
    }
}

/// What is known of a pack without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackInfo {
    /// Its number.
    pub id: PackId,
    /// Bytes of it that count: all of a sealed one, those up to the last whole record of the one being written.
    pub len: u64,
    /// Whether it will not change any more: it has its footer, or was too damaged to get one.
    pub sealed: bool,
}

/// A chunk that another one may be stored as a difference to, with its contents.
pub struct Base {
    /// The chunk, which is stored whole.
    pub chunk: ChunkRef,
    /// Its plain bytes.
    pub plain: Vec<u8>,
}

/// What appending came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where the record lies.
    pub at: ChunkLocation,
    /// Whether it is a difference to the base that was offered.
    pub is_difference: bool,
}

/// The packs of a store.
pub struct PackStore {
    pub(super) files: Files,
    /// Plain bytes of chunks that are only read whole.
    pub(super) cache: Cache,
    /// Verified tables of chunks that can be read in parts.
    pub(super) tables: Cache,
    pub(super) options: PackOptions,
    /// The append lock: guards which pack is written, and where.
    pub(super) state: Mutex<State>,
    /// The ticket up to which everything is durable; held during a sync.
    synced: Mutex<u64>,
    /// Why nothing is written any more.
    poison: OnceLock<String>,
    /// Of which master key the key of each pack was derived, as far as that was asked for.
    pub(super) epochs: Mutex<HashMap<PackId, u32>>,
}

/// A pack, by its number in `State::packs`.
pub(super) struct Pack {
    pub len: u64,
    pub sealed: bool,
}

/// What the append lock guards.
pub(super) struct State {
    pub active: Option<Active>,
    pub packs: BTreeMap<PackId, Pack>,
    /// Packs with bytes that may not be on the disk.
    unsynced: BTreeMap<PackId, Arc<File>>,
    /// Packs that changed since the store was opened: how far each is known to be on the disk.
    durable: BTreeMap<PackId, u64>,
    pub directory_unsynced: bool,
    next: PackId,
    /// Counts changes; a sync covers those up to the ticket it began with.
    ticket: u64,
}

/// What one sync makes durable.
struct SyncWork {
    /// File, length of the pack, and whether it is sealed.
    files: Vec<(PackId, Arc<File>, u64, bool)>,
    directory: bool,
    ticket: u64,
}

impl State {
    pub(super) fn starting_at(next: PackId) -> State {
        State {
            active: None,
            packs: BTreeMap::new(),
            unsynced: BTreeMap::new(),
            durable: BTreeMap::new(),
            directory_unsynced: false,
            next,
            ticket: 0,
        }
    }

    /// Of packs that are only read.
    fn of(packs: Vec<PackInfo>) -> State {
        let mut state = State::starting_at(PackId(0));
        state.packs = packs
            .iter()
            .map(|pack| (pack.id, Pack { len: pack.len, sealed: pack.sealed }))
            .collect();
        state
    }

    /// Enters a pack whose bytes may not be on the disk.
    pub(super) fn keep(&mut self, id: PackId, pack: Pack, file: Arc<File>) {
        self.packs.insert(id, pack);
        self.unsynced.insert(id, file);
        self.durable.entry(id).or_insert(0);
        self.ticket += 1;
    }

    /// Begins a pack if none is being written. A failure breaks nothing that is there.
    pub(super) fn ensure_active(&mut self, files: &Files, target_bytes: u64) -> Result<()> {
        if self.active.is_none() {
            let name = files.name(self.next);
            let cipher = files.keys().map(|keys| Cipher::current(keys, name));
            let active = Active::create(files.path(name.pack), name, cipher, target_bytes)?;
            self.next = PackId(name.pack.0 + 1);
            self.directory_unsynced = true;
            let pack = Pack { len: active.position, sealed: false };
            self.keep(name.pack, pack, Arc::clone(&active.file));
            self.active = Some(active);
        }
        Ok(())
    }

    /// Seals the pack being written if it has reached its size.
    pub(super) fn seal_if_full(&mut self, target_bytes: u64) -> Result<()> {
        let full = self.active.as_mut().filter(|active| active.position >= target_bytes);
        let Some(active) = full else { return Ok(()) };
        let len = active.seal()?;
        let (id, file) = (active.name.pack, Arc::clone(&active.file));
        self.keep(id, Pack { len, sealed: true }, file);
        self.active = None;
        Ok(())
    }

    /// Appends to the active pack; also returns what is due for writeback.
    fn append(
        &mut self,
        header: RecordHeader,
        head: &[u8],
        body: &[u8],
    ) -> Result<(ChunkLocation, Option<Writeback>)> {
        let active = self.active.as_mut().expect("ensure_active left one");
        let location = active.append(header, head, body)?;
        let (id, file) = (active.name.pack, Arc::clone(&active.file));
        let pack = Pack { len: active.position, sealed: false };
        let due = active.take_writeback();
        let due = due.map(|(from, len)| Writeback { file: Arc::clone(&file), from, len });
        self.keep(id, pack, file);
        Ok((location, due))
    }

    /// Whether records are appended to the pack.
    pub(super) fn is_active(&self, pack: PackId) -> bool {
        self.active.as_ref().is_some_and(|active| active.name.pack == pack)
    }

    /// Takes a sealed pack off the list; answers its length. The directory must be synced for it to stay away. Not the
    /// last one: the next start goes on counting after it, and no number is ever that of two packs.
    pub(super) fn take_sealed(&mut self, pack: PackId) -> Option<u64> {
        let is_last = self.packs.keys().next_back() == Some(&pack);
        let len = self.packs.get(&pack).filter(|found| found.sealed && !is_last)?.len;
        self.packs.remove(&pack);
        self.unsynced.remove(&pack);
        self.durable.remove(&pack);
        self.directory_unsynced = true;
        self.ticket += 1;
        Some(len)
    }

    fn begin_sync(&mut self) -> SyncWork {
        if let Some(active) = &mut self.active {
            active.note_sync();
        }
        let packs = &self.packs;
        let of = |(&id, file): (&PackId, &Arc<File>)| {
            let pack = packs.get(&id).expect("every unsynced pack is entered");
            (id, Arc::clone(file), pack.len, pack.sealed)
        };
        SyncWork {
            files: self.unsynced.iter().map(of).collect(),
            directory: std::mem::take(&mut self.directory_unsynced),
            ticket: self.ticket,
        }
    }

    fn finish_sync(&mut self, work: &SyncWork) {
        for (id, _, len, _) in &work.files {
            // One that was removed meanwhile stays away.
            let Some(pack) = self.packs.get(id) else { continue };
            self.durable.insert(*id, *len);
            if pack.len == *len {
                self.unsynced.remove(id);
            }
        }
    }
}

/// A range whose writeback is to be started, once the append lock is given up.
struct Writeback {
    file: Arc<File>,
    from: u64,
    len: u64,
}

impl PackStore {
    /// Opens the packs in `directory`, which must exist. For writing, packs that a crash left unfinished are brought
    /// into shape, and everything that is found is durable when this returns.
    ///
    /// # Errors
    /// `Newer` for a pack of a newer format, `OtherKind` and `KeyMissing` where the keys don't fit. Damage is not an error here: it is met when it is read.
    pub fn open(directory: &Path, store_id: [u8; 16], options: PackOptions) -> Result<PackStore> {
        let source = options.source.clone().filter(|_| options.read_only);
        let files = Files::new(directory, store_id, options.keys.clone(), source.clone());
        let target_bytes = (!options.read_only).then_some(options.target_bytes);
        let mut state = match source {
            None => recover::load(&files, target_bytes)?,
            Some(source) => State::of(source.packs()),
        };
        let read_only = options.read_only;
        if !read_only {
            // A killed predecessor may have made a pack without making its name durable.
            state.directory_unsynced = true;
            state.ticket += 1;
        }
        let store = PackStore {
            cache: Cache::new(options.cache_bytes),
            tables: Cache::new(TABLE_CACHE_BYTES),
            files,
            options,
            state: Mutex::new(state),
            synced: Mutex::new(0),
            poison: OnceLock::new(),
            epochs: Mutex::default(),
        };
        if !read_only {
            store.sync()?;
        }
        Ok(store)
    }

    /// Stores a chunk, compressed if that gains something; `tree` is that of `plain`. Durable after the
    /// next `sync`. What is stored twice is there twice: whether it is needed is for the caller to know.
    ///
    /// Where it is much smaller, a difference to `base` is stored; the answer then says so. `base` itself must be stored whole.
    ///
    /// # Errors
    /// `NoSpace` leaves everything as it was, and appending goes on when there is room again. After any other
    /// failed write the store is `Poisoned`.
    pub fn append(&self, tree: &ContentTree, plain: &[u8], base: Option<&Base>) -> Result<Stored> {
        self.check_writable()?;
        let plain_len = u32::try_from(plain.len()).ok().filter(|&len| len <= PLAIN_LEN_MAX);
        let plain_len = plain_len.ok_or(Error::TooLong { len: plain.len() })?;
        if self.state.lock().unsynced.len() > UNSYNCED_PACKS_MAX {
            self.sync()?;
        }
        let store = |codec: Codec, body: &[u8]| {
            let (header, head, body) = self.form(tree, (plain, plain_len), base, (codec, body));
            let at = self.write(header, head, body)?;
            Ok(Stored { at, is_difference: header.codec == Codec::Difference })
        };
        let base_plain = base.map(|base| &base.plain[..]);
        codec::encode(plain, base_plain, self.options.level, store)
            .map_err(|error| Error::from_io(self.files.directory(), error))?
    }

    /// Writes a record whose payload is `head`, `body`.
    pub(super) fn write(
        &self,
        header: RecordHeader,
        head: &[u8],
        body: &[u8],
    ) -> Result<ChunkLocation> {
        let mut state = self.state.lock();
        // Again, under the lock: another thread's failure may have come in between.
        self.check_writable()?;
        let target_bytes = self.options.target_bytes;
        state.seal_if_full(target_bytes).map_err(|error| self.poisoned_by(error))?;
        state.ensure_active(&self.files, target_bytes)?;
        let appended = state.append(header, head, body).map_err(|error| self.poisoned_by(error));
        drop(state);
        let (location, writeback) = appended?;
        if let Some(Writeback { file, from, len }) = writeback {
            sys::start_writeback(&file, from, len);
        }
        Ok(location)
    }

    /// Makes everything durable that was appended before the call. Callers at the same time share the work.
    ///
    /// # Errors
    /// Any failure poisons the store: the kernel may have dropped what it could not write.
    pub fn sync(&self) -> Result<()> {
        let wanted = self.state.lock().ticket;
        let mut synced = self.synced.lock();
        if self.is_poisoned() {
            return Err(Error::Poisoned);
        }
        if *synced >= wanted {
            return Ok(());
        }
        let work = self.state.lock().begin_sync();
        failpoint::hit("pack-sync-before");
        self.make_durable(&work).map_err(|error| self.poison(error))?;
        failpoint::hit("pack-sync-after");
        self.state.lock().finish_sync(&work);
        *synced = work.ticket;
        Ok(())
    }

    fn make_durable(&self, work: &SyncWork) -> Result<()> {
        for (id, file, _, sealed) in &work.files {
            append::sync_data(file)
                .map_err(|source| Error::Io { path: self.files.path(*id), source })?;
            if *sealed {
                mark_finished(file);
            }
        }
        if work.directory { append::sync_directory(self.files.directory()) } else { Ok(()) }
    }

    /// For packs that changed since the store was opened: the length in bytes up to which each is known to be on the disk.
    pub fn durable_ends(&self) -> Vec<(PackId, u64)> {
        self.state.lock().durable.iter().map(|(&pack, &end)| (pack, end)).collect()
    }

    /// All packs, in order.
    pub fn packs(&self) -> Result<Vec<PackInfo>> {
        let state = self.state.lock();
        let info =
            |(&id, pack): (&PackId, &Pack)| PackInfo { id, len: pack.len, sealed: pack.sealed };
        Ok(state.packs.iter().map(info).collect())
    }

    /// The records of a pack in the order of their offsets: by its footer, or by walking it (over damaged
    /// stretches as well). Their contents are not verified.
    pub fn records(&self, pack: PackId) -> Result<Vec<Record>> {
        let len = self.state.lock().packs.get(&pack).map(|pack| pack.len);
        let len = len.ok_or_else(|| Error::damaged(pack, 0, "the pack file is missing"))?;
        let file = self.files.get(pack)?;
        let entries = walk::entries(&file, len)
            .map_err(|error| Error::from_io(&self.files.path(pack), error))?;
        let record = |entry: &super::format::Entry| Record {
            hash: entry.header.hash,
            at: entry.header.location(pack, entry.offset),
            is_difference: entry.header.codec == Codec::Difference,
        };
        Ok(entries.iter().map(record).collect())
    }

    /// Bytes that the packs take.
    pub fn stored_bytes(&self) -> u64 {
        self.state.lock().packs.values().map(|pack| pack.len).sum()
    }

    /// Makes everything durable and tidies up. What is appended afterwards is as safe as before.
    pub fn close(&self) -> Result<()> {
        if self.options.read_only {
            return Ok(());
        }
        self.sync()?;
        let mut state = self.state.lock();
        state.active.as_mut().map_or(Ok(()), Active::trim)
    }

    /// Whether a failed write or sync has ended writing.
    pub fn is_poisoned(&self) -> bool {
        self.poison.get().is_some()
    }

    /// What failed, if something did.
    pub fn poison_reason(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        if self.options.read_only {
            return Err(Error::ReadOnly);
        }
        if self.is_poisoned() { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Poisons the store, unless the disk was just full.
    pub(super) fn poisoned_by(&self, error: Error) -> Error {
        if matches!(error, Error::NoSpace) { error } else { self.poison(error) }
    }

    fn poison(&self, error: Error) -> Error {
        log::error!("the store takes no more writes: {error}");
        // The first reason stays.
        let _ = self.poison.set(error.to_string());
        error
    }
}

/// Takes the write permission off a pack that is sealed and durable: the next start needn't look at it, and
/// people are warned. Best effort: without it the pack is looked at again.
fn mark_finished(file: &File) {
    if let Ok(metadata) = file.metadata() {
        let mut permissions = metadata.permissions();
        permissions.set_readonly(true);
        let _ = file.set_permissions(permissions);
    }
}
