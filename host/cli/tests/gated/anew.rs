//! A project whose repository was deleted and made anew at one site, while the ref-db still records the old one.

use std::fs;

use serde_json::json;

use crate::common::{PROJECT, clean, git};
use crate::lab::{Gated, Kind, kinds};

/// `main` and `secret` were at both sites; A's repository is a new one, with the hook.
fn made_anew(kind: Kind) -> (Gated, String) {
    let g = Gated::new(kind);
    let secret = g.commit(&[&g.c0], "secret");
    g.accepted("a", &format!("{secret}:refs/heads/secret"));
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    fs::remove_dir_all(g.lab.repo("a")).unwrap();
    let mut init = clean("git", g.lab.dir.path());
    assert!(
        init.args(["init", "-q", "--bare", "-b", "main"])
            .args(kind.args())
            .arg(g.lab.repo("a"))
            .status()
            .unwrap()
            .success()
    );
    let ran = g.lab.run("a", &["hook", "install", PROJECT]);
    ran.ok();
    ran.says(&["records 2 refs of `team/app`, and none of them is here", "refdb start-over"]);
    (g, secret)
}

#[test]
fn whoever_meets_it_is_told_what_it_looks_like_and_how_to_start_over() {
    let (g, _) = made_anew(Kind::Files);
    let new = g.commit(&[], "new");
    let ran = g.push("a", &[&format!("{new}:refs/heads/main")]);
    assert_eq!(ran.code, 1);
    ran.says(&[
        "all sites together have another `team/app` than this site",
        "ask the operators of this site",
    ]);
    let told = g.status("a")["refused"].to_string();
    assert!(told.contains("none of them is here") && told.contains("refdb start-over"), "{told}");
    assert!(!ran.err.contains("Wait until"), "{}", ran.err);
    for args in [["refdb", "check", PROJECT], ["refdb", "heal", PROJECT], ["hook", "status", PROJECT]] {
        let ran = g.lab.run("a", &args);
        let out = ran.exits(3);
        ran.says(&["none of them is here", "refdb start-over"]);
        assert!(!out.contains("refgate fetch"), "{args:?}: {out}");
    }
    // At the other site all is as it was, and a site that is only behind is not taken for one.
    g.lab.run("b", &["refdb", "heal", PROJECT]).ok();
    let ran = g.push("b", &[&format!("{}:refs/heads/main", g.commit(&[&g.c0], "c1"))]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn starting_over_takes_the_old_project_away_at_every_site() {
    kinds().into_iter().for_each(start_over);
}

fn start_over(kind: Kind) {
    let (g, secret) = made_anew(kind);
    let told = g.lab.run("a", &["--json", "refdb", "start-over", PROJECT]).json(0);
    assert_eq!((&told["dry_run"], told["refs"].as_array().unwrap().len()), (&json!(true), 2));
    assert_eq!(g.global("refs/heads/secret"), secret, "a look changes nothing");
    let told = g.lab.run("a", &["--json", "refdb", "start-over", PROJECT, "--yes"]).json(0);
    let given_up = json!({"ref": "refs/heads/secret", "gives_up": secret, "becomes": "deleted"});
    assert_eq!(told["refs"][1], given_up);

    let new = g.commit(&[], "new");
    g.accepted("a", &format!("{new}:refs/heads/main"));
    let ran = g.lab.run("a", &["fetch", PROJECT, "b"]);
    assert_eq!(g.values("a"), [("refs/heads/main".to_owned(), new.clone())].into(), "{}", ran.err);
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    assert_eq!(g.values("b"), g.values("a"));
    for site in ["a", "b"] {
        g.lab.run(site, &["refdb", "check", PROJECT]).ok();
        g.lab.run(site, &["refdb", "heal", PROJECT]).ok();
    }
}

#[test]
fn what_another_site_wrote_past_the_ref_db_stays_and_is_reported() {
    let (g, secret) = made_anew(Kind::Files);
    let mine = g.commit(&[&secret], "mine");
    g.git("b", &["fetch", "-q", g.lab.path("client").to_str().unwrap(), &mine]);
    g.git("b", &["update-ref", "refs/heads/secret", &mine]);
    g.lab.run("a", &["refdb", "start-over", PROJECT, "--yes"]).ok();
    g.accepted("a", &format!("{}:refs/heads/main", g.commit(&[], "new")));
    let ran = g.lab.run("a", &["push", PROJECT, "b"]);
    assert!(ran.exits(3).contains("remote-diverged"), "{}", ran.out);
    assert_eq!(g.value("b", "refs/heads/secret"), mine);
    let healed = g.lab.run("b", &["--json", "refdb", "heal", PROJECT]).json(3);
    let row = healed["refs"].as_array().unwrap().iter().find(|one| one["row"] == "rescue");
    assert_eq!(row.unwrap()["ref"], "refs/heads/secret");
}

#[test]
fn a_repository_that_has_something_of_it_is_not_given_up_by_mistake() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    // B is behind in all that it has, and has nothing of what is recorded.
    for (site, what) in [("a", "1 of 1 recorded values are here"), ("b", "may only be behind")] {
        let ran = g.lab.run(site, &["refdb", "start-over", PROJECT, "--yes"]);
        ran.fails(2, &["does not look as if it was made anew", what, "--not-new"]);
        assert_eq!(g.global("refs/heads/main"), c1);
    }
    git(&g.lab.repo("a"), &["update-ref", "-d", "refs/heads/main"]);
    g.lab.run("a", &["refdb", "start-over", PROJECT, "--yes", "--not-new"]).ok();
    assert_eq!(g.global("refs/heads/main"), "deleted");
}

#[test]
fn what_the_new_repository_holds_takes_the_place_of_the_old() {
    let (g, secret) = made_anew(Kind::Files);
    let (new, dev) = (g.commit(&[], "new"), g.commit(&[], "dev"));
    for (name, oid) in [("main", &new), ("dev", &dev)] {
        g.git("a", &["fetch", "-q", g.lab.path("client").to_str().unwrap(), oid]);
        g.git("a", &["update-ref", &format!("refs/heads/{name}"), oid]);
    }
    g.lab.run("a", &["refdb", "start-over", PROJECT]).fails(2, &["1 of 2 recorded refs are here"]);
    g.lab.run("a", &["refdb", "start-over", PROJECT, "--yes", "--not-new"]).ok();
    g.lab.run("a", &["refdb", "check", PROJECT]).ok();
    g.lab.run("a", &["push", PROJECT, "b"]).ok();
    assert_eq!(g.values("b"), g.values("a"));
    assert!(!g.values("b").contains_key("refs/heads/secret") && secret != new);
}
