//! A push without `git push`: commands as they go over the wire to `git receive-pack`, legal or not.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use crate::common::clean;

/// The id that stands for no object.
pub const ABSENT: &str = "0000000000000000000000000000000000000000";

/// A pack of no object: what is named is at the sites already, or is missing.
const NO_OBJECTS: &[u8] =
    b"PACK\0\0\0\x02\0\0\0\0\x02\x9d\x08\x82\x3b\xd8\xa8\xea\xb5\x10\xad\x6a\xc7\x5c\x82\x3c\xfd\x3e\xd3\x1e";

/// One ref of a push, as the client says it.
#[derive(Clone, Debug)]
pub struct Command {
    pub old: String,
    pub new: String,
    pub name: String,
}

#[derive(Clone, Debug, Default)]
pub struct Push {
    pub commands: Vec<Command>,
    pub atomic: bool,
    pub options: Vec<String>,
}

/// What was reported: per ref `None` for ok, else why not; nothing at all when the server gave up. Of a ref that was sent
/// several times, the best.
pub type Report = BTreeMap<String, Option<String>>;

impl Push {
    /// Sends it to the repository.
    pub fn send(&self, repo: &Path) -> Report {
        let mut command = clean("git", repo);
        command.arg("receive-pack").arg(repo);
        let mut server =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (mut stdin, mut stdout) = (server.stdin.take().unwrap(), server.stdout.take().unwrap());
        while pkt(&mut stdout).is_some_and(|line| !line.is_empty()) {}
        // Who does not like what comes ends early.
        let _ = stdin.write_all(&self.bytes());
        drop(stdin);
        let mut report = Report::new();
        while let Some(line) = pkt(&mut stdout).filter(|line| !line.is_empty()) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if let Some(name) = line.strip_prefix("ok ") {
                report.insert(name.to_owned(), None);
            } else if let Some(rest) = line.strip_prefix("ng ") {
                // Names can have spaces here: the longest that was sent.
                let sent = self.commands.iter().map(|command| command.name.as_str());
                let named =
                    sent.filter(|name| rest.strip_prefix(*name).is_some_and(|rest| rest.starts_with(' ')));
                if let Some(name) = named.max_by_key(|name| name.len()) {
                    report.entry(name.to_owned()).or_insert(Some(rest[name.len() + 1..].to_owned()));
                }
            }
        }
        let _ = server.wait();
        report
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut line = |text: &str| {
            bytes.extend(format!("{:04x}", text.len() + 4).into_bytes());
            bytes.extend(text.as_bytes());
        };
        for (place, command) in self.commands.iter().enumerate() {
            let mut text = format!("{} {} {}", command.old, command.new, command.name);
            if place == 0 {
                text += "\0report-status delete-refs";
                text += if self.atomic { " atomic" } else { "" };
                text += if self.options.is_empty() { "" } else { " push-options" };
            }
            line(&text);
        }
        bytes.extend(b"0000");
        if !self.options.is_empty() {
            for option in &self.options {
                bytes.extend(format!("{:04x}{option}", option.len() + 4).into_bytes());
            }
            bytes.extend(b"0000");
        }
        if self.commands.iter().any(|command| command.new != ABSENT) {
            bytes.extend(NO_OBJECTS);
        }
        bytes
    }
}

/// One packet; empty for a flush, `None` at the end.
fn pkt(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut head = [0; 4];
    from.read_exact(&mut head).ok()?;
    let length = usize::from_str_radix(std::str::from_utf8(&head).ok()?, 16).ok()?;
    let mut line = vec![0; length.saturating_sub(4)];
    from.read_exact(&mut line).ok()?;
    Some(line)
}
