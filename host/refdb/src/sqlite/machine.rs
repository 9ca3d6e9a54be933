//! What the processes of one machine have in common: a clock that counts from the boot, and who of them lives.
//!
//! A lease is compared between processes, so its end cannot be an instant of one of them; and wall clocks jump.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// This machine as this process sees it.
pub(super) struct Machine {
    /// This process; every hold gets a number of its own.
    process: Process,
    /// Time since the boot, suspension included.
    since_boot: Box<dyn Fn() -> Duration + Send + Sync>,
}

/// A process, so that no other one, on this machine or after the next boot, is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    /// Changes with every boot; empty where the system has no such thing.
    boot: String,
    /// The process ids that `pid` is one of: two containers may share a file and have no common numbers.
    space: String,
    pid: i32,
    /// When it began, since process ids are used again; 0 where the system does not tell.
    began: u64,
}

/// Names one hold of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    process: Process,
    number: u64,
}

impl Machine {
    pub(super) fn this() -> Machine {
        Machine { process: Process::this(), since_boot: Box::new(since_boot) }
    }

    #[cfg(test)]
    pub(super) fn with_clock(since_boot: impl Fn() -> Duration + Send + Sync + 'static) -> Machine {
        Machine { process: Process::this(), since_boot: Box::new(since_boot) }
    }

    /// Milliseconds since the boot.
    pub(super) fn now(&self) -> i64 {
        millis((self.since_boot)())
    }

    /// A name that no other hold has.
    pub(super) fn new_owner(&self) -> Owner {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Owner { process: self.process.clone(), number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether a lease that `owner` took still runs; one that ends later than `longest` from now was not taken in this boot.
    pub(super) fn lease_runs(&self, owner: &str, expires: i64, longest: Duration) -> bool {
        let now = self.now();
        let this_boot = owner.parse::<Owner>().map_or(true, |owner| owner.process.same_boot(&self.process));
        this_boot && now < expires && expires <= now.saturating_add(millis(longest))
    }

    /// Whether the process of `owner` has certainly ended. One that this process cannot see may live.
    pub(super) fn is_dead(&self, owner: &str) -> bool {
        let Ok(Owner { process, .. }) = owner.parse::<Owner>() else { return false };
        !process.same_boot(&self.process)
            || (process.space == self.process.space && process != self.process && !process.lives())
    }
}

/// Milliseconds as SQLite stores them.
pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Process {
    fn this() -> Process {
        let pid = std::process::id().cast_signed();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Process {
            boot: read("/proc/sys/kernel/random/boot_id"),
            space: space.to_string_lossy().replace('/', "-"),
            pid,
            began: stat(pid).map_or(0, |(_, began)| began),
        }
    }

    /// Only a name that is known can differ.
    fn same_boot(&self, other: &Process) -> bool {
        self.boot == other.boot || self.boot.is_empty() || other.boot.is_empty()
    }

    fn lives(&self) -> bool {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else { return false };
        // A process of another user may be hidden in /proc, but not from this.
        if rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            return false;
        }
        stat(self.pid).is_none_or(|(state, began)| {
            // A zombie has ended; it only was not waited for yet.
            !matches!(state, b'Z' | b'X') && (self.began == 0 || self.began == began)
        })
    }
}

/// State and start of a process, see proc_pid_stat(5); `None` where there is no such file.
fn stat(pid: i32) -> Option<(u8, u64)> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may hold anything.
    let end = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some((*fields.first()?.as_bytes().first()?, fields.get(19)?.parse().ok()?))
}

#[cfg(target_os = "linux")]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(SINCE_BOOT);
    // Never negative: it counts from the boot.
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Process { boot, space, pid, began } = &self.process;
        write!(f, "{boot}/{space}/{pid}/{began}/{}", self.number)
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Owner, ()> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(());
        let (boot, space) = (next()?.to_owned(), next()?.to_owned());
        let (pid, began, number) = (next()?, next()?, next()?);
        let process =
            Process { boot, space, pid: pid.parse().map_err(drop)?, began: began.parse().map_err(drop)? };
        Ok(Owner { process, number: number.parse().map_err(drop)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(3600);

    fn changed(change: impl FnOnce(&mut Process)) -> String {
        let mut owner = Machine::this().new_owner();
        change(&mut owner.process);
        owner.to_string()
    }

    #[test]
    fn an_owner_is_read_as_it_was_written_and_is_never_twice_the_same() {
        let machine = Machine::this();
        let owner = machine.new_owner();
        assert_eq!(owner.to_string().parse(), Ok(owner.clone()));
        assert_ne!(owner, machine.new_owner());
        assert!("x".parse::<Owner>().is_err());
    }

    #[test]
    fn the_clock_goes_on_and_is_the_same_for_all() {
        let (a, b) = (Machine::this(), Machine::this());
        let before = a.now();
        let between = b.now();
        assert!(before > 0 && between >= before && a.now() >= between && a.now() - before < 60_000);
    }

    #[test]
    fn a_lease_ends_with_its_time_and_with_the_boot() {
        let machine = Machine::with_clock(|| Duration::from_secs(1000));
        let mine = machine.new_owner().to_string();
        assert!(machine.lease_runs(&mine, 1_000_001, LONGEST));
        assert!(!machine.lease_runs(&mine, 1_000_000, LONGEST));
        assert!(!machine.lease_runs(&mine, i64::MAX, LONGEST), "from a longer boot");
        let before = changed(|p| p.boot = "another".to_owned());
        assert!(!machine.lease_runs(&before, 1_000_001, LONGEST) && machine.is_dead(&before));
        assert!(machine.lease_runs("of somebody unknown", 1_000_001, LONGEST), "time alone decides");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_who_can_be_seen_is_ever_called_dead() {
        let machine = Machine::this();
        assert!(!machine.is_dead(&changed(|_| ())));
        assert!(machine.is_dead(&changed(|p| p.began += 1)), "the number was used again");
        assert!(machine.is_dead(&changed(|p| p.pid = i32::MAX)));
        let elsewhere = |p: &mut Process| (p.pid, p.space) = (i32::MAX, "pid:[1]".to_owned());
        assert!(!machine.is_dead(&changed(elsewhere)), "a container of its own");
        assert!(!machine.is_dead("of somebody unknown"));
        // Not waited for, so a zombie.
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        let began = stat(pid).unwrap().1;
        let owner = changed(|p| (p.pid, p.began) = (pid, began));
        assert!(!machine.is_dead(&owner));
        child.kill().unwrap();
        while stat(pid).is_some_and(|(state, _)| state != b'Z') {
            std::thread::yield_now();
        }
        assert!(machine.is_dead(&owner));
        child.wait().unwrap();
        assert!(machine.is_dead(&owner));
    }
}
