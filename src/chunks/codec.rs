//! Compression: zstd where it gains something, the plain bytes where it doesn't; and differences to a chunk that was there
//! before, where those gain more (zstd with the old one as prefix, as in `zstd --patch-from`).
//!
//! Measured on one core: zstd 3 takes 30 µs to find out that 64 KiB can't be compressed (blake3 20 µs,
//! the probe here 7 µs), and 70 µs for 8 KiB of text where zstd 1 takes 50 µs and saves the same.

use super::format::{BASE_LEN, Codec};
use std::cell::RefCell;
use std::io;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

/// Chunks shorter than this many bytes are stored raw: a record's header outweighs what could be saved.
const COMPRESS_LEN_MIN: usize = 64;
/// Up to this many bytes zstd's level 1 saves as much as level 3, in less time.
const SMALL_LEN_MAX: usize = 16 << 10;
/// Compression must save at least one part in this many.
const GAIN_PART: usize = 32;
/// A difference must save one part in this many of what the chunk alone would come to: it costs reading two chunks instead of one.
const DIFFERENCE_GAIN_PART: usize = 4;
/// Bytes that the probe looks at: this many portions, of this many bytes each.
const PROBE_PORTIONS: usize = 16;
const PROBE_PORTION_LEN: usize = 256;
/// Bytes in the middle of a chunk that are compressed for a trial when the probe found noise.
const TRIAL_LEN: usize = 8 << 10;

thread_local! {
    /// A zstd context costs more to make than a small chunk to compress: each thread keeps its own.
    static CONTEXTS: RefCell<Option<Contexts>> = const { RefCell::new(None) };
}

struct Contexts {
    level: i32,
    main: Compressor<'static>,
    small: Compressor<'static>,
    decompressor: Decompressor<'static>,
    buffer: Vec<u8>,
    difference: Vec<u8>,
}

impl Contexts {
    fn new(level: i32) -> io::Result<Contexts> {
        Ok(Contexts {
            level,
            main: Compressor::new(level)?,
            small: Compressor::new(level.min(1))?,
            decompressor: Decompressor::new()?,
            buffer: Vec::new(),
            difference: Vec::new(),
        })
    }

    /// Compresses into `buffer`, if that saves enough.
    fn compress(&mut self, plain: &[u8]) -> bool {
        let room = less_part(plain.len(), GAIN_PART);
        let compressor =
            if plain.len() <= SMALL_LEN_MAX { &mut self.small } else { &mut self.main };
        self.buffer.clear();
        self.buffer.reserve_exact(room.saturating_sub(self.buffer.capacity()));
        // An output that is too long is an error of zstd's: exactly what "gains nothing" means here.
        let fits = compressor.compress_to_buffer(plain, &mut self.buffer);
        fits.is_ok() && self.buffer.len() <= room
    }

    /// Compresses into `difference` what `base` doesn't have, if that saves enough beside the plain bytes.
    fn compress_difference(&mut self, plain: &[u8], base: &[u8]) -> bool {
        let room = less_part(plain.len(), DIFFERENCE_GAIN_PART).saturating_sub(BASE_LEN);
        self.difference.clear();
        self.difference.reserve_exact(room.saturating_sub(self.difference.capacity()));
        // Not kept: a prefix is borrowed for as long as the context lives.
        let Some(mut zstd) = CCtx::try_create() else { return false };
        let compressed = zstd
            .set_parameter(CParameter::CompressionLevel(self.level))
            .and_then(|_| zstd.ref_prefix(base))
            .and_then(|_| zstd.compress2(&mut self.difference, plain));
        compressed.is_ok() && self.difference.len() <= room
    }

    /// Whether compression is worth trying on the whole of a chunk.
    fn is_promising(&mut self, plain: &[u8]) -> bool {
        if plain.len() <= TRIAL_LEN || !looks_like_noise(plain) {
            return true;
        }
        let from = (plain.len() - TRIAL_LEN) / 2;
        self.compress(&plain[from..from + TRIAL_LEN])
    }
}

/// Gives `then` the bytes to store for `plain`, and how they are stored: as a difference to `base` where that is
/// a good deal smaller. (The name of the base is for the caller to put before it.)
pub(super) fn encode<T>(
    plain: &[u8],
    base: Option<&[u8]>,
    level: i32,
    then: impl FnOnce(Codec, &[u8]) -> T,
) -> io::Result<T> {
    if plain.len() < COMPRESS_LEN_MIN {
        return Ok(then(Codec::Raw, plain));
    }
    with_contexts(level, |contexts| {
        let is_difference = base.is_some_and(|base| contexts.compress_difference(plain, base));
        let difference_len = contexts.difference.len() + BASE_LEN;
        let is_smaller = contexts.is_promising(plain) && contexts.compress(plain);
        let (codec, body) =
            if is_smaller { (Codec::Zstd, &contexts.buffer[..]) } else { (Codec::Raw, plain) };
        if is_difference && difference_len <= less_part(body.len(), DIFFERENCE_GAIN_PART) {
            return then(Codec::Difference, &contexts.difference);
        }
        then(codec, body)
    })
}

/// All but one part in so many.
fn less_part(len: usize, part: usize) -> usize {
    len - len / part
}

/// The plain bytes, `plain_len` of them, of a payload (of a difference, without the name of its base); `base` are the plain
/// bytes of the base, and empty for all others. `Err` says what is wrong.
pub(super) fn decode(
    codec: Codec,
    payload: Vec<u8>,
    base: &[u8],
    plain_len: u32,
) -> Result<Vec<u8>, String> {
    let plain_len = plain_len as usize;
    let plain = match codec {
        Codec::Raw => payload,
        Codec::Zstd => {
            let mut plain = Vec::with_capacity(plain_len);
            with_decompressor(|zstd| zstd.decompress_to_buffer(&payload, &mut plain))
                .map_err(|error| format!("zstd: {error}"))?;
            plain
        }
        Codec::Difference => patched(&payload, base, plain_len)?,
    };
    if plain.len() == plain_len {
        Ok(plain)
    } else {
        Err(format!("{} bytes came out instead of {plain_len}", plain.len()))
    }
}

fn patched(difference: &[u8], base: &[u8], plain_len: usize) -> Result<Vec<u8>, String> {
    let mut plain = Vec::with_capacity(plain_len);
    let mut zstd = DCtx::try_create().ok_or("zstd: no memory")?;
    zstd.ref_prefix(base)
        .and_then(|_| zstd.decompress(&mut plain, difference))
        .map_err(|code| format!("zstd: {}", zstd_safe::get_error_name(code)))?;
    Ok(plain)
}

fn with_contexts<T>(level: i32, work: impl FnOnce(&mut Contexts) -> T) -> io::Result<T> {
    CONTEXTS.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|contexts| contexts.level != level) {
            *slot = Some(Contexts::new(level)?);
        }
        Ok(work(slot.as_mut().expect("it was put there above")))
    })
}

fn with_decompressor<T>(
    work: impl FnOnce(&mut Decompressor<'static>) -> io::Result<T>,
) -> io::Result<T> {
    CONTEXTS.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(Contexts::new(zstd::DEFAULT_COMPRESSION_LEVEL)?);
        }
        work(&mut slot.as_mut().expect("it was put there above").decompressor)
    })
}

/// Whether portions from all over the chunk have their byte values about as evenly spread as noise has
/// (JPEG, video, ciphertext): the chance that two of the bytes are equal is below 1.5 in 256.
fn looks_like_noise(plain: &[u8]) -> bool {
    let mut counts = [0_u64; 256];
    let stride = plain.len() / PROBE_PORTIONS;
    for portion in plain.chunks_exact(stride).take(PROBE_PORTIONS) {
        for &byte in portion.iter().take(PROBE_PORTION_LEN) {
            counts[usize::from(byte)] += 1;
        }
    }
    let sample = counts.iter().sum::<u64>();
    let equal_pairs = counts.iter().map(|count| count * count.saturating_sub(1)).sum::<u64>();
    equal_pairs * 256 * 2 < sample * (sample - 1) * 3
}
