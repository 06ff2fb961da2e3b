//! Whether a key fits, before SQLite sees the files: to it, a log of which nothing opens is an empty one, which it removes.

use super::cipher::{Cipher, Closed, FRAME_LEN, PAGE_LEN, PageKeys};
use super::database_file::page_offset;
use super::log_file::frame_offset;
use crate::meta::{Error, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where else to look if the first page doesn't open: the pages after it, and as many frames of the log.
const PROBES_MAX: u32 = 64;

/// Makes sure that something in the database opens with these keys.
///
/// # Errors
/// `Damaged`, which says what is wrong, as far as that can be told.
pub(in crate::meta) fn verify_key(path: &Path, log: &Path, keys: &PageKeys) -> Result<()> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let cipher = Cipher::new(keys).map_err(failed)?;
    let database = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Damaged("it holds no tables".into()));
        }
        other => other.map_err(failed)?,
    };
    let closed = match look_at_page(&cipher, &database, 1).map_err(failed)? {
        Look::Opens => return Ok(()),
        Look::Nothing => return Err(Error::Damaged("it holds no tables".into())),
        Look::Plain => return Err(Error::Damaged("it is not encrypted".into())),
        Look::Closed(why) => why,
    };
    let log = match File::open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        other => Some(other.map_err(failed)?),
    };
    for number in 1..=PROBES_MAX {
        let opens =
            matches!(look_at_page(&cipher, &database, number + 1).map_err(failed)?, Look::Opens);
        if opens || frame_opens(&cipher, log.as_ref(), number).map_err(failed)? {
            // The key is right. A first page that a crash has torn may be whole in the log.
            return Ok(());
        }
    }
    Err(Error::Damaged(match closed {
        Closed::NoKey(epoch) => {
            format!("the key it was encrypted with (number {epoch}) is not there")
        }
        Closed::Forged => {
            "it can't be decrypted: the key is that of another store, or the file is damaged".into()
        }
    }))
}

/// What there is in the place of a page.
enum Look {
    Opens,
    Nothing,
    Plain,
    Closed(Closed),
}

fn look_at_page(cipher: &Cipher, database: &File, number: u32) -> io::Result<Look> {
    let mut page = [0; PAGE_LEN];
    if !read_whole(database, &mut page, page_offset(number))? {
        return Ok(match page.iter().all(|&byte| byte == 0) {
            true => Look::Nothing,
            false => Look::Closed(Closed::Forged),
        });
    }
    if page.starts_with(b"SQLite format 3\0") {
        return Ok(Look::Plain);
    }
    Ok(cipher.open_page(number, &mut page).map_or_else(Look::Closed, |()| Look::Opens))
}

fn frame_opens(cipher: &Cipher, log: Option<&File>, number: u32) -> io::Result<bool> {
    let mut frame = [0; FRAME_LEN];
    let Some(log) = log else { return Ok(false) };
    Ok(read_whole(log, &mut frame, frame_offset(number))?
        && cipher.open_frame(number, &mut frame).is_ok())
}

/// Answers whether the file has as much there.
fn read_whole(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => return Ok(false),
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
