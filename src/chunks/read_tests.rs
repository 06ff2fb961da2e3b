//! Tests of reading parts of chunks, whole and damaged.

use super::testing::{self, is_encrypted, noise, put, text};
use super::tree::PART_LEN;
use super::{Error, PackOptions, PackStore, RECORD_HEADER_LEN, cipher};
use crate::model::ChunkRef;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tempfile::{TempDir, tempdir};

fn open_with(directory: &Path, options: PackOptions) -> PackStore {
    testing::open_with(directory, testing::options_for(module_path!(), options))
}

fn open(directory: &Path) -> PackStore {
    open_with(directory, PackOptions::default())
}

/// Where a part of the pack's only chunk begins, of four.
fn part_offset(chunk: &ChunkRef, part: usize) -> u64 {
    if is_encrypted(module_path!()) {
        return chunk.at.offset + cipher::segment_offset(part);
    }
    chunk.at.offset + RECORD_HEADER_LEN + (4 * 32 + part * PART_LEN) as u64
}

/// Ranges at, around and across all borders of parts.
fn ranges(plain_len: usize) -> Vec<(usize, usize)> {
    let borders = (0..=plain_len.div_ceil(PART_LEN)).map(|part| part * PART_LEN);
    let near = |at: usize| [at.saturating_sub(1), at, at + 1, at + 5000];
    let mut points: Vec<_> = borders.flat_map(near).chain([plain_len]).collect();
    points.retain(|&point| point <= plain_len);
    points.sort_unstable();
    points.dedup();
    let pairs = |&from: &usize| points.iter().map(move |&to| (from, to));
    let pairs = points.iter().flat_map(pairs).filter(|(from, to)| from <= to);
    pairs.map(|(from, to)| (from, to - from)).collect()
}

fn read(store: &PackStore, chunk: &ChunkRef, skip: usize, len: usize) -> super::Result<Vec<u8>> {
    let mut into = b"before".to_vec();
    let outcome = store.read_range(chunk, None, skip, len, &mut into);
    assert_eq!(&into[..6], b"before");
    match outcome {
        Ok(()) => Ok(into.split_off(6)),
        Err(error) => {
            assert_eq!(into.len(), 6, "something stayed after {error}");
            Err(error)
        }
    }
}

/// Opens the packs as they are, with nothing in memory.
fn reopen(dir: &Path) -> PackStore {
    open_with(dir, PackOptions { read_only: true, cache_bytes: 0, ..PackOptions::default() })
}

#[test]
fn every_range_of_every_kind_of_chunk_comes_back() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let lens = [1, PART_LEN, PART_LEN + 1, 3 * PART_LEN, 75_000];
    let plains = lens.into_iter().flat_map(|len| [noise(len as u64, len), text(len)]);
    for (id, plain) in (0..).zip(plains) {
        let chunk = put(&store, id, &plain);
        for (skip, len) in ranges(plain.len()) {
            let read = read(&store, &chunk, skip, len).unwrap();
            assert!(read == plain[skip..skip + len], "{len} of {} from {skip}", plain.len());
        }
    }
}

#[test]
fn more_than_the_chunk_is_refused() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    for plain in [noise(1, 50_000), text(50_000)] {
        let chunk = put(&store, plain[0].into(), &plain);
        for (skip, len) in [(0, 50_001), (50_000, 1), (50_001, 0), (usize::MAX, 2)] {
            assert!(matches!(read(&store, &chunk, skip, len), Err(Error::Damaged { .. })));
        }
    }
}

#[test]
fn impossible_lengths_in_a_location_are_damage() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let chunk = put(&store, 1, &noise(1, 50_000));
    let at = chunk.at;
    for (stored_len, plain_len) in [
        (at.stored_len + 32, at.plain_len),
        (at.stored_len - 1, at.plain_len),
        (at.stored_len, at.plain_len - 1),
        (at.plain_len, at.plain_len),
        (u32::MAX, u32::MAX),
        (u32::MAX, 1),
    ] {
        let wrong =
            ChunkRef { at: crate::model::ChunkLocation { stored_len, plain_len, ..at }, ..chunk };
        assert!(matches!(store.verify(&wrong, None), Err(Error::Damaged { .. })), "{wrong:?}");
        assert!(matches!(read(&store, &wrong, 0, 1), Err(Error::Damaged { .. })), "{wrong:?}");
    }
}

/// A pack with one raw chunk of four parts.
fn one_chunk() -> (TempDir, ChunkRef, Vec<u8>) {
    let dir = tempdir().unwrap();
    let plain = noise(9, 3 * PART_LEN + 700);
    let store = open(dir.path());
    let chunk = put(&store, 1, &plain);
    store.close().unwrap();
    (dir, chunk, plain)
}

/// Runs `test` with one bit of the pack flipped.
fn with_flipped(dir: &Path, at: u64, test: impl FnOnce()) {
    let path = dir.join("00000000.pack");
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    test();
    file.write_all_at(&byte, at).unwrap();
}

#[test]
fn damage_in_header_or_table_is_found_and_no_wrong_byte_is_read() {
    let (dir, chunk, plain) = one_chunk();
    for at in chunk.at.offset..part_offset(&chunk, 0) {
        with_flipped(dir.path(), at, || {
            let store = reopen(dir.path());
            for index in 0..4 {
                let read = read(&store, &chunk, index * PART_LEN + 100, 500);
                assert!(matches!(read, Err(Error::Damaged { .. })), "byte {at}, part {index}");
            }
            assert!(matches!(store.verify(&chunk, None), Err(Error::Damaged { .. })), "byte {at}");
            match store.read(&chunk, None) {
                // All bytes prove themselves; what is encrypted can't be opened without its header.
                Ok(read) => assert!(read == plain && !is_encrypted(module_path!()), "byte {at}"),
                Err(error) => assert!(is_encrypted(module_path!()), "byte {at}: {error}"),
            }
        });
    }
    reopen(dir.path()).verify(&chunk, None).unwrap();
}

#[test]
fn damage_in_a_part_is_found_and_leaves_the_other_parts_readable() {
    let (dir, chunk, plain) = one_chunk();
    for (hit, part) in plain.chunks(PART_LEN).enumerate() {
        for within in [0, 1, part.len() / 2, part.len() - 1] {
            let at = part_offset(&chunk, hit) + within as u64;
            with_flipped(dir.path(), at, || {
                let store = reopen(dir.path());
                for (skip, len) in ranges(plain.len()).into_iter().filter(|(_, len)| *len > 0) {
                    let parts = skip / PART_LEN..(skip + len).div_ceil(PART_LEN);
                    match read(&store, &chunk, skip, len) {
                        Ok(read) => {
                            assert!(!parts.contains(&hit), "byte {at}: {len} from {skip}");
                            assert!(read == plain[skip..skip + len]);
                        }
                        Err(Error::Damaged { .. }) => {
                            assert!(parts.contains(&hit), "byte {at}: {len} from {skip}");
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                assert!(matches!(store.verify(&chunk, None), Err(Error::Damaged { .. })));
                assert!(matches!(store.read(&chunk, None), Err(Error::Damaged { .. })));
            });
        }
    }
}

#[test]
fn a_table_in_memory_does_not_vouch_for_what_lies_elsewhere() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (one, other) = (put(&store, 1, &noise(1, 50_000)), put(&store, 2, &noise(2, 50_000)));
    read(&store, &one, 0, 100).unwrap();
    let moved = ChunkRef { at: other.at, ..one };
    for (skip, len) in [(0, 100), (20_000, 30_000), (0, 50_000)] {
        assert!(matches!(read(&store, &moved, skip, len), Err(Error::Damaged { .. })));
    }
}

#[test]
fn a_pack_that_ends_within_a_part_still_yields_those_before_it() {
    let (dir, chunk, plain) = one_chunk();
    let path = dir.path().join("00000000.pack");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(part_offset(&chunk, 2) + 10).unwrap();
    let store = reopen(dir.path());
    assert_eq!(read(&store, &chunk, 10, 20_000).unwrap(), plain[10..20_010]);
    assert!(matches!(read(&store, &chunk, 2 * PART_LEN, 5), Err(Error::Damaged { .. })));
    assert!(matches!(store.read(&chunk, None), Err(Error::Damaged { .. })));
}
