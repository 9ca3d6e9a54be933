//! One decision of the product: where it reads from, one step per read, and how rules are taken out of it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use refgate_core::ablation;
use refgate_core::decision::{Decision, Request, Sources, decide};
use refgate_core::refdb::Entries;
use refgate_core::table::RemoteValue;
use refgate_core::{
    AncestryQuery, Answer, BoxFuture, Deadline, Direction, FilterError, FilterSet, GlobalRef, LocalError,
    LocalRefs, LocalValue, Lookup, Move, Moves, ObjectFormat, Oid, Project, Reason, RefBatch, RefDbError,
    RefDbErrorKind, RefFilter, RefName, RefUpdate, ReloadWait, RemoteRefs, SiteKind,
};

use crate::config::Rule;
use crate::dag::{Commit, Value, show};
use crate::ledger::word;
use crate::refs::{self, COUNT, META, NAMES, PROJECT, RULES, Ref, index};
use crate::task::step;
use crate::world::{Change, Shared};

/// Why a decision is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Push,
    Fetch,
    CatchUp,
}

/// The reason of [`Policy`].
const POLICY: &str = "policy";

/// A fetch filter that holds back some refs, whatever is to become of them.
struct Policy([bool; COUNT]);

impl RefFilter for Policy {
    fn name(&self) -> &str {
        POLICY
    }

    fn look(&self, batch: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>> {
        let held = |i: &u32| (0..COUNT).any(|r| self.0[r] && NAMES[r].as_bytes() == batch.name(*i as usize));
        let which: Vec<u32> = (0..batch.len() as u32).filter(held).collect();
        let discards = if which.is_empty() { Vec::new() } else { vec![(which, POLICY.to_owned())] };
        Box::pin(std::future::ready(Ok(Answer { discards, ..Answer::default() })))
    }
}

/// One decision at a site.
pub struct Look {
    sim: Shared,
    purpose: Purpose,
    site: usize,
    peer: usize,
    /// What the ref-db held when it was read last.
    seen: Mutex<[GlobalRef; COUNT]>,
}

/// What may go, and what it rests on.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub change: Change,
    /// The ref-db at the last look.
    pub seen: GlobalRef,
}

impl Look {
    /// Decides on `offers`: refs with the local and the remote value.
    pub async fn decide(
        sim: &Shared,
        purpose: Purpose,
        site: usize,
        peer: usize,
        offers: &[(Ref, Value, Value)],
    ) -> Vec<Kept> {
        if offers.is_empty() {
            return Vec::new();
        }
        let look = Look { sim: sim.clone(), purpose, site, peer, seen: Mutex::default() };
        let kind = {
            let world = sim.world();
            world.sites[if purpose == Purpose::Push { peer } else { site }].kind
        };
        // What is not on offer is the same on both sides; a `/meta` whose patch sets are to be deleted is gone then.
        let meta_there = Some(offers.iter().any(|(name, ..)| *name == META));
        let update = |(name, local, remote): &(Ref, Value, Value)| {
            let remote = RemoteValue::Known(remote.map(Commit::oid));
            let update = RefUpdate::new(NAMES[*name].clone(), local.map(Commit::oid), remote);
            RefUpdate { meta_there, ..update.forced() }
        };
        let direction = if purpose == Purpose::Push { Direction::Push } else { Direction::Fetch };
        let catch_up = purpose == Purpose::CatchUp;
        let request = Request {
            direction,
            project: &PROJECT,
            peer: "peer",
            format: ObjectFormat::Sha1,
            kind: if catch_up || !sim.has(Rule::UngatedSites) { SiteKind::Gated } else { kind },
            source_of_truth: false,
            mirror: true,
            gate: true,
            rules: &RULES,
            wait: ReloadWait { min_ms: 1, max_random_ms: if catch_up { 0 } else { 30 } },
            refdb_timeout: std::time::Duration::from_secs(1),
        };
        let sources = Sources {
            refdb: &look,
            local: &look,
            remote: (purpose == Purpose::Fetch).then_some(&look as &dyn RemoteRefs),
            clock: &**sim,
            rng: &sim.rng,
        };
        // A chain without filters keeps everything that the floor lets pass.
        let asked = sim.has(Rule::UpToDate) && (!catch_up || sim.has(Rule::Policies));
        let mut filters = if asked { sim.filters.clone() } else { FilterSet::default() };
        let holds = sim.world().sites[site].holds;
        if holds.contains(&true) && (!catch_up || sim.has(Rule::Policies)) {
            filters.fetch.push(Arc::new(Policy(holds)));
        }
        let moves = Moves::of(direction, offers.iter().map(update));
        let floor = catch_up || sim.has(Rule::UpToDate);
        let away: &[ablation::Rule] = if floor { &[] } else { &[ablation::Rule::Floor] };
        let mut decision = pin!(decide(request, moves, sources, &filters));
        let decision = poll_fn(|cx| ablation::without(away, || decision.as_mut().poll(cx))).await;
        let moved_meta = decision.moves.iter().any(|one| {
            let offered = |(name, local, remote): &(Ref, Value, Value)| {
                *name == META && [local, remote].iter().any(|value| value.map(Commit::oid) == one.new())
            };
            index(one.name()) == META && one.is_reloaded() && !offers.iter().any(offered)
        });
        look.kept(decision, moved_meta)
    }

    fn kept(&self, decision: Decision, moved_meta: bool) -> Vec<Kept> {
        let mut world = self.sim.world();
        let seen = *self.seen.lock().expect("nobody panics with it");
        let mut kept = Vec::new();
        for one in decision.moves.iter() {
            let name = index(one.name());
            let to_commit = |oid: Option<Oid>| oid.map(Commit::of);
            let change = Change { name, old: to_commit(one.old()), new: to_commit(one.new()) };
            let reason = one.reason().filter(|_| !self.is_let_through(name, one, moved_meta));
            crate::say!(
                world,
                "{:?} {}: {} {} -> {}, ref-db {}{}: {}",
                self.purpose,
                self.sides(),
                refs::short(name),
                show(change.old),
                show(change.new),
                word(seen[name]),
                if one.is_reloaded() { ", second look" } else { "" },
                reason.map_or("keep", |r| r.as_str())
            );
            match reason {
                Some(reason) => world.count(match reason.as_str() {
                    "remote-diverged" => "held: remote-diverged",
                    "local-diverged" => "held: local-diverged",
                    "not-up-to-date" => "held: not-up-to-date",
                    "outdated-meta" => "held: outdated-meta",
                    "group-incomplete" => "held: group-incomplete",
                    "refdb-unavailable" => "held: refdb-unavailable",
                    POLICY => "held: by a policy",
                    _ => "held: other",
                }),
                None => {
                    // H1: a policy of the destination is not passed by.
                    if self.purpose != Purpose::Push && world.sites[self.site].holds[name] {
                        let text = format!(
                            "{}: {} goes, and a filter holds it back",
                            self.sides(),
                            refs::short(name)
                        );
                        world.ledger.breaks("H1", text);
                    }
                    if one.is_reloaded() {
                        world.count("kept at the second look");
                    }
                    if one.is_deletion() {
                        world.count("kept deletion");
                    }
                    kept.push(Kept { change, seen: seen[name] });
                }
            }
        }
        kept
    }

    /// Whether the rule that discards a ref is switched off.
    fn is_let_through(&self, name: Ref, one: Move<'_>, moved_meta: bool) -> bool {
        let rule = match one.reason() {
            _ if self.purpose == Purpose::CatchUp => return false,
            Some(Reason::DeletedGlobally) if refs::is_patch_set(name) => Rule::DeletedChange,
            _ if one.is_deletion() => Rule::DeletionCheck,
            Some(Reason::OutdatedMeta | Reason::GroupIncomplete)
                if moved_meta && !self.sim.has(Rule::ReloadedMeta) =>
            {
                Rule::ReloadedMeta
            }
            Some(Reason::OutdatedMeta | Reason::GroupIncomplete) => Rule::WholeChange,
            Some(Reason::RemoteDiverged | Reason::LocalDiverged) if refs::is_patch_set(name) => {
                Rule::PatchSetsStay
            }
            _ => return false,
        };
        !self.sim.has(rule)
    }

    fn sides(&self) -> String {
        let name = crate::world::World::site_name;
        match self.purpose {
            Purpose::Push => format!("{}->{}", name(self.site), name(self.peer)),
            Purpose::Fetch => format!("{}<-{}", name(self.site), name(self.peer)),
            Purpose::CatchUp => name(self.site).to_string(),
        }
    }

    /// Whether the test that a query serves is switched off: then the answer is always yes.
    fn is_taken_for_granted(&self, name: Ref) -> bool {
        let seen = self.seen.lock().expect("nobody panics with it")[name];
        let rule = match (seen, self.purpose) {
            (GlobalRef::Untracked, _) => Rule::FastForward,
            (_, Purpose::Push) => Rule::AccountedPush,
            (_, Purpose::Fetch) => Rule::AccountedFetch,
            (_, Purpose::CatchUp) => return false,
        };
        !self.sim.has(rule)
    }
}

impl Entries for Look {
    fn get_many<'a>(
        &'a self,
        _: &'a Project,
        names: &'a [RefName],
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        Box::pin(async move {
            let names: Vec<Ref> = names.iter().map(index).collect();
            let Some(mut entries) = self.sim.entries(&names).await else {
                return Err(RefDbError::new(RefDbErrorKind::Unavailable, "ref-db `memory:` is down"));
            };
            let mut seen = self.seen.lock().expect("nobody panics with it");
            for (name, entry) in names.iter().zip(&mut entries) {
                seen[*name] = entry.value;
                if !self.sim.has(Rule::Superseded) {
                    entry.superseded.clear();
                }
            }
            Ok(entries.into_iter().map(Lookup::Entry).collect())
        })
    }
}

impl LocalRefs for Look {
    fn values<'a>(
        &'a self,
        _: &'a Project,
        names: &'a [RefName],
    ) -> BoxFuture<'a, Result<Vec<LocalValue>, LocalError>> {
        Box::pin(async move {
            step().await;
            let world = self.sim.world();
            Ok(names.iter().map(|n| Ok(world.value(self.site, index(n)).map(Commit::oid))).collect())
        })
    }

    fn ancestry<'a>(
        &'a self,
        _: &'a Project,
        queries: &'a [AncestryQuery],
    ) -> BoxFuture<'a, Result<Vec<bool>, LocalError>> {
        Box::pin(async move {
            step().await;
            let world = self.sim.world();
            let answer = |query: &AncestryQuery| {
                if self.is_taken_for_granted(index(&query.name)) {
                    return true;
                }
                let (old, new) = (Commit::of(query.ancestor), query.descendant.map(Commit::of));
                let here = |commit| world.is_here(self.site, commit);
                Some(old) == new
                    || new.is_some_and(|n| here(n) && here(old) && world.dag.contains(new, Some(old)))
            };
            Ok(queries.iter().map(answer).collect())
        })
    }
}

impl RemoteRefs for Look {
    fn relist<'a>(&'a self, names: &'a [RefName]) -> BoxFuture<'a, Result<Vec<Option<Oid>>, LocalError>> {
        Box::pin(async move {
            step().await;
            let listed: Vec<Value> = {
                let world = self.sim.world();
                names.iter().map(|n| world.value(self.peer, index(n))).collect()
            };
            step().await;
            let mut world = self.sim.world();
            listed.iter().flatten().for_each(|commit| world.bring(self.site, *commit));
            Ok(listed.into_iter().map(|value| value.map(Commit::oid)).collect())
        })
    }
}
