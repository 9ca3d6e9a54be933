//! Translates a Java 17 regular expression into one for fancy-regex that answers the same, or says why it cannot.
//!
//! The pattern is parsed into a small tree in which every character class is already a set of code points, and the tree is
//! written out again with the few constructs that mean the same in both engines. The engine therefore needs no Unicode
//! tables and no flags. Unicode categories, scripts and Unicode case folding are refused: Java 17 has Unicode 13, the
//! tables of the regex crates are newer, so the two would silently disagree about some characters.

mod check;
mod class;
mod emit;
mod escape;
mod group;
mod lex;
mod named;
mod parse;
mod set;

use set::Set;

/// A translated pattern: the text for the engine and the names for which its answer is Java's.
pub(super) struct Translated {
    pub regex: String,
    pub domain: Domain,
}

/// The names a pattern can be decided for.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Domain {
    /// A look-behind steps back by code points here and by UTF-16 units in Java.
    bmp_only: bool,
    /// `\b` of Java 17 looks up letters, digits and marks of all scripts.
    known_words_only: bool,
}

impl Domain {
    /// Says why the pattern cannot be decided for this name.
    pub fn admits(self, name: &str) -> Result<(), &'static str> {
        if self.bmp_only && name.chars().any(|c| c > '\u{ffff}') {
            return Err("the name has a character above U+FFFF, which Java's look-behind counts as two");
        }
        if self.known_words_only && !name.is_ascii() && !name.chars().all(|c| named::is_known(c.into())) {
            return Err("the name has a character for which Java's `\\b` needs Unicode tables");
        }
        Ok(())
    }
}

/// Translates the pattern for a whole-name match.
pub(super) fn translate(pattern: &str) -> Result<Translated, Fault> {
    let tokens = lex::tokens(pattern)?;
    let parsed = parse::parse(&tokens, pattern.len())?;
    let bmp_only = check::check(&parsed)?;
    let domain = Domain { bmp_only, known_words_only: parsed.uses_words };
    Ok(Translated { regex: emit::whole(&parsed), domain })
}

/// What is wrong with a pattern, and which bytes of it.
#[derive(Debug)]
pub(super) struct Fault {
    span: Span,
    invalid: bool,
    why: String,
}

/// Bytes `from..to` of the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: usize,
    to: usize,
}

impl Fault {
    fn unsupported(span: Span, why: impl Into<String>) -> Fault {
        Fault { span, invalid: false, why: why.into() }
    }

    fn invalid(span: Span, why: impl Into<String>) -> Fault {
        Fault { span, invalid: true, why: why.into() }
    }

    /// The sentence for the user; `pattern` is the text that was translated.
    pub fn describe(&self, pattern: &str) -> String {
        let Span { from, to } = self.span;
        let what = match pattern.get(from..to) {
            Some(text) if !text.is_empty() => format!("`{text}`"),
            _ => "the end".to_owned(),
        };
        let verdict = if self.invalid { "is not valid" } else { "is not supported" };
        format!("{what} at byte {from} {verdict}: {}", self.why)
    }
}

/// A parsed pattern.
struct Parsed {
    root: Node,
    /// Spans of the back-references by group number; only these groups are captured.
    references: Vec<(usize, Span)>,
    uses_words: bool,
}

/// One construct, reduced to what the engine understands in the same way.
#[derive(Debug)]
enum Node {
    /// One character out of a set; a literal is a set of one.
    Set(Set),
    Concat(Vec<Node>),
    Alternatives(Vec<Node>),
    /// A capturing group by its number in the Java pattern.
    Capture(usize, Box<Node>),
    Reference(usize),
    Atomic(Box<Node>),
    Look {
        behind: bool,
        negative: bool,
        body: Box<Node>,
        span: Span,
    },
    Repeat {
        body: Box<Node>,
        min: u32,
        max: Option<u32>,
        kind: Greed,
        span: Span,
    },
    /// `\R`.
    LineBreak(Span),
    /// An end of input or line; at the very end of a pattern all of them are `\z`.
    End(&'static str),
    /// Any other condition without width, already in the engine's syntax.
    Assert(String),
}

impl Node {
    /// The nodes directly inside.
    fn children(&self) -> &[Node] {
        match self {
            Node::Concat(nodes) | Node::Alternatives(nodes) => nodes,
            Node::Capture(_, body)
            | Node::Atomic(body)
            | Node::Repeat { body, .. }
            | Node::Look { body, .. } => std::slice::from_ref(body),
            Node::Set(_) | Node::Reference(_) | Node::LineBreak(_) | Node::End(_) | Node::Assert(_) => &[],
        }
    }

    /// Whether the node can take a character at all; look-around only looks at them.
    fn consumes(&self) -> bool {
        match self {
            Node::Set(_) | Node::Reference(_) | Node::LineBreak(_) => true,
            Node::Look { .. } => false,
            other => other.children().iter().any(Node::consumes),
        }
    }

    /// Whether this node or one inside it, at any depth, is such a node.
    fn any(&self, test: &impl Fn(&Node) -> bool) -> bool {
        test(self) || self.children().iter().any(|node| node.any(test))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greed {
    Greedy,
    Lazy,
    Possessive,
}
