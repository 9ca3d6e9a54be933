//! Every filter says in `filter.toml` what the program embeds about it, and the page for operators says the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Directories of filters, the shipped ones first.
fn filters() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../filters");
    let more = fs::read_dir(dir.join("more")).unwrap().map(|entry| entry.unwrap().path());
    let own = ["push", "fetch", "project-matcher", "examples/wip"].map(|name| dir.join(name));
    let found: Vec<PathBuf> = own.into_iter().chain(more).collect();
    assert!(found.len() >= 9, "{found:?}");
    found
}

fn name(dir: &Path) -> String {
    dir.file_name().unwrap().to_string_lossy().into_owned()
}

fn table(dir: &Path, file: &str) -> Table {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn keys(table: &Table, key: &str) -> Vec<String> {
    table.get(key).and_then(Value::as_table).into_iter().flat_map(|t| t.keys().cloned()).collect()
}

/// All sources of a filter in one text, and its cases.
fn texts(dir: &Path, manifest: &Table) -> (String, String) {
    let sources = fs::read_dir(dir.join("src")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file());
    let sources: String = sources.map(|path| fs::read_to_string(path).unwrap()).collect();
    let cases = manifest["cases"].as_array().unwrap().iter().map(|file| file.as_str().unwrap());
    let cases: String = cases.map(|file| fs::read_to_string(dir.join(file)).unwrap()).collect();
    (sources, cases)
}

#[test]
fn a_filter_names_its_reasons_and_settings() {
    for dir in filters() {
        let (name, manifest) = (name(&dir), table(&dir, "filter.toml"));
        assert!(manifest["description"].as_str().is_some_and(|d| !d.contains('\n')), "{name}");
        let (sources, cases) = texts(&dir, &manifest);
        let reasons = keys(&manifest, "reasons");
        // The matcher's one reason is given by the host.
        for reason in reasons.iter().filter(|_| name != "project-matcher") {
            assert!(sources.contains(&format!("\"{reason}\"")), "{name} never gives `{reason}`");
        }
        let given = cases.split("\"reason\"").skip(1).filter_map(|rest| rest.split('"').nth(1));
        for given in given.collect::<BTreeSet<_>>() {
            let known = reasons.iter().any(|r| r == given) || given == "already-up-to-date";
            assert!(known, "{name}: a case expects `{given}`, which filter.toml does not name");
        }
        let settings = manifest["settings"].as_table().unwrap();
        assert_eq!(settings.get("additionalProperties"), Some(&Value::Boolean(false)), "{name}");
        for setting in keys(settings, "properties") {
            let used = name == "project-matcher" || cases.contains(&format!("plugin.{name}.{setting}"));
            assert!(used, "{name}: no case sets `{setting}`");
            let about = &settings["properties"][&setting]["description"];
            assert!(about.as_str().is_some_and(|text| !text.is_empty()), "{name}: {setting}");
        }
    }
}

#[test]
fn the_page_for_operators_has_every_filter_reason_and_setting() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/filters.md");
    let page = fs::read_to_string(page).unwrap();
    for dir in filters().into_iter().filter(|dir| dir.parent().unwrap().ends_with("more")) {
        let (name, manifest) = (name(&dir), table(&dir, "filter.toml"));
        let section = page.split("\n## ").find(|s| s.starts_with(&format!("{name}\n")));
        let section = section.unwrap_or_else(|| panic!("docs/filters.md has no section {name}"));
        let settings = keys(manifest["settings"].as_table().unwrap(), "properties");
        for word in settings.into_iter().chain(keys(&manifest, "reasons")) {
            assert!(
                section.contains(&format!("\n| `{word}` | ")),
                "docs/filters.md, {name}: no row `{word}`"
            );
        }
        assert!(section.contains(&format!("[plugin \"{name}\"]")), "docs/filters.md, {name}: no example");
    }
}
