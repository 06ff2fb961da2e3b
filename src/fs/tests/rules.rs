//! What is kept of each name is what the rules for its path say, and nothing wrong is shown of what isn't.

use super::history_oracle::{content, names};
use super::*;
use crate::model::{FileKind, Keep, Moment, NEVER, PathRule, Policy, Rules, Step, moment_name};
use crate::sys::Unattended;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn rule(path: &str) -> PathRule {
    PathRule { paths: vec![path.into()], ..PathRule::default() }
}

pub(super) fn drive_with(never: &[&str], base: Policy, rules: Vec<PathRule>) -> Drive {
    let never = never.iter().map(|name| name.to_string()).collect();
    Drive::with(VolumeOptions {
        retention: base,
        rules: Rules::new(never, rules).unwrap(),
        coalesce: Duration::ZERO,
        pack_bytes: 1 << 20,
        ..options()
    })
}

/// 30 days, and nothing beyond.
fn month() -> Policy {
    Policy { floor: DAY * 30, thinning: vec![], versions_max: None, bytes_max: None }
}

impl Drive {
    pub(super) fn tidied(&self, floor: Option<Duration>) -> UpkeepReport {
        let report = self.volume.upkeep(floor, Duration::ZERO, &Unattended).unwrap();
        let options = CheckOptions { read_data: true, repair: false };
        let checked = self.volume.check(options, &CheckProgress::default()).unwrap();
        assert!(checked.is_clean(), "{checked:?}");
        report
    }

    /// What a path leads to, through `.versions` as well.
    fn find(&self, path: &str) -> Result<Ino> {
        self.try_at(path).map(|attr| attr.ino)
    }

    /// The contents of the versions of a name, the oldest first.
    fn saved(&self, dir: &str, name: &str) -> Vec<Vec<u8>> {
        let list = format!("{dir}/.versions/{name}");
        let Ok(view) = self.find(&list) else { return Vec::new() };
        let files = names(&self.volume, view);
        let files = files.iter().filter(|(.., kind)| *kind == FileKind::File);
        let open = |name: &[u8]| self.volume.lookup(view, name).unwrap().ino;
        files.map(|(name, ..)| content(&self.volume, open(name))).collect()
    }

    fn mkdirs(&self, path: &str) -> Ino {
        let mut at = Ino::ROOT;
        for name in path.split('/') {
            at = match self.volume.lookup(at, name.as_bytes()) {
                Ok(attr) => attr.ino,
                Err(_) => self.volume.mkdir(&ROOT, at, name.as_bytes(), 0o755).unwrap().ino,
            };
        }
        at
    }

    fn mv(&self, from: &str, to: &str) {
        let place = |path: &str| {
            let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
            (self.find(dir).unwrap(), name.as_bytes().to_vec())
        };
        let ((dir, name), (new_dir, new_name)) = (place(from), place(to));
        self.volume.rename(dir, &name, new_dir, &new_name, RenameMode::Replace).unwrap();
    }

    fn rm(&self, dir: Ino, name: &str) {
        self.volume.unlink(dir, name.as_bytes()).unwrap();
    }

    fn rules_of(&self, path: &str) -> Vec<String> {
        let reasons = self.volume.why(path.as_bytes()).unwrap();
        reasons.into_iter().flat_map(|reason| reason.rules).collect()
    }

    fn moment(&self, dir: &str, moment: Moment) -> String {
        format!("{dir}/.versions/@at/{}", moment_name(moment))
    }
}

fn drafts() -> PathRule {
    PathRule {
        floor: Some(DAY * 7),
        thinning: Some(vec![Step { age_max: Some(DAY * 90), keep: Keep::LastOf(DAY) }]),
        versions_max: Some(5),
        ..rule("p/*/drafts/**")
    }
}

#[test]
fn each_name_is_kept_as_its_path_says() {
    let drive = drive_with(&NEVER, month(), vec![drafts()]);
    let (drafts, end) = (drive.mkdirs("p/x/drafts/sub"), drive.mkdirs("p/x/final"));
    for n in 0..40 {
        for dir in [drafts, end] {
            drive.save(dir, "f", &[n]);
            drive.save(dir, "gone", &[n]);
            drive.rm(dir, "gone");
        }
        drive.clock.advance(DAY / 2);
    }
    drive.clock.advance(SECOND);
    drive.tidied(None);
    // Seven days are more than five versions: limits don't touch them.
    assert_eq!(drive.saved("p/x/drafts/sub", "f").len(), 14);
    assert_eq!(drive.saved("p/x/drafts/sub", "gone").len(), 13);
    assert_eq!(drive.saved("p/x/final", "f").len(), 40);
    assert_eq!(drive.saved("p/x/final", "gone").len(), 40);
    let rules = drive.rules_of("p/x/drafts/sub/f");
    assert!(rules.contains(&"within the floor of 1 week".to_owned()), "{rules:?}");
    assert!(drive.rules_of("p/x/final/f").contains(&"within the floor of 30 days".to_owned()));
    // One more save: then the days of which only the last is kept fill what the floor leaves of the limit.
    drive.clock.advance(DAY * 60);
    drive.save(drafts, "f", b"new");
    drive.save(end, "f", b"new");
    let rules = drive.rules_of("p/x/drafts/sub/f");
    assert!(rules.contains(&"over the limit of 5 versions".to_owned()), "{rules:?}");
    drive.tidied(None);
    let left = drive.saved("p/x/drafts/sub", "f");
    assert_eq!(left.len(), 5, "{left:?}");
    assert_eq!(left[3..], [vec![39], b"new".to_vec()]);
    assert_eq!(drive.saved("p/x/final", "f").len(), 2);
}

#[test]
fn a_floor_that_is_asked_for_shortens_all_and_lengthens_none() {
    let rules = vec![drafts(), PathRule { floor: Some(DAY * 90), ..rule("keep/**") }];
    let drive = drive_with(&NEVER, month(), rules);
    let dirs = ["p/x/drafts", "keep", "other"].map(|path| (path, drive.mkdirs(path)));
    for n in 0..100 {
        for (_, dir) in dirs {
            drive.save(dir, "f", &[n]);
        }
        drive.clock.advance(DAY);
    }
    drive.clock.advance(SECOND);
    let counts = |floor| {
        drive.tidied(floor);
        dirs.map(|(path, _)| drive.saved(path, "f").len())
    };
    assert_eq!(counts(Some(DAY * 365)), [7, 90, 30]);
    assert_eq!(counts(Some(DAY * 20)), [7, 20, 20]);
    assert_eq!(counts(Some(DAY * 5)), [5, 5, 5]);
}

#[test]
fn a_folder_that_is_gone_stays_the_way_to_what_is_kept_in_it() {
    let short = PathRule { thinning: None, ..drafts() };
    let rules = vec![short, PathRule { floor: Some(DAY * 90), ..rule("**/*.psd") }];
    let drive = drive_with(&NEVER, month(), rules);
    let dir = drive.mkdirs("q/deep");
    drive.save(dir, "hero.psd", b"hero");
    drive.save(dir, "notes", b"notes");
    let drafts = drive.mkdirs("p/x/drafts");
    drive.save(drafts, "f", b"draft");
    drive.clock.advance(DAY);
    let then = Moment(drive.volume.now().0);
    drive.clock.advance(DAY);
    for (dir, name) in [(dir, "hero.psd"), (dir, "notes"), (drafts, "f")] {
        drive.rm(dir, name);
    }
    for (dir, name) in [("q", "deep"), ("", "q"), ("p/x", "drafts")] {
        drive.volume.rmdir(drive.find(dir).unwrap(), name.as_bytes()).unwrap();
    }
    drive.clock.advance(DAY * 20);
    drive.tidied(None);
    // What the folder above promises of 22 days ago, but for what has a shorter floor.
    let root = drive.moment("", then);
    assert_eq!(drive.names_in(&format!("{root}/q/deep")), ["hero.psd", "notes"]);
    assert_eq!(drive.names_in(&format!("{root}/p/x/drafts")), Vec::<String>::new());
    assert!(matches!(drive.find(&format!("{root}/p/x/drafts/f")), Err(Error::Gone)));
    assert!(matches!(drive.find(&format!("{root}/q/other")), Err(Error::NotFound)));
    drive.clock.advance(DAY * 40);
    drive.tidied(None);
    assert_eq!(drive.names_in(".versions/@deleted/q/deep"), ["hero.psd"]);
    let root = drive.moment("", then);
    assert_eq!(drive.names_in(&format!("{root}/q/deep")), ["hero.psd"]);
    assert!(matches!(drive.find(&format!("{root}/q/deep/notes")), Err(Error::Gone)));
    // It comes back, with what is left of it.
    drive.mv(".versions/@deleted/q", "q");
    assert_eq!(drive.load(drive.find("q/deep").unwrap(), "hero.psd"), b"hero");
    drive.volume.unlink(drive.find("q/deep").unwrap(), b"hero.psd").unwrap();
    drive.volume.rmdir(drive.find("q").unwrap(), b"deep").unwrap();
    drive.volume.rmdir(Ino::ROOT, b"q").unwrap();
    drive.clock.advance(DAY * 91);
    drive.tidied(None);
    assert_eq!(drive.names_in(".versions/@deleted"), Vec::<String>::new());
    for table in ["dentry_past", "extent_past", "extent", "chunk"] {
        assert_eq!(drive.volume.meta.count(table), 0, "{table}");
    }
}

#[test]
fn what_is_moved_goes_by_the_rules_of_its_new_place() {
    let drive = drive_with(&NEVER, month(), vec![drafts()]);
    let (dir, end) = (drive.mkdirs("p/x/drafts/set"), drive.mkdirs("p/x/final"));
    for n in 0..3 {
        drive.save(dir, "f", &[n]);
        drive.save(end, "g", &[n]);
        drive.clock.advance(DAY);
    }
    // A folder takes its names along; a file leaves what it was to its old name.
    drive.mv("p/x/drafts/set", "p/x/final/set");
    drive.mv("p/x/final/g", "p/x/drafts/g");
    drive.clock.advance(DAY * 20);
    drive.tidied(None);
    assert_eq!(drive.saved("p/x/final/set", "f").len(), 3);
    assert_eq!(drive.saved("p/x/drafts", "g"), [[0], [1], [2]], "kept by its old name");
    drive.mv("p/x/final/set", "p/x/drafts/set");
    drive.clock.advance(DAY);
    drive.tidied(None);
    assert_eq!(drive.saved("p/x/drafts/set", "f").len(), 3, "five versions are kept, by day");
    assert!(drive.rules_of("p/x/drafts/set/f").contains(&"newest of its day".to_owned()));
}

#[test]
fn a_rule_has_its_own_slot() {
    let exact = PathRule { slot: Some(Duration::ZERO), ..rule("final/**") };
    let slow = PathRule { slot: Some(DAY), ..rule("drafts/**") };
    let rules = Rules::new(vec![], vec![exact, slow]).unwrap();
    let drive = Drive::with(VolumeOptions { rules, coalesce: SECOND * 10, ..options() });
    drive.clock.set(Timestamp(DAY.as_nanos() as i64 * 21_000));
    let dirs = ["final", "drafts", "other"].map(|path| (path, drive.mkdirs(path)));
    for n in 0..20 {
        for (_, dir) in dirs {
            // In place: what was emptied before is a version in whatever slot.
            let (_, handle) = drive.create(dir, "f");
            drive.volume.write(handle, 0, &[n]).unwrap();
            drive.volume.flush(handle).unwrap();
            drive.volume.release(handle).unwrap();
        }
        drive.clock.advance(SECOND);
    }
    assert_eq!(dirs.map(|(path, _)| drive.saved(path, "f").len()), [20, 1, 2]);
}

#[test]
fn a_temporary_leaves_nothing() {
    let drive = drive_with(&NEVER, month(), vec![]);
    let kept = drive.save(Ino::ROOT, "kept", b"kept").ino;
    let before = drive.volume.meta.count("chunk");
    drive.save(Ino::ROOT, ".kept.swp", &noise(1, 3 << 20));
    drive.save(Ino::ROOT, ".kept.swp", &noise(2, 3 << 20));
    drive.save(Ino::ROOT, "4913", b"");
    drive.save(Ino::ROOT, "lives.tmp", b"one");
    drive.clock.advance(SECOND);
    let then = Moment(drive.volume.now().0);
    assert_eq!(drive.names_in(".versions"), ["@at", "@deleted", "@pins", "kept"]);
    for name in [".kept.swp", "4913", "lives.tmp"] {
        assert!(matches!(drive.find(&format!(".versions/{name}")), Err(Error::NotFound)));
    }
    drive.clock.advance(SECOND);
    drive.rm(Ino::ROOT, ".kept.swp");
    drive.rm(Ino::ROOT, "4913");
    assert_eq!(drive.names_in(".versions/@deleted"), Vec::<String>::new());
    assert!(matches!(drive.find(".versions/@deleted/4913"), Err(Error::NotFound)));
    let out = drive.volume.rename(
        drive.find(".versions/@deleted").unwrap(),
        b"4913",
        Ino::ROOT,
        b"back",
        RenameMode::Replace,
    );
    assert!(matches!(out, Err(Error::NotFound)), "{out:?}");
    // What lives as it was is shown, also where it is gone from history.
    let there = |name: &str| drive.find(&format!("{}/{name}", drive.moment("", then)));
    assert!(there("lives.tmp").is_ok());
    assert!(matches!(there("4913"), Err(Error::NotFound)));
    let listed = drive.names_in(&drive.moment("", then));
    assert!(listed.contains(&"lives.tmp".into()) && !listed.contains(&".kept.swp".into()));
    drive.clock.advance(SECOND);
    drive.save(Ino::ROOT, "lives.tmp", b"other");
    assert!(matches!(there("lives.tmp"), Err(Error::NotFound)));
    assert_eq!(drive.rules_of("lives.tmp"), ["its name makes no versions", "live"]);
    assert!(drive.tidied(None).bytes_freed > 5 << 20);
    assert_eq!(drive.volume.meta.count("dentry_past"), 0);
    assert_eq!(drive.volume.meta.count("inode_past"), 0);
    assert_eq!(drive.volume.meta.count("chunk"), before + 1);
    assert_eq!(drive.tidied(None), UpkeepReport::default(), "there is nothing left to do");
    assert!(drive.load(Ino::ROOT, "lives.tmp") == b"other" && drive.find("kept").unwrap() == kept);
}

#[test]
fn what_comes_from_a_temporary_is_history_from_then_on() {
    let drive = drive_with(&NEVER, month(), vec![]);
    for n in 0..3 {
        drive.save(Ino::ROOT, "f.tmp", &[n]);
        drive.clock.advance(SECOND);
        drive.mv("f.tmp", "f");
        drive.clock.advance(SECOND);
        drive.tidied(None);
    }
    assert_eq!(drive.saved("", "f"), [[0], [1], [2]]);
    // The old one away, the new one to its place, and the old one gone.
    drive.save(Ino::ROOT, "new", &[3]);
    drive.mv("f", "f.tmp");
    drive.clock.advance(SECOND);
    drive.mv("new", "f");
    drive.clock.advance(SECOND);
    drive.rm(Ino::ROOT, "f.tmp");
    drive.clock.advance(SECOND);
    for _ in 0..2 {
        assert_eq!(drive.saved("", "f"), [[0], [1], [2], [3]]);
        drive.tidied(None);
    }
    // By way of a temporary name to another one.
    drive.mv("f", "f.tmp");
    drive.clock.advance(SECOND);
    drive.mv("f.tmp", "F");
    drive.clock.advance(SECOND);
    drive.save(Ino::ROOT, "F", &[4]);
    for _ in 0..2 {
        assert_eq!(drive.saved("", "F"), [[0], [1], [2], [3], [4]]);
        drive.tidied(None);
    }
    drive.clock.advance(DAY * 40);
    drive.tidied(None);
    // The name on the way goes with the one that it leads from, or the next time.
    drive.tidied(None);
    assert_eq!(drive.saved("", "F"), [[4]]);
    assert_eq!(drive.volume.meta.count("dentry_past"), 0, "nor is the way there left");
}

#[test]
fn a_folder_with_the_name_of_a_temporary_is_a_folder() {
    let drive = drive_with(&NEVER, month(), vec![]);
    let dir = drive.mkdirs("build.tmp");
    drive.save(dir, "out", b"out");
    drive.save(dir, "out.tmp", b"no");
    drive.clock.advance(SECOND * 20);
    drive.rm(dir, "out");
    drive.rm(dir, "out.tmp");
    drive.volume.rmdir(Ino::ROOT, b"build.tmp").unwrap();
    drive.tidied(None);
    assert_eq!(drive.names_in(".versions/@deleted/build.tmp"), ["out"]);
    let versions = drive.names_in(".versions/build.tmp");
    assert_eq!(versions.len(), 1);
    drive.save(Ino::ROOT, "build.tmp", b"a file");
    assert_eq!(drive.names_in(".versions/build.tmp"), versions, "which has no versions");
    drive.rm(Ino::ROOT, "build.tmp");
    drive.tidied(None);
    assert_eq!(drive.names_in(".versions/build.tmp"), versions);
}

#[test]
fn without_such_names_everything_is_history() {
    let drive = drive_with(&[], month(), vec![]);
    drive.save(Ino::ROOT, "a.tmp", b"one");
    drive.clock.advance(SECOND);
    drive.rm(Ino::ROOT, "a.tmp");
    drive.tidied(None);
    assert_eq!(drive.saved("", "a.tmp"), [b"one"]);
    assert_eq!(drive.names_in(".versions/@deleted"), ["a.tmp"]);
}
