//! What a person or a machine has in order to unlock a store.

use super::recovery::{RecoveryKey, Typed};
use crate::sys::Locked;
use std::fmt;
use std::io::{self, Read};
use zeroize::Zeroize;

/// Bytes of a passphrase or key file, at most.
const SECRET_LEN_MAX: usize = 4000;
/// Characters of a new passphrase, at least.
pub const PASSPHRASE_LEN_MIN: usize = 8;
/// Bytes of a key file, at least: it is taken for random, and is not stretched.
const KEY_FILE_LEN_MIN: usize = 32;

/// How a secret came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// Typed, or written down to be read like something typed: a passphrase or a recovery key.
    Typed,
    /// The content of a key file.
    KeyFile,
}

/// Why something can't be a secret.
#[derive(Debug, thiserror::Error)]
pub enum BadSecret {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// Longer than what fits into locked memory.
    #[error("it is longer than {SECRET_LEN_MAX} bytes")]
    TooLong,
    /// A new passphrase that is quickly guessed.
    #[error("a passphrase needs at least {PASSPHRASE_LEN_MIN} characters")]
    PassphraseTooShort,
    /// A file that is quickly guessed.
    #[error(
        "a key file needs at least {KEY_FILE_LEN_MIN} random bytes, as from `head -c 32 /dev/urandom`"
    )]
    KeyFileTooShort,
    /// It can't be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A passphrase, recovery key or the content of a key file, in locked memory, overwritten when it is dropped.
pub struct Secret {
    kind: SecretKind,
    buffer: Locked<Buffer>,
}

struct Buffer {
    bytes: [u8; SECRET_LEN_MAX],
    len: usize,
}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer { bytes: [0; SECRET_LEN_MAX], len: 0 }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl Secret {
    /// Reads all that `source` gives: without the line break at its end, if it was typed.
    ///
    /// # Errors
    /// It can't be one.
    pub fn read(kind: SecretKind, mut source: impl Read) -> Result<Secret, BadSecret> {
        let mut buffer = Locked::<Buffer>::new()?;
        let Buffer { bytes, len } = &mut *buffer;
        loop {
            match source.read(&mut bytes[*len..]) {
                Ok(0) => break,
                Ok(read) => *len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if *len == bytes.len() {
            return Err(BadSecret::TooLong);
        }
        if kind == SecretKind::Typed {
            *len = bytes[..*len].trim_suffix_breaks();
        }
        match (kind, *len) {
            (_, 0) => Err(BadSecret::Empty),
            (SecretKind::KeyFile, ..KEY_FILE_LEN_MIN) => Err(BadSecret::KeyFileTooShort),
            _ => Ok(Secret { kind, buffer }),
        }
    }

    /// How it came to be.
    pub fn kind(&self) -> SecretKind {
        self.kind
    }

    /// The secret bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes[..self.buffer.len]
    }

    /// Whether two are the same: for one that is typed twice.
    pub fn is_same(&self, other: &Secret) -> bool {
        self.bytes() == other.bytes()
    }

    /// What it is as a recovery key.
    pub fn as_recovery_key(&self) -> Typed {
        match self.kind {
            SecretKind::Typed => RecoveryKey::read(self.bytes()),
            SecretKind::KeyFile => Typed::Other,
        }
    }

    /// Looks whether it is good enough to lock with.
    ///
    /// # Errors
    /// It would be guessed quickly.
    pub fn check_strength(&self) -> Result<(), BadSecret> {
        let characters = String::from_utf8_lossy(self.bytes()).chars().count();
        match self.kind {
            SecretKind::Typed if characters < PASSPHRASE_LEN_MIN => {
                Err(BadSecret::PassphraseTooShort)
            }
            SecretKind::Typed | SecretKind::KeyFile => Ok(()),
        }
    }
}

trait TrimBreaks {
    fn trim_suffix_breaks(&self) -> usize;
}

impl TrimBreaks for [u8] {
    /// The length without one line break at the end: what editors and `echo` add.
    fn trim_suffix_breaks(&self) -> usize {
        let trimmed = self.strip_suffix(b"\n").unwrap_or(self);
        trimmed.strip_suffix(b"\r").unwrap_or(trimmed).len()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Result<Secret, BadSecret> {
        Secret::read(SecretKind::Typed, text.as_bytes())
    }

    #[test]
    fn the_line_break_of_a_file_is_no_part_of_a_passphrase() {
        for text in ["my words", "my words\n", "my words\r\n"] {
            assert_eq!(typed(text).unwrap().bytes(), b"my words");
        }
        assert_eq!(typed(" my words \n\n").unwrap().bytes(), b" my words \n");
        let key = Secret::read(SecretKind::KeyFile, &[b'\n'; 40][..]).unwrap();
        assert_eq!(key.bytes().len(), 40);
    }

    #[test]
    fn what_is_quickly_guessed_is_refused() {
        assert!(matches!(typed("\n"), Err(BadSecret::Empty)));
        assert!(matches!(
            typed("1234567").unwrap().check_strength(),
            Err(BadSecret::PassphraseTooShort)
        ));
        assert!(typed("grüße, 8").unwrap().check_strength().is_ok());
        let short = Secret::read(SecretKind::KeyFile, &[7; 31][..]);
        assert!(matches!(short, Err(BadSecret::KeyFileTooShort)));
        assert!(matches!(typed(&"x".repeat(5000)), Err(BadSecret::TooLong)));
    }

    #[test]
    fn it_does_not_show_itself() {
        assert_eq!(format!("{:?}", typed("my words").unwrap()), "Secret { kind: Typed, .. }");
    }
}
