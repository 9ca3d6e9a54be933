//! The template in Rust, and where its SDK is.

use std::path::{Component, Path, PathBuf};

use refgate_host::Error;
use refgate_runtime::World;

use super::TemplateFile;

/// Names of crates that would not build: words of the language and of its library.
pub const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    "refgate-guest",
    "refgate_guest",
];

/// The SDK for a new crate.
pub struct Sdk {
    /// Its directory, absolute and without links.
    dir: PathBuf,
    /// The versions that the clone was built with: they are on this machine already.
    lock: Option<String>,
}

/// The SDK in `given`, or of the clone of refgate that `dir` or the current directory is in.
pub fn sdk(given: Option<&Path>, dir: &Path) -> Result<Sdk, Error> {
    let found = match given {
        Some(given) if is_sdk(given) => given.to_owned(),
        Some(given) => {
            return Err(Error::usage(format!("`{}` is not the SDK", given.display()))
                .hint("give the directory `guest` of a clone of refgate"));
        }
        None => {
            let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
            let current = std::env::current_dir().unwrap_or_default();
            let above = absolute.ancestors().chain(current.ancestors()).map(|a| a.join("guest"));
            above.into_iter().find(|guest| is_sdk(guest)).ok_or_else(|| {
                Error::usage("the SDK is not found: neither the new nor the current directory is in a clone of refgate")
                    .hint("give `--sdk DIR`, the directory `guest` of a clone")
            })?
        }
    };
    let dir =
        found.canonicalize().map_err(|e| Error::failed(format!("cannot read `{}`: {e}", found.display())))?;
    let lock = dir.parent().and_then(|clone| std::fs::read_to_string(clone.join("Cargo.lock")).ok());
    Ok(Sdk { dir, lock })
}

fn is_sdk(dir: &Path) -> bool {
    let manifest = std::fs::read_to_string(dir.join("Cargo.toml"));
    manifest.is_ok_and(|text| text.contains("name = \"refgate-guest\""))
}

/// The files of a crate `name` for `world` in the new directory `dir`, which is there.
pub fn files(name: &str, world: World, dir: &Path, sdk: &Sdk) -> Result<Vec<TemplateFile>, Error> {
    let dir =
        dir.canonicalize().map_err(|e| Error::failed(format!("cannot read `{}`: {e}", dir.display())))?;
    let to_sdk = relative(&dir, &sdk.dir);
    let shown = to_sdk.to_str().filter(|p| !p.contains(['"', '\\'])).ok_or_else(|| {
        Error::usage(format!("the path of the SDK, `{}`, does not fit into Cargo.toml", to_sdk.display()))
    })?;
    let mut values = values(world);
    values.extend([("name", name), ("world", world.name()), ("sdk", shown)]);
    let fill = |text: &str| fill(text, &values);
    let (code, cases) = match world {
        World::ProjectMatcher => (
            include_str!("../../../templates/rust/matcher.rs.in"),
            include_str!("../../../templates/rust/cases-matcher.json.in"),
        ),
        _ => (
            include_str!("../../../templates/rust/filter.rs.in"),
            include_str!("../../../templates/rust/cases-filter.json.in"),
        ),
    };
    let mut files = vec![
        TemplateFile {
            path: "Cargo.toml",
            text: fill(include_str!("../../../templates/rust/Cargo.toml.in")),
        },
        TemplateFile { path: "src/lib.rs", text: fill(code) },
        TemplateFile {
            path: "filter.toml",
            text: fill(include_str!("../../../templates/rust/filter.toml.in")),
        },
        // A value may hold another place to fill.
        TemplateFile { path: "cases.json", text: fill(&fill(cases)) },
        TemplateFile { path: "README.md", text: fill(include_str!("../../../templates/rust/README.md.in")) },
        TemplateFile { path: ".gitignore", text: fill(include_str!("../../../templates/rust/gitignore.in")) },
    ];
    if let Some(lock) = &sdk.lock {
        files.push(TemplateFile { path: "Cargo.lock", text: lock.clone() });
    }
    Ok(files)
}

const OID_A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const OID_B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// What differs between the worlds.
fn values(world: World) -> Vec<(&'static str, &'static str)> {
    let local = "\"local\":{\"refs/heads/main\":\"{{a}}\",\n           \"refs/heads/wip/login\":\"{{b}}\"},";
    let tag = "\"local\":{\"refs/tags/nightly-7\":\"{{a}}\"},";
    let mut values = match world {
        World::PushFilter => vec![
            ("imports", "Batch, Problem, Problems, PushFilter, Verdicts, export_push_filter"),
            ("trait", "PushFilter"),
            ("export", "export_push_filter"),
            ("run", "run_push"),
            ("direction", "push"),
            ("given", local),
            ("given_tag", tag),
            ("new_a", ""),
            ("new_b", ""),
        ],
        World::FetchFilter => vec![
            ("imports", "Batch, FetchFilter, Problem, Problems, Verdicts, export_fetch_filter"),
            ("trait", "FetchFilter"),
            ("export", "export_fetch_filter"),
            ("run", "run_fetch"),
            ("direction", "fetch"),
            ("given", "\"local\":{},"),
            ("given_tag", "\"local\":{},"),
            ("new_a", ",\"new\":\"{{a}}\""),
            ("new_b", ",\"new\":\"{{b}}\""),
        ],
        World::ProjectMatcher => Vec::new(),
    };
    values.extend(match world {
        World::ProjectMatcher => [
            ("prefix", "sandbox/"),
            ("prefix_doc", "names of projects that stay begin with one of these"),
            ("description", "Keeps sandboxes at home"),
            ("reasons", ""),
        ],
        _ => [
            ("prefix", "refs/heads/wip/"),
            ("prefix_doc", "full names of refs that stay begin with one of these"),
            ("description", "Holds back work in progress"),
            (
                "reasons",
                "\n[reasons]\nwork-in-progress = \"the ref is below a prefix of work in progress\"\n",
            ),
        ],
    });
    values.extend([("a", OID_A), ("b", OID_B)]);
    values
}

fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (key, value) in values {
        text = text.replace(&format!("{{{{{key}}}}}"), value);
    }
    text
}

/// The way from one absolute directory to another; relative ones survive a move of both.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let (from, to): (Vec<Component<'_>>, Vec<_>) = (from.components().collect(), to.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    up.chain(to[shared..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for world in World::ALL {
            let dir = tempfile::tempdir().unwrap();
            let sdk = Sdk { dir: "/clone/guest".into(), lock: None };
            for file in files("no-wip", world, dir.path(), &sdk).unwrap() {
                let (path, text) = (file.path, file.text);
                assert!(!text.contains("{{"), "{world} {path}:\n{text}");
                if path.ends_with(".json") {
                    refgate_host::cases::CaseFile::parse(&text, false).unwrap();
                }
            }
        }
    }

    #[test]
    fn the_way_to_the_sdk_is_relative() {
        let way = |from: &str, to: &str| relative(Path::new(from), Path::new(to)).display().to_string();
        assert_eq!(way("/a/b/c", "/a/guest"), "../../guest");
        assert_eq!(way("/x", "/a/guest"), "../a/guest");
        assert_eq!(way("/a", "/a/guest"), "guest");
    }
}
