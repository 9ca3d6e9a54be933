//! Everything that starts with a backslash, inside and outside of classes.

use super::parse::Parser;
use super::set::Set;
use super::{Fault, Node, Span, emit, group, named};

/// What an escape that is allowed in a class stands for.
pub(super) enum Escape {
    /// One code point: can be an end of a range.
    Code(u32),
    Class(Set),
}

/// An escape outside of a class.
pub(super) fn atom(p: &mut Parser<'_>) -> Result<Node, Fault> {
    let from = p.at();
    Ok(match p.peek_at(1) {
        Some(c @ ('b' | 'B' | 'A' | 'Z' | 'z' | 'R' | 'G' | 'X')) => {
            p.eat('\\');
            p.eat(c);
            match c {
                'A' => Node::Assert("\\A".to_owned()),
                'z' => Node::End("\\z"),
                'Z' => emit::line_end(false, p.flags.unix_lines),
                'R' => Node::LineBreak(p.since(from)),
                'b' if p.peek() == Some('{') && p.peek_at(1) == Some('g') => {
                    return Err(Fault::unsupported(
                        p.including_next(from),
                        "grapheme boundaries need Unicode tables",
                    ));
                }
                'b' | 'B' => {
                    p.uses_words = true;
                    emit::word_boundary(c == 'B')
                }
                'X' => {
                    return Err(Fault::unsupported(p.since(from), "grapheme clusters need Unicode tables"));
                }
                _ => {
                    return Err(Fault::unsupported(
                        p.since(from),
                        "there is no previous match to start from",
                    ));
                }
            }
        }
        Some('k') => {
            p.eat('\\');
            p.eat('k');
            if !p.eat('<') {
                return Err(Fault::invalid(p.including_next(from), "a named back-reference is `\\k<name>`"));
            }
            let name = group::name(p, from)?;
            let number = p.groups.iter().position(|group| group.name.as_ref() == Some(&name));
            let span = p.since(from);
            reference(p, number.map(|index| index + 1), span)?
        }
        Some('1'..='9') => {
            p.eat('\\');
            let mut number = 0;
            // A further digit belongs to the number only if that many groups have been opened.
            while let Some(digit) = p.peek().and_then(|c| c.to_digit(10)) {
                let longer = number * 10 + digit as usize;
                if number > 0 && longer > p.groups.len() {
                    break;
                }
                number = longer;
                let _ = p.take();
            }
            if p.at_layout() {
                return Err(Fault::unsupported(p.including_next(from), "blanks after a number under `(?x)`"));
            }
            let span = p.since(from);
            reference(p, (number <= p.groups.len()).then_some(number), span)?
        }
        _ => match escape(p)? {
            Escape::Code(code) => Node::Set(p.literal(code)),
            Escape::Class(set) => Node::Set(set),
        },
    })
}

fn reference(p: &mut Parser<'_>, number: Option<usize>, span: Span) -> Result<Node, Fault> {
    match number {
        Some(number) if p.groups[number - 1].closed => {
            if p.flags.ignore_case {
                return Err(Fault::unsupported(span, "a back-reference under `(?i)`"));
            }
            p.references.push((number, span));
            Ok(Node::Reference(number))
        }
        Some(_) => Err(Fault::unsupported(span, "a back-reference inside its own group")),
        None => Err(Fault::invalid(span, "there is no such group before the back-reference")),
    }
}

/// An escape that is allowed everywhere.
pub(super) fn escape(p: &mut Parser<'_>) -> Result<Escape, Fault> {
    let from = p.at();
    let _ = p.take();
    let Some(token) = p.take() else {
        return Err(Fault::invalid(p.since(from), "nothing follows the backslash"));
    };
    if token.quoted {
        return Err(Fault::unsupported(p.since(from), "a quote right after a backslash"));
    }
    let code = match token.c {
        't' => 0x09,
        'n' => 0x0a,
        'r' => 0x0d,
        'f' => 0x0c,
        'a' => 0x07,
        'e' => 0x1b,
        '0' => octal(p, from)?,
        'x' => hexadecimal(p, from)?,
        'u' => utf16(p, from)?,
        'c' => {
            let layout = p.at_layout();
            match p.take() {
                Some(control) if !layout && !control.quoted => u32::from(control.c) ^ 64,
                _ => {
                    return Err(Fault::invalid(p.since(from), "a character has to follow `\\c`"));
                }
            }
        }
        'p' | 'P' => return property(p, from, token.c == 'P'),
        'N' => {
            return Err(Fault::unsupported(p.since(from), "character names need Unicode tables"));
        }
        c => match named::short(c) {
            Some(set) => return Ok(Escape::Class(set)),
            None if c.is_ascii_alphanumeric() => {
                return Err(Fault::invalid(p.since(from), "there is no such escape here"));
            }
            None => c.into(),
        },
    };
    if (0xd800..=0xdfff).contains(&code) {
        return Err(Fault::unsupported(p.since(from), "half of a surrogate pair"));
    }
    if code > 0x10_ffff {
        return Err(Fault::invalid(p.since(from), "there is no such code point"));
    }
    Ok(Escape::Code(code))
}

/// One to three octal digits, up to `\0377`.
fn octal(p: &mut Parser<'_>, from: usize) -> Result<u32, Fault> {
    let mut value = 0;
    let mut digits = 0;
    while let Some(digit) = p.peek().and_then(|c| c.to_digit(8)) {
        if digits == 3 || digits == 2 && value > 0o37 {
            break;
        }
        value = value * 8 + digit;
        digits += 1;
        let _ = p.take();
    }
    if digits == 0 {
        return Err(Fault::invalid(
            p.including_next(from),
            "an octal escape is `\\0` and one to three octal digits",
        ));
    }
    if p.at_layout() {
        return Err(Fault::unsupported(p.including_next(from), "blanks after a number under `(?x)`"));
    }
    Ok(value)
}

fn hexadecimal(p: &mut Parser<'_>, from: usize) -> Result<u32, Fault> {
    if !p.eat('{') {
        return digits(p, from, 2);
    }
    let mut value = 0_u32;
    let mut seen = false;
    while let Some(digit) = p.peek().and_then(|c| c.to_digit(16)) {
        value = value * 16 + digit;
        seen = true;
        let _ = p.take();
        if value > 0x10_ffff {
            return Err(Fault::invalid(p.since(from), "there is no such code point"));
        }
    }
    if !seen || !p.eat('}') {
        return Err(Fault::invalid(p.including_next(from), "it is `\\x{h..}` with hexadecimal digits"));
    }
    Ok(value)
}

/// `\uhhhh`; two of them can be one surrogate pair.
fn utf16(p: &mut Parser<'_>, from: usize) -> Result<u32, Fault> {
    let high = digits(p, from, 4)?;
    if !(0xd800..=0xdbff).contains(&high) || p.peek() != Some('\\') || p.peek_at(1) != Some('u') {
        return Ok(high);
    }
    let (_, _) = (p.take(), p.take());
    let low = digits(p, from, 4)?;
    if !(0xdc00..=0xdfff).contains(&low) {
        return Err(Fault::unsupported(p.since(from), "half of a surrogate pair"));
    }
    Ok(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
}

fn digits(p: &mut Parser<'_>, from: usize, count: usize) -> Result<u32, Fault> {
    let mut value = 0;
    for _ in 0..count {
        let Some(digit) = p.peek().and_then(|c| c.to_digit(16)) else {
            return Err(Fault::invalid(
                p.including_next(from),
                format!("it needs {count} hexadecimal digits"),
            ));
        };
        value = value * 16 + digit;
        let _ = p.take();
    }
    Ok(value)
}

/// The rest of `\p{Name}` or `\pN`.
fn property(p: &mut Parser<'_>, from: usize, negated: bool) -> Result<Escape, Fault> {
    let mut name = String::new();
    if p.eat('{') {
        loop {
            match p.take().filter(|token| !token.quoted) {
                Some(token) if token.c == '}' => break,
                Some(token) => name.push(token.c),
                None => return Err(Fault::invalid(p.since(from), "the property is not closed")),
            }
        }
    } else if let Some(token) = p.take() {
        name.push(token.c);
    }
    match named::property(&name, p.flags.ignore_case) {
        Some(set) => Ok(Escape::Class(if negated { set.complement() } else { set })),
        None => {
            let why = "of the properties only Alpha, Lower, Upper, Digit, Alnum, Punct, Graph, Print, Blank, Cntrl, XDigit, \
                       Space and ASCII are; write the characters as a class";
            Err(Fault::unsupported(p.since(from), why))
        }
    }
}
