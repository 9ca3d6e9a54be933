//! The files of docs/recipes, as they are shipped: their commands run, and systemd reads the units.

use std::fs;
use std::process::Command;

use crate::common::{Lab, PROJECT, REFGATE, Ran, clean, root};

fn recipe(name: &str) -> String {
    fs::read_to_string(root().join("docs/recipes").join(name)).unwrap()
}

/// The command of refgate in a recipe, with the program and the configuration of the test.
fn here(lab: &Lab, line: &str) -> String {
    let config = lab.path("a/refgate.config");
    line.replace("/usr/local/bin/refgate", REFGATE)
        .replace("/etc/refgate/refgate.config", config.to_str().unwrap())
        .replace("%i", "b")
        .replace("site-b", "b")
        .replace("/run/lock", lab.dir.path().to_str().unwrap())
}

fn shell(lab: &Lab, line: &str) -> Ran {
    Ran::of(clean("sh", lab.dir.path()).args(["-c", line]))
}

#[test]
fn the_unit_pushes_all_projects_and_takes_exit_code_3_for_no_failure() {
    let (lab, first) = Lab::seeded();
    lab.hooks();
    let unit = recipe("refgate-push@.service");
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let second = lab.commit("a", "refs/heads/main", &[&first]);
    lab.run("a", &["refdb", "publish", PROJECT]).ok();
    let ran = shell(&lab, &here(&lab, command));
    assert_eq!((ran.ok(), ran.err.as_str()), ("", ""));
    assert_eq!(lab.value("b", "refs/heads/main"), second);
    lab.run("a", &["refdb", "put", PROJECT, "refs/heads/main", &"7".repeat(40)]).ok();
    lab.commit("a", "refs/heads/main", &[&second]);
    shell(&lab, &here(&lab, command)).exits(3);
    assert!(unit.lines().any(|line| line == "SuccessExitStatus=3"), "{unit}");
}

#[test]
fn the_line_for_cron_ends_well_where_something_is_held_back() {
    let (lab, first) = Lab::seeded();
    let cron = recipe("refgate.cron");
    let line = cron.lines().find(|line| line.starts_with('*')).unwrap();
    // Five fields of time and the user.
    let command = line.splitn(7, ' ').nth(6).unwrap();
    lab.run("a", &["refdb", "put", PROJECT, "refs/heads/main", &"7".repeat(40)]).ok();
    lab.commit("a", "refs/heads/main", &[&first]);
    let ran = shell(&lab, &here(&lab, command));
    assert!(ran.ok().contains("1 held back"), "{}", ran.out);
    fs::remove_file(lab.path("a/refgate.config")).unwrap();
    assert_ne!(shell(&lab, &here(&lab, command)).code, 0);
}

#[test]
fn systemd_reads_the_units() {
    let lab = Lab::new();
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        // Not everywhere; the commands are run by the other tests.
        return;
    }
    for name in ["refgate-push@.service", "refgate-push@.timer"] {
        lab.write(name, here(&lab, &recipe(name).replace("%i", "PERCENT-I")).replace("PERCENT-I", "%i"));
    }
    let mut verify = clean("systemd-analyze", lab.dir.path());
    verify.current_dir(lab.dir.path()).args([
        "verify",
        "--man=no",
        "./refgate-push@b.service",
        "./refgate-push@b.timer",
    ]);
    let ran = Ran::of(&mut verify);
    assert!(ran.code == 0 && !ran.err.contains("refgate"), "{}{}", ran.out, ran.err);
}
