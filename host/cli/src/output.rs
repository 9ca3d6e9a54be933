//! What a command prints: results on standard output, everything else on standard error, colours only on a terminal.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::CommandFactory;
use clap::error::ErrorKind as Clap;
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
    /// Everything but the summary.
    pub text: String,
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
    fn print(&self, text: &str) {
        if let Some(held) = &self.held {
            held.borrow_mut().text.push_str(text);
            return;
        }
        match io::stdout().lock().write_all(text.as_bytes()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe && !self.lost.replace(true) => {
                warn_as("error", &format!("cannot write the result: {e}"));
            }
            _ => {}
        }
    }

    /// Prints the document of `--json`.
    pub fn document(&self, document: &Value) {
        if let Some(held) = &self.held {
            held.borrow_mut().document = Some(document.clone());
            return;
        }
        self.print(&format!("{document:#}\n"));
    }

    /// Prints text.
    pub fn text(&self, text: &str) {
        self.print(&format!("{text}\n"));
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

    /// Green on a terminal.
    pub fn good(&self, text: &str) -> String {
        self.paint(AnsiColor::Green, text)
    }

    /// Yellow on a terminal.
    pub fn held(&self, text: &str) -> String {
        self.paint(AnsiColor::Yellow, text)
    }

    /// Red on a terminal.
    pub fn bad(&self, text: &str) -> String {
        self.paint(AnsiColor::Red, text)
    }

    fn paint(&self, colour: AnsiColor, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let style = Style::new().fg_color(Some(colour.into()));
        format!("{style}{text}{style:#}")
    }

    /// Prints rows in columns under a header, each column as wide as its widest cell.
    pub fn table(&self, header: &[&str], rows: &[Vec<Cell>]) {
        let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let mut out = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = (String, usize)>| {
            let mut text = String::new();
            for ((shown, length), width) in cells.zip(&widths) {
                text.push_str(&shown);
                text.push_str(&" ".repeat(width.saturating_sub(length) + 2));
            }
            out.push_str(text.trim_end());
            out.push('\n');
        };
        line(&mut header.iter().map(|h| (h.to_string(), h.chars().count())));
        for row in rows {
            line(&mut row.iter().map(|cell| (self.shown(cell), cell.text.chars().count())));
        }
        self.print(&out);
    }

    fn shown(&self, cell: &Cell) -> String {
        match cell.mood {
            Mood::Plain => cell.text.clone(),
            Mood::Good => self.good(&cell.text),
            Mood::Held => self.held(&cell.text),
            Mood::Bad => self.bad(&cell.text),
        }
    }

    /// Reports that the command could not do its work; the exit code says whose turn it is.
    pub fn fail(&self, error: &Error) -> ExitCode {
        if self.json {
            self.document(&json!({
                "command": self.command,
                "error": {"message": error.message, "hint": error.hint},
            }));
        }
        ExitCode::from(tell_error(error))
    }
}

/// An error on standard error; returns the exit code that says whose turn it is.
pub fn tell_error(error: &Error) -> u8 {
    warn_as("error", &error.message);
    if let Some(hint) = &error.hint {
        self::hint(hint);
    }
    match error.kind {
        ErrorKind::Usage => 2,
        ErrorKind::Failed | ErrorKind::Doubt => 1,
    }
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

/// One cell of a table.
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

/// A line on standard error as it is.
pub fn note(text: &str) {
    // Nothing is left to tell it to when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{}{text}", project());
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
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
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
    let _ = writeln!(io::stderr().lock(), "{style}{label}{style:#}: {}{text}", project());
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
        let _ = writeln!(io::stdout().lock(), "{document:#}");
    }
    let _ = error.print();
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
