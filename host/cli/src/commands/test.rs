//! `test`: filters against case files.

use std::path::Path;

use refgate_core::FilterSet;
use refgate_host::cases::{self, CaseResult};
use refgate_host::config::Config;
use refgate_host::{Error, filters};
use serde_json::json;

use crate::args::TestArgs;
use crate::output::Output;
use crate::system::system;

/// `refgate test`.
pub async fn run(args: TestArgs, output: &Output) -> Result<u8, Error> {
    let system = system()?;
    let source = match (&args.plugins, &args.filter) {
        (Some(dir), _) => filters::Source::Directory(dir.clone()),
        (None, Some(file)) => filters::Source::Alone(file.clone()),
        (None, None) => filters::Source::Shipped,
    };
    let loader = filters::Loader::new(&system)?;
    // A set that does not load at all is a mistake of the caller, not a case that fails.
    loader.probe(&source)?;
    let make = |config: &Config| -> Result<FilterSet, String> {
        loader.load_from(&source, config).map_err(|e| e.message)
    };
    let results = cases::run_files(&args.files, &make, system.clock.as_ref()).await?;
    show(&results, output);
    Ok(if results.iter().all(CaseResult::passed) { 0 } else { 1 })
}

fn show(results: &[CaseResult], output: &Output) {
    let passed = results.iter().filter(|r| r.passed()).count();
    let failed = results.len() - passed;
    if output.json {
        let cases = results.iter().map(|r| {
            let diff = if r.passed() { serde_json::Value::Null } else { json!(r.diff.join("\n")) };
            json!({"file": file(&r.file), "name": r.name, "passed": r.passed(), "diff": diff})
        });
        let cases: Vec<_> = cases.collect();
        return output.document(&json!({"cases": cases, "passed": passed, "failed": failed}));
    }
    for result in results.iter().filter(|r| !r.passed()) {
        output.text(&format!("{} {}: {}", output.bad("FAILED"), file(&result.file), result.name));
        result.diff.iter().for_each(|line| output.text(&format!("    {line}")));
    }
    output.text(&format!("{passed} passed, {failed} failed"));
}

fn file(path: &Path) -> String {
    path.display().to_string()
}
