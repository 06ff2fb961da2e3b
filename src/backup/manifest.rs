//! What a generation consists of. `docs/BACKUPS.md` describes the bytes.

use super::{Error, Result};
use crate::crypt::to_hex;
use crate::model::{Moment, PackId, Timestamp};
use serde::{Deserialize, Serialize};

/// The format of what lies at a location. A reader refuses what is newer.
pub(super) const FORMAT: u32 = 1;
/// The object that says whose location it is.
pub(super) const MARK: &str = "verso.json";
/// Where the manifests of all generations lie.
pub(super) const GENERATIONS: &str = "generations/";

/// Says which store a location belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub format: u32,
    /// The store's id, 32 hex digits.
    pub store: String,
}

/// A generation: the store as it was at one moment. Written last, so what it names is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// The store's id, 32 hex digits.
    pub store: String,
    /// Its own name; names are in the order of moments.
    pub generation: String,
    /// The series that it is in: what lies in one series needs no other.
    pub series: String,
    /// Whether it is the first of its series, and so needs nothing of an earlier one.
    pub full: bool,
    /// When it was begun, by the clock.
    pub made: i64,
    /// The newest moment in it.
    pub moment: i64,
    /// The program's version.
    pub verso: String,
    /// Whether it takes a key to be read.
    pub encrypted: bool,
    /// How many packs it needs.
    pub packs: u64,
    /// Bytes of these.
    pub pack_bytes: u64,
    /// Bytes that were sent for it, without the manifest.
    pub sent_bytes: u64,
    /// Objects in which blocks lie, in the series' `metadata/`.
    pub objects: Vec<String>,
    /// The store's files but for the packs, the header last, and the lists of packs before all.
    pub files: Vec<StoredFile>,
}

/// A file, as a list of blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its name in the store; that of a list of packs begins with [`PACK_LIST`].
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// What it consists of, in order.
    pub blocks: Vec<Block>,
}

/// A stretch of a file, compressed. Blocks that were there before are not stored again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// BLAKE3 of its plain bytes.
    #[serde(rename = "b3", with = "hex")]
    pub hash: [u8; 32],
    /// In which of the manifest's objects it lies.
    #[serde(rename = "in")]
    pub object: u32,
    /// From which byte on.
    #[serde(rename = "at")]
    pub offset: u64,
    /// Bytes that it takes there.
    #[serde(rename = "len")]
    pub stored_len: u32,
}

/// What the name of a list of packs begins with; what follows is its number. Each is about as many pack numbers.
pub(super) const PACK_LIST: &str = "packs/";
/// Every other file that a generation has. Whoever can write to a location must not choose which files a restore writes: a name is a path, and
/// settings in a store name programs that are run.
const STORE_FILES: [&str; 4] = ["meta.db", "meta.db-wal", "store.copy.toml", "store.toml"];
/// Pack numbers in a list: those that don't change from generation to generation are not stored again.
pub(super) const PACKS_PER_LIST: u32 = 1024;

/// A pack, as the parts in which it was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// Its number.
    pub pack: u32,
    /// Whether it will not change any more.
    pub sealed: bool,
    /// Its bytes, from the first to the last.
    pub parts: Vec<Part>,
}

/// A stretch of a pack: an object of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its first byte in the pack.
    pub start: u64,
    /// Its bytes.
    pub len: u64,
    /// The BLAKE3 hash of them.
    #[serde(rename = "b3", with = "hex")]
    pub hash: [u8; 32],
}

impl StoredFile {
    /// Whether it is no file of the store, but a list of packs.
    pub(super) fn is_pack_list(&self) -> bool {
        self.name.starts_with(PACK_LIST)
    }
}

impl Pack {
    /// Its number.
    pub fn id(&self) -> PackId {
        PackId(self.pack)
    }

    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().fold(0, |bytes, part| bytes.saturating_add(part.len))
    }

    /// Whether its parts follow each other without a gap.
    pub(super) fn is_whole(&self) -> bool {
        let mut end = Some(0);
        self.parts.iter().all(|part| {
            let follows = end == Some(part.start);
            end = part.start.checked_add(part.len);
            follows && end.is_some()
        })
    }
}

impl Part {
    /// The object's name in the series' `packs/`: it says everything that is known of its contents, so one that is there under this name, and as long, is
    /// never sent again.
    pub(super) fn name(&self, pack: PackId) -> String {
        format!("{pack}-{:x}-{}", self.start, to_hex(&self.hash[..16]))
    }
}

impl Manifest {
    /// The newest moment in it.
    pub fn moment(&self) -> Moment {
        Moment(self.moment)
    }

    /// When it was begun, by the clock.
    pub fn made(&self) -> Timestamp {
        Timestamp(self.made)
    }

    /// The store's own files, the header last.
    pub(super) fn store_files(&self) -> impl Iterator<Item = &StoredFile> {
        self.files.iter().filter(|file| !file.is_pack_list())
    }

    /// The lists of its packs.
    pub(super) fn pack_lists(&self) -> impl Iterator<Item = &StoredFile> {
        self.files.iter().filter(|file| file.is_pack_list())
    }

    /// Its object at the location.
    pub(super) fn key(&self) -> String {
        manifest_key(&self.generation)
    }

    /// The object of a part of a pack.
    pub(super) fn part_key(&self, pack: PackId, part: &Part) -> String {
        format!("{}{}", packs_of(&self.series), part.name(pack))
    }

    /// The object in which a block lies.
    pub(super) fn object_key(&self, object: &str) -> String {
        format!("{}{object}", metadata_of(&self.series))
    }

    /// As it is stored: one line, and its checksum in a second one.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a manifest has nothing that JSON lacks");
        let seal = blake3::hash(&bytes).to_hex();
        bytes.push(b'\n');
        bytes.extend_from_slice(seal.as_bytes());
        bytes.push(b'\n');
        bytes
    }

    /// The manifest that was stored under `key` at `location`.
    ///
    /// # Errors
    /// `Damaged` where it is torn or changed, `Newer` where a later version wrote it.
    pub(super) fn parse(location: &str, key: &str, bytes: &[u8]) -> Result<Manifest> {
        let damaged = |why: &str| Error::damaged(location, key, why);
        let mut lines = bytes.split(|&byte| byte == b'\n');
        let (Some(text), Some(seal)) = (lines.next(), lines.next()) else {
            return Err(damaged("it is cut off"));
        };
        if blake3::hash(text).to_hex().as_bytes() != seal {
            return Err(damaged("its checksum is wrong"));
        }
        let format: Format =
            serde_json::from_slice(text).map_err(|_| damaged("it says nothing"))?;
        format.refuse_newer(location)?;
        let manifest: Manifest =
            serde_json::from_slice(text).map_err(|error| damaged(&error.to_string()))?;
        match manifest.files.iter().find(|file| !is_name(&file.name)) {
            Some(file) => Err(damaged(&format!("it names a file {:?}", file.name))),
            None => Ok(manifest),
        }
    }
}

fn is_name(file: &str) -> bool {
    file.starts_with(PACK_LIST) || STORE_FILES.contains(&file)
}

/// Which format something at a location has.
#[derive(Deserialize)]
pub(super) struct Format {
    format: u32,
}

impl Format {
    pub(super) fn refuse_newer(&self, location: &str) -> Result<()> {
        match self.format {
            FORMAT => Ok(()),
            found => Err(Error::Newer { location: location.into(), found, known: FORMAT }),
        }
    }
}

/// The object of a generation's manifest.
pub(super) fn manifest_key(generation: &str) -> String {
    format!("{GENERATIONS}{generation}.json")
}

/// The generation of which this is the manifest's object.
pub(super) fn generation_of(key: &str) -> Option<&str> {
    key.strip_prefix(GENERATIONS)?.strip_suffix(".json")
}

/// Where a series' parts of packs lie.
pub(super) fn packs_of(series: &str) -> String {
    format!("series/{series}/packs/")
}

/// Where a series' blocks lie.
pub(super) fn metadata_of(series: &str) -> String {
    format!("series/{series}/metadata/")
}

/// 32 bytes as hexadecimal digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(hash: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&blake3::Hash::from_bytes(*hash).to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        blake3::Hash::from_hex(text.as_bytes())
            .map(|hash| *hash.as_bytes())
            .map_err(D::Error::custom)
    }
}
