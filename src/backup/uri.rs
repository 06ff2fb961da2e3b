//! What a location is called, and what its URI means.

use super::kind::Kind;
use super::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A location as it is written down.
#[derive(Clone, PartialEq, Eq)]
pub struct LocationSpec {
    /// What people call it; of a location without a name its URI.
    pub name: String,
    /// Where it is; holds no secret.
    pub uri: String,
    /// Options over those of the URI, by the names of `docs/LOCATIONS.md`. May hold secrets.
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for LocationSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<&String> = self.options.keys().collect();
        out.debug_struct("LocationSpec")
            .field("name", &self.name)
            .field("uri", &without_secrets(&self.uri))
            .field("options", &options)
            .finish()
    }
}

/// What a [`LocationSpec`] means.
pub(super) enum Target {
    /// A directory of this machine.
    Directory(PathBuf),
    /// Anything that opendal speaks to.
    Remote {
        kind: Kind,
        /// In opendal's words. May hold secrets.
        options: BTreeMap<String, String>,
    },
}

/// A URI's parts, percent-decoded.
struct Parts<'a> {
    user: Option<String>,
    /// Host and port, bucket, container or nothing.
    authority: &'a str,
    /// With its slash at the beginning, or empty.
    path: String,
    query: Vec<(String, String)>,
}

impl Target {
    /// # Errors
    /// [`Error::Uri`], with what to write instead.
    pub(super) fn of(spec: &LocationSpec) -> Result<Target> {
        if spec.uri.starts_with('/') {
            return directory(spec, spec.uri.clone());
        }
        let Some((scheme, rest)) = spec.uri.split_once("://") else {
            let what = without_secrets(&spec.uri);
            return wrong(format!(
                "{what:?} is neither a configured location nor a URI; write an absolute path or SCHEME://…"
            ));
        };
        let kind = Kind::of_scheme(scheme)?;
        let parts = parts(rest)?;
        if kind == Kind::Directory {
            if !parts.authority.is_empty() {
                return wrong(format!("write file:///{}{}", parts.authority, parts.path));
            }
            return directory(spec, parts.path);
        }
        let mut options = place(kind, &parts)?;
        for (name, value) in &parts.query {
            if kind.option(name)?.secret {
                return wrong(format!(
                    "{name} is a secret and does not belong in a URI, where others see it: put it into a credentials file"
                ));
            }
            options.insert(name.clone(), value.clone());
        }
        for (name, value) in &spec.options {
            kind.option(name)?;
            options.insert(name.clone(), value.clone());
        }
        complete(kind, &mut options)?;
        Ok(Target::Remote { kind, options })
    }
}

/// Whether a location of this URI has an option of this name, and whether that is a secret.
///
/// # Errors
/// [`Error::Uri`], with the options that there are.
pub fn option_is_secret(uri: &str, name: &str) -> Result<bool> {
    let scheme = uri.split_once("://").map_or("file", |(scheme, _)| scheme);
    Ok(Kind::of_scheme(scheme)?.option(name)?.secret)
}

fn wrong<T>(why: String) -> Result<T> {
    Err(Error::Uri { why })
}

fn directory(spec: &LocationSpec, path: String) -> Result<Target> {
    if let Some(name) = spec.options.keys().next() {
        Kind::Directory.option(name)?;
    }
    if path.len() < 2 || path.split('/').any(|part| part == "..") {
        return wrong(format!(
            "{path:?} can't be a location: write the absolute path of a directory"
        ));
    }
    Ok(Target::Directory(PathBuf::from(path)))
}

fn parts(rest: &str) -> Result<Parts<'_>> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (user, authority) = match authority.rsplit_once('@') {
        Some((user, authority)) => (Some(user), authority),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return wrong(
            "a URI must hold no password, since others see it: put it into a credentials file \
             (password = \"…\") or a VERSO_LOCATION_NAME_PASSWORD variable"
                .to_owned(),
        );
    }
    let mut options = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return wrong(format!("{pair:?} after the ? is no NAME=VALUE"));
        };
        options.push((decoded(name)?, decoded(value)?));
    }
    let user = user.map(decoded).transpose()?;
    Ok(Parts { user, authority, path: decoded(path)?, query: options })
}

fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let code = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => bytes.push(byte),
            None => {
                return wrong(format!("{text:?} has a % that is not followed by two hex digits"));
            }
        }
        rest = &tail[2..];
    }
    String::from_utf8(bytes).or_else(|_| wrong(format!("{text:?} is not UTF-8")))
}

/// The options that authority, user and path stand for.
fn place(kind: Kind, parts: &Parts<'_>) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    let mut set = |name: &str, value: String| options.insert(name.to_owned(), value);
    let named = |what: &str| match parts.authority {
        "" => wrong(format!("write {}://{what}", kind.scheme())),
        name => Ok(name.to_owned()),
    };
    match kind {
        Kind::Directory => {}
        Kind::S3 | Kind::Gcs => drop(set("bucket", named("BUCKET/PREFIX")?)),
        Kind::Azblob => drop(set("container", named("CONTAINER/PREFIX")?)),
        Kind::Sftp => drop(set("endpoint", format!("ssh://{}", named("USER@HOST/PATH")?))),
        Kind::Ftp => drop(set("endpoint", format!("ftp://{}", named("USER@HOST/PATH")?))),
        Kind::Ftps => drop(set("endpoint", format!("ftps://{}", named("USER@HOST/PATH")?))),
        Kind::Webdav => drop(set("endpoint", format!("https://{}", named("HOST/PATH")?))),
        Kind::WebdavPlain => drop(set("endpoint", format!("http://{}", named("HOST/PATH")?))),
        Kind::VercelBlob => {}
    }
    // The token already says which store of blobs; what comes after the slashes is all prefix.
    let in_front = if kind == Kind::VercelBlob { parts.authority } else { "" };
    set("root", format!("{in_front}{}", parts.path));
    match (&parts.user, kind) {
        (None, _) => {}
        (Some(user), Kind::Sftp | Kind::Ftp | Kind::Ftps) => drop(set("user", user.clone())),
        (Some(user), Kind::Webdav | Kind::WebdavPlain) => drop(set("username", user.clone())),
        (Some(_), _) => return wrong(format!("a {}:// location has no user", kind.scheme())),
    }
    Ok(options)
}

/// Checks what opendal would only stumble over later, and says what it leaves to the environment.
fn complete(kind: Kind, options: &mut BTreeMap<String, String>) -> Result<()> {
    let lacks = |name: &str| options.get(name).is_none_or(String::is_empty);
    match kind {
        Kind::Azblob if lacks("account_name") && lacks("endpoint") => {
            wrong("an azblob:// location needs ?account_name=…".to_owned())
        }
        Kind::Azblob if lacks("endpoint") => {
            let account = &options["account_name"];
            let endpoint = format!("https://{account}.blob.core.windows.net");
            options.insert("endpoint".to_owned(), endpoint);
            Ok(())
        }
        Kind::VercelBlob if lacks("token") => {
            wrong("a vercel-blob:// location needs a token in its credentials".to_owned())
        }
        Kind::Ftp | Kind::Ftps if lacks("user") => {
            options.insert("user".to_owned(), "anonymous".to_owned());
            Ok(())
        }
        // Where nobody says a region, servers that aren't Amazon's take this one.
        Kind::S3
            if lacks("region")
                && !lacks("endpoint")
                && std::env::var_os("AWS_REGION").is_none() =>
        {
            options.insert("region".to_owned(), "us-east-1".to_owned());
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A URI for people: without a password that somebody wrote into it all the same, and without its options' values.
pub(super) fn without_secrets(uri: &str) -> String {
    let (place, _) = uri.split_once('?').unwrap_or((uri, ""));
    let Some((scheme, rest)) = place.split_once("://") else { return place.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}{path}")
        }
        None => place.to_owned(),
    }
}

#[cfg(test)]
#[path = "uri_tests.rs"]
mod tests;
