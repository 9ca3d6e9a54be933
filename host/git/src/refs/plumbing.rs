//! Refs through git itself, for every kind of ref storage that we do not read on our own.

use refgate_core::{Oid, RefName, escape};

use super::packed::check_name;
use super::{RefList, Target};
use crate::command::{failed, git_in, run};
use crate::{GitError, Repository};

/// Names on one command line: `for-each-ref` compares every ref with every name, and the line has a limit.
const FEW: usize = 32;

/// Every ref below `refs/`.
pub(super) fn list(repository: &Repository) -> Result<RefList, GitError> {
    let list = for_each_ref(repository, std::iter::empty())?;
    readable(repository)?;
    Ok(list)
}

/// The refs below some directories of names, as `refs/heads/x/`.
pub(super) fn below(repository: &Repository, dirs: &[Vec<u8>]) -> Result<RefList, GitError> {
    for_each_ref(repository, dirs.iter().map(Vec::as_slice))
}

/// The values of these refs, exactly by name.
pub(super) fn get(repository: &Repository, names: &[&RefName]) -> Result<Vec<Option<Target>>, GitError> {
    // Given a name, git lists the refs below it as well: those are not asked for, and dropped by the lookup.
    let few = if names.len() <= FEW { names } else { &[] };
    let list = for_each_ref(repository, few.iter().map(|name| name.as_bytes()))?;
    let targets: Vec<_> = names.iter().map(|name| list.get(name.as_bytes())).collect();
    if targets.contains(&None) {
        readable(repository)?;
    }
    Ok(targets)
}

/// Whether git can read the refs at all. Of a damaged reftable it lists nothing, and succeeds. But `HEAD` is in the same
/// tables, and every repository has one.
fn readable(repository: &Repository) -> Result<(), GitError> {
    // The first holds unless HEAD is detached, the second when it is.
    for probe in
        [["symbolic-ref", "-q", "HEAD"].as_slice(), &["rev-parse", "-q", "--verify", "HEAD^{object}"]]
    {
        let mut command = git_in(repository.git_dir());
        command.args(probe);
        if run(command, Vec::new())?.status.success() {
            return Ok(());
        }
    }
    let shown = repository.git_dir().display();
    Err(GitError::new(format!("git cannot read the refs of `{shown}`, not even `HEAD`")).hint(
        "look at the `reftable` directory there, and restore it from a backup; `git fsck` may tell more",
    ))
}

fn for_each_ref<'p>(
    repository: &Repository,
    patterns: impl Iterator<Item = &'p [u8]>,
) -> Result<RefList, GitError> {
    let mut command = git_in(repository.git_dir());
    // No name can hold a space. The default format would open every object.
    command.args(["for-each-ref", "--format=%(objectname) %(symref) %(refname)", "--"]);
    for name in patterns {
        command.arg(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
    }
    let output = run(command, Vec::new())?;
    if !output.status.success() {
        return Err(failed("`git for-each-ref`", &output));
    }
    let shown = repository.git_dir().display();
    let mut list = RefList::new(repository.object_format());
    // git leaves out refs that it cannot read, and says so only here. A ref that leads to no ref is a symbolic one.
    for line in output.stderr.split(|b| *b == b'\n') {
        if line.starts_with(b"warning: ignoring dangling symref") {
            continue;
        }
        let named = |phrase: &[u8]| line.strip_prefix(phrase).filter(|name| check_name(name).is_ok());
        if let Some(name) = named(b"warning: ignoring broken ref ") {
            let why = format!("git calls it a broken ref of `{shown}`; set it anew with `git update-ref`");
            list.push(name, Target::Broken(why.into()));
        } else if line.starts_with(b"warning: ignoring") {
            list.add_stranger(format!("git says of `{shown}`: {}", escape(line)));
        } else if line.starts_with(b"error:") {
            return Err(GitError::new(format!("git cannot read all refs of `{shown}`: {}", escape(line)))
                .hint("`git fsck` there tells more; nobody can say which ref is meant"));
        }
    }
    for line in output.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(3, |b| *b == b' ');
        let (Some(hex), Some(symref), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(GitError::new(format!("`git for-each-ref` printed `{}`", escape(line))));
        };
        let target = match symref.is_empty() {
            false => Target::Symbolic,
            true => Target::Oid(
                Oid::from_hex(hex).map_err(|e| GitError::new(format!("the ref `{}`: {e}", escape(name))))?,
            ),
        };
        list.push(name, target);
    }
    list.sorted("git's list of refs")
}
