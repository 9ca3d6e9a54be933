//! Writes of clients: gated ones step by step (compare-and-put, local, only forward), and those that ask nobody.

use refgate_core::{GlobalRef, SiteKind};

use crate::catch_up::{catch_up, roll_forward};
use crate::config::Rule;
use crate::dag::{Value, show};
use crate::ledger::{commit, global};
use crate::look::Kept;
use crate::refdb::{Answer, Put};
use crate::refs::{self, Ref, short};
use crate::replicate::{lock, receive};
use crate::say;
use crate::task::step;
use crate::world::{Change, Record, Shared, World};

/// A client pushes `changes` to its site. All of them go, or none.
pub async fn write(sim: Shared, site: usize, mut changes: Vec<Change>) {
    changes.sort_by_key(|c| c.name);
    {
        let mut world = sim.world();
        for c in &changes {
            say!(
                world,
                "client at {}: {} {} -> {}",
                World::site_name(site),
                short(c.name),
                show(c.old),
                show(c.new)
            );
        }
    }
    let names: Vec<Ref> = changes.iter().map(|c| c.name).collect();
    if sim.world().sites[site].kind != SiteKind::Gated {
        return write_ungated(&sim, site, &changes).await;
    }
    catch_up(&sim, site).await;
    if sim.config.locked {
        lock(&sim, site, &names).await;
    }
    let told = gated(&sim, site, &changes).await;
    let mut world = sim.world();
    match told {
        Told::Success => {
            say!(world, "client at {}: success", World::site_name(site));
            world.count("write: success");
            changes.iter().for_each(|c| world.told(c.name, c.new));
        }
        Told::Refused(why) => {
            say!(world, "client at {}: refused, {why}", World::site_name(site));
            world.count(why);
        }
        Told::Unknown => {
            say!(world, "client at {}: outcome unknown", World::site_name(site));
            world.count("write: outcome unknown");
        }
    }
    world.unlock(site, &names);
}

/// A client pushes `changes` with the mark of replication, and gets what replication gets.
pub async fn forge(sim: Shared, site: usize, changes: Vec<Change>) {
    if sim.world().sites[site].kind != SiteKind::Gated {
        return;
    }
    catch_up(&sim, site).await;
    let kept: Vec<Kept> = changes.iter().map(|c| Kept { change: *c, seen: GlobalRef::Untracked }).collect();
    let all: Vec<usize> = (0..kept.len()).collect();
    let mut arrived = vec![false; kept.len()];
    receive(&sim, site, site, &kept, &all, &mut arrived).await;
    let mut world = sim.world();
    for (c, _) in changes.iter().zip(arrived).filter(|(_, arrived)| *arrived) {
        world.count("write: marked");
        if !sim.has(Rule::MarkedPut) {
            world.takes_effect(c.name, c.old, c.new);
        }
        world.told(c.name, c.new);
    }
}

/// What a client hears.
pub enum Told {
    Success,
    Refused(&'static str),
    Unknown,
}

/// The ref-db is not asked: one local transaction.
async fn write_ungated(sim: &Shared, site: usize, changes: &[Change]) {
    step().await;
    let mut world = sim.world();
    changes.iter().filter_map(|c| c.new).for_each(|new| world.bring(site, new));
    if !world.transaction(site, changes, true) {
        world.count("write: moved meanwhile");
        return;
    }
    world.count("write: ungated");
    for c in changes {
        say!(
            world,
            "{}: {} {} -> {}, ungated",
            World::site_name(site),
            short(c.name),
            show(c.old),
            show(c.new)
        );
        world.sites[site].ungated_writes[c.name] = true;
        world.takes_effect(c.name, c.old, c.new);
        world.told(c.name, c.new);
    }
}

/// A write under the local locks, from its look at the ref-db on.
pub async fn gated(sim: &Shared, site: usize, changes: &[Change]) -> Told {
    // Step 2: the local values and the ref-db are what the client saw.
    step().await;
    if changes.iter().any(|c| sim.world().value(site, c.name) != c.old) {
        return Told::Refused("write: moved meanwhile");
    }
    let tracked: Vec<Change> = changes.iter().copied().filter(|c| refs::is_checked(c.name)).collect();
    if tracked.is_empty() {
        write_ungated(sim, site, changes).await;
        return Told::Success;
    }
    let names: Vec<Ref> = tracked.iter().map(|c| c.name).collect();
    let Some(entries) = sim.entries(&names).await else {
        return Told::Refused("write: ref-db down");
    };
    let mut puts: Vec<Put> = Vec::new();
    for (c, entry) in tracked.iter().zip(&entries) {
        if c.old.is_some() && entry.value == GlobalRef::Untracked && sim.has(Rule::RefuseUntracked) {
            return Told::Refused("write: untracked");
        }
        // Numbers of changes are not used again; a site that slept through it all would keep the old patch sets for ever.
        if c.name == refs::META && c.new.is_some() && entry.value == GlobalRef::Deleted {
            return Told::Refused("write: deleted change");
        }
        if entry.value != GlobalRef::Untracked && commit(entry.value) != c.old {
            return Told::Refused("write: behind the ref-db");
        }
        let keeps = c.new.is_some() && sim.world().dag.contains(c.new, c.old);
        puts.push((c.name, entry.value, global(c.new), keeps));
    }
    if !sim.has(Rule::RefDbFirst) {
        return local_first(sim, site, changes, &puts).await;
    }
    // Step 3: the record, and the objects with it.
    step().await;
    let record = {
        let mut world = sim.world();
        world.next_record += 1;
        let record = Record { id: world.next_record, changes: changes.to_vec(), writer: Some(world.current) };
        changes.iter().filter_map(|c| c.new).for_each(|new| world.bring(site, new));
        world.sites[site].journal.push(record.clone());
        record
    };
    // Step 4: the ref-db.
    match sim.put(record.id, &puts).await {
        Answer::Applied => {}
        Answer::Unknown => return Told::Unknown,
        Answer::Mismatch | Answer::Unavailable => {
            sim.world().drop_record(site, record.id);
            return Told::Refused("write: lost the race");
        }
    }
    // Step 5: the local refs.
    step().await;
    let moved = {
        let mut world = sim.world();
        let broken = sim.config.faults && world.fault(6);
        let moved = !broken && world.transaction(site, changes, true);
        say!(
            world,
            "{}: local refs {}",
            World::site_name(site),
            if moved { "moved" } else { "did not move" }
        );
        moved
    };
    finish(sim, site, &record, &tracked, &puts, moved).await
}

/// Step 6: roll forward if need be, look what the ref-db holds, answer.
async fn finish(
    sim: &Shared,
    site: usize,
    record: &Record,
    tracked: &[Change],
    puts: &[Put],
    moved: bool,
) -> Told {
    if !moved && !sim.has(Rule::ForwardOnly) {
        step().await;
        puts.iter().for_each(|(name, old, new, _)| sim.put_alone(*name, *new, *old));
        sim.world().drop_record(site, record.id);
        return Told::Refused("write: put back");
    }
    let rolled = moved || roll_forward(sim, site, record).await;
    let names: Vec<Ref> = tracked.iter().map(|c| c.name).collect();
    let Some(entries) = sim.entries(&names).await else {
        return Told::Unknown;
    };
    // What the record is for has been done; otherwise catch-up goes on with it.
    if rolled {
        sim.world().drop_record(site, record.id);
    }
    let world = sim.world();
    let stands = |(c, entry): (&Change, &refgate_core::Entry)| {
        let listed = |new: crate::dag::Commit| entry.superseded.contains(&new.oid());
        commit(entry.value) == c.new
            || c.new.is_some_and(|new| world.dag.contains(commit(entry.value), Some(new)) || listed(new))
    };
    match tracked.iter().zip(&entries).all(stands) {
        true => Told::Success,
        false => Told::Unknown,
    }
}

/// The order that the protocol rejects: local first, then the ref-db, and back if that fails.
async fn local_first(sim: &Shared, site: usize, changes: &[Change], puts: &[Put]) -> Told {
    step().await;
    {
        let mut world = sim.world();
        changes.iter().filter_map(|c| c.new).for_each(|new| world.bring(site, new));
        if !world.transaction(site, changes, true) {
            return Told::Refused("write: moved meanwhile");
        }
        say!(world, "{}: local refs moved before the ref-db", World::site_name(site));
    }
    match sim.put(0, puts).await {
        Answer::Applied => Told::Success,
        Answer::Unknown => Told::Unknown,
        Answer::Mismatch | Answer::Unavailable => {
            step().await;
            let back: Vec<Change> =
                changes.iter().map(|c| Change { name: c.name, old: c.new, new: c.old }).collect();
            sim.world().transaction(site, &back, true);
            Told::Refused("write: lost the race")
        }
    }
}

/// An operator records what a site holds, where the ref-db knows nothing.
pub async fn seed(sim: Shared, site: usize) {
    let all: Vec<Ref> = (0..refs::COUNT).filter(|r| refs::is_checked(*r)).collect();
    for name in all {
        step().await;
        let value: Value = sim.world().value(site, name);
        let Some(entries) = sim.entries(&[name]).await else { return };
        if value.is_some() && entries[0].value == GlobalRef::Untracked {
            {
                let mut world = sim.world();
                say!(world, "operator seeds {} from {}", short(name), World::site_name(site));
                world.count("seed");
            }
            sim.put(0, &[(name, GlobalRef::Untracked, global(value), false)]).await;
        }
    }
}
