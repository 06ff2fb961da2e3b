//! `store.toml`: what must be known before anything else can be read. Of an encrypted store it holds the key slots, and there are
//! two copies of it, each with a checksum.

use super::store_error::{StoreError, io_error};
use crate::chunks::ChunkParams;
use crate::crypt::{self, Key, Purpose, Slot};
use crate::sys::{self, failpoint};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The format of a store that is not encrypted, and of one that is.
const FORMAT_PLAIN: u32 = 1;
const FORMAT_ENCRYPTED: u32 = 2;
pub(super) const HEADER_FILE: &str = "store.toml";
/// The second copy of an encrypted store's header.
pub(super) const COPY_FILE: &str = "store.copy.toml";
const CHUNK_ALGORITHM: &str = "fastcdc-2020";
const CIPHER: &str = "aes-256-gcm";
/// What comes after it is the checksum of what comes before it.
const SEAL_LINE: &str = "\n[seal]\n";

/// What a store's header says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    format: u32,
    id: String,
    chunks: HeaderChunks,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct HeaderChunks {
    /// The algorithm: `fastcdc-2020`.
    algorithm: String,
    min_bytes: u32,
    avg_bytes: u32,
    max_bytes: u32,
}

/// How a store is encrypted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Encryption {
    cipher: String,
    /// How often the header was changed: tells an old one that was put back.
    pub generation: u64,
    /// The epoch of the master key in the slots.
    pub epoch: u32,
    /// The number of the next slot.
    pub next_key: u32,
    /// The key of the chunks' identities, wrapped with the master key.
    pub identity: String,
    #[serde(rename = "key")]
    pub slots: Vec<Slot>,
    /// Master keys of earlier epochs with which something is still sealed.
    #[serde(rename = "old", default, skip_serializing_if = "Vec::is_empty")]
    pub old: Vec<OldMaster>,
}

/// A master key of an earlier epoch, wrapped with the present one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OldMaster {
    pub epoch: u32,
    pub wrapped: String,
}

/// What follows an encrypted store's header.
#[derive(Debug, Serialize, Deserialize)]
struct Seal {
    /// BLAKE3 of the text before, keyed: only who has the master key can change it.
    mac: String,
    /// BLAKE3 of the text before: tells damage.
    blake3: String,
}

#[derive(Deserialize)]
struct Sealed {
    seal: Seal,
}

/// A header that was read.
pub(super) struct Found {
    pub header: Header,
    /// The text that the seal is of, and the seal; of an encrypted store only.
    sealed: Option<(String, Seal)>,
    /// What the other copy has for a MAC of the same text, where that differs: one of the two is damaged.
    other_mac: Option<String>,
    /// One of the two copies is missing, damaged or older.
    pub needs_mending: bool,
}

impl Header {
    pub(super) fn new(id: &[u8; 16], chunks: ChunkParams) -> Header {
        Header {
            format: FORMAT_PLAIN,
            id: crypt::to_hex(id),
            chunks: HeaderChunks {
                algorithm: CHUNK_ALGORITHM.into(),
                min_bytes: chunks.min(),
                avg_bytes: chunks.avg(),
                max_bytes: chunks.max(),
            },
            encryption: None,
        }
    }

    /// Makes it that of an encrypted store without slots.
    pub(super) fn encrypt(&mut self, epoch: u32, identity: String) {
        self.format = FORMAT_ENCRYPTED;
        self.encryption = Some(Encryption {
            cipher: CIPHER.into(),
            generation: 0,
            epoch,
            next_key: 1,
            identity,
            slots: Vec::new(),
            old: Vec::new(),
        });
    }

    /// The store's id. (Valid in each header that was read.)
    pub(super) fn id(&self) -> [u8; 16] {
        parse_id(&self.id).unwrap_or_default()
    }

    /// How the store's contents are cut.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(super) fn chunk_params(&self) -> Result<ChunkParams, String> {
        let HeaderChunks { min_bytes, avg_bytes, max_bytes, .. } = self.chunks;
        ChunkParams::new(min_bytes, avg_bytes, max_bytes).map_err(|why| why.to_string())
    }

    /// Which of two is newer.
    fn generation(&self) -> u64 {
        self.encryption.as_ref().map_or(0, |encryption| encryption.generation)
    }

    fn check(&self) -> Result<(), String> {
        if self.chunks.algorithm != CHUNK_ALGORITHM {
            return Err(format!("unknown chunking algorithm {:?}", self.chunks.algorithm));
        }
        self.chunk_params()?;
        if parse_id(&self.id).is_none() {
            return Err("the store's id is damaged".into());
        }
        match &self.encryption {
            Some(encryption) if encryption.cipher != CIPHER => {
                Err(format!("unknown cipher {:?}", encryption.cipher))
            }
            _ if self.encryption.is_some() != (self.format == FORMAT_ENCRYPTED) => {
                Err("it says neither clearly that the store is encrypted nor that it isn't".into())
            }
            _ => Ok(()),
        }
    }

    /// Writes a plain store's header.
    pub(super) fn write_plain(&self, store: &Path) -> Result<(), StoreError> {
        publish(store, HEADER_FILE, &self.text(store)?)
    }

    /// Writes both copies of an encrypted store's header. With the first it holds: if the second can't be written, that is no
    /// error, and put right when the store is opened.
    pub(super) fn write_sealed(&self, store: &Path, master: &Key) -> Result<(), StoreError> {
        let text = self.text(store)?;
        let sealed = sealed_with(store, &text, &self.id(), master)?;
        publish_first(store, &sealed)?;
        if let Err(error) = publish_second(store, &sealed) {
            log::warn!("the second copy of the header could not be written: {error}");
        }
        Ok(())
    }

    fn text(&self, store: &Path) -> Result<String, StoreError> {
        toml::to_string(self).map_err(|error| wrong(store, error.to_string()))
    }
}

impl Found {
    /// How often the header was changed.
    pub(super) fn generation(&self) -> u64 {
        self.header.generation()
    }

    /// Writes both copies as this one, which must be authentic, was read.
    pub(super) fn rewrite(&self, store: &Path, master: &Key) -> Result<(), StoreError> {
        let Some((text, _)) = &self.sealed else { return self.header.write_plain(store) };
        let sealed = sealed_with(store, text, &self.header.id(), master)?;
        publish_first(store, &sealed)?;
        publish_second(store, &sealed)
    }

    /// Whether whoever wrote the header had this master key.
    pub(super) fn is_authentic(&self, master: &Key) -> bool {
        let Some((text, seal)) = &self.sealed else { return false };
        let mac = mac_of(text, &self.header.id(), master);
        mac == seal.mac || self.other_mac.as_ref() == Some(&mac)
    }
}

/// Reads and checks the header: of an encrypted store the newest copy that is whole.
pub(super) fn read(store: &Path) -> Result<Found, StoreError> {
    let main = read_file(store, HEADER_FILE)?;
    let copy = read_file(store, COPY_FILE)?;
    let is_plain = main
        .as_ref()
        .is_some_and(|main| main.as_ref().is_ok_and(|found| found.header.encryption.is_none()));
    match (main, copy) {
        (Some(_), Some(Ok(copy))) if is_plain && copy.header.encryption.is_some() => {
            let why = "it says that the store is not encrypted, and its copy that it is";
            Err(wrong(store, why.into()))
        }
        (Some(main), _) if is_plain => main,
        (None, None) => Err(StoreError::Missing(store.to_owned())),
        (Some(Ok(main)), Some(Ok(copy))) => Ok(newer(main, copy)),
        // A flipped bit may make a number larger.
        (Some(Err(error @ StoreError::Newer { .. })), copy) => match copy {
            Some(Ok(found)) if !is_whole(store, HEADER_FILE) => {
                Ok(Found { needs_mending: true, ..found })
            }
            _ => Err(error),
        },
        (Some(Ok(found)), _) | (_, Some(Ok(found))) => Ok(Found { needs_mending: true, ..found }),
        (Some(Err(error)), _) | (None, Some(Err(error))) => Err(error),
    }
}

fn newer(main: Found, copy: Found) -> Found {
    match (&main.sealed, &copy.sealed) {
        // The MAC is not in the checksum.
        (Some((text, seal)), Some((other_text, other))) if text == other_text => {
            let other_mac = Some(other.mac.clone()).filter(|mac| *mac != seal.mac);
            Found { needs_mending: other_mac.is_some(), other_mac, ..main }
        }
        _ if copy.header.generation() > main.header.generation() => {
            Found { needs_mending: true, ..copy }
        }
        _ => Found { needs_mending: true, ..main },
    }
}

/// One copy; `None` if it isn't there.
fn read_file(store: &Path, name: &str) -> Result<Option<Result<Found, StoreError>>, StoreError> {
    let file = store.join(name);
    match std::fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(&file)(error)),
        Ok(bytes) => Ok(Some(parse(store, name, &bytes))),
    }
}

fn is_whole(store: &Path, name: &str) -> bool {
    std::fs::read_to_string(store.join(name)).is_ok_and(|text| unseal(&text).is_some())
}

fn parse(store: &Path, name: &str, bytes: &[u8]) -> Result<Found, StoreError> {
    let wrong = |why: String| StoreError::Header { path: store.join(name), why };
    let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    // First of all, so that it is told even where the rest means nothing to us.
    let Format { format } = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    match format {
        0 => return Err(wrong("there is no format 0: the file is damaged".into())),
        FORMAT_PLAIN | FORMAT_ENCRYPTED => {}
        found => {
            let path = store.to_owned();
            return Err(StoreError::Newer { path, found, known: FORMAT_ENCRYPTED });
        }
    }
    let sealed = match format {
        FORMAT_PLAIN => None,
        _ => {
            Some(unseal(text).ok_or_else(|| wrong("its checksum is wrong: it is damaged".into()))?)
        }
    };
    // Of what follows the seal nothing is believed: it may say anything.
    let text = sealed.as_ref().map_or(text, |(text, _)| text);
    let header: Header = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    header.check().map_err(wrong)?;
    Ok(Found { header, sealed, other_mac: None, needs_mending: false })
}

/// The text before the seal and the seal, if they belong together.
fn unseal(text: &str) -> Option<(String, Seal)> {
    let (before, _) = text.rsplit_once(SEAL_LINE)?;
    let Sealed { seal } = toml::from_str(text).ok()?;
    (seal.blake3 == blake3_hex(before)).then(|| (before.to_owned(), seal))
}

fn sealed_with(
    store: &Path,
    text: &str,
    id: &[u8; 16],
    master: &Key,
) -> Result<String, StoreError> {
    let seal = Seal { mac: mac_of(text, id, master), blake3: blake3_hex(text) };
    let seal = toml::to_string(&seal).map_err(|error| wrong(store, error.to_string()))?;
    Ok([text, SEAL_LINE, &seal].concat())
}

/// A crash between the two leaves one new and one old, or one new and none.
fn publish_first(store: &Path, text: &str) -> Result<(), StoreError> {
    failpoint::hit("key-header-before");
    publish(store, HEADER_FILE, text)
}

fn publish_second(store: &Path, text: &str) -> Result<(), StoreError> {
    failpoint::hit("key-header-between");
    publish(store, COPY_FILE, text)?;
    failpoint::hit("key-header-after");
    Ok(())
}

fn blake3_hex(text: &str) -> String {
    crypt::digest(text.as_bytes())
}

fn mac_of(text: &str, store: &[u8; 16], master: &Key) -> String {
    master.derive(Purpose::Header, &[store]).mac(text.as_bytes())
}

fn publish(store: &Path, name: &str, text: &str) -> Result<(), StoreError> {
    let file = store.join(name);
    sys::publish(&file, text.as_bytes()).map_err(io_error(&file))
}

/// What is wrong with the header.
pub(super) fn wrong(store: &Path, why: String) -> StoreError {
    StoreError::Header { path: store.join(HEADER_FILE), why }
}

fn parse_id(text: &str) -> Option<[u8; 16]> {
    let value = u128::from_str_radix(text, 16).ok()?;
    (text.len() == 32).then(|| value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn plain() -> Header {
        Header::new(&[7; 16], ChunkParams::default())
    }

    fn master() -> Key {
        Key::default()
    }

    fn sealed(generation: u64) -> Header {
        let mut header = plain();
        header.encrypt(1, "00".into());
        header.encryption.as_mut().unwrap().generation = generation;
        header
    }

    fn generation_in(dir: &TempDir) -> Option<(u64, bool)> {
        read(dir.path()).ok().map(|found| (found.header.generation(), found.needs_mending))
    }

    #[test]
    fn only_a_later_format_is_called_newer() {
        let dir = TempDir::new().unwrap();
        let with_format = |format: u32| {
            plain().write_plain(dir.path()).unwrap();
            let file = dir.path().join(HEADER_FILE);
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.replace("format = 1", &format!("format = {format}")))
                .unwrap();
            read(dir.path())
        };
        assert!(with_format(1).is_ok());
        assert!(matches!(with_format(0), Err(StoreError::Header { .. })));
        assert!(matches!(with_format(2), Err(StoreError::Header { .. })), "not encrypted");
        assert!(matches!(with_format(3), Err(StoreError::Newer { found: 3, known: 2, .. })));
    }

    #[test]
    fn a_plain_header_is_as_it_always_was() {
        let dir = TempDir::new().unwrap();
        plain().write_plain(dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join(HEADER_FILE)).unwrap();
        let documented = "format = 1\nid = \"07070707070707070707070707070707\"\n\n[chunks]\n\
                          algorithm = \"fastcdc-2020\"\nmin_bytes = 16384\navg_bytes = 65536\nmax_bytes = 262144\n";
        assert_eq!(text, documented);
        assert!(!dir.path().join(COPY_FILE).exists());
    }

    #[test]
    fn either_copy_is_enough() {
        for lost in [HEADER_FILE, COPY_FILE] {
            let dir = TempDir::new().unwrap();
            sealed(3).write_sealed(dir.path(), &master()).unwrap();
            assert_eq!(generation_in(&dir), Some((3, false)));
            std::fs::remove_file(dir.path().join(lost)).unwrap();
            assert_eq!(generation_in(&dir), Some((3, true)), "without {lost}");
        }
    }

    #[test]
    fn the_newer_copy_counts() {
        let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        sealed(3).write_sealed(old.path(), &master()).unwrap();
        for file in [HEADER_FILE, COPY_FILE] {
            sealed(4).write_sealed(new.path(), &master()).unwrap();
            std::fs::copy(old.path().join(file), new.path().join(file)).unwrap();
            assert_eq!(generation_in(&new), Some((4, true)), "{file} put back");
        }
    }

    #[test]
    fn each_flipped_bit_and_each_cut_is_found() {
        let dir = TempDir::new().unwrap();
        sealed(3).write_sealed(dir.path(), &master()).unwrap();
        std::fs::remove_file(dir.path().join(COPY_FILE)).unwrap();
        let file = dir.path().join(HEADER_FILE);
        let whole = std::fs::read(&file).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&file, &flipped).unwrap();
            let authentic = read(dir.path()).is_ok_and(|found| found.is_authentic(&master()));
            // White space and comments around the seal's values mean nothing.
            let same = String::from_utf8(flipped).is_ok_and(|text| {
                unseal(&text).is_some_and(|(before, _)| whole.starts_with(before.as_bytes()))
            });
            assert!(!authentic || same, "bit {bit}");
        }
        for len in 0..whole.len() - 2 {
            std::fs::write(&file, &whole[..len]).unwrap();
            assert!(read(dir.path()).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn nothing_after_the_seal_is_believed() {
        let dir = TempDir::new().unwrap();
        sealed(3).write_sealed(dir.path(), &master()).unwrap();
        let file = dir.path().join(HEADER_FILE);
        let whole = std::fs::read_to_string(&file).unwrap();
        let slot = "[[encryption.key]]\nid = 9\nkind = \"recovery\"\nmade = 0\nsalt = \"\"\nwrapped = \"\"\n";
        let old = "[[encryption.old]]\nepoch = 9\nwrapped = \"\"\n";
        std::fs::write(&file, [&whole, "\n", slot, old].concat()).unwrap();
        let found = read(dir.path());
        let encryption = found.ok().and_then(|found| found.header.encryption);
        assert!(encryption.is_none_or(|read| read.slots.is_empty() && read.old.is_empty()));
    }

    #[test]
    fn a_damaged_mac_is_one_damaged_copy() {
        let dir = TempDir::new().unwrap();
        sealed(3).write_sealed(dir.path(), &master()).unwrap();
        for file in [HEADER_FILE, COPY_FILE] {
            let file = dir.path().join(file);
            let whole = std::fs::read_to_string(&file).unwrap();
            let at = whole.find("mac = \"").unwrap() + 7;
            let digit = if whole[at..].starts_with('0') { "1" } else { "0" };
            std::fs::write(&file, [&whole[..at], digit, &whole[at + 1..]].concat()).unwrap();
            let found = read(dir.path()).unwrap();
            assert!(found.is_authentic(&master()) && found.needs_mending);
            found.rewrite(dir.path(), &master()).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), whole);
        }
    }

    #[test]
    fn a_flipped_bit_makes_no_newer_format() {
        let dir = TempDir::new().unwrap();
        sealed(3).write_sealed(dir.path(), &master()).unwrap();
        let file = dir.path().join(HEADER_FILE);
        let text = std::fs::read_to_string(&file).unwrap().replace("format = 2", "format = 3");
        std::fs::write(&file, &text).unwrap();
        assert_eq!(generation_in(&dir), Some((3, true)));
        let (before, _) = text.rsplit_once(SEAL_LINE).unwrap();
        let newer = sealed_with(dir.path(), before, &[7; 16], &master()).unwrap();
        std::fs::write(&file, newer).unwrap();
        assert!(matches!(read(dir.path()), Err(StoreError::Newer { found: 3, .. })));
    }

    #[test]
    fn a_plain_header_does_not_hide_an_encrypted_one() {
        let dir = TempDir::new().unwrap();
        sealed(3).write_sealed(dir.path(), &master()).unwrap();
        plain().write_plain(dir.path()).unwrap();
        assert!(matches!(read(dir.path()), Err(StoreError::Header { .. })));
    }

    #[test]
    fn who_has_no_key_cannot_change_it() {
        let dir = TempDir::new().unwrap();
        let mut other = Key::default();
        other.set(&[1; 32]);
        sealed(3).write_sealed(dir.path(), &other).unwrap();
        let found = read(dir.path()).unwrap();
        assert!(found.is_authentic(&other) && !found.is_authentic(&master()));
    }
}
