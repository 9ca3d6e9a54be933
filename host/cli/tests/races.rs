//! Two clients push the same branch at two sites at the same instant, over and over: with the real program, its hooks, and
//! every ref-db that several sites can share. Exactly one wins each round, nothing that was accepted is lost, and both
//! sites end equal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
#[cfg(feature = "etcd")]
use refgate_servers::Etcd;
use refgate_servers::{ZOOKEEPER, ZooKeeper, missing};
use tempfile::TempDir;

const REFGATE: &str = env!("CARGO_BIN_EXE_refgate");
const PROJECT: &str = "team/app";
const MAIN: &str = "refs/heads/main";

/// Rounds of each race; more with `REFGATE_RACE_ROUNDS`.
const ROUNDS: usize = 12;

fn main() {
    let mut trials = Vec::new();
    for storage in ["files", "reftable"] {
        let sqlite = move || race(storage, &|dir| format!("sqlite:{}", dir.join("refdb.sqlite").display()));
        trials.push(Trial::test(format!("sqlite::{storage}"), sqlite));
        let zookeeper = move || {
            let server = ZooKeeper::start();
            race(storage, &|_| format!("zookeeper://{}/gerrit/multi-site", server.address()))
        };
        let absent = missing("zookeeper", ZOOKEEPER);
        trials.push(
            Trial::test(format!("zookeeper::{storage}"), zookeeper).with_ignored_flag(absent.is_some()),
        );
        #[cfg(feature = "etcd")]
        {
            let etcd = move || {
                let server = Etcd::start();
                race(storage, &|_| format!("etcd://{}/refgate", server.address()))
            };
            let absent = Etcd::missing();
            trials.push(Trial::test(format!("etcd::{storage}"), etcd).with_ignored_flag(absent.is_some()));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Two sites, each with a bare repository and one client.
struct Sites {
    dir: TempDir,
}

fn race(storage: &str, url: &dyn Fn(&Path) -> String) -> Result<(), Failed> {
    let sites = Sites::new(storage, url);
    let rounds = std::env::var("REFGATE_RACE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let mut accepted = Vec::new();
    for round in 0..rounds {
        let commits = ["a", "b"].map(|site| sites.commit(site, round));
        let pushes = ["a", "b"].map(|site| {
            let mut push = sites.git(&sites.client(site), &["push", "-q", "origin", "HEAD:refs/heads/main"]);
            push.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("git starts")
        });
        let ends = pushes.map(|push| push.wait_with_output().expect("git ends"));
        let told = ends.each_ref().map(|end| String::from_utf8_lossy(&end.stderr).into_owned());
        let wins: Vec<usize> = (0..2).filter(|i| ends[*i].status.success()).collect();
        let [winner] = wins[..] else {
            return Err(format!("round {round}: {} won\na: {}\nb: {}", wins.len(), told[0], told[1]).into());
        };
        let loser = 1 - winner;
        if !told[loser].contains("remote rejected") || !told[loser].contains(&commits[winner]) {
            return Err(format!("round {round}: the loser is not told what is there: {}", told[loser]).into());
        }
        accepted.push(commits[winner].clone());
        let (from, to) = (["a", "b"][winner], ["a", "b"][loser]);
        sites.refgate(from, &["push", PROJECT, to])?;
        sites.refgate(to, &["fetch", PROJECT, from])?;
        for site in ["a", "b"] {
            let there = sites.value(site);
            if there != commits[winner] {
                let want = &commits[winner];
                return Err(format!("round {round}: site {site} is at {there}, accepted was {want}").into());
            }
        }
    }
    // The clients go on from what was accepted, so the last value contains all of it.
    let log = sites.out(&sites.repo("a"), &["rev-list", MAIN]);
    match accepted.iter().find(|commit| !log.contains(commit.as_str())) {
        Some(lost) => Err(format!("{lost} was accepted and is gone").into()),
        None => Ok(()),
    }
}

impl Sites {
    fn new(storage: &str, url: &dyn Fn(&Path) -> String) -> Sites {
        let sites = Sites { dir: TempDir::new().expect("a directory") };
        let url = url(sites.dir.path());
        for (site, other) in [("a", "b"), ("b", "a")] {
            let config = format!(
                "[site]\n    name = {site}\n    basePath = git\n    writes = gated\n\
                 [ref-database]\n    url = {url}\n\
                 [replication \"push-filter\"]\n    minWaitBeforeReloadLocalVersionMs = 2\n    maxRandomWaitBeforeReloadLocalVersionMs = 1\n\
                 [replication \"fetch-filter\"]\n    minWaitBeforeReloadLocalVersionMs = 2\n    maxRandomWaitBeforeReloadLocalVersionMs = 1\n\
                 [remote \"{other}\"]\n    url = ../{other}/git/${{name}}.git\n    writes = gated\n"
            );
            let path = sites.dir.path().join(site).join("refgate.config");
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(&path, config).expect("a configuration");
            let repo = sites.repo(site);
            let storage = format!("--ref-format={storage}");
            sites.out(
                sites.dir.path(),
                &["init", "-q", "--bare", "-b", "main", &storage, &repo.to_string_lossy()],
            );
            let client = sites.client(site);
            sites.out(sites.dir.path(), &["init", "-q", "-b", "main", &client.to_string_lossy()]);
            sites.out(&client, &["remote", "add", "origin", &repo.to_string_lossy()]);
        }
        // Before the first push there is no entry, and a store that does not exist is made by `seed` alone.
        for site in ["a", "b"] {
            sites.refgate(site, &["refdb", "seed", PROJECT]).expect("it seeds");
            sites.refgate(site, &["hook", "install", PROJECT]).expect("it installs");
        }
        sites
    }

    fn repo(&self, site: &str) -> PathBuf {
        self.dir.path().join(site).join("git").join(format!("{PROJECT}.git"))
    }

    fn client(&self, site: &str) -> PathBuf {
        self.dir.path().join(format!("client-{site}"))
    }

    /// A commit on top of what the client's site holds.
    fn commit(&self, site: &str, round: usize) -> String {
        let client = self.client(site);
        if round > 0 {
            self.out(&client, &["fetch", "-q", "origin"]);
            self.out(&client, &["reset", "-q", "--hard", "origin/main"]);
        }
        self.out(&client, &["commit", "-q", "--allow-empty", "-m", &format!("{site} {round}")]);
        self.out(&client, &["rev-parse", "HEAD"])
    }

    fn value(&self, site: &str) -> String {
        self.out(&self.repo(site), &["rev-parse", MAIN])
    }

    fn git(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = self.clean("git");
        command.arg("-C").arg(dir).args(args);
        command
    }

    fn out(&self, dir: &Path, args: &[&str]) -> String {
        let output = self.git(dir, args).output().expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs the program at a site; held back is fine, failed is not.
    fn refgate(&self, site: &str, args: &[&str]) -> Result<(), Failed> {
        let output = self.clean(REFGATE).current_dir(self.dir.path().join(site)).args(args).output()?;
        match output.status.code() {
            Some(0 | 3) => Ok(()),
            _ => {
                Err(format!("refgate {args:?} at {site}: {}", String::from_utf8_lossy(&output.stderr)).into())
            }
        }
    }

    fn clean(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("GIT_") || text.starts_with("REFGATE_") {
                command.env_remove(&name);
            }
        }
        command.env("HOME", self.dir.path()).env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "t")
                .env(format!("GIT_{role}_EMAIL"), "t@example.invalid");
        }
        command.stdin(Stdio::null());
        command
    }
}
