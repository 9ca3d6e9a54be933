//! The objects of a push: which of the remote's are here too, and the pack of what it lacks.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use refgate_core::Oid;

use super::connection::last_words;
use crate::child::Guarded;
use crate::limits::Wait;
use crate::{GitError, GitErrorKind, command, limits};

/// What a pack is made of.
pub(super) struct PackRequest<'a> {
    pub(super) git_dir: &'a Path,
    /// Objects to send with everything that they need; all in the local store.
    pub(super) wanted: Vec<Oid>,
    /// Objects that the other side has with everything that they need; all in the local store.
    pub(super) held: Vec<Oid>,
    /// Deltas may build on objects that the other side has.
    pub(super) thin: bool,
    /// Deltas may name their base by its distance.
    pub(super) offset_deltas: bool,
}

/// Why a pack did not get through.
#[derive(Debug)]
pub(super) enum PackFailure {
    /// It could not be made.
    Local(GitError),
    /// The other side takes no more; what it says tells why.
    Remote,
}

impl PackRequest<'_> {
    /// Streams the pack to `to`. `waiting` is told when this side takes its time (`true`), and when the other one does.
    pub(super) fn send(
        &self,
        to: &mut (impl Write + ?Sized),
        waiting: &dyn Fn(bool),
    ) -> Result<(), PackFailure> {
        let mut git = command::git_in(self.git_dir);
        git.args(["pack-objects", "--revs", "--stdout", "-q"]);
        if self.thin {
            git.arg("--thin");
        }
        if self.offset_deltas {
            git.arg("--delta-base-offset");
        }
        git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let limit = limits::local();
        let mut process =
            Guarded::spawn(&mut git, Wait::silent("packing", limit)).map_err(PackFailure::Local)?;
        let pulse = process.pulse().clone();
        let child = &mut process.child;
        let (Some(mut stdin), Some(mut stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(PackFailure::Local(GitError::new("a pipe of `git pack-objects` is missing")));
        };
        let words = last_words(stderr);
        let copied = thread::scope(|scope| {
            let feeder = scope.spawn(move || self.revisions(&mut stdin));
            let copied = copy(&mut stdout, to, &|resting| {
                pulse.rest(!resting);
                waiting(resting);
            });
            // A reader that is gone makes pack-objects stop, and the feeder with it.
            drop(stdout);
            if copied.is_err() {
                process.end();
            }
            // A feeder that fails has a pack-objects that failed first and says why.
            let _ = feeder.join();
            copied
        });
        copied?;
        let status = process.wait();
        if process.silence().is_some() {
            let message =
                format!("`git pack-objects` made nothing for {} and was ended", limits::shown(limit));
            let error = GitError::new(message).kind(GitErrorKind::Silent);
            return Err(PackFailure::Local(
                error.hint("`site.gitTimeout` sets the time that a local git may take"),
            ));
        }
        match status {
            Ok(status) if status.success() => Ok(()),
            _ => {
                let said = words.recv().unwrap_or_default();
                let said = command::one_line(&said);
                Err(PackFailure::Local(GitError::new(format!("`git pack-objects` failed: {said}"))))
            }
        }
    }

    fn revisions(&self, to: &mut impl Write) -> io::Result<()> {
        let mut to = io::BufWriter::new(to);
        self.wanted.iter().try_for_each(|oid| writeln!(to, "{oid}"))?;
        self.held.iter().try_for_each(|oid| writeln!(to, "^{oid}"))?;
        to.flush()
    }
}

/// `io::copy` that says which side failed, and which one is waited for.
fn copy(
    from: &mut impl Read,
    to: &mut (impl Write + ?Sized),
    waiting: &dyn Fn(bool),
) -> Result<(), PackFailure> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        waiting(true);
        let read = from.read(&mut buffer);
        waiting(false);
        match read {
            Ok(0) => return to.flush().map_err(|_| PackFailure::Remote),
            Ok(n) => to.write_all(&buffer[..n]).map_err(|_| PackFailure::Remote)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                return Err(PackFailure::Local(GitError::new(format!(
                    "cannot read from `git pack-objects`: {e}"
                ))));
            }
        }
    }
}
