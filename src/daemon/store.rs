//! Making and opening stores with the settings.

use super::{failed, read_settings};
use crate::chunks::ChunkParams;
use crate::cli::{Exit, Failure, MountFlags, say};
use crate::config::{Atime, Config};
use crate::fs::{self, AtimeMode, CreateOptions, StoreError, Volume, VolumeOptions};
use crate::model::Zone;
use crate::sys::{self, SystemClock};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// `verso init`
pub(super) fn init(store: &Path, config: Option<&Path>) -> Result<(), Failure> {
    sys::make_private_files();
    let config = read_settings(config, None)?.config()?;
    create(store, &config)?;
    say(&format!("made a store in {}", store.display()));
    Ok(())
}

/// Makes the store unless there is one; whether it was made.
pub(super) fn create_if_missing(store: &Path, config: &Config) -> Result<bool, Failure> {
    match fs::store_exists(store)? {
        true => Ok(false),
        false => create(store, config).map(|()| true),
    }
}

fn create(store: &Path, config: &Config) -> Result<(), Failure> {
    let store_config = &config.store;
    let (min, avg) = (store_config.chunk_bytes_min, store_config.chunk_bytes_avg);
    let chunks = ChunkParams::new(min, avg, store_config.chunk_bytes_max)
        .map_err(|error| Failure::new(Exit::Usage, format!("the chunk sizes: {error}")))?;
    Ok(fs::create_store(store, &CreateOptions { chunks, encryption: None }, &SystemClock)?)
}

/// Opens the store, takes its lock and recovers what needs it.
pub(super) fn open(
    store: &Path,
    config: &Config,
    flags: &MountFlags,
) -> Result<Arc<Volume>, Failure> {
    let store = store
        .canonicalize()
        .map_err(|error| failed(Exit::Store, "cannot use the store", store, &error))?;
    Ok(Volume::open_store(&store, volume_options(config, flags), Arc::new(SystemClock))?)
}

/// Opens a store that no daemon has, under its lock, does `work`, and closes it in order. Only what writes opens it for
/// writing, which also recovers it after a crash.
pub(super) fn with_volume<T>(
    store: &Path,
    config: Option<&Path>,
    writes: bool,
    work: impl FnOnce(&Volume) -> Result<T, Failure>,
) -> Result<T, Failure> {
    sys::make_private_files();
    let mut config = read_settings(config, Some(store))?.config()?;
    // It is hidden from programs on the mount, if at all, and not from who has the store.
    config.history.directory = true;
    let flags = MountFlags { read_only: !writes, ..MountFlags::default() };
    let volume = open(store, &config, &flags)?;
    let outcome = work(&volume);
    let closed = volume.close().map_err(|error| failed(Exit::Store, "cannot close", store, &error));
    let value = outcome?;
    closed.map(|()| value)
}

fn volume_options(config: &Config, flags: &MountFlags) -> VolumeOptions {
    let store = &config.store;
    VolumeOptions {
        read_only: flags.read_only,
        dirty_bytes_max: store.dirty_bytes_max,
        cache_bytes: store.cache_bytes_max,
        sync_interval: store.sync_interval,
        reserve_bytes: store.reserve_bytes,
        stages: config.tree.stages.clone(),
        atime: match flags.atime.unwrap_or(config.mount.atime) {
            Atime::Relatime => AtimeMode::Relatime,
            Atime::Noatime => AtimeMode::Noatime,
        },
        compression_level: store.compression_level,
        pack_bytes: store.pack_bytes_target,
        coalesce: config.history.slot,
        history_dir: config.history.directory,
        history_listed: config.history.listed || flags.versions,
        retention: config.retention.policy.clone(),
        rules: config.rules.clone(),
        zone: Zone::system(),
        ..VolumeOptions::default()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let exit = match &error {
            StoreError::Locked { .. } => Exit::Locked,
            StoreError::Missing(_)
            | StoreError::NotEmpty(_)
            | StoreError::Exists(_)
            | StoreError::Newer { .. }
            | StoreError::Header { .. }
            | StoreError::Io { .. }
            | StoreError::Open { .. }
            | StoreError::KeyNeeded(_)
            | StoreError::WrongKey(_)
            | StoreError::Mistyped { .. }
            | StoreError::NotEncrypted(_)
            | StoreError::LastKey(_)
            | StoreError::NoSuchKey { .. }
            | StoreError::SlotsLeft { .. }
            | StoreError::WeakKey(_) => Exit::Store,
        };
        let failure = Failure::new(exit, error.to_string());
        match advice(&error) {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

/// What to do, where the error does not say it itself.
fn advice(error: &StoreError) -> Option<&'static str> {
    use io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem, StorageFull};
    match error {
        StoreError::Header { .. } => {
            Some("store.toml says how to read everything else: put back an intact copy of it")
        }
        StoreError::Io { source, .. } => match source.kind() {
            PermissionDenied => Some("use the store as the user to whom it belongs, or as root"),
            ReadOnlyFilesystem => Some("a store needs a disk that can be written to"),
            StorageFull => Some("make room on the disk that the store is on"),
            NotADirectory => {
                Some("a store is a directory: name one, or a path where one can be made")
            }
            _ => None,
        },
        _ => None,
    }
}
