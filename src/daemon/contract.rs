//! `verso space` and `erase`, and how `verso why` asks: what retention does with one path, asked of the daemon, or of the store itself where
//! there is none. These are for who owns the store: they look past the drive's permissions.

use super::drive::{in_store, on_tree};
use super::failed;
use super::secrets::Given;
use super::store::{Door, Offline};
use super::waited::waited;
use crate::cli::{
    EraseArgs, Exit, Failure, PathArgs, SpaceArgs, confirmed, show_erased, show_json, show_space,
};
use crate::fs::{self, Volume};
use crate::http::Client;
use crate::recall::{printable, remove_all};
use crate::sys::Unattended;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `verso space`
pub(super) fn space(args: &SpaceArgs, given: &Given) -> Result<(), Failure> {
    let (store, path) = in_store(&args.path)?;
    let bytes = path.as_os_str().as_bytes();
    let about = About { store: &store, path: &path, given };
    let answer = about.ask("space", false, |volume| volume.space_of(bytes))?;
    let answer = known(&path, answer)?;
    match args.json {
        true => shown(&store, show_json(&answer)),
        false => {
            show_space(&read(&store, answer)?);
            Ok(())
        }
    }
}

/// `verso erase`
pub(super) fn erase(args: &EraseArgs, given: &Given) -> Result<(), Failure> {
    let (store, path) = in_store(&args.path)?;
    if path.as_os_str().is_empty() {
        return Err(Failure::new(Exit::Usage, "the root of a drive can't be erased")
            .help("unmount it and remove the store"));
    }
    let what = if args.history { "the history of " } else { "" };
    confirmed(args.yes, &format!("erase {what}{} for good", printable(&args.path.path)))?;
    if !args.history {
        remove_living(&args.path, given)?;
    }
    let bytes = path.as_os_str().as_bytes();
    let about = About { store: &store, path: &path, given };
    let answer = about.ask("erase", true, |volume| volume.erase_history(bytes, &Unattended))?;
    let answer = known(&path, answer)?;
    match args.json {
        true => shown(&store, show_json(&answer)),
        false => {
            show_erased(&read(&store, answer)?);
            Ok(())
        }
    }
}

/// By way of the mount where there is one: the kernel must know.
fn remove_living(args: &PathArgs, given: &Given) -> Result<(), Failure> {
    on_tree(args, given, true, |tree, path| Ok(remove_all(tree, path)?))
}

fn known(path: &Path, answer: Option<Value>) -> Result<Value, Failure> {
    let missing = || failed(Exit::Failure, "cannot ask about", path, &fs::Error::NotFound);
    answer.ok_or_else(missing)
}

/// What is asked about: a path of a store.
pub(super) struct About<'a> {
    pub(super) store: &'a Path,
    pub(super) path: &'a Path,
    pub(super) given: &'a Given,
}

impl About<'_> {
    /// What the daemon answers to `request`, or else `work`, which may have to write; `None` if nothing is known of the path.
    pub(super) fn ask<T: Serialize>(
        &self,
        request: &str,
        writes: bool,
        work: impl FnOnce(&Volume) -> fs::Result<T> + Send,
    ) -> Result<Option<Value>, Failure> {
        let daemon = Client::connect(self.store).map_err(|error| self.cannot(&error))?;
        let door = Door::of(daemon, self.store, self.given)?;
        let looking = format!("looking through {}", self.store.display());
        waited(
            looking,
            || None,
            || match door {
                Door::Daemon(daemon) => self.ask_daemon(daemon, request),
                Door::Offline(offline) => self.look(&offline, writes, work),
            },
        )
    }

    fn ask_daemon(&self, daemon: Client, request: &str) -> Result<Option<Value>, Failure> {
        let body = json!({ "path": self.path.as_os_str().as_bytes() });
        let answer = daemon.post(&format!("/v1/{request}"), &body);
        let answer = answer.map_err(|error| self.cannot(&error))?;
        match answer.status {
            404 => Ok(None),
            _ => answer.success().map(Some).map_err(|error| self.cannot(&error)),
        }
    }

    fn look<T: Serialize>(
        &self,
        offline: &Offline,
        writes: bool,
        work: impl FnOnce(&Volume) -> fs::Result<T>,
    ) -> Result<Option<Value>, Failure> {
        let outcome = offline.with_volume(writes, |volume| match work(volume) {
            Ok(value) => Ok(Some(value)),
            Err(fs::Error::NotFound) => Ok(None),
            Err(error) => Err(self.cannot(&error)),
        })?;
        outcome.map(serde_json::to_value).transpose().map_err(|error| self.cannot(&error))
    }

    fn cannot(&self, error: &dyn std::fmt::Display) -> Failure {
        failed(Exit::Failure, "cannot ask about", self.path, error)
    }
}

pub(super) fn read<T: DeserializeOwned>(store: &Path, answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer)
        .map_err(|error| failed(Exit::Failure, "cannot understand the daemon of", store, &error))
}

pub(super) fn shown(store: &Path, outcome: Result<(), serde_json::Error>) -> Result<(), Failure> {
    outcome.map_err(|error| failed(Exit::Failure, "cannot show what is in", store, &error))
}
