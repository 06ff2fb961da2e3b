//! Words for people: on standard output what was asked for, on standard error everything else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Work that is done sooner shows no progress.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// Prints a line. That nobody reads it any more (`verso … | head`) is no failure.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints lines to standard error: what goes with something on standard output.
pub fn tell(lines: &str) {
    let _ = writeln!(io::stderr(), "{lines}");
}

/// Prints a line to standard error, under the program's name.
pub fn warn(line: &str) {
    let _ = writeln!(io::stderr(), "verso: {line}");
}

/// Waiting for something: shown after a second, and only on a terminal.
pub struct Waiting {
    what: String,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Waiting {
    /// Begins to wait for `what`.
    pub fn new(what: impl Into<String>) -> Waiting {
        Waiting { what: what.into(), since: Instant::now(), bar: None }
    }

    /// Says what is being waited for now.
    pub fn set_message(&mut self, what: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.clone());
        }
        self.what = what;
    }

    /// To be called again and again meanwhile.
    pub fn tick(&mut self) {
        if self.bar.is_none()
            && self.since.elapsed() >= PROGRESS_AFTER
            && io::stderr().is_terminal()
        {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            bar.set_style(style.expect("the template is well-formed"));
            bar.set_message(self.what.clone());
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.tick();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
