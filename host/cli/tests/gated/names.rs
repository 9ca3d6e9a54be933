//! Refs whose names exclude each other, at sites that cannot see each other's refs but by the ref-db.

use std::process::Stdio;

use serde_json::json;

use crate::common::{PROJECT, Ran};
use crate::lab::{Gated, Kind, kinds, until};

const SHORT: &str = "refs/heads/rel";
const LONG: &str = "refs/heads/rel/1";

#[test]
fn a_name_that_excludes_one_of_another_site_is_refused_by_that_name() {
    for kind in kinds() {
        for (first, second) in [(SHORT, LONG), (LONG, SHORT)] {
            let g = Gated::new(kind);
            let c1 = g.commit(&[&g.c0], "c1");
            g.accepted("a", &format!("{c1}:{first}"));
            let ran = g.push("b", &[&format!("{c1}:{second}"), &format!("{c1}:refs/heads/rel-2")]);
            assert_eq!(ran.code, 1);
            ran.says(&[&format!("`{first}` is in its way"), "Choose another name, or delete"]);
            assert_eq!((g.value("b", second), g.global(second)), (String::new(), "untracked".into()));
            g.is_at("b", "refs/heads/rel-2", &c1);
            // What the advice says is possible, and makes room.
            g.accepted("a", &format!(":{first}"));
            g.accepted("b", &format!("{c1}:{second}"));
            g.lab.run("b", &["push", PROJECT, "a"]).ok();
            g.is_at("a", second, &c1);
            g.is_clean("b");
        }
    }
}

#[test]
fn many_new_names_are_looked_up_in_one_go() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:refs/heads/n7/deep/er"));
    g.accepted("a", &format!("{c1}:refs/heads/n8"));
    let specs: Vec<String> = (0..300)
        .map(|i| match i {
            8 => format!("{c1}:refs/heads/n8/x"),
            i => format!("{c1}:refs/heads/n{i}"),
        })
        .collect();
    let ran = g.push("b", &specs.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ran.code, 1);
    ran.says(&["`refs/heads/n7/deep/er` is in its way", "`refs/heads/n8` is in its way"]);
    assert_eq!(g.values("b").len(), 1 + 298);
}

#[test]
fn a_push_makes_room_as_git_has_it() {
    for kind in kinds() {
        let g = Gated::new(kind);
        let c1 = g.commit(&[&g.c0], "c1");
        g.accepted("a", &format!("{c1}:{SHORT}"));
        g.push("a", &[&format!(":{SHORT}"), &format!("{c1}:{LONG}")]);
        // Whether both go at once is git's to say; what the ref-db holds is what is here.
        for name in [SHORT, LONG] {
            let global = g.global(name);
            assert_eq!(g.value("a", name), if global == c1 { c1.clone() } else { String::new() }, "{global}");
        }
        g.is_clean("a");
    }
}

/// Both names recorded, as two hooks at the same moment leave it: `rel` at A, `rel/1` at B.
fn both(kind: Kind) -> (Gated, String) {
    let g = Gated::new(kind);
    let c1 = g.commit(&[&g.c0], "c1");
    for (site, name) in [("a", SHORT), ("b", LONG)] {
        g.git(site, &["fetch", "-q", g.lab.path("client").to_str().unwrap(), &c1]);
        g.git(site, &["update-ref", name, &c1]);
        g.lab.run(site, &["refdb", "cas", PROJECT, name, "absent", &c1]).ok();
    }
    (g, c1)
}

#[test]
fn two_pushes_at_the_same_moment_are_not_silent() {
    for kind in kinds() {
        for step in ["checked", "journal"] {
            let g = Gated::new(kind);
            let c1 = g.commit(&[&g.c0], "c1");
            let held = g.lab.path("held");
            let mut slow = g.pushing("a", &[&format!("{c1}:{SHORT}")]);
            slow.env("REFGATE_HOLD_AT", format!("{step}:{}", held.display()));
            let slow = slow.stderr(Stdio::piped()).spawn().unwrap();
            until("the slow push arrives", || held.exists());
            g.accepted("b", &format!("{c1}:{LONG}"));
            std::fs::remove_file(&held).unwrap();
            let slow: Ran = slow.wait_with_output().unwrap().into();
            if step == "checked" {
                // It asks the ref-db after that, and finds the other.
                assert_eq!(slow.code, 1);
                slow.says(&[&format!("`{LONG}` is in its way")]);
                continue;
            }
            // Nothing is put back: both are recorded, and everybody is told.
            assert_eq!((slow.code, g.global(SHORT), g.global(LONG)), (0, c1.clone(), c1));
            for (site, other) in [("a", "b"), ("b", "a")] {
                let ran = g.lab.run(site, &["push", PROJECT, other]);
                ran.exits(1);
                ran.says(&[&format!("`{SHORT}` and `{LONG}` are in each other's way")]);
                // Heal names the cause and the way out.
                let healed = g.lab.run(site, &["--json", "refdb", "heal", PROJECT]).json(3);
                let (row, here) = (&healed["refs"][0], if site == "a" { SHORT } else { LONG });
                assert_eq!((&row["row"], &row["result"]), (&json!("in-the-way"), &json!("left")), "{row}");
                assert!(row["what"].as_str().unwrap().contains(here), "{row}");
                assert!(row["do"].as_str().unwrap().contains("push its commit under a free name"), "{row}");
            }
        }
    }
}

#[test]
fn what_came_about_all_the_same_is_told_by_every_command_until_it_is_cured() {
    for kind in kinds() {
        let (g, c1) = both(kind);
        let told = format!("`{SHORT}` and `{LONG}` are in each other's way");
        for _ in 0..2 {
            for (site, other) in [("a", "b"), ("b", "a")] {
                for command in ["push", "fetch"] {
                    let ran = g.lab.run(site, &[command, PROJECT, other]);
                    ran.exits(1);
                    ran.says(&[&told, "push its commit under a free name"]);
                }
                let ran = g.lab.run(site, &["refdb", "check", PROJECT]);
                assert!(ran.exits(3).contains(&told), "{}", ran.out);
                let ran = g.lab.run(site, &["hook", "status", PROJECT]);
                assert!(ran.exits(3).contains(&told), "{}", ran.out);
                let healed = g.lab.run(site, &["--json", "refdb", "heal", PROJECT, "--yes"]).json(3);
                let row = &healed["refs"][0];
                assert_eq!((&row["row"], &row["result"]), (&json!("in-the-way"), &json!("left")), "{row}");
                let (what, cure) = (row["what"].as_str().unwrap(), row["do"].as_str().unwrap());
                let other_name = if site == "a" { SHORT } else { LONG };
                assert!(what.contains(other_name) && cure.contains("refdb cas"), "{row}");
            }
        }
        // The cure, as it is told.
        let ran = g.push("a", &[&format!("{c1}:refs/heads/rel-main"), &format!(":{SHORT}")]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        for (site, other) in [("a", "b"), ("b", "a"), ("a", "b")] {
            g.lab.run(site, &["push", PROJECT, other]).ok();
            g.lab.run(site, &["fetch", PROJECT, other]).ok();
        }
        for site in ["a", "b"] {
            assert_eq!(g.lab.run(site, &["refdb", "check", PROJECT]).code, 0);
            g.lab.run(site, &["refdb", "heal", PROJECT]).ok();
            g.is_at(site, LONG, &c1);
            g.is_at(site, "refs/heads/rel-main", &c1);
        }
    }
}

#[test]
fn a_name_that_no_site_has_any_more_is_taken_out_as_heal_says() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("b", &format!("{c1}:{LONG}"));
    g.lab.run("b", &["refdb", "cas", PROJECT, SHORT, "absent", &c1]).ok();
    let healed = g.lab.run("b", &["--json", "refdb", "heal", PROJECT]).json(3);
    let cure = healed["refs"][0]["do"].as_str().unwrap();
    let command = cure.rsplit("`refgate ").next().unwrap().trim_end_matches('`');
    g.lab.run("b", &command.split(' ').collect::<Vec<_>>()).ok();
    g.lab.run("b", &["refdb", "heal", PROJECT]).ok();
}

#[test]
fn seeding_and_publishing_record_no_name_beside_one_that_excludes_it() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    g.accepted("a", &format!("{c1}:{SHORT}"));
    g.git("b", &["update-ref", LONG, &g.c0]);
    for command in ["seed", "publish"] {
        let ran = g.lab.run("b", &["refdb", command, PROJECT]);
        assert!(ran.exits(3).contains(LONG), "{}", ran.out);
        assert_eq!(g.global(LONG), "untracked");
    }
}
