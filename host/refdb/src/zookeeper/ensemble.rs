//! What all calls share: the settings, the connections, and the rule that nobody waits beyond a deadline.
//!
//! There are two connections. One reads and holds locks; the other writes, and is killed as soon as nobody knows what
//! became of a write. So a write in doubt costs neither the readers nor the locks their session.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use refgate_core::refdb::Seen;
use refgate_core::{BoxFuture, Clock, Deadline, RefDbError, RefDbErrorKind};
use tokio::sync::oneshot;
use zookeeper_client::Error;

use super::error::{Trouble, about, before_write, in_doubt, too_late, trouble};
use super::link::Link;
use super::read::BATCH;
use super::settings::Settings;

/// A reader that waited for so long in vain tries another connection next time.
const PATIENCE: Duration = Duration::from_millis(500);

type Slot = tokio::sync::Mutex<Option<Arc<Link>>>;

pub(super) struct Ensemble {
    pub settings: Settings,
    pub clock: Arc<dyn Clock>,
    /// What a lock holder writes into its node, for people.
    pub address: String,
    reader: Slot,
    writer: Slot,
    /// The newest mark.
    pub seen: Seen,
    /// Session nodes of killed writers. While one is there, something of that writer could still arrive.
    retired: Mutex<Vec<String>>,
    /// Most operations that the server took in one read; 0 when it knows no such reads.
    pub batch: AtomicUsize,
}

impl Ensemble {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>, reader: Link, address: String) -> Ensemble {
        Ensemble {
            settings,
            clock,
            address,
            reader: Slot::new(Some(Arc::new(reader))),
            writer: Slot::default(),
            seen: Seen::default(),
            retired: Mutex::default(),
            batch: AtomicUsize::new(BATCH),
        }
    }

    /// A connection to read with.
    pub(super) async fn reader(&self) -> Result<Arc<Link>, RefDbError> {
        self.link(&self.reader).await
    }

    /// A connection to write with, which nothing of an earlier one can overtake any more.
    pub(super) async fn writer(&self) -> Result<Arc<Link>, RefDbError> {
        let link = self.link(&self.writer).await?;
        loop {
            let Some(node) = self.retired().last().cloned() else { return Ok(link) };
            match link.client().delete(&node, None).await {
                Ok(()) | Err(Error::NoNode) => self.retired().retain(|other| *other != node),
                Err(e) => return Err(self.before_write(&e)),
            }
        }
    }

    fn retired(&self) -> MutexGuard<'_, Vec<String>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills a connection that wrote, and remembers what shuts out the rest of it.
    pub(super) fn retire(&self, link: &Link) {
        if let Some(node) = link.session.get() {
            let mut retired = self.retired();
            if !retired.contains(node) {
                retired.push(node.clone());
            }
        }
        link.kill();
    }

    async fn link(&self, slot: &Slot) -> Result<Arc<Link>, RefDbError> {
        let mut kept = slot.lock().await;
        if let Some(link) = kept.take_if(|link| !link.is_usable()) {
            // Whoever still uses it may go on; it does not come back.
            link.set_aside();
        }
        if let Some(link) = &*kept {
            return Ok(link.clone());
        }
        let link = Arc::new(connect(&self.settings).await?);
        *kept = Some(link.clone());
        Ok(link)
    }

    /// Runs a read by `deadline`, once more on a new connection when the first one breaks.
    pub(super) async fn read<'a, T>(
        &'a self,
        deadline: Deadline,
        read: impl Fn(Arc<Link>) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, RefDbError> {
        let started = self.clock.now();
        let mut used = None;
        let done = timeout_at(&*self.clock, deadline, async {
            loop {
                let link = self.reader().await?;
                let again = used.replace(link.clone()).is_some();
                match read(link).await {
                    Ok(value) => return Ok(value),
                    Err(e) if trouble(&e) == Trouble::NoAnswer && !again => {}
                    Err(e) => return Err(self.before_write(&e)),
                }
                if let Some(link) = &used {
                    link.set_aside();
                }
            }
        })
        .await;
        done.unwrap_or_else(|| {
            if let Some(link) = used
                && self.clock.now().saturating_duration_since(started) >= PATIENCE
            {
                link.set_aside();
            }
            Err(too_late(&self.settings.shown))
        })
    }

    /// Runs a write by `deadline`. `in_flight` is set by whoever sends something that may be applied.
    pub(super) async fn write<T>(
        &self,
        deadline: Deadline,
        in_flight: &WriteInFlight,
        write: impl Future<Output = Result<T, RefDbError>>,
    ) -> Result<T, RefDbError> {
        match timeout_at(&*self.clock, deadline, write).await {
            Some(done) => done,
            None if in_flight.is_set() => Err(in_doubt(&self.settings.shown, "no answer by the deadline")),
            None => Err(too_late(&self.settings.shown)),
        }
    }

    pub(super) fn before_write(&self, e: &Error) -> RefDbError {
        before_write(&self.settings.shown, e)
    }

    pub(super) fn about(&self, kind: RefDbErrorKind, what: &str) -> RefDbError {
        about(kind, &self.settings.shown, what)
    }
}

/// Whether a write was sent whose answer is not there.
#[derive(Default)]
pub(super) struct WriteInFlight(AtomicBool);

impl WriteInFlight {
    pub(super) fn set(&self, to: bool) {
        self.0.store(to, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Connects, and says why when it cannot.
pub(super) async fn connect(settings: &Settings) -> Result<Link, RefDbError> {
    let e = match Link::connect(settings.connector(), settings.servers.join(","), settings.tls).await {
        Ok(link) => return Ok(link),
        Err(e) => e,
    };
    if trouble(&e) == Trouble::Rights {
        return Err(before_write(&settings.shown, &e));
    }
    let (answer, answered) = oneshot::channel();
    let (servers, tls) = (settings.servers.clone(), settings.tls);
    // Not on a thread of the caller: it blocks.
    let work = move || {
        let _ = answer.send(super::diagnose::diagnose(&servers, tls));
    };
    // Without a thread nobody answers below, and the error of the connection has to do.
    let _ = std::thread::Builder::new().name("refdb-diagnose".to_owned()).spawn(work);
    let why = answered.await.unwrap_or_else(|_| e.to_string());
    let what = format!("no connection, nothing was written: {why}");
    Err(about(RefDbErrorKind::Unavailable, &settings.shown, &what))
}

/// What `work` gives by `deadline`; `None` when it is not ready by then, and it is dropped.
pub(super) async fn timeout_at<T>(
    clock: &dyn Clock,
    deadline: Deadline,
    work: impl Future<Output = T>,
) -> Option<T> {
    let left = deadline.left(clock);
    if left.is_zero() {
        return None;
    }
    let mut late = pin!(clock.sleep(left));
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await
}
