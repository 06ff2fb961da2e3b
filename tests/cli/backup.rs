//! `verso backup`: what the README promises, with the real program.

use crate::support::{Bench, Ran, noise, until};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

const USAGE: i32 = 2;
const DAMAGE: i32 = 4;

/// A mounted drive with every kind of thing on it, and a shelf for its backups.
fn used(settings: &str) -> Bench {
    let bench = Bench::new();
    fs::create_dir(&bench.store).unwrap();
    let text = format!(
        "[store]\npack_bytes_target = \"1MiB\"\n[history]\nslot = \"0s\"\n{settings}\n\
         [[backup]]\nname = \"shelf\"\nlocation = \"{}\"\nschedule = \"never\"\n",
        bench.path("shelf").display()
    );
    fs::write(bench.store.join("verso.toml"), text).unwrap();
    bench.verso("mount STORE DRIVE").ok();
    let dir = bench.drive.join("projects/spring/original");
    fs::create_dir(bench.drive.join("projects/spring")).unwrap();
    for number in 0..40 {
        fs::write(dir.join(format!("{number}.psd")), noise(number, 40_000)).unwrap();
    }
    fs::write(bench.drive.join("shared/hero.jpg"), noise(1, 900_000)).unwrap();
    fs::write(bench.drive.join("shared/hero.jpg"), noise(2, 900_000)).unwrap();
    fs::hard_link(dir.join("1.psd"), bench.drive.join("shared/one")).unwrap();
    symlink("hero.jpg", bench.drive.join("shared/link")).unwrap();
    let sparse = fs::File::create(bench.drive.join("shared/sparse")).unwrap();
    sparse.write_all_at(b"far away", 50_000_000).unwrap();
    fs::remove_file(dir.join("7.psd")).unwrap();
    bench
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok().out).unwrap()
}

/// The store is there again, mounted at the drive.
fn expect_all(drive: &Path) {
    let dir = drive.join("projects/spring/original");
    for number in (0..40).filter(|number| *number != 7) {
        let found = fs::read(dir.join(format!("{number}.psd"))).unwrap();
        assert!(found == noise(number, 40_000), "{number}.psd");
    }
    assert!(!dir.join("7.psd").exists());
    let deleted = fs::read(dir.join(".versions/@deleted/7.psd")).unwrap();
    assert!(deleted == noise(7, 40_000), "what was deleted is there too");
    let versions = fs::read_dir(drive.join("shared/.versions/hero.jpg")).unwrap();
    let mut versions: Vec<_> = versions.map(|entry| entry.unwrap().path()).collect();
    versions.sort();
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert!(fs::read(&versions[0]).unwrap() == noise(1, 900_000));
    assert!(fs::read(drive.join("shared/link")).unwrap() == noise(2, 900_000));
    let sparse = fs::metadata(drive.join("shared/sparse")).unwrap();
    assert_eq!((sparse.len(), sparse.blocks() < 1000), (50_000_008, true));
    let names = [dir.join("1.psd"), drive.join("shared/one")].map(fs::metadata);
    let [one, other] = names.map(|meta| meta.unwrap().ino());
    assert_eq!(one, other);
}

#[test]
fn a_store_that_was_destroyed_comes_back_with_its_history_by_one_command() {
    let bench = used("");
    let worried = bench.verso("status DRIVE");
    assert_eq!(worried.code, Some(8), "{worried:?}");
    assert!(worried.out.contains("nothing was ever backed up to shelf"), "{worried:?}");
    let said = bench.verso("backup run --store DRIVE").ok().out;
    assert!(said.contains("shelf: a full generation, "), "{said}");
    fs::write(bench.drive.join("shared/later"), "later").unwrap();
    let said = bench.verso("backup run shelf --store DRIVE").ok().out;
    assert!(said.contains("shelf: a generation, "), "{said}");
    let told = bench.verso("status DRIVE").ok().out;
    assert!(told.contains("; verified never; proven never"), "{told}");
    let drilled = bench.verso("backup drill shelf --all --store DRIVE").ok().out;
    assert!(drilled.contains("are what they were"), "{drilled}");
    let place = &bench.status("DRIVE")["backups"][0];
    assert_eq!(
        (&place["name"], &place["proven_bytes"]),
        (&"shelf".into(), &place["proven_of_bytes"])
    );
    bench.unmount();
    let shelf = bench.path("shelf");
    let shelf = shelf.display();
    fs::remove_dir_all(&bench.store).unwrap();
    let said = bench.verso(&format!("backup list {shelf}")).ok().out;
    assert_eq!((said.lines().count(), said.contains("  full  ")), (3, true), "{said}");
    let said = bench.verso(&format!("backup restore {shelf} STORE")).ok().out;
    assert!(said.contains("is the store as of "), "{said}");
    bench.verso("check STORE --read-data").ok();
    bench.verso("mount STORE DRIVE").ok();
    expect_all(&bench.drive);
    assert_eq!(fs::read(bench.drive.join("shared/later")).unwrap(), b"later");
    bench.unmount();
}

#[test]
fn a_store_without_a_daemon_is_backed_up_too_and_anywhere() {
    let bench = used("");
    bench.unmount();
    let said = bench.verso("backup run ./elsewhere --store STORE").ok().out;
    assert!(said.contains("a full generation"), "{said}");
    let again = bench.verso("backup run ./elsewhere --store STORE --dry-run").ok().out;
    assert!(again.contains("would be sent"), "{again}");
    bench.verso("backup verify ./elsewhere --read-data").ok();
    bench.verso("backup restore ./elsewhere copy").ok();
    bench.verso("check copy --read-data").ok();
    bench.verso("backup restore ./elsewhere copy").fails(1, &["there is something here already"]);
    bench.verso("backup run nowhere --store STORE").fails(USAGE, &["no backup location is called"]);
    let odd = bench.verso("backup run gopher://x --store STORE");
    odd.fails(USAGE, &["is no kind of location; there are file://"]);
    bench.verso("backup list ./missing/dir").fails(1, &["missing"]);
}

#[test]
fn a_folder_is_brought_back_alone_also_as_it_was() {
    let bench = used("");
    bench.verso("backup run --store DRIVE").ok();
    bench.unmount();
    let said = bench.verso("backup restore ./shelf spring --path projects/spring").ok().out;
    assert!(said.contains(" files, "), "{said}");
    assert!(fs::read(bench.path("spring/original/3.psd")).unwrap() == noise(3, 40_000));
    assert!(!bench.path("spring/original/7.psd").exists());
    let refused = bench.verso("backup restore ./shelf spring --path projects/spring");
    refused.fails(USAGE, &["there is something here already"]);
    bench.verso("backup restore ./shelf x --path no/such").fails(1, &["no/such"]);
    bench.verso("backup restore ./shelf x --path ../up").fails(USAGE, &["a path on the drive"]);
}

#[test]
fn a_backup_is_mounted_and_read_where_it_lies() {
    let bench = used("");
    bench.verso("backup run --store DRIVE").ok();
    bench.unmount();
    fs::remove_dir_all(&bench.store).unwrap();
    fs::create_dir(bench.path("tmp")).unwrap();
    let mut command = bench.command("backup mount ./shelf DRIVE --scratch tmp");
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    until(|| bench.is_mounted());
    expect_all(&bench.drive);
    let refused = fs::write(bench.drive.join("shared/new"), "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    bench.kill("-TERM", child.id());
    assert!(child.wait().unwrap().success());
    assert!(!bench.is_mounted());
    assert_eq!(fs::read_dir(bench.path("tmp")).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn damage_at_a_place_is_named_and_a_full_generation_heals_it() {
    let bench = used("");
    bench.verso("backup run --store DRIVE").ok();
    let packs = fs::read_dir(bench.path("shelf/series")).unwrap().next().unwrap().unwrap();
    let part = fs::read_dir(packs.path().join("packs")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&part).unwrap();
    fs::write(&part, bytes).unwrap();
    bench.verso("backup verify ./shelf").ok();
    let found = bench.verso("backup verify ./shelf --read-data");
    assert!(found.out.contains("its bytes are not what they were"), "{found:?}");
    found.fails(DAMAGE, &["--full"]);
    bench.verso("backup run --full --store DRIVE").ok();
    let newest = bench.verso("backup verify ./shelf --read-data --newest").ok().out;
    assert!(newest.contains("all there"), "{newest}");
    let refused = bench.verso("backup restore ./shelf copy --generation 20");
    refused.fails(1, &["several begin with 20"]);
    bench.verso("backup restore ./shelf copy").ok();
    bench.verso("check copy --read-data").ok();
    bench.unmount();
}

#[test]
fn a_place_that_is_told_so_is_never_behind_for_long() {
    let bench = used("");
    bench.unmount();
    let settings = fs::read_to_string(bench.store.join("verso.toml")).unwrap();
    let settings = format!("{settings}continuous = true\n[jobs]\njitter = \"0s\"\n");
    fs::write(bench.store.join("verso.toml"), settings).unwrap();
    bench.verso("mount STORE DRIVE").ok();
    let generations = || {
        let listed = bench.verso("backup list ./shelf --json");
        if listed.code != Some(0) {
            return 0;
        }
        let listed: Value = serde_json::from_str(&listed.out).unwrap();
        listed["generations"].as_array().map_or(0, Vec::len)
    };
    bench.verso("backup run shelf --store DRIVE").ok();
    let before = generations();
    fs::write(bench.drive.join("shared/now"), "now").unwrap();
    until_patiently(|| generations() > before);
    bench.unmount();
    bench.verso("backup restore ./shelf copy").ok();
    assert_eq!(bench.verso("cat shared/now --store copy").ok().out, "now");
}

fn until_patiently(mut condition: impl FnMut() -> bool) {
    for _ in 0..240 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    panic!("two minutes were not enough");
}

#[test]
fn pruning_says_what_goes_and_refuses_where_nothing_may() {
    let bench = used("");
    for _ in 0..5 {
        bench.verso("backup run --full --store DRIVE").ok();
    }
    std::thread::sleep(Duration::from_millis(1100));
    let said = bench.verso("backup prune shelf --keep 1s --dry-run --store DRIVE").ok().out;
    assert!(said.contains("goes:  ") && said.contains("would be removed"), "{said}");
    assert_eq!(json(bench.verso("backup list ./shelf --json"))["generations"][4]["full"], true);
    bench.verso("backup prune shelf --keep 1s --store DRIVE").ok();
    let left = json(bench.verso("backup list ./shelf --json"));
    assert!(left["generations"].as_array().unwrap().len() <= 4, "{left}");
    bench.verso("backup verify ./shelf --read-data").ok();
    bench.unmount();
    let settings = fs::read_to_string(bench.store.join("verso.toml")).unwrap();
    fs::write(bench.store.join("verso.toml"), format!("{settings}append_only = true\n")).unwrap();
    let refused = bench.verso("backup prune shelf --store STORE");
    refused.fails(1, &["append_only"]);
}

#[test]
fn an_encrypted_store_comes_back_with_its_key_and_shows_nothing_without() {
    let bench = Bench::new();
    fs::write(bench.path("key"), noise(5, 64)).unwrap();
    fs::set_permissions(bench.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    bench.verso("init --encrypt STORE --key-file key").ok();
    bench.verso("mount STORE DRIVE --key-file key").ok();
    fs::write(bench.drive.join("shared/secret name"), "secret words".repeat(1000)).unwrap();
    bench.verso("backup run ./shelf --store DRIVE").ok();
    bench.verso("backup drill ./shelf --all --store DRIVE").ok();
    bench.unmount();
    fs::remove_dir_all(&bench.store).unwrap();
    let shelf = bench.path("shelf");
    let grep = Command::new("grep").args(["-r", "-l", "secret"]).arg(&shelf).output().unwrap();
    assert!(grep.stdout.is_empty(), "{grep:?}");
    bench.verso("backup restore ./shelf STORE").ok();
    bench.verso("check STORE --read-data").fails(7, &["encrypted"]);
    bench.verso("check STORE --read-data --key-file key").ok();
    let file = bench.verso("backup restore ./shelf name --path shared --key-file key");
    file.ok();
    let found = fs::read_to_string(bench.path("name/secret name")).unwrap();
    assert_eq!(found, "secret words".repeat(1000));
}

/// Flips a byte in the middle of one of the parts of packs at a place.
fn spoil_place(place: &Path, which: impl Fn(Vec<PathBuf>) -> PathBuf) {
    let series = fs::read_dir(place.join("series")).unwrap().next().unwrap().unwrap().path();
    let parts = fs::read_dir(series.join("packs")).unwrap();
    let mut parts: Vec<PathBuf> = parts.map(|part| part.unwrap().path()).collect();
    parts.sort();
    assert!(parts.len() > 2, "{parts:?}");
    spoil(&which(parts), 1, 1);
}

/// Flips `count` bytes of a file, spread over it.
fn spoil(file: &Path, count: usize, seed: u64) {
    let mut bytes = fs::read(file).unwrap();
    let places = noise(seed, 8 * count);
    for place in places.chunks_exact(8) {
        let at = u64::from_le_bytes(place.try_into().unwrap()) as usize % bytes.len();
        bytes[at] ^= 0x55;
    }
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_hundred_flipped_bytes_are_repaired_from_two_places_that_are_damaged_too() {
    let bench = used("");
    let settings = fs::read_to_string(bench.store.join("verso.toml")).unwrap();
    let attic = bench.path("attic");
    let more = format!("[[backup]]\nname = \"attic\"\nlocation = \"{}\"\n", attic.display());
    bench.unmount();
    fs::write(bench.store.join("verso.toml"), format!("{settings}{more}")).unwrap();
    bench.verso("backup run --store STORE").ok();
    let packs = fs::read_dir(bench.store.join("packs")).unwrap();
    let packs: Vec<PathBuf> = packs.map(|pack| pack.unwrap().path()).collect();
    let each = 100usize.div_ceil(packs.len());
    (1..).zip(&packs).for_each(|(seed, pack)| spoil(pack, each, seed));
    spoil_place(&bench.path("shelf"), |parts| parts[0].clone());
    spoil_place(&attic, |parts| parts[parts.len() - 1].clone());
    let damaged = bench.verso("check STORE --read-data");
    assert_eq!(damaged.code, Some(DAMAGE), "{damaged:?}");
    bench.verso("check STORE --read-data --repair");
    bench.verso("check STORE --read-data").ok();
    bench.verso("mount STORE DRIVE").ok();
    expect_all(&bench.drive);
    bench.unmount();
}
