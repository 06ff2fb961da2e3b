//! A store's directory: making one, opening one, and what can be wrong with it.

use super::ingest::Ingest;
use super::options::VolumeOptions;
use super::space::{LOG_ROOM_BYTES, Space};
use super::upkeep::Upkeep;
use super::volume::Volume;
use super::{Error, recover};
use crate::chunks::{self, ChunkParams, Cutter, PackOptions, PackStore};
use crate::meta::{self, MOMENT_STEP_NANOS, Meta};
use crate::model::{Attr, FileKind, Ino, Mode};
use crate::sys::{self, Clock, LockError, StoreLock};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The format of `store.toml` and of everything it stands for.
const FORMAT: u32 = 1;
const HEADER_FILE: &str = "store.toml";
const META_FILE: &str = "meta.db";
const PACKS_DIR: &str = "packs";
/// Directories of a new store's root.
const ROOT_DIRS: [&str; 3] = ["projects", "shared", "archived"];
/// A pack is at most this part of the disk, so that a small one isn't taken up by empty packs.
const PACK_PART_OF_DISK: u64 = 256;
const PACK_BYTES_MIN: u64 = 1 << 20;

/// Why a store can't be made or opened. Each message says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is nothing.
    #[error("{}: there is no store here; make one with `verso init`", .0.display())]
    Missing(PathBuf),
    /// There is something else.
    #[error("{}: the directory is not empty and holds no store; name an empty or a new one", .0.display())]
    NotEmpty(PathBuf),
    /// There is a store already.
    #[error("{}: there is a store here already", .0.display())]
    Exists(PathBuf),
    /// A later version of Verso wrote it.
    #[error("{}: the store has format {found}, this program knows formats up to {known}; use a newer verso", .path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// Somebody else has it open.
    #[error("{}: the store is in use{}; unmount it there first", .path.display(), .pid.map_or(String::new(), |pid| format!(" by process {pid}")))]
    Locked {
        /// The store.
        path: PathBuf,
        /// The owner.
        pid: Option<u32>,
    },
    /// Its header can't be understood.
    #[error("{}: {why}", .path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The disk or its permissions are in the way.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The metadata or the packs can't be opened.
    #[error("{}: {source}", .path.display())]
    Open {
        /// The store.
        path: PathBuf,
        /// Why.
        source: Error,
    },
}

/// What a new store is made with.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// How contents are cut into chunks, for ever.
    pub chunks: ChunkParams,
}

/// `store.toml`: written once.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    id: String,
    chunks: HeaderChunks,
}

#[derive(Debug, Serialize, Deserialize)]
struct HeaderChunks {
    /// The algorithm: `fastcdc-2020`.
    algorithm: String,
    min_bytes: u32,
    avg_bytes: u32,
    max_bytes: u32,
}

const CHUNK_ALGORITHM: &str = "fastcdc-2020";

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

fn open_error(path: &Path, source: impl Into<Error>) -> StoreError {
    StoreError::Open { path: path.to_owned(), source: source.into() }
}

/// Whether there is a store at `path`; an error if there is something else than a store or nothing.
pub fn store_exists(path: &Path) -> Result<bool, StoreError> {
    if path.join(HEADER_FILE).exists() {
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
    let key = sys::random_bytes::<16>().map_err(io_error(path))?;
    let meta_path = path.join(META_FILE);
    Meta::create(&meta_path, &key, None).map_err(|error| open_error(path, error))?;
    populate(&meta_path, clock).map_err(|error| open_error(path, error))?;
    write_header(path, options)?;
    if let Some(parent) = path.parent().filter(|parent| parent.is_dir()) {
        sys::sync_dir(parent).map_err(io_error(parent))?;
    }
    Ok(())
}

fn write_header(path: &Path, options: &CreateOptions) -> Result<(), StoreError> {
    let id = sys::random_bytes::<16>().map_err(io_error(path))?;
    let header = Header {
        format: FORMAT,
        id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
        chunks: HeaderChunks {
            algorithm: CHUNK_ALGORITHM.into(),
            min_bytes: options.chunks.min(),
            avg_bytes: options.chunks.avg(),
            max_bytes: options.chunks.max(),
        },
    };
    let file = path.join(HEADER_FILE);
    let text = toml::to_string(&header)
        .map_err(|error| StoreError::Header { path: file.clone(), why: error.to_string() })?;
    sys::publish(&file, text.as_bytes()).map_err(io_error(&file))
}

/// Makes the root and its first directories, owned by whoever makes the store.
fn populate(meta_path: &Path, clock: &dyn Clock) -> Result<(), meta::Error> {
    let meta = Meta::open(meta_path, None)?;
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

fn lock(path: &Path) -> Result<StoreLock, StoreError> {
    StoreLock::acquire(path).map_err(|error| match error {
        LockError::Held { pid } => StoreError::Locked { path: path.to_owned(), pid },
        LockError::Io(source) => StoreError::Io { path: path.join("lock"), source },
    })
}

/// Reads and checks `store.toml`.
fn read_header(path: &Path) -> Result<([u8; 16], ChunkParams), StoreError> {
    let file = path.join(HEADER_FILE);
    let text = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            store_exists(path)?;
            return Err(StoreError::Missing(path.to_owned()));
        }
        other => other.map_err(io_error(&file))?,
    };
    let wrong = |why: String| StoreError::Header { path: file.clone(), why };
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    match format {
        FORMAT => {}
        0 => return Err(wrong("there is no format 0: the file is damaged".into())),
        newer => {
            let path = path.to_owned();
            return Err(StoreError::Newer { path, found: newer, known: FORMAT });
        }
    }
    let header: Header = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if header.chunks.algorithm != CHUNK_ALGORITHM {
        return Err(wrong(format!("unknown chunking algorithm {:?}", header.chunks.algorithm)));
    }
    let HeaderChunks { min_bytes, avg_bytes, max_bytes, .. } = header.chunks;
    let params =
        ChunkParams::new(min_bytes, avg_bytes, max_bytes).map_err(|why| wrong(why.to_string()))?;
    let id = parse_id(&header.id).ok_or_else(|| wrong("the store's id is damaged".into()))?;
    Ok((id, params))
}

fn parse_id(text: &str) -> Option<[u8; 16]> {
    let value = u128::from_str_radix(text, 16).ok()?;
    (text.len() == 32).then(|| value.to_be_bytes())
}

impl Volume {
    /// Opens a store: takes its lock, and after an unclean stop puts right what a power cut may
    /// have torn.
    pub fn open_store(
        path: &Path,
        options: VolumeOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Volume>, StoreError> {
        let (id, chunk_params) = read_header(path)?;
        let lock = lock(path)?;
        let space = Space::new(path, options.reserve_bytes);
        if !options.read_only {
            space.make_room(2 * LOG_ROOM_BYTES);
        }
        let meta = Meta::open(&path.join(META_FILE), None).map_err(|error| match error {
            meta::Error::Newer { found, known } => {
                StoreError::Newer { path: path.to_owned(), found, known }
            }
            other => open_error(path, other),
        })?;
        let upkeep = Upkeep::since(meta.last_moment(), clock.now());
        if !options.read_only {
            await_last_moment(&meta, &*clock);
        }
        let disk = sys::disk_space(path).map_err(io_error(path))?;
        let pack_bytes = options.pack_bytes.min(disk.total / PACK_PART_OF_DISK).max(PACK_BYTES_MIN);
        let pack_options = PackOptions {
            target_bytes: pack_bytes,
            level: options.compression_level,
            cache_bytes: options.cache_bytes,
            read_only: options.read_only,
            keys: None,
        };
        let packs = PackStore::open(&path.join(PACKS_DIR), id, pack_options)
            .map_err(|error: chunks::Error| open_error(path, error))?;
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
            failure: Default::default(),
            _lock: lock,
            options,
        });
        if !volume.options.read_only {
            volume.space.hold_reserve();
            volume.workers.start(&Arc::downgrade(&volume), volume.options.seal_threads);
            volume.start_timer(Arc::downgrade(&volume));
        }
        Ok(volume)
    }
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
    fn somebody_elses_directory_is_left_alone() {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("verso.txt"), "").unwrap();
        assert!(matches!(store_exists(dir.path()), Err(StoreError::NotEmpty(_))));
    }

    #[test]
    fn only_a_later_format_is_called_newer() {
        let dir = TempDir::new().unwrap();
        create_store(dir.path(), &CreateOptions::default(), &SystemClock).unwrap();
        let file = dir.path().join(HEADER_FILE);
        let header = std::fs::read_to_string(&file).unwrap();
        let with_format = |format: u32| {
            let text = header.replace("format = 1", &format!("format = {format}"));
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, text).unwrap();
            read_header(dir.path())
        };
        assert!(with_format(1).is_ok());
        assert!(matches!(with_format(0), Err(StoreError::Header { .. })));
        assert!(matches!(with_format(2), Err(StoreError::Newer { found: 2, .. })));
    }
}
