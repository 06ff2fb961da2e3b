//! Each inconsistency made by hand, found with the right file named, and put right where it can be.

use super::*;
use crate::fs::trail::Trail;
use std::os::unix::fs::{FileExt, PermissionsExt};

impl Drive {
    fn check(&self, read_data: bool, repair: bool) -> CheckReport {
        let options = CheckOptions { read_data, repair };
        self.volume.check(options, &CheckProgress::default()).unwrap()
    }

    /// Breaks something by SQL; checks that exactly `kinds` are found and that `path` is named by the first.
    #[track_caller]
    fn breaks(&self, sql: &str, kinds: &[&str], path: &str) {
        self.volume.meta.execute(sql);
        let report = self.check(false, false);
        assert_eq!(kinds_of(&report.findings), kinds, "{report:?}");
        let named: Vec<&String> = report.findings[0].files.iter().flat_map(|f| &f.paths).collect();
        assert_eq!(named, [path], "{report:?}");
    }

    #[track_caller]
    fn is_repaired(&self, kinds: &[&str]) {
        let report = self.check(false, true);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(kinds_of(&report.repaired), kinds, "{report:?}");
        assert!(self.check(true, false).is_clean());
    }

    fn ino(&self, name: &str) -> u64 {
        self.volume.lookup(Ino::ROOT, name.as_bytes()).unwrap().ino.0
    }

    /// The first chunk of a file.
    fn chunk(&self, name: &str) -> crate::model::ChunkRef {
        let ino = Ino(self.ino(name));
        let found = self.volume.meta.read(|view| view.extents_and_chunks(ino, 0, u64::MAX));
        found.unwrap()[0].1
    }

    /// The pack in which the chunk lies, with everything that was appended.
    fn pack_of(&self, chunk: &crate::model::ChunkRef) -> std::fs::File {
        self.volume.ingest.packs().sync().unwrap();
        let path = self.dir.path().join(format!("store/packs/{}.pack", chunk.at.pack));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::File::options().read(true).write(true).open(path).unwrap()
    }

    /// Flips a byte of the chunk's payload in its pack.
    fn damage(&self, chunk: &crate::model::ChunkRef) {
        let file = self.pack_of(chunk);
        // Beyond the header, of an encrypted record too.
        let at = chunk.at.offset + 2 * crate::chunks::RECORD_HEADER_LEN;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
}

fn kinds_of(findings: &[Finding]) -> Vec<String> {
    let kind = |finding: &Finding| {
        let debug = format!("{:?}", finding.problem);
        debug.split([' ', '{']).next().unwrap().to_owned()
    };
    findings.iter().map(kind).collect()
}

/// A drive with a directory, files, a link, a deleted file and an overwritten one.
fn used() -> Drive {
    let drive = Drive::new();
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap();
    drive.volume.mkdir(&ROOT, dir.ino, b"sub", 0o755).unwrap();
    drive.save(dir.ino, "inner", &noise(1, 300_000));
    let f = drive.save(Ino::ROOT, "f", &noise(2, 300_000));
    drive.volume.link(f.ino, dir.ino, b"also").unwrap();
    drive.volume.symlink(&ROOT, Ino::ROOT, b"link", b"f").unwrap();
    drive.save(Ino::ROOT, "gone", &noise(3, 50_000));
    drive.volume.unlink(Ino::ROOT, b"gone").unwrap();
    drive.save(Ino::ROOT, "one", &noise(4, 60_000));
    drive.clock.advance(Duration::from_secs(60));
    drive.save(Ino::ROOT, "one", &noise(5, 60_000));
    drive
}

#[test]
fn a_store_in_order_has_no_findings() {
    let drive = used();
    let report = drive.check(true, false);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.leaked_bytes, 0);
    let drive = drive.crash();
    assert!(drive.check(true, true).is_clean());
    let drive = drive.reopen();
    assert!(drive.check(true, false).is_clean());
}

#[test]
fn what_is_in_flight_is_no_finding() {
    let drive = used();
    let (_, unlinked) = drive.create(Ino::ROOT, "unlinked");
    drive.volume.write(unlinked, 0, &noise(7, 5 << 20)).unwrap();
    drive.volume.unlink(Ino::ROOT, b"unlinked").unwrap();
    let writer = Arc::clone(&drive.volume);
    let load = std::thread::spawn(move || {
        for n in 0..40 {
            let name = format!("load{}", n % 7);
            let how = OpenMode { truncate: true, ..READ_WRITE };
            let made = writer.create(&ROOT, Ino::ROOT, name.as_bytes(), 0o644, how);
            let (_, handle) = made.unwrap();
            writer.write(handle, 0, &noise(100 + n, 400_000)).unwrap();
            writer.flush(handle).unwrap();
            writer.release(handle).unwrap();
            let (from, to) = (name.as_bytes(), format!("moved{}", n % 3));
            writer.rename(Ino::ROOT, from, Ino::ROOT, to.as_bytes(), RenameMode::Replace).unwrap();
        }
    });
    let mut checks = 0;
    while !load.is_finished() || checks == 0 {
        let report = drive.check(checks % 4 == 0, false);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.leaked_bytes, 0);
        checks += 1;
    }
    load.join().unwrap();
    drive.volume.release(unlinked).unwrap();
}

#[test]
fn what_a_power_cut_tore_between_two_records_is_no_finding() {
    let drive = used();
    // A record that was never named, and never synced.
    let mut trail = Trail::of(Ino(1));
    let (meta, ingest, plain) = (&drive.volume.meta, &drive.volume.ingest, noise(9, 70_000));
    let contents = ingest.find(meta, &plain).unwrap();
    let torn = ingest.store(meta, &plain, contents, &mut trail).unwrap();
    drive.save(Ino::ROOT, "after", &noise(10, 70_000));
    drive.pack_of(&torn).write_all_at(&[0; 8192], torn.at.offset).unwrap();
    let drive = drive.crash();
    let report = drive.check(true, false);
    assert!(report.is_clean(), "{report:?}");
    assert!(report.leaked_bytes > 70_000);
    assert_eq!(drive.load(Ino::ROOT, "after"), noise(10, 70_000));
}

#[test]
fn a_file_that_lost_the_newest_of_its_names_is_whole() {
    let drive = used();
    let (one, d) = (Ino(drive.ino("one")), Ino(drive.ino("d")));
    drive.volume.link(one, d, b"newest").unwrap();
    drive.volume.unlink(d, b"newest").unwrap();
    let report = drive.check(false, false);
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn counts_are_put_right_and_open_files_learn_of_it() {
    let drive = used();
    let (one, d, shared) = (drive.ino("one"), drive.ino("d"), drive.ino("shared"));
    drive.breaks(&format!("UPDATE inode SET nlink = 9 WHERE ino = {one}"), &["LinkCount"], "/one");
    let handle = drive.volume.open(Ino(one), READ_WRITE).unwrap();
    drive.is_repaired(&["LinkCount"]);
    assert_eq!(drive.volume.getattr(Ino(one)).unwrap().nlink, 1);
    drive.volume.release(handle).unwrap();
    drive.breaks(
        &format!("UPDATE inode SET parent = {shared} WHERE ino = {d}"),
        &["ParentHint"],
        "/d",
    );
    drive.is_repaired(&["ParentHint"]);
    let sql = format!("UPDATE inode SET allocated = 7 WHERE ino = {one}");
    drive.breaks(&sql, &["Allocated"], "/one");
    drive.is_repaired(&["Allocated"]);
    drive.breaks(&format!("INSERT INTO orphan VALUES ({one})"), &["StaleOrphan"], "/one");
    drive.is_repaired(&["StaleOrphan"]);
    assert_eq!(drive.load(Ino::ROOT, "one"), noise(5, 60_000));
}

#[test]
fn names_of_the_wrong_kind_or_place_are_corrected() {
    let drive = used();
    let one = drive.ino("one");
    let sql = format!("UPDATE dentry SET mode = {} WHERE ino = {one}", 0o120_777);
    drive.breaks(&sql, &["NameKind"], "/one");
    drive.is_repaired(&["NameKind"]);
    drive.breaks(
        &format!("UPDATE dentry SET slot = 20 WHERE ino = {one}"),
        &["NameMisplaced"],
        "/one",
    );
    drive.is_repaired(&["NameMisplaced"]);
    assert_eq!(drive.load(Ino::ROOT, "one"), noise(5, 60_000));
}

#[test]
fn what_has_no_name_gets_one() {
    let drive = used();
    let one = drive.ino("one");
    drive.volume.meta.execute(&format!("DELETE FROM dentry WHERE ino = {one}"));
    let report = drive.check(false, true);
    assert!(report.is_clean(), "{report:?}");
    let lost = Ino(drive.ino("lost+found"));
    assert_eq!(drive.load(lost, &format!("#{one}")), noise(5, 60_000));
    assert!(drive.check(true, false).is_clean());
}

#[test]
fn a_missing_directory_is_made_anew_around_its_names() {
    let drive = used();
    let d = drive.ino("d");
    drive.volume.meta.execute(&format!("DELETE FROM inode WHERE ino = {d}"));
    let report = drive.check(false, false);
    let kinds = kinds_of(&report.findings);
    assert!(kinds.contains(&"NameWithoutInode".into()), "{report:?}");
    assert!(kinds.contains(&"DirectoryMissing".into()), "{report:?}");
    assert!(drive.check(false, true).is_clean());
    assert_eq!(drive.load(Ino(d), "inner"), noise(1, 300_000));
    assert_eq!(drive.ino("d"), d);
}

#[test]
fn directories_within_each_other_are_taken_apart() {
    let drive = used();
    let d = drive.ino("d");
    let sub = drive.volume.lookup(Ino(d), b"sub").unwrap().ino.0;
    drive.volume.meta.execute(&format!(
        "UPDATE dentry SET parent = {sub} WHERE ino = {d};
         UPDATE inode SET parent = {sub} WHERE ino = {d}"
    ));
    let report = drive.check(false, false);
    assert!(kinds_of(&report.findings).contains(&"Cycle".into()), "{report:?}");
    let report = drive.check(false, true);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(drive.load(Ino(d), "inner"), noise(1, 300_000));
}

#[test]
fn counters_behind_what_is_in_use_are_moved_ahead() {
    let drive = used();
    drive.volume.meta.execute("UPDATE counter SET moment = 5, ino = 1, chunk = 0");
    let report = drive.check(false, false);
    assert_eq!(kinds_of(&report.findings), ["Counter", "Counter", "Counter"]);
    assert!(drive.check(false, true).is_clean());
    let drive = drive.crash();
    assert!(drive.check(false, false).is_clean());
}

#[test]
fn impossible_extents_are_told_and_left_alone() {
    let drive = used();
    let one = drive.ino("one");
    drive.breaks(&format!("UPDATE inode SET size = 10 WHERE ino = {one}"), &["Extent"], "/one");
    let report = drive.check(false, true);
    assert_eq!(kinds_of(&report.findings), ["Extent"]);
    assert!(report.repaired.is_empty());
    let drive = used();
    let one = drive.ino("one");
    drive.volume.meta.execute(&format!("UPDATE extent_past SET until = since WHERE ino = {one}"));
    assert_eq!(kinds_of(&drive.check(false, true).findings), ["Backward"]);
}

#[test]
fn a_flipped_byte_names_every_file_that_shows_it() {
    let drive = used();
    let chunk = drive.chunk("f");
    drive.damage(&chunk);
    assert!(drive.check(false, false).is_clean(), "contents are not read");
    let report = drive.check(true, true);
    assert_eq!(kinds_of(&report.findings), ["ChunkDamaged"], "{report:?}");
    let file = &report.findings[0].files[0];
    assert!(file.is_live);
    let mut paths = file.paths.clone();
    paths.sort();
    assert_eq!(paths, ["/d/also", "/f"]);
}

#[test]
fn damage_of_the_past_is_named_too() {
    let drive = Drive::new();
    drive.save(Ino::ROOT, "gone", &noise(3, 50_000));
    let deleted = drive.chunk("gone");
    drive.volume.unlink(Ino::ROOT, b"gone").unwrap();
    drive.damage(&deleted);
    let report = drive.check(true, false);
    assert_eq!(report.findings.len(), 1, "{report:?}");
    let file = &report.findings[0].files[0];
    assert_eq!((file.paths.as_slice(), file.is_live), (["/gone".to_owned()].as_slice(), false));
}

#[test]
fn a_damaged_chunk_is_taken_from_an_intact_copy() {
    let drive = used();
    let chunk = drive.chunk("one");
    let plain = drive.volume.ingest.packs().read(&chunk, None).unwrap();
    let packs = drive.volume.ingest.packs();
    packs.append(&packs.content_tree(&plain), &plain, None).unwrap();
    drive.damage(&chunk);
    let report = drive.check(true, true);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(kinds_of(&report.repaired), ["ChunkDamaged"]);
    assert_ne!(drive.chunk("one").at, chunk.at);
    let drive = drive.crash();
    assert_eq!(drive.load(Ino::ROOT, "one"), noise(5, 60_000));
}

#[test]
fn rows_that_point_elsewhere_are_led_back() {
    let drive = used();
    let chunk = drive.chunk("one");
    let sql = format!("UPDATE chunk SET offset = offset + 8 WHERE id = {}", chunk.id.0);
    drive.breaks(&sql, &["ChunkPlace"], "/one");
    drive.is_repaired(&["ChunkPlace"]);
    assert_eq!(drive.chunk("one"), chunk);
    let sql = format!("UPDATE chunk SET prefix = prefix + 1 WHERE id = {}", chunk.id.0);
    drive.volume.meta.execute(&sql);
    drive.is_repaired(&["ChunkUnindexed"]);
}

#[test]
fn a_difference_to_nothing_is_told() {
    let drive = used();
    let mut edited = noise(5, 60_000);
    edited[100..200].fill(7);
    drive.clock.advance(Duration::from_secs(60));
    drive.save(Ino::ROOT, "one", &edited);
    let (chunk, base) = (drive.chunk("one"), drive.chunk("one").base.unwrap());
    for wrong in [base.0 + 1_000_000, chunk.id.0, 0] {
        let sql = format!("UPDATE chunk SET base = {wrong} WHERE id = {}", chunk.id.0);
        drive.breaks(&sql, &["ChunkBase"], "/one");
    }
    // Its record says what it is.
    let sql = format!("UPDATE chunk SET base = NULL WHERE id = {}", chunk.id.0);
    drive.breaks(&sql, &["ChunkPlace"], "/one");
    let sql = format!("UPDATE chunk SET base = {} WHERE id = {}", base.0, chunk.id.0);
    drive.volume.meta.execute(&sql);
    assert!(drive.check(true, false).is_clean());
    assert_eq!(drive.load(Ino::ROOT, "one"), edited);
}

#[test]
fn a_lost_chunk_table_is_told_and_its_records_serve_again() {
    let drive = used();
    drive.volume.meta.execute("DELETE FROM chunk");
    let report = drive.check(false, true);
    assert!(!report.is_clean());
    assert!(kinds_of(&report.findings).iter().all(|kind| kind == "ChunkMissing"), "{report:?}");
    let f = Ino(drive.ino("f"));
    let handle = drive.volume.open(f, READ_WRITE).unwrap();
    let read = drive.volume.read(handle, 0, 10, &mut Vec::new());
    assert!(read.is_err(), "bytes that are lost are not zeros");
    drive.volume.release(handle).unwrap();
    // Equal content is found in the packs and not stored again.
    let before = drive.volume.ingest.packs().stored_bytes();
    drive.save(Ino::ROOT, "again", &noise(2, 300_000));
    assert_eq!(drive.volume.ingest.packs().stored_bytes(), before);
    assert_eq!(drive.load(Ino::ROOT, "again"), noise(2, 300_000));
}
