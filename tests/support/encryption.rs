//! The same tests once more on encrypted stores: where `VERSO_TESTS_KEY_FILE` names a key file, they are made with it.
#![allow(dead_code)] // each test uses its part

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use versofs::crypt::{Secret, SecretKind};
use versofs::fs::NewKey;

/// The key file that encrypted stores are made with, if they are to be.
pub(crate) fn key_file() -> Option<PathBuf> {
    std::env::var_os("VERSO_TESTS_KEY_FILE").map(PathBuf::from)
}

/// What unlocks a store that is opened in this process.
pub(crate) fn secret() -> Option<Arc<Secret>> {
    let file = File::open(key_file()?).unwrap();
    Some(Arc::new(Secret::read(SecretKind::KeyFile, file).unwrap()))
}

/// What a store that is made in this process is encrypted with.
pub(crate) fn new_key() -> Option<NewKey> {
    let label = "tests".to_owned();
    Some(NewKey { secret: secret()?, label, unlock_time: Duration::ZERO })
}

/// Lets `verso` unlock stores.
pub(crate) fn unlock(command: &mut Command) {
    if let Some(file) = key_file() {
        command.env("VERSO_ENCRYPTION__KEY_FILE", file);
    }
}

/// Makes an encrypted store where there is none yet and `verso mount` would make one that is not.
pub(crate) fn make_store(store: &Path) {
    let Some(file) = key_file().filter(|_| !store.join("store.toml").exists()) else { return };
    let mut command = Command::new(env!("CARGO_BIN_EXE_verso"));
    command.args(["init", "--encrypt", "--key-file"]).arg(file).arg(store);
    let made = command.stdin(Stdio::null()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
