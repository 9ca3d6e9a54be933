//! A store that gives too few or too many answers lets nothing pass, wherever it is asked: no answer is laid beside the
//! wrong ref, and none is missing unnoticed.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, os::unix::fs::PermissionsExt};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::future::ready;
use refgate_core::refdb::{
    Atomicity, Capabilities, Cursor, Edit, Expected, Guard, Lookup, Page, Store, Write, Written,
};
use refgate_core::{
    BoxFuture, Clock, Deadline, FilterSet, GlobalRef, LocalRefs, MemoryRefDb, RefDb, RefDbError,
};
use refgate_git::receive::{Answer, Command as Wanted};
use refgate_git::{GitRepositories, Repository};
use refgate_host::gated::observe::{self, Change};
use refgate_host::gated::{Push, Witness, receive};
use refgate_host::replicate::catch_up_refs;
use refgate_host::{
    Config, Direction, Gate, GateParts, Moves, Oid, Project, Reason, RefName, RefUpdate, RemoteValue, Site,
};

/// Time that passes when somebody waits.
struct Fast(Mutex<Instant>);

impl Clock for Fast {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }
    fn sleep(&self, time: Duration) -> BoxFuture<'_, ()> {
        *self.0.lock().unwrap() += time;
        ready(())
    }
    fn unix_time(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// Which calls of a [`Faulty`] store answer wrongly.
const READ: usize = 1;
const WRITE: usize = 2;
const RESOLVE: usize = 4;
/// They give one answer more in place of one less.
const MORE: usize = 8;

struct Faulty {
    inner: MemoryRefDb,
    how: Arc<AtomicUsize>,
}

impl Faulty {
    fn wrong<T: Clone>(&self, call: usize, mut answers: Vec<T>) -> Vec<T> {
        let how = self.how.load(Ordering::Relaxed);
        match (how & call != 0, how & MORE != 0) {
            (true, false) => drop(answers.pop()),
            (true, true) => answers.extend(answers.last().cloned()),
            (false, _) => {}
        }
        answers
    }
}

type Answers<'a, T> = BoxFuture<'a, Result<T, RefDbError>>;

impl Store for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answers<'a, Vec<Lookup>> {
        Box::pin(async move { Ok(self.wrong(READ, self.inner.get_many(project, refs, deadline).await?)) })
    }
    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        deadline: Deadline,
    ) -> Answers<'a, Page> {
        self.inner.scan(project, prefix, cursor, limit, deadline)
    }
    fn write<'a>(
        &'a self,
        project: &'a Project,
        writes: &'a [Write],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> Answers<'a, Vec<Written>> {
        let done = self.inner.write(project, writes, atomicity, deadline);
        // What an administrator writes alone is answered well.
        let call = if writes.iter().any(|write| write.guard == Guard::Anything) { 0 } else { WRITE };
        Box::pin(async move { Ok(self.wrong(call, done.await?)) })
    }
    fn settle<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answers<'a, Vec<Lookup>> {
        Box::pin(async move { Ok(self.wrong(RESOLVE, self.inner.settle(project, refs, deadline).await?)) })
    }
}

/// A gated site with a repository of two branches, `a` and `b`, which the ref-db has too.
struct Lab {
    root: tempfile::TempDir,
    site: Site,
    project: Project,
    how: Arc<AtomicUsize>,
    old: Oid,
    new: Oid,
}

impl Lab {
    async fn new() -> Lab {
        let root = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.args(args).current_dir(root.path()).env("GIT_CONFIG_GLOBAL", "/dev/null");
            for who in ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"] {
                command.env(who, "t");
            }
            let output = command.output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        git(&["init", "-q", "--bare", "-b", "a", "git/p.git"]);
        let tree = git(&["--git-dir=git/p.git", "hash-object", "-w", "-t", "tree", "/dev/null"]);
        let old = git(&["--git-dir=git/p.git", "commit-tree", "-m", "old", &tree]);
        let new = git(&["--git-dir=git/p.git", "commit-tree", "-m", "new", "-p", &old, &tree]);
        for branch in ["a", "b"] {
            git(&["--git-dir=git/p.git", "update-ref", &format!("refs/heads/{branch}"), &old]);
        }
        let config = config(root.path());
        #[expect(clippy::disallowed_methods, reason = "an origin; only differences count")]
        let clock: Arc<dyn Clock> = Arc::new(Fast(Mutex::new(Instant::now())));
        let how = Arc::new(AtomicUsize::new(0));
        let refdb = RefDb::new(Faulty { inner: MemoryRefDb::with_clock(clock.clone()), how: how.clone() });
        let repositories = GitRepositories::new(root.path().join("git"));
        let gate = Gate::new(GateParts {
            config,
            refdb,
            local: Arc::new(repositories.clone()),
            filters: FilterSet::default().into(),
            clock,
            rng: Arc::new(Mutex::new(SmallRng::seed_from_u64(1))),
        });
        let parse = |hex: &str| Oid::from_hex(hex.as_bytes()).unwrap();
        let (old, new) = (parse(&old), parse(&new));
        let site = Site { gate, repositories, recorder: None, witness: Witness::Embedder };
        let lab = Lab { root, site, project: Project::new("p").unwrap(), how, old, new };
        for name in names() {
            lab.put(&name, old).await;
        }
        lab
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.site.gate.clock().as_ref(), Duration::from_secs(5))
    }

    async fn put(&self, name: &RefName, value: Oid) {
        let done = self.site.gate.refdb().put(&self.project, name, GlobalRef::At(value), self.deadline());
        done.await.unwrap();
    }

    fn answers(&self, how: usize) {
        self.how.store(how, Ordering::Relaxed);
    }

    async fn repository(&self) -> Repository {
        self.site.repository(&self.project).await.unwrap()
    }

    async fn local(&self) -> Vec<Option<Oid>> {
        let read = self.site.repositories.values(&self.project, &names()).await.unwrap();
        read.into_iter().map(Result::unwrap).collect()
    }

    async fn global(&self) -> Vec<GlobalRef> {
        self.answers(0);
        let found = self.site.gate.refdb().get_many(&self.project, &names(), self.deadline()).await.unwrap();
        let value = |lookup: Lookup| match lookup {
            Lookup::Entry(entry) => entry.value,
            other => panic!("{other:?}"),
        };
        found.into_iter().map(value).collect()
    }
}

fn config(root: &Path) -> Config {
    let file = root.join("refgate.config");
    let text = "[site]\n name = s\n basePath = git\n writes = gated\n[remote \"b\"]\n url = /nowhere/${name}\n writes = gated\n";
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    Config::load(&file).unwrap()
}

fn names() -> [RefName; 2] {
    ["refs/heads/a", "refs/heads/b"].map(|name| RefName::new(name).unwrap())
}

#[tokio::test]
async fn a_decision_keeps_nothing() {
    let lab = Lab::new().await;
    let offer = || {
        let update = |name| RefUpdate::new(name, Some(lab.old), RemoteValue::Known(None));
        Moves::of(Direction::Push, names().map(update))
    };
    let decide = || async { lab.site.gate.push(&lab.project, "b", offer()).await.unwrap() };
    let kept = decide().await.moves.iter().filter(|one| one.is_kept()).count();
    assert_eq!(kept, 2, "with all answers");
    for how in [READ, READ | MORE] {
        lab.answers(how);
        let decision = decide().await;
        for one in decision.moves.iter() {
            assert_eq!(one.reason(), Some(&Reason::RefdbUnavailable), "{}", one.name());
        }
        assert!(decision.problems[0].contains("answers to `get_many` of 2 refs"), "{:?}", decision.problems);
    }
}

#[tokio::test]
async fn the_backstop_lets_nothing_pass() {
    let lab = Lab::new().await;
    let changes = || names().map(|name| Change { name, old: Some(lab.old), new: Some(lab.new) }).to_vec();
    let repository = lab.repository().await;
    // Only the first is right; without an answer the second would pass.
    lab.put(&names()[0], lab.new).await;
    let refused = observe::prepared(&lab.site, &lab.project, &repository, changes()).await.unwrap();
    assert_eq!(refused.len(), 1);
    for how in [READ, READ | MORE] {
        lab.answers(how);
        let error = observe::prepared(&lab.site, &lab.project, &repository, changes()).await.unwrap_err();
        assert!(error.message.contains("answers to `get_many` of 2 refs"), "{error}");
    }
}

#[tokio::test]
async fn catch_up_moves_nothing() {
    let lab = Lab::new().await;
    for name in names() {
        lab.put(&name, lab.new).await;
    }
    let repository = lab.repository().await;
    for how in [READ, READ | MORE] {
        lab.answers(how);
        let done = catch_up_refs(&lab.site, &lab.project, &repository, &names()).await.unwrap();
        assert_eq!((done.moved, lab.local().await), (vec![], vec![Some(lab.old); 2]));
    }
    lab.answers(0);
    let done = catch_up_refs(&lab.site, &lab.project, &repository, &names()).await.unwrap();
    assert_eq!((done.moved.len(), lab.local().await), (2, vec![Some(lab.new); 2]));
}

#[tokio::test]
async fn a_gated_write_is_acknowledged_only_when_the_store_says_what_became_of_it() {
    let moved = |lab: &Lab| (vec![Answer::Ok; 2], vec![Some(lab.new); 2]);
    for (how, landed) in [(0, true), (WRITE, true), (READ, false), (WRITE | RESOLVE, false)] {
        for how in [how, how | MORE] {
            let lab = Lab::new().await;
            let repository = lab.repository().await;
            let wanted = |name: RefName| Wanted {
                name: name.as_bytes().to_vec(),
                old: Some(lab.old),
                new: Some(lab.new),
            };
            let commands = names().map(wanted).to_vec();
            let push = Push { id: "1".into(), atomic: false, mark: None, refdb: None, seal: None, commands };
            lab.answers(how);
            let received = receive(&lab.site, &lab.project, &repository, push).await.unwrap();
            let is_ok = received.answers.contains(&Answer::Ok);
            assert_eq!(is_ok, landed, "{how}: {:?}", received.answers);
            if landed {
                assert_eq!((received.answers.clone(), lab.local().await), moved(&lab), "{how}");
                assert_eq!(lab.global().await, [GlobalRef::At(lab.new); 2]);
            } else {
                assert_eq!(lab.local().await, [Some(lab.old); 2], "{how}");
            }
            drop(received);
        }
    }
}

#[tokio::test]
async fn every_call_that_gives_a_list_is_checked() {
    let lab = Lab::new().await;
    let edits = names()
        .map(|name| Edit::new(name, Expected::Exactly(GlobalRef::At(lab.old)), GlobalRef::At(lab.new)));
    let refdb = lab.site.gate.refdb();
    for more in [0, MORE] {
        lab.answers(READ | WRITE | RESOLVE | more);
        let read = refdb.get_many(&lab.project, &names(), lab.deadline()).await.err();
        let write = refdb.compare_and_put(&lab.project, &edits, Atomicity::Each, lab.deadline()).await.err();
        let resolve = refdb.resolve(&lab.project, &edits, lab.deadline()).await.err();
        let kinds = [read, write, resolve].map(|e| e.map(|e| e.kind.name()));
        assert_eq!(kinds, [Some("corrupt"), Some("indeterminate"), Some("corrupt")]);
    }
    let _ = &lab.root;
}
