//! What a filter is asked while it is measured: made-up names, names from a file, or what was recorded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use refgate_core::{Direction, Project, RefBatch, RefName, state};
use refgate_host::Error;
use refgate_host::record::Recording;
use refgate_runtime::{LoadedPlugin, Usage, World};

/// Refs of one call at most, and bytes of their names: a decision splits larger batches the same way.
const CALL: usize = 262_144;
const CALL_NAME_BYTES: usize = 8 << 20;

/// Where batches come from.
pub enum Input {
    /// As many made-up names.
    Made(Vec<usize>),
    /// The names in a file, one a line: all of them, or the first so many.
    Names(PathBuf, Vec<usize>),
    /// The looks of a recording.
    Recording(PathBuf),
}

/// One batch, in the calls that a decision would make of it.
pub struct Batch {
    pub refs: usize,
    /// `made`, `names` or `recording`.
    pub from: &'static str,
    /// Whether its refs are behind the ref-db; in a recording they are as they were.
    pub stale: Option<bool>,
    pub calls: Vec<Call>,
}

/// One call.
pub enum Call {
    Look(Arc<RefBatch>),
    Match(Arc<[Project]>),
}

impl Call {
    pub fn run(&self, plugin: &LoadedPlugin, world: World) -> Result<Usage, String> {
        let (failed, usage) = match self {
            Call::Look(batch) => {
                let (answer, usage) = plugin.look_measured(world, batch.clone());
                (answer.err(), usage)
            }
            Call::Match(projects) => {
                let (answer, usage) = plugin.matches_measured(projects.clone());
                (answer.err(), usage)
            }
        };
        failed.map_or(Ok(usage), |e| Err(e.to_string()))
    }
}

impl Input {
    /// What a filter of `world` is asked.
    ///
    /// # Errors
    /// A file that cannot be read, holds no such names, or nothing for this world.
    pub fn batches(&self, world: World) -> Result<Vec<Batch>, Error> {
        let direction = match world {
            World::PushFilter => Some(Direction::Push),
            World::FetchFilter => Some(Direction::Fetch),
            World::ProjectMatcher => None,
        };
        match (self, direction) {
            (Input::Recording(file), Some(direction)) => recorded(file, direction),
            (Input::Recording(_), None) => {
                Err(Error::usage("a recording holds no questions to a project matcher")
                    .hint("give it names of projects with `--names FILE`"))
            }
            (Input::Made(sizes), Some(direction)) => {
                let name = |i: usize| format!("refs/heads/topic-{i:07}").into_bytes();
                let made = |refs: &usize| both("made", direction, &(0..*refs).map(name).collect::<Vec<_>>());
                Ok(sizes.iter().flat_map(made).collect())
            }
            (Input::Made(sizes), None) => {
                let name = |i: usize| Project::new(format!("team/app-{i:07}")).ok();
                let made = |refs: &usize| projects("made", (0..*refs).filter_map(name).collect());
                Ok(sizes.iter().map(made).collect())
            }
            (Input::Names(file, sizes), Some(direction)) => {
                let names = lines(file)?;
                let wrong = |why: String| Error::usage(format!("`{}`: {why}", file.display()));
                for name in &names {
                    RefName::new(name.clone()).map_err(|e| wrong(e.to_string()))?;
                }
                let sizes = first(file, sizes, names.len())?;
                Ok(sizes.into_iter().flat_map(|refs| both("names", direction, &names[..refs])).collect())
            }
            (Input::Names(file, sizes), None) => {
                let wrong = |why: String| Error::usage(format!("`{}`: {why}", file.display()));
                let read = lines(file)?.into_iter().map(|line| {
                    let name =
                        String::from_utf8(line).map_err(|_| wrong("a name is not UTF-8 text".to_owned()))?;
                    Project::new(name).map_err(|e| wrong(e.to_string()))
                });
                let names = read.collect::<Result<Vec<Project>, Error>>()?;
                let sizes = first(file, sizes, names.len())?;
                Ok(sizes.into_iter().map(|count| projects("names", names[..count].to_vec())).collect())
            }
        }
    }
}

/// The lines of a file; names are bytes.
fn lines(file: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let text = std::fs::read(file)
        .map_err(|e| Error::usage(format!("cannot read the names in `{}`: {e}", file.display())))?;
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
}

/// How many of the names each batch takes.
fn first(file: &Path, sizes: &[usize], names: usize) -> Result<Vec<usize>, Error> {
    let shown = file.display();
    match (names, sizes.iter().find(|size| **size > names)) {
        (0, _) => Err(Error::usage(format!("`{shown}` has no names")).hint("write one a line")),
        (_, Some(size)) => Err(Error::usage(format!("`--refs {size}`: `{shown}` has {names} names"))),
        (_, None) if sizes.is_empty() => Ok(vec![names]),
        (_, None) => Ok(sizes.to_vec()),
    }
}

fn recorded(file: &Path, direction: Direction) -> Result<Vec<Batch>, Error> {
    let mut recording = Recording::open(file)?;
    let (mut refs, mut calls) = (0, Vec::new());
    while let Some(look) = recording.next_look()? {
        if look.batch.direction == direction && !look.batch.is_empty() {
            refs += look.batch.len();
            calls.push(Call::Look(look.batch));
        }
    }
    recording.notes.iter().for_each(|text| crate::output::note(text));
    if calls.is_empty() {
        let shown = file.display();
        return Err(Error::usage(format!(
            "the recording `{shown}` holds no {} of any ref",
            direction.name()
        )));
    }
    Ok(vec![Batch { refs, from: "recording", stale: None, calls }])
}

fn projects(from: &'static str, names: Vec<Project>) -> Batch {
    let calls = names.chunks(CALL).map(|chunk| Call::Match(chunk.into())).collect();
    Batch { refs: names.len(), from, stale: Some(false), calls }
}

/// The same refs twice: none is behind, and all are.
fn both(from: &'static str, direction: Direction, names: &[Vec<u8>]) -> [Batch; 2] {
    [false, true].map(|stale| {
        let calls = chunks(names).map(|chunk| Call::Look(Arc::new(batch(direction, chunk, stale)))).collect();
        Batch { refs: names.len(), from, stale: Some(stale), calls }
    })
}

fn chunks(mut names: &[Vec<u8>]) -> impl Iterator<Item = &[Vec<u8>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |name: &&Vec<u8>| {
            bytes += name.len();
            bytes <= CALL_NAME_BYTES
        };
        let count = names.iter().take(CALL).take_while(fits).count().max(1).min(names.len());
        let (chunk, rest) = names.split_at(count);
        names = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Refs that move on; stale ones may catch up.
fn batch(direction: Direction, refs: &[Vec<u8>], stale: bool) -> RefBatch {
    let word =
        if stale { state::REMOTE_KNOWN | state::RECHECK_HELPS } else { state::REMOTE_KNOWN | state::MAY_GO };
    let (mut names, mut name_ends) = (Vec::new(), Vec::with_capacity(refs.len()));
    for name in refs {
        names.extend_from_slice(name);
        name_ends.push(names.len() as u32);
    }
    let oids = |byte: u8| vec![byte; refs.len() * 20];
    RefBatch {
        direction,
        // A legal name, always.
        project: Project::new("team/app").unwrap_or_else(|e| unreachable!("{e}")),
        peer: "site-b".to_owned(),
        oid_len: 20,
        attempt: 0,
        now_ms: 1_700_000_000_000,
        states: vec![word; refs.len()],
        names,
        name_ends,
        new_oids: oids(0xaa),
        old_oids: oids(0xbb),
        local_oids: oids(0xaa),
        global_oids: oids(if stale { 0xcc } else { 0xaa }),
        groups: (0..refs.len() as u32).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_holds_no_more_than_that_of_a_decision() {
        let names = |count: usize, bytes: usize| vec![vec![b'x'; bytes]; count];
        let sizes = |names: &[Vec<u8>]| chunks(names).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(&names(CALL + 1, 5)), [CALL, 1]);
        assert_eq!(sizes(&names(5, 3 << 20)), [2, 2, 1]);
        assert_eq!(sizes(&names(2, 9 << 20)), [1, 1], "one that is too long goes alone");
        assert!(sizes(&[]).is_empty());
    }
}
