//! Where settings come from: which file, which variables, and which of them decided a value.

use super::backup::shown;
use super::raw::Raw;
use super::resolve::Broken;
use super::{Config, ConfigError};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Settings for all stores of the machine, if there is no nearer file.
pub const SYSTEM_FILE: &str = "/etc/verso/verso.toml";

/// Variables that begin so and hold a `__` are settings.
pub const VARIABLE_PREFIX: &str = "VERSO_";

/// The name of a store's own settings file.
const STORE_FILE: &str = "verso.toml";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything else.
    Default,
    /// A settings file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The environment variable of this name.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(out, "default"),
            Origin::File { path, line } => write!(out, "{}:{line}", path.display()),
            Origin::Variable(name) => write!(out, "environment variable {name}"),
        }
    }
}

/// Everything that was said about settings, each part free of mistakes in itself.
#[derive(Debug)]
pub struct Sources {
    file: Option<SettingsFile>,
    variables: Vec<Variable>,
    merged: Raw,
}

#[derive(Debug)]
struct SettingsFile {
    path: PathBuf,
    text: String,
    table: toml::Table,
}

#[derive(Debug)]
struct Variable {
    name: String,
    section: String,
    key: String,
    table: toml::Table,
}

impl Sources {
    /// Reads the file `explicit`, or else the first that there is of `STORE/verso.toml` and
    /// [`SYSTEM_FILE`], and lays `variables` over it.
    pub fn read(
        explicit: Option<&Path>,
        store: Option<&Path>,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Sources, ConfigError> {
        let file = match explicit {
            Some(path) => Some(SettingsFile::read(path)?),
            None => first_of(&[store.map(|dir| dir.join(STORE_FILE)), Some(SYSTEM_FILE.into())])?,
        };
        let variables = read_variables(variables)?;
        let mut table = file.as_ref().map(|file| file.table.clone()).unwrap_or_default();
        for variable in &variables {
            overlay(&mut table, &variable.table);
        }
        let merged = table.try_into().expect("each part was read as settings before");
        Ok(Sources { file, variables, merged })
    }

    /// What all of it means together.
    pub fn config(&self) -> Result<Config, ConfigError> {
        Config::resolve(&self.merged).map_err(|Broken { key, rule, message }| {
            let (section, name) = key.split_once('.').expect("keys are section.key");
            let origin = match rule {
                Some(at) => self.origin_of_one(section, at, name),
                None => self.origin(section, name),
            };
            ConfigError::Invalid { key: key.to_owned(), origin, message }
        })
    }

    /// The settings file that is used, if any.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// The settings that hold, as a settings file; a comment says where those that are no defaults
    /// come from.
    pub fn to_toml(&self) -> String {
        let mut table =
            toml::Table::try_from(&self.merged).expect("settings can be written as TOML");
        let line = |key: &str, value: &toml::Value, origin: &Origin| match origin {
            Origin::Default => format!("{key} = {value}\n"),
            origin => format!("{key} = {value}  # {origin}\n"),
        };
        let mut text = String::new();
        let lists = ["backup", "rule"].map(|list| (list, table.remove(list)));
        for (section, keys) in &table {
            let gap = if text.is_empty() { "" } else { "\n" };
            text += &format!("{gap}[{section}]\n");
            for (key, value) in keys.as_table().into_iter().flatten() {
                text += &line(key, value, &self.origin(section, key));
            }
        }
        for (list, all) in &lists {
            for (at, keys) in all.iter().filter_map(toml::Value::as_array).flatten().enumerate() {
                text += &format!("\n[[{list}]]\n");
                for (key, value) in keys.as_table().into_iter().flatten() {
                    let value = if *list == "backup" { shown(key, value) } else { value.clone() };
                    text += &line(key, &value, &self.origin_of_one(list, at, key));
                }
            }
        }
        text
    }

    /// Where a key of one of `[[list]]` comes from. These are in the file only.
    fn origin_of_one(&self, list: &str, at: usize, key: &str) -> Origin {
        let line = |file: &SettingsFile| {
            let line = line_of_one(&file.text, list, at, key)?;
            Some(Origin::File { path: file.path.clone(), line })
        };
        self.file.as_ref().and_then(line).unwrap_or(Origin::Default)
    }

    /// Which source decided `section.key`.
    fn origin(&self, section: &str, key: &str) -> Origin {
        let says_it = |variable: &&Variable| variable.section == section && variable.key == key;
        if let Some(variable) = self.variables.iter().rev().find(says_it) {
            return Origin::Variable(variable.name.clone());
        }
        let line = |file: &SettingsFile| {
            let line = line_of(&file.text, section, key)?;
            Some(Origin::File { path: file.path.clone(), line })
        };
        self.file.as_ref().and_then(line).unwrap_or(Origin::Default)
    }
}

impl SettingsFile {
    fn read(path: &Path) -> Result<SettingsFile, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let wrong = |error: toml::de::Error| {
            let (line, column) = position(&text, error.span().map_or(0, |span| span.start));
            let message = error.message().to_owned();
            ConfigError::File { path: path.to_owned(), line, column, message }
        };
        toml::from_str::<Raw>(&text).map_err(wrong)?;
        let table = toml::from_str(&text).map_err(wrong)?;
        Ok(SettingsFile { path: path.to_owned(), table, text })
    }
}

/// The first of `paths` that exists.
fn first_of(paths: &[Option<PathBuf>]) -> Result<Option<SettingsFile>, ConfigError> {
    for path in paths.iter().flatten() {
        match SettingsFile::read(path) {
            Err(ConfigError::Read { source, .. }) if is_absent(&source) => continue,
            read => return read.map(Some),
        }
    }
    Ok(None)
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// Those of `variables` that are settings. One with a section's name but without the `__` is a
/// mistake; others (`VERSO_CONFIG`) are none of ours.
fn read_variables(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<Variable>, ConfigError> {
    let defaults = toml::Table::try_from(Raw::default()).expect("defaults can be written as TOML");
    let mut found = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
        let wrong = |message: String| ConfigError::Variable { name: name.to_owned(), message };
        let Some((section, key)) = rest.split_once("__") else {
            let section = rest.split('_').next().unwrap_or_default();
            if rest.contains('_') && defaults.contains_key(&section.to_lowercase()) {
                return Err(wrong(format!("write two underscores after VERSO_{section}")));
            }
            continue;
        };
        let value = value.to_str().ok_or_else(|| wrong("the value is not UTF-8".to_owned()))?;
        let (section, key) = (section.to_lowercase(), key.to_lowercase());
        let table = variable_table(&section, &key, value).map_err(wrong)?;
        found.push(Variable { name: name.to_owned(), section, key, table });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// `value` for `section.key` as settings. It is read as TOML, or else as a plain string, so that
/// nobody has to quote within quotes.
fn variable_table(section: &str, key: &str, value: &str) -> Result<toml::Table, String> {
    let one = |value: toml::Value| {
        let keys = toml::Table::from_iter([(key.to_owned(), value)]);
        toml::Table::from_iter([(section.to_owned(), toml::Value::Table(keys))])
    };
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
    let parsed = parsed.ok().filter(|table| table.len() == 1);
    let value = match parsed.and_then(|mut table| table.remove("value")) {
        Some(value) => value,
        None => toml::Value::String(value.to_owned()),
    };
    let table = one(value);
    match Raw::deserialize_table(table.clone()) {
        Ok(_) => Ok(table),
        Err(error) => Err(error.message().to_owned()),
    }
}

impl Raw {
    fn deserialize_table(table: toml::Table) -> Result<Raw, toml::de::Error> {
        table.try_into()
    }
}

/// Puts each value of `upper` in the place of the one in `lower`.
fn overlay(lower: &mut toml::Table, upper: &toml::Table) {
    for (key, value) in upper {
        match (lower.get_mut(key), value) {
            (Some(toml::Value::Table(lower)), toml::Value::Table(upper)) => overlay(lower, upper),
            _ => drop(lower.insert(key.clone(), value.clone())),
        }
    }
}

/// The line in which `text` sets `section.key`.
fn line_of(text: &str, section: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let section = document.get_ref().get(section)?.get_ref().as_table()?;
    let (key, _) = section.iter().find(|(name, _)| name.get_ref() == key)?;
    Some(position(text, key.span().start).0)
}

/// The line in which `text` sets a key of one of `[[list]]`, or else begins that.
fn line_of_one(text: &str, list: &str, at: usize, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let one = document.get_ref().get(list)?.get_ref().as_array()?.get(at)?;
    let keys = one.get_ref().as_table()?;
    let found = keys.iter().find(|(name, _)| name.get_ref() == key);
    let span = found.map_or(one.span(), |(key, _)| key.span());
    Some(position(text, span.start).0)
}

/// Line and column (both from 1, the column in characters) of byte `offset`.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sources(text: &str, variables: &[(&str, &str)]) -> Result<Sources, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verso.toml");
        std::fs::write(&path, text).unwrap();
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        Sources::read(Some(&path), None, variables)
    }

    fn error(text: &str, variables: &[(&str, &str)]) -> String {
        let error = sources(text, variables).and_then(|sources| sources.config()).unwrap_err();
        let text = error.to_string();
        text.rsplit_once("verso.toml:").map_or(text.clone(), |(_, rest)| rest.to_owned())
    }

    #[test]
    fn the_documented_file_is_the_defaults() {
        let read = sources(super::super::DEFAULT_FILE, &[]).unwrap();
        assert_eq!(read.merged, Raw::default());
        assert_eq!(read.config().unwrap(), Config::default());
    }

    #[test]
    fn the_documented_file_has_every_setting_with_a_comment() {
        let text = super::super::DEFAULT_FILE;
        let lines: Vec<&str> = text.lines().collect();
        let defaults = toml::Table::try_from(Raw::default()).unwrap();
        for (section, keys) in &defaults {
            for (key, value) in keys.as_table().unwrap() {
                let line = line_of(text, section, key)
                    .unwrap_or_else(|| panic!("{section}.{key} is missing"));
                assert_eq!(lines[line - 1], format!("{key} = {value}"));
                let mut documented = (0..line - 1).rev().map(|at| lines[at]);
                let above = documented.find(|line| !line.contains(" = ")).unwrap();
                assert!(above.starts_with("# "), "{section}.{key} has no comment");
            }
        }
    }

    #[test]
    fn the_documented_rules_are_valid() {
        let text = super::super::DEFAULT_FILE;
        let example = &text[text.find("#[[rule]]").unwrap()..];
        let rules = sources(&example.replace('#', ""), &[]).unwrap().config().unwrap().rules;
        assert!(rules.depend_on_paths());
    }

    #[test]
    fn the_documented_backup_has_every_key_and_the_defaults() {
        let text = super::super::DEFAULT_FILE;
        let example = &text[text.find("#[[backup]]").unwrap()..];
        let example =
            example[..example.find("\n\n").unwrap()].replace("\n#", "\n").replacen('#', "", 1);
        let read = sources(&example, &[]).unwrap();
        let backups = read.config().unwrap().backups;
        assert_eq!(backups.len(), 1);
        let example = crate::config::raw::Backup {
            name: read.merged.backup[0].name.clone(),
            location: read.merged.backup[0].location.clone(),
            options: read.merged.backup[0].options.clone(),
            credentials: read.merged.backup[0].credentials.clone(),
            ..crate::config::raw::Backup::example()
        };
        assert_eq!(read.merged.backup[0], example);
        let keys = toml::Table::try_from(&example).unwrap();
        for key in keys.keys() {
            assert!(text.contains(&format!("\n#{key} = ")), "{key} is missing");
        }
    }

    #[test]
    fn backups_are_shown_without_secrets_and_mistakes_in_them_name_the_line() {
        let first = "[[backup]]\nname = \"a\"\nlocation = \"/mnt/a\"\n";
        let second = "[[backup]]\nname = \"b\"\nlocation = \"ftp://u:hunter2@h/p\"\n\
                      options = { password = \"hunter2\" }\n";
        let shown = sources(&format!("{first}{second}"), &[]).unwrap().to_toml();
        assert!(!shown.contains("hunter2") && shown.contains("ftp://u:***@h/p"), "{shown}");
        assert!(shown.contains("name = \"b\"  # /") && shown.contains("keep = \"30d\""), "{shown}");
        let message = error(&format!("{first}{second}"), &[]);
        assert!(message.starts_with("6: backup.location: holds a secret"), "{message}");
        let message = error(&format!("{first}{first}"), &[]);
        assert_eq!(message, "5: backup.name: \"a\" is there twice");
        assert!(error("", &[("VERSO_BACKUP__NAME", "x")]).contains("VERSO_BACKUP__NAME"));
    }

    #[test]
    fn mistakes_in_a_file_name_line_and_column() {
        assert!(error("[store]\ncache = 1\n", &[]).starts_with("2:1: unknown field `cache`"));
        assert!(error("\n[stor]\n", &[]).starts_with("2:2: unknown field `stor`"));
        assert!(error("[store]\n\ncache_bytes_max = 5\n", &[]).starts_with("3:19: invalid type"));
        let wrong = "[log]\n# é\nfile_bytes_max = \"8 MB\"\n";
        assert!(error(wrong, &[]).starts_with("3:18: \"8 MB\" is not a size"));
        assert!(error("[log\n", &[]).starts_with("1:"));
    }

    #[test]
    fn values_that_do_not_fit_together_name_the_line() {
        let text = "[store]\nchunk_bytes_min = \"1KiB\"\nchunk_bytes_avg = \"1KiB\"\n";
        assert_eq!(
            error(text, &[]),
            "3: store.chunk_bytes_avg: must be larger than chunk_bytes_min"
        );
    }

    #[test]
    fn mistakes_in_a_rule_name_its_line() {
        let first = "[[rule]]\npaths = [\"a/**\"]\nslot = \"0s\"\n";
        let wrong = |keys: &str| error(&format!("{first}[[rule]]\npaths = [\"b\"]\n{keys}\n"), &[]);
        assert!(wrong("flor = \"1d\"").starts_with("6:1: unknown field `flor`"));
        assert!(wrong("floor = 1").starts_with("6:9: invalid type"));
        assert!(wrong("bytes_max = \"1GB\"").starts_with("6:13: \"1GB\" is not a size"));
        assert_eq!(wrong("versions_max = 0"), "6: rule.versions_max: must be at least 1");
        assert_eq!(wrong("slot = \"2h\""), "6: rule.slot: must be at most 1h");
        assert!(wrong("thinning = [\"yearly\"]").starts_with("6: rule.thinning: \"yearly\" is no"));
        assert!(
            wrong("never = [\"a/b\"]").starts_with("6: rule.never: \"a/b\" is matched against")
        );
        assert!(wrong("floor = \"365001d\"").starts_with("6: rule.floor: must be at most"));
        assert!(wrong("").starts_with("5: rule.paths: says nothing"));
        let path =
            |path: &str| error(&format!("\n[[rule]]\nfloor = \"1d\"\npaths = {path}\n"), &[]);
        assert!(path("[]").starts_with("4: rule.paths: names no path"));
        assert!(path("[\"/a\"]").starts_with("4: rule.paths: \"/a\""));
        assert!(path("[\"ok\", \"a[\"]").starts_with("4: rule.paths: \"a[\" is no pattern"));
        assert!(error("[[rule]]\nfloor = \"1d\"\n", &[]).contains("missing field `paths`"));
        assert!(error("[rule]\n", &[]).starts_with("1:"));
        assert!(error("", &[("VERSO_RULE__FLOOR", "1d")]).contains("VERSO_RULE__FLOOR"));
    }

    #[test]
    fn rules_are_shown_with_their_lines() {
        let text = "[[rule]]\npaths = [\"a/**\"]\nfloor = \"7d\"\nversions_max = 20\n\
                    [[rule]]\npaths = [\"b\"]\nslot = \"0s\"\nnever = []\n";
        let read = sources(text, &[]).unwrap();
        let shown = read.to_toml();
        assert_eq!(toml::from_str::<Raw>(&shown).unwrap(), read.merged);
        assert!(shown.contains("\n[[rule]]\nfloor = \"7d\"  # /"), "{shown}");
        assert!(shown.contains("verso.toml:7\n"), "{shown}");
        let config = read.config().unwrap();
        let base = &config.retention.policy;
        let care = config.rules.of_name(base, Some(b"a"), b"x.tmp");
        assert_eq!(care.policy.floor, Duration::from_secs(7 * 24 * 3600));
        assert_eq!((care.policy.versions_max, care.makes_versions), (Some(20), false));
        let care = config.rules.of_name(base, Some(b""), b"b");
        assert_eq!((care.slot, care.policy), (Some(Duration::ZERO), base.clone()));
    }

    #[test]
    fn variables_override_the_file() {
        let variables = [
            ("VERSO_STORE__SYNC_INTERVAL", "2s"),
            ("VERSO_TREE__STAGES", "[]"),
            ("VERSO_MOUNT__THREADS", "8"),
            ("VERSO_CONTROL__SOCKET_MODE", "0660"),
            ("VERSO_CONFIG", "elsewhere"),
            ("PATH", "x"),
        ];
        let read = sources("[store]\nsync_interval = \"9s\"\n", &variables).unwrap();
        let config = read.config().unwrap();
        assert_eq!(config.store.sync_interval, Duration::from_secs(2));
        assert!(config.tree.stages.is_empty());
        assert_eq!(config.mount.threads.unwrap().get(), 8);
        assert_eq!(config.control.socket_mode, 0o660);
    }

    #[test]
    fn mistakes_in_variables_name_the_variable() {
        let cases = [
            ("VERSO_STORE__CACHE", "1", "unknown field `cache`"),
            ("VERSO_STOER__CACHE_BYTES_MAX", "1MiB", "unknown field `stoer`"),
            ("VERSO_STORE__CACHE_BYTES_MAX", "5", "invalid type"),
            ("VERSO_STORE__CACHE_BYTES_MAX", "1MB\nx = 1", "is not a size"),
            ("VERSO_STORE_CACHE_BYTES_MAX", "1MiB", "two underscores"),
            ("VERSO_LOG__LEVEL", "loud", "must be error"),
        ];
        for (name, value, part) in cases {
            let message = error("", &[(name, value)]);
            assert!(message.contains(name) && message.contains(part), "{message}");
        }
    }

    #[test]
    fn the_store_has_its_own_file_and_may_have_none() {
        let store = tempfile::tempdir().unwrap();
        let read = || Sources::read(None, Some(store.path()), std::iter::empty()).unwrap();
        assert_eq!(read().config().unwrap().mount.threads, None);
        std::fs::write(store.path().join("verso.toml"), "[mount]\nthreads = 3\n").unwrap();
        assert_eq!(read().config().unwrap().mount.threads.unwrap().get(), 3);
    }

    #[test]
    fn what_is_shown_says_where_it_comes_from() {
        let read = sources("[mount]\nthreads = 3\n", &[("VERSO_LOG__LEVEL", "debug")]).unwrap();
        let shown = read.to_toml();
        assert!(shown.contains("level = \"debug\"  # environment variable VERSO_LOG__LEVEL\n"));
        assert!(shown.contains("verso.toml:2\n") && shown.contains("threads = 3  # /"));
        assert!(shown.contains("sync_interval = \"5s\"\n"));
        assert_eq!(toml::from_str::<Raw>(&shown).unwrap(), read.merged);
    }
}
