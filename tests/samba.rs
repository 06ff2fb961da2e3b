//! The drive behind a real Samba with the settings of `config/smb.conf.example`, asked as Windows asks.

#![allow(clippy::unwrap_used)] // all of it is test code

mod crash_support;
mod history_support;

use crash_support::run;
use history_support::{Place, next_second};
use std::fs::{self, File, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/smb.conf.example");
/// How long a server may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// The user as whom smbd works for guests.
const NOBODY: &str = "nobody";

/// The example with what it leaves to the administrator, and with what keeps this server apart from the machine's own.
fn settings(dir: &Path, share: &Path, port: u16) -> String {
    let mut global = format!(
        "[global]\ninterfaces = 127.0.0.1\nbind interfaces only = yes\nsmb ports = {port}\n\
         map to guest = Bad User\nguest account = {NOBODY}\nload printers = no\ndisable spoolss = yes\n"
    );
    for kind in ["private", "lock", "state", "cache", "pid", "ncalrpc"] {
        let name = if matches!(kind, "private" | "ncalrpc") { "dir" } else { "directory" };
        let path = dir.join(kind);
        fs::create_dir(&path).unwrap();
        global += &format!("{kind} {name} = {}\n", path.display());
    }
    global += &format!("log file = {}\n", dir.join("log").display());
    let projects = format!("path = {}\nguest ok = yes\n", share.display());
    // A section that comes twice would lose its `shadow:` lines.
    let example = fs::read_to_string(EXAMPLE).unwrap();
    let places = [("[global]\n", global), ("path = /mnt/verso/projects\n", projects)];
    places.into_iter().fold(example, |text, (place, lines)| {
        assert_eq!(text.matches(place).count(), 1, "{place}");
        text.replace(place, &lines)
    })
}

/// A running smbd over a drive.
struct Server {
    // Dropped in this order: the server before the drive.
    smbd: Smbd,
    place: Place,
}

/// Parent of a process group of its own, since each client gets a process.
struct Smbd {
    child: Child,
    port: u16,
}

impl Server {
    fn start(test: &str) -> Option<Server> {
        let place = Place::new(test, &["smbd", "smbclient"])?;
        let share = place.root();
        chown(&share, Some(fs_user(NOBODY)), None).unwrap();
        let port = free_port();
        let dir = place.outside().join("samba");
        fs::create_dir(&dir).unwrap();
        let config = dir.join("smb.conf");
        fs::write(&config, settings(&dir, &share, port)).unwrap();
        Some(Server { smbd: Smbd::start(&config, port), place })
    }

    /// Commands of smbclient, as a guest; what it said, and whether each of them succeeded.
    fn ask(&self, commands: &str) -> (String, bool) {
        let mut client = Command::new("smbclient");
        client.args(["//127.0.0.1/projects", "-N", "-s", "/dev/null", "-p"]);
        client.arg(self.smbd.port.to_string()).args(["-c", commands]);
        let output = client.current_dir(self.place.outside()).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let is_fine = output.status.success() && !text.contains("NT_STATUS_");
        (text, is_fine)
    }

    #[track_caller]
    fn tell(&self, commands: &str) -> String {
        let (text, is_fine) = self.ask(commands);
        assert!(is_fine, "{commands}: {text}");
        text
    }

    /// Saves a file through the share.
    #[track_caller]
    fn save(&self, name: &str, content: &str) {
        fs::write(self.place.outside().join("in"), content).unwrap();
        self.tell(&format!("put in {name}"));
    }

    /// What a path on the share holds, if it can be had.
    fn fetch(&self, path: &str) -> Option<String> {
        let out = self.place.outside().join("out");
        let _ = fs::remove_file(&out);
        let (_, is_fine) = self.ask(&format!("get \"{path}\" out"));
        is_fine.then(|| fs::read_to_string(out).unwrap())
    }

    /// The moments that Windows would show for a file or a folder, the newest first.
    fn moments(&self, path: &str) -> Vec<String> {
        let (text, _) = self.ask(&format!("allinfo {path}"));
        let lines = text.lines().filter(|line| line.starts_with("@GMT-"));
        lines.map(str::to_owned).collect()
    }

    /// What the file was at each of these moments; the same again counts once.
    fn earlier(&self, path: &str) -> Vec<String> {
        let moments = self.moments(path).into_iter();
        let mut found: Vec<_> =
            moments.filter_map(|moment| self.fetch(&format!("{moment}\\{path}"))).collect();
        // On a slow machine a moment may lie between the creation of a file and its first content.
        found.retain(|text| !text.is_empty());
        found.dedup();
        found
    }

    fn finish(self) {
        drop(self.smbd);
        self.place.finish();
    }
}

impl Smbd {
    fn start(config: &Path, port: u16) -> Smbd {
        let log = config.with_extension("out");
        let out = File::create(&log).unwrap();
        let mut command = Command::new(program("smbd"));
        command.args(["-F", "--no-process-group", "--debug-stdout", "-s"]).arg(config);
        command.process_group(0).stdin(Stdio::null());
        command.stdout(out.try_clone().unwrap()).stderr(out);
        let mut smbd = Smbd { child: command.spawn().unwrap(), port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = smbd.child.try_wait().unwrap();
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "smbd: {ended:?}\n{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        smbd
    }

    /// Sends a signal to the server and its children; whether there was anybody.
    fn signal(&self, signal: &str) -> bool {
        let group = format!("-{}", self.child.id());
        let mut kill = Command::new("kill");
        kill.args(["-s", signal, "--", &group]).stderr(Stdio::null());
        kill.status().unwrap().success()
    }
}

impl Drop for Smbd {
    fn drop(&mut self) {
        self.signal("TERM");
        let _ = self.child.wait();
        // Those of clients have files on the drive open until they have gone.
        let begun = Instant::now();
        while self.signal("TERM") && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.signal("KILL");
    }
}

/// Programs of administrators are not in everybody's path.
fn program(name: &str) -> PathBuf {
    let dirs = ["/usr/sbin", "/usr/local/sbin", "/sbin"];
    let mut paths = dirs.iter().map(|dir| Path::new(dir).join(name));
    paths.find(|path| path.exists()).unwrap_or_else(|| name.into())
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn fs_user(name: &str) -> u32 {
    run(Command::new("id").args(["-u", name])).trim().parse().unwrap()
}

/// Seconds, and nanoseconds of the next one.
fn mtime(path: &Path) -> (i64, i64) {
    let file = fs::metadata(path).unwrap();
    (file.mtime(), file.mtime_nsec())
}

/// Seconds since 1970 of `@GMT-2026.09.14-10.32.12`.
fn seconds(moment: &str) -> i64 {
    let (date, time) = moment["@GMT-".len()..].split_once('-').unwrap();
    let stamp = format!("{} {}", date.replace('.', "-"), time.replace('.', ":"));
    run(Command::new("date").args(["-u", "+%s", "-d", &stamp])).trim().parse().unwrap()
}

/// Waits for the next second, and names it as Windows does.
fn next_moment() -> String {
    next_second();
    run(Command::new("date").args(["-u", "+@GMT-%Y.%m.%d-%H.%M.%S"])).trim().to_owned()
}

/// `2026-09-14T103212Z`: what `.versions/@at` calls it.
fn at_name(moment: &str) -> String {
    let (date, time) = moment["@GMT-".len()..].split_once('-').unwrap();
    format!("{}T{}Z", date.replace('.', "-"), time.replace('.', ""))
}

#[test]
fn samba_understands_the_example() {
    let Some(place) = Place::new("testparm", &["testparm"]) else { return };
    // Where no server has been started yet, its directories below /run are missing, which is not the example's fault.
    let run = place.outside();
    let own = ["lock", "pid"].map(|what| format!("{what} directory = {}\n", run.display()));
    let example = fs::read_to_string(EXAMPLE).unwrap();
    let example = example.replacen("[global]\n", &format!("[global]\n{}", own.concat()), 1);
    let file = run.join("smb.conf");
    fs::write(&file, example).unwrap();
    let output = Command::new("testparm").arg("-s").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for complaint in ["Unknown parameter", "Ignoring", "WARNING", "ERROR"] {
        assert!(!said.contains(complaint), "{said}");
    }
    place.finish();
}

#[test]
fn ten_saves_through_a_share_are_ten_versions() {
    let Some(server) = Server::start("samba-saves") else { return };
    server.tell("mkdir d");
    let texts: Vec<_> = (0..10).map(|save| format!("save {save}")).collect();
    for text in &texts {
        server.save("d/in-place.txt", text);
        // As Photoshop and Office do: a new file takes the place of the old one.
        server.save("d/new.tmp", text);
        server.ask("rename d/new.txt d/old.tmp");
        server.tell("rename d/new.tmp d/new.txt");
        server.ask("del d/old.tmp");
    }
    for name in ["d/in-place.txt", "d/new.txt"] {
        let shown = server.place.versions(name);
        let shown: Vec<_> = shown.iter().map(|text| String::from_utf8_lossy(text)).collect();
        assert_eq!(shown, texts, "{name}");
    }
    server.finish();
}

#[test]
fn windows_lists_and_opens_what_a_file_was() {
    let Some(server) = Server::start("samba-previous") else { return };
    server.tell("mkdir d; mkdir d/e");
    let (mut stamps, mut seconds_after) = (Vec::new(), Vec::new());
    for text in ["one", "two", "three"] {
        server.save("d/e/f.psd", text);
        stamps.push(mtime(&server.place.root().join("d/e/f.psd")));
        server.save("d/e/f.psd:note", &format!("note of {text}"));
        stamps.push(mtime(&server.place.root().join("d/e/f.psd")));
        seconds_after.push(next_moment());
    }
    let moments = server.moments("d/e/f.psd");
    assert!(moments.is_sorted_by(|a, b| a > b), "{moments:?}");
    assert_eq!(server.earlier("d/e/f.psd"), ["three", "two", "one"]);
    // By its time people know a version: it is that of its own save, not of the next one.
    for moment in &moments {
        let file = format!(".versions/@at/{}/d/e/f.psd", at_name(moment));
        let shown = mtime(&server.place.root().join(file));
        let is_over = shown <= (seconds(moment), 0);
        assert!(is_over && stamps.contains(&shown), "{moment}: {shown:?} of {stamps:?}");
    }
    // Another stream of the file goes along, at any moment that a client asks for.
    let first = &seconds_after[0];
    assert_eq!(server.fetch(&format!("{first}\\d\\e\\f.psd:note")).unwrap(), "note of one");
    // Whoever asks at another folder above gets the same.
    assert_eq!(server.fetch(&format!("d\\{first}\\e\\f.psd")).unwrap(), "one");
    server.finish();
}

#[test]
fn windows_restores_a_version() {
    let Some(server) = Server::start("samba-restore") else { return };
    let one = "one ".repeat(100_000);
    server.save("f", &one);
    let first = next_moment();
    server.save("f", "two");
    next_second();
    // Windows lets the server copy within itself.
    server.tell(&format!("scopy {first}\\f back"));
    server.tell("del f; rename back f");
    assert_eq!(server.fetch("f").unwrap(), one);
    assert_eq!(server.place.versions("f"), [one.as_bytes(), b"two", one.as_bytes()]);
    server.finish();
}

#[test]
fn what_was_deleted_is_in_the_folder_as_it_was() {
    let Some(server) = Server::start("samba-deleted") else { return };
    server.tell("mkdir d; mkdir d/e");
    for text in ["one", "two"] {
        server.save("d/f", text);
        server.save("d/e/g", text);
        next_second();
    }
    server.tell("del d/f");
    next_second();
    let was = |moment: &String| server.fetch(&format!("{moment}\\d\\f"));
    let mut found: Vec<_> = server.moments("d").iter().filter_map(was).collect();
    found.retain(|text| !text.is_empty());
    found.dedup();
    assert_eq!(found, ["two", "one"]);
    let whole = server.moments("d/e").remove(0);
    server.tell("deltree d");
    assert_eq!(server.fetch("d\\e\\g"), None);
    // Samba 4.17 walks to a previous version through folders that live. What lay in one that is gone has a path of
    // its own, and is in the list of what was deleted.
    assert_eq!(
        server.fetch(&format!(".versions\\@at\\{}\\d\\e\\g", at_name(&whole))).unwrap(),
        "two"
    );
    assert_eq!(server.fetch(".versions\\@deleted\\d\\e\\g").unwrap(), "two");
    assert!(server.tell("ls .versions\\@deleted\\*").contains("  d  "));
    server.finish();
}

#[test]
fn the_past_keeps_its_permissions_and_cannot_be_changed() {
    let Some(server) = Server::start("samba-permissions") else { return };
    let root = server.place.root();
    fs::write(root.join("secret"), "for root alone").unwrap();
    fs::set_permissions(root.join("secret"), Permissions::from_mode(0o600)).unwrap();
    server.save("public", "one");
    next_second();
    let newest = server.moments("public").remove(0);
    assert_eq!(server.fetch(&format!("{newest}\\public")).unwrap(), "one");
    assert_eq!(server.fetch("secret"), None);
    assert_eq!(server.fetch(&format!("{newest}\\secret")), None);
    for command in [
        format!("put in {newest}\\public"),
        format!("put in {newest}\\another"),
        format!("del {newest}\\public"),
        format!("mkdir {newest}\\d"),
        format!("rename {newest}\\public public2"),
        "del .versions\\public\\*".to_owned(),
        "rmdir .versions".to_owned(),
    ] {
        let (said, is_fine) = server.ask(&command);
        assert!(!is_fine, "{command}: {said}");
    }
    assert_eq!(server.fetch("public").unwrap(), "one");
    assert_eq!(server.place.versions("public"), [b"one"]);
    // Folders that clients list don't show it.
    assert!(!server.tell("ls").contains(".versions"));
    server.finish();
}
