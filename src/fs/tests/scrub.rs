//! Scrubbing: what is damaged is found, brought back from places that have it, and told where none has.

use super::*;
use crate::chunks::{PackOptions, PackStore, Record, record_len};
use crate::meta::StoredAt;
use crate::model::{ChunkHash, ChunkId, ChunkRef, PackId, Policy};
use crate::sys::{Clock, Task, Unattended};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ROUND: ScrubOptions =
    ScrubOptions { period: Duration::from_secs(30 * 24 * 3600), budget: Budget::Round };
const SHARE: ScrubOptions = ScrubOptions { budget: Budget::Share, ..ROUND };
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A copy of a store's packs, as a backup location has them.
struct Copied {
    name: String,
    packs: PackStore,
    dir: PathBuf,
    /// Where records lie, by what they hold.
    places: HashMap<ChunkHash, Record>,
    fetched: AtomicU64,
}

impl Spare for Copied {
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch(
        &self,
        chunk: &ChunkRef,
        base: Option<&ChunkRef>,
    ) -> std::result::Result<Option<Vec<u8>>, String> {
        let Some(record) = self.places.get(&chunk.hash) else { return Ok(None) };
        let base = base.and_then(|base| {
            let found = self.places.get(&base.hash)?;
            Some(ChunkRef { at: found.at, base: None, ..*base })
        });
        let there = ChunkRef { at: record.at, ..*chunk };
        let plain = self.packs.read(&there, base.as_ref().filter(|_| record.is_difference)).ok();
        self.fetched.fetch_add(plain.iter().len() as u64, Ordering::Relaxed);
        Ok(plain)
    }
}

/// A place that can't be asked.
struct Broken(AtomicU64);

impl Spare for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn fetch(
        &self,
        _chunk: &ChunkRef,
        _base: Option<&ChunkRef>,
    ) -> std::result::Result<Option<Vec<u8>>, String> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err("nobody answers".into())
    }
}

/// A place that has something else.
struct Liar;

impl Spare for Liar {
    fn name(&self) -> &str {
        "liar"
    }

    fn fetch(
        &self,
        chunk: &ChunkRef,
        _base: Option<&ChunkRef>,
    ) -> std::result::Result<Option<Vec<u8>>, String> {
        Ok(Some(vec![7; chunk.at.plain_len as usize]))
    }
}

/// Stops after so many bytes were asked for.
struct StopsAfter {
    bytes: u64,
    asked: AtomicU64,
}

impl StopsAfter {
    fn bytes(bytes: u64) -> StopsAfter {
        StopsAfter { bytes, asked: AtomicU64::new(0) }
    }
}

impl Task for StopsAfter {
    fn is_stopped(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > self.bytes
    }

    fn pace(&self, bytes: u64) {
        self.asked.fetch_add(bytes, Ordering::Relaxed);
    }

    fn progress(&self, done: u64, total: u64) {
        assert!(done <= total.max(1) + (2 << 20), "{done} of {total}");
    }

    fn step(&self, _what: &str) {}
}

fn flip(path: &Path, offset: u64) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

fn pack_path(packs: &Path, pack: PackId) -> PathBuf {
    packs.join(format!("{pack}.pack"))
}

impl Drive {
    fn packs_dir(&self) -> PathBuf {
        self.dir.path().join("store/packs")
    }

    /// With packs of 1 MiB, so that there are several.
    fn of_small_packs() -> Drive {
        Drive::with(small_packs())
    }

    /// Everything that was saved is in the packs, and these as they will stay.
    fn settle(&self) {
        self.volume.sync_all().unwrap();
        self.volume.ingest.packs().begin_pack().unwrap();
        self.volume.ingest.packs().sync().unwrap();
    }

    /// A copy of the packs as they are now.
    fn copy(&self, name: &str) -> Copied {
        self.settle();
        let dir = self.dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        for entry in std::fs::read_dir(self.packs_dir()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
        }
        let id = crate::fs::header::read(&self.dir.path().join("store")).unwrap().header.id();
        let keys = self.volume.keys.clone();
        let options = PackOptions { read_only: true, keys, ..PackOptions::default() };
        let packs = PackStore::open(&dir, id, options).unwrap();
        let mut places = HashMap::new();
        for pack in packs.packs().unwrap() {
            for record in packs.records(pack.id).unwrap() {
                places.insert(record.hash, record);
            }
        }
        Copied { name: name.into(), packs, dir, places, fetched: AtomicU64::new(0) }
    }

    /// All chunks of the table, in the order in which they lie.
    fn all_chunks(&self) -> Vec<StoredAt> {
        let mut all = Vec::new();
        let take = &mut |place| {
            all.push(place);
            true
        };
        self.volume.meta.read(|view| view.each_stored_from((PackId(0), 0), take)).unwrap();
        all.sort();
        all
    }

    fn bytes_of_all(&self) -> u64 {
        self.all_chunks().iter().map(|place| record_len(place.stored_len)).sum()
    }

    fn row(&self, id: ChunkId) -> ChunkRef {
        self.volume.meta.read(|view| view.chunk(id)).unwrap().unwrap()
    }

    fn spoil_record(&self, chunk: &ChunkRef) {
        self.volume.ingest.packs().sync().unwrap();
        let at = chunk.at.offset + 2 * crate::chunks::RECORD_HEADER_LEN;
        flip(&pack_path(&self.packs_dir(), chunk.at.pack), at);
    }

    /// The chunks that a file shows.
    fn chunks_of_file(&self, name: &str) -> Vec<ChunkRef> {
        let ino = self.volume.lookup(Ino::ROOT, name.as_bytes()).unwrap().ino;
        let found = self.volume.meta.read(|view| view.extents_and_chunks(ino, 0, u64::MAX));
        found.unwrap().into_iter().map(|(_, chunk)| chunk).collect()
    }

    fn scrub(&self, spares: &[&dyn Spare]) -> ScrubReport {
        self.volume.scrub(&ROUND, spares, &Unattended).unwrap()
    }

    fn check_data(&self) -> CheckReport {
        let options = CheckOptions { read_data: true, repair: false };
        self.volume.check(options, &CheckProgress::default()).unwrap()
    }

    #[track_caller]
    fn is_whole(&self, files: &BTreeMap<String, Vec<u8>>) {
        for (name, content) in files {
            assert!(self.load(Ino::ROOT, name) == *content, "{name}");
        }
        let report = self.check_data();
        assert!(report.is_clean(), "{:?}", report.findings);
    }
}

fn small_packs() -> VolumeOptions {
    let retention = Policy { thinning: Vec::new(), ..Policy::default() };
    VolumeOptions { pack_bytes: 1 << 20, retention, ..options() }
}

/// Text that compresses, other for another seed.
fn text(seed: u64, lines: u64) -> Vec<u8> {
    (0..lines).flat_map(|n| format!("{seed}: line {} of a text\n", n * n).into_bytes()).collect()
}

/// Files of all kinds: what is stored raw, what is compressed, and what is a difference.
fn filled(drive: &Drive) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for n in 0..8 {
        files.insert(format!("noise{n}"), noise(100 + n, 700_000));
        files.insert(format!("text{n}"), text(n, 40_000));
        files.insert(format!("small{n}"), noise(200 + n, 3000));
    }
    for (name, content) in &files {
        drive.save(Ino::ROOT, name, content);
    }
    // Every few kilobytes something else: differences to what was there.
    drive.clock.advance(Duration::from_secs(60));
    for n in 0..4 {
        let name = format!("noise{n}");
        let content = files.get_mut(&name).unwrap();
        content.iter_mut().step_by(9000).for_each(|byte| *byte ^= 0x55);
        drive.save(Ino::ROOT, &name, content);
    }
    drive.settle();
    files
}

/// Opens, reads and compares files until told to stop; nothing wrong may be read, only nothing.
fn read_beside(
    volume: &Volume,
    files: &BTreeMap<String, Vec<u8>>,
    stop: &AtomicBool,
) -> (u64, u64) {
    let (mut right, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        for (name, content) in files {
            let attr = volume.lookup(Ino::ROOT, name.as_bytes()).unwrap();
            let how = OpenMode { write: false, ..READ_WRITE };
            let handle = volume.open(attr.ino, how).unwrap();
            for offset in (0..content.len()).step_by(100_000) {
                let mut read = Vec::new();
                match volume.read(handle, offset as u64, 50_000, &mut read) {
                    Ok(()) => {
                        let end = content.len().min(offset + 50_000);
                        assert!(read == content[offset..end], "{name} at {offset}");
                        right += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.errno(), libc::EIO, "{error}");
                        refused += 1;
                    }
                }
            }
            volume.release(handle).unwrap();
        }
    }
    (right, refused)
}

/// 100 bytes anywhere in the packs, each known by pack and offset.
fn flip_anywhere(drive: &Drive) -> Vec<(PackId, u64)> {
    let packs = drive.volume.ingest.packs().packs().unwrap();
    let sealed: Vec<_> = packs.iter().filter(|pack| pack.sealed).collect();
    assert!(sealed.len() > 5, "{packs:?}");
    let mut random = noise(77, 1600).chunks(16).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut flips = Vec::new();
    for (n, bytes) in random.iter_mut().enumerate() {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let pack = sealed[(number(0) % sealed.len() as u64) as usize];
        let offset = match n % 10 {
            // In the footer or the trailer; in the header of the pack.
            0 => pack.len - 1 - number(8) % 200,
            1 => number(8) % 64,
            // In the header of a record.
            2 | 3 => {
                let records = drive.volume.ingest.packs().records(pack.id).unwrap();
                let record = records.get((number(8) % records.len().max(1) as u64) as usize);
                record.map_or(64, |record| record.at.offset) + number(8) % 64
            }
            _ => number(8) % pack.len,
        };
        if !flips.contains(&(pack.id, offset)) {
            flip(&pack_path(&drive.packs_dir(), pack.id), offset);
            flips.push((pack.id, offset));
        }
    }
    flips
}

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
        drive.volume.upkeep(None, Duration::ZERO, &|| false).unwrap();
    }
    let again = drive.scrub(&[]);
    assert_eq!((again.damaged, &again.packs[..]), (0, &[][..]), "{again:?}");
    let drive = drive.reopen();
    drive.is_whole(&files);
}

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
fn garbage_is_nobodys_business_and_compaction_gets_rid_of_it() {
    let drive = Drive::of_small_packs();
    drive.save(Ino::ROOT, "stays", &noise(1, 60_000));
    drive.save(Ino::ROOT, "goes", &noise(2, 900_000));
    drive.settle();
    let chunks = drive.chunks_of_file("goes");
    drive.volume.unlink(Ino::ROOT, b"goes").unwrap();
    drive.clock.advance(DAY * 40);
    // Its rows go; the chunks are only condemned.
    drive.volume.upkeep(None, DAY, &|| false).unwrap();
    chunks.iter().take(3).for_each(|chunk| drive.spoil_record(chunk));
    let before = drive.volume.ingest.packs().packs().unwrap().len();
    let report = drive.scrub(&[]);
    assert_eq!((report.damaged, report.garbage, report.left.len()), (3, 3, 0), "{report:?}");
    assert_eq!(drive.volume.status().unwrap().damaged_chunks, 0);
    drive.clock.advance(DAY * 2);
    for _ in 0..2 {
        drive.volume.upkeep(None, Duration::ZERO, &|| false).unwrap();
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
    drive.volume.upkeep(None, Duration::ZERO, &|| false).unwrap();
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
                moved += drive.volume.upkeep(None, Duration::ZERO, &|| false).unwrap().chunks_moved;
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
