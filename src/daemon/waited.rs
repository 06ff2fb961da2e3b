//! Doing something that may take long, and showing that it goes on.

use crate::cli::{Exit, Failure, Waiting};
use crate::config::format_bytes;
use crate::sys::Task;
use parking_lot::Mutex;
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the progress is shown.
const TICK: Duration = Duration::from_millis(100);

/// Does `work` on another thread. Meanwhile says `what` is being done, or how far it is, where `progress` knows that.
pub(super) fn waited<T: Send>(
    what: String,
    progress: impl Fn() -> Option<String>,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let mut waiting = Waiting::new(what);
    std::thread::scope(|scope| {
        let waiter = std::thread::current();
        let worker = scope.spawn(move || {
            let outcome = work();
            waiter.unpark();
            outcome
        });
        while !worker.is_finished() {
            std::thread::park_timeout(TICK);
            if let Some(message) = progress() {
                waiting.set_message(message);
            }
            waiting.tick();
        }
        worker
            .join()
            .unwrap_or_else(|_| Err(Failure::new(Exit::Failure, "it panicked; please report it")))
    })
}

/// Long work of this process: a person sees how far it is, and ends it with Ctrl-C.
pub(super) struct Shown {
    interrupted: Arc<AtomicBool>,
    far: Mutex<Far>,
}

#[derive(Default)]
struct Far {
    step: String,
    done: u64,
    total: u64,
}

impl Shown {
    fn message(&self, what: &str) -> Option<String> {
        let Far { step, done, total } = &*self.far.lock();
        let far = match total {
            0 => step.clone(),
            _ => format!("{step}: {} of {}", format_bytes(*done), format_bytes(*total)),
        };
        (!far.is_empty()).then(|| format!("{what}, {far}"))
    }
}

impl Task for Shown {
    fn is_stopped(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn pace(&self, _bytes: u64) {}

    fn progress(&self, done: u64, total: u64) {
        let mut far = self.far.lock();
        (far.done, far.total) = (done, total);
    }

    fn step(&self, what: &str) {
        *self.far.lock() = Far { step: what.to_owned(), ..Far::default() };
    }
}

/// Like [`waited`], for work that says how far it is and ends when it is told to.
pub(super) fn waited_task<T: Send>(
    what: String,
    work: impl FnOnce(&Shown) -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    flag::register(SIGINT, Arc::clone(&interrupted))
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot take signals: {error}")))?;
    let shown = Shown { interrupted, far: Mutex::default() };
    waited(what.clone(), || shown.message(&what), || work(&shown))
}
