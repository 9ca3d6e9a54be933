//! What all calls share: the servers, the keys, the sessions; and the few requests that everything is made of.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{GetOptions, GetResponse, LeaseGrantResponse, ResponseHeader, Txn, TxnResponse};
use refgate_core::refdb::{Mark, Seen};
use refgate_core::{Clock, Deadline, RefDbError, RefDbErrorKind};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::error::{Failure, about};
use super::keys::Keys;
use super::servers::Servers;
use super::session::Sessions;
use super::ticket::Ticket;

/// Most operations in one transaction by etcd's default. What a server takes less is learned.
pub(super) const TXN_OPS: usize = 128;
/// For what nobody waits for.
pub(super) const IN_BACKGROUND: Duration = Duration::from_secs(5);

pub(super) struct Shared {
    pub(super) keys: Keys,
    /// The URL, for messages.
    pub(super) shown: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) servers: Servers,
    pub(super) sessions: Sessions,
    /// What is at [`Keys::identity`], as it was read last.
    identity: Mutex<String>,
    /// The newest mark. Answers carry the revision and the cluster, and those that look for it the identity.
    pub(super) seen: Seen,
    /// Most operations in one transaction that nobody has refused yet.
    txn_ops: AtomicUsize,
    background: Background,
}

/// Work that nobody waits for until the store is closed: giving back locks and sessions.
struct Background {
    handle: Handle,
    tasks: Mutex<JoinSet<()>>,
}

/// One call: until when, and whether its caller still waits.
pub(super) struct Call {
    pub(super) shared: Arc<Shared>,
    pub(super) ticket: Arc<Ticket>,
    pub(super) deadline: Deadline,
}

impl Shared {
    pub(super) fn new(
        root: &str,
        shown: &str,
        clock: Arc<dyn Clock>,
        servers: Servers,
        handle: Handle,
    ) -> Shared {
        Shared {
            keys: Keys::new(root),
            shown: shown.to_owned(),
            clock,
            servers,
            sessions: Sessions::default(),
            identity: Mutex::default(),
            seen: Seen::default(),
            txn_ops: AtomicUsize::new(TXN_OPS),
            background: Background { handle, tasks: Mutex::default() },
        }
    }

    /// An error about this store.
    pub(super) fn about(&self, kind: RefDbErrorKind, what: &str) -> RefDbError {
        about(kind, &self.shown, what)
    }

    pub(super) fn told(&self, failure: Failure, wrote: bool) -> RefDbError {
        failure.told(&self.shown, wrote, self.servers.proven())
    }

    fn identity(&self) -> MutexGuard<'_, String> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer said what is at [`Keys::identity`].
    pub(super) fn identified(&self, answer: &impl Answer, identity: &[u8]) {
        *self.identity() = refgate_core::escape(identity).replace(' ', "%20");
        self.note(None, answer);
    }

    /// Takes the mark of an answer whose question was sent when `before` was the newest.
    fn note(&self, before: Option<&Mark>, answer: &impl Answer) {
        let Some(header) = answer.head() else { return };
        let identity = self.identity().clone();
        // Until the identity is known there is nothing to compare.
        if !identity.is_empty() {
            let identity = format!("{identity}@{:016x}", header.cluster_id());
            let revision = u64::try_from(header.revision()).unwrap_or(0);
            self.seen.note(before, Mark { identity, revision });
        }
    }

    /// Most operations in one transaction.
    pub(super) fn txn_ops(&self) -> usize {
        self.txn_ops.load(Ordering::Relaxed)
    }

    /// The server refused a transaction of `ops` operations.
    pub(super) fn refused_ops(&self, ops: usize) {
        self.txn_ops.fetch_min((ops / 2).max(1), Ordering::Relaxed);
    }

    /// Work that the end of the store cuts short.
    pub(super) fn endless(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.background.handle.spawn(work);
    }

    /// Work that the end of the store waits for, a little.
    pub(super) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.background.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(work, &self.background.handle);
    }

    /// What is still going on in the background.
    pub(super) fn take_background(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.background.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A range of keys, or with a key alone that key.
    pub(super) async fn get(
        &self,
        deadline: Deadline,
        key: &[u8],
        options: GetOptions,
    ) -> Result<GetResponse, Failure> {
        let request = |client: etcd_client::Client| {
            let (key, options) = (key.to_vec(), options.clone());
            // A page may hold long lists of superseded values.
            let mut kv = client.kv_client().max_decoding_message_size(usize::MAX);
            async move { kv.get(key, Some(options)).await }
        };
        let before = self.seen.newest();
        let answer = self.servers.ask(&*self.clock, deadline, true, request).await?;
        self.note(before.as_ref(), &answer);
        Ok(answer)
    }

    /// A transaction. `again`: see [`Servers::ask`].
    pub(super) async fn txn(
        &self,
        deadline: Deadline,
        again: bool,
        txn: &Txn,
    ) -> Result<TxnResponse, Failure> {
        let request = |client: etcd_client::Client| {
            let txn = txn.clone();
            let mut kv = client.kv_client().max_decoding_message_size(usize::MAX);
            async move { kv.txn(txn).await }
        };
        let before = self.seen.newest();
        let answer = self.servers.ask(&*self.clock, deadline, again, request).await?;
        self.note(before.as_ref(), &answer);
        Ok(answer)
    }

    /// A new lease of `seconds`. One that nobody hears of any more holds no key and runs out.
    pub(super) async fn grant(
        &self,
        deadline: Deadline,
        seconds: i64,
    ) -> Result<LeaseGrantResponse, Failure> {
        let request =
            |client: etcd_client::Client| async move { client.lease_client().grant(seconds, None).await };
        self.servers.ask(&*self.clock, deadline, true, request).await
    }

    /// Makes a lease begin anew.
    pub(super) async fn keep_alive(&self, deadline: Deadline, lease: i64) -> Result<(), Failure> {
        let request = |client: etcd_client::Client| async move {
            client.lease_client().keep_alive(lease).await.map(|_| ())
        };
        self.servers.ask(&*self.clock, deadline, true, request).await
    }

    /// Ends a lease and removes its keys. One that is gone already is no error.
    pub(super) async fn revoke(&self, deadline: Deadline, lease: i64) -> Result<(), Failure> {
        let request = |client: etcd_client::Client| async move {
            client.lease_client().revoke(lease).await.map(|_| ())
        };
        match self.servers.ask(&*self.clock, deadline, true, request).await {
            Err(Failure::NoLease) => Ok(()),
            other => other,
        }
    }
}

/// An answer that says which cluster gave it, and at which revision.
pub(super) trait Answer {
    fn head(&self) -> Option<&ResponseHeader>;
}

impl Answer for GetResponse {
    fn head(&self) -> Option<&ResponseHeader> {
        self.header()
    }
}

impl Answer for TxnResponse {
    fn head(&self) -> Option<&ResponseHeader> {
        self.header()
    }
}
