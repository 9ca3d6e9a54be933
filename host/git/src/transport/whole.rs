//! What a remote has beyond what it lists: settings like `transfer.hideRefs` keep refs out of a listing, and a ref that a
//! listing leaves out is unknown, not absent.

use std::collections::HashSet;

use refgate_core::{ObjectFormat, RefName};

use super::RemoteUrl;
use super::connection::repository_at;
use super::list;
use crate::{GitError, Repository, WholeListing};

/// Lists the remote at `url`, and on this machine looks past what it hides, by reading its refs. Elsewhere nobody can.
///
/// # Errors
/// As [`list`]; and refs that cannot be read.
pub fn list_whole(url: &RemoteUrl, format: ObjectFormat) -> Result<WholeListing, GitError> {
    let listed = list(url, format)?;
    let Some(path) = url.path() else {
        return Ok(WholeListing { listed, hidden: Vec::new(), complete: false });
    };
    let refs = Repository::open(&repository_at(url, path)?)?.refs()?;
    let shown: HashSet<&[u8]> = listed.iter().map(|one| one.name.as_bytes()).collect();
    let hidden = refs.iter().filter(|(name, _)| !shown.contains(name));
    let hidden = hidden.filter_map(|(name, target)| Some((RefName::new(name).ok()?, target))).collect();
    Ok(WholeListing { listed, hidden, complete: true })
}
