//! `verso check` with the real program: offline and on a mounted store, for people and for programs.

#![allow(clippy::unwrap_used)] // all of it is test code

#[allow(dead_code, unused_imports)]
#[path = "cli/support.rs"]
mod support;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use support::Bench;

/// Bytes that don't compress and don't repeat.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}

/// Flips a byte in the middle of the only pack, which holds the only file.
fn damage(bench: &Bench) {
    let packs: Vec<_> = fs::read_dir(bench.store.join("packs")).unwrap().collect();
    assert_eq!(packs.len(), 1);
    let path = packs[0].as_ref().unwrap().path();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let (at, mut byte) = (100_000, [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn json(ran: &support::Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn a_store_in_order_is_clean_offline_and_mounted() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    fs::write(bench.drive.join("shared/picture"), noise(1_000_000)).unwrap();
    for words in ["check STORE", "check DRIVE --read-data", "check STORE --read-data --repair"] {
        assert!(bench.verso(words).ok().out.contains("nothing is wrong"), "{words}");
    }
    bench.verso("umount DRIVE").ok();
    for words in ["check STORE", "check STORE --read-data --repair"] {
        assert!(bench.verso(words).ok().out.contains("nothing is wrong"), "{words}");
    }
    let report = json(&bench.verso("check STORE --json").ok());
    assert_eq!(report["findings"], serde_json::json!([]));
    bench.verso("check nowhere").fails(1, &["nowhere"]);
}

#[test]
fn damage_is_exit_code_4_and_names_the_file() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    fs::write(bench.drive.join("shared/picture"), noise(300_000)).unwrap();
    bench.verso("umount DRIVE").ok();
    damage(&bench);
    bench.verso("check STORE").ok();
    let words = "check STORE --read-data";
    let ran = bench.verso(words);
    assert!(ran.out.contains("in /shared/picture\n"), "{ran:?}");
    ran.fails(4, &["is damaged", "help:"]);
    let ran = bench.verso("check STORE --read-data --json");
    let report = json(&ran);
    assert_eq!(report["findings"][0]["problem"]["kind"], "chunk_damaged");
    assert_eq!(report["findings"][0]["files"][0]["paths"][0], "/shared/picture");
    ran.fails(4, &[]);

    bench.verso("mount STORE DRIVE").ok();
    let ran = bench.verso("check DRIVE --read-data --repair");
    assert!(ran.out.contains("in /shared/picture\n"), "{ran:?}");
    ran.fails(4, &["backup"]);
}

#[test]
fn a_pack_that_is_gone_or_cut_off_takes_nothing_else_along() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    fs::write(bench.drive.join("shared/picture"), noise(300_000)).unwrap();
    fs::write(bench.drive.join("shared/empty"), "").unwrap();
    bench.verso("umount DRIVE").ok();
    let packs = bench.store.join("packs");
    let pack = fs::read_dir(&packs).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&pack).unwrap();
    for left in [Some(150_000), None] {
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
        match left {
            Some(len) => fs::write(&pack, &whole[..len]).unwrap(),
            None => fs::remove_file(&pack).unwrap(),
        }
        let ran = bench.verso("check STORE");
        assert!(ran.out.contains("1 files are touched:\n  /shared/picture "), "{ran:?}");
        ran.fails(4, &["is damaged"]);
    }
    fs::write(&pack, &whole).unwrap();
    bench.verso("check STORE --read-data").ok();
}
