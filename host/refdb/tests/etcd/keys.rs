//! What is written, byte by byte, as another program sees it.

use refgate_core::{Cursor, Entry, Expected, GlobalRef, Lookup, Outcome, RefDbErrorKind, TextOutcome};
use refgate_refdb::OpenMode::{Create, Existing};
use refgate_servers::Etcd;

use crate::common::*;
use crate::support::*;

tests![
    keys_and_values_byte_by_byte,
    only_create_makes_a_ref_db_and_says_so,
    an_unknown_format_is_refused,
    neighbours_are_left_alone,
    what_others_broke_is_told,
    texts_live_beside_entries,
    whole_entries_are_exchanged,
    pages_show_one_revision,
    a_compacted_scan_goes_on_at_the_newest,
];

fn keys_and_values_byte_by_byte() {
    let server = Etcd::start();
    let db = store(&server);
    db.put("a/b", "refs/heads/%FF", at(1));
    db.cas("a/b", "refs/heads/x", Expected::Absent, at(1));
    db.cas("a/b", "refs/heads/x", Expected::Exactly(at(1)), GlobalRef::Deleted);
    block_on(db.0.note_site("Ünï", within(5_000))).unwrap();
    let mut found = all_keys(&server, "");
    let session = found.iter().position(|key| key.starts_with(b"refs/session/")).expect("one that writes");
    assert_eq!(found.remove(session).len(), "refs/session/".len() + 16);
    let expected: [&[u8]; 5] = [
        b"refs/entry/a/b//refs/heads/x",
        b"refs/entry/a/b//refs/heads/\xff",
        b"refs/format",
        b"refs/identity",
        "refs/site/Ünï".as_bytes(),
    ];
    assert_eq!(found, expected);
    assert_eq!(value_at(&server, "refs/format"), "refgate 1");
    let deleted = format!("{}\n{}", "0".repeat(40), oid(1));
    assert_eq!(value_at(&server, "refs/entry/a/b//refs/heads/x"), deleted);
    // A store that is closed leaves nothing but what it wrote.
    drop(db);
    assert_eq!(all_keys(&server, ""), expected);
}

fn only_create_makes_a_ref_db_and_says_so() {
    let server = Etcd::start();
    let there = url(&server, "some/where");
    let e = fails(open_url(&there, Existing), RefDbErrorKind::Unavailable, "no ref-db below `some/where`");
    assert!(e.message.contains(&there) && e.message.contains("refgate refdb seed"), "{e}");
    assert!(keys(&server, "").is_empty());
    assert!(open_url(&there, Create).unwrap().created);
    assert!(!open_url(&there, Create).unwrap().created);
    assert!(!open_url(&there, Existing).unwrap().created);
    assert_eq!(keys(&server, ""), ["some/where/format", "some/where/identity"]);
    // One that an older program made gets an identity when it is opened, and keeps it.
    server.control(["del", "some/where/identity"]);
    let identity = || open_url(&there, Existing).unwrap().db.seen().unwrap().identity;
    assert_eq!(identity(), identity());
    assert_eq!(keys(&server, ""), ["some/where/format", "some/where/identity"]);
}

fn an_unknown_format_is_refused() {
    let server = Etcd::start();
    server.control(["put", "refs/format", "refgate 2"]);
    for mode in [Existing, Create] {
        fails(open_url(&url(&server, "refs"), mode), RefDbErrorKind::Config, "format `refgate 2`");
    }
    assert_eq!(keys(&server, ""), ["refs/format"]);
}

fn neighbours_are_left_alone() {
    let server = Etcd::start();
    let db = store(&server);
    let held = lock(&db, "refs/a", 10, 5_000).unwrap();
    for p in ["p", "p/sub", "p/!", "p2", "p!"] {
        db.put(p, "refs/a", at(1));
    }
    server.control(["put", "refs/entry/q", "foreign"]);
    assert_eq!(db.scan("p", "", None, 9), ["refs/a"]);
    assert_eq!(db.remove_project("p"), 1);
    assert_eq!(db.remove_project("p"), 0);
    for p in ["p/sub", "p/!", "p2", "p!"] {
        assert_eq!(db.scan(p, "", None, 9), ["refs/a"], "{p}");
    }
    assert_eq!(keys(&server, "refs/lock/").len(), 1);
    release(held);
}

fn what_others_broke_is_told() {
    let server = Etcd::start();
    let db = store(&server);
    let damage = ["zz\nzz", "x\u{e9}", "\u{1}"];
    for (i, broken) in damage.iter().enumerate() {
        server.control(["put", &format!("refs/entry/p//refs/{i}"), broken]);
    }
    db.put("p", "refs/good", at(7));
    let found = db.lookups("p", &["refs/0", "refs/1", "refs/good", "refs/2"]);
    assert!(
        matches!(&found[0], Lookup::Unreadable(why) if why.contains("neither an object id")),
        "{found:?}"
    );
    assert!(matches!(found[1], Lookup::Unreadable(_)) && matches!(found[3], Lookup::Unreadable(_)));
    assert_eq!(found[2], Lookup::Entry(Entry::new(at(7))));
    let edits = [edit("refs/good", Expected::Exactly(at(7)), at(8)), edit("refs/0", Expected::Absent, at(8))];
    let e = fails(cas_within(&db, 5_000, &edits), RefDbErrorKind::Corrupt, "`refs/0` in `p` cannot be read");
    assert!(e.message.contains("refgate refdb put"), "{e}");
    assert_eq!(db.value("p", "refs/good"), at(7), "nothing of the call was written");
    // An administrator can mend it.
    db.put("p", "refs/0", at(9));
    assert_eq!(db.value("p", "refs/0"), at(9));
    assert!(db.remove_ref("p", "refs/1"));
    server.control(["put", "refs/entry/p//refs/no..name", &oid(1).to_string()]);
    let scanned = block_on(db.0.scan(&project("p"), b"refs/no", None, 9, within(5_000)));
    fails(scanned, RefDbErrorKind::Corrupt, "refs/no..name");
}

fn texts_live_beside_entries() {
    let server = Etcd::start();
    let db = store(&server);
    let (p, n) = (project("p"), name("refs/multi-site/version/value"));
    let cas = |expected: Option<&str>, new: &str| {
        block_on(db.0.compare_and_put_text(&p, &n, expected, new, within(5_000)))
    };
    let text = || block_on(db.0.get_text(&p, &n, within(5_000))).unwrap();
    assert_eq!(text(), None);
    assert_eq!(cas(Some("1"), "2").unwrap(), TextOutcome::Mismatch { actual: None });
    assert_eq!(cas(None, "1").unwrap(), TextOutcome::Applied);
    assert_eq!(cas(None, "2").unwrap(), TextOutcome::Mismatch { actual: Some("1".into()) });
    assert_eq!(cas(Some("1"), "2").unwrap(), TextOutcome::Applied);
    assert_eq!(text().as_deref(), Some("2"));
    assert_eq!(value_at(&server, "refs/entry/p//refs/multi-site/version/value"), "2");
    assert_eq!(cas(Some("2"), &"a".repeat(40)).unwrap_err().kind, RefDbErrorKind::InvalidName);
    assert_eq!(db.lookups("p", &["refs/multi-site/version/value"]), [Lookup::Text("2".into())]);
    db.put("p", "refs/multi-site/version/value", at(1));
    assert_eq!(text(), Some(oid(1).to_string()));
}

fn whole_entries_are_exchanged() {
    let server = Etcd::start();
    let db = store(&server);
    let (p, n) = (project("p"), name("refs/a"));
    let swap = |from: &Entry, to: &Entry| block_on(db.0.swap_entry(&p, &n, from, to, within(5_000))).unwrap();
    let (none, one) = (Entry::default(), Entry { value: at(1), superseded: vec![oid(7), oid(8)] });
    assert!(swap(&none, &one));
    assert!(!swap(&Entry::new(at(1)), &none), "the list differs");
    assert_eq!(db.get("p", &["refs/a"]).remove(0), one);
    assert!(swap(&one, &none));
    assert!(keys(&server, "refs/entry/").is_empty());
    assert!(!swap(&one, &none));
}

fn pages_show_one_revision() {
    let server = Etcd::start();
    let db = store(&server);
    for n in 0..5 {
        db.put("p", &format!("refs/{n}"), at(n));
    }
    let page = |cursor: Option<&Cursor>| {
        block_on(db.0.scan(&project("p"), b"refs/", cursor, 2, within(5_000))).unwrap()
    };
    let first = page(None);
    // Between the pages one moves, one goes, one comes.
    db.put("p", "refs/3", at(33));
    db.remove_ref("p", "refs/4");
    db.put("p", "refs/9", at(9));
    let second = page(first.next.as_ref());
    let third = page(second.next.as_ref());
    let rows: Vec<_> = [first.rows, second.rows, third.rows].concat();
    let expected: Vec<_> =
        (0..5).map(|n| (name(&format!("refs/{n}")), Lookup::Entry(Entry::new(at(n))))).collect();
    assert_eq!(rows, expected);
    assert_eq!(third.next, None);
    assert_eq!(db.scan("p", "", None, 9), ["refs/0", "refs/1", "refs/2", "refs/3", "refs/9"]);
}

fn a_compacted_scan_goes_on_at_the_newest() {
    let server = Etcd::start();
    let db = store(&server);
    for n in 0..4 {
        db.put("p", &format!("refs/{n}"), at(n));
    }
    let page =
        |cursor: Option<&Cursor>| block_on(db.0.scan(&project("p"), b"", cursor, 2, within(5_000))).unwrap();
    let first = page(None);
    let pinned = first.next.clone().unwrap();
    db.put("p", "refs/3", at(33));
    server.control(["compaction", &(pinned.revision + 1).to_string()]);
    let second = page(Some(&pinned));
    let found: Vec<_> = second.rows.iter().map(|(name, found)| (name.to_string(), found.clone())).collect();
    assert_eq!(found[1], ("refs/3".to_owned(), Lookup::Entry(Entry::new(at(33)))));
    assert_eq!(db.cas("p", "refs/3", Expected::Exactly(at(33)), at(34)), Outcome::Applied);
}
