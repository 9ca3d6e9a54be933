//! The reference of configuration keys in `docs/configuration.md` says what the code does.
//!
//! Run with `REFGATE_WRITE_DOCS=1` to write the tables anew after a key has changed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use refgate_host::Config;
use refgate_host::config::{KeyDoc, Subsection, reference};

const BEGIN: &str = "<!-- keys: written by host/tests/configuration_doc.rs, see there -->\n";
const END: &str = "<!-- keys: end -->\n";

fn page() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (path, text)
}

/// `[section "subsection"]`, as in the file.
fn header(doc: &KeyDoc) -> String {
    match doc.subsection {
        Subsection::None => format!("[{}]", doc.section),
        Subsection::Named(name) => format!("[{} \"{name}\"]", doc.section),
        Subsection::Any => format!("[{} \"NAME\"]", doc.section),
    }
}

fn key(doc: &KeyDoc) -> String {
    if doc.key == "*" { "any key".to_owned() } else { format!("`{}`", doc.key) }
}

/// The tables, one per section, then one of the keys that are accepted and not used.
fn tables() -> String {
    let mut out = String::new();
    let mut open = String::new();
    for doc in reference().iter().filter(|doc| doc.used) {
        if header(doc) != open {
            open = header(doc);
            let titles = "| key | value | default | meaning |\n|---|---|---|---|";
            writeln!(out, "\n### `{open}`\n\n{titles}").unwrap();
        }
        let several = if doc.multi { ", several" } else { "" };
        let default = if doc.default.is_empty() { "none".to_owned() } else { format!("`{}`", doc.default) };
        writeln!(out, "| {} | {}{several} | {default} | {} |", key(doc), doc.kind.name(), doc.doc).unwrap();
    }
    out.push_str("\n### Accepted, not used\n\n");
    out.push_str("Keys of `multi-site.config` that this release does nothing with. ");
    out.push_str("`refgate config check` lists those that a file has.\n\n");
    out.push_str("| section | key | value | meaning |\n|---|---|---|---|\n");
    for doc in reference().iter().filter(|doc| !doc.used) {
        writeln!(out, "| `{}` | {} | {} | {} |", header(doc), key(doc), doc.kind.name(), doc.doc).unwrap();
    }
    out.push('\n');
    out
}

#[test]
fn every_key_stands_in_the_reference() {
    let (path, text) = page();
    let (before, rest) = text.split_once(BEGIN).expect("the page has the line that begins the tables");
    let (written, after) = rest.split_once(END).expect("the page has the line that ends the tables");
    let tables = tables();
    if std::env::var_os("REFGATE_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{tables}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        written, tables,
        "docs/configuration.md has drifted from the code: run this test with REFGATE_WRITE_DOCS=1"
    );
}

#[test]
fn every_kind_of_value_is_explained() {
    let (_, text) = page();
    let kinds: BTreeSet<&str> = reference().iter().map(|doc| doc.kind.name()).collect();
    for kind in kinds {
        assert!(text.contains(&format!("\n| {kind} |")), "docs/configuration.md does not explain `{kind}`");
    }
}

/// Examples are the code blocks without a language.
#[test]
fn every_example_is_a_configuration() {
    let (_, text) = page();
    let examples: Vec<&str> =
        text.split("\n```").skip(1).step_by(2).filter_map(|block| block.strip_prefix('\n')).collect();
    assert!(!examples.is_empty(), "docs/configuration.md has no example");
    let dir = tempfile::tempdir().unwrap();
    for example in examples {
        let file = dir.path().join("refgate.config");
        std::fs::write(&file, example).unwrap();
        match Config::load(&file) {
            Ok(config) => assert!(config.unused.is_empty(), "not used: {:?}", config.unused),
            Err(e) => panic!("an example in docs/configuration.md is refused:\n{e}\n{example}"),
        }
    }
}
