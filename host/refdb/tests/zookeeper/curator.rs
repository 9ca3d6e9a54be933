//! Both directions against the real Curator, which is what Gerrit's plugin is made of.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use refgate_core::{Entry, Expected, GlobalRef, Outcome, RefDbErrorKind};
use refgate_refdb::{OpenMode, open};
use refgate_servers::ZooKeeper;

use crate::common::*;
use crate::support::*;
use crate::{Needs::Curator, Test};

pub const TESTS: &[Test] = &[
    ("values_go_both_ways", Curator, values),
    ("locks_exclude_each_other", Curator, locks),
    ("one_digest_user_is_shared", Curator, digest),
    ("a_tree_that_curator_made_is_read_and_written", Curator, tree),
    ("what_curator_removes_is_untracked", Curator, removed),
    ("both_count_together", Curator, counters),
];

/// What must be installed: Debian's `libcurator-recipes-java` and a Java compiler.
pub const NEEDED: &[&str] = &[
    "/usr/bin/javac",
    "/usr/share/java/curator-recipes.jar",
    "/usr/share/java/curator-framework.jar",
    "/usr/share/java/curator-client.jar",
];

const JARS: [&str; 10] = [
    "curator-recipes",
    "curator-framework",
    "curator-client",
    "zookeeper",
    "zookeeper-jute",
    "guava",
    "slf4j-api",
    "slf4j-nop",
    "netty-all",
    "jackson-core",
];

/// A running Curator.
struct Peer {
    child: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _classes: tempfile::TempDir,
}

impl Peer {
    fn start(server: &ZooKeeper, user: Option<&str>) -> Peer {
        let jars: Vec<String> = JARS.iter().map(|jar| format!("/usr/share/java/{jar}.jar")).collect();
        let classes = tempfile::tempdir().unwrap();
        let path = format!("{}:{}", jars.join(":"), classes.path().display());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/CuratorPeer.java");
        let made = Command::new("javac")
            .args(["-cp", &path, "-d"])
            .arg(classes.path())
            .arg(&source)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut java = Command::new("java");
        java.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &path, "CuratorPeer"]);
        java.args([&server.address(), "gerrit/multi-site"]).args(user);
        let mut child =
            java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let talk = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Peer { child, talk: Mutex::new(talk), _classes: classes }
    }

    fn ask(&self, command: &str) -> String {
        let mut talk = self.talk.lock().unwrap();
        writeln!(talk.0, "{command}").unwrap();
        let mut answer = String::new();
        talk.1.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("get {path}"))
    }

    fn cas(&self, path: &str, old: u64, new: u64) -> bool {
        self.ask(&format!("cas {path} {} {}", oid(old), oid(new))) == "true"
    }

    fn create(&self, path: &str, value: u64) {
        assert_eq!(self.ask(&format!("create {path} {}", oid(value))), "true");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const X: &str = "/p/refs/heads/x";

fn both() -> (ZooKeeper, Store, Peer) {
    let (server, t) = lab();
    let peer = Peer::start(&server, None);
    (server, t, peer)
}

fn values() {
    let (_server, t, peer) = both();
    assert_eq!(peer.ask(&format!("init {X} {}", oid(1))), "true");
    assert_eq!(t.value("p", "refs/heads/x"), at(1));
    assert_eq!(t.cas("p", "refs/heads/x", Expected::Exactly(at(1)), at(2)), Outcome::Applied);
    assert_eq!(peer.get(X), format!("={}", oid(2)));
    assert!(!peer.cas(X, 1, 3), "Curator is behind");
    assert!(peer.cas(X, 2, 3));
    assert_eq!(t.cas("p", "refs/heads/x", Expected::Exactly(at(2)), at(4)), mismatch(at(3)));
    assert_eq!(t.get("p", &["refs/heads/x"]), [Entry { value: at(3), superseded: vec![oid(1)] }]);
    assert_eq!(t.cas("p", "refs/heads/y", Expected::Absent, at(1)), Outcome::Applied);
    assert!(peer.cas("/p/refs/heads/y", 1, 2));
    assert_eq!(peer.ask(&format!("init /p/refs/heads/y {}", oid(1))), "false");
    assert_eq!(t.cas("p", "refs/heads/y", Expected::Exactly(at(2)), GlobalRef::Deleted), Outcome::Applied);
    assert_eq!(peer.get("/p/refs/heads/y"), format!("={}", "0".repeat(40)));
    let zeros = "0".repeat(40);
    assert_eq!(peer.ask(&format!("cas /p/refs/heads/y {zeros} {}", oid(5))), "true");
    assert_eq!(t.value("p", "refs/heads/y"), at(5));
    assert_eq!(peer.ask("create /p/refs/multi-site/version/value 1793707205"), "true");
    let text = block_on(t.0.get_text(&project("p"), &name("refs/multi-site/version/value"), within(5_000)));
    assert_eq!(text.unwrap().as_deref(), Some("1793707205"));
    let text = block_on(t.0.compare_and_put_text(
        &project("p"),
        &name("refs/multi-site/version/value"),
        Some("1793707205"),
        "1793707206",
        within(5_000),
    ));
    assert_eq!(text.unwrap(), refgate_core::TextOutcome::Applied);
    assert_eq!(peer.get("/p/refs/multi-site/version/value"), "=1793707206");
}

fn locks() {
    let (server, t, peer) = both();
    let raw = Raw::new(&server);
    let dir = "/gerrit/multi-site/locks/p/refs/heads/x";
    assert_eq!(peer.ask("lock /locks/p/refs/heads/x 5000"), "true");
    let e = lock(&t, "refs/heads/x", 800).err().unwrap();
    assert_eq!(e.kind, RefDbErrorKind::LockTimeout, "{e}");
    until("nothing is left of it", || raw.children(dir).len() == 1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lock(&t, "refs/heads/x", 10_000).unwrap());
        until("it waits", || raw.children(dir).len() == 2);
        assert_eq!(peer.ask("unlock"), "true");
        let held = waiting.join().unwrap();
        assert!(held.is_valid());
        assert_eq!(peer.ask("lock /locks/p/refs/heads/x 500"), "false");
        assert_eq!(raw.children(dir).len(), 1);
        let waiting = scope.spawn(|| peer.ask("lock /locks/p/refs/heads/x 10000"));
        until("Curator waits", || raw.children(dir).len() == 2);
        release(held);
        assert_eq!(waiting.join().unwrap(), "true");
        assert_eq!(peer.ask("unlock"), "true");
    });
}

fn digest() {
    let server = ZooKeeper::start();
    let peer = Peer::start(&server, Some("gerrit:secret"));
    peer.create(X, 1);
    let dir = tempfile::tempdir().unwrap();
    let location = |password| with_password(&server.address(), "gerrit", password, dir.path());
    let t = Store(open(&location("secret"), OpenMode::Existing, Arc::new(RealClock)).unwrap().db);
    assert_eq!(t.cas("p", "refs/heads/x", Expected::Exactly(at(1)), at(2)), Outcome::Applied);
    t.put("q", "refs/heads/x", at(3));
    assert!(peer.cas(X, 2, 4) && peer.cas("/q/refs/heads/x", 3, 4));
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    assert_eq!(peer.ask("lock /locks/p/refs/heads/x 300"), "false");
    release(held);
    assert_eq!(peer.ask("lock /locks/p/refs/heads/x 5000"), "true");
    for wrong in [location("other"), refgate_refdb::Location::new(url(&server.address(), ""), "/")] {
        let e = open(&wrong, OpenMode::Existing, Arc::new(RealClock)).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Auth, "{e}");
    }
}

fn tree() {
    let (_server, t, peer) = both();
    peer.create("/p/refs/heads/a/b", 1);
    peer.create("/p/refs/heads/c", 2);
    assert_eq!(peer.ask("exists /p/refs/heads/a"), "true");
    assert_eq!(t.scan("p", "", None, 99), ["refs/heads/a/b", "refs/heads/c"]);
    assert_eq!(t.cas("p", "refs/heads/a/b", Expected::Exactly(at(1)), GlobalRef::Deleted), Outcome::Applied);
    // Gerrit's plugin cannot do this; it can read the result, and go on from there.
    assert_eq!(t.cas("p", "refs/heads/a", Expected::Absent, at(3)), Outcome::Applied);
    assert_eq!(peer.get("/p/refs/heads/a"), format!("={}", oid(3)));
    assert!(peer.cas("/p/refs/heads/a", 3, 4));
    assert_eq!(t.cas("p", "refs/heads/c/d", Expected::Absent, at(5)), Outcome::Applied);
    peer.create("/p/refs/heads/c/e", 6);
    assert_eq!(
        t.scan("p", "", None, 99),
        ["refs/heads/a", "refs/heads/a/b", "refs/heads/c", "refs/heads/c/d", "refs/heads/c/e"]
    );
    assert_eq!(t.remove_project("p"), 5);
    peer.create("/p/refs/heads/a", 7);
    assert_eq!(t.value("p", "refs/heads/a"), at(7));
}

fn removed() {
    let (_server, t, peer) = both();
    for p in ["p", "p/sub"] {
        t.put(p, "refs/heads/x", at(1));
        t.cas(p, "refs/heads/x", Expected::Exactly(at(1)), at(2));
    }
    assert_eq!(peer.ask("remove /p"), "true");
    assert_eq!(t.get("p", &["refs/heads/x"]), [Entry::default()]);
    assert_eq!(t.value("p/sub", "refs/heads/x"), GlobalRef::Untracked, "Curator takes all that is below");
    assert_eq!(t.cas("p", "refs/heads/x", Expected::Absent, at(3)), Outcome::Applied);
    assert!(t.superseded("p", "refs/heads/x").is_empty());
    assert_eq!(peer.get(X), format!("={}", oid(3)));
    assert_eq!(t.remove_project("p"), 1);
    assert_eq!(peer.get(X), "absent");
}

fn counters() {
    let (_server, t, peer) = both();
    t.put("p", "refs/heads/x", at(0));
    let number = |oid: refgate_core::Oid| u64::from_be_bytes(oid.as_bytes()[12..].try_into().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..40 {
                while {
                    let hex = peer.get(X);
                    let n = number(hex[1..].parse().unwrap());
                    !peer.cas(X, n, n + 1)
                } {}
            }
        });
        scope.spawn(|| {
            for _ in 0..40 {
                while {
                    let n = number(t.value("p", "refs/heads/x").oid().unwrap());
                    t.cas("p", "refs/heads/x", Expected::Exactly(at(n)), at(n + 1)) != Outcome::Applied
                } {}
            }
        });
    });
    assert_eq!(t.value("p", "refs/heads/x"), at(80));
}
