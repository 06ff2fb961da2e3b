//! What long work in the background owes to whoever began it: to stop when asked, to go slowly, to say how far it is.

/// Whoever began a long piece of work, as the work sees it. The work asks often: at each step that takes some 10 ms.
pub trait Task: Sync {
    /// Whether the work is to end at its next step. What was done until then stays, and is not done again next time.
    fn is_stopped(&self) -> bool;

    /// Says that so many bytes are about to be read or sent, and waits as long as the limit of the work asks for.
    /// Returns early when the work is to end.
    fn pace(&self, bytes: u64);

    /// Says how far the work is, in its own unit (as a rule bytes); `total` is 0 while nobody knows.
    fn progress(&self, done: u64, total: u64);

    /// Says in a few words what is being done now, for people.
    fn step(&self, what: &str);
}

/// Whoever only says, when asked, whether the work is to end.
#[derive(Clone, Copy, Debug)]
pub struct Until<F>(pub F);

impl<F: Fn() -> bool + Sync> Task for Until<F> {
    fn is_stopped(&self) -> bool {
        self.0()
    }

    fn pace(&self, _bytes: u64) {}

    fn progress(&self, _done: u64, _total: u64) {}

    fn step(&self, _what: &str) {}
}

/// Nobody: the work is never stopped and never slowed down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Task for Unattended {
    fn is_stopped(&self) -> bool {
        false
    }

    fn pace(&self, _bytes: u64) {}

    fn progress(&self, _done: u64, _total: u64) {}

    fn step(&self, _what: &str) {}
}
