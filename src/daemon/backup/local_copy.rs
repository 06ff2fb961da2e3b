//! A part of a backup as a plain copy: `verso backup restore --path`.

use super::read_only;
use crate::backup::LocationSpec;
use crate::cli::{Exit, Failure, RestoreBackupArgs, say};
use crate::config::format_bytes;
use crate::daemon::failed;
use crate::daemon::secrets::Given;
use crate::daemon::waited::waited_task;
use crate::model::{Zone, parse_when};
use crate::recall::{self, Local, Pick, Place, Stored};
use crate::sys::{self, Clock, SystemClock, Task};
use std::path::{Component, Path, PathBuf};

/// Copies `path` of a generation to the directory or file that is named in the place of the store.
pub(super) fn restore(
    spec: &LocationSpec,
    generation: Option<&str>,
    path: &Path,
    args: &RestoreBackupArgs,
    given: &Given,
) -> Result<(), Failure> {
    let path = within(path)?;
    let opened = read_only::open(spec, generation, None, given)?;
    let when = match &args.at_moment {
        Some(when) => {
            parse_when(when, SystemClock.now(), &Zone::system())
                .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?
                .moment
        }
        None => opened.moment,
    };
    let (parent, name) = place(&args.store)?;
    let to = Local::new(&parent)
        .map_err(|error| failed(Exit::Failure, "cannot write into", &parent, &error))?;
    let (uid, gid) = sys::current_user();
    let copied = waited_task(format!("restoring {}", path.display()), |task| {
        let stored = Stored::new(&opened.volume, uid, gid);
        let mut far = |files: u64, bytes: u64| {
            task.step(&format!("{files} files, {}", format_bytes(bytes)));
        };
        let place = Place { tree: &to, path: &name, replaces: false };
        recall::restore(&stored, &path, Pick::At(when), place, &mut far)
            .map_err(|error| Failure::new(Exit::Failure, error.to_string()))
    })?;
    say(&format!(
        "{} files, {}, are in {}",
        copied.files,
        format_bytes(copied.bytes),
        args.store.display()
    ));
    Ok(())
}

/// The path from the drive's root.
fn within(path: &Path) -> Result<PathBuf, Failure> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => {
                let message = format!("{}: must be a path on the drive", path.display());
                return Err(Failure::new(Exit::Usage, message)
                    .help("from its root, as in --path projects/spring"));
            }
        }
    }
    Ok(inside)
}

/// Where the copy goes: a name that is free.
fn place(target: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    if target.symlink_metadata().is_ok() {
        let message = format!("{}: there is something here already", target.display());
        return Err(Failure::new(Exit::Usage, message).help("name what isn't there yet"));
    }
    let absolute = std::path::absolute(target)
        .map_err(|error| failed(Exit::Usage, "cannot use the path", target, &error))?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok((parent.to_owned(), name.into())),
        _ => Err(Failure::new(Exit::Usage, format!("{}: cannot be made", target.display()))),
    }
}
