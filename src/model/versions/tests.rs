use super::*;
use proptest::prelude::*;

/// The slot of the tests, in nanoseconds as the moments are.
const SLOT: Duration = Duration::from_nanos(10);

/// A save of `content` at `began` by user 1; content 0 is empty.
fn save(began: i64, content: u8) -> State {
    State {
        number: 0,
        began: Moment(began),
        ended: None,
        content: ContentDigest(u64::from(content)),
        size: u64::from(content),
        author: 1,
        cause: Cause::Save,
    }
}

fn deleted(at: i64, state: State) -> State {
    State { ended: Some(Moment(at)), ..state }
}

/// Numbers the states, and ends those that no deletion has ended when the next one begins.
fn history(states: &[State]) -> Vec<State> {
    let mut states = states.to_vec();
    for at in 0..states.len() {
        let next = states.get(at + 1).map(|next| next.began);
        let state = &mut states[at];
        state.number = at as u64 + 1;
        state.ended = state.ended.or(next);
    }
    states
}

/// Numbers and contents of the versions.
fn shown(states: &[State], pins: &[Moment]) -> Vec<(u64, u8)> {
    let short = |state: State| (state.number, state.content.0 as u8);
    versions(&history(states), pins, SLOT).into_iter().map(short).collect()
}

#[test]
fn saves_in_different_slots_are_versions_and_equal_ones_are_skipped() {
    assert_eq!(shown(&[], &[]), []);
    let states = [save(1, 1), save(11, 2), save(21, 2), save(31, 1)];
    assert_eq!(shown(&states, &[]), [(1, 1), (2, 2), (4, 1)]);
}

#[test]
fn saves_within_a_slot_coalesce_to_the_last() {
    let states = [save(1, 1), save(10, 2), save(14, 3), save(19, 4), save(20, 5)];
    assert_eq!(shown(&states, &[]), [(1, 1), (4, 4), (5, 5)]);
    let found = versions(&history(&states), &[], SLOT);
    assert_eq!(found[0].ended, Some(Moment(19)), "until the next version, not the next state");
    assert_eq!(found[2].ended, None);
}

#[test]
fn slots_are_fixed_by_the_clock_also_before_1970() {
    let states: Vec<State> = (-20..20).map(|at| save(at, (at + 100) as u8)).collect();
    let numbers: Vec<u64> = shown(&states, &[]).iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [10, 20, 30, 40]);
}

#[test]
fn a_slot_of_nothing_shows_every_change() {
    let states = history(&[save(1, 1), save(2, 2), save(3, 2), save(4, 1), save(5, 0), save(6, 1)]);
    let numbers =
        versions(&states, &[], Duration::ZERO).iter().map(|state| state.number).collect::<Vec<_>>();
    assert_eq!(numbers, [1, 2, 4, 5, 6]);
}

#[test]
fn coming_back_within_the_slot_changes_nothing() {
    assert_eq!(shown(&[save(1, 1), save(11, 2), save(12, 1), save(21, 3)], &[]), [(1, 1), (4, 3)]);
    // The version that was there before stays when something else follows in the slot.
    let states = [save(1, 1), save(3, 0), save(4, 1), save(5, 2)];
    assert_eq!(shown(&states, &[]), [(1, 1), (4, 2)]);
}

#[test]
fn users_are_kept_apart() {
    let other = |state| State { author: 2, ..state };
    assert_eq!(shown(&[save(1, 1), other(save(2, 2)), save(3, 3)], &[]), [(1, 1), (2, 2), (3, 3)]);
    // Also if the other one saved what was there.
    assert_eq!(shown(&[save(1, 1), other(save(2, 1)), save(3, 3)], &[]), [(1, 1), (3, 3)]);
    assert_eq!(shown(&[save(1, 1), other(save(2, 1)), other(save(3, 3))], &[]), [(1, 1), (3, 3)]);
}

#[test]
fn content_before_a_truncation_is_kept_and_the_truncation_if_it_lasts() {
    assert_eq!(shown(&[save(1, 1), save(2, 0), save(3, 2)], &[]), [(1, 1), (3, 2)]);
    assert_eq!(shown(&[save(1, 1), save(2, 0), save(11, 2)], &[]), [(1, 1), (2, 0), (3, 2)]);
    assert_eq!(shown(&[save(1, 1), save(2, 0)], &[]), [(1, 1), (2, 0)]);
    // Truncated and written anew with the same bytes: nothing changed.
    assert_eq!(shown(&[save(1, 1), save(2, 0), save(3, 1)], &[]), [(1, 1)]);
    // A new file is empty before it is written.
    assert_eq!(shown(&[save(1, 0), save(2, 1)], &[]), [(2, 1)]);
}

#[test]
fn restores_coalesce_with_nothing() {
    for cause in [Cause::Restore, Cause::Rewind] {
        let restored = State { cause, ..save(2, 2) };
        assert_eq!(shown(&[save(1, 1), restored, save(3, 3)], &[]), [(1, 1), (2, 2), (3, 3)]);
    }
    for cause in [Cause::Replace, Cause::Import] {
        let saved = State { cause, ..save(2, 2) };
        assert_eq!(shown(&[save(1, 1), saved, save(3, 3)], &[]), [(3, 3)]);
    }
}

#[test]
fn what_was_pinned_is_a_version() {
    let states = [save(1, 1), save(3, 2), save(5, 3), save(7, 4)];
    assert_eq!(shown(&states, &[Moment(4)]), [(2, 2), (4, 4)]);
    assert_eq!(shown(&states, &[Moment(6), Moment(3)]), [(2, 2), (3, 3), (4, 4)]);
    assert_eq!(shown(&states, &[Moment(0), Moment(7), Moment(99)]), [(4, 4)]);
}

#[test]
fn what_was_deleted_is_a_version_and_what_was_made_anew_too() {
    let states = [save(1, 1), deleted(3, save(2, 2)), save(4, 2), save(5, 3)];
    assert_eq!(shown(&states, &[]), [(2, 2), (4, 3)]);
    let found = versions(&history(&states), &[], SLOT);
    assert_eq!((found[0].ended, found[1].began), (Some(Moment(3)), Moment(5)));
    assert_eq!(shown(&[deleted(3, save(1, 1)), save(4, 1)], &[]), [(1, 1), (2, 1)]);
}

#[test]
fn what_retention_left_is_not_thrown_together() {
    let mut states = history(&[save(1, 1), save(11, 2), save(21, 1)]);
    states.remove(1);
    assert_eq!(versions(&states, &[], SLOT), states);
}

#[test]
fn a_life_is_as_long_as_its_version() {
    let state = deleted(9, save(1, 7));
    let life = Life { began: Moment(1), ended: Some(Moment(9)), bytes: 7 };
    assert_eq!(Life::from(&state), life);
}

#[test]
fn causes_are_written_out_and_kept_by_number() {
    use Cause::{Import, Replace, Restore, Rewind, Rewrite, Save};
    let causes = [Save, Replace, Restore, Rewind, Import, Rewrite];
    let written = causes.map(|cause| cause.to_string()).join(" ");
    assert_eq!(written, "save replace restore rewind import save");
    assert_eq!(causes.map(|cause| Cause::from_number(cause.number())), causes.map(Some));
    assert_eq!(Cause::from_number(6), None);
}

/// Histories with everything that matters, dense enough for several states in a slot.
fn histories() -> impl Strategy<Value = Vec<State>> {
    let cause = prop_oneof![
        12 => Just(Cause::Save), 1 => Just(Cause::Restore), 1 => Just(Cause::Rewind),
        1 => Just(Cause::Replace), 1 => Just(Cause::Import), 2 => Just(Cause::Rewrite),
    ];
    let author = prop_oneof![6 => Just(1u32), 1 => Just(2u32)];
    let deletion = prop::option::weighted(0.1, 1i64..4);
    let step = (1i64..7, 0u8..4, author, cause, deletion);
    (-30i64..30, prop::collection::vec(step, 0..40)).prop_map(|(mut at, steps)| {
        let mut states = Vec::new();
        for (gap, content, author, cause, deletion) in steps {
            at += gap;
            let state = State { author, cause, ..save(at, content) };
            states.push(deletion.map_or(state, |after| deleted(at + after, state)));
            at += deletion.unwrap_or(0);
        }
        history(&states)
    })
}

fn pins() -> impl Strategy<Value = Vec<Moment>> {
    prop::collection::vec((-30i64..200).prop_map(Moment), 0..4)
}

/// What the states show at `moment`.
fn at(states: &[State], moment: i64) -> Option<ContentDigest> {
    let current = |state: &&State| Life::from(*state).shows(Moment(moment));
    states.iter().find(current).map(|state| state.content)
}

/// Moments whose state must not be lost to coalescing: the last ones before something that separates.
fn separated(states: &[State]) -> Vec<i64> {
    let separates = |pair: &[State]| {
        let [before, next] = pair else { return false };
        let asked_for = |state: &State| matches!(state.cause, Cause::Restore | Cause::Rewind);
        before.author != next.author
            || asked_for(before)
            || asked_for(next)
            || (before.size > 0 && (next.size == 0 || next.cause == Cause::Rewrite))
            || before.ended != Some(next.began)
    };
    let parted = states.windows(2).filter(|pair| separates(pair));
    parted.filter_map(|pair| pair[0].ended).map(|ended| ended.0 - 1).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn at_the_end_of_every_slot_versions_are_exact(states in histories(), pins in pins()) {
        let versions = versions(&states, &pins, SLOT);
        for slot in -5..35 {
            let end = slot * 10 - 1;
            prop_assert_eq!(at(&versions, end), at(&states, end), "at {}", end);
        }
    }

    #[test]
    fn without_slots_versions_are_exact_always(states in histories(), pins in pins()) {
        let versions = versions(&states, &pins, Duration::ZERO);
        for moment in -50..350 {
            prop_assert_eq!(at(&versions, moment), at(&states, moment), "at {}", moment);
        }
        prop_assert!(versions.windows(2).all(|pair| pair[0].content != pair[1].content || pair[0].ended != Some(pair[1].began)));
    }

    #[test]
    fn nothing_is_lost_across_what_separates(states in histories(), pins in pins()) {
        let versions = versions(&states, &pins, SLOT);
        for moment in separated(&states).into_iter().chain(pins.iter().map(|pin| pin.0)) {
            prop_assert_eq!(at(&versions, moment), at(&states, moment), "at {}", moment);
        }
    }

    #[test]
    fn versions_are_states_in_order_and_as_few_as_may_be(states in histories(), pins in pins()) {
        let versions = versions(&states, &pins, SLOT);
        for version in &versions {
            let state = states[version.number as usize - 1];
            prop_assert_eq!(State { ended: state.ended, ..*version }, state);
        }
        for pair in versions.windows(2) {
            prop_assert!(pair[0].number < pair[1].number);
            prop_assert!(pair[0].ended.is_some_and(|ended| ended <= pair[1].began));
        }
        // By one user, with nothing that separates, there is one version in a slot.
        if pins.is_empty() && separated(&states).is_empty() {
            let slots: Vec<i64> = versions.iter().map(|version| version.began.0.div_euclid(10)).collect();
            prop_assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", slots);
        }
    }

    #[test]
    fn what_comes_later_changes_the_last_version_only(states in histories(), pins in pins(), cut in 0usize..40) {
        let cut = cut.min(states.len());
        let mut first = states[..cut].to_vec();
        if let Some(last) = first.last_mut() {
            last.ended = None;
        }
        let numbers = |states: &[State]| {
            versions(states, &pins, SLOT).iter().map(|state| state.number).collect::<Vec<_>>()
        };
        let (before, after) = (numbers(&first), numbers(&states));
        let settled = before.len().saturating_sub(1);
        prop_assert!(after.starts_with(&before[..settled]), "{:?} {:?}", before, after);
    }

    #[test]
    fn what_is_left_of_the_versions_is_the_same_versions(
        states in histories(), pins in pins(), dropped in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut left = versions(&states, &pins, SLOT);
        prop_assert_eq!(&versions(&left, &pins, SLOT), &left);
        let mut dropped = dropped.into_iter();
        left.retain(|_| dropped.next() == Some(false));
        prop_assert_eq!(&versions(&left, &pins, SLOT), &left);
    }
}

#[test]
fn what_was_emptied_and_written_anew_is_a_version_of_its_own() {
    let rewrite = |began, content| State { cause: Cause::Rewrite, ..save(began, content) };
    let states = [save(1, 7), save(2, 8), rewrite(3, 9), rewrite(4, 10), save(5, 11)];
    // What is added coalesces, what replaces doesn't.
    assert_eq!(shown(&states, &[]), [(2, 8), (3, 9), (5, 11)]);
}
