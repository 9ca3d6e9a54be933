//! The process that compiles one component and ends.

use std::io::{self, BufRead, Read, Write};
use std::num::NonZero;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Duration;

use rayon::ThreadPoolBuilder;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use wasmtime::Engine;

use super::{Shape, damaged};
use crate::limits::COMPONENT_BYTES;
use crate::machine;

/// Most threads that compile: each takes memory of its own.
const THREADS: usize = 8;

/// What the process is told in its first line. The component follows.
#[derive(Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) shape: Shape,
    /// Bytes of memory.
    pub(super) memory: u64,
    pub(super) time: Duration,
}

/// The first byte of the answer, which says what follows.
pub(super) const CODE: u8 = b'C';
/// Why the component is refused, in words.
pub(super) const PLUGIN: u8 = b'P';
/// What the machine refuses, in words.
pub(super) const MACHINE: u8 = b'M';

/// Does the work of a process that [`Compiler::Process`](super::Compiler) starts: reads a component from standard input,
/// compiles it within the limits that it is given, and writes the code to standard output. A program calls this before it
/// does anything else, and ends with the exit code.
pub fn compile_child() -> ExitCode {
    let answer = task().map(|(task, wasm)| {
        bound(&task);
        catch_unwind(|| compile(&task, &wasm))
            .unwrap_or_else(|_| Err((PLUGIN, "the compiler fails on it: build it in another way".to_owned())))
    });
    let (kind, text) = match answer {
        Ok(Ok(code)) => (CODE, code),
        Ok(Err((kind, cause))) => (kind, cause.into_bytes()),
        Err(_) => return ExitCode::FAILURE,
    };
    let mut out = io::stdout().lock();
    match out.write_all(&[kind]).and_then(|()| out.write_all(&text)).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody waits for it any more.
        Err(_) => ExitCode::FAILURE,
    }
}

fn task() -> io::Result<(Task, Vec<u8>)> {
    let mut input = io::stdin().lock().take(COMPONENT_BYTES + (1 << 16));
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    let task = serde_json::from_slice(&line)?;
    let mut wasm = Vec::new();
    input.read_to_end(&mut wasm)?;
    Ok((task, wasm))
}

/// What happens when whoever waits for this process died: it ends by itself. Memory is refused beyond its limit, which ends
/// it at once, and leaves no dump of it.
fn bound(task: &Task) {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let seconds = task.time.as_secs().saturating_add(1).saturating_mul(processors.min(THREADS) as u64);
    for (resource, most) in [(Resource::Data, task.memory), (Resource::Cpu, seconds), (Resource::Core, 0)] {
        let most = getrlimit(resource).maximum.map_or(most, |now| now.min(most));
        // A system that knows no such limit has the others.
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

fn compile(task: &Task, wasm: &[u8]) -> Result<Vec<u8>, (u8, String)> {
    let refused = |e: wasmtime::Error| match machine::refusal(&e) {
        Some(cause) => (MACHINE, cause),
        None => (PLUGIN, damaged(&e)),
    };
    let engine = Engine::new(&task.shape.config()).map_err(refused)?;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let pool = |threads| ThreadPoolBuilder::new().num_threads(threads).build();
    // One thread compiles as well, only later.
    let pool = pool(processors.min(THREADS)).or_else(|_| pool(1));
    let pool = pool.map_err(|e| (MACHINE, machine::no_thread(&io::Error::other(e))))?;
    pool.install(|| engine.precompile_component(wasm)).map_err(refused)
}
