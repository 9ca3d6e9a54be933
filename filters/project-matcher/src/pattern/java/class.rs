//! Character classes with Java's meaning: nested classes are a union, `&&` an intersection, `^` negates the whole.

use super::Fault;
use super::escape::{self, Escape};
use super::parse::Parser;
use super::set::Set;

/// Parses a class from its `[` to its `]`.
pub(super) fn class(p: &mut Parser<'_>) -> Result<Set, Fault> {
    let from = p.at();
    p.enter(from)?;
    p.eat('[');
    let negated = p.eat('^');
    let mut set = operand(p, from)?.set;
    while at_intersection(p) {
        let sign = p.at();
        let (_, _) = (p.take(), p.take());
        match p.peek() {
            Some('^') => {
                return Err(Fault::unsupported(p.including_next(sign), "a `^` after `&&`; write `&&[^..]`"));
            }
            Some(']') => {
                return Err(Fault::unsupported(p.including_next(sign), "`&&` without a class on both sides"));
            }
            _ => {}
        }
        let right = operand(p, from)?;
        // Java gives `[ab&&[b]c]` and `[ab&&]` meanings of their own.
        if right.nested && right.items > 1 {
            let why = "more than one nested class after `&&`; write one class around them";
            return Err(Fault::unsupported(p.since(sign), why));
        }
        set = set.intersection(&right.set);
    }
    p.eat(']');
    p.leave();
    Ok(if negated { set.complement() } else { set })
}

/// One side of `&&`.
struct Operand {
    set: Set,
    items: usize,
    nested: bool,
}

fn at_intersection(p: &Parser<'_>) -> bool {
    p.peek() == Some('&') && p.peek_at(1) == Some('&')
}

/// Reads up to `&&` or `]`, which stay.
fn operand(p: &mut Parser<'_>, from: usize) -> Result<Operand, Fault> {
    let start = p.at();
    let mut operand = Operand { set: Set::default(), items: 0, nested: false };
    loop {
        if p.at_end() {
            return Err(Fault::invalid(p.since(from), "the class is not closed"));
        }
        if at_intersection(p) {
            if operand.items == 0 || p.peek_at(2) == Some('&') {
                return Err(Fault::unsupported(
                    p.including_next(start),
                    "`&&` without a class on both sides",
                ));
            }
            return Ok(operand);
        }
        let item = p.at();
        let set = match p.peek() {
            // A `]` in the first place is a character.
            Some(']') if operand.items > 0 => return Ok(operand),
            Some('[') => {
                operand.nested = true;
                class(p)?
            }
            _ if p.at_layout() => {
                return Err(Fault::unsupported(
                    p.including_next(item),
                    "blanks or `#` in a class under `(?x)`; escape them",
                ));
            }
            _ => range(p)?,
        };
        operand.set = operand.set.union(&set);
        operand.items += 1;
    }
}

/// One character, one range, or one class such as `\w`.
fn range(p: &mut Parser<'_>) -> Result<Set, Fault> {
    let from = p.at();
    let vertical = p.peek() == Some('\\') && p.peek_at(1) == Some('v');
    let first = match code(p)? {
        Escape::Class(_) if vertical && p.peek() == Some('-') => {
            return Err(Fault::unsupported(
                p.including_next(from),
                "a `-` after `\\v` in a class; escape it",
            ));
        }
        Escape::Class(set) => return Ok(set),
        Escape::Code(code) => code,
    };
    if p.peek() != Some('-') || p.peek_at(1) == Some(']') {
        return Ok(p.literal(first));
    }
    if p.peek_at(1) == Some('[') || p.peek_at(1) == Some('&') && p.peek_at(2) == Some('&') {
        return Err(Fault::unsupported(
            p.including_next(from),
            "a `-` before a nested class or `&&`; escape it",
        ));
    }
    p.eat('-');
    if p.at_layout() {
        return Err(Fault::unsupported(
            p.including_next(from),
            "blanks or `#` in a class under `(?x)`; escape them",
        ));
    }
    let last = if p.at_end() { None } else { Some(code(p)?) };
    match last {
        Some(Escape::Code(last)) if last >= first => Ok(p.fold(Set::of(&[(first, last)]))),
        _ => Err(Fault::invalid(p.since(from), "the range ends before it starts")),
    }
}

fn code(p: &mut Parser<'_>) -> Result<Escape, Fault> {
    if p.peek() == Some('\\') {
        return escape::escape(p);
    }
    let from = p.at();
    match p.take() {
        Some(token) => Ok(Escape::Code(token.c.into())),
        None => Err(Fault::invalid(p.since(from), "the class is not closed")),
    }
}
