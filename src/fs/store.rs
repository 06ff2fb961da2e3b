//! A store's directory: making one and opening one.

use super::generation;
use super::header::{self, COPY_FILE, Found, HEADER_FILE, Header};
use super::ingest::Ingest;
use super::keys::{self, NewKey};
use super::options::VolumeOptions;
use super::recover;
use super::space::{LOG_ROOM_BYTES, Space};
use super::store_error::{StoreError, io_error, open_error};
use super::upkeep::Upkeep;
use super::volume::Volume;
use crate::chunks::{self, ChunkParams, Cutter, PackOptions, PackSource, PackStore};
use crate::crypt::Keyring;
use crate::meta::{self, MOMENT_STEP_NANOS, Meta, PageKeys};
use crate::model::{Attr, FileKind, Ino, Mode};
use crate::sys::{self, Clock, LockError, StoreLock, failpoint};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) const META_FILE: &str = "meta.db";
const PACKS_DIR: &str = "packs";
/// Directories of a new store's root.
const ROOT_DIRS: [&str; 3] = ["projects", "shared", "archived"];
/// A pack is at most this part of the disk, so that a small one isn't taken up by empty packs.
const PACK_PART_OF_DISK: u64 = 256;
const PACK_BYTES_MIN: u64 = 1 << 20;

/// What a new store is made with.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// How contents are cut into chunks, for ever.
    pub chunks: ChunkParams,
    /// Everything in the store is encrypted, and this unlocks it.
    pub encryption: Option<NewKey>,
}

/// Whether there is a store at `path`; an error if there is something else than a store or nothing.
pub fn store_exists(path: &Path) -> Result<bool, StoreError> {
    if [HEADER_FILE, COPY_FILE].iter().any(|name| path.join(name).exists()) {
        return Ok(true);
    }
    match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(path)(error)),
        Ok(mut entries) => match entries.any(|entry| entry.is_ok_and(|entry| !is_leftover(&entry)))
        {
            true => Err(StoreError::NotEmpty(path.to_owned())),
            false => Ok(false),
        },
    }
}

/// What an interrupted `create_store` leaves (the header comes last), what every ext4 has, and what may be
/// there before the store: its settings, and the log of a daemon that could not make it.
fn is_leftover(entry: &std::fs::DirEntry) -> bool {
    let name = entry.file_name();
    let known = [
        META_FILE,
        "meta.db-wal",
        "meta.db-shm",
        ".store.toml.tmp",
        ".store.copy.toml.tmp",
        "lock",
        "lost+found",
        "verso.toml",
        "verso.log",
        "verso.log.1",
    ];
    known.iter().any(|known| name == *known)
        || (name == PACKS_DIR
            && std::fs::read_dir(entry.path()).is_ok_and(|mut packs| packs.next().is_none()))
}

/// Makes a store in a missing or empty directory. The header is published last: a store that was not
/// finished is no store, and is made anew.
pub fn create_store(
    path: &Path,
    options: &CreateOptions,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    if store_exists(path)? {
        return Err(StoreError::Exists(path.to_owned()));
    }
    std::fs::create_dir_all(path).map_err(io_error(path))?;
    let _lock = lock(path)?;
    for name in [META_FILE, "meta.db-wal", "meta.db-shm"] {
        match std::fs::remove_file(path.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error(&path.join(name))(error));
            }
            _ => {}
        }
    }
    let packs = path.join(PACKS_DIR);
    if !packs.is_dir() {
        std::fs::create_dir(&packs).map_err(io_error(&packs))?;
    }
    let id = sys::random_bytes::<16>().map_err(io_error(path))?;
    let mut header = Header::new(&id, options.chunks);
    let keys = match &options.encryption {
        Some(new) => Some(Arc::new(keys::encrypt(path, &mut header, new, clock)?)),
        None => None,
    };
    make_meta(path, page_keys(&keys, id).as_ref(), clock)?;
    failpoint::hit("key-init-before-header");
    match &keys {
        Some(keys) => keys::rewrite(path, header, keys, |_, _, _| Ok(()))?,
        None => header.write_plain(path)?,
    }
    if let Some(parent) = path.parent().filter(|parent| parent.is_dir()) {
        sys::sync_dir(parent).map_err(io_error(parent))?;
    }
    Ok(())
}

fn make_meta(path: &Path, keys: Option<&PageKeys>, clock: &dyn Clock) -> Result<(), StoreError> {
    let slot_key = sys::random_bytes::<16>().map_err(io_error(path))?;
    let file = path.join(META_FILE);
    Meta::create(&file, &slot_key, keys)
        .and_then(|()| populate(&file, keys, clock))
        .map_err(|error| open_error(path, error))
}

/// The keys for the metadata of the store with this id.
fn page_keys(keys: &Option<Arc<Keyring>>, store: [u8; 16]) -> Option<PageKeys> {
    keys.as_ref().map(|keys| PageKeys { keys: Arc::clone(keys), store })
}

/// Makes the root and its first directories, owned by whoever makes the store.
fn populate(
    meta_path: &Path,
    keys: Option<&PageKeys>,
    clock: &dyn Clock,
) -> Result<(), meta::Error> {
    let meta = Meta::open(meta_path, keys)?;
    let now = clock.now();
    let (uid, gid) = sys::current_user();
    let directory = |ino, nlink| Attr {
        ino,
        kind: FileKind::Directory,
        mode: Mode::new(0o755),
        nlink,
        uid,
        gid,
        rdev: 0,
        size: 0,
        allocated: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
    };
    meta.write(now, |tx| -> Result<(), meta::Error> {
        tx.create_inode(&directory(Ino::ROOT, 2 + ROOT_DIRS.len() as u32), Ino::ROOT, 0)?;
        for name in ROOT_DIRS {
            let attr = directory(meta.next_ino(), 2);
            tx.create_inode(&attr, Ino::ROOT, 0)?;
            tx.add_dentry(Ino::ROOT, name.as_bytes(), &attr)?;
        }
        Ok(())
    })?;
    meta.sync()?;
    meta.close()
}

/// Takes the store's lock.
pub(super) fn lock(path: &Path) -> Result<StoreLock, StoreError> {
    StoreLock::acquire(path).map_err(|error| match error {
        LockError::Held { pid } => StoreError::Locked { path: path.to_owned(), pid },
        LockError::Io(source) => StoreError::Io { path: path.join("lock"), source },
    })
}

impl Volume {
    /// Opens a store: takes its lock, and after an unclean stop puts right what a power cut may
    /// have torn.
    pub fn open_store(
        path: &Path,
        options: VolumeOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Volume>, StoreError> {
        header::read(path)?;
        let lock = lock(path)?;
        // Again: before, somebody may have been changing the master key.
        let found = header::read(path)?;
        let chunk_params = found.header.chunk_params().map_err(|why| header::wrong(path, why))?;
        let keys = unlock(path, &found, &options)?;
        // The keys are enough from here on: a passphrase is not kept longer than it takes.
        let options = VolumeOptions { secret: None, keys: None, ..options };
        let space = Space::new(path, options.reserve_bytes);
        if !options.read_only {
            space.make_room(2 * LOG_ROOM_BYTES);
        }
        if found.needs_mending && !options.read_only {
            // Nothing is sealed with a new key before the header that has it is certain to stay.
            sys::sync_dir(path).map_err(io_error(path))?;
        }
        let (meta, old_pages) = open_meta(path, &found, &keys, options.read_only)?;
        let upkeep = Upkeep::since(meta.last_moment(), clock.now());
        if !options.read_only {
            await_last_moment(&meta, &*clock);
        }
        generation::guard(path, &found, keys.as_deref(), &meta, options.read_only, &*clock)?;
        let packs = open_packs(path, &found, &keys, &options)?;
        if !options.read_only {
            recover::recover(&meta, &packs, &*clock).map_err(|error| open_error(path, error))?;
        }
        let volume = Arc::new(Volume {
            store: path.to_owned(),
            space,
            clock,
            meta,
            ingest: Ingest::new(packs),
            cutter: Cutter::new(chunk_params),
            chunk_params,
            tree: Default::default(),
            nodes: Default::default(),
            handles: Default::default(),
            views: Default::default(),
            whereabouts: Default::default(),
            sync_state: Default::default(),
            workers: Default::default(),
            upkeep,
            keys,
            old_pages,
            failure: Default::default(),
            told: Default::default(),
            _lock: lock,
            options,
        });
        volume.remember_damage().map_err(|error| open_error(path, error))?;
        if !volume.options.read_only {
            volume.space.hold_reserve();
            volume.workers.start(&Arc::downgrade(&volume), volume.options.seal_threads);
            volume.start_timer(Arc::downgrade(&volume));
        }
        Ok(volume)
    }
}

fn open_packs(
    path: &Path,
    found: &Found,
    keys: &Option<Arc<Keyring>>,
    options: &VolumeOptions,
) -> Result<PackStore, StoreError> {
    let disk = sys::disk_space(path).map_err(io_error(path))?;
    let pack_options = PackOptions {
        target_bytes: options.pack_bytes.min(disk.total / PACK_PART_OF_DISK).max(PACK_BYTES_MIN),
        level: options.compression_level,
        cache_bytes: options.cache_bytes,
        read_only: options.read_only,
        keys: keys.clone(),
        source: options.pack_source.clone(),
    };
    PackStore::open(&path.join(PACKS_DIR), found.header.id(), pack_options)
        .map_err(|error: chunks::Error| open_error(path, error))
}

impl Volume {
    /// Opens a copy of this store, as it was some time ago, to be read only: its metadata and header are in the directory `path`, its packs
    /// come from `packs`. It is opened with this volume's keys.
    pub fn open_copy(
        &self,
        path: &Path,
        packs: Arc<dyn PackSource>,
    ) -> Result<Arc<Volume>, StoreError> {
        let options = VolumeOptions {
            read_only: true,
            pack_source: Some(packs),
            keys: self.keys.clone(),
            history_dir: true,
            ..self.options.clone()
        };
        Volume::open_store(path, options, Arc::clone(&self.clock))
    }
}

/// The keys of an encrypted store.
fn unlock(
    path: &Path,
    found: &Found,
    options: &VolumeOptions,
) -> Result<Option<Arc<Keyring>>, StoreError> {
    if found.header.encryption.is_none() {
        return Ok(None);
    }
    if let Some(keys) = &options.keys {
        return Ok(Some(Arc::clone(keys)));
    }
    let needed = || StoreError::KeyNeeded(path.to_owned());
    let secret = options.secret.as_ref().ok_or_else(needed)?;
    Ok(Some(Arc::new(keys::unlocked(path, found, secret)?.keys)))
}

/// Opens the metadata; answers also whether pages of it may still be sealed with an earlier key.
pub(super) fn open_meta(
    path: &Path,
    found: &Found,
    keys: &Option<Arc<Keyring>>,
    read_only: bool,
) -> Result<(Meta, bool), StoreError> {
    let file = path.join(META_FILE);
    let keys = page_keys(keys, found.header.id());
    let open = || Meta::open(&file, keys.as_ref());
    let old_pages = match keys.as_ref().filter(|keys| !read_only && keys.keys.epochs().count() > 1)
    {
        Some(keys) => has_old_pages(&file, keys, open),
        None => false,
    };
    let opened = open().map(|meta| (meta, old_pages));
    opened.map_err(|error| match error {
        meta::Error::Newer { found, known } => {
            StoreError::Newer { path: path.to_owned(), found, known }
        }
        other => open_error(path, other),
    })
}

/// Encrypts the metadata anew if a page of it is still sealed with the key of an earlier epoch. Answers whether one may still be: a
/// full disk, or a page that is damaged, is no reason not to open a store, but one to keep those keys.
fn has_old_pages(file: &Path, keys: &PageKeys, open: impl Fn() -> meta::Result<Meta>) -> bool {
    let renewed = || {
        // What the log has goes into the database first.
        open()?.close()?;
        match meta::oldest_epoch(file)? == keys.keys.current() {
            true => Ok(()),
            false => meta::rekey(file, keys),
        }
    };
    let outcome: meta::Result<()> = renewed();
    if let Err(error) = &outcome {
        log::warn!("the metadata is not encrypted anew with the present master key: {error}");
    }
    outcome.is_err()
}

/// After a crash, moments go on above the last one that may have been handed out. Before the clock is there, changes would
/// be remembered as later than they were. (A clock that was set back is not waited for.)
fn await_last_moment(meta: &Meta, clock: &dyn Clock) {
    let ahead = meta.last_moment().0.saturating_sub(clock.now().0);
    if (1..=MOMENT_STEP_NANOS).contains(&ahead) {
        std::thread::sleep(Duration::from_nanos(ahead as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SystemClock;
    use tempfile::TempDir;

    #[test]
    fn settings_and_a_log_do_not_keep_a_store_from_being_made() {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("verso.toml"), "[store]\n").unwrap();
        std::fs::write(dir.path().join("verso.log"), "could not mount\n").unwrap();
        assert!(!store_exists(dir.path()).unwrap());
        create_store(dir.path(), &CreateOptions::default(), &SystemClock).unwrap();
        assert!(store_exists(dir.path()).unwrap());
        assert!(dir.path().join("verso.toml").exists());
    }

    #[test]
    fn a_header_that_was_being_written_does_not_either() {
        let dir = TempDir::new().unwrap();
        create_store(dir.path(), &CreateOptions::default(), &SystemClock).unwrap();
        std::fs::rename(dir.path().join(HEADER_FILE), dir.path().join(".store.toml.tmp")).unwrap();
        create_store(dir.path(), &CreateOptions::default(), &SystemClock).unwrap();
        assert!(store_exists(dir.path()).unwrap());
    }

    #[test]
    fn somebody_elses_directory_is_left_alone() {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("verso.txt"), "").unwrap();
        assert!(matches!(store_exists(dir.path()), Err(StoreError::NotEmpty(_))));
    }
}
