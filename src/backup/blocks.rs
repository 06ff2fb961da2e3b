//! Files of a generation as blocks: what did not change since the generation before is not sent again.
//!
//! `meta.db` is cut into blocks of one size, since SQLite changes pages where they lie. New blocks are compressed into a file of no name first, so that
//! the metadata is held on to only for as long as that takes, and sent from there.

use super::damaged;
use super::location::Location;
use super::manifest::{Block, Manifest, StoredFile};
use super::{Error, Result};
use crate::sys::Task;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Plain bytes of a block. Smaller ones would be more lines in each manifest, larger ones more bytes for a row that changed.
const BLOCK_BYTES: usize = 128 << 10;
/// Blocks are gathered into objects of about this size.
const OBJECT_BYTES: u64 = 16 << 20;
/// zstd's level: the metadata shrinks to a third or a quarter with any.
const LEVEL: i32 = 3;

/// Where a block lies.
type Place = (u32, u64, u32);

/// Cuts files into blocks, and gathers those that are not at the location yet.
pub(super) struct BlockWriter {
    /// New objects are named after it.
    generation: String,
    spool: File,
    spooled: u64,
    known: HashMap<[u8; 32], Place>,
    /// Names of all objects that the blocks lie in: those of the generation before, then the new ones.
    objects: Vec<String>,
    /// Where the new objects begin in the spool.
    starts: Vec<u64>,
    /// How many of `objects` are there already.
    old_objects: usize,
}

impl BlockWriter {
    /// Blocks of `base`, if there is one, are not stored again, as far as the objects that hold them are `present` (names and lengths). The spool is made in
    /// `directory`, without a name.
    pub(super) fn new(
        generation: &str,
        base: Option<&Manifest>,
        present: &HashMap<String, u64>,
        directory: &Path,
    ) -> Result<BlockWriter> {
        let failed = |source| Error::Io { path: directory.to_owned(), source };
        let mut known = HashMap::new();
        for block in base.iter().flat_map(|base| &base.files).flat_map(|file| &file.blocks) {
            known.insert(block.hash, (block.object, block.offset, block.stored_len));
        }
        let objects = base.map_or(Vec::new(), |base| base.objects.clone());
        // What was lost since would be missing in each generation to come.
        known.retain(|_, &mut (object, offset, len)| {
            let there = objects.get(object as usize).and_then(|name| present.get(name));
            there.is_some_and(|&there| offset.saturating_add(len.into()) <= there)
        });
        Ok(BlockWriter {
            generation: generation.to_owned(),
            spool: nameless_file(directory).map_err(failed)?,
            spooled: 0,
            known,
            old_objects: objects.len(),
            objects,
            starts: Vec::new(),
        })
    }

    /// A file with these contents.
    pub(super) fn add(&mut self, name: &str, mut contents: impl Read) -> io::Result<StoredFile> {
        let mut file = StoredFile { name: name.to_owned(), len: 0, blocks: Vec::new() };
        let mut plain = Vec::with_capacity(BLOCK_BYTES);
        loop {
            plain.clear();
            let read = contents.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut plain)?;
            if read == 0 {
                return Ok(file);
            }
            file.len += read as u64;
            file.blocks.push(self.block(&plain)?);
        }
    }

    fn block(&mut self, plain: &[u8]) -> io::Result<Block> {
        let hash = *blake3::hash(plain).as_bytes();
        let place = match self.known.get(&hash) {
            Some(place) => *place,
            None => self.spool(plain)?,
        };
        self.known.insert(hash, place);
        let (object, offset, stored_len) = place;
        Ok(Block { hash, object, offset, stored_len })
    }

    fn spool(&mut self, plain: &[u8]) -> io::Result<Place> {
        let stored = zstd::bulk::compress(plain, LEVEL)?;
        if self.starts.last().is_none_or(|start| self.spooled - start >= OBJECT_BYTES) {
            self.objects.push(format!("{}-{}", self.generation, self.starts.len()));
            self.starts.push(self.spooled);
        }
        let start = self.starts.last().copied().unwrap_or_default();
        self.spool.write_all(&stored)?;
        let place = (self.objects.len() as u32 - 1, self.spooled - start, stored.len() as u32);
        self.spooled += stored.len() as u64;
        Ok(place)
    }

    /// Sends what is new; answers how many bytes that were.
    pub(super) fn send(&self, location: &Location, series: &str, task: &dyn Task) -> Result<u64> {
        let failed = |source| Error::Io { path: "the spool of a backup".into(), source };
        for (number, name) in self.objects[self.old_objects..].iter().enumerate() {
            let start = self.starts[number];
            let end = self.starts.get(number + 1).copied().unwrap_or(self.spooled);
            if task.is_stopped() {
                return Err(Error::Stopped);
            }
            task.pace(end - start);
            let mut body = vec![0; (end - start) as usize];
            self.spool.read_exact_at(&mut body, start).map_err(failed)?;
            location.put(&format!("{}{name}", super::manifest::metadata_of(series)), body)?;
        }
        Ok(self.spooled)
    }

    /// The objects that the blocks of `files` lie in; those that none needs any more are left out.
    pub(super) fn objects_of(&self, files: &mut [StoredFile]) -> Vec<String> {
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let mut names = Vec::new();
        for block in files.iter_mut().flat_map(|file| &mut file.blocks) {
            let number = *numbers.entry(block.object).or_insert_with(|| {
                names.push(self.objects[block.object as usize].clone());
                names.len() as u32 - 1
            });
            block.object = number;
        }
        names
    }
}

/// A file that goes with its descriptor.
fn nameless_file(directory: &Path) -> io::Result<File> {
    let path = directory.join(".backup.spool");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Reads files of a generation back. Objects are fetched whole, one after the other, and each block is verified.
pub(super) struct BlockReader<'l> {
    location: &'l Location,
    manifest: &'l Manifest,
    /// The object that was read last.
    last: Option<(u32, Vec<u8>)>,
}

impl<'l> BlockReader<'l> {
    pub(super) fn new(location: &'l Location, manifest: &'l Manifest) -> BlockReader<'l> {
        BlockReader { location, manifest, last: None }
    }

    /// Writes the contents of `file`.
    pub(super) fn copy(
        &mut self,
        file: &StoredFile,
        to: &mut dyn Write,
        task: &dyn Task,
    ) -> Result<()> {
        let failed = |source| Error::Io { path: file.name.clone().into(), source };
        let mut len = 0;
        for block in &file.blocks {
            if task.is_stopped() {
                return Err(Error::Stopped);
            }
            let plain = self.block(block, task)?;
            len += plain.len() as u64;
            to.write_all(&plain).map_err(failed)?;
        }
        match len == file.len {
            true => Ok(()),
            false => Err(self.damaged(&file.name, "its blocks don't make up its length")),
        }
    }

    /// The contents of a small file, of which no more is fetched than it takes.
    pub(super) fn read_parts(&self, file: &StoredFile) -> Result<Vec<u8>> {
        let mut contents = Vec::new();
        for block in &file.blocks {
            let key = self.key(block)?;
            let stored = self.location.get_range(&key, block.offset, block.stored_len.into())?;
            contents.extend(self.verified(&key, block, Some(&stored))?);
        }
        Ok(contents)
    }

    /// The object that a block lies in.
    fn key(&self, block: &Block) -> Result<String> {
        let name = self.manifest.objects.get(block.object as usize);
        let name = name.ok_or_else(|| {
            self.damaged(&self.manifest.key(), "it names a block without an object")
        })?;
        Ok(self.manifest.object_key(name))
    }

    fn block(&mut self, block: &Block, task: &dyn Task) -> Result<Vec<u8>> {
        let key = self.key(block)?;
        if self.last.as_ref().is_none_or(|(object, _)| *object != block.object) {
            let bytes = self.location.get(&key)?;
            task.pace(bytes.len() as u64);
            self.last = Some((block.object, bytes));
        }
        let bytes = self.last.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        let from = block.offset as usize;
        let stored = bytes.get(from..from.saturating_add(block.stored_len as usize));
        self.verified(&key, block, stored)
    }

    fn verified(&self, key: &str, block: &Block, stored: Option<&[u8]>) -> Result<Vec<u8>> {
        let plain = stored.and_then(|stored| zstd::bulk::decompress(stored, BLOCK_BYTES).ok());
        let plain = plain.filter(|plain| *blake3::hash(plain).as_bytes() == block.hash);
        plain.ok_or_else(|| {
            let error = self.damaged(key, "a block of it is not what it was");
            damaged::note(self.location, &error);
            error
        })
    }

    fn damaged(&self, key: &str, why: &str) -> Error {
        Error::damaged(self.location.name(), key, why)
    }
}
