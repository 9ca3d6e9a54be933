//! Everything around a push and a fetch, end to end with real git; and checks of the tree itself.

mod bad_input;
mod catch_up;
mod deleted_changes;
mod filters;
mod forced;
mod forget;
mod groups;
mod heal;
mod hostile;
mod local_locks;
mod moving;
mod names;
mod obstacles;
mod offers;
mod plugins;
mod policies;
mod records;
mod remotes;
mod scale;
mod sessions;
mod spoiled;
mod switches;
mod tables;
mod tidy;
mod tidy_docs;
mod tidy_tests;
mod tidy_text;
mod tree;

use refgate_host::{Move, Report};

/// `name=outcome` per ref, in the order of the report, short names for branches.
fn told(report: &Report) -> Vec<String> {
    refgate_tests::outcomes(report).into_iter().map(|(name, outcome)| format!("{name}={outcome}")).collect()
}

/// What was decided about a branch or a ref.
fn decided<'r>(report: &'r Report, name: &str) -> Move<'r> {
    let full = refgate_tests::full_name(name);
    let found = report.decision.moves.iter().find(|one| one.name().to_string() == full);
    found.unwrap_or_else(|| panic!("`{name}` is not in the report"))
}

/// What the destination said when it refused a ref.
fn refusal(report: &Report, name: &str) -> String {
    decided(report, name).state().to_string()
}
