//! Chunks that are stored as differences to what they take the place of: what they save, and that nothing is lost by them.

use super::*;
use crate::model::{FileKind, Policy};
use crate::sys::{Unattended, Until};
use std::sync::atomic::{AtomicUsize, Ordering};

const DAY: Duration = Duration::from_secs(24 * 3600);
const LEN: usize = 3 << 20;

fn drive() -> Drive {
    let retention = Policy { floor: DAY, thinning: vec![], ..Policy::default() };
    Drive::with(VolumeOptions {
        retention,
        coalesce: Duration::ZERO,
        pack_bytes: 1 << 20,
        ..options()
    })
}

/// `content` with a stroke over it: of every row of 9000 bytes a part is new, as in a picture.
fn painted(content: &[u8], seed: u64) -> Vec<u8> {
    let mut painted = content.to_vec();
    for (row, bytes) in painted.chunks_mut(9000).enumerate().skip(40).take(150) {
        let stroke = noise(seed * 1000 + row as u64, 500);
        bytes.iter_mut().skip(2000).zip(stroke).for_each(|(byte, new)| *byte = new);
    }
    painted
}

impl Drive {
    fn save_as(&self, name: &str, content: &[u8], in_place: bool) {
        match in_place {
            true => drop(self.save(Ino::ROOT, name, content)),
            false => self.replace(name, content),
        }
    }

    fn replace(&self, name: &str, content: &[u8]) {
        self.save(Ino::ROOT, "tmp", content);
        let (from, to) = (b"tmp".as_slice(), name.as_bytes());
        self.volume.rename(Ino::ROOT, from, Ino::ROOT, to, RenameMode::Replace).unwrap();
    }

    fn in_use(&self) -> u64 {
        self.volume.ingest.packs().sync().unwrap();
        self.volume.bytes_in_use_of_all()
    }

    fn differences(&self) -> Vec<(crate::model::ChunkId, crate::model::ChunkId)> {
        let mut found = Vec::new();
        let each = &mut |chunk, base| found.push((chunk, base));
        self.volume.meta.read(|view| view.each_difference(each)).unwrap();
        found
    }

    /// What each version of the name holds, the oldest first.
    fn contents_of(&self, name: &str) -> Vec<Vec<u8>> {
        let lookup = |dir, name: &[u8]| self.volume.lookup(dir, name).unwrap().ino;
        let dir = lookup(lookup(Ino::ROOT, b".versions"), name.as_bytes());
        let mut names = super::history_oracle::names(&self.volume, dir);
        names.sort_by(|a, b| a.0.cmp(&b.0));
        let read = |(name, ..): &(Vec<u8>, Ino, FileKind)| {
            let attr = self.volume.lookup(dir, name).unwrap();
            let how = OpenMode { read: true, ..OpenMode::default() };
            let handle = self.volume.open(attr.ino, how).unwrap();
            let mut content = Vec::new();
            self.volume.read(handle, 0, attr.size as usize + 1, &mut content).unwrap();
            self.volume.release(handle).unwrap();
            content
        };
        names.iter().map(read).collect()
    }

    fn upkeep(&self) -> UpkeepReport {
        self.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap()
    }

    fn check_all(&self) {
        let options = CheckOptions { read_data: true, repair: false };
        let report = self.volume.check(options, &CheckProgress::default()).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    fn spoil(&self, chunk: crate::model::ChunkId) {
        let chunk = self.volume.meta.read(|view| view.chunk(chunk)).unwrap().unwrap();
        let pack = self.dir.path().join(format!("store/packs/{}.pack", chunk.at.pack));
        let mut permissions = std::fs::metadata(&pack).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        std::fs::set_permissions(&pack, permissions).unwrap();
        let file = std::fs::File::options().write(true).open(pack).unwrap();
        let at = chunk.at.offset + u64::from(chunk.at.stored_len) - 7;
        std::os::unix::fs::FileExt::write_all_at(&file, b"!!", at).unwrap();
    }

    fn assert_nowhere(&self, secret: &[u8]) {
        for pack in std::fs::read_dir(self.dir.path().join("store/packs")).unwrap() {
            let bytes = std::fs::read(pack.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "still there");
        }
    }
}

/// Several saves, in place or by replacing; what they take, beside the first.
fn paint(drive: &Drive, in_place: bool, rounds: u64) -> (Vec<Vec<u8>>, u64) {
    let mut contents = vec![noise(1, LEN)];
    drive.save(Ino::ROOT, "picture", &contents[0]);
    let first = drive.in_use();
    for round in 0..rounds {
        drive.clock.advance(Duration::from_secs(60));
        contents.push(painted(&contents[round as usize], round + 1));
        let newest = contents.last().unwrap();
        drive.save_as("picture", newest, in_place);
    }
    (contents, drive.in_use() - first)
}

#[test]
fn a_save_takes_little_more_than_what_is_new_in_it() {
    for in_place in [true, false] {
        let drive = drive();
        let (contents, taken) = paint(&drive, in_place, 4);
        let new = 4 * 150 * 500;
        assert!(taken < new * 7 / 4, "{taken} bytes for {new} new ones, in place: {in_place}");
        assert!(drive.contents_of("picture") == contents);
        let drive = drive.reopen();
        assert!(drive.contents_of("picture") == contents);
        drive.check_all();
        let drive = drive.crash();
        assert!(drive.contents_of("picture") == contents);
    }
}

#[test]
fn what_is_put_in_moves_the_rest_and_is_found_all_the_same() {
    let drive = drive();
    let content = noise(1, LEN);
    drive.save(Ino::ROOT, "photo", &content);
    let first = drive.in_use();
    let mut tagged = content.clone();
    tagged.splice(1_000_000..1_000_000, noise(2, 3000));
    drive.replace("photo", &tagged);
    let taken = drive.in_use() - first;
    assert!(taken < 5000, "{taken}");
    assert!(drive.load(Ino::ROOT, "photo") == tagged);
}

/// What exiftool does: the metadata at the front changes, and everything else moves.
#[test]
fn a_header_that_changed_is_a_difference_though_it_comes_first() {
    let drive = drive();
    let mut content = noise(1, LEN);
    drive.save(Ino::ROOT, "photo", &content);
    let first = drive.in_use();
    for tag in 0..3 {
        let taken = drive.in_use();
        content.splice(600..600, noise(70 + tag, 100));
        drive.replace("photo", &content);
        assert!(drive.in_use() - taken < 600 + 300 * tag, "{tag}: {}", drive.in_use() - taken);
    }
    assert!(drive.contents_of("photo").len() == 4 && drive.in_use() - first < 5000);
    assert!(drive.load(Ino::ROOT, "photo") == content);
    // So it goes on when nothing is remembered but what is in the store.
    let drive = drive.reopen();
    let taken = drive.in_use();
    content.splice(700..700, noise(80, 100));
    drive.replace("photo", &content);
    assert!(drive.in_use() - taken < 1200, "{}", drive.in_use() - taken);
    assert!(drive.load(Ino::ROOT, "photo") == content);
}

#[test]
fn nothing_is_a_difference_to_a_difference() {
    let drive = drive();
    paint(&drive, false, 5);
    let differences = drive.differences();
    assert!(differences.len() > 20, "{differences:?}");
    assert!(drive.volume.meta.read(|view| view.bad_bases()).unwrap().is_empty());
}

/// The first save goes; what the later ones are differences to must stay, or be made needless.
#[test]
fn retention_takes_a_base_from_no_difference() {
    for in_place in [true, false] {
        let drive = drive();
        let (mut contents, _) = paint(&drive, in_place, 3);
        drive.clock.advance(DAY * 3);
        contents.push(painted(&contents[3], 9));
        drive.save_as("picture", &contents[4], in_place);
        let before = drive.in_use();
        let report = drive.upkeep();
        assert!(report.chunks_removed > 0, "{report:?}, in place: {in_place}");
        drive.check_all();
        assert!(drive.contents_of("picture") == contents[3..]);
        assert!(drive.in_use() < before);
        // Now only the last one is left: nothing need be a difference any more.
        drive.clock.advance(DAY * 3);
        drive.upkeep();
        drive.check_all();
        assert!(drive.contents_of("picture") == contents[4..]);
        assert_eq!(drive.differences(), []);
        let whole = LEN as u64 + LEN as u64 / 100;
        assert!(drive.in_use() < whole, "{} of {whole}", drive.in_use());
        assert_eq!(drive.reopen().load(Ino::ROOT, "picture"), contents[4]);
    }
}

/// Chunks that nothing shows any more are wanted again, when they are condemned already: so are their bases.
#[test]
fn a_condemned_difference_that_comes_into_use_again_keeps_its_base() {
    let drive = drive();
    let (contents, _) = paint(&drive, false, 1);
    drive.volume.unlink(Ino::ROOT, b"picture").unwrap();
    drive.clock.advance(DAY * 2);
    let grace = Duration::from_secs(3600);
    drive.volume.upkeep(None, grace, &Unattended).unwrap();
    drive.save(Ino::ROOT, "again", &contents[1]);
    drive.clock.advance(grace * 2);
    drive.volume.upkeep(None, grace, &Unattended).unwrap();
    drive.check_all();
    assert!(drive.load(Ino::ROOT, "again") == contents[1]);
    assert!(drive.crash().load(Ino::ROOT, "again") == contents[1]);
}

#[test]
fn what_is_erased_is_no_base_of_what_stays() {
    let drive = drive();
    let (contents, _) = paint(&drive, true, 2);
    // Elsewhere, with a difference to the first content.
    drive.replace("other", &contents[1]);
    drive.volume.unlink(Ino::ROOT, b"picture").unwrap();
    drive.clock.advance(Duration::from_secs(60));
    drive.volume.erase_history(b"picture", &Unattended).unwrap();
    drive.check_all();
    assert!(drive.load(Ino::ROOT, "other") == contents[1]);
    drive.assert_nowhere(&contents[0][9000 * 60 + 2000..][..64]);
}

#[test]
fn a_damaged_base_is_no_base_and_its_differences_are_told() {
    let drive = drive();
    let (contents, _) = paint(&drive, true, 1);
    let (difference, base) = drive.differences()[0];
    drive.spoil(base);
    let drive = drive.reopen();
    let options = CheckOptions { read_data: true, repair: false };
    let report = drive.volume.check(options, &CheckProgress::default()).unwrap();
    let told = |chunk: crate::model::ChunkId| {
        let is_it = |finding: &Finding| matches!(finding.problem, Problem::ChunkDamaged { chunk: found, .. } if found == chunk.0);
        report.findings.iter().any(is_it)
    };
    assert!(told(base) && told(difference), "{report:?}");
    // A save goes on, and what is new is whole.
    let newest = painted(&contents[1], 5);
    drive.save(Ino::ROOT, "picture", &newest);
    assert!(drive.load(Ino::ROOT, "picture") == newest);
    // Who writes the old contents again heals both.
    drive.save(Ino::ROOT, "old", &contents[0]);
    drive.save(Ino::ROOT, "next", &contents[1]);
    drive.check_all();
}

/// A transaction may fail for want of room; what was to go with it stays then, and so must what it needs.
#[test]
fn a_sweep_that_finds_no_room_leaves_no_difference_without_its_base() {
    let drive = drive();
    let content = noise(1, LEN);
    drive.save(Ino::ROOT, "picture", &content);
    // More than leave the table in one go, between the bases and the differences to them.
    for number in 0..300 {
        drive.save(Ino::ROOT, &format!("small-{number}"), &noise(1000 + number, 100));
    }
    let painted = painted(&content, 1);
    drive.replace("picture", &painted);
    assert!(drive.differences().len() > 10);
    drive.volume.unlink(Ino::ROOT, b"picture").unwrap();
    for number in 0..300 {
        drive.volume.unlink(Ino::ROOT, format!("small-{number}").as_bytes()).unwrap();
    }
    drive.clock.advance(DAY * 2);
    let grace = Duration::from_secs(3600);
    drive.volume.upkeep(None, grace, &Unattended).unwrap();
    drive.clock.advance(grace * 2);
    drive.volume.meta.execute(
        "CREATE TABLE filler(bytes); CREATE TRIGGER fill BEFORE DELETE ON chunk \
         BEGIN INSERT INTO filler VALUES (zeroblob(1000000)); END; PRAGMA max_page_count = 1",
    );
    let outcome = drive.volume.upkeep(None, grace, &Unattended);
    assert!(matches!(outcome, Err(Error::NoSpace)), "{outcome:?}");
    drive
        .volume
        .meta
        .execute("PRAGMA max_page_count = 1000000; DROP TRIGGER fill; DROP TABLE filler");
    // Twice, since what failed once is not tried again before the next look.
    for left in [3, 0] {
        drive.clock.advance(grace * 2);
        let asked = AtomicUsize::new(0);
        let stop = Until(|| asked.fetch_add(1, Ordering::Relaxed) > 1000 + left);
        let _ = drive.volume.upkeep(None, grace, &stop);
        assert!(drive.volume.meta.read(|view| view.bad_bases()).unwrap().is_empty());
    }
    drive.save(Ino::ROOT, "again", &painted);
    assert!(drive.load(Ino::ROOT, "again") == painted);
    drive.check_all();
}

#[test]
fn a_difference_that_needs_no_base_any_more_waits_for_room() {
    let drive = drive();
    let (contents, _) = paint(&drive, true, 1);
    drive.save(Ino::ROOT, "gone", &noise(50, LEN));
    drive.volume.unlink(Ino::ROOT, b"gone").unwrap();
    drive.clock.advance(DAY * 2);
    crate::chunks::faults::fail_writes(1, libc::ENOSPC);
    let report = drive.upkeep();
    assert!(report.bytes_freed > LEN as u64 / 2, "{report:?}");
    drive.check_all();
    assert!(drive.load(Ino::ROOT, "picture") == contents[1]);
    drive.upkeep();
    assert_eq!(drive.differences(), []);
}

/// Somebody copied what is a difference to what is erased, and has not saved it yet.
#[test]
fn what_is_erased_does_not_move_elsewhere_as_the_base_of_what_is_being_written() {
    let drive = drive();
    drive.save(Ino::ROOT, "stays", &noise(40, 900_000));
    let (contents, _) = paint(&drive, true, 1);
    drive.save(Ino::ROOT, "other", b"what it was");
    let how = OpenMode { truncate: true, ..READ_WRITE };
    let (_, handle) = drive.volume.create(&ROOT, Ino::ROOT, b"other", 0o644, how).unwrap();
    let picture = drive.volume.lookup(Ino::ROOT, b"picture").unwrap().ino;
    let from = drive.volume.open(picture, READ_WRITE).unwrap();
    drive.volume.copy_range(from, 0, handle, 0, LEN as u64).unwrap();
    drive.volume.release(from).unwrap();
    drive.volume.unlink(Ino::ROOT, b"picture").unwrap();
    drive.clock.advance(Duration::from_secs(60));
    let report = drive.volume.erase_history(b"picture", &Unattended).unwrap();
    assert!(report.packs_left > 0, "{report:?}");
    let known = drive.volume.meta.read(|view| view.erased_packs()).unwrap();
    let of_bases = drive.differences().into_iter().map(|(_, base)| base);
    for base in of_bases {
        let base = drive.volume.meta.read(|view| view.chunk(base)).unwrap().unwrap();
        assert!(known.contains(&base.at.pack), "nobody knows that it is to go: {base:?}");
    }
    drive.volume.flush(handle).unwrap();
    drive.volume.release(handle).unwrap();
    drive.upkeep();
    drive.check_all();
    assert!(drive.load(Ino::ROOT, "other") == contents[1]);
    drive.assert_nowhere(&contents[0][9000 * 60 + 2000..][..64]);
}

/// It was a difference, which was stored whole since: both records go.
#[test]
fn what_is_erased_is_not_left_where_it_lay_before() {
    let drive = drive();
    let content = noise(1, LEN);
    drive.save(Ino::ROOT, "picture", &content);
    let painted = painted(&content, 1);
    // Of the pack with the differences most is needed: it is not emptied for its own sake.
    drive.volume.ingest.packs().begin_pack().unwrap();
    drive.save(Ino::ROOT, "picture", &painted);
    drive.save(Ino::ROOT, "stays", &noise(40, 1_500_000));
    drive.clock.advance(DAY * 2);
    drive.upkeep();
    assert_eq!(drive.differences(), []);
    drive.volume.unlink(Ino::ROOT, b"picture").unwrap();
    drive.clock.advance(Duration::from_secs(60));
    drive.volume.erase_history(b"picture", &Unattended).unwrap();
    drive.check_all();
    drive.assert_nowhere(&painted[9000 * 60 + 2000..][..64]);
}

/// It is met where something is a difference to it.
#[test]
fn a_base_that_was_met_damaged_is_healed_by_whoever_writes_it_again() {
    let drive = drive();
    let (contents, _) = paint(&drive, true, 1);
    drive.spoil(drive.differences()[0].1);
    let drive = drive.reopen();
    let ino = drive.volume.lookup(Ino::ROOT, b"picture").unwrap().ino;
    let handle = drive.volume.open(ino, READ_WRITE).unwrap();
    assert!(drive.volume.read(handle, 0, LEN, &mut Vec::new()).is_err());
    drive.volume.release(handle).unwrap();
    drive.save(Ino::ROOT, "old", &contents[0]);
    assert!(drive.load(Ino::ROOT, "old") == contents[0]);
    assert!(drive.load(Ino::ROOT, "picture") == contents[1]);
    drive.check_all();
}

#[test]
fn what_a_file_takes_is_told_though_a_part_of_it_is_damaged() {
    let drive = drive();
    let (contents, _) = paint(&drive, true, 1);
    drive.replace("other", &contents[1]);
    let damaged = drive.differences()[0].0;
    drive.spoil(damaged);
    let drive = drive.reopen();
    assert!(drive.volume.space_of(b"picture").unwrap().freed_bytes > 0);
}

#[test]
fn a_file_that_begins_with_the_same_bytes_over_and_over_stores_them_once() {
    let drive = drive();
    let (block, rest) = (vec![7; 4 << 20], noise(1, 1 << 20));
    drive.save(Ino::ROOT, "f", &[block, rest].concat());
    let packs = drive.volume.ingest.packs();
    let records = |pack: &crate::chunks::PackInfo| packs.records(pack.id).unwrap();
    let mut hashes: Vec<_> =
        packs.packs().unwrap().iter().flat_map(records).map(|record| record.hash.0).collect();
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

/// Retention took the version that showed them; they stayed as what others are differences to.
#[test]
fn what_is_erased_goes_with_the_bases_that_nothing_shows() {
    let drive = drive();
    let (contents, _) = paint(&drive, true, 3);
    drive.clock.advance(DAY * 3);
    let newest = painted(&contents[3], 9);
    drive.save(Ino::ROOT, "picture", &newest);
    drive.save(Ino::ROOT, "stays", &noise(40, 900_000));
    drive.upkeep();
    assert!(drive.contents_of("picture") == [&contents[3][..], &newest]);
    drive.clock.advance(Duration::from_secs(60));
    drive.volume.erase_history(b"picture", &Unattended).unwrap();
    drive.check_all();
    assert!(drive.load(Ino::ROOT, "picture") == newest);
    drive.assert_nowhere(&contents[0][9000 * 60 + 2000..][..64]);
}

#[test]
fn bases_that_cannot_be_are_found_and_harm_nothing_else() {
    for base in ["id", "-1", "1 << 62", "id + 1", "(SELECT max(id) FROM chunk)"] {
        let drive = drive();
        paint(&drive, true, 1);
        let other = drive.save(Ino::ROOT, "other", b"something else");
        let sql = format!("UPDATE chunk SET base = {base} WHERE base IS NOT NULL");
        drive.volume.meta.execute(&sql);
        let drive = drive.reopen();
        let picture = drive.volume.lookup(Ino::ROOT, b"picture").unwrap().ino;
        let handle = drive.volume.open(picture, READ_WRITE).unwrap();
        assert!(drive.volume.read(handle, 0, LEN, &mut Vec::new()).is_err(), "{base}");
        drive.volume.release(handle).unwrap();
        let options = CheckOptions { read_data: true, repair: true };
        let report = drive.volume.check(options, &CheckProgress::default());
        assert!(report.as_ref().is_ok_and(|report| !report.is_clean()), "{base}: {report:?}");
        drive.clock.advance(DAY * 3);
        let _ = drive.volume.upkeep(None, Duration::ZERO, &Unattended);
        assert_eq!(drive.volume.lookup(Ino::ROOT, b"other").unwrap().ino, other.ino);
        assert!(drive.load(Ino::ROOT, "other") == b"something else", "{base}");
    }
}
