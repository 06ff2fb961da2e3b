//! `verso why`, `space` and `erase`: arguments, and answers for people.

use super::exit::{Exit, Failure};
use super::history::PathArgs;
use super::output::say;
use super::tidy::ranges;
use crate::config::format_bytes;
use crate::fs::{EraseReport, Reason, SpaceReport};
use crate::model::{Moment, Timestamp, Zone, local_name};
use clap::Args;
use std::io::{self, BufRead, IsTerminal, Write};

/// `verso why`
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// Which path
    #[command(flatten)]
    pub path: PathArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verso space`
#[derive(Args, Debug)]
pub struct SpaceArgs {
    /// Which path
    #[command(flatten)]
    pub path: PathArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verso erase`
#[derive(Args, Debug)]
pub struct EraseArgs {
    /// Which path
    #[command(flatten)]
    pub path: PathArgs,
    /// Erase the history only: what lives stays
    #[arg(long)]
    pub history: bool,
    /// Don't ask
    #[arg(long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Fails unless the person at the terminal says yes, or has said so before.
pub fn confirmed(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let refused = |message: &str| {
        Err(Failure::new(Exit::Usage, message).help("with --yes it is done without a question"))
    };
    if !io::stdin().is_terminal() {
        return refused("this can't be undone, and there is nobody to ask");
    }
    let mut answer = String::new();
    let asked = write!(io::stderr(), "{what}? Nothing brings it back. Type yes: ");
    let heard = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    match heard.is_ok() && answer.trim() == "yes" {
        true => Ok(()),
        false => refused("nothing was done"),
    }
}

/// Prints what retention says about what a name showed.
pub fn show_why(reasons: &[Reason], now: Timestamp, zone: &Zone) {
    say(&why_text(reasons, now, zone));
}

/// The numbers of the versions, as `v1-v3, v5`.
pub fn version_ranges(reasons: &[Reason]) -> String {
    let mut numbers: Vec<u64> = reasons.iter().map(|reason| reason.number).collect();
    numbers.retain(|number| *number > 0);
    numbers.sort_unstable();
    ranges(&numbers)
}

fn why_text(reasons: &[Reason], now: Timestamp, zone: &Zone) -> String {
    let time = |nanos: i64| local_name(Moment(nanos), zone);
    let line = |reason: &Reason| {
        let number = if reason.number > 0 { format!("v{}", reason.number) } else { "-".to_owned() };
        let fate = match (reason.kept, reason.ended, reason.until) {
            (false, ..) => "goes with the next tidying".to_owned(),
            (true, None, _) => "is there now".to_owned(),
            (true, _, Some(until)) if until <= now.0 => "kept for now".to_owned(),
            (true, _, Some(until)) => format!("kept until {}", time(until)),
            (true, _, None) => "kept for ever".to_owned(),
        };
        let (began, bytes) = (time(reason.began), format_bytes(reason.bytes));
        format!("{number:<6} {began}  {bytes:>10}  {fate}: {}", reason.rules.join(", "))
    };
    reasons.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Prints what would come free.
pub fn show_space(report: &SpaceReport) {
    say(&space_text(report));
}

fn space_text(report: &SpaceReport) -> String {
    let SpaceReport { logical_bytes, freed_bytes, history_bytes } = *report;
    format!(
        "in files         {}\nfreed without it {} (with its history)\nin its history   {} \
         (freed if only that goes)",
        format_bytes(logical_bytes),
        format_bytes(freed_bytes),
        format_bytes(history_bytes)
    )
}

/// Prints what was erased.
pub fn show_erased(report: &EraseReport) {
    say(&erased_text(report));
}

fn erased_text(report: &EraseReport) -> String {
    let EraseReport { erased, without_past, bytes_freed, packs_left } = *report;
    let mut text =
        format!("erased {erased} files and folders, {} came free", format_bytes(bytes_freed));
    if without_past > 0 {
        text += &format!("; {without_past} that live on have no past any more");
    }
    if packs_left > 0 {
        text +=
            "; a part of it is in use by a program that writes at this moment: run it again later";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_fate() {
        let reason = |number, ended, kept, until| Reason {
            number,
            began: 1_790_000_000_000_000_000,
            ended,
            bytes: 2048,
            kept,
            rules: vec!["a rule".to_owned(), "another".to_owned()],
            until,
        };
        let now = Timestamp(1_790_000_000_000_000_000);
        let reasons = [
            reason(1, Some(1), false, None),
            reason(2, Some(1), true, Some(1_790_086_400_000_000_000)),
            reason(0, Some(1), true, None),
            reason(4, None, true, None),
        ];
        let text = why_text(&reasons, now, &Zone::UTC);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("v1 ")
                && lines[0].contains("goes with the next tidying: a rule, another")
        );
        assert!(lines[1].contains("kept until 2026-09-22 14:13:20"), "{}", lines[1]);
        assert!(lines[2].starts_with("- ") && lines[2].contains("kept for ever"));
        assert!(lines[3].contains("is there now"));
    }

    #[test]
    fn what_was_erased_is_counted() {
        let report = EraseReport { erased: 2, without_past: 1, bytes_freed: 4096, packs_left: 1 };
        let text = erased_text(&report);
        assert!(text.starts_with("erased 2 files and folders, 4.00 KiB came free; 1 that live"));
        assert!(text.ends_with("run it again later"));
        assert!(space_text(&SpaceReport::default()).contains("freed without it 0 B"));
        assert!(confirmed(true, "").is_ok());
    }
}
