//! Contents of views.

use super::table::{Past, PastContent, ViewNode, What};
use crate::chunks::{ContentHasher, PLAIN_LEN_MAX};
use crate::fs::io::Part;
use crate::fs::overlay::{Piece, Source};
use crate::fs::types::{Handle, OpenMode, Seek};
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::model::{ChunkRef, Extent, FileKind, Ino};
use std::sync::Arc;

/// No extent is longer than a chunk.
const EXTENT_BYTES_MAX: u64 = PLAIN_LEN_MAX as u64;
/// Bytes that are read at a time to hash a file.
const HASH_STEP_BYTES: usize = 1 << 20;
/// The first range in which `seek` looks; each further one is twice as large.
const SEEK_BYTES: u64 = 16 << 20;

impl Volume {
    /// Opens a file of the past. The kernel keeps the view while it is open, so its number is handle enough.
    pub(in crate::fs) fn open_view(&self, ino: Ino, how: OpenMode) -> Result<Handle> {
        let node = self.views.get(ino)?;
        match node.kind() {
            FileKind::File => {}
            FileKind::Directory => return Err(Error::IsDirectory),
            _ => return Err(Error::Invalid),
        }
        if how.write || how.truncate {
            return Err(Error::ReadOnly);
        }
        Ok(Handle(ino.0))
    }

    /// Opens a directory of the past.
    pub(in crate::fs) fn open_view_directory(&self, ino: Ino) -> Result<Handle> {
        match self.views.get(ino)?.kind() {
            FileKind::Directory => Ok(Handle(ino.0)),
            _ => Err(Error::NotDirectory),
        }
    }

    pub(in crate::fs) fn view_target(&self, ino: Ino) -> Result<Vec<u8>> {
        let node = self.views.get(ino)?;
        let past = match &node.what {
            What::Past(past) => past,
            What::Moved { moved, .. } => return Ok(moved.target.clone()),
            _ => return Err(Error::Invalid),
        };
        self.meta.read(|view| view.symlink_target(past.ino))?.ok_or(Error::Invalid)
    }

    /// Reads from a file of the past: see [`Volume::read`].
    pub(in crate::fs) fn read_view(
        &self,
        ino: Ino,
        offset: u64,
        len: usize,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        let node = self.view_file(ino)?;
        self.read_view_of(&node, offset, len, into)
    }

    fn read_view_of(
        &self,
        node: &ViewNode,
        offset: u64,
        len: usize,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        let content = self.content_of(node)?;
        let end = content.size.min(offset.saturating_add(len as u64));
        if offset >= end {
            return Ok(());
        }
        let extents = self.extents_of(node, content, offset, end)?;
        let parts = extents.into_iter().filter_map(|(extent, chunk)| {
            Part::of_extent(&extent.clip(offset, end)?, chunk, offset)
        });
        self.append_parts(inode_of(node), (end - offset) as usize, parts.collect(), into)
    }

    /// The next data or hole: see [`Volume::seek`].
    pub(in crate::fs) fn seek_view(&self, ino: Ino, offset: u64, what: Seek) -> Result<u64> {
        let node = self.view_file(ino)?;
        let content = self.content_of(&node)?;
        if offset >= content.size {
            return Err(Error::NoSuchRange);
        }
        let (mut at, mut len) = (offset, SEEK_BYTES);
        while at < content.size {
            let end = at.saturating_add(len).min(content.size);
            for (extent, _) in self.extents_of(&node, content, at, end)? {
                match what {
                    Seek::Data => return Ok(extent.start.max(at)),
                    Seek::Hole if extent.start > at => return Ok(at),
                    Seek::Hole => at = extent.end(),
                }
            }
            if what == Seek::Hole && at < end {
                return Ok(at);
            }
            at = at.max(end);
            len = len.saturating_mul(2);
        }
        match what {
            Seek::Data => Err(Error::NoSuchRange),
            Seek::Hole => Ok(content.size),
        }
    }

    /// What a range of a file of the past shows, as pieces without gaps.
    pub(in crate::fs) fn pieces_of_view(
        &self,
        ino: Ino,
        offset: u64,
        len: u64,
    ) -> Result<Vec<Piece>> {
        let node = self.view_file(ino)?;
        let content = self.content_of(&node)?;
        let end = content.size.min(offset.saturating_add(len));
        let (mut pieces, mut at) = (Vec::new(), offset);
        for (extent, chunk) in self.extents_of(&node, content, offset, end)? {
            let Some(part) = extent.clip(offset, end) else { continue };
            if at < part.start {
                pieces.push(Piece { start: at, len: part.start - at, source: Source::Hole });
            }
            let source = Source::Chunk { chunk, skip: part.content.skip };
            pieces.push(Piece { start: part.start, len: part.len, source });
            at = part.end();
        }
        if at < end {
            pieces.push(Piece { start: at, len: end - at, source: Source::Hole });
        }
        Ok(pieces)
    }

    /// The BLAKE3 of a file of the past, as `b3sum` prints it. Reads all of it, the first time it is asked for.
    pub(super) fn hash_of(&self, node: &ViewNode, past: &Past) -> Result<String> {
        if let Some(hash) = past.hash.get() {
            return Ok(hash.clone());
        }
        let size = self.content_of(node)?.size;
        let (mut hasher, mut bytes, mut at) = (ContentHasher::default(), Vec::new(), 0);
        while at < size {
            bytes.clear();
            // Between two steps chunks may move to other packs.
            let _places = self.ingest.hold_places();
            self.read_view_of(node, at, HASH_STEP_BYTES, &mut bytes)?;
            hasher.update(&bytes);
            at += bytes.len() as u64;
        }
        Ok(past.hash.get_or_init(|| hasher.finish().to_string()).clone())
    }

    fn view_file(&self, ino: Ino) -> Result<Arc<ViewNode>> {
        let node = self.views.get(ino).map_err(|_| Error::BadHandle)?;
        match node.kind() {
            FileKind::File => Ok(node),
            _ => Err(Error::BadHandle),
        }
    }

    /// What reading the file shows, from when.
    fn content_of(&self, node: &ViewNode) -> Result<PastContent> {
        let What::Past(past) = &node.what else { return Err(Error::BadHandle) };
        if let Some(content) = past.content.get() {
            return Ok(*content);
        }
        let at = match past.version() {
            // Not since when it had this content: that may have been under a name whose history is over.
            Some(version) => version.began,
            None => self.moment_of(past)?,
        };
        let inode = self.meta.read(|view| view.inode_at(past.ino, at))?.ok_or(Error::Gone)?;
        Ok(*past.content.get_or_init(|| PastContent { at, size: inode.attr.size }))
    }

    fn extents_of(
        &self,
        node: &ViewNode,
        content: PastContent,
        from: u64,
        to: u64,
    ) -> Result<Vec<(Extent, ChunkRef)>> {
        let ino = inode_of(node);
        let found = self.meta.read(|view| {
            view.extents_and_chunks_at(ino, content.at, (from, to), EXTENT_BYTES_MAX)
        })?;
        // Retention may have ended it since the kernel looked it up: missing extents must not be taken for holes. It
        // takes the inode's row in the same transaction, so one that is there now was there with its extents.
        match self.meta.read(|view| view.inode_at(ino, content.at))? {
            Some(_) => Ok(found),
            None => Err(Error::Gone),
        }
    }
}

/// The inode that a view shows.
fn inode_of(node: &ViewNode) -> Ino {
    match &node.what {
        What::Past(past) => past.ino,
        _ => node.ino,
    }
}
