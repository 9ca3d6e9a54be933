//! Taking objects from a remote without moving a ref: what is decided later must be here first.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use refgate_core::Oid;

use super::connection::repository_at;
use super::failure::failure;
use super::pack::exist;
use super::{Progress, RemoteUrl, git_for_remotes};
use crate::files::durable::{after_transfer, git_for_transfer};
use crate::{GitError, command};

/// More explicit refspecs than this in one `git fetch` cost time by their square.
const BATCH: usize = 1_000;

/// What was brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedObjects {
    /// Objects that the remote does not have, or does not give, in the order asked for. All others are here, with
    /// everything that they need.
    pub missing: Vec<Oid>,
}

/// Brings `oids` and all that they need into the local object store, and changes nothing else: no ref, no tag, no
/// FETCH_HEAD. Asks the remote only for what is not here yet.
///
/// An error says that the transfer failed; objects may have come, refs have not moved.
pub fn fetch_objects(
    local_git_dir: &Path,
    url: &RemoteUrl,
    oids: &[Oid],
    progress: &mut dyn FnMut(Progress),
) -> Result<FetchedObjects, GitError> {
    let wanted = incomplete(local_git_dir, oids)?;
    let mut refused = BTreeSet::new();
    for batch in wanted.chunks(BATCH) {
        let mut batch = batch.to_vec();
        // A server refuses a request for the first object that it lacks: without that one, the rest is asked again.
        while !batch.is_empty() {
            let Err(said) = fetch_batch(local_git_dir, url, &batch, progress)? else {
                break;
            };
            let named = refused_in(&said, &batch);
            if named.is_empty() {
                return Err(failure(url, "fetch objects", &said));
            }
            batch.retain(|oid| !named.contains(oid));
            refused.extend(named);
        }
    }
    if !wanted.is_empty() {
        after_transfer(local_git_dir)?;
    }
    // What the remote refused may still be here from another side; what it promised must be.
    let here = exist(local_git_dir, &wanted)?;
    let absent: BTreeSet<Oid> =
        wanted.iter().zip(here).filter(|(_, here)| !here).map(|(oid, _)| *oid).collect();
    let missing = oids.iter().filter(|oid| refused.contains(oid) || absent.contains(oid)).copied().collect();
    Ok(FetchedObjects { missing })
}

/// Those of `oids` that may be absent or lack some of their history, each once.
fn incomplete(git_dir: &Path, oids: &[Oid]) -> Result<Vec<Oid>, GitError> {
    let unique: Vec<Oid> = oids.iter().copied().collect::<BTreeSet<Oid>>().into_iter().collect();
    let here = exist(git_dir, &unique)?;
    let (present, mut wanted): (Vec<_>, Vec<_>) = unique.into_iter().zip(here).partition(|(_, here)| *here);
    if !present.is_empty() {
        // An object alone proves nothing: a transfer that was killed leaves some without their history. Only what hangs
        // together from the refs, or with them, counts.
        let mut git = command::git_in(git_dir);
        git.args(["rev-list", "--objects", "--quiet", "--stdin"]);
        let mut input = Vec::new();
        for (oid, _) in &present {
            input.extend_from_slice(format!("{oid}\n").as_bytes());
        }
        input.extend_from_slice(b"--not\n--all\n");
        if !command::run(git, input)?.status.success() {
            wanted.extend(present);
        }
    }
    Ok(wanted.into_iter().map(|(oid, _)| oid).collect())
}

/// One `git fetch`; the inner error is what it said when it failed.
fn fetch_batch(
    git_dir: &Path,
    url: &RemoteUrl,
    batch: &[Oid],
    progress: &mut dyn FnMut(Progress),
) -> Result<Result<(), String>, GitError> {
    let mut git = git_for_remotes(git_for_transfer(git_dir)?)?;
    for setting in [
        "gc.auto=0",
        "maintenance.auto=false",
        "fetch.prune=false",
        "fetch.pruneTags=false",
        "fetch.recurseSubmodules=false",
        "fetch.writeCommitGraph=false",
        "fetch.all=false",
        "fetch.output=full",
        "remote.pushDefault=",
    ] {
        git.arg("-c").arg(setting);
    }
    git.args([
        "fetch",
        "--stdin",
        "--progress",
        "--no-tags",
        "--refmap=",
        "--no-prune",
        "--no-write-fetch-head",
    ]);
    git.args(["--no-auto-maintenance", "--no-recurse-submodules", "--no-write-commit-graph", "--"]);
    match url.path() {
        Some(path) => git.arg(repository_at(url, path)?),
        None => git.arg(url.git_argument()),
    };
    git.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command::spawn(&mut git)?;
    let (Some(mut stdin), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
        return Err(GitError::new("a pipe of `git fetch` is missing"));
    };
    let said = thread::scope(|scope| {
        scope.spawn(move || -> io::Result<()> {
            let lines: Vec<u8> = batch.iter().flat_map(|oid| format!("{oid}\n").into_bytes()).collect();
            // A git that stops reading has failed and says why.
            stdin.write_all(&lines)
        });
        tell(stderr, progress)
    });
    let status = child.wait().map_err(|e| GitError::new(format!("cannot wait for `git fetch`: {e}")))?;
    Ok(if status.success() { Ok(()) } else { Err(said) })
}

/// Passes on what `git fetch` prints, line by line, and keeps what is no progress.
fn tell(mut from: impl Read, progress: &mut dyn FnMut(Progress)) -> String {
    let mut kept = String::new();
    let mut lines = super::report::Lines::default();
    let mut note = |said: Progress| {
        let Progress::Remote(line) = said else {
            return;
        };
        if !line.contains("% (") {
            kept.push_str(&line);
            kept.push('\n');
        }
        match line.strip_prefix("remote: ") {
            Some(line) => progress(Progress::Remote(line.into())),
            None => progress(Progress::Local(line)),
        }
    };
    let mut buffer = [0; 8 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        lines.add(&buffer[..n], &mut note);
    }
    lines.end(&mut note);
    kept
}

/// The objects of `batch` that a message names as not to be had.
fn refused_in(said: &str, batch: &[Oid]) -> BTreeSet<Oid> {
    let refusals = said.lines().filter(|line| {
        ["not our ref", "not valid", "unadvertised object"].iter().any(|phrase| line.contains(phrase))
    });
    refusals
        .flat_map(|line| line.split(|c: char| !c.is_ascii_hexdigit()))
        .filter_map(|word| word.parse::<Oid>().ok())
        .filter(|oid| batch.contains(oid))
        .collect()
}
