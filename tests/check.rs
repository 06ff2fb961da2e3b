//! `verso check` with the real program: offline and on a mounted store, for people and for programs.

#![allow(clippy::unwrap_used)] // all of it is test code

#[allow(dead_code, unused_imports)]
#[path = "cli/support.rs"]
mod support;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::{Bench, noise};

fn json(ran: &support::Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn a_store_in_order_is_clean_offline_and_mounted() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    fs::write(bench.drive.join("shared/picture"), noise(1, 1_000_000)).unwrap();
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
    fs::write(bench.drive.join("shared/picture"), noise(1, 300_000)).unwrap();
    bench.verso("umount DRIVE").ok();
    bench.damage();
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
    fs::write(bench.drive.join("shared/picture"), noise(1, 300_000)).unwrap();
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
