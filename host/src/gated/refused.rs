//! What was refused and needs an operator: pushers are told to ask for one, and here is what to do. `hook status` shows it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use refgate_git::{Files, GitError};
use serde::{Deserialize, Serialize};

/// What is kept, in bytes; then the file becomes the older one, and the one before goes.
const MAX_BYTES: u64 = 64 * 1024;

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Seconds since 1970.
    pub time: u64,
    /// The ref, `%XX` for bytes that are not UTF-8; none: the whole push.
    #[serde(rename = "ref")]
    pub name: Option<String>,
    /// Why, and what to do.
    pub why: String,
}

/// The refusals of one repository.
#[derive(Clone, Debug)]
pub struct Refusals {
    git_dir: PathBuf,
}

impl Refusals {
    /// Below a git directory.
    pub fn below(git_dir: &Path) -> Refusals {
        Refusals { git_dir: git_dir.to_owned() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.git_dir.join("refgate").join(name)
    }

    /// Adds some.
    ///
    /// # Errors
    /// What cannot be written. The pusher is told that the push is refused all the same.
    pub fn add(&self, refused: &[Refused]) -> Result<(), GitError> {
        if refused.is_empty() {
            return Ok(());
        }
        let path = self.file("refused.jsonl");
        let io = |e: io::Error| GitError::io("write", &path, &e);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_BYTES) {
            fs::rename(&path, self.file("refused.old.jsonl")).map_err(io)?;
        }
        let mut text = Vec::new();
        for one in refused {
            serde_json::to_writer(&mut text, one).map_err(|e| GitError::new(e.to_string()))?;
            text.push(b'\n');
        }
        let mut file = Files::below(&self.git_dir).open_to_append(&path)?;
        file.write_all(&text).map_err(io)
    }

    /// The newest ones, the newest last; of equal ones only the last. A line that is no refusal is passed over.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn newest(&self, count: usize) -> Result<Vec<Refused>, GitError> {
        let mut all: Vec<Refused> = Vec::new();
        for name in ["refused.old.jsonl", "refused.jsonl"] {
            let path = self.file(name);
            let text = match fs::read(&path) {
                Ok(text) => text,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(GitError::io("read", &path, &e)),
            };
            let lines = text.split(|b| *b == b'\n');
            for one in lines.filter_map(|line| serde_json::from_slice::<Refused>(line).ok()) {
                all.retain(|before| (&before.name, &before.why) != (&one.name, &one.why));
                all.push(one);
            }
        }
        let from = all.len().saturating_sub(count);
        Ok(all.split_off(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_kind_is_kept_and_the_file_stays_short() {
        let dir = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("git").args(["init", "-q", "--bare"]).arg(dir.path()).status();
        assert!(made.unwrap().success());
        let refusals = Refusals::below(dir.path());
        assert_eq!(refusals.newest(3).unwrap(), []);
        let one = |time, why: &str| Refused { time, name: Some("refs/heads/x".into()), why: why.into() };
        refusals.add(&[one(1, "a"), one(2, "b")]).unwrap();
        fs::write(refusals.file("refused.jsonl"), {
            let mut text = fs::read(refusals.file("refused.jsonl")).unwrap();
            text.extend_from_slice(b"half a li\n");
            text
        })
        .unwrap();
        refusals.add(&[one(3, "a")]).unwrap();
        assert_eq!(refusals.newest(3).unwrap(), [one(2, "b"), one(3, "a")]);
        assert_eq!(refusals.newest(1).unwrap(), [one(3, "a")]);
        for time in 0..2_000 {
            refusals.add(&[one(time, &"w".repeat(100))]).unwrap();
        }
        let size = |name: &str| fs::metadata(refusals.file(name)).unwrap().len();
        assert!(size("refused.jsonl") + size("refused.old.jsonl") < 3 * MAX_BYTES);
        assert_eq!(refusals.newest(1).unwrap()[0].time, 1_999);
    }
}
