//! Notes of refgate: small files below `refgate/` of a git directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use refgate_core::ports::Note;

use crate::{GitError, Repository};

impl Repository {
    fn place(&self, name: &str) -> PathBuf {
        self.common_dir().join("refgate").join(name)
    }

    /// All notes of a directory, in the order of their names. What is hidden is about to be written.
    pub(crate) fn notes(&self, dir: &str) -> Result<Vec<Note>, GitError> {
        let place = self.place(dir);
        let failed = |e: io::Error| GitError::io("read the directory", &place, &e);
        let entries = match fs::read_dir(&place) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is no text is none of ours.
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        Ok(names.into_iter().filter_map(|name| self.note(&format!("{dir}/{name}"))).collect())
    }

    pub(crate) fn note(&self, name: &str) -> Option<Note> {
        let place = self.place(name);
        let text = match fs::read(&place) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            read => read.map_err(|e| GitError::io("read", &place, &e)),
        };
        Some(Note { name: name.to_owned(), place: place.display().to_string(), text })
    }

    pub(crate) fn write_note(&self, name: &str, text: &[u8]) -> Result<(), GitError> {
        self.files().replace(&self.place(name), text)
    }

    pub(crate) fn remove_note(&self, name: &str) -> Result<(), GitError> {
        let place = self.place(name);
        match fs::remove_file(&place) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(GitError::io("remove", &place, &e)),
            _ => Ok(()),
        }
    }

    pub(crate) fn age_of_note(&self, name: &str) -> Result<Option<Duration>, GitError> {
        let place = self.place(name);
        let since = match fs::metadata(&place).and_then(|meta| meta.modified()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            since => since.map_err(|e| GitError::io("read the time of", &place, &e))?,
        };
        let now = self.files().time_in(place.parent().unwrap_or(Path::new(".")))?;
        // A clock that was set back makes it younger, never older.
        Ok(Some(now.duration_since(since).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refgate_core::ObjectFormat;

    #[test]
    fn a_note_has_an_age_by_the_clock_of_its_disk() {
        let root = tempfile::tempdir().unwrap();
        let here = Repository::create(&root.path().join("r.git"), ObjectFormat::Sha1, None, None).unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(here.age_of_note("seen/1"), Ok(None));
        assert!(!here.place("seen").exists(), "to look changes nothing");
        here.write_note("seen/1", b"").unwrap();
        assert!(here.age_of_note("seen/1").unwrap().is_some_and(|age| age < hour));
        let file = fs::File::options().write(true).open(here.place("seen/1")).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - hour).unwrap();
        assert!(here.age_of_note("seen/1").unwrap().is_some_and(|age| age >= hour));
        assert_eq!(here.age_of_note("seen/2"), Ok(None), "each for itself");
        file.set_modified(written + hour).unwrap();
        assert_eq!(here.age_of_note("seen/1"), Ok(Some(Duration::ZERO)), "the clock was set back");
    }

    #[test]
    fn notes_are_listed_by_name_without_what_is_half_written() {
        let root = tempfile::tempdir().unwrap();
        let here = Repository::create(&root.path().join("r.git"), ObjectFormat::Sha1, None, None).unwrap();
        assert_eq!(here.notes("journal"), Ok(Vec::new()));
        for name in ["b", "a", ".c.1.new"] {
            here.write_note(&format!("journal/{name}"), name.as_bytes()).unwrap();
        }
        let names: Vec<String> = here.notes("journal").unwrap().into_iter().map(|note| note.name).collect();
        assert_eq!(names, ["journal/a", "journal/b"]);
        here.remove_note("journal/a").unwrap();
        here.remove_note("journal/a").unwrap();
        assert_eq!(here.note("journal/a"), None);
        assert_eq!(here.note("journal/b").unwrap().text, Ok(b"b".to_vec()));
    }
}
