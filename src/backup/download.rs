//! An object of a location, read from its beginning to its end.

use super::location::Location;
use super::upload::into_io;
use std::io::{self, Read};

/// What is asked for at once.
const RANGE_BYTES: u64 = 8 << 20;

/// An object that is being read, in pieces that fit into memory; each of them is asked for as often as patience lasts.
pub struct Download<'l> {
    location: &'l Location,
    key: String,
    len: u64,
    /// How much of it was fetched.
    fetched: u64,
    piece: Vec<u8>,
    /// How much of the piece was read.
    read: usize,
}

impl<'l> Download<'l> {
    pub(super) fn new(location: &'l Location, key: &str, len: u64) -> Download<'l> {
        Download { location, key: key.to_owned(), len, fetched: 0, piece: Vec::new(), read: 0 }
    }
}

impl Read for Download<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.read == self.piece.len() && self.fetched < self.len {
            let len = RANGE_BYTES.min(self.len - self.fetched);
            let piece = self.location.get_range(&self.key, self.fetched, len);
            (self.piece, self.read) = (piece.map_err(|error| into_io(&error))?, 0);
            self.fetched += len;
        }
        let len = into.len().min(self.piece.len() - self.read);
        into[..len].copy_from_slice(&self.piece[self.read..][..len]);
        self.read += len;
        Ok(len)
    }
}
