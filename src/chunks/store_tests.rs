//! Tests of the packs as one thing.

use super::append::faults;
use super::testing::{self, is_encrypted, noise, put, small_packs, text};
use super::{Error, PackOptions, PackStore, RECORD_HEADER_LEN, Result, Stored, record_len};
use crate::model::{ChunkId, PackId};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::tempdir;

fn open_with(directory: &Path, options: PackOptions) -> PackStore {
    testing::open_with(directory, testing::options_for(module_path!(), options))
}

fn open(directory: &Path) -> PackStore {
    open_with(directory, PackOptions::default())
}

fn append(store: &PackStore, plain: &[u8]) -> Result<Stored> {
    store.append(&store.content_tree(plain), plain, None)
}

#[test]
fn chunks_of_all_sizes_come_back() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let mut chunks = Vec::new();
    for len in [0, 1, 63, 64, 100, 4095, 8192, 8193, 16_385, 65_536, 262_144, 1 << 20] {
        for plain in [text(len), noise(7, len), vec![0; len]] {
            chunks.push((put(&store, chunks.len() as u64, &plain), plain));
        }
    }
    for (chunk, plain) in &chunks {
        assert_eq!(*store.read(chunk, None).unwrap(), *plain);
        store.verify(chunk, None).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let store = open_with(dir.path(), PackOptions { read_only: true, ..PackOptions::default() });
    for (chunk, plain) in &chunks {
        assert_eq!(*store.read(chunk, None).unwrap(), *plain);
    }
}

#[test]
fn only_what_gains_is_compressed() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    for len in [2000, 60_000, 200_000] {
        let (text, noise) = (put(&store, 0, &text(len)).at, put(&store, 1, &noise(3, len)).at);
        assert!(text.stored_len < text.plain_len / 2, "{text:?}");
        let parts = len.div_ceil(16_384) as u32;
        let beside = if len > 16_384 { parts * 32 } else { 0 };
        // Salt, two tags of the shortest, and up to the next multiple of 64.
        let sealed = (noise.plain_len + 16 + 16 + parts * 16).next_multiple_of(64);
        let expected = if is_encrypted(module_path!()) { sealed } else { noise.plain_len + beside };
        assert_eq!(noise.stored_len, expected);
    }
}

#[test]
fn a_full_pack_is_sealed_and_the_next_begun() {
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), small_packs());
    let chunks: Vec<_> = (1..=20).map(|n| put(&store, n, &noise(n, 1000))).collect();
    store.sync().unwrap();
    let packs = store.packs().unwrap();
    let sealed: Vec<_> = packs.iter().map(|pack| pack.sealed).collect();
    assert_eq!(sealed, [true, true, true, true, false]);
    for pack in packs {
        let listed: Vec<_> = store.records(pack.id).unwrap().iter().map(|r| r.at).collect();
        let put: Vec<_> = chunks.iter().map(|c| c.at).filter(|at| at.pack == pack.id).collect();
        assert_eq!(listed, put);
        let on_disk = std::fs::metadata(dir.path().join(format!("{}.pack", pack.id))).unwrap();
        assert_eq!((on_disk.len(), on_disk.permissions().readonly()), (pack.len, pack.sealed));
    }
    assert!(chunks.iter().all(|chunk| store.read(chunk, None).is_ok()));
}

#[test]
fn a_full_disk_breaks_nothing() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let before = put(&store, 1, &noise(1, 5000));
    let plain = noise(2, 5000);
    faults::fail_writes(2, libc::ENOSPC);
    for _ in 0..2 {
        assert!(matches!(append(&store, &plain), Err(Error::NoSpace)));
    }
    assert_eq!(*store.read(&before, None).unwrap(), noise(1, 5000));
    let after = put(&store, 2, &plain);
    let end = before.at.offset + RECORD_HEADER_LEN + u64::from(before.at.stored_len);
    assert_eq!(after.at.offset, end);
    store.sync().unwrap();
    assert_eq!(*store.read(&after, None).unwrap(), plain);
}

#[test]
fn a_full_disk_at_sealing_and_at_a_new_pack_breaks_nothing() {
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), small_packs());
    let first = put(&store, 1, &noise(1, 5000));
    let plain = noise(2, 5000);
    faults::fail_writes(1, libc::ENOSPC);
    assert!(matches!(append(&store, &plain), Err(Error::NoSpace)));
    assert!(!store.packs().unwrap()[0].sealed);
    let second = put(&store, 2, &plain);
    assert_eq!((first.at.pack, second.at.pack), (PackId(0), PackId(1)));
    store.close().unwrap();
    assert_eq!(store.records(PackId(0)).unwrap().len(), 1);
}

#[test]
fn a_new_pack_that_finds_no_room_leaves_no_file() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    faults::fail_writes(1, libc::ENOSPC);
    assert!(matches!(append(&store, b"x"), Err(Error::NoSpace)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(put(&store, 1, b"x").at.pack, PackId(0));
}

#[test]
fn after_a_failed_write_nothing_more_is_taken_but_reading_goes_on() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let chunk = put(&store, 1, &noise(1, 5000));
    faults::fail_writes(1, libc::EIO);
    assert!(matches!(append(&store, b"x"), Err(Error::Io { .. })));
    assert!(store.is_poisoned() && store.poison_reason().is_some());
    assert!(matches!(append(&store, b"x"), Err(Error::Poisoned)));
    assert!(matches!(store.sync(), Err(Error::Poisoned)));
    store.read(&chunk, None).unwrap();
}

#[test]
fn a_failed_sync_is_not_tried_again() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 1, b"x");
    faults::fail_syncs(1, libc::EIO);
    assert!(matches!(store.sync(), Err(Error::Io { .. })));
    assert!(matches!(store.sync(), Err(Error::Poisoned)));
    assert_eq!(store.durable_ends(), [(PackId(0), 0)]);
}

#[test]
fn durable_ends_follow_the_syncs() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.durable_ends(), []);
    let first = put(&store, 1, b"first").at;
    assert_eq!(store.durable_ends(), [(PackId(0), 0)]);
    store.sync().unwrap();
    let end = first.offset + record_len(first.stored_len);
    let second = put(&store, 2, b"second").at;
    assert_eq!(store.durable_ends(), [(PackId(0), end)]);
    store.sync().unwrap();
    assert_eq!(store.durable_ends(), [(PackId(0), end + record_len(second.stored_len))]);
}

#[test]
fn many_threads_append_read_and_sync() {
    let dir = tempdir().unwrap();
    let options = PackOptions { target_bytes: 1 << 20, cache_bytes: 0, ..PackOptions::default() };
    let store = open_with(dir.path(), options);
    let work = |thread: u64| {
        for n in 0..50 {
            let id = thread * 1000 + n + 1;
            let plain = if n % 2 == 0 { noise(id, 30_000) } else { text(id as usize) };
            let chunk = put(&store, id, &plain);
            store.sync().unwrap();
            let durable = store.durable_ends().into_iter().find(|(p, _)| *p == chunk.at.pack);
            assert!(chunk.at.ends_by(RECORD_HEADER_LEN, durable.unwrap().1));
            assert_eq!(*store.read(&chunk, None).unwrap(), plain);
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        (0..4).for_each(|thread| drop(scope.spawn(move || work(thread))));
    });
    let packs = store.packs().unwrap();
    let records = |pack: &super::PackInfo| store.records(pack.id).unwrap().len();
    assert_eq!(packs.iter().map(records).sum::<usize>(), 200);
    assert_eq!(store.stored_bytes(), packs.iter().map(|pack| pack.len).sum::<u64>());
}

#[test]
fn small_frequent_syncs_write_over_zeros_and_reopening_finds_the_end() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let path = dir.path().join("00000000.pack");
    let mut chunks = Vec::new();
    for n in 1..=20 {
        chunks.push((put(&store, n, &noise(n, 3000)), noise(n, 3000)));
        store.sync().unwrap();
    }
    let used = store.stored_bytes();
    let len = std::fs::metadata(&path).unwrap().len();
    assert!(len > used + 500_000, "{len} bytes, {used} used: no zeros ahead");
    assert_eq!(store.records(PackId(0)).unwrap().len(), 20);
    drop(store); // without close: as if killed
    let store = open(dir.path());
    assert_eq!((std::fs::metadata(&path).unwrap().len(), store.stored_bytes()), (used, used));
    assert!(chunks.iter().all(|(chunk, plain)| *store.read(chunk, None).unwrap() == *plain));
}

#[test]
fn a_store_open_read_only_changes_nothing() {
    let dir = tempdir().unwrap();
    let chunk = put(&open_with(dir.path(), small_packs()), 1, &noise(1, 5000));
    let path = dir.path().join("00000000.pack");
    let torn = [std::fs::read(&path).unwrap(), vec![7; 100]].concat();
    std::fs::write(&path, &torn).unwrap();
    let store = open_with(dir.path(), PackOptions { read_only: true, ..PackOptions::default() });
    assert!(matches!(append(&store, b"x"), Err(Error::ReadOnly)));
    assert_eq!(*store.read(&chunk, None).unwrap(), noise(1, 5000));
    assert_eq!(store.records(PackId(0)).unwrap().len(), 1);
    store.sync().unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(std::fs::read(&path).unwrap(), torn);
}

#[test]
fn a_chunk_that_is_too_long_is_refused() {
    let dir = tempdir().unwrap();
    let plain = vec![0; (16 << 20) + 1];
    let error = append(&open(dir.path()), &plain).unwrap_err();
    assert!(matches!(error, Error::TooLong { len } if len == plain.len()));
}

#[test]
fn packs_wait_for_a_sync_only_in_a_bounded_number() {
    let dir = tempdir().unwrap();
    let store = open_with(dir.path(), small_packs());
    (1..=100).for_each(|n| _ = put(&store, n, &noise(n, 5000)));
    let durable = store.durable_ends().iter().filter(|(_, end)| *end > 0).count();
    assert!(durable >= 60, "{durable} of 100 packs were synced");
}

#[test]
fn prefetching_is_harmless_for_what_is_not_there() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let chunks = [1, 2, 3].map(|n| put(&store, n, &noise(n, 5000)));
    let mut missing = chunks[0];
    missing.at.pack = PackId(99);
    store.prefetch(&[chunks[0], chunks[1], missing, chunks[2]]);
    missing.id = ChunkId(9);
    assert!(matches!(store.read(&missing, None), Err(Error::Damaged { .. })));
}

#[test]
fn readers_run_while_another_thread_writes() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let chunk = put(&store, 1, &noise(1, 100_000));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                store.verify(&chunk, None).unwrap();
            }
        });
        (2..50).for_each(|n| _ = put(&store, n, &noise(n, 100_000)));
        done.store(true, Ordering::SeqCst);
    });
}
