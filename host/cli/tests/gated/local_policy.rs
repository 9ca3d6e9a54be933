//! Step 0: git's own settings and hooks count as they do without refgate, with git's words.

use std::fs;

use crate::common::{Ran, clean, git};
use crate::lab::{Gated, Kind, kinds};

fn refused(ran: &Ran, says: &str) {
    assert_eq!(ran.code, 1, "{}", ran.err);
    ran.says(&["[remote rejected]", says]);
}

#[test]
fn deny_settings_count_and_only_for_branches() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let other = g.commit(&[], "other");
        for name in ["refs/heads/x", "refs/tags/x"] {
            g.accepted("a", &format!("{}:{name}", g.c0));
        }
        g.git("a", &["config", "receive.denyNonFastForwards", "true"]);
        g.git("a", &["config", "receive.denyDeletes", "true"]);
        refused(&g.push("a", &[&format!("+{other}:refs/heads/x")]), "(non-fast-forward)");
        refused(&g.push("a", &[":refs/heads/x"]), "(deletion prohibited)");
        g.is_at("a", "refs/heads/x", &g.c0);
        g.accepted("a", &format!("+{other}:refs/tags/x"));
        g.accepted("a", ":refs/tags/x");
        assert_eq!(g.global("refs/tags/x"), "deleted");
        g.git("a", &["config", "receive.denyDeletes", "false"]);
        g.accepted("a", ":refs/heads/x");
        g.is_clean("a");
    }
}

#[test]
fn settings_on_the_command_line_of_receive_pack_count() {
    let g = Gated::new(Kind::Files);
    g.accepted("a", &format!("{}:refs/heads/x", g.c0));
    let with = "--receive-pack=git -c receive.denyDeletes=true receive-pack";
    refused(&g.push("a", &[with, ":refs/heads/x"]), "(deletion prohibited)");
    g.is_at("a", "refs/heads/x", &g.c0);
}

#[test]
fn the_branch_of_head_is_not_deleted_and_a_checked_out_one_not_moved() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    refused(&g.push("a", &[":refs/heads/main"]), "(deletion of the current branch prohibited)");
    g.accepted("a", &format!("{c1}:refs/heads/main"));
    // A linked work tree of the bare repository has `topic` checked out.
    g.accepted("a", &format!("{}:refs/heads/topic", g.c0));
    let tree = g.lab.path("tree");
    g.git("a", &["worktree", "add", "-q", tree.to_str().unwrap(), "topic"]);
    refused(&g.push("a", &[&format!("{c1}:refs/heads/topic")]), "(branch is currently checked out)");
    g.git("a", &["config", "receive.denyCurrentBranch", "updateInstead"]);
    refused(&g.push("a", &[&format!("{c1}:refs/heads/topic")]), "(branch is currently checked out)");
    g.is_at("a", "refs/heads/topic", &g.c0);
    g.git("a", &["config", "receive.denyCurrentBranch", "ignore"]);
    g.accepted("a", &format!("{c1}:refs/heads/topic"));
    g.git("a", &["config", "receive.denyDeleteCurrent", "warn"]);
    g.accepted("a", ":refs/heads/main");
    assert_eq!(g.global("refs/heads/main"), "deleted");
}

#[test]
fn the_update_hook_decides_about_each_ref_and_sees_what_git_would_show_it() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    let seen = g.lab.path("seen");
    g.hook(
        "a",
        "update",
        &format!(
            "echo \"$1 $2 $3 $(git rev-parse --git-dir) $REFGATE_OWN_WRITE\" >> '{}'; echo to you; case $1 in *no*) exit 1;; esac",
            seen.display()
        ),
    );
    let ran = g.push("a", &[&format!("{c1}:refs/heads/main"), &format!("{c1}:refs/heads/no")]);
    refused(&ran, "(hook declined)");
    ran.says(&["remote: to you"]);
    g.is_at("a", "refs/heads/main", &c1);
    assert_eq!(g.global("refs/heads/no"), "untracked", "the ref-db is asked after the hook");
    let zero = "0".repeat(40);
    let expected = format!("refs/heads/main {} {c1} . \nrefs/heads/no {zero} {c1} . \n", g.c0);
    assert_eq!(fs::read_to_string(seen).unwrap(), expected);
}

#[test]
fn the_other_hooks_of_a_push_run_and_the_reflog_says_push() {
    for kind in kinds() {
        let g = Gated::new(kind);
        g.git("a", &["config", "core.logAllRefUpdates", "true"]);
        let c1 = g.commit(&[&g.c0], "c1");
        let seen = g.lab.path("seen");
        g.hook("a", "post-receive", &format!("cat > '{}'", seen.display()));
        g.accepted("a", &format!("{c1}:refs/heads/main"));
        assert_eq!(fs::read_to_string(&seen).unwrap(), format!("{} {c1} refs/heads/main\n", g.c0));
        assert_eq!(g.git("a", &["log", "-g", "-1", "--format=%gs", "refs/heads/main"]), "push");
        g.hook("a", "pre-receive", "exit 1");
        let c2 = g.commit(&[&c1], "c2");
        refused(&g.push("a", &[&format!("{c2}:refs/heads/main")]), "(pre-receive hook declined)");
        g.is_at("a", "refs/heads/main", &c1);
    }
}

#[test]
fn branches_hold_commits_only() {
    let g = Gated::new(Kind::Files);
    let client = g.lab.path("client");
    let tree = git(&client, &["mktree"]);
    // git's client refuses, and says so; this is one that does not look.
    git(&client, &["update-ref", "refs/trees/x", &tree]);
    let mut push = clean("git", g.lab.dir.path());
    push.arg("-C").arg(&client).arg("send-pack").arg(g.lab.repo("a")).arg("refs/trees/x:refs/heads/x");
    let ran = Ran::of(&mut push);
    assert_ne!(ran.code, 0);
    assert_eq!((g.value("a", "refs/heads/x"), g.global("refs/heads/x")), (String::new(), "untracked".into()));
    g.accepted("a", "refs/trees/x:refs/trees/x");
    g.is_at("a", "refs/trees/x", &tree);
}

#[test]
fn names_that_are_not_utf_8_go_like_others() {
    use std::os::unix::ffi::OsStrExt;
    let g = Gated::new(Kind::Files);
    let mut push = g.pushing("a", &[]);
    let spec = [g.c0.as_bytes(), b":refs/heads/\xff%"].concat();
    let ran = Ran::of(push.arg(std::ffi::OsStr::from_bytes(&spec)));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(g.globals().get("refs/heads/%FF%25"), Some(&g.c0));
    g.is_clean("a");
}

#[test]
fn shallow_pushes_are_refused_even_where_git_lets_them_in() {
    let g = Gated::new(Kind::Files);
    let shallow = g.lab.path("shallow");
    let c1 = g.commit(&[&g.c0], "c1");
    let c2 = g.commit(&[&c1], "c2");
    git(&g.lab.path("client"), &["update-ref", "refs/heads/x", &c2]);
    let from = format!("file://{}", g.lab.path("client").display());
    let mut clone = clean("git", g.lab.dir.path());
    clone.args(["clone", "-q", "--bare", "--depth=1", "--branch=x", &from]).arg(&shallow);
    assert_eq!(Ran::of(&mut clone).code, 0);
    g.git("a", &["config", "receive.shallowUpdate", "true"]);
    let mut push = clean("git", g.lab.dir.path());
    push.arg("-C").arg(&shallow).arg("push").arg(g.lab.repo("a")).arg("x:refs/heads/y");
    let ran = Ran::of(&mut push);
    refused(&ran, "shallow");
    assert_eq!(g.global("refs/heads/y"), "untracked");
}
