//! A person at the terminal is asked for a passphrase.

use super::secrets::keep;
use super::waited::waited;
use crate::cli::{Exit, Failure};
use crate::crypt::{BadSecret, Secret, SecretKind};
use crate::fs::{self, KeyInfo, StoreError};
use crate::recall::printable;
use crate::sys::Terminal;
use signal_hook::consts::SIGINT;
use std::io;
use std::path::Path;

/// How often a person may try.
const TRIES: usize = 3;

/// What unlocks the store, and was tried; `None` without a terminal.
pub(super) fn known(store: &Path) -> Result<Option<Secret>, Failure> {
    let prompt = format!("passphrase or recovery key of {}: ", store.display());
    tried(store, &prompt, None)
}

/// What opens this key slot of the store; `None` without a terminal.
pub(super) fn slot(store: &Path, key: &KeyInfo) -> Result<Option<Secret>, Failure> {
    let label = if key.label.is_empty() {
        String::new()
    } else {
        format!(" ({})", printable(Path::new(&key.label)))
    };
    let what = format!("what opens key {}{label} of {}: ", key.id, store.display());
    tried(store, &what, Some(key.id))
}

/// Asks until something opens the store, and the slot `wanted` if one is named.
fn tried(store: &Path, prompt: &str, wanted: Option<u32>) -> Result<Option<Secret>, Failure> {
    let Ok(mut terminal) = Terminal::open() else { return Ok(None) };
    let mut last = Failure::from(StoreError::WrongKey(store.to_owned()));
    for _ in 0..TRIES {
        let outcome = match typed(&mut terminal, prompt)? {
            Ok(secret) => try_it(store, secret, wanted)?,
            Err(bad) => Err(Failure::new(Exit::Key, bad.to_string())),
        };
        match outcome {
            Ok(secret) => return Ok(Some(secret)),
            Err(failure) => {
                say(&mut terminal, &failure.message)?;
                last = failure;
            }
        }
    }
    Err(last)
}

/// The inner error is one for which it is worth trying again.
fn try_it(
    store: &Path,
    secret: Secret,
    wanted: Option<u32>,
) -> Result<Result<Secret, Failure>, Failure> {
    let unlock = || Ok(fs::unlock(store, &secret));
    match waited(format!("unlocking {}", store.display()), || None, unlock)? {
        Ok(id) if wanted.is_none_or(|wanted| wanted == id) => Ok(Ok(secret)),
        Ok(id) => Ok(Err(Failure::new(Exit::Key, format!("that opens key {id}")))),
        Err(error @ (StoreError::WrongKey(_) | StoreError::Mistyped { .. })) => {
            Ok(Err(error.into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// A new passphrase, typed twice; `None` without a terminal.
pub(super) fn new(store: &Path) -> Result<Option<Secret>, Failure> {
    let Ok(mut terminal) = Terminal::open() else { return Ok(None) };
    let mut last = String::new();
    for _ in 0..TRIES {
        match twice(&mut terminal, store)? {
            Ok(secret) => return Ok(Some(secret)),
            Err(why) => {
                say(&mut terminal, &why)?;
                last = why;
            }
        }
    }
    Err(Failure::new(Exit::Key, format!("no new passphrase: {last}")))
}

fn twice(terminal: &mut Terminal, store: &Path) -> Result<Result<Secret, String>, Failure> {
    let prompt = format!("new passphrase of {}: ", store.display());
    let first = match typed(terminal, &prompt)? {
        Ok(secret) => secret,
        Err(bad) => return Ok(Err(bad.to_string())),
    };
    if let Err(weak) = first.check_strength() {
        return Ok(Err(weak.to_string()));
    }
    let second = typed(terminal, "the same once more: ")?;
    match second.is_ok_and(|second| second.is_same(&first)) {
        true => Ok(Ok(first)),
        false => Ok(Err("these were not the same".to_owned())),
    }
}

/// The inner error: what was typed can't be a secret.
fn typed(terminal: &mut Terminal, prompt: &str) -> Result<Result<Secret, BadSecret>, Failure> {
    keep();
    let answer = terminal.ask_hidden(prompt, |line| Secret::read(SecretKind::Typed, line));
    answer.map_err(|error| gone(&error))?.ok_or_else(interrupted)
}

fn say(terminal: &mut Terminal, line: &str) -> Result<(), Failure> {
    terminal.say(line).map_err(|error| gone(&error))
}

fn gone(error: &io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("cannot ask at the terminal: {error}"))
}

/// What Ctrl-C would have done had the terminal not been set to hide what is typed. Where signals are listened to, it goes on
/// from here.
fn interrupted() -> Failure {
    match signal_hook::low_level::raise(SIGINT) {
        Ok(()) | Err(_) => Failure::new(Exit::Failure, "interrupted"),
    }
}
