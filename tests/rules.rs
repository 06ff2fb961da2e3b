//! Rules by path, and names that make no versions, as people meet them: settings in a file, programs on the mount, the
//! commands.

#![allow(clippy::unwrap_used)] // all of it is test code

mod crash_support;

use crash_support::drive::{Drive, Options, check_clean, verso};
use crash_support::{is_root_or_skip, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const SETTINGS: &str = r#"
[history]
slot = "0s"

[retention]
grace = "0s"

[[rule]]
paths = ["projects/*/drafts/**"]
floor = "0s"
thinning = ["all 365d"]
versions_max = 3
"#;

/// A drive that is mounted with settings of its own.
struct Place {
    drive: Drive,
    _dir: TempDir,
}

impl Place {
    fn new(test: &str) -> Option<Place> {
        if !is_root_or_skip(test) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let (store, mountpoint) = (dir.path().join("store"), dir.path().join("mnt"));
        fs::create_dir(&mountpoint).unwrap();
        fs::create_dir(&store).unwrap();
        fs::write(store.join("verso.toml"), SETTINGS).unwrap();
        let drive = Drive::start_with(&store, &mountpoint, &Options::default()).unwrap();
        Some(Place { drive, _dir: dir })
    }

    fn at(&self, path: &str) -> PathBuf {
        self.drive.mountpoint.join(path)
    }

    fn save(&self, path: &str, text: &str) {
        fs::write(self.at(path), text).unwrap();
    }

    /// Runs a command of `verso` within the mount.
    fn verso(&self, arguments: &[&str]) -> String {
        run(verso().args(arguments).current_dir(&self.drive.mountpoint))
    }

    fn finish(self) {
        let store = self.drive.store.clone();
        self.drive.stop();
        check_clean(&store);
    }
}

fn listed(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn contents(dir: &Path) -> Vec<String> {
    listed(dir).iter().map(|name| fs::read_to_string(dir.join(name)).unwrap()).collect()
}

#[test]
fn a_stage_keeps_as_much_as_its_rule_says() {
    let Some(place) = Place::new("a_stage_keeps_as_much_as_its_rule_says") else { return };
    fs::create_dir(place.at("projects/x")).unwrap();
    for n in 0..6 {
        place.save("projects/x/drafts/f", &format!("draft {n}"));
        place.save("projects/x/final/f", &format!("final {n}"));
    }
    let why = place.verso(&["why", "projects/x/drafts/f"]);
    assert!(why.contains("over the limit of 3 versions"), "{why}");
    assert!(!place.verso(&["why", "projects/x/final/f"]).contains("limit"));
    place.verso(&["tidy", place.drive.store.to_str().unwrap()]);
    let left = contents(&place.at("projects/x/drafts/.versions/f"));
    assert_eq!(left, ["draft 3", "draft 4", "draft 5"]);
    assert_eq!(listed(&place.at("projects/x/final/.versions/f")).len(), 6);
    place.finish();
}

#[test]
fn an_editor_leaves_nothing_but_versions() {
    let Some(place) = Place::new("an_editor_leaves_nothing_but_versions") else { return };
    let shared = place.at("shared");
    for n in 0..3 {
        // With what it puts beside a file, and a trial whether the directory can be written to.
        let edit = format!("set swapfile updatecount=1 backup backupskip= | normal onew {n}");
        let mut vim = Command::new("vim");
        vim.args([
            "-u",
            "NONE",
            "-i",
            "NONE",
            "-N",
            "-es",
            "-c",
            &edit,
            "-c",
            "preserve | wq",
            "notes.txt",
        ]);
        run(vim.current_dir(&shared).env("HOME", &shared).env("TERM", "dumb"));
    }
    for lock in [".~lock.plan.odt#", "~$plan.docx", "._hero.psd", "4913", "export.tmp"] {
        place.save(&format!("shared/{lock}"), "here");
        fs::remove_file(place.at(&format!("shared/{lock}"))).unwrap();
    }
    let versions = shared.join(".versions");
    let expected = ["@at", "@deleted", "@pins", "notes.txt", "notes.txt~"];
    assert_eq!(listed(&versions), expected);
    assert_eq!(listed(&versions.join("notes.txt")).len(), 3);
    assert_eq!(listed(&versions.join("@deleted")), Vec::<String>::new());
    let log = place.verso(&["log", "shared"]);
    assert!(log.contains("notes.txt") && !log.contains(".swp") && !log.contains("4913"), "{log}");
    place.finish();
}

#[test]
fn a_rewind_leaves_alone_what_it_could_not_bring_back() {
    let Some(place) = Place::new("a_rewind_leaves_alone_what_it_could_not_bring_back") else {
        return;
    };
    fs::create_dir(place.at("projects/x")).unwrap();
    place.save("projects/x/drafts/gone", "of which nothing is kept");
    place.save("projects/x/drafts/f", "first");
    place.save("projects/x/plan", "first");
    let then = run(Command::new("date").arg("+%Y-%m-%dT%H:%M:%S.%N"));
    let then = then.trim();
    fs::remove_file(place.at("projects/x/drafts/gone")).unwrap();
    for n in 0..4 {
        place.save("projects/x/drafts/f", &format!("draft {n}"));
    }
    place.save("projects/x/plan", "second");
    fs::create_dir(place.at("projects/x/new")).unwrap();
    place.save("projects/x/new/work.tmp", "only here");
    place.save("projects/x/new/work", "in history too");
    place.verso(&["tidy", place.drive.store.to_str().unwrap()]);
    let error = verso()
        .args(["cat", "projects/x/drafts/f", "--at", then])
        .current_dir(&place.drive.mountpoint)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&error.stderr).into_owned();
    assert!(!error.status.success() && said.contains("is not kept any more"), "{said}");
    let preview = place.verso(&["rewind", "projects/x", "--at", then, "--preview"]);
    for path in ["drafts/f", "new/work.tmp"] {
        let line = preview.lines().find(|line| line.contains(&format!(" {path} "))).unwrap_or("");
        assert!(line.starts_with("left alone"), "{path}: {preview}");
    }
    assert_eq!(preview, place.verso(&["rewind", "projects/x", "--at", then, "--preview"]));
    place.verso(&["rewind", "projects/x", "--at", then]);
    assert_eq!(fs::read_to_string(place.at("projects/x/plan")).unwrap(), "first");
    assert_eq!(fs::read_to_string(place.at("projects/x/drafts/f")).unwrap(), "draft 3");
    assert_eq!(listed(&place.at("projects/x/new")), ["work.tmp"]);
    let undo = place.verso(&["diff", "projects/x", "--from", then]);
    assert!(!undo.contains("work.tmp") && !undo.contains("drafts/f"), "{undo}");
    place.finish();
}
