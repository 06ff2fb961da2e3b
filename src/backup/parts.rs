//! Packs as the parts in which they are copied. A sealed pack is a part, as a rule; one that is being written gets another part with each
//! generation.

use super::catalog::lens_below;
use super::damaged;
use super::location::Location;
use super::manifest::{Pack, Part, packs_of};
use super::parallel::each;
use super::{Error, Result};
use crate::chunks::{self, PackInfo};
use crate::fs::{self, Volume};
use crate::meta::PackPart;
use crate::model::PackId;
use crate::sys::{Task, failpoint};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a part, at most: it is in memory while it is sent, and read and written at one go beside the live drive.
const PART_BYTES_MAX: u64 = 16 << 20;
/// A sealed pack of more parts, and of twice as many as it takes, is copied anew.
const PARTS_MAX: usize = 8;

/// What is known of the packs' parts.
pub(super) struct KnownParts {
    packs: BTreeMap<PackId, Vec<PackPart>>,
}

impl KnownParts {
    pub(super) fn read(volume: &Volume) -> Result<KnownParts> {
        let mut packs: BTreeMap<PackId, Vec<PackPart>> = BTreeMap::new();
        for (pack, part) in volume.pack_parts()? {
            packs.entry(pack).or_default().push(part);
        }
        Ok(KnownParts { packs })
    }

    /// In which parts the first `pack.len` bytes of a pack are copied; of those that are known, with their hash.
    fn plan(&self, pack: &PackInfo) -> Vec<Planned> {
        let known = self.packs.get(&pack.id).map_or(&[][..], |parts| &parts[..]);
        let mut planned = Vec::new();
        let mut end = 0;
        for part in known {
            // What does not follow, or goes beyond, is left of something that never came to its end.
            if part.start != end || part.start + part.len > pack.len {
                break;
            }
            end += part.len;
            planned.push(Planned { start: part.start, len: part.len, hash: Some(part.hash) });
        }
        let fewest = pack.len.div_ceil(PART_BYTES_MAX) as usize;
        if pack.sealed && planned.len() > PARTS_MAX.max(2 * fewest) {
            planned.clear();
            end = 0;
        }
        while end < pack.len {
            let len = PART_BYTES_MAX.min(pack.len - end);
            planned.push(Planned { start: end, len, hash: None });
            end += len;
        }
        planned
    }
}

/// A part that is to be at the location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planned {
    start: u64,
    len: u64,
    hash: Option<[u8; 32]>,
}

/// Brings packs to a series.
pub(super) struct Sender<'a> {
    volume: &'a Volume,
    location: &'a Location,
    series: &'a str,
    /// Another series, from which parts are taken that are damaged in the store by now.
    before: Option<&'a str>,
    known: Mutex<KnownParts>,
    /// What is there: names of parts, and their lengths.
    present: Mutex<HashMap<String, u64>>,
    /// Names of those of them that were found to be damaged, and that nobody has tried to mend yet.
    damaged: Mutex<HashSet<String>>,
}

/// How far a call of [`Sender::send`] is; all in bytes.
#[derive(Default)]
struct Progress {
    done: AtomicU64,
    sent: AtomicU64,
    total: u64,
}

impl<'a> Sender<'a> {
    pub(super) fn new(
        volume: &'a Volume,
        location: &'a Location,
        series: &'a str,
        known: KnownParts,
    ) -> Result<Sender<'a>> {
        let present = lens_below(location, &packs_of(series))?;
        let damaged = damaged::noted(location, &packs_of(series))?;
        let (known, present, damaged) =
            (Mutex::new(known), Mutex::new(present), Mutex::new(damaged));
        Ok(Sender { volume, location, series, before: None, known, present, damaged })
    }

    /// Takes what is damaged in the store from the series `before`, if that has it whole.
    pub(super) fn or_from(self, before: Option<&'a str>) -> Sender<'a> {
        Sender { before, ..self }
    }

    /// Sends what the location lacks of these packs, `connections` at a time; answers all of them, in order, and how many bytes were sent.
    ///
    /// # Errors
    /// `PackGone` where upkeep has removed one.
    pub(super) fn send(
        &self,
        packs: &[PackInfo],
        connections: usize,
        task: &dyn Task,
    ) -> Result<(Vec<Pack>, u64)> {
        let total = packs.iter().map(|pack| pack.len).sum();
        let progress = Progress { total, ..Progress::default() };
        let sent = each(packs, connections, |info| self.send_pack(info, &progress, task))?;
        Ok((sent, progress.sent.into_inner()))
    }

    fn send_pack(&self, info: &PackInfo, progress: &Progress, task: &dyn Task) -> Result<Pack> {
        let planned = self.known.lock().plan(info);
        let mut pack = Pack { pack: info.id.0, sealed: info.sealed, parts: Vec::new() };
        let mut noted = false;
        for part in planned {
            if task.is_stopped() {
                return Err(Error::Stopped);
            }
            noted |= part.hash.is_none();
            pack.parts.push(self.send_part(info.id, part, progress, task)?);
            let done = progress.done.fetch_add(part.len, Ordering::Relaxed) + part.len;
            task.progress(done, progress.total);
        }
        if noted {
            self.note(&pack)?;
        }
        Ok(pack)
    }

    fn send_part(
        &self,
        pack: PackId,
        planned: Planned,
        progress: &Progress,
        task: &dyn Task,
    ) -> Result<Part> {
        let Planned { start, len, hash } = planned;
        if let Some(part) = hash.map(|hash| Part { start, len, hash })
            && self.is_present(pack, &part)
        {
            return self.mend(pack, part, progress, task);
        }
        task.pace(len);
        let mut bytes = self.read(pack, start, len)?;
        let found = *blake3::hash(&bytes).as_bytes();
        let part = Part { start, len, hash: hash.unwrap_or(found) };
        if part.hash != found {
            bytes = self.undamaged(pack, &part)?;
        }
        if !self.is_present(pack, &part) {
            self.location.put(&format!("{}{}", packs_of(self.series), part.name(pack)), bytes)?;
            self.present.lock().insert(part.name(pack), len);
            progress.sent.fetch_add(len, Ordering::Relaxed);
            failpoint::hit("backup-after-part");
        }
        Ok(part)
    }

    /// A part that is there: sent once more if it was found to be damaged there, and is what it was here.
    fn mend(&self, pack: PackId, part: Part, progress: &Progress, task: &dyn Task) -> Result<Part> {
        let name = part.name(pack);
        if !self.damaged.lock().remove(&name) {
            return Ok(part);
        }
        task.pace(part.len);
        let bytes = self.read(pack, part.start, part.len)?;
        if *blake3::hash(&bytes).as_bytes() != part.hash {
            // As long as neither has it, the other parts must not wait for it.
            log::error!("{name} is damaged at {} and in the store", self.location.name());
            return Ok(part);
        }
        let key = format!("{}{name}", packs_of(self.series));
        self.location.put(&key, bytes)?;
        progress.sent.fetch_add(part.len, Ordering::Relaxed);
        damaged::mended(self.location, &key)?;
        log::info!("{}: {key} was damaged, and is whole again", self.location.name());
        Ok(part)
    }

    /// A part that is no longer what it was on this machine, as it was copied before. Scrubbing repairs chunks by storing them once more: the pack itself
    /// stays as it is, and would be in the way of each full generation to come.
    fn undamaged(&self, pack: PackId, part: &Part) -> Result<Vec<u8>> {
        let changed = Error::PackChanged { pack, start: part.start };
        let Some(before) = self.before else { return Err(changed) };
        match self.location.get(&format!("{}{}", packs_of(before), part.name(pack))) {
            Ok(bytes) if *blake3::hash(&bytes).as_bytes() == part.hash => {
                log::warn!("{changed}; taken from an earlier generation");
                Ok(bytes)
            }
            Ok(_) | Err(Error::NotFound { .. }) => Err(changed),
            Err(error) => Err(error),
        }
    }

    /// Bytes of a pack that may have to be sent.
    pub(super) fn missing(&self, pack: &PackInfo) -> u64 {
        let is_there = |part: &Planned| {
            let known = part.hash.map(|hash| Part { start: part.start, len: part.len, hash });
            known.is_some_and(|part| self.is_present(pack.id, &part))
        };
        let planned = self.known.lock().plan(pack);
        planned.iter().filter(|part| !is_there(part)).map(|part| part.len).sum()
    }

    fn is_present(&self, pack: PackId, part: &Part) -> bool {
        self.present.lock().get(&part.name(pack)) == Some(&part.len)
    }

    fn read(&self, pack: PackId, start: u64, len: u64) -> Result<Vec<u8>> {
        let read = self.volume.read_pack(pack, start, len as usize);
        read.map_err(|error| match error {
            fs::Error::Chunks(chunks::Error::Damaged { .. }) if self.is_gone(pack) => {
                Error::PackGone(pack)
            }
            error => error.into(),
        })
    }

    fn is_gone(&self, pack: PackId) -> bool {
        self.volume.durable_packs().is_ok_and(|packs| packs.iter().all(|info| info.id != pack))
    }

    /// Remembers the parts of a pack: the next generation need not read them. On a full disk it will have to.
    fn note(&self, pack: &Pack) -> Result<()> {
        let parts: Vec<PackPart> = (pack.parts.iter())
            .map(|part| PackPart { start: part.start, len: part.len, hash: part.hash })
            .collect();
        self.known.lock().packs.insert(pack.id(), parts.clone());
        match self.volume.note_pack_parts(pack.id(), &parts) {
            Ok(()) | Err(fs::Error::NoSpace) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets the parts of packs that the store does not have any more.
    pub(super) fn forget_gone(&self, packs: &[PackInfo]) -> Result<()> {
        let there: HashSet<PackId> = packs.iter().map(|pack| pack.id).collect();
        let known = self.known.lock();
        let gone: Vec<PackId> =
            known.packs.keys().filter(|pack| !there.contains(pack)).copied().collect();
        drop(known);
        if gone.is_empty() { Ok(()) } else { Ok(self.volume.forget_pack_parts(&gone)?) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(parts: &[(u64, u64)]) -> KnownParts {
        let parts = parts.iter().map(|&(start, len)| PackPart { start, len, hash: [1; 32] });
        KnownParts { packs: [(PackId(3), parts.collect())].into() }
    }

    fn planned(known: &KnownParts, len: u64, sealed: bool) -> Vec<(u64, u64, bool)> {
        let plan = known.plan(&PackInfo { id: PackId(3), len, sealed });
        plan.iter().map(|part| (part.start, part.len, part.hash.is_some())).collect()
    }

    #[test]
    fn what_came_since_is_a_part_of_its_own() {
        assert_eq!(planned(&known(&[]), 100, true), [(0, 100, false)]);
        assert_eq!(planned(&known(&[(0, 40)]), 100, false), [(0, 40, true), (40, 60, false)]);
        assert_eq!(
            planned(&known(&[(0, 40), (40, 60)]), 100, true),
            [(0, 40, true), (40, 60, true)]
        );
        assert_eq!(planned(&known(&[(0, 40), (40, 60)]), 100, false).len(), 2);
    }

    #[test]
    fn parts_that_do_not_follow_each_other_are_not_believed() {
        assert_eq!(
            planned(&known(&[(0, 40), (50, 10)]), 60, true),
            [(0, 40, true), (40, 20, false)]
        );
        assert_eq!(
            planned(&known(&[(0, 400)]), 60, true),
            [(0, 60, false)],
            "longer than the pack"
        );
        assert_eq!(planned(&known(&[(10, 50)]), 60, true), [(0, 60, false)]);
    }

    #[test]
    fn many_parts_become_one_and_long_packs_several() {
        let nine: Vec<(u64, u64)> = (0..9).map(|n| (n * 10, 10)).collect();
        assert_eq!(planned(&known(&nine), 90, true), [(0, 90, false)]);
        assert_eq!(planned(&known(&nine), 90, false).len(), 9, "it may go on to grow");
        let long = planned(&known(&[]), 3 * PART_BYTES_MAX - 1, true);
        assert_eq!(long.last(), Some(&(2 * PART_BYTES_MAX, PART_BYTES_MAX - 1, false)));
    }
}
