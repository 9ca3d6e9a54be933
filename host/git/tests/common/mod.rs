//! Real repositories for the tests, made by real git without anybody's configuration.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use refgate_core::{Oid, RefName};
use refgate_git::Repository;
use tempfile::TempDir;

/// A bare repository in a temporary directory.
pub struct Repo {
    pub dir: TempDir,
    pub path: PathBuf,
    tree: String,
}

/// Every storage that the reader has to agree about.
pub const STORAGES: [(&str, &str); 4] =
    [("sha1", "files"), ("sha256", "files"), ("sha1", "reftable"), ("sha256", "reftable")];

impl Repo {
    pub fn new() -> Repo {
        Repo::with("sha1", "files")
    }

    pub fn with(objects: &str, refs: &str) -> Repo {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("r.git");
        let mut repo = Repo { dir, path: path.clone(), tree: String::new() };
        let (objects, refs) = (format!("--object-format={objects}"), format!("--ref-format={refs}"));
        run(Command::new("git").args(["init", "-q", "--bare", &objects, &refs]).arg(&path), b"");
        // Thousands of refs, each forced to the disk, would be most of the time of the tests.
        let mut config = std::fs::read(path.join("config")).unwrap();
        config.extend_from_slice(b"[core]\n\tfsync = none\n");
        repo.write("config", &config);
        repo.tree = repo.git_with(&["mktree"], b"");
        repo
    }

    pub fn open(&self) -> Repository {
        Repository::open(&self.path).unwrap()
    }

    /// What git prints, without the last line end. Panics when git fails.
    pub fn git(&self, args: &[&str]) -> String {
        self.git_with(args, b"")
    }

    pub fn git_with(&self, args: &[&str], input: &[u8]) -> String {
        let out = run(&mut self.command(args), input);
        String::from_utf8_lossy(&out).trim_end().to_owned()
    }

    pub fn git_bytes(&self, args: &[&str]) -> Vec<u8> {
        run(&mut self.command(args), b"")
    }

    /// Whether git succeeds.
    pub fn git_says(&self, args: &[&str]) -> bool {
        self.command(args).stderr(Stdio::null()).status().unwrap().success()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(&self.path).args(args);
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "t").env(format!("GIT_{who}_EMAIL"), "t@example.org");
            command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
        }
        command
    }

    pub fn commit(&self, message: &str, parents: &[Oid]) -> Oid {
        let parents: Vec<String> = parents.iter().map(Oid::to_string).collect();
        let mut args = vec!["commit-tree", "-m", message, &self.tree];
        parents.iter().for_each(|p| args.extend(["-p", p]));
        self.git(&args).parse().unwrap()
    }

    /// Sets refs in one transaction.
    pub fn set(&self, refs: &[(&[u8], Oid)]) {
        let mut input = Vec::new();
        for (name, oid) in refs {
            input.extend_from_slice(b"update ");
            input.extend_from_slice(name);
            input.extend_from_slice(format!("\0{oid}\0\0").as_bytes());
        }
        self.git_with(&["update-ref", "--stdin", "-z"], &input);
    }

    pub fn write(&self, file: &str, text: &[u8]) {
        let path = self.path.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Every ref that is not symbolic, as git lists them.
    pub fn git_refs(&self) -> Vec<(Vec<u8>, Oid)> {
        let out = self.git_bytes(&["for-each-ref", "--format=%(objectname) %(symref) %(refname)"]);
        let mut refs = Vec::new();
        for line in out.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let parts: Vec<&[u8]> = line.splitn(3, |b| *b == b' ').collect();
            if parts[1].is_empty() {
                refs.push((parts[2].to_vec(), Oid::from_hex(parts[0]).unwrap()));
            }
        }
        refs
    }
}

/// Every ref that is not symbolic, as we list them.
pub fn our_refs(repository: &Repository) -> Vec<(Vec<u8>, Oid)> {
    let list = repository.refs().unwrap();
    list.iter().filter_map(|(name, target)| Some((name.to_vec(), target.oid()?))).collect()
}

/// The values of refs that can all be read.
#[allow(dead_code)]
pub fn values(repository: &Repository, names: &[RefName]) -> Vec<Option<Oid>> {
    repository.values(names).unwrap().into_iter().map(Result::unwrap).collect()
}

pub fn name(text: impl AsRef<[u8]>) -> RefName {
    RefName::new(text.as_ref()).unwrap()
}

fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = feeder.join();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The same numbers on every run.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// An id that no object has.
pub fn nowhere(path: &Path) -> Oid {
    let len = Repository::open(path).unwrap().object_format().oid_len();
    Oid::from_bytes(&vec![0x5a; len]).unwrap()
}
