//! Machines that give little: address space, executable memory and threads have limits. What can work works, and where it
//! cannot there is one sentence with what to do, which blames no plugin.

use std::process::Command;

use crate::common::{Lab, PROJECT, REFGATE, Ran, clean, mode, root};

/// A filter that was built long ago.
fn add_plugin(lab: &Lab) {
    let wasm = std::fs::read(root().join("tests/fixtures/guests/0.1.0/push.wasm")).unwrap();
    lab.write("a/plugins/old.wasm", wasm);
}

/// A site with a commit that is to be pushed, and a plugin beside the shipped ones.
fn lab() -> Lab {
    let (lab, first) = Lab::seeded();
    let new = lab.commit("a", "refs/heads/main", &[&first]);
    lab.run("a", &["refdb", "cas", PROJECT, "refs/heads/main", &first, &new]).ok();
    add_plugin(&lab);
    lab
}

/// The program with so many KiB of address space, and nothing that an earlier run compiled.
fn with_space(lab: &Lab, kib: u64, args: &[&str]) -> Ran {
    // Nothing is there before the first run.
    let _ = std::fs::remove_dir_all(lab.path("a/plugins.state"));
    let mut command = clean("sh", lab.dir.path());
    let script = format!("ulimit -v {kib} && exec \"$0\" \"$@\"");
    Ran::of(command.current_dir(lab.path("a")).args(["-c", &script, REFGATE]).args(args))
}

/// Panics unless the command says what is missing and what to do, and blames nobody.
fn is_told(ran: &Ran, parts: &[&str]) {
    assert!([1, 2].contains(&ran.code), "exit {}: {}{}", ran.code, ran.out, ran.err);
    ran.says(parts);
    for word in ["panicked", "broke the rules", "old.wasm", "plugin `push`", "filter-failed", "damaged"] {
        assert!(!ran.err.contains(word) && !ran.out.contains(word), "`{word}` in: {}{}", ran.out, ran.err);
    }
    assert_eq!(ran.err.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{}", ran.err);
}

/// Commands that need filters.
const ASKING: [&[&str]; 5] = [
    &["push", PROJECT, "b", "--dry-run"],
    &["fetch", PROJECT, "b", "--dry-run"],
    &["plugins", "list"],
    &["config", "check"],
    &["project", "match", PROJECT],
];

#[test]
fn four_gib_of_address_space_are_enough() {
    let lab = lab();
    for args in [&["plugins", "list"] as &[&str], &["config", "check"]] {
        with_space(&lab, 4 << 20, args).ok();
    }
    let pushed = with_space(&lab, 4 << 20, &["push", PROJECT, "b"]);
    assert!(pushed.ok().contains("1 replicated, 0 held back"), "{}", pushed.out);
    assert_eq!(lab.refs("a"), lab.refs("b"));
}

#[test]
fn too_little_address_space_is_said_before_anything_is_decided() {
    let lab = lab();
    let before = lab.refs("b");
    for mib in [192, 320, 448] {
        for args in ASKING {
            let limit = format!("{mib} MiB");
            is_told(&with_space(&lab, mib << 10, args), &[&limit, "ulimit -v"]);
        }
    }
    assert_eq!(lab.refs("b"), before);
    // What needs no filter needs no room for one.
    let listed = with_space(&lab, 448 << 10, &["refdb", "ls", PROJECT]);
    assert!(listed.ok().contains("refs/heads/main"), "{}", listed.err);
}

#[test]
fn memory_that_may_not_be_executed_is_said_before_anything_is_decided() {
    let lab = lab();
    // PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN, since Linux 6.3; exit 99 where there is none.
    let python = "import ctypes, os, sys\n\
                  if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(99)\n\
                  os.execv(sys.argv[1], sys.argv[1:])";
    // Also with compiled code that is there already.
    lab.run("a", &["plugins", "list"]).ok();
    for args in ASKING {
        let mut command = clean("python3", lab.dir.path());
        let ran = Ran::of(command.current_dir(lab.path("a")).args(["-c", python, REFGATE]).args(args));
        if ran.code == 99 {
            return;
        }
        is_told(&ran, &["may not make memory executable", "MemoryDenyWriteExecute=no"]);
        ran.exits(2);
        assert!(!ran.err.contains("compiled again"), "the cache is right: {}", ran.err);
    }
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_threads_that_cannot_be_started_are_said() {
    let lab = lab();
    mode(lab.dir.path(), 0o755);
    std::fs::copy(REFGATE, lab.path("refgate")).unwrap();
    let chown = Command::new("chown").args(["-R", "12346"]).arg(lab.dir.path()).status();
    assert!(chown.unwrap().success());
    let run = |threads: u32, args: &[&str]| {
        let mut command = clean("setpriv", lab.dir.path());
        let limit = format!("--nproc={threads}");
        command.args(["--reuid", "12346", "--clear-groups", "prlimit", &limit]).arg(lab.path("refgate"));
        Ran::of(command.current_dir(lab.path("a")).args(args))
    };
    for threads in [1, 2, 5, 9] {
        for args in ASKING {
            is_told(&run(threads, args), &["cannot start a thread", "ulimit -u", "TasksMax="]);
        }
    }
    run(100, &["push", PROJECT, "b"]).ok();
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_plugins_on_volumes_of_a_cluster_load() {
    let lab = lab();
    std::fs::remove_file(lab.path("a/plugins/old.wasm")).unwrap();
    let wasm = root().join("tests/fixtures/guests/0.1.0/push.wasm");
    // As the kubelet lays out a Secret and a ConfigMap, which are mounted read-only, and a volume with `fsGroup`.
    for (options, prepare, expected) in [
        ("mode=1777", "mount -o remount,ro plugins", 0),
        ("mode=0777", "mount -o remount,ro plugins", 0),
        ("mode=1777", ":", 0),
        ("mode=2775,gid=54321", ":", 0),
        ("mode=3777,gid=54321", "chmod 660 plugins/..1/*; chgrp 54321 plugins/..1/*", 0),
        ("mode=0777", ":", 2),
        ("mode=2775,gid=54322", ":", 2),
        ("mode=1777", "chown -h 12346 plugins/..1/old.wasm", 2),
        ("mode=1777", "ln -s /dev/null plugins/x.wasm; chown -h 12346 plugins/x.wasm", 2),
    ] {
        let script = format!(
            "mount -t tmpfs -o {options} none plugins || exit 99\n\
             mkdir plugins/..1; ln -s ..1 plugins/..data; cp \"$1\" plugins/..1/old.wasm; ln -s ..data/old.wasm plugins\n\
             chmod 755 plugins/..1; {prepare}\n\
             exec setpriv --groups 0,54321 \"$0\" plugins list"
        );
        let mut command = clean("unshare", lab.dir.path());
        command.current_dir(lab.path("a")).args(["-m", "sh", "-c", &script, REFGATE]).arg(&wasm);
        let ran = Ran::of(&mut command);
        assert_eq!(ran.code, expected, "{options}, {prepare}: {}{}", ran.out, ran.err);
        match expected {
            0 => assert!(ran.out.contains("old              push-filter      live"), "{}", ran.out),
            _ => ran.says(&["commands refuse this set"]),
        }
    }
}
