//! Sending edits to git, and splitting what it refuses until each culprit is alone.

use std::collections::HashMap;

use refgate_core::{Oid, escape};

use super::Transaction;
use crate::GitError;
use crate::command::{git_in, run};

/// After so many refusals of single edits in a row, the rest is no longer taken apart one by one: what is wrong is
/// probably wrong for all (a full disk, a repository that may not be written).
const REFUSED_ALONE: usize = 64;
/// Of a rest that is given up, so many edits are tried before.
const PROBES: usize = 8;

/// What git did with a transaction that it did not finish.
struct Failed {
    stderr: Vec<u8>,
    /// Everything was checked and locked, so some edits may have been written before it failed.
    in_part: bool,
}

impl Transaction<'_> {
    /// Sends `units`, all that git takes, in few transactions: n edits of which k are refused take about k × log n. What git
    /// said it did goes to `sent`.
    pub(super) fn settle(&mut self, units: Vec<Vec<usize>>, sent: &mut Vec<usize>) -> Result<(), GitError> {
        if units.is_empty() || self.give_up(&units, sent)? {
            return Ok(());
        }
        let all: Vec<usize> = units.iter().flatten().copied().collect();
        let Err(failed) = self.send(&all)? else {
            self.refused_alone = 0;
            sent.extend(all);
            return Ok(());
        };
        let words = reason(&failed.stderr);
        if failed.in_part {
            self.compare()?;
        }
        if !self.looked {
            // The first failure: everything that is known to be in the way is left out at once.
            self.looked = true;
            self.reject_impossible()?;
            self.reject_groups();
        }
        let left = self.still_open(units);
        let culprit = self.named_in(&failed.stderr, &all);
        match (culprit, left.as_slice()) {
            (_, []) => return Ok(()),
            (_, [unit]) if unit.len() == all.len() => {
                let i = culprit.or(unit.first().copied());
                i.into_iter().for_each(|i| self.reject(i, words.clone()));
                self.refused_alone += 1;
            }
            (Some(i), _) => self.reject(i, words),
            (None, _) => {}
        }
        self.reject_groups();
        let mut left = self.still_open(left);
        let second = left.split_off(left.len() / 2);
        self.settle(left, sent)?;
        self.settle(second, sent)
    }

    fn still_open(&self, units: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
        let open = |i: &usize| self.outcomes[*i].is_none();
        let units = units.into_iter().map(|unit| unit.into_iter().filter(open).collect::<Vec<_>>());
        units.filter(|unit| !unit.is_empty()).collect()
    }

    /// Whether all of `units` are given up: git has refused very many one by one, and some of these, too.
    fn give_up(&mut self, units: &[Vec<usize>], sent: &mut Vec<usize>) -> Result<bool, GitError> {
        if self.refused_alone < REFUSED_ALONE || units.len() <= PROBES {
            return Ok(false);
        }
        let mut words = String::new();
        for unit in units.iter().step_by(units.len() / PROBES) {
            match self.send(unit)? {
                Ok(()) => {
                    sent.extend(unit);
                    self.refused_alone = 0;
                    // What is done is not sent again.
                    let rest = units.iter().filter(|other| *other != unit).cloned().collect();
                    self.settle(rest, sent)?;
                    return Ok(true);
                }
                Err(failed) => words = reason(&failed.stderr),
            }
        }
        let why =
            format!("git refused one ref after the other, at last with `{words}`; the rest was not tried");
        units.iter().flatten().for_each(|i| self.reject(*i, why.clone()));
        Ok(true)
    }

    /// One transaction of git; `Err` inside is what git said when it did not finish it.
    fn send(&self, which: &[usize]) -> Result<Result<(), Failed>, GitError> {
        let zero = self.repository.object_format().zero_hex();
        let hex = |oid: Option<Oid>| oid.map_or_else(|| zero.clone(), |oid| oid.to_string());
        let mut input = b"start\0".to_vec();
        for i in which {
            let edit = &self.edits[*i];
            // All zeros as the old value: it must not exist. As the new value: delete it.
            for part in [b"update ".as_slice(), edit.name.as_bytes(), b"\0"] {
                input.extend_from_slice(part);
            }
            input.extend_from_slice(format!("{}\0{}\0", hex(edit.new), hex(edit.old)).as_bytes());
        }
        let last: &[u8] = if self.trial { b"abort\0" } else { b"commit\0" };
        input.extend_from_slice(b"prepare\0");
        input.extend_from_slice(last);
        let mut command = git_in(self.repository.git_dir());
        match self.trial {
            // What is written for a trial is thrown away: no need to wait for the disk.
            true => drop(command.args(["-c", "core.fsync=none"])),
            false => self.repository.files().core()?.wait(&mut command),
        }
        // Housekeeping would run in the middle of a session, and repack what we have just looked at.
        command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "update-ref"]);
        if !self.message.is_empty() {
            command.args(["-m", self.message]);
        }
        // Should a ref become symbolic at this moment, it is this ref that changes, not the one that it leads to.
        command.args(["--no-deref", "--stdin", "-z"]);
        let output = run(command, input)?;
        let said = |line: &[u8]| output.stdout.split(|b| *b == b'\n').any(|l| l == line);
        Ok(match output.status.success() {
            true => Ok(()),
            false => Err(Failed { in_part: said(b"prepare: ok"), stderr: output.stderr }),
        })
    }

    /// The edit whose ref git names: `cannot lock ref 'NAME': …`.
    fn named_in(&self, stderr: &[u8], which: &[usize]) -> Option<usize> {
        let start = memchr::memmem::find(stderr, b" ref '")? + " ref '".len();
        let names: HashMap<&[u8], usize> =
            which.iter().map(|i| (self.edits[*i].name.as_bytes(), *i)).collect();
        // A name may hold a quote itself.
        memchr::memchr_iter(b'\'', &stderr[start..])
            .find_map(|end| names.get(&stderr[start..start + end]).copied())
    }
}

/// What git gave as the reason; advice may come before it.
fn reason(stderr: &[u8]) -> String {
    let lines = || stderr.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let fatal = lines().find_map(|line| line.strip_prefix(b"fatal: "));
    let line = fatal.or_else(|| lines().next());
    let line =
        line.map(|line| line.strip_prefix(b"prepare: ").or(line.strip_prefix(b"commit: ")).unwrap_or(line));
    line.map_or("it gave no reason".into(), escape)
}
