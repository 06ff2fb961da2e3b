//! When a job is due, by its schedule and by how it ran before. Pure.

use super::schedule::{Schedule, plus};
use crate::model::Timestamp;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Jitter is at most this part of the time from one run to the next, so that none is ever leapt over.
const JITTER_PART: u32 = 10;

/// What is known of a job's runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Past {
    /// Since when the job is known: what it would have missed before is not made up.
    pub(super) since: Timestamp,
    /// When the last run began that counts: one that was interrupted doesn't.
    pub(super) last: Option<Timestamp>,
    /// When the newest run began, if it was interrupted.
    pub(super) interrupted: Option<Timestamp>,
}

/// When the job is to run next. That this is past means that it is due: however many times were missed, it is one run that makes
/// up for them. `None`: never by itself.
pub(super) fn planned(schedule: &Schedule, past: &Past) -> Option<Timestamp> {
    if schedule.is_never() {
        return None;
    }
    match (past.interrupted, past.last) {
        (Some(begun), _) => Some(begun),
        // What was never done at an interval is done at once.
        (None, None) if schedule.is_interval() => Some(past.since),
        (None, last) => schedule.after(last.unwrap_or(past.since)),
    }
}

/// By how much the run of `job` that is planned for `planned` is put off, so that many machines don't do the same at the same
/// instant. The same every time that it is asked with the same seed; less than `max`, and than a part of `gap`.
pub(super) fn jitter(
    seed: u64,
    job: &str,
    planned: Timestamp,
    gap: Option<Duration>,
    max: Duration,
) -> Duration {
    let max = gap.map_or(max, |gap| max.min(gap / JITTER_PART));
    let millis = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return Duration::ZERO;
    }
    let mut hasher = DefaultHasher::new();
    (seed, job, planned.0).hash(&mut hasher);
    Duration::from_millis(hasher.finish() % millis)
}

/// When the job is to run next, with jitter. There is none for what is made up.
pub(super) fn due(
    schedule: &Schedule,
    past: &Past,
    job: &str,
    seed: u64,
    max: Duration,
) -> Option<Timestamp> {
    let planned = planned(schedule, past)?;
    if past.interrupted.is_some() || past.last.is_none() && schedule.is_interval() {
        return Some(planned);
    }
    Some(plus(planned, jitter(seed, job, planned, schedule.gap(planned), max)))
}

/// How long a job may be late before that is something to worry about: twice the time between its runs.
pub(super) fn lateness_max(schedule: &Schedule, planned: Timestamp) -> Option<Duration> {
    schedule.gap(planned).map(|gap| gap * 2)
}
