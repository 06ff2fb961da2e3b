//! `verso project`: on a mounted drive, with the rights of whoever asks, or on a store.

use super::contract;
use super::drive::on_tree;
use super::exports::{self, Archive};
use super::history::{moment, quoted, reader, unshown};
use super::secrets::Given;
use crate::cli::{
    DriveArgs, EraseArgs, Exit, ExportArgs, Failure, ImportArgs, PathArgs, ProjectArchiveArgs,
    ProjectCommand, ProjectDeleteArgs, ProjectListArgs, Waiting, say, show_projects, warn,
};
use crate::config::format_bytes;
use crate::fs;
use crate::model::{Moment, Timestamp};
use crate::projects::{
    self, By, Compression, Destination, Error, Exported, Filter, Imported, Order, PROJECTS, Place,
    Source,
};
use crate::recall::{Pick, Tree, pick, printable};
use crate::sys::{self, Task, mounts};
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code of a process that a second Ctrl-C ends at once.
const INTERRUPTED: i32 = 130;

/// `verso project`
pub(super) fn project(command: &ProjectCommand, given: &Given) -> Result<(), Failure> {
    match command {
        ProjectCommand::List(args) => list(args, given),
        ProjectCommand::Archive(args) => archive(args, given),
        ProjectCommand::Unarchive(args) => unarchive(&args.id, &args.drive, given),
        ProjectCommand::Export(args) => export(args, given),
        ProjectCommand::Import(args) => import(args, given),
        ProjectCommand::Delete(args) => delete(args, given),
    }
}

fn list(args: &ProjectListArgs, given: &Given) -> Result<(), Failure> {
    let filter = Filter {
        status: args.status.map(Into::into),
        tags: args.tags.clone(),
        larger: args.larger,
        smaller: args.smaller,
        older: args.older,
        newer: args.newer,
    };
    let reader = reader();
    on_tree(&drive(args.on.as_deref())?, given, false, |tree, _| {
        let task = Following::new("looking at projects")?;
        let mut looked = 0;
        let found = projects::list(tree, &filter, Timestamp(reader.now.0), &mut || {
            looked += 1;
            task.progress(looked, 0);
            if task.is_stopped() { Err(Error::Stopped) } else { Ok(()) }
        })?;
        drop(task);
        show_projects(&found, &reader, args.json).map_err(|error| unshown(&error))
    })
}

fn archive(args: &ProjectArchiveArgs, given: &Given) -> Result<(), Failure> {
    let reader = reader();
    let now = Timestamp(reader.now.0);
    let at = args.at.as_deref().map(|text| moment(text, &reader)).transpose()?;
    let uid = sys::current_user().0;
    let order = Order {
        why: "by hand".into(),
        by: By { uid, name: reader.users.name(uid) },
        now,
        at: at.map_or(now, |at| Timestamp(at.0)),
        zone: reader.zone.clone(),
        unless: None,
    };
    on_tree(&drive(args.drive.on.as_deref())?, given, true, |tree, _| {
        let task = Following::new("archiving")?;
        let done = projects::archive(tree, &args.id, &order, &task)?;
        drop(task);
        let (path, bytes) = (tree.shown(&done.path), format_bytes(done.bytes));
        say(&format!("archived {}: {} files, {bytes}, now in {path}", shown(&args.id), done.files));
        if done.refused > 0 {
            warn(&format!(
                "{} of them belong to others, who can still write to them; as root all are closed",
                done.refused
            ));
        }
        Ok(())
    })
}

fn unarchive(id: &OsStr, drive_args: &DriveArgs, given: &Given) -> Result<(), Failure> {
    on_tree(&drive(drive_args.on.as_deref())?, given, true, |tree, _| {
        let task = Following::new("unarchiving")?;
        let done = projects::unarchive(tree, id, &task)?;
        drop(task);
        say(&format!("unarchived {}: it is in {}", shown(id), tree.shown(&done.path)));
        if !done.is_exact {
            warn(
                "its metadata.json is gone: what it was allowed to whom is not known, its owners may write to all of it",
            );
        }
        if done.refused > 0 {
            warn(&format!("{} files belong to others, and are still closed", done.refused));
        }
        Ok(())
    })
}

fn export(args: &ExportArgs, given: &Given) -> Result<(), Failure> {
    let reader = reader();
    let at = args.at.as_deref().map(|text| moment(text, &reader)).transpose()?;
    if let Some(location) = &args.to {
        return export_to(args, location, at, given);
    }
    let dest = args.dest.as_deref().unwrap_or(Path::new("."));
    let to_pipe = dest == Path::new("-");
    if to_pipe && io::stdout().is_terminal() {
        let message = "an archive is nothing to look at";
        return Err(Failure::new(Exit::Usage, message).help("name a file, or a program after `|`"));
    }
    on_tree(&drive(args.drive.on.as_deref())?, given, false, |tree, _| {
        let (id, path) = meant(tree, &args.id, at)?;
        let task = Following::new("exporting")?;
        task.step(&format!("exporting {}", shown(&id)));
        if to_pipe {
            let mut out = io::stdout().lock();
            let to = Destination::Pipe(&mut out);
            projects::export(tree, &path, &id, to, Compression::None, &task)?;
            return Ok(());
        }
        let (file, compression) = archive_file(dest, &id)?;
        let to = Destination::File { path: &file, replaces: args.force };
        let done = projects::export(tree, &path, &id, to, compression, &task)?;
        drop(task);
        let (bytes, file) = (format_bytes(done.bytes), printable(&file));
        say(&format!("exported {} to {file}: {} entries, {bytes}", shown(&id), done.files));
        warn_of_left_out(&done);
        Ok(())
    })
}

/// `verso project export --to`
fn export_to(
    args: &ExportArgs,
    location: &str,
    at: Option<Moment>,
    given: &Given,
) -> Result<(), Failure> {
    // As everything that backups put there.
    sys::make_private_files();
    let drive = drive(args.drive.on.as_deref())?;
    let spec = exports::location(&drive, location, args.credentials.as_deref(), given)?;
    on_tree(&drive, given, false, |tree, _| {
        let (id, dir) = meant(tree, &args.id, at)?;
        let archive = Archive::named(args.dest.as_deref(), &id)?;
        let task = Following::new("exporting")?;
        task.step(&format!("exporting {}", shown(&id)));
        let (done, sent) = exports::send(tree, (&dir, &id), &archive, args.force, &spec, &task)?;
        drop(task);
        let (id, key, at) = (shown(&id), &archive.key, &spec.name);
        let (bytes, sent) = (format_bytes(done.bytes), format_bytes(sent));
        say(&format!(
            "exported {id} to {key} at {at}: {} entries, {bytes}, packed {sent}",
            done.files
        ));
        warn_of_left_out(&done);
        Ok(())
    })
}

fn warn_of_left_out(done: &Exported) {
    if done.left_out > 0 {
        warn(&format!("{} sockets or odd attributes are not in it", done.left_out));
    }
}

/// The project that is meant, or what it was: its name, and where it is found.
fn meant(tree: &dyn Tree, id: &OsStr, at: Option<Moment>) -> Result<(OsString, PathBuf), Failure> {
    let Some(at) = at else {
        let place = projects::find(tree, id)?;
        return Ok((place.id, place.path));
    };
    let (id, path) = place_then(tree, id);
    let path = pick(tree, &path, Pick::At(at))?.path;
    Ok((id, path))
}

/// Where a project was: it need not be there now.
fn place_then(tree: &dyn Tree, id: &OsStr) -> (OsString, PathBuf) {
    match projects::find(tree, id) {
        Ok(Place { id, path, .. }) => (id, path),
        Err(_) => (id.to_owned(), Path::new(PROJECTS).join(id)),
    }
}

fn archive_file(dest: &Path, id: &OsStr) -> Result<(PathBuf, Compression), Failure> {
    let mut file = dest.to_owned();
    if dest.is_dir() {
        let mut name = id.to_owned();
        name.push(".tar.zst");
        file.push(name);
    }
    match Compression::of(&file) {
        Some(compression) => Ok((file, compression)),
        None => {
            let message = format!("{}: is no name for an archive", printable(dest));
            Err(Failure::new(Exit::Usage, message)
                .help("let it end in .tar.zst, .tar.gz or .tar, or name a directory that is there"))
        }
    }
}

fn import(args: &ImportArgs, given: &Given) -> Result<(), Failure> {
    let is_pipe = args.from == Path::new("-") && args.location.is_none();
    let id = args.id.clone().or_else(|| projects::import_name(&args.from).filter(|_| !is_pipe));
    let Some(id) = id else {
        let message = "what is the project to be called?";
        return Err(Failure::new(Exit::Usage, message).help("say so with --as NAME"));
    };
    if let Some(location) = &args.location {
        return import_from(args, location, &id, given);
    }
    let source = match is_pipe {
        true => Source::Pipe(Box::new(io::stdin().lock())),
        false => source(&args.from)?,
    };
    on_tree(&drive(args.drive.on.as_deref())?, given, true, |tree, _| {
        if let Source::Directory(from) = &source {
            refuse_itself(tree, from)?;
        }
        let task = Following::new("importing")?;
        let done = projects::import(tree, &id, source, &task)?;
        drop(task);
        show_imported(&done, &id, &tree.shown(&Path::new(PROJECTS).join(&id)));
        Ok(())
    })
}

/// `verso project import --from`
fn import_from(
    args: &ImportArgs,
    location: &str,
    id: &OsStr,
    given: &Given,
) -> Result<(), Failure> {
    let drive = drive(args.drive.on.as_deref())?;
    let spec = exports::location(&drive, location, args.credentials.as_deref(), given)?;
    let key = exports::key(&args.from)?;
    on_tree(&drive, given, true, |tree, _| {
        let task = Following::new("importing")?;
        let done = exports::fetch(tree, id, &key, &spec, &task)?;
        drop(task);
        show_imported(&done, id, &tree.shown(&Path::new(PROJECTS).join(id)));
        Ok(())
    })
}

fn source(from: &Path) -> Result<Source<'_>, Failure> {
    let found = std::fs::metadata(from)
        .map_err(|error| super::failed(Exit::Failure, "cannot import", from, &error))?;
    Ok(if found.is_dir() { Source::Directory(from) } else { Source::Archive(from) })
}

/// A directory is not imported into itself.
fn refuse_itself(tree: &dyn Tree, from: &Path) -> Result<(), Failure> {
    let root = PathBuf::from(tree.shown(Path::new(PROJECTS)));
    let from = from
        .canonicalize()
        .map_err(|error| super::failed(Exit::Failure, "cannot import", from, &error))?;
    // A store is shown as `STORE:/projects`.
    let store = root.to_string_lossy().split(":/").next().map(PathBuf::from);
    if root.starts_with(&from) || store.is_some_and(|store| store.starts_with(&from)) {
        let message = format!("{}: the drive itself is in it", printable(&from));
        return Err(Failure::new(Exit::Usage, message).help("name a directory outside of it"));
    }
    Ok(())
}

fn show_imported(done: &Imported, id: &OsStr, to: &str) {
    let bytes = format_bytes(done.bytes);
    let kept = match done.files_kept {
        0 => String::new(),
        kept => format!("; {kept} files were there already"),
    };
    say(&format!("imported {} to {to}: {} entries, {bytes}{kept}", shown(id), done.files));
    if done.refused > 0 {
        warn(&format!(
            "{} of them have another owner, or not all attributes: only root can give files away",
            done.refused
        ));
    }
    for left_out in &done.left_out {
        warn(&format!("left out {left_out}"));
    }
    let more = done.left_out_count.saturating_sub(done.left_out.len() as u64);
    if more > 0 {
        warn(&format!("and left out {more} more"));
    }
}

fn delete(args: &ProjectDeleteArgs, given: &Given) -> Result<(), Failure> {
    let drive = drive(args.drive.on.as_deref())?;
    let mut found = None;
    if args.hard {
        on_tree(&drive, given, false, |tree, _| {
            let place = projects::find(tree, &args.id)?;
            found = Some(named(&drive, tree, &place.path));
            Ok(())
        })?;
        let Some(path) = found else { return Ok(()) };
        let (history, yes, json) = (false, args.yes, false);
        return contract::erase(&EraseArgs { path, history, yes, json }, given);
    }
    on_tree(&drive, given, true, |tree, _| {
        let place = projects::find(tree, &args.id)?;
        let task = Following::new("deleting")?;
        task.step(&format!("deleting {}", shown(&place.id)));
        let names = projects::remove(tree, &place.path, &task)?;
        drop(task);
        let PathArgs { path, store } = named(&drive, tree, &place.path);
        let store = store.map_or(String::new(), |store| format!("--store {} ", quoted(&store)));
        let command = format!("verso undelete {store}{}", quoted(&path));
        say(&format!(
            "deleted {}: {names} files and directories\nbring it back: {command}",
            shown(&place.id)
        ));
        Ok(())
    })
}

/// A path of the drive as other commands are given it.
fn named(drive: &PathArgs, tree: &dyn Tree, path: &Path) -> PathArgs {
    match &drive.store {
        Some(store) => PathArgs { path: path.to_owned(), store: Some(store.clone()) },
        None => PathArgs { path: PathBuf::from(tree.shown(path)), store: None },
    }
}

fn shown(id: &OsStr) -> String {
    printable(Path::new(id))
}

/// The drive that is meant: what is named, or where we are, or the only one that is mounted.
fn drive(on: Option<&Path>) -> Result<PathArgs, Failure> {
    if let Some(on) = on {
        return Ok(match fs::store_exists(on).unwrap_or(false) {
            true => PathArgs { path: PathBuf::new(), store: Some(on.to_owned()) },
            false => PathArgs { path: on.to_owned(), store: None },
        });
    }
    let unread = |error: io::Error| {
        super::failed(Exit::Failure, "cannot read", Path::new("/proc/self/mountinfo"), &error)
    };
    let here = std::env::current_dir().ok();
    let here = here.map(|here| mounts::containing(&here)).transpose().map_err(unread)?.flatten();
    if let Some(mount) = here.filter(mounts::Mount::is_verso) {
        return Ok(PathArgs { path: mount.mountpoint, store: None });
    }
    let mut mounted = mounts::all().map_err(unread)?;
    mounted.retain(mounts::Mount::is_verso);
    match (mounted.len(), mounted.pop()) {
        (1, Some(mount)) => Ok(PathArgs { path: mount.mountpoint, store: None }),
        (count, _) => {
            let message = match count {
                0 => "no drive is mounted",
                _ => "several drives are mounted",
            };
            Err(Failure::new(Exit::Usage, message)
                .help("say which one is meant: a path on it, or its store"))
        }
    }
}

/// Work that a person waits for, and may end with Ctrl-C.
struct Following {
    waiting: Mutex<(Waiting, String)>,
    stopped: Arc<AtomicBool>,
}

impl Following {
    fn new(what: &str) -> Result<Following, Failure> {
        let stopped = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // The second one ends the process at once; registered first, it is asked first.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stopped))
                .and_then(|_| flag::register(signal, Arc::clone(&stopped)))
                .map_err(|error| {
                    Failure::new(Exit::Failure, format!("cannot take signals: {error}"))
                })?;
        }
        let waiting = Mutex::new((Waiting::new(what), what.to_owned()));
        Ok(Following { waiting, stopped })
    }
}

impl Task for Following {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn pace(&self, _bytes: u64) {}

    fn progress(&self, done: u64, total: u64) {
        let mut waiting = self.waiting.lock();
        let (bar, what) = &mut *waiting;
        let of = if total > 0 { format!(" of {total}") } else { String::new() };
        let done = if done >= 1 << 20 { format_bytes(done) } else { done.to_string() };
        bar.set_message(format!("{what}: {done}{of}"));
        bar.tick();
    }

    fn step(&self, what: &str) {
        let mut waiting = self.waiting.lock();
        waiting.1 = what.to_owned();
        waiting.0.set_message(what.to_owned());
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let help = match &error {
            Error::Recall(_) => {
                let Error::Recall(inner) = error else { unreachable!("it was just looked at") };
                return inner.into();
            }
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "this takes the rights of who owns the project, and of archived/; or root"
                }
                io::ErrorKind::ReadOnlyFilesystem => "mount the drive so that it can be written to",
                io::ErrorKind::StorageFull => "make room, and run it again",
                _ => return Failure::new(Exit::Failure, error.to_string()),
            },
            Error::BadName { .. } => {
                return Failure::new(Exit::Usage, error.to_string())
                    .help("a name without `/` that does not begin with a dot");
            }
            Error::Unknown { .. } => "`verso project list` shows what there is",
            Error::Archived { .. } => "`verso project unarchive` brings it back",
            Error::NotArchived { .. } => "nothing is to be done",
            Error::Several { .. } => "name one by YEAR/MONTH/NAME",
            Error::Exists { .. } => "choose another name; `export` replaces a file with --force",
            Error::InUse { .. } => "it is archived some other day",
            Error::Changed { .. } => "run it again, or export a moment with `--at now`",
            Error::Import { .. } => "nothing of it was kept",
            Error::Stopped => "the same command goes on where it was, or begins anew",
        };
        Failure::new(Exit::Failure, error.to_string()).help(help)
    }
}
