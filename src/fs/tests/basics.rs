//! Names and contents.

use super::*;

#[test]
fn a_new_store_has_its_first_directories_and_projects_get_stages() {
    let drive = Drive::new();
    for name in ["projects", "shared", "archived"] {
        drive.volume.lookup(Ino::ROOT, name.as_bytes()).unwrap();
    }
    let projects = drive.volume.lookup(Ino::ROOT, b"projects").unwrap();
    let project = drive.volume.mkdir(&ROOT, projects.ino, b"4711", 0o777).unwrap();
    assert_eq!(project.nlink, 6);
    for stage in ["original", "staged", "drafts", "final"] {
        let stage = drive.volume.lookup(project.ino, stage.as_bytes()).unwrap();
        assert_eq!(stage.mode.bits(), 0o755);
    }
    assert_eq!(drive.volume.getattr(project.ino).unwrap(), project);
    // As `cp` makes it, which brings its own.
    let copy = drive.volume.mkdir(&ROOT, projects.ino, b"4712", 0o755).unwrap();
    assert_eq!(copy.nlink, 2);
    // As Samba does.
    let samba = Caller { umask: 0, ..ROOT };
    let made = drive.volume.mkdir(&samba, projects.ino, b"4713", 0o775).unwrap();
    assert_eq!(made.nlink, 6);
}

#[test]
fn contents_survive_a_stop_and_a_crash() {
    let drive = Drive::new();
    let small = noise(1, 3000);
    let large = noise(2, 20_000_000);
    drive.save(Ino::ROOT, "small", &small);
    drive.save(Ino::ROOT, "large", &large);
    let drive = drive.crash();
    assert_eq!(drive.load(Ino::ROOT, "small"), small);
    assert!(drive.load(Ino::ROOT, "large") == large);
    let drive = drive.reopen();
    assert!(drive.load(Ino::ROOT, "large") == large);
}

#[test]
fn an_unlinked_open_file_lives_until_it_is_closed_and_ends_at_the_next_start() {
    let drive = Drive::new();
    let (attr, handle) = drive.create(Ino::ROOT, "f");
    drive.volume.write(handle, 0, b"still here").unwrap();
    drive.volume.unlink(Ino::ROOT, b"f").unwrap();
    assert!(matches!(drive.volume.lookup(Ino::ROOT, b"f"), Err(Error::NotFound)));
    assert_eq!(drive.volume.getattr(attr.ino).unwrap().nlink, 0);
    let mut content = Vec::new();
    drive.volume.read(handle, 0, 100, &mut content).unwrap();
    assert_eq!(content, b"still here");
    let drive = drive.crash();
    assert!(drive.volume.meta.read(|view| view.orphans()).unwrap().is_empty());
    assert!(matches!(drive.volume.open(attr.ino, READ_WRITE), Err(Error::NotFound)));
}

#[test]
fn renaming_over_an_open_file_leaves_its_handle_alone() {
    let drive = Drive::new();
    let (old, handle) = drive.create(Ino::ROOT, "f");
    drive.volume.write(handle, 0, b"old").unwrap();
    let new = drive.save(Ino::ROOT, "f.tmp", b"new");
    let replace = RenameMode::Replace;
    drive.volume.rename(Ino::ROOT, b"f.tmp", Ino::ROOT, b"f", replace).unwrap();
    assert_eq!(drive.volume.lookup(Ino::ROOT, b"f").unwrap().ino, new.ino);
    assert_eq!(drive.load(Ino::ROOT, "f"), b"new");
    let mut content = Vec::new();
    drive.volume.read(handle, 0, 100, &mut content).unwrap();
    assert_eq!(content, b"old");
    drive.volume.release(handle).unwrap();
    assert_eq!(drive.volume.getattr(old.ino).unwrap().nlink, 0);
}

#[test]
fn directories_cannot_move_below_themselves() {
    let drive = Drive::new();
    let a = drive.volume.mkdir(&ROOT, Ino::ROOT, b"a", 0o755).unwrap();
    let b = drive.volume.mkdir(&ROOT, a.ino, b"b", 0o755).unwrap();
    let outcome = drive.volume.rename(Ino::ROOT, b"a", b.ino, b"c", RenameMode::Replace);
    assert!(matches!(outcome, Err(Error::Invalid)));
    drive.volume.mkdir(&ROOT, Ino::ROOT, b"x", 0o755).unwrap();
    let outcome = drive.volume.rename(Ino::ROOT, b"x", b.ino, b"x", RenameMode::Exchange);
    assert!(matches!(outcome, Err(Error::NotFound)));
}

#[test]
fn listing_goes_on_while_names_come_and_go() {
    let drive = Drive::new();
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap();
    for n in 0..1000 {
        drive.volume.mknod(&ROOT, dir.ino, format!("f{n}").as_bytes(), 0o100_644, 0).unwrap();
    }
    let handle = drive.volume.opendir(dir.ino).unwrap();
    let mut seen = std::collections::HashSet::new();
    let mut cookie = 0;
    loop {
        let mut batch = Vec::new();
        drive
            .volume
            .readdir(handle, cookie, true, &mut |entry| {
                batch.push(entry);
                batch.len() < 7
            })
            .unwrap();
        // The entry at which `emit` said no had no room: it comes again.
        let complete = batch.len() < 7;
        if !complete {
            batch.pop();
        }
        for entry in &batch {
            cookie = entry.cookie;
            assert!(seen.insert(entry.name.clone()), "{:?} twice", entry.name);
            // Odd ones are removed after they were listed: that must not disturb the rest.
            let name = String::from_utf8(entry.name.clone()).unwrap();
            if name.starts_with('f') && name.ends_with(['1', '3', '5', '7', '9']) {
                drive.volume.unlink(dir.ino, name.as_bytes()).unwrap();
            }
        }
        if complete {
            break;
        }
    }
    assert_eq!(seen.len(), 1002);
}

#[test]
fn attributes_of_an_open_file_can_change_without_touching_its_content() {
    let drive = Drive::new();
    let (attr, handle) = drive.create(Ino::ROOT, "f");
    drive.volume.write(handle, 0, b"not saved yet").unwrap();
    let change = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    drive.volume.setattr(attr.ino, &change).unwrap();
    let shown = drive.volume.getattr(attr.ino).unwrap();
    assert_eq!((shown.size, shown.mode.bits()), (13, 0o600));
    // What is committed must not claim a size that has no extents.
    let drive = drive.crash();
    let shown = drive.volume.lookup(Ino::ROOT, b"f").unwrap();
    assert_eq!((shown.size, shown.mode.bits()), (0, 0o600));
}

#[test]
fn the_status_counts_the_pack_that_is_being_written() {
    let drive = Drive::new();
    let packs = |drive: &Drive| {
        let status = drive.volume.status().unwrap();
        (status.chunks > 0, status.packs)
    };
    assert_eq!(packs(&drive), (false, 0));
    drive.save(Ino::ROOT, "file", b"contents");
    assert_eq!(packs(&drive), (true, 1));
    let drive = drive.crash();
    assert_eq!(packs(&drive), (true, 1));
    assert_eq!(packs(&drive.reopen()), (true, 1));
}
