//! Rounds of kills: clients push at two sites, replication runs both ways, somebody keeps house, and all of them are killed
//! or frozen at steps and moments that a seed chooses. Then whatever is left is killed, and the sites have to find together.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::aim::Aim;
use crate::amount::{Rounds, first_seed};
use crate::common::{PROJECT, Ran, clean};
use crate::dice::Dice;
use crate::lab::{Gated, Kind};
use crate::ledger::{Answer, Ledger};
use crate::load::{Push, Wish};
use crate::settle::{SITES, recorded, settle};

/// Rounds among the other tests.
const ROUNDS: u64 = 7;
/// A world gets slower with every round.
const ROUNDS_PER_WORLD: u64 = 25;
/// Pushes of one client in one round.
const PUSHES: u64 = 3;

struct World {
    g: Gated,
    aim: Aim,
    ledger: Ledger,
    seed: u64,
}

/// What came of all rounds.
#[derive(Default)]
struct Sum {
    rounds: u64,
    pushes: u64,
    answers: [u64; 4],
    hits: BTreeMap<String, u64>,
    locks: BTreeMap<String, u64>,
    random: [u64; 3],
}

/// Kills until the rounds are over, and fails with the seed and the choices of the round in which something was wrong.
pub fn kills(kind: Kind) -> Result<(), String> {
    let mut sum = Sum::default();
    let mut rounds = Rounds::new(ROUNDS);
    let mut seed = first_seed();
    let result = loop {
        let world = World::new(kind, seed);
        let mut before = recorded(&world.g);
        let mut worlds = rounds.by_ref().take(ROUNDS_PER_WORLD as usize).peekable();
        if worlds.peek().is_none() {
            break Ok(());
        }
        let mut number = 0;
        let failed = worlds.find_map(|_| {
            number += 1;
            world.round(number, &mut before, &mut sum).err().map(|why| (number, why))
        });
        world.aim.kill_all();
        let counts = &world.aim.counts;
        for (at, count) in
            [&counts.random_kills, &counts.random_freezes, &counts.steps].into_iter().enumerate()
        {
            sum.random[at] += count.load(Ordering::Relaxed);
        }
        if let Some((round, why)) = failed {
            break Err(format!("{kind:?}, REFGATE_KILL_SEED={seed}, round {round}: {why}"));
        }
        seed += 1;
    };
    sum.print(kind, first_seed());
    result
}

impl World {
    fn new(kind: Kind, seed: u64) -> World {
        let g = Gated::new(kind);
        let aim = Aim::new(g.lab.dir.path());
        World { g, aim, ledger: Ledger::default(), seed }
    }

    fn round(&self, round: u64, before: &mut BTreeMap<String, String>, sum: &mut Sum) -> Result<(), String> {
        let (ends, pushed) = (AtomicBool::new(false), AtomicBool::new(false));
        let dice = |part| Dice::new(self.seed, round, part);
        let mut chosen = Vec::new();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..2)
                .map(|part| scope.spawn(move || self.client(SITES[part], &mut dice(part as u64), round)))
                .collect();
            let replication = scope.spawn(|| self.replicate(&mut dice(2), &pushed));
            let hands = [
                scope.spawn(|| self.aim.kill_at_random(&mut dice(3), &ends)),
                scope.spawn(|| self.aim.freeze_at_random(&mut dice(4), &ends)),
                scope.spawn(|| self.aim.hurry(&ends)),
            ];
            for client in clients {
                chosen.extend(client.join().expect("a client ends"));
            }
            pushed.store(true, Ordering::Relaxed);
            chosen.extend(replication.join().expect("replication ends"));
            ends.store(true, Ordering::Relaxed);
            hands.into_iter().for_each(|hand| hand.join().expect("a hand ends"));
        });
        self.aim.kill_all();
        let hits = self.aim.hits();
        sum.rounds += 1;
        sum.pushes += 2 * PUSHES;
        for hit in &hits {
            let words: Vec<&str> = hit.split(' ').collect();
            *sum.hits.entry(words[0].to_owned()).or_default() += 1;
        }
        match settle(&self.g, &self.ledger, before) {
            Ok(settled) => {
                for lock in settled.locks {
                    let kind = lock.rsplit('/').next().unwrap_or_default().to_owned();
                    *sum.locks.entry(kind).or_default() += 1;
                }
                chosen.iter().for_each(|one| sum.answers[one.0] += one.1);
                Ok(())
            }
            Err(why) => {
                let chosen: Vec<String> = chosen.into_iter().map(|one| one.2).collect();
                let keep = self.g.lab.dir.path().display();
                Err(format!(
                    "{why}\nchosen:\n  {}\nhit:\n  {}\nin {keep}",
                    chosen.join("\n  "),
                    hits.join("\n  ")
                ))
            }
        }
    }

    /// One client at one site. Returns, per ref, the place of its answer in [`Sum`], one, and what was chosen.
    fn client(&self, site: &'static str, dice: &mut Dice, round: u64) -> Vec<(usize, u64, String)> {
        let mut chosen = Vec::new();
        for number in 0..PUSHES {
            let wish = Wish::new(dice, format!("{site} {round} {number}"));
            let mut push = Push::of(&self.g, &self.ledger, site, &wish);
            let mut command = push.command(&self.g);
            let aim = self.aim.at(&mut command, dice);
            let ran = Ran::of(&mut command);
            push.read(&ran);
            for write in &push.writes {
                let place = match write.answer {
                    Answer::Accepted => 0,
                    Answer::Kept => 1,
                    Answer::Refused => 2,
                    Answer::Unknown => 3,
                };
                let Some(told) = Some(&write.told).filter(|told| !told.is_empty()).or(Some(&ran.err)) else {
                    continue;
                };
                let what = format!(
                    "{site} {} -> {}: {:?}, {aim}: {}",
                    write.name,
                    write.new,
                    write.answer,
                    told.trim()
                );
                chosen.push((place, 1, what));
            }
            self.ledger.note(push.writes);
        }
        chosen
    }

    /// Replication and housekeeping, until the clients have ended.
    fn replicate(&self, dice: &mut Dice, pushed: &AtomicBool) -> Vec<(usize, u64, String)> {
        let mut chosen = Vec::new();
        for _ in 0..12 {
            let (which, site) = (dice.below(100), dice.below(2) as usize);
            let (at, other) = (SITES[site], SITES[1 - site]);
            let (what, mut command) = match which {
                0..40 => ("push", self.refgate(at, &["push", PROJECT, other])),
                40..75 => ("fetch", self.refgate(at, &["fetch", PROJECT, other])),
                75..85 => ("pack-refs", self.git(at, &["pack-refs", "--all"])),
                85..95 => ("gc", self.git(at, &["gc", "-q"])),
                _ => ("heal", self.refgate(at, &["refdb", "heal", PROJECT, "--yes"])),
            };
            let aim = self.aim.at(&mut command, dice);
            let code =
                command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it starts").code();
            chosen.push((0, 0, format!("{what} at {at}: {aim}: {code:?}")));
            if pushed.load(Ordering::Relaxed) {
                break;
            }
        }
        chosen
    }

    fn refgate(&self, site: &str, args: &[&str]) -> Command {
        let mut command = self.g.lab.command(site);
        command.args(args);
        command
    }

    fn git(&self, site: &str, args: &[&str]) -> Command {
        let repo = self.g.lab.repo(site);
        let mut command = clean("git", Path::new(self.g.lab.dir.path()));
        command.arg("-C").arg(repo).args(args);
        command
    }
}

impl Sum {
    #[expect(clippy::print_stdout, reason = "a long run says what it did")]
    fn print(&self, kind: Kind, seed: u64) {
        let [accepted, kept, refused, unknown] = self.answers;
        let [kills, freezes, steps] = self.random;
        println!(
            "{kind:?} from seed {seed}: {} rounds, {} pushes ({accepted} refs accepted, {kept} kept, {refused} refused, \
             {unknown} unknown), {kills} random kills, {freezes} random freezes, {steps} deaths at a step asked for, \
             hits of the aimed git {:?}, locks healed {:?}",
            self.rounds, self.pushes, self.hits, self.locks
        );
    }
}
