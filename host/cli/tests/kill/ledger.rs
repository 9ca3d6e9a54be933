//! What clients were told, and whether what is there in the end agrees with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// What a client read about one ref of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It counts.
    Accepted,
    /// It counts, and this site could not store it.
    Kept,
    /// It does not.
    Refused,
    /// The client read nothing, or that nobody knows.
    Unknown,
}

/// One ref of one push: from which value to which. An absent ref has the empty value.
#[derive(Clone, Debug)]
pub struct Write {
    pub site: &'static str,
    pub name: String,
    pub old: String,
    pub new: String,
    pub answer: Answer,
    /// As the client read it.
    pub told: String,
}

/// The writes of a round, and what each `/meta` that was ever pushed stands for.
#[derive(Default)]
pub struct Ledger {
    writes: Mutex<Vec<Write>>,
    changes: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

impl Ledger {
    pub fn note(&self, writes: Vec<Write>) {
        self.writes.lock().unwrap().extend(writes);
    }

    /// `meta` is the state of a change with these patch sets.
    pub fn stands_for(&self, meta: &str, patch_sets: BTreeMap<String, String>) {
        self.changes.lock().unwrap().insert(meta.to_owned(), patch_sets);
    }

    /// The patch sets of the change whose `/meta` has this value.
    pub fn patch_sets(&self, meta: &str) -> Option<BTreeMap<String, String>> {
        self.changes.lock().unwrap().get(meta).cloned()
    }

    /// The writes since the last time.
    pub fn take(&self) -> Vec<Write> {
        std::mem::take(&mut *self.writes.lock().unwrap())
    }
}

/// Whether each ref got from `before` to `after` by what was accepted, all of it, and by what may have been.
pub fn explain(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    writes: &[Write],
) -> Result<(), String> {
    let names: BTreeSet<&String> =
        before.keys().chain(after.keys()).chain(writes.iter().map(|write| &write.name)).collect();
    for name in names {
        let value = |of: &BTreeMap<String, String>| of.get(name).cloned().unwrap_or_default();
        let of_ref: Vec<&Write> =
            writes.iter().filter(|write| write.name == *name && write.answer != Answer::Refused).collect();
        if !leads(&value(before), &value(after), &mut vec![false; of_ref.len()], &of_ref) {
            let told: Vec<String> = writes
                .iter()
                .filter(|write| write.name == *name)
                .map(|w| format!("  {}: {} -> {}: {:?} ({})", w.site, w.old, w.new, w.answer, w.told))
                .collect();
            return Err(format!(
                "{name} went from `{}` to `{}`, and no order of what was accepted says so:\n{}",
                value(before),
                value(after),
                told.join("\n")
            ));
        }
    }
    Ok(())
}

/// Whether some order of the writes leads from `now` to `end`, with each that was accepted in it.
fn leads(now: &str, end: &str, used: &mut Vec<bool>, writes: &[&Write]) -> bool {
    let owed =
        |used: &[bool]| writes.iter().zip(used).any(|(write, used)| !used && write.answer != Answer::Unknown);
    if now == end && !owed(used) {
        return true;
    }
    for i in 0..writes.len() {
        // Who wants what is so already, as a second deletion does, has succeeded.
        if !used[i] && (writes[i].old == now || writes[i].new == now) {
            used[i] = true;
            if leads(&writes[i].new, end, used, writes) {
                return true;
            }
            used[i] = false;
        }
    }
    false
}
