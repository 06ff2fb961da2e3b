//! Archives of projects at backup locations: below `exports/`, where no backup, verification or pruning looks.

use super::jobs::backups::with_location;
use super::locations::LEFTOVER_AGE;
use super::secrets::Given;
use super::status::store_of;
use super::{locations, read_settings};
use crate::backup::{Error, Location, LocationSpec};
use crate::cli::{Exit, Failure, PathArgs};
use crate::model::{Moment, Timestamp, moment_name};
use crate::projects::{self, Compression, Destination, Exported, Imported, Place, Source};
use crate::recall::{Tree, printable};
use crate::sys::{Clock, SystemClock, Task};
use std::ffi::OsStr;
use std::path::Path;

/// What the keys of all of them begin with.
const EXPORTS: &str = "exports/";
/// And of those of archived projects that the job exported.
pub(super) const ARCHIVED: &str = "exports/archived/";

/// An archive at a location.
pub(super) struct Archive {
    /// Where it is.
    pub(super) key: String,
    compression: Compression,
}

impl Archive {
    /// Of the project `id`, by the name that it is to have.
    pub(super) fn named(name: Option<&Path>, id: &OsStr) -> Result<Archive, Failure> {
        let mut usual = id.to_owned();
        usual.push(".tar.zst");
        let name = name.unwrap_or(Path::new(&usual));
        let Some(compression) = Compression::of(name) else {
            let message = format!("{}: is no name for an archive", printable(name));
            return Err(Failure::new(Exit::Usage, message)
                .help("let it end in .tar.zst, .tar.gz or .tar; --to says where it goes"));
        };
        Ok(Archive { key: key(name)?, compression })
    }

    /// Of a project that was archived at this time. One that comes back and is archived again has another name then.
    pub(super) fn of_archived(place: &Place, began: Timestamp) -> Result<Archive, Failure> {
        let mut name = place.path.clone().into_os_string();
        name.push(format!("~{}.tar.zst", moment_name(Moment(began.0))));
        Archive::named(Some(Path::new(&name)), &place.id)
    }
}

/// The key of the archive with this name, which may be given as the key itself.
pub(super) fn key(name: &Path) -> Result<String, Failure> {
    let key = name.to_str().map(|name| name.strip_prefix(EXPORTS).unwrap_or(name));
    let fits = |name: &&str| name.split('/').all(|part| !part.starts_with('.') && !part.is_empty());
    let key = key.filter(fits).map(|name| format!("{EXPORTS}{name}"));
    key.ok_or_else(|| {
        let message = format!("{}: cannot be a name at a location", printable(name));
        Failure::new(Exit::Usage, message)
            .help("name it in UTF-8, without a leading / and without parts that begin with a dot")
    })
}

/// The location that is meant, by the settings for the drive.
pub(super) fn location(
    drive: &PathArgs,
    name: &str,
    credentials: Option<&Path>,
    given: &Given,
) -> Result<LocationSpec, Failure> {
    let store = store_of(drive.store.as_deref().unwrap_or(&drive.path))?;
    let config = read_settings(given.config.as_deref(), Some(&store))?.config()?;
    locations::find(&config, name, credentials).map(|(_, spec)| spec)
}

/// Sends what is in a directory, below the name `id`, to a location; nothing of it is kept on this machine. Also how many
/// bytes the archive has.
pub(super) fn send(
    tree: &dyn Tree,
    (dir, id): (&Path, &OsStr),
    archive: &Archive,
    replaces: bool,
    spec: &LocationSpec,
    task: &dyn Task,
) -> Result<(Exported, u64), Failure> {
    let sent = with_location(spec, task, |location| {
        if !replaces && location.stat(&archive.key)?.is_some() {
            let path = format!("{} at {}", archive.key, location.name());
            return Ok(Err(projects::Error::Exists { path }));
        }
        tidy(location, &SystemClock);
        send_to(location, tree, (dir, id), archive, task)
    });
    Ok(sent.map_err(told)??)
}

/// The same where the location is open already. What went wrong is told apart: there, or with the project.
pub(super) fn send_to(
    location: &Location,
    tree: &dyn Tree,
    (dir, id): (&Path, &OsStr),
    archive: &Archive,
    task: &dyn Task,
) -> Result<projects::Result<(Exported, u64)>, Error> {
    let mut upload = location.writer(&archive.key)?;
    let to = Destination::Pipe(&mut upload);
    match projects::export(tree, dir, id, to, archive.compression, task) {
        Ok(done) => upload.finish().map(|sent| Ok((done, sent))),
        Err(error) => match upload.take_failure() {
            Some(failure) => Err(failure),
            None => Ok(Err(error)),
        },
    }
}

/// Exports that were killed have nobody else who removes what they left, where no backups are made.
pub(super) fn tidy(location: &Location, clock: &dyn Clock) {
    if let Err(error) = location.remove_leftovers(LEFTOVER_AGE, clock) {
        log::debug!("what broken uploads left is still there: {error}");
    }
}

/// Makes a project of an archive at a location.
pub(super) fn fetch(
    tree: &dyn Tree,
    id: &OsStr,
    key: &str,
    spec: &LocationSpec,
    task: &dyn Task,
) -> Result<Imported, Failure> {
    let fetched = with_location(spec, task, |location| {
        let input = match location.reader(key) {
            Err(Error::NotFound { .. }) => return Ok(Err(missing(location, key)?)),
            input => Box::new(input?),
        };
        let source = Source::Remote { from: format!("{key} at {}", location.name()), input };
        Ok(projects::import(tree, id, source, task).map_err(Failure::from))
    });
    fetched.map_err(told)?
}

fn missing(location: &Location, key: &str) -> Result<Failure, Error> {
    let there = location.list(EXPORTS)?;
    let names: Vec<&str> = there.iter().filter_map(|one| one.key.strip_prefix(EXPORTS)).collect();
    let help = match names.as_slice() {
        [] => "nothing was exported to it".to_owned(),
        names => format!("there are {}", names.join(", ")),
    };
    Ok(Failure::new(Exit::Failure, format!("{} has no {key}", location.name())).help(help))
}

/// What went wrong at the location. Nothing is gone on with here, as backups are.
fn told(error: Error) -> Failure {
    match error {
        Error::Stopped => projects::Error::Stopped.into(),
        Error::Unreachable { .. } => Failure::new(Exit::Failure, error.to_string())
            .help("run it again once the location answers: it begins anew"),
        error => error.into(),
    }
}
