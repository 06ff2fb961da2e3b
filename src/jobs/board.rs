//! Which jobs begin now: what is known of each of them, and the rules between them. No threads, no clock of its own.

use super::carry::Finished;
use super::clock_watch::ClockWatch;
use super::due::{self, Past};
use super::run::{Pace, Run, Stop};
use super::schedule::{nanos, plus};
use super::{Job, Order};
use crate::meta::JobOutcome;
use crate::model::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// After a start, people come first.
pub(super) const FIRST_RUN_AFTER: Duration = Duration::from_secs(600);
/// What depends on ages waits for so long where the clock may be wrong: somebody may notice, and set it right.
pub(super) const CLOCK_PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// A clock by which the store was not used for longer than this may be wrong: a machine may start with such a one.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often the clock is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Ends of runs that are remembered for those who wait for one.
const FINISHED_MAX: usize = 4;

/// The present, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// By the clock that people set.
    pub(super) wall: Timestamp,
    /// Since the machine was started.
    pub(super) up: Duration,
}

/// What holds for all jobs.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) jitter_max: Duration,
    pub(super) seed: u64,
    pub(super) pace: Pace,
    /// For how long the store seems not to have been used before the start.
    pub(super) idle: Duration,
}

/// A job and what is known of it.
pub(super) struct Entry {
    pub(super) job: Job,
    past: Past,
    /// When it is due, by its schedule; maybe long ago.
    due: Option<Timestamp>,
    /// It doesn't begin by itself before the machine has run for so long.
    hold: Duration,
    /// What runs now, or was asked for and waits for its lane.
    pub(super) current: Option<Current>,
    /// The last ends, the newest last.
    pub(super) finished: VecDeque<Finished>,
    /// The newest end that is no dry run, also of an earlier daemon: how, when it began, and what went wrong.
    pub(super) latest: Option<(JobOutcome, Timestamp, Option<String>)>,
}

pub(super) struct Current {
    pub(super) order: Order,
    pub(super) run: Arc<Run>,
    pub(super) is_running: bool,
}

/// A run that is to begin.
pub(super) struct Start {
    pub(super) job: Job,
    pub(super) order: Order,
    pub(super) run: Arc<Run>,
}

/// Why a job doesn't run as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum No {
    Unknown,
    Runs,
    RunsNot,
}

pub(super) struct Board {
    pub(super) entries: Vec<Entry>,
    rules: Rules,
    watch: ClockWatch,
    tickets: u64,
}

/// A job that may begin, for choosing among those of a lane.
struct Candidate {
    at: usize,
    /// What people asked for comes first, in its order; then what is due for longest.
    rank: (bool, i64),
}

impl Board {
    /// `jobs` with what is known of each.
    pub(super) fn new(jobs: Vec<(Job, Past)>, rules: Rules, now: Now) -> Board {
        let mut board =
            Board { entries: Vec::new(), rules, watch: ClockWatch::default(), tickets: 0 };
        board.watch.was_set(now);
        for (job, past) in jobs {
            let gap = job.schedule.gap(now.wall).unwrap_or(FIRST_RUN_AFTER);
            let wait = match job.ages && board.rules.idle > IDLE_MAX {
                true => CLOCK_PATIENCE,
                false => FIRST_RUN_AFTER.min(gap),
            };
            board.entries.push(Entry {
                due: due_of(&job, &past, &board.rules),
                job,
                past,
                hold: now.up + wait,
                current: None,
                finished: VecDeque::new(),
                latest: None,
            });
        }
        board
    }

    /// Whether the clock was set since the last look. If so, what depends on ages waits, and what is known of each job's
    /// runs should be looked at anew.
    pub(super) fn look_at_clock(&mut self, now: Now) -> bool {
        let was_set = self.watch.was_set(now);
        if was_set {
            for entry in self.entries.iter_mut().filter(|entry| entry.job.ages) {
                entry.hold = entry.hold.max(now.up + CLOCK_PATIENCE);
            }
        }
        was_set
    }

    /// What begins now. Each of them counts as running from here on.
    pub(super) fn tick(&mut self, now: Now) -> Vec<Start> {
        let mut candidates: Vec<Candidate> =
            (0..self.entries.len()).filter_map(|at| self.candidate(at, now)).collect();
        candidates.sort_by_key(|candidate| candidate.rank);
        let mut starts = Vec::new();
        for Candidate { at, .. } in candidates {
            let entry = &mut self.entries[at];
            if entry.current.is_none() && !entry.job.work.has_work() {
                let past = Past { last: Some(now.wall), interrupted: None, ..entry.past };
                entry.learn(past, &self.rules);
            } else if self.is_lane_free(&self.entries[at].job.lane) {
                starts.push(self.begin(at));
            }
        }
        starts
    }

    fn candidate(&self, at: usize, now: Now) -> Option<Candidate> {
        let entry = &self.entries[at];
        let rank = match &entry.current {
            Some(current) if current.is_running => return None,
            Some(current) => (false, current.run.ticket as i64),
            None => {
                let due = entry.due.filter(|due| *due <= now.wall)?;
                (now.up >= entry.hold).then_some((true, due.0))?
            }
        };
        Some(Candidate { at, rank })
    }

    fn is_lane_free(&self, lane: &str) -> bool {
        let runs = |entry: &Entry| entry.current.as_ref().is_some_and(|current| current.is_running);
        !self.entries.iter().any(|entry| entry.job.lane == lane && runs(entry))
    }

    fn begin(&mut self, at: usize) -> Start {
        if self.entries[at].current.is_none() {
            self.enqueue(at, Order::default());
        }
        let entry = &mut self.entries[at];
        let current = entry.current.as_mut().expect("it was put there if it wasn't");
        current.is_running = true;
        Start {
            job: entry.job.clone(),
            order: current.order.clone(),
            run: Arc::clone(&current.run),
        }
    }

    fn enqueue(&mut self, at: usize, order: Order) -> u64 {
        self.tickets += 1;
        let entry = &mut self.entries[at];
        let pace = entry.job.pace(&self.rules.pace);
        let run = Arc::new(Run::new(self.tickets, order.dry_run, pace));
        entry.current = Some(Current { order, run, is_running: false });
        self.tickets
    }

    /// Asks for a run as soon as its lane is free; its ticket.
    pub(super) fn ask(&mut self, name: &str, order: Order) -> Result<u64, No> {
        let at = self.find(name).ok_or(No::Unknown)?;
        match self.entries[at].current {
            Some(_) => Err(No::Runs),
            None => Ok(self.enqueue(at, order)),
        }
    }

    /// Ends a run at its next step, or takes back that it was asked for.
    pub(super) fn cancel(&mut self, name: &str) -> Result<(), No> {
        let at = self.find(name).ok_or(No::Unknown)?;
        let current = self.entries[at].current.take().ok_or(No::RunsNot)?;
        if current.is_running {
            current.run.stop();
            self.entries[at].current = Some(current);
        }
        Ok(())
    }

    /// Everything is to end.
    pub(super) fn end_all(&self) {
        for current in self.entries.iter().filter_map(|entry| entry.current.as_ref()) {
            current.run.end(Stop::Shutdown);
        }
    }

    /// A run has ended. It counts, unless it was a dry one or was interrupted.
    pub(super) fn ended(&mut self, name: &str, finished: Finished) {
        let Some(at) = self.find(name) else { return };
        let entry = &mut self.entries[at];
        entry.current = None;
        if !finished.dry_run {
            let Finished { outcome, begun, .. } = finished;
            entry.latest = Some((outcome, begun, finished.error.clone()));
            let past = match outcome {
                JobOutcome::Interrupted => Past { interrupted: Some(begun), ..entry.past },
                _ => Past { last: Some(begun), interrupted: None, ..entry.past },
            };
            entry.learn(past, &self.rules);
        }
        if entry.finished.len() == FINISHED_MAX {
            entry.finished.pop_front();
        }
        entry.finished.push_back(finished);
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.job.name == name)
    }

    /// What is known of each job's runs is asked for anew.
    pub(super) fn learn_anew(&mut self, past: impl Fn(&str) -> Past) {
        for entry in &mut self.entries {
            entry.learn(past(&entry.job.name), &self.rules);
        }
    }

    /// For how long nothing can begin but what is asked for.
    pub(super) fn rest(&self, now: Now) -> Duration {
        let idle = self.entries.iter().filter(|entry| entry.current.is_none());
        let next = idle.filter_map(|entry| entry.next(now)).min();
        let rest = next.map_or(LOOK_INTERVAL, |next| {
            Duration::from_nanos(next.0.saturating_sub(now.wall.0).max(0) as u64)
        });
        // What is due and waits for its lane is looked at when a run ends.
        if rest.is_zero() { LOOK_INTERVAL } else { rest.min(LOOK_INTERVAL) }
    }
}

impl Entry {
    fn learn(&mut self, past: Past, rules: &Rules) {
        self.past = past;
        self.due = due_of(&self.job, &past, rules);
    }

    /// When the job may begin by itself: later, if its lane is taken then. In the past, where it waits. `None`: never.
    pub(super) fn next(&self, now: Now) -> Option<Timestamp> {
        let held = plus(now.wall, self.hold.saturating_sub(now.up));
        let since_held = nanos(now.up.saturating_sub(self.hold));
        Some(self.due?.max(Timestamp(held.0.saturating_sub_unsigned(since_held))))
    }
}

fn due_of(job: &Job, past: &Past, rules: &Rules) -> Option<Timestamp> {
    due::due(&job.schedule, past, &job.name, rules.seed, rules.jitter_max)
}
