//! docs/first-week.md, block by block, as one operator would: real commands, real git, hooks that replicate.

#[path = "cli/common.rs"]
#[allow(dead_code)]
mod common;

use std::path::Path;
use std::process::Stdio;

use common::clean;
use libtest_mimic::{Arguments, Failed, Trial};
#[cfg(feature = "etcd")]
use refgate_servers::Etcd;

const PAGE: &str = include_str!("../../../docs/first-week.md");
/// Where the page says that the ref-db moves to.
const NEW: &str = "etcd://127.0.0.1:2379/refgate";

fn main() {
    #[allow(unused_mut, reason = "etcd is a feature")]
    let mut trials = vec![Trial::test("to_another_file", || {
        week(&|dir| format!("sqlite:{}/another/refdb.sqlite", dir.display()))
    })];
    #[cfg(feature = "etcd")]
    {
        let etcd = || {
            let server = Etcd::start();
            week(&|_| format!("etcd://{}/refgate", server.address()))
        };
        trials.push(Trial::test("to_etcd", etcd).with_ignored_flag(Etcd::missing().is_some()));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// What is between the fences of `sh` blocks.
fn blocks() -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in PAGE.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => script.extend([line, "\n"]),
            _ => {}
        }
    }
    script
}

fn week(new: &dyn Fn(&Path) -> String) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let blocks = blocks();
    assert!(blocks.matches("refgate ").count() > 20 && blocks.contains(NEW), "the page has changed its form");
    let place = dir.path().to_str().ok_or("a temporary directory that is UTF-8")?;
    let script = blocks.replace(NEW, &new(dir.path())).replace("/srv/", &format!("{place}/"));
    let program = Path::new(env!("CARGO_BIN_EXE_refgate")).parent().ok_or("it is in a directory")?;
    let clone = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let path = format!("{}:{}", program.display(), std::env::var("PATH")?);
    let mut bash = clean("bash", dir.path());
    bash.args(["-euo", "pipefail", "-x", "-c", &script]).env("PATH", path).env("REFGATE", clone);
    for who in ["AUTHOR", "COMMITTER"] {
        bash.env(format!("GIT_{who}_NAME"), "n").env(format!("GIT_{who}_EMAIL"), "n@example.org");
    }
    let output = bash.stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if !output.status.success() {
        let tail: Vec<&str> = err.lines().rev().take(40).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        return Err(format!("{}\n{}\n{out}", output.status, tail.join("\n")).into());
    }
    // What the last blocks leave is what the page says.
    for part in ["held-back", "protected-ref", "refs/tags/v1.0"] {
        assert!(out.contains(part), "`{part}` is not in: {out}");
    }
    Ok(())
}
