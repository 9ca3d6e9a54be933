//! The remote's own rules: its hooks run, and what they say reaches the caller.

use refgate_git::GitErrorKind;
use refgate_git::PushStatus;

use crate::support::{Pair, command, rejected};

#[test]
fn an_update_hook_refuses_one_ref_and_says_why() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    pair.remote.hook("update", r#"test "$1" != refs/heads/b || { echo "100% no: $1" >&2; exit 1; }"#);
    let commands = ["a", "b", "c"].map(|n| command(&format!("refs/heads/{n}"), None, Some(one)));
    let (statuses, said) = pair.push(&commands);
    assert_eq!(statuses, [PushStatus::Ok, rejected("hook declined"), PushStatus::Ok]);
    assert!(said.contains(&"100% no: refs/heads/b".into()), "{said:?}");
    assert_eq!(pair.remote.get("refs/heads/b"), None);
    assert_eq!(pair.remote.get("refs/heads/c"), Some(one));
}

#[test]
fn a_pre_receive_hook_refuses_all() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    pair.remote.hook("pre-receive", "cat >/dev/null; printf 'closed\\033[31m for today' >&2; exit 1");
    let commands = ["a", "b"].map(|n| command(&format!("refs/heads/{n}"), None, Some(one)));
    let (statuses, said) = pair.push(&commands);
    let closed = "pre-receive hook declined: closed\\u{1b}[31m for today";
    assert_eq!(statuses, [rejected(closed), rejected(closed)]);
    assert!(said.contains(&"closed\\u{1b}[31m for today".into()), "{said:?}");
    assert_eq!(pair.remote.refs(), "");
}

#[test]
fn a_post_receive_hook_is_heard_to_its_end() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    pair.remote.hook("post-receive", "while read old new ref; do echo \"got $ref\"; done; echo done");
    let (statuses, said) = pair.push(&[command("refs/heads/a", None, Some(one))]);
    assert_eq!(statuses, [PushStatus::Ok]);
    assert_eq!(said, ["got refs/heads/a", "done"]);
}

#[test]
fn a_hook_that_does_something_else_is_no_success() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    pair.remote.git(&["config", "receive.procReceiveRefs", "refs/for"]);
    // Accepts the update and says that it made another ref of it: version, flush, then commands up to a flush.
    let script = r#"
        pkt() { printf '%04x%s' $((${#1} + 4)) "$1"; }
        pkt 'version=1'; printf 0000
        pkt 'ok refs/for/main'; pkt 'option refname refs/changes/01/1/1'; printf 0000
        cat >/dev/null"#;
    pair.remote.hook("proc-receive", script);
    let (statuses, _) = pair.push(&[command("refs/for/main", None, Some(one))]);
    assert_eq!(statuses, [rejected("the remote updated `refs/changes/01/1/1` instead")]);
}

#[test]
fn deletions_that_the_remote_denies() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let two = pair.local.commit(&[one], "two");
    pair.push(&["a", "b"].map(|n| command(&format!("refs/heads/{n}"), None, Some(two))));
    pair.remote.git(&["config", "receive.denyDeletes", "true"]);
    pair.remote.git(&["config", "receive.denyNonFastForwards", "true"]);
    let three = pair.local.commit(&[two], "three");
    let (statuses, _) = pair.push(&[
        command("refs/heads/a", Some(two), None),
        command("refs/heads/b", Some(two), Some(one)),
        command("refs/heads/c", None, Some(three)),
    ]);
    assert_eq!(statuses, [rejected("deletion prohibited"), rejected("non-fast-forward"), PushStatus::Ok]);
    assert_eq!(pair.remote.get("refs/heads/a"), Some(two));
    assert_eq!(pair.remote.get("refs/heads/b"), Some(two));
}

#[test]
fn what_a_remote_did_that_dies_before_its_report_is_looked_up() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let commands = ["a", "b", "c"].map(|n| command(&format!("refs/heads/{n}"), None, Some(one)));
    // Git ends the whole session for one ref that this hook dislikes.
    let veto = r#"test "$1" != prepared || ! grep -q refs/heads/b"#;
    pair.remote.hook("reference-transaction", veto);
    let (statuses, _) = pair.push(&commands);
    assert_eq!([&statuses[0], &statuses[2]], [&PushStatus::Ok, &PushStatus::Ok]);
    assert!(matches!(&statuses[1], PushStatus::Rejected(why) if why.contains("hook")), "{statuses:?}");
    let found = ["a", "b", "c"].map(|n| pair.remote.get(&format!("refs/heads/{n}")));
    assert_eq!(found, [Some(one), None, Some(one)]);

    pair.remote.hook("reference-transaction", "exit 0");
    pair.remote.hook("post-receive", "kill -9 $PPID");
    let (statuses, _) = pair.push(&[command("refs/heads/d", None, Some(one))]);
    assert_eq!(statuses, [PushStatus::Ok], "it moved before the session died");
}

#[test]
fn a_remote_that_is_gone_after_the_session_leaves_the_outcome_open() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    pair.remote.hook(
        "pre-receive",
        "mv \"$GIT_DIR\" \"$GIT_DIR/../../away\" 2>/dev/null || mv \"$PWD\" \"$PWD.away\"; kill -9 $PPID",
    );
    let error = pair.open().push(&[command("refs/heads/a", None, Some(one))], &mut |_| {}).unwrap_err();
    assert_eq!(error.kind, GitErrorKind::OutcomeUnknown, "{error}");
    assert!(error.hint.unwrap().contains("run again"));
}

#[test]
fn one_ref_that_a_pre_receive_hook_dislikes_stops_no_other() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let script = r#"echo x >>sessions; while read o n r; do case $r in refs/pull/*) echo "no $r" >&2; exit 1; esac; done"#;
    pair.remote.hook("pre-receive", script);
    let mut commands: Vec<_> =
        (0..40).map(|n| command(&format!("refs/heads/{n:02}"), None, Some(one))).collect();
    commands.push(command("refs/pull/1/head", None, Some(one)));
    commands.push(command("refs/tags/v1", None, Some(one)));
    let (statuses, _) = pair.push(&commands);
    for (command, status) in commands.iter().zip(statuses) {
        match command.name.to_string().starts_with("refs/pull/") {
            true => assert_eq!(status, rejected("pre-receive hook declined: no refs/pull/1/head")),
            false => assert_eq!(status, PushStatus::Ok, "{}", command.name),
        }
    }
    let sessions = std::fs::read_to_string(pair.remote.0.join("sessions")).unwrap();
    assert!(sessions.lines().count() <= 8, "{sessions}");
}

#[test]
fn a_remote_that_refuses_everything_is_not_asked_for_each_ref() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    pair.remote.hook("pre-receive", "echo x >>sessions; echo frozen >&2; exit 1");
    let commands: Vec<_> =
        (0..500).map(|n| command(&format!("refs/heads/{n:03}"), None, Some(one))).collect();
    let (statuses, _) = pair.push(&commands);
    let frozen = |status: &PushStatus| matches!(status, PushStatus::Rejected(why) if why.contains("frozen"));
    assert!(statuses.iter().all(frozen), "{statuses:?}");
    let sessions = std::fs::read_to_string(pair.remote.0.join("sessions")).unwrap();
    assert!(sessions.lines().count() <= 60, "{}", sessions.lines().count());
}

#[test]
fn objects_that_the_remote_cannot_unpack_reject_their_ref_and_no_other() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let two = pair.local.commit(&[], "two");
    pair.push(&[command("refs/heads/gone", None, Some(two))]);
    pair.remote.git(&["config", "receive.maxInputSize", "20"]);
    let (statuses, _) =
        pair.push(&[command("refs/heads/a", None, Some(one)), command("refs/heads/gone", Some(two), None)]);
    assert!(matches!(&statuses[0], PushStatus::Rejected(why) if why.contains("unpack")), "{statuses:?}");
    assert_eq!(statuses[1], PushStatus::Ok);
    assert_eq!(pair.remote.get("refs/heads/gone"), None);
}

#[test]
fn what_the_checks_of_the_remote_refuse_stops_no_other() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let bad = pair.local.unchecked_mode(one);
    pair.remote.git(&["config", "transfer.fsckObjects", "true"]);
    pair.remote.git(&["config", "receive.fsck.zeroPaddedFilemode", "error"]);
    let commands = [("a", one), ("bad", bad), ("c", one)]
        .map(|(n, oid)| command(&format!("refs/heads/{n}"), None, Some(oid)));
    let (statuses, _) = pair.push(&commands);
    assert_eq!([&statuses[0], &statuses[2]], [&PushStatus::Ok, &PushStatus::Ok]);
    let named = |why: &str| why.contains("unpack") && why.contains("zeroPaddedFilemode");
    assert!(matches!(&statuses[1], PushStatus::Rejected(why) if named(why)), "{statuses:?}");
}

#[test]
fn a_ref_that_lacks_history_here_stops_no_other() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let two = pair.local.commit(&[one], "two");
    let well: Vec<_> = (0..20).map(|n| pair.local.commit(&[], &n.to_string())).collect();
    pair.local.lose(one);
    pair.remote.hook("pre-receive", "echo x >>sessions");
    let mut commands: Vec<_> = well
        .iter()
        .enumerate()
        .map(|(n, oid)| command(&format!("refs/heads/{n}"), None, Some(*oid)))
        .collect();
    commands.insert(7, command("refs/heads/bad", None, Some(two)));
    let (mut statuses, _) = pair.push(&commands);
    let bad = statuses.remove(7);
    let named = |why: &str| why.contains("`git pack-objects` failed") && why.contains(&one.to_string());
    assert!(matches!(&bad, PushStatus::Rejected(why) if named(why)), "{bad:?}");
    assert!(statuses.iter().all(|status| *status == PushStatus::Ok), "{statuses:?}");
    let sessions = std::fs::read_to_string(pair.remote.0.join("sessions")).unwrap();
    assert_eq!(sessions.lines().count(), 1, "the culprit is found here");
}
