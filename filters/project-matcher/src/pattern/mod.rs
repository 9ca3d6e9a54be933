//! Entries of `projects.pattern`: regular expression, prefix or exact name, told apart as Gerrit does.
//!
//! A value that starts with `^` is a Java regular expression that the *whole* name must match (`String.matches`), one that
//! ends with `*` is a prefix, anything else is the name itself. A regular expression either answers as Java 17 does or is
//! an error when it is compiled: see [`java`].

mod java;
#[cfg(test)]
mod tests;

use std::fmt;

use fancy_regex::{Regex, RegexBuilder};

/// How often the engine may backtrack while it matches one pattern against one name.
///
/// The unit is one backtrack: one return to an alternative that was left open. Patterns without look-around,
/// back-references, possessive quantifiers and atomic groups run in linear time and never reach it.
pub const BACKTRACK_LIMIT: usize = 100_000;

/// Largest compiled size, in bytes, of one automaton of a pattern: `^(?:[a-z]{1000}){1000}` fails to load instead of
/// filling the memory of the filter.
const AUTOMATON_LIMIT: usize = 4 << 20;

/// Largest number of instructions of one backtracking program, for the same reason.
const PROGRAM_LIMIT: usize = 100_000;

/// One entry of `projects.pattern`, compiled.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Exact,
    Prefix,
    Regex { engine: Box<Regex>, domain: java::Domain },
}

impl Pattern {
    /// Compiles one value; the empty text is an error, as is every regular expression that Java rejects or that cannot
    /// be answered as Java answers it.
    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        let fail = |message: String| PatternError { text: text.to_owned(), message };
        let kind = if text.is_empty() {
            return Err(fail("an empty pattern matches nothing; remove it or write `*`".to_owned()));
        } else if text.starts_with('^') {
            let translated = java::translate(text).map_err(|fault| fail(fault.describe(text)))?;
            let engine = RegexBuilder::new(&translated.regex)
                .backtrack_limit(BACKTRACK_LIMIT)
                .delegate_size_limit(AUTOMATON_LIMIT)
                .max_prog_size(PROGRAM_LIMIT)
                .build()
                .map_err(|error| {
                    fail(format!("the regular expression at byte 0 cannot be compiled: {error}"))
                })?;
            Kind::Regex { engine: Box::new(engine), domain: translated.domain }
        } else if text.ends_with('*') {
            Kind::Prefix
        } else {
            Kind::Exact
        };
        Ok(Pattern { text: text.to_owned(), kind })
    }

    /// The value as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the pattern matches the whole name. An error means that there is no answer: the caller logs it and takes
    /// it as no match for this pattern.
    pub fn matches(&self, name: &str) -> Result<bool, StepLimit> {
        match &self.kind {
            Kind::Exact => Ok(self.text == name),
            Kind::Prefix => Ok(name.starts_with(&self.text[..self.text.len() - 1])),
            Kind::Regex { engine, domain } => {
                domain.admits(name).map_err(|why| self.undecided(why.to_owned()))?;
                engine.is_match(name).map_err(|error| match error {
                    fancy_regex::Error::RuntimeError(fancy_regex::RuntimeError::BacktrackLimitExceeded) => {
                        self.undecided(format!("it gave up after {BACKTRACK_LIMIT} backtracking steps"))
                    }
                    other => self.undecided(other.to_string()),
                })
            }
        }
    }

    fn undecided(&self, why: String) -> StepLimit {
        StepLimit { text: self.text.clone(), why }
    }
}

/// Why a value of `projects.pattern` is not usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    text: String,
    message: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pattern `{}`: {}", self.text, self.message)
    }
}

impl std::error::Error for PatternError {}

/// A pattern that has no answer for one name: it reached `BACKTRACK_LIMIT`, or the name has characters for which the
/// pattern cannot be answered as Java does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLimit {
    text: String,
    why: String,
}

impl fmt::Display for StepLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pattern `{}` is not decided: {}", self.text, self.why)
    }
}

impl std::error::Error for StepLimit {}
