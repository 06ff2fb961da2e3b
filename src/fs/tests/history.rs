//! `.versions`, without a mount.

use super::history_oracle::{content, found, names};
use super::*;
use crate::model::{FileKind, Moment};
use std::os::unix::fs::FileExt;

/// A drive on which each save is a version.
pub(super) fn exact() -> Drive {
    Drive::with(VolumeOptions { coalesce: Duration::ZERO, ..options() })
}

impl Drive {
    pub(super) fn tick(&self) {
        self.clock.advance(Duration::from_secs(30));
    }

    /// The inode at the end of a path below the root.
    pub(super) fn at(&self, path: &str) -> Attr {
        self.try_at(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(super) fn try_at(&self, path: &str) -> Result<Attr> {
        let mut attr = self.volume.getattr(Ino::ROOT)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            attr = self.volume.lookup(attr.ino, name.as_bytes())?;
        }
        Ok(attr)
    }

    pub(super) fn names_in(&self, path: &str) -> Vec<String> {
        let listed = names(&self.volume, self.at(path).ino).into_iter();
        let mut names: Vec<_> = listed.map(|(name, ..)| String::from_utf8(name).unwrap()).collect();
        names.sort();
        names
    }

    /// The contents of the versions of a name, oldest first.
    pub(super) fn versions(&self, path: &str) -> Vec<String> {
        let dir = self.at(path).ino;
        let listed = names(&self.volume, dir).into_iter();
        let listed = listed.filter(|(name, ..)| !name.starts_with(b"moved-"));
        listed.map(|(name, ..)| self.text(self.volume.lookup(dir, &name).unwrap().ino)).collect()
    }

    pub(super) fn text(&self, ino: Ino) -> String {
        String::from_utf8(content(&self.volume, ino)).unwrap()
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        self.tick();
        let (from, to) = (from.as_bytes(), to.as_bytes());
        self.volume.rename(Ino::ROOT, from, Ino::ROOT, to, RenameMode::Replace).unwrap();
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Attr {
        self.tick();
        self.save(Ino::ROOT, name, text.as_bytes())
    }

    pub(super) fn unlink(&self, name: &str) {
        self.tick();
        self.volume.unlink(Ino::ROOT, name.as_bytes()).unwrap();
    }

    pub(super) fn chmod(&self, ino: Ino, mode: u32) {
        self.tick();
        let change = SetAttr { mode: Some(mode), ..SetAttr::default() };
        self.volume.setattr(ino, &change).unwrap();
    }
}

fn texts() -> Vec<String> {
    (0..10).map(|save| format!("save {save}")).collect()
}

#[track_caller]
fn ten_saves(save: impl Fn(&Drive, &str)) {
    let drive = exact();
    for text in texts() {
        save(&drive, &text);
    }
    assert_eq!(drive.versions(".versions/f"), texts());
    let drive = drive.reopen();
    assert_eq!(drive.versions(".versions/f"), texts());
}

#[test]
fn saves_in_place_are_versions() {
    ten_saves(|drive, text| {
        drive.write("f", text);
    });
}

#[test]
fn saves_by_a_temporary_file_are_versions() {
    ten_saves(|drive, text| {
        drive.write(".f.tmp", text);
        drive.rename(".f.tmp", "f");
    });
}

#[test]
fn saves_that_keep_a_backup_are_versions() {
    ten_saves(|drive, text| {
        if drive.try_at("f").is_ok() {
            drive.rename("f", "f~");
        }
        drive.write("f", text);
    });
}

#[test]
fn saves_that_change_two_files_for_each_other_are_versions() {
    ten_saves(|drive, text| {
        drive.write("b", text);
        if drive.try_at("f").is_ok() {
            drive.rename("f", "f.tmp");
        }
        drive.rename("b", "f");
        if drive.try_at("f.tmp").is_ok() {
            drive.unlink("f.tmp");
        }
    });
}

#[test]
fn saves_after_deletion_are_versions() {
    ten_saves(|drive, text| {
        if drive.try_at("f").is_ok() {
            drive.unlink("f");
        }
        drive.write("f", text);
    });
}

#[test]
fn saves_that_were_synced_half_way_are_one_version() {
    ten_saves(|drive, text| {
        drive.tick();
        let how = OpenMode { truncate: true, ..READ_WRITE };
        let (_, handle) = drive.volume.create(&ROOT, Ino::ROOT, b"f", 0o644, how).unwrap();
        for (at, byte) in text.bytes().enumerate() {
            drive.volume.write(handle, at as u64, &[byte]).unwrap();
            drive.volume.fsync(handle).unwrap();
        }
        drive.volume.flush(handle).unwrap();
        drive.volume.release(handle).unwrap();
    });
}

#[test]
fn the_same_content_again_is_no_version() {
    let drive = exact();
    for text in ["one", "one", "two", "two", "one"] {
        drive.write("f", text);
    }
    assert_eq!(drive.versions(".versions/f"), ["one", "two", "one"]);
}

#[test]
fn saves_within_a_slot_are_one_version() {
    let drive = Drive::new();
    for text in texts() {
        drive.overwrite("f", text.as_bytes());
        drive.clock.advance(Duration::from_millis(10));
    }
    assert_eq!(drive.versions(".versions/f"), ["save 9"]);
    // Who throws it away and writes it anew may not have meant to.
    for text in ["oops", "again", "and again"] {
        drive.save(Ino::ROOT, "f", text.as_bytes());
        drive.clock.advance(Duration::from_millis(10));
    }
    assert_eq!(drive.versions(".versions/f"), ["save 9", "oops", "again", "and again"]);
}

#[test]
fn a_file_that_was_moved_keeps_its_history() {
    let drive = exact();
    for text in ["one", "two"] {
        drive.write(".tmp", text);
        drive.rename(".tmp", "a");
    }
    drive.rename("a", "b");
    drive.write("b", "three");
    drive.rename("b", "c");
    assert_eq!(drive.versions(".versions/c"), ["one", "two", "three"]);
    // The places where it was show it until then.
    assert_eq!(drive.versions(".versions/a"), ["one", "two"]);
    // Back and forth leaves no trace.
    drive.rename("c", "d");
    drive.rename("d", "c");
    assert_eq!(drive.versions(".versions/c"), ["one", "two", "three"]);
}

#[test]
fn a_name_that_another_file_takes_over_keeps_its_own_history() {
    let drive = exact();
    drive.write("draft", "draft 1");
    drive.write("final", "final 1");
    drive.write("draft", "draft 2");
    drive.rename("draft", "final");
    assert_eq!(drive.versions(".versions/final"), ["final 1", "draft 2"]);
}

#[test]
fn what_was_deleted_can_be_read() {
    let drive = exact();
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"album", 0o755).unwrap().ino;
    let sub = drive.volume.mkdir(&ROOT, dir, b"sub", 0o755).unwrap().ino;
    drive.save(dir, "a", b"first");
    drive.save(sub, "b", b"second");
    drive.volume.symlink(&ROOT, sub, b"l", b"../a").unwrap();
    drive.tick();
    // Deleted long before the rest.
    drive.save(dir, "old", b"old");
    drive.volume.unlink(dir, b"old").unwrap();
    drive.tick();
    let before = found(&drive.volume, dir);
    for (parent, name) in [(sub, "b"), (sub, "l"), (dir, "a")] {
        drive.clock.advance(Duration::from_millis(1));
        drive.volume.unlink(parent, name.as_bytes()).unwrap();
    }
    drive.volume.rmdir(dir, b"sub").unwrap();
    drive.volume.rmdir(Ino::ROOT, b"album").unwrap();
    assert_eq!(drive.names_in(".versions/@deleted"), ["album"]);
    let deleted = drive.at(".versions/@deleted/album").ino;
    assert_eq!(found(&drive.volume, deleted), before);
    // A folder of that name again: the old one is a version of it.
    drive.volume.mkdir(&ROOT, Ino::ROOT, b"album", 0o755).unwrap();
    assert_eq!(drive.names_in(".versions/@deleted"), [""; 0]);
    assert!(drive.names_in(".versions").contains(&"album".to_owned()));
    let kept = drive.names_in(".versions/album");
    assert_eq!(kept.len(), 1);
    let kept = drive.at(&format!(".versions/album/{}", kept[0])).ino;
    assert_eq!(found(&drive.volume, kept), before);
}

#[test]
fn of_a_name_that_was_deleted_twice_the_newest_is_shown() {
    let drive = exact();
    for text in ["one", "two"] {
        drive.write("f", text);
        drive.unlink("f");
    }
    assert_eq!(drive.text(drive.at(".versions/@deleted/f").ino), "two");
    assert_eq!(drive.versions(".versions/f"), ["one", "two"]);
    drive.write("g", "g");
    drive.rename("g", "h");
    assert_eq!(drive.names_in(".versions/@deleted"), ["f"]);
}

#[test]
fn the_history_is_listed_nowhere_and_lists_what_was_there() {
    let drive = exact();
    drive.write("kept", "x");
    drive.write("gone", "x");
    drive.unlink("gone");
    drive.write("@at", "real");
    drive.volume.mknod(&ROOT, Ino::ROOT, b"pipe", 0o010_644, 0).unwrap();
    drive.volume.unlink(Ino::ROOT, b"pipe").unwrap();
    assert!(!drive.names_in("").contains(&".versions".to_owned()));
    assert_eq!(drive.names_in(".versions"), ["@@at", "@at", "@deleted", "@pins", "gone", "kept"]);
    assert_eq!(drive.versions(".versions/@@at"), ["real"]);
    for missing in [".versions/never", ".versions/@pins/never", ".versions/@at/nonsense"] {
        assert!(matches!(drive.try_at(missing), Err(Error::NotFound)), "{missing}");
    }
    assert!(matches!(drive.try_at(".versions/@at/2200-01-01"), Err(Error::NotFound)));
    assert!(!drive.volume.is_absence_fixed(drive.at(".versions").ino));
}

#[test]
fn without_history_there_is_no_such_directory() {
    let drive = Drive::with(VolumeOptions { history_dir: false, ..options() });
    assert!(matches!(drive.try_at(".versions"), Err(Error::NotFound)));
    let made = drive.volume.mkdir(&ROOT, Ino::ROOT, b".versions", 0o755);
    assert!(matches!(made, Err(Error::Exists)));
}

#[test]
fn nothing_in_it_can_be_changed() {
    let drive = exact();
    let file = drive.write("f", "text");
    let versions = drive.at(".versions/f").ino;
    let version = names(&drive.volume, versions).remove(0).0;
    let view = drive.volume.lookup(versions, &version).unwrap().ino;
    let volume = &drive.volume;
    let refused = |outcome: Result<()>| {
        assert!(matches!(outcome, Err(Error::ReadOnly)), "{outcome:?}");
    };
    refused(volume.open(view, READ_WRITE).map(drop));
    refused(volume.setattr(view, &SetAttr { mode: Some(0), ..SetAttr::default() }).map(drop));
    refused(volume.setxattr(&ROOT, view, b"user.x", b"1", XattrMode::Set));
    refused(volume.removexattr(view, b"user.verso.version"));
    refused(volume.unlink(versions, &version));
    refused(volume.rmdir(versions, &version));
    refused(volume.mkdir(&ROOT, versions, b"d", 0o755).map(drop));
    refused(volume.mknod(&ROOT, versions, b"n", 0o100_644, 0).map(drop));
    refused(volume.symlink(&ROOT, versions, b"l", b"t").map(drop));
    refused(volume.create(&ROOT, versions, b"c", 0o644, READ_WRITE).map(drop));
    refused(volume.link(view, Ino::ROOT, b"l").map(drop));
    refused(volume.link(file.ino, versions, b"l").map(drop));
    let replace = RenameMode::Replace;
    refused(volume.rename(versions, &version, Ino::ROOT, b"x", replace));
    refused(volume.rename(Ino::ROOT, b"f", versions, b"x", replace));
    refused(volume.rename(Ino::ROOT, b".versions", Ino::ROOT, b"x", replace));
    refused(volume.rmdir(Ino::ROOT, b".versions"));
    assert_eq!(drive.text(view), "text");
}

#[test]
fn a_version_tells_when_it_was_made_and_by_whom() {
    let drive = exact();
    drive.write("photo.jpg", "one");
    let how = OpenMode { truncate: true, by: 61_001, ..READ_WRITE };
    drive.tick();
    let ino = drive.at("photo.jpg").ino;
    let handle = drive.volume.open(ino, how).unwrap();
    drive.volume.write(handle, 0, b"two two").unwrap();
    drive.volume.flush(handle).unwrap();
    drive.volume.release(handle).unwrap();
    let saved = drive.at("photo.jpg");
    drive.volume.setxattr(&ROOT, ino, b"user.own", b"1", XattrMode::Set).unwrap();
    drive.chmod(ino, 0o4751);
    let listed = drive.names_in(".versions/photo.jpg");
    assert!(listed[1].starts_with("photo~20") && listed[1].ends_with("Z~v2.jpg"), "{listed:?}");
    let version = drive.at(&format!(".versions/photo.jpg/{}", listed[1]));
    assert_eq!((version.size, version.mtime, version.nlink), (7, saved.mtime, 1));
    assert_eq!((version.mode.bits(), version.kind), (0o751, FileKind::File));
    let told = |name: &str| {
        let value = drive.volume.getxattr(version.ino, name.as_bytes()).unwrap();
        String::from_utf8(value).unwrap()
    };
    assert_eq!(told("user.verso.version"), "2");
    assert_eq!(told("user.verso.author"), "61001");
    assert_eq!(told("user.verso.cause"), "save");
    assert_eq!(told("user.own"), "1");
    assert!(told("user.verso.moment").starts_with("2026-09-"));
    assert_eq!(drive.volume.listxattr(version.ino).unwrap().len(), 5);
    // It is the same one after a restart, and after more saves.
    let drive = drive.reopen();
    drive.write("photo.jpg", "three");
    let again = drive.at(&format!(".versions/photo.jpg/{}", listed[1]));
    assert_eq!((again.ino, drive.text(again.ino)), (version.ino, "two two".to_owned()));
}

#[test]
fn a_living_version_that_is_written_over_stays_what_it_was() {
    let drive = exact();
    drive.write("f", "one");
    let versions = drive.at(".versions/f").ino;
    let name = names(&drive.volume, versions).remove(0).0;
    let view = drive.volume.lookup(versions, &name).unwrap().ino;
    assert!(!drive.volume.is_settled(view));
    drive.write("f", "other");
    assert_eq!(drive.text(view), "one");
    assert_eq!(drive.volume.getattr(view).unwrap().size, 3);
    assert_eq!(drive.volume.lookup(versions, &name).unwrap().ino, view);
    assert!(drive.volume.is_settled(view));
    drive.unlink("f");
    assert_eq!(drive.volume.getattr(view).unwrap().size, 3);
}

#[test]
fn copying_a_version_back_costs_no_chunk() {
    let drive = exact();
    let old = noise(1, 900_000);
    drive.save(Ino::ROOT, "f", &old);
    drive.tick();
    drive.save(Ino::ROOT, "f", b"spoilt");
    let listed = drive.names_in(".versions/f");
    let version = drive.at(&format!(".versions/f/{}", listed[0]));
    let chunks = |drive: &Drive| drive.volume.meta.read(|view| view.totals()).unwrap().chunks;
    let before = chunks(&drive);
    let read = OpenMode { write: false, ..READ_WRITE };
    let source = drive.volume.open(version.ino, read).unwrap();
    let (_, target) = drive.create(Ino::ROOT, "restored");
    let copied = drive.volume.copy_range(source, 0, target, 0, 1 << 30).unwrap();
    assert_eq!(copied, 900_000);
    drive.volume.flush(target).unwrap();
    drive.volume.release(target).unwrap();
    drive.volume.release(source).unwrap();
    assert_eq!(drive.load(Ino::ROOT, "restored"), old);
    assert_eq!(chunks(&drive), before);
}

#[test]
fn holes_of_the_past_are_holes() {
    let drive = exact();
    let (attr, handle) = drive.create(Ino::ROOT, "sparse");
    drive.volume.write(handle, 1 << 30, &noise(3, 5000)).unwrap();
    drive.volume.write(handle, 40 << 20, &noise(4, 5000)).unwrap();
    let size = SetAttr { size: Some(3 << 30), ..SetAttr::default() };
    drive.volume.setattr(attr.ino, &size).unwrap();
    drive.volume.flush(handle).unwrap();
    drive.volume.release(handle).unwrap();
    drive.write("sparse", "over");
    let listed = drive.names_in(".versions/sparse");
    let view = drive.at(&format!(".versions/sparse/{}", listed[0]));
    let read = OpenMode { write: false, ..READ_WRITE };
    let handle = drive.volume.open(view.ino, read).unwrap();
    let seek = |at, what| drive.volume.seek(handle, at, what).ok();
    let data = Seek::Data;
    assert_eq!(seek(0, data), Some(40 << 20));
    assert_eq!(seek(40 << 20, Seek::Hole), Some((40 << 20) + 5000));
    assert_eq!(seek((40 << 20) + 5000, data), Some(1 << 30));
    assert_eq!(seek((1 << 30) + 5000, data), None);
    assert_eq!(seek(2 << 30, Seek::Hole), Some(2 << 30));
    assert_eq!(seek(3 << 30, Seek::Hole), None);
    let mut bytes = Vec::new();
    drive.volume.read(handle, (1 << 30) - 10, 5020, &mut bytes).unwrap();
    assert_eq!(bytes, [&[0; 10][..], &noise(3, 5000), &[0; 10]].concat());
}

#[test]
fn moments_are_listed_and_lead_to_what_they_brought() {
    let drive = exact();
    for text in ["one", "two", "three"] {
        drive.write("f", text);
    }
    drive.tick();
    let listed = drive.names_in(".versions/@at");
    let shown: Vec<_> = listed
        .iter()
        .filter_map(|name| drive.try_at(&format!(".versions/@at/{name}/f")).ok())
        .map(|attr| drive.text(attr.ino))
        .collect();
    assert_eq!(shown, ["one", "two", "three"]);
    assert_eq!(drive.text(drive.at(".versions/@at/now/f").ino), "three");
    assert!(!drive.volume.is_fixed_name(drive.at(".versions/@at/now").ino));
    let samba = crate::model::gmt_name(Moment(drive.volume.meta.last_moment().0));
    assert_eq!(drive.text(drive.at(&format!(".versions/{samba}/f")).ino), "three");
}

#[test]
fn what_happens_after_now_is_not_in_it() {
    let drive = exact();
    drive.write("f", "one");
    let now = drive.at(".versions/@at/now").ino;
    // The clock stands still.
    drive.save(Ino::ROOT, "g", b"later");
    drive.save(Ino::ROOT, "f", b"two");
    let shown = drive.volume.lookup(now, b"f").unwrap().ino;
    assert_eq!(drive.text(shown), "one");
    assert!(matches!(drive.volume.lookup(now, b"g"), Err(Error::NotFound)));
}

#[test]
fn a_listing_with_attributes_is_a_look_up_of_each() {
    let drive = exact();
    for name in ["a", "b", "c"] {
        drive.write(name, name);
    }
    let versions = drive.at(".versions").ino;
    let before = drive.volume.views.len();
    let mut shown = Vec::new();
    let mut take = |entry: DirEntry| {
        let taken = shown.len() < 7;
        if taken {
            shown.push(entry);
        }
        taken
    };
    drive.volume.readdir(Handle(versions.0), 0, true, &mut take).unwrap();
    let known: Vec<_> = shown.into_iter().filter_map(|entry| entry.attr).collect();
    assert_eq!((known.len(), drive.volume.views.len()), (5, before + 5));
    for attr in known {
        assert_eq!(drive.volume.getattr(attr.ino).unwrap(), attr);
        drive.volume.forget(attr.ino, 1);
    }
    assert_eq!(drive.volume.views.len(), before);
}

#[test]
fn damage_of_the_past_is_an_error_and_never_wrong_bytes() {
    let drive = exact();
    let old = noise(9, 40_000);
    let attr = drive.save(Ino::ROOT, "f", &old);
    drive.tick();
    drive.save(Ino::ROOT, "f", b"new");
    let drive = drive.reopen();
    let earlier = |view: &crate::meta::View<'_>| {
        let first = view.content_states(attr.ino)?[0];
        view.extents_and_chunks_at(attr.ino, first.since, (0, 1), 1 << 20)
    };
    let (_, chunk) = drive.volume.meta.read(earlier).unwrap()[0];
    let pack = drive.dir.path().join(format!("store/packs/{}.pack", chunk.at.pack));
    let pack = std::fs::File::options().read(true).write(true).open(pack).unwrap();
    let (mut byte, place) = ([0], chunk.at.offset + 1000);
    pack.read_exact_at(&mut byte, place).unwrap();
    pack.write_all_at(&[byte[0] ^ 1], place).unwrap();
    let listed = drive.names_in(".versions/f");
    let view = drive.at(&format!(".versions/f/{}", listed[0])).ino;
    let handle = drive.volume.open(view, OpenMode { write: false, ..READ_WRITE }).unwrap();
    let mut into = b"before".to_vec();
    let error = drive.volume.read(handle, 0, 40_000, &mut into).unwrap_err();
    assert_eq!((error.errno(), &into[..]), (libc::EIO, &b"before"[..]));
    // Writing the same contents again heals the past as well.
    drive.save(Ino::ROOT, "g", &old);
    assert_eq!(content(&drive.volume, view), old);
}

/// As a shell does: its first descriptor of `> FILE` is closed before the program writes.
#[test]
fn a_file_that_is_saved_empty_on_the_way_has_no_gap() {
    let drive = Drive::new();
    for text in ["one", "two"] {
        let how = OpenMode { truncate: true, ..READ_WRITE };
        let (_, handle) = drive.volume.create(&ROOT, Ino::ROOT, b"f", 0o644, how).unwrap();
        drive.volume.flush(handle).unwrap();
        drive.clock.advance(Duration::from_millis(1));
        drive.volume.write(handle, 0, text.as_bytes()).unwrap();
        drive.volume.flush(handle).unwrap();
        drive.volume.release(handle).unwrap();
        drive.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(drive.versions(".versions/f"), ["one", "two"]);
}

#[test]
fn the_root_lists_its_history_if_it_is_told_to() {
    let drive = Drive::with(VolumeOptions { history_listed: true, ..options() });
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap().ino;
    drive.save(dir, "f", b"x");
    let mut listed = drive.names_in("");
    listed.retain(|name| name == ".versions");
    assert_eq!(listed.len(), 1);
    assert_eq!(drive.names_in("d"), ["f"]);
    let known = drive.volume.views.len();
    let mut entries = Vec::new();
    for cookie in [0, 1, 2, 3] {
        let mut one = |entry: DirEntry| {
            let is_first = entries.len() as u64 == cookie;
            is_first.then(|| entries.push(entry)).is_some()
        };
        drive.volume.readdir(Handle(Ino::ROOT.0), cookie, true, &mut one).unwrap();
    }
    assert_eq!(entries[2].name, b".versions");
    let attr = entries[2].attr.unwrap();
    assert_eq!(drive.at(".versions").ino, attr.ino);
    assert_ne!(entries[3].name, b".versions");
    drive.volume.forget(attr.ino, 2);
    assert_eq!(drive.volume.views.len(), known);
}
