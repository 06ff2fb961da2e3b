//! What is recorded of each content: its number, who made it, and whether its writer was done.

use super::*;
use crate::meta::Saved;

fn saved(drive: &Drive, name: &str) -> Saved {
    let found = drive.volume.meta.read(|view| view.lookup(Ino::ROOT, name.as_bytes())).unwrap();
    found.unwrap().saved
}

/// Number, and whether it is a version.
fn short(saved: Saved) -> (u64, bool) {
    (saved.number, saved.is_cut)
}

#[test]
fn each_close_makes_a_version_and_syncs_in_between_make_none() {
    let drive = Drive::new();
    drive.save(Ino::ROOT, "f", b"one");
    assert_eq!(short(saved(&drive, "f")), (1, true));
    let ino = drive.volume.lookup(Ino::ROOT, b"f").unwrap().ino;
    let handle = drive.volume.open(ino, READ_WRITE).unwrap();
    for part in [b"two", b"dos"] {
        drive.volume.write(handle, 0, part).unwrap();
        drive.volume.fsync(handle).unwrap();
        assert_eq!(short(saved(&drive, "f")), (2, false));
    }
    // Everything is saved already: that it is a version is noted at the end.
    drive.volume.flush(handle).unwrap();
    drive.volume.release(handle).unwrap();
    assert_eq!(short(saved(&drive, "f")), (2, true));
    drive.save(Ino::ROOT, "f", b"three");
    assert_eq!(short(saved(&drive, "f")), (3, true));
}

#[test]
fn a_shell_that_empties_a_file_for_its_program_makes_no_version_of_it() {
    let drive = Drive::new();
    drive.save(Ino::ROOT, "f", b"old");
    let ino = drive.volume.lookup(Ino::ROOT, b"f").unwrap().ino;
    let empty = || drive.volume.open(ino, OpenMode { truncate: true, ..READ_WRITE }).unwrap();
    let handle = empty();
    drive.volume.flush(handle).unwrap();
    assert_eq!(short(saved(&drive, "f")), (2, false));
    drive.volume.write(handle, 0, b"new").unwrap();
    drive.volume.flush(handle).unwrap();
    drive.volume.release(handle).unwrap();
    assert_eq!(short(saved(&drive, "f")), (2, true));
    // Emptied, and that was all.
    let handle = empty();
    drive.volume.flush(handle).unwrap();
    drive.volume.release(handle).unwrap();
    assert_eq!(short(saved(&drive, "f")), (3, true));
}

#[test]
fn the_last_of_several_writers_makes_the_version() {
    let drive = Drive::new();
    let (attr, first) = drive.create(Ino::ROOT, "f");
    let second = drive.volume.open(attr.ino, READ_WRITE).unwrap();
    drive.volume.write(first, 0, b"one").unwrap();
    drive.volume.flush(first).unwrap();
    drive.volume.release(first).unwrap();
    assert_eq!(short(saved(&drive, "f")), (1, false));
    drive.volume.flush(second).unwrap();
    drive.volume.release(second).unwrap();
    assert_eq!(short(saved(&drive, "f")), (1, true));
}

#[test]
fn what_a_dead_daemon_left_open_is_a_version_once_it_is_written_over() {
    let drive = Drive::new();
    let (attr, handle) = drive.create(Ino::ROOT, "f");
    drive.volume.write(handle, 0, b"left").unwrap();
    drive.volume.fsync(handle).unwrap();
    let drive = drive.crash();
    assert_eq!(short(saved(&drive, "f")), (1, false));
    drive.save(Ino::ROOT, "f", b"new");
    assert_eq!(short(saved(&drive, "f")), (2, true));
    let before = drive.volume.meta.read(|view| view.ended_inode(attr.ino)).unwrap().unwrap();
    assert_eq!(short(before.saved), (1, true));
}

#[test]
fn another_user_makes_another_version() {
    let drive = Drive::new();
    let (attr, mine) = drive.create(Ino::ROOT, "f");
    let theirs = drive.volume.open(attr.ino, OpenMode { by: 1001, ..READ_WRITE }).unwrap();
    drive.volume.write(mine, 0, b"mine").unwrap();
    drive.volume.fsync(mine).unwrap();
    drive.volume.write(theirs, 0, b"their").unwrap();
    drive.volume.fsync(theirs).unwrap();
    let now = saved(&drive, "f");
    assert_eq!((now.number, now.author, now.is_cut), (2, 1001, false));
    let before = drive.volume.meta.read(|view| view.ended_inode(attr.ino)).unwrap().unwrap();
    assert_eq!((before.saved.author, before.saved.is_cut), (0, true));
}

#[test]
fn writing_for_minutes_makes_versions_on_the_way() {
    let drive = Drive::new();
    let (_, handle) = drive.create(Ino::ROOT, "log");
    let mut numbers = Vec::new();
    for minute in 0..12 {
        drive.volume.write(handle, minute, b"line").unwrap();
        drive.volume.sync_all().unwrap();
        numbers.push(saved(&drive, "log").number);
        drive.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(numbers, [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
}

#[test]
fn numbers_go_on_with_the_name() {
    let drive = Drive::new();
    for content in [b"one", b"two"] {
        drive.save(Ino::ROOT, "f", content);
    }
    drive.volume.unlink(Ino::ROOT, b"f").unwrap();
    drive.save(Ino::ROOT, "f", b"anew");
    assert_eq!(saved(&drive, "f").number, 3);
    drive.save(Ino::ROOT, "tmp", b"from elsewhere");
    drive.volume.rename(Ino::ROOT, b"tmp", Ino::ROOT, b"f", RenameMode::Replace).unwrap();
    assert_eq!(saved(&drive, "f").number, 4);
    drive.save(Ino::ROOT, "f", b"on");
    assert_eq!(saved(&drive, "f").number, 5);
    let drive = drive.reopen();
    drive.save(Ino::ROOT, "f", b"and on");
    assert_eq!(saved(&drive, "f").number, 6);
}

#[test]
fn equal_contents_have_equal_digests() {
    let drive = Drive::new();
    let large = noise(1, 3 << 20);
    drive.save(Ino::ROOT, "a", &large);
    drive.save(Ino::ROOT, "b", &large);
    let digest = saved(&drive, "a").digest;
    assert_eq!(saved(&drive, "b").digest, digest);
    let mut other = large.clone();
    other[2 << 20] ^= 1;
    drive.save(Ino::ROOT, "a", &other);
    assert_ne!(saved(&drive, "a").digest, digest);
    drive.save(Ino::ROOT, "a", &large);
    assert_eq!(saved(&drive, "a").digest, digest);
    drive.save(Ino::ROOT, "a", b"");
    assert_eq!(saved(&drive, "a").digest, 0);
}

#[test]
fn who_cuts_a_file_is_its_author() {
    let drive = Drive::new();
    let attr = drive.save(Ino::ROOT, "f", b"content");
    let cut = SetAttr { size: Some(3), by: Some(7), ..SetAttr::default() };
    drive.volume.setattr(attr.ino, &cut).unwrap();
    let after = saved(&drive, "f");
    assert_eq!((after.author, short(after)), (7, (2, true)));
}

#[test]
fn what_was_emptied_and_left_so_is_a_version() {
    let drive = Drive::new();
    let attr = drive.save(Ino::ROOT, "f", b"old");
    let cut = SetAttr { size: Some(0), ..SetAttr::default() };
    drive.clock.advance(Duration::from_secs(60));
    drive.volume.setattr(attr.ino, &cut).unwrap();
    drive.clock.advance(Duration::from_secs(60));
    drive.save(Ino::ROOT, "f", b"new");
    let sizes = drive.volume.meta.read(|view| view.content_states(attr.ino)).unwrap();
    let sizes: Vec<u64> = sizes.iter().map(|state| state.inode.attr.size).collect();
    assert_eq!(sizes, [3, 0, 3]);
}

#[test]
fn what_is_thrown_away_while_another_has_it_open_is_a_version() {
    let drive = Drive::new();
    let attr = drive.save(Ino::ROOT, "f", b"one");
    let other = drive.volume.open(attr.ino, READ_WRITE).unwrap();
    for (number, text) in [(2, b"two"), (3, b"tre")] {
        drive.save(Ino::ROOT, "f", text);
        assert_eq!(saved(&drive, "f").number, number);
    }
    drive.volume.release(other).unwrap();
}
