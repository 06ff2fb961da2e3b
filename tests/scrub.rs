//! Whoever scrubs is killed at each step: nothing wrong is ever shown, what was damaged is known or whole afterwards, and the next
//! run brings everything back.

#![allow(clippy::unwrap_used)] // all of it is test code

#[path = "support/encryption.rs"]
mod encryption;
#[path = "support/failpoints.rs"]
mod failpoints;
#[path = "../src/sys/testing.rs"]
mod testing;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use testing::noise;
use versofs::fs::{
    Budget, Caller, CheckOptions, CheckProgress, CreateOptions, OpenMode, ScrubOptions,
    ScrubReport, Spare, Volume, VolumeOptions, create_store,
};
use versofs::model::{ChunkRef, Ino};
use versofs::sys::{SystemClock, Unattended};

const ROOT: Caller = Caller { uid: 0, gid: 0, umask: 0o022 };
const READ_WRITE: OpenMode =
    OpenMode { read: true, write: true, truncate: false, exclusive: false, by: 0 };
/// Tells a copy of this program that it is the one to be killed, and where its store is.
const STORE: &str = "VERSO_TESTS_SCRUB_STORE";
/// Each file is one chunk, which is known by its length.
const LENGTHS: std::ops::Range<usize> = 12_000..12_060;

/// Has every file's contents.
struct Contents;

impl Spare for Contents {
    fn name(&self) -> &str {
        "contents"
    }

    fn fetch(&self, chunk: &ChunkRef, _base: Option<&ChunkRef>) -> Result<Option<Vec<u8>>, String> {
        let len = chunk.at.plain_len as usize;
        Ok(LENGTHS.contains(&len).then(|| noise(len as u64, len)))
    }
}

fn options() -> VolumeOptions {
    VolumeOptions { secret: encryption::secret(), reserve_bytes: 0, ..VolumeOptions::default() }
}

fn open(store: &Path) -> Arc<Volume> {
    Volume::open_store(store, options(), Arc::new(SystemClock)).unwrap()
}

fn scrub(volume: &Volume) -> ScrubReport {
    let period = Duration::from_secs(30 * 24 * 3600);
    let options = ScrubOptions { period, budget: Budget::Round };
    volume.scrub(&options, &[&Contents], &Unattended).unwrap()
}

/// A store in which nearly every chunk is damaged.
fn damaged_store() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let create = CreateOptions { encryption: encryption::new_key(), ..CreateOptions::default() };
    create_store(&store, &create, &SystemClock).unwrap();
    let volume = open(&store);
    for len in LENGTHS {
        let name = len.to_string();
        let (_, handle) =
            volume.create(&ROOT, Ino::ROOT, name.as_bytes(), 0o644, READ_WRITE).unwrap();
        volume.write(handle, 0, &noise(len as u64, len)).unwrap();
        volume.release(handle).unwrap();
    }
    volume.close().unwrap();
    for pack in fs::read_dir(store.join("packs")).unwrap() {
        let path = pack.unwrap().path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = fs::File::options().read(true).write(true).open(&path).unwrap();
        for at in (1000..file.metadata().unwrap().len()).step_by(9000) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[!byte[0]], at).unwrap();
        }
    }
    (dir, store)
}

/// How many files can be read; those show what was written.
fn whole_files(volume: &Volume, when: &str) -> usize {
    let mut whole = 0;
    for len in LENGTHS {
        let attr = volume.lookup(Ino::ROOT, len.to_string().as_bytes()).unwrap();
        let handle = volume.open(attr.ino, READ_WRITE).unwrap();
        let mut read = Vec::new();
        match volume.read(handle, 0, len + 1, &mut read) {
            Ok(()) => {
                assert!(read == noise(len as u64, len), "{when}: {len}");
                whole += 1;
            }
            Err(error) => assert_eq!(error.errno(), libc::EIO, "{when}: {error}"),
        }
        volume.release(handle).unwrap();
    }
    whole
}

/// Lets another process scrub the store, which dies at the step.
fn scrub_and_die(store: &Path, step: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_one_that_is_killed"]);
    command.env(STORE, store).env("VERSO_FAILPOINT", step).output().unwrap()
}

/// Not a test by itself: what `killed_at_every_step` starts.
#[test]
fn the_one_that_is_killed() {
    let Some(store) = std::env::var_os(STORE) else { return };
    let volume = open(Path::new(&store));
    scrub(&volume);
    volume.close().unwrap();
}

#[test]
fn killed_at_every_step() {
    if !failpoints::are_built() {
        return;
    }
    let names = failpoints::all().into_iter().filter(|name| name.starts_with("scrub-"));
    let names: BTreeSet<String> = names.collect();
    assert!(names.len() > 3, "{names:?}");
    for name in names {
        let (_dir, store) = damaged_store();
        let output = scrub_and_die(&store, &name);
        let killed = output.status.signal() == Some(libc::SIGKILL);
        assert!(killed, "{name} was not reached: {output:?}");
        let volume = open(&store);
        let whole = whole_files(&volume, &name);
        let all_are_back = ["scrub-after-heal"].contains(&&name[..]);
        assert_eq!(whole == LENGTHS.len(), all_are_back, "{name}: {whole} files are whole");
        let report = scrub(&volume);
        assert_eq!((report.left.len(), report.complete), (0, true), "{name}: {report:?}");
        assert_eq!(whole_files(&volume, &name), LENGTHS.len(), "{name}");
        volume.close().unwrap();
        drop(volume);
        let volume = open(&store);
        assert_eq!(whole_files(&volume, &name), LENGTHS.len(), "{name}, opened again");
        let options = CheckOptions { read_data: true, repair: false };
        let report = volume.check(options, &CheckProgress::default()).unwrap();
        assert!(report.is_clean(), "{name}: {report:?}");
        volume.close().unwrap();
    }
}
