//! What can be written into a settings file, and the defaults.

use super::units::{Size, Time};
use crate::model::NEVER;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A whole settings file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) store: Store,
    pub(super) encryption: Encryption,
    pub(super) tree: Tree,
    pub(super) history: History,
    pub(super) retention: Retention,
    pub(super) jobs: Jobs,
    pub(super) mount: Mount,
    pub(super) log: Log,
    pub(super) control: Control,
    /// `[[backup]]`, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) backup: Vec<Backup>,
    /// `[[rule]]`, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rule: Vec<Rule>,
}

/// Two keys have no default, as nobody's location is another's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backup {
    pub(super) name: String,
    pub(super) location: String,
    #[serde(default)]
    pub(super) options: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) credentials: String,
    #[serde(default = "backup_schedule")]
    pub(super) schedule: String,
    #[serde(default = "backup_full")]
    pub(super) full: String,
    #[serde(default = "backup_verify")]
    pub(super) verify: String,
    #[serde(default = "backup_drill")]
    pub(super) drill: String,
    #[serde(default = "backup_drill_all")]
    pub(super) drill_all: String,
    #[serde(default = "backup_prune")]
    pub(super) prune: String,
    #[serde(default = "backup_keep")]
    pub(super) keep: String,
    #[serde(default)]
    pub(super) continuous: bool,
    #[serde(default)]
    pub(super) append_only: bool,
    #[serde(default = "backup_bytes_per_second_max")]
    pub(super) bytes_per_second_max: Size,
    #[serde(default = "backup_connections")]
    pub(super) connections: u32,
}

fn backup_schedule() -> String {
    "30 1 * * *".to_owned()
}

fn backup_full() -> String {
    "0 3 * * 0".to_owned()
}

fn backup_verify() -> String {
    "0 5 * * 3".to_owned()
}

fn backup_drill() -> String {
    "0 6 1 * *".to_owned()
}

fn backup_drill_all() -> String {
    "never".to_owned()
}

fn backup_prune() -> String {
    "30 6 * * *".to_owned()
}

fn backup_keep() -> String {
    "30d".to_owned()
}

fn backup_bytes_per_second_max() -> Size {
    Size(0)
}

fn backup_connections() -> u32 {
    4
}

#[cfg(test)]
impl Backup {
    pub(super) fn example() -> Backup {
        toml::from_str("name = \"nas\"\nlocation = \"/mnt/nas\"\n").expect("it has what it needs")
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) paths: Vec<String>,
    pub(super) floor: Option<Time>,
    pub(super) thinning: Option<Vec<String>>,
    pub(super) versions_max: Option<u64>,
    pub(super) bytes_max: Option<Size>,
    pub(super) slot: Option<Time>,
    pub(super) never: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    pub(super) chunk_bytes_min: Size,
    pub(super) chunk_bytes_avg: Size,
    pub(super) chunk_bytes_max: Size,
    pub(super) compression_level: i32,
    pub(super) pack_bytes_target: Size,
    pub(super) cache_bytes_max: Size,
    pub(super) dirty_bytes_max: Size,
    pub(super) reserve_bytes: Size,
    pub(super) sync_interval: Time,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Encryption {
    pub(super) passphrase_file: String,
    pub(super) key_file: String,
    pub(super) unlock_time: Time,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tree {
    pub(super) stages: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct History {
    pub(super) directory: bool,
    pub(super) listed: bool,
    pub(super) slot: Time,
    pub(super) never: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Retention {
    pub(super) floor: Time,
    pub(super) thinning: Vec<String>,
    pub(super) grace: Time,
    /// Of earlier versions: it has another place now.
    #[serde(skip_serializing)]
    pub(super) interval: Option<toml::Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Jobs {
    pub(super) retention: String,
    pub(super) scrub: String,
    pub(super) scrub_period: Time,
    pub(super) archive: String,
    pub(super) archive_after: String,
    pub(super) archive_export: String,
    pub(super) time_zone: String,
    pub(super) jitter: Time,
    pub(super) bytes_per_second_max: Size,
    pub(super) busy_bytes_per_second_max: Size,
    pub(super) on_failure: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mount {
    pub(super) atime: String,
    pub(super) threads: u32,
    pub(super) stop_grace: Time,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) level: String,
    pub(super) file_bytes_max: Size,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Control {
    pub(super) socket_mode: String,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            chunk_bytes_min: Size(16 << 10),
            chunk_bytes_avg: Size(64 << 10),
            chunk_bytes_max: Size(256 << 10),
            compression_level: 3,
            pack_bytes_target: Size(32 << 20),
            cache_bytes_max: Size(48 << 20),
            dirty_bytes_max: Size(64 << 20),
            reserve_bytes: Size(64 << 20),
            sync_interval: Time(Duration::from_secs(5)),
        }
    }
}

impl Default for Encryption {
    fn default() -> Encryption {
        Encryption {
            passphrase_file: String::new(),
            key_file: String::new(),
            unlock_time: Time(Duration::from_secs(1)),
        }
    }
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { stages: ["original", "staged", "drafts", "final"].map(String::from).to_vec() }
    }
}

impl Default for History {
    fn default() -> History {
        History {
            directory: true,
            listed: false,
            slot: Time(Duration::from_secs(10)),
            never: NEVER.map(String::from).to_vec(),
        }
    }
}

impl Default for Retention {
    fn default() -> Retention {
        let hour = Duration::from_secs(3600);
        Retention {
            floor: Time(hour * 24 * 30),
            thinning: ["all 1d", "hourly 7d", "daily 30d", "weekly"].map(String::from).to_vec(),
            grace: Time(hour),
            interval: None,
        }
    }
}

impl Default for Jobs {
    fn default() -> Jobs {
        Jobs {
            retention: "every 6h".to_owned(),
            scrub: "0 4 * * *".to_owned(),
            scrub_period: Time(Duration::from_secs(30 * 24 * 3600)),
            archive: "30 4 * * *".to_owned(),
            archive_after: "90d".to_owned(),
            archive_export: String::new(),
            time_zone: String::new(),
            jitter: Time(Duration::from_secs(5 * 60)),
            bytes_per_second_max: Size(0),
            busy_bytes_per_second_max: Size(16 << 20),
            on_failure: String::new(),
        }
    }
}

impl Default for Mount {
    fn default() -> Mount {
        Mount { atime: "relatime".to_owned(), threads: 0, stop_grace: Time(Duration::from_secs(5)) }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info".to_owned(), file_bytes_max: Size(8 << 20) }
    }
}

impl Default for Control {
    fn default() -> Control {
        Control { socket_mode: "0600".to_owned() }
    }
}
