//! `hook proc-receive`: one push, from git's protocol to the answer.

use std::io;
use std::path::Path;

use refgate_core::Project;
use refgate_git::receive::Request;
use refgate_host::Error;
use refgate_host::gated::{Push, Received, receive};

use super::{note_for_operators, open_here, site};
use crate::output;
use crate::system::{unique_id, unix_time};

/// Reads what is pushed, does it, answers. Whatever goes wrong before a ref moves is the answer for all of them.
pub async fn run(file: &Path, project: &Project) -> Result<u8, Error> {
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    let broken = |e: io::Error| {
        Error::failed(format!("git and its hook proc-receive do not understand each other: {e}"))
    };
    let request = Request::read(&mut from, &mut to).map_err(broken)?;
    let received = match std::env::var_os("GIT_NAMESPACE").is_some_and(|namespace| !namespace.is_empty()) {
        true => Received::refused(
            request.commands.len(),
            "git namespaces hide which ref is meant, so nothing is written in one",
            Some("push to the repository itself"),
        ),
        false => work(file, project, &request)
            .await
            .unwrap_or_else(|e| Received::unable(&Push::new("", &request), &e, unix_time().as_secs())),
    };
    note_for_operators(&received.operators);
    received.details.iter().for_each(|line| output::note(&format!("refgate: {line}")));
    // A git that is gone gets no answer; the refs have moved all the same, so the write is ended either way.
    let answered = request.answer(&received.answers, &mut to);
    received.end().await;
    answered.map(|()| 0).map_err(broken)
}

async fn work(file: &Path, project: &Project, request: &Request) -> Result<Received, Error> {
    let opened = open_here(site::config(file)?, project).await?;
    let (site, repository) = opened.ok_or_else(|| {
        Error::usage(format!("this hook is for the project `{project}` in another repository"))
            .hint("run `refgate hook install` for the project of this repository, or remove the hook")
    })?;
    receive(&site, project, &repository, Push::new(unique_id()?, request)).await
}
