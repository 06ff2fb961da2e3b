//! Work that dies after each of its changes in turn.

use super::incoming::{packed, take_in};
use super::*;
use crate::recall::Sink;
use std::cell::Cell;
use std::ffi::OsString;
use std::io;

/// A tree on which only so many changes succeed: a process that dies after each of them.
struct Mortal<'a> {
    tree: Stored<'a>,
    left: Cell<u64>,
}

impl Mortal<'_> {
    fn live(&self) -> io::Result<()> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| io::Error::other("died"))?;
        self.left.set(left);
        Ok(())
    }
}

impl Tree for Mortal<'_> {
    fn shown(&self, path: &Path) -> String {
        self.tree.shown(path)
    }
    fn attr(&self, path: &Path) -> io::Result<Attr> {
        self.tree.attr(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<(OsString, FileKind)>> {
        self.tree.list(dir)
    }
    fn target(&self, path: &Path) -> io::Result<PathBuf> {
        self.tree.target(path)
    }
    fn xattr(&self, path: &Path, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.tree.xattr(path, name)
    }
    fn xattr_names(&self, path: &Path) -> io::Result<Vec<Vec<u8>>> {
        self.tree.xattr_names(path)
    }
    fn is_foreign(&self, dir: &Path) -> bool {
        self.tree.is_foreign(dir)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn recall::Source + '_>> {
        self.tree.open(path)
    }
    fn create(&self, path: &Path, cause: &str) -> io::Result<Box<dyn Sink + '_>> {
        self.live()?;
        self.tree.create(path, cause)
    }
    fn make(&self, path: &Path, like: &Attr) -> io::Result<()> {
        self.live()?;
        self.tree.make(path, like)
    }
    fn symlink(&self, path: &Path, target: &Path) -> io::Result<()> {
        self.live()?;
        self.tree.symlink(path, target)
    }
    fn link(&self, path: &Path, new: &Path) -> io::Result<()> {
        self.live()?;
        self.tree.link(path, new)
    }
    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        self.live()?;
        self.tree.rename(from, to, replace)
    }
    fn remove(&self, path: &Path, kind: FileKind) -> io::Result<()> {
        self.live()?;
        self.tree.remove(path, kind)
    }
    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        self.live()?;
        self.tree.set_owner(path, uid, gid)
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.live()?;
        self.tree.set_mode(path, mode)
    }
    fn set_times(&self, path: &Path, read: Timestamp, changed: Timestamp) -> io::Result<()> {
        self.live()?;
        self.tree.set_times(path, read, changed)
    }
    fn set_xattr(&self, path: &Path, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.live()?;
        self.tree.set_xattr(path, name, value)
    }
    fn remove_xattr(&self, path: &Path, name: &[u8]) -> io::Result<()> {
        self.live()?;
        self.tree.remove_xattr(path, name)
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        self.live()?;
        self.tree.sync(path)
    }
}

/// Runs `work` on drives that `scene` makes, dying after each change in turn, and `check`s what is left each time.
fn dying_at_each_step(
    scene: &dyn Fn(&Drive),
    work: &dyn Fn(&dyn Tree, &Drive) -> Result<()>,
    check: &dyn Fn(&Drive, bool),
) -> u64 {
    for steps in 0.. {
        let drive = Drive::new();
        scene(&drive);
        drive.tick();
        let mortal = Mortal { tree: drive.tree(), left: Cell::new(steps) };
        let lived = work(&mortal, &drive).is_ok();
        check(&drive, lived);
        if lived {
            return steps;
        }
    }
    unreachable!("it ends when it lives")
}

#[test]
fn archiving_that_dies_at_any_step_goes_on_or_back() {
    let scene = |drive: &Drive| drop(drive.project("spring"));
    let work = |tree: &dyn Tree, drive: &Drive| {
        archive(tree, OsStr::new("spring"), &drive.order(), &Unattended).map(drop)
    };
    let original = {
        let drive = Drive::new();
        scene(&drive);
        shape(&drive.tree(), Path::new(PLACES[0]))
    };
    // When the names of its directory changed is known only once the note is written.
    let timeless = |mut shape: Shape| {
        shape.get_mut(Path::new("")).unwrap().3 = Timestamp(0);
        shape
    };
    let archived_whole = |drive: &Drive| {
        assert_eq!(where_is_it(drive), [PathBuf::from(PLACES[1])]);
        assert!(is_closed(&drive.tree(), Path::new(PLACES[1])));
    };
    let back_whole = |drive: &Drive| {
        assert_eq!(where_is_it(drive), [PathBuf::from(PLACES[0])]);
        let found = shape(&drive.tree(), Path::new(PLACES[0]));
        assert_eq!(timeless(found), timeless(original.clone()));
    };
    let steps = dying_at_each_step(&scene, &work, &|drive, lived| {
        assert_eq!(where_is_it(drive).len(), 1);
        match drive.archive("spring") {
            Err(Error::Archived { .. }) => {
                assert!(lived || is_closed(&drive.tree(), Path::new(PLACES[1])))
            }
            done => drop(done.unwrap()),
        }
        archived_whole(drive);
        drive.unarchive("spring").unwrap();
        back_whole(drive);
    });
    assert!(steps > 15, "{steps}");
    dying_at_each_step(&scene, &work, &|drive, _| {
        match drive.unarchive("spring") {
            Err(Error::NotArchived { .. }) => {}
            done => drop(done.unwrap()),
        }
        back_whole(drive);
    });
    // The job goes on by itself, whatever the age.
    dying_at_each_step(&scene, &work, &|drive, _| {
        drive.job(false);
        // Nothing tells of one that died before its first word.
        note::remove_temporary(&drive.tree(), &where_is_it(drive)[0]).unwrap();
        match &where_is_it(drive)[0] {
            path if path == Path::new(PLACES[0]) => back_whole(drive),
            _ => archived_whole(drive),
        }
    });
}

#[test]
fn the_way_back_that_dies_at_any_step_goes_on() {
    let scene = |drive: &Drive| {
        drive.project("spring");
        drive.archive("spring").unwrap();
    };
    let original = {
        let drive = Drive::new();
        shape(&drive.tree(), &drive.project("spring"))
    };
    let work =
        |tree: &dyn Tree, _: &Drive| unarchive(tree, OsStr::new("spring"), &Unattended).map(drop);
    for by_job in [false, true] {
        dying_at_each_step(&scene, &work, &|drive, _| {
            assert_eq!(where_is_it(drive).len(), 1);
            if by_job {
                drive.job(false);
            }
            match drive.unarchive("spring") {
                Err(Error::NotArchived { .. }) => {}
                done => drop(done.unwrap()),
            }
            assert_eq!(where_is_it(drive), [PathBuf::from(PLACES[0])]);
            let mut found = shape(&drive.tree(), Path::new(PLACES[0]));
            // The last step but one takes the note, and with it what is known of this time.
            found.get_mut(Path::new("")).unwrap().3 = original[Path::new("")].3;
            assert_eq!(found, original);
        });
    }
}

#[test]
fn an_import_that_dies_at_any_step_goes_on() {
    let drive = Drive::new();
    let dir = drive.project("spring");
    let (bytes, original) = (packed(&drive, &dir, "spring"), shape(&drive.tree(), &dir));
    let work = |tree: &dyn Tree, _: &Drive| take_in(tree, "spring", &bytes).map(drop);
    let kept = Cell::new(0);
    dying_at_each_step(&|_| {}, &work, &|drive, lived| {
        assert!(lived || where_is_it(drive).len() <= 1);
        match take_in(&drive.tree(), "spring", &bytes) {
            // It died behind its last step.
            Err(Error::Exists { .. }) => {}
            done => kept.set(kept.get().max(done.unwrap().files_kept)),
        }
        assert_eq!(where_is_it(drive), [PathBuf::from(PLACES[0])]);
        assert_eq!(shape(&drive.tree(), Path::new(PLACES[0])), original);
    });
    assert_eq!(kept.get(), 3, "files that are there are not brought again");
}

#[test]
fn an_import_of_what_was_archived_becomes_what_it_was_wherever_it_dies() {
    let drive = Drive::new();
    let original = shape(&drive.tree(), &drive.project("spring"));
    drive.tick();
    let archived = drive.archive("spring").unwrap();
    let bytes = packed(&drive, &archived.path, "spring");
    let work = |tree: &dyn Tree, _: &Drive| take_in(tree, "spring", &bytes).map(drop);
    for by_job in [false, true] {
        dying_at_each_step(&|_| {}, &work, &|drive, lived| {
            match take_in(&drive.tree(), "spring", &bytes) {
                // It died when it was in its place: that is a way back which goes on.
                Err(Error::Exists { .. }) if by_job => drop(drive.job(false)),
                Err(Error::Exists { .. }) => match drive.unarchive("spring") {
                    Err(Error::NotArchived { .. }) => {}
                    done => drop(done.unwrap()),
                },
                done => assert!(done.is_ok() && !lived, "{done:?}"),
            }
            assert_eq!(where_is_it(drive), [PathBuf::from(PLACES[0])]);
            let mut found = shape(&drive.tree(), Path::new(PLACES[0]));
            // As above.
            found.get_mut(Path::new("")).unwrap().3 = original[Path::new("")].3;
            assert_eq!(found, original);
        });
    }
}
