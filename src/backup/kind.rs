//! The kinds of location that there are, and the options of each.

use super::{Error, Result};

/// What a location is, by its URI's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    S3,
    Gcs,
    Azblob,
    Sftp,
    Ftp,
    Ftps,
    Webdav,
    WebdavPlain,
    VercelBlob,
}

/// An option of a kind, by the name that opendal gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: &'static str,
    /// Whether nobody may see its value.
    pub(super) secret: bool,
}

const fn open(name: &'static str) -> Known {
    Known { name, secret: false }
}

const fn secret(name: &'static str) -> Known {
    Known { name, secret: true }
}

const SCHEMES: [(&str, Kind); 10] = [
    ("file", Kind::Directory),
    ("s3", Kind::S3),
    ("gcs", Kind::Gcs),
    ("azblob", Kind::Azblob),
    ("sftp", Kind::Sftp),
    ("ftp", Kind::Ftp),
    ("ftps", Kind::Ftps),
    ("webdav", Kind::Webdav),
    ("webdav+http", Kind::WebdavPlain),
    ("vercel-blob", Kind::VercelBlob),
];

const S3: &[Known] = &[
    open("endpoint"),
    open("region"),
    open("access_key_id"),
    secret("secret_access_key"),
    secret("session_token"),
    open("enable_virtual_host_style"),
    open("profile"),
    open("role_arn"),
    open("external_id"),
    open("role_session_name"),
    open("server_side_encryption"),
    open("server_side_encryption_aws_kms_key_id"),
    open("server_side_encryption_customer_algorithm"),
    secret("server_side_encryption_customer_key"),
    open("default_storage_class"),
    open("default_acl"),
    open("checksum_algorithm"),
    open("enable_request_payer"),
    open("batch_max_operations"),
    open("disable_config_load"),
    open("skip_signature"),
];

const GCS: &[Known] = &[
    open("endpoint"),
    secret("credential"),
    open("credential_path"),
    secret("token"),
    open("service_account"),
    open("scope"),
    open("predefined_acl"),
    open("default_storage_class"),
    open("disable_vm_metadata"),
    open("disable_config_load"),
    open("skip_signature"),
];

const AZBLOB: &[Known] = &[
    open("account_name"),
    open("endpoint"),
    secret("account_key"),
    secret("sas_token"),
    secret("encryption_key"),
    open("encryption_algorithm"),
    open("batch_max_operations"),
    open("skip_signature"),
];

const SFTP: &[Known] = &[open("key"), open("known_hosts_strategy")];
const FTP: &[Known] = &[open("user"), secret("password")];
const WEBDAV: &[Known] =
    &[open("username"), secret("password"), secret("token"), open("disable_create_dir")];
const VERCEL_BLOB: &[Known] = &[secret("token")];

/// Every option of every kind of location: the URI's scheme, the option's name, and whether it is a secret.
pub fn location_options() -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    SCHEMES.iter().flat_map(|(scheme, kind)| {
        kind.options().iter().map(move |known| (*scheme, known.name, known.secret))
    })
}

impl Kind {
    /// By a URI's scheme; the error lists those that there are.
    pub(super) fn of_scheme(scheme: &str) -> Result<Kind> {
        let found = SCHEMES.iter().find(|(name, _)| *name == scheme);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let there_are = SCHEMES.map(|(name, _)| format!("{name}://")).join(", ");
            let why = format!("{scheme}:// is no kind of location; there are {there_are}");
            Error::Uri { why }
        })
    }

    /// The options that it has.
    pub(super) fn options(self) -> &'static [Known] {
        match self {
            Kind::Directory => &[],
            Kind::S3 => S3,
            Kind::Gcs => GCS,
            Kind::Azblob => AZBLOB,
            Kind::Sftp => SFTP,
            Kind::Ftp | Kind::Ftps => FTP,
            Kind::Webdav | Kind::WebdavPlain => WEBDAV,
            Kind::VercelBlob => VERCEL_BLOB,
        }
    }

    /// The option of this name; the error lists those that there are.
    pub(super) fn option(self, name: &str) -> Result<Known> {
        let known = self.options().iter().find(|known| known.name == name).copied();
        known.ok_or_else(|| {
            let names: Vec<&str> = self.options().iter().map(|known| known.name).collect();
            let there_are = match names.as_slice() {
                [] => "there are none".to_owned(),
                names => format!("there are {}", names.join(", ")),
            };
            let why =
                format!("{name} is no option of a {}:// location; {there_are}", self.scheme());
            Error::Uri { why }
        })
    }

    /// As in a URI.
    pub(super) fn scheme(self) -> &'static str {
        let found = SCHEMES.iter().find(|(_, kind)| *kind == self);
        found.map(|(name, _)| *name).expect("each kind has a scheme")
    }

    /// The name of opendal's service for it.
    pub(super) fn service(self) -> &'static str {
        match self {
            Kind::Directory => "fs",
            Kind::Ftps => "ftp",
            Kind::WebdavPlain => "webdav",
            other => other.scheme(),
        }
    }

    /// Whether an object appears whole or not at all, and stays as it was while it is being replaced. Elsewhere an upload
    /// that is cut off leaves the beginning of a file.
    pub(super) fn puts_whole(self) -> bool {
        matches!(self, Kind::S3 | Kind::Gcs | Kind::Azblob | Kind::VercelBlob)
    }

    /// Whether an upload can be sent bit by bit. Of WebDAV opendal only knows uploads of one piece.
    pub(super) fn streams(self) -> bool {
        !matches!(self, Kind::Webdav | Kind::WebdavPlain)
    }

    /// Whether files can be renamed there by us.
    pub(super) fn renames(self) -> bool {
        matches!(self, Kind::Sftp | Kind::Webdav | Kind::WebdavPlain)
    }

    /// Whether a listing can be of everything below a prefix at once.
    pub(super) fn lists_all_below(self) -> bool {
        matches!(self, Kind::S3 | Kind::Gcs | Kind::Azblob)
    }

    /// Whether what is not said to be passing is so all the same: these tell a broken connection no different from the rest.
    pub(super) fn is_session(self) -> bool {
        matches!(self, Kind::Sftp | Kind::Ftp | Kind::Ftps)
    }
}
