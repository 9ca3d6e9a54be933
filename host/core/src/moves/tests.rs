//! The rules about changes, as data.

use super::{Held, Moves, RefUpdate, State};
use crate::table::RemoteValue;
use crate::{Class, Direction, Oid, Reason, RefName};

/// `rule | refs before | refs after`. A ref is `CHANGE/PART=STATE`, with `-` behind it when it is a deletion and `!` when a rule
/// IGNOREs it; `main` is a branch. States: `open`, `stale` (held back as not up to date), `same` (nothing to do),
/// `refused`, `unknown`, `done`, or the reason for which it is held back.
const CASES: &str = "
hold   | a/1=stale a/2=open a/meta=open b/1=open     | a/1=stale a/2=outdated-meta a/meta=group-incomplete b/1=open
hold   | a/meta=stale a/1=open a/robots=open main=open | a/meta=stale a/1=outdated-meta a/robots=outdated-meta main=open
hold   | a/robots=stale a/1=open a/meta=open         | a/robots=stale a/1=open a/meta=open
hold   | a/1=same a/meta=open                        | a/1=same a/meta=open
hold   | a/meta=same a/1=open                        | a/meta=same a/1=open
hold   | a/1=stale a/meta=stale a/2=stale            | a/1=stale a/meta=stale a/2=stale
hold   | a/1=stale! a/meta=open                      | a/1=stale a/meta=open
hold   | a/1=stale a/meta=open!                      | a/1=stale a/meta=open
hold   | a/1=stale b/meta=open a/meta=open b/2=open  | a/1=stale b/meta=open a/meta=group-incomplete b/2=open
first  | a/meta=open main=open a/1=open b/meta=open  | main a/1 b/meta
first  | a/meta=open a/1=done                        | a/meta
first  | a/meta=open a/1=refused                     |
first  | a/meta=open a/robots=open                   | a/robots
first  | a/1=open- a/meta=open- b/1=open- main=open- | b/1 main
second | a/meta=open a/1=done b/meta=open b/1=refused c/meta=open c/1=unknown | a/meta
second | a/meta=open- a/1=open-                      |
after  | a/meta=open a/1=done b/meta=open b/1=refused c/meta=open c/1=unknown | a/meta=open a/1=done b/meta=group-incomplete b/1=refused c/meta=group-incomplete c/1=unknown
doomed | a/1=open- a/meta=open- b/meta=open- c/1=open- main=open- d/meta=open- d/1=open | a/meta+1
doomed | a/1=open- b/meta=open- a/meta=open- b/2=open- b/robots=open- | a/meta+1 b/meta+2
doomed | a/1=refused- a/meta=open- a/2=open-         |
spoilt | a/1=refused- a/meta=open- a/2=open-         | a/1=refused a/meta=group-incomplete a/2=outdated-meta
spoilt | a/1=open- a/meta=refused-                   | a/1=outdated-meta a/meta=refused
spoilt | a/1=stale- a/meta=open-                     | a/1=stale a/meta=open
parts1 | a/1=open main=open a/meta=open b/1=done c/2=open | a/1,a/meta main c/2
parts2 | a/1=open main=open a/meta=open b/1=open c/2=open | a/1,a/meta main,b/1 c/2
parts3 | a/1=open main=open a/meta=open              | a/1,a/meta,main
large1 | a/1=open main=open a/meta=open b/1=done b/2=open | a/1 a/meta
spread | a/1=refused a/2=open b/1=open a/meta=stale  | a/1=refused a/2=refused b/1=open a/meta=stale
spread | a/1=open a/2=unknown a/3=refused            | a/1=unknown a/2=unknown a/3=refused
";

fn name(text: &str) -> RefName {
    let full = match text.split_once('/') {
        Some((change, part)) => {
            let number = change.as_bytes()[0];
            format!("refs/changes/{number:02}/{number}/{part}")
        }
        None => format!("refs/heads/{text}"),
    };
    RefName::new(full).unwrap()
}

fn state(text: &str) -> State {
    let held = |reason| State::Held(Held::by_host(reason).into());
    match text {
        "open" => State::Open,
        "stale" => held(Reason::NotUpToDate),
        "same" => held(Reason::AlreadyUpToDate),
        "refused" => State::refused("no"),
        "unknown" => State::unknown("no"),
        "done" => State::Done,
        other => held(Reason::from_name(other)),
    }
}

/// The list, and the names as the case writes them.
fn list(text: &str) -> (Moves, Vec<&str>) {
    let oid = Oid::from_hex(&[b'a'; 40]).ok();
    let mut moves = Moves::new(Direction::Push);
    let (mut texts, mut ignored) = (Vec::new(), Vec::new());
    for (at, one) in text.split_whitespace().enumerate() {
        let (text, said) = one.split_once('=').unwrap();
        let local = if said.contains('-') && said.ends_with('-') { None } else { oid };
        if said.ends_with('!') {
            ignored.push(name(text));
        }
        moves.add(RefUpdate::new(name(text), local, RemoteValue::Known(None)));
        moves.set(at, state(said.trim_end_matches(['-', '!'])));
        texts.push(text);
    }
    moves.classify(|name| if ignored.contains(name) { Class::Ignored } else { Class::Checked });
    (moves, texts)
}

fn shown(moves: &Moves, texts: &[&str]) -> String {
    let word = |state: &State| match state {
        State::Open => "open".to_owned(),
        State::Held(held) => match held.reason {
            Reason::NotUpToDate => "stale".into(),
            Reason::AlreadyUpToDate => "same".into(),
            ref other => other.to_string(),
        },
        State::Refused(_) => "refused".into(),
        State::Unknown(_) => "unknown".into(),
        State::Done => "done".into(),
    };
    let one = |(text, one): (&&str, super::Move<'_>)| format!("{text}={}", word(one.state()));
    texts.iter().zip(moves.iter()).map(one).collect::<Vec<_>>().join(" ")
}

fn run(rule: &str, before: &str) -> String {
    let (mut moves, texts) = list(before);
    let names = |rows: Vec<usize>| rows.into_iter().map(|at| texts[at]).collect::<Vec<_>>();
    let size = || rule[5..].parse().unwrap();
    match &rule[..5] {
        "hold" | "hold " => {
            moves.hold_incomplete();
            shown(&moves, &texts)
        }
        "first" => {
            moves.doomed();
            names(moves.first_round()).join(" ")
        }
        "secon" => {
            moves.doomed();
            names(moves.second_round()).join(" ")
        }
        "after" => {
            moves.second_round();
            shown(&moves, &texts)
        }
        "doome" => {
            let one = |change: &super::Doomed| format!("{}+{}", texts[change.meta], change.others.len());
            moves.doomed().iter().map(one).collect::<Vec<_>>().join(" ")
        }
        "spoil" => {
            moves.doomed();
            shown(&moves, &texts)
        }
        "parts" => {
            let parts = moves.parts(size()).into_iter().map(|part| names(part).join(","));
            parts.collect::<Vec<_>>().join(" ")
        }
        "large" => names(moves.larger_than(size())).join(" "),
        "sprea" => {
            moves.spread(
                |_, state| match state {
                    State::Unknown(_) => Some((1, state.clone())),
                    State::Refused(_) => Some((0, state.clone())),
                    _ => None,
                },
                |state, _| state.is_open(),
            );
            shown(&moves, &texts)
        }
        other => panic!("no rule {other}"),
    }
}

#[test]
fn every_case_of_the_rules_about_changes() {
    let mut count = 0;
    for line in CASES.lines().filter(|line| !line.is_empty()) {
        let mut parts = line.split('|').map(str::trim);
        let (rule, before, after) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let padded = format!("{rule:5}");
        assert_eq!(run(&padded, before), after.split_whitespace().collect::<Vec<_>>().join(" "), "{line}");
        count += 1;
    }
    assert!(count > 25, "{count} cases were read");
}

#[test]
fn a_list_of_many_rows_takes_few_allocations_for_its_reasons() {
    let mut moves: Moves = Moves::new(Direction::Push);
    for i in 0..1000 {
        let name = RefName::new(format!("refs/heads/{i}")).unwrap();
        moves.add(RefUpdate::new(name, None, RemoteValue::Known(None)));
        moves.hold(i, Held::by_host(Reason::NotUpToDate));
    }
    let places: std::collections::BTreeSet<*const Held> =
        moves.iter().filter_map(|one| one.held().map(std::ptr::from_ref)).collect();
    assert_eq!(places.len(), 1);
}

#[test]
fn sorted_is_in_the_order_of_the_names_and_keeps_everything_else() {
    let (moves, _) = list("b/meta=open a/1=stale main=refused- b/1=done a/meta=open");
    let before: Vec<String> = moves.iter().map(|one| format!("{} {:?}", one.name(), one.state())).collect();
    let sorted = moves.sorted();
    let mut after: Vec<String> =
        sorted.iter().map(|one| format!("{} {:?}", one.name(), one.state())).collect();
    assert!(sorted.names().is_sorted());
    assert_eq!(sorted.get(0).group(), sorted.get(1).group());
    let mut before = before;
    before.sort();
    after.sort();
    assert_eq!(before, after);
}

#[test]
fn refs_of_a_change_have_one_number_wherever_they_stand() {
    let (moves, _) = list("a/1=open main=open b/1=open a/2=open b/meta=open a/meta=open");
    let groups: Vec<u32> = moves.iter().map(|one| one.group()).collect();
    assert_eq!((groups[0], groups[3]), (groups[5], groups[5]));
    assert_eq!(groups[2], groups[4]);
    assert!(groups[0] != groups[2] && groups[1] != groups[0] && groups[1] != groups[2]);
    let mut whole = moves.clone();
    whole.join();
    assert!(whole.iter().all(|one| one.group() == 0));
}
