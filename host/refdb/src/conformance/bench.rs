//! What a case works with: a store that can be connected to any number of times, and projects that are forgotten after it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Clock, Cursor, Deadline, Edit, Entry, Expected, GlobalRef, Lookup,
    Oid, Outcome, Page, Project, RefDb, RefDbError, RefDbErrorKind, RefLock, RefName, TextOutcome,
};

use super::check::{Checked, failed, not_promised};

/// Connects one more client to the store. It may block; it is called on a thread of its own.
pub type Connect = dyn Fn() -> Result<RefDb, RefDbError> + Send + Sync;

pub(super) type Body = for<'a> fn(&'a Run) -> BoxFuture<'a, Checked>;

/// Where the suite runs.
#[derive(Clone)]
pub struct Bench {
    connect: Arc<Connect>,
    clock: Arc<dyn Clock>,
    seed: u64,
    prefix: String,
    disposable: bool,
    timeout: Duration,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("prefix", &self.prefix)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Bench {
    /// Everything that is drawn at random follows from `seed`. `run` tells this run from others on the same store.
    pub fn new(connect: Arc<Connect>, clock: Arc<dyn Clock>, run: u64, seed: u64) -> Bench {
        let prefix = format!("refgate-conformance-{run:016x}");
        Bench { connect, clock, seed, prefix, disposable: false, timeout: Duration::from_secs(10) }
    }

    /// Nobody else uses the store and it is thrown away after the suite: what cannot be taken back may be written.
    #[must_use]
    pub fn disposable(mut self) -> Bench {
        self.disposable = true;
        self
    }

    /// How long one call may take; 10 s unless it is set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Bench {
        self.timeout = timeout;
        self
    }

    /// The first part of the name of every project that is written.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// One more client. Backends may block on a runtime of their own while they open, which a thread that drives futures
    /// does not allow; hence the thread.
    fn open(&self) -> Result<RefDb, RefDbError> {
        std::thread::scope(|s| s.spawn(|| (self.connect)()).join()).unwrap_or_else(|_| {
            Err(RefDbError::new(RefDbErrorKind::Unavailable, "the store panicked while it opened"))
        })
    }
}

/// One run of one case.
pub(super) struct Run {
    bench: Bench,
    number: u16,
    db: RefDb,
    projects: Mutex<BTreeSet<Project>>,
}

impl Run {
    pub(super) fn new(bench: &Bench, number: u16) -> Result<Run, RefDbError> {
        Ok(Run { bench: bench.clone(), number, db: bench.open()?, projects: Mutex::default() })
    }

    /// What the store promises.
    pub(super) fn promises(&self) -> Capabilities {
        self.db.capabilities()
    }

    /// Reads must see what was applied before.
    pub(super) fn needs_linearizable_reads(&self) -> Checked {
        match self.promises().linearizable_reads {
            true => Ok(()),
            false => not_promised("reads may be behind"),
        }
    }

    /// All-or-nothing calls of `edits` edits.
    pub(super) fn needs_atomic(&self, edits: usize) -> Checked {
        match self.promises().atomic_edits {
            most if most >= edits => Ok(()),
            most => not_promised(format!("at most {most} edits in one all-or-nothing call")),
        }
    }

    pub(super) fn is_disposable(&self) -> bool {
        self.bench.disposable
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.bench.clock
    }

    pub(super) fn within(&self, timeout: Duration) -> Deadline {
        Deadline::after(self.clock(), timeout)
    }

    pub(super) fn deadline(&self) -> Deadline {
        self.within(self.bench.timeout)
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        self.clock().sleep(duration).await;
    }

    pub(super) fn rng(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.seed())
    }

    /// Differs from case to case.
    pub(super) fn seed(&self) -> u64 {
        self.bench.seed ^ (u64::from(self.number) << 48)
    }

    /// The project of this case with that name below it, forgotten when the case ends.
    pub(super) fn project(&self, name: &str) -> Checked<Project> {
        match Project::new(format!("{}/{}/{name}", self.bench.prefix, self.number)) {
            Ok(project) => {
                self.projects.lock().unwrap_or_else(PoisonError::into_inner).insert(project.clone());
                Ok(project)
            }
            Err(e) => failed(e.to_string()),
        }
    }

    /// The first client, at this project.
    pub(super) fn client(&self, project: &str) -> Checked<Client<'_>> {
        Ok(Client { run: self, db: self.db.clone(), project: self.project(project)? })
    }

    /// One more client with a connection of its own.
    pub(super) fn another(&self, project: &str) -> Checked<Client<'_>> {
        Ok(Client { run: self, db: self.bench.open()?, project: self.project(project)? })
    }

    pub(super) fn others(&self, n: usize, project: &str) -> Checked<Vec<Client<'_>>> {
        (0..n).map(|_| self.another(project)).collect()
    }

    /// Forgets every project of this case, and says what is left if that did not work.
    pub(super) async fn clean_up(&self) -> Result<(), String> {
        let projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for project in projects {
            let mut result = self.forget(&self.db, &project).await;
            if result.is_err()
                && let Ok(db) = self.bench.open()
            {
                // The case may have left the first client unusable.
                result = self.forget(&db, &project).await;
            }
            result.map_err(|why| format!("cleaning up left entries of `{project}`: {why}"))?;
        }
        Ok(())
    }

    async fn forget(&self, db: &RefDb, project: &Project) -> Result<(), String> {
        let text = |e: RefDbError| e.to_string();
        match db.remove_project(project, self.deadline()).await {
            // A project that the store cannot hold has no entries.
            Err(e) if e.kind == RefDbErrorKind::InvalidName => return Ok(()),
            result => result.map_err(text)?,
        };
        let page = db.scan(project, b"", None, 1, self.deadline()).await.map_err(text)?;
        match page.rows.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("`{name}` is still there after the project was removed")),
        }
    }
}

/// A client at one project.
pub(super) struct Client<'r> {
    run: &'r Run,
    pub(super) db: RefDb,
    pub(super) project: Project,
}

impl<'r> Client<'r> {
    /// The same connection at another project.
    pub(super) fn at(&self, project: &str) -> Checked<Client<'r>> {
        Ok(Client { run: self.run, db: self.db.clone(), project: self.run.project(project)? })
    }

    pub(super) async fn lookups(&self, refs: &[&str]) -> Checked<Vec<Lookup>> {
        let names = names(refs)?;
        let found = self.db.get_many(&self.project, &names, self.run.deadline()).await?;
        match found.len() == names.len() {
            true => Ok(found),
            false => failed(format!("get_many of {} refs gave {} answers", names.len(), found.len())),
        }
    }

    pub(super) async fn entries(&self, refs: &[&str]) -> Checked<Vec<Entry>> {
        let found = self.lookups(refs).await?.into_iter().zip(refs);
        found
            .map(|(found, name)| match found {
                Lookup::Entry(entry) => Ok(entry),
                other => failed(format!("`{name}`: expected an entry, seen {other:?}")),
            })
            .collect()
    }

    pub(super) async fn entry(&self, name: &str) -> Checked<Entry> {
        Ok(self.entries(&[name]).await?.swap_remove(0))
    }

    pub(super) async fn value(&self, name: &str) -> Checked<GlobalRef> {
        Ok(self.entry(name).await?.value)
    }

    pub(super) async fn values(&self, refs: &[&str]) -> Checked<Vec<GlobalRef>> {
        Ok(self.entries(refs).await?.into_iter().map(|entry| entry.value).collect())
    }

    /// The outcomes, one per edit.
    pub(super) async fn edits(&self, edits: &[Edit], atomicity: Atomicity) -> Checked<Vec<Outcome>> {
        let outcomes = self.try_edits(edits, atomicity).await?;
        match outcomes.len() == edits.len() {
            true => Ok(outcomes),
            false => failed(format!("{} edits gave {} outcomes", edits.len(), outcomes.len())),
        }
    }

    pub(super) async fn try_edits(
        &self,
        edits: &[Edit],
        atomicity: Atomicity,
    ) -> Result<Vec<Outcome>, RefDbError> {
        self.db.compare_and_put(&self.project, edits, atomicity, self.run.deadline()).await
    }

    pub(super) async fn edit(&self, edit: Edit) -> Checked<Outcome> {
        Ok(self.edits(&[edit], Atomicity::Each).await?.swap_remove(0))
    }

    pub(super) async fn cas(&self, name: &str, expected: Expected, new: GlobalRef) -> Checked<Outcome> {
        self.edit(edit(name, expected, new)?).await
    }

    pub(super) async fn put(&self, name: &str, value: GlobalRef) -> Checked {
        let name = ref_name(name)?;
        Ok(self.db.put(&self.project, &name, value, self.run.deadline()).await?)
    }

    /// Whether the store can hold this ref of this project at all. It holds no value afterwards.
    pub(super) async fn holds(&self, name: &str) -> Checked<bool> {
        match self.db.put(&self.project, &ref_name(name)?, at(0), self.run.deadline()).await {
            Err(e) if e.kind == RefDbErrorKind::InvalidName => Ok(false),
            result => {
                result?;
                self.remove_ref(name).await
            }
        }
    }

    pub(super) async fn swap(&self, name: &str, from: &Entry, to: &Entry) -> Checked<bool> {
        let name = ref_name(name)?;
        Ok(self.db.swap_entry(&self.project, &name, from, to, self.run.deadline()).await?)
    }

    pub(super) async fn remove_ref(&self, name: &str) -> Checked<bool> {
        Ok(self.db.remove_ref(&self.project, &ref_name(name)?, self.run.deadline()).await?)
    }

    pub(super) async fn remove_project(&self) -> Checked<u64> {
        Ok(self.db.remove_project(&self.project, self.run.deadline()).await?)
    }

    pub(super) async fn text(&self, name: &str) -> Checked<Option<String>> {
        Ok(self.db.get_text(&self.project, &ref_name(name)?, self.run.deadline()).await?)
    }

    pub(super) async fn cas_text(
        &self,
        name: &str,
        expected: Option<&str>,
        new: &str,
    ) -> Checked<TextOutcome> {
        Ok(self.try_cas_text(name, expected, new).await??)
    }

    /// The outer error is of the name, the inner one of the store.
    pub(super) async fn try_cas_text(
        &self,
        name: &str,
        expected: Option<&str>,
        new: &str,
    ) -> Checked<Result<TextOutcome, RefDbError>> {
        let name = ref_name(name)?;
        Ok(self.db.compare_and_put_text(&self.project, &name, expected, new, self.run.deadline()).await)
    }

    pub(super) async fn page(&self, prefix: &str, cursor: Option<&Cursor>, limit: usize) -> Checked<Page> {
        Ok(self.db.scan(&self.project, prefix.as_bytes(), cursor, limit, self.run.deadline()).await?)
    }

    /// The names of all pages.
    pub(super) async fn scan(&self, prefix: &str, limit: usize) -> Checked<Vec<String>> {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.page(prefix, cursor.as_ref(), limit).await?;
            seen.extend(page.rows.iter().map(|(name, _)| name.to_string()));
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(seen),
            }
        }
    }

    pub(super) async fn lock(
        &self,
        name: &str,
        lease: Duration,
        wait: Duration,
    ) -> Result<Box<dyn RefLock>, RefDbError> {
        let name = RefName::from_escaped(name)
            .map_err(|e| RefDbError::new(RefDbErrorKind::InvalidName, e.to_string()))?;
        self.db.lock(&self.project, &name, lease, self.run.within(wait)).await
    }
}

/// A ref name; `%XX` is a byte.
pub(super) fn ref_name(name: &str) -> Checked<RefName> {
    RefName::from_escaped(name).or_else(|e| failed(e.to_string()))
}

pub(super) fn names(refs: &[&str]) -> Checked<Vec<RefName>> {
    refs.iter().map(|name| ref_name(name)).collect()
}

/// An object id of 40 digits that ends with `n`.
pub(super) fn oid(n: u64) -> Oid {
    let mut raw = [0xee; 20];
    raw[12..].copy_from_slice(&n.to_be_bytes());
    known(&raw)
}

/// An object id of 64 digits that begins with the digits of [`oid`].
pub(super) fn long_oid(n: u64) -> Oid {
    let mut raw = [0xee; 32];
    raw[12..20].copy_from_slice(&n.to_be_bytes());
    known(&raw)
}

fn known(raw: &[u8]) -> Oid {
    Oid::from_bytes(raw).expect("a legal length, and not all zeros")
}

pub(super) fn at(n: u64) -> GlobalRef {
    GlobalRef::At(oid(n))
}

/// The number in a value of [`at`].
pub(super) fn number(value: GlobalRef) -> Option<u64> {
    let oid = value.oid()?;
    Some(u64::from_be_bytes(oid.as_bytes()[12..20].try_into().ok()?))
}

pub(super) fn edit(name: &str, expected: Expected, new: GlobalRef) -> Checked<Edit> {
    Ok(Edit::new(ref_name(name)?, expected, new))
}

pub(super) fn mismatch(actual: GlobalRef) -> Outcome {
    Outcome::Mismatch { actual }
}
