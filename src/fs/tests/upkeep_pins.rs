//! What is pinned stays, whatever retention takes.

use super::history_oracle::{Tree, changed, compare, found};
use super::rewind::{Choices, change};
use super::upkeep::{DAY, drive_with};
use super::*;
use crate::model::moment_name;

#[test]
fn a_moment_that_is_pinned_stays_whole() {
    let drive = drive_with(DAY, vec![]);
    let mut recorded = Vec::new();
    let mut choices = Choices(5);
    for _ in 0..60 {
        drive.clock.advance(Duration::from_secs(60));
        recorded.push(changed(&drive.volume, &mut choices, &[Ino::ROOT]));
    }
    let pinned: Vec<_> = recorded.iter().step_by(13).cloned().collect();
    for (n, (moment, _)) in pinned.iter().enumerate() {
        let name = format!("user.verso.pin.p{n}");
        let when = moment_name(*moment);
        let (name, when) = (name.as_bytes(), when.as_bytes());
        drive.volume.setxattr(&ROOT, Ino::ROOT, name, when, XattrMode::Set).unwrap();
    }
    drive.clock.advance(DAY * 400);
    assert!(drive.tidy().rows_dropped > 5);
    compare(&drive.volume, &pinned, 1, "pinned");
    for n in 1..pinned.len() {
        let name = format!("user.verso.pin.p{n}");
        drive.volume.removexattr(Ino::ROOT, name.as_bytes()).unwrap();
    }
    assert!(drive.tidy().rows_dropped > 0);
    compare(&drive.volume, &pinned[..1], 1, "pinned");
}

/// A pin keeps what was in its directory, and nothing else; also when that moves about, or is deleted.
#[test]
fn a_pin_keeps_its_directory_and_what_leads_to_it() {
    let drive = drive_with(DAY, vec![]);
    let volume = &drive.volume;
    let mkdir =
        |parent, name: &str| volume.mkdir(&ROOT, parent, name.as_bytes(), 0o755).unwrap().ino;
    let (a, b) = (mkdir(Ino::ROOT, "a"), mkdir(Ino::ROOT, "b"));
    let inner = mkdir(a, "inner");
    drive.save(inner, "f", &noise(1, 2 << 20));
    drive.save(a, "g", b"not pinned");
    drive.save(b, "h", &noise(2, 2 << 20));
    drive.clock.advance(DAY);
    volume.setxattr(&ROOT, inner, b"user.verso.pin.kept", b"", XattrMode::Set).unwrap();
    let moment = volume.meta.last_moment();
    drive.clock.advance(DAY);
    drive.save(inner, "f", b"new");
    drive.save(b, "h", b"new");
    volume.rename(a, b"inner", b, b"elsewhere", RenameMode::Replace).unwrap();
    drive.clock.advance(DAY);
    volume.unlink(inner, b"f").unwrap();
    volume.rmdir(b, b"elsewhere").unwrap();
    volume.unlink(a, b"g").unwrap();
    volume.rmdir(Ino::ROOT, b"a").unwrap();
    drive.clock.advance(DAY * 100);
    let report = drive.tidy();
    assert!(report.bytes_freed > 1 << 20, "what is beside it goes: {report:?}");
    let path = format!(".versions/@at/{}/a/inner/f", moment_name(moment));
    let read = |path: &str| super::history_oracle::content(volume, drive.at(path).ino);
    assert!(read(&path) == noise(1, 2 << 20));
    let beside = format!(".versions/@at/{}/a/g", moment_name(moment));
    assert!(matches!(drive.try_at(&beside), Err(Error::Gone)), "nobody knows any more");
    assert_eq!(drive.tidy(), UpkeepReport::default());
}

/// Random lives with pins of random directories: each shows what was in it, whatever became of it.
#[test]
fn what_is_pinned_somewhere_stays_as_it_was_there() {
    let mut dropped = 0;
    for seed in 0..8 {
        let drive = drive_with(Duration::ZERO, vec![]);
        let mut choices = Choices(seed + 77);
        let mut directories = vec![Ino::ROOT];
        for name in ["d", "e", "f"] {
            let parent = *directories.last().unwrap();
            let made = drive.volume.mkdir(&ROOT, parent, name.as_bytes(), 0o755).unwrap();
            directories.push(made.ino);
        }
        let mut pinned = Vec::new();
        for step in 0..120 {
            drive.clock.advance(Duration::from_secs(20));
            change(&drive.volume, &mut choices, &directories);
            if choices.below(12) == 0 {
                let dir = directories[choices.below(4) as usize];
                let name = format!("p{step}");
                let attribute = format!("user.verso.pin.{name}");
                let pin = (attribute.as_bytes(), b"".as_slice());
                if drive.volume.setxattr(&ROOT, dir, pin.0, pin.1, XattrMode::Set).is_ok() {
                    pinned.push((dir, name, found(&drive.volume, dir)));
                }
            }
            if choices.below(30) == 0 {
                dropped += drive.tidy().rows_dropped;
            }
        }
        drive.clock.advance(DAY * 100);
        dropped += drive.tidy().rows_dropped;
        assert!(!pinned.is_empty());
        for (dir, name, tree) in pinned {
            let Ok(versions) = drive.volume.lookup(dir, b".versions") else { continue };
            let pins = drive.volume.lookup(versions.ino, b"@pins").unwrap().ino;
            let view = drive.volume.lookup(pins, name.as_bytes()).unwrap().ino;
            let exact = |tree: &Tree| {
                tree.iter()
                    .map(|(path, found)| (path.clone(), found.exact.clone()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(exact(&found(&drive.volume, view)), exact(&tree), "seed {seed}, pin {name}");
        }
    }
    assert!(dropped > 100, "{dropped}");
}
