//! The proxy between a client and tiny servers that speak as much of each protocol as counts.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::{Counts, Mode, Protocol, Proxy};

const PATIENCE: Duration = Duration::from_secs(10);

/// Answers every whole request with itself, and counts them.
struct Echo {
    address: SocketAddr,
    done: Arc<AtomicU64>,
}

/// The length of the first whole request in `bytes`.
type Whole = fn(&[u8]) -> Option<usize>;

fn echo(whole: Whole) -> Echo {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let echo = Echo { address: listener.local_addr().unwrap(), done: Arc::default() };
    let done = echo.done.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, done) = (stream.unwrap(), done.clone());
            std::thread::spawn(move || {
                let (mut have, mut buffer) = (Vec::new(), [0; 1000]);
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    have.extend_from_slice(&buffer[..len]);
                    while let Some(len) = whole(&have) {
                        done.fetch_add(1, Ordering::SeqCst);
                        let request: Vec<u8> = have.drain(..len).collect();
                        if stream.write_all(&request).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    echo
}

fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize + 4;
    (bytes.len() >= len).then_some(len)
}

/// A ZooKeeper frame with this xid and some more bytes.
fn frame(xid: i32, more: usize) -> Vec<u8> {
    let mut out = (4 + more as u32).to_be_bytes().to_vec();
    out.extend(xid.to_be_bytes());
    out.resize(8 + more, 7);
    out
}

struct Client(TcpStream);

impl Client {
    fn new(proxy: &Proxy) -> Client {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Sends, and reads the same back.
    fn ask(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.get(bytes);
    }

    fn get(&mut self, bytes: &[u8]) {
        let mut back = vec![0; bytes.len()];
        self.0.read_exact(&mut back).unwrap();
        assert_eq!(back, bytes);
    }

    /// How the connection ends, with nothing read before.
    fn end(&mut self) -> Result<usize, ErrorKind> {
        self.0.read(&mut [0; 10]).map_err(|e| e.kind())
    }

    /// Nothing comes for a while.
    fn is_silent(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let end = self.end();
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(end, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

fn zookeeper() -> (Echo, Proxy) {
    let server = echo(whole_frame);
    let proxy = Proxy::start(server.address, Protocol::ZooKeeper);
    (server, proxy)
}

#[test]
fn requests_bytes_and_connections_are_counted() {
    let (_server, proxy) = zookeeper();
    let mut client = Client::new(&proxy);
    client.ask(&frame(0, 40));
    client.ask(&frame(1, 0));
    client.ask(&frame(-2, 0));
    // In pieces, and two at once.
    let two = [frame(2, 30), frame(3, 20_000)].concat();
    client.send(&two[..3]);
    client.send(&two[3..50]);
    client.send(&two[50..]);
    client.get(&two);
    let bytes = 48 + 8 + 8 + two.len() as u64;
    let want = Counts { connections: 1, requests: 4, bytes_up: bytes, bytes_down: bytes };
    assert_eq!(proxy.counts(), want);
    Client::new(&proxy).ask(&frame(0, 0));
    assert_eq!(proxy.reset_counts().connections, 2);
    assert_eq!(proxy.counts(), Counts::default());
}

#[test]
fn what_is_no_frame_goes_through() {
    let server = echo(|bytes| (bytes.len() >= 4).then_some(4));
    let proxy = Proxy::start(server.address, Protocol::ZooKeeper);
    Client::new(&proxy).ask(b"ruok");
    assert_eq!(proxy.counts().bytes_up, 4);
}

#[test]
fn the_connection_is_cut_before_the_chosen_request() {
    let (server, proxy) = zookeeper();
    let mut client = Client::new(&proxy);
    client.ask(&frame(0, 0));
    proxy.set(Mode::CutBefore(2));
    client.ask(&frame(1, 0));
    // A ping is no request.
    client.ask(&frame(-2, 0));
    client.send(&frame(2, 0));
    assert!(matches!(client.end(), Ok(0) | Err(ErrorKind::ConnectionReset)));
    assert_eq!(server.done.load(Ordering::SeqCst), 3, "the server never saw it");
    assert_eq!(proxy.mode(), Mode::Pass);
    Client::new(&proxy).ask(&frame(0, 0));
}

#[test]
fn the_reply_of_the_chosen_request_is_dropped() {
    let (server, proxy) = zookeeper();
    let mut client = Client::new(&proxy);
    client.ask(&frame(0, 0));
    proxy.set(Mode::DropReply(2));
    client.send(&[frame(1, 5), frame(2, 5)].concat());
    client.get(&frame(1, 5));
    assert!(matches!(client.end(), Ok(0) | Err(ErrorKind::ConnectionReset)));
    assert_eq!(server.done.load(Ordering::SeqCst), 3, "the server did it");
    Client::new(&proxy).ask(&frame(0, 0));
}

#[test]
fn a_black_hole_swallows_nothing_for_good() {
    let (server, proxy) = zookeeper();
    let mut client = Client::new(&proxy);
    client.ask(&frame(0, 0));
    proxy.set(Mode::BlackHole);
    client.send(&frame(1, 0));
    let mut late = Client::new(&proxy);
    late.send(&frame(0, 3));
    assert!(client.is_silent() && late.is_silent());
    assert_eq!(server.done.load(Ordering::SeqCst), 1);
    proxy.set(Mode::Pass);
    client.get(&frame(1, 0));
    late.get(&frame(0, 3));
    // A connection that is cut meanwhile takes what waits with it.
    proxy.set(Mode::BlackHole);
    client.send(&frame(2, 0));
    assert!(client.is_silent());
    proxy.cut();
    assert!(matches!(client.end(), Ok(0) | Err(ErrorKind::ConnectionReset)));
    proxy.set(Mode::Pass);
    Client::new(&proxy).ask(&frame(0, 0));
    assert_eq!(server.done.load(Ordering::SeqCst), 4);
}

#[test]
fn connections_are_reset() {
    let (_server, proxy) = zookeeper();
    let mut client = Client::new(&proxy);
    client.ask(&frame(0, 0));
    proxy.set(Mode::Reset);
    assert_eq!(client.end(), Err(ErrorKind::ConnectionReset));
    assert_eq!(Client::new(&proxy).end(), Err(ErrorKind::ConnectionReset));
    proxy.set(Mode::Pass);
    Client::new(&proxy).ask(&frame(0, 0));
}

#[test]
fn a_delay_is_each_way_and_does_not_add_up() {
    let (_server, proxy) = zookeeper();
    let mut client = Client::new(&proxy);
    client.ask(&frame(0, 0));
    proxy.set(Mode::Delay(Duration::from_millis(50)));
    let start = Instant::now();
    let many: Vec<u8> = (1..40).flat_map(|xid| frame(xid, 100)).collect();
    for piece in many.chunks(500) {
        client.send(piece);
    }
    client.get(&many);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(100), "{took:?}");
    assert!(took < Duration::from_millis(700), "39 requests in one go took {took:?}");
    // A change of the mode does not wait for the old one.
    proxy.set(Mode::Delay(Duration::from_secs(60)));
    client.send(&frame(50, 0));
    assert!(client.is_silent());
    proxy.set(Mode::Pass);
    client.get(&frame(50, 0));
}

#[test]
fn a_server_that_is_down_ends_connections_and_a_dropped_proxy_its_port() {
    let (server, proxy) = zookeeper();
    let mut client = Client::new(&proxy);
    client.ask(&frame(0, 0));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead = Proxy::start(nobody, Protocol::Raw);
    assert!(matches!(Client::new(&dead).end(), Ok(0) | Err(ErrorKind::ConnectionReset)));
    let address = proxy.address();
    drop(proxy);
    assert!(matches!(client.end(), Ok(0) | Err(ErrorKind::ConnectionReset)));
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    drop(server);
}

#[test]
fn an_end_of_one_side_is_passed_on() {
    let (sender, receiver) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        sender.send(all.len()).unwrap();
        stream.write_all(b"late").unwrap();
    });
    let proxy = Proxy::start(address, Protocol::Raw);
    let mut client = Client::new(&proxy);
    client.send(b"12345");
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(5));
    client.get(b"late");
    assert_eq!(client.end(), Ok(0));
}

/// An HTTP/2 frame.
fn h2(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(body);
    out
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The preface, and every frame of its own.
fn whole_h2(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"PRI") {
        return (bytes.len() >= PREFACE.len()).then_some(PREFACE.len());
    }
    let [a, b, c] = *bytes.first_chunk()?;
    let len = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
    (bytes.len() >= len).then_some(len)
}

#[test]
fn headers_are_the_requests_of_http2() {
    // Echoes frames, so that SETTINGS come back before the reply; HEADERS come back as the reply. The echo of the preface
    // would be no frame.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let seen = done.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen) = (stream.unwrap(), seen.clone());
            std::thread::spawn(move || {
                let (mut have, mut buffer) = (Vec::new(), [0; 1000]);
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    have.extend_from_slice(&buffer[..len]);
                    while let Some(len) = whole_h2(&have) {
                        let frame: Vec<u8> = have.drain(..len).collect();
                        if frame.starts_with(b"PRI") {
                            continue;
                        }
                        // A request is over with DATA that end the stream: only then it is answered.
                        let reply = match (frame[3], frame[4]) {
                            (1, _) => continue,
                            (0, 1) => {
                                seen.fetch_add(1, Ordering::SeqCst);
                                h2(1, 4, u32::from_be_bytes(frame[5..9].try_into().unwrap()), b"ok")
                            }
                            _ => frame,
                        };
                        if stream.write_all(&reply).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    let proxy = Proxy::start(address, Protocol::Http2);
    let request = |stream| [h2(1, 4, stream, b"head"), h2(0, 1, stream, b"data")].concat();
    let begin = |client: &mut Client| {
        client.send(PREFACE);
        client.ask(&h2(4, 0, 0, b""));
    };
    let mut client = Client::new(&proxy);
    begin(&mut client);
    for stream in [1, 3] {
        client.send(&request(stream));
        client.get(&h2(1, 4, stream, b"ok"));
    }
    // WINDOW_UPDATE and PING are no requests.
    client.ask(&h2(8, 0, 0, &[0, 0, 1, 0]));
    client.ask(&h2(6, 0, 0, &[0; 8]));
    assert_eq!(proxy.counts().requests, 2);
    proxy.set(Mode::DropReply(1));
    client.send(&request(5));
    assert!(matches!(client.end(), Ok(0) | Err(ErrorKind::ConnectionReset)));
    assert_eq!(done.load(Ordering::SeqCst), 3, "the server did it");
    let mut client = Client::new(&proxy);
    begin(&mut client);
    proxy.set(Mode::CutBefore(1));
    client.send(&request(1));
    assert!(matches!(client.end(), Ok(0) | Err(ErrorKind::ConnectionReset)));
    assert_eq!(done.load(Ordering::SeqCst), 3, "the server never saw it");
}
