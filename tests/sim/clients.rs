//! What clients and operators do, chosen by the seed from what they see at their site.

use rand::RngExt;
use refgate_core::SiteKind;

use crate::config::Op;
use crate::dag::{Commit, Value};
use crate::refs::{self, DEV, MAIN, META, PATCH_SETS, Ref, SCRATCH};
use crate::world::{Change, World};

/// A weighted choice.
pub fn pick<T: Copy>(world: &mut World, from: &[(T, u32)]) -> T {
    let total: u32 = from.iter().map(|(_, weight)| weight).sum();
    let mut at = world.rng.random_range(0..total);
    for (one, weight) in from {
        if at < *weight {
            return *one;
        }
        at -= weight;
    }
    unreachable!("the weights add up")
}

/// One of several.
pub fn one_of<T: Copy>(world: &mut World, from: &[T]) -> Option<T> {
    if from.is_empty() { None } else { Some(from[world.rng.random_range(0..from.len())]) }
}

/// A site where clients write.
pub fn writable(world: &mut World) -> usize {
    let sites: Vec<usize> =
        (0..world.sites.len()).filter(|s| world.sites[*s].kind != SiteKind::Mirror).collect();
    one_of(world, &sites).expect("the first site is gated")
}

/// What a client at `site` wants to change; nothing when the operation makes no sense there now.
pub fn changes(world: &mut World, branches: &[Ref], site: usize, op: Op) -> Vec<Change> {
    let branch = one_of(world, branches).expect("some");
    match op {
        Op::Upload => upload(world, site),
        Op::DeleteChange => {
            let here = (0..=META).filter(|name| world.value(site, *name).is_some());
            let all: Vec<Change> =
                here.map(|name| Change { name, old: world.value(site, name), new: None }).collect();
            if world.value(site, META).is_some() { all } else { Vec::new() }
        }
        Op::Atomic => {
            let both = [DEV, MAIN].map(|name| plain(world, site, name, Op::Child));
            both.into_iter().flatten().collect()
        }
        Op::Scratch => {
            let kinds = [(Op::Child, 3), (Op::Create, 2), (Op::Amend, 1), (Op::Reset, 1), (Op::Delete, 1)];
            let op = pick(world, &kinds);
            plain(world, site, SCRATCH, op).into_iter().collect()
        }
        Op::Forge => {
            let kinds = [(Op::Create, 4), (Op::Child, 3), (Op::Reset, 2), (Op::Recreate, 1), (Op::Delete, 2)];
            let op = pick(world, &kinds);
            plain(world, site, branch, op).into_iter().collect()
        }
        Op::Seed | Op::Forget => Vec::new(),
        _ => plain(world, site, branch, op).into_iter().collect(),
    }
}

/// One branch: the new value, from the value seen here.
fn plain(world: &mut World, site: usize, name: Ref, op: Op) -> Option<Change> {
    let old = world.value(site, name);
    let new: Value = match (op, old) {
        (Op::Child, Some(tip)) => Some(world.dag.commit(&[tip])),
        (Op::Merge, Some(tip)) => {
            let others: Vec<Commit> = world.sites[site].refs[META + 1..]
                .iter()
                .flatten()
                .copied()
                .filter(|c| !world.dag.contains(old, Some(*c)))
                .collect();
            let other = one_of(world, &others)?;
            Some(world.dag.commit(&[tip, other]))
        }
        (Op::Amend, Some(tip)) => {
            let parents = world.dag.parents(tip).to_vec();
            Some(world.dag.commit(&parents))
        }
        (Op::Reset, Some(_)) | (Op::Recreate, None) => {
            let here = world.dag.members(world.sites[site].objects);
            let older: Vec<Commit> =
                here.into_iter().filter(|c| Some(*c) != old && !is_of_change(world, *c)).collect();
            Some(one_of(world, &older)?)
        }
        (Op::Create, None) => {
            let base = world.value(site, if name == MAIN { DEV } else { MAIN });
            let parents: Vec<Commit> = base.into_iter().collect();
            Some(world.dag.commit(&parents))
        }
        (Op::Delete, Some(_)) => None,
        _ => return None,
    };
    Some(Change { name, old, new })
}

/// Commits of the change are no values for a branch.
fn is_of_change(world: &World, commit: Commit) -> bool {
    !world.dag.patch_sets(commit).is_empty() || world.ledger.patch_sets & commit.bit() != 0
}

/// The next patch set by the `/meta` seen here. Two sites may choose the same number.
fn upload(world: &mut World, site: usize) -> Vec<Change> {
    let meta = world.value(site, META);
    let mut named = meta.map(|m| world.dag.patch_sets(m).to_vec()).unwrap_or_default();
    let number = named.len();
    if number == PATCH_SETS || world.value(site, number).is_some() {
        return Vec::new();
    }
    let base: Vec<Commit> = world.value(site, MAIN).into_iter().collect();
    let patch_set = world.dag.commit(&base);
    world.ledger.patch_sets |= patch_set.bit();
    named.push(patch_set);
    let new = world.dag.meta(meta, named);
    debug_assert!(refs::is_patch_set(number));
    vec![
        Change { name: number, old: None, new: Some(patch_set) },
        Change { name: META, old: meta, new: Some(new) },
    ]
}
