//! What a good file means.

use refgate_runtime::{CompileLimits, Require};
use std::path::Path;
use std::time::Duration;

use refgate_core::{Enforcement, Project, RefName, Refspecs, ReloadWait, SiteKind};
use refgate_refdb::PasswordFrom;
use serde_json::json;

use super::super::{Config, Remote, reference};
use super::{Dir, from_keys};

/// Every key that is used, none with its default.
const FULL: &str = r#"
[site]
    name = site-a
    basePath = repos
    writes = gated
    gitTimeout = 600
    secretFile = sites
[ref-database]
    enabled = off
    url = sqlite:refdb.sqlite
    pushReplicationFilterEnabled = no
    pullReplicationFilterEnabled = 0
    timeoutMs = 2k
    user = site-a
    passwordFile = secret
    passwordEnv = SECRET
    tls = yes
    caFile = ca.pem
    certFile = site-a.pem
    keyFile = site-a.key
    forgetAfterHours = 48
[ref-database "enforcementRules"]
    IGNORED = team/app:refs/heads/scratch
    required = team/app
[projects]
    pattern = ^team/(?!private).*
    pattern = "a#b*"
[replication "push-filter"]
    minWaitBeforeReloadLocalVersionMs = 200
    maxRandomWaitBeforeReloadLocalVersionMs = 0
[replication "fetch-filter"]
    minWaitBeforeReloadLocalVersionMs = 1
    maxRandomWaitBeforeReloadLocalVersionMs = 2
[plugins]
    directory = plugins
    require = push
    require = age
    verify = checksum
    signers = signers
    state = live
    compileTimeout = 30 s
    compileMemory = 512
    cases = one.json
    cases = two.toml
    shadowLooks = 100
    maxChanged = 0.5 %
    rollbackFailures = 3
    rollbackSeconds = 10
    record = looks
[plugin "age"]
    maxAge = 5
    Skip = one
    skip = two
    SKIP = three
[remote "Site-B"]
    url = ../site-b/git/${name}.git
    push = refs/heads/*:refs/heads/*
    fetch = +refs/tags/*:refs/tags/*
    mirror = false
    writes = none
    timeout = 90
    connectTimeout = 400 ms
    sessionTimeout = 600
    maxRefs = 1000
    showsAllRefs
    sourceOfTruth
"#;

#[test]
fn every_key_of_a_file() {
    let dir = Dir::new();
    let c = dir.load(FULL).unwrap();
    assert_eq!(c.site.name.as_deref(), Some("site-a"));
    assert_eq!(c.site.base_path, dir.path().join("repos"));
    assert_eq!(c.site.writes, SiteKind::Gated);
    let access = &c.ref_database.access;
    assert_eq!(access.user.as_deref(), Some("site-a"));
    assert_eq!(access.password, Some(PasswordFrom::File(dir.path().join("secret"))));
    let tls = access.tls.as_ref().unwrap();
    assert_eq!(tls.ca, Some(dir.path().join("ca.pem")));
    assert_eq!(tls.identity, Some((dir.path().join("site-a.pem"), dir.path().join("site-a.key"))));
    let r = &c.ref_database;
    assert!(!r.enabled && !r.push_gate && !r.fetch_gate);
    assert_eq!((r.url.as_deref(), r.base_dir.as_path()), (Some("sqlite:refdb.sqlite"), dir.path()));
    assert_eq!((r.timeout, r.forget_after_hours), (Duration::from_millis(2048), 48));
    assert_eq!(c.patterns, ["^team/(?!private).*", "a#b*"]);
    assert_eq!(c.push_wait, ReloadWait { min_ms: 200, max_random_ms: 0 });
    assert_eq!(c.fetch_wait, ReloadWait { min_ms: 1, max_random_ms: 2 });
    assert_eq!(c.plugins.directory.as_deref(), Some(dir.path().join("plugins").as_path()));
    assert_eq!(c.plugins.require, ["push", "age"]);
    let p = &c.plugins;
    let at = |name: &str| dir.path().join(name);
    assert_eq!(
        (p.verify, p.signers.clone(), p.state.clone()),
        (Require::Checksum, Some(at("signers")), Some(at("live")))
    );
    assert_eq!(
        (p.cases.clone(), p.record.clone()),
        (vec![at("one.json"), at("two.toml")], Some(at("looks")))
    );
    assert_eq!(p.compile, CompileLimits { time: Duration::from_secs(30), memory: 512 << 20 });
    assert_eq!((p.shadow_looks, p.max_changed_percent), (100, 0.5));
    assert_eq!((p.rollback_failures, p.rollback_within), (3, Duration::from_secs(10)));
    let settings = serde_json::to_value(&c.plugin_settings["age"]).unwrap();
    assert_eq!(settings, json!({"maxAge": "5", "Skip": ["one", "two", "three"]}));
    let b = &c.remotes["Site-B"];
    assert_eq!(b.url.as_deref(), dir.path().join("../site-b/git/${name}.git").to_str());
    assert!(!b.mirror && b.source_of_truth && b.shows_all_refs);
    assert_eq!((b.limits.silence, b.limits.connect), (Duration::from_secs(90), Duration::from_millis(400)));
    assert_eq!((b.limits.session, b.limits.refs), (Duration::from_secs(600), 1000));
    assert_eq!(c.site.git_timeout, Duration::from_secs(600));
    assert_eq!(b.writes, SiteKind::Mirror);
    let main = RefName::new("refs/heads/main").unwrap();
    assert!(!b.push.destination(&main).unwrap().forced);
    assert!(b.fetch.destination(&main).is_none());
    let project = Project::new("team/app").unwrap();
    let rule = |name: &RefName| c.rules.enforcement(&project, name);
    assert_eq!(rule(&RefName::new("refs/heads/scratch").unwrap()), Enforcement::Ignored);
    assert_eq!(rule(&main), Enforcement::Required);
    assert!(c.unused.is_empty());
    assert_eq!(c.warnings(), ["the gate is switched off: nothing is checked against the ref-db"]);
}

#[test]
fn an_empty_file_means_the_defaults_of_the_table() {
    let dir = Dir::new();
    let c = dir.load("").unwrap();
    assert_eq!(c.site.name, None);
    assert_eq!(c.site.base_path, dir.path().join("git"));
    assert_eq!(c.site.writes, SiteKind::Ungated);
    let r = &c.ref_database;
    assert!(r.enabled && r.push_gate && r.fetch_gate && r.url.is_none());
    assert_eq!((r.timeout, r.forget_after_hours), (Duration::from_secs(5), 24));
    assert_eq!((c.push_wait, c.fetch_wait), (ReloadWait::default(), ReloadWait::default()));
    assert_eq!(c.plugins.compile, CompileLimits::default());
    assert!(c.patterns.is_empty() && c.remotes.is_empty() && c.plugins.directory.is_none());
    let c = dir.load("[remote \"b\"]\nurl = /srv/${name}.git\n").unwrap();
    let url = Some("/srv/${name}.git".to_owned());
    assert_eq!(c.remotes["b"], Remote { url, ..Remote::default() });
    assert_eq!(c.remotes["b"].push, Refspecs::everything());
}

#[test]
fn the_effective_values_name_every_key_and_where_it_was_written() {
    let dir = Dir::new();
    let c = dir.load(FULL).unwrap();
    for doc in reference().iter().filter(|doc| doc.used) {
        let ends = if doc.key == "*" { "age.maxAge" } else { doc.key };
        assert!(
            c.effective()
                .iter()
                .any(|e| e.key.starts_with(doc.section) && e.key.ends_with(ends) && e.origin.is_some()),
            "{doc:?} is missing"
        );
    }
    let row = |c: &Config, key: &str| -> Vec<(String, u32)> {
        let rows = c.effective().iter().filter(|e| e.key == key);
        rows.map(|e| (e.value.clone(), e.origin.as_ref().map_or(0, |o| o.line))).collect()
    };
    assert_eq!(row(&c, "site.name"), [("site-a".into(), 3)]);
    assert_eq!(row(&c, "projects.pattern"), [("^team/(?!private).*".into(), 26), ("a#b*".into(), 27)]);
    assert_eq!(row(&c, "remote.Site-B.sourceOfTruth"), [("true".into(), FULL.lines().count() as u32)]);
    let c = dir.load("[site]\nname=a\nname=b\n[remote \"b\"]\nurl=https://u:secret@h/${name}\n").unwrap();
    assert_eq!(row(&c, "site.name"), [("b".into(), 3)], "the last value counts");
    assert_eq!(row(&c, "ref-database.enabled"), [("true".into(), 0)]);
    assert_eq!(row(&c, "remote.b.url"), [("https://***@h/${name}".into(), 5)]);
    assert_eq!(row(&c, "remote.b.push"), [("+refs/*:refs/*".into(), 0)]);
    assert_eq!(row(&c, "site.basePath"), [(dir.path().join("git").to_str().unwrap().into(), 0)]);
}

#[test]
fn urls_are_left_alone_and_paths_are_resolved() {
    let dir = Dir::new();
    for (url, resolved) in [
        ("ssh://h/${name}", None),
        ("https://u@h:8/${name}.git", None),
        ("git@host:git/${name}.git", None),
        ("host:x", None),
        ("/abs/${name}.git", None),
        ("rel/${name}.git", Some("rel/${name}.git")),
        ("./a:b/${name}", Some("a:b/${name}")),
    ] {
        let c = dir.load(&format!("[remote \"b\"]\nurl = {url}\n")).unwrap();
        let want = resolved.map_or(url.to_owned(), |p| dir.path().join(p).to_str().unwrap().to_owned());
        assert_eq!(c.remotes["b"].url, Some(want));
    }
    // A file that is named without a directory, as by default: others run elsewhere.
    let c = from_keys(&[("remote.b.url", "rel/${name}.git")]).unwrap();
    let here = std::env::current_dir().unwrap().join("rel/${name}.git");
    assert_eq!(c.remotes["b"].url.as_deref(), here.to_str());
    let c = dir.load("[remote \"b\"]\nurl = /srv/one.git\n").unwrap();
    assert!(c.warnings()[0].contains("remote.b.url has no `${name}`"), "{:?}", c.warnings());
}

#[test]
fn gerrits_keys_are_accepted_and_listed() {
    let dir = Dir::new();
    let c = dir
        .load(
            "[cache]\nsynchronize = maybe\n[broker]\nstreamEventTopic = gerrit\nnew =\n[index]\nmaxTries\n\
             [ref-database]\nlocalRefLockTimeout = 30 seconds\nreplicationLagRefreshInterval = 60\n\
             [ref-database \"storeAllRefs\"]\nproject = All-Users\n[gerrit]\ninstanceId = a\n",
        )
        .unwrap();
    let unused: Vec<String> =
        c.unused.iter().map(|i| format!("{}={}", i.full_key(), i.origin.line)).collect();
    assert_eq!(
        unused,
        [
            "cache.synchronize=2",
            "broker.streamEventTopic=4",
            "broker.new=5",
            "index.maxTries=7",
            "ref-database.localRefLockTimeout=9",
            "ref-database.replicationLagRefreshInterval=10",
            "ref-database.storeAllRefs.project=12",
            "gerrit.instanceId=14",
        ]
    );
    assert!(c.warnings().is_empty());
}

#[test]
fn includes_count_where_they_stand_and_paths_belong_to_their_file() {
    let dir = Dir::new();
    dir.write(
        "more/sub.config",
        "[site]\nbasePath = here\nname = inner\n[ref-database]\nurl = sqlite:r\n[include]\npath = deep\n",
    );
    dir.write("more/deep", "[plugins]\ndirectory = p\n");
    let c = dir.load("[site]\nname = outer\nbasePath = there\n[include]\npath = more/sub.config\n[site]\nname = last\n").unwrap();
    let more = dir.path().join("more");
    assert_eq!(c.site.base_path, more.join("here"));
    assert_eq!(c.site.name.as_deref(), Some("last"));
    assert_eq!(c.ref_database.base_dir, more);
    assert_eq!(c.plugins.directory, Some(more.join("p")));
    let row = c.effective().iter().find(|e| e.key == "site.basePath").unwrap();
    assert_eq!(row.origin.as_ref().unwrap().to_string(), format!("{}:2", more.join("sub.config").display()));
}

#[test]
fn keys_of_a_case_file_are_split_at_the_first_and_the_last_dot() {
    let c = from_keys(&[
        ("replication.push-filter.minWaitBeforeReloadLocalVersionMs", "200"),
        ("REPLICATION.push-filter.MAXRANDOMWAITBEFORERELOADLOCALVERSIONMS", "300"),
        ("projects.pattern", "a/*"),
        ("projects.pattern", "b"),
        ("ref-database.enforcementRules.IGNORED", ":refs/heads/x"),
        ("remote.my.site.writes", "gated"),
        ("plugins.directory", "p"),
    ])
    .unwrap();
    assert_eq!(c.push_wait, ReloadWait { min_ms: 200, max_random_ms: 300 });
    assert_eq!(c.patterns, ["a/*", "b"]);
    assert_eq!(c.remotes["my.site"].writes, SiteKind::Gated);
    assert_eq!(c.remotes["my.site"].url, None, "a case needs none");
    assert_eq!(c.site.base_path, Path::new("/cases/git"));
    let (any, x) = (Project::new("any").unwrap(), RefName::new("refs/heads/x").unwrap());
    assert_eq!(c.rules.enforcement(&any, &x), Enforcement::Ignored);
}
