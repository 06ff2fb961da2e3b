//! Exporting a project as a tar archive that any tar can read.

use super::error::{Error, Result, at, at_path};
use super::members::LISTS;
use super::receive::TOLD;
use super::survey::walk;
use crate::model::{Acl, Attr, FileKind, Ino, Timestamp};
use crate::recall::{self, Source, Tree};
use crate::sys::{Task, sync_dir};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// What is read and written at once.
const BLOCK_BYTES: usize = 1 << 20;
/// zstd's own default; higher ones are several times slower for a few percent.
const ZSTD_LEVEL: i32 = 3;
/// What fits the field for a link's target.
const LINK_BYTES_MAX: usize = 100;

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `.tar.zst`
    Zstd,
    /// `.tar.gz`
    Gzip,
}

impl Compression {
    /// By how a file's name ends; `None` for names of no archive.
    pub fn of(path: &Path) -> Option<Compression> {
        let name = path.file_name()?.as_bytes();
        let is = |ending: &str| name.len() > ending.len() && name.ends_with(ending.as_bytes());
        [
            (&[".tar.zst", ".tzst"][..], Compression::Zstd),
            (&[".tar.gz", ".tgz"], Compression::Gzip),
            (&[".tar"], Compression::None),
        ]
        .into_iter()
        .find_map(|(endings, which)| endings.iter().any(|ending| is(ending)).then_some(which))
    }
}

/// What was exported.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exported {
    /// Files, links and directories.
    pub files: u64,
    /// Bytes of the files, holes included.
    pub bytes: u64,
    /// Sockets, which no archive holds, and attributes whose names it can't.
    pub left_out: u64,
}

/// Where an archive goes.
pub enum Destination<'a> {
    /// To a file, which appears when it is whole.
    File {
        /// Which one.
        path: &'a Path,
        /// Whether one that is there is replaced.
        replaces: bool,
    },
    /// Into a pipe.
    Pipe(&'a mut dyn Write),
}

/// Writes everything at `dir` into an archive, below the name `id`. Interrupted, no file is left.
///
/// # Errors
/// [`Error::Exists`], [`Error::Changed`] where a file became shorter meanwhile, [`Error::Stopped`].
pub fn export(
    tree: &dyn Tree,
    dir: &Path,
    id: &OsStr,
    to: Destination<'_>,
    compression: Compression,
    task: &dyn Task,
) -> Result<Exported> {
    match to {
        Destination::Pipe(out) => {
            let done = pack(tree, dir, id, &mut *out, compression, task)?;
            out.flush().map_err(at_path("write to", Path::new("standard output")))?;
            Ok(done)
        }
        Destination::File { path, replaces } => {
            if !replaces && fs::symlink_metadata(path).is_ok() {
                return Err(Error::Exists { path: recall::printable(path) });
            }
            let temporary = beside(path);
            let done = pack_to_file(tree, dir, id, &temporary, compression, task)
                .and_then(|done| publish(&temporary, path, replaces).map(|()| done));
            if done.is_err() {
                // Why it is, is what is to be told.
                let _ = fs::remove_file(&temporary);
            }
            done
        }
    }
}

/// The name under which a file grows.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".verso-part");
    path.with_file_name(name)
}

fn pack_to_file(
    tree: &dyn Tree,
    dir: &Path,
    id: &OsStr,
    path: &Path,
    compression: Compression,
    task: &dyn Task,
) -> Result<Exported> {
    let file = File::create(path).map_err(at_path("make", path))?;
    let done = pack(tree, dir, id, &file, compression, task)?;
    file.sync_all().map_err(at_path("write", path))?;
    Ok(done)
}

fn publish(temporary: &Path, path: &Path, replaces: bool) -> Result<()> {
    let placed = match replaces {
        true => fs::rename(temporary, path),
        // A link fails where something is, a rename does not.
        false => fs::hard_link(temporary, path).and_then(|()| fs::remove_file(temporary)),
    };
    let placed = match placed {
        // A disk without links (FAT): it was looked for when this began.
        Err(error) if !replaces && error.kind() != io::ErrorKind::AlreadyExists => {
            fs::rename(temporary, path)
        }
        placed => placed,
    };
    placed.map_err(at_path("put in place", path))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_dir(parent.unwrap_or(Path::new("."))).map_err(at_path("write", path))
}

fn pack(
    tree: &dyn Tree,
    dir: &Path,
    id: &OsStr,
    out: impl Write,
    compression: Compression,
    task: &dyn Task,
) -> Result<Exported> {
    let unwritten = at_path("write", Path::new("the archive"));
    let out = BufWriter::with_capacity(BLOCK_BYTES, out);
    match compression {
        Compression::None => {
            let (mut out, done) = packed(tree, dir, id, out, task)?;
            out.flush().map(|()| done).map_err(unwritten)
        }
        Compression::Gzip => {
            let encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            let (encoder, done) = packed(tree, dir, id, encoder, task)?;
            let flushed = encoder.finish().and_then(|mut out| out.flush());
            flushed.map(|()| done).map_err(unwritten)
        }
        Compression::Zstd => {
            let encoder =
                zstd::stream::write::Encoder::new(out, ZSTD_LEVEL).and_then(|mut encoder| {
                    encoder.include_checksum(true)?;
                    Ok(encoder)
                });
            let encoder = encoder.map_err(at_path("write", Path::new("the archive")))?;
            let (encoder, done) = packed(tree, dir, id, encoder, task)?;
            let flushed = encoder.finish().and_then(|mut out| out.flush());
            flushed.map(|()| done).map_err(unwritten)
        }
    }
}

fn packed<W: Write>(
    tree: &dyn Tree,
    dir: &Path,
    id: &OsStr,
    out: W,
    task: &dyn Task,
) -> Result<(W, Exported)> {
    let (done, linked) = (Exported::default(), HashMap::new());
    let is_past = dir.iter().any(|part| part == ".versions");
    let mut packer = Packer { tree, out: Builder::new(out), linked, is_past, task, done };
    let top = tree.attr(dir).map_err(at(tree, "look at", dir))?;
    packer.add(dir, Path::new(id), &top)?;
    walk(tree, dir, &mut |path, attr| {
        packer.add(&dir.join(path), &Path::new(id).join(path), attr)
    })?;
    let done = packer.done;
    let out = packer.out.into_inner().map_err(at_path("write", Path::new("the archive")))?;
    Ok((out, done))
}

struct Packer<'a, W: Write> {
    tree: &'a dyn Tree,
    out: Builder<W>,
    /// Of files with several names, the first one in the archive.
    linked: HashMap<Ino, PathBuf>,
    /// How many names a file has is not told of the past.
    is_past: bool,
    task: &'a dyn Task,
    done: Exported,
}

impl<W: Write> Packer<'_, W> {
    /// Adds what is at `path` by the name `name`.
    fn add(&mut self, path: &Path, name: &Path, attr: &Attr) -> Result<()> {
        if self.task.is_stopped() {
            return Err(Error::Stopped);
        }
        self.task.progress(self.done.bytes, 0);
        if attr.kind == FileKind::Socket {
            self.done.left_out += 1;
            return Ok(());
        }
        let mut header = header(attr);
        let mut records = times(attr);
        if let Some(first) = self.first_name(name, attr) {
            header.set_entry_type(EntryType::Link);
            set_link(&mut header, &mut records, first.as_os_str().as_bytes());
            return self.append(header, &records, (path, name), &mut io::empty());
        }
        match attr.kind {
            FileKind::Symlink => {
                let target = self.tree.target(path).map_err(at(self.tree, "read", path))?;
                set_link(&mut header, &mut records, target.as_os_str().as_bytes());
            }
            _ => self.add_xattrs(path, &mut records)?,
        }
        if attr.kind != FileKind::File {
            return self.append(header, &records, (path, name), &mut io::empty());
        }
        header.set_size(attr.size);
        let source = self.tree.open(path).map_err(at(self.tree, "read", path))?;
        let content = Content { source, size: attr.size, at: 0, data: 0..0, task: self.task };
        self.done.bytes += attr.size;
        let mut content = BufReader::with_capacity(BLOCK_BYTES, content);
        self.append(header, &records, (path, name), &mut content)?;
        self.check_unchanged(path, attr)
    }

    /// What was read is one content, and not some of two.
    fn check_unchanged(&self, path: &Path, before: &Attr) -> Result<()> {
        if self.is_past {
            return Ok(());
        }
        let now = self.tree.attr(path).map_err(at(self.tree, "look at", path))?;
        match (now.ino, now.size, now.mtime) == (before.ino, before.size, before.mtime) {
            true => Ok(()),
            false => Err(Error::Changed { path: self.tree.shown(path) }),
        }
    }

    fn first_name(&mut self, name: &Path, attr: &Attr) -> Option<PathBuf> {
        let is_single = attr.nlink == 1 && !self.is_past;
        if is_single || attr.kind == FileKind::Directory {
            return None;
        }
        let first = self.linked.get(&attr.ino).cloned();
        if first.is_none() {
            self.linked.insert(attr.ino, name.to_owned());
        }
        first
    }

    fn add_xattrs(&mut self, path: &Path, records: &mut Records) -> Result<()> {
        for (name, value) in recall::own_xattrs(self.tree, path)? {
            let list = LISTS.iter().find(|(attribute, _)| *attribute == name);
            if let (Some((_, key)), Ok(Some(acl))) = (list, Acl::from_xattr(&value)) {
                records.push(((*key).to_owned(), acl.to_text().into_bytes()));
                continue;
            }
            match String::from_utf8(name) {
                Ok(name) if !name.contains('=') && !name.as_bytes().starts_with(TOLD) => {
                    records.push((format!("{}{name}", super::members::XATTR), value));
                }
                _ => self.done.left_out += 1,
            }
        }
        Ok(())
    }

    fn append(
        &mut self,
        mut header: Header,
        records: &Records,
        (path, name): (&Path, &Path),
        content: &mut dyn Read,
    ) -> Result<()> {
        let records = records.iter().map(|(key, value)| (&key[..], &value[..]));
        let written = self.out.append_pax_extensions(records);
        let written = written.and_then(|()| self.out.append_data(&mut header, name, content));
        self.done.files += 1;
        written.map_err(|error| match error.kind() {
            _ if self.task.is_stopped() => Error::Stopped,
            io::ErrorKind::UnexpectedEof => Error::Changed { path: self.tree.shown(path) },
            _ => at(self.tree, "export", path)(error),
        })
    }
}

/// Extended records: keys and values.
type Records = Vec<(String, Vec<u8>)>;

fn header(attr: &Attr) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(match attr.kind {
        FileKind::File | FileKind::Socket => EntryType::Regular,
        FileKind::Directory => EntryType::Directory,
        FileKind::Symlink => EntryType::Symlink,
        FileKind::Fifo => EntryType::Fifo,
        FileKind::CharDevice => EntryType::Char,
        FileKind::BlockDevice => EntryType::Block,
    });
    header.set_mode(u32::from(attr.mode.bits()));
    header.set_uid(u64::from(attr.uid));
    header.set_gid(u64::from(attr.gid));
    header.set_size(0);
    header.set_mtime(u64::try_from(attr.mtime.0.div_euclid(1_000_000_000)).unwrap_or(0));
    if matches!(attr.kind, FileKind::CharDevice | FileKind::BlockDevice) {
        let (major, minor) =
            ((attr.rdev >> 8) & 0xfff, (attr.rdev & 0xff) | ((attr.rdev >> 12) & 0xf_ff00));
        let set = header.set_device_major(major).and_then(|()| header.set_device_minor(minor));
        set.expect("a GNU header has both fields");
    }
    header
}

/// The times to the nanosecond, for which the header has no room.
fn times(attr: &Attr) -> Records {
    let text = |time: Timestamp| {
        let (sign, nanos) = (if time.0 < 0 { "-" } else { "" }, time.0.unsigned_abs());
        format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000).into_bytes()
    };
    vec![("mtime".into(), text(attr.mtime)), ("atime".into(), text(attr.atime))]
}

/// Where a link leads, to the byte: the crate would take its components apart.
fn set_link(header: &mut Header, records: &mut Records, target: &[u8]) {
    if target.len() > LINK_BYTES_MAX {
        records.push(("linkpath".into(), target.to_vec()));
    }
    let short = &target[..target.len().min(LINK_BYTES_MAX)];
    // It fits; what it could say otherwise is in the record.
    let _ = header.set_link_name_literal(short);
}

/// A file's content with zeros for its holes: exactly as many bytes as its header says.
struct Content<'a> {
    source: Box<dyn Source + 'a>,
    size: u64,
    at: u64,
    /// What is known to be no hole; all before it is one, from `at` on.
    data: Range<u64>,
    task: &'a dyn Task,
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.task.is_stopped() {
            return Err(io::Error::other("stopped"));
        }
        let room = (self.size - self.at).min(into.len() as u64);
        if room == 0 {
            return Ok(0);
        }
        if self.at >= self.data.end {
            self.data = self.source.next_data(self.at)?.unwrap_or(self.size..self.size);
        }
        let hole = self.data.start.saturating_sub(self.at).min(room);
        let read = match hole {
            0 => {
                let len = room.min(self.data.end - self.at) as usize;
                self.source.read_at(self.at, &mut into[..len])?
            }
            hole => {
                into[..hole as usize].fill(0);
                hole as usize
            }
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.task.pace(read as u64);
        self.at += read as u64;
        Ok(read)
    }
}
