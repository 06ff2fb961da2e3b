//! Encrypted stores: what unlocks them, and what doesn't; `verso key`.

use crate::support::{Bench, Ran, log};
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PASSPHRASE: &str = "seven white horses";
const OTHER: &str = "eight black horses";
/// The exit code for what is missing or wrong.
const KEY: i32 = 7;

/// A bench with an encrypted store, which `PASSPHRASE` in the file `pass` opens.
pub(crate) struct Safe(pub(crate) Bench);

impl Safe {
    fn new() -> Safe {
        let safe = Safe::empty();
        safe.verso("init --encrypt STORE --passphrase-file pass").ok();
        safe
    }

    /// The same without the store.
    pub(crate) fn empty() -> Safe {
        let safe = Safe(Bench::new());
        safe.secret("pass", PASSPHRASE);
        safe.secret("other", OTHER);
        safe.secret("key", "a key file that is long enough, and not random");
        safe
    }

    fn secret(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// `verso` without a terminal to ask at, and in no need to be slow.
    pub(crate) fn command(&self, words: &str) -> Command {
        self.started_by(&["--wait"], words)
    }

    pub(crate) fn started_by(&self, setsid: &[&str], words: &str) -> Command {
        let plain = self.0.command(words);
        let mut command = Command::new("setsid");
        command.args(setsid).arg(plain.get_program()).args(plain.get_args());
        command.current_dir(self.0.dir.path()).stdin(Stdio::null()).env_remove("VERSO_CONFIG");
        command.env("VERSO_ENCRYPTION__UNLOCK_TIME", "10ms");
        command
    }

    fn verso(&self, words: &str) -> Ran {
        Ran::new(self.command(words).output().unwrap())
    }

    fn with_credentials(&self, dir: &str, words: &str) -> Ran {
        let dir = self.0.path(dir);
        Ran::new(self.command(words).env("CREDENTIALS_DIRECTORY", dir).output().unwrap())
    }

    fn keys(&self) -> Vec<Value> {
        serde_json::from_str(&self.verso("key list --json STORE").ok().out).unwrap()
    }

    fn ids(&self) -> Vec<u64> {
        self.keys().iter().map(|key| key["id"].as_u64().unwrap()).collect()
    }

    /// Everything in the store but what each attempt may touch.
    fn state(&self) -> Vec<Vec<u8>> {
        let names = ["store.toml", "store.copy.toml", "meta.db"];
        names.map(|name| fs::read(self.0.store.join(name)).unwrap()).to_vec()
    }

    #[track_caller]
    fn opens(&self, with: &str) {
        let status = self.verso(&format!("status STORE {with}")).ok().out;
        assert!(status.contains("\nencrypted   AES-256-GCM, "), "{status}");
    }

    #[track_caller]
    fn refuses(&self, with: &str) {
        self.verso(&format!("status STORE {with}")).fails(KEY, &["wrong passphrase or key"]);
    }
}

#[test]
fn what_was_written_is_there_with_the_passphrase_and_only_then() {
    let safe = Safe::empty();
    let said = safe.verso("init --encrypt STORE --passphrase-file pass").ok().out;
    assert!(said.contains("made an encrypted store") && said.contains("verso key recovery"));
    assert!(said.contains("; the passphrase in pass opens it\n"), "{said}");
    safe.verso("mount STORE DRIVE --passphrase-file pass").ok();
    fs::write(safe.0.drive.join("shared/plan.txt"), "the plan").unwrap();
    let status = safe.verso("status DRIVE").ok().out;
    assert!(status.contains("\nencrypted   AES-256-GCM, 1 key\n"), "{status}");
    assert_eq!(safe.0.status("DRIVE")["volume"]["encryption"]["keys"], 1);
    safe.0.unmount();

    let before = safe.state();
    safe.verso("mount STORE DRIVE --passphrase-file other").fails(KEY, &["wrong passphrase"]);
    safe.verso("mount STORE DRIVE --key-file pass").fails(KEY, &["at least 32 random bytes"]);
    safe.verso("mount STORE DRIVE --key-file key").fails(KEY, &["wrong passphrase or key"]);
    safe.verso("mount STORE DRIVE -f --passphrase-file other").fails(KEY, &["wrong passphrase"]);
    let ways = ["is encrypted", "--passphrase-file", "credential", "[encryption]", "terminal"];
    safe.verso("mount STORE DRIVE").fails(KEY, &ways);
    safe.verso("mount STORE DRIVE --passphrase-file none").fails(KEY, &["none", "No such file"]);
    assert!(safe.state() == before && !safe.0.is_mounted());

    safe.verso("mount STORE DRIVE -o ro,passphrase_file=pass").ok();
    assert_eq!(fs::read(safe.0.drive.join("shared/plan.txt")).unwrap(), b"the plan");
    safe.0.unmount();
    let checked = safe.verso("check STORE --read-data --passphrase-file pass").ok().out;
    let expected = "everything is encrypted (AES-256-GCM, 1 key), and each tag was verified\n";
    assert!(checked.contains(expected), "{checked}");
    let cat = safe.verso("cat --store STORE shared/plan.txt --passphrase-file pass").ok().out;
    assert_eq!(cat, "the plan");
}

#[test]
fn each_command_on_a_store_unlocks_it() {
    let safe = Safe::new();
    safe.verso("mount STORE DRIVE --passphrase-file pass").ok();
    fs::write(safe.0.drive.join("shared/a"), "one").unwrap();
    fs::write(safe.0.drive.join("shared/b"), "two").unwrap();
    safe.0.unmount();
    let commands = [
        "status STORE --space",
        "check STORE",
        "tidy STORE --dry-run",
        "tidy STORE",
        "log --store STORE shared",
        "cat --store STORE shared/a",
        "diff --store STORE shared",
        "pin --store STORE shared kept",
        "unpin --store STORE shared kept",
        "why --store STORE shared/a",
        "space --store STORE shared/a",
        "erase --store STORE shared/a --yes",
        "undelete --store STORE shared/b --to b",
        "restore --store STORE shared/b --at now --to again",
        "rewind --store STORE shared --at now --preview",
    ];
    for command in commands {
        safe.verso(command).fails(KEY, &["is encrypted"]);
        let ran = safe.verso(&format!("{command} --passphrase-file pass"));
        // There are some that have nothing to do.
        assert!(matches!(ran.code, Some(0 | 1)) && !ran.err.contains("encrypted"), "{ran:?}");
    }
}

#[test]
fn a_secret_comes_from_wherever_it_is() {
    let safe = Safe::new();
    safe.verso("key add STORE --passphrase-file pass --new-key-file key").ok();
    safe.opens("--passphrase-file pass");
    safe.opens("--key-file key");
    let from_shell = |line: &str| {
        let verso = env!("CARGO_BIN_EXE_verso");
        let line = line.replace("VERSO", verso).replace("STORE", safe.0.store.to_str().unwrap());
        let mut shell = Command::new("sh");
        Ran::new(shell.args(["-c", &line]).current_dir(safe.0.dir.path()).output().unwrap())
    };
    from_shell("VERSO status STORE --passphrase-fd 5 5<pass").ok();
    from_shell("cat pass | VERSO status STORE --passphrase-fd 0").ok();
    from_shell("VERSO status STORE --passphrase-fd 5 5<other").fails(KEY, &["wrong passphrase"]);
    from_shell("VERSO status STORE --passphrase-fd 5").fails(2, &["descriptor 5"]);
    from_shell("VERSO status STORE --passphrase-fd 1").fails(2, &["descriptor 1"]);

    fs::create_dir(safe.0.path("credentials")).unwrap();
    safe.with_credentials("credentials", "status STORE").fails(KEY, &["is encrypted"]);
    safe.secret("credentials/verso.key", &fs::read_to_string(safe.0.path("key")).unwrap());
    safe.with_credentials("credentials", "status STORE").ok();
    safe.secret("credentials/verso.passphrase", PASSPHRASE);
    safe.with_credentials("credentials", "mount STORE DRIVE").ok();
    safe.0.unmount();

    let settings = |key: &str, name: &str| {
        let path = safe.0.path(name);
        let text = format!("[encryption]\n{key} = {path:?}\n");
        fs::write(safe.0.store.join("verso.toml"), text).unwrap();
    };
    settings("passphrase_file", "pass");
    safe.opens("");
    settings("key_file", "key");
    safe.verso("mount STORE DRIVE").ok();
    safe.0.unmount();
}

#[test]
fn a_line_of_fstab_names_the_file() {
    let safe = Safe::new();
    let helper = safe.0.path("mount.verso");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_verso"), &helper).unwrap();
    let mount = |options: &str| {
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(&helper).arg(&safe.0.store).arg(&safe.0.drive);
        Ran::new(command.args(["-o", options]).current_dir(safe.0.dir.path()).output().unwrap())
    };
    mount("rw,nofail").fails(KEY, &["is encrypted"]);
    mount("rw,passphrase_file=other").fails(KEY, &["wrong passphrase"]);
    let by_key = format!("rw,nofail,key_file={}", safe.0.path("key").display());
    mount(&by_key).fails(KEY, &["wrong passphrase or key"]);
    mount(&format!("rw,nofail,passphrase_file={}", safe.0.path("pass").display())).ok();
    assert!(safe.0.is_mounted());
    safe.0.unmount();
}

#[test]
fn after_a_kill_it_is_mounted_again() {
    let safe = Safe::new();
    safe.verso("mount STORE DRIVE --passphrase-file pass").ok();
    fs::write(safe.0.drive.join("shared/plan.txt"), "the plan").unwrap();
    safe.0.kill("-KILL", safe.0.daemon());
    safe.0.wait_for_end();
    let cleared = safe.verso("mount STORE DRIVE --passphrase-file pass").ok().out;
    assert!(cleared.contains("the daemon behind it had died"), "{cleared}");
    assert_eq!(fs::read(safe.0.drive.join("shared/plan.txt")).unwrap(), b"the plan");
    safe.0.unmount();
}

#[test]
fn the_log_has_no_names_whatever_its_level() {
    let safe = Safe::new();
    fs::write(safe.0.store.join("verso.toml"), "[log]\nlevel = \"trace\"\n").unwrap();
    safe.verso("mount STORE DRIVE --passphrase-file pass").ok();
    fs::write(safe.0.drive.join("shared/unpublished.txt"), "the plan").unwrap();
    safe.0.unmount();
    let log = log(&safe.0.store);
    assert!(log.contains("is mounted at") && !log.contains("unpublished"), "{log}");
}

#[test]
fn the_nearest_word_counts() {
    let safe = Safe::new();
    fs::create_dir(safe.0.path("credentials")).unwrap();
    safe.secret("credentials/verso.passphrase", OTHER);
    let settings = format!("[encryption]\npassphrase_file = {:?}\n", safe.0.path("pass"));
    fs::write(safe.0.store.join("verso.toml"), settings).unwrap();
    safe.refuses("--passphrase-file other");
    safe.with_credentials("credentials", "status STORE").fails(KEY, &["wrong passphrase"]);
    safe.with_credentials("credentials", "status STORE --passphrase-file pass").ok();
    safe.verso("status STORE --passphrase-file pass --passphrase-file other").fails(2, &["one"]);
    safe.verso("status STORE --passphrase-file pass --key-file key").fails(2, &["only one of"]);
}

#[test]
fn line_breaks_that_belong_to_it_reach_the_daemon() {
    let safe = Safe::empty();
    for (name, ending) in [("breaks", "\n\n"), ("returns", "\r\r\n"), ("one", "\n")] {
        safe.secret(name, &format!("a passphrase{ending}"));
        safe.0.verso("status STORE");
        safe.verso(&format!("init --encrypt {name}.store --passphrase-file {name}")).ok();
        safe.verso(&format!("mount {name}.store DRIVE --passphrase-file {name}")).ok();
        safe.0.unmount();
    }
}

#[test]
fn a_file_that_others_can_read_is_told() {
    let safe = Safe::new();
    fs::set_permissions(safe.0.path("pass"), Permissions::from_mode(0o644)).unwrap();
    let ran = safe.verso("status STORE --passphrase-file pass");
    assert_eq!(ran.code, Some(0));
    assert!(ran.err.contains("pass is open to others") && ran.err.contains("chmod 600"), "{ran:?}");
}

#[test]
fn a_plain_store_is_not_taken_for_an_encrypted_one() {
    let safe = Safe::empty();
    let mistaken = "not encrypted, and something to unlock it was given";
    safe.verso("init STORE --passphrase-file pass").fails(2, &[mistaken, "--encrypt"]);
    let missing = ["no store that could be unlocked", "init --encrypt"];
    safe.verso("mount STORE DRIVE --passphrase-file pass").fails(5, &missing);
    safe.verso("mount STORE DRIVE -f --passphrase-file pass").fails(5, &missing);
    let file = safe.0.path("settings.toml");
    fs::write(&file, format!("[encryption]\nkey_file = {:?}\n", safe.0.path("key"))).unwrap();
    safe.verso("--config settings.toml mount STORE DRIVE").fails(5, &missing);
    assert!(!safe.0.store.exists());
    safe.verso("init STORE").ok();
    for command in ["mount STORE DRIVE", "mount STORE DRIVE -f", "status STORE", "check STORE"] {
        safe.verso(&format!("{command} --passphrase-file pass")).fails(2, &[mistaken]);
    }
    fs::create_dir(safe.0.path("credentials")).unwrap();
    safe.with_credentials("credentials", "status STORE").ok();
    safe.secret("credentials/verso.passphrase", PASSPHRASE);
    safe.with_credentials("credentials", "status STORE").fails(2, &[mistaken]);
    // Settings may be those of several stores.
    let status = safe.verso("--config settings.toml status STORE").ok().out;
    assert!(status.contains("\nencrypted   no\n"), "{status}");
    safe.verso("key list STORE").fails(2, &["is not encrypted"]);
    safe.verso("key add STORE --passphrase-file pass").fails(2, &["is not encrypted"]);
}

#[test]
fn a_weak_secret_makes_no_store() {
    let safe = Safe::empty();
    safe.secret("weak", "1234567\n");
    safe.verso("init --encrypt STORE --passphrase-file weak").fails(2, &["at least 8 characters"]);
    safe.verso("init --encrypt STORE --key-file weak").fails(KEY, &["at least 32 random bytes"]);
    safe.verso("init --encrypt STORE --key-file none").fails(KEY, &["none", "/dev/urandom"]);
    safe.verso("init --encrypt STORE").fails(KEY, &["terminal"]);
    let made = safe.0.store.join("store.toml").exists();
    assert!(!made);
    safe.verso("init --encrypt STORE --key-file key").ok();
    safe.opens("--key-file key");
    safe.verso("init --encrypt STORE").fails(5, &["a store here already"]);
}

#[test]
fn who_asks_in_vain_is_told_before_being_asked() {
    let safe = Safe::new();
    safe.verso("mount STORE DRIVE --passphrase-file pass").ok();
    fs::create_dir(safe.0.path("elsewhere")).unwrap();
    let pid = format!("process {}", safe.0.daemon());
    safe.verso("mount STORE elsewhere").fails(3, &["in use", &pid]);
    safe.verso("key rotate STORE").fails(3, &["in use", &pid]);
    // The daemon has unlocked it.
    for command in ["status DRIVE", "check DRIVE", "status STORE", "why --store STORE shared"] {
        safe.verso(command).ok();
    }
    safe.0.unmount();
    safe.verso("mount STORE nowhere").fails(6, &["nowhere"]);
}

#[test]
fn keys_come_and_go_while_it_is_mounted() {
    let safe = Safe::new();
    safe.verso("mount STORE DRIVE --passphrase-file pass").ok();
    let add = "key add DRIVE --passphrase-file pass";
    let said = safe.verso(&format!("{add} --new-passphrase-file other --label anna")).ok().out;
    assert!(said.starts_with("key 2 opens "), "{said}");
    safe.verso(&format!("{add} --new-key-file key")).ok();
    let mut by_shell = safe.command(&format!("{add} --new-passphrase-fd 0 --label piped"));
    let mut child = by_shell.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"by a pipe").unwrap();
    assert!(child.wait().unwrap().success());
    let table = safe.verso("key list DRIVE").ok().out;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[2].starts_with("2    passphrase") && lines[2].ends_with(" anna"), "{table}");
    assert!(lines[3].starts_with("3    key-file") && lines[3].ends_with('-'), "{table}");
    let keys = safe.keys();
    assert_eq!((&keys[3]["label"], &keys[3]["kind"]), (&"piped".into(), &"passphrase".into()));
    assert!(keys[0]["argon2id"]["memory_kib"].as_u64().unwrap() >= 19456);
    assert!(keys[2]["argon2id"].is_null() && keys[0]["made"].as_i64().unwrap() > 1_790_000_000);
    assert_eq!(safe.0.status("DRIVE")["volume"]["encryption"]["keys"], 4);

    safe.verso("key remove DRIVE 3 --passphrase-file other").fails(2, &["--yes"]);
    safe.verso("key remove DRIVE 9 --passphrase-file other --yes").fails(2, &["no key 9"]);
    safe.verso("key remove DRIVE 3 --passphrase-file key --yes").fails(KEY, &["wrong"]);
    let ran = safe.verso("key remove DRIVE 3 --passphrase-file other --yes");
    assert!(ran.code == Some(0) && ran.err.contains("verso key rotate"), "{ran:?}");
    assert_eq!(safe.ids(), [1, 2, 4]);
    safe.0.unmount();
    safe.refuses("--key-file key");
    safe.opens("--passphrase-file other");
}

#[test]
fn a_changed_passphrase_is_the_old_ones_end() {
    let safe = Safe::new();
    safe.verso("key add STORE --passphrase-file pass --new-key-file key --label server").ok();
    let change = "key change STORE --passphrase-file pass --new-passphrase-file other";
    assert!(safe.verso(change).ok().out.contains("instead of key 1"));
    safe.refuses("--passphrase-file pass");
    safe.opens("--passphrase-file other");
    safe.verso(change).fails(KEY, &["wrong passphrase"]);
    safe.secret("better", "another key file that is long enough");
    safe.verso("key change STORE --key-file key --new-key-file better").ok();
    assert_eq!(safe.keys()[1]["label"], "server");
    safe.refuses("--key-file key");
    safe.opens("--key-file better");
    safe.verso("key change STORE --key-file better").fails(KEY, &["--new-passphrase-file"]);
}

#[test]
fn the_last_key_stays() {
    let safe = Safe::new();
    safe.verso("key remove STORE 1 --yes --passphrase-file pass").fails(1, &["last key"]);
    safe.verso("key rotate STORE --drop 1").fails(1, &["last key"]);
    safe.opens("--passphrase-file pass");
}

#[test]
fn an_old_header_is_accepted_when_somebody_says_so() {
    let safe = Safe::new();
    let old = fs::read(safe.0.store.join("store.toml")).unwrap();
    for _ in 0..2 {
        safe.verso("key add STORE --passphrase-file pass --new-key-file key").ok();
    }
    // What has not been opened for writing since doesn't know of them.
    safe.verso("tidy STORE --passphrase-file pass").ok();
    for name in ["store.toml", "store.copy.toml"] {
        fs::write(safe.0.store.join(name), &old).unwrap();
    }
    let refused = ["an old header that was put back", "verso key accept"];
    safe.verso("tidy STORE --passphrase-file pass").fails(5, &refused);
    safe.verso("key accept STORE --key-file key").fails(KEY, &["wrong passphrase"]);
    let said = safe.verso("key accept STORE --passphrase-file pass").ok().out;
    assert!(said.contains("goes on with this header"), "{said}");
    assert_eq!(safe.ids(), [1]);
    safe.verso("tidy STORE --passphrase-file pass").ok();
    let said = safe.verso("key accept STORE --passphrase-file pass").ok().out;
    assert!(said.contains("nothing to accept"), "{said}");
}

#[test]
fn a_printed_recovery_key_is_enough() {
    let safe = Safe::new();
    let ran = safe.verso("key recovery STORE --passphrase-file pass --label safe");
    assert_eq!(ran.code, Some(0));
    let key = ran.out.strip_suffix('\n').unwrap();
    assert!(key.len() == 41 && key.split('-').count() == 7, "{key}");
    assert!(
        ran.err.contains("its key 2") && ran.err.contains("Print it") && !ran.err.contains(key)
    );
    assert_eq!(safe.keys()[1]["kind"], "recovery");
    safe.verso("key remove STORE 1 --yes --passphrase-file pass");
    safe.refuses("--passphrase-file pass");

    safe.secret("recovery", &key.replace('-', " ").to_lowercase());
    safe.opens("--passphrase-file recovery");
    let at = key.rfind('-').unwrap() + 1;
    let mut wrong = key.to_owned();
    wrong.replace_range(at..=at, if &key[at..=at] == "7" { "8" } else { "7" });
    safe.secret("mistyped", &wrong);
    let part = ["mistake in its group 7", "printed key"];
    safe.verso("status STORE --passphrase-file mistyped").fails(KEY, &part);
    let change = "key change STORE --passphrase-file recovery --new-passphrase-file other";
    safe.verso(change).fails(2, &["recovery key can't be changed", "key add"]);
    safe.verso("key add STORE --passphrase-file recovery --new-passphrase-file other").ok();
    safe.opens("--passphrase-file other");
}

#[test]
fn a_new_master_key_takes_all_that_stay_and_lets_go_of_the_rest() {
    let safe = Safe::new();
    safe.verso("key add STORE --passphrase-file pass --new-passphrase-file other").ok();
    safe.verso("key add STORE --passphrase-file pass --new-key-file key").ok();
    safe.verso("mount STORE DRIVE --passphrase-file pass").ok();
    fs::write(safe.0.drive.join("shared/plan.txt"), "the plan").unwrap();
    safe.0.unmount();
    let before = safe.state();
    let rotate = "key rotate STORE --passphrase-file pass";
    safe.verso(rotate).fails(KEY, &["nothing given opens key 2, key 3", "--drop"]);
    safe.verso(&format!("{rotate} --drop 2")).fails(KEY, &["opens key 3"]);
    safe.verso(&format!("{rotate} --drop 2 --drop 9")).fails(2, &["no key 9"]);
    assert!(safe.state() == before);
    let ran = safe.verso(&format!("{rotate} --key-file key --drop 2"));
    assert!(ran.code == Some(0) && ran.out.contains("has a new master key"), "{ran:?}");
    assert!(ran.err.contains("while the store is mounted"), "{ran:?}");
    assert_eq!(safe.ids(), [1, 3]);
    safe.refuses("--passphrase-file other");
    let status = || safe.verso("status STORE --key-file key").ok().out;
    let expected = "AES-256-GCM, 2 keys; contents are still encrypted with an earlier master key";
    assert!(status().contains(expected), "{}", status());
    for with in ["--passphrase-file pass", "--key-file key"] {
        safe.opens(with);
        let cat = safe.verso(&format!("cat --store STORE shared/plan.txt {with}")).ok().out;
        assert_eq!(cat, "the plan");
    }
    safe.verso("tidy STORE --key-file key").ok();
    assert!(status().contains("\nencrypted   AES-256-GCM, 2 keys\n"), "{}", status());
    // An old header that is put back opens nothing.
    for (name, old) in ["store.toml", "store.copy.toml"].iter().zip(&before) {
        fs::write(safe.0.store.join(name), old).unwrap();
    }
    let ran = safe.verso("cat --store STORE shared/plan.txt --passphrase-file other");
    assert!(ran.code != Some(0) && ran.out.is_empty(), "{ran:?}");
}

#[test]
fn one_copy_of_the_header_is_enough_and_none_is_an_error() {
    let safe = Safe::new();
    let (main, copy) = (safe.0.store.join("store.toml"), safe.0.store.join("store.copy.toml"));
    let whole = fs::read_to_string(&main).unwrap();
    let damaged = whole.replace("generation", "generatiom");
    let put = |path: &PathBuf, text: &str| {
        let _ = fs::remove_file(path);
        fs::write(path, text).unwrap();
    };
    put(&main, &damaged);
    safe.opens("--passphrase-file pass");
    put(&main, &whole);
    put(&copy, &whole[..whole.len() / 2]);
    safe.opens("--passphrase-file pass");
    fs::remove_file(&main).unwrap();
    put(&copy, &whole);
    safe.opens("--passphrase-file pass");
    put(&main, &damaged);
    put(&copy, &damaged);
    for command in ["status STORE", "mount STORE DRIVE", "key list STORE"] {
        safe.verso(&format!("{command} --passphrase-file pass")).fails(5, &["store.toml"]);
    }
    let newer = whole.replace("format = 2", "format = 99");
    put(&main, &newer);
    put(&copy, &newer);
    for command in ["status STORE", "mount STORE DRIVE", "key list STORE"] {
        let parts = ["format 99", "newer verso"];
        safe.verso(&format!("{command} --passphrase-file pass")).fails(5, &parts);
    }
    assert_eq!(fs::read_to_string(&main).unwrap(), newer);
    assert!(!safe.0.is_mounted());
}

/// What a process shows to others: nobody may look, or there is nothing.
#[track_caller]
fn shows(pid: u32, what: &str, needle: &str) -> bool {
    match fs::read(format!("/proc/{pid}/{what}")) {
        Ok(bytes) => bytes.windows(needle.len()).any(|part| part == needle.as_bytes()),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            false
        }
    }
}

#[test]
fn the_daemon_shows_no_secret_and_no_name() {
    let safe = Safe::new();
    fs::create_dir(safe.0.path("credentials")).unwrap();
    safe.secret("credentials/verso.passphrase", PASSPHRASE);
    safe.with_credentials("credentials", "mount STORE DRIVE -o threads=3").ok();
    let pid = safe.0.daemon();
    assert!(shows(pid, "cmdline", "threads=3"));
    for what in ["cmdline", "environ"] {
        assert!(!shows(pid, what, PASSPHRASE) && !shows(pid, what, "CREDENTIALS_DIRECTORY"));
    }
    if let Ok(input) = fs::read_link(format!("/proc/{pid}/fd/0")) {
        assert_eq!(input, PathBuf::from("/dev/null"));
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let numbers: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(numbers, ["0", "0"]);

    let held = safe.0.drive.join("shared/unpublished-hero.psd");
    let mut file = File::create(&held).unwrap();
    file.write_all(b"held").unwrap();
    safe.0.kill("-TERM", pid);
    safe.0.wait_for_end();
    drop(file);
    let log = log(&safe.0.store);
    let us = format!("process {} uses something", std::process::id());
    assert!(log.contains("is still in use") && log.contains(&us), "{log}");
    assert!(!log.contains("unpublished") && !log.contains(PASSPHRASE), "{log}");
}

#[test]
fn manual_pages_and_completions_know_the_keys() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = bench.verso(&format!("completions {shell}")).ok().out;
        assert!(script.contains("recovery") && script.contains("new-key-file"), "{shell}");
    }
    bench.verso("man --out pages").ok();
    for page in ["verso-key-add", "verso-key-rotate", "verso-key-recovery", "verso-init"] {
        let text = fs::read_to_string(bench.path(&format!("pages/{page}.1"))).unwrap();
        assert!(text.contains("passphrase\\-file"), "{page}");
        assert!(text.contains("EXAMPLE") || text.contains("Example"), "{page}");
    }
    let help = bench.verso("mount --help").ok().out;
    assert!(help.contains("passphrase_file=FILE") && help.contains("is not encrypted"), "{help}");
}
