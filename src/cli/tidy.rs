//! `verso tidy` for people.

use super::output::say;
use crate::config::format_bytes;
use crate::fs::UpkeepReport;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_came_free() {
        let nothing = UpkeepReport::default();
        assert!(to_text(&nothing).starts_with("nothing to remove"));
        let report = UpkeepReport { rows_dropped: 3, bytes_freed: 2 << 20, ..nothing };
        assert_eq!(to_text(&report), "history that is over was removed; 2.00 MiB came free");
    }
}
