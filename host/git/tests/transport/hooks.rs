//! The remote's own rules: its hooks run, and what they say reaches the caller.

use refgate_git::GitErrorKind;
use refgate_git::transport::PushStatus;

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
    assert_eq!(statuses, [rejected("pre-receive hook declined"), rejected("pre-receive hook declined")]);
    assert!(said.contains(&"closed?[31m for today".into()), "{said:?}");
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
fn a_remote_that_dies_before_its_report_leaves_the_outcome_open() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    pair.remote.hook("reference-transaction", "test \"$1\" != prepared");
    let error = pair.open().push(&[command("refs/heads/a", None, Some(one))], &mut |_| {}).unwrap_err();
    assert_eq!(error.kind, GitErrorKind::OutcomeUnknown, "{error}");
    assert!(error.message.contains("aborted by hook"), "{error}");
    assert!(error.hint.unwrap().contains("run again"));

    pair.remote.hook("reference-transaction", "exit 0");
    pair.remote.hook("pre-receive", "kill -9 $PPID");
    let error = pair.open().push(&[command("refs/heads/a", None, Some(one))], &mut |_| {}).unwrap_err();
    assert_eq!(error.kind, GitErrorKind::OutcomeUnknown, "{error}");
}

#[test]
fn objects_that_the_remote_cannot_unpack_reject_every_command() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let two = pair.local.commit(&[], "two");
    pair.push(&[command("refs/heads/gone", None, Some(two))]);
    pair.remote.git(&["config", "receive.maxInputSize", "20"]);
    let (statuses, _) =
        pair.push(&[command("refs/heads/a", None, Some(one)), command("refs/heads/gone", Some(two), None)]);
    for status in statuses {
        assert!(matches!(&status, PushStatus::Rejected(why) if why.contains("unpack")), "{status:?}");
    }
    assert_eq!(pair.remote.get("refs/heads/gone"), Some(two));
}

#[test]
fn a_local_repository_that_lacks_history_sends_nothing() {
    let pair = Pair::new();
    let one = pair.local.commit(&[], "one");
    let two = pair.local.commit(&[one], "two");
    let hex = one.to_string();
    std::fs::remove_file(pair.local.0.join("objects").join(&hex[..2]).join(&hex[2..])).unwrap();
    let error = pair.open().push(&[command("refs/heads/a", None, Some(two))], &mut |_| {}).unwrap_err();
    assert_eq!(error.kind, GitErrorKind::Other, "{error}");
    assert!(error.message.contains("`git pack-objects` failed"), "{error}");
    assert_eq!(pair.remote.refs(), "");
}
