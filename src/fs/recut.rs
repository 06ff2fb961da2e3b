//! Which neighbours of a write are cut anew together with it. Pure.
//!
//! A write that replaces a small part of a chunk becomes a chunk of its own, and what is left of the old one
//! stays where it is: that is cheap, and right for databases. A write that replaces a large part
//! is joined by the rest, so that files don't fall to pieces.

use crate::model::Extent;

/// An extent is cut anew when at least one part in so many of it is replaced.
const RECUT_PART: u64 = 4;
/// What is appended is cut together with the tail of the file before it, where that tail is smaller than a
/// chunk should be and no more than so many times as long: a log that grows by lines gets
/// chunks of some KiB, at a bounded cost for each line.
const APPEND_PART: u64 = 32;

/// Half-open range of offsets in a file.
pub(super) type Range = (u64, u64);

/// What is known of the file.
pub(super) struct Shape {
    /// Its size.
    pub(super) size: u64,
    /// Shorter extents are joined by what is appended to them.
    pub(super) chunk_min: u64,
}

/// The ranges to bring into memory. `runs` are the written ranges and `extents` what lies below and beside
/// them, both sorted by their start.
pub(super) fn neighbours(runs: &[Range], extents: &[Extent], shape: &Shape) -> Vec<Range> {
    let mut wanted = Vec::new();
    let mut first = 0;
    for extent in extents {
        let end = extent.end().min(shape.size);
        while runs.get(first).is_some_and(|run| run.1 <= extent.start) {
            first += 1;
        }
        let inside = runs[first..].iter().take_while(|run| run.0 < end);
        let written: u64 = inside.clone().map(|run| run.1.min(end) - run.0.max(extent.start)).sum();
        if written > 0 && written * RECUT_PART >= extent.len {
            push_gaps(&mut wanted, (extent.start, end), inside);
        }
        if let Some(run) = runs[first..].first()
            && is_tail_of(extent, run, shape)
        {
            wanted.push((extent.start, extent.end()));
        }
    }
    wanted
}

/// Whether `run` is appended to a tail that it should be joined with.
fn is_tail_of(extent: &Extent, run: &Range, shape: &Shape) -> bool {
    run.0 == extent.end()
        && run.1 >= shape.size
        && extent.len < shape.chunk_min
        && extent.len <= (run.1 - run.0) * APPEND_PART
}

/// What of the range no run covers.
fn push_gaps<'r>(
    wanted: &mut Vec<Range>,
    (from, to): Range,
    runs: impl Iterator<Item = &'r Range>,
) {
    let mut at = from;
    for run in runs {
        if at < run.0 {
            wanted.push((at, run.0));
        }
        at = at.max(run.1);
    }
    if at < to {
        wanted.push((at, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChunkId, Content};

    const SHAPE: Shape = Shape { size: 1000, chunk_min: 100 };

    fn extent(start: u64, len: u64) -> Extent {
        Extent { start, len, content: Content { chunk: ChunkId(1), skip: 0 } }
    }

    #[test]
    fn a_small_write_leaves_the_chunk_alone() {
        assert_eq!(neighbours(&[(500, 510)], &[extent(400, 200)], &SHAPE), []);
    }

    #[test]
    fn a_large_write_takes_the_rest_of_the_chunks_that_it_cuts_into() {
        let extents = [extent(300, 200), extent(500, 200), extent(700, 200)];
        let found = neighbours(&[(400, 760)], &extents, &SHAPE);
        assert_eq!(found, [(300, 400), (760, 900)]);
    }

    #[test]
    fn many_small_writes_to_a_chunk_count_together() {
        let runs = [(0, 10), (20, 30), (40, 50)];
        let found = neighbours(&runs, &[extent(0, 100)], &SHAPE);
        assert_eq!(found, [(10, 20), (30, 40), (50, 100)]);
    }

    #[test]
    fn what_is_appended_joins_a_short_tail_only() {
        assert_eq!(neighbours(&[(950, 1000)], &[extent(900, 50)], &SHAPE), [(900, 950)]);
        assert_eq!(neighbours(&[(950, 1000)], &[extent(700, 250)], &SHAPE), []);
        assert_eq!(neighbours(&[(999, 1000)], &[extent(900, 99)], &SHAPE), []);
    }
}
