use super::*;
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

/// So long after Monday, the 5th of January 1970.
fn at(after: Duration) -> Moment {
    Moment(MONDAY + nanos(after))
}

fn life(began: Duration, ended: Option<Duration>) -> Life {
    Life { began: at(began), ended: ended.map(at), bytes: 10 }
}

fn now(after: Duration) -> Timestamp {
    Timestamp(at(after).0)
}

/// A floor and nothing else.
fn floor(floor: Duration) -> Policy {
    Policy { floor, thinning: Vec::new(), versions_max: None, bytes_max: None }
}

/// One step, without a floor.
fn step(age_max: Option<Duration>, keep: Keep) -> Policy {
    Policy { thinning: vec![Step { age_max, keep }], ..floor(Duration::ZERO) }
}

/// Versions that follow each other at these times; the last one is live.
fn saves(times: &[Duration]) -> Vec<Life> {
    let end = |at: usize| times.get(at + 1).copied();
    times.iter().enumerate().map(|(at, began)| life(*began, end(at))).collect()
}

/// The rule named for each.
fn rules(history: &[Life], policy: &Policy, now: Timestamp) -> Vec<Rule> {
    plan(history, policy, &[], now).iter().map(Verdict::rule).collect()
}

#[test]
fn the_floor_counts_from_the_end_of_a_version() {
    let policy = floor(DAY * 30);
    // Saved a year ago, replaced 29 days ago: most of what the last 30 days looked like.
    let history = saves(&[DAY * 5, DAY * 340]);
    let verdicts = plan(&history, &policy, &[], now(DAY * 369));
    assert_eq!(verdicts[0].rule(), Rule::Floor(DAY * 30));
    assert_eq!(verdicts[0].until(), Some(Until::At(at(DAY * 370))));
    assert_eq!(verdicts[1].rule(), Rule::Live);
    assert_eq!(verdicts[1].until(), Some(Until::Live));
}

#[test]
fn the_floor_ends_to_the_nanosecond() {
    let history = [life(DAY, Some(DAY * 2))];
    let end = now(DAY * 32);
    let kept = |now| plan(&history, &floor(DAY * 30), &[], now)[0].is_kept();
    assert!(kept(Timestamp(end.0 - 1)));
    assert!(!kept(end));
    assert_eq!(rules(&history, &floor(DAY * 30), end), [Rule::BeyondEveryRule]);
    assert_eq!(plan(&history, &floor(DAY * 30), &[], end)[0].until(), None);
}

#[test]
fn a_period_keeps_its_last_version_until_its_age_is_over() {
    let policy = step(Some(DAY), Keep::LastOf(HOUR));
    let history = saves(&[MINUTE * 5, MINUTE * 10, MINUTE * 70, MINUTE * 75]);
    let expected = [Rule::BeyondEveryRule, Rule::LastOf(HOUR), Rule::BeyondEveryRule, Rule::Live];
    assert_eq!(rules(&history, &policy, now(HOUR * 3)), expected);
    let verdict = &plan(&history, &policy, &[], now(HOUR * 3))[1];
    // The first hour ends an hour after midnight.
    assert_eq!(verdict.until(), Some(Until::At(at(HOUR * 25))));
    assert!(!plan(&history, &policy, &[], now(HOUR * 25))[1].is_kept());
}

#[test]
fn a_version_that_lasted_is_kept_by_the_last_period_that_it_won() {
    let policy = step(Some(DAY), Keep::LastOf(HOUR));
    let history = saves(&[MINUTE * 5, MINUTE * 630]);
    let until = |history: &[Life]| plan(history, &policy, &[], now(HOUR * 11))[0].until();
    // Replaced at half past ten: what it last won is the hour before ten.
    assert_eq!(until(&history), Some(Until::At(at(HOUR * 34))));
    // Deleted at half past ten: nothing came after it, so the hour from ten on is its own too.
    assert_eq!(until(&[life(MINUTE * 5, Some(MINUTE * 630))]), Some(Until::At(at(HOUR * 35))));
    // Replaced at ten sharp.
    assert_eq!(until(&saves(&[MINUTE * 5, HOUR * 10])), Some(Until::At(at(HOUR * 34))));
}

#[test]
fn what_was_deleted_is_the_last_of_its_period_until_something_follows_in_it() {
    let policy = step(None, Keep::LastOf(DAY));
    let deleted = life(HOUR, Some(HOUR * 2));
    assert_eq!(rules(&[deleted], &policy, now(DAY * 99)), [Rule::LastOf(DAY)]);
    let anew = life(HOUR * 3, None);
    assert_eq!(rules(&[deleted, anew], &policy, now(DAY * 99))[0], Rule::BeyondEveryRule);
    let late = life(DAY + HOUR, None);
    assert_eq!(rules(&[deleted, late], &policy, now(DAY * 99))[0], Rule::LastOf(DAY));
}

#[test]
fn weeks_begin_on_monday_and_steps_add_up() {
    let policy = Policy { floor: Duration::ZERO, ..Policy::default() };
    let history = saves(&[DAY * 6, DAY * 6 + HOUR, DAY * 7, DAY * 8]);
    let weekly = Rule::LastOf(WEEK);
    let gone = Rule::BeyondEveryRule;
    assert_eq!(rules(&history, &policy, now(DAY * 400)), [gone, weekly, gone, Rule::Live]);
    let verdict = &plan(&history, &policy, &[], now(DAY * 8))[1];
    let held: Vec<Rule> = match verdict {
        Verdict::Kept(holds) => holds.iter().map(|hold| hold.rule).collect(),
        Verdict::Dropped(rule) => panic!("{rule}"),
    };
    assert_eq!(held, [Rule::LastOf(HOUR), Rule::LastOf(DAY), weekly]);
    assert_eq!(verdict.until(), Some(Until::Forever));
}

#[test]
fn a_step_may_keep_all_for_a_time_or_for_ever() {
    let history = saves(&[MINUTE, MINUTE * 2, MINUTE * 3]);
    for keep in [Keep::All, Keep::LastOf(Duration::ZERO)] {
        let all = Rule::All(Some(DAY));
        let policy = step(Some(DAY), keep);
        assert_eq!(rules(&history, &policy, now(HOUR)), [all, all, Rule::Live]);
        let gone = Rule::BeyondEveryRule;
        assert_eq!(rules(&history, &policy, now(DAY * 2)), [gone, gone, Rule::Live]);
    }
    let verdicts = plan(&history, &step(None, Keep::All), &[], now(DAY * 9999));
    assert_eq!(verdicts[0].rule(), Rule::All(None));
    assert_eq!(verdicts[0].until(), Some(Until::Forever));
}

#[test]
fn a_pin_keeps_what_was_current_then_for_ever() {
    let history = saves(&[HOUR, HOUR * 2, HOUR * 3]);
    let years = now(DAY * 9999);
    let kept = |pin| {
        let verdicts = plan(&history, &floor(Duration::ZERO), &[at(DAY * 50), pin], years);
        [0, 1].map(|at| (verdicts[at].rule() == Rule::Pinned).then(|| verdicts[at].until()))
    };
    let forever = Some(Some(Until::Forever));
    assert_eq!(kept(at(MINUTE * 59)), [None, None]);
    assert_eq!(kept(at(HOUR)), [forever, None]);
    assert_eq!(kept(at(MINUTE * 119)), [forever, None]);
    assert_eq!(kept(at(HOUR * 2)), [None, forever]);
}

#[test]
fn limits_take_the_oldest_and_never_the_floor_or_a_pin() {
    let history = saves(&[HOUR, HOUR * 2, HOUR * 3, HOUR * 4, HOUR * 5, HOUR * 6]);
    let policy =
        |versions_max, bytes_max| Policy { versions_max, bytes_max, ..step(None, Keep::All) };
    let kept = |policy: &Policy, pins: &[Moment]| {
        let verdicts = plan(&history, policy, pins, now(HOUR * 7));
        verdicts.iter().map(Verdict::is_kept).collect::<Vec<_>>()
    };
    assert_eq!(kept(&policy(Some(3), None), &[]), [false, false, false, true, true, true]);
    assert_eq!(kept(&policy(None, Some(25)), &[]), [false, false, false, false, true, true]);
    assert_eq!(kept(&policy(Some(9), Some(9999)), &[]), [true; 6]);
    assert_eq!(kept(&policy(Some(3), None), &[at(HOUR)]), [true, false, false, false, true, true]);
    // The floor reaches back to four o'clock: what ended at or before it may go.
    let floor = Policy { floor: HOUR * 3, ..policy(Some(0), Some(0)) };
    assert_eq!(kept(&floor, &[]), [false, false, false, true, true, true]);
    let verdicts = plan(&history, &floor, &[], now(HOUR * 7));
    assert_eq!(verdicts[0].rule(), Rule::OverVersions(0));
    assert_eq!(
        plan(&history, &policy(None, Some(25)), &[], now(HOUR * 7))[0].rule(),
        Rule::OverBytes(25)
    );
    // Kept for ever by a step, but the next save may push it out once the floor is over.
    assert_eq!(verdicts[3].until(), Some(Until::At(at(HOUR * 8))));
    let limited = plan(&history, &policy(Some(9), None), &[], now(HOUR * 7));
    assert_eq!(limited[0].until(), Some(Until::At(at(HOUR * 7))));
}

#[test]
fn rules_read_as_reasons() {
    for (rule, reason) in [
        (Rule::Live, "live"),
        (Rule::Pinned, "pinned"),
        (Rule::Floor(DAY * 30), "within the floor of 30 days"),
        (Rule::Floor(DAY), "within the floor of 1 day"),
        (Rule::Floor(HOUR * 36), "within the floor of 36 hours"),
        (Rule::All(Some(DAY)), "within 1 day, when all is kept"),
        (Rule::All(None), "all is kept for ever"),
        (Rule::LastOf(HOUR), "newest of its hour"),
        (Rule::LastOf(WEEK), "newest of its week"),
        (Rule::LastOf(MINUTE * 15), "newest of its 15 minutes"),
        (Rule::BeyondEveryRule, "beyond every rule"),
        (Rule::OverVersions(20), "over the limit of 20 versions"),
        (Rule::OverVersions(1), "over the limit of 1 version"),
        (Rule::OverBytes(1000), "over the limit of 1000 bytes"),
    ] {
        assert_eq!(rule.to_string(), reason);
    }
}

#[test]
fn a_tree_is_whole_within_the_floor_and_at_the_ends_of_periods() {
    let policy = Policy::default();
    let now = now(DAY * 400);
    let whole = |moment| policy.whole_at(moment, now);
    assert_eq!(whole(at(DAY * 371)), Some(at(DAY * 371)));
    // A Wednesday beyond the floor stands for the end of its Sunday.
    assert_eq!(whole(at(DAY * 9)), Some(Moment(at(DAY * 14).0 - 1)));
    assert_eq!(floor(DAY).whole_at(at(DAY * 398), now), None);
    assert_eq!(step(None, Keep::All).whole_at(at(DAY), now), Some(at(DAY)));
}

#[test]
fn nothing_overflows_at_the_ends_of_time() {
    let history = [
        Life { began: Moment(i64::MIN), ended: Some(Moment(i64::MIN + 1)), bytes: u64::MAX },
        Life { began: Moment(i64::MIN + 1), ended: Some(Moment(i64::MAX)), bytes: u64::MAX },
        Life { began: Moment(i64::MAX), ended: None, bytes: u64::MAX },
    ];
    let policy = Policy {
        floor: Duration::MAX,
        thinning: vec![Step { age_max: Some(Duration::MAX), keep: Keep::LastOf(Duration::MAX) }],
        versions_max: Some(0),
        bytes_max: Some(0),
    };
    for now in [i64::MIN, 0, i64::MAX] {
        assert_eq!(plan(&history, &policy, &[], Timestamp(now)).len(), 3);
        assert_eq!(plan(&history, &Policy::default(), &[], Timestamp(now)).len(), 3);
        let _ = policy.whole_at(Moment(i64::MIN), Timestamp(now));
        let _ = policy.whole_at(Moment(i64::MAX), Timestamp(now));
    }
}

/// Histories of up to some days: saves at all distances, some of them deletions.
fn histories() -> impl Strategy<Value = Vec<Life>> {
    // Minutes that a version lasts, and minutes during which the name is gone after it.
    let length = || prop_oneof![1u32..20, 1u32..600, Just(60u32), Just(1440)];
    let gap = prop_oneof![4 => Just(0u32), 1 => length()];
    let save = (length(), gap, 0u64..100);
    (0u32..3000, prop::collection::vec(save, 1..40), any::<bool>()).prop_map(
        |(start, saves, live)| {
            let mut at = start;
            let mut lives = Vec::new();
            for (length, gap, bytes) in saves {
                lives.push(Life { bytes, ..life(MINUTE * at, Some(MINUTE * (at + length))) });
                at += length + gap;
            }
            if live && let Some(last) = lives.last_mut() {
                last.ended = None;
            }
            lives
        },
    )
}

fn policies() -> impl Strategy<Value = Policy> {
    let minutes = |max: u32| (0..max).prop_map(|minutes| MINUTE * minutes);
    let period =
        prop_oneof![Just(MINUTE * 10), Just(HOUR), Just(HOUR * 4), Just(DAY), minutes(3000)];
    let keep = prop_oneof![1 => Just(Keep::All), 6 => period.prop_map(Keep::LastOf)];
    let step = (prop::option::weighted(0.8, minutes(6000)), keep)
        .prop_map(|(age_max, keep)| Step { age_max, keep });
    (minutes(3000), prop::collection::vec(step, 0..4)).prop_map(|(floor, thinning)| Policy {
        floor,
        thinning,
        versions_max: None,
        bytes_max: None,
    })
}

/// What was known of a history at `now`.
fn known(history: &[Life], now: Moment) -> Vec<Life> {
    let seen = |life: &Life| Life { ended: life.ended.filter(|ended| *ended <= now), ..*life };
    history.iter().filter(|life| life.began <= now).map(seen).collect()
}

/// What is left of a history when plans were carried out at each of `times`.
fn applied(history: &[Life], policy: &Policy, pins: &[Moment], times: &[Moment]) -> Vec<Moment> {
    let mut gone = Vec::new();
    let mut left = Vec::new();
    for now in times {
        left = known(history, *now);
        left.retain(|life| !gone.contains(&life.began));
        let verdicts = plan(&left, policy, pins, Timestamp(now.0));
        let dropped = left.iter().zip(&verdicts).filter(|(_, verdict)| !verdict.is_kept());
        gone.extend(dropped.map(|(life, _)| life.began));
        left.retain(|life| !gone.contains(&life.began));
    }
    left.iter().map(|life| life.began).collect()
}

fn moments(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Moment>> {
    prop::collection::vec((0u32..20_000).prop_map(|minute| at(MINUTE * minute)), count)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn how_often_plans_are_carried_out_does_not_matter(
        history in histories(), policy in policies(), pins in moments(0..3), mut times in moments(1..6),
    ) {
        times.sort_unstable();
        let last = times[times.len() - 1];
        prop_assert_eq!(
            applied(&history, &policy, &pins, &times),
            applied(&history, &policy, &pins, &[last])
        );
    }

    #[test]
    fn with_limits_frequent_plans_leave_no_more_than_one_late_plan(
        history in histories(), policy in policies(), pins in moments(0..2), mut times in moments(1..6),
        versions_max in prop::option::of(0u64..20), bytes_max in prop::option::of(0u64..1000),
    ) {
        times.sort_unstable();
        let policy = Policy { versions_max, bytes_max, ..policy };
        let once = applied(&history, &policy, &pins, &times[times.len() - 1..]);
        for began in applied(&history, &policy, &pins, &times) {
            prop_assert!(once.contains(&began), "{:?} is left by frequent plans only", began);
        }
    }

    #[test]
    fn every_moment_within_the_floor_and_every_pin_stays_as_it_was(
        history in histories(), policy in policies(), pins in moments(0..3), mut times in moments(1..6),
        versions_max in prop::option::of(0u64..5), bytes_max in prop::option::of(0u64..100),
        asked in moments(40..41),
    ) {
        times.sort_unstable();
        let last = times[times.len() - 1];
        let policy = Policy { versions_max, bytes_max, ..policy };
        let left = applied(&history, &policy, &pins, &times);
        let promised = asked.iter().filter(|asked| last < later(**asked, policy.floor));
        for moment in promised.chain(&pins) {
            if let Some(life) = known(&history, last).iter().find(|life| life.shows(*moment)) {
                prop_assert!(left.contains(&life.began), "{:?} at {:?}", life, moment);
            }
        }
    }

    #[test]
    fn what_is_called_whole_is_whole(
        history in histories(), policy in policies(), mut times in moments(1..6), asked in moments(40..41),
    ) {
        times.sort_unstable();
        let last = times[times.len() - 1];
        let left = applied(&history, &policy, &[], &times);
        for asked in asked.into_iter().filter(|asked| *asked <= last) {
            let Some(whole) = policy.whole_at(asked, Timestamp(last.0)) else { continue };
            prop_assert!((asked..=last).contains(&whole));
            if let Some(life) = known(&history, last).iter().find(|life| life.shows(whole)) {
                prop_assert!(left.contains(&life.began), "{:?} at {:?}", life, whole);
            }
        }
    }

    #[test]
    fn a_kept_version_stays_until_the_instant_given_and_not_longer(
        history in histories(), policy in policies(), minute in 0u32..20_000,
    ) {
        let now = at(MINUTE * minute);
        let history = known(&history, now);
        for (at, verdict) in plan(&history, &policy, &[], Timestamp(now.0)).iter().enumerate() {
            if let Some(Until::At(until)) = verdict.until() {
                prop_assert!(until > now);
                let kept = |now: i64| plan(&history, &policy, &[], Timestamp(now))[at].is_kept();
                prop_assert!(kept(until.0 - 1) && !kept(until.0));
            }
        }
    }
}

#[test]
fn what_is_whole_is_within_the_floor_or_at_the_end_of_a_period() {
    let daily = Policy { floor: DAY * 7, ..step(Some(DAY * 30), Keep::LastOf(DAY)) };
    let whole = |policy: &Policy, moment| policy.is_whole_at(moment, now(DAY * 100));
    let end = |day: u32| Moment(at(DAY * day).0 - 1);
    assert!(whole(&daily, at(DAY * 94)) && whole(&daily, at(DAY * 200)));
    assert!(!whole(&daily, at(DAY * 93)), "to the nanosecond");
    assert!(whole(&daily, end(90)) && !whole(&daily, at(DAY * 90)));
    assert!(!whole(&daily, end(60)), "too long ago");
    // A limit may have taken any of that.
    let limited = Policy { versions_max: Some(3), ..daily.clone() };
    assert!(whole(&limited, at(DAY * 94)) && !whole(&limited, end(90)));
    assert_eq!(daily.horizon(now(DAY * 100)), at(DAY * 93));
    assert_eq!(floor(Duration::MAX).horizon(now(DAY)), Moment(now(DAY).0 - i64::MAX));
}

#[test]
fn without_versions_only_what_lives_stays() {
    let history = saves(&[DAY, DAY * 2, DAY * 3]);
    let rules: Vec<Rule> = plan_without_versions(&history).iter().map(Verdict::rule).collect();
    assert_eq!(rules, [Rule::NoVersions, Rule::NoVersions, Rule::Live]);
    assert_eq!(rules[0].to_string(), "its name makes no versions");
}
