//! The other sites, as one of our repositories reaches them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{GitError, Target};
use crate::{BoxFuture, Oid, Project, RefName, Refspecs};

/// Where a remote keeps a project, and how long it is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// The name of the remote.
    pub name: &'a str,
    /// Its URL, with `${name}` for the project.
    pub url: &'a str,
    /// The project.
    pub project: &'a Project,
    /// How long the remote is waited for, and how much it may list.
    pub limits: Limits,
}

/// How long a remote may say nothing, how long it may go on, and how much it may list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection stands. Counted where refgate connects itself, and by OpenSSH.
    pub connect: Duration,
    /// After that, and from the start where nobody sees when the connection stands. Whatever the remote says, and whatever it
    /// takes, starts the time anew.
    pub silence: Duration,
    /// For one session from its start to its end, whatever moves. While the remote waits for this side, no time passes.
    pub session: Duration,
    /// So many refs are taken from one listing.
    pub refs: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(30),
            silence: Duration::from_secs(300),
            session: Duration::from_secs(12 * 60 * 60),
            refs: 4_000_000,
        }
    }
}

/// Takes lines that git or the remote printed, for people. May be called from any thread.
pub type Lines = Arc<dyn Fn(String) + Send + Sync>;

/// Makes a push option of the commands of one session.
pub type Seal = Arc<dyn Fn(&[&PushCommand]) -> String + Send + Sync>;

/// A repository at another site.
///
/// The kinds of errors tell a missing repository ([`Missing`](super::GitErrorKind::Missing)) from refused access, another
/// owner, another object format, and a host that does not answer.
pub trait Remote: Send + Sync {
    /// The refs that it lists, by name, without HEAD and peeled tags.
    fn list(&self) -> BoxFuture<'_, Result<Vec<ListedRef>, GitError>>;

    /// The same, and what it has beyond that, as far as anybody can know.
    fn list_whole(&self) -> BoxFuture<'_, Result<WholeListing, GitError>>;

    /// Brings objects and all that they need into the repository of this site, and changes nothing else. Asks the remote
    /// only for what is not here yet.
    ///
    /// # Errors
    /// The transfer failed; objects may have come.
    fn bring<'a>(&'a self, oids: &'a [Oid], lines: Lines) -> BoxFuture<'a, Result<FetchedObjects, GitError>>;

    /// Starts a push session, and reads what the remote lists for it.
    fn open_push<'a>(
        &'a self,
        options: &'a PushOptions,
    ) -> BoxFuture<'a, Result<Box<dyn RemotePush>, GitError>>;

    /// Makes the repository there, with the branch that `HEAD` names here, under the name that `refspecs` give it there.
    fn create<'a>(&'a self, refspecs: &'a Refspecs) -> BoxFuture<'a, Result<(), GitError>>;

    /// Whether [`create`](Self::create) has a way to do so.
    fn can_create(&self) -> bool;

    /// Whether it is on this machine, where nothing of it can be hidden.
    fn is_here(&self) -> bool;
}

/// A push session: the remote has listed its refs and waits for what to do with them. Dropped, it ends without having
/// changed anything.
pub trait RemotePush: Send {
    /// The remote's refs by name, without HEAD and peeled tags.
    fn refs(&self) -> &[(RefName, Oid)];

    /// Refs that the remote has and cannot read: nobody can say what a command for them would overwrite.
    fn broken_refs(&self) -> &[RefName];

    /// The refs of the remote that are symbolic, which no update may go through.
    fn symbolic_refs(&self) -> BoxFuture<'static, Result<BTreeSet<RefName>, GitError>>;

    /// Makes it a session in which all refs move or none; `false`: the remote cannot do that.
    fn all_or_nothing(&mut self) -> bool;

    /// Moves refs; the remote compares the old values under its own locks. One status per command.
    ///
    /// # Errors
    /// Of the kinds [`OutcomeUnknown`](super::GitErrorKind::OutcomeUnknown) and [`Silent`](super::GitErrorKind::Silent):
    /// refs may or may not have moved. After every other error nothing has moved.
    fn push(
        self: Box<Self>,
        commands: Vec<PushCommand>,
        lines: Lines,
    ) -> BoxFuture<'static, Result<Vec<PushStatus>, GitError>>;

    /// Ends the session without a change.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What the hooks of a remote are told, when it takes push options.
#[derive(Clone, Default)]
pub struct PushOptions {
    /// One line each.
    pub lines: Vec<String>,
    /// Makes one more of the commands of each session.
    pub seal: Option<Seal>,
}

/// One ref that a remote is told to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushCommand {
    /// The remote's name of the ref.
    pub name: RefName,
    /// The value that the remote listed and must still have; `None` is no such ref.
    pub old: Option<Oid>,
    /// The value it is to get; `None` deletes the ref.
    pub new: Option<Oid>,
}

/// The outcome of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushStatus {
    /// The remote moved the ref as told.
    Ok,
    /// It did not, or nobody can say that it did; in words.
    Rejected(String),
}

/// One ref of a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRef {
    /// The remote's name of the ref.
    pub name: RefName,
    /// The object it leads to; `None` when the remote cannot read the ref, and lists it with zeros.
    pub oid: Option<Oid>,
    /// It names another ref instead of an object; replication leaves it alone.
    pub symbolic: bool,
}

/// What is known of the refs of a remote. Settings like `transfer.hideRefs` keep refs out of a listing, and a ref that a
/// listing leaves out is unknown, not absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WholeListing {
    /// What it lists: what can be fetched.
    pub listed: Vec<ListedRef>,
    /// What it has and does not list. The value of a symbolic ref is left out with it.
    pub hidden: Vec<(RefName, Target)>,
    /// Nothing is left out: `listed` and `hidden` are all that it has.
    pub complete: bool,
}

/// What was brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedObjects {
    /// Objects that the remote does not have, or does not give, in the order asked for. All others are here, with
    /// everything that they need, but for those below.
    pub missing: Vec<Oid>,
    /// Objects that did not come whole, each with git's own words: something that they need is damaged or missing at the
    /// remote, or the checks of this side refuse it.
    pub refused: Vec<(Oid, String)>,
}
