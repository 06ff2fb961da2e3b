//! In which drive a path lies: a mounted one, or that of a store.

use super::secrets::Given;
use super::store::{self, Offline};
use super::{failed, mountpoint};
use crate::cli::{Exit, Failure, PathArgs};
use crate::http::Client;
use crate::recall::{Local, Stored, Tree, printable};
use crate::sys;
use crate::sys::mounts::{self, Mount};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The directory of a directory's history, in which nothing is named to these commands.
pub(super) const HISTORY: &str = ".versions";

/// Runs `work` on the drive in which the path lies, and on the path within it.
pub(super) fn on_tree(
    args: &PathArgs,
    given: &Given,
    writes: bool,
    work: impl FnOnce(&dyn Tree, &Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some(store) = &args.store else {
        let (mount, path) = on_drive(&args.path)?;
        return work(&local(&mount.mountpoint)?, &path);
    };
    let path = within_store(&args.path)?;
    let store = store::canonical(store)?;
    match mounted_at(&store)? {
        Some(root) => work(&local(&root)?, &path),
        None => Offline::new(&store, given)?.with_volume(writes, |volume| {
            let (uid, gid) = sys::current_user();
            work(&Stored::new(volume, uid, gid), &path)
        }),
    }
}

/// The store in which the path lies, and the path from its drive's root.
pub(super) fn in_store(args: &PathArgs) -> Result<(PathBuf, PathBuf), Failure> {
    match &args.store {
        Some(store) => {
            let path = within_store(&args.path)?;
            Ok((store::canonical(store)?, path))
        }
        None => on_drive(&args.path).map(|(mount, path)| (mount.source, path)),
    }
}

fn local(root: &Path) -> Result<Local, Failure> {
    Local::new(root).map_err(|error| failed(Exit::Mountpoint, "cannot open", root, &error))
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
fn on_drive(path: &Path) -> Result<(Mount, PathBuf), Failure> {
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
    let Some(mount) = mount.filter(Mount::is_verso) else {
        let message = format!("{}: is on no mounted drive", printable(path));
        return Err(Failure::new(Exit::Store, message).help(
            "name something on a mounted drive, or the store with --store and the path within it",
        ));
    };
    let within = real.strip_prefix(&mount.mountpoint).unwrap_or(Path::new(""));
    check_no_history(within)?;
    let whole = if rest.as_os_str().is_empty() { within.to_owned() } else { within.join(rest) };
    Ok((mount, whole))
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

/// Where `--to` leads, relative to `/`: within it, if it is a directory.
pub(super) fn destination(to: &Path, path: &Path) -> Result<PathBuf, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_store_begins_at_its_root() {
        assert_eq!(within_store(Path::new("/a/./b/")).unwrap(), Path::new("a/b"));
        assert_eq!(within_store(Path::new("/")).unwrap(), Path::new(""));
        assert_eq!(within_store(Path::new("a/../b")).unwrap_err().exit, Exit::Usage);
        assert_eq!(within_store(Path::new("a/.versions/b")).unwrap_err().exit, Exit::Usage);
    }
}
