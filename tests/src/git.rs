//! Bare repositories, read and written with real git, as clients would.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use refgate_core::{ObjectFormat, Oid};

/// A bare repository.
#[derive(Clone, Debug)]
pub struct Repo {
    path: PathBuf,
}

/// `main` is `refs/heads/main`; what begins with `refs/` stays.
pub fn full_name(short: &str) -> String {
    if short.starts_with("refs/") { short.to_owned() } else { format!("refs/heads/{short}") }
}

/// Whether this git can keep refs in a reftable (2.45 and later).
pub fn reftable_is_known() -> bool {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut git = Command::new("git");
    git.args(["init", "--quiet", "--bare", "--ref-format=reftable"]).arg(dir.path());
    git.output().is_ok_and(|output| output.status.success())
}

impl Repo {
    /// Makes one. `storage` is `files` or `reftable`.
    pub fn init(path: &Path, format: ObjectFormat, storage: &str) -> Repo {
        let mut git = Command::new("git");
        git.args(["init", "--quiet", "--bare", "-b", "main"]);
        git.arg(format!("--object-format={}", format.name()));
        // An old git knows one storage and no option for it.
        if storage != "files" {
            git.arg(format!("--ref-format={storage}"));
        }
        let output = git.arg(path).output().expect("git is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let repo = Repo { path: path.to_owned() };
        let mut config = fs::read_to_string(path.join("config")).expect("git wrote it");
        config += "[receive]\n\tautogc = false\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[core]\n\tfsync = none\n";
        fs::write(path.join("config"), config).expect("it is ours");
        repo
    }

    /// The one at `path`.
    pub fn at(path: &Path) -> Repo {
        Repo { path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs git, and gives what came of it.
    pub fn try_git<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Output {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(&self.path).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "t").env(format!("GIT_{who}_EMAIL"), "t@example.com");
            git.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
        }
        git.env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = git.spawn().expect("git is installed");
        // A command that reads nothing closes the pipe.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        child.wait_with_output().expect("git ends")
    }

    /// Runs git and gives what it prints; it must succeed.
    pub fn git<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> String {
        self.git_with(args, b"")
    }

    /// The same with something to read.
    pub fn git_with<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S], input: &[u8]) -> String {
        let output = self.try_git(args, input);
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// A commit of the empty tree. The same message on the same parents is the same commit in every repository.
    pub fn commit(&self, parents: &[Oid], message: &str) -> Oid {
        let mut args = vec!["commit-tree".to_owned(), self.git(&["mktree"]), "-m".into(), message.into()];
        parents.iter().for_each(|parent| args.extend(["-p".into(), parent.to_string()]));
        self.git(&args).parse().expect("git prints an oid")
    }

    /// A commit on top of a ref, which moves there.
    pub fn advance(&self, name: &str, message: &str) -> Oid {
        let parents: Vec<Oid> = self.get(name).into_iter().collect();
        let oid = self.commit(&parents, message);
        self.set(name, oid);
        oid
    }

    /// Sets a ref, whatever it was.
    pub fn set(&self, name: &str, oid: Oid) {
        self.git(&["update-ref", &full_name(name), &oid.to_string()]);
    }

    /// Deletes a ref.
    pub fn delete(&self, name: &str) {
        self.git(&["update-ref", "-d", &full_name(name)]);
    }

    /// The value of a ref, by its exact name.
    pub fn get(&self, name: &str) -> Option<Oid> {
        let output = self.try_git(&["show-ref", "--verify", "--hash", &full_name(name)], b"");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then(|| text.parse().expect("git prints an oid"))
    }

    /// All refs.
    pub fn refs(&self) -> BTreeMap<String, Oid> {
        let listed = self.git(&["for-each-ref", "--format=%(objectname) %(refname)"]);
        let one = |line: &str| {
            let (oid, name) = line.split_once(' ')?;
            Some((name.to_owned(), oid.parse().ok()?))
        };
        listed.lines().map(|line| one(line).expect("oid and name")).collect()
    }

    /// Whether the object is here, reachable or not.
    pub fn has(&self, oid: Oid) -> bool {
        self.try_git(&["cat-file", "-e", &oid.to_string()], b"").status.success()
    }

    /// Whether a ref leads to the commit.
    pub fn reaches(&self, oid: Oid) -> bool {
        self.git(&["rev-list", "--all"]).lines().any(|line| line == oid.to_string())
    }

    /// Whether the commit is here and no ref leads to it, by git's own account.
    pub fn lost(&self, oid: Oid) -> bool {
        let found = self.git(&["fsck", "--unreachable", "--no-reflogs", "--connectivity-only"]);
        found.lines().any(|line| line == format!("unreachable commit {oid}"))
    }

    /// Whether everything that refs need is here.
    pub fn is_whole(&self) -> bool {
        self.try_git(&["fsck", "--connectivity-only", "--no-dangling"], b"").status.success()
    }

    /// Whether `old` is contained in `new`.
    pub fn is_ancestor(&self, old: Oid, new: Oid) -> bool {
        self.try_git(&["merge-base", "--is-ancestor", &old.to_string(), &new.to_string()], b"")
            .status
            .success()
    }

    /// Installs a hook.
    pub fn hook(&self, name: &str, script: &str) {
        let path = self.path.join("hooks").join(name);
        fs::create_dir_all(self.path.join("hooks")).expect("it is ours");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("it is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
}
