//! Proves the store: every case of the conformance suite, on a new directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use refgate_core::{BoxFuture, Clock, RefDb};
use refgate_refdb::conformance::{Bench, Verdict, cases};

use super::Directory;

/// The suite waits and measures by real time here.
struct RealClock;

#[allow(clippy::disallowed_methods)]
impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

/// Every case of the suite on a new store at `root`: the lines to print, and whether none failed.
pub fn prove(root: PathBuf) -> io::Result<(Vec<String>, bool)> {
    fs::create_dir_all(&root)?;
    let connect = move || Ok(RefDb::new(Directory(root.clone())));
    let bench = Bench::new(Arc::new(connect), Arc::new(RealClock), u64::from(std::process::id()), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (mut lines, mut good) = (Vec::new(), true);
    for case in cases() {
        let report = runtime.block_on(case.run(&bench));
        good &= !matches!(report.verdict, Verdict::Failed(_));
        let why = report.verdict.why().map(|why| format!(": {why}")).unwrap_or_default();
        lines.push(format!("{:<12}  {}{why}", report.verdict.name(), case.title()));
    }
    Ok((lines, good))
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_keeps_what_it_promises() {
        let dir = tempfile::tempdir().unwrap();
        let (lines, good) = super::prove(dir.path().join("refdb")).unwrap();
        assert!(good, "{}", lines.join("\n"));
        assert!(lines.iter().any(|line| line.starts_with("not promised")), "it has no locks");
    }
}
