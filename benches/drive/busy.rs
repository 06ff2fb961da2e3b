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
use std::time::{Duration, Instant};
use versofs::http::Client;

/// What runs all the time: reading and verifying everything.
const JOB: &str = "scrub";
/// What runs once beside it: looking for what nothing keeps. Again and again it would mostly wait for the disk, as it never does.
const ONCE: &str = "retention";
/// What also runs beside it: copying everything to another directory.
const BACKUP: &str = "backup";
const ALL: [&str; 3] = [JOB, ONCE, BACKUP];
/// What is there to read: enough to last for as long as a work takes, since a run's beginning, once a night, costs more than its steps.
const FILL_BYTES: u64 = 2 << 30;
/// Runs have begun after this, and know that the drive is in use: what they had begun before at full speed is over.
const BEGINNING: Duration = Duration::from_millis(500);
/// How often the drive is used until then.
const USE_INTERVAL: Duration = Duration::from_millis(10);
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
    /// Begins; on return they run. `directory` is on the drive.
    pub(crate) fn start(store: &Path, directory: &Path) -> Result<Busy, Failure> {
        let over = Arc::new(AtomicBool::new(false));
        for job in ALL {
            ask(store, "run", job)?;
        }
        let begun = Instant::now();
        while begun.elapsed() < BEGINNING {
            // The kernel has not heard of this name yet, so it asks.
            let name = format!("not there {}", begun.elapsed().as_nanos());
            let _ = directory.join(name).symlink_metadata();
            std::thread::sleep(USE_INTERVAL);
        }
        let (inner, at) = (Arc::clone(&over), store.to_owned());
        let work = move || {
            while !inner.load(Ordering::Relaxed) {
                std::thread::sleep(REST);
                // That they run already is what is wanted.
                for job in [JOB, BACKUP] {
                    let _ = ask(&at, "run", job);
                }
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
            for job in ALL {
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
    let order = match (what, job) {
        ("run", BACKUP) => {
            let location = store.with_extension("backup");
            json!({ "name": job, "options": { "location": location, "full": true } })
        }
        _ => json!({ "name": job }),
    };
    let answer = connect(store)?.post(&format!("/v1/jobs/{what}"), &order)?;
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
