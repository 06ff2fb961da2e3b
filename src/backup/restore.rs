//! A store out of a generation.
//!
//! The header comes last: before, there is no store. A pack appears under its name when it is whole and on the disk; so a restore that was
//! interrupted goes on with the packs that it lacks.

use super::blocks::BlockReader;
use super::catalog::PackLists;
use super::damaged;
use super::location::Location;
use super::manifest::{Manifest, Pack, StoredFile};
use super::packs::RemotePacks;
use super::parallel::each;
use super::{Error, Result};
use crate::model::PackId;
use crate::sys::{self, Task, failpoint};
use serde::{Deserialize, Serialize};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Says which generation is being restored into a directory.
const RESTORING: &str = "restoring.json";
/// What makes a directory a store.
const HEADER: &str = "store.toml";
const PACKS_DIR: &str = "packs";
/// Room that is left on the disk beside what is restored.
const ROOM_BYTES: u64 = 64 << 20;

/// What is being restored.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Restoring {
    store: String,
    generation: String,
}

/// What a restore came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The generation.
    pub generation: String,
    /// Its newest moment, in nanoseconds since 1970.
    pub moment: i64,
    /// Bytes of all its packs.
    pub pack_bytes: u64,
    /// Bytes of packs that were fetched.
    pub fetched_bytes: u64,
}

/// Makes the store of a generation in the directory `store`: a missing or empty one, or one in which this was interrupted before.
///
/// # Errors
/// `Occupied` where something else is there; `Stopped`; `Damaged` where the location's copy is; `Io`.
pub fn restore(
    location: &Location,
    manifest: &Manifest,
    store: &Path,
    connections: usize,
    task: &dyn Task,
) -> Result<Restored> {
    task.step("reading what is to be fetched");
    let packs = PackLists::new(location).packs(manifest)?;
    begin(manifest, store)?;
    let packs_dir = store.join(PACKS_DIR);
    // Once the header is there it is a store, which may have been used since: its packs are no longer what was fetched.
    let is_store = store.join(HEADER).exists();
    let is_missing = |pack: &&Pack| !is_store && !is_there(&packs_dir, pack);
    let missing: Vec<&Pack> = packs.iter().filter(is_missing).collect();
    refuse_full(store, &missing, manifest)?;
    task.step("fetching packs");
    let all: u64 = packs.iter().map(Pack::bytes).sum();
    let fetched_bytes: u64 = missing.iter().map(|pack| pack.bytes()).sum();
    let done = AtomicU64::new(all - fetched_bytes);
    each(&missing, connections, |pack| {
        fetch(location, manifest, pack, &packs_dir, task)?;
        let bytes = pack.bytes();
        task.progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, all);
        Ok(())
    })?;
    sync_dir(&packs_dir)?;
    failpoint::hit("restore-after-packs");
    task.step("fetching the metadata");
    let mut reader = BlockReader::new(location, manifest);
    for file in manifest.store_files().filter(|_| !is_store) {
        let path = store.join(&file.name);
        let temporary = path.with_extension("tmp");
        fetch_file(&mut reader, file, &temporary, task)?;
        std::fs::rename(&temporary, &path).map_err(io_error(&path))?;
        sync_dir(store)?;
        failpoint::hit("restore-after-file");
    }
    let mark = store.join(RESTORING);
    std::fs::remove_file(&mark).map_err(io_error(&mark))?;
    sync_dir(store)?;
    let (generation, moment) = (manifest.generation.clone(), manifest.moment);
    Ok(Restored { generation, moment, pack_bytes: all, fetched_bytes })
}

/// Puts everything but the packs of a generation into an empty directory, and answers where the packs come from: for a store that is read
/// only, and only in part.
pub fn prepare(
    location: &Arc<Location>,
    manifest: &Manifest,
    scratch: &Path,
    cache_bytes_max: u64,
    task: &dyn Task,
) -> Result<RemotePacks> {
    let packs_dir = scratch.join(PACKS_DIR);
    std::fs::create_dir_all(&packs_dir).map_err(io_error(&packs_dir))?;
    let mut reader = BlockReader::new(location, manifest);
    for file in manifest.store_files() {
        fetch_file(&mut reader, file, &scratch.join(&file.name), task)?;
    }
    RemotePacks::new(location, manifest, cache_bytes_max)
}

/// Takes the directory for this restore.
fn begin(manifest: &Manifest, store: &Path) -> Result<()> {
    let mine = Restoring { store: manifest.store.clone(), generation: manifest.generation.clone() };
    let mark = store.join(RESTORING);
    match std::fs::read(&mark) {
        Ok(text) => {
            let found: Option<Restoring> = serde_json::from_slice(&text).ok();
            return match found.as_ref() == Some(&mine) {
                true => make_packs_dir(store),
                false => Err(Error::Occupied {
                    path: store.to_owned(),
                    generation: found.map(|found| found.generation),
                }),
            };
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(&mark)(error)),
    }
    std::fs::create_dir_all(store).map_err(io_error(store))?;
    let mut names = std::fs::read_dir(store).map_err(io_error(store))?;
    if names.any(|name| name.is_ok_and(|name| !is_leftover(&name.file_name()))) {
        return Err(Error::Occupied { path: store.to_owned(), generation: None });
    }
    let text = serde_json::to_vec(&mine).expect("it has nothing that JSON lacks");
    sys::publish(&mark, &text).map_err(io_error(&mark))?;
    make_packs_dir(store)?;
    if let Some(parent) = store.parent().filter(|parent| parent.is_dir()) {
        sync_dir(parent)?;
    }
    Ok(())
}

/// What every ext4 has, and what a restore leaves that was killed while it took the directory.
fn is_leftover(name: &std::ffi::OsStr) -> bool {
    name == "lost+found" || name == ".restoring.json.tmp"
}

fn make_packs_dir(store: &Path) -> Result<()> {
    let packs_dir = store.join(PACKS_DIR);
    std::fs::create_dir_all(&packs_dir).map_err(io_error(&packs_dir))
}

fn refuse_full(store: &Path, missing: &[&Pack], manifest: &Manifest) -> Result<()> {
    let files = manifest.store_files().map(|file| file.len);
    let lens = files.chain(missing.iter().map(|pack| pack.bytes()));
    let needed = lens.fold(ROOM_BYTES, u64::saturating_add);
    let available = sys::disk_space(store).map_err(io_error(store))?.available;
    match needed <= available {
        true => Ok(()),
        false => Err(Error::NoRoom { path: store.to_owned(), needed, available }),
    }
}

/// Brings a pack under its name, whole and on the disk.
fn fetch(
    location: &Location,
    manifest: &Manifest,
    pack: &Pack,
    directory: &Path,
    task: &dyn Task,
) -> Result<()> {
    let path = pack_path(directory, pack.id());
    let temporary = path.with_extension("tmp");
    fetch_pack(location, manifest, pack, &temporary, task)?;
    let finish = || {
        let file = File::open(&temporary)?;
        file.sync_all()?;
        if pack.sealed {
            // The store's next start then need not look at it.
            file.set_permissions(Permissions::from_mode(0o400))?;
        }
        std::fs::rename(&temporary, &path)
    };
    finish().map_err(io_error(&path))?;
    failpoint::hit("restore-after-pack");
    Ok(())
}

/// Writes a pack to `path`, each part verified.
pub(super) fn fetch_pack(
    location: &Location,
    manifest: &Manifest,
    pack: &Pack,
    path: &Path,
    task: &dyn Task,
) -> Result<()> {
    let mut file = File::create(path).map_err(io_error(path))?;
    for part in &pack.parts {
        if task.is_stopped() {
            return Err(Error::Stopped);
        }
        task.pace(part.len);
        let key = manifest.part_key(pack.id(), part);
        let bytes = location.get(&key)?;
        if bytes.len() as u64 != part.len || *blake3::hash(&bytes).as_bytes() != part.hash {
            let error = Error::damaged(location.name(), &key, "its bytes are not what they were");
            damaged::note(location, &error);
            return Err(error);
        }
        file.write_all(&bytes).map_err(io_error(path))?;
    }
    Ok(())
}

fn fetch_file(
    reader: &mut BlockReader<'_>,
    file: &StoredFile,
    path: &Path,
    task: &dyn Task,
) -> Result<()> {
    let mut out = File::create(path).map_err(io_error(path))?;
    reader.copy(file, &mut out, task)?;
    out.sync_all().map_err(io_error(path))
}

/// Whether a pack was fetched before: it gets its name when it is whole.
fn is_there(directory: &Path, pack: &Pack) -> bool {
    let found = std::fs::metadata(pack_path(directory, pack.id()));
    found.is_ok_and(|found| found.len() == pack.bytes())
}

fn pack_path(directory: &Path, pack: PackId) -> PathBuf {
    directory.join(format!("{pack}.pack"))
}

fn sync_dir(path: &Path) -> Result<()> {
    sys::sync_dir(path).map_err(io_error(path))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}
