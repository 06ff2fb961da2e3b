//! What a check can find.

use crate::model::{Ino, PackId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// An inconsistency. Numbers are those of the tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)] // the fields are the words of the message
pub enum Problem {
    /// SQLite finds its own file damaged.
    Metadata { why: String },
    /// A name holds an inode that isn't there.
    NameWithoutInode { directory: u64, name: String, ino: u64, is_directory: bool },
    /// A name says another kind than its inode.
    NameKind { directory: u64, name: String, ino: u64 },
    /// A name lies where nobody looks for it.
    NameMisplaced { directory: u64, slot: i64, name: String },
    /// Names in a directory that isn't there.
    DirectoryMissing { directory: u64, names: u64 },
    /// Names in something that is no directory.
    NotADirectory { ino: u64 },
    /// A directory with several names.
    DirectoryNames { ino: u64, names: u64 },
    /// Directories that contain each other, away from the root.
    Cycle { ino: u64, directory: u64, slot: i64 },
    /// An inode without a name, and not on the list of those that are only open.
    Unreachable { ino: u64 },
    /// The root directory is gone.
    NoRoot,
    /// The link count is not the number of names.
    LinkCount { ino: u64, is: u64, should: u64 },
    /// The parent that a directory names holds no name of it.
    ParentHint { ino: u64 },
    /// Listed as without a name, but it has one or is gone.
    StaleOrphan { ino: u64 },
    /// A mode that is none.
    Mode { ino: u64, mode: u32 },
    /// A symbolic link without a target.
    NoTarget { ino: u64 },
    /// An extent that cannot be.
    Extent { ino: u64, start: i64, len: i64, why: String },
    /// Extents of an inode of which nothing is known.
    ExtentsOfNobody { ino: u64 },
    /// The allocated bytes are not the sum of the extents.
    Allocated { ino: u64, is: u64, should: u64 },
    /// Something shows a chunk that the chunk table doesn't hold.
    ChunkMissing { chunk: u64 },
    /// Something shows more of a chunk than there is.
    ChunkShort { chunk: u64, len: i64 },
    /// The row of a chunk makes no sense.
    ChunkRow { chunk: u64 },
    /// The row of a chunk is not found by its hash.
    ChunkUnindexed { chunk: u64 },
    /// No record of this chunk lies where the table says.
    ChunkPlace { chunk: u64, why: String },
    /// The chunk can't be read back as what it should be.
    ChunkDamaged { chunk: u64, why: String },
    /// A chunk is a difference to one that it can't be read with.
    ChunkBase { chunk: u64, why: String },
    /// A pack is not whole, or can't be read.
    Pack { pack: u32, why: String },
    /// A counter is behind what is in use.
    Counter { counter: String, is: i64, should: i64 },
    /// Rows of the past that end before they begin.
    Backward { table: String, rows: u64 },
    /// A moment is kept of a directory that never was.
    PinOfNobody { directory: u64, name: String },
}

impl Problem {
    /// What `--repair` does about it; `None` when nothing can be done without losing something.
    pub fn repair(&self) -> Option<&'static str> {
        use Problem as P;
        Some(match self {
            P::NameWithoutInode { is_directory: true, .. } | P::DirectoryMissing { .. } => {
                "the directory is made anew, with its last known or the owner's attributes"
            }
            P::NameWithoutInode { .. } => "the inode is brought back if its past is known",
            P::NameKind { .. } => "the name takes the inode's kind",
            P::NameMisplaced { .. } => "the name is put in its place",
            P::Cycle { .. } | P::Unreachable { .. } => "it gets a name in lost+found",
            P::LinkCount { .. } | P::ParentHint { .. } | P::StaleOrphan { .. } => {
                "it is counted anew from the names"
            }
            P::Allocated { .. } => "it is counted anew from the extents",
            P::ChunkUnindexed { .. } => "it is indexed anew",
            P::ChunkPlace { .. } | P::ChunkDamaged { .. } | P::ChunkBase { .. } => {
                "it is pointed at another intact record, if the packs hold one"
            }
            P::Counter { .. } => "the counter is moved ahead",
            P::Metadata { .. }
            | P::NotADirectory { .. }
            | P::DirectoryNames { .. }
            | P::NoRoot
            | P::Mode { .. }
            | P::NoTarget { .. }
            | P::Extent { .. }
            | P::ExtentsOfNobody { .. }
            | P::ChunkMissing { .. }
            | P::ChunkShort { .. }
            | P::ChunkRow { .. }
            | P::Pack { .. }
            | P::Backward { .. }
            | P::PinOfNobody { .. } => return None,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Problem as P;
        match self {
            P::Metadata { why } => write!(f, "meta.db is damaged: {why}"),
            P::NameWithoutInode { name, ino, .. } => {
                write!(f, "the name {name:?} holds inode {ino}, which is missing")
            }
            P::NameKind { name, ino, .. } => {
                write!(f, "the name {name:?} says another kind than its inode {ino}")
            }
            P::NameMisplaced { name, .. } => write!(f, "the name {name:?} can't be looked up"),
            P::DirectoryMissing { directory, names } => {
                write!(f, "directory {directory} is missing; {names} names are in it")
            }
            P::NotADirectory { ino } => write!(f, "inode {ino} holds names but is no directory"),
            P::DirectoryNames { ino, names } => write!(f, "directory {ino} has {names} names"),
            P::Cycle { ino, .. } => write!(f, "directory {ino} lies within itself"),
            P::Unreachable { ino } => write!(f, "inode {ino} has no name"),
            P::NoRoot => write!(f, "the root directory is missing"),
            P::LinkCount { ino, is, should } => {
                write!(f, "inode {ino} has link count {is} instead of {should}")
            }
            P::ParentHint { ino } => write!(f, "directory {ino} has no name where it says"),
            P::StaleOrphan { ino } => write!(f, "inode {ino} is wrongly listed as without a name"),
            P::Mode { ino, mode } => write!(f, "inode {ino} has mode {mode:o}, which is no kind"),
            P::NoTarget { ino } => write!(f, "the symbolic link {ino} has no target"),
            P::Extent { ino, start, len, why } => {
                write!(f, "inode {ino}: the extent of {len} bytes at {start} {why}")
            }
            P::ExtentsOfNobody { ino } => write!(f, "extents of inode {ino}, which never was"),
            P::Allocated { ino, is, should } => {
                write!(f, "inode {ino} claims {is} bytes on disk instead of {should}")
            }
            P::ChunkMissing { chunk } => write!(f, "chunk {chunk} is not in the chunk table"),
            P::ChunkShort { chunk, len } => {
                write!(f, "chunk {chunk} has {len} bytes, fewer than are shown of it")
            }
            P::ChunkRow { chunk } => write!(f, "the row of chunk {chunk} makes no sense"),
            P::ChunkUnindexed { chunk } => write!(f, "chunk {chunk} is not found by its hash"),
            P::ChunkPlace { why, .. } | P::ChunkDamaged { why, .. } | P::ChunkBase { why, .. } => {
                f.write_str(why)
            }
            P::Pack { pack, why } => write!(f, "pack {}: {why}", PackId(*pack)),
            P::Counter { counter, is, should } => {
                write!(f, "the {counter} counter is at {is}, behind {should}")
            }
            P::Backward { table, rows } => {
                write!(f, "{rows} rows of {table} end before they begin")
            }
            P::PinOfNobody { directory, name } => {
                write!(f, "the pin {name:?} is of directory {directory}, which never was")
            }
        }
    }
}

/// A file that shows something damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its inode.
    pub ino: u64,
    /// Its names from the root on; empty when it has none. Bytes that are no UTF-8 are replaced.
    pub paths: Vec<String>,
    /// Whether it is the present content; otherwise an earlier one, or a file that was deleted.
    pub is_live: bool,
    /// The numbers of the contents that show it, as `.versions` has them; the newest, where there are many.
    #[serde(default)]
    pub versions: Vec<u64>,
}

impl Shown {
    pub(super) fn of(ino: Ino, is_live: bool) -> Shown {
        Shown { ino: ino.0, paths: Vec::new(), is_live, versions: Vec::new() }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub problem: Problem,
    /// The same in words.
    pub message: String,
    /// Which files it touches.
    pub files: Vec<Shown>,
    /// What `--repair` does about it, if anything.
    pub repair: Option<String>,
}

impl Finding {
    pub(super) fn new(problem: Problem, files: Vec<Shown>) -> Finding {
        let (message, repair) = (problem.to_string(), problem.repair().map(String::from));
        Finding { problem, message, files, repair }
    }
}

/// The outcome of a check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckReport {
    /// The store's directory.
    pub store: String,
    /// Whether every chunk was read.
    pub read_data: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How many more findings there are than are listed.
    pub omitted: u64,
    /// What was wrong and has been put right.
    pub repaired: Vec<Finding>,
    /// Bytes in packs that nothing knows of: harmless.
    pub leaked_bytes: u64,
    #[serde(skip)]
    pub(super) leaking: Vec<PackId>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.omitted == 0
    }

    pub(super) fn holds(&self, problem: &Problem) -> bool {
        self.findings.iter().any(|finding| finding.problem == *problem)
    }
}
