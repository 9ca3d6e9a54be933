//! What the machine can do to a command: no permission, a full disk, no git, nobody who reads the result.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::common::{Lab, PROJECT, REFGATE, Ran, clean, mode};

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_another_user_is_told_what_it_may_not_do() {
    let (lab, first) = Lab::seeded();
    lab.commit("a", "refs/heads/new", &[&first]);
    mode(lab.dir.path(), 0o755);
    // As an operator may have set it.
    mode(&lab.path("refdb.sqlite"), 0o644);
    // The program itself may be where only its owner can go.
    std::fs::copy(REFGATE, lab.path("refgate")).unwrap();
    let run = |args: &[&str]| {
        let mut command = clean(lab.path("refgate").to_str().unwrap(), lab.dir.path());
        Ran::of(command.current_dir(lab.path("a")).args(args).uid(12345).gid(12345))
    };
    let before = lab.refs("b");
    let ran = run(&["push", PROJECT, "b"]);
    assert_eq!(ran.exits(2), "");
    ran.says(&["refdb.sqlite", "read-only", "writable for this user"]);
    // What root saved is not this user's to know, and what was rolled back is in there.
    ran.says(&["warning: plugin state `plugins.state`", "what was rolled back is not known"]);
    std::fs::remove_dir_all(lab.path("a/plugins.state")).unwrap();
    let list = run(&["plugins", "list"]);
    assert!(list.ok().contains("push-filter"), "{}", list.out);
    list.says(&["plugin state `plugins.state`: it cannot be made"]);
    run(&["refdb", "put", PROJECT, "refs/heads/x", "deleted"]).fails(2, &["refdb.sqlite", "read-only"]);
    run(&["init", "../c", "--name", "c"]).fails(1, &["cannot create `../c`", "ermission denied"]);
    mode(&lab.path("refdb.sqlite"), 0o600);
    run(&["refdb", "ls", PROJECT]).fails(1, &["refdb.sqlite", "cannot be opened"]);
    mode(&lab.path("a/refgate.config"), 0o600);
    run(&["push", PROJECT, "b"]).fails(2, &["refgate.config", "ermission denied"]);
    assert_eq!(lab.refs("b"), before);
    assert!(!lab.run("a", &["refdb", "ls", PROJECT]).ok().contains("refs/heads/x"));
}

/// Runs a shell script with a file system of `size` mounted at `tiny`, which goes with the script. Only root may
/// mount; a test that cannot must not pass.
fn with_little_room(lab: &Lab, size: &str, script: &str) -> Ran {
    lab.mkdir("tiny");
    let mut command = clean("unshare", lab.dir.path());
    command.arg("-m");
    let script = format!("mount -t tmpfs -o size={size} tmpfs ../tiny || exit 99\n{script}");
    command.current_dir(lab.path("a")).args(["sh", "-c", &script, REFGATE]);
    let ran = Ran::of(&mut command);
    assert!(
        ran.code != 99 && !ran.err.starts_with("unshare:"),
        "no file system could be mounted: {}",
        ran.err
    );
    ran
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_full_disk_under_the_ref_db_leaves_what_was_there() {
    let lab = Lab::new();
    let first = lab.commit("a", "refs/heads/main", &[]);
    lab.configure("a", "[ref-database]\n    url = sqlite:../tiny/refdb.sqlite");
    let script = format!(
        "\"$0\" refdb seed {PROJECT} && head -c 199999 /dev/zero > ../tiny/fill\n\
         \"$0\" refdb put {PROJECT} refs/heads/x {first} && exit 98\n\
         \"$0\" push {PROJECT} b --create && exit 97\n\
         rm ../tiny/fill && \"$0\" refdb ls {PROJECT}"
    );
    let ran = with_little_room(&lab, "128k", &script);
    let ls = ran.exits(0).strip_prefix("1 seeded, 0 different\n").unwrap();
    assert!(ls.contains(&format!("refs/heads/main  {first}")) && !ls.contains("refs/heads/x"), "{ls}");
    assert_eq!(ran.err.matches("error: ref-db `").count(), 2, "{}", ran.err);
    ran.says(&["nothing was written"]);
    assert!(!lab.repo("b").exists());
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_ref_db_that_does_not_fit_is_not_begun() {
    let lab = Lab::new();
    lab.commit("a", "refs/heads/main", &[]);
    lab.configure("a", "[ref-database]\n    url = sqlite:../tiny/refdb.sqlite");
    // From no room at all to nearly enough: what is there in the end is a whole ref-db or none. Each is one that the site does
    // not know.
    for room in (0..=96).step_by(4) {
        let script = format!(
            "rm -rf git/.refgate; head -c $(((96 - {room}) * 1024)) /dev/zero > ../tiny/fill\n\"$0\" refdb seed {PROJECT}; echo $?\n\
             rm ../tiny/fill; ls -A ../tiny; \"$0\" refdb ls {PROJECT}"
        );
        let ran = with_little_room(&lab, "96k", &script);
        assert!(!ran.err.contains("damaged"), "{room} KiB: {}", ran.err);
        if ran.out.starts_with("1\nrefdb") || room == 0 {
            ran.says(&["refdb.sqlite`: "]);
        }
        if room == 0 {
            assert!(ran.out.starts_with("1\n") && !ran.out.contains("refdb"), "{}", ran.out);
            ran.says(&["the disk is full"]);
        }
    }
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_full_disk_under_the_destination_stops_what_does_not_fit() {
    let (lab, first) = Lab::seeded();
    lab.configure("a", "[remote \"tiny\"]\n    url = ../tiny/${name}.git");
    // A blob that compresses badly, so that its pack does not fit.
    let repo = lab.repo("a");
    let blob: String = (0..40_000u32).map(|i| format!("{:x}", i.wrapping_mul(2_654_435_761))).collect();
    std::fs::write(lab.path("blob"), blob).unwrap();
    let oid = crate::common::git(&repo, &["hash-object", "-w", lab.path("blob").to_str().unwrap()]);
    crate::common::git(&repo, &["update-ref", "refs/blobs/big", &oid]);
    let script = format!(
        "git init -q --bare ../tiny/team/app.git && rm -r ../tiny/team/app.git/hooks\n\
         \"$0\" push {PROJECT} tiny --json; echo $? >&2; git -C ../tiny/team/app.git for-each-ref >&2; exit 0"
    );
    let ran = with_little_room(&lab, "100k", &script);
    let got = ran.json(0);
    for one in got["refs"].as_array().unwrap() {
        let result = one["result"].as_str().unwrap();
        match one["ref"] == "refs/blobs/big" {
            true => assert!(result.starts_with("rejected: "), "{one}"),
            false => assert_eq!(result, "replicated", "{one}"),
        }
    }
    let there = format!("1\n{first} commit\trefs/heads/main\n");
    assert!(ran.err.ends_with(&there), "exit 1, and what is said is there: {}", ran.err);
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_repository_that_does_not_fit_is_not_begun() {
    let (lab, _) = Lab::seeded();
    lab.configure("a", "[remote \"tiny\"]\n    url = ../tiny/${name}.git");
    let script = format!(
        "head -c 999999 /dev/zero > ../tiny/fill 2>/dev/null\n\
         \"$0\" push {PROJECT} tiny --create; echo $?; find ../tiny -name '*app*'"
    );
    let ran = with_little_room(&lab, "64k", &script);
    assert_eq!(ran.ok(), "1\n", "{}", ran.err);
    ran.says(&["error: ", "No space left on device"]);
}

#[test]
fn without_git_the_error_says_what_is_missing() {
    let (lab, _) = Lab::seeded();
    let run = |args: &[&str]| Ran::of(lab.command("a").env("PATH", "/nonexistent").args(args));
    for args in [&["push", PROJECT, "b"] as &[&str], &["fetch", PROJECT, "b"], &["refdb", "seed", PROJECT]] {
        run(args).fails(1, &["cannot start `git`", "put it on the PATH"]);
    }
    let demo = run(&["demo"]);
    demo.exits(1);
    demo.says(&["cannot start git"]);
    assert!(
        run(&["refdb", "ls", PROJECT]).ok().contains("refs/heads/main"),
        "what needs no git works without"
    );
}

/// With a standard output that nobody reads.
fn unread(command: &mut Command) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    Ran::from(child.wait_with_output().unwrap())
}

#[test]
fn a_reader_that_stops_early_changes_nothing_but_a_lost_result_does() {
    let (lab, first) = Lab::seeded();
    let stale = lab.commit("a", "refs/heads/main", &[&first]);
    let push = ["push", PROJECT, "b", "--json"];
    let ran = unread(lab.command("a").args(push));
    assert_eq!(
        (ran.exits(3), ran.err.contains("cannot write")),
        ("", false),
        "{stale} is not published: {}",
        ran.err
    );

    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let ran = Ran::of(lab.command("a").args(["refdb", "ls", PROJECT]).stdout(full()));
    ran.fails(1, &["cannot write the result", "No space left on device"]);
    // What the command found wrong with its own arguments stays the reason.
    Ran::of(lab.command("a").args(["push", "..", "b", "--json"]).stdout(full())).exits(2);
    Ran::of(lab.command("a").args(["push", "..", "b"]).stderr(full())).exits(2);
}
