//! The parser: alternatives, sequences, quantifiers and the `(?x)` layout.

use super::lex::Token;
use super::set::Set;
use super::{Fault, Greed, Node, Parsed, Span, class, emit, escape, group, named};

/// Deepest nesting of groups and classes: the parser and the engine's compiler recurse.
const DEPTH_LIMIT: usize = 50;

/// The inline flags in force.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    pub ignore_case: bool,
    pub multi_line: bool,
    pub dot_all: bool,
    pub unicode_case: bool,
    pub unix_lines: bool,
    pub comments: bool,
}

/// A capturing group seen so far.
pub(super) struct Group {
    pub name: Option<String>,
    pub closed: bool,
}

/// Position and state while a pattern is read.
pub(super) struct Parser<'t> {
    tokens: &'t [Token],
    next: usize,
    len: usize,
    depth: usize,
    pub flags: Flags,
    pub groups: Vec<Group>,
    pub references: Vec<(usize, Span)>,
    pub uses_words: bool,
}

/// Parses a whole pattern of `len` bytes.
pub(super) fn parse(tokens: &[Token], len: usize) -> Result<Parsed, Fault> {
    let mut parser = Parser {
        tokens,
        next: 0,
        len,
        depth: 0,
        flags: Flags::default(),
        groups: Vec::new(),
        references: Vec::new(),
        uses_words: false,
    };
    let root = parser.alternatives()?;
    if parser.peek().is_some() {
        let from = parser.at();
        parser.next += 1;
        return Err(Fault::invalid(parser.since(from), "there is no group to close"));
    }
    Ok(Parsed { root, references: parser.references, uses_words: parser.uses_words })
}

impl Parser<'_> {
    /// The character at the cursor unless it is quoted or there is none: only such a character can be syntax.
    pub fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    /// The unquoted character `ahead` places after the cursor.
    pub fn peek_at(&self, ahead: usize) -> Option<char> {
        self.tokens.get(self.next + ahead).filter(|token| !token.quoted).map(|token| token.c)
    }

    /// Takes the next character, quoted or not.
    pub fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).copied();
        self.next += usize::from(token.is_some());
        token
    }

    /// Skips the next character if it is this one, unquoted.
    pub fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.next += usize::from(found);
        found
    }

    pub fn at_end(&self) -> bool {
        self.next >= self.tokens.len()
    }

    /// Byte position of the cursor.
    pub fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.len, |token| token.at)
    }

    /// The bytes from `from` up to the cursor.
    pub fn since(&self, from: usize) -> Span {
        Span { from, to: self.at().max(from) }
    }

    /// Like [`Self::since`], with the character at the cursor, for complaints about that character.
    pub fn including_next(&mut self, from: usize) -> Span {
        let _ = self.take();
        self.since(from)
    }

    /// Counts one level of nesting; the caller gives it back with [`Self::leave`].
    pub fn enter(&mut self, from: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(Fault::unsupported(
                self.since(from),
                format!("more than {DEPTH_LIMIT} levels of nesting"),
            ));
        }
        Ok(())
    }

    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Whether the cursor is at blanks or a comment that `(?x)` skips.
    pub fn at_layout(&self) -> bool {
        self.flags.comments && matches!(self.peek(), Some('\t'..='\r' | ' ' | '#'))
    }

    /// Skips blanks and comments under `(?x)`; says whether there were any.
    pub fn skip_layout(&mut self) -> Result<bool, Fault> {
        let start = self.next;
        while self.at_layout() {
            let from = self.at();
            if self.eat('#') {
                // Quoting does not matter in a comment: a line end in it ends the comment all the same.
                while let Some(token) = self.take().filter(|token| token.c != '\n') {
                    if matches!(token.c, '\r' | '\u{85}' | '\u{2028}' | '\u{2029}') {
                        let why = "a comment with a line terminator other than `\\n`";
                        return Err(Fault::unsupported(self.since(from), why));
                    }
                }
            } else {
                self.next += 1;
            }
        }
        Ok(self.next > start)
    }

    /// Everything up to `)` or the end.
    pub fn alternatives(&mut self) -> Result<Node, Fault> {
        let mut branches = vec![self.sequence()?];
        while self.eat('|') {
            branches.push(self.sequence()?);
        }
        Ok(if branches.len() == 1 { branches.remove(0) } else { Node::Alternatives(branches) })
    }

    fn sequence(&mut self) -> Result<Node, Fault> {
        let mut nodes = Vec::new();
        loop {
            self.skip_layout()?;
            if self.at_end() || matches!(self.peek(), Some('|' | ')')) {
                break;
            }
            let from = self.at();
            // A flag group such as `(?i)` is no atom: nothing to repeat.
            if let Some(atom) = self.atom()? {
                self.refuse_layout_before_quantifier()?;
                nodes.push(self.quantified(atom, from)?);
            }
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Concat(nodes) })
    }

    fn atom(&mut self) -> Result<Option<Node>, Fault> {
        let from = self.at();
        let Flags { dot_all, unix_lines, multi_line, .. } = self.flags;
        Ok(Some(match self.peek() {
            Some('(') => return group::group(self),
            Some('[') => Node::Set(class::class(self)?),
            Some('\\') => escape::atom(self)?,
            Some('.') => {
                self.next += 1;
                Node::Set(named::dot(dot_all, unix_lines))
            }
            Some('^') => {
                self.next += 1;
                emit::line_start(multi_line, unix_lines)
            }
            Some('$') => {
                self.next += 1;
                emit::line_end(multi_line, unix_lines)
            }
            Some('*' | '+' | '?' | '{') => {
                return Err(Fault::invalid(self.including_next(from), "there is nothing to repeat"));
            }
            _ => match self.take() {
                Some(token) => Node::Set(self.literal(token.c.into())),
                None => Node::Concat(Vec::new()),
            },
        }))
    }

    /// A character that stands for itself, under the flags.
    pub fn literal(&self, code: u32) -> Set {
        self.fold(Set::single(code))
    }

    /// Applies `(?i)`.
    pub fn fold(&self, set: Set) -> Set {
        if self.flags.ignore_case { set.fold_ascii() } else { set }
    }

    /// `a +` under `(?x)`: Java skips the blank in some places and not in others.
    fn refuse_layout_before_quantifier(&mut self) -> Result<(), Fault> {
        let (from, start) = (self.at(), self.next);
        if self.skip_layout()? && matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
            let span = self.including_next(from);
            return Err(Fault::unsupported(span, "blanks or a comment before a quantifier under `(?x)`"));
        }
        self.next = start;
        Ok(())
    }

    fn quantified(&mut self, atom: Node, from: usize) -> Result<Node, Fault> {
        let sign = self.at();
        let (min, max) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                self.next += 1;
                let bounds = self.bounds(sign)?;
                return self.greed(atom, bounds, from);
            }
            _ => return Ok(atom),
        };
        self.next += 1;
        self.greed(atom, (min, max), from)
    }

    fn greed(&mut self, atom: Node, (min, max): (u32, Option<u32>), from: usize) -> Result<Node, Fault> {
        self.refuse_layout_before_quantifier()?;
        let kind = if self.eat('?') {
            Greed::Lazy
        } else if self.eat('+') {
            Greed::Possessive
        } else {
            Greed::Greedy
        };
        self.refuse_layout_before_quantifier()?;
        if matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
            return Err(Fault::invalid(self.including_next(from), "a quantifier cannot be repeated"));
        }
        let span = self.since(from);
        Ok(Node::Repeat { body: Box::new(atom), min, max, kind, span })
    }

    /// The rest of `{n}`, `{n,}` or `{n,m}`.
    fn bounds(&mut self, from: usize) -> Result<(u32, Option<u32>), Fault> {
        let min = self.number(from)?;
        let max = if !self.eat(',') {
            Some(min)
        } else if self.peek() == Some('}') {
            None
        } else {
            Some(self.number(from)?)
        };
        if !self.eat('}') {
            return Err(Fault::invalid(
                self.including_next(from),
                "a repetition is `{n}`, `{n,}` or `{n,m}`",
            ));
        }
        if max.is_some_and(|max| max < min) {
            return Err(Fault::invalid(self.since(from), "the upper bound is below the lower one"));
        }
        Ok((min, max))
    }

    fn number(&mut self, from: usize) -> Result<u32, Fault> {
        let mut value = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.next += 1;
            let sum = value.unwrap_or(0_u32).checked_mul(10).and_then(|tens| tens.checked_add(digit));
            match sum.filter(|sum| i32::try_from(*sum).is_ok()) {
                Some(sum) => value = Some(sum),
                None => return Err(Fault::invalid(self.since(from), "the number is too large")),
            }
        }
        match value {
            Some(value) => Ok(value),
            None => {
                Err(Fault::invalid(self.including_next(from), "a repetition is `{n}`, `{n,}` or `{n,m}`"))
            }
        }
    }
}
