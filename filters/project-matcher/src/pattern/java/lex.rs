//! Characters of a pattern with their byte positions; `\Q..\E` is resolved here.

use super::{Fault, Span};

/// One character of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub c: char,
    pub at: usize,
    /// Stood between `\Q` and `\E`: never syntax.
    pub quoted: bool,
}

/// Splits the pattern. Java resolves quotes before it parses, so they may start and end anywhere, also inside a class.
pub(super) fn tokens(pattern: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut chars = pattern.char_indices().peekable();
    let mut quoted = false;
    while let Some((at, c)) = chars.next() {
        if c == '\0' {
            return Err(Fault::invalid(Span { from: at, to: at + 1 }, "a pattern cannot contain NUL"));
        }
        let next = chars.peek().copied();
        match (quoted, c, next) {
            (false, '\\', Some((_, 'Q'))) | (true, '\\', Some((_, 'E'))) => {
                quoted = !quoted;
                chars.next();
            }
            (false, '\\', Some((second, escaped))) => {
                tokens.push(Token { c, at, quoted });
                tokens.push(Token { c: escaped, at: second, quoted });
                chars.next();
            }
            _ => tokens.push(Token { c, at, quoted }),
        }
    }
    Ok(tokens)
}
