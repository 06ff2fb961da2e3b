//! How much a run reads, and where it goes on.

use super::*;
use crate::sys::Unattended;

#[test]
fn a_round_without_damage_changes_nothing() {
    let drive = Drive::of_small_packs();
    let files = filled(&drive);
    let bytes_of_packs = || {
        let mut packs = BTreeMap::new();
        for entry in std::fs::read_dir(drive.packs_dir()).unwrap() {
            let path = entry.unwrap().path();
            packs.insert(path.clone(), std::fs::read(path).unwrap());
        }
        packs
    };
    let spare = drive.copy("spare");
    let (before, chunks) = (bytes_of_packs(), drive.all_chunks());
    let plan = drive.volume.scrub_plan(&ROUND, &Unattended).unwrap();
    let bytes = drive.bytes_of_all();
    assert_eq!((plan.bytes, plan.bytes_left, plan.bytes_total), (bytes, bytes, bytes));
    assert_eq!((plan.begun, plan.damaged), (None, 0));
    let report = drive.scrub(&[&spare]);
    let expected = ScrubReport {
        chunks: chunks.len() as u64,
        bytes,
        begun: drive.clock.now().0,
        ended: Some(drive.clock.now().0),
        complete: true,
        ..ScrubReport::default()
    };
    assert_eq!(report, expected);
    assert!(drive.all_chunks() == chunks && bytes_of_packs() == before);
    assert_eq!(spare.fetched.load(Ordering::Relaxed), 0);
    assert_eq!(
        (drive.volume.meta.count("damage"), drive.volume.meta.count("damaged_pack")),
        (0, 0)
    );
    drive.is_whole(&files);
    // An empty store has nothing to read, and that is a round.
    let empty = Drive::new().scrub(&[]);
    assert!(empty.complete && empty.ended.is_some() && empty.bytes == 0, "{empty:?}");
}

#[test]
fn a_run_goes_on_where_the_last_one_was_stopped() {
    let mut drive = Drive::of_small_packs();
    filled(&drive);
    let (bytes, chunks) = (drive.bytes_of_all(), drive.all_chunks().len() as u64);
    let (mut read, mut runs) = ((0, 0), 0);
    loop {
        let task = StopsAfter::bytes(1_300_000);
        let report = drive.volume.scrub(&ROUND, &[], &task).unwrap();
        read = (read.0 + report.chunks, read.1 + report.bytes);
        assert_eq!(report.bytes_left, bytes - read.1, "{report:?}");
        assert_eq!(report.complete, report.ended.is_some(), "{report:?}");
        runs += 1;
        if report.complete {
            break;
        }
        // Kept through an orderly stop and through a death.
        drive = if runs % 2 == 0 { drive.reopen() } else { drive.crash() };
    }
    assert_eq!(read, (chunks, bytes));
    assert!(runs > 4, "{runs}");
    let next = drive.volume.scrub_plan(&ROUND, &Unattended).unwrap();
    assert_eq!((next.begun, next.bytes_left), (None, bytes));
}

#[test]
fn a_month_of_daily_shares_is_a_round() {
    let drive = Drive::of_small_packs();
    filled(&drive);
    let bytes = drive.bytes_of_all();
    let (mut read, mut days) = (0, 0);
    let ended = loop {
        let plan = drive.volume.scrub_plan(&SHARE, &Unattended).unwrap();
        let report = drive.volume.scrub(&SHARE, &[], &Unattended).unwrap();
        // To the end of a batch.
        assert!(report.bytes <= plan.bytes + (1 << 20), "{plan:?}, {report:?}");
        assert!(report.complete);
        read += report.bytes;
        drive.clock.advance(DAY);
        days += 1;
        if let Some(ended) = report.ended {
            break ended;
        }
    };
    assert_eq!(read, bytes);
    assert!((20..=31).contains(&days), "{days}");
    let row = drive.volume.meta.read(|view| view.scrub()).unwrap().unwrap();
    assert_eq!((row.under_way, row.ended.map(|at| at.0), row.bytes), (false, Some(ended), bytes));
    // What is asked for by hand is read at once.
    let budget = Budget::Bytes(2_000_000);
    let part = ScrubOptions { budget, ..ROUND };
    let report = drive.volume.scrub(&part, &[], &Unattended).unwrap();
    assert!((2_000_000..3_100_000).contains(&report.bytes), "{report:?}");
}

#[test]
fn compaction_beside_it_hides_nothing_from_it() {
    let drive = Drive::of_small_packs();
    let files = filled(&drive);
    let spare = drive.copy("spare");
    for n in 0..6 {
        drive
            .chunks_of_file(&format!("text{n}"))
            .iter()
            .for_each(|chunk| drive.spoil_record(chunk));
    }
    let stop = AtomicBool::new(false);
    let (damaged, compacted) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut moved = 0;
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // Leaves packs with holes.
                drive.save(Ino::ROOT, "busy", &noise(1000 + n, 1_500_000));
                drive.save(Ino::ROOT, &format!("keep{n}"), &noise(3000 + n, 100_000));
                drive.clock.advance(DAY * 40);
                moved +=
                    drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap().chunks_moved;
            }
            moved
        });
        let mut damaged = 0;
        for _ in 0..4 {
            damaged += drive.scrub(&[&spare]).damaged;
        }
        stop.store(true, Ordering::Relaxed);
        (damaged, other.join().unwrap())
    });
    assert!(damaged > 0 && compacted > 0, "{damaged} damaged, {compacted} moved");
    let last = drive.scrub(&[&spare]);
    assert_eq!((last.damaged, last.left.len()), (0, 0), "{last:?}");
    drive.is_whole(&files);
}
