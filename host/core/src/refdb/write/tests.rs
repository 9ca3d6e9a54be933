//! The rules of a write, away from any store.

use super::super::testing::*;
use super::*;

fn edit(name_: &str, expected: Expected, new: GlobalRef) -> Edit {
    Edit::new(name(name_), expected, new)
}

fn evaluated(
    edits: &[Edit],
    atomicity: Atomicity,
    there: impl Fn(&RefName) -> Lookup,
    held: impl Fn(&LockToken) -> bool,
) -> Result<Evaluation, Unreadable> {
    evaluate(&edits.iter().map(Write::from).collect::<Vec<_>>(), atomicity, there, held)
}

#[test]
fn a_name_that_occurs_twice_sees_its_first_edit_and_is_written_once() {
    let there = |_: &RefName| Lookup::Entry(Entry::new(at(1)));
    let edits =
        [edit("refs/x", Expected::Exactly(at(1)), at(2)), edit("refs/x", Expected::Exactly(at(2)), at(3))];
    let found = evaluated(&edits, Atomicity::Each, there, |_| false).unwrap();
    assert!(found.applies_all());
    let written = Stored::Entry(Entry { value: at(3), superseded: vec![oid(1), oid(2)] });
    assert_eq!(found.changes, BTreeMap::from([(name("refs/x"), Some(written))]));
}

#[test]
fn all_or_nothing_tells_what_was_there_before() {
    let there = |_: &RefName| Lookup::Entry(Entry::new(at(1)));
    let token = LockToken { name: name("refs/x"), fence: 1, holder: "h".into() };
    let edits = [
        edit("refs/x", Expected::Exactly(at(1)), at(2)),
        edit("refs/y", Expected::Absent, at(2)).fenced(token.clone()),
        edit("refs/z", Expected::Absent, at(2)),
    ];
    let mismatch = || Written::Mismatch(Lookup::Entry(Entry::new(at(1))));
    let of = |atomicity, held| evaluated(&edits, atomicity, there, |t| held && *t == token).unwrap();
    let all = of(Atomicity::AllOrNothing, false);
    assert_eq!((all.outcomes, all.changes.len()), (vec![mismatch(), Written::Fenced, mismatch()], 0));
    let each = of(Atomicity::Each, true);
    assert_eq!((each.outcomes, each.changes.len()), (vec![Written::Applied, mismatch(), mismatch()], 1));
}

#[test]
fn a_text_is_in_the_way_of_a_value_and_of_nothing_else() {
    let there = |_: &RefName| Lookup::Text("12".into());
    let one = |guard, new| {
        evaluate(&[Write::new(name("refs/x"), guard, new)], Atomicity::Each, there, |_| true)
            .map(|found| (found.outcomes[0].clone(), found.changes.into_values().next()))
            .map_err(|e| e.error("s", &project()))
    };
    let value = || New::Value { value: at(2), fast_forward: false };
    for guard in [Guard::Value(Expected::Absent), Guard::Entry(Entry::default())] {
        let e = one(guard, value()).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Corrupt);
        assert!(e.message.contains("`refs/x` in `p` cannot be read: it is a text, not an object id"), "{e}");
    }
    let nothing = || New::Entry(Entry::default());
    assert_eq!(one(Guard::Something, nothing()), Ok((Written::Applied, Some(None))));
    let put = Stored::Entry(Entry::new(at(2)));
    assert_eq!(one(Guard::Anything, value()), Ok((Written::Applied, Some(Some(put)))));
    let text = || New::Text("13".into());
    let written = Stored::Text("13".into());
    assert_eq!(one(Guard::Text(Some("12".into())), text()), Ok((Written::Applied, Some(Some(written)))));
    assert_eq!(one(Guard::Text(None), text()), Ok((Written::Mismatch(Lookup::Text("12".into())), None)));
}

#[test]
fn what_cannot_be_read_is_replaced_and_removed_but_never_compared() {
    let there = |_: &RefName| Lookup::Unreadable("damaged".into());
    let one =
        |guard, new| evaluate(&[Write::new(name("refs/x"), guard, new)], Atomicity::Each, there, |_| true);
    assert!(one(Guard::Anything, New::Entry(Entry::new(at(1)))).unwrap().applies_all());
    assert!(one(Guard::Something, New::Entry(Entry::default())).unwrap().applies_all());
    for guard in [Guard::Value(Expected::Absent), Guard::Entry(Entry::default()), Guard::Text(None)] {
        assert!(one(guard, New::Text("1".into())).is_err());
    }
}
