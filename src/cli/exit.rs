//! How a command ends: its exit code, and its last words when it failed.

use crate::config::ConfigError;
use std::fmt;

/// The codes, for `--help` and the manual; a test holds it against [`Exit`].
pub(super) const TABLE: &str = "\
Exit codes:
  0  done
  1  failed; the message says what and why
  2  wrong usage or wrong settings
  3  the store is in use by another process
  4  check found damage
  5  the store cannot be used: missing, no store, unwritable, damaged, or of a newer version
  6  the mount point cannot be used, or is busy
  7  the store is encrypted, and what would unlock it is missing or wrong
  8  status found something that needs attention";

/// The codes with which a command exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Anything that has no code of its own.
    Failure = 1,
    /// Wrong usage or wrong settings.
    Usage = 2,
    /// Another process has the store.
    Locked = 3,
    /// `check` found damage.
    Damage = 4,
    /// The store cannot be used.
    Store = 5,
    /// The mount point cannot be used, or is busy.
    Mountpoint = 6,
    /// The store is encrypted, and what would unlock it is missing or wrong.
    Key = 7,
    /// `status` found something that needs attention.
    Attention = 8,
}

impl Exit {
    /// All of them.
    pub const ALL: [Exit; 8] = [
        Exit::Failure,
        Exit::Usage,
        Exit::Locked,
        Exit::Damage,
        Exit::Store,
        Exit::Mountpoint,
        Exit::Key,
        Exit::Attention,
    ];

    /// The one with this number; unknown numbers are a plain failure.
    pub fn from_code(code: u8) -> Exit {
        Exit::ALL.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Exit::Failure)
    }
}

/// A command failed: what happened to which path, and what to do about it.
#[derive(Debug)]
pub struct Failure {
    /// With which code the process exits.
    pub exit: Exit,
    /// What happened, with the path.
    pub message: String,
    /// What to do, where there is something.
    pub help: Option<String>,
}

impl Failure {
    /// A failure without advice.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), help: None }
    }

    /// The same failure with advice.
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.message)?;
        match &self.help {
            Some(help) => write!(out, "\n  help: {}", help.replace('\n', "\n        ")),
            None => Ok(()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        let help = match &error {
            ConfigError::Read { .. } => "name a settings file that exists and can be read",
            ConfigError::File { .. } | ConfigError::Invalid { .. } => {
                "correct the value; `verso config show` prints all settings with their defaults"
            }
            ConfigError::Exposed { .. } => "only its owner may be able to read a file with secrets",
            ConfigError::Variable { .. } => {
                "correct or unset it; settings are VERSO_SECTION__KEY, see `verso config show`"
            }
        };
        Failure::new(Exit::Usage, error.to_string()).help(help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_code() {
        for exit in Exit::ALL {
            assert!(TABLE.contains(&format!("\n  {}  ", exit as u8)));
            assert_eq!(Exit::from_code(exit as u8), exit);
        }
        assert_eq!(TABLE.lines().count(), Exit::ALL.len() + 2);
    }

    #[test]
    fn advice_stands_below_the_message() {
        let failure = Failure::new(Exit::Failure, "it broke").help("mend it\nor leave it");
        assert_eq!(failure.to_string(), "it broke\n  help: mend it\n        or leave it");
    }
}
