//! What is pushed and what becomes of it; and who pushes, as far as it says so.

use refgate_core::ports::Guard;
use refgate_core::{Project, escape};
use refgate_git::receive::{Answer, Command, PART_OF_A_PUSH, Request, one_line};

use super::journal::{Journal, Record};
use super::refused::Refused;
use super::seal::{Found, Sealed, Secrets};
use super::why::UNABLE;
use super::{REFDB, REPLICATION, SEAL, failpoint};
use crate::known::{TO_PUSHERS, mark_of};
use crate::replicate::blocking;
use crate::{Error, ErrorKind, Site};

/// What a client, or another site, pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Unique in the repository, for the record; letters, digits and `-`.
    pub id: String,
    /// All refs or none.
    pub atomic: bool,
    /// The mark of replication, with what stands behind it: no compare-and-put of what the ref-db knows, it moved when a
    /// client wrote.
    pub mark: Option<String>,
    /// The identity of the sender's ref-db, when it says so.
    pub refdb: Option<String>,
    /// What shows that the mark is authentic, when it came.
    pub seal: Option<String>,
    /// What is to be moved.
    pub commands: Vec<Command>,
}

impl Push {
    /// From what git hands on.
    pub fn new(id: impl Into<String>, request: &Request) -> Push {
        let text = |option: &Vec<u8>| String::from_utf8_lossy(option).into_owned();
        let behind = |prefix| move |option: &Vec<u8>| Some(text(option).strip_prefix(prefix)?.to_owned());
        let options = || request.options.iter();
        Push {
            id: id.into(),
            atomic: request.atomic,
            mark: options().find(|option| option.starts_with(REPLICATION.as_bytes())).map(text),
            refdb: options().find_map(behind(REFDB)),
            seal: options().find_map(behind(SEAL)),
            commands: request.commands.clone(),
        }
    }

    /// Whether it is marked as sent by replication.
    pub fn replication(&self) -> bool {
        self.mark.is_some()
    }
}

/// What became of a push. The refs stay locked until [`end`](Received::end), or until this is dropped.
#[derive(Debug, Default)]
pub struct Received {
    /// One per command, in their order.
    pub answers: Vec<Answer>,
    /// Lines for the pusher beside the answers.
    pub details: Vec<String>,
    /// What operators have to know of what was refused.
    pub operators: Vec<Refused>,
    pub(super) record: Option<(Journal, Record)>,
    pub(super) locks: Guard,
}

impl Received {
    /// A push of so many refs of which nothing was looked at, for a reason that the pusher can do something about.
    pub fn refused(commands: usize, reason: &str, hint: Option<&str>) -> Received {
        let answers = vec![Answer::Refused(one_line(reason)); commands];
        Received { answers, details: hint.into_iter().map(str::to_owned).collect(), ..Received::default() }
    }

    /// The same where only an operator helps: `time` is in seconds since 1970. Who reads what replication is told is one.
    pub fn unable(push: &Push, error: &Error, time: u64) -> Received {
        let hint = error.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
        let why = format!("{}{hint}", error.message);
        let told = match (push.replication(), error.kind) {
            (true, _) => error.message.as_str(),
            (_, ErrorKind::Doubt) => TO_PUSHERS,
            (_, ErrorKind::Usage | ErrorKind::Failed) => UNABLE,
        };
        let hint = error.hint.as_deref().filter(|_| push.replication());
        Received {
            operators: vec![Refused { time, name: None, why }],
            ..Received::refused(push.commands.len(), told, hint)
        }
    }

    /// Between two parts of a push: the part that is done lets go of its refs, and its record goes. A record that cannot be
    /// removed is left to the next catch-up.
    pub(super) async fn end_part(&mut self) {
        if let Some((journal, record)) = self.record.take() {
            drop(blocking(move || journal.end(&record)).await);
        }
        self.locks = Guard::NOTHING;
    }

    /// After the answer was given: removes the record of the write. One that cannot be removed is no matter of the pusher:
    /// the next catch-up does it, or says why not.
    pub async fn end(mut self) {
        failpoint::kill_at("answered");
        self.end_part().await;
        failpoint::kill_at("ended");
    }
}

/// With a secret, a mark that nobody who knows it made counts for nothing, and is no client's push, either.
pub(super) fn look_at_seal(site: &Site, project: &Project, push: &Push) -> Result<Option<Received>, Error> {
    let (Some(file), Some(mark)) = (&site.gate.config().site.secret_file, &push.mark) else {
        return Ok(None);
    };
    let commands = || push.commands.iter().map(|c| (c.name.as_slice(), c.old, c.new));
    let what = Sealed { project, mark, refdb: push.refdb.as_deref() };
    let found = Secrets::read(file)?.look(&what, commands(), push.seal.as_deref().unwrap_or_default());
    let (reason, why) = match (found, &push.seal) {
        (Found::Good, _) => return Ok(None),
        (Found::OfOthers, _) => {
            return Ok(Some(Received::refused(push.commands.len(), PART_OF_A_PUSH, None)));
        }
        (Found::Forged, None) => ("not sealed", "has no seal"),
        (Found::Forged, Some(_)) => ("not authentic", "has a seal that no secret of this site made"),
    };
    let why = format!(
        "a push with the mark `{}` {why}: somebody forged it, or the `site.secretFile` of that site is another one",
        escape(mark.as_bytes())
    );
    let time = site.gate.clock().unix_time().as_secs();
    let reason = format!("the mark of replication is {reason}");
    let hint = "sites with `site.secretFile` take replication only from sites with the same secret";
    Ok(Some(Received {
        operators: vec![Refused { time, name: None, why }],
        ..Received::refused(push.commands.len(), &reason, Some(hint))
    }))
}

/// What replication sends was recorded in the sender's ref-db, which says nothing about values in another one.
pub(super) fn refuse_another_refdb(site: &Site, theirs: Option<&str>) -> Result<(), Error> {
    let ours = mark_of(site.gate.refdb()).map(|mark| mark.identity);
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(Error::failed(
            "the receiving site uses another ref-db than the sending one: both have to name the same in `ref-database.url`",
        )),
        _ => Ok(()),
    }
}
