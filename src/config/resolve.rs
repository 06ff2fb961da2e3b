//! From what was written down to what it means. Every rule about a value is here.

use super::backup::{self, BackupConfig};
use super::jobs::{self, JobsConfig};
use super::raw::{self, Raw};
use super::retention::{self, RetentionConfig};
use super::rules;
use crate::model::Rules;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// All settings, valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The store and its memory.
    pub store: StoreConfig,
    /// How encrypted stores are unlocked.
    pub encryption: EncryptionConfig,
    /// The tree that users see.
    pub tree: TreeConfig,
    /// Earlier versions.
    pub history: HistoryConfig,
    /// What of the past is kept.
    pub retention: RetentionConfig,
    /// What runs by itself.
    pub jobs: JobsConfig,
    /// The mount.
    pub mount: MountConfig,
    /// The log.
    pub log: LogConfig,
    /// The control socket.
    pub control: ControlConfig,
    /// `[[backup]]`, in their order.
    pub backups: Vec<BackupConfig>,
    /// `[[rule]]`, and the names that make no versions.
    pub rules: Rules,
}

/// `[store]`; sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Shortest chunk of a store that is made.
    pub chunk_bytes_min: u32,
    /// Usual chunk of a store that is made.
    pub chunk_bytes_avg: u32,
    /// Longest chunk of a store that is made.
    pub chunk_bytes_max: u32,
    /// zstd's level, 1 to 19; 0: none.
    pub compression_level: i32,
    /// Size at which a pack is sealed.
    pub pack_bytes_target: u64,
    /// Bound of the chunk cache.
    pub cache_bytes_max: u64,
    /// Bound of unwritten data in memory.
    pub dirty_bytes_max: u64,
    /// Kept free on the store's disk.
    pub reserve_bytes: u64,
    /// Bound of the age of data that is not on disk.
    pub sync_interval: Duration,
}

/// `[encryption]`. No secret is a setting, only where one lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionConfig {
    /// Absolute; at most one of the two is there.
    pub passphrase_file: Option<PathBuf>,
    /// The same for a key file.
    pub key_file: Option<PathBuf>,
    /// About how long unlocking with a new passphrase is to take on this machine.
    pub unlock_time: Duration,
}

/// `[tree]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeConfig {
    /// Directories of a new project, valid names without repetition.
    pub stages: Vec<String>,
}

/// `[history]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryConfig {
    /// Whether `.versions` answers in every directory.
    pub directory: bool,
    /// Whether the root lists its own.
    pub listed: bool,
    /// Saves of a user within a slot of this length are one version; zero: each is one.
    pub slot: Duration,
}

/// `[mount]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountConfig {
    /// Which reads change the time of reading.
    pub atime: Atime,
    /// Requests at the same time; `None`: as many as suits the machine.
    pub threads: Option<NonZeroUsize>,
    /// Patience with open files when stopping.
    pub stop_grace: Duration,
}

/// Which reads change the time of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atime {
    /// The first after a change, and one a day.
    Relatime,
    /// None.
    Noatime,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// What is logged.
    pub level: LogLevel,
    /// Size at which the file is set aside.
    pub file_bytes_max: u64,
}

/// How much is logged.
pub type LogLevel = log::LevelFilter;

/// `[control]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// Permission bits of the socket, 0600 or 0660.
    pub socket_mode: u32,
}

/// What a value breaks: the key (`section.key`) and what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) key: &'static str,
    /// Of which `[[rule]]` or `[[backup]]`.
    pub(super) rule: Option<usize>,
    pub(super) message: String,
}

pub(super) fn broken<T>(key: &'static str, message: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { key, rule: None, message: message.into() })
}

/// Fails unless `value` lies within `range`, which `words` describe.
pub(super) fn within<T: PartialOrd>(
    key: &'static str,
    value: T,
    range: std::ops::RangeInclusive<T>,
    words: &str,
) -> Result<T, Broken> {
    match range.contains(&value) {
        true => Ok(value),
        false => broken(key, format!("must be {words}")),
    }
}

impl Config {
    /// What `raw` means, or the first rule that it breaks.
    pub(super) fn resolve(raw: &Raw) -> Result<Config, Broken> {
        let backups = backup::resolve(&raw.backup)?;
        Ok(Config {
            store: resolve_store(&raw.store)?,
            encryption: resolve_encryption(&raw.encryption)?,
            tree: TreeConfig { stages: resolve_stages(&raw.tree.stages)? },
            history: resolve_history(&raw.history)?,
            retention: retention::resolve(&raw.retention)?,
            jobs: jobs::resolve(&raw.jobs, &backups)?,
            mount: resolve_mount(&raw.mount)?,
            log: resolve_log(&raw.log)?,
            control: resolve_control(&raw.control)?,
            backups,
            rules: rules::resolve(&raw.history.never, &raw.rule)?,
        })
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::resolve(&Raw::default()).expect("the defaults break no rule: a test holds it")
    }
}

fn resolve_store(raw: &raw::Store) -> Result<StoreConfig, Broken> {
    let chunk_bytes_min = resolve_chunk("store.chunk_bytes_min", raw.chunk_bytes_min.0)?;
    let chunk_bytes_avg = resolve_chunk("store.chunk_bytes_avg", raw.chunk_bytes_avg.0)?;
    let chunk_bytes_max = resolve_chunk("store.chunk_bytes_max", raw.chunk_bytes_max.0)?;
    if chunk_bytes_min >= chunk_bytes_avg {
        return broken("store.chunk_bytes_avg", "must be larger than chunk_bytes_min");
    }
    if chunk_bytes_avg >= chunk_bytes_max {
        return broken("store.chunk_bytes_max", "must be larger than chunk_bytes_avg");
    }
    let (level, pack) = (raw.compression_level, raw.pack_bytes_target.0);
    let (cache, dirty) = (raw.cache_bytes_max.0, raw.dirty_bytes_max.0);
    let interval = raw.sync_interval.0;
    let interval_range = Duration::from_millis(100)..=Duration::from_secs(3600);
    Ok(StoreConfig {
        chunk_bytes_min,
        chunk_bytes_avg,
        chunk_bytes_max,
        compression_level: within("store.compression_level", level, 0..=19, "from 0 to 19")?,
        pack_bytes_target: within(
            "store.pack_bytes_target",
            pack,
            1 << 20..=4 << 30,
            "from 1MiB to 4GiB",
        )?,
        cache_bytes_max: within("store.cache_bytes_max", cache, 1 << 20..=1 << 40, "from 1MiB")?,
        dirty_bytes_max: within("store.dirty_bytes_max", dirty, 4 << 20..=1 << 40, "from 4MiB")?,
        reserve_bytes: raw.reserve_bytes.0,
        sync_interval: within("store.sync_interval", interval, interval_range, "from 100ms to 1h")?,
    })
}

fn resolve_chunk(key: &'static str, bytes: u64) -> Result<u32, Broken> {
    let small_enough = u32::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two());
    match small_enough {
        Some(bytes) => within(key, bytes, 1 << 10..=4 << 20, "from 1KiB to 4MiB"),
        None => broken(key, "must be a power of two from 1KiB to 4MiB"),
    }
}

fn resolve_encryption(raw: &raw::Encryption) -> Result<EncryptionConfig, Broken> {
    let passphrase_file = resolve_path("encryption.passphrase_file", &raw.passphrase_file)?;
    let key_file = resolve_path("encryption.key_file", &raw.key_file)?;
    if passphrase_file.is_some() && key_file.is_some() {
        return broken("encryption.key_file", "passphrase_file is set: only one of them can be");
    }
    let (time, range) = (raw.unlock_time.0, Duration::from_millis(10)..=Duration::from_secs(10));
    let unlock_time = within("encryption.unlock_time", time, range, "from 10ms to 10s")?;
    Ok(EncryptionConfig { passphrase_file, key_file, unlock_time })
}

/// An absolute path; `None` if nothing is written there.
pub(super) fn resolve_path(key: &'static str, text: &str) -> Result<Option<PathBuf>, Broken> {
    match text {
        "" => Ok(None),
        path if path.starts_with('/') => Ok(Some(PathBuf::from(path))),
        _ => broken(key, "must be an absolute path, or empty"),
    }
}

fn resolve_stages(names: &[String]) -> Result<Vec<String>, Broken> {
    const KEY: &str = "tree.stages";
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || name.len() > 255 || name.contains(['/', '\0']) {
            return broken(KEY, format!("{name:?} cannot be the name of a directory"));
        }
        if [".", "..", ".versions"].contains(&name.as_str()) {
            return broken(KEY, format!("{name:?} is a reserved name"));
        }
        if names[..index].contains(name) {
            return broken(KEY, format!("{name:?} is there twice"));
        }
    }
    Ok(names.to_vec())
}

fn resolve_history(raw: &raw::History) -> Result<HistoryConfig, Broken> {
    let slot = resolve_slot("history.slot", raw.slot.0)?;
    Ok(HistoryConfig { directory: raw.directory, listed: raw.listed, slot })
}

pub(super) fn resolve_slot(key: &'static str, slot: Duration) -> Result<Duration, Broken> {
    within(key, slot, Duration::ZERO..=Duration::from_secs(3600), "at most 1h")
}

fn resolve_mount(raw: &raw::Mount) -> Result<MountConfig, Broken> {
    let atime = match raw.atime.as_str() {
        "relatime" => Atime::Relatime,
        "noatime" => Atime::Noatime,
        _ => return broken("mount.atime", "must be \"relatime\" or \"noatime\""),
    };
    let threads = within("mount.threads", raw.threads, 0..=64, "from 0 to 64")?;
    let threads = NonZeroUsize::new(threads as usize);
    let grace = raw.stop_grace.0;
    let grace_range = Duration::ZERO..=Duration::from_secs(3600);
    let stop_grace = within("mount.stop_grace", grace, grace_range, "at most 1h")?;
    Ok(MountConfig { atime, threads, stop_grace })
}

fn resolve_log(raw: &raw::Log) -> Result<LogConfig, Broken> {
    let level = match raw.level.as_str() {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => return broken("log.level", "must be error, warn, info, debug or trace"),
    };
    let bytes = raw.file_bytes_max.0;
    let file_bytes_max = within("log.file_bytes_max", bytes, 64 << 10..=1 << 40, "from 64KiB")?;
    Ok(LogConfig { level, file_bytes_max })
}

fn resolve_control(raw: &raw::Control) -> Result<ControlConfig, Broken> {
    let socket_mode = match raw.socket_mode.as_str() {
        "0600" => 0o600,
        "0660" => 0o660,
        _ => return broken("control.socket_mode", "must be \"0600\" or \"0660\""),
    };
    Ok(ControlConfig { socket_mode })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::{Size, Time};

    #[test]
    fn the_defaults_break_no_rule() {
        assert_eq!(Config::resolve(&Raw::default()).unwrap(), Config::default());
    }

    fn both_secrets(raw: &mut Raw) {
        raw.encryption.passphrase_file = "/p".into();
        raw.encryption.key_file = "/k".into();
    }

    #[test]
    fn each_rule_names_its_key() {
        type Change = fn(&mut Raw);
        let broken: [(Change, &str); 27] = [
            (|raw| raw.store.chunk_bytes_min = Size(3000), "store.chunk_bytes_min"),
            (|raw| raw.store.chunk_bytes_avg = Size(16 << 10), "store.chunk_bytes_avg"),
            (|raw| raw.store.chunk_bytes_max = Size(64 << 10), "store.chunk_bytes_max"),
            (|raw| raw.store.compression_level = 20, "store.compression_level"),
            (|raw| raw.store.pack_bytes_target = Size(1), "store.pack_bytes_target"),
            (|raw| raw.store.dirty_bytes_max = Size(0), "store.dirty_bytes_max"),
            (|raw| raw.encryption.key_file = "key".into(), "encryption.key_file"),
            (both_secrets, "encryption.key_file"),
            (|raw| raw.encryption.unlock_time = Time(Duration::ZERO), "encryption.unlock_time"),
            (|raw| raw.tree.stages.push("a/b".into()), "tree.stages"),
            (|raw| raw.tree.stages.push("final".into()), "tree.stages"),
            (|raw| raw.history.slot = Time(Duration::from_secs(3601)), "history.slot"),
            (|raw| raw.history.never.push("a/b".into()), "history.never"),
            (|raw| raw.retention.floor = Time(Duration::MAX), "retention.floor"),
            (|raw| raw.retention.thinning.push("yearly".into()), "retention.thinning"),
            (|raw| raw.retention.interval = Some(6.into()), "retention.interval"),
            (|raw| raw.jobs.retention = " ".into(), "jobs.retention"),
            (|raw| raw.jobs.time_zone = "Europe/Nowhere".into(), "jobs.time_zone"),
            (|raw| raw.jobs.jitter = Time(Duration::MAX), "jobs.jitter"),
            (|raw| raw.jobs.on_failure = "mail".into(), "jobs.on_failure"),
            (|raw| raw.jobs.scrub_period = Time(Duration::ZERO), "jobs.scrub_period"),
            (|raw| raw.jobs.archive_after = "soon".into(), "jobs.archive_after"),
            (|raw| raw.jobs.archive_export = "nas".into(), "jobs.archive_export"),
            (|raw| raw.mount.atime = "strict".into(), "mount.atime"),
            (|raw| raw.mount.threads = 65, "mount.threads"),
            (|raw| raw.log.level = "loud".into(), "log.level"),
            (|raw| raw.control.socket_mode = "0777".into(), "control.socket_mode"),
        ];
        for (change, key) in broken {
            let mut raw = Raw::default();
            change(&mut raw);
            assert_eq!(Config::resolve(&raw).unwrap_err().key, key);
        }
    }
}
