//! The versions of a name: which contents it showed, and where the file came by a move, what it was before
//! under its earlier names.
//!
//! History follows the name. A name that held something before keeps its own history when another file is moved
//! to it (that is how programs save); only the time in which it held nothing is filled with what the file
//! went through elsewhere. So versions never overlap, and a file that was moved to a new name
//! shows all that it was.

use crate::fs::Result;
use crate::fs::volume::Volume;
use crate::meta::{ContentState, Period, View};
use crate::model::{Cause, ContentDigest, FileKind, Ino, Moment, State, version_name, versions};
use siphasher::sip::SipHasher24;
use std::collections::HashMap;
use std::hash::Hasher;

/// Moves that are followed back.
const MOVES_MAX: usize = 64;

/// A version of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// What it is called in the directory of its name's versions.
    pub(super) name: Vec<u8>,
    pub(super) number: u64,
    pub(super) kind: FileKind,
    pub(super) ino: Ino,
    /// The directory in which it had its name then.
    pub(super) dir: Ino,
    /// The directory in whose history it is shown.
    pub(super) shown_in: Ino,
    /// From when its inode had this content.
    pub(super) content_since: Moment,
    /// Until when its inode had it; `None` while it has.
    pub(super) content_until: Option<Moment>,
    /// From when the name showed it.
    pub(super) began: Moment,
    /// Until when the name showed it, or the same again.
    pub(super) ended: Option<Moment>,
    pub(super) author: u32,
    pub(super) cause: Cause,
}

/// What a name showed for a while.
struct Showing {
    kind: FileKind,
    ino: Ino,
    dir: Ino,
    content_since: Moment,
    content_until: Option<Moment>,
    state: State,
}

/// The versions of the name, sorted.
pub(super) fn versions_of(
    volume: &Volume,
    view: &View<'_>,
    dir: Ino,
    name: &[u8],
) -> Result<Vec<Version>> {
    let slot = volume.rules_in(view, dir)?.of(name, FileKind::File).slot;
    let slot = slot.unwrap_or(volume.options.coalesce);
    let (contents, showings) = (HashMap::new(), Vec::new());
    let mut history = History { volume, view, contents, showings, moves_left: MOVES_MAX };
    history.follow(dir, name, Moment(i64::MIN), Moment(i64::MAX), None)?;
    let showings = history.number();
    let shown = |state: &State| {
        // Numbers rise strictly, see `History::number`.
        let found = showings.binary_search_by_key(&state.number, |other| other.state.number);
        let showing = &showings[found.ok()?];
        Some(Version {
            name: version_name(name, state.began, state.number),
            number: state.number,
            kind: showing.kind,
            ino: showing.ino,
            dir: showing.dir,
            shown_in: dir,
            content_since: showing.content_since,
            content_until: showing.content_until,
            began: state.began,
            ended: state.ended,
            author: state.author,
            cause: state.cause,
        })
    };
    let (folders, files): (Vec<_>, Vec<_>) =
        showings.iter().partition(|showing| showing.kind == FileKind::Directory);
    let files: Vec<State> = files.into_iter().map(|showing| showing.state).collect();
    // Of any directory: what is apart from its neighbours for one is so for all, and numbers stay what they were.
    let pins = view.pinned_moments()?;
    let mut found: Vec<Version> = versions(&files, &pins, slot).iter().filter_map(shown).collect();
    found.extend(folders.into_iter().filter_map(|folder| shown(&folder.state)));
    found.sort_by_key(|version| version.number);
    Ok(found)
}

struct History<'a> {
    volume: &'a Volume,
    view: &'a View<'a>,
    contents: HashMap<Ino, Vec<ContentState>>,
    showings: Vec<Showing>,
    moves_left: usize,
}

impl History<'_> {
    /// Gathers what the name showed from `after` on and before `until`. `moved`: the inode that was then moved
    /// away from it.
    fn follow(
        &mut self,
        dir: Ino,
        name: &[u8],
        after: Moment,
        until: Moment,
        moved: Option<Ino>,
    ) -> Result<()> {
        let makes_versions =
            self.volume.rules_in(self.view, dir)?.makes_versions(name, FileKind::File);
        if makes_versions {
            // Asked for together: one question for each of thousands of saves would take as long as all else.
            for content in self.view.content_states_of_name(dir, name)? {
                let states = self.contents.entry(content.inode.attr.ino).or_default();
                if states.last().is_none_or(|last| last.since < content.since) {
                    states.push(content);
                }
            }
        }
        let mut free_since = after;
        for period in self.view.name_periods(dir, name)? {
            if period.since >= until {
                break;
            }
            if period.until.is_some_and(|ended| ended <= after) {
                continue;
            }
            if period.since > free_since {
                self.follow_move(&period, free_since)?;
            }
            let stayed = period.kind == FileKind::Directory
                && moved == Some(period.ino)
                && period.until == Some(until);
            if !makes_versions && period.kind != FileKind::Directory {
                self.pass(&period, until);
            } else if !stayed {
                self.take(dir, &period, after, until)?;
            }
            free_since = period.until.unwrap_or(until);
        }
        Ok(())
    }

    /// Where the inode came by a move to a name that was free: what it was before.
    fn follow_move(&mut self, period: &Period, after: Moment) -> Result<()> {
        if self.moves_left == 0 {
            return Ok(());
        }
        let former = self.view.former_name(period.ino, period.since)?;
        let Some(former) = former.filter(|former| former.until > after) else { return Ok(()) };
        self.moves_left -= 1;
        self.follow(former.parent, &former.name, after, former.until, Some(period.ino))
    }

    fn take(&mut self, dir: Ino, period: &Period, after: Moment, until: Moment) -> Result<()> {
        match period.kind {
            FileKind::File => self.take_contents(dir, period, after, until),
            FileKind::Symlink => self.take_symlink(dir, period, until),
            FileKind::Directory => {
                self.take_folder(dir, period);
                Ok(())
            }
            // Nothing was ever in them.
            _ => Ok(()),
        }
    }

    fn take_contents(
        &mut self,
        dir: Ino,
        period: &Period,
        after: Moment,
        until: Moment,
    ) -> Result<()> {
        let ends = period.until.map_or(until, |ended| ended.min(until));
        let states = match self.contents.remove(&period.ino) {
            Some(states) => states,
            None => self.view.content_states(period.ino)?,
        };
        let is_shown = |content: &&ContentState| {
            let over = content.until.is_some_and(|ended| ended <= period.since);
            !over && content.since < ends && content.since.max(period.since) >= after
        };
        let mut shown = states.iter().filter(is_shown).peekable();
        while let Some(content) = shown.next() {
            let next = shown.peek();
            let began = content.since.max(period.since);
            // What retention took out between two leaves a gap: nothing lasts longer than it did. But what was written
            // anew was empty before, and that is a part of it.
            let until = content.until.unwrap_or(ends);
            let ended = match next {
                Some(next) if next.recorded_since <= until => next.since,
                _ => until,
            };
            let ended = limit(ended.min(ends));
            // Saved while it was being written, and then saved again: what was before lasts until then.
            let saved = &content.inode.saved;
            // Made here, and given its rights before it had anything in it.
            let is_made = content.since == period.since && content.inode.attr.size == 0;
            if is_made && next.is_some() {
                continue;
            }
            if !saved.is_cut && next.is_some_and(|next| next.inode.saved.number == saved.number) {
                self.extend(began, ended);
                continue;
            }
            self.push(file_showing(dir, period, content, began, ended));
        }
        self.contents.insert(period.ino, states);
        Ok(())
    }

    /// A name that makes no versions on the way from one name of a file to another: what it had before goes on, but nothing
    /// is shown that came to it then.
    fn pass(&mut self, period: &Period, until: Moment) {
        let Some(last) = self.showings.last_mut() else { return };
        if last.ino != period.ino || last.state.ended != Some(period.since) {
            return;
        }
        let ends = period.until.map_or(until, |ended| ended.min(until));
        let content_until = last.content_until.filter(|_| period.kind == FileKind::File);
        let ends = content_until.map_or(ends, |ended| ended.min(ends));
        last.state.ended = limit(ends.max(period.since));
    }

    fn take_symlink(&mut self, dir: Ino, period: &Period, until: Moment) -> Result<()> {
        let target = self.view.symlink_target(period.ino)?.unwrap_or_default();
        let mut hasher = SipHasher24::new();
        hasher.write(&target);
        let author =
            self.view.inode_at(period.ino, period.since)?.map_or(0, |inode| inode.attr.uid);
        let state = State {
            number: 0,
            began: period.since,
            ended: period.until.filter(|ended| *ended < until).or_else(|| limit(until)),
            content: ContentDigest(hasher.finish()),
            size: target.len() as u64,
            author,
            cause: Cause::Save,
        };
        self.push(showing(dir, period, period.since, state));
        Ok(())
    }

    /// A folder is a version once it is gone: until then it is the living one.
    fn take_folder(&mut self, dir: Ino, period: &Period) {
        let Some(ended) = period.until else { return };
        let state = State {
            number: 0,
            began: period.since,
            ended: Some(ended),
            content: ContentDigest(period.ino.0),
            size: 0,
            author: 0,
            cause: Cause::Save,
        };
        self.push(showing(dir, period, period.since, state));
    }

    /// What ended at `began` goes on until `ended`.
    fn extend(&mut self, began: Moment, ended: Option<Moment>) {
        if let Some(last) = self.showings.last_mut()
            && last.state.ended == Some(began)
        {
            last.state.ended = ended;
        }
    }

    /// A content that only changed its name goes on.
    fn push(&mut self, next: Showing) {
        if let Some(last) = self.showings.last_mut()
            && (last.ino, last.content_since) == (next.ino, next.content_since)
            && last.state.ended == Some(next.state.began)
        {
            last.state.ended = next.state.ended;
            last.dir = next.dir;
            return;
        }
        self.showings.push(next);
    }

    /// Gives each its number: that of its content where the name has not had it, or the next one.
    /// The past doesn't change, so neither do they. A file that had nothing in it yet is no version once it has.
    fn number(mut self) -> Vec<Showing> {
        let content = |showing: &Showing| showing.kind != FileKind::File || showing.state.size > 0;
        if let Some(first) = self.showings.iter().position(content) {
            self.showings.drain(..first);
        }
        let mut last = 0;
        for showing in &mut self.showings {
            showing.state.number = showing.state.number.max(last + 1);
            last = showing.state.number;
        }
        self.showings
    }
}

fn limit(until: Moment) -> Option<Moment> {
    (until.0 < i64::MAX).then_some(until)
}

fn showing(dir: Ino, period: &Period, content_since: Moment, state: State) -> Showing {
    let content_until = state.ended;
    Showing { kind: period.kind, ino: period.ino, dir, content_since, content_until, state }
}

fn file_showing(
    dir: Ino,
    period: &Period,
    content: &ContentState,
    began: Moment,
    ended: Option<Moment>,
) -> Showing {
    let saved = &content.inode.saved;
    let size = content.inode.attr.size;
    let state = State {
        number: saved.number,
        began,
        ended,
        content: digest(saved.digest, size, content.since),
        size,
        author: saved.author,
        cause: match saved.cause {
            Cause::Save | Cause::Rewrite if content.since < period.since => Cause::Replace,
            told => told,
        },
    };
    Showing { content_until: content.until, ..showing(dir, period, content.since, state) }
}

/// Tells contents apart. Those of a store that was made before digests were kept have none: each is taken
/// for another one.
fn digest(digest: u64, size: u64, since: Moment) -> ContentDigest {
    let mut hasher = SipHasher24::new();
    hasher.write_u64(digest);
    hasher.write_u64(size);
    if digest == 0 && size > 0 {
        hasher.write_i64(since.0);
    }
    ContentDigest(hasher.finish())
}
