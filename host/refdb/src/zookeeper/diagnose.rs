//! Why no connection came about: the client says only that there was none, so each server is asked once in the
//! simplest way.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a server may take for each step of the question.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is wrong with `servers`, with what to do. Blocks for at most a second per server, apart from name lookup.
pub(super) fn diagnose(servers: &[String], tls: bool) -> String {
    let found: Vec<String> =
        servers.iter().map(|server| format!("`{server}` {}", one(server, tls))).collect();
    found.join("; ")
}

fn one(server: &str, tls: bool) -> String {
    let address = match server.to_socket_addrs().map(|mut all| all.next()) {
        Ok(Some(address)) => address,
        Ok(None) => return "has no address; correct the host name".to_owned(),
        Err(e) => return format!("has no address ({e}); correct the host name"),
    };
    let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(stream) => stream,
        Err(e) => return format!("cannot be reached ({e}); is it running, and is the port right?"),
    };
    let mut answer = [0; 64];
    let asked = stream
        .set_read_timeout(Some(PATIENCE))
        // Every ZooKeeper answers one of its four-letter words, if only by saying that it is not allowed.
        .and_then(|()| stream.write_all(b"ruok"))
        .and_then(|()| stream.read(&mut answer));
    verdict(asked.map(|n| &answer[..n]).ok(), tls).to_owned()
}

/// What `answer` to `ruok` says; `None` for no answer at all.
fn verdict(answer: Option<&[u8]>, tls: bool) -> &'static str {
    let text = answer.map(String::from_utf8_lossy).unwrap_or_default();
    // The header of a record of TLS: an alert.
    let alert = answer.is_some_and(|a| a.starts_with(&[0x15, 0x03]));
    match (text.contains("ruok") || text.contains("imok"), alert, tls) {
        (true, _, true) => "is a ZooKeeper without TLS at this port; leave out `tls`, or correct the port",
        (true, _, false) => "is a ZooKeeper that serves nobody now; has its ensemble a leader?",
        (false, true, false) => "wants TLS; write `?tls=true`",
        (false, _, true) => {
            "gives no TLS connection that we trust; check `caFile`, that the certificate is for this host, \
             and whether the server wants `certFile` and `keyFile`"
        }
        (false, false, false) if text.is_empty() => {
            "does not answer like a ZooKeeper; is the port right, does it want `?tls=true`, or is it stuck?"
        }
        (false, false, false) => "is no ZooKeeper; correct the port",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        for (answer, tls, part) in [
            (Some(&b"imok"[..]), false, "serves nobody"),
            (Some(b"ruok is not executed because it is not in the whitelist"), true, "leave out `tls`"),
            (Some(b"\x15\x03\x03\x00\x02\x02\x50"), false, "?tls=true"),
            (Some(b"SSH-2.0-OpenSSH"), false, "is no ZooKeeper"),
            (Some(b""), false, "does not answer like"),
            (None, false, "does not answer like"),
            (None, true, "caFile"),
        ] {
            assert!(verdict(answer, tls).contains(part), "{answer:?}: {}", verdict(answer, tls));
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert!(diagnose(&["127.0.0.1:1".into()], false).contains("`127.0.0.1:1` cannot be reached"));
        assert!(diagnose(&["no-such-host.invalid:1".into()], false).contains("has no address"));
    }
}
