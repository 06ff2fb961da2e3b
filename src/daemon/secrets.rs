//! What unlocks an encrypted store: from the command line, a systemd credential, the settings, or a person at the terminal, in
//! this order. It is read straight into locked memory, and from there goes nowhere but to a daemon's standard input.

use super::asking;
use super::failed;
use crate::cli::{Exit, Failure, MountFlags, NewSecretArgs, PipedSecret, SecretArgs, warn};
use crate::config::EncryptionConfig;
use crate::crypt::{Secret, SecretKind};
use crate::fs::{self, StoreError};
use crate::sys::{self, StoreLock};
use parking_lot::Mutex;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

/// Where systemd puts what the unit loads.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// What may be there, and the first of these counts.
const CREDENTIALS: [(&str, SecretKind); 2] =
    [("verso.passphrase", SecretKind::Typed), ("verso.key", SecretKind::KeyFile)];

/// What is said in short where nothing was given.
const WAYS: &str = "give it with --passphrase-file, --passphrase-fd or --key-file, as a systemd credential \
                    (verso.passphrase, verso.key), in the section [encryption] of the settings, or at a terminal";

/// A place where a secret is.
enum Source {
    File(SecretKind, PathBuf),
    /// A credential: nobody else can read it, whatever its mode says.
    Credential(SecretKind, PathBuf),
    /// By its number.
    Descriptor(i32, File),
}

/// What a command was given, for settings and for secrets.
pub(super) struct Given {
    /// The settings file, where one was named.
    pub(super) config: Option<PathBuf>,
    named: Vec<Source>,
    new: Option<Source>,
    credentials: Option<PathBuf>,
    /// It comes from the command that started this daemon.
    piped: Option<SecretKind>,
    /// What was read or typed already.
    found: Mutex<Option<Arc<Secret>>>,
}

impl Given {
    /// Takes what the process was started with; to be called before anything else is done.
    ///
    /// # Errors
    /// A descriptor that isn't there.
    pub(super) fn new(
        config: Option<PathBuf>,
        secrets: &SecretArgs,
        new: Option<&NewSecretArgs>,
    ) -> Result<Given, Failure> {
        let credentials = sys::take_variable(CREDENTIALS_VARIABLE).map(PathBuf::from);
        let new_fd = new.and_then(|new| new.new_passphrase_fd);
        let numbers: Vec<i32> = secrets.passphrase_fd.iter().copied().chain(new_fd).collect();
        let files = sys::take_descriptors(&numbers).map_err(|(number, error)| {
            let message = format!("cannot use the file descriptor {number}: {error}");
            Failure::new(Exit::Usage, message)
        })?;
        let mut open: Vec<Source> = numbers
            .into_iter()
            .zip(files)
            .map(|(number, file)| Source::Descriptor(number, file))
            .collect();
        let new_open = if new_fd.is_some() { open.pop() } else { None };
        let typed = secrets.passphrase_file.iter().map(|file| (SecretKind::Typed, file));
        let keys = secrets.key_file.iter().map(|file| (SecretKind::KeyFile, file));
        let files = typed.chain(keys).map(|(kind, file)| Source::File(kind, file.clone()));
        Ok(Given {
            config,
            named: files.chain(open).collect(),
            new: new_open.or_else(|| new.and_then(new_file)),
            credentials,
            piped: None,
            found: Mutex::default(),
        })
    }

    /// The same with what mount options name.
    pub(super) fn with_flags(mut self, flags: &MountFlags) -> Given {
        let typed = flags.passphrase_file.iter().map(|file| (SecretKind::Typed, file));
        let keys = flags.key_file.iter().map(|file| (SecretKind::KeyFile, file));
        let files = typed.chain(keys).map(|(kind, file)| Source::File(kind, file.clone()));
        self.named.extend(files);
        self
    }

    /// The same for a daemon to which the command that started it says everything.
    pub(super) fn piped(self, piped: Option<PipedSecret>) -> Given {
        let piped = piped.map(|kind| match kind {
            PipedSecret::Passphrase => SecretKind::Typed,
            PipedSecret::Key => SecretKind::KeyFile,
        });
        Given { named: Vec::new(), credentials: None, piped, ..self }
    }

    /// What unlocks a store that is not in use; `None` for one that isn't encrypted.
    ///
    /// # Errors
    /// There is nothing; it can't be read; it was given for this store and that isn't encrypted; the store is in use.
    pub(super) fn secret(
        &self,
        store: &Path,
        settings: &EncryptionConfig,
    ) -> Result<Option<Arc<Secret>>, Failure> {
        if !fs::is_encrypted(store)? {
            self.refuse_for_plain(store)?;
            return Ok(None);
        }
        refuse_in_use(store)?;
        self.secret_of(store, settings).map(Some)
    }

    /// What unlocks an encrypted store.
    ///
    /// # Errors
    /// As [`Given::secret`].
    pub(super) fn secret_of(
        &self,
        store: &Path,
        settings: &EncryptionConfig,
    ) -> Result<Arc<Secret>, Failure> {
        if let Some(found) = &*self.found.lock() {
            return Ok(Arc::clone(found));
        }
        let secret = match self.only_source(settings)? {
            _ if self.piped.is_some() => self.read_piped()?,
            Some(source) => source.read()?,
            None => asking::known(store)?.ok_or_else(|| needed(store))?,
        };
        let secret = Arc::new(secret);
        *self.found.lock() = Some(Arc::clone(&secret));
        Ok(secret)
    }

    /// Lets go of what was found: a daemon that has opened its store needs it no more.
    pub(super) fn forget(&self) {
        *self.found.lock() = None;
    }

    /// Everything that the command line names; a person is not asked.
    pub(super) fn all_named(&self) -> Result<Vec<Arc<Secret>>, Failure> {
        self.named.iter().map(|source| source.read().map(Arc::new)).collect()
    }

    /// What is to unlock a store that is being made, and in words where it is from.
    pub(super) fn first_secret(
        &self,
        store: &Path,
        settings: &EncryptionConfig,
    ) -> Result<(Arc<Secret>, String), Failure> {
        let (secret, place) = match self.only_source(settings)? {
            Some(source) => (source.read()?, source.to_string()),
            None => {
                let typed = asking::new(store)?.ok_or_else(|| needed(store))?;
                (typed, "the passphrase that was typed".to_owned())
            }
        };
        Ok((Arc::new(secret), place))
    }

    /// What is to unlock a store beside, or instead of, what does now.
    pub(super) fn new_secret(&self, store: &Path) -> Result<Arc<Secret>, Failure> {
        match &self.new {
            Some(source) => source.read().map(Arc::new),
            None => asking::new(store)?.map(Arc::new).ok_or_else(|| {
                Failure::new(Exit::Key, "there is no terminal to ask for the new passphrase").help(
                    "--new-passphrase-file, --new-passphrase-fd or --new-key-file say where it is",
                )
            }),
        }
    }

    /// Fails if something was given for a store that isn't encrypted: it would be taken for what it is not. (Settings may hold for
    /// several stores.)
    pub(super) fn refuse_for_plain(&self, store: &Path) -> Result<(), Failure> {
        if self.named.is_empty() && self.credential().is_none() {
            return Ok(());
        }
        let message = format!(
            "{}: the store is not encrypted, and something to unlock it was given",
            store.display()
        );
        Err(Failure::new(Exit::Usage, message)
            .help("make sure that it is the right store, or leave what was given out"))
    }

    /// Fails if something was given, or is in the settings, for a store that would be made, and not be encrypted: a disk may not be
    /// mounted where the encrypted one is expected.
    pub(super) fn refuse_for_none(
        &self,
        store: &Path,
        settings: &EncryptionConfig,
    ) -> Result<(), Failure> {
        if self.named.is_empty() && self.credential().is_none() && of_settings(settings).is_none() {
            return Ok(());
        }
        let store = store.display();
        Err(Failure::new(Exit::Store, format!("{store}: there is no store that could be unlocked"))
            .help(format!("`verso init --encrypt {store}` makes one")))
    }

    /// What comes first of the command line, a credential and the settings.
    fn only_source(&self, settings: &EncryptionConfig) -> Result<Option<Source>, Failure> {
        match &self.named[..] {
            [] => Ok(self.credential().or_else(|| of_settings(settings))),
            [source] => source.again().map(Some),
            [_, ..] => Err(Failure::new(
                Exit::Usage,
                "only one of --passphrase-file, --passphrase-fd and --key-file can be given here",
            )),
        }
    }

    fn credential(&self) -> Option<Source> {
        let dir = self.credentials.as_deref()?;
        let found = CREDENTIALS.iter().map(|(name, kind)| (dir.join(name), *kind));
        let (path, kind) = found.into_iter().find(|(path, _)| path.exists())?;
        Some(Source::Credential(kind, path))
    }

    fn read_piped(&self) -> Result<Secret, Failure> {
        let kind = self.piped.unwrap_or(SecretKind::Typed);
        keep();
        let unreadable = |error: &dyn std::fmt::Display| {
            let message = format!("cannot read what unlocks the store from the command: {error}");
            Failure::new(Exit::Failure, message)
        };
        let input = sys::take_stdin().map_err(|error| unreadable(&error))?;
        Secret::read(kind, input).map_err(|error| unreadable(&error))
    }
}

fn new_file(new: &NewSecretArgs) -> Option<Source> {
    let typed = new.new_passphrase_file.as_ref().map(|file| (SecretKind::Typed, file));
    let (kind, file) =
        typed.or_else(|| new.new_key_file.as_ref().map(|file| (SecretKind::KeyFile, file)))?;
    Some(Source::File(kind, file.clone()))
}

fn of_settings(settings: &EncryptionConfig) -> Option<Source> {
    let typed = settings.passphrase_file.as_ref().map(|file| (SecretKind::Typed, file));
    let (kind, file) =
        typed.or_else(|| settings.key_file.as_ref().map(|file| (SecretKind::KeyFile, file)))?;
    Some(Source::File(kind, file.clone()))
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(SecretKind::Typed, path) | Source::Credential(SecretKind::Typed, path) => {
                write!(out, "the passphrase in {}", path.display())
            }
            Source::File(SecretKind::KeyFile, path)
            | Source::Credential(SecretKind::KeyFile, path) => {
                write!(out, "the key file {}", path.display())
            }
            Source::Descriptor(number, _) => {
                write!(out, "the passphrase from file descriptor {number}")
            }
        }
    }
}

impl Source {
    fn again(&self) -> Result<Source, Failure> {
        Ok(match self {
            Source::File(kind, path) => Source::File(*kind, path.clone()),
            Source::Credential(kind, path) => Source::Credential(*kind, path.clone()),
            Source::Descriptor(number, file) => {
                let file = file.try_clone().map_err(|error| {
                    Failure::new(Exit::Failure, format!("file descriptor {number}: {error}"))
                })?;
                Source::Descriptor(*number, file)
            }
        })
    }

    /// Reads it straight into locked memory.
    fn read(&self) -> Result<Secret, Failure> {
        keep();
        let (path, kind) = match self {
            Source::Descriptor(number, file) => {
                return Secret::read(SecretKind::Typed, file).map_err(|error| {
                    let message = format!("cannot use the file descriptor {number}: {error}");
                    Failure::new(Exit::Key, message)
                });
            }
            Source::File(kind, path) | Source::Credential(kind, path) => (path, *kind),
        };
        let unusable = |error: &dyn std::fmt::Display| failed(Exit::Key, "cannot use", path, error);
        let file = File::open(path).map_err(|error| {
            let failure = unusable(&error);
            match (kind, error.kind()) {
                (SecretKind::KeyFile, io::ErrorKind::NotFound) => failure.help(
                    "a new key: `(umask 077; head -c 32 /dev/urandom > FILE)`; keep a copy elsewhere",
                ),
                _ => failure,
            }
        })?;
        if matches!(self, Source::File(..)) {
            warn_of_readers(path, &file);
        }
        Secret::read(kind, &file).map_err(|error| unusable(&error))
    }
}

/// Before the first secret is read: nothing of this process's memory gets into a file.
pub(super) fn keep() {
    static FORBIDDEN: Once = Once::new();
    FORBIDDEN.call_once(|| {
        if let Err(error) = sys::forbid_core_dumps() {
            warn(&format!("a crash may leave keys in a core dump: {error}"));
        }
    });
}

fn warn_of_readers(path: &Path, file: &File) {
    let others = |mode: u32| mode & 0o077 != 0;
    let is_open = |seen: std::fs::Metadata| seen.is_file() && others(seen.permissions().mode());
    if file.metadata().is_ok_and(is_open) {
        let shown = path.display();
        warn(&format!("{shown} is open to others than its owner; `chmod 600 {shown}`"));
    }
}

/// So that nobody types a passphrase in vain.
fn refuse_in_use(store: &Path) -> Result<(), Failure> {
    match StoreLock::owner(store) {
        Ok(Some(pid)) => Err(StoreError::Locked { path: store.to_owned(), pid: Some(pid) }.into()),
        // What is wrong with the lock is told by who takes it.
        Ok(None) | Err(_) => Ok(()),
    }
}

fn needed(store: &Path) -> Failure {
    StoreError::KeyNeeded(store.to_owned()).into()
}

/// What to do where the error does not say it itself.
pub(super) fn advice(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::KeyNeeded(_) => Some(WAYS),
        StoreError::WrongKey(_) => Some("`verso key list` shows which keys open it"),
        StoreError::Mistyped { .. } => Some("compare that group with the printed key"),
        StoreError::SlotsLeft { .. } => Some(
            "give what opens them as well (--passphrase-file, --passphrase-fd, --key-file), or let go of them with --drop",
        ),
        StoreError::NoSuchKey { .. } => Some("`verso key list` shows their numbers"),
        _ => None,
    }
}
