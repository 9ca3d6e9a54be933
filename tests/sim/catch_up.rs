//! Catch-up: a gated site finishes its own writes from their records, and sets what is behind from its own objects.

use refgate_core::{GlobalRef, SiteKind};

use crate::config::Rule;
use crate::dag::{Value, show};
use crate::ledger::commit;
use crate::look::{Look, Purpose};
use crate::refs::{self, COUNT, Ref, short};
use crate::say;
use crate::task::step;
use crate::world::{Change, Record, Shared, World};

/// Runs at the start of every push, fetch and gated write.
pub async fn catch_up(sim: &Shared, site: usize) {
    if sim.world().sites[site].kind != SiteKind::Gated || !sim.has(Rule::CatchUp) {
        return;
    }
    replay(sim, site).await;
    follow(sim, site).await;
}

/// Records whose writers are dead.
async fn replay(sim: &Shared, site: usize) {
    let dead: Vec<Record> = {
        let world = sim.world();
        world.sites[site].journal.iter().filter(|r| r.writer.is_none()).cloned().collect()
    };
    for record in dead {
        let names: Vec<Ref> = record.changes.iter().map(|c| c.name).collect();
        step().await;
        let locked = !sim.config.locked || {
            let mut world = sim.world();
            names.iter().all(|name| world.try_lock(site, *name))
        };
        if locked && roll_forward(sim, site, &record).await {
            let mut world = sim.world();
            // While the compare-and-put may still come, the record is needed.
            let may_come = world.late.iter().any(|late| late.record == record.id);
            if !may_come || !sim.has(Rule::LateRecord) {
                world.count("record dropped by catch-up");
                world.drop_record(site, record.id);
            }
        }
        sim.world().unlock(site, &names);
    }
}

/// Sets what a write was about, as far as the ref-db has it: all of it in one transaction. Tells whether nothing is left.
pub async fn roll_forward(sim: &Shared, site: usize, record: &Record) -> bool {
    let names: Vec<Ref> = record.changes.iter().map(|c| c.name).collect();
    let Some(entries) = sim.entries(&names).await else { return false };
    let tracked = |c: &Change| refs::is_checked(c.name);
    let came = |(c, entry): (&Change, &refgate_core::Entry)| !tracked(c) || commit(entry.value) == c.new;
    let written = record.changes.iter().zip(&entries).all(came);
    let mut todo = Vec::new();
    let in_the_way = |c: &Change| {
        let local = sim.world().value(site, c.name);
        !tracked(c) && local != c.old && local != c.new
    };
    if written && sim.has(Rule::WholeRecord) && record.changes.iter().any(in_the_way) {
        // All or nothing: a `/meta` without its patch set is a broken change. A person has to look.
        return false;
    }
    for (change, entry) in record.changes.iter().zip(&entries) {
        let local = sim.world().value(site, change.name);
        let wanted = match tracked(change) {
            true => {
                let known = entry.value != GlobalRef::Untracked && commit(entry.value) == change.new;
                known && sim.accounted(local, entry)
            }
            false => written && sim.has(Rule::WholeRecord) && local == change.old,
        };
        if wanted && local != change.new {
            todo.push(Change { old: local, ..*change });
        }
    }
    if todo.is_empty() {
        return true;
    }
    step().await;
    let mut world = sim.world();
    if !world.transaction(site, &todo, true) {
        return false;
    }
    world.count("record rolled forward");
    for change in todo {
        say!(
            world,
            "{}: {} {} -> {}, from a record",
            World::site_name(site),
            short(change.name),
            show(change.old),
            show(change.new)
        );
    }
    true
}

/// Everything that the ref-db holds and that is here, by the product's decision.
async fn follow(sim: &Shared, site: usize) {
    let all: Vec<Ref> = (0..COUNT).filter(|r| refs::is_checked(*r)).collect();
    let Some(entries) = sim.entries(&all).await else { return };
    step().await;
    let offers: Vec<(Ref, Value, Value)> = {
        let world = sim.world();
        let offer = |(name, entry): (&Ref, &refgate_core::Entry)| {
            let (local, global) = (world.value(site, *name), commit(entry.value));
            let wanted = entry.value != GlobalRef::Untracked && local != global;
            let here = global.is_none_or(|g| world.is_here(site, g));
            // A write that is under way, or whose record stays, moves its refs together and by itself.
            let mut records = world.sites[site].journal.iter().flat_map(|record| &record.changes);
            let change = *name == refs::META && global.is_some() && sim.has(Rule::CatchUpChange);
            let alone = !sim.has(Rule::WholeRecord) || !records.any(|c| c.name == *name);
            (wanted && here && alone && !change).then_some((*name, local, global))
        };
        let mut offers: Vec<(Ref, Value, Value)> = all.iter().zip(&entries).filter_map(offer).collect();
        // What is here of a change that is recorded as deleted, unless a record has it.
        let dead = |(name, entry): (&Ref, &refgate_core::Entry)| {
            *name == refs::META && entry.value == GlobalRef::Deleted
        };
        if all.iter().zip(&entries).any(dead) && sim.has(Rule::DeletedChange) {
            let recorded = |name: Ref| {
                let mut records = world.sites[site].journal.iter().flat_map(|record| &record.changes);
                records.any(|c| c.name == name)
            };
            let left = (0..refs::PATCH_SETS).filter(|name| !recorded(refs::META) && !recorded(*name));
            offers.extend(left.filter_map(|name| Some((name, Some(world.value(site, name)?), None))));
        }
        offers
    };
    let kept = Look::decide(sim, Purpose::CatchUp, site, site, &offers).await;
    let (whole, kept): (Vec<_>, Vec<_>) =
        kept.into_iter().partition(|k| k.change.name <= refs::META && k.change.new.is_none());
    delete_change(sim, site, whole.into_iter().map(|k| k.change).collect()).await;
    for kept in kept {
        let change = kept.change;
        step().await;
        if sim.is_locked() {
            if !sim.world().try_lock(site, change.name) {
                continue;
            }
            let entry = sim.entries(&[change.name]).await;
            let same =
                entry.is_some_and(|e| commit(e[0].value) == change.new && e[0].value != GlobalRef::Untracked);
            if !same {
                sim.world().unlock(site, &[change.name]);
                continue;
            }
        }
        let mut world = sim.world();
        if world.transaction(site, &[change], sim.has(Rule::ExpectedOld)) {
            world.count("catch-up moved a ref");
            world.sends(change.name, kept.seen, change.new);
            say!(
                world,
                "{}: {} {} -> {}, caught up",
                World::site_name(site),
                short(change.name),
                show(change.old),
                show(change.new)
            );
        }
        world.unlock(site, &[change.name]);
    }
}

/// What is here of a deleted change goes in one transaction.
async fn delete_change(sim: &Shared, site: usize, changes: Vec<Change>) {
    if changes.is_empty() {
        return;
    }
    step().await;
    let names: Vec<Ref> = changes.iter().map(|c| c.name).collect();
    let mut free = true;
    if sim.is_locked() {
        free = names.iter().all(|name| sim.world().try_lock(site, *name));
        let entry = sim.entries(&[refs::META]).await;
        free &= entry.is_some_and(|e| e[0].value == GlobalRef::Deleted);
    }
    let mut world = sim.world();
    if free && world.transaction(site, &changes, sim.has(Rule::ExpectedOld)) {
        world.count("catch-up deleted a change");
        say!(world, "{}: the deleted change goes, {} refs", World::site_name(site), changes.len());
    }
    world.unlock(site, &names);
}
