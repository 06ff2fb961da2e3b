//! A load that remembers what was acknowledged, for daemons that are killed: a returned call must have lasting effect.

use super::{Content, Rng};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Names that one writer uses.
const NAMES: u64 = 24;
/// A save goes out in pieces of at most this many bytes.
const PIECE_BYTES: usize = 128 << 10;

/// What a name must show after the crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Absent,
    Directory,
    File(Content),
    /// A save under way: some beginning of this content, perhaps nothing of it yet.
    BeginningOf(Content),
}

type Names = BTreeMap<String, Shown>;

/// One thread's worth of work in a directory of its own.
pub(crate) struct Writer {
    dir: PathBuf,
    rng: Rng,
    /// What every acknowledged call together must have led to.
    acknowledged: Names,
    /// The call under way: each entry is one outcome that it may have had, for all names it touches.
    under_way: Vec<Names>,
    /// Calls that returned.
    pub(crate) calls: usize,
}

impl Writer {
    /// A writer for the new directory `dir`.
    pub(crate) fn new(dir: PathBuf, rng: Rng) -> io::Result<Writer> {
        fs::create_dir(&dir)?;
        Ok(Writer { dir, rng, acknowledged: Names::new(), under_way: Vec::new(), calls: 0 })
    }

    /// Works until a call fails, which it does when the daemon dies, or until `stop` says so.
    pub(crate) fn work(&mut self, stop: impl Fn() -> bool) -> Option<io::Error> {
        while !stop() {
            if let Err(error) = self.step() {
                return Some(error);
            }
        }
        None
    }

    /// One call, or one save of several calls up to its close.
    fn step(&mut self) -> io::Result<()> {
        let name = self.any_name();
        match (self.shown(&name), self.rng.below(10)) {
            (Shown::Directory, _) => self.remove_directory(&name),
            (Shown::Absent, 0) => self.make_directory(&name),
            (Shown::Absent, _) => self.save(&name),
            (Shown::File(_), 0 | 1) => self.remove(&name),
            (Shown::File(content), 2 | 3) => self.rename(&name, content),
            (Shown::File(content), 4) => self.truncate(&name, &content),
            (Shown::File(content), 5 | 6) => self.append(&name, &content),
            (Shown::File(_), 7) => self.sync(&name),
            _ => self.save(&name),
        }
    }

    fn any_name(&mut self) -> String {
        format!("name-{}", self.rng.below(NAMES))
    }

    fn shown(&self, name: &str) -> Shown {
        self.acknowledged.get(name).cloned().unwrap_or(Shown::Absent)
    }

    /// Does `call`; meanwhile any of `outcomes` may be, afterwards `last` is.
    fn attempt(
        &mut self,
        between: Vec<Names>,
        last: Names,
        call: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let before = last.keys().map(|name| (name.clone(), self.shown(name))).collect();
        self.under_way = between;
        self.under_way.extend([before, last.clone()]);
        call(&self.dir)?;
        self.under_way.clear();
        self.acknowledged.extend(last);
        self.calls += 1;
        Ok(())
    }

    fn save(&mut self, name: &str) -> io::Result<()> {
        let content = Content::random(&mut self.rng);
        let partly = one(name, Shown::BeginningOf(content.clone()));
        let bytes = content.bytes();
        self.attempt(vec![partly], one(name, Shown::File(content)), |dir| {
            let mut file = File::create(dir.join(name))?;
            write_pieces(&mut file, &bytes)?;
            close(file)
        })
    }

    fn append(&mut self, name: &str, old: &Content) -> io::Result<()> {
        let more = Content::random(&mut self.rng);
        let bytes = more.bytes();
        let new = old.and(&more);
        let partly = one(name, Shown::BeginningOf(new.clone()));
        self.attempt(vec![partly], one(name, Shown::File(new)), |dir| {
            let mut file = OpenOptions::new().append(true).open(dir.join(name))?;
            write_pieces(&mut file, &bytes)?;
            close(file)
        })
    }

    fn truncate(&mut self, name: &str, old: &Content) -> io::Result<()> {
        let len = self.rng.below(old.len() as u64 + 1);
        let last = one(name, Shown::File(old.cut(len as usize)));
        self.attempt(vec![], last, |dir| {
            let file = OpenOptions::new().write(true).open(dir.join(name))?;
            file.set_len(len)?;
            close(file)
        })
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let same = one(name, self.shown(name));
        self.attempt(vec![], same, |dir| File::open(dir.join(name))?.sync_all())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.attempt(vec![], one(name, Shown::Absent), |dir| fs::remove_file(dir.join(name)))
    }

    /// Moves a file, over another one where there is one.
    fn rename(&mut self, name: &str, content: Content) -> io::Result<()> {
        let target = self.any_name();
        if target == name || self.shown(&target) == Shown::Directory {
            return self.save(name);
        }
        let mut last = one(name, Shown::Absent);
        last.insert(target.clone(), Shown::File(content));
        self.attempt(vec![], last, |dir| fs::rename(dir.join(name), dir.join(target)))
    }

    fn make_directory(&mut self, name: &str) -> io::Result<()> {
        self.attempt(vec![], one(name, Shown::Directory), |dir| fs::create_dir(dir.join(name)))
    }

    fn remove_directory(&mut self, name: &str) -> io::Result<()> {
        self.attempt(vec![], one(name, Shown::Absent), |dir| fs::remove_dir(dir.join(name)))
    }

    /// Compares the directory, mounted again, with what was acknowledged; gives each difference as a line.
    /// Afterwards what is there counts as acknowledged, so that the work can go on.
    pub(crate) fn verify(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let outcomes = std::mem::take(&mut self.under_way);
        let touched: Vec<String> =
            outcomes.first().map_or(Vec::new(), |names| names.keys().cloned().collect());
        for n in 0..NAMES {
            let name = format!("name-{n}");
            if !touched.contains(&name) {
                wrong.extend(self.differs(&name, &self.shown(&name)));
            }
        }
        if !outcomes.is_empty() && !outcomes.iter().any(|names| self.all_match(names)) {
            wrong.push(format!("{}: none of the outcomes {outcomes:?}", self.dir.display()));
        }
        wrong.extend(self.strangers());
        for name in touched {
            self.forget(&name);
        }
        wrong
    }

    fn all_match(&self, names: &Names) -> bool {
        names.iter().all(|(name, shown)| self.differs(name, shown).is_none())
    }

    fn differs(&self, name: &str, wanted: &Shown) -> Option<String> {
        let path = self.dir.join(name);
        let found = match look(&path) {
            Ok(found) => found,
            Err(error) => return Some(format!("{}: {error}", path.display())),
        };
        let same = match (wanted, &found) {
            (Shown::Absent, Found::Absent) | (Shown::Directory, Found::Directory) => true,
            (Shown::File(content), Found::File(bytes)) => content.bytes() == *bytes,
            (Shown::BeginningOf(content), Found::File(bytes)) => content.bytes().starts_with(bytes),
            _ => false,
        };
        (!same).then(|| format!("{}: {found} instead of {wanted:?}", path.display()))
    }

    fn strangers(&self) -> Vec<String> {
        let known = |name: &str| (0..NAMES).any(|n| name == format!("name-{n}"));
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) => return vec![format!("{}: {error}", self.dir.display())],
        };
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| !known(name)).map(|name| format!("nobody made {name}")).collect()
    }

    /// Takes away what the interrupted call left, whatever it is.
    fn forget(&mut self, name: &str) {
        let path = self.dir.join(name);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        self.acknowledged.remove(name);
    }
}

fn one(name: &str, shown: Shown) -> Names {
    Names::from([(name.to_owned(), shown)])
}

fn write_pieces(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    bytes.chunks(PIECE_BYTES).try_for_each(|piece| file.write_all(piece))
}

/// Closes and reports what close reports, which dropping a `File` does not.
#[allow(unsafe_code)]
pub(crate) fn close(file: File) -> io::Result<()> {
    use std::os::fd::IntoRawFd;
    // SAFETY: the descriptor was owned by `file`, which gave it up just now.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What really is at a path.
pub(crate) enum Found {
    Absent,
    Directory,
    File(Vec<u8>),
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Found::Absent => write!(f, "nothing"),
            Found::Directory => write!(f, "a directory"),
            Found::File(bytes) => write!(f, "a file of {} bytes", bytes.len()),
        }
    }
}

/// Looks at `path`; an error is one of reading, not of absence.
pub(crate) fn look(path: &Path) -> io::Result<Found> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
        Err(error) => return Err(error),
    };
    if meta.is_dir() { Ok(Found::Directory) } else { Ok(Found::File(fs::read(path)?)) }
}
