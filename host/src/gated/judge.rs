//! Step 2: what the ref-db says about a pushed ref, under the lock. Pure functions of one row.

use refgate_core::{Class, Entry, GlobalRef, Lookup, Oid, is_patch_set};

use super::rows::Row;
use super::why::Why;

/// What a row has to do with the fate of its change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: it is judged by itself.
    Lives,
    /// Its change is deleted, and it with it: it may go without a record of its own.
    Goes,
    /// It must not move while its change is as it is.
    Refused(Why),
}

/// What is known about the change of a row that is another ref of one.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    /// What the ref-db holds for the `/meta`.
    pub seen: Result<Lookup, Why>,
    /// The `/meta` is here.
    pub here: bool,
    /// What the same push does with it: its new value.
    pub pushed: Option<Option<Oid>>,
}

/// A change is deleted whole and made anew whole: its other refs go with its `/meta`, or when that is gone, and come only
/// with a new one. Without its entry nobody can tell which it is.
pub(super) fn change(row: &Row, meta: &Meta) -> Change {
    let deleted = match &meta.seen {
        Ok(seen) => match readable(seen) {
            Ok(entry) => entry.value == GlobalRef::Deleted,
            Err(why) => return Change::Refused(why),
        },
        Err(why) => return Change::Refused(why.clone()),
    };
    match (row.new, meta.pushed) {
        (None, Some(None)) => Change::Goes,
        (None, None) if deleted && !meta.here => Change::Goes,
        (None, None) if deleted => Change::Refused(Why::MetaStays),
        (Some(_), Some(None)) => Change::Refused(Why::DeletedChange),
        (Some(_), None) if deleted => Change::Refused(Why::DeletedChange),
        _ => Change::Lives,
    }
}

/// A client's write: the ref-db must hold what is here. Gives the entry that the compare-and-put expects.
pub(super) fn client(row: &Row, seen: &Lookup, change: &Change) -> Result<Entry, Why> {
    if !row.is_tracked() {
        return Ok(Entry::default());
    }
    let entry = readable(seen)?;
    match (entry.value, row.old) {
        // A ref that others may have, too, must not be claimed by whoever writes first: that is what seeding is for.
        (GlobalRef::Untracked, Some(_)) if *change == Change::Goes => Ok(entry),
        (GlobalRef::Untracked, Some(_)) => Err(Why::Untracked),
        (GlobalRef::Untracked, None) => Ok(entry),
        (global, local) if global.oid() == local => Ok(entry),
        (global, local) => Err(Why::Behind { global, local }),
    }
}

/// Replication: a client's write moved the ref-db already, so here it must hold exactly what is sent, and what is here
/// must be accounted for. A ref that the ref-db should record and does not is a client's write all the same: created by a
/// compare-and-put, or refused, or two sites that got different values under the mark would have two winners.
///
/// This is all that the mark of replication can do: whoever forges it sets a ref to what the ref-db holds, and loses
/// nothing that catch-up would not have replaced, or creates one, as any client may. `accounted` says whether the local
/// value may be overwritten, by the rules of an untracked ref (only what is contained) or of a tracked one (what was once
/// global, too).
pub(super) fn replication(
    row: &Row,
    seen: &Lookup,
    accounted: Overwrites,
    change: &Change,
) -> Result<Entry, Why> {
    // An earlier session got here first.
    if row.is_noop() {
        return Ok(Entry::default());
    }
    match row.class {
        // The sender judges these by its refspecs, and plain git would take them: the expected old value is the guard.
        Class::Exempt => return Ok(Entry::default()),
        Class::Ignored if row.new.is_some() => return Ok(Entry::default()),
        Class::Ignored => return Err(Why::UntrackedDeletion),
        Class::Excluded | Class::Checked => {}
    }
    if *change == Change::Goes {
        return Ok(Entry::default());
    }
    let entry = if row.is_tracked() { readable(seen)? } else { Entry::default() };
    match (entry.value, row.new) {
        (GlobalRef::Untracked, None) => Err(Why::UntrackedDeletion),
        (GlobalRef::Untracked, Some(_)) if row.is_tracked() => client(row, seen, change),
        (GlobalRef::Untracked, Some(_)) if is_patch_set(&row.name) && row.old.is_some() => Err(Why::PatchSet),
        (GlobalRef::Untracked, Some(_)) if accounted.contained => Ok(entry),
        (GlobalRef::Untracked, Some(_)) => Err(Why::Diverged),
        (global, new) if global.oid() != new => Err(Why::NotGlobal(global)),
        _ if accounted.contained || accounted.superseded => Ok(entry),
        _ => Err(Why::Diverged),
    }
}

/// Why a local value may be overwritten.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Overwrites {
    /// It is absent, or contained in what replaces it.
    pub contained: bool,
    /// It was once global, or is contained in what was, and this site takes that for granted.
    pub superseded: bool,
}

/// Whether a pushed value is in the ref-db, or was, and was followed by another: then the push has succeeded.
pub(super) fn is_accepted(new: Option<Oid>, entry: &Entry, contained_in_global: bool) -> bool {
    match (new, entry.value) {
        (None, value) => value == GlobalRef::Deleted,
        (Some(new), value) => {
            value == GlobalRef::At(new) || contained_in_global || entry.superseded.contains(&new)
        }
    }
}

fn readable(seen: &Lookup) -> Result<Entry, Why> {
    match seen {
        Lookup::Entry(entry) => Ok(entry.clone()),
        Lookup::Locked => Err(Why::Locked),
        Lookup::Text(_) => Err(Why::Unreadable("it is a text, not an object id".into())),
        Lookup::Unreadable(why) => Err(Why::Unreadable(why.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_core::RefName;

    fn oid(digit: u8) -> Oid {
        Oid::from_hex(&[digit; 40]).unwrap()
    }

    fn row(name: &str, old: Option<u8>, new: Option<u8>, class: Class) -> Row {
        let name = RefName::new(name).unwrap();
        let (old, new) = (old.map(oid), new.map(oid));
        let (entry, fast_forward) = (Entry::default(), false);
        Row { name, old, new, class, group: None, added: false, fast_forward, entry, refused: None }
    }

    fn seen(value: GlobalRef) -> Lookup {
        Lookup::Entry(Entry::new(value))
    }

    const A: Option<u8> = Some(b'a');
    const B: Option<u8> = Some(b'b');

    fn at(digit: Option<u8>) -> GlobalRef {
        digit.map_or(GlobalRef::Deleted, |d| GlobalRef::At(oid(d)))
    }

    #[test]
    fn a_client_moves_what_is_as_the_ref_db_has_it() {
        let judge = |old, new, lookup: &Lookup| {
            client(&row("refs/heads/x", old, new, Class::Checked), lookup, &Change::Lives)
        };
        assert!(judge(A, B, &seen(at(A))).is_ok());
        assert!(judge(None, B, &seen(GlobalRef::Untracked)).is_ok());
        assert!(judge(None, B, &seen(GlobalRef::Deleted)).is_ok());
        assert_eq!(judge(A, B, &seen(GlobalRef::Untracked)), Err(Why::Untracked));
        assert_eq!(judge(A, None, &seen(GlobalRef::Untracked)), Err(Why::Untracked));
        for (old, global) in [(A, at(B)), (None, at(B)), (A, GlobalRef::Deleted)] {
            assert!(matches!(judge(old, B, &seen(global)), Err(Why::Behind { .. })));
        }
        assert_eq!(judge(A, B, &Lookup::Locked), Err(Why::Locked));
        assert!(matches!(judge(A, B, &Lookup::Text("12".into())), Err(Why::Unreadable(_))));
        for class in [Class::Ignored, Class::Excluded, Class::Exempt] {
            assert!(
                client(&row("refs/heads/x", A, B, class), &Lookup::Locked, &Change::Lives).is_ok(),
                "{class:?}"
            );
        }
    }

    #[test]
    fn replication_sets_what_the_ref_db_has_over_what_is_accounted_for() {
        let (no, contained) = (Overwrites::default(), Overwrites { contained: true, superseded: false });
        let superseded = Overwrites { contained: false, superseded: true };
        let judge = |old, new, lookup: &Lookup, over| {
            replication(&row("refs/heads/x", old, new, Class::Checked), lookup, over, &Change::Lives)
        };
        assert!(judge(A, B, &seen(at(B)), contained).is_ok());
        assert!(judge(A, B, &seen(at(B)), superseded).is_ok());
        assert_eq!(judge(A, B, &seen(at(B)), no), Err(Why::Diverged));
        assert_eq!(judge(A, B, &seen(at(A)), contained), Err(Why::NotGlobal(at(A))), "a forged mark");
        assert_eq!(judge(A, None, &seen(at(A)), contained), Err(Why::NotGlobal(at(A))));
        assert_eq!(
            judge(A, B, &seen(GlobalRef::Deleted), contained),
            Err(Why::NotGlobal(GlobalRef::Deleted))
        );
        assert!(judge(A, None, &seen(GlobalRef::Deleted), superseded).is_ok());
        assert_eq!(judge(A, None, &seen(GlobalRef::Deleted), no), Err(Why::Diverged));
        let untracked = seen(GlobalRef::Untracked);
        assert!(judge(None, B, &untracked, contained).is_ok());
        assert_eq!(judge(A, B, &untracked, contained), Err(Why::Untracked), "it is to be seeded");
        assert_eq!(judge(A, None, &untracked, contained), Err(Why::UntrackedDeletion));
        assert!(judge(A, A, &Lookup::Locked, no).is_ok());
        assert_eq!(judge(A, B, &Lookup::Locked, contained), Err(Why::Locked));

        let other = |name, old, new, class| {
            replication(&row(name, old, new, class), &untracked, contained, &Change::Lives)
        };
        assert!(other("refs/changes/12/4512/1", None, B, Class::Excluded).is_ok());
        assert_eq!(other("refs/changes/12/4512/1", A, B, Class::Excluded), Err(Why::PatchSet));
        assert!(other("refs/heads/i", A, B, Class::Ignored).is_ok());
        assert_eq!(other("refs/heads/i", A, None, Class::Ignored), Err(Why::UntrackedDeletion));
    }

    #[test]
    fn a_write_that_was_overtaken_has_succeeded() {
        let entry = |value, superseded: &[u8]| Entry {
            value,
            superseded: superseded.iter().map(|d| oid(*d)).collect(),
        };
        assert!(is_accepted(A.map(oid), &entry(at(A), &[]), false));
        assert!(is_accepted(A.map(oid), &entry(at(B), b"a"), false));
        assert!(is_accepted(A.map(oid), &entry(at(B), &[]), true));
        assert!(!is_accepted(A.map(oid), &entry(at(B), &[]), false));
        assert!(is_accepted(None, &entry(GlobalRef::Deleted, &[]), false));
        assert!(!is_accepted(None, &entry(at(B), &[]), false));
    }
}
