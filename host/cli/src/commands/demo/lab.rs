//! The sites of the demonstration: bare repositories made and written with real git.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use refgate_core::{Atomicity, Deadline, Edit, Expected, GlobalRef, Oid, Project, RefName};
use refgate_host::{Error, Site};

/// Two sites below one directory.
pub struct Lab {
    dir: PathBuf,
    project: String,
    commits: Mutex<BTreeMap<String, String>>,
}

impl Lab {
    /// Makes both, each with an empty repository of the project.
    pub fn new(dir: &Path, project: &str) -> Result<Lab, Error> {
        let lab = Lab { dir: dir.to_owned(), project: project.to_owned(), commits: Mutex::default() };
        for site in ["site-a", "site-b"] {
            let repository = lab.repository(site);
            std::fs::create_dir_all(&repository)
                .map_err(|e| Error::failed(format!("cannot create `{}`: {e}", repository.display())))?;
            git(&repository, &["init", "--quiet", "--bare", "."])?;
            git(&repository, &["symbolic-ref", "HEAD", "refs/heads/main"])?;
        }
        Ok(lab)
    }

    fn repository(&self, site: &str) -> PathBuf {
        self.dir.join(site).join("git").join(format!("{}.git", self.project))
    }

    /// Commits on a branch at a site, as a push of a client would; returns the oid.
    pub fn commit(&self, site: &str, branch: &str, message: &str) -> Result<String, Error> {
        let repository = self.repository(site);
        let tree = git(&repository, &["mktree"])?;
        let name = format!("refs/heads/{branch}");
        let old = git(&repository, &["for-each-ref", "--format=%(objectname)", &name])?;
        let mut args = vec!["commit-tree", &tree, "-m", message];
        if !old.is_empty() {
            args.extend(["-p", &old]);
        }
        let oid = git(&repository, &args)?;
        git(&repository, &["update-ref", &name, &oid])?;
        self.commits.lock().unwrap_or_else(|p| p.into_inner()).insert(message.to_owned(), oid.clone());
        Ok(oid)
    }

    /// What replication without a gate does.
    pub fn push_plainly(&self, from: &str, to: &str) -> Result<(), Error> {
        let to = self.repository(to);
        git(&self.repository(from), &["push", "--quiet", "--mirror", &to.display().to_string()]).map(drop)
    }

    /// Every ref with its value.
    pub fn refs(&self, site: &str) -> Result<String, Error> {
        git(&self.repository(site), &["for-each-ref", "--format=%(objectname) %(refname)"])
    }

    /// Whether some ref of a site contains a commit.
    pub fn reachable(&self, site: &str, oid: &str) -> Result<bool, Error> {
        let repository = self.repository(site);
        let refs = git(&repository, &["rev-list", "--all"])?;
        Ok(refs.lines().any(|line| line == oid))
    }

    /// Records what a site holds, as `refdb seed` does.
    pub async fn seed(&self, site: &Site) -> Result<(), Error> {
        self.publish(site, "main", None, "first").await
    }

    /// Records a write in the ref-db, as a gated site does for every push.
    pub async fn publish(
        &self,
        site: &Site,
        branch: &str,
        old: Option<&str>,
        new: &str,
    ) -> Result<(), Error> {
        let edit = {
            let commits = self.commits.lock().unwrap_or_else(|p| p.into_inner());
            let oid = |message: &str| {
                let hex = commits.get(message).map(String::as_str).unwrap_or_default();
                hex.parse::<Oid>().map(GlobalRef::At).map_err(|e| Error::failed(e.to_string()))
            };
            let expected = Expected::Exactly(old.map(oid).transpose()?.unwrap_or_default());
            Edit::new(RefName::new(format!("refs/heads/{branch}"))?, expected, oid(new)?).fast_forward(true)
        };
        let deadline = Deadline::after(site.gate.clock().as_ref(), site.gate.config().ref_database.timeout);
        let project = Project::new(self.project.clone())?;
        let refdb = site.gate.refdb();
        match refdb.compare_and_put(&project, &[edit], Atomicity::Each, deadline).await?.as_slice() {
            [refgate_core::Outcome::Applied] => Ok(()),
            other => Err(Error::failed(format!("the ref-db did not take the write: {other:?}"))),
        }
    }
}

/// The configuration of one site: the ref-db is shared, waits are short.
pub fn write_config(file: &Path, name: &str, other: &str) -> Result<(), Error> {
    let text = format!(
        "[site]\n    name = {name}\n    basePath = git\n    writes = gated\n\
         [ref-database]\n    url = sqlite:../refdb.sqlite\n\
         [replication \"push-filter\"]\n    minWaitBeforeReloadLocalVersionMs = 100\n    \
         maxRandomWaitBeforeReloadLocalVersionMs = 200\n\
         [replication \"fetch-filter\"]\n    minWaitBeforeReloadLocalVersionMs = 100\n    \
         maxRandomWaitBeforeReloadLocalVersionMs = 200\n\
         [remote \"{other}\"]\n    url = ../{other}/git/${{name}}.git\n    writes = gated\n"
    );
    std::fs::write(file, text).map_err(|e| Error::failed(format!("cannot write `{}`: {e}", file.display())))
}

/// Runs git with settings that depend on nobody; returns what it prints, trimmed.
fn git(repository: &Path, args: &[&str]) -> Result<String, Error> {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]).args(args);
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(name);
    }
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "refgate demo")
            .env(format!("GIT_{role}_EMAIL"), "demo@refgate.invalid");
    }
    command.env("LC_ALL", "C").stdin(std::process::Stdio::null());
    let output = command.output().map_err(|e| {
        Error::failed(format!("cannot start git: {e}")).hint("install git, and put it on the PATH")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::failed(format!("git {} failed: {said}", args.first().unwrap_or(&""))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
