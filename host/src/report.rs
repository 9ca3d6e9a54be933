//! What a push or a fetch did, ref by ref, and its JSON document.

use refgate_core::decision::Decision;
use refgate_core::table::Seen;
use refgate_core::{Direction, GlobalRef, Move, Moves, Oid, Project, Reason, State};
use serde_json::{Value, json};

use crate::replicate::Stuck;

/// The outcome of one push or fetch.
#[derive(Clone, Debug)]
pub struct Report {
    /// Push or fetch.
    pub direction: Direction,
    /// The project.
    pub project: Project,
    /// The remote's name.
    pub remote: String,
    /// Nothing was moved.
    pub dry_run: bool,
    /// What was decided, and what became of every ref, in the order of the names.
    pub decision: Decision,
    /// The local refs that catch-up moved before the decision, and those that this site held back, in the order of the names.
    pub catch_up: Moves,
    /// Refs that this site has accepted and cannot store, of those that were selected.
    pub stuck: Vec<Stuck>,
}

/// How many refs came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub offered: usize,
    /// Kept by the gate.
    pub kept: usize,
    /// Discarded by the gate.
    pub discarded: usize,
    /// Moved at the destination.
    pub replicated: usize,
    /// Kept, and refused by the destination.
    pub failed: usize,
}

impl Report {
    /// The numbers.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { offered: self.decision.moves.len(), ..Counts::default() };
        for one in self.decision.moves.iter() {
            match one.state() {
                State::Held(_) => counts.discarded += 1,
                State::Open => counts.kept += 1,
                State::Done => {
                    counts.kept += 1;
                    counts.replicated += 1;
                }
                State::Refused(_) | State::Unknown(_) => {
                    counts.kept += 1;
                    counts.failed += 1;
                }
            }
        }
        counts
    }

    /// 1 when the destination refused something, or a ref of this site is stuck behind the ref-db, 3 when something was held back, else 0.
    pub fn exit_code(&self) -> u8 {
        let held_back = |one: Move<'_>| one.reason().is_some_and(Reason::is_held_back);
        let mut refs = self.decision.moves.iter().chain(self.catch_up.iter());
        if self.counts().failed > 0 || !self.stuck.is_empty() {
            1
        } else if refs.any(held_back) {
            3
        } else {
            0
        }
    }

    /// How many local refs catch-up moved before the decision; in a dry run, would move.
    pub fn caught_up(&self) -> usize {
        self.catch_up.iter().filter(|one| one.is_kept()).count()
    }

    /// The document of `--json`.
    pub fn to_json(&self) -> Value {
        let counts = self.counts();
        let filters = self.decision.plugins.iter().map(|p| json!({"name": p.name, "digest": p.digest}));
        let waits = self.decision.waits.iter().map(|w| json!({"ms": w.ms, "refs": w.refs}));
        let refs = self.decision.moves.iter().map(|one| ref_json(&self.decision, one));
        let mut document = json!({
            "command": self.direction.name(),
            "project": self.project.as_str(),
            "remote": self.remote,
            "dry_run": self.dry_run,
            "generation": {"id": self.decision.generation, "filters": filters.collect::<Vec<_>>()},
            "waits": waits.collect::<Vec<_>>(),
            "refs": refs.collect::<Vec<_>>(),
            "counts": {
                "offered": counts.offered,
                "kept": counts.kept,
                "discarded": counts.discarded,
                "replicated": counts.replicated,
                "failed": counts.failed,
            },
        });
        if self.decision.gate_off {
            document["gate"] = json!("off");
        }
        if !self.catch_up.is_empty() {
            let rows = self.catch_up.iter().map(|one| ref_json(&self.decision, one));
            document["catch_up"] = rows.collect();
        }
        if !self.stuck.is_empty() {
            let stuck = self.stuck.iter().map(|one| json!({"ref": one.name.to_string(), "why": one.why}));
            document["stuck"] = json!(stuck.collect::<Vec<_>>());
        }
        document
    }
}

/// One ref of a decision and what became of it, as in the document of a push or fetch.
pub(crate) fn ref_json(decision: &Decision, one: Move<'_>) -> Value {
    let mut out = json!({
        "ref": one.name().to_string(),
        "remote_ref": one.remote_name().to_string(),
        "old": oid_json(one.old()),
        "new": oid_json(one.new()),
    });
    match one.held() {
        None => {
            out["verdict"] = json!("keep");
            out["reloaded"] = json!(one.is_reloaded());
        }
        Some(held) => {
            out["verdict"] = json!("discard");
            out["reason"] = json!(held.reason.as_str());
            if let (Reason::Own(_), Some(meaning)) = (&held.reason, decision.meaning(held)) {
                out["meaning"] = json!(meaning);
            }
            out["retryable"] = json!(held.reason.is_retryable());
            out["by"] = json!(*held.by);
            out["local"] = oid_json(one.local());
            out["global"] = global_json(one.global());
        }
    }
    if let Some(hint) = one.hint() {
        out["hint"] = json!(hint);
    }
    out["result"] = json!(one.state().to_string());
    out
}

pub(crate) fn oid_json(oid: Option<Oid>) -> Value {
    oid.map_or(Value::Null, |oid| Value::String(oid.to_string()))
}

/// An oid, `"deleted"`, `"untracked"`, or null when it was not read.
pub(crate) fn global_json(global: Option<Seen>) -> Value {
    match global {
        Some(Seen::Value(GlobalRef::At(oid))) => Value::String(oid.to_string()),
        Some(Seen::Value(GlobalRef::Deleted)) => Value::String("deleted".into()),
        Some(Seen::Value(GlobalRef::Untracked)) => Value::String("untracked".into()),
        Some(Seen::Locked | Seen::Unavailable) | None => Value::Null,
    }
}
