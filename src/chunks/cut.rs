//! Cutting a stream into content-defined chunks: FastCDC, normalization level 1 (Xia et al., 2020).

use fastcdc::v2020::{self, Normalization};

/// Sizes in bytes of the chunks that a stream is cut into. Part of a store's identity: other sizes cut elsewhere, so
/// nothing would be found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkParams {
    min: u32,
    avg: u32,
    max: u32,
}

/// Why three numbers are no chunk sizes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChunkParams {
    /// Not in order.
    #[error("chunk sizes must rise: min < avg < max, not {min}, {avg}, {max}")]
    Order {
        /// Smallest.
        min: u32,
        /// Average.
        avg: u32,
        /// Largest.
        max: u32,
    },
    /// Out of the range that the method supports, or odd.
    #[error("the {name} chunk size must be an even number from {least} to {most}, not {found}")]
    Range {
        /// Which of the three.
        name: &'static str,
        /// Smallest allowed.
        least: u32,
        /// Largest allowed.
        most: u32,
        /// What was given.
        found: u32,
    },
}

impl Default for ChunkParams {
    fn default() -> ChunkParams {
        ChunkParams { min: 16 << 10, avg: 64 << 10, max: 256 << 10 }
    }
}

impl ChunkParams {
    /// Sizes in bytes; each must be even and in the range that FastCDC supports.
    pub fn new(min: u32, avg: u32, max: u32) -> Result<ChunkParams, BadChunkParams> {
        let ranges = [
            ("min", min, v2020::MINIMUM_MIN, v2020::MINIMUM_MAX),
            ("avg", avg, v2020::AVERAGE_MIN, v2020::AVERAGE_MAX),
            ("max", max, v2020::MAXIMUM_MIN, v2020::MAXIMUM_MAX),
        ];
        for (name, found, least, most) in ranges {
            let (least, most) = (least as u32, most as u32);
            if !(least..=most).contains(&found) || found % 2 != 0 {
                return Err(BadChunkParams::Range { name, least, most, found });
            }
        }
        if !(min < avg && avg < max) {
            return Err(BadChunkParams::Order { min, avg, max });
        }
        Ok(ChunkParams { min, avg, max })
    }

    /// No chunk but a stream's last is shorter.
    pub fn min(self) -> u32 {
        self.min
    }

    /// The size around which chunks lie.
    pub fn avg(self) -> u32 {
        self.avg
    }

    /// No chunk is longer.
    pub fn max(self) -> u32 {
        self.max
    }
}

/// Finds where chunks end.
#[derive(Clone, Debug)]
pub struct Cutter {
    params: ChunkParams,
    /// FastCDC's masks before and after the average size, and the same shifted left by one.
    masks: [u64; 4],
}

impl Cutter {
    /// A cutter for chunks of these sizes.
    pub fn new(params: ChunkParams) -> Cutter {
        let (strict, loose) = v2020::select_masks(params.avg as usize, Normalization::Level1);
        Cutter { params, masks: [strict, loose, strict << 1, loose << 1] }
    }

    /// The sizes it cuts to.
    pub fn params(&self) -> ChunkParams {
        self.params
    }

    /// Length of the first chunk of `data`, which starts where the previous chunk ended.
    ///
    /// `None` when there is no data, or when more of it could change the cut: `last` says that no more
    /// will come. So the cuts of a stream don't depend on the portions in which it is given.
    pub fn next(&self, data: &[u8], last: bool) -> Option<usize> {
        let max = self.params.max as usize;
        if data.is_empty() || (!last && data.len() < max) {
            return None;
        }
        let [strict, loose, strict_shifted, loose_shifted] = self.masks;
        let (min, avg) = (self.params.min as usize, self.params.avg as usize);
        let (_, len) =
            v2020::cut(data, min, avg, max, strict, loose, strict_shifted, loose_shifted);
        Some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunks::hash;
    use crate::chunks::testing;
    use std::collections::HashSet;

    fn noise(len: usize) -> Vec<u8> {
        testing::noise(1, len)
    }

    fn cuts(cutter: &Cutter, mut data: &[u8]) -> Vec<usize> {
        let mut lens = Vec::new();
        while let Some(len) = cutter.next(data, true) {
            lens.push(len);
            data = &data[len..];
        }
        lens
    }

    /// Cuts while the data arrives in portions of `portion` bytes.
    fn cuts_in_portions(cutter: &Cutter, data: &[u8], portion: usize) -> Vec<usize> {
        let (mut lens, mut from, mut to) = (Vec::new(), 0, 0);
        while from < data.len() {
            to = (to + portion).min(data.len());
            while let Some(len) = cutter.next(&data[from..to], to == data.len()) {
                lens.push(len);
                from += len;
            }
        }
        lens
    }

    #[test]
    fn chunks_cover_the_data_within_their_sizes() {
        let (cutter, data) = (Cutter::new(ChunkParams::default()), noise(5 << 20));
        let lens = cuts(&cutter, &data);
        assert_eq!(lens.iter().sum::<usize>(), data.len());
        let (_, whole) = lens.split_last().unwrap();
        assert!(whole.iter().all(|len| (16 << 10..=256 << 10).contains(len)));
        let average = data.len() / lens.len();
        assert!((32 << 10..128 << 10).contains(&average), "average {average}");
    }

    #[test]
    fn cuts_do_not_depend_on_how_the_data_is_fed() {
        let (cutter, data) = (Cutter::new(ChunkParams::default()), noise((2 << 20) + 777));
        let whole = cuts(&cutter, &data);
        for portion in [1000, 4096, 131_071, 1 << 20] {
            assert_eq!(cuts_in_portions(&cutter, &data, portion), whole, "portion {portion}");
        }
    }

    #[test]
    fn cuts_fall_into_step_again_after_an_insert() {
        let (cutter, data) = (Cutter::new(ChunkParams::default()), noise(4 << 20));
        let mut changed = data.clone();
        changed.splice(1_000_000..1_000_000, *b"seventeen letters");
        let chunks = |data: &[u8]| {
            let mut at = 0;
            let take = |len: usize| {
                at += len;
                hash(&data[at - len..at])
            };
            cuts(&cutter, data).into_iter().map(take).collect::<Vec<_>>()
        };
        let before: HashSet<_> = chunks(&data).into_iter().collect();
        let new = chunks(&changed).iter().filter(|hash| !before.contains(*hash)).count();
        assert!((1..=4).contains(&new), "{new} new chunks");
    }

    #[test]
    fn the_cuts_of_known_data_never_change() {
        // A store that cuts differently from its past finds nothing again.
        let cutter = Cutter::new(ChunkParams::default());
        let lens = cuts(&cutter, &noise(1 << 20));
        assert_eq!(lens, KNOWN_CUTS);
    }
    const KNOWN_CUTS: [usize; 12] = [
        44_750, 219_962, 100_125, 28_400, 91_429, 28_467, 19_017, 114_735, 88_164, 66_867, 152_283,
        94_377,
    ];

    #[test]
    fn short_data_is_one_chunk_and_none_is_none() {
        let cutter = Cutter::new(ChunkParams::default());
        assert_eq!(cutter.next(b"", true), None);
        assert_eq!(cutter.next(b"x", false), None);
        assert_eq!(cutter.next(b"x", true), Some(1));
        assert_eq!(cutter.next(&vec![0; 1 << 20], false), Some(256 << 10));
    }

    #[test]
    fn senseless_sizes_are_refused() {
        assert!(ChunkParams::new(16 << 10, 64 << 10, 256 << 10).is_ok());
        let order = ChunkParams::new(64 << 10, 16 << 10, 256 << 10);
        assert!(matches!(order, Err(BadChunkParams::Order { .. })));
        let odd = ChunkParams::new(16 << 10, 65_537, 256 << 10);
        assert!(matches!(odd, Err(BadChunkParams::Range { name: "avg", .. })));
        let zero = ChunkParams::new(0, 64 << 10, 256 << 10);
        assert!(matches!(zero, Err(BadChunkParams::Range { name: "min", .. })));
    }
}
