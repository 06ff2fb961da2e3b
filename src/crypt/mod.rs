//! Keys and sealing: the only room that knows a cipher. What is sealed with it, and where it lies, is for others to know.
//!
//! Everything is sealed with AES-256-GCM (aws-lc), each message with a key of its own: derived (keyed BLAKE3) from a longer
//! living key, what the message is and where it belongs, and a random salt that is stored with it. So nonces never meet,
//! however much is written; and what was moved to another place doesn't open. The method is that of XAES-256-GCM (C2SP) and of
//! the derive-key modes of AES-GCM (RFC 9771, section 4), with BLAKE3 for the derivation.

mod key;
mod keyring;
mod recovery;
mod sealed;
mod secret;
mod slot;

pub use key::{Key, Purpose, digest, random};
pub use keyring::Keyring;
pub use recovery::{RecoveryKey, Typed};
pub use sealed::{Forged, OneUse, SALT_LEN, Salt, TAG_LEN, open, seal};
pub use secret::{BadSecret, PASSPHRASE_LEN_MIN, Secret, SecretKind};
pub use slot::{Slot, SlotKey, SlotKind, SlotPlace, Stretching, to_hex, unwrap_key, wrap_key};
