//! How a volume behaves.

use crate::chunks::PackSource;
use crate::crypt::{Keyring, Secret};
use crate::model::{Policy, Rules, Zone};
use std::sync::Arc;
use std::time::Duration;

/// When reading updates the time of the last read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtimeMode {
    /// When it is older than the last change, or than a day.
    #[default]
    Relatime,
    /// Never.
    Noatime,
}

/// How a volume behaves: validated settings, see `config`.
#[derive(Clone, Debug)]
pub struct VolumeOptions {
    /// Nothing is changed.
    pub read_only: bool,
    /// Written bytes that may be in memory over all files before writers are held back.
    pub dirty_bytes_max: u64,
    /// Memory for chunks that were read.
    pub cache_bytes: u64,
    /// What was acknowledged without fsync is on disk after this.
    pub sync_interval: Duration,
    /// Room set aside so that a full disk can be emptied.
    pub reserve_bytes: u64,
    /// Directories that every new project gets; empty: none.
    pub stages: Vec<String>,
    /// When reading updates the time of the last read.
    pub atime: AtimeMode,
    /// zstd's level.
    pub compression_level: i32,
    /// Pack files are sealed at this size.
    pub pack_bytes: u64,
    /// Attribute changes of an inode within a slot of this length leave no state of their own, and saves of a user no
    /// version, where `rules` say nothing else of these.
    pub coalesce: Duration,
    /// Whether `.versions` answers in every directory.
    pub history_dir: bool,
    /// Whether the root lists its `.versions`.
    pub history_listed: bool,
    /// What of the past is kept, and for how long, where `rules` say nothing else.
    pub retention: Policy,
    /// What holds for some paths only.
    pub rules: Rules,
    /// The time zone in which moments are read.
    pub zone: Zone,
    /// Threads that cut, hash and compress in the background.
    pub seal_threads: usize,
    /// What unlocks the store, if it is encrypted.
    pub secret: Option<Arc<Secret>>,
    /// The keys themselves, in the place of `secret`.
    pub keys: Option<Arc<Keyring>>,
    /// Where the packs lie, if not in the store; with `read_only`.
    pub pack_source: Option<Arc<dyn PackSource>>,
}

impl Default for VolumeOptions {
    fn default() -> Self {
        VolumeOptions {
            read_only: false,
            dirty_bytes_max: 64 << 20,
            cache_bytes: 48 << 20,
            sync_interval: Duration::from_secs(5),
            reserve_bytes: 64 << 20,
            stages: ["original", "staged", "drafts", "final"].map(String::from).to_vec(),
            atime: AtimeMode::default(),
            compression_level: 3,
            pack_bytes: 32 << 20,
            coalesce: Duration::from_secs(10),
            history_dir: true,
            history_listed: false,
            retention: Policy::default(),
            rules: Rules::default(),
            zone: Zone::UTC,
            seal_threads: 2,
            secret: None,
            keys: None,
            pack_source: None,
        }
    }
}
