//! What runs by itself, and `verso jobs`: mounted and not.

use crate::support::{Bench, Ran, log, until};
use serde_json::Value;
use std::fs;
use std::sync::Arc;
use versofs::fs::{Volume, VolumeOptions};
use versofs::meta::{JobOutcome, JobRun};
use versofs::model::Timestamp;
use versofs::sys::{Clock, SystemClock};

fn with_settings(settings: &str) -> Bench {
    let bench = Bench::new();
    fs::create_dir(&bench.store).unwrap();
    fs::write(bench.store.join("verso.toml"), settings).unwrap();
    bench
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok().out).unwrap()
}

/// What `verso jobs` says of retention.
fn retention(bench: &Bench, of: &str) -> Value {
    let jobs = json(bench.verso(&format!("jobs {of} --json")));
    let jobs = jobs["jobs"].as_array().unwrap();
    jobs.iter().find(|job| job["name"] == "retention").unwrap().clone()
}

fn log_of(bench: &Bench, of: &str) -> Vec<Value> {
    json(bench.verso(&format!("jobs log retention {of} --json"))).as_array().unwrap().clone()
}

#[test]
fn a_job_is_listed_runs_when_asked_and_is_recorded_mounted_and_not() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    let before = retention(&bench, "DRIVE");
    assert_eq!((&before["last"], &before["running"]), (&Value::Null, &Value::Null));
    assert_eq!(before["schedule"], "every 6h");
    assert!(before["next"].as_i64().unwrap() > SystemClock.now().0);
    let dry = bench.verso("jobs run retention DRIVE --dry-run").ok().out;
    assert_eq!(dry, "retention: 0 B would come free; 0 versions of 0 names would go\n");
    assert!(log_of(&bench, "DRIVE").is_empty(), "a dry run is none");
    let ran = bench.verso("jobs run retention DRIVE").ok().out;
    assert_eq!(ran, "retention: nothing to remove\n");
    let finished = json(bench.verso("jobs run retention STORE --json"));
    assert_eq!(
        (&finished["outcome"], &finished["detail"]["bytes_freed"]),
        (&"done".into(), &0.into())
    );
    let table = bench.verso("jobs DRIVE").ok().out;
    assert!(table.starts_with("JOB ") && table.contains("\nretention  20"), "{table}");
    let status = bench.verso("status DRIVE").ok().out;
    assert!(status.contains("\njobs        all well; next "), "{status}");
    let said = bench.verso("jobs run retention DRIVE --no-wait").ok().out;
    assert!(said.starts_with("retention begins"), "{said}");
    until(|| log_of(&bench, "DRIVE").iter().filter(|run| run["outcome"] == "done").count() == 3);
    bench.unmount();

    assert_eq!(log_of(&bench, "STORE").len(), 3);
    assert_eq!(retention(&bench, "STORE")["last"]["outcome"], "done");
    assert!(bench.verso("jobs STORE").ok().out.contains("nothing runs by itself"));
    let preview = json(bench.verso("jobs run retention STORE --dry-run --json"));
    assert_eq!(preview["detail"]["bytes"], 0);
    bench.verso("jobs run retention STORE").ok();
    let text = bench.verso("jobs log retention STORE --limit 2").ok().out;
    assert_eq!(text.lines().count(), 3, "{text}");
    assert_eq!(log_of(&bench, "STORE").len(), 4);
    bench.verso("jobs run retention STORE --no-wait").fails(1, &["no daemon", "mount"]);
    bench.verso("jobs cancel retention STORE").fails(1, &["no daemon"]);
}

#[test]
fn what_is_no_job_and_what_does_not_run_is_said() {
    let bench = Bench::new();
    bench.verso("init STORE").ok();
    for words in ["jobs run retentoin", "jobs log retentoin"] {
        bench.verso(&format!("{words} STORE")).fails(2, &["no job retentoin"]);
    }
    bench.verso("mount STORE DRIVE").ok();
    for words in ["jobs run retentoin", "jobs cancel retentoin", "jobs log retentoin"] {
        bench.verso(&format!("{words} DRIVE")).fails(2, &["no job retentoin", "verso jobs"]);
    }
    bench.verso("jobs cancel retention DRIVE").fails(1, &["retention does not run"]);
    bench.unmount();
    bench.verso("mount STORE DRIVE --read-only").ok();
    bench.verso("jobs run retention DRIVE").fails(1, &["read-only"]);
    assert!(bench.verso("jobs DRIVE").ok().out.contains("nothing runs by itself"));
    assert!(bench.verso("status DRIVE").ok().out.contains("\njobs        none runs by itself"));
}

#[test]
fn a_schedule_that_is_none_is_refused_before_anything_is_mounted() {
    let bench = with_settings("[jobs]\nretention = \"every day\"\n");
    let parts = ["jobs.retention", "every day", "every 6h"];
    bench.verso("mount STORE DRIVE").fails(2, &parts);
    bench.verso("config check STORE").fails(2, &parts);
    assert!(!bench.is_mounted());
    fs::write(bench.store.join("verso.toml"), "[retention]\ninterval = \"6h\"\n").unwrap();
    let parts = ["verso.toml:2", "retention.interval", "jobs.retention"];
    bench.verso("mount STORE DRIVE").fails(2, &parts);
    bench.verso("config check STORE").fails(2, &parts);
    let settings =
        "[jobs]\nretention = \"30 1 * * *\"\ntime_zone = \"Asia/Tokyo\"\njitter = \"0s\"\n";
    fs::write(bench.store.join("verso.toml"), settings).unwrap();
    bench.verso("mount STORE DRIVE").ok();
    let next = retention(&bench, "DRIVE")["next"].as_i64().unwrap() / 1_000_000_000;
    assert_eq!(next % 86_400, (16 * 60 + 30) * 60, "half past one in Tokyo");
}

/// Records a run of retention that ended so, as a daemon does.
fn record(bench: &Bench, outcome: JobOutcome, error: Option<&str>) {
    let volume =
        Volume::open_store(&bench.store, VolumeOptions::default(), Arc::new(SystemClock)).unwrap();
    let begun = Timestamp(SystemClock.now().0 - 1_000_000_000);
    let id = volume.begin_job_run("retention", begun).unwrap();
    if outcome != JobOutcome::Running {
        let run = JobRun {
            id,
            job: "retention".to_owned(),
            begun,
            ended: Some(SystemClock.now()),
            outcome,
            summary: String::new(),
            detail: "null".to_owned(),
            error: error.map(str::to_owned),
        };
        volume.end_job_run(&run).unwrap();
    }
    volume.close().unwrap();
}

#[test]
fn a_job_that_failed_is_in_the_status_and_its_exit_code_until_it_succeeds() {
    let bench = Bench::new();
    bench.verso("init STORE").ok();
    record(&bench, JobOutcome::Failed, Some("the disk is on fire"));
    let line = "\nattention   job retention failed: the disk is on fire (20";
    let check = |of: &str| {
        let ran = bench.verso(&format!("status {of}"));
        assert!(ran.out.contains(line), "{ran:?}");
        assert!(ran.out.contains("verso jobs log retention"), "{ran:?}");
        assert!(ran.out.contains("health      something needs attention"), "{ran:?}");
        ran.fails(8, &["1 thing needs attention"]);
        let ran = bench.verso(&format!("status {of} --json"));
        let status: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(status["concerns"][0]["severity"], "warning");
        assert!(status["concerns"][0]["what"].as_str().unwrap().contains("on fire"));
        ran.fails(8, &[]);
    };
    check("STORE");
    bench.verso("mount STORE DRIVE").ok();
    check("DRIVE");
    let all = bench.verso("status");
    assert!(all.code == Some(8) && all.out.contains(line), "{all:?}");
    bench.verso("jobs run retention DRIVE").ok();
    assert!(bench.verso("status DRIVE").ok().out.contains("health      good"));
    bench.unmount();
    bench.verso("status STORE").ok();
}

#[test]
fn a_run_that_a_killed_daemon_left_is_made_up_for() {
    let bench = Bench::new();
    bench.verso("init STORE").ok();
    record(&bench, JobOutcome::Running, None);
    assert_eq!(retention(&bench, "STORE")["last"]["outcome"], "running", "nobody has looked yet");
    let mounted =
        bench.with_variable("VERSO_JOBS__RETENTION", "every 2s", "mount STORE DRIVE").ok();
    assert_eq!(mounted.out, "");
    until(|| {
        let runs = log_of(&bench, "DRIVE");
        let outcomes: Vec<&str> = runs.iter().filter_map(|run| run["outcome"].as_str()).collect();
        outcomes.last() == Some(&"interrupted") && outcomes.contains(&"done")
    });
    bench.unmount();
}

const EAGER: &str = "[retention]\nfloor = \"0s\"\nthinning = []\n[history]\nslot = \"0s\"\n";

/// A mounted drive on which retention finds something, with a daemon that is killed, or panics, when it begins with that.
fn doomed(failpoint: &str, schedule: &str) -> Option<Bench> {
    if !cfg!(feature = "failpoints") {
        eprintln!("SKIPPED {failpoint}: built without the feature failpoints");
        return None;
    }
    let bench = with_settings(EAGER);
    let mut mount = bench.command("mount STORE DRIVE");
    mount.env("VERSO_FAILPOINT", failpoint).env("VERSO_JOBS__RETENTION", schedule);
    mount.env("VERSO_JOBS__ON_FAILURE", bench.path("hook"));
    let script = "#!/bin/sh\necho $VERSO_JOB $VERSO_STORE >> $(dirname $VERSO_STORE)/told\n";
    fs::write(bench.path("hook.new"), script).unwrap();
    let made = "chmod +x hook.new && cp -p hook.new hook";
    let mut made =
        std::process::Command::new("sh").args(["-c", made]).current_dir(bench.path("")).spawn();
    assert!(made.as_mut().unwrap().wait().unwrap().success());
    Ran::new(mount.output().unwrap()).ok();
    fs::write(bench.drive.join("shared/gone"), "what nothing keeps").unwrap();
    fs::remove_file(bench.drive.join("shared/gone")).unwrap();
    Some(bench)
}

#[test]
fn a_daemon_that_is_killed_in_a_run_makes_up_for_it() {
    let Some(bench) = doomed("retention-before", "never") else { return };
    bench.verso("jobs run retention DRIVE").fails(1, &["does not answer any more", "made up"]);
    bench.wait_for_end();
    let mounted = bench.with_variable("VERSO_JOBS__RETENTION", "every 2s", "mount STORE DRIVE");
    assert_eq!(mounted.code, Some(0), "{mounted:?}");
    until(|| {
        let runs = log_of(&bench, "DRIVE");
        runs.last().is_some_and(|run| run["outcome"] == "interrupted")
            && runs.iter().any(|run| run["outcome"] == "done" && run["detail"]["rows_dropped"] != 0)
    });
    bench.unmount();
    bench.verso("check STORE").ok();
}

#[test]
fn a_panic_in_a_job_is_told_loudly_and_the_drive_goes_on() {
    let Some(bench) = doomed("panic:retention-before", "never") else { return };
    bench.verso("jobs run retention DRIVE").fails(1, &["retention failed", "panicked"]);
    let told = bench.path("told");
    until(|| fs::read_to_string(&told).is_ok_and(|told| told.ends_with('\n')));
    let store = bench.store.display();
    assert_eq!(fs::read_to_string(told).unwrap(), format!("retention {store}\n"));
    assert!(log(&bench.store).contains("ERROR versofs::jobs::scheduler] job retention failed"));
    bench.verso("status DRIVE").fails(8, &["attention"]);
    fs::write(bench.drive.join("shared/after"), "the drive goes on").unwrap();
    bench.verso("jobs run retention DRIVE").ok();
    bench.verso("status DRIVE").ok();
    bench.unmount();
}
