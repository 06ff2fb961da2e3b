//! `verso status` for people.

use super::jobs::one_line;
use super::output::say;
use crate::config::format_bytes;
use crate::fs::Room;
use crate::jobs::Concern;
use crate::model::{Moment, Zone, local_name};
use serde::Deserialize;
use std::path::PathBuf;

/// The state of one store, as the control API and `--json` give it; or why it has none.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Known(Box<Report>),
    Unknown { store: PathBuf, error: String },
}

#[derive(Debug, Deserialize)]
struct Report {
    store: PathBuf,
    daemon: Option<Daemon>,
    /// Of the daemon.
    jobs: Option<Vec<Job>>,
    /// What to worry about.
    #[serde(default)]
    concerns: Vec<Concern>,
    /// Where its copies are.
    #[serde(default)]
    backups: Vec<Backup>,
    volume: Volume,
    /// Only where it was asked for.
    room: Option<Room>,
}

/// Whether a job runs, or when it does next.
#[derive(Debug, Deserialize)]
struct Job {
    name: String,
    next: Option<i64>,
    #[serde(default)]
    running: Option<serde_json::Value>,
}

/// A place for copies. Times in nanoseconds since 1970.
#[derive(Debug, Deserialize)]
struct Backup {
    name: String,
    current: Option<i64>,
    verified: Option<i64>,
    proven: Option<i64>,
    proven_bytes: Option<u64>,
    proven_of_bytes: Option<u64>,
    behind_seconds: Option<i64>,
}

/// The last upkeep that ran to its end.
#[derive(Debug, Deserialize)]
struct LastUpkeep {
    ended: i64,
    bytes_freed: u64,
}

/// How far reading and verifying everything is.
#[derive(Debug, Deserialize)]
struct Scrub {
    begun: i64,
    under_way: bool,
    bytes: u64,
    ended: Option<i64>,
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
    pack_bytes: u64,
    garbage_bytes: u64,
    metadata_bytes: u64,
    log_bytes: u64,
    available_bytes: u64,
    disk_bytes: u64,
    reserve_held_bytes: u64,
    is_full: bool,
    encryption: Option<Encryption>,
    last_upkeep: Option<LastUpkeep>,
    scrub: Option<Scrub>,
    failure: Option<String>,
}

/// How the store is encrypted.
#[derive(Debug, Deserialize)]
struct Encryption {
    cipher: String,
    keys: u64,
    old_keys_in_use: bool,
}

/// Prints `status` for programs.
pub fn show_json(status: &serde_json::Value) -> Result<(), serde_json::Error> {
    say(&serde_json::to_string_pretty(status)?);
    Ok(())
}

/// Prints `reports`, the control API's status of each store, for people.
pub fn show_status(reports: &[serde_json::Value], zone: &Zone) -> Result<(), serde_json::Error> {
    for (index, report) in reports.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        let text = match Answer::deserialize(report)? {
            Answer::Known(report) => report.to_text(zone),
            Answer::Unknown { store, error } => {
                format!("store       {}\nunknown     {error}", store.display())
            }
        };
        say(&format!("{gap}{text}"));
    }
    Ok(())
}

/// Whether any of `reports` tells something that needs attention, and what in a line.
pub fn attention_of(reports: &[serde_json::Value]) -> Option<String> {
    let told = reports.iter().filter_map(|report| match Answer::deserialize(report).ok()? {
        Answer::Known(report) => report.attention(),
        Answer::Unknown { store, error } => Some(format!("{}: {error}", store.display())),
    });
    let lines: Vec<String> = told.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

impl Backup {
    fn to_text(&self, zone: &Zone) -> String {
        let time =
            |at: Option<i64>| at.map_or("never".to_owned(), |at| local_name(Moment(at), zone));
        let behind = self.behind_seconds.map(|behind| format!(" ({behind} s behind)"));
        let much = self
            .proven_bytes
            .zip(self.proven_of_bytes)
            .map(|(bytes, of)| format!(" ({} of {})", format_bytes(bytes), format_bytes(of)));
        format!(
            "{}: current {}{}; verified {}; proven {}{}",
            self.name,
            time(self.current),
            behind.unwrap_or_default(),
            time(self.verified),
            time(self.proven),
            much.unwrap_or_default()
        )
    }
}

impl Report {
    fn attention(&self) -> Option<String> {
        let volume = &self.volume;
        let things = self.concerns.len()
            + usize::from(volume.is_full)
            + usize::from(volume.failure.is_some());
        let plural = if things == 1 { "thing needs" } else { "things need" };
        (things > 0).then(|| format!("{}: {things} {plural} attention", self.store.display()))
    }

    fn concern_lines(&self, zone: &Zone) -> Vec<(&'static str, String)> {
        let line = |concern: &Concern| {
            let since = concern.since.map(|at| format!(" ({})", local_name(Moment(at), zone)));
            let what = one_line(&concern.what);
            format!("{what}{}; {}", since.unwrap_or_default(), concern.advice)
        };
        self.concerns.iter().map(|concern| ("attention", line(concern))).collect()
    }

    /// What runs, or what does next.
    fn jobs(&self, zone: &Zone) -> String {
        let Some(jobs) = &self.jobs else {
            return "none runs by itself while the store is not mounted for writing".to_owned();
        };
        let running = jobs.iter().filter(|job| job.running.is_some());
        let running: Vec<&str> = running.map(|job| job.name.as_str()).collect();
        if !running.is_empty() {
            return format!("{} now; `verso jobs` shows how far", running.join(", "));
        }
        let next = jobs.iter().filter_map(|job| Some((job.next?, job.name.as_str()))).min();
        let next = next.map_or("none runs by itself".to_owned(), |(at, name)| {
            format!("next {name} {}", local_name(Moment(at), zone))
        });
        match self.concerns.is_empty() {
            true => format!("all well; {next}"),
            false => next,
        }
    }

    fn to_text(&self, zone: &Zone) -> String {
        let volume = &self.volume;
        let mut lines = vec![
            ("store", self.store.display().to_string()),
            ("drive", self.drive()),
            ("health", self.health()),
            ("encrypted", self.encryption()),
        ];
        lines.splice(3..3, self.concern_lines(zone));
        lines.extend(volume.is_full.then(|| ("full", self.full())));
        lines.extend([
            ("logical", format_bytes(volume.logical_bytes)),
            ("unique", sized(volume.unique_bytes, volume.logical_bytes, "without repetitions")),
            ("stored", sized(volume.stored_bytes, volume.logical_bytes, "on the disk")),
            ("packs", self.packs()),
            ("metadata", self.metadata()),
            ("free", self.free()),
        ]);
        lines.extend(self.room.iter().flat_map(room_lines));
        lines.extend(self.backup_lines(zone));
        lines.extend([
            ("jobs", self.jobs(zone)),
            ("upkeep", self.upkeep(zone)),
            ("verified", self.verified(zone)),
            ("unwritten", format_bytes(volume.dirty_bytes)),
            ("contents", format!("{} files, {} directories", volume.files, volume.directories)),
            ("pieces", format!("{} chunks in {} packs", volume.chunks, volume.packs)),
        ]);
        let line = |(name, value): &(&str, String)| format!("{name:<12}{value}");
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// How things stand with each place.
    fn backup_lines(&self, zone: &Zone) -> Vec<(&'static str, String)> {
        if self.backups.is_empty() {
            return vec![("backup", "there is no place for it in the settings".to_owned())];
        }
        self.backups.iter().map(|backup| ("backup", backup.to_text(zone))).collect()
    }

    fn encryption(&self) -> String {
        let Some(Encryption { cipher, keys, old_keys_in_use }) = &self.volume.encryption else {
            return "no".to_owned();
        };
        let plural = if *keys == 1 { "" } else { "s" };
        let old = match (old_keys_in_use, &self.daemon) {
            (false, _) => "",
            (true, Some(_)) => "; contents are being encrypted with the new master key",
            (true, None) => {
                "; contents are still encrypted with an earlier master key: mount it, or `verso tidy`"
            }
        };
        format!("{cipher}, {keys} key{plural}{old}")
    }

    /// What to do, in one line.
    fn full(&self) -> String {
        let store = self.store.display();
        format!(
            "there is no room left. `verso status --space {store}` says what comes free when; at \
             once: `verso tidy --floor 7d --yes {store}` (see --dry-run), `verso erase PATH`"
        )
    }

    fn packs(&self) -> String {
        let (packs, garbage) = (self.volume.pack_bytes, self.volume.garbage_bytes);
        format!("{}, {} of it not in use", format_bytes(packs), format_bytes(garbage))
    }

    fn metadata(&self) -> String {
        let (all, log) = (self.volume.metadata_bytes, self.volume.log_bytes);
        format!("{}, {} of it the log", format_bytes(all), format_bytes(log))
    }

    fn free(&self) -> String {
        let Volume { available_bytes, disk_bytes, reserve_held_bytes, .. } = self.volume;
        format!(
            "{} of {} on the store's disk, and {} set aside so that deleting works",
            format_bytes(available_bytes),
            format_bytes(disk_bytes),
            format_bytes(reserve_held_bytes)
        )
    }

    /// How the last one went.
    fn upkeep(&self, zone: &Zone) -> String {
        let time = |nanos: i64| local_name(Moment(nanos), zone);
        match &self.volume.last_upkeep {
            None => "there was none yet".to_owned(),
            Some(last) => {
                format!("{}: {} came free", time(last.ended), format_bytes(last.bytes_freed))
            }
        }
    }

    /// When everything was last read from the disk and verified, and how far it is since.
    fn verified(&self, zone: &Zone) -> String {
        let time = |nanos: i64| local_name(Moment(nanos), zone);
        let Some(scrub) = &self.volume.scrub else { return "nothing yet by itself".to_owned() };
        let all = scrub.ended.map(|ended| format!("everything by {}", time(ended)));
        let part = scrub
            .under_way
            .then(|| format!("{} since {}", format_bytes(scrub.bytes), time(scrub.begun)));
        all.into_iter().chain(part).collect::<Vec<_>>().join("; ")
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
            None if self.attention().is_some() => "something needs attention".to_owned(),
            None => "good".to_owned(),
            Some(why) => format!("takes no more writes: {why}"),
        }
    }
}

fn room_lines(room: &Room) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("of which", format!("{} in what lives", format_bytes(room.living_bytes))),
        ("", format!("{} in history only", format_bytes(room.history_bytes))),
        ("", format!("{} in nothing any more", format_bytes(room.unused_bytes))),
    ];
    for (at, coming) in room.coming.iter().enumerate() {
        let when = match coming.days {
            0 => "at once (`verso tidy`, or the next upkeep)".to_owned(),
            days => format!("within {days} days"),
        };
        let name = if at == 0 { "comes free" } else { "" };
        lines.push((name, format!("{} {when}", format_bytes(coming.bytes))));
    }
    let lasting = format_bytes(room.lasting_bytes);
    lines.push(("stays", format!("{lasting} of history for longer (thinned out, or pinned)")));
    lines
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
    use crate::fs::Coming;
    use serde_json::json;

    fn report() -> Report {
        let report = json!({
            "store": "/s", "daemon": { "pid": 7, "mountpoint": "/m", "read_only": true },
            "volume": {
                "logical_bytes": 3_u64 << 30, "unique_bytes": 1_u64 << 30, "stored_bytes": 0,
                "files": 2, "directories": 1, "chunks": 5, "packs": 1, "dirty_bytes": 0,
                "metadata_bytes": 4096, "available_bytes": 1, "failure": null, "something_new": 1,
                "pack_bytes": 2048, "garbage_bytes": 1024, "log_bytes": 0, "is_full": false,
                "disk_bytes": 1_u64 << 40, "reserve_held_bytes": 64_u64 << 20, "encryption": null,
                "last_upkeep": { "ended": 0, "rows_dropped": 1, "bytes_freed": 1024 }
            },
            "jobs": [{ "name": "retention", "next": 60_000_000_000_i64 }]
        });
        Report::deserialize(report).unwrap()
    }

    #[test]
    fn the_text_has_space_and_ratios() {
        let text = report().to_text(&Zone::UTC);
        assert!(text.contains("1.00 GiB without repetitions (1 : 3.00)"), "{text}");
        assert!(text.contains("/m (read-only, process 7)"));
        assert!(text.contains("stored      0 B"));
        assert!(text.contains("health      good"));
        assert!(text.contains("packs       2.00 KiB, 1.00 KiB of it not in use"), "{text}");
        assert!(text.contains("free        1 B of 1.00 TiB on the store's disk, and 64.0 MiB set"));
        let upkeep = "jobs        all well; next retention 1970-01-01 00:01:00\n\
                      upkeep      1970-01-01 00:00:00: 1.00 KiB came free\n";
        assert!(text.contains(upkeep) && !text.contains("comes free"), "{text}");
        assert!(text.contains("\nverified    nothing yet by itself\n"), "{text}");
        let mut read = report();
        let scrub = |ended| Some(Scrub { begun: 0, under_way: true, bytes: 2048, ended });
        read.volume.scrub = scrub(Some(60_000_000_000));
        let expected = "everything by 1970-01-01 00:01:00; 2.00 KiB since 1970-01-01 00:00:00";
        assert_eq!(read.verified(&Zone::UTC), expected);
        read.volume.scrub = scrub(None);
        assert_eq!(read.verified(&Zone::UTC), "2.00 KiB since 1970-01-01 00:00:00");
    }

    #[test]
    fn each_thing_to_worry_about_is_a_line_and_all_of_them_an_exit_code() {
        let concern = |what: &str, since| json!({ "severity": "warning", "what": what, "since": since, "advice": "look" });
        let well = json!({ "store": "/s", "daemon": null, "volume": {
            "logical_bytes": 0, "unique_bytes": 0, "stored_bytes": 0, "files": 2, "directories": 1,
            "chunks": 5, "packs": 1, "dirty_bytes": 0, "metadata_bytes": 4096, "available_bytes": 1,
            "pack_bytes": 2048, "garbage_bytes": 1024, "log_bytes": 0, "is_full": false,
            "disk_bytes": 1, "reserve_held_bytes": 0 } });
        assert_eq!(attention_of(&[well.clone(), well.clone()]), None);
        let mut bad = well.clone();
        bad["concerns"] =
            json!([concern("job a\nfailed", Some(0)), concern("job b is late", None)]);
        let text = Report::deserialize(&bad).unwrap().to_text(&Zone::UTC);
        let lines = "health      something needs attention\n\
                     attention   job a failed (1970-01-01 00:00:00); look\n\
                     attention   job b is late; look\n";
        assert!(text.contains(lines), "{text}");
        let dead = json!({ "store": "/dead", "error": "no daemon answers" });
        let told = attention_of(&[well.clone(), bad, dead]).unwrap();
        assert_eq!(told, "/s: 2 things need attention\n/dead: no daemon answers");
        let mut full = well;
        full["volume"]["is_full"] = true.into();
        assert_eq!(attention_of(&[full]).unwrap(), "/s: 1 thing needs attention");
    }

    #[test]
    fn how_it_is_encrypted_is_told() {
        let mut report = report();
        assert!(report.to_text(&Zone::UTC).contains("\nencrypted   no\n"));
        let mut with = |keys, old_keys_in_use| {
            let cipher = "AES-256-GCM".to_owned();
            report.volume.encryption = Some(Encryption { cipher, keys, old_keys_in_use });
            report.to_text(&Zone::UTC)
        };
        assert!(with(2, false).contains("\nencrypted   AES-256-GCM, 2 keys\n"));
        assert!(with(1, true).contains("\nencrypted   AES-256-GCM, 1 key; contents are being enc"));
    }

    #[test]
    fn what_comes_free_when_is_told_where_it_was_asked_for() {
        let coming = |days, bytes| Coming { days, chunks: 1, bytes };
        let room = Room {
            living_bytes: 1024,
            history_bytes: 8192,
            unused_bytes: 0,
            coming: vec![coming(0, 1024), coming(7, 2048)],
            lasting_bytes: 6144,
        };
        let text = Report { room: Some(room), ..report() }.to_text(&Zone::UTC);
        for line in [
            "of which    1.00 KiB in what lives",
            "            8.00 KiB in history only",
            "comes free  1.00 KiB at once (`verso tidy`, or the next upkeep)",
            "            2.00 KiB within 7 days",
            "stays       6.00 KiB of history for longer",
        ] {
            assert!(text.contains(&format!("\n{line}")), "{line}: {text}");
        }
    }

    #[test]
    fn a_full_disk_says_what_to_do_in_one_line() {
        let mut report = report();
        report.volume.is_full = true;
        let text = report.to_text(&Zone::UTC);
        let line = text.lines().find(|line| line.starts_with("full ")).unwrap();
        for advice in ["status --space /s", "tidy --floor 7d", "erase PATH"] {
            assert!(line.contains(advice), "{line}");
        }
    }

    #[test]
    fn a_store_that_refuses_writes_says_so() {
        let mut report = report();
        report.volume.failure = Some("fsync failed".to_owned());
        assert!(report.to_text(&Zone::UTC).contains("takes no more writes: fsync failed"));
    }
}
