//! What holds for a name, by where it is or was last.
//!
//! The rules (`model::rules`) go by paths, the metadata by inodes: the path of a directory is found by walking up. One that
//! lives is where it is; one that is gone is where it was last. Without rules for paths nobody asks.

use super::Result;
use super::options::VolumeOptions;
use super::volume::Volume;
use crate::meta::View;
use crate::model::{Care, FileKind, Ino, Policy};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// Directories that are looked at on the way to the root.
const DEPTH_MAX: usize = 4096;
/// Directories whose names are remembered, some 100 bytes each: no index leads from an inode to its living name.
const DIRECTORIES_MAX: usize = 200_000;

/// A name in a directory.
type Place = (Ino, Vec<u8>);

/// Where directories were found. What is remembered is looked at again before it is believed.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    /// A leaf: nothing is locked or asked under it.
    places: Mutex<HashMap<Ino, Place>>,
}

impl Whereabouts {
    /// The path of a directory, where the options make a difference between paths.
    pub(super) fn path_for(
        &self,
        view: &View<'_>,
        directory: Ino,
        options: &VolumeOptions,
    ) -> Result<Option<Rc<[u8]>>> {
        match options.rules.depend_on_paths() {
            true => Ok(self.path_of(view, directory)?.map(Rc::from)),
            false => Ok(None),
        }
    }

    /// The path of a directory from the root, or the last one that it had; `None` where no name of it is left.
    fn path_of(&self, view: &View<'_>, directory: Ino) -> Result<Option<Vec<u8>>> {
        let (mut names, mut at) = (Vec::new(), directory);
        while at != Ino::ROOT {
            let place = if names.len() < DEPTH_MAX { self.place_of(view, at)? } else { None };
            let Some((parent, name)) = place else { return Ok(None) };
            names.push(name);
            at = parent;
        }
        names.reverse();
        Ok(Some(names.join(&b'/')))
    }

    fn place_of(&self, view: &View<'_>, directory: Ino) -> Result<Option<Place>> {
        let known = self.places.lock().get(&directory).cloned();
        if let Some((parent, name)) = known
            && view.dentry(parent, &name)?.is_some_and(|dentry| dentry.ino == directory)
        {
            return Ok(Some((parent, name)));
        }
        let living = view.inode(directory)?.filter(|inode| inode.attr.nlink > 0);
        let Some(living) = living else { return Ok(view.last_lost_name_of(directory)?) };
        let parent = living.parent;
        let siblings = view.directories_in(parent, DIRECTORIES_MAX)?;
        let mut places = self.places.lock();
        if places.len() + siblings.len() > DIRECTORIES_MAX {
            places.clear();
        }
        places.extend(siblings.into_iter().map(|(ino, name)| (ino, (parent, name))));
        let found = places.get(&directory).cloned();
        drop(places);
        match found {
            Some(place) => Ok(Some(place)),
            None => Ok(view.name_in(parent, directory, i64::MAX)?.map(|name| (parent, name))),
        }
    }
}

/// What holds for the names in one directory.
#[derive(Debug)]
pub(super) struct RulesIn<'a> {
    options: &'a VolumeOptions,
    /// No name has a longer floor.
    floor_max: Duration,
    /// From the root; `None` where it is not known, or doesn't matter.
    path: Option<Rc<[u8]>>,
}

impl Volume {
    /// The rules of names in a directory, which may be one that is gone.
    pub(super) fn rules_in(&self, view: &View<'_>, directory: Ino) -> Result<RulesIn<'_>> {
        let path = self.whereabouts.path_for(view, directory, &self.options)?;
        Ok(RulesIn::new(&self.options, path, Duration::MAX))
    }
}

impl<'a> RulesIn<'a> {
    /// Of a directory at `path`; no floor is longer than `floor_max`.
    pub(super) fn new(
        options: &'a VolumeOptions,
        path: Option<Rc<[u8]>>,
        floor_max: Duration,
    ) -> RulesIn<'a> {
        RulesIn { options, floor_max, path }
    }

    /// What holds for a name as long as it holds something of this kind.
    pub(super) fn of(&self, name: &[u8], kind: FileKind) -> Care {
        let (rules, base) = (&self.options.rules, &self.options.retention);
        let mut care = match kind {
            FileKind::Directory => {
                let policy = rules.of_folder(base, self.path_of(name).as_deref());
                Care { policy, slot: None, makes_versions: true }
            }
            _ => rules.of_name(base, self.path.as_deref(), name),
        };
        care.policy.floor = care.policy.floor.min(self.floor_max);
        care
    }

    /// Whether no name of the directory is left, today's or a former one. (Only where paths matter.)
    pub(super) fn is_lost(&self) -> bool {
        self.options.rules.depend_on_paths() && self.path.is_none()
    }

    /// Whether it makes versions that a name holds something of this kind.
    pub(super) fn makes_versions(&self, name: &[u8], kind: FileKind) -> bool {
        kind == FileKind::Directory || self.of(name, kind).makes_versions
    }

    /// What holds for names in the directory in general, and the most that holds for anything below it.
    pub(super) fn in_general(&self) -> [Policy; 2] {
        let (rules, base, path) = (&self.options.rules, &self.options.retention, &self.path);
        let (path, most) = (path.as_deref(), rules.of_folder(base, path.as_deref()));
        [rules.in_general(base, path), most]
    }

    fn path_of(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.path.as_ref().map(|path| match &path[..] {
            b"" => name.to_vec(),
            path => [path, name].join(&b'/'),
        })
    }
}
