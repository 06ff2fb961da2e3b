//! `verso check`: by the daemon, or under the store's own lock when there is none.

use super::failed;
use super::secrets::Given;
use super::spares::{lent, spares};
use super::status::store_of;
use super::store::Offline;
use super::waited::waited;
use crate::cli::{CheckArgs, Encryption, Exit, Failure, show_check, show_json};
use crate::config::Config;
use crate::fs::{self, CheckOptions, CheckProgress, CheckReport, Volume};
use crate::http::Client;
use serde_json::{Value, json};
use std::path::Path;

/// `verso check`
pub(super) fn check(args: &CheckArgs, given: &Given) -> Result<(), Failure> {
    let store = store_of(&args.store)?;
    let options = CheckOptions { read_data: args.read_data, repair: args.repair };
    let cannot =
        |error: &dyn std::fmt::Display| failed(Exit::Failure, "cannot check", &store, error);
    let connected = Client::connect(&store).map_err(|error| cannot(&error))?;
    let report = match connected {
        Some(daemon) => waited(doing(&store), || None, || ask(daemon, options, &cannot))?,
        None => check_offline(&store, given, options)?,
    };
    let report: CheckReport = serde_json::from_value(report).map_err(|error| cannot(&error))?;
    // Who may ask the daemon need not be able to read the header.
    let encryption = fs::keys(&store).ok().map(|keys| Encryption { keys: keys.len() });
    match args.json {
        true => {
            let mut value = serde_json::to_value(&report).map_err(|error| cannot(&error))?;
            value["encryption"] = json!(encryption);
            show_json(&value).map_err(|error| cannot(&error))?;
        }
        false => show_check(&report, encryption.as_ref()),
    }
    verdict(&report, args)
}

fn doing(store: &Path) -> String {
    format!("checking {}", store.display())
}

fn verdict(report: &CheckReport, args: &CheckArgs) -> Result<(), Failure> {
    if report.is_clean() {
        return Ok(());
    }
    let failure = Failure::new(Exit::Damage, format!("{}: the store is damaged", report.store));
    let repairable = report.findings.iter().any(|finding| finding.repair.is_some());
    Err(match (args.repair, repairable) {
        (false, true) => failure.help("`verso check --repair` puts right what loses nothing"),
        _ => failure.help("bring the files that are named back from a backup, or save them anew"),
    })
}

fn ask(
    daemon: Client,
    options: CheckOptions,
    cannot: &dyn Fn(&dyn std::fmt::Display) -> Failure,
) -> Result<Value, Failure> {
    let body = json!({ "read_data": options.read_data, "repair": options.repair });
    let answer = daemon.post("/v1/check", &body).map_err(|error| cannot(&error))?;
    answer.success().map_err(|error| cannot(&error))
}

/// Checks; what is to be repaired is also looked for at the places that may have it.
pub(super) fn check_volume(
    volume: &Volume,
    config: &Config,
    options: CheckOptions,
    progress: &CheckProgress,
) -> fs::Result<CheckReport> {
    let spares = if options.repair { spares(volume, config) } else { Vec::new() };
    volume.check_with(options, &lent(&spares), progress)
}

/// Opens the store itself. Only a repair opens it for writing, which also recovers it after a crash.
fn check_offline(store: &Path, given: &Given, options: CheckOptions) -> Result<Value, Failure> {
    let cannot = |error: &dyn std::fmt::Display| failed(Exit::Store, "cannot check", store, error);
    let progress = CheckProgress::default();
    let far = || {
        let (done, total) = progress.chunks();
        (total > 0).then(|| format!("reading chunks, {done} of {total}"))
    };
    let offline = Offline::new(store, given)?;
    let report = offline.with_volume(options.repair, |volume| {
        waited(doing(store), far, || {
            let report = check_volume(volume, offline.config(), options, &progress);
            report.map_err(|error| cannot(&error))
        })
    })?;
    serde_json::to_value(report).map_err(|error| cannot(&error))
}
