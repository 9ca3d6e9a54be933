//! Listing and looking up refs, against real git and against damage.

mod common;

use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Numbers, Repo, STORAGES, name, our_refs};
use refgate_git::Target;

#[test]
fn a_random_repository_is_listed_as_git_lists_it() {
    for (seed, (objects, refs)) in STORAGES.into_iter().enumerate() {
        let repo = Repo::with(objects, refs);
        let mut numbers = Numbers(77 + seed as u64);
        let commits: Vec<_> = (0..8).map(|i| repo.commit(&format!("{i}"), &[])).collect();
        for _ in 0..4 {
            let names: Vec<Vec<u8>> = (0..60)
                .map(|_| {
                    let mut name = match numbers.below(3) {
                        0 => format!("refs/heads/b{}", numbers.below(40)),
                        1 => format!("refs/changes/{:02}/{}/1", numbers.below(9), numbers.below(200)),
                        _ => format!("refs/tags/v{}.{}-x", numbers.below(9), numbers.below(9)),
                    }
                    .into_bytes();
                    if numbers.below(8) == 0 {
                        name.extend_from_slice(b"\xff\xe4");
                    }
                    name
                })
                .collect();
            let mut unique = names.clone();
            unique.sort();
            unique.dedup();
            let sets: Vec<_> =
                unique.iter().map(|n| (n.as_slice(), commits[numbers.below(8) as usize])).collect();
            repo.set(&sets);
            let gone = &unique[numbers.below(unique.len() as u64) as usize];
            repo.git_with(&["update-ref", "--stdin", "-z"], &[b"delete ".as_slice(), gone, b"\0\0"].concat());
            if numbers.below(2) == 0 {
                repo.git(&["pack-refs", "--all"]);
            }
            let expected = repo.git_refs();
            assert!(expected.len() > 30);
            assert_eq!(our_refs(&repo.open()), expected, "{objects} {refs}");
        }
        // The same values by name: one at a time, some, and more than there are.
        let repository = repo.open();
        let expected = repo.git_refs();
        for (n, oid) in &expected {
            assert_eq!(common::values(&repository, &[name(n)]), [Some(*oid)]);
        }
        let mut names: Vec<_> = expected.iter().map(|(n, _)| name(n)).collect();
        let mut values: Vec<_> = expected.iter().map(|(_, oid)| Some(*oid)).collect();
        for i in 0..1200 {
            if i == 40 || i == 1199 {
                assert_eq!(common::values(&repository, &names), values, "{} names", names.len());
            }
            names.push(name(format!("refs/heads/none{i}")));
            values.push(None);
        }
    }
}

#[test]
fn an_empty_repository_has_no_refs() {
    for (objects, refs) in STORAGES {
        let repository = Repo::with(objects, refs);
        let repository = repository.open();
        assert!(repository.refs().unwrap().is_empty());
        assert_eq!(common::values(&repository, &[name("refs/heads/main")]), [None]);
        assert!(common::values(&repository, &[]).is_empty());
    }
}

#[test]
fn a_name_means_exactly_that_ref() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let commit = repo.commit("1", &[]);
        repo.set(&[(b"refs/tags/refs/heads/main", commit), (b"refs/heads/dir/x", commit)]);
        repo.git(&["update-ref", "--no-deref", "HEAD", &commit.to_string()]);
        let names = ["refs/heads/main", "refs/heads/dir", "HEAD", "config", "refs/heads/dir/x/y"].map(name);
        assert_eq!(common::values(&repo.open(), &names), [None; 5], "{refs}");
        repo.git(&["pack-refs", "--all"]);
        assert_eq!(common::values(&repo.open(), &names), [None; 5], "{refs}");
    }
}

#[test]
fn symbolic_refs_are_listed_as_such_and_have_no_value() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let commit = repo.commit("1", &[]);
        repo.set(&[(b"refs/heads/main", commit)]);
        repo.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
        let repository = repo.open();
        let list = repository.refs().unwrap();
        let all: Vec<_> = list.iter().collect();
        let expected: [(&[u8], Target); 2] =
            [(b"refs/heads/alias", Target::Symbolic), (b"refs/heads/main", Target::Oid(commit))];
        assert_eq!(all, expected, "{refs}");
        let names = ["refs/heads/alias", "refs/heads/main"].map(name);
        assert_eq!(common::values(&repository, &names), [None, Some(commit)]);
        assert_eq!(list.get(b"refs/heads/alias"), Some(Target::Symbolic));
        assert_eq!(list.get(b"refs/heads/alia"), None);
        // One that leads nowhere must not disturb the others.
        repo.git(&["symbolic-ref", "refs/heads/dangling", "refs/heads/none"]);
        assert_eq!(our_refs(&repository), [(b"refs/heads/main".to_vec(), commit)]);
    }
}

#[test]
fn a_symlink_is_a_symbolic_ref() {
    let repo = Repo::new();
    let commit = repo.commit("1", &[]);
    repo.set(&[(b"refs/heads/main", commit)]);
    std::os::unix::fs::symlink("main", repo.path.join("refs/heads/link")).unwrap();
    std::os::unix::fs::symlink("nothing", repo.path.join("refs/heads/broken")).unwrap();
    let list = repo.open().refs().unwrap();
    assert_eq!(list.len(), 3);
    assert_eq!(list.get(b"refs/heads/link"), Some(Target::Symbolic));
    assert_eq!(list.get(b"refs/heads/broken"), Some(Target::Symbolic));
    let names = ["refs/heads/link", "refs/heads/broken"].map(name);
    assert_eq!(common::values(&repo.open(), &names), [None, None]);
}

#[test]
fn loose_wins_over_packed_and_what_is_being_written_does_not_count() {
    let repo = Repo::new();
    let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
    repo.set(&[(b"refs/heads/a", one), (b"refs/heads/b", one), (b"refs/tags/t", one)]);
    repo.git(&["tag", "-a", "-m", "x", "annotated", &one.to_string()]);
    repo.git(&["pack-refs", "--all"]);
    repo.set(&[(b"refs/heads/b", two)]);
    repo.write("refs/heads/c.lock", b"garbage");
    repo.write("refs/heads/.hidden", b"garbage");
    let repository = repo.open();
    assert_eq!(our_refs(&repository), repo.git_refs());
    let names = ["refs/heads/a", "refs/heads/b", "refs/tags/t"].map(name);
    assert_eq!(common::values(&repository, &names), [Some(one), Some(two), Some(one)]);
}

#[test]
fn a_packed_file_without_order_is_put_in_order() {
    let repo = Repo::new();
    let one = repo.commit("1", &[]);
    for header in ["", "# pack-refs with: peeled \n"] {
        let text = format!("{header}{one} refs/tags/z\n^{one}\n{one} refs/heads/m\n{one} refs/heads/a\n");
        repo.write("packed-refs", text.as_bytes());
        assert_eq!(our_refs(&repo.open()), repo.git_refs(), "{header}");
        assert_eq!(our_refs(&repo.open()).len(), 3);
        assert_eq!(common::values(&repo.open(), &[name("refs/heads/m")]), [Some(one)]);
    }
}

#[test]
fn every_line_of_a_packed_file_is_found() {
    let repo = Repo::new();
    let one = repo.commit("1", &[]);
    for count in 0..40 {
        let mut text = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        for i in 0..count {
            text += &format!("{one} refs/tags/{i:03}{}\n", "x".repeat(i % 7));
            if i % 3 == 0 {
                text += &format!("^{one}\n");
            }
        }
        repo.write("packed-refs", text.as_bytes());
        let repository = repo.open();
        for i in 0..count {
            let there = name(format!("refs/tags/{i:03}{}", "x".repeat(i % 7)));
            let not_there = name(format!("refs/tags/{i:03}-"));
            assert_eq!(common::values(&repository, &[there, not_there]), [Some(one), None], "{i} of {count}");
        }
    }
}

#[test]
fn a_damaged_loose_ref_is_broken_names_its_file_and_stops_no_other() {
    let repo = Repo::new();
    let one = repo.commit("1", &[]).to_string();
    repo.write("refs/heads/good", format!("{one}\n").as_bytes());
    let short = &one[..39];
    let longer = format!("{one}0");
    let zeros = "0".repeat(40);
    let cases: [&[u8]; 8] = [
        b"",
        b"\n",
        b"garbage",
        short.as_bytes(),
        longer.as_bytes(),
        zeros.as_bytes(),
        b"ref: ",
        b"ref: refs/heads/a..b\n",
    ];
    for text in cases {
        repo.write("refs/heads/bad", text);
        let repository = repo.open();
        let shown = String::from_utf8_lossy(text);
        let list = repository.refs().unwrap();
        let Some(Target::Broken(why)) = list.get(b"refs/heads/bad") else { panic!("{shown}") };
        assert!(why.contains("r.git/refs/heads/bad`") && why.contains("move the file away"), "{why}");
        assert_eq!(list.get(b"refs/heads/good").and_then(|t| t.oid()).unwrap().to_string(), one);
        let read = repository.values(&[name("refs/heads/bad"), name("refs/heads/good")]).unwrap();
        assert_eq!(read[0].as_ref().unwrap_err().message, *why, "{shown}");
        assert_eq!(read[1].as_ref().unwrap().unwrap().to_string(), one, "{shown}");
        std::fs::remove_file(repo.path.join("refs/heads/bad")).unwrap();
        assert_eq!(repo.open().refs().unwrap().len(), 1);
    }
    // git takes what follows an id and a space.
    repo.write("refs/heads/odd", format!("{one} and more").as_bytes());
    assert_eq!(our_refs(&repo.open()), repo.git_refs());
    // What has no legal name is no ref, for git neither.
    repo.write("refs/heads/bad name", format!("{one}\n").as_bytes());
    let list = repo.open().refs().unwrap();
    assert!(list.len() == 2 && list.strangers()[0].contains("bad name"), "{:?}", list.strangers());
}

#[test]
fn a_name_that_is_too_long_for_a_file_is_a_ref_that_is_not_there() {
    let repo = Repo::new();
    let one = repo.commit("1", &[]);
    repo.set(&[(b"refs/heads/main", one)]);
    let long = name(format!("refs/heads/{}", "n".repeat(300)));
    let deep = name(format!("refs/heads/{}x", "n/".repeat(3000)));
    let read = repo.open().values(&[long, name("refs/heads/main"), deep]).unwrap();
    assert_eq!(read, [Ok(None), Ok(Some(one)), Ok(None)]);
}

#[test]
#[ignore = "needs root: another user is to read"]
fn as_root_a_directory_that_may_not_be_read_hides_what_is_below_and_nothing_else() {
    let repo = Repo::new();
    let one = repo.commit("1", &[]);
    repo.set(&[(b"refs/heads/x/a", one), (b"refs/heads/x/b", one), (b"refs/heads/main", one)]);
    repo.git(&["pack-refs", "--all"]);
    repo.set(&[(b"refs/heads/x/c", one)]);
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode;
    std::fs::set_permissions(repo.dir.path(), mode(0o755)).unwrap();
    std::fs::set_permissions(repo.path.join("refs/heads/x"), mode(0o700)).unwrap();
    let repository = repo.open();
    // Only this thread becomes somebody else.
    let seen = std::thread::spawn(move || {
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(2001));
        let list = repository.refs().unwrap();
        let target = |name: &[u8]| list.get(name);
        let broken = |target: Option<Target>| matches!(target, Some(Target::Broken(why)) if why.contains("refs/heads/x`"));
        assert_eq!(target(b"refs/heads/main"), Some(Target::Oid(one)));
        assert!(broken(target(b"refs/heads/x/a")), "a packed value may be an old one");
        assert!(broken(target(b"refs/heads/x/c")) && broken(target(b"refs/heads/x/never")));
        assert_eq!(list.iter().filter(|(_, t)| matches!(t, Target::Broken(_))).count(), 2, "what is packed");
        repository.values(&[name("refs/heads/x/a"), name("refs/heads/main")]).unwrap()
    });
    let seen = seen.join().unwrap();
    assert!(seen[0].is_err() && seen[1] == Ok(Some(one)), "{seen:?}");
}

#[test]
fn a_damaged_packed_file_is_an_error_that_names_the_line() {
    let repo = Repo::new();
    let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
    let header = "# pack-refs with: peeled fully-peeled sorted \n";
    let zeros = "0".repeat(40);
    for (bad, number) in [
        ("garbage\n".to_owned(), 2),
        (format!("{one}\n"), 2),
        (format!("{one} \n"), 2),
        (format!("{one} refs/heads/a..b\n"), 2),
        (format!("{one}\trefs/heads/a\n"), 2),
        (format!("{zeros} refs/heads/a\n"), 2),
        (format!("{one} refs/heads/a\n^{}\n", &zeros[1..]), 3),
        (format!("{one} refs/heads/a\n# more\n"), 3),
    ] {
        repo.write("packed-refs", format!("{header}{bad}").as_bytes());
        let error = repo.open().refs().expect_err(&bad).message;
        assert!(error.contains("packed-refs` is damaged"), "{error}");
        assert!(error.contains(&format!("line {number},")), "{error}");
    }
    for bad in [format!("{header}{one} refs/heads/a"), "# what\n".to_owned()] {
        repo.write("packed-refs", bad.as_bytes());
        assert!(repo.open().refs().unwrap_err().message.contains("packed-refs"), "{bad}");
        assert!(repo.open().values(&[name("refs/heads/a")]).is_err(), "{bad}");
    }
    repo.write("packed-refs", format!("{header}{one} refs/heads/a\n{two} refs/heads/a\n").as_bytes());
    assert!(repo.open().refs().unwrap_err().message.contains("twice"));
    repo.write("packed-refs", format!("{one} refs/heads/a\n{two} refs/heads/a\n").as_bytes());
    assert!(repo.open().refs().unwrap_err().message.contains("twice"));
}

#[test]
fn a_packed_file_that_git_refuses_is_refused_by_lists_and_lookups() {
    let repo = Repo::new();
    let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
    let header = "# pack-refs with: peeled fully-peeled sorted ";
    let (a, b) = (format!("{one} refs/heads/a\n"), format!("{two} refs/tags/b\n"));
    let peeled = format!("^{one}\n");
    // Each with whether git takes it, too: what it passes over may be a ref that nobody sees.
    for (text, git_takes) in [
        (format!("{header}\n{peeled}{a}{b}"), false),
        (format!("{peeled}{a}{b}"), false),
        (format!("{header}{b}{peeled}{a}"), false),
        (format!("{header}{a}{b}"), true),
        (format!("{header}\n{a}{peeled}{peeled}{b}"), false),
        (format!("{header}\n{a}{b}{}", &peeled[..30]), false),
        (format!("{header}\n{a}{}\n{b}", &peeled[..30]), false),
        (format!("{header}\n{a}{}", b.trim_end()), false),
        (format!("{header}\n{b}{a}"), true),
        (format!("{header}\n{a}{a}"), true),
        (format!("{header}\n\n{a}{b}"), false),
        (format!("{header}\n{a}\n{b}"), false),
        (format!("{header}\n{a}{b}\n"), false),
        (format!("{header}\n{a}{}", &b[20..]), false),
        (format!("{header}\n{a}{}\n", &b[..41]), false),
        ("# what\n".to_owned() + &a, false),
        ("# pack-refs-with: sorted\n".to_owned() + &a, false),
    ] {
        repo.write("packed-refs", text.as_bytes());
        assert_eq!(repo.git_says(&["for-each-ref"]), git_takes, "{text}");
        let repository = repo.open();
        let error = repository.refs().expect_err(&text).message;
        assert!(error.contains("packed-refs` is damaged"), "{error}");
        for there in ["refs/heads/a", "refs/tags/b", "refs/heads/none"] {
            let looked_up = repository.values(&[name(there)]).expect_err(&text).message;
            assert_eq!(looked_up, error, "{text}: a lookup says what a list says");
        }
    }
}

#[test]
fn an_error_shows_nothing_of_a_file_that_packed_refs_leads_to() {
    let repo = Repo::new();
    let secret = repo.path.join("private-to-somebody");
    std::fs::write(&secret, "line one of a secret\nand two\n").unwrap();
    let packed = repo.path.join("packed-refs");
    let refused = || {
        let error = repo.open().refs().unwrap_err().message;
        assert!(error.contains("line 1:") && !error.contains("secret"), "{error}");
        std::fs::remove_file(&packed).unwrap();
    };
    std::os::unix::fs::symlink(&secret, &packed).unwrap();
    refused();
    std::fs::hard_link(&secret, &packed).unwrap();
    refused();
    repo.write("packed-refs", b"line one of our own\n");
    assert!(repo.open().refs().unwrap_err().message.contains("`line one of our own`"));
}

#[test]
fn a_reftable_that_git_reads_as_empty_is_an_error() {
    for damage in ["garbage in a table", "no table", "no list of tables"] {
        let repo = Repo::with("sha1", "reftable");
        let one = repo.commit("1", &[]);
        repo.set(&[(b"refs/heads/main", one)]);
        let repository = repo.open();
        for entry in std::fs::read_dir(repo.path.join("reftable")).unwrap() {
            let path = entry.unwrap().path();
            match (damage, path.as_os_str().as_bytes().ends_with(b".ref")) {
                ("garbage in a table", true) => std::fs::write(&path, b"garbage").unwrap(),
                ("no table", true) | ("no list of tables", false) => std::fs::remove_file(&path).unwrap(),
                _ => {}
            }
        }
        assert!(repository.refs().is_err(), "{damage}");
        assert!(repository.values(&[name("refs/heads/main")]).is_err(), "{damage}");
    }
}

#[test]
fn a_detached_head_is_no_damage() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let one = repo.commit("1", &[]);
        repo.git(&["update-ref", "--no-deref", "HEAD", &one.to_string()]);
        assert!(repo.open().refs().unwrap().is_empty(), "{refs}");
    }
}

#[test]
fn reading_never_goes_back_in_time_while_refs_are_packed() {
    let repo = Repo::new();
    let commits: Vec<_> = (0..40).map(|i| repo.commit(&i.to_string(), &[])).collect();
    let filler: Vec<_> = (0..300).map(|i| format!("refs/tags/t{i}")).collect();
    repo.set(&filler.iter().map(|n| (n.as_bytes(), commits[0])).collect::<Vec<_>>());
    repo.set(&[(b"refs/heads/main", commits[0])]);
    let repository = repo.open();
    let wanted = [name("refs/heads/main")];
    let done = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut newest, mut reads) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let by_name = repository.values(&wanted).unwrap().remove(0).unwrap();
                let listed = repository.refs().unwrap().get(b"refs/heads/main").and_then(|t| t.oid());
                for value in [by_name, listed] {
                    let value = value.expect("the ref exists all the time");
                    let at = commits.iter().position(|c| *c == value).unwrap();
                    assert!(at >= newest, "read {at} after {newest}");
                    newest = at;
                }
                reads += 1;
            }
            reads
        });
        for commit in &commits[1..] {
            repo.set(&[(b"refs/heads/main", *commit)]);
            repo.git(&["pack-refs", "--all", "--prune"]);
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(reads > 40, "only {reads} reads");
}

#[test]
fn a_repository_that_went_away_is_not_one_without_refs() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let repository = repo.open();
        std::fs::rename(&repo.path, repo.dir.path().join("elsewhere")).unwrap();
        assert!(repository.refs().is_err(), "{refs}");
        assert!(repository.values(&[name("refs/heads/main")]).is_err(), "{refs}");
    }
}
