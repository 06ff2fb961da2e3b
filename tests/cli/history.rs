//! The commands over the past, each on a mounted drive and on a store that is not mounted.

use crate::support::{Bench, Ran};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use versofs::model::{Moment, Timestamp, moment_name};

/// Each save is a version.
const EACH_SAVE: (&str, &str) = ("VERSO_HISTORY__SLOT", "0s");
/// A user that needs no name.
const ANNA: u32 = 61_001;

/// A drive on which something has happened.
pub(crate) struct Drive {
    bench: Bench,
}

impl Drive {
    pub(crate) fn new() -> Drive {
        let drive = Drive { bench: Bench::new() };
        drive.mount("");
        drive
    }

    pub(crate) fn mount(&self, options: &str) {
        let words = format!("mount STORE DRIVE {options}");
        self.bench.with_variable(EACH_SAVE.0, EACH_SAVE.1, &words).ok();
    }

    pub(crate) fn unmount(&self) {
        self.bench.unmount();
    }

    /// Where a path of the drive is; `/` is its root.
    pub(crate) fn at(&self, path: impl AsRef<OsStr>) -> PathBuf {
        let path = Path::new(path.as_ref());
        self.bench.drive.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// `verso` with the words, and then a path of the drive: where it is mounted, or else with `--store`.
    fn command(&self, words: &str, path: impl AsRef<OsStr>) -> Command {
        let mut command = self.bench.command(words);
        command.env(EACH_SAVE.0, EACH_SAVE.1);
        match self.bench.is_mounted() {
            true => command.arg(self.at(path.as_ref())),
            false => command.arg("--store").arg(&self.bench.store).arg("--").arg(path.as_ref()),
        };
        command
    }

    pub(crate) fn verso(&self, words: &str, path: impl AsRef<OsStr>) -> Ran {
        ran(&mut self.command(words, path))
    }

    fn json(&self, words: &str, path: impl AsRef<OsStr>) -> Value {
        serde_json::from_str(&self.verso(&format!("{words} --json"), path).ok().out).unwrap()
    }

    fn cat(&self, words: &str, path: impl AsRef<OsStr>) -> String {
        self.verso(&format!("cat {words}"), path).ok().out
    }

    /// What each event was, the newest first, with the number of its version.
    fn events(&self, path: impl AsRef<OsStr>) -> Vec<(String, Option<u64>)> {
        let log = self.json("log", path);
        let event =
            |event: &Value| (event["what"].as_str().unwrap().to_owned(), event["version"].as_u64());
        log["events"].as_array().unwrap().iter().map(event).collect()
    }

    /// Does `check` while the drive is mounted, and again when it is not.
    fn both(&self, check: impl Fn(&Drive)) {
        check(self);
        self.unmount();
        check(self);
        self.mount("");
    }
}

/// A scene made anew for a mounted drive and for one that is not.
fn each_way(scene: impl Fn(&Drive), check: impl Fn(&Drive), afterwards: impl Fn(&Drive)) {
    for is_mounted in [true, false] {
        let drive = Drive::new();
        scene(&drive);
        if !is_mounted {
            drive.unmount();
        }
        check(&drive);
        if !is_mounted {
            drive.mount("");
        }
        afterwards(&drive);
    }
}

fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The present moment, as an argument.
pub(crate) fn now() -> String {
    moment_name(Moment(Timestamp::from(SystemTime::now()).0))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Everything below a directory: kinds, permissions, times, contents, targets, and which names are one file.
pub(crate) fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let (mut found, mut first_names) = (BTreeMap::new(), BTreeMap::new());
    let mut open = vec![root.to_owned()];
    let mut entries: Vec<PathBuf> = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                open.push(path.clone());
            }
            entries.push(path);
        }
    }
    entries.sort();
    for path in entries {
        let attr = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_owned();
        let first = first_names.entry(attr.ino()).or_insert_with(|| name.clone()).clone();
        let what = match attr.file_type() {
            kind if kind.is_dir() => "directory".to_owned(),
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
            kind if kind.is_file() => {
                let time = (attr.mtime(), attr.mtime_nsec());
                format!("{time:?} {:?}", String::from_utf8_lossy(&fs::read(&path).unwrap()))
            }
            _ => "special".to_owned(),
        };
        found.insert(name, format!("{:o} {first:?} {what}", attr.mode()));
    }
    found
}

#[test]
fn the_log_has_every_version_and_cat_shows_it() {
    let drive = Drive::new();
    fs::write(drive.at("a.txt"), "one").unwrap();
    fs::write(drive.at("a.txt"), "second").unwrap();
    let then = now();
    fs::write(drive.at("new.tmp"), "the third").unwrap();
    fs::rename(drive.at("new.tmp"), drive.at("a.txt")).unwrap();
    drive.both(|drive| {
        let log = drive.json("log", "a.txt");
        let events = log["events"].as_array().unwrap();
        let sizes: Vec<u64> = events.iter().map(|one| one["size"].as_u64().unwrap()).collect();
        assert_eq!(sizes, [9, 6, 3]);
        let own = fs::metadata("/proc/self").unwrap().uid();
        assert!(events.iter().all(|event| event["author"]["uid"] == own));
        let whats: Vec<String> = drive.events("a.txt").into_iter().map(|event| event.0).collect();
        assert_eq!(whats, ["replace", "save", "save"]);

        let text = drive.verso("log", "a.txt").ok().out;
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.starts_with("VERSION  TIME") && text.contains("9 B"), "{text}");
        assert_eq!(drive.verso("log --limit 1", "a.txt").ok().out.lines().count(), 3);

        assert_eq!(drive.cat("", "a.txt"), "the third");
        assert_eq!(drive.cat("--version 1", "a.txt"), "one");
        assert_eq!(drive.cat(&format!("--at {then}"), "a.txt"), "second");
        drive.verso("cat --version 99", "a.txt").fails(1, &["a.txt", "no version 99", "log"]);
        drive.verso("cat --at 1980-01-01", "a.txt").fails(1, &["a.txt", "was not there at 1980"]);
    });
}

#[test]
fn a_file_that_was_moved_shows_what_it_was_before() {
    let drive = Drive::new();
    fs::write(drive.at("before"), "old").unwrap();
    let then = now();
    fs::rename(drive.at("before"), drive.at("after")).unwrap();
    fs::write(drive.at("after"), "new").unwrap();
    drive.both(|drive| {
        assert_eq!(drive.cat(&format!("--at {then}"), "after"), "old");
        assert_eq!(drive.cat(&format!("--at {then}"), "before"), "old");
    });
}

#[test]
fn the_log_of_a_directory_says_what_happened_below() {
    let drive = Drive::new();
    fs::create_dir_all(drive.at("d/inner")).unwrap();
    fs::create_dir(drive.at("d/gone")).unwrap();
    for path in ["d/a", "d/inner/b", "d/gone/c", "outside"] {
        fs::write(drive.at(path), path).unwrap();
    }
    let then = now();
    fs::remove_dir_all(drive.at("d/gone")).unwrap();
    fs::write(drive.at("d/a"), "again").unwrap();
    symlink(drive.at(""), drive.at("d/inner/loop")).unwrap();
    drive.both(|drive| {
        let log = drive.json("log", "d");
        let paths = |log: &Value| -> Vec<String> {
            let events = log["events"].as_array().unwrap().iter();
            let saves = events.filter(|event| event["what"] == "save");
            saves.map(|event| event["path"].as_str().unwrap().to_owned()).collect()
        };
        let mut all = paths(&log);
        all.sort();
        assert_eq!(all, ["d/a", "d/a", "d/gone/c", "d/inner/b", "d/inner/loop"]);
        let mut since = paths(&drive.json(&format!("log --since {then}"), "d"));
        since.sort();
        assert_eq!(since, ["d/a", "d/inner/loop"]);
        assert!(drive.json("log --limit 1", "d")["has_more"].as_bool().unwrap());
        assert!(drive.verso("log", "/").ok().out.contains("outside"));
    });
}

#[test]
fn a_deleted_file_has_a_log_and_comes_back() {
    let scene = |drive: &Drive| {
        fs::write(drive.at("f"), "first").unwrap();
        fs::write(drive.at("f"), "last").unwrap();
        fs::remove_file(drive.at("f")).unwrap();
    };
    let check = |drive: &Drive| {
        let saves = drive.events("f").into_iter().filter(|event| event.0 == "save").count();
        assert_eq!(saves, 2);
        assert_eq!(drive.cat("", "f"), "last");
        assert_eq!(drive.cat("--version 1", "f"), "first");
        assert!(drive.verso("undelete", "f").ok().out.starts_with("restored "));
        drive.verso("undelete", "f").fails(1, &["/f: exists already", "help:"]);
        assert_eq!(drive.cat("", "f"), "last");
        assert!(drive.verso("restore --version 1", "f").ok().out.contains("version 1 of"));
    };
    each_way(scene, check, |drive| {
        assert_eq!(fs::read_to_string(drive.at("f")).unwrap(), "first");
        assert_eq!(fs::read_dir(drive.at("")).unwrap().count(), 4, "nothing is left behind");
    });
}

#[test]
fn what_is_restored_is_a_save_with_the_attributes_of_then() {
    let scene = |drive: &Drive| {
        fs::write(drive.at("f"), "old").unwrap();
        fs::set_permissions(drive.at("f"), fs::Permissions::from_mode(0o640)).unwrap();
        let file = File::options().write(true).open(drive.at("f")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        drop(file);
        fs::write(drive.at("new"), "the new content").unwrap();
        fs::rename(drive.at("new"), drive.at("f")).unwrap();
    };
    let check = |drive: &Drive| {
        drive.verso("restore", "f").ok();
        let contents: Vec<String> =
            (1..=3).map(|n| drive.cat(&format!("--version {n}"), "f")).collect();
        assert_eq!(contents, ["old", "the new content", "old"]);
    };
    each_way(scene, check, |drive| {
        let attr = fs::metadata(drive.at("f")).unwrap();
        assert_eq!((attr.mode() & 0o7777, attr.mtime(), attr.len()), (0o640, 0, 3));
    });
}

/// A tree with everything that a tree can have.
fn make_tree(drive: &Drive) {
    let root = drive.at("tree");
    fs::create_dir_all(root.join("sub/empty")).unwrap();
    fs::write(root.join("a"), "content").unwrap();
    fs::hard_link(root.join("a"), root.join("sub/same")).unwrap();
    symlink("nowhere/at all", root.join("link")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 50 << 20).unwrap();
    sparse.set_len(60 << 20).unwrap();
    drop(sparse);
    let mut set = Command::new("setfattr");
    let set = set.args(["-n", "user.tag", "-v", "kept"]).arg(root.join("a")).status();
    assert!(set.unwrap().success());
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o604)).unwrap();
    fs::set_permissions(root.join("sub"), fs::Permissions::from_mode(0o555)).unwrap();
    if is_root() {
        chown(root.join("a"), Some(ANNA), Some(ANNA)).unwrap();
    }
}

/// Without the large file's content.
fn described(root: &Path) -> BTreeMap<PathBuf, String> {
    let sparse = fs::metadata(root.join("sparse")).unwrap();
    assert_eq!((sparse.len(), sparse.blocks() < 1000), (60 << 20, true), "{sparse:?}");
    let mut found = snapshot(root);
    found.remove(Path::new("sparse"));
    let owner = fs::metadata(root.join("a")).unwrap().uid();
    let mut tag = Command::new("getfattr");
    tag.args(["--only-values", "-n", "user.tag"]).arg(root.join("a"));
    let tag = tag.output().unwrap();
    found.insert("owner of a".into(), owner.to_string());
    found.insert("tag of a".into(), String::from_utf8(tag.stdout).unwrap());
    found
}

#[test]
fn a_deleted_folder_comes_back_whole() {
    let before = std::cell::RefCell::new(BTreeMap::new());
    let scene = |drive: &Drive| {
        make_tree(drive);
        *before.borrow_mut() = described(&drive.at("tree"));
        fs::set_permissions(drive.at("tree/sub"), fs::Permissions::from_mode(0o755)).unwrap();
        // As it was: the mode of a moment ago is what a slot of this length remembers.
        fs::set_permissions(drive.at("tree/sub"), fs::Permissions::from_mode(0o555)).unwrap();
        let removed = Command::new("rm").arg("-rf").arg(drive.at("tree")).status().unwrap();
        if !removed.success() {
            fs::rename(drive.at("tree"), drive.at("elsewhere")).unwrap();
        }
    };
    let check = |drive: &Drive| {
        if !is_root() {
            return;
        }
        let out = drive.bench.path("out");
        let mut command = drive.command("undelete --to out", "tree");
        ran(&mut command).ok();
        assert_eq!(described(&out), *before.borrow());
        ran(&mut drive.command("undelete --to out/link", "tree")).fails(1, &["exists already"]);
        drive.verso("undelete", "tree").ok();
        drive.verso("restore", "tree").fails(1, &["exists already", "rewind"]);
        drive.verso("undelete", "never/there").fails(1, &["never/there", "nothing by this name"]);
    };
    each_way(scene, check, |drive| {
        if is_root() {
            assert_eq!(described(&drive.at("tree")), *before.borrow());
        }
    });
}

#[test]
fn the_log_tells_what_was_brought_back() {
    let drive = Drive::new();
    fs::create_dir(drive.at("d")).unwrap();
    fs::write(drive.at("d/f"), "first").unwrap();
    let then = now();
    fs::write(drive.at("d/f"), "second").unwrap();
    drive.verso("restore --version 1", "d/f").ok();
    fs::write(drive.at("d/f"), "third").unwrap();
    drive.verso(&format!("rewind --at {then}"), "d").ok();
    drive.both(|drive| {
        let whats: Vec<String> = drive.events("d/f").into_iter().map(|event| event.0).collect();
        assert_eq!(whats, ["rewind", "save", "restore", "save", "save"]);
    });
}

#[test]
fn a_folder_that_is_undeleted_keeps_the_history_within() {
    let scene = |drive: &Drive| {
        fs::create_dir(drive.at("d")).unwrap();
        fs::write(drive.at("d/f"), "first").unwrap();
        fs::write(drive.at("d/f"), "last").unwrap();
        fs::remove_dir_all(drive.at("d")).unwrap();
    };
    let check = |drive: &Drive| {
        assert!(drive.verso("undelete", "d").ok().out.contains("with its history"));
        assert_eq!(drive.cat("--version 1", "d/f"), "first");
    };
    each_way(scene, check, |drive| assert_eq!(fs::read(drive.at("d/f")).unwrap(), b"last"));
}

/// Programs empty a file, or move it away, before they write it anew.
#[test]
fn what_is_gone_is_told_from_what_is_written_anew() {
    let drive = Drive::new();
    for text in ["one", "two"] {
        fs::write(drive.at("f"), text).unwrap();
    }
    fs::rename(drive.at("f"), drive.at("f~")).unwrap();
    fs::write(drive.at("f"), "three").unwrap();
    fs::rename(drive.at("f~"), drive.at("g")).unwrap();
    fs::remove_file(drive.at("f")).unwrap();
    drive.both(|drive| {
        let whats = |path: &str| -> Vec<String> {
            drive.events(path).into_iter().map(|event| event.0).collect()
        };
        assert_eq!(whats("f"), ["delete", "save", "save", "save"]);
        assert_eq!(whats("f~")[0], "move");
        assert!(drive.verso("log", "f~").ok().out.contains("f~ → g"));
        assert!(whats("g").iter().all(|what| what != "gone" && what != "delete"));
        let log = drive.json("log --hash", "f");
        assert_eq!((&log["is_there"], log["deleted"].is_string()), (&Value::Bool(false), true));
        assert_eq!(log["events"][1]["hash"].as_str().unwrap().len(), 64);
        assert!(drive.verso("log", "f").ok().out.lines().nth(1).unwrap().contains("delete"));
    });
}

#[test]
fn a_file_in_a_deleted_folder_is_found() {
    let drive = Drive::new();
    fs::create_dir_all(drive.at("gone/inner")).unwrap();
    fs::write(drive.at("gone/inner/f"), "content").unwrap();
    let then = now();
    fs::remove_dir_all(drive.at("gone")).unwrap();
    drive.both(|drive| {
        assert_eq!(drive.cat("", "gone/inner/f"), "content");
        assert_eq!(drive.cat(&format!("--at {then}"), "gone/inner/f"), "content");
        assert_eq!(drive.json("log", "gone/inner/f")["events"][0]["path"], "gone/inner/f");
        let to = format!("restore --at {then} --to out");
        drive.verso(&to, "gone/inner/f").ok();
        assert_eq!(fs::read_to_string(drive.bench.path("out")).unwrap(), "content");
        drive.verso(&to, "gone/inner/f").fails(1, &["out: exists already", "--force"]);
        drive.verso(&format!("{to} --force"), "gone/inner/f").ok();
        fs::remove_file(drive.bench.path("out")).unwrap();
        fs::create_dir(drive.bench.path("into")).unwrap();
        drive.verso("undelete --to into", "gone/inner/f").ok();
        assert_eq!(fs::read_to_string(drive.bench.path("into/f")).unwrap(), "content");
        fs::remove_dir_all(drive.bench.path("into")).unwrap();
    });
}

#[test]
fn a_folder_that_was_made_anew_shows_what_was_there() {
    let drive = Drive::new();
    fs::create_dir(drive.at("export")).unwrap();
    fs::write(drive.at("export/f"), "before").unwrap();
    let then = now();
    fs::remove_dir_all(drive.at("export")).unwrap();
    fs::create_dir(drive.at("export")).unwrap();
    fs::write(drive.at("export/f"), "after").unwrap();
    drive.both(|drive| {
        assert_eq!(drive.cat(&format!("--at {then}"), "export/f"), "before");
        let log = drive.json("log", "export/f");
        let saves = log["events"].as_array().unwrap().iter().filter(|one| one["what"] != "delete");
        assert_eq!(saves.count(), 2, "{log}");
    });
}

#[test]
fn odd_names_are_names() {
    let long = "x".repeat(255);
    let names: [&[u8]; 9] = [
        b"two words",
        b"line\nbreak",
        b"not \xff UTF-8",
        b"-dash",
        b"@at",
        b"@home",
        b"f~v3.txt",
        b"it's",
        long.as_bytes(),
    ];
    let drive = Drive::new();
    for name in names {
        let path = drive.at(OsStr::from_bytes(name));
        fs::write(&path, "old").unwrap();
        fs::write(&path, "new").unwrap();
    }
    let then = now();
    for name in names {
        fs::remove_file(drive.at(OsStr::from_bytes(name))).unwrap();
    }
    drive.both(|drive| {
        for name in names.map(OsStr::from_bytes) {
            assert_eq!(drive.cat("--version 1", name), "old", "{name:?}");
            assert_eq!(drive.cat(&format!("--at {then}"), name), "new", "{name:?}");
            assert_eq!(drive.cat("", name), "new", "{name:?}");
            let text = drive.verso("log", name).ok().out;
            assert!(text.lines().count() >= 3, "{text}");
        }
        let text = drive.verso("log", "/").ok().out;
        assert!(text.contains("line\\nbreak") && text.contains("not \\xff UTF-8"), "{text}");
    });
    for name in names.map(OsStr::from_bytes) {
        drive.verso("undelete", name).ok();
        assert_eq!(fs::read_to_string(drive.at(name)).unwrap(), "new");
    }
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    let drive = Drive::new();
    fs::write(drive.at("f"), "x").unwrap();
    drive.both(|drive| {
        for command in ["log", "cat", "diff", "restore"] {
            drive.verso(command, "typo").fails(1, &["typo", "history knows of nothing", "help:"]);
            drive.verso(command, "f/below").fails(1, &["f/below"]);
        }
        for words in ["cat --at soon", "diff --from soon", "log --since soon", "rewind --at soon"] {
            drive.verso(words, "f").fails(2, &["`soon` is not understood", "2h ago"]);
        }
        drive.verso("cat --at 2200-01-01", "f").fails(2, &["is in the future"]);
        drive.verso("cat --version 1 --at now", "f").fails(2, &["cannot be used with"]);
        drive.verso("cat", ".versions/f").fails(2, &["is history itself", "--version"]);
        drive.verso("diff", "shared").fails(1, &["shared: was not there at", "--from"]);
        drive.verso("cat", "shared").fails(1, &["shared: is a directory"]);
        drive.verso("restore", "f").fails(1, &["no version before the present one"]);
        drive.verso("rewind --at now", "f").fails(1, &["is not a directory"]);
        drive.verso("restore --version 1 --to no/where", "f").fails(1, &["no/where", "mkdir -p"]);
    });
    drive.bench.verso("log /proc/self").fails(5, &["is on no mounted drive", "--store"]);
    drive.unmount();
    drive.bench.verso("log --store STORE a/../b").fails(2, &["`..` leads nowhere"]);
    drive.bench.verso("log --store nowhere a").fails(5, &["nowhere"]);
    drive.bench.verso("log --store DRIVE a").fails(5, &["drive"]);
}

#[test]
fn a_drive_without_the_directory_says_so_and_its_store_still_answers() {
    let drive = Drive { bench: Bench::new() };
    let name = "VERSO_HISTORY__DIRECTORY";
    drive.bench.with_variable(name, "false", "mount STORE DRIVE").ok();
    fs::write(drive.at("f"), "x").unwrap();
    drive.verso("log", "f").fails(1, &["shows no history", "[history]"]);
    drive.unmount();
    let mut command = drive.command("cat --version 1", "f");
    assert_eq!(ran(command.env(name, "false")).ok().out, "x");
}

#[test]
fn a_store_that_is_mounted_is_asked_through_its_mount() {
    let drive = Drive::new();
    fs::write(drive.at("f"), "one").unwrap();
    fs::write(drive.at("f"), "two").unwrap();
    let mut command = drive.bench.command("restore --store STORE /f");
    ran(command.env(EACH_SAVE.0, EACH_SAVE.1)).ok();
    assert_eq!(fs::read_to_string(drive.at("f")).unwrap(), "one");
}

#[test]
fn the_present_directory_and_symbolic_links_on_the_way_are_followed() {
    let drive = Drive::new();
    fs::write(drive.at("shared/f"), "one").unwrap();
    fs::remove_file(drive.at("shared/f")).unwrap();
    symlink(drive.at("shared"), drive.bench.path("way")).unwrap();
    assert_eq!(drive.bench.verso("cat way/f").ok().out, "one");
    let mut command = drive.bench.command("undelete ./f");
    ran(command.current_dir(drive.at("shared"))).ok();
    assert_eq!(fs::read_to_string(drive.at("shared/f")).unwrap(), "one");
}

#[test]
fn text_is_compared_by_lines_and_pictures_by_dimensions() {
    let gif = |width: u8, rest: &str| [b"GIF89a", &[width, 0, 9, 0][..], rest.as_bytes()].concat();
    let drive = Drive::new();
    fs::write(drive.at("t"), "a\nb\nc\n").unwrap();
    fs::write(drive.at("p"), gif(7, "\0\0")).unwrap();
    fs::write(drive.at("b"), b"\0one").unwrap();
    let then = now();
    fs::write(drive.at("t"), "a\nB\nc\n").unwrap();
    fs::write(drive.at("p"), gif(8, "\0\0\0")).unwrap();
    fs::write(drive.at("b"), b"\0two!").unwrap();
    drive.both(|drive| {
        let text = drive.verso("diff", "t").ok().out;
        assert!(text.contains("-b\n+B\n") && text.contains("t version 1\n+++"), "{text}");
        let since = format!("diff --from {then}");
        assert!(drive.verso(&since, "t").ok().out.contains("\n-b\n+B\n"));
        let still = format!("diff --from {then} --to {then}");
        assert!(drive.verso(&still, "t").ok().out.starts_with("no difference"));
        let text = drive.verso("diff", "p").ok().out;
        assert!(text.contains("dimensions: 7×9 → 8×9\nsize: 12 B → 13 B"), "{text}");
        assert_eq!(drive.json("diff", "p")["detail"]["after"][0], 8);
        assert!(drive.verso("diff", "b").ok().out.ends_with("size: 4 B → 5 B\n"));
        let text = drive.verso("diff --from 1990-01-01", "t").ok().out;
        assert!(text.contains("+a\n+B\n+c"), "{text}");
    });
}

/// Changes of each kind within a tree; what `diff` calls them, sorted.
const CHANGES: [&str; 9] = [
    "added fresh",
    "attributes mode",
    "changed other-kind",
    "changed same-size",
    "changed text",
    "deleted deep",
    "deleted deep/f",
    "moved away → moved/away",
    "moved big → copy of big",
];

fn change_everything(drive: &Drive) -> String {
    let dir = drive.at("d");
    let at = |name: &str| dir.join(name);
    fs::create_dir_all(at("deep")).unwrap();
    fs::create_dir_all(at("moved")).unwrap();
    for name in ["text", "mode", "deep/f", "away", "same", "big", "same-size"] {
        fs::write(at(name), name.repeat(3)).unwrap();
    }
    symlink("a", at("other-kind")).unwrap();
    let then = now();
    fs::write(at("text"), "another text").unwrap();
    fs::write(at("same-size"), "same-sizE".repeat(3)).unwrap();
    fs::set_permissions(at("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_dir_all(at("deep")).unwrap();
    fs::rename(at("away"), at("moved/away")).unwrap();
    fs::copy(at("big"), at("copy of big")).unwrap();
    fs::remove_file(at("big")).unwrap();
    fs::remove_file(at("other-kind")).unwrap();
    symlink("b", at("other-kind")).unwrap();
    fs::write(at("fresh"), "fresh").unwrap();
    then
}

#[test]
fn trees_are_compared_by_what_happened_to_each_name() {
    let drive = Drive::new();
    let then = change_everything(&drive);
    drive.both(|drive| {
        let diff = drive.json(&format!("diff --from {then}"), "d");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let changes = diff["changes"].as_array().unwrap().iter();
        let mut found: Vec<String> = changes
            .map(|change| format!("{} {}", text(&change["what"]), text(&change["path"])))
            .collect();
        let moved = diff["moved"].as_array().unwrap().iter();
        found.extend(
            moved.map(|one| format!("moved {} → {}", text(&one["from"]), text(&one["to"]))),
        );
        found.sort();
        assert_eq!(found, CHANGES);
        let text = drive.verso(&format!("diff --from {then}"), "d").ok().out;
        assert!(text.ends_with("1 added, 3 changed, 1 attributes, 2 deleted, 2 moved\n"), "{text}");
        assert!(drive.verso("diff --from now", "d").ok().out.ends_with("no difference\n"));
    });
}

#[test]
fn a_rewind_is_exact_and_can_be_undone() {
    for is_mounted in [true, false] {
        let drive = Drive::new();
        let then = change_everything(&drive);
        let before = snapshot(&drive.at("d"));
        let stays = snapshot(&drive.at("shared"));
        if !is_mounted {
            drive.unmount();
        }
        let preview = drive.verso(&format!("rewind --preview --at {then}"), "d").ok().out;
        assert!(
            preview.contains("restored    deep/f") && preview.contains("removed     fresh"),
            "{preview}"
        );
        let said = drive.verso(&format!("rewind --at {then}"), "d").ok().out;
        let undo = said.lines().last().unwrap().strip_prefix("to undo: verso ").unwrap();
        // What it was is known from the past itself.
        if !is_mounted {
            drive.mount("");
        }
        let was = snapshot(&drive.at("d/.versions/@at").join(&then));
        let is = snapshot(&drive.at("d"));
        assert_eq!(is.keys().collect::<Vec<_>>(), was.keys().collect::<Vec<_>>());
        for (path, was) in &was {
            assert_eq!(&is[path], was, "{path:?}");
        }
        assert_eq!(snapshot(&drive.at("shared")), stays);
        let again = drive.verso(&format!("rewind --at {then}"), "d").ok().out;
        assert!(again.contains("nothing to do"), "{again}");
        if !is_mounted {
            drive.unmount();
        }
        drive.bench.with_variable(EACH_SAVE.0, EACH_SAVE.1, undo).ok();
        if !is_mounted {
            drive.mount("");
        }
        assert_eq!(snapshot(&drive.at("d")), before);
    }
}

#[test]
fn a_rewind_keeps_links_apart_and_together() {
    let drive = Drive::new();
    let at = |name: &str| drive.at("shared").join(name);
    fs::write(at("a"), "linked").unwrap();
    fs::hard_link(at("a"), at("b")).unwrap();
    fs::write(at("c"), "alone").unwrap();
    fs::write(at("d"), "alone").unwrap();
    let then = now();
    fs::remove_file(at("b")).unwrap();
    fs::remove_file(at("d")).unwrap();
    fs::hard_link(at("c"), at("d")).unwrap();
    drive.verso(&format!("rewind --at {then}"), "shared").ok();
    let ino = |name: &str| fs::metadata(at(name)).unwrap().ino();
    assert_eq!(ino("a"), ino("b"));
    assert_ne!(ino("c"), ino("d"));
}

#[test]
fn a_project_with_stages_comes_back_as_it_was() {
    let scene = |drive: &Drive| {
        fs::create_dir(drive.at("projects/p")).unwrap();
        fs::write(drive.at("projects/p/original/f"), "f").unwrap();
        fs::remove_dir(drive.at("projects/p/drafts")).unwrap();
        fs::remove_dir_all(drive.at("projects/p")).unwrap();
    };
    let check = |drive: &Drive| drop(drive.verso("undelete", "projects/p").ok());
    each_way(scene, check, |drive| {
        let mut names: Vec<OsString> = fs::read_dir(drive.at("projects/p"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(fs::read_to_string(drive.at("projects/p/original/f")).unwrap(), "f");
        assert!(names.contains(&"final".into()) && names.contains(&"original".into()), "{names:?}");
    });
}

#[test]
fn what_a_program_has_not_closed_is_not_lost_to_a_rewind() {
    let drive = Drive::new();
    let then = now();
    let mut file = File::create(drive.at("open")).unwrap();
    std::io::Write::write_all(&mut file, b"not closed yet").unwrap();
    let said = drive.verso(&format!("rewind --at {then}"), "/").ok().out;
    assert!(!drive.at("open").exists());
    drop(file);
    let undo = said.lines().last().unwrap().strip_prefix("to undo: verso ").unwrap();
    drive.bench.verso(undo).ok();
    assert_eq!(fs::read_to_string(drive.at("open")).unwrap(), "not closed yet");
}

#[test]
fn restoring_takes_no_space() {
    let scene = |drive: &Drive| {
        let mut bytes = vec![0; 8 << 20];
        let mut state = 1_u64;
        for byte in &mut bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        fs::write(drive.at("f"), bytes).unwrap();
        fs::write(drive.at("f"), "small").unwrap();
    };
    let stored =
        |drive: &Drive| drive.bench.status("STORE")["volume"]["stored_bytes"].as_u64().unwrap();
    let check = |drive: &Drive| {
        let before = stored(drive);
        assert!(before > 8 << 20);
        drive.verso("restore", "f").ok();
        assert!(stored(drive) < before + (1 << 20));
    };
    each_way(scene, check, |drive| assert_eq!(fs::metadata(drive.at("f")).unwrap().len(), 8 << 20));
}

/// A drive that other users can come to; `None`, if that is not possible here.
fn shared_drive() -> Option<Drive> {
    if !is_root() {
        let complete =
            ["CI", "VERSO_TESTS_COMPLETE"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!complete, "it takes root to be another user");
        eprintln!("skipped: it takes root to be another user");
        return None;
    }
    let drive = Drive { bench: Bench::new() };
    drive.mount("--allow-other");
    // The drive, and the program, must be within their reach.
    fs::set_permissions(drive.bench.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Not by this process: what another test starts at this moment would have it open for writing.
    let verso = drive.bench.path("verso");
    assert!(
        Command::new("cp").arg(env!("CARGO_BIN_EXE_verso")).arg(verso).status().unwrap().success()
    );
    Some(drive)
}

/// `verso`, run by Anna at the drive's root.
fn as_anna(drive: &Drive, args: &[&str]) -> Ran {
    let mut command = Command::new(drive.bench.path("verso"));
    command.args(args).current_dir(drive.at("")).uid(ANNA).gid(ANNA);
    ran(command.env_remove("VERSO_CONFIG"))
}

#[test]
fn what_cannot_be_given_back_to_its_owner_is_said() {
    let Some(drive) = shared_drive() else { return };
    fs::create_dir(drive.at("common")).unwrap();
    fs::set_permissions(drive.at("common"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(drive.at("common/roots"), "root's").unwrap();
    fs::write(drive.at("common/stays"), "stays").unwrap();
    let then = now();
    fs::remove_file(drive.at("common/roots")).unwrap();
    fs::set_permissions(drive.at("common/stays"), fs::Permissions::from_mode(0o604)).unwrap();
    let said = as_anna(&drive, &["rewind", "common", "--at", &then]).ok().out;
    assert!(said.contains("\n2 of them have another owner or other attributes"), "{said}");
    let attr = fs::metadata(drive.at("common/roots")).unwrap();
    assert_eq!((attr.uid(), attr.len()), (ANNA, 6));
    assert_eq!(fs::metadata(drive.at("common/stays")).unwrap().mode() & 0o777, 0o604);
}

#[test]
fn who_may_not_read_a_file_may_not_read_its_past() {
    let Some(drive) = shared_drive() else { return };
    fs::write(drive.at("secret"), "secret").unwrap();
    fs::set_permissions(drive.at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(drive.at("secret"), "more secret").unwrap();
    fs::write(drive.at("open"), "open").unwrap();
    let as_anna = |args: &[&str]| as_anna(&drive, args);
    as_anna(&["cat", "secret"]).fails(1, &["secret", "ermission denied", "same rights"]);
    as_anna(&["diff", "secret"]).fails(1, &["ermission denied"]);
    as_anna(&["restore", "secret"]).fails(1, &["ermission denied"]);
    as_anna(&["restore", "secret", "--version", "1", "--to", "/tmp/"]).fails(1, &["ermission"]);
    assert_eq!(as_anna(&["cat", "open"]).ok().out, "open");
    as_anna(&["rewind", ".", "--at", "1h ago"]).fails(1, &["was not there"]);
    assert_eq!(fs::read_to_string(drive.at("secret")).unwrap(), "more secret");
    let left: Vec<OsString> =
        fs::read_dir(drive.at("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "{left:?}");
}

#[test]
fn a_moment_is_kept_by_a_name() {
    let scene = |drive: &Drive| {
        fs::create_dir(drive.at("d")).unwrap();
        fs::write(drive.at("d/f"), "approved").unwrap();
    };
    each_way(
        scene,
        |drive| {
            let ran_with = |words: &str, name: &str| ran(drive.command(words, "d").arg(name));
            let said = ran_with("pin", "client approved").ok().out;
            assert!(said.contains(".versions/@pins/client approved"), "{said}");
            let json = ran_with("pin --at now --json", "again").ok().out;
            let json: Value = serde_json::from_str(&json).unwrap();
            assert_eq!((&json["name"], &json["pinned"]), (&"again".into(), &true.into()));
            let taken = ran_with("pin", "client approved");
            assert!(taken.code == Some(1) && taken.err.contains("stands for"), "{}", taken.err);
            for wrong in ["", "a/b", "..", &"x".repeat(201)] {
                assert_eq!(ran_with("pin", wrong).code, Some(2), "{wrong}");
            }
            let early = ran_with("pin --at 2001-01-01", "early");
            assert!(early.code == Some(1) && early.err.contains("was not there"), "{}", early.err);
            ran_with("unpin", "again").ok();
            assert!(ran_with("unpin", "again").err.contains("there is no pin"));
            assert!(ran(drive.command("pin", "d/f").arg("p")).err.contains("not a directory"));
            assert!(ran(drive.command("pin", "never").arg("p")).err.contains("is not there"));
        },
        |drive| {
            fs::write(drive.at("d/f"), "changed").unwrap();
            let kept = drive.at("d/.versions/@pins");
            let names: Vec<_> =
                fs::read_dir(&kept).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names, ["client approved"]);
            assert_eq!(fs::read_to_string(kept.join("client approved/f")).unwrap(), "approved");
        },
    );
}
