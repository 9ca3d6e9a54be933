//! Taking objects: all that is asked for, and nothing but objects.

use refgate_core::Oid;
use refgate_git::transport::{RemoteUrl, fetch_objects};

use crate::support::{Counting, Daemon, Pair};

fn fetch(pair: &Pair, url: &RemoteUrl, oids: &[Oid]) -> Vec<Oid> {
    let refs = pair.local.refs();
    let missing = fetch_objects(&pair.local.0, url, oids, &mut |_| {}).unwrap().missing;
    assert_eq!(pair.local.refs(), refs, "no ref moves");
    for file in ["FETCH_HEAD", "shallow"] {
        assert!(!pair.local.0.join(file).exists(), "{file}");
    }
    missing
}

fn no_such(digit: u8, pair: &Pair) -> Oid {
    Oid::from_hex(&vec![digit; pair.format.oid_len() * 2]).unwrap()
}

/// Everything that `oid` needs is here.
fn complete(pair: &Pair, oid: Oid) {
    pair.local.git(&["rev-list", "--objects", &oid.to_string()]);
}

pub fn objects_come_and_refs_stay(pair: &Pair, url: &RemoteUrl) {
    let one = pair.remote.commit(&[], "one");
    let two = pair.remote.commit(&[one], "two");
    let unlisted = pair.remote.commit(&[one], "on no ref");
    pair.remote.set("refs/heads/main", two);
    pair.remote.git(&["tag", "v1", &two.to_string()]);
    pair.remote.git(&["tag", "-a", "-m", "two", "v2", &two.to_string()]);
    let mine = pair.local.commit(&[], "mine");
    pair.local.set("refs/heads/stale", mine);
    // Settings that would delete or create refs.
    for (key, value) in [("fetch.prune", "true"), ("fetch.pruneTags", "true"), ("fetch.all", "true")] {
        pair.local.git(&["config", key, value]);
    }
    pair.local.git(&["config", "remote.o.url", url.path().map_or("/nowhere", |p| p.to_str().unwrap())]);
    pair.local.git(&["config", "remote.o.fetch", "+refs/*:refs/*"]);

    let absent = no_such(b'e', pair);
    assert_eq!(fetch(pair, url, &[two, absent, unlisted, mine]), [absent]);
    complete(pair, two);
    complete(pair, unlisted);
    assert_eq!(fetch(pair, url, &[two, absent, unlisted]), [absent]);
    assert_eq!(fetch(pair, url, &[]), []);
}

#[test]
fn from_a_path() {
    let pair = Pair::new();
    objects_come_and_refs_stay(&pair, &pair.remote.url());
}

#[test]
fn from_a_daemon_and_with_sha256() {
    let pair = Pair::with("sha256", &["--ref-format=reftable"]);
    let daemon = Daemon::start(pair.dir.path(), &[]);
    objects_come_and_refs_stay(&pair, &daemon.url("remote.git"));
}

#[test]
fn an_object_without_its_history_is_not_enough() {
    let pair = Pair::new();
    let one = pair.remote.commit(&[], "one");
    let two = pair.remote.commit(&[one], "two");
    pair.remote.set("refs/heads/main", two);
    let raw = pair.remote.command().args(["cat-file", "commit", &two.to_string()]).output().unwrap().stdout;
    pair.local.git_with(&["hash-object", "-t", "commit", "-w", "--literally", "--stdin"], &raw);
    assert!(pair.local.has(two) && !pair.local.has(one));
    assert_eq!(fetch(&pair, &pair.remote.url(), &[two]), []);
    complete(&pair, two);
}

#[test]
fn what_hangs_together_here_is_not_asked_for() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let two = pair.local.commit(&[one], "two");
    pair.local.set("refs/heads/main", two);
    let gone = RemoteUrl::parse("/no/such/repository").unwrap();
    assert_eq!(fetch(&pair, &gone, &[one, two]), []);
    assert!(fetch_objects(&pair.local.0, &gone, &[no_such(b'e', &pair)], &mut |_| {}).is_err());
}

#[test]
fn an_object_whose_history_only_the_commit_graph_knows_comes_whole() {
    let pair = Pair::new();
    let one = pair.remote.commit(&[], "one");
    let two = pair.remote.commit(&[one], "two");
    let three = pair.remote.commit(&[two], "three");
    pair.remote.set("refs/heads/main", three);
    assert_eq!(fetch(&pair, &pair.remote.url(), &[three]), []);
    pair.local.set("refs/heads/main", one);
    pair.local.git_with(&["commit-graph", "write", "--stdin-commits"], format!("{three}\n").as_bytes());
    pair.local.lose(two);
    assert_eq!(fetch(&pair, &pair.remote.url(), &[three]), []);
    assert!(pair.local.has(two), "it was asked for again");
}

#[test]
fn many_refs_with_one_history_cross_once() {
    let pair = Pair::new();
    let refs = pair.remote.many("refs/changes", 2_100);
    let server = Counting::start(pair.dir.path());
    let wanted: Vec<Oid> = refs.iter().map(|(_, oid)| *oid).collect();
    assert_eq!(fetch(&pair, &server.daemon.url("remote.git"), &wanted), []);
    assert_eq!(server.sessions(), 1);
    assert_eq!(pair.local.objects(), pair.remote.objects(), "nothing crossed twice");
    assert_eq!(pair.local.keeps(), 0);
}

#[test]
fn an_object_that_spoils_a_transfer_stops_no_other_and_nothing_crosses_again() {
    // With the checks of this side, and without: not the same program of git fetches then.
    spoiled(true);
    spoiled(false);
}

fn spoiled(checks: bool) {
    let pair = Pair::new();
    let base = pair.remote.commit(&[], "base");
    let lost = pair.remote.commit(&[base], "lost");
    let bad = pair.remote.commit(&[lost], "bad");
    let refused = pair.remote.unchecked_mode(base);
    let mut well: Vec<Oid> = (0..60).map(|n| pair.remote.commit(&[base], &n.to_string())).collect();
    well.sort_unstable();
    pair.remote.lose(lost);
    let server = Counting::start(pair.dir.path());
    if checks {
        pair.local.git(&["config", "fetch.fsckObjects", "true"]);
        pair.local.git(&["config", "fetch.fsck.zeroPaddedFilemode", "error"]);
    }
    pair.local.git(&["config", "fetch.unpackLimit", "1"]);
    let mut wanted = well.clone();
    let mut expected = vec![bad];
    expected.extend(checks.then_some(refused));
    expected.sort_unstable();
    wanted.extend(&expected);
    let fetched =
        fetch_objects(&pair.local.0, &server.daemon.url("remote.git"), &wanted, &mut |_| {}).unwrap();
    assert_eq!(fetched.missing, []);
    let mut found: Vec<Oid> = fetched.refused.iter().map(|(oid, _)| *oid).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    for (oid, words) in &fetched.refused {
        let cause = if *oid == bad { lost.to_string() } else { "zeroPaddedFilemode".to_owned() };
        assert!(words.contains(&cause), "{words}");
    }
    well.iter().for_each(|oid| complete(&pair, *oid));
    assert!(server.sessions() <= 2 * 2 * 7, "{}", server.sessions());
    assert_eq!(pair.local.objects(), 60 * 3 + 3, "nothing is here twice");
}

#[test]
fn many_objects_with_holes() {
    let pair = Pair::new();
    let refs = pair.remote.many("refs/changes", 2_100);
    let mut wanted: Vec<Oid> = refs.iter().map(|(_, oid)| *oid).collect();
    let absent = [b'1', b'8', b'9', b'f'].map(|digit| no_such(digit, &pair));
    wanted.splice(1_000..1_000, absent);
    wanted.push(absent[0]);
    let mut said = Vec::new();
    let missing =
        fetch_objects(&pair.local.0, &pair.remote.url(), &wanted, &mut |p| said.push(p)).unwrap().missing;
    assert_eq!(missing, [absent[0], absent[1], absent[2], absent[3], absent[0]]);
    let input: String = refs.iter().map(|(_, oid)| format!("{oid}\n")).collect();
    pair.local.git_with(&["rev-list", "--objects", "--quiet", "--stdin"], input.as_bytes());
    assert_eq!(pair.local.refs(), "");
    assert!(!said.is_empty());
}
