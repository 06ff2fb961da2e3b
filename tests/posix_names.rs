//! What programs rely on, through a real mount: names, links, directories and extended attributes.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use support::{Mount, os};

fn errno<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> i32 {
    outcome.unwrap_err().raw_os_error().unwrap()
}

fn names(path: &std::path::Path) -> BTreeSet<OsString> {
    fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn names_are_any_bytes_up_to_255() {
    let mut mount = Mount::new();
    let dir = mount.at("shared");
    let odd = [
        b"\xff\xfe not utf-8".to_vec(),
        b"new\nline".to_vec(),
        b"\x01".to_vec(),
        "e\u{301}".into(),
        "\u{e9}".into(),
        vec![b'x'; 255],
    ];
    for name in &odd {
        fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
    }
    assert_eq!(errno(File::create(dir.join("y".repeat(256)))), libc::ENAMETOOLONG);
    mount.reopen();
    assert_eq!(names(&dir), odd.iter().cloned().map(OsString::from_vec).collect());
    for name in &odd {
        assert_eq!(&fs::read(dir.join(OsStr::from_bytes(name))).unwrap(), name);
    }
}

#[test]
fn a_rename_can_spare_or_exchange_its_target() {
    let mount = Mount::new();
    let (a, b) = (mount.at("a"), mount.at("b"));
    fs::write(&a, b"a").unwrap();
    fs::create_dir(&b).unwrap();
    fs::write(b.join("inside"), b"b").unwrap();
    assert_eq!(errno(os::rename(&a, &b, libc::RENAME_NOREPLACE)), libc::EEXIST);
    os::rename(&a, &b, libc::RENAME_EXCHANGE).unwrap();
    assert_eq!(fs::read(&b).unwrap(), b"a");
    assert_eq!(fs::read(a.join("inside")).unwrap(), b"b");
    os::rename(&b, &mount.at("c"), libc::RENAME_NOREPLACE).unwrap();
    assert!(!b.exists());
    assert_eq!(errno(os::rename(&a, &b, libc::RENAME_EXCHANGE)), libc::ENOENT);
    assert_eq!(errno(os::rename(&a, &b, libc::RENAME_WHITEOUT)), libc::EINVAL);
}

#[test]
fn a_name_that_was_missed_shows_up_when_it_is_made() {
    let mount = Mount::new();
    let path = |name: &str| mount.at(name);
    for name in ["made", "linked", "moved", "dir", "symlink"] {
        assert!(fs::symlink_metadata(path(name)).is_err());
    }
    fs::write(path("made"), b"x").unwrap();
    fs::hard_link(path("made"), path("linked")).unwrap();
    fs::write(path("other"), b"y").unwrap();
    fs::rename(path("other"), path("moved")).unwrap();
    fs::create_dir(path("dir")).unwrap();
    std::os::unix::fs::symlink("made", path("symlink")).unwrap();
    for name in ["made", "linked", "moved", "dir", "symlink"] {
        assert!(fs::symlink_metadata(path(name)).is_ok(), "{name}");
    }
    assert!(fs::symlink_metadata(path("other")).is_err());
    fs::remove_file(path("made")).unwrap();
    assert!(fs::symlink_metadata(path("made")).is_err());
}

#[test]
fn all_kinds_of_inodes_can_be_made() {
    let mut mount = Mount::new();
    os::mknod(&mount.at("fifo"), libc::S_IFIFO | 0o600, 0).unwrap();
    os::mknod(&mount.at("socket"), libc::S_IFSOCK | 0o600, 0).unwrap();
    os::mknod(&mount.at("file"), libc::S_IFREG | 0o600, 0).unwrap();
    std::os::unix::fs::symlink(OsStr::from_bytes(&[b'x'; 4000]), mount.at("symlink")).unwrap();
    let zero = libc::makedev(1, 5);
    if os::is_root() {
        os::mknod(&mount.at("zero"), libc::S_IFCHR | 0o600, zero).unwrap();
        let mut head = [1; 4];
        use std::io::Read;
        File::open(mount.at("zero")).unwrap().read_exact(&mut head).unwrap();
        assert_eq!(head, [0; 4]);
    }
    mount.reopen();
    let kind = |name: &str| fs::symlink_metadata(mount.at(name)).unwrap().file_type();
    assert!(kind("fifo").is_fifo() && kind("socket").is_socket() && kind("file").is_file());
    assert_eq!(fs::read_link(mount.at("symlink")).unwrap().as_os_str().len(), 4000);
    if os::is_root() {
        assert_eq!(fs::metadata(mount.at("zero")).unwrap().rdev(), zero);
    }
}

#[test]
fn a_socket_is_bound_and_a_fifo_carries() {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    let mount = Mount::new();
    let listener = UnixListener::bind(mount.at("socket")).unwrap();
    let mut client = UnixStream::connect(mount.at("socket")).unwrap();
    client.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    listener.accept().unwrap().0.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");

    let fifo = mount.at("fifo");
    os::mknod(&fifo, libc::S_IFIFO | 0o600, 0).unwrap();
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::write(fifo, b"through").unwrap()
    });
    assert_eq!(fs::read(&fifo).unwrap(), b"through");
    writer.join().unwrap();
}

/// Many more entries than fit into one answer.
const MANY: usize = 3_000;

#[test]
fn a_listing_shows_what_stays_once_while_the_rest_changes() {
    let mount = Mount::new();
    let dir = mount.at("many");
    fs::create_dir(&dir).unwrap();
    for number in 0..MANY {
        File::create(dir.join(format!("stays-{number}"))).unwrap();
        File::create(dir.join(format!("goes-{number}"))).unwrap();
    }
    let mut seen = Vec::new();
    for (at, entry) in fs::read_dir(&dir).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        seen.extend(name.starts_with("stays-").then_some(name));
        if at < MANY {
            fs::remove_file(dir.join(format!("goes-{at}"))).unwrap();
            File::create(dir.join(format!("comes-{at}"))).unwrap();
        }
        if at == MANY / 2 {
            // Another reader fills what the kernel may keep of the listing.
            assert!(fs::read_dir(&dir).unwrap().count() >= MANY);
        }
    }
    let unique: BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), unique.len()), (MANY, MANY));
    assert_eq!(names(&dir).len(), 2 * MANY);
}

#[test]
fn a_directory_is_emptied_while_it_is_listed() {
    let mount = Mount::new();
    let dir = mount.at("many");
    fs::create_dir(&dir).unwrap();
    (0..MANY).for_each(|number| drop(File::create(dir.join(number.to_string())).unwrap()));
    fs::remove_dir_all(&dir).unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_directory_counts_its_subdirectories() {
    let mount = Mount::new();
    let dir = mount.at("d");
    let links = || fs::metadata(&dir).unwrap().nlink();
    fs::create_dir_all(dir.join("a/b")).unwrap();
    assert_eq!(links(), 3);
    fs::rename(dir.join("a/b"), dir.join("b")).unwrap();
    assert_eq!(links(), 4);
    fs::remove_dir(dir.join("a")).unwrap();
    assert_eq!(links(), 3);
    assert_eq!(errno(fs::remove_dir(&dir)), libc::ENOTEMPTY);
}

#[test]
fn hard_links_are_one_file() {
    let mut mount = Mount::new();
    fs::write(mount.at("a"), b"one").unwrap();
    fs::hard_link(mount.at("a"), mount.at("b")).unwrap();
    fs::write(mount.at("b"), b"changed").unwrap();
    assert_eq!(fs::read(mount.at("a")).unwrap(), b"changed");
    fs::remove_file(mount.at("a")).unwrap();
    mount.reopen();
    let meta = fs::metadata(mount.at("b")).unwrap();
    assert_eq!((meta.nlink(), meta.len()), (1, 7));
}

#[test]
fn extended_attributes_go_to_the_limits() {
    let mut mount = Mount::new();
    let path = mount.at("f");
    fs::write(&path, b"x").unwrap();
    let longest = format!("user.{}", "n".repeat(250));
    let largest: Vec<u8> = (0..65_536_u32).map(|at| (at % 251) as u8).collect();
    os::set_xattr(&path, &longest, b"value", 0).unwrap();
    os::set_xattr(&path, "user.large", &largest, 0).unwrap();
    os::set_xattr(&path, "user.empty", b"", 0).unwrap();
    assert_eq!(errno(os::set_xattr(&path, &format!("{longest}n"), b"", 0)), libc::ERANGE);
    assert_eq!(errno(os::set_xattr(&path, "user.x", &[0; 65_537], 0)), libc::E2BIG);
    mount.reopen();
    assert_eq!(os::get_xattr(&path, &longest).unwrap(), b"value");
    assert!(os::get_xattr(&path, "user.large").unwrap() == largest);
    assert_eq!(os::get_xattr(&path, "user.empty").unwrap(), b"");
    assert_eq!(os::list_xattrs(&path).unwrap(), ["user.empty", "user.large", &longest]);
}

#[test]
fn extended_attributes_are_created_replaced_and_removed() {
    let mount = Mount::new();
    let path = mount.at("d");
    fs::create_dir(&path).unwrap();
    let (create, replace) = (libc::XATTR_CREATE, libc::XATTR_REPLACE);
    assert_eq!(errno(os::set_xattr(&path, "user.a", b"0", replace)), libc::ENODATA);
    os::set_xattr(&path, "user.a", b"1", create).unwrap();
    assert_eq!(errno(os::set_xattr(&path, "user.a", b"2", create)), libc::EEXIST);
    os::set_xattr(&path, "user.a", b"3", replace).unwrap();
    assert_eq!(os::get_xattr(&path, "user.a").unwrap(), b"3");
    os::remove_xattr(&path, "user.a").unwrap();
    assert_eq!(errno(os::get_xattr(&path, "user.a")), libc::ENODATA);
    assert_eq!(errno(os::remove_xattr(&path, "user.a")), libc::ENODATA);
    if os::is_root() {
        os::set_xattr(&path, "trusted.t", b"t", 0).unwrap();
        os::set_xattr(&path, "security.s", b"s", 0).unwrap();
        assert_eq!(os::get_xattr(&path, "trusted.t").unwrap(), b"t");
        assert_eq!(os::get_xattr(&path, "security.s").unwrap(), b"s");
    }
}
