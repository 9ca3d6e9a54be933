//! The same policy in four languages: each is built with its own tools, asks for nothing but what refgate offers, and says
//! the same in every case.
//!
//! Python and JavaScript need tools of some hundred megabytes. They are installed only where `REFGATE_REQUIRE` names the
//! language (`python javascript c`); elsewhere such a language shows as ignored until `filters/examples/build` installed them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::{Arguments, Failed, Trial};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

const REFGATE: &str = env!("CARGO_BIN_EXE_refgate");

fn main() {
    let required = std::env::var("REFGATE_REQUIRE").unwrap_or_default();
    let mut trials = vec![Trial::test("c::bindings_are_current", bindings_are_current)];
    for language in ["rust", "python", "javascript", "c"] {
        let is_required = required.split_whitespace().any(|name| name == language);
        let built = move || says_the_same(language);
        let ignored = !is_required && !is_ready(language);
        trials.push(Trial::test(format!("{language}::says_the_same"), built).with_ignored_flag(ignored));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn says_the_same(language: &str) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let wasm = dir.path().join("no-wip.wasm");
    output(script().arg(language).arg(&wasm))?;

    let inspected = output(Command::new(REFGATE).args(["--json", "plugins", "inspect"]).arg(&wasm))?;
    let info: serde_json::Value = serde_json::from_slice(&inspected.stdout)?;
    let imports: Vec<&str> =
        info["imports"].as_array().into_iter().flatten().filter_map(|i| i["name"].as_str()).collect();
    let offered = ["refgate:filter/batches@0.1.", "refgate:filter/log@0.1."];
    let is_offered = |import: &&str| offered.iter().any(|name| import.starts_with(name));
    if imports.is_empty() || !imports.iter().all(is_offered) {
        return Err(format!("it imports {imports:?}").into());
    }
    if info["worlds"] != serde_json::json!(["push-filter"]) {
        return Err(format!("its worlds are {}", info["worlds"]).into());
    }

    let cases = examples().join("cases.json");
    let ran =
        output(Command::new(REFGATE).args(["test", "--filter"]).args([wasm.as_os_str(), cases.as_ref()]))?;
    let text = String::from_utf8_lossy(&ran.stdout);
    // A file without cases passes, too.
    match text.trim().strip_suffix(" passed, 0 failed").map(str::parse::<u32>) {
        Some(Ok(passed)) if passed >= 9 => Ok(()),
        _ => Err(text.into_owned().into()),
    }
}

/// Made anew, they are what is in the tree. `REFGATE_BLESS=1` writes them.
fn bindings_are_current() -> Result<(), Failed> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root().join("tests/fixtures/wit/0.1.0"))?;
    let world = resolve.select_world(&[package], Some("push-filter"))?;
    let options = wit_bindgen_c::Opts {
        // The handles of a call end with it, whatever the author forgets.
        autodrop_borrows: wit_bindgen_c::Enabled::Yes,
        ..Default::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files)?;
    let dir = examples().join("c/bindings");
    let mut found = 0;
    for (name, bytes) in files.iter() {
        found += 1;
        let path = dir.join(name);
        if std::env::var_os("REFGATE_BLESS").is_some() {
            fs::write(&path, bytes)?;
        } else if fs::read(&path).ok().as_deref() != Some(bytes) {
            let path = path.display();
            return Err(
                format!("`{path}` is not what wit-bindgen makes: run this with REFGATE_BLESS=1").into()
            );
        }
    }
    match found {
        3 => Ok(()),
        _ => Err(format!("wit-bindgen made {found} files, and not a source, a header and an object").into()),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn examples() -> PathBuf {
    root().join("filters/examples")
}

/// The build script, which keeps its tools and components in the target directory of this build.
fn script() -> Command {
    let mut command = Command::new(examples().join("build"));
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    command.env("CARGO_TARGET_DIR", tmp.parent().unwrap_or(tmp)).env("REFGATE", REFGATE);
    command
}

fn is_ready(language: &str) -> bool {
    script().args(["--check".as_ref(), OsStr::new(language)]).output().is_ok_and(|o| o.status.success())
}

/// What a command said; anything but success is a failure with all of it.
fn output(command: &mut Command) -> Result<Output, Failed> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    Err(format!("{command:?}: {}\n{}{}", output.status, said[0], said[1]).into())
}
