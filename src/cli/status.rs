//! `verso status` for people.

use super::output::say;
use crate::config::format_bytes;
use serde::Deserialize;
use std::fmt::Write;
use std::path::PathBuf;

/// The state of one store, as the control API and `--json` give it; or why it has none.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Known(Report),
    Unknown { store: PathBuf, error: String },
}

#[derive(Debug, Deserialize)]
struct Report {
    store: PathBuf,
    daemon: Option<Daemon>,
    volume: Volume,
}

#[derive(Debug, Deserialize)]
struct Daemon {
    pid: u32,
    mountpoint: PathBuf,
    read_only: bool,
}

/// What is shown of the volume's own numbers.
#[derive(Debug, Deserialize)]
struct Volume {
    logical_bytes: u64,
    unique_bytes: u64,
    stored_bytes: u64,
    files: u64,
    directories: u64,
    chunks: u64,
    packs: u64,
    dirty_bytes: u64,
    metadata_bytes: u64,
    available_bytes: u64,
    failure: Option<String>,
}

/// Prints `status` for programs.
pub fn show_json(status: &serde_json::Value) -> Result<(), serde_json::Error> {
    say(&serde_json::to_string_pretty(status)?);
    Ok(())
}

/// Prints `reports`, the control API's status of each store, for people.
pub fn show_status(reports: &[serde_json::Value]) -> Result<(), serde_json::Error> {
    for (index, report) in reports.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        let text = match Answer::deserialize(report)? {
            Answer::Known(report) => report.to_text(),
            Answer::Unknown { store, error } => {
                format!("store       {}\nunknown     {error}", store.display())
            }
        };
        say(&format!("{gap}{text}"));
    }
    Ok(())
}

impl Report {
    fn to_text(&self) -> String {
        let volume = &self.volume;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name:<12}{value}");
        };
        line("store", self.store.display().to_string());
        line("drive", self.drive());
        line("health", self.health());
        line("logical", format_bytes(volume.logical_bytes));
        line("unique", sized(volume.unique_bytes, volume.logical_bytes, "without repetitions"));
        line("stored", sized(volume.stored_bytes, volume.logical_bytes, "on the disk"));
        line("metadata", format_bytes(volume.metadata_bytes));
        line("free", format!("{} on the store's disk", format_bytes(volume.available_bytes)));
        line("unwritten", format_bytes(volume.dirty_bytes));
        line("contents", format!("{} files, {} directories", volume.files, volume.directories));
        line("pieces", format!("{} chunks in {} packs", volume.chunks, volume.packs));
        text.trim_end().to_owned()
    }

    fn drive(&self) -> String {
        match &self.daemon {
            None => "not mounted".to_owned(),
            Some(daemon) => {
                let how = if daemon.read_only { "read-only, " } else { "" };
                format!("{} ({how}process {})", daemon.mountpoint.display(), daemon.pid)
            }
        }
    }

    fn health(&self) -> String {
        match &self.volume.failure {
            None => "good".to_owned(),
            Some(why) => format!("takes no more writes: {why}"),
        }
    }
}

/// `bytes`, and how they compare to the logical size.
fn sized(bytes: u64, logical: u64, what: &str) -> String {
    match bytes {
        0 => format_bytes(0),
        bytes => {
            let ratio = logical as f64 / bytes as f64;
            format!("{} {what} (1 : {ratio:.2})", format_bytes(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Report {
        let report = json!({
            "store": "/s", "daemon": { "pid": 7, "mountpoint": "/m", "read_only": true },
            "volume": {
                "logical_bytes": 3_u64 << 30, "unique_bytes": 1_u64 << 30, "stored_bytes": 0,
                "files": 2, "directories": 1, "chunks": 5, "packs": 1, "dirty_bytes": 0,
                "metadata_bytes": 4096, "available_bytes": 1, "failure": null, "something_new": 1
            }
        });
        Report::deserialize(report).unwrap()
    }

    #[test]
    fn the_text_has_space_and_ratios() {
        let text = report().to_text();
        assert!(text.contains("1.00 GiB without repetitions (1 : 3.00)"), "{text}");
        assert!(text.contains("/m (read-only, process 7)"));
        assert!(text.contains("stored      0 B"));
        assert!(text.contains("health      good"));
    }

    #[test]
    fn a_store_that_refuses_writes_says_so() {
        let mut report = report();
        report.volume.failure = Some("fsync failed".to_owned());
        assert!(report.to_text().contains("takes no more writes: fsync failed"));
    }
}
