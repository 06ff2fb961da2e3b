//! Random lives of a mounted drive, copied whole at random moments. Each moment is opened through `@at`, `@GMT` and
//! `mount --at`, and must be what was copied: names, kinds, contents, modes, times, attributes, links. So it is after a
//! restart, after a kill in the middle of work, and after retention and collection for what they must keep.
//!
//! `VERSO_TEST_ROUNDS` sets how many lives are led, `VERSO_TEST_SEED` repeats one.

#![allow(clippy::unwrap_used)] // all of it is test code

mod crash_support;
mod history_support;
mod oracle_support;
mod support;

use crash_support::encryption::key_file;
use crash_support::{Rng, is_root_or_skip, rounds};
use history_support::Place;
use oracle_support::life::Life;
use oracle_support::secrecy::Secrecy;
use oracle_support::tree::{self, Promise};
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

/// Lives with each slot.
const LIVES: usize = 2;
/// Steps that are remembered before anything happens to the daemon.
const STEPS: usize = 80;
/// Steps that are remembered after each kill.
const STEPS_AFTER_KILL: usize = 6;
const KILLS: usize = 3;
/// Moments that are mounted each time that the store is not.
const MOUNTED: usize = 3;
/// Changes of owners and permissions between two looks at what can be read.
const PERMISSION_STEPS: usize = 60;
const PERMISSION_LOOKS: usize = 3;
/// What every life must at least compare, so that it can't come to nothing unnoticed.
const COMPARED_MIN: usize = 350;
/// On encrypted stores one moment of so many is looked at: what is read back comes by the same code, and all of it is.
const ENCRYPTED_ONE_OF: usize = 3;

#[test]
fn every_moment_through_every_door_with_slot_0() {
    lives("every_moment_through_every_door_with_slot_0", ("0s", Duration::ZERO));
}

#[test]
fn every_moment_through_every_door_with_slot_10() {
    lives("every_moment_through_every_door_with_slot_10", ("10s", Duration::from_secs(10)));
}

fn lives(test: &str, slot: (&'static str, Duration)) {
    if !is_root_or_skip(test) {
        return;
    }
    // Each of them often waits for a second to end.
    std::thread::scope(|scope| {
        for round in 0..rounds(LIVES) {
            let rng = Rng::announced(test);
            scope.spawn(move || live_through(test, slot, round, rng));
        }
    });
}

fn live_through(test: &str, slot: (&'static str, Duration), round: usize, mut rng: Rng) {
    let mut life = Life::new(test, slot, &mut rng);
    live(&mut life);
    live_with_little_kept(&mut life);
    let compared = life.compared;
    let (moments, done) = life.end();
    println!("life {round}: {moments} moments, compared {compared} times; {done:?}");
    let least = if key_file().is_some() { COMPARED_MIN / ENCRYPTED_ONE_OF } else { COMPARED_MIN };
    assert!(compared >= least, "compared {compared} times only");
    assert!(done.values().sum::<usize>() > 3, "next to nothing was done with the past: {done:?}");
}

/// All of it is within the floor.
fn live(life: &mut Life) {
    life.work(STEPS);
    let each = if key_file().is_some() { ENCRYPTED_ONE_OF } else { 1 };
    life.look_back(each, "at work");
    life.stop();
    life.look_back_by_mount(MOUNTED, i64::MAX, "mounted as it was");
    life.start();
    life.look_back(each, "after a restart");
    for _ in 0..KILLS {
        life.kill_at_work();
        life.look_back(2 * each, "after a kill");
        life.work(STEPS_AFTER_KILL);
    }
    life.tidy();
    life.look_back(1, "tidied, with everything kept");
}

/// Only the last part of it is.
fn live_with_little_kept(life: &mut Life) {
    life.stop();
    let floor = life.age() / 2;
    let text: &'static str = format!("{}ms", floor / 1_000_000).leak();
    for (name, value) in [
        ("VERSO_RETENTION__FLOOR", text),
        ("VERSO_RETENTION__THINNING", "[]"),
        ("VERSO_RETENTION__GRACE", "0s"),
        ("VERSO_STORE__PACK_BYTES_TARGET", "1MiB"),
    ] {
        life.set(name, value);
    }
    life.start();
    assert!(life.tidy() > 0, "nothing was too old");
    let kept = life.look_back_within(floor, 1, "tidied");
    assert!(kept > 5, "{kept} moments were kept");
    life.kill();
    life.look_back_within(floor, 2, "tidied and killed");
    life.stop();
    life.look_back_by_mount(MOUNTED, floor, "tidied, mounted as it was");
}

/// Random owners and permissions: nobody reads in the past what was closed to them then or lies behind a directory
/// that is closed today, nor a version or something deleted that they could never read.
#[test]
fn nobody_reads_more_in_the_past_than_they_could() {
    let test = "nobody_reads_more_in_the_past_than_they_could";
    let Some(place) = Place::new(test, &["grep", "xargs"]) else { return };
    let mut rng = Rng::announced(test);
    let (mut moments, mut versions) = (0, 0);
    for round in 0..rounds(1) {
        let mut life = Secrecy::new(&place, &format!("tree-{round}"), rng.fork());
        for _ in 0..PERMISSION_LOOKS {
            (0..PERMISSION_STEPS).for_each(|_| life.step());
            moments += life.check_moments();
            versions += life.check_versions();
        }
    }
    println!("{moments} files of moments and {versions} versions were read");
    assert!(moments > 50 && versions > 5, "{moments}, {versions}: nobody could read anything");
    place.finish();
}

/// The comparison itself: each kind of difference is one.
#[test]
fn the_comparison_notices_a_difference() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("d")).unwrap();
    for name in ["d/f", "d/g"] {
        fs::write(path(name), "content").unwrap();
    }
    let was = tree::read(dir.path()).unwrap();
    let wrong = || {
        let shown = tree::read(dir.path()).unwrap();
        Promise::new(0).differences(&was, 0, &shown).len()
    };
    assert_eq!(wrong(), 0);
    let time = fs::metadata(path("d/f")).unwrap().modified().unwrap();
    let put_back = || {
        fs::write(path("d/f"), "content").unwrap();
        fs::set_permissions(path("d/f"), fs::metadata(path("d/g")).unwrap().permissions()).unwrap();
        fs::File::options().write(true).open(path("d/f")).unwrap().set_modified(time).unwrap();
        assert_eq!(wrong(), 0);
    };
    fs::write(path("d/f"), "Content").unwrap();
    fs::File::options().write(true).open(path("d/f")).unwrap().set_modified(time).unwrap();
    assert_eq!(wrong(), 1, "a byte");
    put_back();
    support::os::chmod(&path("d/f"), 0o600).unwrap();
    assert_eq!(wrong(), 1, "permissions");
    put_back();
    fs::File::options().write(true).open(path("d/f")).unwrap().set_modified(UNIX_EPOCH).unwrap();
    assert_eq!(wrong(), 1, "a time");
    put_back();
    fs::rename(path("d/f"), path("d/h")).unwrap();
    assert_eq!(wrong(), 2, "a name");
    fs::rename(path("d/h"), path("d/f")).unwrap();
    fs::remove_file(path("d/g")).unwrap();
    fs::hard_link(path("d/f"), path("d/g")).unwrap();
    assert_ne!(wrong(), 0, "two files are one");
}
