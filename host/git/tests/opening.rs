//! Opening and creating repositories, and telling the failures apart.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Repo, STORAGES, name, our_refs};
use refgate_core::ObjectFormat;
use refgate_git::{GitErrorKind, Repository};

fn kind(path: &Path) -> GitErrorKind {
    let error = Repository::open(path).unwrap_err();
    assert!(error.message.contains(&path.display().to_string()), "{error}");
    error.kind
}

#[test]
fn formats_are_found() {
    for (objects, refs) in STORAGES {
        let repo = Repo::with(objects, refs);
        let repository = repo.open();
        assert_eq!(repository.object_format().name(), objects);
        assert_eq!(repository.git_dir(), repo.path.canonicalize().unwrap());
        assert_eq!(repository.common_dir(), repository.git_dir());
    }
}

#[test]
fn what_is_not_a_repository_is_told_apart() {
    let repo = Repo::new();
    let dir = repo.dir.path();
    assert_eq!(kind(&dir.join("none.git")), GitErrorKind::Missing);
    assert_eq!(kind(&repo.path.join("config/x")), GitErrorKind::Missing);
    let empty = dir.join("empty.git");
    std::fs::create_dir(&empty).unwrap();
    assert_eq!(kind(&empty), GitErrorKind::NotARepository);
    // Within a repository, but not one.
    assert_eq!(kind(&repo.path.join("refs")), GitErrorKind::NotARepository);
    std::fs::write(repo.path.join("config"), "garbage[").unwrap();
    assert_eq!(kind(&repo.path), GitErrorKind::NotARepository);
    std::fs::remove_file(repo.path.join("config")).unwrap();
    std::fs::remove_file(repo.path.join("HEAD")).unwrap();
    assert_eq!(kind(&repo.path), GitErrorKind::NotARepository);
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_repository_of_somebody_else_is_refused_with_the_way_out() {
    let repo = Repo::new();
    std::os::unix::fs::chown(&repo.path, Some(12345), None).unwrap();
    let error = Repository::open(&repo.path).unwrap_err();
    assert_eq!(error.kind, GitErrorKind::DubiousOwnership);
    assert!(error.hint.unwrap().contains("safe.directory"));
}

#[test]
fn work_trees_are_opened_by_either_directory() {
    let repo = Repo::new();
    let tree = repo.dir.path().join("tree");
    assert!(Command::new("git").args(["init", "-q"]).arg(&tree).status().unwrap().success());
    let git_dir = tree.canonicalize().unwrap().join(".git");
    assert_eq!(Repository::open(&tree.join(".git")).unwrap().git_dir(), git_dir);
    assert_eq!(Repository::open(&tree).unwrap().git_dir(), git_dir);
    std::fs::create_dir(tree.join("sub")).unwrap();
    assert_eq!(kind(&tree.join("sub")), GitErrorKind::NotARepository);
}

#[test]
fn a_linked_worktree_shows_the_refs_of_its_repository() {
    let repo = Repo::new();
    let commit = repo.commit("1", &[]);
    repo.set(&[(b"refs/heads/main", commit)]);
    let linked = repo.dir.path().join("linked");
    repo.git(&["worktree", "add", "-q", "--detach", linked.to_str().unwrap(), "main"]);
    for path in [linked.clone(), linked.join(".git")] {
        let repository = Repository::open(&path).unwrap();
        assert_eq!(repository.common_dir(), repo.path.canonicalize().unwrap());
        assert_eq!(our_refs(&repository), [(b"refs/heads/main".to_vec(), commit)]);
        assert_eq!(common::values(&repository, &[name("refs/heads/main")]), [Some(commit)]);
    }
}

#[test]
fn creating_never_touches_what_is_there() {
    let repo = Repo::new();
    let path = repo.dir.path().join("deep/er/new.git");
    let made =
        Repository::create(&path, ObjectFormat::Sha256, Some("reftable"), Some(&name("refs/heads/trunk")))
            .unwrap();
    assert_eq!(made.object_format(), ObjectFormat::Sha256);
    assert!(path.join("reftable").exists());
    assert_eq!(made.head().unwrap(), Some(name("refs/heads/trunk")));
    assert!(
        Repository::create(&path, ObjectFormat::Sha1, None, None).unwrap_err().message.contains("not empty")
    );
    assert_eq!(Repository::open(&path).unwrap().object_format(), ObjectFormat::Sha256);
}

#[test]
fn odd_paths_are_only_paths() {
    for odd in ["-x.git", "a b.git", "a\nb.git", "a:b.git", "ü.git"] {
        let repo = Repo::new();
        let path = repo.dir.path().join(odd);
        let made = Repository::create(&path, ObjectFormat::Sha1, Some("files"), None).unwrap();
        assert_eq!(made.git_dir(), path.canonicalize().unwrap());
        assert!(made.refs().unwrap().is_empty());
    }
}
