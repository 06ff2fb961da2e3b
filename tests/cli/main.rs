//! The command line, with the real program.

#![allow(clippy::unwrap_used)] // all of it is test code

mod commands;
mod contract;
mod history;
mod mounted;
mod readme;
mod rewinding;
mod room;
mod support;
