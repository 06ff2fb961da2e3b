//! Projects in a store that is open in this process, with a clock that stands still unless told.

mod dying;
mod incoming;

use super::*;
use crate::fs::{CreateOptions, Told, Volume, VolumeOptions, create_store};
use crate::model::{Attr, FileKind, Ino, Timestamp, Zone};
use crate::recall::{self, Stored, Tree, remove_all};
use crate::sys::{Clock, ManualClock, Unattended};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(86_400);

struct Drive {
    _dir: TempDir,
    clock: Arc<ManualClock>,
    volume: Arc<Volume>,
}

impl Drive {
    fn new() -> Drive {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_790_000_000_000_000_000)));
        let store = dir.path().join("store");
        create_store(&store, &CreateOptions::default(), &*clock).unwrap();
        let options = VolumeOptions {
            sync_interval: Duration::from_secs(3600),
            reserve_bytes: 0,
            coalesce: Duration::ZERO,
            stages: Vec::new(),
            ..VolumeOptions::default()
        };
        let volume = Volume::open_store(&store, options, clock.clone()).unwrap();
        Drive { _dir: dir, clock, volume }
    }

    fn tree(&self) -> Stored<'_> {
        Stored::new(&self.volume, 7, 8)
    }

    fn tick(&self) {
        self.clock.advance(Duration::from_secs(1));
    }

    fn write(&self, path: &str, content: &[u8]) {
        self.tick();
        let (tree, path) = (self.tree(), Path::new(path));
        if let Some(attr) = recall::attr_if_any(&tree, path).unwrap() {
            tree.remove(path, attr.kind).unwrap();
        }
        let mut sink = tree.create(path, "").unwrap();
        sink.write_at(0, content).unwrap();
        sink.finish(content.len() as u64, false).unwrap();
        tree.set_mode(path, 0o640).unwrap();
    }

    /// A project with a bit of everything.
    fn project(&self, id: &str) -> PathBuf {
        let (tree, dir) = (self.tree(), Path::new(PROJECTS).join(id));
        let like = tree.attr(Path::new(PROJECTS)).unwrap();
        let mode = |inner| match inner {
            "" => 0o775,
            "empty" => 0o2770,
            _ => 0o755,
        };
        for inner in ["", "final", "final/deep", "empty"] {
            tree.make(&dir.join(inner), &like).unwrap();
            tree.set_mode(&dir.join(inner), mode(inner)).unwrap();
        }
        let at = |name: &str| format!("{PROJECTS}/{id}/{name}");
        self.write(&at("plan"), b"first");
        self.write(&at("plan"), b"second");
        self.write(&at("final/deep/a"), b"aaaa");
        self.write(&at("final/closed"), b"c");
        tree.set_mode(Path::new(&at("final/closed")), 0o400).unwrap();
        tree.link(Path::new(&at("final/deep/a")), Path::new(&at("b"))).unwrap();
        tree.symlink(Path::new(&at("link")), Path::new("/nowhere")).unwrap();
        self.tick();
        dir
    }

    fn order(&self) -> Order<'static> {
        let now = self.clock.now();
        let by = By { uid: 7, name: "anna".into() };
        Order { why: "by hand".into(), by, now, at: now, zone: Zone::UTC, unless: None }
    }

    fn archive(&self, id: &str) -> Result<Archived> {
        self.tick();
        archive(&self.tree(), OsStr::new(id), &self.order(), &Unattended)
    }

    fn unarchive(&self, id: &str) -> Result<Unarchived> {
        self.tick();
        unarchive(&self.tree(), OsStr::new(id), &Unattended)
    }

    fn list(&self) -> Vec<Project> {
        list(&self.tree(), &Filter::default(), self.clock.now(), &mut || Ok(())).unwrap()
    }

    fn job(&self, is_open: bool) -> Vec<bool> {
        let now = self.clock.now();
        let planned = plan(&self.list(), now, 90 * DAY, &Zone::UTC);
        self.tick();
        let done = |one: &Planned| {
            let tree = self.tree();
            carry_out(&tree, one, now, &Zone::UTC, &|_: &HashSet<Ino>| is_open, &Unattended)
        };
        planned.iter().map(|one| done(one).unwrap()).collect()
    }
}

type Shape = BTreeMap<PathBuf, (FileKind, u16, u64, Timestamp)>;

/// Everything below a directory: kind, permissions, size, time of contents.
fn shape(tree: &dyn Tree, dir: &Path) -> Shape {
    let mut found = BTreeMap::new();
    let mut add = |path: &Path, attr: &Attr| {
        let shown = (attr.kind, attr.mode.bits(), attr.size, attr.mtime);
        found.insert(path.to_owned(), shown);
        Ok(())
    };
    add(Path::new(""), &tree.attr(dir).unwrap()).unwrap();
    survey::walk(tree, dir, &mut add).unwrap();
    found
}

fn is_closed(tree: &dyn Tree, dir: &Path) -> bool {
    let open = |(kind, mode, ..): &(FileKind, u16, u64, Timestamp)| {
        *kind != FileKind::Symlink && mode & 0o222 != 0
    };
    !shape(tree, dir).values().any(open)
}

fn where_is_it(drive: &Drive) -> Vec<PathBuf> {
    drive.list().into_iter().map(|one| one.place.path).collect()
}

const PLACES: [&str; 2] = ["projects/spring", "archived/2026/09/spring"];

#[test]
fn archiving_closes_a_project_and_keeps_its_history() {
    let drive = Drive::new();
    let dir = drive.project("spring");
    let tree = drive.tree();
    let before = shape(&tree, &dir);
    let changed = drive.list()[0].survey.last_change;
    let versions = |dir: &Path| tree.list(&dir.join(".versions/plan")).unwrap().len();
    assert_eq!(versions(&dir), 2);
    let done = drive.archive("spring").unwrap();
    assert_eq!(done.path, Path::new("archived/2026/09/spring"));
    assert_eq!((done.files, done.bytes, done.refused), (5, 6 + 4 + 1, 0));
    assert!(is_closed(&tree, &done.path));
    assert!(recall::attr_if_any(&tree, &dir).unwrap().is_none());
    assert_eq!(versions(&done.path), 2);
    let text = {
        let mut text = vec![0; 4096];
        let source = tree.open(&done.path.join("metadata.json")).unwrap();
        let read = source.read_at(0, &mut text).unwrap();
        String::from_utf8(text[..read].to_vec()).unwrap()
    };
    assert!(text.contains("\"why\": \"by hand\"") && text.contains("\"name\": \"anna\""), "{text}");
    let (_, note) = note::Note::of(&tree, &done.path).unwrap().unwrap();
    assert_eq!(note.survey.last_change, changed);
    assert!(matches!(drive.archive("spring"), Err(Error::Archived { .. })));
    let back = drive.unarchive("spring").unwrap();
    assert!(back.is_exact && back.path == dir);
    assert_eq!(shape(&tree, &dir), before);
    assert_eq!(versions(&dir), 2);
    assert!(matches!(drive.unarchive("spring"), Err(Error::NotArchived { .. })));
}

#[test]
fn several_of_one_name_are_told_apart() {
    let drive = Drive::new();
    for _ in 0..2 {
        drive.project("spring");
        drive.archive("spring").unwrap();
    }
    drive.clock.advance(40 * DAY);
    drive.project("spring");
    drive.archive("spring").unwrap();
    let paths: Vec<PathBuf> = drive.list().into_iter().map(|one| one.place.path).collect();
    let months =
        ["archived/2026/09/spring", "archived/2026/10/spring", "archived/2026/09/spring~2"];
    assert_eq!(paths, months.map(PathBuf::from));
    assert!(matches!(drive.unarchive("spring"), Err(Error::Several { .. })));
    // The name that it had is what it is called again.
    assert_eq!(drive.unarchive("spring~2").unwrap().path, Path::new("projects/spring"));
    assert!(matches!(drive.unarchive("2026/10/spring"), Err(Error::Exists { .. })));
    remove(&drive.tree(), Path::new("projects/spring"), &Unattended).unwrap();
    assert_eq!(drive.unarchive("2026/10/spring").unwrap().path, Path::new("projects/spring"));
    assert!(matches!(drive.archive("winter"), Err(Error::Unknown { .. })));
    assert!(matches!(drive.archive("../x"), Err(Error::BadName { .. })));
    assert!(matches!(drive.archive(".versions"), Err(Error::BadName { .. })));
}

#[test]
fn a_file_of_the_projects_own_by_that_name_stays() {
    let drive = Drive::new();
    let dir = drive.project("spring");
    drive.write("projects/spring/metadata.json", b"{\"title\": \"mine\"}");
    let before = shape(&drive.tree(), &dir);
    let done = drive.archive("spring").unwrap();
    assert!(drive.tree().attr(&done.path.join("metadata~verso.json")).is_ok());
    assert!(is_closed(&drive.tree(), &done.path));
    drive.unarchive("spring").unwrap();
    assert_eq!(shape(&drive.tree(), &dir), before);
}

#[test]
fn the_job_archives_what_nobody_touched() {
    let drive = Drive::new();
    for id in ["old", "kept", "used"] {
        drive.project(id);
    }
    let tags = b"one, verso:keep";
    drive.tree().set_xattr(Path::new("projects/kept"), b"user.xdg.tags", tags).unwrap();
    drive.clock.advance(89 * DAY);
    drive.project("young");
    drive.write("projects/used/plan", b"third");
    assert!(drive.job(false).is_empty());
    drive.clock.advance(2 * DAY);
    assert_eq!(drive.job(true), [false], "somebody has it open");
    // It was put off as it was, but for the times at which that was done.
    assert_eq!(drive.tree().attr(Path::new("projects/old/plan")).unwrap().mode.bits(), 0o640);
    assert!(drive.job(false).is_empty());
    drive.clock.advance(91 * DAY);
    assert_eq!(drive.job(false).len(), 3);
    let names: Vec<PathBuf> = where_is_it(&drive);
    assert_eq!(names[0], Path::new("projects/kept"));
    assert!(names[1..].iter().all(|path| path.starts_with("archived/2027/03")), "{names:?}");
}

#[test]
fn a_change_between_plan_and_move_puts_it_off() {
    let drive = Drive::new();
    drive.project("spring");
    drive.clock.advance(91 * DAY);
    let now = drive.clock.now();
    let planned = plan(&drive.list(), now, 90 * DAY, &Zone::UTC);
    drive.write("projects/spring/plan", b"third");
    let before = shape(&drive.tree(), Path::new(PLACES[0]));
    let carry = |planned: &Planned, is_open: &dyn Fn(&HashSet<Ino>) -> bool| {
        carry_out(&drive.tree(), planned, drive.clock.now(), &Zone::UTC, is_open, &Unattended)
    };
    assert!(!carry(&planned[0], &|_| false).unwrap());
    assert_eq!(shape(&drive.tree(), Path::new(PLACES[0])), before);
    // While it was being closed.
    drive.clock.advance(91 * DAY);
    let planned = plan(&drive.list(), drive.clock.now(), 90 * DAY, &Zone::UTC);
    let meanwhile = |_: &HashSet<Ino>| {
        drive.write("projects/spring/final/new", b"n");
        false
    };
    assert!(!carry(&planned[0], &meanwhile).unwrap());
    let mut after = shape(&drive.tree(), Path::new(PLACES[0]));
    assert!(after.remove(Path::new("final/new")).is_some());
    let modes = |shape: &Shape| -> Vec<u16> { shape.values().map(|(_, mode, ..)| *mode).collect() };
    assert_eq!(modes(&after), modes(&before));
}

/// What was told to the kernel, were there one.
#[derive(Default)]
struct Ear(Mutex<HashSet<(Ino, Vec<u8>)>>);

impl Told for Ear {
    fn name_changed(&self, dir: Ino, name: &[u8]) {
        self.0.lock().unwrap().insert((dir, name.to_vec()));
    }
    fn attributes_changed(&self, ino: Ino) {
        self.0.lock().unwrap().insert((ino, Vec::new()));
    }
}

#[test]
fn who_believes_what_was_shown_is_told() {
    let drive = Drive::new();
    drive.project("spring");
    let ear = Arc::new(Ear::default());
    drive.volume.tell_of_changes(ear.clone());
    let ino = |path: &str| drive.tree().attr(Path::new(path)).unwrap().ino;
    let (projects, plan) = (ino("projects"), ino("projects/spring/plan"));
    drive.archive("spring").unwrap();
    let heard = ear.0.lock().unwrap();
    assert!(heard.contains(&(projects, b"spring".to_vec())));
    assert!(heard.contains(&(ino("archived/2026/09"), b"spring".to_vec())));
    assert!(heard.contains(&(plan, Vec::new())));
    assert!(heard.contains(&(ino("archived/2026/09/spring"), b"metadata.json".to_vec())));
}

#[test]
fn filters_let_through_what_they_say() {
    let drive = Drive::new();
    drive.project("small");
    drive.clock.advance(10 * DAY);
    drive.project("large");
    drive.write("projects/large/big", &[1; 5000]);
    drive.tree().set_xattr(Path::new("projects/large"), b"user.xdg.tags", b"a,b c").unwrap();
    drive.project("gone");
    drive.archive("gone").unwrap();
    drive.write("projects/.hidden", b"");
    let names = |filter: Filter| {
        let found = list(&drive.tree(), &filter, drive.clock.now(), &mut || Ok(())).unwrap();
        found.into_iter().map(|one| one.place.id.into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(Filter::default()), ["gone", "large", "small"]);
    assert_eq!(names(Filter { status: Some(Status::Archived), ..Filter::default() }), ["gone"]);
    assert_eq!(names(Filter { larger: Some(4999), ..Filter::default() }), ["large"]);
    let active = || Some(Status::Active);
    assert_eq!(
        names(Filter { smaller: Some(4999), status: active(), ..Filter::default() }),
        ["small"]
    );
    assert_eq!(names(Filter { older: Some(9 * DAY), ..Filter::default() }), ["small"]);
    assert_eq!(
        names(Filter { newer: Some(9 * DAY), status: active(), ..Filter::default() }),
        ["large"]
    );
    for (tags, found) in [(&["a"][..], 1), (&["b c", "a"], 1), (&["a", "c"], 0)] {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        assert_eq!(names(Filter { tags, ..Filter::default() }).len(), found);
    }
}

#[test]
fn what_is_deleted_comes_back_with_its_rights() {
    let drive = Drive::new();
    let dir = drive.project("spring");
    let before = shape(&drive.tree(), &dir);
    assert_eq!(remove(&drive.tree(), &dir, &Unattended).unwrap(), before.len() as u64);
    assert!(drive.list().is_empty());
    let tree = drive.tree();
    let place = recall::Place { tree: &tree, path: &dir, replaces: false };
    recall::undelete(&tree, &dir, place, &mut |_, _| {}).unwrap();
    assert_eq!(shape(&tree, &dir).len(), before.len());
    let modes = |shape: Shape| -> Vec<u16> { shape.into_values().map(|one| one.1).collect() };
    assert_eq!(modes(shape(&tree, &dir)), modes(before));
    remove_all(&tree, &dir).unwrap();
}
