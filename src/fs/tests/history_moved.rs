//! Where something went that was moved away, without a mount.

use super::history::exact;
use super::*;
use crate::model::FileKind;

impl Drive {
    fn directory(&self, parent: Ino, name: &str, mode: u32) -> Ino {
        self.volume.mkdir(&ROOT, parent, name.as_bytes(), mode).unwrap().ino
    }

    fn move_to(&self, from: (Ino, &str), to: (Ino, &str)) {
        self.tick();
        let (name, new_name) = (from.1.as_bytes(), to.1.as_bytes());
        self.volume.rename(from.0, name, to.0, new_name, RenameMode::Replace).unwrap();
    }

    /// Where the link among the versions of a name leads.
    fn moved(&self, path: &str) -> Option<String> {
        let mut links = self.names_in(path);
        links.retain(|name| name.starts_with("moved-20"));
        assert!(links.len() < 2, "{links:?}");
        let link = self.at(&format!("{path}/{}", links.pop()?));
        let target = self.volume.readlink(link.ino).unwrap();
        assert_eq!((link.kind, link.size), (FileKind::Symlink, target.len() as u64));
        Some(String::from_utf8(target).unwrap())
    }
}

#[test]
fn the_old_place_says_where_it_went() {
    let drive = exact();
    let dir = drive.directory(Ino::ROOT, "d", 0o755);
    let sub = drive.directory(dir, "sub", 0o755);
    drive.save(sub, "f", b"one");
    drive.move_to((sub, "f"), (Ino::ROOT, "g"));
    assert_eq!(drive.moved("d/sub/.versions/f").unwrap(), "../../../../g");
    assert_eq!(drive.versions("d/sub/.versions/f"), ["one"]);
    drive.move_to((Ino::ROOT, "g"), (dir, "h"));
    assert_eq!(drive.moved("d/sub/.versions/f").unwrap(), "../../../h");
    assert_eq!(drive.moved(".versions/g").unwrap(), "../../d/h");
    // In the same directory, and a folder.
    drive.move_to((dir, "h"), (dir, "i"));
    assert_eq!(drive.moved("d/.versions/h").unwrap(), "../../i");
    drive.move_to((dir, "sub"), (Ino::ROOT, "folder"));
    assert_eq!(drive.moved("d/.versions/sub").unwrap(), "../../../folder");
    let link = drive.names_in("d/.versions/h").pop().unwrap();
    let view = drive.at(&format!("d/.versions/h/{link}")).ino;
    assert!(!drive.volume.is_fixed_name(view) && !drive.volume.is_settled(view));
    assert!(matches!(drive.try_at("d/.versions/h/moved-2001-01-01T000000Z"), Err(Error::NotFound)));
    // What lives is at its place, what was deleted is nowhere.
    assert_eq!(drive.moved("d/.versions/i"), None);
    drive.volume.unlink(dir, b"i").unwrap();
    assert_eq!(drive.moved("d/.versions/h"), None);
    drive.save(dir, "sub", b"another");
    assert_eq!(drive.moved("d/.versions/sub"), None);
}

#[test]
fn it_tells_nobody_of_names_that_not_all_may_know() {
    let drive = exact();
    let secret = drive.directory(Ino::ROOT, "secret", 0o755);
    let inner = drive.directory(secret, "inner", 0o755);
    drive.save(Ino::ROOT, "f", b"one");
    drive.move_to((Ino::ROOT, "f"), (inner, "g"));
    assert_eq!(drive.moved(".versions/f").unwrap(), "../../secret/inner/g");
    for mode in [0o700, 0o711, 0o744, 0o750] {
        drive.chmod(secret, mode);
        assert_eq!(drive.moved(".versions/f"), None, "{mode:o}");
    }
    // From within, nothing is told that isn't known.
    drive.move_to((inner, "g"), (secret, "h"));
    assert_eq!(drive.moved("secret/inner/.versions/g").unwrap(), "../../../h");
}
