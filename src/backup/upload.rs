//! An upload to a location, written piece by piece.

use super::directory::Growing;
use super::stream::Stream;
use super::{Error, Result};
use std::io::{self, ErrorKind};

/// An upload that is under way. Dropped before [`Upload::finish`] it is ended, and nothing of it is an object; what of it
/// can't be removed is by [`Location::remove_leftovers`](super::Location::remove_leftovers), or by the service itself.
pub struct Upload<'l> {
    sink: Sink<'l>,
    /// Why nothing more is written.
    failure: Option<Error>,
    has_failed: bool,
}

enum Sink<'l> {
    Directory(Growing<'l>),
    Remote(Stream<'l>),
}

impl<'l> Upload<'l> {
    pub(super) fn to_directory(growing: Growing<'l>) -> Upload<'l> {
        Upload { sink: Sink::Directory(growing), failure: None, has_failed: false }
    }

    pub(super) fn to_remote(stream: Stream<'l>) -> Upload<'l> {
        Upload { sink: Sink::Remote(stream), failure: None, has_failed: false }
    }

    /// Lets the object be seen, in the place of what was there. How many bytes it has, which the location was asked for.
    ///
    /// # Errors
    /// Those of [`Location`](super::Location); the first one, if writing had failed.
    pub fn finish(mut self) -> Result<u64> {
        if self.has_failed {
            return Err(self.take_failure().unwrap_or(Error::Stopped));
        }
        match self.sink {
            Sink::Directory(growing) => growing.publish(),
            Sink::Remote(stream) => stream.publish(),
        }
    }

    /// Why writing failed, where what is between said no more than that it did.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }
}

/// Each write may wait for the location, with all its retries. After one that failed all do, and [`Upload::finish`] does.
impl io::Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.has_failed {
            return Err(io::Error::other("the upload has failed before"));
        }
        let written = match &mut self.sink {
            Sink::Directory(growing) => growing.write(bytes),
            Sink::Remote(stream) => stream.write(bytes),
        };
        written.map(|()| bytes.len()).map_err(|error| {
            let told = into_io(&error);
            (self.failure, self.has_failed) = (Some(error), true);
            told
        })
    }

    /// Nothing is there before it is finished.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As those who read and write see it.
pub(super) fn into_io(error: &Error) -> io::Error {
    let kind = match error {
        Error::NotFound { .. } => ErrorKind::NotFound,
        Error::Full { .. } => ErrorKind::StorageFull,
        Error::Unreachable { .. } => ErrorKind::HostUnreachable,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
