//! The job `scrub`, and what becomes of damage that a program meets.

use crate::support::{Bench, until};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

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
    let mut byte = [0];
    file.read_exact_at(&mut byte, 100_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 100_000).unwrap();
}

#[test]
fn damage_that_a_program_meets_is_looked_into_and_told_until_it_is_healed() {
    let bench = Bench::new();
    let picture = bench.drive.join("shared/picture");
    bench.verso("mount STORE DRIVE").ok();
    fs::write(&picture, noise(300_000)).unwrap();
    let dry = bench.verso("jobs run scrub DRIVE --dry-run").ok().out;
    assert!(dry.starts_with("scrub: ") && dry.contains(" would be read, of "), "{dry}");
    let ran = bench.verso("jobs run scrub DRIVE").ok().out;
    assert!(ran.contains("nothing is damaged"), "{ran}");
    bench.unmount();
    damage(&bench);
    bench.verso("mount STORE DRIVE").ok();
    assert_eq!(fs::read(&picture).unwrap_err().raw_os_error(), Some(libc::EIO));

    // Nobody asks for it.
    let critical = || {
        let status = bench.status_of_all("DRIVE");
        let concerns = status["concerns"].as_array().unwrap();
        concerns.iter().any(|concern| concern["severity"] == "critical")
    };
    until(critical);
    let status = bench.verso("status DRIVE");
    assert!(status.out.contains("1 chunk of files can't be read"), "{status:?}");
    assert_eq!(status.code, Some(8));
    let check = bench.verso("check DRIVE");
    assert!(check.code == Some(4) && check.out.contains("/shared/picture"), "{check:?}");
    let log = || bench.verso("jobs log scrub DRIVE").ok().out;
    until(|| log().contains("1 chunk is damaged and whole nowhere"));
    bench.verso("jobs run scrub DRIVE").fails(1, &["whole nowhere", "verso check"]);

    // The same contents, saved anew.
    fs::write(bench.drive.join("shared/again"), noise(300_000)).unwrap();
    assert!(!critical());
    assert!(fs::read(&picture).unwrap() == noise(300_000));
    bench.verso("jobs run scrub DRIVE").ok();
    bench.verso("status DRIVE").ok();
    bench.verso("check DRIVE --read-data").ok();
}
