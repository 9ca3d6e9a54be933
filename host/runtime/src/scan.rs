//! A look at the bytes of a component before anything parses or compiles it: how much there is of everything.
//!
//! A small file can ask for very much: what nests makes parsers and the compiler take time and memory by the square of its
//! depth or worse. Both passes here go once over the bytes and keep next to nothing, without recursion. They judge amounts
//! alone; whether the file is a component at all is for the compiler to say.

use std::ops::Range;

use wasmparser::{
    BinaryReader, BinaryReaderError, ComponentExportSectionReader, ComponentImportSectionReader,
    ExportSectionReader, FunctionBody, ImportSectionReader, Operator,
};

use crate::inspect::check_header;
use crate::sections::number;

/// Components and modules within one another. Composing tools add a level or two each.
const DEPTH: usize = 32;

/// Components and modules in one file. One that embeds CPython has about 40.
const PARTS: usize = 1_000;

/// Items of one kind in one file, all its modules and components together: types, imports, exports, and so on. CPython
/// with its libraries stays below 20,000 of each.
const ITEMS: usize = 200_000;

/// Functions of one file, all its modules together. A JavaScript engine has about 30,000.
const FUNCTIONS: usize = 200_000;

/// Bytes of one name of an import or export.
const NAME_BYTES: usize = 16 << 10;

/// Openings of types of components and instances in one section: a bound on how deep they nest.
const TYPE_OPENINGS: usize = 1_000;

/// Bytes of one function. The largest of CPython, its interpreter, has 200 KB.
const BODY_BYTES: usize = 4 << 20;

/// Locals of one function, its parameters aside.
const LOCALS: u64 = 20_000;

/// Blocks, loops and conditions of one function within one another. Large `match`es nest a block per arm.
const CONTROL_DEPTH: usize = 5_000;

/// Loops of one function within one another. The compiler takes time by the square of it.
const LOOP_DEPTH: usize = 100;

/// Blocks, loops and conditions of one function times its locals: what the compiler follows through all of them.
const FLOW: u64 = 50_000_000;

/// What is counted over the whole file.
#[derive(Clone, Copy)]
enum Kind {
    Types,
    Imports,
    Exports,
    Functions,
    Instances,
    Aliases,
    Canonicals,
    Globals,
    Tables,
    Segments,
}

impl Kind {
    const ALL: usize = 10;

    fn name(self) -> &'static str {
        match self {
            Kind::Types => "types",
            Kind::Imports => "imports",
            Kind::Exports => "exports",
            Kind::Functions => "functions",
            Kind::Instances => "instances",
            Kind::Aliases => "aliases",
            Kind::Canonicals => "lifted and lowered functions",
            Kind::Globals => "globals",
            Kind::Tables => "tables, memories and tags",
            Kind::Segments => "segments",
        }
    }
}

/// A component or a module whose end is not reached yet.
#[derive(Clone, Copy)]
struct Open {
    end: usize,
    is_component: bool,
}

/// Whether a component has no more of anything than what is read at all: a look that costs next to nothing, before something
/// else parses it.
///
/// # Errors
/// It is no component or not whole, or there is too much of something.
pub fn check_amounts(wasm: &[u8]) -> Result<(), String> {
    check_header(wasm)?;
    outline(wasm).map(drop)
}

/// Sections that hold functions.
pub(crate) struct Outline {
    /// Where their contents are.
    code: Vec<Range<usize>>,
}

/// Whether what `wasm` consists of is within bounds; functions are only counted. The bytes begin as a component does.
///
/// # Errors
/// What exceeds which bound, and where; or a section is not whole.
pub(crate) fn outline(wasm: &[u8]) -> Result<Outline, String> {
    let mut open = vec![Open { end: wasm.len(), is_component: true }];
    let (mut at, mut parts) = (8, 0);
    let mut counts = [0usize; Kind::ALL];
    let mut code = Vec::new();
    while let Some(here) = open.last().copied() {
        if at >= here.end {
            open.pop();
            continue;
        }
        let start = at;
        let not_whole = || {
            format!(
                "it is damaged or cut off: the section at byte {start} is not whole; build or copy it again"
            )
        };
        let id = wasm[at];
        let (size, from) = number(wasm, at + 1).ok_or_else(not_whole)?;
        let end = from.checked_add(size).filter(|end| *end <= here.end).ok_or_else(not_whole)?;
        at = end;
        if here.is_component && (id == 1 || id == 4) {
            parts += 1;
            over("it", parts, PARTS, "components and modules")?;
            over(
                &format!("what begins at byte {start}"),
                open.len(),
                DEPTH,
                "levels of components around it",
            )?;
            open.push(Open { end, is_component: id == 4 });
            // The magic number and the version.
            at = from.saturating_add(8).min(end);
            continue;
        }
        let Some(kind) = kind(here.is_component, id) else { continue };
        let data = &wasm[from..end];
        // What cannot be read has no items for anybody.
        let count = number(data, 0).map_or(0, |(count, _)| count);
        let total = &mut counts[kind as usize];
        *total = total.saturating_add(count);
        over("it", *total, if let Kind::Functions = kind { FUNCTIONS } else { ITEMS }, kind.name())?;
        match (here.is_component, kind) {
            (_, Kind::Functions) => code.push(from..end),
            (true, Kind::Types) => {
                let opens = |pair: &&[u8]| matches!(pair, [1, 0x41 | 0x42]);
                let openings = data.windows(2).filter(opens).count();
                let place = format!("the section of types at byte {start}");
                over(&place, openings, TYPE_OPENINGS, "types of components and instances that could nest")?;
            }
            (_, Kind::Imports | Kind::Exports) => {
                names(here.is_component, kind, data, from)?;
            }
            _ => {}
        }
    }
    Ok(Outline { code })
}

fn kind(is_component: bool, id: u8) -> Option<Kind> {
    Some(match (is_component, id) {
        (true, 3 | 7) | (false, 1) => Kind::Types,
        (true, 10) | (false, 2) => Kind::Imports,
        (true, 11) | (false, 7) => Kind::Exports,
        (true, 2 | 5) => Kind::Instances,
        (true, 6) => Kind::Aliases,
        (true, 8) => Kind::Canonicals,
        (false, 6) => Kind::Globals,
        (false, 4 | 5 | 13) => Kind::Tables,
        (false, 9 | 11) => Kind::Segments,
        (false, 10) => Kind::Functions,
        // Custom sections, and those that hold one thing or repeat a count.
        _ => return None,
    })
}

fn names(is_component: bool, kind: Kind, data: &[u8], offset: usize) -> Result<(), String> {
    let reader = BinaryReader::new(data, offset);
    let check = |name: &str| over("it has a name that", name.len(), NAME_BYTES, "bytes");
    match (is_component, kind) {
        (true, Kind::Imports) => {
            for import in ComponentImportSectionReader::new(reader).map_err(unusable)? {
                check(import.map_err(unusable)?.name.name)?;
            }
        }
        (true, _) => {
            for export in ComponentExportSectionReader::new(reader).map_err(unusable)? {
                check(export.map_err(unusable)?.name.name)?;
            }
        }
        (false, Kind::Imports) => {
            for import in ImportSectionReader::new(reader).map_err(unusable)?.into_imports() {
                let import = import.map_err(unusable)?;
                check(import.module)?;
                check(import.name)?;
            }
        }
        (false, _) => {
            for export in ExportSectionReader::new(reader).map_err(unusable)? {
                check(export.map_err(unusable)?.name)?;
            }
        }
    }
    Ok(())
}

/// Whether every function that `outline` found is within bounds.
///
/// # Errors
/// What exceeds which bound, and where.
pub(crate) fn bodies(wasm: &[u8], outline: &Outline) -> Result<(), String> {
    for section in &outline.code {
        let data = &wasm[section.clone()];
        let Some((count, mut at)) = number(data, 0) else { continue };
        for index in 0..count {
            let place = section.start + at;
            let whole = number(data, at)
                .and_then(|(size, from)| data.get(from..from.checked_add(size)?).map(|body| (from, body)));
            let Some((from, body)) = whole else {
                return Err(format!(
                    "it is damaged or cut off: the function at byte {place} is not whole; build or copy it again"
                ));
            };
            at = from + body.len();
            let shown = format!("its function {index} at byte {place}");
            over(&shown, body.len(), BODY_BYTES, "bytes")?;
            function(&shown, FunctionBody::new(BinaryReader::new(body, section.start + from)))?;
        }
    }
    Ok(())
}

fn function(shown: &str, body: FunctionBody<'_>) -> Result<(), String> {
    let mut locals = 0u64;
    for declared in body.get_locals_reader().map_err(unusable)? {
        locals += u64::from(declared.map_err(unusable)?.0);
        over(shown, locals, LOCALS, "locals")?;
    }
    let mut operators = body.get_operators_reader().map_err(unusable)?;
    // Whether each block that is open is a loop.
    let mut open: Vec<bool> = Vec::new();
    let (mut loops, mut blocks) = (0usize, 0u64);
    while !operators.eof() {
        let opens = match operators.read().map_err(unusable)? {
            Operator::Loop { .. } => true,
            Operator::Block { .. }
            | Operator::If { .. }
            | Operator::Try { .. }
            | Operator::TryTable { .. } => false,
            Operator::End | Operator::Delegate { .. } => {
                loops -= usize::from(open.pop().unwrap_or_default());
                continue;
            }
            _ => continue,
        };
        open.push(opens);
        loops += usize::from(opens);
        blocks += 1;
        over(shown, open.len(), CONTROL_DEPTH, "blocks within one another")?;
        over(shown, loops, LOOP_DEPTH, "loops within one another")?;
        over(shown, blocks * (locals + 1), FLOW, "blocks times locals")?;
    }
    Ok(())
}

/// Refuses more than `most` of something.
fn over<N: PartialOrd + std::fmt::Display>(who: &str, count: N, most: N, what: &str) -> Result<(), String> {
    match count > most {
        true => Err(format!("{who} has {count} {what}, and at most {most} are taken: build it smaller")),
        false => Ok(()),
    }
}

fn unusable(e: BinaryReaderError) -> String {
    format!("it is damaged or uses what refgate does not run: {e}")
}

#[cfg(test)]
mod tests;
