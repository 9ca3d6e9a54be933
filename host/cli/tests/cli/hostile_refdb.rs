//! A ref-db that is up to no good: whatever is in its file, and whatever its server leaves unsaid, every command and every
//! push of a client ends with a clear error, in bounded time and memory.

use std::net::TcpListener;

use rusqlite::Connection;

use crate::common::{Lab, PROJECT, REFGATE, Ran, clean, git, mode};

/// Seconds after which a command counts as one that never ends. All of them take less than a tenth on an idle machine,
/// but for servers that say nothing: opening those takes 10 s.
const NEVER: &str = "100";
/// What a command may have of its own, in KiB.
const MEMORY: u32 = 700 << 10;

const COMMANDS: [&[&str]; 4] =
    [&["push", PROJECT, "b"], &["fetch", PROJECT, "b"], &["refdb", "check", PROJECT], &["config", "check"]];

fn bounded(lab: &Lab, dir: &str, program: &str, args: &[&str]) -> Ran {
    let mut command = clean("sh", lab.dir.path());
    let script = format!("ulimit -d {MEMORY} && exec timeout -s KILL {NEVER} \"$0\" \"$@\"");
    let ran = Ran::of(command.current_dir(lab.path(dir)).args(["-c", &script, program]).args(args));
    assert!(
        ran.code >= 0 && ran.code < 100,
        "{args:?} never ended, or took too much: {} {}",
        ran.code,
        ran.err
    );
    ran
}

/// Both sites are gated and have `main`, and a clone of a is one commit ahead.
fn lab() -> Lab {
    let (lab, _) = Lab::seeded();
    lab.hooks();
    let work = lab.path("work").display().to_string();
    git(lab.dir.path(), &["clone", "--quiet", "--branch", "main", lab.repo("a").to_str().unwrap(), &work]);
    git(&lab.path("work"), &["commit", "--quiet", "--allow-empty", "-m", "next"]);
    lab
}

/// Runs all commands and a client's push; none works, nothing moves, and each says `part`.
fn nothing_works(lab: &Lab, part: &str) {
    let before = (lab.refs("a"), lab.refs("b"));
    for args in COMMANDS {
        let ran = bounded(lab, "a", REFGATE, args);
        let told = format!("{}{}", ran.out, ran.err);
        assert!(told.contains(part), "{args:?} does not say `{part}`: {told}");
        assert!(!told.contains('\u{1b}'), "{told:?}");
        let expected = if args[0] == "config" { 0 } else { 1 };
        assert_eq!(ran.code, expected, "{args:?}: {told}");
    }
    let pushed = bounded(lab, "work", "git", &["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    assert_eq!(pushed.code, 1, "{}", pushed.err);
    assert!(pushed.err.contains("rejected"), "{}", pushed.err);
    assert_eq!((lab.refs("a"), lab.refs("b")), before);
}

#[test]
fn a_file_with_code_in_it_is_refused_by_every_command() {
    let endless = "DROP TABLE entry; CREATE VIEW entry (project, name, value, superseded, text) AS WITH RECURSIVE n(x) AS \
                   (VALUES(1) UNION ALL SELECT x + 1 FROM n) SELECT 'team/app', CAST(x AS BLOB), x, x, x FROM n";
    let ignores = "CREATE TRIGGER \"t\u{1b}]0;x\" BEFORE INSERT ON entry BEGIN SELECT RAISE(IGNORE); END";
    for (sql, part) in [(endless, "view `entry`"), (ignores, "trigger `t%1B]0;x`")] {
        let lab = lab();
        Connection::open(lab.path("refdb.sqlite")).unwrap().execute_batch(sql).unwrap();
        nothing_works(&lab, part);
    }
}

#[test]
fn a_row_as_large_as_the_machine_takes_bounded_memory() {
    let lab = lab();
    // In the way of every search for a ref of this project.
    let sql = "UPDATE entry SET superseded = zeroblob(900000000)";
    Connection::open(lab.path("refdb.sqlite")).unwrap().execute_batch(sql).unwrap();
    let before = (lab.refs("a"), lab.refs("b"));
    for args in COMMANDS {
        let ran = bounded(&lab, "a", REFGATE, args);
        // Where nothing is on offer nothing is read.
        assert!(ran.code != 0 || args[0] != "refdb", "{args:?}: {}{}", ran.out, ran.err);
    }
    let pushed = bounded(&lab, "work", "git", &["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    assert_eq!(pushed.code, 1, "{}", pushed.err);
    assert_eq!((lab.refs("a"), lab.refs("b")), before);
}

#[test]
fn a_server_that_says_nothing_stops_no_command_from_ending() {
    // The kernel takes the connections; nobody ever reads from them.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let lab = lab();
    let port = server.local_addr().unwrap().port();
    lab.configure("a", &format!("[ref-database]\n    url = zookeeper://127.0.0.1:{port}/gerrit"));
    nothing_works(&lab, "127.0.0.1");
}

#[test]
fn others_who_can_read_or_write_the_file_are_told_of() {
    let lab = lab();
    let (file, said) = (lab.path("refdb.sqlite"), "the ref-db is open to others");
    let asks =
        || [&["config", "check"] as &[&str], &["refdb", "check", PROJECT]].map(|args| lab.run("a", args));
    mode(lab.dir.path(), 0o755);
    for ran in asks() {
        assert!(!ran.err.contains(said) && !ran.out.contains(said), "as it is made: {}", ran.err);
    }
    for (bits, what) in [(0o644, "can read"), (0o666, "can write")] {
        mode(&file, bits);
        for ran in asks() {
            ran.says(&[said, what, "chmod"]);
        }
    }
}

#[test]
fn a_new_file_is_nothing_to_others_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    let made = |dir: &str, umask: &str| {
        let file = lab.path(dir).join("refdb.sqlite");
        let script = format!("umask {umask}; exec \"$0\" init \"$1\" --name c --refdb \"sqlite:$2\"");
        let mut shell = clean("sh", lab.dir.path());
        let site = format!("site-{dir}");
        Ran::of(shell.args(["-c", &script, REFGATE, &site]).arg(&file).current_dir(lab.dir.path())).ok();
        std::fs::metadata(file).unwrap().permissions().mode() & 0o777
    };
    for (umask, in_shared) in [("0", 0o660), ("002", 0o660), ("022", 0o600), ("077", 0o600)] {
        // In a directory that a group shares, it is the group's as well.
        for (kind, bits, expected) in [("own", 0o755, 0o600), ("shared", 0o770, in_shared)] {
            let dir = format!("{kind}{umask}");
            std::fs::create_dir(lab.path(&dir)).unwrap();
            mode(&lab.path(&dir), bits);
            assert_eq!(made(&dir, umask), expected, "{kind}, umask {umask}");
        }
    }
}
