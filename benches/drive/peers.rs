//! The filesystems that are compared: how each is mounted, and how each is taken away again, whatever happens.

use crate::Failure;
use crate::busy;
use parking_lot::Mutex;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a filesystem may take to mount before it counts as failed.
const MOUNT_WAIT: Duration = Duration::from_secs(30);
/// What Linux counts processor time in for programs, whatever the kernel itself ticks at.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long a daemon may take to end by itself after its mount is gone.
const END_WAIT: Duration = Duration::from_secs(60);

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A plain directory on the disk.
    Ext4,
    /// Debian's bindfs over another directory of the same disk.
    Bindfs,
    /// The bare filesystem in `memfs.rs`.
    Memfs,
    /// The release binary.
    Verso,
    /// The same, with an encrypted store.
    Encrypted,
    /// The same, with jobs that run all the time.
    Busy,
}

impl Kind {
    /// Those of the table in the README.
    pub(crate) const ALL: [Kind; 4] = [Kind::Ext4, Kind::Bindfs, Kind::Memfs, Kind::Verso];
    /// What encryption costs.
    pub(crate) const BOTH_VERSOS: [Kind; 2] = [Kind::Verso, Kind::Encrypted];
    /// What jobs cost that run meanwhile.
    pub(crate) const IDLE_AND_BUSY: [Kind; 2] = [Kind::Verso, Kind::Busy];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Bindfs => "bindfs",
            Kind::Memfs => "memory fs",
            Kind::Verso => "Verso",
            Kind::Encrypted => "Verso encrypted",
            Kind::Busy => "Verso with jobs",
        }
    }
}

/// One filesystem, mounted, with an empty directory to work in. Dropping it unmounts.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    /// The directory on it that the works use.
    pub(crate) work: PathBuf,
    /// Where Verso keeps its store.
    pub(crate) store: Option<PathBuf>,
    daemon: Option<Daemon>,
}

impl Peer {
    /// Mounts `kind` below `base`, which lies on the disk that all disk-backed peers share.
    pub(crate) fn start(kind: Kind, base: &Path, verso: &Path) -> Result<Peer, Failure> {
        let root = base.join(kind.title().replace(' ', "-"));
        let mountpoint = root.join("mnt");
        fs::create_dir_all(&mountpoint)?;
        let (daemon, store) = match kind {
            Kind::Ext4 => (None, None),
            Kind::Bindfs => (Some(start_bindfs(&root, &mountpoint)?), None),
            Kind::Memfs => (Some(start_memfs(&mountpoint)?), None),
            Kind::Verso => {
                let store = root.join("store");
                (Some(start_verso(verso, &store, &mountpoint)?), Some(store))
            }
            Kind::Busy => {
                let store = root.join("store");
                let mut command = verso_command(verso, &store, &mountpoint);
                command.envs(busy::SETTINGS);
                let daemon = Daemon::start(command, &mountpoint)?;
                busy::fill(&mountpoint)?;
                (Some(daemon), Some(store))
            }
            Kind::Encrypted => {
                let store = root.join("store");
                (Some(start_encrypted(verso, &root, &store, &mountpoint)?), Some(store))
            }
        };
        let work = mountpoint.join("work");
        fs::create_dir(&work)?;
        Ok(Peer { kind, work, store, daemon })
    }

    /// Highest resident memory of the daemon so far, in bytes; none for a plain directory.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        self.daemon.as_ref().and_then(|daemon| daemon.memory("VmHWM:"))
    }
}

fn start_bindfs(root: &Path, mountpoint: &Path) -> Result<Daemon, Failure> {
    let back = root.join("back");
    fs::create_dir_all(&back)?;
    let mut command = Command::new("bindfs");
    command.arg("-f").arg(back).arg(mountpoint);
    Daemon::start(command, mountpoint)
}

fn start_memfs(mountpoint: &Path) -> Result<Daemon, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("memfs").arg(mountpoint);
    let daemon = Daemon::start(command, mountpoint)?;
    raise_read_ahead(mountpoint);
    Ok(daemon)
}

/// As Verso does for its own mount when root runs it: the kernel reads 1 MiB ahead instead of 128 KiB.
fn raise_read_ahead(mountpoint: &Path) {
    let Ok(meta) = fs::metadata(mountpoint) else { return };
    let (major, minor) = (libc::major(meta.dev()), libc::minor(meta.dev()));
    let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = fs::write(&setting, "1024") {
        eprintln!("{setting}: {error}");
    }
}

/// `verso mount STORE MOUNTPOINT --foreground`.
pub(crate) fn start_verso(
    verso: &Path,
    store: &Path,
    mountpoint: &Path,
) -> Result<Daemon, Failure> {
    Daemon::start(verso_command(verso, store, mountpoint), mountpoint)
}

/// The same over an encrypted store, which is made first.
fn start_encrypted(
    verso: &Path,
    root: &Path,
    store: &Path,
    mountpoint: &Path,
) -> Result<Daemon, Failure> {
    let key_file = root.join("key");
    let mut key = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    fs::write(&key_file, key)?;
    let mut init = Command::new(verso);
    init.args(["init", "--encrypt", "--key-file"]).arg(&key_file).arg(store);
    let made = init.stdin(Stdio::null()).output()?;
    if !made.status.success() {
        return Err(Failure(String::from_utf8_lossy(&made.stderr).into_owned()));
    }
    let mut command = verso_command(verso, store, mountpoint);
    command.env("VERSO_ENCRYPTION__KEY_FILE", key_file);
    Daemon::start(command, mountpoint)
}

/// The same with each save a version of its own; all else as it comes.
pub(crate) fn start_verso_exact(
    verso: &Path,
    store: &Path,
    mountpoint: &Path,
) -> Result<Daemon, Failure> {
    let mut command = verso_command(verso, store, mountpoint);
    command.env("VERSO_HISTORY__SLOT", "0s");
    Daemon::start(command, mountpoint)
}

fn verso_command(verso: &Path, store: &Path, mountpoint: &Path) -> Command {
    let mut command = Command::new(verso);
    command.arg("mount").arg(store).arg(mountpoint).arg("--foreground");
    command.env("VERSO_LOG__LEVEL", "warn");
    command
}

/// A process that serves a mount. Dropping it unmounts and waits for the process.
pub(crate) struct Daemon {
    mountpoint: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts `command` and waits until `mountpoint` is another device than its parent.
    fn start(mut command: Command, mountpoint: &Path) -> Result<Daemon, Failure> {
        let program = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| Failure(format!("{program}: {error}")))?;
        CLEANUP.lock().mounts.push((mountpoint.to_owned(), child.id()));
        let mut daemon = Daemon { mountpoint: mountpoint.to_owned(), child };
        let begun = Instant::now();
        while !is_mounted(mountpoint) {
            if let Some(status) = daemon.child.try_wait()? {
                return Err(Failure(format!("{program} ended with {status} before it mounted")));
            }
            if begun.elapsed() > MOUNT_WAIT {
                return Err(Failure(format!("{program} did not mount in {MOUNT_WAIT:?}")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(daemon)
    }

    /// A line of `/proc/PID/status` (`VmHWM:`, `VmRSS:`), in bytes.
    pub(crate) fn memory(&self, line: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let text = status.lines().find_map(|l| l.strip_prefix(line))?;
        let kib: u64 = text.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kib * 1024)
    }

    /// Processor time that the process has taken so far, in seconds; 0 when it has ended.
    pub(crate) fn processor_seconds(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The name, in brackets, may hold anything; user and system time are the 12th and 13th field after it.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 =
            fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        ticks as f64 / TICKS_PER_SECOND
    }

    fn wait_for_end(&mut self) {
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > END_WAIT {
                eprintln!("{}: its daemon did not end; killed", self.mountpoint.display());
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        unmount(&self.mountpoint);
        self.wait_for_end();
        CLEANUP.lock().mounts.retain(|(mountpoint, _)| *mountpoint != self.mountpoint);
    }
}

fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    let (own, parent) = (device(path), path.parent().and_then(device));
    own.is_some() && own != parent
}

/// Unmounts politely, and detaches the mount when it is busy.
fn unmount(mountpoint: &Path) {
    let attempts: [&[&str]; 4] =
        [&["fusermount3", "-u"], &["umount"], &["fusermount3", "-uz"], &["umount", "-l"]];
    for attempt in attempts {
        let done = Command::new(attempt[0])
            .args(&attempt[1..])
            .arg(mountpoint)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if done {
            return;
        }
    }
}

/// What is to be taken away when the program is interrupted.
#[derive(Default)]
struct Cleanup {
    mounts: Vec<(PathBuf, u32)>,
    base: Option<PathBuf>,
}

static CLEANUP: Mutex<Cleanup> = Mutex::new(Cleanup { mounts: Vec::new(), base: None });

/// The directory below which everything lies; removed when dropped, and on an interrupt.
pub(crate) struct Base(pub(crate) PathBuf);

impl Base {
    /// Makes a directory of its own below `dir` and watches for SIGINT and SIGTERM.
    pub(crate) fn create(dir: &Path) -> Result<Base, Failure> {
        let base = dir.join(format!("drive-{}", std::process::id()));
        fs::create_dir_all(&base)?;
        let base = base.canonicalize()?;
        CLEANUP.lock().base = Some(base.clone());
        let mut signals = signal_hook::iterator::Signals::new([
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGTERM,
        ])?;
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                clean_up_now();
                std::process::exit(128 + signal);
            }
        });
        Ok(Base(base))
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        remove_base(&self.0);
    }
}

/// The files go only when nothing is mounted below any more: removing must never reach into a live mount.
fn remove_base(base: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if mounts.contains(&format!(" {}/", base.display())) {
        eprintln!("{}: something is still mounted below; left in place", base.display());
        return;
    }
    if let Err(error) = fs::remove_dir_all(base) {
        eprintln!("{}: could not be removed: {error}", base.display());
    }
}

fn clean_up_now() {
    let cleanup = std::mem::take(&mut *CLEANUP.lock());
    for (mountpoint, pid) in &cleanup.mounts {
        unmount(mountpoint);
        let _ = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
    }
    std::thread::sleep(Duration::from_secs(1));
    if let Some(base) = cleanup.base {
        remove_base(&base);
    }
}
