//! The database's file: page after page, each sealed by itself.

use super::cipher::{Cipher, PAGE_LEN, Page, RESERVE_LEN};
use super::{DAMAGED, Io, Raw, SHORT, UNKNOWN_READ, UNKNOWN_WRITE};

/// What SQLite reads of the first page before it knows anything.
const HEADER_LEN: usize = 100;

/// One of a connection's two files.
pub(super) struct DatabaseFile {
    page: Box<Page>,
}

impl DatabaseFile {
    pub(super) fn new() -> DatabaseFile {
        DatabaseFile { page: Box::new([0; PAGE_LEN]) }
    }

    /// Reads within one page. [`SHORT`], and zeros, beyond the end of the file.
    pub(super) fn read(
        &mut self,
        cipher: &Cipher,
        raw: &impl Raw,
        out: &mut [u8],
        offset: u64,
    ) -> Io {
        let (number, at) =
            place(offset).filter(|(_, at)| at + out.len() <= PAGE_LEN).ok_or(UNKNOWN_READ)?;
        match self.load(cipher, raw, number) {
            Ok(()) => out.copy_from_slice(&self.page[at..at + out.len()]),
            // A crash while the log is copied back may tear the first page, and the log has it whole: SQLite gets to that
            // only if it learns the size of pages.
            Err(DAMAGED) if offset == 0 && out.len() == HEADER_LEN => {
                out.copy_from_slice(&first_bytes());
            }
            Err(code) => {
                out.fill(0);
                return Err(code);
            }
        }
        Ok(())
    }

    fn load(&mut self, cipher: &Cipher, raw: &impl Raw, number: u32) -> Io {
        match raw.read(&mut self.page[..], page_offset(number)) {
            Err(SHORT) if self.page.iter().all(|&byte| byte == 0) => return Err(SHORT),
            Ok(()) | Err(SHORT) => {}
            Err(code) => return Err(code),
        }
        cipher.open_page(number, &mut self.page).map_err(|why| {
            log::error!("page {number} of the metadata does not open: {why}");
            DAMAGED
        })
    }

    /// Writes one whole page.
    pub(super) fn write(
        &mut self,
        cipher: &Cipher,
        raw: &impl Raw,
        bytes: &[u8],
        offset: u64,
    ) -> Io {
        let (number, at) = place(offset).ok_or(UNKNOWN_WRITE)?;
        if at != 0 || bytes.len() != PAGE_LEN {
            return Err(UNKNOWN_WRITE);
        }
        self.page.copy_from_slice(bytes);
        cipher.seal_page(number, &mut self.page).map_err(|why| {
            log::error!("page {number} of the metadata can't be sealed: {why}");
            UNKNOWN_WRITE
        })?;
        raw.write(&self.page[..], offset)
    }
}

/// Which page an offset is in, and where in it.
fn place(offset: u64) -> Option<(u32, usize)> {
    let number = u32::try_from(offset / PAGE_LEN as u64 + 1).ok()?;
    Some((number, (offset % PAGE_LEN as u64) as usize))
}

/// Where a page begins.
pub(super) fn page_offset(number: u32) -> u64 {
    (u64::from(number) - 1) * PAGE_LEN as u64
}

/// SQLite's header (its file format, section 1.3) as far as it is the same for all of our databases.
fn first_bytes() -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..16].copy_from_slice(b"SQLite format 3\0");
    bytes[16..18].copy_from_slice(&(PAGE_LEN as u16).to_be_bytes());
    // In WAL mode for who writes and who reads; what is left to us; and what must be 64, 32 and 32.
    bytes[18..24].copy_from_slice(&[2, 2, RESERVE_LEN as u8, 64, 32, 32]);
    bytes
}
