//! The lines of a recording: a header, then one look of a chain per line, as JSON.

use std::sync::Arc;

use refgate_core::chain::Said;
use refgate_core::{Direction, FilterSet, Oid, Project, RefBatch, RefName, escape, unescape};
use serde::{Deserialize, Serialize};

/// What the header of a recording says that it is.
pub const FORMAT: &str = "refgate-record";

/// The version of the lines. A reader refuses any other.
pub const VERSION: u32 = 1;

/// The first line of a recording, and the first one after a line that was cut off.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub format: String,
    pub version: u32,
}

impl Header {
    pub fn line() -> String {
        let header = Header { format: FORMAT.to_owned(), version: VERSION };
        serde_json::to_string(&header).unwrap_or_default() + "\n"
    }
}

/// One look of a chain.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LookLine {
    pub direction: Way,
    pub project: String,
    pub peer: String,
    /// Bytes of an object id: 20 or 32.
    pub oid_len: usize,
    pub attempt: u32,
    /// The time that a filter could ask for.
    pub now_ms: u64,
    pub generation: u64,
    pub plugins: Vec<PluginLine>,
    pub refs: Vec<RefLine>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    Push,
    Fetch,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginLine {
    pub name: String,
    pub digest: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefLine {
    /// Escaped, as everywhere.
    #[serde(rename = "ref")]
    pub name: String,
    pub state: u32,
    pub group: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global: Option<String>,
    pub said: Word,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    Keep,
    Recheck,
    Discard,
}

/// The line of a look, with its line feed.
pub(super) fn line(set: &Asked, batch: &RefBatch, said: &[Said]) -> String {
    let refs = said.iter().take(batch.len()).enumerate().map(|(i, said)| ref_line(batch, i, said)).collect();
    let look = LookLine {
        direction: match batch.direction {
            Direction::Push => Way::Push,
            Direction::Fetch => Way::Fetch,
        },
        project: batch.project.as_str().to_owned(),
        peer: batch.peer.clone(),
        oid_len: batch.oid_len,
        attempt: batch.attempt,
        now_ms: batch.now_ms,
        generation: set.generation,
        plugins: set
            .plugins
            .iter()
            .map(|(name, digest)| PluginLine { name: name.clone(), digest: digest.clone() })
            .collect(),
        refs,
    };
    // Nothing in it can fail: text keys, no floats.
    serde_json::to_string(&look).unwrap_or_default() + "\n"
}

/// Which plugins were asked; kept instead of the set, so that a queue holds no generation alive.
#[derive(Debug)]
pub(super) struct Asked {
    pub generation: u64,
    pub plugins: Vec<(String, String)>,
}

impl Asked {
    pub fn of(set: &FilterSet, direction: Direction) -> Asked {
        let taking_part = set.taking_part(direction).into_iter();
        let filters = taking_part.filter(|p| p.world != "project-matcher");
        Asked { generation: set.generation, plugins: filters.map(|p| (p.name, p.digest)).collect() }
    }
}

fn ref_line(batch: &RefBatch, i: usize, said: &Said) -> RefLine {
    let oid = |column: &[u8]| {
        let raw = column.get(i * batch.oid_len..(i + 1) * batch.oid_len)?;
        Oid::from_bytes(raw).ok().map(|oid| oid.to_string())
    };
    let (word, reason, by) = match said {
        Said::Keep => (Word::Keep, None, None),
        Said::Recheck { by } => (Word::Recheck, None, Some(by.to_string())),
        Said::Discard { reason, by } => (Word::Discard, Some(reason.to_string()), Some(by.to_string())),
    };
    RefLine {
        name: escape(batch.name(i)),
        state: batch.states[i],
        group: batch.groups[i],
        new: oid(&batch.new_oids),
        old: oid(&batch.old_oids),
        local: oid(&batch.local_oids),
        global: oid(&batch.global_oids),
        said: word,
        reason,
        by,
    }
}

impl LookLine {
    /// The batch as the filters saw it, and what they said.
    pub fn into_batch(self) -> Result<(Arc<RefBatch>, Vec<Said>), String> {
        if self.oid_len != 20 && self.oid_len != 32 {
            return Err(format!("`oid_len` is {}, not 20 or 32", self.oid_len));
        }
        let mut batch = RefBatch {
            direction: match self.direction {
                Way::Push => Direction::Push,
                Way::Fetch => Direction::Fetch,
            },
            project: Project::new(self.project).map_err(|e| e.to_string())?,
            peer: self.peer,
            oid_len: self.oid_len,
            attempt: self.attempt,
            now_ms: self.now_ms,
            states: Vec::with_capacity(self.refs.len()),
            names: Vec::new(),
            name_ends: Vec::with_capacity(self.refs.len()),
            new_oids: Vec::new(),
            old_oids: Vec::new(),
            local_oids: Vec::new(),
            global_oids: Vec::new(),
            groups: Vec::with_capacity(self.refs.len()),
        };
        let mut said = Vec::with_capacity(self.refs.len());
        for one in self.refs {
            let name = RefName::new(unescape(&one.name)).map_err(|e| format!("`{}`: {e}", one.name))?;
            batch.names.extend_from_slice(name.as_bytes());
            let end = u32::try_from(batch.names.len()).map_err(|_| "more than 4 GiB of names".to_owned())?;
            batch.name_ends.push(end);
            batch.states.push(one.state);
            batch.groups.push(one.group);
            let columns = [
                (&mut batch.new_oids, &one.new),
                (&mut batch.old_oids, &one.old),
                (&mut batch.local_oids, &one.local),
                (&mut batch.global_oids, &one.global),
            ];
            for (column, hex) in columns {
                push_oid(column, hex.as_deref(), self.oid_len).map_err(|e| format!("`{}`: {e}", one.name))?;
            }
            let by = one.by.unwrap_or_default().into();
            said.push(match (one.said, one.reason) {
                (Word::Keep, _) => Said::Keep,
                (Word::Recheck, _) => Said::Recheck { by },
                (Word::Discard, Some(reason)) => Said::Discard { reason: reason.into(), by },
                (Word::Discard, None) => return Err(format!("`{}`: a discard without a reason", one.name)),
            });
        }
        Ok((Arc::new(batch), said))
    }
}

fn push_oid(column: &mut Vec<u8>, hex: Option<&str>, len: usize) -> Result<(), String> {
    let oid = hex.map(|hex| Oid::parse_or_zero(hex.as_bytes()).map_err(|e| format!("`{hex}`: {e}")));
    match oid.transpose()?.flatten() {
        None => column.resize(column.len() + len, 0),
        Some(oid) if oid.as_bytes().len() == len => column.extend_from_slice(oid.as_bytes()),
        Some(oid) => return Err(format!("`{oid}` has not the {len} bytes of the others")),
    }
    Ok(())
}
