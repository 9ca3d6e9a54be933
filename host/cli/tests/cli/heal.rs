//! `refdb heal` and `refdb forget` as commands; what `check` and `publish` say of writes that are on their way.

use std::collections::BTreeMap;

use refgate_core::{Project, RefName};
use refgate_git::{RefLocks, Repository};
use refgate_host::gated::{Journal, Record, RecordedRef};
use serde_json::json;

use crate::common::{Lab, PROJECT, git};

const MAIN: &str = "refs/heads/main";

fn heal(extra: &[&str]) -> Vec<String> {
    ["refdb", "heal", PROJECT].iter().chain(extra).map(|s| s.to_string()).collect()
}

#[test]
fn heal_shows_first_and_acts_with_a_yes() {
    let (lab, first) = Lab::seeded();
    lab.hooks();
    let looked = lab.run("a", &heal(&[]));
    assert_eq!(looked.ok(), "0 to do, 0 left\n");
    looked.says(&["agrees with the ref-db"]);

    let second = lab.commit("a", MAIN, &[&first]);
    let shown = lab.run("a", &heal(&[]));
    assert!(shown.exits(3).contains("publish  left: `--publish` moves the ref-db to it"), "{}", shown.out);
    let shown = lab.run("a", &heal(&["--publish"]));
    assert!(shown.exits(3).contains("would: move the ref-db to it"), "{}", shown.out);
    shown.says(&["hint: nothing was changed; run it again with --yes"]);
    let done = lab.run("a", &heal(&["--publish", "--yes", "--json"])).json(0);
    assert_eq!(
        done["refs"],
        json!([{"ref": MAIN, "local": second, "global": first, "row": "publish",
                "what": "ahead of the ref-db by a write that went past it",
                "do": "the ref-db was moved to the local value", "result": "done"}])
    );
    assert_eq!((&done["dry_run"], &done["fine"]), (&json!(false), &json!(true)));

    // Nothing of `b` has the value that `a` is to give up.
    let lost = "e".repeat(40);
    lab.run("a", &["refdb", "cas", PROJECT, MAIN, &second, &lost]).ok();
    lab.run("a", &heal(&["--accept-loss", "abc"])).fails(2, &["`abc` is no object id"]);
    lab.run("a", &heal(&["--accept-loss", &first])).fails(2, &["no ref of `team/app`", "heal team/app"]);
    let done = lab.run("a", &heal(&["--accept-loss", &lost, "--yes"]));
    assert!(done.ok().contains(&format!("done: {lost} was given up")), "{}", done.out);
    assert!(lab.run("a", &["refdb", "ls", PROJECT]).ok().contains(&second));
}

#[test]
fn a_site_that_is_down_is_named() {
    let (lab, first) = Lab::seeded();
    lab.run("a", &["refdb", "cas", PROJECT, MAIN, &first, &"e".repeat(40)]).ok();
    std::fs::rename(lab.repo("b"), lab.path("away")).unwrap();
    let shown = lab.run("a", &heal(&[]));
    assert!(
        shown.exits(3).contains("wait for `b`; if it is gone for good: `--accept-loss eee"),
        "{}",
        shown.out
    );
    shown.says(&["warning: `b` was not asked for missing objects"]);
}

#[test]
fn check_lists_unfinished_writes_and_publish_leaves_busy_refs_alone() {
    let (lab, first) = Lab::seeded();
    let second = lab.commit("a", MAIN, &[&first]);
    let repository = Repository::open(&lab.repo("a")).unwrap();
    let name = RefName::new(MAIN).unwrap();
    let (old, new) = (first.parse().ok(), second.parse().ok());
    let one = RecordedRef { name: name.clone(), old, new, tracked: true, group: None };
    let record = Record { id: "17".into(), project: Project::new(PROJECT).unwrap(), refs: vec![one] };
    Journal::of(&repository).begin(&record).unwrap();
    let check = lab.run("a", &["refdb", "check", PROJECT, "--json"]).json(3);
    assert_eq!(check["records"], json!([{"id": "17", "refs": [MAIN]}]));
    let check = lab.run("a", &["refdb", "check", PROJECT]);
    assert!(check.exits(3).starts_with("unfinished write 17 of refs/heads/main\n"), "{}", check.out);

    let (writer, _) = RefLocks::try_acquire(repository.common_dir(), &[name]).unwrap();
    let publish = lab.run("a", &["refdb", "publish", PROJECT]);
    assert!(publish.exits(3).contains("another process of this site is moving it"), "{}", publish.out);
    assert!(lab.run("a", &["refdb", "ls", PROJECT]).ok().contains(&first));
    drop(writer);
    assert_eq!(lab.run("a", &["refdb", "publish", PROJECT]).ok(), "1 published, 0 different\n");
}

#[test]
fn forget_shows_first_and_notes_with_a_yes() {
    let (lab, first) = Lab::seeded();
    lab.run("a", &["refdb", "cas", PROJECT, "refs/heads/x", "absent", &first]).ok();
    lab.run("a", &["refdb", "cas", PROJECT, "refs/heads/x", &first, "deleted"]).ok();
    let forget = |extra: &[&str]| {
        let args: Vec<&str> = ["refdb", "forget", PROJECT].iter().chain(extra).copied().collect();
        lab.run("a", &args)
    };
    let shown = forget(&[]);
    assert!(shown.ok().contains("refs/heads/x  deleted  deletion  noted: not before 2"), "{}", shown.out);
    shown.says(&["hint: nothing was noted or forgotten"]);
    assert!(forget(&["--yes"]).ok().ends_with("0 forgotten, 0 due, 1 noted or waiting, 0 kept\n"));
    let waiting = forget(&["--json"]).json(0);
    assert_eq!(
        (&waiting["refs"][0]["result"], &waiting["refs"][0]["superseded"]),
        (&json!("waiting"), &json!([first]))
    );
    lab.configure("a", "[ref-database]\n    forgetAfterHours = 0");
    forget(&[]).fails(2, &["refgate.config", "out of range"]);
}

#[test]
fn forget_needs_every_site() {
    let (lab, first) = Lab::seeded();
    lab.run("a", &["refdb", "cas", PROJECT, "refs/heads/x", "absent", &first]).ok();
    lab.run("a", &["refdb", "cas", PROJECT, "refs/heads/x", &first, "deleted"]).ok();
    std::fs::rename(lab.repo("b"), lab.path("away")).unwrap();
    lab.run("a", &["refdb", "forget", PROJECT, "--yes"]).fails(1, &["nothing was forgotten: `b`"]);
    std::fs::rename(lab.path("away"), lab.repo("b")).unwrap();
    // A third site used the ref-db, and `a` does not know it.
    lab.write("c/refgate.config", "[site]\n    name = c\n[ref-database]\n    url = sqlite:../refdb.sqlite\n");
    lab.run("c", &["refdb", "put", PROJECT, "refs/heads/y", "deleted"]).ok();
    lab.run("a", &["refdb", "forget", PROJECT, "--yes"]).fails(2, &["used by `c`", "--sites-are-complete"]);
    let shown = lab.run("a", &["refdb", "forget", PROJECT]);
    shown.ok();
    shown.says(&["warning: the ref-db was used by sites that this configuration does not name: c"]);
    lab.run("a", &["refdb", "forget", PROJECT, "--yes", "--sites-are-complete"]).ok();
}

/// Whatever `check` lists, `heal` says what to do about it, whatever kind of site this is.
#[test]
fn every_row_of_check_is_one_of_heal() {
    for kind in ["gated", "ungated", "none"] {
        let (lab, first) = Lab::seeded();
        lab.hooks();
        lab.configure("a", &format!("[site]\n    writes = {kind}"));
        let refdb = |args: &[&str]| lab.run("a", &[&["refdb"], args].concat());
        let put = |name: &str, value: &str| {
            refdb(&["put", PROJECT, name, value]).ok();
        };
        let name = |last: &str| format!("refs/heads/{last}");
        for one in ["ahead", "behind", "diverged", "elsewhere", "nowhere", "deleted", "broken"] {
            git(&lab.repo("a"), &["update-ref", &name(one), &first]);
            put(&name(one), &first);
        }
        let second = lab.commit("a", &name("ahead"), &[&first]);
        put(&name("behind"), &second);
        put(&name("absent"), &second);
        let other = lab.commit("a", &name("diverged"), &[]);
        put(&name("diverged"), &second);
        let far = lab.commit("b", &name("elsewhere"), &[&first]);
        put(&name("elsewhere"), &far);
        put(&name("nowhere"), &"e".repeat(40));
        put(&name("deleted"), "deleted");
        git(&lab.repo("a"), &["update-ref", &name("untracked"), &other]);
        git(&lab.repo("a"), &["update-ref", "refs/refgate/rescued/20200101T000000Z/heads/x", &other]);
        std::fs::write(lab.repo("a").join(name("broken")), "junk\n").unwrap();

        let check = refdb(&["check", PROJECT, "--json"]).json(3);
        let heal = refdb(&["heal", PROJECT, "--json"]).json(3);
        let column = |rows: &serde_json::Value, key: &str| -> BTreeMap<String, String> {
            let text = |value: &serde_json::Value| {
                value.as_str().unwrap().trim_start_matches("refs/heads/").to_owned()
            };
            rows.as_array().unwrap().iter().map(|row| (text(&row["ref"]), text(&row[key]))).collect()
        };
        let (listed, rows) = (column(&check["differences"], "what"), column(&heal["refs"], "row"));
        assert_eq!(
            listed.keys().collect::<Vec<_>>(),
            rows.keys().collect::<Vec<_>>(),
            "{kind}: {listed:?} {rows:?}"
        );
        let words = ["ahead", "behind", "diverged", "untracked"];
        assert_eq!(words.map(|word| listed[word].as_str()), words, "{kind}");
        assert_eq!(listed["absent"], "not here");
        assert!(listed["elsewhere"].starts_with("behind or diverged"), "{listed:?}");
        let behind = if kind == "gated" { "catch-up" } else { "behind" };
        let want = [
            ("behind", behind),
            ("elsewhere", "elsewhere"),
            ("nowhere", "nowhere"),
            ("untracked", "untracked"),
        ];
        want.iter().for_each(|(name, row)| assert_eq!(rows[*name], *row, "{kind}"));
        let advice = column(&heal["refs"], "do");
        assert!(advice.values().all(|text| !text.is_empty()), "{advice:?}");
    }
}
