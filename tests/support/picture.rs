//! All that can be seen of a tree: taken of one store while it was so, and looked for in another one's past.

use std::collections::BTreeMap;
use versofs::fs::{DirEntry, Error, Handle, OpenMode, Seek, Volume};
use versofs::model::{Attr, FileKind, Ino, Moment, moment_name};

/// Bytes that are read at a time.
const STEP_BYTES: u64 = 1 << 20;

/// What is seen of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    kind: FileKind,
    mode: u32,
    owner: (u32, u32),
    /// Size, time of the last change of the content, and number of names; a directory's are not part of its past.
    file: Option<(u64, i64, u32)>,
    /// Only of the living tree, where names of one file have the same.
    ino: Option<Ino>,
    target: Option<Vec<u8>>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Over each range that is no hole, its place and its bytes.
    content: Option<blake3::Hash>,
}

/// By path from the top.
pub(crate) type Picture = BTreeMap<Vec<u8>, Seen>;

/// The tree as it is.
pub(crate) fn live(volume: &Volume) -> Picture {
    taken(volume, Ino::ROOT, true)
}

/// The tree as it was.
pub(crate) fn at(volume: &Volume, moment: Moment) -> Picture {
    let mut top = Ino::ROOT;
    for name in [".versions", "@at", &moment_name(moment)] {
        top = volume.lookup(top, name.as_bytes()).unwrap().ino;
    }
    taken(volume, top, false)
}

/// A picture without what only the living tree shows.
pub(crate) fn as_past(picture: &Picture) -> Picture {
    let past = |seen: &Seen| Seen { ino: None, ..seen.clone() };
    picture.iter().map(|(path, seen)| (path.clone(), past(seen))).collect()
}

/// The paths that differ, and how; the first few of them.
pub(crate) fn differences(wanted: &Picture, found: &Picture) -> Vec<String> {
    let paths = wanted.keys().chain(found.keys().filter(|path| !wanted.contains_key(*path)));
    let differing = paths.filter(|path| wanted.get(*path) != found.get(*path));
    let told = |path: &Vec<u8>| {
        let name = String::from_utf8_lossy(path);
        format!("{name}: {:?} became {:?}", wanted.get(path), found.get(path))
    };
    differing.take(10).map(told).collect()
}

fn taken(volume: &Volume, top: Ino, is_live: bool) -> Picture {
    let mut picture = Picture::new();
    let mut open = vec![(Vec::new(), top)];
    while let Some((dir, ino)) = open.pop() {
        for (name, attr) in entries(volume, ino) {
            let path = [&dir[..], b"/", &name].concat();
            if attr.kind == FileKind::Directory {
                open.push((path.clone(), attr.ino));
            }
            picture.insert(path, seen(volume, &attr, is_live));
        }
    }
    picture
}

fn entries(volume: &Volume, dir: Ino) -> Vec<(Vec<u8>, Attr)> {
    let handle = volume.opendir(dir).unwrap();
    let mut names = Vec::new();
    let mut entry = |entry: DirEntry| {
        names.push(entry.name);
        true
    };
    volume.readdir(handle, 0, false, &mut entry).unwrap();
    volume.releasedir(handle).unwrap();
    names.retain(|name| !matches!(&name[..], b"." | b".."));
    let looked_up = names.into_iter().map(|name| {
        let attr = volume.lookup(dir, &name).unwrap();
        (name, attr)
    });
    looked_up.collect()
}

fn seen(volume: &Volume, attr: &Attr, is_live: bool) -> Seen {
    let (is_dir, is_file) = (attr.kind == FileKind::Directory, attr.kind == FileKind::File);
    let target = attr.kind == FileKind::Symlink;
    Seen {
        kind: attr.kind,
        mode: attr.mode.bits().into(),
        owner: (attr.uid, attr.gid),
        file: (!is_dir).then_some((attr.size, attr.mtime.0, attr.nlink)),
        ino: is_live.then_some(attr.ino),
        target: target.then(|| volume.readlink(attr.ino).unwrap()),
        attributes: attributes(volume, attr.ino),
        content: is_file.then(|| content(volume, attr)),
    }
}

/// Without those by which Verso tells about a view.
fn attributes(volume: &Volume, ino: Ino) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = volume.listxattr(ino).unwrap();
    names.retain(|name| !name.starts_with(b"user.verso."));
    names.sort();
    let value = |name: Vec<u8>| {
        let value = volume.getxattr(ino, &name).unwrap();
        (name, value)
    };
    names.into_iter().map(value).collect()
}

fn content(volume: &Volume, attr: &Attr) -> blake3::Hash {
    let how = OpenMode { read: true, ..OpenMode::default() };
    let handle = volume.open(attr.ino, how).unwrap();
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while let Some((start, end)) = next_data(volume, handle, at, attr.size) {
        hasher.update(&start.to_le_bytes());
        at = start;
        while at < end {
            let mut bytes = Vec::new();
            volume.read(handle, at, (end - at).min(STEP_BYTES) as usize, &mut bytes).unwrap();
            assert!(!bytes.is_empty(), "inode {} ends at {at} instead of {end}", attr.ino.0);
            hasher.update(&bytes);
            at += bytes.len() as u64;
        }
        hasher.update(&end.to_le_bytes());
    }
    volume.release(handle).unwrap();
    hasher.finalize()
}

fn next_data(volume: &Volume, handle: Handle, at: u64, size: u64) -> Option<(u64, u64)> {
    if at >= size {
        return None;
    }
    match volume.seek(handle, at, Seek::Data) {
        Ok(start) => Some((start, volume.seek(handle, start, Seek::Hole).unwrap())),
        Err(Error::NoSuchRange) => None,
        Err(error) => panic!("{error}"),
    }
}
