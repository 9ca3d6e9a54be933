//! What receive-pack says last: progress and the status of every ref, unpacked from the side-band.

use std::collections::HashMap;
use std::io::{self, Read};

use refgate_core::{Oid, RefName};

use super::failure::printable;
use super::{Progress, pktline};

/// The outcome of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushStatus {
    /// The remote moved the ref as told.
    Ok,
    /// It did not, or nobody can say that it did; in words.
    Rejected(String),
}

/// What is said of every ref when the objects were not taken.
pub(super) const UNPACKED_NOT: &str = "the remote could not unpack the objects";

/// Reads the bytes of the report, to the end of the session, and passes on what the remote prints meanwhile.
///
/// A report that does not reach its end is an error: nothing of it may be believed to be all. `moved` is told of every
/// frame of the side-band that holds anything.
pub(super) fn receive(
    from: &mut impl Read,
    side_band: bool,
    moved: &dyn Fn(),
    progress: &mut dyn FnMut(Progress),
) -> io::Result<Vec<Vec<u8>>> {
    if !side_band {
        return frames(from);
    }
    let (mut report, mut frame, mut lines) = (Vec::new(), Vec::new(), Lines::default());
    while pktline::read(from, &mut frame)? {
        if frame.len() > 1 {
            moved();
        }
        match frame.split_first() {
            Some((1, part)) => report.extend_from_slice(part),
            Some((2, part)) => lines.add(part, progress),
            Some((3, part)) => return Err(io::Error::other(printable(&String::from_utf8_lossy(part)))),
            _ => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame belongs to no band"));
            }
        }
    }
    lines.end(progress);
    frames(&mut report.as_slice())
}

fn frames(from: &mut impl Read) -> io::Result<Vec<Vec<u8>>> {
    let (mut all, mut frame) = (Vec::new(), Vec::new());
    while pktline::read(from, &mut frame)? {
        all.push(pktline::text(&frame).to_vec());
    }
    Ok(all)
}

/// Cuts a stream into lines for people. Git ends a line that it will overwrite with a carriage return.
#[derive(Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Passes on every line that is complete.
    pub(super) fn add(&mut self, part: &[u8], progress: &mut dyn FnMut(Progress)) {
        for piece in part.split_inclusive(|b| *b == b'\n' || *b == b'\r') {
            self.0.extend_from_slice(piece);
            if piece.ends_with(b"\n") || piece.ends_with(b"\r") {
                self.end(progress);
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

/// One status per name in `sent`, in that order, from the lines of the report; `Err` when the lines are no report.
///
/// `sent` gives the value that every ref was to get.
pub(super) fn statuses(
    lines: &[Vec<u8>],
    sent: &[(&RefName, Option<Oid>)],
) -> Result<Vec<PushStatus>, &'static str> {
    let Some(unpack) = lines.first().and_then(|line| line.strip_prefix(b"unpack ")) else {
        return Err("the report of the remote does not begin with `unpack`");
    };
    if unpack != b"ok" {
        let why = format!("{UNPACKED_NOT}: {}", text(unpack));
        return Ok(vec![PushStatus::Rejected(why); sent.len()]);
    }
    let index: HashMap<&[u8], usize> =
        sent.iter().enumerate().map(|(i, (name, _))| (name.as_bytes(), i)).collect();
    let silent = "the remote did not report on it: its value there is not known, run again";
    let mut all = vec![PushStatus::Rejected(silent.into()); sent.len()];
    let mut current = None;
    for line in &lines[1..] {
        if let Some(name) = line.strip_prefix(b"ok ") {
            current = index.get(name).copied();
            if let Some(i) = current {
                all[i] = PushStatus::Ok;
            }
        } else if let Some(rest) = line.strip_prefix(b"ng ") {
            let (name, why) = split(rest);
            current = None;
            if let Some(i) = index.get(name) {
                all[*i] =
                    PushStatus::Rejected(if why.is_empty() { "no reason given".into() } else { text(why) });
            }
        } else if let (Some(option), Some(i)) = (line.strip_prefix(b"option "), current)
            && let Some(other) = did_otherwise(option, sent[i])
        {
            all[i] = PushStatus::Rejected(other);
        }
    }
    Ok(all)
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
    printable(&String::from_utf8_lossy(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(digit: u8) -> Oid {
        Oid::from_hex(&[digit; 40]).unwrap()
    }

    fn lines(text: &str) -> Vec<Vec<u8>> {
        text.lines().map(|line| line.as_bytes().to_vec()).collect()
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
        let all = statuses(&lines(&report), &sent).unwrap();
        assert_eq!(all[0], PushStatus::Ok);
        assert_eq!(all[1], PushStatus::Rejected("hook declined".into()));
        assert_eq!(all[2], PushStatus::Rejected("the remote updated `refs/heads/z` instead".into()));
        assert_eq!(all[3], PushStatus::Rejected(format!("the remote moved it to `{}` instead", oid(b'2'))));
        assert!(matches!(&all[4], PushStatus::Rejected(why) if why.contains("not known")));

        let failed = statuses(&lines("unpack index-pack abnormal exit"), &sent).unwrap();
        assert!(
            failed.iter().all(|s| matches!(s, PushStatus::Rejected(why) if why.contains("abnormal exit")))
        );
        assert!(statuses(&lines("ok refs/heads/a"), &sent).is_err());
        assert!(statuses(&[], &sent).is_err());
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
        assert_eq!(receive(&mut wire.as_slice(), true, &|| (), &mut note).unwrap(), [b"unpack ok"]);
        let expected = ["Resolving", "done?[31m", "last"].map(|line| Progress::Remote(line.into()));
        assert_eq!(said, expected);
        for end in 0..wire.len() {
            assert!(receive(&mut &wire[..end], true, &|| (), &mut |_| {}).is_err(), "{end}");
        }
        let mut fatal = Vec::new();
        pktline::write(&mut fatal, b"\x03out of memory").unwrap();
        assert!(
            receive(&mut fatal.as_slice(), true, &|| (), &mut |_| {})
                .unwrap_err()
                .to_string()
                .contains("memory")
        );
    }
}
