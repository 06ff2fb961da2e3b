use super::*;
use crate::meta::{Meta, Saved, Tx};
use crate::model::{Attr, Cause, ChunkHash, ChunkLocation, Mode, PackId, Splice, Timestamp};

/// No extent of these tests is longer.
const LONGEST: u64 = 1 << 20;

struct Store {
    meta: Meta,
    _dir: tempfile::TempDir,
}

fn attr(ino: u64, kind: FileKind) -> Attr {
    let time = Timestamp(5);
    Attr {
        ino: Ino(ino),
        kind,
        mode: Mode::new(0o644),
        nlink: 1,
        uid: 7,
        gid: 8,
        rdev: 0,
        size: 0,
        allocated: 0,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
    }
}

impl Store {
    fn new() -> Store {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("meta.db");
        Meta::create(&path, &[7; 16], None).unwrap();
        Store { meta: Meta::open(&path, None).unwrap(), _dir: dir }
    }

    /// Runs `work` at a moment.
    fn at(&self, moment: i64, work: impl FnOnce(&Tx<'_>) -> Result<()>) {
        self.meta
            .write(Timestamp(moment), |tx| {
                assert_eq!(tx.moment, Moment(moment));
                work(tx)
            })
            .unwrap();
    }

    fn ask<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T>) -> T {
        self.meta.read(work).unwrap()
    }

    fn make(&self, moment: i64, ino: u64, parent: u64, name: &str) {
        self.at(moment, |tx| {
            tx.create_inode(&attr(ino, FileKind::File), Ino(parent), 0)?;
            tx.add_dentry(Ino(parent), name.as_bytes(), &attr(ino, FileKind::File))
        });
    }

    /// Takes a name away; with `end` its inode too.
    fn remove(&self, moment: i64, parent: u64, name: &str, end: bool) {
        self.at(moment, |tx| {
            let dentry = tx.dentry(Ino(parent), name.as_bytes())?.unwrap();
            tx.remove_dentry(Ino(parent), &dentry)?;
            if end { tx.end_inode(dentry.ino) } else { Ok(()) }
        });
    }

    fn rename(&self, moment: i64, (parent, name): (u64, &str), (to, new_name): (u64, &str)) {
        self.at(moment, |tx| {
            let dentry = tx.dentry(Ino(parent), name.as_bytes())?.unwrap();
            tx.remove_dentry(Ino(parent), &dentry)?;
            tx.add_dentry(Ino(to), new_name.as_bytes(), &attr(dentry.ino.0, dentry.kind))
        });
    }

    /// Saves a content that shows one chunk.
    fn save(&self, moment: i64, ino: u64, chunk: u64, size: u64) {
        self.at(moment, |tx| {
            let inode = tx.inode(Ino(ino))?.unwrap();
            let first = inode.content_since == inode.since && inode.attr.size == 0;
            let ended = tx.extents(Ino(ino), 0, u64::MAX)?;
            let content = Content { chunk: ChunkId(chunk), skip: 0 };
            let begun = vec![Extent { start: 0, len: size, content }];
            tx.splice_extents(Ino(ino), &Splice { ended, begun })?;
            let at = ChunkLocation { pack: PackId(1), offset: 64, stored_len: 9, plain_len: 9 };
            let hash = ChunkHash([chunk as u8; 32]);
            tx.insert_chunk(&ChunkRef { id: ChunkId(chunk), hash, at, base: None })?;
            let saved =
                Saved { number: chunk, author: 7, cause: Cause::Save, is_cut: true, digest: chunk };
            tx.change_content(&Attr { size, allocated: size, ..inode.attr }, &saved, first)
        });
    }

    fn chunks_at(&self, ino: u64, at: i64) -> Vec<u64> {
        let found =
            self.ask(|view| view.extents_and_chunks_at(Ino(ino), Moment(at), (0, 100), LONGEST));
        found.into_iter().map(|(_, chunk)| chunk.id.0).collect()
    }

    fn names_at(&self, at: i64) -> Vec<String> {
        let found = self.ask(|view| view.list_at(Ino::ROOT, Moment(at), -1, 100));
        assert!(found.is_sorted_by_key(|dentry| dentry.slot));
        let mut names: Vec<_> = found.into_iter().map(|dentry| text(&dentry.name)).collect();
        names.sort();
        names
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8(name.to_vec()).unwrap()
}

#[test]
fn an_inode_is_shown_as_it_was() {
    let store = Store::new();
    store.make(10, 5, 1, "a");
    store.save(20, 5, 1, 9);
    store.save(30, 5, 2, 8);
    store.at(40, |tx| {
        let inode = tx.inode(Ino(5))?.unwrap();
        tx.change_inode(&Attr { mode: Mode::new(0o600), ..inode.attr })
    });
    store.remove(50, 1, "a", true);
    let shown = |at| {
        let inode = store.ask(|view| view.inode_at(Ino(5), Moment(at)));
        inode.map(|inode| (inode.attr.size, inode.attr.mode.bits()))
    };
    assert_eq!(shown(9), None);
    assert_eq!(shown(10), Some((0, 0o644)));
    assert_eq!(shown(19), Some((0, 0o644)));
    assert_eq!(shown(20), Some((9, 0o644)));
    assert_eq!(shown(30), Some((8, 0o644)));
    assert_eq!(shown(49), Some((8, 0o600)));
    assert_eq!(shown(50), None);
    assert_eq!(store.chunks_at(5, 19), [0; 0]);
    assert_eq!(store.chunks_at(5, 29), [1]);
    assert_eq!(store.chunks_at(5, 49), [2]);
}

#[test]
fn a_chunk_of_the_past_that_is_gone_is_no_hole() {
    let store = Store::new();
    store.make(10, 5, 1, "a");
    store.save(20, 5, 1, 9);
    store.at(30, |tx| tx.remove_chunk(ChunkId(1)));
    let found =
        store.meta.read(|view| view.extents_and_chunks_at(Ino(5), Moment(25), (0, 9), LONGEST));
    assert!(matches!(found, Err(Error::Damaged(_))));
}

#[test]
fn only_the_extents_of_the_range_are_found() {
    let store = Store::new();
    store.make(10, 5, 1, "a");
    store.save(20, 5, 1, LONGEST);
    let found = |from, to| {
        store.ask(|view| view.extents_and_chunks_at(Ino(5), Moment(20), (from, to), LONGEST)).len()
    };
    assert_eq!(found(LONGEST - 1, LONGEST + 5), 1);
    assert_eq!(found(LONGEST, LONGEST + 5), 0);
    assert_eq!(found(0, 1), 1);
}

#[test]
fn names_are_listed_as_they_were() {
    let store = Store::new();
    store.make(10, 5, 1, "a");
    store.make(20, 6, 1, "b");
    store.rename(30, (1, "a"), (1, "c"));
    store.remove(40, 1, "b", true);
    assert_eq!(store.names_at(9), [""; 0]);
    assert_eq!(store.names_at(29), ["a", "b"]);
    assert_eq!(store.names_at(30), ["b", "c"]);
    assert_eq!(store.names_at(40), ["c"]);
    let held = |name: &str, at| {
        store.ask(|view| view.dentry_at(Ino::ROOT, name.as_bytes(), Moment(at))).map(|d| d.ino.0)
    };
    assert_eq!((held("a", 29), held("a", 30)), (Some(5), None));
    assert_eq!((held("c", 29), held("c", 30)), (None, Some(5)));
    assert_eq!((held("b", 19), held("b", 20), held("b", 40)), (None, Some(6), None));
}

#[test]
fn listings_of_the_past_go_on_where_they_stopped() {
    let store = Store::new();
    for ino in 10..40 {
        store.make(ino as i64, ino, 1, &format!("n{ino}"));
    }
    for ino in 10..25 {
        store.remove(ino as i64 + 90, 1, &format!("n{ino}"), true);
    }
    let (mut names, mut after) = (Vec::new(), -1);
    loop {
        let page = store.ask(|view| view.list_at(Ino::ROOT, Moment(60), after, 7));
        let Some(last) = page.last() else { break };
        after = last.slot;
        names.extend(page.into_iter().map(|dentry| dentry.ino.0));
    }
    names.sort_unstable();
    assert_eq!(names, (10..40).collect::<Vec<_>>());
}

#[test]
fn a_name_tells_all_that_it_held() {
    let store = Store::new();
    store.make(10, 5, 1, "a");
    store.remove(20, 1, "a", true);
    store.make(30, 6, 1, "a");
    let periods = store.ask(|view| view.name_periods(Ino::ROOT, b"a"));
    let told: Vec<_> = periods.iter().map(|p| (p.ino.0, p.since.0, p.until)).collect();
    assert_eq!(told, [(5, 10, Some(Moment(20))), (6, 30, None)]);
    assert!(store.ask(|view| view.was_name(Ino::ROOT, b"a")));
    assert!(!store.ask(|view| view.was_name(Ino::ROOT, b"b")));
}

#[test]
fn contents_are_told_once_however_often_attributes_change() {
    let store = Store::new();
    store.make(10, 5, 1, "a");
    store.save(20, 5, 1, 9);
    store.at(30, |tx| {
        let inode = tx.inode(Ino(5))?.unwrap();
        tx.change_inode(&Attr { mode: Mode::new(0o600), ..inode.attr })
    });
    store.save(40, 5, 2, 8);
    let states = store.ask(|view| view.content_states(Ino(5)));
    let told: Vec<_> = states
        .iter()
        .map(|s| (s.since.0, s.until, s.inode.saved.number, s.inode.attr.mode.bits()))
        .collect();
    assert_eq!(told, [(20, Some(Moment(40)), 1, 0o600), (40, None, 2, 0o600)]);
    assert_eq!(store.ask(|view| view.content_states_of_name(Ino::ROOT, b"a")), states);
    store.rename(50, (1, "a"), (1, "b"));
    store.make(60, 6, 1, "a");
    store.remove(70, 1, "a", true);
    store.rename(80, (1, "b"), (1, "a"));
    let of_name = store.ask(|view| view.content_states_of_name(Ino::ROOT, b"a"));
    let other = store.ask(|view| view.content_states(Ino(6)));
    assert_eq!((of_name.len(), other.len()), (3, 1));
    assert_eq!(of_name[..2], store.ask(|view| view.content_states(Ino(5)))[..]);
    assert_eq!(of_name[2], other[0]);
}

#[test]
fn a_move_tells_where_it_came_from() {
    let store = Store::new();
    store.make(10, 5, 1, "a");
    store.rename(20, (1, "a"), (9, "b"));
    let former = store.ask(|view| view.former_name(Ino(5), Moment(20)));
    let expected = FormerName { parent: Ino::ROOT, name: b"a".to_vec(), until: Moment(20) };
    assert_eq!(former, Some(expected));
    assert_eq!(store.ask(|view| view.former_name(Ino(5), Moment(10))), None);
    // A further name comes from nowhere.
    assert_eq!(store.ask(|view| view.former_name(Ino(5), Moment(21))), None);
}

#[test]
fn deleted_is_what_was_neither_moved_nor_made_anew() {
    let store = Store::new();
    for (moment, (ino, name)) in
        [(5, "gone"), (6, "moved"), (7, "again"), (8, "moved-then-gone")].into_iter().enumerate()
    {
        store.make(10 + moment as i64, ino, 1, name);
    }
    store.remove(20, 1, "gone", true);
    store.rename(21, (1, "moved"), (9, "elsewhere"));
    store.remove(22, 1, "again", true);
    store.make(23, 17, 1, "again");
    store.rename(24, (1, "moved-then-gone"), (9, "x"));
    store.remove(25, 9, "x", true);
    store.make(26, 18, 1, "gone-twice");
    store.remove(27, 1, "gone-twice", true);
    store.make(28, 19, 1, "gone-twice");
    store.remove(29, 1, "gone-twice", true);
    let sorted = |mut periods: Vec<Period>| {
        periods.sort_by_key(|period| period.until);
        periods.into_iter().map(|p| (text(&p.name), p.ino.0)).collect::<Vec<_>>()
    };
    let deleted = store.ask(|view| view.deleted_names(Ino::ROOT, -1, 100));
    assert_eq!(sorted(deleted), [("gone".to_owned(), 5), ("gone-twice".to_owned(), 19)]);
    let ended = store.ask(|view| view.ended_names(Ino::ROOT, -1, 100));
    let ended: Vec<_> = sorted(ended).into_iter().map(|(name, _)| name).collect();
    assert_eq!(ended, ["gone", "moved", "moved-then-gone", "gone-twice"]);
    let one = |name: &str| {
        store.ask(|view| view.deleted_name(Ino::ROOT, name.as_bytes())).map(|p| p.ino.0)
    };
    assert_eq!((one("gone"), one("gone-twice")), (Some(5), Some(19)));
    assert_eq!((one("moved"), one("again"), one("never")), (None, Some(7), None));
    assert_eq!(one("moved-then-gone"), None);
}

#[test]
fn ended_names_go_on_where_they_stopped() {
    let store = Store::new();
    for ino in 10..30 {
        store.make(ino as i64, ino, 1, &format!("n{ino}"));
    }
    for ino in 10..30 {
        store.make(ino as i64 + 100, ino + 100, 1, &format!("m{ino}"));
    }
    for ino in 10..30 {
        store.remove(ino as i64 + 200, 1, &format!("n{ino}"), true);
    }
    let (mut found, mut after) = (0, -1);
    loop {
        let page = store.ask(|view| view.ended_names(Ino::ROOT, after, 3));
        let Some(last) = page.last() else { break };
        assert!(page.iter().all(|period| period.slot > after));
        after = last.slot;
        found += page.len();
    }
    assert_eq!(found, 20);
}

#[test]
fn extended_attributes_are_shown_as_they_were() {
    let store = Store::new();
    store.make(10, 5, 1, "a");
    store.at(20, |tx| tx.set_xattr(Ino(5), b"user.x", b"1"));
    store.at(30, |tx| tx.set_xattr(Ino(5), b"user.x", b"2"));
    store.at(35, |tx| tx.set_xattr(Ino(5), b"user.y", b"3"));
    store.at(40, |tx| tx.remove_xattr(Ino(5), b"user.x").map(drop));
    let value = |at| store.ask(|view| view.xattr_at(Ino(5), b"user.x", Moment(at)));
    assert_eq!(value(19), None);
    assert_eq!(value(20).unwrap(), b"1");
    assert_eq!(value(39).unwrap(), b"2");
    assert_eq!(value(40), None);
    let names = |at| store.ask(|view| view.xattr_names_at(Ino(5), Moment(at))).len();
    assert_eq!((names(19), names(20), names(35), names(40)), (0, 1, 2, 1));
}

#[test]
fn the_moments_of_a_directory_are_those_of_its_names_and_contents() {
    let store = Store::new();
    store.make(10, 5, 1, "a");
    store.save(20, 5, 1, 9);
    store.save(30, 5, 2, 9);
    store.make(40, 6, 1, "b");
    store.remove(50, 1, "b", true);
    store.make(60, 7, 2, "elsewhere");
    let mut moments = store.ask(|view| view.change_moments(Ino::ROOT, 100));
    moments.sort();
    moments.dedup();
    assert_eq!(moments, [10, 20, 30, 40, 50].map(Moment));
}

#[test]
fn saves_of_what_is_gone_are_moments_of_the_directory_that_had_it() {
    let store = Store::new();
    store.make(10, 5, 1, "deleted");
    store.save(20, 5, 1, 9);
    store.save(30, 5, 2, 9);
    store.remove(40, 1, "deleted", true);
    store.make(50, 6, 1, "moved");
    store.save(60, 6, 3, 9);
    store.rename(70, (1, "moved"), (2, "moved"));
    store.save(80, 6, 4, 9);
    let mut moments = store.ask(|view| view.change_moments(Ino::ROOT, 100));
    moments.sort();
    moments.dedup();
    assert_eq!(moments, [10, 20, 30, 40, 50, 60, 70].map(Moment));
}

#[test]
fn names_of_a_large_directory_are_found_by_index() {
    let store = Store::new();
    let plan = |sql: &str| {
        store.ask(|view| {
            let sql = sql.replace(['?'], "");
            let mut statement = view.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let rows = statement.query_map([], |row| row.get::<_, String>(3))?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.join("\n"))
        })
    };
    let deleted = plan(concat!(last_periods!(), " ", is_deleted!(), " LIMIT 5"));
    let listed = plan(
        "SELECT slot FROM dentry WHERE parent = 1 AND slot > 3 AND since <= 2 UNION ALL \
         SELECT slot FROM dentry_past WHERE parent = 1 AND slot > 3 AND until > 2 ORDER BY slot",
    );
    for plan in [deleted, listed] {
        assert!(!plan.contains("SCAN dentry") && !plan.contains("SCAN inode"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}
