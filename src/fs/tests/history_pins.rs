//! Pins, without a mount.

use super::history::exact;
use super::*;
use crate::model::{Moment, moment_name};

fn pin(drive: &Drive, dir: Ino, name: &str, when: &str) -> Result<()> {
    let name = format!("user.verso.pin.{name}");
    drive.volume.setxattr(&ROOT, dir, name.as_bytes(), when.as_bytes(), XattrMode::Set)
}

fn pinned(drive: &Drive, dir: Ino, name: &str) -> Result<String> {
    let name = format!("user.verso.pin.{name}");
    let value = drive.volume.getxattr(dir, name.as_bytes())?;
    Ok(String::from_utf8(value).unwrap())
}

#[test]
fn a_pin_shows_the_directory_as_it_was() {
    let drive = exact();
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap().ino;
    drive.save(dir, "f", b"approved");
    let before = moment_name(drive.volume.meta.last_moment());
    drive.tick();
    drive.save(dir, "f", b"changed");
    pin(&drive, dir, "client approved", &before).unwrap();
    pin(&drive, dir, "present", "").unwrap();
    drive.save(dir, "f", b"and again");
    // Under another name it may be the same moment; the same pin once more is no change.
    pin(&drive, dir, "client approved", &before).unwrap();
    pin(&drive, dir, "other", &before).unwrap();
    let drive = drive.reopen();
    assert_eq!(drive.names_in("d/.versions/@pins"), ["client approved", "other", "present"]);
    let shown = |name: &str| drive.text(drive.at(&format!("d/.versions/@pins/{name}/f")).ino);
    assert_eq!([shown("client approved"), shown("present")], ["approved", "changed"]);
    assert_eq!(pinned(&drive, dir, "client approved").unwrap(), before);
    assert!(drive.volume.listxattr(dir).unwrap().is_empty());
    assert!(drive.names_in(".versions/@pins").is_empty());
    assert!(drive.volume.check(CheckOptions::default(), &Default::default()).unwrap().is_clean());
}

#[test]
fn a_pin_that_is_taken_back_is_gone() {
    let drive = exact();
    drive.write("f", "x");
    pin(&drive, Ino::ROOT, "kept", "now").unwrap();
    let view = drive.at(".versions/@pins/kept");
    assert!(!drive.volume.is_fixed_name(view.ino));
    drive.volume.removexattr(Ino::ROOT, b"user.verso.pin.kept").unwrap();
    assert!(matches!(drive.try_at(".versions/@pins/kept"), Err(Error::NotFound)));
    assert!(matches!(pinned(&drive, Ino::ROOT, "kept"), Err(Error::NoAttribute)));
    let again = drive.volume.removexattr(Ino::ROOT, b"user.verso.pin.kept");
    assert!(matches!(again, Err(Error::NoAttribute)));
    drive.tick();
    pin(&drive, Ino::ROOT, "kept", "").unwrap();
    assert_eq!(drive.volume.meta.read(|view| view.pins()).unwrap().len(), 1);
}

#[test]
fn pins_that_make_no_sense_are_refused() {
    let drive = exact();
    let file = drive.write("f", "x").ino;
    let long = "x".repeat(201);
    for name in ["", ".", "..", "a/b", &long] {
        assert!(matches!(pin(&drive, Ino::ROOT, name, ""), Err(Error::Invalid)), "{name}");
    }
    for when in ["2200-01-01", "nonsense", "1999-01-01"] {
        assert!(matches!(pin(&drive, Ino::ROOT, "p", when), Err(Error::Invalid)), "{when}");
    }
    assert!(matches!(pin(&drive, file, "p", ""), Err(Error::Invalid)));
    pin(&drive, Ino::ROOT, &long[1..], "").unwrap();
    pin(&drive, Ino::ROOT, "p", "").unwrap();
    drive.tick();
    assert!(matches!(pin(&drive, Ino::ROOT, "p", ""), Err(Error::Exists)));
    let view = drive.at(".versions/@pins/p").ino;
    assert!(matches!(pin(&drive, view, "q", ""), Err(Error::ReadOnly)));
    let unknown =
        drive.volume.setxattr(&ROOT, Ino::ROOT, b"user.verso.other", b"1", XattrMode::Set);
    assert!(matches!(unknown, Err(Error::NotSupported)));
}

#[test]
fn saves_within_a_slot_are_apart_where_a_pin_is_between() {
    let drive = Drive::new();
    for text in ["one", "two", "three"] {
        drive.overwrite("f", text.as_bytes());
        if text == "two" {
            pin(&drive, Ino::ROOT, "p", "").unwrap();
        }
        drive.clock.advance(Duration::from_millis(10));
    }
    assert_eq!(drive.versions(".versions/f"), ["two", "three"]);
}

#[test]
fn pins_of_a_directory_that_is_gone_stay_and_of_none_are_found() {
    let drive = exact();
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap().ino;
    pin(&drive, dir, "p", "").unwrap();
    drive.tick();
    drive.volume.rmdir(Ino::ROOT, b"d").unwrap();
    let check = || drive.volume.check(CheckOptions::default(), &Default::default()).unwrap();
    assert!(check().is_clean());
    assert_eq!(drive.volume.meta.read(|view| view.pins()).unwrap().len(), 1);
    let nobody = |tx: &crate::meta::Tx<'_>| tx.add_pin(Ino(4711), b"p", Moment(1));
    drive.volume.meta.write(Timestamp(0), nobody).unwrap();
    let found = check().findings;
    let expected = Problem::PinOfNobody { directory: 4711, name: "p".into() };
    assert_eq!(found.iter().map(|finding| &finding.problem).collect::<Vec<_>>(), [&expected]);
}

#[test]
fn going_back_takes_later_pins_along() {
    let drive = exact();
    drive.write("f", "x");
    pin(&drive, Ino::ROOT, "early", "").unwrap();
    let to = drive.volume.meta.last_moment();
    drive.tick();
    pin(&drive, Ino::ROOT, "late", "").unwrap();
    drive.volume.meta.write(drive.volume.now(), |tx| tx.rewind(to)).unwrap();
    assert_eq!(drive.names_in(".versions/@pins"), ["early"]);
}
