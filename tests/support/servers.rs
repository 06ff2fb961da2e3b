//! Real servers for backup locations: each on a free port of this machine, with a directory of its own, until it is dropped.
//!
//! Their programs lie where `scripts/test` installs them (`install_servers`).

#![allow(dead_code)] // not every test that includes it needs all of it

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use versofs::backup::LocationSpec;

/// Where their programs are.
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/servers");
const SETUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/servers.py");
/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// The password, or the key, of everything that has one; no message may hold it.
pub(crate) const SECRET: &str = "aHVudGVyMi1odW50ZXIyLWh1bnRlcjI=";
/// What is not.
const WRONG: &str = "d3JvbmctaHVudGVyLXdyb25nLWh1bnRlcg==";
/// The token of one who can delete nothing.
const APPEND: &str = "YXBwZW5kLWFwcGVuZC1hcHBlbmQtYXBwZW5k";
const USER: &str = "verso";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    S3,
    Sftp,
    Ftp,
    Webdav,
    Azure,
    Gcs,
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] =
        [Kind::S3, Kind::Sftp, Kind::Ftp, Kind::Webdav, Kind::Azure, Kind::Gcs];

    fn program(self) -> PathBuf {
        let within = |name: &str| Path::new(PROGRAMS).join(name);
        match self {
            Kind::S3 => within("bin/python"),
            Kind::Sftp => PathBuf::from("/usr/sbin/sshd"),
            Kind::Ftp => within("bin/python"),
            Kind::Webdav => within("bin/wsgidav"),
            Kind::Azure => within("node_modules/.bin/azurite-blob"),
            // Only to be there: it is served by a program of ours around it.
            Kind::Gcs => within("bin/gcp-storage-emulator"),
        }
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    child: Child,
    dir: TempDir,
    /// Key and secret of S3's two users.
    keys: Vec<(String, String)>,
}

impl Server {
    /// `None` if its program is not installed; under CI, or with `VERSO_TESTS_COMPLETE` set, that is a failure.
    pub(crate) fn start(kind: Kind) -> Option<Server> {
        let program = kind.program();
        if !program.exists() {
            let complete =
                ["CI", "VERSO_TESTS_COMPLETE"].iter().any(|name| std::env::var_os(name).is_some());
            // `scripts/test` says so when it could not be fetched.
            let cannot_be =
                kind == Kind::Azure && Path::new(PROGRAMS).join("without-azurite").exists();
            assert!(!complete || cannot_be, "{} is missing", program.display());
            eprintln!(
                "SKIPPED {kind:?}: {} is missing; scripts/test installs it",
                program.display()
            );
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        prepare(kind, dir.path());
        let port = free_port();
        let child = spawn(kind, dir.path(), port);
        let mut server = Server { kind, port, child, dir, keys: Vec::new() };
        server.wait_until_it_listens();
        server.set_up();
        Some(server)
    }

    /// Kills it. What clients it has is killed along, but for sshd's, whose processes are on their own.
    pub(crate) fn kill(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }

    /// Starts it again where it was, with the files it had.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.kind, self.dir.path(), self.port);
        self.wait_until_it_listens();
    }

    /// The location `prefix` on it.
    pub(crate) fn spec(&self, prefix: &str) -> LocationSpec {
        self.through(self.port, prefix)
    }

    /// The same, through a proxy's port.
    pub(crate) fn through(&self, port: u16, prefix: &str) -> LocationSpec {
        let at = format!("127.0.0.1:{port}");
        let files = self.files().display().to_string();
        match self.kind {
            Kind::S3 => spec(
                format!("s3://backups/{prefix}?endpoint=http://{at}"),
                &[("access_key_id", &self.keys[0].0), ("secret_access_key", &self.keys[0].1)],
            ),
            Kind::Sftp => spec(
                format!("sftp://{}@{at}{files}/{prefix}?known_hosts_strategy=accept", me()),
                &[("key", &self.path("client_key"))],
            ),
            Kind::Ftp => spec(format!("ftp://{USER}@{at}/{prefix}"), &[("password", SECRET)]),
            Kind::Webdav => {
                spec(format!("webdav+http://{USER}@{at}/{prefix}"), &[("password", SECRET)])
            }
            Kind::Azure => spec(
                format!(
                    "azblob://backups/{prefix}?account_name={USER}&endpoint=http://{at}/{USER}"
                ),
                &[("account_key", SECRET)],
            ),
            Kind::Gcs => spec(
                format!("gcs://backups/{prefix}?endpoint=http://{at}&disable_vm_metadata=true"),
                &[("token", SECRET)],
            ),
        }
    }

    /// The same with credentials that it doesn't take.
    pub(crate) fn with_wrong_credentials(&self, prefix: &str) -> LocationSpec {
        let mut wrong = self.spec(prefix);
        let (name, value) = match self.kind {
            Kind::S3 => ("secret_access_key", WRONG.to_owned()),
            Kind::Sftp => ("key", self.path("wrong_key")),
            Kind::Ftp | Kind::Webdav => ("password", WRONG.to_owned()),
            Kind::Azure => ("account_key", WRONG.to_owned()),
            Kind::Gcs => ("token", WRONG.to_owned()),
        };
        wrong.options.insert(name.to_owned(), value);
        wrong
    }

    /// The same for a user who can delete nothing, at S3, FTP and GCS.
    pub(crate) fn append_only(&self, prefix: &str) -> LocationSpec {
        let mut spec = self.spec(prefix);
        if self.kind == Kind::Ftp {
            spec.uri = spec.uri.replace(&format!("{USER}@"), "append@");
            return spec;
        }
        if self.kind == Kind::Gcs {
            spec.options.insert("token".to_owned(), APPEND.to_owned());
            return spec;
        }
        let (id, secret) = self.keys[1].clone();
        spec.options.insert("access_key_id".to_owned(), id);
        spec.options.insert("secret_access_key".to_owned(), secret);
        spec
    }

    /// Where its objects lie as files; those of S3, Azure and GCS don't.
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// What no message may hold.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let of_users = self.keys.iter().map(|(_, secret)| secret.clone());
        of_users.chain([SECRET.to_owned(), WRONG.to_owned()]).collect()
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn wait_until_it_listens(&mut self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{:?} ended with {ended:?}\n{}", self.kind, self.log());
            assert!(begun.elapsed() < PATIENCE, "{:?} does not start\n{}", self.kind, self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn set_up(&mut self) {
        let port = self.port.to_string();
        let arguments: &[&str] = match self.kind {
            Kind::S3 => &["s3", &port],
            Kind::Azure => &["azure", &port, USER, SECRET],
            _ => return,
        };
        let python = Path::new(PROGRAMS).join("bin/python");
        let output = Command::new(python).arg(SETUP).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}\n{}", self.log());
        let printed = String::from_utf8(output.stdout).unwrap();
        let pair = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
        self.keys = printed.lines().filter_map(pair).collect();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if self.kind == Kind::Sftp {
            // `ssh` has put the key of a host that never comes back into the user's list.
            let host = format!("[127.0.0.1]:{}", self.port);
            let forget = Command::new("ssh-keygen").args(["-R", &host]).output();
            let _ = forget.map(drop);
        }
    }
}

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A location of this URI.
pub(crate) fn spec(uri: String, options: &[(&str, &str)]) -> LocationSpec {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    LocationSpec { name: "there".to_owned(), uri, options: BTreeMap::from_iter(options) }
}

fn me() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn prepare(kind: Kind, dir: &Path) {
    fs::create_dir(dir.join("files")).unwrap();
    if kind == Kind::Sftp {
        make_keys(dir);
    }
}

fn spawn(kind: Kind, dir: &Path, port: u16) -> Child {
    let mut command = command(kind, dir, &port.to_string());
    let log = fs::File::create(dir.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.current_dir(dir).process_group(0).spawn().unwrap()
}

fn command(kind: Kind, dir: &Path, port: &str) -> Command {
    let files = dir.join("files");
    let mut command = match kind {
        Kind::Gcs => Command::new(Path::new(PROGRAMS).join("bin/python")),
        _ => Command::new(kind.program()),
    };
    match kind {
        Kind::S3 => {
            // So many requests are taken from anybody, until the set-up is done.
            command.env("INITIAL_NO_AUTH_ACTION_COUNT", "1000");
            command.args([SETUP, "serve-s3", port]);
        }
        Kind::Ftp => {
            command.args([SETUP, "serve-ftp", port, USER, SECRET]).arg(files);
        }
        Kind::Webdav => {
            let settings = dir.join("wsgidav.json");
            fs::write(&settings, webdav_settings(&files, port)).unwrap();
            command.arg("--config").arg(settings);
        }
        Kind::Azure => {
            let path = format!("{PROGRAMS}/bin:{}", std::env::var("PATH").unwrap_or_default());
            command.env("PATH", path).env("AZURITE_ACCOUNTS", format!("{USER}:{SECRET}"));
            command.args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
            command.args(["--blobHost", "127.0.0.1", "--blobPort", port, "--location"]).arg(files);
        }
        Kind::Gcs => {
            command.args([SETUP, "serve-gcs", port]).arg(files).args([SECRET, APPEND]);
        }
        Kind::Sftp => {
            let settings = dir.join("sshd_config");
            fs::write(&settings, sshd_settings(dir, port)).unwrap();
            command.args(["-D", "-e", "-f"]).arg(settings);
        }
    }
    command
}

fn webdav_settings(files: &Path, port: &str) -> String {
    serde_json::json!({
        "host": "127.0.0.1",
        "port": port.parse::<u16>().unwrap(),
        "provider_mapping": { "/": files },
        "http_authenticator": {
            "accept_basic": true, "accept_digest": false, "default_to_digest": false,
        },
        "simple_dc": { "user_mapping": { "*": { USER: { "password": SECRET } } } },
    })
    .to_string()
}

/// Keys of the host, of a user who may enter, and of one who may not.
fn make_keys(dir: &Path) {
    for name in ["host_key", "client_key", "wrong_key"] {
        let path = dir.join(name);
        let arguments = ["-q", "-t", "ed25519", "-N", "", "-f"];
        let made = Command::new("ssh-keygen").args(arguments).arg(&path).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    fs::copy(dir.join("client_key.pub"), dir.join("authorized")).unwrap();
    fs::set_permissions(dir.join("authorized"), fs::Permissions::from_mode(0o600)).unwrap();
    // Root's sshd wants a directory to lock its children into; a machine that never ran one has none.
    let _ = fs::create_dir_all("/run/sshd");
}

fn sshd_settings(dir: &Path, port: &str) -> String {
    let dir = dir.display();
    format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {dir}/host_key\nPidFile none\nUsePAM no\n\
         AuthorizedKeysFile {dir}/authorized\nStrictModes no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 100\n\
         MaxSessions 100\nSubsystem sftp internal-sftp\n"
    )
}
