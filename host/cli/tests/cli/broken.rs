//! Repositories and ref-db files that are damaged, foreign, or not what they should be.

use std::fs;
use std::os::unix::fs::chown;

use crate::common::{Lab, PROJECT};

/// A project that b does not have all of: whatever is wrong at a, nothing may get there.
fn unsent() -> Lab {
    let (lab, first) = Lab::seeded();
    lab.commit("a", "refs/heads/new", &[&first]);
    lab
}

#[test]
fn a_damaged_repository_is_named_and_nothing_is_sent() {
    for (file, text, parts) in [
        ("packed-refs", Some("garbage!!\n"), &["packed-refs` is damaged: line 1, `garbage!!`"] as &[&str]),
        ("HEAD", None, &["`git/team/app.git` is not a git repository", "git fsck"]),
        ("HEAD", Some("zzz"), &["`git/team/app.git` is not a git repository"]),
        ("config", Some("[core"), &["git cannot read the repository `git/team/app.git`", "bad config line"]),
    ] {
        let lab = unsent();
        let before = lab.refs("b");
        let path = lab.repo("a").join(file);
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        for args in
            [&["push", PROJECT, "b"] as &[&str], &["refdb", "seed", PROJECT], &["fetch", PROJECT, "b"]]
        {
            lab.run("a", args).fails(1, parts);
        }
        let got = lab.run("a", &["push", PROJECT, "b", "--json"]).json(1);
        assert!(got["error"]["message"].as_str().unwrap().contains(parts[0]), "{got}");
        assert_eq!(lab.refs("b"), before);
    }
}

#[test]
fn a_damaged_ref_is_named_and_the_others_go() {
    let lab = unsent();
    fs::write(lab.repo("a").join("refs/heads/new"), "zzz").unwrap();
    lab.commit("a", "refs/heads/fine", &[]);
    let said = lab.run("a", &["push", PROJECT, "b"]);
    assert!(said.err.contains("refs/heads/new` is damaged: `zzz`"), "{}", said.err);
    let table = said.exits(3);
    assert!(table.contains("repository-unreadable (by host)"), "{table}");
    assert!(lab.refs("b").contains("refs/heads/fine") && !lab.refs("b").contains("refs/heads/new"));
    for command in ["seed", "check"] {
        let ran = lab.run("a", &["refdb", command, PROJECT]);
        let listed = ran.exits(3);
        assert!(listed.contains("cannot be read: the ref in"), "{listed}");
    }
}

#[test]
fn what_is_no_repository_is_told_apart_from_none() {
    let lab = unsent();
    lab.mkdir("a/git/empty.git");
    lab.write("a/git/file.git", "x");
    lab.run("a", &["push", "empty", "b"]).fails(1, &["`git/empty.git` is not a git repository"]);
    lab.run("a", &["push", "file", "b"]).fails(1, &["`git/file.git` is not a git repository"]);
    lab.run("b", &["fetch", "empty", "a", "--create"]).fails(1, &["a/git/empty.git"]);
    assert!(!lab.path("b/git/empty.git").exists());
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_repository_of_another_user_is_not_trusted() {
    let lab = unsent();
    chown(lab.repo("b"), Some(12345), None).unwrap();
    let there = lab.repo("b").display().to_string().replace("/b/", "/a/../b/");
    for command in ["push", "fetch"] {
        lab.run("a", &[command, PROJECT, "b"]).fails(1, &[&there, "safe.directory"]);
    }
    chown(lab.repo("b"), Some(0), None).unwrap();
    chown(lab.repo("a"), Some(12345), None).unwrap();
    let whole = fs::canonicalize(lab.repo("a")).unwrap();
    let hint = format!("`git config --global --add safe.directory {}`", whole.display());
    lab.run("a", &["push", PROJECT, "b"]).fails(1, &["belongs to another user", &hint]);
    // What it says helps.
    lab.write(".gitconfig", format!("[safe]\n    directory = {}\n", whole.display()));
    assert!(lab.run("a", &["push", PROJECT, "b"]).exits(0).contains("refs/heads/new"));
}

#[test]
fn a_ref_db_that_cannot_be_one_stops_the_push_and_stays_as_it_is() {
    type Damage = fn(&Lab);
    let cases: [(Damage, i32, &str); 6] = [
        (|lab| fs::write(lab.path("refdb.sqlite"), "garbage").unwrap(), 1, "not an SQLite database"),
        (|lab| fs::write(lab.path("refdb.sqlite"), "").unwrap(), 2, "the file is empty"),
        (|lab| truncate(lab, 5000), 1, "it is damaged"),
        (|lab| scribble(lab), 1, "it is damaged"),
        (|lab| fs::create_dir(lab.path("refdb.sqlite")).unwrap(), 2, "this is a directory"),
        (|_| {}, 1, "no such file"),
    ];
    for (damage, code, why) in cases {
        let lab = unsent();
        let before = lab.refs("b");
        let old = fs::read(lab.path("refdb.sqlite")).unwrap();
        fs::remove_file(lab.path("refdb.sqlite")).unwrap();
        if why == "it is damaged" {
            fs::write(lab.path("refdb.sqlite"), old).unwrap();
        }
        damage(&lab);
        let damaged = fs::read(lab.path("refdb.sqlite")).ok();
        for args in [&["push", PROJECT, "b"] as &[&str], &["fetch", PROJECT, "b"], &["refdb", "ls", PROJECT]]
        {
            lab.run("a", args).fails(code, &["refdb.sqlite", why]);
        }
        let got = lab.run("a", &["push", PROJECT, "b", "--json"]).json(code);
        assert!(got["error"]["message"].as_str().unwrap().contains(why), "{got}");
        assert_eq!(fs::read(lab.path("refdb.sqlite")).ok(), damaged, "{why}");
        assert_eq!(lab.refs("b"), before);
    }
}

fn truncate(lab: &Lab, length: u64) {
    fs::File::options().write(true).open(lab.path("refdb.sqlite")).unwrap().set_len(length).unwrap();
}

/// The header stays, so that it looks like a database.
fn scribble(lab: &Lab) {
    let mut bytes = fs::read(lab.path("refdb.sqlite")).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(lab.path("refdb.sqlite"), bytes).unwrap();
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let lab = unsent();
    // A database with one page and no tables, as SQLite would begin one.
    let mut page = vec![0u8; 4096];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[16..24].copy_from_slice(&[0x10, 0, 1, 1, 0, 64, 32, 32]);
    page[31] = 1;
    page[47] = 4;
    page[59] = 1;
    page[100] = 13;
    page[105..107].copy_from_slice(&[0x10, 0]);
    fs::write(lab.path("refdb.sqlite"), &page).unwrap();
    for args in [&["push", PROJECT, "b"] as &[&str], &["refdb", "seed", PROJECT]] {
        lab.run("a", args).fails(2, &["refdb.sqlite", "file of another program"]);
    }
    assert_eq!(fs::read(lab.path("refdb.sqlite")).unwrap(), page);
}
