//! Backends with a server: how it is started, controlled and shared by the tests of one process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use refgate_servers::Protocol;

use super::Place;

/// A server that a test controls.
pub trait Server {
    /// `HOST:PORT` for clients.
    fn address(&self) -> String;
    /// The store of the tests at this server, when it is reached at `address`.
    fn url(&self, address: &str) -> String;
    /// SIGSTOP.
    fn stop(&self);
    /// SIGCONT.
    fn cont(&self);
    /// SIGKILL.
    fn kill(&mut self);
    /// Starts it again on the same data and port, and waits until it answers.
    fn restart(&mut self);
}

/// A backend whose server a test can break.
#[derive(Clone)]
pub struct ServerBackend {
    /// How its tests are called.
    pub name: &'static str,
    /// Why it cannot be started here.
    pub missing: Option<String>,
    /// A server of its own.
    pub start: fn() -> Box<dyn Server>,
    /// What it speaks.
    pub protocol: Protocol,
    /// How many requests a read of 10,000 refs may take.
    pub budget: u64,
    /// A lease that it takes as it is, and that a test can wait for.
    pub lease: Duration,
}

/// A place of its own at a server that all tests of this process share.
pub fn shared(
    address: &OnceLock<String>,
    start: fn() -> Box<dyn Server>,
    url: fn(&str, &str) -> String,
) -> Place {
    static PLACES: AtomicU64 = AtomicU64::new(0);
    let address = address.get_or_init(|| {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let server = start();
            sender.send(server.address()).expect("somebody waits for it");
            // The server dies with the thread that started it, so this one never ends.
            loop {
                std::thread::park();
            }
        });
        receiver.recv().expect("the server starts")
    });
    let root = format!("conformance-{}", PLACES.fetch_add(1, Ordering::Relaxed));
    Place::at_url(&url(address, &root), ())
}
