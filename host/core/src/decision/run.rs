//! The order of a decision: look, wait, look again, floor, groups.

use std::sync::{Arc, PoisonError};

use super::look::{Facts, Moment, Unreadable};
use super::{Decision, HOST, RefDecision, Request, Sources, Verdict, Wait, groups};
use crate::chain::{self, Said};
use crate::table::{Accounted, Class, Judgement, RemoteValue, Seen};
use crate::{Direction, FilterError, FilterSet, GlobalRef, Reason};

/// Most refs in one call of a filter.
const CHUNK_REFS: usize = 262_144;
/// Most bytes of ref names in one call of a filter.
const CHUNK_NAME_BYTES: usize = 8 << 20;

/// Decides which of the offered updates go.
///
/// Never fails: what cannot be decided is discarded with its reason, and everything else is decided all the same. Uses one
/// generation of filters throughout. Cancelled by dropping the future; nothing is held while it waits.
pub async fn decide(request: Request<'_>, sources: Sources<'_>, filters: &FilterSet) -> Decision {
    let mut decision = Decision {
        generation: filters.generation,
        plugins: filters.taking_part(request.direction),
        gate_off: !request.gate,
        waits: Vec::new(),
        refs: Vec::new(),
        problems: Vec::new(),
    };
    if request.updates.is_empty() {
        return decision;
    }
    if let Some((reason, by)) = project_discard(&request, filters, &mut decision.problems).await {
        return refuse_all(decision, &request, reason, &by);
    }
    if !request.gate {
        decision.refs = request
            .updates
            .iter()
            .map(|u| RefDecision::of_offer(request.direction, u, gate_off_verdict(&request, u)))
            .collect();
        return decision;
    }
    let mut facts = match Facts::gather(&request, sources).await {
        Ok(facts) => facts,
        Err(Unreadable(why)) => {
            decision.problems.push(why);
            return refuse_all(decision, &request, Reason::RepositoryUnreadable, HOST);
        }
    };
    let mut verdicts: Vec<Option<Verdict>> = vec![None; request.updates.len()];
    // One time of day per look, whatever it takes: filters that depend on it agree with each other.
    let now = |attempt| Moment { attempt, now_ms: sources.clock.unix_time().as_millis() as u64 };
    // Of what cannot be read there is nothing to ask a filter.
    discard_unreadable(&facts, &mut verdicts);
    let everything: Vec<usize> =
        (0..request.updates.len()).filter(|i| !facts.unreadable.contains_key(i)).collect();
    let rechecks =
        look(&request, &facts, filters, now(0), &everything, &mut verdicts, &mut decision.problems).await;
    if !rechecks.is_empty() {
        let again: Vec<usize> = rechecks.iter().map(|(i, _)| *i).collect();
        if let Some(pause) = draw(&request, sources) {
            decision.waits.push(Wait { ms: pause.as_millis() as u64, refs: again.len() });
            sources.clock.sleep(pause).await;
        }
        match facts.reload(&request, sources, &again).await {
            Ok(()) => {
                discard_unreadable(&facts, &mut verdicts);
                let again: Vec<usize> =
                    again.into_iter().filter(|i| !facts.unreadable.contains_key(i)).collect();
                let twice =
                    look(&request, &facts, filters, now(1), &again, &mut verdicts, &mut decision.problems)
                        .await;
                for (i, by) in twice {
                    verdicts[i] = Some(Verdict::Discard { reason: Reason::NotUpToDate, by });
                }
            }
            Err(Unreadable(why)) => {
                decision.problems.push(why);
                for i in again {
                    let reason = Reason::RepositoryUnreadable;
                    verdicts[i] = Some(Verdict::Discard { reason, by: HOST.into() });
                }
            }
        }
    }
    let mut verdicts: Vec<Verdict> = verdicts
        .into_iter()
        .zip(&facts.judgements)
        .map(|(v, j)| v.unwrap_or_else(|| floor(&request, j)))
        .collect();
    if !request.mirror {
        refuse_deletions(&facts, &mut verdicts);
    }
    hold_moved_metas(&facts, &mut verdicts);
    groups::apply(&request, &facts, &mut verdicts);
    decision.refs = verdicts.into_iter().enumerate().map(|(i, v)| finish(&request, &facts, i, v)).collect();
    decision.problems.append(&mut facts.problems);
    decision
}

/// A ref whose local value cannot be read goes nowhere, and keeps no other ref back.
fn discard_unreadable(facts: &Facts, verdicts: &mut [Option<Verdict>]) {
    for i in facts.unreadable.keys() {
        verdicts[*i] = Some(Verdict::Discard { reason: Reason::RepositoryUnreadable, by: HOST.into() });
    }
}

/// Whether some matcher keeps the whole project from replicating.
async fn project_discard(
    request: &Request<'_>,
    filters: &FilterSet,
    problems: &mut Vec<String>,
) -> Option<(Reason, String)> {
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
            Ok(false) => return Some((Reason::ProjectNotMatched, matcher.name().to_owned())),
            Err(e) => {
                problems.push(format!("project matcher `{}`: {e}", matcher.name()));
                return Some((Reason::FilterFailed, matcher.name().to_owned()));
            }
        }
    }
    None
}

/// Asks the chain about `which`. Fills in discards, and returns what is to be looked at again and who asked for it.
async fn look(
    request: &Request<'_>,
    facts: &Facts,
    filters: &FilterSet,
    at: Moment,
    which: &[usize],
    verdicts: &mut [Option<Verdict>],
    problems: &mut Vec<String>,
) -> Vec<(usize, String)> {
    let mut rechecks = Vec::new();
    for chunk in chunks(request, facts, which.to_vec()) {
        let batch = Arc::new(facts.batch(request, &chunk, at));
        let look = chain::look(filters, &batch).await;
        problems.extend(look.problems);
        for (i, said) in chunk.into_iter().zip(look.said) {
            match said {
                Said::Keep => {}
                Said::Recheck { by } => rechecks.push((i, by.to_string())),
                Said::Discard { reason, by } => {
                    let reason = Reason::from_name(&reason);
                    verdicts[i] = Some(discard(&facts.judgements[i], reason, &by, problems));
                }
            }
        }
    }
    // Chunks put the refs of a change side by side; the wait and the result are in the order of the offers.
    rechecks.sort_unstable_by_key(|(i, _)| *i);
    rechecks
}

/// A final reason must not hide a ref that is only held back for now.
fn discard(judgement: &Judgement, reason: Reason, by: &str, problems: &mut Vec<String>) -> Verdict {
    let reason = match reason.is_final() && judgement.reason() != Some(&reason) {
        true => {
            problems.push(format!("filter `{by}` gave `{reason}` for a ref to which it does not apply"));
            Reason::FilterFailed
        }
        false => reason,
    };
    Verdict::Discard { reason, by: by.to_owned() }
}

/// A remote with `mirror = false` keeps its dead refs.
fn refuse_deletions(facts: &Facts, verdicts: &mut [Verdict]) {
    for (row, verdict) in facts.rows.iter().zip(verdicts) {
        if row.deletion && verdict.is_keep() {
            *verdict = Verdict::Discard { reason: Reason::UntrackedDeletion, by: HOST.into() };
        }
    }
}

/// A `/meta` that moved while it was decided waits for the next decision, which is about the change as a whole.
fn hold_moved_metas(facts: &Facts, verdicts: &mut [Verdict]) {
    for (i, verdict) in verdicts.iter_mut().enumerate() {
        if verdict.is_keep() && facts.is_moved_meta(i) {
            *verdict = Verdict::Discard { reason: Reason::GroupIncomplete, by: HOST.into() };
        }
    }
}

/// The host's own say: what the table does not keep does not go, whatever the filters think.
fn floor(request: &Request<'_>, judgement: &Judgement) -> Verdict {
    match judgement {
        Judgement::Keep => Verdict::Keep,
        _ if !request.floor => Verdict::Keep,
        Judgement::Discard(reason) | Judgement::Recheck(reason) => {
            Verdict::Discard { reason: reason.clone(), by: HOST.into() }
        }
        // Facts are complete when a look is over; if they were not, nothing may go.
        Judgement::Ask => Verdict::Discard { reason: Reason::RepositoryUnreadable, by: HOST.into() },
    }
}

fn draw(request: &Request<'_>, sources: Sources<'_>) -> Option<std::time::Duration> {
    // A panic elsewhere cannot leave an rng in a state that matters here.
    let mut rng = sources.rng.lock().unwrap_or_else(PoisonError::into_inner);
    request.wait.draw(&mut *rng)
}

/// Splits into calls of bounded size. The refs of a group stay in one call.
fn chunks(request: &Request<'_>, facts: &Facts, which: Vec<usize>) -> Vec<Vec<usize>> {
    let bytes = |i: &usize| request.updates[*i].name.as_bytes().len();
    if which.len() <= CHUNK_REFS && which.iter().map(bytes).sum::<usize>() <= CHUNK_NAME_BYTES {
        return if which.is_empty() { Vec::new() } else { vec![which] };
    }
    let mut by_group = which;
    by_group.sort_by_key(|i| facts.group(*i));
    let mut chunks: Vec<Vec<usize>> = vec![Vec::new()];
    let mut size = 0;
    for group in by_group.chunk_by(|a, b| facts.group(*a) == facts.group(*b)) {
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

fn gate_off_verdict(request: &Request<'_>, update: &super::RefUpdate) -> Verdict {
    let deletion = match request.direction {
        Direction::Push => update.local.is_none(),
        Direction::Fetch => update.remote == RemoteValue::Known(None),
    };
    match deletion {
        true => Verdict::Discard { reason: Reason::UntrackedDeletion, by: HOST.into() },
        false => Verdict::Keep,
    }
}

fn refuse_all(mut decision: Decision, request: &Request<'_>, reason: Reason, by: &str) -> Decision {
    let verdict = Verdict::Discard { reason, by: by.to_owned() };
    decision.refs = request
        .updates
        .iter()
        .map(|u| RefDecision::of_offer(request.direction, u, verdict.clone()))
        .collect();
    decision
}

fn finish(request: &Request<'_>, facts: &Facts, i: usize, verdict: Verdict) -> RefDecision {
    let (row, update) = (&facts.rows[i], &request.updates[i]);
    let global = match row.global {
        Seen::Value(global) if row.class == Class::Checked => Some(global),
        _ => None,
    };
    // From a source of truth the ref-db follows; the row was kept because R descends from G.
    let advances = match (verdict.is_keep() && row.extends_global, global) {
        (true, Some(global)) => global.oid(),
        _ => None,
    };
    RefDecision {
        name: update.name.clone(),
        remote_name: update.remote_name.clone(),
        old: row.overwritten(),
        new: row.replacement(),
        deletion: row.deletion,
        reloaded: row.attempt > 0,
        hint: match verdict.reason() == Some(&Reason::GroupIncomplete) && facts.is_moved_meta(i) {
            true => Some("it moved while it was decided: run again".into()),
            false => facts.unreadable.get(&i).cloned().or_else(|| hint(request, row, &verdict)),
        },
        over_superseded: verdict.is_keep() && row.accounted == Accounted::Superseded,
        verdict,
        local: facts.local[i],
        global: (row.class == Class::Checked).then_some(row.global),
        advances,
    }
}

/// The next step for the person who reads why a ref was held back.
fn hint(request: &Request<'_>, row: &crate::table::Row, verdict: &Verdict) -> Option<String> {
    let diverged = [Reason::RemoteDiverged, Reason::LocalDiverged];
    if row.accounted == Accounted::SupersededUngated && diverged.iter().any(|r| verdict.reason() == Some(r)) {
        let key = match request.direction {
            Direction::Push => format!("remote.{}.writes", request.peer),
            Direction::Fetch => "site.writes".to_owned(),
        };
        return Some(format!(
            "the ref-db lists the value to be overwritten as superseded, which counts only where all writes go through the \
             ref-db: there, install the hook in the repository and set {key} = gated (or none for a pure mirror)"
        ));
    }
    let not_up_to_date = verdict.reason() == Some(&Reason::NotUpToDate);
    if !not_up_to_date || request.direction != Direction::Push || row.local.is_none() {
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
