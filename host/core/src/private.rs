//! Names that never replicate by themselves: those that git keeps for one repository, and those of refgate itself.
//!
//! This is the only list of them: [`Class::of`](crate::Class::of) keeps them out of the ref-db, and [`offerable`] out of
//! transfers.

use crate::{RefName, Refspecs};

/// What git keeps for one repository: work trees, remotes, replacements, maintenance, a bisection or a rebase under way.
const OF_ONE_REPOSITORY: [&[u8]; 6] = [
    b"refs/remotes/",
    b"refs/replace/",
    b"refs/prefetch/",
    b"refs/bisect/",
    b"refs/worktree/",
    b"refs/rewritten/",
];

/// Refs that refgate keeps for itself, but for what it rescued.
const OWN: &[u8] = b"refs/refgate/";
const RESCUED: &[u8] = b"refs/refgate/rescued/";

/// Whether git keeps `name` for one repository, so that it replicates only when a refspec names it expressly.
pub fn is_private(name: &RefName) -> bool {
    is_one_component(name) || OF_ONE_REPOSITORY.iter().any(|dir| name.as_bytes().starts_with(dir))
}

/// Whether `name` is one component below `refs/`, like `refs/stash`: git's own ends refuse to create such a ref in a push.
pub fn is_one_component(name: &RefName) -> bool {
    name.as_bytes().strip_prefix(b"refs/").is_some_and(|rest| !rest.contains(&b'/'))
}

/// Whether refgate keeps `name` for itself: it never replicates, whatever a refspec says.
pub fn is_own(name: &RefName) -> bool {
    name.as_bytes().starts_with(OWN) && !name.as_bytes().starts_with(RESCUED)
}

/// Whether `name` is a copy of a value that had to give way: it replicates, and no site needs to have it.
pub fn is_rescued(name: &RefName) -> bool {
    name.as_bytes().starts_with(RESCUED)
}

/// Whether the source ref `name` may be offered at all under `refspecs`.
pub fn offerable(name: &RefName, refspecs: &Refspecs) -> bool {
    name.as_bytes().starts_with(b"refs/")
        && !is_own(name)
        && (!is_private(name) || refspecs.names_expressly(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Direction, Project, Refspec, Rules};

    const PRIVATE: [&str; 8] = [
        "refs/stash",
        "refs/push-certs",
        "refs/remotes/o/main",
        "refs/replace/x",
        "refs/prefetch/remotes/o/main",
        "refs/bisect/bad",
        "refs/worktree/x",
        "refs/rewritten/onto",
    ];
    const SHARED: [&str; 6] = [
        "refs/heads/stash",
        "refs/stash/x",
        "refs/prefetched/x",
        "refs/heads/remotes/o/main",
        "refs/refgate/rescued/x",
        "refs/multi-site/version",
    ];

    fn name(text: &str) -> RefName {
        RefName::new(text).unwrap()
    }

    fn refspecs(specs: &[&str]) -> Refspecs {
        Refspecs::new(specs.iter().map(|text| Refspec::parse(text).unwrap()).collect())
    }

    #[test]
    fn what_git_keeps_for_one_repository_goes_only_when_it_is_named() {
        let all = Refspecs::everything();
        for text in PRIVATE {
            assert!(!offerable(&name(text), &all), "{text}");
            assert!(
                offerable(&name(text), &refspecs(&["refs/*:refs/*", &format!("{text}:{text}")])),
                "{text}"
            );
        }
        SHARED.iter().for_each(|text| assert!(offerable(&name(text), &all), "{text}"));
        for text in ["refs/refgate/keep/x", "refs/refgate/x"] {
            assert!(!offerable(&name(text), &refspecs(&[&format!("{text}:{text}")])), "{text}");
        }
        assert!(!offerable(&name("HEAD"), &all));
    }

    #[test]
    fn the_ref_db_does_not_record_it_unless_a_refspec_names_the_local_ref() {
        let project = Project::new("p").unwrap();
        let named = |direction, spec: &str| Rules::default().naming([(direction, refspecs(&[spec]))]);
        for text in PRIVATE {
            let class = |rules: &Rules| Class::of(&project, &name(text), rules);
            assert_eq!(class(&Rules::default()), Class::Excluded, "{text}");
            assert_eq!(class(&named(Direction::Push, "+refs/*:refs/*")), Class::Excluded, "{text}");
            let there = format!("{text}:refs/heads/there");
            let here = format!("refs/heads/there:{text}");
            assert_eq!(class(&named(Direction::Push, &there)), Class::Checked, "{text}");
            assert_eq!(class(&named(Direction::Fetch, &there)), Class::Excluded, "{text}");
            assert_eq!(class(&named(Direction::Fetch, &here)), Class::Checked, "{text}");
            assert_eq!(class(&named(Direction::Push, &here)), Class::Excluded, "{text}");
        }
        for text in &SHARED[..5] {
            assert_eq!(Class::of(&project, &name(text), &Rules::default()), Class::Checked, "{text}");
        }
        let own = "refs/refgate/keep/x";
        let rules = named(Direction::Push, &format!("{own}:{own}"));
        assert_eq!(Class::of(&project, &name(own), &rules), Class::Excluded);
    }
}
