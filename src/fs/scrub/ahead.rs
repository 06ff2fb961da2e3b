//! What lies ahead of a place in the packs, in the order in which the disk reads it.
//!
//! The chunk table is not indexed by place: that would cost each save, for what is asked once a day. One pass over the table
//! answers with the next [`LOOK_CHUNKS_MAX`] chunks.

use crate::chunks::record_len;
use crate::fs::Result;
use crate::fs::volume::Volume;
use crate::meta::StoredAt;
use crate::model::PackId;
use crate::sys::Task;
use std::collections::BinaryHeap;

/// Chunks that one pass over the chunk table is asked for: some 6 MiB of memory.
const LOOK_CHUNKS_MAX: usize = 262_144;
/// Rows between two looks whether to stop.
const ROWS_PER_LOOK: u64 = 65_536;

/// The chunks after a place.
pub(super) struct Ahead {
    /// The next of them, in the order in which they lie.
    pub(super) next: Vec<StoredAt>,
    /// Bytes of all of them, in packs up to the last one that counts.
    pub(super) bytes: u64,
}

impl Volume {
    /// The chunks at `(pack, offset)` and after it, in packs up to `last`. Empty when it was stopped.
    pub(super) fn places_ahead(
        &self,
        from: (PackId, u64),
        last: PackId,
        task: &dyn Task,
    ) -> Result<Ahead> {
        let mut nearest = Nearest::new(LOOK_CHUNKS_MAX);
        let (mut bytes, mut rows) = (0, 0);
        self.meta.snapshot(|view| -> Result<()> {
            view.each_stored_from(from, &mut |place| {
                rows += 1;
                if place.pack <= last {
                    bytes += record_len(place.stored_len);
                    nearest.offer(place);
                }
                rows % ROWS_PER_LOOK != 0 || !task.is_stopped()
            })?;
            Ok(())
        })?;
        let next = if task.is_stopped() { Vec::new() } else { nearest.into_sorted() };
        Ok(Ahead { next, bytes })
    }
}

/// The first so many of what is offered, whatever their order.
struct Nearest {
    limit: usize,
    heap: BinaryHeap<StoredAt>,
}

impl Nearest {
    fn new(limit: usize) -> Nearest {
        Nearest { limit, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, place: StoredAt) {
        if self.heap.len() < self.limit {
            self.heap.push(place);
            return;
        }
        if let Some(mut farthest) = self.heap.peek_mut()
            && place < *farthest
        {
            *farthest = place;
        }
    }

    fn into_sorted(self) -> Vec<StoredAt> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChunkId;

    #[test]
    fn the_nearest_are_kept_in_order() {
        let place = |n: u64| StoredAt {
            pack: PackId((n / 10) as u32),
            offset: n % 10,
            chunk: ChunkId(1000 - n),
            stored_len: 1,
        };
        let mut nearest = Nearest::new(4);
        [25, 3, 17, 99, 12, 4, 31].iter().for_each(|n| nearest.offer(place(*n)));
        assert_eq!(nearest.into_sorted(), [3, 4, 12, 17].map(place));
        let mut few = Nearest::new(4);
        few.offer(place(7));
        assert_eq!(few.into_sorted(), [place(7)]);
    }
}
