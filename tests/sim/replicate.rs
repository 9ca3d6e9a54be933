//! Replication sessions, step by step as the product runs them: push and fetch.

use refgate_core::GlobalRef;

use crate::catch_up::catch_up;
use crate::config::Rule;
use crate::dag::{Commit, Value, show};
use crate::ledger::commit;
use crate::look::{Kept, Look, Purpose};
use crate::refs::{self, COUNT, META, Ref, short};
use crate::say;
use crate::task::step;
use crate::world::{Change, Shared, World};
use crate::write::{Told, gated as gated_write};

/// `from` pushes to `to`.
pub async fn push(sim: Shared, from: usize, to: usize) {
    session(&sim, from, to).await;
    catch_up(&sim, from).await;
    step().await;
    let theirs = sim.world().sites[to].refs;
    step().await;
    let ours = sim.world().sites[from].refs;
    let offers = offers(&sim, &ours, &theirs, true).await;
    let kept = Look::decide(&sim, Purpose::Push, from, to, &offers).await;
    // Of a change that is deleted the `/meta` goes first, and the rest when it has gone.
    let goes = |k: &Kept| k.change.new.is_none();
    let dies = kept.iter().position(|k| k.change.name == META && goes(k));
    let dying: Vec<usize> = (0..kept.len())
        .filter(|i| dies.is_some() && refs::is_patch_set(kept[*i].change.name) && goes(&kept[*i]))
        .collect();
    let waiting = match dies {
        None => {
            let others: Vec<usize> =
                (0..kept.len()).filter(|i| refs::is_patch_set(kept[*i].change.name)).collect();
            let meta = kept.iter().position(|k| k.change.name == META).filter(|_| !others.is_empty());
            meta.into_iter().map(|meta| (meta, others.clone())).collect()
        }
        Some(_) => Vec::new(),
    };
    let metas: Vec<usize> = waiting.iter().map(|(meta, _)| *meta).collect();
    let of_round = |second: bool| -> Vec<usize> {
        (0..kept.len()).filter(|i| metas.contains(i) == second && !dying.contains(i)).collect()
    };
    let mut arrived = vec![false; kept.len()];
    if sim.has(Rule::GroupOrder) {
        receive(&sim, from, to, &kept, &of_round(false), &mut arrived).await;
        let complete = |others: &[usize]| !sim.has(Rule::WholeChange) || others.iter().all(|i| arrived[*i]);
        let (second, held): (Vec<_>, Vec<_>) = waiting.iter().partition(|(_, others)| complete(others));
        let second: Vec<usize> = second.into_iter().map(|(meta, _)| *meta).collect();
        held.iter().for_each(|_| sim.world().count("push: meta held back, a patch set was refused"));
        receive(&sim, from, to, &kept, &second, &mut arrived).await;
    } else {
        receive(&sim, from, to, &kept, &of_round(true), &mut arrived).await;
        receive(&sim, from, to, &kept, &of_round(false), &mut arrived).await;
    }
    if dies.is_some_and(|meta| arrived[meta]) {
        receive(&sim, from, to, &kept, &dying, &mut arrived).await;
    }
    end_session(&sim, from, to);
}

/// `to` fetches from `from`.
pub async fn fetch(sim: Shared, to: usize, from: usize) {
    session(&sim, to, from).await;
    catch_up(&sim, to).await;
    step().await;
    let theirs = sim.world().sites[from].refs;
    step().await;
    let ours = sim.world().sites[to].refs;
    let offers = offers(&sim, &theirs, &ours, false).await;
    bring(&sim, to, from, &offers).await;
    let kept = Look::decide(&sim, Purpose::Fetch, to, from, &offers).await;
    step().await;
    kept.iter().filter_map(|k| k.change.new).for_each(|new| sim.world().bring(to, new));
    take(&sim, to, from, kept).await;
    end_session(&sim, to, from);
}

/// At most one session per repository and remote.
async fn session(sim: &Shared, site: usize, remote: usize) {
    if !sim.has(Rule::OneSession) {
        return;
    }
    loop {
        step().await;
        let mut world = sim.world();
        let current = world.current;
        let lock = &mut world.sites[site].sessions[remote];
        if lock.is_none() {
            *lock = Some(current);
            return;
        }
    }
}

fn end_session(sim: &Shared, site: usize, remote: usize) {
    let mut world = sim.world();
    let current = world.current;
    world.sites[site].sessions[remote].take_if(|task| *task == current);
}

/// What differs, as (ref, local value, remote value); deletions only where the ref-db records one.
async fn offers(
    sim: &Shared,
    source: &[Value; COUNT],
    destination: &[Value; COUNT],
    push: bool,
) -> Vec<(Ref, Value, Value)> {
    let gone: Vec<Ref> = (0..COUNT).filter(|r| source[*r].is_none() && destination[*r].is_some()).collect();
    // Of the other refs of a change the `/meta` tells, when it is gone on one side.
    let left = (0..refs::PATCH_SETS).any(|r| destination[r].is_some());
    let half = left && (source[META].is_none() || destination[META].is_none());
    let mut deleted = Vec::new();
    let mut dead = false;
    if (half || !gone.is_empty()) && sim.has(Rule::DeletionCheck) {
        let mut names = gone.clone();
        names.extend(Some(META).filter(|meta| half && !names.contains(meta)));
        // One read for all, or a `/meta` that is deleted in between would be left out.
        let entries = sim.entries(&names).await.unwrap_or_default();
        let recorded = names.iter().zip(entries);
        let recorded = recorded.filter(|(r, e)| refs::is_checked(**r) && e.value == GlobalRef::Deleted);
        deleted.extend(recorded.map(|(r, _)| *r));
        dead = half && deleted.contains(&META) && sim.has(Rule::DeletedChange);
    } else {
        deleted = gone;
    }
    // A change goes whole, whatever is left of it at the source.
    let source = |r: Ref| source[r].filter(|_| !(dead && refs::is_patch_set(r) && destination[r].is_some()));
    let goes = |r: Ref| deleted.contains(&r) || (dead && refs::is_patch_set(r));
    let differs = |r: &Ref| match source(*r) {
        Some(_) => source(*r) != destination[*r],
        None => destination[*r].is_some() && goes(*r),
    };
    let sides = |r: Ref| if push { (r, source(r), destination[r]) } else { (r, destination[r], source(r)) };
    (0..COUNT).filter(differs).map(sides).collect()
}

/// The objects that verdicts of a fetch can depend on.
async fn bring(sim: &Shared, to: usize, from: usize, offers: &[(Ref, Value, Value)]) {
    let names: Vec<Ref> = offers.iter().map(|(name, ..)| *name).collect();
    if names.is_empty() {
        return;
    }
    let entries = sim.entries(&names).await;
    step().await;
    let mut world = sim.world();
    for (i, (name, _, remote)) in offers.iter().enumerate() {
        let wanted = match entries.as_ref().map(|e| e[i].value) {
            _ if !refs::is_checked(*name) => true,
            Some(GlobalRef::At(oid)) => remote.is_some_and(|r| r.oid() == oid),
            Some(GlobalRef::Untracked) => true,
            Some(GlobalRef::Deleted) | None => false,
        };
        if let (true, Some(remote)) = (wanted, remote) {
            world.bring(to, *remote);
        }
        let listed = entries.iter().flat_map(|e| &e[i].superseded).map(|oid| Commit::of(*oid));
        for commit in listed.filter(|_| sim.has(Rule::ListedObjects)) {
            if world.is_here(from, commit) {
                world.bring(to, commit);
            }
        }
    }
}

/// Local locks in name order. Whoever waits here holds only smaller names.
pub async fn lock(sim: &Shared, site: usize, names: &[Ref]) {
    for name in names {
        loop {
            step().await;
            if sim.world().try_lock(site, *name) {
                break;
            }
        }
    }
}

/// What the check under the local lock says of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Refused,
    Set,
    /// The ref-db does not know it: it goes on as a client's write.
    Put,
}

impl Pass {
    fn of(fits: bool) -> Pass {
        if fits { Pass::Set } else { Pass::Refused }
    }
}

/// The check under the local lock: G must be what comes; an untracked ref must still be one, and fit its table. One that
/// was `pushed`, and is to be recorded, is a client's write.
async fn checked(sim: &Shared, site: usize, changes: &[Change], pushed: bool) -> Vec<Pass> {
    let names: Vec<Ref> = changes.iter().map(|c| c.name).chain([META]).collect();
    let entries = sim.entries(&names).await;
    let world = sim.world();
    let dead = entries.as_ref().is_some_and(|e| e[changes.len()].value == GlobalRef::Deleted);
    let meta_goes =
        world.value(site, META).is_none() || changes.iter().any(|c| c.name == META && c.new.is_none());
    let fits = |(i, change): (usize, &Change)| {
        let local = world.value(site, change.name);
        let extends = match refs::is_patch_set(change.name) {
            true => local.is_none(),
            false => world.dag.contains(change.new, local),
        };
        if refs::is_patch_set(change.name) && dead && sim.has(Rule::DeletedChange) {
            return Pass::of(change.new.is_none() && meta_goes);
        }
        if !refs::is_checked(change.name) {
            return Pass::of(change.new.is_some() && extends);
        }
        match entries.as_ref().map(|e| e[i].value) {
            None => Pass::Refused,
            Some(GlobalRef::Untracked) if pushed && change.new.is_some() && sim.has(Rule::MarkedPut) => {
                Pass::Put
            }
            Some(GlobalRef::Untracked) => Pass::of(change.new.is_some() && extends),
            Some(value) => Pass::of(commit(value) == change.new),
        }
    };
    changes.iter().enumerate().map(fits).collect()
}

/// The other side of a push: one round of commands.
pub async fn receive(
    sim: &Shared,
    from: usize,
    to: usize,
    kept: &[Kept],
    which: &[usize],
    arrived: &mut [bool],
) {
    if which.is_empty() {
        return;
    }
    step().await;
    let gated = sim.world().sites[to].kind == refgate_core::SiteKind::Gated && sim.is_locked();
    let mut names: Vec<Ref> = which.iter().map(|i| kept[*i].change.name).collect();
    names.sort_unstable();
    let mut passed = vec![Pass::Set; which.len()];
    if gated {
        lock(sim, to, &names).await;
        let changes: Vec<Change> = which.iter().map(|i| kept[*i].change).collect();
        passed = checked(sim, to, &changes, true).await;
    }
    for (i, pass) in which.iter().zip(passed) {
        step().await;
        if pass == Pass::Put {
            arrived[*i] = put(sim, (from, to), kept[*i].change).await;
            sim.world().count(if arrived[*i] {
                "push: created under the mark"
            } else {
                "push: refused by the check"
            });
            continue;
        }
        let (Kept { change, seen }, mut world) = (kept[*i], sim.world());
        let expected = world.value(to, change.name) == change.old || !sim.has(Rule::ExpectedOld);
        if pass == Pass::Refused || !expected {
            world.count(if pass == Pass::Set {
                "push: moved meanwhile"
            } else {
                "push: refused by the check"
            });
            say!(world, "{} refuses {} -> {}", World::site_name(to), short(change.name), show(change.new));
            continue;
        }
        say!(
            world,
            "push {}->{}: {} {} -> {}",
            World::site_name(from),
            World::site_name(to),
            short(change.name),
            show(change.old),
            show(change.new)
        );
        if let Some(new) = change.new {
            world.bring(to, new);
        }
        if refs::is_checked(change.name) {
            world.sends(change.name, seen, change.new);
        }
        world.count("push: applied");
        world.set(to, change.name, change.new);
        arrived[*i] = true;
    }
    sim.world().unlock(to, &names);
}

/// What the ref-db does not know arrives as a client's write. It is none, unless a client forged the mark: what comes back
/// by it was not asked for.
async fn put(sim: &Shared, (from, to): (usize, usize), change: Change) -> bool {
    let revived = {
        let world = sim.world();
        world.ledger.gone[change.name] & world.dag.reach(change.new)
    };
    let done = matches!(gated_write(sim, to, &[change]).await, Told::Success);
    let mut world = sim.world();
    if done && from != to && revived != 0 {
        let text = format!("{} came back as {}", short(change.name), show(change.new));
        world.ledger.breaks("P7", text);
    }
    done
}

/// The end of a fetch: a local transaction, the refs of the change together.
async fn take(sim: &Shared, to: usize, from: usize, mut kept: Vec<Kept>) {
    if kept.is_empty() {
        return;
    }
    if !sim.has(Rule::PinnedFetch) {
        step().await;
        let mut world = sim.world();
        for one in kept.iter_mut().filter(|k| k.change.new.is_some()) {
            one.change.new = world.value(from, one.change.name).or(one.change.new);
            if let Some(new) = one.change.new {
                world.bring(to, new);
            }
        }
    }
    let names: Vec<Ref> = kept.iter().map(|k| k.change.name).collect();
    let mut passed = vec![Pass::Set; kept.len()];
    if sim.is_locked() {
        lock(sim, to, &names).await;
        let changes: Vec<Change> = kept.iter().map(|k| k.change).collect();
        passed = checked(sim, to, &changes, false).await;
    }
    let is_change = |k: &Kept| k.change.name <= META;
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let (grouped, alone): (Vec<usize>, Vec<usize>) =
        (0..kept.len()).partition(|i| is_change(&kept[*i]) && sim.has(Rule::GroupOrder));
    groups.extend(Some(grouped).filter(|g| !g.is_empty()));
    groups.extend(alone.into_iter().rev().map(|i| vec![i]));
    step().await;
    for group in groups {
        if !sim.has(Rule::GroupOrder) {
            step().await;
        }
        let mut world = sim.world();
        let changes: Vec<Change> = group.iter().map(|i| kept[*i].change).collect();
        let pass = group.iter().all(|i| passed[*i] == Pass::Set);
        if !pass || !world.transaction(to, &changes, sim.has(Rule::ExpectedOld)) {
            world.count(if pass { "fetch: moved meanwhile" } else { "fetch: refused by the check" });
            continue;
        }
        for i in group {
            let Kept { change, seen } = kept[i];
            say!(
                world,
                "fetch {}<-{}: {} {} -> {}",
                World::site_name(to),
                World::site_name(from),
                short(change.name),
                show(change.old),
                show(change.new)
            );
            if refs::is_checked(change.name) {
                world.sends(change.name, seen, change.new);
            }
            world.count("fetch: applied");
        }
    }
    sim.world().unlock(to, &names);
}
