//! `--ref` and `projects.pattern` against the table of patterns in the page on configuration, by real commands.

use std::fs;

use crate::common::{Lab, PROJECT};

#[path = "../../../tests/patterns/mod.rs"]
#[allow(dead_code)]
mod patterns;

#[test]
fn patterns_of_commands_and_of_the_configuration_match_as_the_table_says() {
    let (lab, first) = Lab::seeded();
    let rows = patterns::rows();
    for row in &rows {
        let name = format!("refs/heads/{}", row.name);
        if lab.value("a", &name).is_empty() {
            lab.commit("a", &name, &[&first]);
        }
    }
    lab.run("a", &["refdb", "publish", PROJECT]).ok();
    let file = lab.path("a/refgate.config");
    let text = fs::read_to_string(&file).unwrap();
    for row in &rows {
        let glob = format!("refs/heads/{}", row.pattern);
        let report = lab.run("a", &["--json", "push", PROJECT, "b", "--dry-run", "--ref", &glob]).json(0);
        let name = format!("refs/heads/{}", row.name);
        let offered = report["refs"].as_array().unwrap().iter().any(|r| r["ref"] == name.as_str());
        assert_eq!(offered, row.ref_option, "--ref: `{}` and `{}`", row.pattern, row.name);

        fs::write(&file, format!("{text}[projects]\n    pattern = {}\n", row.pattern)).unwrap();
        let matched = lab.run("a", &["--json", "project", "match", &row.name]);
        let matched: serde_json::Value = serde_json::from_str(&matched.out).unwrap();
        assert_eq!(
            matched["projects"][0]["match"], row.projects,
            "projects.pattern: `{}` and `{}`",
            row.pattern, row.name
        );
        fs::write(&file, &text).unwrap();
    }
}
