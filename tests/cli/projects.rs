//! `verso project`: on a mounted drive and on a store that is not mounted.

use crate::support::{Bench, Ran, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use versofs::http::Client;

/// A user that needs no name.
const ANNA: u32 = 61_001;

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn mounted() -> Bench {
    let bench = Bench::new();
    bench.with_variable("VERSO_HISTORY__SLOT", "0s", "mount STORE DRIVE").ok();
    bench
}

fn run(program: &str, args: &[&OsStr]) {
    let ran = Command::new(program).args(args).output().unwrap();
    assert!(ran.status.success(), "{program}: {ran:?}");
}

fn set_xattr(path: &Path, name: &str, value: &str) {
    let args = ["-n", name, "-v", value].map(OsStr::new);
    run("setfattr", &[&args[..], &[path.as_os_str()]].concat());
}

fn xattrs(path: &Path) -> String {
    let mut command = Command::new("getfattr");
    let ran = command.args(["--absolute-names", "-h", "-d", "-m-", "-e", "hex"]).arg(path).output();
    let text = String::from_utf8(ran.unwrap().stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.sort_unstable();
    lines.join(" ")
}

/// A project with a bit of everything that a file can be.
fn fill(dir: &Path) {
    let at = |name: &str| dir.join(name);
    fs::create_dir_all(at("final/deep")).unwrap();
    fs::create_dir_all(at("empty")).unwrap();
    fs::write(at("plan.txt"), "first").unwrap();
    fs::write(at("plan.txt"), "the plan").unwrap();
    fs::write(at("final/deep/large"), vec![b'x'; 3_000_000]).unwrap();
    let long = format!("{}/{}", "final/deep", "n".repeat(200));
    fs::write(at(&long), "long").unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"odd\xff\n\x01")), "odd").unwrap();
    let holes = File::create(at("holes")).unwrap();
    holes.set_len(20_000_000).unwrap();
    holes.write_at(b"island", 9_000_000).unwrap();
    drop(holes);
    fs::hard_link(at("plan.txt"), at("final/again")).unwrap();
    symlink("../plan.txt", at("final/link")).unwrap();
    symlink(format!("./a//b/../{}/", "t".repeat(150)), at("far")).unwrap();
    run("mkfifo", &[at("pipe").as_os_str()]);
    set_xattr(&at("plan.txt"), "user.dos", "0x0a3d0a0000ff");
    set_xattr(dir, "user.xdg.tags", "client:smith, wedding");
    run("setfacl", &["-m".as_ref(), "u:1234:rw".as_ref(), at("plan.txt").as_os_str()]);
    fs::set_permissions(at("final"), fs::Permissions::from_mode(0o2750)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(at("holes"), Some(ANNA), Some(4_000_000)).unwrap();
        fs::set_permissions(at("holes"), fs::Permissions::from_mode(0o4711)).unwrap();
    }
    for (name, time) in
        [("plan.txt", "2001-02-03 04:05:06.123456789Z"), ("final/link", "1960-01-01 00:00:00.5Z")]
    {
        run("touch", &["-h".as_ref(), "-d".as_ref(), time.as_ref(), at(name).as_os_str()]);
    }
    run("touch", &["-d".as_ref(), "2002-02-02 02:02:02.5Z".as_ref(), at("final/deep").as_os_str()]);
}

/// Of each name below a directory what two trees must have in common.
fn shape(dir: &Path) -> BTreeMap<PathBuf, String> {
    let (mut found, mut first_names) = (BTreeMap::new(), BTreeMap::new());
    look(dir, Path::new(""), &mut found, &mut first_names);
    found
}

fn look(
    top: &Path,
    path: &Path,
    found: &mut BTreeMap<PathBuf, String>,
    first_names: &mut BTreeMap<u64, PathBuf>,
) {
    let at = if path.as_os_str().is_empty() { top.to_owned() } else { top.join(path) };
    let meta = fs::symlink_metadata(&at).unwrap();
    let first = first_names.entry(meta.ino()).or_insert_with(|| path.to_owned()).clone();
    let content = match meta.file_type() {
        kind if kind.is_file() => format!("{:?}", versofs_hash(&fs::read(&at).unwrap())),
        kind if kind.is_symlink() => format!("{:?}", fs::read_link(&at).unwrap()),
        _ => String::new(),
    };
    let size = if meta.is_dir() { 0 } else { meta.len() };
    let nlink = if meta.is_dir() { 0 } else { meta.nlink() };
    found.insert(
        path.to_owned(),
        format!(
            "{:o} {}:{} {nlink} {size} {}.{:09} {first:?} {content} {}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            xattrs(&at)
        ),
    );
    if meta.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(&at).unwrap().map(|one| one.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            look(top, &path.join(name), found, first_names);
        }
    }
}

fn versofs_hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[track_caller]
fn assert_same(a: &BTreeMap<PathBuf, String>, b: &BTreeMap<PathBuf, String>) {
    for (path, shown) in a {
        assert_eq!(Some(shown), b.get(path), "{path:?}");
    }
    assert_eq!(a.len(), b.len(), "{:?}", b.keys());
}

fn list(bench: &Bench, words: &str) -> Vec<Value> {
    let ran = bench.verso(&format!("project list --json {words}")).ok();
    serde_json::from_str::<Value>(&ran.out).unwrap().as_array().unwrap().clone()
}

fn names(bench: &Bench, words: &str) -> Vec<String> {
    list(bench, words).iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_export_comes_back_as_it_was_and_any_tar_reads_it() {
    let bench = mounted();
    let spring = bench.drive.join("projects/spring");
    fs::create_dir(&spring).unwrap();
    fill(&spring);
    let original = shape(&spring);
    for ending in ["tar", "tar.gz", "tar.zst"] {
        let file = format!("spring.{ending}");
        let said = bench.verso(&format!("project export spring {file} --on DRIVE")).ok().out;
        assert!(said.starts_with("exported spring to"), "{said}");
        bench.verso(&format!("project import {file} --as {ending} --on DRIVE")).ok();
        assert_same(&original, &shape(&bench.drive.join("projects").join(ending)));
    }
    let holes = fs::metadata(bench.drive.join("projects/tar.zst/holes")).unwrap();
    assert!(holes.blocks() * 512 < 1 << 20, "{} blocks", holes.blocks());
    bench
        .verso("project export spring spring.tar --on DRIVE")
        .fails(1, &["exists already", "--force"]);
    bench.verso("project export spring spring.tar --force --on DRIVE").ok();
    bench
        .verso("project export spring spring.zip --on DRIVE")
        .fails(2, &["spring.zip", ".tar.zst"]);
    // GNU tar, and what it packs.
    let out = bench.path("out");
    fs::create_dir(&out).unwrap();
    let unpack = ["--acls", "--xattrs", "--xattrs-include=user.*", "-xpf"].map(OsStr::new);
    let file = bench.path("spring.tar.zst");
    run("tar", &[&unpack[..], &[file.as_os_str(), "-C".as_ref(), out.as_os_str()]].concat());
    let unpacked = shape(&out.join("spring"));
    assert_same(&original, &unpacked);
    for format in ["gnu", "posix"] {
        let file = bench.path(&format!("by-{format}.tar"));
        let format_option = format!("--format={format}");
        let how = [&format_option[..], "-S", "--acls", "-cf"].map(OsStr::new);
        let spring = [file.as_os_str(), "-C".as_ref(), out.as_os_str(), "spring".as_ref()];
        run("tar", &[&how[..], &spring].concat());
        bench.verso(&format!("project import by-{format}.tar --as by-{format} --on DRIVE")).ok();
        let found = bench.drive.join(format!("projects/by-{format}"));
        for name in ["plan.txt", "holes", "final/deep/large", "final/again"] {
            assert!(
                fs::read(found.join(name)).unwrap()
                    == fs::read(out.join("spring").join(name)).unwrap()
            );
        }
        assert_eq!(
            fs::read_dir(&found).unwrap().count(),
            fs::read_dir(spring_of(&out)).unwrap().count()
        );
    }
    // From a directory, and of a store that is not mounted.
    bench.verso("project import out/spring --as folder --on DRIVE").ok();
    assert_same(&unpacked, &shape(&bench.drive.join("projects/folder")));
    bench.unmount();
    bench.verso("project export spring again.tar.gz --on STORE").ok();
    bench.verso("project import again.tar.gz --on STORE").ok();
    bench.verso("project import out/spring --as folder-2 --on STORE").ok();
    bench.verso("mount STORE DRIVE").ok();
    assert_same(&original, &shape(&bench.drive.join("projects/again")));
    assert_same(&unpacked, &shape(&bench.drive.join("projects/folder-2")));
    bench.unmount();
    bench.verso("check STORE").ok();
}

fn spring_of(out: &Path) -> PathBuf {
    out.join("spring")
}

#[test]
fn a_moment_is_exported_also_of_what_is_gone() {
    let bench = mounted();
    let spring = bench.drive.join("projects/spring");
    fs::create_dir(&spring).unwrap();
    fs::write(spring.join("plan"), "then").unwrap();
    let then = Command::new("date").args(["-u", "+%Y-%m-%dT%H%M%S.%NZ"]).output().unwrap().stdout;
    let then = String::from_utf8(then).unwrap().trim().to_owned();
    fs::write(spring.join("plan"), "now").unwrap();
    bench.verso("project delete spring --on DRIVE").ok();
    bench.verso(&format!("project export spring then.tar --at {then} --on DRIVE")).ok();
    let read = |member: &str| {
        let ran = Command::new("tar").arg("-xOf").arg(bench.path("then.tar")).arg(member).output();
        String::from_utf8(ran.unwrap().stdout).unwrap()
    };
    assert_eq!(read("spring/plan"), "then");
    bench.verso("project export winter x.tar --on DRIVE").fails(1, &["winter", "help:"]);
    assert!(!bench.path("x.tar").exists());
}

#[test]
fn projects_are_archived_and_come_back() {
    let check = |on: &str, bench: &Bench| {
        let said =
            bench.verso(&format!("project archive spring --at 2026-03-31 --on {on}")).ok().out;
        assert!(said.contains("archived/2026/03/spring"), "{said}");
        bench.verso(&format!("project archive spring --on {on}")).fails(1, &["archived already"]);
        assert_eq!(names(bench, &format!("{on} --status archived")), ["spring"]);
        let is_root = is_root();
        if on == "DRIVE" {
            let archived = bench.drive.join("archived/2026/03/spring");
            assert_eq!(fs::read_dir(archived.join(".versions/plan.txt")).unwrap().count(), 2);
            let note: Value =
                serde_json::from_slice(&fs::read(archived.join("metadata.json")).unwrap()).unwrap();
            assert_eq!((&note["id"], &note["why"]), (&json!("spring"), &json!("by hand")));
            assert_eq!(fs::metadata(&archived).unwrap().mode() & 0o222, 0);
            assert!(is_root || File::create(archived.join("new")).is_err());
            assert!(!bench.drive.join("projects/spring").exists());
        }
        bench.verso(&format!("project unarchive spring --on {on}")).ok();
        bench.verso(&format!("project unarchive spring --on {on}")).fails(1, &["is not archived"]);
    };
    let bench = mounted();
    let spring = bench.drive.join("projects/spring");
    fs::create_dir(&spring).unwrap();
    fill(&spring);
    let original = shape(&spring);
    check("DRIVE", &bench);
    assert_same(&original, &shape(&spring));
    bench.unmount();
    check("STORE", &bench);
    bench.verso("mount STORE DRIVE").ok();
    assert_same(&original, &shape(&spring));
}

#[test]
fn an_ordinary_user_archives_what_is_theirs() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    bench.verso("mount STORE DRIVE --allow-other").ok();
    for (name, mode) in [("projects", 0o1777), ("archived", 0o1777)] {
        fs::set_permissions(bench.drive.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    // Where she may run it: the sources may lie in a directory that is closed to her.
    let program = bench.path("verso");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_verso")).arg(&program).status();
    assert!(copied.unwrap().success());
    let as_anna = |words: &str| {
        let given = bench.command(words);
        let mut command = Command::new(&program);
        command.args(given.get_args()).env_remove("VERSO_CONFIG");
        Ran::new(command.uid(ANNA).gid(ANNA).current_dir("/").output().unwrap())
    };
    let spring = bench.drive.join("projects/spring");
    let made = Command::new("mkdir").arg(&spring).uid(ANNA).gid(ANNA).status().unwrap();
    assert!(made.success());
    fs::write(spring.join("of-root"), "r").unwrap();
    let ran = as_anna("project archive spring --on DRIVE");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("1 of them belong to others"), "{ran:?}");
    let archived = &list(&bench, "DRIVE")[0];
    let dir = bench.drive.join(archived["path"].as_str().unwrap());
    let touched = Command::new("touch").arg(dir.join("new")).uid(ANNA).gid(ANNA).output().unwrap();
    assert!(!touched.status.success());
    assert_eq!(as_anna("project unarchive spring --on DRIVE").code, Some(0));
    let touched =
        Command::new("touch").arg(spring.join("new")).uid(ANNA).gid(ANNA).status().unwrap();
    assert!(touched.success());
    // What belongs to somebody else stays where it is.
    fs::create_dir(bench.drive.join("projects/roots")).unwrap();
    as_anna("project archive roots --on DRIVE").fails(1, &["roots", "help:"]);
    assert!(bench.drive.join("projects/roots").exists());
}

#[test]
fn lists_are_filtered_and_the_drive_is_found() {
    let bench = mounted();
    for (id, bytes, tags) in
        [("small", 10, "a"), ("large", 5000, "a, verso:keep"), ("mid", 100, "")]
    {
        let dir = bench.drive.join("projects").join(id);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("original/x"), vec![0; bytes]).unwrap();
        if !tags.is_empty() {
            set_xattr(&dir, "user.xdg.tags", tags);
        }
    }
    bench.verso("project archive mid --on DRIVE").ok();
    let check = |on: &str| {
        assert_eq!(names(&bench, on), ["large", "mid", "small"]);
        assert_eq!(names(&bench, &format!("{on} --tag a --larger 1KiB")), ["large"]);
        assert_eq!(names(&bench, &format!("{on} --tag a --tag verso:keep")), ["large"]);
        assert_eq!(names(&bench, &format!("{on} --smaller 50B")), ["small"]);
        assert_eq!(names(&bench, &format!("{on} --status archived --newer 1d")), ["mid"]);
        assert!(names(&bench, &format!("{on} --older 1d")).is_empty());
    };
    check("DRIVE");
    let mut here = bench.command("project list");
    let table = Ran::new(here.current_dir(bench.drive.join("projects")).output().unwrap()).ok().out;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("PROJECT  STATUS"), "{table}");
    assert!(lines[1].starts_with("large") && lines[1].ends_with("a, verso:keep"), "{table}");
    bench.verso("project list --larger much").fails(2, &["10GiB"]);
    bench.unmount();
    check("STORE");
}

#[test]
fn what_is_deleted_comes_back_unless_it_was_for_good() {
    let bench = mounted();
    let spring = bench.drive.join("projects/spring");
    fs::create_dir(&spring).unwrap();
    fill(&spring);
    let original = shape(&spring);
    let said = bench.verso("project delete spring --on DRIVE").ok().out;
    assert!(!spring.exists());
    let (_, command) = said.trim().split_once("bring it back: verso ").unwrap();
    bench.verso(command).ok();
    let found = shape(&spring);
    assert_eq!(found.keys().collect::<Vec<_>>(), original.keys().collect::<Vec<_>>());
    assert_eq!(found[Path::new("plan.txt")], original[Path::new("plan.txt")]);
    bench.verso("project delete spring --hard --on DRIVE").fails(2, &["nobody to ask", "--yes"]);
    assert!(spring.exists());
    bench.verso("project delete spring --hard --yes --on DRIVE").ok();
    assert!(!spring.exists());
    bench.verso("undelete drive/projects/spring").fails(1, &["nothing by this name was deleted"]);
    fs::create_dir(&spring).unwrap();
    bench.unmount();
    let said = bench.verso("project delete spring --on STORE").ok().out;
    let (_, command) = said.trim().split_once("bring it back: verso ").unwrap();
    bench.verso(command).ok();
    bench.verso("project delete spring --hard --yes --on STORE").ok();
    bench.verso("project delete spring --on STORE").fails(1, &["there is no project"]);
}

#[test]
fn an_import_that_was_killed_goes_on() {
    let bench = mounted();
    let source = bench.path("source");
    fs::create_dir_all(source.join("dir")).unwrap();
    for number in 0..200 {
        fs::write(source.join(format!("dir/{number:03}")), vec![number as u8; 10_000]).unwrap();
    }
    let file = bench.path("source.tar");
    let posix = ["--format=posix", "-cf"].map(OsStr::new);
    let all = [file.as_os_str(), "-C".as_ref(), source.as_os_str(), ".".as_ref()];
    run("tar", &[&posix[..], &all].concat());
    let bytes = fs::read(&file).unwrap();
    let mut command = bench.command("project import - --as spring --on DRIVE");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&bytes[..bytes.len() / 2]).unwrap();
    let hidden = bench.drive.join("projects/.verso~import-spring");
    until(|| fs::read_dir(hidden.join("dir")).is_ok_and(|names| names.count() > 50));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(input);
    assert!(names(&bench, "DRIVE").is_empty());
    let said = bench.verso("project import source.tar --as spring --on DRIVE").ok().out;
    let (_, kept) = said.split_once("entries, 1.91 MiB; ").unwrap();
    let kept: u64 = kept.split(' ').next().unwrap().parse().unwrap();
    assert!((50..110).contains(&kept), "{said}");
    assert!(!hidden.exists());
    assert_same(&shape(&source), &shape(&bench.drive.join("projects/spring")));
    bench.verso("project import source.tar --as spring --on DRIVE").fails(1, &["exists already"]);
    bench
        .verso("project import drive --as all --on DRIVE")
        .fails(2, &["the drive itself is in it"]);
}

#[test]
fn ctrl_c_leaves_no_half_archive() {
    let bench = mounted();
    let spring = bench.drive.join("projects/spring");
    fs::create_dir(&spring).unwrap();
    fill(&spring);
    // Nobody reads the pipe: so it is in the middle for as long as it takes.
    let fifo = bench.path("slow.tar");
    let mut command = bench.command("project export spring - --on DRIVE");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    bench.kill("-INT", child.id());
    bench.kill("-INT", child.id());
    drop(child.stdout.take());
    assert!(!child.wait().unwrap().success());
    assert!(!fifo.exists());
    let left = fs::read_dir(bench.dir.path()).unwrap();
    let left: Vec<_> = left.map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// Bytes that don't compress.
fn noise(len: usize) -> Vec<u8> {
    let mut random = vec![0; len];
    File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    random
}

/// Mounts a drive that has a location.
fn with_nas(bench: &Bench, nas: &Path, settings: &str) {
    fs::create_dir(&bench.store).unwrap();
    let location =
        format!("[[backup]]\nname = \"nas\"\nlocation = {nas:?}\nschedule = \"never\"\n");
    fs::write(bench.store.join("verso.toml"), format!("{location}{settings}")).unwrap();
    bench.verso("mount STORE DRIVE").ok();
}

fn with_spring(bench: &Bench) -> PathBuf {
    let spring = bench.drive.join("projects/spring");
    fs::create_dir(&spring).unwrap();
    fill(&spring);
    spring
}

#[test]
fn an_export_goes_to_a_location_and_comes_back() {
    let bench = Bench::new();
    let nas = bench.path("nas");
    with_nas(&bench, &nas, "");
    let original = shape(&with_spring(&bench));
    let said = bench.verso("project export spring --to nas --on DRIVE").ok().out;
    assert!(said.starts_with("exported spring to exports/spring.tar.zst at nas: "), "{said}");
    let file = nas.join("exports/spring.tar.zst");
    for path in [&nas, &nas.join("exports"), &file] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: others can look into it", path.display());
    }
    let listed = Command::new("tar").arg("-tf").arg(&file).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("spring/final/deep/large\n"), "{listed}");
    let once = bench.verso("project export spring --to nas --on DRIVE");
    once.fails(1, &["exports/spring.tar.zst at nas", "exists already", "--force"]);
    bench.verso("project export spring --to nas --force --on DRIVE").ok();
    bench.verso("project export spring 2026/s.tar.gz --to nas --on DRIVE").ok();
    assert_eq!(fs::read_dir(nas.join(".partial")).unwrap().count(), 0);
    for (name, id) in [("spring.tar.zst", "again"), ("exports/2026/s.tar.gz", "third")] {
        bench.verso(&format!("project import {name} --from nas --as {id} --on DRIVE")).ok();
        assert_same(&original, &shape(&bench.drive.join("projects").join(id)));
    }
    bench
        .verso("project import winter.tar --from nas --on DRIVE")
        .fails(1, &["nas has no exports/winter.tar", "spring.tar.zst"]);
    // A location may hold backups too: they don't touch each other.
    bench.verso("backup run nas --full --store DRIVE").ok();
    bench.verso("backup run nas --full --store DRIVE").ok();
    bench.verso("backup prune nas --keep 0s --store DRIVE").ok();
    bench.unmount();
    bench.verso("project export spring by-store.tar --to nas --on STORE").ok();
    bench.verso("project import by-store.tar --from nas --as fourth --on STORE").ok();
    let config = bench.store.join("verso.toml");
    let at_nas = format!("backup verify nas --read-data --config {}", config.display());
    bench.verso(&at_nas).ok();
    let exported: Vec<_> = fs::read_dir(nas.join("exports")).unwrap().collect();
    assert_eq!(exported.len(), 3, "{exported:?}");
}

#[test]
fn an_export_to_a_location_that_is_none_says_why() {
    let bench = mounted();
    with_spring(&bench);
    let export = |words: &str| bench.verso(&format!("project export spring {words} --on DRIVE"));
    export("--to nas").fails(2, &["no backup location is called \"nas\"", "URI"]);
    export("--to ./gone/nas").fails(1, &["gone is missing"]);
    export("x.zip --to ./nas").fails(2, &["x.zip", ".tar.zst"]);
    export("../x.tar --to ./nas").fails(2, &["../x.tar"]);
    export("--credentials keys").fails(2, &["--to"]);
    export("").fails(2, &["DEST"]);
    bench.verso("project export winter --to ./nas --on DRIVE").fails(1, &["winter"]);
    assert!(!bench.path("nas").exists() && !bench.path("gone").exists());
    bench.verso("project import x.tar --from ./nas --on DRIVE").fails(1, &["nothing was exported"]);
}

#[test]
fn an_export_that_was_killed_leaves_nothing_that_counts() {
    let bench = mounted();
    let spring = with_spring(&bench);
    fs::write(spring.join("final/noise"), noise(64 << 20)).unwrap();
    let partial = bench.path("nas/.partial");
    let grows = || {
        let names = fs::read_dir(&partial).into_iter().flatten();
        names.flatten().any(|name| name.metadata().is_ok_and(|meta| meta.len() > 4 << 20))
    };
    let left = || fs::read_dir(&partial).unwrap().count();
    for (signal, leaves) in [("-INT", 0), ("-KILL", 1)] {
        let mut command = bench.command("project export spring --to ./nas --on DRIVE");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until(grows);
        bench.kill(signal, child.id());
        assert!(!child.wait().unwrap().success());
        assert_eq!(left(), leaves, "{signal}");
        assert_eq!(fs::read_dir(bench.path("nas/exports")).unwrap().count(), 0);
    }
    bench.verso("project export spring --to ./nas --on DRIVE").ok();
    let whole = bench.path("nas/exports/spring.tar.zst");
    let listed = Command::new("tar").arg("-tf").arg(whole).output().unwrap();
    assert!(listed.status.success() && !listed.stdout.is_empty());
}

#[test]
fn what_leads_out_of_an_archive_is_refused() {
    let bench = mounted();
    fs::write(bench.path("x"), "x").unwrap();
    let pack = |name: &str, transform: &str| {
        let file = bench.path(name);
        let args = ["-P", "--transform", transform, "-cf"].map(OsStr::new);
        run(
            "tar",
            &[
                &args[..],
                &[file.as_os_str(), "-C".as_ref(), bench.dir.path().as_os_str(), "x".as_ref()],
            ]
            .concat(),
        );
    };
    pack("up.tar", "s,x,a/../../../shared/x,");
    pack("root.tar", "s,x,/tmp/x,");
    for (file, why) in [("up.tar", "leads out of it"), ("root.tar", "absolute path")] {
        bench.verso(&format!("project import {file} --on DRIVE")).fails(1, &[file, why]);
    }
    fs::write(bench.path("broken.tar.zst"), "no archive at all").unwrap();
    bench.verso("project import broken.tar.zst --on DRIVE").fails(1, &["broken.tar.zst"]);
    bench.verso("project import nothing --on DRIVE").fails(1, &["nothing"]);
    assert_eq!(fs::read_dir(bench.drive.join("projects")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(bench.drive.join("shared")).unwrap().count(), 0);
}

/// Runs the job in the daemon, and waits for its end.
fn run_job(bench: &Bench, order: Value) -> Value {
    let ask = || Client::connect(&bench.store).unwrap().unwrap();
    let finished = || {
        let jobs = ask().get("/v1/jobs").unwrap().success().unwrap();
        let jobs = jobs.as_array().unwrap().clone();
        let job = jobs.into_iter().find(|job| job["name"] == "archive").unwrap();
        job["finished"].as_array().unwrap().clone()
    };
    let before = finished().len();
    ask().post("/v1/jobs/run", &order).unwrap().success().unwrap();
    until(|| finished().len() > before);
    finished().pop().unwrap()
}

#[test]
fn the_job_moves_what_nobody_has_open_and_the_mount_shows_it() {
    let bench = mounted();
    for id in ["spring", "open", "kept"] {
        fs::create_dir(bench.drive.join("projects").join(id)).unwrap();
        fs::write(bench.drive.join(format!("projects/{id}/original/x")), "x").unwrap();
    }
    set_xattr(&bench.drive.join("projects/kept"), "user.xdg.tags", "verso:keep");
    let open = File::open(bench.drive.join("projects/open/original/x")).unwrap();
    // The kernel believes all of these names by now, and that the others are missing.
    assert!(fs::metadata(bench.drive.join("archived/2026")).is_err());
    let order = |dry_run: bool| json!({ "name": "archive", "dry_run": dry_run, "options": { "after": "0s" } });
    let planned = run_job(&bench, order(true));
    assert_eq!(planned["detail"]["planned"].as_array().unwrap().len(), 2, "{planned}");
    assert_eq!(names(&bench, "DRIVE --status active").len(), 3);
    let done = run_job(&bench, order(false));
    assert_eq!(done["summary"], "1 projects archived, 1 in use put off", "{done}");
    let archived = list(&bench, "DRIVE --status archived");
    let at = bench.drive.join(archived[0]["path"].as_str().unwrap());
    assert_eq!(archived[0]["id"], "spring");
    assert!(fs::metadata(bench.drive.join("projects/spring")).is_err());
    assert_eq!(fs::metadata(at.join("original/x")).unwrap().mode() & 0o777, 0o444);
    assert_eq!(fs::metadata(&at).unwrap().mode() & 0o222, 0);
    assert_eq!(fs::read(at.join("original/x")).unwrap(), b"x");
    // What was put off can be written to as before.
    fs::write(bench.drive.join("projects/open/original/y"), "y").unwrap();
    assert_eq!(
        fs::metadata(bench.drive.join("projects/open/original/x")).unwrap().mode() & 0o777,
        0o644
    );
    assert!(!bench.drive.join("projects/open/metadata.json").exists());
    drop(open);
    bench.unmount();
    bench.verso("check STORE").ok();
}

#[test]
fn the_job_exports_what_is_archived_once_and_is_not_done_before() {
    let bench = Bench::new();
    let nas = bench.path("disk/nas");
    with_nas(&bench, &nas, "[jobs]\narchive_export = \"nas\"\n");
    let original = shape(&with_spring(&bench));
    let exported = || {
        let found = Command::new("find").arg(&nas).args(["-type", "f"]).output().unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        let mut found: Vec<String> = found.lines().map(str::to_owned).collect();
        found.sort();
        found
    };
    bench.verso("project archive spring --at 2026-03-31 --on DRIVE").ok();
    let failed = run_job(&bench, json!({ "name": "archive" }));
    assert!(failed["error"].as_str().unwrap().contains("disk is missing"), "{failed}");
    fs::create_dir(bench.path("disk")).unwrap();
    let done = run_job(&bench, json!({ "name": "archive" }));
    assert_eq!(done["summary"], "0 projects archived, 1 exported to nas", "{done}");
    let first = exported();
    assert_eq!(first.len(), 1, "{first:?}");
    let (_, key) = first[0].split_once("disk/nas/").unwrap();
    assert!(key.starts_with("exports/archived/2026/03/spring~2"), "{key}");
    assert!(key.ends_with("Z.tar.zst"), "{key}");
    bench.verso(&format!("project import {key} --from nas --as again --on DRIVE")).ok();
    // As it was before it was archived.
    assert_same(&original, &shape(&bench.drive.join("projects/again")));
    let done = run_job(&bench, json!({ "name": "archive" }));
    assert_eq!(done["summary"], "0 projects archived, 0 exported to nas", "{done}");
    assert_eq!(exported(), first);
    // What was worked on since is another archive.
    bench.verso("project unarchive spring --on DRIVE").ok();
    bench.verso("project archive spring --at 2026-03-31 --on DRIVE").ok();
    let done = run_job(&bench, json!({ "name": "archive" }));
    assert_eq!(done["summary"], "0 projects archived, 1 exported to nas", "{done}");
    assert_eq!(exported().len(), 2);
    assert!(exported().contains(&first[0]));
}

#[test]
fn an_encrypted_store_has_projects_too() {
    let safe = crate::encrypted::Safe::empty();
    let verso = |words: &str| Ran::new(safe.command(words).output().unwrap());
    verso("init --encrypt STORE --passphrase-file pass").ok();
    let bench = &safe.0;
    let source = bench.path("secret-project");
    fs::create_dir(&source).unwrap();
    fill(&source);
    verso("project import secret-project --on STORE --passphrase-file pass").ok();
    verso("project archive secret-project --on STORE --passphrase-file pass").ok();
    verso("project unarchive secret-project --on STORE --passphrase-file pass").ok();
    verso("project export secret-project out.tar --on STORE --passphrase-file pass").ok();
    let to_shelf = "--on STORE --passphrase-file pass";
    verso(&format!("project export secret-project out.tar --to ./shelf {to_shelf}")).ok();
    assert!(
        fs::read(bench.path("shelf/exports/out.tar")).unwrap()
            == fs::read(bench.path("out.tar")).unwrap()
    );
    verso(&format!("project import out.tar --from ./shelf --as again {to_shelf}")).ok();
    verso("project list STORE").fails(7, &[]);
    let (out, file) = (bench.path("out"), bench.path("out.tar"));
    fs::create_dir(&out).unwrap();
    run("tar", &["-xpf".as_ref(), file.as_os_str(), "-C".as_ref(), out.as_os_str()]);
    for name in ["plan.txt", "holes", "final/deep/large"] {
        assert!(
            fs::read(out.join("secret-project").join(name)).unwrap()
                == fs::read(source.join(name)).unwrap()
        );
    }
}
