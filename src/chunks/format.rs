//! The bytes of a pack file, as `docs/FORMAT.md` lays them down. No I/O.

use super::{cipher, tree};
use crate::model::{ChunkHash, ChunkLocation, PackId};

/// The format version that is written, and the newest that is read.
pub(super) const VERSION: u32 = 1;
/// Bytes of the header at the start of a pack.
pub(super) const PACK_HEADER_LEN: u64 = 64;
/// Bytes of the header before each payload.
pub const RECORD_HEADER_LEN: u64 = 64;
/// Bytes of a record's entry in the footer.
pub(super) const ENTRY_LEN: u64 = 56;
/// Bytes of the trailer at the end of a sealed pack.
pub(super) const TRAILER_LEN: u64 = 64;
/// The longest chunk that a record holds, in bytes. A longer length in a record is damage.
pub const PLAIN_LEN_MAX: u32 = 16 << 20;

/// Bytes at the beginning of a difference's payload that name its base.
pub(super) const BASE_LEN: usize = 32;

/// Flag of a record: the payload begins with the table of the chunk's parts (`tree`), the plain bytes follow.
const FLAG_TABLE: u8 = 1;
/// Flag of a record: it is sealed, in an encrypted pack.
const FLAG_ENCRYPTED: u8 = 2;
/// Feature of a pack: everything after its header is encrypted.
const FEATURE_ENCRYPTED: u32 = 1;

const PACK_MAGIC: &[u8; 8] = b"VersoPak";
pub(super) const RECORD_MAGIC: &[u8; 4] = b"VREC";
const TRAILER_MAGIC: &[u8; 8] = b"VersoEnd";

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    /// The plain bytes.
    Raw,
    /// One zstd frame.
    Zstd,
    /// The identity of another chunk, and a zstd frame that has that one's plain bytes for its prefix.
    Difference,
}

impl Codec {
    fn number(self) -> u8 {
        match self {
            Codec::Raw => 0,
            Codec::Zstd => 1,
            Codec::Difference => 2,
        }
    }

    fn from_number(number: u8) -> Option<Codec> {
        match number {
            0 => Some(Codec::Raw),
            1 => Some(Codec::Zstd),
            2 => Some(Codec::Difference),
            _ => None,
        }
    }
}

/// Which pack of which store: bound into every checksum, so that a record which lies elsewhere than where it was
/// written (a misdirected write, a pack file stored as a file's content) is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackName {
    pub store: [u8; 16],
    pub pack: PackId,
}

impl PackName {
    fn checksum(&self, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.store).update(&self.pack.0.to_le_bytes());
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }

    /// The first eight bytes of the BLAKE3 of store id, pack id and `parts`.
    fn short_checksum(&self, parts: &[&[u8]]) -> [u8; 8] {
        array(self.checksum(parts).as_bytes(), 0)
    }
}

/// What the header of an encrypted pack says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyHint {
    /// Of which master key it was derived.
    pub epoch: u32,
    /// Derived from the key: tells a wrong key from damage.
    pub check: [u8; 16],
}

/// What the first bytes of a pack say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PackHeader {
    /// A pack that can be read; with the hint it is encrypted.
    Known(PackName, Option<KeyHint>),
    /// A pack of a newer version (or with features that only a newer version has).
    Newer(u32),
    /// No pack header.
    Invalid,
}

/// The header of a new pack; with the hint, of an encrypted one.
pub(super) fn encode_pack_header(
    name: &PackName,
    hint: Option<&KeyHint>,
) -> [u8; PACK_HEADER_LEN as usize] {
    let mut bytes = [0; PACK_HEADER_LEN as usize];
    bytes[0..8].copy_from_slice(PACK_MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(&name.store);
    bytes[32..36].copy_from_slice(&name.pack.0.to_le_bytes());
    if let Some(hint) = hint {
        bytes[12..16].copy_from_slice(&FEATURE_ENCRYPTED.to_le_bytes());
        bytes[36..40].copy_from_slice(&hint.epoch.to_le_bytes());
        bytes[40..56].copy_from_slice(&hint.check);
    }
    let checksum = name.short_checksum(&[&bytes[..56]]);
    bytes[56..64].copy_from_slice(&checksum);
    bytes
}

/// Reads a pack's header. The version is looked at first: what follows it may differ in a newer one.
pub(super) fn decode_pack_header(bytes: &[u8; PACK_HEADER_LEN as usize]) -> PackHeader {
    if &bytes[0..8] != PACK_MAGIC {
        return PackHeader::Invalid;
    }
    let (version, features) = (u32_at(bytes, 8), u32_at(bytes, 12));
    if version > VERSION {
        return PackHeader::Newer(version);
    }
    let name = PackName { store: array(bytes, 16), pack: PackId(u32_at(bytes, 32)) };
    if name.short_checksum(&[&bytes[..56]]) != bytes[56..64] || version == 0 {
        return PackHeader::Invalid;
    }
    if features & !FEATURE_ENCRYPTED != 0 {
        return PackHeader::Newer(version + 1);
    }
    let hint = KeyHint { epoch: u32_at(bytes, 36), check: array(bytes, 40) };
    PackHeader::Known(name, (features & FEATURE_ENCRYPTED != 0).then_some(hint))
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub codec: Codec,
    /// Whether the table of the chunk's parts stands before its plain bytes: of a raw chunk of more than one part.
    pub has_table: bool,
    pub plain_len: u32,
    /// Bytes of the record after so many as this header has plain: those of the payload, with the table, unless encrypted.
    pub stored_len: u32,
    pub hash: ChunkHash,
    /// Of an encrypted record: zeros after the payload.
    pub padding: Option<u8>,
}

impl RecordHeader {
    /// The header of a record in a plain pack; the payload has a table if it is raw and longer than the chunk.
    pub(super) fn plain(
        codec: Codec,
        plain_len: u32,
        payload_len: u32,
        hash: ChunkHash,
    ) -> RecordHeader {
        let has_table = codec == Codec::Raw && payload_len > plain_len;
        RecordHeader { codec, has_table, plain_len, stored_len: payload_len, hash, padding: None }
    }

    /// The header of a record in an encrypted pack.
    pub(super) fn encrypted(
        codec: Codec,
        plain_len: u32,
        payload_len: u32,
        hash: ChunkHash,
    ) -> RecordHeader {
        let (stored_len, padding) = cipher::fit(payload_len);
        let padding = Some(padding);
        RecordHeader { codec, has_table: false, plain_len, stored_len, hash, padding }
    }

    /// The bytes of the header of the record at `offset`.
    pub(super) fn encode(&self, name: &PackName, offset: u64) -> [u8; RECORD_HEADER_LEN as usize] {
        let mut bytes = [0; RECORD_HEADER_LEN as usize];
        bytes[0..4].copy_from_slice(RECORD_MAGIC);
        bytes[4] = self.codec.number();
        bytes[5] = self.flags();
        bytes[6] = self.padding.unwrap_or(0);
        // 7 and 48..56: reserved.
        bytes[8..12].copy_from_slice(&self.plain_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.hash.0);
        let checksum = name.short_checksum(&[&offset.to_le_bytes(), &bytes[..56]]);
        bytes[56..64].copy_from_slice(&checksum);
        bytes
    }

    /// Reads the header of the record at `offset` of a pack that is `encrypted` or not (its header is opened before); `Err`
    /// says what is wrong with it.
    pub(super) fn decode(
        bytes: &[u8; RECORD_HEADER_LEN as usize],
        name: &PackName,
        offset: u64,
        encrypted: bool,
    ) -> Result<RecordHeader, &'static str> {
        if &bytes[0..4] != RECORD_MAGIC {
            return Err("no record begins here");
        }
        if name.short_checksum(&[&offset.to_le_bytes(), &bytes[..56]]) != bytes[56..64] {
            return Err("the checksum of the record's header is wrong");
        }
        let (codec, has_table, padding) = decode_storage(bytes[4], bytes[5], bytes[6])
            .filter(|(_, _, padding)| padding.is_some() == encrypted)
            .ok_or("the record is stored in a way that only a newer version knows")?;
        let header = RecordHeader {
            codec,
            has_table,
            padding,
            plain_len: u32_at(bytes, 8),
            stored_len: u32_at(bytes, 12),
            hash: ChunkHash(array(bytes, 16)),
        };
        if header.has_possible_lengths() {
            Ok(header)
        } else {
            Err("the record's length is impossible")
        }
    }

    /// Bytes of the payload that name the base.
    fn base_len(&self) -> u32 {
        if self.codec == Codec::Difference { BASE_LEN as u32 } else { 0 }
    }

    fn flags(&self) -> u8 {
        let table = if self.has_table { FLAG_TABLE } else { 0 };
        let encrypted = if self.padding.is_some() { FLAG_ENCRYPTED } else { 0 };
        table | encrypted
    }

    /// Readers that only know a location see from its lengths whether there is a table ([`has_table`]): so they must agree.
    fn has_possible_lengths(&self) -> bool {
        if let Some(padding) = self.padding {
            return self.has_possible_encrypted_lengths(padding);
        }
        let table_len = tree::table_len(self.plain_len.min(PLAIN_LEN_MAX));
        let stored_fits = match self.has_table {
            true => {
                self.codec == Codec::Raw
                    && table_len > 0
                    && self.stored_len.checked_sub(self.plain_len) == Some(table_len)
            }
            false => self.stored_len <= self.plain_len && self.stored_len >= self.base_len(),
        };
        self.plain_len <= PLAIN_LEN_MAX && stored_fits
    }

    /// There they see it too whether the plain bytes are stored ([`cipher::is_raw`]).
    fn has_possible_encrypted_lengths(&self, padding: u8) -> bool {
        let at = self.location(PackId(0), 0);
        let Some(payload_len) = cipher::payload_len(self.stored_len, padding) else { return false };
        let fits = match self.codec {
            Codec::Raw => payload_len == self.plain_len,
            Codec::Zstd | Codec::Difference => {
                payload_len >= self.base_len() && !cipher::is_raw(&at)
            }
        };
        !self.has_table && fits && cipher::is_possible(&at)
    }

    /// Where the record at `offset` lies.
    pub(super) fn location(&self, pack: PackId, offset: u64) -> ChunkLocation {
        ChunkLocation { pack, offset, stored_len: self.stored_len, plain_len: self.plain_len }
    }
}

/// Whether the record at this location begins with the table of the chunk's parts: no other record is longer than its chunk.
pub(super) fn has_table(at: &ChunkLocation) -> bool {
    at.stored_len > at.plain_len
}

/// Codec of a record, whether it has a table, and its padding if it is encrypted; `None` for what is of a newer version.
fn decode_storage(codec: u8, flags: u8, padding: u8) -> Option<(Codec, bool, Option<u8>)> {
    let known = flags & !(FLAG_TABLE | FLAG_ENCRYPTED) == 0;
    let codec = Codec::from_number(codec).filter(|_| known)?;
    let padding = (flags & FLAG_ENCRYPTED != 0).then_some(padding);
    Some((codec, flags & FLAG_TABLE != 0, padding))
}

/// A record as the footer lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub offset: u64,
    pub header: RecordHeader,
}

impl Entry {
    /// The offset after the record's payload.
    pub(super) fn end(&self) -> u64 {
        self.offset + RECORD_HEADER_LEN + u64::from(self.header.stored_len)
    }

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.header.hash.0);
        into.extend_from_slice(&self.offset.to_le_bytes());
        into.extend_from_slice(&self.header.stored_len.to_le_bytes());
        into.extend_from_slice(&self.header.plain_len.to_le_bytes());
        let header = &self.header;
        let storage = [header.codec.number(), header.flags(), header.padding.unwrap_or(0)];
        into.extend_from_slice(&storage);
        into.extend_from_slice(&[0; 5]);
    }

    fn decode(bytes: &[u8]) -> Option<Entry> {
        let (codec, has_table, padding) = decode_storage(bytes[48], bytes[49], bytes[50])?;
        let header = RecordHeader {
            hash: ChunkHash(array(bytes, 0)),
            stored_len: u32_at(bytes, 40),
            plain_len: u32_at(bytes, 44),
            codec,
            has_table,
            padding,
        };
        Some(Entry { offset: u64::from_le_bytes(array(bytes, 32)), header })
    }
}

/// The footer of a pack whose records end at `offset`.
pub(super) fn encode_footer(entries: &[Entry]) -> Vec<u8> {
    let mut footer = Vec::with_capacity(entries.len() * ENTRY_LEN as usize);
    entries.iter().for_each(|entry| entry.encode(&mut footer));
    footer
}

/// The trailer after a footer that begins at `offset`.
pub(super) fn encode_trailer(
    name: &PackName,
    offset: u64,
    footer: &[u8],
) -> [u8; TRAILER_LEN as usize] {
    let mut bytes = [0; TRAILER_LEN as usize];
    let count = footer.len() as u64 / ENTRY_LEN;
    bytes[0..8].copy_from_slice(TRAILER_MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&(count as u32).to_le_bytes());
    bytes[16..24].copy_from_slice(&offset.to_le_bytes());
    bytes[24..32].copy_from_slice(&(footer.len() as u64).to_le_bytes());
    let checksum = name.checksum(&[&bytes[..32], footer]);
    bytes[32..64].copy_from_slice(checksum.as_bytes());
    bytes
}

/// Where the trailer at the end of a pack of `file_len` bytes says that the footer begins; `None` if
/// these are no trailer's bytes. The checksum is not looked at.
pub(super) fn footer_offset(bytes: &[u8; TRAILER_LEN as usize], file_len: u64) -> Option<u64> {
    let (offset, len) =
        (u64::from_le_bytes(array(bytes, 16)), u64::from_le_bytes(array(bytes, 24)));
    let count = u64::from(u32_at(bytes, 12));
    let fits = offset >= PACK_HEADER_LEN
        && len == count * ENTRY_LEN
        && offset.checked_add(len)?.checked_add(TRAILER_LEN)? == file_len;
    (&bytes[0..8] == TRAILER_MAGIC && u32_at(bytes, 8) == VERSION && fits).then_some(offset)
}

/// The entries of a footer, if it and its trailer are intact.
pub(super) fn decode_footer(
    name: &PackName,
    footer: &[u8],
    trailer: &[u8; TRAILER_LEN as usize],
    encrypted: bool,
) -> Option<Vec<Entry>> {
    if name.checksum(&[&trailer[..32], footer]).as_bytes() != &trailer[32..64] {
        return None;
    }
    let fits = |entry: &Entry| entry.header.padding.is_some() == encrypted;
    let entries = footer.chunks_exact(ENTRY_LEN as usize);
    entries.map(|bytes| Entry::decode(bytes).filter(fits)).collect()
}

/// `N` bytes of `bytes` from `at` on; the callers' layouts make sure that they are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut result = [0; N];
    result.copy_from_slice(&bytes[at..at + N]);
    result
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::super::testing::hex_dump;
    use super::*;

    const NAME: PackName =
        PackName { store: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], pack: PackId(1) };

    /// The sealed pack that `docs/FORMAT.md` shows.
    fn example() -> Vec<u8> {
        let header = RecordHeader::plain(Codec::Raw, 5, 5, crate::chunks::hash(b"verso"));
        let entry = Entry { offset: PACK_HEADER_LEN, header };
        let footer = encode_footer(&[entry]);
        let mut pack = encode_pack_header(&NAME, None).to_vec();
        pack.extend(header.encode(&NAME, entry.offset));
        pack.extend(b"verso");
        pack.extend(&footer);
        pack.extend(encode_trailer(&NAME, entry.end(), &footer));
        pack
    }

    /// Reads the header of a record in a plain pack.
    fn decode(
        bytes: &[u8; 64],
        name: &PackName,
        offset: u64,
    ) -> Result<RecordHeader, &'static str> {
        RecordHeader::decode(bytes, name, offset, false)
    }

    #[test]
    fn the_documented_example_is_what_is_written() {
        let documentation = include_str!("../../docs/FORMAT.md");
        let dump = hex_dump(&example());
        assert!(documentation.contains(&dump), "docs/FORMAT.md does not show:\n{dump}");
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_found() {
        let record = RecordHeader::encode(&sample(), &NAME, 64);
        let pack = encode_pack_header(&NAME, None);
        for bit in 0..64 * 8 {
            let flip = |bytes: &[u8; 64]| {
                let mut flipped = *bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                flipped
            };
            assert!(decode(&flip(&record), &NAME, 64).is_err(), "bit {bit}");
            assert_ne!(
                decode_pack_header(&flip(&pack)),
                PackHeader::Known(NAME, None),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn every_flipped_bit_of_footer_and_trailer_is_found() {
        let entries =
            [Entry { offset: 64, header: sample() }, Entry { offset: 4000, header: sample() }];
        let footer = encode_footer(&entries);
        let trailer = encode_trailer(&NAME, 9000, &footer);
        let all = [footer.as_slice(), &trailer].concat();
        let decode = |all: &[u8]| {
            let (footer, trailer) = all.split_at(all.len() - 64);
            let trailer = array(trailer, 0);
            (footer_offset(&trailer, 9000 + all.len() as u64) == Some(9000))
                .then(|| decode_footer(&NAME, footer, &trailer, false))
                .flatten()
        };
        assert_eq!(decode(&all).unwrap(), entries);
        for bit in 0..all.len() * 8 {
            let mut flipped = all.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_record_elsewhere_is_none() {
        let bytes = sample().encode(&NAME, 64);
        assert_eq!(decode(&bytes, &NAME, 64), Ok(sample()));
        let other_pack = PackName { pack: PackId(2), ..NAME };
        let other_store = PackName { store: [9; 16], ..NAME };
        assert!(decode(&bytes, &NAME, 65).is_err());
        assert!(decode(&bytes, &other_pack, 64).is_err());
        assert!(decode(&bytes, &other_store, 64).is_err());
    }

    #[test]
    fn a_newer_version_or_feature_is_told_from_damage() {
        let mut bytes = encode_pack_header(&NAME, None);
        bytes[8] = 2;
        assert_eq!(decode_pack_header(&bytes), PackHeader::Newer(2));
        let mut bytes = encode_pack_header(&NAME, None);
        bytes[12] = 2;
        let checksum = NAME.short_checksum(&[&bytes[..56]]);
        bytes[56..].copy_from_slice(&checksum);
        assert_eq!(decode_pack_header(&bytes), PackHeader::Newer(2));
    }

    #[test]
    fn a_codec_or_flag_of_the_future_is_refused_not_misread() {
        for (at, value) in [(4, 3), (4, 255), (5, 2), (5, 3), (5, 128)] {
            let mut bytes = sample().encode(&NAME, 64);
            bytes[at] = value;
            let checksum = NAME.short_checksum(&[&64_u64.to_le_bytes(), &bytes[..56]]);
            bytes[56..].copy_from_slice(&checksum);
            let why = decode(&bytes, &NAME, 64).unwrap_err();
            assert!(why.contains("newer version"), "{why}");
        }
    }

    #[test]
    fn a_record_with_a_table_is_told_by_its_lengths() {
        let with_table = raw(70_000, 70_000 + 5 * 32, true);
        let bytes = with_table.encode(&NAME, 64);
        assert_eq!((bytes[4], bytes[5]), (0, 1));
        assert_eq!(decode(&bytes, &NAME, 64), Ok(with_table));
        assert!(has_table(&with_table.location(PackId(1), 64)));
        let without = raw(70_000, 70_000, false);
        assert_eq!(decode(&without.encode(&NAME, 64), &NAME, 64), Ok(without));
        assert!(!has_table(&without.location(PackId(1), 64)));
        let entries = [with_table, without].map(|header| Entry { offset: 64, header });
        let footer = encode_footer(&entries);
        let trailer = encode_trailer(&NAME, 9000, &footer);
        assert_eq!(decode_footer(&NAME, &footer, &trailer, false).unwrap(), entries);
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let max = PLAIN_LEN_MAX;
        let zstd_with_table = RecordHeader { codec: Codec::Zstd, ..raw(70_000, 70_160, true) };
        for header in [
            raw(70_000, 70_001, false),
            raw(70_000, 70_160, false),
            raw(70_000, 70_128, true),
            raw(70_000, 160, true),
            raw(70_000, 70_000, true),
            raw(16_384, 16_384, true),
            raw(16_384, 16_416, true),
            raw(max + 1, max + 1, false),
            raw(max + 1, max + 1 + 1025 * 32, true),
            raw(u32::MAX, u32::MAX, true),
            zstd_with_table,
        ] {
            let decoded = decode(&header.encode(&NAME, 64), &NAME, 64);
            assert_eq!(decoded, Err("the record's length is impossible"), "{header:?}");
        }
        let longest = raw(max, max + 1024 * 32, true);
        assert_eq!(decode(&longest.encode(&NAME, 64), &NAME, 64), Ok(longest));
    }

    fn raw(plain_len: u32, stored_len: u32, has_table: bool) -> RecordHeader {
        let hash = sample().hash;
        RecordHeader { codec: Codec::Raw, has_table, plain_len, stored_len, hash, padding: None }
    }

    fn sample() -> RecordHeader {
        let hash = crate::chunks::hash(b"sample");
        let (plain_len, stored_len) = (70_000, 50_000);
        RecordHeader::plain(Codec::Zstd, plain_len, stored_len, hash)
    }
}
