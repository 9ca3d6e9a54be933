//! The objects of a push: which of the remote's are here too, and the pack of what it lacks.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use refgate_core::Oid;

use super::connection::last_words;
use crate::{GitError, command};

/// Whether each object is in the local store, one answer per oid in the same order.
pub(super) fn exist(git_dir: &Path, oids: &[Oid]) -> Result<Vec<bool>, GitError> {
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let mut git = command::git_in(git_dir);
    git.args(["cat-file", "--batch-check=%(objectname)", "--buffer"]);
    let mut input = Vec::with_capacity(oids.len() * 41);
    for oid in oids {
        writeln!(input, "{oid}").map_err(|e| GitError::new(format!("cannot list objects: {e}")))?;
    }
    let output = command::run_ok(git, input)?;
    let answers: Vec<bool> =
        output.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| !l.ends_with(b" missing")).collect();
    match answers.len() == oids.len() {
        true => Ok(answers),
        false => Err(GitError::new("`git cat-file` did not answer for every object")),
    }
}

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
    /// Streams the pack to `to`.
    pub(super) fn send(&self, to: &mut (impl Write + ?Sized)) -> Result<(), PackFailure> {
        let mut git = command::git_in(self.git_dir);
        git.args(["pack-objects", "--revs", "--stdout", "-q"]);
        if self.thin {
            git.arg("--thin");
        }
        if self.offset_deltas {
            git.arg("--delta-base-offset");
        }
        git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command::spawn(&mut git).map_err(PackFailure::Local)?;
        let (Some(mut stdin), Some(mut stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(PackFailure::Local(GitError::new("a pipe of `git pack-objects` is missing")));
        };
        let words = last_words(stderr);
        let copied = thread::scope(|scope| {
            let feeder = scope.spawn(move || self.revisions(&mut stdin));
            let copied = copy(&mut stdout, to);
            // A reader that is gone makes pack-objects stop, and the feeder with it.
            drop(stdout);
            if copied.is_err() {
                // It may have ended already.
                let _ = child.kill();
            }
            // A feeder that fails has a pack-objects that failed first and says why.
            let _ = feeder.join();
            copied
        });
        let status = child.wait();
        copied?;
        match status {
            Ok(status) if status.success() => Ok(()),
            _ => {
                let said = words.recv().unwrap_or_default();
                let said = String::from_utf8_lossy(&said).trim().to_owned();
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

/// `io::copy` that says which side failed.
fn copy(from: &mut impl Read, to: &mut (impl Write + ?Sized)) -> Result<(), PackFailure> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
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
