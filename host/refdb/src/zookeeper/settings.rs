//! What the URL and the configuration say of an ensemble, checked before anything is connected.

use std::time::Duration;

use refgate_core::{RefDbError, RefDbErrorKind};
use zookeeper_client::{Acls, Client, Connector};

use super::error::about;
use super::layout::Layout;
use crate::access::Secret;
use crate::url::Remote;

/// The session timeout that is asked for; the server has the last word.
const SESSION: Duration = Duration::from_secs(10);
/// A server that is silent for so long is left for another one.
const SILENCE: Duration = Duration::from_secs(2);

/// How to reach an ensemble, and how to behave there.
pub(super) struct Settings {
    /// The URL without secrets.
    pub shown: String,
    pub servers: Vec<String>,
    pub layout: Layout,
    /// Whether a read first catches up with everything that was written before it.
    pub sync: bool,
    pub tls: bool,
    session: Duration,
    user: Option<(String, Secret)>,
    #[cfg(feature = "zookeeper-tls")]
    certificates: Option<zookeeper_client::TlsOptions>,
}

impl Settings {
    /// Reads options, password and certificates.
    pub(super) fn new(remote: &Remote) -> Result<Settings, RefDbError> {
        let wrong = |what: &str| about(RefDbErrorKind::Config, &remote.shown, what);
        let layout = Layout::new(&remote.root).map_err(|why| wrong(&format!("the root: {why}")))?;
        let (mut sync, mut session) = (true, SESSION);
        for (name, value) in &remote.options {
            match (name.as_str(), value.as_str()) {
                ("read", "sync") => sync = true,
                ("read", "local") => sync = false,
                ("read", _) => return Err(wrong("the option `read` is `sync` or `local`")),
                (_, value) => match value.parse::<u32>() {
                    Ok(ms @ 500..=3_600_000) => session = Duration::from_millis(ms.into()),
                    _ => return Err(wrong("`sessionTimeoutMs` is a number from 500 to 3600000")),
                },
            }
        }
        #[cfg(not(feature = "zookeeper-tls"))]
        if remote.access.tls.is_some() {
            return Err(wrong(
                "this build of refgate has no TLS for ZooKeeper; build it with the feature `zookeeper-tls`",
            ));
        }
        let user = match (&remote.access.user, &remote.access.password) {
            (Some(user), _) if user.contains(':') => {
                return Err(wrong("a user of ZooKeeper's digest scheme has no colon in its name"));
            }
            (Some(user), Some(password)) => Some((user.clone(), password.read()?)),
            _ => None,
        };
        Ok(Settings {
            shown: remote.shown.clone(),
            servers: remote.servers.clone(),
            layout,
            sync,
            tls: remote.access.tls.is_some(),
            session,
            user,
            #[cfg(feature = "zookeeper-tls")]
            certificates: remote
                .access
                .tls
                .as_ref()
                .map(|tls| super::tls::options(tls, wrong))
                .transpose()?,
        })
    }

    /// Who may do what with a node that we make: what Gerrit's plugin gives, too.
    pub(super) fn acls(&self) -> Acls<'static> {
        match self.user {
            Some(_) => Acls::creator_all(),
            None => Acls::anyone_all(),
        }
    }

    /// A client to be. It tries every server once.
    pub(super) fn connector(&self) -> Connector {
        let connector = Client::connector()
            .with_fail_eagerly()
            .with_session_timeout(self.session)
            .with_connection_timeout(SILENCE);
        let connector = match &self.user {
            Some((user, password)) => {
                connector.with_auth("digest", format!("{user}:{}", password.reveal()).as_bytes())
            }
            None => connector,
        };
        #[cfg(feature = "zookeeper-tls")]
        if let Some(certificates) = &self.certificates {
            return connector.with_tls(certificates.clone());
        }
        connector
    }
}
