//! What receive-pack says last: progress and the status of every ref, unpacked from the side-band.

use std::collections::HashMap;
use std::io::{self, Read};

use refgate_core::{Oid, RefName};

use super::cap::too_much_printed;
use super::failure::printable;
use super::{Progress, pktline};
use crate::PushStatus;

/// What is said of every ref when the objects were not taken.
pub(super) const UNPACKED_NOT: &str = "the remote could not unpack the objects";

/// Bytes that a report may have for each ref that was sent, and for nothing.
const PER_REF: usize = 8 * 1024;
const SOME: usize = 64 * 1024;
/// Bytes that are kept of a reason.
const REASON: usize = 2000;
/// Bytes after which a line for people is passed on, though it has no end yet.
const LINE: usize = 8 * 1024;

/// Reads the report, to the end of the session, and passes on what the remote prints meanwhile.
///
/// A report that does not reach its end is an error: nothing of it may be believed to be all. So is one that says more than
/// there is to say. `moved` is told of every frame of the side-band that holds anything.
pub(super) fn receive(
    from: &mut impl Read,
    side_band: bool,
    moved: &dyn Fn(),
    progress: &mut dyn FnMut(Progress),
    report: &mut Report<'_>,
) -> io::Result<()> {
    let (mut inner, mut frame, mut lines) = (Frames::default(), Vec::new(), Lines::default());
    let (mut reported, mut printed) = (0, 0);
    let most = SOME + report.sent.len() * PER_REF;
    let too_much = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut count = |bytes: usize| {
        reported += bytes;
        match reported > most {
            true => {
                Err(too_much(format!("its report has more than {most} bytes for {} refs", report.sent.len())))
            }
            false => Ok(()),
        }
    };
    while pktline::read(from, &mut frame)? {
        if !side_band {
            count(frame.len() + 4)?;
            report.line(pktline::text(&frame));
            continue;
        }
        if frame.len() > 1 {
            moved();
        }
        match frame.split_first() {
            Some((1, part)) => {
                count(part.len())?;
                inner.add(part, report)?;
            }
            Some((2, part)) => {
                printed += part.len();
                too_much_printed(printed).map_err(too_much)?;
                lines.add(part, progress);
            }
            Some((3, part)) => return Err(io::Error::other(text(part))),
            _ => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame belongs to no band"));
            }
        }
    }
    lines.end(progress);
    match side_band && !inner.ended {
        true => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Ok(()),
    }
}

/// The frames of the report, which come in pieces.
#[derive(Default)]
struct Frames {
    held: Vec<u8>,
    ended: bool,
}

impl Frames {
    fn add(&mut self, part: &[u8], report: &mut Report<'_>) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.held.extend_from_slice(part);
        let (mut at, mut frame) = (0, Vec::new());
        while !self.ended {
            let mut rest = &self.held[at..];
            match pktline::read(&mut rest, &mut frame) {
                Ok(true) => report.line(pktline::text(&frame)),
                Ok(false) => self.ended = true,
                // The next piece has the rest of it.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(e),
            }
            at = self.held.len() - rest.len();
        }
        self.held.drain(..at);
        Ok(())
    }
}

/// Cuts a stream into lines for people. Git ends a line that it will overwrite with a carriage return.
#[derive(Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Passes on every line that is complete.
    pub(super) fn add(&mut self, part: &[u8], progress: &mut dyn FnMut(Progress)) {
        for piece in part.split_inclusive(|b| *b == b'\n' || *b == b'\r') {
            for piece in piece.chunks(LINE) {
                self.0.extend_from_slice(piece);
                if piece.ends_with(b"\n") || piece.ends_with(b"\r") || self.0.len() >= LINE {
                    self.end(progress);
                }
            }
        }
    }

    /// Passes on what is left.
    pub(super) fn end(&mut self, progress: &mut dyn FnMut(Progress)) {
        let line = printable(&String::from_utf8_lossy(&self.0));
        self.0.clear();
        if !line.is_empty() {
            progress(Progress::Remote(line));
        }
    }
}

/// What the lines of a report say of every ref that was sent, as they come. Nothing else of them is kept.
pub(super) struct Report<'a> {
    /// Names, with the value that each ref was to get.
    sent: &'a [(&'a RefName, Option<Oid>)],
    index: HashMap<&'a [u8], usize>,
    /// What became of the objects; `None` before the first line.
    unpack: Option<Result<(), String>>,
    all: Vec<PushStatus>,
    /// Of which ref the last line was.
    current: Option<usize>,
}

impl<'a> Report<'a> {
    pub(super) fn new(sent: &'a [(&'a RefName, Option<Oid>)]) -> Report<'a> {
        let index = sent.iter().enumerate().map(|(i, (name, _))| (name.as_bytes(), i)).collect();
        let silent = "the remote did not report on it: its value there is not known, run again";
        let all = vec![PushStatus::Rejected(silent.into()); sent.len()];
        Report { sent, index, unpack: None, all, current: None }
    }

    /// Whether the objects were taken.
    pub(super) fn unpacked(&self) -> bool {
        self.unpack == Some(Ok(()))
    }

    fn line(&mut self, line: &[u8]) {
        if self.unpack.is_none() {
            self.unpack = Some(match line.strip_prefix(b"unpack ") {
                Some(b"ok") => Ok(()),
                Some(why) => Err(format!("{UNPACKED_NOT}: {}", text(why))),
                None => Err(String::new()),
            });
        } else if let Some(name) = line.strip_prefix(b"ok ") {
            self.current = self.index.get(name).copied();
            if let Some(i) = self.current {
                self.all[i] = PushStatus::Ok;
            }
        } else if let Some(rest) = line.strip_prefix(b"ng ") {
            let (name, why) = split(rest);
            self.current = None;
            if let Some(i) = self.index.get(name) {
                self.all[*i] =
                    PushStatus::Rejected(if why.is_empty() { "no reason given".into() } else { text(why) });
            }
        } else if let (Some(option), Some(i)) = (line.strip_prefix(b"option "), self.current)
            && let Some(other) = did_otherwise(option, self.sent[i])
        {
            self.all[i] = PushStatus::Rejected(other);
        }
    }

    /// One status per ref that was sent, in that order; `Err` when the lines were no report.
    pub(super) fn statuses(self) -> Result<Vec<PushStatus>, &'static str> {
        match self.unpack {
            Some(Ok(())) => Ok(self.all),
            Some(Err(why)) if !why.is_empty() => Ok(vec![PushStatus::Rejected(why); self.sent.len()]),
            _ => Err("the report of the remote does not begin with `unpack`"),
        }
    }
}

/// A hook of the remote (`proc-receive`) may accept an update and make another one of it.
fn did_otherwise(option: &[u8], (name, new): (&RefName, Option<Oid>)) -> Option<String> {
    match split(option) {
        (b"refname", other) if other != name.as_bytes() => {
            Some(format!("the remote updated `{}` instead", text(other)))
        }
        (b"new-oid", other) if Oid::parse_or_zero(other) != Ok(new) => {
            Some(format!("the remote moved it to `{}` instead", text(other)))
        }
        _ => None,
    }
}

fn split(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|b| *b == b' ') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, b""),
    }
}

fn text(raw: &[u8]) -> String {
    printable(&String::from_utf8_lossy(&raw[..raw.len().min(REASON)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(digit: u8) -> Oid {
        Oid::from_hex(&[digit; 40]).unwrap()
    }

    fn statuses(text: &str, sent: &[(&RefName, Option<Oid>)]) -> Result<Vec<PushStatus>, &'static str> {
        let mut report = Report::new(sent);
        text.lines().for_each(|line| report.line(line.as_bytes()));
        report.statuses()
    }

    #[test]
    fn every_command_gets_its_status() {
        let names: Vec<RefName> = ["a", "b", "c", "d", "e"]
            .iter()
            .map(|n| RefName::new(format!("refs/heads/{n}")).unwrap())
            .collect();
        let sent: Vec<_> = names.iter().map(|name| (name, Some(oid(b'1')))).collect();
        let report = format!(
            "unpack ok\nng refs/heads/b hook declined\nok refs/heads/a\noption new-oid {}\noption forced-update\n\
             ok refs/heads/c\noption refname refs/heads/z\nok refs/heads/d\noption new-oid {}\nok refs/heads/other",
            oid(b'1'),
            oid(b'2'),
        );
        let all = statuses(&report, &sent).unwrap();
        assert_eq!(all[0], PushStatus::Ok);
        assert_eq!(all[1], PushStatus::Rejected("hook declined".into()));
        assert_eq!(all[2], PushStatus::Rejected("the remote updated `refs/heads/z` instead".into()));
        assert_eq!(all[3], PushStatus::Rejected(format!("the remote moved it to `{}` instead", oid(b'2'))));
        assert!(matches!(&all[4], PushStatus::Rejected(why) if why.contains("not known")));

        let failed = statuses("unpack index-pack abnormal exit", &sent).unwrap();
        assert!(
            failed.iter().all(|s| matches!(s, PushStatus::Rejected(why) if why.contains("abnormal exit")))
        );
        assert!(statuses("ok refs/heads/a", &sent).is_err());
        assert!(statuses("", &sent).is_err());
    }

    #[test]
    fn bands_are_sorted_and_a_cut_report_is_none() {
        let mut wire = Vec::new();
        for part in [
            &b"\x02Resol"[..],
            b"\x02ving\rdone\x1b[31m\n\n",
            b"\x01000eunpack",
            b"\x01",
            b"\x01 ok\n0000",
            b"\x02last",
        ] {
            pktline::write(&mut wire, part).unwrap();
        }
        pktline::write_flush(&mut wire).unwrap();
        let mut said = Vec::new();
        let mut note = |progress| said.push(progress);
        let mut report = Report::new(&[]);
        receive(&mut wire.as_slice(), true, &|| (), &mut note, &mut report).unwrap();
        assert!(report.unpacked());
        let expected = ["Resolving", "done\\u{1b}[31m", "last"].map(|line| Progress::Remote(line.into()));
        assert_eq!(said, expected);
        for end in 0..wire.len() {
            let mut report = Report::new(&[]);
            assert!(receive(&mut &wire[..end], true, &|| (), &mut |_| {}, &mut report).is_err(), "{end}");
        }
        let mut fatal = Vec::new();
        pktline::write(&mut fatal, b"\x03out of memory").unwrap();
        assert!(
            receive(&mut fatal.as_slice(), true, &|| (), &mut |_| {}, &mut Report::new(&[]))
                .unwrap_err()
                .to_string()
                .contains("memory")
        );
    }

    #[test]
    fn what_has_no_end_is_cut_off_and_a_long_line_comes_in_pieces() {
        let name = RefName::new("refs/heads/a").unwrap();
        let sent = [(&name, Some(oid(b'1')))];
        let endless = |frame: &[u8]| {
            let mut wire = Vec::new();
            pktline::write(&mut wire, frame).unwrap();
            let wire = wire.repeat(2000);
            let mut longest = 0;
            let mut note = |said| match said {
                Progress::Remote(line) | Progress::Local(line) => longest = longest.max(line.len()),
            };
            let mut report = Report::new(&sent);
            let side_band = frame[0] < 3;
            let error = receive(&mut wire.as_slice(), side_band, &|| (), &mut note, &mut report).unwrap_err();
            (error.to_string(), longest)
        };
        let most = "its report has more than 73728 bytes for 1 refs";
        assert_eq!(endless(&[&[1][..], &[b'0'; 60_000]].concat()).0, most);
        assert_eq!(endless(&[&b"\x01"[..], &b"0011ok refs/heads".repeat(3000)].concat()).0, most);
        assert_eq!(
            endless(b"ok refs/heads/nobodys, and a reason that is long enough to come to an end soon").0,
            most
        );
        let printed = endless(&[&[2][..], &[b'x'; 60_000]].concat());
        assert_eq!(printed.0, "it printed more than 67108864 bytes");
        assert!((LINE..2 * LINE).contains(&printed.1), "{}", printed.1);
    }
}
