//! `verso space` and `erase`, and how `verso why` asks: what retention does with one path, asked of the daemon, or of the store itself where
//! there is none. These are for who owns the store: they look past the drive's permissions.

use super::drive::{in_store, on_tree};
use super::waited::waited;
use super::{failed, store};
use crate::cli::{
    EraseArgs, Exit, Failure, PathArgs, SpaceArgs, confirmed, show_erased, show_json, show_space,
};
use crate::fs::{self, Volume};
use crate::http::Client;
use crate::recall::{printable, remove_all};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `verso space`
pub(super) fn space(args: &SpaceArgs, config: Option<&Path>) -> Result<(), Failure> {
    let (store, path) = in_store(&args.path)?;
    let bytes = path.as_os_str().as_bytes();
    let offline = || offline((&store, &path), config, false, |v| v.space_of(bytes));
    let answer = known(&path, ask(&store, "space", &path, offline)?)?;
    match args.json {
        true => shown(&store, show_json(&answer)),
        false => {
            show_space(&read(&store, answer)?);
            Ok(())
        }
    }
}

/// `verso erase`
pub(super) fn erase(args: &EraseArgs, config: Option<&Path>) -> Result<(), Failure> {
    let (store, path) = in_store(&args.path)?;
    if path.as_os_str().is_empty() {
        return Err(Failure::new(Exit::Usage, "the root of a drive can't be erased")
            .help("unmount it and remove the store"));
    }
    let what = if args.history { "the history of " } else { "" };
    confirmed(args.yes, &format!("erase {what}{} for good", printable(&args.path.path)))?;
    if !args.history {
        remove_living(&args.path, config)?;
    }
    let bytes = path.as_os_str().as_bytes();
    let offline = || offline((&store, &path), config, true, |v| v.erase_history(bytes, &|| false));
    let answer = known(&path, ask(&store, "erase", &path, offline)?)?;
    match args.json {
        true => shown(&store, show_json(&answer)),
        false => {
            show_erased(&read(&store, answer)?);
            Ok(())
        }
    }
}

/// By way of the mount where there is one: the kernel must know.
fn remove_living(args: &PathArgs, config: Option<&Path>) -> Result<(), Failure> {
    on_tree(args, config, true, |tree, path| Ok(remove_all(tree, path)?))
}

fn known(path: &Path, answer: Option<Value>) -> Result<Value, Failure> {
    let missing = || failed(Exit::Failure, "cannot ask about", path, &fs::Error::NotFound);
    answer.ok_or_else(missing)
}

/// `None`: nothing is known of the path.
pub(super) fn ask(
    store: &Path,
    request: &str,
    path: &Path,
    offline: impl FnOnce() -> Result<Option<Value>, Failure> + Send,
) -> Result<Option<Value>, Failure> {
    let cannot =
        |error: &dyn std::fmt::Display| failed(Exit::Failure, "cannot ask about", path, error);
    let daemon = Client::connect(store).map_err(|error| cannot(&error))?;
    let body = json!({ "path": path.as_os_str().as_bytes() });
    waited(
        format!("looking through {}", store.display()),
        || None,
        || match daemon {
            Some(daemon) => {
                let answer = daemon.post(&format!("/v1/{request}"), &body);
                let answer = answer.map_err(|error| cannot(&error))?;
                match answer.status {
                    404 => Ok(None),
                    _ => answer.success().map(Some).map_err(|error| cannot(&error)),
                }
            }
            None => offline(),
        },
    )
}

pub(super) fn offline<T: Serialize>(
    (store, path): (&Path, &Path),
    config: Option<&Path>,
    writes: bool,
    work: impl FnOnce(&Volume) -> fs::Result<T>,
) -> Result<Option<Value>, Failure> {
    let cannot =
        |error: &dyn std::fmt::Display| failed(Exit::Failure, "cannot ask about", path, error);
    let outcome = store::with_volume(store, config, writes, |volume| match work(volume) {
        Ok(value) => Ok(Some(value)),
        Err(fs::Error::NotFound) => Ok(None),
        Err(error) => Err(cannot(&error)),
    })?;
    outcome.map(serde_json::to_value).transpose().map_err(|error| cannot(&error))
}

pub(super) fn read<T: DeserializeOwned>(store: &Path, answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer)
        .map_err(|error| failed(Exit::Failure, "cannot understand the daemon of", store, &error))
}

pub(super) fn shown(store: &Path, outcome: Result<(), serde_json::Error>) -> Result<(), Failure> {
    outcome.map_err(|error| failed(Exit::Failure, "cannot show what is in", store, &error))
}
