//! Job `retention`: what nothing keeps goes, and its room is given back. Retention, collection and compaction are one job, since
//! each makes the work of the next, and none of them may run beside another.

use super::{STORE_LANE, Schedules};
use crate::cli::Failure;
use crate::config::{Config, format_bytes};
use crate::fs::{Preview, UpkeepReport, Volume};
use crate::jobs::{Job, Order, Outcome, Work};
use crate::sys::Task;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Names that a dry run tells one by one; sums are always whole.
const NAMES_MAX: usize = 200;

struct Retention {
    volume: Arc<Volume>,
    grace: Duration,
}

pub(super) fn job(
    volume: &Arc<Volume>,
    config: &Config,
    schedules: &Schedules,
) -> Result<Job, Failure> {
    let work = Retention { volume: Arc::clone(volume), grace: config.retention.grace };
    Ok(Job {
        name: "retention".to_owned(),
        schedule: schedules.read("jobs.retention", &config.jobs.retention)?,
        lane: STORE_LANE.to_owned(),
        ages: true,
        bytes_per_second_max: 0,
        work: Arc::new(work),
    })
}

impl Work for Retention {
    fn run(&self, order: &Order, task: &dyn Task) -> Result<Outcome, String> {
        if order.dry_run {
            task.step("looking for what nothing keeps");
            let preview = self.volume.preview(None, NAMES_MAX).map_err(|e| e.to_string())?;
            return Ok(Outcome::done(foreseen(&preview), json!(preview)));
        }
        task.step("removing what nothing keeps");
        let report = self.volume.upkeep(None, self.grace, task);
        let report = report.map_err(|error| error.to_string())?;
        let complete = !task.is_stopped();
        Ok(Outcome { summary: done(&report), detail: json!(report), complete })
    }
}

fn foreseen(preview: &Preview) -> String {
    let Preview { versions, names, bytes, .. } = preview;
    format!(
        "{} would come free; {versions} versions of {names} names would go",
        format_bytes(*bytes)
    )
}

fn done(report: &UpkeepReport) -> String {
    if *report == UpkeepReport::default() {
        return "nothing to remove".to_owned();
    }
    let UpkeepReport { rows_dropped, chunks_removed, chunks_moved, packs_removed, bytes_freed } =
        *report;
    format!(
        "{rows_dropped} rows of history over, {chunks_removed} chunks removed, {chunks_moved} moved, \
         {packs_removed} packs and {} freed",
        format_bytes(bytes_freed)
    )
}
