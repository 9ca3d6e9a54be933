//! The refs of the one project: two plain branches, a branch that a rule ignores, and a change.

use std::sync::LazyLock;

use refgate_core::{Class, Enforcement, Project, RefName, Rules};

/// How many there are.
pub const COUNT: usize = 7;

/// A ref by its place in [`NAMES`], which is the order of names and so the order of locks.
pub type Ref = usize;

/// Patch sets 1 to 3 come first.
pub const PATCH_SETS: usize = 3;
/// The change's `/meta`.
pub const META: Ref = 3;
/// A branch.
pub const DEV: Ref = 4;
/// A branch.
pub const MAIN: Ref = 5;
/// IGNORED by a rule.
pub const SCRATCH: Ref = 6;

/// The full names.
pub static NAMES: LazyLock<[RefName; COUNT]> = LazyLock::new(|| {
    [
        "refs/changes/01/1/1",
        "refs/changes/01/1/2",
        "refs/changes/01/1/3",
        "refs/changes/01/1/meta",
        "refs/heads/dev",
        "refs/heads/main",
        "refs/heads/scratch",
    ]
    .map(|name| RefName::new(name).expect("legal"))
});

/// The project.
pub static PROJECT: LazyLock<Project> = LazyLock::new(|| Project::new("team/app").expect("legal"));

/// The rule that ignores [`SCRATCH`].
pub static RULES: LazyLock<Rules> =
    LazyLock::new(|| Rules::new([(Enforcement::Ignored, ":refs/heads/scratch")]).expect("legal"));

static CLASSES: LazyLock<[Class; COUNT]> =
    LazyLock::new(|| std::array::from_fn(|r| Class::of(&PROJECT, &NAMES[r], &RULES)));

/// How much of the ref-db applies, as the product has it.
pub fn class(name: Ref) -> Class {
    CLASSES[name]
}

/// Whether the ref-db can hold the ref.
pub fn is_checked(name: Ref) -> bool {
    class(name) == Class::Checked
}

/// Those that are marked, for a trace.
pub fn listed(marked: &[bool; COUNT]) -> String {
    let names: Vec<&str> = (0..COUNT).filter(|r| marked[*r]).map(short).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Whether it is one of the patch sets.
pub fn is_patch_set(name: Ref) -> bool {
    name < PATCH_SETS
}

/// Undoes the lookup in [`NAMES`].
pub fn index(name: &RefName) -> Ref {
    NAMES.iter().position(|n| n == name).expect("only these refs exist")
}

/// The last part of the name, for traces.
pub fn short(name: Ref) -> &'static str {
    ["ps1", "ps2", "ps3", "meta", "dev", "main", "scratch"][name]
}
