//! Doing something that may take long, and showing that it goes on.

use crate::cli::{Exit, Failure, Waiting};
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
        let worker = scope.spawn(work);
        while !worker.is_finished() {
            std::thread::sleep(TICK);
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
