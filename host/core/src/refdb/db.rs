//! The ref-db as callers have it: a store, and around every call what all stores have in common.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::value::{check_entry, check_message};
use super::{
    Administered, Atomicity, Capabilities, Cursor, Edit, Entries, Guard, Lookup, Mark, Metrics, New,
    Operation, Outcome, Page, RefDbError, RefDbErrorKind, RefLock, Store, TextOutcome, Unreadable, Waiting,
    Write, Written, check_text, whole,
};
use crate::{BoxFuture, Clock, Deadline, Entry, GlobalRef, Project, RefName};

/// A store, with how long it is waited for and what is counted. Cheap to clone.
///
/// Every method that asks the store ends by its deadline as far as [`Waiting`] or the store itself sees to it, and fails as
/// [`RefDbErrorKind`] says. What a store does not have is [`RefDbErrorKind::Unsupported`].
#[derive(Clone)]
pub struct RefDb {
    store: Arc<dyn Store>,
    waiting: Option<Arc<Waiting>>,
    metrics: Option<Arc<Metrics>>,
}

impl fmt::Debug for RefDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefDb").field("store", &self.store.location()).finish_non_exhaustive()
    }
}

impl<S: Store + 'static> From<Arc<S>> for RefDb {
    fn from(store: Arc<S>) -> RefDb {
        RefDb { store, waiting: None, metrics: None }
    }
}

impl RefDb {
    /// A store that is asked once and waited for as long as it takes.
    pub fn new(store: impl Store + 'static) -> RefDb {
        Arc::new(store).into()
    }

    /// The same store, waited for as `waiting` says.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> RefDb {
        self.waiting = Some(Arc::new(waiting));
        self
    }

    /// The same store with counters, by `clock`.
    pub fn counted(mut self, clock: Arc<dyn Clock>) -> (RefDb, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(clock));
        self.metrics = Some(metrics.clone());
        (self, metrics)
    }

    /// The backend.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What the store promises.
    pub fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    /// Asks the store, counts, and waits.
    async fn ask<T, F>(
        &self,
        operation: Operation,
        deadline: Deadline,
        call: impl Fn(Deadline) -> F,
    ) -> Result<T, RefDbError>
    where
        F: Future<Output = Result<T, RefDbError>>,
    {
        let answer = async {
            match &self.waiting {
                Some(waiting) => waiting.wait(operation, deadline, call).await,
                None => call(deadline).await,
            }
        };
        match &self.metrics {
            Some(metrics) => metrics.count(operation, answer).await,
            None => answer.await,
        }
    }

    fn unsupported(&self, what: &str) -> RefDbError {
        RefDbError::unsupported(self.capabilities().name, what)
    }

    fn admin(&self, what: &str) -> Result<&dyn Administered, RefDbError> {
        self.store.admin().ok_or_else(|| self.unsupported(what))
    }

    fn unreadable(&self, project: &Project, name: &RefName, why: String) -> RefDbError {
        Unreadable::new(name, why).error(&self.store.location(), project)
    }

    /// The entries of `refs`: see [`Entries::get_many`].
    pub async fn get_many(
        &self,
        project: &Project,
        refs: &[RefName],
        deadline: Deadline,
    ) -> Result<Vec<Lookup>, RefDbError> {
        let read = |deadline| async move {
            whole(Operation::GetMany, refs.len(), self.store.get_many(project, refs, deadline).await)
        };
        self.ask(Operation::GetMany, deadline, read).await
    }

    /// What is stored for names that start with `prefix`: see [`Store::scan`].
    pub async fn scan(
        &self,
        project: &Project,
        prefix: &[u8],
        cursor: Option<&Cursor>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Page, RefDbError> {
        let read = |deadline| self.store.scan(project, prefix, cursor, limit.max(1), deadline);
        self.ask(Operation::Scan, deadline, read).await
    }

    /// Applies each edit whose expectation holds and whose lock is held, or with [`Atomicity::AllOrNothing`] all of them
    /// or none. One outcome per edit in the same order.
    ///
    /// # Errors
    /// [`RefDbErrorKind::TooLarge`] for all or nothing above the limit in [`Capabilities`].
    /// [`RefDbErrorKind::Indeterminate`] means that the edits, or some of them, may or may not have been applied:
    /// [`resolve`](Self::resolve) tells. After any other error no edit was applied, and none will be later.
    /// [`RefDbErrorKind::Corrupt`] when what is there is no entry, a text for example; it takes the whole call with it.
    pub async fn compare_and_put(
        &self,
        project: &Project,
        edits: &[Edit],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> Result<Vec<Outcome>, RefDbError> {
        let writes: Vec<Write> = edits.iter().map(Write::from).collect();
        let written = self.write(Operation::CompareAndPut, project, &writes, atomicity, deadline).await?;
        Ok(written.into_iter().map(Outcome::from).collect())
    }

    async fn write(
        &self,
        operation: Operation,
        project: &Project,
        writes: &[Write],
        atomicity: Atomicity,
        deadline: Deadline,
    ) -> Result<Vec<Written>, RefDbError> {
        let write = |deadline| async move {
            self.refuse(writes, atomicity)?;
            whole(operation, writes.len(), self.store.write(project, writes, atomicity, deadline).await)
        };
        self.ask(operation, deadline, write).await
    }

    /// One write: `None` when it was applied, else what was there.
    async fn write_one(
        &self,
        operation: Operation,
        project: &Project,
        name: &RefName,
        (guard, new): (Guard, New),
        deadline: Deadline,
    ) -> Result<Option<Lookup>, RefDbError> {
        let write = [Write::new(name.clone(), guard, new)];
        let written = self.write(operation, project, &write, Atomicity::Each, deadline).await?;
        Ok(written.into_iter().find_map(|written| match written {
            Written::Mismatch(found) => Some(found),
            Written::Applied | Written::Fenced | Written::Full => None,
        }))
    }

    /// What no store takes, and what this one does not.
    fn refuse(&self, writes: &[Write], atomicity: Atomicity) -> Result<(), RefDbError> {
        let invalid = |name: &RefName, why: &str| {
            RefDbError::new(RefDbErrorKind::InvalidName, format!("`{name}`: {why}"))
        };
        for write in writes {
            match &write.new {
                New::Value { value: GlobalRef::Untracked, .. } => {
                    let why = "a ref is forgotten by removing it, not by writing `untracked`";
                    return Err(invalid(&write.name, why));
                }
                New::Value { .. } => {}
                New::Entry(entry) => check_entry(&write.name, entry)?,
                New::Text(text) => check_text(text).map_err(|why| invalid(&write.name, why))?,
            }
            if write.fence.is_some() && self.store.locks().is_none() {
                return Err(self.unsupported("locks"));
            }
        }
        let capabilities = self.capabilities();
        let (edits, most) = (writes.len(), capabilities.atomic_edits);
        if atomicity == Atomicity::AllOrNothing && edits > most {
            let what = format!(
                "ref-db `{}`: {edits} edits cannot stand or fall together, only {most} can; nothing was written; split them",
                self.store.location()
            );
            return Err(RefDbError::new(RefDbErrorKind::TooLarge, what));
        }
        Ok(())
    }

    /// What became of `edits` after [`RefDbErrorKind::Indeterminate`]: makes sure that none of this store's earlier writes
    /// can be applied from now on, and reads.
    ///
    /// `Applied` says that the new value is there. `Mismatch` says that it is not there now: it was not written, or
    /// somebody replaced it since.
    ///
    /// # Errors
    /// It is still open what became of them; ask again.
    pub async fn resolve(
        &self,
        project: &Project,
        edits: &[Edit],
        deadline: Deadline,
    ) -> Result<Vec<Outcome>, RefDbError> {
        let names: &Vec<RefName> = &edits.iter().map(|edit| edit.name.clone()).collect();
        let read = |deadline| async move {
            whole(Operation::Resolve, names.len(), self.store.settle(project, names, deadline).await)
        };
        let found = self.ask(Operation::Resolve, deadline, read).await?;
        let outcome = |(edit, found): (&Edit, Lookup)| {
            let entry = found.to_entry().map_err(|why| self.unreadable(project, &edit.name, why))?;
            Ok(match entry.value == edit.new {
                true => Outcome::Applied,
                false => Outcome::Mismatch { actual: entry.value },
            })
        };
        edits.iter().zip(found).map(outcome).collect()
    }

    /// Writes `value` whatever is there and clears the list of superseded values: for administrators.
    ///
    /// # Errors
    /// [`RefDbErrorKind::InvalidName`] for [`GlobalRef::Untracked`].
    pub async fn put(
        &self,
        project: &Project,
        name: &RefName,
        value: GlobalRef,
        deadline: Deadline,
    ) -> Result<(), RefDbError> {
        let new = match value {
            GlobalRef::Untracked => New::Value { value, fast_forward: false },
            GlobalRef::Deleted | GlobalRef::At(_) => New::Entry(Entry::new(value)),
        };
        self.write_one(Operation::Put, project, name, (Guard::Anything, new), deadline).await.map(drop)
    }

    /// Puts the entry `to` in the place of exactly `from`, lists of superseded values included, and tells whether `from`
    /// was there. `to` may be untracked: that forgets the ref.
    ///
    /// # Errors
    /// [`RefDbErrorKind::Corrupt`] when what is there is no entry; [`RefDbErrorKind::TooLarge`] when `to` lists more than
    /// [`MAX_SUPERSEDED`](crate::MAX_SUPERSEDED) values.
    pub async fn swap_entry(
        &self,
        project: &Project,
        name: &RefName,
        from: &Entry,
        to: &Entry,
        deadline: Deadline,
    ) -> Result<bool, RefDbError> {
        let swap = (Guard::Entry(from.clone()), New::Entry(to.clone()));
        Ok(self.write_one(Operation::SwapEntry, project, name, swap, deadline).await?.is_none())
    }

    /// Forgets a ref, so that it is untracked again. Tells whether there was an entry. For administrators: recording
    /// that a branch was deleted is a compare-and-put to [`GlobalRef::Deleted`].
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_ref(
        &self,
        project: &Project,
        name: &RefName,
        deadline: Deadline,
    ) -> Result<bool, RefDbError> {
        let removal = (Guard::Something, New::Entry(Entry::default()));
        Ok(self.write_one(Operation::RemoveRef, project, name, removal, deadline).await?.is_none())
    }

    /// Forgets every ref of `project`, and nothing of `project/sub`, nor any lock. Returns how many entries there were.
    ///
    /// Several writes where the store has no other way: one that fails half way is run again.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_project(&self, project: &Project, deadline: Deadline) -> Result<u64, RefDbError> {
        let remove = |deadline| async move {
            match self.store.admin() {
                Some(admin) => admin.remove_project(project, deadline).await,
                None => self.remove_one_by_one(project, deadline).await,
            }
        };
        self.ask(Operation::RemoveProject, deadline, remove).await
    }

    async fn remove_one_by_one(&self, project: &Project, deadline: Deadline) -> Result<u64, RefDbError> {
        let (mut removed, mut cursor) = (0, None);
        loop {
            let page = self.store.scan(project, b"", cursor.as_ref(), PAGE, deadline).await?;
            for (name, _) in page.rows {
                let write = [Write::new(name, Guard::Something, New::Entry(Entry::default()))];
                let written = self.store.write(project, &write, Atomicity::Each, deadline).await;
                removed += u64::from(whole(Operation::RemoveProject, 1, written)?[0] == Written::Applied);
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(removed),
            }
        }
    }

    /// What is stored for a ref, as text: see [`Lookup::text`].
    ///
    /// # Errors
    /// [`RefDbErrorKind::Corrupt`] when what is there cannot be read.
    pub async fn get_text(
        &self,
        project: &Project,
        name: &RefName,
        deadline: Deadline,
    ) -> Result<Option<String>, RefDbError> {
        let refs = std::slice::from_ref(name);
        let read = |deadline| async move {
            self.needs_texts()?;
            let found = whole(Operation::GetText, 1, self.store.get_many(project, refs, deadline).await)?;
            found[0].text().map_err(|why| self.unreadable(project, name, why))
        };
        self.ask(Operation::GetText, deadline, read).await
    }

    fn needs_texts(&self) -> Result<(), RefDbError> {
        match self.capabilities().texts {
            true => Ok(()),
            false => Err(self.unsupported("texts")),
        }
    }

    /// Writes a text that is no object id (see [`check_text`]) if `expected` is there, as [`get_text`](Self::get_text)
    /// gives it; an object id is replaced, too, its list of superseded values with it.
    ///
    /// # Errors
    /// [`RefDbErrorKind::InvalidName`] for what is no such text.
    pub async fn compare_and_put_text(
        &self,
        project: &Project,
        name: &RefName,
        expected: Option<&str>,
        new: &str,
        deadline: Deadline,
    ) -> Result<TextOutcome, RefDbError> {
        self.needs_texts()?;
        let write = (Guard::Text(expected.map(str::to_owned)), New::Text(new.to_owned()));
        match self.write_one(Operation::CompareAndPutText, project, name, write, deadline).await? {
            None => Ok(TextOutcome::Applied),
            Some(found) => match found.text() {
                Ok(actual) => Ok(TextOutcome::Mismatch { actual }),
                Err(why) => Err(self.unreadable(project, name, why)),
            },
        }
    }

    /// Takes the lock of a ref, and waits for it until the deadline. It is given back when it is released or dropped, when
    /// the process dies, or when nobody renewed it for `lease` (clamped to [`Capabilities::lease`]).
    ///
    /// # Errors
    /// [`RefDbErrorKind::LockTimeout`] when another holder kept it; nothing of the attempt is left then.
    pub async fn lock(
        &self,
        project: &Project,
        name: &RefName,
        lease: Duration,
        deadline: Deadline,
    ) -> Result<Box<dyn RefLock>, RefDbError> {
        let lock = |deadline| async move {
            let locks = self.store.locks().ok_or_else(|| self.unsupported("locks"))?;
            locks.lock(project, name, lease, deadline).await
        };
        self.ask(Operation::Lock, deadline, lock).await
    }

    /// Records that `site` uses this store, and returns all sites that ever did, in byte order. Every start of every process
    /// comes by here, so a site that is known already writes nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn note_site(&self, site: &str, deadline: Deadline) -> Result<Vec<String>, RefDbError> {
        let note = |deadline| async move {
            let admin = self.admin("list of sites")?;
            let known = admin.sites(deadline).await?;
            if known.iter().any(|other| other == site) {
                return Ok(known);
            }
            admin.add_site(site, deadline).await?;
            let mut all = admin.sites(deadline).await?;
            if let Err(at) = all.binary_search_by(|other| other.as_str().cmp(site)) {
                // A store that remembers nobody.
                all.insert(at, site.to_owned());
            }
            Ok(all)
        };
        self.ask(Operation::NoteSite, deadline, note).await
    }

    /// The sites that ever used this store, in byte order.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn sites(&self, deadline: Deadline) -> Result<Vec<String>, RefDbError> {
        let read = |deadline| async move { self.admin("list of sites")?.sites(deadline).await };
        self.ask(Operation::Sites, deadline, read).await
    }

    /// The newest identity and revision that an answer to this store carried, the one of its opening included; `None` when
    /// the store has no such thing. Asks nobody.
    pub fn seen(&self) -> Option<Mark> {
        self.store.admin()?.seen()
    }

    /// Gives the store another identity: for whoever goes on with one that was put back. Its revision may pass what others
    /// saw before, and they are to notice all the same.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn renew_identity(&self, deadline: Deadline) -> Result<(), RefDbError> {
        let renew = |deadline| async move { self.admin("identity")?.renew_identity(deadline).await };
        self.ask(Operation::RenewIdentity, deadline, renew).await
    }

    /// Refuses every write of an entry from now on, whoever asks, with [`RefDbErrorKind::Closed`] and `message` (one line of
    /// at most [`MAX_TEXT`](super::MAX_TEXT) bytes); with `None` takes them again. None that began before is applied after
    /// this has returned. Locks go on.
    ///
    /// # Errors
    /// [`RefDbErrorKind::InvalidName`] for what is no such message.
    pub async fn set_closed(&self, message: Option<&str>, deadline: Deadline) -> Result<(), RefDbError> {
        let set = |deadline| async move {
            let invalid = |why| RefDbError::new(RefDbErrorKind::InvalidName, why);
            message.map_or(Ok(()), check_message).map_err(invalid)?;
            self.admin("way to close it")?.set_closed(message, deadline).await
        };
        self.ask(Operation::SetClosed, deadline, set).await
    }

    /// The message of a store that is closed.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn closed(&self, deadline: Deadline) -> Result<Option<String>, RefDbError> {
        let read = |deadline| async move {
            match self.store.admin() {
                Some(admin) => admin.closed(deadline).await,
                None => Ok(None),
            }
        };
        self.ask(Operation::Closed, deadline, read).await
    }

    /// Projects of which something is stored, each once and in an order of the store's own, beginning after `after`. About
    /// `limit` of them; none is the end. There may be some of which nothing is stored any more.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn projects(
        &self,
        after: Option<&Project>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Project>, RefDbError> {
        let read = |deadline| async move {
            self.admin("list of projects")?.projects(after, limit.max(1), deadline).await
        };
        self.ask(Operation::Projects, deadline, read).await
    }
}

impl Entries for RefDb {
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        Box::pin(RefDb::get_many(self, project, refs, deadline))
    }
}

/// Rows of one page.
const PAGE: usize = 10_000;

/// Every entry of a project whose name starts with `prefix`, page by page.
///
/// # Errors
/// Those of [`RefDb::scan`].
pub async fn scan_all(
    db: &RefDb,
    project: &Project,
    prefix: &[u8],
    deadline: impl Fn() -> Deadline + Send,
) -> Result<Vec<(RefName, Lookup)>, RefDbError> {
    let mut rows = Vec::new();
    let mut cursor = None;
    loop {
        let page = db.scan(project, prefix, cursor.as_ref(), PAGE, deadline()).await?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(rows),
        }
    }
}

/// Every project of which something is stored, page by page.
///
/// # Errors
/// Those of [`RefDb::projects`].
pub async fn all_projects(
    db: &RefDb,
    deadline: impl Fn() -> Deadline + Send,
) -> Result<Vec<Project>, RefDbError> {
    const PAGE: usize = 1_000;
    let mut all: Vec<Project> = Vec::new();
    loop {
        let page = db.projects(all.last(), PAGE, deadline()).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}
