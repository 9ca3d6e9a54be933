//! What a filter says: gathered in memory, handed to the host in one call per reason.

/// Collects the verdicts of one call. A ref that nobody names is kept; discard wins over recheck; the first reason
/// given for a ref counts.
#[derive(Debug)]
pub struct Verdicts {
    len: u32,
    discards: Vec<(Vec<u32>, String)>,
    /// One bit per discarded ref, so that the first reason counts although refs are gathered by reason.
    discarded: Vec<u64>,
    all: Option<String>,
    rechecks: Vec<u32>,
}

impl Verdicts {
    /// Nothing said yet about a batch of `len` refs; filters receive theirs ready-made.
    pub fn new(len: u32) -> Verdicts {
        Verdicts { len, discards: Vec::new(), discarded: Vec::new(), all: None, rechecks: Vec::new() }
    }

    /// Holds refs back. `reason` is kebab-case and at most 64 bytes long: one of refgate's, or your own (which people take
    /// as final: refgate reports it as not retryable).
    pub fn discard(&mut self, refs: impl IntoIterator<Item = u32>, reason: &str) {
        if self.all.is_some() {
            return;
        }
        let mut refs = refs.into_iter().peekable();
        if refs.peek().is_none() {
            return;
        }
        if self.discarded.is_empty() {
            self.discarded = vec![0; self.len as usize / 64 + 1];
        }
        let group = match self.discards.iter().rposition(|(_, r)| r == reason) {
            Some(group) => group,
            None => {
                self.discards.push((Vec::new(), reason.to_owned()));
                self.discards.len() - 1
            }
        };
        for index in refs {
            // An index outside the batch is passed on: the host says what is wrong.
            if index < self.len {
                let (word, bit) = (index as usize / 64, 1 << (index % 64));
                if self.discarded[word] & bit != 0 {
                    continue;
                }
                self.discarded[word] |= bit;
            }
            self.discards[group].0.push(index);
        }
    }

    /// Holds back every ref of the batch; those discarded before keep their reason.
    pub fn discard_all(&mut self, reason: &str) {
        self.all.get_or_insert_with(|| reason.to_owned());
    }

    /// Has the host wait, reload refs and ask again. In the second pass this is a discard as
    /// `not-up-to-date`.
    pub fn recheck(&mut self, refs: impl IntoIterator<Item = u32>) {
        self.rechecks.extend(refs);
    }

    /// Everything said so far, as (discards with their reason, reason for all, rechecks).
    #[expect(clippy::type_complexity, reason = "taken apart where it is called")]
    pub(crate) fn into_parts(self) -> (Vec<(Vec<u32>, String)>, Option<String>, Vec<u32>) {
        (self.discards.into_iter().filter(|(refs, _)| !refs.is_empty()).collect(), self.all, self.rechecks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts_whatever_the_order() {
        let mut verdicts = Verdicts::new(100);
        verdicts.discard([1, 70], "a");
        verdicts.discard([2, 1], "b");
        verdicts.discard([3, 2, 3], "a");
        verdicts.discard([1], "c");
        verdicts.recheck([1, 4]);
        verdicts.discard_all("z");
        verdicts.discard_all("y");
        verdicts.discard([5], "late");
        let (discards, all, rechecks) = verdicts.into_parts();
        assert_eq!(discards, [(vec![1, 70, 3], "a".to_owned()), (vec![2], "b".to_owned())]);
        assert_eq!(all.as_deref(), Some("z"));
        assert_eq!(rechecks, [1, 4]);
    }

    #[test]
    fn an_index_outside_reaches_the_host() {
        let mut verdicts = Verdicts::new(1);
        verdicts.discard([1, u32::MAX], "a");
        assert_eq!(verdicts.into_parts().0, [(vec![1, u32::MAX], "a".to_owned())]);
    }
}
