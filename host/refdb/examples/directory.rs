//! A ref-db of one's own: one file per ref in a directory, one lock for all, and the conformance suite to prove it.
//!
//! Run it with `cargo run --package refgate-refdb --features conformance --example directory -- DIR`. It keeps the contract as far as it promises:
//! no locks for callers, no texts, and no all-or-nothing writes of more than one ref, because two files cannot be replaced
//! in one step.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use refgate_core::future::ready;
use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Clock, Cursor, Deadline, Edit, Entries, Entry, GlobalRef,
    GlobalRefDb, Lookup, Oid, Outcome, Page, Project, Reach, RefDbError, RefDbErrorKind, RefName, escape,
};
use refgate_refdb::conformance::{Bench, Verdict, cases};

/// One directory per project, one file per ref in it.
struct Directory {
    root: PathBuf,
}

/// The right to look and write: everybody waits for it, and it goes with the process.
struct Guard(#[expect(dead_code, reason = "its handle holds the lock")] File);

impl Directory {
    fn lock(&self) -> Result<Guard, RefDbError> {
        let path = self.root.join("lock");
        let file = File::create(&path).map_err(|e| failed("open the lock", &path, &e))?;
        file.lock().map_err(|e| failed("lock", &path, &e))?;
        Ok(Guard(file))
    }

    /// Percent-encoding leaves no slash, so `p` and `p/sub` are strangers. A long name is several directories, each with a
    /// `+` that `refs` has not.
    fn project(&self, project: &Project) -> PathBuf {
        let encoded = escape(project.as_str().as_bytes()).replace('/', "%2F");
        let mut path = self.root.clone();
        for part in encoded.as_bytes().chunks(100) {
            path.push(OsStr::from_bytes(&[b"+", part].concat()));
        }
        path.join("refs")
    }

    fn file(&self, project: &Project, name: &RefName) -> PathBuf {
        self.project(project).join(name.to_string().replace('/', "%2F"))
    }

    fn read(&self, project: &Project, name: &RefName) -> Result<Lookup, RefDbError> {
        let path = self.file(project, name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(decode(&text).map_or_else(Lookup::Unreadable, Lookup::Entry)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Lookup::Entry(Entry::default())),
            Err(e) => Err(failed("read", &path, &e)),
        }
    }

    /// What is there for a write to compare with. Something unreadable is never overwritten by a conditional write.
    fn entry(&self, project: &Project, name: &RefName) -> Result<Entry, RefDbError> {
        match self.read(project, name)? {
            Lookup::Entry(entry) => Ok(entry),
            other => {
                let what = format!("the entry of `{name}` in `{project}` cannot be read: {other:?}");
                Err(RefDbError::new(RefDbErrorKind::Corrupt, what))
            }
        }
    }

    /// Writes aside and renames, so that a reader sees the old entry or the new one.
    fn write(&self, project: &Project, name: &RefName, entry: &Entry) -> Result<(), RefDbError> {
        let (dir, path) = (self.project(project), self.file(project, name));
        let half = dir.join("half");
        let done = fs::create_dir_all(&dir)
            .and_then(|()| fs::write(&half, encode(entry)))
            .and_then(|()| File::open(&half)?.sync_all())
            .and_then(|()| fs::rename(&half, &path))
            .and_then(|()| File::open(&dir)?.sync_all());
        done.map_err(|e| failed("write", &path, &e))
    }

    fn remove(&self, project: &Project, name: &RefName) -> Result<bool, RefDbError> {
        let path = self.file(project, name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(failed("remove", &path, &e)),
        }
    }

    fn names(&self, project: &Project) -> Result<Vec<RefName>, RefDbError> {
        let dir = self.project(project);
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|e| failed("list", &dir, &e))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed("list", &dir, &e))?;
            names.extend(RefName::from_escaped(&entry.file_name().to_string_lossy()));
        }
        names.sort();
        Ok(names)
    }

    fn compare_and_put_now(&self, project: &Project, edits: &[Edit]) -> Result<Vec<Outcome>, RefDbError> {
        let _guard = self.lock()?;
        let mut outcomes = Vec::new();
        for edit in edits {
            let entry = self.entry(project, &edit.name)?;
            outcomes.push(if edit.expected.holds(entry.value) {
                match entry.replaced_by(edit.new, edit.fast_forward) {
                    Some(after) => {
                        self.write(project, &edit.name, &after)?;
                        Outcome::Applied
                    }
                    None => Outcome::Full,
                }
            } else {
                Outcome::Mismatch { actual: entry.value }
            });
        }
        Ok(outcomes)
    }
}

/// The value, then what it superseded, one per line.
fn encode(entry: &Entry) -> String {
    let mut text = entry.value.oid().map_or_else(|| "deleted".to_owned(), |oid| oid.to_string());
    for oid in &entry.superseded {
        text.push_str(&format!("\n{oid}"));
    }
    text + "\n"
}

fn decode(text: &str) -> Result<Entry, String> {
    let oid = |line: &str| line.parse::<Oid>().map_err(|e| format!("`{line}`: {e}"));
    let mut lines = text.lines();
    let value = match lines.next() {
        Some("deleted") => GlobalRef::Deleted,
        Some(line) => GlobalRef::At(oid(line)?),
        None => return Err("it is empty".to_owned()),
    };
    Ok(Entry { value, superseded: lines.map(oid).collect::<Result<_, _>>()? })
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> RefDbError {
    let kind = match error.kind() {
        io::ErrorKind::InvalidFilename => RefDbErrorKind::InvalidName,
        _ => RefDbErrorKind::Unavailable,
    };
    RefDbError::new(kind, format!("cannot {doing} `{}`: {error}", path.display()))
}

fn refuse(edits: &[Edit], atomicity: Atomicity) -> Result<(), RefDbError> {
    let error = |kind, what: &str| Err(RefDbError::new(kind, what));
    if atomicity == Atomicity::AllOrNothing && edits.len() > 1 {
        return error(RefDbErrorKind::TooLarge, "more than one ref cannot be written at once here");
    }
    if edits.iter().any(|edit| edit.fence.is_some()) {
        return error(RefDbErrorKind::Unsupported, "there are no locks, so nothing can be fenced");
    }
    if edits.iter().any(|edit| edit.new == GlobalRef::Untracked) {
        return error(RefDbErrorKind::InvalidName, "a ref is forgotten by removing it");
    }
    Ok(())
}

impl Entries for Directory {
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Lookup>, RefDbError>> {
        let read = || {
            let _guard = self.lock()?;
            refs.iter().map(|name| self.read(project, name)).collect()
        };
        ready(read())
    }
}

impl GlobalRefDb for Directory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            reach: Reach::Machine,
            durable: true,
            atomic_edits: 1,
            snapshot_reads: true,
            linearizable_reads: true,
            ..Capabilities::least("directory")
        }
    }

    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        limit: usize,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Page, RefDbError>> {
        let scan = || {
            let _guard = self.lock()?;
            let mut names = self.names(project)?;
            names
                .retain(|name| name.as_bytes().starts_with(prefix) && cursor.is_none_or(|c| *name > c.after));
            let more = names.len() > limit;
            names.truncate(limit.max(1));
            let rows = names.into_iter().map(|name| Ok((name.clone(), self.read(project, &name)?)));
            let rows = rows.collect::<Result<Vec<_>, RefDbError>>()?;
            let next = rows.last().filter(|_| more);
            let next = next.map(|(name, _)| Cursor { after: name.clone(), revision: 0 });
            Ok(Page { rows, next })
        };
        ready(scan())
    }

    fn compare_and_put<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        atomicity: Atomicity,
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        ready(refuse(edits, atomicity).and_then(|()| self.compare_and_put_now(project, edits)))
    }

    fn resolve<'a>(
        &'a self,
        project: &'a Project,
        edits: &'a [Edit],
        _: Deadline,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, RefDbError>> {
        // Writes are done when their call ends, so reading tells.
        let resolve = || {
            let _guard = self.lock()?;
            let outcome = |edit: &Edit| match self.entry(project, &edit.name)?.value {
                actual if actual == edit.new => Ok(Outcome::Applied),
                actual => Ok(Outcome::Mismatch { actual }),
            };
            edits.iter().map(outcome).collect()
        };
        ready(resolve())
    }

    fn put<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        value: GlobalRef,
        _: Deadline,
    ) -> BoxFuture<'a, Result<(), RefDbError>> {
        let put = || {
            if value == GlobalRef::Untracked {
                let what = "a ref is forgotten by removing it";
                return Err(RefDbError::new(RefDbErrorKind::InvalidName, what));
            }
            let _guard = self.lock()?;
            self.write(project, name, &Entry::new(value))
        };
        ready(put())
    }

    fn remove_ref<'a>(
        &'a self,
        project: &'a Project,
        name: &'a RefName,
        _: Deadline,
    ) -> BoxFuture<'a, Result<bool, RefDbError>> {
        ready(self.lock().and_then(|_guard| self.remove(project, name)))
    }

    fn remove_project<'a>(
        &'a self,
        project: &'a Project,
        _: Deadline,
    ) -> BoxFuture<'a, Result<u64, RefDbError>> {
        let remove = || {
            let _guard = self.lock()?;
            let names = self.names(project)?;
            for name in &names {
                self.remove(project, name)?;
            }
            Ok(names.len() as u64)
        };
        ready(remove())
    }
}

/// The suite waits and measures by real time here.
struct RealClock;

#[allow(clippy::disallowed_methods)]
impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

/// Every case of the suite on a new store at `root`: the lines to print, and whether none failed.
fn prove(root: PathBuf) -> io::Result<(Vec<String>, bool)> {
    fs::create_dir_all(&root)?;
    let connect = move || Ok(Arc::new(Directory { root: root.clone() }) as Arc<dyn GlobalRefDb>);
    let bench = Bench::new(Arc::new(connect), Arc::new(RealClock), u64::from(std::process::id()), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (mut lines, mut good) = (Vec::new(), true);
    for case in cases() {
        let report = runtime.block_on(case.run(&bench));
        good &= !matches!(report.verdict, Verdict::Failed(_));
        let why = report.verdict.why().map(|why| format!(": {why}")).unwrap_or_default();
        lines.push(format!("{:<12}  {}{why}", report.verdict.name(), case.title()));
    }
    Ok((lines, good))
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> std::process::ExitCode {
    let Some(root) = std::env::args_os().nth(1) else {
        eprintln!("name a directory");
        return 2.into();
    };
    match prove(root.into()) {
        Ok((lines, good)) => {
            lines.iter().for_each(|line| println!("{line}"));
            u8::from(!good).into()
        }
        Err(e) => {
            eprintln!("{e}");
            1.into()
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_keeps_what_it_promises() {
        let dir = tempfile::tempdir().unwrap();
        let (lines, good) = super::prove(dir.path().join("refdb")).unwrap();
        assert!(good, "{}", lines.join("\n"));
        assert!(lines.iter().any(|line| line.starts_with("not promised")), "it has no locks");
    }
}
