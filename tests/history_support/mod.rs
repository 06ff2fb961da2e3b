//! What the tests of history with other people's programs share: a drive, started by the command line, on which
//! each save is a version, and what of it can be seen.
#![allow(dead_code, clippy::unwrap_used)] // each test program uses its part; all of it is test code

use crate::crash_support::drive::{Drive, Options, check_clean};
use crate::crash_support::{is_root_or_skip, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// A drive for one test, that all users may enter.
pub(crate) struct Place {
    // Dropped in this order: the directory goes when nothing is mounted in it any more.
    drive: Drive,
    dir: TempDir,
}

impl Place {
    /// None where the test cannot run and may be skipped: it takes root and `programs`.
    pub(crate) fn new(test: &str, programs: &[&str]) -> Option<Place> {
        if !is_root_or_skip(test) || !are_installed_or_skip(test, programs) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["mnt", "home", "outside"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let options = Options {
            wrapper: vec!["env".to_owned(), "VERSO_HISTORY__SLOT=0s".to_owned()],
            args: vec!["--allow-other".to_owned()],
            ..Options::default()
        };
        let (store, mountpoint) = (dir.path().join("store"), dir.path().join("mnt"));
        let drive = Drive::start_with(&store, &mountpoint, &options).unwrap();
        Some(Place { drive, dir })
    }

    /// The top of the mount.
    pub(crate) fn mountpoint(&self) -> &Path {
        &self.drive.mountpoint
    }

    /// The directory on the drive that scripts run in.
    pub(crate) fn root(&self) -> PathBuf {
        self.drive.mountpoint.join("shared")
    }

    /// A directory on another disk.
    pub(crate) fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// A shell script in [`Place::root`]; each command must succeed. `$OUTSIDE` is a directory on another disk.
    pub(crate) fn shell(&self, script: &str) -> String {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).current_dir(self.root());
        let home = self.dir.path().join("home");
        command.env("HOME", &home).env("TMPDIR", &home).env("OUTSIDE", self.outside());
        run(&mut command)
    }

    /// The contents of a name's versions, in the order of their numbers.
    pub(crate) fn versions(&self, name: &str) -> Vec<Vec<u8>> {
        let files = self.version_files(name);
        files.iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// The files in `.versions` that show a name's versions, in the order of their numbers.
    pub(crate) fn version_files(&self, name: &str) -> Vec<PathBuf> {
        let path = self.root().join(name);
        let dir = path.parent().unwrap().join(".versions").join(path.file_name().unwrap());
        let listed = fs::read_dir(dir).unwrap();
        let mut files: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
        files.sort_by_key(|file| number(file));
        files
    }

    /// Unmounts; the store must be whole.
    pub(crate) fn finish(self) {
        let store = self.drive.store.clone();
        self.drive.stop();
        check_clean(&store);
    }
}

/// The number in a version's name.
fn number(path: &Path) -> u64 {
    let name = path.file_name().unwrap().to_str().unwrap();
    let (_, number) = name.rsplit_once("~v").unwrap();
    number.split('.').next().unwrap().parse().unwrap()
}

/// Whether these programs are there. Under CI, or with `VERSO_TESTS_COMPLETE` set, a missing one is a failure.
fn are_installed_or_skip(test: &str, programs: &[&str]) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let is_there = |program: &str| path.split(':').any(|dir| Path::new(dir).join(program).exists());
    let missing: Vec<_> = programs.iter().filter(|program| !is_there(program)).collect();
    if missing.is_empty() {
        return true;
    }
    let complete =
        ["CI", "VERSO_TESTS_COMPLETE"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(!complete, "{test} needs {missing:?} and cannot run");
    eprintln!("SKIPPED {test}: needs {missing:?}");
    false
}

/// Waits until the second that it is now is over: what is listed by the second then has its own.
pub(crate) fn next_second() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let over = Duration::from_secs(1) - Duration::from_nanos(now.subsec_nanos().into());
    std::thread::sleep(over + Duration::from_millis(5));
}
