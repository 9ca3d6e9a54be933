//! Checks of the documentation: lists are whole, and links lead somewhere. Commands and their options are checked beside the
//! program, configuration keys beside their table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use refgate_core::Reason;

use crate::tree::{nothing, read, root, sources};

/// The pages for people, by their path from the root.
fn pages() -> BTreeMap<String, String> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let docs =
        docs.map(|name| format!("docs/{}", name.to_string_lossy())).filter(|path| path.ends_with(".md"));
    let others = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned);
    let tests = ["", "cases/", "scenarios/", "fixtures/"].map(|dir| format!("tests/{dir}README.md"));
    let pages: BTreeMap<_, _> =
        docs.chain(others).chain(tests).map(|path| (path.clone(), read(&path))).collect();
    assert!(pages.len() > 12, "{:?}", pages.keys());
    pages
}

/// A page without what stands in code blocks.
fn prose(page: &str) -> String {
    page.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The sentences of a page, in lower case and each blank one space: no code blocks, nothing in back quotes.
fn sentences(page: &str) -> String {
    let prose = prose(page);
    let words: String = prose.split('`').step_by(2).collect::<Vec<_>>().join(" ").to_lowercase();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Words that the glossary gives one meaning, in the phrases in which they had another.
#[test]
fn pages_use_the_words_of_the_glossary() {
    let others = [
        // A round of a decision is a pass.
        (
            "pass",
            [
                "first look",
                "second look",
                "look 0",
                "look 1",
                "each look",
                "every look",
                "a look of",
                "this look",
            ],
        ),
        // A record is what a gated write leaves; the ref-db is a store of entries.
        (
            "entry, store or recording",
            [
                "shared record",
                "record of the newest",
                "record of a deletion",
                "record of deletions",
                "records of deletions",
                "no record names",
                "unreadable record",
                "version record",
            ],
        ),
    ];
    let glossary = read("docs/glossary.md");
    let mut found = Vec::new();
    for (path, page) in pages() {
        let text = sentences(&page);
        for (word, phrases) in &others {
            found.extend(
                phrases.iter().filter(|p| text.contains(**p)).map(|p| format!("{path}: {p}: say {word}")),
            );
        }
    }
    for word in ["pass", "record", "recording", "entry", "row", "facts", "verdict", "shadow"] {
        assert!(glossary.contains(&format!("\n| **{word}** | ")), "the glossary lacks `{word}`");
    }
    nothing(found, "words that mean something else");
}

/// The anchors that a page has: of each heading what remains when it is lower case, without marks, with dashes.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    let mut found = BTreeSet::new();
    for heading in headings {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let again = (1..).map(|n| format!("{anchor}-{n}"));
        let free = [anchor.clone()].into_iter().chain(again).find(|a| !found.contains(a));
        found.insert(free.expect("there is always another number"));
    }
    found
}

/// What the links of a page lead to: `[text](target)`, and `[name]: target` at the beginning of a line.
fn links(page: &str) -> Vec<String> {
    let text = prose(page);
    let inline = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(to, _)| to);
    let named = text.lines().filter(|line| line.starts_with('[')).filter_map(|line| line.split_once("]: "));
    inline.chain(named.map(|(_, to)| to)).map(str::to_owned).collect()
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let (mut found, mut count) = (Vec::new(), 0);
    for (path, text) in &pages {
        for link in links(text).into_iter().filter(|link| !link.contains("://")) {
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => root().join(path),
                file => root().join(path).parent().unwrap().join(file),
            };
            if !target.exists() {
                found.push(format!("{path}: {link}"));
            } else if !anchor.is_empty() {
                let page = fs::read_to_string(&target).unwrap_or_default();
                if !anchors(&page).contains(anchor) {
                    found.push(format!("{path}: {link}: there is no such heading"));
                }
            }
        }
    }
    assert!(count > 100, "only {count} links were found");
    nothing(found, "links that lead nowhere");
}

#[test]
fn files_that_pages_name_exist() {
    let (mut found, mut count) = (Vec::new(), 0);
    let dirs = ["docs/", "filters/", "guest/", "host/", "tests/", "wit/"];
    // Words in capitals stand for something else.
    let is_path = |name: &&str| {
        let stands_for = |part: &str| part.len() > 1 && part.bytes().all(|b| b.is_ascii_uppercase());
        dirs.iter().any(|dir| name.starts_with(dir))
            && !name.contains(['*', ' ', '…'])
            && !name.split('/').any(stands_for)
    };
    for (path, page) in pages() {
        let prose = prose(&page);
        for name in prose.split('`').skip(1).step_by(2).filter(is_path) {
            count += 1;
            if !root().join(name).exists() {
                found.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(count > 20, "only {count} names were found");
    nothing(found, "files that do not exist");
}

/// Names of types, and of what they have, in the page for those who call them.
#[test]
fn types_that_the_page_on_embedding_names_exist() {
    let code: String =
        sources().filter(|(path, _)| path.starts_with("host/")).map(|(_, text)| text).collect();
    let words: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let page = prose(&read("docs/embedding.md"));
    let is_type = |name: &&str| {
        let has_capitals =
            name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains(['.', ' ', '=']);
        has_capitals && name.contains(|c: char| c.is_ascii_lowercase())
    };
    let (mut found, mut count) = (Vec::new(), 0);
    for name in page.split('`').skip(1).step_by(2).filter(is_type) {
        count += 1;
        let parts = name.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|part| !part.is_empty());
        found.extend(parts.filter(|part| !words.contains(part)).map(|part| format!("{name}: {part}")));
    }
    assert!(count > 10, "only {count} names were found");
    nothing(found, "names that the code does not have");
}

#[test]
fn the_code_map_has_every_module_and_no_other() {
    let page = read("ARCHITECTURE.md");
    for dir in ["host/core/src", "host/src", "host/runtime/src"] {
        let cells = first_cells(&page, &format!("\n`{dir}`:\n"));
        let named: BTreeSet<&str> = cells.iter().flat_map(|cell| cell.split("`, `")).collect();
        let entries = fs::read_dir(root().join(dir)).unwrap().map(|entry| entry.unwrap().path());
        let modules = entries.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned());
        // Tests of a module stand beside it; the bindings are generated.
        let modules: BTreeSet<String> =
            modules.filter(|name| !["lib", "tests", "bindings"].contains(&name.as_str())).collect();
        assert_eq!(named, modules.iter().map(String::as_str).collect(), "{dir}");
    }
}

/// The first cells of the table below the heading `heading`, without their back quotes.
fn first_cells<'p>(page: &'p str, heading: &str) -> Vec<&'p str> {
    let part = page.split(heading).nth(1).unwrap_or_else(|| panic!("there is no `{heading}`"));
    let rows = part.lines().skip_while(|l| !l.starts_with("|--")).skip(1).take_while(|l| l.starts_with("| "));
    rows.filter_map(|row| row[2..].split(" |").next()).map(|cell| cell.trim_matches('`')).collect()
}

#[test]
fn every_reason_and_no_other_is_explained() {
    let page = read("docs/concepts.md");
    let mut explained = first_cells(&page, "\n### Reasons\n");
    assert_eq!(explained.pop(), Some("any other"), "filters have reasons of their own");
    let all: BTreeSet<String> = Reason::ALL.iter().map(Reason::to_string).collect();
    assert_eq!(explained.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), all);
}

#[test]
fn every_exit_code_is_explained() {
    let page = read("docs/cli.md");
    assert_eq!(first_cells(&page, "\n## Exit codes\n"), ["0", "1", "2", "3"]);
}

/// The forms of ref-db URLs are listed in several places, in pages and in messages.
#[test]
fn every_list_of_stores_names_all() {
    let mut places = pages();
    for path in ["host/refdb/src/url.rs", "host/src/config/table.rs"] {
        places.insert(path.to_owned(), read(path));
    }
    let source = &places["host/refdb/src/url.rs"];
    let arms = source.split("match scheme {").nth(1).unwrap().split("_ => Err").next().unwrap();
    let patterns = arms.lines().filter_map(|line| line.split_once(" => ")).map(|(pattern, _)| pattern);
    let schemes: BTreeSet<&str> =
        patterns.flat_map(|pattern| pattern.split('"').skip(1).step_by(2)).collect();
    assert!(schemes.len() >= 5 && schemes.contains("sqlite"), "{schemes:?}");
    let (mut found, mut lists) = (Vec::new(), 0);
    for (path, text) in &places {
        // A list is a paragraph, a table or a line of code that shows how two or more kinds are written.
        let parts = text.split(if path.ends_with(".rs") { "\n" } else { "\n\n" });
        for part in parts {
            let has = |scheme: &&&str| part.contains(&format!("`{scheme}:"));
            let shows = ["`sqlite:PATH", "`zookeeper://HOST", "`etcd://HOST"];
            if shows.iter().filter(|form| part.contains(**form)).count() > 1 {
                lists += 1;
                let missing: Vec<_> = schemes.iter().filter(|scheme| !has(scheme)).collect();
                if !missing.is_empty() {
                    found.push(format!("{path}: {missing:?} in {}", part.lines().next().unwrap_or_default()));
                }
            }
        }
    }
    assert!(lists >= 4, "only {lists} lists were found");
    nothing(found, "lists of ref-db URLs that lack a kind of store");
}

#[test]
fn every_state_bit_is_explained() {
    let sources = ["guest/src/state.rs", "host/core/src/batch.rs"].map(read);
    let bits = sources.each_ref().map(|source| {
        let constants =
            source.split("pub const ").skip(1).filter_map(|rest| rest.split_once(": u32 = 1 << "));
        let number = |rest: &str| rest.split(';').next().unwrap().to_owned();
        constants.map(|(name, rest)| format!("| {} | `{name}` | ", number(rest))).collect::<Vec<_>>()
    });
    assert_eq!(bits[0], bits[1]);
    assert!(bits[0].len() > 16, "{:?}", bits[0]);
    let page = read("docs/writing-a-filter.md");
    let missing = bits[0].iter().filter(|row| !page.contains(*row)).cloned();
    nothing(missing.collect(), "rows that docs/writing-a-filter.md lacks");
    assert!(page.contains(&format!("\nBits above {} are 0 today", bits[0].len() - 1)));
    let tools = read("docs/authors-tools.md");
    assert!(tools.contains(&format!(" of {}, missing push ", bits[0].len())), "the example of coverage");
}

/// What a pusher may read stands in the page about gated writes, message by message.
#[test]
fn every_refusal_of_a_push_is_explained() {
    let source = read("host/src/gated/why.rs");
    let body = source.split("fn reason(").nth(1).unwrap().split("\n    }\n").next().unwrap();
    let page = read("docs/gated-writes.md").replace('`', "");
    let (mut found, mut count) = (Vec::new(), 0);
    for text in body.split('"').skip(1).step_by(2) {
        // A message holds values where the page has dots or a word in capitals.
        let longest = text.split(['{', '}']).step_by(2).max_by_key(|part| part.len()).unwrap_or_default();
        let part = longest.replace('`', "");
        count += 1;
        if !page.contains(part.trim()) {
            found.push(format!("`{text}`"));
        }
    }
    assert!(count > 25, "only {count} messages were found");
    nothing(found, "refusals that docs/gated-writes.md does not explain");
}

/// The keys of the files that people write beside the configuration: those of every struct that refuses unknown ones.
fn keys(source: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for part in source.split("deny_unknown_fields").skip(1) {
        let (attribute, body) = part.split_once("\n").unwrap();
        let mut renamed = None;
        for line in body.split("\n}\n").next().unwrap().lines().map(str::trim) {
            if let Some((_, rest)) = line.split_once("rename = \"") {
                renamed = rest.split('"').next().map(str::to_owned);
            }
            let Some((name, _)) = line.trim_start_matches("pub ").split_once(": ") else { continue };
            if !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                let kebab = attribute.contains("kebab-case");
                let plain = if kebab { name.replace('_', "-") } else { name.to_owned() };
                keys.push(renamed.take().unwrap_or(plain));
            }
        }
    }
    keys
}

#[test]
fn every_key_of_files_beside_the_configuration_is_explained() {
    let mut found = Vec::new();
    for (source, page, least) in [
        ("host/runtime/src/policy.rs", "docs/plugins.md", 19),
        ("host/runtime/src/manifest/source.rs", "docs/writing-a-filter.md", 8),
        ("host/src/cases/format.rs", "docs/writing-a-filter.md", 25),
    ] {
        let (keys, text) = (keys(&read(source)), read(page));
        assert!(keys.len() >= least, "{source}: {keys:?}");
        let shown = |key: &String| {
            let forms = [format!("`{key}`"), format!("\n{key} = "), format!("\n[{key}]")];
            forms.iter().any(|form| text.contains(form))
        };
        found.extend(keys.iter().filter(|key| !shown(key)).map(|key| format!("{page}: {key}")));
    }
    nothing(found, "keys that their page does not explain");
}
