//! The record of jobs.

use super::*;
use crate::meta::{JobOutcome, JobRun, RUNS_KEPT};

fn done(id: i64, begun: i64) -> JobRun {
    JobRun {
        id,
        job: "scrub".into(),
        begun: Timestamp(begun),
        ended: Some(Timestamp(begun + 5)),
        outcome: JobOutcome::Done,
        summary: "all of it".into(),
        detail: "{\"bytes\":7}".into(),
        error: None,
    }
}

#[test]
fn runs_are_remembered_and_what_a_crash_cut_off_is_called_so() {
    let drive = Drive::new();
    let first = drive.volume.begin_job_run("scrub", Timestamp(10)).unwrap();
    drive.volume.end_job_run(&done(first, 10)).unwrap();
    drive.volume.begin_job_run("scrub", Timestamp(20)).unwrap();
    drive.volume.begin_job_run("other", Timestamp(30)).unwrap();
    drive.volume.set_job_since("scrub", Timestamp(3)).unwrap();
    let drive = drive.crash();
    let outcomes = |drive: &Drive| {
        let runs = drive.volume.job_runs("scrub", 9).unwrap();
        runs.iter().map(|run| run.outcome).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&drive), [JobOutcome::Running, JobOutcome::Done]);
    assert_eq!(drive.volume.interrupt_job_runs().unwrap(), 2);
    assert_eq!(outcomes(&drive), [JobOutcome::Interrupted, JobOutcome::Done]);
    assert_eq!(drive.volume.job_runs("scrub", 9).unwrap()[1], done(first, 10));
    assert_eq!(drive.volume.job_names().unwrap(), ["other", "scrub"]);
    assert_eq!(drive.volume.job_since("scrub").unwrap(), Some(Timestamp(3)));
    assert_eq!(drive.volume.job_since("other").unwrap(), None);
}

#[test]
fn of_each_job_the_last_runs_stay() {
    let drive = Drive::new();
    drive.volume.begin_job_run("other", Timestamp(1)).unwrap();
    for begun in 0..i64::from(RUNS_KEPT) + 20 {
        drive.volume.begin_job_run("scrub", Timestamp(begun)).unwrap();
    }
    let runs = drive.volume.job_runs("scrub", 1000).unwrap();
    assert_eq!(runs.len(), RUNS_KEPT as usize);
    assert_eq!(runs[0].begun, Timestamp(i64::from(RUNS_KEPT) + 19));
    assert_eq!(drive.volume.job_runs("other", 1000).unwrap().len(), 1);
}

#[test]
fn the_record_is_no_change_of_the_drive() {
    let drive = Drive::new();
    drive.save(Ino::ROOT, "a", b"contents");
    let commits = drive.volume.commits();
    let id = drive.volume.begin_job_run("scrub", Timestamp(10)).unwrap();
    drive.volume.end_job_run(&done(id, 10)).unwrap();
    assert_eq!(drive.volume.commits(), commits);
    drive.save(Ino::ROOT, "a", b"other contents");
    assert!(drive.volume.commits() > commits);
}
