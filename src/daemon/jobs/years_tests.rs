//! The jobs of a drive together, as the settings let them run by default, over years of a clock that is moved by hand: whatever the drive showed
//! in the last thirty days is there, on the drive and at the location, and neither of them grows for ever.

use super::start;
use crate::backup::{self, Location, LocationSpec};
use crate::cli::MountFlags;
use crate::config::{Config, Sources};
use crate::crypt::{Secret, SecretKind};
use crate::daemon::store::volume_options;
use crate::fs::{
    Caller, CheckOptions, CreateOptions, NewKey, OpenMode, RenameMode, Volume, create_store,
};
use crate::jobs::{Record, Scheduler};
use crate::meta::JobOutcome;
use crate::model::{Ino, Moment, Timestamp, moment_name};
use crate::recall::{Stored, Tree};
use crate::sys::{Clock, ManualClock, Unattended};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ROOT: Caller = Caller { uid: 0, gid: 0, umask: 0o022 };
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What the settings promise, on the drive and at the location.
const PROMISED: Duration = Duration::from_secs(30 * 24 * 3600);
/// 2027-01-01T12:00:00Z: jobs are due by night, so that each day's have all run by noon.
const BEGIN: Timestamp = Timestamp(1_798_804_800_000_000_000);
/// Far beyond what anything here takes; only a hang gets there.
const PATIENCE: Duration = Duration::from_secs(120);
/// Asking how the jobs are takes longer than most of them.
const LOOK_INTERVAL: Duration = Duration::from_millis(6);
/// For so many days the machine is on, later now and then: every so many days.
const DAILY: usize = 180;
const NOW_AND_THEN: usize = 5;
/// Names that a folder may have.
const NAMES: u64 = 8;
const FOLDERS: [&str; 2] = ["one", "two"];
/// Thirty days, today, how it was before, full ones of the last two days, and the days on which nothing goes since the clock may be wrong.
const GENERATIONS_MAX: usize = 38;

/// Thirty days of three saves, a few of which upkeep has yet to see, and what lives: without retention it would soon be more.
const UNIQUE_BYTES_MAX: u64 = 600_000;

/// What the folders show: each name's content, by the number that it is made from.
type Shown = BTreeMap<PathBuf, u64>;

struct World {
    dir: TempDir,
    clock: Arc<ManualClock>,
    config: Config,
    secret: Option<Arc<Secret>>,
    drive: Option<(Arc<Volume>, Scheduler)>,
    folders: Vec<Ino>,
    numbers: u64,
    shown: Shown,
    /// What was shown at moments.
    past: Vec<(Moment, Shown)>,
    /// Moments up to this one the clock showed twice.
    ambiguous_until: Moment,
    /// Each generation that was ever at the location: when it was made, and what is in it.
    made: BTreeMap<String, (Timestamp, Shown)>,
    /// The most bytes that were in the store and at the location on any day of the first year, and of the later ones.
    bytes_max: [[u64; 2]; 2],
}

fn config(shelf: &Path) -> Config {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("verso.toml");
    let text = format!(
        "[store]\npack_bytes_target = \"1MiB\"\nreserve_bytes = \"0B\"\n[history]\nslot = \"0s\"\n\
         [retention]\nthinning = []\n[jobs]\ntime_zone = \"UTC\"\nbusy_bytes_per_second_max = \"0B\"\n\
         [[backup]]\nname = \"usb\"\nlocation = \"{}\"\n",
        shelf.display()
    );
    std::fs::write(&path, text).unwrap();
    Sources::read(Some(&path), None, std::iter::empty()).unwrap().config().unwrap()
}

/// In memory where that is possible: nothing here is about what a disk does.
fn scratch() -> TempDir {
    let memory = tempfile::Builder::new().prefix("verso-years").tempdir_in("/dev/shm");
    memory.unwrap_or_else(|_| TempDir::new().unwrap())
}

fn key() -> Arc<Secret> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, [42; 64]).unwrap();
    Arc::new(Secret::read(SecretKind::KeyFile, std::fs::File::open(path).unwrap()).unwrap())
}

impl World {
    fn new(encrypted: bool) -> World {
        let dir = scratch();
        let secret = encrypted.then(key);
        let mut world = World {
            clock: Arc::new(ManualClock::new(BEGIN)),
            config: config(&dir.path().join("shelf")),
            secret,
            dir,
            drive: None,
            folders: Vec::new(),
            numbers: 0,
            shown: Shown::new(),
            past: Vec::new(),
            ambiguous_until: Moment(0),
            made: BTreeMap::new(),
            bytes_max: [[0; 2]; 2],
        };
        let label = String::new();
        let new_key = |secret| NewKey { secret, label: label.clone(), unlock_time: Duration::ZERO };
        let create = CreateOptions {
            encryption: world.secret.clone().map(new_key),
            ..CreateOptions::default()
        };
        create_store(&world.path("store"), &create, &*world.clock).unwrap();
        world.start();
        for name in FOLDERS {
            let made = world.volume().mkdir(&ROOT, Ino::ROOT, name.as_bytes(), 0o755).unwrap();
            world.folders.push(made.ino);
        }
        world.finish_a_project();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, store: &Path) -> Arc<Volume> {
        let options = volume_options(&self.config, &MountFlags::default(), self.secret.clone());
        Volume::open_store(store, options, self.clock.clone()).unwrap()
    }

    /// As the daemon does.
    fn start(&mut self) {
        let volume = self.open(&self.path("store"));
        let started = start(&volume, &self.config, || 0);
        let scheduler = started.unwrap_or_else(|failure| panic!("{failure}")).unwrap();
        self.drive = Some((volume, scheduler));
    }

    fn stop(&mut self) {
        let (volume, scheduler) = self.drive.take().unwrap();
        scheduler.stop();
        volume.close().unwrap();
    }

    fn volume(&self) -> &Arc<Volume> {
        &self.drive.as_ref().unwrap().0
    }

    fn scheduler(&self) -> &Scheduler {
        &self.drive.as_ref().unwrap().1
    }

    /// Something that nobody touches any more.
    fn finish_a_project(&self) {
        let volume = self.volume();
        let projects = volume.lookup(Ino::ROOT, b"projects").unwrap().ino;
        let project = volume.mkdir(&ROOT, projects, b"spring", 0o755).unwrap().ino;
        self.save(project, b"done.psd", 1);
    }

    fn save(&self, folder: Ino, name: &[u8], number: u64) {
        let how = OpenMode { read: true, write: true, truncate: true, ..OpenMode::default() };
        let (_, handle) = self.volume().create(&ROOT, folder, name, 0o644, how).unwrap();
        self.volume().write(handle, 0, &content(number)).unwrap();
        self.volume().flush(handle).unwrap();
        self.volume().release(handle).unwrap();
    }

    /// SplitMix64: the same in every run.
    fn chance(&mut self, end: u64) -> u64 {
        self.numbers = self.numbers.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.numbers;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn any_place(&mut self) -> (Ino, String, PathBuf) {
        let folder = self.chance(FOLDERS.len() as u64) as usize;
        let name = format!("{}.psd", self.chance(NAMES));
        let path = Path::new(FOLDERS[folder]).join(&name);
        (self.folders[folder], name, path)
    }

    /// Three saves, a deletion and a move, where there is something to delete and to move.
    fn work(&mut self) {
        for _ in 0..3 {
            let (folder, name, path) = self.any_place();
            let number = self.chance(u64::MAX);
            self.save(folder, name.as_bytes(), number);
            self.shown.insert(path, number);
        }
        let (folder, name, path) = self.any_place();
        if self.shown.remove(&path).is_some() {
            self.volume().unlink(folder, name.as_bytes()).unwrap();
        }
        let (from, to) = (self.any_place(), self.any_place());
        if from.2 != to.2
            && let Some(number) = self.shown.remove(&from.2)
        {
            let (old, new) = (from.1.as_bytes(), to.1.as_bytes());
            self.volume().rename(from.0, old, to.0, new, RenameMode::Replace).unwrap();
            self.shown.insert(to.2, number);
        }
    }

    /// People work, then the machine is on after so many days: what the nights' jobs missed runs once.
    fn live(&mut self, days: usize) {
        self.work();
        let second = Duration::from_secs(1);
        self.clock.advance(second);
        let moment = Moment(self.clock.now().0);
        if moment > self.ambiguous_until {
            self.past.push((moment, self.shown.clone()));
        }
        self.clock.advance(DAY * days as u32 - second);
        self.wait_for_jobs();
        for name in self.generations() {
            let entry = || (self.clock.now(), self.shown.clone());
            self.made.entry(name).or_insert_with(entry);
        }
    }

    /// Until everything that is due has run. Nothing may have failed.
    fn wait_for_jobs(&self) {
        let since = Instant::now();
        self.scheduler().look();
        loop {
            let now = self.clock.now().0;
            let state = self.scheduler().state();
            let mut jobs = state.as_array().unwrap().iter();
            let rests = |job: &serde_json::Value| {
                job["running"].is_null() && job["next"].as_i64().is_none_or(|next| next > now)
            };
            if jobs.all(rests) {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "waited in vain: {state:#}");
            std::thread::sleep(LOOK_INTERVAL);
        }
        let concerns = self.scheduler().concerns();
        assert!(concerns.is_empty(), "{concerns:?}");
    }

    /// The clock is set. Moments only go forward, so those that it shows twice tell nobody which of both days is meant.
    fn set_clock(&mut self, now: Timestamp) {
        if now < self.clock.now() {
            self.past.pop();
            self.ambiguous_until = Moment(self.clock.now().0);
        }
        self.clock.set(now);
        self.wait_for_jobs();
    }

    /// Whether `time` is within what is promised.
    fn is_young(&self, time: i64) -> bool {
        (0..=PROMISED.as_nanos()).contains(&((self.clock.now().0.max(time) - time) as u128))
    }

    fn generations(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.path("shelf/generations")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect()
    }

    /// For each day of the last thirty on which one was made there is a generation, and not many more.
    fn expect_generations(&self) {
        let there = self.generations();
        let day = |made: &Timestamp| made.0.div_euclid(DAY.as_nanos() as i64);
        let days = |is_wanted: &dyn Fn(&String, &Timestamp) -> bool| -> BTreeSet<i64> {
            let wanted = self.made.iter().filter(|(name, (made, _))| is_wanted(name, made));
            wanted.map(|(_, (made, _))| day(made)).collect()
        };
        let needed = days(&|_, made| self.is_young(made.0));
        let kept = days(&|name, _| there.contains(name));
        let missing: Vec<&i64> = needed.difference(&kept).collect();
        assert!(missing.is_empty(), "days {missing:?} of {needed:?} are gone");
        assert!(there.len() <= GENERATIONS_MAX, "{} generations: {there:?}", there.len());
    }

    /// The drive shows what it showed at each moment of the last thirty days.
    fn expect_past(&self) {
        let young = self.past.iter().filter(|(moment, _)| self.is_young(moment.0));
        let mut compared = 0;
        for (moment, shown) in young {
            let root = Path::new(".versions/@at").join(moment_name(*moment));
            assert_eq!(&self.shown_in(self.volume(), &root), shown, "{moment:?}");
            compared += 1;
        }
        assert!(compared >= 30 / NOW_AND_THEN, "{compared} moments");
    }

    /// The folders below `root`; a content that nothing was given counts as 0.
    fn shown_in(&self, volume: &Volume, root: &Path) -> Shown {
        let tree = Stored::new(volume, 0, 0);
        let mut shown = Shown::new();
        for folder in FOLDERS {
            for (name, _) in tree.list(&root.join(folder)).unwrap() {
                let path = Path::new(folder).join(name);
                let mut bytes = vec![0; content_len(u64::MAX) + 1];
                let source = tree.open(&root.join(&path)).unwrap();
                let len = source.read_at(0, &mut bytes).unwrap();
                shown.insert(path, number_of(&bytes[..len]));
            }
        }
        shown
    }

    fn location(&self) -> Location {
        let uri = self.path("shelf").to_str().unwrap().to_owned();
        let spec = LocationSpec { name: "usb".into(), uri, options: Default::default() };
        Location::open(&spec).unwrap()
    }

    /// Everything at the location is whole; its oldest and its newest generation come back as what was backed up.
    fn expect_backups(&self) {
        let location = self.location();
        let found = backup::verify(&location, false, true, &Unattended).unwrap();
        assert_eq!(found.faults_total, 0, "{:?}", found.faults);
        let there = self.generations();
        for name in [there.first().unwrap(), there.last().unwrap()] {
            let store = self.path("restored");
            let manifest = backup::find(&location, Some(name)).unwrap();
            backup::restore(&location, &manifest, &store, 2, &Unattended).unwrap();
            let volume = self.open(&store);
            assert_eq!(self.shown_in(&volume, Path::new("")), self.made[name].1, "{name}");
            volume.close().unwrap();
            drop(volume);
            std::fs::remove_dir_all(&store).unwrap();
        }
    }

    fn weigh(&mut self, year: usize) {
        let bytes = ["store", "shelf"].map(|name| bytes_below(&self.path(name)));
        let most = &mut self.bytes_max[year.min(1)];
        *most = [most[0].max(bytes[0]), most[1].max(bytes[1])];
    }

    fn expect_whole(&self) {
        let thorough = CheckOptions { read_data: true, repair: false };
        let report = self.volume().check(thorough, &Default::default()).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    /// How often a job ran to its end.
    fn runs(&self, job: &str) -> usize {
        let runs = self.volume().runs(job, 1000).unwrap();
        runs.iter().filter(|run| run.outcome == JobOutcome::Done).count()
    }
}

fn content_len(number: u64) -> usize {
    600 + (number % 4096) as usize
}

/// The number, and bytes that follow from it.
fn content(number: u64) -> Vec<u8> {
    let mut state = number | 1;
    let mut bytes = number.to_le_bytes().to_vec();
    while bytes.len() < content_len(number) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn number_of(bytes: &[u8]) -> u64 {
    let number = bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
    if bytes == content(number) { number } else { 0 }
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let bytes = entries.map(|path| match std::fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => bytes_below(&path),
        found => found.map_or(0, |found| found.len()),
    });
    bytes.sum()
}

fn live(encrypted: bool, days: usize) {
    let mut world = World::new(encrypted);
    let mut day = 0;
    while day < days {
        let step = if day < DAILY { 1 } else { NOW_AND_THEN };
        world.live(step);
        day += step;
        match day {
            // Somebody sets the clock back by a day, and another time ahead.
            70 => world.set_clock(Timestamp(world.clock.now().0 - DAY.as_nanos() as i64)),
            85 => world.set_clock(Timestamp(world.clock.now().0 + DAY.as_nanos() as i64)),
            // The machine is started anew, and after a long holiday.
            80 | 170 => {
                world.stop();
                world.clock.advance(if day == 170 { DAY * 10 } else { Duration::ZERO });
                world.start();
            }
            _ => {}
        }
        world.expect_generations();
        if day % 10 == 0 && day > 60 {
            world.weigh(day / 365);
        }
        if day % 45 < step {
            world.expect_past();
        }
        if day % 90 < step {
            world.expect_backups();
        }
    }
    world.expect_past();
    world.expect_backups();
    world.expect_whole();
    let archived = world.volume().lookup(Ino::ROOT, b"archived").unwrap().ino;
    let year = world.volume().lookup(archived, b"2027").unwrap().ino;
    world.volume().lookup(year, b"04").unwrap();
    for job in
        ["retention", "scrub", "archive", "backup:usb", "full:usb", "verify:usb", "prune:usb"]
    {
        assert!(world.runs(job) > 10, "{job} ran {} times", world.runs(job));
    }
    let [first, later] = world.bytes_max;
    // What jobs record of themselves, and what was freed and is used again, takes its time to settle.
    let grows = (0..2).any(|at| later[at] > first[at] * 3 / 2);
    assert!(first[0] > 0 && !grows, "store and shelf grow: {first:?}, {later:?}");
    let kept = world.volume().status().unwrap().unique_bytes;
    assert!(kept < UNIQUE_BYTES_MAX, "{kept} bytes are kept");
    world.stop();
}

#[test]
fn two_years_are_lived_by_a_drive_that_is_left_alone() {
    live(false, 2 * 365 + 10);
}

#[test]
fn a_season_is_lived_by_an_encrypted_one() {
    live(true, 100);
}
