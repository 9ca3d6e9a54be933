//! What arrives: creations, updates, deletions, names and numbers of every kind.

use std::os::unix::ffi::OsStrExt;

use refgate_git::{PushCommand, PushSession, PushStatus, RemoteUrl, list};

use crate::support::{Daemon, Pair, command, name, push, rejected};

/// The life of some refs at one remote, over two sessions.
pub fn life_of_refs(pair: &Pair, url: &RemoteUrl) {
    let (local, remote) = (&pair.local, &pair.remote);
    let open = || PushSession::open(&local.0, url, pair.format).unwrap();
    let one = local.commit(&[], "one");
    let two = local.commit(&[one], "two");
    let other = local.commit(&[], "other");
    let session = open();
    assert_eq!(session.refs(), []);
    assert!(session.symbolic_refs().unwrap().is_empty());
    let commands = ["a", "b", "c"].map(|n| command(&format!("refs/heads/{n}"), None, Some(one)));
    assert_eq!(push(session, &commands).0, [PushStatus::Ok, PushStatus::Ok, PushStatus::Ok]);

    remote.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/a"]);
    let session = open();
    let names: Vec<String> = session.refs().iter().map(|(name, oid)| format!("{name} {oid}")).collect();
    assert_eq!(names, ["a", "alias", "b", "c"].map(|n| format!("refs/heads/{n} {one}")));
    assert_eq!(session.symbolic_refs().unwrap().into_iter().collect::<Vec<_>>(), [name("refs/heads/alias")]);
    let commands = [
        command("refs/heads/c", Some(one), None),
        command("refs/heads/b", Some(one), Some(other)),
        command("refs/heads/a", Some(one), Some(two)),
    ];
    assert_eq!(push(session, &commands).0, [PushStatus::Ok, PushStatus::Ok, PushStatus::Ok]);
    assert_eq!(remote.get("refs/heads/a"), Some(two));
    assert_eq!(remote.get("refs/heads/b"), Some(other));
    assert_eq!(remote.get("refs/heads/c"), None);
    remote.fsck();

    let listed = list(url, pair.format).unwrap();
    let listed: Vec<_> = listed.iter().map(|r| (r.name.to_string(), r.oid.unwrap(), r.symbolic)).collect();
    let expected = [("a", two, false), ("alias", two, true), ("b", other, false)];
    assert_eq!(listed, expected.map(|(n, oid, symbolic)| (format!("refs/heads/{n}"), oid, symbolic)));
    assert_eq!(push(open(), &[command("refs/heads/b", Some(other), None)]).0, [PushStatus::Ok]);
    assert_eq!(remote.get("refs/heads/b"), None);
}

#[test]
fn over_a_pipe() {
    let pair = Pair::new();
    life_of_refs(&pair, &pair.remote.url());
}

#[test]
fn over_a_daemon() {
    let pair = Pair::new();
    let daemon = Daemon::start(pair.dir.path(), &[]);
    life_of_refs(&pair, &daemon.url("remote.git"));
}

#[test]
fn with_sha256() {
    let pair = Pair::with("sha256", &[]);
    life_of_refs(&pair, &pair.remote.url());
    let pair = Pair::with("sha256", &[]);
    let daemon = Daemon::start(pair.dir.path(), &[]);
    life_of_refs(&pair, &daemon.url("remote.git"));
}

#[test]
fn into_a_reftable() {
    let pair = Pair::with("sha1", &["--ref-format=reftable"]);
    life_of_refs(&pair, &pair.remote.url());
}

#[test]
fn a_path_may_leave_out_the_suffix_and_name_a_work_tree() {
    let pair = Pair::new();
    let url = RemoteUrl::parse(pair.dir.path().join("remote").to_str().unwrap()).unwrap();
    life_of_refs(&pair, &url);
}

#[test]
fn a_ref_that_moves_after_the_listing_is_rejected_and_the_others_go() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let two = pair.local.commit(&[one], "two");
    let commands = ["a", "b", "c"].map(|n| command(&format!("refs/heads/{n}"), None, Some(one)));
    pair.push(&commands);

    let session = pair.open();
    let theirs = pair.remote.commit(&[], "theirs");
    pair.remote.set("refs/heads/b", theirs);
    pair.remote.git(&["update-ref", "-d", "refs/heads/c"]);
    let updates = ["a", "b", "c"].map(|n| command(&format!("refs/heads/{n}"), Some(one), Some(two)));
    let (statuses, _) = push(session, &updates);
    assert_eq!(statuses[0], PushStatus::Ok);
    for status in &statuses[1..] {
        assert!(
            matches!(status, PushStatus::Rejected(why) if why.contains("failed to update ref")),
            "{status:?}"
        );
    }
    assert_eq!(pair.remote.get("refs/heads/a"), Some(two));
    assert_eq!(pair.remote.get("refs/heads/b"), Some(theirs));
    assert_eq!(pair.remote.get("refs/heads/c"), None);

    let session = pair.open();
    pair.remote.set("refs/heads/new", theirs);
    let (statuses, _) = push(session, &[command("refs/heads/new", None, Some(two))]);
    assert!(matches!(&statuses[0], PushStatus::Rejected(_)), "{statuses:?}");
    assert_eq!(pair.remote.get("refs/heads/new"), Some(theirs));
}

#[test]
fn a_session_without_commands_changes_nothing() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    pair.push(&[command("refs/heads/a", None, Some(one))]);
    let before = pair.remote.refs();
    pair.open().close();
    drop(pair.open());
    assert_eq!(pair.push(&[]).0, []);
    assert_eq!(pair.remote.refs(), before);
}

#[test]
fn what_cannot_be_sent_is_rejected_here_and_the_rest_goes() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let elsewhere = pair.remote.commit(&[], "elsewhere");
    let commands = [
        command("refs/heads/a", None, Some(elsewhere)),
        command("refs/heads/b", None, Some(one)),
        command("refs/heads/c", None, None),
    ];
    let (statuses, _) = pair.push(&commands);
    assert_eq!(statuses[0], rejected(&format!("object `{elsewhere}` is not in the local repository")));
    assert_eq!(statuses[1], PushStatus::Ok);
    assert_eq!(statuses[2], rejected("there is neither an old nor a new value"));
    assert_eq!(pair.push(&commands[..1]).0, statuses[..1]);

    let twice = [commands[1].clone(), commands[1].clone()];
    let error = pair.open().push(&twice, &mut |_| {}).unwrap_err();
    assert!(error.message.contains("`refs/heads/b` is named twice"), "{error}");
}

#[test]
fn objects_that_both_sides_have_are_not_sent_again() {
    let pair = Pair::new();
    let noise: String =
        (0..200_000u64).map(|i| format!("{:x}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let one = pair.local.commit(&[], &noise[..100_000]);
    let (a, b) = ("refs/heads/a", "refs/heads/b");
    pair.push(&[command(a, None, Some(one))]);
    let before = pair.remote.git(&["count-objects", "-v"]);
    // A deletion beside it, and a ref whose object the local side does not have.
    pair.remote.set("refs/heads/theirs", pair.remote.commit(&[], "theirs"));
    pair.push(&[command(b, None, Some(one)), command(a, Some(one), None)]);
    let count = |text: &str| -> u32 {
        let value =
            |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.trim().parse::<u32>().ok()).unwrap();
        value("count:") + value("in-pack:")
    };
    let after = pair.remote.git(&["count-objects", "-v"]);
    assert_eq!(count(&after), count(&before) + 3, "only the three objects of `theirs`");
    assert_eq!(pair.remote.get(b), Some(one));
    pair.remote.fsck();
}

#[test]
fn a_large_pack_and_a_talking_remote_do_not_block_each_other() {
    let pair = Pair::new();
    let mut x = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    })
    .take(6_000_000)
    .collect();
    let blob = pair.local.git_with(&["hash-object", "-w", "--stdin"], &noise).parse().unwrap();
    pair.remote.hook("pre-receive", "cat >/dev/null; yes 'a line of the hook' | head -n 40000");
    let (statuses, said) = pair.push(&[command("refs/blobs/noise", None, Some(blob))]);
    assert_eq!(statuses, [PushStatus::Ok]);
    assert_eq!(said.iter().filter(|line| *line == "a line of the hook").count(), 40_000);
    assert_eq!(pair.remote.get("refs/blobs/noise"), Some(blob));
}

#[test]
fn ref_names_are_bytes() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let raw = b"refs/heads/caf\xe9-\xff";
    let update = PushCommand { name: refgate_core::RefName::new(*raw).unwrap(), old: None, new: Some(one) };
    assert_eq!(pair.push(std::slice::from_ref(&update)).0, [PushStatus::Ok]);
    let output =
        pair.remote.command().args(["show-ref", "--verify"]).arg(std::ffi::OsStr::from_bytes(raw)).output();
    assert!(output.unwrap().status.success());
    assert_eq!(pair.open().refs(), [(update.name.clone(), one)]);
    assert_eq!(list(&pair.remote.url(), pair.format).unwrap()[0].name, update.name);
    let delete = PushCommand { old: Some(one), new: None, ..update };
    assert_eq!(pair.push(&[delete]).0, [PushStatus::Ok]);
    assert_eq!(pair.remote.refs(), "");
}

#[test]
fn ten_thousand_refs_in_one_push() {
    let pair = Pair::new();
    let refs = pair.local.many("refs/changes", 10_000);
    let commands: Vec<PushCommand> = refs
        .iter()
        .map(|(name, oid)| PushCommand { name: name.clone(), old: None, new: Some(*oid) })
        .collect();
    let (statuses, _) = pair.push(&commands);
    assert!(statuses.iter().all(|status| *status == PushStatus::Ok));
    let session = pair.open();
    assert_eq!(session.refs(), refs);
    session.close();
    assert_eq!(pair.remote.refs(), pair.local.refs());
}
