//! `verso mount` without `--foreground`: a daemon of its own, and a command that returns only when
//! the drive can be used or cannot be had.
//!
//! The daemon is the same program, started anew; its standard output is a pipe on which it reports
//! until the drive is there. Standard error becomes the log.

use super::logger::{self, LogFile};
use super::plan::Plan;
use super::serve::{self, Starter};
use crate::cli::{Exit, Failure, Waiting, say};
use crate::config::Config;
use crate::sys;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
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
pub(super) fn start(plan: &Plan) -> Result<(), Failure> {
    let mut child = spawn(plan).map_err(|error| {
        Failure::new(Exit::Failure, format!("cannot start the daemon: {error}"))
    })?;
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

fn spawn(plan: &Plan) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(plan.child_arguments()).stdin(Stdio::null()).stdout(Stdio::piped());
    // Whichever directory the command was given in, the daemon keeps none busy.
    command.current_dir("/").spawn()
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
pub(super) fn child(plan: &Plan) -> Result<(), Failure> {
    // A process that leads a session already has left its terminal.
    let _ = sys::leave_terminal();
    let mut parent = Parent { waits: true };
    let outcome = serve::serve(plan, &mut parent);
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
