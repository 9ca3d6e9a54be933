//! What a poor machine refuses: address space, memory that may be executed, threads. Told apart from what a plugin does
//! wrong, and said before a plugin is asked.

use std::io;
use std::num::NonZero;
use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Bytes that must still be free beside the plugins where address space is limited: for the columns and verdicts of a
/// call, and for what the rest of the process does meanwhile. Without them an allocation fails somewhere, and the process
/// ends there.
const SPARE: usize = 64 << 20;

/// Bytes that compiling a usual component takes.
pub(crate) const COMPILER: usize = 192 << 20;

/// Most threads that compile where address space is limited.
const FEW: usize = 4;

/// Compiles on threads of this pool: the pool that the compiler would make by itself panics where no thread can be had.
static POOL: OnceLock<Result<ThreadPool, String>> = OnceLock::new();

/// What the machine refused, when that is the reason of `error`.
pub(crate) fn refusal(error: &wasmtime::Error) -> Option<String> {
    if error.downcast_ref::<wasmtime::OutOfMemory>().is_some() {
        return Some(no_memory());
    }
    error.chain().find_map(|cause| match cause.downcast_ref::<Errno>() {
        Some(errno) => said(errno.raw_os_error()),
        None => said(cause.downcast_ref::<io::Error>()?.raw_os_error()?),
    })
}

/// A refused system call in a sentence. The compiler and the engine make none but for memory.
fn said(errno: i32) -> Option<String> {
    let errno = Errno::from_raw_os_error(errno);
    Some(match errno {
        Errno::NOMEM | Errno::AGAIN => no_memory(),
        Errno::ACCESS | Errno::PERM => {
            "this process may not make memory executable, and plugins run as compiled code: \
             allow it (`MemoryDenyWriteExecute=no` in a systemd unit, `execmem` under SELinux)"
                .to_owned()
        }
        _ => return None,
    })
}

/// Address space that a thread takes, in bytes: 2 MiB of stack, and its share of the heap and of what the program maps.
const SPACE_PER_THREAD: u64 = 24 << 20;

pub(crate) fn no_memory() -> String {
    match limit() {
        Some(bytes) => format!(
            "the address space of this process is limited to {} MiB, which is too little: raise the limit (`ulimit -v \
             unlimited`, `LimitAS=infinity` in a systemd unit)",
            bytes >> 20
        ),
        None => "this machine has no memory left: free some, or give it more".to_owned(),
    }
}

/// Whether `threads` threads have room for their stacks and their heaps: one that starts without can only abort the
/// process.
///
/// # Errors
/// The sentence for a person.
pub fn room_for_threads(threads: u64) -> Result<(), String> {
    match limit() {
        Some(bytes) if bytes < threads * SPACE_PER_THREAD => Err(no_memory()),
        _ => Ok(()),
    }
}

/// That no thread could be started, and what to do.
pub fn no_thread(error: &io::Error) -> String {
    let space = match limit() {
        Some(bytes) => {
            format!(", or of address space, which is {} MiB (`ulimit -v`, `LimitAS=`)", bytes >> 20)
        }
        None => String::new(),
    };
    format!(
        "cannot start a thread ({error}): raise the limit of processes (`ulimit -u`, `TasksMax=` in a systemd unit, \
         `pids.max` of the control group){space}"
    )
}

/// That the process which compiles plugins could not be started or heard, and what to do.
pub(crate) fn no_process(error: &io::Error) -> String {
    format!(
        "cannot start a process that compiles plugins ({error}): raise the limit of processes (`ulimit -u`, `TasksMax=` in \
         a systemd unit, `pids.max` of the control group), and see that the program is still where it was"
    )
}

/// Bytes of address space that this process may use, if there is a limit.
fn limit() -> Option<u64> {
    getrlimit(Resource::As).current
}

/// Whether address space can run out before memory does. Then plugins are started when they are loaded, not when they are
/// first asked, so that what does not fit is known before a decision.
pub(crate) fn is_tight() -> bool {
    limit().is_some()
}

/// Whether there is room for what a call needs beside the memories of plugins.
pub(crate) fn check_spare() -> Result<(), String> {
    spare(SPARE)
}

fn spare(bytes: usize) -> Result<(), String> {
    // Elsewhere memory that is not touched costs nothing and is never refused.
    if !is_tight() {
        return Ok(());
    }
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| no_memory())
}

/// Whether there is room for `bytes` where address space is limited.
pub(crate) fn check_room(bytes: usize) -> Result<(), String> {
    spare(bytes)
}

/// Runs the compiler and waits for it.
///
/// # Errors
/// There is no thread to run it on.
pub(crate) fn compile<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    Ok(pool()?.install(work))
}

/// Runs the compiler on a thread of its own.
///
/// # Errors
/// There is no thread to run it on.
pub(crate) fn compile_later(work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    pool()?.spawn(work);
    Ok(())
}

fn pool() -> Result<&'static ThreadPool, String> {
    let named = |threads| {
        ThreadPoolBuilder::new().thread_name(|i| format!("refgate-compile-{i}")).num_threads(threads)
    };
    let pool = POOL.get_or_init(|| {
        // One for each processor. Each takes address space for its stack and for what it allocates.
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let wanted = if is_tight() { processors.min(FEW) } else { processors };
        // One thread compiles as well, only later.
        let pool = named(wanted).build().or_else(|_| named(1).build());
        pool.map_err(|e| no_thread(&io::Error::other(e)))
    });
    pool.as_ref().map_err(String::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_machine_refuses_is_its_fault() {
        let wrapped = |errno: Errno| wasmtime::Error::from(errno).context("mmap failed").context("start");
        assert!(refusal(&wrapped(Errno::NOMEM)).unwrap().contains("memory"));
        for errno in [Errno::ACCESS, Errno::PERM] {
            assert!(refusal(&wrapped(errno)).unwrap().contains("MemoryDenyWriteExecute=no"));
        }
        let from_std = wasmtime::Error::from(io::Error::from_raw_os_error(12));
        assert!(refusal(&from_std).is_some());
        assert_eq!(refusal(&wrapped(Errno::INVAL)), None);
        assert_eq!(refusal(&wasmtime::format_err!("unknown import")), None);
    }

    #[test]
    fn the_compiler_runs_on_threads_of_ours() {
        let name = compile(|| std::thread::current().name().map(str::to_owned)).unwrap();
        assert!(name.unwrap().starts_with("refgate-compile-"));
    }
}
