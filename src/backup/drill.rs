//! Whether what was restored is what the drive was: names, attributes and contents of one moment, compared one by one.

use super::{Error, Result};
use crate::model::{Attr, FileKind, Moment, moment_name};
use crate::recall::{Source, Tree};
use crate::sys::Task;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes that are read and compared at a time.
const STEP_BYTES: usize = 1 << 20;
/// Differences that are told one by one.
const TOLD_MAX: usize = 100;
/// Verso's own attributes tell about a view, and not what was saved.
const OWN_ATTRIBUTES: &[u8] = b"user.verso.";

/// What changed around the moment is written in place, without a state of its own: within a slot, and where a file gets its first content. There
/// the original may show a later owner, mode and times, and only the rest is compared.
const AMENDED_NANOS: i64 = 10_000_000_000;

/// How much is compared.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Contents of so many bytes, and no more, but for the last file; names and attributes are always all compared.
    pub bytes_max: u64,
    /// Which files: another number chooses other ones.
    pub seed: u64,
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    /// The generation that was restored.
    pub generation: String,
    /// Names that were compared.
    pub names: u64,
    /// Files whose contents were compared byte for byte.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
    /// What differs, the first of it.
    pub differences: Vec<String>,
    /// How much differs.
    pub differences_total: u64,
}

/// Compares how `original` was at `moment` with how `copy` shows it.
///
/// What only the copy has is no difference: names that make no versions are forgotten by the original.
pub fn compare(
    original: &dyn Tree,
    copy: &dyn Tree,
    moment: Moment,
    sample: &Sample,
    task: &dyn Task,
) -> Result<Drilled> {
    let root = PathBuf::from(format!(".versions/@at/{}", moment_name(moment)));
    let report = Drilled::default();
    let mut drill = Drill { original, copy, moment, task, report, files: Vec::new() };
    task.step("comparing names");
    drill.names(&root)?;
    let Drill { mut report, mut files, .. } = drill;
    report.bytes_total = files.iter().map(|(_, len)| len).sum();
    // In an order that chance decides, each time another one.
    files.sort_by_cached_key(|(path, _)| chance(path, sample.seed));
    let mut drill = Drill { original, copy, moment, task, report, files: Vec::new() };
    task.step("comparing contents");
    for (path, len) in files {
        if drill.report.bytes >= sample.bytes_max {
            break;
        }
        drill.contents(&path, len)?;
        let total = drill.report.bytes_total.min(sample.bytes_max);
        task.progress(drill.report.bytes.min(total), total);
    }
    Ok(drill.report)
}

fn chance(path: &Path, seed: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed, 0);
    hasher.write(path.as_os_str().as_encoded_bytes());
    hasher.finish()
}

struct Drill<'d> {
    original: &'d dyn Tree,
    copy: &'d dyn Tree,
    moment: Moment,
    task: &'d dyn Task,
    report: Drilled,
    /// The files that both have, and their lengths.
    files: Vec<(PathBuf, u64)>,
}

impl Drill<'_> {
    /// Goes through the directory and all below it.
    fn names(&mut self, top: &Path) -> Result<()> {
        let mut open = vec![top.to_owned()];
        while let Some(dir) = open.pop() {
            let names = self.original.list(&dir).map_err(|error| self.unreadable(&dir, error))?;
            for (name, kind) in names {
                if self.task.is_stopped() {
                    return Err(Error::Stopped);
                }
                let path = dir.join(name);
                self.report.names += 1;
                match self.name(&path) {
                    Ok(None) if kind == FileKind::Directory => open.push(path),
                    Ok(None) => {}
                    Ok(Some(what)) => self.differs(&path, &what),
                    Err(error) => self.differs(&path, &error.to_string()),
                }
            }
        }
        Ok(())
    }

    /// What differs between the two of a name, if something does.
    fn name(&mut self, path: &Path) -> io::Result<Option<String>> {
        let theirs = match self.copy.attr(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some("it is missing".into()));
            }
            attr => attr?,
        };
        let ours = self.original.attr(path)?;
        let is_amended =
            ours.size == 0 || ours.ctime.0 > self.moment.0.saturating_sub(AMENDED_NANOS);
        let (mine, other) = (essence(&ours, is_amended), essence(&theirs, is_amended));
        if mine != other {
            return Ok(Some(format!("{mine:?} became {other:?}")));
        }
        if ours.kind == FileKind::Symlink
            && self.original.target(path)? != self.copy.target(path)?
        {
            return Ok(Some("the link leads elsewhere".into()));
        }
        if attributes(self.original, path)? != attributes(self.copy, path)? {
            return Ok(Some("its extended attributes differ".into()));
        }
        if ours.kind == FileKind::File {
            self.files.push((path.to_owned(), ours.size));
        }
        Ok(None)
    }

    fn contents(&mut self, path: &Path, len: u64) -> Result<()> {
        let outcome = self.same_contents(path, len);
        match outcome {
            Ok(true) => {}
            Ok(false) => self.differs(path, "its contents differ"),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(Error::Stopped),
            Err(error) => self.differs(path, &error.to_string()),
        }
        self.report.files += 1;
        self.report.bytes += len;
        Ok(())
    }

    fn same_contents(&self, path: &Path, len: u64) -> io::Result<bool> {
        let (ours, theirs) = (self.original.open(path)?, self.copy.open(path)?);
        let (mut mine, mut other) = (vec![0; STEP_BYTES], vec![0; STEP_BYTES]);
        let mut at = 0;
        while at < len {
            if self.task.is_stopped() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            // What is a hole in both is the same in both.
            let next = [ours.next_data(at)?, theirs.next_data(at)?];
            let Some(next) = next.into_iter().flatten().map(|data| data.start).min() else { break };
            at = next.max(at);
            if at >= len {
                break;
            }
            let step = STEP_BYTES.min((len - at) as usize);
            self.task.pace(2 * step as u64);
            fill(&*ours, at, &mut mine[..step])?;
            fill(&*theirs, at, &mut other[..step])?;
            if mine[..step] != other[..step] {
                return Ok(false);
            }
            at += step as u64;
        }
        Ok(true)
    }

    fn differs(&mut self, path: &Path, what: &str) {
        self.report.differences_total += 1;
        if self.report.differences.len() < TOLD_MAX {
            self.report.differences.push(format!("{}: {what}", self.original.shown(path)));
        }
    }

    fn unreadable(&self, path: &Path, source: io::Error) -> Error {
        Error::Io { path: self.original.shown(path).into(), source }
    }
}

/// Mode, owner, group and time of the last change of a name.
type Amended = (u32, u32, u32, i64);

/// What must be the same.
fn essence(attr: &Attr, is_amended: bool) -> (FileKind, u64, Option<Amended>) {
    let size = if attr.kind == FileKind::Directory { 0 } else { attr.size };
    let mtime = if attr.kind == FileKind::Directory { 0 } else { attr.mtime.0 };
    let rest = (u32::from(attr.mode.bits()), attr.uid, attr.gid, mtime);
    (attr.kind, size, (!is_amended).then_some(rest))
}

/// A name and its value.
type Attribute = (Vec<u8>, Option<Vec<u8>>);

fn attributes(tree: &dyn Tree, path: &Path) -> io::Result<Vec<Attribute>> {
    let mut names = tree.xattr_names(path)?;
    names.retain(|name| !name.starts_with(OWN_ATTRIBUTES));
    names.sort_unstable();
    names.into_iter().map(|name| tree.xattr(path, &name).map(|value| (name, value))).collect()
}

/// Reads until `into` is full.
fn fill(source: &dyn Source, at: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        match source.read_at(at + done as u64, &mut into[done..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done += read,
        }
    }
    Ok(())
}
