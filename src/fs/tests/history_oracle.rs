//! Every moment of a random life, opened through `@at`, is what was there then.

use super::rewind::{Choices, change};
use super::*;
use crate::model::{FileKind, Moment, moment_name};
use crate::sys::Clock;
use std::collections::BTreeMap;

/// Everything below a directory, by path.
pub(super) type Tree = BTreeMap<String, String>;

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
        tree.insert(path.clone(), line(volume, &attr));
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

fn line(volume: &Volume, attr: &Attr) -> String {
    let Attr { ino, kind, mode, uid, gid, rdev, size, mtime, .. } = *attr;
    let xattrs: Vec<_> = volume
        .listxattr(ino)
        .unwrap()
        .into_iter()
        .map(|name| (volume.getxattr(ino, &name).unwrap(), name))
        .collect();
    let line = format!("{kind:?} {mode:?} {uid} {gid} {rdev} {xattrs:?}");
    match kind {
        FileKind::Directory => line,
        FileKind::Symlink => line + &format!(" to {:?}", volume.readlink(ino).unwrap()),
        _ => {
            // A file that has no content yet is as old as that will be.
            let mtime = (size > 0).then_some(mtime);
            let content = content(volume, ino);
            assert_eq!(content.len() as u64, size);
            let sum = content.iter().fold(0_u64, |sum, b| sum.wrapping_mul(31) + u64::from(*b));
            line + &format!(" {size} {sum:x} {mtime:?}")
        }
    }
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

pub(super) fn compare(volume: &Volume, recorded: &[(Moment, Tree)], step: usize, when: &str) {
    for (index, (moment, tree)) in recorded.iter().enumerate().step_by(step) {
        assert_eq!(&at(volume, *moment), tree, "{when}, step {index}");
    }
    assert_eq!(volume.views.len(), 0, "all is forgotten");
}

fn live(seed: u64, steps: usize) {
    let none = VolumeOptions { coalesce: Duration::ZERO, ..options() };
    let drive = Drive::with(none);
    let mut choices = Choices(seed);
    let mut directories = vec![Ino::ROOT];
    for name in ["d", "e"] {
        let made = drive.volume.mkdir(&ROOT, Ino::ROOT, name.as_bytes(), 0o755).unwrap();
        directories.push(made.ino);
    }
    let mut recorded = Vec::new();
    for _ in 0..steps {
        drive.clock.advance(Duration::from_secs(1));
        change(&drive.volume, &mut choices, &directories);
        // What was opened and not written is committed with what comes next.
        drive.volume.commit_deferred().unwrap();
        // The very moment of the change: looking at what is there notes times of reading, at later ones.
        let moment = drive.volume.meta.last_moment();
        recorded.push((moment, found(&drive.volume, Ino::ROOT)));
    }
    drive.clock.advance(Duration::from_secs(1));
    compare(&drive.volume, &recorded, 1, "still open");
    let drive = drive.reopen();
    compare(&drive.volume, &recorded, 5, "opened again");
    let drive = drive.crash();
    compare(&drive.volume, &recorded, 5, "after a crash");
}

#[test]
fn every_moment_is_shown_as_it_was() {
    for seed in 0..4 {
        live(seed, 100);
    }
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
