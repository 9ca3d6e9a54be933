//! What a command prints: results on standard output, everything else on standard error, colours only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use refgate_host::{Error, ErrorKind};
use serde_json::{Value, json};

/// Where the result of one command goes.
pub struct Output {
    /// One JSON document instead of text.
    pub json: bool,
    command: &'static str,
    colours: bool,
}

impl Output {
    /// For the command of that name.
    pub fn new(json: bool, command: &'static str) -> Output {
        Output {
            json,
            command,
            colours: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// Prints the document of `--json`.
    pub fn document(&self, document: &Value) {
        print(&format!("{document:#}\n"));
    }

    /// Prints text.
    pub fn text(&self, text: &str) {
        print(&format!("{text}\n"));
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
        print(&out);
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
        warn_as("error", &error.message);
        if let Some(hint) = &error.hint {
            self::hint(hint);
        }
        ExitCode::from(match error.kind {
            ErrorKind::Usage => 2,
            ErrorKind::Failed => 1,
        })
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
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A line of a filter's log.
pub fn log(level: &str, plugin: &str, message: &str) {
    warn_as(level, &format!("filter {plugin}: {message}"));
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
    let _ = writeln!(io::stderr().lock(), "{style}{label}{style:#}: {text}");
}

/// A command line that clap refuses. Help and version are no errors.
pub fn usage_error(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|a| a == "--json");
    if error.use_stderr() && json {
        let message = error.kind().to_string();
        print(&format!("{:#}\n", json!({"command": null, "error": {"message": message, "hint": null}})));
    }
    // A closed pipe ends the program anyway.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// A reader that stops early, like `head`, is no error of ours.
fn print(text: &str) {
    if io::stdout().lock().write_all(text.as_bytes()).is_err() {
        std::process::exit(0);
    }
}
