//! A proxy in this process between a client and a server: counts what goes through and breaks it at chosen requests.
//!
//! Faults happen at events of the protocol, not at moments in time, so that a test breaks the same thing every time.

mod frames;
mod link;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use frames::Protocol;
use link::Link;

/// What the proxy does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Pass,
    /// Passes everything on, each way this much later.
    Delay(Duration),
    /// Cuts the connection instead of passing on the k-th request from now, counted from 1; then [`Mode::Pass`].
    CutBefore(u64),
    /// Passes on the k-th request from now, counted from 1, and cuts the connection instead of passing on its reply; then
    /// [`Mode::Pass`].
    DropReply(u64),
    /// Keeps every connection and passes nothing on. What waits goes on when the mode changes, as after a partition,
    /// unless its connection is cut before.
    BlackHole,
    /// Resets every connection, those that exist and those that come.
    Reset,
}

/// What went through since the proxy started, or since [`Proxy::reset_counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that clients made.
    pub connections: u64,
    /// Requests that were passed on; always 0 for [`Protocol::Raw`].
    pub requests: u64,
    /// Bytes that were passed on to the server.
    pub bytes_up: u64,
    /// Bytes that were passed on to clients.
    pub bytes_down: u64,
}

/// A running proxy. Dropping it cuts every connection and closes its port.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told of every change of the mode and every cut.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Requests since the mode was set.
    seen: u64,
    counts: Counts,
    links: Vec<Arc<Link>>,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes everything on to `server`.
    pub fn start(server: SocketAddr, protocol: Protocol) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state =
            State { mode: Mode::Pass, seen: 0, counts: Counts::default(), links: Vec::new(), closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let acceptor = {
            let shared = shared.clone();
            std::thread::spawn(move || accept(&listener, server, protocol, &shared))
        };
        Proxy { address, shared, acceptor: Some(acceptor) }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on does this.
    pub fn set(&self, mode: Mode) {
        let mut state = self.shared.state();
        state.mode = mode;
        state.seen = 0;
        if mode == Mode::Reset {
            state.links.drain(..).for_each(|link| link.reset());
        }
        self.shared.changed.notify_all();
    }

    /// What it does now: a mode that waits for a request is [`Mode::Pass`] once that has come.
    pub fn mode(&self) -> Mode {
        self.shared.state().mode
    }

    /// Cuts every connection; new ones may be made.
    pub fn cut(&self) {
        self.shared.state().links.drain(..).for_each(|link| link.cut());
        self.shared.changed.notify_all();
    }

    /// What went through.
    pub fn counts(&self) -> Counts {
        self.shared.state().counts
    }

    /// Counts from zero, and returns what was counted until now.
    pub fn reset_counts(&self) -> Counts {
        std::mem::take(&mut self.shared.state().counts)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.cut();
        // Wakes the acceptor; if even that does not connect, it is gone already.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, server: SocketAddr, protocol: Protocol, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        let mut state = shared.state();
        if state.closed {
            return;
        }
        state.counts.connections += 1;
        if state.mode == Mode::Reset {
            link::reset(&client);
            continue;
        }
        // A server that is down is met by the client as a connection that ends at once.
        let Ok(server) = TcpStream::connect_timeout(&server, Duration::from_secs(5)) else { continue };
        let link = Arc::new(Link::new(client, server));
        state.links.retain(|link| !link.is_cut());
        state.links.push(link.clone());
        drop(state);
        link::run(&link, protocol, shared);
    }
}
