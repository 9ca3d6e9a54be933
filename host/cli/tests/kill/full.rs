//! Disks that are full: of a site's repositories or of the ref-db, filled to the last page, or to a few pages before it,
//! before a push or in the middle of one. What was accepted stays, and the refs of one change have one answer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use crate::amount::{Rounds, first_seed, pause};
use crate::common::{PROJECT, Ran};
use crate::dice::Dice;
use crate::lab::{Gated, Kind};
use crate::ledger::{Answer, Ledger};
use crate::load::{Push, Wish};
use crate::settle::{SITES, recorded, settle};

/// Fills among the other tests.
const FILLS: u64 = 36;
const FILLS_PER_WORLD: usize = 60;
const FILLS_PER_SETTLING: u64 = 12;
const PAGE: u64 = 4096;

/// A small disk of its own, for as long as this lives.
struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// Puts what is in `dir` on a disk of `megabytes`.
    fn new(dir: PathBuf, megabytes: u64) -> Option<Disk> {
        let aside = dir.with_extension("aside");
        fs::rename(&dir, &aside).ok()?;
        fs::create_dir(&dir).ok()?;
        let disk = Disk { dir: dir.clone() };
        let size = format!("size={megabytes}m,mode=755");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&dir))?;
        run(Command::new("cp").arg("-a").arg(aside.join(".")).arg(&dir))?;
        fs::remove_dir_all(aside).ok()?;
        Some(disk)
    }

    /// Fills it, but for so many pages.
    fn fill(&self, pages: u64) {
        let Ok(mut file) = File::create(self.filler()) else { return };
        for size in [1 << 16, PAGE as usize] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        let size = file.metadata().map_or(0, |meta| meta.len());
        // What was written in part goes with the last pages.
        let _ = file.set_len((size / PAGE).saturating_sub(pages) * PAGE);
    }

    fn free(&self) {
        let _ = fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.dir.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.dir));
    }
}

fn run(command: &mut Command) -> Option<()> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    status.success().then_some(())
}

/// Only root may, and not everywhere.
pub fn can_mount() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("disk");
    fs::create_dir(&inner).unwrap();
    Disk::new(inner, 1).is_some()
}

struct World {
    /// Before the laboratory, which cannot be removed under them.
    disks: Vec<Disk>,
    g: Gated,
    ledger: Ledger,
    before: BTreeMap<String, String>,
    sum: [u64; 6],
}

pub fn fills(kind: Kind) -> Result<(), String> {
    let mut rounds = Rounds::new(FILLS);
    let (mut seed, mut sum) = (first_seed(), [0; 6]);
    loop {
        let mut some = rounds.by_ref().take(FILLS_PER_WORLD).peekable();
        if some.peek().is_none() {
            break;
        }
        let mut world = World::new(kind);
        let told = |why| format!("{kind:?}, REFGATE_KILL_SEED={seed}: {why}");
        for (number, _) in (1..).zip(some) {
            world.round(&mut Dice::new(seed, number, 8), number).map_err(told)?;
        }
        world.settle(&[]).map_err(told)?;
        sum.iter_mut().zip(world.sum).for_each(|(sum, some)| *sum += some);
        seed += 1;
    }
    let [fills, pushes, accepted, kept, refused, unknown] = sum;
    if accepted == 0 || refused == 0 {
        return Err(format!("the disks were always full, or never: {sum:?}"));
    }
    #[expect(clippy::print_stdout, reason = "a long run says what it did")]
    {
        println!(
            "{kind:?}: {fills} full disks, {pushes} pushes, refs: {accepted} accepted, {kept} kept, {refused} refused, \
             {unknown} unknown"
        );
    }
    Ok(())
}

impl World {
    fn new(kind: Kind) -> World {
        let g = Gated::new(kind);
        fs::create_dir(g.lab.path("db")).unwrap();
        for entry in fs::read_dir(g.lab.path("")).unwrap() {
            let name = entry.unwrap().file_name();
            if name.to_str().is_some_and(|name| name.starts_with("refdb.sqlite")) {
                fs::rename(g.lab.path("").join(&name), g.lab.path("db").join(&name)).unwrap();
            }
        }
        for site in SITES {
            g.lab.configure(site, "[ref-database]\n    url = sqlite:../db/refdb.sqlite");
        }
        let disks = ["a/git", "db"].map(|dir| Disk::new(g.lab.path(dir), 24).expect("a disk"));
        let before = recorded(&g);
        World { disks: disks.into(), g, ledger: Ledger::default(), before, sum: [0; 6] }
    }

    fn round(&mut self, dice: &mut Dice, number: u64) -> Result<(), String> {
        let mut told = Vec::new();
        // The ref-db is the smaller part of what is written.
        let (which, pages) = (usize::from(dice.percent(30)), dice.below(45));
        let (at_once, after) = (dice.percent(60), dice.below(250));
        let site = SITES[usize::from(dice.percent(25))];
        let wishes: Vec<Wish> =
            (0..1 + dice.below(2)).map(|one| Wish::new(dice, format!("{site} {number} {one}"))).collect();
        let replicates = dice.percent(30);
        let disk = &self.disks[which];
        told.push(format!("disk {which}, {pages} pages left, at once {at_once}, after {after} ms"));
        thread::scope(|scope| {
            let fill = scope.spawn(|| {
                pause(if at_once { 0 } else { after });
                disk.fill(pages);
            });
            // `None`: in the middle of the first push.
            let mut fill = Some(fill);
            for wish in &wishes {
                let mut push = Push::of(&self.g, &self.ledger, site, wish);
                if let Some(fill) = fill.take().filter(|_| at_once) {
                    fill.join().expect("it fills");
                }
                let ran = Ran::of(&mut push.command(&self.g));
                push.read(&ran);
                for write in &push.writes {
                    told.push(format!("{} at {site}: {:?} ({})", write.name, write.answer, write.told));
                    self.sum[match write.answer {
                        Answer::Accepted => 2,
                        Answer::Kept => 3,
                        Answer::Refused => 4,
                        Answer::Unknown => 5,
                    }] += 1;
                }
                self.sum[1] += 1;
                let first = push.writes[0].answer;
                if push.whole && push.writes.iter().any(|write| write.answer != first) {
                    return Err(format!(
                        "several answers for what goes whole:\n  {}\n{}",
                        told.join("\n  "),
                        ran.err
                    ));
                }
                self.ledger.note(push.writes);
            }
            if replicates {
                for (at, what) in [("b", "push"), ("a", "fetch")] {
                    let other = if at == "a" { "b" } else { "a" };
                    told.push(format!(
                        "{what} at {at}: {}",
                        self.g.lab.run(at, &[what, PROJECT, other]).code
                    ));
                }
            }
            Ok(())
        })?;
        self.sum[0] += 1;
        disk.free();
        match number % FILLS_PER_SETTLING {
            0 => self.settle(&told),
            _ => Ok(()),
        }
    }

    fn settle(&mut self, told: &[String]) -> Result<(), String> {
        self.disks.iter().for_each(Disk::free);
        let settled = settle(&self.g, &self.ledger, &mut self.before);
        match settled {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("{why}\nlast:\n  {}", told.join("\n  "))),
        }
    }
}
