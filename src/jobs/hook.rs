//! The program that is told of a failed run.

use crate::sys;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long the program may take.
const TIME_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether it has ended.
const POLL: Duration = Duration::from_millis(100);

/// The same failure of the same job is told anew after this time: a job that is tried again each minute floods nobody.
const REPEAT_AFTER: Duration = Duration::from_secs(3600);
/// What is told of a failure, at most: the environment of a process is bounded.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// A program, and what it was told.
#[derive(Debug)]
pub(super) struct Hook {
    program: PathBuf,
    store: PathBuf,
    /// By job: the last failure, and when it was told.
    told: Mutex<HashMap<String, (String, Instant)>>,
}

impl Hook {
    pub(super) fn new(program: PathBuf, store: PathBuf) -> Hook {
        Hook { program, store, told: Mutex::default() }
    }

    /// Tells it of a failure, unless it just was.
    pub(super) fn tell(&self, job: &str, error: &str, summary: &str) {
        if self.is_news(job, error, Instant::now()) {
            self.call(job, &fit(error), &fit(summary));
        }
    }

    /// Whether it is time to tell this; if so, it counts as told.
    fn is_news(&self, job: &str, error: &str, now: Instant) -> bool {
        let mut told = self.told.lock();
        let is_known = told.get(job).is_some_and(|(last, at)| {
            last == error && now.saturating_duration_since(*at) < REPEAT_AFTER
        });
        if !is_known {
            told.insert(job.to_owned(), (error.to_owned(), now));
        }
        !is_known
    }

    /// The job is well again: its next failure is news.
    pub(super) fn forget(&self, job: &str) {
        self.told.lock().remove(job);
    }

    /// Starts the program and watches it from a thread of its own: nobody waits for it. That it fails is logged.
    fn call(&self, job: &str, error: &str, summary: &str) {
        let mut command = Command::new(&self.program);
        command
            .env("VERSO_JOB", job)
            .env("VERSO_STORE", &self.store)
            .env("VERSO_ERROR", error)
            .env("VERSO_SUMMARY", summary)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let program = self.program.clone();
        let watch = move || {
            if let Err(error) = run(&mut command, TIME_MAX) {
                log::error!("on_failure: {}: {error}", program.display());
            }
        };
        if let Err(error) = std::thread::Builder::new().name("verso-hook".into()).spawn(watch) {
            log::error!("on_failure: {}: no thread for it: {error}", self.program.display());
        }
    }
}

/// What an environment variable can hold.
fn fit(text: &str) -> String {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|end| *end <= TEXT_BYTES_MAX).last().unwrap_or(0);
    text[..end].replace('\0', " ")
}

/// Runs it to its end, or to that of `time_max`, with everything that it started.
fn run(command: &mut Command, time_max: Duration) -> io::Result<()> {
    let mut child = command.spawn()?;
    let status = wait(&mut child, time_max)?;
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(io::Error::other(format!("it ended with {status}"))),
        None => {
            sys::kill_group(child.id())?;
            child.wait()?;
            let seconds = time_max.as_secs();
            Err(io::Error::other(format!("it was killed, since it took more than {seconds} s")))
        }
    }
}

fn wait(child: &mut Child, time_max: Duration) -> io::Result<Option<ExitStatus>> {
    let since = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if since.elapsed() >= time_max => return Ok(None),
            None => std::thread::sleep(POLL),
        }
    }
}

/// Whether `path` is a program that can be run, for a message before it is needed.
pub(super) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_takes_too_long_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).process_group(0);
        let mut child = command.spawn().unwrap();
        while !pid.exists() {
            std::thread::sleep(POLL);
        }
        assert_eq!(wait(&mut child, Duration::ZERO).unwrap(), None);
        sys::kill_group(child.id()).unwrap();
        child.wait().unwrap();
        let sleeper = std::fs::read_to_string(&pid).unwrap();
        let state = || {
            std::fs::read_to_string(format!("/proc/{}/stat", sleeper.trim())).unwrap_or_default()
        };
        while !state().is_empty() && !state().contains(") Z") {
            std::thread::sleep(POLL);
        }
        let killed = run(Command::new("sleep").arg("1000").process_group(0), Duration::ZERO);
        assert!(killed.unwrap_err().to_string().contains("killed"));
    }

    #[test]
    fn the_same_failure_is_told_once_an_hour() {
        let hook = Hook::new("/bin/true".into(), "/store".into());
        let now = Instant::now();
        assert!(hook.is_news("a", "one", now) && !hook.is_news("a", "one", now));
        assert!(hook.is_news("b", "one", now) && hook.is_news("a", "two", now));
        assert!(!hook.is_news("a", "two", now + REPEAT_AFTER / 2));
        assert!(hook.is_news("a", "two", now + REPEAT_AFTER));
        hook.forget("a");
        assert!(hook.is_news("a", "two", now + REPEAT_AFTER));
        assert_eq!(fit("a\0b"), "a b");
        assert_eq!(fit(&"ä".repeat(TEXT_BYTES_MAX)).len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn its_failure_is_an_error() {
        let failed = run(Command::new("false").process_group(0), TIME_MAX);
        assert!(failed.unwrap_err().to_string().contains("exit status: 1"));
        run(Command::new("true").process_group(0), TIME_MAX).unwrap();
        assert!(is_program(Path::new("/bin/sh")) && !is_program(Path::new("/etc/passwd")));
    }
}
