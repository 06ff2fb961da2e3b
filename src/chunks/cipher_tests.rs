//! Tests of what only encrypted packs have: keys, and what must not show.

use super::cipher::Cipher;
use super::format::{
    Codec, Entry, KeyHint, PACK_HEADER_LEN, PackHeader, PackName, RecordHeader, decode_pack_header,
    encode_footer, encode_pack_header, encode_trailer,
};
use super::testing::{STORE, hex_dump, keys, keys_of, noise, open_with, put, small_packs, text};
use super::{ContentTree, Error, PackOptions, PackStore, cipher, record_len};
use crate::crypt::Keyring;
use crate::model::{ChunkHash, ChunkRef, PackId};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::{TempDir, tempdir};

fn with_keys(keys: Arc<Keyring>) -> PackOptions {
    PackOptions { keys: Some(keys), cache_bytes: 0, ..small_packs() }
}

fn read_only(keys: Arc<Keyring>) -> PackOptions {
    PackOptions { read_only: true, ..with_keys(keys) }
}

fn pack_path(dir: &Path, pack: u32) -> PathBuf {
    dir.join(format!("{}.pack", PackId(pack)))
}

/// Chunks of all codecs, in packs that each hold a few.
fn contents() -> Vec<Vec<u8>> {
    let lens = [0, 1, 63, 64, 700, 3000, 16_384, 16_385, 40_000];
    lens.into_iter().flat_map(|len| [noise(len as u64 + 1, len), text(len)]).collect()
}

fn put_all(store: &PackStore) -> Vec<ChunkRef> {
    (1..).zip(contents()).map(|(id, plain)| put(store, id, &plain)).collect()
}

fn filled(keys: Arc<Keyring>) -> (TempDir, Vec<ChunkRef>) {
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), with_keys(keys));
    let chunks = put_all(&store);
    store.close().unwrap();
    (dir, chunks)
}

#[test]
fn the_documented_example_is_what_is_written() {
    let store = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let name = PackName { store, pack: PackId(1) };
    let cipher = Cipher::current(&keys(), name);
    let hash = ChunkHash(*blake3::keyed_hash(&[1; 32], b"verso").as_bytes());
    let header = RecordHeader::encrypted(Codec::Raw, 5, 5, hash);
    let entry = Entry { offset: PACK_HEADER_LEN, header };
    let mut record = Vec::new();
    cipher.seal_record(&header, entry.offset, [b"ver", b"so"], &[0x21; 16], &mut record);
    let footer = encode_footer(&[entry]);
    let trailer = encode_trailer(&name, entry.end(), &footer);
    let end = cipher.seal_end(entry.end(), &footer, &trailer, [&[0x22; 16], &[0x23; 16]]);
    let pack = [&encode_pack_header(&name, Some(&cipher.hint()))[..], &record, &end.0, &end.1];
    let pack = pack.concat();
    let dump = hex_dump(&pack);
    let documentation = include_str!("../../docs/FORMAT.md");
    assert!(documentation.contains(&dump), "docs/FORMAT.md does not show:\n{dump}");

    let dir = tempdir().unwrap();
    fs::write(pack_path(dir.path(), 1), pack).unwrap();
    let packs = PackStore::open(dir.path(), store, read_only(keys())).unwrap();
    assert!(packs.packs().unwrap()[0].sealed);
    let id = crate::model::ChunkId(1);
    let chunk = ChunkRef { id, hash, at: packs.records(PackId(1)).unwrap()[0].at, base: None };
    assert_eq!(packs.read(&chunk, None).unwrap(), b"verso");
}

#[test]
fn nothing_of_what_is_stored_shows() {
    let (dir, chunks) = filled(keys());
    let files = fs::read_dir(dir.path()).unwrap();
    let bytes: Vec<Vec<u8>> =
        files.map(|file| fs::read(file.unwrap().path()).unwrap()[64..].to_vec()).collect();
    let shows = |needle: &[u8]| {
        bytes.iter().any(|file| file.windows(needle.len()).any(|window| window == needle))
    };
    for (chunk, plain) in chunks.iter().zip(contents()) {
        assert!(!shows(&chunk.hash.0[..8]), "an identity shows");
        assert!(!shows(&blake3::hash(&plain).as_bytes()[..8]), "a hash shows");
        for piece in plain.chunks_exact(16).step_by(16) {
            assert!(!shows(piece), "content shows");
        }
    }
    // What every record, footer, and zstd frame has.
    for magic in [&b"VREC"[..], b"VersoEnd", &[0x28, 0xb5, 0x2f, 0xfd], &[0; 8]] {
        assert!(!shows(magic), "{magic:?} shows");
    }
}

#[test]
fn lengths_are_rounded() {
    let len = |plain: &[u8]| record_len(cipher::fit(plain.len() as u32).0);
    assert_eq!(len(&[0; 17]), len(&[0; 80]));
    let (a, b) = (tempdir().unwrap(), tempdir().unwrap());
    for (dir, plain) in [(&a, noise(1, 1009)), (&b, noise(2, 1040))] {
        let store = open_with(dir.path(), with_keys(keys()));
        put(&store, 1, &plain);
        store.close().unwrap();
    }
    let file_len = |dir: &TempDir| fs::metadata(pack_path(dir.path(), 0)).unwrap().len();
    assert_eq!(file_len(&a), file_len(&b));
}

#[test]
fn what_compresses_by_less_than_the_padding_is_stored_raw() {
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), with_keys(keys()));
    // zstd saves some 20 bytes of these.
    let plain = [noise(1, 100), vec![7; 30]].concat();
    let chunk = put(&store, 1, &plain);
    assert!(cipher::is_raw(&chunk.at), "{chunk:?}");
    assert_eq!(store.stored_len(&store.content_tree(&plain), &plain).unwrap(), chunk.at.stored_len);
    assert_eq!(store.read(&chunk, None).unwrap(), plain);
}

#[test]
fn the_same_content_has_another_identity_in_another_store_and_another_look_every_time() {
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), with_keys(keys()));
    let (one, other) = (put(&store, 1, &noise(1, 500)), put(&store, 2, &noise(1, 500)));
    assert_eq!(one.hash, other.hash);
    assert_ne!(one.hash, crate::chunks::hash(&noise(1, 500)));
    let mut keys = Keyring::with_identity(&super::testing::key(2)).unwrap();
    keys.add(1, &super::testing::key(11)).unwrap();
    let stranger = open_with(tempdir().unwrap().path(), with_keys(Arc::new(keys)));
    assert_ne!(stranger.content_tree(&noise(1, 500)).hash(), one.hash);
    let bytes = fs::read(pack_path(dir.path(), 0)).unwrap();
    let record = |chunk: &ChunkRef| &bytes[chunk.at.offset as usize..][..200];
    let same = record(&one).iter().zip(record(&other)).filter(|(a, b)| a == b).count();
    assert!(same < 30, "{same} of 200 bytes are the same");
}

/// Each chunk either reads as it was or is damaged.
fn assert_never_wrong(dir: &Path, chunks: &[ChunkRef], damaged: &[u64]) {
    let store = open_with(dir, read_only(keys()));
    for (chunk, plain) in chunks.iter().zip(contents()) {
        match store.read(chunk, None) {
            Ok(read) => assert!(read == plain && !damaged.contains(&chunk.id.0), "{chunk:?}"),
            Err(Error::Damaged { .. }) => assert!(damaged.contains(&chunk.id.0), "{chunk:?}"),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(store.verify(chunk, None).is_err(), damaged.contains(&chunk.id.0));
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn records_that_change_places_are_damaged() {
    let (dir, chunks) = filled(keys());
    let same_pack = |(a, b): &(&ChunkRef, &ChunkRef)| {
        a.at.pack == b.at.pack && a.at.stored_len == b.at.stored_len
    };
    let pairs = chunks.iter().flat_map(|a| chunks.iter().map(move |b| (a, b)));
    let (a, b) = pairs.filter(|(a, b)| a.id < b.id).find(same_pack).unwrap();
    let path = pack_path(dir.path(), a.at.pack.0);
    let bytes = fs::read(&path).unwrap();
    let record = |chunk: &ChunkRef| {
        let begin = chunk.at.offset as usize;
        begin..begin + record_len(chunk.at.stored_len) as usize
    };
    let mut swapped = bytes.clone();
    swapped[record(a)].copy_from_slice(&bytes[record(b)]);
    swapped[record(b)].copy_from_slice(&bytes[record(a)]);
    write(&path, &swapped);
    assert_never_wrong(dir.path(), &chunks, &[a.id.0, b.id.0]);
    // The one's header before the other's content.
    let mut mixed = bytes.clone();
    let tail = |chunk: &ChunkRef| record(chunk).start + 96..record(chunk).end;
    mixed[tail(a)].copy_from_slice(&bytes[tail(b)]);
    write(&path, &mixed);
    assert_never_wrong(dir.path(), &chunks, &[a.id.0]);
}

#[test]
fn segments_that_change_places_are_damaged() {
    let (dir, chunks) = filled(keys());
    let chunk = chunks.iter().find(|c| c.at.plain_len == 40_000 && cipher::is_raw(&c.at)).unwrap();
    let path = pack_path(dir.path(), chunk.at.pack.0);
    let bytes = fs::read(&path).unwrap();
    let segment = |n| {
        let begin = (chunk.at.offset + cipher::segment_offset(n)) as usize;
        begin..begin + cipher::SEALED_SEGMENT_LEN
    };
    let mut swapped = bytes.clone();
    swapped[segment(0)].copy_from_slice(&bytes[segment(1)]);
    swapped[segment(1)].copy_from_slice(&bytes[segment(0)]);
    write(&path, &swapped);
    assert_never_wrong(dir.path(), &chunks, &[chunk.id.0]);
    let store = open_with(dir.path(), read_only(keys()));
    let mut part = Vec::new();
    store.read_range(chunk, None, 33_000, 100, &mut part).unwrap();
    assert_eq!(part, contents()[chunk.id.0 as usize - 1][33_000..33_100]);
    assert!(store.read_range(chunk, None, 17_000, 100, &mut part).is_err());
    assert_eq!(part.len(), 100);
}

#[test]
fn packs_that_change_places_are_damaged() {
    let (dir, chunks) = filled(keys());
    let [a, b] = [0, 1].map(|pack| pack_path(dir.path(), pack));
    let moved = dir.path().join("moved");
    for (from, to) in [(&a, &moved), (&b, &a), (&moved, &b)] {
        fs::rename(from, to).unwrap();
    }
    let hit = chunks.iter().filter(|chunk| chunk.at.pack.0 < 2).map(|chunk| chunk.id.0);
    assert_never_wrong(dir.path(), &chunks, &hit.collect::<Vec<_>>());
}

#[test]
fn a_pack_of_another_store_is_damaged() {
    let (dir, chunks) = filled(keys());
    let other = tempdir().unwrap();
    let store = PackStore::open(other.path(), *b"a different one.", with_keys(keys())).unwrap();
    put_all(&store);
    store.close().unwrap();
    fs::remove_file(pack_path(dir.path(), 0)).unwrap();
    fs::copy(pack_path(other.path(), 0), pack_path(dir.path(), 0)).unwrap();
    let hit = chunks.iter().filter(|chunk| chunk.at.pack.0 == 0).map(|chunk| chunk.id.0);
    assert_never_wrong(dir.path(), &chunks, &hit.collect::<Vec<_>>());
}

/// All files of a directory, by name.
fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn without_the_right_key_a_store_is_refused_and_not_touched() {
    let (dir, chunks) = filled(keys());
    let before = snapshot(dir.path());
    let mut wrong = Keyring::with_identity(&super::testing::key(1)).unwrap();
    wrong.add(1, &super::testing::key(99)).unwrap();
    for keys in [Arc::new(wrong), keys_of(&[2])] {
        let error = PackStore::open(dir.path(), STORE, with_keys(keys)).err().unwrap();
        assert!(matches!(error, Error::KeyMissing { epoch: 1, .. }), "{error}");
        assert!(error.to_string().contains("of epoch 1"), "{error}");
    }
    let error = PackStore::open(dir.path(), STORE, small_packs()).err().unwrap();
    assert!(matches!(error, Error::OtherKind { encrypted: true, .. }), "{error}");
    assert!(snapshot(dir.path()) == before);
    // An old pack is not looked at before it is read.
    fs::remove_file(pack_path(dir.path(), chunks.last().unwrap().at.pack.0)).unwrap();
    for pack in 1..chunks.last().unwrap().at.pack.0 {
        let _ = fs::remove_file(pack_path(dir.path(), pack));
    }
    let last = open_with(tempdir().unwrap().path(), with_keys(keys_of(&[2])));
    drop(last);
    fs::write(pack_path(dir.path(), 9), []).unwrap();
    let store = open_with(dir.path(), with_keys(keys_of(&[2])));
    let error = store.read(&chunks[0], None).unwrap_err();
    assert!(matches!(error, Error::KeyMissing { epoch: 1, .. }), "{error}");
}

#[test]
fn a_plain_pack_in_an_encrypted_store_is_refused_or_damaged() {
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), small_packs());
    let chunks = put_all(&store);
    store.close().unwrap();
    drop(store);
    let error = PackStore::open(dir.path(), STORE, with_keys(keys())).err().unwrap();
    assert!(matches!(error, Error::OtherKind { encrypted: false, .. }), "{error}");
    let encrypted = tempdir().unwrap();
    let store = open_with(encrypted.path(), with_keys(keys()));
    put_all(&store);
    store.close().unwrap();
    fs::remove_file(pack_path(encrypted.path(), 0)).unwrap();
    fs::copy(pack_path(dir.path(), 0), pack_path(encrypted.path(), 0)).unwrap();
    let store = open_with(encrypted.path(), with_keys(keys()));
    let at = |chunk: &ChunkRef| crate::model::ChunkLocation { stored_len: 128, ..chunk.at };
    let error = store.read(&ChunkRef { at: at(&chunks[4]), ..chunks[4] }, None).unwrap_err();
    assert!(error.to_string().contains("not encrypted"), "{error}");
}

#[test]
fn an_encrypted_pack_in_a_plain_store_is_damaged() {
    let (dir, chunks) = filled(keys());
    let plain = tempdir().unwrap();
    let store = open_with(plain.path(), small_packs());
    put_all(&store);
    store.close().unwrap();
    fs::remove_file(pack_path(plain.path(), 0)).unwrap();
    fs::copy(pack_path(dir.path(), 0), pack_path(plain.path(), 0)).unwrap();
    let store = open_with(plain.path(), small_packs());
    for chunk in chunks.iter().filter(|chunk| chunk.at.pack.0 == 0) {
        assert!(matches!(store.read(chunk, None), Err(Error::Damaged { .. })));
    }
}

#[test]
fn a_record_after_a_long_gap_is_found() {
    let dir = tempdir().unwrap();
    let options = || PackOptions { target_bytes: 32 << 20, ..with_keys(keys()) };
    let store = open_with(dir.path(), options());
    let chunks: Vec<_> = (1..=24).map(|n| put(&store, n, &noise(n, 100_000))).collect();
    store.close().unwrap();
    drop(store);
    let path = pack_path(dir.path(), 0);
    let whole = fs::read(&path).unwrap();
    // More than is searched at a time: noise, and zeros as of a hole.
    for gap in [noise(99, 1_700_000), vec![0; 1_700_000]] {
        let mut bytes = whole.clone();
        bytes[chunks[1].at.offset as usize..][..gap.len()].copy_from_slice(&gap);
        write(&path, &bytes);
        let store = open_with(dir.path(), options());
        let listed = store.records(PackId(0)).unwrap();
        let last = listed.last().unwrap().at;
        assert_eq!((listed[0].at, last), (chunks[0].at, chunks[23].at));
        assert_eq!(put(&store, 99, b"new").at.pack, PackId(1), "a damaged pack is not continued");
        drop(store);
        fs::remove_file(pack_path(dir.path(), 1)).unwrap();
    }
}

#[test]
fn a_damaged_header_hides_nothing_whatever_the_epoch() {
    let (dir, chunks) = filled(keys());
    for pack in 0..=chunks.last().unwrap().at.pack.0 {
        let path = pack_path(dir.path(), pack);
        let mut bytes = fs::read(&path).unwrap();
        bytes[37] ^= 1;
        write(&path, &bytes);
    }
    let store = open_with(dir.path(), with_keys(keys_of(&[1, 2, 3])));
    for (chunk, plain) in chunks.iter().zip(contents()) {
        assert_eq!(store.read(chunk, None).unwrap(), plain);
    }
    assert_eq!(store.packs_of_old_keys().unwrap().len(), store.packs().unwrap().len());
}

#[test]
fn an_epoch_that_was_written_over_does_not_end_an_old_key() {
    let (dir, chunks) = filled(keys());
    let pack = chunks[0].at.pack;
    let path = pack_path(dir.path(), pack.0);
    let mut bytes = fs::read(&path).unwrap();
    let header = bytes.first_chunk().unwrap();
    let PackHeader::Known(name, Some(hint)) = decode_pack_header(header) else { panic!() };
    let later = KeyHint { epoch: 2, ..hint };
    bytes[..64].copy_from_slice(&encode_pack_header(&name, Some(&later)));
    write(&path, &bytes);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let store = open_with(dir.path(), with_keys(keys_of(&[1, 2])));
    assert!(store.packs_of_old_keys().unwrap().contains(&pack));
}

#[test]
fn a_new_master_key_begins_a_pack_and_all_moves_to_it() {
    let (dir, mut chunks) = filled(keys());
    let is_whole = |store: &PackStore, chunks: &[ChunkRef]| {
        let mut each = chunks.iter().zip(contents());
        each.all(|(chunk, plain)| {
            store.verify(chunk, None).is_ok() && store.read(chunk, None).unwrap() == plain
        })
    };
    let both = || with_keys(keys_of(&[1, 2]));
    let store = open_with(dir.path(), both());
    let old = store.packs_of_old_keys().unwrap();
    assert_eq!(old, store.packs().unwrap().iter().map(|pack| pack.id).collect::<Vec<_>>());
    assert!(store.packs().unwrap().iter().all(|pack| pack.sealed));
    for n in 0..chunks.len() {
        let from = chunks[n].at;
        chunks[n].at = store.copy(&chunks[n], None).unwrap();
        assert_eq!(chunks[n].at.stored_len, from.stored_len);
        store.sync().unwrap();
        assert!(!old.contains(&chunks[n].at.pack) && is_whole(&store, &chunks));
    }
    let freed: u64 = old.iter().map(|pack| store.remove(*pack).unwrap()).sum();
    assert!(freed > 0 && store.packs_of_old_keys().unwrap().is_empty());
    assert!(is_whole(&store, &chunks));
    store.close().unwrap();
    drop(store);
    let store = open_with(dir.path(), with_keys(keys_of(&[2])));
    assert!(is_whole(&store, &chunks) && store.packs_of_old_keys().unwrap().is_empty());
    drop(store);
    let one = open_with(dir.path(), both());
    assert!(one.packs_of_old_keys().unwrap().is_empty());
}

#[test]
fn what_was_sealed_under_a_wrong_identity_is_found_by_verifying_and_not_carried_on() {
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), with_keys(keys()));
    for (id, plain) in [(1, noise(1, 40_000)), (2, text(9000))] {
        let hash = store.content_tree(b"something else").hash();
        let at = store.append(&ContentTree::of_one_part(hash), &plain, None).unwrap().at;
        let chunk = ChunkRef { id: crate::model::ChunkId(id), hash, at, base: None };
        assert!(matches!(store.verify(&chunk, None), Err(Error::Damaged { .. })));
        assert!(matches!(store.copy(&chunk, None), Err(Error::Damaged { .. })));
    }
}

#[test]
fn parts_are_read_where_the_chunk_is_now() {
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), with_keys(keys()));
    let plain = noise(1, 40_000);
    let old = put(&store, 1, &plain);
    let new = ChunkRef { at: store.copy(&old, None).unwrap(), ..old };
    // What is in memory of the one place is of no use at the other.
    for chunk in [&old, &new, &old, &new] {
        for skip in [20_000, 0, 39_000] {
            let mut part = Vec::new();
            store.read_range(chunk, None, skip, 1000, &mut part).unwrap();
            assert!(part == plain[skip..skip + 1000], "{skip} of {chunk:?}");
        }
    }
}

#[test]
fn a_failing_write_leaves_nothing_plain() {
    use super::append::faults;
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), with_keys(keys()));
    put(&store, 1, b"x");
    let plain = text(700);
    // Half of it gets there, and can't be cut off.
    faults::fail_writes(1, libc::EIO);
    assert!(store.append(&store.content_tree(&plain), &plain, None).is_err());
    let bytes = fs::read(pack_path(dir.path(), 0)).unwrap();
    assert!(bytes.len() > 64 + 128 + 100, "nothing was written");
    assert!(bytes.windows(16).all(|window| !plain.windows(16).any(|piece| piece == window)));
}

proptest! {
    #[test]
    fn every_length_fits_and_is_told_from_what_is_compressed(payload: u32, less in 1..5000_u32) {
        let payload = payload % ((16 << 20) + 1);
        let (stored, padding) = cipher::fit(payload);
        prop_assert_eq!(cipher::payload_len(stored, padding), Some(payload));
        prop_assert_eq!((u64::from(stored) % 64, padding < 64), (0, true));
        prop_assert!(cipher::fit(payload.saturating_sub(less)).0 <= stored);
        for other in (0..64).filter(|&other| other != padding) {
            prop_assert!(cipher::payload_len(stored, other) != Some(payload));
        }
    }

    #[test]
    fn no_lengths_confuse(stored: u32, padding: u8) {
        if let Some(payload) = cipher::payload_len(stored, padding) {
            prop_assert_eq!(cipher::fit(payload), (stored, padding));
        }
    }
}
