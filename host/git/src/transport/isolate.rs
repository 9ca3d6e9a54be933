//! Finding the few that spoil a transfer for all: what fails together is tried in parts, until each culprit is alone.

use crate::GitError;

/// What one try says about the items that were in it.
pub(super) enum Tried<T> {
    /// `Some` settles an item; those without an answer are tried again, together. One answer at least is there.
    Answered(Vec<Option<T>>),
    /// It failed, in these words, and nobody said for which of them.
    Failed(String),
}

/// Tries some items together; an error ends everything.
pub(super) type Attempt<'a, I, T> = dyn FnMut(&[I]) -> Result<Tried<T>, GitError> + 'a;

/// So many items that fail alone, one after another, with no success at all: the other side refuses everything.
const AT_FIRST: usize = 12;
/// The same after something got through.
const LATER: usize = 64;
/// So many tries in all, whoever is served or refused by them: each is a session with the other side.
const TRIES: usize = 4_000;
/// So many groups of names in which nothing got through, with no success at all, are enough.
const GROUPS: usize = 2;

/// Tries `items` together, and in smaller and smaller parts where that fails. Gives an answer for each, in their order.
///
/// `group` is the name of an item up to its last part: refusals often concern one group of names, so groups are tried
/// apart first, and given up together. `alone` makes an answer of an item that fails by itself, or is given up.
/// An error ends everything; what was not settled by then is the error's.
pub(super) fn isolate<I: Clone, T>(
    items: &[I],
    group: impl Fn(&I) -> Vec<u8>,
    attempt: &mut Attempt<'_, I, T>,
    alone: impl Fn(&I, &str) -> T,
) -> (Vec<Option<T>>, Option<GitError>) {
    let groups: Vec<Vec<u8>> = items.iter().map(group).collect();
    let mut answers: Vec<Option<T>> = items.iter().map(|_| None).collect();
    let mut batches: Vec<Vec<usize>> = vec![(0..items.len()).collect()];
    let mut refused: Vec<usize> = Vec::new();
    let (mut any, mut given_up, mut tries) = (false, 0, 0);
    while let Some(batch) = batches.pop() {
        if batch.is_empty() {
            continue;
        }
        tries += 1;
        if tries > TRIES {
            let words = format!(
                "{TRIES} sessions did not settle it, because others were refused one by one; run again"
            );
            batch.iter().for_each(|i| answers[*i] = Some(alone(&items[*i], &words)));
            continue;
        }
        let sent: Vec<I> = batch.iter().map(|i| items[*i].clone()).collect();
        let words = match attempt(&sent) {
            Err(e) => return (answers, Some(e)),
            Ok(Tried::Answered(said)) => {
                let mut again = Vec::new();
                for (i, answer) in batch.iter().zip(said) {
                    match answer {
                        Some(answer) => answers[*i] = Some(answer),
                        None => again.push(*i),
                    }
                }
                if again.len() < batch.len() {
                    (any, refused) = (true, Vec::new());
                    batches.push(again);
                    continue;
                }
                "nobody said what became of it".to_owned()
            }
            Ok(Tried::Failed(words)) => words,
        };
        if let [one] = batch[..] {
            answers[one] = Some(alone(&items[one], &words));
            refused.push(one);
        } else {
            let (first, second) = halves(&batch, &groups);
            batches.extend([second, first]);
            continue;
        }
        if refused.len() < if any { LATER } else { AT_FIRST } {
            continue;
        }
        // Whatever begins like these is refused like them, as far as anybody can tell.
        given_up += 1;
        let common = match !any && given_up >= GROUPS {
            true => Vec::new(),
            false => common(refused.iter().map(|i| groups[*i].as_slice())),
        };
        let words = format!(
            "{words}; {} others were refused one by one before, so it was not tried alone",
            refused.len()
        );
        for batch in &mut batches {
            batch.retain(|i| {
                let goes = !groups[*i].starts_with(&common);
                if !goes {
                    answers[*i] = Some(alone(&items[*i], &words));
                }
                goes
            });
        }
        refused.clear();
    }
    (answers, None)
}

/// Two parts: between groups where there are several, as near to the middle as they allow.
fn halves(batch: &[usize], groups: &[Vec<u8>]) -> (Vec<usize>, Vec<usize>) {
    let top = |i: usize| groups[batch[i]].splitn(3, |b| *b == b'/').nth(1).map(<[u8]>::to_vec);
    let middle = batch.len() / 2;
    let between = |at: &usize| top(*at) != top(*at - 1);
    let at = (1..batch.len()).filter(between).min_by_key(|at| at.abs_diff(middle)).unwrap_or(middle);
    (batch[..at].to_vec(), batch[at..].to_vec())
}

/// What all of `names` begin with, up to a slash.
fn common<'a>(mut names: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let Some(first) = names.next() else { return Vec::new() };
    let same = |one: &[u8], other: &[u8]| one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let mut common = first;
    for name in names {
        common = &common[..same(common, name)];
    }
    let end = common.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    common[..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many tries it takes, and who is found, when `bad` spoils every try that it is in.
    fn run(names: &[String], bad: impl Fn(&str) -> bool) -> (usize, Vec<String>) {
        let mut tries = 0;
        let mut attempt = |sent: &[String]| {
            tries += 1;
            Ok(match sent.iter().any(|name| bad(name)) {
                true => Tried::Failed("no".into()),
                false => Tried::Answered(sent.iter().map(|_| Some(String::new())).collect()),
            })
        };
        let group = |name: &String| name.as_bytes()[..=name.rfind('/').unwrap()].to_vec();
        let (answers, error) = isolate(names, group, &mut attempt, |_, words| words.to_owned());
        assert!(error.is_none());
        let answers = answers.into_iter().map(Option::unwrap);
        let found = names.iter().zip(answers).filter(|(_, said)| !said.is_empty());
        (tries, found.map(|(name, _)| name.clone()).collect())
    }

    fn names(counts: &[(&str, usize)]) -> Vec<String> {
        counts.iter().flat_map(|(group, n)| (0..*n).map(move |i| format!("refs/{group}/{i}"))).collect()
    }

    #[test]
    fn culprits_are_found_with_few_tries_and_nobody_else_is_blamed() {
        let all = names(&[("changes", 400), ("heads", 1000), ("pull", 600), ("tags", 48)]);
        let one = |bad: &'static str| move |name: &str| name == bad;
        assert_eq!(run(&all, |_| false), (1, vec![]));
        let (tries, found) = run(&all, one("refs/heads/700"));
        assert_eq!(found, ["refs/heads/700"]);
        assert!(tries <= 30, "{tries}");
        let (tries, found) = run(&all, |name| name.ends_with("/7"));
        assert_eq!(found.len(), 4);
        assert!(tries <= 4 * 30, "{tries}");
        // A whole group is refused, and what comes after it is not.
        let (tries, found) = run(&all, |name| name.starts_with("refs/pull/"));
        assert_eq!(found, names(&[("pull", 600)]));
        assert!(tries <= 160, "{tries}");
        let (tries, found) = run(&all, |name| name.starts_with("refs/changes/") || name == "refs/tags/3");
        assert_eq!(found.len(), 401);
        assert!(tries <= 100, "{tries}");
    }

    #[test]
    fn who_refuses_everything_is_not_asked_twice_for_each() {
        let all = names(&[("changes", 4000), ("heads", 4000), ("x", 1), ("y", 1), ("z", 9)]);
        let (tries, found) = run(&all, |_| true);
        assert_eq!(found.len(), all.len());
        assert!(tries < 80, "{tries}");
    }

    #[test]
    fn who_serves_one_at_a_time_is_not_asked_for_ever() {
        let all: Vec<usize> = (0..TRIES + 1000).collect();
        let mut tries = 0;
        let mut attempt = |sent: &[usize]| {
            tries += 1;
            Ok(Tried::Answered(sent.iter().enumerate().map(|(i, _)| (i == 0).then_some("yes")).collect()))
        };
        let (answers, error) = isolate(&all, |_| Vec::new(), &mut attempt, |_, _| "alone");
        assert!(error.is_none());
        assert_eq!(tries, TRIES);
        let given_up = answers.iter().filter(|answer| **answer == Some("alone")).count();
        assert_eq!(given_up, all.len() - TRIES, "each has an answer");
    }

    #[test]
    fn an_error_ends_it_and_what_was_settled_stays() {
        let mut tries = 0;
        let mut attempt = |sent: &[u8]| {
            tries += 1;
            match (tries, sent.len()) {
                (1, _) => Ok(Tried::Failed("no".into())),
                (2, n) => Ok(Tried::Answered(vec![Some("yes"); n])),
                _ => Err(GitError::new("gone")),
            }
        };
        let (answers, error) = isolate(&[1, 2, 3, 4], |_| Vec::new(), &mut attempt, |_, _| "alone");
        assert_eq!(answers, [Some("yes"), Some("yes"), None, None]);
        assert_eq!(error.unwrap().message, "gone");
    }
}
