//! The log's file: a header, then frames, each sealed by itself.
//!
//! What SQLite does with it is in its `wal.c`. It *appends* a frame by two writes, header and page (`walWriteOneFrame`); they
//! become one. It *writes a page over* if a transaction changes it twice after it had to be moved out of memory (`walFrames`),
//! and then *goes through the checksums* (`walRewriteChecksums`): it reads that of the frame before, and from there on reads
//! each frame and writes its header. It *reads* pages alone, and at *recovery* the log's header and whole frames, up to
//! the first one that isn't valid.
//!
//! Frames that are appended go to the disk together, with the commit: each write of its own costs as much as sealing two of
//! them. Nobody else looks at frames of a transaction that is not committed; it ends when SQLite gives back its lock for
//! writing ([`LogFile::end_transaction`]).

use super::cipher::{Cipher, FRAME_HEADER_LEN, FRAME_LEN, Frame, PAGE_LEN};
use super::{DAMAGED, Io, Raw, SHORT, UNKNOWN_READ, UNKNOWN_WRITE};

/// Bytes before the first frame.
pub(super) const LOG_HEADER_LEN: usize = 32;
/// Where a frame's header has the size of the database, which is not 0 in the last frame of a commit.
const DATABASE_LEN_AT: usize = 4;
/// Where the checksum is in a frame's header.
const CHECKSUM_AT: usize = 16;
const CHECKSUM_LEN: usize = 8;
/// The version of the log that SQLite writes.
const PLAIN_VERSION: u32 = 3_007_000;
/// What is written instead. SQLite by itself can't read the frames, would take the log for an empty one, and remove it; a
/// version that it doesn't know it refuses.
const SEALED_VERSION: u32 = u32::from_be_bytes(*b"VSL1");

/// Bytes of appended frames that wait for the commit; more are written before. SQLite's VFS takes less than 128 KiB at once
/// (`seekAndWriteFd`).
const GATHERED_BYTES_MAX: usize = 31 * FRAME_LEN;

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
    gathered: Gathered,
}

/// Sealed frames that follow each other, and are to be written.
#[derive(Default)]
struct Gathered {
    first: u32,
    bytes: Vec<u8>,
}

impl Gathered {
    /// Adds a frame. If SQLite went back to an earlier one, what comes after that is void.
    fn push(&mut self, number: u32, frame: &Frame) -> Io {
        if number < self.first {
            self.bytes.clear();
        }
        if self.bytes.is_empty() {
            self.first = number;
        }
        let at = (number - self.first) as usize * FRAME_LEN;
        if at > self.bytes.len() {
            return Err(UNKNOWN_WRITE);
        }
        self.bytes.truncate(at);
        self.bytes.extend_from_slice(frame);
        Ok(())
    }
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
        LogFile {
            frame: Box::new([0; FRAME_LEN]),
            shown: None,
            pending: None,
            rewriting: false,
            gathered: Gathered::default(),
        }
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
        self.flush(raw)?;
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
            Piece::Header => {
                // The log begins anew; what waits was never committed.
                self.end_transaction();
                write_header(raw, bytes)
            }
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
                self.frame[FRAME_HEADER_LEN..].copy_from_slice(bytes);
                self.append(cipher, raw, number)
            }
            _ => {
                self.load(cipher, raw, number)?;
                self.frame[FRAME_HEADER_LEN..].copy_from_slice(bytes);
                self.put(cipher, raw, number)
            }
        }
    }

    /// A new frame, from `self.frame`.
    fn append(&mut self, cipher: &Cipher, raw: &impl Raw, number: u32) -> Io {
        let commits = self.frame[DATABASE_LEN_AT..][..4] != [0; 4];
        self.seal(cipher, number)?;
        self.gathered.push(number, &self.frame)?;
        if !commits && self.gathered.bytes.len() < GATHERED_BYTES_MAX {
            return Ok(());
        }
        let written = self.flush(raw);
        if written.is_err() && commits {
            // SQLite takes the transaction back: its commit must not come to the disk later.
            let before = self.gathered.bytes.len() - FRAME_LEN;
            self.gathered.bytes.truncate(before);
        }
        written
    }

    /// Writes a frame that is there already, from `self.frame`.
    fn put(&mut self, cipher: &Cipher, raw: &impl Raw, number: u32) -> Io {
        self.seal(cipher, number)?;
        raw.write(&self.frame[..], frame_offset(number))
    }

    fn seal(&mut self, cipher: &Cipher, number: u32) -> Io {
        self.shown = None;
        cipher.seal_frame(number, &mut self.frame).map_err(|why| {
            log::error!("frame {number} of the metadata's log can't be sealed: {why}");
            UNKNOWN_WRITE
        })
    }

    /// Writes what waits for the commit. After an error it still waits: SQLite may take back a statement only.
    pub(super) fn flush(&mut self, raw: &impl Raw) -> Io {
        let mut at = frame_offset(self.gathered.first.max(1));
        for frames in self.gathered.bytes.chunks(GATHERED_BYTES_MAX) {
            raw.write(frames, at)?;
            at += frames.len() as u64;
        }
        self.gathered.bytes.clear();
        Ok(())
    }

    /// Forgets what waits for a commit that didn't come.
    pub(super) fn end_transaction(&mut self) {
        self.gathered.bytes.clear();
        self.pending = None;
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

#[cfg(test)]
mod tests {
    use super::super::Code;
    use super::super::cipher::tests::cipher_of;
    use super::*;
    use std::cell::{Cell, RefCell};

    #[derive(Default)]
    struct Disk {
        bytes: RefCell<Vec<u8>>,
        writes: Cell<u32>,
        is_full: Cell<bool>,
    }

    const FULL: Code = Code(rusqlite::ffi::SQLITE_FULL);

    impl Raw for Disk {
        fn read(&self, bytes: &mut [u8], offset: u64) -> Io {
            let disk = self.bytes.borrow();
            let there = disk.get(offset as usize..).unwrap_or(&[]);
            let len = there.len().min(bytes.len());
            bytes.fill(0);
            bytes[..len].copy_from_slice(&there[..len]);
            if len < bytes.len() { Err(SHORT) } else { Ok(()) }
        }

        fn write(&self, bytes: &[u8], offset: u64) -> Io {
            assert!(bytes.len() < 0x1ffff, "SQLite's VFS doesn't take that much");
            if self.is_full.get() {
                return Err(FULL);
            }
            let (mut disk, at) = (self.bytes.borrow_mut(), offset as usize);
            let len = disk.len().max(at + bytes.len());
            disk.resize(len, 0);
            disk[at..at + bytes.len()].copy_from_slice(bytes);
            self.writes.set(self.writes.get() + 1);
            Ok(())
        }
    }

    struct Log {
        disk: Disk,
        file: LogFile,
        cipher: Cipher,
    }

    impl Log {
        fn new() -> Log {
            Log { disk: Disk::default(), file: LogFile::new(), cipher: cipher_of(&[7]) }
        }

        fn write(&mut self, bytes: &[u8], offset: u64) -> Io {
            self.file.write(&self.cipher, &self.disk, bytes, offset)
        }

        /// As SQLite appends a frame of page 9 that is full of `byte`.
        fn append(&mut self, number: u32, commits: bool, byte: u8) -> Io {
            self.write(&header(commits, byte), frame_offset(number))?;
            self.write(&page(byte), frame_offset(number) + FRAME_HEADER_LEN as u64)
        }

        /// What another connection, or a later start, finds there.
        fn found(&self, number: u32) -> Option<Vec<u8>> {
            let mut frame = [1; FRAME_LEN];
            let read =
                LogFile::new().read(&self.cipher, &self.disk, &mut frame, frame_offset(number));
            (read == Ok(()) && frame[3] == 9).then(|| frame.to_vec())
        }
    }

    fn header(commits: bool, byte: u8) -> [u8; FRAME_HEADER_LEN] {
        let mut header = [byte; FRAME_HEADER_LEN];
        header[..8].copy_from_slice(&[0, 0, 0, 9, 0, 0, 0, commits.into()]);
        header
    }

    fn page(byte: u8) -> [u8; PAGE_LEN] {
        let mut page = [byte; PAGE_LEN];
        page[PAGE_LEN - super::super::cipher::RESERVE_LEN..].fill(0);
        page
    }

    fn frame(commits: bool, byte: u8) -> Option<Vec<u8>> {
        Some([&header(commits, byte)[..], &page(byte)].concat())
    }

    #[test]
    fn frames_come_to_the_disk_together_with_the_commit() {
        let mut log = Log::new();
        log.append(1, false, 1).unwrap();
        log.append(2, false, 2).unwrap();
        assert_eq!((log.disk.writes.get(), log.found(1)), (0, None));
        log.append(3, true, 3).unwrap();
        assert_eq!(log.disk.writes.get(), 1);
        assert_eq!(
            (1..=3).map(|n| log.found(n)).collect::<Vec<_>>(),
            [frame(false, 1), frame(false, 2), frame(true, 3)]
        );
        for number in 4..=200 {
            log.append(number, false, number as u8).unwrap();
        }
        assert!(log.found(4 + 30).is_some() && log.found(200).is_none());
    }

    #[test]
    fn a_frame_that_waits_can_be_read_and_written_over() {
        let mut log = Log::new();
        log.append(1, false, 1).unwrap();
        log.append(2, false, 2).unwrap();
        let mut seen = [0; PAGE_LEN];
        let at = frame_offset(2) + FRAME_HEADER_LEN as u64;
        log.file.read(&log.cipher, &log.disk, &mut seen, at).unwrap();
        assert_eq!(seen, page(2));
        log.append(3, false, 3).unwrap();
        log.write(&page(7), at).unwrap();
        log.append(4, true, 4).unwrap();
        // Going through the checksums.
        let mut checksum = [0; 8];
        log.file.read(&log.cipher, &log.disk, &mut checksum, frame_offset(1) + 16).unwrap();
        assert_eq!(checksum, [1; 8]);
        let mut whole = [0; FRAME_LEN];
        log.file.read(&log.cipher, &log.disk, &mut whole, frame_offset(2)).unwrap();
        assert_eq!((&whole[..24], &whole[24..]), (&header(false, 2)[..], &page(7)[..]));
        log.write(&header(false, 7), frame_offset(2)).unwrap();
        assert_eq!((log.found(2), log.found(3)), (frame(false, 7), frame(false, 3)));
    }

    #[test]
    fn what_sqlite_went_back_from_is_void() {
        let mut log = Log::new();
        (1..=4).for_each(|n| log.append(n, false, n as u8).unwrap());
        log.append(3, true, 8).unwrap();
        assert_eq!(
            (log.found(2), log.found(3), log.found(4)),
            (frame(false, 2), frame(true, 8), None)
        );
        log.append(4, false, 4).unwrap();
        log.file.end_transaction();
        log.file.flush(&log.disk).unwrap();
        assert_eq!(log.found(4), None);
    }

    #[test]
    fn a_commit_that_failed_never_comes_to_the_disk() {
        let mut log = Log::new();
        log.append(1, false, 1).unwrap();
        log.disk.is_full.set(true);
        assert_eq!(log.append(2, true, 2), Err(FULL));
        log.disk.is_full.set(false);
        // What SQLite moved out of memory before may still be needed.
        log.file.flush(&log.disk).unwrap();
        assert_eq!((log.found(1), log.found(2)), (frame(false, 1), None));
        log.append(2, true, 5).unwrap();
        assert_eq!(log.found(2), frame(true, 5));
    }

    #[test]
    fn the_header_is_one_that_sqlite_refuses() {
        let mut log = Log::new();
        let mut header = [0; LOG_HEADER_LEN];
        header[..12].copy_from_slice(&[0x37, 0x7f, 6, 0x82, 0, 0x2d, 0xe2, 0x18, 0, 0, 16, 0]);
        header[16..24].fill(5);
        let checksum = header_checksum(&header);
        header[24..].copy_from_slice(&checksum);
        log.write(&header, 0).unwrap();
        let mut seen = [0; LOG_HEADER_LEN];
        log.file.read(&log.cipher, &log.disk, &mut seen, 0).unwrap();
        assert_eq!(seen, header);
        let on_disk: LogHeader = log.disk.bytes.borrow()[..].try_into().unwrap();
        assert_eq!(&on_disk[4..8], b"VSL1");
        assert_eq!(on_disk[24..], header_checksum(&on_disk));
        log.disk.bytes.borrow_mut()[17] ^= 1;
        log.file.read(&log.cipher, &log.disk, &mut seen, 0).unwrap();
        assert_eq!(seen, [0; LOG_HEADER_LEN]);
    }
}
