//! Whether what generations need is at the location, and is what it was.

use super::Error;
use super::Result;
use super::blocks::BlockReader;
use super::catalog::{Catalog, PackLists};
use super::damaged;
use super::location::Location;
use super::manifest::{Manifest, Pack, Part, metadata_of, packs_of};
use crate::sys::Task;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Faults that are told one by one; the rest is counted.
const FAULTS_TOLD_MAX: usize = 100;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Generations that were looked at, oldest first.
    pub generations: Vec<String>,
    /// Objects that they need.
    pub objects: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Bytes that were read and compared with what they hash to.
    pub read_bytes: u64,
    /// What is wrong, the first ones.
    pub faults: Vec<Fault>,
    /// How much is wrong in all.
    pub faults_total: u64,
    /// The newest generation with which nothing is wrong.
    pub newest_whole: Option<String>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// The generations that need it.
    pub generations: Vec<String>,
}

/// Looks whether every generation (with `newest_only`: the newest) can be restored: that all objects are there, as long as they should be; with `read_data` also that their
/// bytes are what they were, which fetches all of them.
///
/// # Errors
/// `Stopped`, and what the location says to being asked. What is wrong with a generation is in the answer.
pub fn verify(
    location: &Location,
    newest_only: bool,
    read_data: bool,
    task: &dyn Task,
) -> Result<Verified> {
    task.step("looking at what the location has");
    let mut catalog = Catalog::read(location)?;
    if newest_only {
        catalog.generations.drain(..catalog.generations.len().saturating_sub(1));
    }
    let mut look = Look {
        location,
        present: HashMap::new(),
        report: Verified::default(),
        bad: HashSet::new(),
    };
    for (name, why) in catalog.unreadable {
        look.fault(&super::manifest::manifest_key(&name), &why, std::slice::from_ref(&name));
    }
    look.report.generations =
        catalog.generations.iter().map(|generation| generation.generation.clone()).collect();
    let needed = look.needed(&catalog.generations)?;
    look.look_at_lengths(&needed);
    if read_data {
        look.read(&needed, task)?;
        look.read_metadata(&catalog.generations, task)?;
    }
    let bad = std::mem::take(&mut look.bad);
    let whole = look.report.generations.iter().rfind(|name| !bad.contains(*name)).cloned();
    look.report.newest_whole = whole;
    Ok(look.report)
}

/// An object that generations need.
struct Needed {
    /// Its length and hash, of a part of a pack.
    part: Option<Part>,
    /// Bytes that it has at least.
    len_min: u64,
    /// By their places in the report: there may be tens of thousands of parts and thousands of generations.
    generations: Vec<u32>,
}

struct Look<'l> {
    location: &'l Location,
    /// Objects that are there, and their lengths.
    present: HashMap<String, u64>,
    report: Verified,
    /// Generations that need something that is not there, or damaged.
    bad: HashSet<String>,
}

impl Look<'_> {
    /// Everything that these generations need; also takes down what is there.
    fn needed(&mut self, generations: &[Manifest]) -> Result<BTreeMap<String, Needed>> {
        let mut lists = PackLists::new(self.location);
        let mut needed: BTreeMap<String, Needed> = BTreeMap::new();
        let mut series = HashSet::new();
        for (number, generation) in (0..).zip(generations) {
            if series.insert(generation.series.clone()) {
                self.list(&packs_of(&generation.series))?;
                self.list(&metadata_of(&generation.series))?;
            }
            let mut need = |key: String, part: Option<Part>, len: u64| {
                let entry = needed.entry(key);
                let new = || Needed { part, len_min: 0, generations: Vec::new() };
                let entry = entry.or_insert_with(new);
                entry.len_min = entry.len_min.max(len);
                entry.generations.push(number);
            };
            for (object, len) in generation.objects.iter().zip(lens_of_objects(generation)) {
                need(generation.object_key(object), None, len);
            }
            match lists.packs(generation) {
                Ok(packs) => each_part(&packs, |pack, part| {
                    need(generation.part_key(pack.id(), part), Some(*part), part.len);
                }),
                Err(error @ (Error::Damaged { .. } | Error::NotFound { .. })) => {
                    let why = format!("the list of its packs can't be read: {error}");
                    self.fault(
                        &generation.key(),
                        &why,
                        std::slice::from_ref(&generation.generation),
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(needed)
    }

    fn list(&mut self, prefix: &str) -> Result<()> {
        let objects = self.location.list(prefix)?;
        self.present.extend(objects.into_iter().map(|object| (object.key, object.len)));
        Ok(())
    }

    fn look_at_lengths(&mut self, needed: &BTreeMap<String, Needed>) {
        for (key, need) in needed {
            let found = self.present.get(key).copied();
            self.report.objects += 1;
            self.report.bytes += found.unwrap_or_default();
            match (found, need.part.map(|part| part.len)) {
                (None, _) => self.fault_of(key, "it is missing", need),
                (Some(found), Some(len)) if found != len => {
                    let why = format!("it has {found} bytes instead of {len}");
                    self.fault_of(key, &why, need);
                }
                (Some(found), None) if found < need.len_min => {
                    let why = format!("it has {found} bytes, and needs {}", need.len_min);
                    self.fault_of(key, &why, need);
                }
                _ => {}
            }
        }
    }

    /// Reads every part of a pack.
    fn read(&mut self, needed: &BTreeMap<String, Needed>, task: &dyn Task) -> Result<()> {
        task.step("reading packs");
        let total = needed.values().filter_map(|need| need.part).map(|part| part.len).sum();
        let mut done = 0;
        for (key, need) in needed {
            let Some(part) = need.part else { continue };
            if task.is_stopped() {
                return Err(Error::Stopped);
            }
            task.pace(part.len);
            if self.present.get(key) == Some(&part.len) {
                match self.location.get(key) {
                    Ok(bytes) if *blake3::hash(&bytes).as_bytes() == part.hash => {
                        self.report.read_bytes += part.len;
                    }
                    Ok(_) => {
                        let why = "its bytes are not what they were";
                        damaged::note(
                            self.location,
                            &Error::damaged(self.location.name(), key, why),
                        );
                        self.fault_of(key, why, need);
                    }
                    Err(Error::NotFound { .. }) => {
                        self.fault_of(key, "it is missing", need);
                    }
                    Err(error) => return Err(error),
                }
            }
            done += part.len;
            task.progress(done, total);
        }
        Ok(())
    }

    /// Reads the metadata of each generation.
    fn read_metadata(&mut self, generations: &[Manifest], task: &dyn Task) -> Result<()> {
        task.step("reading metadata");
        for generation in generations {
            let mut reader = BlockReader::new(self.location, generation);
            for file in generation.store_files() {
                match reader.copy(file, &mut std::io::sink(), task) {
                    Ok(()) => self.report.read_bytes += file.len,
                    Err(Error::Stopped) => return Err(Error::Stopped),
                    Err(error @ (Error::Damaged { .. } | Error::NotFound { .. })) => {
                        let name = [generation.generation.clone()];
                        self.fault(&generation.key(), &error.to_string(), &name);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn fault_of(&mut self, object: &str, what: &str, need: &Needed) {
        let name = |&number: &u32| self.report.generations[number as usize].clone();
        let generations: Vec<String> = need.generations.iter().map(name).collect();
        self.fault(object, what, &generations);
    }

    fn fault(&mut self, object: &str, what: &str, generations: &[String]) {
        self.bad.extend(generations.iter().cloned());
        self.report.faults_total += 1;
        if self.report.faults.len() < FAULTS_TOLD_MAX {
            let (object, what) = (object.to_owned(), what.to_owned());
            self.report.faults.push(Fault { object, what, generations: generations.to_vec() });
        }
    }
}

/// Of each object with blocks of a generation, the bytes that it has at least.
fn lens_of_objects(generation: &Manifest) -> Vec<u64> {
    let mut lens = vec![0; generation.objects.len()];
    for block in generation.files.iter().flat_map(|file| &file.blocks) {
        if let Some(len) = lens.get_mut(block.object as usize) {
            *len = block.offset.saturating_add(block.stored_len.into()).max(*len);
        }
    }
    lens
}

fn each_part(packs: &[Pack], mut visit: impl FnMut(&Pack, &Part)) {
    for pack in packs {
        pack.parts.iter().for_each(|part| visit(pack, part));
    }
}
