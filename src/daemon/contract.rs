//! `verso why`, `space` and `erase`: what retention does with one path, asked of the daemon, or of the store itself where
//! there is none. These are for who owns the store: they look past the drive's permissions.

use super::drive::{in_store, on_tree};
use super::waited::waited;
use super::{failed, store};
use crate::cli::{
    EraseArgs, Exit, Failure, PathArgs, SpaceArgs, WhyArgs, confirmed, show_erased, show_json,
    show_space, show_why,
};
use crate::fs::{self, Volume};
use crate::http::Client;
use crate::model::Zone;
use crate::recall::{printable, remove_all};
use crate::sys::{Clock, SystemClock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `verso why`
pub(super) fn why(args: &WhyArgs, config: Option<&Path>) -> Result<(), Failure> {
    let (store, path) = in_store(&args.path)?;
    let bytes = path.as_os_str().as_bytes();
    let answer =
        ask(&store, "why", &path, || offline((&store, &path), config, false, |v| v.why(bytes)))?;
    match args.json {
        true => shown(&store, show_json(&answer)),
        false => {
            let reasons: Vec<fs::Reason> = read(&store, answer)?;
            show_why(&reasons, SystemClock.now(), &Zone::system());
            Ok(())
        }
    }
}

/// `verso space`
pub(super) fn space(args: &SpaceArgs, config: Option<&Path>) -> Result<(), Failure> {
    let (store, path) = in_store(&args.path)?;
    let bytes = path.as_os_str().as_bytes();
    let offline = || offline((&store, &path), config, false, |v| v.space_of(bytes));
    let answer = ask(&store, "space", &path, offline)?;
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
    let answer = ask(&store, "erase", &path, offline)?;
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

fn ask(
    store: &Path,
    request: &str,
    path: &Path,
    offline: impl FnOnce() -> Result<Value, Failure> + Send,
) -> Result<Value, Failure> {
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
                answer.map_err(|error| cannot(&error))?.success().map_err(|error| cannot(&error))
            }
            None => offline(),
        },
    )
}

fn offline<T: Serialize>(
    (store, path): (&Path, &Path),
    config: Option<&Path>,
    writes: bool,
    work: impl FnOnce(&Volume) -> fs::Result<T>,
) -> Result<Value, Failure> {
    let cannot =
        |error: &dyn std::fmt::Display| failed(Exit::Failure, "cannot ask about", path, error);
    let outcome = store::with_volume(store, config, writes, |volume| {
        work(volume).map_err(|error| cannot(&error))
    })?;
    serde_json::to_value(outcome).map_err(|error| cannot(&error))
}

fn read<T: DeserializeOwned>(store: &Path, answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer)
        .map_err(|error| failed(Exit::Failure, "cannot understand the daemon of", store, &error))
}

fn shown(store: &Path, outcome: Result<(), serde_json::Error>) -> Result<(), Failure> {
    outcome.map_err(|error| failed(Exit::Failure, "cannot show what is in", store, &error))
}
