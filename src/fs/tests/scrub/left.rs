//! What is damaged and not brought back: told, or nobody's business.

use super::*;
use crate::sys::Unattended;

#[test]
fn what_can_not_be_brought_back_is_told_by_file_and_version_until_it_can() {
    let drive = Drive::new();
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap();
    let versions: Vec<Vec<u8>> = (0..3).map(|n| noise(50 + n, 20_000)).collect();
    for content in &versions {
        drive.save(dir.ino, "kept", content);
        drive.clock.advance(Duration::from_secs(60));
    }
    let live = noise(60, 20_000);
    drive.save(Ino::ROOT, "live", &live);
    drive
        .volume
        .link(drive.volume.lookup(Ino::ROOT, b"live").unwrap().ino, dir.ino, b"also")
        .unwrap();
    let spare = drive.copy("spare");
    let by_content = |content: &[u8]| {
        let hash = drive.volume.ingest.packs().content_tree(content).hash();
        drive.volume.meta.read(|view| view.chunk_by_hash(&hash)).unwrap().unwrap()
    };
    let (old, shown) = (by_content(&versions[1]), by_content(&live));
    [old, shown].iter().for_each(|chunk| drive.spoil_record(chunk));

    let report = drive.scrub(&[]);
    type Files = Vec<(Vec<String>, bool, Vec<u64>)>;
    let told = |left: &[Damage]| -> BTreeMap<u64, Files> {
        let files = |damage: &Damage| {
            let files = damage.files.iter();
            files.map(|file| (file.paths.clone(), file.is_live, file.versions.clone())).collect()
        };
        left.iter().map(|damage| (damage.chunk, files(damage))).collect()
    };
    let expected = BTreeMap::from([
        (old.id.0, vec![(vec!["/d/kept".to_owned()], false, vec![2])]),
        (shown.id.0, vec![(vec!["/d/also".to_owned(), "/live".to_owned()], true, vec![1])]),
    ]);
    let mut left = report.left.clone();
    left.iter_mut().flat_map(|damage| &mut damage.files).for_each(|file| file.paths.sort());
    assert_eq!(told(&left), expected);
    let found = left[0].found;

    // It stays known, and since when; who saves the contents again heals it.
    drive.clock.advance(DAY);
    let drive = drive.reopen();
    let (after, omitted) = drive.volume.damage_left().unwrap();
    assert_eq!((after.len(), omitted, after[0].found), (2, 0, found));
    assert_eq!(drive.volume.damage_noted(), 0, "nothing new");
    assert_eq!(drive.volume.status().unwrap().damaged_chunks, 2);
    // A check that reads nothing tells it as well.
    let checked = drive.volume.check(CheckOptions::default(), &CheckProgress::default()).unwrap();
    assert_eq!(checked.findings.len(), 2, "{checked:?}");
    drive.save(Ino::ROOT, "again", &live);
    let (after, _) = drive.volume.damage_left().unwrap();
    assert_eq!(after.iter().map(|damage| damage.chunk).collect::<Vec<_>>(), [old.id.0]);
    assert_eq!(drive.load(Ino::ROOT, "live"), live);
    let report = drive.scrub(&[&spare]);
    assert_eq!((report.repaired, report.left.len()), (1, 0), "{report:?}");
    assert_eq!(drive.volume.status().unwrap().damaged_chunks, 0);
    assert!(drive.check_data().is_clean());
}

#[test]
fn garbage_is_nobodys_business_and_compaction_gets_rid_of_it() {
    let drive = Drive::of_small_packs();
    drive.save(Ino::ROOT, "stays", &noise(1, 60_000));
    drive.save(Ino::ROOT, "goes", &noise(2, 900_000));
    drive.settle();
    let chunks = drive.chunks_of_file("goes");
    drive.volume.unlink(Ino::ROOT, b"goes").unwrap();
    drive.clock.advance(DAY * 40);
    // Its rows go; the chunks are only condemned.
    drive.volume.upkeep(None, DAY, &Unattended).unwrap();
    chunks.iter().take(3).for_each(|chunk| drive.spoil_record(chunk));
    let before = drive.volume.ingest.packs().packs().unwrap().len();
    let report = drive.scrub(&[]);
    assert_eq!((report.damaged, report.garbage, report.left.len()), (3, 3, 0), "{report:?}");
    assert_eq!(drive.volume.status().unwrap().damaged_chunks, 0);
    drive.clock.advance(DAY * 2);
    for _ in 0..2 {
        drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
    }
    let after = drive.volume.ingest.packs().packs().unwrap();
    assert!(after.len() < before || after.iter().all(|pack| pack.id != chunks[0].at.pack));
    assert_eq!(drive.volume.meta.count("damage"), 0);
    assert_eq!(drive.load(Ino::ROOT, "stays"), noise(1, 60_000));
}

#[test]
fn a_pack_that_was_found_damaged_at_a_start_goes_once_nothing_needs_it() {
    let drive = Drive::of_small_packs();
    drive.save(Ino::ROOT, "goes", &noise(2, 900_000));
    let first = drive.chunks_of_file("goes")[0];
    drive.save(Ino::ROOT, "stays", &noise(1, 60_000));
    let spare = drive.copy("spare");
    let pack = pack_path(&drive.packs_dir(), first.at.pack);
    let drive = drive.reopen_after(|volume| {
        volume.close().unwrap();
        // It has no footer, and a record after a gap.
        flip(&pack, first.at.offset + 20);
        flip(&pack, std::fs::metadata(&pack).unwrap().len() - 20);
    });
    assert_eq!(drive.load(Ino::ROOT, "stays"), noise(1, 60_000));
    let report = drive.scrub(&[&spare]);
    assert_eq!((report.repaired, report.left.len()), (1, 0), "{report:?}");
    assert!(report.packs[0].contains("its footer is damaged"), "{report:?}");
    drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
    let packs = drive.volume.ingest.packs().packs().unwrap();
    assert!(packs.iter().all(|pack| pack.id != first.at.pack), "{packs:?}");
    assert_eq!(drive.volume.meta.count("damaged_pack"), 0);
    drive.is_whole(&BTreeMap::from([
        ("stays".to_owned(), noise(1, 60_000)),
        ("goes".to_owned(), noise(2, 900_000)),
    ]));
}

#[test]
fn what_is_being_erased_is_not_brought_back() {
    let drive = Drive::new();
    drive.save(Ino::ROOT, "secret", &noise(1, 60_000));
    drive.save(Ino::ROOT, "stays", &noise(2, 60_000));
    let spare = drive.copy("spare");
    let (secret, shared) = (drive.chunks_of_file("secret")[0], drive.chunks_of_file("stays")[0]);
    drive.volume.unlink(Ino::ROOT, b"secret").unwrap();
    // As an erase leaves it that was killed after its rows went.
    drive.volume.meta.execute(&format!(
        "DELETE FROM extent WHERE chunk = {}; INSERT INTO erased_pack VALUES ({})",
        secret.id.0, secret.at.pack.0
    ));
    [secret, shared].iter().for_each(|chunk| drive.spoil_record(chunk));
    let report = drive.scrub(&[&spare]);
    assert_eq!((report.repaired, report.garbage), (1, 1), "{report:?}");
    assert_eq!(drive.row(secret.id).at, secret.at);
    assert_eq!(drive.load(Ino::ROOT, "stays"), noise(2, 60_000));
}

#[test]
fn rows_that_make_no_sense_stand_in_nobodys_way() {
    let drive = Drive::new();
    let files = filled(&drive);
    let spare = drive.copy("spare");
    let differs = |chunk: &&ChunkRef| chunk.base.is_some();
    let chunk = *drive.chunks_of_file("noise0").iter().find(differs).unwrap();
    drive.volume.meta.execute(&format!("UPDATE chunk SET base = -1 WHERE id = {}", chunk.id.0));
    drive.spoil_record(&drive.chunks_of_file("noise7")[0]);
    let report = drive.scrub(&[&spare]);
    assert_eq!((report.damaged, report.repaired, report.left.len()), (1, 1, 0), "{report:?}");
    assert!(report.ended.is_some(), "{report:?}");
    assert!(drive.load(Ino::ROOT, "noise7") == files["noise7"]);
}
