//! Job `archive`: projects that nobody touched for long are moved to the archive.

use super::Schedules;
use crate::cli::Failure;
use crate::config::{Config, parse_time};
use crate::fs::Volume;
use crate::jobs::{Job, Order, Outcome, Work};
use crate::model::{Ino, Timestamp, Zone};
use crate::projects::{self, Error, Filter, Planned, carry_out, list, plan};
use crate::recall::{Stored, printable};
use crate::sys::{self, Task};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// It waits for no other job: names are moved, and no contents.
const LANE: &str = "projects";

struct Archive {
    volume: Arc<Volume>,
    /// `None`: nothing is archived by itself.
    after: Option<Duration>,
    zone: Zone,
}

pub(super) fn job(
    volume: &Arc<Volume>,
    config: &Config,
    schedules: &Schedules,
) -> Result<Job, Failure> {
    let after = config.jobs.archive_after;
    let schedule = if after.is_none() { "never" } else { &config.jobs.archive };
    let work = Archive { volume: Arc::clone(volume), after, zone: schedules.zone.clone() };
    Ok(Job {
        name: "archive".to_owned(),
        schedule: schedules.read("jobs.archive", schedule)?,
        lane: LANE.to_owned(),
        ages: true,
        bytes_per_second_max: 0,
        work: Arc::new(work),
    })
}

impl Work for Archive {
    fn run(&self, order: &Order, task: &dyn Task) -> Result<Outcome, String> {
        let after = match order.options["after"].as_str() {
            Some(text) => Some(parse_time(text).ok_or_else(|| format!("{text:?} is no time"))?),
            None => self.after,
        };
        let Some(after) = after else {
            return Ok(Outcome::done("archive_after is \"never\"", Value::Null));
        };
        let (uid, gid) = sys::current_user();
        let tree = Stored::new(&self.volume, uid, gid);
        task.step("looking at projects");
        let now = self.volume.clock().now();
        let looked = list(&tree, &Filter::default(), now, &mut || match task.is_stopped() {
            true => Err(Error::Stopped),
            false => Ok(()),
        });
        let projects = match looked {
            Err(Error::Stopped) => return Ok(stopped()),
            looked => looked.map_err(|error| self.told(&error))?,
        };
        let planned = plan(&projects, now, after, &self.zone);
        match order.dry_run {
            true => Ok(foreseen(&planned)),
            false => self.carry_out(&tree, &planned, now, task),
        }
    }
}

impl Archive {
    fn carry_out(
        &self,
        tree: &Stored<'_>,
        planned: &[Planned],
        now: Timestamp,
        task: &dyn Task,
    ) -> Result<Outcome, String> {
        let is_open =
            |inodes: &HashSet<Ino>| self.volume.open_files().iter().any(|ino| inodes.contains(ino));
        let (mut done, mut put_off, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for one in planned {
            match carry_out(tree, one, now, &self.zone, &is_open, task) {
                Ok(true) => done.push(to_json(one)),
                Ok(false) => put_off.push(to_json(one)),
                Err(Error::Stopped) => return Ok(stopped()),
                Err(error) => failed.push(self.told(&error)),
            }
        }
        if let Some(first) = failed.first() {
            return Err(format!("{} of {} projects: {first}", failed.len(), planned.len()));
        }
        // No names: the log of an encrypted store has none.
        let mut summary = format!("{} projects archived", done.len());
        if !put_off.is_empty() {
            summary += &format!(", {} in use put off", put_off.len());
        }
        Ok(Outcome::done(summary, json!({ "archived": done, "put_off": put_off })))
    }

    /// What went wrong, without a name where the log may have none.
    fn told(&self, error: &projects::Error) -> String {
        match (self.volume.is_encrypted(), error) {
            (false, error) => error.to_string(),
            (true, Error::Io { what, source, .. }) => format!("cannot {what} something: {source}"),
            (true, _) => "`verso project list` may tell more".to_owned(),
        }
    }
}

fn stopped() -> Outcome {
    Outcome { summary: "stopped".to_owned(), detail: Value::Null, complete: false }
}

fn foreseen(planned: &[Planned]) -> Outcome {
    let all: Vec<Value> = planned.iter().map(to_json).collect();
    let names: Vec<String> = planned.iter().map(|one| printable(&one.place.path)).collect();
    let summary = match planned.len() {
        0 => "no project is to be archived".to_owned(),
        count => format!("{count} projects would be archived: {}", names.join(", ")),
    };
    Outcome::done(summary, json!({ "planned": all }))
}

fn to_json(planned: &Planned) -> Value {
    let Planned { place, why, files, bytes, .. } = planned;
    json!({ "path": printable(&place.path), "why": why, "files": files, "bytes": bytes })
}
