//! ssh, played by a script that runs what it is told in a shell, as sshd would.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use refgate_core::{ObjectFormat, Project, RefName};
use refgate_git::GitErrorKind;
use refgate_git::transport::{PushSession, RemoteUrl, create_remote, fetch_objects, list};

use crate::push::life_of_refs;
use crate::support::{Pair, Repo};

const SCRIPT: &str = r#"#!/bin/sh
printf '%s\n' "$*" >>"$FAKE_SSH_LOG"
while test $# -gt 0; do
    case "$1" in
    -o|-p) shift 2 ;;
    *) break ;;
    esac
done
shift
exec sh -c "$*"
"#;

/// Runs `ssh::NAME` of this file in a process whose ssh is the script; `variable` says how it is named.
fn with_fake_ssh(name: &str, variable: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("ssh");
    fs::write(&script, SCRIPT).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut inner = Command::new(std::env::current_exe().unwrap());
    inner.args(["--exact", &format!("ssh::{name}"), "--ignored"]);
    inner.env_remove("GIT_SSH_COMMAND").env_remove("GIT_SSH");
    inner.env("GIT_SSH_VARIANT", "ssh").env("FAKE_SSH_LOG", dir.path().join("log"));
    match variable {
        "core.sshCommand" => {
            let config = dir.path().join("config");
            fs::write(&config, format!("[core]\n\tsshCommand = {}\n", script.display())).unwrap();
            inner.env("GIT_CONFIG_GLOBAL", config);
        }
        variable => {
            inner.env(variable, &script);
        }
    }
    let output = inner.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    fs::read_to_string(dir.path().join("log")).unwrap()
}

#[test]
fn every_way_to_name_an_ssh_client() {
    for variable in ["GIT_SSH_COMMAND", "GIT_SSH", "core.sshCommand"] {
        let log = with_fake_ssh("a_session", variable);
        let receive: Vec<&str> = log.lines().filter(|line| line.contains("receive-pack")).collect();
        assert!(!receive.is_empty(), "{variable}: {log}");
        for line in log.lines().filter(|line| line.contains("-pack")) {
            // GIT_SSH is a program, quoted for the shell; the option is given in every case.
            assert!(line.contains("-o BatchMode=yes"), "{variable}: {line}");
            assert!(line.contains("-p 2222 me@host"), "{variable}: {line}");
        }
    }
}

#[test]
#[ignore = "needs the ssh that every_way_to_name_an_ssh_client sets"]
fn a_session() {
    let pair = Pair::new();
    let url = format!("ssh://me@host:2222{}", pair.remote.0.display());
    life_of_refs(&pair, &RemoteUrl::parse(&url).unwrap());
    let missing = RemoteUrl::parse("ssh://me@host:2222/nothing.git").unwrap();
    let error = PushSession::open(&pair.local.0, &missing, pair.format).err().unwrap();
    assert_eq!(error.kind, GitErrorKind::Missing, "{error}");
    assert_eq!(list(&missing, pair.format).unwrap_err().kind, GitErrorKind::Missing);
}

#[test]
fn names_that_a_shell_would_read() {
    with_fake_ssh("strange_names", "GIT_SSH_COMMAND");
}

#[test]
#[ignore = "needs the ssh that names_that_a_shell_would_read sets"]
fn strange_names() {
    let dir = tempfile::tempdir().unwrap();
    let local = Repo::new(dir.path().join("local.git"), &[]);
    for name in ["a b", "it's", "$HOME", "`id`", "a\"b", "x;y", "100%25", "a!b&c", "team/é$(id)"] {
        let project = Project::new(name).unwrap();
        let base = dir.path().display();
        let scp = format!("host:{base}/scp/${{name}}.git");
        for template in [format!("ssh://host:2222{base}/url/${{name}}.git"), scp] {
            let url = RemoteUrl::for_project(&template, &project, Path::new("/")).unwrap();
            let place = if template.starts_with("ssh") { "url" } else { "scp" };
            let path = dir.path().join(place).join(format!("{name}.git"));
            let remote = Repo::new(path, &[]);
            let one = remote.commit(&[], name);
            remote.set("refs/heads/a", one);
            let session = PushSession::open(&local.0, &url, ObjectFormat::Sha1).unwrap();
            assert_eq!(session.refs().len(), 1, "{url}");
            session.close();
            assert_eq!(list(&url, ObjectFormat::Sha1).unwrap()[0].oid, Some(one), "{url}");
            assert_eq!(fetch_objects(&local.0, &url, &[one], &mut |_| {}).unwrap().missing, []);
            assert!(local.has(one), "{url}");
        }
    }
}

#[test]
fn a_repository_is_made_where_there_is_none() {
    let log = with_fake_ssh("create", "GIT_SSH_COMMAND");
    assert!(log.contains("-p 2222 me@host sh -c"), "{log}");
}

#[test]
#[ignore = "needs the ssh that a_repository_is_made_where_there_is_none sets"]
fn create() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("it's here/deep");
    let head = RefName::new("refs/heads/trunk").unwrap();
    for (name, format) in [("a b", ObjectFormat::Sha1), ("$(id)`x`\\", ObjectFormat::Sha256)] {
        let project = Project::new(name).unwrap();
        let template =
            format!("ssh://me@host:2222{}/${{name}}.git", base.display().to_string().replace(' ', "%20"));
        let url = RemoteUrl::for_project(&template, &project, Path::new("/")).unwrap();
        let path = base.join(format!("{name}.git"));
        create_remote(&url, format, Some(&head)).unwrap();
        let made = refgate_git::Repository::open(&path).unwrap();
        assert_eq!((made.object_format(), made.git_dir()), (format, path.as_path()));
        assert_eq!(fs::read_to_string(path.join("HEAD")).unwrap(), "ref: refs/heads/trunk\n");
        // What is there stays as it is.
        let error = create_remote(&url, format, None).unwrap_err();
        assert!(error.message.contains("it is no repository") && error.hint.is_some(), "{error}");
        assert_eq!(fs::read_to_string(path.join("HEAD")).unwrap(), "ref: refs/heads/trunk\n");
    }
    // Inside a repository it would be a ref or a hook of that one.
    for inside in ["refs/heads/x.git", "new.git"] {
        let url = format!("host:{}/a b.git/{inside}", base.display());
        let error = create_remote(&RemoteUrl::parse(&url).unwrap(), ObjectFormat::Sha1, None).unwrap_err();
        assert!(error.message.contains("that is inside the repository"), "{error}");
        assert!(!base.join("a b.git").join(inside).exists());
    }
    // A place that is empty is taken, in any spelling of a path; one that cannot be made is named.
    fs::create_dir(base.join("empty.git")).unwrap();
    let scp = RemoteUrl::parse(&format!("host:{}/empty.git", base.display())).unwrap();
    create_remote(&scp, ObjectFormat::Sha1, None).unwrap();
    assert!(base.join("empty.git/HEAD").is_file());
    let below = RemoteUrl::parse("host:/dev/null/x.git").unwrap();
    let error = create_remote(&below, ObjectFormat::Sha1, None).unwrap_err();
    assert!(error.message.starts_with("cannot create a repository at `host:/dev/null/x.git`"), "{error}");
}

/// Set in the processes that have settings in their environment: that of this one belongs to all tests.
const INNER: &str = "REFGATE_TEST_SETTINGS";

#[test]
fn settings_in_the_environment_count_as_git_counts_them_but_in_a_hook() {
    let url = RemoteUrl::parse("git://127.0.0.1:1/remote.git").unwrap();
    if let Some(expected) = std::env::var_os(INNER) {
        return assert_eq!(list(&url, ObjectFormat::Sha1).is_ok(), expected == "yes", "{expected:?}");
    }
    let pair = Pair::new();
    let rewrite = format!("url.{}/.insteadOf", pair.dir.path().display());
    let with_count = [
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", &rewrite),
        ("GIT_CONFIG_VALUE_0", "git://127.0.0.1:1/"),
    ];
    let parameters = format!("'{rewrite}'='git://127.0.0.1:1/'");
    let with_parameters = [("GIT_CONFIG_PARAMETERS", parameters.as_str())];
    for settings in [&with_count[..], &with_parameters] {
        for (hook, expected) in [(false, "yes"), (true, "no")] {
            let mut inner = Command::new(std::env::current_exe().unwrap());
            inner
                .args(["--exact", "ssh::settings_in_the_environment_count_as_git_counts_them_but_in_a_hook"]);
            inner.env(INNER, expected).envs(settings.iter().copied());
            if hook {
                inner.env("GIT_DIR", ".");
            }
            let output = inner.output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(printed.contains("1 passed"), "{settings:?} {hook}: {printed}");
        }
    }
}
