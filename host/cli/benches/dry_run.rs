//! `push --dry-run` of a repository with 100,000 refs beside `git push --dry-run --mirror` of the same:
//! `cargo bench --bench dry_run`.

mod common;

use std::path::Path;
use std::process::Command;

use common::{line, median, title};

const REFS: usize = 100_000;

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["-c", "user.name=bench", "-c", "user.email=bench@refgate.invalid"])
        .args(args)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository whose refs all lead to one of two commits; every tenth differs between the sites.
fn repository(dir: &Path, newer: bool) {
    std::fs::create_dir_all(dir).expect("a directory");
    git(dir, &["init", "-q", "--bare", "."]);
    let tree = git(dir, &["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let date = ["-c", "core.logAllRefUpdates=false"];
    let commit = |args: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(date)
            .arg("commit-tree")
            .args(args)
            .envs([
                ("GIT_AUTHOR_NAME", "b"),
                ("GIT_AUTHOR_EMAIL", "b@refgate.invalid"),
                ("GIT_AUTHOR_DATE", "1700000000 +0000"),
                ("GIT_COMMITTER_NAME", "b"),
                ("GIT_COMMITTER_EMAIL", "b@refgate.invalid"),
                ("GIT_COMMITTER_DATE", "1700000000 +0000"),
            ])
            .output()
            .expect("git runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let first = commit(&[&tree, "-m", "first"]);
    let second = commit(&[&tree, "-m", "second", "-p", &first]);
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    for i in 0..REFS {
        let value = if newer && i % 10 == 0 { &second } else { &first };
        packed.push_str(&format!("{value} refs/heads/feature/b{i:06}\n"));
    }
    std::fs::write(dir.join("packed-refs"), packed).expect("packed-refs");
}

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (a, b) = (dir.path().join("a/git/p.git"), dir.path().join("b/git/p.git"));
    repository(&a, true);
    repository(&b, false);
    let file = dir.path().join("a/refgate.config");
    let text = "[site]\nname = a\nbasePath = git\n[ref-database]\nurl = sqlite:refdb.sqlite\n[remote \"b\"]\nurl = \
                ../b/git/${name}.git\n";
    std::fs::write(&file, text).expect("a configuration");
    let refgate = |args: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_refgate")).arg("--config").arg(&file).args(args).output();
        let output = output.expect("refgate runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    refgate(&["refdb", "seed", "p"]);
    title(&format!("{REFS} refs on both sides, one in ten differs, all in the ref-db"));
    let target = b.display().to_string();
    let theirs = median(3, || drop(git(&a, &["push", "--quiet", "--dry-run", "--mirror", &target])));
    line("git push --dry-run --mirror", theirs, theirs);
    let ours = median(3, || {
        let said = refgate(&["push", "p", "b", "--dry-run"]);
        assert!(said.ends_with(&format!("{} would go, 0 held back\n", REFS / 10)), "{said}");
    });
    line("refgate push --dry-run, filters and ref-db included", ours, theirs);
}
