//! The command line, with the real program.

#![allow(clippy::unwrap_used)] // all of it is test code

mod backup;
mod commands;
mod contract;
mod encrypted;
mod encrypted_terminal;
mod history;
mod jobs;
mod mounted;
mod projects;
mod readme;
mod rewinding;
mod room;
mod scrub;
mod support;
