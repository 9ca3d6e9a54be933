//! One session per project and remote.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use refgate_core::{BoxFuture, Clock};
use refgate_git::SessionLock;
use refgate_host::replicate::Options;
use refgate_tests::{Lab, run};

use crate::told;

async fn busy() -> (Arc<Lab>, SessionLock) {
    let lab = Lab::with(&["ungated", "ungated", "ungated"]);
    lab.repo("A").advance("main", "c0");
    let lock = SessionLock::acquire(&lab.path("A"), "B", Duration::ZERO, lab.clock().as_ref()).await;
    (lab, lock.unwrap())
}

#[test]
fn a_second_session_waits_and_then_names_the_holder() {
    run(async {
        let (lab, _lock) = busy().await;
        for direction in ["push", "fetch"] {
            let before = lab.clock().now();
            let error = match direction {
                "push" => lab.try_push("A", "B", &Options::default()).await.unwrap_err(),
                _ => lab.try_fetch("A", "B", &Options::default()).await.unwrap_err(),
            };
            assert_eq!(error.kind, refgate_host::ErrorKind::Failed);
            assert!(error.message.contains(&format!("pid {}", std::process::id())), "{error}");
            assert!(error.message.contains("`B`") && error.hint.is_some(), "{error}");
            assert_eq!(lab.clock().now() - before, Duration::from_secs(30), "{direction}");
        }
        assert!(lab.repo("B").refs().is_empty());
    });
}

#[test]
fn one_that_ends_in_time_lets_the_other_through() {
    run(async {
        let (lab, lock) = busy().await;
        let held = Arc::new(Mutex::new(Some(lock)));
        lab.clock().during_sleep(move || -> BoxFuture<'static, ()> {
            Box::pin(async move { drop(held.lock().unwrap().take()) })
        });
        assert_eq!(told(&lab.push("A", "B").await), ["main=replicated"]);
        assert_eq!(lab.clock().slept().len(), 1);
    });
}

#[test]
fn other_remotes_and_dry_runs_do_not_wait() {
    run(async {
        let (lab, _lock) = busy().await;
        assert_eq!(told(&lab.push("A", "C").await), ["main=replicated"]);
        let dry = Options { dry_run: true, ..Options::default() };
        assert_eq!(told(&lab.try_push("A", "B", &dry).await.unwrap()), ["main=not-sent"]);
        assert!(lab.clock().slept().is_empty());
    });
}

/// Set in the process that stands for a hook of replication: the environment of this one belongs to all tests.
const INNER: &str = "REFGATE_TEST_IN_A_HOOK";

#[test]
fn a_hook_of_replication_does_not_wait() {
    if std::env::var_os(INNER).is_none() {
        let mut inner = std::process::Command::new(std::env::current_exe().unwrap());
        inner.args(["--exact", "sessions::a_hook_of_replication_does_not_wait"]).env(INNER, "1");
        inner.env("GIT_PUSH_OPTION_COUNT", "2").env("GIT_PUSH_OPTION_0", "ci.skip");
        inner.env("GIT_PUSH_OPTION_1", "refgate.replication=B");
        let printed = String::from_utf8_lossy(&inner.output().unwrap().stdout).into_owned();
        return assert!(printed.contains("1 passed"), "{printed}");
    }
    run(async {
        let (lab, lock) = busy().await;
        let error = lab.try_push("A", "B", &Options::default()).await.unwrap_err();
        assert!(error.message.contains("replication from `B` started this run"), "{error}");
        assert!(lab.clock().slept().is_empty());
        drop(lock);
        assert_eq!(told(&lab.push("A", "B").await), ["main=replicated"], "a free one is used");
    });
}
