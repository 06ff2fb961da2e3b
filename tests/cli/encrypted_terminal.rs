//! What unlocks a store is typed at a terminal.

use crate::encrypted::Safe;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, ExitStatus};

/// A person at a terminal, in which `verso` runs.
struct Person {
    terminal: File,
    child: Child,
    /// All that was shown.
    seen: String,
    /// How much of it was looked at.
    looked: usize,
}

/// Leads the session, as somebody's shell does: when the leader ends, the kernel throws away what was not read yet.
const SHELL: &str = r#""$@"; code=$?; echo "ended with $code"; read -r _; exit $code"#;
const ENDED: &str = "ended with ";

impl Person {
    fn runs(safe: &Safe, words: &str) -> Person {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let path = OsStr::from_bytes(name.as_bytes());
        let open = || OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut command = safe.started_by(&["--ctty", "--wait", "sh", "-c", SHELL, "sh"], words);
        command.stdin(open()).stdout(open()).stderr(open());
        let child = command.spawn().unwrap();
        Person { terminal: File::from(terminal), child, seen: String::new(), looked: 0 }
    }

    /// Waits until `prompt` is shown, and types.
    #[track_caller]
    fn answers(&mut self, prompt: &str, typed: &str) -> &mut Person {
        while !self.seen[self.looked..].contains(prompt) {
            assert!(self.look(), "{prompt:?} never came: {:?}", self.seen);
        }
        self.looked += self.seen[self.looked..].find(prompt).unwrap() + prompt.len();
        self.terminal.write_all(typed.as_bytes()).unwrap();
        self
    }

    /// `false`: nothing more will be shown.
    fn look(&mut self) -> bool {
        let mut bytes = [0; 4096];
        // A terminal that nobody has open any more is an error.
        let len = self.terminal.read(&mut bytes).unwrap_or(0);
        self.seen += std::str::from_utf8(&bytes[..len]).unwrap();
        len > 0
    }

    /// Waits for the end; how it ended and what was shown.
    #[track_caller]
    fn leaves(mut self) -> (ExitStatus, String) {
        self.answers(ENDED, "\n");
        (self.child.wait().unwrap(), self.seen)
    }

    #[track_caller]
    fn succeeds(self) -> String {
        let (status, seen) = self.leaves();
        assert!(status.success(), "{status}: {seen}");
        seen
    }
}

const KNOWN: &str = "passphrase or recovery key of ";
const NEW: &str = "new passphrase of ";
const AGAIN: &str = "once more: ";

fn store() -> Safe {
    let safe = Safe::empty();
    let mut person = Person::runs(&safe, "init --encrypt STORE");
    person.answers(NEW, "green island\n").answers(AGAIN, "green island\n");
    person.succeeds();
    safe
}

#[test]
fn a_new_passphrase_is_typed_twice_and_not_shown() {
    let safe = Safe::empty();
    let mut person = Person::runs(&safe, "init --encrypt STORE");
    person.answers(NEW, "short\n").answers("at least 8 characters", "");
    person.answers(NEW, "green island\n").answers(AGAIN, "green iland\n");
    person.answers("not the same", "");
    person.answers(NEW, "green island\n").answers(AGAIN, "green island\n");
    let seen = person.succeeds();
    assert!(seen.contains("made an encrypted store") && seen.contains("nobody can help"), "{seen}");
    assert!(!seen.contains("green") && !seen.contains("short"), "{seen}");
    let mut person = Person::runs(&safe, "status STORE");
    person.answers(KNOWN, "green island\n");
    assert!(person.succeeds().contains("AES-256-GCM, 1 key"));
}

#[test]
fn a_mount_lets_one_try_again_and_hands_the_passphrase_on() {
    let safe = store();
    let mut person = Person::runs(&safe, "mount STORE DRIVE");
    person.answers(KNOWN, "green sland\n").answers("wrong passphrase", "");
    person.answers(KNOWN, "\n").answers("it is empty", "");
    person.answers(KNOWN, "green island\n");
    let seen = person.succeeds();
    assert!(!seen.contains("green"), "{seen}");
    assert!(safe.0.is_mounted());
    std::fs::write(safe.0.drive.join("shared/a"), "one").unwrap();
    // Nobody is asked where the daemon can say it.
    let person = Person::runs(&safe, "check DRIVE");
    assert!(person.succeeds().contains("everything is encrypted"));
    safe.0.unmount();
}

#[test]
fn a_foreground_daemon_asks_itself() {
    let safe = store();
    let mut person = Person::runs(&safe, "mount --foreground STORE DRIVE");
    person.answers(KNOWN, "green island\n").answers("is mounted at", "");
    safe.0.unmount();
    person.succeeds();
}

#[test]
fn three_times_wrong_is_the_end() {
    let safe = store();
    for command in ["mount STORE DRIVE", "tidy STORE", "key add STORE"] {
        let mut person = Person::runs(&safe, command);
        person.answers(KNOWN, "wrong\n").answers(KNOWN, "wrong\n").answers(KNOWN, "wrong\n");
        let (status, seen) = person.leaves();
        assert_eq!(status.code(), Some(7), "{seen}");
        assert!(seen.contains("verso: ") && seen.contains("wrong passphrase"), "{seen}");
    }
    assert!(!safe.0.is_mounted());
}

#[test]
fn a_command_that_is_interrupted_leaves_the_terminal_as_it_was() {
    let safe = store();
    for (command, prompt) in [("mount STORE DRIVE", KNOWN), ("init --encrypt again", NEW)] {
        let mut person = Person::runs(&safe, command);
        let is_shown = |person: &Person| {
            let modes = tcgetattr(&person.terminal).unwrap().local_modes;
            modes.contains(LocalModes::ECHO | LocalModes::ISIG)
        };
        assert!(is_shown(&person));
        person.answers(prompt, "");
        assert!(!is_shown(&person));
        person.answers("", "green\u{3}");
        person.answers(ENDED, "");
        assert!(is_shown(&person));
        person.looked = 0;
        let (status, seen) = person.leaves();
        assert_eq!(status.code(), Some(128 + 2), "by SIGINT");
        assert!(!seen.contains("green"));
    }
    assert!(!safe.0.is_mounted() && !safe.0.path("again").join("store.toml").exists());
}

#[test]
fn a_rotation_asks_for_each_key() {
    let safe = store();
    let mut person = Person::runs(&safe, "key add STORE --label anna");
    person.answers(KNOWN, "green island\n");
    person.answers(NEW, "blue mountain\n").answers(AGAIN, "blue mountain\n");
    person.succeeds();
    let mut person = Person::runs(&safe, "key recovery STORE");
    person.answers(KNOWN, "blue mountain\n");
    let seen = person.succeeds();
    let is_key = |line: &&str| line.len() == 41 && line.split('-').count() == 7;
    let recovery = seen.lines().map(str::trim).find(is_key).unwrap().to_owned();

    let mut person = Person::runs(&safe, "key rotate STORE");
    person.answers("opens key 1 of ", "green island\n");
    person.answers("opens key 2 (anna) of ", "green island\n").answers("that opens key 1", "");
    person.answers("opens key 2 (anna) of ", "blue mountain\n");
    person.answers("opens key 3 of ", &format!("{recovery}\n"));
    assert!(person.succeeds().contains("has a new master key"));
    for typed in ["green island", "blue mountain", &recovery] {
        let mut person = Person::runs(&safe, "status STORE");
        person.answers(KNOWN, &format!("{typed}\n"));
        person.succeeds();
    }
}
