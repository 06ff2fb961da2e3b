//! A random life with owners and permissions, and who could read what, at which moment.

use super::{now, tree};
use crate::crash_support::Rng;
use crate::history_support::Place;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use versofs::model::{Moment, moment_name};

/// Users that need no name, each with a group of the same number.
const USERS: [u32; 2] = [61_001, 61_002];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const FILE_MODES: [u32; 6] = [0o600, 0o640, 0o644, 0o604, 0o000, 0o664];
const DIR_MODES: [u32; 6] = [0o700, 0o750, 0o755, 0o711, 0o500, 0o770];

/// Contents by path.
type Read = BTreeMap<PathBuf, String>;

/// What was there at a moment: the directories, and what each user could read.
struct Then {
    moment: i64,
    dirs: HashMap<PathBuf, u64>,
    read: [Read; USERS.len()],
}

pub(crate) struct Secrecy {
    root: PathBuf,
    rng: Rng,
    /// No two contents are the same.
    contents: usize,
    remembered: Vec<Then>,
    /// What each user could ever read.
    ever: [BTreeSet<String>; USERS.len()],
    /// In which directories a file was with a content that its own permissions let each user read.
    allowed: [HashMap<String, BTreeSet<u64>>; USERS.len()],
}

impl Secrecy {
    /// In a new directory of this name.
    pub(crate) fn new(place: &Place, name: &str, rng: Rng) -> Secrecy {
        let root = place.root().join(name);
        fs::create_dir(&root).unwrap();
        let (remembered, ever, allowed) = (Vec::new(), Default::default(), Default::default());
        Secrecy { root, rng, contents: 0, remembered, ever, allowed }
    }

    /// One change, by somebody who may do everything; then who can read what is remembered.
    pub(crate) fn step(&mut self) {
        let (path, other) = (self.path(), self.path());
        // What is impossible is left.
        let _ = self.change(&path, &other);
        let listed = tree::list(&self.root).unwrap();
        let files = paths(&listed, &self.root, |meta| meta.is_file());
        let moment = now();
        let read = USERS.map(|user| read_as(user, &self.root, &files));
        for (ever, read) in self.ever.iter_mut().zip(&read) {
            ever.extend(read.values().cloned());
        }
        for (path, meta) in listed.iter().filter(|(_, meta)| meta.is_file()) {
            self.note_permissions(path, meta);
        }
        let dirs = listed.iter().filter(|(_, meta)| meta.is_dir());
        let dirs = dirs.map(|(path, meta)| (below(path, &self.root), meta.ino())).collect();
        self.remembered.push(Then { moment, dirs, read });
    }

    fn note_permissions(&mut self, path: &Path, meta: &Metadata) {
        let content = fs::read_to_string(path).unwrap().trim_end().to_owned();
        let dir = fs::metadata(path.parent().unwrap()).unwrap().ino();
        for (user, allowed) in USERS.iter().zip(&mut self.allowed) {
            if may(*user, meta, 0o4) {
                allowed.entry(content.clone()).or_default().insert(dir);
            }
        }
    }

    fn path(&mut self) -> PathBuf {
        let mut path = self.root.clone();
        for _ in 0..=self.rng.below(3) {
            path.push(NAMES[self.rng.below(NAMES.len() as u64) as usize]);
        }
        path
    }

    fn change(&mut self, path: &Path, other: &Path) -> io::Result<()> {
        let is_dir = path.is_dir();
        let modes = if is_dir { DIR_MODES } else { FILE_MODES };
        match self.rng.below(14) {
            0..=2 => fs::create_dir_all(path),
            3..=5 => fs::write(path, self.content()),
            6 => {
                // Nobody looks who could read it before it has its name.
                let (temporary, mut how) = (path.with_extension("tmp"), fs::OpenOptions::new());
                let made = how.write(true).create_new(true).mode(0o600).open(&temporary);
                made?.write_all(self.content().as_bytes())?;
                fs::rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)))
            }
            7 | 8 => {
                let mode = modes[self.rng.below(modes.len() as u64) as usize];
                fs::set_permissions(path, fs::Permissions::from_mode(mode))
            }
            9 => {
                let user = [0, USERS[0], USERS[1]][self.rng.below(3) as usize];
                let group = [0, USERS[0], USERS[1]][self.rng.below(3) as usize];
                chown(path, Some(user), Some(group))
            }
            10 | 11 => fs::rename(path, other),
            12 if is_dir => fs::remove_dir_all(path),
            12 => fs::remove_file(path),
            _ => {
                let deleted = path.parent().unwrap().join(".versions/@deleted");
                let first = fs::read_dir(deleted)?.next().ok_or(io::ErrorKind::NotFound)??;
                fs::rename(first.path(), path)
            }
        }
    }

    fn content(&mut self) -> String {
        self.contents += 1;
        format!("content {}\n", self.contents)
    }

    /// Nobody reads at a moment what was closed to them then, or lies in a directory that is closed to them today.
    /// Answers how much of the past can be read.
    pub(crate) fn check_moments(&self) -> usize {
        let today: HashMap<u64, Metadata> = tree::list(&self.root)
            .unwrap()
            .into_iter()
            .map(|(_, meta)| (meta.ino(), meta))
            .collect();
        let mut seen = 0;
        for then in &self.remembered {
            let top = self.root.join(".versions/@at").join(moment_name(Moment(then.moment)));
            let files = paths(&tree::list(&top).unwrap(), &top, |meta| meta.is_file());
            for (user, could) in USERS.iter().zip(&then.read) {
                for (path, content) in read_as(*user, &top, &files) {
                    let place = format!("{user} reads {} of {}", path.display(), top.display());
                    assert_eq!(could.get(&path), Some(&content), "{place}: could not then");
                    let closed = path.ancestors().skip(1).find(|dir| {
                        let dir = then.dirs.get(*dir).and_then(|ino| today.get(ino));
                        dir.is_some_and(|dir| !may(*user, dir, 0o1))
                    });
                    assert_eq!(closed, None, "{place}: it is closed today");
                    seen += 1;
                }
            }
        }
        seen
    }

    /// A version, or what was deleted, asks for the permission that the file had and for what the way to it asks today, as
    /// does the way to another directory from which it came. Answers how many can be read.
    pub(crate) fn check_versions(&self) -> usize {
        let mut dirs = vec![self.root.clone()];
        let listed = tree::list(&self.root).unwrap();
        dirs.extend(listed.into_iter().filter(|(_, meta)| meta.is_dir()).map(|(path, _)| path));
        let open = USERS.map(|user| self.open_to(user, &dirs));
        let mut seen = 0;
        for dir in &dirs {
            let ino = fs::metadata(dir).unwrap().ino();
            let mut tops = vec![dir.join(".versions/@deleted")];
            let names = fs::read_dir(dir.join(".versions")).unwrap();
            tops.extend(names.map(|name| name.unwrap().path()).filter(|path| is_name(path)));
            for top in tops {
                let files = paths(&tree::list(&top).unwrap(), &top, |meta| meta.is_file());
                for (at, user) in USERS.into_iter().enumerate() {
                    let read = read_as(user, &top, &files);
                    for (path, content) in &read {
                        let may = self.may_read(at, content, ino, &open[at]);
                        assert!(may, "{user} reads {} in {}", path.display(), top.display());
                    }
                    seen += read.len();
                }
            }
        }
        seen
    }

    /// Whether a user may read a content that is shown in a directory: never if its own permissions were always against it;
    /// else if it was in that directory, or could be read anyway, or was in one that is not closed today.
    fn may_read(&self, at: usize, content: &str, dir: u64, open: &HashMap<u64, bool>) -> bool {
        self.allowed[at].get(content).is_some_and(|was_in| {
            was_in.contains(&dir)
                || self.ever[at].contains(content)
                || was_in.iter().any(|dir| open.get(dir) != Some(&false))
        })
    }

    /// The directories that live, and whether the way to each is open to the user today.
    fn open_to(&self, user: u32, dirs: &[PathBuf]) -> HashMap<u64, bool> {
        let is_open = |dir: &Path| {
            let mut way = dir.ancestors().take_while(|above| above.starts_with(&self.root));
            way.all(|above| may(user, &fs::metadata(above).unwrap(), 0o1))
        };
        dirs.iter().map(|dir| (fs::metadata(dir).unwrap().ino(), is_open(dir))).collect()
    }
}

fn is_name(path: &Path) -> bool {
    !path.file_name().unwrap().as_bytes().starts_with(b"@")
}

fn below(path: &Path, top: &Path) -> PathBuf {
    path.strip_prefix(top).unwrap().to_owned()
}

fn paths(
    listed: &[(PathBuf, Metadata)],
    top: &Path,
    is_wanted: impl Fn(&Metadata) -> bool,
) -> Vec<PathBuf> {
    listed.iter().filter(|(_, meta)| is_wanted(meta)).map(|(path, _)| below(path, top)).collect()
}

/// What a user can read of these files below `top`, each tried by its name.
fn read_as(user: u32, top: &Path, files: &[PathBuf]) -> Read {
    let mut grep = Command::new("xargs");
    // The directory is entered with the rights of the user as well, after that all paths are short.
    grep.args(["-0", "-r", "grep", "-HsZ", ""]).current_dir("/").uid(user).gid(user);
    let mut child = grep.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut names = Vec::new();
    for file in files {
        names.extend(top.join(file).as_os_str().as_bytes());
        names.push(0);
    }
    child.stdin.take().unwrap().write_all(&names).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let at = line.iter().position(|byte| *byte == 0).unwrap();
            let path = Path::new(OsStr::from_bytes(&line[..at]));
            (below(path, top), String::from_utf8(line[at + 1..].to_vec()).unwrap())
        })
        .collect()
}

/// Whether the permissions let the user do this: 4 is to read, 1 is to enter.
fn may(user: u32, meta: &Metadata, what: u32) -> bool {
    let shift = match (meta.uid() == user, meta.gid() == user) {
        (true, _) => 6,
        (_, true) => 3,
        _ => 0,
    };
    meta.mode() >> shift & what == what
}
