//! A client deletes a change, and makes it anew.

use std::process::Stdio;

use crate::common::{PROJECT, Ran};
use crate::lab::{Gated, Kind, kinds, until};

const META: &str = "refs/changes/12/4512/meta";
const FIRST: &str = "refs/changes/12/4512/1";
const SECOND: &str = "refs/changes/12/4512/2";

/// A change with two patch sets at both sites.
fn change(kind: Kind) -> Gated {
    let g = Gated::new(kind);
    let (meta, first, second) =
        (g.commit(&[], "notes"), g.commit(&[&g.c0], "first"), g.commit(&[&g.c0], "second"));
    let specs = [format!("{meta}:{META}"), format!("{first}:{FIRST}"), format!("{second}:{SECOND}")];
    let ran = g.push("a", &specs.each_ref().map(String::as_str));
    assert_eq!(ran.code, 0, "{}", ran.err);
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    g
}

fn left(g: &Gated, site: &str) -> Vec<String> {
    g.values(site).into_keys().filter(|name| name.starts_with("refs/changes/")).collect()
}

/// Gone here and there, without a trace of the write.
fn is_gone(g: &Gated) {
    assert_eq!((left(g, "a"), g.global(META)), (vec![], "deleted".into()));
    g.is_clean("a");
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    assert_eq!(left(g, "b"), [""; 0]);
    g.lab.run("b", &["push", PROJECT, "a"]).ok();
    assert_eq!(left(g, "a"), [""; 0]);
    g.lab.run("b", &["refdb", "check", PROJECT]).ok();
}

#[test]
fn a_whole_change_goes_in_one_push() {
    for kind in kinds() {
        let g = change(kind);
        let ran = g.push("a", &[&format!(":{META}"), &format!(":{FIRST}"), &format!(":{SECOND}")]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        is_gone(&g);
    }
}

#[test]
fn a_deleted_meta_takes_its_change_along_and_says_so() {
    for kind in kinds() {
        for more in [&[][..], &["--atomic"]] {
            let g = change(kind);
            let delete = format!(":{META}");
            let ran = g.push("a", &[more, &[delete.as_str()]].concat());
            assert_eq!(ran.code, 0, "{}", ran.err);
            ran.says(&[META, "the other refs of the change (2) went with it"]);
            is_gone(&g);
        }
    }
}

#[test]
fn patch_sets_do_not_go_alone_and_what_keeps_one_keeps_the_change() {
    for kind in kinds() {
        let g = change(kind);
        let ran = g.push("a", &[&format!(":{FIRST}")]);
        assert_eq!(ran.code, 1, "{}", ran.err);
        ran.says(&["patch sets are created, never changed"]);
        g.hook("a", "update", "case $1 in refs/changes/12/4512/2) exit 1;; esac");
        let ran = g.push("a", &[&format!(":{META}")]);
        assert_eq!(ran.code, 1, "{}", ran.err);
        ran.says(&[SECOND, "of the same change was refused"]);
        assert_eq!(left(&g, "a").len(), 3);
        assert_ne!(g.global(META), "deleted");
    }
}

#[test]
fn a_deleted_change_comes_back_only_with_a_new_meta() {
    for kind in kinds() {
        let g = change(kind);
        g.accepted("a", &format!(":{META}"));
        let (third, notes) = (g.commit(&[&g.c0], "third"), g.commit(&[], "new notes"));
        let set = format!("{third}:refs/changes/12/4512/3");
        // The other site still has the whole change, and it makes no difference.
        for site in ["a", "b"] {
            let ran = g.push(site, &[&set]);
            assert_eq!(ran.code, 1, "{}", ran.err);
            ran.says(&["its change is deleted", "a new `/meta`"]);
        }
        let ran = g.push("a", &[&set, &format!("{notes}:{META}")]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        g.is_at("a", META, &notes);
        assert_eq!(left(&g, "a").len(), 2);
        g.is_clean("a");
    }
}

#[test]
fn what_is_left_of_a_deleted_change_does_not_get_into_a_new_one() {
    for kind in kinds() {
        let g = change(kind);
        g.accepted("a", &format!(":{META}"));
        // Somebody puts a patch set past the hook.
        g.git("a", &["update-ref", FIRST, &g.c0]);
        let (set, notes) = (g.commit(&[&g.c0], "set"), g.commit(&[], "new notes"));
        let ran = g.push("a", &[&format!("{set}:{SECOND}"), &format!("{notes}:{META}")]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_eq!(left(&g, "a"), [SECOND, META]);
    }
}

#[test]
fn a_forged_mark_takes_nothing_of_a_change_whose_deletion_is_refused() {
    for kind in kinds() {
        let g = change(kind);
        let all = left(&g, "a");
        for specs in [vec![format!(":{META}")], vec![format!(":{META}"), format!(":{FIRST}")]] {
            let mut args: Vec<&str> = specs.iter().map(String::as_str).collect();
            args.push("--push-option=refgate.replication=x");
            assert_eq!(g.push("a", &args).code, 1);
            assert_eq!(left(&g, "a"), all, "{specs:?}");
        }
        assert_ne!(g.global(META), "deleted");
        g.is_clean("a");
    }
}

#[test]
fn a_change_of_which_a_part_cannot_be_stored_has_one_answer_and_stays_away_whole() {
    let g = change(Kind::Files);
    let (set, notes) = (g.commit(&[&g.c0], "third"), g.commit(&[&g.value("a", META)], "more notes"));
    let (third, held) = ("refs/changes/12/4512/3", g.lab.path("held"));
    let mut push = g.pushing("a", &[&format!("{set}:{third}"), &format!("{notes}:{META}")]);
    push.env("REFGATE_HOLD_AT", format!("put:{}", held.display())).stderr(Stdio::piped());
    let push = push.spawn().unwrap();
    until("the ref-db moves", || held.exists());
    let lock = g.lab.repo("a").join("refs/changes/12/4512/3.lock");
    std::fs::write(&lock, "").unwrap();
    std::fs::remove_file(&held).unwrap();
    let ran = Ran::from(push.wait_with_output().unwrap());
    assert_eq!(
        (ran.code, ran.err.matches("(recorded for all sites, but not stored here)").count()),
        (1, 2),
        "{}",
        ran.err
    );
    assert_eq!(left(&g, "a").len(), 3, "no part of it");
    assert_eq!(g.global(META), notes);
    // Somebody removes what was in the way, and any push finishes it.
    std::fs::remove_file(&lock).unwrap();
    g.accepted("a", &format!("{}:refs/heads/other", g.c0));
    g.is_at("a", META, &notes);
    assert_eq!(g.value("a", third), set);
    g.is_clean("a");
}
