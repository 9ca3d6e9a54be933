//! Which objects are here, of which type, and whether all that they lead to is here as well.

use std::collections::HashMap;

use refgate_core::Oid;

use crate::command::{git_in, run, run_ok};
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
    /// What refs lead to counts as complete, as git counts it, unless a ref leads to nothing.
    pub fn complete(&self, oids: &[Oid]) -> Result<Vec<bool>, GitError> {
        let kinds = self.kinds(oids)?;
        let here: Vec<Oid> = oids.iter().copied().filter(|oid| kinds.contains_key(oid)).collect();
        // With a ref that leads to nothing, git cannot leave out what refs lead to; then all history is walked.
        let behind_refs = self.connected(&[], true)?;
        let mut whole = HashMap::with_capacity(here.len());
        self.complete_by_halves(&here, behind_refs, &mut whole)?;
        Ok(oids.iter().map(|oid| whole.get(oid).copied().unwrap_or(false)).collect())
    }

    /// One walk for all; where it fails, one for each half, so that few bad objects cost few walks.
    fn complete_by_halves(
        &self,
        oids: &[Oid],
        behind_refs: bool,
        whole: &mut HashMap<Oid, bool>,
    ) -> Result<(), GitError> {
        let good = oids.is_empty() || self.connected(oids, behind_refs)?;
        if good || oids.len() == 1 {
            whole.extend(oids.iter().map(|oid| (*oid, good)));
            return Ok(());
        }
        let (first, second) = oids.split_at(oids.len() / 2);
        self.complete_by_halves(first, behind_refs, whole)?;
        self.complete_by_halves(second, behind_refs, whole)
    }

    fn connected(&self, oids: &[Oid], behind_refs: bool) -> Result<bool, GitError> {
        let mut command = git_in(self.git_dir());
        command.args(["rev-list", "--objects", "--quiet", "--stdin"]);
        if behind_refs {
            command.args(["--not", "--all"]);
        }
        let mut input = Vec::with_capacity(oids.len() * 41);
        oids.iter().for_each(|oid| push_line(&mut input, "", oid));
        let output = run(command, input)?;
        match output.status.code() {
            Some(0) => Ok(true),
            // 128: an object that the walk needs is not here, or cannot be read, which comes to the same.
            Some(_) => Ok(false),
            None => Err(crate::command::failed("`git rev-list`", &output)),
        }
    }
}

/// A line of input for git: an id with something in front.
pub(crate) fn push_line(input: &mut Vec<u8>, before: &str, oid: &Oid) {
    use std::io::Write;
    // Writing to a vector cannot fail.
    let _ = writeln!(input, "{before}{oid}");
}
