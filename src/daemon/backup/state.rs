//! How things stand with each place: when it was last written to, looked at, and proven. By the record of its jobs.

use crate::backup::{Drilled, Made, Verified};
use crate::config::{BackupConfig, Config};
use crate::fs::Volume;
use crate::jobs::{Concern, Record, Severity};
use crate::meta::{JobOutcome, JobRun};
use crate::sys::{Clock, SystemClock};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Runs of a job that are looked through for the last one that succeeded.
const LOOKED_AT: u32 = 100;
/// A continuous backup that is further behind needs attention.
const BEHIND_SECONDS_MAX: i64 = 300;
const SECOND: i64 = 1_000_000_000;

/// What is known of a place. Times in nanoseconds since 1970.
#[derive(Debug, Serialize)]
pub(in crate::daemon) struct Place {
    name: String,
    /// When the last backup was begun: what happened until then is there.
    current: Option<i64>,
    generation: Option<String>,
    sent_bytes: Option<u64>,
    verified: Option<i64>,
    proven: Option<i64>,
    proven_bytes: Option<u64>,
    proven_of_bytes: Option<u64>,
    /// Of a continuous backup: what is younger may not be there.
    behind_seconds: Option<i64>,
}

/// What is known of each place in the settings.
pub(in crate::daemon) fn places(volume: &Volume, config: &Config) -> Vec<Place> {
    config.backups.iter().map(|backup| place(volume, backup)).collect()
}

fn place(volume: &Volume, backup: &BackupConfig) -> Place {
    let name = &backup.name;
    let made: Option<(i64, Made)> =
        newest(last(volume, &format!("backup:{name}")), last(volume, &format!("full:{name}")));
    let drilled: Option<(i64, Drilled)> =
        newest(last(volume, &format!("drill:{name}")), last(volume, &format!("drill-all:{name}")));
    let verified: Option<(i64, Verified)> = last(volume, &format!("verify:{name}"));
    let current = made.as_ref().map(|(at, _)| *at);
    let behind = current.filter(|_| backup.continuous).map(|at| behind(volume, at));
    Place {
        name: name.clone(),
        current,
        generation: made.as_ref().map(|(_, made)| made.generation.clone()),
        sent_bytes: made.as_ref().map(|(_, made)| made.sent_bytes),
        verified: verified.map(|(at, _)| at),
        proven: drilled.as_ref().map(|(at, _)| *at),
        proven_bytes: drilled.as_ref().map(|(_, drilled)| drilled.bytes),
        proven_of_bytes: drilled.as_ref().map(|(_, drilled)| drilled.bytes_total),
        behind_seconds: behind,
    }
}

/// The later of two.
fn newest<T>(one: Option<(i64, T)>, other: Option<(i64, T)>) -> Option<(i64, T)> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.0 >= other.0 { one } else { other }),
        (one, other) => one.or(other),
    }
}

/// The last run that came to such a thing, and when it began: what happened since is not in it.
fn last<T: DeserializeOwned>(volume: &Volume, job: &str) -> Option<(i64, T)> {
    done(volume, job)
        .into_iter()
        .find_map(|run| serde_json::from_str(&run.detail).ok().map(|detail| (run.begun.0, detail)))
}

/// For how long there may be changes that a backup doesn't have which was begun at `backed_up`, in seconds.
fn behind(volume: &Volume, backed_up: i64) -> i64 {
    let age = (SystemClock.now().0 - backed_up).max(0) / SECOND;
    let quiet = volume.quiet_for().map(|quiet| quiet.as_secs() as i64);
    if quiet.is_some_and(|quiet| quiet < age) { age } else { 0 }
}

fn done(volume: &Volume, job: &str) -> Vec<JobRun> {
    let mut runs = volume.runs(job, LOOKED_AT).unwrap_or_default();
    runs.retain(|run| run.outcome == JobOutcome::Done);
    runs
}

/// What of it needs attention, beside jobs that failed or are overdue.
pub(in crate::daemon) fn concerns(places: &[Place]) -> Vec<Concern> {
    let concern = |place: &Place| {
        let name = &place.name;
        let (what, advice) = match (place.current, place.behind_seconds) {
            (None, _) => (
                format!("nothing was ever backed up to {name}"),
                format!("`verso backup run {name}` does it now"),
            ),
            (_, Some(behind)) if behind > BEHIND_SECONDS_MAX => (
                format!("{name} is {} minutes behind", behind / 60),
                format!("`verso jobs log backup:{name}` says why"),
            ),
            _ => return None,
        };
        Some(Concern { severity: Severity::Warning, what, since: place.current, advice })
    };
    places.iter().filter_map(concern).collect()
}
