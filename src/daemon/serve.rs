//! The daemon: from an open store to a mounted drive, and back when it is to stop.

use super::check::check_volume;
use super::events::{self, Event};
use super::logger::{self, LogFile};
use super::plan::Plan;
use super::secrets::Given;
use super::status::volume_status;
use super::{backup, busy, concerns, failed, jobs, mountpoint, read_settings, store};
use crate::cli::{Exit, Failure, say};
use crate::config::Config;
use crate::crypt::Secret;
use crate::fs::{self, CheckOptions, CheckProgress, Volume};
use crate::fuse::{self, MountOptions, Mounted};
use crate::http::{Control, Refusal, Server, ServerOptions};
use crate::jobs::{Order, Scheduler};
use crate::model::{Ino, Zone, parse_when};
use crate::sys::{self, Clock, SystemClock, Task};
use parking_lot::Mutex;
use sd_notify::NotifyState;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, sync_channel};
use std::time::{Duration, Instant};

/// How soon a signal or a request is noticed.
const POLL: Duration = Duration::from_millis(100);

/// How long a stop waits for the kernel to hand over what programs wrote through mappings.
const WRITE_BACK_PATIENCE: Duration = Duration::from_secs(30);

/// Bounds of the threads that work on requests, when the settings leave it to us.
const THREADS_MIN: usize = 4;
const THREADS_MAX: usize = 16;

/// Who started the daemon and waits for it.
pub(super) trait Starter {
    /// Something that a person wants to know.
    fn say(&mut self, line: &str);
    /// Begins to log. Nothing before has been logged.
    fn start_log(&mut self, config: &Config, store: &Path) -> io::Result<Option<LogFile>>;
    /// The drive can be used.
    fn ready(&mut self);
}

/// A daemon in the foreground of a terminal or of systemd.
pub(super) struct Terminal;

impl Starter for Terminal {
    fn say(&mut self, line: &str) {
        say(line);
    }
    fn start_log(&mut self, config: &Config, _: &Path) -> io::Result<Option<LogFile>> {
        logger::to_terminal(&config.log);
        Ok(None)
    }
    fn ready(&mut self) {}
}

/// Mounts what `plan` says, and serves it until it is unmounted or a signal ends it.
pub(super) fn serve(plan: &Plan, given: &Given, starter: &mut dyn Starter) -> Result<(), Failure> {
    sys::make_private_files();
    sys::give_memory_back();
    let (sender, events) = events::listen()
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot take signals: {error}")))?;
    let drive = Drive::start(plan, given, starter, sender)?;
    log::info!("{} is mounted at {}", drive.store.display(), drive.mountpoint.display());
    tell_systemd(NotifyState::Ready);
    starter.ready();
    drive.serve_until_stopped(&events);
    drive.close()
}

pub(super) fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("cannot notify systemd: {error}");
    }
}

/// A mounted drive and what serves it.
struct Drive {
    store: PathBuf,
    mountpoint: PathBuf,
    config: Config,
    log: Option<LogFile>,
    volume: Arc<Volume>,
    is_encrypted: bool,
    mounted: Mounted,
    control: Option<Server>,
    /// The check that is running, or the last one.
    check: Arc<CheckProgress>,
    jobs: Option<Arc<Scheduler>>,
    stopping: Arc<AtomicBool>,
}

impl Drive {
    fn start(
        plan: &Plan,
        given: &Given,
        starter: &mut dyn Starter,
        events: Sender<Event>,
    ) -> Result<Drive, Failure> {
        let flags = &plan.flags;
        let mut config = read_settings(plan.config.as_deref(), Some(&plan.store))?.config()?;
        // A drive of the past is reached through it.
        config.history.directory |= flags.at.is_some();
        let mut heard = |line: &str| starter.say(line);
        jobs::check_schedules(&config)?;
        let mountpoint =
            mountpoint::prepare(&plan.store, &plan.mountpoint, flags.nonempty, &mut heard)?;
        refuse_allow_other(flags.allow_other)?;
        let secret = unlock(plan, given, &config)?;
        let is_encrypted = secret.is_some();
        if is_encrypted {
            logger::be_discreet();
        }
        if store::create_if_missing(&plan.store, &config)? {
            say_made(plan, &config, &mountpoint, starter);
        }
        let log = starter
            .start_log(&config, &plan.store)
            .map_err(|error| failed(Exit::Store, "cannot write the log in", &plan.store, &error))?;
        let volume = store::open(&plan.store, &config, flags, secret)?;
        given.forget();
        let store = volume.store_path().to_owned();
        let mut options = mount_options(plan, &config, &store);
        if let Some(at) = &flags.at {
            options.root = root_at(&volume, at)?;
        }
        let mounted = fuse::mount(Arc::clone(&volume), &mountpoint, &options)
            .map_err(|error| mount_failure(&volume, &mountpoint, &error))?;
        volume.tell_of_changes(Arc::new(mounted.kernel()));
        let check = Arc::new(CheckProgress::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let jobs = match flags.read_only {
            true => None,
            false => jobs::start(&volume, &config, fuse::requests)?.map(Arc::new),
        };
        let desk = Desk {
            check: Arc::clone(&check),
            jobs: jobs.clone(),
            config: config.clone(),
            checking: Mutex::new(()),
            volume: Arc::clone(&volume),
            mountpoint: mountpoint.clone(),
            read_only: flags.read_only,
            stopping: Arc::clone(&stopping),
            events,
        };
        let control = start_control(&store, &config, desk);
        Ok(Drive {
            store,
            mountpoint,
            config,
            log,
            volume,
            is_encrypted,
            mounted,
            control,
            check,
            jobs,
            stopping,
        })
    }

    /// Returns once the drive is out of the tree and nobody uses it, or the patience with those who
    /// do is at its end.
    fn serve_until_stopped(&self, events: &Receiver<Event>) {
        let mut repairs = jobs::Repairs::default();
        while !self.mounted.wait(POLL) {
            repairs.look(&self.volume, self.jobs.as_deref());
            match events.try_recv() {
                Ok(Event::Stop) => return self.stop(events),
                Ok(Event::ReopenLog) => self.reopen_log(),
                Ok(Event::Unmount { lazy, reply }) => {
                    // Whoever asked may be gone; the drive then ends all the same.
                    let _ = reply.send(self.mounted.unmount(lazy));
                }
                Err(_) => {}
            }
        }
        log::info!("{} was unmounted", self.mountpoint.display());
    }

    fn stop(&self, events: &Receiver<Event>) {
        log::info!("stopping");
        tell_systemd(NotifyState::Stopping);
        self.take_over_mappings();
        if let Err(error) = self.mounted.unmount(false) {
            let holders = busy::holders(&self.mountpoint);
            let holders = match self.is_encrypted {
                true => busy::describe_without_names(&holders),
                false => busy::describe(&holders),
            };
            log::warn!("{} is still in use: {error}\n{holders}", self.mountpoint.display());
            if let Err(error) = self.mounted.unmount(true) {
                log::error!("cannot unmount {}: {error}", self.mountpoint.display());
            }
        }
        let deadline = Instant::now() + self.config.mount.stop_grace;
        while !self.mounted.wait(POLL) && Instant::now() < deadline {
            if let Ok(Event::Stop) = events.try_recv() {
                log::info!("asked to stop again, not waiting for open files any longer");
                return;
            }
        }
    }

    /// Lets the kernel write out what programs changed in mapped files. On a thread of its own: this
    /// goes through the mount, which must not be able to hold up the stop.
    fn take_over_mappings(&self) {
        let (done, finished) = sync_channel(1);
        let mountpoint = self.mountpoint.clone();
        std::thread::spawn(move || {
            if let Err(error) = sys::sync_filesystem(&mountpoint) {
                log::warn!("cannot write back {}: {error}", mountpoint.display());
            }
            // Nobody listens any more when the patience was at its end.
            let _ = done.send(());
        });
        if finished.recv_timeout(WRITE_BACK_PATIENCE).is_err() {
            log::warn!("the kernel takes too long to write back; going on without");
        }
    }

    fn reopen_log(&self) {
        if let Some(Err(error)) = self.log.as_ref().map(LogFile::reopen) {
            log::error!("cannot open the log anew: {error}");
        }
    }

    /// Writes everything into the store. Its lock goes with the process.
    fn close(self) -> Result<(), Failure> {
        // A check holds a snapshot, which closing the metadata would wait for.
        self.check.stop();
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.control);
        // A request that is still being answered may hold them.
        self.jobs.iter().for_each(|jobs| jobs.stop());
        match self.volume.close() {
            Ok(()) => {
                log::info!("everything is in {}", self.store.display());
                Ok(())
            }
            Err(error) => {
                log::error!("cannot close the store in order: {error}");
                Err(failed(Exit::Failure, "cannot close in order", &self.store, &error)
                    .help("what was acknowledged is safe; see what is wrong with the disk"))
            }
        }
    }
}

fn say_made(plan: &Plan, config: &Config, mountpoint: &Path, starter: &mut dyn Starter) {
    starter.say(&format!("made a new store in {}", plan.store.display()));
    if config.history.directory {
        let versions = mountpoint.join(".versions");
        starter.say(&format!(
            "every folder has its past under the name .versions, as in {}",
            versions.display()
        ));
    }
}

/// What unlocks the store; `None` if it isn't encrypted, or is yet to be made.
fn unlock(plan: &Plan, given: &Given, config: &Config) -> Result<Option<Arc<Secret>>, Failure> {
    match fs::store_exists(&plan.store)? {
        true => given.secret(&plan.store, &config.encryption),
        false => given.refuse_for_none(&plan.store, &config.encryption).map(|()| None),
    }
}

/// The drive as it was: what `.versions/@at/TIME` shows.
fn root_at(volume: &Volume, time: &str) -> Result<Ino, Failure> {
    let now = SystemClock.now();
    parse_when(time, now, &Zone::system())
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let mut at = Ino::ROOT;
    for name in [".versions", "@at", time] {
        at = volume
            .lookup(at, name.as_bytes())
            .map_err(|error| {
                Failure::new(Exit::Store, format!("{time}: {error}"))
                    .help("nothing is kept of that time, or the store is younger")
            })?
            .ino;
    }
    Ok(at)
}

fn mount_options(plan: &Plan, config: &Config, store: &Path) -> MountOptions {
    let flags = &plan.flags;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (2 * processors).clamp(THREADS_MIN, THREADS_MAX);
    MountOptions {
        source: store.to_owned(),
        root: Ino::ROOT,
        read_only: flags.read_only,
        allow_other: flags.allow_other,
        dev: flags.dev.unwrap_or(false),
        suid: flags.suid.unwrap_or(false),
        exec: !flags.noexec,
        noatime: flags.atime.unwrap_or(config.mount.atime) == crate::config::Atime::Noatime,
        threads: flags.threads.or(config.mount.threads).map_or(threads, usize::from),
    }
}

/// fusermount3 refuses this with words that nobody understands.
fn refuse_allow_other(wanted: bool) -> Result<(), Failure> {
    if !wanted || sys::current_user().0 == 0 {
        return Ok(());
    }
    let permissions = std::fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    if permissions.lines().any(|line| line.trim() == "user_allow_other") {
        return Ok(());
    }
    let message = "allow_other is not permitted to ordinary users on this machine";
    Err(Failure::new(Exit::Usage, message)
        .help("add a line `user_allow_other` to /etc/fuse.conf as root, or leave the option out"))
}

fn mount_failure(volume: &Volume, mountpoint: &Path, error: &io::Error) -> Failure {
    if let Err(error) = volume.close() {
        log::error!("cannot close the store in order: {error}");
    }
    let failure = failed(Exit::Mountpoint, "cannot mount at", mountpoint, error);
    match Path::new("/dev/fuse").exists() {
        false => failure.help("there is no /dev/fuse: load the kernel's module (modprobe fuse)"),
        true => failure.help(
            "you need to be root, or own the mount point and have the package fuse3 installed",
        ),
    }
}

/// A drive without a control socket still is a drive: on some disks there are no sockets.
fn start_control(store: &Path, config: &Config, desk: Desk) -> Option<Server> {
    let options = ServerOptions { mode: config.control.socket_mode, uid: sys::current_user().0 };
    Server::start(store, options, Arc::new(desk))
        .inspect_err(|error| log::warn!("no control socket: {error}"))
        .ok()
}

fn told<T: serde::Serialize>(outcome: crate::fs::Result<T>) -> Result<Value, Refusal> {
    let told = outcome.map_err(|error| match error {
        crate::fs::Error::NotFound => Refusal::Missing(error.to_string()),
        _ => Refusal::Failed(error.to_string()),
    })?;
    serde_json::to_value(told).map_err(|error| Refusal::Failed(error.to_string()))
}

/// What the control socket can ask for.
struct Desk {
    check: Arc<CheckProgress>,
    /// Held by the one check that runs.
    checking: Mutex<()>,
    jobs: Option<Arc<Scheduler>>,
    config: Config,
    volume: Arc<Volume>,
    mountpoint: PathBuf,
    read_only: bool,
    /// What takes long is to end.
    stopping: Arc<AtomicBool>,
    events: Sender<Event>,
}

impl Desk {
    /// For what goes on until the daemon is to stop.
    fn until_stopping(&self) -> impl Task {
        sys::Until(|| self.stopping.load(Ordering::Relaxed))
    }
}

impl Control for Desk {
    fn status(&self) -> Result<Value, Refusal> {
        let status =
            volume_status(&self.volume).map_err(|error| Refusal::Failed(error.to_string()))?;
        let concerns = concerns::concerns(&self.volume, &self.config, self.jobs.as_deref())
            .map_err(|failure| Refusal::Failed(failure.message))?;
        Ok(json!({
            "store": self.volume.store_path(),
            "daemon": {
                "pid": std::process::id(),
                "version": env!("CARGO_PKG_VERSION"),
                "mountpoint": self.mountpoint,
                "read_only": self.read_only,
            },
            "jobs": self.jobs.as_ref().map(|jobs| jobs.state()),
            "concerns": concerns,
            "backups": backup::places(&self.volume, &self.config),
            "volume": status,
        }))
    }

    fn sync(&self) -> Result<(), Refusal> {
        self.volume.sync_all().map_err(|error| Refusal::Failed(error.to_string()))
    }

    fn check(&self, options: CheckOptions) -> Result<Value, Refusal> {
        let failed = |error: &dyn std::fmt::Display| Refusal::Failed(error.to_string());
        let Some(_one) = self.checking.try_lock() else {
            return Err(Refusal::Busy("another check is running".to_owned()));
        };
        let report = check_volume(&self.volume, &self.config, options, &self.check)
            .map_err(|error| failed(&error))?;
        serde_json::to_value(report).map_err(|error| failed(&error))
    }

    fn tidy(&self, floor: Option<Duration>) -> Result<Value, Refusal> {
        told(self.volume.upkeep(floor, Duration::ZERO, &self.until_stopping()))
    }

    fn preview(&self, floor: Option<Duration>, limit: usize) -> Result<Value, Refusal> {
        told(self.volume.preview(floor, limit))
    }

    fn room(&self) -> Result<Value, Refusal> {
        told(self.volume.room())
    }

    fn why(&self, path: &[u8]) -> Result<Value, Refusal> {
        told(self.volume.why(path))
    }

    fn space(&self, path: &[u8]) -> Result<Value, Refusal> {
        told(self.volume.space_of(path))
    }

    fn erase(&self, path: &[u8]) -> Result<Value, Refusal> {
        told(self.volume.erase_history(path, &self.until_stopping()))
    }

    fn jobs(&self) -> Result<Value, Refusal> {
        jobs::list(self.jobs.as_deref(), &self.volume, &self.config)
    }

    fn run_job(&self, name: &str, dry_run: bool, options: Value) -> Result<Value, Refusal> {
        jobs::run(self.jobs.as_deref(), name, Order { dry_run, options })
    }

    fn cancel_job(&self, name: &str) -> Result<(), Refusal> {
        jobs::cancel(self.jobs.as_deref(), name)
    }

    fn job_log(&self, name: &str, count: u32) -> Result<Value, Refusal> {
        jobs::log(&self.volume, &self.config, name, count)
    }

    fn unmount(&self, lazy: bool) -> Result<(), Refusal> {
        let (reply, outcome) = sync_channel(1);
        let stopping = |_| Refusal::Failed("the daemon is stopping".to_owned());
        self.events.send(Event::Unmount { lazy, reply }).map_err(|_| stopping(()))?;
        match outcome.recv().map_err(|_| stopping(()))? {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                Err(Refusal::Busy(mountpoint::busy_failure(&self.mountpoint).to_string()))
            }
            Err(error) => Err(Refusal::Failed(error.to_string())),
        }
    }
}
