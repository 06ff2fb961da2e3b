//! What unlocks an encrypted store: the options that say where it is, and `verso key`.

use super::output::say;
use crate::config::format_bytes;
use crate::model::{Moment, Zone, local_name};
use clap::{Args, Subcommand};
use serde::Deserialize;
use std::path::PathBuf;

/// Where the secret is that unlocks the store.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options for encrypted stores")]
pub struct SecretArgs {
    /// Read the passphrase, or the recovery key, from a file
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Vec<PathBuf>,
    /// Read the passphrase, or the recovery key, from an open file descriptor
    #[arg(long, global = true, value_name = "NUMBER")]
    pub passphrase_fd: Vec<i32>,
    /// Use the content of this file as the key
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Vec<PathBuf>,
}

/// Where a new secret is; without any the terminal is asked.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct NewSecretArgs {
    /// Read the new passphrase from a file
    #[arg(long, value_name = "FILE")]
    pub new_passphrase_file: Option<PathBuf>,
    /// Read the new passphrase from an open file descriptor
    #[arg(long, value_name = "NUMBER")]
    pub new_passphrase_fd: Option<i32>,
    /// Use the content of this file as the new key: at least 32 random bytes
    #[arg(long, value_name = "FILE")]
    pub new_key_file: Option<PathBuf>,
}

pub(super) const INIT_EXAMPLES: &str = "\
Examples:
  verso init /srv/verso-store
  verso init --encrypt /srv/verso-store                    (asks for a passphrase)
  verso init --encrypt --key-file /root/verso.key /srv/verso-store";

const ADD_EXAMPLES: &str = "\
Examples:
  verso key add ~/Verso --label anna               (asks for a passphrase of yours, then for hers)
  head -c 32 /dev/urandom > /root/verso.key && chmod 600 /root/verso.key
  verso key add /srv/verso-store --new-key-file /root/verso.key";

const RECOVERY_EXAMPLES: &str = "\
Examples:
  verso key recovery ~/Verso
  verso key recovery ~/Verso | lp                  (the key only, on paper)";

const ROTATE_EXAMPLES: &str = "\
Examples:
  verso key rotate /srv/verso-store
  verso key rotate /srv/verso-store --drop 3 --passphrase-file anna.txt --key-file /root/verso.key";

/// `verso key`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys that open a store; needs none of them
    #[command(after_help = "Example:\n  verso key list ~/Verso")]
    List {
        /// The store, or anything on its mounted drive
        store: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let one more passphrase or key file open the store
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddKeyArgs),
    /// Take a key away; the last one stays
    ///
    /// Who has used it may have kept a copy of the store's header, and with it opens whatever they can read of the store:
    /// `verso key rotate` ends that.
    #[command(after_help = "Example:\n  verso key remove ~/Verso 3")]
    Remove {
        /// The store, or anything on its mounted drive
        store: PathBuf,
        /// Its number, as `verso key list` shows it
        id: u32,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
    /// Replace the passphrase or key file that you give by another one
    #[command(after_help = "Example:\n  verso key change ~/Verso")]
    Change(AddKeyArgs),
    /// Make a recovery key, and print it this once
    ///
    /// It opens the store like a passphrase: type it where one is asked for. On standard output is nothing but the key.
    #[command(after_help = RECOVERY_EXAMPLES)]
    Recovery {
        /// The store, or anything on its mounted drive
        store: PathBuf,
        /// Whose it is, or where it is kept
        #[arg(long, value_name = "TEXT", default_value = "")]
        label: String,
    },
    /// Go on with an old header that was put back, because the newer one is lost
    ///
    /// An earlier `store.toml` is refused, since somebody may have put it back whose key was removed. All keys in it open the store
    /// again: look through them afterwards with `verso key list`. The store must not be mounted.
    #[command(after_help = "Example:\n  verso key accept /srv/verso-store")]
    Accept {
        /// The store
        store: PathBuf,
    },
    /// Encrypt the store with a new master key
    ///
    /// For when somebody left, or a key may have come into the wrong hands. The passphrases and keys that stay must all be given,
    /// by --passphrase-file, --passphrase-fd and --key-file (as often as needed), or at the terminal; those that go are named with
    /// --drop. Names, attributes and history are encrypted anew at once, contents in the background while the store is mounted:
    /// `verso status` shows when that is done. The store must not be mounted meanwhile.
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate {
        /// The store
        store: PathBuf,
        /// A key that goes, by its number
        #[arg(long, value_name = "ID")]
        drop: Vec<u32>,
    },
}

/// `verso key add` and `verso key change`
#[derive(Args, Debug)]
pub struct AddKeyArgs {
    /// The store, or anything on its mounted drive
    pub store: PathBuf,
    /// The new key
    #[command(flatten)]
    pub new: NewSecretArgs,
    /// Whose it is, or what for; shown by `verso key list`
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
}

/// A key, as `fs` tells it.
#[derive(Debug, Deserialize)]
struct Key {
    id: u32,
    kind: String,
    label: String,
    /// Seconds since 1970.
    made: i64,
    argon2id: Option<Stretching>,
}

#[derive(Debug, Deserialize)]
struct Stretching {
    memory_kib: u64,
    passes: u32,
}

/// Prints the keys of a store for people.
pub fn show_keys(keys: &serde_json::Value, zone: &Zone) -> Result<(), serde_json::Error> {
    say(&to_text(&Vec::deserialize(keys)?, zone));
    Ok(())
}

fn to_text(keys: &[Key], zone: &Zone) -> String {
    let mut lines =
        vec![format!("{:<5}{:<13}{:<21}{:<24}label", "key", "kind", "made", "argon2id")];
    for Key { id, kind, label, made, argon2id } in keys {
        let made = local_name(Moment(made.saturating_mul(1_000_000_000)), zone);
        let work = argon2id.as_ref().map_or("-".to_owned(), |stretching| {
            let memory = format_bytes(stretching.memory_kib << 10);
            format!("{memory}, {} passes", stretching.passes)
        });
        let label = crate::recall::printable(std::path::Path::new(label));
        let line = format!("{id:<5}{kind:<13}{made:<21}{work:<24}{label}");
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_a_table() {
        let keys = serde_json::json!([
            { "id": 1, "kind": "passphrase", "label": "anna\u{1b}", "made": 0,
              "argon2id": { "memory_kib": 262_144, "passes": 3 } },
            { "id": 12, "kind": "recovery", "label": "", "made": 60, "argon2id": null }
        ]);
        let text = to_text(&Vec::deserialize(&keys).unwrap(), &Zone::UTC);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("1    passphrase   1970-01-01 00:00:00  256 MiB, 3 passes"));
        assert!(lines[1].contains("anna") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(lines[2], "12   recovery     1970-01-01 00:01:00  -");
    }
}
