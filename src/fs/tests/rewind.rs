//! Going back to each moment of a drive's life shows what it held then: what a start relies on after
//! a power cut, and what views of the past will.

use super::*;
use crate::meta::{self, View};
use crate::model::{FileKind, Moment};
use std::collections::BTreeMap;

/// Chooses the same for the same seed.
pub(super) struct Choices(pub(super) u64);

impl Choices {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Everything that names lead to, by path.
type Tree = BTreeMap<String, String>;

fn dump(view: &View<'_>) -> Tree {
    let mut tree = Tree::new();
    dump_inode(view, Ino::ROOT, String::new(), &mut tree);
    tree
}

fn dump_inode(view: &View<'_>, ino: Ino, path: String, tree: &mut Tree) {
    let inode = view.inode(ino).unwrap().unwrap();
    let Attr { kind, mode, nlink, uid, gid, rdev, size, allocated, mtime, btime, .. } = inode.attr;
    let attributes: Vec<_> = view
        .xattr_names(ino)
        .unwrap()
        .into_iter()
        .map(|name| (view.xattr(ino, &name).unwrap(), name))
        .collect();
    let mut line = format!(
        "{ino} {kind:?} {mode:?} {nlink} {uid} {gid} {rdev} {size} {allocated} {btime:?} {attributes:?}"
    );
    match kind {
        FileKind::Directory => line += &format!(" in {}", inode.parent),
        FileKind::Symlink => line += &format!(" to {:?}", view.symlink_target(ino).unwrap()),
        _ => {
            // A file without content is as old as its row, see `Tx::rewind`.
            let mtime = (size > 0).then_some(mtime);
            let extents = view.extents(ino, 0, u64::MAX).unwrap();
            line += &format!(" {:?} {mtime:?} {extents:?}", inode.content_since);
        }
    }
    if kind == FileKind::Directory {
        for name in view.list(ino, -1, 10_000).unwrap() {
            let path = format!("{path}/{}", String::from_utf8(name.name).unwrap());
            dump_inode(view, name.ino, path, tree);
        }
    }
    tree.insert(path, line);
}

/// One random change; whether it is possible doesn't matter.
pub(super) fn change(volume: &Volume, choices: &mut Choices, directories: &[Ino]) {
    let parent = directories[choices.below(directories.len() as u64) as usize];
    let other = directories[choices.below(directories.len() as u64) as usize];
    let name = [b'a' + choices.below(5) as u8];
    let new_name = [b'a' + choices.below(5) as u8];
    let found = volume.lookup(parent, &name).ok();
    let file = found.filter(|attr| attr.kind == FileKind::File);
    let _: Result<()> = match (choices.below(17), file) {
        (0, _) => volume.mknod(&ROOT, parent, &name, 0o100_644, 0).map(drop),
        (1, _) => volume.symlink(&ROOT, parent, &name, b"target").map(drop),
        (2, _) => volume.unlink(parent, &name),
        (3, _) => volume.rename(parent, &name, other, &new_name, RenameMode::Replace),
        (4, _) => volume.rename(parent, &name, other, &new_name, RenameMode::Exchange),
        (5, Some(file)) => volume.link(file.ino, other, &new_name).map(drop),
        (6, Some(file)) => {
            let change = SetAttr { mode: Some(choices.below(0o1000) as u32), ..SetAttr::default() };
            volume.setattr(file.ino, &change).map(drop)
        }
        (7, Some(file)) => {
            let size = choices.below(400_000);
            volume.setattr(file.ino, &SetAttr { size: Some(size), ..SetAttr::default() }).map(drop)
        }
        (8, Some(file)) => {
            let value = [choices.below(256) as u8];
            volume.setxattr(&ROOT, file.ino, b"user.x", &value, XattrMode::Set)
        }
        (9, Some(file)) => volume.removexattr(file.ino, b"user.x"),
        (10, Some(file)) => {
            let time = SetTime::At(Timestamp(choices.below(1 << 30) as i64));
            let change = SetAttr { mtime: Some(time), uid: Some(7), ..SetAttr::default() };
            volume.setattr(file.ino, &change).map(drop)
        }
        (11, _) => volume.mkdir(&ROOT, parent, &[b'A' + choices.below(3) as u8], 0o755).map(drop),
        (12, _) => volume.rmdir(parent, &[b'A' + choices.below(3) as u8]),
        (13, _) => bring_back(volume, choices, parent, (other, &new_name)),
        (_, file) => write(volume, choices, parent, &name, file),
    };
}

/// Moves something out of `@deleted`, if there is anything: to its own place or another one.
fn bring_back(
    volume: &Volume,
    choices: &mut Choices,
    parent: Ino,
    other: (Ino, &[u8]),
) -> Result<()> {
    let versions = volume.lookup(parent, b".versions")?.ino;
    let deleted = volume.lookup(versions, b"@deleted")?.ino;
    let names = super::history_oracle::names(volume, deleted);
    let picked = names.get(choices.below(names.len().max(1) as u64) as usize);
    let outcome = picked.map_or(Ok(()), |(name, ..)| {
        let (place, new_name) = if choices.below(2) == 0 { (parent, &name[..]) } else { other };
        volume.rename(deleted, name, place, new_name, RenameMode::Replace)
    });
    volume.forget(deleted, 1);
    volume.forget(versions, 1);
    outcome
}

/// Overwrites a part of a file, or makes it; now and then while it loses its name.
fn write(
    volume: &Volume,
    choices: &mut Choices,
    parent: Ino,
    name: &[u8],
    file: Option<Attr>,
) -> Result<()> {
    let truncate = choices.below(4) == 0;
    let handle = match file {
        Some(file) => volume.open(file.ino, OpenMode { truncate, ..READ_WRITE })?,
        None => volume.create(&ROOT, parent, name, 0o644, READ_WRITE)?.1,
    };
    let content = noise(choices.below(1 << 30), 1 + choices.below(200_000) as usize);
    volume.write(handle, choices.below(200_000), &content)?;
    if choices.below(8) == 0 {
        volume.unlink(parent, name)?;
    }
    volume.flush(handle)?;
    volume.release(handle)
}

/// What the metadata would hold after going back; nothing is changed.
fn rewound(volume: &Volume, to: Moment) -> Tree {
    let mut tree = Tree::new();
    let undone = volume.meta.write(Timestamp(0), |tx| -> meta::Result<()> {
        tx.rewind(to)?;
        tree = dump(tx);
        Err(meta::Error::Damaged("only looking".into()))
    });
    assert!(undone.is_err());
    tree
}

#[test]
fn going_back_shows_what_was_there() {
    for seed in 0..6 {
        let drive = Drive::with(VolumeOptions { coalesce: Duration::ZERO, ..options() });
        let volume = &drive.volume;
        let mut choices = Choices(seed);
        let mut directories = vec![Ino::ROOT];
        for name in ["d", "e"] {
            let made = volume.mkdir(&ROOT, Ino::ROOT, name.as_bytes(), 0o755).unwrap();
            directories.push(made.ino);
        }
        let mut recorded = Vec::new();
        for _ in 0..120 {
            drive.clock.advance(Duration::from_secs(1));
            change(volume, &mut choices, &directories);
            let tree = volume.meta.read(|view| meta::Result::Ok(dump(view))).unwrap();
            recorded.push((volume.meta.last_moment(), tree));
        }
        let present = recorded.last().unwrap().1.clone();
        for (step, (moment, tree)) in recorded.iter().enumerate() {
            assert_eq!(&rewound(volume, *moment), tree, "seed {seed}, step {step}");
        }
        // Going back in several steps is the same as going back at once.
        for (step, (moment, tree)) in recorded.iter().enumerate().rev().step_by(17) {
            volume.meta.write(Timestamp(0), |tx| tx.rewind(*moment)).unwrap();
            let shown = volume.meta.read(|view| meta::Result::Ok(dump(view))).unwrap();
            assert_eq!(&shown, tree, "seed {seed}, step {step}");
        }
        assert!(present.len() > 8, "seed {seed}: {present:?}");
        assert!(volume.meta.integrity_faults().unwrap().is_empty());
    }
}
