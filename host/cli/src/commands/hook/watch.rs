//! `hook reference-transaction`: what others write to the refs, noted or refused.

use std::io::{self, Read};
use std::path::Path;

use refgate_core::Project;
use refgate_host::Error;
use refgate_host::gated::observe;

use super::{open_here, site};
use crate::output::{hint, note, warn};
use crate::system::unix_time;

/// `prepared` can refuse the transaction by a failure; everything after it is too late, and everything that this version
/// does not know is none of its business.
pub async fn run(file: &Path, project: &Project, state: &str) -> Result<u8, Error> {
    if !matches!(state, "prepared" | "committed") {
        return Ok(0);
    }
    let mut input = Vec::new();
    io::stdin()
        .read_to_end(&mut input)
        .map_err(|e| Error::failed(format!("cannot read what git says about its transaction: {e}")))?;
    let changes = observe::changes(&input);
    if changes.is_empty() {
        return Ok(0);
    }
    let Some((site, repository)) = open_here(site::config(file)?, project).await? else { return Ok(0) };
    if state == "committed" {
        let found = observe::committed(&site, project, &repository, changes, unix_time().as_secs()).await?;
        for drift in &found {
            let to = drift.new.as_deref().unwrap_or("deleted");
            warn(&format!("refgate: {} was written past the ref-db, it is {to} now", drift.name));
        }
        if !found.is_empty() {
            hint(&format!("push such changes; for this one see `refgate hook status {project}`"));
        }
        return Ok(0);
    }
    let refused = observe::prepared(&site, project, &repository, changes).await?;
    for (name, why) in &refused {
        note(&format!("refgate: {name} is not written past the ref-db: {why}"));
    }
    if !refused.is_empty() {
        hint("push the change to this repository instead");
    }
    Ok(if refused.is_empty() { 0 } else { 1 })
}
