//! `plugins history`, `rollback` and `release`: the sets that were live, and going back to one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use refgate_host::{Error, did_you_mean, utc};
use refgate_runtime::{Generation, Quarantined, RolledBack, Saved, SavedMember, State, digest};
use serde_json::{Value, json};

use super::site;
use crate::output::{Cell, Mood, Output};
use crate::system::unix_time;

/// `refgate plugins history`.
pub fn history(file: &Path, output: &Output) -> Result<u8, Error> {
    let (_, state) = saved_state(file)?;
    let saved = state.read().map_err(|e| Error::failed(e.to_string()))?;
    let sets: Vec<(&Generation, bool)> = sets(&saved).collect();
    if output.json {
        let one = |(set, live): &(&Generation, bool)| {
            let plugins = files(set).map(|m| json!({"name": m.name, "digest": m.wasm}));
            json!({
                "generation": set.id, "since_ms": set.since_ms, "state": standing(set, *live),
                "plugins": plugins.collect::<Vec<_>>(),
            })
        };
        let all: Vec<Value> = sets.iter().map(one).collect();
        output.document(&json!({"command": "plugins history", "generations": all}));
        return Ok(0);
    }
    if sets.is_empty() {
        output.text("no set was live yet");
        return Ok(0);
    }
    let rows = sets.iter().map(|(set, live)| -> Vec<Cell> {
        let mood = match (live, set.taken_back) {
            (true, _) => Mood::Good,
            (false, true) => Mood::Held,
            (false, false) => Mood::Plain,
        };
        let plugins: Vec<String> = files(set).map(|m| format!("{} {}", m.name, short(&m.wasm))).collect();
        let plugins =
            if plugins.is_empty() { "the shipped ones alone".to_owned() } else { plugins.join(", ") };
        vec![
            set.id.to_string().into(),
            utc(Duration::from_millis(set.since_ms)).into(),
            Cell::new(standing(set, *live), mood),
            plugins.into(),
        ]
    });
    output.table(&["GENERATION", "LIVE SINCE", "STATE", "PLUGIN FILES"], &rows.collect::<Vec<_>>());
    Ok(0)
}

/// The newest first; whether it is the live one.
fn sets(saved: &Saved) -> impl Iterator<Item = (&Generation, bool)> {
    saved.live.iter().map(|live| (live, true)).chain(saved.previous.iter().map(|set| (set, false)))
}

fn files(set: &Generation) -> impl Iterator<Item = &SavedMember> {
    set.members.iter().filter(|member| !member.embedded)
}

fn standing(set: &Generation, live: bool) -> &'static str {
    match (live, set.taken_back) {
        (true, _) => "live",
        (false, true) => "taken back",
        (false, false) => "before",
    }
}

fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

/// `refgate plugins rollback`.
pub fn rollback(
    file: &Path,
    reason: Option<&str>,
    (to, dry_run): (Option<u64>, bool),
    output: &Output,
) -> Result<u8, Error> {
    let (dir, state) = saved_state(file)?;
    let reason = reason.unwrap_or("an operator took it back");
    let now = unix_time().as_millis() as u64;
    let done = match dry_run {
        true => state.read().and_then(|saved| refgate_runtime::rolled_back(&saved, to, now, reason)),
        false => refgate_runtime::roll_back_to(&state, to, now, reason),
    };
    let hint = |e: Error| {
        if to.is_some() { e.hint("`refgate plugins history` lists the sets that are kept") } else { e }
    };
    let done = done.map_err(|e| hint(Error::failed(e.to_string())))?;
    let generation = done.saved.live.as_ref().map_or(0, |live| live.id);
    let held: Vec<Held> = dir
        .iter()
        .flat_map(|dir| done.plugins.iter().filter_map(|name| Held::look(dir, name, &done)))
        .collect();
    if output.json {
        let held = held.iter().map(|h| json!({"plugin": h.plugin, "file": h.file, "holds": h.holds.word()}));
        output.document(&json!({
            "command": "plugins rollback", "dry_run": dry_run, "generation": generation, "of": done.of,
            "plugins": done.plugins, "directory": held.collect::<Vec<_>>(),
        }));
        return Ok(0);
    }
    let plugins = done.plugins.join(", ");
    let of = done.of;
    output.text(&match dry_run {
        true => format!(
            "generation {generation} would be live, with the files of generation {of}; taken back: {plugins}"
        ),
        false => format!(
            "generation {generation} is live, with the files of generation {of}; taken back: {plugins}"
        ),
    });
    held.iter().for_each(|held| output.text(&held.text()));
    Ok(0)
}

/// What the plugin directory holds of a plugin that was taken back.
struct Held {
    plugin: String,
    file: String,
    holds: Holds,
}

enum Holds {
    /// What was taken back.
    TakenBack,
    /// Still nothing, and that is what was taken back.
    Gone,
    /// Something else: the next look takes it.
    Other,
    /// The file that decides again.
    Same,
    /// Nothing: what was taken back is gone already.
    Nothing,
}

impl Held {
    /// `None` for a plugin that is part of the program and has no file.
    fn look(dir: &Path, plugin: &str, done: &RolledBack) -> Option<Held> {
        let live = done.saved.live.as_ref()?;
        let path = dir.join(format!("{plugin}.wasm"));
        let found = refgate_runtime::read_component(&path).ok().map(|wasm| {
            let policy = refgate_runtime::read_side_file(&dir.join(format!("{plugin}.toml"))).ok();
            (digest(&wasm), policy.as_deref().map(digest))
        });
        let taken = |q: &&Quarantined| q.rolled_back && q.name == plugin;
        let taken: Vec<&Quarantined> = done.saved.quarantine.iter().filter(taken).collect();
        let decides = live.members.iter().find(|m| m.name == plugin);
        let holds = match &found {
            Some((wasm, policy)) if taken.iter().any(|q| q.wasm == *wasm && q.policy == *policy) => {
                Holds::TakenBack
            }
            Some((wasm, policy)) if decides.is_some_and(|m| m.wasm == *wasm && m.policy == *policy) => {
                Holds::Same
            }
            Some(_) => Holds::Other,
            None if taken.iter().any(|q| q.is_absence()) => Holds::Gone,
            None if decides.is_some_and(|m| m.embedded) => return None,
            None => Holds::Nothing,
        };
        Some(Held { plugin: plugin.to_owned(), file: path.display().to_string(), holds })
    }

    fn text(&self) -> String {
        let Held { plugin, file, holds } = self;
        match holds {
            Holds::TakenBack => format!(
                "`{file}` still is what was taken back. It stays out until you put another file there, or run `refgate \
                 plugins release {plugin}`."
            ),
            Holds::Gone => format!(
                "`{file}` is not there; the saved copy decides until you put the file back, or run `refgate plugins release \
                 {plugin}`."
            ),
            Holds::Other => {
                format!("`{file}` is another file by now: the next look at the directory takes it.")
            }
            Holds::Same => format!("`{file}` is the file that decides again."),
            Holds::Nothing => format!("`{file}` is not there."),
        }
    }
}

impl Holds {
    fn word(&self) -> &'static str {
        match self {
            Holds::TakenBack => "taken-back",
            Holds::Gone => "gone",
            Holds::Other => "another",
            Holds::Same => "decides",
            Holds::Nothing => "nothing",
        }
    }
}

/// `refgate plugins release`.
pub fn release(file: &Path, name: &str, output: &Output) -> Result<u8, Error> {
    let (_, state) = saved_state(file)?;
    let known = state.read().map_err(|e| Error::failed(e.to_string()))?.quarantine;
    let released = refgate_runtime::release(&state, name).map_err(|e| Error::failed(e.to_string()))?;
    if !released {
        let e = Error::failed(format!("plugin `{name}` is not quarantined"));
        return Err(match did_you_mean(name, known.iter().map(|q| q.name.as_str())) {
            Some(near) => e.hint(format!("did you mean `{near}`?")),
            None => e.hint("`refgate plugins list` shows what is"),
        });
    }
    if output.json {
        output.document(&json!({"command": "plugins release", "plugin": name}));
    } else {
        let absent = known.iter().any(|q| q.name == name && q.is_absence());
        output.text(&match absent {
            true => format!("the plugin directory decides about `{name}` again from the next look on"),
            false => format!("plugin `{name}` is used again from the next look at the plugin directory on"),
        });
    }
    Ok(0)
}

/// The plugin directory, and what is saved of its sets.
fn saved_state(file: &Path) -> Result<(Option<PathBuf>, State), Error> {
    let plugins = site::config(file)?.plugins;
    let state = plugins.state.ok_or_else(|| {
        Error::usage("no live set is saved: there is no plugin directory").hint("set `plugins.directory`")
    })?;
    Ok((plugins.directory, State::open(&state).map_err(|e| Error::failed(e.to_string()))?))
}
