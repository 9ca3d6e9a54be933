//! Sets of code points, with the algebra of Java character classes.

use std::fmt::Write as _;

const LAST: u32 = 0x10_ffff;

/// A set of code points as sorted, disjoint, non-adjacent inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Set(Vec<(u32, u32)>);

impl Set {
    pub fn of(ranges: &[(u32, u32)]) -> Set {
        let mut sorted = ranges.to_vec();
        sorted.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(sorted.len());
        for (from, to) in sorted {
            match merged.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Set(merged)
    }

    pub fn single(code: u32) -> Set {
        Set(vec![(code, code)])
    }

    pub fn union(&self, other: &Set) -> Set {
        Set::of(&[self.0.as_slice(), other.0.as_slice()].concat())
    }

    pub fn complement(&self) -> Set {
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        let mut next = 0;
        for &(from, to) in &self.0 {
            if from > next {
                gaps.push((next, from - 1));
            }
            next = to + 1;
        }
        if next <= LAST {
            gaps.push((next, LAST));
        }
        Set(gaps)
    }

    pub fn intersection(&self, other: &Set) -> Set {
        self.complement().union(&other.complement()).complement()
    }

    /// Adds the other case of every ASCII letter: `(?i)` without `(?u)`.
    pub fn fold_ascii(&self) -> Set {
        let lower =
            self.intersection(&Set::single_range('a', 'z')).0.into_iter().map(|(a, b)| (a - 32, b - 32));
        let upper =
            self.intersection(&Set::single_range('A', 'Z')).0.into_iter().map(|(a, b)| (a + 32, b + 32));
        Set::of(&self.0.iter().copied().chain(lower).chain(upper).collect::<Vec<_>>())
    }

    fn single_range(from: char, to: char) -> Set {
        Set(vec![(from.into(), to.into())])
    }

    /// Whether all of `from..=to`, none of it (`Some(false)`), or a part (`None`) is in the set.
    pub fn covers(&self, from: u32, to: u32) -> Option<bool> {
        let part = self.intersection(&Set(vec![(from, to)]));
        match part.0.as_slice() {
            [] => Some(false),
            [whole] if *whole == (from, to) => Some(true),
            _ => None,
        }
    }

    /// Writes the set in the engine's syntax. Surrogates are left out: no name has them.
    pub fn emit(&self, out: &mut String) {
        let valid: Vec<(char, char)> = self
            .0
            .iter()
            .filter_map(|&(from, to)| {
                let from = if (0xd800..=0xdfff).contains(&from) { 0xe000 } else { from };
                let to = if (0xd800..=0xdfff).contains(&to) { 0xd7ff } else { to };
                (from <= to).then_some((char::from_u32(from)?, char::from_u32(to)?))
            })
            .collect();
        match valid.as_slice() {
            [] => out.push_str("[^\\x{0}-\\x{10ffff}]"),
            [(only, last)] if only == last => literal(*only, out),
            ranges => {
                out.push('[');
                for (from, to) in ranges {
                    literal(*from, out);
                    if from != to {
                        out.push('-');
                        literal(*to, out);
                    }
                }
                out.push(']');
            }
        }
    }
}

/// Everything but plain letters and digits is written as a number, so that nothing can be read as syntax.
fn literal(c: char, out: &mut String) {
    if c.is_ascii_alphanumeric() {
        out.push(c);
    } else {
        // Writing to a `String` cannot fail.
        let _ = write!(out, "\\x{{{:x}}}", u32::from(c));
    }
}
