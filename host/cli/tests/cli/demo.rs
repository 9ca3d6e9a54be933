//! `demo`: both outcomes, in every form.

use crate::common::{Lab, Ran, git, mode};

#[test]
fn the_commit_is_lost_without_the_gate_and_safe_with_it() {
    let lab = Lab::new();
    let ran = lab.run("", &["demo"]);
    let (without, with) = ran.ok().split_once("With the gate\n").unwrap();
    assert!(without.contains("the accepted commit `fix` is lost"), "{without}");
    for line in [
        "refs/heads/main  held back: not-up-to-date (by push)",
        "refs/heads/topic  replicated",
        "`fix` is safe.",
        "Both sites are equal, and nothing was lost.",
    ] {
        assert!(with.contains(line), "`{line}` is not in {with}");
    }
    let got = lab.run("", &["demo", "--json"]).json(0);
    assert_eq!(
        (&got["commit_lost_without_gate"], &got["nothing_lost_with_gate"]),
        (&true.into(), &true.into())
    );
}

#[test]
fn the_sites_are_kept_for_a_look() {
    let lab = Lab::new();
    lab.run("", &["demo", "--keep", "kept"]).ok();
    let refs = |site: &str| git(&lab.path(&format!("kept/with/{site}/git/app.git")), &["for-each-ref"]);
    assert_eq!(refs("site-a"), refs("site-b"));
    assert!(refs("site-a").contains("refs/heads/topic"));
    lab.run("", &["demo", "--keep", "kept"]).fails(2, &["`kept`", "exists"]);
}

#[test]
fn a_part_that_does_not_come_out_so_is_exit_1() {
    let lab = Lab::new();
    // A git whose `push` pretends: then nothing is lost without the gate, and the demonstration shows nothing.
    let real = Ran::of(crate::common::clean("sh", lab.dir.path()).args(["-c", "command -v git"]));
    let script = format!(
        "#!/bin/sh\nfor a; do test \"$a\" = --mirror && exit 0; done\nexec {} \"$@\"\n",
        real.ok().trim()
    );
    lab.write("bin/git", script);
    mode(&lab.path("bin/git"), 0o755);
    let path = format!("{}:{}", lab.path("bin").display(), std::env::var("PATH").unwrap());
    let ran = Ran::of(lab.command("").env("PATH", path).args(["demo", "--json"]));
    assert_eq!(ran.json(1)["commit_lost_without_gate"], false);
}
