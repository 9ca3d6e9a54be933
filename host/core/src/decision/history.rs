//! At most two bulk questions about history, and only for rows whose verdict depends on them.

use std::collections::HashMap;

use super::facts::Facts;
use super::{Request, Sources};
use crate::group::is_patch_set;
use crate::moves::{Moves, flag};
use crate::table::{Accounted, Judgement, RemoteValue, Seen};
use crate::{AncestryQuery, Direction, Entry, Oid, RefName};

/// What one query was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Accounted,
    Superseded,
    Ahead,
    ExtendsGlobal,
}

#[derive(Default)]
struct Questions {
    queries: Vec<AncestryQuery>,
    about: Vec<(usize, Question)>,
    /// Answers that need no history.
    settled: Vec<(usize, Question, bool)>,
}

impl Questions {
    fn ask(&mut self, at: usize, question: Question, name: &RefName, ancestor: Oid, descendant: Option<Oid>) {
        self.queries.push(AncestryQuery { name: name.clone(), ancestor, descendant });
        self.about.push((at, question));
    }
}

fn superseded(request: &Request<'_>) -> Accounted {
    match request.kind.trusts_superseded() {
        true => Accounted::Superseded,
        false => Accounted::SupersededUngated,
    }
}

impl Facts {
    /// Fills in what history says of `which`; `entries` are those that list superseded values.
    pub(super) async fn ask_history(
        &mut self,
        request: &Request<'_>,
        sources: Sources<'_>,
        moves: &Moves,
        which: &[usize],
        entries: &HashMap<usize, Entry>,
    ) {
        let mut first = Questions::default();
        for at in which.iter().copied() {
            (self.accounted[at], self.ahead[at], self.extends_global[at]) =
                (Accounted::Unasked, false, false);
            let row = self.row(moves, at);
            if let (true, Seen::Value(global), RemoteValue::Known(Some(remote))) =
                (request.source_of_truth && row.direction == Direction::Fetch, row.global, row.remote)
                && let Some(global) = global.oid().filter(|g| *g != remote)
            {
                first.ask(at, Question::ExtendsGlobal, &moves.names()[at], global, Some(remote));
                // The verdict may hang on it, so the other question is asked in the same round.
                self.ask_accounted(request, moves, at, &mut first);
            } else if row.judge() == Judgement::Ask {
                self.ask_accounted(request, moves, at, &mut first);
            }
        }
        let Some(answers) = self.answer(request, sources, first).await else { return };
        let mut second = Questions::default();
        for (at, question, yes) in answers {
            match (question, yes) {
                (Question::ExtendsGlobal, yes) => self.extends_global[at] = yes,
                (_, true) => self.accounted[at] = Accounted::Ancestor,
                (_, false) => {
                    self.accounted[at] = Accounted::No;
                    self.ask_more(request, moves, at, entries.get(&at), &mut second);
                }
            }
        }
        for (at, question, yes) in self.answer(request, sources, second).await.unwrap_or_default() {
            match (question, yes) {
                (Question::Ahead, yes) => self.ahead[at] = yes,
                (_, true) => self.accounted[at] = superseded(request),
                (_, false) => {}
            }
        }
    }

    fn ask_accounted(&mut self, request: &Request<'_>, moves: &Moves, at: usize, questions: &mut Questions) {
        let name = &moves.names()[at];
        let row = self.row(moves, at);
        let Some(old) = row.overwritten() else {
            // On push nobody can account for a value that nobody listed; a fetch has read the local one.
            self.accounted[at] = match (row.direction, row.remote) {
                (Direction::Push, RemoteValue::Unknown) => Accounted::No,
                _ => Accounted::Absent,
            };
            return;
        };
        match row.replacement() {
            // Nobody records its value: what accounts for the `/meta` accounts for the change. Without that one, the kind of
            // the destination is left.
            None if row.deletion && row.is_of_deleted_change() => {
                self.accounted[at] = match moves.has(at, flag::META_NOT_THERE) {
                    true => superseded(request),
                    false => Accounted::Superseded,
                }
            }
            Some(new) if new == old => self.accounted[at] = Accounted::Ancestor,
            _ if is_patch_set(name) => self.accounted[at] = Accounted::No,
            // A deletion contains nothing, so only the list can account for the value.
            None if row.deletion => questions.settled.push((at, Question::Accounted, false)),
            new => questions.ask(at, Question::Accounted, name, old, new),
        }
    }

    /// What is no ancestor of its replacement may have been once global; on fetch the local ref may be ahead.
    fn ask_more(
        &mut self,
        request: &Request<'_>,
        moves: &Moves,
        at: usize,
        entry: Option<&Entry>,
        questions: &mut Questions,
    ) {
        let name = &moves.names()[at];
        let row = self.row(moves, at);
        let Some(old) = row.overwritten() else { return };
        // For a ref that the ref-db does not know, only what is contained counts.
        let listed = entry.filter(|_| !row.is_untracked()).map_or(&[][..], |e| &e.superseded);
        if listed.contains(&old) {
            self.accounted[at] = superseded(request);
            return;
        }
        for value in listed {
            questions.ask(at, Question::Superseded, name, old, Some(*value));
        }
        if let (Direction::Fetch, true, RemoteValue::Known(Some(remote))) =
            (row.direction, row.is_untracked(), row.remote)
        {
            questions.ask(at, Question::Ahead, name, remote, Some(old));
        }
    }

    /// `None` when the repository could not answer; the rows that depend on it then say so.
    async fn answer(
        &mut self,
        request: &Request<'_>,
        sources: Sources<'_>,
        questions: Questions,
    ) -> Option<Vec<(usize, Question, bool)>> {
        let mut all = questions.settled;
        if questions.queries.is_empty() {
            return Some(all);
        }
        match sources.local.ancestry(request.project, &questions.queries).await {
            Ok(answers) if answers.len() == questions.queries.len() => {
                all.extend(questions.about.into_iter().zip(answers).map(|((at, q), yes)| (at, q, yes)));
                Some(all)
            }
            failed => {
                let why = failed.map_or_else(|e| e.to_string(), |_| "not every question was answered".into());
                self.problems.push(format!("cannot read the history of `{}`: {why}", request.project));
                for (at, _) in questions.about {
                    self.accounted[at] = Accounted::Unreadable;
                }
                None
            }
        }
    }
}
