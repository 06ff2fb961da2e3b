//! Mounting a volume and taking the mount away again.

use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, Notifier, Session, SessionACL};

use super::adapter::Adapter;
use super::kernel::Kernel;
use super::privileges::LateNotifier;
use crate::fs::Volume;
use crate::model::Ino;
use crate::sys::{self, mounts};

/// How far the kernel reads ahead of a sequential reader, in KiB. Its own default, 128, makes every
/// sequential read eight times as many requests.
const READ_AHEAD_KIB: u32 = 1024;

/// How a volume is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// What `mount` and `df` show as the source: the path of the store.
    pub source: PathBuf,
    /// The directory, or the view of one, that becomes the root of the mount.
    pub root: Ino,
    /// Nothing can be changed through the mount.
    pub read_only: bool,
    /// Other users than the one who mounts may come in; the kernel checks their permissions.
    pub allow_other: bool,
    /// Device nodes work (only root may ask for it).
    pub dev: bool,
    /// Set-user-id bits work (only root may ask for it).
    pub suid: bool,
    /// Programs can be run.
    pub exec: bool,
    /// Access times are shown as not kept (`noatime` in the list of mounts).
    pub noatime: bool,
    /// How many requests are worked on at a time.
    pub threads: usize,
}

impl Default for MountOptions {
    fn default() -> Self {
        MountOptions {
            source: PathBuf::from("verso"),
            root: Ino::ROOT,
            read_only: false,
            allow_other: false,
            dev: false,
            suid: false,
            exec: true,
            noatime: false,
            threads: 8,
        }
    }
}

impl MountOptions {
    /// The same in fuser's words.
    fn config(&self) -> Config {
        let mut config = Config::default();
        config.acl = if self.allow_other { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(self.threads.max(1));
        config.clone_fd = self.threads > 1;
        config.mount_options = vec![
            MountOption::FSName(self.source.to_string_lossy().into_owned()),
            // As a plain option the subtype reaches the kernel on both ways of mounting; fuser's own
            // `Subtype` only reaches fusermount3.
            MountOption::CUSTOM("subtype=verso".into()),
            MountOption::DefaultPermissions,
        ];
        let chosen = [
            (self.read_only, MountOption::RO),
            (self.dev, MountOption::Dev),
            (self.suid, MountOption::Suid),
            (!self.exec, MountOption::NoExec),
            (self.noatime, MountOption::NoAtime),
        ];
        config.mount_options.extend(chosen.into_iter().filter(|(on, _)| *on).map(|(_, o)| o));
        config
    }
}

/// A volume that is mounted. Dropping it leaves the mount where it is.
pub struct Mounted {
    mountpoint: PathBuf,
    /// The number that the kernel gave this mount, as its list of mounts shows it.
    device: String,
    ended: Receiver<()>,
    notifier: Notifier,
    /// Never dropped: fuser 0.18 would then unmount by path, also when our mount is long gone and
    /// another one has taken its place.
    _session: ManuallyDrop<BackgroundSession>,
}

/// Mounts `volume` at `mountpoint`, which must be a directory, and serves it from threads of its own.
/// Works for root and, through fusermount3, for any user.
///
/// # Errors
/// What mount(2) or fusermount3 say.
pub fn mount(
    volume: Arc<Volume>,
    mountpoint: &Path,
    options: &MountOptions,
) -> io::Result<Mounted> {
    let mountpoint = mountpoint.canonicalize()?;
    let (tell, ended) = mpsc::sync_channel(1);
    let notifier = LateNotifier::default();
    let adapter = Adapter::new(volume, options.root, Arc::clone(&notifier), tell);
    let session = Session::new(adapter, &mountpoint, &options.config())?;
    notifier.get_or_init(|| session.notifier());
    let session = ManuallyDrop::new(session.spawn()?);
    // From the list, not by `stat`: that would ask the filesystem that we are ourselves, and a process that
    // is killed while it waits for its own answer can't die.
    let mount = mounts::at(&mountpoint)?.ok_or(io::ErrorKind::NotFound)?;
    raise_read_ahead(&mount.device);
    let device = mount.device;
    Ok(Mounted { mountpoint, device, ended, notifier: session.notifier(), _session: session })
}

impl Mounted {
    /// Where it is mounted.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// For telling the kernel what changed without it. Never to be used from a handler (but as `privileges.rs`
    /// does) or under a lock that a handler takes.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// The kernel's memory of this mount, to be told of changes that did not come through it.
    pub fn kernel(&self) -> Kernel {
        Kernel::new(self.notifier())
    }

    /// Waits until the mount has ended, whoever ended it; `false` when `timeout` came first.
    pub fn wait(&self, timeout: Duration) -> bool {
        !matches!(self.ended.recv_timeout(timeout), Err(RecvTimeoutError::Timeout))
    }

    /// Waits until the mount has ended, whoever ended it.
    pub fn join(self) {
        // The sender is gone without a word where a loop of fuser died: that is the end as well.
        let _ = self.ended.recv();
    }

    /// Takes the mount away. With `lazy` also when it is busy: it disappears at once and ends when the
    /// last file in it is closed. Waiting for that end is for [`Mounted::join`].
    ///
    /// # Errors
    /// `ResourceBusy` when it is busy and not `lazy`; the mount stays.
    pub fn unmount(&self, lazy: bool) -> io::Result<()> {
        if !self.is_on_top()? {
            return Ok(());
        }
        match sys::mount::unmount(&self.mountpoint, lazy) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                fusermount(&self.mountpoint, lazy)
            }
            done => done,
        }
    }

    /// Whether our mount is what the mount point shows; not so when somebody unmounted it before us.
    ///
    /// # Errors
    /// `ResourceBusy` when another filesystem is mounted over it.
    fn is_on_top(&self) -> io::Result<bool> {
        if !mounts::all()?.iter().any(|mount| mount.device == self.device) {
            return Ok(false);
        }
        match mounts::at(&self.mountpoint)? {
            Some(top) if top.device != self.device => Err(io::ErrorKind::ResourceBusy.into()),
            _ => Ok(true),
        }
    }
}

/// Unmounts as an ordinary user may.
fn fusermount(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let mut command = Command::new("fusermount3");
    command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(mountpoint);
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let busy = said.to_lowercase().contains("busy");
    let kind = if busy { io::ErrorKind::ResourceBusy } else { io::ErrorKind::Other };
    Err(io::Error::new(kind, said))
}

/// Best effort: only root may, and a drive with the kernel's own read-ahead is only slower.
fn raise_read_ahead(device: &str) {
    let setting = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = fs::write(&setting, READ_AHEAD_KIB.to_string()) {
        log::debug!("read-ahead stays as it is: {setting}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_reach_fuser() {
        let options = MountOptions { suid: true, dev: true, exec: false, ..Default::default() };
        let config = options.config();
        for expected in [MountOption::Suid, MountOption::Dev, MountOption::NoExec] {
            assert!(config.mount_options.contains(&expected), "{expected:?}");
        }
        assert!(!config.mount_options.contains(&MountOption::RO));
        assert_eq!(config.acl, SessionACL::Owner);
    }

    #[test]
    fn the_kernel_checks_permissions_whoever_may_come_in() {
        for allow_other in [false, true] {
            let config = MountOptions { allow_other, ..Default::default() }.config();
            assert!(config.mount_options.contains(&MountOption::DefaultPermissions));
        }
    }
}
