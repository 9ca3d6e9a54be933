//! A cluster of three: what is left of it goes on.

use refgate_core::{Expected, GlobalRef, Outcome, RefDbErrorKind};
use refgate_refdb::OpenMode::Create;
use refgate_servers::Etcd;

use crate::common::*;
use crate::support::*;

tests![every_member_shows_the_newest, two_of_three_go_on, one_of_three_says_so];

fn all(servers: &[Etcd]) -> String {
    let addresses: Vec<String> = servers.iter().map(Etcd::address).collect();
    format!("etcd://{}/refs", addresses.join(","))
}

fn every_member_shows_the_newest() {
    let servers = Etcd::cluster(3);
    let stores: Vec<Store> = servers.iter().map(store).collect();
    for n in 1..40 {
        stores[n as usize % 3].put("p", "refs/a", at(n));
        for db in &stores {
            assert_eq!(db.value("p", "refs/a"), at(n), "a read sees what was applied before it began");
        }
    }
    let held = lock(&stores[0], "refs/a", 30, 10_000).unwrap();
    fails(lock(&stores[1], "refs/a", 30, 500), RefDbErrorKind::LockTimeout, "another holder");
    release(held);
}

fn two_of_three_go_on() {
    let mut servers = Etcd::cluster(3);
    let db = Store(open_url(&all(&servers), Create).unwrap().db);
    db.put("p", "refs/0", at(0));
    // Every member once, so the leader is among them; two by stopping, one by death.
    for (n, server) in servers.iter_mut().enumerate() {
        if n == 2 {
            server.kill()
        } else {
            server.stop()
        }
        let r = format!("refs/{}", n + 1);
        let start = now();
        loop {
            let edits = [edit(&r, Expected::Absent, at(1))];
            match cas_within(&db, 5_000, &edits) {
                Ok(outcomes) => {
                    assert_eq!(outcomes, [Outcome::Applied]);
                    break;
                }
                Err(e) if e.kind == RefDbErrorKind::Indeterminate => {
                    if let Ok(outcome) = block_on(db.0.resolve(&project("p"), &edits, within(10_000))) {
                        if outcome == [Outcome::Applied] {
                            break;
                        }
                        assert_eq!(outcome, [mismatch(GlobalRef::Untracked)]);
                    }
                }
                Err(e) => assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{e}"),
            }
            assert!(start.elapsed().as_secs() < 30, "two of three did not go on");
        }
        assert_eq!(db.value("p", &r), at(1));
        if n == 2 {
            server.restart()
        } else {
            server.cont()
        }
        // Until it is a member again, the next one must not go.
        while open_url(&url(server, "refs"), Create).is_err() {
            pause(100);
        }
    }
    assert_eq!(db.scan("p", "", None, 9), ["refs/0", "refs/1", "refs/2", "refs/3"]);
}

fn one_of_three_says_so() {
    let mut servers = Etcd::cluster(3);
    let db = Store(open_url(&all(&servers), Create).unwrap().db);
    db.put("p", "refs/a", at(1));
    servers[1].kill();
    servers[2].kill();
    // Nobody can say what the newest value is, so nobody does.
    let read =
        answers_within(3_000, || block_on(db.0.get_many(&project("p"), &[name("refs/a")], within(3_000))));
    assert_eq!(read.unwrap_err().kind, RefDbErrorKind::Unavailable);
    let edits = [edit("refs/a", Expected::Exactly(at(1)), at(2))];
    let wrote = answers_within(3_000, || cas_within(&db, 3_000, &edits));
    assert_eq!(wrote.unwrap_err().kind, RefDbErrorKind::Unavailable);
    servers[1].restart();
    assert_eq!(db.value("p", "refs/a"), at(1));
    assert_eq!(cas_within(&db, 10_000, &edits).unwrap(), [Outcome::Applied]);
}
