//! Replication that a push starts. The hook `post-receive` leaves a mark that there is something to send, and a process of
//! its own that sends it, so that the pusher need not wait.
//!
//! Many pushes make one mark and not many sessions: a process that finds another one at work ends, for that one looks at
//! the mark again when it has sent what it knew of. The mark goes only when a session that began after it has ended well, so
//! what a killed process or a remote that is down leaves unsent is sent by the next one.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use refgate_core::{Clock, Deadline};
use refgate_git::{Files, GitError, GitErrorKind, file_name_of_remote};
use serde::{Deserialize, Serialize};

/// The log of a remote may grow to so many bytes; then it becomes the older one, and the one before goes.
const LOG_BYTES: u64 = 256 * 1024;
/// How long the mark is waited for. It is held as long as it takes to write a line.
const MARK_WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
/// Who looks whether somebody is sending holds the lock for a moment; who is sending holds it for longer than so many pauses.
const LOOKS: usize = 10;

/// What is to be sent from one repository to one remote.
#[derive(Clone, Debug)]
pub struct Onward {
    git_dir: PathBuf,
    remote: String,
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Something was pushed, and no session that began later has sent it.
    pub pending: Option<Mark>,
    /// Why the last session did not send everything.
    pub failed: Option<Failed>,
}

/// That there is something to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Another one for every push.
    pub id: String,
    /// In seconds since 1970.
    pub since: u64,
}

/// A session that did not send everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// In seconds since 1970.
    pub at: u64,
    /// What went wrong.
    pub why: String,
}

/// The right to send, until it is dropped or the process ends.
#[derive(Debug)]
pub struct AtWork {
    _lock: File,
}

impl Onward {
    /// From the repository whose git directory is `git_dir` to `remote`.
    pub fn new(git_dir: &Path, remote: &str) -> Onward {
        Onward { git_dir: git_dir.to_owned(), remote: remote.to_owned() }
    }

    /// Where the processes that send write what they do.
    pub fn log(&self) -> PathBuf {
        self.file("log")
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.git_dir.join(format!("refgate/onward-{}.{kind}", file_name_of_remote(&self.remote)))
    }

    /// Notes that there is something to send. What was noted before is part of it.
    ///
    /// # Errors
    /// What cannot be written.
    pub async fn mark(&self, mark: Mark, clock: &dyn Clock) -> Result<(), GitError> {
        self.change(clock, |state| state.pending = Some(mark)).await
    }

    /// Notes that a session has sent everything that was there at `mark`; what was marked later stays.
    ///
    /// # Errors
    /// What cannot be written.
    pub async fn done(&self, mark: &Mark, clock: &dyn Clock) -> Result<(), GitError> {
        self.change(clock, |state| {
            state.failed = None;
            state.pending.take_if(|pending| pending == mark);
        })
        .await
    }

    /// Notes why a session did not send everything. The mark stays.
    ///
    /// # Errors
    /// What cannot be written.
    pub async fn failed(&self, failed: Failed, clock: &dyn Clock) -> Result<(), GitError> {
        self.change(clock, |state| state.failed = Some(failed)).await
    }

    async fn change(&self, clock: &dyn Clock, change: impl FnOnce(&mut State)) -> Result<(), GitError> {
        let path = self.file("json");
        let mut file = Files::below(&self.git_dir).open_or_make_lock(&path)?;
        let deadline = Deadline::after(clock, MARK_WAIT);
        while !try_lock(&file, &path)? {
            if deadline.left(clock).is_zero() {
                let message = format!("`{}` is held by another process", path.display());
                return Err(GitError::new(message).kind(GitErrorKind::Busy));
            }
            clock.sleep(PAUSE).await;
        }
        let mut text = Vec::new();
        let io = |e: io::Error| GitError::io("write", &path, &e);
        file.read_to_end(&mut text).map_err(io)?;
        let mut state = parsed(&text);
        change(&mut state);
        // In its place, for it is what is locked. A reader that meets half of it takes it for a mark.
        let text = serde_json::to_vec(&state).map_err(|e| GitError::new(e.to_string()))?;
        let written = file.rewind().and_then(|()| file.write_all(&text));
        written.and_then(|()| file.set_len(text.len() as u64)).map_err(io)
    }

    /// How it stands.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn state(&self) -> Result<State, GitError> {
        let path = self.file("json");
        match fs::read(&path) {
            Ok(text) => Ok(parsed(&text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(e) => Err(GitError::io("read", &path, &e)),
        }
    }

    /// The right to send; `None` while another process has it, and not only for a look at whether somebody has.
    ///
    /// # Errors
    /// A lock that cannot be made.
    pub async fn work(&self, clock: &dyn Clock) -> Result<Option<AtWork>, GitError> {
        for _ in 0..LOOKS {
            if let Some(at_work) = self.try_work()? {
                return Ok(Some(at_work));
            }
            clock.sleep(PAUSE).await;
        }
        Ok(None)
    }

    /// Whether another process is sending now.
    ///
    /// # Errors
    /// A lock that cannot be made.
    pub fn is_running(&self) -> Result<bool, GitError> {
        Ok(self.try_work()?.is_none())
    }

    fn try_work(&self) -> Result<Option<AtWork>, GitError> {
        let path = self.file("lock");
        let file = Files::below(&self.git_dir).open_or_make_lock(&path)?;
        Ok(try_lock(&file, &path)?.then_some(AtWork { _lock: file }))
    }

    /// The log, to be written at its end. When it has grown too long, it begins anew.
    ///
    /// # Errors
    /// What cannot be made.
    pub fn open_log(&self) -> Result<File, GitError> {
        Files::below(&self.git_dir).open_to_append(&self.log())
    }

    /// Keeps the log from growing for ever. Only for who has the right to send.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn bound_log(&self) -> Result<(), GitError> {
        let path = self.log();
        let io = |e: io::Error| GitError::io("shorten", &path, &e);
        let mut log = self.open_log()?;
        if log.metadata().map_err(io)?.len() <= LOG_BYTES {
            return Ok(());
        }
        // The old lines are worth less than that the disk does not fill. What lies there under that name may be a link.
        let mut old = Vec::new();
        if log.read_to_end(&mut old).is_ok() {
            drop(Files::below(&self.git_dir).replace(&self.file("log.old"), &old));
        }
        log.set_len(0).map_err(io)
    }
}

/// What cannot be read as a state was being written, or is damaged: a session more does no harm.
fn parsed(text: &[u8]) -> State {
    if text.is_empty() {
        return State::default();
    }
    serde_json::from_slice(text)
        .unwrap_or_else(|_| State { pending: Some(Mark { id: "damaged".into(), since: 0 }), failed: None })
}

fn try_lock(file: &File, path: &Path) -> Result<bool, GitError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(GitError::io("lock", path, &e)),
    }
}

/// Lets this process go on when the connection ends in which it was started.
///
/// # Errors
/// What the operating system says.
pub fn leave_session() -> io::Result<()> {
    match rustix::process::setsid() {
        Ok(_) => Ok(()),
        // It leads a group of its own, and that is as good.
        Err(rustix::io::Errno::PERM) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    use refgate_core::BoxFuture;

    /// Time stands still: nothing here waits.
    struct Still(Instant);

    impl Clock for Still {
        fn now(&self) -> Instant {
            self.0
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
            Box::pin(std::future::pending())
        }

        fn unix_time(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[expect(clippy::disallowed_methods, reason = "some instant is needed")]
    fn still() -> Still {
        Still(Instant::now())
    }

    fn repository() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("git").args(["init", "-q", "--bare"]).arg(dir.path()).status();
        assert!(made.unwrap().success());
        dir
    }

    fn mark(id: &str) -> Mark {
        Mark { id: id.into(), since: 7 }
    }

    #[tokio::test]
    async fn a_mark_goes_only_with_a_session_that_began_after_it() {
        let (dir, clock) = (repository(), still());
        let onward = Onward::new(dir.path(), "b");
        assert_eq!(onward.state().unwrap(), State::default());
        onward.mark(mark("1"), &clock).await.unwrap();
        onward.mark(mark("a longer one"), &clock).await.unwrap();
        onward.done(&mark("1"), &clock).await.unwrap();
        assert_eq!(onward.state().unwrap().pending, Some(mark("a longer one")));
        let failed = Failed { at: 9, why: "it is down".into() };
        onward.failed(failed.clone(), &clock).await.unwrap();
        assert_eq!(
            onward.state().unwrap(),
            State { pending: Some(mark("a longer one")), failed: Some(failed) }
        );
        onward.done(&mark("a longer one"), &clock).await.unwrap();
        assert_eq!(onward.state().unwrap(), State::default());
        // Another remote has a mark of its own.
        assert_eq!(Onward::new(dir.path(), "c").state().unwrap(), State::default());
    }

    #[tokio::test]
    async fn half_a_mark_is_one() {
        let (dir, clock) = (repository(), still());
        let onward = Onward::new(dir.path(), "b");
        onward.mark(mark("1"), &clock).await.unwrap();
        let text = fs::read(onward.file("json")).unwrap();
        fs::write(onward.file("json"), &text[..text.len() / 2]).unwrap();
        let pending = onward.state().unwrap().pending.unwrap();
        onward.done(&pending, &clock).await.unwrap();
        assert_eq!(onward.state().unwrap(), State::default());
    }

    #[test]
    fn one_process_sends_at_a_time_and_the_log_stays_short() {
        let dir = repository();
        let onward = Onward::new(dir.path(), "b");
        let first = onward.try_work().unwrap();
        assert!(first.is_some() && onward.try_work().unwrap().is_none());
        drop(first);
        assert!(onward.try_work().unwrap().is_some());
        let mut log = onward.open_log().unwrap();
        log.write_all(&vec![b'x'; LOG_BYTES as usize + 1]).unwrap();
        // No link is followed, wherever it leads: the one to run this may be root in another user's repository.
        let secret = dir.path().join("secret");
        fs::write(&secret, "kept").unwrap();
        std::os::unix::fs::symlink(&secret, onward.file("log.old")).unwrap();
        onward.bound_log().unwrap();
        log.write_all(b"y").unwrap();
        assert_eq!(fs::read(onward.log()).unwrap(), b"y");
        assert_eq!(fs::metadata(onward.file("log.old")).unwrap().len(), LOG_BYTES + 1);
        assert_eq!(fs::read_to_string(&secret).unwrap(), "kept");
        fs::remove_file(onward.log()).unwrap();
        std::os::unix::fs::symlink(&secret, onward.log()).unwrap();
        assert!(onward.open_log().is_err() && onward.bound_log().is_err());
        assert_eq!(fs::read_to_string(&secret).unwrap(), "kept");
    }
}
