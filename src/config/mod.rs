//! Settings: a TOML file, then environment variables over it, resolved once into valid values.
//!
//! [`raw`] is what can be written down, [`Config`] is what it means; nothing else in the program
//! reads settings in any other way. `config/verso.toml` documents each of them, and a test holds
//! that file against the defaults here.

mod backup;
mod error;
mod jobs;
mod raw;
mod resolve;
mod retention;
mod rules;
mod source;
mod units;

pub use backup::{BackupConfig, is_secret_option, read_credentials};
pub use error::ConfigError;
pub use jobs::JobsConfig;
pub use resolve::{
    Atime, Config, ControlConfig, EncryptionConfig, HistoryConfig, LogConfig, LogLevel,
    MountConfig, StoreConfig, TreeConfig,
};
pub use retention::RetentionConfig;
pub use source::{Origin, SYSTEM_FILE, Sources, VARIABLE_PREFIX};
pub use units::{format_bytes, parse_size, parse_time};

/// The documented defaults, as installed to `/etc/verso/verso.toml`.
pub const DEFAULT_FILE: &str = include_str!("../../config/verso.toml");
