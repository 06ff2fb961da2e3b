//! `verso log`, `cat`, `diff`, `restore`, `undelete` and `rewind`: on a mounted drive, or on a store.

use super::{failed, mountpoint, read_settings, store};
use crate::cli::{
    CatArgs, DestArgs, DiffArgs, Exit, Failure, LogArgs, MountFlags, PathArgs, Reader, RestoreArgs,
    RewindArgs, UndeleteArgs, Waiting, show_done, show_file_diff, show_log, show_rewind,
    show_tree_diff,
};
use crate::http::Client;
use crate::model::{FileKind, Moment, Timestamp, Zone, moment_name, parse_when};
use crate::recall::{
    self, Error, Local, Past, Pick, Place, Rewind, Stored, Tree, Users, pick, printable,
    write_content,
};
use crate::sys::{self, Clock, SystemClock, mounts};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

/// The directory of a directory's history, in which nothing is named to these commands.
const HISTORY: &str = ".versions";
/// A directory is compared with what it was so long ago, if nothing else is said.
const DIFF_NANOS: i64 = 24 * 3600 * 1_000_000_000;
/// How often long work says how far it is: after so many steps.
const STEPS_PER_TICK: u32 = 16;

/// `verso log`
pub(super) fn log(args: &LogArgs, config: Option<&Path>) -> Result<(), Failure> {
    let reader = reader();
    let since = args.since.as_deref().map(|text| moment(text, &reader)).transpose()?;
    on_tree(&args.path, config, false, |tree, path| {
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
pub(super) fn cat(args: &CatArgs, config: Option<&Path>) -> Result<(), Failure> {
    let which = which(args.version, args.at.as_deref(), Pick::Newest, &reader())?;
    on_tree(&args.path, config, false, |tree, path| {
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
pub(super) fn diff(args: &DiffArgs, config: Option<&Path>) -> Result<(), Failure> {
    let reader = reader();
    let from = args.from.as_deref().map(|text| moment(text, &reader)).transpose()?;
    let to = args.to.as_deref().map(|text| moment(text, &reader)).transpose()?;
    on_tree(&args.path, config, false, |tree, path| {
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
pub(super) fn restore(args: &RestoreArgs, config: Option<&Path>) -> Result<(), Failure> {
    let reader = reader();
    let which = which(args.version, args.at.as_deref(), Pick::Earlier, &reader)?;
    put_back(&args.path, &args.dest, config, &reader, args.json, &|tree, path, place, progress| {
        recall::restore(tree, path, which, place, progress)
    })
}

/// `verso undelete`
pub(super) fn undelete(args: &UndeleteArgs, config: Option<&Path>) -> Result<(), Failure> {
    let reader = reader();
    put_back(
        &args.path,
        &args.dest,
        config,
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
    config: Option<&Path>,
    reader: &Reader,
    json: bool,
    put: &Put<'_>,
) -> Result<(), Failure> {
    let outside = dest.to.as_deref().map(|to| destination(to, &path.path)).transpose()?;
    let writes = outside.is_none();
    on_tree(path, config, writes, |tree, path| {
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

/// Where `--to` leads, relative to `/`: within it, if it is a directory.
fn destination(to: &Path, path: &Path) -> Result<PathBuf, Failure> {
    let cannot = |error: &dyn std::fmt::Display| failed(Exit::Failure, "cannot use", to, error);
    let target = match (std::fs::metadata(to), path.file_name()) {
        (Ok(found), Some(name)) if found.is_dir() => to.join(name),
        _ => to.to_owned(),
    };
    let name = target.file_name().ok_or_else(|| cannot(&"it names no file"))?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize();
    let parent = parent.map_err(|error| {
        cannot(&error).help("the directory in which it is to be must be there: `mkdir -p` makes it")
    })?;
    let whole = parent.join(name);
    Ok(whole.strip_prefix("/").unwrap_or(&whole).to_owned())
}

/// `verso rewind`
pub(super) fn rewind(args: &RewindArgs, config: Option<&Path>) -> Result<(), Failure> {
    let reader = reader();
    let target = moment(&args.at, &reader)?;
    on_tree(&args.path, config, !args.preview, |tree, path| {
        let shown = tree.shown(path);
        let mut waiting = Work::new(format!("comparing {shown}"), "entries");
        let plan = recall::plan_rewind(tree, path, target, &mut |done, _| waiting.step(done, 0))?;
        drop(waiting);
        let undo = match args.preview || plan.changes.is_empty() {
            true => None,
            false => Some(carry_out(tree, &plan, &shown)?),
        };
        let command = command_to_rewind(args);
        let undo = undo.map(|moment| (moment, &command[..]));
        show_rewind(&plan, (&shown, target), undo, &reader, args.json)
            .map_err(|error| unshown(&error))
    })
}

fn carry_out(tree: &dyn Tree, plan: &Rewind, shown: &str) -> Result<Moment, Failure> {
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
fn quoted(path: &Path) -> String {
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

/// Runs `work` on the drive in which the path lies, and on the path within it.
fn on_tree(
    args: &PathArgs,
    config: Option<&Path>,
    writes: bool,
    work: impl FnOnce(&dyn Tree, &Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some(store) = &args.store else {
        let (root, path) = on_drive(&args.path)?;
        return work(&local(&root)?, &path);
    };
    let path = within_store(&args.path)?;
    let store = store
        .canonicalize()
        .map_err(|error| failed(Exit::Store, "cannot use the store", store, &error))?;
    match mounted_at(&store)? {
        Some(root) => work(&local(&root)?, &path),
        None => on_store(&store, config, writes, |tree| work(tree, &path)),
    }
}

fn local(root: &Path) -> Result<Local, Failure> {
    Local::new(root).map_err(|error| failed(Exit::Mountpoint, "cannot open", root, &error))
}

/// Opens the store under its lock. Only what writes opens it for writing, which also recovers it after a crash.
fn on_store(
    store: &Path,
    config: Option<&Path>,
    writes: bool,
    work: impl FnOnce(&dyn Tree) -> Result<(), Failure>,
) -> Result<(), Failure> {
    sys::make_private_files();
    let mut config = read_settings(config, Some(store))?.config()?;
    // It is hidden from programs on the mount, if at all, and not from who has the store.
    config.history.directory = true;
    let flags = MountFlags { read_only: !writes, ..MountFlags::default() };
    let volume = store::open(store, &config, &flags)?;
    let (uid, gid) = sys::current_user();
    let outcome = work(&Stored::new(&volume, uid, gid));
    let closed = volume.close().map_err(|error| failed(Exit::Store, "cannot close", store, &error));
    outcome.and(closed)
}

/// Where a daemon has the store mounted; `None` if none runs.
fn mounted_at(store: &Path) -> Result<Option<PathBuf>, Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        failed(Exit::Failure, "cannot ask the daemon of", store, error)
    };
    let Some(daemon) = Client::connect(store).map_err(|error| cannot(&error))? else {
        return Ok(None);
    };
    let answer = daemon.get("/v1/status").map_err(|error| cannot(&error))?;
    let status = answer.success().map_err(|error| cannot(&error))?;
    let mountpoint = status["daemon"]["mountpoint"].as_str().map(PathBuf::from);
    let mountpoint = mountpoint.ok_or_else(|| cannot(&"it does not say where it is mounted"))?;
    let mount = mounts::at(&mountpoint).map_err(|error| cannot(&error))?;
    match mount.is_some_and(|mount| mount.is_verso() && mount.source == store) {
        true => Ok(Some(mountpoint)),
        false => {
            let message = format!(
                "{}: is mounted at {}, which cannot be seen from here",
                store.display(),
                mountpoint.display()
            );
            Err(Failure::new(Exit::Mountpoint, message)
                .help("run the command where the drive is mounted, or unmount it first"))
        }
    }
}

/// The path within the drive of a store.
fn within_store(path: &Path) -> Result<PathBuf, Failure> {
    let mut found = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => found.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                let message = format!("{}: `..` leads nowhere in a store", printable(path));
                return Err(
                    Failure::new(Exit::Usage, message).help("name it from the drive's root")
                );
            }
        }
    }
    check_no_history(&found)?;
    Ok(found)
}

/// The mounted drive in which a path lies, and the path within it. What is left of the path behind the last directory
/// that exists need not be there any more.
fn on_drive(path: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    if mountpoint::is_dead(path) {
        let message = format!("{}: the daemon behind this mount has died", printable(path));
        return Err(Failure::new(Exit::Mountpoint, message)
            .help("mount the store again at the same place: that clears it"));
    }
    let (real, rest) = existing(path)?;
    check_no_history(&rest)?;
    let mount = mounts::containing(&real).map_err(|error| {
        failed(Exit::Failure, "cannot read", Path::new("/proc/self/mountinfo"), &error)
    })?;
    let Some(mount) = mount.filter(mounts::Mount::is_verso) else {
        let message = format!("{}: is on no mounted drive", printable(path));
        return Err(Failure::new(Exit::Store, message).help(
            "name something on a mounted drive, or the store with --store and the path within it",
        ));
    };
    let within = real.strip_prefix(&mount.mountpoint).unwrap_or(Path::new(""));
    check_no_history(within)?;
    let whole = if rest.as_os_str().is_empty() { within.to_owned() } else { within.join(rest) };
    Ok((mount.mountpoint, whole))
}

/// The deepest directory on the way that exists, resolved, and what is left of the path. A symbolic link at the end
/// stands for itself.
fn existing(path: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failure, format!("cannot find {}: {error}", printable(path)))
    };
    let is_directory = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let mut names: Vec<OsString> = Vec::new();
    let mut at = path.to_owned();
    if !is_directory {
        names.push(at.file_name().ok_or_else(|| cannot(&"there is no such directory"))?.to_owned());
        at.pop();
    }
    loop {
        let here = if at.as_os_str().is_empty() { Path::new(".") } else { &at };
        match here.canonicalize() {
            Ok(real) => return Ok((real, names.into_iter().rev().collect())),
            Err(error) if is_missing(&error) => {
                let name = at.file_name().ok_or_else(|| cannot(&error))?.to_owned();
                names.push(name);
                at.pop();
            }
            Err(error) => return Err(cannot(&error)),
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn check_no_history(path: &Path) -> Result<(), Failure> {
    if path.components().all(|part| part.as_os_str() != HISTORY) {
        return Ok(());
    }
    let message = format!("{}: is history itself", printable(path));
    Err(Failure::new(Exit::Usage, message)
        .help("name the file or directory whose history it is; --at and --version say which state"))
}

fn reader() -> Reader {
    let now = Moment(SystemClock.now().0);
    Reader { now, zone: Zone::system(), users: Users::read() }
}

fn moment(text: &str, reader: &Reader) -> Result<Moment, Failure> {
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

fn unshown(error: &serde_json::Error) -> Failure {
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
            Error::NotThen { .. } | Error::NoVersion { .. } => {
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

    #[test]
    fn a_path_in_a_store_begins_at_its_root() {
        assert_eq!(within_store(Path::new("/a/./b/")).unwrap(), Path::new("a/b"));
        assert_eq!(within_store(Path::new("/")).unwrap(), Path::new(""));
        assert_eq!(within_store(Path::new("a/../b")).unwrap_err().exit, Exit::Usage);
        assert_eq!(within_store(Path::new("a/.versions/b")).unwrap_err().exit, Exit::Usage);
    }
}
