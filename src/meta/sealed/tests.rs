//! Whole databases that are encrypted.

use super::cipher::tests::keys_of;
use super::cipher::{Cipher, FRAME_LEN, PAGE_LEN, PageKeys, RESERVE_LEN, epoch_at_end};
use super::log_file::{LOG_HEADER_LEN, frame_offset};
use super::{oldest_epoch, rekey};
use crate::meta::{Error, Meta, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What must never be on the disk; rows begin with it.
const SECRET: &str = "unpublished-";

struct Store {
    dir: TempDir,
    keys: PageKeys,
}

impl Store {
    fn new() -> Store {
        Store::with_keys(keys_of(&[7]))
    }

    fn with_keys(keys: PageKeys) -> Store {
        let store = Store { dir: TempDir::new().unwrap(), keys };
        Meta::create(&store.path(), &[7; 16], Some(&store.keys)).unwrap();
        store
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("meta.db")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("meta.db-wal")
    }

    fn open(&self) -> Result<Meta> {
        Meta::open(&self.path(), Some(&self.keys))
    }

    /// What somebody who takes the disk now has.
    fn stolen(&self) -> Store {
        let copy = Store { dir: TempDir::new().unwrap(), keys: self.keys.clone() };
        for (name, bytes) in self.files() {
            fs::write(copy.dir.path().join(name), bytes).unwrap();
        }
        copy
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    /// The rows as they are found there.
    fn rows(&self) -> Result<Rows> {
        rows(&self.open()?)
    }
}

type Rows = Vec<(i64, String)>;

fn rows(meta: &Meta) -> Result<Rows> {
    meta.read(|view| {
        let mut statement = view.db.prepare("SELECT ino, target FROM symlink ORDER BY ino")?;
        let rows = statement.query_map([], |row| {
            let target: Vec<u8> = row.get(1)?;
            Ok((row.get(0)?, String::from_utf8_lossy(&target).into_owned()))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    })
}

/// Adds `count` rows from number `first` on, some dozen to a page.
fn add(meta: &Meta, first: u64, count: u64) {
    meta.execute(&format!(
        "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {first} + {count} - 1) \
         INSERT INTO symlink SELECT i, CAST('{SECRET}' || printf('%0200d', i) AS BLOB) FROM n"
    ));
}

fn row(number: i64) -> (i64, String) {
    (number, format!("{SECRET}{number:0200}"))
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 1 << (at % 8);
    fs::write(path, bytes).unwrap();
}

#[track_caller]
fn assert_damaged<T>(outcome: Result<T>, words: &str) {
    match outcome {
        Err(Error::Damaged(why)) => assert!(why.contains(words), "{why}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn nothing_plain_gets_to_the_disk() {
    let store = Store::new();
    let look = |when: &str| {
        let files = store.files();
        let names: Vec<&String> = files.keys().collect();
        assert!(names.iter().all(|name| *name == "meta.db" || *name == "meta.db-wal"), "{names:?}");
        for (name, bytes) in &files {
            for plain in [SECRET, "SQLite", "CREATE", "symlink", "0000000000"] {
                let found = bytes.windows(plain.len()).any(|part| part == plain.as_bytes());
                assert!(!found, "{plain} in {name} {when}");
            }
        }
    };
    look("when it was made");
    let meta = store.open().unwrap();
    add(&meta, 1, 500);
    look("while it is open");
    meta.checkpoint().unwrap();
    add(&meta, 501, 500);
    look("after a checkpoint");
    meta.execute("DELETE FROM symlink WHERE ino % 2 = 0");
    meta.close().unwrap();
    drop(meta);
    look("at the end");
    assert_eq!(store.rows().unwrap().len(), 500);
}

#[test]
fn what_was_committed_outlives_a_kill() {
    let store = Store::new();
    let meta = store.open().unwrap();
    add(&meta, 1, 300);
    meta.checkpoint().unwrap();
    add(&meta, 301, 300);
    meta.execute("BEGIN; DELETE FROM symlink");
    let stolen = store.stolen();
    meta.execute("ROLLBACK");
    assert_eq!(stolen.rows().unwrap(), (1..=600).map(row).collect::<Rows>());
    assert_eq!(stolen.open().unwrap().integrity_faults().unwrap(), Vec::<String>::new());
}

#[test]
fn a_page_of_the_database_that_was_changed_is_an_error() {
    let store = Store::new();
    let meta = store.open().unwrap();
    add(&meta, 1, 100);
    meta.close().unwrap();
    drop(meta);
    let expected = store.rows().unwrap();
    let pages = fs::metadata(store.path()).unwrap().len() / PAGE_LEN as u64;
    assert!(pages > 10);
    let mut refused = 0;
    for page in 0..pages {
        for at in [0, 21, 100, 2000, PAGE_LEN - RESERVE_LEN, PAGE_LEN - 30, PAGE_LEN - 1] {
            let copy = store.stolen();
            flip(&copy.path(), page * PAGE_LEN as u64 + at as u64);
            let Ok(meta) = copy.open() else {
                refused += 1;
                continue;
            };
            assert!(rows(&meta).map_or(true, |rows| rows == expected), "page {page}, {at}");
            let faults = meta.integrity_faults();
            assert!(faults.map_or(true, |faults| !faults.is_empty()), "page {page}, {at}");
        }
    }
    assert!(refused > 0);
}

#[test]
fn pages_that_changed_places_are_found() {
    let store = Store::new();
    let meta = store.open().unwrap();
    add(&meta, 1, 200);
    let log = fs::read(store.log()).unwrap();
    meta.close().unwrap();
    drop(meta);
    let bytes = fs::read(store.path()).unwrap();
    let pages = bytes.len() / PAGE_LEN;
    let page = |bytes: &[u8], number: usize| bytes[number * PAGE_LEN..][..PAGE_LEN].to_vec();
    for (one, other) in [(1, 2), (pages - 2, pages - 1), (0, pages - 1)] {
        let mut swapped = bytes.clone();
        swapped[one * PAGE_LEN..][..PAGE_LEN].copy_from_slice(&page(&bytes, other));
        swapped[other * PAGE_LEN..][..PAGE_LEN].copy_from_slice(&page(&bytes, one));
        fs::write(store.path(), swapped).unwrap();
        let faults = store.open().and_then(|meta| meta.integrity_faults());
        assert!(faults.map_or(true, |faults| !faults.is_empty()), "{one}, {other}");
    }
    // A page of the log, which has another number there.
    let mut mixed = bytes.clone();
    let from_log = &log[LOG_HEADER_LEN + FRAME_LEN - PAGE_LEN..][..PAGE_LEN];
    mixed[(pages - 1) * PAGE_LEN..][..PAGE_LEN].copy_from_slice(from_log);
    fs::write(store.path(), mixed).unwrap();
    let faults = store.open().unwrap().integrity_faults();
    assert!(faults.map_or(true, |faults| !faults.is_empty()));
}

/// A store that was killed, with a commit of one row after the other in its log; all that was in it at any time.
fn with_log() -> (Store, Vec<Rows>) {
    let store = Store::new();
    let meta = store.open().unwrap();
    meta.checkpoint().unwrap();
    let mut states = vec![Rows::new()];
    for number in 1..=5 {
        add(&meta, number, 1);
        states.push((1..=number as i64).map(row).collect());
    }
    (store.stolen(), states)
}

#[test]
fn the_log_ends_where_it_was_changed() {
    let (store, states) = with_log();
    assert_eq!(store.rows().unwrap(), states[5]);
    let (store, _) = with_log();
    let len = fs::metadata(store.log()).unwrap().len();
    let frames = (len - LOG_HEADER_LEN as u64) / FRAME_LEN as u64;
    assert!(frames >= 5);
    let in_frames = (1..=frames as u32).flat_map(|number| {
        let tail = [24, 1000, FRAME_LEN as u64 - 20, FRAME_LEN as u64 - 1];
        (0..24).chain(tail).map(move |at| frame_offset(number) + at)
    });
    let mut shortest = usize::MAX;
    for at in (0..LOG_HEADER_LEN as u64).chain(in_frames) {
        let copy = store.stolen();
        flip(&copy.log(), at);
        let found = copy.rows().unwrap();
        assert!(states.contains(&found), "{at}");
        // The first commit of the log is that of opening: frames up to the changed one stay.
        shortest = shortest.min(found.len());
        assert!(found.len() < 5, "{at}: what was changed was believed");
    }
    assert_eq!(shortest, 0);
}

#[test]
fn a_log_that_was_torn_ends_before_that() {
    let (store, states) = with_log();
    let len = fs::metadata(store.log()).unwrap().len();
    for missing in [1, 20, 40, 2000, FRAME_LEN as u64 - 1, FRAME_LEN as u64, FRAME_LEN as u64 + 1] {
        for zeroed in [false, true] {
            let copy = store.stolen();
            let file = fs::OpenOptions::new().write(true).open(copy.log()).unwrap();
            file.set_len(len - missing).unwrap();
            if zeroed {
                file.set_len(len).unwrap();
            }
            let found = copy.rows().unwrap();
            assert!(states.contains(&found) && found.len() < 5, "{missing}");
        }
    }
}

#[test]
fn a_frame_in_another_place_is_none() {
    let (store, states) = with_log();
    let log = fs::read(store.log()).unwrap();
    let frames = (log.len() - LOG_HEADER_LEN) / FRAME_LEN;
    let frame = |number: usize| &log[LOG_HEADER_LEN + number * FRAME_LEN..][..FRAME_LEN];
    for (one, other) in [(frames - 1, frames - 2), (0, frames - 1)] {
        let mut swapped = log.clone();
        swapped[LOG_HEADER_LEN + one * FRAME_LEN..][..FRAME_LEN].copy_from_slice(frame(other));
        swapped[LOG_HEADER_LEN + other * FRAME_LEN..][..FRAME_LEN].copy_from_slice(frame(one));
        let copy = store.stolen();
        fs::write(copy.log(), swapped).unwrap();
        let found = copy.rows().unwrap();
        assert!(states.contains(&found) && found.len() < 5);
    }
}

#[test]
fn a_wrong_key_is_told_and_changes_nothing() {
    let (store, states) = with_log();
    let before = store.files();
    let open = |keys: &PageKeys| Meta::open(&store.path(), Some(keys));
    assert_damaged(open(&keys_of(&[8])), "another store");
    let elsewhere = PageKeys { store: [4; 16], ..keys_of(&[7]) };
    assert_damaged(open(&elsewhere), "another store");
    // SQLite alone must not take the log for an empty one either.
    assert!(Meta::open(&store.path(), None).is_err());
    assert_eq!(store.files().get("meta.db"), before.get("meta.db"));
    assert_eq!(store.files().get("meta.db-wal"), before.get("meta.db-wal"));
    let _ = fs::remove_file(store.dir.path().join("meta.db-shm"));
    assert_eq!(store.rows().unwrap(), states[5]);
}

#[test]
fn a_key_that_is_gone_is_named() {
    let store = Store::with_keys(keys_of(&[7, 8]));
    store.open().unwrap().close().unwrap();
    assert_damaged(Meta::open(&store.path(), Some(&keys_of(&[7]))), "number 2");
}

#[test]
fn a_plain_database_and_none_at_all_are_told() {
    let store = Store::new();
    let path = store.dir.path().join("plain.db");
    Meta::create(&path, &[7; 16], None).unwrap();
    assert_damaged(Meta::open(&path, Some(&store.keys)), "not encrypted");
    let missing = store.dir.path().join("missing.db");
    assert_damaged(Meta::open(&missing, Some(&store.keys)), "no tables");
    assert!(!missing.exists());
    fs::write(&missing, b"").unwrap();
    assert_damaged(Meta::open(&missing, Some(&store.keys)), "no tables");
}

#[test]
fn a_first_page_that_was_torn_is_in_the_log() {
    let store = Store::new();
    let meta = store.open().unwrap();
    // It changes when the database grows.
    add(&meta, 1, 200);
    let stolen = store.stolen();
    flip(&stolen.path(), 50);
    assert_eq!(stolen.rows().unwrap().len(), 200);
    drop(meta);
    let closed = store.stolen();
    flip(&closed.path(), 50);
    assert_damaged(closed.rows(), "encrypted there");
}

#[test]
fn a_database_that_was_cut_off_gives_no_wrong_row() {
    let store = Store::new();
    let meta = store.open().unwrap();
    add(&meta, 1, 200);
    meta.close().unwrap();
    drop(meta);
    let expected = store.rows().unwrap();
    let len = fs::metadata(store.path()).unwrap().len();
    for missing in [1, 100, PAGE_LEN as u64, PAGE_LEN as u64 + 7, len / 2, len - 10] {
        let copy = store.stolen();
        let file = fs::OpenOptions::new().write(true).open(copy.path()).unwrap();
        file.set_len(len - missing).unwrap();
        let found = copy.open().and_then(|meta| Ok((rows(&meta)?, meta.integrity_faults()?)));
        if let Ok((rows, faults)) = found {
            assert!(rows == expected && !faults.is_empty(), "{missing}");
        }
    }
}

/// More in one transaction than SQLite keeps in memory: pages go to the log early, are changed again, and their frames written over.
#[test]
fn a_transaction_larger_than_memory_is_whole() {
    let store = Store::new();
    let meta = store.open().unwrap();
    add(&meta, 1, 400);
    meta.execute("PRAGMA cache_size = 10; BEGIN");
    add(&meta, 401, 400);
    meta.execute("UPDATE symlink SET target = CAST(upper(target) AS BLOB)");
    meta.execute("SAVEPOINT s; DELETE FROM symlink; ROLLBACK TO s; RELEASE s");
    meta.execute("UPDATE symlink SET target = CAST(lower(target) AS BLOB)");
    let unfinished = store.stolen();
    meta.execute("COMMIT");
    let expected: Rows = (1..=800).map(row).collect();
    assert_eq!(rows(&meta).unwrap(), expected);
    assert_eq!(unfinished.rows().unwrap(), expected[..400]);
    let stolen = store.stolen();
    assert_eq!(stolen.rows().unwrap(), expected);
    assert_eq!(stolen.open().unwrap().integrity_faults().unwrap(), Vec::<String>::new());
    meta.execute("BEGIN; UPDATE symlink SET target = CAST(upper(target) AS BLOB); ROLLBACK");
    add(&meta, 801, 1);
    assert_eq!(store.stolen().rows().unwrap().len(), 801);
    meta.close().unwrap();
    drop(meta);
    assert_eq!(store.rows().unwrap().len(), 801);
}

#[test]
fn readers_keep_what_they_saw_beside_a_writer_and_a_checkpoint() {
    let store = Store::new();
    let meta = store.open().unwrap();
    add(&meta, 1, 200);
    let seen = meta.snapshot(|view| -> Result<u64> {
        let count = || {
            Ok::<u64, Error>(
                view.db.query_row("SELECT count(*) FROM symlink", [], |row| row.get(0))?,
            )
        };
        let first: u64 = count()?;
        add(&meta, 201, 200);
        // It can't finish while the reader is there, and must not harm it.
        let _ = meta.checkpoint();
        add(&meta, 401, 200);
        assert_eq!(count()?, first);
        Ok(first)
    });
    assert_eq!(seen.unwrap(), 200);
    assert_eq!(rows(&meta).unwrap().len(), 600);
    meta.checkpoint().unwrap();
    assert_eq!(meta.log_bytes(), 0);
    assert_eq!(store.stolen().rows().unwrap().len(), 600);
}

#[test]
fn readers_and_a_writer_on_many_threads_agree() {
    let store = Store::new();
    let meta = store.open().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let seen = meta.snapshot(|view| {
                        let sql = "SELECT count(*), coalesce(max(ino), 0) FROM symlink";
                        Ok::<(u64, u64), Error>(
                            view.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?,
                        )
                    });
                    let (count, max) = seen.unwrap();
                    assert_eq!(count, max);
                    if count == 400 {
                        return;
                    }
                }
            });
        }
        for batch in 0..40 {
            add(&meta, batch * 10 + 1, 10);
            if batch % 7 == 0 {
                let _ = meta.checkpoint();
            }
        }
    });
    assert_eq!(store.stolen().rows().unwrap().len(), 400);
}

#[test]
fn files_that_would_be_plain_are_refused() {
    let store = Store::new();
    let meta = store.open().unwrap();
    let sort = || {
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                   SELECT count(*) FROM (SELECT DISTINCT printf('%01000d', i) FROM n)";
        meta.writer.lock().db.query_row(sql, [], |row| row.get::<_, u64>(0))
    };
    assert_eq!(sort(), Ok(20000));
    meta.execute("PRAGMA temp_store = FILE");
    assert!(sort().is_err());
}

/// With which key the first page was sealed, which must open.
fn first_epoch(path: &Path, keys: &PageKeys) -> u32 {
    let mut page = [0; PAGE_LEN];
    page.copy_from_slice(&fs::read(path).unwrap()[..PAGE_LEN]);
    let epoch = epoch_at_end(&page);
    Cipher::new(keys).unwrap().open_page(1, &mut page).unwrap();
    epoch
}

#[test]
fn all_pages_can_be_sealed_with_a_new_key() {
    let store = Store::new();
    let meta = store.open().unwrap();
    add(&meta, 1, 300);
    assert_damaged(rekey(&store.path(), &keys_of(&[7, 8])), "log is not empty");
    meta.close().unwrap();
    drop(meta);
    let both = keys_of(&[7, 8]);
    assert_eq!(first_epoch(&store.path(), &both), 1);
    // What is written before the rest is sealed anew has the new key already.
    let store = Store { keys: both.clone(), ..store };
    let meta = store.open().unwrap();
    add(&meta, 301, 300);
    assert_eq!(store.stolen().rows().unwrap().len(), 600);
    meta.close().unwrap();
    drop(meta);
    assert_eq!(first_epoch(&store.path(), &both), 2);
    assert_eq!(oldest_epoch(&store.path()).unwrap(), 1);
    // As after a crash in the midst of it.
    fs::write(store.dir.path().join("meta.db.rekey"), b"half").unwrap();
    rekey(&store.path(), &both).unwrap();
    assert_eq!(oldest_epoch(&store.path()).unwrap(), 2);
    assert!(!store.dir.path().join("meta.db.rekey").exists());
    let mut keyring = crate::crypt::Keyring::with_identity(&crate::crypt::Key::default()).unwrap();
    keyring.add(2, both.keys.master(2).unwrap()).unwrap();
    let store = Store { keys: PageKeys { keys: keyring.into(), ..both }, ..store };
    assert_eq!(store.rows().unwrap(), (1..=600).map(row).collect::<Rows>());
    assert_damaged(Meta::open(&store.path(), Some(&keys_of(&[7]))), "number 2");
}

#[test]
fn a_damaged_database_keeps_its_keys() {
    let store = Store::new();
    store.open().unwrap().close().unwrap();
    flip(&store.path(), 3 * PAGE_LEN as u64 + 7);
    let before = store.files();
    assert_damaged(rekey(&store.path(), &keys_of(&[7, 8])), "page 4");
    assert_eq!(store.files(), before);
}
