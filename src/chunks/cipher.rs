//! Encrypted packs: where what lies in a record, and the keys that open it. `docs/FORMAT.md` lays it down.
//!
//! Everything after the pack's header is sealed, each record, footer and trailer with a key of its own that is bound to
//! its place; nothing of it shows where a record begins. The payload is sealed in segments, so that a part of a raw
//! chunk can be read and verified without the rest of it.

use super::Error;
use super::format::{
    KeyHint, PACK_HEADER_LEN, PLAIN_LEN_MAX, PackHeader, PackName, RECORD_HEADER_LEN, RecordHeader,
};
use super::tree::PART_LEN;
use crate::crypt::{self, Key, Keyring, OneUse, Purpose, SALT_LEN, Salt, TAG_LEN};
use crate::model::ChunkLocation;
use std::path::Path;
use std::sync::Arc;

/// Plain bytes of a segment; the last one of a record is shorter, or longer by its padding. That of a part, so that the parts
/// of a raw chunk are its segments.
pub(super) const SEGMENT_LEN: usize = PART_LEN;
/// Bytes of a segment that is not a record's last, with its tag.
pub(super) const SEALED_SEGMENT_LEN: usize = SEGMENT_LEN + TAG_LEN;
/// Bytes before a record's first segment: salt, header, tag.
pub(super) const SEALED_HEADER_LEN: usize = SALT_LEN + RECORD_HEADER_LEN as usize + TAG_LEN;
/// Records begin at multiples of this many bytes: there is no magic to search for after a gap, and lengths are rounded.
pub(super) const RECORD_ALIGN: u64 = 64;
/// Salts that are drawn at a time.
const SALTS_DRAWN: usize = 64;
/// By how many bytes a footer or a trailer is longer than what is in it.
pub(super) const MESSAGE_OVERHEAD: u64 = (SALT_LEN + TAG_LEN) as u64;

/// How many segments a payload of so many bytes has.
pub(super) fn segments(payload_len: usize) -> usize {
    payload_len.div_ceil(SEGMENT_LEN).max(1)
}

/// What a record with such a payload (of at most `PLAIN_LEN_MAX` bytes) takes, without 64 bytes, the length of a record's plain
/// header: so a record is as long as in a plain store with that stored length. And the zeros after the payload.
pub(super) fn fit(payload_len: u32) -> (u32, u8) {
    let sealed = payload_len as usize + segments(payload_len as usize) * TAG_LEN;
    let used = SEALED_HEADER_LEN + sealed;
    let len = used.next_multiple_of(RECORD_ALIGN as usize);
    ((len - RECORD_HEADER_LEN as usize) as u32, (len - used) as u8)
}

/// The length of the payload that [`fit`]s so.
pub(super) fn payload_len(stored_len: u32, padding: u8) -> Option<u32> {
    let before = SEALED_HEADER_LEN as u32 - RECORD_HEADER_LEN as u32;
    let sealed = stored_len.checked_sub(before)?.checked_sub(padding.into())?;
    let tags = sealed.div_ceil(SEALED_SEGMENT_LEN as u32) * TAG_LEN as u32;
    let payload_len = sealed.checked_sub(tags).filter(|&len| len <= PLAIN_LEN_MAX)?;
    (fit(payload_len) == (stored_len, padding)).then_some(payload_len)
}

/// Whether the record at this location holds the plain bytes: all others are shorter.
pub(super) fn is_raw(at: &ChunkLocation) -> bool {
    at.plain_len <= PLAIN_LEN_MAX && at.stored_len == fit(at.plain_len).0
}

/// Whether a record can have these lengths.
pub(super) fn is_possible(at: &ChunkLocation) -> bool {
    at.plain_len <= PLAIN_LEN_MAX
        && at.stored_len <= fit(at.plain_len).0
        && at.stored_len >= fit(0).0
        && u64::from(at.stored_len) % RECORD_ALIGN == 0
}

/// The keys of a pack.
pub(super) struct Cipher {
    keys: Arc<Keyring>,
    name: PackName,
    /// The epoch that its header says; where that is damaged, all that it can be. The keys of all of them are known.
    epochs: Vec<u32>,
}

/// Random salts for records. Many are drawn at a time: one alone takes as long as sealing a small chunk.
#[derive(Default)]
pub(super) struct Salts(Vec<Salt>);

impl Salts {
    /// One that was never used.
    pub(super) fn draw(&mut self) -> Salt {
        if self.0.is_empty() {
            let bytes: [u8; SALTS_DRAWN * SALT_LEN] = crypt::random();
            self.0.extend_from_slice(bytes.as_chunks().0);
        }
        self.0.pop().expect("some were just drawn")
    }
}

/// A record's header, opened.
pub(super) struct OpenRecord {
    pub header: RecordHeader,
    pub epoch: u32,
    /// Opens its segments.
    pub key: OneUse,
}

impl Cipher {
    /// For a new pack.
    pub(super) fn current(keys: &Arc<Keyring>, name: PackName) -> Cipher {
        Cipher { keys: Arc::clone(keys), name, epochs: vec![keys.current()] }
    }

    /// For the pack at `path`, which should have this name, and has this header.
    ///
    /// # Errors
    /// `Newer`, `OtherKind`, or `KeyMissing`.
    pub(super) fn of_header(
        keys: &Arc<Keyring>,
        name: PackName,
        header: &PackHeader,
        path: &Path,
    ) -> super::Result<Cipher> {
        let with = |epochs| Cipher { keys: Arc::clone(keys), name, epochs };
        match header {
            PackHeader::Newer(found) => Err(Error::newer(path, *found)),
            PackHeader::Known(found, None) if *found == name => {
                Err(Error::OtherKind { path: path.to_owned(), encrypted: false })
            }
            PackHeader::Known(found, Some(hint)) if *found == name => {
                let cipher = with(vec![hint.epoch]);
                let is_ours =
                    cipher.key(hint.epoch).is_some_and(|key| check_of(&key) == hint.check);
                if is_ours {
                    return Ok(cipher);
                }
                Err(Error::KeyMissing { path: path.to_owned(), epoch: hint.epoch })
            }
            // The newest first: most packs are of that one.
            PackHeader::Known(..) | PackHeader::Invalid => {
                let mut epochs: Vec<u32> = keys.epochs().collect();
                epochs.reverse();
                Ok(with(epochs))
            }
        }
    }

    /// Whether new records of this pack would be sealed with the newest key.
    pub(super) fn is_current(&self) -> bool {
        self.epochs == [self.keys.current()]
    }

    /// What the pack's header says of its key.
    pub(super) fn hint(&self) -> KeyHint {
        KeyHint { epoch: self.epoch(), check: check_of(&self.sealing_key()) }
    }

    fn epoch(&self) -> u32 {
        self.epochs.first().copied().unwrap_or(0)
    }

    // Derived each time, which takes 0.2 µs: so no key of a pack lies in memory that could be swapped out.
    fn key(&self, epoch: u32) -> Option<Key> {
        self.keys.pack(epoch, &self.name.store, self.name.pack.0)
    }

    fn sealing_key(&self) -> Key {
        self.key(self.epoch()).expect("a pack that is written has a key that is known")
    }

    /// Makes `into` the record at `offset`, whose payload are these bytes. The salt is random, and used once.
    pub(super) fn seal_record(
        &self,
        header: &RecordHeader,
        offset: u64,
        mut payload: [&[u8]; 2],
        salt: &Salt,
        into: &mut Vec<u8>,
    ) {
        let key = self.sealing_key().one_use(Purpose::Record, &offset.to_le_bytes(), salt);
        into.clear();
        into.reserve((RECORD_HEADER_LEN + u64::from(header.stored_len)) as usize);
        into.extend_from_slice(salt);
        into.extend_from_slice(&header.encode(&self.name, offset));
        seal_tail(&key, 0, SALT_LEN, into);
        let segments = segments(payload.iter().map(|piece| piece.len()).sum());
        for segment in 1..=segments {
            let begin = into.len();
            take_segment(&mut payload, into);
            if segment == segments {
                into.resize(into.len() + usize::from(header.padding.unwrap_or(0)), 0);
            }
            seal_tail(&key, segment as u32, begin, into);
        }
    }

    /// Opens the header of the record at `offset`, which has its salt before and its tag after it; `Err` says what is wrong.
    pub(super) fn open_record(
        &self,
        bytes: &[u8; SEALED_HEADER_LEN],
        offset: u64,
    ) -> Result<OpenRecord, &'static str> {
        let none = "no record of this pack begins here, or it was changed";
        let (salt, sealed) = bytes.split_first_chunk::<SALT_LEN>().expect("it is that long");
        // Zeros that were written ahead, and holes.
        if *salt == [0; SALT_LEN] {
            return Err(none);
        }
        let (sealed, tag) = sealed.split_last_chunk::<TAG_LEN>().expect("it is that long");
        for &epoch in &self.epochs {
            let Some(key) = self.record_key(epoch, offset, salt) else { continue };
            let mut plain = [0; RECORD_HEADER_LEN as usize];
            plain.copy_from_slice(sealed);
            if key.open(0, &mut plain, tag).is_ok() {
                let header = RecordHeader::decode(&plain, &self.name, offset, true)?;
                return Ok(OpenRecord { header, epoch, key });
            }
        }
        Err(none)
    }

    /// The key of the record at `offset` with this salt, in a pack of this epoch.
    pub(super) fn record_key(&self, epoch: u32, offset: u64, salt: &Salt) -> Option<OneUse> {
        Some(self.key(epoch)?.one_use(Purpose::Record, &offset.to_le_bytes(), salt))
    }

    /// Footer and trailer of a pack whose records end at `offset`, sealed. The salts are random, and used once.
    pub(super) fn seal_end(
        &self,
        offset: u64,
        footer: &[u8],
        trailer: &[u8],
        salts: [&Salt; 2],
    ) -> (Vec<u8>, Vec<u8>) {
        let end = offset + (footer.len() + trailer.len()) as u64 + 2 * MESSAGE_OVERHEAD;
        let footer = self.seal_message(Purpose::Footer, offset, footer, salts[0]);
        (footer, self.seal_message(Purpose::Trailer, end, trailer, salts[1]))
    }

    /// A footer or trailer, sealed.
    fn seal_message(&self, purpose: Purpose, place: u64, plain: &[u8], salt: &Salt) -> Vec<u8> {
        let key = self.sealing_key().one_use(purpose, &place.to_le_bytes(), salt);
        let mut sealed = Vec::with_capacity(plain.len() + MESSAGE_OVERHEAD as usize);
        sealed.extend_from_slice(salt);
        sealed.extend_from_slice(plain);
        seal_tail(&key, 0, SALT_LEN, &mut sealed);
        sealed
    }

    /// Opens what [`seal_message`](Cipher::seal_message) made.
    pub(super) fn open_message(
        &self,
        purpose: Purpose,
        place: u64,
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        self.epochs.iter().find_map(|&epoch| {
            let mut bytes = sealed.to_vec();
            let plain = crypt::open(&self.key(epoch)?, purpose, &place.to_le_bytes(), &mut bytes);
            plain.ok().map(|plain| plain.to_vec())
        })
    }
}

/// Opens the segments of a record that lie in `sealed`, from the segment `first` (from 0) on, of `count` that it has, and gives the
/// plain bytes of each to `take`, those of the last one with the padding.
///
/// # Errors
/// `Forged` if one of them isn't what was sealed there.
pub(super) fn open_segments(
    key: &OneUse,
    (first, count): (usize, usize),
    mut sealed: &mut [u8],
    mut take: impl FnMut(&[u8]),
) -> Result<(), crypt::Forged> {
    let mut index = first;
    while !sealed.is_empty() {
        let is_last = index + 1 == count;
        let len = if is_last { sealed.len() } else { SEALED_SEGMENT_LEN.min(sealed.len()) };
        let (segment, rest) = sealed.split_at_mut(len);
        let (bytes, tag) = segment.split_last_chunk_mut::<TAG_LEN>().ok_or(crypt::Forged)?;
        // The header is part 0.
        key.open(index as u32 + 1, bytes, tag)?;
        take(bytes);
        (sealed, index) = (rest, index + 1);
    }
    Ok(())
}

/// Where the segment (from 0) of a record begins, after the record's own offset.
pub(super) fn segment_offset(segment: usize) -> u64 {
    (SEALED_HEADER_LEN + segment * SEALED_SEGMENT_LEN) as u64
}

/// Moves up to a segment's bytes from the beginning of the payload to the end of `into`.
fn take_segment(payload: &mut [&[u8]; 2], into: &mut Vec<u8>) {
    let mut room = SEGMENT_LEN;
    for piece in payload {
        let (now, later) = piece.split_at(piece.len().min(room));
        into.extend_from_slice(now);
        room -= now.len();
        *piece = later;
    }
}

/// Seals what `into` holds from `begin` on, and puts the tag after it.
fn seal_tail(key: &OneUse, part: u32, begin: usize, into: &mut Vec<u8>) {
    let tag = key.seal(part, &mut into[begin..]);
    into.extend_from_slice(&tag);
}

/// By what a pack's header tells whether a key is the pack's.
fn check_of(key: &Key) -> [u8; 16] {
    let mut check = [0; 16];
    check.copy_from_slice(&key.derive(Purpose::Header, &[]).bytes()[..16]);
    check
}

const _: () = assert!(PACK_HEADER_LEN.is_multiple_of(RECORD_ALIGN));
