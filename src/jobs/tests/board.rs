//! Which jobs begin when, without threads.

use super::{at, job};
use crate::jobs::board::{Board, No, Now, Rules, Start};
use crate::jobs::carry::Finished;
use crate::jobs::due::{self, Past, jitter};
use crate::jobs::{Job, Order, Outcome, Pace, Schedule, Work};
use crate::meta::JobOutcome;
use crate::model::{Timestamp, Zone};
use crate::sys::Task;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A board, and the time around it.
struct World {
    board: Board,
    now: Now,
}

impl World {
    fn new(jobs: Vec<(Job, Past)>, start: &str, jitter_max: Duration, idle: Duration) -> World {
        let now = Now { wall: at(start), up: HOUR * 100 };
        let rules = Rules { jitter_max, seed: 7, pace: Pace::default(), idle };
        World { board: Board::new(jobs, rules, now), now }
    }

    fn plain(jobs: Vec<Job>, start: &str) -> World {
        let jobs = jobs.into_iter().map(|job| (job, fresh(at(start)))).collect();
        World::new(jobs, start, Duration::ZERO, Duration::ZERO)
    }

    fn pass(&mut self, time: Duration) {
        self.now.wall = Timestamp(self.now.wall.0 + time.as_nanos() as i64);
        self.now.up += time;
    }

    fn names(&mut self) -> Vec<String> {
        self.board.tick(self.now).into_iter().map(|start| start.job.name).collect()
    }

    fn end(&mut self, start: &Start, begun: Timestamp, outcome: JobOutcome) {
        let finished = Finished {
            ticket: start.run.ticket,
            dry_run: start.order.dry_run,
            begun,
            ended: self.now.wall,
            outcome,
            summary: String::new(),
            detail: Value::Null,
            error: None,
        };
        self.board.ended(&start.job.name, finished);
    }

    /// Lets time pass until the end, with runs that take no time: when which job began.
    fn live(&mut self, until: Timestamp) -> Vec<(String, Timestamp)> {
        let mut begun = Vec::new();
        while self.now.wall < until {
            for start in self.board.tick(self.now) {
                begun.push((start.job.name.clone(), self.now.wall));
                self.end(&start, self.now.wall, JobOutcome::Done);
            }
            let rest = self.board.rest(self.now).max(Duration::from_secs(1));
            self.pass(rest);
        }
        begun
    }
}

fn fresh(since: Timestamp) -> Past {
    Past { since, last: None, interrupted: None }
}

fn ran(last: &str) -> Past {
    Past { since: Timestamp(0), last: Some(at(last)), interrupted: None }
}

#[test]
fn a_year_of_nights_and_of_intervals_runs_each_once() {
    let jobs = vec![job("nightly", "30 1 * * *", "a"), job("often", "every 6h", "b")];
    let mut world = World::plain(jobs, "2027-01-01T12:00:00Z");
    let begun = world.live(at("2028-01-01T12:00:00Z"));
    let of = |name: &str| begun.iter().filter(|(job, _)| job == name).collect::<Vec<_>>();
    assert_eq!(of("nightly").len(), 365);
    assert!(of("nightly").iter().all(|(_, at)| at.0 / 1_000_000_000 % 86_400 == 5_400));
    assert!((1458..=1461).contains(&of("often").len()), "{}", of("often").len());
}

#[test]
fn whatever_was_missed_is_one_run_ten_minutes_after_the_start() {
    let jobs = vec![
        (job("nightly", "30 1 * * *", "a"), ran("2026-10-01T01:30:00Z")),
        (job("new", "30 1 * * *", "b"), fresh(at("2026-11-21T16:00:00Z"))),
        (job("off", "never", "c"), ran("2020-01-01T00:00:00Z")),
    ];
    let mut world = World::new(jobs, "2026-11-21T16:00:00Z", MINUTE * 5, Duration::ZERO);
    let begun = world.live(at("2026-11-22T01:00:00Z"));
    assert_eq!(begun.len(), 1, "{begun:?}");
    assert!(begun[0].0 == "nightly" && begun[0].1 == at("2026-11-21T16:10:00Z"), "{begun:?}");
    assert_eq!(world.live(at("2026-11-22T02:00:00Z")).len(), 2, "and then each at its time");
}

#[test]
fn a_run_that_was_interrupted_is_made_up_for_and_does_not_count() {
    let begun = at("2026-11-21T01:30:10Z");
    let past = Past { interrupted: Some(begun), ..ran("2026-11-20T01:30:00Z") };
    let nightly = || job("nightly", "30 1 * * *", "a");
    let jobs = vec![(nightly(), past)];
    let mut world = World::new(jobs, "2026-11-21T01:31:00Z", Duration::ZERO, Duration::ZERO);
    world.pass(MINUTE * 10);
    let starts = world.board.tick(world.now);
    assert_eq!(starts.len(), 1);
    // Interrupted once more: it stays due.
    world.end(&starts[0], at("2026-11-21T01:41:00Z"), JobOutcome::Interrupted);
    let starts = world.board.tick(world.now);
    world.end(&starts[0], world.now.wall, JobOutcome::Stopped);
    assert!(world.board.tick(world.now).is_empty(), "a person stopped it: at its time again");
    // By hand only: nobody makes up for it.
    let jobs = vec![(job("by-hand", "never", "a"), past)];
    let mut world = World::new(jobs, "2026-11-21T01:31:00Z", Duration::ZERO, Duration::ZERO);
    world.pass(DAY);
    assert!(world.names().is_empty());
}

#[test]
fn of_a_lane_one_runs_and_the_others_wait_their_turn() {
    let jobs = vec![
        job("late", "0 2 * * *", "store"),
        job("early", "0 1 * * *", "store"),
        job("elsewhere", "0 1 * * *", "other"),
        job("asked", "never", "store"),
    ];
    let mut world = World::plain(jobs, "2026-11-21T16:00:00Z");
    world.pass(DAY);
    let first = world.board.tick(world.now);
    let names: Vec<&str> = first.iter().map(|start| start.job.name.as_str()).collect();
    assert_eq!(names, ["early", "elsewhere"], "what is due for longest goes first");
    assert!(world.names().is_empty(), "nothing runs twice");
    let ticket = world.board.ask("asked", Order::default()).unwrap();
    assert_eq!(world.board.ask("asked", Order::default()), Err(No::Runs), "it waits already");
    assert_eq!(world.board.ask("early", Order::default()), Err(No::Runs));
    assert!(world.names().is_empty(), "the lane is taken");
    world.end(&first[0], world.now.wall, JobOutcome::Failed);
    let next = world.board.tick(world.now);
    assert_eq!((next.len(), next[0].run.ticket), (1, ticket), "people come first");
    world.end(&next[0], world.now.wall, JobOutcome::Done);
    assert_eq!(world.names(), ["late"]);
}

#[test]
fn what_has_nothing_to_do_counts_as_done_unless_somebody_asks() {
    struct Idle(AtomicU64);
    impl Work for Idle {
        fn has_work(&self) -> bool {
            self.0.fetch_add(1, Ordering::SeqCst) >= 3
        }
        fn run(&self, _: &Order, _: &dyn Task) -> Result<Outcome, String> {
            Ok(Outcome::done("", Value::Null))
        }
    }
    let idle = Job { work: Arc::new(Idle(AtomicU64::new(0))), ..job("idle", "every 30s", "a") };
    let mut world = World::plain(vec![idle], "2026-11-21T16:00:00Z");
    for _ in 0..3 {
        world.pass(Duration::from_secs(30));
        assert!(world.names().is_empty());
        assert!(world.names().is_empty(), "not asked again before it is due");
    }
    world.pass(Duration::from_secs(29));
    assert!(world.names().is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.names(), ["idle"]);
    let idle = Job { work: Arc::new(Idle(AtomicU64::new(0))), ..job("idle", "every 30s", "a") };
    let mut world = World::plain(vec![idle], "2026-11-21T16:00:00Z");
    world.board.ask("idle", Order::default()).unwrap();
    assert_eq!(world.names(), ["idle"]);
}

#[test]
fn what_waits_is_taken_back_and_what_runs_is_asked_to_end() {
    let jobs = vec![job("one", "never", "a"), job("two", "never", "a")];
    let mut world = World::plain(jobs, "2026-11-21T16:00:00Z");
    for name in ["one", "two"] {
        world.board.ask(name, Order::default()).unwrap();
    }
    let starts = world.board.tick(world.now);
    assert_eq!(world.board.cancel("two"), Ok(()));
    assert_eq!(world.board.cancel("two"), Err(No::RunsNot));
    assert_eq!(world.board.cancel("three"), Err(No::Unknown));
    assert!(!starts[0].run.is_stopped());
    assert_eq!(world.board.cancel("one"), Ok(()));
    assert!(starts[0].run.is_stopped());
    world.end(&starts[0], world.now.wall, JobOutcome::Stopped);
    assert!(world.names().is_empty());
}

#[test]
fn jitter_stays_within_its_bounds_and_leaps_over_nothing() {
    let max = MINUTE * 5;
    let of = |job: &str, at: i64, gap: Duration| jitter(3, job, Timestamp(at), Some(gap), max);
    let delays: Vec<Duration> = (0..2000).map(|day| of("a", day * 86_400, DAY)).collect();
    assert!(delays.iter().all(|delay| *delay < max));
    assert!(delays.iter().any(|delay| *delay > max * 9 / 10));
    assert!(delays.iter().any(|delay| *delay < max / 10));
    assert_ne!(of("a", 0, DAY), of("b", 0, DAY));
    assert!((0..2000).all(|at| of("a", at, MINUTE) < MINUTE / 10), "what comes often");
    assert_eq!(jitter(3, "a", Timestamp(0), Some(DAY), Duration::ZERO), Duration::ZERO);
    let jobs = vec![
        (job("minutely", "* * * * *", "a"), fresh(at("2026-11-20T23:00:00Z"))),
        (job("nightly", "0 0 * * *", "b"), fresh(at("2026-11-20T23:00:00Z"))),
    ];
    let mut world = World::new(jobs, "2026-11-20T23:00:00Z", max, Duration::ZERO);
    world.live(at("2026-11-21T00:00:00Z"));
    let begun = world.live(at("2026-11-22T00:00:00Z"));
    let minutely = begun.iter().filter(|(name, _)| name == "minutely").count();
    assert!((1438..=1442).contains(&minutely), "{minutely}");
    let nightly: Vec<_> = begun.iter().filter(|(name, _)| name == "nightly").collect();
    assert!(nightly.len() == 1 && nightly[0].1 < at("2026-11-21T00:05:00Z"), "{nightly:?}");
}

#[test]
fn what_goes_by_ages_waits_where_the_clock_may_be_wrong() {
    let ages = |name: &str| Job { ages: true, ..job(name, "every 6h", name) };
    let last = ran("2026-11-21T06:00:00Z");
    // Not used for a year, by the clock.
    let jobs = vec![(ages("ages"), last), (job("other", "every 6h", "b"), last)];
    let mut world = World::new(jobs, "2027-11-21T16:00:00Z", Duration::ZERO, DAY * 365);
    world.pass(HOUR);
    assert_eq!(world.names(), ["other"]);
    world.pass(HOUR * 23);
    assert_eq!(world.names(), ["ages"]);
    // Set ahead by a year while it runs.
    let jobs = vec![(ages("ages"), last), (job("other", "every 6h", "b"), last)];
    let mut world = World::new(jobs, "2026-11-21T07:00:00Z", Duration::ZERO, DAY * 6);
    assert!(!world.board.look_at_clock(world.now));
    world.now.wall = at("2027-11-21T07:00:00Z");
    assert!(world.board.look_at_clock(world.now), "it was set");
    world.pass(HOUR);
    assert_eq!(world.names(), ["other"]);
    assert!(!world.board.look_at_clock(world.now));
    world.pass(DAY);
    assert_eq!(world.names(), ["ages"]);
}

#[test]
fn late_is_twice_the_time_between_runs() {
    let nightly = Schedule::parse("0 3 * * *", &Zone::UTC).unwrap();
    assert_eq!(due::lateness_max(&nightly, at("2026-11-21T03:00:00Z")), Some(DAY * 2));
    assert_eq!(due::lateness_max(&Schedule::never(), Timestamp(0)), None);
}
