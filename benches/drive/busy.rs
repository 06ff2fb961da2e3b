//! A drive with jobs that run all the time it is measured, and not while others are.

use crate::Failure;
use crate::data::Data;
use crate::work::MIB;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use versofs::http::Client;

/// What runs all the time: reading and verifying everything.
const JOB: &str = "scrub";
/// What runs once beside it: looking for what nothing keeps. Again and again it would mostly wait for the disk, as it never does.
const ONCE: &str = "retention";
/// What is there to read.
const FILL_BYTES: u64 = 512 << 20;
/// The settings with which there is everything to read each time, and nothing runs but what is asked for.
pub(crate) const SETTINGS: [(&str, &str); 3] = [
    ("VERSO_JOBS__SCRUB", "never"),
    ("VERSO_JOBS__SCRUB_PERIOD", "1d"),
    ("VERSO_JOBS__RETENTION", "never"),
];
/// How soon a job runs again after it has ended.
const REST: Duration = Duration::from_millis(50);

/// Makes something to read, beside what the works do.
pub(crate) fn fill(mountpoint: &Path) -> Result<(), Failure> {
    let data = Data::new(FILL_BYTES);
    let mut file = File::create(mountpoint.join("fill"))?;
    let mut piece = vec![0; MIB];
    for number in 0..FILL_BYTES / MIB as u64 {
        data.fill(number, &mut piece);
        file.write_all(&piece)?;
    }
    Ok(file.sync_all()?)
}

/// Lets jobs run until it is dropped, and waits for their end then.
pub(crate) struct Busy {
    store: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    /// Begins; on return they run.
    pub(crate) fn start(store: &Path) -> Result<Busy, Failure> {
        let over = Arc::new(AtomicBool::new(false));
        for job in [JOB, ONCE] {
            ask(store, "run", job)?;
        }
        let (inner, at) = (Arc::clone(&over), store.to_owned());
        let work = move || {
            while !inner.load(Ordering::Relaxed) {
                std::thread::sleep(REST);
                // That it runs already is what is wanted.
                let _ = ask(&at, "run", JOB);
            }
        };
        Ok(Busy { store: store.to_owned(), over, thread: Some(std::thread::spawn(work)) })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        while running(&self.store).is_some_and(|running| running) {
            for job in [JOB, ONCE] {
                let _ = ask(&self.store, "cancel", job);
            }
            std::thread::sleep(REST);
        }
    }
}

fn connect(store: &Path) -> Result<Client, Failure> {
    Client::connect(store)?.ok_or_else(|| Failure("the daemon does not answer".to_owned()))
}

/// Whether the daemon did as asked.
fn ask(store: &Path, what: &str, job: &str) -> Result<bool, Failure> {
    let answer = connect(store)?.post(&format!("/v1/jobs/{what}"), &json!({ "name": job }))?;
    match answer.status {
        200..300 => Ok(true),
        409 => Ok(false),
        _ => Err(Failure(answer.success().err().unwrap_or_default())),
    }
}

fn running(store: &Path) -> Option<bool> {
    let jobs: Value = connect(store).ok()?.get("/v1/jobs").ok()?.success().ok()?;
    Some(jobs.as_array()?.iter().any(|job| !job["running"].is_null()))
}
