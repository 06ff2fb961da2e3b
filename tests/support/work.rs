//! Random work: what can be done to a drive, and doing the same to two of them.

use super::drive::{Drive, Tree};
use proptest::prelude::*;

/// Handles that are open at a time, at most.
pub(crate) const HANDLES: usize = 3;
/// Where writes start, at most, in bytes: enough for several chunks.
const OFFSET_MAX: u64 = 600_000;
/// How long a piece of data is, at most, in bytes: larger than the largest chunk.
const LEN_MAX: usize = 300_000;
/// Directories and names are few, so that operations meet each other.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A path of one to three names.
pub(crate) type Path = String;

/// Data that is cheap to shrink and to compare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data {
    pub(crate) seed: u8,
    pub(crate) len: usize,
    /// Compressible, and the same in every place: what deduplication finds.
    pub(crate) plain: bool,
}

impl Data {
    pub(crate) fn bytes(self) -> Vec<u8> {
        if self.plain {
            return vec![self.seed; self.len];
        }
        let mut state = u64::from(self.seed) | 1 << 32;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        (0..self.len).map(|_| next()).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Replace,
    NoReplace,
    Exchange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alloc {
    Reserve,
    ReserveKeep,
    Punch,
    Zero,
    ZeroKeep,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(Path),
    Mkdir(Path),
    Symlink(Path),
    Link(Path, Path),
    Unlink(Path),
    Rmdir(Path),
    Rename(Path, Path, Move),
    Truncate(Path, u64),
    Chmod(Path, u32),
    SetMtime(Path, i64),
    SetXattr(Path, u8, Data),
    RemoveXattr(Path, u8),
    /// Opens into a place for handles; whatever was open there is closed.
    Open(usize, Path),
    Close(usize),
    Write(usize, u64, Data),
    SetLen(usize, u64),
    Fallocate(usize, Alloc, u64, u64),
    /// From one handle to another one or the same: offset, offset, length.
    Copy(usize, usize, u64, u64, u64),
    Read(usize, u64, usize),
    Holes(usize),
    Flush(usize),
    Fsync(usize),
    Reopen,
}

fn path() -> impl Strategy<Value = Path> {
    let name = || prop::sample::select(&NAMES[..]);
    prop_oneof![
        3 => name().prop_map(String::from),
        2 => (name(), name()).prop_map(|(a, b)| format!("{a}/{b}")),
        1 => (name(), name(), name()).prop_map(|(a, b, c)| format!("{a}/{b}/{c}")),
    ]
}

fn data() -> impl Strategy<Value = Data> {
    let len = prop_oneof![3 => 0..5_000_usize, 1 => 0..LEN_MAX];
    (any::<u8>(), len, any::<bool>()).prop_map(|(seed, len, plain)| Data { seed, len, plain })
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 2 => 0..10_000_u64, 2 => (0..150_u64).prop_map(|p| p * 4096), 1 => 0..OFFSET_MAX]
}

fn names_op() -> impl Strategy<Value = Op> {
    let kind =
        prop::sample::select(&[Move::Replace, Move::Replace, Move::NoReplace, Move::Exchange][..]);
    prop_oneof![
        4 => path().prop_map(Op::Create),
        4 => path().prop_map(Op::Mkdir),
        1 => path().prop_map(Op::Symlink),
        2 => (path(), path()).prop_map(|(old, new)| Op::Link(old, new)),
        2 => path().prop_map(Op::Unlink),
        1 => path().prop_map(Op::Rmdir),
        4 => (path(), path(), kind).prop_map(|(from, to, kind)| Op::Rename(from, to, kind)),
    ]
}

fn attributes_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (path(), offset()).prop_map(|(at, size)| Op::Truncate(at, size)),
        1 => (path(), 0..0o1000_u32).prop_map(|(at, mode)| Op::Chmod(at, mode | 0o600)),
        1 => (path(), any::<i32>()).prop_map(|(at, t)| Op::SetMtime(at, i64::from(t) * 1_000_000_007)),
        1 => (path(), 0..3_u8, data()).prop_map(|(at, name, value)| Op::SetXattr(at, name, Data { len: value.len % 3000, ..value })),
        1 => (path(), 0..3_u8).prop_map(|(at, name)| Op::RemoveXattr(at, name)),
    ]
}

fn handle_op() -> impl Strategy<Value = Op> {
    let handle = || 0..HANDLES;
    let alloc = prop::sample::select(
        &[Alloc::Reserve, Alloc::ReserveKeep, Alloc::Punch, Alloc::Zero, Alloc::ZeroKeep][..],
    );
    prop_oneof![
        4 => (handle(), path()).prop_map(|(h, at)| Op::Open(h, at)),
        1 => handle().prop_map(Op::Close),
        9 => (handle(), offset(), data()).prop_map(|(h, at, data)| Op::Write(h, at, data)),
        2 => (handle(), offset()).prop_map(|(h, size)| Op::SetLen(h, size)),
        3 => (handle(), alloc, offset(), 1..OFFSET_MAX / 2).prop_map(|(h, a, at, len)| Op::Fallocate(h, a, at, len)),
        3 => (handle(), handle(), offset(), offset(), 1..OFFSET_MAX).prop_map(|(a, b, x, y, len)| Op::Copy(a, b, x, y, len)),
        3 => (handle(), offset(), 0..LEN_MAX).prop_map(|(h, at, len)| Op::Read(h, at, len)),
        1 => handle().prop_map(Op::Holes),
        1 => handle().prop_map(Op::Flush),
        1 => handle().prop_map(Op::Fsync),
    ]
}

/// A session of work: a start that makes it likely that there is something to work on, then anything.
pub(crate) fn session(len: usize) -> impl Strategy<Value = Vec<Op>> {
    let any_op = prop_oneof![5 => names_op(), 3 => attributes_op(), 12 => handle_op(), 1 => Just(Op::Reopen)];
    prop::collection::vec(any_op, 1..len).prop_map(|ops| {
        let start = [Op::Mkdir("a".into()), Op::Mkdir("a/b".into()), Op::Create("c".into())];
        let files =
            [Op::Create("a/b/d".into()), Op::Open(0, "c".into()), Op::Open(1, "a/b/d".into())];
        start.into_iter().chain(files).chain(ops).collect()
    })
}

/// Does one thing; what it answers can be compared between drives.
pub(crate) fn apply(drive: &mut dyn Drive, op: &Op) -> Result<Answer, i32> {
    match op {
        Op::Create(at) => drive.create(at).map(Answer::from),
        Op::Mkdir(at) => drive.mkdir(at).map(Answer::from),
        Op::Symlink(at) => drive.symlink(at).map(Answer::from),
        Op::Link(old, new) => drive.link(old, new).map(Answer::from),
        Op::Unlink(at) => drive.unlink(at).map(Answer::from),
        Op::Rmdir(at) => drive.rmdir(at).map(Answer::from),
        Op::Rename(from, to, kind) => drive.rename(from, to, *kind).map(Answer::from),
        Op::Truncate(at, size) => drive.truncate(at, *size).map(Answer::from),
        Op::Chmod(at, mode) => drive.chmod(at, *mode).map(Answer::from),
        Op::SetMtime(at, nanos) => drive.set_mtime(at, *nanos).map(Answer::from),
        Op::SetXattr(at, name, value) => {
            drive.set_xattr(at, &xattr_name(*name), &value.bytes()).map(Answer::from)
        }
        Op::RemoveXattr(at, name) => drive.remove_xattr(at, &xattr_name(*name)).map(Answer::from),
        Op::Open(handle, at) => drive.open(*handle, at).map(Answer::from),
        Op::Close(handle) => drive.close(*handle).map(Answer::from),
        Op::Write(handle, at, data) => drive.write(*handle, *at, &data.bytes()).map(Answer::from),
        Op::SetLen(handle, size) => drive.set_len(*handle, *size).map(Answer::from),
        Op::Fallocate(handle, how, at, len) => {
            drive.fallocate(*handle, *how, *at, *len).map(Answer::from)
        }
        Op::Copy(from, to, x, y, len) => drive.copy(*from, *to, *x, *y, *len).map(Answer::Number),
        Op::Read(handle, at, len) => drive.read(*handle, *at, *len).map(Answer::Bytes),
        Op::Holes(handle) => drive.check_holes(*handle).map(Answer::from),
        Op::Flush(handle) => drive.flush(*handle).map(Answer::from),
        Op::Fsync(handle) => drive.fsync(*handle).map(Answer::from),
        Op::Reopen => {
            drive.reopen();
            Ok(Answer::Nothing)
        }
    }
}

fn xattr_name(number: u8) -> String {
    format!("user.{number}")
}

#[derive(PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Number(u64),
    Bytes(Vec<u8>),
}

impl From<()> for Answer {
    fn from((): ()) -> Answer {
        Answer::Nothing
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::Nothing => write!(f, "done"),
            Answer::Number(number) => write!(f, "{number}"),
            Answer::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

/// Does the same work to both, and holds their answers and what they then hold against each other.
pub(crate) fn compare(
    real: &mut dyn Drive,
    model: &mut dyn Drive,
    ops: &[Op],
) -> Result<(), TestCaseError> {
    for (at, op) in ops.iter().enumerate() {
        let (expected, got) = (apply(model, op), apply(real, op));
        if let (Ok(Answer::Bytes(expected)), Ok(Answer::Bytes(got))) = (&expected, &got) {
            let differs = expected.iter().zip(got).position(|(a, b)| a != b);
            prop_assert_eq!(differs, None, "step {}: {:?}: first different byte", at, op);
        }
        prop_assert_eq!(got, expected, "step {}: {:?}", at, op);
    }
    same_tree(&real.tree(), &model.tree())?;
    real.reopen();
    model.reopen();
    same_tree(&real.tree(), &model.tree())
}

fn same_tree(real: &Tree, model: &Tree) -> Result<(), TestCaseError> {
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    prop_assert_eq!(names(real), names(model));
    for (path, expected) in model {
        prop_assert_eq!(&real[path], expected, "{}", path);
    }
    Ok(())
}
