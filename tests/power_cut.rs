//! The power fails under the store at the exact N-th acknowledged fsync. What was acknowledged is there afterwards, nothing is torn.
//!
//! The store lies on an image on a loop device whose filesystem is shut down without flushing anything. Each test has a
//! control that leaves the fsyncs out and must lose: if it does not, the cut was none and the test proves nothing.

#![allow(clippy::unwrap_used)] // all of it is test code

mod crash_support;

use crash_support::drive::{Drive, Options, check_clean};
use crash_support::image::{Image, Kind, clone_image};
use crash_support::power::{Ledger, Meter, Saver, Verdict};
use crash_support::{Rng, Scratch, is_root_or_skip, rounds};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const SAVERS: usize = 3;
const IMAGE_MEBIBYTES: u64 = 2048;
/// What the outer image has room for.
const CLONES_MAX: usize = 24;
/// The latest acknowledgement that a cut waits for.
const CUT_AT_MAX: u64 = 60;

#[test]
fn at_the_nth_fsync_on_ext4() {
    cuts_lose_nothing("at_the_nth_fsync_on_ext4", Kind::Ext4);
}

#[test]
fn at_the_nth_fsync_on_xfs() {
    cuts_lose_nothing("at_the_nth_fsync_on_xfs", Kind::Xfs);
}

fn cuts_lose_nothing(test: &str, kind: Kind) {
    if !is_root_or_skip(test) {
        return;
    }
    let mut rng = Rng::announced(test);
    let verdict = cut_repeatedly(test, kind, true, rounds(14), &mut rng);
    verdict.assert_good(test);
    let control = cut_repeatedly(test, kind, false, 3, &mut rng);
    let (lost, torn) = (control.lost.len(), control.torn.len());
    assert!(lost > 0, "{test}: without fsync nothing was lost, so the cuts were none");
    assert_eq!(torn, 0, "{test}: torn without fsync: {:#?}", control.torn);
    println!(
        "{} names compared; the control lost {lost} of {}",
        verdict.compared, control.compared
    );
}

/// Cuts the power `times` times at random acknowledgements, with the store growing over all of them.
fn cut_repeatedly(test: &str, kind: Kind, syncing: bool, times: usize, rng: &mut Rng) -> Verdict {
    let scratch = Scratch::new(test);
    let mountpoint = scratch.dir("mnt");
    let mut image =
        Image::create(kind, IMAGE_MEBIBYTES, &scratch.path("image"), &scratch.path("disk"));
    let store = image.mountpoint.join("store");
    let mut total = Verdict::default();
    Drive::start(&store, &mountpoint).stop();
    for round in 0..times {
        // Every other time with everything removed at once that nothing needs.
        let how = if round % 2 == 0 { Options::default() } else { Options::tidying() };
        let drive = Drive::start_with(&store, &mountpoint, &how).unwrap();
        let dir = mountpoint.join(format!("round-{round}"));
        let ledgers = save_until_cut(&dir, syncing, 1 + rng.below(CUT_AT_MAX), &image, rng);
        drive.kill();
        image = image.power_on();
        if rng.below(3) == 0 {
            image = crash_while_recovering(image, &store, &mountpoint, rng);
        }
        let drive = Drive::start(&store, &mountpoint);
        for ledger in &ledgers {
            total.add(ledger.compare(ledger, &mountpoint, &mountpoint));
        }
        drive.stop();
    }
    check_clean(&store);
    total
}

/// Saves with several threads until the power goes at the `nth` acknowledgement.
fn save_until_cut(
    dir: &Path,
    syncing: bool,
    nth: u64,
    image: &Image,
    rng: &mut Rng,
) -> Vec<Ledger> {
    std::fs::create_dir(dir).unwrap();
    let switch = image.power_switch();
    let meter = Meter::new(nth, move || switch.cut());
    let mut savers = new_savers(dir, syncing, &meter, rng);
    work_all(&mut savers);
    assert!(meter.is_over());
    savers.iter().map(Saver::ledger).collect()
}

fn new_savers(dir: &Path, syncing: bool, meter: &Arc<Meter>, rng: &mut Rng) -> Vec<Saver> {
    let dir = |n: usize| dir.join(format!("saver-{n}"));
    (0..SAVERS).map(|n| Saver::new(dir(n), rng.fork(), syncing, meter.clone()).unwrap()).collect()
}

fn work_all(savers: &mut [Saver]) {
    std::thread::scope(|scope| {
        for saver in savers {
            scope.spawn(move || {
                let error = saver.work();
                assert!(error.is_none(), "a call failed while there was power: {error:?}");
            });
        }
    });
}

/// A second crash while the first is being recovered from: the process killed, or the power cut again.
fn crash_while_recovering(
    mut image: Image,
    store: &Path,
    mountpoint: &Path,
    rng: &mut Rng,
) -> Image {
    for again in 0..2 {
        let starting = Drive::spawn(store, mountpoint, &Options::default());
        std::thread::sleep(Duration::from_millis(rng.below(60)));
        if again == 1 {
            image.power_switch().cut();
        }
        starting.kill();
    }
    image = image.power_on();
    image
}

/// Many crash images from one run: the image is cloned while it is written to, and each clone is started from.
#[test]
fn images_cloned_under_load() {
    const TEST: &str = "images_cloned_under_load";
    if !is_root_or_skip(TEST) {
        return;
    }
    let mut rng = Rng::announced(TEST);
    let verdict = clone_under_load(true, rounds(8).min(CLONES_MAX), &mut rng);
    verdict.assert_good(TEST);
    let control = clone_under_load(false, 2, &mut rng);
    assert!(!control.lost.is_empty(), "without fsync no clone lost anything: it proves nothing");
    println!("{} names compared; the control lost {}", verdict.compared, control.lost.len());
}

fn clone_under_load(syncing: bool, clones: usize, rng: &mut Rng) -> Verdict {
    let scratch = Scratch::new("clones");
    let outer = Image::create(
        Kind::Xfs,
        2 * IMAGE_MEBIBYTES,
        &scratch.path("outer"),
        &scratch.path("outer-disk"),
    );
    let file = outer.mountpoint.join("image");
    let inner = Image::create(Kind::Ext4, IMAGE_MEBIBYTES / 2, &file, &scratch.path("disk"));
    let mountpoint = scratch.dir("mnt");
    // The disk of a long run would be full otherwise.
    let store = inner.mountpoint.join("store");
    let drive = Drive::start_with(&store, &mountpoint, &Options::tidying()).unwrap();
    let meter = Meter::endless();
    let mut savers = new_savers(&mountpoint, syncing, &meter, rng);
    let ledgers: Vec<Saver> = savers.to_vec();
    let mut taken: Vec<(PathBuf, Vec<Ledger>)> = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| work_all(&mut savers));
        for n in 0..clones {
            std::thread::sleep(Duration::from_millis(100 + rng.below(400)));
            let promised = ledgers.iter().map(Saver::ledger).collect();
            let clone = outer.mountpoint.join(format!("clone-{n}"));
            clone_image(&file, &clone);
            taken.push((clone, promised));
        }
        meter.stop();
    });
    let later: Vec<Ledger> = ledgers.iter().map(Saver::ledger).collect();
    drive.stop();
    drop(inner);
    let mut total = Verdict::default();
    for (clone, promised) in taken {
        total.add(verify_clone(&scratch, &clone, &promised, &later, &mountpoint));
    }
    total
}

fn verify_clone(
    scratch: &Scratch,
    clone: &Path,
    promised: &[Ledger],
    later: &[Ledger],
    old_root: &Path,
) -> Verdict {
    let image = Image::mount(clone, &scratch.path("clone-disk"));
    let (store, mountpoint) = (image.mountpoint.join("store"), scratch.dir("clone-mnt"));
    let drive = Drive::start(&store, &mountpoint);
    let mut verdict = Verdict::default();
    for (promised, later) in promised.iter().zip(later) {
        verdict.add(promised.compare(later, old_root, &mountpoint));
    }
    drive.stop();
    check_clean(&store);
    verdict
}
