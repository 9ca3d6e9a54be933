//! Plugins of one's own: they can hold back more, and never open the gate.

use std::fs;
use std::path::Path;

use refgate_filters::build::{Request, component};
use refgate_host::ErrorKind;
use refgate_tests::{Lab, run};

use crate::{decided, told};

/// A push filter that does what its setting says. cargo does nothing when it is up to date.
fn program() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let built = component(&Request {
        manifest: &root.join("Cargo.toml"),
        package: "refgate-hostile",
        profile: "filter",
        target_dir: &Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile"),
        locked: true,
    });
    built.unwrap()
}

/// Relative to the configuration of the site.
const PLUGINS: &str = "[plugins]\ndirectory = plugins";

/// A is stale at `main`, B must keep c1; `fresh` may go.
async fn stale() -> std::sync::Arc<Lab> {
    let lab = Lab::with(&["none", "gated"]);
    lab.repo("A").advance("main", "c0");
    lab.repo("B").advance("main", "c0");
    lab.seed("B").await;
    lab.commit("B", "main", "c1").await;
    lab.repo("A").advance("fresh", "f");
    lab.configure("A", PLUGINS);
    fs::create_dir(lab.dir().join("A/plugins")).unwrap();
    lab
}

#[test]
fn a_filter_that_keeps_everything_does_not_open_the_gate_nor_does_its_removal() {
    run(async {
        let lab = stale().await;
        let c1 = lab.repo("B").get("main");
        let file = lab.dir().join("A/plugins/push.wasm");
        fs::write(&file, program()).unwrap();
        let deed = "[plugin \"push\"]\ndeed = keep-all";
        lab.configure("A", deed);
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["fresh=replicated", "main=not-up-to-date"]);
        let held = decided(&report, "main").held().expect("it is held back");
        assert_eq!(&*held.by, "host");
        // It replaced the shipped filter, which would have asked for a wait.
        assert!(report.decision.waits.is_empty());

        fs::remove_file(&file).unwrap();
        // The shipped filter is back, and asks for the wait.
        lab.reconfigure("A", PLUGINS);
        let report = lab.push("A", "B").await;
        assert_eq!((told(&report), report.decision.waits.len()), (vec!["main=not-up-to-date".to_owned()], 1));
        assert_eq!(lab.repo("B").get("main"), c1);
    });
}

#[test]
fn removing_a_policy_leaves_the_shipped_filters() {
    run(async {
        let lab = stale().await;
        let file = lab.dir().join("A/plugins/policy.wasm");
        fs::write(&file, program()).unwrap();
        lab.configure("A", "[plugin \"policy\"]\ndeed = count");
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["fresh=call-1", "main=call-1"]);
        assert_eq!(lab.repo("B").get("fresh"), None);

        fs::remove_file(&file).unwrap();
        lab.reconfigure("A", PLUGINS);
        let report = lab.push("A", "B").await;
        assert_eq!(told(&report), ["fresh=replicated", "main=not-up-to-date"]);
    });
}

#[test]
fn a_plugin_that_does_not_load_stops_everything_and_is_named() {
    run(async {
        for bytes in [&b""[..], b"not wasm", b"\0asm\x01\0\0\0"] {
            let lab = stale().await;
            fs::write(lab.dir().join("A/plugins/mine.wasm"), bytes).unwrap();
            let before = lab.repo("B").refs();
            let error = lab.try_push("A", "B", &Default::default()).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage);
            assert!(error.message.contains("mine.wasm"), "{error}");
            assert_eq!(lab.repo("B").refs(), before);
        }
    });
}

#[test]
fn a_plugin_that_must_be_there_is_missed() {
    run(async {
        let lab = stale().await;
        lab.configure("A", "[plugins]\nrequire = policy");
        let error = lab.try_push("A", "B", &Default::default()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.message.contains("policy.wasm"), "{error}");
    });
}

#[test]
fn a_filter_that_fails_keeps_nothing() {
    run(async {
        let lab = stale().await;
        fs::write(lab.dir().join("A/plugins/policy.wasm"), program()).unwrap();
        lab.configure("A", "[plugin \"policy\"]\ndeed = error");
        let report = lab.push("A", "B").await;
        assert!(told(&report).iter().all(|one| one.ends_with("=filter-failed")), "{:?}", told(&report));
        assert!(
            report.decision.problems.iter().any(|p| p.contains("policy")),
            "{:?}",
            report.decision.problems
        );
        assert_eq!(lab.repo("B").get("fresh"), None);
    });
}
