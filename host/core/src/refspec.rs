//! Refspecs: which refs travel, under which name, and whether they may be forced.

use std::fmt;

use crate::{RefName, escape};

/// One refspec of a remote: `[+]SOURCE[:DESTINATION]` with at most one `*` on each side, or `^SOURCE`, which excludes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refspec {
    /// `+`: an update that is not a fast-forward may go.
    pub forced: bool,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Map { source: Side, destination: Side },
    Exclude(Side),
}

/// A full ref name, or what stands before and after the `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    Exact(Vec<u8>),
    Glob(Vec<u8>, Vec<u8>),
}

impl Side {
    fn parse(text: &str) -> Result<Side, &'static str> {
        if !text.starts_with("refs/") {
            return Err("both sides are full names that begin with `refs/`");
        }
        let (legal, side) = match text.split_once('*') {
            None => (text.to_owned(), Side::Exact(text.into())),
            Some((_, after)) if after.contains('*') => return Err("a side holds at most one `*`"),
            Some((before, after)) => (format!("{before}x{after}"), Side::Glob(before.into(), after.into())),
        };
        RefName::new(legal).map_err(|e| e.why)?;
        Ok(side)
    }

    /// What the `*` stands for in `name`; empty for an exact match.
    fn matches<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        match self {
            Side::Exact(whole) => (whole == name).then_some(&[]),
            Side::Glob(before, after) => {
                let rest = name.strip_prefix(before.as_slice())?;
                rest.strip_suffix(after.as_slice()).filter(|star| !star.is_empty())
            }
        }
    }

    fn fill(&self, star: &[u8]) -> Option<RefName> {
        let name = match self {
            Side::Exact(whole) => whole.clone(),
            Side::Glob(before, after) => [before, star, after].concat(),
        };
        RefName::new(name).ok()
    }

    fn is_glob(&self) -> bool {
        matches!(self, Side::Glob(..))
    }
}

impl Refspec {
    /// Parses one refspec. Deletions (`:name`) and abbreviated names are refused: what is deleted is up to the ref-db.
    pub fn parse(text: &str) -> Result<Refspec, RefspecError> {
        let error = |why| RefspecError { text: escape(text.as_bytes()), why };
        if let Some(excluded) = text.strip_prefix('^') {
            let kind = Kind::Exclude(Side::parse(excluded).map_err(error)?);
            return Ok(Refspec { forced: false, kind });
        }
        let (forced, rest) = match text.strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (source, destination) = rest.split_once(':').unwrap_or((rest, rest));
        let source = Side::parse(source).map_err(error)?;
        let destination = Side::parse(destination).map_err(error)?;
        if source.is_glob() != destination.is_glob() {
            return Err(error("a `*` stands on both sides or on none"));
        }
        Ok(Refspec { forced, kind: Kind::Map { source, destination } })
    }

    /// Whether it names more than all refs (`refs/*`): only then may it force a ref that is not checked.
    fn is_narrow(&self) -> bool {
        match &self.kind {
            Kind::Map { source: Side::Glob(before, after), .. } => before != b"refs/" || !after.is_empty(),
            _ => true,
        }
    }
}

/// The refspecs of one direction of a remote; the first that matches wins, and an exclusion beats them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refspecs(Vec<Refspec>);

/// Where a ref goes and under which terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The name at the other end of the refspec.
    pub name: RefName,
    /// The refspec has a `+`.
    pub forced: bool,
    /// The refspec has a `+` and names more than `refs/*`.
    pub force_ignored: bool,
}

impl Refspecs {
    /// `+refs/*:refs/*`.
    pub fn everything() -> Refspecs {
        let all = || Side::Glob(b"refs/".to_vec(), Vec::new());
        Refspecs(vec![Refspec { forced: true, kind: Kind::Map { source: all(), destination: all() } }])
    }

    /// In the order of the configuration.
    pub fn new(specs: Vec<Refspec>) -> Refspecs {
        Refspecs(specs)
    }

    /// The destination of the source ref `name`.
    pub fn destination(&self, name: &RefName) -> Option<Mapped> {
        self.map(name.as_bytes(), |source, destination| (source, destination))
            .filter(|_| !self.excluded(name))
    }

    /// The source that would land at the destination ref `name`.
    pub fn source(&self, name: &RefName) -> Option<Mapped> {
        self.map(name.as_bytes(), |source, destination| (destination, source))
            .filter(|mapped| !self.excluded(&mapped.name))
            // The name must lead back here: an earlier refspec may send that source somewhere else.
            .filter(|mapped| self.destination(&mapped.name).is_some_and(|there| there.name == *name))
    }

    /// Whether a refspec names `name`, or names below `prefix` of it, on purpose (not just `refs/*`).
    pub fn names_expressly(&self, name: &RefName) -> bool {
        self.0.iter().any(|spec| match &spec.kind {
            Kind::Map { source, .. } => spec.is_narrow() && source.matches(name.as_bytes()).is_some(),
            Kind::Exclude(_) => false,
        })
    }

    /// The same of the destination ref `name`.
    pub fn sends_expressly_to(&self, name: &RefName) -> bool {
        self.0.iter().any(|spec| match &spec.kind {
            Kind::Map { destination, .. } => {
                spec.is_narrow() && destination.matches(name.as_bytes()).is_some()
            }
            Kind::Exclude(_) => false,
        })
    }

    fn map<'s>(
        &'s self,
        name: &[u8],
        order: impl Fn(&'s Side, &'s Side) -> (&'s Side, &'s Side),
    ) -> Option<Mapped> {
        self.0.iter().find_map(|spec| {
            let Kind::Map { source, destination } = &spec.kind else {
                return None;
            };
            let (from, to) = order(source, destination);
            let name = to.fill(from.matches(name)?)?;
            Some(Mapped { name, forced: spec.forced, force_ignored: spec.forced && spec.is_narrow() })
        })
    }

    fn excluded(&self, source: &RefName) -> bool {
        self.0.iter().any(
            |spec| matches!(&spec.kind, Kind::Exclude(side) if side.matches(source.as_bytes()).is_some()),
        )
    }
}

/// A text that is not a refspec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefspecError {
    text: String,
    why: &'static str,
}

impl fmt::Display for RefspecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a refspec: {}", self.text, self.why)
    }
}

impl std::error::Error for RefspecError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RefName {
        RefName::new(text).unwrap()
    }

    fn specs(texts: &[&str]) -> Refspecs {
        Refspecs::new(texts.iter().map(|t| Refspec::parse(t).unwrap()).collect())
    }

    #[test]
    fn the_first_match_wins_and_exclusions_beat_it() {
        let specs = specs(&[
            "refs/heads/rel-*:refs/heads/old/*",
            "+refs/heads/*",
            "^refs/heads/private/*",
            "+refs/*:refs/*",
        ]);
        let to = |from: &str| {
            specs.destination(&name(from)).map(|m| (m.name.to_string(), m.forced, m.force_ignored))
        };
        assert_eq!(to("refs/heads/rel-1"), Some(("refs/heads/old/1".into(), false, false)));
        assert_eq!(to("refs/heads/a/b"), Some(("refs/heads/a/b".into(), true, true)));
        assert_eq!(to("refs/heads/private/x"), None);
        assert_eq!(to("refs/tags/v1"), Some(("refs/tags/v1".into(), true, false)));
        assert_eq!(to("HEAD"), None);
        let from = |to: &str| specs.source(&name(to)).map(|m| m.name.to_string());
        assert_eq!(from("refs/heads/old/1"), Some("refs/heads/rel-1".into()));
        assert_eq!(from("refs/heads/rel-1"), None, "its source goes to old/1");
        assert_eq!(from("refs/tags/v1"), Some("refs/tags/v1".into()));
    }

    #[test]
    fn everything_is_the_default_and_not_narrow() {
        let all = Refspecs::everything();
        assert_eq!(all, specs(&["+refs/*:refs/*"]));
        assert!(!all.names_expressly(&name("refs/stash")));
        assert!(specs(&["refs/stash:refs/stash"]).names_expressly(&name("refs/stash")));
    }

    #[test]
    fn what_is_no_refspec_is_refused() {
        for bad in
            ["", "+", ":refs/heads/x", "main", "refs/heads/*:refs/heads/x", "refs/*/*", "refs/a b", "^main"]
        {
            assert!(Refspec::parse(bad).is_err(), "{bad:?}");
        }
    }
}
