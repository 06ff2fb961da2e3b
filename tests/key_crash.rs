//! Whoever makes an encrypted store or changes its keys is killed at each step: afterwards the store opens with a key that it had
//! before or one that it was given, with everything in it, and what was interrupted can be done again.

#![allow(clippy::unwrap_used)] // all of it is test code

#[path = "support/failpoints.rs"]
mod failpoints;

use failpoints::Ran;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;
use versofs::crypt::{Secret, SecretKind};
use versofs::fs::{Caller, OpenMode, Volume, VolumeOptions};
use versofs::model::Ino;
use versofs::sys::SystemClock;

const CONTENT: &[u8] = b"what must not be lost, whatever happens to the keys";
const ROOT: Caller = Caller { uid: 0, gid: 0, umask: 0o022 };
const READ_WRITE: OpenMode =
    OpenMode { read: true, write: true, truncate: false, exclusive: false, by: 0 };
const INIT: &str = "init store --encrypt --key-file old";
/// Commands on a store that the key files `old` and `other` open, and the key files of which one must open it afterwards.
const CHANGES: [(&str, &[&str]); 5] = [
    ("key add store --key-file old --new-key-file new", &["old"]),
    ("key change store --key-file old --new-key-file new", &["old", "new"]),
    ("key remove store 1 --yes --key-file other", &["other"]),
    ("key recovery store --key-file old", &["old"]),
    ("key rotate store --key-file old --key-file other", &["old"]),
];

/// A directory with key files, and perhaps an encrypted store.
struct Locker {
    dir: TempDir,
}

impl Locker {
    fn new() -> Locker {
        let dir = tempfile::tempdir().unwrap();
        for (byte, name) in [(1, "old"), (2, "other"), (3, "new")] {
            fs::write(dir.path().join(name), [byte; 32]).unwrap();
        }
        Locker { dir }
    }

    /// With a store that `old` and `other` open, as keys 1 and 2, and a file in it.
    fn with_store() -> Locker {
        let locker = Locker::new();
        locker.run(INIT, None).ok();
        locker.run("key add store --key-file old --new-key-file other", None).ok();
        let volume = locker.open("old");
        let (_, handle) = volume.create(&ROOT, Ino::ROOT, b"file", 0o644, READ_WRITE).unwrap();
        volume.write(handle, 0, CONTENT).unwrap();
        volume.release(handle).unwrap();
        volume.close().unwrap();
        locker
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn run(&self, words: &str, failpoint: Option<&str>) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verso"));
        command.args(words.split_whitespace()).stdin(Stdio::null());
        command.env_remove("VERSO_ENCRYPTION__KEY_FILE").env_remove("VERSO_CONFIG");
        if let Some(name) = failpoint {
            command.env("VERSO_FAILPOINT", name);
        }
        Ran(command.current_dir(self.dir.path()).output().unwrap())
    }

    fn options(&self, key: &str) -> VolumeOptions {
        let file = fs::File::open(self.dir.path().join(key)).unwrap();
        let secret = Secret::read(SecretKind::KeyFile, file).unwrap();
        VolumeOptions { secret: Some(Arc::new(secret)), reserve_bytes: 0, ..Default::default() }
    }

    fn open(&self, key: &str) -> Arc<Volume> {
        Volume::open_store(&self.store(), self.options(key), Arc::new(SystemClock)).unwrap()
    }

    fn opens(&self, key: &str) -> bool {
        versofs::fs::unlock(&self.store(), self.options(key).secret.as_ref().unwrap()).is_ok()
    }

    fn verify(&self, key: &str, when: &str) {
        let volume = self.open(key);
        let attr = volume.lookup(Ino::ROOT, b"file").unwrap();
        let handle = volume.open(attr.ino, READ_WRITE).unwrap();
        let mut content = Vec::new();
        volume.read(handle, 0, 1000, &mut content).unwrap();
        assert_eq!(content, CONTENT, "{when}");
        volume.release(handle).unwrap();
        volume.close().unwrap();
    }
}

/// The steps, each with its number of passes that are died at.
fn steps() -> impl Iterator<Item = String> {
    let names = failpoints::all().into_iter().filter(|name| failpoints::is_of_keys(name));
    names.flat_map(|name| [format!("{name}:1"), format!("{name}:2")])
}

#[test]
fn killed_at_every_step_of_making_a_store_and_changing_its_keys() {
    if !failpoints::are_built() {
        return;
    }
    let mut reached = BTreeSet::new();
    for step in steps() {
        let mut died = dies_making(&step);
        for (words, keys) in CHANGES {
            died |= dies_changing(words, keys, &step);
        }
        if died {
            reached.insert(step.split(':').next().unwrap().to_owned());
        }
    }
    let of_keys = failpoints::all().into_iter().filter(|name| failpoints::is_of_keys(name));
    assert_eq!(reached, of_keys.collect());
}

/// A store that was not finished is none, and is made again; or it is whole.
fn dies_making(step: &str) -> bool {
    let locker = Locker::new();
    if !locker.run(INIT, Some(step)).was_killed() {
        return false;
    }
    if !locker.store().join("store.toml").exists() {
        locker.run(INIT, None).ok();
    }
    locker.open("old").close().unwrap();
    true
}

fn dies_changing(words: &str, keys: &[&str], step: &str) -> bool {
    let locker = Locker::with_store();
    if !locker.run(words, Some(step)).was_killed() {
        return false;
    }
    let when = format!("{words}, killed at {step}");
    let opening: Vec<&str> = keys.iter().copied().filter(|key| locker.opens(key)).collect();
    assert!(!opening.is_empty(), "{when}: nothing opens the store");
    assert!(locker.opens("other"), "{when}: the other key is gone");
    for key in opening.iter().chain(&["other"]) {
        locker.verify(key, &when);
    }
    // Where it had happened it can't happen twice: the key is gone.
    let again = locker.run(words, None);
    let happened = !locker.opens("old") && !words.starts_with("key add");
    assert!(again.0.status.success() || happened, "{when}, again: {:?}", again.0);
    locker.verify("other", &when);
    true
}
