//! One connection through the proxy: per direction a thread that reads and one that passes on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::frames::{Protocol, Side, Splitter, Unit};
use super::{Mode, Shared};

/// The two ends of a connection.
#[derive(Debug)]
pub(super) struct Link {
    client: TcpStream,
    server: TcpStream,
    cut: AtomicBool,
    /// The request whose reply is not passed on.
    doomed: Mutex<Option<u64>>,
}

impl Link {
    pub(super) fn new(client: TcpStream, server: TcpStream) -> Link {
        for end in [&client, &server] {
            // Units are passed on whole, so that waiting for more would only add time.
            let _ = end.set_nodelay(true);
        }
        Link { client, server, cut: AtomicBool::new(false), doomed: Mutex::default() }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Ends both connections in order.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for end in [&self.client, &self.server] {
            // The other end may have gone first.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Ends both connections by a reset, which is sent when the last thread lets go of the socket.
    pub(super) fn reset(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for end in [&self.client, &self.server] {
            reset(end);
            // Wakes the reader without telling the other end.
            let _ = end.shutdown(Shutdown::Read);
        }
    }

    fn ends(&self, side: Side) -> (&TcpStream, &TcpStream) {
        match side {
            Side::Client => (&self.client, &self.server),
            Side::Server => (&self.server, &self.client),
        }
    }

    fn doomed(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closing `end` sends a reset.
pub(super) fn reset(end: &TcpStream) {
    let _ = socket2::SockRef::from(end).set_linger(Some(Duration::ZERO));
}

/// A unit, and when it came.
type Came = (Instant, Unit);

/// Starts the threads of a connection.
pub(super) fn run(link: &Arc<Link>, protocol: Protocol, shared: &Arc<Shared>) {
    for side in [Side::Client, Side::Server] {
        let (sender, receiver) = channel();
        let reader = link.clone();
        std::thread::spawn(move || read(&reader, protocol, side, &sender));
        let (link, shared) = (link.clone(), shared.clone());
        std::thread::spawn(move || {
            pass_on(&link, side, &receiver, &shared);
            let (from, to) = link.ends(side);
            if !link.is_cut() {
                // What one side has ended is ended for the other, too; its answer may still come.
                let _ = to.shutdown(Shutdown::Write);
                let _ = from.shutdown(Shutdown::Read);
            }
        });
    }
}

fn read(link: &Link, protocol: Protocol, side: Side, sender: &Sender<Came>) {
    let mut from = link.ends(side).0;
    let mut splitter = Splitter::new(protocol, side);
    let mut buffer = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let now = Instant::now();
        if splitter.split(&buffer[..len]).into_iter().any(|unit| sender.send((now, unit)).is_err()) {
            return;
        }
    }
}

fn pass_on(link: &Link, side: Side, receiver: &Receiver<Came>, shared: &Shared) {
    for (came, unit) in receiver {
        if !may_pass(link, side, came, &unit, shared) {
            return;
        }
        let mut to = link.ends(side).1;
        if to.write_all(&unit.bytes).is_err() {
            link.cut();
            return;
        }
    }
}

/// Waits as long as the mode wants it, counts, and says whether the unit goes on. If not, the connection is cut.
fn may_pass(link: &Link, side: Side, came: Instant, unit: &Unit, shared: &Shared) -> bool {
    let mut state = shared.state();
    loop {
        if link.is_cut() {
            return false;
        }
        state = match state.mode {
            Mode::BlackHole => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Mode::Delay(delay) => {
                let left = (came + delay).saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                // Woken when the mode changes.
                shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
            _ => break,
        };
    }
    if side == Side::Server {
        if unit.id.is_some() && *link.doomed() == unit.id {
            link.cut();
            return false;
        }
        state.counts.bytes_down += unit.bytes.len() as u64;
        return true;
    }
    if let Some(id) = unit.id {
        state.seen += 1;
        match state.mode {
            Mode::CutBefore(k) if state.seen >= k => {
                state.mode = Mode::Pass;
                link.cut();
                return false;
            }
            Mode::DropReply(k) if state.seen >= k => {
                state.mode = Mode::Pass;
                *link.doomed() = Some(id);
            }
            _ => {}
        }
        state.counts.requests += 1;
    }
    state.counts.bytes_up += unit.bytes.len() as u64;
    true
}
