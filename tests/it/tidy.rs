//! Checks of the tree itself: what a reviewer would otherwise have to remember.

use std::collections::BTreeSet;
use std::fs;

use toml::Table;

use crate::tree::{files, nothing, root, sources};

/// Every manifest of a package, by the directory it is in.
fn packages() -> Vec<(String, Table)> {
    let manifests = files().into_iter().filter_map(|(path, text)| {
        let dir = path.strip_suffix("/Cargo.toml")?.to_owned();
        Some((dir, text.parse().unwrap()))
    });
    manifests.collect()
}

#[test]
fn files_are_small_and_say_what_they_are_for() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//! ") {
            found.push(format!("{path} does not begin with `//! `"));
        }
        if text.lines().count() > 600 {
            found.push(format!("{path} has more than 600 lines"));
        }
    }
    nothing(found, "files that nobody can read");
}

#[test]
fn a_lint_is_set_aside_for_a_reason() {
    let (mut found, mut seen) = (Vec::new(), 0);
    for (path, text) in sources().filter(|(path, _)| path.contains("/src/") && !path.contains("/tests")) {
        for start in ["#[allow(", "#[expect(", "#![allow(", "#![expect("] {
            for (at, _) in
                text.match_indices(&format!("\n{start}")).chain(text.match_indices(&format!(" {start}")))
            {
                seen += 1;
                let attribute = text[at..].split(")]").next().unwrap_or_default();
                if !attribute.contains("reason = \"") {
                    found.push(format!("{path}: {}", attribute.trim()));
                }
            }
        }
    }
    assert!(seen > 10, "the search finds nothing");
    nothing(found, "lints that are set aside without a reason");
}

#[test]
fn dependencies_point_to_core() {
    let core = ["refgate-core"].as_slice();
    // What each crate may name of ours outside its tests. `cli` and the tests wire everything.
    let allowed = |dir: &str| match dir {
        "host/core" | "guest" | "filters/embed" | "tests/servers" => Some([].as_slice()),
        "host/git" | "host/refdb" | "host/runtime" => Some(core),
        "host" => Some(
            ["refgate-core", "refgate-git", "refgate-refdb", "refgate-runtime", "refgate-filters"].as_slice(),
        ),
        "host/cli" | "tests" | "tests/fuzz" => None,
        dir if dir.starts_with("filters/") || dir.starts_with("tests/programs/") => {
            Some(["refgate-guest"].as_slice())
        }
        other => panic!("nobody has said what `{other}` may depend on"),
    };
    let packages = packages();
    let ours: BTreeSet<&str> =
        packages.iter().map(|(_, manifest)| manifest["package"]["name"].as_str().unwrap()).collect();
    let mut found = Vec::new();
    for (dir, manifest) in &packages {
        let Some(allowed) = allowed(dir) else { continue };
        for name in dependencies(manifest, &["dependencies", "build-dependencies"]) {
            if ours.contains(name.as_str()) && !allowed.contains(&name.as_str()) {
                found.push(format!("{dir} depends on {name}"));
            }
        }
    }
    for (dir, manifest) in &packages {
        let all = dependencies(manifest, &["dependencies", "build-dependencies", "dev-dependencies"]);
        if dir != "host/runtime" && all.iter().any(|name| name.starts_with("wasmtime")) {
            found.push(format!("{dir} names wasmtime"));
        }
    }
    nothing(found, "dependencies that point the wrong way");
}

/// The names under these sections of a manifest, and under the same sections of every target.
fn dependencies(manifest: &Table, sections: &[&str]) -> Vec<String> {
    let targets = manifest.get("target").and_then(|t| t.as_table()).into_iter().flat_map(|t| t.values());
    let tables = std::iter::once(manifest).chain(targets.filter_map(|t| t.as_table()));
    let names = tables.flat_map(|table| {
        let found = sections.iter().filter_map(|s| table.get(*s)).filter_map(|s| s.as_table());
        found.flat_map(|s| s.keys().cloned()).collect::<Vec<_>>()
    });
    names.collect()
}

#[test]
fn bindings_are_generated_in_two_modules() {
    let marks = [concat!("wit_bindgen::", "generate!"), concat!("bindgen", "!(")];
    let found: BTreeSet<String> = sources()
        .filter(|(_, text)| marks.iter().any(|mark| text.contains(mark)))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        ["guest/src/bindings.rs", "host/runtime/src/bindings.rs"]
    );
}

#[test]
fn there_is_one_lock_file_and_every_crate_has_the_lints_of_the_workspace() {
    let locks: Vec<String> =
        files().into_iter().map(|(path, _)| path).filter(|path| path.ends_with("Cargo.lock")).collect();
    assert_eq!(locks, ["Cargo.lock"]);
    let workspace: Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<&str> = members.iter().map(|m| m.as_str().unwrap()).collect();
    let mut found = Vec::new();
    for (dir, manifest) in packages() {
        if !members.contains(dir.as_str()) {
            found.push(format!("{dir} is no member of the workspace"));
        }
        // The example is what a stranger writes, who has no workspace.
        let stranger = dir.starts_with("filters/examples/");
        let lints = manifest.get("lints").and_then(|l| l.get("workspace")).and_then(|w| w.as_bool());
        if !stranger && lints != Some(true) {
            found.push(format!("{dir} lacks `[lints] workspace = true`"));
        }
    }
    nothing(found, "crates beside the rules");
}

#[test]
fn the_guide_shows_the_example_as_it_is() {
    for (page, least) in [("docs/writing-a-filter.md", 3), ("docs/embedding.md", 2)] {
        let guide = fs::read_to_string(root().join(page)).unwrap();
        let mut shown = 0;
        for part in guide.split("<!-- file: ").skip(1) {
            let (path, rest) = part.split_once(" -->\n```").unwrap();
            let (_, code) = rest.split_once('\n').unwrap();
            let (code, _) = code.split_once("\n```").unwrap();
            let file = fs::read_to_string(root().join(path)).unwrap();
            assert_eq!(code.trim_end(), file.trim_end(), "{path} and {page} differ");
            shown += 1;
        }
        assert!(shown >= least, "the marks in {page} are gone");
    }
}

#[test]
fn one_word_per_thing() {
    // What the glossary calls compare-and-put, deleted, and so on. Gerrit's own words stand in the document about it.
    let others = [
        "compare-and-swap",
        "compare-and-set",
        "tombstone",
        "blacklist",
        "whitelist",
        "allowlist",
        "denylist",
    ];
    let mut found = Vec::new();
    for (path, text) in files() {
        let read = [".rs", ".md", ".wit"].iter().any(|end| path.ends_with(end));
        if !read || path.ends_with("tidy.rs") || path == "docs/gerrit.md" {
            continue;
        }
        // ZooKeeper's own word, in its configuration and in what it says.
        let text =
            text.to_lowercase().replace("4lw.commands.whitelist", "").replace("not in the whitelist", "");
        found
            .extend(others.iter().filter(|word| text.contains(**word)).map(|word| format!("{path}: {word}")));
    }
    nothing(found, "words that the glossary has other words for");
}

/// Types whose name is a word of the glossary, each with the files in which it may be declared. The first is what the word
/// means; each other one is one too many, and leaves the list when it gets a name of its own.
const WORDS: [(&str, &[&str]); 6] = [
    ("Facts", &["host/core/src/decision/", "host/git/src/transport/push.rs", "/catch_up/records.rs"]),
    ("Look", &["host/core/src/chain.rs", "host/src/heal/look.rs"]),
    (
        "Plan",
        &[
            "host/git/src/transport/plan.rs",
            "host/refdb/src/zookeeper/plan.rs",
            "host/refdb/src/etcd/write.rs",
            "host/runtime/src/set.rs",
            "/catch_up/records.rs",
        ],
    ),
    ("Record", &["host/src/gated/journal.rs", "host/src/known.rs", "host/refdb/src/zookeeper/read.rs"]),
    ("Row", &["host/core/src/table", "host/src/gated/rows.rs", "host/src/heal/look.rs"]),
    ("Verdict", &["host/core/src/", "host/refdb/src/conformance/mod.rs"]),
];

#[test]
fn types_have_the_names_of_the_glossary() {
    let (mut found, mut seen) = (Vec::new(), 0);
    let product =
        |path: &str| path.contains("/src/") && !path.starts_with("tests/") && !path.contains("/tests");
    for (path, text) in sources().filter(|(path, _)| product(path)) {
        for line in text.lines() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
            if !words.any(|word| ["struct", "enum", "trait", "type"].contains(&word)) || line.contains("//") {
                continue;
            }
            let name = words.next().unwrap_or_default();
            if let Some((_, places)) = WORDS.iter().find(|(word, _)| *word == name) {
                seen += 1;
                if !places.iter().any(|place| path.contains(place)) {
                    found.push(format!("{path}: {}", line.trim()));
                }
            }
        }
    }
    assert!(seen >= 4, "the search finds nothing");
    nothing(found, "a word of the glossary that means something else");
}

/// The page is for those who have a message in front of them, so it must be one that is said.
#[test]
fn every_message_of_the_recovery_page_is_said_somewhere() {
    let page = fs::read_to_string(root().join("docs/recovery.md")).unwrap();
    let table = page.split("## Find it by the message").nth(1).expect("the part is there");
    let messages = table.lines().filter_map(|line| line.strip_prefix("| `")?.split("` |").next());
    // In the source a sentence may go on in the next line, and hold values where the page has dots.
    let plain = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ").replace('`', "");
    let all = sources().filter(|(path, _)| path.starts_with("host/") && !path.contains("/tests/"));
    let all: Vec<String> = all.map(|(_, text)| plain(text.replace("\\\n", " "))).collect();
    let said = |part: &str| all.iter().any(|text| text.contains(part));
    let parts = |message: &str| -> Vec<String> {
        let parts = message.split('…').map(|part| part.trim().to_owned());
        parts.filter(|part| part.len() > 3).collect()
    };
    let mut count = 0;
    let mut found = Vec::new();
    for message in messages {
        count += 1;
        found.extend(
            parts(message).into_iter().filter(|part| !said(part)).map(|part| format!("{message}: `{part}`")),
        );
    }
    assert!(count > 20, "the table has {count} rows");
    nothing(found, "messages that nobody says");
}
