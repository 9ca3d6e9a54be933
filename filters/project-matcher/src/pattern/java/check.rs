//! Refuses what parses but cannot be answered as Java does: constructs for which Java's matcher has ways of its own.

use super::{Fault, Greed, Node, Parsed, Span};

/// Checks the tree; says whether it can be decided only for names without characters above U+FFFF.
pub(super) fn check(parsed: &Parsed) -> Result<bool, Fault> {
    Checker { parsed, bmp_only: false }.run()
}

struct Checker<'p> {
    parsed: &'p Parsed,
    bmp_only: bool,
}

/// What a node is inside of.
#[derive(Debug, Clone, Copy, Default)]
struct Around {
    /// An atomic group or a possessive repetition: the first way to match is final, so the order of the ways matters.
    committed: bool,
    /// Any of those, look-around or any repetition: Java does not always reset the groups inside when it backtracks.
    leaky: bool,
    repeated: bool,
}

impl Checker<'_> {
    fn run(mut self) -> Result<bool, Fault> {
        self.node(&self.parsed.root, Around::default())?;
        Ok(self.bmp_only)
    }

    fn node(&mut self, node: &Node, mut around: Around) -> Result<(), Fault> {
        match node {
            Node::Capture(number, _) if around.leaky => {
                if let Some((_, span)) =
                    self.parsed.references.iter().find(|(referenced, _)| referenced == number)
                {
                    let why =
                        "a back-reference to a group inside a repetition, look-around or an atomic group";
                    return Err(Fault::unsupported(*span, why));
                }
            }
            Node::LineBreak(span) if around.repeated => {
                return Err(Fault::unsupported(*span, "Java repeats `\\R` in its own way; use `\\v`"));
            }
            Node::Atomic(_) => (around.leaky, around.committed) = (true, true),
            Node::Look { behind, body, span, .. } => {
                around.leaky = true;
                if *behind {
                    self.look_behind(body, *span)?;
                }
            }
            Node::Repeat { body, min, max, kind, span } => {
                let counted = *min > 1 || max.is_some_and(|max| max > 1);
                let looping =
                    |node: &Node| matches!(node, Node::Repeat { kind: Greed::Greedy | Greed::Lazy, .. });
                // Java remembers where an inner repetition has failed without regard to the count of the outer one.
                if counted && body.any(&committing) && body.any(&looping) {
                    let why = "a counted repetition of a repetition next to an atomic group or possessive quantifier";
                    return Err(Fault::unsupported(*span, why));
                }
                (around.repeated, around.leaky) = (true, true);
                around.committed |= *kind == Greed::Possessive;
                if body.consumes() && nullable(body) {
                    Self::nullable_repeat(body, *min, *span, around)?;
                }
            }
            _ => {}
        }
        node.children().iter().try_for_each(|child| self.node(child, around))
    }

    /// A round that takes nothing ends a repetition at once in Java, even below its lower bound.
    fn nullable_repeat(body: &Node, min: u32, span: Span, around: Around) -> Result<(), Fault> {
        let conditional = |node: &Node| {
            committing(node)
                || matches!(node, Node::Assert(_) | Node::End(_) | Node::Look { .. } | Node::Reference(_))
        };
        let why = if around.committed {
            "repeating what can be empty inside an atomic group or possessively"
        } else if min >= 2 && body.any(&conditional) {
            "repeating what can be empty under a condition at least twice"
        } else {
            return Ok(());
        };
        Err(Fault::unsupported(span, why))
    }

    fn look_behind(&mut self, body: &Node, span: Span) -> Result<(), Fault> {
        let branches = match body {
            Node::Alternatives(branches) => branches.as_slice(),
            other => std::slice::from_ref(other),
        };
        for branch in branches {
            let Some(width) = width(branch) else {
                return Err(Fault::unsupported(
                    span,
                    "a look-behind needs alternatives of one fixed length each",
                ));
            };
            self.bmp_only |= branch.any(&|node| counts_units(node, width == 1));
        }
        Ok(())
    }
}

/// Whether the node makes its first way to match final.
fn committing(node: &Node) -> bool {
    matches!(node, Node::Atomic(..) | Node::Repeat { kind: Greed::Possessive, .. })
}

/// Whether the node can match without taking a character.
fn nullable(node: &Node) -> bool {
    match node {
        Node::Set(_) | Node::LineBreak(_) => false,
        Node::Concat(nodes) => nodes.iter().all(nullable),
        Node::Alternatives(nodes) => nodes.iter().any(nullable),
        Node::Capture(_, body) | Node::Atomic(body) => nullable(body),
        Node::Repeat { body, min, .. } => *min == 0 || nullable(body),
        Node::Reference(_) | Node::Look { .. } | Node::End(_) | Node::Assert(_) => true,
    }
}

/// The number of characters a node always takes.
fn width(node: &Node) -> Option<u32> {
    match node {
        Node::Set(_) => Some(1),
        Node::Concat(nodes) => nodes.iter().try_fold(0_u32, |sum, node| sum.checked_add(width(node)?)),
        Node::Alternatives(nodes) => {
            let (first, rest) = nodes.split_first()?;
            let first = width(first)?;
            rest.iter().all(|node| width(node) == Some(first)).then_some(first)
        }
        Node::Capture(_, body) | Node::Atomic(body) => width(body),
        // Java rejects some look-behinds that repeat what has no width, a choice or a repetition, or repeat `{0}` times.
        Node::Repeat { body, min, max, .. } if *max == Some(*min) && *min > 0 => {
            let choice = |node: &Node| matches!(node, Node::Alternatives(_) | Node::Repeat { .. });
            let width = width(body).filter(|width| *width > 0 && !body.any(&choice))?;
            width.checked_mul(*min)
        }
        Node::Repeat { .. } | Node::Reference(_) | Node::LineBreak(_) => None,
        Node::Look { .. } | Node::End(_) | Node::Assert(_) => Some(0),
    }
}

/// Whether this is a set that could take a character above U+FFFF, so that stepping back by code points and by UTF-16
/// units differ. A single class that takes all of them is safe: Java tests the low surrogate alone, with the same answer.
fn counts_units(node: &Node, single: bool) -> bool {
    let Node::Set(set) = node else { return false };
    match (set.covers(0xd800, 0xdfff), set.covers(0x1_0000, 0x10_ffff)) {
        (_, Some(false)) => false,
        (Some(true), Some(true)) => !single,
        _ => true,
    }
}
