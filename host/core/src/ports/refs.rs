//! All refs of a repository, in columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::GitError;
use crate::{ObjectFormat, Oid};

/// What a ref holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An object.
    Oid(Oid),
    /// The name of another ref. Replication neither sends such a ref nor writes through it.
    Symbolic,
    /// Nobody can tell: the file is damaged, or may not be read. The text says why and what to do. The other refs are
    /// not concerned.
    Broken(Arc<str>),
}

impl Target {
    /// The object, unless the ref is symbolic or cannot be read.
    pub fn oid(&self) -> Option<Oid> {
        match self {
            Target::Oid(oid) => Some(*oid),
            Target::Symbolic | Target::Broken(_) => None,
        }
    }
}

/// Names and targets of refs in byte order of the names, each name once.
///
/// Half a million refs are 35 MB of names and 10 MB of ids, in three allocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefList {
    format: ObjectFormat,
    names: Vec<u8>,
    /// Exclusive end of each name.
    ends: Vec<usize>,
    /// Raw ids back to back; zeros, which are never an id, for a ref without one.
    oids: Vec<u8>,
    /// Why refs of the list cannot be read, by name.
    broken: BTreeMap<Vec<u8>, Arc<str>>,
    /// Directories that cannot be read, as `refs/heads/x/`, and why: nothing is known of any name below.
    closed: BTreeMap<Vec<u8>, Arc<str>>,
    /// Files among the refs that are none, for a person to look at.
    strangers: Vec<String>,
}

impl RefList {
    /// A list without refs, for a repository of this format.
    pub fn new(format: ObjectFormat) -> RefList {
        RefList {
            format,
            names: Vec::new(),
            ends: Vec::new(),
            oids: Vec::new(),
            broken: BTreeMap::new(),
            closed: BTreeMap::new(),
            strangers: Vec::new(),
        }
    }

    /// Files among the refs that are no refs, each with why; git passes over them, too.
    pub fn strangers(&self) -> &[String] {
        &self.strangers
    }

    /// Adds a file that is no ref, and why.
    pub fn add_stranger(&mut self, why: String) {
        self.strangers.push(why);
    }

    /// Nothing is known of the names below the directory `dir`, for `why`.
    pub fn close(&mut self, dir: &[u8], why: &str) {
        self.closed.insert([dir, b"/"].concat(), why.into());
    }

    /// Why nothing is known of `name`: a directory above it cannot be read.
    fn closed_above(&self, name: &[u8]) -> Option<Target> {
        if self.closed.is_empty() {
            return None;
        }
        let mut above = (0..name.len()).filter(|i| name[*i] == b'/').map(|slash| &name[..=slash]);
        above.find_map(|dir| self.closed.get(dir)).map(|why| Target::Broken(why.clone()))
    }

    /// Room for `refs` refs whose names have `bytes` bytes together.
    pub fn reserve(&mut self, refs: usize, bytes: usize) {
        self.names.reserve(bytes);
        self.ends.reserve(refs);
        self.oids.reserve(refs * self.format.oid_len());
    }

    /// Appends a ref. The caller sees to the order.
    pub fn push(&mut self, name: &[u8], target: Target) {
        self.names.extend_from_slice(name);
        self.ends.push(self.names.len());
        match target {
            Target::Oid(oid) => self.oids.extend_from_slice(oid.as_bytes()),
            Target::Symbolic => self.oids.resize(self.oids.len() + self.format.oid_len(), 0),
            Target::Broken(why) => {
                self.broken.insert(name.to_vec(), why);
                self.oids.resize(self.oids.len() + self.format.oid_len(), 0);
            }
        }
    }

    /// How many refs there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The name of ref `i`.
    ///
    /// # Panics
    /// When `i >= len`.
    pub fn name(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.names[start..self.ends[i]]
    }

    /// What ref `i` holds.
    ///
    /// # Panics
    /// When `i >= len`.
    pub fn target(&self, i: usize) -> Target {
        let len = self.format.oid_len();
        match (Oid::from_bytes(&self.oids[i * len..(i + 1) * len]), self.broken.is_empty()) {
            (Ok(oid), _) => Target::Oid(oid),
            (Err(_), true) => Target::Symbolic,
            (Err(_), false) => {
                self.broken.get(self.name(i)).cloned().map_or(Target::Symbolic, Target::Broken)
            }
        }
    }

    /// All refs in byte order of their names, symbolic ones included.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], Target)> {
        (0..self.len()).map(|i| (self.name(i), self.target(i)))
    }

    /// Where the name is, or would be.
    pub fn position(&self, name: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// What the ref with exactly this name holds. A name below a directory that cannot be read is broken, as nobody
    /// knows whether it is there.
    pub fn get(&self, name: &[u8]) -> Option<Target> {
        self.closed_above(name).or_else(|| self.position(name).ok().map(|i| self.target(i)))
    }

    /// The refs of both lists; where both have a name, or `over` cannot tell, `over` wins.
    pub fn overlaid(mut self, over: &RefList) -> RefList {
        let closed: Vec<(usize, Target)> = match over.closed.is_empty() {
            true => Vec::new(),
            false => (0..self.len()).filter_map(|i| Some((i, over.closed_above(self.name(i))?))).collect(),
        };
        for (i, target) in closed {
            let (Target::Broken(why), len) = (target, self.format.oid_len()) else { continue };
            self.oids[i * len..(i + 1) * len].fill(0);
            self.broken.insert(self.name(i).to_vec(), why);
        }
        self.closed.clone_from(&over.closed);
        self.strangers.extend_from_slice(&over.strangers);
        if over.is_empty() {
            return self;
        }
        let mut merged = RefList::new(self.format);
        (merged.closed, merged.strangers) = (self.closed.clone(), self.strangers.clone());
        merged.reserve(self.len() + over.len(), self.names.len() + over.names.len());
        let mut i = 0;
        for (name, target) in over.iter() {
            while i < self.len() && self.name(i) < name {
                merged.push(self.name(i), self.target(i));
                i += 1;
            }
            if i < self.len() && self.name(i) == name {
                i += 1;
            }
            merged.push(name, target);
        }
        (i..self.len()).for_each(|i| merged.push(self.name(i), self.target(i)));
        merged
    }

    /// The same refs in byte order; they come from `whence`.
    ///
    /// # Errors
    /// A name that occurs twice: nobody can say which value holds.
    pub fn sorted(self, whence: &str) -> Result<RefList, GitError> {
        let twice = |name: &[u8]| {
            GitError::new(format!("{whence} holds `{}` twice", crate::escape(name)))
                .hint("`git fsck` there tells more; keep a copy before repairing it")
        };
        let mut in_order = true;
        for i in 1..self.len() {
            match self.name(i - 1).cmp(self.name(i)) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Err(twice(self.name(i))),
                std::cmp::Ordering::Greater => in_order = false,
            }
        }
        if in_order {
            return Ok(self);
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_unstable_by_key(|i| self.name(*i));
        let mut sorted = RefList::new(self.format);
        (sorted.closed, sorted.strangers) = (self.closed.clone(), self.strangers.clone());
        sorted.reserve(self.len(), self.names.len());
        for i in order {
            if !sorted.is_empty() && sorted.name(sorted.len() - 1) == self.name(i) {
                return Err(twice(self.name(i)));
            }
            sorted.push(self.name(i), self.target(i));
        }
        Ok(sorted)
    }
}
