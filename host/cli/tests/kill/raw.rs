//! Pushes of strangers, as they go over the wire: legal and illegal names, names in each other's way, wrong old values,
//! doubles, atomic ones, changes in part and whole, with the mark of replication and without. After each, what is here has
//! to be what the ref-db says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rusqlite::{Connection, OpenFlags};

use crate::amount::{Rounds, first_seed};
use crate::common::{PROJECT, git};
use crate::dice::Dice;
use crate::lab::{Gated, Kind};
use crate::settle::{SITES, is_recorded, same};
use crate::wire::{ABSENT, Command, Push, Report};

/// Pushes among the other tests.
const PUSHES: u64 = 110;
/// Names get used up.
const PUSHES_PER_WORLD: usize = 400;

const LEGAL: [&str; 22] = [
    "refs/heads/r0",
    "refs/heads/r1",
    "refs/heads/r2",
    "refs/heads/r3",
    "refs/heads/r0/below",
    "refs/heads/r1/below/deep",
    "refs/heads/-r",
    "refs/heads/$(x)",
    "refs/heads/%41",
    "refs/heads/ümlaut-\u{1f600}",
    "refs/tags/t0",
    "refs/tags/t1",
    "refs/notes/commits",
    "refs/meta/config",
    "refs/changes/01/1/meta",
    "refs/changes/01/1/1",
    "refs/changes/01/1/2",
    "refs/changes/02/2/meta",
    "refs/changes/02/2/1",
    "refs/changes/02/2/robot-comments",
    "refs/users/01/1001",
    "refs/heads/main",
];

const ODD: [&str; 18] = [
    "refs/stash",
    "refs/remotes/origin/x",
    "refs/replace/x",
    "refs/refgate/keep/x/y",
    "refs/refgate/rescued/x",
    "refs/heads/a..b",
    "refs/heads/x.lock",
    "refs/heads/x y",
    "refs/heads/x",
    "refs/heads/.x",
    "refs/heads/x\u{1b}]0;x\u{7}",
    "refs/heads//x",
    "refs/heads/",
    "refs/../../x",
    "/etc/x",
    "HEAD",
    "refs/one",
    "refs/heads/x@{1}",
];

type Values = BTreeMap<String, String>;

struct World {
    g: Gated,
    refdb: Connection,
    objects: Vec<String>,
    sites: usize,
    /// All that the ref-db ever held, by ref; nothing stands for absent.
    history: BTreeMap<String, BTreeSet<Option<String>>>,
}

/// Pushes at one site, which has to be where the ref-db is after each.
pub fn one_site(kind: Kind) -> Result<(), String> {
    pushes(kind, 1)
}

/// Pushes at two sites that never replicate: what a site has, the ref-db had, and of two that push the same new ref one wins.
pub fn two_sites(kind: Kind) -> Result<(), String> {
    pushes(kind, 2)
}

fn pushes(kind: Kind, sites: usize) -> Result<(), String> {
    let mut rounds = Rounds::new(PUSHES);
    let (mut seed, mut sum) = (first_seed(), [0; 3]);
    loop {
        let mut some = rounds.by_ref().take(PUSHES_PER_WORLD).peekable();
        if some.peek().is_none() {
            break;
        }
        let mut world = World::new(kind, sites);
        let mut number = 0;
        for _ in some {
            number += 1;
            let told = |why| format!("{kind:?}, REFGATE_KILL_SEED={seed}, push {number}: {why}");
            let answers = world.round(&mut Dice::new(seed, number, 7)).map_err(told)?;
            sum[0] += 1;
            sum[1] += answers.0;
            sum[2] += answers.1;
        }
        seed += 1;
    }
    let [pushes, ok, refused] = sum;
    // A harness whose every push is refused proves nothing.
    if ok * 20 < refused {
        return Err(format!("of {} refs only {ok} were accepted", ok + refused));
    }
    #[expect(clippy::print_stdout, reason = "a long run says what it did")]
    {
        println!("{kind:?}, {sites} sites: {pushes} pushes, {ok} refs accepted, {refused} refused");
    }
    Ok(())
}

impl World {
    fn new(kind: Kind, sites: usize) -> World {
        let g = Gated::new(kind);
        let mut objects = vec![g.c0.clone()];
        for number in 0..4 {
            let parent = objects[objects.len() - 1].clone();
            objects.push(g.commit(&[&parent], &format!("on {number}")));
        }
        objects.extend((0..4).map(|number| g.commit(&[], &format!("apart {number}"))));
        let client = g.lab.path("client");
        objects.push(git(&client, &["mktree"]));
        for site in SITES {
            copy(&client.join("objects"), &g.lab.repo(site).join("objects"));
        }
        let refdb = Connection::open_with_flags(g.lab.path("refdb.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap();
        let history = BTreeMap::new();
        let mut world = World { g, refdb, objects, sites, history };
        world.remember();
        world
    }

    /// One push, or two of the same new ref at once; returns how many refs were accepted and how many refused.
    fn round(&mut self, dice: &mut Dice) -> Result<(u64, u64), String> {
        if self.sites == 2 && dice.percent(15) {
            return self.race(dice);
        }
        let site = SITES[dice.below(self.sites as u64) as usize];
        let (here, global) = (self.here(site), self.global());
        let push = self.choose(dice, &here, &global);
        let report = push.send(&self.g.lab.repo(site));
        let checked = self.check(site, &push, &report, (&here, &global));
        checked.map_err(|why| format!("{why}\nat {site}: {push:#?}\nreport: {report:#?}"))?;
        let ok = report.values().filter(|why| why.is_none()).count() as u64;
        Ok((ok, report.len() as u64 - ok))
    }

    /// The same new ref at both sites at once, with marks or without.
    fn race(&mut self, dice: &mut Dice) -> Result<(u64, u64), String> {
        let name = format!("refs/heads/raced-{}", dice.below(1 << 40));
        let pushes: Vec<Push> = (0..2)
            .map(|place| {
                let new = self.objects[5 + place].clone();
                let commands = vec![Command { old: ABSENT.into(), new, name: name.clone() }];
                let marked = dice.percent(50);
                let options = if marked { vec!["refgate.replication=x".to_owned()] } else { Vec::new() };
                Push { commands, atomic: dice.percent(30), options }
            })
            .collect();
        let repos = SITES.map(|site| self.g.lab.repo(site));
        let reports: Vec<Report> = std::thread::scope(|scope| {
            let sent: Vec<_> =
                pushes.iter().zip(&repos).map(|(push, repo)| scope.spawn(|| push.send(repo))).collect();
            sent.into_iter().map(|push| push.join().unwrap()).collect()
        });
        let winners: Vec<usize> = (0..2).filter(|i| reports[*i].get(&name) == Some(&None)).collect();
        self.remember();
        let global = self.global().get(&name).cloned();
        let there: Vec<Option<String>> =
            SITES.iter().map(|site| self.here(site).get(&name).cloned()).collect();
        let [winner] = winners[..] else {
            return Err(format!("{} won: {pushes:#?}\n{reports:#?}", winners.len()));
        };
        let value = Some(self.objects[5 + winner].clone());
        if global != value
            || there[winner] != value
            || there[1 - winner].as_ref().is_some_and(|there| Some(there) != value.as_ref())
        {
            return Err(format!("{pushes:#?}\n{reports:#?}\nref-db {global:?}, sites {there:?}"));
        }
        Ok((1, 1))
    }

    fn choose(&self, dice: &mut Dice, here: &Values, global: &Values) -> Push {
        let marked = dice.percent(30);
        let mut options = Vec::new();
        if marked {
            options.push(format!("refgate.replication={}", dice.pick(&["a", "b", "x", "", "a\u{1b}[0m"])));
        }
        if dice.percent(10) {
            options.push((*dice.pick(&["refgate.refdb=another", "ci.skip", "refgate.", "x"])).to_owned());
        }
        let commands = (0..1 + dice.below(10))
            .map(|_| {
                let name = if dice.percent(85) { *dice.pick(&LEGAL) } else { *dice.pick(&ODD) };
                let (here, global) = (here.get(name), global.get(name));
                let any = |dice: &mut Dice| match dice.below(10) {
                    0 => "1234567890123456789012345678901234567890".to_owned(),
                    1 | 2 => ABSENT.to_owned(),
                    _ => dice.pick(&self.objects).clone(),
                };
                let value = |value: Option<&String>| value.map_or(ABSENT.to_owned(), String::clone);
                let old = if dice.percent(85) { value(here) } else { any(dice) };
                let to_global = dice.percent(if marked { 50 } else { 5 });
                let new = if to_global { value(global) } else { any(dice) };
                Command { old, new, name: name.to_owned() }
            })
            .collect();
        Push { commands, atomic: dice.percent(25), options }
    }

    /// What has to hold after a push, given what was before it.
    fn check(
        &mut self,
        site: &str,
        push: &Push,
        report: &Report,
        (here, global): (&Values, &Values),
    ) -> Result<(), String> {
        let (was_here, was_global) = (here, global);
        self.remember();
        let (here, global) = (self.here(site), self.global());
        for (name, why) in report {
            let sent: Vec<&Command> = push.commands.iter().filter(|command| command.name == *name).collect();
            // Of several commands for one ref git keeps those from the hook that it refuses itself.
            let [command] = sent[..] else { continue };
            let new = Some(command.new.clone()).filter(|new| new != ABSENT);
            let moved = here.get(name) != was_here.get(name);
            match why {
                None if here.get(name) != new.as_ref() => {
                    return Err(format!("{name} was accepted, and is at {:?}", here.get(name)));
                }
                None if is_recorded(name) && global.get(name) != new.as_ref() => {
                    return Err(format!("{name} was accepted, and the ref-db is at {:?}", global.get(name)));
                }
                // Catch-up may have moved it to what the ref-db holds.
                Some(_) if moved && (!is_recorded(name) || here.get(name) != was_global.get(name)) => {
                    return Err(format!("{name} was refused, and moved to {:?}", here.get(name)));
                }
                Some(_) if is_recorded(name) && global.get(name) != was_global.get(name) => {
                    return Err(format!(
                        "{name} was refused, and moved the ref-db to {:?}",
                        global.get(name)
                    ));
                }
                _ => {}
            }
        }
        self.together(push, report)?;
        self.is_held(site, &here)?;
        let of_it = |values: &Values| -> Values {
            values.iter().filter(|(name, _)| is_recorded(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
        };
        match self.sites {
            1 => same("the site and the ref-db", &of_it(&here), &of_it(&global)),
            _ => Ok(()),
        }
    }

    /// The refs of a change have one answer, and those of an atomic push, unless git itself refused one of them.
    fn together(&self, push: &Push, report: &Report) -> Result<(), String> {
        let by_git = |why: &String| {
            ["hidden ref", "funny refname", "aliased", "missing necessary objects"]
                .iter()
                .any(|text| why.contains(text))
        };
        let mut groups: BTreeMap<&str, Vec<(&String, &Option<String>)>> = BTreeMap::new();
        for (name, why) in report {
            let change = name.strip_prefix("refs/changes/").and_then(|rest| rest.rsplit_once('/'));
            let group = match change {
                _ if push.atomic => "all",
                Some((change, _)) => change,
                _ => continue,
            };
            groups.entry(group).or_default().push((name, why));
        }
        for (group, refs) in groups {
            let ok = refs.iter().filter(|(_, why)| why.is_none()).count();
            let git_refused = refs.iter().any(|(_, why)| why.as_ref().is_some_and(by_git));
            if ok != 0 && ok != refs.len() && !git_refused {
                return Err(format!("of {group} some were accepted and some refused"));
            }
        }
        Ok(())
    }

    /// A site has what the ref-db holds, or held.
    fn is_held(&self, site: &str, here: &Values) -> Result<(), String> {
        for (name, value) in here.iter().filter(|(name, _)| is_recorded(name)) {
            if !self.history.get(name).is_some_and(|held| held.contains(&Some(value.clone()))) {
                return Err(format!("{name} is at {value} at {site}, which the ref-db never held"));
            }
        }
        Ok(())
    }

    fn remember(&mut self) {
        for (name, value) in self.global() {
            self.history.entry(name).or_default().insert(Some(value));
        }
    }

    fn here(&self, site: &str) -> Values {
        self.g.values(site)
    }

    /// What the ref-db holds, without deletions.
    fn global(&self) -> Values {
        let mut all = self.refdb.prepare_cached("SELECT name, value FROM entry WHERE project = ?1").unwrap();
        let rows = all.query_map([PROJECT], |row| {
            let (name, value): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let hex = value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            Ok((String::from_utf8_lossy(&name).into_owned(), hex))
        });
        rows.unwrap().map(Result::unwrap).filter(|(_, value)| !value.is_empty()).collect()
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => {
                // Objects are read-only, and the same everywhere.
                if !to.exists() {
                    fs::copy(entry.path(), to).unwrap();
                }
            }
        }
    }
}
