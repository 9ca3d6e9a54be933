//! Checks what a filter says while it says it: an answer outside the contract ends the call.

use std::collections::BTreeSet;

use refgate_core::Answer;
use wasmtime::{Result, bail};

use crate::limits::{Limits, Over, REASON_BYTES};
use crate::log::{cut, printable};

/// The items of a call and how many indices may still be named.
#[derive(Debug)]
struct Items {
    len: usize,
    limit: usize,
    left: usize,
}

impl Items {
    fn new(len: usize, limits: &Limits) -> Items {
        let limit = limits.indices(len);
        Items { len, limit, left: limit }
    }

    fn check(&mut self, indices: &[u32]) -> Result<()> {
        if let Some(bad) = indices.iter().find(|i| **i as usize >= self.len) {
            bail!("it named item {bad} of a batch of {}", self.len);
        }
        match self.left.checked_sub(indices.len()) {
            Some(rest) => self.left = rest,
            None => bail!("it named more than {} items in a batch of {}", self.limit, self.len),
        }
        Ok(())
    }
}

/// The verdicts of one look so far.
#[derive(Debug)]
pub(crate) struct Gathered {
    items: Items,
    max_reasons: usize,
    reasons: BTreeSet<String>,
    answer: Answer,
}

impl Gathered {
    /// Nothing said yet about `len` refs.
    pub(crate) fn new(len: usize, limits: &Limits) -> Gathered {
        Gathered {
            items: Items::new(len, limits),
            max_reasons: limits.reasons,
            reasons: BTreeSet::new(),
            answer: Answer::default(),
        }
    }

    pub(crate) fn discard(&mut self, indices: Vec<u32>, reason: String) -> Result<()> {
        self.check_reason(&reason)?;
        self.items.check(&indices)?;
        match self.answer.discards.last_mut() {
            _ if indices.is_empty() => {}
            Some((last, same)) if *same == reason => last.extend(indices),
            _ => self.answer.discards.push((indices, reason)),
        }
        Ok(())
    }

    pub(crate) fn discard_all(&mut self, reason: String) -> Result<()> {
        self.discard((0..self.items.len as u32).collect(), reason)
    }

    pub(crate) fn recheck(&mut self, indices: Vec<u32>) -> Result<()> {
        self.items.check(&indices)?;
        self.answer.rechecks.extend(indices);
        Ok(())
    }

    pub(crate) fn into_answer(self) -> Answer {
        self.answer
    }

    fn check_reason(&mut self, reason: &str) -> Result<()> {
        if self.reasons.contains(reason) {
            return Ok(());
        }
        let kebab = reason.split('-').all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        });
        if reason.len() > REASON_BYTES || !kebab {
            let shown = printable(cut(reason, REASON_BYTES));
            bail!(
                "it gave the reason `{shown}`: a reason is kebab-case and at most {REASON_BYTES} bytes long"
            );
        }
        if self.reasons.len() >= self.max_reasons {
            let what = format!("it gave more than {} different reasons for one batch", self.max_reasons);
            return Err(Over::new("reasons", what).into());
        }
        self.reasons.insert(reason.to_owned());
        Ok(())
    }
}

/// The projects that a matcher selected so far.
#[derive(Debug)]
pub(crate) struct Selected {
    items: Items,
    selected: Vec<bool>,
}

impl Selected {
    pub(crate) fn new(len: usize, limits: &Limits) -> Selected {
        Selected { items: Items::new(len, limits), selected: vec![false; len] }
    }

    pub(crate) fn select(&mut self, indices: &[u32]) -> Result<()> {
        self.items.check(indices)?;
        for index in indices {
            self.selected[*index as usize] = true;
        }
        Ok(())
    }

    pub(crate) fn select_all(&mut self) {
        self.selected.fill(true);
    }

    pub(crate) fn into_answer(self) -> Vec<bool> {
        self.selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_kebab_case_and_bounded() {
        let mut gathered = Gathered::new(3, &Limits::default());
        for good in ["not-up-to-date", "a", "x1-2", &"r".repeat(64)] {
            gathered.discard(vec![0], good.to_owned()).unwrap();
        }
        for bad in ["", "-", "a-", "-a", "a--b", "Not", "a b", "ä", "a\n", &"r".repeat(65)] {
            assert!(gathered.discard(vec![0], bad.to_owned()).is_err(), "{bad:?}");
        }
        let mut gathered = Gathered::new(1, &Limits::default());
        for i in 0..Limits::default().reasons {
            gathered.discard(Vec::new(), format!("r{i}")).unwrap();
        }
        assert!(gathered.discard(Vec::new(), "one-more".into()).is_err());
        assert_eq!(gathered.into_answer(), Answer::default());
    }

    #[test]
    fn indices_are_in_range_and_bounded() {
        let mut gathered = Gathered::new(2, &Limits::default());
        gathered.discard(vec![1, 1], "a".into()).unwrap();
        gathered.recheck(vec![1]).unwrap();
        assert!(gathered.recheck(vec![2]).is_err());
        assert!(gathered.discard(vec![u32::MAX], "a".into()).is_err());
        assert!(gathered.recheck(vec![0; 1030]).is_err());
        gathered.discard_all("b".into()).unwrap();
        let answer = gathered.into_answer();
        assert_eq!(answer.discards, [(vec![1, 1], "a".to_owned()), (vec![0, 1], "b".to_owned())]);
        assert_eq!(answer.rechecks, [1]);
    }
}
