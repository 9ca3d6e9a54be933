//! How git is started: never with somebody else's repository, prompt, locale or configuration in the environment.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use crate::GitError;
use crate::files::owner::Owner;

/// Set for every git that refgate starts in a repository: its hooks tell refgate's own writes by it. What git starts in
/// turn inherits it, so a process that acts for somebody else must not.
pub const OWN_WRITE: &str = "REFGATE_OWN_WRITE";

/// Variables that would point git at another repository, another object store or other settings. A hook's environment
/// holds several of them.
const FOREIGN: [&str; 19] = [
    OWN_WRITE,
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_PROTOCOL",
    "GIT_DEFAULT_REF_FORMAT",
    "GIT_REFERENCE_BACKEND",
];

/// Any program, with nothing of a foreign repository in its environment: for what acts at the other end.
pub(crate) fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in FOREIGN {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// `git` with a clean environment, reading nothing but the objects that are here.
pub(crate) fn git() -> Command {
    let mut command = clean("git");
    command
        .env(OWN_WRITE, "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_GRAFT_FILE", "/dev/null")
        // Else the line before makes git talk about grafts first, whatever the matter is.
        .env("GIT_ADVICE", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_OPTIONAL_LOCKS", "0");
    command
}

/// `git` in the repository whose git directory is `git_dir`; started by root, it runs as the owner of the repository.
pub(crate) fn git_in(git_dir: &Path) -> Command {
    let mut command = git_as_caller_in(git_dir);
    if let Some(owner) = Owner::to_serve(git_dir) {
        owner.run(&mut command);
    }
    command
}

/// The same as whoever started refgate: for what needs the caller's own credentials. What it makes has to be given to the
/// owner afterwards, see [`after_transfer`](crate::files::durable::after_transfer).
pub(crate) fn git_as_caller_in(git_dir: &Path) -> Command {
    let mut command = git();
    command.arg("--git-dir").arg(git_dir);
    command
}

/// Runs `command` to its end with `input` on its standard input; a thread feeds it, so that neither side blocks.
pub(crate) fn run(mut command: Command, input: Vec<u8>) -> Result<Output, GitError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(&mut command)?;
    let stdin = child.stdin.take();
    let feeder = thread::spawn(move || match stdin {
        // A command that stops reading early says why on its own standard error.
        Some(mut stdin) => stdin.write_all(&input).or_else(|e| match e.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(e),
        }),
        None => Ok(()),
    });
    let output = child
        .wait_with_output()
        .map_err(|e| GitError::new(format!("cannot read what {} prints: {e}", describe(&command))))?;
    match feeder.join() {
        Ok(Ok(())) => Ok(output),
        Ok(Err(e)) => Err(GitError::new(format!("cannot write to {}: {e}", describe(&command)))),
        Err(_) => Err(GitError::new(format!("the thread that feeds {} died", describe(&command)))),
    }
}

/// The same, and an error with git's own words when the exit status is not zero.
pub(crate) fn run_ok(command: Command, input: Vec<u8>) -> Result<Vec<u8>, GitError> {
    let what = describe(&command);
    let output = run(command, input)?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(failed(&what, &output)),
    }
}

/// Starts a command; a missing program is named.
pub(crate) fn spawn(command: &mut Command) -> Result<Child, GitError> {
    command.spawn().map_err(|e| {
        let error = GitError::new(format!("cannot start `{}`: {e}", command.get_program().display()));
        match e.kind() {
            io::ErrorKind::NotFound => error.hint("install it, or put it on the PATH"),
            _ => error,
        }
    })
}

/// The error for a command that ran and failed.
pub(crate) fn failed(what: &str, output: &Output) -> GitError {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = stderr.trim();
    GitError::new(format!(
        "{what} failed: {}",
        if said.is_empty() { output.status.to_string() } else { said.into() }
    ))
}

/// `git` and its first argument that is no option of git itself.
pub(crate) fn describe(command: &Command) -> String {
    let mut args = command.get_args();
    while let Some(arg) = args.next() {
        if arg == OsStr::new("--git-dir") || arg == OsStr::new("-c") || arg == OsStr::new("-C") {
            args.next();
        } else if !arg.as_encoded_bytes().starts_with(b"-") {
            return format!("`git {}`", arg.display());
        }
    }
    "`git`".into()
}
