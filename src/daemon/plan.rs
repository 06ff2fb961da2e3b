//! What is to be mounted where and how: the arguments, resolved once.

use crate::cli::{Exit, Failure, HelperArgs, MountArgs, MountFlags, PipedSecret};
use crate::crypt::SecretKind;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A mount that was asked for. All paths are absolute.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) store: PathBuf,
    pub(super) mountpoint: PathBuf,
    pub(super) flags: MountFlags,
    /// The settings file, where one was named.
    pub(super) config: Option<PathBuf>,
    /// The options as they were written, for handing them on.
    options: Vec<String>,
    sloppy: bool,
}

impl Plan {
    pub(super) fn new(args: &MountArgs, config: Option<PathBuf>) -> Result<Plan, Failure> {
        let mut options = args.options.clone();
        options.extend(args.read_only.then(|| "ro".to_owned()));
        options.extend(args.at.as_ref().map(|at| format!("at={at}")));
        options.extend(args.allow_other.then(|| "allow_other".to_owned()));
        Plan::resolve(&args.store, &args.mountpoint, options, false, config)
    }

    pub(super) fn from_helper(args: &HelperArgs) -> Result<Plan, Failure> {
        let options = args.options.clone();
        Plan::resolve(&args.store, &args.mountpoint, options, args.sloppy, None)
    }

    fn resolve(
        store: &Path,
        mountpoint: &Path,
        options: Vec<String>,
        sloppy: bool,
        config: Option<PathBuf>,
    ) -> Result<Plan, Failure> {
        let flags = MountFlags::parse(&options, sloppy)?;
        let config = config.or_else(|| flags.config.clone());
        Ok(Plan {
            store: absolute(store)?,
            mountpoint: absolute(mountpoint)?,
            config: config.as_deref().map(absolute).transpose()?,
            flags,
            options,
            sloppy,
        })
    }

    /// The arguments of a `verso` that serves this mount in the background.
    pub(super) fn child_arguments(&self, piped: Option<SecretKind>) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(config) = &self.config {
            arguments.extend(["--config".into(), config.into()]);
        }
        arguments.extend(["mount", "--foreground", "--background-child"].map(OsString::from));
        let kind = piped.map(|kind| match kind {
            SecretKind::Typed => PipedSecret::Passphrase,
            SecretKind::KeyFile => PipedSecret::Key,
        });
        arguments.extend(kind.map(|kind| format!("--piped-secret={}", kind.word()).into()));
        // Unknown options were let pass already, where that was wished.
        let known = |option: &&String| {
            !self.sloppy || MountFlags::parse(std::slice::from_ref(*option), false).is_ok()
        };
        let options: Vec<&str> = self.options.iter().filter(known).map(String::as_str).collect();
        if !options.is_empty() {
            arguments.extend(["-o".into(), options.join(",").into()]);
        }
        arguments.extend(["--".into(), (&self.store).into(), (&self.mountpoint).into()]);
        arguments
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| super::failed(Exit::Usage, "cannot use the path", path, &error))
}
