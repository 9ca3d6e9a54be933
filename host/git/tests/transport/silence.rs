//! Partners that stop in the middle: every wait ends, says who was silent, and leaves no process behind.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use refgate_core::Oid;
use refgate_git::{GitError, GitErrorKind, Limits};
use refgate_git::{PushSession, PushStatus, RemoteUrl, fetch_objects, list};

use crate::support::{Daemon, Pair, command};

const SHORT: Duration = Duration::from_millis(400);

fn short(url: RemoteUrl) -> RemoteUrl {
    url.within(Limits { connect: SHORT, silence: SHORT, ..Limits::default() })
}

/// Between a client and a git daemon: what the daemon says goes through up to a number of bytes, and then nothing does,
/// while the connection stays open.
struct Cut {
    port: u16,
    said: Receiver<Vec<u8>>,
}

impl Cut {
    fn after(most: usize, upstream: u16) -> Cut {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, said) = channel();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, tell) = (TcpStream::connect(("127.0.0.1", upstream)).unwrap(), tell.clone());
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
                thread::spawn(move || pass(server, client, most, &tell));
            }
        });
        Cut { port, said }
    }

    fn url(&self) -> RemoteUrl {
        short(RemoteUrl::parse(&format!("git://127.0.0.1:{}/remote.git", self.port)).unwrap())
    }
}

fn pass(mut server: TcpStream, mut client: TcpStream, most: usize, tell: &Sender<Vec<u8>>) {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while all.len() < most {
        match server.read(&mut buffer) {
            Ok(n @ 1..) => {
                let n = n.min(most - all.len());
                all.extend_from_slice(&buffer[..n]);
                if client.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            _ => {
                // The whole of it went through.
                let _ = tell.send(all);
                return;
            }
        }
    }
    // Held open until the client is gone.
    let _ = server.read_to_end(&mut Vec::new());
    thread::park_timeout(Duration::from_secs(30));
}

/// Where the frames of a stream end, and places inside of them.
fn places(stream: &[u8]) -> Vec<usize> {
    let (mut places, mut at) = (vec![0, 2], 0);
    while at + 4 <= stream.len() {
        let Some(len) =
            str::from_utf8(&stream[at..at + 4]).ok().and_then(|h| usize::from_str_radix(h, 16).ok())
        else {
            break;
        };
        at += len.max(4);
        places.extend([at, at + 3]);
    }
    places.retain(|at| *at < stream.len());
    places.dedup();
    // As many as can be tried side by side in a moment, the first and the last among them.
    let step = places.len().div_ceil(24).max(1);
    let last = places.last().copied();
    let mut some: Vec<usize> = places.into_iter().step_by(step).collect();
    some.extend(last);
    some
}

fn is_silence(error: &GitError) {
    assert_eq!(error.kind, GitErrorKind::Silent, "{error}");
    assert!(error.message.contains("said nothing for 400 ms while it was "), "{error}");
    assert!(error.hint.as_ref().unwrap().contains("timeout"), "{error}");
}

#[test]
fn a_server_that_stops_in_a_push_is_left() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    pair.push(&[command("refs/heads/main", None, Some(one))]);
    let daemon = Daemon::start(pair.dir.path(), &[]);
    let push = |cut: &Cut, name: &str| {
        let mine = pair.local.commit(&[one], name);
        let session = PushSession::open(&pair.local.0, &cut.url(), pair.format)?;
        session.push(&[command(&format!("refs/heads/{name}"), None, Some(mine))], &mut |_| {})
    };
    let whole = Cut::after(usize::MAX, daemon.port());
    assert_eq!(push(&whole, "whole").unwrap(), [PushStatus::Ok]);
    let stream = whole.said.recv().unwrap();
    thread::scope(|scope| {
        for at in places(&stream) {
            let (push, port) = (&push, daemon.port());
            scope.spawn(move || is_silence(&push(&Cut::after(at, port), &format!("at-{at}")).unwrap_err()));
        }
    });
}

#[test]
fn a_server_that_stops_in_a_listing_or_a_fetch_is_left() {
    let pair = Pair::new();
    let oids: Vec<Oid> = (0..5).map(|n| pair.remote.commit(&[], &n.to_string())).collect();
    oids.iter().enumerate().for_each(|(n, oid)| pair.remote.set(&format!("refs/heads/{n}"), *oid));
    let daemon = Daemon::start(pair.dir.path(), &[]);
    let listing = |cut: &Cut| list(&cut.url(), pair.format).map(drop);
    let fetching = |cut: &Cut| {
        let here = Pair::new();
        fetch_objects(&here.local.0, &cut.url(), &oids, &mut |_| {}).map(drop)
    };
    type Doing<'a> = &'a (dyn Fn(&Cut) -> Result<(), GitError> + Sync);
    for (doing, may_end) in [(&listing as Doing<'_>, false), (&fetching, true)] {
        let whole = Cut::after(usize::MAX, daemon.port());
        doing(&whole).unwrap();
        let stream = whole.said.recv().unwrap();
        thread::scope(|scope| {
            for at in places(&stream) {
                let port = daemon.port();
                scope.spawn(move || match doing(&Cut::after(at, port)) {
                    Err(error) => is_silence(&error),
                    // What stands after the pack is of no interest: the objects are here then.
                    Ok(()) => assert!(may_end, "{at}"),
                });
            }
        });
    }
}

#[test]
fn a_server_that_takes_nothing_is_left() {
    let pair = Pair::new();
    let big: Vec<u8> = (0..12_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let blob = pair.local.git_with(&["hash-object", "-w", "--stdin"], &big);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://127.0.0.1:{}/x", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let zero = "0".repeat(40);
        let line = format!("{zero} capabilities^{{}}\0report-status side-band-64k");
        write!(client, "{:04x}{line}0000", line.len() + 4).unwrap();
        thread::park_timeout(Duration::from_secs(30));
    });
    let session =
        PushSession::open(&pair.local.0, &short(RemoteUrl::parse(&url).unwrap()), pair.format).unwrap();
    let error = session
        .push(&[command("refs/tags/big", None, Some(blob.parse().unwrap()))], &mut |_| {})
        .unwrap_err();
    is_silence(&error);
}

#[test]
fn an_http_server_that_says_nothing_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/x", listener.local_addr().unwrap().port());
    thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    let (pair, url) = (Pair::new(), short(RemoteUrl::parse(&url).unwrap()));
    let one = pair.remote.commit(&[], "one");
    is_silence(&list(&url, pair.format).unwrap_err());
    is_silence(&fetch_objects(&pair.local.0, &url, &[one], &mut |_| {}).unwrap_err());
}

/// Whether a process goes on with `word` in its command line. One that was killed a moment ago may still be on its way.
fn runs(word: &str) -> bool {
    for _ in 0..40 {
        if !is_there(word) {
            return false;
        }
        thread::park_timeout(Duration::from_millis(50));
    }
    true
}

fn is_there(word: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(word)
    })
}

#[test]
fn a_hook_that_hangs_is_left_and_ended_with_its_children() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    // Keepalives say that receive-pack is there, not that it gets on.
    pair.remote.git(&["config", "receive.keepAlive", "1"]);
    pair.remote.hook("pre-receive", "cat >/dev/null; sleep 98761 & wait");
    let limit = Duration::from_millis(1_600);
    let url = pair.remote.url().within(Limits { connect: limit, silence: limit, ..Limits::default() });
    let session = PushSession::open(&pair.local.0, &url, pair.format).unwrap();
    let error = session.push(&[command("refs/heads/a", None, Some(one))], &mut |_| {}).unwrap_err();
    assert_eq!(error.kind, GitErrorKind::Silent, "{error}");
    assert!(error.message.contains("reporting"), "{error}");
    assert!(!runs("sleep 98761"));
}

#[test]
fn an_ssh_that_hangs_is_ended_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("hang");
    fs::write(&script, "#!/bin/sh\nsleep 98762 &\nwait\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut inner = Command::new(std::env::current_exe().unwrap());
    inner.args(["--exact", "silence::with_an_ssh_that_hangs", "--ignored"]);
    inner.env("GIT_SSH_COMMAND", &script).env("GIT_SSH_VARIANT", "ssh");
    let output = inner.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    assert!(!runs("sleep 98762"));
}

#[test]
#[ignore = "run by the one above, with an ssh of its own"]
fn with_an_ssh_that_hangs() {
    let pair = Pair::new();
    let one = pair.remote.commit(&[], "one");
    let url = short(RemoteUrl::parse("ssh://h/remote.git").unwrap());
    is_silence(&list(&url, pair.format).unwrap_err());
    is_silence(&fetch_objects(&pair.local.0, &url, &[one], &mut |_| {}).unwrap_err());
    is_silence(&PushSession::open(&pair.local.0, &url, pair.format).err().unwrap());
}
