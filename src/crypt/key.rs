//! Keys, and what is derived from them.

use super::sealed::{OneUse, Salt};
use std::fmt;
use zeroize::Zeroize;

/// What a derived key is for. Keys for different purposes have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// All records of a pack. Context: store id, number of the pack.
    Pack,
    /// A record of a pack. Context: its offset.
    Record,
    /// The footer of a pack. Context: its offset.
    Footer,
    /// The trailer of a pack. Context: the length of the file.
    Trailer,
    /// All pages of the metadata. Context: store id.
    Metadata,
    /// A page of the database. Context: its number.
    Page,
    /// A page in the database's log. Context: its place in the log, and what else its frame says.
    LogPage,
    /// The wrapping of a key. Context: store id, and which key.
    Wrap,
    /// A key that wraps, from a file or a recovery key. Context: store id, salt.
    Slot,
    /// The authentication of the store's header.
    Header,
}

impl Purpose {
    /// A label that is written into the derivation: never to be changed.
    fn label(self) -> &'static [u8] {
        match self {
            Purpose::Pack => b"pack",
            Purpose::Record => b"record",
            Purpose::Footer => b"footer",
            Purpose::Trailer => b"trailer",
            Purpose::Metadata => b"metadata",
            Purpose::Page => b"page",
            Purpose::LogPage => b"log page",
            Purpose::Wrap => b"wrap",
            Purpose::Slot => b"slot",
            Purpose::Header => b"header",
        }
    }
}

/// 32 secret bytes, overwritten when they are dropped. Those that live long belong into `sys::Locked`.
#[derive(Default)]
pub struct Key([u8; 32]);

impl Key {
    /// A key of random bytes, where it is to stay.
    pub fn randomize(&mut self) {
        fill_random(&mut self.0);
    }

    /// Makes it the key with these bytes.
    pub fn set(&mut self, bytes: &[u8; 32]) {
        self.0.copy_from_slice(bytes);
    }

    /// The secret bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for a purpose; other contexts have other keys.
    ///
    /// Keyed BLAKE3 of the purpose and each piece of the context, each after its length (1 byte, and 4 bytes little endian).
    pub fn derive(&self, purpose: Purpose, context: &[&[u8]]) -> Key {
        let label = purpose.label();
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[label.len() as u8]).update(label);
        for piece in context {
            hasher.update(&(piece.len() as u32).to_le_bytes()).update(piece);
        }
        let mut hash = hasher.finalize();
        let key = Key(*hash.as_bytes());
        hasher.zeroize();
        hash.zeroize();
        key
    }

    /// What proves that who made it had this key and these bytes: keyed BLAKE3, hexadecimal.
    pub fn mac(&self, bytes: &[u8]) -> String {
        blake3::keyed_hash(&self.0, bytes).to_string()
    }

    /// The key for one message, with which `salt` is stored.
    pub fn one_use(&self, purpose: Purpose, context: &[u8], salt: &Salt) -> OneUse {
        OneUse::new(&self.derive(purpose, &[context, salt]))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Random bytes that nobody can guess, from aws-lc's generator, which the kernel's seeds.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}

/// The BLAKE3 of something that is no secret, hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_string()
}

fn fill_random(bytes: &mut [u8]) {
    // It reads the kernel's generator, which can't fail once the machine has started; without it nothing may go on.
    aws_lc_rs::rand::fill(bytes).expect("the kernel gives random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_contexts_keep_keys_apart() {
        let key = Key([7; 32]);
        let derived = [
            key.derive(Purpose::Pack, &[]),
            key.derive(Purpose::Record, &[]),
            key.derive(Purpose::Pack, &[b""]),
            key.derive(Purpose::Pack, &[b"ab", b"c"]),
            key.derive(Purpose::Pack, &[b"a", b"bc"]),
            Key([8; 32]).derive(Purpose::Pack, &[]),
        ];
        for (i, one) in derived.iter().enumerate() {
            assert!(derived[i + 1..].iter().all(|other| other.bytes() != one.bytes()), "{i}");
        }
    }

    #[test]
    fn the_derivation_never_changes() {
        let derived = Key([7; 32]).derive(Purpose::Pack, &[b"store", &[1, 0, 0, 0]]);
        let message = b"\x04pack\x05\0\0\0store\x04\0\0\0\x01\0\0\0";
        assert_eq!(derived.bytes(), blake3::keyed_hash(&[7; 32], message).as_bytes());
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", Key([7; 32])), "Key(..)");
    }
}
