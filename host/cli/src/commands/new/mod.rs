//! `new`: a crate with a filter to start from.

mod rust;

use std::path::{Path, PathBuf};

use refgate_host::Error;
use refgate_runtime::World;
use serde_json::json;

use crate::output::Output;

/// Arguments of `new`.
#[derive(clap::Args, Debug)]
pub struct NewArgs {
    /// What the filter is called: its crate, its file, its settings
    pub name: String,
    /// A new or empty directory; the default is NAME in the current one
    pub dir: Option<PathBuf>,
    /// The language; there is a template for Rust, and for the others a hint where to start
    #[arg(long, value_enum, default_value_t = Lang::Rust)]
    pub lang: Lang,
    /// What kind of filter
    #[arg(long, value_name = "WORLD", default_value = "push-filter",
          value_parser = ["push-filter", "fetch-filter", "project-matcher"])]
    pub world: String,
    /// The SDK: the directory `guest` of a clone of refgate. Found by itself when the new directory is in a clone
    #[arg(long, value_name = "DIR")]
    pub sdk: Option<PathBuf>,
}

/// Languages that there is a template for.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// Rust, with the SDK
    Rust,
    /// C, by example
    C,
    /// Python, by example
    Python,
    /// JavaScript, by example
    Javascript,
}

impl Lang {
    /// Where the worked example is, for languages without a template.
    fn example(self) -> Option<&'static str> {
        match self {
            Lang::Rust => None,
            Lang::C => Some("filters/examples/c"),
            Lang::Python => Some("filters/examples/python"),
            Lang::Javascript => Some("filters/examples/javascript"),
        }
    }
}

/// A file of a template.
pub struct TemplateFile {
    /// Relative to the new directory.
    pub path: &'static str,
    pub text: String,
}

/// `refgate new`.
pub fn run(args: &NewArgs, output: &Output) -> Result<u8, Error> {
    check_name(&args.name)?;
    let world = World::from_name(&args.world)
        .ok_or_else(|| Error::usage(format!("`{}` is no world of refgate", args.world)))?;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    if let Some(example) = args.lang.example() {
        return Err(Error::usage("there is a template for Rust only").hint(format!(
            "start from `{example}` in a clone of refgate, which says how it is built; `refgate wit show DIR` writes the contract"
        )));
    }
    let found = rust::sdk(args.sdk.as_deref(), &dir)?;
    empty_directory(&dir)?;
    let files = rust::files(&args.name, world, &dir, &found)?;
    for file in &files {
        let path = dir.join(file.path);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        written
            .and_then(|()| std::fs::write(&path, &file.text))
            .map_err(|e| Error::failed(format!("cannot write `{}`: {e}", path.display())))?;
    }
    if output.json {
        output.document(&json!({
            "command": "new",
            "name": args.name,
            "world": world.name(),
            "directory": dir.display().to_string(),
            "files": files.iter().map(|f| f.path).collect::<Vec<_>>(),
        }));
        return Ok(0);
    }
    for file in &files {
        output.text(&format!("wrote {}", dir.join(file.path).display()));
    }
    let name = &args.name;
    output.text(&format!(
        "next: cd {}, cargo test, refgate build, refgate test --filter {name}.wasm cases.json",
        dir.display()
    ));
    Ok(0)
}

/// Makes a directory, or finds it empty: nothing of anybody's is overwritten.
pub fn empty_directory(dir: &Path) -> Result<(), Error> {
    let cannot = |e: std::io::Error| Error::failed(format!("cannot make `{}`: {e}", dir.display()));
    match std::fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::usage(format!("`{}` is not empty", dir.display()))
                .hint("name a directory that is not there yet")),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => std::fs::create_dir_all(dir).map_err(cannot),
        Err(e) => Err(cannot(e)),
    }
}

/// Both a crate and a plugin can be called that.
fn check_name(name: &str) -> Result<(), Error> {
    let refuse = |why: &str| {
        let rule = "write 1 to 64 of `a-z 0-9 - _`, beginning with a letter";
        Err(Error::usage(format!("`{name}` cannot be the name of a filter: {why}")).hint(rule))
    };
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(legal) {
        return refuse("it is empty, too long, or has other characters");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return refuse("it does not begin with a letter");
    }
    if name == "host" {
        return refuse("results name refgate itself so");
    }
    if refgate_filters::EMBEDDED.iter().any(|e| e.name == name) {
        return refuse("it would take the place of the shipped filter");
    }
    if rust::TAKEN.contains(&name) {
        return refuse("cargo takes no crate of that name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_crate_or_plugin_can_have_are_refused() {
        for good in ["no-wip", "a", "x_1", &"n".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "n".repeat(65);
        for (bad, why) in [
            ("", "empty"),
            (long.as_str(), "too long"),
            ("No", "other characters"),
            ("a/b", "other characters"),
            ("..", "other characters"),
            ("ä", "other characters"),
            ("-x", "begin with a letter"),
            ("1x", "begin with a letter"),
            ("host", "refgate itself"),
            ("push", "shipped filter"),
            ("core", "no crate"),
            ("fn", "no crate"),
        ] {
            let e = check_name(bad).unwrap_err();
            assert!(e.message.contains(why), "{bad}: {e}");
        }
    }
}
