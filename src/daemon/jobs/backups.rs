//! Jobs of each backup location: `backup:NAME`, `full:NAME`, `verify:NAME`, `drill:NAME`, `prune:NAME`. Those without a name (`backup`, `drill`, `prune`,
//! `verify`) never run by themselves; they are told in `options` which location is meant.

use super::Schedules;
use crate::backup::{self, Drilled, Error, Location, LocationSpec, MakeOptions, Sample, Verified};
use crate::cli::{Failure, drilled_line, plan_line, verified_line};
use crate::config::{BackupConfig, Config, format_bytes};
use crate::daemon::locations::{self, CONNECTIONS, LEFTOVER_AGE};
use crate::daemon::newest::Newest;
use crate::fs::Volume;
use crate::jobs::{Job, Order, Outcome, Work};
use crate::recall::Stored;
use crate::sys::{self, Task};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often is looked whether a run is to end that waits for a location.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Contents that a drill reads, unless it is told to read all.
const SAMPLE_BYTES: u64 = 256 << 20;
/// Packs that a drill keeps on the disk.
const SCRATCH_BYTES: u64 = 512 << 20;
/// What became durable is sent so soon, where that is wished.
const CONTINUOUS: &str = "every 30s";
/// How long generations are kept at a location that isn't configured.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is done at a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Backup { full: bool },
    Verify,
    Drill { all: bool },
    Prune,
}

/// What the options of an order may say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::daemon) struct Wishes {
    /// Another location than the job's.
    pub(in crate::daemon) location: Option<String>,
    /// Where its credentials are.
    pub(in crate::daemon) credentials: Option<PathBuf>,
    pub(in crate::daemon) full: bool,
    pub(in crate::daemon) read_data: bool,
    pub(in crate::daemon) newest: bool,
    /// Everything, and not a sample.
    pub(in crate::daemon) all: bool,
    /// What is younger stays, in seconds, in the place of the setting.
    pub(in crate::daemon) keep_seconds: Option<u64>,
}

struct AtLocation {
    what: What,
    volume: Arc<Volume>,
    config: Config,
    /// The name of the location; `None` for a job that is told it.
    name: Option<String>,
    /// Commits that the last run of a continuous backup saw, to leave out those that would bring nothing.
    seen: AtomicU64,
}

/// The jobs of all locations.
pub(super) fn jobs(
    volume: &Arc<Volume>,
    config: &Config,
    schedules: &Schedules,
) -> Result<Vec<Job>, Failure> {
    let mut jobs = Vec::new();
    let job = |word: &str, name: Option<&BackupConfig>, what: What, when: &str| {
        let work = AtLocation {
            what,
            volume: Arc::clone(volume),
            config: config.clone(),
            name: name.map(|backup| backup.name.clone()),
            seen: AtomicU64::new(u64::MAX),
        };
        let lane = name.map_or("location", |backup| &backup.name);
        Ok::<_, Failure>(Job {
            name: name.map_or(word.to_owned(), |backup| format!("{word}:{}", backup.name)),
            schedule: schedules.read(&format!("backup.{}", setting(word)), when)?,
            lane: format!("location:{lane}"),
            ages: what == What::Prune,
            bytes_per_second_max: name.map_or(0, |backup| backup.bytes_per_second_max),
            work: Arc::new(work),
        })
    };
    for backup in &config.backups {
        let often = if backup.continuous { CONTINUOUS } else { &backup.schedule };
        let prune = if backup.append_only { "never" } else { &backup.prune };
        jobs.push(job("backup", Some(backup), What::Backup { full: false }, often)?);
        jobs.push(job("full", Some(backup), What::Backup { full: true }, &backup.full)?);
        jobs.push(job("verify", Some(backup), What::Verify, &backup.verify)?);
        jobs.push(job("drill", Some(backup), What::Drill { all: false }, &backup.drill)?);
        jobs.push(job("drill-all", Some(backup), What::Drill { all: true }, &backup.drill_all)?);
        jobs.push(job("prune", Some(backup), What::Prune, prune)?);
    }
    for (word, what) in [
        ("backup", What::Backup { full: false }),
        ("verify", What::Verify),
        ("drill", What::Drill { all: false }),
        ("prune", What::Prune),
    ] {
        jobs.push(job(word, None, what, "never")?);
    }
    Ok(jobs)
}

/// Whether all schedules of a location are such.
pub(super) fn check_schedules(backup: &BackupConfig, schedules: &Schedules) -> Result<(), Failure> {
    let BackupConfig { schedule, full, verify, drill, drill_all, prune, .. } = backup;
    let settings = [
        ("backup.schedule", schedule),
        ("backup.full", full),
        ("backup.verify", verify),
        ("backup.drill", drill),
        ("backup.drill_all", drill_all),
        ("backup.prune", prune),
    ];
    settings.into_iter().try_for_each(|(key, text)| schedules.read(key, text).map(|_| ()))
}

impl Work for AtLocation {
    fn has_work(&self) -> bool {
        !self.is_up_to_date()
    }

    fn run(&self, order: &Order, task: &dyn Task) -> Result<Outcome, String> {
        let wishes = match &order.options {
            serde_json::Value::Null => Wishes::default(),
            options => Wishes::deserialize(options).map_err(|error| format!("options: {error}"))?,
        };
        let (backup, spec) = self.place(&wishes)?;
        let outcome = with_location(&spec, task, |location| match self.what {
            What::Backup { full } => {
                self.back_up(location, backup, full || wishes.full, order, task)
            }
            What::Verify => self.verify(location, &wishes, task),
            What::Drill { all } => self.drill(location, all || wishes.all, task),
            What::Prune => self.prune(location, backup, &wishes, order, task),
        });
        match outcome {
            Err(Error::Stopped) => {
                let summary = "stopped; the next run goes on there".to_owned();
                Ok(Outcome { summary, detail: json!(null), complete: false })
            }
            outcome => outcome.map_err(|error| error.to_string()),
        }
    }
}

impl AtLocation {
    fn place(&self, wishes: &Wishes) -> Result<(Option<&BackupConfig>, LocationSpec), String> {
        let name = wishes.location.as_deref().or(self.name.as_deref());
        let name = name.ok_or("options.location must say which location is meant")?;
        locations::find(&self.config, name, wishes.credentials.as_deref())
            .map_err(|failure| failure.message)
    }

    /// Whether this is a continuous backup, and nothing has changed since its last run.
    fn is_up_to_date(&self) -> bool {
        let is_named = |backup: &&BackupConfig| Some(&backup.name) == self.name.as_ref();
        let backup = self.config.backups.iter().find(is_named);
        let is_continuous =
            self.what == What::Backup { full: false } && backup.is_some_and(|b| b.continuous);
        is_continuous && self.seen.load(Ordering::Relaxed) == self.volume.commits()
    }

    fn back_up(
        &self,
        location: &Location,
        backup: Option<&BackupConfig>,
        full: bool,
        order: &Order,
        task: &dyn Task,
    ) -> backup::Result<Outcome> {
        let commits = self.volume.commits();
        if order.options.is_null() && self.is_up_to_date() {
            return Ok(Outcome::done("nothing has changed", json!(null)));
        }
        let connections = backup.map_or(CONNECTIONS, |backup| backup.connections.get());
        if order.dry_run {
            let bytes = backup::would_send(&self.volume, location, full)?;
            let summary = format!("up to {} and the metadata would be sent", format_bytes(bytes));
            return Ok(Outcome::done(summary, json!({ "pack_bytes": bytes })));
        }
        let options = MakeOptions { full, connections };
        let now = self.volume.clock().now();
        let made = backup::make(&self.volume, location, &options, now, task)?;
        self.seen.store(commits, Ordering::Relaxed);
        let kind = if made.full { "full generation" } else { "generation" };
        let summary = format!("{kind} {}, {} sent", made.generation, format_bytes(made.sent_bytes));
        Ok(Outcome::done(summary, json!(made)))
    }

    fn verify(
        &self,
        location: &Location,
        wishes: &Wishes,
        task: &dyn Task,
    ) -> backup::Result<Outcome> {
        let verified = backup::verify(location, wishes.newest, wishes.read_data, task)?;
        refuse_faults(location, &verified)?;
        Ok(Outcome::done(verified_line(&verified), json!(verified)))
    }

    /// Reads the newest generation straight from the location, and compares it with the drive as it was at that moment.
    fn drill(
        &self,
        location: &Arc<Location>,
        all: bool,
        task: &dyn Task,
    ) -> backup::Result<Outcome> {
        let newest = Newest::open(location, &self.volume, SCRATCH_BYTES, task)?;
        let seed = sys::random_bytes::<8>().map_or(0, u64::from_le_bytes);
        let bytes_max = if all { u64::MAX } else { SAMPLE_BYTES };
        let (ours, theirs) = (Stored::new(&self.volume, 0, 0), Stored::new(&newest.volume, 0, 0));
        let sample = Sample { bytes_max, seed };
        let compared = backup::compare(&ours, &theirs, newest.manifest.moment(), &sample, task)?;
        let drilled = Drilled { generation: newest.manifest.generation.clone(), ..compared };
        if let Some(first) = drilled.differences.first() {
            let why = format!("{}; the first one: {first}", drilled_line(&drilled));
            return Err(Error::Location { location: location.name().into(), why });
        }
        if drilled.names == 0 {
            let why = "the drive was empty at that moment: nothing was compared".to_owned();
            return Err(Error::Location { location: location.name().into(), why });
        }
        Ok(Outcome::done(drilled_line(&drilled), json!(drilled)))
    }

    fn prune(
        &self,
        location: &Location,
        backup: Option<&BackupConfig>,
        wishes: &Wishes,
        order: &Order,
        task: &dyn Task,
    ) -> backup::Result<Outcome> {
        if backup.is_some_and(|backup| backup.append_only) && !order.dry_run {
            return Err(Error::Refused {
                location: location.name().into(),
                key: "generations".into(),
                why: "the settings say append_only: nothing is removed here".into(),
            });
        }
        backup::refuse_foreign(location, &self.volume)?;
        let keep = backup.map_or(Some(KEEP), |backup| backup.keep);
        let keep = wishes.keep_seconds.map(Duration::from_secs).or(keep);
        let now = self.volume.clock().now();
        let plan = backup::prune(location, keep, order.dry_run, now, task)?;
        if !order.dry_run
            && let Err(error) = location.remove_leftovers(LEFTOVER_AGE, &**self.volume.clock())
        {
            log::warn!("what broken uploads left is still there: {error}");
        }
        Ok(Outcome::done(plan_line(&plan), json!(plan)))
    }
}

/// The setting that says when a job runs.
fn setting(job: &str) -> String {
    if job == "backup" { "schedule".to_owned() } else { job.replace('-', "_") }
}

fn refuse_faults(location: &Location, verified: &Verified) -> backup::Result<()> {
    match verified.faults.first() {
        // What was there may be gone.
        None if verified.generations.is_empty() => Err(Error::NoGeneration {
            location: location.name().into(),
            why: "there is no backup to be verified".into(),
        }),
        None => Ok(()),
        Some(first) => Err(Error::Location {
            location: location.name().into(),
            why: format!(
                "{}; the first one: {}: {}",
                verified_line(verified),
                first.object,
                first.what
            ),
        }),
    }
}

/// Opens the location for `work`; when the task is to end, it waits for the location no longer.
pub(in crate::daemon) fn with_location<T>(
    spec: &LocationSpec,
    task: &dyn Task,
    work: impl FnOnce(&Arc<Location>) -> backup::Result<T>,
) -> backup::Result<T> {
    let location = Arc::new(Location::open(spec)?);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if task.is_stopped() {
                    location.stop();
                    return;
                }
                std::thread::park_timeout(LOOK_INTERVAL);
            }
        });
        let _done = Done(&done, watcher.thread().clone());
        work(&location)
    })
}

/// Ends the watching, also when the work panics.
struct Done<'d>(&'d AtomicBool, std::thread::Thread);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.unpark();
    }
}
