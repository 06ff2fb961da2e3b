//! `verso status`: from the daemon, or from the store itself when there is none.

use super::secrets::Given;
use super::store::Offline;
use super::waited::waited;
use super::{backup, concerns, failed, mountpoint};
use crate::cli::{Exit, Failure, attention_of, say, show_json, show_status};
use crate::fs::{self, Volume};
use crate::http::Client;
use crate::model::Zone;
use crate::sys::{StoreLock, mounts};
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `verso status`
pub(super) fn status(
    path: Option<&Path>,
    given: &Given,
    space: bool,
    json: bool,
) -> Result<(), Failure> {
    let looking = || "looking".to_owned();
    let reports: Vec<Value> = match path {
        None => waited(
            looking(),
            || None,
            || Ok(mounted_stores()?.iter().map(|store| report_mounted(store, space)).collect()),
        )?,
        Some(path) => {
            let store = store_of(path)?;
            match waited(looking(), || None, || ask(&store, space))? {
                Some(status) => vec![status],
                None => vec![report_offline(&store, given, space)?],
            }
        }
    };
    let shown = match (json, path) {
        (true, Some(_)) => show_json(&reports[0]),
        (true, None) => show_json(&json!(reports)),
        (false, _) if reports.is_empty() => {
            say("no drive is mounted; `verso status STORE` looks into a store");
            Ok(())
        }
        (false, _) => show_status(&reports, &Zone::system()),
    };
    shown
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot show the status: {error}")))?;
    match attention_of(&reports) {
        None => Ok(()),
        Some(message) => Err(Failure::new(Exit::Attention, message)),
    }
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

pub(super) fn mounted_stores() -> Result<Vec<PathBuf>, Failure> {
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
    if fs::store_exists(&real).unwrap_or(false) {
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
fn report_offline(store: &Path, given: &Given, space: bool) -> Result<Value, Failure> {
    let offline = Offline::new(store, given)?;
    let unreadable = |error| failed(Exit::Store, "cannot read", store, &error);
    let look = |volume: &Arc<Volume>| {
        let status = volume_status(volume).map_err(unreadable)?;
        let mut report = json!({
            "store": store,
            "daemon": null,
            "concerns": concerns::concerns(volume, offline.config(), None)?,
            "backups": backup::places(volume, offline.config()),
            "volume": status,
        });
        if space {
            report["room"] = json!(volume.room().map_err(unreadable)?);
        }
        Ok(report)
    };
    waited("looking".to_owned(), || None, || offline.with_shared(false, look))
}

/// A volume's own numbers, and how many keys open its store.
pub(super) fn volume_status(volume: &Volume) -> fs::Result<Value> {
    let mut status = json!(volume.status()?);
    if status["encryption"].is_object() {
        status["encryption"]["keys"] =
            json!(fs::keys(volume.store_path()).map_or(0, |keys| keys.len()));
    }
    Ok(status)
}
