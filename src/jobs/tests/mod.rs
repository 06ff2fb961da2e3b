//! Jobs on a clock that is moved by hand.

mod board;
mod schedule;
mod scheduler;

use super::{Job, Order, Outcome, Record, Schedule, Work};
use crate::meta::{JobOutcome, JobRun};
use crate::model::{Timestamp, Zone};
use crate::sys::Task;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

fn at(text: &str) -> Timestamp {
    let instant: jiff::Timestamp = text.parse().unwrap();
    Timestamp(instant.as_nanosecond() as i64)
}

/// A record in memory.
#[derive(Default)]
struct Memory {
    runs: Mutex<Vec<JobRun>>,
    since: Mutex<HashMap<String, Timestamp>>,
}

impl Memory {
    fn of(&self, job: &str) -> Vec<JobRun> {
        self.runs.lock().iter().filter(|run| run.job == job).cloned().collect()
    }
}

impl Record for Memory {
    fn runs(&self, job: &str, count: u32) -> Result<Vec<JobRun>, String> {
        Ok(self.of(job).into_iter().rev().take(count as usize).collect())
    }

    fn since(&self, job: &str) -> Result<Option<Timestamp>, String> {
        Ok(self.since.lock().get(job).copied())
    }

    fn set_since(&self, job: &str, since: Timestamp) -> Result<(), String> {
        self.since.lock().insert(job.to_owned(), since);
        Ok(())
    }

    fn begin(&self, job: &str, begun: Timestamp) -> Result<i64, String> {
        let mut runs = self.runs.lock();
        let id = runs.len() as i64;
        runs.push(JobRun {
            id,
            job: job.to_owned(),
            begun,
            ended: None,
            outcome: JobOutcome::Running,
            summary: String::new(),
            detail: String::new(),
            error: None,
        });
        Ok(id)
    }

    fn end(&self, run: &JobRun) -> Result<(), String> {
        self.runs.lock()[run.id as usize] = run.clone();
        Ok(())
    }

    fn interrupt_all(&self) -> Result<u64, String> {
        let mut count = 0;
        for run in self.runs.lock().iter_mut().filter(|run| run.outcome == JobOutcome::Running) {
            run.outcome = JobOutcome::Interrupted;
            count += 1;
        }
        Ok(count)
    }
}

struct Does<F>(F);

impl<F: Fn(&Order, &dyn Task) -> Result<Outcome, String> + Send + Sync> Work for Does<F> {
    fn run(&self, order: &Order, task: &dyn Task) -> Result<Outcome, String> {
        (self.0)(order, task)
    }
}

fn job_that(
    name: &str,
    schedule: &str,
    lane: &str,
    work: impl Fn(&Order, &dyn Task) -> Result<Outcome, String> + Send + Sync + 'static,
) -> Job {
    Job {
        name: name.to_owned(),
        schedule: Schedule::parse(schedule, &Zone::UTC).unwrap(),
        lane: lane.to_owned(),
        ages: false,
        bytes_per_second_max: 0,
        work: Arc::new(Does(work)),
    }
}

fn job(name: &str, schedule: &str, lane: &str) -> Job {
    job_that(name, schedule, lane, |_, _| Ok(Outcome::done("did it", Value::Null)))
}
