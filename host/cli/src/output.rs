//! What a command prints: results on standard output, everything else on standard error, colours only on a terminal.
//!
//! All text for people goes through here, a line at a time, and is made harmless here ([`refgate_core::told`]): whatever a
//! remote, a plugin, the ref-db or a file put into a line stays in that line, can be seen, and holds no password. So a
//! line break is made by printing another line, and a colour by a [`Cell`], never by a character in a text.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::CommandFactory;
use clap::error::ErrorKind as Clap;
use refgate_core::{is_unseen, told};
use refgate_host::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::args::Args;

tokio::task_local! {
    /// The project that lines on standard error are about, where a command works on several.
    static PROJECT: String;
}

/// Runs `work`; what it says on standard error names the project.
pub async fn about<T>(project: &str, work: impl Future<Output = T>) -> T {
    PROJECT.scope(project.to_owned(), work).await
}

/// Where the result of one command goes.
pub struct Output {
    /// One JSON document instead of text.
    pub json: bool,
    command: &'static str,
    colours: bool,
    lost: std::cell::Cell<bool>,
    held: Option<RefCell<Held>>,
}

/// What a command printed about one project, to be shown when it has ended.
#[derive(Debug, Default)]
pub struct Held {
    /// What it was about, where that is more than the project.
    pub subject: Option<String>,
    /// Everything but the summary, in lines.
    pub lines: Vec<Line>,
    /// How it came out, in one line.
    pub summary: Option<String>,
    /// The document of `--json`.
    pub document: Option<Value>,
}

impl Output {
    /// For the command of that name.
    pub fn new(json: bool, command: &'static str) -> Output {
        Output {
            json,
            command,
            colours: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            lost: std::cell::Cell::new(false),
            held: None,
        }
    }

    /// For what one command prints about one project: it is held until [`Output::held`] takes it.
    pub fn holding(&self) -> Output {
        Output {
            json: self.json,
            command: self.command,
            colours: self.colours,
            lost: false.into(),
            held: Some(RefCell::default()),
        }
    }

    /// Whether what is printed is held.
    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// What was printed and is held.
    pub fn into_held(self) -> Held {
        self.held.map(RefCell::into_inner).unwrap_or_default()
    }

    /// The command as `--json` names it.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// The exit code of a command that came to `code`: 1 when its result could not be written.
    pub fn code(&self, code: u8) -> ExitCode {
        ExitCode::from(if self.lost.get() && code != 2 { 1 } else { code })
    }

    /// A reader that stops early, like `head`, is no error of ours; a full disk is.
    fn write(&self, text: &str) {
        match write_out(text) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe && !self.lost.replace(true) => {
                warn_as("error", &format!("cannot write the result: {e}"));
            }
            _ => {}
        }
    }

    /// Prints the document of `--json`. Its texts are for people as they are elsewhere, so they are written alike.
    pub fn document(&self, document: &Value) {
        self.exact_document(&told_in(document));
    }

    /// The same with every text exactly as it is: for data of several lines.
    pub fn exact_document(&self, document: &Value) {
        if let Some(held) = &self.held {
            held.borrow_mut().document = Some(document.clone());
            return;
        }
        self.write(&(as_json(&format!("{document:#}")) + "\n"));
    }

    /// Prints a line.
    pub fn text(&self, line: &str) {
        self.line(vec![line.into()]);
    }

    /// Prints a line, parts of which have a colour.
    pub fn line(&self, line: Line) {
        match &self.held {
            Some(held) => held.borrow_mut().lines.push(line),
            None => self.lines(&[line]),
        }
    }

    /// Prints what the result is about, above it.
    pub fn subject(&self, text: &str) {
        match &self.held {
            Some(held) => held.borrow_mut().subject = Some(text.to_owned()),
            None => self.text(text),
        }
    }

    /// Prints how it came out, in one line.
    pub fn summary(&self, text: &str) {
        match &self.held {
            Some(held) => held.borrow_mut().summary = Some(text.to_owned()),
            None => self.text(text),
        }
    }

    /// Prints rows in columns under a header, each column as wide as its widest cell.
    pub fn table(&self, header: &[&str], rows: &[Vec<Cell>]) {
        let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
        let wide = |cell: &Cell| told(&cell.text).chars().count();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(wide(cell));
            }
        }
        let header: Vec<Cell> = header.iter().map(|h| (*h).into()).collect();
        let lines = [&header].into_iter().chain(rows).map(|row| {
            let last = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |last| last + 1);
            let mut line = Line::new();
            for (i, (cell, width)) in row.iter().zip(&widths).enumerate().take(last) {
                line.push(cell.clone());
                if i + 1 < last {
                    line.push(" ".repeat(width.saturating_sub(wide(cell)) + 2).into());
                }
            }
            line
        });
        let lines: Vec<Line> = lines.collect();
        match &self.held {
            Some(held) => held.borrow_mut().lines.extend(lines),
            None => self.lines(&lines),
        }
    }

    /// The one place where lines of a result become characters.
    fn lines(&self, lines: &[Line]) {
        let mut out = String::new();
        for line in lines {
            for cell in line {
                let text = told(&cell.text);
                match cell.mood.colour().filter(|_| self.colours) {
                    Some(colour) => {
                        let style = Style::new().fg_color(Some(colour.into()));
                        out.push_str(&format!("{style}{text}{style:#}"));
                    }
                    None => out.push_str(&text),
                }
            }
            out.push('\n');
        }
        self.write(&out);
    }

    /// Reports that the command could not do its work; the exit code says whose turn it is.
    pub fn fail(&self, error: &Error) -> ExitCode {
        if self.json {
            self.exact_document(&json!({"command": self.command, "error": error_json(error)}));
        }
        ExitCode::from(tell_error(error))
    }
}

/// An error in a document: a message of several lines keeps them.
pub fn error_json(error: &Error) -> Value {
    let message: Vec<_> = error.lines().map(told).collect();
    json!({"message": message.join("\n"), "hint": error.hint.as_deref().map(told)})
}

/// An error on standard error; returns the exit code that says whose turn it is.
pub fn tell_error(error: &Error) -> u8 {
    warn_as("error", &error.message);
    error.more.iter().for_each(|line| say(line));
    if let Some(hint) = &error.hint {
        self::hint(hint);
    }
    match error.kind {
        ErrorKind::Usage => 2,
        ErrorKind::Failed | ErrorKind::Doubt => 1,
    }
}

/// The line with something in front of it.
pub fn indented(indent: &str, line: Line) -> Line {
    [Cell::from(indent)].into_iter().chain(line).collect()
}

/// How a cell is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As it is.
    Plain,
    /// Went well.
    Good,
    /// Held back.
    Held,
    /// Failed.
    Bad,
}

impl Mood {
    fn colour(self) -> Option<AnsiColor> {
        match self {
            Mood::Plain => None,
            Mood::Good => Some(AnsiColor::Green),
            Mood::Held => Some(AnsiColor::Yellow),
            Mood::Bad => Some(AnsiColor::Red),
        }
    }
}

/// What stands in one line: its parts, one after another.
pub type Line = Vec<Cell>;

/// One cell of a table, or a part of a line.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    mood: Mood,
}

impl Cell {
    /// A cell in a colour.
    pub fn new(text: impl Into<String>, mood: Mood) -> Cell {
        Cell { text: text.into(), mood }
    }

    /// Green on a terminal.
    pub fn good(text: impl Into<String>) -> Cell {
        Cell::new(text, Mood::Good)
    }

    /// Yellow on a terminal.
    pub fn held(text: impl Into<String>) -> Cell {
        Cell::new(text, Mood::Held)
    }

    /// Red on a terminal.
    pub fn bad(text: impl Into<String>) -> Cell {
        Cell::new(text, Mood::Bad)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::new(text, Mood::Plain)
    }
}

/// A line on standard error that asks for attention.
pub fn warn(text: &str) {
    warn_as("warning", text);
}

/// What to do next, on standard error.
pub fn hint(text: &str) {
    warn_as("hint", text);
}

/// A line on standard error that begins as it is.
pub fn note(text: &str) {
    say(&format!("{}{text}", project()));
}

fn say(line: &str) {
    // Nothing is left to tell it to when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{}", told(line));
}

/// `PROJECT: ` in front of a line, where several are worked on.
fn project() -> String {
    PROJECT.try_with(|project| format!("{project}: ")).unwrap_or_default()
}

/// A line of a filter's log, or of refgate's own when no plugin is named.
pub fn log(level: &str, plugin: &str, message: &str) {
    let label = if level == "warn" { "warning" } else { level };
    match plugin {
        // refgate itself, about the set of plugins.
        "" => warn_as(label, message),
        _ => warn_as(level, &format!("filter {plugin}: {message}")),
    }
}

/// A line on standard output at once, for commands that do not end by themselves. A reader that went away ends the process.
pub fn line_now(text: &str) {
    line_or_end(&told(text));
}

/// The same for a document in one line.
pub fn document_now(document: &Value) {
    line_or_end(&as_json(&told_in(document).to_string()));
}

fn line_or_end(line: &str) {
    if write_out(&format!("{line}\n")).is_err() {
        std::process::exit(1);
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// A document with its texts as people may read them.
pub fn told_in(document: &Value) -> Value {
    match document {
        Value::String(text) => Value::String(told(text).into_owned()),
        Value::Array(all) => all.iter().map(told_in).collect(),
        Value::Object(all) => {
            Value::Object(all.iter().map(|(key, value)| (told(key).into_owned(), told_in(value))).collect())
        }
        other => other.clone(),
    }
}

/// The same document with what would not be seen written as JSON has it: nothing in it reaches a terminal. The line
/// breaks between its parts stay.
fn as_json(document: &str) -> String {
    if !document.contains(|c| is_unseen(c) && c != '\n') {
        return document.to_owned();
    }
    let mut out = String::with_capacity(document.len() + 16);
    for c in document.chars() {
        match is_unseen(c) && c != '\n' {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

fn warn_as(label: &str, text: &str) {
    let colour = match label {
        "error" => AnsiColor::Red,
        "warning" | "warn" => AnsiColor::Yellow,
        _ => AnsiColor::Cyan,
    };
    let style = match io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        true => Style::new().fg_color(Some(colour.into())),
        false => Style::new(),
    };
    // Nothing is left to tell it to when standard error is gone.
    let text = format!("{}{text}", project());
    let _ = writeln!(io::stderr().lock(), "{style}{label}{style:#}: {}", told(&text));
}

/// A command line that clap refuses. Help and version are no errors.
pub fn usage_error(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A closed pipe is no error here, either.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|a| a == "--json") {
        let (message, hint) = match error.kind() {
            Clap::DisplayHelpOnMissingArgumentOrSubcommand => ("no command is given".into(), None),
            _ => parts(&error.to_string()),
        };
        let command = command_of(std::env::args_os().skip(1));
        let document = json!({"command": command, "error": {"message": message, "hint": hint}});
        // A closed pipe is no error here, either.
        let _ = write_out(&(as_json(&format!("{:#}", told_in(&document))) + "\n"));
    }
    // An argument is often the text of somebody else: a script passes it on. Nothing of it may look like words of ours.
    match std::env::args_os().any(|arg| arg.to_string_lossy().contains(is_unseen)) {
        true => warn_as("error", &parts(&error.to_string()).0),
        false => _ = error.print(),
    }
    ExitCode::from(2)
}

/// The command that a line begins with, as far as it goes; what follows may be wrong.
fn command_of(mut args: impl Iterator<Item = OsString>) -> Option<String> {
    let mut command = Args::command();
    let mut name: Option<String> = None;
    while let Some(arg) = args.next() {
        if arg == "--config" {
            args.next();
        } else if !arg.as_encoded_bytes().starts_with(b"-") {
            let Some(sub) = command.find_subcommand(&arg).cloned() else { break };
            name = Some(name.map_or(String::new(), |n| n + " ") + sub.get_name());
            command = sub;
        }
    }
    name
}

/// What clap says is wrong, and its tip, in one line each.
fn parts(text: &str) -> (String, Option<String>) {
    let line = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let paragraphs: Vec<String> = text.split("\n\n").map(line).collect();
    let first = paragraphs.first().map(|p| p.trim_start_matches("error: ").to_owned()).unwrap_or_default();
    (first, paragraphs.iter().find_map(|p| p.strip_prefix("tip: ")).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::{command_of, parts};

    #[test]
    fn a_broken_line_still_has_a_command() {
        let of = |line: &str| command_of(line.split(' ').map(Into::into));
        assert_eq!(of("--config push --json refdb get"), Some("refdb get".into()));
        assert_eq!(of("push --nope fetch"), Some("push".into()));
        assert_eq!(of("pusch fetch"), None);
    }

    #[test]
    fn clap_is_put_into_one_line() {
        let missing =
            "error: the following required arguments were not provided:\n  <A>\n  <B>\n\nUsage: x <A> <B>\n";
        assert_eq!(
            parts(missing),
            ("the following required arguments were not provided: <A> <B>".into(), None)
        );
        let typo = "error: unrecognized subcommand 'pusch'\n\n  tip: a similar subcommand exists: 'push'\n\nUsage: x\n";
        let hint = Some("a similar subcommand exists: 'push'".into());
        assert_eq!(parts(typo), ("unrecognized subcommand 'pusch'".into(), hint));
    }
}
