//! A mounted drive as a process that can be killed.

use super::encryption;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take before the test gives up: recovery included, on a busy machine.
const START_WAIT: Duration = Duration::from_secs(60);
/// How long a daemon may take to end once it was asked to.
const END_WAIT: Duration = Duration::from_secs(60);

/// The binary under test; `VERSO_TEST_BINARY` puts another in its place, such as a script that mounts a peer as a control.
pub(crate) fn verso() -> Command {
    let given = std::env::var_os("VERSO_TEST_BINARY");
    let mut command = Command::new(given.unwrap_or_else(|| env!("CARGO_BIN_EXE_verso").into()));
    encryption::unlock(&mut command);
    command
}

/// `verso mount STORE MOUNTPOINT --foreground`, running.
pub(crate) struct Drive {
    pub(crate) store: PathBuf,
    pub(crate) mountpoint: PathBuf,
    child: Child,
    log: PathBuf,
    /// From the start of the process until the mount answered.
    pub(crate) started_in: Duration,
}

/// How a drive is started.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// `name` or `name:N`: the daemon kills itself there. After `panic:` a thread panics there instead.
    pub(crate) failpoint: Option<String>,
    /// A command that runs the daemon in its own process, such as one that injects faults.
    pub(crate) wrapper: Vec<String>,
    /// More arguments after `mount STORE MOUNTPOINT --foreground`.
    pub(crate) args: Vec<String>,
    /// Settings, as environment variables.
    pub(crate) settings: Vec<(&'static str, &'static str)>,
}

impl Options {
    /// Nothing of the past is kept, and what nothing needs is removed at once, again and again.
    pub(crate) fn tidying() -> Options {
        let settings = vec![
            ("VERSO_RETENTION__FLOOR", "0s"),
            ("VERSO_RETENTION__THINNING", "[]"),
            ("VERSO_RETENTION__GRACE", "0s"),
            ("VERSO_JOBS__RETENTION", "every 300ms"),
            ("VERSO_STORE__PACK_BYTES_TARGET", "1MiB"),
        ];
        Options { settings, ..Options::default() }
    }
}

impl Drive {
    /// Mounts `store` and waits until it answers.
    pub(crate) fn start(store: &Path, mountpoint: &Path) -> Drive {
        Drive::start_with(store, mountpoint, &Options::default())
            .unwrap_or_else(|why| panic!("{why}"))
    }

    /// As `start`; an error says what the daemon said when it ended before it had mounted.
    pub(crate) fn start_with(
        store: &Path,
        mountpoint: &Path,
        options: &Options,
    ) -> Result<Drive, String> {
        let mut drive = Drive::spawn(store, mountpoint, options);
        drive.wait_until_mounted()?;
        Ok(drive)
    }

    /// As `start_with`, and waits until the daemon says that it is mounted: the mount answers a moment before the daemon's socket does, which commands ask.
    pub(crate) fn start_ready(
        store: &Path,
        mountpoint: &Path,
        options: &Options,
    ) -> Result<Drive, String> {
        let said = |log: &str| log.matches(" is mounted at ").count();
        let before = said(&fs::read_to_string(log_of(mountpoint)).unwrap_or_default());
        let mut drive = Drive::start_with(store, mountpoint, options)?;
        while said(&drive.log()) == before {
            if drive.has_died(Duration::from_millis(5)) {
                return Err(drive.log());
            }
        }
        Ok(drive)
    }

    /// Waits until the mount answers; an error says why it never will.
    pub(crate) fn wait_until_mounted(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        while !answers(&self.mountpoint) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("the daemon ended with {status}:\n{}", self.log()));
            }
            if begun.elapsed() > START_WAIT {
                return Err(format!("not mounted after {START_WAIT:?}:\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.started_in = begun.elapsed();
        Ok(())
    }

    /// Starts the daemon and does not wait for the mount.
    pub(crate) fn spawn(store: &Path, mountpoint: &Path, options: &Options) -> Drive {
        let log = log_of(mountpoint);
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        encryption::make_store(store);
        let mut command = wrapped(&options.wrapper);
        encryption::unlock(&mut command);
        command.arg("mount").arg(store).arg(mountpoint).arg("--foreground").args(&options.args);
        command.envs(options.settings.iter().copied());
        if let Some(failpoint) = &options.failpoint {
            command.env("VERSO_FAILPOINT", failpoint);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let (store, mountpoint) = (store.to_owned(), mountpoint.to_owned());
        Drive { store, mountpoint, child, log, started_in: Duration::ZERO }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the daemon has said since the first start at this mount point.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL, and the dead mount taken away.
    pub(crate) fn kill(mut self) {
        self.kill_now();
    }

    fn kill_now(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        detach(&self.mountpoint);
    }

    /// Sends a signal by name (`TERM`) and gives back how the daemon ended.
    pub(crate) fn signal(mut self, name: &str) -> ExitStatus {
        let sent =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.unwrap().success());
        self.wait_for_end()
    }

    /// Unmounts and expects a clean end.
    pub(crate) fn stop(mut self) {
        super::unmount(&self.mountpoint);
        let status = self.wait_for_end();
        assert!(status.success(), "the daemon ended with {status}:\n{}", self.log());
    }

    /// Whether the daemon ended by itself within `patience`.
    pub(crate) fn has_died(&mut self, patience: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// The signal that ended the daemon, if it ended by one.
    pub(crate) fn ended_by_signal(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        std::os::unix::process::ExitStatusExt::signal(&status)
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        let ended = self.has_died(END_WAIT);
        assert!(ended, "the daemon did not end in {END_WAIT:?}:\n{}", self.log());
        self.child.wait().unwrap()
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) || is_mounted(&self.mountpoint) {
            self.kill_now();
        }
        detach(&self.mountpoint);
    }
}

/// Where the daemons of a mount point say what they do.
fn log_of(mountpoint: &Path) -> PathBuf {
    mountpoint.with_extension("log")
}

/// The binary under test, behind `wrapper` where there is one.
fn wrapped(wrapper: &[String]) -> Command {
    let plain = verso();
    let Some((program, args)) = wrapper.split_first() else { return plain };
    let mut command = Command::new(program);
    command.args(args).arg(plain.get_program());
    command
}

fn detach(mountpoint: &Path) {
    let _ = Command::new("umount").arg("-l").arg(mountpoint).stderr(Stdio::null()).status();
}

/// Whether a mount at `path` answers. Opening the directory asks the daemon; its attributes the kernel may still know
/// of a mount that is dead.
fn answers(path: &Path) -> bool {
    is_mounted(path) && fs::read_dir(path).is_ok()
}

/// Whether anything is mounted at `path`, dead or alive.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let wanted = path.to_str().expect("tests use plain paths");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    // proc(5): the fifth field is the mount point.
    mounts.lines().any(|mount| mount.split(' ').nth(4) == Some(wanted))
}

/// `verso check STORE --read-data`, whatever it finds.
pub(crate) fn check(store: &Path) -> Output {
    verso().arg("check").arg(store).arg("--read-data").output().unwrap()
}

/// A check that must find nothing.
pub(crate) fn check_clean(store: &Path) {
    let output = check(store);
    assert!(
        output.status.success(),
        "verso check {}: {}\n{}{}",
        store.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
