//! Which commits are contained in which: in bulk, so that a hundred thousand questions cost two walks of history.
//!
//! First only the commits that are new since the ancestors are walked. Nearly all questions are about fast-forwards,
//! which this settles at the price of the new commits alone. What is left is asked pair by pair when it is little, and
//! settled by one walk of all history when it is much.

use std::collections::{HashMap, HashSet};

use refgate_core::Oid;

use crate::command::{failed, git_in, run};
use crate::objects::{Kind, push_line};
use crate::{GitError, Repository};

/// Up to this many pairs, a process for each is cheaper than a walk of all history.
const FEW: usize = 24;

/// `(ancestor, descendant)`
type Pair = (Oid, Oid);

impl Repository {
    /// Whether the first of each pair is an ancestor of, or equal to, the second.
    ///
    /// Only between two commits: anything else, or what is not here, is an ancestor of nothing but itself. Replace refs
    /// and grafts do not count, and history ends at a shallow boundary, or where a commit is missing.
    pub fn ancestry(&self, pairs: &[(Oid, Oid)]) -> Result<Vec<bool>, GitError> {
        let mut asked: Vec<Pair> = pairs.iter().copied().filter(|(a, d)| a != d).collect();
        asked.sort_unstable();
        asked.dedup();
        let mut oids: Vec<Oid> = asked.iter().flat_map(|(a, d)| [*a, *d]).collect();
        oids.sort_unstable();
        oids.dedup();
        let kinds = self.kinds(&oids)?;
        let commit = |oid: &Oid| kinds.get(oid) == Some(&Kind::Commit);
        asked.retain(|(a, d)| commit(a) && commit(d));

        let mut contained = HashSet::new();
        if asked.len() > FEW {
            let found = self.sweep(&asked, true)?;
            contained.extend(found.iter().copied());
            asked.retain(|pair| !contained.contains(pair));
        }
        if asked.len() > FEW {
            contained.extend(self.sweep(&asked, false)?);
        } else {
            for pair in asked {
                if self.is_ancestor(&pair)? {
                    contained.insert(pair);
                }
            }
        }
        Ok(pairs.iter().map(|pair| pair.0 == pair.1 || contained.contains(pair)).collect())
    }

    /// One pair by git's own test.
    fn is_ancestor(&self, (ancestor, descendant): &Pair) -> Result<bool, GitError> {
        let mut command = git_in(self.git_dir());
        command.args(["merge-base", "--is-ancestor", &ancestor.to_string(), &descendant.to_string()]);
        let output = run(command, Vec::new())?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            // Both are commits, so what stops the walk is a commit that is not here. It may be on a side branch only:
            // a walk that goes past it finds the way around.
            _ => Ok(!self.sweep(&[(*ancestor, *descendant)], false)?.is_empty()),
        }
    }

    /// The pairs that hold, by one walk from all descendants.
    ///
    /// With `only_new`, the walk leaves out everything that any of the ancestors contains. What it finds holds all the
    /// same, as every step is from a commit to its real parent; but it does not find a way that leads through another
    /// of the ancestors, or through what that one contains. Without, it finds all.
    fn sweep(&self, pairs: &[Pair], only_new: bool) -> Result<Vec<Pair>, GitError> {
        let mut input = Vec::new();
        let (mut ancestors, mut descendants): (Vec<Oid>, Vec<Oid>) = pairs.iter().copied().unzip();
        descendants.sort_unstable();
        descendants.dedup();
        descendants.iter().for_each(|oid| push_line(&mut input, "", oid));
        if only_new {
            ancestors.sort_unstable();
            ancestors.dedup();
            ancestors.iter().for_each(|oid| push_line(&mut input, "^", oid));
        }
        let walk = |missing: Option<&str>| {
            let mut command = git_in(self.git_dir());
            command.args(["rev-list", "--topo-order", "--parents", "--stdin"]).args(missing);
            run(command, input.clone())
        };
        let mut output = walk(None)?;
        if !output.status.success() {
            // This one goes on where a commit is missing.
            output = walk(Some("--missing=allow-any"))?;
        }
        if !output.status.success() {
            return Err(failed("`git rev-list`", &output).hint("`git fsck` in the repository tells more"));
        }
        Ok(History::parse(&output.stdout)?.contained(pairs))
    }
}

/// Commits in topological order, children before parents, with their parents.
struct History {
    index: HashMap<Oid, u32>,
    /// Indices of parents, back to back; always greater than the child's.
    parents: Vec<u32>,
    /// Exclusive end of each commit's parents. Commits behind the walk have no entry, and none is needed.
    ends: Vec<usize>,
}

impl History {
    /// Reads lines of a commit and its parents.
    fn parse(text: &[u8]) -> Result<History, GitError> {
        let oid = |hex: &[u8]| {
            Oid::from_hex(hex)
                .map_err(|e| GitError::new(format!("`git rev-list` printed an id that is none: {e}")))
        };
        let lines = || text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let mut index = HashMap::new();
        // The commits of the walk come first, so that a parent that is not among them sorts behind all of them.
        for line in lines() {
            let hex = line.split(|b| *b == b' ').next().unwrap_or(line);
            let next = index.len() as u32;
            index.insert(oid(hex)?, next);
        }
        let (mut parents, mut ends) = (Vec::new(), Vec::with_capacity(index.len()));
        for line in lines() {
            for hex in line.split(|b| *b == b' ').skip(1) {
                let next = index.len() as u32;
                parents.push(*index.entry(oid(hex)?).or_insert(next));
            }
            ends.push(parents.len());
        }
        Ok(History { index, parents, ends })
    }

    /// The pairs whose ancestor can be reached: 64 descendants in one pass, a bit for each.
    fn contained(&self, pairs: &[Pair]) -> Vec<Pair> {
        // What the walk did not meet is in nothing that it met. A descendant that it left out leads nowhere. And nothing
        // contains what sorts before it.
        let mut known: Vec<(u32, u32, Pair)> = pairs
            .iter()
            .filter_map(|pair| Some((*self.index.get(&pair.1)?, *self.index.get(&pair.0)?, *pair)))
            .filter(|(descendant, ancestor, _)| descendant < ancestor)
            .collect();
        // Neighbours in history share a pass, which begins at the first and ends at the last commit that matters.
        known.sort_unstable();
        let mut found = Vec::new();
        let mut reached = vec![0u64; self.index.len()];
        let mut rest = known.as_slice();
        while let Some((first, ..)) = rest.first() {
            let mut starts: Vec<u32> = Vec::with_capacity(64);
            let mut taken = 0;
            for (descendant, ..) in rest {
                if starts.last() != Some(descendant) {
                    if starts.len() == 64 {
                        break;
                    }
                    starts.push(*descendant);
                }
                taken += 1;
            }
            let (now, later) = rest.split_at(taken);
            rest = later;
            let last = now.iter().map(|(_, ancestor, _)| *ancestor).max().unwrap_or(*first);
            reached[*first as usize..].fill(0);
            starts.iter().enumerate().for_each(|(bit, at)| reached[*at as usize] |= 1 << bit);
            for at in *first as usize..self.ends.len().min(last as usize) {
                let bits = reached[at];
                if bits != 0 {
                    let from = if at == 0 { 0 } else { self.ends[at - 1] };
                    self.parents[from..self.ends[at]]
                        .iter()
                        .for_each(|parent| reached[*parent as usize] |= bits);
                }
            }
            for (descendant, ancestor, pair) in now {
                // Every descendant of the pass is among its sorted starts.
                let bit = starts.partition_point(|start| start < descendant);
                if reached[*ancestor as usize] >> bit & 1 == 1 {
                    found.push(*pair);
                }
            }
        }
        found
    }
}
