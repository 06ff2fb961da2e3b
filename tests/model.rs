//! Random work on a drive and on a model of a few hundred lines: both must answer the same, and hold the
//! same afterwards, also after the store was closed and opened again.
//!
//! `VERSO_MODEL_CASES` sets how many sessions are tried (in process; a fifth of that through the kernel).

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use support::drive::{Drive, InProcess, ThroughKernel};
use support::reference::Reference;
use support::work::{compare, session};

const CASES: u32 = 40;
/// Operations in a session, at most.
const SESSION_LEN: usize = 60;

fn cases() -> u32 {
    let asked = std::env::var("VERSO_MODEL_CASES").ok();
    asked.map_or(CASES, |count| count.parse().expect("VERSO_MODEL_CASES is a number"))
}

fn run(cases: u32, drive: impl Fn() -> Box<dyn Drive>) {
    let config = Config {
        cases,
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&session(SESSION_LEN), |ops| {
        let mut real = drive();
        compare(&mut *real, &mut Reference::new(), &ops)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn a_volume_does_what_the_model_does() {
    run(cases(), || Box::new(InProcess::new()));
}

#[test]
fn a_mount_does_what_the_model_does() {
    run(cases().div_ceil(5), || Box::new(ThroughKernel::new()));
}

/// The comparison itself can fail: a model that forgets something is told from one that doesn't.
#[test]
fn a_difference_is_found() {
    use support::work::{Data, Op};
    let data = Data { seed: 7, len: 100, plain: false };
    let start = || vec![Op::Create("a".into()), Op::Open(0, "a".into())];
    let mut forgetful = Reference::new();
    compare(&mut forgetful, &mut Reference::new(), &start()).unwrap();
    forgetful.create("b").unwrap();
    let write = vec![Op::Open(0, "a".into()), Op::Write(0, 5, data)];
    let mut other = Reference::new();
    other.create("a").unwrap();
    assert!(compare(&mut forgetful, &mut other, &write).is_err());
}
