//! What retention keeps, what would come free, and what is to be gone for good; on a mounted drive and on a store.

use crate::support::Bench;
use std::fs;

fn json(bench: &Bench, words: &str) -> serde_json::Value {
    serde_json::from_str(&bench.verso(words).ok().out).unwrap()
}

/// A drive with a file that was saved twice by two slots, and a folder that was deleted.
fn used() -> Bench {
    let bench = Bench::new();
    fs::create_dir(&bench.store).unwrap();
    bench.with_variable("VERSO_HISTORY__SLOT", "0s", "mount STORE DRIVE").ok();
    fs::write(bench.drive.join("plan.txt"), vec![b'1'; 100_000]).unwrap();
    fs::write(bench.drive.join("plan.txt"), "the plan").unwrap();
    fs::create_dir(bench.drive.join("folder")).unwrap();
    fs::write(bench.drive.join("folder/secret"), "what nobody may know").unwrap();
    fs::remove_dir_all(bench.drive.join("folder")).unwrap();
    bench
}

#[test]
fn why_and_space_answer_mounted_and_not() {
    let bench = used();
    let check = |of: &str| {
        let why = json(&bench, &format!("why {of}plan.txt --json"));
        assert_eq!(why.as_array().unwrap().len(), 2, "{why}");
        assert_eq!(why[0]["rules"][0], "within the floor of 30 days");
        assert_eq!(why[1]["rules"][0], "live");
        let text = bench.verso(&format!("why {of}plan.txt")).ok().out;
        assert!(text.contains("kept until") && text.contains("is there now"), "{text}");
        let gone = bench.verso(&format!("why {of}folder/secret")).ok().out;
        assert!(gone.contains("within the floor of 30 days"), "{gone}");
        let space = json(&bench, &format!("space {of}folder --json"));
        assert_eq!(space["logical_bytes"], 0);
        assert!(space["history_bytes"].as_u64().unwrap() > 20, "{space}");
        assert_eq!(space["history_bytes"], space["freed_bytes"]);
        bench.verso(&format!("why {of}never")).fails(1, &["never", "no such file"]);
    };
    check("drive/");
    bench.unmount();
    check("--store STORE /");
}

#[test]
fn what_is_erased_is_gone_mounted_and_not() {
    let bench = used();
    bench.verso("erase drive/plan.txt").fails(2, &["nobody to ask", "--yes"]);
    assert!(bench.drive.join("plan.txt").exists());
    bench.verso("erase --history --yes drive/plan.txt").ok();
    assert_eq!(fs::read(bench.drive.join("plan.txt")).unwrap(), b"the plan");
    assert_eq!(json(&bench, "why drive/plan.txt --json").as_array().unwrap().len(), 1);
    assert_eq!(fs::read_dir(bench.drive.join(".versions/plan.txt")).unwrap().count(), 1);
    let said = bench.verso("erase --yes drive/plan.txt").ok().out;
    assert!(said.starts_with("erased 1 files"), "{said}");
    assert!(!bench.drive.join("plan.txt").exists());
    bench.verso("why drive/plan.txt").fails(1, &["plan.txt"]);
    bench.unmount();
    bench.verso("erase --yes --store STORE folder").ok();
    bench.verso("why --store STORE folder").fails(1, &["folder"]);
    bench.verso("erase --yes --store STORE /").fails(2, &["root"]);
    bench.verso("check STORE --read-data").ok();
}

#[test]
fn one_version_is_asked_about_by_its_number_or_its_name() {
    let bench = used();
    let named = |number: u64| {
        let listed = fs::read_dir(bench.drive.join(".versions/plan.txt")).unwrap();
        let names = listed.map(|name| name.unwrap().file_name().into_string().unwrap());
        names.into_iter().find(|name| name.contains(&format!("~v{number}."))).unwrap()
    };
    let first = named(1);
    let check = |of: &str| {
        let one = json(&bench, &format!("why {of}plan.txt@1 --json"));
        assert_eq!(
            (one.as_array().unwrap().len(), &one[0]["bytes"]),
            (1, &100_000.into()),
            "{one}"
        );
        for path in [format!("{of}.versions/plan.txt/{first}"), format!("{of}plan.txt@1")] {
            assert_eq!(json(&bench, &format!("why {path} --json")), one, "{path}");
        }
        let all = json(&bench, &format!("why {of}.versions/plan.txt --json"));
        assert_eq!(all, json(&bench, &format!("why {of}plan.txt --json")));
        let gone = json(&bench, &format!("why {of}folder/secret@1 --json"));
        assert_eq!(gone[0]["kept"], true, "{gone}");
        bench.verso(&format!("why {of}plan.txt@9")).fails(1, &["no version 9", "there are v1-v2"]);
        bench.verso(&format!("why {of}never@1")).fails(1, &["never@1", "no such file"]);
        bench.verso(&format!("why {of}.versions/@at/now")).fails(2, &["is no version"]);
        bench.verso(&format!("why {of}.versions/plan.txt/none")).fails(2, &["is no version"]);
    };
    check("drive/");
    bench.unmount();
    check("--store STORE /");
}

#[test]
fn a_name_that_looks_like_a_version_is_a_name() {
    let bench = used();
    fs::write(bench.drive.join("plan.txt@1"), "a name of its own").unwrap();
    fs::write(bench.drive.join("lone@7"), "seven").unwrap();
    let ran = bench.verso("why drive/plan.txt@1 --json");
    assert!(ran.err.contains("taken for the name, and not for version 1"), "{ran:?}");
    let of_name: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(of_name[0]["bytes"], 17);
    assert_eq!(json(&bench, "why drive/plan.txt@1@1 --json")[0]["bytes"], 17);
    assert_eq!(json(&bench, "why drive/lone@7 --json")[0]["bytes"], 5);
}

/// Its list goes on with what it was under its earlier name.
#[test]
fn a_version_from_before_a_move_is_told_about() {
    let bench = used();
    fs::rename(bench.drive.join("plan.txt"), bench.drive.join("moved.txt")).unwrap();
    let listed = fs::read_dir(bench.drive.join(".versions/moved.txt")).unwrap().count();
    let why = json(&bench, "why drive/moved.txt --json");
    let numbers: Vec<u64> =
        why.as_array().unwrap().iter().map(|reason| reason["number"].as_u64().unwrap()).collect();
    assert_eq!((listed, numbers), (2, vec![1, 2]), "{why}");
    assert_eq!(json(&bench, "why drive/moved.txt@1 --json")[0]["bytes"], 100_000);
}
