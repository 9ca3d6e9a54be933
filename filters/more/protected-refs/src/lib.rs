//! Keeps replication from deleting some refs, and if asked to from forcing or creating them.
//!
//! `ref` are globs of the refs, `refuse` is what may not happen to them: `deletion` (the default), `forced`, `creation`.

use refgate_guest::state::{DELETION, NOT_FAST_FORWARD};
use refgate_guest::{Batch, Glob, Problems, Ref, RefFilter, Verdicts, export_push_and_fetch_filter};
use serde::Deserialize;

/// Why a ref is discarded.
pub const REASON: &str = "protected-ref";

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Globs of ref names.
    #[serde(rename = "ref")]
    pub refs: Vec<Glob>,
    /// What may not happen to them.
    #[serde(default = "deletion")]
    pub refuse: Vec<Operation>,
}

/// What replication can do to a ref, beside moving it forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Remove it.
    Deletion,
    /// Overwrite a value that the new one does not contain.
    Forced,
    /// Make it where it is not.
    Creation,
}

fn deletion() -> Vec<Operation> {
    vec![Operation::Deletion]
}

/// The filter.
pub struct ProtectedRefs(Settings);

impl RefFilter for ProtectedRefs {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Problems> {
        Ok(ProtectedRefs(settings))
    }

    fn filter(&self, batch: &Batch, verdicts: &mut Verdicts) -> Result<(), String> {
        let refused = |r: &Ref<'_>| self.0.refuse.iter().any(|deed| deed.is_done_to(r));
        let protected = |r: &Ref<'_>| self.0.refs.iter().any(|glob| glob.matches(r.name()));
        // Only what is refused at all has its name read.
        let held = batch.refs().filter(|r| refused(r) && protected(r)).map(|r| r.index());
        verdicts.discard(held.collect::<Vec<_>>(), REASON);
        Ok(())
    }
}

impl Operation {
    fn is_done_to(self, r: &Ref<'_>) -> bool {
        match self {
            Operation::Deletion => r.is(DELETION),
            Operation::Forced => r.is(NOT_FAST_FORWARD),
            Operation::Creation => !r.is(DELETION) && r.old_oid().is_none(),
        }
    }
}

export_push_and_fetch_filter!(ProtectedRefs);

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_guest::state::{FORCED, MAY_GO};
    use refgate_guest::testing::{TestBatch, run_fetch, run_push, settings};

    /// Which of a forward move, a forced one, a deletion and a creation of `name` are discarded.
    fn held(json: &str, name: &str) -> [bool; 4] {
        let filter = settings(json).and_then(ProtectedRefs::new).unwrap();
        let (old, may_go) = ([1; 20], MAY_GO | FORCED);
        let batch = TestBatch::push("app")
            .with(name, may_go)
            .old_oid(&old)
            .with(name, may_go | NOT_FAST_FORWARD)
            .old_oid(&old)
            .with(name, may_go | DELETION)
            .old_oid(&old)
            .with(name, may_go);
        let answer = run_push(&filter, &batch).unwrap();
        assert_eq!(run_fetch(&filter, &batch).unwrap(), answer, "both directions say the same");
        [0, 1, 2, 3].map(|i| answer.reason(i) == Some(REASON))
    }

    #[test]
    fn what_is_refused_is_refused_and_nothing_else() {
        let main = "refs/heads/main";
        assert_eq!(held(r#"{"ref":"refs/heads/main"}"#, main), [false, false, true, false]);
        assert_eq!(held(r#"{"ref":"**","refuse":"forced"}"#, main), [false, true, false, false]);
        assert_eq!(held(r#"{"ref":"**","refuse":"creation"}"#, main), [false, false, false, true]);
        let all = r#"{"ref":["refs/tags/**","refs/heads/*"],"refuse":["deletion","forced","creation"]}"#;
        assert_eq!(held(all, main), [false, true, true, true]);
        assert_eq!(held(all, "refs/heads/team/x"), [false; 4]);
        assert_eq!(held(all, "refs/tags/v1/rc1"), [false, true, true, true]);
    }

    #[test]
    fn settings_that_are_wrong_are_named() {
        let wrong = |json| settings(json).and_then(ProtectedRefs::new).err().unwrap().to_string();
        assert_eq!(wrong("{}"), ": missing field `ref`");
        assert!(wrong(r#"{"ref":["a","refs/["]}"#).starts_with("/ref/1: `refs/[` is not a glob"));
        assert!(wrong(r#"{"ref":"a","refuse":"update"}"#).contains("unknown variant `update`"));
    }
}
