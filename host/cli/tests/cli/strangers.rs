//! Plugin files of strangers: small ones that ask for very much, pipes and devices. Every command that reads one answers
//! within the limits that are configured, and a host that runs on goes on.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use refgate_runtime::Manifest;

use crate::common::{Lab, PROJECT, REFGATE, Ran, clean, mode};

#[path = "../../../../tests/programs/heavy/mod.rs"]
mod heavy;

/// Most memory that any process of a command may have had, in KiB: far above what it needs, far below what the files ask for.
const PEAK_KIB: u64 = 512 << 10;

/// Runs a command to its end, which has to come within minutes, and measures it with all that it started: none may have
/// been larger than [`PEAK_KIB`].
fn bounded(lab: &Lab, args: &[&str]) -> Ran {
    let script = "import resource, subprocess, sys\n\
                  try: code = subprocess.run(sys.argv[1:], timeout=240).returncode\n\
                  except subprocess.TimeoutExpired: code = 98\n\
                  peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n\
                  print('\\npeak', peak, file=sys.stderr)\n\
                  sys.exit(code if code >= 0 else 99)";
    let mut command = clean("python3", lab.dir.path());
    let ran = Ran::of(command.current_dir(lab.path("a")).args(["-c", script, REFGATE]).args(args));
    let peak = ran.err.lines().rev().find_map(|line| line.strip_prefix("peak ")?.parse::<u64>().ok());
    let peak = peak.unwrap_or_else(|| panic!("nothing was measured: {}", ran.err));
    assert!(![98, 99].contains(&ran.code), "{args:?} did not end, or crashed: {}", ran.err);
    assert!(peak < PEAK_KIB, "{args:?}: {peak} KiB; {}", ran.err);
    ran
}

fn limit(lab: &Lab, seconds: &str) {
    lab.configure("a", &format!("[plugins]\n    compileTimeout = {seconds}\n    compileMemory = 256"));
}

#[test]
fn a_small_file_that_asks_for_very_much_is_refused_by_every_command_within_the_limits() {
    let lab = Lab::new();
    limit(&lab, "3 s");
    let said = |name: &str| match name {
        "components" => "levels of components around it, and at most 32",
        "types" => "could nest, and at most 1000",
        "loops" => "loops within one another, and at most 100",
        "conditions" => "blocks times locals, and at most 50000000",
        "patterns" => "more than 256 patterns",
        _ => "compiling it takes ",
    };
    for (name, wasm) in heavy::all() {
        let file = format!("{name}.wasm");
        lab.write(&format!("a/{file}"), &wasm);
        for args in [&["plugins", "inspect"] as &[&str], &["plugins", "check"], &["bench"]] {
            if name == "slow" && args == ["bench"] {
                // It goes by no configuration, and would take its two minutes.
                continue;
            }
            let ran = bounded(&lab, &[args, &[&file]].concat());
            assert_eq!(ran.code, 2, "{args:?} {name}: {}", ran.err);
            ran.says(&[said(name)]);
        }
        // In the directory every command meets it, and says so.
        lab.write(&format!("a/plugins/{file}"), &wasm);
        let ran = bounded(&lab, &["plugins", "list"]);
        assert_eq!(ran.code, 2, "{name}: {}", ran.err);
        assert!(ran.out.contains(said(name)), "{name}: {}", ran.out);
        fs::remove_file(lab.path(&format!("a/plugins/{file}"))).unwrap();
        assert!(bounded(&lab, &["wit", "diff", &file, &file]).code != 0, "{name}");
    }
}

#[test]
fn compiling_within_little_memory_is_refused_or_done_and_never_more() {
    let lab = Lab::new();
    lab.configure("a", "[plugins]\n    compileTimeout = 600 s\n    compileMemory = 64");
    lab.write("a/slow.wasm", heavy::slow());
    let ran = bounded(&lab, &["plugins", "inspect", "slow.wasm"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    ran.says(&["slow.wasm", "compiling it takes more than 64 MiB of memory", "plugins.compileMemory"]);
}

#[test]
fn pipes_and_devices_in_the_place_of_files_are_refused_and_not_waited_for() {
    let lab = Lab::new();
    let good = refgate_filters::EMBEDDED.iter().find(|e| e.name == "push").unwrap().wasm;
    let pipe = |path: &Path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        mode(path, 0o600);
    };
    let zero = |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    let not_regular = "it is not a regular file";
    for make in [&pipe as &dyn Fn(&Path), &zero] {
        for side in ["x.wasm", "x.toml", "x.wasm.sig"] {
            let path = lab.path(&format!("a/plugins/{side}"));
            make(&path);
            if side != "x.wasm" {
                lab.write("a/plugins/x.wasm", good);
            }
            for args in [&["plugins", "list"] as &[&str], &["plugins", "check"], &["config", "check"]] {
                let ran = bounded(&lab, args);
                assert_eq!(ran.code, 2, "{side} {args:?}: {}", ran.err);
                assert!(format!("{}{}", ran.out, ran.err).contains(not_regular), "{side}: {}", ran.err);
            }
            let _ = fs::remove_file(lab.path("a/plugins/x.wasm"));
            let _ = fs::remove_file(&path);
        }
        let file = lab.path("a/y.wasm");
        make(&file);
        lab.write("a/good.wasm", good);
        make(&lab.path("a/good.wasm.sig"));
        make(&lab.path("a/signers"));
        for args in [
            &["plugins", "inspect", "./y.wasm"] as &[&str],
            &["plugins", "inspect", "./good.wasm"],
            &["plugins", "check", "y.wasm"],
            &["sign", "y.wasm", "--key", "signers"],
            &["sign", "good.wasm", "--key", "signers"],
            &["verify", "y.wasm", "--signers", "refgate.config"],
            &["verify", "good.wasm", "--signers", "signers"],
            &["wit", "diff", "y.wasm", "y.wasm"],
            &["build", "y.wasm", "-o", "z.wasm"],
            &["bench", "y.wasm"],
            &["test", "--filter", "y.wasm", "refgate.config"],
        ] {
            let ran = bounded(&lab, args);
            assert!([1, 2].contains(&ran.code), "{args:?}: {} {}", ran.code, ran.err);
        }
        for name in ["y.wasm", "good.wasm.sig", "signers"] {
            fs::remove_file(lab.path("a").join(name)).unwrap();
        }
    }
}

#[test]
fn globs_that_could_take_very_long_are_refused_when_they_are_given() {
    let (lab, _) = Lab::seeded();
    let long = "?".repeat(100_000);
    let ran = bounded(&lab, &["push", PROJECT, "b", "--dry-run", "--ref", &long]);
    ran.fails(2, &["a glob of 100000 bytes", "1024"]);
}

/// A host that runs on, and what it says.
struct Watch {
    child: Child,
    heard: Receiver<String>,
}

impl Watch {
    fn start(lab: &Lab) -> Watch {
        let mut command = lab.command("a");
        // Nothing is found by chance: what is not noticed at once is not noticed.
        command.args(["plugins", "watch", "--rescan", "3600"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (said, heard) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line))));
        Watch { child, heard }
    }

    fn next(&self) -> String {
        self.heard.recv_timeout(Duration::from_secs(120)).expect("another line")
    }

    /// The process that compiles for it, when it is there and not `before`.
    fn compiler(&self, before: Option<u32>) -> u32 {
        let is_ours = |id: u32| {
            let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // NUMBER (NAME) STATE PARENT …
            let fields = text.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
            fields.is_some_and(|fields| fields[0] != "Z" && fields[1] == self.child.id().to_string())
        };
        for _ in 0..2_400 {
            let all = fs::read_dir("/proc").unwrap().flatten();
            let mut ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
            if let Some(id) = ids.find(|id| Some(*id) != before && is_ours(*id)) {
                return id;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        panic!("nothing was compiled")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stops a process, so that what it does never ends by itself.
fn stop(id: u32) {
    let stopped = Command::new("kill").args(["-STOP", &id.to_string()]).status();
    assert!(stopped.unwrap().success());
}

fn build(version: &str) -> Vec<u8> {
    let push = refgate_filters::EMBEDDED.iter().find(|e| e.name == "push").unwrap();
    Manifest { version: Some(version.to_owned()), ..Manifest::default() }.embed(push.wasm).unwrap()
}

#[test]
fn while_something_compiles_a_running_host_takes_over_a_rollback_a_removal_and_a_good_plugin() {
    let lab = Lab::new();
    lab.configure("a", "[plugins]\n    compileTimeout = 3600 s");
    let put = |name: &str, bytes: Vec<u8>| {
        lab.write("a/new", bytes);
        fs::rename(lab.path("a/new"), lab.path("a/plugins").join(name)).unwrap();
    };
    let watch = Watch::start(&lab);
    assert!(watch.next().starts_with("generation 1 is live"));
    put("extra.wasm", build("1"));
    let line = watch.next();
    assert!(line.starts_with("generation 2 is live; new: extra"), "{line}");

    put("slow.wasm", heavy::slow());
    let first = watch.compiler(None);
    stop(first);
    lab.run("a", &["plugins", "rollback"]).ok();
    let line = watch.next();
    assert!(line.starts_with("generation 2 was rolled back, generation 3 is live"), "{line}");

    // What was taken back is in the way of its set. Without it, the other file is compiled again.
    fs::remove_file(lab.path("a/plugins/extra.wasm")).unwrap();
    let second = watch.compiler(Some(first));
    stop(second);
    fs::remove_file(lab.path("a/plugins/slow.wasm")).unwrap();
    put("other.wasm", build("2"));
    let line = watch.next();
    assert!(line.starts_with("generation 4 is live; new: other"), "{line}");
    for id in [first, second] {
        assert!(!Path::new(&format!("/proc/{id}/exe")).exists(), "the process is ended");
    }
}
