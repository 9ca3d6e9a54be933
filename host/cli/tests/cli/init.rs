//! `init`: what it writes, and that it leaves nothing behind when it fails.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::common::{Lab, REFGATE, Ran, clean, git};

#[test]
fn a_site_is_ready_to_use() {
    let lab = Lab::new();
    let ran = lab.run("", &["init", "c", "--name", "site-c"]);
    let want = "wrote c/refgate.config\ncreated the ref-db\n\
                next: put bare repositories below git/, then `refgate refdb seed PROJECT` and `refgate push PROJECT REMOTE`\n";
    assert_eq!(ran.ok(), want);
    ran.says(&["All sites must name the same one"]);
    assert!(
        lab.path("c/refdb.sqlite").is_file() && lab.path("c/plugins").is_dir() && lab.path("c/git").is_dir()
    );
    let check = lab.run("c", &["config", "check"]);
    assert!(check.ok().contains("site-c") && check.out.ends_with("is valid\n"), "{}", check.out);
}

#[test]
fn every_option_ends_up_in_the_file() {
    let lab = Lab::new();
    let refdb = format!("sqlite:{}", lab.path("shared.sqlite").display());
    let remote = "we\"ird=../x y/${name}.git#;";
    let args = [
        "--json",
        "init",
        "c",
        "--name",
        "s c",
        "--refdb",
        &refdb,
        "--remote",
        remote,
        "--remote",
        "b=h:x/${name}.git",
    ];
    let ran = lab.run("", &args);
    assert_eq!(ran.json(0), json!({"command": "init", "config": "c/refgate.config", "refdb_created": true}));
    assert_eq!(ran.err, "", "the ref-db is not this site's own");
    assert!(lab.path("shared.sqlite").is_file());
    let got = lab.run("c", &["--json", "config", "check"]).json(0);
    let value = |key: &str| {
        got["values"].as_array().unwrap().iter().find(|v| v["key"] == key).unwrap()["value"].clone()
    };
    assert_eq!(value("site.name"), "s c");
    assert_eq!(value("ref-database.url"), refdb);
    assert_eq!(value("remote.we\"ird.url"), "../x y/${name}.git#;");
    assert_eq!(value("remote.b.url"), "h:x/${name}.git");
    // A second site finds the ref-db there.
    let second = lab.run("", &["--json", "init", "d", "--name", "d", "--refdb", &refdb]);
    assert_eq!(second.json(0)["refdb_created"], false);
}

/// A bare repository below the directory of the lab.
fn repository(lab: &Lab, name: &str) {
    git(lab.dir.path(), &["init", "-q", "--bare", lab.path(name).to_str().unwrap()]);
}

#[test]
fn repositories_that_are_there_stay_and_are_found() {
    let lab = Lab::new();
    for name in ["srv/app.git", "srv/team/x.git", "srv/odd", "srv/a/-b.git"] {
        repository(&lab, name);
    }
    let ran = lab
        .run("", &["init", "c", "--name", "c", "--base-path", "srv", "--remote", "b=../b/git/${name}.git"]);
    let out = ran.ok();
    assert!(out.contains("2 repositories below ") && out.contains("such as app, team/x\n"), "{out}");
    for step in ["refgate refdb seed --all", "refgate push --all b --dry-run", "refgate hook install --all"] {
        assert!(out.contains(step), "{step}: {out}");
    }
    ran.says(&["`odd` is no project", "`a/-b.git` is no project: a component begins with `-`"]);
    assert!(!lab.path("c/git").exists());
    // What it prints is what there is to do next.
    let seeded = lab.run("c", &["refdb", "seed", "--all"]);
    assert!(seeded.ok().contains("2 projects: 2 done"), "{}", seeded.out);
    lab.run("c", &["hook", "install", "--all"]).ok();
    lab.run("", &["init", "d", "--name", "d", "--base-path", "none"])
        .fails(2, &["`none` is not a directory"]);
    assert!(!lab.path("d").exists());
}

#[test]
fn a_directory_of_repositories_becomes_a_site_as_it_is() {
    let lab = Lab::new();
    repository(&lab, "srv/app.git");
    let got = lab.run("", &["--json", "init", "srv", "--name", "c"]).json(0);
    assert_eq!((&got["projects"], &got["base_path"]), (&json!(1), &json!("srv")), "{got}");
    assert!(!lab.path("srv/git").exists());
    assert!(lab.run("srv", &["refdb", "seed", "app"]).ok().starts_with("0 seeded"));
    lab.run("", &["init", "srv", "--name", "c"]).fails(2, &["exists already"]);
}

#[test]
fn nothing_is_overwritten() {
    let lab = Lab::new();
    let before = std::fs::read(lab.path("a/refgate.config")).unwrap();
    lab.run("", &["init", "a", "--name", "x"]).fails(2, &["`a/refgate.config` exists already"]);
    let ran = lab.run("", &["--json", "init", "a", "--name", "x"]);
    assert_eq!(ran.json(2)["error"]["message"], "`a/refgate.config` exists already");
    assert_eq!(std::fs::read(lab.path("a/refgate.config")).unwrap(), before);
}

#[test]
fn a_failed_init_leaves_nothing_behind() {
    let lab = Lab::new();
    for (args, part) in [
        (&["--name", ""] as &[&str], "is not a name"),
        (&["--name", "a\"b"], "is not a name"),
        (&["--name", "c", "--remote", "x"], "`x` is not NAME=URL"),
        (&["--name", "c", "--remote", "x=ftp://h/y"], "`ftp`"),
        (&["--name", "c", "--remote", "x=y", "--remote", "x=z"], "`x` is given twice"),
        (&["--name", "c", "--refdb", "redis:x"], "`redis`"),
        (&["--name", "c", "--refdb", "sqlite:refgate.config/x.sqlite"], "its directory"),
        (&[], "--name"),
    ] {
        let mut all = vec!["init", "c"];
        all.extend(args);
        lab.run("", &all).fails(2, &[part]);
        assert!(!lab.path("c").exists(), "{args:?}");
    }
    // What was there before stays.
    lab.mkdir("c/git/old.git");
    lab.run("", &["init", "c", "--name", "c", "--refdb", "redis:x"]).exits(2);
    assert!(lab.path("c/git/old.git").exists() && !lab.path("c/plugins").exists());
}

#[test]
fn the_directory_of_a_new_ref_db_is_made() {
    let lab = Lab::new();
    let refdb = format!("sqlite:{}", lab.path("srv/refgate/refdb.sqlite").display());
    assert!(
        lab.run("", &["init", "c", "--name", "c", "--refdb", &refdb]).ok().contains("created the ref-db")
    );
    assert!(lab.path("srv/refgate/refdb.sqlite").is_file());
    assert!(!lab.run("", &["init", "d", "--name", "d", "--refdb", &refdb]).ok().contains("created"));
}

#[test]
fn a_generous_umask_makes_no_site_that_is_refused() {
    let lab = Lab::new();
    let mut shell = clean("sh", lab.dir.path());
    shell.current_dir(lab.dir.path()).args(["-c", "umask 0; exec \"$0\" init c --name c", REFGATE]);
    Ran::of(&mut shell).ok();
    lab.run("c", &["config", "check"]).ok();
    let mode = |name: &str| std::fs::metadata(lab.path(name)).unwrap().permissions().mode() & 0o022;
    assert_eq!((mode("c/plugins"), mode("c/refgate.config")), (0, 0));
}
