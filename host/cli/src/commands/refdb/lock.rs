//! `refdb lock`: holds the lock of a ref while a command runs.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use refgate_core::refdb::while_renewed;
use refgate_core::{Deadline, LockToken, Project, RefName};
use refgate_host::Error;

use super::Db;
use crate::output::warn;

/// Where the command finds the fence of the lock that is held for it.
const FENCE: &str = "REFGATE_FENCE";

/// Runs `command` under the lock, and ends with its exit code; 128 and the signal when one killed it.
pub async fn run(
    db: &Db,
    project: &Project,
    name: &RefName,
    wait: Duration,
    lease: Duration,
    command: Vec<OsString>,
) -> Result<u8, Error> {
    let Some((least, most)) = db.refdb.capabilities().lease else {
        let kind = db.refdb.capabilities().name;
        return Err(Error::failed(format!("the ref-db `{kind}:` has no locks")));
    };
    let lease = lease.clamp(least, most);
    let deadline = Deadline::after(db.clock.as_ref(), wait);
    let lock = db.refdb.lock(project, name, lease, deadline).await?;
    let fence = to_text(lock.token());
    let work = tokio::task::spawn_blocking(move || {
        let (program, arguments) = command.split_first()?;
        Some((program.clone(), Command::new(program).args(arguments).env(FENCE, fence).status()))
    });
    let done = while_renewed(lock.as_ref(), lease, db.clock.as_ref(), work).await;
    if !lock.is_valid() {
        warn(&format!(
            "the lock of `{name}` was lost while the command ran; what it wrote with its fence was refused since then"
        ));
    }
    lock.release(db.deadline()).await?;
    match done {
        Ok(Some((_, Ok(status)))) => {
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
            Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
        Ok(Some((program, Err(e)))) => {
            Err(Error::failed(format!("cannot run `{}`: {e}", program.to_string_lossy())))
        }
        Ok(None) => Err(Error::usage("there is no command to run")),
        Err(died) => Err(Error::failed(format!("a worker thread died: {died}"))),
    }
}

/// `NUMBER:HOLDER:REF`; bytes that could be mistaken are `%XX`.
fn to_text(token: &LockToken) -> String {
    let holder = refgate_core::escape(token.holder.as_bytes()).replace(':', "%3A");
    format!("{}:{holder}:{}", token.fence, token.name)
}

/// What [`to_text`] wrote.
pub fn from_text(text: &str) -> Result<LockToken, Error> {
    let wrong = || {
        Error::usage(format!("`{text}` is no fence"))
            .hint(format!("`refgate refdb lock` gives one to the command that it runs, in `{FENCE}`"))
    };
    let (fence, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (holder, name) = rest.split_once(':').ok_or_else(wrong)?;
    let holder = String::from_utf8(refgate_core::unescape(holder)).map_err(|_| wrong())?;
    Ok(LockToken {
        name: RefName::from_escaped(name).map_err(|_| wrong())?,
        fence: fence.parse().map_err(|_| wrong())?,
        holder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_are_read_back() {
        let token = LockToken {
            name: RefName::new(b"refs/heads/\xff%").unwrap(),
            fence: 7,
            holder: "/locks/p:q/%é".into(),
        };
        assert_eq!(from_text(&to_text(&token)), Ok(token));
        assert!(from_text("7").is_err() && from_text("x:y:refs/heads/a").is_err());
    }
}
