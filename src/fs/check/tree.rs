//! Names and inodes: every name holds an inode, every inode is reached from the root.

use super::{Check, Problem};
use crate::fs::{Error, Result};
use crate::meta::{InodeRow, NameRow, View};
use crate::model::FileKind;

/// What is remembered of each living inode: some 40 bytes, in arrays sorted by number.
#[derive(Default)]
struct Census {
    ino: Vec<u64>,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    parent: u64,
    /// The slot of a directory's name.
    slot: i64,
    nlink: u32,
    names: u32,
    subdirectories: u32,
    kind: Option<FileKind>,
    is_directory: bool,
    is_orphan: bool,
    /// A name of it is in its parent.
    hint_holds: bool,
    walk: Walk,
}

/// How far the way of a directory to the root is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    Unknown,
    UnderWay,
    Known,
}

const ROOT: u64 = crate::model::Ino::ROOT.0;

impl Census {
    fn add(&mut self, row: &InodeRow, kind: Option<FileKind>) {
        self.ino.push(row.ino);
        self.seen.push(Seen {
            parent: row.parent,
            slot: 0,
            nlink: row.nlink,
            names: 0,
            subdirectories: 0,
            kind,
            is_directory: kind == Some(FileKind::Directory),
            is_orphan: false,
            hint_holds: false,
            walk: Walk::Unknown,
        });
    }

    fn position(&self, ino: u64) -> Option<usize> {
        self.ino.binary_search(&ino).ok()
    }

    fn get(&mut self, ino: u64) -> Option<&mut Seen> {
        let at = self.position(ino)?;
        Some(&mut self.seen[at])
    }
}

/// The directory whose names are being walked.
#[derive(Default)]
struct Directory {
    ino: u64,
    is_missing: bool,
    names: u64,
}

impl Check<'_> {
    pub(super) fn tree(&mut self, view: &View<'_>) -> Result<()> {
        let mut census = Census::default();
        view.each_inode(&mut |row: InodeRow| {
            self.progress.go_on()?;
            let kind = FileKind::from_mode(row.mode);
            if kind.is_none() {
                self.found_of(Problem::Mode { ino: row.ino, mode: row.mode }, row.ino);
            }
            if row.lacks_target {
                self.found_of(Problem::NoTarget { ino: row.ino }, row.ino);
            }
            census.add(&row, kind);
            Ok::<_, Error>(())
        })?;
        let mut directory = Directory::default();
        view.each_name(&mut |row: NameRow| {
            self.progress.go_on()?;
            if directory.ino != row.parent {
                self.leave(&directory);
                directory = self.enter(&mut census, row.parent);
            }
            directory.names += 1;
            self.name(view, &mut census, &row)
        })?;
        self.leave(&directory);
        self.orphans(view, &mut census)?;
        self.links(&census);
        self.cycles(&mut census);
        Ok(())
    }

    fn enter(&mut self, census: &mut Census, ino: u64) -> Directory {
        let kind = census.get(ino).map(|seen| seen.is_directory);
        if kind == Some(false) {
            self.found_of(Problem::NotADirectory { ino }, ino);
        }
        Directory { ino, is_missing: kind.is_none(), names: 0 }
    }

    fn leave(&mut self, directory: &Directory) {
        if directory.is_missing {
            let Directory { ino, names, .. } = *directory;
            self.found_of(Problem::DirectoryMissing { directory: ino, names }, ino);
        }
    }

    fn name(&mut self, view: &View<'_>, census: &mut Census, row: &NameRow) -> Result<()> {
        let name = String::from_utf8_lossy(&row.name).into_owned();
        let (directory, ino) = (row.parent, row.ino);
        if !view.is_placed(row.slot, &row.name) {
            let problem = Problem::NameMisplaced { directory, slot: row.slot, name: name.clone() };
            self.found_of(problem, ino);
        }
        let kind = FileKind::from_mode(row.mode);
        let Some(seen) = census.get(ino) else {
            let is_directory = kind == Some(FileKind::Directory);
            self.found_of(Problem::NameWithoutInode { directory, name, ino, is_directory }, ino);
            return Ok(());
        };
        seen.names += 1;
        seen.hint_holds |= seen.parent == directory;
        let (is_directory, of_inode) = (seen.is_directory, seen.kind);
        if is_directory {
            seen.slot = row.slot;
        }
        if is_directory && let Some(parent) = census.get(directory) {
            parent.subdirectories += 1;
        }
        if of_inode.is_some() && of_inode != kind {
            self.found_of(Problem::NameKind { directory, name, ino }, ino);
        }
        Ok(())
    }

    fn orphans(&mut self, view: &View<'_>, census: &mut Census) -> Result<()> {
        for ino in view.orphans()? {
            match census.get(ino.0).filter(|seen| seen.names == 0) {
                Some(seen) => seen.is_orphan = true,
                None => self.found_of(Problem::StaleOrphan { ino: ino.0 }, ino.0),
            }
        }
        Ok(())
    }

    fn links(&mut self, census: &Census) {
        if census.position(ROOT).is_none() {
            self.found(Problem::NoRoot);
        }
        for (&ino, seen) in census.ino.iter().zip(&census.seen) {
            let should = match seen.is_directory {
                true if !seen.is_orphan => 2 + seen.subdirectories,
                _ => seen.names,
            };
            let is_root = ino == ROOT;
            if seen.nlink != should {
                let (is, should) = (seen.nlink.into(), should.into());
                self.found_of(Problem::LinkCount { ino, is, should }, ino);
            }
            match seen.names {
                0 if !seen.is_orphan && !is_root => {
                    self.found_of(Problem::Unreachable { ino }, ino);
                }
                names if names > 1 && seen.is_directory => {
                    self.found_of(Problem::DirectoryNames { ino, names: names.into() }, ino);
                }
                // A file that lost the newest of several names has an old hint, and nothing depends on it.
                1.. if seen.is_directory && !seen.hint_holds => {
                    self.found_of(Problem::ParentHint { ino }, ino);
                }
                _ => {}
            }
        }
    }

    /// Follows every directory to the root. Those whose chain ends elsewhere are found by `links`.
    fn cycles(&mut self, census: &mut Census) {
        for at in 0..census.ino.len() {
            let mut way = Vec::new();
            let mut next = Some(at);
            while let Some(here) = next {
                let seen = &mut census.seen[here];
                match seen.walk {
                    Walk::Known => break,
                    Walk::UnderWay => {
                        let (ino, slot) = (census.ino[here], seen.slot);
                        let directory = seen.parent;
                        self.found_of(Problem::Cycle { ino, directory, slot }, ino);
                        break;
                    }
                    Walk::Unknown => {}
                }
                seen.walk = Walk::UnderWay;
                way.push(here);
                let goes_on = seen.is_directory && seen.hint_holds && census.ino[here] != ROOT;
                let parent = seen.parent;
                next = goes_on.then(|| census.position(parent)).flatten();
            }
            for here in way {
                census.seen[here].walk = Walk::Known;
            }
        }
    }
}
