//! Which objects are here, of which type, and whether all that they lead to is here as well.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use refgate_core::Oid;

use crate::command::{git_in, run, run_ok, said};
use crate::{GitError, Repository};

/// The types of objects, as far as anybody here cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Commit,
    /// A tree, a blob or a tag.
    Other,
}

impl Repository {
    /// The objects among `oids` that are not in the object store, each once, in the order given. An id of another
    /// object format is missing.
    pub fn missing(&self, oids: &[Oid]) -> Result<Vec<Oid>, GitError> {
        let mut kinds = self.kinds(oids)?;
        // What was reported once counts as known from then on.
        Ok(oids.iter().copied().filter(|oid| kinds.insert(*oid, Kind::Other).is_none()).collect())
    }

    /// Those of `oids` that are commits and in the object store.
    pub fn commits(&self, oids: &[Oid]) -> Result<Vec<Oid>, GitError> {
        let kinds = self.kinds(oids)?;
        Ok(oids.iter().copied().filter(|oid| kinds.get(oid) == Some(&Kind::Commit)).collect())
    }

    /// The types of those objects among `oids` that are in the object store.
    pub(crate) fn kinds(&self, oids: &[Oid]) -> Result<HashMap<Oid, Kind>, GitError> {
        let mut input = Vec::with_capacity(oids.len() * 41);
        // To a repository of the longer format, an id of the shorter one would be an abbreviation.
        for oid in oids.iter().filter(|oid| oid.format() == self.object_format()) {
            push_line(&mut input, "", oid);
        }
        if input.is_empty() {
            return Ok(HashMap::new());
        }
        let mut command = git_in(self.git_dir());
        command.args(["cat-file", "--batch-check=%(objectname) %(objecttype)", "--buffer"]);
        let output = run_ok(command, input)?;
        let mut kinds = HashMap::with_capacity(oids.len());
        for line in output.split(|b| *b == b'\n') {
            let Some(space) = memchr::memchr(b' ', line) else {
                continue;
            };
            let kind = match &line[space + 1..] {
                b"missing" => continue,
                b"commit" => Kind::Commit,
                _ => Kind::Other,
            };
            let oid = Oid::from_hex(&line[..space])
                .map_err(|e| GitError::new(format!("`git cat-file` printed an id that is none: {e}")))?;
            kinds.insert(oid, kind);
        }
        Ok(kinds)
    }

    /// Whether each object is here together with all that it leads to: commits, trees, blobs.
    ///
    /// What refs lead to counts as complete, as git counts it; a ref that leads to nothing counts for nothing.
    pub fn complete(&self, oids: &[Oid]) -> Result<Vec<bool>, GitError> {
        let fits = |oid: &Oid| oid.format() == self.object_format();
        let asked: Vec<Oid> = oids.iter().copied().filter(fits).collect();
        let lacking: HashSet<Oid> =
            lacking(self.git_dir(), &asked, &[])?.into_iter().map(|(oid, _)| oid).collect();
        Ok(oids.iter().map(|oid| fits(oid) && !lacking.contains(oid)).collect())
    }
}

/// Those of `oids` that are not here, or not with all that they lead to, with what git says about it. What refs lead to, and
/// what `known` leads to, counts as complete.
pub(crate) fn lacking(git_dir: &Path, oids: &[Oid], known: &[Oid]) -> Result<Vec<(Oid, String)>, GitError> {
    let here = exist(git_dir, oids)?;
    let (present, absent): (Vec<_>, Vec<_>) = oids.iter().copied().zip(here).partition(|(_, here)| *here);
    let mut lacking: Vec<(Oid, String)> =
        absent.into_iter().map(|(oid, _)| (oid, format!("object `{oid}` is not here"))).collect();
    let (mut known, mut batches) = (known.to_vec(), vec![present.into_iter().map(|(oid, _)| oid).collect()]);
    // One walk for all; where it fails, one for each half, so that few bad objects cost few walks. What is whole need not be
    // walked again.
    while let Some(batch) = batches.pop() {
        let batch: Vec<Oid> = batch;
        match unconnected(git_dir, &batch, &known)? {
            None => known.extend(batch),
            Some(said) if batch.len() == 1 => lacking.push((batch[0], said)),
            Some(_) => {
                let (first, second) = batch.split_at(batch.len() / 2);
                batches.extend([second.to_vec(), first.to_vec()]);
            }
        }
    }
    Ok(lacking)
}

/// What git says of something that `oids` lead to and that is not here, or cannot be read, which comes to the same.
fn unconnected(git_dir: &Path, oids: &[Oid], known: &[Oid]) -> Result<Option<String>, GitError> {
    if oids.is_empty() {
        return Ok(None);
    }
    let mut command = git_in(git_dir);
    // The commit-graph may know a commit that is gone.
    command.args(["-c", "core.commitGraph=false", "rev-list", "--objects", "--quiet", "--stdin"]);
    // In this order git takes it amiss when an object is bad that is asked about, and not when a ref is.
    command.args(["--ignore-missing", "--not", "--all"]);
    let mut input = Vec::with_capacity((oids.len() + known.len()) * 42);
    oids.iter().for_each(|oid| push_line(&mut input, "", oid));
    known.iter().for_each(|oid| push_line(&mut input, "^", oid));
    let output = run(command, input)?;
    match output.status.code() {
        Some(0) => Ok(None),
        Some(_) => Ok(Some(said(&output))),
        None => Err(crate::command::failed("`git rev-list`", &output)),
    }
}

/// Whether each object is in the object store at `git_dir`, one answer per oid in the same order.
pub(crate) fn exist(git_dir: &Path, oids: &[Oid]) -> Result<Vec<bool>, GitError> {
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let mut git = git_in(git_dir);
    git.args(["cat-file", "--batch-check=%(objectname)", "--buffer"]);
    let mut input = Vec::with_capacity(oids.len() * 41);
    oids.iter().for_each(|oid| push_line(&mut input, "", oid));
    let output = run_ok(git, input)?;
    let answers: Vec<bool> =
        output.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| !l.ends_with(b" missing")).collect();
    match answers.len() == oids.len() {
        true => Ok(answers),
        false => Err(GitError::new("`git cat-file` did not answer for every object")),
    }
}

/// A line of input for git: an id with something in front.
pub(crate) fn push_line(input: &mut Vec<u8>, before: &str, oid: &Oid) {
    use std::io::Write;
    // Writing to a vector cannot fail.
    let _ = writeln!(input, "{before}{oid}");
}
