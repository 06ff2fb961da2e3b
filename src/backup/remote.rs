//! A location that opendal speaks to: object stores, and servers of files.

use super::failure::{Failure, built, judged};
use super::kind::Kind;
use super::location::{Object, PARTIAL, Patience, leftover_name, too_short};
use super::{Error, Result};
use crate::sys;
use opendal::{Buffer, Operator};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, sleep, timeout};

/// Longer objects are sent to an object store in several parts; a pack of the usual size is one request.
const PUT_ONCE_BYTES_MAX: usize = 36 << 20;
/// A part of such an upload.
const PART_BYTES: usize = 16 << 20;
/// What a server of files is given at once.
const WRITE_BYTES: usize = 1 << 20;
/// What is asked for at once.
const READ_BYTES: u64 = 16 << 20;
/// How many deletions are one step.
const DELETE_COUNT: usize = 500;
/// Threads that move the bytes of all locations.
const THREADS: usize = 2;
/// How long sessions may take to end.
const GOODBYE: Duration = Duration::from_secs(5);

pub(super) type Attempt<T> = std::result::Result<T, Failure>;

pub(super) struct Remote {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) operator: Operator,
    pub(super) patience: Patience,
    /// Values that no message may show.
    secrets: Vec<String>,
    stopped: watch::Sender<bool>,
    /// For FTP: an operator of the server's top and the directories from there to the location, which opendal's service
    /// only makes one level of.
    top: Option<(Operator, String)>,
    has_root: OnceCell<()>,
    // Dropped last.
    sessions: Option<Sessions>,
}

/// The runtime of a location whose sessions are processes. They are told to end by tasks of theirs, once the operator is
/// dropped; a process that ended right then would leave them running for ever.
struct Sessions(Option<Runtime>);

impl Drop for Sessions {
    fn drop(&mut self) {
        let Some(runtime) = self.0.take() else { return };
        let begun = Instant::now();
        while runtime.metrics().num_alive_tasks() > 0 && begun.elapsed() < GOODBYE {
            std::thread::sleep(Duration::from_millis(5));
        }
        runtime.shutdown_timeout(GOODBYE);
    }
}

/// The runtime of all locations of this process, made when the first of them is used.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| new_runtime(THREADS).ok()).as_ref().ok_or_else(no_threads)
}

fn new_runtime(threads: usize) -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name("verso-location").enable_all();
    builder.build().map_err(|_| no_threads())
}

fn no_threads() -> Error {
    Error::Location {
        location: "this machine".to_owned(),
        why: "threads for backup locations can't be made".to_owned(),
    }
}

impl Remote {
    /// Speaks to nobody yet.
    pub(super) fn open(
        name: String,
        kind: Kind,
        options: BTreeMap<String, String>,
        patience: Patience,
    ) -> Result<Remote> {
        // Two of the libraries beneath bring a provider of TLS each; one of them has to be chosen, or the FTP client
        // gives up. That one is there already is fine.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // Under `cargo test` no constructor may have run.
        opendal::init_default_registry();
        let is_secret = |name: &str| kind.option(name).is_ok_and(|known| known.secret);
        let secrets: Vec<String> = options
            .iter()
            .filter(|(name, _)| is_secret(name))
            .map(|(_, value)| value.clone())
            .collect();
        let build =
            |options| built(&name, kind, &secrets, Operator::via_iter(kind.service(), options));
        let top = match (kind, options.get("root").map(|root| root.trim_matches('/'))) {
            (Kind::Ftp | Kind::Ftps, Some(root)) if root.contains('/') => {
                let root = format!("{root}/");
                let mut options = options.clone();
                options.remove("root");
                Some((build(options)?, root))
            }
            _ => None,
        };
        let operator = build(options)?;
        let (stopped, _) = watch::channel(false);
        let has_root = OnceCell::new();
        let sessions = (kind == Kind::Sftp).then(|| new_runtime(1)).transpose()?;
        let sessions = sessions.map(|runtime| Sessions(Some(runtime)));
        Ok(Remote { name, kind, operator, patience, secrets, stopped, top, has_root, sessions })
    }

    pub(super) fn put(&self, key: &str, body: Vec<u8>) -> Result<()> {
        let body = Buffer::from(body);
        self.persist(key, || async { made(self.put_once(key, body.clone()).await) })
    }

    pub(super) fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.persist(key, || async {
            let len = self.stat_once(key).await?.ok_or(Failure::NotFound)?;
            self.read(key, 0, len).await
        })
    }

    pub(super) fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        let read = self.persist(key, || async {
            let read = self.read(key, offset, len).await;
            if !matches!(read, Err(Failure::Other(_) | Failure::Passing(_))) {
                return read.map(Some);
            }
            // Servers answer a range beyond the end in many ways.
            match self.stat_once(key).await? {
                Some(there) if there < offset.saturating_add(len) => Ok(None),
                Some(_) => read.map(Some),
                None => Err(Failure::NotFound),
            }
        })?;
        read.ok_or_else(|| too_short(&self.name, key, offset, len))
    }

    pub(super) fn stat(&self, key: &str) -> Result<Option<u64>> {
        self.persist(key, || self.stat_once(key))
    }

    pub(super) fn list(&self, prefix: &str, recursive: bool) -> Result<Vec<Object>> {
        self.persist(prefix, || self.list_once(prefix, recursive))
    }

    /// What lies at the top, where an FTP upload that broke off does.
    pub(super) fn list_root(&self) -> Result<Vec<Object>> {
        match self.kind {
            Kind::Ftp | Kind::Ftps => self.list("", false),
            _ => Ok(Vec::new()),
        }
    }

    pub(super) fn delete(&self, keys: &[String]) -> Result<()> {
        for keys in keys.chunks(DELETE_COUNT) {
            self.persist(&keys[0], || self.delete_once(keys))?;
        }
        Ok(())
    }

    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Opendal's FTP service writes to NAME.RANDOM at the top, then renames.
    pub(super) fn is_partial(&self, key: &str) -> bool {
        let random =
            |name: &str| name.len() == 8 && name.bytes().all(|b| b.is_ascii_alphanumeric());
        matches!(self.kind, Kind::Ftp | Kind::Ftps)
            && !key.contains('/')
            && key.rsplit_once('.').is_some_and(|(_, end)| random(end))
    }

    async fn put_once(&self, key: &str, body: Buffer) -> Attempt<()> {
        if self.kind.puts_whole() {
            return self.write(key, body).await;
        }
        if !self.kind.renames() {
            if body.is_empty() {
                // Opendal's FTP service makes no file before its first byte.
                return Err(Failure::Other("FTP takes no empty objects".to_owned()));
            }
            let len = body.len() as u64;
            self.write(key, body).await?;
            return self.expect_len(key, len).await;
        }
        let name = leftover_name().map_err(|error| Failure::Other(error.to_string()))?;
        let temporary = format!("{PARTIAL}/{name}");
        let put = self.put_and_rename(&temporary, key, body).await;
        if put.is_err() {
            // Best effort: the failure that is reported is the first one, and what stays is removed later.
            let _ = timeout(self.patience.step, self.operator.delete(&temporary)).await;
        }
        put
    }

    async fn put_and_rename(&self, temporary: &str, key: &str, body: Buffer) -> Attempt<()> {
        let len = body.len() as u64;
        self.write(temporary, body).await?;
        self.expect_len(temporary, len).await?;
        self.rename(temporary, key).await
    }

    /// Puts a whole upload in the place of what is there.
    pub(super) async fn rename(&self, temporary: &str, key: &str) -> Attempt<()> {
        let renamed = self.step(0, self.operator.rename(temporary, key)).await;
        match renamed {
            // A server of SFTP that can't rename over a file says no more than that it failed.
            Err(_) if self.kind == Kind::Sftp && self.stat_once(key).await?.is_some() => {
                self.step(0, self.operator.delete(key)).await?;
                self.step(0, self.operator.rename(temporary, key)).await
            }
            renamed => renamed,
        }
    }

    /// What a server took of an upload is told by nobody but itself.
    async fn expect_len(&self, key: &str, len: u64) -> Attempt<()> {
        match self.stat_once(key).await? {
            Some(there) if there == len => Ok(()),
            there => {
                let there = there.unwrap_or(0);
                Err(Failure::Passing(format!("of {len} bytes that were sent, {there} arrived")))
            }
        }
    }

    async fn write(&self, key: &str, body: Buffer) -> Attempt<()> {
        let in_parts = self.kind.puts_whole() && body.len() > PUT_ONCE_BYTES_MAX;
        if !in_parts && !self.kind.is_session() {
            let len = body.len();
            return self.step(len as u64, self.operator.write(key, body)).await.map(drop);
        }
        let mut writer = if in_parts {
            let writer = self.operator.writer_with(key).chunk(PART_BYTES);
            self.step(0, async { writer.await }).await?
        } else {
            self.step(0, self.operator.writer(key)).await?
        };
        let step = if in_parts { PART_BYTES } else { WRITE_BYTES };
        let mut from = 0;
        while from < body.len() {
            let to = body.len().min(from + step);
            if let Err(failure) = self.step(step as u64, writer.write(body.slice(from..to))).await {
                // Where there are parts, they would stay and cost.
                let _ = timeout(self.patience.step, writer.abort()).await;
                return Err(failure);
            }
            from = to;
        }
        self.step(step as u64, writer.close()).await.map(drop)
    }

    async fn read(&self, key: &str, offset: u64, len: u64) -> Attempt<Vec<u8>> {
        let capacity = usize::try_from(len).map_err(|_| Failure::Other("too long".to_owned()))?;
        let mut bytes = Vec::with_capacity(capacity);
        let (mut from, end) = (offset, offset.saturating_add(len));
        while from < end {
            let to = end.min(from + READ_BYTES);
            let read = self.operator.read_with(key).range(from..to);
            let part = self.step(to - from, async { read.await }).await?;
            if part.len() as u64 != to - from {
                let (wanted, got) = (to - from, part.len());
                return Err(Failure::Passing(format!("of {wanted} bytes {got} arrived")));
            }
            part.for_each(|slice| bytes.extend_from_slice(&slice));
            from = to;
        }
        Ok(bytes)
    }

    async fn stat_once(&self, key: &str) -> Attempt<Option<u64>> {
        match self.step(0, self.operator.stat(key)).await {
            Ok(metadata) => Ok(metadata.is_file().then(|| metadata.content_length())),
            Err(Failure::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Directory by directory, where the service doesn't list what is below: opendal's own way would skip what it
    /// may not read, and ask without end for what isn't there.
    async fn list_once(&self, prefix: &str, recursive: bool) -> Attempt<Vec<Object>> {
        let mut found = Vec::new();
        let mut open = vec![prefix.to_owned()];
        while let Some(directory) = open.pop() {
            match self.list_one(&directory, recursive, &mut found, &mut open).await {
                Err(Failure::NotFound) => {}
                done => done?,
            }
        }
        Ok(found)
    }

    /// Adds the objects of one directory, and the directories in it if they are to be listed too.
    async fn list_one(
        &self,
        prefix: &str,
        recursive: bool,
        found: &mut Vec<Object>,
        open: &mut Vec<String>,
    ) -> Attempt<()> {
        let at_once = recursive && self.kind.lists_all_below();
        let lister = self.operator.lister_with(prefix).recursive(at_once);
        let mut lister = self.step(0, async { lister.await }).await?;
        while let Some(entry) = self.step(0, next(&mut lister)).await? {
            let (key, metadata) = entry.into_parts();
            // A directory lists itself too; the topmost calls itself "/".
            let is_below = key.len() > prefix.len() && key.starts_with(prefix) && key != "/";
            if metadata.is_dir() && is_below && recursive && !at_once {
                open.push(key);
            } else if metadata.is_file() && is_below {
                let modified = metadata.last_modified().map(|at| SystemTime::from(at).into());
                found.push(Object { key, len: metadata.content_length(), modified });
            }
        }
        Ok(())
    }

    async fn delete_once(&self, keys: &[String]) -> Attempt<()> {
        // A server of files takes them one by one.
        let longest = self.patience.step + Duration::from_secs(keys.len() as u64);
        match self.within(longest, self.operator.delete_iter(keys.to_vec())).await {
            Err(Failure::NotFound) => Ok(()),
            // Of a batch opendal only says that none of it worked, not why.
            Err(Failure::Other(_)) if keys.len() > 1 => self.delete_each(keys).await,
            Ok(()) if matches!(self.kind, Kind::Ftp | Kind::Ftps) => self.expect_gone(keys).await,
            done => done,
        }
    }

    /// Opendal's FTP service takes a deletion that was refused for one of what isn't there.
    async fn expect_gone(&self, keys: &[String]) -> Attempt<()> {
        let parent =
            |key: &String| key.rfind('/').map_or(String::new(), |at| key[..=at].to_owned());
        let parents: BTreeSet<String> = keys.iter().map(parent).collect();
        for parent in parents {
            let there = self.list_once(&parent, false).await?;
            if there.iter().any(|object| keys.contains(&object.key)) {
                return Err(Failure::Refused("the server doesn't delete it".to_owned()));
            }
        }
        Ok(())
    }

    async fn delete_each(&self, keys: &[String]) -> Attempt<()> {
        for key in keys {
            match self.step(0, self.operator.delete(key)).await {
                Err(Failure::NotFound) => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// Runs a step that moves so many bytes, for as long as it may take.
    pub(super) async fn step<T>(
        &self,
        bytes: u64,
        work: impl Future<Output = opendal::Result<T>>,
    ) -> Attempt<T> {
        let speed = self.patience.bytes_per_second_min.max(1);
        self.within(self.patience.step + Duration::from_secs(bytes / speed), work).await
    }

    async fn within<T>(
        &self,
        longest: Duration,
        work: impl Future<Output = opendal::Result<T>>,
    ) -> Attempt<T> {
        match timeout(longest, work).await {
            Ok(done) => judged(self.kind, &self.secrets, done),
            Err(_) => Err(Failure::Passing(format!("no answer within {} s", longest.as_secs()))),
        }
    }

    /// Attempts it until it works, it can't work, patience ends, or the location is stopped.
    ///
    /// Whole operations are attempted anew, not their requests: an upload that was cut off in the middle is only known to
    /// be whole if it was sent from its beginning, and the time that it all takes has one bound.
    pub(super) fn persist<T, F: Future<Output = Attempt<T>>>(
        &self,
        key: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T> {
        self.once(key, self.attempts(attempt))
    }

    /// Waits for it, unless the location is stopped meanwhile.
    pub(super) fn once<T>(&self, key: &str, work: impl Future<Output = Attempt<T>>) -> Result<T> {
        let mut stopped = self.stopped.subscribe();
        let done = self.runtime()?.block_on(async {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => Err(Failure::Stopped),
                done = work => done,
            }
        });
        done.map_err(|failure| failure.into_error(&self.name, key))
    }

    /// Waits for what tidies up, also where the location was stopped, but not for long. That it works is not expected.
    pub(super) fn tidy(&self, work: impl Future<Output = ()>) {
        let Ok(runtime) = self.runtime() else { return };
        // What takes longer than that stays, and is removed later.
        let _ = runtime.block_on(async { timeout(GOODBYE, work).await });
    }

    fn runtime(&self) -> Result<&Runtime> {
        match self.sessions.as_ref().and_then(|sessions| sessions.0.as_ref()) {
            Some(own) => Ok(own),
            None => runtime(),
        }
    }

    /// Makes the way to the location, once, where that is needed.
    async fn make_root(&self) -> Attempt<()> {
        let Some((top, root)) = &self.top else { return Ok(()) };
        let make = || self.step(0, top.create_dir(root));
        self.has_root.get_or_try_init(make).await.copied()
    }

    async fn attempts<T, F: Future<Output = Attempt<T>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Attempt<T> {
        let begun = Instant::now();
        let mut pause = self.patience.pause_min;
        loop {
            let done = match self.make_root().await {
                Ok(()) => attempt().await,
                Err(failure) => Err(failure),
            };
            let failure = match done {
                Err(Failure::Passing(why)) => why,
                done => return done,
            };
            if begun.elapsed() + pause > self.patience.total {
                return Err(Failure::Passing(failure));
            }
            log::debug!("{}: {failure}; once more in about {} ms", self.name, pause.as_millis());
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(self.patience.pause_max);
        }
    }
}

/// An FTP server says the same of a directory that it doesn't have and of one that nobody may write to.
pub(super) fn made<T>(outcome: Attempt<T>) -> Attempt<T> {
    match outcome {
        Err(Failure::NotFound) => {
            Err(Failure::Refused("the server won't make the file".to_owned()))
        }
        outcome => outcome,
    }
}

async fn next(lister: &mut opendal::Lister) -> opendal::Result<Option<opendal::Entry>> {
    use futures_util::TryStreamExt;
    lister.try_next().await
}

/// Between half of a pause and all of it, so that those who failed together don't come back together.
fn jittered(pause: Duration) -> Duration {
    let random = sys::random_bytes::<1>().map_or(u8::MAX, |[byte]| byte);
    pause / 2 + pause.mul_f64(f64::from(random) / 512.0)
}
