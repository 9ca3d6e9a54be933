//! The one table of every key: the reader checks against it, and the reference for people is made from it.

use super::keys::{KeyDoc, Kind, Subsection};

use Kind::{
    Boolean, Count, Hours, Millis, Path, Percent, PositiveMillis, RemoteUrl, Rule, Text, Time, Verify, Writes,
};
use Subsection::{Any, Named, None as Plain};

/// Every key, in the order of the documentation.
pub fn reference() -> &'static [KeyDoc] {
    KEYS
}

const fn one(
    section: &'static str,
    subsection: Subsection,
    key: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> KeyDoc {
    KeyDoc { section, subsection, key, kind, default, multi: false, used: true, doc }
}

const fn many(
    section: &'static str,
    subsection: Subsection,
    key: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> KeyDoc {
    KeyDoc { multi: true, ..one(section, subsection, key, kind, default, doc) }
}

/// A key of Gerrit's that is accepted and does nothing here.
const fn unused(
    section: &'static str,
    subsection: Subsection,
    key: &'static str,
    kind: Kind,
    doc: &'static str,
) -> KeyDoc {
    KeyDoc { used: false, multi: true, ..one(section, subsection, key, kind, "", doc) }
}

const REFDB: &str = "ref-database";
const RULES: Subsection = Named("enforcementRules");
const PUSH: Subsection = Named("push-filter");
const FETCH: Subsection = Named("fetch-filter");
const MIN_WAIT: &str = "minWaitBeforeReloadLocalVersionMs";
const MAX_WAIT: &str = "maxRandomWaitBeforeReloadLocalVersionMs";
const EVERYTHING: &str = "+refs/*:refs/*";

static KEYS: &[KeyDoc] = &[
    one("site", Plain, "name", Text, "", "the name of this site, as the other sites know it"),
    one(
        "site",
        Plain,
        "basePath",
        Path,
        "git",
        "the directory of the repositories: project NAME is NAME.git in it",
    ),
    one(
        "site",
        Plain,
        "writes",
        Writes,
        "ungated",
        "how client writes at this site relate to the ref-db: all go through it (gated), there are none (none), or others write too (ungated)",
    ),
    one(
        "site",
        Plain,
        "gitTimeout",
        Kind::Seconds,
        "3600",
        "how long a git on this machine may do nothing that can be seen before it is ended",
    ),
    one(
        "site",
        Plain,
        "secretFile",
        Path,
        "",
        "a file with a secret that all sites share, 16 bytes or more in a line: with it replication seals its pushes, and the hook takes none that is not sealed. The first line seals, every line is accepted; others than owner and group may not read it",
    ),
    one(
        REFDB,
        Plain,
        "enabled",
        Boolean,
        "true",
        "false: no gate, everything offered is sent and no deletion is",
    ),
    one(
        REFDB,
        Plain,
        "url",
        Text,
        "",
        "the global ref-db: `sqlite:PATH`, `zookeeper://HOST:PORT/ROOT`, `etcd://HOST:PORT/PREFIX`, `noop:`, or for tests `memory:`",
    ),
    one(REFDB, Plain, "user", Text, "", "who this site is at the ref-db server; needs a password"),
    one(
        REFDB,
        Plain,
        "passwordFile",
        Path,
        "",
        "a file whose first line is the password; only its owner may read it",
    ),
    one(
        REFDB,
        Plain,
        "passwordEnv",
        Text,
        "",
        "the environment variable that holds the password; `passwordFile` goes before it",
    ),
    one(REFDB, Plain, "tls", Boolean, "false", "true: the connection to the server is protected by TLS"),
    one(
        REFDB,
        Plain,
        "caFile",
        Path,
        "",
        "certificates that sign the server's, in PEM; without it those of the system. Turns TLS on",
    ),
    one(
        REFDB,
        Plain,
        "certFile",
        Path,
        "",
        "this site's certificate, in PEM; goes with `keyFile`. Turns TLS on",
    ),
    one(REFDB, Plain, "keyFile", Path, "", "the key of `certFile`, in PEM"),
    one(REFDB, Plain, "pushReplicationFilterEnabled", Boolean, "true", "false: no gate on push"),
    one(REFDB, Plain, "pullReplicationFilterEnabled", Boolean, "true", "false: no gate on fetch"),
    one(REFDB, Plain, "timeoutMs", PositiveMillis, "5000", "how long one call to the ref-db may take"),
    one(
        REFDB,
        Plain,
        "forgetAfterHours",
        Hours,
        "24",
        "longer than any push or fetch lasts: what `refdb forget` saw must stay the same for so long",
    ),
    many(
        REFDB,
        RULES,
        "REQUIRED",
        Rule,
        "",
        "refs that are checked against the ref-db, as all are by default",
    ),
    many(REFDB, RULES, "IGNORED", Rule, "", "refs that are not checked at all"),
    many(
        "projects",
        Plain,
        "pattern",
        Text,
        "",
        "projects that replicate: `^regex`, `prefix*` or an exact name; without any, all do",
    ),
    one(
        "replication",
        PUSH,
        MIN_WAIT,
        Millis,
        "1000",
        "the least wait before local refs are read again on push",
    ),
    one(
        "replication",
        PUSH,
        MAX_WAIT,
        Millis,
        "1000",
        "what is added at random, up to but not including this; 0 is no wait at all",
    ),
    one(
        "replication",
        FETCH,
        MIN_WAIT,
        Millis,
        "1000",
        "the least wait before local refs are read again on fetch",
    ),
    one(
        "replication",
        FETCH,
        MAX_WAIT,
        Millis,
        "1000",
        "what is added at random, up to but not including this; 0 is no wait at all",
    ),
    one(
        "plugins",
        Plain,
        "directory",
        Path,
        "",
        "where the filters are; without it only the built-in ones count",
    ),
    many("plugins", Plain, "require", Text, "", "a plugin that must be there, by name"),
    one(
        "plugins",
        Plain,
        "verify",
        Verify,
        "none",
        "who has to answer for a plugin file: nobody, a digest in NAME.toml (checksum), or a signer (signature)",
    ),
    one(
        "plugins",
        Plain,
        "signers",
        Path,
        "",
        "the keys whose signatures count, in the format of git's allowed signers",
    ),
    one(
        "plugins",
        Plain,
        "state",
        Path,
        "plugins.state",
        "where the live set is saved, with a cache of compiled plugins; used when there is a plugin directory",
    ),
    one(
        "plugins",
        Plain,
        "compileTimeout",
        Kind::Seconds,
        "120",
        "how long compiling one plugin may take; the shipped ones are not bounded",
    ),
    one(
        "plugins",
        Plain,
        "compileMemory",
        Kind::Mebibytes,
        "2048",
        "how much memory compiling one plugin may take, in MiB; the shipped ones are not bounded",
    ),
    many(
        "plugins",
        Plain,
        "cases",
        Path,
        "",
        "a case file that a new set of plugins has to pass before a running host uses it",
    ),
    one(
        "plugins",
        Plain,
        "shadowLooks",
        Count,
        "0",
        "for how many batches a new set is a shadow in a running host before it decides",
    ),
    one(
        "plugins",
        Plain,
        "maxChanged",
        Percent,
        "100",
        "how many verdicts on recorded and shadowed batches a new set may change in a running host, in percent of the refs",
    ),
    one(
        "plugins",
        Plain,
        "rollbackFailures",
        Count,
        "5",
        "failed calls after which a running host takes a new plugin back; 0 is never",
    ),
    one("plugins", Plain, "rollbackSeconds", Count, "60", "the time within which they have to fail"),
    one(
        "plugins",
        Plain,
        "record",
        Path,
        "",
        "a file to which every pass of the filters is added, for `refgate replay`, up to 256 MiB",
    ),
    many(
        "plugin",
        Any,
        "*",
        Text,
        "",
        "a setting for the plugin of that name, as `[settings]` of NAME.toml beside it; may be there before the plugin",
    ),
    one(
        "remote",
        Any,
        "url",
        RemoteUrl,
        "",
        "where the remote's repositories are; `${name}` stands for the project",
    ),
    many("remote", Any, "push", Kind::Refspec, EVERYTHING, "which refs are pushed, and under which name"),
    many("remote", Any, "fetch", Kind::Refspec, EVERYTHING, "which refs are fetched, and under which name"),
    one("remote", Any, "mirror", Boolean, "true", "whether deletions that the ref-db records are replicated"),
    one(
        "remote",
        Any,
        "writes",
        Writes,
        "ungated",
        "how client writes at the remote relate to the ref-db: see site.writes",
    ),
    one(
        "remote",
        Any,
        "sourceOfTruth",
        Boolean,
        "false",
        "true: the remote may be ahead of the ref-db, which follows it on fetch",
    ),
    one(
        "remote",
        Any,
        "timeout",
        Kind::Seconds,
        "300",
        "how long the remote may say nothing before the session is ended; whatever moves starts the time anew",
    ),
    one(
        "remote",
        Any,
        "connectTimeout",
        Kind::Seconds,
        "30",
        "how long a connection may take over git:// and OpenSSH; elsewhere it is part of the timeout",
    ),
    one(
        "remote",
        Any,
        "sessionTimeout",
        Kind::Seconds,
        "43200",
        "how long one session with the remote may last, whatever moves; while it waits for this side, no time passes",
    ),
    one(
        "remote",
        Any,
        "maxRefs",
        Count,
        "4000000",
        "how many refs are taken from one listing of the remote, at 256 bytes each on average; more is an error",
    ),
    one(
        "remote",
        Any,
        "showsAllRefs",
        Boolean,
        "false",
        "true: the remote hides no ref (transfer.hideRefs, a namespace), so what it does not list is not there",
    ),
    unused(REFDB, Plain, "ignoredRefsPrefixes", Text, "Gerrit reads it and does nothing with it"),
    unused(
        REFDB,
        Plain,
        "replicationLagRefreshInterval",
        Time,
        "Gerrit: how often replication lag is computed",
    ),
    unused(REFDB, Plain, "replicationLagEnabled", Boolean, "Gerrit: whether replication lag is computed"),
    unused(REFDB, Plain, "localRefLockTimeout", Time, "Gerrit: how long a local ref lock is waited for"),
    unused(REFDB, Named("storeAllRefs"), "project", Text, "Gerrit 3.13: projects whose refs are all stored"),
    unused(
        REFDB,
        Named("storeMutableRefs"),
        "project",
        Text,
        "Gerrit 3.13: projects whose mutable refs are stored",
    ),
    unused(REFDB, Named("storeNoRefs"), "project", Text, "Gerrit 3.13: projects whose refs are not stored"),
    unused(
        REFDB,
        Named("zookeeper"),
        "*",
        Text,
        "Gerrit's zookeeper-refdb: the url says where the ensemble is",
    ),
    unused("cache", Plain, "synchronize", Boolean, "Gerrit: whether cache evictions are sent"),
    unused("cache", Plain, "threadPoolSize", Text, "Gerrit: threads that send cache evictions"),
    unused("cache", Plain, "pattern", Text, "Gerrit: caches whose evictions are sent"),
    unused("event", Plain, "synchronize", Boolean, "Gerrit: whether stream events are sent"),
    unused("index", Plain, "synchronize", Text, "Gerrit: which indexes are kept in step"),
    unused("index", Plain, "synchronizeForced", Boolean, "Gerrit: whether forced indexing is sent"),
    unused("index", Plain, "numStripedLocks", Text, "Gerrit: locks for indexing"),
    unused("index", Plain, "threadPoolSize", Text, "Gerrit: threads that index"),
    unused("index", Plain, "maxTries", Text, "Gerrit: how often indexing is tried again"),
    unused("index", Plain, "retryInterval", Text, "Gerrit: milliseconds between tries"),
    unused("broker", Plain, "indexEventTopic", Text, "Gerrit: topic of index events"),
    unused("broker", Plain, "batchIndexEventTopic", Text, "Gerrit: topic of batch index events"),
    unused("broker", Plain, "cacheEventTopic", Text, "Gerrit: topic of cache events"),
    unused("broker", Plain, "projectListEventTopic", Text, "Gerrit: topic of project list events"),
    unused("broker", Plain, "streamEventTopic", Text, "Gerrit: topic of stream events"),
    unused(
        "broker",
        Plain,
        "streamEventPublishTimeoutMs",
        Text,
        "Gerrit: how long sending a stream event may take",
    ),
];

/// The row for a key (in lower case), if there is one.
pub(super) fn find(section: &str, subsection: Option<&str>, key: &str) -> Option<&'static KeyDoc> {
    KEYS.iter().find(|doc| {
        doc.section == section
            && doc.subsection_fits(subsection)
            && (doc.key == "*" || doc.key.eq_ignore_ascii_case(key))
    })
}

/// Whether refgate or Gerrit's `multi-site.config` has such a section.
pub(super) fn is_known(section: &str) -> bool {
    reference().iter().any(|doc| doc.section == section)
}

/// Whether refgate uses a key in `section`, so that an unknown one there is a mistake.
pub(super) fn is_used(section: &str) -> bool {
    KEYS.iter().any(|doc| doc.used && doc.section == section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        for (i, doc) in KEYS.iter().enumerate() {
            assert_eq!(doc.section, doc.section.to_ascii_lowercase());
            assert!(!doc.doc.is_empty() && !doc.doc.ends_with('.'), "{doc:?}");
            if doc.used && !doc.default.is_empty() {
                assert_eq!(doc.kind.check(Some(doc.default)), Ok(()), "{doc:?}");
            }
            let sub = match doc.subsection {
                Plain => None,
                Named(name) => Some(name),
                Any => Some("x"),
            };
            let found = find(doc.section, sub, &doc.key.to_ascii_lowercase()).unwrap();
            assert!(std::ptr::eq(found, &KEYS[i]), "{doc:?} is shadowed by {found:?}");
        }
    }
}
