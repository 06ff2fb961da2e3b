//! The record of jobs, as it lies in the metadata. What the jobs do and when they run is room `jobs`.

use super::volume::Volume;
use super::{Error, Result};
use crate::meta::{JobRun, Tx};
use crate::model::Timestamp;

impl Volume {
    /// The last runs of a job, the newest first, at most `count`.
    pub fn job_runs(&self, job: &str, count: u32) -> Result<Vec<JobRun>> {
        self.meta.read(|view| Ok(view.job_runs(job, count)?))
    }

    /// The names of all jobs that ever ran, sorted.
    pub fn job_names(&self) -> Result<Vec<String>> {
        self.meta.read(|view| Ok(view.job_names()?))
    }

    /// Since when the job is known: what it missed before that is nothing to make up for.
    pub fn job_since(&self, job: &str) -> Result<Option<Timestamp>> {
        self.meta.read(|view| Ok(view.job_since(job)?))
    }

    /// Remembers since when a job is known.
    pub fn set_job_since(&self, job: &str, since: Timestamp) -> Result<()> {
        self.record(|tx| Ok(tx.set_job_since(job, since)?))
    }

    /// Records that a run begins; its number.
    pub fn begin_job_run(&self, job: &str, begun: Timestamp) -> Result<i64> {
        self.record(|tx| Ok(tx.begin_job_run(job, begun)?))
    }

    /// Records how a run ended.
    pub fn end_job_run(&self, run: &JobRun) -> Result<()> {
        self.record(|tx| Ok(tx.end_job_run(run)?))
    }

    /// Records of runs that never ended, because their daemon died, that they were interrupted; how many they were. For
    /// whoever has just opened the store, before anything runs.
    pub fn interrupt_job_runs(&self) -> Result<u64> {
        self.record(|tx| Ok(tx.interrupt_job_runs()?))
    }

    /// A transaction that is no change of the drive: nobody waits until it is durable, and it is nothing to back up.
    fn record<T>(&self, work: impl Fn(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.check_writable()?;
        let outcome = match self.meta.write(self.now(), &work) {
            Err(Error::NoSpace) if self.space.release_reserve() => {
                self.meta.write(self.now(), &work)
            }
            outcome => outcome,
        };
        self.guard_failure(outcome)
    }
}
