//! What an error of opendal means, and what of it people may see.

use super::kind::Kind;
use super::{Error, Result};
use opendal::ErrorKind;

/// How long a location's own words may be in a message.
const WHY_CHARS_MAX: usize = 300;

/// Why an attempt failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no such object.
    NotFound,
    /// No room is left.
    Full,
    /// It is not allowed.
    Refused(String),
    /// It may work later.
    Passing(String),
    /// It won't work later either.
    Other(String),
    /// Whoever asked wants it no more.
    Stopped,
}

impl Failure {
    /// As an error of the location `name` for `key`.
    pub(super) fn into_error(self, name: &str, key: &str) -> Error {
        let (location, key) = (name.to_owned(), key.to_owned());
        match self {
            Failure::NotFound => Error::NotFound { location, key },
            Failure::Full => Error::Full { location },
            Failure::Refused(why) => Error::Refused { location, key, why },
            Failure::Passing(why) => Error::Unreachable { location, why },
            Failure::Other(why) => Error::Location { location, why },
            Failure::Stopped => Error::Stopped,
        }
    }
}

/// What tells, in what a server or the `ssh` program says, that nothing fits any more.
const FULL: &[&str] = &[
    "no space left",
    "insufficient storage",
    "storagefull",
    "quotaexceeded",
    "quota exceeded",
    "exceeded storage",
    "disk full",
    "insufficientstorage",
];

/// The same for credentials and permissions, of either side.
const REFUSED: &[&str] = &[
    "permission denied",
    "host key verification failed",
    "invalidaccesskeyid",
    "signaturedoesnotmatch",
    "accessdenied",
    "authenticationfailed",
    "authorizationfailure",
    "not logged in",
    "login incorrect",
    "authentication failed",
    "blobimmutable",
    "expiredtoken",
    "invalidtoken",
    "no valid credential",
    "authorizationpermissionmismatch",
    "too many authentication failures",
    "credential is missing",
    "invalid peer certificate",
];

/// What is missing is not an object but what should hold all of them.
const NO_PLACE: &[&str] = &[
    "nosuchbucket",
    "the specified bucket does not exist",
    "containernotfound",
    "the specified container does not exist",
];

/// What an error of opendal's means. `secrets` are blotted out of what is quoted.
pub(super) fn judge(kind: Kind, secrets: &[String], error: &opendal::Error) -> Failure {
    // Everything that was seen, for us alone: it may hold headers and signed addresses.
    let all = format!("{error:?}").to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| all.contains(word));
    let status = http_status(&all);
    let why = why(status, secrets, error);
    if says(NO_PLACE) {
        return Failure::Other(why);
    }
    if says(FULL) || status == Some(507) || ftp_status(error, &[452, 552]) {
        return Failure::Full;
    }
    match error.kind() {
        ErrorKind::NotFound => return Failure::NotFound,
        ErrorKind::PermissionDenied => return Failure::Refused(why),
        ErrorKind::RateLimited => return Failure::Passing(why),
        ErrorKind::Unsupported | ErrorKind::ConfigInvalid => return Failure::Other(why),
        _ => {}
    }
    if matches!(status, Some(401 | 403)) || says(REFUSED) || ftp_status(error, &[530, 532]) {
        return Failure::Refused(why);
    }
    if kind == Kind::Sftp && ssh_is_missing(&all) {
        return Failure::Other("the program `ssh` is needed for it: install openssh-client".into());
    }
    let passing = !error.is_permanent()
        || matches!(status, Some(408 | 423 | 425 | 429 | 500..=599))
        || (kind.is_session() && status.is_none());
    if passing { Failure::Passing(why) } else { Failure::Other(why) }
}

/// [`judge`] on a result.
pub(super) fn judged<T>(
    kind: Kind,
    secrets: &[String],
    result: opendal::Result<T>,
) -> std::result::Result<T, Failure> {
    result.map_err(|error| judge(kind, secrets, &error))
}

/// Builds an operator; what is wrong with its options is said without their values.
pub(super) fn built(
    name: &str,
    kind: Kind,
    secrets: &[String],
    result: opendal::Result<opendal::Operator>,
) -> Result<opendal::Operator> {
    result.map_err(|error| {
        let why = why(None, secrets, &error);
        Error::Uri {
            why: format!("{name}: a {}:// location can't be opened: {why}", kind.scheme()),
        }
    })
}

/// A message in one line: the status, what opendal says, what lies beneath it; no address with a signature in it, and
/// no secret.
fn why(status: Option<u16>, secrets: &[String], error: &opendal::Error) -> String {
    let mut parts: Vec<String> =
        status.map(|status| format!("status {status}")).into_iter().collect();
    parts.extend(Some(error.message().to_owned()).filter(|message| !message.trim().is_empty()));
    let mut beneath = std::error::Error::source(error);
    while let Some(cause) = beneath {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        beneath = cause.source();
    }
    let text = if parts.is_empty() { error.kind().to_string() } else { parts.join(": ") };
    presentable(&text, secrets)
}

fn presentable(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "***");
    }
    let words = text.split_whitespace().map(|word| match word.split_once('?') {
        Some((address, _)) if address.contains("://") => format!("{address}?…"),
        _ => word.to_owned(),
    });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(WHY_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The status of the HTTP answer that an error came from. Opendal keeps it in the error's context only.
fn http_status(all: &str) -> Option<u16> {
    let (_, rest) = all.split_once("parts { status: ")?;
    rest.get(..3)?.parse().ok()
}

/// Whether an FTP server answered with one of these codes.
fn ftp_status(error: &opendal::Error, codes: &[u16]) -> bool {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    error.message() == "ftp error" && codes.iter().any(|code| source.contains(&format!("[{code}]")))
}

fn ssh_is_missing(all: &str) -> bool {
    all.contains("ssh error") && all.contains("no such file or directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind, message: &str) -> opendal::Error {
        opendal::Error::new(kind, message)
    }

    #[test]
    fn what_is_said_holds_no_secret_and_no_signed_address() {
        let secrets = ["hunter2".to_owned(), String::new()];
        let text = "user root with hunter2\n  at https://h/c/k?sig=abc&se=1 said no";
        assert_eq!(presentable(text, &secrets), "user root with *** at https://h/c/k?… said no");
        let long = presentable(&"é".repeat(1000), &[]);
        assert_eq!(long.chars().count(), WHY_CHARS_MAX + 1);
    }

    #[test]
    fn a_missing_object_is_told_from_a_missing_bucket() {
        let judge = |message| judge(Kind::S3, &[], &error(ErrorKind::NotFound, message));
        assert_eq!(judge("S3Error { code: \"NoSuchKey\" }"), Failure::NotFound);
        assert!(matches!(judge("S3Error { code: \"NoSuchBucket\" }"), Failure::Other(_)));
    }

    #[test]
    fn a_full_place_credentials_and_bad_days_are_told_apart() {
        let judge = |kind, error: &opendal::Error| super::judge(kind, &[], error);
        let unexpected = |message| error(ErrorKind::Unexpected, message);
        let full = unexpected("XMinioStorageFull: no more");
        assert_eq!(judge(Kind::S3, &full), Failure::Full);
        let answer = "Parts { status: 401, version: HTTP/1.1 }";
        let denied = unexpected("").with_context("response", answer);
        assert!(matches!(judge(Kind::Webdav, &denied), Failure::Refused(_)));
        let stranger = unexpected("send http request")
            .with_context("cause", "invalid peer certificate: UnknownIssuer")
            .set_temporary();
        assert!(matches!(judge(Kind::Webdav, &stranger), Failure::Refused(_)));
        let locked = unexpected("").with_context("response", "Parts { status: 423, version: 1 }");
        assert!(matches!(judge(Kind::Webdav, &locked), Failure::Passing(_)));
        assert!(matches!(judge(Kind::S3, &unexpected("nonsense")), Failure::Other(_)));
        assert!(matches!(judge(Kind::Ftp, &unexpected("broken pipe")), Failure::Passing(_)));
        let again = unexpected("later").set_temporary();
        assert!(matches!(judge(Kind::S3, &again), Failure::Passing(_)));
    }
}
