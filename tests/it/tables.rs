//! The tables of docs/concepts.md and the cases of push.json and fetch.json are those of tests/cases/table.txt.
//!
//! Run with `REFGATE_WRITE_DOCS=1` to write them anew after a row has changed.

use std::fs;

use crate::tree::{read, root};

/// A row that becomes a case: what is known of a checked branch or tag, and what follows.
struct Row<'t> {
    direction: &'t str,
    sentence: &'t str,
    after_wait: bool,
    flags: &'t str,
    global: &'t str,
    local: &'t str,
    remote: &'t str,
    history: &'t str,
    verdict: &'t str,
}

fn table() -> String {
    read("tests/cases/table.txt")
}

/// Compares a file with what it should hold, or writes it.
fn agrees(path: &str, expected: &str) {
    let path = root().join(path);
    if std::env::var_os("REFGATE_WRITE_DOCS").is_some() {
        return fs::write(&path, expected).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    let differ = text.lines().zip(expected.lines()).position(|(have, want)| have != want);
    assert!(
        text == expected,
        "{} differs from tests/cases/table.txt in line {}: run this test with REFGATE_WRITE_DOCS=1",
        path.display(),
        differ.map_or("the end".to_owned(), |at| (at + 1).to_string())
    );
}

#[test]
fn the_tables_of_the_documents_are_those_of_the_file() {
    let table = table();
    let mut written = read("docs/concepts.md");
    for (direction, columns, least) in
        [("push", "| G | L | R | verdict |", 12), ("fetch", "| G | R | L | verdict |", 14)]
    {
        let part = table.split(&format!("\n[{direction}]\n")).nth(1).unwrap().split("\n[").next().unwrap();
        let rows: Vec<&str> = part.lines().filter(|line| line.starts_with('|')).collect();
        assert!(rows.len() >= least, "{direction}: {} lines", rows.len());
        let head = format!(
            "<!-- table: {direction}, written by tests/it/tables.rs -->\n{columns}\n|---|---|---|---|\n"
        );
        let (before, rest) = written.split_once(&head).unwrap_or_else(|| panic!("the page lacks {head}"));
        let after = rest.split_once("\n\n").unwrap().1;
        written = format!("{before}{head}{}\n\n{after}", rows.join("\n"));
    }
    agrees("docs/concepts.md", &written);
}

#[test]
fn the_cases_of_the_tables_are_those_of_the_file() {
    let table = table();
    for (direction, least) in [("push", 55), ("fetch", 55)] {
        let rows = rows(&table, direction);
        assert!(rows.len() >= least, "{direction}: {} rows", rows.len());
        let cases: Vec<String> = rows.iter().map(case).collect();
        agrees(
            &format!("tests/cases/{direction}.json"),
            &format!("{{\"cases\": [\n{}\n]}}\n", cases.join(",\n")),
        );
    }
}

fn rows<'t>(table: &'t str, direction: &'t str) -> Vec<Row<'t>> {
    let part = table.split(&format!("\n[{direction}]\n")).nth(1).unwrap();
    let (mut rows, mut sentence) = (Vec::new(), "");
    for line in part.split("\n[").next().unwrap().lines() {
        if !line.starts_with("    ") {
            sentence = line;
        } else if !sentence.starts_with('(') {
            let (left, verdict) = line.split_once(" -> ").unwrap();
            let fields: Vec<&str> = left.split('|').map(str::trim).collect();
            let head: Vec<&str> = fields[0].split_whitespace().collect();
            let flags = head.get(2).copied().unwrap_or_default();
            assert!(
                head[0] == "checked" && flags.chars().all(|c| "+dt".contains(c)),
                "no case can be made: {line}"
            );
            rows.push(Row {
                direction,
                sentence,
                after_wait: head[1] == "1",
                flags,
                global: fields[1],
                local: fields[2],
                remote: fields[3],
                history: fields[4],
                verdict,
            });
        }
    }
    rows
}

/// The id that a letter stands for, as JSON; `null` for none.
fn oid(letter: &str) -> String {
    match letter {
        "-" => "null".to_owned(),
        letter => format!("\"{}\"", letter.repeat(40)),
    }
}

fn entry(global: &str) -> String {
    match global {
        "none" => "null".to_owned(),
        "locked" => "\"!locked\"".to_owned(),
        "error" => "\"!unavailable\"".to_owned(),
        letter => oid(letter),
    }
}

/// A row after the wait is reached from an entry that neither side has, `f`, and an update that was there, `e`.
fn case(row: &Row<'_>) -> String {
    let name = if row.flags.contains('t') { "refs/tags/x" } else { "refs/heads/x" };
    let (push, deletion) = (row.direction == "push", row.flags.contains('d'));
    let source = if push { row.local } else { row.remote };
    let offered = match row.after_wait {
        true if deletion => "-",
        true if source == "-" => "e",
        _ => source,
    };
    let mut lines = vec![format!("  {{\"name\": \"{}\",", row.sentence)];
    let config = match (row.history, push) {
        ("ungated", true) => {
            ", \"remote\": \"site-b\",\n   \"config\": {\"remote.site-b.writes\": [\"ungated\"]},"
        }
        ("ungated", false) => ",\n   \"config\": {\"site.writes\": [\"ungated\"]},",
        _ => ",",
    };
    lines.push(format!("   \"direction\": \"{}\", \"project\": \"team/app\"{config}", row.direction));
    let first = if push { offered } else { row.local };
    lines.push(match first {
        "-" => "   \"local\": {},".to_owned(),
        first => format!("   \"local\": {{\"{name}\": {}}},", oid(first)),
    });
    if first != row.local {
        lines.push(format!("   \"local_after_wait\": {{\"{name}\": {}}},", oid(row.local)));
    }
    let global = entry(row.global);
    let entries = if row.after_wait { format!("[{}, {global}]", oid("f")) } else { global };
    lines.push(format!("   \"refdb\": {{\"{name}\": {entries}}},"));
    let mut offer = vec![format!("\"ref\": \"{name}\"")];
    if push {
        offer.push(format!("\"new\": {}, \"old\": {}", oid(offered), oid(row.remote)));
    } else if row.remote != "?" {
        offer.push(format!("\"new\": {}", oid(offered)));
        if offered != source {
            offer.push(format!("\"new_after_wait\": {}", oid(source)));
        }
    }
    offer.push(format!("\"force\": {}", row.flags.contains('+')));
    match row.history {
        "no" => offer.push("\"diverged\": true".to_owned()),
        "superseded" | "ungated" => offer.push("\"superseded\": true".to_owned()),
        _ => {}
    }
    lines.push(format!("   \"offer\": [{{{}}}],", offer.join(", ")));
    let (rechecks, verdict) =
        row.verdict.strip_prefix("recheck ").map_or((false, row.verdict), |v| (true, v));
    // With names only it is the ref-db's value, if it has one.
    let new = match source {
        "?" if row.global == "none" => String::new(),
        "?" => format!(", \"new\": {}", oid(row.global)),
        source => format!(", \"new\": {}", oid(source)),
    };
    let (keep, discard) = match verdict {
        "keep" => (format!("{{\"ref\": \"{name}\"{new}}}"), String::new()),
        reason => (String::new(), format!("{{\"ref\": \"{name}\", \"reason\": \"{reason}\"}}")),
    };
    let waits = u8::from(row.after_wait || rechecks);
    lines.push(format!(
        "   \"expect\": {{\"keep\": [{keep}], \"discard\": [{discard}], \"waits\": {waits}}}}}"
    ));
    lines.join("\n")
}
