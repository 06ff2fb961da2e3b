//! From what settings, credentials files, variables and command lines say to a location of the room `backup`.

use crate::backup::{LocationSpec, option_is_secret};
use crate::cli::{Exit, Failure};
use crate::config::{BackupConfig, Config, read_credentials};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// Transfers at a time to a location that isn't configured.
pub(super) const CONNECTIONS: usize = 4;

/// What an upload left that broke off, or was killed, is removed when it is so old: till then it may be under way.
pub(super) const LEFTOVER_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Variables that begin so are options of a location.
const VARIABLE_PREFIX: &str = "VERSO_LOCATION_";

/// A configured location with its options: those of the settings, then its credentials file, then the variables, each over
/// the ones before. What a cloud's own tools read from the environment is added by the location itself.
pub(super) fn spec(backup: &BackupConfig) -> Result<LocationSpec, Failure> {
    let credentials = backup.credentials.as_deref();
    with(backup, credentials, std::env::vars_os())
}

/// What LOCATION on a command line means: the name or the URI of a configured location, another URI, or a path. A
/// credentials file named beside it takes the place of the configured one.
pub(super) fn find<'a>(
    config: &'a Config,
    name_or_uri: &str,
    credentials: Option<&Path>,
) -> Result<(Option<&'a BackupConfig>, LocationSpec), Failure> {
    let is_meant = |backup: &&BackupConfig| {
        [&backup.name, &backup.location].contains(&&name_or_uri.to_owned())
    };
    if let Some(backup) = config.backups.iter().find(is_meant) {
        let credentials = credentials.or(backup.credentials.as_deref());
        return Ok((Some(backup), with(backup, credentials, std::env::vars_os())?));
    }
    let uri = match name_or_uri {
        uri if uri.contains("://") => uri.to_owned(),
        path if path.contains('/') || path.starts_with('.') => absolute(path)?,
        _ => return Err(unknown(config, name_or_uri)),
    };
    let options = credentials.map(read_credentials).transpose()?.unwrap_or_default();
    checked(&uri, &options)?;
    Ok((None, LocationSpec { name: uri.clone(), uri, options }))
}

fn absolute(path: &str) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).ok();
    let absolute = absolute.and_then(|path| path.into_os_string().into_string().ok());
    absolute.ok_or_else(|| Failure::new(Exit::Usage, format!("{path:?} cannot be a location")))
}

fn unknown(config: &Config, name: &str) -> Failure {
    let names: Vec<&str> = config.backups.iter().map(|backup| backup.name.as_str()).collect();
    let there_are = match names.as_slice() {
        [] => "none is configured; add a [[backup]] section, or name a URI or a path".to_owned(),
        names => format!("the settings name {}; a URI or a path will do too", names.join(", ")),
    };
    Failure::new(Exit::Usage, format!("no backup location is called {name:?}")).help(there_are)
}

fn with(
    backup: &BackupConfig,
    credentials: Option<&Path>,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<LocationSpec, Failure> {
    let mut options = backup.options.clone();
    options.extend(credentials.map(read_credentials).transpose()?.unwrap_or_default());
    checked(&backup.location, &options)?;
    for (name, value) in from_variables(&backup.name, variables) {
        match option_is_secret(&backup.location, &name) {
            Ok(_) => drop(options.insert(name, value)),
            // It may be meant for a location whose longer name begins with this one's.
            Err(_) => log::debug!("{}: no option {name}, which a variable names", backup.name),
        }
    }
    Ok(LocationSpec { name: backup.name.clone(), uri: backup.location.clone(), options })
}

/// Fails on options that the location doesn't have.
fn checked(uri: &str, options: &BTreeMap<String, String>) -> Result<(), Failure> {
    for name in options.keys() {
        option_is_secret(uri, name)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    }
    Ok(())
}

fn from_variables(
    name: &str,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(String, String)> {
    let prefix = format!("{VARIABLE_PREFIX}{}_", name.to_uppercase().replace('-', "_"));
    let option = |(variable, value): (OsString, OsString)| {
        let option = variable.to_str()?.strip_prefix(&prefix)?.to_lowercase();
        Some((option, value.into_string().ok()?))
    };
    variables.filter_map(option).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::location_options;
    use crate::config::{Sources, is_secret_option};
    use std::os::unix::fs::OpenOptionsExt;

    fn config(text: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verso.toml");
        std::fs::write(&path, text).unwrap();
        Sources::read(Some(&path), None, std::iter::empty()).unwrap().config().unwrap()
    }

    fn credentials(text: &str) -> tempfile::TempPath {
        use std::io::Write as _;
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::remove_file(&path).unwrap();
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path
    }

    const NAS: &str = "[[backup]]\nname = \"my-nas\"\nlocation = \"s3://b/p\"\n\
                       options = { region = \"here\", endpoint = \"http://h\" }\n";

    #[test]
    fn later_sources_win_and_secrets_stay_out_of_what_is_printed() {
        let config = config(NAS);
        let file = credentials("secret_access_key = \"hunter2\"\nregion = \"there\"\n");
        let variables = [
            ("VERSO_LOCATION_MY_NAS_REGION", "elsewhere"),
            ("VERSO_LOCATION_MY_NAS_2_REGION", "no"),
            ("VERSO_LOCATION_OTHER_REGION", "no"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into())).into_iter();
        let spec = with(&config.backups[0], Some(&file), variables).unwrap();
        assert_eq!(spec.options["region"], "elsewhere");
        assert_eq!(spec.options["endpoint"], "http://h");
        assert_eq!(spec.options["secret_access_key"], "hunter2");
        assert_eq!(spec.options.len(), 3);
        assert!(!format!("{spec:?}").contains("hunter2"));
    }

    #[test]
    fn a_location_is_found_by_name_uri_or_path() {
        let config = config(NAS);
        for text in ["my-nas", "s3://b/p"] {
            let (backup, spec) = find(&config, text, None).unwrap();
            assert_eq!((backup.unwrap().name.as_str(), spec.name.as_str()), ("my-nas", "my-nas"));
        }
        let (backup, spec) = find(&config, "/mnt/usb", None).unwrap();
        assert!(backup.is_none() && spec.uri == "/mnt/usb");
        assert!(find(&config, "./usb", None).unwrap().1.uri.ends_with("/usb"));
        let file = credentials("password = \"hunter2\"\n");
        let (_, spec) = find(&config, "ftp://u@h/p", Some(&file)).unwrap();
        assert_eq!(spec.options["password"], "hunter2");
        let error = find(&config, "s3://other", Some(&file)).unwrap_err();
        assert!(error.message.contains("password is no option"), "{error}");
        let error = find(&config, "nas", None).unwrap_err();
        assert!(error.help.unwrap().contains("my-nas"));
    }

    #[test]
    fn settings_and_locations_agree_about_what_is_secret() {
        for (scheme, name, secret) in location_options() {
            assert_eq!(is_secret_option(name), secret, "{scheme}: {name}");
        }
        assert!(location_options().count() > 40);
    }
}
