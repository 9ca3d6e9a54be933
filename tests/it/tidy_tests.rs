//! Where a document names a test, there is that test, and it runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::tree::{nothing, read, root};

/// Functions that a target without a harness calls: for a list of tests, or in the body of one.
const CALLED: [&str; 2] = [
    // A test per backend and case of the conformance suite.
    "refgate-refdb::conformance::every_case_of_every_backend",
    // A test per kind of repository and number of refs.
    "refgate::durable::a_push_is_on_disk",
];

/// All tests of the workspace, found from the roots of its targets along their `mod` lines.
#[derive(Default)]
struct Tests {
    /// `crate::module::function` for unit tests, `package::target::module::function` for the others.
    run: BTreeSet<String>,
    /// The same of those that are ignored, and that `tests/run` does not run either.
    ignored: BTreeSet<String>,
}

impl Tests {
    fn of_workspace() -> Tests {
        let mut tests = Tests::default();
        let workspace: Table = read("Cargo.toml").parse().unwrap();
        let members = workspace["workspace"]["members"].as_array().unwrap();
        for member in members.iter().map(|m| m.as_str().unwrap()) {
            tests.take_package(member);
        }
        assert!(tests.run.len() > 1_000, "{} tests were found", tests.run.len());
        assert!(tests.run.iter().any(|name| name.contains("::as_root_")));
        tests
    }

    fn take_package(&mut self, dir: &str) {
        let manifest: Table = read(&format!("{dir}/Cargo.toml")).parse().unwrap();
        let package = manifest["package"]["name"].as_str().unwrap();
        let is_off = |target: Option<&Value>, key: &str| {
            target.and_then(|t| t.get(key)).and_then(Value::as_bool) == Some(false)
        };
        if !is_off(manifest.get("lib"), "test") {
            for root in ["src/lib.rs", "src/main.rs"] {
                self.take_target(&root_of(dir, root), package, false);
            }
        }
        let listed = manifest.get("test").and_then(Value::as_array).cloned().unwrap_or_default();
        let name = |target: &Value| target["name"].as_str().unwrap().to_owned();
        let mut targets: BTreeSet<(String, PathBuf)> = BTreeSet::new();
        for target in &listed {
            if let Some(path) = target.get("path").and_then(Value::as_str) {
                targets.insert((name(target), root_of(dir, path)));
            }
        }
        for entry in fs::read_dir(root_of(dir, "tests")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let file = if path.is_dir() { path.join("main.rs") } else { path };
            if file.is_file() && file.extension().is_some_and(|e| e == "rs") {
                targets.insert((stem, file));
            }
        }
        for (target, file) in targets {
            let own = listed.iter().find(|t| name(t) == target);
            self.take_target(&file, &format!("{package}::{target}"), is_off(own, "harness"));
        }
    }

    fn take_target(&mut self, file: &Path, prefix: &str, lists: bool) {
        if !file.is_file() {
            return;
        }
        let mut modules = Vec::new();
        walk(file, prefix, true, &mut modules);
        if !lists {
            for function in modules.iter().flat_map(|module| &module.functions).filter(|f| f.is_test) {
                let is_run = !function.is_ignored || function.path.contains("::as_root_");
                let found = if is_run { &mut self.run } else { &mut self.ignored };
                found.insert(function.path.clone());
            }
            return;
        }
        // A function that is handed on where tests are listed, by its own name or with that of its module.
        let listing = |text: &str| text.contains("Trial::test") || text.contains("TESTS");
        for function in modules.iter().flat_map(|module| &module.functions) {
            let name = function.path.rsplit("::").next().unwrap();
            let qualified = function.path.rsplit("::").take(2).collect::<Vec<_>>();
            let qualified = format!("{}::{}", qualified[1], qualified[0]);
            let is_handed_on = modules.iter().filter(|module| listing(&module.text)).any(|module| {
                let called =
                    if module.functions.iter().any(|f| f.path == function.path) { name } else { &qualified };
                let mut uses = module.text.match_indices(called);
                uses.any(|(at, _)| {
                    let (before, after) = (&module.text[..at], &module.text[at + called.len()..]);
                    let is_handed_on = after.starts_with([',', ')']);
                    let is_called = after.starts_with('(') && CALLED.contains(&function.path.as_str());
                    before.ends_with([' ', '(']) && !before.ends_with("fn ") && (is_handed_on || is_called)
                })
            });
            if is_handed_on {
                self.run.insert(function.path.clone());
            }
        }
    }

    /// Why `name` is no test that runs.
    fn problem(&self, name: &str) -> Option<String> {
        if let Some(module) = name.strip_suffix("::") {
            let middle = format!("::{module}::");
            let within = |test: &String| {
                let test = format!("::{test}");
                test.find(&middle).map(|at| test[..at].to_owned())
            };
            let places: BTreeSet<String> = self.run.iter().filter_map(within).collect();
            return match places.len() {
                0 => Some("there is no such module with tests".to_owned()),
                1 => None,
                _ => Some(format!("several modules are called so, in {places:?}")),
            };
        }
        let ends = |test: &&String| test.as_str() == name || test.ends_with(&format!("::{name}"));
        let found: Vec<&String> = self.run.iter().filter(ends).collect();
        match found.len() {
            0 if self.ignored.iter().any(|test| ends(&test)) => Some("it is ignored".to_owned()),
            0 => Some("there is no such test".to_owned()),
            1 => None,
            _ => Some(format!("several tests are called so: {found:?}")),
        }
    }
}

fn root_of(dir: &str, file: &str) -> PathBuf {
    root().join(dir).join(file)
}

struct Module {
    text: String,
    functions: Vec<Function>,
}

struct Function {
    path: String,
    is_test: bool,
    is_ignored: bool,
}

/// Reads a module and those that it declares. `is_root` says that its submodules lie beside it.
fn walk(file: &Path, path: &str, is_root: bool, found: &mut Vec<Module>) {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let beside = file.parent().unwrap();
    let below = if is_root || file.ends_with("mod.rs") { beside.to_owned() } else { file.with_extension("") };
    let mut functions = Vec::new();
    // Modules that are written in the file itself, each with the indentation of its last line.
    let mut inline: Vec<(&str, usize)> = Vec::new();
    let mut attributes: Vec<&str> = Vec::new();
    let makes_tests = macros_that_make_tests(&text);
    // Within a call of such a macro every function is a test.
    let mut made = None;
    for line in text.lines() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if code.starts_with('}') {
            inline.retain(|(_, at)| *at != indent);
            made = made.filter(|at| *at != indent);
        }
        if code.starts_with("#[") || code.starts_with("//") {
            attributes.push(code);
            continue;
        }
        let has = |start: &str| attributes.iter().any(|a| a.starts_with(start));
        let modules: Vec<&str> = inline.iter().map(|(name, _)| *name).collect();
        let of = |name: &str| [&[path], &modules[..], &[name]].concat().join("::");
        let item = code
            .strip_prefix("pub ")
            .or(code.strip_prefix("pub(crate) "))
            .or(code.strip_prefix("pub(super) "));
        let item = item.unwrap_or(code);
        if makes_tests.iter().any(|name| code == format!("{name}! {{")) {
            made = Some(indent);
        } else if let Some(rest) = item.strip_prefix("async fn ").or(item.strip_prefix("fn ")) {
            let name = rest.split(['(', '<']).next().unwrap();
            let is_test = made.is_some() || has("#[test]") || has("#[tokio::test");
            functions.push(Function { path: of(name), is_test, is_ignored: has("#[ignore") });
        } else if let Some(rest) = item.strip_prefix("mod ") {
            if let Some(name) = rest.strip_suffix(" {") {
                inline.push((name, indent));
            } else if let Some(name) = rest.strip_suffix(';') {
                let elsewhere =
                    attributes.iter().find_map(|a| a.strip_prefix("#[path = \"")?.strip_suffix("\"]"));
                let dir = inline.iter().fold(below.clone(), |dir, (name, _)| dir.join(name));
                let candidates = match elsewhere {
                    Some(given) => vec![beside.join(given)],
                    None => vec![dir.join(format!("{name}.rs")), dir.join(name).join("mod.rs")],
                };
                let child = candidates.iter().find(|candidate| candidate.is_file());
                let child = child.unwrap_or_else(|| panic!("{}: `mod {name};` is not found", file.display()));
                walk(child, &of(name), false, found);
            }
        }
        attributes.clear();
    }
    found.push(Module { text, functions });
}

/// The macros of a file whose functions are tests.
fn macros_that_make_tests(text: &str) -> Vec<&str> {
    let definitions = text.split("macro_rules! ").skip(1);
    let made =
        definitions.filter(|rest| rest.split("\n}").next().is_some_and(|body| body.contains("#[test]")));
    made.filter_map(|rest| rest.split(" {").next()).collect()
}

/// What a cell names in back quotes, each with the words before it.
fn names(cell: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = cell.split('`').collect();
    parts.chunks(2).filter(|pair| pair.len() == 2).map(|pair| (pair[0], pair[1])).collect()
}

/// Why nothing of what a cell names holds a row, name by name; `case` holds the names of all cases.
fn problems(cell: &str, tests: &Tests, cases: &str) -> Vec<String> {
    let (mut found, mut kind) = (Vec::new(), "");
    for (before, name) in names(cell) {
        // "cases `a`, `b`" are all cases.
        kind = match before.trim_matches([' ', ',', ';', '(']) {
            "" | "and" => kind,
            other => other.rsplit(' ').next().unwrap_or_default(),
        };
        let problem = match kind {
            "scenario" => (!root().join(format!("tests/scenarios/{name}.txt")).exists())
                .then(|| "no scenario".to_owned()),
            "lint" | "lints" => {
                // A warning fails the run as well: clippy runs with `-D warnings`.
                let set = |level: &str| format!("\n{} = \"{level}\"", name.trim_start_matches("clippy::"));
                let manifest = read("Cargo.toml");
                let is_on = manifest.contains(&set("deny")) || manifest.contains(&set("warn"));
                (!is_on).then(|| "it is not denied".to_owned())
            }
            "case" | "cases" => {
                (!cases.contains(&format!("{{\"name\": \"{name}\","))).then(|| "no case".to_owned())
            }
            // What `tests/run` does beside the tests.
            "command" => {
                (!read("tests/run").contains(&format!("\n    {name}"))).then(|| "it is not run".to_owned())
            }
            _ => tests.problem(name),
        };
        found.extend(problem.map(|problem| format!("{name}: {problem}")));
    }
    found
}

/// The names of all cases, as the files write them.
fn cases() -> String {
    let files = fs::read_dir(root().join("tests/cases")).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|f| f.extension().is_some_and(|e| e == "json"))
        .map(|f| fs::read_to_string(f).unwrap())
        .collect()
}

/// Looks that the last cell of each row of the tables of `text` names tests that run; `none` says that there is none.
fn rows_name_tests(text: &str, least: usize) {
    let (tests, cases) = (Tests::of_workspace(), cases());
    let (mut rows, mut found) = (0, Vec::new());
    let lines: Vec<&str> = text.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        let is_head = lines.get(i + 1).is_some_and(|next| next.starts_with("|--"));
        if !line.starts_with("| ") || is_head {
            continue;
        }
        rows += 1;
        let cell = line.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        if names(cell).is_empty() && cell != "none" {
            found.push(format!("nothing is named: {line}"));
        }
        found.extend(
            problems(cell, &tests, &cases).into_iter().map(|problem| format!("{problem}\n    {line}")),
        );
    }
    assert!(rows > least, "the table has {rows} rows");
    nothing(found, "what nothing holds");
}

#[test]
fn every_invariant_is_held() {
    rows_name_tests(&read("docs/invariants.md"), 100);
}

#[test]
fn every_row_of_the_threat_model_is_tried() {
    let model = read("docs/threat-model.md");
    let (tables, left) = model.split_once("\n## What is left to the operator\n").unwrap();
    assert!(left.lines().filter(|line| line.starts_with("- ")).count() > 4, "{left}");
    for section in tables.split("\n## ").skip(1) {
        rows_name_tests(section, 4);
    }
}

#[test]
fn every_deviation_from_gerrit_is_tested() {
    let page = read("docs/gerrit.md");
    let part = page.split("\n## What is different, and why\n").nth(1).unwrap().split("\n## ").next().unwrap();
    rows_name_tests(part, 12);
}

#[test]
fn what_is_no_test_or_does_not_run_is_told() {
    let (tests, cases) = (Tests::of_workspace(), cases());
    let told = |cell: &str| problems(cell, &tests, &cases).join("; ");
    let own = "`tidy_tests::what_is_no_test_or_does_not_run_is_told`";
    assert_eq!(told(own), "");
    assert_eq!(told("`rounds::kills`, scenario `S8`, lint `clippy::todo`, all of `ablations::`"), "");
    assert_eq!(
        told("case `an empty batch is a decision too`, `fetched refs keep the order of the offer`"),
        ""
    );
    for (cell, why) in [
        ("`decide`", "there is no such test"),
        ("`tidy_tests::told`", "there is no such test"),
        ("`session::holder`", "it is ignored"),
        ("`nowhere::`", "there is no such module with tests"),
        ("`hostile::`", "several modules are called so"),
        ("scenario `S99`", "no scenario"),
        ("lint `clippy::pedantic`", "it is not denied"),
        ("case `nobody wrote this`", "no case"),
        (&format!("{own}, case `nobody wrote this`"), "no case"),
        ("command `cargo publish`", "it is not run"),
    ] {
        assert!(told(cell).contains(why), "{cell}: {}", told(cell));
    }
}
