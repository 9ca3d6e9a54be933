//! The session lock, and the repositories as the decision reads them.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::{Repo, name};
use refgate_core::{AncestryQuery, BoxFuture, Clock, LocalRefs, Project};
use refgate_git::{GitError, GitErrorKind, GitRepositories, Repository, SessionLock};

/// Time passes only where somebody sleeps.
struct Virtual {
    now: Mutex<Instant>,
}

impl Virtual {
    #[expect(clippy::disallowed_methods, reason = "an instant to start from cannot be made otherwise")]
    fn new() -> Virtual {
        Virtual { now: Mutex::new(Instant::now()) }
    }
}

impl Clock for Virtual {
    fn now(&self) -> Instant {
        *self.now.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        *self.now.lock().unwrap() += duration;
        Box::pin(std::future::ready(()))
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn acquire(git_dir: &Path, remote: &str, clock: &Virtual) -> Result<SessionLock, GitError> {
    wait(SessionLock::acquire(git_dir, remote, Duration::from_secs(5), clock))
}

#[test]
fn one_session_per_remote_at_a_time() {
    let repo = Repo::new();
    let clock = Virtual::new();
    let start = clock.now();
    let held = acquire(&repo.path, "site/b", &clock).unwrap();
    assert!(held.path().ends_with("refgate/session-site%2Fb.lock"));
    let other = acquire(&repo.path, "site-b", &clock).unwrap();
    assert_eq!(clock.now(), start);

    let error = acquire(&repo.path, "site/b", &clock).unwrap_err();
    assert_eq!(error.kind, GitErrorKind::Busy);
    assert!(error.message.contains(&format!("pid {}", std::process::id())), "{error}");
    assert!(error.message.contains(" UTC"), "{error}");
    assert_eq!(clock.now() - start, Duration::from_secs(5));
    drop(held);
    acquire(&repo.path, "site/b", &clock).unwrap();
    drop(other);
}

/// Not a test by itself: the process that the next test starts and kills.
#[test]
#[ignore = "death_releases_the_lock starts it as a process of its own"]
#[expect(clippy::print_stdout, reason = "it tells the other process that it holds the lock")]
fn holder() {
    let git_dir = std::env::var_os("REFGATE_TEST_HOLD").expect("started by another test");
    let _held = acquire(Path::new(&git_dir), "b", &Virtual::new()).unwrap();
    println!("\nheld");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn death_releases_the_lock() {
    let repo = Repo::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holder", "--nocapture", "--ignored"])
        .env("REFGATE_TEST_HOLD", &repo.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"));
    let error = acquire(&repo.path, "b", &Virtual::new()).unwrap_err();
    assert!(error.message.contains(&format!("pid {}", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    acquire(&repo.path, "b", &Virtual::new()).unwrap();
}

#[test]
fn a_lock_that_cannot_be_made_is_an_error() {
    let repo = Repo::new();
    repo.write("refgate", b"a file");
    let error = acquire(&repo.path, "b", &Virtual::new()).unwrap_err();
    assert_ne!(error.kind, GitErrorKind::Busy);
}

#[test]
fn a_project_is_a_repository_below_the_base() {
    let repo = Repo::new();
    let (one, two) = (repo.commit("1", &[]), repo.commit("2", &[]));
    repo.set(&[(b"refs/heads/main", one)]);
    let repositories = GitRepositories::new(repo.dir.path());
    let project = Project::new("r").unwrap();
    let names = ["refs/heads/main", "refs/heads/x"].map(name);
    let read = || -> Vec<_> {
        wait(repositories.values(&project, &names)).unwrap().into_iter().map(Result::unwrap).collect()
    };
    assert_eq!(read(), [Some(one), None]);
    // What is kept is the repository, not its refs.
    repo.set(&[(b"refs/heads/main", two), (b"refs/heads/x", one)]);
    assert_eq!(read(), [Some(two), Some(one)]);
    repo.git(&["pack-refs", "--all"]);
    assert_eq!(read(), [Some(two), Some(one)]);

    let tip = repo.commit("3", &[two]);
    let query = |ancestor, descendant| AncestryQuery { name: names[0].clone(), ancestor, descendant };
    let queries = [query(two, Some(tip)), query(one, None), query(tip, Some(two)), query(one, Some(one))];
    let answers = wait(repositories.ancestry(&project, &queries)).unwrap();
    assert_eq!(answers, [true, false, false, true]);

    let none = Project::new("team/none").unwrap();
    let error = wait(repositories.values(&none, &names)).unwrap_err();
    assert!(error.0.contains("team/none.git"), "{error}");
    assert_eq!(repositories.repository(&none).unwrap_err().kind, GitErrorKind::Missing);
}

#[test]
fn a_repository_that_is_replaced_is_opened_anew() {
    let repo = Repo::new();
    let repositories = GitRepositories::new(repo.dir.path());
    let project = Project::new("r").unwrap();
    let names = [name("refs/heads/main")];
    assert_eq!(wait(repositories.values(&project, &names)).unwrap(), [Ok(None)]);
    std::fs::remove_dir_all(&repo.path).unwrap();
    assert!(wait(repositories.values(&project, &names)).is_err());
    Repository::create(&repo.path, refgate_core::ObjectFormat::Sha256, Some("reftable"), None).unwrap();
    assert_eq!(wait(repositories.values(&project, &names)).unwrap(), [Ok(None)]);
    assert_eq!(repositories.repository(&project).unwrap().object_format().name(), "sha256");
}
