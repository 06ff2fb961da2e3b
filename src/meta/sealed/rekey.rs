//! Sealing a database at rest with the newest key.

use super::cipher::{Cipher, PAGE_LEN, Page, PageKeys, epoch_at_end};
use crate::meta::{Error, Result};
use crate::sys::{self, failpoint};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// The page that SQLite never uses (its file format, section 1.5): its locks lie there.
const LOCK_PAGE: u32 = (0x4000_0000 / PAGE_LEN + 1) as u32;
/// What is read or written at once.
const BUFFER_LEN: usize = 1 << 20;

/// Seals every page of a database that nobody has open with the newest key. After a crash at any instant the database is
/// there as it was, or as it is to be; in between it is twice on the disk. A crash may leave `meta.db.rekey`, which the next
/// time overwrites.
///
/// # Errors
/// `Damaged` if there is a log (it was not closed in order), or a page doesn't open; then nothing is changed.
pub fn rekey(path: &Path, keys: &PageKeys) -> Result<()> {
    refuse_log(path)?;
    let cipher = Cipher::new(keys).map_err(failed(path))?;
    let copy = beside(path, ".rekey");
    if let Err(error) = copy_sealed(&cipher, path, &copy) {
        // Best effort: the error that is reported is the first one.
        let _ = fs::remove_file(&copy);
        return Err(error);
    }
    failpoint::hit("rekey-before-rename");
    fs::rename(&copy, path).map_err(failed(path))?;
    failpoint::hit("rekey-after-rename");
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sys::sync_dir(directory.unwrap_or(Path::new("."))).map_err(failed(path))
}

/// The oldest key that a database needs, by what its pages say (they are not opened). Reads all of the file.
///
/// # Errors
/// There is a log, or the file can't be read.
pub fn oldest_epoch(path: &Path) -> Result<u32> {
    refuse_log(path)?;
    let mut oldest = u32::MAX;
    each_page(path, &mut |number, page| {
        if number != LOCK_PAGE {
            oldest = oldest.min(epoch_at_end(page));
        }
        Ok(())
    })?;
    Ok(oldest)
}

fn copy_sealed(cipher: &Cipher, path: &Path, copy: &Path) -> Result<()> {
    let file = File::create(copy).map_err(failed(copy))?;
    let permissions = fs::metadata(path).map_err(failed(path))?.permissions();
    file.set_permissions(permissions).map_err(failed(copy))?;
    let mut out = BufWriter::with_capacity(BUFFER_LEN, file);
    each_page(path, &mut |number, page| {
        if number != LOCK_PAGE {
            cipher.open_page(number, page).map_err(damaged(number))?;
            let sealed = cipher.seal_page(number, page);
            sealed.map_err(|why| Error::Damaged(format!("page {number}: {why}")))?;
        }
        out.write_all(page).map_err(failed(copy))
    })?;
    let file = out.into_inner().map_err(|error| failed(copy)(error.into_error()))?;
    file.sync_all().map_err(failed(copy))
}

/// All pages in order.
fn each_page(path: &Path, each: &mut dyn FnMut(u32, &mut Page) -> Result<()>) -> Result<()> {
    let file = File::open(path).map_err(failed(path))?;
    let len = file.metadata().map_err(failed(path))?.len();
    let pages = u32::try_from(len / PAGE_LEN as u64).ok().filter(|_| len % PAGE_LEN as u64 == 0);
    let pages = pages.ok_or_else(|| Error::Damaged("its last page is not whole".into()))?;
    let mut file = BufReader::with_capacity(BUFFER_LEN, file);
    let mut page = [0; PAGE_LEN];
    for number in 1..=pages {
        file.read_exact(&mut page).map_err(failed(path))?;
        each(number, &mut page)?;
    }
    Ok(())
}

/// The log holds pages as well.
fn refuse_log(path: &Path) -> Result<()> {
    let log = beside(path, "-wal");
    match fs::metadata(&log) {
        Ok(found) if found.len() > 0 => Err(Error::Damaged("its log is not empty".into())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&log)(error)),
        _ => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |source| match sys::is_no_space(&source) {
        true => Error::NoSpace,
        false => Error::Io { path: path.to_owned(), source },
    }
}

fn damaged(number: u32) -> impl Fn(super::cipher::Closed) -> Error {
    move |why| Error::Damaged(format!("page {number} does not open: {why}"))
}
