//! Starts the process that compiles, waits for it, and ends it when it takes too long or is not wanted any more.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wasmtime::component::Component;

use super::child::{CODE, MACHINE, PLUGIN, Task};
use super::{CompileLimits, Job, LOOK, refused};
use crate::log::printable;
use crate::{LoadError, cache, machine};

/// Bytes of an answer. Code is a few times as large as the component.
const ANSWER: usize = 1 << 30;

/// What a Rust program dies of when memory or stack run out.
const ABORTED: i32 = 6;

/// Compiles `job` in a process of its own.
pub(super) fn compile(
    program: &(dyn Fn() -> Command + Send + Sync),
    limits: CompileLimits,
    job: &Job<'_>,
) -> Result<Component, LoadError> {
    let cannot = |e: &io::Error| LoadError::machine(machine::no_process(e));
    let mut command = program();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().map_err(|e| cannot(&e))?);
    let (input, output) = (running.0.stdin.take(), running.0.stdout.take());
    let (Some(input), Some(output)) = (input, output) else {
        return Err(cannot(&io::Error::other("it has no pipes")));
    };
    let task = Task { shape: job.shape, memory: limits.memory, time: limits.time };
    std::thread::scope(|scope| {
        // It is ended before the scope waits for the thread, which then writes to nobody.
        let mut running = running;
        let feed = || feed(input, &task, job.wasm);
        let fed = std::thread::Builder::new().name("refgate-feed".to_owned()).spawn_scoped(scope, feed);
        fed.map_err(|e| LoadError::machine(machine::no_thread(&e)))?;
        let answer = answer(output, limits, job)?;
        match answer.split_first() {
            // The process is ours, and so is the only other end of its output.
            Some((&CODE, code)) => cache::load_ours(job.engine, code).map_err(|e| refused(job.name, &e)),
            Some((&PLUGIN, cause)) => Err(LoadError::plugin(job.name, String::from_utf8_lossy(cause))),
            Some((&MACHINE, cause)) => Err(LoadError::machine(String::from_utf8_lossy(cause))),
            _ => Err(died(running.0.wait().map_err(|e| cannot(&e))?, limits, job)),
        }
    })
}

/// Ends the process however its compiling ended.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it is not there any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn feed(mut input: ChildStdin, task: &Task, wasm: &[u8]) {
    let mut line = serde_json::to_vec(task).unwrap_or_default();
    line.push(b'\n');
    // A process that died before it has read all is told by its answer.
    let _ = input.write_all(&line).and_then(|()| input.write_all(wasm));
}

/// All that the process says, if it says it in time.
fn answer(mut output: ChildStdout, limits: CompileLimits, job: &Job<'_>) -> Result<Vec<u8>, LoadError> {
    #[expect(clippy::disallowed_methods, reason = "a process is waited for, in real time")]
    let now = Instant::now;
    let start = now();
    let broken = |e: &io::Error| LoadError::machine(machine::no_process(e));
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let left = limits.time.saturating_sub(now().duration_since(start));
        if left.is_zero() {
            return Err(too_slow(limits, job));
        }
        if !is_readable(&output, left.min(LOOK)).map_err(|e| broken(&e))? {
            if (job.given_up)() {
                return Err(LoadError::given_up(job.name));
            }
            continue;
        }
        match output.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(more) if answer.len() + more > ANSWER => {
                let cause =
                    format!("its compiled code is larger than {} MiB: build it smaller", ANSWER >> 20);
                return Err(LoadError::plugin(job.name, cause));
            }
            Ok(more) => answer.extend_from_slice(&piece[..more]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(broken(&e)),
        }
    }
}

fn is_readable(output: &ChildStdout, most: Duration) -> io::Result<bool> {
    let timeout = Timespec {
        tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(most.subsec_nanos()),
    };
    match poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn too_slow(limits: CompileLimits, job: &Job<'_>) -> LoadError {
    let cause = format!(
        "compiling it takes longer than {}: build it smaller, or raise `plugins.compileTimeout` if you trust its author",
        shown(limits.time)
    );
    LoadError::plugin(job.name, cause)
}

fn shown(time: Duration) -> String {
    match time.as_millis() {
        ms if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        ms => format!("{ms} ms"),
    }
}

/// Why there is no answer.
fn died(status: ExitStatus, limits: CompileLimits, job: &Job<'_>) -> LoadError {
    let raise = "build it smaller, or raise `plugins.compileMemory` if you trust its author";
    let cause = match status.signal() {
        Some(ABORTED) if machine::is_tight() => return LoadError::machine(machine::no_memory()),
        Some(ABORTED) => {
            format!("compiling it takes more than {} MiB of memory: {raise}", limits.memory >> 20)
        }
        Some(signal) => format!("compiling it was ended by the system (signal {signal}): {raise}"),
        None => {
            let cause = format!("the process that compiles plugins gave no answer ({status})");
            return LoadError::machine(printable(&cause));
        }
    };
    LoadError::plugin(job.name, cause)
}
