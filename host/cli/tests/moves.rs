//! A ref-db moves to another store while clients push all the time, by the steps of docs/refdb.md: no accepted write is
//! lost, none lands in between, and both sites agree with the new one.

#[path = "cli/common.rs"]
#[allow(dead_code)]
mod common;
#[path = "gated/lab.rs"]
#[allow(dead_code)]
mod lab;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use common::PROJECT;
use lab::{Gated, Kind};
use libtest_mimic::{Arguments, Failed, Trial};
#[cfg(feature = "etcd")]
use refgate_servers::Etcd;
use refgate_servers::{ZOOKEEPER, ZooKeeper, missing};

const SITES: [&str; 2] = ["a", "b"];
/// So many accepted pushes are waited for before a step and after the last one.
const PUSHES: usize = 12;

fn main() {
    let mut trials = vec![Trial::test("sqlite::to another file", || {
        moves(&|dir| format!("sqlite:{}", dir.join("new.sqlite").display()))
    })];
    let zookeeper = || {
        let server = ZooKeeper::start();
        moves(&|_| format!("zookeeper://{}/gerrit/multi-site", server.address()))
    };
    let absent = missing("zookeeper", ZOOKEEPER).is_some();
    trials.push(Trial::test("sqlite::to zookeeper", zookeeper).with_ignored_flag(absent));
    #[cfg(feature = "etcd")]
    {
        let etcd = || {
            let server = Etcd::start();
            moves(&|_| format!("etcd://{}/refgate", server.address()))
        };
        trials.push(Trial::test("sqlite::to etcd", etcd).with_ignored_flag(Etcd::missing().is_some()));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// What a push of a client came to.
struct Push {
    branch: String,
    value: String,
    accepted: bool,
    /// What it said when it was refused for no reason that belongs to a move.
    strange: Option<String>,
}

/// However the operator ends, the clients end too.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn moves(url: &dyn Fn(&Path) -> String) -> Result<(), Failed> {
    let g = Gated::new(Kind::Files);
    let (old, new) = ("sqlite:../refdb.sqlite", url(g.lab.dir.path()));
    // What is not a plain value moves, too.
    g.accepted("a", &format!("{}:refs/heads/gone", g.c0));
    g.accepted("a", ":refs/heads/gone");
    g.lab.run("a", &["push", PROJECT, "b"]);
    let stop = AtomicBool::new(false);
    let (told, heard) = channel();
    let accepted = std::thread::scope(|scope| {
        for site in SITES {
            for n in 0..2 {
                let (g, stop, told) = (&g, &stop, told.clone());
                scope.spawn(move || client(g, site, &format!("refs/heads/{site}{n}"), stop, &told));
            }
        }
        drop(told);
        let accepted = {
            let _end = StopAtTheEnd(&stop);
            operator(&g, old, &new, &heard)
        };
        accepted.map(|mut accepted| {
            take(&mut accepted, heard.into_iter());
            accepted
        })
    })?;
    for site in SITES {
        for other in SITES.iter().filter(|other| **other != site) {
            g.lab.run(site, &["push", PROJECT, other]).ok();
        }
    }
    let globals = g.globals();
    assert_eq!(accepted.len(), 4);
    for (branch, value) in &accepted {
        assert_eq!(globals.get(branch), Some(value), "{branch} in the ref-db");
        for site in SITES {
            assert_eq!(&g.value(site, branch), value, "{branch} at {site}");
        }
    }
    assert_eq!(globals["refs/heads/gone"], "deleted");
    for site in SITES {
        g.lab.run(site, &["refdb", "check", PROJECT]).ok();
        g.is_clean(site);
    }
    Ok(())
}

/// Moves the ref-db, and gives the newest accepted value of every branch so far.
fn operator(
    g: &Gated,
    old: &str,
    new: &str,
    heard: &Receiver<Push>,
) -> Result<BTreeMap<String, String>, Failed> {
    let mut accepted = BTreeMap::new();
    busy(&mut accepted, heard);
    g.lab.run("b", &["refdb", "close", "--message", "the ref-db moves"]).ok();
    let before = g.globals();
    let done = g.lab.run("a", &["--json", "refdb", "copy", old, new]).json(0);
    assert_eq!(done["equal"].as_u64(), Some(before.len() as u64), "{done}");
    assert_eq!(g.globals(), before, "a write landed in a closed ref-db");
    for site in SITES {
        // Whole or not at all: the hooks of running pushes read it.
        let (path, half) =
            (g.lab.path(&format!("{site}/refgate.config")), g.lab.path(&format!("{site}/half")));
        let text = fs::read_to_string(&path)?.replace(old, new);
        assert!(text.contains(new));
        fs::write(&half, text)?;
        common::mode(&half, 0o644);
        fs::rename(&half, &path)?;
        g.lab.run(site, &["refdb", "accept", "--yes"]).ok();
    }
    busy(&mut accepted, heard);
    Ok(accepted)
}

/// Waits until some more pushes were accepted, at every branch.
fn busy(accepted: &mut BTreeMap<String, String>, heard: &Receiver<Push>) {
    let mut fresh = BTreeMap::new();
    while fresh.len() < 4 || fresh.values().sum::<usize>() < PUSHES {
        let push = heard.recv().expect("clients push until they are stopped");
        if push.accepted {
            *fresh.entry(push.branch.clone()).or_insert(0) += 1;
        }
        take(accepted, [push].into_iter());
    }
}

fn take(accepted: &mut BTreeMap<String, String>, pushes: impl Iterator<Item = Push>) {
    for push in pushes {
        assert_eq!(push.strange, None, "a push to {}", push.branch);
        if push.accepted {
            accepted.insert(push.branch, push.value);
        }
    }
}

/// Pushes one commit after the other to a branch of its own, each until it is accepted. What is refused says why.
fn client(g: &Gated, site: &str, branch: &str, stop: &AtomicBool, told: &Sender<Push>) {
    let mut last = g.c0.clone();
    for n in 0.. {
        let value = g.commit(&[&last], &format!("{branch} {n}"));
        loop {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let ran = g.push(site, &[&format!("{value}:{branch}")]);
            let accepted = ran.code == 0;
            let known = ["the ref-db moves", "is being checked by its operators"];
            let is_strange = !accepted && !known.iter().any(|why| ran.err.contains(why));
            let strange = is_strange.then_some(ran.err);
            let push = Push { branch: branch.to_owned(), value: value.clone(), accepted, strange };
            // The operator may have ended with an error, which says more.
            if told.send(push).is_err() {
                return;
            }
            if accepted {
                break;
            }
        }
        last = value;
    }
}
