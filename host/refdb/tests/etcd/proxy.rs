//! A proxy that stops at a write it was told to wait for.
//!
//! Requests are not compressed, so the one that holds the text in question is found by looking for it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What happens to the request that holds the text, and to its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is kept until it is released, and nothing follows it.
    KeepRequest,
    /// It goes through, and no answer comes back until then.
    KeepAnswer,
    /// The connection is closed instead.
    Cut,
    /// It goes through, and the connection is closed when it has been done.
    CutAnswer,
}

#[derive(Default)]
struct State {
    wait_for: Option<(Vec<u8>, Fault)>,
    hit: bool,
    released: bool,
    refuses: bool,
    open: Vec<TcpStream>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    server: String,
}

/// Listens on a port of its own and passes everything on.
pub struct Proxy {
    shared: Arc<Shared>,
    pub address: String,
}

impl Proxy {
    pub fn new(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), server: server.to_owned() });
        let at = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                at.clone().pass(client.unwrap());
            }
        });
        Proxy { shared, address }
    }

    pub fn url(&self, rest: &str) -> String {
        format!("etcd://{}/{rest}", self.address)
    }

    /// The next request that holds `text` meets `fault`.
    pub fn wait_for(&self, text: &str, fault: Fault) {
        let mut state = self.shared.state.lock().unwrap();
        *state = State {
            wait_for: Some((text.as_bytes().to_vec(), fault)),
            open: std::mem::take(&mut state.open),
            ..State::default()
        };
    }

    /// Blocks until the request has come.
    pub fn hit(&self) {
        let state = self.shared.state.lock().unwrap();
        let waited =
            self.shared.changed.wait_timeout_while(state, Duration::from_secs(10), |s| !s.hit).unwrap();
        assert!(!waited.1.timed_out(), "the request never came");
    }

    /// Lets go what is kept.
    pub fn release(&self) {
        self.shared.state.lock().unwrap().released = true;
        self.shared.changed.notify_all();
    }

    /// Closes everything, and everything new from now on.
    pub fn down(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.refuses = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn pass(self: Arc<Self>, client: TcpStream) {
        let server = TcpStream::connect(&self.server).unwrap();
        {
            let mut state = self.state.lock().unwrap();
            if state.refuses {
                return;
            }
            state.open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
        }
        let met = Arc::new(Mutex::new(None));
        for (from, to, requests) in
            [(client.try_clone().unwrap(), server.try_clone().unwrap(), true), (server, client, false)]
        {
            let (at, met) = (self.clone(), met.clone());
            std::thread::spawn(move || at.copy(from, to, requests, &met));
        }
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, requests: bool, met: &Mutex<Option<Fault>>) {
        let mut bytes = vec![0; 1 << 20];
        loop {
            let n = from.read(&mut bytes).unwrap_or(0);
            if n == 0 {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
            if requests {
                self.meet(&bytes[..n], met);
            }
            let fault = *met.lock().unwrap();
            match (fault, requests) {
                (Some(Fault::KeepAnswer), false) => self.until_released(),
                (Some(Fault::KeepRequest), true) => {
                    self.until_released();
                    // That alone: the client has taken it back since, and that would be on the way, too.
                    let _ = to.write_all(&bytes[..n]);
                    return;
                }
                (Some(Fault::Cut), true) | (Some(Fault::CutAnswer), false) => {
                    if !requests {
                        // The first bytes may only be about the connection: until the server has done it.
                        crate::common::pause(500);
                    }
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = to.shutdown(Shutdown::Both);
                    return;
                }
                _ => {}
            }
            if to.write_all(&bytes[..n]).is_err() {
                return;
            }
        }
    }

    /// Looks for the text, and remembers for this connection what to do.
    fn meet(&self, bytes: &[u8], met: &Mutex<Option<Fault>>) {
        let mut state = self.state.lock().unwrap();
        let found = state.wait_for.take_if(|(text, _)| bytes.windows(text.len()).any(|w| w == text));
        if let Some((_, fault)) = found {
            *met.lock().unwrap() = Some(fault);
            state.hit = true;
            self.changed.notify_all();
        }
    }

    fn until_released(&self) {
        let state = self.state.lock().unwrap();
        let _released = self.changed.wait_while(state, |s| !s.released).unwrap();
    }
}
