//! Which of the states that a name showed are versions: the saves that a person would recognise.
//!
//! The number of a version is the number of its state. Numbers are given once, when a state is recorded, from
//! a counter that goes up with each of them and is kept as long as the history is. So a number never
//! means another content: not when later saves coalesce with it, not when retention drops what was
//! before it, and not when the slot is set to something else. What coalesced leaves a gap:
//! after `v3` may come `v7`.

use super::{Life, Moment};
use std::fmt;
use std::time::Duration;

/// Tells the contents of one name apart: equal for contents that are stored alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentDigest(pub u64);

/// Why a name shows another content than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The file was written to.
    Save,
    /// It was emptied and written anew. To people that is a save like any other.
    Rewrite,
    /// Another file was moved to the name.
    Replace,
    /// It was brought back by itself.
    Restore,
    /// It was brought back with the tree around it.
    Rewind,
    /// It came with an import.
    Import,
}

impl Cause {
    /// The number by which the metadata keeps it.
    pub fn number(self) -> u8 {
        match self {
            Cause::Save => 0,
            Cause::Replace => 1,
            Cause::Restore => 2,
            Cause::Rewind => 3,
            Cause::Import => 4,
            Cause::Rewrite => 5,
        }
    }

    /// The cause that the metadata keeps by this number.
    pub fn from_number(number: u8) -> Option<Cause> {
        use Cause::{Import, Replace, Restore, Rewind, Rewrite, Save};
        let all = [Save, Replace, Restore, Rewind, Import, Rewrite];
        all.into_iter().find(|cause| cause.number() == number)
    }

    /// The cause that is written like this.
    pub fn from_name(name: &str) -> Option<Cause> {
        let all = (0..=u8::MAX).map_while(Cause::from_number);
        all.into_iter().find(|cause| cause.to_string() == name)
    }

    /// Whether somebody asked for exactly this state.
    fn is_asked_for(self) -> bool {
        matches!(self, Cause::Restore | Cause::Rewind)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Save | Cause::Rewrite => "save",
            Cause::Replace => "replace",
            Cause::Restore => "restore",
            Cause::Rewind => "rewind",
            Cause::Import => "import",
        })
    }
}

/// What a name showed from one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Its place in the history, from 1; given once and never again.
    pub number: u64,
    /// When it appeared.
    pub began: Moment,
    /// When the next one appeared or the name was deleted; `None` while it is live.
    pub ended: Option<Moment>,
    /// Its bytes.
    pub content: ContentDigest,
    /// How many they are.
    pub size: u64,
    /// The user id of who saved it.
    pub author: u32,
    /// Why it appeared.
    pub cause: Cause,
}

impl State {
    /// Whether nothing was between this state and `next`: no deletion, and nothing that is no longer recorded.
    fn is_followed_by(&self, next: &State) -> bool {
        self.ended == Some(next.began) && self.number.checked_add(1) == Some(next.number)
    }
}

impl From<&State> for Life {
    fn from(state: &State) -> Life {
        Life { began: state.began, ended: state.ended, bytes: state.size }
    }
}

/// The versions among the states of one name, which are sorted by beginning.
///
/// - A state with the content of the one before it is skipped: nothing changed.
/// - States that follow each other within one slot, by the same user, coalesce: the last one is the version. Slots
///   are fixed by the clock (`slot` long, counted from 1970), so that a save every second makes a version every
///   slot and does not put it off for ever. A slot of 0 makes every state a version. A state that comes to the
///   content before the slot by way of others (`a`, then `b` and `a`) leaves no version: nothing changed.
/// - Nothing coalesces across another user, a restore or rewind (before or after it), a moment in `pins`, or a
///   deletion; nor with what is left when something between was dropped.
/// - Nor does a content coalesce with a truncation to nothing that follows it, whether or not something new was written
///   before it was saved: the content is a version, in whatever slot. An empty state itself is one if it lasted beyond its slot; if new content followed within
///   it, it was only a way of writing.
///
/// A version ends when the next one begins, or when the name was deleted; so at the end of every
/// slot the versions show exactly what the name showed, and within one what it showed at the slot's
/// beginning or later. The versions of a history's beginning are not changed by what comes later but for
/// the last one, whose slot may not be over.
///
/// States that are no versions may be dropped from the record once their slot is over; dropped
/// versions (retention) don't change the others. What is left gives the same result again, provided that
/// the `ended` of the result is what is recorded.
pub fn versions(states: &[State], pins: &[Moment], slot: Duration) -> Vec<State> {
    debug_assert!(states.is_sorted_by_key(|state| state.began));
    let mut pins = pins.to_vec();
    pins.sort_unstable();
    let mut fold = Fold {
        pins: &pins,
        slot: i64::try_from(slot.as_nanos()).unwrap_or(i64::MAX),
        shown: Vec::new(),
        closed: true,
    };
    let mut before = None;
    for state in states {
        fold.take(before, state);
        before = Some(state);
    }
    fold.shown
}

/// The versions so far.
struct Fold<'a> {
    /// Sorted.
    pins: &'a [Moment],
    /// Nanoseconds.
    slot: i64,
    shown: Vec<State>,
    /// Whether the last of `shown` stays whatever follows.
    closed: bool,
}

impl Fold<'_> {
    /// Takes the next state; `before` is the one before it, which need not be a version.
    fn take(&mut self, before: Option<&State>, state: &State) {
        let before = before.filter(|before| before.is_followed_by(state));
        let (Some(before), Some(last)) = (before, self.shown.last_mut()) else {
            return self.push(state);
        };
        if last.content == state.content {
            last.ended = state.ended;
            self.closed |= self.separates(before, state);
        } else if self.closed || self.separates(before, state) {
            self.push(state);
        } else {
            self.coalesce(state);
        }
    }

    fn push(&mut self, state: &State) {
        self.shown.push(*state);
        self.closed = false;
    }

    /// Puts `state` in the place of the last version.
    fn coalesce(&mut self, state: &State) {
        let Some(replaced) = self.shown.pop() else { return };
        match self.shown.last_mut().filter(|prior| prior.ended == Some(replaced.began)) {
            Some(prior) if prior.content == state.content => {
                prior.ended = state.ended;
                // What parted it from the version that is gone now parts it from what comes.
                self.closed = true;
                return;
            }
            Some(prior) => prior.ended = Some(state.began),
            None => {}
        }
        self.shown.push(*state);
    }

    /// Whether two states that follow each other are never one version.
    fn separates(&self, before: &State, next: &State) -> bool {
        let slot = |state: &State| state.began.0.checked_div_euclid(self.slot);
        let other_slot = self.slot == 0 || slot(before) != slot(next);
        let truncated = before.size > 0 && (next.size == 0 || next.cause == Cause::Rewrite);
        let asked_for = before.cause.is_asked_for() || next.cause.is_asked_for();
        let pin = self.pins.partition_point(|pin| *pin < before.began);
        let pinned = self.pins.get(pin).is_some_and(|pin| *pin < next.began);
        other_slot || truncated || asked_for || pinned || before.author != next.author
    }
}

#[cfg(test)]
mod tests;
