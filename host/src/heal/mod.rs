//! Heal: shows what keeps a site from agreeing with the ref-db, row by row, and repairs what an operator allows.
//!
//! Catch-up repairs by itself whatever a gated write leaves behind. What is left needs a decision: which of two
//! histories goes on, whether a value is given up. Heal never moves the global value back by itself: the object may be
//! at a site that is merely offline.

mod act;
mod left_over;
mod look;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use refgate_core::{Oid, Project, RefName, SiteKind};

use crate::gated::Doubt;
use crate::replicate::catch_up::of_kind;
use crate::{Error, Site};

pub use left_over::LeftOver;
pub use look::{Finding, GlobalValue, Row};
pub use report::{Healed, Report, Result as RowResult};

/// What heal may do beyond what catch-up does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Move the ref-db to local values that descend from what it holds.
    pub publish: bool,
    /// Keep copies of local values that nothing accounts for, and set the refs to what the ref-db holds.
    pub rescue: bool,
    /// Give up this value of the ref-db, which no reachable site has.
    pub accept_loss: Option<Oid>,
    /// Really do it; otherwise only look.
    pub yes: bool,
    /// The time: for the names of rescued refs and the age of left-over files.
    pub now: SystemTime,
}

/// Looks at `project`, and with [`Options::yes`] repairs what may be repaired.
///
/// # Errors
/// A project that does not replicate, a gate that is off, a value that is not lost, and a ref-db or repository that
/// cannot be read. What fails for one ref alone is in the report.
pub async fn heal(site: &Site, project: &Project, options: &Options) -> Result<Report, Error> {
    refuse(site, project).await?;
    let repository = site.repository(project).await?;
    let kind = site.kind(project, &repository).await?;
    if options.accept_loss.is_some() && kind.writes != SiteKind::Gated {
        return Err(refuse_loss(kind.doubt));
    }
    let (kind, doubt) = (kind.writes, kind.doubt.map(|doubt| doubt.to_string()));
    let before = look::look(site, project, &repository, kind).await?;
    if let Some(oid) = options.accept_loss {
        refuse_what_is_not_lost(project, &before, oid)?;
    }
    let files = left_over::find(&repository).await?;
    let mut report = Report::new(project, kind, options);
    if !options.yes {
        report.would(before, left_over::still_there(files), options);
        report.problems.extend(doubt);
        return Ok(report);
    }
    site.note_use().await?;
    // First, because a lock that nobody holds stops every write of its ref.
    let files = left_over::remove(&repository, files).await?;
    // What a record still says of keeps its ref away from the rest, so this comes before the other rows.
    let caught_up = of_kind(site, project, &repository, kind).await?;
    let mut done: BTreeMap<RefName, Result<String, String>> = BTreeMap::new();
    let rows =
        |row: Row| before.findings.iter().filter(move |f| f.row == row).cloned().collect::<Vec<Finding>>();
    if options.publish {
        done.extend(act::publish(site, project, &repository, rows(Row::Publish)).await?);
    }
    if options.rescue {
        done.extend(act::rescue(site, project, &repository, rows(Row::Rescue), options.now).await?);
    }
    if let Some(oid) = options.accept_loss {
        let lost = before.findings.iter().filter(|f| f.row == Row::Nowhere && f.global.oid() == Some(oid));
        done.extend(act::accept_loss(site, project, &repository, lost.cloned().collect(), oid).await?);
    }
    let after = look::look(site, project, &repository, kind).await?;
    report.did(before, after, caught_up, done, left_over::still_there(files));
    report.problems.extend(doubt);
    // What it wrote counts; whether that can be remembered, the next push says.
    drop(site.remember().await);
    Ok(report)
}

async fn refuse(site: &Site, project: &Project) -> Result<(), Error> {
    let config = site.gate.config();
    if !config.ref_database.enabled {
        return Err(Error::usage("the gate is switched off, so there is no ref-db to agree with")
            .hint("take out `ref-database.enabled = false`"));
    }
    if !site.gate.matches(project).await? {
        return Err(Error::usage(format!("project `{project}` does not replicate"))
            .hint("see `refgate project match` and the key `projects.pattern`"));
    }
    Ok(())
}

/// Where clients write past the ref-db, nobody knows what else would be given up.
fn refuse_loss(doubt: Option<Doubt>) -> Error {
    match doubt {
        Some(doubt) => {
            Error::failed(format!("only a gated repository may give up a value of the ref-db; {doubt}"))
        }
        None => Error::usage("only a gated site may give up a value of the ref-db")
            .hint("run it at a site with `site.writes = gated`"),
    }
}

/// A value is given up only by its exact name, and only when no site that can be reached has it.
fn refuse_what_is_not_lost(project: &Project, look: &look::Look, oid: Oid) -> Result<(), Error> {
    if look.findings.iter().any(|f| f.row == Row::Nowhere && f.global.oid() == Some(oid)) {
        return Ok(());
    }
    let at: BTreeSet<&Finding> = look.findings.iter().filter(|f| f.global.oid() == Some(oid)).collect();
    let message = match at.first() {
        Some(found) => format!("{oid} is not lost: {} is {}", found.name, found.row.meaning()),
        None => format!("no ref of `{project}` that differs here is at {oid} in the ref-db"),
    };
    Err(Error::usage(message).hint(format!("`refgate refdb heal {project}` shows what there is to do")))
}
