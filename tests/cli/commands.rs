//! The command line without a mount: usage, settings, stores, exit codes.

use crate::support::Bench;
use std::fs;

#[test]
fn wrong_usage_is_exit_code_2() {
    let bench = Bench::new();
    bench.verso("").fails(2, &["Usage: verso"]);
    bench.verso("fly").fails(2, &["unrecognized subcommand 'fly'"]);
    bench.verso("mount STORE").fails(2, &["<MOUNTPOINT>"]);
    bench.verso("mount STORE DRIVE -o compress").fails(2, &["\"compress\"", "help:"]);
    assert!(!bench.store.exists());
}

#[test]
fn help_has_examples_and_the_exit_codes() {
    let bench = Bench::new();
    let help = bench.verso("--help").ok().out;
    assert!(
        help.contains("Examples:\n  verso mount") && help.contains("\n  3  the store is in use")
    );
    for command in ["init", "mount", "umount", "status", "key add", "completions", "man"] {
        let help = bench.verso(&format!("{command} --help")).ok().out;
        assert!(help.contains("Example"), "{command}");
    }
    let version = bench.verso("--version").ok().out;
    assert_eq!(version, format!("verso {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_readme_has_the_exit_codes_of_the_help() {
    let help = Bench::new().verso("--help").ok().out;
    let (_, table) = help.split_once("Exit codes:\n").unwrap();
    let readme = include_str!("../../README.md");
    assert_eq!(table.lines().count(), 9);
    for line in table.lines() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(readme.contains(&format!("| {code} | {meaning} |\n")), "{line}");
    }
}

#[test]
fn a_mistake_in_the_settings_names_file_and_line() {
    let bench = Bench::new();
    let file = bench.path("settings.toml");
    fs::write(&file, "[log]\nlevel = \"info\"\nlevle = \"info\"\n").unwrap();
    for words in ["config check", "config show", "init STORE", "mount STORE DRIVE"] {
        let words = format!("--config settings.toml {words}");
        bench.verso(&words).fails(2, &["settings.toml:3:1: unknown field `levle`"]);
    }
    fs::write(&file, "[store]\nsync_interval = \"5 s\"\n").unwrap();
    bench.verso("--config settings.toml config check").fails(2, &["settings.toml:2:17: \"5 s\""]);
    bench.verso("--config missing.toml config check").fails(2, &["missing.toml", "help:"]);
    assert!(!bench.store.exists());
}

#[test]
fn a_mistake_in_a_variable_names_it() {
    let bench = Bench::new();
    let name = "VERSO_STORE__DIRTY_BYTES";
    bench.with_variable(name, "1MiB", "config check").fails(2, &[name, "unknown field"]);
    let name = "VERSO_STORE__DIRTY_BYTES_MAX";
    bench.with_variable(name, "much", "config check").fails(2, &[name, "\"much\" is not a size"]);
    bench.with_variable(name, "1KiB", "config check").fails(2, &[name, "from 4MiB"]);
}

#[test]
fn settings_are_shown_with_their_origin() {
    let bench = Bench::new();
    bench.verso("init STORE").ok();
    fs::write(bench.store.join("verso.toml"), "[mount]\nthreads = 3\n").unwrap();
    let shown = bench.with_variable("VERSO_LOG__LEVEL", "debug", "config show STORE").ok().out;
    assert!(shown.contains("threads = 3  # ") && shown.contains("store/verso.toml:2\n"), "{shown}");
    assert!(shown.contains("level = \"debug\"  # environment variable VERSO_LOG__LEVEL\n"));
    assert!(bench.verso("config check STORE").ok().out.contains("verso.toml: no mistakes"));
    // What is shown can be used as a file.
    fs::write(bench.path("again.toml"), shown).unwrap();
    bench.verso("--config again.toml config check").ok();
}

#[test]
fn a_store_is_made_once_and_only_where_nothing_is() {
    let bench = Bench::new();
    assert!(bench.verso("init STORE").ok().out.contains("made a store in"));
    bench.verso("init STORE").fails(5, &["there is a store here already"]);
    fs::write(bench.drive.join("letter.txt"), "mine").unwrap();
    bench.verso("init DRIVE").fails(5, &["not empty"]);
    bench.verso("mount DRIVE STORE").fails(6, &["not empty"]);
    assert_eq!(fs::read_dir(&bench.drive).unwrap().count(), 1);
}

#[test]
fn where_no_store_can_be_written_the_path_is_named() {
    let bench = Bench::new();
    fs::write(bench.path("file"), "").unwrap();
    bench.verso("init file/store").fails(5, &["file/store", "Not a directory"]);
    bench.verso("init /proc/store").fails(5, &["/proc/store"]);
    bench.verso("mount /proc/store DRIVE").fails(5, &["/proc/store"]);
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let bench = Bench::new();
    bench.verso("init STORE").ok();
    let header = bench.store.join("store.toml");
    let text = fs::read_to_string(&header).unwrap().replace("format = 1", "format = 99");
    assert!(text.contains("99"));
    fs::write(&header, &text).unwrap();
    for words in ["mount STORE DRIVE", "status STORE"] {
        bench.verso(words).fails(5, &["format 99", "newer verso"]);
    }
    assert_eq!(fs::read_to_string(&header).unwrap(), text);
    assert!(!bench.is_mounted());
}

#[test]
fn a_store_that_nobody_mounted_has_a_status() {
    let bench = Bench::new();
    bench.verso("init STORE").ok();
    let status = bench.status("STORE");
    assert!(status["daemon"].is_null());
    assert_eq!(status["volume"]["files"], 0);
    assert_eq!(status["volume"]["directories"], 4);
    assert!(bench.verso("status STORE").ok().out.contains("not mounted"));
    bench.verso("status DRIVE").fails(5, &["is no store", "help:"]);
    bench.verso("status nowhere").fails(1, &["nowhere"]);
}

#[test]
fn only_a_drive_can_be_unmounted() {
    let bench = Bench::new();
    bench.verso("umount DRIVE").fails(6, &["no Verso drive is mounted at"]);
    bench.verso("umount /proc").fails(6, &["no Verso drive is mounted at /proc"]);
    bench.verso("umount nowhere").fails(6, &["nowhere"]);
    assert_eq!(bench.verso("umount --if-dead DRIVE").ok().out, "");
}

#[test]
fn completions_and_manual_pages_are_made() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(bench.verso(&format!("completions {shell}")).ok().out.contains("umount"));
    }
    assert!(bench.verso("man").ok().out.contains(".TH verso 1"));
    bench.verso("man --out pages").ok();
    let page = fs::read_to_string(bench.path("pages/verso-mount.1")).unwrap();
    assert!(page.contains("allow_other") && page.contains("Exit codes"));
}
