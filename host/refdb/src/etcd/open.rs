//! Connecting, and making sure that a ref-db is what is there.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp};
use refgate_core::{Clock, Deadline, RefDbError, RefDbErrorKind, escape};

use super::driver::{self, Driver};
use super::error::{Failure, about};
use super::keys::end_of;
use super::servers::{Servers, limited};
use super::shared::Shared;
use crate::OpenMode;
use crate::url::Remote;

/// How long connecting may take.
const LIMIT: Duration = Duration::from_secs(10);
/// What `ROOT/format` holds.
const FORMAT: &[u8] = b"refgate 1";

/// Connects, and tells whether the ref-db was made.
pub(super) fn open(
    remote: &Remote,
    mode: OpenMode,
    clock: Arc<dyn Clock>,
) -> Result<(Driver, bool), RefDbError> {
    let servers = Servers::new(remote)?;
    let runtime = driver::runtime().map_err(|e| {
        about(RefDbErrorKind::Unavailable, &remote.shown, &format!("cannot start a thread: {e}"))
    })?;
    let handle = runtime.handle().clone();
    let shared = Arc::new(Shared::new(&remote.root, &remote.shown, clock, servers, handle));
    let driver = Driver::new(runtime, shared.clone());
    let created = driver.block(async move {
        let deadline = Deadline::after(&*shared.clock, LIMIT);
        let checked = limited(&*shared.clock, LIMIT, check(&shared, mode, deadline)).await;
        let checked = checked.unwrap_or_else(|| Err(Failure::Broken("no answer in 10 s".to_owned())));
        checked.map_err(|e| shared.told(e, false))
    });
    let died =
        || about(RefDbErrorKind::Unavailable, &remote.shown, "the thread that connects died; try again");
    let created = created.ok_or_else(died)??;
    Ok((driver, created))
}

async fn check(shared: &Shared, mode: OpenMode, deadline: Deadline) -> Result<bool, Failure> {
    let (key, identity) = (shared.keys.format(), shared.keys.identity());
    // Nothing else lies between the two, so one answer has both.
    let both = GetOptions::new().with_range(end_of(&identity));
    let found = shared.get(deadline, &key, both).await?;
    let of = |key: &[u8]| found.kvs().iter().find(|kv| kv.key() == key).map(|kv| kv.value().to_vec());
    let format = match (of(&key), mode) {
        (Some(format), _) => format,
        (None, OpenMode::Existing) => {
            let what = format!(
                "there is no ref-db below `{}`; correct the url, or make one with `refgate refdb seed PROJECT`",
                shared.keys.root()
            );
            return Err(shared.about(RefDbErrorKind::Unavailable, &what).into());
        }
        (None, OpenMode::Create) => {
            let make = Txn::new()
                .when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)])
                .and_then([TxnOp::put(key.clone(), FORMAT, None)])
                .or_else([TxnOp::get(key.clone(), None)]);
            // Whoever makes it writes the same.
            let made = shared.txn(deadline, true, &make).await?;
            if made.succeeded() {
                identify(shared, deadline).await?;
                return Ok(true);
            }
            let mut seen = super::read::collect(&made);
            seen.remove(&key).map(|found| found.value).unwrap_or_default()
        }
    };
    if format == FORMAT {
        match of(&identity) {
            Some(found_identity) => shared.identified(&found, &found_identity),
            // One that an older program made.
            None => identify(shared, deadline).await?,
        }
        return Ok(false);
    }
    let what = format!(
        "what is below `{}` has the format `{}`, which this refgate does not know; use the refgate that made it, or another prefix",
        shared.keys.root(),
        escape(&format)
    );
    Err(shared.about(RefDbErrorKind::Config, &what).into())
}

/// Gives the store an identity, unless somebody was faster.
async fn identify(shared: &Shared, deadline: Deadline) -> Result<(), Failure> {
    let key = shared.keys.identity();
    let new = uuid::Uuid::new_v4().simple().to_string();
    let make = Txn::new()
        .when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)])
        .and_then([TxnOp::put(key.clone(), new.clone(), None)])
        .or_else([TxnOp::get(key.clone(), None)]);
    let answer = shared.txn(deadline, true, &make).await?;
    let there = super::read::collect(&answer).remove(&key).map(|found| found.value);
    shared.identified(&answer, &there.unwrap_or_else(|| new.into_bytes()));
    Ok(())
}
