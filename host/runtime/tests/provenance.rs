//! What is known of a plugin before it runs: its manifest, and what that says of settings and of the host.

mod common;

use common::{embedded, runtime, setting};
use refgate_runtime::{
    Fault, Isolation, Limits, LoadError, LoadedPlugin, Manifest, Origin, PluginSource, Runtime,
};
use serde_json::{Map, Value, json};

fn load(runtime: &Runtime, wasm: Vec<u8>, settings: Map<String, Value>) -> Result<LoadedPlugin, LoadError> {
    runtime.load(PluginSource {
        name: "p".to_owned(),
        origin: Origin::File("plugins/p.wasm".into()),
        bytes: wasm.into(),
        settings,
        limits: None,
        isolation: Isolation::Reuse,
    })
}

fn matcher() -> Vec<u8> {
    embedded().iter().find(|e| e.name == "project-matcher").unwrap().wasm.to_vec()
}

#[test]
fn settings_are_judged_by_the_manifest_of_a_plugin_that_would_not_start() {
    let (runtime, _) = runtime(Limits::default());
    // No world, so it never comes to start.
    let idle = wat::parse_str("(component)").unwrap();
    let manifest = Manifest {
        settings: Some(json!({"properties": {"count": {"type": "integer"}}, "additionalProperties": false})),
        ..Manifest::default()
    };
    let wasm = manifest.embed(&idle).unwrap();
    let error = load(&runtime, wasm.clone(), setting("count", &["many"])).err().unwrap();
    assert_eq!(error.fault, Fault::Settings);
    assert_eq!(
        error.to_string(),
        "plugin `plugins/p.wasm`: it refuses its settings: /count: \"many\" is not a whole number"
    );
    let error = load(&runtime, wasm, setting("count", &["3"])).err().unwrap();
    assert!(error.fault == Fault::Plugin && error.to_string().contains("exports no world"), "{error}");
}

#[test]
fn settings_reach_the_plugin_as_its_manifest_has_them() {
    let (runtime, _) = runtime(Limits::default());
    let manifest = Manifest {
        name: Some("matcher".into()),
        settings: Some(json!({"properties": {"pattern": {"type": "array", "items": {"type": "string"}}}})),
        ..Manifest::default()
    };
    let wasm = manifest.embed(&matcher()).unwrap();
    let plugin = load(&runtime, wasm.clone(), setting("pattern", &["team/*"])).unwrap();
    assert_eq!(plugin.manifest(), Some(&manifest));
    let projects = ["team/app", "other"].map(|name| refgate_core::Project::new(name).unwrap());
    assert_eq!(plugin.matches(projects.into()).unwrap().selected, [true, false]);
    let info = runtime.inspect("p", &wasm).unwrap();
    assert_eq!((info.manifest, info.size), (Some(manifest), wasm.len()));
    assert_eq!(load(&runtime, matcher(), Map::new()).unwrap().manifest(), None);
}

#[test]
fn a_plugin_for_a_newer_host_or_with_a_broken_manifest_is_refused() {
    let (runtime, _) = runtime(Limits::default());
    let newer = Manifest { minimum_host: Some("99.0.0".into()), ..Manifest::default() };
    let error = load(&runtime, newer.embed(&matcher()).unwrap(), Map::new()).err().unwrap().to_string();
    assert!(error.contains("99.0.0") && error.contains(env!("CARGO_PKG_VERSION")), "{error}");
    let mut broken = matcher();
    // A custom section of a name of 16 bytes, and no JSON.
    broken.extend(b"\0\x12\x10refgate:manifest{");
    let error = load(&runtime, broken.clone(), Map::new()).err().unwrap().to_string();
    assert!(error.contains("manifest") && error.contains("EOF"), "{error}");
    assert!(runtime.inspect("p", &broken).is_err());
}
