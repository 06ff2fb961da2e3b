//! `verso mount` without `--foreground`: a daemon of its own, and a command that returns only when
//! the drive can be used or cannot be had.
//!
//! The daemon is the same program, started anew; its standard output is a pipe on which it reports
//! until the drive is there. Standard error becomes the log. What unlocks an encrypted store comes on its standard input.

use super::logger::{self, LogFile};
use super::plan::Plan;
use super::secrets::Given;
use super::serve::{self, Starter};
use super::{mountpoint, read_settings};
use crate::cli::{Exit, Failure, Waiting, say};
use crate::config::Config;
use crate::crypt::{Secret, SecretKind};
use crate::fs::{self, StoreError};
use crate::sys;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How often a wait shows that it goes on.
const TICK: Duration = Duration::from_millis(100);

/// What the daemon tells the command, one JSON text on each line.
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Say(String),
    Ready,
    Failed { exit: u8, message: String, help: Option<String> },
}

/// Starts a daemon and waits until it is ready.
pub(super) fn start(plan: &Plan, given: &Given) -> Result<(), Failure> {
    let secret = unlock(plan, given)?;
    let mut child = spawn(plan, secret.as_deref()).map_err(|error| {
        Failure::new(Exit::Failure, format!("cannot start the daemon: {error}"))
    })?;
    drop(secret);
    let stdout = child.stdout.take().expect("the daemon was started with a pipe");
    let messages = read_messages(stdout);
    let mut waiting = Waiting::new(format!("opening {}", plan.store.display()));
    loop {
        match messages.recv_timeout(TICK) {
            Ok(Message::Say(line)) => say(&line),
            Ok(Message::Ready) => return Ok(()),
            Ok(Message::Failed { exit, message, help }) => {
                return Err(Failure { exit: Exit::from_code(exit), message, help });
            }
            Err(RecvTimeoutError::Timeout) => waiting.tick(),
            Err(RecvTimeoutError::Disconnected) => return Err(died(&mut child, plan)),
        }
    }
}

/// What unlocks the store, which the daemon has nobody to ask for; `None` where it needs nothing.
fn unlock(plan: &Plan, given: &Given) -> Result<Option<Arc<Secret>>, Failure> {
    match fs::is_encrypted(&plan.store) {
        Ok(true) => {}
        Ok(false) => return given.refuse_for_plain(&plan.store).map(|()| None),
        Err(StoreError::Missing(_)) => {
            let config = read_settings(plan.config.as_deref(), Some(&plan.store))?.config()?;
            return given.refuse_for_none(&plan.store, &config.encryption).map(|()| None);
        }
        // The daemon looks again, and says so.
        Err(_) => return Ok(None),
    }
    // So that nobody types a passphrase for a mount that can't be.
    let mut heard = |line: &str| say(line);
    mountpoint::prepare(&plan.store, &plan.mountpoint, plan.flags.nonempty, &mut heard)?;
    let config = read_settings(plan.config.as_deref(), Some(&plan.store))?.config()?;
    given.secret(&plan.store, &config.encryption)
}

fn spawn(plan: &Plan, secret: Option<&Secret>) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(plan.child_arguments(secret.map(Secret::kind))).stdout(Stdio::piped());
    command.stdin(if secret.is_some() { Stdio::piped() } else { Stdio::null() });
    // Whichever directory the command was given in, the daemon keeps none busy.
    let mut child = command.current_dir("/").spawn()?;
    if let (Some(secret), Some(mut input)) = (secret, child.stdin.take()) {
        // It fits into the pipe. A daemon that ended before it read it says why itself.
        let _ = hand_over(secret, &mut input);
    }
    Ok(child)
}

fn hand_over(secret: &Secret, input: &mut impl Write) -> io::Result<()> {
    input.write_all(secret.bytes())?;
    match secret.kind() {
        // The reader takes one line break off; all others are part of it.
        SecretKind::Typed => input.write_all(b"\r\n"),
        SecretKind::KeyFile => Ok(()),
    }
}

/// Reads on a thread of its own, until the daemon closes the pipe or the command ends.
fn read_messages(stdout: ChildStdout) -> Receiver<Message> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let Ok(message) = serde_json::from_str(&line) else { return };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}

fn died(child: &mut Child, plan: &Plan) -> Failure {
    let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    let log = plan.store.join(logger::FILE_NAME);
    Failure::new(Exit::Failure, format!("the daemon ended before the drive was there ({how})"))
        .help(format!("{} may say why; so does `verso mount --foreground`", log.display()))
}

/// The daemon's side; ends the process when the daemon is done.
pub(super) fn child(plan: &Plan, given: &Given) -> Result<(), Failure> {
    // A process that leads a session already has left its terminal.
    let _ = sys::leave_terminal();
    let mut parent = Parent { waits: true };
    let outcome = serve::serve(plan, given, &mut parent);
    if let (Err(failure), true) = (&outcome, parent.waits) {
        let Failure { exit, message, help } = failure;
        let (message, help) = (message.clone(), help.clone());
        parent.tell(&Message::Failed { exit: *exit as u8, message, help });
        std::process::exit(*exit as i32);
    }
    outcome
}

/// The command that waits on the other side of the pipe.
struct Parent {
    waits: bool,
}

impl Parent {
    fn tell(&self, message: &Message) {
        let line = serde_json::to_string(message).expect("messages are plain text");
        // A command that was interrupted does not hear it; the drive is there all the same.
        let _ = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
    }
}

impl Starter for Parent {
    fn say(&mut self, line: &str) {
        self.tell(&Message::Say(line.to_owned()));
    }

    fn start_log(&mut self, config: &Config, store: &Path) -> io::Result<Option<LogFile>> {
        let log = LogFile::open(store, config.log.file_bytes_max)?;
        logger::to_file(&config.log, &log)?;
        Ok(Some(log))
    }

    fn ready(&mut self) {
        self.tell(&Message::Ready);
        self.waits = false;
    }
}
