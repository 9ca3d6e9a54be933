//! Several projects at once: `--all`, limits, lines, documents, the worst exit code.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::common::{Lab, PROJECT, git};

/// A bare repository of `project` at `site`, with `main` at a commit; returns its oid.
fn make(lab: &Lab, site: &str, project: &str) -> String {
    let repo = lab.path(&format!("{site}/git/{project}.git"));
    git(lab.dir.path(), &["init", "-q", "--bare", repo.to_str().unwrap()]);
    let tree = git(&repo, &["mktree"]);
    let oid = git(&repo, &["commit-tree", &tree, "-m", project]);
    git(&repo, &["update-ref", "refs/heads/main", &oid]);
    oid
}

fn main_of(lab: &Lab, site: &str, project: &str) -> String {
    let repo = lab.path(&format!("{site}/git/{project}.git"));
    if !repo.exists() {
        return String::new();
    }
    git(&repo, &["for-each-ref", "--format=%(objectname)", "refs/heads/main"])
}

/// Without the time at the beginning of a line.
fn timeless(text: &str) -> Vec<&str> {
    text.lines()
        .map(|line| match line.get(..23) {
            Some(time) if time.ends_with(" UTC") => line[23..].trim_start(),
            _ => line,
        })
        .collect()
}

/// Projects that replicate, one that does not, and what is no project at all.
fn tree() -> (Lab, Vec<(&'static str, String)>) {
    let lab = Lab::new();
    // Without hooks nobody is gated.
    lab.configure("a", "[site]\n    writes = ungated\n[remote \"b\"]\n    writes = ungated");
    lab.configure("a", "[projects]\n    pattern = ^(?!secret).*");
    let projects = ["app", "team/one", "team/two", "wide/x"].map(|name| (name, make(&lab, "a", name)));
    make(&lab, "a", "secret/keys");
    fs::rename(lab.path("a/git/secret/keys.git"), lab.path("a/git/secret/plain")).unwrap();
    make(&lab, "a", "secret/keys");
    symlink("..", lab.path("a/git/team/up")).unwrap();
    (lab, projects.to_vec())
}

#[test]
fn all_projects_are_pushed_and_the_bad_ones_stop_nobody() {
    let (lab, projects) = tree();
    let seeded = lab.run("a", &["refdb", "seed", "--all"]);
    let out = seeded.ok();
    for (name, _) in &projects {
        assert!(out.contains(&format!("{name}: 1 seeded, 0 different\n")), "{out}");
    }
    assert!(out.ends_with("4 projects: 4 done; 1 not replicated; 1 no projects by their names\n"), "{out}");
    seeded.says(&["secret/plain` is no project: the name of its directory does not end with `.git`"]);
    // A repository that git cannot read, and a ref that the ref-db has at another value.
    fs::write(lab.path("a/git/team/two.git/config"), "[core\n").unwrap();
    let other = "5".repeat(40);
    lab.run("a", &["refdb", "put", "team/one", "refs/heads/main", &other]).ok();
    let ran = lab.run("a", &["push", "--all", "b", "--create"]);
    let lines = timeless(ran.exits(1));
    for line in [
        "push app to b: 1 replicated, 0 held back, 0 rejected",
        "push team/one to b: 0 replicated, 1 held back, 0 rejected",
        "push wide/x to b: 1 replicated, 0 held back, 0 rejected",
        "4 projects: 2 done, 1 to look at, 1 failed; 1 not replicated; 1 no projects by their names",
    ] {
        assert!(lines.contains(&line), "{line}: {}", ran.out);
    }
    assert!(lines.iter().any(|line| line.starts_with("team/two: failed: ")), "{}", ran.out);
    assert!(
        lines.iter().any(|l| l.starts_with("    refs/heads/main") && l.ends_with("not-up-to-date (by push)")),
        "{}",
        ran.out
    );
    ran.says(&["error: team/two: ", "hint: team/one: usually this site is behind"]);
    for (name, oid) in &projects {
        let there = if ["app", "wide/x"].contains(name) { oid.as_str() } else { "" };
        assert_eq!(main_of(&lab, "b", name), there, "{name}");
    }
    assert!(!lab.path("b/git/secret").exists());
}

#[test]
fn one_document_holds_what_each_project_alone_would_print() {
    let (lab, projects) = tree();
    lab.run("a", &["refdb", "seed", "--all", "--jobs", "1"]).ok();
    let mut all = lab.run("a", &["push", "--all", "b", "--create", "--json"]).json(0);
    assert_eq!(all["command"], "push");
    let names = |all: &Value| -> Vec<String> {
        let mut names: Vec<String> = all["projects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["project"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&all), projects.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>());
    assert_eq!(
        all["summary"].take(),
        json!({
            "projects": 4, "exit_code": 0, "exit_codes": {"0": 4, "1": 0, "2": 0, "3": 0}, "not_replicated": 1,
            "unnamed": [{"path": "secret/plain", "why": "the name of its directory does not end with `.git`"}],
            "unreadable": [], "again": ["team/up"],
        })
    );
    // The same shape as for one.
    let again = lab.run("a", &["push", "app", "b", "--json"]).json(0);
    let one = all["projects"].as_array().unwrap().iter().find(|one| one["project"] == "app").unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&again), keys(one));
}

#[test]
fn several_are_named_and_each_has_its_own_fate() {
    let (lab, projects) = tree();
    lab.run("a", &["refdb", "seed", "app", "team/one", "app"]).ok();
    let ran = lab.run("a", &["push", "app", "nowhere", "a/../b", "team/one", "app", "b", "--create"]);
    let lines = timeless(ran.exits(2));
    assert!(lines.contains(&"4 projects: 2 done, 2 refused"), "{}", ran.out);
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("push app to b")).count(),
        1,
        "named twice, meant once"
    );
    ran.says(&["error: nowhere: unknown project", "error: a/../b: ", "is not a legal name"]);
    let got = lab.run("a", &["push", "app", "nowhere", "b", "--json"]).json(2);
    let bad = got["projects"].as_array().unwrap().iter().find(|one| one["project"] == "nowhere").unwrap();
    assert!(bad["error"]["message"].as_str().unwrap().starts_with("unknown project"), "{got}");
    assert_eq!(main_of(&lab, "b", "team/one"), projects[1].1);
    // At b nothing says which projects there are but the directory.
    lab.run("b", &["fetch", "team/one", "app", "a"]).ok();
}

#[test]
fn command_lines_that_make_no_sense_are_refused_before_anything() {
    let (lab, _) = tree();
    lab.run("a", &["refdb", "seed", "app"]).ok();
    for (args, parts) in [
        (&["push", "b"] as &[&str], &["no project is given", "PROJECT... REMOTE", "--all"] as &[&str]),
        (&["push", "--all", "app", "b"], &["`--all` takes every project", "`app`"]),
        (&["push", "--all", "c"], &["unknown remote `c`"]),
        (&["refdb", "check"], &["no project is given"]),
        (&["refdb", "heal", "--all", "--accept-loss", &"1".repeat(40)], &["one value of one project"]),
        (&["hook", "install", "--all", "--replicate", "c"], &["unknown remote `c`"]),
    ] {
        lab.run("a", args).fails(2, parts);
    }
    assert_eq!(lab.run("a", &["push", "--all", "b", "--jobs", "0"]).exits(2), "");
}

#[test]
fn quiet_prints_nothing_but_what_was_held_back_or_failed() {
    let (lab, projects) = tree();
    lab.run("a", &["refdb", "seed", "--all", "--quiet"]);
    let ran = lab.run("a", &["push", "--all", "--quiet", "b", "--create"]);
    assert_eq!((ran.ok(), ran.err.as_str()), ("", ""));
    assert_eq!(main_of(&lab, "b", "app"), projects[0].1);
    let one = lab.run("a", &["push", "-q", "app", "b"]);
    assert_eq!((one.ok(), one.err.as_str()), ("", ""));
    lab.run("a", &["refdb", "put", "app", "refs/heads/main", &"5".repeat(40)]).ok();
    let topic = git(
        &lab.path("a/git/app.git"),
        &["commit-tree", "-m", "t", &git(&lab.path("a/git/app.git"), &["mktree"])],
    );
    git(&lab.path("a/git/app.git"), &["update-ref", "refs/heads/topic", &topic]);
    git(&lab.path("b/git/app.git"), &["update-ref", "-d", "refs/heads/main"]);
    let held = lab.run("a", &["push", "-q", "app", "b"]);
    let lines = timeless(held.exits(3));
    assert_eq!(lines[0], "push app to b");
    assert!(lines.contains(&"1 replicated, 1 held back, 0 rejected"), "{}", held.out);
    assert!(!held.out.contains("refs/heads/topic"), "what went is not said: {}", held.out);
}

#[test]
fn the_other_commands_take_all_projects_too() {
    let (lab, _) = tree();
    let check = lab.run("a", &["refdb", "seed", "--all"]);
    check.ok();
    lab.run("a", &["push", "--all", "b", "--create", "-q"]).ok();
    lab.configure("a", "[site]\n    writes = gated");
    let installed = lab.run("a", &["hook", "install", "--all", "--json"]).json(0);
    assert!(installed["projects"].as_array().unwrap().iter().all(|one| one["tested"] == true), "{installed}");
    let checked = lab.run("a", &["refdb", "check", "--all"]);
    assert!(checked.ok().contains("team/two: 1 equal, 0 different\n"), "{}", checked.out);
    git(&lab.path("a/git/team/one.git"), &["update-ref", "-d", "refs/heads/main"]);
    let differs = lab.run("a", &["refdb", "check", "--all", "--quiet"]);
    assert!(differs.exits(3).contains("team/one: 0 equal, 1 different\n    REF"), "{}", differs.out);
    assert!(!differs.out.contains("team/two"), "{}", differs.out);
    let healed = lab.run("a", &["refdb", "heal", "--all", "--yes"]);
    assert!(healed.ok().contains("team/one: 1 done, 0 left\n"), "{}", healed.out);
    let forgot = lab.run("a", &["refdb", "forget", "--all", "--sites-are-complete"]);
    assert!(forgot.ok().contains("4 projects: 4 done"), "{}", forgot.out);
    fs::remove_file(lab.path("a/git/app.git/hooks/proc-receive")).unwrap();
    let status = lab.run("a", &["hook", "status", "--all", "-q"]);
    assert!(status.exits(3).starts_with("app: to look at\n    WHAT"), "{}", status.out);
    assert!(
        status
            .out
            .ends_with("4 projects: 3 done, 1 to look at; 1 not replicated; 1 no projects by their names\n")
    );
    let out = lab.run("a", &["hook", "uninstall", "--all"]);
    assert!(out.ok().contains("4 projects: 4 done"), "{}", out.out);
    assert!(!lab.path("a/git/team/two.git/hooks/proc-receive").exists());
}

#[test]
fn a_base_path_that_is_not_there_is_a_failure() {
    let lab = Lab::new();
    lab.configure("a", "[site]\n    basePath = nowhere");
    lab.run("a", &["refdb", "put", PROJECT, "refs/heads/x", "deleted"]).ok();
    let ran = lab.run("a", &["push", "--all", "b"]);
    assert!(ran.exits(1).ends_with("0 projects: 0 done; 1 not readable\n"), "{}", ran.out);
    ran.says(&["nowhere` cannot be looked at"]);
}
