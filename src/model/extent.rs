//! Extents: which bytes of a file come from which chunk, and how a save changes them.

use super::ChunkId;

/// What a range of a file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// The chunk that holds the bytes.
    pub chunk: ChunkId,
    /// Offset within the chunk of the extent's first byte.
    pub skip: u32,
}

/// `len` bytes of a file from `start` on, taken from a chunk. What no extent covers is a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file.
    pub start: u64,
    /// Length in bytes, never 0.
    pub len: u64,
    /// Where the bytes are.
    pub content: Content,
}

impl Extent {
    /// The offset after the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    /// The part of the extent within `[from, to)`, if any.
    pub fn clip(&self, from: u64, to: u64) -> Option<Extent> {
        let start = self.start.max(from);
        let end = self.end().min(to);
        (start < end).then(|| Extent {
            start,
            len: end - start,
            content: Content {
                chunk: self.content.chunk,
                skip: self.content.skip + (start - self.start) as u32,
            },
        })
    }
}

/// Appends `next`, which lies behind the last of `extents`; where it goes on in the same chunk the two
/// become one.
pub fn push_extent(extents: &mut Vec<Extent>, next: Extent) {
    if let Some(last) = extents.last_mut()
        && last.end() == next.start
        && last.content.chunk == next.content.chunk
        && u64::from(last.content.skip) + last.len == u64::from(next.content.skip)
    {
        last.len += next.len;
        return;
    }
    extents.push(next);
}

/// The rows that a save ends and the rows that it begins. What is in neither stays untouched.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Splice {
    /// Extents as they were that are no longer shown (or not in this shape).
    pub ended: Vec<Extent>,
    /// Extents that are new (or have a new shape).
    pub begun: Vec<Extent>,
}

/// Replaces the range `[from, to)` of `old` by `new`.
///
/// `old` holds every extent that overlaps the range, sorted; `new` is sorted, without overlaps, and lies
/// within the range: what it leaves uncovered becomes a hole. An extent that is the same before
/// and after appears in neither list, so that a save writes only what it changed.
pub fn splice(old: &[Extent], from: u64, to: u64, new: &[Extent]) -> Splice {
    let mut wanted = Vec::with_capacity(new.len() + 2);
    wanted.extend(old.iter().filter_map(|extent| extent.clip(0, from)));
    wanted.extend_from_slice(new);
    wanted.extend(old.iter().filter_map(|extent| extent.clip(to, u64::MAX)));

    let mut result = Splice::default();
    let mut wanted = wanted.into_iter().peekable();
    for before in old {
        while let Some(extent) = wanted.next_if(|extent| extent.start < before.start) {
            result.begun.push(extent);
        }
        if wanted.next_if(|extent| extent == before).is_none() {
            result.ended.push(*before);
        }
    }
    result.begun.extend(wanted);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u64, len: u64, chunk: u64, skip: u32) -> Extent {
        Extent { start, len, content: Content { chunk: ChunkId(chunk), skip } }
    }

    #[test]
    fn an_equal_save_changes_nothing() {
        let old = [extent(0, 10, 1, 0), extent(10, 10, 2, 0)];
        assert_eq!(splice(&old, 0, 20, &old), Splice::default());
    }

    #[test]
    fn a_write_in_the_middle_of_an_extent_splits_it() {
        let old = [extent(0, 100, 1, 0)];
        let change = splice(&old, 40, 60, &[extent(40, 20, 2, 0)]);
        assert_eq!(change.ended, old);
        assert_eq!(
            change.begun,
            [extent(0, 40, 1, 0), extent(40, 20, 2, 0), extent(60, 40, 1, 60)]
        );
    }

    #[test]
    fn truncation_cuts_the_last_extent_and_drops_the_rest() {
        let old = [extent(10, 10, 2, 0), extent(20, 10, 3, 0)];
        let change = splice(&old, 15, u64::MAX, &[]);
        assert_eq!(change.ended, old);
        assert_eq!(change.begun, [extent(10, 5, 2, 0)]);
    }

    #[test]
    fn what_is_shared_before_and_after_the_change_is_not_written_again() {
        let old = [extent(0, 10, 1, 0), extent(10, 10, 2, 0), extent(20, 10, 3, 0)];
        let new = [extent(0, 10, 1, 0), extent(10, 10, 9, 0), extent(20, 10, 3, 0)];
        let change = splice(&old, 0, 30, &new);
        assert_eq!(change.ended, [old[1]]);
        assert_eq!(change.begun, [new[1]]);
    }

    #[test]
    fn splicing_equals_byte_wise_replacement() {
        // A byte-wise model: which (chunk, offset) each byte shows.
        fn bytes(extents: &[Extent]) -> Vec<Option<(u64, u64)>> {
            let mut map = vec![None; 64];
            for e in extents {
                for at in e.start..e.end() {
                    map[at as usize] =
                        Some((e.content.chunk.0, u64::from(e.content.skip) + at - e.start));
                }
            }
            map
        }
        let old =
            [extent(0, 8, 1, 0), extent(8, 8, 2, 4), extent(24, 16, 3, 0), extent(40, 4, 4, 0)];
        for from in 0..48 {
            for to in from + 1..49 {
                let new = [extent(from, (to - from).div_ceil(2), 9, 1)];
                let touched: Vec<Extent> =
                    old.iter().copied().filter(|e| e.start < to && e.end() > from).collect();
                let change = splice(&touched, from, to, &new);
                let mut after: Vec<Extent> =
                    old.iter().copied().filter(|e| !change.ended.contains(e)).collect();
                after.extend(&change.begun);
                let mut expected = bytes(&old);
                expected[from as usize..to as usize].fill(None);
                let shown = bytes(&new);
                for at in from..to {
                    expected[at as usize] = shown[at as usize];
                }
                assert_eq!(bytes(&after), expected, "range {from}..{to}");
            }
        }
    }
}
