//! How git is started: never with somebody else's repository, prompt, locale or configuration in the environment.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::child::Guarded;
use crate::files::owner::Owner;
use crate::limits::{self, Pulse, Silence, Wait};
use crate::{GitError, GitErrorKind};

/// Set for every git that refgate starts in a repository: its hooks tell refgate's own writes by it. What git starts in
/// turn inherits it, so a process that acts for somebody else must not.
pub const OWN_WRITE: &str = "REFGATE_OWN_WRITE";

/// Variables that would point git at another repository, another object store or other settings. A hook's environment
/// holds several of them.
const FOREIGN: [&str; 17] = [
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
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_PROTOCOL",
    "GIT_DEFAULT_REF_FORMAT",
    "GIT_REFERENCE_BACKEND",
];

/// Settings in the environment. On a command line somebody meant them, and git would read them; in a hook they are those
/// of whoever pushed, or of the git that runs the hook.
const SETTINGS: [&str; 2] = ["GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"];

/// Any program, with nothing of a foreign repository in its environment: for what acts at the other end.
pub(crate) fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in FOREIGN.iter().chain(&SETTINGS) {
        command.env_remove(name);
    }
    without_passwords(&mut command);
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Variables that hold passwords: nothing that is started needs them.
static WITHHELD: Mutex<Vec<OsString>> = Mutex::new(Vec::new());

/// From now on no program that this process starts for its work inherits these variables of the environment.
pub fn withhold(names: impl IntoIterator<Item = OsString>) {
    let mut withheld = WITHHELD.lock().unwrap_or_else(PoisonError::into_inner);
    for name in names {
        // One that no environment can hold is not there.
        let is_name = !name.is_empty() && !name.as_encoded_bytes().iter().any(|b| matches!(b, b'=' | 0));
        if is_name && !withheld.contains(&name) {
            withheld.push(name);
        }
    }
}

/// Takes passwords out of what `command` inherits.
pub(crate) fn without_passwords(command: &mut Command) {
    for name in WITHHELD.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        command.env_remove(name);
    }
}

/// Settings for one call of git, where no list of processes shows them.
pub(crate) fn set(git: &mut Command, settings: &[(String, String)]) {
    let count = |command: &Command| {
        let set = command.get_envs().find(|(name, _)| *name == OsStr::new(SETTINGS[1]))?.1?;
        set.to_str()?.parse::<usize>().ok()
    };
    let from = count(git).unwrap_or(0);
    for (i, (key, value)) in settings.iter().enumerate() {
        git.env(format!("GIT_CONFIG_KEY_{}", from + i), key);
        git.env(format!("GIT_CONFIG_VALUE_{}", from + i), value);
    }
    git.env(SETTINGS[1], (from + settings.len()).to_string());
}

/// `git` with a clean environment, reading nothing but the objects that are here. Settings in the environment count as
/// git counts them, but in a hook.
pub(crate) fn git() -> Command {
    let mut command = clean("git");
    // Git names the repository to every hook that it starts.
    if env::var_os("GIT_DIR").is_none() {
        for name in SETTINGS {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
    }
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

/// Runs `command` to its end with `input` on its standard input, for as long as a local process may take.
pub(crate) fn run(mut command: Command, input: Vec<u8>) -> Result<Output, GitError> {
    let what = describe(&command);
    let limit = limits::local();
    let mut stdout = Vec::new();
    let mut keep = |part: &[u8]| {
        stdout.extend_from_slice(part);
        true
    };
    let waited = Wait::silent("running", limit);
    let ran = run_watched(&mut command, input, waited, &mut keep, &mut |_| true)?;
    let output = ran.map_err(|_| {
        GitError::new(format!("{what} did nothing that can be seen for {} and was ended", limits::shown(limit)))
            .kind(GitErrorKind::Silent)
            .hint("look at the disk of the repository and its load; `site.gitTimeout` sets the time that a local git may take")
    })?;
    Ok(Output { stdout, ..output })
}

/// Who is shown what a command prints, in pieces as it comes; `false` ends the command.
pub(crate) type Seen<'a> = dyn FnMut(&[u8]) -> bool + 'a;

/// Runs `command` to its end with `input` on its standard input; threads feed and drain it, so that no side blocks. What
/// it prints goes to `out` and to `err` and is not kept, but for the end of its standard error. The inner error is that
/// it did not get on as `wait` says, and was ended.
pub(crate) fn run_watched(
    command: &mut Command,
    input: Vec<u8>,
    wait: Wait,
    out: &mut (dyn FnMut(&[u8]) -> bool + Send),
    err: &mut Seen<'_>,
) -> Result<Result<Output, Silence>, GitError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let what = describe(command);
    let mut process = Guarded::spawn(command, wait)?;
    let child = &mut process.child;
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(GitError::new(format!("a pipe of {what} is missing")));
    };
    let pulse = process.pulse().clone();
    let mut words = Vec::new();
    let (fed, drained, said) = thread::scope(|scope| {
        // A command that stops reading early says why on its own standard error.
        let feeder = scope.spawn(move || match stdin.write_all(&input) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e),
            _ => Ok(()),
        });
        let drained = scope.spawn(|| drain(stdout, &pulse, out));
        let said = drain(stderr, &pulse, &mut |part| {
            words.extend_from_slice(part);
            if words.len() > 2 * WORDS {
                words.drain(..words.len() - WORDS);
            }
            err(part)
        });
        (feeder.join(), drained.join(), said)
    });
    let status = process.wait();
    if let Some(silence) = process.silence() {
        return Ok(Err(silence));
    }
    let died = || GitError::new(format!("a thread that talks to {what} died"));
    let unread = |e: io::Error| GitError::new(format!("cannot read what {what} prints: {e}"));
    fed.map_err(|_| died())?.map_err(|e| GitError::new(format!("cannot write to {what}: {e}")))?;
    drained.map_err(|_| died())?.map_err(unread)?;
    said.map_err(unread)?;
    Ok(Ok(Output { status: status.map_err(unread)?, stdout: Vec::new(), stderr: words }))
}

/// What is kept of the words of a command, in bytes: the last ones.
const WORDS: usize = 1024 * 1024;

/// Reads up to the end of `from`. When `seen` has had enough, the other side is ended, and the rest is read for nobody.
fn drain(mut from: impl Read, pulse: &Pulse, seen: &mut Seen<'_>) -> io::Result<()> {
    let (mut buffer, mut enough) = (vec![0; 64 * 1024], false);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) if enough => {}
            Ok(n) => {
                pulse.beat();
                enough = !seen(&buffer[..n]);
                if enough {
                    pulse.stop();
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Keeps the first `most` bytes of what it is shown, and lets the rest pass.
pub(crate) fn first_bytes(kept: &mut Vec<u8>, most: usize) -> impl FnMut(&[u8]) -> bool + Send {
    move |part| {
        let room = most.saturating_sub(kept.len());
        kept.extend_from_slice(&part[..part.len().min(room)]);
        true
    }
}

/// `command`, that and whatever it starts with at most so many bytes of memory each. Where the shell cannot bound it, it is
/// not bound.
pub(crate) fn within_memory(command: &Command, bytes: u64) -> Command {
    let script = format!("ulimit -d {} 2>/dev/null; exec \"$@\"", bytes / 1024);
    let mut bound = Command::new("sh");
    bound.arg("-c").arg(script).arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        bound.current_dir(dir);
    }
    bound
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
    GitError::new(format!("{what} failed: {}", said(output)))
}

/// The words of a command that failed, in one line.
pub(crate) fn said(output: &Output) -> String {
    let said = one_line(&output.stderr);
    if said.is_empty() { output.status.to_string() } else { said }
}

/// What git printed, in one line. An old git advises about grafts, whatever the matter is.
pub(crate) fn one_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("hint:"));
    lines.collect::<Vec<_>>().join("; ")
}

/// `git` and its first argument that is no option of git itself.
pub(crate) fn describe(command: &Command) -> String {
    let mut args = command.get_args();
    while let Some(arg) = args.next() {
        if arg == OsStr::new("git") {
            // Started by a shell that bounds it.
        } else if arg == OsStr::new("--git-dir") || arg == OsStr::new("-c") || arg == OsStr::new("-C") {
            args.next();
        } else if !arg.as_encoded_bytes().starts_with(b"-") {
            return format!("`git {}`", arg.display());
        }
    }
    "`git`".into()
}
