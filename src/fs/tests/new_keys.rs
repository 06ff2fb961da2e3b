//! Packs of old keys: upkeep encrypts what they hold anew, and everything is readable meanwhile.

use super::*;
use crate::chunks::{PackOptions, PackStore};
use crate::crypt::{Key, Keyring};
use crate::fs::ingest::Ingest;
use crate::sys::{Unattended, Until};
use std::sync::atomic::{AtomicU32, Ordering};

/// Keys with master keys of these epochs.
fn keys_of(epochs: &[u32]) -> Arc<Keyring> {
    let key = |byte: u8| {
        let mut key = Key::default();
        key.set(&[byte; 32]);
        key
    };
    let mut keys = Keyring::with_identity(&key(1)).unwrap();
    epochs.iter().for_each(|&epoch| keys.add(epoch, &key(10 + epoch as u8)).unwrap());
    Arc::new(keys)
}

/// The drive with encrypted packs, which lie in a directory of their own: the store itself knows of no keys.
fn with_keys(drive: Drive, epochs: &[u32]) -> Drive {
    let Drive { dir, clock, volume } = drive;
    volume.stop_timer();
    volume.workers.stop();
    while Arc::strong_count(&volume) > 1 {
        std::thread::yield_now();
    }
    let mut volume = Arc::into_inner(volume).unwrap();
    let packs = dir.path().join("encrypted");
    std::fs::create_dir_all(&packs).unwrap();
    let keys = Some(keys_of(epochs));
    let options =
        PackOptions { target_bytes: 256 << 10, cache_bytes: 0, keys, ..PackOptions::default() };
    volume.ingest = Ingest::new(PackStore::open(&packs, [7; 16], options).unwrap());
    volume.workers = Default::default();
    let volume = Arc::new(volume);
    volume.workers.start(&Arc::downgrade(&volume), 1);
    Drive { dir, clock, volume }
}

const FILES: u64 = 12;

fn content(n: u64) -> Vec<u8> {
    match n % 3 {
        0 => format!("line of file {n}\n").repeat(10_000).into_bytes(),
        1 => noise(n + 1, 300_000),
        _ => noise(n + 1, 3000),
    }
}

fn assert_whole(drive: &Drive) {
    for n in 0..FILES {
        assert!(drive.load(Ino::ROOT, &format!("file {n}")) == content(n), "file {n}");
    }
    let options = CheckOptions { read_data: true, repair: false };
    let checked = drive.volume.check(options, &CheckProgress::default()).unwrap();
    assert!(checked.is_clean(), "{checked:?}");
}

fn filled() -> Drive {
    let drive = with_keys(Drive::new(), &[1]);
    (0..FILES).for_each(|n| _ = drive.save(Ino::ROOT, &format!("file {n}"), &content(n)));
    // Differences, and their bases.
    drive.save(
        Ino::ROOT,
        "file 1",
        &[&content(1)[..100_000], b"!", &content(1)[100_000..]].concat(),
    );
    drive.save(Ino::ROOT, "file 1", &content(1));
    assert_whole(&drive);
    assert!(!drive.volume.old_keys_in_use().unwrap());
    drive
}

/// All that was read after each step was there, and in the end nothing is left of the old keys.
#[test]
fn upkeep_leaves_nothing_of_old_keys_and_can_be_stopped_at_any_step() {
    let mut drive = with_keys(filled().reopen(), &[1, 2]);
    let mut steps = 0;
    while drive.volume.old_keys_in_use().unwrap() {
        assert!(steps < 1000, "it comes to no end");
        let asked = AtomicU32::new(0);
        let stop = Until(|| asked.fetch_add(1, Ordering::Relaxed) > steps % 7);
        drive.volume.upkeep(None, Duration::ZERO, &stop).unwrap();
        assert_whole(&drive);
        if steps % 5 == 4 {
            drive = with_keys(drive.reopen(), &[1, 2]);
        }
        steps += 1;
    }
    assert!(steps > 2, "it was never stopped");
    assert_whole(&drive);
    let drive = with_keys(drive.reopen(), &[2]);
    assert_whole(&drive);
    assert!(!drive.volume.old_keys_in_use().unwrap());
    // It goes on as usual.
    drive.save(Ino::ROOT, "new", b"content");
    drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
    assert_eq!(drive.load(Ino::ROOT, "new"), b"content");
}

#[test]
fn one_run_is_enough_also_where_nothing_is_needed() {
    let garbage = with_keys(Drive::new(), &[1]);
    let packs = garbage.volume.ingest.packs();
    packs.append(&packs.content_tree(b"garbage"), b"garbage", None).unwrap();
    for drive in [filled(), garbage] {
        let drive = with_keys(drive.reopen(), &[1, 2]);
        assert!(drive.volume.old_keys_in_use().unwrap());
        drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
        assert!(!drive.volume.old_keys_in_use().unwrap());
        let drive = with_keys(drive.reopen(), &[2]);
        let options = CheckOptions { read_data: true, repair: false };
        let checked = drive.volume.check(options, &CheckProgress::default()).unwrap();
        assert!(checked.is_clean(), "{checked:?}");
    }
}
