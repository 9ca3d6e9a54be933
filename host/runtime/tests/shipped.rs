//! The shipped filters as components: the same verdicts as their policies, and no more capabilities than they need.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{batch, embedded, runtime, setting, wait};
use refgate_core::{Answer, Project, RefBatch};
use refgate_runtime::{Limits, LogLevel, Origin, PluginSource, World};

/// By ref: the reason, or `recheck`.
fn said(answer: &Answer, refs: usize) -> Vec<Option<String>> {
    let mut said = vec![None; refs];
    for i in &answer.rechecks {
        said[*i as usize] = Some("recheck".to_owned());
    }
    for (indices, reason) in answer.discards.iter().rev() {
        indices.iter().for_each(|i| said[*i as usize] = Some(reason.clone()));
    }
    said
}

#[test]
fn the_components_say_what_the_policies_say_for_every_state() {
    use refgate_filter_fetch as fetch;
    use refgate_filter_push as push;
    let (runtime, _) = runtime(Limits::default());
    let set = runtime.filter_set(None, &BTreeMap::new(), &embedded(), &Default::default()).unwrap();
    assert_eq!((set.push.len(), set.fetch.len(), set.generation), (1, 1, 1));
    // All combinations of the bits that there are, in batches that a busy machine serves in time.
    for (attempt, first) in
        [0, 1].into_iter().flat_map(|attempt| [0, 1, 2, 3].map(|part| (attempt, part << 16)))
    {
        let all: Arc<RefBatch> = batch((first..first + (1 << 16)).collect(), attempt);
        let answer = wait(set.push[0].look(all.clone())).unwrap();
        for (state, said) in (first..).zip(said(&answer, all.len())) {
            let expected = push::decide(state, attempt).map(|verdict| match verdict {
                push::Answer::Recheck => "recheck",
                push::Answer::Discard(reason) => reason,
            });
            assert_eq!(said.as_deref(), expected, "push, state {state:#b}, look {attempt}");
        }
        let answer = wait(set.fetch[0].look(all.clone())).unwrap();
        for (state, said) in (first..).zip(said(&answer, all.len())) {
            let expected = fetch::decide(state, attempt).map(|verdict| match verdict {
                fetch::Answer::Recheck => "recheck",
                fetch::Answer::Discard(reason) => reason,
            });
            assert_eq!(said.as_deref(), expected, "fetch, state {state:#b}, look {attempt}");
        }
    }
}

#[test]
fn imports_are_the_whole_list_of_capabilities() {
    let (runtime, _) = runtime(Limits::default());
    for plugin in embedded() {
        let info = runtime.inspect(plugin.name, plugin.wasm).unwrap();
        assert_eq!(info.worlds, [plugin.world], "{}", plugin.name);
        let imports: Vec<_> = info.imports.iter().map(|i| i.name.as_str()).collect();
        let expected = match plugin.name {
            "project-matcher" => ["refgate:filter/log@0.1.1", "refgate:filter/project-batches@0.1.1"],
            _ => ["refgate:filter/batches@0.1.1", "refgate:filter/log@0.1.1"],
        };
        let mut sorted = imports.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected, "{}", plugin.name);
        assert_eq!(info.exports.len(), 2, "{}: {:?}", plugin.name, info.exports);
    }
}

/// Names of 0.1.0 everywhere: what a component built against the first release of the contract looks like.
#[test]
fn components_for_the_first_contract_still_run() {
    let (runtime, _) = runtime(Limits::default());
    for plugin in embedded() {
        let mut bytes = plugin.wasm.to_vec();
        let names = b"@0.1.1";
        let found: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i..].starts_with(names)).collect();
        found.iter().for_each(|i| bytes[i + names.len() - 1] = b'0');
        let info = runtime.inspect(plugin.name, &bytes).unwrap();
        assert!(info.imports.iter().chain(&info.exports).all(|i| i.name.ends_with("@0.1.0")), "{info:?}");
        let source = PluginSource {
            name: plugin.name.to_owned(),
            origin: Origin::Embedded,
            bytes: bytes.into(),
            settings: Default::default(),
            limits: None,
            isolation: Default::default(),
        };
        let old = runtime.load(source).unwrap();
        match plugin.world {
            World::ProjectMatcher => {
                let projects: Arc<[Project]> = Arc::new([Project::new("x").unwrap()]);
                assert_eq!(old.matches(projects).unwrap().selected, [true]);
            }
            world => assert_eq!(old.look(world, batch(vec![1; 3], 0)), Ok(Answer::default())),
        }
    }
}

#[test]
fn projects_are_matched_by_pattern() {
    let (runtime, lines) = runtime(Limits::default());
    let projects: Arc<[Project]> =
        ["foo/bar", "foo/car", "x"].map(|name| Project::new(name).unwrap()).into_iter().collect();
    let with = |patterns: &[&str]| {
        let settings = BTreeMap::from([("project-matcher".to_owned(), setting("pattern", patterns))]);
        runtime.filter_set(None, &settings, &embedded(), &Default::default())
    };
    let set = with(&["foo/b*", "^x"]).unwrap();
    assert_eq!(
        wait(set.projects[0].matches(projects.clone())).map(|m| m.selected),
        Ok(vec![true, false, true])
    );
    let refused = with(&["ok", "^("]).unwrap_err().to_string();
    assert!(
        refused.starts_with("plugin `project-matcher`: it refuses its settings: /pattern/1: "),
        "{refused}"
    );

    let costly = with(&["^(?=(a+)+$)b", "x"]).unwrap();
    let long: Arc<[Project]> = [format!("{}!", "a".repeat(200)), "x".to_owned()]
        .map(|name| Project::new(name).unwrap())
        .into_iter()
        .collect();
    assert_eq!(wait(costly.projects[0].matches(long)).map(|m| m.selected), Ok(vec![false, true]));
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].0 == LogLevel::Error && lines[0].1.contains("(a+)+"), "{lines:?}");
}

#[test]
fn a_matcher_without_patterns_is_listed_but_not_asked() {
    let (runtime, _) = runtime(Limits::default());
    let set = runtime.filter_set(None, &BTreeMap::new(), &embedded(), &Default::default()).unwrap();
    assert!(set.projects.is_empty());
    let names: Vec<_> = set.plugins.iter().map(|p| (p.name.as_str(), p.world)).collect();
    assert_eq!(
        names,
        [("fetch", "fetch-filter"), ("project-matcher", "project-matcher"), ("push", "push-filter")]
    );
    assert!(set.plugins.iter().all(|p| p.digest.starts_with("sha256:") && p.digest.len() == 71));
}

#[test]
fn an_unknown_setting_of_a_shipped_filter_is_refused_at_load() {
    let (runtime, _) = runtime(Limits::default());
    let settings = BTreeMap::from([("push".to_owned(), setting("mode", &["x"]))]);
    let refused =
        runtime.filter_set(None, &settings, &embedded(), &Default::default()).unwrap_err().to_string();
    assert!(refused.contains("/mode: unknown field `mode`"), "{refused}");
}
