//! What replication says about itself to the hook of a gated remote.

use std::sync::Arc;

use refgate_core::{Project, escape};
use refgate_git::{PushSession, Seal};

use crate::gated::seal::{Sealed, Secrets};
use crate::gated::{REFDB, REPLICATION};
use crate::known::mark_of;
use crate::{Error, Site};

/// The push options of one replication: that it is one, because the ref-db moved already, when a client wrote; which
/// ref-db that is, because the mark says nothing about another one; and, with a secret, a seal.
#[derive(Clone)]
pub(super) struct Marks {
    options: Vec<String>,
    seal: Option<Seal>,
}

impl Marks {
    /// # Errors
    /// A secret that cannot be used: without a seal, sites that have it take nothing.
    pub(super) fn of(site: &Site, project: &Project) -> Result<Marks, Error> {
        let config = &site.gate.config().site;
        let mark = format!("{REPLICATION}{}", escape(config.name.as_deref().unwrap_or("unnamed").as_bytes()));
        let refdb = mark_of(site.gate.refdb()).map(|mark| mark.identity);
        let options = [Some(mark.clone()), refdb.as_ref().map(|identity| format!("{REFDB}{identity}"))];
        let secrets = config.secret_file.as_deref().map(Secrets::read).transpose()?;
        let project = project.clone();
        let seal = secrets.map(|secrets| -> Seal {
            Arc::new(move |commands| {
                let what = Sealed { project: &project, mark: &mark, refdb: refdb.as_deref() };
                secrets.seal(&what, commands.iter().map(|c| (c.name.as_bytes(), c.old, c.new)))
            })
        });
        Ok(Marks { options: options.into_iter().flatten().collect(), seal })
    }

    /// The session with them, as far as the remote takes push options.
    pub(super) fn on(&self, session: PushSession) -> PushSession {
        let session = self.options.iter().fold(session, |session, option| session.with_option(option));
        match &self.seal {
            Some(seal) => session.sealed(seal.clone()),
            None => session,
        }
    }
}
