//! What is not a store is said, clearly and soon, and nothing is written.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use refgate_core::RefDbErrorKind;
use refgate_refdb::OpenMode::{Create, Existing};
use refgate_servers::{ZooKeeper, free_port};

use crate::common::*;
use crate::support::*;
use crate::{Needs::Server, Test};

pub const TESTS: &[Test] = &[
    ("only_create_makes_a_missing_root_and_says_so", Server, missing_root),
    ("an_own_root_without_gerrits_is_a_store", Server, own_root),
    ("one_of_several_servers_is_enough", Server, several_servers),
    ("nobody_at_the_port", Server, nobody),
    ("something_else_at_the_port", Server, something_else),
    ("wrong_options", Server, options),
    ("tls_is_said_to_be_missing", Server, without_tls),
];

fn refused(url: &str, kind: RefDbErrorKind, parts: &[&str]) {
    for mode in [Existing, Create] {
        let start = now();
        let e = open_url(url, mode).unwrap_err();
        assert_eq!(e.kind, kind, "{e}");
        for part in parts {
            assert!(e.message.contains(part), "{part}: {e}");
        }
        assert!(e.message.contains(url.split('?').next().unwrap()), "{e}");
        assert!(!e.message.contains("sessionTimeoutMs="), "no options: {e}");
        assert!(start.elapsed() < Duration::from_millis(10_500), "{:?}", start.elapsed());
    }
}

fn missing_root() {
    let server = ZooKeeper::start();
    let raw = Raw::new(&server);
    let url = url(&server.address(), "");
    let e = open_url(&url, Existing).unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::Unavailable);
    assert!(e.message.contains("the node `/gerrit/multi-site` does not exist; correct the root"), "{e}");
    assert_eq!(raw.children("/"), ["zookeeper"], "nothing was written");
    assert!(open_url(&url, Create).unwrap().created);
    assert!(!open_url(&url, Create).unwrap().created);
    assert!(!open_url(&url, Existing).unwrap().created);
}

fn own_root() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    // Gerrit makes its root as a container, which goes when it is empty.
    raw.delete("/gerrit/multi-site");
    drop(t);
    let opened = open_url(&url(&server.address(), ""), Existing).unwrap();
    let t = Store(opened.db);
    t.put("p", "refs/x", at(1));
    assert_eq!(t.value("p", "refs/x"), at(1));
    let held = lock(&t, "refs/x", 5_000).unwrap();
    release(held);
}

fn several_servers() {
    let server = ZooKeeper::start();
    let servers = format!("127.0.0.1:{},{}", free_port(), server.address());
    let t = store_at(&servers, "");
    t.put("p", "refs/x", at(1));
    assert_eq!(t.value("p", "refs/x"), at(1));
}

fn nobody() {
    let port = free_port();
    let there = format!("127.0.0.1:{port}");
    refused(&url(&there, ""), RefDbErrorKind::Unavailable, &["cannot be reached", "is it running", &there]);
    let nowhere = "no-such-host.invalid:2181";
    refused(&url(nowhere, ""), RefDbErrorKind::Unavailable, &["has no address", "correct the host name"]);
}

/// A server that says `greeting` to everybody, then nothing.
fn impostor(greeting: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(greeting);
            all.push(stream);
        }
    });
    address
}

fn something_else() {
    let ssh = impostor(b"SSH-2.0-OpenSSH_9.2p1\r\n");
    refused(&url(&ssh, ""), RefDbErrorKind::Unavailable, &["is no ZooKeeper", "correct the port"]);
    let tls = impostor(b"\x15\x03\x03\x00\x02\x02\x0a");
    refused(&url(&tls, ""), RefDbErrorKind::Unavailable, &["?tls=true"]);
    let silent = impostor(b"");
    refused(&url(&silent, ""), RefDbErrorKind::Unavailable, &["does not answer like a ZooKeeper"]);
}

fn options() {
    let at = |rest: &str| format!("zookeeper://127.0.0.1:1/{rest}");
    for (rest, part) in [
        ("r?read=fast", "`sync` or `local`"),
        ("r?sessionTimeoutMs=soon", "from 500 to 3600000"),
        ("r?sessionTimeoutMs=0", "from 500 to 3600000"),
        ("r?user=u&passwordFile=no-such-file", "cannot read"),
        ("r?user=u&passwordEnv=REFGATE_NO_SUCH_VARIABLE", "is not set"),
        ("r?user=a:b&passwordFile=x", "no colon"),
        ("r\u{7}", "the root"),
    ] {
        let e = open_url(&at(rest), Create).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Config, "{e}");
        assert!(e.message.contains(part), "{e}");
    }
}

fn without_tls() {
    let e = open_url("zookeeper://127.0.0.1:1/r?tls=true&caFile=no-such-file", Create).unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::Config, "{e}");
    let part = if cfg!(feature = "zookeeper-tls") { "cannot read" } else { "feature `zookeeper-tls`" };
    assert!(e.message.contains(part), "{e}");
}
