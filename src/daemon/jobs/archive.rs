//! Job `archive`: projects that nobody touched for long are moved to the archive, and, where that is wished, exported.
//!
//! What is to be exported is what is archived and not at the location, by the location's own word: so nothing is forgotten,
//! whatever was interrupted, and nothing is sent twice.

use super::Schedules;
use super::backups::with_location;
use crate::backup::{self, Location};
use crate::cli::Failure;
use crate::config::{Config, parse_time};
use crate::daemon::{exports, locations};
use crate::fs::Volume;
use crate::jobs::{Job, Order, Outcome, Work};
use crate::model::{Ino, Timestamp, Zone};
use crate::projects::{self, Error, Filter, Place, Planned, carry_out, list, plan};
use crate::recall::{Stored, printable};
use crate::sys::{self, Task};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// It waits for no other job: names are moved, and contents at most read.
const LANE: &str = "projects";

struct Archive {
    volume: Arc<Volume>,
    /// `None`: nothing is archived by itself.
    after: Option<Duration>,
    zone: Zone,
    /// Where archived projects are exported to is in there.
    config: Config,
}

pub(super) fn job(
    volume: &Arc<Volume>,
    config: &Config,
    schedules: &Schedules,
) -> Result<Job, Failure> {
    let after = config.jobs.archive_after;
    let is_idle = after.is_none() && config.jobs.archive_export.is_none();
    let schedule = if is_idle { "never" } else { &config.jobs.archive };
    let (zone, config) = (schedules.zone.clone(), config.clone());
    let work = Archive { volume: Arc::clone(volume), after, zone, config };
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
        if after.is_none() && self.config.jobs.archive_export.is_none() {
            return Ok(Outcome::done("archive_after is \"never\"", Value::Null));
        }
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
        let planned = after.map_or_else(Vec::new, |age| plan(&projects, now, age, &self.zone));
        if order.dry_run {
            return Ok(foreseen(&planned));
        }
        let archived = self.carry_out(&tree, &planned, now, task);
        if task.is_stopped() {
            return archived;
        }
        // What can't be archived keeps nothing else from being exported.
        match (archived, self.export(&tree, task)) {
            (Err(why), _) | (Ok(_), Err(why)) => Err(why),
            (Ok(archived), Ok(exported)) => Ok(together(archived, exported)),
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

    /// Sends the archived projects that are not at the location; nothing where no location is set.
    fn export(&self, tree: &Stored<'_>, task: &dyn Task) -> Result<Option<Outcome>, String> {
        let Some(name) = &self.config.jobs.archive_export else { return Ok(None) };
        let found = locations::find(&self.config, name, None);
        let (_, spec) = found.map_err(|failure| failure.message)?;
        let archived = projects::archived(tree).map_err(|error| self.told(&error))?;
        let done = with_location(&spec, task, |location| {
            exports::tidy(location, &**self.volume.clock());
            let there = location.list(exports::ARCHIVED)?;
            let there: HashSet<String> = there.into_iter().map(|object| object.key).collect();
            let (mut sent, mut failed) = (Vec::new(), Vec::new());
            for (place, began) in &archived {
                match self.export_one(tree, (place, *began), location, &there, task)? {
                    Ok(key) => sent.extend(key),
                    Err(why) => failed.push(why),
                }
            }
            Ok((sent, failed))
        });
        let (sent, failed) = match done {
            Err(backup::Error::Stopped) => return Ok(Some(stopped())),
            done => done.map_err(|error| self.told_there(name, &error))?,
        };
        match failed.first() {
            Some(first) => Err(format!("{} projects not exported: {first}", failed.len())),
            None => Ok(Some(Outcome::done(
                format!("{} exported to {name}", sent.len()),
                json!({ "exported": sent }),
            ))),
        }
    }

    /// The key of what was sent; `None` if it is there already.
    fn export_one(
        &self,
        tree: &Stored<'_>,
        (place, began): (&Place, Timestamp),
        location: &Location,
        there: &HashSet<String>,
        task: &dyn Task,
    ) -> backup::Result<Result<Option<String>, String>> {
        let archive = match exports::Archive::of_archived(place, began) {
            Ok(archive) if there.contains(&archive.key) => return Ok(Ok(None)),
            Ok(archive) => archive,
            Err(_) if self.volume.is_encrypted() => {
                return Ok(Err("a name can't be one at a location".to_owned()));
            }
            Err(failure) => return Ok(Err(failure.message)),
        };
        task.step("exporting archived projects");
        let what = (&*place.path, &*place.id);
        Ok(match exports::send_to(location, tree, what, &archive, task)? {
            Ok(_) => Ok(Some(archive.key)),
            Err(Error::Stopped) => return Err(backup::Error::Stopped),
            Err(error) => Err(self.told(&error)),
        })
    }

    /// What went wrong at the location, without a key where the log may have no names.
    fn told_there(&self, location: &str, error: &backup::Error) -> String {
        use backup::Error::{Full, Unreachable};
        match (self.volume.is_encrypted(), error) {
            (false, error) | (true, error @ (Full { .. } | Unreachable { .. })) => {
                error.to_string()
            }
            (true, _) => format!("{location} doesn't take an archive: try `verso project export`"),
        }
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

/// One outcome of two.
fn together(archived: Outcome, exported: Option<Outcome>) -> Outcome {
    let Some(exported) = exported else { return archived };
    let mut detail = archived.detail;
    if let (Value::Object(detail), Value::Object(more)) = (&mut detail, exported.detail) {
        detail.extend(more);
    }
    Outcome {
        summary: format!("{}, {}", archived.summary, exported.summary),
        detail,
        complete: archived.complete && exported.complete,
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
