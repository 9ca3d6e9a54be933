//! The reference model itself: what the other stores are compared with.

use super::super::testing::*;
use super::super::{Edit, Expected, Outcome, RefDb, TextOutcome};
use super::*;

const LEASE: Duration = Duration::from_secs(10);

fn edit(ref_name: &str, expected: Expected, new: GlobalRef) -> Edit {
    Edit::new(name(ref_name), expected, new)
}

async fn apply(db: &RefDb, edits: &[Edit], atomicity: Atomicity) -> Result<Vec<Outcome>, RefDbError> {
    db.compare_and_put(&project(), edits, atomicity, within(SECOND)).await
}

async fn entry(db: &RefDb, ref_name: &str) -> Entry {
    let found = db.get_many(&project(), &[name(ref_name)], within(SECOND)).await.unwrap().remove(0);
    found.entry().unwrap().clone()
}

async fn lock(db: &RefDb, ref_name: &str, wait: Duration) -> Result<Box<dyn RefLock>, RefDbErrorKind> {
    db.lock(&project(), &name(ref_name), LEASE, within(wait)).await.map_err(|e| e.kind)
}

async fn put_text(db: &RefDb, expected: Option<&str>, new: &str) -> Result<TextOutcome, RefDbErrorKind> {
    let (p, t) = (project(), name("refs/t"));
    db.compare_and_put_text(&p, &t, expected, new, within(SECOND)).await.map_err(|e| e.kind)
}

#[test]
fn a_lock_has_one_holder_and_every_hold_its_own_fence() {
    run(async {
        let store = store();
        let db = RefDb::new(store.clone());
        let first = lock(&db, "refs/a", SECOND).await.unwrap();
        let start = PausedClock.now();
        assert_eq!(lock(&db, "refs/a", SECOND).await.err(), Some(RefDbErrorKind::LockTimeout));
        assert_eq!(PausedClock.now() - start, SECOND, "neither earlier nor later");
        let other = lock(&db, "refs/b", Duration::ZERO).await.unwrap();
        let fence = first.token().fence;
        first.release(within(SECOND)).await.unwrap();
        let second = lock(&db, "refs/a", Duration::ZERO).await.unwrap();
        assert!(second.token().fence > fence && second.is_valid() && other.is_valid());
        drop(second);
        assert!(lock(&db, "refs/a", Duration::ZERO).await.is_ok(), "dropping gives it back");
        let elsewhere = Project::new("p/sub").unwrap();
        let _held = lock(&db, "refs/a", Duration::ZERO).await.unwrap();
        assert!(db.lock(&elsewhere, &name("refs/a"), LEASE, within(Duration::ZERO)).await.is_ok());
    });
}

#[test]
fn a_waiter_gets_it_when_the_holder_lets_go_or_the_lease_runs_out() {
    run(async {
        let store = store();
        let db = RefDb::new(store.clone());
        let holder = lock(&db, "refs/a", SECOND).await.unwrap();
        tokio::spawn(async move {
            pass(2 * SECOND).await;
            drop(holder);
        });
        let holder = lock(&db, "refs/a", LEASE).await.unwrap();
        let start = PausedClock.now();
        let next = lock(&db, "refs/a", 2 * LEASE).await.unwrap();
        assert!(PausedClock.now() - start >= LEASE - 2 * PAUSE);
        assert!(!holder.is_valid() && next.is_valid());
        assert_eq!(holder.renew(within(SECOND)).await.unwrap_err().kind, RefDbErrorKind::LeaseLost);
        holder.release(within(SECOND)).await.unwrap();
        assert!(next.is_valid(), "a release that comes late takes nothing from the next holder");
    });
}

#[test]
fn renewing_begins_the_lease_anew() {
    run(async {
        let store = store();
        let db = RefDb::new(store.clone());
        let held = lock(&db, "refs/a", SECOND).await.unwrap();
        for _ in 0..5 {
            pass(LEASE - SECOND).await;
            held.renew(within(SECOND)).await.unwrap();
        }
        pass(LEASE - SECOND).await;
        assert!(held.is_valid());
        pass(SECOND).await;
        assert!(!held.is_valid());
        assert_eq!(held.renew(within(SECOND)).await.unwrap_err().kind, RefDbErrorKind::LeaseLost);
    });
}

#[test]
fn a_lease_is_clamped_and_an_attempt_that_is_dropped_leaves_nothing() {
    run(async {
        let store = store();
        let db = RefDb::new(store.clone());
        let (p, a) = (project(), name("refs/a"));
        let held = db.lock(&p, &a, Duration::MAX, within(SECOND)).await.unwrap();
        tokio::time::timeout(SECOND, db.lock(&p, &a, LEASE, within(LEASE))).await.err().unwrap();
        drop(held);
        let held = db.lock(&p, &a, Duration::ZERO, within(Duration::ZERO)).await.unwrap();
        assert!(held.is_valid());
        assert_eq!(db.capabilities().clamp_lease(Duration::ZERO), Duration::from_millis(1));
        let without = RefDb::new(MemoryRefDb::new());
        assert_eq!(without.capabilities().lease, None);
        let e = without.lock(&p, &a, LEASE, within(SECOND)).await.err().unwrap();
        assert_eq!(e.kind, RefDbErrorKind::Unsupported);
    });
}

#[test]
fn a_fenced_edit_needs_the_lock_at_the_moment_of_the_write() {
    run(async {
        let store = store();
        let db = RefDb::new(store.clone());
        let held = lock(&db, "refs/lock", SECOND).await.unwrap();
        let token = held.token().clone();
        let fenced = edit("refs/a", Expected::Absent, at(1)).fenced(token.clone());
        let plain = edit("refs/b", Expected::Absent, at(1));
        let both = [fenced.clone(), plain.clone()];
        pass(LEASE).await;
        let outcomes = apply(&db, &both, Atomicity::AllOrNothing).await.unwrap();
        assert_eq!(outcomes, [Outcome::Fenced, Outcome::Mismatch { actual: GlobalRef::Untracked }]);
        assert_eq!(entry(&db, "refs/b").await, Entry::default());
        assert_eq!(apply(&db, &both, Atomicity::Each).await.unwrap(), [Outcome::Fenced, Outcome::Applied]);
        let next = lock(&db, "refs/lock", SECOND).await.unwrap();
        assert_eq!(apply(&db, &[fenced], Atomicity::Each).await.unwrap(), [Outcome::Fenced], "another hold");
        let fenced = edit("refs/a", Expected::Absent, at(1)).fenced(next.token().clone());
        let elsewhere = Project::new("q").unwrap();
        let edits = std::slice::from_ref(&fenced);
        let there = db.compare_and_put(&elsewhere, edits, Atomicity::Each, within(SECOND)).await.unwrap();
        assert_eq!(there, [Outcome::Fenced], "a lock is one of a project");
        assert_eq!(apply(&db, edits, Atomicity::Each).await.unwrap(), [Outcome::Applied]);
        assert_eq!(
            apply(&db, &[edit("refs/c", Expected::Exactly(at(9)), at(1)).fenced(token)], Atomicity::Each)
                .await
                .unwrap(),
            [Outcome::Fenced],
            "the fence goes before the value"
        );
    });
}

#[test]
fn all_or_nothing_takes_back_every_edit_and_says_what_was_there() {
    run(async {
        let store = store();
        let db = RefDb::new(store.clone());
        store.set(&project(), &name("refs/a"), Entry { value: at(1), superseded: vec![oid(7)] });
        let edits = [
            edit("refs/a", Expected::Exactly(at(1)), at(2)),
            edit("refs/a", Expected::Exactly(at(2)), at(3)),
            edit("refs/new", Expected::Absent, at(4)),
            edit("refs/b", Expected::Exactly(at(1)), at(5)),
        ];
        let was = |value| Outcome::Mismatch { actual: value };
        let none = GlobalRef::Untracked;
        assert_eq!(
            apply(&db, &edits, Atomicity::AllOrNothing).await.unwrap(),
            [was(at(1)), was(at(1)), was(none), was(none)]
        );
        assert_eq!(entry(&db, "refs/a").await, Entry { value: at(1), superseded: vec![oid(7)] });
        assert_eq!(entry(&db, "refs/new").await, Entry::default());
        assert_eq!(apply(&db, &edits[..3], Atomicity::AllOrNothing).await.unwrap(), [Outcome::Applied; 3]);
        assert_eq!(
            entry(&db, "refs/a").await,
            Entry { value: at(3), superseded: vec![oid(7), oid(1), oid(2)] }
        );
    });
}

#[test]
fn resolve_tells_whether_the_new_value_is_there() {
    run(async {
        let store = store();
        let db = RefDb::new(store.clone());
        store.set(&project(), &name("refs/a"), Entry::new(at(2)));
        let edits = [
            edit("refs/a", Expected::Exactly(at(1)), at(2)),
            edit("refs/a", Expected::Exactly(at(1)), at(3)),
            edit("refs/b", Expected::Absent, at(1)),
        ];
        assert_eq!(
            db.resolve(&project(), &edits, within(SECOND)).await.unwrap(),
            [
                Outcome::Applied,
                Outcome::Mismatch { actual: at(2) },
                Outcome::Mismatch { actual: GlobalRef::Untracked }
            ]
        );
    });
}

#[test]
fn texts_are_compared_as_texts_and_are_in_the_way_of_edits() {
    run(async {
        let store = store();
        let db = RefDb::new(store.clone());
        let there = |text: &str| TextOutcome::Mismatch { actual: Some(text.to_owned()) };
        assert_eq!(put_text(&db, Some("1"), "2").await, Ok(TextOutcome::Mismatch { actual: None }));
        assert_eq!(put_text(&db, None, "1").await, Ok(TextOutcome::Applied));
        assert_eq!(put_text(&db, None, "2").await, Ok(there("1")));
        assert_eq!(put_text(&db, Some("1"), &"a".repeat(40)).await, Err(RefDbErrorKind::InvalidName));
        assert_eq!(put_text(&db, Some("1"), "2").await, Ok(TextOutcome::Applied));
        let (p, t) = (project(), name("refs/t"));
        assert_eq!(db.get_text(&p, &t, within(SECOND)).await.unwrap().as_deref(), Some("2"));
        let found = db.get_many(&p, std::slice::from_ref(&t), within(SECOND)).await.unwrap();
        assert_eq!(found, [Lookup::Text("2".into())]);
        let page = db.scan(&p, b"", None, 9, within(SECOND)).await.unwrap();
        assert_eq!(page.rows, [(t.clone(), Lookup::Text("2".into()))]);

        let edits = [edit("refs/a", Expected::Absent, at(1)), edit("refs/t", Expected::Absent, at(1))];
        for atomicity in [Atomicity::Each, Atomicity::AllOrNothing] {
            assert_eq!(apply(&db, &edits, atomicity).await.unwrap_err().kind, RefDbErrorKind::Corrupt);
            assert_eq!(entry(&db, "refs/a").await, Entry::default(), "the whole call");
        }
        let none = Entry::default();
        let swap = db.swap_entry(&p, &t, &none, &Entry::new(at(1)), within(SECOND)).await;
        assert_eq!(swap.unwrap_err().kind, RefDbErrorKind::Corrupt);
        assert_eq!(db.resolve(&p, &edits, within(SECOND)).await.unwrap_err().kind, RefDbErrorKind::Corrupt);
        db.put(&p, &t, GlobalRef::Deleted, within(SECOND)).await.unwrap();
        assert_eq!(put_text(&db, None, "3").await, Ok(there(&"0".repeat(40))));
        assert_eq!(put_text(&db, Some(&"0".repeat(40)), "3").await, Ok(TextOutcome::Applied));
        assert!(db.remove_ref(&p, &t, within(SECOND)).await.unwrap());
        assert_eq!(db.get_text(&p, &t, within(SECOND)).await.unwrap(), None);
    });
}

#[test]
fn whole_entries_are_exchanged_only_for_exactly_what_is_expected() {
    run(async {
        let store = store();
        let db = RefDb::new(store.clone());
        let (p, a) = (project(), name("refs/a"));
        let with = |n, superseded: &[u8]| Entry {
            value: at(n),
            superseded: superseded.iter().map(|n| oid(*n)).collect(),
        };
        let swap =
            async |from: &Entry, to: &Entry| db.swap_entry(&p, &a, from, to, within(SECOND)).await.unwrap();
        assert!(!swap(&with(1, &[]), &with(2, &[])).await);
        assert!(swap(&Entry::default(), &with(1, &[8, 9])).await);
        assert!(!swap(&with(1, &[]), &with(2, &[])).await, "the list counts");
        assert!(!swap(&with(1, &[9, 8]), &with(2, &[])).await, "and its order");
        assert!(swap(&with(1, &[8, 9]), &with(2, &[9])).await);
        assert_eq!(entry(&db, "refs/a").await, with(2, &[9]));
        assert!(swap(&with(2, &[9]), &Entry::default()).await);
        assert!(db.scan(&p, b"", None, 9, within(SECOND)).await.unwrap().rows.is_empty(), "forgotten");
    });
}

#[test]
fn removing_a_project_keeps_its_locks_and_an_untracked_entry_is_none() {
    run(async {
        let store = store();
        let db = RefDb::new(store.clone());
        let held = lock(&db, "refs/a", SECOND).await.unwrap();
        store.set(&project(), &name("refs/a"), Entry::new(at(1)));
        store.set(&project(), &name("refs/b"), Entry::new(at(1)));
        store.set(&project(), &name("refs/b"), Entry::default());
        assert_eq!(db.remove_project(&project(), within(SECOND)).await.unwrap(), 1);
        assert!(held.is_valid());
        assert_eq!(lock(&db, "refs/a", SECOND).await.err(), Some(RefDbErrorKind::LockTimeout));
        assert_eq!(entry(&db, "refs/a").await, Entry::default());
    });
}
