//! The only place with the real clock and the real source of randomness.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::{SmallRng, SysRng};
use rand::{SeedableRng, TryRng};
use refgate_core::{BoxFuture, Clock};
use refgate_host::forget::Moment;
use refgate_host::{Error, System};

struct RealClock;

#[expect(clippy::disallowed_methods, reason = "this is the real clock that everything else is handed")]
impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn unix_time(&self) -> Duration {
        unix_time()
    }
}

/// The time of day, for what is kept longer than a process.
#[expect(clippy::disallowed_methods, reason = "this is the only place that reads it")]
pub fn wall_time() -> SystemTime {
    SystemTime::now()
}

#[cfg(target_os = "linux")]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

/// The same, and by the clock that nobody sets.
pub fn moment() -> Moment {
    let time = rustix::time::clock_gettime(SINCE_BOOT);
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Moment {
        wall: wall_time(),
        boot: boot.trim().to_owned(),
        // Never negative: it counts from the boot.
        since_boot: Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0)),
    }
}

#[expect(clippy::disallowed_methods, reason = "the ticker that ends runaway filters needs a real pause")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Starts `count` threads that are there at the same time, and ends them: a machine that gives so many gives them again.
///
/// # Errors
/// What the operating system says of the first that it refuses.
pub fn threads(count: usize) -> std::io::Result<()> {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let waits = || {
        let gate = gate.clone();
        std::thread::Builder::new().spawn(move || drop(gate.lock()))
    };
    let (started, refused): (Vec<_>, Vec<_>) = (0..count).map(|_| waits()).partition(Result::is_ok);
    drop(closed);
    for thread in started.into_iter().flatten() {
        // It does nothing that could fail.
        let _ = thread.join();
    }
    refused.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}

/// Real time, real randomness, and a log on standard error.
pub fn system() -> Result<System, Error> {
    let rng = SmallRng::try_from_rng(&mut SysRng)
        .map_err(|e| Error::failed(format!("the operating system gives no randomness: {e}")))?;
    Ok(System {
        clock: Arc::new(RealClock),
        rng: Arc::new(Mutex::new(rng)),
        pause: Arc::new(pause),
        secret: Arc::new(|bytes| TryRng::try_fill_bytes(&mut SysRng, bytes).map_err(|e| e.to_string())),
        compiler: Some(Arc::new(compiler)),
        log: Arc::new(|level, plugin, message| {
            crate::output::log(&format!("{level:?}").to_lowercase(), plugin, message)
        }),
    })
}

/// The argument that makes this program compile one plugin and end. Only this program gives it, to itself.
pub const COMPILE: &str = "compile-plugin-for-refgate";

/// This program, as what compiles plugins. It needs nothing of the environment but where its libraries are.
fn compiler() -> Command {
    // The program that runs, also when its file was replaced meanwhile.
    let running = Path::new("/proc/self/exe");
    let program = match running.exists() {
        true => running.to_owned(),
        false => std::env::current_exe().unwrap_or_else(|_| "refgate".into()),
    };
    let mut command = Command::new(program);
    command.arg(COMPILE).env_clear().current_dir("/");
    if let Some(libraries) = std::env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
}

/// A name for something that happens now: it sorts by time, and no two processes make the same.
pub fn unique_id() -> Result<String, Error> {
    let random = SmallRng::try_from_rng(&mut SysRng).map(|mut rng| rand::Rng::next_u32(&mut rng));
    let random =
        random.map_err(|e| Error::failed(format!("the operating system gives no randomness: {e}")))?;
    Ok(format!("{:012x}-{}-{random:08x}", unix_time().as_millis(), std::process::id()))
}

/// The time of day, as the time since 1970.
#[expect(clippy::disallowed_methods, reason = "for people who read when something happened")]
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
