//! What has to hold when everything was killed and no hand has helped.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use refgate_core::{Class, Project, RefName, Rules};

use crate::amount::now;
use crate::common::PROJECT;
use crate::lab::{Gated, leftover_locks};
use crate::ledger::{Answer, Ledger, Write, explain};
use crate::load;

pub const SITES: [&str; 2] = ["a", "b"];

/// What is global: the values of the ref-db, without deletions.
type Values = BTreeMap<String, String>;

/// Whether the ref-db records a ref under the rules that hold by default.
pub fn is_recorded(name: &str) -> bool {
    let (project, name) = (Project::new(PROJECT).unwrap(), RefName::new(name));
    name.is_ok_and(|name| Class::of(&project, &name, &Rules::default()) == Class::Checked)
}

/// What the ref-db holds for the project.
pub fn recorded(g: &Gated) -> Values {
    let all = g.globals().into_iter();
    all.filter(|(name, value)| value != "deleted" && is_recorded(name)).collect()
}

/// What became of a round.
#[derive(Default)]
pub struct Settled {
    /// Locks of killed gits that `heal` named and removed.
    pub locks: Vec<String>,
}

/// Lets the sites find together, and checks that they do and that it agrees with what clients were told. `before` is what
/// the last round left, and becomes what this one does.
pub fn settle(g: &Gated, ledger: &Ledger, before: &mut Values) -> Result<Settled, String> {
    let mut settled = Settled::default();
    for site in SITES {
        next_push(g, ledger, site)?;
        settled.locks.extend(heal_locks(g, site)?);
        next_push(g, ledger, site)?;
    }
    find_together(g)?;
    let writes = ledger.take();
    let global = recorded(g);
    let tracked: Vec<Write> = writes.into_iter().filter(|write| is_recorded(&write.name)).collect();
    explain(before, &global, &tracked)?;
    for site in SITES {
        let here: Values = g.values(site);
        let of_it: Values = here.iter().filter(|(name, _)| is_recorded(name)).map(pair_of).collect();
        same(&format!("site {site} and the ref-db"), &of_it, &global)?;
        whole(ledger, site, &here)?;
        no_rest(g, site)?;
    }
    *before = global;
    Ok(settled)
}

fn pair_of((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

/// The next push after whatever was: it must be accepted without anybody's help. Only a lock on the whole reftable may be
/// in its way.
fn next_push(g: &Gated, ledger: &Ledger, site: &'static str) -> Result<(), String> {
    if ref_locks(&g.lab.repo(site)).iter().any(|lock| lock.ends_with("reftable/tables.list.lock")) {
        return Ok(());
    }
    let name = format!("refs/heads/next-{site}");
    let old = g.value(site, &name);
    let parents: Vec<&str> = Some(old.as_str()).filter(|old| !old.is_empty()).into_iter().collect();
    let new = g.commit(&parents, &format!("the next push at {site} after {old}"));
    let ran = g.push(site, &[&format!("{new}:{name}")]);
    if ran.code != 0 {
        let locks = ref_locks(&g.lab.repo(site));
        return Err(format!("the next push at {site} is refused; locks: {locks:?}\n{}", ran.err));
    }
    let (answer, told) = (Answer::Accepted, "the next push".into());
    ledger.note(vec![Write { site, name, old, new, answer, told }]);
    Ok(())
}

/// The locks of refs that killed gits have left.
fn ref_locks(repo: &Path) -> Vec<PathBuf> {
    let of_refs = |path: &PathBuf| {
        let below = path.strip_prefix(repo).unwrap();
        let single = ["HEAD.lock", "config.lock", "packed-refs.lock", "packed-refs.new", "shallow.lock"];
        ["refs", "reftable"].iter().any(|dir| below.starts_with(dir))
            || single.iter().any(|name| below == Path::new(name))
    };
    let mut locks = leftover_locks(repo);
    locks.retain(of_refs);
    locks
}

/// Locks that are left are named by `heal` when they are old enough, and removed by it.
fn heal_locks(g: &Gated, site: &str) -> Result<Vec<String>, String> {
    let repo = g.lab.repo(site);
    let locks = ref_locks(&repo);
    if locks.is_empty() {
        return Ok(Vec::new());
    }
    for lock in &locks {
        let old = now() - Duration::from_secs(3600);
        File::options().append(true).open(lock).and_then(|file| file.set_modified(old)).unwrap();
    }
    let ran = g.lab.run(site, &["refdb", "heal", PROJECT, "--yes"]);
    let names: Vec<String> =
        locks.iter().map(|lock| lock.strip_prefix(&repo).unwrap().display().to_string()).collect();
    match names.iter().find(|name| !ran.out.contains(*name)) {
        Some(name) => Err(format!("heal does not name {name} at {site}: {}{}", ran.out, ran.err)),
        None if ref_locks(&repo).is_empty() => Ok(names),
        None => Err(format!("heal leaves locks at {site}: {}{}", ran.out, ran.err)),
    }
}

/// Replication both ways until both sites have the same; once is enough where nothing was killed.
fn find_together(g: &Gated) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..3 {
        last.clear();
        for (at, what, with) in
            [("a", "push", "b"), ("b", "push", "a"), ("a", "fetch", "b"), ("b", "fetch", "a")]
        {
            let ran = g.lab.run(at, &[what, PROJECT, with]);
            last += &format!("{what} at {at}: exit code {}\n{}{}", ran.code, ran.out, ran.err);
        }
        if g.values("a") == g.values("b") {
            return Ok(());
        }
    }
    same("sites a and b", &g.values("a"), &g.values("b")).map_err(|why| format!("{why}\n{last}"))
}

/// No change and no pair is there in part.
fn whole(ledger: &Ledger, site: &str, here: &Values) -> Result<(), String> {
    for [left, right] in load::pairs().map(load::pair) {
        if here.get(&left) != here.get(&right) {
            return Err(format!(
                "half of an atomic push at {site}: {left} {:?}, {right} {:?}",
                here.get(&left),
                here.get(&right)
            ));
        }
    }
    for change in load::changes() {
        let refs = here.iter().filter(|(name, _)| name.starts_with(&change)).map(pair_of);
        let (meta, patch_sets): (Values, Values) = refs.partition(|(name, _)| name.ends_with("/meta"));
        let expected = match meta.values().next() {
            Some(meta) => ledger
                .patch_sets(meta)
                .ok_or_else(|| format!("{change}meta is at {meta}, which nobody pushed"))?,
            None => Values::new(),
        };
        same(
            &format!("the patch sets of {change} at {site} and what its /meta says"),
            &patch_sets,
            &expected,
        )?;
    }
    Ok(())
}

/// Nothing is left of any write, and the repository is whole.
fn no_rest(g: &Gated, site: &str) -> Result<(), String> {
    let rest = g.rest_of_writes(site);
    if !rest.is_empty() {
        return Err(format!("left over at {site}: {}", rest.join("; ")));
    }
    match ref_locks(&g.lab.repo(site)) {
        locks if locks.is_empty() => Ok(()),
        locks => Err(format!("locks are left at {site}: {locks:?}")),
    }
}

/// Tells two sets of refs apart.
pub fn same(what: &str, one: &Values, other: &Values) -> Result<(), String> {
    let names = one.keys().chain(other.keys()).filter(|name| one.get(*name) != other.get(*name));
    let mut differ: Vec<String> =
        names.map(|name| format!("{name}: {:?} and {:?}", one.get(name), other.get(name))).collect();
    differ.sort();
    differ.dedup();
    if differ.is_empty() { Ok(()) } else { Err(format!("{what} differ:\n  {}", differ.join("\n  "))) }
}
