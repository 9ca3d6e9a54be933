//! The rows of the decision tables as the shipped filters see them, for their tests.

use refgate_guest::state;

/// The one file of all rows, and of states that no row has.
const TABLE: &str = include_str!("../tests/cases/table.txt");

macro_rules! bits {
    ($($name:ident)+) => { [$((stringify!($name), state::$name)),+] };
}

const BITS: [(&str, u32); 18] = bits! {
    MAY_GO NO_LOCAL UNTRACKED REFDB_UNAVAILABLE DELETION FORCED CHANGE_META EXEMPT DELETED REMOTE_KNOWN REMOTE_AT_GLOBAL
    NOT_ACCOUNTED RECHECK_HELPS NOTHING_TO_DO LOCKED IGNORED NOT_FAST_FORWARD NOT_UP_TO_DATE
};

/// What a filter is to say about a ref in `state` in pass `attempt`: `recheck`, a reason, or nothing.
#[derive(Debug)]
pub struct Row {
    pub state: u32,
    pub attempt: u32,
    pub says: Option<&'static str>,
}

/// All of `direction`: `push` or `fetch`.
pub fn rows(direction: &str) -> Vec<Row> {
    let (mut rows, mut part) = (Vec::new(), "");
    for line in TABLE.lines() {
        if line.starts_with('[') {
            part = line.trim_matches(['[', ']']);
        } else if let Some((left, verdict)) = line.split_once("-> ").filter(|_| line.starts_with("    ")) {
            let fields: Vec<&str> = left.split('|').map(str::trim).collect();
            let state = word(fields[fields.len() - 1]);
            if part == direction {
                let attempt = fields[0].split_whitespace().nth(1).and_then(|pass| pass.parse().ok()).unwrap();
                // A history that nobody has asked about yet is never handed to a filter.
                if verdict != "ask" {
                    rows.push(Row { state, attempt, says: says(verdict) });
                }
            } else if part.strip_suffix(" states") == Some(direction) {
                let (first, second) = verdict.split_once(", ").unwrap();
                rows.push(Row { state, attempt: 0, says: says(first) });
                rows.push(Row { state, attempt: 1, says: says(second) });
            }
        }
    }
    assert!(rows.len() > 100, "{} rows were read", rows.len());
    rows
}

fn word(bits: &str) -> u32 {
    let bit = |name| BITS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}")).1;
    bits.split_whitespace().map(bit).sum()
}

/// A ref that goes is left unnamed, and so is one whose state names no cause: its history could not be read.
fn says(verdict: &'static str) -> Option<&'static str> {
    match verdict {
        "keep" | "-" | "repository-unreadable" => None,
        recheck if recheck.starts_with("recheck") => Some("recheck"),
        reason => Some(reason),
    }
}
