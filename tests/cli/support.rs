//! A scratch directory with a store and a mount point, and the real `verso` to use them.

#[path = "../../src/sys/testing.rs"]
mod testing;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
pub(crate) use testing::noise;

/// Far beyond what anything here takes; only a hang gets there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Unmounts and removes everything when dropped.
pub(crate) struct Bench {
    pub(crate) store: PathBuf,
    pub(crate) drive: PathBuf,
    pub(crate) dir: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn new(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fails the test unless the command succeeded without a complaint.
    #[track_caller]
    pub(crate) fn ok(self) -> Ran {
        assert!(self.code == Some(0) && self.err.is_empty(), "{self:?}");
        self
    }

    /// Fails the test unless the command failed with `code` and its message has all `parts`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is missing: {self:?}");
        }
    }
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let bench = Bench { store: root.join("store"), drive: root.join("drive"), dir };
        fs::create_dir(&bench.drive).unwrap();
        bench
    }

    /// Flips a byte in the middle of the only pack, which holds the only file.
    pub(crate) fn damage(&self) {
        let packs: Vec<_> = fs::read_dir(self.store.join("packs")).unwrap().collect();
        assert_eq!(packs.len(), 1);
        let path = packs[0].as_ref().unwrap().path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = fs::File::options().read(true).write(true).open(path).unwrap();
        let (at, mut byte) = (100_000, [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    /// `verso` with `words`; `STORE` and `DRIVE` among them stand for the paths.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verso"));
        for word in words.split_whitespace() {
            match word {
                "STORE" => command.arg(&self.store),
                "DRIVE" => command.arg(&self.drive),
                word => command.arg(word),
            };
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null()).env_remove("VERSO_CONFIG");
        command
    }

    pub(crate) fn verso(&self, words: &str) -> Ran {
        Ran::new(self.command(words).output().unwrap())
    }

    /// Unmounts. What another test starts at this moment holds every descriptor of this process until it runs its
    /// program: so it is tried again for a while.
    #[track_caller]
    pub(crate) fn unmount(&self) -> Ran {
        let since = Instant::now();
        loop {
            let ran = self.verso("umount DRIVE");
            let is_held = ran.code == Some(6) && ran.err.contains("is in use");
            if !is_held || since.elapsed() > PATIENCE {
                return ran.ok();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn with_variable(&self, name: &str, value: &str, words: &str) -> Ran {
        Ran::new(self.command(words).env(name, value).output().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The daemon's pid, as `verso status` tells it.
    pub(crate) fn daemon(&self) -> u32 {
        let status = self.status("DRIVE");
        status["daemon"]["pid"].as_u64().unwrap().try_into().unwrap()
    }

    pub(crate) fn status(&self, of: &str) -> serde_json::Value {
        let ran = self.verso(&format!("status --json {of}")).ok();
        serde_json::from_str(&ran.out).unwrap()
    }

    /// Of every drive on the machine, some of which other tests have broken.
    pub(crate) fn status_of_all(&self, how: &str) -> serde_json::Value {
        let ran = self.verso(&format!("status --json {how}"));
        assert!(matches!(ran.code, Some(0 | 8)), "{ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }

    pub(crate) fn kill(&self, signal: &str, pid: u32) {
        let killed = Command::new("kill").arg(signal).arg(pid.to_string()).status().unwrap();
        assert!(killed.success());
    }

    /// Waits until nobody has the store.
    pub(crate) fn wait_for_end(&self) {
        until(|| versofs::sys::StoreLock::owner(&self.store).unwrap().is_none());
    }

    pub(crate) fn is_mounted(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.contains(&format!(" {} ", self.drive.display()))
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < PATIENCE, "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.is_mounted() {
            let lazy = Command::new("umount").arg("-l").arg(&self.drive).status();
            let done = lazy.is_ok_and(|status| status.success());
            if !done {
                let _ = Command::new("fusermount3").arg("-uz").arg(&self.drive).status();
            }
        }
        if let Ok(Some(pid)) = versofs::sys::StoreLock::owner(&self.store) {
            let _ = Command::new("kill").arg("-9").arg(pid.to_string()).status();
        }
    }
}

/// Everything in `log` that came from a daemon of `store`.
pub(crate) fn log(store: &Path) -> String {
    fs::read_to_string(store.join("verso.log")).unwrap()
}
