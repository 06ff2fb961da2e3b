//! The record of runs.

use super::due::Past;
use crate::fs::Volume;
use crate::meta::{JobOutcome, JobRun};
use crate::model::Timestamp;
use serde_json::{Value, json};

/// How many of the last runs are looked at for the one that counts.
const LOOKED_AT: u32 = 20;

/// Where runs are recorded: the metadata of a store. Errors are for people.
pub trait Record: Send + Sync {
    /// The last runs of a job, the newest first, at most `count`.
    fn runs(&self, job: &str, count: u32) -> Result<Vec<JobRun>, String>;
    /// Since when the job is known, if it is.
    fn since(&self, job: &str) -> Result<Option<Timestamp>, String>;
    /// Remembers since when.
    fn set_since(&self, job: &str, since: Timestamp) -> Result<(), String>;
    /// A run begins; its number.
    fn begin(&self, job: &str, begun: Timestamp) -> Result<i64, String>;
    /// A run has ended.
    fn end(&self, run: &JobRun) -> Result<(), String>;
    /// Whatever still runs by the record was interrupted; how many runs these are.
    fn interrupt_all(&self) -> Result<u64, String>;
}

impl Record for Volume {
    fn runs(&self, job: &str, count: u32) -> Result<Vec<JobRun>, String> {
        self.job_runs(job, count).map_err(|error| error.to_string())
    }

    fn since(&self, job: &str) -> Result<Option<Timestamp>, String> {
        self.job_since(job).map_err(|error| error.to_string())
    }

    fn set_since(&self, job: &str, since: Timestamp) -> Result<(), String> {
        self.set_job_since(job, since).map_err(|error| error.to_string())
    }

    fn begin(&self, job: &str, begun: Timestamp) -> Result<i64, String> {
        self.begin_job_run(job, begun).map_err(|error| error.to_string())
    }

    fn end(&self, run: &JobRun) -> Result<(), String> {
        self.end_job_run(run).map_err(|error| error.to_string())
    }

    fn interrupt_all(&self) -> Result<u64, String> {
        self.interrupt_job_runs().map_err(|error| error.to_string())
    }
}

/// What is known of a job's runs at `now`. What a wrong clock recorded in the future is not believed: else the job would
/// wait until then.
pub(super) fn past_of(record: &dyn Record, job: &str, now: Timestamp) -> Result<Past, String> {
    let since = match record.since(job)? {
        Some(since) if since <= now => since,
        _ => {
            record.set_since(job, now)?;
            now
        }
    };
    let runs = record.runs(job, LOOKED_AT)?;
    let is_interrupted = |run: &&JobRun| run.outcome == JobOutcome::Interrupted;
    let interrupted = runs.first().filter(is_interrupted).map(|run| run.begun.min(now));
    let counts = |run: &&JobRun| run.outcome != JobOutcome::Interrupted && run.begun <= now;
    let last = runs.iter().find(counts).map(|run| run.begun);
    Ok(Past { since, last, interrupted })
}

/// A run of the record for programs. Times in nanoseconds since 1970.
pub fn run_to_json(run: &JobRun) -> Value {
    let detail = serde_json::from_str(&run.detail).unwrap_or(Value::Null);
    json!({
        "job": run.job,
        "begun": run.begun.0,
        "ended": run.ended.map(|ended| ended.0),
        "outcome": run.outcome.word(),
        "summary": run.summary,
        "detail": detail,
        "error": run.error,
    })
}
