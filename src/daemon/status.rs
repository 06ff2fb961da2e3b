//! `verso status`: from the daemon, or from the store itself when there is none.

use super::waited::waited;
use super::{failed, mountpoint, read_settings, store};
use crate::cli::{Exit, Failure, MountFlags, say, show_json, show_status};
use crate::http::Client;
use crate::model::Zone;
use crate::sys::{self, StoreLock, mounts};
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

/// The file that makes a directory a store.
const STORE_HEADER: &str = "store.toml";

/// `verso status`
pub(super) fn status(
    path: Option<&Path>,
    config: Option<&Path>,
    space: bool,
    json: bool,
) -> Result<(), Failure> {
    let gather = || match path {
        Some(path) => Ok(vec![report(&store_of(path)?, config, space)?]),
        None => Ok(mounted_stores()?.iter().map(|store| report_mounted(store, space)).collect()),
    };
    let reports: Vec<Value> = waited("looking".to_owned(), || None, gather)?;
    let shown = match (json, path) {
        (true, Some(_)) => show_json(&reports[0]),
        (true, None) => show_json(&Value::Array(reports)),
        (false, _) if reports.is_empty() => {
            say("no drive is mounted; `verso status STORE` looks into a store");
            Ok(())
        }
        (false, _) => show_status(&reports, &Zone::system()),
    };
    shown.map_err(|error| Failure::new(Exit::Failure, format!("cannot show the status: {error}")))
}

/// One of several drives: that it cannot be asked must not hide the others, and its store is not
/// opened, since its daemon may be about to.
fn report_mounted(store: &Path, space: bool) -> Value {
    match ask(store, space) {
        Ok(Some(status)) => status,
        Ok(None) => json!({ "store": store, "error": "no daemon answers for this drive" }),
        Err(failure) => json!({ "store": store, "error": failure.message }),
    }
}

fn mounted_stores() -> Result<Vec<PathBuf>, Failure> {
    let mounts = mounts::all().map_err(list_failure)?;
    Ok(mounts.into_iter().filter(mounts::Mount::is_verso).map(|mount| mount.source).collect())
}

fn list_failure(error: io::Error) -> Failure {
    failed(Exit::Failure, "cannot read", Path::new("/proc/self/mountinfo"), &error)
}

/// The store that is at `path`, or that is mounted where `path` lies.
pub(super) fn store_of(path: &Path) -> Result<PathBuf, Failure> {
    if mountpoint::is_dead(path) {
        let message = format!("{}: the daemon behind this mount has died", path.display());
        return Err(Failure::new(Exit::Mountpoint, message)
            .help("mount the store again at the same place: that clears it"));
    }
    let real =
        path.canonicalize().map_err(|error| failed(Exit::Failure, "cannot find", path, &error))?;
    if real.join(STORE_HEADER).exists() {
        return Ok(real);
    }
    match mounts::containing(&real).map_err(list_failure)? {
        Some(mount) if mount.is_verso() => Ok(mount.source),
        _ => {
            let message = format!("{} is no store and on no mounted drive", path.display());
            Err(Failure::new(Exit::Store, message)
                .help("name a store (it has a store.toml), or something on a mounted drive"))
        }
    }
}

fn report(store: &Path, config: Option<&Path>, space: bool) -> Result<Value, Failure> {
    match ask(store, space)? {
        Some(status) => Ok(status),
        None => report_offline(store, config, space),
    }
}

/// What the daemon of `store` says; `None` when there is none.
fn ask(store: &Path, space: bool) -> Result<Option<Value>, Failure> {
    let cannot_ask = |error: &dyn std::fmt::Display| {
        failed(Exit::Failure, "cannot ask the daemon of", store, error)
    };
    match Client::connect(store) {
        Ok(Some(daemon)) => {
            let answer = daemon.get("/v1/status").map_err(|error| cannot_ask(&error))?;
            let mut status = answer.success().map_err(|error| cannot_ask(&error))?;
            if space && let Some(daemon) = Client::connect(store).map_err(|e| cannot_ask(&e))? {
                let answer = daemon.post("/v1/room", &json!({})).map_err(|e| cannot_ask(&e))?;
                status["room"] = answer.success().map_err(|error| cannot_ask(&error))?;
            }
            Ok(Some(status))
        }
        Ok(None) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let pid = StoreLock::owner(store).ok().flatten();
            let pid = pid.map_or(String::new(), |pid| format!(" (process {pid})"));
            Err(cannot_ask(&format!("permission denied{pid}"))
                .help("ask as the user who mounted it, or as root"))
        }
        Err(error) => Err(cannot_ask(&error)),
    }
}

/// Opens the store itself, under its lock.
fn report_offline(store: &Path, config: Option<&Path>, space: bool) -> Result<Value, Failure> {
    sys::make_private_files();
    let config = read_settings(config, Some(store))?.config()?;
    let flags = MountFlags { read_only: true, ..MountFlags::default() };
    let volume = store::open(store, &config, &flags)?;
    let unreadable = |error| failed(Exit::Store, "cannot read", store, &error);
    let status = volume.status().map_err(unreadable)?;
    let mut report = json!({ "store": store, "daemon": null, "volume": status });
    if space {
        report["room"] = json!(volume.room().map_err(unreadable)?);
    }
    volume.close().map_err(unreadable)?;
    Ok(report)
}
