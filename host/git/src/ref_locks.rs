//! Locks on single refs of one repository, for all refgate processes of this site: a client's write, catch-up and the
//! last step of a fetch or of a received replication never overlap on a ref. Released by the death of the holder.
//!
//! All locks are byte ranges of one file, `refgate/refs.lock` below the git directory, one byte per ref at the place that
//! the hash of its name gives. So 500,000 refs leave no files behind, and locks of different refs do not meet. (Two names
//! with one hash would wait for each other, no more.) Very many refs are locked by spans of bytes, because the kernel
//! searches all locks of a file for each new one: 20,000 single ones take seven seconds. The locks are *open file description* locks: they belong to the handle,
//! so two holders inside one process exclude each other, too, and closing any other handle frees nothing.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use refgate_core::{Clock, Deadline, RefName};

use crate::{Files, GitError, GitErrorKind};

/// How long to wait between two attempts at a ref that somebody holds.
const PAUSE: Duration = Duration::from_millis(10);

/// From this many refs on, spans are locked instead of single bytes. Refs that nobody asked for lie within them, and wait.
const MANY: usize = 1000;

/// The right to move some refs of one repository, until it is dropped or the process ends.
#[derive(Debug)]
pub struct RefLocks {
    path: PathBuf,
    file: File,
}

impl RefLocks {
    /// Locks all of `refs`, waiting for each at most until `timeout` has passed since the call.
    ///
    /// Everybody locks in one order, that of the places in the file, so that nobody waits in a circle.
    ///
    /// # Errors
    /// [`GitErrorKind::Busy`] naming a ref that somebody holds; nothing is locked then.
    pub async fn acquire(
        git_dir: &Path,
        refs: &[RefName],
        timeout: Duration,
        clock: &dyn Clock,
    ) -> Result<RefLocks, GitError> {
        let locks = RefLocks::open(git_dir)?;
        let deadline = Deadline::after(clock, timeout);
        let places = in_order(refs);
        let mut spans = Spans::of(places.len());
        while let Some(span) = spans.next() {
            let (first, last) = (places[span.start], places[span.end - 1]);
            while !locks.lock(first.0, last.0)? {
                if spans.split(&span) {
                    break;
                }
                let left = deadline.left(clock);
                if left.is_zero() {
                    return Err(busy(first.1, &locks.path));
                }
                clock.sleep(left.min(PAUSE)).await;
            }
        }
        Ok(locks)
    }

    /// Locks those of `refs` that nobody holds at this moment, and tells for each, in their order, whether it did.
    pub fn try_acquire(git_dir: &Path, refs: &[RefName]) -> Result<(RefLocks, Vec<bool>), GitError> {
        let locks = RefLocks::open(git_dir)?;
        let places = in_order(refs);
        let mut spans = Spans::of(places.len());
        let mut held = HashSet::new();
        while let Some(span) = spans.next() {
            let (first, last) = (places[span.start].0, places[span.end - 1].0);
            if !locks.lock(first, last)? && !spans.split(&span) {
                held.insert(first);
            }
        }
        let got = refs.iter().map(|name| !held.contains(&place(name))).collect();
        Ok((locks, got))
    }

    fn open(git_dir: &Path) -> Result<RefLocks, GitError> {
        let path = git_dir.join("refgate/refs.lock");
        let file = Files::below(git_dir).open_or_make_lock(&path)?;
        Ok(RefLocks { path, file })
    }

    /// Locks all places from `first` to `last`, or says that somebody else holds one of them.
    fn lock(&self, first: i64, last: i64) -> Result<bool, GitError> {
        let range = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: first,
            l_len: last - first + 1,
            l_pid: 0,
        };
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&range)) {
            Ok(_) => Ok(true),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
            Err(nix::Error::EINTR) => self.lock(first, last),
            Err(e) => Err(GitError::io("lock", &self.path, &io::Error::from(e))),
        }
    }
}

/// What is still to be locked: ranges of the places in their order, the lowest on top.
struct Spans(Vec<Range<usize>>);

impl Spans {
    /// Single places, or one span of all when they are many.
    fn of(places: usize) -> Spans {
        match places {
            0 => Spans(Vec::new()),
            MANY.. => Spans(std::iter::once(0..places).collect()),
            _ => Spans((0..places).rev().map(|i| i..i + 1).collect()),
        }
    }

    fn next(&mut self) -> Option<Range<usize>> {
        self.0.pop()
    }

    /// Puts the two halves of a span that somebody holds a part of in its place; `false` for a single place.
    fn split(&mut self, span: &Range<usize>) -> bool {
        let middle = span.start + span.len() / 2;
        if span.len() > 1 {
            self.0.extend([middle..span.end, span.start..middle]);
        }
        span.len() > 1
    }
}

/// Each place once, in rising order, with a name for messages.
fn in_order(refs: &[RefName]) -> Vec<(i64, &RefName)> {
    let mut places: Vec<(i64, &RefName)> = refs.iter().map(|name| (place(name), name)).collect();
    places.sort_unstable();
    places.dedup_by_key(|(place, _)| *place);
    places
}

/// The byte of a ref: FNV-1a (draft-eastlake-fnv), which is the same in every version of refgate, in 62 bits so that the
/// end of the range is a file offset, too.
fn place(name: &RefName) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.as_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash >> 2) as i64
}

fn busy(name: &RefName, path: &Path) -> GitError {
    GitError::new(format!("`{name}` is being moved by another process of this site ({})", path.display()))
        .hint("try again; a process that hangs can be ended, its locks go with it")
        .kind(GitErrorKind::Busy)
}
