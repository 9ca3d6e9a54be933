//! Locks on refs: who excludes whom, and that nothing is left behind.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::Repo;
use refgate_core::{BoxFuture, Clock, RefName};
use refgate_git::{GitErrorKind, RefLocks};

/// Every sleep counts and moves time.
struct Counting {
    start: Instant,
    slept: AtomicU32,
}

impl Clock for Counting {
    fn now(&self) -> Instant {
        self.start + Duration::from_millis(10) * self.slept.load(Ordering::Relaxed)
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        self.slept.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

#[expect(clippy::disallowed_methods, reason = "a virtual clock needs a beginning")]
fn clock() -> Arc<Counting> {
    Arc::new(Counting { start: Instant::now(), slept: AtomicU32::new(0) })
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn names(names: &[&str]) -> Vec<RefName> {
    names.iter().map(|n| RefName::new(*n).unwrap()).collect()
}

#[test]
fn a_held_ref_excludes_others_and_its_neighbours_do_not() {
    block_on(async {
        let repo = Repo::new();
        let clock = clock();
        let wait = Duration::from_millis(100);
        let held = RefLocks::acquire(&repo.path, &names(&["refs/heads/b", "refs/heads/a"]), wait, &*clock)
            .await
            .unwrap();
        RefLocks::acquire(&repo.path, &names(&["refs/heads/c", "refs/heads/ab"]), wait, &*clock)
            .await
            .unwrap();
        assert_eq!(clock.slept.load(Ordering::Relaxed), 0, "nobody waits for another ref");
        let e = RefLocks::acquire(&repo.path, &names(&["refs/heads/c", "refs/heads/a"]), wait, &*clock)
            .await
            .unwrap_err();
        assert_eq!(e.kind, GitErrorKind::Busy);
        assert!(e.message.contains("`refs/heads/a`"), "{e}");
        assert_eq!(clock.slept.load(Ordering::Relaxed), 10);
        let (some, got) =
            RefLocks::try_acquire(&repo.path, &names(&["refs/heads/a", "refs/heads/c"])).unwrap();
        assert_eq!(got, [false, true], "the failed attempt left nothing");
        drop((held, some));
        RefLocks::acquire(&repo.path, &names(&["refs/heads/a", "refs/heads/a"]), wait, &*clock)
            .await
            .unwrap();
        let files: Vec<_> = std::fs::read_dir(repo.path.join("refgate")).unwrap().collect();
        assert_eq!(files.len(), 1, "one file for all refs");
    });
}

#[test]
fn very_many_refs_are_locked_by_spans_around_what_others_hold() {
    block_on(async {
        let repo = Repo::new();
        let clock = clock();
        let many: Vec<RefName> =
            (0..50_000).map(|i| RefName::new(format!("refs/heads/b{i}")).unwrap()).collect();
        let theirs = [many[7].clone(), many[40_000].clone()];
        let held = RefLocks::acquire(&repo.path, &theirs, Duration::ZERO, &*clock).await.unwrap();
        let (mine, got) = RefLocks::try_acquire(&repo.path, &many).unwrap();
        let busy: Vec<&RefName> = many.iter().zip(&got).filter(|(_, got)| !**got).map(|(n, _)| n).collect();
        assert_eq!(busy, theirs.iter().collect::<Vec<_>>());
        drop(mine);
        let wait = Duration::from_millis(50);
        let e = RefLocks::acquire(&repo.path, &many, wait, &*clock).await.unwrap_err();
        assert_eq!(e.kind, GitErrorKind::Busy);
        assert!(theirs.iter().any(|name| e.message.contains(&format!("`{name}`"))), "{e}");
        drop(held);
        let _all = RefLocks::acquire(&repo.path, &many, wait, &*clock).await.unwrap();
        let (_, got) = RefLocks::try_acquire(&repo.path, &many[123..124]).unwrap();
        assert_eq!(got, [false]);
    });
}

#[test]
fn another_process_is_excluded_until_it_dies() {
    block_on(async {
        let repo = Repo::new();
        let clock = clock();
        if let Ok(git_dir) = std::env::var("REFGATE_TEST_HOLD") {
            let _held =
                RefLocks::acquire(git_dir.as_ref(), &names(&["refs/heads/a"]), Duration::ZERO, &*clock)
                    .await
                    .unwrap();
            std::fs::write(std::path::Path::new(&git_dir).join("held"), "").unwrap();
            std::future::pending::<()>().await;
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "another_process_is_excluded_until_it_dies"])
            .env("REFGATE_TEST_HOLD", &repo.path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while !repo.path.join("held").exists() {
            assert!(child.try_wait().unwrap().is_none(), "the holder died");
            std::thread::yield_now();
        }
        let (_, got) = RefLocks::try_acquire(&repo.path, &names(&["refs/heads/a"])).unwrap();
        assert_eq!(got, [false]);
        child.kill().unwrap();
        child.wait().unwrap();
        let (_, got) = RefLocks::try_acquire(&repo.path, &names(&["refs/heads/a"])).unwrap();
        assert_eq!(got, [true]);
    });
}
