//! Taking objects from a remote without moving a ref: what is decided later must be here first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use refgate_core::Oid;
use tempfile::TempDir;

use super::cap::{Guard, excess, listing_memory};
use super::connection::repository_at;
use super::failure::failure;
use super::isolate::{Tried, isolate};
use super::keep;
use super::report::Lines;
use super::url::Place;
use super::{Progress, RemoteUrl, git_for_remotes, list, rewritten};
use crate::command::Seen;
use crate::files::durable::{after_transfer, git_for_transfer};
use crate::limits::Wait;
use crate::objects::{lacking, push_line};
use crate::{FetchedObjects, GitError, GitErrorKind, command};

/// Explicit refspecs cost `git fetch` time by their square; so many do not hurt yet.
const REFSPECS: usize = 20_000;
/// So many refusals of one object each are met by a new look at what the remote has.
const NAMED: usize = 8;
/// After so many, the remote refuses what it lists, and is not asked for the rest.
const MOST_NAMED: usize = 24;

/// Bytes of memory that a git may take which fetches over http, beside those of the listing: it also unpacks deltas.
const FETCH_MEMORY: u64 = 8 * 1024 * 1024 * 1024;

/// What became of one object.
enum Fate {
    Here,
    Missing,
    Refused(String),
}

/// Brings `oids` and all that they need into the local object store, and changes nothing else: no ref, no tag, no
/// FETCH_HEAD. Asks the remote only for what is not here yet, and for all of it at once. An object that spoils the
/// transfer is found by trying parts; what came meanwhile does not cross again.
///
/// An error says that the transfer failed; objects may have come, refs have not moved.
pub fn fetch_objects(
    local_git_dir: &Path,
    url: &RemoteUrl,
    oids: &[Oid],
    progress: &mut dyn FnMut(Progress),
) -> Result<FetchedObjects, GitError> {
    let unique: Vec<Oid> = oids.iter().copied().collect::<BTreeSet<Oid>>().into_iter().collect();
    // An object alone proves nothing: a transfer that was killed leaves some without their history.
    let wanted: Vec<Oid> = lacking(local_git_dir, &unique, &[])?.into_iter().map(|(oid, _)| oid).collect();
    let mut fetched = FetchedObjects::default();
    if wanted.is_empty() {
        return Ok(fetched);
    }
    let url = &rewritten(url)?;
    let plumbing = takes_plumbing(local_git_dir, url)?;
    let mut transfer =
        Transfer { git_dir: local_git_dir, url, plumbing, known: Vec::new(), tips: None, named: 0, progress };
    let mut absent = BTreeSet::new();
    let alone = |_: &Oid, words: &str| Fate::Refused(words.to_owned());
    let (fates, error) = isolate(&wanted, |_| Vec::new(), &mut |some| transfer.attempt(some), alone);
    if let Some(error) = error {
        return Err(error);
    }
    for (oid, fate) in wanted.iter().zip(fates) {
        match fate {
            Some(Fate::Here) | None => {}
            Some(Fate::Missing) => _ = absent.insert(*oid),
            Some(Fate::Refused(words)) => fetched.refused.push((*oid, words)),
        }
    }
    fetched.missing = oids.iter().copied().filter(|oid| absent.contains(oid)).collect();
    Ok(fetched)
}

struct Transfer<'a> {
    git_dir: &'a Path,
    url: &'a RemoteUrl,
    plumbing: bool,
    /// What came in this transfer, with all that it needs. No ref leads to it yet.
    known: Vec<Oid>,
    tips: Option<TempDir>,
    /// How often the remote named an object that it does not give.
    named: usize,
    progress: &'a mut dyn FnMut(Progress),
}

impl Transfer<'_> {
    /// One session with the remote, for all of `wanted` that go into one.
    fn attempt(&mut self, wanted: &[Oid]) -> Result<Tried<Fate>, GitError> {
        if self.named > MOST_NAMED {
            let words = format!(
                "the remote refused others one by one, {MOST_NAMED} times, so it was not asked for this one; run again"
            );
            return Ok(Tried::Answered(wanted.iter().map(|_| Some(Fate::Refused(words.clone()))).collect()));
        }
        let most = if self.plumbing { usize::MAX } else { REFSPECS };
        let (wanted, later) = wanted.split_at(wanted.len().min(most));
        Ok(match self.attempt_all(wanted)? {
            Tried::Answered(mut fates) => {
                fates.extend(later.iter().map(|_| None));
                Tried::Answered(fates)
            }
            failed => failed,
        })
    }

    fn attempt_all(&mut self, wanted: &[Oid]) -> Result<Tried<Fate>, GitError> {
        if let Some(said) = self.session(wanted)? {
            let said = self.url.without_secrets(&said);
            let refused = self.refused_in(&said, wanted)?;
            if !refused.is_empty() {
                let fate = |oid| refused.contains(oid).then_some(Fate::Missing);
                return Ok(Tried::Answered(wanted.iter().map(fate).collect()));
            }
            let error = failure(self.url, "fetch objects", &said);
            return match error.kind {
                GitErrorKind::Other => Ok(Tried::Failed(culprit_words(&said))),
                _ => Err(error),
            };
        }
        // What the remote promised must be here whole.
        let lacking: BTreeMap<Oid, String> =
            lacking(self.git_dir, wanted, &self.known)?.into_iter().collect();
        self.known.extend(wanted.iter().filter(|oid| !lacking.contains_key(oid)));
        let fate = |oid: &Oid| match lacking.get(oid) {
            Some(words) => Fate::Refused(format!("it came without what it needs: {words}")),
            None => Fate::Here,
        };
        Ok(Tried::Answered(wanted.iter().map(|oid| Some(fate(oid))).collect()))
    }

    /// Git's words when it failed.
    fn session(&mut self, wanted: &[Oid]) -> Result<Option<String>, GitError> {
        let mut git = git_for_remotes(git_for_transfer(self.git_dir)?, self.url)?;
        // The commit-graph may know a commit that is gone, and git would not ask for it.
        git.args(["-c", "core.commitGraph=false"]);
        self.tell_known(&mut git)?;
        match self.plumbing {
            // As many objects as one likes, no ref, no FETCH_HEAD.
            true => _ = git.args(["fetch-pack", "--stdin", "--thin"]),
            false => fetch(&mut git),
        }
        match self.url.path() {
            Some(path) => git.arg(repository_at(self.url, path)?),
            None => git.arg(self.url.git_argument()),
        };
        let mut input = Vec::with_capacity(wanted.len() * 41);
        wanted.iter().for_each(|oid| push_line(&mut input, "", oid));
        let waited = Wait::within(self.url.limits(), "sending objects");
        let (mut lines, mut guard, mut kept) = (Lines::default(), Guard::new(&mut git, self.url), Vec::new());
        if *self.url.place() == Place::Http {
            let most = FETCH_MEMORY.saturating_add(listing_memory(self.url.limits()));
            git = command::within_memory(&git, most);
        }
        let url = self.url;
        let mut told = |said: Progress| tell(said, url, self.progress);
        let err: &mut Seen<'_> = &mut |part| guard.part(part, &mut |line| lines.add(line, &mut told));
        let mut out = command::first_bytes(&mut kept, 64);
        let output = command::run_watched(&mut git, input, waited, &mut out, err)?;
        drop(out);
        lines.end(&mut told);
        after_transfer(self.git_dir)?;
        keep::remove_left_over(self.git_dir)
            .into_iter()
            .for_each(|line| (self.progress)(Progress::Local(line)));
        if let Some(why) = &guard.excess {
            return Err(excess(self.url, "fetch objects", why));
        }
        let output = output.map_err(|silence| silence.of(self.url))?;
        Ok((!output.status.success() && !kept.starts_with(b"keep")).then(|| words(&guard.words())))
    }

    /// Git offers the other side what its refs lead to. No ref leads to what came a moment ago, so it is offered as that
    /// of an alternate repository, which is a directory of ours without objects.
    fn tell_known(&mut self, git: &mut Command) -> Result<(), GitError> {
        const COMMAND: &str = r#"f() { if test -f "$1/tips"; then cat "$1/tips"; else git --git-dir="$1" for-each-ref --format='%(objectname)'; fi; }; f"#;
        if self.known.is_empty() {
            return Ok(());
        }
        let io = |e: std::io::Error| GitError::new(format!("cannot keep a list of what came: {e}"));
        let tips = match self.tips.take() {
            Some(tips) => tips,
            None => {
                let tips = tempfile::Builder::new().prefix("refgate-tips-").tempdir().map_err(io)?;
                fs::create_dir(tips.path().join("objects")).map_err(io)?;
                fs::create_dir(tips.path().join("refs")).map_err(io)?;
                tips
            }
        };
        let mut list = Vec::with_capacity(self.known.len() * 41);
        self.known.iter().for_each(|oid| push_line(&mut list, "", oid));
        fs::write(tips.path().join("tips"), list).map_err(io)?;
        git.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", tips.path().join("objects"));
        git.arg("-c").arg(format!("core.alternateRefsCommand={COMMAND}"));
        self.tips = Some(tips);
        Ok(())
    }

    /// The objects of `wanted` that a message names as not to be had. A server names the first one only: after some of
    /// them its listing tells the rest.
    fn refused_in(&mut self, said: &str, wanted: &[Oid]) -> Result<BTreeSet<Oid>, GitError> {
        let refusals = said.lines().filter(|line| {
            ["not our ref", "not valid", "unadvertised object"].iter().any(|phrase| line.contains(phrase))
        });
        let asked: BTreeSet<&Oid> = wanted.iter().collect();
        let mut refused: BTreeSet<Oid> = refusals
            .flat_map(|line| line.split(|c: char| !c.is_ascii_hexdigit()))
            .filter_map(|word| word.parse::<Oid>().ok())
            .filter(|oid| asked.contains(oid))
            .collect();
        self.named += usize::from(!refused.is_empty());
        if self.named > NAMED
            && let Some(one) = refused.first()
        {
            let listed = list(self.url, one.format())?;
            let listed: BTreeSet<Oid> = listed.into_iter().filter_map(|one| one.oid).collect();
            refused.extend(wanted.iter().filter(|oid| !listed.contains(oid)));
        }
        Ok(refused)
    }
}

/// Whether `git fetch-pack` may do it. It does not speak http, and that of git 2.39 crashes where objects are checked.
fn takes_plumbing(git_dir: &Path, url: &RemoteUrl) -> Result<bool, GitError> {
    if *url.place() == Place::Http {
        return Ok(false);
    }
    let mut git = command::git_in(git_dir);
    git.args(["config", "--name-only", "--get-regexp", r"^(fetch|transfer)\.fsck"]);
    Ok(command::run(git, Vec::new())?.stdout.is_empty())
}

/// Where plumbing is not to be had: this one is told to do nothing else.
fn fetch(git: &mut Command) {
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
}

/// Passes on a line that git prints.
fn tell(said: Progress, url: &RemoteUrl, progress: &mut dyn FnMut(Progress)) {
    let (Progress::Remote(line) | Progress::Local(line)) = said;
    let line = url.without_secrets(&line);
    match line.strip_prefix("remote: ") {
        Some(line) => progress(Progress::Remote(line.into())),
        None => progress(Progress::Local(line.clone())),
    }
}

/// What git said, without its progress.
fn words(said: &str) -> String {
    said.lines().filter(|line| !line.contains("% (")).collect::<Vec<_>>().join("\n")
}

/// The lines that tell what is wrong, in one. What comes first is the cause, the rest is what it led to.
fn culprit_words(said: &str) -> String {
    const MOST: usize = 3;
    let wrong = |line: &&str| ["fatal: ", "error: "].iter().any(|mark| line.contains(mark));
    let lines: Vec<&str> = said.lines().filter(wrong).take(MOST).collect();
    if lines.is_empty() { command::one_line(said.as_bytes()) } else { lines.join("; ") }
}
