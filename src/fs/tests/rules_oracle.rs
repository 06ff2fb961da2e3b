//! A random life under rules that differ by path, with upkeep in the middle of it: what a rule keeps of a moment is there,
//! and whatever is there is as it was.

use super::history_oracle::{Tree, content, found, names};
use super::rewind::{Choices, change};
use super::rules::{drive_with, rule};
use super::*;
use crate::chunks::ContentHasher;
use crate::model::{Care, FileKind, Keep, Moment, PathRule, Policy, Step, moment_name};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Of each so many seconds the last, up to an age.
fn last_of(period: u64, age: Option<u64>) -> Step {
    Step { age_max: age.map(seconds), keep: Keep::LastOf(seconds(period)) }
}

fn base() -> Policy {
    let thinning = vec![last_of(400, None)];
    Policy { floor: seconds(600), thinning, versions_max: None, bytes_max: None }
}

fn rules() -> Vec<PathRule> {
    let floor = |count, path| PathRule { floor: Some(seconds(count)), ..rule(path) };
    vec![
        PathRule { thinning: Some(vec![]), ..floor(100, "short/**") },
        floor(300, "short/X/**"),
        PathRule { versions_max: Some(3), ..floor(900, "limited/**") },
        PathRule { thinning: Some(vec![]), ..floor(50, "a") },
        PathRule { thinning: Some(vec![last_of(50, Some(2000))]), ..floor(200, "**/b") },
    ]
}

/// Directories that nobody removes or moves: paths in them mean the same at all times.
const DIRECTORIES: [&str; 4] = ["", "short", "short/X", "limited"];

struct Life {
    drive: Drive,
    directories: Vec<Ino>,
    /// Every state that there was, and from when.
    recorded: Vec<(Moment, Tree)>,
    shown: usize,
    promised: usize,
    missing: usize,
}

impl Life {
    fn new() -> Life {
        let drive = drive_with(&["e"], base(), rules());
        let mut directories = vec![Ino::ROOT];
        for path in &DIRECTORIES[1..] {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let parent = drive.at(parent).ino;
            let made = drive.volume.mkdir(&ROOT, parent, name.as_bytes(), 0o755).unwrap();
            directories.push(made.ino);
        }
        Life { drive, directories, recorded: Vec::new(), shown: 0, promised: 0, missing: 0 }
    }

    fn live(&mut self, choices: &mut Choices) {
        self.drive.clock.advance(seconds(choices.below(40)));
        // Also in directories that come and go.
        let root = self.directories[choices.below(4) as usize];
        let inner = self.drive.volume.lookup(root, &[b'A' + choices.below(3) as u8]);
        let inner = inner.map_or(self.directories.clone(), |attr| {
            self.directories.iter().copied().chain([attr.ino]).collect()
        });
        change(&self.drive.volume, choices, &inner);
        self.drive.volume.commit_deferred().unwrap();
        let moment = self.drive.volume.meta.last_moment();
        self.recorded.push((moment, found(&self.drive.volume, Ino::ROOT)));
    }

    fn state_at(&self, moment: Moment) -> &Tree {
        let next = self.recorded.partition_point(|(since, _)| *since <= moment);
        &self.recorded[next - 1].1
    }

    /// Opens a directory at a moment, and holds all of it against what was.
    fn look(&mut self, directory: &str, asked: Moment) {
        let path = format!("{directory}/.versions/@at/{}", moment_name(asked));
        let Ok(root) = self.drive.try_at(&path) else { return };
        let told = self.drive.volume.getxattr(root.ino, b"user.verso.moment").unwrap();
        let told = crate::model::parse_when(
            &String::from_utf8(told).unwrap(),
            Timestamp(i64::MAX),
            &crate::model::Zone::UTC,
        );
        let at = told.unwrap().moment;
        let shown = found(&self.drive.volume, root.ino);
        let inside = if directory.is_empty() { String::new() } else { format!("/{directory}") };
        let was: Tree = self
            .state_at(at)
            .iter()
            .filter_map(|(path, line)| Some((path.strip_prefix(&inside)?.to_owned(), line.clone())))
            .filter(|(path, _)| !path.is_empty())
            .collect();
        for (path, line) in &shown {
            assert_eq!(was.get(path), Some(line), "{inside}{path} at {at:?}");
        }
        self.shown += shown.len();
        for path in was.keys().filter(|path| !shown.contains_key(*path)) {
            self.missing += 1;
            self.check_missing(&format!("{inside}{path}"), (root.ino, path), at);
        }
        self.promised += was.keys().filter(|p| self.promises(&format!("{inside}{p}"), at)).count();
    }

    /// Of what is not shown nothing was promised, and nobody says that it was not there.
    fn check_missing(&self, path: &str, (root, below): (Ino, &str), at: Moment) {
        assert!(!self.promises(path, at), "{path} at {at:?} is missing");
        let mut dir = root;
        for name in below.split('/').filter(|name| !name.is_empty()) {
            match self.drive.volume.lookup(dir, name.as_bytes()) {
                Ok(attr) => dir = attr.ino,
                Err(Error::Gone) => return,
                Err(Error::NotFound) => {
                    let name = self.care(path).filter(|care| care.makes_versions);
                    assert!(name.is_none(), "{path} at {at:?} is said not to have been");
                    return;
                }
                Err(error) => panic!("{path}: {error}"),
            }
        }
        panic!("{path} is not listed, but there");
    }

    /// What holds for a path, as long as that means the same at all times.
    fn care(&self, path: &str) -> Option<Care> {
        let (dir, name) = path.trim_start_matches('/').rsplit_once('/').unwrap_or(("", &path[1..]));
        let rules = &self.drive.volume.options.rules;
        let is_settled = DIRECTORIES.contains(&dir);
        is_settled.then(|| rules.of_name(&base(), Some(dir.as_bytes()), name.as_bytes()))
    }

    fn promises(&self, path: &str, at: Moment) -> bool {
        let now = self.drive.volume.now();
        let whole = |care: Care| care.makes_versions && care.policy.is_whole_at(at, now);
        self.care(path).is_some_and(whole)
    }

    fn look_at_all(&mut self, step: usize) {
        for at in (0..self.recorded.len()).step_by(step) {
            let (from, until) = (self.recorded[at].0, self.recorded.get(at + 1).map(|next| next.0));
            let between = Moment(until.map_or(from.0, |until| from.0 + (until.0 - from.0) / 2));
            for directory in DIRECTORIES {
                self.look(directory, from);
                self.look(directory, between);
            }
        }
    }

    /// Each version of each name is a content that some file had.
    fn read_all_versions(&self) -> usize {
        let lines: Vec<&String> = self
            .recorded
            .iter()
            .flat_map(|(_, tree)| tree.values().map(|found| &found.exact))
            .collect();
        let mut read = 0;
        for directory in DIRECTORIES {
            let versions = self.drive.at(&format!("{directory}/.versions")).ino;
            for (name, ..) in names(&self.drive.volume, versions) {
                if name.starts_with(b"@") {
                    continue;
                }
                let list = self.drive.volume.lookup(versions, &name).unwrap().ino;
                for (version, ino, kind) in names(&self.drive.volume, list) {
                    assert_eq!(self.drive.volume.lookup(list, &version).unwrap().ino, ino);
                    if kind == FileKind::File {
                        assert_ne!(name, b"e");
                        let bytes = content(&self.drive.volume, ino);
                        let mut hasher = ContentHasher::default();
                        hasher.update(&bytes);
                        let part = format!(" {} {}", bytes.len(), hasher.finish());
                        assert!(lines.iter().any(|line| line.ends_with(&part)), "{version:?}");
                        read += 1;
                    }
                }
            }
        }
        read
    }
}

fn live(seed: u64) {
    let mut life = Life::new();
    let mut choices = Choices(seed);
    let mut dropped = 0;
    for at in 0..300 {
        life.live(&mut choices);
        if at % 41 == 40 {
            let foreseen = life.drive.volume.preview(None, 10).unwrap();
            let report = life.drive.tidied(None);
            assert_eq!(foreseen.rows, report.rows_dropped, "what was foreseen is what goes");
            dropped += report.rows_dropped;
            life.look_at_all(53);
        }
    }
    life.drive.clock.advance(seconds(120));
    life.drive.tidied(None);
    life.look_at_all(9);
    let read = life.read_all_versions();
    let Life { shown, promised, missing, .. } = life;
    println!("seed {seed}: {dropped} dropped, {shown} {promised} {missing}, {read} versions");
    assert!(dropped > 100 && shown > 3000 && promised > 1000 && missing > 1000 && read > 20);
}

#[test]
fn rules_keep_what_they_promise_and_show_nothing_wrong() {
    for seed in 0..2 {
        live(seed);
    }
}
