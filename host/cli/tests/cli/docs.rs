//! docs/cli.md against the program: every command and option of one is in the other. And what other pages run exists.

use crate::common::Lab;

const DOCS: &str = include_str!("../../../../docs/cli.md");

/// The commands that help lists below `path`.
fn commands(lab: &Lab, path: &[&str]) -> Vec<String> {
    let help = help(lab, path);
    let groups = help.split("\n\n").filter(|part| part.starts_with("Commands"));
    let names = groups.flat_map(|group| group.lines().skip(1)).filter_map(|l| l.split_whitespace().next());
    names.filter(|n| *n != "help").map(str::to_owned).collect()
}

fn help(lab: &Lab, path: &[&str]) -> String {
    let mut args = path.to_vec();
    args.push("--help");
    lab.run("", &args).ok().to_owned()
}

/// The options that a help text lists, but those of every command.
fn options(help: &str) -> Vec<String> {
    let words = help.split_whitespace().map(|w| w.trim_matches(|c: char| "[],.`".contains(c)));
    let mut all: Vec<String> =
        words.filter(|w| w.starts_with("--") && w.len() > 2).map(str::to_owned).collect();
    all.sort();
    all.dedup();
    all.retain(|o| !["--help", "--version", "--config", "--json"].contains(&o.as_str()));
    all
}

#[test]
fn every_command_and_option_is_documented() {
    let lab = Lab::new();
    let mut seen = 0;
    let overview = DOCS.split("\n## ").find(|s| s.starts_with("Overview")).expect("there is an overview");
    for top in commands(&lab, &[]) {
        assert!(overview.contains(&format!("[`{top}")), "`{top}` is not in the overview");
        let below = commands(&lab, &[&top]);
        let paths: Vec<Vec<&str>> = match below.is_empty() {
            true => vec![vec![top.as_str()]],
            false => below.iter().map(|sub| vec![top.as_str(), sub]).collect(),
        };
        let section =
            DOCS.split("\n## ").find(|s| s.starts_with(&top)).unwrap_or_else(|| panic!("no section {top}"));
        for path in paths {
            let name = path.join(" ");
            assert!(section.contains(&name), "`{name}` is not in docs/cli.md");
            for option in options(&help(&lab, &path)) {
                assert!(section.contains(&option), "`{name} {option}` is not in docs/cli.md");
                seen += 1;
            }
        }
    }
    assert!(seen >= 12, "only {seen} options were found in the help texts");
}

#[test]
fn every_documented_option_exists() {
    let lab = Lab::new();
    for section in DOCS.split("\n## ").skip(1) {
        let top = section.split_whitespace().next().unwrap();
        if !commands(&lab, &[]).iter().any(|c| c == top) {
            continue;
        }
        let mut known = options(&help(&lab, &[top]));
        commands(&lab, &[top]).iter().for_each(|sub| known.extend(options(&help(&lab, &[top, sub]))));
        // Options in commands are in code; those of git are not refgate's.
        let code =
            section.split('`').skip(1).step_by(2).filter(|c| c.contains("--") && !c.starts_with("git "));
        for option in code.flat_map(options) {
            assert!(known.contains(&option), "docs/cli.md gives `{top}` the option {option}");
        }
    }
    assert!(!DOCS.contains("<!--"), "something is left to be filled in");
}

/// Lines of code blocks, and what stands in back quotes, that run refgate: its arguments.
fn calls(page: &str) -> Vec<Vec<&str>> {
    let parts: Vec<&str> = page.split("\n```").collect();
    let blocks = parts.iter().skip(1).step_by(2).flat_map(|block| block.lines());
    let inline = parts.iter().step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2));
    let calls =
        blocks.chain(inline).filter_map(|code| code.trim_start_matches("$ ").strip_prefix("refgate "));
    let words = calls.map(|call| {
        let call = call.split(['|', ';', '#', '&', '<', '\n']).next().unwrap_or_default();
        let mut words: Vec<&str> = call.split_whitespace().collect();
        while let Some(global) = words.first().filter(|word| word.starts_with("--")) {
            let taken = if *global == "--config" { 2 } else { 1 };
            words.drain(..taken.min(words.len()));
        }
        words
    });
    words.filter(|words| words.first().is_some_and(is_word)).collect()
}

fn is_word(word: &&str) -> bool {
    word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

#[test]
fn what_the_pages_run_exists() {
    let lab = Lab::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages =
        docs.filter(|path| path.extension().is_some_and(|e| e == "md")).chain([root.join("README.md")]);
    let top = commands(&lab, &[]);
    let mut known = std::collections::BTreeMap::<String, Vec<String>>::new();
    let mut seen = 0;
    for path in pages {
        let page = std::fs::read_to_string(&path).unwrap();
        for call in calls(&page) {
            let place = format!("{}: refgate {}", path.display(), call.join(" "));
            assert!(top.iter().any(|command| command == call[0]), "{place}");
            let mut path = vec![call[0]];
            let has_more = !commands(&lab, &path).is_empty();
            path.extend(call.get(1).copied().filter(is_word).filter(|_| has_more));
            // Asked of the program, because what hooks start is not listed.
            let known = known.entry(path.join(" ")).or_insert_with(|| options(&help(&lab, &path)));
            let given = call.iter().take_while(|word| **word != "--").flat_map(|word| options(word));
            for option in given.map(|option| option.split('=').next().unwrap_or_default().to_owned()) {
                assert!(known.contains(&option), "{place}: {option}");
            }
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} calls were found");
}
