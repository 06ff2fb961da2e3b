//! Rules by path: what is said of some names only, laid over what holds for all.
//!
//! A pattern is matched against the path of a name from the drive's root, as raw bytes. Of the rules that match, the last
//! one that says something about a setting wins for that setting.

use super::{Policy, Step};
use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Names that make no versions, where nothing else is said: temporaries, locks, what an editor or a file manager
/// puts beside a file. Backups that an editor leaves (`*~`) are not among them: somebody may want them back.
pub const NEVER: [&str; 7] =
    ["*.tmp", "~$*", ".~lock*", "._*", "4913", ".*.sw[j-px]", ".goutputstream-*"];

/// A name that no file has: stands for what is in a directory in general.
const ANY_NAME: &[u8] = b"\x01";

/// What is said of the names whose paths match; `None` says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathRule {
    /// Patterns, in the syntax of the crate `globset`: `*` and `?` stay within a name, `**` does not.
    pub paths: Vec<String>,
    /// See [`Policy::floor`].
    pub floor: Option<Duration>,
    /// See [`Policy::thinning`].
    pub thinning: Option<Vec<Step>>,
    /// See [`Policy::versions_max`].
    pub versions_max: Option<u64>,
    /// See [`Policy::bytes_max`].
    pub bytes_max: Option<u64>,
    /// Saves of a user within a slot of this length are one version.
    pub slot: Option<Duration>,
    /// Names that make no versions, in place of those that hold for all.
    pub never: Option<Vec<String>>,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Which one; `None`: the names that hold for all.
    pub rule: Option<usize>,
    /// Whether a pattern for paths is meant, and not one for names.
    pub is_path: bool,
    /// The pattern and what is wrong.
    pub message: String,
}

/// What holds for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Care {
    /// What of its history is kept.
    pub policy: Policy,
    /// Its own slot, where it has one.
    pub slot: Option<Duration>,
    /// Whether it makes versions at all. A folder does in any case.
    pub makes_versions: bool,
}

/// All rules. Equal if they were made of the same.
#[derive(Clone, Debug)]
pub struct Rules {
    never: Vec<String>,
    rules: Vec<PathRule>,
    never_names: GlobSet,
    /// Of each rule.
    never_names_of: Vec<Option<GlobSet>>,
    matching: Patterns,
    /// Of folders, what may match something below them …
    leading: Patterns,
    /// … and what matches everything below them if it matches anything in them.
    covering: Patterns,
}

impl PartialEq for Rules {
    fn eq(&self, other: &Rules) -> bool {
        (&self.never, &self.rules) == (&other.never, &other.rules)
    }
}

impl Eq for Rules {}

impl Default for Rules {
    /// No rules but for the names in [`NEVER`].
    fn default() -> Rules {
        let never = NEVER.map(String::from).to_vec();
        Rules::new(never, Vec::new()).expect("the default patterns are valid: a test holds it")
    }
}

/// Patterns, and which rule each belongs to.
#[derive(Clone, Debug)]
struct Patterns {
    set: GlobSet,
    rules: Vec<usize>,
}

impl Patterns {
    fn new(patterns: &[(usize, String)]) -> Result<Patterns, String> {
        let set = glob_set(patterns.iter().map(|(_, pattern)| &pattern[..]))?;
        Ok(Patterns { set, rules: patterns.iter().map(|(rule, _)| *rule).collect() })
    }

    /// The rules of which a pattern matches, by their numbers.
    fn matches(&self, path: &[u8]) -> Vec<usize> {
        let found = self.set.matches_candidate(&candidate(path));
        let mut rules: Vec<usize> = found.into_iter().map(|at| self.rules[at]).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

fn candidate(bytes: &[u8]) -> Candidate<'_> {
    Candidate::new(Path::new(OsStr::from_bytes(bytes)))
}

fn glob_set<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
        set.add(glob.map_err(|error| format!("{pattern:?} is no pattern: {}", error.kind()))?);
    }
    set.build().map_err(|error| error.to_string())
}

fn check_name(pattern: &str) -> Result<(), String> {
    match pattern {
        "" => Err("an empty pattern matches nothing".into()),
        _ if pattern.contains('/') => {
            Err(format!("{pattern:?} is matched against single names, which have no /"))
        }
        _ => Ok(()),
    }
}

fn check_path(pattern: &str) -> Result<(), String> {
    match pattern {
        "" => Err("an empty pattern matches nothing".into()),
        _ if pattern.starts_with('/') => {
            Err(format!("{pattern:?}: paths begin at the drive's root, without /"))
        }
        _ if pattern.ends_with('/') => {
            Err(format!("{pattern:?} matches nothing; for all that is in it write \"{pattern}**\""))
        }
        _ => Ok(()),
    }
}

fn names(patterns: &[String]) -> Result<GlobSet, String> {
    patterns.iter().try_for_each(|pattern| check_name(pattern))?;
    glob_set(patterns.iter().map(String::as_str))
}

/// Patterns that match every folder below which `pattern` may match something: its beginnings.
fn beginnings(pattern: &str) -> Vec<String> {
    let found: Vec<&str> = pattern.match_indices('/').map(|(at, _)| &pattern[..at]).collect();
    match glob_set(found.iter().copied()) {
        Ok(_) => found.into_iter().map(String::from).collect(),
        // A `/` within braces: anything may lead there.
        Err(_) => vec!["**".into()],
    }
}

impl Rules {
    /// Rules, the last of which is the strongest, and the names that make no versions where no rule says anything of
    /// that.
    ///
    /// # Errors
    /// A pattern that can't be understood, or can't match.
    pub fn new(never: Vec<String>, rules: Vec<PathRule>) -> Result<Rules, RuleError> {
        let wrong = |rule, is_path| move |message| RuleError { rule, is_path, message };
        let never_names = names(&never).map_err(wrong(None, false))?;
        let mut never_names_of = Vec::new();
        let (mut matching, mut leading, mut covering) = (Vec::new(), Vec::new(), Vec::new());
        for (at, rule) in rules.iter().enumerate() {
            let own = rule.never.as_deref().map(names).transpose();
            never_names_of.push(own.map_err(wrong(Some(at), false))?);
            for pattern in &rule.paths {
                check_path(pattern).map_err(wrong(Some(at), true))?;
                glob_set([&pattern[..]].into_iter()).map_err(wrong(Some(at), true))?;
                leading.extend(beginnings(pattern).into_iter().map(|pattern| (at, pattern)));
                let covers = *pattern == "**" || pattern.ends_with("/**");
                covering.extend(covers.then(|| (at, pattern.clone())));
                matching.push((at, pattern.clone()));
            }
        }
        let patterns = |all: &[(usize, String)]| Patterns::new(all).map_err(wrong(None, true));
        let (matching, leading) = (patterns(&matching)?, patterns(&leading)?);
        let covering = patterns(&covering)?;
        Ok(Rules { never, rules, never_names, never_names_of, matching, leading, covering })
    }

    /// Whether it depends on the path what holds for a name.
    pub fn depend_on_paths(&self) -> bool {
        !self.rules.is_empty()
    }

    /// What holds for the name of anything but a folder; `base` is what holds for all. `directory`: where it is, from the
    /// drive's root; `None` where nobody knows.
    pub fn of_name(&self, base: &Policy, directory: Option<&[u8]>, name: &[u8]) -> Care {
        let matching = directory.map_or(Vec::new(), |dir| self.matching.matches(&join(dir, name)));
        let never = matching.iter().rev().find_map(|rule| self.never_names_of[*rule].as_ref());
        let never = never.unwrap_or(&self.never_names);
        Care {
            policy: self.policy(base, &matching),
            slot: matching.iter().rev().find_map(|rule| self.rules[*rule].slot),
            makes_versions: !never.is_match_candidate(&candidate(name)),
        }
    }

    /// What holds in general for names in a directory.
    pub fn in_general(&self, base: &Policy, directory: Option<&[u8]>) -> Policy {
        self.of_name(base, directory, ANY_NAME).policy
    }

    /// What holds for the folder at `path`: the most of what its own path says and of what holds for anything that can be
    /// below it, since it is the way there. Limits hold only where all below it has them as well.
    pub fn of_folder(&self, base: &Policy, path: Option<&[u8]>) -> Policy {
        let Some(path) = path.filter(|_| self.depend_on_paths()) else { return base.clone() };
        let mut most = self.policy(base, &self.matching.matches(path));
        let below = Below {
            rules: self,
            base,
            covering: self.covering.matches(&join(path, ANY_NAME)),
            leading: match path.is_empty() {
                true => (0..self.rules.len()).collect(),
                false => self.leading.matches(path),
            },
        };
        for policy in below.policies(|rule| rule.floor.is_some()) {
            most.floor = most.floor.max(policy.floor);
        }
        for step in below.policies(|rule| rule.thinning.is_some()).flat_map(|p| p.thinning) {
            if !most.thinning.contains(&step) {
                most.thinning.push(step);
            }
        }
        for policy in below.policies(|rule| rule.versions_max.is_some()) {
            most.versions_max = larger(most.versions_max, policy.versions_max);
        }
        for policy in below.policies(|rule| rule.bytes_max.is_some()) {
            most.bytes_max = larger(most.bytes_max, policy.bytes_max);
        }
        most
    }

    /// `base` with what the rules say, the last of which is the strongest.
    fn policy(&self, base: &Policy, rules: &[usize]) -> Policy {
        let mut policy = base.clone();
        for rule in rules.iter().map(|rule| &self.rules[*rule]) {
            policy.floor = rule.floor.unwrap_or(policy.floor);
            policy.versions_max = rule.versions_max.or(policy.versions_max);
            policy.bytes_max = rule.bytes_max.or(policy.bytes_max);
            if let Some(thinning) = &rule.thinning {
                policy.thinning.clone_from(thinning);
            }
        }
        policy
    }
}

/// What may hold for anything below a folder.
struct Below<'a> {
    rules: &'a Rules,
    base: &'a Policy,
    covering: Vec<usize>,
    leading: Vec<usize>,
}

impl Below<'_> {
    /// What the rules that say something of a setting make of it, from the strongest one down to that which holds for
    /// all that the stronger ones leave.
    fn policies(&self, says: impl Fn(&PathRule) -> bool) -> impl Iterator<Item = Policy> {
        let mut found = Vec::new();
        let mut is_covered = false;
        for at in (0..self.rules.rules.len()).rev().filter(|at| says(&self.rules.rules[*at])) {
            is_covered = self.covering.contains(&at);
            if is_covered || self.leading.contains(&at) {
                found.push(self.rules.policy(self.base, &[at]));
            }
            if is_covered {
                break;
            }
        }
        found.extend((!is_covered).then(|| self.base.clone()));
        found.into_iter()
    }
}

/// The larger one of two limits; none is the largest.
fn larger(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.zip(b).map(|(a, b)| a.max(b))
}

/// The path of a name in a directory; that of the root is empty.
fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        _ => [directory, name].join(&b'/'),
    }
}

#[cfg(test)]
mod tests;
