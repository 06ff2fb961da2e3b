//! Which generations a location has.

use super::blocks::BlockReader;
use super::location::Location;
use super::manifest::{
    self, FORMAT, Format, GENERATIONS, MARK, Manifest, Mark, Pack, StoredFile, generation_of,
};
use super::{Error, Result};
use crate::crypt::to_hex;
use crate::fs::Volume;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The generations of a location.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Those that can be used, oldest first.
    pub generations: Vec<Manifest>,
    /// Manifests that can't be read: which, and why not.
    pub unreadable: Vec<(String, String)>,
    /// Manifests that were listed, and not there when they were to be read: removed since, or a location that doesn't always find what it has.
    pub vanished: Vec<String>,
}

impl Catalog {
    /// Reads every manifest.
    pub fn read(location: &Location) -> Result<Catalog> {
        Catalog::read_with(location, |_| {})
    }

    /// Reads every manifest, and keeps of its files the lists of packs only: of thousands of generations of much metadata, the rest would not
    /// fit into memory.
    pub fn outline(location: &Location) -> Result<Catalog> {
        Catalog::read_with(location, |manifest| {
            manifest.files.retain(StoredFile::is_pack_list);
        })
    }

    fn read_with(location: &Location, trim: impl Fn(&mut Manifest)) -> Result<Catalog> {
        let mut catalog = Catalog::default();
        for name in names(location)? {
            match read_manifest(location, &name) {
                Ok(mut manifest) => {
                    trim(&mut manifest);
                    catalog.generations.push(manifest);
                }
                Err(Error::NotFound { .. }) => catalog.vanished.push(name),
                Err(error @ Error::Damaged { .. }) => {
                    catalog.unreadable.push((name, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(catalog)
    }
}

/// The names of all generations, oldest first.
fn names(location: &Location) -> Result<Vec<String>> {
    let objects = location.list(GENERATIONS)?;
    let mut names: Vec<String> =
        objects.iter().filter_map(|object| generation_of(&object.key)).map(String::from).collect();
    names.sort_unstable();
    Ok(names)
}

fn read_manifest(location: &Location, name: &str) -> Result<Manifest> {
    let key = manifest::manifest_key(name);
    Manifest::parse(location.name(), &key, &location.get(&key)?)
}

/// The newest generation that can be read, if there is one. One whose manifest is damaged is passed over, with a warning.
pub fn newest(location: &Location) -> Result<Option<Manifest>> {
    for name in names(location)?.iter().rev() {
        match read_manifest(location, name) {
            Ok(manifest) => return Ok(Some(manifest)),
            Err(Error::NotFound { .. }) => {}
            Err(error @ Error::Damaged { .. }) => log::error!("{error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The generation of this name, or whose name begins so; without one the newest.
///
/// # Errors
/// `NoGeneration` where there is none, or several.
pub fn find(location: &Location, wanted: Option<&str>) -> Result<Manifest> {
    let none = |why: String| Error::NoGeneration { location: location.name().into(), why };
    let Some(wanted) = wanted else {
        return newest(location)?.ok_or_else(|| none("nothing was ever backed up there".into()));
    };
    let names = names(location)?;
    let mut fitting = names.iter().filter(|name| name.starts_with(wanted));
    match (fitting.next(), fitting.next()) {
        (Some(name), None) => read_manifest(location, name),
        (Some(_), Some(_)) => Err(none(format!("several begin with {wanted}; name one in full"))),
        (None, _) => Err(none(format!("there is no {wanted}; `verso backup list` names them"))),
    }
}

/// The objects below a prefix: their names in it, and their lengths.
pub(super) fn lens_below(location: &Location, prefix: &str) -> Result<HashMap<String, u64>> {
    let objects = location.list(prefix)?.into_iter();
    Ok(objects
        .filter_map(|object| Some((object.key.strip_prefix(prefix)?.to_owned(), object.len)))
        .collect())
}

/// Which store's location it is; `None` where nothing was put there yet.
pub fn owner(location: &Location) -> Result<Option<String>> {
    let bytes = match location.get(MARK) {
        Ok(bytes) => bytes,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = |_| Error::damaged(location.name(), MARK, "it can't be understood");
    let format: Format = serde_json::from_slice(&bytes).map_err(damaged)?;
    format.refuse_newer(location.name())?;
    let mark: Mark = serde_json::from_slice(&bytes).map_err(damaged)?;
    Ok(Some(mark.store))
}

/// Refuses a location that holds another store's backups.
///
/// # Errors
/// `Foreign`.
pub fn refuse_foreign(location: &Location, volume: &Volume) -> Result<()> {
    is_of(location, &id_of(volume)?).map(drop)
}

/// Whether it is the location of this store; not while it is nobody's yet.
///
/// # Errors
/// `Foreign` where it is another one's.
fn is_of(location: &Location, store: &str) -> Result<bool> {
    match owner(location)? {
        Some(owner) if owner == store => Ok(true),
        Some(_) => Err(Error::Foreign { location: location.name().into() }),
        None => Ok(false),
    }
}

/// The store's id as it is written at locations.
pub(super) fn id_of(volume: &Volume) -> Result<String> {
    Ok(to_hex(&volume.store_id()?))
}

/// Makes the location that of the store, unless it is another one's.
pub(super) fn claim(location: &Location, store: &str) -> Result<()> {
    if is_of(location, store)? {
        return Ok(());
    }
    let mark = Mark { format: FORMAT, store: store.to_owned() };
    location.put(MARK, serde_json::to_vec(&mark).expect("a mark has nothing that JSON lacks"))
}

/// Reads which packs generations need. Lists that several have in common are read once.
pub(super) struct PackLists<'l> {
    location: &'l Location,
    /// By the hashes of a list's blocks.
    known: HashMap<Vec<[u8; 32]>, Vec<Pack>>,
}

impl<'l> PackLists<'l> {
    pub(super) fn new(location: &'l Location) -> PackLists<'l> {
        PackLists { location, known: HashMap::new() }
    }

    /// The packs that a generation needs, in the order of their numbers.
    pub(super) fn packs(&mut self, manifest: &Manifest) -> Result<Vec<Pack>> {
        let mut packs = Vec::new();
        for file in manifest.pack_lists() {
            let key = file.blocks.iter().map(|block| block.hash).collect();
            let list = match self.known.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(read_list(self.location, manifest, file)?),
            };
            packs.extend_from_slice(list);
        }
        Ok(packs)
    }
}

fn read_list(location: &Location, manifest: &Manifest, file: &StoredFile) -> Result<Vec<Pack>> {
    let text = BlockReader::new(location, manifest).read_parts(file)?;
    let damaged = |why: &str| Error::damaged(location.name(), &file.name, why);
    let packs: Vec<Pack> =
        serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
    match packs.iter().all(Pack::is_whole) {
        true => Ok(packs),
        false => Err(damaged("the parts of a pack don't follow each other")),
    }
}
