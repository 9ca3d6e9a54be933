//! Two sites that share one ref-db, and the program run at one of them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub const REFGATE: &str = env!("CARGO_BIN_EXE_refgate");

/// The project of most tests.
pub const PROJECT: &str = "team/app";

/// The sites `a` and `b`, each with a configuration and no repository yet.
pub struct Lab {
    pub dir: TempDir,
}

/// What the program did.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Lab {
    /// Waits are 2 ms, or none at all when the configuration is edited.
    pub fn new() -> Lab {
        let lab = Lab { dir: TempDir::new().unwrap() };
        for (site, other) in [("a", "b"), ("b", "a")] {
            lab.write(
                &format!("{site}/refgate.config"),
                format!(
                    "[site]\n    name = {site}\n    basePath = git\n    writes = gated\n\
                     [ref-database]\n    url = sqlite:../refdb.sqlite\n\
                     [replication \"push-filter\"]\n    minWaitBeforeReloadLocalVersionMs = 2\n    \
                     maxRandomWaitBeforeReloadLocalVersionMs = 1\n\
                     [replication \"fetch-filter\"]\n    minWaitBeforeReloadLocalVersionMs = 2\n    \
                     maxRandomWaitBeforeReloadLocalVersionMs = 1\n\
                     [plugins]\n    directory = plugins\n\
                     [remote \"{other}\"]\n    url = ../{other}/git/${{name}}.git\n    writes = gated\n"
                ),
            );
            lab.mkdir(&format!("{site}/git"));
            lab.mkdir(&format!("{site}/plugins"));
        }
        lab
    }

    /// Both sites hold `main` = `first`, and the ref-db records it.
    pub fn seeded() -> (Lab, String) {
        let lab = Lab::new();
        let first = lab.commit("a", "refs/heads/main", &[]);
        lab.run("a", &["refdb", "seed", PROJECT]).ok();
        lab.run("a", &["push", PROJECT, "b", "--create"]).ok();
        (lab, first)
    }

    /// The hook at both sites, without which nobody believes that they are gated.
    pub fn hooks(&self) {
        for site in ["a", "b"] {
            self.run(site, &["hook", "install", PROJECT]).ok();
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn repo(&self, site: &str) -> PathBuf {
        self.path(&format!("{site}/git/{PROJECT}.git"))
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        let parent = path.parent().unwrap();
        // Whatever the umask is, nobody else may write a configuration, or where it lies.
        if !parent.exists() {
            fs::create_dir_all(parent).unwrap();
            mode(parent, 0o755);
        }
        fs::write(&path, text).unwrap();
        mode(&path, 0o644);
    }

    pub fn mkdir(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
        mode(&self.path(name), 0o755);
    }

    /// Appends to the configuration of `site`.
    pub fn configure(&self, site: &str, text: &str) {
        let name = format!("{site}/refgate.config");
        let old = fs::read_to_string(self.path(&name)).unwrap();
        self.write(&name, old + text + "\n");
    }

    /// Commits on a ref of the project, which is made if there is none. Returns the oid.
    pub fn commit(&self, site: &str, name: &str, parents: &[&str]) -> String {
        let repo = self.repo(site);
        if !repo.exists() {
            git(self.dir.path(), &["init", "-q", "--bare", repo.to_str().unwrap()]);
        }
        let tree = git(&repo, &["mktree"]);
        let mut args = vec!["commit-tree", &tree, "-m", name];
        parents.iter().for_each(|p| args.extend(["-p", p]));
        let oid = git(&repo, &args);
        git(&repo, &["update-ref", name, &oid]);
        oid
    }

    /// `value name` of every ref.
    pub fn refs(&self, site: &str) -> String {
        git(&self.repo(site), &["for-each-ref", "--format=%(objectname) %(refname)"])
    }

    /// The value of a ref; empty when there is none.
    pub fn value(&self, site: &str, name: &str) -> String {
        git(&self.repo(site), &["for-each-ref", "--format=%(objectname)", name])
    }

    /// Runs the program in the directory of `site`.
    pub fn run<S: AsRef<OsStr>>(&self, site: &str, args: &[S]) -> Ran {
        Ran::of(self.command(site).args(args))
    }

    /// The program, about to start in the directory of `site`, without anybody's settings.
    pub fn command(&self, site: &str) -> Command {
        let mut command = clean(REFGATE, self.dir.path());
        command.current_dir(self.path(site));
        command
    }
}

/// The root of this tree.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A program that cargo is part of, about to start in `dir`. What it builds is kept between runs, so that only the first
/// one compiles the SDK; nothing is fetched.
pub fn with_cargo(mut command: Command, dir: &Path) -> Command {
    // rustup and cargo find themselves by HOME.
    let home = std::env::var_os("HOME").unwrap_or_default();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("filters");
    command
        .current_dir(dir)
        .env("HOME", home)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_NET_OFFLINE", "true");
    command
}

/// Builds the filter of the guide, which discards `refs/heads/wip/` as `work-in-progress`, to the file `to` of the lab.
pub fn example_filter(lab: &Lab, to: &str) {
    let example = root().join("filters/examples/wip");
    let mut build = with_cargo(lab.command(""), lab.dir.path());
    Ran::of(build.arg("build").arg(example).arg("-o").arg(to)).ok();
}

/// The shipped matcher as another plugin, which has to be told its patterns; with cases if there are any.
pub fn chooser(cases: Vec<Value>) -> Vec<u8> {
    let shipped = refgate_filters::EMBEDDED.iter().find(|e| e.name == "project-matcher").unwrap();
    let settings = serde_json::json!({
        "properties": {"pattern": {"type": "array", "items": {"type": "string"}}},
        "required": ["pattern"], "additionalProperties": false,
    });
    let manifest = refgate_runtime::Manifest { settings: Some(settings), cases, ..Default::default() };
    manifest.embed(shipped.wasm).unwrap()
}

/// A program without anybody's settings.
pub fn clean(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("GIT_") || text.starts_with("REFGATE_") {
            command.env_remove(&name);
        }
    }
    command.env("HOME", home).env("XDG_CONFIG_HOME", home).env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    command.stdin(Stdio::null());
    command
}

/// Runs git; returns what it prints, trimmed. Panics when it fails.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = clean("git", dir);
    command.arg("-C").arg(dir).args(args);
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "t").env(format!("GIT_{role}_EMAIL"), "t@example.invalid");
        command.env(format!("GIT_{role}_DATE"), "2020-01-01T00:00:00Z");
    }
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, 0, "git {args:?}: {}", ran.err);
    ran.out.trim().to_owned()
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

impl Ran {
    pub fn of(command: &mut Command) -> Ran {
        Ran::from(command.output().unwrap())
    }

    /// The result; panics unless the exit code is 0.
    pub fn ok(&self) -> &str {
        self.exits(0)
    }

    /// The result; panics unless the exit code is `code`.
    pub fn exits(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        assert!(!self.out.contains('\x1b') && !self.err.contains('\x1b'), "colours without a terminal");
        &self.out
    }

    /// Panics unless it failed with `code` before it printed a result, and says all of `parts` on standard error.
    pub fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.exits(code), "", "a result besides the error {}", self.err);
        self.says(parts);
        assert!(self.err.starts_with("error: "), "{}", self.err);
    }

    /// Panics unless all of `parts` are on standard error.
    pub fn says(&self, parts: &[&str]) {
        parts.iter().for_each(|p| assert!(self.err.contains(p), "`{p}` is not in: {}", self.err));
    }

    /// The one document on standard output; panics unless the exit code is `code`.
    pub fn json(&self, code: i32) -> Value {
        let text = self.exits(code);
        serde_json::from_str(text).unwrap_or_else(|e| panic!("not one document ({e}): {text}"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
