//! Raw records as they were written before there were tables of parts.

use super::testing::{noise, open_with};
use super::{ContentTree, Error, PackOptions, RECORD_HEADER_LEN};
use crate::model::{ChunkId, ChunkRef};
use std::fs::File;
use std::os::unix::fs::FileExt;
use tempfile::tempdir;

#[test]
fn a_raw_record_without_a_table_is_read_whole() {
    let dir = tempdir().unwrap();
    let plain = noise(5, 60_000);
    let (tree, store) = (ContentTree::of(&plain), open_with(dir.path(), PackOptions::default()));
    let at = store.append_without_table(&tree, &plain).unwrap();
    let chunk = ChunkRef { id: ChunkId(1), hash: tree.hash(), at, base: None };
    assert_eq!(at.stored_len, at.plain_len);
    let mut part = Vec::new();
    store.read_range(&chunk, None, 20_000, 20_000, &mut part).unwrap();
    assert_eq!(part, plain[20_000..40_000]);
    store.verify(&chunk, None).unwrap();
    store.close().unwrap();
    let file = File::options().write(true).open(dir.path().join("00000000.pack")).unwrap();
    let last = at.offset + RECORD_HEADER_LEN + 59_999;
    file.write_all_at(&[plain[59_999] ^ 4], last).unwrap();
    let damaged =
        open_with(dir.path(), PackOptions::default()).read_range(&chunk, None, 0, 10, &mut part);
    assert!(matches!(damaged, Err(Error::Damaged { .. })));
}
