//! `[[backup]]`: the places that hold backups, and the files that hold their secrets.

use super::resolve::{Broken, broken, resolve_path, within};
use super::{ConfigError, raw, units};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a location is called at most; the name is part of variables and of paths.
const NAME_BYTES_MAX: usize = 40;
const DAY: Duration = Duration::from_secs(24 * 3600);
const KEEP_MAX: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);
/// What `config show` writes in the place of a secret.
const HIDDEN: &str = "***";

/// Options of locations that are secrets. The locations themselves know them too; a test in `daemon` compares.
const SECRETS: [&str; 9] = [
    "account_key",
    "credential",
    "encryption_key",
    "password",
    "sas_token",
    "secret_access_key",
    "server_side_encryption_customer_key",
    "session_token",
    "token",
];

/// One `[[backup]]`: a location, and what is done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupConfig {
    /// What it is called: small letters, digits and single dashes. No other has the name.
    pub name: String,
    /// A URI or an absolute path; holds no secret.
    pub location: String,
    /// Options of the location; none of them is a secret.
    pub options: BTreeMap<String, String>,
    /// The file with those that are.
    pub credentials: Option<PathBuf>,
    /// When what is new is backed up.
    pub schedule: String,
    /// When everything is backed up anew.
    pub full: String,
    /// When what lies there is verified.
    pub verify: String,
    /// When a restore is tried.
    pub drill: String,
    /// When all of it is restored, and not a sample.
    pub drill_all: String,
    /// When generations that are too old are removed.
    pub prune: String,
    /// How long generations are kept; `None`: for ever.
    pub keep: Option<Duration>,
    /// Whether what became durable is sent at once.
    pub continuous: bool,
    /// Whether nothing is ever deleted there.
    pub append_only: bool,
    /// Limit of what is sent and fetched; 0: none.
    pub bytes_per_second_max: u64,
    /// Transfers at the same time.
    pub connections: NonZeroUsize,
}

/// Whether the option of this name is a secret, for whichever kind of location.
pub fn is_secret_option(name: &str) -> bool {
    SECRETS.contains(&name)
}

pub(super) fn resolve(raw: &[raw::Backup]) -> Result<Vec<BackupConfig>, Broken> {
    let mut backups: Vec<BackupConfig> = Vec::new();
    for (at, one) in raw.iter().enumerate() {
        let here = |broken: Broken| Broken { rule: Some(at), ..broken };
        let backup = resolve_one(one).map_err(here)?;
        if backups.iter().any(|other| other.name == backup.name) {
            return broken("backup.name", format!("{:?} is there twice", backup.name))
                .map_err(here);
        }
        backups.push(backup);
    }
    Ok(backups)
}

fn resolve_one(raw: &raw::Backup) -> Result<BackupConfig, Broken> {
    let connections = within("backup.connections", raw.connections, 1..=64, "from 1 to 64")?;
    Ok(BackupConfig {
        name: resolve_name(&raw.name)?,
        location: resolve_location(&raw.location)?,
        options: resolve_options(&raw.options)?,
        credentials: resolve_path("backup.credentials", &raw.credentials)?,
        schedule: resolve_schedule("backup.schedule", &raw.schedule)?,
        full: resolve_schedule("backup.full", &raw.full)?,
        verify: resolve_schedule("backup.verify", &raw.verify)?,
        drill: resolve_schedule("backup.drill", &raw.drill)?,
        drill_all: resolve_schedule("backup.drill_all", &raw.drill_all)?,
        prune: resolve_schedule("backup.prune", &raw.prune)?,
        keep: resolve_keep(&raw.keep)?,
        continuous: raw.continuous,
        append_only: raw.append_only,
        bytes_per_second_max: raw.bytes_per_second_max.0,
        connections: NonZeroUsize::new(connections as usize).unwrap_or(NonZeroUsize::MIN),
    })
}

/// Dashes become underscores in the names of variables, where two of them in a row have a meaning of their own.
fn resolve_name(name: &str) -> Result<String, Broken> {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let dashes = name.starts_with('-') || name.ends_with('-') || name.contains("--");
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(known) || dashes {
        let words = "small letters, digits and single dashes between them, at most 40";
        return broken("backup.name", format!("{name:?} must be {words}"));
    }
    Ok(name.to_owned())
}

fn resolve_location(location: &str) -> Result<String, Broken> {
    let key = "backup.location";
    if !location.starts_with('/') && !location.contains("://") {
        return broken(key, "must be a URI like s3://bucket/prefix, or an absolute path");
    }
    if hide_in_uri(location) != location {
        return broken(key, "holds a secret: put that into the file that `credentials` names");
    }
    Ok(location.to_owned())
}

fn resolve_options(options: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Broken> {
    if let Some(name) = options.keys().find(|name| is_secret_option(name)) {
        let message = format!("{name} is a secret: put it into the file that `credentials` names");
        return broken("backup.options", message);
    }
    Ok(options.clone())
}

fn resolve_schedule(key: &'static str, schedule: &str) -> Result<String, Broken> {
    match schedule.trim() {
        "" => broken(key, "must say when; \"never\" turns it off"),
        schedule => Ok(schedule.to_owned()),
    }
}

fn resolve_keep(keep: &str) -> Result<Option<Duration>, Broken> {
    let key = "backup.keep";
    match units::parse_time(keep) {
        None if keep == "forever" => Ok(None),
        None => broken(key, format!("{keep:?} is no time; write \"30d\", \"365d\" or \"forever\"")),
        Some(time) => within(key, time, DAY..=KEEP_MAX, "from 1d to 365000d").map(Some),
    }
}

/// What `config show` prints for a key of a `[[backup]]`: no secret that somebody wrote into the settings all the same.
pub(super) fn shown(key: &str, value: &toml::Value) -> toml::Value {
    match (key, value) {
        ("location", toml::Value::String(uri)) => toml::Value::String(hide_in_uri(uri)),
        ("options", toml::Value::Table(options)) => {
            let mut options = options.clone();
            for (name, value) in &mut options {
                if is_secret_option(name) {
                    *value = toml::Value::String(HIDDEN.to_owned());
                }
            }
            toml::Value::Table(options)
        }
        (_, value) => value.clone(),
    }
}

/// A URI without its password and the values of options that are secrets.
fn hide_in_uri(uri: &str) -> String {
    let (place, query) = uri.split_once('?').map_or((uri, None), |(a, b)| (a, Some(b)));
    let mut shown = hide_password(place);
    let hidden = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if is_secret_option(name) => format!("{name}={HIDDEN}"),
        _ => pair.to_owned(),
    };
    if let Some(query) = query {
        shown += "?";
        shown += &query.split('&').map(hidden).collect::<Vec<_>>().join("&");
    }
    shown
}

fn hide_password(place: &str) -> String {
    let Some((scheme, rest)) = place.split_once("://") else { return place.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@').map(|(user, host)| (user.split_once(':'), host)) {
        Some((Some((user, _)), host)) => format!("{scheme}://{user}:{HIDDEN}@{host}{path}"),
        _ => place.to_owned(),
    }
}

/// Reads a credentials file: a line `key = "value"` for each option.
///
/// # Errors
/// One that others than its owner could read is refused. No message shows what is in it.
pub fn read_credentials(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let read = || -> std::io::Result<(u32, String)> {
        let mode = std::fs::metadata(path)?.mode();
        Ok((mode, std::fs::read_to_string(path)?))
    };
    let (mode, text) =
        read().map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    if mode & 0o077 != 0 {
        return Err(ConfigError::Exposed { path: path.to_owned(), mode: mode & 0o777 });
    }
    toml::from_str(&text).map_err(|error| {
        let (line, column) =
            super::source::position(&text, error.span().map_or(0, |span| span.start));
        let message = "each line must be key = \"value\", in quotes".to_owned();
        ConfigError::File { path: path.to_owned(), line, column, message }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn one(text: &str) -> Result<BackupConfig, String> {
        let raw: raw::Backup = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let one = resolve(&[raw]).map_err(|broken| format!("{}: {}", broken.key, broken.message));
        one.map(|mut all| all.remove(0))
    }

    fn wrong(keys: &str) -> String {
        one(&format!("name = \"nas\"\nlocation = \"/mnt/nas\"\n{keys}\n")).unwrap_err()
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let nas = one("name = \"nas-2\"\nlocation = \"/mnt/nas\"\n").unwrap();
        assert_eq!((nas.schedule.as_str(), nas.full.as_str()), ("30 1 * * *", "0 3 * * 0"));
        assert_eq!((nas.keep, nas.connections.get()), (Some(DAY * 30), 4));
        assert!(!nas.continuous && !nas.append_only && nas.credentials.is_none());
        let keep = |text: &str| {
            one(&format!("name = \"a\"\nlocation = \"/m\"\nkeep = {text:?}")).unwrap().keep
        };
        assert_eq!((keep("forever"), keep("365d")), (None, Some(DAY * 365)));
    }

    #[test]
    fn mistakes_name_their_key() {
        for name in ["", "NAS", "a b", "-a", "a-", "a--b", "a_b", &"a".repeat(41)] {
            let text = format!("name = {name:?}\nlocation = \"/mnt\"\n");
            assert!(one(&text).unwrap_err().starts_with("backup.name"), "{name}");
        }
        assert!(one("name = \"a\"\n").unwrap_err().contains("missing field `location`"));
        assert!(one("name = \"a\"\nlocation = \"nas\"\n").unwrap_err().starts_with("backup.loc"));
        assert!(wrong("schedule = \" \"").starts_with("backup.schedule: must say when"));
        assert!(wrong("drill = \"\"").starts_with("backup.drill"));
        assert!(wrong("keep = \"1h\"").starts_with("backup.keep: must be from 1d"));
        assert!(wrong("keep = \"ever\"").starts_with("backup.keep: \"ever\" is no time"));
        assert!(wrong("connections = 0").starts_with("backup.connections"));
        assert!(wrong("credentials = \"a/b\"").starts_with("backup.credentials"));
        assert!(wrong("colour = \"red\"").starts_with("unknown field `colour`"));
        let same =
            raw::Backup { name: "a".into(), location: "/m".into(), ..raw::Backup::example() };
        let broken = resolve(&[same.clone(), same]).unwrap_err();
        assert_eq!((broken.key, broken.rule), ("backup.name", Some(1)));
    }

    #[test]
    fn secrets_are_neither_taken_nor_shown() {
        let refused = wrong("options = { password = \"hunter2\" }");
        assert!(refused.contains("credentials") && !refused.contains("hunter2"), "{refused}");
        for uri in ["sftp://u:hunter2@h/p", "s3://b?region=r&secret_access_key=hunter2"] {
            let refused = one(&format!("name = \"a\"\nlocation = {uri:?}\n")).unwrap_err();
            assert!(refused.contains("credentials") && !refused.contains("hunter2"), "{refused}");
            let location = shown("location", &toml::Value::String(uri.to_owned()));
            assert!(!location.to_string().contains("hunter2"), "{location}");
        }
        let options = toml::Table::from_iter([
            ("password".to_owned(), toml::Value::String("hunter2".to_owned())),
            ("region".to_owned(), toml::Value::String("r".to_owned())),
        ]);
        let text = shown("options", &toml::Value::Table(options)).to_string();
        assert!(!text.contains("hunter2") && text.contains("\"r\""), "{text}");
    }

    #[test]
    fn credentials_are_read_if_nobody_else_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nas");
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("# of the NAS\npassword = \"hunter2\"\n", 0o600);
        assert_eq!(read_credentials(&path).unwrap()["password"], "hunter2");
        for mode in [0o640, 0o604, 0o620] {
            write("password = \"hunter2\"\n", mode);
            let error = read_credentials(&path).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        for text in ["password = 12345\n", "password = hunter2\n", "[a]\npassword = \"12345\"\n"] {
            write(text, 0o600);
            let error = read_credentials(&path).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains("12345"), "{error}");
        }
        assert!(read_credentials(&dir.path().join("none")).is_err());
    }
}
