//! All states of refs, as far as a table can tell two of them apart.

use std::collections::HashMap;

use refgate_core::{Direction, RefName};

use crate::world::{G, History, L, Ref, State};

const GLOBALS: [G; 6] = [G::Untracked, G::Deleted, G::At('a'), G::At('b'), G::Locked, G::Unreadable];
const LOCALS: [L; 4] = [L::Absent, L::At('a'), L::At('b'), L::Damaged];
const HISTORIES: [History; 3] = [History::Apart, History::Forward, History::Backward];
/// Without `+`, with it, and with it beyond `refs/*`.
const PLUS: [(bool, bool); 3] = [(false, false), (true, false), (true, true)];

fn name(text: String) -> RefName {
    RefName::new(text).unwrap()
}

fn pairs() -> impl Iterator<Item = (G, L)> + Clone {
    GLOBALS.into_iter().flat_map(|global| LOCALS.map(|local| (global, local)))
}

/// One ref that stands for itself, with all values on both sides, at both looks.
pub fn single(direction: Direction) -> Vec<State> {
    let offers: Vec<(Option<char>, Option<Option<char>>)> = match direction {
        Direction::Push => {
            let remotes = [None, Some(None), Some(Some('a')), Some(Some('b')), Some(Some('c'))];
            remotes.into_iter().flat_map(|remote| [(None, remote), (Some('a'), remote)]).collect()
        }
        Direction::Fetch => [None, Some(None), Some(Some('a')), Some(Some('b'))].map(|r| (None, r)).to_vec(),
    };
    let mut all = Vec::new();
    for (offered, remote) in offers {
        for (global, local) in pairs() {
            let first = State {
                offered,
                remote,
                remote_after: remote.flatten(),
                local: [local; 2],
                global: [global; 2],
                superseded: false,
                history: History::Apart,
                forced: false,
                force_ignored: false,
                meta_there: None,
            };
            for state in reloads(direction, first) {
                for (forced, force_ignored) in PLUS {
                    for (superseded, history) in HISTORIES.into_iter().flat_map(|h| [(false, h), (true, h)]) {
                        all.push(State { superseded, history, forced, force_ignored, ..state });
                    }
                }
            }
        }
    }
    all
}

/// What the reload may find after `first`, where there can be one.
fn reloads(direction: Direction, first: State) -> Vec<State> {
    let can = matches!(first.global[0], G::Deleted | G::At(_)) && first.local[0] != L::Damaged;
    if !can {
        return vec![first];
    }
    let listings: &[Option<char>] = match direction {
        Direction::Push => &[None],
        Direction::Fetch => &[None, Some('a'), Some('b')],
    };
    let all = pairs().flat_map(|pair| listings.iter().map(move |remote| (pair, *remote)));
    all.map(|((global, local), remote_after)| State {
        remote_after,
        local: [first.local[0], local],
        global: [first.global[0], global],
        ..first
    })
    .collect()
}

/// An update or a deletion of a ref of a change: what is at the destination, and at the source when it is read again.
fn member(
    direction: Direction,
    deletion: bool,
    there: Option<char>,
    after: Option<char>,
    global: [G; 2],
) -> State {
    let source = (!deletion).then_some('a');
    let at = |value: Option<char>| value.map_or(L::Absent, L::At);
    // What is deleted may be here all the time.
    let first = if deletion { after } else { source };
    let (offered, remote, remote_after, local) = match direction {
        Direction::Push => (source, there, None, [at(first), at(after)]),
        Direction::Fetch => (None, source, after, [at(there); 2]),
    };
    State {
        offered,
        remote: Some(remote),
        remote_after,
        local,
        global,
        superseded: false,
        history: History::Backward,
        forced: true,
        force_ignored: false,
        meta_there: None,
    }
}

/// A change: the refs of it that are on offer, and what the ref-db holds of its `/meta` when that one is not.
pub type Change = (Vec<Ref>, HashMap<RefName, [G; 2]>);

/// A change with its `/meta`, a patch set and robot comments, each on offer or not.
pub fn changes(direction: Direction) -> Vec<Change> {
    let afters = [None, Some('a'), Some('b')];
    let member = |deletion, there, after, global| Some(member(direction, deletion, there, after, global));
    // A patch set has no entry, so the reload never reads it alone.
    let patch_sets = [
        None,
        member(false, None, Some('a'), [G::Untracked; 2]),
        member(false, Some('b'), Some('a'), [G::Untracked; 2]),
        member(true, Some('b'), None, [G::Untracked; 2]),
        member(true, Some('b'), Some('a'), [G::Untracked; 2]),
    ];
    let own = [
        [G::At('a'); 2],
        [G::At('b'), G::At('a')],
        [G::At('b'), G::Deleted],
        [G::At('b'), G::Untracked],
        [G::Deleted; 2],
    ];
    let comments = own.into_iter().flat_map(|global| {
        [(false, None), (false, Some('a')), (true, None), (true, Some('a'))]
            .map(|(deletion, after)| member(deletion, Some('b'), after, global))
    });
    let comments: Vec<Option<State>> = [None].into_iter().chain(comments).collect();
    let mut all: Vec<Change> = Vec::new();
    for global in GLOBALS.into_iter().flat_map(|first| GLOBALS.map(|second| [first, second])) {
        let updates = afters.map(|after| member(false, Some('b'), after, global));
        let deletions = afters.map(|after| member(true, Some('b'), after, global));
        for meta in [None].into_iter().chain(updates).chain(deletions) {
            for patch_set in patch_sets {
                for comment in &comments {
                    let parts = [("meta", meta), ("1", patch_set), ("robot-comments", *comment)];
                    let is_deletion = |state: &State| match direction {
                        Direction::Push => state.offered.is_none(),
                        Direction::Fetch => state.remote == Some(None),
                    };
                    // Where a `/meta` is counts only for what is deleted with it.
                    let looked_at = parts[1..].iter().any(|(_, s)| s.as_ref().is_some_and(is_deletion));
                    let there: &[Option<bool>] =
                        if looked_at { &[None, Some(false), Some(true)] } else { &[None] };
                    for meta_there in there {
                        let of = |part: &str| {
                            name(format!("refs/changes/{:02}/{}/{part}", all.len() % 100, all.len()))
                        };
                        let refs = parts.iter().filter_map(|(part, state)| {
                            let state = State { meta_there: *meta_there, ..(*state)? };
                            Some(Ref { name: of(part), state })
                        });
                        let others = HashMap::from([(of("meta"), global)]);
                        let change = (refs.collect(), others);
                        all.push(change);
                    }
                }
            }
        }
    }
    all
}
