//! What the control socket, and a command without a daemon, can ask about jobs.

use super::jobs;
use crate::cli::Failure;
use crate::config::Config;
use crate::fs::Volume;
use crate::http::Refusal;
use crate::jobs::{Concern, Order, Record, Refused, Scheduler, failures, run_to_json};
use serde_json::{Value, json};
use std::sync::Arc;

/// The jobs of a store that no daemon lets run: what the record says of each.
pub(in crate::daemon) fn recorded(volume: &Arc<Volume>, config: &Config) -> Result<Value, Failure> {
    let mut known: Vec<Value> = jobs(volume, config)?
        .iter()
        .map(|job| json!({ "name": job.name, "schedule": job.schedule.to_string(), "last": last(volume, &job.name) }))
        .collect();
    known.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    Ok(json!(known))
}

fn last(volume: &Volume, name: &str) -> Value {
    match volume.runs(name, 1) {
        Ok(runs) => runs.first().map_or(Value::Null, run_to_json),
        Err(_) => Value::Null,
    }
}

/// What the record says that is to worry about.
pub(in crate::daemon) fn recorded_concerns(
    volume: &Arc<Volume>,
    config: &Config,
) -> Result<Vec<Concern>, Failure> {
    let jobs = jobs(volume, config)?;
    Ok(failures(&**volume, jobs.iter().map(|job| job.name.as_str())))
}

/// `GET /v1/jobs`
pub(in crate::daemon) fn list(
    scheduler: Option<&Scheduler>,
    volume: &Arc<Volume>,
    config: &Config,
) -> Result<Value, Refusal> {
    match scheduler {
        Some(scheduler) => Ok(scheduler.state()),
        None => recorded(volume, config).map_err(|failure| Refusal::Failed(failure.message)),
    }
}

/// `POST /v1/jobs/run`
pub(in crate::daemon) fn run(
    scheduler: Option<&Scheduler>,
    name: &str,
    order: Order,
) -> Result<Value, Refusal> {
    let ticket = scheduler.ok_or_else(read_only)?.run_now(name, order).map_err(refusal)?;
    Ok(json!({ "ticket": ticket }))
}

/// `POST /v1/jobs/cancel`
pub(in crate::daemon) fn cancel(scheduler: Option<&Scheduler>, name: &str) -> Result<(), Refusal> {
    scheduler.ok_or_else(read_only)?.cancel(name).map_err(refusal)
}

/// `POST /v1/jobs/log`; what never ran and is no job now is missing.
pub(in crate::daemon) fn log(
    volume: &Arc<Volume>,
    config: &Config,
    name: &str,
    count: u32,
) -> Result<Value, Refusal> {
    let runs = volume.runs(name, count).map_err(Refusal::Failed)?;
    let is_known =
        || jobs(volume, config).is_ok_and(|jobs| jobs.iter().any(|job| job.name == name));
    if runs.is_empty() && !is_known() {
        return Err(refusal(Refused::Unknown(name.to_owned())));
    }
    Ok(runs.iter().map(run_to_json).collect())
}

fn read_only() -> Refusal {
    Refusal::Failed("the drive is mounted read-only: no job runs".to_owned())
}

fn refusal(refused: Refused) -> Refusal {
    let words = refused.to_string();
    match refused {
        Refused::Unknown(_) => Refusal::Missing(words),
        Refused::Runs(_) | Refused::RunsNot(_) => Refusal::Busy(words),
        Refused::Stopping => Refusal::Failed(words),
    }
}
