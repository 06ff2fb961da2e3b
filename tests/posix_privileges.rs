//! Set-user-id, set-group-id and capabilities of files that somebody changes, through a real mount. All of it
//! needs several users, and so root; for anybody else these tests say that they did nothing.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Mount, os};

/// Two users that need no name.
const ANNA: u32 = 61_001;
const BERT: u32 = 61_002;

/// The kernel's form of `cap_net_raw=ep` (`struct vfs_cap_data`, revision 2).
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CAPABILITY: &str = "security.capability";

/// Everything that changes a file's content, as lines of shell.
const CHANGES: [&str; 7] = [
    "printf y >> f",
    "printf y > f",
    "printf y | dd of=f conv=notrunc",
    "dd if=/dev/zero of=f bs=4096 count=1 oflag=direct conv=notrunc",
    "truncate -s 3 f",
    "fallocate -l 100000 f",
    "truncate -s 0 f",
];

/// `None` for who isn't root. The mount has a program `f` of Bert's that all may write.
fn mount_for_all() -> Option<Mount> {
    if !os::is_root() {
        eprintln!("skipped: it takes root to be several users");
        return None;
    }
    let mount = Mount::new();
    os::chmod(mount.root(), 0o777).unwrap();
    Some(mount)
}

/// Makes `f` Bert's, with `bits`; it holds a program.
fn arm(mount: &Mount, bits: u32) -> PathBuf {
    let f = mount.at("f");
    program(mount, "id", "f");
    chown(&f, Some(BERT), Some(BERT)).unwrap();
    os::chmod(&f, bits).unwrap();
    assert_eq!(mode(&f), bits);
    f
}

/// Makes `name` hold a program, that may be run. Not by this process: what another test starts at this
/// moment would have it open for a moment, and a file that is open for writing can't be run.
fn program(mount: &Mount, program: &str, name: &str) {
    run_as(0, mount, &format!("cat /usr/bin/{program} > {name}; chmod 755 {name}"));
}

fn command(user: u32, dir: &Path, line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-ec", line]).current_dir(dir).uid(user).gid(user);
    shell
}

/// Runs a line of shell as a user; it must succeed. Answers what it said.
fn run_as(user: u32, mount: &Mount, line: &str) -> String {
    let output = command(user, mount.root(), line).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn whoever_changes_a_program_takes_its_privileges() {
    let Some(mut mount) = mount_for_all() else { return };
    for line in CHANGES {
        let f = arm(&mount, 0o6777);
        run_as(ANNA, &mount, line);
        assert_eq!(mode(&f), 0o777, "{line}");
    }
    mount.reopen();
    assert_eq!(mode(&mount.at("f")), 0o777);
}

#[test]
fn root_changes_a_program_and_it_keeps_them() {
    let Some(mut mount) = mount_for_all() else { return };
    for line in CHANGES {
        let f = arm(&mount, 0o6777);
        run_as(0, &mount, line);
        assert_eq!(mode(&f), 0o6777, "{line}");
    }
    mount.reopen();
    assert_eq!(mode(&mount.at("f")), 0o6777);
}

#[test]
fn without_group_execute_set_group_id_is_no_privilege() {
    let Some(mount) = mount_for_all() else { return };
    let f = arm(&mount, 0o6766);
    run_as(BERT, &mount, "printf y >> f");
    assert_eq!(mode(&f), 0o2766);
}

#[test]
fn copying_into_a_program_takes_its_privileges() {
    let Some(mount) = mount_for_all() else { return };
    fs::write(mount.at("source"), b"something else").unwrap();
    let f = arm(&mount, 0o6777);
    let python = "import os; s = os.open('source', os.O_RDONLY); t = os.open('f', os.O_WRONLY); \
                  assert os.copy_file_range(s, t, 5) == 5";
    run_as(ANNA, &mount, &format!("python3 -c \"{python}\""));
    assert_eq!(mode(&f), 0o777);
}

#[test]
fn the_next_run_after_a_change_has_no_privileges() {
    let Some(mount) = mount_for_all() else { return };
    let id = fs::read("/usr/bin/id").unwrap();
    fs::write(mount.at("id"), &id).unwrap();
    os::chmod(&mount.at("id"), 0o644).unwrap();
    // What runs afterwards is the same shell, so nothing asks for attributes in between.
    for change in ["printf y >> f", "cat id > f", "truncate -s +1 f", "fallocate -l 200000 f"] {
        arm(&mount, 0o6777);
        assert_eq!(run_as(ANNA, &mount, "./f -u"), format!("{BERT}\n"), "before {change}");
        let ran = run_as(ANNA, &mount, &format!("{change}; exec ./f -u"));
        assert_eq!(ran, format!("{ANNA}\n"), "{change}");
    }
}

#[test]
fn an_emptied_program_does_not_come_back_with_privileges() {
    let Some(mount) = mount_for_all() else { return };
    arm(&mount, 0o6777);
    run_as(ANNA, &mount, ": > f");
    // Root fills it without asking for its attributes, so that all the kernel knows is what `open` left.
    let python = "import os; os.write(os.open('f', os.O_WRONLY), open('/usr/bin/id', 'rb').read())";
    run_as(0, &mount, &format!("python3 -c \"{python}\""));
    assert_eq!(run_as(ANNA, &mount, "exec ./f -u"), format!("{ANNA}\n"));
}

#[test]
fn a_program_that_runs_cannot_be_emptied() {
    let Some(mount) = mount_for_all() else { return };
    let path = mount.at("sleep");
    program(&mount, "sleep", "sleep");
    let size = fs::metadata(&path).unwrap().len();
    let mut running = Command::new(&path).arg("60").spawn().unwrap();
    for _ in 0..5 {
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_TRUNC).open(&path);
        assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::ETXTBSY));
    }
    assert_eq!(running.try_wait().unwrap(), None);
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), size);
    assert!(fs::read(&path).unwrap() == fs::read("/bin/sleep").unwrap());
}

#[test]
fn a_descriptor_that_was_open_before_the_bits_were_set_takes_them_too() {
    let Some(mount) = mount_for_all() else { return };
    let f = arm(&mount, 0o777);
    let script = "exec 3>>f; echo ready > r; while ! [ -e go ]; do sleep 0.01; done; printf y >&3; \
                  exec 3>&-; exec ./f -u";
    let mut command = command(ANNA, mount.root(), script);
    let writer = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    while !mount.at("r").exists() {
        std::thread::yield_now();
    }
    os::chmod(&f, 0o4777).unwrap();
    fs::write(mount.at("go"), b"").unwrap();
    let said = writer.wait_with_output().unwrap().stdout;
    assert_eq!(String::from_utf8(said).unwrap(), format!("{ANNA}\n"));
    assert_eq!(mode(&f), 0o777);
}

#[test]
fn a_new_owner_takes_privileges_whoever_gives_it() {
    let Some(mut mount) = mount_for_all() else { return };
    for (uid, gid) in [(Some(ANNA), None), (None, Some(ANNA)), (Some(BERT), Some(BERT))] {
        let f = arm(&mount, 0o6777);
        chown(&f, uid, gid).unwrap();
        assert_eq!(mode(&f), 0o777, "{uid:?} {gid:?}");
    }
    let f = arm(&mount, 0o6777);
    chown(&f, None, None).unwrap();
    assert_eq!(mode(&f), 0o777, "as on ext4");
    let f = arm(&mount, 0o6777);
    run_as(BERT, &mount, "chgrp 61002 f");
    assert_eq!(mode(&f), 0o777);
    fs::create_dir(mount.at("d")).unwrap();
    os::chmod(&mount.at("d"), 0o6777).unwrap();
    chown(mount.at("d"), Some(ANNA), Some(ANNA)).unwrap();
    assert_eq!(mode(&mount.at("d")), 0o6777, "a directory has none");
    mount.reopen();
    assert_eq!((mode(&f), mode(&mount.at("d"))), (0o777, 0o6777));
}

#[test]
fn privileges_can_be_given_again() {
    let Some(mount) = mount_for_all() else { return };
    let f = arm(&mount, 0o4777);
    for _ in 0..3 {
        run_as(ANNA, &mount, "printf y >> f");
        assert_eq!(mode(&f), 0o777);
        run_as(BERT, &mount, "chmod u+s f");
        assert_eq!(mode(&f), 0o4777);
        assert_eq!(run_as(ANNA, &mount, "./f -u").trim(), BERT.to_string());
    }
}

#[test]
fn a_change_takes_capabilities_whoever_makes_it() {
    let Some(mut mount) = mount_for_all() else { return };
    for user in [0, ANNA] {
        for line in CHANGES {
            let f = arm(&mount, 0o777);
            os::set_xattr(&f, CAPABILITY, &NET_RAW, 0).unwrap();
            run_as(ANNA, &mount, "cat f > /dev/null; : >> f");
            assert_eq!(os::get_xattr(&f, CAPABILITY).unwrap(), NET_RAW, "opened and read");
            run_as(user, &mount, line);
            let left = os::get_xattr(&f, CAPABILITY).unwrap_err().raw_os_error();
            assert_eq!(left, Some(libc::ENODATA), "{line} by {user}");
        }
    }
    let f = arm(&mount, 0o777);
    os::set_xattr(&f, CAPABILITY, &NET_RAW, 0).unwrap();
    chown(&f, Some(ANNA), None).unwrap();
    mount.reopen();
    let left = os::get_xattr(&f, CAPABILITY).unwrap_err().raw_os_error();
    assert_eq!(left, Some(libc::ENODATA), "chown");
}

#[test]
fn a_capability_set_between_two_writes_goes_with_the_second() {
    let Some(mount) = mount_for_all() else { return };
    let f = arm(&mount, 0o777);
    for flags in [0, libc::O_DIRECT] {
        let file = OpenOptions::new().write(true).custom_flags(flags).open(&f).unwrap();
        let block = fs::read("/usr/bin/id").unwrap()[..4096].to_vec();
        for _ in 0..2 {
            file.set_len(8192).unwrap();
            os::set_xattr(&f, CAPABILITY, &NET_RAW, 0).unwrap();
            let buffer = Aligned(block.clone().try_into().unwrap());
            file.write_all_at(&buffer.0, 0).unwrap();
            let left = os::get_xattr(&f, CAPABILITY).unwrap_err().raw_os_error();
            assert_eq!(left, Some(libc::ENODATA));
        }
    }
}

/// What `O_DIRECT` asks of a buffer.
#[repr(align(4096))]
struct Aligned([u8; 4096]);
