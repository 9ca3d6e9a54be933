//! What a pusher reads says nothing of the site: each thing that a push needs is broken, and what is read is searched.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{PROJECT, REFGATE, Ran, clean, git, mode};
use crate::lab::{Gated, Kind};

/// What the other side said; the client's own git names the address that it was given.
fn from_the_site(ran: &Ran) -> String {
    let own = |line: &&str| line.starts_with("To ") || line.starts_with("error: failed to push some refs to");
    ran.err.lines().filter(|line| !own(line)).map(|line| format!("{line}\n")).collect()
}

/// Panics unless the push of `spec` is refused, and nothing of the site is read.
fn says_nothing(g: &Gated, what: &str, args: &[&str]) -> String {
    let ran = g.push("a", args);
    assert_eq!(ran.code, 1, "{what}: {}", ran.err);
    let said = from_the_site(&ran);
    assert!(said.contains("[remote rejected]"), "{what}: {said}");
    nothing_of_the_site(g, what, &said);
    said
}

fn nothing_of_the_site(g: &Gated, what: &str, said: &str) {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let dir = g.lab.dir.path().to_str().unwrap().to_owned();
    let words =
        ["127.0.0.1", "localhost", "sqlite", "refgate.config", ".lock", "hooks/", " root", "plugins/"];
    for word in words.into_iter().chain([dir.as_str(), host.trim(), "/refgate"]) {
        assert!(word.len() < 3 || !said.contains(word), "{what}: `{word}` is told to a pusher: {said}");
    }
}

/// Moves a file away for as long as `work` lasts, and puts `instead` there.
fn without(path: &Path, instead: Option<&str>, work: impl FnOnce()) {
    let away = path.with_extension("away");
    fs::rename(path, &away).unwrap();
    if let Some(text) = instead {
        fs::write(path, text).unwrap();
        mode(path, 0o644);
    }
    work();
    _ = fs::remove_file(path);
    fs::rename(&away, path).unwrap();
}

/// The newest refusal of those that `hook status` lists; it needs more than the list.
fn newest(g: &Gated) -> String {
    let all = fs::read_to_string(g.lab.repo("a").join("refgate/refused.jsonl")).unwrap();
    all.lines().last().unwrap().to_owned()
}

#[test]
fn whatever_is_broken_a_pusher_reads_nothing_of_the_site_and_operators_read_the_cause() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    let spec = format!("{c1}:refs/heads/main");
    let config = g.lab.path("a/refgate.config");
    let text = fs::read_to_string(&config).unwrap();
    let repo = g.lab.repo("a");
    let check = |what: &str, cause: &str| {
        says_nothing(&g, what, &[&spec]);
        cause.to_owned()
    };
    let told = |what: &str, cause: String| {
        assert_eq!(g.value("a", "refs/heads/main"), g.c0, "{what}");
        let why = newest(&g);
        assert!(why.contains(&cause), "{what}: `{cause}` is not told to operators: {why}");
    };
    for (what, path, instead, cause) in [
        ("no ref-db", g.lab.path("refdb.sqlite"), None, "refdb.sqlite"),
        ("a ref-db that is none", g.lab.path("refdb.sqlite"), Some("nothing"), "refdb.sqlite"),
        ("no configuration", config.clone(), None, "refgate.config"),
        ("a configuration with an unknown key", config.clone(), Some("[site]\nnmae = a\n"), "refgate.config"),
        (
            "an ensemble that is not there",
            config.clone(),
            Some(
                "[site]\nname = a\nwrites = gated\n[ref-database]\nurl = zookeeper://127.0.0.1:1/r\ntimeoutMs = 500\n",
            ),
            "127.0.0.1:1",
        ),
    ] {
        let mut cause_told = String::new();
        without(&path, instead, || cause_told = check(what, cause));
        told(what, cause_told);
    }
    // git itself refuses the push of a branch that cannot be read, before it asks the hook.
    without(&repo.join("refs/heads/main"), Some("damaged\n"), || _ = check("a damaged branch", ""));
    mode(&config, 0o666);
    let cause = check("a configuration that others may write", "refgate.config");
    mode(&config, 0o644);
    told("a configuration that others may write", cause);
    // What git itself stumbles over.
    for (what, path) in [
        ("a lock of the branch", repo.join("refs/heads/main.lock")),
        ("a log in the way", repo.join("logs/refs/heads/main/x")),
        ("no place for records", repo.join("refgate/journal")),
        ("an update hook that does not start", repo.join("hooks/update")),
        ("HEAD is locked", repo.join("HEAD.lock")),
    ] {
        if what == "a log in the way" {
            git(&repo, &["config", "core.logAllRefUpdates", "true"]);
        }
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "#!/no/such/interpreter\n").unwrap();
        mode(&path, 0o755);
        check(what, "");
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if what != "an update hook that does not start" && what != "a log in the way" {
            told(what, name);
        }
        fs::remove_file(&path).unwrap();
        if what == "a log in the way" {
            fs::remove_dir_all(repo.join("logs")).unwrap();
            git(&repo, &["config", "core.logAllRefUpdates", "false"]);
        }
    }
    // A work tree that somebody works in.
    let tree = g.lab.path("tree");
    git(&repo, &["worktree", "add", "-q", tree.to_str().unwrap(), "main"]);
    let cause = check("a branch that is checked out", tree.to_str().unwrap());
    told("a branch that is checked out", cause);
    git(&repo, &["worktree", "remove", "--force", tree.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&config).unwrap(), text);
    let listed = g.status("a")["refused"].to_string();
    assert!(listed.contains("main.lock") && listed.contains("127.0.0.1:1"), "{listed}");
    g.accepted("a", &spec);
}

#[test]
fn a_program_that_is_gone_is_not_named_and_refuses_everything() {
    let g = Gated::new(Kind::Files);
    let c1 = g.commit(&[&g.c0], "c1");
    let program = g.lab.path("refgate");
    fs::hard_link(REFGATE, &program).or_else(|_| fs::copy(REFGATE, &program).map(drop)).unwrap();
    let mut install = clean(program.to_str().unwrap(), g.lab.dir.path());
    Ran::of(install.current_dir(g.lab.path("a")).args(["hook", "install", PROJECT])).ok();
    fs::remove_file(&program).unwrap();
    let said = says_nothing(&g, "no program", &[&format!("{c1}:refs/heads/main")]);
    assert!(said.contains("this site takes no pushes now: ask its operators"), "{said}");
    assert_eq!(g.value("a", "refs/heads/main"), g.c0);
}

#[test]
fn what_cannot_be_sent_on_is_the_operators_matter() {
    let g = Gated::new(Kind::Files);
    g.lab.run("a", &["hook", "install", PROJECT, "--replicate", "b"]).ok();
    let c1 = g.commit(&[&g.c0], "c1");
    // Nothing can be marked where a directory is in the place of the file.
    fs::create_dir_all(g.lab.repo("a").join("refgate/onward-b.json")).unwrap();
    let ran = g.push("a", &[&format!("{c1}:refs/heads/main")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let said = from_the_site(&ran);
    assert!(said.contains("could not be sent on"), "{said}");
    nothing_of_the_site(&g, "sending on", &said);
    let noted = fs::read_to_string(g.lab.repo("a").join("refgate/refused.jsonl")).unwrap();
    assert!(noted.contains("onward-b.json"), "{noted}");
}

/// What a raw client sends: `git push` takes no such names. Returns all that the site says.
fn raw_push(g: &Gated, names: &[&str]) -> PathBuf {
    let oid = g.commit(&[], "raw");
    let zero = "0".repeat(40);
    let mut sent = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let caps = if i == 0 { "\0report-status-v2 side-band-64k object-format=sha1" } else { "" };
        let line = format!("{zero} {oid} {name}{caps}");
        sent.extend(format!("{:04x}{line}", line.len() + 4).into_bytes());
    }
    sent.extend(b"0000");
    let mut pack = clean("git", g.lab.dir.path());
    pack.arg("-C").arg(g.lab.path("client")).args(["pack-objects", "--revs", "--stdout", "-q"]);
    let wanted = g.lab.path("wanted");
    fs::write(&wanted, format!("{oid}\n")).unwrap();
    let packed = pack.stdin(fs::File::open(&wanted).unwrap()).output().unwrap();
    assert!(packed.status.success(), "{packed:?}");
    sent.extend(packed.stdout);
    let (given, said) = (g.lab.path("given"), g.lab.path("said"));
    fs::write(&given, sent).unwrap();
    let mut receive = clean("git", g.lab.dir.path());
    receive.arg("receive-pack").arg(g.lab.repo("a")).stdin(fs::File::open(&given).unwrap());
    fs::write(&said, receive.output().unwrap().stdout).unwrap();
    said
}

/// What git's own client makes of what the site said, when it pushed `name`.
fn as_git_reads(g: &Gated, said: &Path, name: &str) -> Ran {
    let script = g.lab.path("replay");
    fs::write(&script, format!("#!/bin/sh\ncat '{}'\ncat > /dev/null\n", said.display())).unwrap();
    mode(&script, 0o755);
    let oid = g.commit(&[], "raw");
    g.push("a", &[&format!("--receive-pack={}", script.display()), &format!("{oid}:{name}")])
}

#[test]
fn a_name_with_a_space_spoils_no_answer_of_another_ref() {
    let g = Gated::new(Kind::Files);
    let oid = g.commit(&[], "raw");
    // git's client takes one of two answers that could be meant, so both have to be the same, and true.
    for names in [
        ["refs/heads/x", "refs/heads/x y", "refs/heads/z"],
        ["refs/heads/x y", "refs/heads/x", "refs/heads/w"],
    ] {
        let said = raw_push(&g, &names);
        assert_eq!(
            (g.value("a", "refs/heads/x").as_str(), g.global("refs/heads/x").as_str()),
            ("", "untracked")
        );
        g.is_at("a", names[2], &oid);
        let ran = as_git_reads(&g, &said, "refs/heads/x");
        assert!(ran.code == 1 && ran.err.contains("! [remote rejected]"), "it did not move: {}", ran.err);
        assert!(ran.err.contains("refs/heads/x y: funny refname"), "{}", ran.err);
        let ran = as_git_reads(&g, &said, names[2]);
        assert!(ran.code == 0 && ran.err.contains("[new branch]"), "it moved: {}", ran.err);
    }
    g.is_clean("a");
}
