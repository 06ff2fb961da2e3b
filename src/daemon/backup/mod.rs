//! `verso backup`: what needs the store is done by its jobs, the rest straight at the location.

mod local_copy;
mod read_only;
mod state;

pub(super) use state::{concerns, places};

use super::jobs::backups::{Wishes, with_location};
use super::jobs::follow::follow;
use super::locations::CONNECTIONS;
use super::secrets::Given;
use super::status::{mounted_stores, store_of};
use super::waited::{Shown, waited_task};
use super::{failed, locations, read_settings};
use crate::backup::{self, Catalog, Drilled, Error, Location, LocationSpec, Made, Plan, Verified};
use crate::cli::{
    BackupCommand, Exit, Failure, LocationArgs, RestoreBackupArgs, StoreLocationArgs, say,
    show_drilled, show_generations, show_json, show_made, show_plan, show_restored, show_verified,
};
use crate::config::Config;
use crate::jobs::Order;
use crate::model::Zone;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `verso backup`
pub(super) fn backup(command: &BackupCommand, given: &Given) -> Result<(), Failure> {
    match command {
        BackupCommand::Run { at, full, dry_run } => {
            let wishes = Wishes { full: *full, ..Wishes::default() };
            at_each(at, given, "backup", &wishes, *dry_run, |name, done: Made| {
                show_made(name, &done)
            })
        }
        BackupCommand::Drill { at, all } => {
            let wishes = Wishes { all: *all, ..Wishes::default() };
            at_each(at, given, "drill", &wishes, false, |name, done: Drilled| {
                show_drilled(name, &done);
            })
        }
        BackupCommand::Prune { at, keep, dry_run } => {
            let keep_seconds = keep.map(|keep| keep.as_secs());
            let wishes = Wishes { keep_seconds, ..Wishes::default() };
            at_each(at, given, "prune", &wishes, *dry_run, |_, plan: Plan| show_plan(&plan))
        }
        BackupCommand::List { at, json } => list(at, *json, given),
        BackupCommand::Verify { at, read_data, newest, json } => {
            verify(at, (*newest, *read_data), *json, given)
        }
        BackupCommand::Restore(args) => restore(args, given),
        BackupCommand::Mount { at, mountpoint, generation, scratch } => {
            let spec = spec(at, given)?.1;
            let generation = generation.as_deref();
            read_only::mount(&spec, generation, mountpoint, scratch.as_deref(), given)
        }
    }
}

/// Lets a job run for each location that is meant, and shows what it came to.
fn at_each<T: DeserializeOwned>(
    at: &StoreLocationArgs,
    given: &Given,
    job: &str,
    wishes: &Wishes,
    dry_run: bool,
    show: impl Fn(&str, T),
) -> Result<(), Failure> {
    let store = the_store(at.store.as_deref())?;
    let config = read_settings(given.config.as_deref(), Some(&store))?.config()?;
    let mut outcomes = Vec::new();
    for (name, job, wishes) in meant(at, &config, job, wishes)? {
        let order = Order { dry_run, options: json!(wishes) };
        let done = follow(&store, given, &job, &order)?;
        if at.json {
            outcomes.push(json!({ "location": name, "outcome": done }));
            continue;
        }
        match serde_json::from_value(done["detail"].clone()) {
            Ok(detail) => show(&name, detail),
            Err(_) => say(&format!("{name}: {}", done["summary"].as_str().unwrap_or_default())),
        }
    }
    match at.json {
        true => shown(show_json(&Value::Array(outcomes))),
        false => Ok(()),
    }
}

/// The locations that are meant: each with its job and what to tell it.
fn meant(
    at: &StoreLocationArgs,
    config: &Config,
    job: &str,
    wishes: &Wishes,
) -> Result<Vec<(String, String, Wishes)>, Failure> {
    let named = |name: &str| (name.to_owned(), format!("{job}:{name}"), wishes.clone());
    let Some(location) = &at.location else {
        if config.backups.is_empty() {
            return Err(Failure::new(Exit::Usage, "no backup location is configured").help(
                "name one (verso backup run /mnt/disk/verso), or add a [[backup]] section to the settings",
            ));
        }
        return Ok(config.backups.iter().map(|backup| named(&backup.name)).collect());
    };
    let (backup, spec) = locations::find(config, location, at.credentials.as_deref())?;
    if let (Some(backup), None) = (backup, &at.credentials) {
        return Ok(vec![named(&backup.name)]);
    }
    // Mistakes in it are told here, and not by a job that failed.
    Location::open(&spec)?;
    let credentials = at.credentials.as_deref().map(absolute).transpose()?;
    let wishes = Wishes { location: Some(spec.uri.clone()), credentials, ..wishes.clone() };
    Ok(vec![(location.clone(), job.to_owned(), wishes)])
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| failed(Exit::Usage, "cannot use the path", path, &error))
}

/// The store that is meant; without a word that of the only drive that is mounted.
fn the_store(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return store_of(path);
    }
    let mut stores = mounted_stores()?;
    stores.sort();
    stores.dedup();
    match (stores.pop(), stores.is_empty()) {
        (Some(store), true) => Ok(store),
        (Some(_), false) => Err(Failure::new(Exit::Usage, "several drives are mounted")
            .help("say which is meant: --store DRIVE")),
        (None, _) => {
            Err(Failure::new(Exit::Usage, "no drive is mounted")
                .help("name the store: --store STORE"))
        }
    }
}

/// The location that is meant, by the settings where it is known to them.
fn spec(at: &LocationArgs, given: &Given) -> Result<(usize, LocationSpec), Failure> {
    let config = read_settings(given.config.as_deref(), None)?.config()?;
    let config = match (config.backups.is_empty(), mounted_stores()) {
        // The settings may lie in the store of the drive that is mounted.
        (true, Ok(stores)) if stores.len() == 1 => {
            read_settings(given.config.as_deref(), Some(&stores[0]))?.config()?
        }
        _ => config,
    };
    let (backup, spec) = locations::find(&config, &at.location, at.credentials.as_deref())?;
    Ok((backup.map_or(CONNECTIONS, |backup| backup.connections.get()), spec))
}

fn list(at: &LocationArgs, as_json: bool, given: &Given) -> Result<(), Failure> {
    let (_, spec) = spec(at, given)?;
    let looking = format!("asking {}", spec.name);
    let catalog = at_location(looking, &spec, |location, _| Catalog::outline(location))?;
    if !as_json {
        show_generations(&catalog, &Zone::system());
        return Ok(());
    }
    let all = catalog.generations.iter().map(|generation| {
        json!({
            "generation": generation.generation, "series": generation.series, "full": generation.full,
            "made": generation.made, "moment": generation.moment, "packs": generation.packs,
            "pack_bytes": generation.pack_bytes, "sent_bytes": generation.sent_bytes,
            "encrypted": generation.encrypted, "store": generation.store, "verso": generation.verso,
        })
    });
    let generations: Vec<Value> = all.collect();
    let unreadable: Vec<Value> =
        catalog.unreadable.iter().map(|(name, why)| json!([name, why])).collect();
    shown(show_json(&json!({ "generations": generations, "unreadable": unreadable })))
}

fn verify(
    at: &LocationArgs,
    (newest, read_data): (bool, bool),
    as_json: bool,
    given: &Given,
) -> Result<(), Failure> {
    let (_, spec) = spec(at, given)?;
    let verifying = format!("verifying {}", spec.name);
    let verified: Verified = at_location(verifying, &spec, |location, task| {
        backup::verify(location, newest, read_data, task)
    })?;
    match as_json {
        true => shown(show_json(&json!(verified)))?,
        false => show_verified(&verified),
    }
    match (verified.faults_total, verified.generations.is_empty()) {
        (0, false) => Ok(()),
        (0, true) => Err(Failure::new(Exit::Failure, format!("{}: there is no backup", spec.name))),
        _ => Err(Failure::new(Exit::Damage, format!("{}: the backup is damaged", spec.name)).help(
            "`verso backup run` sends once more what was found damaged or missing, if the store still has it; with --full \
             it makes a generation that needs nothing of what is there",
        )),
    }
}

fn restore(args: &RestoreBackupArgs, given: &Given) -> Result<(), Failure> {
    let (connections, spec) = spec(&args.at, given)?;
    let restoring = format!("restoring from {}", spec.name);
    let generation = args.generation.as_deref();
    if let Some(path) = &args.path {
        return local_copy::restore(&spec, generation, path, args, given);
    }
    crate::sys::make_private_files();
    let restored = at_location(restoring, &spec, |location, task| {
        let manifest = backup::find(location, generation)?;
        backup::restore(location, &manifest, &args.store, connections, task)
    })?;
    show_restored(&restored, &args.store.display().to_string(), &Zone::system());
    Ok(())
}

/// Does `work` at a location, showing how far it is. Ctrl-C ends it.
fn at_location<T: Send>(
    what: String,
    spec: &LocationSpec,
    work: impl FnOnce(&Arc<Location>, &Shown) -> backup::Result<T> + Send,
) -> Result<T, Failure> {
    waited_task(what, |task| {
        with_location(spec, task, |location| work(location, task)).map_err(Failure::from)
    })
}

fn shown(outcome: Result<(), impl std::fmt::Display>) -> Result<(), Failure> {
    outcome.map_err(|error| Failure::new(Exit::Failure, format!("cannot show it: {error}")))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        match error {
            Error::Store(error) => error.into(),
            Error::Uri { .. } => Failure::new(Exit::Usage, message),
            Error::Damaged { .. } | Error::PackChanged { .. } => {
                Failure::new(Exit::Damage, message)
            }
            Error::Stopped => Failure::new(Exit::Failure, "interrupted")
                .help("the same command goes on where this one was"),
            Error::Unreachable { .. } => Failure::new(Exit::Failure, message)
                .help("the same command goes on where this one was, once the location answers"),
            Error::NoRoom { .. } => {
                Failure::new(Exit::Failure, message).help("make room, or name a larger disk")
            }
            _ => Failure::new(Exit::Failure, message),
        }
    }
}
