//! An operator forgets records of deletions: only when every site and every old session is past them.

use std::collections::BTreeSet;
use std::time::Duration;

use refgate_core::{Clock, GlobalRef};

use crate::config::Rule;
use crate::refs::{self, COUNT, Ref, short};
use crate::say;
use crate::task::step;
use crate::world::{Shared, TaskId};

/// Virtual, like all time here.
const SESSION_TIME: Duration = Duration::from_millis(80);

/// Forgets what may be forgotten now.
pub async fn forget(sim: Shared) {
    for name in (0..COUNT).filter(|r| refs::is_checked(*r)) {
        let Some(entries) = sim.entries(&[name]).await else { return };
        let (entry, moves) = (entries[0].clone(), sim.world().ledger.moves[name]);
        if entry.value != GlobalRef::Deleted {
            continue;
        }
        if sim.has(Rule::Forget) && !everybody_is_past(&sim, name).await {
            continue;
        }
        step().await;
        if sim.has(Rule::ForgetOnce) && sim.world().ledger.moves[name] != moves {
            continue;
        }
        if sim.forget_now(name, &entry) {
            let mut world = sim.world();
            world.count("forgotten");
            say!(world, "operator forgets that {} was deleted", short(name));
        }
    }
}

/// Everybody ends who ran at the deletion, writers between their compare-and-put and their local refs included: they
/// could set what the listing did not see. Then every site is listed without the ref; then everybody ends who ran at the
/// listing and may have seen it at a site before.
async fn everybody_is_past(sim: &Shared, name: Ref) -> bool {
    (!sim.has(Rule::ForgetWriters) || all_of_now_end(sim).await)
        && is_absent_everywhere(sim, name).await
        && all_of_now_end(sim).await
}

/// Waits for a session time, and for as long as it takes, within reason.
async fn all_of_now_end(sim: &Shared) -> bool {
    let now: BTreeSet<TaskId> = {
        let world = sim.world();
        world.alive.iter().copied().filter(|task| *task != world.current).collect()
    };
    // Whoever waits here is not in the way of others: an operator holds no lock.
    sim.sleep(SESSION_TIME).await;
    for _ in 0..400 {
        step().await;
        if sim.world().alive.is_disjoint(&now) {
            return true;
        }
    }
    false
}

async fn is_absent_everywhere(sim: &Shared, name: Ref) -> bool {
    let sites = sim.world().sites.len();
    for site in 0..sites {
        step().await;
        if sim.world().value(site, name).is_some() {
            return false;
        }
    }
    true
}
