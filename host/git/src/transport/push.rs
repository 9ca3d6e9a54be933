//! A push session: listing, decision by the caller, commands and pack, report.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use refgate_core::{ObjectFormat, Oid, RefName};

use super::advertisement::{Advertisement, Refusal};
use super::cap::excess;
use super::connection::Connection;
use super::failure::{OPEN, failure, of_kind, other_format};
use super::isolate::{Tried, isolate};
use super::pack::PackFailure;
use super::plan::{ATOMIC, PUSH_OPTIONS, Plan};
use super::report::{self, Report};
use super::{Progress, RemoteUrl, list, rewritten};
use crate::{GitError, GitErrorKind, PushCommand, PushStatus, Seal};

/// A session with a remote that has listed its refs and waits for what to do with them.
///
/// Dropped, it ends without having changed anything.
pub struct PushSession {
    facts: Facts,
    connection: Connection,
}

/// What is known about both sides when the listing is read.
pub(super) struct Facts {
    pub(super) git_dir: PathBuf,
    pub(super) url: RemoteUrl,
    pub(super) format: ObjectFormat,
    pub(super) listing: Advertisement,
    /// Push options for the remote's hooks, when the remote takes any.
    pub(super) options: Vec<String>,
    /// Makes one more option of the commands of a session.
    pub(super) seal: Option<Seal>,
    /// All commands or none.
    pub(super) atomic: bool,
}

impl Facts {
    pub(super) fn has_options(&self) -> bool {
        !self.options.is_empty() || self.seal.is_some()
    }
}

impl PushSession {
    /// Starts receive-pack at `url` and reads what it lists.
    ///
    /// `local_git_dir` holds the objects that will be sent, `format` is its object format. The kind of an error tells a
    /// missing repository ([`GitErrorKind::Missing`]) from refused access, another owner, another object
    /// format, and a host that does not answer.
    pub fn open(
        local_git_dir: &Path,
        url: &RemoteUrl,
        format: ObjectFormat,
    ) -> Result<PushSession, GitError> {
        PushSession::open_at(local_git_dir, &rewritten(url)?, format)
    }

    /// The same at an address to which git's rules were applied.
    fn open_at(local_git_dir: &Path, url: &RemoteUrl, format: ObjectFormat) -> Result<PushSession, GitError> {
        let doing = "start a push";
        let mut connection = Connection::open(url)?;
        let listing = match Advertisement::read(&mut connection.reader, format, url.limits()) {
            Ok(listing) => listing,
            Err(Refusal::Said(said)) => return Err(failure(url, doing, &said)),
            Err(Refusal::Format(theirs)) => return Err(other_format(url, format.name(), &theirs)),
            Err(Refusal::TooMuch(why)) => return Err(excess(url, doing, &why)),
            Err(Refusal::Lie(why)) => return Err(failure(url, doing, &why)),
            Err(Refusal::Io(_)) if connection.silence().is_some() => {
                return Err(connection.silence().map_or_else(|| failure(url, doing, ""), |s| s.of(url)));
            }
            Err(Refusal::Io(e)) => {
                let words = connection.last_words();
                return Err(match e.kind() {
                    io::ErrorKind::UnexpectedEof => failure(url, doing, &words),
                    _ => failure(url, doing, &format!("{e}\n{words}")),
                });
            }
        };
        connection.listed();
        let (git_dir, url) = (local_git_dir.into(), url.clone());
        let facts = Facts { git_dir, url, format, listing, options: Vec::new(), seal: None, atomic: false };
        Ok(PushSession { facts, connection })
    }

    /// The remote's refs by name, without HEAD and peeled tags.
    pub fn refs(&self) -> &[(RefName, Oid)] {
        &self.facts.listing.refs
    }

    /// Refs that the remote has and cannot read: nobody can say what a command for them would overwrite.
    pub fn broken_refs(&self) -> &[RefName] {
        &self.facts.listing.broken
    }

    /// The refs of the remote that are symbolic, which no update may go through.
    ///
    /// A second, short connection: receive-pack does not tell them from others. A symbolic ref that leads to no ref is
    /// not listed by git, on a remote of protocol v0 only HEAD is known to be symbolic, and the remote may hide refs
    /// from readers.
    pub fn symbolic_refs(&self) -> Result<BTreeSet<RefName>, GitError> {
        list::symbolic(&self.facts.url, self.facts.format)
    }

    /// The same session, in which `option` (one line), too, goes to the hooks of a remote that takes push options.
    #[must_use]
    pub fn with_option(mut self, option: impl Into<String>) -> PushSession {
        if self.facts.listing.can(PUSH_OPTIONS) {
            self.facts.options.push(option.into());
        }
        self
    }

    /// The same session, with one more option that `seal` makes of the commands of each session that this one needs.
    #[must_use]
    pub fn sealed(mut self, seal: Seal) -> PushSession {
        self.facts.seal = Some(seal).filter(|_| self.facts.listing.can(PUSH_OPTIONS));
        self
    }

    /// The same session, in which all refs move or none; `Err` gives back a session with a remote that cannot do that.
    ///
    /// # Errors
    /// The session as it was.
    #[expect(clippy::result_large_err, reason = "the session goes on either way")]
    pub fn all_or_nothing(mut self) -> Result<PushSession, PushSession> {
        if self.make_atomic() { Ok(self) } else { Err(self) }
    }

    /// Makes it a session in which all refs move or none; `false`: the remote cannot do that.
    pub fn make_atomic(&mut self) -> bool {
        self.facts.atomic = self.facts.listing.can(ATOMIC);
        self.facts.atomic
    }

    /// Where the remote is, after git's rules for addresses, and the object format of both sides.
    pub(crate) fn place(&self) -> (RemoteUrl, ObjectFormat) {
        (self.facts.url.clone(), self.facts.format)
    }

    /// Ends the session without a change.
    pub fn close(self) {
        self.connection.close();
    }

    /// Moves refs, each on its own: one that is rejected does not keep the others back.
    ///
    /// Some refusals concern all refs of a session: a hook that dislikes one, an object that cannot be packed here or
    /// unpacked there. Then parts are sent in sessions of their own, until the culprit is alone; it is rejected with the
    /// words of git or of the hook.
    ///
    /// Gives one status per command, in their order. The remote compares `old` under its own lock, and its hooks run.
    /// What it prints goes to `progress`. An error of the kind [`GitErrorKind::OutcomeUnknown`] or
    /// [`GitErrorKind::Silent`] means that the remote went away before its report: refs may or may not have moved. After
    /// every other error nothing has moved. An error after some were settled is the status of the others.
    pub fn push(
        self,
        commands: &[PushCommand],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<PushStatus>, GitError> {
        let Facts { git_dir, url, format, options, seal, .. } = &self.facts;
        let (git_dir, url, format) = (git_dir.clone(), url.clone(), *format);
        let (options, seal) = (options.clone(), seal.clone());
        let open = || {
            let session = PushSession::open_at(&git_dir, &url, format)?;
            let session = options.iter().fold(session, |session, option| session.with_option(option));
            Ok::<_, GitError>(seal.iter().fold(session, |session, seal| session.sealed(seal.clone())))
        };
        let mut next = Some(self);
        let mut attempt = |some: &[PushCommand]| {
            let session = next.take().map_or_else(open, Ok)?;
            match session.exchange(some, progress) {
                // Whoever went away before the report may have done what it was told.
                Err(e) if e.kind == GitErrorKind::OutcomeUnknown => {
                    let session = open().map_err(|_| e.clone())?;
                    let tried = session.compare(some, &e);
                    next = Some(session);
                    Ok(tried)
                }
                other => other,
            }
        };
        let group = |command: &PushCommand| {
            let name = command.name.as_bytes();
            name[..name.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1)].to_vec()
        };
        let alone = |_: &PushCommand, words: &str| PushStatus::Rejected(words.to_owned());
        let (answers, error) = isolate(commands, group, &mut attempt, alone);
        if let Some(error) = &error
            && answers.iter().all(Option::is_none)
        {
            return Err(error.clone());
        }
        let why = error.map_or("it was not sent".to_owned(), |e| e.to_string());
        Ok(answers.into_iter().map(|a| a.unwrap_or_else(|| PushStatus::Rejected(why.clone()))).collect())
    }

    /// What became of `commands`, by what the remote lists now.
    fn compare(&self, commands: &[PushCommand], error: &GitError) -> Tried<PushStatus> {
        let refs = self.refs();
        let value =
            |name: &RefName| refs.binary_search_by(|(one, _)| one.cmp(name)).ok().map(|at| refs[at].1);
        let answer = |command: &PushCommand| match value(&command.name) {
            value if value == command.new => Some(PushStatus::Ok),
            value if value == command.old => None,
            _ => Some(PushStatus::Rejected("another write moved it meanwhile".into())),
        };
        let answers: Vec<_> = commands.iter().map(answer).collect();
        match answers.iter().any(Option::is_some) {
            true => Tried::Answered(answers),
            false => Tried::Failed(error.message.replace(OPEN, "nothing moved at")),
        }
    }

    /// The rest of this one session.
    fn exchange(
        self,
        commands: &[PushCommand],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Tried<PushStatus>, GitError> {
        let PushSession { facts, mut connection } = self;
        let plan = Plan::new(&facts, commands)?;
        if plan.sent().is_empty() {
            connection.close();
            return Ok(Tried::Answered(plan.merge(Vec::new()).into_iter().map(Some).collect()));
        }
        let Some(mut writer) = connection.writer.take() else {
            return Err(GitError::new("the push session has ended"));
        };
        connection.expect("taking the objects");
        let (pulse, limit) = (connection.pulse.clone(), facts.url.limits().silence);
        if plan.side_band() {
            connection.pulse.framed();
        }
        let moved = || connection.pulse.beat();
        let reader = &mut connection.reader;
        let targets = plan.sent();
        let mut report = Report::new(&targets);
        let mut said = LastLines::default();
        let mut told = |line: Progress| {
            said.add(&line);
            progress(line);
        };
        // The remote prints while it is still being sent to: whoever does not read then may wait for ever.
        let (sent, reported) = thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let sent = plan.send(&mut *writer, &|resting| pulse.rest(resting));
                drop(writer);
                pulse.phase("reporting what it did", limit);
                sent
            });
            let reported = report::receive(reader, plan.side_band(), &moved, &mut told, &mut report);
            if reported.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::UnexpectedEof) {
                // Whoever says what is no report may go on for ever.
                pulse.stop();
            }
            (sender.join(), reported)
        });
        let unpacked = reported.is_ok() && report.unpacked();
        match sent {
            // Without a whole pack the remote moves nothing.
            Ok(Err(PackFailure::Local(e))) if !unpacked => {
                drop(connection);
                return plan.without_culprits(commands, e);
            }
            Err(_) => return Err(unknown(&facts.url, connection, "the thread that sends died")),
            // A remote that stops listening says why in its report.
            Ok(_) => {}
        }
        match reported {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(unknown(&facts.url, connection, ""));
            }
            Err(e) => return Err(unknown(&facts.url, connection, &e.to_string())),
        }
        match report.statuses() {
            Ok(statuses) => {
                connection.finish();
                Ok(plan.answer(statuses, &said.text()))
            }
            Err(why) => Err(unknown(&facts.url, connection, why)),
        }
    }
}

/// The last lines that the remote printed: when it refuses everything, they tell why.
#[derive(Default)]
struct LastLines(VecDeque<String>);

impl LastLines {
    fn add(&mut self, line: &Progress) {
        const KEPT: usize = 3;
        if let Progress::Remote(line) = line {
            self.0.push_back(line.clone());
            if self.0.len() > KEPT {
                self.0.pop_front();
            }
        }
    }

    fn text(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

fn unknown(url: &RemoteUrl, connection: Connection, why: &str) -> GitError {
    if let Some(silence) = connection.silence() {
        let error = silence.of(url);
        let message = format!("{}; nobody knows which refs moved", error.message);
        return GitError { message, ..error };
    }
    let said = format!("it went away before its report\n{why}\n{}", connection.last_words());
    let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    of_kind(url, GitErrorKind::OutcomeUnknown, "finish the push", &said.join("\n"))
}

/// A session may wait in one thread and be used in another.
const _: () = {
    const fn movable<T: Send>() {}
    movable::<PushSession>();
};
