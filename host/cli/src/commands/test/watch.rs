//! Waits until something that the cases depend on changes.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use refgate_host::Error;

/// How long nothing may happen before a change counts as finished: builds write in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// Tells of changes of files and directories.
pub struct Watch {
    changes: Receiver<PathBuf>,
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches `files`, which may be replaced by new ones of the same name, and all plugins in `directories`.
    pub fn new(files: &[PathBuf], directories: &[PathBuf]) -> Result<Watch, Error> {
        let cannot = |path: &Path, e: &dyn std::fmt::Display| {
            Error::failed(format!("cannot watch `{}`: {e}", path.display()))
        };
        let (tell, changes) = channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change; and an error of the watcher is best answered by a run.
            match event {
                Ok(event) if event.kind.is_access() => {}
                Ok(event) => event.paths.into_iter().for_each(|path| drop(tell.send(path))),
                Err(_) => drop(tell.send(PathBuf::new())),
            }
        });
        let mut watcher = watcher.map_err(|e| cannot(Path::new("."), &e))?;
        let mut watched = Vec::new();
        let mut watch = |dir: PathBuf| -> Result<(), Error> {
            if !watched.contains(&dir) {
                watcher.watch(&dir, RecursiveMode::NonRecursive).map_err(|e| cannot(&dir, &e))?;
                watched.push(dir);
            }
            Ok(())
        };
        let (mut wanted_files, mut wanted_directories) = (Vec::new(), Vec::new());
        for file in files {
            let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let parent = parent.canonicalize().map_err(|e| cannot(parent, &e))?;
            wanted_files.push(parent.join(file.file_name().unwrap_or_default()));
            watch(parent)?;
        }
        for dir in directories {
            let dir = dir.canonicalize().map_err(|e| cannot(dir, &e))?;
            wanted_directories.push(dir.clone());
            watch(dir)?;
        }
        Ok(Watch { changes, files: wanted_files, directories: wanted_directories, _watcher: watcher })
    }

    /// Blocks until something changed and nothing happens any more. False when there is nothing to wait for.
    pub fn wait(&self) -> bool {
        next(&self.changes, QUIET, |path| wanted(path, &self.files, &self.directories))
    }
}

fn wanted(path: &Path, files: &[PathBuf], directories: &[PathBuf]) -> bool {
    let plugin = || path.extension().is_some_and(|e| e == "wasm" || e == "toml");
    let in_directory = || path.parent().is_some_and(|parent| directories.iter().any(|d| d == parent));
    path.as_os_str().is_empty() || files.iter().any(|f| f == path) || (plugin() && in_directory())
}

fn next(changes: &Receiver<PathBuf>, quiet: Duration, wanted: impl Fn(&Path) -> bool) -> bool {
    while let Ok(first) = changes.recv() {
        let mut counts = wanted(&first);
        while let Ok(more) = changes.recv_timeout(quiet) {
            counts |= wanted(&more);
        }
        if counts {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_changes_is_one_and_others_are_none() {
        let (tell, changes) = channel();
        let files = [PathBuf::from("/d/cases.json"), PathBuf::from("/d/x.wasm")];
        let wanted = |path: &Path| wanted(path, &files, &[PathBuf::from("/p")]);
        let send = |paths: &[&str]| paths.iter().for_each(|p| tell.send(p.into()).unwrap());
        send(&["/d/other", "/d/cases.json", "/d/x.wasm", "/d/cases.json"]);
        assert!(next(&changes, Duration::ZERO, wanted));
        for path in ["/p/new.wasm", "/p/new.toml", ""] {
            send(&[path]);
            assert!(next(&changes, Duration::ZERO, wanted), "{path}");
        }
        send(&["/d/cases.json~", "/p/notes.txt", "/p/deep/x.wasm"]);
        drop(tell);
        assert!(!next(&changes, Duration::ZERO, wanted));
    }
}
