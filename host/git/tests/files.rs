//! Files and directories that are made below a git directory look as if git had made them there.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Repo, name};
use refgate_core::{BoxFuture, Clock};
use refgate_git::{RefLocks, Repository, SessionLock};

/// Another user of the machine, and its group.
const SOMEBODY: u32 = 2001;

/// Nobody has to wait for a lock here.
struct Frozen(Instant);

impl Clock for Frozen {
    fn now(&self) -> Instant {
        self.0
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

#[expect(clippy::disallowed_methods, reason = "a virtual clock needs a beginning")]
fn clock() -> Frozen {
    Frozen(Instant::now())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Makes one of everything that refgate makes; returns the paths, directories first.
fn make(repo: &Repo, repository: &Repository) -> (Vec<std::path::PathBuf>, Vec<std::path::PathBuf>) {
    let clock: &dyn Clock = &clock();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        SessionLock::acquire(&repo.path, "b", Duration::ZERO, clock).await.unwrap();
        RefLocks::acquire(&repo.path, &[name("refs/heads/x")], Duration::ZERO, clock).await.unwrap();
    });
    let at = |path: &str| repo.path.join(path);
    repository.files().replace(&at("refgate/journal/1.json"), b"{}").unwrap();
    repository.files().open_or_make(&at("refgate/dead-writers/1")).unwrap();
    repository.files().replace(&at("refgate/forget.json"), b"{}").unwrap();
    let dirs = ["refgate", "refgate/journal", "refgate/dead-writers"].map(at);
    let files = [
        "refgate/session-b.lock",
        "refgate/refs.lock",
        "refgate/journal/1.json",
        "refgate/dead-writers/1",
        "refgate/forget.json",
    ];
    (dirs.into(), files.map(at).into())
}

#[test]
fn modes_are_those_of_what_git_makes_under_the_same_setting() {
    for shared in ["umask", "group", "all", "0640", "0600", "0666"] {
        let repo = Repo::new();
        repo.git(&["config", "core.sharedRepository", shared]);
        let commit = repo.commit("1", &[]);
        repo.git(&["update-ref", "refs/heads/dir/x", &commit.to_string()]);
        let (dir, file) =
            (mode(&repo.path.join("refs/heads/dir")), mode(&repo.path.join("refs/heads/dir/x")));
        let (dirs, files) = make(&repo, &repo.open());
        for path in dirs {
            assert_eq!(mode(&path), dir, "{shared}: {}: {:o}", path.display(), mode(&path));
        }
        let lock = match shared {
            "group" | "all" => 0o660,
            "0666" => 0o666,
            _ => 0o600,
        };
        for path in files {
            let is_lock = path.extension().is_some_and(|e| e == "lock");
            let want = if is_lock { lock } else { file };
            assert_eq!(mode(&path), want, "{shared}: {}: {:o}", path.display(), mode(&path));
        }
        let hook = repo.path.join("hooks/proc-receive");
        repo.open().files().replace_program(&hook, b"#!/bin/sh\n").unwrap();
        assert_eq!(mode(&hook), file | (file & 0o444) >> 2, "{shared}: those who may read it may run it");
    }
}

#[test]
fn a_setting_that_git_refuses_is_told_and_nothing_is_made() {
    let repo = Repo::new();
    let repository = repo.open();
    let mut config = fs::read(repo.path.join("config")).unwrap();
    config.extend_from_slice(b"[core]\n\tsharedRepository = 0440\n");
    fs::write(repo.path.join("config"), config).unwrap();
    let path = repo.path.join("refgate/x");
    let error = repository.files().replace(&path, b"").unwrap_err();
    assert!(
        error.message.contains("core.sharedRepository") || error.message.contains("sharedrepository"),
        "{error}"
    );
    assert!(!path.exists());
}

#[test]
fn what_is_there_stays_as_it_is_and_no_link_is_followed() {
    let repo = Repo::new();
    let files = repo.open();
    let path = repo.path.join("refgate/refs.lock");
    fs::create_dir(repo.path.join("refgate")).unwrap();
    fs::write(&path, "text").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    files.files().open_or_make(&path).unwrap();
    assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"text".to_vec(), 0o600));
    fs::remove_file(&path).unwrap();
    let outside = repo.dir.path().join("outside");
    fs::write(&outside, "text").unwrap();
    std::os::unix::fs::symlink(&outside, &path).unwrap();
    files.files().open_or_make(&path).unwrap_err();
    let left: Vec<_> =
        fs::read_dir(repo.path.join("refgate")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["refs.lock"], "nothing half made is left");
}

/// Only what other users may do with a file is looked at, so it does not matter which umask runs this.
#[test]
fn locks_of_older_releases_are_narrowed_to_those_who_may_write() {
    for (shared, dir, before, after) in [
        ("umask", 0o755, 0o644, 0o600),
        ("umask", 0o755, 0o666, 0o600),
        ("umask", 0o755, 0o640, 0o600),
        ("umask", 0o775, 0o664, 0o660),
        ("umask", 0o777, 0o666, 0o666),
        ("group", 0o755, 0o664, 0o660),
        ("group", 0o755, 0o644, 0o660),
        ("all", 0o755, 0o664, 0o660),
        ("0666", 0o755, 0o666, 0o666),
        ("0640", 0o755, 0o640, 0o600),
    ] {
        let repo = Repo::new();
        repo.git(&["config", "core.sharedRepository", shared]);
        fs::set_permissions(&repo.path, fs::Permissions::from_mode(dir)).unwrap();
        let path = repo.path.join("refgate/refs.lock");
        fs::create_dir(repo.path.join("refgate")).unwrap();
        fs::write(&path, "").unwrap();
        let set = |to: u32| fs::set_permissions(&path, fs::Permissions::from_mode(to)).unwrap();
        set(before);
        RefLocks::try_acquire(&repo.path, &[]).unwrap();
        assert_eq!(mode(&path), after, "{shared} {before:o}");
        // A second name may be another file of somebody whom root would do a disservice.
        set(before);
        fs::hard_link(&path, repo.path.join("second")).unwrap();
        RefLocks::try_acquire(&repo.path, &[]).unwrap();
        assert_eq!(mode(&path), before, "{shared} {before:o}");
    }
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_all_that_is_made_belongs_to_the_owner_of_the_repository() {
    let repo = Repo::new();
    fs::set_permissions(repo.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let repository = repo.open();
    let commit = repo.commit("1", &[]);
    give(&repo.path);
    let (dirs, files) = make(&repo, &repository);
    let edit =
        |path: &str| refgate_git::RefEdit { name: name(path), old: None, new: Some(commit), group: None };
    let done = repository.update_refs(&[edit("refs/heads/new/x")], "why").unwrap();
    assert_eq!(done, [refgate_git::EditOutcome::Applied]);
    let by_git = ["refs/heads/new", "refs/heads/new/x"].map(|path| repo.path.join(path));
    for path in dirs.into_iter().chain(files).chain(by_git) {
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (SOMEBODY, SOMEBODY), "{}", path.display());
    }
    assert_eq!(repository.obstacles().unwrap().count, 0);
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_where_the_owner_cannot_go_git_runs_as_root() {
    let repo = Repo::new();
    let repository = repo.open();
    let commit = repo.commit("1", &[]);
    // The directory of the test is root's alone.
    give(&repo.path);
    fs::set_permissions(repo.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let edit = refgate_git::RefEdit { name: name("refs/heads/x"), old: None, new: Some(commit), group: None };
    assert_eq!(repository.update_refs(&[edit], "why").unwrap(), [refgate_git::EditOutcome::Applied]);
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_new_repository_belongs_to_whom_the_directory_above_it_does() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let base = dir.path().join("git");
    fs::create_dir(&base).unwrap();
    chown(&base, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let path = base.join("team/app.git");
    Repository::create(&path, refgate_core::ObjectFormat::Sha1, None, None).unwrap();
    for path in [base.join("team"), path.clone(), path.join("objects"), path.join("HEAD")] {
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (SOMEBODY, SOMEBODY), "{}", path.display());
    }
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_what_stops_the_owner_or_the_group_is_found_with_its_cure() {
    let repo = Repo::new();
    fs::set_permissions(repo.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let repository = repo.open();
    make(&repo, &repository);
    repo.git(&["pack-refs", "--all"]);
    let commit = repo.commit("1", &[]);
    repo.git(&["update-ref", "--create-reflog", "refs/heads/dir/x", &commit.to_string()]);
    assert_eq!(repository.obstacles().unwrap(), Default::default(), "root may do everything");
    give(&repo.path);
    assert_eq!(repository.obstacles().unwrap(), Default::default());
    for (path, mode, cannot_be) in [
        ("refgate/refs.lock", 0o644, "written"),
        ("refgate/journal", 0o755, "written"),
        ("refs/heads/dir", 0o755, "written"),
        ("refs/heads/dir/x", 0o600, "read"),
        ("logs/refs/heads/dir/x", 0o644, "written"),
        ("objects/pack", 0o755, "written"),
        ("HEAD", 0o600, "read"),
        ("config", 0o640, "read"),
    ] {
        let whole = repo.path.join(path);
        let before = fs::metadata(&whole).unwrap();
        chown(&whole, Some(0), Some(0)).unwrap();
        fs::set_permissions(&whole, fs::Permissions::from_mode(mode)).unwrap();
        let found = repository.obstacles().unwrap();
        assert_eq!(found.count, 1, "{path}: {found:?}");
        let one = &found.first[0];
        assert_eq!((one.path.as_path(), one.mode, one.cannot_be), (whole.as_path(), mode, cannot_be));
        assert_eq!((one.owner.as_str(), one.group.as_str()), ("root", "root"));
        let top = path.split('/').next().unwrap();
        let cure = format!(
            "chown -R {SOMEBODY}:{SOMEBODY} {}",
            repo.path.canonicalize().unwrap().join(top).display()
        );
        assert_eq!(found.cure, cure);
        cured(&found.cure);
        assert_eq!(repository.obstacles().unwrap().count, 0, "{path}");
        chown(&whole, Some(before.uid()), Some(before.gid())).unwrap();
        fs::set_permissions(&whole, before.permissions()).unwrap();
    }
    // Now the group is to write, too, and what was made before is closed to it.
    cured(&format!("chown -R root:root {}", repo.path.display()));
    repo.git(&["config", "core.sharedRepository", "group"]);
    let repository = repo.open();
    give(&repo.path);
    let found = repository.obstacles().unwrap();
    assert!(found.count > 5 && found.first.len() == 5, "{found:?}");
    assert!(found.first[0].stops.contains("core.sharedRepository"), "{found:?}");
    assert!(found.cure.starts_with("chmod -R g+rwX "), "{}", found.cure);
    cured(&found.cure);
    assert_eq!(repository.obstacles().unwrap().count, 0);
}

fn cured(command: &str) {
    assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
}

fn give(path: &Path) {
    cured(&format!("chown -R {SOMEBODY}:{SOMEBODY} {}", path.display()));
}

#[test]
fn what_lies_beside_the_repositories_is_read_by_all_and_written_by_whom_the_directory_says() {
    for (base, dir, file) in [(0o755, 0o2755, 0o644), (0o700, 0o2755, 0o644), (0o775, 0o2775, 0o664)] {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(base)).unwrap();
        let path = place.path().join(".state/what");
        refgate_git::Files::as_in(place.path()).unwrap().replace(&path, b"1").unwrap();
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (dir, file), "{base:o}");
    }
    assert!(refgate_git::Files::as_in("/nowhere/at/all").unwrap_err().message.contains("/nowhere/at/all"));
}
