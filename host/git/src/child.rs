//! A child process that is watched: it has a process group of its own, and nothing that it started outlives it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::limits::{GRACE, Pulse, Silence, Wait, Watch};
use crate::{GitError, command};

/// A process and all that it starts. Dropped, it is ended, whatever it is doing.
pub(crate) struct Guarded {
    pub(crate) child: Child,
    watch: Option<Watch>,
    pulse: Pulse,
}

impl Guarded {
    /// Starts `command`. It is ended when nothing [beats](Pulse::beat) for as long as `wait` says.
    pub(crate) fn spawn(command: &mut Command, wait: Wait) -> Result<Guarded, GitError> {
        let child = command::spawn(command.process_group(0))?;
        let group = pid(&child);
        let watch = Watch::start(wait, move |again| end_group(group, again));
        let pulse = watch.pulse().clone();
        Ok(Guarded { child, watch: Some(watch), pulse })
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Why it was ended, if it was silent.
    pub(crate) fn silence(&self) -> Option<Silence> {
        self.pulse.silence()
    }

    /// Waits for its end, as long as the watch lets it.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.exited()?;
        if self.pulse.is_ended() {
            self.end();
        }
        // Before it is reaped, so that nobody else has its number while the watch may end it.
        self.watch = None;
        self.child.wait()
    }

    /// Ends it now, and what it started.
    pub(crate) fn end(&mut self) {
        if self.watch.take().is_none() {
            return;
        }
        let group = pid(&self.child);
        end_group(group, false);
        self.watch = Some(Watch::start(Wait::silent("ending", GRACE), move |_| end_group(group, true)));
        // Fails only when it is not there any more.
        let _ = self.exited();
        self.watch = None;
        end_group(group, true);
        let _ = self.child.wait();
    }

    /// Waits until it has ended; its number stays its own until it is reaped.
    fn exited(&self) -> io::Result<()> {
        loop {
            match waitid(Id::Pid(pid(&self.child)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end();
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// Asks first, so that git takes its lock files away. The group may be gone already, and there is nobody to tell.
fn end_group(group: Pid, again: bool) {
    let _ = killpg(group, if again { Signal::SIGKILL } else { Signal::SIGTERM });
}
