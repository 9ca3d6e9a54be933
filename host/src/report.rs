//! What a push or a fetch did, ref by ref, and its JSON document.

use refgate_core::decision::{Decision, RefDecision, Verdict};
use refgate_core::table::Seen;
use refgate_core::{Direction, GlobalRef, Oid, Project, Reason};
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
    /// What was decided.
    pub decision: Decision,
    /// One per ref of the decision, in the same order.
    pub results: Vec<RefResult>,
    /// What catch-up moved of the local refs before the decision, and what of this site held back, in the order of the names.
    pub catch_up: Vec<(RefDecision, RefResult)>,
    /// Refs that this site has accepted and cannot store, of those that were selected.
    pub stuck: Vec<Stuck>,
}

/// What became of one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefResult {
    /// The destination holds the new value.
    Replicated,
    /// The gate held it back.
    HeldBack,
    /// It was kept, and the destination refused; the text says why.
    Rejected(String),
    /// It was kept in a dry run.
    NotSent,
}

impl std::fmt::Display for RefResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RefResult::Replicated => f.write_str("replicated"),
            RefResult::HeldBack => f.write_str("held-back"),
            RefResult::Rejected(why) => write!(f, "rejected: {why}"),
            RefResult::NotSent => f.write_str("not-sent"),
        }
    }
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
        let mut counts = Counts { offered: self.results.len(), ..Counts::default() };
        for (one, result) in self.decision.refs.iter().zip(&self.results) {
            match one.verdict {
                Verdict::Keep => counts.kept += 1,
                Verdict::Discard { .. } => counts.discarded += 1,
            }
            match result {
                RefResult::Replicated => counts.replicated += 1,
                RefResult::Rejected(_) => counts.failed += 1,
                RefResult::HeldBack | RefResult::NotSent => {}
            }
        }
        counts
    }

    /// 1 when the destination refused something, or a ref of this site is stuck behind the ref-db, 3 when something was held back, else 0.
    pub fn exit_code(&self) -> u8 {
        let held_back = |r: &RefDecision| r.verdict.reason().is_some_and(Reason::is_held_back);
        let mut refs = self.decision.refs.iter().chain(self.catch_up.iter().map(|(one, _)| one));
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
        self.catch_up.iter().filter(|(one, _)| one.verdict.is_keep()).count()
    }

    /// The document of `--json`.
    pub fn to_json(&self) -> Value {
        let counts = self.counts();
        let filters = self.decision.plugins.iter().map(|p| json!({"name": p.name, "digest": p.digest}));
        let waits = self.decision.waits.iter().map(|w| json!({"ms": w.ms, "refs": w.refs}));
        let refs = self.decision.refs.iter().zip(&self.results);
        let refs = refs.map(|(one, result)| ref_json(&self.decision, one, result));
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
            let rows = self.catch_up.iter().map(|(one, result)| ref_json(&self.decision, one, result));
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
pub(crate) fn ref_json(decision: &Decision, one: &RefDecision, result: &RefResult) -> Value {
    let mut out = json!({
        "ref": one.name.to_string(),
        "remote_ref": one.remote_name.to_string(),
        "old": oid_json(one.old),
        "new": oid_json(one.new),
    });
    match &one.verdict {
        Verdict::Keep => {
            out["verdict"] = json!("keep");
            out["reloaded"] = json!(one.reloaded);
        }
        Verdict::Discard { reason, by } => {
            out["verdict"] = json!("discard");
            out["reason"] = json!(reason.as_str());
            if let (Reason::Own(_), Some(meaning)) = (reason, decision.meaning(reason, by)) {
                out["meaning"] = json!(meaning);
            }
            out["retryable"] = json!(reason.is_retryable());
            out["by"] = json!(by);
            out["local"] = oid_json(one.local);
            out["global"] = global_json(one.global);
        }
    }
    if let Some(hint) = &one.hint {
        out["hint"] = json!(hint);
    }
    out["result"] = json!(result.to_string());
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
