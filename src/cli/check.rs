//! `verso check` for people.

use super::output::say;
use crate::config::format_bytes;
use crate::fs::{CheckReport, Finding, Shown};
use serde::Serialize;
use std::collections::BTreeMap;

/// Files that are named for one kind of message before the rest is only counted.
const FILES_SHOWN_MAX: usize = 1000;

/// How the store is encrypted.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Encryption {
    /// How many keys open it.
    pub keys: usize,
}

/// Prints what a check found.
pub fn show_check(report: &CheckReport, encryption: Option<&Encryption>) {
    say(&to_text(report, encryption));
}

fn to_text(report: &CheckReport, encryption: Option<&Encryption>) -> String {
    let mut lines = Vec::new();
    for finding in &report.repaired {
        lines.push(format!("repaired  {}", finding.message));
        lines.extend(of_files(finding));
    }
    for finding in &report.findings {
        lines.push(format!("damaged   {}", finding.message));
        lines.extend(of_files(finding));
        if let Some(repair) = &finding.repair {
            lines.push(format!("          --repair: {repair}"));
        }
    }
    lines.extend(damaged_files(report));
    if report.leaked_bytes > 0 {
        let leaked = format_bytes(report.leaked_bytes);
        lines.push(format!("{leaked} in the packs belong to no file; that is harmless"));
    }
    if let Some(Encryption { keys }) = encryption {
        let plural = if *keys == 1 { "" } else { "s" };
        let tags = if report.read_data { ", and each tag was verified" } else { "" };
        lines.push(format!("everything is encrypted (AES-256-GCM, {keys} key{plural}){tags}"));
    }
    lines.push(verdict(report));
    lines.join("\n")
}

fn of_files(finding: &Finding) -> Vec<String> {
    let lines = |file: &Shown| -> Vec<String> {
        let when = when(file);
        file.paths.iter().map(|path| format!("          in {path}{when}")).collect()
    };
    finding.files.iter().flat_map(lines).collect()
}

/// Which of its contents it is about, if not the present one.
fn when(file: &Shown) -> String {
    let numbers: Vec<String> = file.versions.iter().map(u64::to_string).collect();
    match (file.is_live, numbers.len()) {
        (true, _) => String::new(),
        (false, 0) => " (an earlier state)".to_owned(),
        (false, 1) => format!(" (an earlier state: version {})", numbers[0]),
        (false, _) => format!(" (earlier states: versions {})", numbers.join(", ")),
    }
}

/// Each file once, however much of it is damaged.
fn damaged_files(report: &CheckReport) -> Vec<String> {
    let mut files: BTreeMap<&str, usize> = BTreeMap::new();
    for file in report.findings.iter().flat_map(|finding| &finding.files) {
        for path in file.paths.iter().filter(|_| file.is_live) {
            *files.entry(path).or_default() += 1;
        }
    }
    let mut lines: Vec<String> = Vec::new();
    if !files.is_empty() {
        lines.push(format!("{} files are touched:", files.len()));
    }
    let shown = files.iter().take(FILES_SHOWN_MAX);
    lines.extend(shown.map(|(path, places)| format!("  {path} (in {places} places)")));
    lines
}

fn verdict(report: &CheckReport) -> String {
    let wrong = report.findings.len() as u64 + report.omitted;
    let extent = match report.read_data {
        true => "everything was read",
        false => "contents were not read, --read-data does that",
    };
    match wrong {
        0 => format!("{}: nothing is wrong ({extent})", report.store),
        _ => format!("{}: {wrong} things are wrong ({extent})", report.store),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Problem;

    fn report(findings: Vec<Finding>) -> CheckReport {
        let json = serde_json::json!({
            "store": "/s", "read_data": true, "findings": findings, "omitted": 0, "repaired": [],
            "leaked_bytes": 2048
        });
        serde_json::from_value(json).unwrap()
    }

    fn shown(is_live: bool, versions: Vec<u64>) -> Shown {
        Shown { ino: 7, paths: vec!["/a".into()], is_live, versions }
    }

    #[test]
    fn earlier_states_are_told_by_their_numbers() {
        assert_eq!(when(&shown(true, vec![1, 2])), "");
        assert_eq!(when(&shown(false, vec![])), " (an earlier state)");
        assert_eq!(when(&shown(false, vec![2])), " (an earlier state: version 2)");
        assert_eq!(when(&shown(false, vec![2, 3])), " (earlier states: versions 2, 3)");
    }

    #[test]
    fn files_are_named_once_and_the_last_line_is_the_verdict() {
        let finding = |chunk| Finding {
            problem: Problem::ChunkDamaged { chunk, why: "bad".into() },
            message: "bad".into(),
            files: vec![shown(true, vec![3])],
            repair: None,
        };
        let text = to_text(&report(vec![finding(1), finding(2)]), None);
        assert!(text.contains("damaged   bad\n          in /a\n"), "{text}");
        assert!(text.contains("1 files are touched:\n  /a (in 2 places)\n"), "{text}");
        assert!(text.ends_with("/s: 2 things are wrong (everything was read)"), "{text}");
        assert!(to_text(&report(vec![]), None).contains("nothing is wrong"));
        let text = to_text(&report(vec![]), Some(&Encryption { keys: 1 }));
        assert!(text.contains("encrypted (AES-256-GCM, 1 key), and each tag was verified\n"));
    }
}
