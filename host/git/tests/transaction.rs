//! Moving refs: what is applied, what is rejected and why, and that nothing else changes.

mod common;

use common::{Repo, STORAGES, name, nowhere};
use refgate_core::Oid;
use refgate_git::{EditOutcome, RefEdit};

fn edit(at: &str, old: Option<Oid>, new: Option<Oid>) -> RefEdit {
    RefEdit { name: name(at), old, new, group: None }
}

fn grouped(group: u32, at: &str, old: Option<Oid>, new: Option<Oid>) -> RefEdit {
    RefEdit { group: Some(group), ..edit(at, old, new) }
}

/// Applies the edits; the outcomes as `ok` or the reason.
fn apply(repo: &Repo, edits: &[RefEdit]) -> Vec<String> {
    let outcomes = repo.open().update_refs(edits, "refgate: test").unwrap();
    let text = |outcome| match outcome {
        EditOutcome::Applied => "ok".to_owned(),
        EditOutcome::Rejected(why) => why,
    };
    outcomes.into_iter().map(text).collect()
}

/// Asserts that each outcome contains the text.
#[track_caller]
fn expect(outcomes: &[String], texts: &[&str]) {
    assert_eq!(outcomes.len(), texts.len());
    for (outcome, text) in outcomes.iter().zip(texts) {
        assert!(if *text == "ok" { outcome == "ok" } else { outcome.contains(text) }, "{outcomes:#?}");
    }
}

fn values<const N: usize>(repo: &Repo, names: [&str; N]) -> [Option<Oid>; N] {
    common::values(&repo.open(), &names.map(name)).try_into().unwrap()
}

#[test]
fn refs_are_created_moved_and_deleted_from_what_they_were() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
        repo.set(&[(b"refs/heads/a", one), (b"refs/heads/b", one), (b"refs/heads/c", one)]);
        repo.git(&["pack-refs", "--all"]);
        let raw = b"refs/heads/\xff'x".to_vec();
        let edits = [
            edit("refs/heads/a", Some(one), Some(two)),
            edit("refs/heads/b", Some(one), None),
            edit("refs/heads/new", None, Some(two)),
            edit("refs/heads/c", Some(two), Some(two)),
            edit("refs/heads/never", None, None),
            RefEdit { name: name(&raw), old: None, new: Some(one), group: None },
        ];
        expect(&apply(&repo, &edits), &["ok", "ok", "ok", "it is", "ok", "ok"]);
        let now = values(&repo, ["refs/heads/a", "refs/heads/b", "refs/heads/new", "refs/heads/c"]);
        assert_eq!(now, [Some(two), None, Some(two), Some(one)], "{refs}");
        assert_eq!(common::values(&repo.open(), &[name(&raw)]), [Some(one)]);
        // Once more: what is there already counts as done.
        expect(&apply(&repo, &edits[..3]), &["ok", "ok", "ok"]);
    }
}

#[test]
fn an_unexpected_value_stops_only_its_own_edit() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
        repo.set(&[(b"refs/heads/a", one), (b"refs/heads/b", one), (b"refs/heads/there", two)]);
        let edits = [
            edit("refs/heads/a", Some(two), Some(nowhere(&repo.path))),
            edit("refs/heads/b", Some(one), Some(two)),
            edit("refs/heads/there", None, Some(one)),
            edit("refs/heads/gone", Some(one), Some(two)),
            edit("refs/heads/a", Some(one), Some(two)),
        ];
        let done = apply(&repo, &edits[..4]);
        let a = format!("it is {one} now and was {two}");
        expect(&done, &[&a, "ok", &format!("it is {two} now and was absent"), "it is absent now"]);
        let twice = "changed more than once";
        expect(&apply(&repo, &edits), &[twice, "ok", "it is", "it is absent", twice]);
        assert_eq!(values(&repo, ["refs/heads/a", "refs/heads/there"]), [Some(one), Some(two)]);
    }
}

#[test]
fn what_git_refuses_is_found_out_and_left_out() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let one = repo.commit("1", &[]);
        let tree: Oid = repo.git_with(&["mktree"], b"").parse().unwrap();
        repo.set(&[(b"refs/heads/dir/x", one), (b"refs/heads/file", one)]);
        let other = Oid::from_bytes(&vec![1; 52 - one.as_bytes().len()]).unwrap();
        let edits = [
            edit("refs/heads/dir", None, Some(one)),
            edit("refs/heads/file/y", None, Some(one)),
            edit("refs/heads/lost", None, Some(nowhere(&repo.path))),
            edit("refs/heads/tree", None, Some(tree)),
            edit("refs/tags/tree", None, Some(tree)),
            edit("refs/heads/both", None, Some(one)),
            edit("refs/heads/both/z", None, Some(one)),
            edit("HEAD", None, Some(one)),
            edit("refs/heads/other", None, Some(other)),
            edit("refs/heads/fine", None, Some(one)),
        ];
        let beside = "cannot exist beside `refs/heads/";
        let texts =
            [beside, beside, "is not here", "no commit", "ok", "ok", beside, "not below", objects, "ok"];
        expect(&apply(&repo, &edits), &texts);
        let left: Vec<_> = repo.git_refs().into_iter().map(|(n, _)| String::from_utf8(n).unwrap()).collect();
        let names =
            ["refs/heads/both", "refs/heads/dir/x", "refs/heads/file", "refs/heads/fine", "refs/tags/tree"];
        assert_eq!(left, names);
    }
}

#[test]
fn a_deletion_makes_room_for_what_is_created() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let one = repo.commit("1", &[]);
        repo.set(&[(b"refs/heads/a", one), (b"refs/heads/b/c", one)]);
        let edits = [
            edit("refs/heads/a/x", None, Some(one)),
            edit("refs/heads/a", Some(one), None),
            edit("refs/heads/b", None, Some(one)),
            edit("refs/heads/b/c", Some(one), None),
        ];
        expect(&apply(&repo, &edits), &["ok"; 4]);
        assert_eq!(values(&repo, ["refs/heads/a/x", "refs/heads/b"]), [Some(one); 2], "{refs}");
    }
}

#[test]
fn nothing_is_written_through_a_symbolic_ref() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
        repo.set(&[(b"refs/heads/main", one)]);
        repo.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
        let edits = [edit("refs/heads/alias", Some(one), Some(two)), edit("refs/heads/new", None, Some(two))];
        expect(&apply(&repo, &edits), &["symbolic", "ok"]);
        assert_eq!(values(&repo, ["refs/heads/main"]), [Some(one)]);
        assert_eq!(repo.git(&["symbolic-ref", "refs/heads/alias"]), "refs/heads/main");
        // One that leads nowhere: git lists it nowhere, and in a reftable we do not see it. What it names stays absent.
        repo.git(&["symbolic-ref", "refs/heads/dangling", "refs/heads/none"]);
        let outcomes = apply(&repo, &[edit("refs/heads/dangling", None, Some(two))]);
        if refs == "files" {
            expect(&outcomes, &["symbolic"]);
        }
        assert_eq!(values(&repo, ["refs/heads/none"]), [None]);
    }
}

#[test]
fn a_locked_ref_holds_back_itself_and_its_group() {
    let repo = Repo::new();
    let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
    repo.set(&[(b"refs/heads/a", one), (b"refs/changes/01/1/1", one), (b"refs/changes/01/1/meta", one)]);
    repo.write("refs/heads/a.lock", b"");
    repo.write("refs/changes/01/1/meta.lock", b"");
    let edits = [
        edit("refs/heads/a", Some(one), Some(two)),
        grouped(1, "refs/changes/01/1/1", Some(one), Some(two)),
        grouped(1, "refs/changes/01/1/meta", Some(one), Some(two)),
        grouped(2, "refs/changes/02/2/1", None, Some(two)),
        grouped(2, "refs/changes/02/2/meta", None, Some(two)),
        grouped(3, "refs/changes/03/3/1", Some(one), Some(two)),
        grouped(3, "refs/changes/03/3/meta", None, Some(two)),
    ];
    let texts = ["a.lock", "same group", "meta.lock", "ok", "ok", "it is absent", "same group"];
    expect(&apply(&repo, &edits), &texts);
    let now = values(&repo, ["refs/heads/a", "refs/changes/01/1/1", "refs/changes/02/2/1"]);
    assert_eq!(now, [Some(one), Some(one), Some(two)]);
    assert_eq!(values(&repo, ["refs/changes/03/3/meta"]), [None]);
}

#[test]
fn a_locked_storage_rejects_with_the_words_of_git() {
    let repo = Repo::with("sha1", "reftable");
    let one = repo.commit("1", &[]);
    repo.write("reftable/tables.list.lock", b"");
    expect(&apply(&repo, &[edit("refs/heads/a", None, Some(one))]), &["cannot lock references"]);
    assert_eq!(values(&repo, ["refs/heads/a"]), [None]);

    let repo = Repo::new();
    let one = repo.commit("1", &[]);
    repo.set(&[(b"refs/heads/a", one), (b"refs/heads/b", one)]);
    repo.git(&["pack-refs", "--all"]);
    repo.write("packed-refs.lock", b"");
    let edits = [edit("refs/heads/a", Some(one), None), edit("refs/heads/c", None, Some(one))];
    expect(&apply(&repo, &edits), &["packed-refs.lock", "ok"]);
    assert_eq!(values(&repo, ["refs/heads/a", "refs/heads/c"]), [Some(one); 2]);
}

#[test]
fn what_only_git_knows_holds_back_no_other_edit() {
    let repo = Repo::new();
    let one = repo.commit("1", &[]);
    // Two refs whose place is taken by directories that hold something, but no ref.
    repo.write("refs/heads/a/.kept", b"");
    repo.write("refs/heads/c/.kept", b"");
    let edits = ["refs/heads/a", "refs/heads/b", "refs/heads/c"].map(|at| edit(at, None, Some(one)));
    expect(&apply(&repo, &edits), &["directory", "ok", "directory"]);
    assert_eq!(values(&repo, ["refs/heads/a", "refs/heads/b"]), [None, Some(one)]);
}

/// What a hook of git refuses, nobody knows before, and git names no ref: the edits are split until each is alone.
fn refusing_hook(repo: &Repo, refused: &str) {
    let script = format!(
        "#!/bin/sh\necho x >>'{}/calls'\n[ \"$1\" = prepared ] || exit 0\n! grep -q '{refused}'\n",
        repo.path.display()
    );
    repo.write("hooks/reference-transaction", script.as_bytes());
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(repo.path.join("hooks/reference-transaction"), mode).unwrap();
}

#[test]
fn any_number_of_culprits_that_nobody_names_hold_back_no_other_edit() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let one = repo.commit("1", &[]);
        refusing_hook(&repo, "heads/bad");
        let at = |i: usize| format!("refs/heads/{}{i}", if i % 50 == 7 { "bad" } else { "good" });
        let edits: Vec<RefEdit> = (0..200).map(|i| edit(&at(i), None, Some(one))).collect();
        let outcomes = apply(&repo, &edits);
        for (i, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome == "ok", i % 50 != 7, "{refs} {i}: {outcome}");
        }
        assert_eq!(repo.git_refs().len(), 196);
        // Four culprits among 200: a few splits each, not one transaction per edit.
        let calls = std::fs::read_to_string(repo.path.join("calls")).unwrap().lines().count();
        assert!(calls < 200, "{calls} calls of the hook");
    }
}

#[test]
fn where_everything_is_refused_not_everything_is_tried() {
    let repo = Repo::new();
    let one = repo.commit("1", &[]);
    refusing_hook(&repo, "refs/");
    let edits: Vec<RefEdit> = (0..2_000).map(|i| edit(&format!("refs/heads/{i}"), None, Some(one))).collect();
    let outcomes = apply(&repo, &edits);
    assert!(outcomes.iter().all(|why| why.contains("hook")), "{}", outcomes[0]);
    assert!(outcomes.iter().any(|why| why.contains("was not tried")));
    let calls = std::fs::read_to_string(repo.path.join("calls")).unwrap().lines().count();
    assert!(calls < 1_500, "{calls} calls of the hook");
}

#[test]
fn what_git_finds_out_only_while_it_writes_is_found_before() {
    let repo = Repo::new();
    let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
    repo.git(&["config", "core.logAllRefUpdates", "always"]);
    repo.set(&[(b"refs/heads/a", one), (b"refs/heads/b", one)]);
    std::fs::remove_dir_all(repo.path.join("logs")).unwrap();
    repo.write("logs/refs/heads/a/left-over", b"");
    repo.write("logs/refs/heads/c", b"");
    let edits = [
        edit("refs/heads/a", Some(one), Some(two)),
        edit("refs/heads/b", Some(one), Some(two)),
        edit("refs/heads/c/d", None, Some(two)),
    ];
    let texts = ["left-over", "ok", "logs/refs/heads/c"];
    let tried = repo.open().writer().try_out(&edits).unwrap();
    assert!(matches!(tried[0], EditOutcome::Rejected(_)) && tried[1] == EditOutcome::Applied, "{tried:?}");
    assert_eq!(values(&repo, ["refs/heads/b"]), [Some(one)], "a trial writes nothing");
    expect(&apply(&repo, &edits), &texts);
    assert_eq!(values(&repo, ["refs/heads/a", "refs/heads/b"]), [Some(one), Some(two)]);
    // An empty directory is no obstacle to git.
    std::fs::remove_file(repo.path.join("logs/refs/heads/a/left-over")).unwrap();
    expect(&apply(&repo, &edits[..1]), &["ok"]);
}

#[test]
fn a_branch_that_somebody_works_on_stays_and_the_place_is_said() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
        repo.set(&[
            (b"refs/heads/t", one),
            (b"refs/heads/u", one),
            (b"refs/heads/v", one),
            (b"refs/heads/main", one),
        ]);
        repo.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
        let (t, u) = (repo.dir.path().join("tree-t"), repo.dir.path().join("tree-u"));
        repo.git(&["worktree", "add", "-q", t.to_str().unwrap(), "t"]);
        repo.git(&["worktree", "add", "-q", u.to_str().unwrap(), "u"]);
        let edits = [
            edit("refs/heads/t", Some(one), Some(two)),
            edit("refs/heads/u", Some(one), None),
            edit("refs/heads/v", Some(one), None),
            edit("refs/heads/main", Some(one), None),
            edit("refs/tags/t", None, Some(two)),
        ];
        expect(&apply(&repo, &edits), &["/tree-t`", "/tree-u`", "ok", "HEAD names it", "ok"]);
        repo.git(&["config", "receive.denyDeletes", "true"]);
        repo.git(&["config", "receive.denyCurrentBranch", "ignore"]);
        repo.git(&["config", "receive.denyNonFastForwards", "true"]);
        let edits = [
            edit("refs/heads/t", Some(one), Some(two)),
            edit("refs/heads/u", Some(one), None),
            edit("refs/tags/t", Some(two), None),
        ];
        expect(&apply(&repo, &edits), &["non-fast-forward", "denyDeletes", "ok"]);
        assert_eq!(values(&repo, ["refs/heads/t", "refs/heads/u"]), [Some(one); 2]);
    }
}

#[test]
fn what_was_written_over_at_the_same_moment_is_not_called_applied() {
    let repo = Repo::new();
    let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
    repo.set(&[(b"refs/heads/a", one)]);
    // Another writer, right after git has moved the ref.
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = committed ] || exit 0\n[ -e '{0}' ] && exit 0\ntouch '{0}'\n\
         git update-ref refs/heads/a {one}\n",
        repo.path.join("once").display()
    );
    repo.write("hooks/reference-transaction", script.as_bytes());
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(repo.path.join("hooks/reference-transaction"), mode).unwrap();
    let edits = [edit("refs/heads/a", Some(one), Some(two))];
    expect(&apply(&repo, &edits), &["another process wrote it"]);
    assert_eq!(values(&repo, ["refs/heads/a"]), [Some(one)]);
}

#[test]
fn a_hook_that_refuses_is_quoted() {
    let repo = Repo::new();
    let one = repo.commit("1", &[]);
    repo.write("hooks/reference-transaction", b"#!/bin/sh\nexit 1\n");
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(repo.path.join("hooks/reference-transaction"), mode).unwrap();
    expect(&apply(&repo, &[edit("refs/heads/a", None, Some(one))]), &["hook"]);
    assert_eq!(values(&repo, ["refs/heads/a"]), [None]);
}

#[test]
fn thousands_of_edits_of_which_some_fail() {
    // Fewer where git makes a file for each.
    for (refs, total) in [("files", 2_000), ("reftable", 10_000)] {
        let repo = Repo::with("sha1", refs);
        let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
        let (half, tenth) = (total / 2, total / 10);
        let at = |i: usize| format!("refs/heads/{:02}/{i}", i % 100);
        let names: Vec<String> = (0..half).map(at).collect();
        let sets: Vec<_> = names.iter().map(|n| (n.as_bytes(), one)).collect();
        repo.set(&sets);
        repo.git(&["pack-refs", "--all"]);
        let old = |i: usize| match i {
            i if i % tenth == 7 => Some(two),
            i if i < half => Some(one),
            _ => None,
        };
        let new = |i: usize| {
            if (tenth..2 * tenth).contains(&i) { None } else { Some(two) }
        };
        let mut edits: Vec<RefEdit> = (0..total).map(|i| edit(&at(i), old(i), new(i))).collect();
        let lost = half + tenth / 2;
        edits[lost].new = Some(nowhere(&repo.path));
        let outcomes = apply(&repo, &edits);
        for (i, outcome) in outcomes.iter().enumerate() {
            // In the second half, the wrong old value is that of a ref that does not exist.
            let expected = match i {
                i if i == lost => "is not here",
                i if i % tenth == 7 && i < half => "and was",
                i if i % tenth == 7 => "it is absent now",
                _ => "ok",
            };
            assert!(outcome.contains(expected), "{refs} {i}: {outcome}");
        }
        let all = repo.open().refs().unwrap();
        for (i, edit) in edits.iter().enumerate() {
            let expected = match outcomes[i] == "ok" {
                true => edit.new,
                false if i < half => Some(one),
                false => None,
            };
            assert_eq!(all.get(edit.name.as_bytes()).and_then(|t| t.oid()), expected, "{refs} {i}");
        }
    }
}

#[test]
fn the_message_is_in_the_reflog() {
    let repo = Repo::new();
    let one = repo.commit("1", &[]);
    repo.git(&["config", "core.logAllRefUpdates", "always"]);
    expect(&apply(&repo, &[edit("refs/heads/a", None, Some(one))]), &["ok"]);
    assert!(repo.git(&["reflog", "show", "refs/heads/a"]).contains("refgate: test"));
}
