//! The servers of one store: which one is asked, and what happens when it does not answer.
//!
//! One client per server and one current server. A library client that balances over all of them prefers a server that
//! fails fast to one that works, and does not say which one failed.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use refgate_core::{Clock, Deadline, RefDbError, RefDbErrorKind};
use tokio::sync::Mutex;

use super::error::{Failure, about};
use crate::url::Remote;

/// A server that does not even connect in this time is down.
const CONNECT: Duration = Duration::from_secs(3);
/// Servers end connections that ask for a sign of life more often than every five seconds.
const SIGN_OF_LIFE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

pub(super) struct Servers {
    all: Vec<Server>,
    current: AtomicUsize,
    options: ConnectOptions,
    /// Whether any of them ever answered as etcd does.
    proven: AtomicBool,
}

struct Server {
    url: String,
    /// Made at the first use: with a user that asks the server.
    client: Mutex<Option<Client>>,
}

impl Servers {
    /// Reads the files that `remote` names; connects to nothing.
    pub(super) fn new(remote: &Remote) -> Result<Servers, RefDbError> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(SIGN_OF_LIFE.0, SIGN_OF_LIFE.1)
            .with_auto_token_refresh(true);
        if let (Some(user), Some(password)) = (&remote.access.user, &remote.access.password) {
            options = options.with_user(user, password.read()?.reveal());
        }
        if let Some(tls) = &remote.access.tls {
            let read = |what: &str, path: &std::path::Path| {
                std::fs::read(path).map_err(|e| {
                    let text = format!("{what}: cannot read `{}`: {e}", path.display());
                    about(RefDbErrorKind::Config, &remote.shown, &text)
                })
            };
            let mut wanted = match &tls.ca {
                Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(read("caFile", ca)?)),
                None => TlsOptions::new().with_native_roots(),
            };
            if let Some((cert, key)) = &tls.identity {
                wanted = wanted.identity(Identity::from_pem(read("certFile", cert)?, read("keyFile", key)?));
            }
            options = options.with_tls(wanted);
        }
        let scheme = if remote.access.tls.is_some() { "https" } else { "http" };
        let server =
            |address: &String| Server { url: format!("{scheme}://{address}"), client: Mutex::default() };
        Ok(Servers {
            all: remote.servers.iter().map(server).collect(),
            current: AtomicUsize::new(0),
            options,
            proven: AtomicBool::new(false),
        })
    }

    pub(super) fn proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// Asks the current server, then the others.
    ///
    /// `again` says that the request may be sent again when nobody knows what became of it: reads, and what is the same
    /// when it is done twice. Others are sent again only when they were certainly not sent.
    pub(super) async fn ask<T, F>(
        &self,
        clock: &dyn Clock,
        deadline: Deadline,
        again: bool,
        request: impl Fn(Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        // One more than there are servers: the connection may be an old one, of before a restart.
        let attempts = self.all.len() + 1;
        let mut login_outdated = false;
        let mut attempt = 1;
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let share = match self.all.len() {
                1 => deadline.left(clock),
                // A server that hangs must not use up the time of those that work.
                _ => deadline.left(clock) / (attempts - attempt + 1) as u32,
            };
            let asked = async {
                let client = self.client(at).await?;
                request(client).await.map_err(Failure::from)
            };
            let limit = if again { share } else { deadline.left(clock) };
            let answer = match limited(clock, limit, asked).await {
                Some(answer) => answer,
                None => Err(Failure::Broken("no answer in time".to_owned())),
            };
            match answer {
                Err(Failure::LoginOutdated) if !login_outdated => {
                    login_outdated = true;
                    self.forget(at);
                }
                Err(e) if e.is_of_connection() => {
                    self.leave(at);
                    let not_sent = matches!(e, Failure::NotReached(_));
                    if attempt == attempts || !(again || not_sent) || deadline.left(clock).is_zero() {
                        return Err(e);
                    }
                    attempt += 1;
                }
                answer => {
                    if answer.is_ok() {
                        self.proven.store(true, Ordering::Relaxed);
                    }
                    return answer;
                }
            }
        }
    }

    /// The client of one server.
    async fn client(&self, at: usize) -> Result<Client, Failure> {
        let server = &self.all[at];
        let mut slot = server.client.lock().await;
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let client = Client::connect([&server.url], Some(self.options.clone())).await?;
        Ok(slot.insert(client).clone())
    }

    /// The current server did not answer: the next request goes to another one, or over a new connection.
    pub(super) fn leave_current(&self) {
        self.leave(self.current.load(Ordering::Relaxed));
    }

    fn leave(&self, at: usize) {
        let next = (at + 1) % self.all.len();
        // Somebody else may have left it already.
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        self.forget(at);
    }

    fn forget(&self, at: usize) {
        // Held only by somebody who makes a new one just now.
        if let Ok(mut slot) = self.all[at].client.try_lock() {
            *slot = None;
        }
    }
}

/// Runs `work` for at most `time`.
pub(super) async fn limited<T>(
    clock: &dyn Clock,
    time: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    let mut end = pin!(clock.sleep(time));
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => end.as_mut().poll(cx).map(|()| None),
    })
    .await
}
