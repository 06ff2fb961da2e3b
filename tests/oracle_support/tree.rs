//! A copy of a whole tree as programs see it, and how it may differ from what the past shows.

use crate::support::os;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What `.versions` never shows of a mode: set-user-id and set-group-id.
const SHOWN_BITS: u32 = 0o1777;

/// What one path shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Names with the same one are one file.
    pub(crate) ino: u64,
    pub(crate) is_dir: bool,
    pub(crate) mode: u32,
    pub(crate) mtime: i64,
    is_file: bool,
    owner: (u32, u32),
    size: u64,
    /// The hash of a file's content.
    sum: u64,
    /// Where a symbolic link leads.
    target: Option<PathBuf>,
    /// Names, lengths and hashes of values.
    xattrs: BTreeMap<String, (usize, u64)>,
}

/// Everything below a directory.
pub(crate) type Tree = BTreeMap<PathBuf, Entry>;

/// Paths below `root` with what `lstat` says; nothing is read.
pub(crate) fn list(root: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                open.push(path.clone());
            }
            found.push((path, meta));
        }
    }
    Ok(found)
}

/// Copies the tree below `root`.
pub(crate) fn read(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    for (path, meta) in list(root)? {
        tree.insert(path.strip_prefix(root).unwrap().to_owned(), entry(&path, &meta)?);
    }
    Ok(tree)
}

fn entry(path: &Path, meta: &Metadata) -> io::Result<Entry> {
    let mut xattrs = BTreeMap::new();
    if !meta.is_symlink() {
        for name in os::list_xattrs(path)? {
            let value = os::get_xattr(path, &name)?;
            xattrs.insert(name, (value.len(), hash(&value)));
        }
    }
    let content = if meta.is_file() { fs::read(path)? } else { Vec::new() };
    let is_whole = !meta.is_file() || content.len() as u64 == meta.len();
    assert!(is_whole, "{} has {} bytes, of {}", path.display(), content.len(), meta.len());
    Ok(Entry {
        ino: meta.ino(),
        is_dir: meta.is_dir(),
        mode: meta.mode(),
        mtime: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
        is_file: meta.is_file(),
        owner: (meta.uid(), meta.gid()),
        size: if meta.is_dir() { 0 } else { meta.len() },
        sum: hash(&content),
        target: if meta.is_symlink() { Some(fs::read_link(path)?) } else { None },
        xattrs,
    })
}

fn hash(bytes: &[u8]) -> u64 {
    let hash = blake3::hash(bytes);
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap())
}

/// Attributes that an inode was seen to have after a step of work.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// When the step began and had ended, in nanoseconds since 1970.
    step: (i64, i64),
    mode: u32,
    mtime: i64,
}

/// How the past may differ from what was there: exactly what ARCHITECTURE.md, *Time* and *History*, says.
pub(crate) struct Promise {
    /// Within one slot, the past may show mode and mtime as they became; nanoseconds.
    slot: i64,
    seen: HashMap<u64, Vec<Seen>>,
    /// The modes of the directories that live: who could not enter today can't enter the past either.
    today: HashMap<u64, u32>,
}

impl Promise {
    pub(crate) fn new(slot: i64) -> Promise {
        Promise { slot, seen: HashMap::new(), today: HashMap::new() }
    }

    /// Takes note of all attributes below `root`, after a step of work that began at `began`.
    pub(crate) fn note(&mut self, root: &Path, began: i64) {
        // A daemon that was killed shows nothing.
        let Ok(listed) = list(root) else { return };
        self.today = listed
            .iter()
            .filter(|(_, meta)| meta.is_dir())
            .map(|(_, meta)| (meta.ino(), meta.mode()))
            .collect();
        if self.slot == 0 {
            return;
        }
        let step = (began, super::now());
        for (_, meta) in listed {
            let mtime = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
            let seen = self.seen.entry(meta.ino()).or_default();
            // Only what is new says anything.
            if seen.last().is_none_or(|last| (last.mode, last.mtime) != (meta.mode(), mtime)) {
                seen.push(Seen { step, mode: meta.mode(), mtime });
            }
        }
    }

    /// The attributes that an inode got after `moment` and within its slot.
    fn later(&self, ino: u64, moment: i64) -> impl Iterator<Item = &Seen> {
        let slot_end = moment.checked_div_euclid(self.slot).map(|slot| (slot + 1) * self.slot);
        let seen = self.seen.get(&ino).into_iter().flatten();
        seen.filter(move |seen| {
            seen.step.1 > moment && slot_end.is_some_and(|end| seen.step.0 < end)
        })
    }

    /// Each difference between what was there at `moment` and what is shown, that is not allowed, as a line.
    pub(crate) fn differences(&self, was: &Tree, moment: i64, shown: &Tree) -> Vec<String> {
        let mut wrong = Vec::new();
        for (path, was) in was {
            match shown.get(path) {
                None => wrong.push(format!("{} is missing", path.display())),
                Some(shown) if !self.allows(was, moment, shown) => {
                    wrong.push(format!("{}: {shown:?} instead of {was:?}", path.display()));
                }
                Some(_) => {}
            }
        }
        let strangers = shown.keys().filter(|path| !was.contains_key(*path));
        wrong.extend(strangers.map(|path| format!("{} was not there", path.display())));
        if wrong.is_empty() && first_names(was) != first_names(shown) {
            wrong.push(format!(
                "{:?} are one file each, not {:?}",
                first_names(shown),
                first_names(was)
            ));
        }
        wrong
    }

    fn allows(&self, was: &Entry, moment: i64, shown: &Entry) -> bool {
        let exact = |entry: &Entry| Entry { ino: 0, mode: 0, mtime: 0, ..entry.clone() };
        let later = || self.later(was.ino, moment);
        let is_mode = |mode: u32| self.shown_mode(was, mode) == shown.mode;
        // A directory's changes with its names, and a file that was empty has that of its first content.
        let any_time = was.is_dir || (was.is_file && was.size == 0);
        exact(was) == exact(shown)
            && (is_mode(was.mode) || later().any(|seen| is_mode(seen.mode)))
            && (any_time
                || was.mtime == shown.mtime
                || later().any(|seen| seen.mtime == shown.mtime))
    }

    fn shown_mode(&self, was: &Entry, mode: u32) -> u32 {
        let today = self.today.get(&was.ino).filter(|_| was.is_dir);
        let bits = mode & SHOWN_BITS & today.copied().unwrap_or(u32::MAX);
        (mode & libc::S_IFMT) | bits
    }
}

/// Of each path, the first of all names of the same file.
fn first_names(tree: &Tree) -> BTreeMap<PathBuf, OsString> {
    let mut first = HashMap::new();
    tree.iter()
        .map(|(path, entry)| {
            (path.clone(), first.entry(entry.ino).or_insert(path).as_os_str().into())
        })
        .collect()
}
