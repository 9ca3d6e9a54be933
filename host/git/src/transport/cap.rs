//! How much a remote may say. What it lists is counted line by line and cut off; also where git reads it.

use std::process::Command;

use super::RemoteUrl;
use super::failure::{failure, of_kind, printable};
use super::url::Place;
use crate::command::{self, Seen};
use crate::limits::Wait;
use crate::{GitError, GitErrorKind, Limits};

/// Bytes that one ref may take in a listing, on average over all and with its peeled value.
const PER_REF: u64 = 256;
/// Bytes that every listing may have.
const SOME: u64 = 1024 * 1024;
/// Bytes of one line of a listing, but for the first one, which also says what the remote is able to do. No ref storage
/// takes a name as long as this.
const LINE: usize = 8 * 1024;
/// Bytes that a remote may print in one session.
pub(super) const PRINTED: usize = 64 * 1024 * 1024;
/// Bytes that it may print without the end of a line where git reads it, which keeps them.
const UNENDED: usize = 1024 * 1024;
/// Bytes of memory that git needs for a ref of a listing which it takes over http, and for everything else.
const GIT_PER_REF: u64 = 768;
const GIT_SOME: u64 = 512 * 1024 * 1024;
/// What a line of git's trace of packets begins with.
const TRACE: &[u8] = b"packet: ";
/// What is kept of git's words, in bytes.
const WORDS: usize = 64 * 1024;

/// Counts what a remote lists; each error says what is too much, and which key sets how much is taken.
pub(super) struct Listed {
    most: u64,
    refs: u64,
    bytes: u64,
}

impl Listed {
    pub(super) fn new(limits: Limits) -> Listed {
        Listed { most: limits.refs, refs: 0, bytes: 0 }
    }

    /// One line of this many bytes.
    pub(super) fn line(&mut self, length: usize) -> Result<(), String> {
        let first = self.bytes == 0;
        self.bytes += length as u64;
        if length > LINE && !first {
            return Err(format!("a line of its listing has {length} bytes, and {LINE} are taken"));
        }
        let most = self.most.saturating_mul(PER_REF).saturating_add(SOME);
        match self.bytes > most {
            true => Err(format!(
                "its listing has more than {most} bytes; `maxRefs` of the remote sets how much is taken, {PER_REF} bytes for each"
            )),
            false => Ok(()),
        }
    }

    /// A ref of its own in that line.
    pub(super) fn one_ref(&mut self) -> Result<(), String> {
        self.refs += 1;
        match self.refs > self.most {
            true => Err(format!(
                "it lists more than {} refs; `maxRefs` of the remote sets how many are taken",
                self.most
            )),
            false => Ok(()),
        }
    }
}

/// Looks at what a git that talks to a remote says on its standard error: its trace of packets shows what the remote
/// lists, as it comes and before git has the whole of it.
pub(super) struct Guard {
    listed: Listed,
    line: Vec<u8>,
    /// Bytes that the remote printed since git passed on a line, and in all.
    unended: usize,
    printed: usize,
    words: Vec<u8>,
    /// What was too much.
    pub(super) excess: Option<String>,
}

impl Guard {
    /// For `git`, whose remote is at `url`; a repository on this machine has no packets worth a look.
    pub(super) fn new(git: &mut Command, url: &RemoteUrl) -> Guard {
        if url.path().is_none() {
            // Without the time in front, so that no word of the remote looks the same: git marks those.
            git.env("GIT_TRACE_PACKET", "2").env("GIT_TRACE_BARE", "1");
        }
        let listed = Listed::new(url.limits());
        Guard { listed, line: Vec::new(), unended: 0, printed: 0, words: Vec::new(), excess: None }
    }

    /// Takes what git printed, and gives `rest` what is no trace. `false`: the remote has to be cut off.
    pub(super) fn part(&mut self, part: &[u8], rest: &mut dyn FnMut(&[u8])) -> bool {
        const LONGEST: usize = 512 * 1024;
        for piece in part.split_inclusive(|b| *b == b'\n' || *b == b'\r') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || piece.ends_with(b"\r") || self.line.len() > LONGEST {
                let line = std::mem::take(&mut self.line);
                self.excess = self.whole(&line, rest).err();
                self.line = line;
                self.line.clear();
            }
            if self.excess.is_some() {
                return false;
            }
        }
        true
    }

    fn whole(&mut self, line: &[u8], rest: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let Some(traced) = line.strip_prefix(TRACE) else {
            self.unended = 0;
            self.printed += line.len();
            self.words.extend_from_slice(line);
            if self.words.len() > 2 * WORDS {
                self.words.drain(..self.words.len() - WORDS);
            }
            rest(line);
            return too_much_printed(self.printed);
        };
        let Some(at) = traced.iter().position(|b| *b == b'<' || *b == b'>') else { return Ok(()) };
        let (who, said) = (traced[..at].trim_ascii(), traced[at + 1..].trim_ascii());
        if traced[at] == b'>' {
            return Ok(());
        }
        // Bytes that are no letters stand there as up to four.
        let escaped = said.iter().filter(|b| **b == b'\\').count() * 3;
        let length = said.len().saturating_sub(escaped).max(said.len() / 4);
        if who == b"sideband" {
            self.unended += length;
            return match self.unended > UNENDED {
                true => Err(format!("it printed more than {UNENDED} bytes without the end of a line")),
                false => Ok(()),
            };
        }
        self.listed.line(length)?;
        let hex = said.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        match matches!(hex, 40 | 64) && said.get(hex) == Some(&b' ') && !said.ends_with(b"^{}") {
            true => self.listed.one_ref(),
            false => Ok(()),
        }
    }

    /// What git and the remote said, one line each; of very much the end.
    pub(super) fn words(&self) -> String {
        let said = String::from_utf8_lossy(&self.words);
        let lines = said.split(['\n', '\r']).map(printable);
        let lines: Vec<String> = lines.filter(|line| !line.trim().is_empty()).collect();
        lines.join("\n")
    }
}

/// Whether a remote may print so many bytes.
pub(super) fn too_much_printed(bytes: usize) -> Result<(), String> {
    match bytes > PRINTED {
        true => Err(format!("it printed more than {PRINTED} bytes")),
        false => Ok(()),
    }
}

/// How much memory a git may take for a listing, in bytes.
pub(super) fn listing_memory(limits: Limits) -> u64 {
    limits.refs.saturating_mul(GIT_PER_REF).saturating_add(GIT_SOME)
}

/// The error for a remote that was cut off.
pub(super) fn excess(url: &RemoteUrl, doing: &str, why: &str) -> GitError {
    of_kind(url, GitErrorKind::TooMuch, doing, why)
}

/// Runs a git that takes a listing from the remote at `url`, and gives `out` what it prints.
pub(super) fn listing_by_git(
    mut git: Command,
    url: &RemoteUrl,
    (doing, phase): (&str, &'static str),
    out: &mut (dyn FnMut(&[u8]) -> bool + Send),
) -> Result<(), GitError> {
    let mut guard = Guard::new(&mut git, url);
    if *url.place() == Place::Http {
        // Git takes all that an old server answers before it looks at it, and traces nothing meanwhile.
        git = command::within_memory(&git, listing_memory(url.limits()));
    }
    let err: &mut Seen<'_> = &mut |part| guard.part(part, &mut |_| {});
    let output = command::run_watched(&mut git, Vec::new(), Wait::within(url.limits(), phase), out, err)?;
    if let Some(why) = &guard.excess {
        return Err(excess(url, doing, why));
    }
    let output = output.map_err(|silence| silence.of(url))?;
    let words = guard.words();
    match output.status.success() {
        true => Ok(()),
        false if *url.place() == Place::Http && words.to_lowercase().contains("out of memory") => {
            let why = "git needs more memory for its listing than it gets; `maxRefs` of the remote sets how much that is";
            Err(excess(url, doing, why))
        }
        false => Err(failure(url, doing, &words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(refs: u64) -> Guard {
        let url = RemoteUrl::parse("git://h/x").unwrap().within(Limits { refs, ..Limits::default() });
        Guard::new(&mut Command::new("git"), &url)
    }

    #[test]
    fn a_trace_is_counted_and_all_else_is_passed_on() {
        let mut guard = guard(2);
        let (oid, mut rest) = ("a".repeat(40), Vec::new());
        let said = format!(
            "packet:    ls-remote< {oid} HEAD\\0symref\npacket:    ls-remote< 0000\nremote: one\rremote: two\n\
             packet:    ls-remote< {oid} refs/tags/v^{{}}\npacket:    ls-remote> {oid} x\nfatal: no\n"
        );
        for byte in said.bytes() {
            assert!(guard.part(&[byte], &mut |line| rest.extend_from_slice(line)));
        }
        assert_eq!(String::from_utf8(rest).unwrap(), "remote: one\rremote: two\nfatal: no\n");
        assert_eq!(guard.words(), "remote: one\nremote: two\nfatal: no");
        let more = format!("packet: ls-remote< {oid} refs/heads/a\n").repeat(2);
        assert!(!guard.part(more.as_bytes(), &mut |_| {}));
        let why = guard.excess.unwrap();
        assert!(why.contains("more than 2 refs") && why.contains("`maxRefs`"), "{why}");
    }

    #[test]
    fn what_has_no_end_is_cut_off() {
        let mut lines = guard(1_000_000);
        let part = format!("packet:     sideband< \\2{}\n", "x".repeat(60_000));
        let times = |guard: &mut Guard, part: &str| {
            (0..100_000).take_while(|_| guard.part(part.as_bytes(), &mut |_| {})).count()
        };
        // A line that git passes on ends it.
        let ended = format!("{part}remote: x\r");
        assert!((0..100).all(|_| lines.part(ended.as_bytes(), &mut |_| {})));
        assert!(times(&mut lines, &part) < 20);
        assert!(lines.excess.unwrap().contains("without the end of a line"));
        let (mut printing, line) = (guard(1), format!("remote: {}\n", "x".repeat(60_000)));
        assert!(times(&mut printing, &line) < 1200);
        assert!(printing.excess.unwrap().contains("printed more than"));
        let (mut peeled, line) = (guard(1), format!("packet: a< {} refs/tags/a^{{}}\n", "a".repeat(40)));
        assert!(times(&mut peeled, &line) < 20_000);
        assert!(peeled.excess.unwrap().contains("more than 1048832 bytes; `maxRefs`"));
        let mut long = guard(1);
        assert!(long.part(b"packet: a< version 1\n", &mut |_| {}));
        assert!(!long.part(format!("packet: a< {}\n", "x".repeat(9000)).as_bytes(), &mut |_| {}));
        assert!(long.excess.unwrap().contains("9000 bytes, and 8192"));
    }

    #[test]
    fn a_bound_git_runs_with_its_settings_and_is_named() {
        let mut git = command::git();
        git.args(["-c", "a.b=it's", "config", "a.b"]);
        let bound = command::within_memory(&git, 1 << 30);
        assert_eq!(command::describe(&bound), "`git config`");
        assert_eq!(command::run_ok(bound, Vec::new()).unwrap(), b"it's\n");
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -d"]);
        assert_eq!(
            command::run_ok(command::within_memory(&shell, 1 << 30), Vec::new()).unwrap(),
            b"1048576\n"
        );
    }
}
