//! Every row of both tables, from the file that the documents and the case files have them from too.

use super::*;
use crate::batch::state;

/// Direction by direction, the rows with the sentences above them; the file says what its lines mean.
const TABLE: &str = include_str!("../../../../tests/cases/table.txt");

fn oid(text: &str) -> Option<Oid> {
    match text {
        "-" => None,
        digit => Some(Oid::from_hex(digit.repeat(40).as_bytes()).unwrap()),
    }
}

/// What a row of the file knows, its state, and what follows.
fn row(direction: Direction, line: &str) -> (Row, &str, &str) {
    let (left, verdict) = line.split_once("->").unwrap();
    let parts: Vec<&str> = left.split('|').map(str::trim).collect();
    let head: Vec<&str> = parts[0].split_whitespace().collect();
    let flags = head.get(2).copied().unwrap_or_default();
    let row = Row {
        direction,
        class: match head[0] {
            "exempt" => Class::Exempt,
            "ignored" => Class::Ignored,
            "excluded" => Class::Excluded,
            "checked" => Class::Checked,
            other => panic!("{other}"),
        },
        attempt: head[1].parse().unwrap(),
        deletion: flags.contains('d'),
        forced: flags.contains(['+', '!']),
        force_ignored: flags.contains('!'),
        tag: flags.contains('t'),
        meta: match flags {
            _ if flags.contains('m') => Some(Seen::Value(GlobalRef::Deleted)),
            _ if flags.contains('u') => Some(Seen::Unavailable),
            _ => None,
        },
        global: match parts[1] {
            "none" => Seen::Value(GlobalRef::Untracked),
            "0" => Seen::Value(GlobalRef::Deleted),
            "locked" => Seen::Locked,
            "error" => Seen::Unavailable,
            value => Seen::Value(GlobalRef::At(oid(value).unwrap())),
        },
        local: oid(parts[2]),
        remote: if parts[3] == "?" { RemoteValue::Unknown } else { RemoteValue::Known(oid(parts[3])) },
        accounted: match parts[4] {
            "unasked" => Accounted::Unasked,
            "absent" => Accounted::Absent,
            "ancestor" => Accounted::Ancestor,
            "superseded" => Accounted::Superseded,
            "ungated" => Accounted::SupersededUngated,
            "unreadable" => Accounted::Unreadable,
            "no" => Accounted::No,
            other => panic!("{other}"),
        },
        ahead: flags.contains('a'),
        extends_global: flags.contains('e'),
    };
    (row, parts[5], verdict.trim())
}

#[test]
fn every_row() {
    let (mut rows, mut direction) = (0, Direction::Push);
    // The line of the documents' table that the rows belong to; exceptions belong to none.
    let mut cells: Option<&str> = None;
    for line in TABLE.lines().filter(|l| !l.starts_with('#')) {
        match line.as_bytes().first() {
            Some(b'[') if line.ends_with(" states]") => break,
            Some(b'[') => direction = if line == "[push]" { Direction::Push } else { Direction::Fetch },
            Some(b'|') => cells = Some(line),
            Some(b'*') => cells = None,
            Some(b' ') => {
                let (row, state, expected) = row(direction, line);
                let judgement = row.judge();
                let said = match &judgement {
                    Judgement::Ask => "ask".to_owned(),
                    Judgement::Keep => "keep".to_owned(),
                    Judgement::Discard(reason) => reason.to_string(),
                    Judgement::Recheck(reason) => format!("recheck {reason}"),
                };
                assert_eq!(said, expected, "{line}");
                let word = row.state(&judgement, row.local, false);
                let bits = (0..).zip(state::NAMES).filter(|(n, _)| word & (1 << n) != 0);
                let bits: Vec<&str> = bits.map(|(_, name)| name).collect();
                assert_eq!(bits.join(" "), state, "{line}");
                if let Some(cells) = cells {
                    follows(cells, &judgement);
                }
                rows += 1;
            }
            _ => {}
        }
    }
    assert!(rows > 180, "{rows} rows were read");
}

/// Looks that the line of the documents' table says what its row says.
fn follows(cells: &str, judgement: &Judgement) {
    let verdict = cells.trim_end_matches(" |").rsplit(" | ").next().unwrap();
    let said = match judgement {
        Judgement::Ask => return,
        Judgement::Keep => "keep".to_owned(),
        // On push nobody offers it.
        Judgement::Discard(Reason::AlreadyUpToDate) if verdict.starts_with("nothing to do") => return,
        Judgement::Discard(reason) | Judgement::Recheck(reason) => format!("`{reason}`"),
    };
    assert!(verdict.contains(&said), "{cells}: {said}");
    let rechecks = matches!(judgement, Judgement::Recheck(_));
    assert!(!rechecks || verdict.contains("recheck"), "{cells}: {said} after a recheck");
}

#[test]
fn nothing_that_is_not_accounted_for_is_ever_overwritten() {
    // All combinations: a kept row that is checked and not forced beyond `refs/*` has an accounted test that passed.
    let values = [oid("-"), oid("a"), oid("b"), oid("c")];
    let globals = [GlobalRef::Untracked, GlobalRef::Deleted, GlobalRef::At(oid("a").unwrap())];
    let mut kept = 0;
    for direction in [Direction::Push, Direction::Fetch] {
        for (local, remote) in values.iter().flat_map(|l| values.iter().map(move |r| (*l, *r))) {
            for (global, attempt) in globals.iter().flat_map(|g| [(*g, 0), (*g, 1)]) {
                for accounted in
                    [Accounted::No, Accounted::SupersededUngated, Accounted::Unreadable, Accounted::Unasked]
                {
                    for bits in 0..16 {
                        let row = Row {
                            direction,
                            class: Class::Checked,
                            attempt,
                            deletion: bits & 1 != 0,
                            forced: true,
                            force_ignored: bits & 2 != 0,
                            tag: bits & 8 != 0,
                            meta: None,
                            global: Seen::Value(global),
                            local,
                            remote: RemoteValue::Known(remote),
                            accounted,
                            ahead: bits & 4 != 0,
                            extends_global: false,
                        };
                        assert_ne!(row.judge(), Judgement::Keep, "{row:?}");
                    }
                }
                let row = Row {
                    direction,
                    class: Class::Checked,
                    attempt,
                    deletion: false,
                    forced: true,
                    force_ignored: false,
                    tag: false,
                    meta: None,
                    global: Seen::Value(global),
                    local,
                    remote: RemoteValue::Known(remote),
                    accounted: Accounted::Ancestor,
                    ahead: false,
                    extends_global: false,
                };
                if row.judge() == Judgement::Keep {
                    kept += 1;
                    // What is kept is what the ref-db holds, or the ref-db holds nothing.
                    let sent = row.replacement();
                    assert!(
                        global == GlobalRef::Untracked || global == GlobalRef::at_or_deleted(sent),
                        "{row:?}"
                    );
                }
            }
        }
    }
    assert!(kept > 10, "{kept}");
}
