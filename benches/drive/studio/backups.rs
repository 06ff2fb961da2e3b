//! The tools that keep history by backups: a repository each, and a backup of the same tree after each save.

use crate::Failure;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Which tool, and how it compresses.
#[derive(Clone, Copy)]
enum Tool {
    Restic,
    /// With what its `--compression` is given.
    Borg(&'static str),
}

const TOOLS: [(&str, Tool); 3] = [
    ("restic, as it comes", Tool::Restic),
    ("borg, as it comes (lz4)", Tool::Borg("lz4")),
    ("borg, zstd 3", Tool::Borg("zstd,3")),
];

/// A repository beside the drive.
pub(super) struct Repository {
    pub(super) title: &'static str,
    tool: Tool,
    dir: PathBuf,
    /// What the tool may keep for itself outside of the repository; it isn't counted.
    home: PathBuf,
    taken: usize,
    pub(super) time: Duration,
}

impl Repository {
    /// An empty one of each kind below `base`.
    pub(super) fn all(base: &Path) -> Result<Vec<Repository>, Failure> {
        TOOLS.iter().map(|(title, tool)| Repository::new(base, title, *tool)).collect()
    }

    fn new(base: &Path, title: &'static str, tool: Tool) -> Result<Repository, Failure> {
        let root = base.join(title.replace([' ', ',', '(', ')'], "-"));
        let (dir, home) = (root.join("repository"), root.join("home"));
        fs::create_dir_all(&home)?;
        let repository = Repository { title, tool, dir, home, taken: 0, time: Duration::ZERO };
        let init: &[&str] = match tool {
            Tool::Restic => &["init", "--quiet"],
            Tool::Borg(_) => &["init", "--encryption", "none"],
        };
        repository.run(repository.command(&repository.dir).args(init))?;
        Ok(repository)
    }

    /// One more backup of `tree`, on the clock.
    pub(super) fn back_up(&mut self, tree: &Path) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut command = self.command(tree);
        match self.tool {
            Tool::Restic => command.args(["backup", "--quiet", "."]),
            Tool::Borg(compression) => {
                let archive = format!("::save-{}", self.taken);
                command.args(["create", "--compression", compression, &archive, "."])
            }
        };
        self.run(&mut command)?;
        self.time += begun.elapsed();
        self.taken += 1;
        Ok(())
    }

    /// How many backups the repository lists; an error if that isn't how many were made.
    pub(super) fn counted(&self) -> Result<usize, Failure> {
        let listed = match self.tool {
            Tool::Restic => {
                let text = self.run(self.command(&self.dir).args(["snapshots", "--json"]))?;
                let parsed: serde_json::Value =
                    serde_json::from_str(&text).map_err(|error| Failure(error.to_string()))?;
                parsed.as_array().map_or(0, Vec::len)
            }
            Tool::Borg(_) => {
                self.run(self.command(&self.dir).args(["list", "--short"]))?.lines().count()
            }
        };
        match listed == self.taken {
            true => Ok(listed),
            false => Err(Failure(format!(
                "{}: {listed} of {} backups are there",
                self.title, self.taken
            ))),
        }
    }

    /// Bytes of all files of the repository.
    pub(super) fn bytes(&self) -> Result<u64, Failure> {
        super::file_bytes(&self.dir)
    }

    fn command(&self, directory: &Path) -> Command {
        let mut command = match self.tool {
            Tool::Restic => Command::new("restic"),
            Tool::Borg(_) => Command::new("borg"),
        };
        command.env("RESTIC_REPOSITORY", &self.dir).env("RESTIC_PASSWORD", "bench");
        command.env("BORG_REPO", &self.dir).env("BORG_BASE_DIR", &self.home);
        command.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        if let Tool::Restic = self.tool {
            command.arg("--no-cache");
        }
        command.current_dir(if directory.exists() { directory } else { &self.home });
        command
    }

    /// What it prints.
    fn run(&self, command: &mut Command) -> Result<String, Failure> {
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure(format!("{}: {error}", self.title)))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure(format!("{}: {}: {said}", self.title, output.status)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
