//! What etcd's errors mean: whether a write may have been applied, and what a person can do.

use std::error::Error as _;

use etcd_client::Error;
use refgate_core::{RefDbError, RefDbErrorKind};
use tonic::{Code, ConnectError, Status};

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection: nothing was sent.
    NotReached(String),
    /// The connection broke, or the server had trouble on the way: a write may have been applied.
    Broken(String),
    /// The server answered, and did nothing.
    Refused(RefDbErrorKind, String),
    /// More operations in one request than the server takes. It did nothing.
    TooManyOps(String),
    /// More bytes in one request than the server takes. It did nothing.
    TooManyBytes(String),
    /// The revision that was asked for is not there any more.
    Compacted,
    /// There is no such lease: it ran out or was revoked.
    NoLease,
    /// The users or their rights changed since this client logged in. The server did nothing.
    LoginOutdated,
    /// Said in full already.
    Told(RefDbError),
}

impl From<RefDbError> for Failure {
    fn from(e: RefDbError) -> Failure {
        Failure::Told(e)
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        match e {
            Error::GRpcStatus(status) => of_status(&status),
            Error::LeaseKeepAliveError(why) if why.contains("lease not found") => Failure::NoLease,
            Error::LeaseKeepAliveError(why) | Error::WatchError(why) => Failure::Broken(why),
            Error::IoError(e) => Failure::Broken(e.to_string()),
            // What remains comes from our own options, before anything is sent. Some texts hold what they are about.
            Error::TransportError(e) => Failure::Refused(
                RefDbErrorKind::Config,
                format!("the options of the connection cannot be used ({}); correct them", chain(&e)),
            ),
            _ => Failure::Refused(
                RefDbErrorKind::Config,
                "the address or the user cannot be used; correct the url".to_owned(),
            ),
        }
    }
}

/// An error and what caused it, each once.
fn chain(e: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut at = Some(e);
    while let Some(e) = at {
        let text = e.to_string();
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        at = e.source();
    }
    parts.join(": ")
}

fn of_status(status: &Status) -> Failure {
    let message = status.message();
    let said = message.strip_prefix("etcdserver: ").unwrap_or(message).to_owned();
    let refused = |kind, what: &str| Failure::Refused(kind, format!("{what} ({said})"));
    if let Some(source) = status.source() {
        return of_connection(source);
    }
    match status.code() {
        Code::Unauthenticated => refused(RefDbErrorKind::Auth, "the server does not accept the user"),
        Code::PermissionDenied => refused(
            RefDbErrorKind::Auth,
            "the user may not do this; grant it read and write below the prefix",
        ),
        Code::InvalidArgument if message.contains("revision of auth store is old") => Failure::LoginOutdated,
        Code::InvalidArgument if message.contains("invalid user ID or password") => {
            refused(RefDbErrorKind::Auth, "the user or the password is wrong")
        }
        Code::InvalidArgument | Code::FailedPrecondition if message.contains("user name") => refused(
            RefDbErrorKind::Auth,
            "the server wants a user that it knows; set `user` and `passwordFile`",
        ),
        Code::FailedPrecondition if message.contains("authentication is not enabled") => refused(
            RefDbErrorKind::Auth,
            "the server knows no users; drop `user` and the password, or enable authentication there",
        ),
        Code::InvalidArgument if message.contains("too many operations") => Failure::TooManyOps(said),
        Code::InvalidArgument if message.contains("request is too large") => Failure::TooManyBytes(said),
        // From the layer below etcd: the request is larger than what a server reads at all.
        Code::ResourceExhausted if message.contains("larger than max") => Failure::TooManyBytes(said),
        Code::ResourceExhausted if message.contains("database space exceeded") => refused(
            RefDbErrorKind::Unavailable,
            "the server is out of space; compact, defragment, and disarm its alarm",
        ),
        Code::ResourceExhausted if message.starts_with("etcdserver: ") => {
            refused(RefDbErrorKind::Unavailable, "the server has too much to do; try again")
        }
        Code::OutOfRange if message.contains("compacted") => Failure::Compacted,
        Code::NotFound if message.contains("lease not found") => Failure::NoLease,
        Code::Unimplemented => refused(
            RefDbErrorKind::Config,
            "what answers there is no etcd server with the v3 interface; correct the url",
        ),
        Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound | Code::AlreadyExists => {
            refused(RefDbErrorKind::Unavailable, "the server refuses the request")
        }
        Code::DataLoss => refused(RefDbErrorKind::Corrupt, "the server reports damage; look at its log"),
        code => Failure::Broken(if said.is_empty() { code.description().to_owned() } else { said }),
    }
}

/// The code of an error that arose on this side says nothing: what is behind it tells whether anything was sent.
fn of_connection(source: &(dyn std::error::Error + 'static)) -> Failure {
    let text = chain(source);
    let mut at = Some(source);
    let not_connected = std::iter::from_fn(|| {
        let e = at?;
        at = e.source();
        Some(e)
    })
    .any(|e| e.is::<ConnectError>());
    // This one comes when the connection seems to be made already; the server has read nothing of the request.
    if text.contains("received fatal alert") && (text.contains("ertificate") || text.contains("UnknownCA")) {
        let what = "the server does not accept the certificate of this client, or its lack of one; name `certFile` and `keyFile`";
        return Failure::Refused(RefDbErrorKind::Auth, format!("{what} ({text})"));
    }
    if !not_connected {
        return Failure::Broken(text);
    }
    if text.contains("invalid peer certificate") {
        let what = "the certificate of the server is not accepted; name the right `caFile`, and the host as in the certificate";
        return Failure::Refused(RefDbErrorKind::Auth, format!("{what} ({text})"));
    }
    if text.contains("received corrupt message") || text.contains("handshake eof") {
        let what =
            "what answers there speaks no TLS; drop `tls`, `caFile` and `certFile`, or correct the url";
        return Failure::Refused(RefDbErrorKind::Config, format!("{what} ({text})"));
    }
    Failure::NotReached(text)
}

/// An error about the store that `shown` names.
pub(super) fn about(kind: RefDbErrorKind, shown: &str, what: &str) -> RefDbError {
    RefDbError::new(kind, format!("ref-db `{shown}`: {what}"))
}

impl Failure {
    /// For the caller. `wrote` says that the request was a write; `proven` that an etcd server has answered before.
    pub(super) fn told(self, shown: &str, wrote: bool, proven: bool) -> RefDbError {
        let (kind, what) = match self {
            Failure::Told(e) => return e,
            Failure::NotReached(why) => (
                RefDbErrorKind::Unavailable,
                format!(
                    "no server can be reached ({why}), nothing was written; check the servers and try again"
                ),
            ),
            Failure::Broken(why) if wrote => (
                RefDbErrorKind::Indeterminate,
                format!(
                    "the write may or may not have happened ({why}); read the refs again before anything else"
                ),
            ),
            Failure::Broken(why) if proven => (
                RefDbErrorKind::Unavailable,
                format!(
                    "the server gives no answer ({why}), nothing was written; check the servers and try again"
                ),
            ),
            Failure::Broken(why) => (
                RefDbErrorKind::Unavailable,
                format!(
                    "no etcd server answers ({why}), nothing was written; check the host and the port, and whether the server wants TLS (`tls=true` or `caFile=FILE`) or a certificate of this client (`certFile` and `keyFile`)"
                ),
            ),
            Failure::Refused(kind, what) => (kind, what),
            Failure::TooManyOps(why) | Failure::TooManyBytes(why) => (
                RefDbErrorKind::TooLarge,
                format!(
                    "the server takes no request of this size ({why}), nothing was written; split it, or raise `--max-txn-ops` or `--max-request-bytes` of the server"
                ),
            ),
            Failure::Compacted => (
                RefDbErrorKind::Unavailable,
                "the server compacted its history while it was read; try again, and compact less often"
                    .to_owned(),
            ),
            Failure::NoLease => (
                RefDbErrorKind::Unavailable,
                "a lease ran out at once, nothing was written; try again".to_owned(),
            ),
            Failure::LoginOutdated => (
                RefDbErrorKind::Auth,
                "the users of the server change all the time, nothing was written; try again".to_owned(),
            ),
        };
        about(kind, shown, &what)
    }

    /// Whether another server, or a new connection, may do better.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(self, Failure::NotReached(_) | Failure::Broken(_))
    }
}
