//! The order of a decision: a pass, a wait, a second pass, floor, groups.

use std::sync::{Arc, PoisonError};

use super::facts::{Facts, Moment, Unreadable};
use super::{Decision, Request, Sources, Wait};
use crate::ablation::{self, Rule};
use crate::chain::{self, Said};
use crate::moves::{Held, Moves, State, flag};
use crate::table::{Accounted, Judgement, Seen};
use crate::{Class, Direction, FilterError, FilterSet, GlobalRef, Reason};

/// Maximum number of refs in one call of a filter.
const CHUNK_REFS: usize = 262_144;
/// Maximum number of bytes of ref names in one call of a filter.
const CHUNK_NAME_BYTES: usize = 8 << 20;

/// Decides which of the offered updates go: `moves` comes back with what does not go held back.
///
/// Never fails: what cannot be decided is held back with its reason, and everything else is decided all the same. Uses one
/// generation of filters throughout. Cancelled by dropping the future; nothing is held while it waits.
pub async fn decide(
    request: Request<'_>,
    moves: Moves,
    sources: Sources<'_>,
    filters: &FilterSet,
) -> Decision {
    let mut decision = Decision {
        generation: filters.generation,
        plugins: filters.taking_part(request.direction),
        gate_off: !request.gate,
        waits: Vec::new(),
        moves,
        problems: Vec::new(),
    };
    if decision.moves.is_empty() {
        return decision;
    }
    if let Some(held) = project_discard(&request, filters, &mut decision.problems).await {
        decision.moves.hold_open(held);
        return decision;
    }
    if !request.gate {
        hold_deletions(&mut decision.moves);
        return decision;
    }
    decision.moves.classify_by(request.project, request.rules);
    let gathered = Facts::gather(&request, sources, &mut decision.moves).await;
    let facts = match gathered {
        Ok(facts) => facts,
        Err(Unreadable(why)) => {
            decision.problems.push(why);
            decision.moves.hold_open(Held::by_host(Reason::RepositoryUnreadable));
            return decision;
        }
    };
    Pass { request, sources, filters, facts, decision }.run().await
}

/// A decision under way.
struct Pass<'a> {
    request: Request<'a>,
    sources: Sources<'a>,
    filters: &'a FilterSet,
    facts: Facts,
    decision: Decision,
}

impl Pass<'_> {
    async fn run(mut self) -> Decision {
        let all: Vec<usize> = (0..self.decision.moves.len()).collect();
        let rechecks = self.ask(0, all).await;
        if !rechecks.is_empty() {
            self.wait_and_ask_again(rechecks).await;
        }
        self.floor();
        let Pass { facts, mut decision, .. } = self;
        decision.problems.extend(facts.problems);
        decision
    }

    async fn wait_and_ask_again(&mut self, rechecks: Vec<(usize, Arc<str>)>) {
        let again: Vec<usize> = rechecks.into_iter().map(|(at, _)| at).collect();
        if let Some(pause) = draw(&self.request, self.sources) {
            self.decision.waits.push(Wait { ms: pause.as_millis() as u64, refs: again.len() });
            self.sources.clock.sleep(pause).await;
        }
        let moves = &mut self.decision.moves;
        match self.facts.reload(&self.request, self.sources, moves, &again).await {
            Ok(()) => {
                for (at, by) in self.ask(1, again).await {
                    let held = Held { by, ..Held::by_host(Reason::NotUpToDate) };
                    self.decision.moves.set(at, State::Held(held.into()));
                }
            }
            Err(Unreadable(why)) => {
                self.decision.problems.push(why);
                let held = Arc::new(Held::by_host(Reason::RepositoryUnreadable));
                again.into_iter().for_each(|at| self.decision.moves.set(at, State::Held(held.clone())));
            }
        }
    }

    /// Asks the chain about `which`: holds back what it discards, and returns what is to be judged again and who asked for it.
    async fn ask(&mut self, attempt: u32, mut which: Vec<usize>) -> Vec<(usize, Arc<str>)> {
        // A ref whose local value cannot be read goes nowhere, and keeps no other ref back: there is nothing to ask about it.
        for (at, why) in &self.facts.unreadable {
            let held = Held { hint: Some(why.clone()), ..Held::by_host(Reason::RepositoryUnreadable) };
            self.decision.moves.set(*at, State::Held(held.into()));
        }
        which.retain(|at| !self.facts.unreadable.contains_key(at));
        // One time of day per pass, whatever it takes: filters that depend on it agree with each other.
        let moment = Moment { attempt, now_ms: self.sources.clock.unix_time().as_millis() as u64 };
        let mut rechecks = Vec::new();
        for chunk in chunks(&self.decision.moves, which) {
            let batch = Arc::new(self.facts.batch(&self.request, &self.decision.moves, &chunk, moment));
            let asked = chain::look(self.filters, &batch).await;
            self.decision.problems.extend(asked.problems);
            let mut known: Option<(Arc<str>, Arc<str>, Reason)> = None;
            for (at, said) in chunk.into_iter().zip(asked.said) {
                match said {
                    Said::Keep => {}
                    Said::Recheck { by } => rechecks.push((at, by)),
                    Said::Discard { reason: name, by } => {
                        // Refs side by side have usually one reason.
                        let reason = match &known {
                            Some((last, _, reason)) if *last == name => reason.clone(),
                            _ => Reason::from_name(&name),
                        };
                        known = Some((name, by.clone(), reason.clone()));
                        self.discard(at, reason, by);
                    }
                }
            }
        }
        // Chunks put the refs of a change side by side; the wait and the result are in the order of the offers.
        rechecks.sort_unstable_by_key(|(at, _)| *at);
        rechecks
    }

    /// A filter holds a ref back. A final reason must not hide a ref that is only held back for now.
    fn discard(&mut self, at: usize, mut reason: Reason, by: Arc<str>) {
        if reason.is_final() && self.facts.judgements[at].reason() != Some(&reason) {
            let problem = format!("filter `{by}` gave `{reason}` for a ref to which it does not apply");
            self.decision.problems.push(problem);
            reason = Reason::FilterFailed;
        }
        self.decision.moves.hold(at, Held { reason, by, hint: None });
    }

    /// The host's own say, whatever the filters think: what the table does not keep does not go, and changes go whole.
    fn floor(&mut self) {
        let (facts, moves, request) = (&self.facts, &mut self.decision.moves, &self.request);
        for at in 0..moves.len() {
            if !moves.get(at).state().is_open() {
                continue;
            }
            let reason = match &facts.judgements[at] {
                Judgement::Keep => None,
                _ if !ablation::holds(Rule::Floor) => None,
                Judgement::Discard(reason) | Judgement::Recheck(reason) => Some(reason.clone()),
                // Facts are complete when a pass is over; if they were not, nothing may go.
                Judgement::Ask => Some(Reason::RepositoryUnreadable),
            };
            // A remote with `mirror = false` keeps its dead refs.
            let dead = !request.mirror && moves.has(at, flag::DELETION);
            if let Some(reason) = reason.or(dead.then_some(Reason::UntrackedDeletion)) {
                moves.hold(at, Held::by_host(reason));
            }
        }
        if ablation::holds(Rule::ReloadedMeta) {
            hold_moved_metas(facts, moves);
        }
        if ablation::holds(Rule::WholeChange) {
            moves.hold_incomplete();
            hold_what_outlives_its_meta(facts, moves);
        }
        for at in 0..moves.len() {
            let row = facts.row(moves, at);
            match moves.get(at).held() {
                Some(held) if held.hint.is_none() => {
                    if let Some(hint) = hint(request, &row, &held.reason) {
                        let held = Held { hint: Some(hint), ..held.clone() };
                        moves.hold(at, held);
                    }
                }
                Some(_) => {}
                None => {
                    if row.accounted == Accounted::Superseded {
                        moves.mark(at, flag::OVER_SUPERSEDED);
                    }
                    // From a source of truth the ref-db follows; the row was kept because R descends from G.
                    if row.extends_global && row.class == Class::Checked {
                        moves.mark(at, flag::ADVANCES);
                    }
                }
            }
        }
    }
}

/// A `/meta` that moved while it was decided waits for the next decision, which is about the change as a whole.
fn hold_moved_metas(facts: &Facts, moves: &mut Moves) {
    for at in 0..moves.len() {
        if moves.get(at).state().is_open() && facts.is_moved_meta(moves, at) {
            let hint = Some("it moved while it was decided: run again".into());
            moves.hold(at, Held { hint, ..Held::by_host(Reason::GroupIncomplete) });
        }
    }
}

/// A ref of a deleted change goes with its `/meta`, or when that is gone already; and where the entry of the `/meta` cannot
/// be read, nobody can tell whether the change is one.
fn hold_what_outlives_its_meta(facts: &Facts, moves: &mut Moves) {
    let reason = |at: usize| match facts.meta[at]? {
        Seen::Locked => Some(Reason::Locked),
        Seen::Unavailable => Some(Reason::RefdbUnavailable),
        Seen::Value(_) => {
            let row = facts.row(moves, at);
            (row.deletion && row.is_of_deleted_change() && !moves.has(at, flag::META_NOT_THERE))
                .then_some(Reason::OutdatedMeta)
        }
    };
    let held: Vec<(usize, Reason)> = moves.open().filter_map(|at| Some((at, reason(at)?))).collect();
    if held.is_empty() {
        return;
    }
    // Of those on offer, a `/meta` that is held back has held back the others already.
    let offered = moves.groups_with_meta();
    for (at, reason) in held {
        if !offered[moves.get(at).group() as usize] {
            moves.hold(at, Held::by_host(reason));
        }
    }
}

/// Whether some matcher keeps the whole project from replicating.
async fn project_discard(
    request: &Request<'_>,
    filters: &FilterSet,
    problems: &mut Vec<String>,
) -> Option<Held> {
    let held = |reason, by: &str| Some(Held { reason, by: by.into(), hint: None });
    let project: Arc<[crate::Project]> = Arc::new([request.project.clone()]);
    for matcher in &filters.projects {
        let answer = match matcher.matches(project.clone()).await {
            Ok(matched) => {
                let said = matched.problems.into_iter();
                problems.extend(said.map(|p| format!("project matcher `{}`: {p}", matcher.name())));
                match matched.selected[..] {
                    [selected] => Ok(selected),
                    ref other => Err(FilterError(format!("{} answers for one project", other.len()))),
                }
            }
            Err(e) => Err(e),
        };
        match answer {
            Ok(true) => {}
            Ok(false) => return held(Reason::ProjectNotMatched, matcher.name()),
            Err(e) => {
                problems.push(format!("project matcher `{}`: {e}", matcher.name()));
                return held(Reason::FilterFailed, matcher.name());
            }
        }
    }
    None
}

fn draw(request: &Request<'_>, sources: Sources<'_>) -> Option<std::time::Duration> {
    // A panic elsewhere cannot leave an rng in a state that matters here.
    let mut rng = sources.rng.lock().unwrap_or_else(PoisonError::into_inner);
    request.wait.draw(&mut *rng)
}

/// Splits into calls of bounded size. The refs of a group stay in one call.
fn chunks(moves: &Moves, mut which: Vec<usize>) -> Vec<Vec<usize>> {
    let bytes = |at: &usize| moves.names()[*at].as_bytes().len();
    if which.len() <= CHUNK_REFS && which.iter().map(bytes).sum::<usize>() <= CHUNK_NAME_BYTES {
        return if which.is_empty() { Vec::new() } else { vec![which] };
    }
    which.sort_by_key(|at| moves.get(*at).group());
    let mut chunks: Vec<Vec<usize>> = vec![Vec::new()];
    let mut size = 0;
    for group in which.chunk_by(|a, b| moves.get(*a).group() == moves.get(*b).group()) {
        let add: usize = group.iter().map(bytes).sum();
        let full = chunks.last().is_some_and(|c| {
            !c.is_empty() && (c.len() + group.len() > CHUNK_REFS || size + add > CHUNK_NAME_BYTES)
        });
        if full {
            chunks.push(Vec::new());
            size = 0;
        }
        size += add;
        if let Some(chunk) = chunks.last_mut() {
            chunk.extend_from_slice(group);
        }
    }
    chunks
}

/// With the gate switched off everything goes but deletions.
fn hold_deletions(moves: &mut Moves) {
    for at in 0..moves.len() {
        if moves.has(at, flag::DELETION) {
            moves.hold(at, Held::by_host(Reason::UntrackedDeletion));
        }
    }
}

/// The next step for the person who reads why a ref was held back.
fn hint(request: &Request<'_>, row: &crate::table::Row, reason: &Reason) -> Option<String> {
    let diverged = matches!(reason, Reason::RemoteDiverged | Reason::LocalDiverged);
    if diverged && row.accounted == Accounted::SupersededUngated {
        let key = match request.direction {
            Direction::Push => format!("remote.{}.writes", request.peer),
            Direction::Fetch => "site.writes".to_owned(),
        };
        return Some(format!(
            "the ref-db lists the value to be overwritten as superseded, which counts only where all writes go through the \
             ref-db: there, install the hook in the repository and set {key} = gated (or none for a pure mirror)"
        ));
    }
    if *reason != Reason::NotUpToDate || request.direction != Direction::Push || row.local.is_none() {
        return None;
    }
    let project = request.project;
    match row.global {
        // Publishing moves a record forward; it does not bring back what was deleted.
        Seen::Value(GlobalRef::Deleted) => Some(format!(
            "the ref-db records a deletion; `refgate refdb heal {project}` shows what becomes of what is here"
        )),
        Seen::Value(GlobalRef::At(_)) => Some(format!(
            "usually this site is behind: fetch from the others. What was written here past the ref-db on purpose: \
             `refgate refdb publish {project}` records what descends from the ref-db's value, `refgate refdb heal {project}` \
             shows the rest"
        )),
        _ => None,
    }
}
