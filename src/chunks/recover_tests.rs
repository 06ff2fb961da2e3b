//! Tests of what a crash or damage leaves, and what opening makes of it.

use super::testing::{self, STORE, is_encrypted, noise, put, small_packs, text};
use super::{Error, PackOptions, PackStore, RECORD_HEADER_LEN};
use crate::model::{ChunkRef, PackId};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

fn try_open(directory: &Path, options: PackOptions) -> super::Result<PackStore> {
    PackStore::open(directory, STORE, testing::options_for(module_path!(), options))
}

fn open_with(directory: &Path, options: PackOptions) -> PackStore {
    try_open(directory, options).unwrap()
}

fn open(directory: &Path) -> PackStore {
    open_with(directory, PackOptions::default())
}

/// Bytes before the descriptor of a zstd frame, whose bit 4 has no meaning.
const ZSTD_MAGIC_LEN: usize = 4;

fn pack_path(dir: &Path, pack: u32) -> PathBuf {
    dir.join(format!("{}.pack", PackId(pack)))
}

fn end(chunk: &ChunkRef) -> u64 {
    chunk.at.offset + RECORD_HEADER_LEN + u64::from(chunk.at.stored_len)
}

/// A pack of three records: raw, compressed, raw.
fn three_records() -> (TempDir, Vec<(ChunkRef, Vec<u8>)>) {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let plains = [noise(1, 40), text(500), noise(2, 70)];
    let numbered = (1..).zip(plains);
    let chunks = numbered.map(|(id, plain)| (put(&store, id, &plain), plain)).collect();
    store.close().unwrap();
    (dir, chunks)
}

/// Seals the newest pack of the directory by opening it with a target that it has reached.
fn seal(dir: &Path) {
    let target = PackOptions { target_bytes: 1, ..PackOptions::default() };
    drop(open_with(dir, target));
}

/// Lets the next start look at the pack as after a crash.
fn unmark(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn a_tail_torn_at_any_byte_loses_only_what_was_torn() {
    let (dir, chunks) = three_records();
    let whole = fs::read(pack_path(dir.path(), 0)).unwrap();
    for len in 0..=whole.len() {
        let dir = tempdir().unwrap();
        fs::write(pack_path(dir.path(), 0), &whole[..len]).unwrap();
        let store = open(dir.path());
        for (chunk, plain) in &chunks {
            match store.read(chunk, None) {
                Ok(read) => assert!(*read == *plain && end(chunk) <= len as u64),
                Err(error) => assert!(end(chunk) > len as u64, "{error}"),
            }
        }
        let new = put(&store, 9, b"afterwards");
        store.close().unwrap();
        assert_eq!(*open(dir.path()).read(&new, None).unwrap(), *b"afterwards");
    }
}

#[test]
fn a_seal_torn_at_any_byte_is_done_again() {
    let (dir, chunks) = three_records();
    let unsealed_len = fs::metadata(pack_path(dir.path(), 0)).unwrap().len();
    seal(dir.path());
    let sealed = fs::read(pack_path(dir.path(), 0)).unwrap();
    for len in unsealed_len as usize..=sealed.len() {
        let dir = tempdir().unwrap();
        fs::write(pack_path(dir.path(), 0), &sealed[..len]).unwrap();
        seal(dir.path());
        let again = fs::read(pack_path(dir.path(), 0)).unwrap();
        assert_eq!(again.len(), sealed.len(), "torn at {len}");
        // Sealed with another salt.
        assert!(again == sealed || is_encrypted(module_path!()), "torn at {len}");
        let store = open(dir.path());
        assert!(store.packs().unwrap()[0].sealed, "torn at {len}");
        assert!(chunks.iter().all(|(chunk, plain)| *store.read(chunk, None).unwrap() == *plain));
    }
}

#[test]
fn a_flipped_byte_anywhere_is_found_and_touches_nothing_else() {
    let (dir, chunks) = three_records();
    let path = pack_path(dir.path(), 0);
    seal(dir.path());
    let sealed = fs::read(&path).unwrap();
    unmark(&path);
    let unused_bit = (chunks[1].0.at.offset + RECORD_HEADER_LEN) as usize + ZSTD_MAGIC_LEN;
    for at in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        let options = PackOptions { read_only: true, cache_bytes: 0, ..PackOptions::default() };
        let store = match try_open(dir.path(), options) {
            Ok(store) => store,
            Err(Error::Newer { .. }) => {
                assert!((8..12).contains(&at));
                continue;
            }
            Err(error) => panic!("byte {at}: {error}"),
        };
        for (chunk, plain) in &chunks {
            let is_hit = (chunk.at.offset..end(chunk)).contains(&(at as u64));
            match store.read(chunk, None) {
                // One bit of a zstd frame's header means nothing: then the content is right all the same.
                Ok(read) => {
                    let is_unused = at == unused_bit && !is_encrypted(module_path!());
                    assert!(*read == *plain && (!is_hit || is_unused), "byte {at}");
                }
                Err(Error::Damaged { offset, .. }) => {
                    assert!(is_hit && offset == chunk.at.offset, "byte {at}");
                }
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
    }
}

#[test]
fn opening_after_damage_never_destroys_what_is_still_good() {
    let (dir, chunks) = three_records();
    let path = pack_path(dir.path(), 0);
    let whole = fs::read(&path).unwrap();
    for at in 0..chunks[2].0.at.offset as usize {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let options = PackOptions { cache_bytes: 0, ..PackOptions::default() };
        match try_open(dir.path(), options) {
            Ok(store) => {
                put(&store, 9, b"something new");
                store.close().unwrap();
                let hit = |c: &ChunkRef| (c.at.offset..end(c)).contains(&(at as u64));
                let read = |(c, _): &&(ChunkRef, Vec<u8>)| store.read(c, None).is_err() && !hit(c);
                assert_eq!(chunks.iter().filter(read).count(), 0, "byte {at}");
            }
            Err(error) => assert!(matches!(error, Error::Newer { .. }), "byte {at}: {error}"),
        }
        let _ = fs::remove_file(pack_path(dir.path(), 1));
    }
}

#[test]
fn walking_and_the_footer_say_the_same() {
    let (dir, chunks) = three_records();
    let listed = |dir: &Path| {
        let options = PackOptions { read_only: true, ..PackOptions::default() };
        let store = open_with(dir, options);
        (store.packs().unwrap()[0].sealed, store.records(PackId(0)).unwrap())
    };
    let (unsealed, walked) = listed(dir.path());
    seal(dir.path());
    let (sealed, from_footer) = listed(dir.path());
    assert_eq!((unsealed, sealed), (false, true));
    assert_eq!(walked, from_footer);
    assert_eq!(walked.len(), chunks.len());
}

#[test]
fn records_after_a_damaged_stretch_are_listed() {
    let (dir, chunks) = three_records();
    let path = pack_path(dir.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[chunks[1].0.at.offset as usize + 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let store = open(dir.path());
    let listed: Vec<_> = store.records(PackId(0)).unwrap().iter().map(|r| r.at).collect();
    assert_eq!(listed, [chunks[0].0.at, chunks[2].0.at]);
    assert_eq!(put(&store, 9, b"new").at.pack, PackId(1), "a damaged pack is not continued");
}

#[test]
fn reopening_continues_the_newest_pack() {
    let (dir, chunks) = three_records();
    let store = open(dir.path());
    let next = put(&store, 9, b"next");
    assert_eq!((next.at.pack, next.at.offset), (PackId(0), end(&chunks[2].0)));
    assert_eq!(store.records(PackId(0)).unwrap().len(), 4);
}

#[test]
fn an_older_unsealed_pack_is_sealed_at_opening() {
    let (dir, _) = three_records();
    let empty = tempdir().unwrap();
    let store = open_with(empty.path(), small_packs());
    (1..=2).for_each(|n| _ = put(&store, n, &noise(n, 5000)));
    store.close().unwrap();
    fs::copy(pack_path(empty.path(), 1), pack_path(dir.path(), 1)).unwrap();
    let store = open(dir.path());
    let sealed: Vec<_> = store.packs().unwrap().iter().map(|pack| pack.sealed).collect();
    assert_eq!(sealed, [true, false]);
    assert!(fs::metadata(pack_path(dir.path(), 0)).unwrap().permissions().readonly());
}

#[test]
fn a_pack_that_never_got_its_header_is_removed() {
    for len in [0, 10, 64, 5000] {
        let dir = tempdir().unwrap();
        fs::write(pack_path(dir.path(), 3), vec![0; len]).unwrap();
        let store = open(dir.path());
        assert_eq!(
            (store.packs().unwrap(), fs::read_dir(dir.path()).unwrap().count()),
            (vec![], 0)
        );
        assert_eq!(put(&store, 1, b"x").at.pack, PackId(4), "numbers are not used again");
    }
}

#[test]
fn a_newer_pack_is_refused_and_untouched() {
    let (dir, _) = three_records();
    let path = pack_path(dir.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    fs::write(&path, &bytes).unwrap();
    let error = try_open(dir.path(), PackOptions::default()).err().unwrap();
    assert!(matches!(error, Error::Newer { found: 2, known: 1, .. }));
    assert!(error.to_string().contains("00000000.pack has format 2"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn another_stores_pack_yields_nothing_and_is_kept() {
    let (dir, chunks) = three_records();
    let options = testing::options_for(module_path!(), PackOptions::default());
    let store = PackStore::open(dir.path(), *b"a different one.", options).unwrap();
    assert!(matches!(store.read(&chunks[0].0, None), Err(Error::Damaged { .. })));
    put(&store, 9, b"new");
    store.close().unwrap();
    let mine = open_with(dir.path(), PackOptions { read_only: true, ..PackOptions::default() });
    assert_eq!(*mine.read(&chunks[0].0, None).unwrap(), chunks[0].1);
}

#[test]
fn a_cut_off_and_a_missing_pack_are_damage() {
    let (dir, chunks) = three_records();
    let options = PackOptions { read_only: true, ..PackOptions::default() };
    let file = fs::File::options().write(true).open(pack_path(dir.path(), 0)).unwrap();
    file.set_len(chunks[1].0.at.offset + 10).unwrap();
    let store = open_with(dir.path(), options.clone());
    assert!(store.read(&chunks[0].0, None).is_ok());
    assert!(matches!(store.verify(&chunks[1].0, None), Err(Error::Damaged { .. })));
    fs::remove_file(pack_path(dir.path(), 0)).unwrap();
    let store = open_with(dir.path(), options);
    assert!(matches!(store.verify(&chunks[0].0, None), Err(Error::Damaged { .. })));
}
