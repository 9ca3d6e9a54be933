//! The settings of a repository that matter to whoever moves its refs for a push, and changing some of them.

use std::env;
use std::process::Command;

use crate::command::{git_in, run, run_ok};
use crate::{GitError, Repository};

/// What `receive.denyCurrentBranch` and `receive.denyDeleteCurrent` can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deny {
    /// Let it happen.
    Allow,
    /// Let it happen with a warning.
    Warn,
    /// Refuse: the default.
    #[default]
    Refuse,
    /// `updateInstead`: move the work tree too.
    UpdateInstead,
}

/// For which refs git makes a reflog where there is none (`core.logAllRefUpdates`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogRefs {
    /// For none; a log that is there is written all the same.
    #[default]
    None,
    /// For branches, refs of remotes, notes and `HEAD`.
    Usual,
    /// For every ref.
    Always,
}

impl LogRefs {
    /// Whether a log of `name` is made.
    pub fn for_ref(self, name: &[u8]) -> bool {
        let usual = [b"refs/heads/".as_slice(), b"refs/remotes/", b"refs/notes/"];
        match self {
            LogRefs::None => false,
            LogRefs::Usual => name == b"HEAD" || usual.iter().any(|prefix| name.starts_with(prefix)),
            LogRefs::Always => true,
        }
    }
}

/// One setting as git lists it: key with section and variable in lower case, and the value; none is the same as `true`.
pub type Setting = (String, Option<String>);

/// How a repository wants its refs to be moved by pushes (git-config(1), `receive.*`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `receive.denyNonFastForwards`: branches only.
    pub deny_non_fast_forwards: bool,
    /// `receive.denyDeletes`: branches only.
    pub deny_deletes: bool,
    /// `receive.denyCurrentBranch`: moving a branch that a work tree has checked out.
    pub deny_current_branch: Deny,
    /// `receive.denyDeleteCurrent`: deleting what HEAD names.
    pub deny_delete_current: Deny,
    /// `receive.shallowUpdate`: pushes with an incomplete history are let in.
    pub shallow_update: bool,
    /// Not bare: `HEAD` is somebody's work tree.
    pub has_work_tree: bool,
    /// `core.logAllRefUpdates`; unset, git makes logs where there is a work tree.
    pub log_refs: LogRefs,
    /// A hook `update` stands in the configuration (git 2.54 and later run such).
    pub configured_update_hook: bool,
}

impl Settings {
    /// From what git lists; of several values the last one counts.
    ///
    /// # Errors
    /// A value that git would refuse, too.
    pub fn from_list(list: &[Setting]) -> Result<Settings, GitError> {
        let mut settings = Settings::default();
        let mut log_refs = None;
        for (key, value) in list {
            let value = value.as_deref();
            match key.as_str() {
                "receive.denynonfastforwards" => settings.deny_non_fast_forwards = boolean(key, value)?,
                "receive.denydeletes" => settings.deny_deletes = boolean(key, value)?,
                "receive.denycurrentbranch" => settings.deny_current_branch = deny(key, value)?,
                "receive.denydeletecurrent" => settings.deny_delete_current = deny(key, value)?,
                "receive.shallowupdate" => settings.shallow_update = boolean(key, value)?,
                "core.bare" => settings.has_work_tree = !boolean(key, value)?,
                "core.logallrefupdates" => {
                    log_refs = Some(match value {
                        Some(value) if value.eq_ignore_ascii_case("always") => LogRefs::Always,
                        value if boolean(key, value)? => LogRefs::Usual,
                        _ => LogRefs::None,
                    });
                }
                _ if key.starts_with("hook.") && key.ends_with(".event") && value == Some("update") => {
                    settings.configured_update_hook = true;
                }
                _ => {}
            }
        }
        let unset = if settings.has_work_tree { LogRefs::Usual } else { LogRefs::None };
        settings.log_refs = log_refs.unwrap_or(unset);
        Ok(settings)
    }
}

/// Every setting that counts in the repository: system, user, repository, and what the command line of receive-pack said.
pub fn settings(repository: &Repository) -> Result<Vec<Setting>, GitError> {
    let mut git = git_in(repository.git_dir());
    with_given_settings(&mut git);
    git.args(["config", "--list", "-z"]);
    Ok(parse(&run_ok(git, Vec::new())?))
}

/// The settings in the file of the repository itself.
pub fn settings_of_file(repository: &Repository) -> Result<Vec<Setting>, GitError> {
    let mut git = git_in(repository.git_dir());
    git.args(["config", "--local", "--list", "-z"]);
    Ok(parse(&run_ok(git, Vec::new())?))
}

/// Adds a value to a setting of the repository; with `alone`, it replaces all others.
pub fn add_setting(repository: &Repository, key: &str, value: &str, alone: bool) -> Result<(), GitError> {
    let mut git = git_in(repository.git_dir());
    git.args(["config", if alone { "--replace-all" } else { "--add" }, key, value]);
    run_ok(git, Vec::new()).map(drop)
}

/// Removes exactly this value of a setting from the repository, if it is there.
pub fn remove_setting(repository: &Repository, key: &str, value: &str) -> Result<(), GitError> {
    let mut git = git_in(repository.git_dir());
    git.args(["config", "--fixed-value", "--unset-all", key, value]);
    let output = run(git, Vec::new())?;
    match output.status.code() {
        // 5: there was no such value.
        Some(0 | 5) => Ok(()),
        _ => Err(crate::command::failed("`git config --unset-all`", &output)),
    }
}

/// What `git -c KEY=VALUE receive-pack` was given is in the environment of its hooks, and counts there.
fn with_given_settings(git: &mut Command) {
    for name in ["GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"] {
        if let Some(value) = env::var_os(name) {
            git.env(name, value);
        }
    }
}

fn parse(listed: &[u8]) -> Vec<Setting> {
    let text = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
    let entries = listed.split(|b| *b == 0).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| match memchr::memchr(b'\n', entry) {
            Some(end) => (text(&entry[..end]), Some(text(&entry[end + 1..]))),
            None => (text(entry), None),
        })
        .collect()
}

fn boolean(key: &str, value: Option<&str>) -> Result<bool, GitError> {
    let Some(value) = value else { return Ok(true) };
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" => Ok(true),
        "no" | "false" | "off" | "" => Ok(false),
        number => number.parse::<i64>().map(|n| n != 0).map_err(|_| {
            GitError::new(format!("the setting `{key}` of the repository is `{value}`"))
                .hint("write `true` or `false`")
        }),
    }
}

fn deny(key: &str, value: Option<&str>) -> Result<Deny, GitError> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        Some("ignore") => Ok(Deny::Allow),
        Some("warn") => Ok(Deny::Warn),
        Some("refuse") => Ok(Deny::Refuse),
        Some("updateinstead") => Ok(Deny::UpdateInstead),
        _ => Ok(if boolean(key, value)? { Deny::Refuse } else { Deny::Allow }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_git_reads_them() {
        let listed = b"core.bare\ntrue\0receive.denydeletes\0receive.denynonfastforwards\nno\0\
            receive.denynonfastforwards\n1\0receive.denycurrentbranch\nupdateInstead\0\
            receive.denydeletecurrent\nfalse\0hook.x.event\nupdate\0other.multi\na\nb\0";
        let list = parse(listed);
        assert_eq!(list.last(), Some(&("other.multi".into(), Some("a\nb".into()))));
        let settings = Settings::from_list(&list).unwrap();
        assert!(settings.deny_deletes && settings.deny_non_fast_forwards && !settings.has_work_tree);
        assert_eq!(settings.deny_current_branch, Deny::UpdateInstead);
        assert_eq!(settings.deny_delete_current, Deny::Allow);
        assert_eq!(settings.log_refs, LogRefs::None, "a bare repository");
        let logs = |value: &str| {
            let list = parse(format!("core.logallrefupdates\n{value}\0").as_bytes());
            Settings::from_list(&list).unwrap().log_refs
        };
        assert_eq!(
            [logs("always"), logs("1"), logs("off")],
            [LogRefs::Always, LogRefs::Usual, LogRefs::None]
        );
        assert!(LogRefs::Usual.for_ref(b"HEAD") && !LogRefs::Usual.for_ref(b"refs/tags/v"));
        assert!(settings.configured_update_hook);
        let bad = [("receive.denydeletes".to_owned(), Some("maybe".to_owned()))];
        assert!(Settings::from_list(&bad).unwrap_err().message.contains("receive.denydeletes"));
        assert_eq!(Settings::from_list(&[]).unwrap().deny_delete_current, Deny::Refuse);
    }
}
