//! Carrying a run out, and recording it.

use super::record::Record;
use super::run::{Run, Stop};
use super::{Job, Order, Outcome};
use crate::meta::{JobOutcome, JobRun};
use crate::model::Timestamp;
use crate::sys::Clock;
use serde_json::{Value, json};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A run that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Which run of this process.
    pub ticket: u64,
    /// It changed nothing, and is not in the record.
    pub dry_run: bool,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended.
    pub outcome: JobOutcome,
    /// What it came to, for people.
    pub summary: String,
    /// What it came to, for programs.
    pub detail: Value,
    /// What went wrong.
    pub error: Option<String>,
}

impl Finished {
    /// For programs. Times in nanoseconds since 1970.
    pub fn to_json(&self) -> Value {
        json!({
            "ticket": self.ticket,
            "dry_run": self.dry_run,
            "begun": self.begun.0,
            "ended": self.ended.0,
            "outcome": self.outcome.word(),
            "summary": self.summary,
            "detail": self.detail,
            "error": self.error,
        })
    }
}

/// Runs a job in the calling thread, and records that, unless nothing is changed by it. A panic of its work is a failure.
pub fn run_here(
    record: &dyn Record,
    clock: &dyn Clock,
    job: &Job,
    order: &Order,
    run: &Run,
) -> Finished {
    let begun = clock.now();
    run.begin(begun);
    let row = if order.dry_run { None } else { begin(record, &job.name, begun) };
    let outcome = catch_unwind(AssertUnwindSafe(|| job.work.run(order, run)))
        .unwrap_or_else(|panic| Err(format!("it panicked: {}", words_of(&*panic))));
    let finished = finish(run, begun, clock.now(), outcome);
    if let Some(id) = row {
        end(record, id, &job.name, &finished);
    }
    finished
}

/// That a run can't be recorded must not keep it from running: it may be what makes room for the record.
fn begin(record: &dyn Record, job: &str, begun: Timestamp) -> Option<i64> {
    let row = record.begin(job, begun);
    row.inspect_err(|error| log::error!("cannot record that job {job} runs: {error}")).ok()
}

fn end(record: &dyn Record, id: i64, job: &str, finished: &Finished) {
    let row = JobRun {
        id,
        job: job.to_owned(),
        begun: finished.begun,
        ended: Some(finished.ended),
        outcome: finished.outcome,
        summary: finished.summary.clone(),
        detail: finished.detail.to_string(),
        error: finished.error.clone(),
    };
    if let Err(error) = record.end(&row) {
        log::error!("cannot record how job {job} ended: {error}");
    }
}

/// How a run ended, by what its work answered and who stopped it.
fn finish(
    run: &Run,
    begun: Timestamp,
    ended: Timestamp,
    outcome: Result<Outcome, String>,
) -> Finished {
    let cut_short = match run.stop_reason() {
        Some(Stop::Shutdown) => JobOutcome::Interrupted,
        Some(Stop::Asked) | None => JobOutcome::Stopped,
    };
    let (ticket, dry_run) = (run.ticket, run.dry_run);
    let finished = |outcome, summary, detail, error| Finished {
        ticket,
        dry_run,
        begun,
        ended,
        outcome,
        summary,
        detail,
        error,
    };
    match outcome {
        Ok(Outcome { summary, detail, complete: true }) => {
            finished(JobOutcome::Done, summary, detail, None)
        }
        Ok(Outcome { summary, detail, complete: false }) => {
            finished(cut_short, summary, detail, None)
        }
        // Some work can only say by an error that it was stopped.
        Err(error) if run.stop_reason().is_some() => {
            finished(cut_short, String::new(), Value::Null, Some(error))
        }
        Err(error) => finished(JobOutcome::Failed, String::new(), Value::Null, Some(error)),
    }
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("see the log")
}
