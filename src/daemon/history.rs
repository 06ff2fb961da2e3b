//! `verso log`, `cat`, `diff`, `restore`, `undelete` and `rewind`: on a mounted drive, or on a store.

use super::drive::{destination, on_tree};
use super::failed;
use super::secrets::Given;
use crate::cli::{
    CatArgs, DestArgs, DiffArgs, Exit, Failure, LogArgs, PathArgs, Reader, RestoreArgs, RewindArgs,
    UndeleteArgs, Waiting, show_done, show_file_diff, show_log, show_rewind, show_tree_diff,
};
use crate::model::{FileKind, Moment, Timestamp, Zone, moment_name, parse_when};
use crate::recall::{
    self, Error, Local, Past, Pick, Place, Rewind, Rewound, Tree, Users, pick, printable,
    write_content,
};
use crate::sys::{Clock, SystemClock};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

/// A directory is compared with what it was so long ago, if nothing else is said.
const DIFF_NANOS: i64 = 24 * 3600 * 1_000_000_000;
/// How often long work says how far it is: after so many steps.
const STEPS_PER_TICK: u32 = 16;

/// `verso log`
pub(super) fn log(args: &LogArgs, given: &Given) -> Result<(), Failure> {
    let reader = reader();
    let since = args.since.as_deref().map(|text| moment(text, &reader)).transpose()?;
    on_tree(&args.path, given, false, |tree, path| {
        let shown = tree.shown(path);
        let mut waiting = Work::new(format!("reading the history of {shown}"), "events");
        let limit = args.limit;
        let mut step = |done, _| waiting.step(done, 0);
        let mut log = recall::log(tree, path, since, limit, &mut step)?;
        if args.hash {
            log.read_hashes(tree)?;
        }
        drop(waiting);
        show_log(&log, &shown, &reader, args.json).map_err(|error| unshown(&error))
    })
}

/// `verso cat`
pub(super) fn cat(args: &CatArgs, given: &Given) -> Result<(), Failure> {
    let which = which(args.version, args.at.as_deref(), Pick::Newest, &reader())?;
    on_tree(&args.path, given, false, |tree, path| {
        let past = pick(tree, path, which)?;
        let mut out = io::stdout().lock();
        match write_content(tree, &past, &mut out).and_then(|()| flushed(&mut out)) {
            // That nobody reads it any more (`verso cat … | head`) is no failure.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => Ok(outcome?),
        }
    })
}

fn flushed(out: &mut dyn Write) -> Result<(), Error> {
    let (what, path) = ("write to", "standard output".to_owned());
    out.flush().map_err(|source| Error::Io { what, path, source })
}

/// `verso diff`
pub(super) fn diff(args: &DiffArgs, given: &Given) -> Result<(), Failure> {
    let reader = reader();
    let from = args.from.as_deref().map(|text| moment(text, &reader)).transpose()?;
    let to = args.to.as_deref().map(|text| moment(text, &reader)).transpose()?;
    on_tree(&args.path, given, false, |tree, path| {
        let new = state(tree, path, to.map_or(Pick::Newest, Pick::At), to.is_none())?;
        let is_directory = new.as_ref().is_some_and(|new| new.attr.kind == FileKind::Directory);
        let day_ago = Moment(reader.now.0 - DIFF_NANOS);
        let which = match (from, to) {
            (Some(from), _) => Pick::At(from),
            (None, _) if is_directory => Pick::At(day_ago),
            (None, None) => Pick::Earlier,
            (None, Some(_)) => {
                let message = "--to needs --from for a file: to which state is it to be compared?";
                return Err(Failure::new(Exit::Usage, message));
            }
        };
        let old = state(tree, path, which, false)?;
        let title = |which: Pick, past: &Option<Past>| title(tree, path, which, past.as_ref());
        let titles = (title(which, &old), title(to.map_or(Pick::Newest, Pick::At), &new));
        let titles = (&titles.0[..], &titles.1[..]);
        let shown = match (&old, &new) {
            (None, None) => return Err(Error::Unknown { path: tree.shown(path) }.into()),
            (None, Some(_)) if is_directory => return Err(not_then(tree, path, which, &reader)),
            (Some(old), None) if old.attr.kind == FileKind::Directory => {
                return Err(not_then(tree, path, to.map_or(Pick::Newest, Pick::At), &reader));
            }
            (Some(old), Some(new)) if is_directory => {
                let mut waiting = Work::new(format!("comparing {}", tree.shown(path)), "entries");
                let mut progress = |done, bytes| waiting.step(done, bytes);
                let diff = recall::diff_tree(tree, old, new, &mut progress)?;
                drop(waiting);
                show_tree_diff(&diff, titles, args.json)
            }
            (old, new) => {
                let diff = recall::diff_file(tree, old.as_ref(), new.as_ref())?;
                show_file_diff(&diff, titles, args.json)
            }
        };
        shown.map_err(|error| unshown(&error))
    })
}

/// A directory is compared with a state of it, and not with nothing.
fn not_then(tree: &dyn Tree, path: &Path, which: Pick, reader: &Reader) -> Failure {
    let moment = if let Pick::At(moment) = which { moment } else { reader.now };
    let error = Error::NotThen { path: tree.shown(path), when: moment_name(moment) };
    Failure::from(error).help("choose moments at which it was there with --from and --to")
}

/// A state to compare; `None` where it was not there. `must_live`: whether what was deleted counts as not there.
fn state(
    tree: &dyn Tree,
    path: &Path,
    which: Pick,
    must_live: bool,
) -> Result<Option<Past>, Failure> {
    match pick(tree, path, which) {
        Ok(past) if must_live && past.path != path => Ok(None),
        Ok(past) => Ok(Some(past)),
        Err(Error::NotThen { .. } | Error::NoEarlier { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn title(tree: &dyn Tree, path: &Path, which: Pick, past: Option<&Past>) -> String {
    let name = tree.shown(path);
    let version = past.and_then(|past| past.version.as_ref());
    match (which, version.and_then(|version| version.number)) {
        (Pick::At(moment), _) => format!("{name} at {}", moment_name(moment)),
        (Pick::Newest, _) => format!("{name} now"),
        (_, Some(number)) => format!("{name} version {number}"),
        _ => format!("{name} before"),
    }
}

/// `verso restore`
pub(super) fn restore(args: &RestoreArgs, given: &Given) -> Result<(), Failure> {
    let reader = reader();
    let which = which(args.version, args.at.as_deref(), Pick::Earlier, &reader)?;
    put_back(&args.path, &args.dest, given, &reader, args.json, &|tree, path, place, progress| {
        recall::restore(tree, path, which, place, progress)
    })
}

/// `verso undelete`
pub(super) fn undelete(args: &UndeleteArgs, given: &Given) -> Result<(), Failure> {
    let reader = reader();
    put_back(
        &args.path,
        &args.dest,
        given,
        &reader,
        args.json,
        &|tree, path, mut place, progress| {
            // In its own place there is nothing of it to replace.
            place.replaces &= args.dest.to.is_some();
            recall::undelete(tree, path, place, progress)
        },
    )
}

/// How something is put to its place.
type Put<'a> = dyn Fn(&dyn Tree, &Path, Place<'_>, &mut recall::Progress<'_>) -> Result<recall::Done, Error>
    + 'a;

fn put_back(
    path: &PathArgs,
    dest: &DestArgs,
    given: &Given,
    reader: &Reader,
    json: bool,
    put: &Put<'_>,
) -> Result<(), Failure> {
    let outside = dest.to.as_deref().map(|to| destination(to, &path.path)).transpose()?;
    let writes = outside.is_none();
    on_tree(path, given, writes, |tree, path| {
        let everything = Local::new(Path::new("/"))
            .map_err(|error| failed(Exit::Failure, "cannot open", Path::new("/"), &error))?;
        let place = match &outside {
            Some(to) => Place { tree: &everything, path: to, replaces: dest.force },
            None => Place { tree, path, replaces: true },
        };
        let (from, to) = (tree.shown(path), place.tree.shown(place.path));
        let mut waiting = Work::new(format!("restoring {from}"), "files");
        let done = put(tree, path, place, &mut |files, bytes| waiting.step(files, bytes))?;
        drop(waiting);
        show_done(&done, (&from, &to), reader, json).map_err(|error| unshown(&error))
    })
}

/// `verso rewind`
pub(super) fn rewind(args: &RewindArgs, given: &Given) -> Result<(), Failure> {
    let reader = reader();
    let target = moment(&args.at, &reader)?;
    on_tree(&args.path, given, !args.preview, |tree, path| {
        let shown = tree.shown(path);
        let mut waiting = Work::new(format!("comparing {shown}"), "entries");
        let plan = recall::plan_rewind(tree, path, target, &mut |done, _| waiting.step(done, 0))?;
        drop(waiting);
        let undo = match args.preview || plan.changes.is_empty() {
            true => None,
            false => Some(carry_out(tree, &plan, &shown)?),
        };
        let command = command_to_rewind(args);
        let undo = undo.map(|done| (done, &command[..]));
        show_rewind(&plan, (&shown, target), undo, &reader, args.json)
            .map_err(|error| unshown(&error))
    })
}

fn carry_out(tree: &dyn Tree, plan: &Rewind, shown: &str) -> Result<Rewound, Failure> {
    let mut waiting = Work::new(format!("rewinding {shown}"), "files");
    let now = || Moment(SystemClock.now().0);
    let began = now();
    recall::rewind(tree, plan, &now, &mut |files, bytes| waiting.step(files, bytes)).map_err(
        |error| {
            let began = moment_name(began);
            Failure::from(error).help(format!(
                "part of it may be done; run it again when the cause is gone, or undo it with \
                 `verso rewind` and `--at {began}`"
            ))
        },
    )
}

/// The command line as a shell reads it, without the moment.
fn command_to_rewind(args: &RewindArgs) -> String {
    let store = args.path.store.as_deref();
    let store = store.map_or(String::new(), |store| format!(" --store {}", quoted(store)));
    format!("verso rewind{store} {}", quoted(&args.path.path))
}

/// A path as a word of a shell.
pub(super) fn quoted(path: &Path) -> String {
    let text = printable(path);
    let is_plain = |char: char| char.is_alphanumeric() || "/._+~@%=:,-".contains(char);
    match text {
        text if OsStr::new(&text) != path.as_os_str() => {
            format!("$'{}'", text.replace('\'', "\\'"))
        }
        text if text.starts_with('-') => format!("./{text}"),
        text if text.chars().all(is_plain) && !text.starts_with('~') => text,
        text => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

pub(super) fn reader() -> Reader {
    let now = Moment(SystemClock.now().0);
    Reader { now, zone: Zone::system(), users: Users::read() }
}

pub(super) fn moment(text: &str, reader: &Reader) -> Result<Moment, Failure> {
    match parse_when(text, Timestamp(reader.now.0), &reader.zone) {
        Ok(when) => Ok(when.moment),
        Err(error) => Err(Failure::new(Exit::Usage, error.to_string())),
    }
}

fn which(
    version: Option<u64>,
    at: Option<&str>,
    otherwise: Pick,
    reader: &Reader,
) -> Result<Pick, Failure> {
    Ok(match (version, at) {
        (Some(number), _) => Pick::Number(number),
        (None, Some(text)) => Pick::At(moment(text, reader)?),
        (None, None) => otherwise,
    })
}

pub(super) fn unshown(error: &serde_json::Error) -> Failure {
    Failure::new(Exit::Failure, format!("cannot show the result: {error}"))
}

/// Long work, and how far it is.
struct Work {
    waiting: Waiting,
    title: String,
    unit: &'static str,
    steps: u32,
}

impl Work {
    fn new(title: String, unit: &'static str) -> Work {
        Work { waiting: Waiting::new(title.clone()), title, unit, steps: 0 }
    }

    fn step(&mut self, done: u64, bytes: u64) {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(STEPS_PER_TICK) {
            let size = crate::config::format_bytes(bytes);
            let bytes = if bytes > 0 { format!(", {size}") } else { String::new() };
            self.waiting.set_message(format!("{}: {done} {}{bytes}", self.title, self.unit));
            self.waiting.tick();
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let help = match &error {
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "history asks for the same rights as the files: ask their owner, or root"
                }
                io::ErrorKind::ReadOnlyFilesystem => "mount the drive so that it can be written to",
                io::ErrorKind::StorageFull => "make room; what is there now was not touched",
                _ => return Failure::new(Exit::Failure, error.to_string()),
            },
            Error::Unknown { .. } => {
                "look with `verso log` at the directory in which it was, or at its parent"
            }
            Error::NotThen { .. } | Error::NotKept { .. } | Error::NoVersion { .. } => {
                "`verso log` lists what there is, and from when"
            }
            Error::NoEarlier { .. } => "`verso log` lists its versions; choose one with --version",
            Error::NotDeleted { .. } => {
                "`verso log` of the directory in which it was says what was deleted; what was \
                 moved is at its new place"
            }
            Error::Exists { .. } => {
                "choose another place with --to; --force replaces a file there, `verso rewind` \
                 changes a directory"
            }
            Error::NotDirectory { .. } => "name a directory; `verso restore` puts a file back",
            Error::Missing { .. } => {
                "a pin is set on a directory that is there now; name one above it"
            }
            Error::Pinned { .. } => "choose another name, or take this one back with `verso unpin`",
            Error::NoPin { .. } => "`.versions/@pins` of the directory lists them",
            Error::IsDirectory { .. } => "name a file in it",
            Error::NoContent { .. } => "only files have a content to print",
            Error::NoHistory { .. } => {
                "`directory = true` in the section [history] of the settings shows it; unmounted, \
                 use --store"
            }
        };
        Failure::new(Exit::Failure, error.to_string()).help(help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_path_is_a_word_of_a_shell() {
        let quoted = |bytes: &[u8]| quoted(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(quoted(b"/a/b.c"), "/a/b.c");
        assert_eq!(quoted(b"-x"), "./-x");
        assert_eq!(quoted(b"it's a"), "'it'\\''s a'");
        assert_eq!(quoted(b"a'\n\xff"), "$'a\\'\\n\\xff'");
    }
}
