//! What `user.verso.…` tells and is told, without a mount.

use super::history::exact;
use super::history_oracle::names;
use super::*;
use crate::model::{Moment, moment_name};

impl Drive {
    fn told(&self, ino: Ino, name: &str) -> Result<String> {
        let value = self.volume.getxattr(ino, format!("user.verso.{name}").as_bytes())?;
        Ok(String::from_utf8(value).unwrap())
    }

    fn tell(&self, ino: Ino, cause: &str) -> Result<()> {
        let set = XattrMode::Set;
        self.volume.setxattr(&ROOT, ino, b"user.verso.cause", cause.as_bytes(), set)
    }

    /// Why each version of `f` was made.
    fn causes(&self) -> Vec<String> {
        let dir = self.at(".versions/f").ino;
        let version = |name: &[u8]| self.volume.lookup(dir, name).unwrap().ino;
        let listed = names(&self.volume, dir).into_iter();
        listed.map(|(name, ..)| self.told(version(&name), "cause").unwrap()).collect()
    }

    fn version(&self, name: &str, index: usize) -> Ino {
        let dir = format!(".versions/{name}");
        let listed = self.names_in(&dir).remove(index);
        self.at(&format!("{dir}/{listed}")).ino
    }
}

#[test]
fn files_of_the_past_tell_the_hash_of_their_content() {
    let drive = exact();
    let old = noise(4, 2_500_000);
    drive.save(Ino::ROOT, "f", &old);
    let hash = crate::chunks::hash(&old).to_string();
    let before = moment_name(drive.volume.meta.last_moment());
    drive.tick();
    drive.save(Ino::ROOT, "f", b"");
    let version = drive.version("f", 0);
    for ino in [version, drive.at(&format!(".versions/@at/{before}/f")).ino] {
        assert_eq!(drive.told(ino, "hash").unwrap(), hash);
        assert_eq!(drive.told(ino, "hash").unwrap(), hash);
        let listed = drive.volume.listxattr(ino).unwrap();
        assert!(!listed.contains(&b"user.verso.hash".to_vec()));
    }
    let empty = crate::chunks::hash(b"").to_string();
    assert_eq!(drive.told(drive.version("f", 1), "hash").unwrap(), empty);
    drive.unlink("f");
    assert_eq!(drive.told(drive.at(".versions/@deleted/f").ino, "hash").unwrap(), empty);
    let directory = drive.at(".versions/@at/now").ino;
    assert!(matches!(drive.told(directory, "hash"), Err(Error::NoAttribute)));
}

#[test]
fn a_version_tells_until_when_it_was_shown() {
    let drive = exact();
    drive.write("f", "one");
    let first = drive.version("f", 0);
    assert!(matches!(drive.told(first, "until"), Err(Error::NoAttribute)));
    assert!(!drive.volume.listxattr(first).unwrap().contains(&b"user.verso.until".to_vec()));
    drive.write("f", "two");
    let (first, second) = (drive.version("f", 0), drive.version("f", 1));
    assert_eq!(drive.told(first, "until").unwrap(), drive.told(second, "moment").unwrap());
    assert!(drive.volume.listxattr(first).unwrap().contains(&b"user.verso.until".to_vec()));
}

#[test]
fn what_was_deleted_tells_when() {
    let drive = exact();
    drive.write("f", "one");
    let saved = moment_name(drive.volume.meta.last_moment());
    drive.unlink("f");
    let ended = moment_name(drive.volume.meta.last_moment());
    let file = drive.at(".versions/@deleted/f").ino;
    assert_eq!(
        [drive.told(file, "moment").unwrap(), drive.told(file, "until").unwrap()],
        [saved, ended]
    );
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap().ino;
    drive.save(dir, "f", b"x");
    drive.tick();
    drive.volume.unlink(dir, b"f").unwrap();
    let whole = moment_name(Moment(drive.volume.meta.last_moment().0 - 1));
    drive.volume.rmdir(Ino::ROOT, b"d").unwrap();
    let ended = moment_name(drive.volume.meta.last_moment());
    for path in [".versions/@deleted/d".to_owned(), {
        let name = drive.names_in(".versions/d").remove(0);
        format!(".versions/d/{name}")
    }] {
        let folder = drive.at(&path).ino;
        assert_eq!(drive.told(folder, "moment").unwrap(), whole);
        assert_eq!(drive.told(folder, "until").unwrap(), ended);
        assert_eq!(drive.volume.listxattr(folder).unwrap().len(), 2);
        let inside = drive.volume.lookup(folder, b"f").unwrap().ino;
        assert!(drive.volume.listxattr(inside).unwrap().is_empty());
    }
    assert_eq!(
        drive.told(drive.at(&format!(".versions/@at/{whole}")).ino, "moment").unwrap(),
        whole
    );
}

#[test]
fn a_cause_that_is_told_while_writing_is_that_of_the_version() {
    let drive = exact();
    drive.write("f", "one");
    let how = OpenMode { truncate: true, ..READ_WRITE };
    for (text, synced) in [("two", false), ("three", true)] {
        drive.tick();
        let ino = drive.at("f").ino;
        let handle = drive.volume.open(ino, how).unwrap();
        drive.volume.write(handle, 0, text.as_bytes()).unwrap();
        if synced {
            drive.volume.fsync(handle).unwrap();
        }
        drive.tell(ino, if synced { "rewind" } else { "restore" }).unwrap();
        drive.volume.flush(handle).unwrap();
        drive.volume.release(handle).unwrap();
        assert!(drive.volume.listxattr(ino).unwrap().is_empty());
    }
    drive.write("f", "four");
    assert_eq!(drive.causes(), ["save", "restore", "rewind", "save"]);
    let drive = drive.reopen();
    assert_eq!(drive.causes(), ["save", "restore", "rewind", "save"]);
}

#[test]
fn a_cause_can_be_told_for_a_moment_after_the_save() {
    let drive = exact();
    let ino = drive.write("f", "one").ino;
    drive.tell(ino, "import").unwrap();
    drive.write("f", "two");
    let stranger = Caller { uid: 61_001, ..ROOT };
    let set = XattrMode::Set;
    drive.volume.setxattr(&stranger, ino, b"user.verso.cause", b"restore", set).unwrap();
    drive.tick();
    drive.tell(ino, "restore").unwrap();
    assert_eq!(drive.causes(), ["import", "save"]);
    assert!(matches!(drive.tell(ino, "because"), Err(Error::Invalid)));
    // A restore by way of a temporary file.
    drive.write("t", "three");
    drive.tell(drive.at("t").ino, "restore").unwrap();
    drive.rename("t", "f");
    drive.write("t", "four");
    drive.rename("t", "f");
    assert_eq!(drive.causes(), ["import", "save", "restore", "replace"]);
}

#[test]
fn what_a_version_tells_may_be_copied_with_it() {
    let drive = exact();
    let ino = drive.write("f", "one").ino;
    for name in ["moment", "until", "author", "version", "hash"] {
        let name = format!("user.verso.{name}");
        drive.volume.setxattr(&ROOT, ino, name.as_bytes(), b"1", XattrMode::Set).unwrap();
        assert!(matches!(drive.volume.getxattr(ino, name.as_bytes()), Err(Error::NoAttribute)));
    }
    drive.tell(ino, "save").unwrap();
    drive.tell(ino, "replace").unwrap();
    assert!(drive.volume.listxattr(ino).unwrap().is_empty());
    assert_eq!(drive.causes(), ["save"]);
}

#[test]
fn a_cause_that_is_told_of_a_new_file_is_that_of_what_is_written_to_it() {
    let drive = exact();
    drive.write("f", "one");
    drive.unlink("f");
    drive.tick();
    let (attr, handle) = drive.create(Ino::ROOT, "f");
    drive.tell(attr.ino, "restore").unwrap();
    drive.volume.write(handle, 0, b"two").unwrap();
    drive.volume.fsync(handle).unwrap();
    drive.volume.flush(handle).unwrap();
    drive.volume.release(handle).unwrap();
    assert_eq!(drive.causes(), ["save", "restore"]);
}
