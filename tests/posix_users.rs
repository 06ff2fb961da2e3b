//! Owners, permissions and access lists through a real mount. All of it needs several users, and so root;
//! for anybody else these tests say that they did nothing.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use support::{Mount, os};

/// Two users that need no name.
const ANNA: u32 = 61_001;
const BERT: u32 = 61_002;

/// `None` for who isn't root.
fn mount_for_all() -> Option<Mount> {
    if !os::is_root() {
        eprintln!("skipped: it takes root to be several users");
        return None;
    }
    let mount = Mount::new();
    fs::create_dir(mount.at("open")).unwrap();
    os::chmod(&mount.at("open"), 0o777).unwrap();
    Some(mount)
}

/// Runs a line of shell as a user, in `dir`; whether it succeeded.
fn as_user(user: u32, dir: &Path, line: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(dir).uid(user).gid(user);
    shell.stderr(std::process::Stdio::null()).status().unwrap().success()
}

/// Runs a line of shell as root, which must succeed.
fn shell(dir: &Path, line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn each_user_is_held_to_the_permissions() {
    let Some(mount) = mount_for_all() else { return };
    let dir = mount.at("open");
    assert!(as_user(ANNA, &dir, "umask 077; echo mine > f; mkdir d"));
    let meta = fs::metadata(dir.join("f")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (ANNA, ANNA, 0o600));
    assert!(!as_user(BERT, &dir, "cat f"));
    assert!(!as_user(BERT, &dir, "ls d"));
    assert!(!as_user(BERT, &dir, "chmod 777 f"));
    assert!(!as_user(BERT, mount.root(), "touch f"));
    assert!(as_user(ANNA, &dir, "cat f && chmod 644 f"));
    assert!(as_user(BERT, &dir, "cat f"));
    assert!(!as_user(BERT, &dir, "echo x > f"));
}

#[test]
fn in_a_sticky_directory_only_the_owner_removes() {
    let Some(mount) = mount_for_all() else { return };
    let dir = mount.at("open");
    os::chmod(&dir, 0o1777).unwrap();
    assert!(as_user(ANNA, &dir, "touch f g"));
    assert!(!as_user(BERT, &dir, "rm -f f"));
    assert!(!as_user(BERT, &dir, "mv f h"));
    assert!(as_user(ANNA, &dir, "rm f"));
    os::chmod(&dir, 0o777).unwrap();
    assert!(as_user(BERT, &dir, "rm -f g"));
}

#[test]
fn a_setgid_directory_gives_its_group() {
    let Some(mount) = mount_for_all() else { return };
    let dir = mount.at("open");
    chown(&dir, None, Some(BERT)).unwrap();
    os::chmod(&dir, 0o2777).unwrap();
    assert!(as_user(ANNA, &dir, "umask 022; touch f; mkdir d; ln -s f l; mkfifo p"));
    for name in ["f", "d", "l", "p"] {
        assert_eq!(fs::symlink_metadata(dir.join(name)).unwrap().gid(), BERT, "{name}");
    }
    assert_eq!((mode(&dir.join("d")), mode(&dir.join("f"))), (0o2755, 0o644));
}

#[test]
fn writing_truncating_and_chown_take_set_user_id_away() {
    let Some(mount) = mount_for_all() else { return };
    let dir = mount.at("open");
    let f = dir.join("f");
    let armed = || {
        fs::write(&f, b"program").unwrap();
        chown(&f, Some(BERT), Some(BERT)).unwrap();
        os::chmod(&f, 0o6777).unwrap();
        assert_eq!(mode(&f), 0o6777);
    };
    for line in ["echo x >> f", "echo x > f", "truncate -s 3 f", "printf y | dd of=f conv=notrunc"]
    {
        armed();
        assert!(as_user(ANNA, &dir, line), "{line}");
        assert_eq!(mode(&f), 0o777, "{line}");
    }
    armed();
    chown(&f, Some(ANNA), None).unwrap();
    assert_eq!(mode(&f), 0o777);
}

#[test]
fn a_setuid_program_runs_as_its_owner() {
    let Some(mount) = mount_for_all() else { return };
    let dir = mount.at("open");
    shell(&dir, "cp /usr/bin/id id");
    chown(dir.join("id"), Some(BERT), Some(BERT)).unwrap();
    os::chmod(&dir.join("id"), 0o4755).unwrap();
    assert!(as_user(ANNA, &dir, &format!("test $(./id -u) = {BERT}")));
}

#[test]
fn access_lists_are_inherited_as_on_ext4() {
    let Some(mut mount) = mount_for_all() else { return };
    let dir = mount.at("open");
    let lists = |name: &str| shell(&dir, &format!("getfacl -cpnE {name}"));
    shell(&dir, "setfacl -d -m u:61002:rwx,g:61003:rx,o::r .");
    // The numbers are ext4's.
    shell(&dir, "umask 077; touch f; mkdir d");
    let file = "user::rw-\nuser:61002:rwx\ngroup::rwx\ngroup:61003:r-x\nmask::rw-\nother::r--\n\n";
    assert_eq!(lists("f"), file);
    assert_eq!((mode(&dir.join("f")), mode(&dir.join("d"))), (0o664, 0o774));
    assert!(lists("d").contains("default:user:61002:rwx"));
    assert!(as_user(BERT, &dir, "echo granted >> f"));
    assert!(!as_user(ANNA, &dir, "echo refused >> f"));
    shell(&dir, "chmod 604 f");
    assert!(lists("f").contains("mask::---"));
    assert!(!as_user(BERT, &dir, "echo masked >> f"));
    let before = (lists("f"), lists("d"));
    mount.reopen();
    assert_eq!((lists("f"), lists("d")), before);
}

#[test]
fn an_access_list_that_a_mode_can_say_is_dropped() {
    let Some(mount) = mount_for_all() else { return };
    let dir = mount.at("open");
    shell(&dir, "touch f; chmod 600 f; setfacl -m u:61001:rw,m::rw f");
    assert_eq!(mode(&dir.join("f")), 0o660);
    assert!(as_user(ANNA, &dir, "echo x >> f"));
    shell(&dir, "setfacl -b f; setfacl -m g::r f");
    assert_eq!(mode(&dir.join("f")), 0o640);
    assert!(os::get_xattr(&dir.join("f"), "system.posix_acl_access").is_err());
    assert!(!as_user(ANNA, &dir, "cat f"));
}

#[test]
fn without_a_default_list_the_umask_counts() {
    let Some(mount) = mount_for_all() else { return };
    let dir = mount.at("open");
    shell(&dir, "umask 027; touch f; mkdir d; mkfifo p");
    assert_eq!(mode(&dir.join("f")), 0o640);
    assert_eq!(mode(&dir.join("d")), 0o750);
    assert_eq!(mode(&dir.join("p")), 0o640);
}
