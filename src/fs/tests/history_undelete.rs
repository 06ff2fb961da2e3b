//! Moving out of `@deleted`, without a mount.

use super::history::exact;
use super::history_oracle::found;
use super::*;
use crate::model::moment_name;
use crate::sys::Unattended;

impl Drive {
    /// Moves a name out of the deleted ones of the root.
    fn bring_back(&self, name: &str, to: (Ino, &str), mode: RenameMode) -> Result<()> {
        self.tick();
        let deleted = self.at(".versions/@deleted").ino;
        self.volume.rename(deleted, name.as_bytes(), to.0, to.1.as_bytes(), mode)
    }

    #[track_caller]
    fn assert_sound(&self) {
        let report =
            self.volume.check(CheckOptions { read_data: true, repair: false }, &Default::default());
        let findings = report.unwrap().findings;
        assert!(findings.is_empty(), "{findings:?}");
    }

    fn causes_of(&self, path: &str) -> Vec<String> {
        let told = |name: String| {
            let version = self.at(&format!("{path}/{name}")).ino;
            let value = self.volume.getxattr(version, b"user.verso.cause").unwrap();
            String::from_utf8(value).unwrap()
        };
        self.names_in(path).into_iter().map(told).collect()
    }
}

const REPLACE: RenameMode = RenameMode::Replace;

/// A folder with another one in it, a link, two names of one file, and an attribute.
fn album(drive: &Drive) -> Ino {
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"album", 0o750).unwrap().ino;
    let sub = drive.volume.mkdir(&ROOT, dir, b"sub", 0o755).unwrap().ino;
    let file = drive.save(dir, "a", &noise(3, 300_000)).ino;
    drive.volume.link(file, sub, b"b").unwrap();
    drive.volume.setxattr(&ROOT, file, b"user.own", b"mine", XattrMode::Set).unwrap();
    drive.volume.symlink(&ROOT, sub, b"l", b"../a").unwrap();
    drive.tick();
    drive.save(dir, "a", &noise(5, 310_000));
    drive.save(sub, "empty", b"");
    drive.tick();
    dir
}

fn delete_album(drive: &Drive, dir: Ino) {
    let sub = drive.volume.lookup(dir, b"sub").unwrap().ino;
    for (parent, name) in [(sub, "b"), (sub, "l"), (sub, "empty"), (dir, "a")] {
        drive.clock.advance(Duration::from_millis(1));
        drive.volume.unlink(parent, name.as_bytes()).unwrap();
    }
    drive.volume.rmdir(dir, b"sub").unwrap();
    drive.volume.rmdir(Ino::ROOT, b"album").unwrap();
}

#[test]
fn a_file_comes_back_with_its_history() {
    let drive = exact();
    drive.write("f", "one");
    let old = drive.write("f", "two");
    drive.volume.setxattr(&ROOT, old.ino, b"user.own", b"mine", XattrMode::Set).unwrap();
    drive.unlink("f");
    let gone = moment_name(drive.volume.meta.last_moment());
    drive.bring_back("f", (Ino::ROOT, "f"), RenameMode::NoReplace).unwrap();
    let drive = drive.crash();
    let file = drive.at("f");
    assert_eq!((file.size, file.mtime, file.nlink), (3, old.mtime, 1));
    assert_eq!(drive.load(Ino::ROOT, "f"), b"two");
    assert_eq!(drive.volume.getxattr(file.ino, b"user.own").unwrap(), b"mine");
    assert_eq!(drive.names_in(".versions/@deleted"), [""; 0]);
    assert_eq!(drive.versions(".versions/f"), ["one", "two", "two"]);
    assert_eq!(drive.causes_of(".versions/f"), ["save", "save", "restore"]);
    assert!(matches!(drive.try_at(&format!(".versions/@at/{gone}/f")), Err(Error::NotFound)));
    drive.assert_sound();
    drive.write("f", "three");
    assert_eq!(drive.versions(".versions/f"), ["one", "two", "two", "three"]);
    // And once more.
    drive.unlink("f");
    drive.bring_back("f", (Ino::ROOT, "f"), REPLACE).unwrap();
    let shown = ["one", "two", "two", "three", "three"];
    assert_eq!(drive.versions(".versions/f"), shown);
    drive.assert_sound();
}

#[test]
fn at_another_place_it_shows_what_it_was() {
    let drive = exact();
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap().ino;
    drive.write("f", "one");
    drive.write("f", "two");
    drive.unlink("f");
    // What has its old name since is another file.
    drive.write("f", "another");
    drive.unlink("f");
    drive.write("f", "a third");
    drive.bring_back("f", (dir, "g"), REPLACE).unwrap();
    assert_eq!(drive.versions("d/.versions/g"), ["one", "two", "another", "another"]);
    assert_eq!(drive.versions(".versions/f"), ["one", "two", "another", "a third"]);
    drive.write("h", "x");
    drive.write("h", "y");
    drive.unlink("h");
    drive.bring_back("h", (dir, "h"), REPLACE).unwrap();
    assert_eq!(drive.versions("d/.versions/h"), ["x", "y", "y"]);
    drive.assert_sound();
}

#[test]
fn a_folder_comes_back_whole() {
    let drive = exact();
    let dir = album(&drive);
    let before = found(&drive.volume, dir);
    let chunks = drive.volume.status().unwrap().chunks;
    delete_album(&drive, dir);
    drive.bring_back("album", (Ino::ROOT, "album"), RenameMode::NoReplace).unwrap();
    let drive = drive.crash();
    let back = drive.at("album");
    assert_eq!((back.ino, back.nlink, back.mode.bits()), (dir, 3, 0o750));
    assert_eq!(found(&drive.volume, back.ino), before);
    assert_eq!(drive.at("album/a").ino, drive.at("album/sub/b").ino);
    assert_eq!(drive.at("album/a").nlink, 2);
    assert_eq!(drive.names_in(".versions/@deleted"), [""; 0]);
    assert_eq!(drive.names_in("album/.versions/a").len(), 3);
    assert_eq!(drive.volume.status().unwrap().chunks, chunks);
    drive.assert_sound();
    // It can be changed, deleted and brought back again, elsewhere too.
    drive.tick();
    drive.save(dir, "a", b"changed");
    let before = found(&drive.volume, dir);
    drive.tick();
    delete_album(&drive, dir);
    let other = drive.volume.mkdir(&ROOT, Ino::ROOT, b"other", 0o755).unwrap().ino;
    drive.bring_back("album", (other, "album"), REPLACE).unwrap();
    assert_eq!(found(&drive.volume, drive.at("other/album").ino), before);
    assert_eq!(drive.at("other").nlink, 3);
    assert_eq!(drive.names_in(".versions/@deleted"), [""; 0]);
    drive.assert_sound();
}

#[test]
fn going_back_undoes_it() {
    let drive = exact();
    let dir = album(&drive);
    delete_album(&drive, dir);
    let deleted = drive.volume.meta.last_moment();
    drive.bring_back("album", (Ino::ROOT, "album"), REPLACE).unwrap();
    drive.save(dir, "a", b"changed");
    drive.volume.meta.write(drive.volume.now(), |tx| tx.rewind(deleted)).unwrap();
    let drive = drive.reopen();
    assert!(matches!(drive.try_at("album"), Err(Error::NotFound)));
    drive.assert_sound();
    drive.bring_back("album", (Ino::ROOT, "album"), REPLACE).unwrap();
    assert_eq!(drive.load(dir, "a"), noise(5, 310_000));
    drive.assert_sound();
}

#[test]
fn what_is_in_the_way_is_treated_as_a_rename_does() {
    let drive = exact();
    drive.write("f", "old");
    drive.unlink("f");
    drive.write("f", "new");
    let held = drive.volume.open(drive.at("f").ino, READ_WRITE).unwrap();
    let exists = drive.bring_back("f", (Ino::ROOT, "f"), RenameMode::NoReplace);
    assert!(matches!(exists, Err(Error::Exists)));
    let exchange = drive.bring_back("f", (Ino::ROOT, "f"), RenameMode::Exchange);
    assert!(matches!(exchange, Err(Error::Invalid)));
    drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap();
    let directory = drive.bring_back("f", (Ino::ROOT, "d"), REPLACE);
    assert!(matches!(directory, Err(Error::IsDirectory)));
    drive.bring_back("f", (Ino::ROOT, "f"), REPLACE).unwrap();
    assert_eq!(drive.load(Ino::ROOT, "f"), b"old");
    drive.volume.release(held).unwrap();
    assert_eq!(drive.versions(".versions/f"), ["old", "new", "old"]);
    let never = drive.bring_back("never", (Ino::ROOT, "n"), REPLACE);
    assert!(matches!(never, Err(Error::NotFound)));
    drive.assert_sound();
    // A folder in the place of an empty one.
    drive.volume.rmdir(Ino::ROOT, b"d").unwrap();
    drive.volume.mkdir(&ROOT, Ino::ROOT, b"e", 0o755).unwrap();
    let links = drive.at("").nlink;
    drive.bring_back("d", (Ino::ROOT, "e"), REPLACE).unwrap();
    assert_eq!(drive.at("").nlink, links);
    drive.assert_sound();
}

#[test]
fn what_cant_be_moved_can_be_copied() {
    let drive = exact();
    let dir = album(&drive);
    delete_album(&drive, dir);
    // A part of it.
    let inside = drive.at(".versions/@deleted/album").ino;
    let part = drive.volume.rename(inside, b"a", Ino::ROOT, b"a", REPLACE);
    assert!(matches!(part, Err(Error::CrossDevice)));
    assert_eq!(Error::CrossDevice.errno(), libc::EXDEV);
    // A file that is open still.
    drive.write("f", "text");
    let handle = drive.volume.open(drive.at("f").ino, READ_WRITE).unwrap();
    drive.unlink("f");
    let open = drive.bring_back("f", (Ino::ROOT, "f"), REPLACE);
    assert!(matches!(open, Err(Error::CrossDevice)));
    // And that was written to when it had no name.
    drive.volume.write(handle, 0, b"TEXT").unwrap();
    drive.volume.release(handle).unwrap();
    let written = drive.bring_back("f", (Ino::ROOT, "f"), REPLACE);
    assert!(written.is_ok() || matches!(written, Err(Error::CrossDevice)));
    drive.assert_sound();
    // Out of any other view.
    let at = drive.at(".versions/@at/now").ino;
    drive.write("g", "x");
    let view = drive.volume.rename(at, b"g", Ino::ROOT, b"h", REPLACE);
    assert!(matches!(view, Err(Error::ReadOnly)));
}

#[test]
fn a_program_that_comes_back_has_lost_its_rights() {
    let drive = exact();
    let ino = drive.write("tool", "x").ino;
    drive.chmod(ino, 0o6755);
    drive.unlink("tool");
    drive.bring_back("tool", (Ino::ROOT, "tool"), REPLACE).unwrap();
    assert_eq!(drive.at("tool").mode.bits(), 0o755);
}

#[test]
fn a_drive_that_is_read_only_brings_nothing_back() {
    let drive = exact();
    drive.write("f", "x");
    drive.unlink("f");
    let Drive { dir, clock, volume } = drive;
    volume.close().unwrap();
    drop(volume);
    let read_only = VolumeOptions { read_only: true, ..options() };
    let volume = Volume::open_store(&dir.path().join("store"), read_only, clock.clone()).unwrap();
    let drive = Drive { dir, clock, volume };
    let refused = drive.bring_back("f", (Ino::ROOT, "f"), REPLACE);
    assert!(matches!(refused, Err(Error::ReadOnly)));
}

#[test]
fn what_came_back_outlives_the_time_for_which_its_past_is_kept() {
    let drive = exact();
    let dir = album(&drive);
    delete_album(&drive, dir);
    drive.write("f", "text");
    drive.unlink("f");
    drive.bring_back("album", (Ino::ROOT, "album"), REPLACE).unwrap();
    drive.bring_back("f", (Ino::ROOT, "g"), REPLACE).unwrap();
    let before = found(&drive.volume, dir);
    for _ in 0..3 {
        drive.clock.advance(Duration::from_secs(400 * 24 * 3600));
        drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
        drive.assert_sound();
    }
    assert_eq!(found(&drive.volume, dir), before);
    assert_eq!(drive.load(Ino::ROOT, "g"), b"text");
    // And is there to be deleted once more.
    drive.tick();
    delete_album(&drive, dir);
    drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
    drive.bring_back("album", (Ino::ROOT, "album"), REPLACE).unwrap();
    assert_eq!(found(&drive.volume, dir), before);
    drive.assert_sound();
}
