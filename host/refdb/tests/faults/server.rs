//! Cases 36, 61 to 67 and 72 for a backend with a server: what goes wrong on the way to it and in it.
//!
//! The client under test talks through a proxy, another one to the server itself tells the truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use refgate_core::{
    Atomicity::Each, Edit, Entry, Expected, Outcome, RefDb, RefDbError, RefDbErrorKind, RefName,
};
use refgate_refdb::conformance::history::{Workload, record};
use refgate_refdb::{Location, OpenMode, open};
use refgate_servers::{Mode, Proxy};

use crate::backends::{self, Server, ServerBackend};
use crate::common::{RealClock, Store, at, block_on, edit, name, now, pause, project, within};

const A: &str = "refs/heads/a";
/// More than the 50 ms that are promised: the machine is busy.
const SLACK: Duration = Duration::from_millis(500);

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for backend in backends::servers() {
        let mut add = |title: &str, run: fn(&mut Rig) -> Result<(), Failed>| {
            let name = format!("{}::{title}", backend.name);
            let server = backend.clone();
            trials.push(backends::trial(&backend.missing, name, move || run(&mut Rig::new(&server))));
        };
        add("036 10,000 refs cost as many round trips as promised", round_trips);
        add("061 a server that is down is unavailable, and nothing is in doubt", server_down);
        add("062 a lost reply is in doubt, and resolve tells the truth", lost_replies);
        add("063 a lost request leaves the value as it was", lost_requests);
        add("064 a server that is stopped is answered for by the deadline", stopped);
        add("065 what was applied survives a kill of the server", killed);
        add("066 a lock does not outlive its lease in a partition, and the client recovers", partition);
        add("067 a write that was given up is not applied later, after a partition", late_after_partition);
        add("067 a write that was given up is not applied later, after a stop", late_after_stop);
        add("072 histories over a broken network are linearizable", broken_network);
    }
    trials
}

/// A server of its own behind a proxy.
struct Rig {
    server: Box<dyn Server>,
    proxy: Proxy,
    /// Requests for 10,000 refs.
    budget: u64,
    lease: Duration,
}

impl Rig {
    fn new(backend: &ServerBackend) -> Rig {
        let server = (backend.start)();
        let address = server.address().parse().expect("an address");
        Rig {
            proxy: Proxy::start(address, backend.protocol),
            server,
            budget: backend.budget,
            lease: backend.lease,
        }
    }

    fn open(&self, address: &str) -> Result<RefDb, RefDbError> {
        let url = self.server.url(address);
        Ok(open(&Location::new(url, "/"), OpenMode::Create, Arc::new(RealClock))?.db)
    }

    /// The client under test, which has written once already.
    fn store(&self) -> Store {
        let store = Store(self.open(&self.proxy.address().to_string()).unwrap());
        store.put("p", "refs/warm", at(0));
        store
    }

    fn truth(&self) -> Store {
        Store(self.open(&self.server.address()).unwrap())
    }

    /// Until the client under test works again.
    fn recovered(&self, store: &Store) {
        let started = now();
        loop {
            let edit = edit("refs/warm", Expected::AbsentOr(at(0)), at(0));
            match cas(store, &edit, 2_000) {
                Ok(outcome) => return assert_eq!(outcome, Outcome::Applied),
                Err(e) => assert!(started.elapsed() < Duration::from_secs(30), "it does not recover: {e}"),
            }
            pause(50);
        }
    }
}

fn cas(store: &Store, edit: &Edit, ms: u64) -> Result<Outcome, RefDbError> {
    let edits = std::slice::from_ref(edit);
    Ok(block_on(store.0.compare_and_put(&project("p"), edits, Each, within(ms)))?[0])
}

fn round_trips(rig: &mut Rig) -> Result<(), Failed> {
    let (store, truth) = (rig.store(), rig.truth());
    let names: Vec<RefName> = (0..10_000).map(|n| name(&format!("refs/heads/{n:05}"))).collect();
    let edits: Vec<Edit> =
        names.iter().step_by(20).map(|name| Edit::new(name.clone(), Expected::Absent, at(1))).collect();
    let p = project("p");
    block_on(truth.0.compare_and_put(&p, &edits, Each, within(60_000)))?;
    rig.proxy.reset_counts();
    let found = block_on(store.0.get_many(&p, &names, within(60_000)))?;
    let counts = rig.proxy.counts();
    assert_eq!(found.iter().filter(|f| f.exists()).count(), 500);
    assert!(counts.requests <= rig.budget, "{} requests, {} are promised", counts.requests, rig.budget);
    rig.proxy.reset_counts();
    block_on(store.0.get_many(&p, &names[..1], within(10_000)))?;
    let one = rig.proxy.counts().requests;
    assert!((1..=3).contains(&one), "{one} requests for one ref");
    Ok(())
}

fn server_down(rig: &mut Rig) -> Result<(), Failed> {
    let store = rig.store();
    store.put("p", A, at(1));
    rig.server.kill();
    // The connection is known to be gone by then.
    pause(500);
    for _ in 0..3 {
        let started = now();
        let e = cas(&store, &edit(A, Expected::Exactly(at(1)), at(2)), 1_000).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{e}");
        assert!(started.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", started.elapsed());
        let e = block_on(store.0.get_many(&project("p"), &[name(A)], within(300))).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{e}");
    }
    let started = now();
    let e = rig.open(&rig.server.address()).map(|_| ()).unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{e}");
    assert!(started.elapsed() < Duration::from_secs(10) + SLACK, "{:?}", started.elapsed());
    rig.server.restart();
    rig.recovered(&store);
    assert_eq!(store.value("p", A), at(1), "nothing was written later");
    Ok(())
}

/// One write after another, each with one request more before the fault, until a write needs no more requests than that.
fn at_every_request(rig: &Rig, fault: fn(u64) -> Mode) -> Vec<(Option<RefDbErrorKind>, bool)> {
    let (store, truth) = (rig.store(), rig.truth());
    let mut seen = Vec::new();
    for k in 1..=20 {
        let name = &format!("refs/heads/{k}");
        store.put("p", name, at(1));
        rig.proxy.set(fault(k));
        let edit = edit(name, Expected::Exactly(at(1)), at(2));
        let result = cas(&store, &edit, 3_000);
        let untouched = rig.proxy.mode() == fault(k);
        rig.proxy.set(Mode::Pass);
        let kind = result.as_ref().err().map(|e| e.kind);
        match result {
            Ok(outcome) => assert_eq!(outcome, Outcome::Applied, "request {k}"),
            Err(e) if e.kind == RefDbErrorKind::Indeterminate => {
                let told =
                    block_on(store.0.resolve(&project("p"), std::slice::from_ref(&edit), within(20_000)))
                        .unwrap();
                let actual = truth.value("p", name);
                let want = if actual == at(2) { Outcome::Applied } else { Outcome::Mismatch { actual } };
                assert_eq!(told, [want], "request {k}");
            }
            Err(e) => {
                assert_eq!(e.kind, RefDbErrorKind::Unavailable, "request {k}: {e}");
                assert_eq!(truth.value("p", name), at(1), "request {k} was said not to be applied: {e}");
            }
        }
        let value = truth.value("p", name);
        rig.recovered(&store);
        assert_eq!(truth.value("p", name), value, "request {k}: nothing comes later");
        seen.push((kind, value == at(2)));
        if untouched {
            return seen;
        }
    }
    panic!("a write of one ref takes more than 20 requests: {seen:?}");
}

fn lost_replies(rig: &mut Rig) -> Result<(), Failed> {
    let seen = at_every_request(rig, Mode::DropReply);
    assert!(seen.contains(&(Some(RefDbErrorKind::Indeterminate), true)), "no write lost its reply: {seen:?}");
    Ok(())
}

fn lost_requests(rig: &mut Rig) -> Result<(), Failed> {
    let seen = at_every_request(rig, Mode::CutBefore);
    assert!(seen.iter().any(|(kind, _)| kind.is_some()), "no write lost a request: {seen:?}");
    let applied = |(kind, applied): &(Option<RefDbErrorKind>, bool)| kind.is_some() && *applied;
    assert!(!seen.iter().any(applied), "a write whose request was lost was applied: {seen:?}");
    Ok(())
}

fn stopped(rig: &mut Rig) -> Result<(), Failed> {
    let store = rig.store();
    store.put("p", A, at(1));
    let (p, a) = (project("p"), name(A));
    rig.server.stop();
    let started = now();
    for ms in [1_000, 3_000] {
        let timed =
            |what: &str, call: &mut dyn FnMut() -> Option<RefDbErrorKind>, allowed: &[RefDbErrorKind]| {
                let started = now();
                let kind = call().unwrap_or_else(|| panic!("{what} was answered by a stopped server"));
                let took = started.elapsed();
                assert!(took < Duration::from_millis(ms) + SLACK, "{what} took {took:?} of {ms} ms");
                assert!(allowed.contains(&kind), "{what}: {kind:?}");
            };
        let read = &[RefDbErrorKind::Unavailable];
        let write = &[RefDbErrorKind::Unavailable, RefDbErrorKind::Indeterminate];
        let lock = &[RefDbErrorKind::Unavailable, RefDbErrorKind::LockTimeout];
        let names = std::slice::from_ref(&a);
        timed(
            "get_many",
            &mut || block_on(store.0.get_many(&p, names, within(ms))).err().map(|e| e.kind),
            read,
        );
        timed(
            "scan",
            &mut || block_on(store.0.scan(&p, b"", None, 9, within(ms))).err().map(|e| e.kind),
            read,
        );
        timed("sites", &mut || block_on(store.0.sites(within(ms))).err().map(|e| e.kind), read);
        let edit = edit("refs/heads/b", Expected::Absent, at(2));
        timed("compare_and_put", &mut || cas(&store, &edit, ms).err().map(|e| e.kind), write);
        timed("put", &mut || block_on(store.0.put(&p, &a, at(1), within(ms))).err().map(|e| e.kind), write);
        let (old, new) = (Entry::new(at(1)), Entry::new(at(1)));
        timed(
            "swap_entry",
            &mut || block_on(store.0.swap_entry(&p, &a, &old, &new, within(ms))).err().map(|e| e.kind),
            write,
        );
        let lease = Duration::from_secs(5);
        timed("lock", &mut || block_on(store.0.lock(&p, &a, lease, within(ms))).err().map(|e| e.kind), lock);
    }
    assert!(started.elapsed() > Duration::from_secs(3), "nobody waited");
    rig.server.cont();
    rig.recovered(&store);
    assert_eq!(store.value("p", A), at(1));
    Ok(())
}

fn killed(rig: &mut Rig) -> Result<(), Failed> {
    let store = rig.store();
    for round in 0..3 {
        let refs: Vec<String> = (0..40).map(|n| format!("refs/heads/{round}/{n}")).collect();
        for (n, r) in refs.iter().enumerate() {
            assert_eq!(store.cas("p", r, Expected::Absent, at(n as u64)), Outcome::Applied);
        }
        rig.server.kill();
        rig.server.restart();
        rig.recovered(&store);
        for (n, r) in refs.iter().enumerate() {
            assert_eq!(store.value("p", r), at(n as u64), "{r} in round {round}");
        }
    }
    Ok(())
}

fn partition(rig: &mut Rig) -> Result<(), Failed> {
    let (store, truth) = (rig.store(), rig.truth());
    let (p, a) = (project("p"), name(A));
    let lease = rig.lease;
    let lock = block_on(store.0.lock(&p, &a, lease, within(10_000)))?;
    let token = lock.token().clone();
    rig.proxy.set(Mode::BlackHole);
    // The store gives it to another when the lease is over.
    let wait = (lease + Duration::from_secs(20)).as_millis() as u64;
    let other = block_on(truth.0.lock(&p, &a, lease, within(wait)))?;
    assert!(!lock.is_valid(), "two believe that they hold the lock");
    rig.proxy.set(Mode::Pass);
    rig.recovered(&store);
    assert!(!lock.is_valid());
    let fenced = edit(A, Expected::Absent, at(1)).fenced(token);
    assert_eq!(cas(&store, &fenced, 5_000)?, Outcome::Fenced);
    block_on(lock.release(within(5_000)))?;
    let held = edit(A, Expected::Absent, at(2)).fenced(other.token().clone());
    assert_eq!(cas(&truth, &held, 5_000)?, Outcome::Applied);
    block_on(other.release(within(5_000)))?;
    let lock = block_on(store.0.lock(&p, &a, lease, within(10_000)))?;
    assert!(lock.is_valid(), "a new lock by the client that lost one");
    Ok(())
}

fn late_after_partition(rig: &mut Rig) -> Result<(), Failed> {
    late(rig, |rig| rig.proxy.set(Mode::BlackHole), |rig| rig.proxy.set(Mode::Pass), true)
}

fn late_after_stop(rig: &mut Rig) -> Result<(), Failed> {
    late(rig, |rig| rig.server.stop(), |rig| rig.server.cont(), false)
}

/// While nothing answers, a write is given up. What another writes then must stay, though the first value comes back.
fn late(rig: &Rig, break_: fn(&Rig), mend: fn(&Rig), other_works: bool) -> Result<(), Failed> {
    let (store, truth) = (rig.store(), rig.truth());
    for round in 0..3 {
        let r = &format!("refs/heads/{round}");
        truth.put("p", r, at(1));
        let late = edit(r, Expected::Exactly(at(1)), at(9));
        break_(rig);
        let e = cas(&store, &late, 400).unwrap_err();
        let in_doubt = e.kind == RefDbErrorKind::Indeterminate;
        assert!(in_doubt || e.kind == RefDbErrorKind::Unavailable, "{e}");
        // Also one whose caller went away.
        let (p, gone) = (project("p"), name(&format!("{r}/dropped")));
        block_on(async {
            let dropped = store.0.put(&p, &gone, at(9), within(5_000));
            tokio::time::timeout(Duration::from_millis(200), dropped).await.map(|_| ()).unwrap_err();
        });
        if !other_works {
            mend(rig);
        }
        if in_doubt {
            // From here on it cannot come any more, whether it came or not.
            let resolving =
                block_on(store.0.resolve(&project("p"), std::slice::from_ref(&late), within(500)));
            if resolving.is_err() {
                mend(rig);
                block_on(store.0.resolve(&project("p"), std::slice::from_ref(&late), within(20_000)))?;
            }
        }
        let there = truth.value("p", r);
        assert!(in_doubt || there == at(1), "{there:?} after an error that says that nothing was written");
        for (from, to) in [(there, at(3)), (at(3), at(1))] {
            assert_eq!(truth.cas("p", r, Expected::Exactly(from), to), Outcome::Applied);
        }
        mend(rig);
        rig.recovered(&store);
        let dropped = truth.value("p", &format!("{r}/dropped"));
        for _ in 0..10 {
            pause(100);
            assert_eq!(truth.value("p", r), at(1), "round {round}: the write that was given up came late");
            assert_eq!(
                truth.value("p", &format!("{r}/dropped")),
                dropped,
                "round {round}: it came later still"
            );
        }
    }
    Ok(())
}

fn broken_network(rig: &mut Rig) -> Result<(), Failed> {
    let (mut applied, mut doubtful, mut resolved) = (0, 0, 0);
    let first = backends::seed();
    for seed in first..first + 4 {
        let stores: Vec<_> = (0..4).map(|_| rig.store().0).collect();
        let (proxy, done) = (&rig.proxy, AtomicBool::new(false));
        let recording = std::thread::scope(|s| {
            s.spawn(|| {
                let mut rng = SmallRng::seed_from_u64(seed);
                while !done.load(Ordering::SeqCst) {
                    let (mode, ms) = match rng.random_range(0..8) {
                        // Longer than a call may take.
                        0 => (Mode::BlackHole, 500),
                        1 | 2 => (Mode::CutBefore(rng.random_range(1..8)), 60),
                        3..6 => (Mode::DropReply(rng.random_range(1..8)), 60),
                        6 => (Mode::Delay(Duration::from_millis(rng.random_range(1..20))), 100),
                        _ => (Mode::Pass, 60),
                    };
                    proxy.set(mode);
                    pause(ms);
                    if rng.random_range(0..8) == 0 {
                        proxy.cut();
                    }
                }
                proxy.set(Mode::Pass);
            });
            let workload = Workload { seed, calls: 120, ..Workload::default() };
            let project = project(&format!("seed-{seed}"));
            let recording = block_on(record(&stores, &project, &workload, || within(400)));
            done.store(true, Ordering::SeqCst);
            recording
        });
        recording.check().map_err(|why| format!("REFGATE_SEED={seed}: {why}"))?;
        applied += recording.applied;
        doubtful += recording.doubtful;
        resolved += recording.resolved;
    }
    assert!(
        applied > 50 && doubtful > 0,
        "nothing to check: {applied} applied, {doubtful} in doubt, {resolved} resolved"
    );
    Ok(())
}
