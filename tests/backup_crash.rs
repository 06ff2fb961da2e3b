//! Whoever backs up, restores or thins out is killed at each step: what counts as a backup is whole, what counts as a store is one, and the
//! same command goes on where the other was.

#![allow(clippy::unwrap_used)] // all of it is test code

#[path = "backup_crash/daemon.rs"]
mod daemon;
#[path = "support/failpoints.rs"]
mod failpoints;
#[path = "../src/sys/testing.rs"]
mod testing;

use failpoints::Ran;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;
use testing::noise;
use versofs::backup::{Location, LocationSpec, Verified, verify};
use versofs::crypt::{Secret, SecretKind};
use versofs::fs::{Caller, OpenMode, Volume, VolumeOptions};
use versofs::model::Ino;
use versofs::sys::{SystemClock, Unattended};

const ROOT: Caller = Caller { uid: 0, gid: 0, umask: 0o022 };

/// A store with some packs, and a directory for its backups.
struct Site {
    dir: TempDir,
    encrypted: bool,
    rounds: u64,
}

impl Site {
    fn new(encrypted: bool) -> Site {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key"), [7; 32]).unwrap();
        let mut site = Site { dir, encrypted, rounds: 0 };
        let words = if encrypted { "init store --encrypt" } else { "init store" };
        site.run(words, None).ok();
        site.live();
        site
    }

    fn run(&self, words: &str, failpoint: Option<&str>) -> Ran {
        Ran(self.command(words, failpoint).output().unwrap())
    }

    fn command(&self, words: &str, failpoint: Option<&str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verso"));
        command.args(words.split_whitespace()).stdin(Stdio::null());
        command.env_remove("VERSO_ENCRYPTION__KEY_FILE").env_remove("VERSO_CONFIG");
        command.env("VERSO_STORE__PACK_BYTES_TARGET", "1MiB");
        if self.encrypted {
            command.env("VERSO_ENCRYPTION__KEY_FILE", self.path("key"));
        }
        if let Some(name) = failpoint {
            command.env("VERSO_FAILPOINT", name);
        }
        command.current_dir(self.dir.path());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, store: &str) -> Arc<Volume> {
        let secret = self.encrypted.then(|| {
            let file = fs::File::open(self.path("key")).unwrap();
            Arc::new(Secret::read(SecretKind::KeyFile, file).unwrap())
        });
        let options = VolumeOptions {
            secret,
            reserve_bytes: 0,
            pack_bytes: 1 << 20,
            ..VolumeOptions::default()
        };
        Volume::open_store(&self.path(store), options, Arc::new(SystemClock)).unwrap()
    }

    /// A new file of some packs, beside those that are there.
    fn live(&mut self) {
        self.rounds += 1;
        let volume = self.open("store");
        let how = OpenMode { read: true, write: true, ..OpenMode::default() };
        let name = format!("file-{}", self.rounds);
        let (_, handle) = volume.create(&ROOT, Ino::ROOT, name.as_bytes(), 0o644, how).unwrap();
        volume.write(handle, 0, &content(self.rounds)).unwrap();
        volume.flush(handle).unwrap();
        volume.release(handle).unwrap();
        volume.close().unwrap();
    }

    /// Whether a store has the files of the first `rounds` rounds, and is whole.
    fn expect(&self, store: &str, rounds: u64, when: &str) {
        let volume = self.open(store);
        for round in 1..=rounds {
            let attr = volume.lookup(Ino::ROOT, format!("file-{round}").as_bytes()).unwrap();
            let handle = volume.open(attr.ino, OpenMode { read: true, ..OpenMode::default() });
            let handle = handle.unwrap();
            let mut found = Vec::new();
            let expected = content(round);
            volume.read(handle, 0, expected.len() + 1, &mut found).unwrap();
            assert!(found == expected, "{when}: file-{round}");
            volume.release(handle).unwrap();
        }
        let thorough = versofs::fs::CheckOptions { read_data: true, repair: false };
        let report = volume.check(thorough, &Default::default()).unwrap();
        assert!(report.is_clean(), "{when}: {report:?}");
        volume.close().unwrap();
    }

    fn verify(&self) -> Verified {
        let uri = self.path("shelf").to_str().unwrap().to_owned();
        let spec = LocationSpec { name: "shelf".into(), uri, options: Default::default() };
        verify(&Location::open(&spec).unwrap(), false, true, &Unattended).unwrap()
    }

    /// Every generation that is there is whole.
    fn expect_whole(&self, when: &str) -> Verified {
        let found = self.verify();
        assert_eq!(found.faults_total, 0, "{when}: {:?}", found.faults);
        found
    }
}

fn content(seed: u64) -> Vec<u8> {
    noise(seed, 1_300_000)
}

const BACK_UP: &str = "backup run shelf/ --store store";

fn killed_while_backing_up(site: &mut Site, words: &str, step: &str) -> bool {
    let before = site.expect_whole(step).generations.len();
    site.live();
    let killed = site.run(words, Some(step)).was_killed();
    let after = site.expect_whole(step);
    assert!(after.generations.len() <= before + 1, "{step}");
    site.run(words, None).ok();
    site.expect_whole(step);
    site.run("backup restore shelf/ copy", None).ok();
    site.expect("copy", site.rounds, step);
    fs::remove_dir_all(site.path("copy")).unwrap();
    killed
}

fn killed_while_restoring(site: &Site, step: &str) -> bool {
    let killed = site.run("backup restore shelf/ copy", Some(step)).was_killed();
    if killed {
        let opened = site.run("status copy", None);
        // The header comes last; a store that has it is whole.
        let has_header = site.path("copy/store.toml").exists();
        assert!(has_header || !opened.0.status.success(), "{step}: it passes for a store");
        site.run("backup restore shelf/ copy", None).ok();
    }
    site.expect("copy", site.rounds, step);
    fs::remove_dir_all(site.path("copy")).unwrap();
    killed
}

fn killed_while_pruning(site: &mut Site, step: &str) -> bool {
    // Full ones, so that each has something that goes with it.
    for _ in 0..5 {
        site.run("backup run shelf/ --store store --full", None).ok();
    }
    let prune = "backup prune shelf/ --store store --keep 0s";
    let killed = site.run(prune, Some(step)).was_killed();
    site.expect_whole(step);
    site.run(prune, None).ok();
    let left = site.expect_whole(step).generations;
    assert!((3..=4).contains(&left.len()), "{step}: {left:?}");
    killed
}

fn killed_at_each_step(encrypted: bool) {
    let steps: BTreeSet<String> =
        failpoints::all().into_iter().filter(|name| failpoints::is_of_backups(name)).collect();
    assert!(steps.len() > 5, "{steps:?}");
    let mut reached = BTreeSet::new();
    let mut site = Site::new(encrypted);
    site.run(BACK_UP, None).ok();
    for name in &steps {
        for pass in 1..=2 {
            let step = format!("{name}:{pass}");
            let killed = match name.split('-').next() {
                Some("restore") => killed_while_restoring(&site, &step),
                Some("prune") => killed_while_pruning(&mut site, &step),
                _ => {
                    let full = format!("{BACK_UP} --full");
                    let words = if pass == 1 { BACK_UP } else { &full };
                    killed_while_backing_up(&mut site, words, &format!("{name}:1"))
                }
            };
            if killed {
                reached.insert(name.clone());
            }
        }
    }
    assert_eq!(reached, steps, "each step is come by");
}

#[test]
fn a_plain_store() {
    if failpoints::are_built() {
        killed_at_each_step(false);
    }
}

#[test]
fn an_encrypted_store() {
    if failpoints::are_built() {
        killed_at_each_step(true);
    }
}
