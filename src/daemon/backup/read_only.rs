//! A generation as a volume that is read straight from its location: to mount it.

use crate::backup::Location;
use crate::backup::{self, LocationSpec};
use crate::cli::MountFlags;
use crate::cli::{Exit, Failure, say};
use crate::config::Config;
use crate::crypt::Secret;
use crate::daemon::jobs::backups::with_location;
use crate::daemon::jobs::scratch::Scratch;
use crate::daemon::secrets::Given;
use crate::daemon::waited::waited_task;
use crate::daemon::{events, failed, logger, mountpoint, read_settings, store};
use crate::fs::{self, Volume, VolumeOptions};
use crate::fuse::{self, MountOptions};
use crate::model::{Moment, Zone, local_name};
use crate::sys::SystemClock;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of packs that are kept on the disk at a time.
const SCRATCH_BYTES: u64 = 4 << 30;
/// How soon a signal is noticed.
const POLL: Duration = Duration::from_millis(100);

/// A generation that is open, and the directory that goes with it.
pub(super) struct Opened {
    pub(super) volume: Arc<Volume>,
    pub(super) moment: Moment,
    _scratch: Scratch,
}

/// Opens a generation: its metadata is fetched whole, packs when they are read.
pub(super) fn open(
    spec: &LocationSpec,
    generation: Option<&str>,
    scratch: Option<&Path>,
    given: &Given,
) -> Result<Opened, Failure> {
    crate::sys::make_private_files();
    let config = read_settings(given.config.as_deref(), None)?.config()?;
    let scratch = Scratch::new(scratch)?;
    let (packs, manifest) = waited_task(format!("asking {}", spec.name), |task| {
        with_location(spec, task, |location: &Arc<Location>| {
            let manifest = backup::find(location, generation)?;
            let packs = backup::prepare(location, &manifest, scratch.path(), SCRATCH_BYTES, task)?;
            Ok((packs, manifest))
        })
        .map_err(Failure::from)
    })?;
    let secret = secret(scratch.path(), &config, given)?;
    let flags = MountFlags { read_only: true, ..MountFlags::default() };
    let options = VolumeOptions {
        pack_source: Some(Arc::new(packs)),
        history_dir: true,
        ..store::volume_options(&config, &flags, secret)
    };
    let volume = Volume::open_store(scratch.path(), options, Arc::new(SystemClock))?;
    Ok(Opened { volume, moment: manifest.moment(), _scratch: scratch })
}

fn secret(store: &Path, config: &Config, given: &Given) -> Result<Option<Arc<Secret>>, Failure> {
    match fs::is_encrypted(store)? {
        true => given.secret(store, &config.encryption),
        false => Ok(None),
    }
}

/// `verso backup mount`: until a signal, or until it is unmounted.
pub(super) fn mount(
    spec: &LocationSpec,
    generation: Option<&str>,
    at: &Path,
    scratch: Option<&Path>,
    given: &Given,
) -> Result<(), Failure> {
    let config = read_settings(given.config.as_deref(), None)?.config()?;
    logger::to_terminal(&config.log);
    let (_, events) = events::listen()
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot take signals: {error}")))?;
    let opened = open(spec, generation, scratch, given)?;
    let store = opened.volume.store_path();
    let mountpoint = mountpoint::prepare(store, at, false, &mut |line: &str| say(line))?;
    let options =
        MountOptions { source: store.to_owned(), read_only: true, ..MountOptions::default() };
    let mounted = fuse::mount(Arc::clone(&opened.volume), &mountpoint, &options)
        .map_err(|error| failed(Exit::Mountpoint, "cannot mount at", &mountpoint, &error))?;
    say(&format!(
        "the drive as of {} is mounted at {}, for reading; Ctrl-C takes it away",
        local_name(opened.moment, &Zone::system()),
        mountpoint.display()
    ));
    while !mounted.wait(POLL) {
        if let Ok(events::Event::Stop) = events.try_recv() {
            let gone = mounted.unmount(false).or_else(|_| mounted.unmount(true));
            return gone
                .map_err(|error| failed(Exit::Mountpoint, "cannot unmount", &mountpoint, &error));
        }
    }
    Ok(())
}
