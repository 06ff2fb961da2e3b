//! Generations of a real store at a directory: made, verified, restored, thinned out.

use super::*;
use crate::crypt::{Secret, SecretKind};
use crate::fs::{
    Caller, CreateOptions, NewKey, OpenMode, RenameMode, Volume, VolumeOptions, create_store,
};
use crate::model::{Ino, Moment, Timestamp};
use crate::recall::{Stored, Tree};
use crate::sys::testing::noise;
use crate::sys::{Clock, ManualClock, Unattended};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

#[path = "fault_tests.rs"]
mod faults;

const ROOT: Caller = Caller { uid: 0, gid: 0, umask: 0o022 };
const DAY: Duration = Duration::from_secs(24 * 3600);
const NOON: i64 = 1_790_000_000_000_000_000;

struct Site {
    dir: TempDir,
    clock: Arc<ManualClock>,
    volume: Arc<Volume>,
    location: Arc<Location>,
    secret: Option<Arc<Secret>>,
    /// Moments that were whole, to be compared later.
    moments: Vec<Moment>,
}

fn options(secret: &Option<Arc<Secret>>) -> VolumeOptions {
    VolumeOptions {
        sync_interval: Duration::from_secs(3600),
        reserve_bytes: 0,
        pack_bytes: 1 << 20,
        coalesce: Duration::ZERO,
        secret: secret.clone(),
        ..VolumeOptions::default()
    }
}

fn key() -> Arc<Secret> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, [42; 64]).unwrap();
    let file = std::fs::File::open(path).unwrap();
    Arc::new(Secret::read(SecretKind::KeyFile, file).unwrap())
}

fn location(root: &Path) -> Arc<Location> {
    let uri = root.to_str().unwrap().to_owned();
    let spec = LocationSpec { name: "shelf".into(), uri, options: Default::default() };
    Arc::new(Location::open(&spec).unwrap())
}

impl Site {
    fn new(encrypted: bool) -> Site {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(NOON)));
        let secret = encrypted.then(key);
        let new_key = |secret: &Arc<Secret>| NewKey {
            secret: Arc::clone(secret),
            label: String::new(),
            unlock_time: Duration::from_millis(10),
        };
        let create =
            CreateOptions { encryption: secret.as_ref().map(new_key), ..CreateOptions::default() };
        let store = dir.path().join("store");
        create_store(&store, &create, &*clock).unwrap();
        let volume = Volume::open_store(&store, options(&secret), clock.clone()).unwrap();
        let location = location(&dir.path().join("shelf"));
        Site { dir, clock, volume, location, secret, moments: Vec::new() }
    }

    fn save(&self, parent: Ino, name: &str, content: &[u8]) {
        let how = OpenMode { read: true, write: true, truncate: true, ..OpenMode::default() };
        let made = self.volume.create(&ROOT, parent, name.as_bytes(), 0o644, how);
        let (_, handle) = made.unwrap();
        self.volume.write(handle, 0, content).unwrap();
        self.volume.flush(handle).unwrap();
        self.volume.release(handle).unwrap();
    }

    /// Some saves, names and links; remembers the moment after them.
    fn live(&mut self, round: u64) {
        let dir = format!("round-{round}");
        let made = self.volume.mkdir(&ROOT, Ino::ROOT, dir.as_bytes(), 0o755).unwrap();
        for n in 0..20 {
            self.save(made.ino, &format!("{n}.psd"), &noise(round * 100 + n, 30_000));
        }
        self.save(Ino::ROOT, "hero.psd", &noise(round, 600_000));
        self.save(Ino::ROOT, "notes.txt", format!("round {round}\n").repeat(2000).as_bytes());
        let target = format!("{dir}/0.psd");
        let link = format!("link-{round}");
        self.volume.symlink(&ROOT, Ino::ROOT, link.as_bytes(), target.as_bytes()).unwrap();
        if round > 1 {
            let before = format!("round-{}", round - 1);
            let before = self.volume.lookup(Ino::ROOT, before.as_bytes()).unwrap().ino;
            self.volume.unlink(before, b"3.psd").unwrap();
            let replace = RenameMode::Replace;
            self.volume.rename(before, b"4.psd", made.ino, b"moved.psd", replace).unwrap();
        }
        self.clock.advance(Duration::from_secs(60));
        self.volume.sync_all().unwrap();
        self.moments.push(Moment(self.clock.now().0 - 30_000_000_000));
    }

    fn back_up(&self, full: bool) -> Made {
        let options = MakeOptions { full, connections: 3 };
        self.clock.advance(Duration::from_secs(1));
        make(&self.volume, &self.location, &options, self.clock.now(), &Unattended).unwrap()
    }

    fn restore(&self, generation: Option<&str>, to: &str) -> PathBuf {
        let store = self.dir.path().join(to);
        let manifest = find(&self.location, generation).unwrap();
        restore(&self.location, &manifest, &store, 2, &Unattended).unwrap();
        store
    }

    /// Opens a store and compares each of the moments, and its own check.
    fn expect_whole(&self, store: &Path, moments: &[Moment]) {
        let copy = Volume::open_store(store, options(&self.secret), self.clock.clone()).unwrap();
        self.expect_same(&copy, moments);
        let thorough = crate::fs::CheckOptions { read_data: true, repair: false };
        let report = copy.check(thorough, &Default::default()).unwrap();
        assert!(report.is_clean(), "{report:?}");
        copy.close().unwrap();
    }

    fn expect_same(&self, copy: &Volume, moments: &[Moment]) {
        let (ours, theirs) = (Stored::new(&self.volume, 0, 0), Stored::new(copy, 0, 0));
        for moment in moments {
            let all = Sample { bytes_max: u64::MAX, seed: 1 };
            let drilled = compare(&ours, &theirs, *moment, &all, &Unattended).unwrap();
            assert_eq!(drilled.differences, Vec::<String>::new());
            assert!(drilled.files >= 22 && drilled.bytes == drilled.bytes_total, "{drilled:?}");
        }
        drop((ours, theirs));
        assert_eq!((self.volume.views_known(), copy.views_known()), (0, 0), "views are let go of");
    }

    /// The store is locked as long as its volume is there.
    fn copy_of(&self, store: &Path) -> PathBuf {
        let copy = self.dir.path().join("moved");
        std::fs::rename(store, &copy).unwrap();
        let lock = copy.join("lock");
        std::fs::remove_file(lock).unwrap();
        copy
    }

    fn shelf(&self) -> PathBuf {
        self.dir.path().join("shelf")
    }
}

fn both(test: fn(Site)) {
    test(Site::new(false));
    test(Site::new(true));
}

#[test]
fn each_generation_is_restored_with_its_whole_past() {
    both(|mut site| {
        site.live(1);
        let first = site.back_up(false);
        assert!(first.full && first.sent_bytes > 1_000_000, "{first:?}");
        site.live(2);
        let second = site.back_up(false);
        assert!(!second.full && second.sent_bytes < first.sent_bytes * 3 / 2, "{second:?}");
        site.live(3);
        let third = site.back_up(false);
        let moments = site.moments.clone();
        let store = site.restore(Some(&first.generation), "first");
        site.expect_whole(&store, &moments[..1]);
        let store = site.restore(Some(&second.generation), "second");
        site.expect_whole(&store, &moments[..2]);
        let store = site.restore(None, "third");
        site.expect_whole(&store, &moments);
        assert_eq!(newest(&site.location).unwrap().unwrap().generation, third.generation);
    });
}

#[test]
fn what_did_not_change_is_not_sent_again() {
    both(|mut site| {
        site.live(1);
        let first = site.back_up(false);
        let second = site.back_up(false);
        // The rows that say what was sent are new.
        assert!(second.sent_bytes < 200_000, "{second:?}");
        let third = site.back_up(false);
        assert!(third.sent_bytes < 200_000, "{third:?}");
        assert_eq!(third.pack_bytes, first.pack_bytes);
    });
}

#[test]
fn a_full_generation_needs_nothing_of_earlier_ones() {
    both(|mut site| {
        site.live(1);
        let first = find(&site.location, Some(&site.back_up(false).generation)).unwrap();
        site.live(2);
        let full = site.back_up(true);
        assert!(full.full && full.sent_bytes > full.pack_bytes);
        std::fs::remove_dir_all(site.shelf().join("series").join(&first.series)).unwrap();
        let store = site.restore(None, "copy");
        site.expect_whole(&store, &site.moments.clone());
        let found = verify(&site.location, false, true, &Unattended).unwrap();
        assert_eq!(found.newest_whole, Some(full.generation));
        assert!(found.faults_total > 0);
        assert!(found.faults.iter().all(|fault| fault.generations == [first.generation.clone()]));
    });
}

#[test]
fn a_restored_store_goes_on_and_is_backed_up_to_the_same_place() {
    both(|mut site| {
        site.live(1);
        let first = site.back_up(false);
        site.live(2);
        site.back_up(false);
        // The disk dies, and the older generation is taken.
        let store = site.restore(Some(&first.generation), "again");
        site.volume.close().unwrap();
        site.volume =
            Volume::open_store(&store, options(&site.secret), site.clock.clone()).unwrap();
        site.moments.truncate(1);
        site.clock.advance(DAY);
        site.live(2);
        let made = site.back_up(false);
        assert!(!made.full);
        let found = verify(&site.location, false, true, &Unattended).unwrap();
        assert_eq!((found.faults_total, found.generations.len()), (0, 3), "{found:?}");
        let copy = site.restore(None, "copy");
        site.expect_whole(&copy, &site.moments.clone());
    });
}

#[test]
fn a_store_is_read_from_where_it_is_backed_up() {
    both(|mut site| {
        site.live(1);
        site.back_up(false);
        site.live(2);
        site.back_up(false);
        let scratch = site.dir.path().join("scratch");
        let manifest = newest(&site.location).unwrap().unwrap();
        let packs = prepare(&site.location, &manifest, &scratch, 2 << 20, &Unattended).unwrap();
        let here = VolumeOptions {
            read_only: true,
            pack_source: Some(Arc::new(packs)),
            ..options(&site.secret)
        };
        let copy = Volume::open_store(&scratch, here, site.clock.clone()).unwrap();
        site.expect_same(&copy, &site.moments);
        let kept = std::fs::read_dir(scratch.join("packs")).unwrap();
        let kept: u64 = kept.map(|pack| pack.unwrap().metadata().unwrap().len()).sum();
        assert!(kept <= 4 << 20, "{kept} bytes are cached");
        assert!(manifest.pack_bytes > kept);
    });
}

#[test]
fn verifying_names_what_is_missing_short_or_flipped() {
    both(|mut site| {
        site.live(1);
        let made = site.back_up(false);
        let none = verify(&site.location, false, true, &Unattended).unwrap();
        assert_eq!((none.faults_total, none.newest_whole), (0, Some(made.generation.clone())));
        assert!(none.read_bytes > made.pack_bytes);
        let manifest = newest(&site.location).unwrap().unwrap();
        let series = site.shelf().join("series").join(&manifest.series);
        let parts = std::fs::read_dir(series.join("packs")).unwrap();
        let mut parts: Vec<PathBuf> = parts.map(|part| part.unwrap().path()).collect();
        parts.sort();
        std::fs::remove_file(&parts[0]).unwrap();
        let mut bytes = std::fs::read(&parts[1]).unwrap();
        bytes[5000] ^= 1;
        std::fs::write(&parts[1], bytes).unwrap();
        let quick = verify(&site.location, true, false, &Unattended).unwrap();
        assert_eq!((quick.faults_total, quick.newest_whole), (1, None));
        let thorough = verify(&site.location, true, true, &Unattended).unwrap();
        assert_eq!(thorough.faults_total, 2, "{:?}", thorough.faults);
        let store = site.dir.path().join("copy");
        let failed = restore(&site.location, &manifest, &store, 1, &Unattended).unwrap_err();
        assert!(matches!(failed, Error::NotFound { .. } | Error::Damaged { .. }), "{failed}");
        assert!(!store.join("store.toml").exists(), "there is no store where it isn't whole");
        // The next run sends what is missing and what was found damaged once more; the one after has nothing to do.
        let again = site.back_up(false);
        let len = |path: &Path| std::fs::metadata(path).unwrap().len();
        let manifest = newest(&site.location).unwrap().unwrap();
        let new = manifest.objects.iter().filter(|name| name.starts_with(&manifest.generation));
        let metadata: u64 = new.map(|name| len(&series.join("metadata").join(name))).sum();
        assert_eq!(again.sent_bytes, len(&parts[0]) + len(&parts[1]) + metadata, "each once");
        let after = verify(&site.location, false, true, &Unattended).unwrap();
        assert_eq!(after.faults_total, 0, "{:?}", after.faults);
        assert_eq!(site.back_up(false).sent_bytes, 0);
    });
}

#[test]
fn pruning_keeps_what_is_promised_and_everything_that_is_needed() {
    both(|mut site| {
        for round in 1..=12 {
            site.live(round);
            site.back_up(round % 5 == 0);
            site.clock.advance(DAY);
        }
        let days = Some(DAY * 4);
        let now = site.clock.now();
        let planned = prune(&site.location, days, true, now, &Unattended).unwrap();
        assert_eq!((planned.kept.len(), planned.removed.len()), (4, 8), "{planned:?}");
        assert!(planned.bytes > 1_000_000 && !planned.applied);
        let taken = |site: &Site| verify(&site.location, false, true, &Unattended).unwrap();
        let before = taken(&site);
        let done = prune(&site.location, days, false, now, &Unattended).unwrap();
        assert_eq!(done, Plan { applied: true, ..planned });
        let after = taken(&site);
        assert_eq!((after.faults_total, after.generations.len()), (0, 4), "{after:?}");
        assert!(after.bytes < before.bytes);
        let again = prune(&site.location, days, false, now, &Unattended).unwrap();
        assert_eq!((again.removed.len(), again.objects), (0, 0));
        for generation in after.generations {
            let store = site.restore(Some(&generation), &generation);
            let copy = Volume::open_store(&store, options(&site.secret), site.clock.clone());
            let moment = find(&site.location, Some(&generation)).unwrap().moment();
            site.expect_same(&copy.unwrap(), &[moment]);
        }
    });
}

#[test]
fn another_store_is_not_mixed_in() {
    let mut site = Site::new(false);
    site.live(1);
    site.back_up(false);
    let mut other = Site::new(false);
    other.live(1);
    other.location = Arc::clone(&site.location);
    let options = MakeOptions { full: false, connections: 1 };
    let refused =
        make(&other.volume, &other.location, &options, other.clock.now(), &Unattended).unwrap_err();
    assert!(matches!(refused, Error::Foreign { .. }), "{refused}");
    let refused = refuse_foreign(&other.location, &other.volume);
    assert!(matches!(refused, Err(Error::Foreign { .. })));
    refuse_foreign(&site.location, &site.volume).unwrap();
}

#[test]
fn a_torn_manifest_is_no_backup() {
    let mut site = Site::new(false);
    site.live(1);
    let first = site.back_up(false);
    site.live(2);
    let second = site.back_up(false);
    let path = site.shelf().join("generations").join(format!("{}.json", second.generation));
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert_eq!(newest(&site.location).unwrap().unwrap().generation, first.generation);
    let refused = prune(&site.location, Some(DAY), false, site.clock.now(), &Unattended);
    assert!(matches!(refused, Err(Error::Damaged { .. })));
    let found = verify(&site.location, false, false, &Unattended).unwrap();
    assert_eq!((found.faults_total, found.newest_whole), (1, Some(first.generation)));
}

#[test]
fn what_is_there_is_not_overwritten_by_a_restore() {
    let mut site = Site::new(false);
    site.live(1);
    site.back_up(false);
    let manifest = newest(&site.location).unwrap().unwrap();
    let taken = site.dir.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("photo.jpg"), "the only copy").unwrap();
    let refused = restore(&site.location, &manifest, &taken, 1, &Unattended).unwrap_err();
    assert!(matches!(refused, Error::Occupied { generation: None, .. }), "{refused}");
    assert_eq!(std::fs::read_dir(&taken).unwrap().count(), 1);
}

/// Steps of each writer, at least.
const STEPS_MIN: u64 = 40;

/// What one writer did, in order: the name in its directory, and the number that it then held; `None`: it was removed.
type Journal = Vec<(String, Option<u64>)>;

/// Saves by way of renames, and removes, so that each step is one moment; until it is told to end.
fn write_on(volume: &Volume, dir: Ino, seed: u64, stop: &AtomicBool) -> Journal {
    let how = OpenMode { read: true, write: true, truncate: true, ..OpenMode::default() };
    let mut journal = Journal::new();
    for step in 1.. {
        // On a slow machine too there is something to compare.
        if stop.load(Ordering::Relaxed) && step > STEPS_MIN {
            break;
        }
        let name = format!("{}", (step * 7 + seed) % 23);
        if step % 5 == 4 && volume.lookup(dir, name.as_bytes()).is_ok() {
            volume.unlink(dir, name.as_bytes()).unwrap();
            journal.push((name, None));
            continue;
        }
        let new = format!("new-{seed}");
        let (_, handle) = volume.create(&ROOT, Ino::ROOT, new.as_bytes(), 0o644, how).unwrap();
        volume.write(handle, 0, &numbered(step)).unwrap();
        volume.flush(handle).unwrap();
        volume.release(handle).unwrap();
        let replace = RenameMode::Replace;
        volume.rename(Ino::ROOT, new.as_bytes(), dir, name.as_bytes(), replace).unwrap();
        journal.push((name, Some(step)));
    }
    journal
}

fn numbered(step: u64) -> Vec<u8> {
    let mut content = step.to_le_bytes().to_vec();
    content.extend(noise(step, 9000 + (step as usize * 37) % 9000));
    content
}

/// What a directory holds: names and numbers. Each file must be whole.
fn held(volume: &Volume, dir: &str) -> BTreeMap<String, u64> {
    let tree = Stored::new(volume, 0, 0);
    let names = tree.list(Path::new(dir)).unwrap();
    let number = |name: &OsStr| {
        let path = Path::new(dir).join(name);
        let mut bytes = vec![0; 40_000];
        let len = tree.open(&path).unwrap().read_at(0, &mut bytes).unwrap();
        let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert!(bytes[..len] == numbered(number), "{path:?} is torn");
        number
    };
    names.iter().map(|(name, _)| (name.to_str().unwrap().to_owned(), number(name))).collect()
}

/// Whether what is held is what was there after one of the steps.
fn is_one_moment(held: &BTreeMap<String, u64>, journal: &Journal) -> bool {
    let mut state = BTreeMap::new();
    for (name, number) in journal {
        if state == *held {
            return true;
        }
        match number {
            Some(number) => state.insert(name.clone(), *number),
            None => state.remove(name),
        };
    }
    state == *held
}

#[test]
fn what_is_backed_up_while_it_is_written_to_is_of_one_moment() {
    both(|mut site| {
        site.live(1);
        let dirs: Vec<Ino> = (0..3)
            .map(|n| {
                let name = format!("writer-{n}");
                site.volume.mkdir(&ROOT, Ino::ROOT, name.as_bytes(), 0o755).unwrap().ino
            })
            .collect();
        let stop = &AtomicBool::new(false);
        let (volume, clock) = (&site.volume, &site.clock);
        let (made, journals) = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..)
                .zip(&dirs)
                .map(|(seed, dir)| scope.spawn(move || write_on(volume, *dir, seed, stop)))
                .collect();
            let upkeep = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    clock.advance(Duration::from_secs(1));
                    volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
                    volume.sync_all().unwrap();
                }
            });
            let made: Vec<Made> = (0..4).map(|n| site.back_up(n == 2)).collect();
            stop.store(true, Ordering::Relaxed);
            upkeep.join().unwrap();
            let journals = writers.into_iter().map(|writer| writer.join().unwrap());
            (made, journals.collect::<Vec<Journal>>())
        });
        assert!(journals.iter().all(|journal| journal.len() as u64 >= STEPS_MIN));
        for (number, made) in made.iter().enumerate() {
            let store = site.restore(Some(&made.generation), &format!("copy-{number}"));
            site.expect_whole(&store, &[Moment(made.moment)]);
            let copy = Volume::open_store(&store, options(&site.secret), site.clock.clone());
            let copy = copy.unwrap();
            for (n, journal) in journals.iter().enumerate() {
                let held = held(&copy, &format!("writer-{n}"));
                assert!(is_one_moment(&held, journal), "generation {number}: {held:?}");
            }
            copy.close().unwrap();
        }
    });
}
