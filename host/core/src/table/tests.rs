//! Every row of both tables, as data.

use super::*;

/// `direction class attempt flags | G | L | R | accounted -> verdict`; `-` is absent, `?` unknown, `0` deleted, `none`
/// untracked. Flags: `+` forced, `!` forced beyond `refs/*`, `d` deletion, `a` local ahead, `e` extends global, `t` a tag,
/// `m` the `/meta` of its change is recorded as deleted, `u` cannot be read.
const ROWS: &str = "
push  checked 0 +   | a      | b | b | unasked    -> already-up-to-date
push  checked 0 +   | none   | a | - | absent     -> keep
push  checked 0 +   | none   | a | b | ancestor   -> keep
push  checked 0 +   | none   | a | b | unasked    -> ask
push  checked 0 +   | none   | a | b | no         -> remote-diverged
push  checked 0     | none   | a | b | no         -> non-fast-forward
push  checked 0     | none   | a | b | ancestor   -> keep
push  checked 0 +d  | none   | - | b | unasked    -> untracked-deletion
push  checked 0 +   | a      | a | b | ancestor   -> keep
push  checked 0 +   | a      | a | b | superseded -> keep
push  checked 0     | a      | a | b | superseded -> non-fast-forward
push  checked 0 +   | a      | a | b | ungated    -> remote-diverged
push  checked 0 +   | a      | a | b | no         -> remote-diverged
push  checked 0 +   | a      | a | b | unreadable -> repository-unreadable
push  checked 0 +   | a      | b | c | unasked    -> recheck not-up-to-date
push  checked 1 +   | a      | b | c | unasked    -> not-up-to-date
push  checked 0 +d  | a      | - | c | unasked    -> recheck not-up-to-date
push  checked 0 +d  | 0      | - | c | superseded -> keep
push  checked 0  d  | 0      | - | c | superseded -> keep
push  checked 0 +d  | 0      | - | c | no         -> remote-diverged
push  checked 0 +d  | 0      | - | c | ungated    -> remote-diverged
push  checked 0 +   | 0      | a | c | unasked    -> recheck not-up-to-date
push  checked 1 +   | 0      | a | c | unasked    -> not-up-to-date
push  checked 1 +d  | 0      | a | c | superseded -> not-up-to-date
push  checked 1 +   | 0      | - | c | superseded -> local-ref-missing
push  checked 1 +   | none   | - | - | absent     -> local-ref-missing
push  checked 1 +   | locked | - | b | absent     -> local-ref-missing
push  checked 1 +   | error  | - | b | absent     -> local-ref-missing
push  checked 1 +d  | a      | a | b | ancestor   -> not-up-to-date
push  checked 1 +d  | a      | a | a | ancestor   -> not-up-to-date
push  checked 1 +d  | none   | a | b | ancestor   -> not-up-to-date
push  checked 1 +d  | locked | a | b | ancestor   -> not-up-to-date
push  exempt  1 +   | error  | - | b | no         -> local-ref-missing
push  exempt  1 +d  | error  | a | b | no         -> not-up-to-date
push  checked 0 +   | locked | a | b | ancestor   -> locked
push  checked 0 +   | error  | a | b | ancestor   -> refdb-unavailable
push  exempt  0 +   | error  | a | b | no         -> keep
push  ignored 0 +   | error  | a | b | no         -> remote-diverged
push  ignored 0 !   | error  | a | b | no         -> keep
push  ignored 0     | error  | a | b | no         -> non-fast-forward
push  ignored 0 !d  | error  | - | b | no         -> untracked-deletion
push  excluded 0 +  | error  | a | b | no         -> remote-diverged
push  excluded 0 !  | error  | a | b | no         -> remote-diverged
push  excluded 0 +  | error  | a | - | absent     -> keep
push  excluded 0 +m | none   | a | - | absent     -> deleted-globally
push  excluded 0 +m | none   | a | b | unasked    -> deleted-globally
push  excluded 1 +m | none   | a | - | absent     -> deleted-globally
push  excluded 0 +dm | none  | - | b | unasked    -> ask
push  excluded 0  dm | none  | - | b | superseded -> keep
push  excluded 1 +dm | none  | - | b | superseded -> keep
push  excluded 0 +dm | none  | - | b | ungated    -> remote-diverged
push  excluded 0 +dm | none  | - | - | absent     -> already-up-to-date
push  excluded 0 +d | none   | - | b | superseded -> untracked-deletion
push  excluded 0 +u | none   | a | - | absent     -> keep
push  checked  0 +m | a      | a | - | absent     -> deleted-globally
push  checked  0 +dm | a     | - | a | superseded -> keep
push  checked  0 +dm | error | - | a | superseded -> keep
push  ignored  0 +m | none   | a | - | absent     -> keep
push  checked 0 +t  | none   | a | b | ancestor   -> keep
push  checked 0  t  | none   | a | b | ancestor   -> non-fast-forward
push  checked 0  t  | none   | a | b | unasked    -> non-fast-forward
push  checked 0  t  | none   | a | - | absent     -> keep
push  checked 0  t  | a      | a | b | ancestor   -> non-fast-forward
push  checked 0 +t  | a      | a | b | ancestor   -> keep
push  checked 0  td | 0      | - | b | superseded -> keep
push  ignored 0  t  | none   | a | b | ancestor   -> non-fast-forward
push  ignored 0 !t  | none   | a | b | no         -> keep
fetch excluded 0 +m | none   | - | a | absent     -> deleted-globally
fetch excluded 0 +m | none   | b | a | ancestor   -> deleted-globally
fetch excluded 0 +m | none   | - | ? | absent     -> deleted-globally
fetch excluded 0 +dm | none  | a | - | unasked    -> ask
fetch excluded 0 +dm | none  | a | - | superseded -> keep
fetch excluded 0 +dm | none  | a | - | ungated    -> local-diverged
fetch excluded 0 +m | none   | a | a | unasked    -> already-up-to-date
fetch checked  0 +m | a      | - | a | absent     -> deleted-globally
fetch checked  0 +dm | a     | a | - | superseded -> keep
fetch checked 0  t  | none   | b | a | ancestor   -> non-fast-forward
fetch checked 0 +t  | none   | b | a | ancestor   -> keep
fetch checked 0  t  | none   | - | a | absent     -> keep
fetch checked 0  t  | a      | b | a | ancestor   -> recheck non-fast-forward
fetch checked 0  ta | none   | a | b | no         -> already-up-to-date
fetch checked 0 +   | a      | b | b | unasked    -> already-up-to-date
fetch checked 0 +   | none   | - | b | absent     -> keep
fetch checked 0 +   | none   | a | b | ancestor   -> keep
fetch checked 0 +   | none   | a | b | no         -> local-diverged
fetch checked 0     | none   | a | b | no         -> non-fast-forward
fetch checked 0 +a  | none   | a | b | no         -> already-up-to-date
fetch checked 0 +d  | none   | a | - | unasked    -> untracked-deletion
fetch checked 0 +   | a      | a | b | unasked    -> already-up-to-date
fetch checked 0 +d  | a      | a | - | unasked    -> already-up-to-date
fetch checked 0 +   | a      | b | a | ancestor   -> keep
fetch checked 0 +   | a      | - | a | absent     -> keep
fetch checked 0 +   | a      | b | a | superseded -> keep
fetch checked 0 +   | a      | b | a | no         -> recheck local-diverged
fetch checked 0 +   | a      | b | a | ungated    -> recheck local-diverged
fetch checked 1 +   | a      | b | a | no         -> local-diverged
fetch checked 1     | a      | b | a | superseded -> non-fast-forward
fetch checked 0 +   | a      | b | c | unasked    -> recheck not-up-to-date
fetch checked 1 +   | a      | b | c | unasked    -> not-up-to-date
fetch checked 0 +d  | a      | b | - | unasked    -> recheck not-up-to-date
fetch checked 1 +d  | 0      | b | c | superseded -> not-up-to-date
fetch checked 1 +   | 0      | b | - | superseded -> not-up-to-date
fetch checked 1 +   | 0      | - | - | absent     -> not-up-to-date
fetch checked 1 +   | a      | a | - | unasked    -> not-up-to-date
fetch checked 1 +   | locked | b | - | unasked    -> not-up-to-date
fetch checked 1 +d  | none   | b | c | ancestor   -> not-up-to-date
fetch checked 1 +d  | locked | b | c | ancestor   -> not-up-to-date
fetch exempt  1 +   | error  | b | - | no         -> not-up-to-date
fetch checked 0 +   | 0      | b | c | unasked    -> deleted-globally
fetch checked 0 +   | 0      | - | c | absent     -> deleted-globally
fetch checked 0 +d  | 0      | b | - | superseded -> keep
fetch checked 0 +d  | 0      | b | - | no         -> local-diverged
fetch checked 0 +   | locked | b | c | ancestor   -> locked
fetch checked 0 +   | error  | b | c | ancestor   -> refdb-unavailable
fetch checked 0 +e  | a      | a | b | ancestor   -> keep
fetch checked 0 +e  | a      | c | b | ancestor   -> keep
fetch checked 0 +e  | a      | c | b | no         -> recheck local-diverged
fetch checked 0 +   | a      | a | ? | unasked    -> already-up-to-date
fetch checked 0 +   | a      | b | ? | unasked    -> recheck not-up-to-date
fetch checked 1 +   | a      | b | ? | ancestor   -> keep
fetch checked 1 +   | a      | b | ? | no         -> local-diverged
fetch checked 0 +   | none   | b | ? | ancestor   -> keep
fetch checked 0 +   | none   | - | ? | absent     -> keep
fetch checked 0 +   | 0      | b | ? | unasked    -> deleted-globally
fetch exempt  0 +   | error  | b | c | no         -> keep
fetch ignored 0 +   | error  | b | c | no         -> local-diverged
fetch ignored 0 !   | error  | b | c | no         -> keep
fetch ignored 0 !d  | error  | b | - | no         -> untracked-deletion
fetch excluded 0 +  | error  | b | c | no         -> local-diverged
";

fn oid(text: &str) -> Option<Oid> {
    match text {
        "-" => None,
        digit => Some(Oid::from_hex(digit.repeat(40).as_bytes()).unwrap()),
    }
}

fn row(line: &str) -> (Row, &str) {
    let (left, verdict) = line.split_once("->").unwrap();
    let parts: Vec<&str> = left.split('|').map(str::trim).collect();
    let head: Vec<&str> = parts[0].split_whitespace().collect();
    let flags = head.get(3).copied().unwrap_or_default();
    let row = Row {
        direction: if head[0] == "push" { Direction::Push } else { Direction::Fetch },
        class: match head[1] {
            "exempt" => Class::Exempt,
            "ignored" => Class::Ignored,
            "excluded" => Class::Excluded,
            _ => Class::Checked,
        },
        attempt: head[2].parse().unwrap(),
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
            value => Seen::Value(GlobalRef::at_or_deleted(oid(value))),
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
    (row, verdict.trim())
}

#[test]
fn every_row() {
    let mut rows = 0;
    for line in ROWS.lines().filter(|l| !l.is_empty()) {
        let (row, expected) = row(line);
        let said = match row.judge() {
            Judgement::Ask => "ask".to_owned(),
            Judgement::Keep => "keep".to_owned(),
            Judgement::Discard(reason) => reason.to_string(),
            Judgement::Recheck(reason) => format!("recheck {reason}"),
        };
        assert_eq!(said, expected, "{line}");
        rows += 1;
    }
    assert!(rows > 75, "{rows} rows were read");
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
