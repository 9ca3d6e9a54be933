//! What a repository says about how its files are made: who may write them, and what is on disk before git goes on.

use std::path::Path;

use crate::GitError;
use crate::command::{failed, git_in, run};

/// The settings of `core.*` that count for files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Core {
    pub(crate) shared: Shared,
    /// The parts that `core.fsync` names; `None` when nobody has set it.
    pub(crate) fsync: Option<Parts>,
}

/// `core.sharedRepository`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    /// As the process makes it.
    Umask,
    /// These bits more.
    More(u32),
    /// Exactly these bits.
    Exactly(u32),
}

/// Parts of a repository that git can wait for (`core.fsync`), as a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts(u8);

impl Core {
    /// Asks git, which knows all files of settings.
    pub(crate) fn read(git_dir: &Path) -> Result<Core, GitError> {
        let mut git = git_in(git_dir);
        git.args(["config", "-z", "--get-regexp", "^core\\.(sharedrepository|fsync)$"]);
        let output = run(git, Vec::new())?;
        match output.status.code() {
            // 1: there is none of them.
            Some(0 | 1) => Core::parse(&output.stdout),
            _ => Err(failed("`git config`", &output)),
        }
    }

    fn parse(listed: &[u8]) -> Result<Core, GitError> {
        let mut core = Core { shared: Shared::Umask, fsync: None };
        for entry in listed.split(|b| *b == 0).filter(|entry| !entry.is_empty()) {
            let text = String::from_utf8_lossy(entry);
            let (key, value) = text.split_once('\n').map_or((&*text, None), |(k, v)| (k, Some(v)));
            match key {
                "core.fsync" => core.fsync = Some(Parts::parse(value.unwrap_or_default())),
                _ => core.shared = Shared::parse(value)?,
            }
        }
        Ok(core)
    }
}

impl Shared {
    /// As git reads it: a word, a truth value, or an octal mode.
    fn parse(value: Option<&str>) -> Result<Shared, GitError> {
        let group = Shared::More(0o660);
        let Some(value) = value else { return Ok(group) };
        if let Ok(mode) = u32::from_str_radix(if value.is_empty() { "0" } else { value }, 8) {
            return match mode {
                0 => Ok(Shared::Umask),
                1 => Ok(group),
                2 => Ok(Shared::More(0o664)),
                mode if mode & 0o600 == 0o600 => Ok(Shared::Exactly(mode & 0o666)),
                _ => Err(unusable(value)),
            };
        }
        match value.to_ascii_lowercase().as_str() {
            "umask" | "false" | "no" | "off" => Ok(Shared::Umask),
            "group" | "true" | "yes" | "on" => Ok(group),
            "all" | "world" | "everybody" => Ok(Shared::More(0o664)),
            _ => Err(unusable(value)),
        }
    }

    /// The mode that git would give something that was made with `mode`.
    pub(crate) fn adjust(self, mode: u32, is_dir: bool) -> u32 {
        let (mode, bits) = match self {
            Shared::Umask => return mode & 0o7777,
            Shared::More(bits) => (mode & 0o7777, bits),
            Shared::Exactly(bits) => (mode & 0o7000, bits),
        };
        let mode = mode | bits;
        match is_dir {
            true => {
                let mode = mode | (mode & 0o444) >> 2;
                // It matters only where the group may do something.
                if mode & 0o060 != 0 { mode | super::SET_GROUP } else { mode }
            }
            false => mode,
        }
    }

    /// Whether members of the group may write.
    pub(crate) fn with_group(self) -> bool {
        matches!(self, Shared::More(bits) | Shared::Exactly(bits) if bits & 0o020 != 0)
    }

    /// Whether everybody may write.
    pub(crate) fn with_everybody(self) -> bool {
        matches!(self, Shared::More(bits) | Shared::Exactly(bits) if bits & 0o002 != 0)
    }
}

fn unusable(value: &str) -> GitError {
    GitError::new(format!("the setting `core.sharedRepository` of the repository is `{value}`"))
        .hint("write `umask`, `group`, `all`, or an octal mode with which the owner may read and write")
}

impl Parts {
    const LOOSE_OBJECT: Parts = Parts(1);
    const PACK: Parts = Parts(2);
    const PACK_METADATA: Parts = Parts(4);
    const COMMIT_GRAPH: Parts = Parts(8);
    const INDEX: Parts = Parts(16);
    /// Refs.
    pub(crate) const REFERENCE: Parts = Parts(32);
    /// Objects in all forms.
    pub(crate) const OBJECTS: Parts = Parts(1 | 2);
    /// What has to be on disk before a push is acknowledged, each with the word for it. A pack without its index is no
    /// pack to git, so the index counts.
    const NEEDED: [(&'static str, Parts); 4] = [
        ("loose-object", Parts::LOOSE_OBJECT),
        ("pack", Parts::PACK),
        ("pack-metadata", Parts::PACK_METADATA),
        ("reference", Parts::REFERENCE),
    ];

    /// As git reads it: what is named is added to, or with `-` taken from, what git does by itself; `none` takes all.
    fn parse(value: &str) -> Parts {
        let named = |word: &str| match word {
            "loose-object" => Parts::LOOSE_OBJECT.0,
            "pack" => Parts::PACK.0,
            "pack-metadata" => Parts::PACK_METADATA.0,
            "commit-graph" => Parts::COMMIT_GRAPH.0,
            "index" => Parts::INDEX.0,
            "reference" => Parts::REFERENCE.0,
            "objects" => Parts::OBJECTS.0,
            "derived-metadata" => Parts::PACK_METADATA.0 | Parts::COMMIT_GRAPH.0,
            "committed" => Parts::OBJECTS.0 | Parts::REFERENCE.0,
            "added" => Parts::OBJECTS.0 | Parts::REFERENCE.0 | Parts::INDEX.0,
            "all" => 63,
            // git warns of a word that it does not know, and goes on.
            _ => 0,
        };
        let mut base = Parts::PACK.0 | Parts::PACK_METADATA.0 | Parts::COMMIT_GRAPH.0;
        let (mut more, mut less) = (0, 0);
        for word in value.split([',', ' ', '\t', '\n', '\r']) {
            match word.strip_prefix('-') {
                _ if word == "none" => base = 0,
                Some(word) => less |= named(word),
                None => more |= named(word),
            }
        }
        Parts(base & !less | more)
    }

    /// Whether one of `others` is among these.
    pub(crate) fn has(self, others: Parts) -> bool {
        self.0 & others.0 != 0
    }
}

/// What a value of `core.fsync` leaves out of that which has to be on disk before a push is acknowledged; `None`: nobody
/// has set it.
pub fn not_on_disk(fsync: Option<&str>) -> Vec<&'static str> {
    let parts = Parts::parse(fsync.unwrap_or_default());
    Parts::NEEDED.iter().filter(|(_, part)| !parts.has(*part)).map(|(word, _)| *word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_is_read_as_git_reads_it() {
        let (group, all) = (Shared::More(0o660), Shared::More(0o664));
        for (value, shared) in [
            (None, group),
            (Some(""), Shared::Umask),
            (Some("umask"), Shared::Umask),
            (Some("false"), Shared::Umask),
            (Some("0"), Shared::Umask),
            (Some("group"), group),
            (Some("true"), group),
            (Some("1"), group),
            (Some("all"), all),
            (Some("world"), all),
            (Some("everybody"), all),
            (Some("2"), all),
            (Some("0640"), Shared::Exactly(0o640)),
            (Some("0777"), Shared::Exactly(0o666)),
        ] {
            assert_eq!(Shared::parse(value).unwrap(), shared, "{value:?}");
        }
        for value in ["0440", "everyone", "9"] {
            assert!(Shared::parse(Some(value)).unwrap_err().message.contains(value));
        }
        assert!(group.with_group() && all.with_group() && !Shared::Exactly(0o640).with_group());
    }

    #[test]
    fn modes_are_those_that_git_gives() {
        for (shared, file, dir) in [
            (Shared::Umask, 0o644, 0o755),
            (Shared::More(0o660), 0o664, 0o2775),
            (Shared::More(0o664), 0o664, 0o2775),
            (Shared::Exactly(0o640), 0o640, 0o2750),
            (Shared::Exactly(0o600), 0o600, 0o700),
            (Shared::Exactly(0o666), 0o666, 0o2777),
        ] {
            assert_eq!(shared.adjust(0o100_644, false), file, "{shared:?}");
            assert_eq!(shared.adjust(0o040_755, true), dir, "{shared:?}");
        }
        assert_eq!(Shared::More(0o660).adjust(0o100_600, false), 0o660, "under umask 077");
    }

    #[test]
    fn what_is_not_waited_for_is_told_as_git_means_it() {
        let left_out = |value| not_on_disk(Some(value)).join(" ");
        assert_eq!(not_on_disk(None), ["loose-object", "reference"], "what git does by itself");
        assert_eq!(left_out("committed"), "");
        assert_eq!(left_out("all"), "");
        assert_eq!(left_out("objects"), "reference");
        assert_eq!(left_out("none"), "loose-object pack pack-metadata reference");
        assert_eq!(left_out("none,committed"), "pack-metadata");
        assert_eq!(left_out("committed,-pack-metadata"), "pack-metadata");
        assert_eq!(left_out("committed, -loose-object"), "", "what is named with and without `-` counts");
        assert_eq!(left_out("nonsense"), "loose-object reference");
    }
}
