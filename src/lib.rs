//! Verso: a drive that remembers.
//!
//! The library behind the `verso` binary. Its rooms, and who may use whom, are described in
//! `ARCHITECTURE.md` and held by `tests/architecture.rs`.

pub mod backup;
pub mod chunks;
pub mod cli;
pub mod config;
pub mod crypt;
pub mod daemon;
pub mod fs;
pub mod fuse;
pub mod http;
pub mod jobs;
pub mod meta;
pub mod model;
pub mod projects;
pub mod recall;
pub mod sys;
