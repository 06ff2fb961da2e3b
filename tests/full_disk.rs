//! A disk that is full of history: what says so, and what gives room back at once.

#![allow(clippy::unwrap_used)] // all of it is test code

mod crash_support;

use crash_support::drive::{Drive, Options, check_clean, verso};
use crash_support::image::{Image, Kind};
use crash_support::load::close;
use crash_support::{Rng, Scratch, is_root_or_skip};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FILE_BYTES: usize = 1 << 20;

fn save(path: &Path, seed: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&Rng::seeded(seed).bytes(FILE_BYTES))?;
    close(file)
}

/// Writes files until one doesn't fit; gives those that do.
fn fill(dir: &Path, round: u64) -> Vec<(PathBuf, u64)> {
    let mut written = Vec::new();
    for n in 0..200 {
        let (path, seed) = (dir.join(format!("file-{round}-{n}")), round * 1000 + n);
        match save(&path, seed) {
            Ok(()) => written.push((path, seed)),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
                // It may not have come to be at all.
                let _ = fs::remove_file(&path);
                return written;
            }
        }
    }
    panic!("64 MiB never got full");
}

fn said(arguments: &[&str], path: &Path) -> String {
    let output = verso().args(arguments).arg(path).output().unwrap();
    // What is full needs attention.
    let is_told = arguments[0] == "status" && output.status.code() == Some(8);
    assert!(output.status.success() || is_told, "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str], path: &Path) -> Value {
    serde_json::from_str(&said(arguments, path)).unwrap()
}

/// As the store or what is mounted there tells.
fn is_full(at: &Path) -> bool {
    let is_full = json(&["status", "--json"], at)["volume"]["is_full"].as_bool();
    let text = said(&["status"], at);
    let told = text.lines().find(|line| line.starts_with("full "));
    assert_eq!(told.is_some(), is_full.unwrap(), "{text}");
    told.is_some_and(|line| line.contains("--space") && line.contains("tidy --floor"))
}

#[test]
fn a_full_disk_says_what_comes_free_and_gives_it_back_at_once() {
    let test = "a_full_disk_says_what_comes_free_and_gives_it_back_at_once";
    if !is_root_or_skip(test) {
        return;
    }
    let scratch = Scratch::new("full-of-history");
    let image = Image::create(Kind::Ext4, 64, &scratch.path("image"), &scratch.path("disk"));
    let (store, mountpoint) = (image.mountpoint.join("store"), scratch.dir("mnt"));
    let settings = vec![
        ("VERSO_RETENTION__THINNING", "[]"),
        ("VERSO_STORE__PACK_BYTES_TARGET", "1MiB"),
        ("VERSO_HISTORY__SLOT", "0s"),
    ];
    let options = Options { settings, ..Options::default() };
    let drive = Drive::start_with(&store, &mountpoint, &options).unwrap();
    let dir = mountpoint.join("shared");
    assert!(!is_full(&mountpoint));
    let mut living = fill(&dir, 1);
    assert!(living.len() > 30 && is_full(&mountpoint), "{}", living.len());
    drive.stop();
    assert!(is_full(&store));
    let drive = Drive::start_with(&store, &mountpoint, &options).unwrap();
    // Deleting works and brings nothing back: the floor keeps it.
    let gone = living.split_off(living.len() / 2);
    gone.iter().for_each(|(path, _)| fs::remove_file(path).unwrap());
    // (Stopping made a little room: the database's log is empty.)
    let few = fill(&dir, 3);
    assert!(few.len() < 8, "{}", few.len());
    living.extend(few);
    let gone_bytes = (gone.len() * FILE_BYTES) as u64;
    let room = &json(&["status", "--space", "--json"], &mountpoint)["room"];
    let coming = |n: usize| room["coming"][n]["bytes"].as_u64().unwrap();
    assert_eq!((coming(0), coming(1)), (0, 0), "{room}");
    assert!((gone_bytes..gone_bytes + gone_bytes / 8).contains(&coming(3)), "{room}");
    let preview = json(&["tidy", "--floor", "0s", "--dry-run", "--json"], &mountpoint);
    assert_eq!(preview["bytes"].as_u64(), Some(coming(3)), "{preview}");
    assert!(is_full(&mountpoint));
    let report = json(&["tidy", "--floor", "0s", "--yes", "--json"], &mountpoint);
    // But for the packs at both ends, which others are in as well.
    assert!(report["bytes_freed"].as_u64().unwrap() > gone_bytes - (3 << 20), "{report}");
    assert!(!is_full(&mountpoint));
    let more = fill(&dir, 2);
    assert!(more.len() + 4 > gone.len(), "{} after {}", more.len(), gone.len());
    assert!(is_full(&mountpoint));
    for (path, _) in &more[..10] {
        said(&["erase", "--yes"], path);
    }
    assert!(!is_full(&mountpoint));
    save(&dir.join("after"), 8).expect("there is room again");
    for (path, seed) in living.iter().chain(&more[10..]) {
        let is_same = fs::read(path).unwrap() == Rng::seeded(*seed).bytes(FILE_BYTES);
        assert!(is_same, "{} holds other bytes", path.display());
    }
    drive.stop();
    check_clean(&store);
}
