//! Views: inodes that exist nowhere but here, while the kernel knows them. What each stands for, its number,
//! and how often the kernel has looked it up.

use super::moved::Moved;
use super::versions::Version;
use crate::fs::{Error, Result};
use crate::model::{FileKind, Ino, Moment};
use parking_lot::Mutex;
use siphasher::sip::SipHasher24;
use std::collections::HashMap;
use std::collections::hash_map;
use std::hash::Hasher;
use std::sync::{Arc, OnceLock};

/// Numbers with this bit are those of views; inodes are counted from 1 and never get there.
const VIEW_BIT: u64 = 1 << 63;

/// Whether the number is that of a view.
pub(in crate::fs) fn is_view(ino: Ino) -> bool {
    ino.0 & VIEW_BIT != 0
}

/// What a view shows.
#[derive(Debug)]
pub(super) enum What {
    /// `.versions` of a directory.
    Versions {
        dir: Ino,
    },
    /// `.versions/NAME`: what the name held.
    Name {
        dir: Ino,
        name: Vec<u8>,
        /// As it was last listed.
        list: Mutex<Option<Arc<Vec<Version>>>>,
    },
    /// `.versions/@at`.
    At {
        dir: Ino,
        /// As it was last listed, ascending.
        list: Mutex<Arc<Vec<Moment>>>,
    },
    /// `.versions/@deleted`.
    Deleted {
        dir: Ino,
    },
    /// `.versions/@pins`.
    Pins {
        dir: Ino,
    },
    /// `.versions/NAME/moved-…`.
    Moved {
        dir: Ino,
        moved: Moved,
    },
    Past(Past),
}

impl What {
    pub(super) fn kind(&self) -> FileKind {
        match self {
            What::Past(past) => past.kind,
            What::Moved { .. } => FileKind::Symlink,
            _ => FileKind::Directory,
        }
    }
}

/// An inode as it was.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) ino: Ino,
    pub(super) kind: FileKind,
    pub(super) when: Instant,
    /// The view at which this tree of the past begins.
    pub(super) root: Ino,
    /// Whether it was deleted with a folder that is shown.
    pub(super) is_in_deleted: bool,
    /// As what it is shown.
    pub(super) role: Role,
    /// What reading it shows: found out once, since it never changes.
    pub(super) content: OnceLock<PastContent>,
    /// The hash of that, once somebody asked for it.
    pub(super) hash: OnceLock<String>,
}

impl Past {
    pub(super) fn version(&self) -> Option<&Version> {
        match &self.role {
            Role::Version(version) => Some(version),
            _ => None,
        }
    }
}

/// As what an inode of the past is shown.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// A directory at a moment that was asked for.
    Moment,
    /// A part of a directory of the past.
    Part,
    /// One of the versions of a name.
    Version(Version),
    /// What a name held until it was deleted.
    Deleted {
        /// From when the name held it.
        since: Moment,
        ended: Moment,
    },
}

/// Where the bytes of a file of the past are to be found.
#[derive(Clone, Copy, Debug)]
pub(super) struct PastContent {
    pub(super) at: Moment,
    pub(super) size: u64,
}

/// The moment that a view shows.
#[derive(Clone, Debug)]
pub(super) enum Instant {
    At(Moment),
    /// The last moment at which a directory that was deleted at `ended` was whole.
    BeforeDeletion {
        ended: Moment,
        found: Arc<OnceLock<Moment>>,
    },
}

/// A view that the kernel is about to know.
#[derive(Debug)]
pub(super) struct NewView {
    /// What `..` means.
    pub(super) parent: Ino,
    /// What tells it from all other ones: the same after a restart.
    pub(super) identity: Identity,
    pub(super) what: What,
    /// Whether its name goes on leading to it.
    pub(super) is_fixed: bool,
}

/// What tells a view from all other ones: the view (or the directory) that it belongs to, and which one of
/// that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity(Vec<u8>);

impl Identity {
    /// A view that is found by name; what the name means may depend on a moment.
    pub(super) fn of_name(parent: Ino, name: &[u8], moment: Moment) -> Identity {
        let mut bytes = parent.0.to_le_bytes().to_vec();
        bytes.extend(moment.0.to_le_bytes());
        bytes.extend(name);
        Identity(bytes)
    }

    /// An inode in a tree of the past. Several names of a file are one view.
    pub(super) fn of_inode(root: Ino, ino: Ino) -> Identity {
        let mut bytes = root.0.to_le_bytes().to_vec();
        bytes.extend(ino.0.to_le_bytes());
        Identity(bytes)
    }

    /// A content that an inode had, as a version.
    pub(super) fn of_content(parent: Ino, ino: Ino, since: Moment) -> Identity {
        let mut bytes = parent.0.to_le_bytes().to_vec();
        bytes.extend(ino.0.to_le_bytes());
        bytes.extend(since.0.to_le_bytes());
        bytes.push(0);
        Identity(bytes)
    }

    /// The number of the view, unless another one has it.
    pub(super) fn number(&self) -> Ino {
        // Not keyed by the store: no name in it gains anything from meeting another one's number, since
        // the table tells them apart.
        let mut hasher = SipHasher24::new();
        hasher.write(&self.0);
        Ino(hasher.finish() | VIEW_BIT)
    }
}

/// A view that the kernel knows.
#[derive(Debug)]
pub(super) struct ViewNode {
    /// Its number.
    pub(super) ino: Ino,
    pub(super) parent: Ino,
    pub(super) what: What,
    pub(super) is_fixed: bool,
    identity: Identity,
}

impl ViewNode {
    pub(super) fn kind(&self) -> FileKind {
        self.what.kind()
    }
}

#[derive(Debug)]
struct Entry {
    node: Arc<ViewNode>,
    lookups: u64,
}

/// The views that the kernel knows. The kernel bounds them: what it forgets goes.
#[derive(Debug, Default)]
pub(in crate::fs) struct ViewTable {
    /// A leaf: nothing is locked under it.
    entries: Mutex<HashMap<Ino, Entry>>,
}

impl ViewTable {
    pub(super) fn get(&self, ino: Ino) -> Result<Arc<ViewNode>> {
        self.entries.lock().get(&ino).map(|entry| Arc::clone(&entry.node)).ok_or(Error::NotFound)
    }

    /// The view's node, looked up once more.
    pub(super) fn enter(&self, new: NewView) -> Arc<ViewNode> {
        let NewView { parent, identity, what, is_fixed } = new;
        let mut entries = self.entries.lock();
        let mut ino = identity.number();
        while entries.get(&ino).is_some_and(|entry| entry.node.identity != identity) {
            ino = Ino((ino.0 + 1) | VIEW_BIT);
        }
        // A version that lives may end: what is known of it then is newer.
        let is_newer = matches!(&what, What::Past(Past { role: Role::Version(_), .. }));
        let node = || Arc::new(ViewNode { ino, parent, what, is_fixed, identity });
        let entry = match entries.entry(ino) {
            hash_map::Entry::Vacant(place) => place.insert(Entry { node: node(), lookups: 0 }),
            hash_map::Entry::Occupied(place) => {
                let entry = place.into_mut();
                if is_newer {
                    entry.node = node();
                }
                entry
            }
        };
        entry.lookups += 1;
        Arc::clone(&entry.node)
    }

    /// Takes back `lookups`; without any the view is gone.
    pub(in crate::fs) fn leave(&self, ino: Ino, lookups: u64) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(&ino) else { return };
        entry.lookups = entry.lookups.saturating_sub(lookups);
        if entry.lookups == 0 {
            entries.remove(&ino);
        }
    }

    #[cfg(test)]
    pub(in crate::fs) fn len(&self) -> usize {
        self.entries.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(parent: u64, name: &[u8]) -> NewView {
        let parent = Ino(parent);
        let identity = Identity::of_name(parent, name, Moment(0));
        NewView { parent, identity, what: What::Versions { dir: parent }, is_fixed: true }
    }

    #[test]
    fn a_view_is_there_until_each_lookup_is_taken_back() {
        let table = ViewTable::default();
        let first = table.enter(view(1, b"a"));
        let again = table.enter(view(1, b"a"));
        assert!(Arc::ptr_eq(&first, &again) && is_view(first.ino));
        assert_ne!(table.enter(view(1, b"b")).ino, first.ino);
        assert_ne!(table.enter(view(2, b"a")).ino, first.ino);
        table.leave(first.ino, 1);
        assert!(table.get(first.ino).is_ok());
        table.leave(first.ino, 1);
        assert!(matches!(table.get(first.ino), Err(Error::NotFound)));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn numbers_are_the_same_in_another_table() {
        let (one, other) = (ViewTable::default(), ViewTable::default());
        assert_eq!(one.enter(view(1, b"a")).ino, other.enter(view(1, b"a")).ino);
    }

    #[test]
    fn two_views_never_share_a_number() {
        let table = ViewTable::default();
        let first = table.enter(view(1, b"a"));
        let taken = first.ino;
        // As if their hashes met.
        let stranger = Arc::new(ViewNode {
            ino: taken,
            parent: Ino(9),
            what: What::Deleted { dir: Ino(9) },
            is_fixed: true,
            identity: Identity::of_inode(Ino(9), Ino(9)),
        });
        table.entries.lock().insert(taken, Entry { node: stranger, lookups: 1 });
        assert_ne!(table.enter(view(1, b"a")).ino, taken);
    }
}
