//! The scheduler with its threads, on a clock that is moved by hand.

use super::{Memory, at, job, job_that};
use crate::jobs::{Demand, Job, Options, Order, Outcome, Pace, Refused, Scheduler};
use crate::meta::JobOutcome;
use crate::sys::{Clock, ManualClock, Task};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Far beyond what anything here takes; only a hang gets there.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    record: Arc<Memory>,
    clock: Arc<ManualClock>,
    scheduler: Scheduler,
}

fn begin(
    record: &Arc<Memory>,
    clock: &Arc<ManualClock>,
    jobs: Vec<Job>,
    options: &Options,
) -> World {
    let scheduler = Scheduler::start(
        Arc::<Memory>::clone(record),
        jobs,
        options,
        Arc::<ManualClock>::clone(clock),
        Arc::new(|_, _| {}),
    );
    World { record: Arc::clone(record), clock: Arc::clone(clock), scheduler: scheduler.unwrap() }
}

fn world(jobs: Vec<Job>) -> World {
    let clock = Arc::new(ManualClock::new(at("2027-01-01T12:00:00Z")));
    begin(&Arc::default(), &clock, jobs, &Options::default())
}

impl World {
    fn wait(&self, what: &str, mut condition: impl FnMut(&World) -> bool) {
        let since = Instant::now();
        while !condition(self) {
            assert!(since.elapsed() < PATIENCE, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn state(&self, name: &str) -> Value {
        let state = self.scheduler.state();
        state.as_array().unwrap().iter().find(|job| job["name"] == name).unwrap().clone()
    }

    fn wait_for_runs(&self, name: &str, count: usize) {
        self.wait(&format!("{count} runs of {name}"), |world| {
            let runs = world.record.of(name);
            runs.len() == count
                && runs.iter().all(|run| run.outcome != JobOutcome::Running)
                && world.state(name)["running"].is_null()
        });
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.scheduler.look();
    }
}

/// Works until it is told to end.
fn endless(name: &str) -> Job {
    job_that(name, "never", name, |_, task| {
        task.progress(5, 10);
        task.step("going round");
        while !task.is_stopped() {
            task.pace(1);
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Outcome { complete: false, ..Outcome::done("as far as it got", Value::Null) })
    })
}

#[test]
fn three_years_are_lived_day_by_day_with_restarts_between() {
    let record = Arc::<Memory>::default();
    let clock = Arc::new(ManualClock::new(at("2027-01-01T12:00:00Z")));
    let jobs = || vec![job("nightly", "30 1 * * *", "a"), job("weekly", "0 3 * * 0", "a")];
    let (mut days, mut weeks) = (0, 0);
    for year in 0..3 {
        let world = begin(&record, &clock, jobs(), &Options::default());
        for day in 0..365 {
            world.pass(DAY);
            days += 1;
            // The first of January 2027 is a Friday: the first Sunday is two days later.
            weeks += usize::from((year * 365 + day) % 7 == 1);
            world.wait_for_runs("nightly", days);
            world.wait_for_runs("weekly", weeks);
        }
    }
    assert!((156..=157).contains(&weeks), "{weeks}");
    assert!(record.of("nightly").iter().all(|run| run.outcome == JobOutcome::Done));
}

#[test]
fn a_panic_is_a_failure_and_the_others_go_on() {
    let panics = job_that("panics", "never", "a", |_, _| panic!("out of luck"));
    let world = world(vec![panics, job("works", "never", "a")]);
    for round in 1..=2 {
        world.scheduler.run_now("panics", Order::default()).unwrap();
        world.scheduler.run_now("works", Order::default()).unwrap();
        world.wait_for_runs("panics", round);
        world.wait_for_runs("works", round);
    }
    let failed = &world.record.of("panics")[0];
    assert_eq!(failed.outcome, JobOutcome::Failed);
    assert_eq!(failed.error.as_deref(), Some("it panicked: out of luck"));
    let concerns = world.scheduler.concerns();
    assert_eq!(concerns.len(), 1, "{concerns:?}");
    assert!(concerns[0].what.contains("panics") && concerns[0].what.contains("out of luck"));
}

#[test]
fn a_run_shows_how_far_it_is_and_ends_when_it_is_cancelled() {
    let world = world(vec![endless("round"), job("other", "never", "b")]);
    assert_eq!(world.scheduler.cancel("round"), Err(Refused::RunsNot("round".into())));
    let ticket = world.scheduler.run_now("round", Order::default()).unwrap();
    world.wait("progress", |world| world.state("round")["running"]["step"] == "going round");
    let running = &world.state("round")["running"];
    assert_eq!((&running["done"], &running["total"]), (&json!(5), &json!(10)));
    assert_eq!(running["ticket"], ticket);
    let again = world.scheduler.run_now("round", Order::default());
    assert_eq!(again, Err(Refused::Runs("round".into())));
    let nobody = world.scheduler.run_now("square", Order::default());
    assert_eq!(nobody, Err(Refused::Unknown("square".into())));
    // Lanes are apart.
    world.scheduler.run_now("other", Order::default()).unwrap();
    world.wait_for_runs("other", 1);
    world.scheduler.cancel("round").unwrap();
    world.wait_for_runs("round", 1);
    let state = world.state("round");
    assert_eq!(state["finished"][0]["ticket"], ticket);
    assert_eq!(state["last"]["outcome"], "stopped");
    assert_eq!(state["last"]["summary"], "as far as it got");
    assert!(world.scheduler.concerns().is_empty());
}

#[test]
fn an_order_reaches_the_work_and_a_dry_run_leaves_no_trace() {
    let echo = job_that("echo", "never", "a", |order, _| {
        Ok(Outcome::done(format!("dry: {}", order.dry_run), order.options.clone()))
    });
    let world = world(vec![echo]);
    let order = Order { dry_run: true, options: json!({ "full": true }) };
    world.scheduler.run_now("echo", order).unwrap();
    world.wait("its end", |world| world.state("echo")["finished"][0].is_object());
    let finished = &world.state("echo")["finished"][0];
    assert_eq!(
        (&finished["summary"], &finished["detail"]["full"]),
        (&json!("dry: true"), &json!(true))
    );
    assert!(world.record.of("echo").is_empty());
}

#[test]
fn what_the_end_of_the_daemon_interrupts_is_made_up_for_after_the_next_start() {
    let record = Arc::<Memory>::default();
    let clock = Arc::new(ManualClock::new(at("2027-01-01T12:00:00Z")));
    let patient = |rounds: Arc<AtomicU64>| {
        job_that("patient", "0 0 * * *", "a", move |_, task| {
            let complete = rounds.fetch_add(1, Ordering::SeqCst) > 0;
            while !complete && !task.is_stopped() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(Outcome { complete, ..Outcome::done("", Value::Null) })
        })
    };
    let rounds = Arc::new(AtomicU64::new(0));
    let world = begin(&record, &clock, vec![patient(Arc::clone(&rounds))], &Options::default());
    world.pass(DAY);
    world.wait("its begin", |_| rounds.load(Ordering::SeqCst) == 1);
    drop(world);
    assert_eq!(record.of("patient")[0].outcome, JobOutcome::Interrupted);
    // A killed one leaves a row that never ended.
    record.runs.lock()[0].outcome = JobOutcome::Running;
    let world = begin(&record, &clock, vec![patient(rounds)], &Options::default());
    assert_eq!(record.of("patient")[0].outcome, JobOutcome::Interrupted);
    world.pass(Duration::from_secs(599));
    world.scheduler.look();
    assert_eq!(record.of("patient").len(), 1, "people come first");
    world.pass(Duration::from_secs(2));
    world.wait_for_runs("patient", 2);
    assert_eq!(record.of("patient")[1].outcome, JobOutcome::Done);
}

#[test]
fn what_a_wrong_clock_recorded_is_not_waited_for() {
    let record = Arc::<Memory>::default();
    let clock = Arc::new(ManualClock::new(at("2037-01-01T12:00:00Z")));
    let jobs = || vec![job("nightly", "0 0 * * *", "a")];
    let world = begin(&record, &clock, jobs(), &Options::default());
    world.pass(DAY);
    world.wait_for_runs("nightly", 1);
    drop(world);
    let clock = Arc::new(ManualClock::new(at("2027-01-01T12:00:00Z")));
    let world = begin(&record, &clock, jobs(), &Options::default());
    world.pass(DAY);
    world.wait_for_runs("nightly", 2);
    world.clock.set(at("2026-06-01T12:00:00Z"));
    world.scheduler.look();
    let midnight = at("2026-06-02T00:00:00Z").0;
    world.wait("a look at the clock", |world| world.state("nightly")["next"] == midnight);
    world.pass(DAY);
    world.wait_for_runs("nightly", 3);
}

#[test]
fn a_failure_calls_the_program_and_a_failing_program_is_no_matter() {
    let dir = tempfile::tempdir().unwrap();
    let (program, told) = (dir.path().join("hook"), dir.path().join("told"));
    let script = format!(
        "#!/bin/sh\necho \"$VERSO_JOB|$VERSO_STORE|$VERSO_ERROR|$VERSO_SUMMARY\" > {0}.new\n\
         mv {0}.new {0}\nexit 3\n",
        told.display()
    );
    write_program(&program, &script);
    let options =
        Options { store: "/the/store".into(), on_failure: Some(program), ..Options::default() };
    let clock = Arc::new(ManualClock::new(at("2027-01-01T12:00:00Z")));
    let fails = job_that("fails", "never", "a", |_, _| Err("no such luck".into()));
    let world = begin(&Arc::default(), &clock, vec![fails, job("works", "never", "a")], &options);
    world.scheduler.run_now("works", Order::default()).unwrap();
    world.wait_for_runs("works", 1);
    assert!(!told.exists());
    world.scheduler.run_now("fails", Order::default()).unwrap();
    world.wait("the program", |_| told.exists());
    assert_eq!(std::fs::read_to_string(told).unwrap(), "fails|/the/store|no such luck|\n");
    world.wait_for_runs("fails", 1);
}

/// By another process: what this one forks at the same instant must not hold it open for writing.
fn write_program(path: &Path, script: &str) {
    let copied = std::process::Command::new("sh")
        .args(["-c", "printf %s \"$2\" > \"$1\" && chmod +x \"$1\"", "sh"])
        .arg(path)
        .arg(script)
        .status();
    assert!(copied.unwrap().success());
}

#[test]
fn a_limit_holds_a_run_back_until_it_is_to_end() {
    let limited = Job { bytes_per_second_max: 1, ..endless("slow") };
    let world = world(vec![limited]);
    world.scheduler.run_now("slow", Order::default()).unwrap();
    world.wait("its begin", |world| world.state("slow")["running"]["step"] == "going round");
    world.scheduler.cancel("slow").unwrap();
    world.wait_for_runs("slow", 1);
    // A gigabyte at a byte a second would take decades; ending it doesn't.
    let huge = job_that("huge", "never", "a", |_, task: &dyn Task| {
        task.pace(1 << 30);
        Ok(Outcome { complete: !task.is_stopped(), ..Outcome::done("", Value::Null) })
    });
    let clock = Arc::new(ManualClock::new(at("2027-01-01T12:00:00Z")));
    let options =
        Options { pace: Pace { bytes_per_second_max: 1, ..Pace::default() }, ..Options::default() };
    let world = begin(&Arc::default(), &clock, vec![huge], &options);
    world.scheduler.run_now("huge", Order::default()).unwrap();
    world.wait("its begin", |world| world.state("huge")["running"]["begun"].is_i64());
    drop(world.scheduler);
    assert_eq!(world.record.of("huge")[0].outcome, JobOutcome::Interrupted);
    assert!(world.clock.now() == at("2027-01-01T12:00:00Z"));
}

#[test]
fn a_run_goes_slowly_while_the_drive_is_in_use_and_fast_again_when_it_is_not() {
    let requests = Arc::new(AtomicU64::new(0));
    let in_use = Arc::new(AtomicBool::new(true));
    let (seen, used) = (Arc::clone(&requests), Arc::clone(&in_use));
    // As long as it is in use, something new was asked of it each time it is looked.
    let look = move || match used.load(Ordering::Relaxed) {
        true => seen.fetch_add(1, Ordering::Relaxed),
        false => seen.load(Ordering::Relaxed),
    };
    let paced = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&paced);
    let work = job_that("work", "never", "a", move |_, task: &dyn Task| {
        for _ in 0..5 {
            // At the limit for a drive in use each takes half a year.
            task.pace(1 << 24);
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Outcome { complete: !task.is_stopped(), ..Outcome::done("", Value::Null) })
    });
    let demand = Some(Arc::new(Demand::new(Box::new(look), || None)));
    let pace = Pace { bytes_per_second_max: 0, busy_bytes_per_second_max: 1, demand };
    let options = Options { pace, ..Options::default() };
    let clock = Arc::new(ManualClock::new(at("2027-01-01T12:00:00Z")));
    let world = begin(&Arc::default(), &clock, vec![work], &options);
    world.scheduler.run_now("work", Order::default()).unwrap();
    let looked = requests.load(Ordering::Relaxed);
    world.wait("looks at the drive", |_| requests.load(Ordering::Relaxed) > looked + 3);
    assert_eq!(paced.load(Ordering::Relaxed), 0, "it gives way");
    in_use.store(false, Ordering::Relaxed);
    world.wait_for_runs("work", 1);
    assert_eq!(world.record.of("work")[0].outcome, JobOutcome::Done);
    assert_eq!(paced.load(Ordering::Relaxed), 5);
}

#[test]
fn a_job_that_does_not_end_or_never_begins_is_something_to_worry_about() {
    let blocked = job("blocked", "0 0 * * *", "round");
    let world = world(vec![endless("round"), blocked]);
    world.scheduler.run_now("round", Order::default()).unwrap();
    world.wait("its begin", |world| world.state("round")["running"]["begun"].is_i64());
    world.pass(DAY * 2);
    assert!(world.scheduler.concerns().is_empty());
    world.pass(DAY);
    let concerns = world.scheduler.concerns();
    assert_eq!(concerns.len(), 1, "{concerns:?}");
    assert!(concerns[0].what.contains("blocked is long overdue"));
    world.scheduler.cancel("round").unwrap();
    world.wait_for_runs("blocked", 1);
    assert!(world.scheduler.concerns().is_empty());
}
