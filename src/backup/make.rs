//! Making a generation: packs that the location lacks, the metadata of one moment, the manifest last.
//!
//! What is sent before the manifest is no backup yet, and is not sent again by the next run: a pack's part is named by what it holds. So a run can be
//! killed at each line, and goes on where it was.

use super::blocks::BlockWriter;
use super::catalog;
use super::damaged;
use super::location::Location;
use super::manifest::{FORMAT, Manifest, PACK_LIST, PACKS_PER_LIST, Pack, StoredFile, metadata_of};
use super::parts::{KnownParts, Sender};
use super::{Error, Result};
use crate::crypt::to_hex;
use crate::fs::{Frozen, Volume};
use crate::model::{Moment, Timestamp, second_name};
use crate::sys::{self, Task, failpoint};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;

/// How often a run begins anew because upkeep removed a pack that it was about to send.
const ROUNDS_MAX: usize = 5;
/// A full generation that was begun is gone on with within this time; later, another one is begun.
pub(super) const UNFINISHED_NANOS_MAX: i64 = 7 * 24 * 3600 * 1_000_000_000;
/// Where it is written which full generations were begun.
const BEGUN: &str = "begun/";

/// How a generation is made.
#[derive(Clone, Copy, Debug)]
pub struct MakeOptions {
    /// It is to need nothing of an earlier one. The first one at a location never does.
    pub full: bool,
    /// Packs that are sent at a time.
    pub connections: usize,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The generation's name.
    pub generation: String,
    /// Whether it needs nothing of an earlier one.
    pub full: bool,
    /// The newest moment in it, in nanoseconds since 1970.
    pub moment: i64,
    /// Bytes of the packs that it needs.
    pub pack_bytes: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
}

/// Backs the store up to the location. `now` is when that begins, by the clock.
///
/// # Errors
/// `Stopped`, `Foreign`, and what the location and the store say. Without an answer of `Ok` there is no new generation.
pub fn make(
    volume: &Volume,
    location: &Location,
    options: &MakeOptions,
    now: Timestamp,
    task: &dyn Task,
) -> Result<Made> {
    let store = catalog::id_of(volume)?;
    task.step("looking at what the location has");
    catalog::claim(location, &store)?;
    let newest = catalog::newest(location)?.filter(|newest| newest.store == store);
    let before = newest.as_ref().map(|newest| newest.series.clone());
    let name = newest.as_ref().map(|newest| newest.generation.clone());
    let base = newest.filter(|_| !options.full);
    let series = match &base {
        Some(base) => base.series.clone(),
        None => begin_series(location, &store, now)?,
    };
    let run =
        Run { volume, location, options, store, series, before, newest: name, base, now, task };
    for _ in 0..ROUNDS_MAX {
        match run.round() {
            Err(Error::PackGone(pack)) => {
                log::info!("pack {pack} was removed by upkeep while it was backed up: once more");
            }
            outcome => return outcome,
        }
    }
    Err(Error::Location {
        location: location.name().into(),
        why: "upkeep removed packs while they were backed up; try again when it is done".into(),
    })
}

/// Bytes of packs that [`make`] would send now: at most, since what a pack holds is not looked at.
pub fn would_send(volume: &Volume, location: &Location, full: bool) -> Result<u64> {
    let packs = volume.durable_packs()?;
    let base = catalog::newest(location)?.filter(|_| !full);
    let all = || packs.iter().map(|pack| pack.len).sum();
    let Some(base) = base else { return Ok(all()) };
    let sender = Sender::new(volume, location, &base.series, KnownParts::read(volume)?)?;
    Ok(packs.iter().map(|pack| sender.missing(pack)).sum())
}

/// One run, as far as it stays the same from round to round.
struct Run<'a> {
    volume: &'a Volume,
    location: &'a Location,
    options: &'a MakeOptions,
    store: String,
    series: String,
    /// The series of the newest generation that there is.
    before: Option<String>,
    /// Its name.
    newest: Option<String>,
    base: Option<Manifest>,
    now: Timestamp,
    task: &'a dyn Task,
}

impl Run<'_> {
    fn round(&self) -> Result<Made> {
        let parts = KnownParts::read(self.volume)?;
        let sender = Sender::new(self.volume, self.location, &self.series, parts)?
            .or_from(self.before.as_deref());
        // Before anything is held on to: most packs don't change any more.
        self.task.step("sending packs");
        let sealed = self.volume.durable_packs()?;
        let sealed: Vec<_> = sealed.into_iter().filter(|pack| pack.sealed).collect();
        let mut sent_bytes = sender.send(&sealed, self.options.connections, self.task)?.1;
        failpoint::hit("backup-after-packs");

        self.task.step("reading the metadata");
        let present = self.present_blocks()?;
        let frozen = self.volume.freeze()?;
        let moment = frozen.moment();
        let generation = generation_name(moment, self.newest.as_deref())?;
        let mut blocks =
            BlockWriter::new(&generation, self.base.as_ref(), &present, self.volume.store_path())?;
        let mut files = self.store_files(&frozen, &mut blocks)?;
        let infos = frozen.packs().to_vec();
        drop(frozen);
        sender.forget_gone(&infos)?;

        self.task.step("sending what is new");
        let (packs, sent) = sender.send(&infos, self.options.connections, self.task)?;
        sent_bytes += sent;
        let mut lists = pack_lists(&packs, &mut blocks)?;
        failpoint::hit("backup-before-metadata");
        sent_bytes += blocks.send(self.location, &self.series, self.task)?;
        lists.append(&mut files);
        let manifest = Manifest {
            format: FORMAT,
            store: self.store.clone(),
            series: self.series.clone(),
            full: self.base.is_none(),
            made: self.now.0,
            moment: moment.0,
            verso: env!("CARGO_PKG_VERSION").into(),
            encrypted: self.volume.is_encrypted(),
            packs: packs.len() as u64,
            pack_bytes: packs.iter().map(Pack::bytes).sum(),
            sent_bytes,
            objects: blocks.objects_of(&mut lists),
            files: lists,
            generation,
        };
        self.finish(&manifest)
    }

    /// The series' objects with blocks that may be built upon: their names, and lengths.
    fn present_blocks(&self) -> Result<HashMap<String, u64>> {
        let prefix = metadata_of(&self.series);
        let mut present = catalog::lens_below(self.location, &prefix)?;
        for name in damaged::noted(self.location, &prefix)? {
            present.remove(&name);
        }
        Ok(present)
    }

    /// The store's own files, the header last.
    fn store_files(
        &self,
        frozen: &Frozen<'_>,
        blocks: &mut BlockWriter,
    ) -> Result<Vec<StoredFile>> {
        let path = frozen.database();
        let failed = |source| Error::Io { path: path.to_owned(), source };
        let database = File::open(path).map_err(failed)?;
        let mut files = vec![blocks.add("meta.db", database).map_err(failed)?];
        for (name, contents) in frozen.small_files() {
            files.push(blocks.add(name, contents).map_err(failed)?);
        }
        Ok(files)
    }

    /// From here on it is a backup.
    fn finish(&self, manifest: &Manifest) -> Result<Made> {
        failpoint::hit("backup-before-manifest");
        let bytes = manifest.to_bytes();
        self.location.put(&manifest.key(), bytes.clone())?;
        if self.location.get(&manifest.key())? != bytes {
            let why = "it is not what was just written there";
            return Err(Error::damaged(self.location.name(), &manifest.key(), why));
        }
        failpoint::hit("backup-after-manifest");
        if manifest.full {
            // Where nothing can be deleted, the manifest says it.
            let begun = format!("{BEGUN}{}", manifest.series);
            if let Err(error) = self.location.delete(&[begun]) {
                log::debug!("{error}");
            }
        }
        Ok(Made {
            generation: manifest.generation.clone(),
            full: manifest.full,
            moment: manifest.moment,
            pack_bytes: manifest.pack_bytes,
            sent_bytes: manifest.sent_bytes,
        })
    }
}

/// The packs as files: lists of those whose numbers are close to each other.
fn pack_lists(packs: &[Pack], blocks: &mut BlockWriter) -> Result<Vec<StoredFile>> {
    let mut lists: BTreeMap<u32, Vec<&Pack>> = BTreeMap::new();
    for pack in packs {
        lists.entry(pack.pack / PACKS_PER_LIST).or_default().push(pack);
    }
    let mut files = Vec::new();
    for (number, list) in lists {
        let name = format!("{PACK_LIST}{number:05}");
        let text = serde_json::to_vec(&list).expect("a list of packs has nothing that JSON lacks");
        let failed = |source| Error::Io { path: name.clone().into(), source };
        files.push(blocks.add(&name, &text[..]).map_err(failed)?);
    }
    Ok(files)
}

/// The series that is to begin: one that was begun lately and has no generation, or a new one.
fn begin_series(location: &Location, store: &str, now: Timestamp) -> Result<String> {
    let finished = catalog::Catalog::outline(location)?;
    let is_finished =
        |series: &str| finished.generations.iter().any(|generation| generation.series == series);
    for object in location.list(BEGUN)?.iter().rev() {
        let Some(series) = object.key.strip_prefix(BEGUN).filter(|name| !is_finished(name)) else {
            continue;
        };
        let Ok(begun) = serde_json::from_slice::<Begun>(&location.get(&object.key)?) else {
            continue;
        };
        let age = now.0.saturating_sub(begun.at);
        if begun.store == store && (0..UNFINISHED_NANOS_MAX).contains(&age) {
            return Ok(series.to_owned());
        }
    }
    let series = format!("{}{}", second_name(Moment(now.0)), random_tail()?);
    let begun = Begun { store: store.to_owned(), at: now.0 };
    let text = serde_json::to_vec(&begun).expect("it has nothing that JSON lacks");
    location.put(&format!("{BEGUN}{series}"), text)?;
    Ok(series)
}

/// A series that was begun.
#[derive(Serialize, Deserialize)]
struct Begun {
    store: String,
    at: i64,
}

/// Names are in the order of moments, and of those with the same moment in the order in which they were made: after one that was
/// found damaged, a whole one of a drive that nobody used since must be the newest.
fn generation_name(moment: Moment, newest: Option<&str>) -> Result<String> {
    let nanos = moment.0.rem_euclid(1_000_000_000);
    let name = format!("{}.{nanos:09}Z-", second_name(moment).trim_end_matches('Z'));
    let before = newest.and_then(|newest| newest.strip_prefix(&name)?.get(..4));
    let before = before.and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let number = before.map_or(0, |before| before.saturating_add(1));
    Ok(format!("{name}{number:04x}{}", random_tail()?))
}

fn random_tail() -> Result<String> {
    let failed = |source| Error::Io { path: "random numbers".into(), source };
    Ok(format!("-{}", to_hex(&sys::random_bytes::<2>().map_err(failed)?)))
}
