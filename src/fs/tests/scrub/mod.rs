//! Scrubbing: what is damaged is found, brought back from places that have it, and told where none has.

mod healing;
mod left;
mod rounds;

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
