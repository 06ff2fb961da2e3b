//! `verso jobs`: arguments, and what people see.

use super::output::say;
use crate::config::format_bytes;
use crate::model::{Moment, Zone, local_name};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::Value;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(super) const JOBS_EXAMPLES: &str = "\
Examples:
  verso jobs                                (of all drives that are mounted)
  verso jobs ~/Verso
  verso jobs run retention ~/Verso --dry-run
  verso jobs cancel retention ~/Verso
  verso jobs log retention ~/Verso";

/// What a column shows where there is nothing to tell.
const NOTHING: &str = "-";
const HEADS: [&str; 6] = ["JOB", "LAST RUN", "ENDED", "TOOK", "NEXT RUN", "NOW"];
const LOG_HEADS: [&str; 4] = ["BEGAN", "ENDED", "TOOK", "WHAT"];
/// Work that is done sooner shows no progress.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// `verso jobs`
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct JobsArgs {
    /// What to do; without it the jobs are listed
    #[command(subcommand)]
    pub command: Option<JobsCommand>,
    /// A store, or anything on its mounted drive; without it all that are mounted
    pub store: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do with a job.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Let a job run now, and show how far it is
    ///
    /// The daemon does it; where none runs, this process. Ctrl-C ends the showing, not the daemon's run.
    Run(RunJobArgs),
    /// Let a run of a job end at its next step; the next run goes on there
    Cancel(CancelJobArgs),
    /// Show how the last runs of a job went
    Log(JobLogArgs),
}

/// `verso jobs run`
#[derive(Args, Debug)]
pub struct RunJobArgs {
    /// Which job; `verso jobs` lists them
    pub name: String,
    /// A store, or anything on its mounted drive; may be left out where one drive is mounted
    pub store: Option<PathBuf>,
    /// Change nothing; say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Return at once; a daemon must be running
    #[arg(long, conflicts_with = "json")]
    pub no_wait: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verso jobs cancel`
#[derive(Args, Debug)]
pub struct CancelJobArgs {
    /// Which job; `verso jobs` lists them
    pub name: String,
    /// A store, or anything on its mounted drive; may be left out where one drive is mounted
    pub store: Option<PathBuf>,
}

/// `verso jobs log`
#[derive(Args, Debug)]
pub struct JobLogArgs {
    /// Which job; `verso jobs` lists them
    pub name: String,
    /// A store, or anything on its mounted drive; may be left out where one drive is mounted
    pub store: Option<PathBuf>,
    /// Show at most so many runs
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    pub limit: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The jobs of a store.
#[derive(Debug, Deserialize)]
struct Jobs {
    store: PathBuf,
    /// Whether a daemon lets them run.
    daemon: bool,
    jobs: Vec<Job>,
}

/// A job.
#[derive(Debug, Deserialize)]
struct Job {
    name: String,
    #[serde(default)]
    next: Option<i64>,
    #[serde(default)]
    running: Option<Running>,
    #[serde(default)]
    last: Option<Run>,
}

/// A run that is under way, or waits for its turn.
#[derive(Debug, Deserialize)]
struct Running {
    begun: Option<i64>,
    stopping: bool,
    done: u64,
    total: u64,
    step: String,
}

/// A run of the record.
#[derive(Debug, Deserialize)]
struct Run {
    begun: i64,
    ended: Option<i64>,
    outcome: String,
    summary: String,
    error: Option<String>,
}

impl Run {
    fn took(&self) -> String {
        let nanos =
            |ended: i64| Duration::from_nanos(ended.saturating_sub(self.begun).max(0) as u64);
        self.ended.map_or(NOTHING.to_owned(), |ended| words_of(nanos(ended)))
    }

    fn what(&self) -> String {
        match &self.error {
            Some(error) => one_line(error),
            None => one_line(&self.summary),
        }
    }
}

impl Running {
    fn words(&self) -> String {
        let step = match (self.begun, self.step.as_str()) {
            (None, _) => "waits for its turn".to_owned(),
            (Some(_), "") => "runs".to_owned(),
            (Some(_), step) => one_line(step),
        };
        let share = match self.total {
            0 => String::new(),
            total => format!(", {:.0} %", 100.0 * self.done as f64 / total as f64),
        };
        let stopping = if self.stopping { ", is being ended" } else { "" };
        format!("{step}{share}{stopping}")
    }
}

/// Prints the jobs of each store.
pub fn show_jobs(stores: &[Value], zone: &Zone) -> Result<(), serde_json::Error> {
    for (index, store) in stores.iter().enumerate() {
        let store = Jobs::deserialize(store)?;
        let gap = if index > 0 { "\n" } else { "" };
        let daemon = match store.daemon {
            true => "",
            false => " (not mounted for writing: nothing runs by itself)",
        };
        if stores.len() > 1 || !store.daemon {
            say(&format!("{gap}{}{daemon}", store.store.display()));
        }
        say(&table(&HEADS, store.jobs.iter().map(|job| row(job, zone))));
    }
    Ok(())
}

fn row(job: &Job, zone: &Zone) -> Vec<String> {
    let last = job.last.as_ref();
    let next = match (&job.running, job.next) {
        (Some(_), _) => NOTHING.to_owned(),
        (None, next) => next.map_or("never".to_owned(), |next| time(next, zone)),
    };
    vec![
        job.name.clone(),
        last.map_or("never".to_owned(), |run| time(run.begun, zone)),
        last.map_or(NOTHING.to_owned(), |run| run.outcome.clone()),
        last.map_or(NOTHING.to_owned(), Run::took),
        next,
        job.running.as_ref().map_or(NOTHING.to_owned(), Running::words),
    ]
}

/// Prints the last runs of a job.
pub fn show_job_log(runs: &Value, zone: &Zone) -> Result<(), serde_json::Error> {
    let runs = Vec::<Run>::deserialize(runs)?;
    let row = |run: &Run| vec![time(run.begun, zone), run.outcome.clone(), run.took(), run.what()];
    say(&table(&LOG_HEADS, runs.iter().map(row)));
    Ok(())
}

/// Prints what a run came to.
pub fn show_job_outcome(name: &str, finished: &Value) {
    let summary = finished["summary"].as_str().unwrap_or_default();
    match finished["outcome"].as_str() {
        Some("stopped") => say(&format!("{name} was stopped, and goes on next time: {summary}")),
        _ => say(&format!("{name}: {summary}")),
    }
}

fn time(nanos: i64, zone: &Zone) -> String {
    local_name(Moment(nanos), zone)
}

/// Three digits suffice.
fn words_of(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Nothing that a job says may look like lines of ours.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Columns as wide as what is in them, but for the last.
fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..rows[0].len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// How far a run is: shown after a second, and only on a terminal.
pub struct JobProgress {
    name: String,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl JobProgress {
    /// Begins to watch a run of the job.
    pub fn new(name: &str) -> JobProgress {
        JobProgress { name: name.to_owned(), since: Instant::now(), bar: None }
    }

    /// Shows it; to be called again and again. `total` is 0 while nobody knows.
    pub fn show(&mut self, done: u64, total: u64, step: &str) {
        if self.bar.is_none() {
            if self.since.elapsed() < PROGRESS_AFTER || !io::stderr().is_terminal() {
                return;
            }
            self.bar = Some(ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()));
        }
        let Some(bar) = &self.bar else { return };
        let template = match total {
            0 => "{spinner} {msg} ({elapsed})",
            _ => "{spinner} {msg} {wide_bar} {percent} % ({elapsed}, {eta} left)",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
        bar.set_length(total);
        bar.set_position(done);
        let much = if total == 0 && done > 0 {
            format!(", {}", format_bytes(done))
        } else {
            String::new()
        };
        bar.set_message(format!("{}: {}{much}", self.name, one_line(step)));
        bar.tick();
    }
}

impl Drop for JobProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_is_a_line() {
        let last = json!({ "begun": 0, "ended": 61_500_000_000_i64, "outcome": "done", "summary": "", "error": null });
        let job = json!({ "name": "scrub", "next": 3_600_000_000_000_i64, "running": null, "last": last });
        let row = row(&Job::deserialize(job).unwrap(), &Zone::UTC);
        assert_eq!(row[1..5], ["1970-01-01 00:00:00", "done", "1 min 1 s", "1970-01-01 01:00:00"]);
        let text = table(&HEADS, std::iter::once(row));
        assert!(
            text.starts_with("JOB    LAST RUN             ENDED  TOOK       NEXT RUN"),
            "{text}"
        );
    }

    #[test]
    fn what_runs_says_how_far_it_is() {
        let running = |begun: Option<i64>, stopping| Running {
            begun,
            stopping,
            done: 50,
            total: 200,
            step: "reading\npacks".to_owned(),
        };
        assert_eq!(running(Some(1), false).words(), "reading packs, 25 %");
        assert_eq!(running(Some(1), true).words(), "reading packs, 25 %, is being ended");
        assert!(running(None, false).words().starts_with("waits for its turn"));
        assert_eq!(words_of(Duration::from_secs(7300)), "2 h 1 min");
    }
}
