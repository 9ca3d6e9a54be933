//! What is wrong with settings, in the form the host shows to people.

use std::fmt;

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// JSON pointer to the setting: `/limit`, `/pattern/1`; empty for the settings as a whole.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem with the setting `key`.
    pub fn new(key: &str, message: impl Into<String>) -> Problem {
        Problem { pointer: pointer(key, None), message: message.into() }
    }

    /// A problem with value `index` (from 0) of the setting `key`.
    pub fn at(key: &str, index: usize, message: impl Into<String>) -> Problem {
        Problem { pointer: pointer(key, Some(index)), message: message.into() }
    }
}

/// RFC 6901: `~` and `/` within a key are written `~0` and `~1`.
pub(crate) fn pointer(key: &str, index: Option<usize>) -> String {
    let key = key.replace('~', "~0").replace('/', "~1");
    match index {
        Some(index) => format!("/{key}/{index}"),
        None => format!("/{key}"),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line feed would begin another problem.
        write!(f, "{}: {}", self.pointer, self.message.replace(['\n', '\r'], " "))
    }
}

/// Everything that is wrong, one problem per line when written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(problems: Vec<Problem>) -> Problems {
        Problems(problems)
    }
}

impl From<String> for Problems {
    fn from(message: String) -> Problems {
        Problem { pointer: String::new(), message }.into()
    }
}

impl From<&str> for Problems {
    fn from(message: &str) -> Problems {
        message.to_owned().into()
    }
}
