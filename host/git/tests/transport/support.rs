//! Repositories in a temporary directory, a git daemon, and short words for what the tests do with them.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use refgate_core::{ObjectFormat, Oid, RefName};
use refgate_git::{Progress, PushCommand, PushSession, PushStatus, RemoteUrl};

/// A bare repository.
pub struct Repo(pub PathBuf);

/// A daemon that counts its sessions.
pub struct Counting {
    pub daemon: Daemon,
    sessions: PathBuf,
}

impl Counting {
    pub fn start(base: &Path) -> Counting {
        let (hook, sessions) = (base.join("count"), base.join("sessions"));
        fs::write(&hook, format!("#!/bin/sh\necho x >>{}\n", sessions.display())).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&sessions, "").unwrap();
        Counting { daemon: Daemon::start(base, &[&format!("--access-hook={}", hook.display())]), sessions }
    }

    pub fn sessions(&self) -> usize {
        fs::read_to_string(&self.sessions).unwrap().lines().count()
    }
}

impl Repo {
    pub fn new(path: PathBuf, init: &[&str]) -> Repo {
        let status =
            Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).args(init).arg(&path).status();
        assert!(status.unwrap().success());
        let repo = Repo(path);
        for (key, value) in [
            ("receive.autogc", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("core.fsync", "none"),
        ] {
            repo.git(&["config", key, value]);
        }
        repo
    }

    pub fn command(&self) -> Command {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(&self.0);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "t").env(format!("GIT_{who}_EMAIL"), "t@example.com");
            git.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
        }
        git
    }

    /// Runs git and gives what it prints; it must succeed.
    pub fn git<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        self.git_with(args, b"")
    }

    pub fn git_with<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> String {
        let mut git = self.command();
        git.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = git.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{git:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// A commit with a file of its own.
    pub fn commit(&self, parents: &[Oid], message: &str) -> Oid {
        let blob = self.git_with(&["hash-object", "-w", "--stdin"], message.as_bytes());
        let tree = self.git_with(&["mktree"], format!("100644 blob {blob}\tfile\n").as_bytes());
        let mut args = vec!["commit-tree".to_owned(), tree, "-m".into(), message.into()];
        parents.iter().for_each(|parent| args.extend(["-p".into(), parent.to_string()]));
        self.git(&args).parse().unwrap()
    }

    /// A commit whose tree has a mode that git's checks take amiss.
    pub fn unchecked_mode(&self, parent: Oid) -> Oid {
        let blob: Oid = self.git_with(&["hash-object", "-w", "--stdin"], b"x").parse().unwrap();
        let mut tree = b"0100644 f\0".to_vec();
        tree.extend_from_slice(blob.as_bytes());
        let tree = self.git_with(&["hash-object", "-t", "tree", "-w", "--literally", "--stdin"], &tree);
        self.git(&["commit-tree", &tree, "-m", "bad", "-p", &parent.to_string()]).parse().unwrap()
    }

    /// How many objects are in the store, each as often as it is there.
    pub fn objects(&self) -> usize {
        let counted = self.git(&["count-objects", "-v"]);
        let number = |key: &str| counted.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
        number("count:").unwrap_or(0) + number("in-pack:").unwrap_or(0)
    }

    /// The `.keep` files in the store.
    pub fn keeps(&self) -> usize {
        let keep = |path: PathBuf| path.extension().is_some_and(|e| e == "keep");
        fs::read_dir(self.0.join("objects/pack"))
            .unwrap()
            .filter(|e| keep(e.as_ref().unwrap().path()))
            .count()
    }

    /// Takes one loose object away.
    pub fn lose(&self, oid: Oid) {
        let hex = oid.to_string();
        fs::remove_file(self.0.join("objects").join(&hex[..2]).join(&hex[2..])).unwrap();
    }

    pub fn set(&self, name: &str, oid: Oid) {
        self.git(&["update-ref", name, &oid.to_string()]);
    }

    /// The value of a ref, by its exact name.
    pub fn get(&self, name: &str) -> Option<Oid> {
        let output = self.command().args(["show-ref", "--verify", "--hash", name]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().parse().unwrap())
    }

    pub fn has(&self, oid: Oid) -> bool {
        self.command().args(["cat-file", "-e", &oid.to_string()]).output().unwrap().status.success()
    }

    /// All refs, one per line.
    pub fn refs(&self) -> String {
        self.git(&["for-each-ref"])
    }

    /// Every object that the refs need is there.
    pub fn fsck(&self) {
        self.git(&["fsck", "--connectivity-only", "--no-dangling"]);
    }

    pub fn hook(&self, name: &str, script: &str) {
        let path = self.0.join("hooks").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn url(&self) -> RemoteUrl {
        RemoteUrl::parse(self.0.to_str().unwrap()).unwrap()
    }

    /// Creates `count` refs `PREFIX/000000`…, every one a commit of its own, and gives them by name.
    pub fn many(&self, prefix: &str, count: usize) -> Vec<(RefName, Oid)> {
        let mut stream = String::new();
        for i in 0..count {
            stream += &format!(
                "commit {prefix}/{i:06}\ncommitter t <t@example.com> 1700000000 +0000\ndata 7\n{i:07}\n"
            );
        }
        self.git_with(&["fast-import", "--quiet"], stream.as_bytes());
        let listed = self.git(&["for-each-ref", "--format=%(refname) %(objectname)", prefix]);
        listed
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(n, o)| (name(n), o.parse().unwrap()))
            .collect()
    }
}

pub fn name(text: &str) -> RefName {
    RefName::new(text).unwrap()
}

pub fn command(text: &str, old: Option<Oid>, new: Option<Oid>) -> PushCommand {
    PushCommand { name: name(text), old, new }
}

pub fn rejected(why: &str) -> PushStatus {
    PushStatus::Rejected(why.into())
}

/// Two bare repositories of one format in a temporary directory.
pub struct Pair {
    pub dir: tempfile::TempDir,
    pub local: Repo,
    pub remote: Repo,
    pub format: ObjectFormat,
}

impl Pair {
    pub fn new() -> Pair {
        Pair::with("sha1", &[])
    }

    pub fn with(format: &str, remote: &[&str]) -> Pair {
        let dir = tempfile::tempdir().unwrap();
        let format_arg = format!("--object-format={format}");
        let local = Repo::new(dir.path().join("local.git"), &[&format_arg]);
        let remote = Repo::new(dir.path().join("remote.git"), &[&[format_arg.as_str()], remote].concat());
        Pair { dir, local, remote, format: ObjectFormat::from_name(format).unwrap() }
    }

    pub fn open(&self) -> PushSession {
        PushSession::open(&self.local.0, &self.remote.url(), self.format).unwrap()
    }

    /// Pushes over a pipe and gives the statuses and what the remote printed.
    pub fn push(&self, commands: &[PushCommand]) -> (Vec<PushStatus>, Vec<String>) {
        push(self.open(), commands)
    }
}

pub fn push(session: PushSession, commands: &[PushCommand]) -> (Vec<PushStatus>, Vec<String>) {
    let mut said = Vec::new();
    let statuses = session.push(commands, &mut |progress| match progress {
        Progress::Remote(line) => said.push(line),
        Progress::Local(line) => panic!("a push prints nothing here: {line}"),
    });
    (statuses.unwrap(), said)
}

/// A git daemon on a port of its own, ended with the test.
pub struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    pub fn start(base: &Path, args: &[&str]) -> Daemon {
        let exec_path = Command::new("git").arg("--exec-path").output().unwrap().stdout;
        // The wrapper `git daemon` would outlive its own end.
        let program = Path::new(String::from_utf8(exec_path).unwrap().trim()).join("git-daemon");
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = Command::new(&program);
            command.args(["--listen=127.0.0.1", "--verbose", "--export-all", "--enable=receive-pack"]);
            command.arg(format!("--port={port}")).arg(format!("--base-path={}", base.display())).args(args);
            let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
            if lines.by_ref().map_while(Result::ok).any(|line| line.contains("Ready to rumble")) {
                std::thread::spawn(move || lines.for_each(drop));
                return Daemon { child, port };
            }
            // Somebody else took the port in between.
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("git daemon does not start");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, path: &str) -> RemoteUrl {
        RemoteUrl::parse(&format!("git://127.0.0.1:{}/{path}", self.port)).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
