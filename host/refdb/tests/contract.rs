//! The contract of the global ref-db: one table of checks, run against every backend that holds something.
// Which check of the table runs, and how long the big read took, is for whoever reads a failure.
#![allow(clippy::print_stdout)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use refgate_core::{
    Atomicity::{AllOrNothing, Each},
    Edit, Entry, Expected, GlobalRef, Lookup, Oid, Outcome, RefDbErrorKind, RefLock, TextOutcome,
};
use refgate_refdb::{Location, OpenMode, open};

type Check = fn(&Store);

/// Every check gets a new, empty store.
const CONTRACT: &[(&str, Check)] = &[
    ("absent, deleted and at an object are three things", absent_deleted_at),
    ("get_many keeps the order and answers duplicates", order_and_duplicates),
    ("the four expectations", expectations),
    ("all or nothing", all_or_nothing),
    ("each edit on its own", each_on_its_own),
    ("the same ref twice in one call", same_name_twice),
    ("untracked is never written", untracked_is_refused),
    ("what is replaced is listed", superseded_list),
    ("put and remove clear the list", put_and_remove_clear),
    ("scan pages in byte order", scan_pages),
    ("scan keeps to its prefix and project", scan_bounds),
    ("removing a project leaves its neighbours", remove_project),
    ("removing a ref forgets it", remove_ref),
    ("names are bytes", names_are_bytes),
    ("a ref below another ref", directory_and_file),
    ("both lengths of object ids", sha256),
    ("sites are remembered", sites),
    ("texts stand beside entries and in the way of edits", texts),
    ("whole entries are exchanged", whole_entries),
    ("a lock fences edits", fences),
    ("resolve reads what is there", resolve),
    ("10,000 refs at once", ten_thousand),
    ("of racing writers one wins each round", racing_writers),
];

fn run(backend: &str, make: impl Fn() -> Store) {
    for (what, check) in CONTRACT {
        println!("{backend}: {what}");
        check(&make());
    }
}

#[test]
fn memory_keeps_the_contract() {
    run("memory", || {
        Store(open(&Location::new("memory:", "/"), OpenMode::Existing, Arc::new(RealClock)).unwrap().db)
    });
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let n = std::cell::Cell::new(0);
    run("sqlite", || {
        n.set(n.get() + 1);
        let opened = open_sqlite(&dir.path().join(format!("{}.sqlite", n.get())), OpenMode::Create).unwrap();
        assert!(opened.created);
        Store(opened.db)
    });
}

#[test]
fn noop_knows_nothing_and_refuses_nothing() {
    let opened = open(&Location::new("noop:", "/"), OpenMode::Create, Arc::new(RealClock)).unwrap();
    assert!(!opened.created);
    let noop = Store(opened.db);
    assert_eq!(noop.cas("p", "refs/x", Expected::Exactly(at(1)), at(2)), Outcome::Applied);
    noop.put("p", "refs/x", at(1));
    assert_eq!(noop.value("p", "refs/x"), GlobalRef::Untracked);
    assert!(noop.scan("p", "", None, 9).is_empty());
}

fn absent_deleted_at(t: &Store) {
    t.put("p", "refs/deleted", GlobalRef::Deleted);
    t.put("p", "refs/at", at(1));
    let values: Vec<_> =
        t.get("p", &["refs/absent", "refs/deleted", "refs/at"]).into_iter().map(|e| e.value).collect();
    assert_eq!(values, [GlobalRef::Untracked, GlobalRef::Deleted, at(1)]);
    assert_eq!(t.value("other", "refs/at"), GlobalRef::Untracked);
    assert!(t.get("p", &[]).is_empty());
}

fn order_and_duplicates(t: &Store) {
    for n in 1..4 {
        t.put("p", &format!("refs/{n}"), at(n));
    }
    let asked = ["refs/3", "refs/1", "refs/no", "refs/3", "refs/2", "refs/no"];
    let values: Vec<_> = t.get("p", &asked).into_iter().map(|e| e.value).collect();
    assert_eq!(values, [at(3), at(1), GlobalRef::Untracked, at(3), at(2), GlobalRef::Untracked]);
}

fn expectations(t: &Store) {
    let (gone, here, absent) = (GlobalRef::Deleted, at(1), GlobalRef::Untracked);
    for (i, (expected, holds)) in [
        // Whether it holds when the ref is absent, deleted, at 1, at 2.
        (Expected::Absent, [true, false, false, false]),
        (Expected::Exactly(absent), [true, false, false, false]),
        (Expected::Exactly(gone), [false, true, false, false]),
        (Expected::Exactly(here), [false, false, true, false]),
        (Expected::AbsentOrDeleted, [true, true, false, false]),
        (Expected::AbsentOr(here), [true, false, true, false]),
        (Expected::AbsentOr(gone), [true, true, false, false]),
    ]
    .into_iter()
    .enumerate()
    {
        for (j, (before, holds)) in [absent, gone, here, at(2)].into_iter().zip(holds).enumerate() {
            let r = format!("refs/{i}/{j}");
            if before != absent {
                t.put("p", &r, before);
            }
            let outcome = t.cas("p", &r, expected, at(9));
            assert_eq!(
                outcome,
                if holds { Outcome::Applied } else { mismatch(before) },
                "{expected:?} on {before:?}"
            );
            assert_eq!(t.value("p", &r), if holds { at(9) } else { before });
        }
    }
    // A write of what is there is applied, and a replay of an applied write meets its own value.
    assert_eq!(t.cas("p", "refs/same", Expected::Absent, at(1)), Outcome::Applied);
    assert_eq!(t.cas("p", "refs/same", Expected::Exactly(at(1)), at(1)), Outcome::Applied);
    assert_eq!(t.cas("p", "refs/same", Expected::Absent, at(1)), mismatch(at(1)));
    assert!(t.edits("p", &[], Each).unwrap().is_empty());
    assert!(t.edits("p", &[], AllOrNothing).unwrap().is_empty());
}

fn all_or_nothing(t: &Store) {
    t.put("p", "refs/a", at(1));
    let a = edit("refs/a", Expected::Exactly(at(1)), at(2));
    let b = edit("refs/b", Expected::Absent, at(3));
    let wrong = edit("refs/c", Expected::Exactly(at(7)), at(8));
    let outcomes = t.edits("p", &[a.clone(), wrong, b.clone()], AllOrNothing).unwrap();
    assert_eq!(outcomes, [mismatch(at(1)), mismatch(GlobalRef::Untracked), mismatch(GlobalRef::Untracked)]);
    assert_eq!(t.get("p", &["refs/a"]), [Entry::new(at(1))]);
    assert_eq!(t.scan("p", "", None, 9), ["refs/a"], "nothing is half done");
    assert_eq!(t.edits("p", &[a, b], AllOrNothing).unwrap(), [Outcome::Applied; 2]);
    assert_eq!((t.value("p", "refs/a"), t.value("p", "refs/b")), (at(2), at(3)));
}

fn each_on_its_own(t: &Store) {
    t.put("p", "refs/a", at(1));
    let edits = [
        edit("refs/a", Expected::Absent, at(2)),
        edit("refs/b", Expected::Absent, at(3)),
        edit("refs/c", Expected::Exactly(GlobalRef::Deleted), at(4)),
    ];
    let outcomes = t.edits("p", &edits, Each).unwrap();
    assert_eq!(outcomes, [mismatch(at(1)), Outcome::Applied, mismatch(GlobalRef::Untracked)]);
    assert_eq!(t.scan("p", "", None, 9), ["refs/a", "refs/b"]);
    assert_eq!(t.value("p", "refs/a"), at(1));
}

fn same_name_twice(t: &Store) {
    let twice = |second| [edit("refs/a", Expected::Absent, at(1)), edit("refs/a", second, at(2))];
    // The second edit sees the first.
    assert_eq!(
        t.edits("p", &twice(Expected::Absent), AllOrNothing).unwrap(),
        [mismatch(GlobalRef::Untracked); 2],
        "nothing was there, and nothing is"
    );
    assert_eq!(t.value("p", "refs/a"), GlobalRef::Untracked);
    assert_eq!(t.edits("p", &twice(Expected::Absent), Each).unwrap(), [Outcome::Applied, mismatch(at(1))]);
    assert!(t.remove_ref("p", "refs/a"));
    assert_eq!(t.edits("p", &twice(Expected::Exactly(at(1))), AllOrNothing).unwrap(), [Outcome::Applied; 2]);
    assert_eq!(t.get("p", &["refs/a"]), [Entry { value: at(2), superseded: vec![oid(1)] }]);
}

fn untracked_is_refused(t: &Store) {
    t.put("p", "refs/a", at(1));
    let edits = [
        edit("refs/b", Expected::Absent, at(2)),
        edit("refs/a", Expected::Exactly(at(1)), GlobalRef::Untracked),
    ];
    for atomicity in [Each, AllOrNothing] {
        let e = t.edits("p", &edits, atomicity).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::InvalidName);
        assert!(e.message.contains("`refs/a`"), "{e}");
    }
    assert_eq!(t.scan("p", "", None, 9), ["refs/a"], "refused before anything was written");
    let (p, a) = (project("p"), name("refs/a"));
    let put = t.0.put(&p, &a, GlobalRef::Untracked, within(10_000));
    assert_eq!(block_on(put).unwrap_err().kind, RefDbErrorKind::InvalidName);
    assert_eq!(t.value("p", "refs/a"), at(1));
}

fn superseded_list(t: &Store) {
    let step = |from, to, fast_forward| {
        let e = Edit::new(name("refs/a"), Expected::Exactly(from), to).fast_forward(fast_forward);
        assert_eq!(t.edits("p", &[e], Each).unwrap(), [Outcome::Applied]);
        t.superseded("p", "refs/a")
    };
    assert!(step(GlobalRef::Untracked, at(1), false).is_empty());
    assert!(step(at(1), at(2), true).is_empty(), "a fast-forward loses nothing");
    assert_eq!(step(at(2), at(3), false), [oid(2)]);
    assert_eq!(step(at(3), at(3), false), [oid(2)], "nothing is replaced");
    assert_eq!(step(at(3), at(4), true), [oid(2)], "the list stays");
    assert_eq!(step(at(4), GlobalRef::Deleted, false), [oid(2), oid(4)]);
    assert_eq!(step(GlobalRef::Deleted, at(2), false), [oid(2), oid(4)]);
    assert_eq!(step(at(2), at(5), false), [oid(2), oid(4)], "listed once");
    let lost = edit("refs/a", Expected::Exactly(at(1)), at(6));
    assert_eq!(t.edits("p", &[lost], Each).unwrap(), [mismatch(at(5))]);
    assert_eq!(t.superseded("p", "refs/a"), [oid(2), oid(4)], "a lost race lists nothing");
}

fn put_and_remove_clear(t: &Store) {
    for clear in [
        (|t: &Store| t.put("p", "refs/a", at(3))) as fn(&Store),
        |t| t.put("p", "refs/a", GlobalRef::Deleted),
        |t| assert!(t.remove_ref("p", "refs/a")),
        |t| assert_eq!(t.remove_project("p"), 1),
    ] {
        t.put("p", "refs/a", at(1));
        assert_eq!(t.cas("p", "refs/a", Expected::Exactly(at(1)), at(2)), Outcome::Applied);
        assert_eq!(t.superseded("p", "refs/a"), [oid(1)]);
        clear(t);
        assert!(t.superseded("p", "refs/a").is_empty());
    }
}

fn scan_pages(t: &Store) {
    let all = ["refs/a", "refs/a-b", "refs/a/b", "refs/a0", "refs/%FF", "refs/b"];
    for (i, r) in all.iter().enumerate() {
        t.put("p", r, at(i as u64));
    }
    // Bytes, not letters: `-` before `/` before `0`, 0xff last.
    let sorted = ["refs/a", "refs/a-b", "refs/a/b", "refs/a0", "refs/b", "refs/%FF"];
    assert_eq!(t.scan("p", "", None, 99), sorted);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = t.scan("p", "refs/", after.as_deref(), 2);
        assert!(page.len() <= 2);
        let Some(last) = page.last().cloned() else { break };
        after = Some(last);
        seen.extend(page);
    }
    assert_eq!(seen, sorted, "every ref once");
    assert_eq!(t.scan("p", "", None, usize::MAX).len(), 6);
    assert_eq!(t.scan("p", "refs/a/", None, 99), ["refs/a/b"]);
    let entries = block_on(t.0.scan(&project("p"), b"refs/a/b", None, 9, within(10_000))).unwrap();
    assert_eq!(entries.rows, [(name("refs/a/b"), Lookup::Entry(Entry::new(at(2))))]);
}

fn scan_bounds(t: &Store) {
    for (p, r) in [("p", "refs/x"), ("p", "refs/y"), ("p/sub", "refs/x"), ("p2", "refs/x"), ("o", "refs/x")] {
        t.put(p, r, at(1));
    }
    assert_eq!(t.scan("p", "", None, 9), ["refs/x", "refs/y"]);
    assert_eq!(t.scan("p", "refs/y", Some("refs/x"), 9), ["refs/y"], "a start before the prefix");
    assert!(t.scan("p", "refs/x", Some("refs/y"), 9).is_empty(), "a start behind the prefix");
    assert!(t.scan("p", "refs/z", None, 9).is_empty());
    assert!(t.scan("q", "", None, 9).is_empty());
}

fn remove_project(t: &Store) {
    for p in ["p", "p/sub", "p2", "o"] {
        t.put(p, "refs/a", at(1));
        t.put(p, "refs/b", GlobalRef::Deleted);
    }
    assert_eq!(t.remove_project("p"), 2);
    assert_eq!(t.remove_project("p"), 0);
    assert_eq!(t.value("p", "refs/a"), GlobalRef::Untracked);
    for p in ["p/sub", "p2", "o"] {
        assert_eq!(t.scan(p, "", None, 9).len(), 2, "{p}");
    }
}

fn remove_ref(t: &Store) {
    t.put("p", "refs/a", GlobalRef::Deleted);
    t.put("p", "refs/ab", at(1));
    assert!(t.remove_ref("p", "refs/a"), "a recorded deletion is an entry");
    assert!(!t.remove_ref("p", "refs/a"));
    assert_eq!(t.value("p", "refs/a"), GlobalRef::Untracked);
    assert_eq!(t.value("p", "refs/ab"), at(1));
}

fn names_are_bytes(t: &Store) {
    let odd = [
        "refs/%FF%FE",
        "refs/%EF%BF%BD",
        "refs/é",
        "refs/e%CC%81",
        "refs/A",
        "refs/a",
        "refs/100%25",
        "HEAD",
    ];
    for (i, r) in odd.iter().enumerate() {
        t.put("日本/a+b c", r, at(i as u64));
    }
    for (i, r) in odd.iter().enumerate() {
        assert_eq!(t.value("日本/a+b c", r), at(i as u64), "{r}");
    }
    let long = format!("refs/{}", "x".repeat(5000));
    t.put("p", &long, at(77));
    assert_eq!(t.value("p", &long), at(77));
}

fn directory_and_file(t: &Store) {
    for (first, second) in [("refs/a", "refs/a/b"), ("refs/c/d", "refs/c")] {
        assert_eq!(t.cas("p", first, Expected::Absent, at(1)), Outcome::Applied);
        assert_eq!(t.cas("p", first, Expected::Exactly(at(1)), GlobalRef::Deleted), Outcome::Applied);
        assert_eq!(t.cas("p", second, Expected::Absent, at(2)), Outcome::Applied);
        assert_eq!(t.value("p", first), GlobalRef::Deleted);
    }
}

fn sha256(t: &Store) {
    let long = |n| Oid::from_bytes(&[n; 32]).unwrap();
    assert_eq!(t.cas("p", "refs/a", Expected::Absent, GlobalRef::At(long(1))), Outcome::Applied);
    let same_start = GlobalRef::At(Oid::from_bytes(&[1; 20]).unwrap());
    assert_eq!(t.cas("p", "refs/a", Expected::Exactly(same_start), at(1)), mismatch(GlobalRef::At(long(1))));
    assert_eq!(t.cas("p", "refs/a", Expected::Exactly(GlobalRef::At(long(1))), at(1)), Outcome::Applied);
    assert_eq!(t.get("p", &["refs/a"]), [Entry { value: at(1), superseded: vec![long(1)] }]);
}

fn sites(t: &Store) {
    let list = |t: &Store| block_on(t.0.sites(within(10_000))).unwrap();
    let note = |t: &Store, site: &str| block_on(t.0.note_site(site, within(10_000))).unwrap();
    assert!(list(t).is_empty());
    assert_eq!(note(t, "site-b"), ["site-b"]);
    assert_eq!(note(t, "site-a"), ["site-a", "site-b"]);
    assert_eq!(note(t, "site-b"), ["site-a", "site-b"]);
    assert_eq!(note(t, "Ünï"), ["site-a", "site-b", "Ünï"]);
    t.put("p", "refs/a", at(1));
    t.remove_project("p");
    assert_eq!(list(t).len(), 3);
}

fn texts(t: &Store) {
    let put = |expected: Option<&str>, new: &str| {
        block_on(t.0.compare_and_put_text(&project("p"), &name("refs/t"), expected, new, within(10_000)))
            .map_err(|e| e.kind)
    };
    let get = |r| block_on(t.0.get_text(&project("p"), &name(r), within(10_000))).unwrap();
    let there = |text: &str| Ok(TextOutcome::Mismatch { actual: Some(text.to_owned()) });
    assert_eq!(put(Some("1"), "2"), Ok(TextOutcome::Mismatch { actual: None }));
    assert_eq!(put(None, "1"), Ok(TextOutcome::Applied));
    assert_eq!((put(None, "2"), put(Some("2"), "3")), (there("1"), there("1")));
    assert_eq!(put(Some("1"), &"a".repeat(40)), Err(RefDbErrorKind::InvalidName));
    assert_eq!(put(Some("1"), "17 ~"), Ok(TextOutcome::Applied));
    t.put("p", "refs/at", at(1));
    t.put("p", "refs/gone", GlobalRef::Deleted);
    assert_eq!(get("refs/t").as_deref(), Some("17 ~"));
    assert_eq!(get("refs/at"), Some(oid(1).to_string()));
    assert_eq!((get("refs/gone"), get("refs/no")), (Some("0".repeat(40)), None));
    let text = Lookup::Text("17 ~".to_owned());
    assert_eq!(t.lookups("p", &["refs/t", "refs/no"]), [text.clone(), Lookup::Entry(Entry::default())]);
    let page = block_on(t.0.scan(&project("p"), b"refs/t", None, 9, within(10_000))).unwrap();
    assert_eq!(page.rows, [(name("refs/t"), text)]);

    let edits = [edit("refs/new", Expected::Absent, at(1)), edit("refs/t", Expected::Absent, at(1))];
    for atomicity in [Each, AllOrNothing] {
        assert_eq!(t.edits("p", &edits, atomicity).unwrap_err().kind, RefDbErrorKind::Corrupt);
        assert_eq!(t.value("p", "refs/new"), GlobalRef::Untracked, "the whole call");
    }
    let (p, r) = (project("p"), name("refs/t"));
    let (none, some) = (Entry::default(), Entry::new(at(1)));
    let kinds = [
        block_on(t.0.swap_entry(&p, &r, &none, &some, within(10_000))).unwrap_err().kind,
        block_on(t.0.resolve(&p, &edits, within(10_000))).unwrap_err().kind,
    ];
    assert_eq!(kinds, [RefDbErrorKind::Corrupt; 2]);
    t.put("p", "refs/t", at(1));
    assert_eq!(t.value("p", "refs/t"), at(1), "an administrator's write goes through");
    assert_eq!(put(Some(&oid(1).to_string()), "5"), Ok(TextOutcome::Applied), "and back");
    assert!(t.remove_ref("p", "refs/t"));
    assert_eq!(get("refs/t"), None);
}

fn whole_entries(t: &Store) {
    let with = |n, list: &[u64]| Entry { value: at(n), superseded: list.iter().map(|n| oid(*n)).collect() };
    let swap = |from: &Entry, to: &Entry| {
        block_on(t.0.swap_entry(&project("p"), &name("refs/a"), from, to, within(10_000))).unwrap()
    };
    assert!(!swap(&with(1, &[]), &with(2, &[])));
    assert!(swap(&Entry::default(), &with(1, &[8, 9])));
    assert!(!swap(&with(1, &[]), &with(2, &[])), "the list counts");
    assert!(!swap(&Entry::default(), &with(2, &[])));
    assert!(swap(&with(1, &[8, 9]), &with(2, &[9])));
    assert_eq!(t.get("p", &["refs/a"]), [with(2, &[9])]);
    let gone = Entry { value: GlobalRef::Deleted, superseded: vec![oid(2)] };
    assert!(swap(&with(2, &[9]), &gone) && swap(&gone, &Entry::default()));
    assert!(t.scan("p", "", None, 9).is_empty(), "forgotten");
}

fn fences(t: &Store) {
    let lease = Duration::from_secs(60);
    let lock = || block_on(t.0.lock(&project("p"), &name("refs/l"), lease, within(10_000))).unwrap();
    let first = lock();
    let timeout = block_on(t.0.lock(&project("p"), &name("refs/l"), lease, within(100))).err().unwrap();
    assert_eq!(timeout.kind, RefDbErrorKind::LockTimeout);
    let fenced = |n, lock: &dyn RefLock| {
        edit(&format!("refs/{n}"), Expected::Absent, at(n)).fenced(lock.token().clone())
    };
    assert_eq!(t.edits("p", &[fenced(1, &*first)], AllOrNothing).unwrap(), [Outcome::Applied]);
    assert_eq!(t.edits("q", &[fenced(1, &*first)], Each).unwrap(), [Outcome::Fenced], "a lock of `p`");
    let old = fenced(2, &*first);
    assert_eq!(t.remove_project("p"), 1);
    assert!(first.is_valid(), "locks stay");
    block_on(first.renew(within(10_000))).unwrap();
    block_on(first.release(within(10_000))).unwrap();
    let free = edit("refs/3", Expected::Absent, at(3));
    let both = [old, free];
    assert_eq!(t.edits("p", &both, AllOrNothing).unwrap(), [Outcome::Fenced, mismatch(GlobalRef::Untracked)]);
    let second = lock();
    assert_eq!(t.edits("p", &both, Each).unwrap(), [Outcome::Fenced, Outcome::Applied]);
    assert_eq!(t.edits("p", &[fenced(2, &*second)], Each).unwrap(), [Outcome::Applied]);
    assert_eq!(t.edits("p", &[fenced(3, &*second)], Each).unwrap(), [mismatch(at(3))]);
    drop(second);
    drop(lock());
}

fn resolve(t: &Store) {
    t.put("p", "refs/a", at(2));
    let edits = [
        edit("refs/a", Expected::Exactly(at(1)), at(2)),
        edit("refs/a", Expected::Exactly(at(1)), at(3)),
        edit("refs/b", Expected::Absent, at(1)),
    ];
    let found = block_on(t.0.resolve(&project("p"), &edits, within(10_000))).unwrap();
    assert_eq!(found, [Outcome::Applied, mismatch(at(2)), mismatch(GlobalRef::Untracked)]);
}

fn ten_thousand(t: &Store) {
    let names: Vec<String> = (0..10_000).map(|i| format!("refs/changes/{:02}/{i}/meta", i % 100)).collect();
    let edits: Vec<Edit> =
        names.iter().enumerate().step_by(2).map(|(i, r)| edit(r, Expected::Absent, at(i as u64))).collect();
    assert!(t.edits("p", &edits, AllOrNothing).unwrap().iter().all(|o| *o == Outcome::Applied));
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let start = now();
    let found = t.lookups("p", &refs);
    println!("  get_many of 10,000: {:?}", start.elapsed());
    for (i, lookup) in found.into_iter().enumerate() {
        let want = if i % 2 == 0 { at(i as u64) } else { GlobalRef::Untracked };
        assert_eq!(lookup, Lookup::Entry(Entry::new(want)), "{i}");
    }
}

fn racing_writers(t: &Store) {
    const ROUNDS: u64 = 25;
    const WRITERS: u64 = 8;
    let wins: u64 = std::thread::scope(|s| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|w| {
                s.spawn(move || {
                    let mut won = 0;
                    for round in 0..ROUNDS {
                        let before = if round == 0 {
                            GlobalRef::Untracked
                        } else {
                            t.value("p", &format!("refs/{}", round - 1))
                        };
                        assert!(round == 0 || before.oid().is_some(), "somebody won the round before");
                        if t.cas("p", &format!("refs/{round}"), Expected::Absent, at(w)) == Outcome::Applied {
                            won += 1;
                        }
                    }
                    won
                })
            })
            .collect();
        writers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    assert_eq!(wins, ROUNDS, "exactly one winner each round");
    // And as a counter: no increment is lost.
    t.put("p", "refs/counter", at(0));
    std::thread::scope(|s| {
        for _ in 0..WRITERS {
            s.spawn(|| {
                for _ in 0..ROUNDS {
                    while {
                        let GlobalRef::At(old) = t.value("p", "refs/counter") else { panic!("gone") };
                        let n = u64::from_be_bytes(old.as_bytes()[12..].try_into().unwrap());
                        t.cas("p", "refs/counter", Expected::Exactly(at(n)), at(n + 1)) != Outcome::Applied
                    } {}
                }
            });
        }
    });
    assert_eq!(t.value("p", "refs/counter"), at(WRITERS * ROUNDS));
    assert_eq!(t.superseded("p", "refs/counter").len() as u64, WRITERS * ROUNDS);
}
