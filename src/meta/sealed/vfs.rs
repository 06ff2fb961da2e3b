//! SQLite's view of the sealed files. All `unsafe` code of this room is here: SQLite asks for tables of C functions.
//!
//! It delegates to the system's VFS as SQLite's own `cksumvfs.c` does: behind each file of ours lies one of that VFS, in the
//! same piece of memory, which SQLite allocates.

#![allow(unsafe_code)]

use super::cipher::{Cipher, PageKeys, RESERVE_LEN};
use super::database_file::DatabaseFile;
use super::index::{self, Membership, REGION_LEN};
use super::log_file::LogFile;
use super::{Code, Io, Raw};
use crate::meta::{Error, Result};
use parking_lot::Mutex;
use rusqlite::{Connection, ffi};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// A VFS that is registered under a name of its own, with the keys of one store. Outlives every connection that was opened with it.
#[derive(Debug)]
pub(in crate::meta) struct Vfs {
    shim: ptr::NonNull<Shim>,
}

// SAFETY: a shim is only read after it was registered, but for an atomic counter; its VFS below is SQLite's own, for all threads.
unsafe impl Send for Vfs {}
// SAFETY: as above.
unsafe impl Sync for Vfs {}

/// What SQLite's pointers lead to.
struct Shim {
    vfs: ffi::sqlite3_vfs,
    /// The system's VFS.
    base: *mut ffi::sqlite3_vfs,
    name: CString,
    cipher: Cipher,
    /// Files that are open.
    open: AtomicUsize,
}

impl Vfs {
    /// Registers a VFS with these keys.
    ///
    /// # Errors
    /// There is no memory, or there are no keys.
    pub(in crate::meta) fn register(keys: &PageKeys) -> Result<Vfs> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let cipher =
            Cipher::new(keys).map_err(|error| Error::Damaged(format!("the keys: {error}")))?;
        let name = format!("verso-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(name).expect("a name without zeros");
        // SAFETY: asks for the default VFS.
        let base = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        if base.is_null() {
            return Err(Error::Damaged("SQLite has no file system".into()));
        }
        // SAFETY: SQLite's VFS is there as long as the process.
        let vfs = table(unsafe { &*base });
        let shim = Box::new(Shim { vfs, base, name, cipher, open: AtomicUsize::new(0) });
        let shim = ptr::NonNull::from(Box::leak(shim));
        // SAFETY: the shim stays where it is until nobody uses it (see `drop`); nobody else knows of it yet.
        let code = unsafe {
            let at = shim.as_ptr();
            (*at).vfs.zName = (*at).name.as_ptr();
            (*at).vfs.pAppData = at.cast();
            ffi::sqlite3_vfs_register(&raw mut (*at).vfs, 0)
        };
        let vfs = Vfs { shim };
        match code {
            ffi::SQLITE_OK => Ok(vfs),
            code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()),
        }
    }

    /// The name under which SQLite knows it.
    pub(in crate::meta) fn name(&self) -> &CStr {
        // SAFETY: the shim is there as long as `self`.
        unsafe { &self.shim.as_ref().name }
    }
}

impl Drop for Vfs {
    fn drop(&mut self) {
        // SAFETY: it was made by `register`; connections keep their file open, so without files none is left that
        // knows of it.
        unsafe {
            ffi::sqlite3_vfs_unregister(&raw mut (*self.shim.as_ptr()).vfs);
            match self.shim.as_ref().open.load(Ordering::Acquire) {
                0 => drop(Box::from_raw(self.shim.as_ptr())),
                files => log::error!("{files} files of the metadata are still open"),
            }
        }
    }
}

/// Asks SQLite to leave the end of each page to us, in a database that is still empty.
pub(in crate::meta) fn reserve_room(db: &Connection) -> Result<()> {
    let mut len = RESERVE_LEN as c_int;
    // SAFETY: the connection is open; SQLite reads a number there, and writes the one before.
    let code = unsafe {
        let at = (&raw mut len).cast();
        ffi::sqlite3_file_control(db.handle(), ptr::null(), ffi::SQLITE_FCNTL_RESERVE_BYTES, at)
    };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()),
    }
}

/// A file of ours, as SQLite has it in memory; the one of the system's VFS follows.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    shim: *const Shim,
    /// From a box.
    part: *mut Part,
}

/// What a file is.
enum Part {
    Database {
        file: DatabaseFile,
        path: Vec<u8>,
        index: Option<Membership>,
        /// The same connection's log, which must know when a transaction ends. (Only that connection's thread locks it.)
        log: Weak<Mutex<LogFile>>,
    },
    Log(Arc<Mutex<LogFile>>),
}

/// The file of the system's VFS.
struct RawFile(*mut ffi::sqlite3_file);

/// A method of the system's file, called; if it has none, an error.
macro_rules! call {
    ($real:expr, $method:ident $(, $arg:expr)*) => {{
        let real: *mut ffi::sqlite3_file = $real;
        match (*(*real).pMethods).$method {
            Some(method) => method(real $(, $arg)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// Who writes to the log has this lock (`WAL_WRITE_LOCK`).
const WRITE_LOCK: usize = 0;

fn outcome(code: c_int) -> Io {
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(Code(code)),
    }
}

fn code_of(outcome: Io) -> c_int {
    outcome.map_or_else(|Code(code)| code, |()| ffi::SQLITE_OK)
}

impl Raw for RawFile {
    fn read(&self, bytes: &mut [u8], offset: u64) -> Io {
        let (at, len) = (bytes.as_mut_ptr().cast(), bytes.len() as c_int);
        // SAFETY: the file is open, and `bytes` has room for what is read.
        outcome(unsafe { call!(self.0, xRead, at, len, offset as i64) })
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Io {
        let (at, len) = (bytes.as_ptr().cast(), bytes.len() as c_int);
        // SAFETY: the file is open, and `bytes` are there.
        outcome(unsafe { call!(self.0, xWrite, at, len, offset as i64) })
    }
}

/// The system's file behind one of ours.
///
/// # Safety
/// `file` is one for which SQLite allocated `szOsFile` bytes.
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: there are as many bytes.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// What an open file is, and its keys.
///
/// # Safety
/// `file` was opened by [`open`] and not closed; SQLite uses it from one thread at a time, and not while this is used.
unsafe fn parts<'a>(file: *mut ffi::sqlite3_file) -> (&'a mut Part, &'a Shim) {
    // SAFETY: `open` wrote both pointers, which hold until `close`.
    unsafe {
        let file = file.cast::<File>();
        (&mut *(*file).part, &*(*file).shim)
    }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives the VFS that was registered, a path, and memory for a file.
    unsafe {
        (*file).pMethods = ptr::null();
        let Some(part) = part_for(name, flags) else {
            log::error!("SQLite asks for a file that could hold plain bytes ({flags:#x})");
            return ffi::SQLITE_CANTOPEN;
        };
        let shim = (*vfs).pAppData.cast::<Shim>();
        let (base, real) = ((*shim).base, real(file));
        let Some(open) = (*base).xOpen else { return ffi::SQLITE_CANTOPEN };
        (*real).pMethods = ptr::null();
        let code = open(base, name, real, flags, out_flags);
        if code != ffi::SQLITE_OK {
            if !(*real).pMethods.is_null() {
                call!(real, xClose);
            }
            return code;
        }
        (*shim).open.fetch_add(1, Ordering::AcqRel);
        let base = ffi::sqlite3_file { pMethods: &METHODS.0 };
        file.cast::<File>().write(File { base, shim, part: Box::into_raw(Box::new(part)) });
        ffi::SQLITE_OK
    }
}

/// What a file that SQLite opens is; `None` for those that there must not be.
///
/// # Safety
/// `name` is null or what SQLite gave `open` with these flags.
unsafe fn part_for(name: *const c_char, flags: c_int) -> Option<Part> {
    if name.is_null() {
        return None;
    }
    // SAFETY: it is a path, which ends with a zero.
    let path = unsafe { CStr::from_ptr(name) }.to_bytes().to_owned();
    if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
        return Some(Part::Database {
            file: DatabaseFile::new(),
            path,
            index: None,
            log: Weak::new(),
        });
    }
    if flags & ffi::SQLITE_OPEN_WAL == 0 {
        return None;
    }
    let new = Arc::new(Mutex::new(LogFile::new()));
    // SAFETY: from the name of a log that it opens, SQLite knows the file of the database, which is open, and one of ours.
    let database = unsafe { parts(ffi::sqlite3_database_file_object(name)).0 };
    if let Part::Database { log, .. } = database {
        *log = Arc::downgrade(&new);
    }
    Some(Part::Log(new))
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes an open file, once.
    unsafe {
        let ours = file.cast::<File>();
        drop(Box::from_raw((*ours).part));
        let shim = (*ours).shim;
        let code = call!(real(file), xClose);
        (*file).pMethods = ptr::null();
        (*shim).open.fetch_sub(1, Ordering::AcqRel);
        code
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    len: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: an open file, and a buffer of `len` bytes of SQLite's, which holds something already or gets it now.
    let (part, shim, raw, out) = unsafe {
        ptr::write_bytes(out.cast::<u8>(), 0, len as usize);
        let (part, shim) = parts(file);
        (
            part,
            shim,
            RawFile(real(file)),
            std::slice::from_raw_parts_mut(out.cast::<u8>(), len as usize),
        )
    };
    code_of(match part {
        Part::Database { file, .. } => file.read(&shim.cipher, &raw, out, offset as u64),
        Part::Log(log) => log.lock().read(&shim.cipher, &raw, out, offset as u64),
    })
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    len: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: an open file, and `len` bytes of SQLite's.
    let (part, shim, raw, bytes) = unsafe {
        let (part, shim) = parts(file);
        (
            part,
            shim,
            RawFile(real(file)),
            std::slice::from_raw_parts(bytes.cast::<u8>(), len as usize),
        )
    };
    code_of(match part {
        Part::Database { file, .. } => file.write(&shim.cipher, &raw, bytes, offset as u64),
        Part::Log(log) => log.lock().write(&shim.cipher, &raw, bytes, offset as u64),
    })
}

/// Methods of a file that the system's file answers.
macro_rules! delegate {
    ($($name:ident = $method:ident($($arg:ident: $type:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $arg: $type)*) -> c_int {
            // SAFETY: an open file; the arguments go on as they are.
            unsafe { call!(real(file), $method $(, $arg)*) }
        }
    )*};
}

delegate! {
    lock = xLock(level: c_int);
    unlock = xUnlock(level: c_int);
    check_reserved_lock = xCheckReservedLock(out: *mut c_int);
    sector_size = xSectorSize();
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: an open file.
    unsafe {
        if let Part::Log(log) = parts(file).0 {
            log.lock().end_transaction();
        }
        call!(real(file), xTruncate, size)
    }
}

/// Writes what waits in a log.
///
/// # Safety
/// As for [`parts`].
unsafe fn flush(file: *mut ffi::sqlite3_file) -> Io {
    // SAFETY: an open file.
    let (part, raw) = unsafe { (parts(file).0, RawFile(real(file))) };
    match part {
        Part::Log(log) => log.lock().flush(&raw),
        Part::Database { .. } => Ok(()),
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: an open file.
    unsafe {
        match flush(file) {
            Ok(()) => call!(real(file), xSync, flags),
            Err(Code(code)) => code,
        }
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: an open file; the argument goes on as it is.
    unsafe {
        match flush(file) {
            Ok(()) => call!(real(file), xFileSize, size),
            Err(Code(code)) => code,
        }
    }
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    what: c_int,
    about: *mut c_void,
) -> c_int {
    // Mapped, the file would be read past us.
    if what == ffi::SQLITE_FCNTL_MMAP_SIZE {
        return ffi::SQLITE_NOTFOUND;
    }
    // SAFETY: an open file; the arguments go on as they are.
    unsafe { call!(real(file), xFileControl, what, about) }
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: an open file.
    let known = unsafe { call!(real(file), xDeviceCharacteristics) };
    // Without power-safe overwrite SQLite splits writes to the log at a sector's end; a part of a page can't be had
    // from the disk by itself.
    (known | ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE)
        & !(ffi::SQLITE_IOCAP_SUBPAGE_READ | ffi::SQLITE_IOCAP_BATCH_ATOMIC)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    len: c_int,
    make: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: an open file, and room for a pointer.
    let (part, out) = unsafe { (parts(file).0, &mut *out) };
    *out = ptr::null_mut();
    let (Part::Database { path, index, .. }, Ok(region), true) =
        (part, usize::try_from(region), len as usize == REGION_LEN)
    else {
        return ffi::SQLITE_IOERR_SHMMAP;
    };
    let index = index.get_or_insert_with(|| Membership::join(path));
    *out = index.region(region, make != 0).unwrap_or(ptr::null_mut());
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: an open file.
    let part = unsafe { parts(file).0 };
    let (Part::Database { index: Some(index), log, .. }, Some(locks)) =
        (part, index::locks(first, count))
    else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    let had = if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        if index.has_alone(WRITE_LOCK)
            && locks.contains(&WRITE_LOCK)
            && let Some(log) = log.upgrade()
        {
            log.lock().end_transaction();
        }
        index.release(locks);
        true
    } else if flags & ffi::SQLITE_SHM_SHARED != 0 {
        index.share(locks.start)
    } else {
        index.seize(locks)
    };
    if had { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: an open file.
    if let (Part::Database { index: Some(index), .. }, _) = unsafe { parts(file) } {
        index.barrier();
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: an open file; SQLite uses none of its regions any more.
    if let (Part::Database { index, .. }, _) = unsafe { parts(file) } {
        *index = None;
    }
    ffi::SQLITE_OK
}

/// Methods for both kinds of files.
struct Methods(ffi::sqlite3_io_methods);

// SAFETY: a table of functions that never changes.
unsafe impl Sync for Methods {}

/// Version 2: with shared memory, and without mapping the file itself.
static METHODS: Methods = Methods(ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
});

/// Methods of the VFS that the system's VFS answers.
macro_rules! delegate_vfs {
    ($($name:ident = $method:ident($($arg:ident: $type:ty),*);)*) => {$(
        unsafe extern "C" fn $name(vfs: *mut ffi::sqlite3_vfs $(, $arg: $type)*) -> c_int {
            // SAFETY: SQLite gives the VFS that was registered; the arguments go on as they are.
            unsafe {
                let base = (*(*vfs).pAppData.cast::<Shim>()).base;
                match (*base).$method {
                    Some(method) => method(base $(, $arg)*),
                    None => ffi::SQLITE_ERROR,
                }
            }
        }
    )*};
}

delegate_vfs! {
    delete = xDelete(path: *const c_char, sync: c_int);
    access = xAccess(path: *const c_char, flags: c_int, out: *mut c_int);
    full_path = xFullPathname(path: *const c_char, len: c_int, out: *mut c_char);
    randomness = xRandomness(len: c_int, out: *mut c_char);
    sleep = xSleep(microseconds: c_int);
    current_time = xCurrentTime(out: *mut f64);
    last_error = xGetLastError(len: c_int, out: *mut c_char);
    current_time_int64 = xCurrentTimeInt64(out: *mut i64);
}

/// The table of a VFS before this one; no libraries are loaded through it.
fn table(base: &ffi::sqlite3_vfs) -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<File>() as c_int + base.szOsFile,
        mxPathname: base.mxPathname,
        pNext: ptr::null_mut(),
        zName: ptr::null(),
        pAppData: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_path),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}
