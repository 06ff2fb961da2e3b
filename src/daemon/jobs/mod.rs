//! Which jobs a drive has, and what the rest of the daemon does with them.

mod archive;
mod asked;
pub(super) mod backups;
mod command;
pub(super) mod follow;
mod retention;
pub(super) mod scratch;
mod scrub;
#[cfg(test)]
#[path = "years_tests.rs"]
mod years;

pub(super) use scrub::Repairs;

pub(super) use asked::{cancel, list, log, recorded_concerns, run};
pub(super) use command::command;

use crate::cli::{Exit, Failure};
use crate::config::Config;
use crate::fs::Volume;
use crate::jobs::{Demand, Finished, Heard, Job, Options, Pace, Schedule, Scheduler};
use crate::model::Zone;
use crate::sys::ProcessorTime;
use std::sync::Arc;

/// The lane of what works on the store itself.
const STORE_LANE: &str = "store";

/// The jobs of a store: the one place that knows all of them.
///
/// # Errors
/// A schedule in the settings that is none.
pub(super) fn jobs(volume: &Arc<Volume>, config: &Config) -> Result<Vec<Job>, Failure> {
    let schedules = Schedules::new(config);
    let mut jobs = vec![
        retention::job(volume, config, &schedules)?,
        scrub::job(volume, config, &schedules)?,
        archive::job(volume, config, &schedules)?,
    ];
    jobs.extend(backups::jobs(volume, config, &schedules)?);
    Ok(jobs)
}

/// Reads the schedules in the settings.
pub(super) struct Schedules {
    pub(super) zone: Zone,
}

impl Schedules {
    pub(super) fn new(config: &Config) -> Schedules {
        Schedules { zone: config.jobs.time_zone.clone().unwrap_or_else(Zone::system) }
    }

    /// What the setting `key` says.
    pub(super) fn read(&self, key: &str, text: &str) -> Result<Schedule, Failure> {
        Schedule::parse(text, &self.zone)
            .map_err(|error| Failure::new(Exit::Usage, format!("{key}: {error}")))
    }
}

/// Whether all schedules in the settings are such.
pub(super) fn check_schedules(config: &Config) -> Result<(), Failure> {
    let schedules = Schedules::new(config);
    let jobs = &config.jobs;
    let settings = [
        ("jobs.retention", &jobs.retention),
        ("jobs.scrub", &jobs.scrub),
        ("jobs.archive", &jobs.archive),
    ];
    settings.into_iter().try_for_each(|(key, text)| schedules.read(key, text).map(|_| ()))?;
    config.backups.iter().try_for_each(|backup| backups::check_schedules(backup, &schedules))
}

/// Lets the jobs of a drive run that has had so many `requests`. Without them the drive still is one: that they can't be started is logged.
///
/// # Errors
/// As [`jobs`].
pub(super) fn start(
    volume: &Arc<Volume>,
    config: &Config,
    requests: fn() -> u64,
) -> Result<Option<Scheduler>, Failure> {
    let jobs = jobs(volume, config)?;
    let options = Options {
        store: volume.store_path().to_owned(),
        jitter_max: config.jobs.jitter,
        pace: Pace {
            bytes_per_second_max: config.jobs.bytes_per_second_max,
            busy_bytes_per_second_max: config.jobs.busy_bytes_per_second_max,
            demand: Some(Arc::new(Demand::new(Box::new(requests), || ProcessorTime::now().ok()))),
        },
        on_failure: config.jobs.on_failure.clone(),
        idle: volume.idle_before_open(),
    };
    let heard: Heard = Arc::new(|job: &Job, finished: &Finished| tell_systemd(job, finished));
    let record: Arc<Volume> = Arc::clone(volume);
    Ok(Scheduler::start(record, jobs, &options, Arc::clone(volume.clock()), heard)
        .inspect_err(|error| log::error!("no job will run by itself: {error}"))
        .ok())
}

/// What `systemctl status` shows.
fn tell_systemd(job: &Job, finished: &Finished) {
    let status = match &finished.error {
        Some(error) => format!("job {} failed: {error}", job.name),
        None => format!("job {} {}", job.name, finished.outcome.word()),
    };
    super::serve::tell_systemd(sd_notify::NotifyState::Status(&status));
}
