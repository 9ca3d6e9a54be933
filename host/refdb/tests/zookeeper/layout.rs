//! The nodes byte by byte, and the traps of that layout.

use refgate_core::{Entry, Expected, GlobalRef, Lookup, Outcome, RefDbErrorKind, TextOutcome};
use refgate_servers::ZooKeeper;

use crate::common::*;
use crate::support::*;
use crate::{Needs::Server, Test};

pub const TESTS: &[Test] = &[
    ("values_are_where_and_what_gerrit_writes", Server, values),
    ("superseded_lists_are_beside_gerrits_tree", Server, lists),
    ("sites_and_sessions_are_nodes_of_our_own", Server, sites_and_sessions),
    ("a_node_without_data_is_no_value", Server, empty_is_absent),
    ("foreign_data_is_a_text_or_unreadable", Server, foreign_data),
    ("a_value_of_a_directory_survives_the_server_tidying_up", Server, containers_are_reaped),
    ("removing_a_project_leaves_what_is_below_it", Server, nested_projects),
    ("names_that_zookeeper_refuses_are_told_without_asking_it", Server, names),
    ("texts_are_exchanged_like_values", Server, texts),
    ("a_foreign_write_keeps_the_superseded_list", Server, foreign_write),
];

const ROOT: &str = "/gerrit/multi-site";
const OWN: &str = "/gerrit/multi-site-refgate";

fn values() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    t.put("team/a b:c", "refs/heads/main", at(1));
    let path = format!("{ROOT}/team/a+b%3Ac/refs/heads/main");
    assert_eq!(raw.data(&path), Some(oid(1).to_string()));
    let stat = raw.stat(&path);
    assert_eq!((stat.ephemeral_owner, stat.version, stat.data_length), (0, 0, 40));
    let mut parent = path.as_str();
    while let Some((above, _)) = parent.rsplit_once('/').filter(|(above, _)| *above != ROOT) {
        parent = above;
        let stat = raw.stat(parent);
        assert_eq!(stat.data_length, 0, "{parent}");
    }
    assert_eq!(
        t.cas("team/a b:c", "refs/heads/main", Expected::Exactly(at(1)), GlobalRef::Deleted),
        Outcome::Applied
    );
    assert_eq!(raw.data(&path), Some("0".repeat(40)));
    assert_eq!(raw.stat(&path).version, 1);
    t.put("p", "HEAD", at(2));
    assert_eq!(raw.data(&format!("{ROOT}/p/HEAD")), Some(oid(2).to_string()));
    assert_eq!(raw.children(ROOT), ["p", "team"]);
    // What another writer put there is read.
    raw.create(&format!("{ROOT}/q/refs/heads/x"), "AB".repeat(20).as_bytes());
    assert_eq!(t.value("q", "refs/heads/x").oid().unwrap().to_string(), "ab".repeat(20));
    assert_eq!(t.scan("q", "", None, 9), ["refs/heads/x"]);
}

fn lists() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    let list = format!("{OWN}/superseded/p/refs/heads/x/:");
    t.put("p", "refs/heads/x", at(1));
    assert_eq!(raw.data(&list), None, "an empty list is no node");
    t.cas("p", "refs/heads/x", Expected::Exactly(at(1)), at(2));
    assert_eq!(raw.data(&list), Some(format!("{}\n", oid(1))));
    t.cas("p", "refs/heads/x", Expected::Exactly(at(2)), at(3));
    assert_eq!(raw.data(&list), Some(format!("{}\n{}\n", oid(1), oid(2))));
    assert_eq!(t.superseded("p", "refs/heads/x"), [oid(1), oid(2)]);
    // A ref below that one has its own list.
    t.cas("p", "refs/heads/x", Expected::Exactly(at(3)), GlobalRef::Deleted);
    t.put("p", "refs/heads/x/y", at(7));
    t.cas("p", "refs/heads/x/y", Expected::Exactly(at(7)), at(8));
    assert_eq!(t.superseded("p", "refs/heads/x/y"), [oid(7)]);
    assert_eq!(t.superseded("p", "refs/heads/x"), [oid(1), oid(2), oid(3)]);
    t.put("p", "refs/heads/x", at(4));
    assert_eq!(raw.data(&list), None);
    assert!(t.superseded("p", "refs/heads/x").is_empty());
    raw.set(&format!("{OWN}/superseded/p/refs/heads/x/y/:"), b"zz\n");
    assert!(
        matches!(&t.lookups("p", &["refs/heads/x/y"])[0], Lookup::Unreadable(why) if why.contains("damaged"))
    );
}

fn sites_and_sessions() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    assert_eq!(raw.children(&format!("{OWN}/sessions")), [""; 0], "who only reads is no writer");
    let note = |site: &str| block_on(t.0.note_site(site, within(5_000))).unwrap();
    assert_eq!(note("site/b"), ["site/b"]);
    assert_eq!(note("a"), ["a", "site/b"]);
    assert_eq!(raw.children(&format!("{OWN}/sites")), ["a", "site%2Fb"]);
    let sessions = raw.children(&format!("{OWN}/sessions"));
    assert_eq!(sessions.len(), 1);
    assert_ne!(raw.stat(&format!("{OWN}/sessions/{}", sessions[0])).ephemeral_owner, 0);
    drop(t);
    assert_eq!(raw.children(&format!("{OWN}/sessions")), [""; 0], "closed at once");
}

fn empty_is_absent() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    t.put("p", "refs/heads/a/b", at(1));
    assert_eq!(t.value("p", "refs/heads/a"), GlobalRef::Untracked);
    assert_eq!(t.scan("p", "", None, 99), ["refs/heads/a/b"]);
    assert_eq!(t.cas("p", "refs/heads/a", Expected::Absent, at(2)), Outcome::Applied);
    assert_eq!(raw.data(&format!("{ROOT}/p/refs/heads/a")), Some(oid(2).to_string()));
    assert_eq!(t.scan("p", "", None, 99), ["refs/heads/a", "refs/heads/a/b"]);
    // And the other way round: forgotten, it is a directory again.
    assert!(t.remove_ref("p", "refs/heads/a"));
    assert!(!t.remove_ref("p", "refs/heads/a"));
    assert_eq!(raw.data(&format!("{ROOT}/p/refs/heads/a")), Some(String::new()));
    assert_eq!(t.value("p", "refs/heads/a/b"), at(1));
    assert_eq!(t.cas("p", "refs/heads/a", Expected::AbsentOrDeleted, at(3)), Outcome::Applied);
    assert_eq!(t.cas("p", "refs/heads/a/b/c", Expected::Absent, at(4)), Outcome::Applied);
    assert_eq!(t.scan("p", "refs/heads/a/", None, 99), ["refs/heads/a/b", "refs/heads/a/b/c"]);
    assert_eq!(t.remove_project("p"), 3);
}

fn foreign_data() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    for (r, data) in
        [("counter", &b"1793707205"[..]), ("short", b"abc"), ("bytes", b"\xff\xfe"), ("line", b"a\n")]
    {
        raw.create(&format!("{ROOT}/p/refs/{r}"), data);
    }
    let found = t.lookups("p", &["refs/counter", "refs/short", "refs/bytes", "refs/line"]);
    assert_eq!(found[..2], [Lookup::Text("1793707205".into()), Lookup::Text("abc".into())]);
    assert!(found[2..].iter().all(|f| matches!(f, Lookup::Unreadable(_))), "{found:?}");
    for r in ["refs/counter", "refs/bytes"] {
        let e = t.edits("p", &[edit(r, Expected::Absent, at(1))], refgate_core::Atomicity::Each).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Corrupt, "{e}");
        assert!(e.message.contains(r), "{e}");
    }
    t.put("p", "refs/bytes", at(1));
    assert_eq!(t.value("p", "refs/bytes"), at(1));
    assert!(t.remove_ref("p", "refs/line"));
    assert_eq!(t.remove_project("p"), 3);
}

/// The server removes containers that lost their last child, and does not look whether they hold data.
fn containers_are_reaped() {
    let server = ZooKeeper::with(&["znode.container.checkIntervalMs=200"], false);
    let t = store_at(&server.address(), "");
    let raw = Raw::new(&server);
    t.put("p", "refs/heads/a/b/c", at(1));
    t.put("p", "refs/heads/a", at(2));
    t.put("p", "refs/heads/z/y", at(3));
    assert!(t.remove_ref("p", "refs/heads/a/b/c"));
    assert!(t.remove_ref("p", "refs/heads/z/y"));
    until("empty directories go", || raw.data(&format!("{ROOT}/p/refs/heads/z")).is_none());
    pause(1_000);
    assert_eq!(t.value("p", "refs/heads/a"), at(2));
    // A value that is written into an empty container just before the server looks.
    for n in 0..8 {
        t.put("p", &format!("refs/heads/d{n}/x"), at(4));
        assert!(t.remove_ref("p", &format!("refs/heads/d{n}/x")));
        t.put("p", &format!("refs/heads/d{n}"), at(5));
    }
    pause(1_000);
    for n in 0..8 {
        assert_eq!(t.value("p", &format!("refs/heads/d{n}")), at(5));
    }
    // What keeps them there is no ref, and goes with them.
    assert_eq!(t.scan("p", "refs/heads/d", None, 99).len(), 8);
    assert_eq!(raw.children(&format!("{ROOT}/p/refs/heads/d0")), [":"]);
    assert!(t.remove_ref("p", "refs/heads/d0"));
    assert_eq!(raw.data(&format!("{ROOT}/p/refs/heads/d0")), None);
    t.put("p", "refs/heads/d1/x", at(6));
    assert!(t.remove_ref("p", "refs/heads/d1/x"));
    assert_eq!(t.value("p", "refs/heads/d1"), at(5));
    t.remove_project("p");
    assert_eq!(raw.data(&format!("{ROOT}/p/refs/heads/d1")), None);
}

fn nested_projects() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    for p in ["p", "p/sub", "p/sub/deep", "p2"] {
        t.put(p, "refs/heads/x", at(1));
        t.cas(p, "refs/heads/x", Expected::Exactly(at(1)), at(2));
        t.put(p, "HEAD", at(3));
    }
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    assert_eq!(t.scan("p", "", None, 99), ["HEAD", "refs/heads/x"]);
    assert_eq!(t.remove_project("p"), 2);
    assert_eq!(t.remove_project("p"), 0);
    assert_eq!(raw.children(&format!("{ROOT}/p")), ["sub"]);
    assert_eq!(raw.data(&format!("{OWN}/superseded/p/refs/heads/x/:")), None);
    for p in ["p/sub", "p/sub/deep", "p2"] {
        assert_eq!(t.get(p, &["refs/heads/x"]), [Entry { value: at(2), superseded: vec![oid(1)] }], "{p}");
    }
    assert!(raw.data(&hold_path(held.token())).is_some(), "locks stay");
    release(held);
    // More than fits into one write.
    let edits: Vec<_> = (0..1_200).map(|n| edit(&format!("refs/n/{n}"), Expected::Absent, at(n))).collect();
    let outcomes = t.edits("p/sub", &edits, refgate_core::Atomicity::Each).unwrap();
    assert!(outcomes.iter().all(|o| *o == Outcome::Applied));
    assert_eq!(t.remove_project("p/sub"), 1_202);
    assert_eq!(t.value("p/sub/deep", "refs/heads/x"), at(2));
}

fn names() {
    let (mut server, t) = lab();
    server.kill();
    let refused = |e: refgate_core::RefDbError| assert_eq!(e.kind, RefDbErrorKind::InvalidName, "{e}");
    for p in ["locks", "locks/a", "a/refs/b", "a/HEAD"] {
        refused(
            t.edits(p, &[edit("refs/x", Expected::Absent, at(1))], refgate_core::Atomicity::Each)
                .unwrap_err(),
        );
        refused(block_on(t.0.get_many(&project(p), &[name("refs/x")], within(5_000))).unwrap_err());
        refused(block_on(t.0.remove_project(&project(p), within(5_000))).unwrap_err());
    }
    for r in ["refs/heads/\u{1f600}", "refs/heads/\u{e000}", "refs/%FF", "main"] {
        refused(
            t.edits("p", &[edit(r, Expected::Absent, at(1))], refgate_core::Atomicity::Each).unwrap_err(),
        );
        refused(block_on(t.0.put(&project("p"), &name(r), at(1), within(5_000))).unwrap_err());
        refused(lock(&t, r, 5_000).err().unwrap());
        // Among others it is the trouble of this ref alone.
        assert!(matches!(&t.lookups("p", &[r])[0], Lookup::Unreadable(why) if why.contains("cannot hold")));
    }
    let e =
        block_on(t.0.put(&project("p"), &name("refs/x"), GlobalRef::Untracked, within(5_000))).unwrap_err();
    refused(e);
}

fn texts() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    let cas = |expected: Option<&str>, new: &str| {
        block_on(t.0.compare_and_put_text(&project("p"), &name("refs/v/value"), expected, new, within(5_000)))
    };
    let text = |r: &str| block_on(t.0.get_text(&project("p"), &name(r), within(5_000))).unwrap();
    assert_eq!(text("refs/v/value"), None);
    assert_eq!(cas(None, "12").unwrap(), TextOutcome::Applied);
    assert_eq!(cas(None, "13").unwrap(), TextOutcome::Mismatch { actual: Some("12".into()) });
    assert_eq!(cas(Some("12"), "13").unwrap(), TextOutcome::Applied);
    assert_eq!(raw.data(&format!("{ROOT}/p/refs/v/value")), Some("13".into()));
    assert_eq!(text("refs/v/value").as_deref(), Some("13"));
    assert_eq!(text("refs/v"), None, "a directory");
    t.put("p", "refs/x", GlobalRef::Deleted);
    assert_eq!(text("refs/x"), Some("0".repeat(40)));
    assert_eq!(cas(None, &"a".repeat(40)).unwrap_err().kind, RefDbErrorKind::InvalidName);
}

fn foreign_write() {
    let (server, t) = lab();
    let raw = Raw::new(&server);
    t.put("p", "refs/x", at(1));
    t.cas("p", "refs/x", Expected::Exactly(at(1)), at(2));
    raw.set(&format!("{ROOT}/p/refs/x"), oid(3).to_string().as_bytes());
    assert_eq!(t.get("p", &["refs/x"]), [Entry { value: at(3), superseded: vec![oid(1)] }]);
    let swap = |from: Entry, to: Entry| {
        block_on(t.0.swap_entry(&project("p"), &name("refs/x"), &from, &to, within(5_000))).unwrap()
    };
    let there = Entry { value: at(3), superseded: vec![oid(1)] };
    assert!(!swap(Entry::new(at(3)), Entry::new(at(4))), "the list counts");
    assert!(swap(there.clone(), Entry { value: at(3), superseded: vec![oid(9)] }));
    assert_eq!(raw.stat(&format!("{ROOT}/p/refs/x")).version, 3, "the value changes with the list");
    assert!(!swap(there, Entry::default()));
    assert!(swap(Entry { value: at(3), superseded: vec![oid(9)] }, Entry::default()));
    assert_eq!(t.value("p", "refs/x"), GlobalRef::Untracked);
    // Removed by somebody else, then made anew by us: the old list is not taken along.
    t.put("p", "refs/x", at(1));
    t.cas("p", "refs/x", Expected::Exactly(at(1)), at(2));
    raw.delete(&format!("{ROOT}/p/refs/x"));
    assert_eq!(t.get("p", &["refs/x"]), [Entry::default()]);
    assert_eq!(t.cas("p", "refs/x", Expected::Absent, at(5)), Outcome::Applied);
    assert!(t.superseded("p", "refs/x").is_empty());
}
