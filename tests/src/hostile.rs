//! A remote over git's own protocol that does not mean well.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What it does wrong, when it is listed, pushed to and fetched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Lists refs without end.
    Refs,
    /// Lists the peeled value of one tag without end.
    Peeled,
    /// Lists objects that it has beside its refs (`.have`) without end.
    Haves,
    /// Lists one ref whose name has 60,000 bytes.
    LongLine,
    /// Lists one byte at a time, a long time after the one before, without end.
    Drip,
    /// Lists one ref twice.
    Twice,
    /// Sends zeros in band 1 without end, in place of a report or a pack.
    Band1,
    /// Sends a report without end: each line is a good one.
    Report,
    /// Prints (band 2) without end and without the end of a line.
    Band2,
    /// Prints lines without end.
    Lines,
    /// Answers each request for objects with a refusal of one of them.
    OneByOne,
}

/// The server, on a port of its own. It has [`Hostile::REFS`] refs, where its harm is no other number.
pub struct Hostile {
    port: u16,
    sessions: Arc<AtomicUsize>,
}

impl Hostile {
    /// How many refs it lists.
    pub const REFS: usize = 300;

    /// Starts one. Its threads end with their connections.
    pub fn start(harm: Harm) -> Hostile {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let sessions = Arc::new(AtomicUsize::new(0));
        let counted = sessions.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::Relaxed);
                // A client that cuts it off is what is hoped for.
                thread::spawn(move || drop(serve(client, harm)));
            }
        });
        Hostile { port, sessions }
    }

    /// Its address, with the project's name in it.
    pub fn url(&self) -> String {
        format!("git://127.0.0.1:{}/${{name}}.git", self.port)
    }

    /// How often somebody connected.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }
}

/// An object that nobody has.
fn oid(n: usize) -> String {
    format!("{:040x}", n + 1)
}

fn serve(client: TcpStream, harm: Harm) -> io::Result<()> {
    let mut to = client.try_clone()?;
    let mut from = BufReader::new(client);
    let request = frame(&mut from)?.unwrap_or_default();
    let pushes = request.starts_with(b"git-receive-pack");
    list(&mut to, harm, pushes)?;
    // What is wanted: commands of a push, wants of a fetch. A client that only lists says nothing.
    let mut wanted = Vec::new();
    while let Some(line) = frame(&mut from)? {
        wanted.push(line);
    }
    if wanted.is_empty() {
        return to.shutdown(Shutdown::Both);
    }
    // It goes on sending, and somebody has to take it.
    thread::spawn(move || io::copy(&mut from, &mut io::sink()));
    if harm == Harm::OneByOne {
        let first =
            String::from_utf8_lossy(&wanted[0]).split(' ').nth(1).unwrap_or_default().trim().to_owned();
        to.write_all(&packet(format!("ERR upload-pack: not our ref {first}").as_bytes()))?;
        return to.shutdown(Shutdown::Both);
    }
    if !pushes {
        to.write_all(&packet(b"NAK\n"))?;
    }
    let part = match harm {
        Harm::Band1 => [&[1][..], &[b'0'; 60_000]].concat(),
        Harm::Report => {
            [b"\x01000eunpack ok\n".to_vec(), packet(b"ok refs/heads/nobodys\n").repeat(1000)].concat()
        }
        Harm::Band2 => [&[2][..], &[b'x'; 60_000]].concat(),
        _ => [&[2][..], &b"a line of the remote\n".repeat(1000)].concat(),
    };
    let part = packet(&part);
    loop {
        to.write_all(&part)?;
    }
}

fn list(to: &mut TcpStream, harm: Harm, pushes: bool) -> io::Result<()> {
    let able = match pushes {
        true => "report-status side-band-64k delete-refs ofs-delta",
        false => "side-band-64k ofs-delta allow-tip-sha1-in-want allow-reachable-sha1-in-want",
    };
    to.write_all(&packet(format!("{} refs/heads/0\0{able}\n", oid(0)).as_bytes()))?;
    let line = |n: usize| match harm {
        Harm::Peeled => format!("{} refs/tags/one^{{}}\n", oid(n)),
        Harm::Haves => format!("{} .have\n", oid(n)),
        Harm::Twice => format!("{} refs/heads/0\n", oid(n)),
        _ => format!("{} refs/heads/{n}\n", oid(n)),
    };
    match harm {
        Harm::Refs | Harm::Peeled | Harm::Haves => {
            for n in (1..).step_by(1000) {
                to.write_all(&(n..n + 1000).flat_map(|n| packet(line(n).as_bytes())).collect::<Vec<u8>>())?;
            }
        }
        Harm::Drip => {
            for byte in (1..).flat_map(|n| packet(line(n).as_bytes())) {
                to.write_all(&[byte])?;
                thread::park_timeout(Duration::from_millis(100));
            }
        }
        Harm::LongLine => {
            to.write_all(&packet(format!("{} refs/heads/{}", oid(1), "x".repeat(60_000)).as_bytes()))?;
        }
        Harm::Twice => to.write_all(&packet(line(1).as_bytes()))?,
        _ => {
            to.write_all(&(1..Hostile::REFS).flat_map(|n| packet(line(n).as_bytes())).collect::<Vec<u8>>())?
        }
    }
    to.write_all(b"0000")
}

fn packet(payload: &[u8]) -> Vec<u8> {
    [format!("{:04x}", payload.len() + 4).as_bytes(), payload].concat()
}

/// The next frame; `None` for a flush, and for the end of the stream.
fn frame(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    if from.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let length = usize::from_str_radix(&String::from_utf8_lossy(&head), 16).unwrap_or_default();
    let mut payload = vec![0; length.saturating_sub(4)];
    from.read_exact(&mut payload)?;
    Ok((length > 4).then_some(payload))
}
