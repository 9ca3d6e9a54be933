//! Cases 56, 68 and 69: several processes at one store, of which some are killed or stopped.

use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use refgate_core::{Atomicity::AllOrNothing, Edit, Expected, GlobalRef, Outcome, RefDbErrorKind};
use refgate_refdb::{Location, OpenMode, open};
use refgate_servers::Process;

use crate::backends::{self, Place};
use crate::common::{RealClock, Store, at, block_on, edit, name, now, pause, project, within};

/// Names the part that this program plays when a test starts it again.
const ROLE: &str = "REFGATE_TEST_ROLE";
const URL: &str = "REFGATE_TEST_URL";

const COUNTER: &str = "refs/counter";
const TOGETHER: [&str; 3] = ["refs/0", "refs/1", "refs/2"];
const LEASE: Duration = Duration::from_secs(2);

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for backend in backends::all().into_iter().filter(|backend| backend.name != "memory") {
        let start = backend.start;
        let mut add = |title: &str, run: fn(&Place) -> Result<(), Failed>| {
            let name = format!("{}::{title}", backend.name);
            trials.push(backends::trial(&backend.missing, name, move || run(&start())));
        };
        add("056 8 processes with 100 increments each lose none", increments);
        add("068 a process that is killed leaves a whole state and no lock", killed);
        #[cfg(feature = "sqlite")]
        if backend.name == "sqlite" {
            add("069 a writer that is stopped costs others a bounded error and no read", sqlite::stopped);
        }
    }
    trials
}

/// Plays the part that a test gave this process, if any.
pub fn play_role() -> Option<ExitCode> {
    let role = std::env::var(ROLE).ok()?;
    let url = std::env::var(URL).expect("set together with the role");
    #[cfg(feature = "sqlite")]
    if role == "hold" {
        sqlite::hold(&url);
    }
    let store = Store(open(&Location::new(url, "/"), OpenMode::Create, Arc::new(RealClock)).unwrap().db);
    match role.as_str() {
        "increment" => (0..100).for_each(|_| increment(&store)),
        "move" => move_together(&store),
        _ => panic!("unknown role `{role}`"),
    }
    Some(ExitCode::SUCCESS)
}

fn role(role: &str, place: &Place) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role).env(URL, &place.url).stdout(Stdio::null());
    command
}

/// Starts the role so that it can be stopped and killed.
fn start(what: &str, place: &Place, log: &Path) -> Process {
    Process::start(role(what, place), log)
}

fn value(n: GlobalRef) -> u64 {
    n.oid().map_or(0, |oid| u64::from_be_bytes(oid.as_bytes()[12..].try_into().unwrap()))
}

fn increment(store: &Store) {
    loop {
        let before = store.value("p", COUNTER);
        let next = edit(COUNTER, Expected::Exactly(before), at(value(before) + 1)).fast_forward(true);
        if store.edits("p", &[next], AllOrNothing).unwrap() == [Outcome::Applied] {
            return;
        }
    }
}

fn increments(place: &Place) -> Result<(), Failed> {
    let store = Store(place.connect()?);
    let children: Vec<Child> = (0..8).map(|_| role("increment", place).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait()?.success());
    }
    assert_eq!(store.value("p", COUNTER), at(800));
    Ok(())
}

/// Moves three refs that always hold the same, for ever; under a lock where there are locks.
fn move_together(store: &Store) {
    let locks = store.0.capabilities().lease.is_some();
    loop {
        let lock = locks.then(|| {
            block_on(store.0.lock(&project("p"), &name(TOGETHER[0]), LEASE, within(30_000))).unwrap()
        });
        let old = store.value("p", TOGETHER[0]);
        let edits: Vec<Edit> = TOGETHER
            .iter()
            .map(|r| {
                let edit = edit(r, Expected::Exactly(old), at(value(old) + 1));
                match &lock {
                    Some(lock) => edit.fenced(lock.token().clone()),
                    None => edit,
                }
            })
            .collect();
        store.edits("p", &edits, AllOrNothing).unwrap();
        if let Some(lock) = lock {
            block_on(lock.release(within(10_000))).unwrap();
        }
    }
}

fn killed(place: &Place) -> Result<(), Failed> {
    let store = Store(place.connect()?);
    TOGETHER.iter().for_each(|r| store.put("p", r, at(0)));
    let dir = tempfile::tempdir()?;
    let mut last = 0;
    for round in 0..6 {
        let mut writer = start("move", place, &dir.path().join("log"));
        let started = now();
        // It may have to wait for the lease of the one before it.
        while store.value("p", TOGETHER[0]) == at(last) {
            assert!(started.elapsed() < Duration::from_secs(30), "the writer does not write");
            pause(2);
        }
        // Somewhere in its rounds; nothing follows from where.
        pause(3 + round * 4);
        writer.kill();
        let entries = store.get("p", &TOGETHER);
        assert!(entries.iter().all(|e| *e == entries[0]), "half a write: {entries:?}");
        let n = value(entries[0].value);
        assert!(n > last, "{n} after {last}");
        assert_eq!(entries[0].superseded.len() as u64, n, "every value that was replaced is listed");
        last = n;
    }
    if let Some((shortest, longest)) = store.0.capabilities().lease {
        let wait = LEASE.clamp(shortest, longest) + Duration::from_secs(8);
        let deadline = within(wait.as_millis() as u64);
        block_on(store.0.lock(&project("p"), &name(TOGETHER[0]), LEASE, deadline))?;
    }
    store.put("p", TOGETHER[0], at(1));
    Ok(())
}

/// A process in the middle of a transaction needs another way into the file.
#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;

    /// Begins to write, says so, and never ends.
    pub fn hold(url: &str) -> ! {
        let file = rusqlite::Connection::open(url.strip_prefix("sqlite:").unwrap()).unwrap();
        file.execute_batch("BEGIN IMMEDIATE; DELETE FROM entry").unwrap();
        #[allow(clippy::print_stdout)]
        {
            println!("holds");
        }
        loop {
            pause(1_000);
        }
    }

    pub fn stopped(place: &Place) -> Result<(), Failed> {
        let store = Store(place.connect()?);
        store.put("p", "refs/a", at(1));
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("log");
        let mut writer = start("hold", place, &log);
        let started = now();
        while !std::fs::read_to_string(&log)?.contains("holds") {
            assert!(started.elapsed() < Duration::from_secs(30), "the writer does not start");
            pause(5);
        }
        writer.stop();
        let (p, a) = (project("p"), name("refs/a"));
        for wait in [1_000, 200] {
            let started = now();
            let e = block_on(store.0.put(&p, &a, at(2), within(wait))).unwrap_err();
            let took = started.elapsed();
            assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{e}");
            // 50 ms are promised; the rest is for a busy machine.
            assert!(took < Duration::from_millis(wait + 500), "{took:?} of {wait} ms");
            let started = now();
            assert_eq!(store.value("p", "refs/a"), at(1), "reads go on");
            assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        }
        // A new process can read and is refused in time, too.
        let other = Store(place.connect()?);
        assert_eq!(other.value("p", "refs/a"), at(1));
        writer.kill();
        store.put("p", "refs/a", at(3));
        assert_eq!(other.value("p", "refs/a"), at(3), "a killed writer holds up nobody");
        Ok(())
    }
}
