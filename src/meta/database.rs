//! The connections: one that writes (see `writer`), some that read, and the log that makes commits durable.

use super::counters::Counters;
use super::sealed::{self, PageKeys, Vfs};
use super::writer::Writer;
use super::{Error, Result, erase, jobs, parts, past, schema, scrub, upkeep};
use crate::model::{ChunkId, Ino, Moment};
use crate::sys;
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use siphasher::sip::SipHasher24;
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Memory for pages that the writing connection keeps. SQLite looks through all of them at each commit that split a
/// page (it numbers pages beyond the database's end for a moment): more of them cost more than the reads that they
/// save, which the kernel's page cache answers.
const WRITER_CACHE_BYTES: i64 = 4 << 20;
/// Memory for pages that each reading connection keeps.
const READER_CACHE_BYTES: i64 = 2 << 20;
/// Reading connections that are kept open when idle.
const IDLE_READERS_MAX: usize = 8;
/// Prepared statements that each connection keeps.
const STATEMENTS_MAX: usize = 96;
/// SQLite's own locks are only ever contended for an instant (start of the log, a checkpoint).
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// The metadata of an open store.
///
/// Lock order: `writer` is taken last of all locks of the filesystem, except for `readers`, which is
/// only held to take or give back a connection.
#[derive(Debug)]
pub struct Meta {
    path: PathBuf,
    counters: Counters,
    slots: SipHasher24,
    /// Guards the one connection that writes; whoever changes something holds it meanwhile.
    pub(super) writer: Mutex<Writer>,
    /// Held by who copies the log back, and by who needs the database's file to stay as it is. Taken before `writer`.
    pub(super) checkpointing: Mutex<()>,
    /// Whether the writer holds deferred work. Set and cleared under its lock.
    pub(super) has_deferred: AtomicBool,
    /// Idle reading connections.
    readers: Mutex<Vec<Connection>>,
    /// The log, to make commits durable without a commit. Never closed while SQLite is open.
    log: File,
    /// Through what the connections see an encrypted database; dropped after them.
    vfs: Option<Vfs>,
}

impl Meta {
    /// Creates the database file with its tables and syncs it; with keys, encrypted. `slot_key` must be random.
    pub fn create(path: &Path, slot_key: &[u8; 16], keys: Option<&PageKeys>) -> Result<()> {
        let vfs = keys.map(Vfs::register).transpose()?;
        let db = match &vfs {
            None => connect(path, WRITER_CACHE_BYTES, None)?,
            Some(vfs) => connect_new(path, vfs)?,
        };
        db.pragma_update(None, "synchronous", "FULL")?;
        schema::create(&db, slot_key)?;
        db.close().map_err(|(_, error)| error.into())
    }

    /// Opens the database for reading and writing; SQLite replays the log of a killed daemon. With keys, it must be
    /// encrypted.
    ///
    /// # Errors
    /// `Damaged` also for a wrong key; then nothing is changed.
    pub fn open(path: &Path, keys: Option<&PageKeys>) -> Result<Meta> {
        if let Some(keys) = keys {
            sealed::verify_key(path, &log_path(path), keys)?;
        }
        let vfs = keys.map(Vfs::register).transpose()?;
        let writer = connect(path, WRITER_CACHE_BYTES, vfs.as_ref())?;
        schema::verify(&writer)?;
        past::prepare(&writer)?;
        erase::prepare(&writer)?;
        upkeep::prepare(&writer)?;
        parts::prepare(&writer)?;
        jobs::prepare(&writer)?;
        scrub::prepare(&writer)?;
        let counters = Counters::load(&writer)?;
        let key: [u8; 16] =
            writer.query_row("SELECT slot_key FROM counter", [], |row| row.get(0))?;
        // The first write makes sure that the log exists.
        writer.execute("UPDATE counter SET clean = clean", [])?;
        let log_path = log_path(path);
        let log = open_log(&log_path).map_err(|source| Error::Io { path: log_path, source })?;
        Ok(Meta {
            path: path.to_owned(),
            counters,
            slots: SipHasher24::new_with_key(&key),
            writer: Mutex::new(Writer::new(writer)),
            checkpointing: Mutex::new(()),
            has_deferred: AtomicBool::new(false),
            readers: Mutex::new(Vec::new()),
            log,
            vfs,
        })
    }

    /// Reads what was acknowledged. Each query sees the newest state.
    pub fn read<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&View<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        // The writing connection keeps its cache from one commit to the next, a reading one must drop
        // it: while nobody writes, reading is fastest there.
        // Only there is what was deferred.
        let writer = match self.has_deferred() {
            true => Some(self.writer.lock()),
            false => self.writer.try_lock(),
        };
        match writer {
            Some(writer) => work(&View { db: &writer.db, meta: self }),
            None => self.read_beside(work),
        }
    }

    /// Reads what is committed, never in the way of those who write.
    fn read_beside<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&View<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let idle = self.readers.lock().pop();
        let db = match idle {
            Some(db) => db,
            None => connect(&self.path, READER_CACHE_BYTES, self.vfs.as_ref()).map_err(E::from)?,
        };
        let outcome = work(&View { db: &db, meta: self });
        let mut readers = self.readers.lock();
        if readers.len() < IDLE_READERS_MAX {
            readers.push(db);
        }
        outcome
    }

    /// Like [`Meta::read`], with all queries of `work` seeing the same commit.
    pub fn snapshot<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&View<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        match self.commit_deferred() {
            Ok(()) => {}
            // The disk is full. The connection that holds what was deferred shows it; nobody writes meanwhile.
            Err(Error::NoSpace) => {
                let writer = self.writer.lock();
                return work(&View { db: &writer.db, meta: self });
            }
            Err(error) => return Err(error.into()),
        }
        self.read_beside(|view| {
            run(view.db, "BEGIN DEFERRED").map_err(E::from)?;
            let outcome = work(view);
            run(view.db, "COMMIT").map_err(E::from)?;
            outcome
        })
    }

    /// Lets the kernel begin to write the log, so that [`Meta::sync`] has less to wait for. It may do so
    /// at any time by itself: nothing depends on the log being written later than something else.
    pub fn start_sync(&self) {
        sys::start_writeback(&self.log, 0, 0);
    }

    /// Makes every commit so far survive a power cut.
    ///
    /// The chunks that the commits name must be durable before: see `fs::sync`.
    pub fn sync(&self) -> Result<()> {
        self.log.sync_data().map_err(|source| Error::Io { path: log_path(&self.path), source })
    }

    /// Bytes in the log.
    pub fn log_bytes(&self) -> u64 {
        self.log.metadata().map_or(0, |meta| meta.len())
    }

    /// Bytes in the database without its log.
    pub fn file_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    /// Copies the log back into the database and empties it. Everything is made durable in the course
    /// of it. The bulk is done beside those who write; readers are not waited for: what they still
    /// need stays for the next time.
    ///
    /// An emptied log is better than one that is written over from its start: its frames don't fall on
    /// pages, and to write a part of a page that the kernel doesn't hold, it reads it from the disk.
    pub fn checkpoint(&self) -> Result<()> {
        let _alone = self.checkpointing.lock();
        self.checkpoint_alone()
    }

    /// Like [`Meta::checkpoint`], but answers false at once where another one is under way, or the metadata is frozen.
    pub fn try_checkpoint(&self) -> Result<bool> {
        match self.checkpointing.try_lock() {
            Some(_alone) => self.checkpoint_alone().map(|()| true),
            None => Ok(false),
        }
    }

    /// Where the database's file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// `checkpointing` is held.
    pub(super) fn checkpoint_alone(&self) -> Result<()> {
        self.read_beside(|view| {
            Ok::<_, Error>(view.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
        })?;
        let mut writer = self.writer.lock();
        self.settle_deferred(&mut writer)?;
        writer.db.busy_timeout(Duration::ZERO)?;
        let outcome = writer.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        writer.db.busy_timeout(BUSY_TIMEOUT)?;
        Ok(outcome?)
    }

    /// Copies the log back and empties it: at an orderly stop.
    pub fn close(&self) -> Result<()> {
        let _alone = self.checkpointing.lock();
        self.readers.lock().clear();
        let mut writer = self.writer.lock();
        self.settle_deferred(&mut writer)?;
        self.counters.settle(&writer.db)?;
        writer.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// A new inode number.
    pub fn next_ino(&self) -> Ino {
        self.counters.next_ino()
    }

    /// A number for a chunk that lies in a pack. Asked for after the chunk was appended, so that
    /// [`Meta::last_chunk`] before a sync of the packs bounds what that sync covers.
    pub fn next_chunk(&self) -> ChunkId {
        self.counters.next_chunk()
    }

    /// The newest chunk number handed out.
    pub fn last_chunk(&self) -> ChunkId {
        self.counters.last_chunk()
    }

    /// The newest moment handed out.
    pub fn last_moment(&self) -> Moment {
        self.counters.last_moment()
    }

    /// SQLite's own check of the file's structure: a line per fault, none when it is whole.
    pub fn integrity_faults(&self) -> Result<Vec<String>> {
        self.read_beside(|view| {
            let mut statement = view.db.prepare("PRAGMA integrity_check(100)")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            let lines: Vec<String> = rows.collect::<rusqlite::Result<_>>()?;
            Ok(lines.into_iter().filter(|line| line != "ok").collect())
        })
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Runs SQL as it is: for tests that make by hand what must never be.
    #[cfg(test)]
    pub fn execute(&self, sql: &str) {
        self.writer.lock().db.execute_batch(sql).unwrap();
    }

    /// How many rows a table has.
    #[cfg(test)]
    pub fn count(&self, table: &str) -> u64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.writer.lock().db.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    /// The hash that spreads names over slots.
    pub(super) fn slot_hasher(&self) -> SipHasher24 {
        self.slots
    }
}

/// What can be asked of the metadata. The queries are in the files of the tables.
pub struct View<'a> {
    pub(super) db: &'a Connection,
    pub(super) meta: &'a Meta,
}

/// A transaction: a view that can change things, all at one moment.
pub struct Tx<'a> {
    view: View<'a>,
    /// The moment at which everything in this transaction happens.
    pub moment: Moment,
}

impl<'a> Tx<'a> {
    pub(super) fn new(view: View<'a>, moment: Moment) -> Tx<'a> {
        Tx { view, moment }
    }
}

#[cfg(test)]
impl Tx<'_> {
    /// Stores the counters as a commit does, and undoes everything as a failing commit may.
    pub(crate) fn keep_counters_and_undo(&self) -> Result<()> {
        self.meta.counters.keep_below_ceiling(self.db)?;
        run(self.db, "ROLLBACK")
    }
}

impl<'a> Deref for Tx<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

pub(super) fn run(db: &Connection, sql: &str) -> Result<()> {
    db.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// Opens the log and makes its name durable: SQLite leaves that to its own syncs, which we don't use.
fn open_log(path: &Path) -> std::io::Result<File> {
    let log = File::open(path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sys::sync_dir(directory.unwrap_or(Path::new(".")))?;
    Ok(log)
}

pub(super) fn log_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn connect(path: &Path, cache_bytes: i64, vfs: Option<&Vfs>) -> Result<Connection> {
    let db = open_file(path, vfs)?;
    set_up(&db, cache_bytes)?;
    Ok(db)
}

/// The connection to a new encrypted database. On its way to WAL mode SQLite writes the first page: without a rollback
/// journal, which would be plain.
fn connect_new(path: &Path, vfs: &Vfs) -> Result<Connection> {
    let db = open_file(path, Some(vfs))?;
    sealed::reserve_room(&db)?;
    db.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(()))?;
    set_up(&db, WRITER_CACHE_BYTES)?;
    Ok(db)
}

fn open_file(path: &Path, vfs: Option<&Vfs>) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(match vfs {
        None => Connection::open_with_flags(path, flags)?,
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.name())?,
    })
}

fn set_up(db: &Connection, cache_bytes: i64) -> Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    // Plans don't depend on bound values: else SQLite (built with STAT4) parses and plans a statement
    // with a range anew each time it runs, which cost ten times the query itself.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // Commits are made durable by `Meta::sync`, and the log is copied back by `Meta::checkpoint`
    // only: nothing in between may wait for the disk.
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "cache_size", -(cache_bytes / 1024))?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    // Rows that are deleted are overwritten: what was erased must not be found in the file, and most of it was
    // deleted from the live tables long before.
    db.pragma_update(None, "secure_delete", true)?;
    Ok(())
}
