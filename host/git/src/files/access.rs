//! Which files of a repository stop somebody who is to write in it: left by another user, or with a mode that shuts the
//! group out. Modes are looked at, not access lists, so this can be told about everybody, whoever asks.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};

use super::owner::Owner;
use crate::{GitError, Repository};

/// So many files and directories are looked at; a repository may have many hundred thousand refs.
const LOOKED_AT: usize = 100_000;
/// So many are told with their names.
const TOLD: usize = 5;

/// What is looked at below the git directory: how deep, and what one has to be able to do with directories and files (4
/// read, 2 write, 1 enter). Files that are replaced by others need no writing; logs and locks are opened for it.
const PLACES: [(&str, usize, u32, u32); 9] = [
    ("", 0, 7, 4),
    ("HEAD", 0, 7, 4),
    ("config", 0, 7, 4),
    ("packed-refs", 0, 7, 4),
    ("refgate", usize::MAX, 7, 6),
    ("objects", 1, 7, 0),
    ("reftable", usize::MAX, 7, 4),
    ("logs", usize::MAX, 7, 6),
    ("refs", usize::MAX, 7, 4),
];

/// Who is to write in a repository, and may not be able to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// Whom the git directory belongs to.
    Owner,
    /// Its group, by `core.sharedRepository`.
    Group,
}

/// A file or directory that stops somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Where it is.
    pub path: PathBuf,
    /// The name of the user that it belongs to, or the number.
    pub owner: String,
    /// The same of its group.
    pub group: String,
    /// The bits of its mode.
    pub mode: u32,
    /// Whom it stops, in words.
    pub stops: String,
    /// `read`, `written` or `entered`: what cannot be done with it.
    pub cannot_be: &'static str,
}

/// What stops somebody who is to write in a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// The first few.
    pub first: Vec<Obstacle>,
    /// How many there are.
    pub count: usize,
    /// The command that takes them away, for root or for whom the files belong to. Empty when there are none.
    pub cure: String,
    /// Whether there were too many files to look at all of them.
    pub cut_short: bool,
}

impl Repository {
    /// Looks whether the owner of the git directory can work below it, and with `core.sharedRepository` its group.
    ///
    /// # Errors
    /// The settings of the repository cannot be read.
    pub fn obstacles(&self) -> Result<Obstacles, GitError> {
        let root = self.common_dir();
        let owner = Owner::of(root)
            .ok_or_else(|| GitError::new(format!("cannot tell whose `{}` is", root.display())))?;
        // Nothing stops root.
        let mut who = if owner.uid == 0 { Vec::new() } else { vec![Who::Owner] };
        who.extend(self.files().core()?.shared.with_group().then_some(Who::Group));
        let mut look =
            Survey { root, owner, who, left: LOOKED_AT, found: Obstacles::default(), cures: BTreeSet::new() };
        if !look.who.is_empty() {
            for (place, depth, dirs, files) in PLACES {
                look.at(&root.join(place), depth, (dirs, files), place);
            }
        }
        Ok(look.end())
    }
}

/// One command of the cure, in the order in which they are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cure {
    Owner,
    Group,
    OwnersMode,
    GroupsMode,
}

struct Survey<'a> {
    root: &'a Path,
    owner: Owner,
    who: Vec<Who>,
    left: usize,
    found: Obstacles,
    cures: BTreeSet<(Cure, &'static str)>,
}

impl Survey<'_> {
    fn at(&mut self, path: &Path, depth: usize, needs: (u32, u32), place: &'static str) {
        // What vanishes meanwhile stops nobody; a link is not followed by git, either.
        let Ok(meta) = fs::symlink_metadata(path) else { return };
        if meta.is_symlink() {
            return;
        }
        if self.left == 0 {
            self.found.cut_short = true;
            return;
        }
        self.left -= 1;
        let needed = if meta.is_dir() { needs.0 } else { needs.1 };
        for who in self.who.clone() {
            self.judge(who, path, &meta, needed, place);
        }
        // One that may not be read by this process is told above, if it is an obstacle.
        let Ok(entries) = fs::read_dir(path) else { return };
        if depth > 0 {
            entries.flatten().for_each(|entry| self.at(&entry.path(), depth - 1, needs, place));
        }
    }

    fn judge(&mut self, who: Who, path: &Path, meta: &fs::Metadata, needed: u32, place: &'static str) {
        let Owner { uid, gid } = self.owner;
        let shift = match who {
            Who::Owner if meta.uid() == uid => 6,
            _ if meta.gid() == gid => 3,
            _ => 0,
        };
        let lacks = needed & !(meta.mode() >> shift);
        if lacks == 0 {
            return;
        }
        self.found.count += 1;
        if self.found.first.len() < TOLD {
            self.found.first.push(Obstacle {
                path: path.to_owned(),
                owner: user(meta.uid()),
                group: group(meta.gid()),
                mode: meta.mode() & 0o7777,
                stops: match who {
                    Who::Owner => format!("`{}`, the owner of the repository", user(uid)),
                    Who::Group => format!("the group `{}` (core.sharedRepository)", group(gid)),
                },
                cannot_be: if lacks & 4 != 0 {
                    "read"
                } else if lacks & 2 != 0 {
                    "written"
                } else {
                    "entered"
                },
            });
        }
        let (given, bits, mode, shift) = match who {
            Who::Owner => (meta.uid() == uid, Cure::Owner, Cure::OwnersMode, 6),
            Who::Group => (meta.gid() == gid, Cure::Group, Cure::GroupsMode, 3),
        };
        if !given {
            self.cures.insert((bits, place));
        }
        if needed & !(meta.mode() >> shift) != 0 {
            self.cures.insert((mode, place));
        }
    }

    fn end(mut self) -> Obstacles {
        let (user, group) = (user(self.owner.uid), group(self.owner.gid));
        let mut commands = Vec::new();
        for (cure, start) in [
            (Cure::Owner, format!("chown -R {user}:{group}")),
            (Cure::Group, format!("chgrp -R {group}")),
            (Cure::OwnersMode, "chmod -R u+rwX".to_owned()),
            (Cure::GroupsMode, "chmod -R g+rwX".to_owned()),
        ] {
            let mut places: Vec<&str> =
                self.cures.iter().filter(|(c, _)| *c == cure).map(|(_, p)| *p).collect();
            // The git directory holds all the others.
            if places.contains(&"") {
                places = vec![""];
            }
            let paths = places.iter().map(|place| quoted(&self.root.join(place)));
            let paths = paths.collect::<Vec<_>>().join(" ");
            if !paths.is_empty() {
                commands.push(format!("{start} {paths}"));
            }
        }
        self.found.cure = commands.join(" && ");
        self.found
    }
}

fn user(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

fn group(gid: u32) -> String {
    Group::from_gid(Gid::from_raw(gid)).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name)
}

/// A path as a word of the shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let text = text.strip_suffix('/').unwrap_or(&text);
    match text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+,@%:".contains(&b)) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}
