//! A page of the database, or a frame of its log, sealed in place.

use crate::crypt::{self, Key, Keyring, Purpose, SALT_LEN, Salt, TAG_LEN};
use crate::sys::Locked;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes of a page, for good.
pub(super) const PAGE_LEN: usize = 4096;
/// Bytes at the end of each page that SQLite leaves to us: epoch, salt, tag.
pub(super) const RESERVE_LEN: usize = EPOCH_LEN + SALT_LEN + TAG_LEN;
/// Bytes before each page in the log.
pub(super) const FRAME_HEADER_LEN: usize = 24;
/// Bytes of a frame of the log.
pub(super) const FRAME_LEN: usize = FRAME_HEADER_LEN + PAGE_LEN;
/// What of a frame's header stays readable, and is bound: number of the page, size of the database, salts of the log. The
/// checksum that follows is a hash of plain bytes, so it is sealed with the page.
const BOUND_LEN: usize = 16;
const EPOCH_LEN: usize = 4;

/// A page as it is in memory or on the disk.
pub(super) type Page = [u8; PAGE_LEN];
/// A frame of the log as it is in memory or on the disk.
pub(super) type Frame = [u8; FRAME_LEN];

/// With what the metadata of a store is sealed.
#[derive(Clone, Debug)]
pub struct PageKeys {
    /// The store's keys.
    pub keys: Arc<Keyring>,
    /// The store's id.
    pub store: [u8; 16],
}

/// Why something doesn't open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closed {
    #[error("it was sealed with key {0}, which is not there")]
    NoKey(u32),
    #[error("it is not what was sealed there")]
    Forged,
}

/// Why something can't be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is something where the seal should go")]
pub(super) struct NoRoom;

/// Seals with the newest key, and opens with all that there are.
pub(super) struct Cipher {
    keys: BTreeMap<u32, Locked<Key>>,
    current: u32,
    salts: Mutex<Vec<Salt>>,
}

/// Salts that are made at once: asking for one costs nearly as much as for many.
const SALTS: usize = 64;

impl Cipher {
    /// # Errors
    /// There is no memory for the keys, or there are none.
    pub(super) fn new(keys: &PageKeys) -> io::Result<Cipher> {
        let mut cipher =
            Cipher { keys: BTreeMap::new(), current: keys.keys.current(), salts: Mutex::default() };
        for epoch in keys.keys.epochs() {
            let key = keys.keys.metadata(epoch, &keys.store);
            let mut kept = Locked::<Key>::new()?;
            kept.set(key.ok_or(io::ErrorKind::NotFound)?.bytes());
            cipher.keys.insert(epoch, kept);
        }
        match cipher.keys.contains_key(&cipher.current) {
            true => Ok(cipher),
            false => Err(io::Error::new(io::ErrorKind::NotFound, "there is no key")),
        }
    }

    /// Seals page `number` of the database. Its reserve must be zeros.
    pub(super) fn seal_page(&self, number: u32, page: &mut Page) -> Result<(), NoRoom> {
        self.seal(Purpose::Page, &number.to_le_bytes(), page, &self.salt())
    }

    /// Opens page `number`; its reserve is zeros then.
    pub(super) fn open_page(&self, number: u32, page: &mut Page) -> Result<(), Closed> {
        self.open(Purpose::Page, &number.to_le_bytes(), page)
    }

    /// Seals frame `number` of the log, counted from 1. Its page's reserve must be zeros.
    pub(super) fn seal_frame(&self, number: u32, frame: &mut Frame) -> Result<(), NoRoom> {
        let context = frame_context(number, frame);
        self.seal(Purpose::LogPage, &context, &mut frame[BOUND_LEN..], &self.salt())
    }

    /// Opens frame `number` of the log.
    pub(super) fn open_frame(&self, number: u32, frame: &mut Frame) -> Result<(), Closed> {
        let context = frame_context(number, frame);
        self.open(Purpose::LogPage, &context, &mut frame[BOUND_LEN..])
    }

    /// A salt that was never used.
    fn salt(&self) -> Salt {
        let mut salts = self.salts.lock();
        salts.pop().unwrap_or_else(|| {
            let bytes = crypt::random::<{ SALTS * SALT_LEN }>();
            salts.extend_from_slice(bytes.as_chunks().0);
            salts.pop().unwrap_or_else(crypt::random)
        })
    }

    fn seal(
        &self,
        purpose: Purpose,
        context: &[u8],
        bytes: &mut [u8],
        salt: &Salt,
    ) -> Result<(), NoRoom> {
        let (message, reserve) = split_reserve(bytes);
        if reserve.iter().any(|&byte| byte != 0) {
            return Err(NoRoom);
        }
        let tag = self.keys[&self.current].one_use(purpose, context, salt).seal(0, message);
        reserve[..EPOCH_LEN].copy_from_slice(&self.current.to_le_bytes());
        reserve[EPOCH_LEN..][..SALT_LEN].copy_from_slice(salt);
        reserve[EPOCH_LEN + SALT_LEN..].copy_from_slice(&tag);
        Ok(())
    }

    fn open(&self, purpose: Purpose, context: &[u8], bytes: &mut [u8]) -> Result<(), Closed> {
        let epoch = epoch_at_end(bytes);
        let key = self.keys.get(&epoch).ok_or(Closed::NoKey(epoch))?;
        let (message, reserve) = split_reserve(bytes);
        let (mut salt, mut tag) = ([0; SALT_LEN], [0; TAG_LEN]);
        salt.copy_from_slice(&reserve[EPOCH_LEN..][..SALT_LEN]);
        tag.copy_from_slice(&reserve[EPOCH_LEN + SALT_LEN..]);
        let opened = key.one_use(purpose, context, &salt).open(0, message, &tag);
        reserve.fill(0);
        opened.map_err(|_| Closed::Forged)
    }
}

/// With which key a page or a frame says that it was sealed.
pub(super) fn epoch_at_end(bytes: &[u8]) -> u32 {
    let mut epoch = [0; EPOCH_LEN];
    epoch.copy_from_slice(&bytes[bytes.len() - RESERVE_LEN..][..EPOCH_LEN]);
    u32::from_le_bytes(epoch)
}

fn split_reserve(bytes: &mut [u8]) -> (&mut [u8], &mut [u8]) {
    bytes.split_at_mut(bytes.len() - RESERVE_LEN)
}

/// What a frame's key is bound to: its place, and the readable part of its header.
fn frame_context(number: u32, frame: &Frame) -> [u8; 4 + BOUND_LEN] {
    let mut context = [0; 4 + BOUND_LEN];
    context[..4].copy_from_slice(&number.to_le_bytes());
    context[4..].copy_from_slice(&frame[..BOUND_LEN]);
    context
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Keys of one epoch for each of the bytes, which the keys are made of.
    pub(in crate::meta) fn keys_of(masters: &[u8]) -> PageKeys {
        let mut keyring = Keyring::with_identity(&Key::default()).unwrap();
        for (epoch, &byte) in (1..).zip(masters) {
            let mut master = Key::default();
            master.set(&[byte; 32]);
            keyring.add(epoch, &master).unwrap();
        }
        PageKeys { keys: Arc::new(keyring), store: [3; 16] }
    }

    pub(in crate::meta::sealed) fn cipher_of(masters: &[u8]) -> Cipher {
        Cipher::new(&keys_of(masters)).unwrap()
    }

    fn page() -> Page {
        let mut page = [0; PAGE_LEN];
        for (at, byte) in page[..PAGE_LEN - RESERVE_LEN].iter_mut().enumerate() {
            *byte = at as u8;
        }
        page
    }

    fn frame() -> Frame {
        let mut frame = [0x11; FRAME_LEN];
        frame[FRAME_HEADER_LEN..].copy_from_slice(&page());
        frame
    }

    /// The first bytes and the tag.
    fn ends(sealed: &[u8], from: usize) -> String {
        let tag = &sealed[sealed.len() - TAG_LEN..];
        let bytes = sealed[from..][..12].iter().chain(tag);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_known_page_and_frame_are_always_sealed_alike() {
        let (cipher, salt) = (cipher_of(&[7]), [9; SALT_LEN]);
        let mut page = page();
        cipher.seal(Purpose::Page, &5u32.to_le_bytes(), &mut page, &salt).unwrap();
        assert_eq!(
            &page[PAGE_LEN - RESERVE_LEN..][..20],
            b"\x01\0\0\0\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09"
        );
        assert_eq!(ends(&page, 0), "7bb0835a14f8fecad141011b3e6ce6fff7c2a537f569fdbd0746d91f");
        let mut frame = frame();
        let context = frame_context(2, &frame);
        cipher.seal(Purpose::LogPage, &context, &mut frame[BOUND_LEN..], &salt).unwrap();
        assert_eq!(frame[..BOUND_LEN], [0x11; BOUND_LEN]);
        assert_eq!(
            ends(&frame, BOUND_LEN),
            "752d0b7ede35a0742bb9a6185c05fcf3962041fea7acca8e541a21a2"
        );
    }

    #[test]
    fn a_page_opens_in_its_place_only_and_only_whole() {
        let cipher = cipher_of(&[7]);
        let mut sealed = page();
        cipher.seal_page(5, &mut sealed).unwrap();
        let mut opened = sealed;
        cipher.open_page(5, &mut opened).unwrap();
        assert_eq!(opened, page());
        assert_eq!(cipher.open_page(6, &mut sealed.clone()), Err(Closed::Forged));
        assert_eq!(cipher_of(&[8]).open_page(5, &mut sealed.clone()), Err(Closed::Forged));
        for at in 0..PAGE_LEN {
            let mut flipped = sealed;
            flipped[at] ^= 1 << (at % 8);
            assert!(cipher.open_page(5, &mut flipped).is_err(), "{at}");
        }
    }

    #[test]
    fn a_frame_opens_in_its_place_only_and_only_whole() {
        let cipher = cipher_of(&[7]);
        let mut sealed = frame();
        cipher.seal_frame(5, &mut sealed).unwrap();
        let mut opened = sealed;
        cipher.open_frame(5, &mut opened).unwrap();
        assert_eq!(opened, frame());
        assert_eq!(cipher.open_frame(4, &mut sealed.clone()), Err(Closed::Forged));
        for at in 0..FRAME_LEN {
            let mut flipped = sealed;
            flipped[at] ^= 1 << (at % 8);
            assert!(cipher.open_frame(5, &mut flipped).is_err(), "{at}");
        }
    }

    #[test]
    fn the_newest_key_seals_and_older_ones_open() {
        let (mut old, mut new) = (page(), page());
        cipher_of(&[7]).seal_page(1, &mut old).unwrap();
        let both = cipher_of(&[7, 8]);
        both.seal_page(1, &mut new).unwrap();
        assert_eq!((epoch_at_end(&old), epoch_at_end(&new)), (1, 2));
        assert_eq!(cipher_of(&[7]).open_page(1, &mut new.clone()), Err(Closed::NoKey(2)));
        both.open_page(1, &mut old).unwrap();
        both.open_page(1, &mut new).unwrap();
        assert_eq!(old, new);
    }

    #[test]
    fn nothing_is_overwritten_by_the_seal() {
        let mut full = page();
        full[PAGE_LEN - 1] = 1;
        assert_eq!(cipher_of(&[7]).seal_page(1, &mut full), Err(NoRoom));
    }
}
