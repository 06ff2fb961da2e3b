//! Importing a project, from a directory or from a tar archive.

use super::archive::open_again;
use super::error::{Error, Result, at, at_path};
use super::members::{Kind, Member, Members};
use super::note::Note;
use super::project::check_name;
use super::receive::{Imported, Meta, Receiver};
use super::survey::walk;
use super::{PROJECTS, UNFINISHED};
use crate::model::{Attr, FileKind, Ino};
use crate::recall::{self, Local, Sink, Tree, attr_if_any, printable};
use crate::sys::{Task, failpoint};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is copied at once; zeros of this length, at multiples of it, become holes.
const BLOCK_BYTES: usize = 64 << 10;
/// How the names of archives end.
const ENDINGS: [&str; 5] = [".tar.zst", ".tar.gz", ".tar", ".tgz", ".tzst"];

/// Where a project comes from.
pub enum Source<'a> {
    /// A directory.
    Directory(&'a Path),
    /// A tar archive, plain, or compressed with zstd or gzip.
    Archive(&'a Path),
    /// The same, from a pipe.
    Pipe(Box<dyn Read + 'a>),
    /// The same, from another machine. Where that can't be reached (`HostUnreachable`), what came of it stays.
    Remote {
        /// What it is called, for people.
        from: String,
        /// Its bytes.
        input: Box<dyn Read + 'a>,
    },
}

/// What a project is called that comes from there, if nothing else is said.
pub fn import_name(from: &Path) -> Option<OsString> {
    let name = from.file_name()?;
    let bytes = name.as_bytes();
    let stem = ENDINGS.iter().find_map(|ending| bytes.strip_suffix(ending.as_bytes()));
    Some(OsStr::from_bytes(stem.unwrap_or(bytes)).to_owned()).filter(|name| !name.is_empty())
}

/// Imports a project as `projects/ID`. It grows under a hidden name beside it; killed, the same import goes on there.
///
/// Of an archive that holds one directory and nothing else, that directory becomes the project.
///
/// # Errors
/// [`Error::Exists`]; [`Error::Import`] for what can't be imported, of which nothing is left; [`Error::Stopped`].
pub fn import(
    tree: &dyn Tree,
    id: &OsStr,
    source: Source<'_>,
    task: &dyn Task,
) -> Result<Imported> {
    check_name(id)?;
    let target = Path::new(PROJECTS).join(id);
    let mut name = OsString::from(format!("{UNFINISHED}import-"));
    name.push(id);
    let root = Path::new(PROJECTS).join(name);
    if attr_if_any(tree, &target).map_err(at(tree, "look at", &target))?.is_some() {
        return Err(Error::Exists { path: tree.shown(&target) });
    }
    task.step(&format!("importing {}", printable(Path::new(id))));
    let from = match &source {
        Source::Directory(path) | Source::Archive(path) => printable(path),
        Source::Pipe(_) => "standard input".to_owned(),
        Source::Remote { from, .. } => from.clone(),
    };
    let mut receiver = Receiver::new(tree, &root, from, task)?;
    let received = match source {
        Source::Directory(path) => from_directory(&mut receiver, path, task),
        Source::Archive(path) => {
            let file = File::open(path).map_err(at_path("read", path));
            file.and_then(|file| from_archive(&mut receiver, Box::new(file), task))
        }
        Source::Pipe(input) | Source::Remote { input, .. } => {
            from_archive(&mut receiver, input, task)
        }
    };
    if let Err(error) = received {
        if matches!(error, Error::Import { .. }) {
            receiver.discard();
        }
        return Err(error);
    }
    put_in_place(tree, receiver, &root, &target)
}

fn put_in_place(
    tree: &dyn Tree,
    receiver: Receiver<'_>,
    root: &Path,
    target: &Path,
) -> Result<Imported> {
    let only = receiver.only_directory()?;
    let done = receiver.finish()?;
    failpoint::hit("import-whole");
    let whole = only.as_deref().unwrap_or(root);
    // Who is not root may only move a directory to another one if it can be written to.
    let mode = tree.attr(whole).map_err(at(tree, "look at", whole))?.mode.bits();
    // What was archived when it was exported becomes what it was before that: in `projects` its note would say that it is
    // being archived.
    let note = Note::of(tree, whole)?.map(|(_, note)| Note { is_leaving: true, ..note });
    let is_closed = (only.is_some() || note.is_some()) && mode & 0o200 == 0;
    if is_closed {
        let open = tree.set_mode(whole, u32::from(mode | 0o200));
        open.map_err(at(tree, "set the permissions of", whole))?;
    }
    if let Some(note) = &note {
        note.write(tree, whole)?;
    }
    tree.rename(whole, target, false).map_err(at(tree, "put in place", target))?;
    failpoint::hit("import-moved");
    if let Some(note) = &note {
        open_again(tree, target, Some(note))?;
    } else if is_closed {
        let closed = tree.set_mode(target, u32::from(mode));
        closed.map_err(at(tree, "set the permissions of", target))?;
    }
    if only.is_some() {
        // Empty, and hidden: nothing is lost where it stays.
        let _ = tree.remove(root, FileKind::Directory);
    }
    tree.sync(Path::new(PROJECTS)).map_err(at(tree, "write", target))?;
    Ok(done)
}

fn from_directory(receiver: &mut Receiver<'_>, from: &Path, task: &dyn Task) -> Result<()> {
    let from_tree = Local::new(from).map_err(at_path("read", from))?;
    let from_tree: &dyn Tree = &from_tree;
    let top = Path::new("");
    let attr = from_tree.attr(top).map_err(at_path("look at", from))?;
    if attr.kind != FileKind::Directory {
        return Err(receiver.refusal("it is neither a directory nor a tar archive"));
    }
    receiver.directory(top, Meta::of(&attr, xattrs(from_tree, top)?))?;
    // Of files with several names, where the first one is.
    let mut linked: HashMap<Ino, PathBuf> = HashMap::new();
    walk(from_tree, top, &mut |path, attr| {
        if attr.nlink > 1 && attr.kind != FileKind::Directory {
            match linked.get(&attr.ino) {
                Some(first) => return receiver.link(path, first),
                None => linked.insert(attr.ino, path.to_owned()),
            };
        }
        take(receiver, from_tree, path, attr, task)
    })
}

fn take(
    receiver: &mut Receiver<'_>,
    from: &dyn Tree,
    path: &Path,
    attr: &Attr,
    task: &dyn Task,
) -> Result<()> {
    if !is_allowed(path) {
        receiver.leave_out(path, "no file can have this name on a drive");
        return Ok(());
    }
    let meta = match attr.kind {
        FileKind::Symlink => Meta::of(attr, Vec::new()),
        _ => Meta::of(attr, xattrs(from, path)?),
    };
    match attr.kind {
        FileKind::Directory => receiver.directory(path, meta),
        FileKind::File => {
            receiver.file(path, &meta, &mut |sink| copy(from, path, attr, sink, task))
        }
        FileKind::Symlink => {
            let target = from.target(path).map_err(at(from, "read", path))?;
            receiver.symlink(path, &target, &meta)
        }
        _ => receiver.special(path, &meta),
    }
}

fn xattrs(tree: &dyn Tree, path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    Ok(recall::own_xattrs(tree, path)?)
}

/// Copies a file's content, without its holes, and without moving bytes where both are on one drive.
fn copy(
    from: &dyn Tree,
    path: &Path,
    attr: &Attr,
    sink: &mut dyn Sink,
    task: &dyn Task,
) -> io::Result<()> {
    let source = from.open(path)?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut offset = 0;
    while let Some(data) = source.next_data(offset)?.filter(|data| data.start < attr.size) {
        offset = data.start;
        let end = data.end.min(attr.size);
        while offset < end && !task.is_stopped() {
            let mut copied = sink.share(&*source, offset, end - offset)?;
            if copied == 0 {
                let len = BLOCK_BYTES.min(usize::try_from(end - offset).unwrap_or(BLOCK_BYTES));
                copied = source.read_at(offset, &mut block[..len])? as u64;
                if copied == 0 {
                    return Err(io::Error::other("it was cut while it was read"));
                }
                task.pace(copied);
                sink.write_at(offset, &block[..copied as usize])?;
            }
            offset += copied;
        }
        if task.is_stopped() {
            break;
        }
    }
    Ok(())
}

fn from_archive<'a>(
    receiver: &mut Receiver<'_>,
    input: Box<dyn Read + 'a>,
    task: &dyn Task,
) -> Result<()> {
    let unreadable = |receiver: &Receiver<'_>, source: io::Error| match source.kind() {
        _ if task.is_stopped() => Error::Stopped,
        io::ErrorKind::HostUnreachable => receiver.unread(source),
        _ => receiver.refusal(source.to_string()),
    };
    let input = decompressed(input).map_err(|error| unreadable(receiver, error))?;
    let mut members = Members::new(input);
    let mut is_empty = true;
    while let Some(member) = members.next().map_err(|error| unreadable(receiver, error))? {
        is_empty = false;
        put(receiver, &mut members, &member, task)?;
    }
    match is_empty {
        true => Err(receiver.refusal("there is nothing in it")),
        false => Ok(()),
    }
}

/// Whatever of the three forms it is, by how it begins.
fn decompressed<'a>(mut input: Box<dyn Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::new();
    (&mut input).take(6).read_to_end(&mut start)?;
    let input = BufReader::with_capacity(1 << 20, io::Cursor::new(start.clone()).chain(input));
    Ok(match &start[..] {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        [0xfd, b'7', b'z', b'X', b'Z', ..] | [b'B', b'Z', b'h', ..] | [b'P', b'K', ..] => {
            let why = "it is neither a directory nor a tar archive, plain or compressed with zstd or gzip";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        _ => Box::new(input),
    })
}

fn put<R: Read>(
    receiver: &mut Receiver<'_>,
    members: &mut Members<R>,
    member: &Member,
    task: &dyn Task,
) -> Result<()> {
    let path = inner(receiver, &member.path)?;
    if !is_allowed(&path) {
        receiver.leave_out(&path, "no file can have this name on a drive");
        return Ok(());
    }
    let is_root = path.as_os_str().is_empty();
    let Some(kind) = kind_of(member) else {
        let why = match member.kind {
            Kind::Device => "device nodes are not imported",
            _ => "it is of a kind that no file comes of",
        };
        receiver.leave_out(&path, why);
        return Ok(());
    };
    let meta = Meta {
        kind,
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        rdev: 0,
        size: member.size,
        mtime: member.mtime,
        atime: member.atime.unwrap_or(member.mtime),
        xattrs: member.xattrs.clone(),
    };
    match member.kind {
        Kind::Directory => receiver.directory(&path, meta),
        _ if is_root => Err(receiver.refusal("a file in it has no name")),
        Kind::File => receiver.file(&path, &meta, &mut |sink| unpack(members, member, sink, task)),
        Kind::Symlink => receiver.symlink(&path, Path::new(OsStr::from_bytes(&member.link)), &meta),
        Kind::Link => {
            let first = inner(receiver, &member.link)?;
            receiver.link(&path, &first)
        }
        Kind::Fifo | Kind::Device | Kind::Other(_) => receiver.special(&path, &meta),
    }
}

/// What comes of a member; nothing, of what no import makes.
fn kind_of(member: &Member) -> Option<FileKind> {
    Some(match member.kind {
        Kind::File | Kind::Link => FileKind::File,
        Kind::Symlink => FileKind::Symlink,
        Kind::Directory => FileKind::Directory,
        Kind::Fifo => FileKind::Fifo,
        Kind::Device | Kind::Other(_) => return None,
    })
}

/// The path of a member within the archive.
///
/// # Errors
/// Whoever made one that leads out of it meant harm, or made a mistake: none of it is taken.
fn inner(receiver: &Receiver<'_>, bytes: &[u8]) -> Result<PathBuf> {
    let shown = || printable(Path::new(OsStr::from_bytes(bytes)));
    if bytes.starts_with(b"/") {
        return Err(receiver.refusal(format!("{} is an absolute path", shown())));
    }
    let mut path = PathBuf::new();
    for part in bytes.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(receiver.refusal(format!("{} leads out of it", shown()))),
            part if part.contains(&0) => {
                return Err(receiver.refusal(format!("{} can't be a name", shown())));
            }
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok(path)
}

/// Whether a drive can hold names like these: `.versions` is its history everywhere.
fn is_allowed(path: &Path) -> bool {
    path.iter().all(|part| part != ".versions")
}

fn unpack<R: Read>(
    members: &mut Members<R>,
    member: &Member,
    sink: &mut dyn Sink,
    task: &dyn Task,
) -> io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    for (start, len) in &member.segments {
        let mut offset = *start;
        let end = start + len;
        while offset < end && !task.is_stopped() {
            // Up to the next multiple of a block, so that blocks of zeros are found.
            let aligned = BLOCK_BYTES - (offset % BLOCK_BYTES as u64) as usize;
            let len = aligned.min(usize::try_from(end - offset).unwrap_or(aligned));
            let mut filled = 0;
            while filled < len {
                match members.read(&mut block[filled..len])? {
                    0 => return Err(io::Error::new(io::ErrorKind::InvalidData, "it is cut off")),
                    read => filled += read,
                }
            }
            task.pace(len as u64);
            if block[..len].iter().any(|byte| *byte != 0) {
                sink.write_at(offset, &block[..len])?;
            }
            offset += len as u64;
        }
    }
    Ok(())
}
