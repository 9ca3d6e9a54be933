//! Version 1 of the protocol between `git receive-pack` and its hook `proc-receive` (githooks(5)).

use std::io::{self, Read, Write};

use refgate_core::{Oid, told};

use crate::transport::pktline;

/// The longest reason that goes back to the pusher, in bytes: git shows it on the line of the ref.
const MAX_REASON: usize = 300;

/// A reason that concerns a session and not its refs: git refused some of them by itself, so what is left is not what the
/// sender sealed. A sender that reads it sends the rest again.
pub const PART_OF_A_PUSH: &str = "git refused a part of this push: send the rest again";

/// What a client pushes, as git hands it on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The client wants all refs to move or none.
    pub atomic: bool,
    /// The push options of the client, in its order.
    pub options: Vec<Vec<u8>>,
    /// What it wants to be moved.
    pub commands: Vec<Command>,
}

/// One ref of a push. git has checked nothing but that the objects are here; the name may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The name as the client sent it.
    pub name: Vec<u8>,
    /// What the client believes to be there; `None`: nothing.
    pub old: Option<Oid>,
    /// What it wants there; `None` deletes the ref. Neither old nor new: the deletion of a ref that is not there.
    pub new: Option<Oid>,
}

/// What became of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Ok,
    /// Refused, for this reason of one line.
    Refused(String),
}

impl Request {
    /// Agrees on the version and reads what is pushed.
    ///
    /// # Errors
    /// `InvalidData` for anything that is not this protocol; a stream that ends early is `UnexpectedEof`.
    pub fn read(from: &mut impl Read, to: &mut impl Write) -> io::Result<Request> {
        let mut frame = Vec::new();
        let mut request = Request::default();
        let mut first = true;
        let mut has_options = false;
        while pktline::read(from, &mut frame)? {
            if !first {
                continue;
            }
            first = false;
            let line = pktline::text(&frame);
            let (version, features) = match line.iter().position(|b| *b == 0) {
                Some(nul) => (&line[..nul], &line[nul + 1..]),
                None => (line, b"".as_slice()),
            };
            if version != b"version=1" {
                return Err(invalid(&format!("git speaks `{}`, not version 1", version.escape_ascii())));
            }
            for feature in features.split(|b| *b == b' ') {
                has_options |= feature == b"push-options";
                request.atomic |= feature == b"atomic";
            }
        }
        if first {
            return Err(invalid("git named no version"));
        }
        pktline::write(to, b"version=1\0push-options atomic")?;
        pktline::write_flush(to)?;
        to.flush()?;
        while pktline::read(from, &mut frame)? {
            request.commands.push(command(pktline::text(&frame))?);
        }
        if has_options {
            while pktline::read(from, &mut frame)? {
                request.options.push(pktline::text(&frame).to_vec());
            }
        }
        Ok(request)
    }

    /// Writes one answer per command, in their order. A name that holds a space gets none: git would take the name up to
    /// the space for the ref, which may be another one of the same push, and it refuses what has no answer.
    pub fn answer(&self, answers: &[Answer], to: &mut impl Write) -> io::Result<()> {
        let mut line = Vec::new();
        let answers = self.commands.iter().zip(answers).filter(|(command, _)| !command.name.contains(&b' '));
        for (command, answer) in answers {
            line.clear();
            match answer {
                Answer::Ok => {
                    line.extend_from_slice(b"ok ");
                    line.extend_from_slice(&command.name);
                }
                Answer::Refused(why) => {
                    line.extend_from_slice(b"ng ");
                    line.extend_from_slice(&command.name);
                    line.push(b' ');
                    line.extend_from_slice(one_line(why).as_bytes());
                }
            }
            pktline::write(to, &line)?;
        }
        pktline::write_flush(to)?;
        to.flush()
    }
}

fn command(line: &[u8]) -> io::Result<Command> {
    let junk = || invalid(&format!("git sent `{}` as a command", line.escape_ascii()));
    let mut parts = line.splitn(3, |b| *b == b' ');
    let (Some(old), Some(new), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(junk());
    };
    let oid = |hex: &[u8]| Oid::parse_or_zero(hex).map_err(|_| junk());
    Ok(Command { name: name.to_vec(), old: oid(old)?, new: oid(new)? })
}

/// A reason as it may stand on one line of somebody's terminal.
pub fn one_line(text: &str) -> String {
    let mut line = told(text).into_owned();
    if line.len() > MAX_REASON {
        let end = (0..=MAX_REASON).rev().find(|i| line.is_char_boundary(*i)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(parts: &[&[&[u8]]]) -> Vec<u8> {
        let mut wire = Vec::new();
        for list in parts {
            list.iter().for_each(|line| pktline::write(&mut wire, line).unwrap());
            pktline::write_flush(&mut wire).unwrap();
        }
        wire
    }

    fn oid(digit: u8) -> Oid {
        Oid::from_hex(&[digit; 40]).unwrap()
    }

    #[test]
    fn a_push_is_read_and_answered() {
        let (a, zero) = ("a".repeat(40), "0".repeat(40));
        let update = [format!("{zero} {a} refs/heads/").as_bytes(), b"\xff x\n"].concat();
        let delete = format!("{a} {zero} refs/heads/gone");
        let sent = wire(&[
            &[b"version=1\0atomic push-options\n"],
            &[&update, delete.as_bytes()],
            &[b"refgate.replication=b", b""],
        ]);
        let mut said = Vec::new();
        let request = Request::read(&mut sent.as_slice(), &mut said).unwrap();
        assert!(request.atomic);
        assert_eq!(request.options, [b"refgate.replication=b".to_vec(), Vec::new()]);
        let name = b"refs/heads/\xff x".to_vec();
        assert_eq!(request.commands[0], Command { name, old: None, new: Some(oid(b'a')) });
        assert_eq!(request.commands[1].new, None);
        assert_eq!(said, wire(&[&[b"version=1\0push-options atomic"]]));

        let mut out = Vec::new();
        request.answer(&[Answer::Ok, Answer::Refused("no\nway".into())], &mut out).unwrap();
        assert_eq!(out, wire(&[&[b"ng refs/heads/gone no\\nway"]]));
    }

    #[test]
    fn what_is_not_the_protocol_is_refused() {
        let a = "a".repeat(40);
        for bad in [
            wire(&[&[]]),
            wire(&[&[b"version=2"], &[]]),
            wire(&[&[b"version=1"], &[b"hello"]]),
            wire(&[&[b"version=1"], &[format!("{a} {} x", "g".repeat(40)).as_bytes()]]),
            wire(&[&[b"version=1"]]),
            wire(&[&[b"version=1\0push-options"], &[]]),
        ] {
            assert!(Request::read(&mut bad.as_slice(), &mut Vec::new()).is_err(), "{}", bad.escape_ascii());
        }
        let plain = Request::read(&mut wire(&[&[b"version=1"], &[]]).as_slice(), &mut Vec::new()).unwrap();
        assert_eq!(plain, Request::default());
    }

    #[test]
    fn reasons_stay_on_their_line() {
        assert_eq!(one_line("a\u{1b}[1m\nb"), "a\\u{1b}[1m\\nb");
        assert!(one_line(&"é".repeat(500)).len() < 320);
    }
}
