//! `refgate`: keeps git sites from overwriting each other.
//!
//! Parses the command line, runs one command, and turns its outcome into output and an exit code.

mod args;
mod commands;
mod help;
mod output;
mod progress;
mod system;

use std::process::ExitCode;
use std::time::Duration;

use crate::output::Output;

/// Threads that a command has at the same time on a machine with few processors: two that drive it, some that wait for git
/// and feed it, and those of the ref-db and of the filters.
const THREADS: usize = 12;

/// What SQLite may use, in bytes: a file that somebody else may have written must not take the machine.
const SQLITE_MEMORY: u32 = 128 << 20;

/// How long work that was given up, on threads of its own, may take to end.
const LAST_WAIT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    // Before anything else of this program takes time, memory or threads.
    if std::env::args_os().nth(1).is_some_and(|first| first == system::COMPILE) {
        return refgate_runtime::compile_child();
    }
    let args = match help::parse() {
        Ok(args) => args,
        Err(e) => return output::usage_error(&e),
    };
    let output = Output::new(args.json, args.command.name());
    let threads = THREADS + args.command.more_threads();
    if let Err(why) = refgate_runtime::room_for_threads(threads as u64) {
        return output.fail(&refgate_host::Error::failed(format!("this program cannot run here: {why}")));
    }
    // A runtime that has no thread for a task panics, so what it and the command may need is tried first.
    let runtime = system::threads(threads)
        .and_then(|()| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return output.fail(&refgate_host::Error::failed(refgate_runtime::no_thread(&e))),
    };
    if let Err(why) = refgate_refdb::bound_sqlite_memory(SQLITE_MEMORY) {
        return output
            .fail(&refgate_host::Error::failed(format!("this program cannot run here: SQLite: {why}")));
    }
    let code = match runtime.block_on(commands::run(args, &output)) {
        Ok(code) => output.code(code),
        Err(e) => output.fail(&e),
    };
    // Not dropped: that would wait for a thread that a disk does not answer.
    runtime.shutdown_timeout(LAST_WAIT);
    code
}
