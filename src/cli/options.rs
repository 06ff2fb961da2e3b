//! Mount options: what `-o` and `/etc/fstab` may say, resolved into meaning.

use super::exit::{Exit, Failure};
use crate::config::Atime;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// What the options ask for, beyond the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountFlags {
    /// Nothing can be changed.
    pub read_only: bool,
    /// Other users may use the drive.
    pub allow_other: bool,
    /// The mount point may have contents (they are hidden while it is mounted).
    pub nonempty: bool,
    /// Device nodes work; only root can ask for it. `None`: nothing was said.
    pub dev: Option<bool>,
    /// Set-user-id programs work. `None`: nothing was said.
    pub suid: Option<bool>,
    /// Programs can be started from the drive.
    pub noexec: bool,
    /// Overrides the setting.
    pub atime: Option<Atime>,
    /// The root lists its `.versions`, whatever the setting says.
    pub versions: bool,
    /// Overrides the setting.
    pub threads: Option<NonZeroUsize>,
    /// The drive is shown as it was at this moment; nothing can be changed.
    pub at: Option<String>,
    /// The settings file.
    pub config: Option<PathBuf>,
    /// Where the passphrase of an encrypted store is.
    pub passphrase_file: Option<PathBuf>,
    /// Where its key is.
    pub key_file: Option<PathBuf>,
}

/// Options that are meant for `mount(8)`, systemd or nobody, and say nothing to Verso.
const IGNORED: [&str; 17] = [
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "_rnetdev",
    "async",
    "default_permissions",
    "silent",
    "loud",
    "nodiratime",
    "diratime",
];

/// Options with a value or a prefix that say nothing to Verso.
const IGNORED_PREFIXES: [&str; 5] = ["x-", "X-", "comment=", "uhelper=", "helper="];

impl MountFlags {
    /// What `options` mean; later ones win. Unknown ones are an error, unless `sloppy`.
    pub fn parse(options: &[String], sloppy: bool) -> Result<MountFlags, Failure> {
        let mut flags = MountFlags::default();
        let options = options.iter().map(|option| option.trim()).filter(|o| !o.is_empty());
        for option in options {
            if !flags.set_switch(option) && !flags.set_value(option)? && !sloppy {
                let message = format!("unknown mount option {option:?}");
                return Err(Failure::new(Exit::Usage, message)
                    .help("`verso mount --help` lists the options"));
            }
        }
        Ok(flags)
    }

    /// Sets an option without a value; `false`: there is none of this name.
    fn set_switch(&mut self, option: &str) -> bool {
        match option {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "allow_other" => self.allow_other = true,
            "nonempty" => self.nonempty = true,
            "dev" => self.dev = Some(true),
            "nodev" => self.dev = Some(false),
            "suid" => self.suid = Some(true),
            "nosuid" => self.suid = Some(false),
            "exec" => self.noexec = false,
            "noexec" => self.noexec = true,
            "versions" => self.versions = true,
            "noatime" => self.atime = Some(Atime::Noatime),
            "relatime" | "atime" => self.atime = Some(Atime::Relatime),
            _ => {
                let ignored = IGNORED_PREFIXES.iter().any(|prefix| option.starts_with(prefix));
                return ignored || IGNORED.contains(&option);
            }
        }
        true
    }

    /// Sets an option with a value; `false`: there is none of this name.
    fn set_value(&mut self, option: &str) -> Result<bool, Failure> {
        match option.split_once('=') {
            Some(("threads", number)) => {
                let threads =
                    number.parse().ok().filter(|threads: &NonZeroUsize| threads.get() <= 64);
                let wrong = || Failure::new(Exit::Usage, "mount option threads: from 1 to 64");
                self.threads = Some(threads.ok_or_else(wrong)?);
            }
            Some(("at", moment)) => {
                self.at = Some(moment.to_owned());
                self.read_only = true;
            }
            Some(("config", file)) => self.config = Some(PathBuf::from(file)),
            Some(("passphrase_file", file)) => self.passphrase_file = Some(PathBuf::from(file)),
            Some(("key_file", file)) => self.key_file = Some(PathBuf::from(file)),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &str, sloppy: bool) -> Result<MountFlags, Failure> {
        let options: Vec<String> = options.split(',').map(String::from).collect();
        MountFlags::parse(&options, sloppy)
    }

    #[test]
    fn a_line_of_fstab_is_understood() {
        let flags = parse(
            "rw,_netdev,nofail,x-systemd.automount,users,noexec,nosuid,nodev,allow_other,noatime",
            false,
        );
        let flags = flags.unwrap();
        assert!(flags.allow_other && flags.noexec && !flags.read_only);
        assert_eq!((flags.suid, flags.dev), (Some(false), Some(false)));
        assert_eq!(flags.atime, Some(Atime::Noatime));
        assert!(!flags.versions && parse("versions", false).unwrap().versions);
    }

    #[test]
    fn the_last_word_counts() {
        assert!(!parse("ro,rw", false).unwrap().read_only);
        assert!(parse("rw,ro", false).unwrap().read_only);
        assert_eq!(parse("threads=2,threads=7", false).unwrap().threads.unwrap().get(), 7);
    }

    #[test]
    fn what_is_unknown_is_an_error_unless_sloppy() {
        for wrong in ["compress", "threads", "threads=0", "threads=x", "config"] {
            assert_eq!(parse(wrong, false).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
        assert_eq!(parse("compress,ro", true).unwrap(), parse("ro", false).unwrap());
    }
}
