//! What clients push: branches forward, rewritten and deleted, tags, pairs that move together, and changes with patch sets.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::common::Ran;
use crate::dice::Dice;
use crate::lab::Gated;
use crate::ledger::{Answer, Ledger, Write};

/// How many refs of each kind the clients of all sites share.
const BRANCHES: u64 = 5;
const TAGS: u64 = 3;
const PAIRS: u64 = 2;
const CHANGES: u64 = 3;

/// Choices for one push, drawn before anything is looked at.
pub struct Wish {
    kind: u64,
    number: u64,
    how: u64,
    others: Vec<(u64, u64)>,
    serial: String,
}

impl Wish {
    /// `serial` is what no other push has.
    pub fn new(dice: &mut Dice, serial: String) -> Wish {
        let others = (0..2).map(|_| (dice.below(BRANCHES), dice.below(100))).collect();
        Wish { kind: dice.below(100), number: dice.below(60), how: dice.below(100), others, serial }
    }
}

/// A push that is about to be made.
pub struct Push {
    site: &'static str,
    pub args: Vec<String>,
    pub writes: Vec<Write>,
    /// All or nothing, by `--atomic` or as one change.
    pub whole: bool,
}

pub fn pair(number: u64) -> [String; 2] {
    ["left", "right"].map(|side| format!("refs/heads/pair/{number}/{side}"))
}

/// The numbers of the pairs.
pub fn pairs() -> impl Iterator<Item = u64> {
    0..PAIRS
}

/// `refs/changes/NN/NNNN/` of each change.
pub fn changes() -> impl Iterator<Item = String> {
    (0..CHANGES).map(|number| format!("refs/changes/0{number}/440{number}/"))
}

impl Push {
    /// What a wish comes to where `site` is now.
    pub fn of(g: &Gated, ledger: &Ledger, site: &'static str, wish: &Wish) -> Push {
        let here = g.values(site);
        let mut push = Push { site, args: Vec::new(), writes: Vec::new(), whole: false };
        match wish.kind {
            0..50 => {
                push.branch(
                    g,
                    &here,
                    format!("refs/heads/b{}", wish.number % BRANCHES),
                    wish.how,
                    &wish.serial,
                );
                for (number, how) in wish.others.iter().take((wish.how % 3) as usize) {
                    push.branch(g, &here, format!("refs/heads/b{number}"), *how, &wish.serial);
                }
            }
            50..60 => {
                push.branch(g, &here, format!("refs/tags/t{}", wish.number % TAGS), wish.how, &wish.serial)
            }
            60..75 => push.pair(g, &here, wish),
            _ => push.change(g, ledger, &here, wish),
        }
        for write in &push.writes {
            push.args.push(format!("--force-with-lease={}:{}", write.name, write.old));
            push.args.push(format!("{}:{}", write.new, write.name));
        }
        push.args.push("--porcelain".into());
        push
    }

    fn write(&mut self, name: String, old: String, new: String) {
        let (answer, told) = (Answer::Unknown, String::new());
        self.writes.push(Write { site: self.site, name, old, new, answer, told });
    }

    fn branch(&mut self, g: &Gated, here: &BTreeMap<String, String>, name: String, how: u64, serial: &str) {
        if self.writes.iter().any(|write| write.name == name) {
            return;
        }
        let old = here.get(&name).cloned().unwrap_or_default();
        let new = match how {
            0..15 if !old.is_empty() => String::new(),
            0..40 => g.commit(&[&g.c0], &format!("{name} {serial}")),
            _ if old.is_empty() => g.commit(&[], &format!("{name} {serial}")),
            _ => g.commit(&[&old], &format!("{name} {serial}")),
        };
        self.write(name, old, new);
    }

    fn pair(&mut self, g: &Gated, here: &BTreeMap<String, String>, wish: &Wish) {
        let names = pair(wish.number % PAIRS);
        let olds = names.each_ref().map(|name| here.get(name).cloned().unwrap_or_default());
        let new = match wish.how {
            0..20 if olds.iter().all(|old| !old.is_empty()) => String::new(),
            _ => g.commit(&[], &format!("pair {}", wish.serial)),
        };
        for (name, old) in names.into_iter().zip(olds) {
            self.write(name, old, new.clone());
        }
        self.args.push("--atomic".into());
        self.whole = true;
    }

    fn change(&mut self, g: &Gated, ledger: &Ledger, here: &BTreeMap<String, String>, wish: &Wish) {
        let at = changes().nth((wish.number % CHANGES) as usize).unwrap();
        let name = format!("{at}meta");
        let old = here.get(&name).cloned().unwrap_or_default();
        self.whole = true;
        if wish.how < 15 && !old.is_empty() {
            return self.write(name, old, String::new());
        }
        let mut patch_sets = ledger.patch_sets(&old).unwrap_or_default();
        let next = format!("{at}{}", patch_sets.len() + 1);
        let patch_set = g.commit(&[&g.c0], &format!("{next} {}", wish.serial));
        let message = format!("{name} {}", wish.serial);
        let new = match old.as_str() {
            "" => g.commit(&[], &message),
            old => g.commit(&[old], &message),
        };
        patch_sets.insert(next.clone(), patch_set.clone());
        ledger.stands_for(&new, patch_sets);
        self.write(name, old, new);
        self.write(next, String::new(), patch_set);
    }

    pub fn command(&self, g: &Gated) -> Command {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let mut command = g.pushing(self.site, &args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What the client read.
    pub fn read(&mut self, ran: &Ran) {
        for line in ran.out.lines() {
            let [flag, refs, told] = line.split('\t').collect::<Vec<_>>()[..] else { continue };
            let Some((_, name)) = refs.split_once(':') else { continue };
            for write in self.writes.iter_mut().filter(|write| write.name == name) {
                write.answer = answer(flag, told);
                write.told = told.to_owned();
            }
        }
    }
}

fn answer(flag: &str, told: &str) -> Answer {
    match (flag, told) {
        ("!", told) if told.contains("recorded for all sites") => Answer::Kept,
        // The hook died, or its git did.
        ("!", told) if told.contains("outcome unknown") || told.contains("proc-receive") => Answer::Unknown,
        ("!", told) if told.starts_with("[remote failure]") => Answer::Unknown,
        ("!", _) => Answer::Refused,
        _ => Answer::Accepted,
    }
}
