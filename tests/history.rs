//! `.versions` through a real mount, with the programs that people use.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use support::{TestStore, os};
use versofs::fs::{Volume, VolumeOptions};
use versofs::fuse::{MountOptions, Mounted, mount};

/// A user that needs no name.
const ANNA: u32 = 61_001;

/// A mounted drive on which each save is a version.
struct Drive {
    mounted: Option<Mounted>,
    volume: Arc<Volume>,
    root: PathBuf,
    _store: TestStore,
}

impl Drive {
    fn new() -> Drive {
        Drive::with(VolumeOptions { coalesce: Duration::ZERO, ..VolumeOptions::default() })
    }

    fn with(options: VolumeOptions) -> Drive {
        let store = TestStore::new();
        let volume = store.open_with(options);
        let root = store.mountpoint();
        let all = os::is_root();
        let options = MountOptions { allow_other: all, source: store.path(), ..Default::default() };
        let mounted = mount(Arc::clone(&volume), &root, &options).unwrap();
        if all {
            os::chmod(&root, 0o755).unwrap();
            os::chmod(store.path().parent().unwrap(), 0o755).unwrap();
        }
        Drive { mounted: Some(mounted), volume, root, _store: store }
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// Runs a line of shell in the root, which must succeed.
    fn run(&self, line: &str) -> String {
        let mut shell = Command::new("sh");
        let output = shell.args(["-ec", line]).current_dir(&self.root).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Whether a line of shell succeeds.
    fn works(&self, user: u32, line: &str) -> bool {
        let mut shell = Command::new("sh");
        shell.args(["-ec", line]).current_dir(&self.root).uid(user).gid(user);
        shell.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        shell.status().unwrap().success()
    }

    /// The contents of the versions of a name, in order of their numbers.
    fn versions(&self, path: &str) -> Vec<String> {
        let mut files: Vec<PathBuf> = paths(&self.at(path));
        files.retain(|path| !path.is_symlink());
        files.sort_by_key(|path| number(path));
        let text = |path: &PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        files.iter().map(text).collect()
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        let Some(mounted) = self.mounted.take() else { return };
        mounted.unmount(true).unwrap();
        mounted.wait(Duration::from_secs(30));
        drop(mounted);
        let _ = self.volume.close();
    }
}

fn own_user() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

fn paths(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut names: Vec<_> = paths(dir).iter().map(name).collect();
    names.sort();
    names
}

/// The number in a version's name.
fn number(path: &Path) -> u64 {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let (_, number) = name.rsplit_once("~v").unwrap();
    number.split('.').next().unwrap().parse().unwrap()
}

/// A program that another thread starts, or that a shell starts for its script, closes what it inherited.
#[test]
fn a_child_that_closes_what_it_inherited_saves_nothing() {
    let drive = Drive::new();
    fs::write(drive.at("f"), "the whole old content").unwrap();
    let mut file = File::create(drive.at("f")).unwrap();
    Command::new("true").status().unwrap();
    file.write_all(b"the whole ").unwrap();
    Command::new("true").status().unwrap();
    file.write_all(b"new content").unwrap();
    drop(file);
    let contents = drive.versions(".versions/f");
    assert_eq!(contents, ["the whole old content", "the whole new content"]);
}

/// … unless it wrote: then its `close` promises as much as anybody's.
#[test]
fn a_child_that_wrote_to_what_it_inherited_saves_it() {
    let drive = Drive::new();
    let file = File::create(drive.at("f")).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "printf child"]).stdout(file.try_clone().unwrap()).status().unwrap();
    drop(shell);
    assert_eq!(drive.versions(".versions/f"), ["child"]);
    // Another thread of the same process.
    (&file).write_all(b" and thread").unwrap();
    std::thread::scope(|scope| scope.spawn(|| drop(file)).join().unwrap());
    assert_eq!(drive.versions(".versions/f"), ["child", "child and thread"]);
}

/// Saves ten times by a line of shell, in which `$TEXT` is the content of `f`.
#[track_caller]
fn ten_saves(line: &str) {
    let drive = Drive::new();
    let texts: Vec<String> = (0..10).map(|save| format!("save {save}\n")).collect();
    for text in &texts {
        drive.run(&format!("TEXT='{}'; {line}", text.trim_end()));
        assert_eq!(&fs::read_to_string(drive.at("f")).unwrap(), text);
    }
    assert_eq!(drive.versions(".versions/f"), texts, "{line}");
}

#[test]
fn ten_saves_are_ten_versions_however_a_program_saves() {
    ten_saves("echo $TEXT > f");
    ten_saves("echo $TEXT > .f.tmp; mv .f.tmp f");
    ten_saves("echo $TEXT > f.new; sync f.new; mv f.new f");
    ten_saves("[ ! -e f ] || mv f f~; echo $TEXT > f");
    ten_saves("[ ! -e f ] || cp -p f f~; echo $TEXT > f; rm -f f~");
    ten_saves("echo $TEXT > b; [ ! -e f ] || mv f f.tmp; mv b f; rm -f f.tmp");
    ten_saves("rm -f f; echo $TEXT > f");
    ten_saves("if [ -e f ]; then sed -i \"c $TEXT\" f; else echo $TEXT > f; fi; touch f");
}

#[test]
fn programs_save_versions() {
    let drive = Drive::new();
    fs::write(drive.at("f"), "save 0\n").unwrap();
    for save in 1..5 {
        drive.run(&format!("sed -i 's/save .*/save {save}/' f"));
    }
    let texts: Vec<_> = (0..5).map(|save| format!("save {save}\n")).collect();
    assert_eq!(drive.versions(".versions/f"), texts);
    let source = tempfile::tempdir().unwrap();
    for (save, flags) in [(5, ""), (6, "--inplace"), (7, "")] {
        fs::write(source.path().join("f"), format!("save {save} with rsync\n")).unwrap();
        if Command::new("rsync").arg("--version").output().is_err() {
            return;
        }
        let line = format!("rsync --checksum {flags} {}/f .", source.path().display());
        drive.run(&line);
    }
    assert_eq!(drive.versions(".versions/f").len(), 8);
}

#[test]
fn vim_saves_versions_in_each_of_its_ways() {
    if Command::new("vim").arg("--version").output().is_err() {
        eprintln!("skipped: there is no vim");
        return;
    }
    for settings in
        ["backupcopy=no writebackup", "backupcopy=yes writebackup", "backup backupdir=."]
    {
        let drive = Drive::new();
        fs::write(drive.at("f"), "save 0\n").unwrap();
        for save in 1..10 {
            let edit = format!("-c 'set {settings}' -c '%s/save .*/save {save}/' -c wq");
            drive.run(&format!("vim -es -u NONE -i NONE {edit} f </dev/null"));
        }
        let texts: Vec<_> = (0..10).map(|save| format!("save {save}\n")).collect();
        assert_eq!(drive.versions(".versions/f"), texts, "{settings}");
    }
}

#[test]
fn no_program_walks_into_history_by_itself() {
    let drive = Drive::new();
    drive.run("mkdir d; echo one > d/f; echo two > d/f");
    drive.run("ls .versions d/.versions d/.versions/f d/.versions/@at > /dev/null");
    let all = drive.run("find . | sort");
    assert!(!all.contains(".versions"), "{all}");
    assert!(!drive.run("ls -aR").contains(".versions"));
    assert!(!drive.run("tar cf - . | tar tf -").contains(".versions"));
    drive.run("cp -r d copy; rm -rf d");
    assert!(!drive.at("d").exists());
    assert_eq!(names(&drive.at("copy")), ["f"]);
    assert_eq!(drive.run("cat .versions/@deleted/d/f"), "two\n");
    assert_eq!(drive.run("cp -r .versions/@deleted/d back; cat back/f"), "two\n");
    // Back to its own place: its name lives again while it is copied.
    assert_eq!(drive.run("cp -r .versions/@deleted/d .; cat d/f"), "two\n");
}

#[test]
fn find_and_stat_agree_within_history() {
    let drive = Drive::new();
    drive.run("mkdir -p d/a/b; echo one > d/a/b/f; ln -s f d/a/b/l; echo two > d/g; ln d/g d/h");
    let shown = drive.run("cd d/.versions/@at/now; find . -type f -o -type l -o -type d | sort");
    assert_eq!(shown, "./.\n./a\n./a/b\n./a/b/f\n./a/b/l\n./g\n./h\n".replacen("./.\n", ".\n", 1));
    drive.run("cmp d/g d/.versions/@at/now/h");
    assert_eq!(drive.run("readlink d/.versions/@at/now/a/b/l"), "f\n");
    let then = drive.at("d/.versions/@at/now/g");
    let (one, living) = (fs::metadata(&then).unwrap(), fs::metadata(drive.at("d/g")).unwrap());
    assert_eq!((one.size(), one.mtime_nsec(), one.mode()), (4, living.mtime_nsec(), living.mode()));
    assert_ne!(one.ino(), living.ino());
    let version = paths(&drive.at("d/.versions/g")).remove(0);
    assert_eq!(fs::metadata(&version).unwrap().ino(), fs::metadata(&version).unwrap().ino());
    drive.run("cd d/.versions/g; stat -c %s *; ls -l; getfattr -d -m - * | grep verso.version");
}

#[test]
fn now_moves_on_and_a_moment_stays() {
    let drive = Drive::new();
    drive.run("echo one > f");
    assert_eq!(drive.run("cat .versions/@at/now/f"), "one\n");
    drive.run("echo two > f; echo new > g");
    assert_eq!(drive.run("cat .versions/@at/now/f .versions/@at/now/g"), "two\nnew\n");
    assert!(!drive.at(".versions/h").exists());
    drive.run("echo three > h");
    assert!(drive.at(".versions/h").exists());
    assert_eq!(drive.run("ls .versions/f | wc -l").trim(), "2");
    drive.run("echo four > f");
    assert_eq!(drive.run("ls .versions/f | wc -l").trim(), "3");
    let moments = names(&drive.at(".versions/@at"));
    assert!(!moments.is_empty());
    for moment in &moments {
        assert!(drive.at(".versions/@at").join(moment).is_dir(), "{moment}");
    }
}

#[test]
fn deleted_shows_the_newest_deletion_however_it_was_looked_at() {
    let drive = Drive::new();
    for text in ["one", "two", "three"] {
        drive.run(&format!("echo {text} > f; rm f"));
        drive.run("ls -l .versions/@deleted > /dev/null; stat .versions/@deleted/f > /dev/null");
        assert_eq!(drive.run("cat .versions/@deleted/f"), format!("{text}\n"));
        drive.run("echo living > f");
        assert!(!names(&drive.at(".versions/@deleted")).contains(&"f".to_owned()));
        drive.run("rm f");
        assert_eq!(drive.run("cat .versions/@deleted/f"), "living\n");
        drive.run("echo again > f");
    }
}

#[test]
fn a_windows_server_asks_in_its_own_words() {
    let drive = Drive::new();
    drive.run("mkdir -p d/e; echo one > d/e/f");
    let stamp =
        drive.run("date -u -d '1 second' +@GMT-%Y.%m.%d-%H.%M.%S; sleep 2.1; echo two > d/e/f");
    let stamp = stamp.trim();
    assert_eq!(
        drive.run(&format!("cat d/e/.versions/{stamp}/f d/.versions/{stamp}/e/f")),
        "one\none\n"
    );
    assert_eq!(drive.run(&format!("cat .versions/{stamp}/d/e/f")), "one\n");
    assert!(!drive.at(".versions/@GMT-2999.01.01-00.00.00").exists());
}

#[test]
fn odd_names_have_versions_too() {
    let drive = Drive::new();
    let long = "n".repeat(255);
    let odd: [&[u8]; 9] = [
        b"-rf",
        b".hidden",
        b"@at",
        b"@@deleted",
        b"two words\nand lines",
        b"\xff\xfe.jpg",
        b"~v1",
        b"a~2026-09-14T103212Z~v42.psd",
        long.as_bytes(),
    ];
    for name in odd {
        let name = OsStr::from_bytes(name);
        fs::write(drive.at(name), "one").unwrap();
        fs::write(drive.at(name), "two").unwrap();
        fs::remove_file(drive.at(name)).unwrap();
        assert_eq!(fs::read(drive.at(".versions/@deleted").join(name)).unwrap(), b"two");
    }
    let listed = paths(&drive.at(".versions"));
    let mut dirs = 0;
    for dir in listed {
        let name = dir.file_name().unwrap().as_bytes();
        if matches!(name, b"@at" | b"@deleted" | b"@pins") || !dir.join("").is_dir() {
            continue;
        }
        let mut contents: Vec<_> = paths(&dir);
        contents.sort_by_key(|path| number_of_bytes(path));
        let contents: Vec<_> = contents.iter().map(|path| fs::read(path).unwrap()).collect();
        if contents == [b"one", b"two"] {
            dirs += 1;
        }
    }
    assert_eq!(dirs, odd.len());
}

fn number_of_bytes(path: &Path) -> u64 {
    let name = path.file_name().unwrap().as_bytes();
    let at = name.windows(2).rposition(|pair| pair == b"~v").unwrap();
    let digits = name[at + 2..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

#[test]
fn nothing_in_history_can_be_changed() {
    let drive = Drive::new();
    drive.run("mkdir d; echo one > f; echo two > f; echo x > gone; rm gone");
    for line in [
        "echo x > .versions/f/new",
        "echo x >> .versions/f/*v1",
        "rm -f .versions/f/*v1",
        "mkdir .versions/d2",
        "rmdir .versions",
        "rm -rf .versions",
        "mv .versions x",
        "mv .versions/f/*v1 x",
        "mv f .versions/@at/now/",
        "ln f .versions/l",
        "chmod 777 .versions/f/*v1",
        "touch .versions/f/*v1",
        "touch .versions/@at/now/f",
        "setfattr -n user.x -v 1 .versions/f/*v1",
        "truncate -s 0 .versions/@deleted/gone",
        "mkdir d/.versions",
        "mv f d/.versions",
    ] {
        assert!(!drive.works(own_user(), line), "{line}");
    }
    assert_eq!(drive.versions(".versions/f"), ["one\n", "two\n"]);
}

#[test]
fn other_users_read_what_they_could_and_no_more() {
    if !os::is_root() {
        eprintln!("skipped: it takes root to be several users");
        return;
    }
    let drive = Drive::new();
    drive.run("mkdir open shut; echo public > open/f; echo private > open/p; chmod 600 open/p");
    drive.run("echo new > open/f; echo new > open/p; echo inside > shut/f");
    let moment = drive.run("ls -U .versions/@at | tail -1").trim().to_owned();
    std::thread::sleep(Duration::from_millis(1100));
    drive.run("chmod 700 shut; chmod 600 open/f; chmod 644 open/p");
    assert!(drive.works(ANNA, "cat open/.versions/f/*v1"));
    assert!(!drive.works(ANNA, "cat open/.versions/p/*v1"));
    assert!(drive.works(0, "cat open/.versions/p/*v1"));
    assert!(!drive.works(ANNA, "ls shut/.versions"));
    assert!(!drive.works(ANNA, &format!("cat .versions/@at/{moment}/shut/f")));
    assert!(drive.works(0, &format!("ls .versions/@at/{moment}/shut")));
    drive.run("chmod 755 shut");
    assert!(drive.works(ANNA, "cat .versions/@at/now/shut/f"));
    // Somebody's own.
    fs::create_dir(drive.at("anna")).unwrap();
    chown(drive.at("anna"), Some(ANNA), Some(ANNA)).unwrap();
    assert!(
        drive.works(ANNA, "umask 077; echo 1 > anna/f; echo 2 > anna/f; cat anna/.versions/f/*v1")
    );
    assert!(!drive.works(ANNA + 1, "cat anna/.versions/f/*v1"));
    assert!(drive.works(ANNA, "cp anna/.versions/f/*v1 anna/back; echo more >> anna/back"));
}

#[test]
fn large_files_of_the_past_are_read_and_copied_back() {
    let drive = Drive::new();
    let old: Vec<u8> = (0..20_000_000_u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes())
        .take(30_000_000)
        .collect();
    fs::write(drive.at("big"), &old).unwrap();
    let file = File::options().write(true).open(drive.at("big")).unwrap();
    file.write_all_at(b"changed", 12_345_678).unwrap();
    drop(file);
    let mut versions = paths(&drive.at(".versions/big"));
    versions.sort_by_key(|path| number(path));
    assert_eq!(versions.len(), 2);
    assert!(fs::read(&versions[0]).unwrap() == old);
    let chunks = || drive.volume.status().unwrap().chunks;
    let before = chunks();
    drive.run(&format!("cp {:?} back", versions[0]));
    assert!(fs::read(drive.at("back")).unwrap() == old);
    assert_eq!(chunks(), before);
}

#[test]
fn a_folder_under_a_reader_can_be_deleted() {
    let drive = Drive::new();
    drive.run("mkdir d; echo one > d/f");
    let open = File::open(paths(&drive.at("d/.versions/f")).remove(0)).unwrap();
    drive.run("rm -rf d");
    let mut bytes = [0; 4];
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"one\n");
    drive.run("mkdir d; echo two > d/f");
    assert_eq!(drive.run("cat d/.versions/f/*"), "two\n");
    assert_eq!(drive.run("cat .versions/d/*/f"), "one\n");
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// `NAME` of a file as `getfattr` shows it.
fn told(drive: &Drive, name: &str, path: &str) -> String {
    drive.run(&format!("getfattr --only-values --absolute-names -n user.verso.{name} '{path}'"))
}

#[test]
fn copies_with_attributes_are_quiet() {
    let drive = Drive::new();
    if !has("getfattr") || !has("rsync") {
        eprintln!("skipped: there is no getfattr or no rsync");
        return;
    }
    drive.run("mkdir d; echo one > d/f; echo two > d/f; rm d/f; echo three > d/f");
    drive.run("setfattr -n user.own -v mine d/f; setfattr -n user.verso.pin.kept -v now d");
    let quiet = |line: &str| {
        let output = drive.run(&format!("{{ {line}; }} 2>&1"));
        assert_eq!(output, "", "{line}");
    };
    quiet("cp -a d/.versions/f versions-by-cp");
    quiet("rsync -aX d/.versions/f/ versions-by-rsync/");
    quiet("cp -a d/.versions/@pins/kept past-by-cp");
    quiet("rsync -aX d/.versions/@pins/kept/ past-by-rsync/");
    quiet("diff -r versions-by-cp versions-by-rsync");
    quiet("diff -r past-by-cp past-by-rsync");
    assert_eq!(drive.run("cat past-by-cp/f; cat versions-by-cp/*~v1"), "three\none\n");
    let copied = drive.run("getfattr --absolute-names -d -m - past-by-rsync/f versions-by-cp/*");
    assert!(copied.contains("user.own") && !copied.contains("user.verso"), "{copied}");
    quiet("rm -r d; cp -a .versions/@deleted/d d; diff -r d past-by-cp");
}

#[test]
fn attributes_tell_of_versions() {
    let drive = Drive::new();
    if !has("getfattr") {
        eprintln!("skipped: there is no getfattr");
        return;
    }
    drive.run("echo one > f; setfattr -n user.verso.cause -v restore f; echo two > f");
    let versions = paths(&drive.at(".versions/f"));
    let path = |number| {
        let found = versions.iter().find(|path| self::number(path) == number);
        found.unwrap().display().to_string()
    };
    assert_eq!(told(&drive, "cause", &path(1)), "restore");
    assert_eq!(told(&drive, "until", &path(1)), told(&drive, "moment", &path(2)));
    if has("b3sum") {
        assert_eq!(
            told(&drive, "hash", &path(1)),
            drive.run(&format!("b3sum --no-names '{}'", path(1))).trim()
        );
    }
    let hash = told(&drive, "hash", &path(1));
    assert!(hash.len() == 64 && hash != told(&drive, "hash", &path(2)), "{hash}");
    drive.run("! setfattr -n user.verso.cause -v nonsense f 2>/dev/null");
    drive.run("! setfattr -n user.verso.other -v 1 f 2>/dev/null");
}

#[test]
fn a_pin_needs_who_may_write_to_the_directory() {
    if !os::is_root() || !has("getfattr") {
        eprintln!("skipped: it takes root and getfattr");
        return;
    }
    let drive = Drive::new();
    drive.run("mkdir annas; echo one > annas/f");
    chown(drive.at("annas"), Some(ANNA), Some(ANNA)).unwrap();
    assert!(drive.works(ANNA, "setfattr -n user.verso.pin.approved annas"));
    assert!(!drive.works(ANNA, "setfattr -n user.verso.pin.approved ."));
    assert!(!drive.works(ANNA + 1, "setfattr -x user.verso.pin.approved annas"));
    drive.run("echo two > annas/f");
    assert!(drive.works(ANNA, "[ \"$(cat annas/.versions/@pins/approved/f)\" = one ]"));
    assert!(drive.works(ANNA, "setfattr -x user.verso.pin.approved annas"));
    assert!(names(&drive.at("annas/.versions/@pins")).is_empty());
    assert!(!drive.at("annas/.versions/@pins/approved").exists());
}

#[test]
fn mv_brings_back_what_was_deleted() {
    let drive = Drive::new();
    drive.run(
        "mkdir -p d/sub; echo one > d/sub/f; echo two > d/sub/f; ln -s f d/sub/l; cp -a d kept",
    );
    drive.run("ls -R d .versions/@deleted >/dev/null; rm -r d; ! ls d 2>/dev/null");
    drive.run("mv .versions/@deleted/d .");
    assert_eq!(
        drive.run("diff -r d kept; ls .versions/@deleted; cat d/sub/.versions/f/*"),
        "one\ntwo\ntwo\n"
    );
    drive.run("echo three > d/sub/f; echo new > d/new; [ $(cat d/sub/l) = three ]");
    // Again and again, with a look at it in between, which the kernel remembers.
    for round in 0..3 {
        drive.run(&format!("echo {round} > f; cat f; rm f; cat .versions/@deleted/f"));
        drive.run("mv .versions/@deleted/f f");
        assert_eq!(drive.run("cat f"), format!("{round}\n"));
        drive.run("echo more >> f; rm -r d; mv .versions/@deleted/d e; mv e d; cat d/new d/sub/f");
        assert_eq!(drive.run("cat f"), format!("{round}\nmore\n"));
    }
    // To another place, over something, and not over something.
    drive.run("echo g > g; rm g; echo other > kept/g; mv -f .versions/@deleted/g kept/g");
    assert_eq!(drive.run("cat kept/g; cat kept/.versions/g/*"), "g\nother\ng\n");
    drive.run("echo h > h; rm h; echo keep > h; mv -n .versions/@deleted/h h || true");
    assert_eq!(drive.run("cat h"), "keep\n");
    // What can't be moved is copied, and stays where it was.
    drive.run("rm -r d; mv .versions/@deleted/d/sub . 2>/dev/null || [ -e sub/f ]");
    assert_eq!(drive.run("cat sub/f; cat .versions/@deleted/d/sub/f"), "three\nthree\n");
    drive
        .run("! rm .versions/@deleted/d/new 2>/dev/null; ! rmdir .versions/@deleted/d 2>/dev/null");
    let report = drive.volume.check(Default::default(), &Default::default()).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn only_who_may_change_a_directory_brings_back_what_was_in_it() {
    if !os::is_root() {
        eprintln!("skipped: it takes root");
        return;
    }
    let drive = Drive::new();
    drive.run("mkdir annas public; chmod 1777 public; mkdir annas/d; echo f > annas/d/f; echo f > public/f");
    drive.run(&format!(
        "chown -R {ANNA}:{ANNA} annas; chown {ANNA} public/f; rm -r annas/d public/f"
    ));
    let other = ANNA + 1;
    assert!(!drive.works(other, "mv -T annas/.versions/@deleted/d annas/d"));
    assert!(!drive.works(other, "mv -T annas/.versions/@deleted/d public/d"));
    // Sticky: what is in it is its owner's alone.
    assert!(!drive.works(other, "mv -T public/.versions/@deleted/f public/f"));
    assert!(drive.works(ANNA, "mv -T public/.versions/@deleted/f public/f; cat public/f"));
    assert!(drive.works(ANNA, "mv -T annas/.versions/@deleted/d annas/d; echo x > annas/d/x"));
}

#[test]
fn a_file_manager_sees_the_history_of_the_root_if_it_is_told_to() {
    let drive = Drive::with(VolumeOptions { history_listed: true, ..VolumeOptions::default() });
    drive.run("mkdir d; echo x > d/f");
    assert!(drive.run("ls -a").lines().any(|name| name == ".versions"));
    assert!(drive.run("ls -la").contains(" .versions"));
    assert_eq!(drive.run("ls -A d"), "f\n");
    assert!(drive.run("find .versions -maxdepth 1").contains(".versions/@pins"));
}

#[test]
fn the_old_place_leads_to_the_new_one() {
    let drive = Drive::new();
    drive.run("mkdir -p a/b; chmod 755 . a a/b; echo one > f; mv f a/b/g; mv a/b/g a/h");
    assert_eq!(drive.run("cat .versions/f/moved-*; cat a/b/.versions/g/moved-*"), "one\none\n");
    drive.run(
        "link=$(echo .versions/f/moved-*); echo two > $link; [ $(cat a/h) = two ]; mv a/h a/i",
    );
    assert_eq!(drive.run("readlink .versions/f/moved-*"), "../../a/i\n");
    assert_eq!(drive.run("cat .versions/f/moved-*"), "two\n");
    drive.run(
        "! rm .versions/f/moved-* 2>/dev/null; cp -a .versions/f copy; diff -r --no-dereference .versions/f copy",
    );
    drive.run("rm a/i; [ $(ls .versions/f | wc -l) = 1 ]");
}
