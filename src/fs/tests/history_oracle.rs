//! Every moment of a random life, opened through `@at`, is what was there then.
//!
//! `VERSO_ORACLE_LIVES` sets how many lives are led.

use super::rewind::{Choices, change};
use super::*;
use crate::chunks::ContentHasher;
use crate::model::{ChunkHash, FileKind, Mode, Moment, moment_name};
use crate::sys::Clock;
use std::collections::{BTreeMap, HashMap};

/// Lives that are led with each slot.
const LIVES: u64 = 10;
/// Moments of a life.
const STEPS: usize = 160;

/// Everything below a directory, by path.
pub(super) type Tree = BTreeMap<String, Found>;

/// A moment, and what was there.
pub(super) type Recorded = (Moment, Tree);

/// What a path shows. Equal if a program sees the same; which inode it is is another matter.
#[derive(Clone, Debug)]
pub(super) struct Found {
    ino: Ino,
    /// What the past shows exactly, whatever the slot: kind, attributes by name, target, size and content.
    pub(super) exact: String,
    /// The hash of its content.
    content: ChunkHash,
    /// What it shows within a slot as it became: mode, owner, and the time of a content.
    settled: (Mode, u32, u32, Option<Timestamp>),
}

impl Found {
    /// Whether mode, owner and time are as shown; the time of nothing is not compared.
    fn settled_as(&self, shown: &Found) -> bool {
        let ((mode, uid, gid, time), other) = (self.settled, shown.settled);
        (mode, uid, gid) == (other.0, other.1, other.2) && (other.3.is_none() || time == other.3)
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Found) -> bool {
        self.exact == other.exact && self.settled == other.settled
    }
}

/// What a program finds below a directory, living or not. Looks up every name and forgets it again.
pub(super) fn found(volume: &Volume, dir: Ino) -> Tree {
    let mut tree = Tree::new();
    walk(volume, dir, "", &mut tree);
    tree
}

fn walk(volume: &Volume, dir: Ino, path: &str, tree: &mut Tree) {
    for (name, ino, kind) in names(volume, dir) {
        let attr = volume.lookup(dir, &name).unwrap();
        assert_eq!((attr.ino, attr.kind), (ino, kind), "as listed and as looked up");
        let path = format!("{path}/{}", String::from_utf8_lossy(&name));
        tree.insert(path.clone(), shown(volume, &attr));
        if kind == FileKind::Directory {
            walk(volume, ino, &path, tree);
        }
        volume.forget(ino, 1);
    }
}

/// The names in a directory, without `.` and `..`.
pub(super) fn names(volume: &Volume, dir: Ino) -> Vec<(Vec<u8>, Ino, FileKind)> {
    let handle = volume.opendir(dir).unwrap();
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        // As the kernel does it: some at a time.
        let before = cookie;
        let mut room = 7;
        let mut take = |entry: DirEntry| {
            if room == 0 {
                return false;
            }
            room -= 1;
            cookie = entry.cookie;
            if entry.name != b"." && entry.name != b".." {
                names.push((entry.name, entry.ino, entry.kind));
            }
            true
        };
        volume.readdir(handle, before, false, &mut take).unwrap();
        if cookie == before {
            return names;
        }
    }
}

fn shown(volume: &Volume, attr: &Attr) -> Found {
    let Attr { ino, kind, mode, uid, gid, rdev, size, mtime, .. } = *attr;
    let xattrs: Vec<_> = volume
        .listxattr(ino)
        .unwrap()
        .into_iter()
        .map(|name| (volume.getxattr(ino, &name).unwrap(), name))
        .collect();
    let mut exact = format!("{kind:?} {rdev} {xattrs:?}");
    let (mut time, mut hasher) = (None, ContentHasher::default());
    match kind {
        FileKind::Directory => {}
        FileKind::Symlink => exact += &format!(" to {:?}", volume.readlink(ino).unwrap()),
        _ => {
            // A file that has no content yet is as old as that will be.
            time = (size > 0).then_some(mtime);
            let content = content(volume, ino);
            assert_eq!(content.len() as u64, size);
            hasher.update(&content);
            exact += &format!(" {size} {}", hasher.finish());
        }
    }
    Found { ino, exact, content: hasher.finish(), settled: (mode, uid, gid, time) }
}

/// The bytes of a file, read in pieces.
pub(super) fn content(volume: &Volume, ino: Ino) -> Vec<u8> {
    let read = OpenMode { write: false, ..READ_WRITE };
    let handle = volume.open(ino, read).unwrap();
    let mut content = Vec::new();
    loop {
        let before = content.len();
        volume.read(handle, before as u64, 100_000, &mut content).unwrap();
        if content.len() == before {
            break;
        }
    }
    volume.release(handle).unwrap();
    content
}

/// The root as it was, through `.versions/@at`.
fn at(volume: &Volume, moment: Moment) -> Tree {
    let versions = volume.lookup(Ino::ROOT, b".versions").unwrap().ino;
    let moments = volume.lookup(versions, b"@at").unwrap().ino;
    let name = moment_name(moment);
    let root = volume.lookup(moments, name.as_bytes()).unwrap().ino;
    let tree = found(volume, root);
    for view in [versions, moments, root] {
        volume.forget(view, 1);
    }
    tree
}

/// What a life was, and how exactly its past shows it.
pub(super) struct Life<'a> {
    pub(super) recorded: &'a [Recorded],
    pub(super) slot: Duration,
}

impl Life<'_> {
    /// Compares every `step`-th of these moments with what is shown; answers how many that were.
    pub(super) fn compare(
        &self,
        volume: &Volume,
        moments: &[Recorded],
        step: usize,
        when: &str,
    ) -> usize {
        for (index, (moment, tree)) in moments.iter().enumerate().step_by(step) {
            let shown = at(volume, *moment);
            let place = format!("{when}, step {index}");
            assert!(shown.keys().eq(tree.keys()), "{place}: {shown:#?}, not {tree:#?}");
            for (path, shown) in &shown {
                let was = &tree[path];
                let is_same = was == shown || self.became(*moment, was, shown);
                assert!(is_same, "{place}, {path}: {shown:?}, not {was:?}");
            }
            assert_eq!(first_names(&shown), first_names(tree), "{place}: which are one file");
        }
        assert_eq!(volume.views.len(), 0, "all is forgotten");
        moments.len().div_ceil(step)
    }

    /// Whether the file got what is shown later in the slot, before its content changed. (A first content leaves no trace
    /// of the empty file before it: that is no change in this sense.)
    fn became(&self, moment: Moment, was: &Found, shown: &Found) -> bool {
        let slot = |moment: Moment| moment.0.checked_div_euclid(self.slot.as_nanos() as i64);
        let after = self.recorded.partition_point(|(at, _)| *at <= moment);
        let in_slot = |at: Moment| slot(at).is_some() && slot(at) == slot(moment);
        let later = self.recorded[after..].iter().take_while(|(at, _)| in_slot(*at));
        let states = later.filter_map(|(_, tree)| tree.values().find(|found| found.ino == was.ino));
        let states: Vec<&Found> = states.collect();
        let mut contents = vec![was.content];
        if was.content == ContentHasher::default().finish() {
            let first =
                states.iter().map(|found| found.content).find(|content| *content != was.content);
            contents.extend(first);
        }
        let mut same = states.iter().take_while(|found| contents.contains(&found.content));
        was.exact == shown.exact && same.any(|found| found.settled_as(shown))
    }
}

/// Of each path, the first of all names of its inode.
fn first_names(tree: &Tree) -> Vec<&String> {
    let mut first = HashMap::new();
    tree.iter().map(|(path, found)| *first.entry(found.ino).or_insert(path)).collect()
}

/// Compares as exactly as with a slot of 0.
pub(super) fn compare(volume: &Volume, recorded: &[Recorded], step: usize, when: &str) {
    Life { recorded, slot: Duration::ZERO }.compare(volume, recorded, step, when);
}

/// A new drive's directories for random changes.
pub(super) fn directories(volume: &Volume) -> Vec<Ino> {
    let mut directories = vec![Ino::ROOT];
    for name in ["d", "e"] {
        let made = volume.mkdir(&ROOT, Ino::ROOT, name.as_bytes(), 0o755).unwrap();
        directories.push(made.ino);
    }
    directories
}

/// One random change, and what is there after it.
pub(super) fn changed(volume: &Volume, choices: &mut Choices, directories: &[Ino]) -> Recorded {
    change(volume, choices, directories);
    // What was opened and not written is committed with what comes next.
    volume.commit_deferred().unwrap();
    // The very moment of the change: looking at what is there notes times of reading, at later ones.
    (volume.meta.last_moment(), found(volume, Ino::ROOT))
}

/// How many moments were recorded, each of which was compared, and how often in all.
fn live(seed: u64, slot: Duration) -> (usize, usize) {
    let drive = Drive::with(VolumeOptions { coalesce: slot, ..options() });
    let mut choices = Choices(seed);
    let directories = directories(&drive.volume);
    let mut recorded = Vec::new();
    for _ in 0..STEPS {
        drive.clock.advance(Duration::from_secs(1));
        recorded.push(changed(&drive.volume, &mut choices, &directories));
    }
    drive.clock.advance(Duration::from_secs(1));
    let life = Life { recorded: &recorded, slot };
    let place = |what| format!("seed {seed}, {what}");
    let mut compared = life.compare(&drive.volume, &recorded, 1, &place("still open"));
    let drive = drive.reopen();
    compared += life.compare(&drive.volume, &recorded, 7, &place("opened again"));
    let drive = drive.crash();
    compared += life.compare(&drive.volume, &recorded, 7, &place("after a crash"));
    (recorded.len(), compared)
}

/// How many lives are led, which are so many if nothing else is asked for.
pub(super) fn lives_to_lead(usual: u64) -> u64 {
    let asked = std::env::var("VERSO_ORACLE_LIVES").ok();
    asked.map_or(usual, |count| count.parse().expect("VERSO_ORACLE_LIVES is a number"))
}

fn lives(slot: Duration) {
    let lives = lives_to_lead(LIVES);
    let (mut moments, mut compared) = (0, 0);
    for seed in 0..lives {
        let (more, times) = live(seed, slot);
        (moments, compared) = (moments + more, compared + times);
    }
    println!("{moments} moments with a slot of {slot:?}, compared {compared} times");
    assert!(lives < LIVES || moments >= 1600, "{moments}");
}

#[test]
fn every_moment_is_shown_as_it_was() {
    lives(Duration::ZERO);
}

#[test]
fn with_a_slot_every_moment_is_shown_as_exactly_as_is_promised() {
    lives(Duration::from_secs(10));
}

/// Counting goes on above what may have been handed out before; by the clock that is over soon.
#[test]
fn after_a_crash_changes_are_remembered_when_they_were_made() {
    let drive = Drive::new();
    drive.save(Ino::ROOT, "f", b"before");
    let clock = Arc::clone(&drive.clock);
    let drive = drive.reopen_after(|volume| {
        drop(volume);
        // As long as a start takes, or waits.
        clock.advance(Duration::from_millis(110));
    });
    drive.clock.advance(Duration::from_millis(1));
    drive.save(Ino::ROOT, "f", b"after");
    let now = drive.clock.now();
    assert!(
        drive.volume.meta.last_moment().0 <= now.0 + 10,
        "{:?}",
        drive.volume.meta.last_moment()
    );
}
