//! What heal found and did, and its JSON document.

use std::collections::{BTreeMap, BTreeSet};

use refgate_core::{Oid, Project, RefName, SiteKind};
use serde_json::{Value, json};

use super::look::{Finding, GlobalValue, LOCKED, Look, Row};
use super::{LeftOver, Options};
use crate::names;
use crate::replicate::{CaughtUp, Fate, RecordState};

/// What heal found, and with [`Options::yes`] did.
#[derive(Clone, Debug)]
pub struct Report {
    /// The project.
    pub project: Project,
    /// How client writes at this site relate to the ref-db.
    pub kind: SiteKind,
    /// Nothing was changed.
    pub dry_run: bool,
    /// The refs that differed from the ref-db, by name.
    pub refs: Vec<Healed>,
    /// The records of writes that had begun.
    pub records: Vec<RecordState>,
    /// What dead processes left behind.
    pub left_over: Vec<LeftOver>,
    /// Remotes that could not be listed, and why. Asked only when an object is missing here.
    pub unreachable: Vec<(String, String)>,
    /// Remotes that were asked for missing objects and may hide refs.
    pub may_hide: Vec<String>,
    /// None of so many refs that the ref-db records is here: the repository was made anew, or never filled.
    pub made_anew: Option<usize>,
    /// What else a person should know.
    pub problems: Vec<String>,
}

/// One ref, what there is to do about it, and what became of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healed {
    /// The ref and why it differs.
    pub finding: Finding,
    /// What there is to do, or what was done.
    pub action: String,
    /// What became of it.
    pub result: Result,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// It would be done with `--yes`.
    Would,
    /// It was done.
    Done,
    /// It is left to do.
    Left,
}

impl Result {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Result::Would => "would",
            Result::Done => "done",
            Result::Left => "left",
        }
    }
}

impl Report {
    pub(super) fn new(project: &Project, kind: SiteKind, options: &Options) -> Report {
        Report {
            project: project.clone(),
            kind,
            dry_run: !options.yes,
            refs: Vec::new(),
            records: Vec::new(),
            left_over: Vec::new(),
            unreachable: Vec::new(),
            may_hide: Vec::new(),
            made_anew: None,
            problems: Vec::new(),
        }
    }

    /// A look that changes nothing.
    pub(super) fn would(&mut self, look: Look, files: Vec<LeftOver>, options: &Options) {
        let allowed = |finding: &Finding| match finding.row {
            Row::CatchUp | Row::Delete => true,
            Row::Publish => options.publish,
            Row::Rescue => options.rescue,
            Row::Nowhere => options.accept_loss.is_some() && finding.global.oid() == options.accept_loss,
            _ => false,
        };
        self.noticed(look.unreachable, look.may_hide, look.made_anew, look.problems);
        for finding in look.findings {
            let would = allowed(&finding);
            let action = self.advice(&finding, would);
            self.refs.push(Healed {
                finding,
                action,
                result: if would { Result::Would } else { Result::Left },
            });
        }
        self.records = look.records;
        self.left_over = files;
    }

    /// What was done: rows that are gone, and what is left.
    pub(super) fn did(
        &mut self,
        before: Look,
        after: Look,
        caught_up: CaughtUp,
        mut done: BTreeMap<RefName, std::result::Result<String, String>>,
        files: Vec<LeftOver>,
    ) {
        self.noticed(after.unreachable, after.may_hide, after.made_anew, after.problems);
        let left: BTreeSet<RefName> = after.findings.iter().map(|finding| finding.name.clone()).collect();
        for finding in before.findings.into_iter().filter(|finding| !left.contains(&finding.name)) {
            let action = match done.remove(&finding.name) {
                Some(Ok(action)) => action,
                _ if finding.global.oid().is_none() => "deleted".into(),
                _ => "set to what the ref-db holds".into(),
            };
            self.refs.push(Healed { finding, action, result: Result::Done });
        }
        for finding in after.findings {
            let action = match done.remove(&finding.name) {
                Some(Err(why)) => why,
                _ => self.advice(&finding, false),
            };
            self.refs.push(Healed { finding, action, result: Result::Left });
        }
        self.refs.sort_by(|a, b| a.finding.name.cmp(&b.finding.name));
        // What could not be cleared away is still there, and what was tried says more than a look.
        let tried = caught_up.records.into_iter().partition(|record| matches!(record.fate, Fate::Kept(_)));
        let (kept, ended): (Vec<RecordState>, Vec<RecordState>) = tried;
        let named: BTreeSet<String> = kept.iter().map(|record| record.id.clone()).collect();
        let after: Vec<RecordState> = after.records.into_iter().filter(|r| !named.contains(&r.id)).collect();
        let stays: BTreeSet<&String> = after.iter().map(|record| &record.id).collect();
        self.records = ended.into_iter().filter(|record| !stays.contains(&record.id)).chain(kept).collect();
        self.records.extend(after);
        self.left_over = files;
    }

    /// What a look said beside the rows; the advice on them depends on it.
    fn noticed(
        &mut self,
        unreachable: Vec<(String, String)>,
        may_hide: Vec<String>,
        made_anew: Option<usize>,
        problems: Vec<String>,
    ) {
        (self.unreachable, self.may_hide, self.made_anew) = (unreachable, may_hide, made_anew);
        self.problems = problems;
    }

    /// What there is to do about a row, for people.
    fn advice(&self, finding: &Finding, allowed: bool) -> String {
        let project = &self.project;
        let quoted =
            |names: Vec<&String>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match &finding.row {
            Row::Elsewhere(_) | Row::Hidden(_) | Row::Nowhere if self.made_anew.is_some() && !allowed => {
                "it is of the project that was here before: see the warning".into()
            }
            Row::CatchUp => "set it to what the ref-db holds".into(),
            Row::Delete => "delete it, as the ref-db records".into(),
            Row::Elsewhere(remotes) => match remotes.first() {
                Some(remote) => format!("`refgate fetch {project} {remote}`"),
                None => "fetch it".into(),
            },
            Row::Hidden(remotes) => format!(
                "at {}, take what hides it out of `transfer.hideRefs` or `uploadpack.hideRefs`, then fetch from there",
                quoted(remotes.iter().collect())
            ),
            Row::InTheWay(other) => format!(
                "{}. When no site has `{}` any more: `refgate refdb cas {project} {} {} deleted`",
                names::cure(&finding.name, other),
                finding.name,
                finding.name,
                show(finding.global)
            ),
            Row::Nowhere if allowed => match finding.local {
                Some(oid) => format!("give up {} and record {oid}", show(finding.global)),
                None => format!("give up {} and record the ref as deleted", show(finding.global)),
            },
            Row::Nowhere => {
                let again = format!(
                    "push it again from a clone that has it, as in `git push URL {}:{}`",
                    show(finding.global),
                    finding.name
                );
                let wait = match self.unreachable.is_empty() {
                    true => ", or wait for the site that wrote it".into(),
                    false => format!(
                        ", or wait for {}",
                        quoted(self.unreachable.iter().map(|(name, _)| name).collect())
                    ),
                };
                let hidden = match self.may_hide.is_empty() {
                    true => String::new(),
                    false => format!(
                        ", or look whether it is hidden at {}",
                        quoted(self.may_hide.iter().collect())
                    ),
                };
                format!(
                    "{again}{wait}{hidden}; if it is gone for good: `--accept-loss {}`",
                    show(finding.global)
                )
            }
            Row::Publish if allowed => "move the ref-db to it".into(),
            Row::Publish => "`--publish` moves the ref-db to it".into(),
            Row::Rescue if allowed => "keep a copy, and set it to what the ref-db holds".into(),
            Row::Rescue => "`--rescue` keeps a copy, and sets it to what the ref-db holds".into(),
            Row::Untracked => format!(
                "`refgate refdb seed {project}` records it, when no site has a newer value of it than this one"
            ),
            Row::HeldBack { .. } => {
                "change that policy or its settings, or leave it: then this site stays behind the others"
                    .into()
            }
            Row::Behind => match self.kind {
                SiteKind::Mirror => "the next `refgate fetch` or push to this site moves it".into(),
                _ => format!("`refgate fetch {project} REMOTE` from a site that has it moves it"),
            },
            Row::Busy => "wait until that process has ended".into(),
            Row::Recorded => "see the records; run again".into(),
            Row::Stuck(why) | Row::Broken(why) => why.clone(),
            Row::WithMeta => "settle its `/meta`; then it goes by itself".into(),
            Row::Unreadable(why) if why == LOCKED => "run again when that writer has ended".into(),
            Row::Unreadable(_) if finding.global != GlobalValue::Unread => {
                "see the warnings, end their cause, then run again".into()
            }
            Row::Unreadable(_) => {
                format!(
                    "look at it with `refgate refdb get {project} {}`, then write it anew with `refgate refdb put`",
                    finding.name
                )
            }
        }
    }

    /// Whether nothing is left to do.
    pub fn is_fine(&self) -> bool {
        let open = |record: &RecordState| self.dry_run || record.fate != Fate::Ended;
        self.refs.iter().all(|one| one.result == Result::Done)
            && !self.records.iter().any(open)
            && self.left_over.iter().all(|one| !self.dry_run && one.kept.is_none())
            && self.problems.is_empty()
            && self.made_anew.is_none()
    }

    /// 3 when something is left to do, else 0.
    pub fn exit_code(&self) -> u8 {
        if self.is_fine() { 0 } else { 3 }
    }

    /// What becomes of a record, for people and JSON: a word and a sentence.
    pub fn fate<'a>(&self, record: &'a RecordState) -> (&'static str, &'a str) {
        match &record.fate {
            Fate::Ended if self.dry_run => ("would", "its write will be finished, or had no effect"),
            Fate::Ended => ("done", "its write is finished, or had no effect"),
            Fate::Busy => ("left", "a process of this site is at work on it"),
            Fate::Waiting(why) | Fate::Blocked(why) | Fate::Kept(why) => ("left", why),
        }
    }

    /// What becomes of something that was left behind.
    pub fn left_over_result(&self, one: &LeftOver) -> Result {
        match (&one.kept, self.dry_run) {
            (Some(_), _) => Result::Left,
            (None, true) => Result::Would,
            (None, false) => Result::Done,
        }
    }

    /// The document of `--json`.
    pub fn to_json(&self) -> Value {
        let oid = |oid: Option<Oid>| oid.map(|oid| oid.to_string());
        let refs = self.refs.iter().map(|one| {
            json!({
                "ref": one.finding.name.to_string(),
                "local": oid(one.finding.local),
                "global": match one.finding.global {
                    GlobalValue::Unread => Value::Null,
                    other => json!(show(other)),
                },
                "row": one.finding.row.name(),
                "what": one.finding.row.meaning(),
                "do": one.action,
                "result": one.result.name(),
            })
        });
        let records = self.records.iter().map(|record| {
            let (result, why) = self.fate(record);
            let refs: Vec<String> = record.refs.iter().map(ToString::to_string).collect();
            json!({"id": record.id, "refs": refs, "what": why, "result": result})
        });
        let left_over = self.left_over.iter().map(|one| {
            let result = self.left_over_result(one).name();
            json!({"name": one.name, "what": one.kept.as_deref().unwrap_or(one.what), "result": result})
        });
        json!({
            "command": "refdb heal",
            "project": self.project.as_str(),
            "dry_run": self.dry_run,
            "refs": refs.collect::<Vec<_>>(),
            "records": records.collect::<Vec<_>>(),
            "left_over": left_over.collect::<Vec<_>>(),
            "unreachable": self.unreachable.iter().map(|(name, why)| json!({"remote": name, "why": why})).collect::<Vec<_>>(),
            "may_hide": self.may_hide,
            "made_anew": self.made_anew,
            "problems": self.problems,
            "fine": self.is_fine(),
        })
    }
}

/// A value of the ref-db as people read it.
pub(super) fn show(global: GlobalValue) -> String {
    match global {
        GlobalValue::Unread => "unread".into(),
        GlobalValue::Untracked => "untracked".into(),
        GlobalValue::Deleted => "deleted".into(),
        GlobalValue::At(oid) => oid.to_string(),
    }
}
