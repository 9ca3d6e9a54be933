//! Users, passwords and protected connections.

use std::sync::Arc;

use refgate_core::{Expected, Outcome, RefDbErrorKind};
use refgate_refdb::OpenMode::{Create, Existing};
use refgate_refdb::open;
use refgate_servers::ZooKeeper;

use crate::common::*;
use crate::support::*;
use crate::{Needs::Server, Needs::Tls, Test};

pub const TESTS: &[Test] = &[
    ("only_the_user_who_made_the_nodes_gets_at_them", Server, digest),
    ("without_a_user_everybody_does", Server, world),
    ("a_protected_connection_works", Tls, protected),
    ("a_connection_that_is_not_trusted_is_refused", Tls, not_trusted),
];

fn digest() {
    let server = ZooKeeper::start();
    let dir = tempfile::tempdir().unwrap();
    let at_server = |password| with_password(&server.address(), "gerrit", password, dir.path());
    let t = Store(open(&at_server("right"), Create, Arc::new(RealClock)).unwrap().db);
    t.put("p", "refs/heads/x", at(1));
    assert_eq!(t.cas("p", "refs/heads/x", Expected::Exactly(at(1)), at(2)), Outcome::Applied);
    let held = lock(&t, "refs/heads/x", 5_000).unwrap();
    block_on(t.0.note_site("a", within(5_000))).unwrap();
    let raw = Raw::with(&server.address(), Some("gerrit:right"));
    for path in [
        "/gerrit",
        "/gerrit/multi-site",
        "/gerrit/multi-site/p",
        "/gerrit/multi-site/p/refs/heads/x",
        "/gerrit/multi-site/locks/p/refs/heads/x",
        &hold_path(held.token()),
        "/gerrit/multi-site-refgate/superseded/p/refs/heads/x/:",
        "/gerrit/multi-site-refgate/sites/a",
        "/gerrit/multi-site-refgate/sessions",
    ] {
        let (acl, _) = raw.run(raw.client().get_acl(path)).unwrap();
        let [acl] = acl.as_slice() else { panic!("{path}: {acl:?}") };
        assert_eq!(acl.permission().to_string(), "ALL", "{path}");
        assert_eq!(acl.auth_id().scheme(), "digest", "{path}");
        assert!(acl.auth_id().id().starts_with("gerrit:"), "{path}");
    }
    release(held);
    for location in [at_server("wrong"), refgate_refdb::Location::new(url(&server.address(), ""), "/")] {
        for mode in [Existing, Create] {
            let e = open(&location, mode, Arc::new(RealClock)).unwrap_err();
            assert_eq!(e.kind, RefDbErrorKind::Auth, "{e}");
            assert!(e.message.contains("check `user` and `passwordFile`"), "{e}");
            assert!(!e.message.contains("wrong"), "{e}");
        }
    }
    // One that may see the root, but not what is below.
    let open_root = ZooKeeper::start();
    drop(store_at(&open_root.address(), ""));
    let at_root = |password| with_password(&open_root.address(), "gerrit", password, dir.path());
    let store = |password| Store(open(&at_root(password), Existing, Arc::new(RealClock)).unwrap().db);
    store("right").put("p", "refs/heads/x", at(1));
    let other = store("wrong");
    let get = block_on(other.0.get_many(&project("p"), &[name("refs/heads/x")], within(5_000)));
    assert_eq!(get.unwrap_err().kind, RefDbErrorKind::Auth);
    let put = block_on(other.0.put(&project("p"), &name("refs/heads/x"), at(2), within(5_000)));
    assert_eq!(put.unwrap_err().kind, RefDbErrorKind::Auth);
    let lock = lock(&other, "refs/heads/x", 5_000);
    assert!(lock.is_ok(), "nobody has made the directory of this lock");
}

fn world() {
    let (server, t) = lab();
    t.put("p", "refs/heads/x", at(1));
    let raw = Raw::new(&server);
    let (acl, _) = raw.run(raw.client().get_acl("/gerrit/multi-site/p/refs/heads/x")).unwrap();
    assert_eq!(acl, [zookeeper_client::Acl::new_const(zookeeper_client::Permission::ALL, "world", "anyone")]);
}

fn protected() {
    let server = ZooKeeper::with(&[], true);
    // The first handshake of a server takes it longer than a session of 2 s leaves for a connection.
    let ca = format!("&sessionTimeoutMs=10000&tls=true&caFile={}", server.certificate().display());
    for host in ["127.0.0.1", "localhost"] {
        let address = server.secure_address().replace("127.0.0.1", host);
        let t = store_at(&address, &ca);
        t.put("p", "refs/x", at(1));
        assert_eq!(t.value("p", "refs/x"), at(1));
        release(lock(&t, "refs/x", 5_000).unwrap());
    }
}

fn not_trusted() {
    let server = ZooKeeper::with(&[], true);
    let other = ZooKeeper::with(&[], true);
    let ca = |server: &ZooKeeper| format!("&tls=true&caFile={}", server.certificate().display());
    for (url, part) in [
        (url(&server.secure_address(), &ca(&other)), "check `caFile`"),
        (url(&server.secure_address(), "&tls=true"), "check `caFile`"),
        (url(&server.address(), &ca(&server)), "leave out `tls`"),
        (url(&server.secure_address(), ""), "?tls=true"),
    ] {
        let e = open_url(&url, Create).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{e}");
        assert!(e.message.contains(part), "{e}");
    }
    assert_eq!(Raw::new(&server).children("/"), ["zookeeper"], "nothing was written");
}
