//! Why a pushed ref is refused: one line for the ref, what the pusher can do about it, and what an operator can.
//!
//! A pusher is told nothing of the site's own matters (paths, commands, the words of the ref-db): where only an operator
//! helps, that is what is said, and `hook status` has the rest.

use refgate_core::ports::Refusal;
use refgate_core::table::Seen;
use refgate_core::{GlobalRef, MAX_SUPERSEDED, Move, Oid, Project, Reason, RefName};

use crate::anew;

/// Why a ref of a push does not move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// No legal name, not below `refs/`, or only one component below it.
    FunnyName,
    /// In the same push this name goes on with a space. git takes what is said of that one for the answer to this one, so
    /// there must be nothing good to say.
    AnswerLost(String),
    /// Twice in one push.
    NamedTwice,
    /// Below `refs/refgate/`.
    Own,
    /// It names another ref.
    Symbolic,
    /// A patch set that is there already.
    PatchSet,
    /// Another ref of a change that is deleted, without a new `/meta`.
    DeletedChange,
    /// The deletion of another ref of a deleted change whose `/meta` is still here.
    MetaStays,
    /// A `/meta` that is made anew while other refs of the change that was deleted are still here.
    LeftOver(String),
    /// A change that got another ref while its deletion was on its way.
    Grew(String),
    /// The repository refuses it of its own accord.
    Policy(Refusal),
    /// Moved here since the client looked.
    MovedHere(Option<Oid>),
    /// The ref-db holds something else than this site.
    Behind {
        /// In the ref-db.
        global: GlobalRef,
        /// Here.
        local: Option<Oid>,
    },
    /// The same, and a filter of this site holds back what the ref-db holds.
    HeldHere {
        /// In the ref-db.
        global: GlobalRef,
        /// The filter.
        by: String,
        /// Its reason.
        reason: String,
    },
    /// The ref-db records so many refs of the project, and none of them is here.
    MadeAnew(usize),
    /// It is here and the ref-db does not know it.
    Untracked,
    /// Another writer holds it in the ref-db.
    Locked,
    /// What the ref-db holds for it is no value.
    Unreadable(String),
    /// What it replaces would have to be listed as superseded, and the list is full.
    ListFull,
    /// The ref-db does not answer.
    RefDbDown(String),
    /// An operator closed the ref-db, with this message.
    Closed(String),
    /// Another site was faster.
    Lost(GlobalRef),
    /// Nobody knows whether the ref-db took it, or what became of it.
    Unknown(String),
    /// Another process of this site holds it.
    Busy,
    /// More at once than the ref-db, or this site, does all or nothing.
    TooMany(usize),
    /// Another ref that it stands or falls with was refused.
    With {
        /// That ref.
        other: String,
        /// The whole push stands or falls together.
        atomic: bool,
    },
    /// The ref-db holds a ref whose name excludes this one.
    InTheWay(RefName),
    /// Replication: the ref-db holds something else than what was sent.
    NotGlobal(GlobalRef),
    /// Replication: what is here is not accounted for.
    Diverged,
    /// Replication: the ref-db knows nothing of it, so nobody deletes it.
    UntrackedDeletion,
    /// The ref-db has it, and this site could not store it; the text says why.
    Kept(String),
    /// Something is wrong at this site, and was noticed when other refs of the push had moved.
    Unable(String),
    /// It cannot be read here.
    Broken(String),
    /// git, or this machine, in its own words.
    Failed(String),
}

impl Why {
    /// Of a ref that is behind because a filter holds it back; `None` when it is the table that does.
    pub(super) fn held_here(one: Move<'_>) -> Option<Why> {
        let held = one.held()?;
        match (&held.reason, one.global()) {
            (reason @ (Reason::Own(_) | Reason::FilterFailed), Some(Seen::Value(global))) => {
                Some(Why::HeldHere { global, by: held.by.to_string(), reason: reason.to_string() })
            }
            _ => None,
        }
    }

    /// Whether it says only that the ref is another one here than the client believes.
    pub(super) fn is_move(&self) -> bool {
        matches!(self, Why::MovedHere(_))
    }

    /// On the line of the ref. What git has words for is said in git's words.
    pub(super) fn reason(&self, project: &Project) -> String {
        match self {
            Why::FunnyName => "funny refname".into(),
            Why::AnswerLost(other) => {
                format!("`{other}` of the same push is no name of a ref: push without it")
            }
            Why::NamedTwice => "named twice in one push".into(),
            Why::Own => "refs/refgate/ is for refgate itself".into(),
            Why::Symbolic => "it is a symbolic ref, and those are never written".into(),
            Why::PatchSet => "patch sets are created, never changed".into(),
            Why::DeletedChange => "its change is deleted: it comes back only with a new `/meta`".into(),
            Why::MetaStays => "its change is deleted, and the `/meta` of it is still here".into(),
            Why::LeftOver(other) => format!("`{other}` of the change that was deleted is still here"),
            Why::Grew(other) => format!("its change got `{other}` meanwhile: try again"),
            Why::Policy(Refusal::NotACommit(oid)) => {
                format!("{} is no commit, and a branch holds nothing else", short(*oid))
            }
            Why::Policy(Refusal::NonFastForward) => "non-fast-forward".into(),
            Why::Policy(Refusal::Deletion) => "deletion prohibited".into(),
            Why::Policy(Refusal::CheckedOut(_)) => "branch is currently checked out".into(),
            Why::Policy(Refusal::DeletesCurrent(_)) => "deletion of the current branch prohibited".into(),
            Why::Policy(Refusal::HookDeclined) => "hook declined".into(),
            Why::Policy(Refusal::Shallow) => "shallow update not allowed".into(),
            Why::MovedHere(now) => format!("it is {} here now: fetch first", absent_or(*now)),
            Why::Behind { global, .. } => {
                format!("not up to date: all sites together are at {}, this site is not", value(*global))
            }
            Why::HeldHere { global, by, .. } => {
                format!(
                    "not up to date: all sites together are at {}, and `{by}` holds that back here",
                    value(*global)
                )
            }
            Why::MadeAnew(_) => format!("all sites together have another `{project}` than this site"),
            Why::Untracked => "all sites together do not know it yet".into(),
            Why::Locked => "locked in the ref-db by another writer: try again".into(),
            Why::Unreadable(_) => "what all sites together have of it cannot be read".into(),
            Why::ListFull => {
                format!("it was overwritten {MAX_SUPERSEDED} times; only fast-forwards are taken now")
            }
            Why::RefDbDown(_) => "the ref-db does not answer: try again later".into(),
            Why::Closed(message) => format!("writes are stopped at all sites: {message}"),
            Why::Lost(actual) => format!("another site was first: it is {} now", value(*actual)),
            Why::Unknown(_) => "outcome unknown: fetch to see what became of it".into(),
            Why::Busy => "busy: another process of this site moves it, try again".into(),
            Why::TooMany(limit) => format!("at most {limit} refs move all or nothing"),
            Why::With { other, atomic: true } => format!("atomic push failed: `{other}` was refused"),
            Why::With { other, .. } => format!("`{other}` of the same change was refused"),
            Why::InTheWay(other) => format!("`{other}` is in its way: the ref-db has it"),
            Why::NotGlobal(global) => format!("not up to date: the ref-db has {}", value(*global)),
            Why::Diverged => "what is here is not accounted for".into(),
            Why::UntrackedDeletion => "the ref-db records no deletion".into(),
            Why::Kept(_) => "recorded for all sites, but not stored here".into(),
            Why::Unable(_) => UNABLE.into(),
            Why::Broken(_) => "what is here of it cannot be read".into(),
            Why::Failed(words) if names_a_place(words) => {
                "this site cannot store it now: try again, or ask its operators".into()
            }
            Why::Failed(words) => words.clone(),
        }
    }

    /// For another site's replication, whose words operators read.
    pub(super) fn reason_for_replication(&self, project: &Project) -> String {
        match self {
            Why::Failed(words) | Why::Broken(words) => words.clone(),
            _ => self.reason(project),
        }
    }

    /// What a pusher should know and can do beyond the reason. `others` are the sites that might have what is not here.
    pub(super) fn advice(&self, others: &[String]) -> Option<String> {
        let elsewhere = match others {
            [] => "another site".to_owned(),
            names => names.join(" or "),
        };
        Some(match self {
            Why::MovedHere(_) => "somebody else was faster; fetch, merge or rebase, then push again".into(),
            Why::Behind { global, local } => format!(
                "the newest value is {}, here it is {}. Wait until replication has brought it here, or fetch from \
                 {elsewhere}; merge or rebase, then push again",
                whole(*global),
                local.map_or("absent".into(), |oid| oid.to_string()),
            ),
            Why::HeldHere { global, reason, .. } => format!(
                "the newest value is {}, and a policy of this site does not take it: {reason}. Push to another site, or ask \
                 the operators of this one",
                whole(*global)
            ),
            Why::Lost(actual) => format!(
                "the newest value is {} now. Wait until replication has brought it here, or fetch from {elsewhere}; \
                 merge or rebase, then push again",
                whole(*actual)
            ),
            Why::RefDbDown(_) => format!("nothing was written. If it stays so, {ASK}"),
            Why::Kept(_) => format!("your push counts for all sites: do not push it again, but {ASK}"),
            Why::Unknown(_) => format!("this site finishes or drops it by itself. If it stays so, {ASK}"),
            Why::MadeAnew(_)
            | Why::Untracked
            | Why::Unreadable(_)
            | Why::Broken(_)
            | Why::ListFull
            | Why::MetaStays
            | Why::LeftOver(_) => ASK.into(),
            Why::Policy(Refusal::CheckedOut(_) | Refusal::DeletesCurrent(_)) => {
                format!("push another branch. If this one has to move, {ASK}")
            }
            Why::PatchSet => "upload a new patch set under the next number".into(),
            Why::DeletedChange => {
                "push its refs and a new `/meta` together, or upload to another change".into()
            }
            Why::InTheWay(other) => format!(
                "no repository can hold both names, and sites that have `{other}` would not take this one. Choose another \
                 name, or delete `{other}` first, by a push to a site that has it"
            ),
            Why::TooMany(_) => "push without --atomic, or fewer refs at once".into(),
            Why::Diverged => {
                "this site has commits that what was sent does not contain; see `refgate refdb check`".into()
            }
            _ => return None,
        })
    }

    /// What an operator of this site has to know and to do; `None` where a pusher needs none.
    pub(super) fn for_operators(&self, project: &Project) -> Option<String> {
        Some(match self {
            Why::MadeAnew(recorded) => format!("{}; {}", anew::told(project, *recorded), anew::hint(project)),
            Why::Untracked => format!(
                "it is not in the ref-db: `refgate refdb seed {project}` records what is here and lists what differs between \
                 sites"
            ),
            Why::RefDbDown(why) => format!("the ref-db does not answer: {why}"),
            Why::Unreadable(why) => format!(
                "its entry in the ref-db cannot be read: {why}; look at it with `refgate refdb ls {project}`, and write it anew \
                 with `refgate refdb put`"
            ),
            Why::ListFull => format!(
                "its list of superseded values is full: `refgate refdb forget {project} --yes`, and once more a day later, \
                 drops those that no site needs"
            ),
            Why::Kept(words) => format!(
                "the ref-db has a push that could not be stored here: {words}. Remove what is in the way; the next push, fetch \
                 or `refgate refdb heal {project} --yes` here finishes it"
            ),
            Why::Unable(why) => why.clone(),
            Why::Unknown(why) => format!("the outcome of a write is unknown: {why}"),
            Why::Broken(why) => format!("it cannot be read here: {why}"),
            Why::Failed(words) if names_a_place(words) => words.clone(),
            Why::Policy(refusal @ (Refusal::CheckedOut(_) | Refusal::DeletesCurrent(_))) => {
                refusal.to_string()
            }
            Why::MetaStays | Why::LeftOver(_) => {
                format!("{}: `refgate refdb heal {project} --yes` settles it", self.reason(project))
            }
            _ => return None,
        })
    }
}

/// What a pusher reads when only operators can help.
pub(super) const UNABLE: &str = "this site takes no pushes now: ask its operators";
/// Whether the words of git or of the machine name a file or a directory: an absolute path, somewhere in them.
fn names_a_place(words: &str) -> bool {
    let mut before = ' ';
    words.chars().any(|c| {
        let begins = c == '/' && !(before.is_alphanumeric() || "._-/%".contains(before));
        before = c;
        begins
    })
}

/// Where a pusher can do no more.
const ASK: &str = "ask the operators of this site";

/// A value in the ref-db, for a line.
fn value(global: GlobalRef) -> String {
    match global {
        GlobalRef::Untracked => "unknown there".into(),
        GlobalRef::Deleted => "deleted".into(),
        GlobalRef::At(oid) => short(oid),
    }
}

fn whole(global: GlobalRef) -> String {
    global.oid().map_or_else(|| value(global), |oid| oid.to_string())
}

fn absent_or(oid: Option<Oid>) -> String {
    oid.map_or("absent".into(), short)
}

fn short(oid: Oid) -> String {
    oid.to_string()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_name_a_place_are_for_operators() {
        let project = Project::new("team/app").unwrap();
        for place in
            ["`/srv/x.lock` exists", "/srv", "at \"/srv\"", "cannot open '/a'", "(/srv/a.git)", "in=/srv"]
        {
            let why = Why::Failed(place.into());
            assert!(!why.reason(&project).contains('/'), "{place}");
            assert_eq!(why.for_operators(&project).as_deref(), Some(place));
            assert_eq!(why.reason_for_replication(&project), place);
        }
        let name = "it cannot exist beside `refs/heads/a`: one would be a directory of the other";
        let why = Why::Failed(name.into());
        assert_eq!((why.reason(&project).as_str(), why.for_operators(&project)), (name, None));
    }
}
