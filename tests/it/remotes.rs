//! A remote behind ssh.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use refgate_host::replicate::Options;
use refgate_tests::{Lab, PROJECT, Setup, run};

use crate::told;

/// Plays ssh: logs what it is told, drops its options and the host, and runs the rest in a shell as sshd would.
const SSH: &str = r#"#!/bin/sh
printf '%s\n' "$*" >>"$FAKE_SSH_LOG"
while test $# -gt 0; do
    case "$1" in
    -o|-p) shift 2 ;;
    *) break ;;
    esac
done
shift
exec sh -c "$*"
"#;

/// Set in the process that has the script as its ssh: the environment of this one belongs to all tests.
const INNER: &str = "REFGATE_TEST_OVER_SSH";

#[test]
fn over_ssh() {
    if std::env::var_os(INNER).is_some() {
        return run(there_and_back());
    }
    let dir = tempfile::tempdir().unwrap();
    let (script, log) = (dir.path().join("ssh"), dir.path().join("log"));
    fs::write(&script, SSH).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut inner = Command::new(std::env::current_exe().unwrap());
    inner.args(["--exact", "remotes::over_ssh"]).env(INNER, "1").env("FAKE_SSH_LOG", &log);
    inner.env("GIT_SSH_COMMAND", &script).env("GIT_SSH_VARIANT", "ssh");
    let output = inner.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("git-receive-pack") && log.contains("git-upload-pack"), "{log}");
}

async fn there_and_back() {
    let lab = Lab::with(&["gated", "gated"]);
    for (site, other) in [("A", "B"), ("B", "A")] {
        let base = lab.dir().join(other).join("git");
        lab.configure(
            site,
            &format!("[remote \"{other}\"]\nurl = ssh://me@host{}/${{name}}.git", base.display()),
        );
    }
    lab.commit("A", "main", "c0").await;
    assert_eq!(told(&lab.push("A", "B").await), ["main=replicated"]);
    lab.commit("B", "main", "c1").await;
    lab.commit("A", "topic", "t").await;
    assert_eq!(told(&lab.push("A", "B").await), ["main=not-up-to-date", "topic=replicated"]);
    assert_eq!(told(&lab.fetch("A", "B").await), ["main=replicated"]);
    assert_eq!(lab.repo("A").refs(), lab.repo("B").refs());
    assert!(PROJECT.contains('/'), "the name takes part in quoting");
}

#[test]
fn a_copy_has_the_head_that_a_server_names_also_before_its_branch_is_there() {
    run(async {
        for branch in ["refs/heads/trunk", "refs/heads/not-there"] {
            let lab = Lab::new(Setup { daemon: true, ..Setup::default() });
            lab.site("A", "gated");
            lab.empty_site("B", "gated");
            lab.commit("A", "trunk", "c0").await;
            lab.repo("A").git(&["symbolic-ref", "HEAD", branch]);
            let options = Options { create: true, ..Options::default() };
            lab.try_fetch("B", "A", &options).await.unwrap();
            assert_eq!(lab.repo("B").git(&["symbolic-ref", "HEAD"]), branch);
            let beside = lab.path("B").parent().unwrap().read_dir().unwrap();
            assert_eq!(beside.count(), 1, "nothing is left of the question");
        }
    });
}
