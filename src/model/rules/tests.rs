use super::super::Keep;
use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn rule(paths: &[&str]) -> PathRule {
    PathRule { paths: paths.iter().map(|path| path.to_string()).collect(), ..PathRule::default() }
}

fn rules(list: Vec<PathRule>) -> Rules {
    Rules::new(NEVER.map(String::from).to_vec(), list).unwrap()
}

fn with_floor(days: u32, paths: &[&str]) -> PathRule {
    PathRule { floor: Some(DAY * days), ..rule(paths) }
}

fn floor_of(rules: &Rules, path: &[u8]) -> u64 {
    let (dir, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    rules.of_name(&Policy::default(), Some(dir), name).policy.floor.as_secs() / DAY.as_secs()
}

fn floor_of_folder(rules: &Rules, path: &str) -> u64 {
    rules.of_folder(&Policy::default(), Some(path.as_bytes())).floor.as_secs() / DAY.as_secs()
}

#[test]
fn without_rules_what_holds_for_all_holds() {
    let (rules, base) = (Rules::default(), Policy::default());
    assert!(!rules.depend_on_paths());
    let care = rules.of_name(&base, Some(b"a/b"), b"c");
    assert_eq!(care, Care { policy: base.clone(), slot: None, makes_versions: true });
    assert_eq!(rules.of_folder(&base, Some(b"a")), base);
}

#[test]
fn a_pattern_stays_within_a_name_but_for_two_stars() {
    let rules = rules(vec![
        with_floor(7, &["projects/*/drafts/**"]),
        with_floor(90, &["**/*.psd"]),
        with_floor(1, &["*.log", "a\u{fc}/?.x"]),
    ]);
    let cases: [(&[u8], u64); 12] = [
        (b"projects/x/drafts/f", 7),
        (b"projects/x/drafts/sub/f", 7),
        (b"projects/x/y/drafts/f", 30),
        (b"projects/x/drafts", 30),
        (b"projects/x/drafts/f.psd", 90),
        (b"f.psd", 90),
        (b"f.PSD", 30),
        (b"f.log", 1),
        (b"a/f.log", 30),
        (b"a\xc3\xbc/q.x", 1),
        (b"projects/\xff\n/drafts/\xfe", 7),
        (b".hidden.psd", 90),
    ];
    for (path, days) in cases {
        assert_eq!(floor_of(&rules, path), days, "{}", String::from_utf8_lossy(path));
    }
}

#[test]
fn of_each_setting_the_last_rule_that_says_it_wins() {
    let step = Step { age_max: None, keep: Keep::All };
    let rules = rules(vec![
        PathRule { versions_max: Some(20), ..with_floor(7, &["d/**"]) },
        PathRule { slot: Some(DAY), thinning: Some(vec![step]), ..rule(&["d/**", "e"]) },
        PathRule { bytes_max: Some(5), ..with_floor(9, &["d/x"]) },
        PathRule { never: Some(vec!["x".into()]), ..rule(&["d/n/*"]) },
    ]);
    let base = Policy::default();
    let care = rules.of_name(&base, Some(b"d"), b"x");
    let limits = (care.policy.versions_max, care.policy.bytes_max);
    assert_eq!((care.policy.floor, limits), (DAY * 9, (Some(20), Some(5))));
    assert_eq!((care.policy.thinning, care.slot), (vec![step], Some(DAY)));
    let makes = |dir: &[u8], name: &[u8]| rules.of_name(&base, Some(dir), name).makes_versions;
    assert!(makes(b"d", b"x") && !makes(b"d/n", b"x") && !makes(b"d", b"x.tmp"));
    assert!(makes(b"d/n", b"x.tmp"), "its own list takes the place of the other one");
    assert_eq!(rules.of_name(&base, None, b"x").policy, base, "nobody knows where it was");
}

#[test]
fn names_that_make_no_versions_are_temporaries_and_locks() {
    let rules = Rules::default();
    let makes = |name: &[u8]| rules.of_name(&Policy::default(), None, name).makes_versions;
    let temporaries: [&[u8]; 9] = [
        b"a.tmp",
        b".tmp",
        b".~lock.plan.odt#",
        b"._hero.psd",
        b"4913",
        b".hero.txt.swp",
        b".hero.txt.swx",
        b"~$plan.docx",
        b".goutputstream-A1B2C3",
    ];
    for name in temporaries {
        assert!(!makes(name), "{}", String::from_utf8_lossy(name));
    }
    for name in ["a", "tmp", "49130", "hero.psd~", ".a.swf", "swap.swp", "a.tmp.psd", ".lock"] {
        assert!(makes(name.as_bytes()), "{name}");
    }
    let none = Rules::new(Vec::new(), Vec::new()).unwrap();
    assert!(none.of_name(&Policy::default(), None, b"a.tmp").makes_versions);
}

#[test]
fn a_folder_is_kept_as_long_as_anything_that_can_be_in_it() {
    let rules = rules(vec![
        with_floor(7, &["p/*/drafts/**"]),
        with_floor(90, &["p/*/final/**/*.psd"]),
        with_floor(3, &["q/**", "r/*"]),
    ]);
    let cases = [
        ("p", 90),
        ("p/x", 90),
        ("p/x/drafts", 30),
        ("p/x/drafts/a", 7),
        ("p/x/final", 90),
        ("p/x/final/deep/down", 90),
        ("p/x/other", 30),
        ("q", 30),
        ("q/a/b", 3),
        // What is in it is not within the rule.
        ("r/a", 30),
        ("", 90),
    ];
    for (path, days) in cases {
        assert_eq!(floor_of_folder(&rules, path), days, "{path}");
    }
}

#[test]
fn a_folder_has_the_limits_that_all_below_it_has() {
    let limited = |max, paths: &[&str]| PathRule { versions_max: Some(max), ..rule(paths) };
    let rules = rules(vec![limited(5, &["d/**"]), limited(9, &["d/e/**"]), limited(2, &["d/*/x"])]);
    let max = |path: &str| rules.of_folder(&Policy::default(), Some(path.as_bytes())).versions_max;
    assert_eq!([max("d"), max("d/a"), max("d/e"), max("d/e/f")], [None, Some(5), Some(9), Some(9)]);
}

#[test]
fn a_folder_keeps_what_any_step_keeps() {
    let step = |days: u32| Step { age_max: Some(DAY * days), keep: Keep::LastOf(DAY) };
    let thinned =
        |days, paths: &[&str]| PathRule { thinning: Some(vec![step(days)]), ..rule(paths) };
    let rules = rules(vec![thinned(40, &["d/**"]), thinned(50, &["d/e/f"])]);
    let base = Policy { thinning: vec![step(60)], ..Policy::default() };
    let steps = |path: &str| rules.of_folder(&base, Some(path.as_bytes())).thinning;
    assert_eq!(steps("d/e"), [step(40), step(50)]);
    assert_eq!(steps("d/x"), [step(40)]);
    assert_eq!(steps("d"), [step(60), step(50), step(40)]);
}

#[test]
fn a_slash_within_braces_leads_anywhere() {
    let rules = rules(vec![with_floor(90, &["{a/b,c}/d"])]);
    assert_eq!((floor_of(&rules, b"a/b/d"), floor_of(&rules, b"c/d")), (90, 90));
    assert_eq!((floor_of_folder(&rules, "a/b"), floor_of_folder(&rules, "z")), (90, 90));
}

#[test]
fn what_can_not_match_is_refused() {
    let wrong = |path: &str| Rules::new(Vec::new(), vec![rule(&[path])]).unwrap_err();
    for path in ["", "/a", "a/", "a/[b", "{a", "a\\"] {
        let error = wrong(path);
        assert!(error.is_path && error.rule == Some(0), "{path:?}: {error:?}");
        assert!(error.message.contains(path), "{error:?}");
    }
    for name in ["", "a/b", "[a"] {
        let error = Rules::new(vec![name.into()], Vec::new()).unwrap_err();
        assert_eq!((error.rule, error.is_path), (None, false));
        let never = PathRule { never: Some(vec![name.into()]), ..rule(&["**"]) };
        let error = Rules::new(Vec::new(), vec![never]).unwrap_err();
        assert_eq!((error.rule, error.is_path), (Some(0), false));
    }
}
