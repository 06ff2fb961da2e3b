//! Sealing: AES-256-GCM with a key that is used for one message.

use super::key::{Key, Purpose, random};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes that are stored beside a message so that its key can be derived.
pub const SALT_LEN: usize = 16;
/// Bytes by which a sealed part is longer than what is in it.
pub const TAG_LEN: usize = 16;

/// What makes the key of a message its own. Random.
pub type Salt = [u8; SALT_LEN];

/// What was to be opened is not what was sealed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not what was sealed here")]
pub struct Forged;

/// The key of one message, which may consist of several parts.
pub struct OneUse(LessSafeKey);

impl OneUse {
    pub(super) fn new(key: &Key) -> OneUse {
        // The length is the only thing that can be wrong.
        let key = UnboundKey::new(&AES_256_GCM, key.bytes()).expect("the key has 32 bytes");
        OneUse(LessSafeKey::new(key))
    }

    /// Encrypts a part of the message where it is, and returns its tag. Each number is for one part only.
    pub fn seal(&self, part: u32, bytes: &mut [u8]) -> [u8; TAG_LEN] {
        let tag = self.0.seal_in_place_separate_tag(nonce(part), Aad::empty(), bytes);
        // GCM's limit of 64 GiB is far beyond what is sealed in one part.
        let tag = tag.expect("a part is no longer than what AES-GCM can seal");
        let mut result = [0; TAG_LEN];
        result.copy_from_slice(tag.as_ref());
        result
    }

    /// Decrypts a part where it is.
    ///
    /// # Errors
    /// `Forged` if it isn't what was sealed as this part; `bytes` then hold nothing of use.
    pub fn open(&self, part: u32, bytes: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
        let opened = self.0.open_in_place_separate_tag(nonce(part), Aad::empty(), tag, bytes);
        opened.map(drop).map_err(|_| Forged)
    }
}

/// Parts of a message are told apart by the nonce.
fn nonce(part: u32) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&part.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// A message of one part, with its salt before it and its tag after it.
pub fn seal(key: &Key, purpose: Purpose, context: &[u8], plain: &[u8]) -> Vec<u8> {
    let salt = random();
    let mut sealed = Vec::with_capacity(SALT_LEN + plain.len() + TAG_LEN);
    sealed.extend_from_slice(&salt);
    sealed.extend_from_slice(plain);
    let tag = key.one_use(purpose, context, &salt).seal(0, &mut sealed[SALT_LEN..]);
    sealed.extend_from_slice(&tag);
    sealed
}

/// Opens what [`seal`] made, where it is; answers the plain bytes.
///
/// # Errors
/// `Forged` if it was sealed with another key, for something else, or was changed.
pub fn open<'a>(
    key: &Key,
    purpose: Purpose,
    context: &[u8],
    sealed: &'a mut [u8],
) -> Result<&'a mut [u8], Forged> {
    let (salt, rest) = sealed.split_first_chunk_mut::<SALT_LEN>().ok_or(Forged)?;
    let (plain, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(Forged)?;
    key.one_use(purpose, context, salt).open(0, plain, tag)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        let mut key = Key::default();
        key.set(&[7; 32]);
        key
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_cipher_is_aes_256_gcm() {
        // Test case 14 of the GCM specification (McGrew, Viega): zero key, zero nonce, 16 zero bytes.
        let mut bytes = [0; 16];
        let tag = OneUse::new(&Key::default()).seal(0, &mut bytes);
        assert_eq!(hex(&bytes), "cea7403d4d606b6e074ec5d3baf39d18");
        assert_eq!(hex(&tag), "d0d1c8a799996bf0265b98b5d48ab919");
    }

    #[test]
    fn a_known_message_is_always_sealed_alike() {
        let sealer = key().one_use(Purpose::Record, b"place", &[9; SALT_LEN]);
        let mut bytes = *b"verso";
        let tag = sealer.seal(1, &mut bytes);
        assert_eq!(hex(&bytes), "2966606840");
        assert_eq!(hex(&tag), "bfddd789503fc3dd5b13e68f567e8525");
    }

    #[test]
    fn what_was_changed_or_moved_does_not_open() {
        let sealed = seal(&key(), Purpose::Footer, b"here", b"some bytes");
        let open_copy = |key: &Key, purpose, context: &[u8], sealed: &[u8]| {
            open(key, purpose, context, &mut sealed.to_vec()).map(|plain| plain.to_vec())
        };
        assert_eq!(open_copy(&key(), Purpose::Footer, b"here", &sealed).unwrap(), b"some bytes");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_copy(&key(), Purpose::Footer, b"here", &flipped), Err(Forged));
        }
        for len in 0..sealed.len() {
            assert_eq!(open_copy(&key(), Purpose::Footer, b"here", &sealed[..len]), Err(Forged));
        }
        assert_eq!(open_copy(&key(), Purpose::Trailer, b"here", &sealed), Err(Forged));
        assert_eq!(open_copy(&key(), Purpose::Footer, b"there", &sealed), Err(Forged));
        assert_eq!(open_copy(&Key::default(), Purpose::Footer, b"here", &sealed), Err(Forged));
    }

    #[test]
    fn the_same_is_never_sealed_alike_twice() {
        let seal_once = || seal(&key(), Purpose::Footer, b"", b"some bytes");
        assert_ne!(seal_once(), seal_once());
    }
}
