//! `verso jobs`

use super::asked;
use super::follow::{answered, begin, connect, follow};
use crate::cli::{
    CancelJobArgs, Exit, Failure, JobLogArgs, JobsArgs, JobsCommand, RunJobArgs, say, show_job_log,
    show_job_outcome, show_jobs, show_json,
};
use crate::daemon::failed;
use crate::daemon::secrets::Given;
use crate::daemon::status::{mounted_stores, store_of};
use crate::daemon::store::Door;
use crate::http::Refusal;
use crate::jobs::Order;
use crate::model::Zone;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// `verso jobs …`
pub(in crate::daemon) fn command(args: &JobsArgs, given: &Given) -> Result<(), Failure> {
    match &args.command {
        None => list(args, given),
        Some(JobsCommand::Run(args)) => run(args, given),
        Some(JobsCommand::Cancel(args)) => cancel(args),
        Some(JobsCommand::Log(args)) => log(args, given),
    }
}

fn list(args: &JobsArgs, given: &Given) -> Result<(), Failure> {
    let stores = match &args.store {
        Some(path) => vec![store_of(path)?],
        None => mounted_stores()?,
    };
    let reports: Vec<Value> =
        stores.iter().map(|store| report(store, given)).collect::<Result<_, _>>()?;
    if args.json {
        let all = if args.store.is_some() { reports[0].clone() } else { json!(reports) };
        return shown(show_json(&all));
    }
    if reports.is_empty() {
        say("no drive is mounted; `verso jobs STORE` looks into a store");
    }
    shown(show_jobs(&reports, &Zone::system()))
}

fn report(store: &Path, given: &Given) -> Result<Value, Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        failed(Exit::Failure, "cannot ask the daemon of", store, error)
    };
    match Door::of(connect(store)?, store, given)? {
        Door::Daemon(daemon) => {
            let answer = daemon.get("/v1/jobs").map_err(|error| cannot(&error))?;
            let jobs = answer.success().map_err(|error| cannot(&error))?;
            // Of a drive that is mounted read-only, none says when it runs.
            let runs = |jobs: &Vec<Value>| jobs.iter().any(|job| job.get("next").is_some());
            let daemon = jobs.as_array().is_some_and(runs);
            Ok(json!({ "store": store, "daemon": daemon, "jobs": jobs }))
        }
        Door::Offline(offline) => {
            let jobs =
                offline.with_shared(false, |volume| asked::recorded(volume, offline.config()))?;
            Ok(json!({ "store": store, "daemon": false, "jobs": jobs }))
        }
    }
}

fn run(args: &RunJobArgs, given: &Given) -> Result<(), Failure> {
    let store = the_store(args.store.as_deref())?;
    let name = &args.name;
    let order = Order { dry_run: args.dry_run, ..Order::default() };
    if args.no_wait {
        let daemon = connect(&store)?.ok_or_else(|| no_daemon(&store))?;
        begin(daemon, &store, name, &order)?;
        say(&format!("{name} begins; `verso jobs {}` shows how far it is", store.display()));
        return Ok(());
    }
    let finished = follow(&store, given, name, &order)?;
    if args.json {
        return shown(show_json(&finished));
    }
    show_job_outcome(name, &finished);
    Ok(())
}

fn cancel(args: &CancelJobArgs) -> Result<(), Failure> {
    let store = the_store(args.store.as_deref())?;
    let daemon = connect(&store)?.ok_or_else(|| no_daemon(&store))?;
    let answer = daemon
        .post("/v1/jobs/cancel", &json!({ "name": args.name }))
        .map_err(|error| failed(Exit::Failure, "cannot ask the daemon of", &store, &error))?;
    answered(answer, &args.name)?;
    say(&format!("{} ends at its next step", args.name));
    Ok(())
}

fn log(args: &JobLogArgs, given: &Given) -> Result<(), Failure> {
    let store = the_store(args.store.as_deref())?;
    let name = &args.name;
    let runs = match Door::of(connect(&store)?, &store, given)? {
        Door::Daemon(daemon) => {
            let answer = daemon
                .post("/v1/jobs/log", &json!({ "name": name, "count": args.limit }))
                .map_err(|error| {
                    failed(Exit::Failure, "cannot ask the daemon of", &store, &error)
                })?;
            answered(answer, name)?
        }
        Door::Offline(offline) => offline.with_shared(false, |volume| {
            asked::log(volume, offline.config(), name, args.limit).map_err(|refusal| {
                let exit = match refusal {
                    Refusal::Missing(_) => Exit::Usage,
                    Refusal::Busy(_) | Refusal::Failed(_) => Exit::Failure,
                };
                Failure::new(exit, refusal.to_string())
            })
        })?,
    };
    match args.json {
        true => shown(show_json(&runs)),
        false => shown(show_job_log(&runs, &Zone::system())),
    }
}

/// The store that is meant: the one that is named, or the only one that is mounted.
fn the_store(path: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = path {
        return store_of(path);
    }
    let mut mounted = mounted_stores()?;
    match (mounted.pop(), mounted.is_empty()) {
        (Some(store), true) => Ok(store),
        (None, _) => Err(Failure::new(Exit::Usage, "no drive is mounted").help("name a store")),
        (Some(_), false) => {
            let message = "several drives are mounted";
            Err(Failure::new(Exit::Usage, message)
                .help("name the store, or something on its drive"))
        }
    }
}

fn no_daemon(store: &Path) -> Failure {
    let message = format!("{}: no daemon runs", store.display());
    Failure::new(Exit::Failure, message)
        .help("mount the store; `verso jobs run` also runs without one")
}

fn shown(outcome: Result<(), serde_json::Error>) -> Result<(), Failure> {
    outcome.map_err(|error| Failure::new(Exit::Failure, format!("cannot show the jobs: {error}")))
}
