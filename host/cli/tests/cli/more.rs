//! The filters in `filters/more` and the example: each is built, is what it says, and does what its cases say.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{Lab, Ran};

/// Crate, worlds, and whether its verdicts depend on the time.
const FILTERS: [(&str, &[&str], bool); 6] = [
    ("filters/examples/wip", &["push-filter"], false),
    ("filters/more/batch-size", &["push-filter", "fetch-filter"], false),
    ("filters/more/freeze", &["push-filter", "fetch-filter"], true),
    ("filters/more/protected-refs", &["push-filter", "fetch-filter"], false),
    ("filters/more/quota", &["push-filter", "fetch-filter"], false),
    ("filters/more/remote-refs", &["push-filter", "fetch-filter"], false),
];

#[test]
fn every_filter_is_built_and_does_what_its_cases_say() {
    let lab = Lab::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    // Kept between runs and shared with the other test that builds, so that the SDK is compiled once.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("filters");
    for (path, worlds, timed) in FILTERS {
        let (_, name) = path.rsplit_once('/').unwrap();
        let wasm = format!("a/plugins/{name}.wasm");
        // rustup and cargo find themselves by HOME.
        let home = std::env::var_os("HOME").unwrap_or_default();
        let mut build = lab.command("");
        build.env("HOME", home).env("CARGO_TARGET_DIR", &target);
        let built = Ran::of(build.arg("build").arg(root.join(path)).args(["-o", &wasm, "--json"])).json(0);
        assert_eq!(built["worlds"], json!(worlds), "{name}");
        let imports = built["imports"].as_array().unwrap();
        let clock = imports.iter().any(|i| i.as_str().unwrap().starts_with("refgate:filter/clock@"));
        assert_eq!(clock, timed, "{name} imports {imports:?}");

        let cases = root.join(path).join("cases.json");
        let text = std::fs::read_to_string(&cases).unwrap();
        let written: Value = serde_json::from_str(&text).unwrap();
        let ran = lab.run("", &["--json", "test", "--filter", &wasm, cases.to_str().unwrap()]);
        let got = ran.json(0);
        assert_eq!(got["passed"], written["cases"].as_array().unwrap().len(), "{name}: {got}");
    }
}
