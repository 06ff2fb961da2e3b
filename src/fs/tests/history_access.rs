//! Who may read the past.

use super::history::exact;
use super::*;
use crate::model::moment_name;

#[test]
fn a_folder_that_was_closed_since_is_closed_in_the_past() {
    let drive = exact();
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap().ino;
    drive.save(dir, "f", b"text");
    let before = moment_name(drive.volume.meta.last_moment());
    drive.chmod(dir, 0o700);
    let past = drive.at(&format!(".versions/@at/{before}/d"));
    assert_eq!(past.mode.bits(), 0o700);
    assert!(!drive.volume.is_settled(past.ino));
    assert_eq!(drive.at(&format!(".versions/@at/{before}/d/f")).mode.bits(), 0o644);
    drive.chmod(dir, 0o777);
    assert_eq!(drive.volume.getattr(past.ino).unwrap().mode.bits(), 0o755);
    assert_eq!(drive.at("d/.versions").mode.bits(), 0o555);
}

#[test]
fn a_file_from_a_closed_folder_takes_no_readable_history_with_it() {
    let drive = exact();
    let secret = drive.volume.mkdir(&ROOT, Ino::ROOT, b"secret", 0o700).unwrap().ino;
    drive.save(secret, "f", b"hidden");
    drive.tick();
    let replace = RenameMode::Replace;
    drive.volume.rename(secret, b"f", Ino::ROOT, b"f", replace).unwrap();
    drive.write("f", "shown");
    let listed = drive.names_in(".versions/f");
    let mode = |name: &str| drive.at(&format!(".versions/f/{name}")).mode.bits();
    // The name showed the hidden content as well, once it was moved.
    assert_eq!((mode(&listed[0]), mode(&listed[1])), (0o644, 0o644));
    drive.save(secret, "g", b"hidden");
    drive.tick();
    drive.save(secret, "g", b"harmless");
    drive.tick();
    drive.volume.rename(secret, b"g", Ino::ROOT, b"g", replace).unwrap();
    let listed = drive.names_in(".versions/g");
    let mode = |name: &str| drive.at(&format!(".versions/g/{name}")).mode.bits();
    assert_eq!((mode(&listed[0]), mode(&listed[1])), (0o600, 0o644));
}

/// The mask of an access list stands in the group's bits of the mode: shown without the list it would let the group in.
#[test]
fn the_moment_before_an_access_list_shows_the_mode_before_it() {
    let drive = Drive::new();
    let (attr, handle) = drive.volume.create(&ROOT, Ino::ROOT, b"f", 0o600, READ_WRITE).unwrap();
    drive.volume.write(handle, 0, b"secret").unwrap();
    drive.volume.flush(handle).unwrap();
    drive.volume.release(handle).unwrap();
    let before = drive.volume.meta.last_moment();
    // user::rw-, user:7:rw-, group::---, mask::rw-, other::---
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 6, 7), (4, 0, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, bits, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(bits.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let set = |name: &[u8], value: &[u8]| {
        drive.volume.setxattr(&ROOT, attr.ino, name, value, XattrMode::Set).unwrap();
    };
    set(b"system.posix_acl_access", &list);
    set(b"security.capability", b"power");
    let mode = |ino| drive.volume.getattr(ino).unwrap().mode.bits();
    assert_eq!(mode(attr.ino), 0o660);
    let look = |dir, name: &[u8]| drive.volume.lookup(dir, name).unwrap().ino;
    let versions = look(Ino::ROOT, b".versions");
    let at = look(versions, b"@at");
    let then = look(look(at, moment_name(before).as_bytes()), b"f");
    assert_eq!(mode(then), 0o600);
    let chmod = SetAttr { mode: Some(0o640), ..SetAttr::default() };
    let with_list = drive.volume.meta.last_moment();
    drive.volume.setattr(attr.ino, &chmod).unwrap();
    let then = look(look(at, moment_name(with_list).as_bytes()), b"f");
    assert_eq!(mode(then), 0o660);
    assert_eq!(drive.volume.getxattr(then, b"system.posix_acl_access").unwrap(), list);
    assert!(drive.volume.getxattr(then, b"security.capability").is_err());
}
