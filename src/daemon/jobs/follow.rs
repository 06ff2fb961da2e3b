//! Letting a job run and watching it: the daemon's run, or one in this process where there is none.

use super::jobs;
use crate::cli::{Exit, Failure, JobProgress, tell};
use crate::daemon::failed;
use crate::daemon::secrets::Given;
use crate::daemon::store::{Door, Offline};
use crate::fs::Volume;
use crate::http::{Client, Response};
use crate::jobs::{Finished, Job, Order, Pace, Record, Run, run_here};
use serde_json::{Value, json};
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the daemon is asked how far it is.
const POLL: Duration = Duration::from_millis(200);
/// How often it is looked how far this process is.
const TICK: Duration = Duration::from_millis(50);

/// Lets a job of the store run, shows how far it is, and returns what it came to: an object with at least `outcome` (`done` or `stopped`),
/// `summary` and `detail`. Done by the daemon, or in this process where there is none.
///
/// # Errors
/// Also that the job failed.
pub(in crate::daemon) fn follow(
    store: &Path,
    given: &Given,
    name: &str,
    order: &Order,
) -> Result<Value, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    flag::register(SIGINT, Arc::clone(&interrupted))
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot take signals: {error}")))?;
    let daemon = connect(store)?;
    match Door::of(daemon, store, given)? {
        Door::Daemon(daemon) => {
            let ticket = begin(daemon, store, name, order)?;
            Watch { store, name, ticket, interrupted: &interrupted }.to_the_end()
        }
        Door::Offline(offline) => run_offline(&offline, store, name, order, &interrupted),
    }
}

pub(super) fn connect(store: &Path) -> Result<Option<Client>, Failure> {
    Client::connect(store)
        .map_err(|error| failed(Exit::Failure, "cannot ask the daemon of", store, &error))
}

/// Asks the daemon for a run; its ticket.
pub(super) fn begin(
    daemon: Client,
    store: &Path,
    name: &str,
    order: &Order,
) -> Result<u64, Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        failed(Exit::Failure, "cannot ask the daemon of", store, error)
    };
    let body = json!({ "name": name, "dry_run": order.dry_run, "options": order.options });
    let answer = daemon.post("/v1/jobs/run", &body).map_err(|error| cannot(&error))?;
    let answer = answered(answer, name)?;
    answer["ticket"].as_u64().ok_or_else(|| cannot(&"it does not say which run it is"))
}

/// What a request about one job was answered.
pub(super) fn answered(answer: Response, name: &str) -> Result<Value, Failure> {
    let status = answer.status;
    answer.success().map_err(|error| {
        let failure = Failure::new(Exit::Failure, error);
        match status {
            404 => unknown(name),
            409 => failure.help("`verso jobs` shows what runs"),
            _ => failure,
        }
    })
}

fn unknown(name: &str) -> Failure {
    Failure::new(Exit::Usage, format!("there is no job {name}")).help("`verso jobs` lists them")
}

/// A run of the daemon that somebody waits for.
struct Watch<'a> {
    store: &'a Path,
    name: &'a str,
    ticket: u64,
    interrupted: &'a AtomicBool,
}

impl Watch<'_> {
    fn to_the_end(&self) -> Result<Value, Failure> {
        let name = self.name;
        let mut progress = JobProgress::new(name);
        loop {
            let job = self.ask()?;
            let is_mine = |run: &&Value| run["ticket"] == self.ticket;
            if let Some(finished) =
                job["finished"].as_array().and_then(|all| all.iter().find(is_mine))
            {
                return ended(name, finished.clone());
            }
            let running = Some(&job["running"]).filter(is_mine).ok_or_else(|| self.gone())?;
            let number = |key: &str| running[key].as_u64().unwrap_or(0);
            let step = running["step"].as_str().unwrap_or_default();
            progress.show(number("done"), number("total"), step);
            if self.interrupted.load(Ordering::Relaxed) {
                let message = format!("no longer watching job {name}, which goes on");
                return Err(Failure::new(Exit::Failure, message).help(format!(
                    "`verso jobs` shows how far it is, `verso jobs cancel {name}` ends it"
                )));
            }
            std::thread::sleep(POLL);
        }
    }

    fn ask(&self) -> Result<Value, Failure> {
        let lost = |error: &dyn std::fmt::Display| {
            let message = format!(
                "the daemon does not answer any more while job {} runs: {error}",
                self.name
            );
            Failure::new(Exit::Failure, message)
                .help("a run that is interrupted is made up for once the store is mounted again")
        };
        let daemon = connect(self.store)?.ok_or_else(|| lost(&"it has ended"))?;
        let answer = daemon.get("/v1/jobs").map_err(|error| lost(&error))?;
        let mut jobs = answer.success().map_err(|error| lost(&error))?;
        let jobs = jobs.as_array_mut().map(std::mem::take).unwrap_or_default();
        let job = jobs.into_iter().find(|job| job["name"] == self.name);
        job.ok_or_else(|| unknown(self.name))
    }

    /// Taken back before its turn came, or so long ago that the daemon has forgotten.
    fn gone(&self) -> Failure {
        let name = self.name;
        Failure::new(Exit::Failure, format!("job {name} was cancelled before it began"))
            .help(format!("`verso jobs log {name}` shows how its last runs went"))
    }
}

/// What a run that has ended means for a command.
fn ended(name: &str, finished: Value) -> Result<Value, Failure> {
    let error = finished["error"].as_str().unwrap_or("it does not say why");
    match finished["outcome"].as_str() {
        Some("failed") => Err(Failure::new(Exit::Failure, format!("job {name} failed: {error}"))),
        Some("interrupted") => {
            let message = format!("job {name} was interrupted, since the daemon ends");
            Err(Failure::new(Exit::Failure, message)
                .help("it goes on once the store is mounted again"))
        }
        _ => Ok(finished),
    }
}

fn run_offline(
    offline: &Offline,
    store: &Path,
    name: &str,
    order: &Order,
    interrupted: &AtomicBool,
) -> Result<Value, Failure> {
    offline.with_shared(!order.dry_run, |volume| {
        let job = jobs(volume, offline.config())?.into_iter().find(|job| job.name == name);
        let job = job.ok_or_else(|| unknown(name))?;
        if !order.dry_run {
            volume
                .interrupt_all()
                .map_err(|error| failed(Exit::Store, "cannot write to", store, &error))?;
        }
        let limit = offline.config().jobs.bytes_per_second_max;
        let pace = job.pace(&Pace { bytes_per_second_max: limit, ..Pace::default() });
        let run = Run::new(1, order.dry_run, pace);
        let finished = run_shown(volume, &job, order, &run, interrupted)?;
        ended(name, finished.to_json())
    })
}

/// Runs it on another thread, and shows how far it is. Ctrl-C lets it end in order.
fn run_shown(
    volume: &Volume,
    job: &Job,
    order: &Order,
    run: &Run,
    interrupted: &AtomicBool,
) -> Result<Finished, Failure> {
    let mut progress = JobProgress::new(&job.name);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| run_here(volume, &**volume.clock(), job, order, run));
        while !worker.is_finished() {
            std::thread::sleep(TICK);
            if interrupted.swap(false, Ordering::Relaxed) {
                tell("ending at the next step; what was done stays");
                run.stop();
            }
            let (done, total, step) = run.progress_now();
            progress.show(done, total, &step);
        }
        worker.join().map_err(|_| Failure::new(Exit::Failure, "it panicked; please report it"))
    })
}
