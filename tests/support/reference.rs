//! A filesystem as small as it can be: what the real one is held against. It answers as Linux would.

use super::drive::{Drive, Found, Kind, Result, Tree};
use super::work::{Alloc, HANDLES, Move};
use std::collections::BTreeMap;

const ROOT: usize = 0;

#[derive(Clone)]
struct Node {
    kind: Kind,
    mode: u32,
    content: Vec<u8>,
    children: BTreeMap<String, usize>,
    xattrs: BTreeMap<String, Vec<u8>>,
    nlink: u32,
    /// Only while it is exactly what somebody set.
    mtime: Option<i64>,
}

impl Node {
    fn new(kind: Kind, mode: u32) -> Node {
        Node {
            kind,
            mode,
            content: Vec::new(),
            children: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            nlink: if kind == Kind::Directory { 2 } else { 1 },
            mtime: None,
        }
    }
}

/// The reference.
pub(crate) struct Reference {
    /// Never shrinks: an inode without names stays for its handles.
    nodes: Vec<Node>,
    handles: [Option<usize>; HANDLES],
}

impl Reference {
    pub(crate) fn new() -> Reference {
        Reference { nodes: vec![Node::new(Kind::Directory, 0o755)], handles: [None; HANDLES] }
    }

    /// The directory that holds `path`'s last name, and that name.
    fn parent<'a>(&self, path: &'a str) -> Result<(usize, &'a str)> {
        let mut at = ROOT;
        let (way, name) = path.rsplit_once('/').unwrap_or(("", path));
        for step in way.split('/').filter(|step| !step.is_empty()) {
            at = *self.nodes[at].children.get(step).ok_or(libc::ENOENT)?;
            match self.nodes[at].kind {
                Kind::Directory => {}
                Kind::Symlink => return Err(libc::ENOENT), // All links lead nowhere.
                Kind::File => return Err(libc::ENOTDIR),
            }
        }
        Ok((at, name))
    }

    fn find(&self, path: &str) -> Result<usize> {
        let (parent, name) = self.parent(path)?;
        self.nodes[parent].children.get(name).copied().ok_or(libc::ENOENT)
    }

    /// What a path leads to when its last link is followed.
    fn follow(&self, path: &str) -> Result<usize> {
        let found = self.find(path)?;
        if self.nodes[found].kind == Kind::Symlink { Err(libc::ENOENT) } else { Ok(found) }
    }

    fn make(&mut self, path: &str, node: Node) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        if self.nodes[parent].children.contains_key(name) {
            return Err(libc::EEXIST);
        }
        let is_directory = node.kind == Kind::Directory;
        self.nodes.push(node);
        let ino = self.nodes.len() - 1;
        self.put(parent, name, ino, is_directory);
        Ok(())
    }

    fn put(&mut self, parent: usize, name: &str, ino: usize, is_directory: bool) {
        let parent = &mut self.nodes[parent];
        parent.children.insert(name.to_owned(), ino);
        parent.nlink += u32::from(is_directory);
        parent.mtime = None;
    }

    fn take(&mut self, parent: usize, name: &str) -> usize {
        let ino = self.nodes[parent].children.remove(name).unwrap();
        self.nodes[parent].nlink -= u32::from(self.nodes[ino].kind == Kind::Directory);
        self.nodes[parent].mtime = None;
        ino
    }

    fn is_below(&self, ino: usize, top: usize) -> bool {
        ino == top || self.nodes[top].children.values().any(|child| self.is_below(ino, *child))
    }

    fn open_node(&mut self, handle: usize) -> Result<&mut Node> {
        let ino = self.handles[handle].ok_or(libc::EBADF)?;
        Ok(&mut self.nodes[ino])
    }

    fn exchange(&mut self, from: (usize, &str), to: (usize, &str)) -> Result<()> {
        let (a, b) = (self.nodes[from.0].children[from.1], self.nodes[to.0].children[to.1]);
        if self.is_below(to.0, a) || self.is_below(from.0, b) {
            return Err(libc::EINVAL);
        }
        if a == b {
            return Ok(());
        }
        self.take(from.0, from.1);
        self.take(to.0, to.1);
        self.put(to.0, to.1, a, self.nodes[a].kind == Kind::Directory);
        self.put(from.0, from.1, b, self.nodes[b].kind == Kind::Directory);
        Ok(())
    }

    fn check_replace(&self, from: usize, to: usize) -> Result<()> {
        match (self.nodes[from].kind, self.nodes[to].kind) {
            (Kind::Directory, Kind::Directory) if self.nodes[to].children.is_empty() => Ok(()),
            (Kind::Directory, Kind::Directory) => Err(libc::ENOTEMPTY),
            (Kind::Directory, _) => Err(libc::ENOTDIR),
            (_, Kind::Directory) => Err(libc::EISDIR),
            _ => Ok(()),
        }
    }

    fn list(&self, at: usize, path: &str, tree: &mut Tree) {
        for (name, ino) in &self.nodes[at].children {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let node = &self.nodes[*ino];
            let found = Found {
                kind: node.kind,
                mode: node.mode,
                nlink: node.nlink,
                content: node.content.clone(),
                xattrs: node.xattrs.clone(),
                mtime: node.mtime,
            };
            tree.insert(path.clone(), found);
            self.list(*ino, &path, tree);
        }
    }
}

impl Drive for Reference {
    fn create(&mut self, path: &str) -> Result<()> {
        self.make(path, Node::new(Kind::File, 0o644))
    }

    fn mkdir(&mut self, path: &str) -> Result<()> {
        self.make(path, Node::new(Kind::Directory, 0o755))
    }

    fn symlink(&mut self, path: &str) -> Result<()> {
        self.make(path, Node::new(Kind::Symlink, 0o777))
    }

    fn link(&mut self, old: &str, new: &str) -> Result<()> {
        let ino = self.find(old)?;
        let (parent, name) = self.parent(new)?;
        if self.nodes[parent].children.contains_key(name) {
            return Err(libc::EEXIST);
        }
        if self.nodes[ino].kind == Kind::Directory {
            return Err(libc::EPERM);
        }
        self.nodes[ino].nlink += 1;
        self.put(parent, name, ino, false);
        Ok(())
    }

    fn unlink(&mut self, path: &str) -> Result<()> {
        let ino = self.find(path)?;
        if self.nodes[ino].kind == Kind::Directory {
            return Err(libc::EISDIR);
        }
        let (parent, name) = self.parent(path)?;
        self.take(parent, name);
        self.nodes[ino].nlink -= 1;
        Ok(())
    }

    fn rmdir(&mut self, path: &str) -> Result<()> {
        let ino = self.find(path)?;
        match self.nodes[ino].kind {
            Kind::Directory if self.nodes[ino].children.is_empty() => {}
            Kind::Directory => return Err(libc::ENOTEMPTY),
            _ => return Err(libc::ENOTDIR),
        }
        let (parent, name) = self.parent(path)?;
        self.take(parent, name);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str, kind: Move) -> Result<()> {
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        let source =
            self.nodes[from_parent].children.get(from_name).copied().ok_or(libc::ENOENT)?;
        let target = self.nodes[to_parent].children.get(to_name).copied();
        if kind == Move::NoReplace && target.is_some() {
            return Err(libc::EEXIST);
        }
        if kind == Move::Exchange {
            target.ok_or(libc::ENOENT)?;
            return self.exchange((from_parent, from_name), (to_parent, to_name));
        }
        if self.is_below(to_parent, source) {
            return Err(libc::EINVAL);
        }
        if let Some(target) = target {
            if self.is_below(from_parent, target) {
                return Err(libc::ENOTEMPTY);
            }
            if target == source {
                return Ok(());
            }
            self.check_replace(source, target)?;
            self.take(to_parent, to_name);
            self.nodes[target].nlink -= 1;
        }
        self.take(from_parent, from_name);
        self.put(to_parent, to_name, source, self.nodes[source].kind == Kind::Directory);
        Ok(())
    }

    fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        let ino = self.follow(path)?;
        if self.nodes[ino].kind == Kind::Directory {
            return Err(libc::EISDIR);
        }
        self.nodes[ino].content.resize(size as usize, 0);
        self.nodes[ino].mtime = None;
        Ok(())
    }

    fn chmod(&mut self, path: &str, mode: u32) -> Result<()> {
        let ino = self.follow(path)?;
        self.nodes[ino].mode = mode;
        Ok(())
    }

    fn set_mtime(&mut self, path: &str, nanos: i64) -> Result<()> {
        let ino = self.find(path)?;
        self.nodes[ino].mtime = Some(nanos);
        Ok(())
    }

    fn set_xattr(&mut self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        let ino = self.follow(path)?;
        self.nodes[ino].xattrs.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    fn remove_xattr(&mut self, path: &str, name: &str) -> Result<()> {
        let ino = self.follow(path)?;
        self.nodes[ino].xattrs.remove(name).map(drop).ok_or(libc::ENODATA)
    }

    fn open(&mut self, handle: usize, path: &str) -> Result<()> {
        self.handles[handle] = None;
        let ino = self.follow(path)?;
        if self.nodes[ino].kind == Kind::Directory {
            return Err(libc::EISDIR);
        }
        self.handles[handle] = Some(ino);
        Ok(())
    }

    fn close(&mut self, handle: usize) -> Result<()> {
        self.handles[handle].take().map(drop).ok_or(libc::EBADF)
    }

    fn write(&mut self, handle: usize, offset: u64, data: &[u8]) -> Result<()> {
        let node = self.open_node(handle)?;
        if data.is_empty() {
            return Ok(());
        }
        let (start, end) = (offset as usize, offset as usize + data.len());
        node.content.resize(node.content.len().max(end), 0);
        node.content[start..end].copy_from_slice(data);
        node.mtime = None;
        Ok(())
    }

    fn set_len(&mut self, handle: usize, size: u64) -> Result<()> {
        let node = self.open_node(handle)?;
        node.content.resize(size as usize, 0);
        node.mtime = None;
        Ok(())
    }

    fn fallocate(&mut self, handle: usize, how: Alloc, offset: u64, len: u64) -> Result<()> {
        let node = self.open_node(handle)?;
        let (start, end) = (offset as usize, (offset + len) as usize);
        if matches!(how, Alloc::Reserve | Alloc::Zero) {
            node.content.resize(node.content.len().max(end), 0);
        }
        if matches!(how, Alloc::Punch | Alloc::Zero | Alloc::ZeroKeep) {
            let size = node.content.len();
            node.content[start.min(size)..end.min(size)].fill(0);
        }
        node.mtime = None;
        Ok(())
    }

    fn copy(&mut self, from: usize, to: usize, x: u64, y: u64, len: u64) -> Result<u64> {
        let (source, target) = (self.handles[from].ok_or(libc::EBADF)?, self.handles[to]);
        let target = target.ok_or(libc::EBADF)?;
        let content = &self.nodes[source].content;
        let start = (x as usize).min(content.len());
        let end = ((x + len) as usize).min(content.len());
        let len = (end - start) as u64;
        if source == target && x < y + len && y < x + len {
            return Err(libc::EINVAL);
        }
        let piece = content[start..end].to_vec();
        self.write(to, y, &piece)?;
        Ok(piece.len() as u64)
    }

    fn read(&mut self, handle: usize, offset: u64, len: usize) -> Result<Vec<u8>> {
        let content = &self.open_node(handle)?.content;
        let start = (offset as usize).min(content.len());
        let end = (start + len).min(content.len());
        Ok(content[start..end].to_vec())
    }

    fn check_holes(&mut self, handle: usize) -> Result<()> {
        self.open_node(handle).map(drop)
    }

    fn flush(&mut self, handle: usize) -> Result<()> {
        self.open_node(handle).map(drop)
    }

    fn fsync(&mut self, handle: usize) -> Result<()> {
        self.open_node(handle).map(drop)
    }

    fn reopen(&mut self) {
        self.handles = [None; HANDLES];
    }

    fn tree(&mut self) -> Tree {
        let mut tree = Tree::new();
        self.list(ROOT, "", &mut tree);
        tree
    }
}
