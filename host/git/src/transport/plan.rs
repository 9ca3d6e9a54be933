//! What of a push goes over the wire: which commands, after which capabilities, with which objects.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, BufWriter, Write};

use refgate_core::{Oid, RefName};

use super::failure::other_format;
use super::isolate::{Tried, isolate};
use super::pack::{PackFailure, PackRequest};
use super::pktline;
use super::push::Facts;
use super::report;
use crate::objects::exist;
use crate::receive::PART_OF_A_PUSH;
use crate::{GitError, GitErrorKind, PushCommand, PushStatus};

const SIDE_BAND: &str = "side-band-64k";
pub(super) const ATOMIC: &str = "atomic";
pub(super) const PUSH_OPTIONS: &str = "push-options";

/// What goes over the wire.
pub(super) struct Plan<'a> {
    facts: &'a Facts,
    /// What this side makes use of.
    capabilities: String,
    /// Per command: why it is not even sent.
    refused: Vec<Option<String>>,
    sent: Vec<&'a PushCommand>,
    pack: PackRequest<'a>,
}

impl<'a> Plan<'a> {
    /// Sorts out what cannot be sent, and looks up which objects both sides have.
    pub(super) fn new(facts: &'a Facts, commands: &'a [PushCommand]) -> Result<Plan<'a>, GitError> {
        let capabilities = capabilities(facts)?;
        let mut seen = HashSet::with_capacity(commands.len());
        for command in commands {
            let format =
                [command.old, command.new].into_iter().flatten().find(|oid| oid.format() != facts.format);
            if let Some(oid) = format {
                return Err(other_format(&facts.url, oid.format().name(), facts.format.name()));
            }
            if !seen.insert(&command.name) {
                return Err(GitError::new(format!("`{}` is named twice in one push", command.name)));
            }
        }
        let mut wanted: Vec<Oid> = commands.iter().filter_map(|c| c.new).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut held: Vec<Oid> = Vec::new();
        if !wanted.is_empty() {
            held.extend(
                facts.listing.refs.iter().map(|(_, oid)| *oid).chain(facts.listing.haves.iter().copied()),
            );
            held.sort_unstable();
            held.dedup();
        }
        let asked: Vec<Oid> = wanted.iter().chain(&held).copied().collect();
        let here = exist(&facts.git_dir, &asked)?;
        let (wanted_here, held_here) = here.split_at(wanted.len());
        let missing: BTreeSet<Oid> =
            wanted.iter().zip(wanted_here).filter(|(_, here)| !**here).map(|(oid, _)| *oid).collect();
        wanted.retain(|oid| !missing.contains(oid));
        let mut here = held_here.iter();
        held.retain(|_| here.next() == Some(&true));

        let refused = |command: &PushCommand| match (command.old, command.new) {
            (None, None) => Some("there is neither an old nor a new value".to_owned()),
            (_, None) if !facts.listing.can("delete-refs") => {
                Some("the remote takes no deletions".to_owned())
            }
            (_, Some(new)) if missing.contains(&new) => {
                Some(format!("object `{new}` is not in the local repository"))
            }
            _ => None,
        };
        let refused: Vec<Option<String>> = commands.iter().map(refused).collect();
        let sent =
            commands.iter().zip(&refused).filter(|(_, refused)| refused.is_none()).map(|(c, _)| c).collect();
        let pack = PackRequest {
            git_dir: &facts.git_dir,
            wanted,
            held,
            thin: !facts.listing.can("no-thin"),
            offset_deltas: facts.listing.can("ofs-delta"),
        };
        Ok(Plan { facts, capabilities, refused, sent, pack })
    }

    /// Whether the report comes in a side-band.
    pub(super) fn side_band(&self) -> bool {
        self.facts.listing.can(SIDE_BAND)
    }

    /// The commands that go to the remote: its names, and the values they are to get.
    pub(super) fn sent(&self) -> Vec<(&'a RefName, Option<Oid>)> {
        self.sent.iter().map(|command| (&command.name, command.new)).collect()
    }

    /// Writes the commands and the pack; `waiting` is told when the remote has nothing to do.
    pub(super) fn send(
        &self,
        writer: &mut (dyn Write + Send),
        waiting: &dyn Fn(bool),
    ) -> Result<(), PackFailure> {
        let zero = self.facts.format.zero_hex();
        let mut to = BufWriter::new(&mut *writer);
        let mut line = Vec::new();
        let hex = |oid: Option<Oid>| oid.map_or(zero.clone(), |oid: Oid| oid.to_string());
        let mut commands = || -> io::Result<()> {
            for (i, command) in self.sent.iter().enumerate() {
                line.clear();
                write!(line, "{} {} ", hex(command.old), hex(command.new))?;
                line.extend_from_slice(command.name.as_bytes());
                if i == 0 {
                    write!(line, "\0 {}", self.capabilities)?;
                }
                pktline::write(&mut to, &line)?;
            }
            pktline::write_flush(&mut to)?;
            let seal = self.facts.seal.as_ref().map(|seal| seal(&self.sent));
            if self.facts.has_options() {
                for option in self.facts.options.iter().chain(&seal) {
                    pktline::write(&mut to, option.as_bytes())?;
                }
                pktline::write_flush(&mut to)?;
            }
            to.flush()
        };
        commands().map_err(|_| PackFailure::Remote)?;
        // A BufWriter that is dropped here has nothing left to write.
        drop(to);
        match self.sent.iter().any(|command| command.new.is_some()) {
            true => self.pack.send(writer, waiting),
            false => Ok(()),
        }
    }

    /// What a session says about its commands, when the remote printed `said`. A refusal that concerns all of them tells
    /// nothing about one.
    pub(super) fn answer(self, statuses: Vec<PushStatus>, said: &str) -> Tried<PushStatus> {
        let again =
            |status: &PushStatus| matches!(status, PushStatus::Rejected(why) if why == PART_OF_A_PUSH);
        if statuses.iter().any(again) {
            let settled = |status: PushStatus| Some(status).filter(|status| !again(status));
            return Tried::Answered(self.merge(statuses).into_iter().map(settled).collect());
        }
        let spoiled = |status: &PushStatus| matches!(status, PushStatus::Rejected(why) if concerns_all(why));
        let why = match statuses.first() {
            Some(PushStatus::Rejected(why)) if statuses.iter().all(spoiled) => match said {
                "" => why.clone(),
                said => format!("{why}: {said}"),
            },
            _ => return Tried::Answered(self.merge(statuses).into_iter().map(Some).collect()),
        };
        match self.refused.iter().all(Option::is_none) {
            true => Tried::Failed(why),
            false => {
                Tried::Answered(self.refused.into_iter().map(|why| why.map(PushStatus::Rejected)).collect())
            }
        }
    }

    /// After a pack could not be made: which objects spoil it, found here, without the remote.
    pub(super) fn without_culprits(
        self,
        commands: &[PushCommand],
        error: GitError,
    ) -> Result<Tried<PushStatus>, GitError> {
        if error.kind != GitErrorKind::Other {
            return Err(error);
        }
        let mut held = self.pack.held.clone();
        let mut attempt = |some: &[Oid]| {
            let pack = PackRequest { wanted: some.to_vec(), held: held.clone(), ..self.pack };
            match pack.send(&mut io::sink(), &|_| {}) {
                Ok(()) => {
                    held.extend(some);
                    Ok(Tried::Answered(vec![Some(None); some.len()]))
                }
                Err(PackFailure::Local(e)) if e.kind != GitErrorKind::Other => Err(e),
                Err(PackFailure::Local(e)) => Ok(Tried::Failed(e.message)),
                Err(PackFailure::Remote) => Ok(Tried::Failed("the pack could not be written".into())),
            }
        };
        let (found, failed) =
            isolate(&self.pack.wanted, |_| Vec::new(), &mut attempt, |_, words| Some(words.to_owned()));
        if let Some(failed) = failed {
            return Err(failed);
        }
        let culprits: HashMap<Oid, String> = self
            .pack
            .wanted
            .iter()
            .zip(found)
            .filter_map(|(oid, words)| Some((*oid, words.flatten()?)))
            .collect();
        let answer = |(command, refused): (&PushCommand, Option<String>)| {
            refused.or_else(|| culprits.get(&command.new?).cloned()).map(PushStatus::Rejected)
        };
        let answers: Vec<_> = commands.iter().zip(self.refused).map(answer).collect();
        Ok(match answers.iter().any(Option::is_some) {
            true => Tried::Answered(answers),
            false => Tried::Failed(error.message),
        })
    }

    /// The remote's statuses of what was sent, and ours of the rest, in the order of the commands.
    pub(super) fn merge(self, statuses: Vec<PushStatus>) -> Vec<PushStatus> {
        let mut statuses = statuses.into_iter();
        let unsent = || PushStatus::Rejected("it was not sent".into());
        self.refused
            .into_iter()
            .map(|refused| {
                refused.map(PushStatus::Rejected).or_else(|| statuses.next()).unwrap_or_else(unsent)
            })
            .collect()
    }
}

/// Refusals of receive-pack that concern all refs of a session, whoever the culprit is.
fn concerns_all(why: &str) -> bool {
    why == "pre-receive hook declined" || why.starts_with(report::UNPACKED_NOT)
}

/// What this side makes use of, as it stands behind the first command.
fn capabilities(facts: &Facts) -> Result<String, GitError> {
    let mut used = String::new();
    used += match () {
        () if facts.listing.can("report-status-v2") => "report-status-v2",
        () if facts.listing.can("report-status") => "report-status",
        () => {
            return Err(GitError::new(format!("the remote `{}` does not report what it does", facts.url))
                .kind(GitErrorKind::Unsupported)
                .hint("use a server that offers `report-status`"));
        }
    };
    if facts.listing.can(SIDE_BAND) {
        used += " ";
        used += SIDE_BAND;
    }
    if facts.listing.can("quiet") {
        used += " quiet";
    }
    if facts.atomic {
        used += " ";
        used += ATOMIC;
    }
    if facts.has_options() {
        used += " ";
        used += PUSH_OPTIONS;
    }
    if facts.listing.has_key("object-format") {
        used += &format!(" object-format={}", facts.format.name());
    }
    if facts.listing.has_key("agent") {
        used += concat!(" agent=refgate/", env!("CARGO_PKG_VERSION"));
    }
    Ok(used)
}
