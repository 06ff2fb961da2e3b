//! Chunks that are stored as differences to others.

use super::store::{Base, Stored};
use super::testing::{self, is_encrypted, noise, put, small_packs, text};
use super::{Error, PackOptions, PackStore};
use crate::model::{ChunkId, ChunkRef};
use std::os::unix::fs::FileExt;
use std::path::Path;
use tempfile::tempdir;

fn open_with(directory: &Path, options: PackOptions) -> PackStore {
    testing::open_with(directory, testing::options_for(module_path!(), options))
}

fn open(directory: &Path) -> PackStore {
    open_with(directory, PackOptions::default())
}

/// `plain` with some bytes changed in the middle and some put in.
fn edited(plain: &[u8]) -> Vec<u8> {
    let mut edited = plain.to_vec();
    let middle = edited.len() / 2;
    edited[middle..middle + 100].fill(7);
    edited.splice(1000..1000, *b"put in");
    edited
}

fn append(store: &PackStore, plain: &[u8], base: &ChunkRef) -> Stored {
    let base = Base { chunk: *base, plain: store.read(base, None).unwrap() };
    store.append(&store.content_tree(plain), plain, Some(&base)).unwrap()
}

fn put_difference(store: &PackStore, id: u64, plain: &[u8], base: &ChunkRef) -> ChunkRef {
    let stored = append(store, plain, base);
    assert!(stored.is_difference);
    let hash = store.content_tree(plain).hash();
    ChunkRef { id: ChunkId(id), hash, at: stored.at, base: Some(base.id) }
}

#[test]
fn a_chunk_that_differs_a_little_takes_little_and_reads_as_it_was() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    for (n, plain) in [(1, noise(1, 70_000)), (3, text(50_000)), (5, noise(2, 300))] {
        let base = put(&store, n, &plain);
        let plain = if plain.len() > 1000 { edited(&plain) } else { [&plain[..], b"!"].concat() };
        let chunk = put_difference(&store, n + 1, &plain, &base);
        assert!(chunk.at.stored_len < 400, "{}", chunk.at.stored_len);
        let check = |store: &PackStore| {
            assert_eq!(store.read(&chunk, Some(&base)).unwrap(), plain);
            store.verify(&chunk, Some(&base)).unwrap();
            let mut part = Vec::new();
            store.read_range(&chunk, Some(&base), 100, 50, &mut part).unwrap();
            assert_eq!(part, plain[100..150]);
        };
        check(&store);
        let copied = ChunkRef { at: store.copy(&chunk, Some(&base)).unwrap(), ..chunk };
        assert_eq!(copied.at.stored_len, chunk.at.stored_len);
        let other = open(dir.path());
        assert_eq!(other.read(&copied, Some(&base)).unwrap(), plain);
        check(&other);
    }
}

#[test]
fn what_has_nothing_in_common_is_stored_whole() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let base = put(&store, 1, &noise(1, 70_000));
    assert!(!append(&store, &noise(2, 70_000), &base).is_difference);
    // Text compresses about as well by itself.
    assert!(!append(&store, &text(60_000), &base).is_difference);
    assert!(!append(&store, b"short", &base).is_difference);
}

#[test]
fn a_difference_without_its_base_is_damaged() {
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), small_packs());
    let (plain, stranger) = (noise(1, 9000), put(&store, 9, &noise(9, 9000)));
    let base = put(&store, 1, &plain);
    let chunk = put_difference(&store, 2, &edited(&plain), &base);
    for wrong in [None, Some(&stranger), Some(&chunk)] {
        let outcome = store.read(&chunk, wrong);
        assert!(matches!(outcome, Err(Error::Damaged { .. })), "{wrong:?}: {outcome:?}");
        assert!(store.copy(&chunk, wrong).is_err());
    }
    // A base that claims to be a difference itself is not followed.
    let deeper = ChunkRef { base: Some(ChunkId(1)), ..chunk };
    assert!(store.read(&chunk, Some(&deeper)).is_err());
    store.sync().unwrap();
    let path = dir.path().join(format!("{}.pack", base.at.pack));
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(b"!!", base.at.offset + 5000).unwrap();
    let store = open_with(dir.path(), small_packs());
    let error = store.read(&chunk, Some(&base)).unwrap_err().to_string();
    assert!(error.contains("its base is damaged"), "{error}");
}

#[test]
fn every_flipped_byte_of_a_difference_is_found() {
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), small_packs());
    let plain = noise(1, 9000);
    let base = put(&store, 1, &plain);
    let chunk = put_difference(&store, 2, &edited(&plain), &base);
    store.close().unwrap();
    let path = dir.path().join(format!("{}.pack", chunk.at.pack));
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let end = chunk.at.offset + super::record_len(chunk.at.stored_len);
    for at in chunk.at.offset..end {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        match store.read(&chunk, Some(&base)) {
            Err(Error::Damaged { .. }) => {}
            // zstd has bits that mean nothing.
            Ok(read) => {
                let is_frame = at >= chunk.at.offset + 96 && !is_encrypted(module_path!());
                assert!(is_frame && read == edited(&plain), "byte {at}");
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
        file.write_all_at(&byte, at).unwrap();
    }
    store.verify(&chunk, Some(&base)).unwrap();
}
