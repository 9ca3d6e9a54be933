//! `refdb policy`: what is said of refs, and which rule it comes from.

use serde_json::json;

use crate::common::{Lab, PROJECT};

const RULES: &str = "[ref-database \"enforcementRules\"]
    IGNORED = team/app:/refs/heads/scratch
    REQUIRED = team/app:refs/heads/main
    IGNORED = other
    IGNORED = :refs/heads/tmp";

#[test]
fn every_way_a_ref_can_be_treated() {
    let lab = Lab::new();
    lab.configure("a", RULES);
    let refs = [
        ("refs/heads/scratch", "IGNORED", "rule `team/app:refs/heads/scratch`"),
        ("refs/heads/main", "REQUIRED", "rule `team/app:refs/heads/main`"),
        // The rules of the project replace those for all projects.
        ("refs/heads/tmp", "REQUIRED", "no rule names it"),
        ("refs/changes/12/12/1", "excluded", "built in"),
        ("refs/changes/12/12/meta", "REQUIRED", "no rule names it"),
        ("refs/draft-comments/1/2", "excluded", "built in"),
        ("refs/multi-site/version", "exempt", "built in"),
    ];
    let mut args = vec!["--json", "refdb", "policy", PROJECT];
    args.extend(refs.iter().map(|(name, _, _)| name));
    let got = lab.run("a", &args).json(0);
    assert_eq!((&got["replicates"], &got["push_gate"]), (&json!(true), &json!(true)));
    for ((name, policy, because), row) in refs.iter().zip(got["refs"].as_array().unwrap()) {
        assert_eq!((&row["ref"], &row["policy"]), (&json!(name), &json!(policy)));
        assert!(row["because"].as_str().unwrap().contains(because), "{row}");
    }
    let text = lab.run("a", &["refdb", "policy", "other", "refs/heads/main"]);
    assert_eq!(text.ok(), "REF              POLICY   BECAUSE\nrefs/heads/main  IGNORED  rule `other:.*`\n");
    let all = lab.run("a", &["refdb", "policy", "third", "refs/heads/tmp"]);
    assert!(all.ok().contains("IGNORED  rule `.*:refs/heads/tmp`"), "{}", all.out);
    assert!(!lab.path("refdb.sqlite").exists(), "no store is needed");
}

#[test]
fn switches_and_patterns_go_before_rules() {
    let lab = Lab::new();
    lab.configure("a", "[projects]\n    pattern = team/*");
    let policy = |project: &str| lab.run("a", &["refdb", "policy", project, "refs/heads/main"]);
    assert!(policy("x").ok().contains("not-replicated"));
    lab.configure("a", "[ref-database]\n    enabled = false");
    assert!(policy(PROJECT).ok().contains("unchecked"));
    policy(PROJECT).ok();
    lab.run("a", &["refdb", "policy", PROJECT, "main"]).fails(2, &["`main` is not a full ref name"]);
    lab.configure(
        "a",
        "[ref-database \"enforcementRules\"]\n    IGNORED = a:refs/heads/x\n    REQUIRED = a:/refs/heads/x",
    );
    lab.run("a", &["refdb", "policy", PROJECT, "refs/heads/x"])
        .fails(2, &["rule `a:/refs/heads/x`", "IGNORED"]);
}
