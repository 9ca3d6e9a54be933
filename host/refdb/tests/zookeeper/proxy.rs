//! Stands between a store and its server: counts requests, answers some of them itself, and holds everything back on
//! demand.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const PING: i32 = 11;
pub const SYNC: i32 = 9;
pub const GET_DATA: i32 = 4;
pub const MULTI: i32 = 14;
pub const MULTI_READ: i32 = 22;

const UNIMPLEMENTED: i32 = -6;
const BAD_ARGUMENTS: i32 = -8;

/// What went through, and what is done about it.
#[derive(Default)]
struct State {
    /// The codes of all requests but pings, and of reads in batches the number of operations.
    seen: Mutex<Vec<(i32, usize)>>,
    /// Most operations in one read; 0 for no limit, `usize::MAX` for a server that knows no such reads.
    cap: AtomicUsize,
    /// Requests of this code are swallowed with their connection; 0 for none.
    cut_at: AtomicUsize,
    /// Whether what is cut at is still delivered, so that only the answer is lost.
    deliver: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
    /// Runs once before the next request of this kind goes on.
    before: Mutex<Option<(i32, Hook)>>,
}

type Hook = Box<dyn FnOnce() + Send>;

pub struct Proxy {
    pub address: String,
    state: Arc<State>,
}

impl Proxy {
    pub fn start(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if let Ok(server) = TcpStream::connect(&server) {
                    serve(client, server, &shared);
                }
            }
        });
        Proxy { address, state }
    }

    /// What was asked since the last time.
    pub fn seen(&self) -> Vec<(i32, usize)> {
        std::mem::take(&mut self.state.seen.lock().unwrap())
    }

    /// Refuses reads of more than so many operations.
    pub fn cap(&self, operations: usize) {
        self.state.cap.store(operations, Ordering::SeqCst);
    }

    /// Answers reads in batches as a server does that is too old for them.
    pub fn no_batches(&self) {
        self.cap(usize::MAX);
    }

    /// Breaks the connection at the next request of this kind, delivered or not.
    pub fn cut_at(&self, code: i32, deliver: bool) {
        self.state.deliver.store(deliver.into(), Ordering::SeqCst);
        self.state.cut_at.store(code.try_into().unwrap(), Ordering::SeqCst);
    }

    /// Runs `hook` before the next request of this kind goes on.
    pub fn before(&self, code: i32, hook: impl FnOnce() + Send + 'static) {
        *self.state.before.lock().unwrap() = Some((code, Box::new(hook)));
    }

    /// Breaks all connections.
    pub fn cut(&self) {
        for stream in self.state.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(client: TcpStream, server: TcpStream, state: &Arc<State>) {
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    for stream in [&client, &server] {
        state.streams.lock().unwrap().push(stream.try_clone().unwrap());
    }
    let answers = Arc::new(Mutex::new(client.try_clone().unwrap()));
    let mute = Arc::new(AtomicBool::new(false));
    let from_now_on_mute = mute.clone();
    let (from_server, to_client) = (server.try_clone().unwrap(), answers.clone());
    std::thread::spawn(move || {
        let mut from_server = from_server;
        while let Some(frame) = read_frame(&mut from_server) {
            if from_now_on_mute.load(Ordering::SeqCst) || to_client.lock().unwrap().write_all(&frame).is_err()
            {
                break;
            }
        }
        let _ = from_server.shutdown(Shutdown::Both);
        let _ = to_client.lock().unwrap().shutdown(Shutdown::Both);
    });
    let state = state.clone();
    std::thread::spawn(move || {
        let (mut client, mut server) = (client, server);
        let mut first = true;
        while let Some(frame) = read_frame(&mut client) {
            let answer = if first { None } else { judge(&frame, &state) };
            first = false;
            let sent = match answer {
                None => server.write_all(&frame).is_ok(),
                Some(Verdict::Answer(answer)) => answers.lock().unwrap().write_all(&answer).is_ok(),
                Some(Verdict::Cut { deliver: false }) => false,
                Some(Verdict::Cut { deliver: true }) => {
                    // The answer ends the connection instead of going on.
                    mute.store(true, Ordering::SeqCst);
                    server.write_all(&frame).is_ok()
                }
            };
            if !sent {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    });
}

enum Verdict {
    Answer(Vec<u8>),
    Cut { deliver: bool },
}

fn judge(frame: &[u8], state: &State) -> Option<Verdict> {
    let (xid, code) = (int(frame, 4), int(frame, 8));
    if code == PING {
        return None;
    }
    let operations = if code == MULTI_READ { operations(&frame[12..]) } else { 1 };
    state.seen.lock().unwrap().push((code, operations));
    let hook = state.before.lock().unwrap().take_if(|(at, _)| *at == code);
    if let Some((_, hook)) = hook {
        hook();
    }
    if state.cut_at.load(Ordering::SeqCst) == code.max(0) as usize {
        state.cut_at.store(0, Ordering::SeqCst);
        return Some(Verdict::Cut { deliver: state.deliver.load(Ordering::SeqCst) > 0 });
    }
    let cap = state.cap.load(Ordering::SeqCst);
    let error = match cap {
        usize::MAX if code == MULTI_READ => UNIMPLEMENTED,
        1.. if code == MULTI_READ && operations > cap => BAD_ARGUMENTS,
        _ => return None,
    };
    let mut answer = 16i32.to_be_bytes().to_vec();
    answer.extend(xid.to_be_bytes());
    answer.extend(0i64.to_be_bytes());
    answer.extend(error.to_be_bytes());
    Some(Verdict::Answer(answer))
}

/// How many operations a read has: each a header of nine bytes, a path and a byte for the watch.
fn operations(mut body: &[u8]) -> usize {
    let mut count = 0;
    while body[4] == 0 {
        body = &body[9 + 4 + int(body, 9) as usize + 1..];
        count += 1;
    }
    count
}

fn int(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A frame with its length in front.
fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).ok()?;
    let length = usize::try_from(int(&frame, 0)).ok()?;
    frame.resize(4 + length, 0);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}
