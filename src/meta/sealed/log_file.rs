//! The log's file: a header, then frames, each sealed by itself.
//!
//! What SQLite does with it is in its `wal.c`. It *appends* a frame by two writes, header and page (`walWriteOneFrame`); they
//! become one. It *writes a page over* if a transaction changes it twice after it had to be moved out of memory (`walFrames`),
//! and then *goes through the checksums* (`walRewriteChecksums`): it reads that of the frame before, and from there on reads
//! each frame and writes its header. It *reads* pages alone, and at *recovery* the log's header and whole frames, up to
//! the first one that isn't valid.

use super::cipher::{Cipher, FRAME_HEADER_LEN, FRAME_LEN, Frame, PAGE_LEN};
use super::{DAMAGED, Io, Raw, SHORT, UNKNOWN_READ, UNKNOWN_WRITE};

/// Bytes before the first frame.
pub(super) const LOG_HEADER_LEN: usize = 32;
/// Where the checksum is in a frame's header.
const CHECKSUM_AT: usize = 16;
const CHECKSUM_LEN: usize = 8;
/// The version of the log that SQLite writes.
const PLAIN_VERSION: u32 = 3_007_000;
/// What is written instead. SQLite by itself can't read the frames, would take the log for an empty one, and remove it; a
/// version that it doesn't know it refuses.
const SEALED_VERSION: u32 = u32::from_be_bytes(*b"VSL1");

type LogHeader = [u8; LOG_HEADER_LEN];

/// One of a connection's two files.
pub(super) struct LogFile {
    /// Where one frame is put together or taken apart.
    frame: Box<Frame>,
    /// The whole frame that was read last, while `frame` holds it.
    shown: Option<u32>,
    /// A header whose page comes next.
    pending: Option<(u32, [u8; FRAME_HEADER_LEN])>,
    /// SQLite goes through the checksums.
    rewriting: bool,
}

/// A piece of the file that SQLite reads or writes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Header,
    Frame(u32),
    FrameHeader(u32),
    Checksum(u32),
    Page(u32),
}

impl Piece {
    fn at(offset: u64, len: usize) -> Option<Piece> {
        let Some(after) = offset.checked_sub(LOG_HEADER_LEN as u64) else {
            return (offset as usize + len <= LOG_HEADER_LEN).then_some(Piece::Header);
        };
        let number = u32::try_from(after / FRAME_LEN as u64 + 1).ok()?;
        match ((after % FRAME_LEN as u64) as usize, len) {
            (0, FRAME_LEN) => Some(Piece::Frame(number)),
            (0, FRAME_HEADER_LEN) => Some(Piece::FrameHeader(number)),
            (CHECKSUM_AT, CHECKSUM_LEN) => Some(Piece::Checksum(number)),
            (FRAME_HEADER_LEN, PAGE_LEN) => Some(Piece::Page(number)),
            _ => None,
        }
    }
}

/// Where a frame begins.
pub(super) fn frame_offset(number: u32) -> u64 {
    LOG_HEADER_LEN as u64 + (u64::from(number) - 1) * FRAME_LEN as u64
}

impl LogFile {
    pub(super) fn new() -> LogFile {
        LogFile { frame: Box::new([0; FRAME_LEN]), shown: None, pending: None, rewriting: false }
    }

    /// Reads a piece.
    pub(super) fn read(
        &mut self,
        cipher: &Cipher,
        raw: &impl Raw,
        out: &mut [u8],
        offset: u64,
    ) -> Io {
        match Piece::at(offset, out.len()).ok_or(UNKNOWN_READ)? {
            Piece::Header => self.read_header(raw, out, offset as usize),
            Piece::Frame(number) => self.read_frame(cipher, raw, out, number),
            Piece::FrameHeader(_) => Err(UNKNOWN_READ),
            Piece::Checksum(number) => {
                self.rewriting = true;
                self.load(cipher, raw, number)?;
                out.copy_from_slice(&self.frame[CHECKSUM_AT..][..CHECKSUM_LEN]);
                Ok(())
            }
            Piece::Page(number) => {
                self.load(cipher, raw, number)?;
                out.copy_from_slice(&self.frame[FRAME_HEADER_LEN..]);
                Ok(())
            }
        }
    }

    fn read_header(&mut self, raw: &impl Raw, out: &mut [u8], at: usize) -> Io {
        let mut header = [0; LOG_HEADER_LEN];
        raw.read(&mut header, 0)?;
        if !change_version(&mut header, SEALED_VERSION, PLAIN_VERSION) {
            // No header of ours: to SQLite, a log that holds nothing.
            header.fill(0);
        }
        self.rewriting = out.len() < LOG_HEADER_LEN;
        out.copy_from_slice(&header[at..at + out.len()]);
        Ok(())
    }

    /// A whole frame. At recovery the log ends where a frame is not valid: one that doesn't open reads as zeros, which SQLite
    /// takes for none.
    fn read_frame(&mut self, cipher: &Cipher, raw: &impl Raw, out: &mut [u8], number: u32) -> Io {
        match self.load(cipher, raw, number) {
            Ok(()) => {
                out.copy_from_slice(&self.frame[..]);
                self.shown = Some(number);
            }
            Err(DAMAGED) if !self.rewriting => out.fill(0),
            Err(code) => return Err(code),
        }
        Ok(())
    }

    /// Reads and opens a frame into `self.frame`.
    fn load(&mut self, cipher: &Cipher, raw: &impl Raw, number: u32) -> Io {
        self.shown = None;
        match raw.read(&mut self.frame[..], frame_offset(number)) {
            Ok(()) | Err(SHORT) => {}
            Err(code) => return Err(code),
        }
        cipher.open_frame(number, &mut self.frame).map_err(|why| {
            log::warn!("frame {number} of the metadata's log does not open: {why}");
            DAMAGED
        })
    }

    /// Writes a piece.
    pub(super) fn write(
        &mut self,
        cipher: &Cipher,
        raw: &impl Raw,
        bytes: &[u8],
        offset: u64,
    ) -> Io {
        match Piece::at(offset, bytes.len()).ok_or(UNKNOWN_WRITE)? {
            Piece::Header => write_header(raw, bytes),
            Piece::FrameHeader(number) => self.write_frame_header(cipher, raw, bytes, number),
            Piece::Page(number) => self.write_page(cipher, raw, bytes, number),
            Piece::Frame(_) | Piece::Checksum(_) => Err(UNKNOWN_WRITE),
        }
    }

    /// A header after which the page comes, or, going through the checksums, that of the frame which was just read.
    fn write_frame_header(
        &mut self,
        cipher: &Cipher,
        raw: &impl Raw,
        bytes: &[u8],
        number: u32,
    ) -> Io {
        if self.shown.take() == Some(number) {
            self.frame[..FRAME_HEADER_LEN].copy_from_slice(bytes);
            return self.put(cipher, raw, number);
        }
        let mut header = [0; FRAME_HEADER_LEN];
        header.copy_from_slice(bytes);
        self.pending = Some((number, header));
        Ok(())
    }

    /// The page that belongs to the header before it, or one that is written over: its header stays until SQLite goes
    /// through the checksums.
    fn write_page(&mut self, cipher: &Cipher, raw: &impl Raw, bytes: &[u8], number: u32) -> Io {
        self.rewriting = false;
        match self.pending.take() {
            Some((pending, header)) if pending == number => {
                self.frame[..FRAME_HEADER_LEN].copy_from_slice(&header);
            }
            _ => self.load(cipher, raw, number)?,
        }
        self.frame[FRAME_HEADER_LEN..].copy_from_slice(bytes);
        self.put(cipher, raw, number)
    }

    fn put(&mut self, cipher: &Cipher, raw: &impl Raw, number: u32) -> Io {
        self.shown = None;
        cipher.seal_frame(number, &mut self.frame).map_err(|why| {
            log::error!("frame {number} of the metadata's log can't be sealed: {why}");
            UNKNOWN_WRITE
        })?;
        raw.write(&self.frame[..], frame_offset(number))
    }
}

fn write_header(raw: &impl Raw, bytes: &[u8]) -> Io {
    let mut header: LogHeader = bytes.try_into().map_err(|_| UNKNOWN_WRITE)?;
    match change_version(&mut header, PLAIN_VERSION, SEALED_VERSION) {
        true => raw.write(&header, 0),
        false => Err(UNKNOWN_WRITE),
    }
}

/// Changes the version in a valid header, and its checksum with it. Answers whether it was valid and had the version `from`.
fn change_version(header: &mut LogHeader, from: u32, to: u32) -> bool {
    if header[24..] != header_checksum(header) || header[4..8] != from.to_be_bytes() {
        return false;
    }
    header[4..8].copy_from_slice(&to.to_be_bytes());
    let checksum = header_checksum(header);
    header[24..].copy_from_slice(&checksum);
    true
}

/// SQLite's checksum over the first 24 bytes (its file format, section 4.2); the lowest bit of the magic says in which order
/// the bytes of a word count.
fn header_checksum(header: &LogHeader) -> [u8; CHECKSUM_LEN] {
    let word = |at: usize| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        match header[3] & 1 {
            0 => u32::from_le_bytes(bytes),
            _ => u32::from_be_bytes(bytes),
        }
    };
    let (mut s0, mut s1) = (0u32, 0u32);
    for at in (0..24).step_by(8) {
        s0 = s0.wrapping_add(word(at)).wrapping_add(s1);
        s1 = s1.wrapping_add(word(at + 4)).wrapping_add(s0);
    }
    let mut checksum = [0; CHECKSUM_LEN];
    checksum[..4].copy_from_slice(&s0.to_be_bytes());
    checksum[4..].copy_from_slice(&s1.to_be_bytes());
    checksum
}
