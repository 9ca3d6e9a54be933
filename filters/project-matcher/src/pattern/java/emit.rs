//! Writes the tree in the engine's syntax.

use std::fmt::Write as _;

use super::{Greed, Node, Parsed, named};

/// An alternative that never matches, put beside every greedy unbounded repetition. fancy-regex 0.20 rewrites
/// `X+Y?X+` to `X+(?:YX+)?`, so that `^[^/]+/?[^/]+` would match `a`; the rewriting only sees bare repetitions.
const NEVER: &str = "|[^\\x{0}-\\x{10ffff}]";

/// Wraps the pattern so that it has to match the whole name.
pub(super) fn whole(parsed: &Parsed) -> String {
    let mut writer = Writer { out: String::from("\\A(?:"), parsed };
    writer.node(&parsed.root, true);
    writer.out.push_str(")\\z");
    writer.out
}

/// `^`. Under `(?m)` Java's does not match at the end of the input, nor between `\r` and `\n`.
pub(super) fn line_start(multi_line: bool, unix_lines: bool) -> Node {
    Node::Assert(match (multi_line, unix_lines) {
        (false, _) => "\\A".to_owned(),
        (true, true) => "(?:(?!\\z)(?:\\A|(?<=\\n)))".to_owned(),
        (true, false) => {
            "(?:(?!\\z)(?:\\A|(?<=[\\x{a}\\x{85}\\x{2028}\\x{2029}])|(?<=\\x{d})(?!\\x{a})))".to_owned()
        }
    })
}

/// `$` and `\Z`: also before a line terminator that ends the input, with `(?m)` before any.
pub(super) fn line_end(multi_line: bool, unix_lines: bool) -> Node {
    Node::End(match (multi_line, unix_lines) {
        (false, true) => "(?=\\x{a}?\\z)",
        (true, true) => "(?:\\z|(?=\\x{a}))",
        (false, false) => {
            "(?:\\z|(?=\\x{d}\\x{a}\\z)|(?=[\\x{d}\\x{85}\\x{2028}\\x{2029}]\\z)|(?<!\\x{d})(?=\\x{a}\\z))"
        }
        (true, false) => "(?:\\z|(?=[\\x{d}\\x{85}\\x{2028}\\x{2029}])|(?<!\\x{d})(?=\\x{a}))",
    })
}

/// `\b` and `\B` as look-around over an explicit set: the engine's own are ASCII or need tables.
pub(super) fn word_boundary(negated: bool) -> Node {
    let mut word = String::new();
    named::boundary_word().emit(&mut word);
    Node::Assert(if negated {
        format!("(?:(?<={word})(?={word})|(?<!{word})(?!{word}))")
    } else {
        format!("(?:(?<={word})(?!{word})|(?<!{word})(?={word}))")
    })
}

struct Writer<'p> {
    out: String,
    parsed: &'p Parsed,
}

impl Writer<'_> {
    /// Writes a node. `last` means that nothing but the end of the name can follow and that nothing before it is final:
    /// there `$` is the same as `\z`, which the engine can test without backtracking.
    fn node(&mut self, node: &Node, last: bool) {
        match node {
            Node::Set(set) => set.emit(&mut self.out),
            Node::Concat(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    let last = last && index + 1 == nodes.len();
                    if matches!(node, Node::Alternatives(_)) {
                        self.wrapped("(?:", node, last)
                    } else {
                        self.node(node, last)
                    }
                }
            }
            Node::Alternatives(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        self.out.push('|');
                    }
                    self.node(node, last);
                }
            }
            // A group that nothing refers to is not captured, which keeps most patterns free of backtracking.
            Node::Capture(number, body) => {
                if self.parsed.references.iter().any(|(referenced, _)| referenced == number) {
                    self.wrapped(&format!("(?<g{number}>"), body, last);
                } else {
                    self.wrapped("(?:", body, last);
                }
            }
            Node::Reference(number) => {
                let _ = write!(self.out, "\\k<g{number}>");
            }
            Node::Atomic(body) => self.wrapped("(?>", body, false),
            Node::Look { behind, negative, body, .. } => {
                let open = match (behind, negative) {
                    (false, false) => "(?=",
                    (false, true) => "(?!",
                    (true, false) => "(?<=",
                    (true, true) => "(?<!",
                };
                self.wrapped(open, body, false);
            }
            Node::Repeat { body, min, max, kind, .. } => self.repeat(body, *min, *max, *kind),
            Node::LineBreak(_) => {
                self.out.push_str("(?:\\x{d}\\x{a}|[\\x{a}-\\x{d}\\x{85}\\x{2028}\\x{2029}])")
            }
            Node::End(_) if last => self.out.push_str("\\z"),
            Node::End(text) => self.out.push_str(text),
            Node::Assert(text) => self.out.push_str(text),
        }
    }

    fn wrapped(&mut self, open: &str, node: &Node, last: bool) {
        self.out.push_str(open);
        self.node(node, last);
        self.out.push(')');
    }

    fn repeat(&mut self, body: &Node, min: u32, max: Option<u32>, kind: Greed) {
        let possessive = kind == Greed::Possessive;
        // The engine does not repeat what has no width. Doing so would only make it optional.
        if !body.consumes() {
            if min > 0 {
                self.wrapped("(?>", body, false);
            }
            return;
        }
        self.out.push_str(if possessive { "(?>" } else { "(?:" });
        match body {
            Node::Set(set) => set.emit(&mut self.out),
            // Java never goes back into an earlier round of a possessive repetition.
            body if possessive => self.wrapped("(?>", body, false),
            body => self.wrapped("(?:", body, false),
        }
        let _ = match max {
            None => write!(self.out, "{{{min},}}"),
            Some(max) => write!(self.out, "{{{min},{max}}}"),
        };
        if kind == Greed::Lazy {
            self.out.push('?');
        }
        if kind == Greed::Greedy && max.is_none() {
            self.out.push_str(NEVER);
        }
        self.out.push(')');
    }
}
