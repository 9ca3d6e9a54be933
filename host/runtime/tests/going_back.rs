//! Going back to sets that are kept, and the set that writes of clients have when the directory cannot be used.

mod common;
#[path = "common/lab.rs"]
#[allow(dead_code, reason = "the other tests of swaps use the rest")]
mod lab;
#[path = "common/versions.rs"]
#[allow(dead_code, reason = "the other tests of swaps use the rest")]
mod versions;

use std::collections::BTreeMap;
use std::fs;

use common::{embedded, setting, wait};
use lab::{Lab, reasons};
use refgate_core::{FilterSource, Project};
use refgate_runtime::{
    Event, Manifest, Settings, Standing, SwapOptions, Swapper, release, roll_back, roll_back_to, rolled_back,
};
use serde_json::json;
use versions::discards;

/// Generations 1 to 4 with `a` of these reasons, each as a command makes it live.
fn four(lab: &Lab) {
    for (generation, reason) in [(1, "one"), (2, "two"), (3, "three"), (4, "four")] {
        lab.place("a.wasm", &discards(0, reason));
        assert_eq!(lab.strict().unwrap().0.generation(), generation);
    }
}

fn decides(lab: &Lab) -> String {
    reasons(&lab.strict().unwrap().0.current())[0].clone()
}

/// Number and whether it was taken back, the newest first.
fn kept(lab: &Lab) -> Vec<(u64, bool)> {
    let saved = lab.state().read().unwrap();
    saved.previous.iter().map(|set| (set.id, set.taken_back)).collect()
}

#[test]
fn one_can_go_back_to_any_set_that_is_kept_and_forward_again() {
    let lab = Lab::new();
    four(&lab);
    let saved = lab.state().read().unwrap();
    let planned = rolled_back(&saved, Some(2), 7, "try").unwrap();
    assert_eq!((planned.of, planned.plugins.as_slice()), (2, &["a".to_owned()][..]));
    assert_eq!(lab.state().read().unwrap(), saved, "it is only said");
    for (to, why) in [(4, "is the live one"), (9, "kept are: 3, 2, 1")] {
        let error = roll_back_to(&lab.state(), Some(to), 7, "x").unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let done = roll_back_to(&lab.state(), Some(2), 7, "back to two").unwrap();
    assert_eq!(done.saved, rolled_back(&saved, Some(2), 7, "back to two").unwrap().saved);
    assert_eq!(
        (decides(&lab).as_str(), kept(&lab)),
        ("two", vec![(4, true), (3, true), (2, false), (1, false)])
    );
    // Once more is further back, and not to what was left.
    roll_back(&lab.state(), 8, "further").unwrap();
    assert_eq!(decides(&lab), "one");
    assert!(roll_back(&lab.state(), 8, "further").unwrap_err().to_string().contains("no set before"));
    // What is wanted again is not left aside any more.
    let error = roll_back_to(&lab.state(), Some(1), 9, "x").unwrap_err().to_string();
    assert!(error.contains("the same files as the live one"), "{error}");
    roll_back_to(&lab.state(), Some(4), 9, "it was right").unwrap();
    assert_eq!(decides(&lab), "four");
    let left_aside = lab.strict().unwrap().1;
    assert!(left_aside.iter().all(|event| !matches!(event, Event::LeftAside { .. })), "{left_aside:?}");
}

#[test]
fn that_a_file_went_can_be_taken_back() {
    let lab = Lab::new();
    lab.place("a.wasm", &discards(0, "policy"));
    lab.strict().unwrap();
    fs::remove_file(lab.plugins().join("a.wasm")).unwrap();
    assert_eq!(decides(&lab), "");
    let (_, plugins) = roll_back(&lab.state(), 5, "it is needed").unwrap();
    assert_eq!(plugins, ["a"]);
    for _ in 0..2 {
        let (swapper, events) = lab.strict().unwrap();
        assert_eq!(reasons(&swapper.current())[0], "policy");
        let said = events[0].to_string();
        assert!(said.contains("put the file back") && said.contains("it is needed"), "{said}");
    }
    let (running, _) = lab.start();
    assert_eq!((reasons(&running.current())[0].as_str(), running.scan()), ("policy", vec![]));
    let live = |s: &refgate_runtime::PluginStatus| s.name == "a" && s.standing == Standing::Live;
    assert_eq!(running.status().iter().filter(|s| s.name == "a").map(live).collect::<Vec<_>>(), [true]);
    // The file is there again: the directory decides.
    lab.place("a.wasm", &discards(0, "policy"));
    assert!(running.scan().is_empty() && decides(&lab) == "policy");
    fs::remove_file(lab.plugins().join("a.wasm")).unwrap();
    assert!(release(&lab.state(), "a").unwrap());
    assert_eq!(decides(&lab), "");
}

fn for_writes(lab: &Lab, settings: &Settings) -> (Swapper, String) {
    let options = SwapOptions { settings: settings.clone(), ..lab.options() };
    let (swapper, events) = Swapper::start_for_writes(&lab.runtime, options).unwrap();
    let said: Vec<String> = events.iter().filter(|e| e.is_warning()).map(Event::to_string).collect();
    (swapper, said.join("; "))
}

#[test]
fn writes_of_clients_go_on_with_the_last_live_set_whatever_lies_in_the_directory() {
    let lab = Lab::new();
    let none = Settings::new();
    lab.place("a.wasm", &discards(0, "good"));
    assert_eq!(for_writes(&lab, &none).1, "");
    let whole = discards(0, "other");
    let files: [(&str, &[u8], &str); 4] = [
        ("b.wasm", &whole[..whole.len() / 2], "damaged"),
        ("A.wasm", &whole, "two plugins of one name"),
        ("a.toml", b"on-failure = 'ajar'", "`ajar`"),
        ("b.toml", b"digest = 'sha256:12'", "64 hex digits"),
    ];
    let goes_on = |what: &str, why: &str| {
        assert!(lab.strict().is_err(), "{what}: a command refuses");
        let (swapper, said) = for_writes(&lab, &none);
        let decides = reasons(&swapper.current());
        assert_eq!((swapper.generation(), decides[0].as_str()), (1, "good"), "{what}: {said}");
        assert!(said.contains(why) && said.contains("generation 1, which was live last"), "{what}: {said}");
    };
    for (name, bytes, why) in files {
        lab.place(name, bytes);
        goes_on(name, why);
        fs::remove_file(lab.plugins().join(name)).unwrap();
    }
    fs::remove_dir_all(lab.plugins()).unwrap();
    goes_on("no directory", "cannot be read");
    fs::write(lab.plugins(), "no directory").unwrap();
    goes_on("a file", "not a directory");
}

/// The shipped matcher as a file that has to be told its patterns.
fn matcher() -> Vec<u8> {
    let manifest = Manifest { settings: Some(json!({"required": ["pattern"]})), ..Manifest::default() };
    manifest.embed(embedded().iter().find(|e| e.name == "project-matcher").unwrap().wasm).unwrap()
}

fn patterns(plugin: &str, pattern: &str) -> Settings {
    BTreeMap::from([(plugin.to_owned(), setting("pattern", &[pattern]))])
}

/// Whether every matcher of the set selects `team/app`.
fn selects(swapper: &Swapper) -> bool {
    let project = || [Project::new("team/app").unwrap()].into();
    swapper.current().projects.iter().all(|m| wait(m.matches(project())).unwrap().selected == [true])
}

#[test]
fn a_matcher_that_was_live_selects_as_it_did_and_one_that_never_was_leaves_nothing_out() {
    let lab = Lab::new();
    lab.place("m.wasm", &matcher()[..5000]);
    let (swapper, said) = for_writes(&lab, &patterns("m", "other/*"));
    assert!(selects(&swapper) && said.contains("with what can be used"), "{said}");
    assert_eq!(lab.state().read().unwrap().live, None, "half a set is not saved");
    lab.place("m.wasm", &matcher());
    assert!(!selects(&for_writes(&lab, &patterns("m", "other/*")).0));
    // Its settings go, or are wrong: it has those of before.
    for settings in [Settings::new(), patterns("m", "^(")] {
        let (swapper, said) = for_writes(&lab, &settings);
        assert!(!selects(&swapper) && said.contains("refuses its settings"), "{said}");
    }
    lab.place("m.wasm", b"torn");
    assert!(!selects(&for_writes(&lab, &patterns("m", "other/*")).0));
    assert!(selects(&for_writes(&lab, &patterns("m", "team/*")).0), "today's settings count if they can");
}

#[test]
fn what_the_configuration_itself_says_wrongly_is_refused_unless_something_was_live() {
    let lab = Lab::new();
    let bad = SwapOptions { settings: patterns("project-matcher", "^("), ..lab.options() };
    let error = Swapper::start_for_writes(&lab.runtime, bad).err().unwrap().to_string();
    assert!(error.contains("project-matcher") && error.contains("refuses its settings"), "{error}");
    // A file of its name stops nothing.
    lab.place("project-matcher.toml", b"[settings]\npattern = ['^(']\n");
    assert!(selects(&for_writes(&lab, &Settings::new()).0));
    assert!(!selects(&for_writes(&lab, &patterns("project-matcher", "other/*")).0));
    fs::remove_file(lab.plugins().join("project-matcher.toml")).unwrap();
    assert!(!selects(&for_writes(&lab, &patterns("project-matcher", "other/*")).0));
    assert!(!selects(&for_writes(&lab, &patterns("project-matcher", "^(")).0), "as it was last");
}

#[test]
fn a_state_that_cannot_be_read_stops_no_write() {
    let lab = Lab::new();
    lab.place("a.wasm", &discards(0, "good"));
    lab.strict().unwrap();
    fs::write(lab.state().dir().join("live.json"), "{").unwrap();
    let (swapper, said) = for_writes(&lab, &Settings::new());
    assert_eq!(reasons(&swapper.current())[0], "good");
    assert!(said.contains("is damaged") && said.contains("the plugin directory decides"), "{said}");
    assert_eq!(fs::read(lab.state().dir().join("live.json.damaged")).unwrap(), b"{");
    assert!(lab.state().read().unwrap().live.is_some(), "it is written anew");
    assert_eq!(for_writes(&lab, &Settings::new()).1, "", "and said once");
}

#[test]
fn a_new_plugin_waits_for_its_settings_and_one_that_decides_does_not() {
    let lab = Lab::new();
    let start = |settings: &Settings, require: &[&str]| {
        let require = require.iter().map(|name| (*name).to_owned()).collect();
        Swapper::start_strict(
            &lab.runtime,
            SwapOptions { settings: settings.clone(), require, ..lab.options() },
        )
    };
    let none = Settings::new();
    start(&none, &[]).unwrap();
    lab.place("m.wasm", &matcher());
    let (swapper, events) = start(&none, &[]).unwrap();
    assert_eq!(swapper.generation(), 1, "nothing else decides");
    assert!(events.iter().any(|e| matches!(e, Event::Waiting { name, .. } if name == "m")), "{events:?}");
    let waits = |s: &refgate_runtime::PluginStatus| {
        s.name == "m" && matches!(&s.standing, Standing::Waiting(r) if r.contains("/pattern"))
    };
    assert!(swapper.status().iter().any(waits));
    assert!(Swapper::survey(&lab.runtime, lab.options()).unwrap().plugins.iter().any(waits));
    assert!(start(&none, &["m"]).is_err(), "it has to be there");
    assert!(start(&patterns("m", "^("), &[]).is_err(), "wrong is not missing");
    // A running host has the same, and takes the settings when they come.
    let (running, events) = lab.start();
    assert!(
        events.iter().any(|e| matches!(e, Event::Waiting { .. })) && running.scan().is_empty(),
        "{events:?}"
    );
    assert!(
        matches!(&running.set_settings(patterns("m", "other/*"))[..], [Event::Live { new, .. }] if new == &["m"])
    );
    assert!(!selects(&running));
    let events = running.set_settings(none.clone());
    assert!(matches!(&events[..], [Event::Refused { name, .. }] if name == "m"), "{events:?}");
    assert!(start(&none, &[]).is_err(), "a policy does not go unnoticed");
    start(&patterns("m", "other/*"), &[]).unwrap();
    // Without anything saved nobody can tell whether it decided before.
    let options = SwapOptions { state: None, ..lab.options() };
    assert!(Swapper::start_strict(&lab.runtime, options).is_err());
}
