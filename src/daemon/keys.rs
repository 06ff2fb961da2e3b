//! `verso key`: what opens an encrypted store. All but a rotation changes the header alone, mounted or not.

use super::secrets::Given;
use super::status::store_of;
use super::waited::waited;
use super::{asking, failed, read_settings, store};
use crate::cli::{
    AddKeyArgs, Exit, Failure, KeyCommand, MountFlags, NewSecretArgs, confirmed, say, show_json,
    show_keys, tell,
};
use crate::config::Config;
use crate::crypt::{RecoveryKey, Secret, SlotKind};
use crate::fs::{self, KeyInfo, NewKey, StoreError};
use crate::model::Zone;
use crate::sys::{self, StoreLock, SystemClock};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// `verso key`
pub(super) fn key(command: &KeyCommand, given: &Given) -> Result<(), Failure> {
    sys::make_private_files();
    match command {
        KeyCommand::List { store, json } => list(store, *json),
        KeyCommand::Add(args) => add(args, given),
        KeyCommand::Remove { store, id, yes } => remove(store, *id, *yes, given),
        KeyCommand::Change(args) => change(args, given),
        KeyCommand::Recovery { store, label } => recovery(store, label, given),
        KeyCommand::Accept { store } => accept(store, given),
        KeyCommand::Rotate { store, drop } => rotate(store, drop, given),
    }
}

/// Where the command says that a new secret is, if it takes one.
pub(super) fn new_secret_args(command: &KeyCommand) -> Option<&NewSecretArgs> {
    match command {
        KeyCommand::Add(args) | KeyCommand::Change(args) => Some(&args.new),
        _ => None,
    }
}

/// An encrypted store that is to be changed, and its keys.
struct Door {
    store: PathBuf,
    config: Config,
    keys: Vec<KeyInfo>,
}

impl Door {
    fn of(path: &Path, given: &Given) -> Result<Door, Failure> {
        let store = store_of(path)?;
        let keys = fs::keys(&store)?;
        let config = read_settings(given.config.as_deref(), Some(&store))?.config()?;
        Ok(Door { store, config, keys })
    }

    fn secret(&self, given: &Given) -> Result<Arc<Secret>, Failure> {
        given.secret_of(&self.store, &self.config.encryption)
    }

    fn new_key(&self, secret: Arc<Secret>, label: String) -> NewKey {
        NewKey { secret, label, unlock_time: self.config.encryption.unlock_time }
    }

    fn find(&self, id: u32) -> Result<&KeyInfo, Failure> {
        let missing = || StoreError::NoSuchKey { path: self.store.clone(), id };
        Ok(self.keys.iter().find(|key| key.id == id).ok_or_else(missing)?)
    }

    /// Stretching passphrases takes its time.
    fn doing<T: Send>(
        &self,
        what: &str,
        work: impl FnOnce() -> Result<T, StoreError> + Send,
    ) -> Result<T, Failure> {
        waited(format!("{what} {}", self.store.display()), || None, || Ok(work()?))
    }
}

fn list(path: &Path, json: bool) -> Result<(), Failure> {
    let store = store_of(path)?;
    let cannot =
        |error: serde_json::Error| failed(Exit::Failure, "cannot show the keys of", &store, &error);
    let keys = serde_json::to_value(fs::keys(&store)?).map_err(cannot)?;
    let shown = if json { show_json(&keys) } else { show_keys(&keys, &Zone::system()) };
    shown.map_err(cannot)
}

fn add(args: &AddKeyArgs, given: &Given) -> Result<(), Failure> {
    let door = Door::of(&args.store, given)?;
    let have = door.secret(given)?;
    let label = args.label.clone().unwrap_or_default();
    let new = door.new_key(given.new_secret(&door.store)?, label);
    let id =
        door.doing("adding a key to", || fs::add_key(&door.store, &have, &new, &SystemClock))?;
    say(&format!("key {id} opens {} from now on", door.store.display()));
    Ok(())
}

fn change(args: &AddKeyArgs, given: &Given) -> Result<(), Failure> {
    let door = Door::of(&args.store, given)?;
    let have = door.secret(given)?;
    let old = door.doing("unlocking", || fs::unlock(&door.store, &have))?;
    let old = door.find(old)?;
    if old.kind == SlotKind::Recovery {
        let store = door.store.display();
        return Err(Failure::new(Exit::Usage, "a recovery key can't be changed").help(format!(
            "set a new passphrase with `verso key add {store}`, and remove the one that is lost"
        )));
    }
    let label = args.label.clone().unwrap_or_else(|| old.label.clone());
    let new = door.new_key(given.new_secret(&door.store)?, label);
    let id = door
        .doing("changing the key of", || fs::change_key(&door.store, &have, &new, &SystemClock))?;
    say(&format!("key {id} opens {} instead of key {}", door.store.display(), old.id));
    Ok(())
}

fn remove(path: &Path, id: u32, yes: bool, given: &Given) -> Result<(), Failure> {
    let door = Door::of(path, given)?;
    let KeyInfo { kind, label, .. } = door.find(id)?;
    if door.keys.len() == 1 {
        return Err(StoreError::LastKey(door.store).into());
    }
    let kind = match kind {
        SlotKind::Passphrase => "a passphrase",
        SlotKind::KeyFile => "a key file",
        SlotKind::Recovery => "a recovery key",
    };
    let label = if label.is_empty() { String::new() } else { format!(", {label:?}") };
    confirmed(yes, &format!("remove key {id} ({kind}{label}) of {}", door.store.display()))?;
    let have = door.secret(given)?;
    door.doing("removing a key from", || fs::remove_key(&door.store, &have, id))?;
    say(&format!("key {id} does not open {} any more", door.store.display()));
    tell("who copied the store's header before can still use it; `verso key rotate` ends that");
    Ok(())
}

fn accept(path: &Path, given: &Given) -> Result<(), Failure> {
    let door = Door::of(path, given)?;
    let have = door.secret(given)?;
    let accepted = door.doing("opening", || fs::accept_header(&door.store, &have, &SystemClock))?;
    let store = door.store.display();
    say(&match accepted {
        true => format!("{store} goes on with this header; `verso key list` shows the keys in it"),
        false => format!("{store} has its newest header; there was nothing to accept"),
    });
    Ok(())
}

fn recovery(path: &Path, label: &str, given: &Given) -> Result<(), Failure> {
    let door = Door::of(path, given)?;
    let have = door.secret(given)?;
    let (id, key) = door.doing("adding a key to", || {
        fs::add_recovery_key(&door.store, &have, label, &SystemClock)
    })?;
    tell(&format!(
        "This is the recovery key of {}, its key {id}. It is shown this once, and is nowhere else.\n\
         Print it or write it down, and keep it where neither fire nor thieves find it with the store.\n\
         It opens the store like a passphrase: type it where one is asked for. Capitals, spaces and dashes\n\
         don't matter, and a mistake is told with its group.",
        door.store.display()
    ));
    print(&key).map_err(|error| {
        Failure::new(Exit::Failure, format!("cannot print the recovery key: {error}"))
            .help(format!("nobody has it: `verso key remove {} {id}`", door.store.display()))
    })
}

/// In one piece, which standard output passes on without keeping any of it.
fn print(key: &RecoveryKey) -> io::Result<()> {
    let text = key.text();
    let mut line = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

fn rotate(path: &Path, drop: &[u32], given: &Given) -> Result<(), Failure> {
    let door = Door::of(path, given)?;
    drop.iter().try_for_each(|id| door.find(*id).map(|_| ()))?;
    if let Ok(Some(pid)) = StoreLock::owner(&door.store) {
        return Err(StoreError::Locked { path: door.store, pid: Some(pid) }.into());
    }
    tell(
        "A new master key: the keys that stay open the store as before. Names, attributes and history are\n\
         encrypted anew now, contents in the background while the store is mounted; `verso status` shows it.",
    );
    let mut secrets = given.all_named()?;
    let mut left = try_rotation(&door, &secrets, drop)?;
    while let Some(id) = left.first() {
        let key = door.find(*id)?;
        let typed = match key.kind {
            SlotKind::KeyFile => None,
            SlotKind::Passphrase | SlotKind::Recovery => asking::slot(&door.store, key)?,
        };
        let slots_left = || StoreError::SlotsLeft { path: door.store.clone(), ids: left.clone() };
        secrets.push(Arc::new(typed.ok_or_else(slots_left)?));
        left.remove(0);
        if left.is_empty() {
            left = try_rotation(&door, &secrets, drop)?;
        }
    }
    say(&format!("{} has a new master key", door.store.display()));
    Ok(())
}

/// The slots that nothing in `secrets` opens; without any it is done.
fn try_rotation(door: &Door, secrets: &[Arc<Secret>], drop: &[u32]) -> Result<Vec<u32>, Failure> {
    if secrets.is_empty() {
        let ids = door.keys.iter().map(|key| key.id).filter(|id| !drop.contains(id));
        let ids: Vec<u32> = ids.collect();
        return match ids.is_empty() {
            true => Err(StoreError::LastKey(door.store.clone()).into()),
            false => Ok(ids),
        };
    }
    let options = store::volume_options(&door.config, &MountFlags::default(), None);
    let clock = Arc::new(SystemClock);
    let what = format!("encrypting {}", door.store.display());
    waited(
        what,
        || None,
        || match fs::rotate(&door.store, secrets, drop, options, clock) {
            Ok(()) => Ok(Vec::new()),
            Err(StoreError::SlotsLeft { ids, .. }) => Ok(ids),
            Err(error) => Err(error.into()),
        },
    )
}
