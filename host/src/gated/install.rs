//! Putting the hooks into a repository, and taking them out: files and settings, and a test that git really runs them.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use refgate_core::{Oid, Project, RefName};
use refgate_git::receive::{Setting, add_setting, hooks_dir, remove_setting, settings, settings_of_file};
use refgate_git::{
    GitError, ON_DISK, OWN_WRITE, PushCommand, PushSession, PushStatus, RemoteUrl, Repository, not_on_disk,
};

use super::journal::KEEP;
use super::why::Why;
use crate::Error;

/// The hook that moves refs for git.
pub const PROC_RECEIVE: &str = "proc-receive";
/// The hook that sends on what was pushed.
pub const POST_RECEIVE: &str = "post-receive";
/// The hook that sees every change of refs.
pub const REFERENCE_TRANSACTION: &str = "reference-transaction";

const REFS_KEY: &str = "receive.procReceiveRefs";
/// A prefix, and not a pattern: `refs/*` would match nothing.
const REFS_VALUE: &str = "refs";
const OPTIONS_KEY: &str = "receive.advertisePushOptions";
const HIDE_KEY: &str = "transfer.hideRefs";
const FSYNC_KEY: &str = "core.fsync";
const UNPACK_KEY: &str = "receive.unpackLimit";
/// A push of so many objects or more is kept as a pack: three files to wait for instead of one for each object. Smaller
/// ones are no slower as they are, and packs by the thousand would be.
const UNPACK_LIMIT: &str = "10";

/// What the hooks of one repository run, and which there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// The program, absolute.
    pub program: PathBuf,
    /// Its configuration, absolute.
    pub config: PathBuf,
    /// The project.
    pub project: Project,
    /// Note what others write.
    pub audit: bool,
    /// Refuse what others write.
    pub backstop: bool,
    /// The remotes to which what is pushed is sent on, in the order of their names. `None`: as it is.
    pub replicate: Option<Vec<String>>,
}

/// One thing that was looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is so now.
    pub what: String,
    /// Whether it was otherwise before.
    pub changed: bool,
}

/// A hook in the directory of a repository's hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookFile {
    /// There is none.
    Missing,
    /// Somebody else's.
    Foreign,
    /// Ours; the text of the file.
    Ours(Vec<u8>),
}

impl Hooks {
    /// Puts everything in place; what is so already stays. The hook comes before the setting that makes git run it.
    ///
    /// # Errors
    /// Somebody else's hook is in the way; a backstop where it cannot work; what cannot be written.
    pub fn install(&self, repository: &Repository) -> Result<Vec<Step>, Error> {
        if self.backstop && !repository.has_files_backend() {
            return Err(Error::usage(
                "there is no backstop for a repository that keeps its refs in a reftable: git locks all of it while the \
                 hook asks the ref-db, so that pushes to other refs would fail",
            )
            .hint("use --audit, which looks afterwards"));
        }
        let dir = hooks_dir(repository)?;
        let mut steps = vec![self.put(repository, &dir, PROC_RECEIVE)?];
        match self.audit || self.backstop {
            true => steps.push(self.put(repository, &dir, REFERENCE_TRANSACTION)?),
            false => steps.extend(self.take_away(&dir, REFERENCE_TRANSACTION)?),
        }
        match self.replicate.as_deref() {
            None => {}
            Some([]) => steps.extend(self.take_away(&dir, POST_RECEIVE)?),
            Some(_) => steps.push(self.put(repository, &dir, POST_RECEIVE)?),
        }
        let here = settings_of_file(repository)?;
        let values = |key: &str| -> Vec<&str> {
            let key = key.to_lowercase();
            here.iter().filter(|(k, _)| *k == key).map(|(_, v)| v.as_deref().unwrap_or("true")).collect()
        };
        let mut set = |key: &str, value: &str, good: bool, alone: bool| -> Result<(), GitError> {
            if !good {
                add_setting(repository, key, value, alone)?;
            }
            steps.push(Step { what: format!("{key} = {value}"), changed: !good });
            Ok(())
        };
        let keep = KEEP.trim_end_matches('/');
        // What somebody has chosen for this repository stays, and `warnings` says what it is worth.
        let chosen = |key: &str, ours: &'static str| values(key).last().copied().unwrap_or(ours).to_owned();
        let (fsync, unpack) = (chosen(FSYNC_KEY, ON_DISK), chosen(UNPACK_KEY, UNPACK_LIMIT));
        set(FSYNC_KEY, &fsync, !values(FSYNC_KEY).is_empty(), true)?;
        set(UNPACK_KEY, &unpack, !values(UNPACK_KEY).is_empty(), true)?;
        set(HIDE_KEY, keep, values(HIDE_KEY).contains(&keep), false)?;
        set(OPTIONS_KEY, "true", values(OPTIONS_KEY).last() == Some(&"true"), true)?;
        set(REFS_KEY, REFS_VALUE, values(REFS_KEY) == [REFS_VALUE], true)?;
        Ok(steps)
    }

    /// Takes the settings out, then the hooks. Somebody else's hooks stay, and so do `receive.advertisePushOptions`,
    /// `core.fsync` and `receive.unpackLimit`, which do no harm.
    pub fn uninstall(&self, repository: &Repository) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        let here = settings_of_file(repository)?;
        for (key, value) in [(REFS_KEY, REFS_VALUE), (HIDE_KEY, KEEP.trim_end_matches('/'))] {
            let lower = key.to_lowercase();
            let changed = here.iter().any(|(k, v)| *k == lower && v.as_deref() == Some(value));
            if changed {
                remove_setting(repository, key, value)?;
            }
            steps.push(Step { what: format!("no {key} = {value}"), changed });
        }
        let dir = hooks_dir(repository)?;
        for hook in [PROC_RECEIVE, POST_RECEIVE, REFERENCE_TRANSACTION] {
            steps.extend(self.take_away(&dir, hook)?);
        }
        Ok(steps)
    }

    fn put(&self, repository: &Repository, dir: &Path, hook: &str) -> Result<Step, Error> {
        let path = dir.join(hook);
        let text = self.script(hook);
        let changed = match look(&path, hook)? {
            HookFile::Foreign => {
                return Err(Error::usage(format!("another hook is in the way: `{}`", path.display()))
                    .hint("refgate does not overwrite it: move it away, or run refgate's command from it"));
            }
            HookFile::Ours(there) if there == text => false,
            HookFile::Ours(there) if !names_project(&there, &self.project) => {
                return Err(Error::usage(format!(
                    "`{}` is the hook of another project: the directory is shared",
                    path.display()
                ))
                .hint("give each repository its own hooks: `git config core.hooksPath hooks` in each"));
            }
            _ => true,
        };
        if changed {
            repository.files().replace_program(&path, &text)?;
        }
        Ok(Step { what: format!("the hook {}", path.display()), changed })
    }

    fn take_away(&self, dir: &Path, hook: &str) -> Result<Option<Step>, Error> {
        let path = dir.join(hook);
        match look(&path, hook)? {
            HookFile::Ours(text) if names_project(&text, &self.project) => {
                fs::remove_file(&path).map_err(|e| GitError::io("remove the hook", &path, &e))?;
                Ok(Some(Step { what: format!("no hook {}", path.display()), changed: true }))
            }
            _ => Ok(None),
        }
    }

    /// The text of a hook.
    pub fn script(&self, hook: &str) -> Vec<u8> {
        let kinds = match (hook, self.audit, self.backstop) {
            (PROC_RECEIVE | POST_RECEIVE, ..) | (_, false, false) => "",
            (_, true, true) => ", audit backstop",
            (_, true, false) => ", audit",
            (_, false, true) => ", backstop",
        };
        let mut text = format!(
            "#!/bin/sh\n# refgate hook {hook}, form 1{kinds}\n# Written by `refgate hook install`, which replaces it. Do not edit.\n"
        )
        .into_bytes();
        if hook == REFERENCE_TRANSACTION {
            // Most calls end here: git runs this several times per change.
            let states = match (self.audit, self.backstop) {
                (true, true) => "prepared|committed",
                (true, false) => "committed",
                _ => "prepared",
            };
            text.extend_from_slice(
                format!("case \"$1\" in {states}) ;; *) exit 0 ;; esac\n[ -z \"${OWN_WRITE}\" ] || exit 0\n")
                    .as_bytes(),
            );
        }
        // The shell would tell whoever pushes where the program should be.
        let gone = if hook == POST_RECEIVE { NOT_SENT } else { GONE };
        text.extend_from_slice(b"[ -x ");
        quote(&mut text, self.program.as_os_str().as_bytes());
        text.extend_from_slice(format!(" ] || {{ echo 'refgate: {gone}' >&2; exit 1; }}\n").as_bytes());
        text.extend_from_slice(b"exec ");
        quote(&mut text, self.program.as_os_str().as_bytes());
        text.extend_from_slice(b" --config ");
        quote(&mut text, self.config.as_os_str().as_bytes());
        text.extend_from_slice(format!(" hook {hook} ").as_bytes());
        if hook == POST_RECEIVE {
            self.replicate.iter().flatten().for_each(|remote| text.extend_from_slice(&to(remote)));
        }
        quote(&mut text, self.project.as_str().as_bytes());
        text.extend_from_slice(if hook == REFERENCE_TRANSACTION { b" \"$1\"\n" } else { b"\n" });
        text
    }
}

impl Hooks {
    /// The same; where nobody said to which remotes what is pushed goes on, to those of an installed hook.
    ///
    /// # Errors
    /// A hook that cannot be read.
    pub fn renewing<'r>(
        self,
        repository: &Repository,
        remotes: impl Iterator<Item = &'r String>,
    ) -> Result<Hooks, Error> {
        Ok(match (&self.replicate, look(&hooks_dir(repository)?.join(POST_RECEIVE), POST_RECEIVE)?) {
            (None, HookFile::Ours(text)) => self.sending_as(&text, remotes),
            _ => self,
        })
    }

    /// The same with those of `remotes` to which the hook in `text` sends.
    pub(super) fn sending_as<'r>(mut self, text: &[u8], remotes: impl Iterator<Item = &'r String>) -> Hooks {
        let sends = |remote: &&String| {
            let to = to(remote);
            text.windows(to.len()).any(|part| part == to)
        };
        let mut all: Vec<String> = remotes.filter(sends).cloned().collect();
        all.sort();
        self.replicate = Some(all);
        self
    }
}

/// What a pusher reads where the program is gone.
const GONE: &str = "this site takes no pushes now: ask its operators";
/// The same where the push is done.
const NOT_SENT: &str = "your push is stored here, and could not be sent on: tell the operators of this site";

/// A remote, as an argument of the hook that sends on.
fn to(remote: &str) -> Vec<u8> {
    let mut text = b"--to ".to_vec();
    quote(&mut text, remote.as_bytes());
    text.push(b' ');
    text
}

/// What is at `path`.
pub(super) fn look(path: &Path, hook: &str) -> Result<HookFile, GitError> {
    let marker = format!("# refgate hook {hook}, form ");
    match fs::read(path) {
        Ok(text) => {
            let second = text.split(|b| *b == b'\n').nth(1).unwrap_or_default();
            let ours = second.starts_with(marker.as_bytes());
            Ok(if ours { HookFile::Ours(text) } else { HookFile::Foreign })
        }
        // What cannot be read as a file is not ours.
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            Ok(HookFile::Missing)
        }
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(GitError::io("read the hook", path, &e)),
        Err(_) => Ok(HookFile::Foreign),
    }
}

/// Whether a hook of ours is the one of `project`.
pub(super) fn names_project(text: &[u8], project: &Project) -> bool {
    let mut quoted = Vec::new();
    quote(&mut quoted, project.as_str().as_bytes());
    let last = text.strip_suffix(b"\n").unwrap_or(text).rsplit(|b| *b == b'\n').next().unwrap_or_default();
    last.strip_suffix(b" \"$1\"").unwrap_or(last).ends_with(&[b" ".as_slice(), &quoted].concat())
}

/// One word of the shell, whatever is in it.
fn quote(text: &mut Vec<u8>, word: &[u8]) {
    text.push(b'\'');
    for byte in word {
        match byte {
            b'\'' => text.extend_from_slice(b"'\\''"),
            _ => text.push(*byte),
        }
    }
    text.push(b'\'');
}

/// Pushes into the repository what the hook must refuse, and looks whether it did.
///
/// # Errors
/// When git refused it, or let it pass, without asking the hook.
pub fn self_test(repository: &Repository, project: &Project) -> Result<(), Error> {
    let url = RemoteUrl::parse(&repository.git_dir().to_string_lossy())?;
    match unanswered(repository, &url, project)? {
        None => Ok(()),
        Some(said) => Err(Error::failed(format!("the test push was not answered by the hook: {said}")).hint(
            format!("look at `git config --show-origin --get-all {REFS_KEY}` there, and run the hook's command by hand"),
        )),
    }
}

/// Pushes to `url` what the hook there must refuse. `None`: it did; else who answered instead. Nothing moves either way.
///
/// # Errors
/// A push that breaks.
pub(crate) fn unanswered(
    repository: &Repository,
    url: &RemoteUrl,
    project: &Project,
) -> Result<Option<String>, GitError> {
    let name = RefName::new("refs/refgate/self-test").map_err(|e| GitError::new(e.to_string()))?;
    // A deletion needs no objects, so it works in an empty repository, too.
    let dummy = Oid::from_bytes(&vec![0x11; repository.object_format().oid_len()])
        .map_err(|e| GitError::new(e.to_string()))?;
    let session = PushSession::open(repository.git_dir(), url, repository.object_format())?;
    let command = PushCommand { name, old: Some(dummy), new: None };
    let mut said = Vec::new();
    let statuses = session.push(&[command], &mut |line| said.push(crate::replicate::line_of(line)))?;
    let answer = match statuses.as_slice() {
        [PushStatus::Rejected(why)] if *why == Why::Own.reason(project) => return Ok(None),
        [PushStatus::Rejected(why)] => format!("git refused it with `{why}`"),
        _ => "git took it".to_owned(),
    };
    said.insert(0, answer);
    Ok(Some(said.join("; ")))
}

/// Settings of somebody else that keep git from asking the hook about all refs.
pub(super) fn unheard(repository: &Repository) -> Result<Vec<String>, GitError> {
    Ok(unheard_by(&settings(repository)?))
}

fn unheard_by(all: &[Setting]) -> Vec<String> {
    let key = REFS_KEY.to_lowercase();
    let mut out = Vec::new();
    for (_, value) in all.iter().filter(|(k, _)| *k == key) {
        let value = value.as_deref().unwrap_or_default();
        if value.starts_with('!') || value.contains(":!") {
            out.push(format!("{REFS_KEY} = {value} keeps pushes away from the hook: remove that value"));
        }
    }
    if !all.iter().any(|(k, v)| *k == key && v.as_deref() == Some(REFS_VALUE)) {
        out.push(format!("{REFS_KEY} is not `{REFS_VALUE}`: git does not run the hook for all refs"));
    }
    out
}

/// What stands in the way of the hook or of its promises although everything is installed: settings of somebody else.
pub fn warnings(repository: &Repository) -> Result<Vec<String>, GitError> {
    let all = settings(repository)?;
    let mut out = unheard_by(&all);
    if all.iter().any(|(k, v)| k == "core.hookspath" && v.as_deref().is_some_and(|v| v.starts_with('/'))) {
        out.push("core.hooksPath is set: other repositories may run the same hooks".into());
    }
    let last =
        |key: &str| all.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_deref().unwrap_or_default());
    let fsync = last("core.fsync");
    let left_out = not_on_disk(fsync);
    if !left_out.is_empty() {
        let is = fsync.map_or("is not set".to_owned(), |value| format!("= {value}"));
        out.push(format!(
            "{FSYNC_KEY} {is}: a power cut may take what a pusher was told is accepted ({} not waited for); \
             `git config {FSYNC_KEY} {ON_DISK}` there mends it",
            left_out.join(", ")
        ));
    }
    if last("core.fsyncmethod").is_some_and(|method| method.eq_ignore_ascii_case("writeout-only")) {
        out.push(
            "core.fsyncMethod = writeout-only: git does not wait for the disk's own cache, so a power cut may take what a \
             pusher was told is accepted"
                .into(),
        );
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks() -> Hooks {
        Hooks {
            program: "/opt/it's/refgate".into(),
            config: "/etc/refgate.config".into(),
            project: Project::new("team/app").unwrap(),
            audit: false,
            backstop: false,
            replicate: None,
        }
    }

    #[test]
    fn the_hook_that_sends_on_names_its_remotes() {
        let remotes = ["b".to_owned(), "it's".to_owned(), "c".to_owned()];
        let two = Hooks { replicate: Some(remotes[..2].to_vec()), ..hooks() };
        let text = two.script(POST_RECEIVE);
        let last = r"exec '/opt/it'\''s/refgate' --config '/etc/refgate.config' hook post-receive --to 'b' --to 'it'\''s' 'team/app'";
        assert_eq!(String::from_utf8(text.clone()).unwrap().lines().last(), Some(last));
        assert!(names_project(&text, &hooks().project));
        assert_eq!(hooks().sending_as(&text, remotes.iter()), two);
    }

    #[test]
    fn a_hook_runs_this_program_with_this_configuration() {
        let text = String::from_utf8(hooks().script(PROC_RECEIVE)).unwrap();
        assert!(text.starts_with("#!/bin/sh\n# refgate hook proc-receive, form 1\n"), "{text}");
        let last = r"exec '/opt/it'\''s/refgate' --config '/etc/refgate.config' hook proc-receive 'team/app'";
        assert_eq!(text.lines().last(), Some(last));
        let audit = Hooks { audit: true, ..hooks() };
        let text = String::from_utf8(audit.script(REFERENCE_TRANSACTION)).unwrap();
        assert!(text.contains("case \"$1\" in committed)") && text.contains("$REFGATE_OWN_WRITE"), "{text}");
        assert!(text.ends_with("'team/app' \"$1\"\n"), "{text}");
    }

    #[test]
    fn ours_is_told_from_others_and_from_another_projects() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(PROC_RECEIVE);
        assert_eq!(look(&path, PROC_RECEIVE).unwrap(), HookFile::Missing);
        let text = hooks().script(PROC_RECEIVE);
        fs::write(&path, &text).unwrap();
        assert_eq!(look(&path, PROC_RECEIVE).unwrap(), HookFile::Ours(text.clone()));
        assert_eq!(look(&path, REFERENCE_TRANSACTION).unwrap(), HookFile::Foreign);
        assert!(names_project(&text, &hooks().project));
        assert!(!names_project(&text, &Project::new("app").unwrap()), "the end of a name is not the name");
        let audit = Hooks { audit: true, ..hooks() }.script(REFERENCE_TRANSACTION);
        assert!(names_project(&audit, &hooks().project));
        fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
        assert_eq!(look(&path, PROC_RECEIVE).unwrap(), HookFile::Foreign);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert_eq!(look(&path, PROC_RECEIVE).unwrap(), HookFile::Foreign, "a link that leads nowhere");
    }
}
