//! What saves cost, and what crashes leave.

use super::*;
use crate::fs::commit::Saving;
use crate::model::Moment;

#[test]
fn saving_again_writes_only_what_changed() {
    let drive = Drive::new();
    let mut picture = noise(3, 8 << 20);
    let attr = drive.save(Ino::ROOT, "p", &picture);
    let before = drive.volume.meta.last_chunk();
    picture[4_000_000..4_000_100].fill(7);
    drive.clock.advance(Duration::from_secs(60));
    drive.save(Ino::ROOT, "p", &picture);
    assert!(drive.load(Ino::ROOT, "p") == picture);
    let new_chunks = drive.volume.meta.last_chunk().0 - before.0;
    assert!((1..=3).contains(&new_chunks), "{new_chunks} new chunks");
    let kept = drive.volume.meta.read(|view| view.extents(attr.ino, 0, u64::MAX)).unwrap();
    assert!(kept.len() > 40, "{} extents", kept.len());
}

#[test]
fn a_copy_shares_every_chunk() {
    let drive = Drive::new();
    let content = noise(4, 5_000_000);
    drive.save(Ino::ROOT, "a", &content);
    let before = drive.volume.meta.last_chunk();
    let a = drive.volume.lookup(Ino::ROOT, b"a").unwrap();
    let from = drive.volume.open(a.ino, READ_WRITE).unwrap();
    let (_, to) = drive.create(Ino::ROOT, "b");
    let copied = drive.volume.copy_range(from, 0, to, 0, u64::MAX >> 1).unwrap();
    assert_eq!(copied, content.len() as u64);
    drive.volume.flush(to).unwrap();
    drive.volume.release(to).unwrap();
    drive.volume.release(from).unwrap();
    assert_eq!(drive.volume.meta.last_chunk(), before);
    let drive = drive.crash();
    assert!(drive.load(Ino::ROOT, "b") == content);
}

#[test]
fn a_rewrite_that_was_not_finished_leaves_the_old_content() {
    let drive = Drive::new();
    drive.save(Ino::ROOT, "f", b"the whole old content");
    let f = drive.volume.lookup(Ino::ROOT, b"f").unwrap();
    let how = OpenMode { truncate: true, ..READ_WRITE };
    let handle = drive.volume.open(f.ino, how).unwrap();
    drive.volume.write(handle, 0, b"half of").unwrap();
    drive.volume.sync_all().unwrap();
    let drive = drive.crash();
    assert_eq!(drive.load(Ino::ROOT, "f"), b"the whole old content");
}

#[test]
fn a_late_release_does_not_save_what_the_next_writer_has_emptied() {
    let drive = Drive::new();
    let (attr, first) = drive.create(Ino::ROOT, "f");
    drive.volume.write(first, 0, b"the whole old content").unwrap();
    drive.volume.flush(first).unwrap();
    let how = OpenMode { truncate: true, ..READ_WRITE };
    let second = drive.volume.open(attr.ino, how).unwrap();
    // The kernel sends it when `close` has returned already.
    drive.volume.release(first).unwrap();
    drive.volume.write(second, 0, b"half of").unwrap();
    drive.volume.sync_all().unwrap();
    let drive = drive.crash();
    assert_eq!(drive.load(Ino::ROOT, "f"), b"the whole old content");
}

#[test]
fn one_that_is_emptied_between_a_close_and_its_save_keeps_the_whole_content() {
    let drive = Drive::new();
    let attr = drive.save(Ino::ROOT, "f", b"the whole old content");
    let how = OpenMode { truncate: true, ..READ_WRITE };
    let next = drive.volume.open(attr.ino, how).unwrap();
    let node = drive.volume.nodes.get(attr.ino).unwrap();
    // The writer before had left when nobody else was there.
    drive.volume.save(&node, Saving::LateClose).unwrap();
    drive.volume.write(next, 0, b"half of").unwrap();
    drive.volume.sync_all().unwrap();
    let drive = drive.crash();
    assert_eq!(drive.load(Ino::ROOT, "f"), b"the whole old content");
}

#[test]
fn appended_lines_are_saved_by_the_timer_and_do_not_become_tiny_extents() {
    let drive = Drive::new();
    let mut expected = Vec::new();
    let (attr, handle) = drive.create(Ino::ROOT, "log");
    for n in 0..500 {
        let line = format!("line {n} of the log, some eighty bytes long, so that it looks real\n");
        drive.volume.write(handle, expected.len() as u64, line.as_bytes()).unwrap();
        expected.extend_from_slice(line.as_bytes());
        drive.volume.flush(handle).unwrap();
    }
    let extents = drive.volume.meta.read(|view| view.extents(attr.ino, 0, u64::MAX)).unwrap();
    assert!(extents.len() < 25, "{} extents", extents.len());
    let drive = drive.crash();
    assert_eq!(drive.load(Ino::ROOT, "log"), expected);
}

#[test]
fn a_lost_chunk_takes_the_drive_back_to_the_moment_before_it() {
    let drive = Drive::new();
    drive.save(Ino::ROOT, "kept", &noise(5, 100_000));
    drive.save(Ino::ROOT, "over", b"old and whole");
    let (_, handle) = drive.create(Ino::ROOT, "synced");
    drive.volume.fsync(handle).unwrap();
    drive.volume.release(handle).unwrap();
    // Saved by writing a temporary file and renaming it over: the usual way.
    let lost_content = noise(6, 50_000);
    drive.save(Ino::ROOT, "over.tmp", &lost_content);
    drive.volume.rename(Ino::ROOT, b"over.tmp", Ino::ROOT, b"over", RenameMode::Replace).unwrap();
    drive.save(Ino::ROOT, "later", b"later");
    let hash = crate::chunks::hash(&lost_content[..50]);
    assert!(drive.volume.meta.read(|view| view.chunk_by_hash(&hash)).unwrap().is_none());
    lose_chunks_of(&drive, "over");
    let drive = drive.crash();
    assert_eq!(drive.load(Ino::ROOT, "over"), b"old and whole");
    assert_eq!(drive.load(Ino::ROOT, "kept"), noise(5, 100_000));
    drive.volume.lookup(Ino::ROOT, b"synced").unwrap();
    assert!(matches!(drive.volume.lookup(Ino::ROOT, b"later"), Err(Error::NotFound)));
    // And the drive goes on.
    drive.save(Ino::ROOT, "over", b"new again");
    assert_eq!(drive.load(Ino::ROOT, "over"), b"new again");
}

/// Makes the chunk table claim other contents than the packs hold: what a power cut leaves when the
/// log was written and the pack was not.
fn lose_chunks_of(drive: &Drive, name: &str) {
    let attr = drive.volume.lookup(Ino::ROOT, name.as_bytes()).unwrap();
    let now = Timestamp(drive.volume.meta.last_moment().0);
    let meta = &drive.volume.meta;
    let found = meta.read(|view| view.extents_and_chunks(attr.ino, 0, u64::MAX)).unwrap();
    assert!(!found.is_empty());
    meta.write(now, |tx| -> Result<()> {
        for (_, mut chunk) in found {
            tx.remove_chunk(chunk.id)?;
            chunk.hash.0[0] ^= 1;
            tx.insert_chunk(&chunk)?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn moments_go_on_after_a_crash_with_the_clock_set_back() {
    let drive = Drive::new();
    drive.save(Ino::ROOT, "f", b"1");
    let last = drive.volume.meta.last_moment();
    drive.clock.set(Timestamp(1_000));
    let drive = drive.crash();
    drive.save(Ino::ROOT, "f", b"2");
    assert!(drive.volume.meta.last_moment() > last);
    let inode = drive.volume.lookup(Ino::ROOT, b"f").unwrap();
    let row = drive.volume.meta.read(|view| view.inode(inode.ino)).unwrap().unwrap();
    assert!(row.since > Moment(last.0));
}

#[test]
fn writing_the_contents_of_a_damaged_chunk_again_heals_every_file_that_shows_it() {
    let drive = Drive::new();
    let content = noise(9, 40_000);
    let attr = drive.save(Ino::ROOT, "f", &content);
    drive.volume.sync_all().unwrap();
    let drive = drive.reopen();
    let view = |view: &crate::meta::View<'_>| view.extents_and_chunks(attr.ino, 0, u64::MAX);
    let (_, chunk) = drive.volume.meta.read(view).unwrap()[0];
    let pack = drive.dir.path().join(format!("store/packs/{}.pack", chunk.at.pack));
    flip(&pack, chunk.at.offset + 1000);
    let handle = drive.volume.open(attr.ino, READ_WRITE).unwrap();
    let damage = drive.volume.read(handle, 0, 10, &mut Vec::new()).unwrap_err();
    assert_eq!(damage.errno(), libc::EIO);
    drive.save(Ino::ROOT, "again", &content);
    assert_eq!(drive.load(Ino::ROOT, "again"), content);
    let mut healed = Vec::new();
    drive.volume.read(handle, 0, content.len(), &mut healed).unwrap();
    assert_eq!(healed, content);
    let drive = drive.crash();
    assert_eq!(drive.load(Ino::ROOT, "f"), content);
}

/// Flips a bit of a file, whose mode may forbid writing.
fn flip(path: &std::path::Path, offset: u64) {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[test]
fn closing_keeps_a_new_name_also_of_an_empty_file_that_was_only_read() {
    let drive = Drive::new();
    let how = OpenMode { write: false, ..READ_WRITE };
    let (_, handle) = drive.volume.create(&ROOT, Ino::ROOT, b"closed", 0o644, how).unwrap();
    drive.volume.flush(handle).unwrap();
    let (open, _) = drive.create(Ino::ROOT, "open");
    assert_eq!(drive.volume.lookup(Ino::ROOT, b"open").unwrap().ino, open.ino);
    let drive = drive.crash();
    assert!(drive.volume.lookup(Ino::ROOT, b"closed").is_ok());
    // Nobody closed it, so nothing was promised; its number is not given to another one.
    assert!(drive.volume.lookup(Ino::ROOT, b"open").is_err());
    assert_ne!(drive.create(Ino::ROOT, "open").0.ino, open.ino);
}

#[test]
fn a_new_name_in_another_change_is_not_lost_when_that_change_fails() {
    let drive = Drive::new();
    let (_, handle) = drive.create(Ino::ROOT, "new");
    let missing = drive.volume.unlink(Ino::ROOT, b"missing");
    assert!(matches!(missing, Err(Error::NotFound)));
    drive.volume.write(handle, 0, b"content").unwrap();
    drive.volume.fsync(handle).unwrap();
    let drive = drive.crash();
    assert_eq!(drive.load(Ino::ROOT, "new"), b"content");
}
