//! Killing and freezing: a `git` that stands before the real one and dies, or kills who started it, at the N-th start;
//! and hands that look for a victim at moments of their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::amount::pause;
use crate::common::mode;
use crate::dice::Dice;

/// By this variable a process is known to belong to a world: whatever it starts inherits it.
const WORLD: &str = "KILL_WORLD";

/// Counts its starts in `$AIM` and acts at start `$AIM_AT`. A parent is harmed only when it belongs to the same world.
const GIT: &str = r#"#!/bin/sh
real=REAL
[ -n "$AIM" ] || exec "$real" "$@"
printf . >>"$AIM"
[ "$(wc -c <"$AIM")" -eq "$AIM_AT" ] || exec "$real" "$@"
parent() { grep -qz "^KILL_WORLD=$KILL_WORLD\$" "/proc/$PPID/environ" 2>/dev/null && kill -"$1" "$PPID"; }
echo "$AIM_HOW $*" >>"$AIM.fired"
case $AIM_HOW in
before) kill -9 $$ ;;
parent-before) parent 9; exec "$real" "$@" ;;
both-before) parent 9; kill -9 $$ ;;
middle) "$real" "$@" <&0 & child=$!; sleep "$AIM_SLEEP"; kill -9 $child; kill -9 $$ ;;
parent-middle) "$real" "$@" <&0 & child=$!; sleep "$AIM_SLEEP"; parent 9; wait $child; exit $? ;;
both-middle) "$real" "$@" <&0 & child=$!; sleep "$AIM_SLEEP"; parent 9; kill -9 $child; kill -9 $$ ;;
after) "$real" "$@"; kill -9 $$ ;;
parent-after) "$real" "$@"; code=$?; parent 9; exit $code ;;
freeze-parent) (sleep "$AIM_LONG"; kill -CONT "$PPID") </dev/null >/dev/null 2>&1 & parent STOP; exec "$real" "$@" ;;
freeze) "$real" "$@" <&0 & child=$!; sleep "$AIM_SLEEP"; kill -STOP $child; sleep "$AIM_LONG"; kill -CONT $child; wait $child; exit $? ;;
esac
"#;

const HOW: [&str; 10] = [
    "before",
    "parent-before",
    "both-before",
    "middle",
    "parent-middle",
    "both-middle",
    "after",
    "parent-after",
    "freeze-parent",
    "freeze",
];

/// The steps at which the hook kills itself, see `host/src/gated/failpoint.rs`.
const STEPS: [&str; 10] =
    ["begun", "locked", "checked", "record", "journal", "put", "local", "answered", "released", "ended"];

/// When nobody is frozen any more, in twentieths of a second of a round.
const LONG: u64 = 100;

/// How often something was done to a process.
#[derive(Default)]
pub struct Counts {
    pub random_kills: AtomicU64,
    pub random_freezes: AtomicU64,
    pub steps: AtomicU64,
    aims: AtomicU64,
}

/// The `git` that stands before the real one.
pub struct Aim {
    dir: PathBuf,
    exec: PathBuf,
    pub counts: Counts,
}

impl Aim {
    /// Makes it in `dir`.
    pub fn new(dir: &Path) -> Aim {
        let (bin, exec) = (dir.join("aim/bin"), dir.join("aim/exec"));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&exec).unwrap();
        let path = std::env::var("PATH").unwrap();
        let real = path.split(':').map(|dir| Path::new(dir).join("git")).find(|git| git.is_file());
        let real = real.expect("git is installed");
        let programs = Command::new(&real).arg("--exec-path").output().unwrap().stdout;
        let programs = String::from_utf8(programs).unwrap();
        for entry in fs::read_dir(programs.trim()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "git" {
                symlink(entry.path(), exec.join(entry.file_name())).unwrap();
            }
        }
        for git in [bin.join("git"), exec.join("git")] {
            fs::write(&git, GIT.replace("REAL", real.to_str().unwrap())).unwrap();
            mode(&git, 0o755);
        }
        Aim { dir: dir.to_owned(), exec, counts: Counts::default() }
    }

    /// Lets the command be found by the hands, and perhaps aims at something that it will start. Says what it chose.
    pub fn at(&self, command: &mut Command, dice: &mut Dice) -> String {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.dir.join("aim/bin").display()));
        command.env("GIT_EXEC_PATH", &self.exec);
        command.env(WORLD, &self.dir);
        // All are drawn whatever comes of them, so that the choices that follow stay the same.
        let (what, step, how) = (dice.below(100), *dice.pick(&STEPS), *dice.pick(&HOW));
        let (at, sleep, long) = (1 + dice.below(32), dice.below(12), 2 + dice.below(13));
        match what {
            0..15 => {
                command.env("REFGATE_KILL_AT", step);
                self.counts.steps.fetch_add(1, Ordering::Relaxed);
                format!("dies at {step}")
            }
            15..75 => {
                let number = self.counts.aims.fetch_add(1, Ordering::Relaxed);
                command.env("AIM", self.dir.join(format!("aim/count-{number}")));
                command.env("AIM_AT", at.to_string()).env("AIM_HOW", how);
                command.env("AIM_SLEEP", format!("0.{sleep:03}"));
                command.env("AIM_LONG", format!("{}.{}", long / 10, long % 10));
                format!("git {at} {how} after {sleep} ms")
            }
            _ => "no aim".into(),
        }
    }

    /// What the aims hit since the last time.
    pub fn hits(&self) -> Vec<String> {
        let mut hits = Vec::new();
        for entry in fs::read_dir(self.dir.join("aim")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "fired") {
                hits.extend(fs::read_to_string(&path).unwrap().lines().map(str::to_owned));
            }
            if path.is_file() {
                fs::remove_file(&path).unwrap();
            }
        }
        hits
    }

    /// Kills whatever belongs to the world, until nothing is left of it.
    pub fn kill_all(&self) {
        for _ in 0..1000 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for (pid, _) in left {
                signal(pid, Signal::KILL);
            }
            pause(2);
        }
        panic!("some processes do not die: {:?}", self.processes());
    }

    /// A hand that kills, until `ends`.
    pub fn kill_at_random(&self, dice: &mut Dice, ends: &AtomicBool) {
        while let Some(pid) = self.victim(dice, ends) {
            signal(pid, Signal::KILL);
            self.counts.random_kills.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A hand that stops processes and lets them go on, until `ends`.
    pub fn freeze_at_random(&self, dice: &mut Dice, ends: &AtomicBool) {
        while let Some(pid) = self.victim(dice, ends) {
            signal(pid, Signal::STOP);
            pause(50 + dice.below(1200));
            signal(pid, Signal::CONT);
            self.counts.random_freezes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets all go on that were frozen by somebody who died meanwhile, once `ends` has not come for long, and kills them
    /// when it has not come for very long: what waits for each other then would only wait for a limit.
    pub fn hurry(&self, ends: &AtomicBool) {
        for turn in 0.. {
            if ends.load(Ordering::Relaxed) {
                return;
            }
            pause(50);
            if turn > LONG && turn % 8 == 0 {
                let how = if turn > 3 * LONG { Signal::KILL } else { Signal::CONT };
                self.processes().into_iter().for_each(|(pid, _)| signal(pid, how));
            }
        }
    }

    /// Waits for a moment and for somebody of a kind that is chosen.
    fn victim(&self, dice: &mut Dice, ends: &AtomicBool) -> Option<Pid> {
        loop {
            let (wait, kind) = (dice.below(300), dice.below(8));
            for _ in 0..=wait / 10 {
                if ends.load(Ordering::Relaxed) {
                    return None;
                }
                pause(10.min(wait));
            }
            let nth = dice.below(1000) as usize;
            for _ in 0..40 {
                let fits = |(_, args): &&(Pid, String)| match kind {
                    // The git that stands before the real one, and what it waits by, would be missed by whom it froze.
                    _ if args.starts_with("/bin/sh ") || args.starts_with("sleep ") => false,
                    0 => args.contains("refgate hook "),
                    1 => args.contains("refgate push "),
                    2 => args.contains("refgate fetch "),
                    3 => args.contains("receive-pack"),
                    4 => args.contains(" update-ref"),
                    5 => args.contains("refgate "),
                    _ => true,
                };
                let found = self.processes();
                let found: Vec<&(Pid, String)> = found.iter().filter(fits).collect();
                if let Some((pid, _)) = found.get(nth % found.len().max(1)) {
                    return Some(*pid);
                }
                if ends.load(Ordering::Relaxed) {
                    return None;
                }
                pause(1);
            }
        }
    }

    /// What runs in this world, each with its arguments.
    fn processes(&self) -> Vec<(Pid, String)> {
        let mark = format!("{WORLD}={}", self.dir.display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
            if environment.split(|b| *b == 0).any(|one| one == mark.as_bytes()) {
                let args = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let args = String::from_utf8_lossy(&args).replace('\0', " ");
                found.extend(Pid::from_raw(pid).map(|pid| (pid, args)));
            }
        }
        found
    }
}

/// Who has ended meanwhile needs no signal.
fn signal(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}
