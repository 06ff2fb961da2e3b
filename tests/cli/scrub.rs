//! The job `scrub`, and what becomes of damage that a program meets.

use crate::support::{Bench, noise, until};
use std::fs;

#[test]
fn damage_that_a_program_meets_is_looked_into_and_told_until_it_is_healed() {
    let bench = Bench::new();
    let picture = bench.drive.join("shared/picture");
    bench.verso("mount STORE DRIVE").ok();
    fs::write(&picture, noise(1, 300_000)).unwrap();
    let dry = bench.verso("jobs run scrub DRIVE --dry-run").ok().out;
    assert!(dry.starts_with("scrub: ") && dry.contains(" would be read, of "), "{dry}");
    let ran = bench.verso("jobs run scrub DRIVE").ok().out;
    assert!(ran.contains("nothing is damaged"), "{ran}");
    bench.unmount();
    bench.damage();
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
    fs::write(bench.drive.join("shared/again"), noise(1, 300_000)).unwrap();
    assert!(!critical());
    assert!(fs::read(&picture).unwrap() == noise(1, 300_000));
    bench.verso("jobs run scrub DRIVE").ok();
    bench.verso("status DRIVE").ok();
    bench.verso("check DRIVE --read-data").ok();
}
