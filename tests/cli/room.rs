//! What the store takes, what would go, and when it comes free: mounted and not.

use crate::support::{Bench, Ran};
use serde_json::Value;
use std::fs;
use std::process::Command;

const SETTINGS: &str = "[store]\npack_bytes_target = \"1MiB\"\n[retention]\nthinning = []\n\
                        [history]\nslot = \"0s\"\n";

fn noise(bytes: u64) -> Vec<u8> {
    Command::new("head").args(["-c", &bytes.to_string(), "/dev/urandom"]).output().unwrap().stdout
}

/// A drive with 1 MB that lives, and two files of which 3 MB are history.
fn used() -> Bench {
    let bench = Bench::new();
    fs::create_dir(&bench.store).unwrap();
    fs::write(bench.store.join("verso.toml"), SETTINGS).unwrap();
    bench.verso("mount STORE DRIVE").ok();
    fs::write(bench.drive.join("keep"), noise(1_000_000)).unwrap();
    for name in ["shared/first", "shared/second"] {
        fs::write(bench.drive.join(name), noise(1_500_000)).unwrap();
    }
    fs::write(bench.drive.join("shared/first"), "what is left").unwrap();
    fs::remove_file(bench.drive.join("shared/second")).unwrap();
    bench
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok().out).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[track_caller]
fn about(value: &Value, bytes: u64) {
    let is = number(value);
    assert!((bytes..bytes + bytes / 20).contains(&is), "{is} and not {bytes}");
}

#[test]
fn status_says_what_comes_free_when_mounted_and_not() {
    let bench = used();
    let check = |of: &str| {
        let plain = json(bench.verso(&format!("status {of} --json")));
        assert_eq!((&plain["room"], &plain["volume"]["is_full"]), (&Value::Null, &false.into()));
        assert!(number(&plain["volume"]["pack_bytes"]) > 4_000_000, "{plain}");
        assert_eq!(plain["volume"]["last_upkeep"], Value::Null);
        let status = json(bench.verso(&format!("status {of} --space --json")));
        let room = &status["room"];
        about(&room["living_bytes"], 1_000_000);
        about(&room["history_bytes"], 3_000_000);
        assert_eq!(room["coming"][1]["days"], 7);
        assert_eq!(number(&room["coming"][1]["bytes"]), 0);
        assert_eq!(room["coming"][3]["bytes"], room["history_bytes"]);
        assert_eq!(number(&room["lasting_bytes"]), 0);
        let text = bench.verso(&format!("status {of} --space")).ok().out;
        assert!(text.contains("\ncomes free  0 B at once") && text.contains("within 7 days"));
        assert!(text.contains("upkeep      there was none yet"), "{text}");
        assert!(!bench.verso(&format!("status {of}")).ok().out.contains("comes free"));
    };
    check("DRIVE");
    let all = bench.status_of_all("--space");
    let is_mine = |report: &&Value| report["store"] == bench.store.to_str().unwrap();
    let mine = all.as_array().unwrap().iter().find(is_mine).unwrap();
    about(&mine["room"]["living_bytes"], 1_000_000);
    let jobs = json(bench.verso("status DRIVE --json"))["jobs"].clone();
    let retention = jobs.as_array().unwrap().iter().find(|job| job["name"] == "retention");
    let next = retention.unwrap()["next"].as_i64().unwrap();
    assert!(next > 0);
    bench.unmount();
    check("STORE");
}

/// What `--dry-run` says, and what is done then.
fn preview_and_tidy(bench: &Bench, of: &str) {
    let preview = json(bench.verso(&format!("tidy {of} --floor 0s --dry-run --json")));
    let again = json(bench.verso(&format!("tidy {of} --floor 0s --dry-run --limit 1 --json")));
    assert_eq!(again["bytes"], preview["bytes"], "nothing was changed");
    assert_eq!(again["going"].as_array().unwrap().len(), 1);
    assert_eq!(again["going"][0], preview["going"][0]);
    let before = json(bench.verso(&format!("status {of} --json")));
    let report = json(bench.verso(&format!("tidy {of} --floor 0s --yes --json")));
    assert_eq!(report["rows_dropped"], preview["rows"]);
    assert_eq!(report["chunks_removed"], preview["chunks"]);
    let after = json(bench.verso(&format!("status {of} --json")));
    let chunks = number(&before["volume"]["chunks"]) - number(&after["volume"]["chunks"]);
    let stored =
        number(&before["volume"]["stored_bytes"]) - number(&after["volume"]["stored_bytes"]);
    assert_eq!(number(&preview["bytes"]), stored + 64 * chunks, "{preview} {report}");
    let last = &after["volume"]["last_upkeep"];
    assert_eq!(last["bytes_freed"], report["bytes_freed"], "{last}");
    let nothing = bench.verso(&format!("tidy {of} --floor 0s --dry-run")).ok().out;
    assert!(nothing.starts_with("nothing would go"), "{nothing}");
}

#[test]
fn what_would_go_is_what_goes_mounted() {
    let bench = used();
    let text = bench.verso("tidy DRIVE --floor 0s --dry-run").ok().out;
    for part in ["MiB  shared/first  v1, ", "MiB  shared/second  v1, ", "beyond every rule"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains(" MiB would come free; 2 versions of 2 names would go"), "{text}");
    let now = bench.verso("tidy DRIVE --dry-run").ok().out;
    assert!(now.starts_with("nothing would go"), "{now}");
    preview_and_tidy(&bench, "DRIVE");
    assert_eq!(fs::read(bench.drive.join("keep")).unwrap().len(), 1_000_000);
}

#[test]
fn what_would_go_is_what_goes_where_no_daemon_runs() {
    let bench = used();
    bench.unmount();
    preview_and_tidy(&bench, "STORE");
    bench.verso("check STORE --read-data").ok();
}

#[test]
fn mistakes_in_asking_are_told() {
    let bench = used();
    bench.verso("tidy DRIVE --floor 0s").fails(2, &["--yes", "--dry-run"]);
    bench.verso("tidy DRIVE --dry-run --yes").fails(2, &["cannot be used with"]);
    bench.verso("tidy DRIVE --limit 5").fails(2, &["--dry-run"]);
    bench.verso("tidy DRIVE --dry-run --floor soon").fails(2, &["7d"]);
    bench.verso("tidy drive/never --dry-run").fails(1, &["never"]);
    bench.verso("status --space drive/never").fails(1, &["never"]);
}
