//! One connection: a client on a runtime of its own, which can be killed.
//!
//! A client that is only dropped still sends what it has in its queue, and one that lost its connection sends it
//! after it has found a new one. Ending the runtime ends both.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OnceCell, oneshot};
use zookeeper_client::{Client, Connector, Error, SessionState};

/// Longest wait for a session to be closed, when its connection is dropped.
const CLOSING: Duration = Duration::from_millis(250);

/// A connection with its session.
pub(super) struct Link {
    /// `None` only while it is dropped.
    client: Option<Client>,
    runtime: KillSwitch,
    /// After this time without a sign of life the server ends the session.
    pub lease: Duration,
    /// The node that says that this client may write, once it is made.
    pub session: OnceCell<String>,
    set_aside: AtomicBool,
}

impl Link {
    /// Connects with `connector` to `servers`. Dropping the future ends the attempt.
    pub(super) async fn connect(connector: Connector, servers: String, tls: bool) -> Result<Link, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("refdb-zookeeper")
            .enable_time()
            .build()
            .map_err(|e| Error::UnexpectedError(format!("cannot start a thread: {e}")))?;
        let (answer, answered) = oneshot::channel();
        let handle = runtime.handle().clone();
        let runtime = KillSwitch { handle, runtime: Mutex::new(Some(runtime)) };
        runtime.handle.spawn(async move {
            // Nobody listens when the caller gave up.
            let _ = answer.send(connect(connector, &servers, tls).await);
        });
        let client = match answered.await {
            Ok(client) => client?,
            Err(_) => return Err(Error::UnexpectedError("the client cannot use this address".to_owned())),
        };
        let lease = client.session_timeout();
        Ok(Link {
            client: Some(client),
            runtime,
            lease,
            session: OnceCell::new(),
            set_aside: AtomicBool::new(false),
        })
    }

    pub(super) fn client(&self) -> &Client {
        self.client.as_ref().expect("it is there until it is dropped")
    }

    /// Whether it is connected at this moment and nobody gave it up.
    pub(super) fn is_usable(&self) -> bool {
        self.is_alive() && !self.set_aside.load(Ordering::Acquire)
    }

    /// Whether the session is connected at this moment.
    pub(super) fn is_alive(&self) -> bool {
        !self.runtime.is_dead() && self.client().state() == SessionState::SyncConnected
    }

    /// New calls take a new connection; who holds this one may go on.
    pub(super) fn set_aside(&self) {
        self.set_aside.store(true, Ordering::Release);
    }

    /// Ends it at once: nothing that is still in its queue is sent any more.
    pub(super) fn kill(&self) {
        self.set_aside();
        self.runtime.kill();
    }

    /// Runs `work` beside the connection, and no longer than it lives.
    pub(super) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        self.runtime.handle.spawn(work)
    }
}

#[cfg(not(feature = "zookeeper-tls"))]
async fn connect(connector: Connector, servers: &str, _: bool) -> Result<Client, Error> {
    connector.connect(servers).await
}

#[cfg(feature = "zookeeper-tls")]
async fn connect(connector: Connector, servers: &str, tls: bool) -> Result<Client, Error> {
    match tls {
        true => connector.secure_connect(servers).await,
        false => connector.connect(servers).await,
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // A session that is closed takes its nodes along at once, one that only ends does so after its timeout.
        let wait = self.is_alive() && !self.set_aside.load(Ordering::Acquire);
        let Some(client) = self.client.take() else { return };
        if wait {
            let mut state = client.state_watcher();
            drop(client);
            let (closed, closing) = std::sync::mpsc::channel();
            self.runtime.handle.spawn(async move {
                while !state.changed().await.is_terminated() {}
                let _ = closed.send(());
            });
            let _ = closing.recv_timeout(CLOSING);
        }
        self.runtime.kill();
    }
}

/// A runtime that ends without waiting for anybody, wherever it is dropped.
struct KillSwitch {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl KillSwitch {
    fn runtime(&self) -> std::sync::MutexGuard<'_, Option<Runtime>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_dead(&self) -> bool {
        self.runtime().is_none()
    }

    fn kill(&self) {
        if let Some(runtime) = self.runtime().take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for KillSwitch {
    fn drop(&mut self) {
        self.kill();
    }
}
