//! `[jobs]`: what runs by itself, and when.

use super::backup::BackupConfig;
use super::resolve::{Broken, broken, resolve_path, within};
use super::{raw, units};
use crate::model::Zone;
use std::path::PathBuf;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long anything can be asked to wait.
const AGE_MAX: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// `[jobs]`. Schedules are as they were written; room `jobs` reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobsConfig {
    /// Whose times schedules name; `None`: the system's.
    pub time_zone: Option<Zone>,
    /// A run begins later than planned by less than this.
    pub jitter: Duration,
    /// What each job may read or send in a second; 0: any number.
    pub bytes_per_second_max: u64,
    /// The same while others need the drive or the machine.
    pub busy_bytes_per_second_max: u64,
    /// An absolute path: the program that is told of failures.
    pub on_failure: Option<PathBuf>,
    /// When what nothing keeps is looked for, and room given back.
    pub retention: String,
    /// When the next part of the store is read and verified.
    pub scrub: String,
    /// When finished projects are looked for.
    pub archive: String,
    /// Within this time every chunk is read and verified.
    pub scrub_period: Duration,
    /// A project that nobody touched for so long is finished; `None`: none ever is.
    pub archive_after: Option<Duration>,
    /// The name of the backup location to which archived projects are exported; `None`: to none.
    pub archive_export: Option<String>,
}

pub(super) fn resolve(raw: &raw::Jobs, backups: &[BackupConfig]) -> Result<JobsConfig, Broken> {
    let jitter = within("jobs.jitter", raw.jitter.0, Duration::ZERO..=DAY, "at most 1d")?;
    let scrub_period =
        within("jobs.scrub_period", raw.scrub_period.0, DAY..=AGE_MAX, "from 1d to 365000d")?;
    Ok(JobsConfig {
        time_zone: zone(&raw.time_zone)?,
        jitter,
        bytes_per_second_max: raw.bytes_per_second_max.0,
        busy_bytes_per_second_max: raw.busy_bytes_per_second_max.0,
        on_failure: resolve_path("jobs.on_failure", &raw.on_failure)?,
        retention: schedule("jobs.retention", &raw.retention)?,
        scrub: schedule("jobs.scrub", &raw.scrub)?,
        archive: schedule("jobs.archive", &raw.archive)?,
        scrub_period,
        archive_after: archive_after(&raw.archive_after)?,
        archive_export: archive_export(&raw.archive_export, backups)?,
    })
}

fn zone(name: &str) -> Result<Option<Zone>, Broken> {
    if name.is_empty() {
        return Ok(None);
    }
    let unknown = |_| {
        broken(
            "jobs.time_zone",
            format!("{name:?} is no time zone; write one like \"Europe/Berlin\""),
        )
    };
    Zone::get(name).map(Some).or_else(unknown)
}

/// What it says is for room `jobs`; here, that it says something.
fn schedule(key: &'static str, text: &str) -> Result<String, Broken> {
    match text.trim() {
        "" => {
            broken(key, "must be \"never\", \"every 6h\" or a cron expression like \"30 1 * * *\"")
        }
        text => Ok(text.to_owned()),
    }
}

fn archive_export(name: &str, backups: &[BackupConfig]) -> Result<Option<String>, Broken> {
    const KEY: &str = "jobs.archive_export";
    if name.is_empty() {
        return Ok(None);
    }
    match backups.iter().any(|backup| backup.name == name) {
        true => Ok(Some(name.to_owned())),
        false => broken(KEY, format!("{name:?} must be the name of a [[backup]]")),
    }
}

fn archive_after(text: &str) -> Result<Option<Duration>, Broken> {
    const KEY: &str = "jobs.archive_after";
    match (text, units::parse_time(text)) {
        ("never", _) => Ok(None),
        (_, Some(age)) => within(KEY, age, DAY..=AGE_MAX, "from 1d to 365000d").map(Some),
        _ => broken(KEY, format!("{text:?} is no time: write \"90d\", or \"never\"")),
    }
}
