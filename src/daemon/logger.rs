//! Where log lines go: the terminal, or a file of bounded size that can be moved away.

use crate::config::LogConfig;
use crate::sys;
use log::LevelFilter;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The log in a store.
pub(super) const FILE_NAME: &str = "verso.log";

/// What the log is called once it was set aside.
const OLD_FILE_NAME: &str = "verso.log.1";

/// The finest level at which nothing that is logged has a name from the drive.
const DISCREET_LEVEL: LevelFilter = LevelFilter::Info;

/// A log file. Clones write into the same.
#[derive(Clone)]
pub(super) struct LogFile(Arc<Mutex<State>>);

struct State {
    path: PathBuf,
    old: PathBuf,
    file: File,
    len: u64,
    len_max: u64,
}

/// Logs to standard error from now on.
pub(super) fn to_terminal(config: &LogConfig) {
    env_logger::Builder::new().filter_level(level(config)).init();
    log_panics();
}

/// Logs into `log` from now on, and sends standard error there too.
pub(super) fn to_file(config: &LogConfig, log: &LogFile) -> io::Result<()> {
    sys::redirect_stderr(&log.lock().file)?;
    let target = env_logger::Target::Pipe(Box::new(log.clone()));
    env_logger::Builder::new().filter_level(level(config)).target(target).init();
    log_panics();
    Ok(())
}

/// Set where the log is not to say what a panic says, which may quote a name.
static IS_DISCREET: AtomicBool = AtomicBool::new(false);

/// From now on no name from the drive gets into the log: the store is encrypted, and its log is not. So nothing is logged that
/// is finer than `info` either, whatever the settings say: the kernel's requests come with names.
pub(super) fn be_discreet() {
    IS_DISCREET.store(true, Ordering::Relaxed);
    log::set_max_level(log::max_level().min(DISCREET_LEVEL));
}

fn level(config: &LogConfig) -> LevelFilter {
    match IS_DISCREET.load(Ordering::Relaxed) {
        true => config.level.min(DISCREET_LEVEL),
        false => config.level,
    }
}

/// A panic is an event like others: it is logged with its place, and the thread ends.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::force_capture();
        match (IS_DISCREET.load(Ordering::Relaxed), panic.location()) {
            (true, Some(place)) => log::error!("panicked at {place}\n{trace}"),
            (true, None) => log::error!("panicked\n{trace}"),
            (false, _) => log::error!("{panic}\n{trace}"),
        }
    }));
}

impl LogFile {
    /// Opens the log in `dir` for adding to it.
    pub(super) fn open(dir: &Path, len_max: u64) -> io::Result<LogFile> {
        let (path, old) = (dir.join(FILE_NAME), dir.join(OLD_FILE_NAME));
        let file = append(&path)?;
        let len = file.metadata()?.len();
        Ok(LogFile(Arc::new(Mutex::new(State { path, old, file, len, len_max }))))
    }

    /// Begins a new file if the present one was moved away.
    pub(super) fn reopen(&self) -> io::Result<()> {
        self.lock().reopen()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while logging leaves nothing half-done that a later line would mind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl State {
    fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        self.len = self.file.metadata()?.len();
        sys::redirect_stderr(&self.file)
    }

    fn rotate(&mut self) -> io::Result<()> {
        fs::rename(&self.path, &self.old)?;
        self.reopen()
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        if state.len + line.len() as u64 > state.len_max && state.len > 0 {
            // A log that cannot be set aside is written on: better too long than lost.
            let _ = state.rotate();
        }
        state.file.write_all(line)?;
        state.len += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
