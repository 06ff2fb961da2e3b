//! Job `scrub`: the next share of the store is read and verified, and what is damaged is brought back.

use super::Schedules;
use crate::cli::Failure;
use crate::config::{Config, format_bytes};
use crate::daemon::spares::{lent, spares};
use crate::fs::{Budget, ScrubOptions, ScrubPlan, ScrubReport, Volume};
use crate::jobs::{Job, Order, Outcome, Scheduler, Work};
use crate::sys::Task;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the job is called.
const NAME: &str = "scrub";
/// What could not be read is repaired at most so often.
const REPAIR_INTERVAL: Duration = Duration::from_secs(60);

struct Scrub {
    volume: Arc<Volume>,
    config: Config,
}

/// What `verso jobs run scrub` can ask for.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    /// Read up to the end of the round, not only today's share.
    all: bool,
    /// Read so many bytes.
    bytes: Option<u64>,
    /// Read nothing: only bring back what could not be read meanwhile.
    noted: bool,
}

/// Sees to it that what could not be read is repaired soon.
#[derive(Default)]
pub(in crate::daemon) struct Repairs {
    last: Option<Instant>,
}

impl Repairs {
    /// Asks for a repair if there is a reason for one, and not too often. If the job runs just now, it will be asked again.
    pub(in crate::daemon) fn look(&mut self, volume: &Volume, jobs: Option<&Scheduler>) {
        let Some(jobs) = jobs.filter(|_| volume.damage_noted() > 0) else { return };
        if self.last.is_some_and(|last| last.elapsed() < REPAIR_INTERVAL) {
            return;
        }
        self.last = Some(Instant::now());
        let order = Order { dry_run: false, options: json!({ "noted": true }) };
        if let Err(refused) = jobs.run_now(NAME, order) {
            log::debug!("no repair yet: {refused}");
        }
    }
}

impl Asked {
    fn of(options: &Value) -> Result<Asked, String> {
        match options {
            Value::Null => Ok(Asked::default()),
            options => Asked::deserialize(options).map_err(|error| error.to_string()),
        }
    }

    fn budget(&self) -> Budget {
        match (self.all, self.bytes) {
            (true, _) => Budget::Round,
            (false, Some(bytes)) => Budget::Bytes(bytes),
            (false, None) => Budget::Share,
        }
    }
}

pub(super) fn job(
    volume: &Arc<Volume>,
    config: &Config,
    schedules: &Schedules,
) -> Result<Job, Failure> {
    let work = Scrub { volume: Arc::clone(volume), config: config.clone() };
    Ok(Job {
        name: NAME.to_owned(),
        schedule: schedules.read("jobs.scrub", &config.jobs.scrub)?,
        // It may take long, and stands in nobody's way.
        lane: NAME.to_owned(),
        ages: false,
        bytes_per_second_max: 0,
        work: Arc::new(work),
    })
}

impl Work for Scrub {
    fn run(&self, order: &Order, task: &dyn Task) -> Result<Outcome, String> {
        let asked = Asked::of(&order.options)?;
        let options =
            ScrubOptions { period: self.config.jobs.scrub_period, budget: asked.budget() };
        if order.dry_run {
            let plan = self.volume.scrub_plan(&options, task).map_err(|error| error.to_string())?;
            return Ok(Outcome::done(foreseen(&plan), json!(plan)));
        }
        let spares = spares(&self.volume, &self.config);
        let report = match asked.noted {
            true => self.volume.repair_noted(&lent(&spares), task),
            false => self.volume.scrub(&options, &lent(&spares), task),
        };
        let report = report.map_err(|error| error.to_string())?;
        let left = report.left.len() as u64 + report.omitted;
        if left > 0 {
            return Err(format!("{}; {}", done(&report), lost(left)));
        }
        Ok(Outcome { summary: done(&report), detail: json!(report), complete: report.complete })
    }
}

fn foreseen(plan: &ScrubPlan) -> String {
    let ScrubPlan { bytes, bytes_left, bytes_total, damaged, .. } = *plan;
    let known = if damaged > 0 {
        format!("{damaged} damaged chunks would be looked for; ")
    } else {
        String::new()
    };
    format!(
        "{known}{} would be read, of {} that are left of {}",
        format_bytes(bytes),
        format_bytes(bytes_left),
        format_bytes(bytes_total)
    )
}

fn done(report: &ScrubReport) -> String {
    let ScrubReport { bytes, bytes_left, damaged, repaired, .. } = *report;
    let mut parts =
        vec![format!("{} read, {} left", format_bytes(bytes), format_bytes(bytes_left))];
    if report.ended.is_some() {
        parts = vec![format!("{} read, which ends a round", format_bytes(bytes))];
    }
    match (damaged, repaired) {
        (0, 0) => parts.push("nothing is damaged".to_owned()),
        (damaged, repaired) => {
            parts.push(format!("{damaged} chunks found damaged, {repaired} brought back"));
        }
    }
    parts.extend(report.from.iter().map(|(place, count)| format!("{count} of them from {place}")));
    parts.extend(report.packs.first().map(|pack| {
        let more = report.packs.len() - 1;
        if more > 0 { format!("{pack}, and {more} more packs") } else { pack.clone() }
    }));
    parts.join("; ")
}

fn lost(left: u64) -> String {
    let chunks = if left == 1 { "chunk is".to_owned() } else { format!("{left} chunks are") };
    let chunks = if left == 1 { format!("1 {chunks}") } else { chunks };
    format!("{chunks} damaged and whole nowhere: `verso check` names the files")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_asked_for_is_read() {
        assert_eq!(Asked::of(&Value::Null).unwrap().budget(), Budget::Share);
        assert_eq!(Asked::of(&json!({ "all": true })).unwrap().budget(), Budget::Round);
        assert_eq!(Asked::of(&json!({ "bytes": 7 })).unwrap().budget(), Budget::Bytes(7));
        assert!(Asked::of(&json!({ "al": true })).is_err());
    }

    #[test]
    fn a_line_tells_what_matters() {
        let mut report = ScrubReport { bytes: 1 << 20, bytes_left: 3 << 20, ..Default::default() };
        assert_eq!(done(&report), "1.00 MiB read, 3.00 MiB left; nothing is damaged");
        report.ended = Some(1);
        (report.damaged, report.repaired) = (3, 2);
        report.from = BTreeMap::from([("nas".to_owned(), 2)]);
        report.packs = vec!["pack 1: bad".to_owned(), "pack 2: bad".to_owned()];
        let expected = "1.00 MiB read, which ends a round; 3 chunks found damaged, 2 brought back; \
                        2 of them from nas; pack 1: bad, and 1 more packs";
        assert_eq!(done(&report), expected);
        assert_eq!(lost(1), "1 chunk is damaged and whole nowhere: `verso check` names the files");
        assert!(lost(2).starts_with("2 chunks are damaged"));
    }
}
