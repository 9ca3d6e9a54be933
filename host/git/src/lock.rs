//! At most one session per repository and remote: a lock that the death of its holder releases.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, UNIX_EPOCH};

use refgate_core::{Clock, Deadline};

use crate::{Files, GitError, GitErrorKind};

/// How long to wait between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// The right to replicate between one repository and one remote, until it is dropped or the process ends.
#[derive(Debug)]
pub struct SessionLock {
    path: PathBuf,
    _file: File,
}

impl SessionLock {
    /// Takes the lock `refgate/session-REMOTE.lock` below `git_dir`, and waits for it at most `timeout`.
    ///
    /// # Errors
    /// [`GitErrorKind::Busy`] with who holds it when the time is up.
    pub async fn acquire(
        git_dir: &Path,
        remote: &str,
        timeout: Duration,
        clock: &dyn Clock,
    ) -> Result<SessionLock, GitError> {
        let path = git_dir.join(format!("refgate/session-{}.lock", file_name(remote)));
        // Kept when the lock is released: to remove it would let two processes lock two files of the same name.
        let mut file = Files::below(git_dir).open_or_make_lock(&path)?;
        let deadline = Deadline::after(clock, timeout);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(GitError::io("lock", &path, &e)),
                Err(TryLockError::WouldBlock) => {}
            }
            let left = deadline.left(clock);
            if left.is_zero() {
                return Err(busy(&path, remote, &mut file));
            }
            clock.sleep(left.min(PAUSE)).await;
        }
        note_holder(&mut file).map_err(|e| GitError::io("write to", &path, &e))?;
        Ok(SessionLock { path, _file: file })
    }

    /// The file that is locked.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The name of a remote as part of a file name; different names stay different.
pub fn file_name(remote: &str) -> String {
    let mut name = String::new();
    for b in remote.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(b as char),
            _ => name.push_str(&format!("%{b:02X}")),
        }
    }
    name
}

/// For whoever waits. When this was written is in the file's own time.
fn note_holder(file: &mut File) -> std::io::Result<()> {
    let command: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "pid {}: {}", process::id(), command.join(" "))
}

fn busy(path: &Path, remote: &str, file: &mut File) -> GitError {
    let mut holder = String::new();
    // It may be about to be written, or not be text: who holds the lock is help, not more.
    let read = file.rewind().and_then(|()| file.read_to_string(&mut holder));
    let holder = match read {
        Ok(_) if !holder.trim().is_empty() => holder.trim().to_owned(),
        _ => "a process that has not yet written its name".to_owned(),
    };
    let since = file.metadata().and_then(|m| m.modified()).ok();
    let since = since.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map(|t| format!(", since {}", utc(t)));
    let message = format!(
        "another session with the remote `{remote}` is running ({holder}{}); it holds `{}`",
        since.unwrap_or_default(),
        path.display()
    );
    GitError::new(message)
        .hint("wait until it ends, or end it; the lock goes with the process")
        .kind(GitErrorKind::Busy)
}

/// `2026-11-03 12:00:05 UTC`, from the time since 1970. Years begin in March here, so that the leap day comes last.
pub fn utc(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_793_707_205, "2026-11-03 12:00:05 UTC"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn remotes_have_different_files() {
        assert_eq!(file_name("site-b"), "site-b");
        assert_eq!(file_name("../a/b%"), "..%2Fa%2Fb%25");
    }
}
