//! `verso tidy`: by the daemon, or under the store's own lock when there is none.

use super::failed;
use super::secrets::Given;
use super::status::store_of;
use super::store::{Door, Offline};
use super::waited::waited;
use crate::cli::{Exit, Failure, TidyArgs, show_json, show_preview, show_tidied};
use crate::fs::{Preview, UpkeepReport};
use crate::http::Client;
use crate::model::Zone;
use crate::sys::Unattended;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// `verso tidy`
pub(super) fn tidy(args: &TidyArgs, given: &Given) -> Result<(), Failure> {
    let store = store_of(&args.store)?;
    if args.dry_run {
        return preview(args, &store, given);
    }
    let cannot =
        |error: &dyn std::fmt::Display| failed(Exit::Failure, "cannot tidy", &store, error);
    let daemon = Client::connect(&store).map_err(|error| cannot(&error))?;
    let door = Door::of(daemon, &store, given)?;
    let report = waited(
        format!("tidying {}", store.display()),
        || None,
        || match door {
            Door::Daemon(daemon) => ask(daemon, args.floor).map_err(|error| cannot(&error)),
            Door::Offline(offline) => tidy_offline(&store, &offline, args.floor),
        },
    )?;
    match args.json {
        true => show_json(&report).map_err(|error| cannot(&error)),
        false => {
            let report: UpkeepReport =
                serde_json::from_value(report).map_err(|error| cannot(&error))?;
            show_tidied(&report);
            Ok(())
        }
    }
}

/// `verso tidy --dry-run`
fn preview(args: &TidyArgs, store: &Path, given: &Given) -> Result<(), Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        failed(Exit::Failure, "cannot find what could be tidied in", store, error)
    };
    let daemon = Client::connect(store).map_err(|error| cannot(&error))?;
    let door = Door::of(daemon, store, given)?;
    let preview = waited(
        format!("looking through {}", store.display()),
        || None,
        || match door {
            Door::Daemon(daemon) => {
                let body = json!({ "floor_ms": millis(args.floor), "limit": args.limit });
                let answer = daemon.post("/v1/preview", &body).map_err(|error| cannot(&error))?;
                answer.success().map_err(|error| cannot(&error))
            }
            Door::Offline(offline) => offline.with_volume(false, |volume| {
                let preview = volume.preview(args.floor, args.limit);
                Ok(json!(preview.map_err(|error| cannot(&error))?))
            }),
        },
    )?;
    if args.json {
        return show_json(&preview).map_err(|error| cannot(&error));
    }
    let preview: Preview = serde_json::from_value(preview).map_err(|error| cannot(&error))?;
    show_preview(&preview, &Zone::system());
    Ok(())
}

fn millis(time: Option<Duration>) -> Option<u64> {
    time.map(|time| time.as_millis() as u64)
}

fn ask(daemon: Client, floor: Option<Duration>) -> Result<Value, String> {
    let body = json!({ "floor_ms": millis(floor) });
    daemon.post("/v1/tidy", &body).map_err(|error| error.to_string())?.success()
}

fn tidy_offline(
    store: &Path,
    offline: &Offline,
    floor: Option<Duration>,
) -> Result<Value, Failure> {
    let cannot = |error: &dyn std::fmt::Display| failed(Exit::Store, "cannot tidy", store, error);
    let report = offline.with_volume(true, |volume| {
        volume.upkeep(floor, Duration::ZERO, &Unattended).map_err(|error| cannot(&error))
    })?;
    serde_json::to_value(report).map_err(|error| cannot(&error))
}
