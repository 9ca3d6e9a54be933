//! What a session needs ([`refgate_core::ports`]), by real git: blocking work on threads that may block.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use refgate_core::ports::{
    Address, EditOutcome, FetchedObjects, Guard, Lines, ListedRef, Note, Notes, PushCommand, PushOptions,
    PushStatus, RefEdit, RefList, Refusal, Remote, RemotePush, Repo, Repositories, Target, WholeListing,
};
use refgate_core::{BoxFuture, Clock, ObjectFormat, Oid, Project, RefName, Refspecs};

use crate::transport::symbolic_refs;
use crate::{
    GitError, GitErrorKind, GitRepositories, Progress, PushSession, RefLocks, RemoteUrl, Repository,
    SessionLock, create_remote, fetch_objects, list, list_whole, remote_head,
};

/// Runs blocking work beside the asynchronous one. It goes on to its end when the future is dropped.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(died) => Err(GitError::new(format!("a worker thread died: {died}"))),
    }
}

/// The same, boxed, on what `work` gets.
fn blocking<'a, S: Clone + Send + 'static, T: Send + 'static>(
    on: &S,
    work: impl FnOnce(&S) -> Result<T, GitError> + Send + 'static,
) -> BoxFuture<'a, Result<T, GitError>> {
    let on = on.clone();
    Box::pin(on_thread(move || work(&on)))
}

impl Repositories for GitRepositories {
    fn open<'a>(&'a self, project: &'a Project) -> BoxFuture<'a, Result<Arc<dyn Repo>, GitError>> {
        let project = project.clone();
        blocking(self, move |this| Ok(Arc::new(this.repository(&project)?) as Arc<dyn Repo>))
    }

    fn copy<'a>(
        &'a self,
        project: &'a Project,
        from: &'a Address<'a>,
        refspecs: &'a Refspecs,
    ) -> BoxFuture<'a, Result<Arc<dyn Repo>, GitError>> {
        let (path, url, refspecs) = (self.path(project), url_of(from), refspecs.clone());
        Box::pin(on_thread(move || {
            let url = url?;
            let format = match list(&url, ObjectFormat::Sha1) {
                Err(e) if e.kind == GitErrorKind::FormatMismatch => ObjectFormat::Sha256,
                listed => listed.map(|_| ObjectFormat::Sha1)?,
            };
            let head = remote_head(&url, path.parent().unwrap_or(Path::new(".")))?;
            let head = head.map(|name| mapped(&refspecs, name));
            Ok(Arc::new(Repository::create(&path, format, None, head.as_ref())?) as Arc<dyn Repo>)
        }))
    }
}

/// The configuration has resolved relative paths against its own directory.
fn url_of(address: &Address<'_>) -> Result<RemoteUrl, GitError> {
    Ok(RemoteUrl::for_project(address.url, address.project, Path::new("/"))?.within(address.limits))
}

/// The name that `name` has at the other end: its own when no refspec leads there.
fn mapped(refspecs: &Refspecs, name: RefName) -> RefName {
    refspecs.destination(&name).map_or(name, |to| to.name)
}

impl Notes for Repository {
    fn notes<'a>(&'a self, dir: &'a str) -> BoxFuture<'a, Result<Vec<Note>, GitError>> {
        let dir = dir.to_owned();
        blocking(self, move |this| this.notes(&dir))
    }

    fn note<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Note>, GitError>> {
        let name = name.to_owned();
        blocking(self, move |this| Ok(this.note(&name)))
    }

    fn write_note<'a>(&'a self, name: &'a str, text: &'a [u8]) -> BoxFuture<'a, Result<(), GitError>> {
        let (name, text) = (name.to_owned(), text.to_vec());
        blocking(self, move |this| this.write_note(&name, &text))
    }

    fn remove_note<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), GitError>> {
        let name = name.to_owned();
        blocking(self, move |this| this.remove_note(&name))
    }

    fn age_of_note<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Duration>, GitError>> {
        let name = name.to_owned();
        blocking(self, move |this| this.age_of_note(&name))
    }
}

impl Repo for Repository {
    fn object_format(&self) -> ObjectFormat {
        self.object_format()
    }

    fn remote(&self, at: &Address<'_>) -> Result<Arc<dyn Remote>, GitError> {
        Ok(Arc::new(Other { here: self.clone(), url: url_of(at)? }))
    }

    fn refs(&self) -> BoxFuture<'_, Result<RefList, GitError>> {
        blocking(self, Repository::refs)
    }

    fn targets<'a>(&'a self, names: &'a [RefName]) -> BoxFuture<'a, Result<Vec<Option<Target>>, GitError>> {
        let names = names.to_vec();
        blocking(self, move |this| this.targets(&names.iter().collect::<Vec<_>>()))
    }

    fn refs_below<'a>(
        &'a self,
        dirs: &'a [Vec<u8>],
    ) -> BoxFuture<'a, Result<Vec<(RefName, Target)>, GitError>> {
        let dirs = dirs.to_vec();
        blocking(self, move |this| this.refs_below(&dirs))
    }

    fn ancestry<'a>(&'a self, pairs: &'a [(Oid, Oid)]) -> BoxFuture<'a, Result<Vec<bool>, GitError>> {
        let pairs = pairs.to_vec();
        blocking(self, move |this| this.ancestry(&pairs))
    }

    fn missing<'a>(&'a self, oids: &'a [Oid]) -> BoxFuture<'a, Result<Vec<Oid>, GitError>> {
        let oids = oids.to_vec();
        blocking(self, move |this| this.missing(&oids))
    }

    fn complete<'a>(&'a self, oids: &'a [Oid]) -> BoxFuture<'a, Result<Vec<bool>, GitError>> {
        let oids = oids.to_vec();
        blocking(self, move |this| this.complete(&oids))
    }

    fn settle_objects(&self) -> BoxFuture<'_, Result<(), GitError>> {
        blocking(self, Repository::settle_objects)
    }

    fn lock<'a>(
        &'a self,
        names: &'a [RefName],
        wait: Duration,
        clock: &'a dyn Clock,
    ) -> BoxFuture<'a, Result<Guard, GitError>> {
        Box::pin(
            async move { Ok(Guard::of(RefLocks::acquire(self.common_dir(), names, wait, clock).await?)) },
        )
    }

    fn try_lock<'a>(&'a self, names: &'a [RefName]) -> BoxFuture<'a, Result<(Guard, Vec<bool>), GitError>> {
        let names = names.to_vec();
        blocking(self, move |this| {
            let (locks, got) = RefLocks::try_acquire(this.common_dir(), &names)?;
            Ok((Guard::of(locks), got))
        })
    }

    fn session<'a>(
        &'a self,
        remote: &'a str,
        wait: Duration,
        clock: &'a dyn Clock,
    ) -> BoxFuture<'a, Result<Guard, GitError>> {
        Box::pin(
            async move { Ok(Guard::of(SessionLock::acquire(self.git_dir(), remote, wait, clock).await?)) },
        )
    }

    fn update<'a>(
        &'a self,
        edits: &'a [RefEdit],
        message: &'a str,
        guard: &'a Guard,
    ) -> BoxFuture<'a, Result<Vec<EditOutcome>, GitError>> {
        let (edits, message, guard) = (edits.to_vec(), message.to_owned(), guard.clone());
        blocking(self, move |this| {
            let outcomes = this.update_refs(&edits, &message);
            drop(guard);
            outcomes
        })
    }

    fn try_out<'a>(&'a self, edits: &'a [RefEdit]) -> BoxFuture<'a, Result<Vec<EditOutcome>, GitError>> {
        let edits = edits.to_vec();
        blocking(self, move |this| this.writer().try_out(&edits))
    }

    fn refusals<'a>(
        &'a self,
        edits: &'a [(RefEdit, bool)],
    ) -> BoxFuture<'a, Result<Vec<Option<Refusal>>, GitError>> {
        let edits = edits.to_vec();
        blocking(self, move |this| this.refusals(&edits))
    }
}

/// A remote as one repository reaches it.
#[derive(Clone)]
struct Other {
    here: Repository,
    url: RemoteUrl,
}

impl Other {
    fn session(&self) -> Result<PushSession, GitError> {
        PushSession::open(self.here.git_dir(), &self.url, self.here.object_format())
    }
}

impl Remote for Other {
    fn list(&self) -> BoxFuture<'_, Result<Vec<ListedRef>, GitError>> {
        blocking(self, |this| list(&this.url, this.here.object_format()))
    }

    fn list_whole(&self) -> BoxFuture<'_, Result<WholeListing, GitError>> {
        blocking(self, |this| list_whole(&this.url, this.here.object_format()))
    }

    fn bring<'a>(&'a self, oids: &'a [Oid], lines: Lines) -> BoxFuture<'a, Result<FetchedObjects, GitError>> {
        let oids = oids.to_vec();
        blocking(self, move |this| {
            fetch_objects(this.here.git_dir(), &this.url, &oids, &mut |line| lines(line_of(line)))
        })
    }

    fn open_push<'a>(
        &'a self,
        options: &'a PushOptions,
    ) -> BoxFuture<'a, Result<Box<dyn RemotePush>, GitError>> {
        let options = options.clone();
        blocking(self, move |this| {
            let session =
                options.lines.iter().fold(this.session()?, |session, line| session.with_option(line));
            let session = options.seal.into_iter().fold(session, PushSession::sealed);
            Ok(Box::new(session) as Box<dyn RemotePush>)
        })
    }

    fn create<'a>(&'a self, refspecs: &'a Refspecs) -> BoxFuture<'a, Result<(), GitError>> {
        let refspecs = refspecs.clone();
        blocking(self, move |this| {
            let head = this.here.head()?.map(|name| mapped(&refspecs, name));
            create_remote(&this.url, this.here.object_format(), head.as_ref())
        })
    }

    fn can_create(&self) -> bool {
        self.url.can_create()
    }

    fn is_here(&self) -> bool {
        self.url.path().is_some()
    }
}

impl RemotePush for PushSession {
    fn refs(&self) -> &[(RefName, Oid)] {
        self.refs()
    }

    fn broken_refs(&self) -> &[RefName] {
        self.broken_refs()
    }

    fn symbolic_refs(&self) -> BoxFuture<'static, Result<BTreeSet<RefName>, GitError>> {
        let (url, format) = self.place();
        Box::pin(on_thread(move || symbolic_refs(&url, format)))
    }

    fn all_or_nothing(&mut self) -> bool {
        self.make_atomic()
    }

    fn push(
        self: Box<Self>,
        commands: Vec<PushCommand>,
        lines: Lines,
    ) -> BoxFuture<'static, Result<Vec<PushStatus>, GitError>> {
        Box::pin(on_thread(move || PushSession::push(*self, &commands, &mut |line| lines(line_of(line)))))
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // A thread that died has ended the session, too.
            let _ = on_thread(move || {
                PushSession::close(*self);
                Ok(())
            })
            .await;
        })
    }
}

/// One line of a transfer, for people.
fn line_of(progress: Progress) -> String {
    match progress {
        Progress::Remote(line) => format!("remote: {line}"),
        Progress::Local(line) => line,
    }
}
