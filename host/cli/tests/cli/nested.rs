//! No project lies inside the repository of another one: what is made there is a ref, a hook or an object to git.

use crate::common::{Lab, PROJECT, git};

const INSIDE: [&str; 5] = [
    "team/app.git/refs/heads/x",
    "team/app.git/hooks",
    "team/app.GIT/objects/ab",
    "team/app.Git/x",
    ".git/x",
];

#[test]
fn a_name_inside_another_repository_is_no_project() {
    let (lab, _) = Lab::seeded();
    let before = git(&lab.repo("a"), &["fsck"]);
    for name in INSIDE {
        for args in [
            &["fetch", name, "b", "--create"][..],
            &["push", name, "b", "--create"],
            &["refdb", "seed", name],
        ] {
            lab.run("a", args).fails(2, &["is not a legal name", "inside another repository"]);
        }
    }
    lab.run("a", &["push", "team/app.GIT", "b"]).fails(2, &["without the final `.git`"]);
    assert_eq!(git(&lab.repo("a"), &["fsck"]), before);
    assert_eq!(git(&lab.repo("a"), &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
}

/// An older release recorded such projects.
#[test]
fn what_a_ref_db_holds_of_such_names_can_be_seen_copied_and_removed() {
    let (lab, first) = Lab::seeded();
    for name in INSIDE {
        lab.run("a", &["refdb", "cas", name, "refs/heads/main", "absent", &first]).ok();
        assert!(lab.run("a", &["refdb", "ls", name]).ok().contains("refs/heads/main"));
    }
    let (from, to) = (lab.path("refdb.sqlite"), lab.path("copy.sqlite"));
    let copy = ["refdb", "copy", &format!("sqlite:{}", from.display()), &format!("sqlite:{}", to.display())];
    assert!(lab.run("a", &copy).ok().contains(&format!("{}", INSIDE.len() + 1)));
    for name in INSIDE {
        lab.run("a", &["refdb", "rm", name, "--yes"]).ok();
        let got = lab.run("a", &["--json", "refdb", "get", name, "refs/heads/main"]).json(0);
        assert_eq!(got["refs"][0]["value"], "untracked", "{got}");
    }
}

#[test]
fn nothing_is_made_in_a_directory_that_is_a_repository_under_whatever_name() {
    let (lab, _) = Lab::seeded();
    // A repository without `.git` at the end is no project, and its directory has the name of one.
    git(lab.dir.path(), &["init", "-q", "--bare", "a/git/bare"]);
    std::os::unix::fs::symlink("team/app.git", lab.path("a/git/link")).unwrap();
    for (name, around) in [
        ("bare/refs/heads/x", "git/bare`"),
        ("bare/x", "git/bare`"),
        ("link/refs/x", "app.git`"),
        ("link/y", "app.git`"),
    ] {
        git(lab.dir.path(), &["init", "-q", "--bare", &format!("b/git/{name}.git")]);
        lab.run("a", &["fetch", name, "b", "--create"]).fails(1, &["inside the repository", around]);
        assert!(!lab.path(&format!("a/git/{name}.git")).exists());
    }
    assert_eq!(git(&lab.path("a/git/bare"), &["for-each-ref"]), "");
    // `--all` does not look into repositories, either.
    git(lab.dir.path(), &["init", "-q", "--bare", "a/git/team/app.git/modules/sub.git"]);
    let all = lab.run("a", &["push", "--all", "b", "--dry-run"]);
    assert!(!all.out.contains("modules") && !all.err.contains("modules"), "{}{}", all.out, all.err);
}

#[test]
fn at_a_remote_without_a_suffix_a_project_above_another_is_told_from_one_inside() {
    let (lab, _) = Lab::seeded();
    lab.configure("a", "[remote \"plain\"]\n    url = ../plain/${name}\n");
    let commit = |name: &str| {
        let repo = lab.path(&format!("a/git/{name}.git"));
        git(lab.dir.path(), &["init", "-q", "--bare", repo.to_str().unwrap()]);
        git(&repo, &["fetch", "-q", lab.repo("a").to_str().unwrap(), "refs/heads/main:refs/heads/main"]);
        lab.run("a", &["refdb", "seed", name]).ok();
    };
    // At a site, `team/app` and `team/app/x` lie side by side.
    for name in ["team/app/x", "other/x", "other"] {
        commit(name);
    }
    lab.run("a", &["push", PROJECT, "plain", "--create"]).ok();
    let ran = lab.run("a", &["push", "team/app/x", "plain", "--create"]);
    ran.fails(1, &["cannot create a repository", "inside the repository", "plain/team/app`"]);
    assert!(!lab.path("plain/team/app/x").exists());
    lab.run("a", &["push", "other/x", "plain", "--create"]).ok();
    lab.run("a", &["push", "other", "plain", "--create"]).fails(1, &["plain/other"]);
    assert_eq!(git(&lab.path("plain/other/x"), &["fsck"]), "");
}
