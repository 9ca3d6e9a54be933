//! Ancestry and completeness against git's own answers.

mod common;

use common::{Numbers, Repo, nowhere};
use refgate_core::Oid;

/// Commits with up to three parents each, several of them roots.
fn random_history(repo: &Repo, numbers: &mut Numbers, size: usize) -> Vec<Oid> {
    let mut commits: Vec<Oid> = Vec::new();
    for i in 0..size {
        let mut parents = Vec::new();
        for _ in 0..numbers.below(4) {
            if let Some(recent) = (i as u64).checked_sub(1 + numbers.below(6)) {
                parents.push(commits[recent as usize]);
            }
        }
        parents.sort();
        parents.dedup();
        commits.push(repo.commit(&i.to_string(), &parents));
    }
    commits
}

fn git_says(repo: &Repo, ancestor: Oid, descendant: Oid) -> bool {
    repo.git_says(&["merge-base", "--is-ancestor", &ancestor.to_string(), &descendant.to_string()])
}

#[test]
fn random_histories_agree_with_git() {
    for seed in [1, 2, 3] {
        let repo = Repo::new();
        let mut numbers = Numbers(seed);
        let commits = random_history(&repo, &mut numbers, 45);
        let repository = repo.open();
        let any = |numbers: &mut Numbers| commits[numbers.below(commits.len() as u64) as usize];
        let pairs: Vec<(Oid, Oid)> = (0..160).map(|_| (any(&mut numbers), any(&mut numbers))).collect();
        let expected: Vec<bool> = pairs.iter().map(|(a, d)| git_says(&repo, *a, *d)).collect();
        assert!(expected.iter().any(|yes| *yes) && expected.iter().any(|yes| !*yes));
        assert_eq!(repository.ancestry(&pairs).unwrap(), expected, "seed {seed}, in bulk");
        assert_eq!(repository.ancestry(&pairs[..20]).unwrap(), expected[..20], "seed {seed}, pair by pair");
        // Every pair there is, so that each pass of 64 descendants is full and several are needed.
        let all: Vec<(Oid, Oid)> = commits.iter().flat_map(|a| commits.iter().map(|d| (*a, *d))).collect();
        let bulk = repository.ancestry(&all).unwrap();
        let single = commits.iter().map(|d| {
            let listed = repo.git(&["rev-list", &d.to_string()]);
            commits.iter().map(|a| listed.contains(&a.to_string())).collect::<Vec<bool>>()
        });
        let single: Vec<Vec<bool>> = single.collect();
        for (i, yes) in bulk.iter().enumerate() {
            assert_eq!(*yes, single[i % commits.len()][i / commits.len()], "seed {seed}, pair {i}");
        }
    }
}

#[test]
fn more_than_64_descendants_take_several_passes() {
    let repo = Repo::new();
    let base = repo.commit("base", &[]);
    let mut pairs = Vec::new();
    for i in 0..150 {
        let middle = repo.commit(&format!("m{i}"), &[base]);
        let tip = repo.commit(&format!("t{i}"), &[middle]);
        pairs.extend([(middle, tip), (base, tip), (tip, middle), (tip, base)]);
    }
    for i in 0..149 {
        pairs.push((pairs[i * 4].0, pairs[i * 4 + 4].1));
    }
    let expected: Vec<bool> = (0..pairs.len()).map(|i| i < 600 && i % 4 < 2).collect();
    assert_eq!(repo.open().ancestry(&pairs).unwrap(), expected);
}

#[test]
fn only_commits_that_are_here_have_descendants() {
    for many in [false, true] {
        let repo = Repo::new();
        let one = repo.commit("1", &[]);
        let two = repo.commit("2", &[one]);
        repo.git(&["tag", "-a", "-m", "x", "t", &two.to_string()]);
        let tag: Oid = repo.git(&["rev-parse", "t"]).parse().unwrap();
        let blob: Oid = repo.git_with(&["hash-object", "-w", "--stdin"], b"x").parse().unwrap();
        let lost = nowhere(&repo.path);
        let other_format = Oid::from_bytes(&[1; 32]).unwrap();
        let mut pairs = vec![
            (one, two),
            (two, one),
            (one, tag),
            (tag, tag),
            (blob, two),
            (one, blob),
            (blob, blob),
            (lost, two),
            (one, lost),
            (lost, lost),
            (other_format, two),
            (one, other_format),
        ];
        let mut expected =
            vec![true, false, false, true, false, false, true, false, false, true, false, false];
        if many {
            for i in 0..40 {
                pairs.push((one, repo.commit(&format!("c{i}"), &[two])));
                expected.push(true);
            }
        }
        assert_eq!(repo.open().ancestry(&pairs).unwrap(), expected);
    }
}

#[test]
fn replace_refs_do_not_make_history() {
    let repo = Repo::new();
    let one = repo.commit("1", &[]);
    let stranger = repo.commit("stranger", &[]);
    let two = repo.commit("2", &[one]);
    repo.git(&["replace", "--graft", &two.to_string(), &stranger.to_string()]);
    assert!(git_says(&repo, stranger, two));
    assert_eq!(repo.open().ancestry(&[(one, two), (stranger, two)]).unwrap(), [true, false]);
}

#[test]
fn history_ends_where_it_is_not_here() {
    for shallow in [false, true] {
        let repo = Repo::new();
        let mut line = vec![repo.commit("0", &[])];
        for i in 1..60 {
            line.push(repo.commit(&i.to_string(), &[line[i - 1]]));
        }
        let gone = line[20].to_string();
        match shallow {
            true => repo.write("shallow", format!("{}\n", line[21]).as_bytes()),
            false => {
                std::fs::remove_file(repo.path.join("objects").join(&gone[..2]).join(&gone[2..])).unwrap()
            }
        }
        let repository = repo.open();
        let tip = line[59];
        assert_eq!(repository.ancestry(&[(line[5], tip), (line[30], tip)]).unwrap(), [false, true]);
        let pairs: Vec<_> = line.iter().map(|ancestor| (*ancestor, tip)).collect();
        let expected: Vec<bool> = (0..60).map(|i| i > 20).collect();
        assert_eq!(repository.ancestry(&pairs).unwrap(), expected, "shallow: {shallow}");
        // Behind the gap, history is whole again.
        assert_eq!(repository.ancestry(&[(line[0], line[19])]).unwrap(), [true]);
    }
}

#[test]
fn a_hundred_thousand_pairs() {
    let repo = Repo::new();
    let mut line = vec![repo.commit("0", &[])];
    for i in 1..400 {
        line.push(repo.commit(&i.to_string(), &[line[i - 1]]));
    }
    let pairs: Vec<_> = (0..100_000).map(|i| (line[i % 400], line[i / 250])).collect();
    let answers = repo.open().ancestry(&pairs).unwrap();
    assert!((0..100_000).all(|i| answers[i] == (i % 400 <= i / 250)));
}

#[test]
fn missing_and_incomplete_objects() {
    let repo = Repo::new();
    let blob: Oid = repo.git_with(&["hash-object", "-w", "--stdin"], b"x").parse().unwrap();
    let tree = repo.git_with(&["mktree"], format!("100644 blob {blob}\tx\n").as_bytes());
    let broken: Oid = repo.git(&["commit-tree", "-m", "b", &tree]).parse().unwrap();
    let on_top = repo.commit("on top", &[broken]);
    let whole: Vec<Oid> = (0..5).map(|i| repo.commit(&i.to_string(), &[])).collect();
    let lost = nowhere(&repo.path);
    let repository = repo.open();
    let mut all = whole.clone();
    all.extend([lost, on_top, lost]);
    assert_eq!(repository.missing(&all).unwrap(), [lost]);
    assert_eq!(repository.missing(&[]).unwrap(), []);
    let mut expected = vec![true; 5];
    expected.extend([false, true, false]);
    assert_eq!(repository.complete(&all).unwrap(), expected);

    let hex = blob.to_string();
    std::fs::remove_file(repo.path.join("objects").join(&hex[..2]).join(&hex[2..])).unwrap();
    expected[6] = false;
    assert_eq!(repository.missing(&all).unwrap(), [lost]);
    assert_eq!(repository.complete(&all).unwrap(), expected);
    assert_eq!(repository.complete(&[]).unwrap(), []);
    // A ref to nothing must not make everything incomplete, nor complete.
    repo.write("refs/heads/lost", format!("{lost}\n").as_bytes());
    assert_eq!(repository.complete(&all).unwrap(), expected);
}
