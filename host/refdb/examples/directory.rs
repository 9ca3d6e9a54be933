//! A ref-db of one's own: one file per ref in a directory, one lock for all, and the conformance suite to prove it.
//!
//! Run it with `cargo run --package refgate-refdb --features conformance --example directory -- DIR`. It keeps the contract
//! as far as it promises: no locks for callers, no list of sites, and no all-or-nothing writes of more than one ref, because
//! two files cannot be replaced in one step.

use std::fs::{self, File};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use refgate_core::future::ready;
use refgate_core::refdb::{Cursor, Page, Reach, Stored, Write, Written, evaluate};
use refgate_core::{
    Atomicity, BoxFuture, Capabilities, Deadline, Lookup, Project, RefDbError, RefDbErrorKind, RefName,
    Store, escape,
};

#[path = "directory/prove.rs"]
mod prove;

/// One directory per project, one file per ref in it.
struct Directory(PathBuf);

type Answer<'a, T> = BoxFuture<'a, Result<T, RefDbError>>;

impl Directory {
    /// The right to look and write: everybody waits for it, and it goes with the process.
    fn lock(&self) -> Result<File, RefDbError> {
        let path = self.0.join("lock");
        File::create(&path).and_then(|file| file.lock().map(|()| file)).map_err(|e| failed(&path, &e))
    }
    /// Percent-encoding leaves no slash, so `p` and `p/sub` are strangers, and `refs` is the name of no project.
    fn dir(&self, project: &Project) -> PathBuf {
        let name = format!("+{}", escape(project.as_str().as_bytes()).replace('/', "%2F"));
        // A long name is several directories.
        name.as_bytes()
            .chunks(100)
            .fold(self.0.clone(), |dir, part| dir.join(&*String::from_utf8_lossy(part)))
            .join("refs")
    }
    fn file(&self, project: &Project, name: &RefName) -> PathBuf {
        self.dir(project).join(name.to_string().replace('/', "%2F"))
    }
    fn read(&self, project: &Project, name: &RefName) -> Result<Lookup, RefDbError> {
        let path = self.file(project, name);
        match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Lookup::UNTRACKED),
            lines => Ok(Lookup::from_lines(Some(&lines.map_err(|e| failed(&path, &e))?))),
        }
    }
    /// Writes aside and renames, so that a reader sees the old entry or the new one.
    fn put(&self, project: &Project, name: &RefName, stored: Option<Stored>) -> Result<(), RefDbError> {
        let (dir, path) = (self.dir(project), self.file(project, name));
        let half = dir.join("half");
        let done = match stored {
            Some(stored) => fs::create_dir_all(&dir)
                .and_then(|()| fs::write(&half, stored.to_lines()))
                .and_then(|()| File::open(&half)?.sync_all())
                .and_then(|()| fs::rename(&half, &path)),
            None => fs::remove_file(&path),
        };
        // It, or an earlier write of the same call, may be there all the same.
        done.and_then(|()| File::open(&dir)?.sync_all())
            .map_err(|e| RefDbError { kind: RefDbErrorKind::Indeterminate, ..failed(&path, &e) })
    }
}

fn failed(path: &Path, e: &Error) -> RefDbError {
    let invalid = e.kind() == ErrorKind::InvalidFilename;
    let kind = if invalid { RefDbErrorKind::InvalidName } else { RefDbErrorKind::Unavailable };
    RefDbError::new(kind, format!("ref-db `directory:`: `{}`: {e}", path.display()))
}

impl Store for Directory {
    fn capabilities(&self) -> Capabilities {
        let least = Capabilities::least("directory");
        Capabilities {
            reach: Reach::Machine,
            durable: true,
            atomic_edits: 1,
            texts: true,
            linearizable_reads: true,
            ..least
        }
    }
    fn get_many<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        _: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        ready(self.lock().and_then(|_lock| refs.iter().map(|name| self.read(project, name)).collect()))
    }
    fn scan<'a>(
        &'a self,
        project: &'a Project,
        prefix: &'a [u8],
        cursor: Option<&'a Cursor>,
        _: usize,
        _: Deadline,
    ) -> Answer<'a, Page> {
        ready(self.lock().and_then(|_lock| {
            // Without the directory there is nothing.
            let files = fs::read_dir(self.dir(project)).into_iter().flatten().flatten();
            let names = files.flat_map(|file| RefName::from_escaped(&file.file_name().to_string_lossy()));
            let wanted = |name: &RefName| {
                name.as_bytes().starts_with(prefix) && cursor.is_none_or(|c| *name > c.after)
            };
            let mut names: Vec<RefName> = names.filter(wanted).collect();
            names.sort();
            let rows = names.into_iter().map(|name| Ok((name.clone(), self.read(project, &name)?)));
            Ok(Page { rows: rows.collect::<Result<_, RefDbError>>()?, next: None })
        }))
    }
    fn write<'a>(
        &'a self,
        project: &'a Project,
        writes: &'a [Write],
        atomicity: Atomicity,
        _: Deadline,
    ) -> Answer<'a, Vec<Written>> {
        ready(self.lock().and_then(|_lock| {
            let there = writes.iter().map(|write| Ok((&write.name, self.read(project, &write.name)?)));
            let there: std::collections::HashMap<_, _> = there.collect::<Result<_, RefDbError>>()?;
            let evaluation = evaluate(writes, atomicity, |name| there[name].clone(), |_| false);
            let evaluation = evaluation.map_err(|e| e.error("directory:", project))?;
            for (name, stored) in evaluation.changes {
                self.put(project, &name, stored)?;
            }
            Ok(evaluation.outcomes)
        }))
    }
    fn settle<'a>(
        &'a self,
        project: &'a Project,
        refs: &'a [RefName],
        deadline: Deadline,
    ) -> Answer<'a, Vec<Lookup>> {
        // Writes are done when their call ends, so reading tells.
        self.get_many(project, refs, deadline)
    }
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> std::process::ExitCode {
    let Some(root) = std::env::args_os().nth(1) else {
        eprintln!("name a directory");
        return 2.into();
    };
    match prove::prove(root.into()) {
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
