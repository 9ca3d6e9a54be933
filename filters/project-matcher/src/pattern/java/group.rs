//! Everything that starts with `(`: groups, look-around, atomic groups and inline flags.

use super::parse::{Group, Parser};
use super::{Fault, Node};

/// Parses a group; `None` for inline flags such as `(?i)`, which are no atom.
pub(super) fn group(p: &mut Parser<'_>) -> Result<Option<Node>, Fault> {
    let from = p.at();
    p.enter(from)?;
    p.eat('(');
    if p.at_layout() {
        p.skip_layout()?;
        if p.peek() == Some('?') {
            return Err(Fault::unsupported(p.including_next(from), "blanks inside `(?` under `(?x)`"));
        }
    }
    let outside = p.flags;
    let node = if !p.eat('?') {
        capture(p, from, None)?
    } else if p.eat(':') {
        body(p, from)?
    } else if p.eat('>') {
        Node::Atomic(Box::new(body(p, from)?))
    } else if p.eat('=') {
        look(p, from, false, false)?
    } else if p.eat('!') {
        look(p, from, false, true)?
    } else if p.eat('<') {
        if p.eat('=') {
            look(p, from, true, false)?
        } else if p.eat('!') {
            look(p, from, true, true)?
        } else {
            let name = name(p, from)?;
            if p.groups.iter().any(|group| group.name.as_ref() == Some(&name)) {
                return Err(Fault::invalid(p.since(from), "another group has this name"));
            }
            capture(p, from, Some(name))?
        }
    } else {
        flags(p, from)?;
        if p.eat(')') {
            p.leave();
            return Ok(None);
        }
        if !p.eat(':') {
            let known =
                "the flags are i, m, s, x, d and u, a group starts with `(?:`, `(?=`, `(?!`, `(?>` or `(?<`";
            return Err(Fault::invalid(p.including_next(from), known));
        }
        body(p, from)?
    };
    p.flags = outside;
    p.leave();
    Ok(Some(node))
}

fn body(p: &mut Parser<'_>, from: usize) -> Result<Node, Fault> {
    let opened = p.since(from);
    let node = p.alternatives()?;
    if p.eat(')') { Ok(node) } else { Err(Fault::invalid(opened, "the group is not closed")) }
}

fn capture(p: &mut Parser<'_>, from: usize, name: Option<String>) -> Result<Node, Fault> {
    p.groups.push(Group { name, closed: false });
    let number = p.groups.len();
    let node = body(p, from)?;
    p.groups[number - 1].closed = true;
    Ok(Node::Capture(number, Box::new(node)))
}

fn look(p: &mut Parser<'_>, from: usize, behind: bool, negative: bool) -> Result<Node, Fault> {
    let body = Box::new(body(p, from)?);
    Ok(Node::Look { behind, negative, body, span: p.since(from) })
}

/// The rest of a group name with its `>`.
pub(super) fn name(p: &mut Parser<'_>, from: usize) -> Result<String, Fault> {
    let mut name = String::new();
    while let Some(c) =
        p.peek().filter(|&c| c.is_ascii_alphabetic() || c.is_ascii_digit() && !name.is_empty())
    {
        p.eat(c);
        name.push(c);
    }
    if name.is_empty() || !p.eat('>') {
        let span = p.including_next(from);
        return Err(Fault::invalid(
            span,
            "a group name is an ASCII letter, then ASCII letters and digits, then `>`",
        ));
    }
    Ok(name)
}

/// Reads flags up to the character that is none.
fn flags(p: &mut Parser<'_>, from: usize) -> Result<(), Fault> {
    let mut on = true;
    while let Some(c) = p.peek() {
        let flag = match c {
            'i' => &mut p.flags.ignore_case,
            'm' => &mut p.flags.multi_line,
            's' => &mut p.flags.dot_all,
            'x' => &mut p.flags.comments,
            'd' => &mut p.flags.unix_lines,
            'u' => &mut p.flags.unicode_case,
            '-' if on => {
                on = false;
                p.eat(c);
                continue;
            }
            // Switching off what is never on.
            'U' | 'c' if !on => {
                p.flags.unicode_case &= c != 'U';
                p.eat(c);
                continue;
            }
            'U' => {
                return Err(Fault::unsupported(
                    p.including_next(from),
                    "Unicode classes need Unicode tables",
                ));
            }
            'c' => {
                return Err(Fault::unsupported(p.including_next(from), "canonical equivalence"));
            }
            _ => break,
        };
        *flag = on;
        p.eat(c);
    }
    if p.flags.ignore_case && p.flags.unicode_case {
        let span = p.including_next(from);
        return Err(Fault::unsupported(
            span,
            "Unicode case folding needs Unicode tables; `(?i)` alone folds ASCII letters",
        ));
    }
    Ok(())
}
