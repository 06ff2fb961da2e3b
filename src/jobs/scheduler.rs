//! The thread that lets jobs run: a small runtime that waits for what is due, with a thread of low priority for each run.

use super::board::{Board, Entry, IDLE_MAX, No, Now, Rules, Start};
use super::carry::{Finished, run_here};
use super::concern::{self, Concern, Severity};
use super::due;
use super::hook::{self, Hook};
use super::record::{Record, past_of, run_to_json};
use super::run::Pace;
use super::{Job, Order};
use crate::meta::JobOutcome;
use crate::model::Timestamp;
use crate::sys::{self, Clock};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What holds for all jobs of a store.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the store is, for the program that is told of failures.
    pub store: PathBuf,
    /// A run begins later than planned by less than this.
    pub jitter_max: Duration,
    /// How fast jobs may be; one may have a limit of its own.
    pub pace: Pace,
    /// The program that is told of failures.
    pub on_failure: Option<PathBuf>,
    /// For how long nothing had happened to the store when it was opened, by the clock.
    pub idle: Duration,
}

/// Why something is not done as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such job.
    #[error("there is no job {0}")]
    Unknown(String),
    /// It runs, or waits for its turn.
    #[error("job {0} runs already")]
    Runs(String),
    /// There is nothing to cancel.
    #[error("job {0} does not run")]
    RunsNot(String),
    /// Everything is about to end.
    #[error("the daemon is stopping")]
    Stopping,
}

/// Who is told that a run has ended.
pub type Heard = Arc<dyn Fn(&Job, &Finished) + Send + Sync>;

/// Lets jobs run as they are due. Dropping it ends those that run at their next step, and waits for that.
pub struct Scheduler {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    board: Mutex<Board>,
    record: Arc<dyn Record>,
    clock: Arc<dyn Clock>,
    hook: Option<Hook>,
    heard: Heard,
    changed: Notify,
    stopping: AtomicBool,
}

impl Scheduler {
    /// Begins. What a dead daemon left running in the record was interrupted. `heard` is told of each end.
    pub fn start(
        record: Arc<dyn Record>,
        jobs: Vec<Job>,
        options: &Options,
        clock: Arc<dyn Clock>,
        heard: Heard,
    ) -> io::Result<Scheduler> {
        if let Err(error) = record.interrupt_all() {
            log::error!("cannot record which jobs were interrupted: {error}");
        }
        let shared = Arc::new(Shared {
            board: Mutex::new(new_board(&*record, jobs, options, now(&*clock))),
            record,
            clock,
            hook: hook_of(options),
            heard,
            changed: Notify::new(),
            stopping: AtomicBool::new(false),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .thread_name("verso-job")
            .build()?;
        let inner = Arc::clone(&shared);
        let work = move || runtime.block_on(drive(&inner));
        let thread = std::thread::Builder::new().name("verso-jobs".into()).spawn(work)?;
        Ok(Scheduler { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Ends what runs at its next step, and waits for that. Nothing begins any more.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.board.lock().end_all();
        self.shared.changed.notify_one();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread of the jobs panicked");
        }
    }

    /// Lets a job run as soon as its lane is free. The ticket of the run, by which [`Scheduler::state`] tells it.
    pub fn run_now(&self, name: &str, order: Order) -> Result<u64, Refused> {
        if self.shared.stopping.load(Ordering::SeqCst) {
            return Err(Refused::Stopping);
        }
        let ticket = self.shared.board.lock().ask(name, order).map_err(|no| refused(no, name))?;
        self.shared.changed.notify_one();
        Ok(ticket)
    }

    /// Lets a run end at its next step.
    pub fn cancel(&self, name: &str) -> Result<(), Refused> {
        self.shared.board.lock().cancel(name).map_err(|no| refused(no, name))
    }

    /// Looks at the clock now: for a clock that was moved by hand.
    pub fn look(&self) {
        self.shared.changed.notify_one();
    }

    /// Each job for programs, by name: its schedule, what runs, how runs of this daemon ended, the last run of the record, and when it
    /// runs next. Times in nanoseconds since 1970.
    pub fn state(&self) -> Value {
        let now = self.shared.now();
        let last = |name: &str| match self.shared.record.runs(name, 1) {
            Ok(runs) => runs.first().map_or(Value::Null, run_to_json),
            Err(error) => json!({ "error": error }),
        };
        let board = self.shared.board.lock();
        let mut jobs: Vec<Value> =
            board.entries.iter().map(|entry| entry_to_json(entry, now)).collect();
        drop(board);
        for job in &mut jobs {
            let name = job["name"].as_str().unwrap_or_default().to_owned();
            job["last"] = last(&name);
        }
        jobs.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        json!(jobs)
    }

    /// What is to worry about: jobs whose last run failed, and jobs that are late or don't end.
    pub fn concerns(&self) -> Vec<Concern> {
        let now = self.shared.now();
        let board = self.shared.board.lock();
        board.entries.iter().filter_map(|entry| concern_of(entry, now)).collect()
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.stop();
    }
}

fn refused(no: No, name: &str) -> Refused {
    match no {
        No::Unknown => Refused::Unknown(name.to_owned()),
        No::Runs => Refused::Runs(name.to_owned()),
        No::RunsNot => Refused::RunsNot(name.to_owned()),
    }
}

fn hook_of(options: &Options) -> Option<Hook> {
    let program = options.on_failure.clone()?;
    if !hook::is_program(&program) {
        log::error!("jobs.on_failure: {} cannot be run", program.display());
    }
    Some(Hook::new(program, options.store.clone()))
}

fn new_board(record: &dyn Record, jobs: Vec<Job>, options: &Options, now: Now) -> Board {
    let seed = sys::random_bytes().map_or(0, u64::from_le_bytes);
    let rules = Rules {
        jitter_max: options.jitter_max,
        seed,
        pace: options.pace.clone(),
        idle: options.idle,
    };
    if options.idle > IDLE_MAX {
        let days = options.idle.as_secs() / (24 * 3600);
        log::info!(
            "by the clock the store was not used for {days} days: what goes by ages waits for a day"
        );
    }
    let known = jobs.into_iter().map(|job| {
        let past = past(record, &job.name, now.wall);
        (job, past)
    });
    let mut board = Board::new(known.collect(), rules, now);
    for entry in &mut board.entries {
        let last = record.runs(&entry.job.name, 1).ok().and_then(|runs| runs.into_iter().next());
        entry.latest = last.map(|run| (run.outcome, run.begun, run.error));
    }
    board
}

/// What cannot be read counts as never having run.
fn past(record: &dyn Record, job: &str, now: Timestamp) -> due::Past {
    past_of(record, job, now).unwrap_or_else(|error| {
        log::error!("cannot read when job {job} ran: {error}");
        due::Past { since: now, last: None, interrupted: None }
    })
}

fn now(clock: &dyn Clock) -> Now {
    Now { wall: clock.now(), up: clock.since_boot() }
}

async fn drive(shared: &Arc<Shared>) {
    let mut runs = JoinSet::new();
    while !shared.stopping.load(Ordering::SeqCst) {
        let (starts, rest) = shared.look();
        for start in starts {
            let shared = Arc::clone(shared);
            runs.spawn_blocking(move || shared.carry_out(&start));
        }
        tokio::select! {
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(rest) => {}
            Some(ended) = runs.join_next(), if !runs.is_empty() => log_panic(ended),
        }
    }
    // Some may have begun since they were all asked to end.
    shared.board.lock().end_all();
    while let Some(ended) = runs.join_next().await {
        log_panic(ended);
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        log::error!("the thread of a job failed: {error}");
    }
}

impl Shared {
    fn now(&self) -> Now {
        now(&*self.clock)
    }

    /// What begins now, and for how long there is nothing to do then.
    fn look(&self) -> (Vec<Start>, Duration) {
        let now = self.now();
        let mut board = self.board.lock();
        if board.look_at_clock(now) {
            log::warn!("the clock was set: what goes by ages waits for a day");
            board.learn_anew(|job| past(&*self.record, job, now.wall));
        }
        let starts = board.tick(now);
        (starts, board.rest(now))
    }

    fn carry_out(&self, start: &Start) {
        if let Err(error) = sys::lower_priority() {
            log::warn!("job {} runs at ordinary priority: {error}", start.job.name);
        }
        let begun = Instant::now();
        let finished = run_here(&*self.record, &*self.clock, &start.job, &start.order, &start.run);
        self.tell(&start.job.name, &finished, begun.elapsed());
        self.board.lock().ended(&start.job.name, finished.clone());
        (self.heard)(&start.job, &finished);
        self.changed.notify_one();
    }

    fn tell(&self, job: &str, finished: &Finished, took: Duration) {
        let (summary, took) = (&finished.summary, took.as_secs_f64());
        let error = finished.error.as_deref().unwrap_or_default();
        match finished.outcome {
            JobOutcome::Failed => {
                log::error!("job {job} failed after {took:.1} s: {error}");
                if let Some(hook) = self.hook.as_ref().filter(|_| !finished.dry_run) {
                    hook.tell(job, error, summary);
                }
            }
            JobOutcome::Done => {
                log::info!("job {job}: {summary} ({took:.1} s)");
                self.hook.iter().filter(|_| !finished.dry_run).for_each(|hook| hook.forget(job));
            }
            JobOutcome::Stopped | JobOutcome::Interrupted | JobOutcome::Running => {
                log::info!(
                    "job {job} was stopped after {took:.1} s, and goes on next time: {summary}{error}"
                );
            }
        }
    }
}

fn entry_to_json(entry: &Entry, now: Now) -> Value {
    let current = entry.current.as_ref();
    let finished: Vec<Value> = entry.finished.iter().map(Finished::to_json).collect();
    json!({
        "name": entry.job.name,
        "schedule": entry.job.schedule.to_string(),
        "lane": entry.job.lane,
        "next": entry.next(now).map(|next| next.0),
        "running": current.map(|current| current.run.to_json()),
        "finished": finished,
    })
}

fn concern_of(entry: &Entry, now: Now) -> Option<Concern> {
    let name = &entry.job.name;
    let late = |since: Timestamp| {
        let most = due::lateness_max(&entry.job.schedule, since)?;
        let by = Duration::from_nanos(now.wall.0.saturating_sub(since.0).max(0) as u64);
        (by > most).then_some(since)
    };
    let warning = |what: String, since: Timestamp, advice: String| Concern {
        severity: Severity::Warning,
        what,
        since: Some(since.0),
        advice,
    };
    if let Some((JobOutcome::Failed, begun, error)) = &entry.latest {
        return Some(concern::failed(name, *begun, error.as_deref()));
    }
    if let Some(begun) = entry.current.as_ref().and_then(|current| current.run.begun()) {
        let advice =
            format!("see how far it is with `verso jobs`; `verso jobs cancel {name}` ends it");
        return late(begun).map(|since| warning(format!("job {name} does not end"), since, advice));
    }
    let advice = format!("`verso jobs` says what it waits for; at once: `verso jobs run {name}`");
    let since = late(entry.next(now)?)?;
    Some(warning(format!("job {name} is long overdue"), since, advice))
}
