//! `verso tidy` for people.

use super::output::say;
use crate::config::format_bytes;
use crate::fs::{Going, Preview, UpkeepReport};
use crate::model::{Moment, Zone, local_name};
use crate::recall::printable;
use std::path::Path;

/// Prints what came free.
pub fn show_tidied(report: &UpkeepReport) {
    say(&to_text(report));
}

fn to_text(report: &UpkeepReport) -> String {
    let UpkeepReport { rows_dropped, chunks_removed, bytes_freed, .. } = *report;
    if rows_dropped == 0 && chunks_removed == 0 && bytes_freed == 0 {
        return "nothing to remove: everything is needed, or younger than what retention keeps"
            .into();
    }
    let over = if rows_dropped > 0 { "history that is over was removed; " } else { "" };
    format!("{over}{} came free", format_bytes(bytes_freed))
}

/// Prints what would go.
pub fn show_preview(preview: &Preview, zone: &Zone) {
    preview.going.iter().for_each(|going| say(&line(going, zone)));
    if preview.left_out > 0 {
        say(&format!("{:>10}  and {} lines more (--limit)", "", preview.left_out));
    }
    say(&summary(preview));
}

fn line(going: &Going, zone: &Zone) -> String {
    let Going { path, rule, versions, numbers, began, ended, bytes } = going;
    let time = |nanos: i64| local_name(Moment(nanos), zone);
    let what = match (numbers.is_empty(), *versions) {
        (_, 0) => "no version".to_owned(),
        (true, 1) => "1 folder or link".to_owned(),
        (true, many) => format!("{many} folders or links"),
        (false, many) if many > numbers.len() as u64 => {
            format!("{} and others, {many} in all", ranges(numbers))
        }
        (false, _) => ranges(numbers),
    };
    let path = printable(Path::new(path));
    let (began, ended) = (time(*began), time(*ended));
    format!("{:>10}  {path}  {what}, {began} to {ended}: {rule}", format_bytes(*bytes))
}

fn summary(preview: &Preview) -> String {
    let Preview { names, versions, rows, bytes, unused_bytes, .. } = preview;
    if (*rows, *bytes) == (0, 0) {
        return "nothing would go: everything is needed, or younger than what retention keeps"
            .into();
    }
    let mut text = format!(
        "{} would come free; {} of {} would go; nothing was changed",
        format_bytes(*bytes),
        counted(*versions, "version"),
        counted(*names, "name")
    );
    for sum in &preview.by_rule {
        let versions = counted(sum.versions, "version");
        text += &format!("\n{:>10}  {}: {versions}", format_bytes(sum.bytes), sum.rule);
    }
    if *unused_bytes > 0 {
        text += &format!("\n{:>10}  is needed by nothing already", format_bytes(*unused_bytes));
    }
    text
}

fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Numbers in rising order, as `v1-v3, v5`.
pub(super) fn ranges(numbers: &[u64]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut().filter(|last| last.1 + 1 >= number) {
            Some(last) => last.1 = number,
            None => ranges.push((number, number)),
        }
    }
    let range = |(first, last): &(u64, u64)| match first == last {
        true => format!("v{first}"),
        false => format!("v{first}-v{last}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::ByRule;

    #[test]
    fn what_would_go_is_told_by_name_and_in_sum() {
        let going = Going {
            path: "shared/a\nb".into(),
            rule: "beyond every rule".into(),
            versions: 4,
            numbers: vec![1, 2, 3, 7],
            began: 0,
            ended: 1_000_000_000,
            bytes: 2048,
        };
        let text = line(&going, &Zone::UTC);
        assert!(text.starts_with("  2.00 KiB  shared/a"), "{text}");
        assert!(!text.contains('\n') && text.contains("v1-v3, v7, 1970-01-01"), "{text}");
        assert!(text.ends_with(": beyond every rule"), "{text}");
        let many = Going { versions: 9, ..going.clone() };
        assert!(line(&many, &Zone::UTC).contains("v1-v3, v7 and others, 9 in all"));
        let folder = Going { versions: 1, numbers: vec![], ..going };
        assert!(line(&folder, &Zone::UTC).contains("  1 folder or link, "));
        let sum = ByRule { rule: "a rule".into(), versions: 4, bytes: 2048 };
        let preview = Preview {
            names: 1,
            versions: 4,
            rows: 9,
            bytes: 4096,
            unused_bytes: 1024,
            by_rule: vec![sum],
            ..Preview::default()
        };
        let text = summary(&preview);
        assert!(text.starts_with("4.00 KiB would come free; 4 versions of 1 name "), "{text}");
        assert!(text.contains("  2.00 KiB  a rule: 4 versions"), "{text}");
        assert!(text.contains("  1.00 KiB  is needed by nothing already"), "{text}");
        assert!(summary(&Preview::default()).starts_with("nothing would go"));
    }

    #[test]
    fn it_says_what_came_free() {
        let nothing = UpkeepReport::default();
        assert!(to_text(&nothing).starts_with("nothing to remove"));
        let report = UpkeepReport { rows_dropped: 3, bytes_freed: 2 << 20, ..nothing };
        assert_eq!(to_text(&report), "history that is over was removed; 2.00 MiB came free");
    }
}
