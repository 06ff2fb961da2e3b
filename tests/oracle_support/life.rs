//! The life of a drive, remembered at random moments and looked back at through every door.

use super::now;
use super::tree::{self, Promise, Tree};
use super::work::Worker;
use crate::crash_support::drive::{Drive, Options, check_clean, verso};
use crate::crash_support::{Rng, Scratch, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use versofs::model::{Moment, gmt_name, moment_name};

/// Of so many moments one has the rest of its second to itself, for the door that knows whole seconds only.
const QUIET_ONE_OF: u64 = 5;

/// A moment, and what was there.
struct Remembered {
    moment: i64,
    /// Nothing happened in the rest of its second.
    is_quiet: bool,
    tree: Tree,
}

/// A drive, and what it should know of its past.
pub(crate) struct Life {
    // Dropped first: the directory goes when nothing is mounted in it any more.
    drive: Option<Drive>,
    scratch: Scratch,
    options: Options,
    worker: Worker,
    promise: Promise,
    remembered: Vec<Remembered>,
    rng: Rng,
    /// How many moments were compared, through all doors together.
    pub(crate) compared: usize,
}

impl Life {
    /// On a new drive with slots of so many seconds.
    pub(crate) fn new(test: &str, slot: (&'static str, Duration), rng: &mut Rng) -> Life {
        let scratch = Scratch::in_memory(test);
        let settings = vec![("VERSO_HISTORY__SLOT", slot.0), ("VERSO_JOBS__RETENTION", "never")];
        let options = Options { settings, ..Options::default() };
        let mountpoint = scratch.dir("mnt");
        scratch.dir("then");
        let mut life = Life {
            drive: None,
            worker: Worker::new(&mountpoint, rng.fork()),
            scratch,
            options,
            promise: Promise::new(slot.1.as_nanos() as i64),
            remembered: Vec::new(),
            rng: rng.fork(),
            compared: 0,
        };
        life.start();
        life
    }

    fn root(&self) -> PathBuf {
        self.scratch.path("mnt")
    }

    fn store(&self) -> PathBuf {
        self.scratch.path("store")
    }

    pub(crate) fn start(&mut self) {
        let drive = Drive::start_ready(&self.store(), &self.root(), &self.options);
        self.drive = Some(drive.unwrap_or_else(|why| panic!("{why}")));
        self.promise.note(&self.root(), now());
    }

    pub(crate) fn stop(&mut self) {
        self.drive.take().unwrap().stop();
    }

    /// Adds a setting from the next start on.
    pub(crate) fn set(&mut self, name: &'static str, value: &'static str) {
        self.options.settings.push((name, value));
    }

    fn known(&self) -> Vec<String> {
        self.remembered.iter().map(|one| moment_name(Moment(one.moment))).collect()
    }

    /// Works on, and remembers each step.
    pub(crate) fn work(&mut self, steps: usize) {
        for _ in 0..steps {
            let known = self.known();
            self.worker.step(&mut self.promise, &known, &|| false);
            let moment = now();
            let is_quiet = self.rng.below(QUIET_ONE_OF) == 0;
            self.remembered.push(Remembered { moment, is_quiet, tree: self.worker.copy_tree() });
            if is_quiet {
                let left = 1_000_000_000 - moment.rem_euclid(1_000_000_000) - (now() - moment);
                std::thread::sleep(Duration::from_nanos(left.max(0) as u64));
            }
        }
    }

    /// Works on until the daemon is killed, and starts it again.
    pub(crate) fn kill_at_work(&mut self) {
        let alive = Duration::from_millis(30 + self.rng.below(700));
        let pid = self.drive.as_ref().unwrap().pid().to_string();
        let (dead, known) = (AtomicBool::new(false), self.known());
        let (worker, promise) = (&mut self.worker, &mut self.promise);
        let is_dead = &|| dead.load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while !is_dead() {
                    worker.step(promise, &known, is_dead);
                }
            });
            std::thread::sleep(alive);
            // The dead mount stays where it is until nobody works there any more.
            run(Command::new("kill").arg("-KILL").arg(pid));
            dead.store(true, Ordering::SeqCst);
        });
        self.drive.take().unwrap().kill();
        self.start();
    }

    pub(crate) fn kill(&mut self) {
        self.drive.take().unwrap().kill();
        self.start();
    }

    /// Looks back at every `step`-th moment through `@at`, and `@GMT` where that can be.
    pub(crate) fn look_back(&mut self, step: usize, when: &str) {
        self.look_back_within(i64::MAX, step, when);
    }

    /// As [`Life::look_back`], at what is younger than `floor` nanoseconds at the time when it is looked at.
    pub(crate) fn look_back_within(&mut self, floor: i64, step: usize, when: &str) -> usize {
        let (mut seen, versions) = (0, self.root().join(".versions"));
        for one in self.remembered.iter().step_by(step) {
            let name = Moment(one.moment);
            let mut doors = vec![versions.join("@at").join(moment_name(name))];
            doors.extend(one.is_quiet.then(|| versions.join(gmt_name(name))));
            for door in doors {
                let shown = tree::read(&door);
                // Read before it could have become too old.
                if now().saturating_sub(one.moment) >= floor {
                    continue;
                }
                self.compare(
                    one,
                    &shown.unwrap_or_else(|e| panic!("{when}: {}: {e}", door.display())),
                    when,
                    &door,
                );
                seen += 1;
            }
        }
        self.compared += seen;
        seen
    }

    fn compare(&self, one: &Remembered, shown: &Tree, when: &str, door: &Path) {
        let wrong = self.promise.differences(&one.tree, one.moment, shown);
        assert!(wrong.is_empty(), "{when}, through {}: {wrong:#?}", door.display());
    }

    /// Mounts the store, which is not mounted, as it was at so many moments younger than `floor`.
    pub(crate) fn look_back_by_mount(&mut self, count: usize, floor: i64, when: &str) {
        for _ in 0..count {
            let now = now();
            let mut young: Vec<&Remembered> = self.remembered.iter().collect();
            young.retain(|one| now.saturating_sub(one.moment) < floor);
            if young.is_empty() {
                return;
            }
            let one = young[self.rng.below(young.len() as u64) as usize];
            self.compared += usize::from(self.mount_and_compare(one, floor, when));
        }
    }

    /// False if the moment became too old meanwhile.
    fn mount_and_compare(&self, one: &Remembered, floor: i64, when: &str) -> bool {
        let (then, mut options) = (self.scratch.path("then"), self.options.clone());
        options.args = vec!["--at".to_owned(), moment_name(Moment(one.moment))];
        let drive = Drive::start_ready(&self.store(), &then, &options);
        let shown = drive.as_ref().map(|_| tree::read(&then));
        let is_young = now().saturating_sub(one.moment) < floor;
        if is_young {
            let shown = shown.unwrap_or_else(|why| panic!("{when}: {why}")).unwrap();
            self.compare(one, &shown, when, &then);
        }
        if let Ok(drive) = drive {
            drive.stop();
        }
        is_young
    }

    /// What retention doesn't keep goes now; how many rows of the past that were.
    pub(crate) fn tidy(&self) -> u64 {
        let told = run(verso().args(["tidy", "--json"]).arg(self.root()));
        let report: serde_json::Value = serde_json::from_str(&told).unwrap();
        report["rows_dropped"].as_u64().unwrap()
    }

    /// How old it is, in nanoseconds.
    pub(crate) fn age(&self) -> i64 {
        now() - self.remembered[0].moment
    }

    /// Stops in order; the store must be whole. Answers what was done to the past.
    pub(crate) fn end(mut self) -> (usize, std::collections::BTreeMap<&'static str, usize>) {
        if self.drive.is_some() {
            self.stop();
        }
        check_clean(&self.store());
        (self.remembered.len(), std::mem::take(&mut self.worker.done))
    }
}
