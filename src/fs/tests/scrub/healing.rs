//! What is damaged is brought back, from whoever has it.

use super::*;
use crate::sys::Unattended;

#[test]
fn what_is_damaged_is_brought_back_from_two_places_that_are_damaged_themselves() {
    let drive = Drive::of_small_packs();
    let files = filled(&drive);
    let (one, other) = (drive.copy("one"), drive.copy("other"));
    for pack in one.packs.packs().unwrap() {
        // Of each pack one of the two has nothing that can be read.
        let copy = if pack.id.0 % 2 == 0 { &one } else { &other };
        let path = pack_path(&copy.dir, pack.id);
        (64..pack.len).step_by(1000).for_each(|offset| flip(&path, offset));
    }
    let flips = flip_anywhere(&drive);
    let hit = |place: &StoredAt| {
        let end = place.offset + record_len(place.stored_len);
        flips.iter().any(|(pack, at)| *pack == place.pack && (place.offset..end).contains(at))
    };
    let before = drive.all_chunks();
    // A flip may leave what zstd makes of it as it was.
    let spoiled: BTreeSet<ChunkId> = before
        .iter()
        .filter(|place| hit(place))
        .map(|place| place.chunk)
        .filter(|id| drive.volume.ingest.verify(&drive.volume.meta, &drive.row(*id)).is_err())
        .collect();
    assert!(spoiled.len() > 30, "{} of {}", spoiled.len(), before.len());

    let stop = AtomicBool::new(false);
    let (report, read) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_beside(&drive.volume, &files, &stop));
        while drive.volume.damage_noted() == 0 {
            std::thread::yield_now();
        }
        let report = drive.scrub(&[&one, &other]);
        stop.store(true, Ordering::Relaxed);
        (report, reader.join().unwrap())
    });
    assert!(read.0 > 0 && read.1 > 0, "{read:?}");
    assert_eq!((&report.left[..], report.omitted), (&[][..], 0));
    assert!(report.repaired >= spoiled.len() as u64, "{report:?}");
    assert!(report.from["one"] > 5 && report.from["other"] > 5, "{report:?}");
    assert!(report.complete && report.ended.is_some() && report.bytes_left == 0, "{report:?}");
    let places: BTreeMap<ChunkId, StoredAt> =
        before.iter().map(|place| (place.chunk, *place)).collect();
    for id in spoiled {
        let row = drive.row(id);
        assert_ne!((row.at.pack, row.at.offset), (places[&id].pack, places[&id].offset));
    }
    for (name, content) in &files {
        assert!(drive.load(Ino::ROOT, name) == *content, "{name}");
    }

    // Footers and headers: told, and left behind by upkeep with what else is damaged.
    assert!(report.packs.iter().any(|what| what.contains("its footer is damaged")), "{report:?}");
    assert!(report.packs.iter().any(|what| what.contains("its header is damaged")), "{report:?}");
    for _ in 0..2 {
        drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
    }
    let again = drive.scrub(&[]);
    assert_eq!((again.damaged, &again.packs[..]), (0, &[][..]), "{again:?}");
    let drive = drive.reopen();
    drive.is_whole(&files);
}

#[test]
fn what_a_place_has_is_not_believed() {
    let drive = Drive::of_small_packs();
    let files = filled(&drive);
    let spare = drive.copy("spare");
    let broken = Broken(AtomicU64::new(0));
    let chunks: Vec<ChunkRef> =
        (0..6).flat_map(|n| drive.chunks_of_file(&format!("noise{n}"))).collect();
    chunks.iter().step_by(3).for_each(|chunk| drive.spoil_record(chunk));
    let damaged = chunks.iter().step_by(3).count() as u64;
    let nothing = drive.scrub(&[&broken, &Liar]);
    assert_eq!((nothing.damaged, nothing.repaired), (damaged, 0), "{nothing:?}");
    assert_eq!(nothing.left.len() as u64, damaged);
    // Who does not answer is not asked on and on.
    assert_eq!(broken.0.load(Ordering::Relaxed), 3);
    let plan = drive.volume.scrub_plan(&ROUND, &Unattended).unwrap();
    assert_eq!(plan.damaged, damaged);
    let report = drive.scrub(&[&Liar, &broken, &spare]);
    assert_eq!((report.damaged, report.repaired), (0, damaged), "{report:?}");
    assert_eq!(report.from, BTreeMap::from([("spare".to_owned(), damaged)]));
    assert_eq!(report.left, []);
    drive.is_whole(&files);
    let drive = drive.crash();
    drive.is_whole(&files);
}

#[test]
fn a_difference_is_brought_back_and_so_is_what_it_is_one_to() {
    let drive = Drive::new();
    let files = filled(&drive);
    let spare = drive.copy("spare");
    let all = drive.all_chunks();
    let differences: Vec<ChunkRef> =
        all.iter().map(|place| drive.row(place.chunk)).filter(|row| row.base.is_some()).collect();
    assert!(differences.len() > 20, "{}", differences.len());
    let bases: BTreeSet<ChunkId> = differences.iter().filter_map(|row| row.base).collect();
    let bases: Vec<ChunkRef> = bases.into_iter().map(|id| drive.row(id)).collect();
    // Of some the one is damaged, of some the other, of some both.
    bases.iter().step_by(3).for_each(|chunk| drive.spoil_record(chunk));
    differences.iter().step_by(2).for_each(|chunk| drive.spoil_record(chunk));
    let report = drive.scrub(&[&spare]);
    assert_eq!((&report.left[..], report.garbage), (&[][..], 0), "{report:?}");
    for chunk in &bases {
        assert!(drive.row(chunk.id).base.is_none());
    }
    // What was whole itself stays a difference.
    let still = differences.iter().filter(|chunk| drive.row(chunk.id).base.is_some()).count();
    assert!(still > 5 && still < differences.len(), "{still} of {}", differences.len());
    drive.is_whole(&files);
    drive.crash().is_whole(&files);
}

#[test]
fn what_could_not_be_read_is_brought_back_soon() {
    let drive = Drive::new();
    let content = noise(9, 40_000);
    drive.save(Ino::ROOT, "f", &content);
    drive.save(Ino::ROOT, "other", &noise(10, 40_000));
    let spare = drive.copy("spare");
    let drive = drive.reopen();
    for name in ["f", "other"] {
        drive.spoil_record(&drive.chunks_of_file(name)[0]);
    }
    assert_eq!(drive.volume.damage_noted(), 0);
    let attr = drive.volume.lookup(Ino::ROOT, b"f").unwrap();
    let handle = drive.volume.open(attr.ino, READ_WRITE).unwrap();
    for _ in 0..3 {
        let error = drive.volume.read(handle, 0, 10, &mut Vec::new()).unwrap_err();
        assert_eq!(error.errno(), libc::EIO);
    }
    assert_eq!(drive.volume.damage_noted(), 1);
    // Nobody has it: it is known, and not noted again by each read.
    let report = drive.volume.repair_noted(&[], &Unattended).unwrap();
    assert_eq!((report.damaged, report.repaired, report.left.len()), (1, 0, 1), "{report:?}");
    assert!(drive.volume.read(handle, 0, 10, &mut Vec::new()).is_err());
    assert_eq!(drive.volume.damage_noted(), 0);
    let other = drive.chunks_of_file("other")[0];
    drive.volume.ingest.note_damage(other.id);
    let whole = drive.volume.ingest.packs();
    assert!(whole.verify(&other, None).is_err());
    let report = drive.volume.repair_noted(&[&spare], &Unattended).unwrap();
    assert_eq!((report.damaged, report.repaired, report.left.len()), (1, 1, 1), "{report:?}");
    let report = drive.scrub(&[&spare]);
    assert_eq!((report.repaired, report.left.len()), (1, 0), "{report:?}");
    let mut read = Vec::new();
    drive.volume.read(handle, 0, content.len(), &mut read).unwrap();
    assert_eq!(read, content);
}

#[test]
fn another_record_in_the_packs_is_as_good_as_another_place() {
    let drive = Drive::new();
    let content = noise(9, 40_000);
    drive.save(Ino::ROOT, "f", &content);
    let chunk = drive.chunks_of_file("f")[0];
    // As two threads that bring the same at the same instant may leave it.
    let packs = drive.volume.ingest.packs();
    packs.append(&packs.content_tree(&content), &content, None).unwrap();
    drive.settle();
    drive.spoil_record(&chunk);
    let report = drive.scrub(&[]);
    assert_eq!((report.damaged, report.repaired, report.left.len()), (1, 1, 0), "{report:?}");
    assert_eq!(drive.load(Ino::ROOT, "f"), content);
}

#[test]
fn check_repairs_from_the_same_places() {
    let drive = Drive::of_small_packs();
    let files = filled(&drive);
    let spare = drive.copy("spare");
    let chunks: Vec<ChunkRef> =
        (0..4).flat_map(|n| drive.chunks_of_file(&format!("noise{n}"))).collect();
    chunks.iter().step_by(4).for_each(|chunk| drive.spoil_record(chunk));
    // A whole pack is gone.
    let lost = drive.chunks_of_file("text3")[0].at.pack;
    std::fs::remove_file(pack_path(&drive.packs_dir(), lost)).unwrap();
    let drive = drive.reopen();
    let check = |repair, spares: &[&dyn Spare]| {
        let options = CheckOptions { read_data: true, repair };
        drive.volume.check_with(options, spares, &CheckProgress::default()).unwrap()
    };
    let found = check(true, &[]).findings.len();
    assert!(found >= chunks.iter().step_by(4).count(), "{found}");
    assert!(drive.volume.damage_noted() > 0);
    let report = check(true, &[&Liar, &spare]);
    assert!(report.is_clean() && report.repaired.len() >= found, "{report:?}");
    drive.is_whole(&files);
}
