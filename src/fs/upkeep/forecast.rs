//! What the store takes, and when how much of it comes free.
//!
//! "Within 7 days" is what retention would take if it were carried out once, in 7 days, and nothing happened until then:
//! the same decisions with a later clock. Where limits by number or bytes are set, frequent runs may take more than one.

use super::collect::IdSet;
use super::foresee::Foreseen;
use super::rebase::last_differences;
use crate::chunks::record_len;
use crate::fs::Result;
use crate::fs::volume::Volume;
use crate::meta::{ChunkRow, View};
use crate::model::{ChunkId, ChunkRef, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The times for which is told what comes free.
const FORECAST_DAYS: [u32; 4] = [0, 7, 30, 365];
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the chunks in the packs are for, in bytes as they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Shown by something that lives.
    pub living_bytes: u64,
    /// Shown only by what was.
    pub history_bytes: u64,
    /// Shown by nothing: goes with the next upkeep.
    pub unused_bytes: u64,
    /// What comes free within which time: the shortest first, each with what comes before.
    pub coming: Vec<Coming>,
    /// What of the history stays longer than the last of these times: thinned out, or pinned.
    pub lasting_bytes: u64,
}

/// What comes free within a time, if nothing is written or deleted until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coming {
    /// Days from now; 0: at once.
    pub days: u32,
    /// Chunks that nothing needs any more then.
    pub chunks: u64,
    /// Their bytes in the packs.
    pub bytes: u64,
}

impl Volume {
    /// What the room that the store takes is for, and what comes free when. Looks at everything that the store holds,
    /// several times.
    pub fn room(&self) -> Result<Room> {
        let last = self.meta.last_chunk();
        let (mut room, left) = self.meta.snapshot(|view| -> Result<_> {
            let shown = Shown::of(view, last, &self.chunks_in_use())?;
            let left = FORECAST_DAYS
                .iter()
                .map(|days| self.left_later(view, DAY * *days, last))
                .collect::<Result<Vec<Left>>>()?;
            let mut room = Room {
                coming: FORECAST_DAYS.map(|days| Coming { days, chunks: 0, bytes: 0 }).to_vec(),
                ..Room::default()
            };
            view.each_chunk(&mut |row: ChunkRow| -> Result<()> {
                if let Some(chunk) = row.chunk.filter(|chunk| chunk.id <= last) {
                    room.add(&shown, &left, chunk.id, record_len(chunk.at.stored_len));
                }
                Ok(())
            })?;
            Ok((room, left))
        })?;
        let mut known = HashMap::new();
        for (coming, left) in room.coming.iter_mut().zip(&left) {
            coming.chunks += left.last_ones.len() as u64;
            coming.bytes += self.freed_by_rebasing(&left.last_ones, &mut known);
        }
        Ok(room)
    }

    /// What is left by the upkeep that would be in `age` from now.
    fn left_later(&self, view: &View<'_>, age: Duration, last: ChunkId) -> Result<Left> {
        let later = self.now().0.saturating_add_unsigned(age.as_nanos() as u64);
        let terms = self.terms_at(Timestamp(later));
        let foreseen = Foreseen::by(view, &terms)?;
        self.left_by(view, &foreseen, last)
    }

    /// What is left when what is foreseen is done.
    pub(super) fn left_by(
        &self,
        view: &View<'_>,
        foreseen: &Foreseen<'_>,
        last: ChunkId,
    ) -> Result<Left> {
        let mut needed = IdSet::up_to(last);
        view.each_showing(&mut |showing| {
            if !foreseen.takes_showing(&showing) {
                needed.insert(showing.chunk);
            }
        })?;
        let in_use: HashSet<ChunkId> = self.chunks_in_use().into_iter().collect();
        let mut last_ones = last_differences(view, &|chunk| needed.contains(chunk))?;
        last_ones.retain(|(base, _)| !in_use.contains(base));
        in_use.iter().for_each(|chunk| needed.insert(*chunk));
        needed.add_bases(view)?;
        let mut rows = Vec::new();
        for (base, chunk) in last_ones {
            rows.extend(view.chunk(base)?.zip(view.chunk(chunk)?));
        }
        Ok(Left { needed, last_ones: rows })
    }

    /// What comes free when these are stored whole and their bases go. `known`: those that were asked for before.
    pub(super) fn freed_by_rebasing(
        &self,
        last_ones: &[(ChunkRef, ChunkRef)],
        known: &mut HashMap<(ChunkId, ChunkId), u64>,
    ) -> u64 {
        let mut freed = 0;
        for pair in last_ones {
            freed += *known.entry((pair.0.id, pair.1.id)).or_insert_with(|| {
                // One that is damaged stays as it is.
                self.freed_by_storing_whole(&[*pair]).unwrap_or(0)
            });
        }
        freed
    }

    /// What is being written shows them, or they are the bases of such.
    fn chunks_in_use(&self) -> Vec<ChunkId> {
        let in_memory = self.chunks_in_memory();
        in_memory.flat_map(|chunk| [Some(chunk.id), chunk.base]).flatten().collect()
    }
}

/// What upkeep leaves.
pub(super) struct Left {
    /// What something shows, and what that needs to be read.
    pub(super) needed: IdSet,
    /// Bases that nothing shows, each with the only difference to it: that is stored whole, and the base goes after all.
    pub(super) last_ones: Vec<(ChunkRef, ChunkRef)>,
}

/// By what each chunk is shown, or needed to read what is.
struct Shown {
    by_living: IdSet,
    by_any: IdSet,
}

impl Shown {
    fn of(view: &View<'_>, last: ChunkId, in_use: &[ChunkId]) -> Result<Shown> {
        let mut shown = Shown { by_living: IdSet::up_to(last), by_any: IdSet::up_to(last) };
        let mut note = |chunk, lives| {
            shown.by_any.insert(chunk);
            if lives {
                shown.by_living.insert(chunk);
            }
        };
        in_use.iter().for_each(|chunk| note(*chunk, true));
        view.each_showing(&mut |showing| note(showing.chunk, showing.lives))?;
        shown.by_living.add_bases(view)?;
        shown.by_any.add_bases(view)?;
        Ok(shown)
    }
}

impl Room {
    /// Counts a chunk; `left`: after each of the times.
    fn add(&mut self, shown: &Shown, left: &[Left], chunk: ChunkId, bytes: u64) {
        let what = match (shown.by_living.contains(chunk), shown.by_any.contains(chunk)) {
            (true, _) => &mut self.living_bytes,
            (false, true) => &mut self.history_bytes,
            (false, false) => &mut self.unused_bytes,
        };
        *what += bytes;
        for (coming, left) in self.coming.iter_mut().zip(left) {
            if !left.needed.contains(chunk) {
                coming.chunks += 1;
                coming.bytes += bytes;
            }
        }
        let stays = left.last().is_some_and(|left| left.needed.contains(chunk));
        if stays && !shown.by_living.contains(chunk) {
            self.lasting_bytes += bytes;
        }
    }
}
