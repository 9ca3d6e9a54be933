//! The live set: what becomes live, what is quarantined, what comes back after a restart, and going back.

mod common;
#[path = "common/lab.rs"]
#[allow(dead_code, reason = "the other tests of swaps use the rest")]
mod lab;
#[path = "common/versions.rs"]
#[allow(dead_code, reason = "the other tests of swaps use the rest")]
mod versions;

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use common::{batch, wait};
use lab::{Lab, quarantined, reasons};
use refgate_core::chain::{self, Said};
use refgate_core::{FilterSource, Project};
use refgate_runtime::{
    Candidate, Event, Manifest, Settings, Standing, SwapOptions, Swapper, release, roll_back,
};
use versions::{discards, refuses, traps};

#[test]
fn files_come_change_and_go_while_the_set_lives() {
    let lab = Lab::new();
    let (swapper, _) = lab.start();
    assert_eq!((swapper.generation(), reasons(&swapper.current())), (1, vec![String::new(); 3]));
    assert_eq!(swapper.scan(), [], "nothing changed");

    lab.place("a.wasm", &discards(0, "one"));
    let events = swapper.scan();
    assert_eq!(events, [Event::Live { generation: 2, new: vec!["a".into()], gone: vec![], proof: None }]);
    let held = swapper.current();
    assert_eq!(reasons(&held), ["one", "", ""]);

    lab.place("a.wasm", &discards(1, "two"));
    swapper.scan();
    assert_eq!(
        (swapper.generation(), reasons(&swapper.current())),
        (3, vec!["".into(), "two".into(), "".into()])
    );
    // Who took the old set goes on with it.
    assert_eq!((held.generation, reasons(&held)), (2, vec!["one".into(), "".into(), "".into()]));

    fs::remove_file(lab.plugins().join("a.wasm")).unwrap();
    let events = swapper.scan();
    assert!(
        events[0].is_warning()
            && events[0].to_string().contains("gone, and with them what they held back: a")
    );
    assert_eq!(reasons(&swapper.current()), ["", "", ""]);
}

#[test]
fn what_cannot_be_used_is_quarantined_and_the_live_set_stays() {
    let lab = Lab::new();
    lab.place("a.wasm", &discards(0, "good"));
    let (swapper, _) = lab.start();
    let good = discards(0, "better");
    let huge = vec![0u8; (64 << 20) + 1];
    let many: [(&str, Vec<u8>, &str); 6] = [
        ("a.wasm", good[..good.len() / 2].to_vec(), "damaged"),
        ("a.wasm", Vec::new(), "empty"),
        ("a.wasm", huge, "larger than 64 MiB"),
        ("a.wasm", refuses(), "refuses its settings: : no!"),
        ("a.wasm", b"\0asm\x01\0\0\0".to_vec(), "core module"),
        ("a.wasm", wat::parse_str("(component)").unwrap(), "no world"),
    ];
    for (file, bytes, why) in many {
        lab.place(file, &bytes);
        let events = swapper.scan();
        let Event::Refused { name, reason, .. } = &events[0] else { panic!("{why}: {events:?}") };
        assert!(name == "a" && reason.contains(why), "{why}: {reason}");
        assert!(quarantined(&swapper, "a").unwrap().contains(why));
        assert_eq!(
            (swapper.generation(), reasons(&swapper.current())),
            (1, vec!["good".into(), "".into(), "".into()])
        );
        assert_eq!(swapper.scan(), [], "it is said once");
    }
    lab.place("a.wasm", &good);
    assert_eq!(
        swapper.scan()[0],
        Event::Live { generation: 2, new: vec!["a".into()], gone: vec![], proof: None }
    );
    assert_eq!(quarantined(&swapper, "a"), None);
}

#[test]
fn a_directory_that_vanishes_and_a_file_that_must_be_there_change_nothing() {
    let lab = Lab::new();
    lab.place("a.wasm", &discards(0, "good"));
    let options = SwapOptions { require: vec!["a".into()], ..lab.options() };
    let (swapper, _) = Swapper::start(&lab.runtime, options).unwrap();
    fs::rename(lab.plugins().join("a.wasm"), lab.plugins().join("a.off")).unwrap();
    assert!(swapper.scan()[0].to_string().contains("it is required by the configuration"));
    fs::rename(lab.plugins(), lab.root.path().join("away")).unwrap();
    assert!(swapper.scan()[0].to_string().contains("cannot be read"));
    assert!(swapper.status()[0].name.is_empty(), "the directory itself is listed");
    assert_eq!(reasons(&swapper.current()), ["good", "", ""]);
    fs::rename(lab.root.path().join("away"), lab.plugins()).unwrap();
    fs::rename(lab.plugins().join("a.off"), lab.plugins().join("a.wasm")).unwrap();
    assert_eq!(swapper.scan(), []);
    assert_eq!((swapper.generation(), quarantined(&swapper, "")), (1, None));
}

#[test]
fn two_names_that_differ_in_case_are_one_too_many() {
    let lab = Lab::new();
    let (swapper, _) = lab.start();
    lab.place("a.wasm", &discards(0, "one"));
    lab.place("A.wasm", &discards(0, "two"));
    let said: Vec<String> = swapper.scan().iter().map(Event::to_string).collect();
    assert!(said.len() == 2 && said.iter().all(|s| s.contains("two plugins of one name")), "{said:?}");
    assert_eq!(swapper.generation(), 1);
}

#[test]
fn a_restart_comes_back_with_the_set_even_when_the_directory_is_broken() {
    let lab = Lab::new();
    lab.place("a.wasm", &discards(0, "good"));
    drop(lab.start());
    lab.place("a.wasm", b"broken");
    assert!(lab.strict().err().unwrap().to_string().contains("not WebAssembly"), "a command does not guess");
    let (swapper, events) = lab.start();
    assert_eq!(events[0], Event::Resumed { generation: 1 });
    assert!(matches!(&events[1], Event::Refused { name, .. } if name == "a"));
    assert_eq!(
        (swapper.generation(), reasons(&swapper.current())),
        (1, vec!["good".into(), "".into(), "".into()])
    );
    drop(swapper);
    fs::remove_dir_all(lab.plugins()).unwrap();
    assert_eq!(reasons(&lab.start().0.current()), ["good", "", ""]);
}

#[test]
fn the_same_set_keeps_its_number_over_restarts_and_other_settings_are_another_set() {
    let lab = Lab::new();
    lab.place("a.wasm", &discards(0, "good"));
    for _ in 0..3 {
        assert_eq!(lab.strict().unwrap().0.generation(), 1);
    }
    let (swapper, _) = lab.start();
    let settings = |n: &str| -> Settings { BTreeMap::from([("a".to_owned(), common::setting("n", &[n]))]) };
    swapper.set_settings(settings("1"));
    assert_eq!(swapper.generation(), 2);
    swapper.set_settings(settings("1"));
    assert_eq!(swapper.generation(), 2);
    let both = || settings("1").into_iter().chain([("b".to_owned(), common::setting("n", &["1"]))]).collect();
    let said = swapper.set_settings(both());
    assert!(
        matches!(&said[..], [Event::Unused(one)] if one.to_string().contains("settings for it, but no such plugin")),
        "{said:?}"
    );
    assert_eq!((swapper.set_settings(both()), swapper.generation()), (vec![], 2), "it is said once");
    lab.place("a.toml", b"remotes = ['elsewhere']");
    swapper.set_settings(settings("1"));
    assert_eq!(
        (swapper.generation(), reasons(&swapper.current())),
        (3, vec![String::new(); 3]),
        "it is not asked here"
    );
}

#[test]
fn a_rollback_goes_back_and_stays_until_other_bytes_come() {
    let lab = Lab::new();
    let bad = discards(0, "bad");
    lab.place("a.wasm", &discards(0, "good"));
    let (swapper, _) = lab.start();
    assert!(swapper.rollback("x").unwrap_err().to_string().contains("no set before"));
    lab.place("a.wasm", &bad);
    swapper.scan();
    let events = swapper.rollback("it is bad").unwrap();
    assert!(
        events[0]
            .to_string()
            .contains("generation 2 was rolled back, generation 3 is live; taken back: a; it is bad")
    );
    assert_eq!(reasons(&swapper.current()), ["good", "", ""]);
    assert_eq!(swapper.scan(), [], "the file is still the bad one");
    assert_eq!(quarantined(&swapper, "a").unwrap(), "it is bad");
    // Commands leave it aside too, and say so.
    let (command, events) = lab.strict().unwrap();
    assert!(events[0].to_string().contains("`refgate plugins release a`"), "{events:?}");
    assert_eq!(
        (command.generation(), reasons(&command.current())),
        (3, vec!["good".into(), "".into(), "".into()])
    );
    // After a restart as well.
    assert_eq!(reasons(&lab.start().0.current()), ["good", "", ""]);
    assert!(release(&lab.state(), "a").unwrap() && !release(&lab.state(), "a").unwrap());
    swapper.scan();
    assert_eq!(reasons(&swapper.current()), ["bad", "", ""]);
    // Another process takes it back; this one follows.
    roll_back(&lab.state(), 0, "again").unwrap();
    assert!(matches!(&swapper.scan()[0], Event::RolledBack { .. }));
    assert_eq!(reasons(&swapper.current()), ["good", "", ""]);
    lab.place("a.wasm", &discards(0, "other"));
    swapper.scan();
    assert_eq!(reasons(&swapper.current()), ["other", "", ""]);
}

#[test]
fn without_a_saved_state_one_can_go_back_once() {
    let lab = Lab::new();
    lab.place("a.wasm", &discards(0, "good"));
    let (swapper, _) = Swapper::start(&lab.runtime, SwapOptions { state: None, ..lab.options() }).unwrap();
    lab.place("a.wasm", &discards(0, "bad"));
    swapper.scan();
    swapper.rollback("x").unwrap();
    assert_eq!(
        (swapper.scan(), reasons(&swapper.current())),
        (vec![], vec!["good".into(), "".into(), "".into()])
    );
    assert!(swapper.rollback("x").is_err());
}

#[test]
fn a_set_that_does_not_prove_itself_never_decides() {
    let lab = Lab::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let prove = move |candidate: &Candidate<'_>| {
        let names: Vec<String> = candidate.new.iter().map(|build| build.name.to_owned()).collect();
        kept.lock().unwrap().push(names);
        match reasons(candidate.set)[0].as_str() {
            "bad" => Err("a case fails".to_owned()),
            _ => Ok("all well".to_owned()),
        }
    };
    let options = SwapOptions { prove: Some(Arc::new(prove)), ..lab.options() };
    let (swapper, _) = Swapper::start(&lab.runtime, options).unwrap();
    lab.place("b.wasm", &discards(1, "good"));
    assert!(swapper.scan()[0].to_string().ends_with("new: b; all well"));
    lab.place("a.wasm", &discards(0, "bad"));
    assert!(swapper.scan()[0].to_string().contains("a case fails"));
    assert_eq!(swapper.scan(), []);
    assert_eq!(reasons(&swapper.current()), ["", "good", ""]);
    assert_eq!(
        *seen.lock().unwrap(),
        [vec!["b".to_owned()], vec!["a".to_owned()]],
        "and not again at every look"
    );
}

#[test]
fn a_set_watches_before_it_decides_and_stays_out_when_it_changes_too_much() {
    for (most, becomes_live) in [(50.0, true), (10.0, false)] {
        let lab = Lab::new();
        let options = SwapOptions { shadow_looks: 2, max_changed_percent: most, ..lab.options() };
        let (swapper, _) = Swapper::start(&lab.runtime, options).unwrap();
        lab.place("a.wasm", &discards(0, "new"));
        assert!(matches!(&swapper.scan()[0], Event::Shadowing { looks: 2, .. }));
        let shadow = swapper.shadow().unwrap();
        assert!(swapper.status().iter().any(|s| s.name == "a" && s.standing == Standing::Shadow));
        for _ in 0..2 {
            assert_eq!((reasons(&swapper.current())[0].as_str(), swapper.scan()), ("", vec![]));
            wait(shadow.look(&batch(vec![1; 3], 0), &vec![Said::Keep; 3]));
        }
        assert_eq!((shadow.counts().refs, shadow.counts().changed, shadow.examples().len()), (6, 2, 2));
        let events = swapper.scan();
        assert_eq!(reasons(&swapper.current())[0] == "new", becomes_live, "{events:?}");
        assert_eq!(swapper.scan(), []);
        assert_eq!(quarantined(&swapper, "a").is_none(), becomes_live);
    }
}

#[test]
fn what_counts_when_a_plugin_fails_is_its_operators_choice() {
    let lab = Lab::new();
    let failures = Arc::new(Mutex::new(Vec::new()));
    let told = failures.clone();
    let options = SwapOptions {
        failures: Some(Arc::new(move |plugin, _, error| {
            told.lock().unwrap().push(format!("{plugin}: {error}"))
        })),
        ..lab.options()
    };
    let (swapper, _) = Swapper::start(&lab.runtime, options).unwrap();
    let ask = |policy: &str| {
        lab.place("a.toml", format!("on-failure = '{policy}'").as_bytes());
        lab.place("a.wasm", &discards(0, "good"));
        swapper.scan();
        lab.place("a.wasm", &traps());
        swapper.scan();
        let look = wait(chain::look(&swapper.current(), &batch(vec![1; 3], 0)));
        let reason = |said: &Said| match said {
            Said::Discard { reason, .. } => reason.to_string(),
            _ => String::new(),
        };
        (look.said.iter().map(reason).collect::<Vec<_>>(), look.problems.join("\n"))
    };
    let (closed, said) = ask("closed");
    assert_eq!(closed, vec!["filter-failed"; 3]);
    assert!(said.contains("filter `a`: ") && said.contains("trapped"), "{said}");
    let (open, said) = ask("open");
    assert_eq!(open, ["", "", ""]);
    assert!(said.contains("trapped") && said.contains("configured to hold nothing back"), "{said}");
    let (last, said) = ask("last-good");
    assert_eq!(last, ["good", "", ""]);
    assert!(said.contains("its last good build sha256:"), "{said}");
    assert_eq!(failures.lock().unwrap().len(), 3);
}

#[test]
fn a_survey_changes_nothing_and_names_everything() {
    let lab = Lab::new();
    lab.place("a.wasm", &discards(0, "good"));
    let survey = || Swapper::survey(&lab.runtime, lab.options()).unwrap();
    let first = survey();
    assert_eq!((first.plugins.len(), first.generation, first.refused), (4, 1, None));
    assert_eq!(lab.state().read().unwrap().live, None);
    drop(lab.start());
    lab.place("b.wasm", b"junk");
    lab.place("c.toml", b"what = 1");
    let now = survey();
    let standing = |name: &str| now.plugins.iter().find(|p| p.name == name).map(|p| p.standing.clone());
    assert_eq!(standing("a"), Some(Standing::Live), "it is what a running host uses");
    assert!(matches!(standing("b"), Some(Standing::Quarantined(r)) if r.contains("not WebAssembly")));
    assert!(matches!(standing("c"), Some(Standing::Quarantined(r)) if r.contains("unknown field `what`")));
    assert_eq!(now.generation, 1);
    assert!(now.refused.is_some());
}

#[test]
fn a_matcher_is_asked_only_where_it_applies() {
    let lab = Lab::new();
    lab.place("project-matcher.toml", b"projects = ['team/*']\n[settings]\npattern = ['team/open']");
    let (swapper, _) = lab.start();
    let projects: Vec<Project> =
        ["team/open", "team/closed", "other"].iter().map(|p| Project::new(*p).unwrap()).collect();
    let set = swapper.current();
    let matched = wait(set.projects[0].matches(projects.into())).unwrap();
    assert_eq!(matched.selected, [true, false, true]);
}

#[test]
fn a_state_that_cannot_be_written_stops_no_swap_and_no_number_is_used_twice() {
    let lab = Lab::new();
    let (swapper, _) = lab.start();
    let lock = lab.state().dir().join("lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    lab.place("a.wasm", &discards(0, "one"));
    let events = swapper.scan();
    assert!(events[0].to_string().contains("decisions go on"), "{events:?}");
    assert_eq!((swapper.generation(), reasons(&swapper.current())[0].as_str()), (2, "one"));
    fs::remove_dir(&lock).unwrap();
    lab.place("a.wasm", &discards(0, "two"));
    swapper.scan();
    assert_eq!((swapper.generation(), lab.state().read().unwrap().last), (3, 3));
}

#[test]
fn a_saved_set_that_cannot_be_used_any_more_leaves_it_to_the_directory() {
    // Its settings do not suit any more.
    let lab = Lab::new();
    let schema = serde_json::json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let manifest = Manifest { settings: Some(schema), ..Manifest::default() };
    lab.place("a.wasm", &manifest.embed(&discards(0, "old")).unwrap());
    drop(lab.start());
    lab.place("a.wasm", &discards(0, "new"));
    let settings = BTreeMap::from([("a".to_owned(), common::setting("n", &["many"]))]);
    let (swapper, events) = Swapper::start(&lab.runtime, SwapOptions { settings, ..lab.options() }).unwrap();
    assert!(matches!(&events[0], Event::StateFailed { error } if error.contains("/n")), "{events:?}");
    assert_eq!((swapper.generation(), reasons(&swapper.current())[0].as_str()), (2, "new"));
    // Its bytes are damaged.
    for file in fs::read_dir(lab.state().dir().join("store")).unwrap() {
        fs::write(file.unwrap().path(), "junk").unwrap();
    }
    lab.place("a.wasm", &discards(0, "newer"));
    let (swapper, events) = lab.start();
    assert!(matches!(&events[0], Event::StateFailed { error } if error.contains("damaged")), "{events:?}");
    assert_eq!(reasons(&swapper.current())[0], "newer");
    fs::remove_dir_all(lab.plugins()).unwrap();
    fs::remove_dir_all(lab.state().dir().join("store")).unwrap();
    assert!(Swapper::start(&lab.runtime, SwapOptions { state: Some(lab.state()), ..lab.options() }).is_err());
}
