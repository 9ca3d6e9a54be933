//! Compiling components: where it is done, within what limits, and when it is given up.
//!
//! The compiler was written for code that its user trusts: there are small files that take it minutes and gigabytes. So it
//! can be run in a process of its own, which ends when it takes too much, and whoever waits for it looks up meanwhile.

mod child;
mod process;
mod shape;

pub use child::compile_child;
pub(crate) use shape::{Shape, Space};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{LoadError, machine};

/// How often whoever waits for the compiler looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// Where components are compiled. Those that are part of the program are always compiled in this process.
#[derive(Clone, Default)]
pub enum Compiler {
    /// In this process. A component can take as much time and memory as the compiler wants for it, and one that is no longer
    /// wanted is compiled to its end: for programs that load components of their own only.
    #[default]
    Here,
    /// In a process for each component.
    Process {
        /// The program to start, which has to do nothing but [`compile_child`]. Standard input, output and error are set
        /// here; it needs nothing of the environment.
        program: Arc<dyn Fn() -> Command + Send + Sync>,
        /// What the process may take.
        limits: CompileLimits,
    },
}

/// What compiling one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Time.
    pub time: Duration,
    /// Bytes of memory.
    pub memory: u64,
}

impl Default for CompileLimits {
    /// Two minutes and 2 GiB.
    fn default() -> CompileLimits {
        CompileLimits { time: Duration::from_secs(120), memory: 2 << 30 }
    }
}

/// A component to compile.
pub(crate) struct Job<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) shape: Shape,
    /// How errors name it.
    pub(crate) name: &'a str,
    pub(crate) wasm: &'a [u8],
    /// Whether nobody wants it any more.
    pub(crate) given_up: &'a dyn Fn() -> bool,
}

impl Compiler {
    /// Compiles a component that is not part of the program.
    pub(crate) fn compile(&self, job: &Job<'_>) -> Result<Component, LoadError> {
        machine::check_room(machine::COMPILER).map_err(LoadError::machine)?;
        match self {
            Compiler::Here => here(job),
            Compiler::Process { program, limits } => process::compile(program.as_ref(), *limits, job),
        }
    }
}

/// Compiles in this process.
pub(crate) fn here(job: &Job<'_>) -> Result<Component, LoadError> {
    machine::check_room(machine::COMPILER).map_err(LoadError::machine)?;
    let (send, result) = channel();
    let (engine, wasm) = (job.engine.clone(), job.wasm.to_vec());
    let work = move || {
        let compiled = catch_unwind(AssertUnwindSafe(|| Component::from_binary(&engine, &wasm)));
        // Nobody may wait any more.
        let _ = send.send(compiled);
    };
    machine::compile_later(work).map_err(LoadError::machine)?;
    loop {
        match result.recv_timeout(LOOK) {
            Ok(Ok(compiled)) => return compiled.map_err(|e| refused(job.name, &e)),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                return Err(LoadError::plugin(job.name, "the compiler fails on it: build it in another way"));
            }
            Err(RecvTimeoutError::Timeout) if (job.given_up)() => return Err(LoadError::given_up(job.name)),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// What the compiler or the loader says, as an error of the machine or of the component.
fn refused(name: &str, e: &wasmtime::Error) -> LoadError {
    match machine::refusal(e) {
        Some(cause) => LoadError::machine(cause),
        None => LoadError::plugin(name, damaged(e)),
    }
}

fn damaged(e: &wasmtime::Error) -> String {
    format!("it is damaged or uses what refgate does not run: {e:#}")
}
