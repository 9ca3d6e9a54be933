//! The sqlite backend against real files, other processes and a kill: what the conformance suite does not show.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::*;
use refgate_core::{Atomicity::AllOrNothing, Edit, Expected, GlobalRef, Lookup, Outcome, RefDbErrorKind};
use refgate_refdb::Location;
use refgate_refdb::OpenMode::{Create, Existing};
use rusqlite::Connection;

/// Names the part that this executable plays when a test starts it again.
const ROLE: &str = "REFGATE_TEST_ROLE";
const FILE: &str = "REFGATE_TEST_FILE";

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }
    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }
    fn store(&self) -> Store {
        Store(open_sqlite(&self.path("r.sqlite"), Create).unwrap().db)
    }
    /// Another program at the same file.
    fn raw(&self) -> Connection {
        Connection::open(self.path("r.sqlite")).unwrap()
    }
}

fn child(role: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "child_process", "--nocapture"]);
    command.env(ROLE, role).env(FILE, file).stdout(Stdio::null());
    command
}

#[test]
#[ignore = "the other tests start it as a process of its own"]
fn child_process() {
    let role = std::env::var(ROLE).expect("started by another test");
    let file = PathBuf::from(std::env::var_os(FILE).unwrap());
    if role == "refused" {
        let e = open_sqlite(&file, Existing).unwrap_err();
        assert!(matches!(e.kind, RefDbErrorKind::Config | RefDbErrorKind::Unavailable), "{e:?}");
        assert!(e.message.contains("writ"), "{e}");
        return;
    }
    let store = Store(open_sqlite(&file, Create).unwrap().db);
    match role.as_str() {
        "lock" => {
            let hour = std::time::Duration::from_secs(3600);
            let (p, a) = (project("p"), name("refs/a"));
            let _lock = block_on(store.0.lock(&p, &a, hour, within(5_000))).unwrap();
            store.put("p", "refs/locked", at(1));
            std::thread::park();
        }
        "stop" => {
            let connection = Connection::open(&file).unwrap();
            connection.execute_batch("BEGIN IMMEDIATE; DELETE FROM entry").unwrap();
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::STOP).unwrap();
            // This thread may run on for a moment while the others stop.
            while !file.with_extension("go").exists() {
                pause(5);
            }
            connection.execute_batch("ROLLBACK").unwrap();
        }
        "count" => (0..50).for_each(|_| increment(&store)),
        "endless" => loop {
            // Three refs that always move together.
            let GlobalRef::At(old) = store.value("p", "refs/0") else { panic!("no refs/0") };
            let n = number(old.as_bytes()) + 1;
            let edits: Vec<Edit> = (0..3)
                .map(|i| edit(&format!("refs/{i}"), Expected::Exactly(GlobalRef::At(old)), at(n)))
                .collect();
            store.edits("p", &edits, AllOrNothing).unwrap();
        },
        _ => panic!("unknown role `{role}`"),
    }
}

fn number(oid: &[u8]) -> u64 {
    u64::from_be_bytes(oid[12..].try_into().unwrap())
}

fn increment(store: &Store) {
    loop {
        let before = store.value("p", "refs/counter");
        let n = before.oid().map_or(0, |oid| number(oid.as_bytes()));
        if store.cas("p", "refs/counter", Expected::Exactly(before), at(n + 1)) == Outcome::Applied {
            return;
        }
    }
}

fn refused(path: &Path, mode: refgate_refdb::OpenMode, kind: RefDbErrorKind, part: &str) {
    let e = open_sqlite(path, mode).unwrap_err();
    assert_eq!(e.kind, kind, "{e}");
    assert!(e.message.contains(part), "{e}");
    assert!(e.message.contains(path.to_str().unwrap()), "{e}");
}

#[test]
fn only_create_makes_a_missing_file_and_says_so() {
    let dir = Dir::new();
    let path = dir.path("r.sqlite");
    refused(&path, Existing, RefDbErrorKind::Unavailable, "no such file");
    assert!(!path.exists());
    assert!(open_sqlite(&path, Create).unwrap().created);
    assert!(!open_sqlite(&path, Create).unwrap().created);
    assert!(!open_sqlite(&path, Existing).unwrap().created);
    refused(&dir.path("no").join("r.sqlite"), Create, RefDbErrorKind::Config, "directory does not exist");
    assert!(!dir.path("no").exists());
}

#[test]
fn a_path_without_a_directory_is_below_the_current_one() {
    let open = |mode, file: &str| {
        let clock = std::sync::Arc::new(RealClock);
        refgate_refdb::open(&Location::new(format!("sqlite:{file}"), ""), mode, clock)
    };
    let here = std::env::current_dir().unwrap();
    let e = open(Existing, "no.sqlite").unwrap_err();
    assert!(e.message.contains(here.join("no.sqlite").to_str().unwrap()), "{e}");
    // Below the root as seen from here, so that nothing is written into the sources.
    let dir = Dir::new();
    let up = "../".repeat(here.components().count() - 1);
    let path = format!("{}{}", up, dir.path("r.sqlite").strip_prefix("/").unwrap().display());
    assert!(open(Create, &path).unwrap().created);
    assert!(dir.path("r.sqlite").exists());
}

#[test]
fn what_is_written_is_there_for_the_next_process() {
    let dir = Dir::new();
    let store = dir.store();
    store.put("p", "refs/a", at(1));
    drop(store);
    assert_eq!(fs::read_dir(dir.0.path()).unwrap().count(), 1, "closed: no -wal, no -shm");
    assert_eq!(dir.store().value("p", "refs/a"), at(1));
}

#[test]
fn foreign_and_broken_files_are_refused_and_left_alone() {
    let dir = Dir::new();
    let make = |file: &str, sql: &str| {
        Connection::open(dir.path(file)).unwrap().execute_batch(sql).unwrap();
    };
    make("foreign", "CREATE TABLE t (x); INSERT INTO t VALUES (1)");
    make("foreign-wal", "PRAGMA journal_mode=WAL; CREATE TABLE t (x)");
    make("newer", "CREATE TABLE t (x); PRAGMA application_id=0x72676462; PRAGMA user_version=4");
    make("tables", "CREATE TABLE t (x); PRAGMA application_id=0x72676462; PRAGMA user_version=1");
    fs::write(dir.path("text"), "[core]\n".repeat(100)).unwrap();
    fs::write(dir.path("short"), "x").unwrap();
    fs::write(dir.path("empty"), "").unwrap();
    drop(open_sqlite(&dir.path("torn"), Create).unwrap());
    let whole = fs::read(dir.path("torn")).unwrap();
    let mut torn = whole.clone();
    torn[100..].fill(0x5a);
    fs::write(dir.path("torn"), torn).unwrap();
    fs::create_dir(dir.path("dir")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path("socket")).unwrap();
    for (file, kind, part) in [
        ("foreign", RefDbErrorKind::Config, "file of another program"),
        ("foreign-wal", RefDbErrorKind::Config, "file of another program"),
        ("newer", RefDbErrorKind::Config, "version 4, this refgate knows 3"),
        ("tables", RefDbErrorKind::Corrupt, "tables of a ref-db"),
        ("text", RefDbErrorKind::Corrupt, "not an SQLite database"),
        ("short", RefDbErrorKind::Config, "file of another program"),
        ("empty", RefDbErrorKind::Config, "the file is empty"),
        ("torn", RefDbErrorKind::Corrupt, "damaged"),
        ("dir", RefDbErrorKind::Config, "directory"),
        ("socket", RefDbErrorKind::Config, "not a regular file"),
    ] {
        let path = dir.path(file);
        let before = fs::read(&path).ok();
        for mode in [Existing, Create] {
            refused(&path, mode, kind, part);
        }
        assert_eq!(fs::read(&path).ok(), before, "{file} is untouched");
    }
    let left = fs::read_dir(dir.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let beside: Vec<String> = left.filter(|n| n.contains("-wal") && n != "foreign-wal").collect();
    assert!(beside.is_empty(), "{beside:?}");
}

#[test]
fn a_file_that_this_user_may_not_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (directory, file) in [(0o755, 0o444), (0o777, 0o444), (0o555, 0o666)] {
        let dir = Dir::new();
        let path = dir.path("r.sqlite");
        drop(dir.store());
        allow(dir.0.path(), directory);
        allow(&path, file);
        let mut command = child("refused", &path);
        if rustix::process::geteuid().is_root() {
            // Root may write everything: let nobody try.
            command.uid(65534).gid(65534);
        }
        let output = command.stderr(Stdio::piped()).output().unwrap();
        assert!(
            output.status.success(),
            "{directory:o} {file:o}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        allow(dir.0.path(), 0o755);
        assert_eq!(fs::read_dir(dir.0.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}

#[test]
fn a_damaged_entry_spoils_only_itself() {
    let dir = Dir::new();
    let store = dir.store();
    for r in ["refs/a", "refs/b", "refs/c"] {
        store.put("p", r, at(1));
    }
    dir.raw().execute_batch("UPDATE entry SET value = x'7a7a' WHERE name = CAST('refs/b' AS BLOB)").unwrap();
    let found = store.lookups("p", &["refs/a", "refs/b", "refs/c"]);
    assert!(matches!(&found[0], Lookup::Entry(e) if e.value == at(1)));
    assert!(matches!(&found[1], Lookup::Unreadable(why) if why.contains("no object id")), "{:?}", found[1]);
    assert!(matches!(&found[2], Lookup::Entry(e) if e.value == at(1)));
    // It is never overwritten by a conditional write, and takes the whole call with it.
    let edits = [edit("refs/a", Expected::Exactly(at(1)), at(2)), edit("refs/b", Expected::Absent, at(2))];
    let e = store.edits("p", &edits, refgate_core::Atomicity::Each).unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::Corrupt);
    assert!(e.message.contains("`refs/b` in `p`") && e.message.contains("refdb put"), "{e}");
    assert_eq!(store.value("p", "refs/a"), at(1));
    let p = project("p");
    let page = block_on(store.0.scan(&p, b"", None, 9, within(10_000))).unwrap();
    let kinds: Vec<bool> = page.rows.iter().map(|(_, found)| found.entry().is_some()).collect();
    assert_eq!(kinds, [true, false, true], "{:?}", page.rows);
    store.put("p", "refs/b", at(3));
    assert_eq!(store.scan("p", "", None, 9).len(), 3);
}

#[test]
fn a_stuck_writer_costs_a_bounded_error_and_no_read() {
    let dir = Dir::new();
    let store = dir.store();
    store.put("p", "refs/a", at(1));
    let stuck = dir.raw();
    stuck.execute_batch("BEGIN IMMEDIATE; DELETE FROM entry").unwrap();
    let (p, a) = (project("p"), name("refs/a"));
    let start = now();
    std::thread::scope(|s| {
        let write = s.spawn(|| block_on(store.0.put(&p, &a, at(2), within(1_500))));
        // While that one waits:
        for _ in 0..5 {
            assert_eq!(
                block_on(store.0.get_many(&p, std::slice::from_ref(&a), within(1_000))).unwrap().len(),
                1
            );
        }
        let e = write.join().unwrap().unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Unavailable);
        assert!(e.message.contains("another process"), "{e}");
    });
    let took = start.elapsed().as_millis();
    assert!((900..3_000).contains(&took), "{took} ms");
    stuck.execute_batch("ROLLBACK").unwrap();
    pause(50);
    assert_eq!(store.value("p", "refs/a"), at(1), "what was refused does not land later");
    store.put("p", "refs/a", at(3));
    assert_eq!(store.value("p", "refs/a"), at(3));
}

/// Waits until the process is stopped (`T` in proc_pid_stat(5)).
fn until_stopped(child: &Child) {
    let start = now();
    loop {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        if stat.rsplit_once(") ").unwrap().1.starts_with('T') {
            return;
        }
        assert!(start.elapsed().as_secs() < 20, "it never stopped");
        pause(5);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_is_stopped_while_it_writes_costs_a_bounded_error_and_no_read() {
    let dir = Dir::new();
    let store = dir.store();
    store.put("p", "refs/a", at(1));
    let (p, a) = (project("p"), name("refs/a"));
    let lease = std::time::Duration::from_secs(60);
    let held = block_on(store.0.lock(&p, &name("refs/held"), lease, within(5_000))).unwrap();
    let mut stopped = child("stop", &dir.path("r.sqlite")).spawn().unwrap();
    until_stopped(&stopped);
    assert_eq!(store.value("p", "refs/a"), at(1));
    let edits = [edit("refs/a", Expected::Exactly(at(1)), at(2))];
    let bounded = |what: &str, call: &dyn Fn() -> Option<refgate_core::RefDbError>| {
        let start = now();
        let e = call().unwrap_or_else(|| panic!("{what} worked"));
        let took = start.elapsed().as_millis();
        assert_eq!(e.kind, RefDbErrorKind::Unavailable, "{what}: {e}");
        // On a busy machine the deadline comes before SQLite gives up.
        let told = ["another process", "nothing was written", "was not taken in time"];
        assert!(told.iter().any(|part| e.message.contains(part)), "{what}: {e}");
        assert!((300..2_000).contains(&took), "{what}: {took} ms");
    };
    bounded("a put", &|| block_on(store.0.put(&p, &a, at(2), within(500))).err());
    bounded("a compare-and-put", &|| {
        block_on(store.0.compare_and_put(&p, &edits, AllOrNothing, within(500))).err()
    });
    bounded("a lock", &|| block_on(store.0.lock(&p, &a, lease, within(500))).err());
    bounded("a renewal", &|| block_on(held.renew(within(500))).err());
    // Somebody else's lock can be seen, so this is not a store that is out of order.
    let e = block_on(store.0.lock(&p, &name("refs/held"), lease, within(200))).err().unwrap();
    assert_eq!(e.kind, RefDbErrorKind::LockTimeout, "{e}");
    assert!(held.is_valid());
    fs::write(dir.path("r.go"), "").unwrap();
    let pid = rustix::process::Pid::from_child(&stopped);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert!(stopped.wait().unwrap().success());
    assert_eq!(store.value("p", "refs/a"), at(1), "what was refused does not land later");
    block_on(store.0.lock(&p, &a, lease, within(5_000))).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn the_lock_of_a_killed_process_is_free_at_once_and_that_of_a_stopped_one_is_not() {
    use rustix::process::{Pid, Signal, kill_process};
    let dir = Dir::new();
    let store = dir.store();
    let (p, a) = (project("p"), name("refs/a"));
    let mut holder = child("lock", &dir.path("r.sqlite")).spawn().unwrap();
    let start = now();
    while store.value("p", "refs/locked") == GlobalRef::Untracked {
        assert!(start.elapsed().as_secs() < 20, "the holder does not begin");
        pause(5);
    }
    let lock = |ms| block_on(store.0.lock(&p, &a, std::time::Duration::from_secs(60), within(ms)));
    assert_eq!(lock(100).err().unwrap().kind, RefDbErrorKind::LockTimeout);
    kill_process(Pid::from_child(&holder), Signal::STOP).unwrap();
    until_stopped(&holder);
    assert_eq!(lock(100).err().unwrap().kind, RefDbErrorKind::LockTimeout);
    // Not waited for: a zombie holds nothing.
    kill_process(Pid::from_child(&holder), Signal::KILL).unwrap();
    assert!(lock(5_000).unwrap().is_valid());
    holder.wait().unwrap();
}

#[test]
fn a_call_that_is_dropped_writes_nothing() {
    let dir = Dir::new();
    let store = dir.store();
    let stuck = dir.raw();
    stuck.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (p, a) = (project("p"), name("refs/a"));
    block_on(async {
        let write = store.0.put(&p, &a, at(1), within(5_000));
        tokio::time::timeout(std::time::Duration::from_millis(100), write).await.unwrap_err();
    });
    stuck.execute_batch("COMMIT").unwrap();
    // The next write waits for the thread, so the dropped one had its chance.
    store.put("p", "refs/b", at(2));
    assert_eq!(store.scan("p", "", None, 9), ["refs/b"]);
}

#[test]
fn a_passed_deadline_is_answered_at_once() {
    let dir = Dir::new();
    let store = dir.store();
    let (p, a) = (project("p"), name("refs/a"));
    let e = block_on(store.0.put(&p, &a, at(1), within(0))).unwrap_err();
    assert_eq!(e.kind, RefDbErrorKind::Unavailable);
    assert!(e.message.contains("nothing was written"), "{e}");
    assert_eq!(store.value("p", "refs/a"), GlobalRef::Untracked);
}

#[test]
fn a_file_that_is_moved_away_is_noticed() {
    let dir = Dir::new();
    let store = dir.store();
    store.put("p", "refs/a", at(1));
    fs::rename(dir.path("r.sqlite"), dir.path("old")).unwrap();
    let (p, a) = (project("p"), name("refs/a"));
    let get = |part: &str| {
        let e = block_on(store.0.get_many(&p, std::slice::from_ref(&a), within(1_000))).unwrap_err();
        assert_eq!(e.kind, RefDbErrorKind::Unavailable);
        assert!(e.message.contains(part), "{e}");
    };
    get("the file is gone");
    drop(open_sqlite(&dir.path("r.sqlite"), Create).unwrap());
    get("the file was replaced");
}

#[test]
fn several_processes_lose_no_increment() {
    let dir = Dir::new();
    // None of them finds a file: they race to make it, too.
    let path = dir.path("r.sqlite");
    let children: Vec<Child> = (0..4).map(|_| child("count", &path).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(dir.store().value("p", "refs/counter"), at(200));
}

#[test]
fn a_killed_writer_leaves_a_whole_state() {
    let dir = Dir::new();
    let store = dir.store();
    for i in 0..3 {
        store.put("p", &format!("refs/{i}"), at(0));
    }
    let mut last = 0;
    for round in 0..8 {
        let mut writer = child("endless", &dir.path("r.sqlite")).spawn().unwrap();
        let moving = now();
        while store.value("p", "refs/0") == at(last) {
            assert!(moving.elapsed().as_secs() < 10, "the writer does not write");
        }
        pause(5 + round * 3);
        writer.kill().unwrap();
        writer.wait().unwrap();
        let values: Vec<_> = store.get("p", &["refs/0", "refs/1", "refs/2"]);
        assert!(values.iter().all(|e| *e == values[0]), "half a write: {values:?}");
        let n = number(values[0].value.oid().unwrap().as_bytes());
        assert!(n > last);
        assert_eq!(values[0].superseded.len() as u64, n, "every value that was replaced is listed");
        last = n;
    }
    let check: String = dir.raw().query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(check, "ok");
    store.put("p", "refs/0", at(1));
}
