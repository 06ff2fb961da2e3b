//! A random life, rewound to random moments of it: each time the tree must be what was recorded then.

use crate::history::{Drive, now, snapshot};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Numbers that look random, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    /// One of few paths, so that they meet again and again.
    fn path(&mut self, root: &Path) -> PathBuf {
        let names = ["a", "b", "c", "-d", "@e", "f g"];
        let mut path = root.join(names[self.below(names.len())]);
        for _ in 0..self.below(3) {
            path.push(names[self.below(names.len())]);
        }
        path
    }
}

/// Does something that may be impossible there, which is as good.
fn do_something(random: &mut Random, root: &Path) {
    let (path, other) = (random.path(root), random.path(root));
    let text = format!("{}", random.below(1000));
    let _ = match random.below(13) {
        // Never nothing: an empty file that is emptied again has the later time in its past too.
        0..=2 => fs::write(&path, text.repeat(1 + random.below(50))),
        3 => fs::write(&other, text).and_then(|()| fs::rename(&other, &path)),
        4 | 5 => fs::create_dir_all(&path),
        6 => fs::rename(&path, &other),
        7 => fs::hard_link(&path, &other),
        8 => symlink(text, &path),
        9 => fs::remove_file(&path),
        10 => fs::remove_dir_all(&path),
        // Not directories: a rewind opens none that was closed since.
        11 if fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) => {
            let mode = [0o600, 0o644, 0o755, 0o700][random.below(4)];
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
        }
        _ => {
            let offset = random.below(300_000) as u64;
            let file = File::options().write(true).open(&path);
            file.and_then(|file| file.write_all_at(text.as_bytes(), offset))
        }
    };
}

type Recorded = Vec<(String, BTreeMap<PathBuf, String>)>;

#[track_caller]
fn assert_same(is: &BTreeMap<PathBuf, String>, was: &BTreeMap<PathBuf, String>, when: &str) {
    for (path, was) in was {
        assert_eq!(is.get(path), Some(was), "{path:?} of {when}");
    }
    for path in is.keys() {
        assert!(was.contains_key(path), "{path:?} was not there at {when}");
    }
}

fn rewind_to_one(drive: &Drive, random: &mut Random, recorded: &mut Recorded, is_mounted: bool) {
    let (when, was) = recorded[random.below(recorded.len())].clone();
    if !is_mounted {
        drive.unmount();
    }
    drive.verso(&format!("rewind --at {when}"), "d").ok();
    if !is_mounted {
        drive.mount("");
    }
    let is = snapshot(&drive.at("d"));
    assert_same(&is, &was, &when);
    // Which is a state like any other.
    recorded.push((now(), is));
}

#[test]
fn every_moment_of_a_random_life_can_be_rewound_to() {
    for seed in 1..=4 {
        let (drive, mut random) = (Drive::new(), Random(seed));
        let mut recorded = Recorded::new();
        fs::create_dir(drive.at("d")).unwrap();
        for round in 0..12 {
            for _ in 0..25 {
                do_something(&mut random, &drive.at("d"));
            }
            recorded.push((now(), snapshot(&drive.at("d"))));
            if round % 2 == 1 {
                rewind_to_one(&drive, &mut random, &mut recorded, round % 4 == 1);
            }
        }
    }
}
