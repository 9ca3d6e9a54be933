//! The end of a run: faults stop, every pair of sites pushes and fetches until nothing moves, and then all must agree.

use rand::seq::SliceRandom;
use refgate_core::{Entry, GlobalRef, SiteKind};

use crate::catch_up::catch_up;
use crate::config::Start;
use crate::dag::{Commit, Set, Value, show};
use crate::ledger::{commit, word};
use crate::refs::{self, COUNT, META, Ref, short};
use crate::replicate::{fetch, push};
use crate::say;
use crate::task::{Work, advance};
use crate::world::{Shared, World};

/// Runs the closing rounds, and checks P4, P5, P7, C2 and D1.
pub fn rounds(sim: &Shared) {
    crate::run::audit(sim);
    let sites = {
        let mut world = sim.world();
        (world.quiet, world.refdb_down, world.current) = (true, false, 0);
        say!(world, "the closing rounds begin");
        world.sites.len()
    };
    let mut pairs: Vec<(usize, usize)> =
        (0..sites).flat_map(|a| (0..sites).map(move |b| (a, b))).filter(|(a, b)| a != b).collect();
    pairs.shuffle(&mut sim.world().rng);
    let most = 3 * sites + 3;
    for round in 0.. {
        sim.world().moved = false;
        for site in 0..sites {
            let sim = sim.clone();
            to_the_end(&sim.clone(), Box::pin(async move { catch_up(&sim, site).await }));
        }
        for (from, to) in &pairs {
            if sim.config.push {
                to_the_end(sim, Box::pin(push(sim.clone(), *from, *to)));
            }
            if sim.config.fetch {
                to_the_end(sim, Box::pin(fetch(sim.clone(), *to, *from)));
            }
        }
        let mut world = sim.world();
        if world.ledger.broken.is_some() {
            return;
        }
        if !world.moved {
            break;
        }
        if round > most {
            world.ledger.breaks("P4", format!("refs still move after {round} quiet rounds"));
            return;
        }
    }
    crate::run::audit(sim);
    let names: Vec<Ref> = (0..COUNT).filter(|r| refs::is_checked(*r)).collect();
    let entries = sim.entries_now(&names);
    let mut world = sim.world();
    for (name, entry) in names.iter().zip(&entries) {
        match entry.value {
            GlobalRef::Untracked => chain(&mut world, *name),
            _ => agree(sim, &mut world, *name, entry),
        }
    }
    chain(&mut world, refs::SCRATCH);
    patch_sets_agree(sim, &mut world);
    deleted_changes_are_gone(&mut world);
    nothing_comes_back(&mut world);
}

/// A task alone.
fn to_the_end(sim: &Shared, mut work: Work) {
    loop {
        {
            let mut world = sim.world();
            world.time = world.asleep.remove(&0).unwrap_or(world.time).max(world.time);
        }
        if advance(&mut work) {
            break;
        }
        sim.world().check();
        if sim.world().ledger.broken.is_some() {
            break;
        }
    }
    sim.world().release(0);
}

/// Whether all sites are gated or mirrors and knew the ref-db from the start: then nothing may stay behind.
fn is_strict(sim: &Shared, world: &World) -> bool {
    let gated = world.sites.iter().all(|site| site.kind != SiteKind::Ungated);
    gated && !sim.config.starts.contains(&Start::Different)
}

/// P4: every site has what the ref-db holds. Where somebody wrote without the ref-db, a value that nothing accounts for
/// stays, by design; nothing else may.
fn agree(sim: &Shared, world: &mut World, name: Ref, entry: &Entry) {
    let global = commit(entry.value);
    let strict = is_strict(sim, world);
    let listed: Set = entry.superseded.iter().fold(0, |all, oid| all | world.dag.history(Commit::of(*oid)));
    for site in 0..world.sites.len() {
        let local = world.value(site, name);
        // What a policy holds back stays behind, by its operator's wish.
        if local == global || world.sites[site].holds[name] {
            continue;
        }
        let trusted = if world.sites[site].kind == SiteKind::Ungated { 0 } else { listed };
        let accounted = local.is_none_or(|l| (trusted | world.dag.reach(global)) & l.bit() != 0);
        // Beside ungated writes: nobody can send a value that is in no ref, and no deletion reaches an ungated site.
        let unsent = global.is_some() && world.sites.iter().all(|s| s.refs[name] != global);
        let ungated = unsent || world.sites[site].kind == SiteKind::Ungated && global.is_none();
        let other_patch_set =
            name == META && global.is_some_and(|meta| is_other_patch_set(world, site, meta));
        if strict || (accounted && !ungated && !other_patch_set) {
            let text = format!(
                "site {}: {} is {}, the ref-db holds {}",
                World::site_name(site),
                short(name),
                show(local),
                word(entry.value)
            );
            world.ledger.breaks("P4", text);
        }
    }
}

/// Whether a site holds another patch set than `meta` names: then the change is held back there.
fn is_other_patch_set(world: &World, site: usize, meta: Commit) -> bool {
    let named = world.dag.patch_sets(meta).iter().enumerate();
    named.into_iter().any(|(name, c)| world.value(site, name).is_some_and(|there| there != *c))
}

/// An untracked ref: when one site's value contains those of all others, all must have it.
fn chain(world: &mut World, name: Ref) {
    if world.sites.iter().any(|site| site.holds[name]) {
        return;
    }
    let values: Vec<Value> = world.sites.iter().map(|site| site.refs[name]).collect();
    let newest = values.iter().copied().find(|new| values.iter().all(|old| world.dag.contains(*new, *old)));
    if let Some(newest) = newest
        && values.iter().any(|value| *value != newest)
    {
        // A `/meta` whose patch set differs there is held back.
        let held = name == META
            && (0..values.len()).any(|s| newest.is_some_and(|meta| is_other_patch_set(world, s, meta)));
        if !held {
            world
                .ledger
                .breaks("P4", format!("{}: untracked, {values:?} did not become {newest:?}", short(name)));
        }
    }
}

/// C2, beyond what is checked after every step: a patch set is everywhere, and the same.
fn patch_sets_agree(sim: &Shared, world: &mut World) {
    if !is_strict(sim, world) || world.sites.iter().any(|site| site.holds[META]) {
        return;
    }
    for name in 0..refs::PATCH_SETS {
        let values: Vec<Value> = world.sites.iter().map(|site| site.refs[name]).collect();
        if values.iter().any(|value| *value != values[0]) {
            world.ledger.breaks("C2", format!("{}: {values:?}", short(name)));
        }
    }
}

/// D1: no site that goes by the ref-db holds a ref of a change whose `/meta` is recorded as deleted, nor a patch set without
/// its `/meta`.
fn deleted_changes_are_gone(world: &mut World) {
    let dead = world.ledger.global[META] == GlobalRef::Deleted;
    if world.sites.iter().any(|site| site.kind == SiteKind::Ungated) {
        return;
    }
    for site in (0..world.sites.len()).filter(|site| !world.sites[*site].holds[META]).collect::<Vec<_>>() {
        let alone = world.value(site, META).is_none();
        for name in (0..=META).filter(|name| dead || (alone && *name < META)) {
            if let Some(value) = world.value(site, name) {
                let why = if dead { "its change was deleted" } else { "its meta is not there" };
                let text =
                    format!("site {}: {} is {value:?}, and {why}", World::site_name(site), short(name));
                world.ledger.breaks("D1", text);
            }
        }
    }
}

/// P7: what an accepted write replaced or deleted is at no site that goes by the ref-db.
fn nothing_comes_back(world: &mut World) {
    if world.sites.iter().any(|site| site.kind == SiteKind::Ungated) {
        return;
    }
    for name in (0..COUNT).filter(|r| refs::is_checked(*r)) {
        for site in 0..world.sites.len() {
            let Some(value) = world.value(site, name).filter(|_| !world.sites[site].holds[name]) else {
                continue;
            };
            if world.ledger.gone[name] & value.bit() != 0 {
                let text = format!(
                    "site {}: {} is {value:?}, which was replaced",
                    World::site_name(site),
                    short(name)
                );
                world.ledger.breaks("P7", text);
            }
        }
    }
}
