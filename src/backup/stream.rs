//! An upload to what opendal speaks to, in pieces that fit into memory.
//!
//! Up to some MiB it is one `put`, with everything that belongs to one. Beyond that it depends on what the location is:
//! - Object stores take parts (multipart uploads, blocks), each of them as often as patience lasts. Nothing can be seen
//!   until they are told that it was all.
//! - Servers of files take a stream, which can't go on once it is broken. SFTP gets it under a name in `.partial`, that is
//!   renamed at the end; opendal does the same for FTP.
//! - WebDAV takes whole files only, as opendal speaks it: they are collected, up to a limit.

use super::failure::Failure;
use super::location::{PARTIAL, leftover_name};
use super::remote::{Attempt, Remote, made};
use super::{Error, Result};
use opendal::Buffer;
use std::mem::take;
use tokio::sync::Mutex;

/// A part, at first.
const PART_BYTES: usize = 16 << 20;
/// After so many parts they become twice as long, and three times in all: 10,000 parts, which is what there may be, are
/// some 586 GiB.
const PARTS_OF_A_LENGTH: u32 = 2500;
const DOUBLINGS_MAX: u32 = 3;
/// What is sent last is not shorter: but for the last one, services take no parts below 5 MiB, so opendal collects shorter
/// ones itself, and forgets them when sending fails.
const LAST_BYTES_MIN: usize = 8 << 20;
/// What a server of files is given at once.
const WRITE_BYTES: usize = 1 << 20;
/// What is collected for a location that takes whole objects only.
const WHOLE_BYTES_MAX: usize = 256 << 20;

/// An upload to a remote location.
pub(super) struct Stream<'r> {
    remote: &'r Remote,
    key: String,
    /// What is not sent yet.
    pending: Vec<u8>,
    sent_bytes: u64,
    parts: u32,
    /// Since the first part.
    open: Option<Open>,
}

struct Open {
    /// Attempts that follow one another have it in turn.
    writer: Mutex<opendal::Writer>,
    /// Where it grows: its own key, or a name in `.partial`.
    at: String,
}

impl<'r> Stream<'r> {
    /// Speaks to nobody yet.
    pub(super) fn new(remote: &'r Remote, key: &str) -> Stream<'r> {
        let key = key.to_owned();
        Stream { remote, key, pending: Vec::new(), sent_bytes: 0, parts: 0, open: None }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        if !self.remote.kind.streams() {
            return self.collect(bytes);
        }
        while !bytes.is_empty() {
            let part = self.part_bytes();
            let room = part + LAST_BYTES_MIN - self.pending.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == part + LAST_BYTES_MIN {
                let last = self.pending.split_off(part);
                let part = std::mem::replace(&mut self.pending, last);
                self.send(part)?;
            }
        }
        Ok(())
    }

    /// Lets the object be seen. Its length.
    pub(super) fn publish(mut self) -> Result<u64> {
        let last = take(&mut self.pending);
        let bytes = self.sent_bytes + last.len() as u64;
        if self.open.is_none() {
            self.remote.put(&self.key, last)?;
        } else {
            self.send(last)?;
            self.close()?;
        }
        self.expect(&self.key, bytes)?;
        // There is nothing any more to be ended.
        self.open = None;
        Ok(bytes)
    }

    fn part_bytes(&self) -> usize {
        PART_BYTES << (self.parts / PARTS_OF_A_LENGTH).min(DOUBLINGS_MAX)
    }

    fn collect(&mut self, bytes: &[u8]) -> Result<()> {
        if self.pending.len() + bytes.len() > WHOLE_BYTES_MAX {
            let (location, mib) = (self.remote.name.clone(), WHOLE_BYTES_MAX >> 20);
            let why = format!("over WebDAV nothing of more than {mib} MiB is sent in one piece");
            return Err(Error::Location { location, why });
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn send(&mut self, part: Vec<u8>) -> Result<()> {
        let (remote, key, len) = (self.remote, self.key.as_str(), part.len() as u64);
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(remote.persist(key, || begin(remote, key))?),
        };
        let part = Buffer::from(part);
        match remote.kind.puts_whole() {
            true => remote.persist(key, || async {
                let mut writer = open.writer.lock().await;
                remote.step(len, writer.write(part.clone())).await
            })?,
            false => remote.once(key, async { made(pour(remote, open, &part).await) })?,
        }
        (self.sent_bytes, self.parts) = (self.sent_bytes + len, self.parts + 1);
        Ok(())
    }

    /// Says that it was all, and puts it in its place.
    fn close(&self) -> Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let (remote, key) = (self.remote, self.key.as_str());
        let close = || async {
            let mut writer = open.writer.lock().await;
            // What was written last is sent only now.
            remote.step(self.part_bytes() as u64, writer.close()).await.map(drop)
        };
        if remote.kind.puts_whole() {
            return remote.persist(key, || async { not_lost(close().await) });
        }
        remote.once(key, async { made(close().await) })?;
        if open.at != key {
            self.expect(&open.at, self.sent_bytes)?;
            remote.once(key, remote.rename(&open.at, key))?;
        }
        Ok(())
    }

    /// What arrived is told by nobody but the location.
    fn expect(&self, at: &str, bytes: u64) -> Result<()> {
        match self.remote.stat(at)?.unwrap_or(0) {
            there if there == bytes => Ok(()),
            there => {
                let why = format!("of {bytes} bytes that were sent, {there} arrived");
                Err(Error::Unreachable { location: self.remote.name.clone(), why })
            }
        }
    }
}

/// An attempt to end it that follows one whose answer was lost finds no upload any more.
fn not_lost(outcome: Attempt<()>) -> Attempt<()> {
    match outcome {
        Err(Failure::NotFound) => {
            Err(Failure::Other("it took the upload and didn't say so, or lost it".to_owned()))
        }
        outcome => outcome,
    }
}

async fn begin(remote: &Remote, key: &str) -> Attempt<Open> {
    let at = if remote.kind.renames() {
        let name = leftover_name().map_err(|error| Failure::Other(error.to_string()))?;
        format!("{PARTIAL}/{name}")
    } else {
        key.to_owned()
    };
    let writer = remote.step(0, remote.operator.writer(&at)).await?;
    Ok(Open { writer: Mutex::new(writer), at })
}

/// Sends a part down a stream.
async fn pour(remote: &Remote, open: &Open, part: &Buffer) -> Attempt<()> {
    let mut writer = open.writer.lock().await;
    let mut from = 0;
    while from < part.len() {
        let to = part.len().min(from + WRITE_BYTES);
        remote.step((to - from) as u64, writer.write(part.slice(from..to))).await?;
        from = to;
    }
    Ok(())
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (remote, is_aside) = (self.remote, open.at != self.key);
        remote.tidy(async {
            let mut writer = open.writer.into_inner();
            // Where there are parts, they would stay and cost. Streams are ended by dropping them.
            let _ = writer.abort().await;
            drop(writer);
            if is_aside {
                let _ = remote.operator.delete(&open.at).await;
            }
        });
    }
}
