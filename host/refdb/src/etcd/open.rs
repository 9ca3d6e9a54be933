//! Connecting, and making sure that a ref-db is what is there.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp};
use refgate_core::{Clock, Deadline, RefDbError, RefDbErrorKind, escape};

use super::driver::{self, Driver};
use super::error::{Failure, about};
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
    let key = shared.keys.format();
    let found = shared.get(deadline, &key, GetOptions::new()).await?;
    let format = match (found.kvs().first(), mode) {
        (Some(found), _) => found.value().to_vec(),
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
                return Ok(true);
            }
            let mut seen = super::read::collect(&made);
            seen.remove(&key).map(|found| found.value).unwrap_or_default()
        }
    };
    if format == FORMAT {
        return Ok(false);
    }
    let what = format!(
        "what is below `{}` has the format `{}`, which this refgate does not know; use the refgate that made it, or another prefix",
        shared.keys.root(),
        escape(&format)
    );
    Err(shared.about(RefDbErrorKind::Config, &what).into())
}
