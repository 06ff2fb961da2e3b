//! `verso why`: of a name, of one version of it (`PATH@3`), or of what `.versions` shows.

use super::contract::{self, read, shown};
use super::drive::{HISTORY, in_store};
use super::secrets::Given;
use crate::cli::{Exit, Failure, PathArgs, WhyArgs, show_json, show_why, version_ranges, warn};
use crate::fs::Reason;
use crate::model::{Control, Zone, parse_number, real_names};
use crate::recall::printable;
use crate::sys::{Clock, SystemClock};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// `verso why`
pub(super) fn why(args: &WhyArgs, given: &Given) -> Result<(), Failure> {
    let about = About { args: &args.path, given };
    let (reasons, store) = match in_history(&args.path.path)? {
        Some((names, number)) => about.first_of(&names, number)?,
        None => about.name_or_version()?,
    };
    if args.json {
        return shown(&store, show_json(&serde_json::json!(reasons)));
    }
    show_why(&reasons, SystemClock.now(), &Zone::system());
    Ok(())
}

struct About<'a> {
    args: &'a PathArgs,
    given: &'a Given,
}

impl About<'_> {
    /// What is known of a name, if anything; and in which store.
    fn ask(&self, path: &Path) -> Result<(Option<Vec<Reason>>, PathBuf), Failure> {
        let args = PathArgs { path: path.to_owned(), store: self.args.store.clone() };
        let (store, path) = in_store(&args)?;
        let bytes = path.as_os_str().as_bytes();
        let about = contract::About { store: &store, path: &path, given: self.given };
        let answer = about.ask("why", false, |volume| volume.why(bytes))?;
        Ok((answer.map(|answer| read(&store, answer)).transpose()?, store))
    }

    /// A name that there is comes before a version of another one.
    fn name_or_version(&self) -> Result<(Vec<Reason>, PathBuf), Failure> {
        let path = &self.args.path;
        let versioned = versioned(path);
        if let (Some(reasons), store) = self.ask(path)? {
            if let Some((base, number)) = versioned
                && self.ask(&base)?.0.is_some()
            {
                warn(&format!(
                    "{}: taken for the name, and not for version {number} of {}",
                    printable(path),
                    printable(&base)
                ));
            }
            return Ok((reasons, store));
        }
        match versioned {
            Some((base, number)) => self.first_of(&[base], Some(number)),
            None => Err(unknown(path)),
        }
    }

    /// The first of the names that is known; of that one version, if a number is given.
    fn first_of(
        &self,
        names: &[PathBuf],
        number: Option<u64>,
    ) -> Result<(Vec<Reason>, PathBuf), Failure> {
        for name in names {
            let (Some(reasons), store) = self.ask(name)? else { continue };
            let Some(number) = number else { return Ok((reasons, store)) };
            let (found, others): (Vec<_>, Vec<_>) =
                reasons.into_iter().partition(|reason| reason.number == number);
            return match found.is_empty() {
                false => Ok((found, store)),
                true => Err(no_version(name, number, &others)),
            };
        }
        Err(unknown(&self.args.path))
    }
}

fn unknown(path: &Path) -> Failure {
    let message = format!("cannot ask about {}: no such file or directory", printable(path));
    Failure::new(Exit::Failure, message)
        .help("`verso log` of the directory shows what there was; what is over may be gone")
}

fn no_version(path: &Path, number: u64, others: &[Reason]) -> Failure {
    let message = format!("{}: there is no version {number}", printable(path));
    Failure::new(Exit::Failure, message).help(match version_ranges(others) {
        none if none.is_empty() => "it has no versions with a number".to_owned(),
        ranges => format!("there are {ranges}"),
    })
}

/// `PATH@3`: the path and the number.
fn versioned(path: &Path) -> Option<(PathBuf, u64)> {
    let name = path.file_name()?.as_bytes();
    let at = name.iter().rposition(|byte| *byte == b'@').filter(|at| *at > 0)?;
    let digits = std::str::from_utf8(&name[at + 1..]).ok()?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|number| *number > 0 && is_number)?;
    Some((path.with_file_name(OsStr::from_bytes(&name[..at])), number))
}

/// The names that may be meant, and the number of the version if it is one.
type Meant = (Vec<PathBuf>, Option<u64>);

/// What a path means that leads to what `.versions` shows.
fn in_history(path: &Path) -> Result<Option<Meant>, Failure> {
    let parts: Vec<Component<'_>> = path.components().collect();
    let Some(at) = parts.iter().rposition(|part| part.as_os_str() == HISTORY) else {
        return Ok(None);
    };
    let dir: PathBuf = parts[..at].iter().collect();
    let wrong = || {
        let message = format!("{}: is no version", printable(path));
        Failure::new(Exit::Usage, message)
            .help("name a file, FILE@NUMBER, or what stands in .versions/FILE")
    };
    let (shown, version) = match &parts[at + 1..] {
        [shown] => (shown.as_os_str().as_bytes(), None),
        [shown, version] => (shown.as_os_str().as_bytes(), Some(version.as_os_str().as_bytes())),
        _ => return Err(wrong()),
    };
    let number = version.map(|version| parse_number(version).ok_or_else(wrong)).transpose()?;
    if Control::of(shown).is_some() {
        return Err(wrong());
    }
    let names = real_names(shown).map(|name| dir.join(OsStr::from_bytes(name)));
    Ok(Some((names.collect(), number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_behind_an_at_is_a_version() {
        let of = |path: &str| versioned(Path::new(path));
        assert_eq!(of("a/plan.txt@12"), Some((PathBuf::from("a/plan.txt"), 12)));
        assert_eq!(of("a@b@1"), Some((PathBuf::from("a@b"), 1)));
        for name in ["plan", "plan@", "plan@0", "@3", "plan@+3", "plan@3x", "a@1/b", "/"] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn what_stands_in_the_history_is_a_version() {
        let of = |path: &str| in_history(Path::new(path));
        assert_eq!(of("a/b").unwrap(), None);
        let version = of("a/.versions/b.txt/b~2026-09-14T103212Z~v3.txt").unwrap();
        assert_eq!(version, Some((vec![PathBuf::from("a/b.txt")], Some(3))));
        assert_eq!(of(".versions/@@b").unwrap(), Some((vec![PathBuf::from("@b")], None)));
        for path in ["a/.versions", ".versions/@at/now", ".versions/b/c", ".versions/b/b~v1/c"] {
            assert_eq!(of(path).unwrap_err().exit, Exit::Usage, "{path}");
        }
    }
}
