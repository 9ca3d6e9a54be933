//! What is there instead of an etcd server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use refgate_core::RefDbErrorKind;
use refgate_refdb::OpenMode::{Create, Existing};

use crate::common::*;
use crate::support::*;

tests![nobody_listens, somebody_who_hangs_up, somebody_who_says_nothing, somebody_who_speaks_otherwise];

/// Listens and does `answer` with every connection.
fn listener(answer: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("etcd://{}/refs", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || answer(stream.unwrap()));
        }
    });
    url
}

fn nobody_listens() {
    let start = now();
    let url = format!("etcd://127.0.0.1:{}/refs", refgate_servers::free_port());
    for mode in [Create, Existing] {
        let e = fails(open_url(&url, mode), RefDbErrorKind::Unavailable, "no server can be reached");
        assert!(e.message.contains(&url), "{e}");
    }
    assert!(start.elapsed().as_secs() < 2);
    let unknown = "etcd://no-such-host.invalid:2379/refs";
    fails(open_url(unknown, Create), RefDbErrorKind::Unavailable, "no server can be reached");
}

fn somebody_who_hangs_up() {
    let url = listener(|stream| stream.shutdown(Shutdown::Both).unwrap());
    let e = answers_within(10_000, || open_url(&url, Create));
    fails(e, RefDbErrorKind::Unavailable, "check the host and the port");
}

fn somebody_who_says_nothing() {
    let url = listener(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let e = answers_within(10_200, || open_url(&url, Create));
    fails(e, RefDbErrorKind::Unavailable, "no answer in");
}

fn somebody_who_speaks_otherwise() {
    for text in ["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "-ERR unknown command\r\n", "imok"]
    {
        // A function, because every connection has a thread of its own.
        let url = match text.as_bytes()[0] {
            b'H' => listener(|stream| speak(stream, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")),
            b'-' => listener(|stream| speak(stream, "-ERR unknown command\r\n")),
            _ => listener(|stream| speak(stream, "imok")),
        };
        let e = answers_within(10_200, || open_url(&url, Create));
        fails(e, RefDbErrorKind::Unavailable, "no etcd server answers");
    }
}

fn speak(mut stream: TcpStream, text: &str) {
    let mut some = [0; 64];
    let _ = stream.read(&mut some);
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.read_to_end(&mut Vec::new());
}
