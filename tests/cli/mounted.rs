//! The command line with a mount: the daemon's life, from the first line to the last byte.

use crate::support::{Bench, log, until};
use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use versofs::http::Client;

#[test]
fn a_new_store_is_made_mounted_unmounted_and_mounted_again() {
    let bench = Bench::new();
    let said = bench.verso("mount STORE DRIVE").ok().out;
    let (store, drive) = (bench.store.display(), bench.drive.display());
    let expected = format!(
        "made a new store in {store}\n\
         every folder has its past under the name .versions, as in {drive}/.versions\n"
    );
    assert_eq!(said, expected);
    let project = bench.drive.join("projects/first");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("original/a.txt"), "content").unwrap();
    bench.unmount();
    assert!(!bench.is_mounted());
    assert_eq!(versofs::sys::StoreLock::owner(&bench.store).unwrap(), None);
    assert!(!bench.store.join("control.sock").exists());

    assert_eq!(bench.verso("mount STORE DRIVE").ok().out, "");
    assert_eq!(fs::read(project.join("original/a.txt")).unwrap(), b"content");
    bench.unmount();
}

#[test]
fn the_status_is_the_daemons_wherever_one_asks() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    fs::write(bench.drive.join("shared/a"), vec![7; 100_000]).unwrap();
    for path in ["STORE", "DRIVE", "drive/shared/a"] {
        let status = bench.status(path);
        assert_eq!(status["daemon"]["mountpoint"], json!(bench.drive));
        assert_eq!(status["store"], json!(bench.store));
        assert_eq!(status["volume"]["files"], 1);
        assert_eq!(status["volume"]["logical_bytes"], 100_000);
    }
    let text = bench.verso("status DRIVE").ok().out;
    assert!(text.contains("health      good"), "{text}");
}

#[test]
fn a_path_longer_than_a_socket_address_is_fine() {
    let mut bench = Bench::new();
    bench.store = bench.path(&"deep/".repeat(30)).join("store");
    bench.verso("mount STORE DRIVE").ok();
    assert!(bench.status("STORE")["daemon"]["pid"].is_u64());
    bench.unmount();
}

#[test]
fn a_second_daemon_is_refused_with_the_pid_of_the_first() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    fs::create_dir(bench.path("other")).unwrap();
    let pid = format!("process {}", bench.daemon());
    bench.verso("mount STORE other").fails(3, &[&pid, "unmount it"]);
    bench.verso("mount STORE DRIVE").fails(6, &["is mounted at", "already"]);
    fs::write(bench.drive.join("alive"), "").unwrap();
}

#[test]
fn a_mount_point_that_cannot_be_one_is_refused() {
    let bench = Bench::new();
    bench.verso("mount STORE nowhere").fails(6, &["does not exist", "mkdir -p"]);
    fs::write(bench.path("file"), "").unwrap();
    bench.verso("mount STORE file").fails(6, &["not a directory"]);
    fs::create_dir(&bench.store).unwrap();
    bench.verso("mount STORE STORE").fails(6, &["is the store itself"]);
    bench.verso("mount STORE .").fails(6, &["would hide the store"]);
    fs::create_dir(bench.store.join("in")).unwrap();
    bench.verso("mount STORE store/in").fails(6, &["lies within the store"]);
    fs::remove_dir(bench.store.join("in")).unwrap();
    fs::write(bench.drive.join("mine"), "").unwrap();
    bench.verso("mount STORE DRIVE").fails(6, &["is not empty", "nonempty"]);
    assert_eq!(fs::read_dir(&bench.store).unwrap().count(), 0, "no store was made on the way");
    bench.verso("mount STORE DRIVE -o nonempty").ok();
}

#[test]
fn the_mount_point_of_a_killed_daemon_is_cleared_and_nothing_is_lost() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    fs::write(bench.drive.join("kept"), "kept").unwrap();
    bench.kill("-9", bench.daemon());
    until(|| versofs::sys::disk_space(&bench.drive).is_err());
    bench.verso("status DRIVE").fails(6, &["has died", "help:"]);
    let said = bench.verso("mount STORE DRIVE").ok().out;
    assert!(said.starts_with("cleared ") && said.contains("had died"), "{said}");
    assert_eq!(fs::read(bench.drive.join("kept")).unwrap(), b"kept");

    bench.kill("-9", bench.daemon());
    until(|| versofs::sys::disk_space(&bench.drive).is_err());
    assert!(bench.verso("umount --if-dead DRIVE").ok().out.starts_with("cleared "));
    assert!(!bench.is_mounted());
}

#[test]
fn a_busy_drive_stays_and_says_who_uses_it() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    let path = bench.drive.join("open.psd");
    let mut file = File::create(&path).unwrap();
    let who = format!("(process {}) uses {}", std::process::id(), path.display());
    bench.verso("umount DRIVE").fails(6, &["is in use", &who, "--lazy"]);
    assert!(bench.is_mounted());

    let lazy = bench.verso("umount --lazy DRIVE");
    assert!(lazy.code == Some(0) && lazy.err.contains(&who), "{lazy:?}");
    assert!(!bench.is_mounted());
    file.write_all(b"written after the drive was gone").unwrap();
    drop(file);
    bench.wait_for_end();
    bench.verso("mount STORE DRIVE").ok();
    assert_eq!(fs::read(&path).unwrap(), b"written after the drive was gone");
}

#[test]
fn a_stop_with_open_files_keeps_what_was_written() {
    let bench = Bench::new();
    bench.command("mount STORE DRIVE").env("VERSO_MOUNT__STOP_GRACE", "0s").status().unwrap();
    let path = bench.drive.join("open.psd");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"acknowledged").unwrap();
    bench.kill("-TERM", bench.daemon());
    bench.wait_for_end();
    assert!(!bench.is_mounted());
    assert!(log(&bench.store).contains("is still in use"));
    file.write_all(b"too late").unwrap_err();
    drop(file);
    bench.verso("mount STORE DRIVE").ok();
    assert_eq!(fs::read(&path).unwrap(), b"acknowledged");
}

#[test]
fn a_second_signal_ends_the_patience_and_loses_nothing() {
    let bench = Bench::new();
    bench.command("mount STORE DRIVE").env("VERSO_MOUNT__STOP_GRACE", "1h").status().unwrap();
    let path = bench.drive.join("open.psd");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"acknowledged").unwrap();
    let daemon = bench.daemon();
    bench.kill("-TERM", daemon);
    until(|| !bench.is_mounted());
    bench.kill("-INT", daemon);
    bench.wait_for_end();
    drop(file);
    bench.verso("mount STORE DRIVE").ok();
    assert_eq!(fs::read(&path).unwrap(), b"acknowledged");
}

#[test]
fn an_unmount_from_outside_ends_the_daemon_in_order() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    fs::write(bench.drive.join("a"), "a").unwrap();
    let done = Command::new("fusermount3").arg("-u").arg(&bench.drive).status().unwrap();
    assert!(done.success());
    bench.wait_for_end();
    assert!(log(&bench.store).contains("everything is in"));
    assert!(!bench.store.join("control.sock").exists());
}

#[test]
fn the_control_socket_unmounts_unless_busy() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    let ask = |lazy: bool| {
        let client = Client::connect(&bench.store).unwrap().unwrap();
        client.post("/v1/unmount", &json!({ "lazy": lazy })).unwrap()
    };
    let file = File::create(bench.drive.join("a")).unwrap();
    assert_eq!(ask(false).status, 409);
    drop(file);
    let client = Client::connect(&bench.store).unwrap().unwrap();
    assert_eq!(client.post("/v1/sync", &json!({})).unwrap().status, 204);
    assert_eq!(ask(false).status, 204);
    bench.wait_for_end();
    assert!(!bench.is_mounted());
}

#[test]
fn in_the_foreground_the_log_goes_to_the_terminal_and_sigint_ends_it() {
    let bench = Bench::new();
    let mut command = bench.command("mount --foreground STORE DRIVE");
    let mut daemon = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(|| bench.is_mounted());
    bench.kill("-INT", daemon.id());
    assert!(daemon.wait().unwrap().success());
    let mut said = String::new();
    daemon.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("is mounted at") && said.contains("everything is in"), "{said}");
    assert!(!bench.store.join("verso.log").exists());
}

#[test]
fn the_log_can_be_moved_away() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    fs::rename(bench.store.join("verso.log"), bench.store.join("moved.log")).unwrap();
    bench.kill("-HUP", bench.daemon());
    until(|| bench.store.join("verso.log").exists());
    bench.unmount();
    assert!(log(&bench.store).contains("everything is in"));
}

#[test]
fn a_log_that_is_too_large_is_set_aside() {
    let bench = Bench::new();
    bench.verso("init STORE").ok();
    fs::write(bench.store.join("verso.log"), vec![b'x'; 64 << 10]).unwrap();
    let mounted = bench.with_variable("VERSO_LOG__FILE_BYTES_MAX", "64KiB", "mount STORE DRIVE");
    mounted.ok();
    bench.unmount();
    assert_eq!(fs::metadata(bench.store.join("verso.log.1")).unwrap().len(), 64 << 10);
    let log = log(&bench.store);
    assert!(log.contains("is mounted at") && log.contains("everything is in"), "{log}");
}

#[test]
fn what_is_in_the_store_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    fs::write(bench.drive.join("secret"), vec![1; 1 << 20]).unwrap();
    bench.unmount();
    let mut open = vec![bench.store.clone()];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        seen += 1;
    }
    assert!(seen > 5, "store.toml, meta.db, packs with a pack, the log");
}

#[test]
fn without_a_path_all_drives_are_listed() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    let all = bench.status_of_all("");
    let drives: Vec<_> = all.as_array().unwrap().iter().map(|one| &one["store"]).collect();
    assert!(drives.contains(&&json!(bench.store)), "{all}");
}

#[test]
fn systemd_hears_when_the_drive_is_ready_and_when_it_stops() {
    let bench = Bench::new();
    let socket = bench.path("notify");
    let notified = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let mut command = bench.command("mount --foreground STORE DRIVE");
    command.env("NOTIFY_SOCKET", &socket).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = command.spawn().unwrap();
    let mut said = [0; 256];
    let mut hear = || {
        let len = notified.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..len]).trim().to_owned()
    };
    assert_eq!(hear(), "READY=1");
    assert!(bench.is_mounted(), "not ready before the drive is there");
    bench.kill("-TERM", daemon.id());
    assert_eq!(hear(), "STOPPING=1");
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn a_line_of_fstab_mounts() {
    let bench = Bench::new();
    let helper = bench.path("mount.verso");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_verso"), &helper).unwrap();
    let options = "ro,_netdev,nofail,x-systemd.automount,noexec,noatime";
    let mut command = Command::new(&helper);
    command.args([&bench.store, &bench.drive]).args(["-n", "-o", options]);
    assert!(command.status().unwrap().success());
    assert!(bench.is_mounted());
    let refused = fs::write(bench.drive.join("a"), "").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let unknown =
        Command::new(&helper).args([&bench.store, &bench.drive]).args(["-o", "compress"]).output();
    assert_eq!(unknown.unwrap().status.code(), Some(2));
}

/// Of what was deleted nothing is kept that is older than the floor, which is as long as one says.
#[test]
fn what_was_deleted_comes_free_when_the_floor_is_shortened() {
    let bench = Bench::new();
    fs::create_dir(&bench.store).unwrap();
    let settings = "[store]\npack_bytes_target = \"1MiB\"\n[retention]\nthinning = []\n";
    fs::write(bench.path("verso.toml"), settings).unwrap();
    bench.verso("--config verso.toml mount STORE DRIVE").ok();
    let noise = |len| Command::new("head").args(["-c", len, "/dev/urandom"]).output().unwrap();
    let keep = noise("1000000").stdout;
    for name in ["gone", "gone too"] {
        fs::write(bench.drive.join(name), noise("5000000").stdout).unwrap();
    }
    fs::write(bench.drive.join("keep"), &keep).unwrap();
    fs::remove_file(bench.drive.join("gone")).unwrap();
    let nothing = bench.verso("tidy DRIVE").ok().out;
    assert!(nothing.starts_with("nothing to remove"), "{nothing}");
    bench.verso("tidy DRIVE --floor 0s").fails(2, &["--yes"]);
    bench.verso("tidy DRIVE --floor soon --yes").fails(2, &["7d"]);
    let report = bench.verso("tidy DRIVE --floor 0s --yes --json").ok().out;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert!(report["bytes_freed"].as_u64().unwrap() > 3_000_000, "{report}");
    // And where no daemon runs.
    fs::remove_file(bench.drive.join("gone too")).unwrap();
    bench.unmount();
    let said = bench.verso("--config verso.toml tidy STORE --floor 0s --yes").ok().out;
    assert!(said.contains("came free"), "{said}");
    bench.verso("check STORE --read-data").ok();
    bench.verso("mount STORE DRIVE").ok();
    assert!(fs::read(bench.drive.join("keep")).unwrap() == keep);
}

#[test]
fn a_drive_can_be_mounted_as_it_was() {
    let bench = Bench::new();
    bench.verso("mount STORE DRIVE").ok();
    fs::create_dir_all(bench.drive.join("shared/folder")).unwrap();
    fs::write(bench.drive.join("shared/folder/plan"), "the old plan").unwrap();
    std::os::unix::fs::symlink("plan", bench.drive.join("shared/folder/link")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let then = versofs::sys::SystemClock;
    let then =
        versofs::model::moment_name(versofs::model::Moment(versofs::sys::Clock::now(&then).0));
    std::thread::sleep(std::time::Duration::from_millis(100));
    fs::write(bench.drive.join("shared/folder/plan"), "new").unwrap();
    fs::remove_file(bench.drive.join("shared/folder/link")).unwrap();
    fs::write(bench.drive.join("shared/later"), "").unwrap();
    bench.unmount();
    bench.verso("mount STORE DRIVE --at someday").fails(2, &["someday", "yesterday"]);
    bench.verso(&format!("mount STORE DRIVE --at {then}")).ok();
    let folder = bench.drive.join("shared/folder");
    assert_eq!(fs::read(folder.join("link")).unwrap(), b"the old plan");
    assert!(!bench.drive.join("shared/later").exists());
    let mut names: Vec<_> =
        fs::read_dir(&bench.drive).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["archived", "projects", "shared"]);
    let refused = fs::write(folder.join("plan"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    bench.unmount();
    bench.verso("mount STORE DRIVE").ok();
    assert_eq!(fs::read(folder.join("plan")).unwrap(), b"new");
}
