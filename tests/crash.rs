//! The daemon dies by SIGKILL under load, at random moments and at every named failpoint; what was acknowledged must be there.

#![allow(clippy::unwrap_used)] // all of it is test code

mod crash_support;
#[path = "support/failpoints.rs"]
mod failpoints;

use crash_support::drive::{Drive, Options, check_clean};
use crash_support::encryption::key_file;
use crash_support::erasing::Erasure;
use crash_support::load::Writer;
use crash_support::{Rng, Scratch, is_root_or_skip, rounds};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WRITERS: usize = 4;
/// Failpoints of erasing, which no load does.
const ERASING: &str = "erase-";
/// Failpoints of scrubbing, which `tests/scrub.rs` dies at: no load brings chunks back.
const SCRUBBING: &str = "scrub-";
/// How long the loads may take that are to reach a failpoint, one after the other. Each ends with an ordinary stop, which passes failpoints too; the last
/// one only makes a failing test end.
const PATIENCE: [Duration; 3] =
    [Duration::from_secs(4), Duration::from_secs(15), Duration::from_secs(90)];
/// How long a load may take to come by once more: nothing hangs on it.
const PATIENCE_LATER: Duration = Duration::from_secs(2);
/// Drives that are killed at the same time: each of them waits for its daemon most of the time.
const LANES: usize = 4;
/// Failpoints of a log that has become long, which is what attributes of this size make it soon.
const OF_A_LONG_LOG: &str = "checkpoint-";
const ATTRIBUTE_BYTES: usize = 60_000;

#[test]
fn killed_at_random_moments() {
    if !is_root_or_skip("killed_at_random_moments") {
        return;
    }
    let mut rng = Rng::announced("killed_at_random_moments");
    let scratch = Scratch::new("killed");
    let (store, mountpoint) = (scratch.path("store"), scratch.dir("mnt"));
    let mut drive = Drive::start(&store, &mountpoint);
    let mut writers = new_writers(&mountpoint, "writer", &mut rng);
    let (mut slowest, mut calls) = (Duration::ZERO, 0);
    for round in 0..rounds(12) {
        let alive = Duration::from_millis(20 + rng.below(900));
        drive = kill_under_load(drive, &mut writers, alive);
        if rng.below(3) == 0 {
            drive = kill_while_starting(drive, &mut rng);
        }
        slowest = slowest.max(drive.started_in);
        verify_all(&mut writers, &format!("round {round}, killed after {alive:?}"));
        calls = writers.iter().map(|writer| writer.calls).sum();
    }
    drive.stop();
    check_clean(&store);
    assert!(calls > 100, "the load did next to nothing: {calls} calls");
    if key_file().is_none() {
        let db = rusqlite::Connection::open(store.join("meta.db")).unwrap();
        let count = "SELECT count(*) FROM chunk WHERE base IS NOT NULL";
        let differences: u64 = db.query_row(count, [], |row| row.get(0)).unwrap();
        assert!(differences > 0, "no chunk was stored as a difference");
    }
    println!("{calls} acknowledged calls, slowest start after a kill {slowest:?}");
}

/// Every `failpoint::hit("…")` in the sources must be one that a load reaches, and dying there must lose nothing.
#[test]
fn killed_at_every_failpoint() {
    if !is_root_or_skip("killed_at_every_failpoint") {
        return;
    }
    if !failpoints::are_built() {
        return;
    }
    let mut rng = Rng::announced("killed_at_every_failpoint");
    let mut names = failpoints::all();
    names.retain(|name| {
        let has_its_own = failpoints::is_of_keys(name)
            || failpoints::is_of_backups(name)
            || failpoints::is_of_projects(name);
        !name.starts_with(ERASING) && !name.starts_with(SCRUBBING) && !has_its_own
    });
    assert!(!names.is_empty(), "no failpoint in the sources");
    let count = names.len();
    let silent = in_lanes(names, &mut rng, |name, rng| {
        if !PATIENCE.iter().any(|patience| dies_at(name, 1, *patience, rng)) {
            return Some(name.to_owned());
        }
        // Encryption makes no other steps of it.
        if key_file().is_none() {
            let later = 2 + rng.below(6);
            dies_at(name, later, PATIENCE_LATER, rng);
        }
        None
    });
    println!("{count} failpoints");
    assert!(silent.is_empty(), "no load reached {silent:?}");
}

/// Does `work` for each of the names, on some threads; what it says, where it says something.
fn in_lanes<T: Send>(
    names: impl IntoIterator<Item = String>,
    rng: &mut Rng,
    work: impl Fn(&str, &mut Rng) -> Option<T> + Sync,
) -> Vec<T> {
    let jobs: Vec<(String, Rng)> = names.into_iter().map(|name| (name, rng.fork())).collect();
    let (jobs, said) = (Mutex::new(jobs.into_iter()), Mutex::new(Vec::new()));
    let next = || jobs.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some((name, mut rng)) = next() {
                    let words = work(&name, &mut rng);
                    said.lock().unwrap().extend(words);
                }
            });
        }
    });
    said.into_inner().unwrap()
}

/// Whether the daemon died at the `hit`-th pass of the failpoint, with nothing lost. The store was left by a kill
/// before, so that the steps of recovery are passed too.
fn dies_at(name: &str, hit: u64, patience: Duration, rng: &mut Rng) -> bool {
    let scratch = Scratch::in_memory("failpoint");
    let (store, mountpoint) = (scratch.path("store"), scratch.dir("mnt"));
    let drive = Drive::start(&store, &mountpoint);
    let mut earlier = new_writers(&mountpoint, "earlier", rng);
    load_for(&mut earlier, Duration::from_millis(300));
    drive.kill();

    let options = Options { failpoint: Some(format!("{name}:{hit}")), ..Options::tidying() };
    let mut drive = Drive::spawn(&store, &mountpoint, &options);
    let mut writers = Vec::new();
    if drive.wait_until_mounted().is_ok() {
        if name.starts_with(OF_A_LONG_LOG) {
            lengthen_log(&mountpoint.join("attributes"), patience, rng);
        }
        writers = load_until_death(&mut drive, patience, rng);
    }
    let died = drive.ended_by_signal() == Some(libc::SIGKILL);
    drive.kill();

    let drive = Drive::start(&store, &mountpoint);
    verify_all(&mut earlier, &format!("before failpoint {name}:{hit}"));
    verify_all(&mut writers, &format!("failpoint {name}:{hit}"));
    drive.stop();
    check_clean(&store);
    died
}

/// Gives a file attributes of which each takes many pages of the log, until the daemon dies: there is no telling when a slow machine would come to
/// that with small changes.
fn lengthen_log(file: &Path, patience: Duration, rng: &mut Rng) {
    let begun = Instant::now();
    if std::fs::write(file, "").is_err() {
        return;
    }
    let flags = rustix::fs::XattrFlags::empty();
    while begun.elapsed() < patience {
        let value = rng.bytes(ATTRIBUTE_BYTES);
        if rustix::fs::setxattr(file, "user.long", &value, flags).is_err() {
            return;
        }
    }
}

/// Works until the daemon dies; when it does not, asks it to end, which passes the failpoints of stopping.
fn load_until_death(drive: &mut Drive, patience: Duration, rng: &mut Rng) -> Vec<Writer> {
    // The daemon may die while the directories are made.
    let dir = |n: usize| drive.mountpoint.join(format!("writer-{n}"));
    let mut writers: Vec<Writer> =
        (0..WRITERS).map_while(|n| Writer::new(dir(n), rng.fork()).ok()).collect();
    load_for(&mut writers, patience);
    if !drive.has_died(Duration::from_millis(200)) {
        let _ = std::process::Command::new("umount").arg(&drive.mountpoint).status();
    }
    drive.has_died(Duration::from_secs(30));
    writers
}

fn load_for(writers: &mut [Writer], time: Duration) {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for writer in writers {
            scope.spawn(move || writer.work(|| begun.elapsed() > time));
        }
    });
}

/// Killed at each step of an erase: what should stay stays, and erasing again really erases.
#[test]
fn killed_while_erasing() {
    if !is_root_or_skip("killed_while_erasing") {
        return;
    }
    if !failpoints::are_built() {
        return;
    }
    let mut rng = Rng::announced("killed_while_erasing");
    let mut names = failpoints::all();
    names.retain(|name| name.starts_with(ERASING));
    assert!(names.len() > 5, "{names:?}");
    // Steps of what an erase does by way of others.
    names
        .extend(["compact-after-commit", "pack-remove-before", "collect-after"].map(str::to_owned));
    let count = names.len();
    let _: Vec<()> = in_lanes(names, &mut rng, |name, rng| {
        dies_erasing(name, rng);
        None
    });
    println!("killed at {count} steps of erasing");
}

fn dies_erasing(name: &str, rng: &mut Rng) {
    let mut erasure = Erasure::new(rng);
    erasure.stop_and_check();
    // What is encrypted can't be found even before.
    let nothing = erasure.left().is_empty();
    assert_eq!(nothing, key_file().is_some(), "there is nothing to erase");
    erasure.start(Some(name));
    let said = erasure.erase().expect_err("it was not reached");
    assert_eq!(erasure.died_by(), Some(libc::SIGKILL), "{name}: {said}");
    erasure.start(None);
    erasure.check_what_stays(name);
    assert_eq!(erasure.erase(), Ok(()), "{name}: it can't be repeated");
    erasure.check_what_stays(name);
    assert_eq!(erasure.left(), Vec::<String>::new(), "after {name}, still mounted");
    erasure.stop_and_check();
    assert_eq!(erasure.left(), Vec::<String>::new(), "after {name}");
}

fn new_writers(mountpoint: &Path, name: &str, rng: &mut Rng) -> Vec<Writer> {
    let dir = |n: usize| mountpoint.join(format!("{name}-{n}"));
    (0..WRITERS).map(|n| Writer::new(dir(n), rng.fork()).unwrap()).collect()
}

/// Lets all writers work, kills the daemon after `alive`, and starts it again.
fn kill_under_load(drive: Drive, writers: &mut [Writer], alive: Duration) -> Drive {
    let (store, mountpoint) = (drive.store.clone(), drive.mountpoint.clone());
    let killing = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in &mut *writers {
            let killing = &killing;
            scope.spawn(move || {
                let error = writer.work(|| killing.load(Ordering::SeqCst));
                let expected = error.is_none() || killing.load(Ordering::SeqCst);
                assert!(expected, "a call failed while the daemon lived: {error:?}");
            });
        }
        std::thread::sleep(alive);
        killing.store(true, Ordering::SeqCst);
        drive.kill();
    });
    Drive::start_with(&store, &mountpoint, &Options::tidying()).unwrap()
}

/// Kills a recovering daemon a few times before it is let through.
fn kill_while_starting(drive: Drive, rng: &mut Rng) -> Drive {
    let (store, mountpoint) = (drive.store.clone(), drive.mountpoint.clone());
    drive.kill();
    for _ in 0..3 {
        let starting = Drive::spawn(&store, &mountpoint, &Options::default());
        std::thread::sleep(Duration::from_millis(rng.below(60)));
        starting.kill();
    }
    Drive::start(&store, &mountpoint)
}

fn verify_all(writers: &mut [Writer], when: &str) {
    let wrong: Vec<String> = writers.iter_mut().flat_map(Writer::verify).collect();
    assert!(wrong.is_empty(), "{when}: {wrong:#?}");
}

/// The harness itself: a load whose effects are taken back must not pass.
#[test]
fn the_comparison_notices_a_loss() {
    let scratch = Scratch::new("control");
    let dir = scratch.path("writer");
    let mut writer = Writer::new(dir.clone(), Rng::seeded(7)).unwrap();
    let mut left = 300;
    let left = std::cell::RefCell::new(&mut left);
    writer.work(|| {
        **left.borrow_mut() -= 1;
        **left.borrow() == 0
    });
    assert_eq!(writer.verify(), Vec::<String>::new());
    let mut paths = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let file = paths.find(|path| path.is_file()).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(writer.verify().len(), 1);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(writer.verify().len(), 1);
}
