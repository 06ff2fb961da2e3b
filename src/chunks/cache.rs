//! What was read lately of chunks (their plain bytes, or their tables), up to a number of bytes; the least recently used
//! goes first.

use crate::model::ChunkId;
use lru::LruCache;
use parking_lot::Mutex;
use std::sync::Arc;

/// What an entry costs beside its bytes: the two allocations and the map's node.
const ENTRY_OVERHEAD_BYTES: u64 = 128;

/// A cache of byte strings, one for each chunk, which only depend on what the chunk contains.
pub(super) struct Cache {
    bytes_max: u64,
    /// Guards the entries and their sum; a leaf: nothing else is locked under it.
    entries: Mutex<Entries>,
}

struct Entries {
    bytes: u64,
    chunks: LruCache<ChunkId, Arc<Vec<u8>>>,
}

impl Cache {
    pub(super) fn new(bytes_max: u64) -> Cache {
        let entries = Entries { bytes: 0, chunks: LruCache::unbounded() };
        Cache { bytes_max, entries: Mutex::new(entries) }
    }

    pub(super) fn get(&self, id: ChunkId) -> Option<Arc<Vec<u8>>> {
        self.entries.lock().chunks.get(&id).cloned()
    }

    /// Puts a chunk in, unless it alone would take more than the cache may hold.
    pub(super) fn put(&self, id: ChunkId, plain: &Arc<Vec<u8>>) {
        if cost(plain) > self.bytes_max {
            return;
        }
        // Freed after the lock is given up: returning memory takes longer than the map does.
        let mut evicted = Vec::new();
        let mut entries = self.entries.lock();
        entries.bytes += cost(plain);
        evicted.extend(entries.remember(id, plain));
        while entries.bytes > self.bytes_max {
            let (_, oldest) = entries.chunks.pop_lru().expect("bytes are held by entries");
            entries.bytes -= cost(&oldest);
            evicted.push(oldest);
        }
        drop(entries);
    }
}

impl Entries {
    /// Enters a chunk that is already counted; returns the one whose place it took.
    fn remember(&mut self, id: ChunkId, plain: &Arc<Vec<u8>>) -> Option<Arc<Vec<u8>>> {
        let replaced = self.chunks.put(id, Arc::clone(plain))?;
        self.bytes -= cost(&replaced);
        Some(replaced)
    }
}

fn cost(plain: &Arc<Vec<u8>>) -> u64 {
    plain.capacity() as u64 + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(len: usize) -> Arc<Vec<u8>> {
        Arc::new(vec![0; len])
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = Cache::new(3 * (1000 + ENTRY_OVERHEAD_BYTES));
        (0..3).for_each(|id| cache.put(ChunkId(id), &chunk(1000)));
        assert!(cache.get(ChunkId(0)).is_some());
        cache.put(ChunkId(3), &chunk(1000));
        let held = [0, 1, 2, 3].map(|id| cache.get(ChunkId(id)).is_some());
        assert_eq!(held, [true, false, true, true]);
    }

    #[test]
    fn bytes_are_counted_once_when_a_chunk_is_put_twice() {
        let cache = Cache::new(10_000);
        (0..50).for_each(|_| cache.put(ChunkId(1), &chunk(1000)));
        assert_eq!(cache.entries.lock().bytes, 1000 + ENTRY_OVERHEAD_BYTES);
    }

    #[test]
    fn what_is_larger_than_the_cache_stays_out() {
        let cache = Cache::new(1000);
        cache.put(ChunkId(1), &chunk(1000));
        assert!(cache.get(ChunkId(1)).is_none());
        assert_eq!(cache.entries.lock().bytes, 0);
    }
}
