//! What the page on embedding shows, run: a host that goes on deciding while a plugin is swapped below it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::{MemoryRefDb, Oid, RefDb};
use refgate_host::{Config, Direction, Gate, Moves, Project, RefName, RefUpdate, RemoteValue, System};

#[path = "../examples/live.rs"]
#[allow(dead_code, reason = "its main never ends")]
mod live;
#[path = "../runtime/tests/common/versions.rs"]
#[allow(dead_code, reason = "the runtime's tests use the rest")]
mod versions;

/// The examples have the clock and the log of a program; randomness is nobody's here.
fn system() -> System {
    System {
        rng: Arc::new(Mutex::new(SmallRng::seed_from_u64(1))),
        compiler: None,
        log: Arc::new(|_, _, _| {}),
        ..live::embed::system()
    }
}

/// Why a new ref is held back, if it is.
async fn held_back(gate: &Gate, oid: Oid) -> Option<String> {
    let update =
        RefUpdate::new(RefName::new("refs/heads/main").unwrap(), Some(oid), RemoteValue::Known(None));
    let moves = Moves::of(Direction::Push, [update]);
    let decision = gate.push(&Project::new("app").unwrap(), "site-b", moves).await.unwrap();
    decision.moves.get(0).reason().map(ToString::to_string)
}

#[tokio::test]
async fn a_host_decides_with_a_store_of_its_own_and_filters_that_are_swapped() {
    let root = tempfile::tempdir().unwrap();
    let dir = |name: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let (plugins, git) = (dir("plugins"), dir("git"));
    let oid = commit(&git.join("app.git"));
    let file = root.path().join("refgate.config");
    fs::write(&file, "[plugins]\ndirectory = plugins\n[remote \"site-b\"]\nurl = /nowhere/${name}.git\n")
        .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let store: RefDb = RefDb::new(MemoryRefDb::new());
    let (gate, live) = live::open(Config::load(&file).unwrap(), &system(), store).unwrap();
    assert_eq!(held_back(&gate, oid).await, None);
    versions::place(&plugins, "mine.wasm", &versions::discards(0, "mine"));
    live.scan();
    assert_eq!(held_back(&gate, oid).await.as_deref(), Some("mine"));
    fs::write(plugins.join("mine.wasm"), "torn").unwrap();
    live.scan();
    assert_eq!(held_back(&gate, oid).await.as_deref(), Some("mine"), "the live set stays");
}

/// A repository whose branch `main` is at the commit that is returned.
fn commit(repository: &Path) -> Oid {
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.arg("-C").arg(repository).args(args);
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "t")
                .env(format!("GIT_{role}_EMAIL"), "t@example.invalid");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    fs::create_dir_all(repository).unwrap();
    git(&["init", "-q", "--bare"]);
    let tree = git(&["mktree", "--missing"]);
    let oid = git(&["commit-tree", &tree, "-m", "one"]);
    git(&["update-ref", "refs/heads/main", &oid]);
    oid.parse().unwrap()
}
