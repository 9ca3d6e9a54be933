//! What `test` prints.

use std::path::Path;

use refgate_host::Error;
use refgate_host::cases::{CaseResult, Part};
use serde_json::{Value, json};

use super::{Round, junit};
use crate::args::TestArgs;
use crate::output::{Cell, Output};

/// Prints one run; its exit code.
pub fn round(round: &Round, args: &TestArgs, output: &Output) -> Result<u8, Error> {
    if let Some(file) = &args.junit {
        junit::write(file, &round.results)?;
    }
    let results = &round.results;
    let passed = results.iter().filter(|r| r.passed()).count();
    let failed = results.len() - passed;
    if output.json {
        document(round, passed, failed, output);
    } else {
        for result in results.iter().filter(|r| !r.passed()) {
            let which = format!(" {}: {}", file(&result.file), result.name);
            output.line(vec![Cell::bad("FAILED"), which.into()]);
            result.diff.iter().for_each(|line| output.text(&format!("    {line}")));
        }
        if let Some(parts) = &round.coverage {
            coverage(parts, output);
        }
        output.text(&format!("{passed} passed, {failed} failed"));
    }
    Ok(if failed == 0 { 0 } else { 1 })
}

fn document(round: &Round, passed: usize, failed: usize, output: &Output) {
    let case = |r: &CaseResult| {
        let diff = if r.passed() { Value::Null } else { json!(r.diff.join("\n")) };
        json!({"file": file(&r.file), "name": r.name, "passed": r.passed(), "diff": diff})
    };
    let cases: Vec<Value> = round.results.iter().map(case).collect();
    let mut document = json!({"cases": cases, "passed": passed, "failed": failed});
    if let Some(parts) = &round.coverage {
        let parts =
            parts.iter().map(|p| (p.what.to_owned(), json!({"covered": p.covered, "missing": p.missing})));
        document["coverage"] = Value::Object(parts.collect());
    }
    output.document(&document);
}

fn coverage(parts: &[Part], output: &Output) {
    output.text("coverage of the policy:");
    for part in parts {
        if part.what == "undeclared reasons" {
            let reasons = Cell::held(part.covered.join(", "));
            output.line(vec!["    undeclared reasons: ".into(), reasons, ", which no manifest names".into()]);
            continue;
        }
        let all = part.covered.len() + part.missing.len();
        let count = format!("    {}: {} of {all}", part.what, part.covered.len());
        match part.missing.is_empty() {
            true => output.text(&count),
            false => {
                let missing = Cell::held(part.missing.join(", "));
                output.line(vec![format!("{count}, missing ").into(), missing]);
            }
        }
    }
}

fn file(path: &Path) -> String {
    path.display().to_string()
}
