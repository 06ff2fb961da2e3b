//! Making and opening stores with the settings.

use super::secrets::{self, Given};
use super::waited::waited;
use super::{failed, read_settings};
use crate::chunks::ChunkParams;
use crate::cli::{Exit, Failure, InitArgs, MountFlags, say};
use crate::config::{Atime, Config};
use crate::crypt::Secret;
use crate::fs::{self, AtimeMode, CreateOptions, NewKey, StoreError, Volume, VolumeOptions};
use crate::http::Client;
use crate::model::Zone;
use crate::sys::{self, SystemClock};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `verso init`
pub(super) fn init(args: &InitArgs, given: &Given) -> Result<(), Failure> {
    sys::make_private_files();
    let store = &args.store;
    let config = read_settings(given.config.as_deref(), None)?.config()?;
    if !args.encrypt {
        given.refuse_for_plain(store).map_err(|failure| failure.help("--encrypt encrypts it"))?;
        create(store, &config, None)?;
        say(&format!("made a store in {}", store.display()));
        return Ok(());
    }
    // Before anybody is asked for a passphrase.
    if fs::store_exists(store)? {
        return Err(StoreError::Exists(store.clone()).into());
    }
    let settings = &config.encryption;
    let (secret, place) = given.first_secret(store, settings)?;
    let key = NewKey { secret, label: String::new(), unlock_time: settings.unlock_time };
    let making = format!("making a store in {}", store.display());
    waited(making, || None, || create(store, &config, Some(key)))?;
    let store = store.display();
    say(&format!(
        "made an encrypted store in {store}; {place} opens it\n\
         Without that nobody can read what is in it, and nobody can help. Make a recovery key, print it, and\n\
         keep it in a safe place: verso key recovery {store}"
    ));
    Ok(())
}

/// Makes the store unless there is one; whether it was made.
pub(super) fn create_if_missing(store: &Path, config: &Config) -> Result<bool, Failure> {
    match fs::store_exists(store)? {
        true => Ok(false),
        false => create(store, config, None).map(|()| true),
    }
}

fn create(store: &Path, config: &Config, encryption: Option<NewKey>) -> Result<(), Failure> {
    let store_config = &config.store;
    let (min, avg) = (store_config.chunk_bytes_min, store_config.chunk_bytes_avg);
    let chunks = ChunkParams::new(min, avg, store_config.chunk_bytes_max)
        .map_err(|error| Failure::new(Exit::Usage, format!("the chunk sizes: {error}")))?;
    Ok(fs::create_store(store, &CreateOptions { chunks, encryption }, &SystemClock)?)
}

/// Opens the store, takes its lock and recovers what needs it.
pub(super) fn open(
    store: &Path,
    config: &Config,
    flags: &MountFlags,
    secret: Option<Arc<Secret>>,
) -> Result<Arc<Volume>, Failure> {
    let store = canonical(store)?;
    let options = volume_options(config, flags, secret);
    Ok(Volume::open_store(&store, options, Arc::new(SystemClock))?)
}

pub(super) fn canonical(store: &Path) -> Result<PathBuf, Failure> {
    store.canonicalize().map_err(|error| failed(Exit::Store, "cannot use the store", store, &error))
}

/// Who does what a command asks for: the store's daemon, or this process where there is none.
pub(super) enum Door {
    Daemon(Client),
    Offline(Box<Offline>),
}

impl Door {
    /// Asks for what unlocks the store, if there is no daemon.
    pub(super) fn of(daemon: Option<Client>, store: &Path, given: &Given) -> Result<Door, Failure> {
        match daemon {
            Some(daemon) => Ok(Door::Daemon(daemon)),
            None => Ok(Door::Offline(Box::new(Offline::new(store, given)?))),
        }
    }
}

/// A store that no daemon has, with everything that opening it takes.
pub(super) struct Offline {
    store: PathBuf,
    config: Config,
    secret: Option<Arc<Secret>>,
}

impl Offline {
    /// Reads the settings, and asks for what unlocks the store, if need be: so not while something else is shown.
    pub(super) fn new(store: &Path, given: &Given) -> Result<Offline, Failure> {
        sys::make_private_files();
        let mut config = read_settings(given.config.as_deref(), Some(store))?.config()?;
        // It is hidden from programs on the mount, if at all, and not from who has the store.
        config.history.directory = true;
        let store = canonical(store)?;
        let secret = given.secret(&store, &config.encryption)?;
        Ok(Offline { store, config, secret })
    }

    /// The settings.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Opens the store under its lock, does `work`, and closes it in order. Only what writes opens it for writing, which
    /// also recovers it after a crash.
    pub(super) fn with_volume<T>(
        &self,
        writes: bool,
        work: impl FnOnce(&Volume) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.with_shared(writes, |volume| work(volume))
    }

    /// The same as [`Offline::with_volume`], for work that holds on to the volume. It must let go of it.
    pub(super) fn with_shared<T>(
        &self,
        writes: bool,
        work: impl FnOnce(&Arc<Volume>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let flags = MountFlags { read_only: !writes, ..MountFlags::default() };
        let volume = open(&self.store, &self.config, &flags, self.secret.clone())?;
        let outcome = work(&volume);
        let closed = volume.close();
        let closed =
            closed.map_err(|error| failed(Exit::Store, "cannot close", &self.store, &error));
        let value = outcome?;
        closed.map(|()| value)
    }
}

/// How a volume is to behave.
pub(super) fn volume_options(
    config: &Config,
    flags: &MountFlags,
    secret: Option<Arc<Secret>>,
) -> VolumeOptions {
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
        secret,
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
            | StoreError::OldHeader { .. }
            | StoreError::Io { .. }
            | StoreError::Open { .. } => Exit::Store,
            StoreError::KeyNeeded(_)
            | StoreError::WrongKey(_)
            | StoreError::Mistyped { .. }
            | StoreError::SlotsLeft { .. } => Exit::Key,
            StoreError::NotEncrypted(_)
            | StoreError::NoSuchKey { .. }
            | StoreError::WeakKey(_)
            | StoreError::BadLabel => Exit::Usage,
            StoreError::LastKey(_) => Exit::Failure,
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
        StoreError::OldHeader { .. } => Some(
            "put the newer store.toml back; if it is lost, `verso key accept` goes on with this one",
        ),
        StoreError::Io { source, .. } => match source.kind() {
            PermissionDenied => Some("use the store as the user to whom it belongs, or as root"),
            ReadOnlyFilesystem => Some("a store needs a disk that can be written to"),
            StorageFull => Some("make room on the disk that the store is on"),
            NotADirectory => {
                Some("a store is a directory: name one, or a path where one can be made")
            }
            _ => None,
        },
        other => secrets::advice(other),
    }
}
