//! The record of jobs: when each ran, and how that ended.

use super::{Result, Tx, View};
use crate::model::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

/// Any writer that doesn't know the tables keeps them all the same, since SQLite does.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS job(name TEXT PRIMARY KEY, since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS job_run(
    id INTEGER PRIMARY KEY, job TEXT NOT NULL, begun INTEGER NOT NULL, ended INTEGER,
    outcome TEXT NOT NULL, summary TEXT NOT NULL, detail TEXT NOT NULL, error TEXT);
CREATE INDEX IF NOT EXISTS job_run_by_job ON job_run(job, id);
";

/// Runs of each job that are remembered.
pub const RUNS_KEPT: u32 = 100;

/// How a run ended, or that it hasn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// It has not ended.
    Running,
    /// To its end.
    Done,
    /// Before its end, in order; the rest is for the next run.
    Stopped,
    /// It could not do what it was for.
    Failed,
    /// The daemon ended, or was killed, in the middle of it.
    Interrupted,
}

impl JobOutcome {
    const ALL: [JobOutcome; 5] = [
        JobOutcome::Running,
        JobOutcome::Done,
        JobOutcome::Stopped,
        JobOutcome::Failed,
        JobOutcome::Interrupted,
    ];

    /// The word for it, in the table and for people.
    pub fn word(self) -> &'static str {
        match self {
            JobOutcome::Running => "running",
            JobOutcome::Done => "done",
            JobOutcome::Stopped => "stopped",
            JobOutcome::Failed => "failed",
            JobOutcome::Interrupted => "interrupted",
        }
    }

    /// A word that nobody knows was written by a later version: all that is sure is that it ended.
    fn from_word(word: &str) -> JobOutcome {
        let known = JobOutcome::ALL.into_iter().find(|outcome| outcome.word() == word);
        known.unwrap_or(JobOutcome::Interrupted)
    }
}

/// One run of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRun {
    /// Later runs have higher numbers.
    pub id: i64,
    /// The job's name.
    pub job: String,
    /// When it began, by the clock.
    pub begun: Timestamp,
    /// When it ended; of an interrupted one nobody knows.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub outcome: JobOutcome,
    /// What it came to, in a line for people.
    pub summary: String,
    /// The same for programs, as JSON; may be empty.
    pub detail: String,
    /// What went wrong.
    pub error: Option<String>,
}

const COLUMNS: &str = "id, job, begun, ended, outcome, summary, detail, error";

/// Makes sure that the tables are there.
pub(super) fn prepare(db: &Connection) -> Result<()> {
    db.execute_batch(TABLES)?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<JobRun> {
    Ok(JobRun {
        id: row.get(0)?,
        job: row.get(1)?,
        begun: Timestamp(row.get(2)?),
        ended: row.get::<_, Option<i64>>(3)?.map(Timestamp),
        outcome: JobOutcome::from_word(&row.get::<_, String>(4)?),
        summary: row.get(5)?,
        detail: row.get(6)?,
        error: row.get(7)?,
    })
}

impl View<'_> {
    /// The last runs of a job, the newest first, at most `count`.
    pub fn job_runs(&self, job: &str, count: u32) -> Result<Vec<JobRun>> {
        let sql = format!("SELECT {COLUMNS} FROM job_run WHERE job = ? ORDER BY id DESC LIMIT ?");
        let mut statement = self.db.prepare_cached(&sql)?;
        let rows = statement.query_map((job, count), read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Since when the job is known, if it is.
    pub fn job_since(&self, job: &str) -> Result<Option<Timestamp>> {
        let mut statement = self.db.prepare_cached("SELECT since FROM job WHERE name = ?")?;
        let since = statement.query_row([job], |row| row.get(0)).optional()?;
        Ok(since.map(Timestamp))
    }

    /// The names of all jobs that ever ran.
    pub fn job_names(&self) -> Result<Vec<String>> {
        let sql = "SELECT DISTINCT job FROM job_run ORDER BY job";
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// Remembers since when a job is known.
    pub fn set_job_since(&self, job: &str, since: Timestamp) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO job (name, since) VALUES (?, ?)";
        self.db.prepare_cached(sql)?.execute((job, since.0))?;
        Ok(())
    }

    /// A run begins; its number. Of the job's earlier runs the last ones stay.
    pub fn begin_job_run(&self, job: &str, begun: Timestamp) -> Result<i64> {
        let sql = "INSERT INTO job_run (job, begun, outcome, summary, detail) \
                   VALUES (?, ?, 'running', '', '')";
        self.db.prepare_cached(sql)?.execute((job, begun.0))?;
        let id = self.db.last_insert_rowid();
        let sql = "DELETE FROM job_run WHERE job = ?1 AND id <= \
                   (SELECT id FROM job_run WHERE job = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        self.db.prepare_cached(sql)?.execute((job, RUNS_KEPT))?;
        Ok(id)
    }

    /// A run has ended as `run` says; what it says of its beginning is not looked at.
    pub fn end_job_run(&self, run: &JobRun) -> Result<()> {
        let sql = "UPDATE job_run SET ended = ?, outcome = ?, summary = ?, detail = ?, error = ? \
                   WHERE id = ?";
        self.db.prepare_cached(sql)?.execute((
            run.ended.map(|ended| ended.0),
            run.outcome.word(),
            &run.summary,
            &run.detail,
            &run.error,
            run.id,
        ))?;
        Ok(())
    }

    /// Runs that have not ended are of a daemon that is dead: how many there were.
    pub fn interrupt_job_runs(&self) -> Result<u64> {
        let sql = "UPDATE job_run SET outcome = 'interrupted' WHERE outcome = 'running'";
        Ok(self.db.prepare_cached(sql)?.execute([])? as u64)
    }
}
