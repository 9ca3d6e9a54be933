//! What the fetch filters of this site say about refs that are behind. What was accepted here is not asked about.

use std::collections::{BTreeMap, HashMap, HashSet};

use refgate_core::ports::Repo;
use refgate_core::{
    Direction, FilterSet, Lookup, Moves, Oid, Project, Reason, RefName, RefUpdate, SiteKind, meta_of,
};

use super::changes::{change_of, updates};
use super::facts::judge;
use crate::gated::Record;
use crate::replicate::Site;
use crate::replicate::offers::Value;

/// What may move, and what may not.
pub(super) struct Asked {
    /// Refs that a record of this site says are at what the ref-db holds: this site has accepted that.
    accepted: HashSet<RefName>,
    /// Refs that everybody let pass, with the local value that they were asked about.
    allowed: BTreeMap<RefName, Option<Oid>>,
    /// Refs that somebody holds back.
    pub(super) held: Moves,
    /// What failed on the way.
    pub(super) problems: Vec<String>,
}

impl Asked {
    /// Asks about those of `wanted` that no record answers for; `known` is what was read of the ref-db and of this site.
    pub(super) async fn of(
        site: &Site,
        project: &Project,
        repository: &dyn Repo,
        kind: SiteKind,
        records: &[Record],
        wanted: &BTreeMap<RefName, Option<Oid>>,
        known: (&[(RefName, Lookup)], &HashMap<RefName, Value>),
    ) -> Asked {
        let accepted = accepted(project, records, wanted);
        let open: BTreeMap<RefName, Option<Oid>> = wanted
            .iter()
            .filter(|(name, _)| !accepted.contains(*name))
            .map(|(n, v)| (n.clone(), *v))
            .collect();
        let held = Moves::new(Direction::Fetch);
        let mut asked = Asked { accepted, allowed: BTreeMap::new(), held, problems: Vec::new() };
        if open.is_empty() {
            return asked;
        }
        // All of a large project is not copied for the few that are behind.
        let needed: HashSet<RefName> =
            open.keys().flat_map(|name| meta_of(name).into_iter().chain([name.clone()])).collect();
        let entries: HashMap<RefName, Lookup> =
            known.0.iter().filter(|(name, _)| needed.contains(name)).cloned().collect();
        let updates = updates(site, project, &open, &entries, known.1);
        let filters = match site.gate.is_on(Direction::Fetch) {
            true => site.gate.filters(),
            false => FilterSet::default().into(),
        };
        let decision = judge(site, project, repository, kind, updates, &filters).await;
        asked.problems = decision.problems;
        for one in decision.moves.iter() {
            match one.reason() {
                None => drop(asked.allowed.insert(one.name().clone(), one.old())),
                // Somebody has moved it meanwhile.
                Some(Reason::AlreadyUpToDate) => {}
                Some(_) => asked.held.take_over(&decision.moves, one.at()),
            }
        }
        asked
    }

    /// Whether nobody holds the ref back.
    pub(super) fn lets_pass(&self, name: &RefName) -> bool {
        self.accepted.contains(name) || self.allowed.contains_key(name)
    }

    /// Whether it is the update that was let pass.
    pub(super) fn is_about(&self, update: &RefUpdate) -> bool {
        self.accepted.contains(&update.name) || self.allowed.get(&update.name) == Some(&update.local)
    }
}

/// The refs that the ref-db holds at what a record of this site says. A change goes whole: with one of its refs the others
/// are accepted.
fn accepted(
    project: &Project,
    records: &[Record],
    wanted: &BTreeMap<RefName, Option<Oid>>,
) -> HashSet<RefName> {
    let recorded = records.iter().filter(|record| record.project == *project).flat_map(|record| &record.refs);
    let names: HashSet<RefName> =
        recorded.filter(|one| wanted.get(&one.name) == Some(&one.new)).map(|one| one.name.clone()).collect();
    let changes: HashSet<Vec<u8>> = names.iter().filter_map(change_of).collect();
    let along = |name: &&RefName| change_of(name).is_some_and(|change| changes.contains(&change));
    wanted.keys().filter(|name| names.contains(*name) || along(name)).cloned().collect()
}
